//! Whether a lease is long enough for what renews it and for what waits for it.

use std::time::Duration;

/// What is wrong with a lease of `ttl` that is renewed every `interval`. One renewal may be late or lost: a lease that is not
/// longer than two intervals then ends although its primary is well, and another node may take it.
#[must_use]
pub fn too_short(ttl: Duration, interval: Duration) -> Option<String> {
    (ttl <= interval * 2).then(|| {
        format!(
            "the lock lasts for {} s (distlock_ttl) and is renewed only every {} s, by the primary's monitor: it runs out where one \
             renewal is missed; make distlock_ttl longer than {} s, or the monitor's interval shorter",
            ttl.as_secs_f32(),
            interval.as_secs_f32(),
            (interval * 2).as_secs_f32(),
        )
    })
}

/// What is wrong with waiting for `timeout` for a lease of `ttl`: a promotion gives up before a dead primary's lock is free.
#[must_use]
pub fn given_up_early(ttl: Duration, timeout: Duration) -> Option<String> {
    (timeout <= ttl).then(|| {
        format!(
            "a promotion waits for {} s (distlock_timeout) for a lock that lasts for {} s (distlock_ttl), so that it gives up before \
             a dead primary's lock is free; make distlock_timeout longer than distlock_ttl",
            timeout.as_secs_f32(),
            ttl.as_secs_f32(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_outlasts_one_missed_renewal_and_a_promotion_outwaits_it() {
        for (ttl, interval, is_short) in [
            (9, 3, false),
            (9, 4, false),
            (9, 5, true),
            (6, 3, true),
            (7, 3, false),
            (9, 29, true),
        ] {
            let found = too_short(s(ttl), s(interval));
            assert_eq!(found.is_some(), is_short, "{ttl} {interval}: {found:?}");
        }
        for (ttl, timeout, is_early) in [(9, 12, false), (9, 9, true), (12, 9, true)] {
            let found = given_up_early(s(ttl), s(timeout));
            assert_eq!(found.is_some(), is_early, "{ttl} {timeout}: {found:?}");
        }
    }
}
