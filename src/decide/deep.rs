//! What a deep monitor (OCF_CHECK_LEVEL) makes of a write, of replay, and of the server's storage.
//!
//! Only two things are held against a server: storage that says it is broken, and storage that gives no answer, twice in a row. One
//! silence may be a checkpoint on a slow disk. All else is told: to restart a server, or to move it, makes no room on a
//! disk, and a server that refuses something has answered.

use crate::model::lsn::Lsn;

/// What is to be said of a server that is well by the plain monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Well,
    /// People should know.
    Told(String),
    /// The server is not well.
    Failed(String),
}

/// What came of something that needs the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; with the free space there, in bytes, where that was looked at.
    Done { free: Option<u64> },
    /// There is no room.
    Full(String),
    /// The storage is broken, or was made read-only because of that.
    Broken(String),
    /// Not done for another reason: no permission, not there, refused by the server.
    Refused(String),
    /// Neither done nor refused in time.
    Silent(String),
}

/// The last deep monitor found a silence, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Answered,
    Silent,
    /// The lock has to be renewed before the time is over that an answer may take: nobody is given up for that.
    InAHurry {
        /// It was asked before, and did not answer either.
        was_silent: bool,
    },
}

/// Judges one thing that was tried; `what` names it: a commit, a directory.
#[must_use]
pub fn judge(what: &str, answer: &Answer, before: Before) -> Finding {
    match (answer, before) {
        (Answer::Done { .. }, _) => Finding::Well,
        (Answer::Full(why), _) => Finding::Told(format!("{what}: no room: {why}")),
        (Answer::Refused(why), _) => Finding::Told(format!("{what}: {why}")),
        (Answer::Broken(why), _) => {
            Finding::Failed(format!("{what}: the storage is broken: {why}"))
        }
        (Answer::Silent(_), Before::InAHurry { was_silent: false }) => Finding::Well,
        (Answer::Silent(why), Before::InAHurry { was_silent: true }) => Finding::Told(format!(
            "{what}: the storage gives no answer, again: {why}; the lease (distlock_ttl) leaves no more time to wait for one"
        )),
        (Answer::Silent(why), Before::Answered) => Finding::Told(format!(
            "{what}: the storage gives no answer: {why}; the server is given up if that is so the next time"
        )),
        (Answer::Silent(why), Before::Silent) => Finding::Failed(format!(
            "{what}: the storage gives no answer, as before: {why}"
        )),
    }
}

/// So many WAL segments must have room: PostgreSQL makes each in advance, and ends itself where it can't.
const SEGMENTS: u64 = 4;

/// Judges the room that is left for WAL.
#[must_use]
pub fn room_for_wal(free: u64, segment: u64) -> Finding {
    if free >= segment.saturating_mul(SEGMENTS) {
        return Finding::Well;
    }
    Finding::Told(format!(
        "pg_wal: {} MB are free, less than {SEGMENTS} WAL segments of {} MB: PostgreSQL ends itself when none is left; make room, or see what keeps WAL (slots, \
         archive_command)",
        free >> 20,
        segment >> 20
    ))
}

/// Judges the replay of a standby. `last`: how far it was at the last deep monitor, where it had more to replay then.
#[must_use]
pub fn replay(replayed: Option<Lsn>, has_replayed_all: bool, last: Option<Lsn>) -> Finding {
    match (replayed, last) {
        (Some(now), Some(last)) if !has_replayed_all && now == last => Finding::Told(format!(
            "replay stands at {now} since the last deep monitor, and there is more to replay: a query or a lock in its way, or the storage"
        )),
        _ => Finding::Well,
    }
}

/// The worst of several, with all that is to be told beside it.
#[must_use]
pub fn worst(findings: impl IntoIterator<Item = Finding>) -> Finding {
    let (mut told, mut failed) = (Vec::new(), Vec::new());
    for finding in findings {
        match finding {
            Finding::Well => {}
            Finding::Told(text) => told.push(text),
            Finding::Failed(text) => failed.push(text),
        }
    }
    let is_failed = !failed.is_empty();
    failed.append(&mut told);
    let text = failed.join("; ");
    match (is_failed, text.is_empty()) {
        (true, _) => Finding::Failed(text),
        (false, false) => Finding::Told(text),
        (false, true) => Finding::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(finding: &Finding) -> &'static str {
        match finding {
            Finding::Well => "well",
            Finding::Told(_) => "told",
            Finding::Failed(_) => "failed",
        }
    }

    #[test]
    fn a_server_fails_by_broken_storage_and_by_silence_that_lasts_and_by_nothing_else() {
        let why = || "x".to_owned();
        for (answer, first, again) in [
            (Answer::Done { free: None }, "well", "well"),
            (Answer::Full(why()), "told", "told"),
            (Answer::Refused(why()), "told", "told"),
            (Answer::Broken(why()), "failed", "failed"),
            (Answer::Silent(why()), "told", "failed"),
        ] {
            let by = |before| judge("pg_wal", &answer, before);
            assert_eq!(kind(&by(Before::Answered)), first, "{answer:?}");
            assert_eq!(kind(&by(Before::Silent)), again, "{answer:?}");
            // With no time to wait for an answer none is missed; what is broken is broken.
            for (was_silent, in_a_hurry) in [(false, "well"), (true, "told")] {
                let is_silent = matches!(answer, Answer::Silent(_));
                let expected = if is_silent { in_a_hurry } else { first };
                let got = by(Before::InAHurry { was_silent });
                assert_eq!(kind(&got), expected, "{answer:?} {was_silent}");
            }
        }
    }

    #[test]
    fn too_little_room_for_wal_is_told() {
        const MB: u64 = 1 << 20;
        for (free, segment, expected) in [
            (u64::MAX, 16 * MB, "well"),
            (64 * MB, 16 * MB, "well"),
            (64 * MB - 1, 16 * MB, "told"),
            (0, 16 * MB, "told"),
            (64 * MB, 1024 * MB, "told"),
            (64 * MB, u64::MAX, "told"),
        ] {
            assert_eq!(
                kind(&room_for_wal(free, segment)),
                expected,
                "{free} {segment}"
            );
        }
    }

    #[test]
    fn replay_that_stands_with_more_to_do_is_told() {
        let at = |lsn| Some(Lsn::new(lsn));
        for (now, has_all, last, expected) in [
            (at(5), false, None, "well"),
            (at(5), false, at(4), "well"),
            (at(5), false, at(5), "told"),
            (at(5), true, at(5), "well"),
            (None, false, at(5), "well"),
        ] {
            let got = replay(now, has_all, last);
            assert_eq!(kind(&got), expected, "{now:?} {has_all} {last:?}");
        }
    }

    #[test]
    fn the_worst_counts_and_nothing_is_left_out() {
        let told = |text: &str| Finding::Told(text.to_owned());
        let failed = |text: &str| Finding::Failed(text.to_owned());
        for (findings, expected) in [
            (vec![], Finding::Well),
            (vec![Finding::Well], Finding::Well),
            (vec![Finding::Well, told("a"), told("b")], told("a; b")),
            (vec![told("a"), failed("b")], failed("b; a")),
        ] {
            assert_eq!(worst(findings.clone()), expected, "{findings:?}");
        }
    }
}
