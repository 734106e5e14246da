//! How fast a copy goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::progress::Progress;
use crate::timing;

/// Measures the rate of what a tool reports.
#[derive(Debug, Default)]
pub struct Meter {
    seen: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// The progress with its rate, over the last [`timing::RATE_WINDOW`].
    pub fn rated(&mut self, progress: Progress) -> Progress {
        self.rated_at(progress, Instant::now())
    }

    fn rated_at(&mut self, progress: Progress, now: Instant) -> Progress {
        self.seen.push_back((now, progress.done));
        // One from before the window stays, or a tool that prints seldom would have no rate.
        while self.seen.len() > 2
            && self
                .seen
                .get(1)
                .is_some_and(|(at, _)| now.duration_since(*at) >= timing::RATE_WINDOW)
        {
            self.seen.pop_front();
        }
        let rate = self.seen.front().map_or(0, |(at, done)| {
            per_second(progress.done.saturating_sub(*done), now.duration_since(*at))
        });
        Progress { rate, ..progress }
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    // Less than this is no measurement.
    if time < Duration::from_millis(200) {
        return 0;
    }
    let rate = u128::from(bytes) * 1000 / time.as_millis();
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_seconds() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut rate = |second: u64, done: u64| {
            let progress = Progress {
                done,
                total: 1 << 30,
                rate: 0,
            };
            let at = start + Duration::from_secs(second);
            meter.rated_at(progress, at).rate
        };
        assert_eq!(rate(0, 0), 0);
        assert_eq!(rate(1, 100), 100);
        assert_eq!(rate(2, 100), 50);
        for second in 3..30 {
            rate(second, 100 + second * 1000);
        }
        assert_eq!(rate(30, 30_100), 1000);
        // It stands still.
        assert_eq!(rate(60, 30_100), 0);
    }
}
