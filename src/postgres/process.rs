//! Whether the instance runs, read from its pid file and /proc; no process is started for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

use crate::decide::recovery::Phase;
use crate::postgres::owner::as_owner;
use crate::postgres::reading;
use crate::sys::{Owner, Process, Sent, signal_if};

/// What `postmaster.pid` and /proc say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Postmaster {
    Stopped,
    Running(Running),
}

/// A live postmaster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub pid: i32,
    /// The account that it runs under.
    pub account: Uid,
    /// Where it works.
    pub pgdata: PathBuf,
    /// Stopped by a signal (state T): it answers nothing, and only SIGKILL ends it.
    pub frozen: bool,
    /// Where it listens locally; `None` before it got that far, or without a unix socket.
    pub socket_dir: Option<PathBuf>,
    /// `None` before it got that far.
    pub port: Option<u16>,
    /// The first of the addresses that it listens on, `*` for all; `None` where it listens on none.
    pub listens_on: Option<String>,
}

/// Looks for the instance's postmaster.
///
/// A pid that was reused counts as stopped: the process must work in the data directory, where
/// every postmaster changes to at start, and it is none of root's, under whom PostgreSQL does not run.
///
/// # Errors
/// The pid file or /proc could not be read, which is not the same as "stopped"; or the process that it names
/// belongs to another account than the file, which its writer can't say for that one.
pub fn postmaster(pgdata: &Path) -> io::Result<Postmaster> {
    let (text, writer) = match reading::read_with_account(&pgdata.join("postmaster.pid")) {
        Ok(read) => read,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Postmaster::Stopped);
        }
        Err(e) => return Err(e),
    };
    let mut lines = text.lines().map(str::trim);
    // Negative: a stand-alone backend, which holds the directory as much as a postmaster does.
    let pid = lines
        .next()
        .and_then(|l| l.parse::<i32>().ok())
        .and_then(i32::checked_abs);
    // 1 is the machine.
    let Some(pid) = pid.filter(|&pid| pid > 1) else {
        // Written in one go at start; empty after a full disk or a power cut.
        return Ok(Postmaster::Stopped);
    };
    if !works_in(pid, pgdata)? {
        return Ok(Postmaster::Stopped);
    }
    let Some(account) = account_of(pid)? else {
        return Ok(Postmaster::Stopped);
    };
    if account != writer {
        if account.is_root() {
            return Ok(Postmaster::Stopped);
        }
        return Err(io::Error::other(format!(
            "postmaster.pid of user id {writer} names process {pid}, which works there under user id {account}: \
             end that one, or remove the file if no server runs"
        )));
    }
    let mut lines = lines.skip(2);
    let port = lines.next().and_then(|l| l.parse().ok());
    // A relative one is in the server's working directory, which is its data directory; one with @ is in no directory.
    let socket_dir = lines.next().filter(|l| !l.is_empty()).map(|dir| {
        if dir.starts_with('@') {
            PathBuf::from(dir)
        } else {
            pgdata.join(dir)
        }
    });
    let listens_on = lines.next().filter(|l| !l.is_empty()).map(str::to_owned);
    Ok(Postmaster::Running(Running {
        pid,
        account,
        pgdata: pgdata.to_owned(),
        frozen: is_frozen(pid),
        socket_dir,
        port,
        listens_on,
    }))
}

/// The same, where root may not look: a file system may trust no root of another machine's (NFS with root_squash), or show nothing to others than
/// its owner (FUSE). Then as the owner.
///
/// # Errors
/// As [`postmaster`].
pub fn postmaster_of(pgdata: &Path, owner: &Owner) -> io::Result<Postmaster> {
    match postmaster(pgdata) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            as_owner(owner, || postmaster(pgdata))
                .map_err(io::Error::from)
                .flatten()
        }
        seen => seen,
    }
}

/// The account that a process runs under; `None`: it is gone.
pub(super) fn account_of(pid: i32) -> io::Result<Option<Uid>> {
    match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(text) => Ok(text
            .lines()
            .find_map(|line| {
                line.strip_prefix("Uid:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .map(Uid::from_raw)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the postmaster says of itself. What can't be read, or is not of this form, says nothing.
#[must_use]
pub fn phase(pgdata: &Path) -> Phase {
    // `LOCK_FILE_LINE_PM_STATUS` in miscadmin.h; padded with blanks.
    let text = reading::read(&pgdata.join("postmaster.pid")).unwrap_or_default();
    match text.lines().nth(7).map(str::trim) {
        Some("starting") => Phase::Starting,
        Some("stopping") => Phase::Stopping,
        Some("standby") => Phase::Closed,
        Some(_) | None => Phase::Up,
    }
}

/// Whether the postmaster has got so far that it judges who connects. Before, it may take connections, and end for want of another socket, its
/// rules or a lock file.
#[must_use]
pub fn has_begun(pgdata: &Path) -> bool {
    let text = reading::read(&pgdata.join("postmaster.pid")).unwrap_or_default();
    let status = text.lines().nth(7).map(str::trim);
    status.is_some_and(|status| status != "starting")
}

/// Processes of the instance that have no postmaster any more: left behind when it was killed.
/// They hold the shared memory, so that a new one would refuse to start.
///
/// # Errors
/// /proc could not be read.
pub fn orphans(pgdata: &Path, owner: Uid) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // Whatever vanishes while it is looked at is no orphan.
        let is_ours = account_of(pid).is_ok_and(|account| account == Some(owner));
        if is_ours && is_postgres(pid) && works_in(pid, pgdata).unwrap_or(false) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A person's shell may stand in the data directory, too: only the server's own program counts.
fn is_postgres(pid: i32) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = exe.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    // "postgres (deleted)" after a package upgrade.
    is_server_program(name.strip_suffix(" (deleted)").unwrap_or(name))
}

fn is_server_program(name: &str) -> bool {
    matches!(name, "postgres" | "postmaster")
}

/// Whether the process works in the data directory, where every server changes to before it writes its lock file.
pub(super) fn works_in(pid: i32, pgdata: &Path) -> io::Result<bool> {
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(cwd) => Ok(fs::canonicalize(pgdata)? == cwd),
        // A zombie has no working directory either.
        Err(e) if is_gone(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::ENOENT | nix::libc::ESRCH)
    )
}

/// Asleep (state S): waiting for something, and no SIGHUP is on its way to it that it has not been woken by.
///
/// Source: proc(5), `/proc/pid/status`, State, SigPnd, ShdPnd.
#[must_use]
pub fn is_asleep(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| says_asleep(&status))
}

fn says_asleep(status: &str) -> bool {
    let field = |label: &str| {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        value.map(str::trim)
    };
    let is_told = |label: &str| {
        let pending = field(label).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        pending.is_none_or(|mask| mask & (1 << (Signal::SIGHUP as i32 - 1)) != 0)
    };
    let sleeps = field("State").is_some_and(|state| state.starts_with('S'));
    sleeps && !is_told("SigPnd") && !is_told("ShdPnd")
}

fn is_frozen(pid: i32) -> bool {
    state(pid) == Some('T')
}

fn state(pid: i32) -> Option<char> {
    // The command name may contain anything, so the state is the first field after the last ')'.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

impl Running {
    /// Signals the postmaster; one that is gone already is as good.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn signal(&self, signal: Signal) -> io::Result<Sent> {
        signal_if(self.pid, signal, |process| self.is_of_it(process))
    }

    /// Signals process `pid`, which the server says is one of its own: it must be a child of the postmaster. One that
    /// is gone already is as good.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn signal_child(&self, pid: i32, signal: Signal) -> io::Result<Sent> {
        signal_if(pid, signal, |process| {
            Ok(process.is_child_of(self.pid)? && self.is_of_it(process)?)
        })
    }

    /// The account that it runs under, which `name` stands for, as the kernel has it. `None`: it is gone.
    ///
    /// # Errors
    /// /proc could not be read.
    pub fn owner(&self, name: &str) -> io::Result<Option<Owner>> {
        let status = match fs::read_to_string(format!("/proc/{}/status", self.pid)) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(owner_of(&status, self.account, name))
    }

    fn is_of_it(&self, process: &Process) -> io::Result<bool> {
        Ok(!self.account.is_root()
            && process.runs_as(self.account)?
            && process.works_in(&self.pgdata)?)
    }
}

/// From /proc/PID/status.
fn owner_of(status: &str, account: Uid, name: &str) -> Option<Owner> {
    let numbers = |label: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(label))?;
        let numbers = rest.split_whitespace().map(str::parse::<u32>);
        numbers.collect::<Result<Vec<_>, _>>().ok()
    };
    let gid = Gid::from_raw(*numbers("Gid:")?.first()?);
    let mut groups: Vec<Gid> = numbers("Groups:")?.into_iter().map(Gid::from_raw).collect();
    if !groups.contains(&gid) {
        groups.push(gid);
    }
    (numbers("Uid:")?.first() == Some(&account.as_raw()) && !account.is_root()).then(|| Owner {
        name: name.to_owned(),
        uid: account,
        gid,
        groups,
        home: PathBuf::from("/"),
    })
}

/// Signals a process that [`orphans`] has found, if it is still that one.
///
/// # Errors
/// The signal could not be sent.
pub fn signal_orphan(pgdata: &Path, owner: Uid, pid: i32, signal: Signal) -> io::Result<Sent> {
    signal_if(pid, signal, |process| {
        Ok(process.runs_as(owner)?
            && is_server_program(&process.program()?)
            && process.works_in(pgdata)?)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use nix::unistd::{User, geteuid};

    use super::*;

    /// PostgreSQL does not run under root, so nothing that does is taken for it.
    fn account() -> Uid {
        match geteuid() {
            root if root.is_root() => User::from_name("nobody").unwrap().unwrap().uid,
            own => own,
        }
    }

    fn pid_file(dir: &Path, pid: i32) {
        let path = dir.join("postmaster.pid");
        let shown = dir.display();
        let text = format!("{pid}\n{shown}\n1700000000\n5433\n/run/pg\n*\n\nready\n");
        fs::write(&path, text).unwrap();
        std::os::unix::fs::chown(&path, Some(account().as_raw()), None).unwrap();
    }

    fn dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(account().as_raw()), None).unwrap();
        dir
    }

    /// Waits for the end of its input, in `dir`.
    fn cat(dir: &Path, account: Uid) -> Child {
        let mut command = Command::new("cat");
        command
            .arg0("postgres")
            .stdin(Stdio::piped())
            .current_dir(dir);
        if account != geteuid() {
            command.uid(account.as_raw());
        }
        command.spawn().unwrap()
    }

    fn number(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn asleep_is_who_waits_and_has_nothing_left_to_be_told() {
        let status = |state: &str, own: &str, shared: &str| {
            format!(
                "Name:\tpostgres\nState:\t{state}\nPid:\t7\nSigPnd:\t{own}\nShdPnd:\t{shared}\n"
            )
        };
        let none = "0000000000000000";
        for (text, expected) in [
            (status("S (sleeping)", none, none), true),
            (status("R (running)", none, none), false),
            (status("T (stopped)", none, none), false),
            (status("D (disk sleep)", none, none), false),
            // SIGHUP is signal 1; SIGURG, 23, is another matter.
            (status("S (sleeping)", none, "0000000000000001"), false),
            (status("S (sleeping)", "0000000000000001", none), false),
            (status("S (sleeping)", none, "0000000000400000"), true),
            ("State:\tS (sleeping)\n".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(says_asleep(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_or_torn_pid_file_means_stopped() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(postmaster(dir.path()).unwrap(), Postmaster::Stopped);
        assert_eq!(
            postmaster(&dir.path().join("nowhere")).unwrap(),
            Postmaster::Stopped
        );
        for torn in ["", "\n", "x\n", "0\n"] {
            fs::write(dir.path().join("postmaster.pid"), torn).unwrap();
            assert_eq!(
                postmaster(dir.path()).unwrap(),
                Postmaster::Stopped,
                "{torn:?}"
            );
        }
    }

    #[test]
    fn a_reused_pid_is_not_a_postmaster_and_a_frozen_one_is_seen() {
        let dir = dir();
        let elsewhere = cat(Path::new("/"), account());
        pid_file(dir.path(), number(&elsewhere));
        assert_eq!(postmaster(dir.path()).unwrap(), Postmaster::Stopped);
        end(elsewhere);

        let inside = cat(dir.path(), account());
        let pid = number(&inside);
        // A stand-alone backend writes its own number as a negative one.
        for written in [pid, -pid] {
            pid_file(dir.path(), written);
            let running = |frozen| {
                Postmaster::Running(Running {
                    pid,
                    account: account(),
                    pgdata: dir.path().to_owned(),
                    frozen,
                    socket_dir: Some("/run/pg".into()),
                    port: Some(5433),
                    listens_on: Some("*".to_owned()),
                })
            };
            assert_eq!(postmaster(dir.path()).unwrap(), running(false));
            let Postmaster::Running(server) = running(false) else {
                unreachable!()
            };
            server.signal(Signal::SIGSTOP).unwrap();
            let limit = crate::sys::Deadline::after(std::time::Duration::from_secs(10));
            crate::sys::poll_until(limit, std::time::Duration::from_millis(5), || {
                (postmaster(dir.path()).unwrap() == running(true)).then_some(())
            })
            .expect("the frozen state is seen");
            server.signal(Signal::SIGCONT).unwrap();
            crate::sys::poll_until(limit, std::time::Duration::from_millis(5), || {
                (postmaster(dir.path()).unwrap() == running(false)).then_some(())
            })
            .expect("it goes on");
        }
        // Not the server's program, so not an orphan, whatever it calls itself.
        assert_eq!(orphans(dir.path(), account()).unwrap(), Vec::<i32>::new());
        let sent = signal_orphan(dir.path(), account(), pid, Signal::SIGKILL);
        assert_eq!(sent.unwrap(), Sent::Refused);
        end(inside);
        assert_eq!(postmaster(dir.path()).unwrap(), Postmaster::Stopped);
    }

    #[test]
    fn numbers_that_name_many_processes_or_none_are_no_postmaster() {
        let dir = dir();
        for pid in [0, 1, -1, i32::MIN, i32::MAX] {
            pid_file(dir.path(), pid);
            assert_eq!(
                postmaster(dir.path()).unwrap(),
                Postmaster::Stopped,
                "{pid}"
            );
        }
    }

    #[test]
    fn what_is_not_of_the_files_account_is_never_signalled() {
        if !geteuid().is_root() {
            return;
        }
        let dir = dir();
        // An administrator's shell stands there, and the server's account has written its number into the file.
        let roots = cat(dir.path(), Uid::from_raw(0));
        pid_file(dir.path(), number(&roots));
        assert_eq!(postmaster(dir.path()).unwrap(), Postmaster::Stopped);
        let other = User::from_name("daemon").unwrap().unwrap().uid;
        let others = cat(dir.path(), other);
        pid_file(dir.path(), number(&others));
        assert!(
            postmaster(dir.path()).is_err(),
            "it is not known whose it is"
        );

        let server = cat(dir.path(), account());
        pid_file(dir.path(), number(&server));
        let Postmaster::Running(running) = postmaster(dir.path()).unwrap() else {
            panic!("it runs")
        };
        // What the server says of its processes is not believed either: these are no children of it.
        let outside = cat(Path::new("/"), account());
        let beside = cat(dir.path(), account());
        for child in [&roots, &others, &outside, &beside] {
            let sent = running
                .signal_child(number(child), Signal::SIGKILL)
                .unwrap();
            assert_eq!(sent, Sent::Refused);
            let sent = signal_orphan(dir.path(), account(), number(child), Signal::SIGKILL);
            assert_eq!(sent.unwrap(), Sent::Refused);
        }
        for pid in [-1, 0, i32::MIN] {
            assert_eq!(
                running.signal_child(pid, Signal::SIGKILL).unwrap(),
                Sent::Gone
            );
        }
        for mut child in [roots, others, outside, beside, server] {
            assert_eq!(child.try_wait().unwrap(), None, "it lives");
            end(child);
        }
    }

    #[test]
    fn the_kernel_knows_the_servers_account() {
        let status = "Name:\tx\nUid:\t101\t101\t101\t101\nGid:\t104\t104\t104\t104\nGroups:\t103 104 \nPid:\t7\n";
        let owner = owner_of(status, Uid::from_raw(101), "postgres").unwrap();
        assert_eq!((owner.uid.as_raw(), owner.gid.as_raw()), (101, 104));
        let groups: Vec<u32> = owner.groups.iter().map(|g| g.as_raw()).collect();
        assert_eq!(groups, [103, 104]);
        assert_eq!(
            owner_of(status, Uid::from_raw(102), "postgres"),
            None,
            "another's by now"
        );
        assert_eq!(
            owner_of(&status.replace("101", "0"), Uid::from_raw(0), "root"),
            None
        );
        let dir = dir();
        let server = cat(dir.path(), account());
        pid_file(dir.path(), number(&server));
        if let Postmaster::Running(running) = postmaster(dir.path()).unwrap() {
            assert_eq!(running.owner("x").unwrap().unwrap().uid, account());
        } else {
            panic!("it runs");
        }
        end(server);
    }

    #[test]
    fn a_pid_file_that_is_none_ends_no_action_late() {
        let dir = dir();
        let path = dir.path().join("postmaster.pid");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(postmaster(dir.path()).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let error = postmaster(dir.path()).unwrap_err().to_string();
        assert!(!error.contains("root:"), "{error}");
    }
}
