//! What the lab is doing, for the person who waits: one line on stderr, with the seconds since the program began.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Time since the first call.
pub(crate) fn since_start() -> Duration {
    BEGAN.get_or_init(Instant::now).elapsed()
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on no lines of progress: the program tells its own story.
pub fn quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// One line of progress.
pub(crate) fn note(text: impl AsRef<str>) {
    if QUIET.load(Ordering::Relaxed) {
        return;
    }
    eprintln!(
        "lab {:6.1} s  {}",
        since_start().as_secs_f64(),
        text.as_ref()
    );
}
