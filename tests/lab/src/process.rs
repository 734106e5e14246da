//! Programs: run to an end within a limit, or started and held.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::poll;

/// Limit of a command that names none.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// Where commands are looked for.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The place of a program of this machine. With a name alone, and a PATH that is set, the standard library forks this whole
/// process, with all its pages, where otherwise the child shares them until it is another program.
fn absolute(program: &str) -> PathBuf {
    let found = || {
        let mut places = PATH.iter().map(|dir| Path::new(dir).join(program));
        places.find(|place| place.exists())
    };
    let is_name = !program.contains('/');
    is_name
        .then(found)
        .flatten()
        .unwrap_or_else(|| program.into())
}

/// How a command ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Exit status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Exit code; `None`: ended by a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Both streams, trimmed.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.stdout.trim_end(), self.stderr.trim_end())
            .trim()
            .to_owned()
    }

    /// Standard output, trimmed, of a command that succeeded.
    ///
    /// # Errors
    /// [`Error::Failed`] with both streams for any other exit status.
    pub fn ok(self) -> Result<String> {
        if self.success() {
            return Ok(self.stdout.trim_end().to_owned());
        }
        Err(Error::Failed {
            status: self.status.to_string(),
            output: self.text(),
            command: self.command,
        })
    }
}

/// A command line to run: arguments, input, limit.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before run(), ok() or spawn()"]
pub struct Cmd {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    input: Vec<u8>,
    limit: Duration,
}

impl Cmd {
    /// A program and its arguments.
    pub fn new<S: AsRef<str>>(argv: &[S]) -> Self {
        Self {
            argv: argv.iter().map(|a| a.as_ref().to_owned()).collect(),
            env: Vec::new(),
            input: Vec::new(),
            limit: DEFAULT_LIMIT,
        }
    }

    /// Sets an environment variable. Nothing else is inherited but `TERM`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the command reads; by default nothing.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// After this time the command's process group is killed. Default: [`DEFAULT_LIMIT`].
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same command behind another one (`nsenter …`).
    pub(crate) fn behind(mut self, prefix: Vec<String>) -> Self {
        self.argv.splice(0..0, prefix);
        self
    }

    pub(crate) fn to_command(&self) -> Command {
        let (program, args) = self
            .argv
            .split_first()
            .expect("BUG: a command has a program");
        let mut command = Command::new(absolute(program));
        // The caller's environment stays out: a PGHOST or LC_ALL of the developer would change what the agent sees.
        command
            .args(args)
            .env_clear()
            .env("PATH", PATH.join(":"))
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8");
        if let Some(term) = std::env::var_os("TERM") {
            command.env("TERM", term);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    fn line(&self) -> String {
        self.argv.join(" ")
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`Error::Io`] when it can't be started, [`Error::Overran`] when it was killed at its limit.
    pub fn run(self) -> Result<Output> {
        let mut command = self.to_command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(Error::io(format!("start `{}`", self.line())))?;
        if let Some(mut stdin) = child.stdin.take()
            && !self.input.is_empty()
        {
            let input = self.input.clone();
            // In a thread of its own: a command that writes much before it reads would block us, and we it.
            // A command that ends without reading its input is its own business, so the error is dropped.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let out = Collector::start(child.stdout.take());
        let err = Collector::start(child.stderr.take());
        let status = wait(&mut child, self.limit)?;
        let (stdout, stderr) = (out.finish(), err.finish());
        match status {
            Some(status) => Ok(Output {
                command: self.line(),
                status,
                stdout,
                stderr,
            }),
            None => Err(Error::Overran {
                command: self.line(),
                limit: self.limit,
                output: format!("{stdout}\n{stderr}").trim().to_owned(),
            }),
        }
    }

    /// Runs it and demands success; gives its standard output.
    ///
    /// # Errors
    /// Those of [`Cmd::run`] and [`Output::ok`].
    pub fn ok(self) -> Result<String> {
        self.run()?.ok()
    }

    /// Starts it and returns at once; both streams go to the file `log`.
    ///
    /// # Errors
    /// [`Error::Io`] when the log can't be made or the program not started.
    pub fn spawn(self, log: &Path) -> Result<Process> {
        let file = File::create(log).map_err(Error::io(format!("create {}", log.display())))?;
        let again = file
            .try_clone()
            .map_err(Error::io("duplicate a file descriptor"))?;
        let mut command = self.to_command();
        command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .process_group(0);
        let child = command
            .spawn()
            .map_err(Error::io(format!("start `{}`", self.line())))?;
        Ok(Process {
            child,
            command: self.line(),
        })
    }
}

/// Waits for `child` up to `limit`; then kills its process group: `None`.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(Error::io("wait for a child"))? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            kill_group(child);
            return Ok(None);
        }
        poll::rest(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills the process group `child` leads and reaps it.
fn kill_group(child: &mut Child) {
    // Not reaped yet, so the number still means our child. It may be a zombie: then there is nothing to kill.
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("BUG: a pid fits pid_t"));
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = child.wait();
}

/// Reads a stream to its end in a thread.
struct Collector {
    read: Arc<Mutex<Vec<u8>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Collector {
    fn start(stream: Option<impl Read + Send + 'static>) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&read);
        let thread = std::thread::spawn(move || {
            let Some(mut stream) = stream else { return };
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..n]);
            }
        });
        Self { read, thread }
    }

    /// What was read. A daemon that the command left behind may hold the pipe open for hours: after the command's
    /// end its stream gets a short grace, and then the thread is left to itself.
    fn finish(self) -> String {
        let _ = poll::until(Duration::from_millis(300), Duration::from_millis(1), || {
            if self.thread.is_finished() {
                Ok(())
            } else {
                Err(())
            }
        });
        String::from_utf8_lossy(&self.read.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }
}

/// A program that was started and runs beside us. Dropping it kills its process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
}

impl Process {
    /// Its number on this machine (not inside the node).
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::Overran`] when it ran past `limit`; it is killed then.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait(&mut self.child, limit)?.ok_or_else(|| Error::Overran {
            command: self.command.clone(),
            limit,
            output: String::new(),
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// A process by number and start time, so that a reused number is never taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    start: u64,
}

impl ProcessId {
    /// The process that has this number now; `None`: there is none.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command in field 2 may hold spaces and parentheses: fields count from the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        if state == "Z" || state == "X" {
            return None;
        }
        Some(Self {
            pid,
            start: fields.nth(18)?.parse().ok()?,
        })
    }

    pub(crate) fn own() -> Self {
        Self::of(std::process::id().cast_signed()).expect("BUG: /proc shows our own process")
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// SIGKILL, and waits for it to be gone.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it is still there after ten seconds (a process in uninterruptible sleep).
    pub(crate) fn kill(self) -> Result<()> {
        if self.is_alive() {
            let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
        let limit = Duration::from_secs(10);
        poll::until(limit, Duration::from_millis(5), || {
            if self.is_alive() { Err(()) } else { Ok(()) }
        })
        .map_err(|()| Error::Timeout {
            what: format!("end of process {}", self.pid),
            limit,
            seen: "it is still there".into(),
            evidence: String::new(),
        })
    }
}
