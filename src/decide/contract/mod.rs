//! R1, R2, R10: what commits wait for, and who may therefore be promoted.
//!
//! The *contract* is what `synchronous_standby_names` makes a commit wait for. The *claim* is what
//! the CIB, and the lock where there is one, say about who has every acknowledged commit: each of
//! these standbys, or, with quorum commit, so many of them. The invariant that every step keeps:
//! **the contract in force keeps the claim true.** So a standby leaves the claim first, for certain,
//! and only then the contract (revoke, then relax); and it joins the contract first, is proven to
//! have caught up, and only then joins the claim (catch up, then grant).

mod facts;
mod grant;
mod promotion;
mod revocation;
mod standing;
mod step;
#[cfg(test)]
mod tests;
mod wanted;

pub use crate::decide::membership::Partition;
pub use facts::{Facts, Link, Lock, Options, Place, Revocation, Standby};
pub use grant::eligible_after_grant;
pub use promotion::{at_start, kept_at_promotion};
pub use revocation::outdated;
pub use standing::{caught_up, is_allowed, is_streaming};
pub use step::{Hold, Step};

use std::collections::BTreeSet;

use crate::model::sync_names::SyncNames;
use grant::newly_proven;
use revocation::{Haste, dropped, is_noted, obstacle, settling, strays};
use standing::can_be_promoted;
use wanted::{is_misnamed, is_same, wanted};

/// Decides the next steps. Called again until it returns nothing to do.
#[must_use]
pub fn next(facts: &Facts) -> Vec<Step> {
    // The setting was edited by hand, or an agent died between two steps: every commit from here on
    // may be missing where the CIB or the lock says that none is.
    let strays = strays(facts);
    if !strays.is_empty() {
        return vec![Step::Revoke(strays)];
    }
    let wanted = wanted(facts);
    if is_same(&facts.in_force, &wanted) {
        let proven = newly_proven(facts);
        let step = if !proven.is_empty() {
            Some(Step::Grant(proven))
        } else if is_misnamed(facts, &wanted) {
            Some(Step::Contract(wanted))
        } else {
            None
        };
        return step.into_iter().collect();
    }
    let is_alone = wanted == SyncNames::Nobody;
    if is_alone && facts.options.strict {
        return vec![Step::Hold(Hold::Strict)];
    }

    // Whoever commits no longer wait for must be out of the claim, for certain.
    let dropped: BTreeSet<_> = dropped(facts, &wanted)
        .into_iter()
        .filter(|name| can_be_promoted(facts, name))
        .collect();
    // While nothing can make it certain, commits wait, and who they wait for stays eligible: it
    // has every acknowledged commit.
    if let Some(hold) = dropped.iter().find_map(|name| obstacle(facts, name)) {
        return vec![Step::Hold(hold)];
    }
    let unrevoked: BTreeSet<_> = dropped
        .iter()
        .filter(|name| facts.claim.members.contains(*name) || !is_noted(facts, name))
        .cloned()
        .collect();
    if !unrevoked.is_empty() {
        return vec![Step::Revoke(unrevoked)];
    }
    // To be alone is no change of standbys but the loss of the last one: the settle time is also
    // the time in which one may come back, as all do after a promotion.
    let haste = if is_alone {
        Haste::Settle
    } else {
        Haste::Known
    };
    match dropped.iter().find_map(|name| settling(facts, name, haste)) {
        Some(hold) => vec![Step::Hold(hold)],
        None => vec![Step::Contract(wanted)],
    }
}
