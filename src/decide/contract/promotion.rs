//! What commits wait for at a start, and who remains eligible at a promotion.

use std::collections::BTreeSet;

use crate::decide::promote::Method;
use crate::model::claim::Claim;
use crate::model::sync_names::{StandbyName, SyncNames};

/// What a server that is being started waits for, should it become a primary. It stands in its
/// configuration from the start, because a setting that is changed at promotion reaches the running
/// processes some time later; on a standby it has no effect.
///
/// R1 for a restart: the recorded primary goes on waiting for whom it waited for before, who stay
/// eligible. To wait for any one of the standbys instead would be to stop waiting for those, with
/// nothing certain about them: cut off from the cluster, and not yet aware of it, the primary
/// would acknowledge with one standby while another, still eligible, is being promoted.
#[must_use]
pub fn at_start(
    is_recorded_primary: bool,
    claim: &Claim,
    others: impl IntoIterator<Item = StandbyName>,
) -> SyncNames {
    if !is_recorded_primary || claim.is_empty() {
        return SyncNames::any_one(others);
    }
    if claim.is_of_each() {
        SyncNames::all(claim.members.iter().cloned())
    } else {
        SyncNames::any(claim.count, claim.members.iter().cloned())
    }
}

/// What stays claimed when this node becomes the primary by `method`: at a restart what every commit
/// keeps true from the first one on; at a promotion nothing.
#[must_use]
pub fn kept_at_promotion(method: Method, in_force: &SyncNames, claim: &Claim) -> Claim {
    match method {
        Method::NewTimeline => Claim::nothing(),
        Method::SameTimeline => {
            if claim.is_kept_by(in_force, &BTreeSet::new()) {
                return claim.clone();
            }
            let members = in_force.certain().unwrap_or_default();
            let lost = claim.members.difference(&members).cloned().collect();
            if claim.is_of_each() {
                claim.without(&lost)
            } else {
                Claim::nothing()
            }
        }
    }
}
