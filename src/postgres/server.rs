//! Starting, stopping and promoting the server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::decide::stop::Escalation;
use crate::postgres::address::{is_abstract, names_socket};
use crate::postgres::control;
use crate::postgres::lock_files::{self, Sockets};
use crate::postgres::process::{self, Postmaster, Running};
use crate::postgres::programs::Programs;
use crate::sys::{Deadline, Owner, RunError, poll_until};

/// How often a state that changes soon is looked at. Shorter costs CPU, longer costs failover
/// time: several of these waits follow one another in a failover.
const POLL: Duration = Duration::from_millis(20);

/// How long a process of a server that has stopped in order may take to end by itself. It takes milliseconds; what
/// lives longer is stuck.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a process gets to die of SIGKILL, also where no time is left: it takes milliseconds, on a machine that is overloaded more,
/// and who is said to survive it gets the node fenced.
const DYING: Duration = Duration::from_secs(1);

/// How to start this instance.
#[derive(Clone, Debug)]
pub struct Launch {
    pub pgdata: PathBuf,
    pub config: PathBuf,
    pub logfile: PathBuf,
    pub port: u16,
    /// An address, or where its socket is to be, as libpq has it.
    pub host: Option<String>,
    pub socket_dirs: Vec<PathBuf>,
    /// Further words for the server, as the operator wrote them.
    pub start_opt: String,
    /// Further words for pg_ctl.
    pub ctl_opt: Vec<String>,
}

/// A step did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("cannot tell whether the server runs: {0}")]
    Process(#[from] io::Error),
    #[error("process {pid} of the server survives SIGKILL for {:.1} s: the kernel holds it, probably in a disk request", .after.as_secs_f32())]
    Unkillable { pid: i32, after: Duration },
}

impl Launch {
    /// Where the lock file of its socket will be, as far as that is known here.
    #[must_use]
    pub fn sockets(&self) -> Sockets {
        let mut dirs = self.own_socket_dirs();
        // These have none.
        dirs.retain(|dir| !is_abstract(dir));
        Sockets {
            dirs,
            port: self.port,
        }
    }

    /// Where its sockets are to be; none: where the configuration says.
    fn own_socket_dirs(&self) -> Vec<PathBuf> {
        match &self.host {
            Some(host) if names_socket(host) => vec![host.into()],
            Some(_) | None => self.socket_dirs.clone(),
        }
    }
}

/// Makes room for a server where none works: what a dead postmaster has left behind is ended, and its lock files keep nobody out.
///
/// # Errors
/// As [`kill_orphans`].
pub fn make_room(
    pgdata: &Path,
    sockets: &Sockets,
    owner: &Owner,
    deadline: Deadline,
) -> Result<(), ServerError> {
    kill_orphans(pgdata, owner, deadline)?;
    lock_files::outdate(pgdata, sockets, owner);
    Ok(())
}

/// Asks pg_ctl to start the server, and does not wait for it.
///
/// # Errors
/// pg_ctl failed; its words are in the error.
pub fn launch(programs: &Programs, launch: &Launch, deadline: Deadline) -> Result<(), ServerError> {
    // pg_ctl hands these words to a shell, so each value is quoted for one.
    let mut words = vec![
        "-c".to_owned(),
        format!("config_file={}", launch.config.display()),
        "-p".to_owned(),
        launch.port.to_string(),
        // What a process waits for is seen there when no login gets through. start_opt comes later and wins.
        "-c".to_owned(),
        "update_process_title=on".to_owned(),
    ];
    if let Some(host) = launch.host.as_ref().filter(|host| !names_socket(host)) {
        words.extend(["-h".to_owned(), host.clone()]);
    }
    let dirs = launch.own_socket_dirs();
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    if !dirs.is_empty() {
        words.extend(["-k".to_owned(), dirs.join(",")]);
    }
    if hides_waits(control::major_version(&launch.pgdata)) {
        words.extend(["-c".to_owned(), "track_activities=on".to_owned()]);
    }
    let options = format!("{} {}", shell_words::join(&words), launch.start_opt);
    let command = programs
        .pg_ctl()
        .arg("start")
        .arg("-W")
        .arg("-s")
        .arg("-D")
        .arg(&launch.pgdata)
        .arg("-l")
        .arg(&launch.logfile)
        .arg("-o")
        .arg(options.trim_end())
        .args(&launch.ctl_opt)
        .spared(spared());
    let own = [
        ("PG_OOM_ADJUST_FILE", OOM_SCORE),
        ("PG_OOM_ADJUST_VALUE", "0"),
    ];
    let unset = own
        .into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none());
    let command = unset.fold(command, |command, (name, value)| command.env(name, value));
    command.run(deadline)?;
    Ok(())
}

/// Source: proc(5).
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// What the units of the distributions give the postmaster: where memory runs out one of its sessions ends, and not all. Its children take it back by
/// themselves. Source: PostgreSQL, "Linux Memory Overcommit".
const SPARED: i16 = -900;

/// That, or what Pacemaker was given, where that is less.
fn spared() -> i16 {
    let own = fs::read_to_string(OOM_SCORE).ok();
    let own = own.and_then(|text| text.trim().parse().ok());
    own.unwrap_or(SPARED).min(SPARED)
}

/// Whether a server of this version may leave out what its processes wait for (`track_activities=off`): whether a standby has replayed all it
/// has is seen by that alone. From 14 on it always says so. Source: `pgstat_report_wait_start` of each version.
fn hides_waits(major: Option<u32>) -> bool {
    major.is_some_and(|major| major < 14)
}

/// Asks a standby to become a primary, and does not wait for it.
///
/// # Errors
/// pg_ctl failed; its words are in the error.
pub fn promote(programs: &Programs, pgdata: &Path, deadline: Deadline) -> Result<(), ServerError> {
    programs
        .pg_ctl()
        .arg("promote")
        .arg("-W")
        .arg("-s")
        .arg("-D")
        .arg(pgdata)
        .run(deadline)?;
    Ok(())
}

/// Makes the server read its configuration again.
///
/// # Errors
/// The signal could not be sent.
pub fn reload(running: &Running) -> io::Result<()> {
    running.signal(Signal::SIGHUP).map(drop)
}

/// The way a server went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Ended {
    /// It did not run.
    Already,
    Fast,
    /// As fast, and ended once it only waited for others: the archiver, or a standby that hangs.
    Curtailed,
    Immediate,
    Killed,
}

/// Stops the server: fast, then immediate, then SIGKILL to all its processes. Signals are sent
/// directly, so that stopping needs neither pg_ctl nor a correct configuration. `only_waits` is asked again and again
/// whether a fast shutdown has nothing left to do but to wait.
///
/// # Errors
/// Some process outlives even SIGKILL, or nobody can tell.
pub fn stop(
    pgdata: &Path,
    owner: &Owner,
    plan: impl Fn(&Running) -> Escalation,
    mut only_waits: impl FnMut(&Running) -> bool,
    deadline: Deadline,
) -> Result<Ended, ServerError> {
    let Postmaster::Running(running) = process::postmaster_of(pgdata, owner)? else {
        // Its children may still be there, after a SIGKILL to the postmaster alone.
        kill_orphans(pgdata, owner, deadline)?;
        return Ok(Ended::Already);
    };
    let plan = plan(&running);
    let mut is_through = false;
    for (signal, time, ended) in [
        (Signal::SIGINT, plan.fast, Ended::Fast),
        (Signal::SIGQUIT, plan.immediate, Ended::Immediate),
    ] {
        if time.is_zero() {
            continue;
        }
        running.signal(signal)?;
        let mut is_enough = || signal == Signal::SIGINT && only_waits(&running);
        match wait_gone(
            pgdata,
            owner,
            running.pid,
            deadline.min(time),
            &mut is_enough,
        )? {
            Waited::Gone => {
                wait_for_last_words(pgdata, owner, deadline)?;
                kill_orphans(pgdata, owner, deadline)?;
                return Ok(if is_through { Ended::Curtailed } else { ended });
            }
            Waited::Enough => is_through = true,
            Waited::InVain => {}
        }
    }
    running.signal(Signal::SIGKILL)?;
    wait_gone(pgdata, owner, running.pid, deadline.max(DYING), &mut || {
        false
    })?;
    kill_orphans(pgdata, owner, deadline)?;
    Ok(if is_through {
        Ended::Curtailed
    } else {
        Ended::Killed
    })
}

/// What came of waiting for a postmaster's end.
enum Waited {
    Gone,
    /// It goes on, and there is no use in waiting.
    Enough,
    InVain,
}

fn wait_gone(
    pgdata: &Path,
    owner: &Owner,
    pid: i32,
    deadline: Deadline,
    is_enough: &mut dyn FnMut() -> bool,
) -> io::Result<Waited> {
    let waited = poll_until(deadline, POLL, || {
        match process::postmaster_of(pgdata, owner) {
            Ok(Postmaster::Running(running)) if running.pid == pid => {
                is_enough().then_some(Ok(Waited::Enough))
            }
            Ok(_) => Some(Ok(Waited::Gone)),
            Err(error) => Some(Err(error)),
        }
    });
    waited.unwrap_or(Ok(Waited::InVain))
}

/// After an orderly end some processes are on their way out: the postmaster itself, which removes its pid file before
/// it exits, and the logging collector, which still writes what is in its pipe.
fn wait_for_last_words(pgdata: &Path, owner: &Owner, deadline: Deadline) -> io::Result<()> {
    let gone = poll_until(deadline.min(LAST_WORDS), POLL, || {
        match process::orphans(pgdata, owner.uid) {
            Ok(pids) if pids.is_empty() => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    });
    gone.unwrap_or(Ok(()))
}

/// Ends what a dead postmaster left behind: it could not be stopped in order any more, and while
/// it lives no new server can start.
///
/// # Errors
/// See [`ServerError::Unkillable`].
pub fn kill_orphans(pgdata: &Path, owner: &Owner, deadline: Deadline) -> Result<(), ServerError> {
    let deadline = deadline.max(DYING);
    let allowed = deadline.remaining();
    let mut last = None;
    let gone = poll_until(deadline, POLL, || {
        match process::orphans(pgdata, owner.uid) {
            Ok(pids) if pids.is_empty() => Some(Ok(())),
            Ok(pids) => {
                last = pids.first().copied();
                pids.iter()
                    .find_map(|&pid| {
                        process::signal_orphan(pgdata, owner.uid, pid, Signal::SIGKILL).err()
                    })
                    .map(Err)
            }
            Err(error) => Some(Err(error)),
        }
    });
    match gone {
        Some(result) => Ok(result?),
        None => Err(ServerError::Unkillable {
            pid: last.unwrap_or_default(),
            after: allowed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_waits_for_is_asked_for_where_it_may_be_hidden() {
        for (major, expected) in [
            (Some(12), true),
            (Some(13), true),
            (Some(14), false),
            (Some(18), false),
            (None, false),
        ] {
            assert_eq!(hides_waits(major), expected, "{major:?}");
        }
    }
}
