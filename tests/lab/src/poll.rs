//! Waiting: always for a condition, always with a limit. The crate's only sleep is here.

use std::time::{Duration, Instant};

use crate::pool;

/// How long to rest between two looks at something slow (a cluster). A look is three to ten processes; a lab among others
/// takes their time with each.
pub(crate) fn slow() -> Duration {
    Duration::from_millis(if pool::has_neighbours() { 700 } else { 400 })
}
/// How long to rest between two looks at something local (a process, a file).
pub(crate) const QUICK: Duration = Duration::from_millis(10);

/// Rests. For use between two looks at a condition; a wait without a condition is a defect of the scenario.
#[allow(
    clippy::disallowed_methods,
    reason = "the one sleep of the lab: every wait has its condition and limit in this file or at the caller"
)]
pub fn rest(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until `look` answers `Ok` or `limit` has passed; then the last `Err`, which says what was seen instead.
pub(crate) fn until<T, E>(
    limit: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if start.elapsed() >= limit => return Err(seen),
            Err(_) => rest(pause),
        }
    }
}
