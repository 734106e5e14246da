//! The contract as it should be.

use crate::decide::waited_for::{self, Available};
use crate::model::sync_names::{self, StandbyName, SyncNames};

use super::facts::Facts;
use super::standing::{can_be_promoted, is_allowed, is_streaming, keeps_up, nodes};

/// What commits should wait for.
pub(super) fn wanted(facts: &Facts) -> SyncNames {
    let mut everybody = nodes(facts);
    everybody.retain(|name| !facts.impostors.contains(name));
    let members = match facts.options.method {
        sync_names::Method::First => facts.in_force.certain().unwrap_or_default(),
        sync_names::Method::Any => facts.in_force.named(&everybody),
    };
    // Whoever is waited for stays while it streams: changing the contract costs a pause.
    let is_kept = |name: &&StandbyName| members.contains(*name) && is_streaming(facts, name);
    let kept = facts.standbys.keys().filter(is_kept);
    let is_joining = |name: &&StandbyName| !is_kept(name) && keeps_up(facts, name);
    let joining = facts.standbys.keys().filter(is_joining);
    let available = kept.chain(joining).cloned();
    if facts.options.everyone {
        let mut all: Vec<_> = available.filter(|name| is_allowed(facts, name)).collect();
        all.sort();
        return SyncNames::all(all);
    }
    let available: Vec<Available> = available
        .filter(|name| can_be_promoted(facts, name))
        .map(|name| Available {
            is_waited_for: members.contains(&name),
            is_granted: facts.claim.is_of_each() && facts.claim.members.contains(&name),
            name,
        })
        .collect();
    let (wishes, count) = (&facts.wishes, facts.options.count);
    match facts.options.method {
        sync_names::Method::First => {
            let mut members = waited_for::named(&available, wishes, count);
            // Who is asked for joins those who are there, by the same rules, and takes nobody's place: until it has caught up
            // the others stay eligible, and nobody has to be revoked for it.
            let names = available.into_iter().map(|one| one.name);
            let is_asked_for =
                |name: &StandbyName| facts.requested.contains(name) && wishes.allow(name);
            members.extend(names.filter(is_asked_for));
            SyncNames::all(members)
        }
        // One that comes and goes changes nothing.
        sync_names::Method::Any => {
            let allowed = available.iter().filter(|one| wishes.allow(&one.name));
            let count = allowed.count().min(count);
            if count == 0 {
                return SyncNames::Nobody;
            }
            SyncNames::any(
                count,
                waited_for::listed(&everybody, &available, wishes, count),
            )
        }
    }
}

/// Whether two contracts let commits wait for the same.
pub(super) fn is_same(a: &SyncNames, b: &SyncNames) -> bool {
    // Where all are waited for, the method makes no difference.
    a == b || (a.certain().is_some() && a.certain() == b.certain())
}

/// Whether everything is as it should be but for what PostgreSQL calls it. A server begins with ANY 1 of the others, which of one
/// is that one; but its sync_state says quorum then, and so would the attributes, by which the readers' address is
/// placed. Last of all, since a changed contract has to be proven anew before anybody is granted by it.
pub(super) fn is_misnamed(facts: &Facts, wanted: &SyncNames) -> bool {
    let is_claimed = facts.in_force.certain() == Some(facts.claim.members.clone());
    is_claimed && facts.in_force.method() != wanted.method()
}
