//! Ctrl-C while data are being repaired.

use crate::model::repair::{Journal, Phase, Work};

/// What comes of a request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// End, and say what has become of the data.
    End,
    /// Only when asked once more.
    AskAgain,
    /// Not now: it is done in a moment, and half done is worse.
    Finish,
}

/// What comes of a request to end while the work is as far as `journal` says.
pub(super) fn react(journal: &Journal, was_warned: bool) -> Reaction {
    match (journal.work, journal.phase) {
        (_, Phase::Swapping | Phase::Starting | Phase::Done | Phase::Failed) => Reaction::Finish,
        (Work::Rewind, Phase::Copying) if journal.damaged && !was_warned => Reaction::AskAgain,
        (
            Work::Rewind | Work::Rebuild,
            Phase::Waiting | Phase::Recovering | Phase::Checking | Phase::Copying,
        ) => Reaction::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rewind_that_writes_asks_again_and_the_end_is_not_interrupted() {
        for (work, phase, damaged, was_warned, expected) in [
            (Work::Rebuild, Phase::Waiting, false, false, Reaction::End),
            (Work::Rebuild, Phase::Copying, false, false, Reaction::End),
            // A rebuild after a rewind that did not end: the copy is beside it, nothing gets worse.
            (Work::Rebuild, Phase::Copying, true, false, Reaction::End),
            (
                Work::Rebuild,
                Phase::Swapping,
                false,
                true,
                Reaction::Finish,
            ),
            (
                Work::Rebuild,
                Phase::Starting,
                false,
                true,
                Reaction::Finish,
            ),
            (Work::Rewind, Phase::Recovering, false, false, Reaction::End),
            (Work::Rewind, Phase::Checking, false, false, Reaction::End),
            (Work::Rewind, Phase::Copying, false, false, Reaction::End),
            (
                Work::Rewind,
                Phase::Copying,
                true,
                false,
                Reaction::AskAgain,
            ),
            (Work::Rewind, Phase::Copying, true, true, Reaction::End),
            (
                Work::Rewind,
                Phase::Starting,
                false,
                false,
                Reaction::Finish,
            ),
        ] {
            let journal = Journal {
                phase,
                damaged,
                ..Journal::new(work)
            };
            assert_eq!(react(&journal, was_warned), expected, "{journal:?}");
        }
    }
}
