//! A primary's lease on the lock: renewed and judged before anything else is looked at.
//!
//! With rep_mode=async the lease is all that keeps two primaries apart. So nothing that can hang or fail, neither the
//! server nor the CIB, stands before it: the state file and the lock service say all there is to say.

use std::time::Duration;

use crate::decide::eligibility::Promise;
use crate::log::say;
use crate::sys::boot_clock;
use crate::timing;

use crate::agent::context::Context;
use crate::agent::membership::lock::{self, Lock, Renewal};
use crate::agent::server::by_files;
use crate::agent::step::{Step, failed};

/// What a primary knows of its lock in one call of the agent.
pub(crate) enum Lease<'c> {
    /// No lock is configured, or nobody has asked.
    None,
    /// It may go on as far as that can be said without the CIB. `renewal`: `None` where this node does not know yet that it
    /// has the lock.
    Kept {
        lock: Box<Lock<'c>>,
        renewal: Option<Box<Renewal>>,
    },
    /// It must not go on (R4).
    Over(String),
}

impl<'c> Lease<'c> {
    /// Asks for a server that is a primary by its data directory, for a monitor of Pacemaker's. A probe only looks.
    pub(crate) fn first(ctx: &'c Context<'_>) -> Self {
        // Where that can't be told the lock is asked: it is renewed by its owner only.
        if by_files::is_standby(ctx).unwrap_or(false) || ctx.env.is_probe() {
            return Self::None;
        }
        Self::ask(ctx)
    }

    /// Asks for a primary.
    pub(crate) fn ask(ctx: &'c Context<'_>) -> Self {
        let Some(lock) = Lock::of_primary(ctx) else {
            return Self::None;
        };
        let renewal = lock.renew().unwrap_or_else(|failure| {
            say!(WARN, "lock", reason = failure.text());
            None
        });
        match renewal.as_ref().and_then(|r| lock.is_over_by(r)) {
            Some(reason) => Self::Over(reason),
            None => Self::Kept {
                lock: Box::new(lock),
                renewal: renewal.map(Box::new),
            },
        }
    }

    /// Asks where nobody has asked yet, and once more where that was so long ago that the lease would not last until the next call:
    /// the server was slow to say anything.
    pub(crate) fn or_ask(self, ctx: &'c Context<'_>) -> Step<Self> {
        Ok(match self {
            Self::None => Self::ask(ctx),
            kept @ Self::Kept { .. } => match kept.end(ctx) {
                Some(end) if lock::pace(ctx).is_late(end, now()?) => Self::ask(ctx),
                Some(_) | None => kept,
            },
            over @ Self::Over(_) => over,
        })
    }

    /// When it ends, where that ends the server: in async mode; in sync mode commits do not rest on the lease. Time since the machine
    /// started.
    fn end(&self, ctx: &Context<'_>) -> Option<Duration> {
        let Self::Kept {
            renewal: Some(renewal),
            ..
        } = self
        else {
            return None;
        };
        let end = renewal.confirmed.unwrap_or_default() + ctx.params.distlock_ttl;
        (ctx.promise() == Promise::Async).then_some(end)
    }

    /// How much time the server has for an answer, before [`Self::or_ask`].
    pub(crate) fn until_asked_again(&self, ctx: &Context<'_>) -> Step<Duration> {
        let remaining = ctx.deadline.remaining();
        Ok(match self.end(ctx) {
            Some(end) => {
                let until = lock::pace(ctx).until_asked_again(end, now()?);
                until.max(timing::LOCK_REST).min(remaining)
            }
            None => remaining,
        })
    }

    /// Why it must not go on where the CIB can't be read. One that does not know of its lock can't find out without it.
    pub(crate) fn is_over_without(&self, ctx: &Context<'_>, why: &str) -> Option<String> {
        let Self::Kept {
            lock,
            renewal: None,
        } = self
        else {
            return None;
        };
        let unknown = format!("whether this node has the lock is not known, and {why}");
        match lock.not_renewed(unknown.clone()) {
            Ok(renewal) => lock.is_over_by(&renewal),
            Err(failure) if ctx.promise() == Promise::Async => {
                Some(format!("{unknown}; {}", failure.text()))
            }
            Err(_) => None,
        }
    }

    /// How much time the rest of the call has. It is over before the lease is, less the time until the next call and that of its renewal: in async
    /// mode; in sync mode commits do not rest on the lease.
    pub(crate) fn rest(&self, ctx: &Context<'_>) -> Step<Duration> {
        let remaining = ctx.deadline.remaining();
        Ok(match self.end(ctx) {
            Some(end) => {
                let rest = lock::pace(ctx).rest(end, now()?, timing::LOCK_REST);
                rest.min(remaining)
            }
            None => remaining,
        })
    }
}

/// Time since the machine started.
fn now() -> Step<Duration> {
    Ok(boot_clock().map_err(failed)?.since_boot())
}
