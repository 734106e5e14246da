//! Whether the instance runs, read from its pid file and /proc; no process is started for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

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
    /// Stopped by a signal (state T): it answers nothing, and only SIGKILL ends it.
    pub frozen: bool,
    /// Where it listens locally; `None` before it got that far, or without a unix socket.
    pub socket_dir: Option<PathBuf>,
    /// `None` before it got that far.
    pub port: Option<u16>,
}

/// Looks for the instance's postmaster.
///
/// A pid that was reused counts as stopped: the process must work in the data directory, where
/// every postmaster changes to at start.
///
/// # Errors
/// The pid file or /proc could not be read, which is not the same as "stopped".
pub fn postmaster(pgdata: &Path) -> io::Result<Postmaster> {
    let text = match fs::read_to_string(pgdata.join("postmaster.pid")) {
        Ok(text) => text,
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
        .map(i32::abs);
    let Some(pid) = pid.filter(|&pid| pid > 0) else {
        // Written in one go at start; empty after a full disk or a power cut.
        return Ok(Postmaster::Stopped);
    };
    if !works_in(pid, pgdata)? {
        return Ok(Postmaster::Stopped);
    }
    let mut lines = lines.skip(2);
    let port = lines.next().and_then(|l| l.parse().ok());
    let socket_dir = lines.next().filter(|l| !l.is_empty()).map(PathBuf::from);
    Ok(Postmaster::Running(Running {
        pid,
        frozen: is_frozen(pid),
        socket_dir,
        port,
    }))
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
        let is_ours = fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| {
            use std::os::unix::fs::MetadataExt;
            m.uid() == owner.as_raw()
        });
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
    name == "postgres" || name == "postmaster" || name.starts_with("postgres (")
}

fn works_in(pid: i32, pgdata: &Path) -> io::Result<bool> {
    let gone = |e: &io::Error| matches!(e.raw_os_error(), Some(libc_enoent) if libc_enoent == nix::libc::ENOENT || libc_enoent == nix::libc::ESRCH);
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(cwd) => Ok(fs::canonicalize(pgdata)? == cwd),
        // A zombie has no working directory either.
        Err(e) if gone(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Asleep (state S): waiting for something, and no signal is pending that it has not been woken by.
#[must_use]
pub fn is_asleep(pid: i32) -> bool {
    state(pid) == Some('S')
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

/// Sends `signal`; a process that is gone already is as good.
///
/// # Errors
/// The signal could not be sent.
pub fn signal(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

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
        let dir = tempfile::tempdir().unwrap();
        let file = |pid: u32| {
            format!(
                "{pid}\n{}\n1700000000\n5433\n/run/pg\n*\n\nready\n",
                dir.path().display()
            )
        };
        let mut elsewhere = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .current_dir("/")
            .spawn()
            .unwrap();
        fs::write(dir.path().join("postmaster.pid"), file(elsewhere.id())).unwrap();
        assert_eq!(postmaster(dir.path()).unwrap(), Postmaster::Stopped);
        elsewhere.kill().unwrap();
        elsewhere.wait().unwrap();

        let mut inside = std::process::Command::new("cat");
        let mut inside = inside
            .arg0("postgres")
            .stdin(std::process::Stdio::piped())
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        fs::write(dir.path().join("postmaster.pid"), file(inside.id())).unwrap();
        let pid = i32::try_from(inside.id()).unwrap();
        let running = |frozen| {
            Postmaster::Running(Running {
                pid,
                frozen,
                socket_dir: Some("/run/pg".into()),
                port: Some(5433),
            })
        };
        assert_eq!(postmaster(dir.path()).unwrap(), running(false));
        signal(pid, Signal::SIGSTOP).unwrap();
        let limit = crate::sys::Deadline::after(std::time::Duration::from_secs(10));
        crate::sys::poll_until(limit, std::time::Duration::from_millis(5), || {
            (postmaster(dir.path()).unwrap() == running(true)).then_some(())
        })
        .expect("the frozen state is seen");
        // Not the server's program, so not an orphan, whatever it calls itself.
        assert_eq!(
            orphans(dir.path(), Uid::current()).unwrap(),
            Vec::<i32>::new()
        );
        inside.kill().unwrap();
        inside.wait().unwrap();
        assert_eq!(postmaster(dir.path()).unwrap(), Postmaster::Stopped);
    }
}
