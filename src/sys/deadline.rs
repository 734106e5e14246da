//! Until when something must have happened, and the only place that sleeps.

use std::time::{Duration, Instant};

/// A point in time by which something must have happened, on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// The point `limit` from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        // Far enough for "no limit", where `limit` itself would overflow the clock.
        Self(
            now.checked_add(limit)
                .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365)),
        )
    }

    /// This deadline, or the point `limit` from now, whichever comes first: a bound for one step of a longer action.
    #[must_use]
    pub fn min(self, limit: Duration) -> Self {
        Self(self.0.min(Self::after(limit).0))
    }

    /// This deadline, or the point `limit` from now, whichever comes last: for what is worth nothing where it is not tried at all.
    #[must_use]
    pub fn max(self, limit: Duration) -> Self {
        Self(self.0.max(Self::after(limit).0))
    }

    /// Time left; zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// No time is left.
    #[must_use]
    pub fn is_past(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Calls `attempt` until it returns something, at most every `every`, and a last time at the deadline. `None`: the
/// deadline passed. `attempt` is called at least once, also with a deadline already past.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sleeps, and it has a deadline"
)]
pub fn poll_until<T>(
    deadline: Deadline,
    every: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> Option<T> {
    loop {
        let was_past = deadline.is_past();
        if let Some(found) = attempt() {
            return Some(found);
        }
        if was_past {
            return None;
        }
        std::thread::sleep(every.min(deadline.remaining()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_wins() {
        let long = Deadline::after(Duration::from_secs(100));
        assert!(long.min(Duration::from_secs(1)).remaining() <= Duration::from_secs(1));
        let short = Deadline::after(Duration::ZERO);
        assert!(short.min(Duration::from_secs(1)).is_past());
        assert!(short.max(Duration::from_secs(50)).remaining() > Duration::from_secs(40));
        assert!(long.max(Duration::ZERO).remaining() > Duration::from_secs(90));
        assert!(Deadline::after(Duration::MAX).remaining() > Duration::from_secs(86_400));
    }

    #[test]
    fn polling_tries_at_least_once_and_stops_at_the_deadline() {
        let past = Deadline::after(Duration::ZERO);
        assert_eq!(
            poll_until(past, Duration::from_secs(9), || Some(1)),
            Some(1)
        );
        let mut tries = 0;
        let limit = Deadline::after(Duration::from_millis(30));
        let found: Option<()> = poll_until(limit, Duration::from_millis(10), || {
            tries += 1;
            None
        });
        assert_eq!(found, None);
        assert!(tries >= 2, "{tries} tries");
    }
}
