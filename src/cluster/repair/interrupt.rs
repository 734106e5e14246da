//! Ctrl-C while data are being repaired.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::model::repair::{Journal, Phase, Work};

/// How often it was asked to end. A signal handler has no other place to put it.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// One of them was SIGTERM.
static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: nix::libc::c_int) {
    if signal == nix::libc::SIGTERM {
        TOLD.store(true, Ordering::Relaxed);
    }
    ASKED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn ignore(_signal: nix::libc::c_int) {}

/// From here on Ctrl-C and SIGTERM are counted, not obeyed. The loss of the terminal is overlooked: the work does not
/// need one, and `RSC-repair` shows how far it is. Programs that are started from here have the usual handling.
///
/// # Errors
/// The system's, for a signal that cannot be caught; there is none among these.
pub(super) fn listen() -> nix::Result<()> {
    for (signal, handler) in [
        (Signal::SIGINT, note as extern "C" fn(nix::libc::c_int)),
        (Signal::SIGTERM, note),
        (Signal::SIGHUP, ignore),
    ] {
        let action = SigAction::new(
            SigHandler::Handler(handler),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handlers do nothing but atomic operations, which are async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// How often it was asked to end since [`listen`].
pub(super) fn times_asked() -> u32 {
    ASKED.load(Ordering::Relaxed)
}

/// Whether SIGTERM was among the requests: the agent's stop sends it, so as not to stop a server that is started again
/// behind its back.
pub(super) fn was_told() -> bool {
    TOLD.load(Ordering::Relaxed)
}

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

    #[test]
    fn signals_are_counted() {
        listen().unwrap();
        let before = times_asked();
        assert!(!was_told());
        nix::sys::signal::raise(Signal::SIGINT).unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!(times_asked(), before + 2);
        assert!(was_told());
    }
}
