//! Whether a standby that is connected still answers.
//!
//! A machine that lost power closes no connection: PostgreSQL calls its standby "streaming" until `wal_sender_timeout`,
//! a minute by default, which may be switched off. One that owes nothing may be silent for as long as it likes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a standby said last while it owed something. The time it put on that is its own clock's, so it only serves to tell
/// two answers apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWord {
    /// Its last report: when, and how far it was.
    pub report: String,
    /// When that was seen first; time since the machine started.
    pub seen: Duration,
}

/// How long a standby may leave what was sent to it without an answer. It answers as soon as it has written or flushed
/// something.
const SILENCE: Duration = Duration::from_secs(3);

/// The longest `wal_sender_timeout` that is no matter for advice. Where a standby's machine stays in the cluster and its
/// server, or the network between the two, does not answer, nothing else ends the wait of commits for it.
const PATIENT: Duration = Duration::from_secs(10);

/// Whether commits might wait for too long for a standby that does not answer. Zero: PostgreSQL never gives one up.
#[must_use]
pub fn is_too_patient(wal_sender_timeout: Duration) -> bool {
    wal_sender_timeout.is_zero() || wal_sender_timeout > PATIENT
}

/// What is to be noted now. `owes`: it has not flushed all that was flushed here a moment ago.
#[must_use]
pub fn note(old: Option<&LastWord>, owes: bool, report: &str, now: Duration) -> Option<LastWord> {
    if !owes {
        return None;
    }
    let same = old.filter(|old| old.report == report && old.seen <= now);
    Some(same.cloned().unwrap_or_else(|| LastWord {
        report: report.to_owned(),
        seen: now,
    }))
}

/// Whether it does not answer any more.
#[must_use]
pub fn is_silent(note: Option<&LastWord>, now: Duration) -> bool {
    note.is_some_and(|note| now.saturating_sub(note.seen) >= SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn ten_seconds_are_enough_to_answer() {
        for (timeout, expected) in [(0, true), (5, false), (10, false), (60, true)] {
            assert_eq!(is_too_patient(S(timeout)), expected, "{timeout}");
        }
    }

    #[test]
    fn silent_is_who_owes_something_and_says_the_same_for_long() {
        let word = |report: &str, seen| LastWord {
            report: report.to_owned(),
            seen: S(seen),
        };
        for (old, owes, report, now, noted, silent) in [
            (None, true, "a", 10, Some(10), false),
            (Some(word("a", 10)), true, "a", 12, Some(10), false),
            (Some(word("a", 10)), true, "a", 13, Some(10), true),
            // It has answered, if not enough.
            (Some(word("a", 10)), true, "b", 13, Some(13), false),
            // Nothing is written: it owes no answer.
            (Some(word("a", 10)), false, "a", 99, None, false),
            (None, false, "a", 99, None, false),
            // A note of an earlier boot.
            (Some(word("a", 99)), true, "a", 10, Some(10), false),
        ] {
            let got = note(old.as_ref(), owes, report, S(now));
            assert_eq!(got.as_ref().map(|n| n.seen), noted.map(S), "{old:?} {now}");
            assert_eq!(is_silent(got.as_ref(), S(now)), silent, "{old:?} {now}");
        }
    }
}
