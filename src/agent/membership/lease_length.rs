//! The length of the lock's lease, held against what only a recurring monitor knows: its own interval.

use crate::decide::lease_length::too_short;

use crate::agent::context::Context;

/// What is wrong with the lease of a primary that renews it in this monitor. A call by hand and a probe have no interval.
pub(crate) fn objection(ctx: &Context<'_>) -> Option<String> {
    let p = ctx.params;
    // A deep monitor comes beside the plain one, which renews it.
    let is_plain = ctx.env.check_level == 0 && !ctx.env.interval.is_zero();
    let is_renewed_here = p.enable_distlock && ctx.is_promotable() && is_plain;
    is_renewed_here
        .then(|| too_short(p.distlock_ttl, ctx.env.interval))
        .flatten()
}
