//! The agent's actions, in its order of steps, between any two of which it may pause. Every choice
//! is made by the functions that the agent itself calls.

use std::collections::BTreeMap;
use std::time::Duration;

use expgsql::decide::contract::{
    self, Facts, Hold, Link, Options, Partition, Place, Revocation, Standby, Step as ContractStep,
};
use expgsql::decide::divergence::divergence;
use expgsql::decide::election::Outcome;
use expgsql::decide::eligibility::Promise;
use expgsql::decide::marks::{Seen, marks};
use expgsql::decide::promote::{self as decide, Verdict};
use expgsql::decide::right::{Right, right};
use expgsql::model::status::SenderState;
use expgsql::model::sync_names::SyncNames;

use super::cib::{Content, Data, Record};
use super::node::{Believed, Node, Note, Server, Step, Task};
use super::nodes::{Id, MAX, Set};
use super::properties;
use super::rule::Rule;
use super::wal::lsn;
use super::world::{State, World};

const NOW: Duration = Duration::from_secs(100);
const SETTLE: Duration = Duration::from_secs(7);
const RING: &str = "1";

/// agent/standby.rs, `initial_contract`.
pub(crate) fn initial_contract(world: &World, state: &State, id: Id) -> Rule {
    let content = state.node(id).cib.content;
    let others = world.everybody().without(id);
    let eligible = content.eligible().without(id).names().collect();
    let names = contract::at_start(content.record.node == id, &eligible, others.names());
    Rule::from(&names)
}

/// agent/start.rs, `refuse_diverged`.
pub(crate) fn may_start(state: &State, id: Id) -> bool {
    let node = state.node(id);
    let record = node.cib.content.record.info();
    divergence(&id.name(), Some(&record), &node.wal.position()).is_none()
}

/// agent/start.rs, `start_as_standby`.
pub(crate) fn start(world: &World, state: &mut State, id: Id) {
    let contract = initial_contract(world, state, id);
    let node = state.node_mut(id);
    node.server = Server::Standby(None);
    node.configured = contract;
    node.in_force = contract;
}

/// agent/monitor.rs, `primary`: reads the board and judges its own right.
pub(crate) fn monitor(_world: &World, state: &mut State, id: Id) {
    let node = *state.node(id);
    let seen = node.cib.content;
    let epoch = Some(u64::from(node.memory.epoch));
    let record = seen.record.info();
    let correct = |record| Task::Correct { seen, record };
    let look = Task::Look {
        seen,
        present: node.view,
    };
    let task = match right(&id.name(), Some(&record), &node.wal.lineage(), epoch) {
        Right::Lost { .. } => Task::Quit,
        Right::Correct(_) => correction(&node, id, &seen).map_or(look, correct),
        // look_after: the own data status.
        Right::Keep if seen.data[id.index()] != Data::Latest => correct(seen.record),
        Right::Keep => look,
    };
    state.node_mut(id).task = task;
}

/// agent/promote.rs, `correct_record`; `None` where there is nothing to correct.
fn correction(node: &Node, id: Id, seen: &Content) -> Option<Record> {
    let epoch = seen.record.epoch.max(node.memory.epoch);
    let record = Record::of(id, &node.wal, epoch);
    let is_so = record == seen.record && seen.data[id.index()] == Data::Latest;
    (!is_so).then_some(record)
}

/// agent/promote.rs, `try_promote` up to the verdict.
pub(crate) fn promote(_world: &World, state: &mut State, id: Id) {
    let node = state.node_mut(id);
    let seen = node.cib.content;
    let record = seen.record.info();
    let verdict = decide::promote(&decide::Facts {
        running_primary: None,
        ground: seen.ground(id),
        // In sync mode it is held only where nothing was ever recorded.
        election: Outcome::Won,
        record: Some(&record),
        lineage: &node.wal.lineage(),
    });
    if let Verdict::Go(method) = verdict {
        node.task = Task::Promote {
            seen,
            method: method.into(),
        };
        state.promotions += 1;
    }
}

/// Whether the next step can be done now.
pub(crate) fn can_go(state: &State, id: Id) -> bool {
    let node = state.node(id);
    match node.task {
        Task::Idle => false,
        Task::Quit | Task::Look { .. } | Task::Promote { .. } | Task::Server { .. } => true,
        Task::Apply { step, .. } => match step {
            Step::Contract(_) => true,
            Step::Revoke(_) | Step::Grant(_) | Step::Marks => state.can_write(id),
        },
        Task::Correct { .. } | Task::TakeOver { .. } | Task::Finish { .. } => state.can_write(id),
    }
}

/// The next step of the call in progress.
pub(crate) fn go(world: &World, state: &mut State, id: Id) {
    let task = state.node(id).task;
    state.node_mut(id).task = match task {
        Task::Idle => Task::Idle,
        Task::Quit => {
            state.stop_server(id);
            Task::Idle
        }
        Task::Correct { record, .. } => {
            let seen = state.write(id, None, false, |content| {
                content.record = record;
                content.data[id.index()] = Data::Latest;
            });
            seen.map_or(Task::Idle, |seen| Task::Look {
                seen,
                present: state.node(id).view,
            })
        }
        Task::Look { seen, present } => look(world, state, id, seen, present),
        Task::Apply {
            seen,
            present,
            step,
            partition,
        } => apply(world, state, id, seen, present, step, partition),
        Task::Promote { seen, method } => Task::TakeOver {
            seen,
            method,
            partition: Believed {
                quorate: world.is_quorate(state.node(id)),
                holds: true,
            },
        },
        Task::TakeOver {
            seen,
            method,
            partition,
        } => take_over(world, state, id, seen, method, partition),
        Task::Server { method } => {
            promote_server(state, id, method);
            Task::Finish {
                seen: state.node(id).cib.content,
            }
        }
        Task::Finish { seen } => {
            if let Some(record) = correction(state.node(id), id, &seen) {
                state.write(id, None, false, |content| {
                    content.record = record;
                    content.data[id.index()] = Data::Latest;
                });
            }
            Task::Idle
        }
    };
}

/// agent/promote.rs, `take_over`.
fn take_over(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    method: super::node::Method2,
    partition: Believed,
) -> Task {
    let node = state.node(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    let in_force = SyncNames::from(node.configured);
    let eligible = seen.eligible().without(id).names().collect();
    let kept = contract::kept_at_promotion(method.into(), &in_force, &eligible);
    let kept = Set::of(kept.iter().map(|n| Id::of(n)));
    let peers = world.everybody().without(id);
    let revoked = peers.minus(kept);
    let record = match method {
        super::node::Method2::SameTimeline => seen.record,
        super::node::Method2::NewTimeline => {
            let mut wal = node.wal;
            wal.fork();
            let epoch = seen.record.epoch.max(node.memory.epoch) + 1;
            Record::of(id, &wal, epoch)
        }
    };
    let written = state.write(id, Some(seen.record), partition.quorate, |content| {
        content.record = record;
        content.data[id.index()] = Data::Latest;
        for peer in revoked.iter() {
            content.data[peer.index()] = Data::Other;
        }
    });
    if written.is_none() {
        return Task::Idle;
    }
    let memory = &mut state.node_mut(id).memory;
    memory.epoch = record.epoch;
    memory.barrier = None;
    memory.notes = [Note::None; MAX];
    if partition.holds {
        for peer in revoked.iter() {
            memory.notes[peer.index()] = Note::Made;
        }
    }
    Task::Server { method }
}

/// agent/promote.rs: `server::promote`, or `restart_as_primary`.
fn promote_server(state: &mut State, id: Id, method: super::node::Method2) {
    let node = state.node_mut(id);
    if !node.is_standby() {
        return;
    }
    match method {
        super::node::Method2::NewTimeline => node.wal.fork(),
        super::node::Method2::SameTimeline => {}
    }
    node.server = Server::Primary;
    node.pending = 0;
    state.latest = id;
    state.wrong = state
        .wrong
        .or_else(|| properties::after_promotion(state, id));
}

/// agent/contract.rs, one round of `settle_sync` up to the decision.
fn look(world: &World, state: &mut State, id: Id, seen: Content, present: Set) -> Task {
    if !state.node(id).is_primary() {
        return Task::Idle;
    }
    let (facts, partition) = observe(world, state, id, seen, present);
    let step = match contract::next(&facts).into_iter().next() {
        Some(ContractStep::Revoke(names)) => Step::Revoke(set(&names)),
        Some(ContractStep::Contract(names)) => Step::Contract(Rule::from(&names)),
        Some(ContractStep::Grant(name)) => Step::Grant(set([&name])),
        Some(ContractStep::Hold(_)) | None => {
            let others = world.everybody().without(id);
            let stale = others.iter().any(|n| seen.data[n.index()] == Data::Latest);
            if !stale {
                return Task::Idle;
            }
            Step::Marks
        }
    };
    Task::Apply {
        seen,
        present,
        step,
        partition,
    }
}

fn set<'a>(names: impl IntoIterator<Item = &'a String>) -> Set {
    Set::of(names.into_iter().map(|n| Id::of(n)))
}

/// agent/contract.rs, `facts`.
fn observe(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    present: Set,
) -> (Facts, Option<Believed>) {
    let barrier = barrier(state, id);
    let node = state.node(id);
    let connected = state.standbys_of(id);
    let peers = world.everybody().without(id);
    let standby = |peer: Id| {
        let flushed = Some(lsn(state.node(peer).wal.len()));
        let link = connected.has(peer).then(|| Link {
            state: SenderState::Streaming,
            sync: node.configured.state_of(peer, connected),
            // A matter of speed, not of safety.
            keeps_up: true,
            caught_up: contract::caught_up(flushed, barrier.map(lsn)),
        });
        let place = Place::Node {
            present: present.has(peer),
            eligible: seen.eligible().has(peer),
        };
        (peer.standby(), Standby { place, link })
    };
    let note = |peer: &Id| match node.memory.notes[peer.index()] {
        Note::None => None,
        Note::Made => Some(NOW),
        Note::Settled => Some(NOW - SETTLE),
    };
    let revocation = |at| Revocation {
        at,
        ring: RING.to_owned(),
    };
    let mut facts = Facts {
        in_force: node.configured.into(),
        standbys: peers.iter().map(standby).collect(),
        partition: None,
        copies: BTreeMap::new(),
        revoked: peers
            .iter()
            .filter_map(|p| Some((p.standby(), revocation(note(&p)?))))
            .collect(),
        options: Options {
            strict: false,
            unsafe_relax: world.unsafe_relax,
            everyone: false,
        },
    };
    let mut believed = None;
    if contract::next(&facts).contains(&ContractStep::Hold(Hold::Unknown)) {
        let quorate = world.is_quorate(node);
        believed = Some(Believed {
            quorate,
            holds: true,
        });
        facts.partition = Some(Partition {
            quorate,
            ring: RING.to_owned(),
            voters: world.count,
            one_vote_each: true,
            others_stop_without_quorum: world.count > 2,
            now: NOW,
            settle: Some(SETTLE),
        });
    }
    let is_settling = |s: &ContractStep| matches!(s, ContractStep::Hold(Hold::Settling { .. }));
    if contract::next(&facts).iter().any(is_settling) {
        let answers = |n: &Id| state.network.corosync.joins(id, *n);
        for member in state.ring_of(id).iter().filter(answers) {
            let eligible = state.node(member).cib.content.eligible().without(id);
            facts
                .copies
                .insert(member.standby(), eligible.names().collect());
        }
    }
    (facts, believed)
}

/// agent/contract.rs, `barrier`.
fn barrier(state: &mut State, id: Id) -> Option<u8> {
    let connected = state.standbys_of(id);
    let node = state.node_mut(id);
    if let Some((contract, position)) = node.memory.barrier
        && contract == node.configured
    {
        return Some(position);
    }
    let is_sync =
        |s: Id| node.configured.state_of(s, connected) == expgsql::model::status::SyncState::Sync;
    node.memory.barrier = connected
        .iter()
        .any(is_sync)
        .then(|| (node.configured, node.wal.len()));
    node.memory.barrier.map(|(_, position)| position)
}

/// agent/contract.rs, `apply`, `revoke`, `put_in_force` and `write_marks`.
fn apply(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    present: Set,
    step: Step,
    partition: Option<Believed>,
) -> Task {
    let peers = world.everybody().without(id);
    match step {
        Step::Contract(rule) => {
            let node = state.node_mut(id);
            if !node.is_primary() {
                return Task::Idle;
            }
            node.configured = rule;
            node.memory.barrier = None;
            Task::Look { seen, present }
        }
        Step::Revoke(names) => {
            let raise = partition.is_some_and(|p| p.quorate);
            let written = state.write(id, None, raise, |content| {
                for name in names.iter() {
                    content.data[name.index()] = mark(false);
                }
            });
            if partition.is_some_and(|p| p.holds) {
                for name in names.iter() {
                    state.node_mut(id).memory.notes[name.index()] = Note::Made;
                }
            }
            written.map_or(Task::Idle, |seen| Task::Look {
                seen,
                present: state.node(id).view,
            })
        }
        Step::Grant(_) | Step::Marks => {
            let granted = match step {
                Step::Grant(new) => Set::of(seen.eligible().iter().chain(new.iter())),
                Step::Marks | Step::Revoke(_) | Step::Contract(_) => seen.eligible(),
            };
            // Only what differs from what was read is written.
            let changes = |n: &Id| seen.data[n.index()] != mark(granted.has(*n));
            let changed = Set::of(peers.iter().filter(changes));
            for name in granted.iter() {
                state.node_mut(id).memory.notes[name.index()] = Note::None;
            }
            state.write(id, None, false, |content| {
                for name in changed.iter() {
                    content.data[name.index()] = mark(granted.has(name));
                }
            });
            Task::Idle
        }
    }
}

fn mark(granted: bool) -> Data {
    let seen = Seen {
        link: None,
        granted,
        too_far_behind: false,
    };
    Data::of(marks(Promise::Sync, seen).data)
}
