//! What the lab is doing, for the person who waits: one line on stderr, with the seconds since the program began.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Time since the first call.
pub(crate) fn since_start() -> Duration {
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// One line of progress.
pub(crate) fn note(text: impl AsRef<str>) {
    eprintln!(
        "lab {:6.1} s  {}",
        since_start().as_secs_f64(),
        text.as_ref()
    );
}
