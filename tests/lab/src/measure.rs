//! What a command costs: processes, wall time, CPU time.
//!
//! Processes are counted with ptrace, which slows them down; so times come from other runs of the same command,
//! without it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::process::Cmd;
use crate::{agent, corosync, resources};

/// Runs whose median is taken.
const RUNS: usize = 5;
/// Limit of one run.
const LIMIT: Duration = Duration::from_secs(60);

/// What one call of a command costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Processes, the command itself included; threads don't count.
    pub processes: u32,
    /// Time from start to end: median of five runs.
    pub wall: Duration,
    /// User and system time of it and of every descendant that was waited for: median of five runs.
    pub cpu: Duration,
    /// Exit code of the last run; 128 + N for a death by signal N.
    pub status: i32,
}

impl Node {
    /// Runs a command six times and tells what one run costs. The cost of entering the node is taken off.
    ///
    /// # Errors
    /// What keeps it from being started or traced.
    pub fn measure<S: AsRef<str>>(&self, argv: &[S], env: &[(String, String)]) -> Result<Cost> {
        let command = |words: &[&str]| -> Result<Cmd> {
            Ok(env.iter().fold(self.command(words)?, |cmd, (name, value)| {
                cmd.env(name, value)
            }))
        };
        let words: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        // One of them is nsenter.
        let processes = count_processes(command(&words)?.to_command())?.saturating_sub(1);
        let (nothing_wall, nothing_cpu, _) = times(&command(&["true"])?)?;
        let (wall, cpu, status) = times(&command(&words)?)?;
        Ok(Cost {
            processes,
            wall: wall.saturating_sub(nothing_wall),
            cpu: cpu.saturating_sub(nothing_cpu),
            status,
        })
    }
}

/// Medians of wall and CPU time over [`RUNS`] runs, and the last status.
fn times(command: &Cmd) -> Result<(Duration, Duration, i32)> {
    let runs: Vec<(Duration, Duration, i32)> = (0..RUNS)
        .map(|_| time(command.to_command()))
        .collect::<Result<_>>()?;
    let median = |pick: fn(&(Duration, Duration, i32)) -> Duration| {
        let mut values: Vec<Duration> = runs.iter().map(pick).collect();
        values.sort();
        values[RUNS / 2]
    };
    Ok((median(|run| run.0), median(|run| run.1), runs[RUNS - 1].2))
}

fn time(mut command: Command) -> Result<(Duration, Duration, i32)> {
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(Error::io("start the command"))?;
    let pid = child.id().cast_signed();
    let mut status = 0;
    // SAFETY: a zeroed rusage is a valid value of that C struct.
    let mut usage: nix::libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the types wait4 fills; the child is ours and nobody else waits for it.
    let waited = unsafe { nix::libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid {
        return Err(Error::sys("wait for the command")(Errno::last()));
    }
    let wall = start.elapsed();
    let of = |time: nix::libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok((wall, of(usage.ru_utime) + of(usage.ru_stime), code(status)))
}

/// A wait status as a shell shows it.
fn code(status: i32) -> i32 {
    if nix::libc::WIFEXITED(status) {
        nix::libc::WEXITSTATUS(status)
    } else {
        128 + nix::libc::WTERMSIG(status)
    }
}

/// Runs a command under ptrace and counts the processes it and its descendants are.
fn count_processes(mut command: Command) -> Result<u32> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    // SAFETY: between fork and exec the closure makes one system call and touches no memory of the parent.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
    let child = command
        .spawn()
        .map_err(Error::io("start the command under ptrace"))?;
    let root = Pid::from_raw(child.id().cast_signed());
    let stopped = waitpid(root, None).map_err(Error::sys("wait for the traced command"))?;
    if !matches!(stopped, WaitStatus::Stopped(_, Signal::SIGTRAP)) {
        return Err(Error::Other(format!(
            "the traced command did not stop at its start: {stopped:?}"
        )));
    }
    use ptrace::Options;
    // EXITKILL: if this thread dies, nothing stays stopped.
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(root, options).map_err(Error::sys("set ptrace options"))?;
    ptrace::cont(root, None).map_err(Error::sys("let the traced command go on"))?;
    let start = Instant::now();
    let mut processes = 1;
    loop {
        if start.elapsed() > LIMIT {
            let _ = nix::sys::signal::killpg(root, Signal::SIGKILL);
            return Err(Error::Other(format!(
                "the traced command did not end in {LIMIT:?}"
            )));
        }
        match next_change() {
            Ok(None) => crate::poll::rest(Duration::from_micros(200)),
            Ok(Some((pid, status))) if nix::libc::WIFSTOPPED(status) => {
                let event = status >> 16;
                processes += u32::from(event != 0 && is_new_process(pid, event));
                let signal = nix::libc::WSTOPSIG(status);
                // A new tracee reports a SIGSTOP, ptrace's own, not to be delivered.
                let is_own =
                    event != 0 || signal == nix::libc::SIGSTOP || signal == nix::libc::SIGTRAP;
                go_on(pid, if is_own { 0 } else { signal });
            }
            Ok(Some((pid, _))) if pid == root => return Ok(processes),
            Ok(Some(_)) => {}
            Err(Errno::ECHILD) => return Ok(processes),
            Err(errno) => return Err(Error::sys("wait for the traced command")(errno)),
        }
    }
}

/// What happened next to a child of this thread (children of other threads are theirs to wait for), and its raw wait
/// status; `None`: nothing yet.
///
/// The status stays raw: [`nix::sys::wait::waitpid`] answers EINVAL to a signal that it has no name for, such as the C
/// library's real-time signals between the threads of one process, and with that the event is gone.
fn next_change() -> nix::Result<Option<(Pid, i32)>> {
    let flags = nix::libc::__WALL | nix::libc::__WNOTHREAD | nix::libc::WNOHANG;
    let mut status = 0;
    // SAFETY: the pointer is to a live local of the type that waitpid fills.
    let pid = unsafe { nix::libc::waitpid(-1, &raw mut status, flags) };
    match Errno::result(pid)? {
        0 => Ok(None),
        pid => Ok(Some((Pid::from_raw(pid), status))),
    }
}

/// Lets a stopped tracee go on, with a signal or with none (0). One that died meanwhile is no error.
fn go_on(tracee: Pid, signal: i32) {
    let (nothing, signal) = (std::ptr::null_mut::<nix::libc::c_void>(), i64::from(signal));
    // SAFETY: PTRACE_CONT reads no memory; the signal's number is its last argument.
    unsafe { nix::libc::ptrace(nix::libc::PTRACE_CONT, tracee.as_raw(), nothing, signal) };
}

/// Whether a ptrace event tells of a new process; a clone may be a thread.
fn is_new_process(parent: Pid, event: i32) -> bool {
    match event {
        nix::libc::PTRACE_EVENT_FORK | nix::libc::PTRACE_EVENT_VFORK => true,
        nix::libc::PTRACE_EVENT_CLONE => {
            let Ok(new) = ptrace::getevent(parent) else {
                return true;
            };
            let status = std::fs::read_to_string(format!("/proc/{new}/status")).unwrap_or_default();
            let group = status
                .lines()
                .find_map(|line| line.strip_prefix("Tgid:"))
                .map(str::trim);
            group == Some(new.to_string().as_str())
        }
        _ => false,
    }
}

impl Cluster {
    /// The environment in which Pacemaker calls the agent on a node.
    ///
    /// # Errors
    /// [`Error::Failed`] when Pacemaker's tools don't answer.
    pub fn agent_environment(&self, node: &Node) -> Result<Vec<(String, String)>> {
        let spec = self.spec();
        let empty = node.run(&["cibadmin", "--empty"])?.ok()?;
        let features = roxmltree::Document::parse(&empty).ok().and_then(|cib| {
            cib.root_element()
                .attribute("crm_feature_set")
                .map(str::to_owned)
        });
        let nodes = spec.nodes.to_string();
        let fixed = [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_RESOURCE_INSTANCE", resources::RESOURCE),
            ("OCF_RESOURCE_PROVIDER", "heartbeat"),
            ("OCF_RESOURCE_TYPE", spec.agent.ocf_name()),
            (
                "OCF_RESKEY_crm_feature_set",
                features.as_deref().unwrap_or("3.16.1"),
            ),
            ("OCF_RESKEY_CRM_meta_clone", "0"),
            ("OCF_RESKEY_CRM_meta_clone_max", &nodes),
            ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
            ("OCF_RESKEY_CRM_meta_interval", "3000"),
            ("OCF_RESKEY_CRM_meta_master_max", "1"),
            ("OCF_RESKEY_CRM_meta_master_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_notify", "true"),
            ("OCF_RESKEY_CRM_meta_on_node", node.name()),
            ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
            ("OCF_RESKEY_CRM_meta_promoted_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_timeout", "60000"),
            ("HA_logfile", corosync::LOG),
            ("HA_cluster_type", "corosync"),
            ("PCMK_logfile", corosync::LOG),
        ];
        let parameters = agent::parameters(&spec, self.layout());
        let parameters = parameters
            .into_iter()
            .map(|(name, value)| (format!("OCF_RESKEY_{name}"), value));
        Ok(fixed
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(parameters)
            .collect())
    }

    /// Calls the agent on a node as Pacemaker would, and gives what it wrote and how it ended.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn call_agent(&self, node: &Node, action: &str) -> Result<crate::process::Output> {
        self.call_agent_with(node, action, &[])
    }

    /// The same with more in its environment, or with other values.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn call_agent_with(
        &self,
        node: &Node,
        action: &str,
        more: &[(String, String)],
    ) -> Result<crate::process::Output> {
        let mut command = node.command(&[self.agent_path(), action.to_owned()])?;
        for (name, value) in self.agent_environment(node)?.iter().chain(more) {
            command = command.env(name, value);
        }
        command.run()
    }

    /// What one call of the agent costs on a node.
    ///
    /// # Errors
    /// As [`Node::measure`].
    pub fn measure_agent(&self, node: &Node, action: &str) -> Result<Cost> {
        node.measure(
            &[self.agent_path(), action.to_owned()],
            &self.agent_environment(node)?,
        )
    }

    fn agent_path(&self) -> String {
        format!("{}/{}", agent::DIRECTORY, self.spec().agent.ocf_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> u32 {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        count_processes(command).expect("counted")
    }

    #[test]
    fn every_process_is_counted_once() {
        assert_eq!(shell("exit 0"), 1);
        assert_eq!(shell("(exit 0); (exit 0); exit 0"), 3);
    }

    #[test]
    fn a_signal_without_a_name_is_passed_on() {
        assert_eq!(shell("kill -40 $$"), 1);
        assert_eq!(shell("sh -c 'kill -40 $$'; exit 0"), 2);
    }
}
