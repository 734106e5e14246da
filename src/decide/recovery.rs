//! Whether a server that recovers gets on, or hangs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// Where nothing at all was done for so long, a restart loses nothing. A startup process that waits for WAL, as before its
/// data are consistent and the primary is away, looks for it several times a second; so this is a disk request or a command that
/// does not return, or a process that is stopped by a signal.
const HANGS: Duration = Duration::from_secs(300);

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
