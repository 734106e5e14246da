//! Signals to processes that somebody else has named: a file, an answer of the server, a list in /proc.
//!
//! The agent is root, so the kernel refuses it nothing, and a number proves nothing: 0 and negative ones are groups or
//! everybody, any other may be whose process it likes, or have been given to another process meanwhile. So the process
//! is held by a descriptor first, then it is looked at, and the signal goes to what the descriptor holds.
//!
//! Sending as the server's account (`as_owner`) would not be enough: the real user id stays root's, and that is one
//! of the two that the kernel asks.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use rustix::process::PidfdFlags;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was sent.
    Sent,
    /// There is no such process, or not any more.
    Gone,
    /// The process is not what it must be, and got nothing.
    Refused,
}

/// Sends `signal` to process `pid` if `is_it` says that this is the one that is meant. The only way to signal
/// a process that this one has not started.
///
/// # Errors
/// What the process is can't be found out, or the signal can't be sent.
pub fn signal_if(
    pid: i32,
    signal: Signal,
    is_it: impl FnOnce(&Process) -> io::Result<bool>,
) -> io::Result<Sent> {
    // 1 is the machine.
    if pid == 1 {
        return Ok(Sent::Refused);
    }
    let Some(process) = Process::hold(pid)? else {
        return Ok(Sent::Gone);
    };
    match is_it(&process) {
        Ok(true) => process.send(signal),
        Ok(false) => Ok(Sent::Refused),
        Err(error) if is_gone(&error) => Ok(Sent::Gone),
        Err(error) => Err(error),
    }
}

/// A process that is held: what is found out about it here is true of what a signal reaches.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    /// `None` where the kernel (before 5.3) has no such descriptors: there a number that is given anew between the
    /// look and the signal is not noticed.
    fd: Option<OwnedFd>,
}

impl Process {
    /// `None`: there is no such process; there never is one with a number below 1.
    fn hold(pid: i32) -> io::Result<Option<Self>> {
        let positive = Some(pid).filter(|pid| *pid > 0);
        let Some(number) = positive.and_then(rustix::process::Pid::from_raw) else {
            return Ok(None);
        };
        match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self { pid, fd: Some(fd) })),
            Err(rustix::io::Errno::NOSYS) => Ok(Some(Self { pid, fd: None })),
            // INVAL: the number is that of a thread, which is no process.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&self, signal: Signal) -> io::Result<Sent> {
        let result = match &self.fd {
            Some(fd) => {
                let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                rustix::process::pidfd_send_signal(fd, signal).map_err(io::Error::from)
            }
            None => kill(Pid::from_raw(self.pid), signal).map_err(io::Error::from),
        };
        match result {
            Ok(()) => Ok(Sent::Sent),
            Err(error) if is_gone(&error) => Ok(Sent::Gone),
            Err(error) => Err(error),
        }
    }

    fn proc(&self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.pid))
    }

    /// Whether it runs under this account and nothing else: then the account could send the signal by itself, and
    /// gains nothing by having it sent. (A program that it has made change its user id has root's in one place at
    /// least.)
    ///
    /// # Errors
    /// /proc can't be read; a process that is gone is one, too.
    pub fn runs_as(&self, account: Uid) -> io::Result<bool> {
        let users = self.status("Uid:")?;
        let mut users = users.split_whitespace().map(str::parse::<u32>).peekable();
        Ok(users.peek().is_some() && users.all(|user| user == Ok(account.as_raw())))
    }

    /// The account that started it, whatever it acts as for the moment.
    ///
    /// # Errors
    /// As [`Process::runs_as`].
    pub fn real_user(&self) -> io::Result<Option<Uid>> {
        let users = self.status("Uid:")?;
        let first = users.split_whitespace().next();
        Ok(first.and_then(|user| user.parse().ok()).map(Uid::from_raw))
    }

    /// Whether `parent` has started it, and lives.
    ///
    /// # Errors
    /// As [`Process::runs_as`].
    pub fn is_child_of(&self, parent: i32) -> io::Result<bool> {
        Ok(self.status("PPid:")?.trim().parse() == Ok(parent))
    }

    /// Whether its working directory is `dir`.
    ///
    /// # Errors
    /// As [`Process::runs_as`]; `dir` can't be looked at.
    pub fn works_in(&self, dir: &Path) -> io::Result<bool> {
        Ok(fs::canonicalize(dir)? == fs::read_link(self.proc("cwd"))?)
    }

    /// The file name of its program, also of one that was replaced by a newer one.
    ///
    /// # Errors
    /// As [`Process::runs_as`].
    pub fn program(&self) -> io::Result<String> {
        let path = fs::read_link(self.proc("exe"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
    }

    /// Whether it holds an exclusive lock (`flock`) on `file`, by what the kernel says of its descriptors.
    ///
    /// # Errors
    /// As [`Process::runs_as`].
    pub fn locks(&self, file: &File) -> io::Result<bool> {
        let wanted = file.metadata()?;
        for entry in fs::read_dir(self.proc("fd"))? {
            let entry = entry?;
            // What is closed meanwhile holds no lock; what is no file at all has none.
            let Ok(about) = fs::metadata(entry.path()) else {
                continue;
            };
            if (about.dev(), about.ino()) != (wanted.dev(), wanted.ino()) {
                continue;
            }
            let name = entry.file_name();
            let info = fs::read_to_string(self.proc("fdinfo").join(name)).unwrap_or_default();
            let is_lock = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words.first() == Some(&"lock:")
                    && words.contains(&"FLOCK")
                    && words.contains(&"WRITE")
            };
            if info.lines().any(is_lock) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rest of a line of /proc/PID/status. The name of the program is in it with its line feeds escaped.
    fn status(&self, label: &str) -> io::Result<String> {
        let text = fs::read_to_string(self.proc("status"))?;
        let rest = text.lines().find_map(|line| line.strip_prefix(label));
        rest.map(str::to_owned)
            .ok_or_else(|| io::Error::from_raw_os_error(nix::libc::ESRCH))
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::ENOENT | nix::libc::ESRCH)
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use nix::fcntl::{Flock, FlockArg};

    use super::*;

    /// Waits for the end of its input.
    fn cat() -> Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .current_dir("/")
            .spawn()
            .unwrap()
    }

    fn number(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    #[test]
    fn numbers_that_kill_takes_for_many_reach_nobody() {
        let mut child = cat();
        for pid in [0, -1, -2, i32::MIN, -number(&child)] {
            let sent = signal_if(pid, Signal::SIGKILL, |_| panic!("it was looked at"));
            assert_eq!(sent.unwrap(), Sent::Gone, "{pid}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let sent = signal_if(1, Signal::SIGKILL, |_| Ok(true));
        assert_eq!(sent.unwrap(), Sent::Refused);
    }

    #[test]
    fn who_is_not_meant_gets_nothing() {
        let mut child = cat();
        let sent = signal_if(number(&child), Signal::SIGKILL, |_| Ok(false));
        assert_eq!(sent.unwrap(), Sent::Refused);
        assert_eq!(child.try_wait().unwrap(), None);
        let sent = signal_if(number(&child), Signal::SIGKILL, |process| {
            Ok(process.runs_as(Uid::current())?
                && process.is_child_of(i32::try_from(std::process::id()).unwrap())?
                && process.works_in(Path::new("/"))?
                && !process.works_in(Path::new("/tmp"))?
                && process.program()? == "cat"
                && !process.runs_as(Uid::from_raw(Uid::current().as_raw() + 1))?)
        });
        assert_eq!(sent.unwrap(), Sent::Sent);
        assert!(!child.wait().unwrap().success());
        assert_eq!(
            signal_if(number(&child), Signal::SIGKILL, |_| Ok(true)).unwrap(),
            Sent::Gone
        );
    }

    #[test]
    fn a_number_that_is_given_anew_between_look_and_signal_is_not_signalled() {
        let mut child = cat();
        // It ends while it is looked at, and is waited for: from here on its number may be anybody's.
        let sent = signal_if(number(&child), Signal::SIGKILL, |process| {
            child.kill()?;
            child.wait()?;
            // What took over the number: the look is at that one, the signal is not for it.
            assert!(process.fd.is_some(), "this kernel holds processes");
            Ok(true)
        });
        assert_eq!(sent.unwrap(), Sent::Gone);
    }

    #[test]
    fn a_process_that_ends_while_it_is_looked_at_is_gone_and_no_error() {
        let mut child = cat();
        let sent = signal_if(number(&child), Signal::SIGTERM, |process| {
            child.kill()?;
            child.wait()?;
            process.runs_as(Uid::current())
        });
        assert_eq!(sent.unwrap(), Sent::Gone);
    }

    #[test]
    fn the_kernel_says_who_holds_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = dir.path().join(name);
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .unwrap()
        };
        let me = Process::hold(i32::try_from(std::process::id()).unwrap())
            .unwrap()
            .unwrap();
        let file = open("lock");
        assert!(!me.locks(&file).unwrap(), "it is only open");
        let held = Flock::lock(open("lock"), FlockArg::LockShared).unwrap();
        assert!(!me.locks(&file).unwrap(), "whoever looks has it like this");
        drop(held);
        let _held = Flock::lock(open("lock"), FlockArg::LockExclusive).unwrap();
        assert!(me.locks(&file).unwrap());
        assert!(!me.locks(&open("other")).unwrap());
    }
}
