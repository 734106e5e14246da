//! The agent's only way to run a program. No shell is involved: a program gets its arguments as they are. Everything here
//! ends by its [`Deadline`].

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, setgid, setgroups, setuid, write};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::deadline::Deadline;
use super::owner::Owner;

/// How long a program that was sent SIGKILL may take to be gone. A process in uninterruptible sleep (a dead disk)
/// never goes: without this bound the agent would hang with it.
const REAP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long output is still read after the program itself has ended. A daemon it left behind may hold the pipe open
/// for ever; what the program wrote is in the pipe already.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// How much of the standard error of a watched program is kept: the end, where it says why it failed. It may report its
/// progress for hours before.
const KEPT_WORDS: usize = 16 * 1024;

/// A program to run: arguments as they are, no shell.
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    owner: Option<Owner>,
    stdin: Vec<u8>,
    /// For `oom_score_adj`.
    spared: Option<String>,
}

/// What a program that ended by itself left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, without white space around it; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// Why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program, or the interpreter its first line names, is not installed.
    #[error(
        "{0} was not found: install it, or correct PATH or the parameter that names its directory"
    )]
    NotFound(String),
    /// It had not ended by the deadline and was killed with its process group. What it was doing may have happened,
    /// or may yet happen where it had asked a daemon to do it.
    #[error("{program} did not finish within {after:.1?} and was killed")]
    TimedOut {
        /// Program name.
        program: String,
        /// How long it ran.
        after: Duration,
    },
    /// It was watched, printed nothing for too long, and was killed with its process group.
    #[error("{program} printed nothing for {after:.0?} and was killed")]
    Silent {
        /// Program name.
        program: String,
        /// How long it was silent.
        after: Duration,
    },
    /// Whoever watched it had it killed, with its process group.
    #[error("{0} was stopped")]
    Stopped(String),
    /// It could not be started, or its end could not be awaited.
    #[error("{program} could not be run: {source}")]
    Spawn {
        /// Program name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with a code other than 0, or by a signal.
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        /// Program name.
        program: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// What it wrote to standard error, or to standard output where that is empty; its lines joined to one.
        stderr: String,
    },
}

impl RunError {
    /// The exit code, where the program ended by itself with one.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Failed { status, .. } => status.code(),
            Self::NotFound(_)
            | Self::TimedOut { .. }
            | Self::Silent { .. }
            | Self::Stopped(_)
            | Self::Spawn { .. } => None,
        }
    }
}

impl Command {
    /// A program, found in PATH unless it is a path.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            owner: None,
            stdin: Vec::new(),
            spared: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable; the rest of the environment is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Takes a variable out of the inherited environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Runs under this account: its user, its groups, its HOME, USER and LOGNAME, without Pacemaker's variables, in `/`
    /// (the agent's own directory may be closed to it, and PostgreSQL's tools complain then). Where the agent runs under that account already,
    /// nothing is switched.
    #[must_use]
    pub fn as_owner(mut self, owner: &Owner) -> Self {
        self.owner = Some(owner.clone());
        self
    }

    /// How much the kernel spares it where memory runs out (`oom_score_adj` of proc(5)): -1000 to 1000, and less is safer. Where this process may
    /// not say so, nothing changes.
    #[must_use]
    pub fn spared(mut self, score: i16) -> Self {
        self.spared = Some(score.to_string());
        self
    }

    /// Bytes for its standard input, which ends after them. Without this, standard input is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it and waits for its end; success is exit code 0. Must not be called from asynchronous code, which has
    /// [`Command::output_async`].
    ///
    /// # Errors
    /// See [`RunError`]; [`RunError::Failed`] for any exit code but 0.
    pub fn run(&self, deadline: Deadline) -> Result<Output, RunError> {
        self.successful(self.output(deadline)?)
    }

    /// The output of a program that ended with exit code 0; [`RunError::Failed`] for any other.
    fn successful(&self, output: Output) -> Result<Output, RunError> {
        if output.status.success() {
            return Ok(output);
        }
        let words = if output.stderr_text().is_empty() {
            output.stdout_text()
        } else {
            output.stderr_text()
        };
        // One line: it may become part of an exit reason, which is one, and short. Its own name is said already.
        let own = format!("{}: ", self.name());
        let lines: Vec<&str> = words
            .lines()
            .map(str::trim)
            .map(|line| line.strip_prefix(&own).unwrap_or(line))
            .filter(|line| !line.is_empty())
            .collect();
        let stderr = lines.join("; ");
        Err(RunError::Failed {
            program: self.name(),
            status: output.status,
            stderr,
        })
    }

    /// Runs it and waits for its end, whatever its exit code: for programs that speak through it.
    ///
    /// # Errors
    /// See [`RunError`]; never [`RunError::Failed`].
    pub fn output(&self, deadline: Deadline) -> Result<Output, RunError> {
        self.runtime()?.block_on(self.output_async(deadline))
    }

    fn runtime(&self) -> Result<tokio::runtime::Runtime, RunError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| self.not_run(source))
    }

    fn not_run(&self, source: io::Error) -> RunError {
        RunError::Spawn {
            program: self.name(),
            source,
        }
    }

    /// Runs a program that may take hours and says how far it is. Each line of its standard error (they end in a line
    /// feed or a carriage return) is given to `on_line` as it comes. What is bounded is not the whole time but how long
    /// it may print nothing at all; [`ControlFlow::Break`] kills it at once. Of its standard error the end is kept.
    ///
    /// # Errors
    /// As [`Command::run`], with [`RunError::Silent`] in the place of [`RunError::TimedOut`]; [`RunError::Stopped`] after a break.
    pub fn watch(
        &self,
        silence: Duration,
        on_line: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Output, RunError> {
        let runtime = self.runtime()?;
        let mut words = Words::new(on_line);
        let mut watched = runtime.block_on(async { Watched::start(self) })?;
        let ended = loop {
            // Each line is heard outside of the runtime: what is done about it may run programs itself.
            match runtime.block_on(watched.next(silence)) {
                Next::Words(bytes, is_end) => {
                    if words.hear(&bytes, is_end).is_break() {
                        break Err(RunError::Stopped(self.name()));
                    }
                }
                Next::Ended => break Ok(()),
                Next::Failed(error) => break Err(error),
            }
        };
        match (ended, watched.status) {
            (Ok(()), Some(status)) => self.successful(Output {
                status,
                stdout: watched.out,
                stderr: words.kept,
            }),
            (Err(error), None) => {
                runtime.block_on(end(&mut watched.child));
                Err(error)
            }
            (Err(error), Some(_)) => Err(error),
            (Ok(()), None) => Err(self.not_run(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Starts it and lets it go: in a session of its own, so that neither the end of this process nor its killing
    /// ends it, without standard streams, which whoever called the agent waits on; what it has to say goes to `log`. It
    /// has to end by itself.
    ///
    /// # Errors
    /// [`RunError::NotFound`] or [`RunError::Spawn`].
    pub fn spawn_detached(&self, log: Option<File>) -> Result<(), RunError> {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new(&self.program);
        command.env("PATH", search_path(std::env::var_os("PATH")));
        command.args(&self.args).current_dir("/");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_or_else(Stdio::null, Stdio::from));
        // SAFETY: setsid is async-signal-safe and touches no memory.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) };
        match command.spawn() {
            Ok(_runs_on) => Ok(()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(RunError::NotFound(self.name()))
            }
            Err(source) => Err(RunError::Spawn {
                program: self.name(),
                source,
            }),
        }
    }

    /// [`Command::output`] for asynchronous code, for example to ask several nodes at once.
    ///
    /// The program leads a process group of its own. At the deadline the group gets SIGKILL; a process that has left
    /// the group (a daemon such as the postmaster, which calls setsid) lives on. Processes it leaves behind when it
    /// ends by itself are not touched, and are not waited for although they may hold its output open. When the agent
    /// itself is killed, the program is too, but not what it started.
    ///
    /// # Errors
    /// See [`RunError`]; never [`RunError::Failed`].
    pub async fn output_async(&self, deadline: Deadline) -> Result<Output, RunError> {
        let started = Instant::now();
        let mut child = self.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());

        let ended = {
            let pump = async {
                let feed = async {
                    if let Some(mut pipe) = stdin {
                        // The program may end without reading its input; that is its exit code's business.
                        let _unread = pipe.write_all(&self.stdin).await;
                    }
                };
                tokio::join!(feed, collect(stdout, &mut out), collect(stderr, &mut err));
            };
            tokio::pin!(pump);
            let limit = tokio::time::sleep(deadline.remaining());
            tokio::pin!(limit);
            let mut is_pumped = false;
            loop {
                tokio::select! {
                    status = child.wait() => {
                        if !is_pumped {
                            let _still_open = tokio::time::timeout(DRAIN_TIMEOUT, &mut pump).await;
                        }
                        break Some(status);
                    }
                    () = &mut pump, if !is_pumped => is_pumped = true,
                    () = &mut limit => break None,
                }
            }
        };

        match ended {
            Some(Ok(status)) => Ok(Output {
                status,
                stdout: out,
                stderr: err,
            }),
            Some(Err(source)) => Err(self.not_run(source)),
            None => {
                end(&mut child).await;
                Err(RunError::TimedOut {
                    program: self.name(),
                    after: started.elapsed(),
                })
            }
        }
    }

    fn spawn(&self) -> Result<tokio::process::Child, RunError> {
        self.prepare().spawn().map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                return RunError::NotFound(self.name());
            }
            self.not_run(source)
        })
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn prepare(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.env("PATH", search_path(std::env::var_os("PATH")));
        command.args(&self.args).process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        if let Some(owner) = &self.owner {
            command.current_dir("/").env("HOME", &owner.home);
            command.env("USER", &owner.name).env("LOGNAME", &owner.name);
            // The parameters, passwords among them, are not for the server: its archive_command and every library it
            // loads would see them as long as it runs.
            for (name, _) in std::env::vars_os() {
                if name.as_encoded_bytes().starts_with(b"OCF_") {
                    command.env_remove(name);
                }
            }
        }
        let switch_to = self.owner.clone().filter(|owner| geteuid() != owner.uid);
        let spared = self.spared.clone();
        let before_exec = move || {
            // First: an account of its own has no right to it. To be killed sooner is no reason not to run.
            if let Some(score) = &spared {
                let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                if let Ok(file) = open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
                    let _refused = write(&file, score.as_bytes());
                }
            }
            if let Some(Owner {
                uid, gid, groups, ..
            }) = &switch_to
            {
                // Groups first: without the right to set them nothing may be switched.
                setgroups(groups)?;
                setgid(*gid)?;
                setuid(*uid)?;
            }
            // Pacemaker kills the agent's process group when the action times out, which this program is not part
            // of: it must go with the agent. After setuid, which clears the setting.
            set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed. It makes
        // a few system calls on values computed before the fork, takes no lock and allocates nothing (an Errno
        // becomes an io::Error by its number alone).
        unsafe { command.pre_exec(before_exec) };
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

/// Where programs are looked for, by us and by what we start: in PATH, and behind it where a system has its own. Pacemaker's and corosync's
/// tools are in /usr/sbin, which is in PATH neither for cron's jobs nor for people on Debian.
fn search_path(path: Option<OsString>) -> OsString {
    let mut all: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
    for own in ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        let own = PathBuf::from(own);
        if !all.contains(&own) {
            all.push(own);
        }
    }
    // Only a directory with a colon in its name can't be joined, and no part of a split path has one.
    std::env::join_paths(all).unwrap_or_default()
}

/// Kills a program that has not been waited for, with its process group.
async fn end(child: &mut tokio::process::Child) {
    // Not reaped yet, so the number cannot belong to another process.
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _gone_already = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _hung_in_kernel = tokio::time::timeout(REAP_TIMEOUT, child.wait()).await;
}

/// What a program that is watched did next.
enum Next {
    /// Bytes of its standard error, and whether they are the last.
    Words(Vec<u8>, bool),
    /// It ended, and everything that it wrote has been read.
    Ended,
    Failed(RunError),
}

/// A program that runs, as far as it was read.
struct Watched<'a> {
    command: &'a Command,
    child: tokio::process::Child,
    feed: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    stdout: Option<tokio::process::ChildStdout>,
    stderr: Option<tokio::process::ChildStderr>,
    out: Vec<u8>,
    status: Option<ExitStatus>,
}

impl<'a> Watched<'a> {
    fn start(command: &'a Command) -> Result<Self, RunError> {
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        if stdout.is_none() || stderr.is_none() {
            return Err(command.not_run(io::ErrorKind::BrokenPipe.into()));
        }
        let feed = async move {
            if let Some(mut pipe) = stdin {
                let _unread = pipe.write_all(&command.stdin).await;
            }
        };
        Ok(Self {
            command,
            child,
            feed: Some(Box::pin(feed)),
            stdout,
            stderr,
            out: Vec::new(),
            status: None,
        })
    }

    /// Waits for what happens next; nothing at all for `silence` is an error.
    async fn next(&mut self, silence: Duration) -> Next {
        loop {
            if self.status.is_some() && self.stdout.is_none() && self.stderr.is_none() {
                return Next::Ended;
            }
            // After its end only what is in the pipes is read; a daemon may hold them open.
            let limit = if self.status.is_some() {
                DRAIN_TIMEOUT
            } else {
                silence
            };
            let mut heard = Vec::new();
            tokio::select! {
                () = fed(&mut self.feed), if self.feed.is_some() => self.feed = None,
                ended = self.child.wait(), if self.status.is_none() => match ended {
                    Ok(code) => self.status = Some(code),
                    Err(source) => return Next::Failed(self.command.not_run(source)),
                },
                is_end = read(&mut self.stdout, &mut self.out), if self.stdout.is_some() => {
                    if is_end {
                        self.stdout = None;
                    }
                }
                is_end = read(&mut self.stderr, &mut heard), if self.stderr.is_some() => {
                    if is_end {
                        self.stderr = None;
                    }
                    return Next::Words(heard, is_end);
                }
                () = tokio::time::sleep(limit) => return match self.status {
                    Some(_) => Next::Ended,
                    None => Next::Failed(RunError::Silent {
                        program: self.command.name(),
                        after: silence,
                    }),
                },
            }
        }
    }
}

async fn fed(feed: &mut Option<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    if let Some(feed) = feed {
        feed.await;
    }
}

/// Reads once; whether the pipe has ended.
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> bool {
    match pipe {
        Some(pipe) => matches!(pipe.read_buf(into).await, Ok(0) | Err(_)),
        None => true,
    }
}

/// Standard error, taken apart into lines while it comes.
struct Words<F> {
    on_line: F,
    /// The line that has not ended yet.
    line: Vec<u8>,
    kept: Vec<u8>,
}

impl<F: FnMut(&str) -> ControlFlow<()>> Words<F> {
    fn new(on_line: F) -> Self {
        Self {
            on_line,
            line: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn hear(&mut self, bytes: &[u8], is_end: bool) -> ControlFlow<()> {
        self.kept.extend_from_slice(bytes);
        // Not byte by byte, or each read would move all of it.
        if self.kept.len() > 2 * KEPT_WORDS {
            self.kept.drain(..self.kept.len() - KEPT_WORDS);
        }
        for &byte in bytes {
            if !matches!(byte, b'\n' | b'\r') {
                self.line.push(byte);
                continue;
            }
            self.say()?;
        }
        if is_end {
            self.say()
        } else {
            ControlFlow::Continue(())
        }
    }

    fn say(&mut self) -> ControlFlow<()> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        (self.on_line)(&String::from_utf8_lossy(&line))
    }
}

/// Reads to the end, or as far as it gets: what was read is in `into` also when this is dropped half-way.
async fn collect(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    if let Some(mut pipe) = pipe {
        while !matches!(pipe.read_buf(into).await, Ok(0) | Err(_)) {}
    }
}

/// [`Command::run`] for a program with arguments and nothing else.
///
/// # Errors
/// See [`RunError`]. An empty `argv` is [`RunError::NotFound`].
pub fn run(argv: &[&str], deadline: Deadline) -> Result<Output, RunError> {
    let Some((program, args)) = argv.split_first() else {
        return Err(RunError::NotFound("an empty command".to_owned()));
    };
    Command::new(*program)
        .args(args.iter().copied())
        .run(deadline)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;
    use crate::sys::{OwnerError, poll_until};

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn is_alive(pid: i32) -> bool {
        // A zombie waiting for init is dead.
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim().starts_with('Z'))
    }

    #[test]
    fn more_output_than_a_pipe_holds_does_not_deadlock() {
        let text = "x".repeat(300_000);
        let output = Command::new("tee")
            .arg("/dev/stderr")
            .stdin(text.as_bytes())
            .run(soon())
            .unwrap();
        assert_eq!(output.stdout.len(), text.len());
        assert_eq!(output.stderr.len(), text.len());
    }

    #[test]
    fn programs_of_the_system_are_found_whatever_path_says() {
        for (path, expected) in [
            (None, "/usr/sbin:/usr/bin:/sbin:/bin"),
            // Cron's, Debian's for people, and root's.
            (Some("/usr/bin:/bin"), "/usr/bin:/bin:/usr/sbin:/sbin"),
            (
                Some("/usr/local/bin:/usr/bin:/bin:/usr/games"),
                "/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin",
            ),
            (
                Some("/usr/sbin:/usr/bin:/sbin:/bin:/opt/x"),
                "/usr/sbin:/usr/bin:/sbin:/bin:/opt/x",
            ),
        ] {
            let found = search_path(path.map(OsString::from));
            assert_eq!(found, OsString::from(expected), "{path:?}");
        }
        // What is started has it, and it is what it is found by.
        let output = Command::new("sh").args(["-c", "echo $PATH"]).run(soon());
        let path = output.unwrap().stdout_text();
        assert!(
            path.trim().split(':').any(|dir| dir == "/usr/sbin"),
            "{path}"
        );
    }

    #[test]
    fn input_that_nobody_reads_is_no_error() {
        Command::new("true")
            .stdin(vec![b'x'; 300_000])
            .run(soon())
            .unwrap();
    }

    #[test]
    fn failure_carries_the_code_and_the_words() {
        let error = run(&["sh", "-c", "echo why >&2; echo not >&2; exit 7"], soon()).unwrap_err();
        assert_eq!(error.exit_code(), Some(7));
        assert!(error.to_string().ends_with("why; not"), "{error}");
        let script = "echo 'sh: unrecognized option' >&2; exit 1";
        let error = run(&["sh", "-c", script], soon()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("(exit status: 1): unrecognized option"),
            "{error}"
        );
        let error = run(&["sh", "-c", "kill -9 $$"], soon()).unwrap_err();
        assert!(matches!(error, RunError::Failed { status, .. } if status.signal() == Some(9)));
    }

    #[test]
    fn a_missing_program_is_its_own_error() {
        assert!(
            matches!(run(&["no-such-program"], soon()), Err(RunError::NotFound(name)) if name == "no-such-program")
        );
        assert!(matches!(run(&[], soon()), Err(RunError::NotFound(_))));
    }

    #[test]
    fn the_deadline_kills_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let error = run(
            &["sh", "-c", &script],
            Deadline::after(Duration::from_millis(500)),
        )
        .unwrap_err();
        assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
        let grandchild: i32 = std::fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(
            poll_until(soon(), Duration::from_millis(10), || (!is_alive(
                grandchild
            ))
            .then_some(()))
            .is_some()
        );
    }

    #[test]
    fn a_daemon_left_behind_does_not_hold_the_call() {
        let started = Instant::now();
        let output = run(&["sh", "-c", "sleep 30 & echo $!"], soon()).unwrap();
        let daemon: i32 = output.stdout_text().trim().parse().unwrap();
        assert!(is_alive(daemon), "left alone");
        nix::sys::signal::kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn what_is_done_about_a_line_may_run_a_program_itself() {
        let mut heard = Vec::new();
        Command::new("sh")
            .args(["-c", "echo one >&2; echo two >&2"])
            .watch(Duration::from_secs(20), |line| {
                let echoed = Command::new("echo").arg(line).run(soon()).unwrap();
                heard.push(echoed.stdout_text().trim().to_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(heard, ["one", "two"]);
    }

    #[test]
    fn a_watched_program_is_heard_line_by_line() {
        let script = "printf 'a\\nb\\rc' >&2; echo out; exit 3";
        let mut heard = Vec::new();
        let error = Command::new("sh")
            .args(["-c", script])
            .watch(Duration::from_secs(20), |line| {
                heard.push(line.to_owned());
                ControlFlow::Continue(())
            })
            .unwrap_err();
        assert_eq!(heard, ["a", "b", "c"]);
        assert_eq!(error.exit_code(), Some(3));
        assert!(error.to_string().contains('c'), "{error}");
        let output = Command::new("cat")
            .stdin(vec![b'x'; 300_000])
            .watch(Duration::from_secs(20), |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(output.stdout.len(), 300_000);
    }

    #[test]
    fn a_watched_program_is_killed_for_silence_and_on_demand_but_not_for_taking_long() {
        let watch = |script: &str, silence: u64, until: &str| {
            Command::new("sh")
                .args(["-c", script])
                .watch(Duration::from_millis(silence), |line| {
                    if line == until {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })
        };
        let talks = "for i in 1 2 3 4 5 6; do echo $i >&2; sleep 0.3; done";
        assert!(watch(talks, 1500, "none").is_ok());
        let silent = watch("echo a >&2; sleep 600", 300, "none");
        assert!(matches!(silent, Err(RunError::Silent { .. })), "{silent:?}");
        let stopped = watch("echo a >&2; sleep 600", 20_000, "a");
        assert!(matches!(stopped, Err(RunError::Stopped(_))), "{stopped:?}");
        // A daemon that keeps the pipes open does not hold the call.
        let started = Instant::now();
        watch("sleep 5 & true", 20_000, "none").unwrap();
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn environment_is_set_and_removed() {
        let output = Command::new("sh")
            .args(["-c", "echo $A-${HOME-none}"])
            .env("A", "b c")
            .env_remove("HOME")
            .run(soon())
            .unwrap();
        assert_eq!(output.stdout_text(), "b c-none\n");
    }

    #[test]
    fn the_owner_gets_its_own_groups_and_none_of_ours() {
        assert!(matches!(
            Owner::lookup("no-such-account"),
            Err(OwnerError::Unknown(_))
        ));
        if !geteuid().is_root() {
            return;
        }
        let owner = Owner::lookup("nobody").unwrap();
        let show = ["-c", "id -u; id -g; id -G; pwd; echo $USER"];
        let output = Command::new("sh")
            .args(show)
            .as_owner(&owner)
            .run(soon())
            .unwrap();
        let groups: Vec<String> = owner.groups.iter().map(ToString::to_string).collect();
        let expected = format!(
            "{}\n{}\n{}\n/\nnobody\n",
            owner.uid,
            owner.gid,
            groups.join(" ")
        );
        assert_eq!(output.stdout_text(), expected);
    }
}
