//! Whether a server that takes no connections is left alone, by what it is there for, and whether its recovery gets on, or hangs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::eligibility::Promise;

/// What was seen of a server that takes no connections yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Its startup process, which replays; 0 where there is none.
    pub pid: i32,
    /// How long that process, with what it has started, has run on a CPU so far.
    pub run_time: u64,
    /// Time since the machine started.
    pub at: Duration,
    /// Whose it is. An agent that noted nothing of it noted another server's.
    #[serde(default)]
    pub server: Server,
}

/// A server's main process, which no other is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub pid: i32,
    /// When it was begun, as time since the machine started; `None`: that can't be told.
    pub started: Option<Duration>,
}

/// How a recovery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    GoesOn,
    /// Nothing has been done for so long: it waits for a disk, or for restore_command.
    Idle(Duration),
    /// As [`Course::Idle`], and for too long.
    Hangs(Duration),
}

impl Course {
    /// How long nothing has been done.
    #[must_use]
    pub const fn idle(self) -> Duration {
        match self {
            Self::GoesOn => Duration::ZERO,
            Self::Idle(since) | Self::Hangs(since) => since,
        }
    }
}

/// Where nothing at all was done for so long, a restart loses nothing. A startup process that waits for WAL, as before its
/// data are consistent and the primary is away, looks for it several times a second; so this is a disk request or a command that
/// does not return, or a process that is stopped by a signal.
const HANGS: Duration = Duration::from_secs(300);

/// What a server is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// No other has its data.
    Alone,
    /// It has standby.signal: what it replays makes no primary of it.
    Standby,
    /// The primary of a cluster, by its data directory.
    Primary(Promise),
    /// It should be a standby, and is none.
    Misfit,
}

/// What came of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// That it takes no connections now. Which of the reasons there are for that, it says in its own language only.
    NotReady,
    /// Nothing, or nothing in time.
    Nothing,
    /// The login failed on the agent's side.
    Nonsense,
}

/// What the main process has written of itself. A recovery in place, after one of its processes was killed, writes nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not taken a connection since it was started.
    Starting,
    /// It was told to stop.
    Stopping,
    /// It replays, and takes no connections as long as it does (`hot_standby=off`). From PostgreSQL 15 on a recovery after a crash says that, too.
    Closed,
    /// It has taken connections; or it says nothing that is known.
    Up,
}

/// By what a server that takes no connections is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// By what its startup process does ([`course`]).
    Startup,
    /// By the clock: there is no process to look at, or somebody waits who has another server.
    For(Duration),
    /// It has failed.
    Failed,
}

/// How long a server without another one may take from the death of a process to its recovery: the others are ended first, and
/// one that is in a disk's hands keeps it waiting.
const GATHERS: Duration = Duration::from_secs(60);

/// How long the primary of a cluster may recover in place. It has every commit that it has acknowledged, and takes as long as the WAL since
/// its last checkpoint does; a restart would begin that anew. In sync mode a standby has them, too, and takes over in some seconds: a little more
/// than that is left to it. In async mode a standby may lack the last ones, so more is.
const fn in_place(promise: Promise) -> Duration {
    match promise {
        Promise::Sync => Duration::from_secs(10),
        Promise::Async => Duration::from_secs(90),
    }
}

/// By what a server is judged that takes no connections. A startup process is a sign of a recovery only where the server says that it
/// is not ready: a standby always has one, and what a session's title says anybody may have chosen.
#[must_use]
pub fn watch(duty: Duty, heard: Heard, phase: Phase, has_startup: bool) -> Watch {
    match (duty, heard, phase) {
        (Duty::Misfit, ..) | (_, Heard::Nonsense, _) => Watch::Failed,
        (Duty::Alone | Duty::Standby, _, Phase::Starting) if has_startup => Watch::Startup,
        (_, Heard::Nothing, _) => Watch::Failed,
        (Duty::Alone, Heard::NotReady, Phase::Up | Phase::Closed) if has_startup => Watch::Startup,
        (Duty::Standby, Heard::NotReady, Phase::Up) if has_startup => Watch::Startup,
        // On its way down, or up, or between the two, it does no harm.
        (Duty::Standby, Heard::NotReady, _) => Watch::For(HANGS),
        // Whoever stops a server that nobody else stands in for, or a primary, does not want it to be kept.
        (Duty::Alone | Duty::Primary(_), Heard::NotReady, Phase::Stopping) => Watch::Failed,
        (Duty::Alone, Heard::NotReady, Phase::Starting | Phase::Closed | Phase::Up) => {
            Watch::For(GATHERS)
        }
        // A promotion that restarts the server waits for it itself.
        (Duty::Primary(_), Heard::NotReady, Phase::Starting) => Watch::Failed,
        (Duty::Primary(promise), Heard::NotReady, Phase::Closed | Phase::Up) => {
            Watch::For(in_place(promise))
        }
    }
}

/// How often the note is made anew while the recovery goes on: it is a write to the disk that the recovery needs.
const RENEW: Duration = Duration::from_secs(30);

/// Holds what is seen `now` against what was `noted` before, and gives what is to be noted for the next time.
#[must_use]
pub fn course(noted: Option<&Look>, now: &Look) -> (Course, Look) {
    let is_same = |noted: &&Look| noted.pid == now.pid && noted.server == now.server;
    let Some(noted) = noted.filter(is_same) else {
        return (Course::GoesOn, now.clone());
    };
    let since = now.at.saturating_sub(noted.at);
    if noted.run_time != now.run_time {
        let next = if since >= RENEW { now } else { noted };
        return (Course::GoesOn, next.clone());
    }
    let course = if since >= HANGS {
        Course::Hangs(since)
    } else {
        Course::Idle(since)
    };
    (course, noted.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_ready_is_judged_by_what_it_is_there_for() {
        use Phase::{Closed, Starting, Stopping, Up};
        let hangs = Watch::For(HANGS);
        let gathers = Watch::For(GATHERS);
        let sync = Duty::Primary(Promise::Sync);
        let lossy = Duty::Primary(Promise::Async);
        let a_while = |promise| Watch::For(in_place(promise));
        for (duty, heard, phase, without, with_startup) in [
            // A process of it was killed: the others are ended, and it replays. It says "ready" of itself all the time.
            (Duty::Alone, Heard::NotReady, Up, gathers, Watch::Startup),
            (Duty::Standby, Heard::NotReady, Up, hangs, Watch::Startup),
            (
                sync,
                Heard::NotReady,
                Up,
                a_while(Promise::Sync),
                a_while(Promise::Sync),
            ),
            (
                lossy,
                Heard::NotReady,
                Up,
                a_while(Promise::Async),
                a_while(Promise::Async),
            ),
            // It was started, and replays.
            (
                Duty::Alone,
                Heard::NotReady,
                Starting,
                gathers,
                Watch::Startup,
            ),
            (
                Duty::Standby,
                Heard::NotReady,
                Starting,
                hangs,
                Watch::Startup,
            ),
            (
                sync,
                Heard::NotReady,
                Starting,
                Watch::Failed,
                Watch::Failed,
            ),
            (
                lossy,
                Heard::NotReady,
                Starting,
                Watch::Failed,
                Watch::Failed,
            ),
            // Somebody stops it. A standby goes on to replay until its sessions are over.
            (
                Duty::Alone,
                Heard::NotReady,
                Stopping,
                Watch::Failed,
                Watch::Failed,
            ),
            (Duty::Standby, Heard::NotReady, Stopping, hangs, hangs),
            (
                sync,
                Heard::NotReady,
                Stopping,
                Watch::Failed,
                Watch::Failed,
            ),
            // It would never be watched, however well it replays.
            (Duty::Standby, Heard::NotReady, Closed, hangs, hangs),
            // Without standby.signal it is the recovery after a crash.
            (
                Duty::Alone,
                Heard::NotReady,
                Closed,
                gathers,
                Watch::Startup,
            ),
            (
                sync,
                Heard::NotReady,
                Closed,
                a_while(Promise::Sync),
                a_while(Promise::Sync),
            ),
            // It says nothing: the machine is slow, or it hangs. A recovery at the start is seen all the same.
            (
                Duty::Alone,
                Heard::Nothing,
                Starting,
                Watch::Failed,
                Watch::Startup,
            ),
            (
                Duty::Standby,
                Heard::Nothing,
                Starting,
                Watch::Failed,
                Watch::Startup,
            ),
            (sync, Heard::Nothing, Starting, Watch::Failed, Watch::Failed),
            (
                Duty::Alone,
                Heard::Nothing,
                Up,
                Watch::Failed,
                Watch::Failed,
            ),
            (
                Duty::Standby,
                Heard::Nothing,
                Up,
                Watch::Failed,
                Watch::Failed,
            ),
            (
                Duty::Standby,
                Heard::Nothing,
                Stopping,
                Watch::Failed,
                Watch::Failed,
            ),
            (lossy, Heard::Nothing, Up, Watch::Failed, Watch::Failed),
            // rep_mode=slave, and it was promoted.
            (
                Duty::Misfit,
                Heard::NotReady,
                Up,
                Watch::Failed,
                Watch::Failed,
            ),
            (
                Duty::Misfit,
                Heard::NotReady,
                Starting,
                Watch::Failed,
                Watch::Failed,
            ),
            (
                Duty::Standby,
                Heard::Nonsense,
                Starting,
                Watch::Failed,
                Watch::Failed,
            ),
        ] {
            for (has_startup, expected) in [(false, without), (true, with_startup)] {
                let watch = watch(duty, heard, phase, has_startup);
                assert_eq!(
                    watch, expected,
                    "{duty:?} {heard:?} {phase:?} {has_startup}"
                );
            }
        }
        // A failover takes some seconds; who may lose commits by it waits longer.
        assert!(in_place(Promise::Sync) < in_place(Promise::Async));
    }

    #[test]
    fn a_recovery_hangs_when_nothing_at_all_was_done_for_long() {
        let s = Duration::from_secs;
        let look = |pid, run_time, at| Look {
            pid,
            run_time,
            at: s(at),
            server: Server {
                pid: 5,
                started: Some(s(900)),
            },
        };
        let of_another = |pid, started| Look {
            server: Server { pid, started },
            ..look(0, 0, 1000)
        };
        let first = look(7, 100, 1000);
        for (noted, now, expected, next) in [
            (None, &first, Course::GoesOn, first.clone()),
            // Another one's: the server was started again.
            (
                Some(look(6, 100, 10)),
                &first,
                Course::GoesOn,
                first.clone(),
            ),
            // It works; the note is good for a while.
            (
                Some(first.clone()),
                &look(7, 101, 1004),
                Course::GoesOn,
                first.clone(),
            ),
            (
                Some(first.clone()),
                &look(7, 101, 1030),
                Course::GoesOn,
                look(7, 101, 1030),
            ),
            (
                Some(first.clone()),
                &look(7, 100, 1030),
                Course::Idle(s(30)),
                first.clone(),
            ),
            (
                Some(first.clone()),
                &look(7, 100, 1299),
                Course::Idle(s(299)),
                first.clone(),
            ),
            (
                Some(first.clone()),
                &look(7, 100, 1300),
                Course::Hangs(s(300)),
                first.clone(),
            ),
            // No startup process, and no connections either: that is not for ever.
            (
                Some(look(0, 0, 1000)),
                &look(0, 0, 1300),
                Course::Hangs(s(300)),
                look(0, 0, 1000),
            ),
            // Of a server that was stopped like that before, a process with the same number, or nobody knows whose.
            (
                Some(of_another(4, Some(s(900)))),
                &look(0, 0, 432_000),
                Course::GoesOn,
                look(0, 0, 432_000),
            ),
            (
                Some(of_another(5, Some(s(800)))),
                &look(0, 0, 432_000),
                Course::GoesOn,
                look(0, 0, 432_000),
            ),
            (
                Some(of_another(0, None)),
                &look(0, 0, 432_000),
                Course::GoesOn,
                look(0, 0, 432_000),
            ),
        ] {
            assert_eq!(
                course(noted.as_ref(), now),
                (expected, next),
                "{noted:?} {now:?}"
            );
        }
    }
}
