//! The lock service: its row, and what an agent learns from it. The statements are those of
//! `src/distlock/service.rs`, the order of calls that of `src/agent/membership/lock.rs`.
//!
//! A lease may run out at any moment, however often it was renewed: what holds then holds for every
//! lease, and for every clock of the service.

use std::time::Duration;

use expgsql::decide::contract::{self, Lock};
use expgsql::decide::lease::{Mode, Renewed, Renewing, Standing, standing};
use expgsql::decide::promote::Method;
use expgsql::model::sync_names::StandbyName;

use super::agent;
use super::cib::Content;
use super::mutations::Mutation;
use super::nodes::{Id, Set};
use super::world::{State, World};

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) owner: Id,
    pub(crate) epoch: u8,
    pub(crate) eligible: Set,
    pub(crate) reports: u8,
}

/// What a primary knows of its lock for the rest of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    /// None is configured, or nothing was asked yet.
    Unused,
    Held(Set),
    Unsure,
}

impl Seen {
    pub(crate) fn fact(self) -> Lock {
        match self {
            Self::Unused => Lock::Unused,
            Self::Held(eligible) => Lock::Held {
                eligible: eligible.names().collect(),
            },
            Self::Unsure => Lock::Unsure,
        }
    }
}

/// `where owner = me and epoch = mine`.
fn is_mine(world: &World, state: &State, id: Id) -> bool {
    let is_same = state.lock.epoch == state.node(id).memory.lock_epoch;
    state.lock.owner == id && (is_same || world.mutation == Mutation::LockWithoutEpoch)
}

/// agent/membership/lock.rs, `renew`; `None`: the primary has to stop.
pub(crate) fn renew(world: &World, state: &State, id: Id, seen: &Content) -> Option<Seen> {
    if !world.lock {
        return Some(Seen::Unused);
    }
    if state.lock_reach.has(id) {
        let held = Seen::Held(state.lock.eligible.without(id));
        return is_mine(world, state, id).then_some(held);
    }
    let claim = seen.claim();
    let eligible = agent::set(&claim.members).without(id);
    let names = |set: Set| {
        set.names()
            .collect::<std::collections::BTreeSet<StandbyName>>()
    };
    let answer = Renewed::Unreachable { why: String::new() };
    let standing = standing(&Renewing {
        mode: Mode::Sync,
        answer: &answer,
        since_confirmed: None,
        ttl: Duration::from_secs(9),
        margin: Duration::ZERO,
        eligible: &names(eligible),
        reports: claim.needed(),
        streaming: &names(state.standbys_of(id)),
    });
    match standing {
        Standing::StepDown { .. } => None,
        Standing::KeepUnconfirmed { .. } if world.mutation == Mutation::AsIfLocked => {
            Some(Seen::Held(Set::EMPTY))
        }
        Standing::KeepUnconfirmed { .. } | Standing::Keep { .. } => Some(Seen::Unsure),
    }
}

/// agent/actions/promote.rs, `take_lock`: the check and the taking in one statement.
pub(crate) fn take(
    world: &World,
    state: &mut State,
    id: Id,
    seen: &Content,
    method: Method,
) -> bool {
    if !world.lock {
        return true;
    }
    if !state.lock_reach.has(id) {
        return false;
    }
    let node = *state.node(id);
    let witnesses = agent::witnesses(state, id, seen);
    let kept = contract::kept_at_promotion(method, &node.configured.into(), &seen.claim());
    let next = agent::next_epoch(&node, seen);
    let row = state.lock;
    let has_heard = row.eligible.and(witnesses.with(id)).len() >= usize::from(row.reports);
    let is_owner = row.owner == id;
    let may = is_owner || (row.eligible.has(id) && has_heard);
    if !may && world.mutation != Mutation::LockAnybody {
        return false;
    }
    state.lock = if is_owner {
        Row {
            epoch: row.epoch.max(next),
            eligible: row.eligible.and(agent::set(&kept.members)).with(id),
            ..row
        }
    } else {
        Row {
            owner: id,
            epoch: (row.epoch + 1).max(next),
            eligible: Set::of([id]),
            reports: 1,
        }
    };
    state.node_mut(id).memory.lock_epoch = state.lock.epoch;
    true
}

/// agent/membership/lock.rs, `set_eligible`: false where the row was not changed and had to be.
pub(crate) fn set_eligible(
    world: &World,
    state: &mut State,
    id: Id,
    eligible: Set,
    reports: usize,
) -> bool {
    let Seen::Held(_) = state.node(id).memory.lock else {
        return true;
    };
    let is_left_out = [Mutation::RevokeWithoutLock, Mutation::AsIfLocked].contains(&world.mutation);
    if !is_left_out {
        if !state.lock_reach.has(id) || !is_mine(world, state, id) {
            return false;
        }
        state.lock.eligible = eligible.with(id);
        state.lock.reports = u8::try_from(reports.max(1)).expect("few");
    }
    state.node_mut(id).memory.lock = Seen::Held(eligible);
    true
}
