//! How late a standby is, in time, where nobody writes for the sake of measuring it.
//!
//! No server says it: on a standby, the time of the last commit that it replayed grows old while the primary is idle; on the primary,
//! the lag of a standby that has gone quiet is that of its last answer. So the primary remembers how far its own WAL was, and
//! when. A standby that lacks what was there so long ago is late; one that has it is not, whoever writes or does not.

use std::time::Duration;

use crate::model::lsn::Lsn;
use crate::model::timeline::TimelineId;

/// How far the primary's WAL was.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// Time since the machine started.
    pub at: Duration,
    pub timeline: u32,
    /// As an attribute has it.
    pub end: String,
}

impl Sample {
    /// The primary's WAL ends here, now.
    #[must_use]
    pub fn new(at: Duration, timeline: TimelineId, end: Lsn) -> Self {
        Self {
            at,
            timeline: timeline.get(),
            end: end.to_attribute(),
        }
    }

    fn end(&self) -> Option<Lsn> {
        Lsn::from_attribute(&self.end).ok()
    }
}

/// So many samples are in the time that counts: it is known to that part of it.
const PARTS: u32 = 16;

/// What is remembered from now on. Samples of another timeline, or of WAL that is no more, say nothing.
#[must_use]
pub fn remember(samples: &[Sample], now: &Sample, limit: Duration) -> Vec<Sample> {
    let counts =
        |one: &&Sample| one.timeline == now.timeline && one.at <= now.at && one.end() <= now.end();
    let mut kept: Vec<Sample> = samples.iter().filter(counts).cloned().collect();
    let is_due = kept
        .last()
        .is_none_or(|last| now.at >= last.at + limit / PARTS);
    let is_news = kept.last().is_none_or(|last| last.end() < now.end());
    if is_due && is_news {
        kept.push(now.clone());
    }
    // Of those that are old enough the newest says it all.
    let old = kept.iter().filter(|one| one.at + limit <= now.at).count();
    kept.drain(..old.saturating_sub(1));
    kept
}

/// Whether a standby lacks WAL that was there for `limit` and longer.
#[must_use]
pub fn is_late(samples: &[Sample], flushed: Lsn, now: Duration, limit: Duration) -> bool {
    let mut old = samples.iter().filter(|one| one.at + limit <= now);
    old.any(|one| one.end().is_some_and(|end| flushed < end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(32);

    fn sample(at: u64, end: u64) -> Sample {
        let timeline = TimelineId::new(1).unwrap();
        Sample::new(Duration::from_secs(at), timeline, Lsn::new(end))
    }

    fn remembered(all: &[(u64, u64)]) -> Vec<Sample> {
        let all = all.iter().map(|(at, end)| sample(*at, *end));
        all.fold(Vec::new(), |kept, now| remember(&kept, &now, LIMIT))
    }

    #[test]
    fn who_lacks_what_was_there_for_long_is_late() {
        let busy: Vec<(u64, u64)> = (0..100).map(|n| (100 + n, 1000 + n * 10)).collect();
        let idle: Vec<(u64, u64)> = (0..100).map(|n| (100 + n, 1000)).collect();
        let one_write = [(100, 1000), (110, 2000), (190, 2000)];
        for (what, all, now, flushed, expected) in [
            ("it has everything", &busy[..], 199, 1990, false),
            ("it lacks the last seconds", &busy, 199, 1800, false),
            ("it lacks a minute", &busy, 199, 1400, true),
            ("nobody writes", &idle, 199, 1000, false),
            (
                "nobody writes, and it lacks the last that was",
                &idle,
                199,
                999,
                true,
            ),
            ("one write long ago", &one_write, 190, 2000, false),
            ("which it lacks", &one_write, 190, 1000, true),
            (
                "which it lacks since a moment",
                &one_write[..2],
                120,
                1000,
                false,
            ),
            ("nothing is known yet", &[], 190, 0, false),
        ] {
            let now = Duration::from_secs(now);
            let got = is_late(&remembered(all), Lsn::new(flushed), now, LIMIT);
            assert_eq!(got, expected, "{what}");
        }
    }

    #[test]
    fn what_is_remembered_stays_small_and_is_of_this_timeline() {
        let busy: Vec<(u64, u64)> = (0..1000).map(|n| (100 + n, 1000 + n)).collect();
        let kept = remembered(&busy);
        assert!(kept.len() <= PARTS as usize + 2, "{}", kept.len());
        // Promoted again: what the WAL was before is another's.
        let timeline = TimelineId::new(2).unwrap();
        let now = Sample::new(Duration::from_secs(2000), timeline, Lsn::new(9000));
        assert_eq!(remember(&kept, &now, LIMIT), std::slice::from_ref(&now));
        // WAL that is no more.
        let now = sample(2000, 1500);
        let left = remember(&kept, &now, LIMIT);
        assert!(left.iter().all(|one| one.end() <= now.end()), "{left:?}");
    }
}
