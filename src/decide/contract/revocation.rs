//! Who is no longer waited for: revoked for certain first, and how certain that is.

use std::collections::BTreeSet;

use crate::decide::membership::{Ground, NoGround, Partition, Recorded, ground};
use crate::model::claim::Claim;
use crate::model::sync_names::{StandbyName, SyncNames};

use super::facts::{Facts, Lock, Place, Revocation};
use super::standing::nodes;
use super::step::Hold;

/// Who is in the claim although the contract in force does not keep it.
pub(super) fn strays(facts: &Facts) -> BTreeSet<StandbyName> {
    let everybody = nodes(facts);
    let mut strays = BTreeSet::new();
    if !facts.claim.is_kept_by(&facts.in_force, &everybody) {
        let members = &facts.claim.members;
        strays = match facts.in_force.certain() {
            Some(kept) if facts.claim.is_of_each() => members.difference(&kept).cloned().collect(),
            _ => members.clone(),
        };
    }
    // Commits may be acknowledged by the other one.
    let members = &facts.claim.members;
    if !members.is_disjoint(&facts.impostors) {
        if facts.claim.is_of_each() {
            strays.extend(members.intersection(&facts.impostors).cloned());
        } else {
            strays.extend(members.iter().cloned());
        }
    }
    if let Lock::Held { eligible } = &facts.lock {
        let named = facts.in_force.named(&everybody);
        strays.extend(eligible.difference(&named).cloned());
        strays.extend(eligible.intersection(&facts.impostors).cloned());
    }
    strays
}

/// Who has to leave the claim before `wanted` may take the place of the contract in force.
pub(super) fn dropped(facts: &Facts, wanted: &SyncNames) -> BTreeSet<StandbyName> {
    let everybody = nodes(facts);
    let whole = Claim::made_by(&facts.in_force, &everybody);
    if whole.is_kept_by(wanted, &everybody) {
        return BTreeSet::new();
    }
    match (facts.in_force.certain(), wanted.certain()) {
        (Some(members), Some(kept)) => members.difference(&kept).cloned().collect(),
        // Where PostgreSQL chose, anybody may have been granted before.
        (None, Some(kept)) if kept.is_empty() => whole.members.union(&everybody).cloned().collect(),
        (_, _) => whole.members,
    }
}

/// R1 (a) to (d): what keeps it from ever being certain that `name` can't be promoted elsewhere.
pub(super) fn obstacle(facts: &Facts, name: &str) -> Option<Hold> {
    if facts.options.unsafe_relax {
        return None;
    }
    let by_quorum_alone = match facts.lock {
        // (a): the lock's own record is the last word.
        Lock::Held { .. } => return None,
        Lock::Unsure => return Some(Hold::LockUnsure),
        Lock::Dead => false,
        Lock::Unused => true,
    };
    let Some(partition) = &facts.partition else {
        return Some(Hold::Unknown);
    };
    if !partition.quorate {
        return Some(Hold::NoQuorum);
    }
    let standby = name.to_owned();
    match ground(partition, name, recorded(facts, name), by_quorum_alone) {
        Ok(Ground::Here | Ground::Outvoted) if partition.settle.is_none() => {
            Some(Hold::NoSettleTime)
        }
        Ok(_) => None,
        Err(NoGround::OutOfReach) => Some(Hold::NoArbiter { standby }),
        Err(NoGround::StartsAlone) => Some(Hold::StartsAlone { standby }),
    }
}

/// A name that nobody knows is neither here nor down.
pub(super) fn recorded(facts: &Facts, name: &str) -> Recorded {
    match facts.standbys.get(name).map(|s| s.place) {
        Some(Place::Node { present, fenced }) => Recorded { present, fenced },
        Some(Place::Outside) | None => Recorded {
            present: false,
            fenced: false,
        },
    }
}

/// Whether a revocation of `name` was made that something can be concluded from.
pub(super) fn is_noted(facts: &Facts, name: &str) -> bool {
    match &facts.lock {
        Lock::Held { eligible } => !eligible.contains(name),
        // A note of when is what the settle time is counted from; unsafe_relax counts nothing.
        Lock::Unused | Lock::Dead | Lock::Unsure => {
            facts.options.unsafe_relax || facts.revoked.contains_key(name)
        }
    }
}

/// Whether seen copies of the CIB make the settle time needless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    Known,
    Settle,
}

/// How long quorum and membership must still hold before a revocation can be believed.
pub(super) fn settling(facts: &Facts, name: &str, haste: Haste) -> Option<Hold> {
    if facts.options.unsafe_relax || matches!(facts.lock, Lock::Held { .. }) {
        return None;
    }
    let partition = facts.partition.as_ref()?;
    let ground = ground(partition, name, recorded(facts, name), true);
    let is_known = is_known_to_be_out(facts, partition, name);
    let standby = name.to_owned();
    // It is off now, and nothing has to settle. When it starts, it meets somebody: with two votes this node, which waits for all as it
    // does. With more another, who must have the revocation then, though this node may be lost by that time.
    if ground == Ok(Ground::Down) {
        let is_told = !partition.outvotes() || is_known || !partition.copies_are_votes();
        return (!is_told).then_some(Hold::NotSpread { standby });
    }
    if haste == Haste::Known && is_known {
        return None;
    }
    let settle = partition.settle?;
    let remaining = match facts.revoked.get(name) {
        // A note of another membership, or from the future: then of an earlier boot.
        Some(note) if note.ring != partition.ring || note.at > partition.now => settle,
        Some(note) => (note.at + settle).saturating_sub(partition.now),
        None => settle,
    };
    if !remaining.is_zero() {
        return Some(Hold::Settling { standby, remaining });
    }
    // That a write was confirmed here, and the ring has stood since, does not show that others have it: the token is small,
    // and passes where what is larger is lost; and corosync runs where Pacemaker does not.
    let is_shown = is_known || ground == Ok(Ground::Outvoted) && !partition.copies_are_votes();
    (!is_shown).then_some(Hold::NotSpread { standby })
}

/// R1 (e): no waiting where the copies themselves were seen. Either `name`'s own node has the
/// revocation, and refuses by it; or a majority of all votes has it, so that every partition that
/// could promote holds a node that has it, and its CIB, with the raised admin_epoch, is the one that
/// stays.
pub(super) fn is_known_to_be_out(facts: &Facts, partition: &Partition, name: &str) -> bool {
    let has_it = |eligible: &BTreeSet<StandbyName>| !eligible.contains(name);
    if facts.copies.get(name).is_some_and(has_it) {
        return true;
    }
    let informed = facts
        .copies
        .values()
        .filter(|eligible| has_it(eligible))
        .count();
    partition.others_stop_without_quorum
        && partition.one_vote_each
        && informed * 2 > partition.voters.max(partition.nodes)
}

/// Revocation notes that no longer say anything: their ring or boot is over. The caller makes
/// them anew, with the present time.
#[must_use]
pub fn outdated(facts: &Facts) -> BTreeSet<StandbyName> {
    let Some(partition) = &facts.partition else {
        return BTreeSet::new();
    };
    let is_outdated = |r: &Revocation| r.ring != partition.ring || r.at > partition.now;
    facts
        .revoked
        .iter()
        .filter(|(_, r)| is_outdated(r))
        .map(|(n, _)| n.clone())
        .collect()
}
