//! How one standby stands.

use std::collections::BTreeSet;

use crate::decide::membership::has_left;
use crate::model::lsn::Lsn;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::StandbyName;

use super::facts::{Facts, Link, Place};

/// The nodes that may be promoted at all, whatever is certain about them.
pub(super) fn nodes(facts: &Facts) -> BTreeSet<StandbyName> {
    facts
        .standbys
        .keys()
        .filter(|name| can_be_promoted(facts, name))
        .cloned()
        .collect()
}

/// A name that nobody knows is taken for a node's: it may be one that left node_list a moment ago.
pub(super) fn can_be_promoted(facts: &Facts, name: &str) -> bool {
    facts
        .standbys
        .get(name)
        .is_none_or(|s| s.place != Place::Outside)
}

/// Whether it streams, and a commit may wait for it. PostgreSQL says so of one whose machine lost power until
/// wal_sender_timeout; where corosync has seen it go, and it does not answer, nobody has to wait for that.
#[must_use]
pub fn is_streaming(facts: &Facts, name: &str) -> bool {
    let link = facts.standbys.get(name).and_then(|s| s.link);
    let is_connected = link.is_some_and(|l| l.state == SenderState::Streaming);
    is_connected && !is_gone(facts, name) && !facts.impostors.contains(name)
}

pub(super) fn is_gone(facts: &Facts, name: &str) -> bool {
    facts.silent.contains(name) && has_left(facts.partition.as_ref(), name)
}

pub(super) fn keeps_up(facts: &Facts, name: &str) -> bool {
    let link = facts.standbys.get(name).and_then(|s| s.link);
    is_streaming(facts, name) && link.is_some_and(|l| l.keeps_up)
}

pub(super) fn is_proven(facts: &Facts, name: &str) -> bool {
    let Some(standby) = facts.standbys.get(name) else {
        return false;
    };
    // The setting with it has reached the process that sends to it.
    let counts = |l: Link| matches!(l.sync, SyncState::Sync | SyncState::Quorum);
    let proven = |l: Link| l.state == SenderState::Streaming && counts(l) && l.caught_up;
    // What it has flushed is no use where it would not be there after a promotion.
    !facts.wishes.held.contains(name)
        && !facts.impostors.contains(name)
        && matches!(standby.place, Place::Node { .. })
        && standby.link.is_some_and(proven)
}

/// Whether commits may ever wait for a standby.
#[must_use]
pub fn is_allowed(facts: &Facts, name: &StandbyName) -> bool {
    !can_be_promoted(facts, name) || facts.wishes.allow(name)
}

/// Whether a standby's row proves that it holds all that was acknowledged before (R2).
///
/// `barrier` is a position written after the contract was in force; `None`: not taken yet.
#[must_use]
pub fn caught_up(flushed: Option<Lsn>, barrier: Option<Lsn>) -> bool {
    matches!((flushed, barrier), (Some(flushed), Some(barrier)) if flushed >= barrier)
}
