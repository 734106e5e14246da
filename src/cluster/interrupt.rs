//! Ctrl-C while something is changed: it is counted, and answered when things are in order.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

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
/// need one. Programs that are started from here have the usual handling.
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

#[cfg(test)]
mod tests {
    use super::*;

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
