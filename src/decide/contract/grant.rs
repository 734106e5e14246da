//! Who has caught up, and may be told so.

use std::collections::BTreeSet;

use crate::model::claim::Claim;
use crate::model::sync_names::StandbyName;

use super::facts::{Facts, Lock};
use super::standing::{is_proven, nodes};

/// Who joins the claim: the contract with them is in force, and they have caught up (R2).
pub(super) fn newly_proven(facts: &Facts) -> BTreeSet<StandbyName> {
    if facts.lock == Lock::Unsure {
        return BTreeSet::new();
    }
    let is_recorded = |name: &StandbyName| {
        if facts.doubts.contains(name) && is_proven(facts, name) {
            return false;
        }
        let by_lock = match &facts.lock {
            Lock::Held { eligible } => eligible.contains(name),
            Lock::Unused | Lock::Dead | Lock::Unsure => true,
        };
        facts.claim.members.contains(name) && by_lock
    };
    if let Some(members) = facts.in_force.certain() {
        // To be one of those among whom somebody has everything is less.
        let is_claimed = |name: &StandbyName| facts.claim.is_of_each() && is_recorded(name);
        let is_new = |name: &StandbyName| !is_claimed(name) && is_proven(facts, name);
        return members.into_iter().filter(is_new).collect();
    }
    // What was acknowledged before the contract is on as many as have caught up; what is
    // acknowledged since, on as many as it asks for.
    let everybody = nodes(facts);
    let whole = Claim::made_by(&facts.in_force, &everybody);
    if !whole.members.is_disjoint(&facts.impostors) {
        return BTreeSet::new();
    }
    let proven = whole.members.iter().filter(|name| is_proven(facts, name));
    let is_enough = proven.count() >= whole.count;
    let is_known = facts.claim == whole && whole.members.iter().all(is_recorded);
    if is_enough && !is_known {
        whole.members
    } else {
        BTreeSet::new()
    }
}

/// Who may be promoted once `granted` are: the record then names the contract in force.
#[must_use]
pub fn eligible_after_grant(
    facts: &Facts,
    granted: &BTreeSet<StandbyName>,
) -> BTreeSet<StandbyName> {
    match facts.in_force.certain() {
        Some(members) if facts.claim.is_of_each() => {
            let all = facts.claim.members.union(granted);
            all.filter(|name| members.contains(*name))
                .cloned()
                .collect()
        }
        Some(_) | None => granted.clone(),
    }
}
