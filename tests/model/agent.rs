//! The agent's actions, in its order of steps, between any two of which it may pause. Every choice
//! is made by the functions that the agent itself calls.

use std::collections::BTreeMap;

use expgsql::decide::contract;
use expgsql::decide::distrust;
use expgsql::decide::divergence::by_record;
use expgsql::decide::election::Outcome;
use expgsql::decide::eligibility::{Ground, Promise};
use expgsql::decide::marks::{Grant, Seen, marks};
use expgsql::decide::promote::{self as decide, Method, Spread, Verdict, is_spread};
use expgsql::decide::right::{Right, right};
use expgsql::decide::witness::{Coverage, Statement, coverage, is_ahead_of_all};
use expgsql::model::status::{SenderState, SyncState};
use expgsql::model::sync_names::{self, StandbyName};

use super::cib::{Condition, Content, Data, Record, Sync};
use super::lock;
use super::memo::remembered;
use super::mutations::Mutation;
use super::node::{Believed, Method2, Node, Note, Server, Stated, Step, Task};
use super::nodes::{Id, MAX, Set};
use super::observed::Observed;
use super::properties;
use super::rule::Rule;
use super::wal::{Wal, lsn};
use super::world::{State, World};

pub(crate) fn set<'a>(names: impl IntoIterator<Item = &'a StandbyName>) -> Set {
    Set::of(names.into_iter().map(|n| Id::of(n)))
}

/// agent/standby.rs, `initial_contract`.
pub(crate) fn initial_contract(world: &World, state: &State, id: Id) -> Rule {
    let content = state.node(id).cib.content;
    let others = world.everybody().without(id);
    let is_recorded = content.record.node == id && world.mutation != Mutation::RestartWithAnyOne;
    remembered!((content, others, is_recorded), (Content, Set, bool) => Rule, || {
    Rule::from(&contract::at_start(
        is_recorded,
        &content.claim(),
        others.names(),
    ))
    })
}

/// agent/start.rs, `refuse_diverged`.
pub(crate) fn may_start(state: &State, id: Id) -> bool {
    let node = state.node(id);
    let record = node.cib.content.record;
    remembered!((id, record, node.wal), (Id, Record, Wal) => bool, || {
        by_record(&id.name(), Some(&record.info()), &node.wal.position()).is_none()
    })
}

/// agent/start.rs, `start_as_standby`.
pub(crate) fn start(world: &World, state: &mut State, id: Id) {
    let contract = initial_contract(world, state, id);
    let node = state.node_mut(id);
    node.server = Server::Standby(None);
    node.configured = contract;
    node.in_force = contract;
    node.follows = whom_to_follow(world, node);
}

/// agent/statement.rs, `whom_to_follow`.
fn whom_to_follow(world: &World, node: &Node) -> Option<(Id, u8)> {
    let record = node.cib.content.record;
    let is_later = node
        .memory
        .detached
        .is_none_or(|epoch| record.epoch > epoch);
    let may = is_later || world.mutation == Mutation::FollowTheSameEpoch;
    may.then_some((record.node, record.epoch))
}

/// agent/statement.rs, `is_trusted`: the note afterwards, and whether the grant is not to be believed.
fn distrusted(
    world: &World,
    node: &Node,
    seen: &Content,
    quorate: bool,
) -> (Option<(u8, u8)>, bool) {
    if world.mutation == Mutation::NoDistrust {
        return (None, false);
    }
    let old = node.memory.distrust;
    type Asked = (Sync, Option<(u8, u8)>, bool);
    remembered!((seen.sync, old, quorate), Asked => (Option<(u8, u8)>, bool), || {
        let small = |n: u64| u8::try_from(n).expect("small");
        let old = old.map(|(epoch, seq)| (u64::from(epoch), u64::from(seq)));
        let record = seen.sync.record();
        let note = distrust::note(quorate, old, Some(&record));
        let is_distrusted = distrust::is_distrusted(note, Some(&record));
        let note = note.map(|(epoch, seq)| (small(epoch), small(seq)));
        (note, is_distrusted)
    })
}

/// agent/monitor.rs, `standby`: what it notes and what it begins to do.
pub(crate) fn watch(
    world: &World,
    state: &State,
    id: Id,
    has_primary: bool,
) -> (Task, Option<(u8, u8)>) {
    let node = state.node(id);
    let seen = node.cib.content;
    let quorate = world.is_quorate(node);
    let (note, is_distrusted) = distrusted(world, node, &seen, quorate);
    let is_claimed = seen.claimed().has(id);
    let task = if is_distrusted && quorate && is_claimed && seen.data[id.index()] != Data::Other {
        Task::Void { seen }
    } else if has_primary && node.follows != whom_to_follow(world, node) {
        Task::Attach
    } else {
        Task::Idle
    };
    (task, note)
}

/// agent/statement.rs, `make`.
fn make_statement(world: &World, state: &mut State, id: Id, seen: Content, quorate: bool) -> Task {
    let node = state.node(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    let (note, is_distrusted) = distrusted(world, node, &seen, quorate);
    let epoch = seen.record.epoch;
    let stated = Stated {
        epoch,
        is_witness: seen.ground(id, &node.wal, is_distrusted) == Ok(Ground::Claimed),
        wal: node.wal,
    };
    let node = state.node_mut(id);
    node.memory.detached = node.memory.detached.max(Some(epoch));
    node.memory.distrust = note;
    if world.mutation != Mutation::StateWhileReceiving {
        node.follows = None;
        node.server = Server::Standby(None);
    }
    node.stated = Some(stated);
    Task::Idle
}

/// agent/statement.rs, `attach` and `take_back`.
fn attach(world: &World, state: &mut State, id: Id) -> Task {
    let follow = whom_to_follow(world, state.node(id));
    let node = state.node_mut(id);
    if node.is_standby() {
        if follow.is_some() {
            node.stated = None;
            node.memory.detached = None;
        }
        node.follows = follow;
        node.server = Server::Standby(None);
    }
    Task::Idle
}

/// agent/statement.rs, `all`: what the other members of the ring state about `seen`'s epoch.
fn statements(state: &State, id: Id, seen: &Content) -> BTreeMap<StandbyName, Statement> {
    let ring = state.ring_of(id).without(id).iter();
    let heard = ring.filter(|n| state.network.corosync.joins(id, *n));
    heard
        .filter_map(|n| Some((n, state.node(n).stated?)))
        .filter(|(_, stated)| stated.epoch == seen.record.epoch)
        .map(|(n, stated)| {
            let statement = Statement {
                position: stated.wal.position(),
                is_witness: stated.is_witness,
            };
            (n.standby(), statement)
        })
        .collect()
}

/// Who has stated as a witness what is known here.
pub(crate) fn witnesses(state: &State, id: Id, seen: &Content) -> Set {
    let statements = statements(state, id, seen);
    let said = statements.iter().filter(|(_, s)| s.is_witness);
    set(said.map(|(name, _)| name))
}

/// agent/monitor.rs, `primary`: reads the board and judges its own right.
pub(crate) fn monitor(world: &World, state: &mut State, id: Id) {
    let node = *state.node(id);
    let seen = node.cib.content;
    let epoch = Some(u64::from(node.memory.epoch));
    let record = seen.record.info();
    let correct = |record| Task::Correct { seen, record };
    let look = Task::Look {
        seen,
        present: node.view,
        quorate: world.is_quorate(&node),
    };
    let right = right(&id.name(), Some(&record), &node.wal.lineage(), epoch);
    // The lock is asked after the record; a lock that is lost means the same.
    let held = lock::renew(world, state, id, &seen);
    state.node_mut(id).memory.lock = held.unwrap_or(lock::Seen::Unused);
    let task = match world.mutation.right(id, seen.record.node, right) {
        _ if held.is_none() => Task::Quit,
        Right::Lost { .. } => Task::Quit,
        Right::Correct(_) => correction(&node, id, &seen).map_or(look, correct),
        // look_after: the own data status.
        Right::Keep if seen.data[id.index()] != Data::Latest => correct(seen.record),
        Right::Keep => look,
    };
    state.node_mut(id).task = task;
}

/// agent/promotion_record.rs, `correct_record`; `None` where there is nothing to correct.
fn correction(node: &Node, id: Id, seen: &Content) -> Option<Record> {
    let epoch = seen.record.epoch.max(node.memory.epoch);
    let record = Record::of(id, &node.wal, epoch);
    let is_so = record == seen.record && seen.data[id.index()] == Data::Latest;
    (!is_so).then_some(record)
}

/// agent/promote.rs, `try_promote` up to the verdict.
fn decide_promotion(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    quorate: bool,
) -> Task {
    let node = *state.node(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    let (note, is_distrusted) = distrusted(world, &node, &seen, quorate);
    state.node_mut(id).memory.distrust = note;
    let ground = world
        .mutation
        .ground(seen.ground(id, &node.wal, is_distrusted));
    let record = seen.record.info();
    let coverage = if ground == Ok(Ground::RecordedPrimary) {
        Coverage::NothingClaimed
    } else {
        let position = node.wal.position();
        let own = Statement {
            position: position.clone(),
            is_witness: ground == Ok(Ground::Claimed),
        };
        let mut statements = statements(state, id, &seen);
        statements.insert(id.standby(), own);
        world.mutation.statements(&position, &mut statements);
        let claim = world.mutation.claim(seen.claim_for(id, &node.wal));
        let nodes = world.everybody().names().collect();
        // agent/statement.rs, `covers`.
        let covered = if is_ahead_of_all(&position, &nodes, &statements) {
            Coverage::Covered
        } else {
            coverage(&position, &claim, &statements)
        };
        world.mutation.coverage(covered)
    };
    let verdict = decide::promote(&decide::Facts {
        running_primary: None,
        ground,
        // In sync mode it is held only where nothing was ever recorded.
        election: Outcome::Won,
        coverage,
        record: Some(&record),
        lineage: &node.wal.lineage(),
        restart_keeps_contract: true,
    });
    match verdict {
        Verdict::Go(method) => Task::Promote {
            seen,
            method: method.into(),
        },
        Verdict::Complete | Verdict::Refuse(_) => Task::Idle,
    }
}

/// Whether the next step can be done now.
pub(crate) fn can_go(state: &State, id: Id) -> bool {
    let node = state.node(id);
    match node.task {
        Task::Idle => false,
        Task::Quit
        | Task::Look { .. }
        | Task::Ask { .. }
        | Task::State { .. }
        | Task::Attach
        | Task::Promote { .. }
        | Task::Confirm { .. }
        | Task::Server { .. } => true,
        Task::Apply { step, .. } => match step {
            Step::Contract(_) => true,
            Step::Revoke(_) | Step::Grant(..) | Step::Marks => state.can_write(id),
        },
        Task::Correct { .. }
        | Task::Outlive { .. }
        | Task::Void { .. }
        | Task::TakeOver { .. }
        | Task::Raise { .. }
        | Task::Finish { .. } => state.can_write(id),
    }
}

/// The call goes on to the next step before which a pause makes a difference.
///
/// Where `fine` is not set a step that only reads is done together with the one before, and a write
/// on condition that nothing was written since together with what it was decided by.
pub(crate) fn run(world: &World, state: &mut State, id: Id) {
    while !world.fine && can_go(state, id) && !is_pause(&state.node(id).task) {
        go(world, state, id);
    }
}

/// Before these steps what was read may have become wrong.
fn is_pause(task: &Task) -> bool {
    match task {
        Task::Idle
        | Task::Correct { .. }
        | Task::Apply { .. }
        | Task::TakeOver { .. }
        | Task::Raise { .. }
        | Task::Server { .. } => true,
        Task::Quit
        | Task::Look { .. }
        | Task::Outlive { .. }
        | Task::State { .. }
        | Task::Void { .. }
        | Task::Attach
        | Task::Ask { .. }
        | Task::Promote { .. }
        | Task::Confirm { .. }
        | Task::Finish { .. } => false,
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
            let seen = state.write(id, Condition::None, 0, |content| {
                content.record = record;
                content.data[id.index()] = Data::Latest;
            });
            seen.map_or(Task::Idle, |seen| looking(world, state, id, seen))
        }
        Task::Look {
            seen,
            present,
            quorate,
        } => look(world, state, id, seen, present, quorate),
        Task::Apply {
            seen,
            present,
            quorate,
            step,
            partition,
        } => apply(world, state, id, seen, present, quorate, step, partition),
        Task::Outlive { seen, quorate } => outlive(state, id, seen, quorate),
        Task::State { seen, quorate } => make_statement(world, state, id, seen, quorate),
        Task::Void { seen } => {
            state.write(id, Condition::AsRead(seen), 0, |content| {
                content.data[id.index()] = Data::Other;
            });
            Task::Idle
        }
        Task::Attach => attach(world, state, id),
        Task::Ask { seen, quorate } => decide_promotion(world, state, id, seen, quorate),
        Task::Promote { seen, method } if !lock::take(world, state, id, &seen, method.into()) => {
            Task::Idle
        }
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
        Task::Confirm {
            record,
            revoked,
            partition,
        } => confirm(world, state, id, record, revoked, partition),

        Task::Raise {
            record,
            revoked,
            partition,
        } => raise(world, state, id, record, revoked, partition),

        Task::Server { method } => promote_server(state, id, method),
        Task::Finish { seen } => {
            if let Some(record) = correction(state.node(id), id, &seen) {
                state.write(id, Condition::None, 0, |content| {
                    content.record = record;
                    content.data[id.index()] = Data::Latest;
                });
            }
            let node = state.node_mut(id);
            node.stated = None;
            node.memory.detached = None;
            Task::Idle
        }
    };
}

fn looking(world: &World, state: &State, id: Id, seen: Content) -> Task {
    let node = state.node(id);
    Task::Look {
        seen,
        present: node.view,
        quorate: world.is_quorate(node),
    }
}

/// agent/promotion_record.rs, `take_over`.
fn take_over(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    method: Method2,
    partition: Believed,
) -> Task {
    let node = state.node(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    let in_force = node.configured;
    let kept = contract::kept_at_promotion(method.into(), &in_force.into(), &seen.claim());
    let kept = set(&kept.members);
    let peers = world.everybody().without(id);
    let revoked = peers.minus(kept);
    let epoch = seen.record.epoch.max(node.memory.epoch) + 1;
    let mut wal = node.wal;
    let record = match Method::from(method) {
        Method::SameTimeline => Record {
            epoch,
            ..seen.record
        },
        Method::NewTimeline => {
            wal.fork();
            Record::of(id, &wal, epoch)
        }
    };
    let method = Method::from(method);
    // A restart takes its standbys along; a promotion leaves the contract of the primary before.
    let sync = match method {
        Method::SameTimeline => Sync {
            epoch,
            seq: 1,
            primary: id,
            contract: in_force,
            eligible: kept,
        },
        Method::NewTimeline => seen.sync,
    };
    let raise = match method {
        Method::SameTimeline => promotion_weight(world, partition),
        Method::NewTimeline => 0,
    };
    let condition = world.mutation.promotion_condition(seen);
    let written = state.write(id, condition, raise, |content| {
        content.record = record;
        content.sync = sync;
        content.data[id.index()] = Data::Latest;
        for peer in revoked.iter() {
            content.data[peer.index()] = Data::Other;
        }
    });
    match (written, method) {
        (None, _) => Task::Idle,
        (Some(_), Method::SameTimeline) => {
            remember(state, id, record, revoked, partition);
            Task::Server {
                method: method.into(),
            }
        }
        (Some(_), Method::NewTimeline) => Task::Confirm {
            record,
            revoked,
            partition,
        },
    }
}

/// `Weight::Promotion`; a revocation weighs 1.
const PROMOTION: u8 = 100;

/// By how much a promotion raises admin_epoch.
fn promotion_weight(world: &World, partition: Believed) -> u8 {
    let weight = if partition.quorate { PROMOTION } else { 0 };
    world.mutation.promotion_raises(weight)
}

/// agent/promotion_record.rs, `confirm_spread`, the first time.
fn confirm(
    world: &World,
    state: &mut State,
    id: Id,
    record: Record,
    revoked: Set,
    partition: Believed,
) -> Task {
    let is_left_out = world.mutation == Mutation::PromoteUnconfirmed;
    if !is_left_out && !has_spread(world, state, id, record) {
        return Task::Idle;
    }
    if partition.quorate {
        return Task::Raise {
            record,
            revoked,
            partition,
        };
    }
    remember(state, id, record, revoked, partition);
    Task::Server {
        method: Method::NewTimeline.into(),
    }
}

/// agent/promotion_record.rs, the end of `take_over`.
fn raise(
    world: &World,
    state: &mut State,
    id: Id,
    record: Record,
    revoked: Set,
    partition: Believed,
) -> Task {
    let weight = promotion_weight(world, partition);
    let written = state.write(id, Condition::Record(record), weight, |_| {});
    if written.is_none() {
        return Task::Idle;
    }
    let is_left_out =
        [Mutation::RaiseUnconfirmed, Mutation::PromoteUnconfirmed].contains(&world.mutation);
    if !is_left_out && !has_spread(world, state, id, record) {
        return Task::Idle;
    }
    remember(state, id, record, revoked, partition);
    Task::Server {
        method: Method::NewTimeline.into(),
    }
}

/// agent/promotion_record.rs, `confirm_spread`: whether a majority has the record, with the weight it has here;
/// if not, what is recorded is not believed any more.
fn has_spread(world: &World, state: &mut State, id: Id, record: Record) -> bool {
    let node = *state.node(id);
    let has_it = |n: &Id| {
        let theirs = state.node(*n).cib;
        let there = theirs.content.record;
        let says_so = there.epoch == record.epoch && there.node == record.node;
        let is_heavy = theirs.admin_epoch >= node.cib.admin_epoch;
        state.network.corosync.joins(id, *n) && says_so && is_heavy
    };
    let others = state.ring_of(id).without(id);
    let spread = Spread {
        have: 1 + others.iter().filter(has_it).count(),
        members: node.view.len(),
        nodes: world.count,
        voters: world.count,
        one_vote_each: true,
        quorate: world.is_quorate(&node),
        others_stop_without_quorum: world.count > 2,
    };
    if is_spread(&spread) {
        return true;
    }
    let (note, _) = distrusted(world, &node, &node.cib.content, false);
    state.node_mut(id).memory.distrust = note;
    false
}

fn remember(state: &mut State, id: Id, record: Record, revoked: Set, partition: Believed) {
    let memory = &mut state.node_mut(id).memory;
    memory.epoch = record.epoch;
    memory.seq = memory.seq.max(1);
    memory.barrier = None;
    memory.forget_ring();
    if partition.holds {
        for peer in revoked.iter() {
            memory.notes[peer.index()] = Note::Made;
        }
    }
}

/// agent/promote.rs: `server::promote`, or `restart_as_primary`.
fn promote_server(state: &mut State, id: Id, method: Method2) -> Task {
    let node = state.node_mut(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    if Method::from(method) == Method::NewTimeline {
        node.wal.fork();
    }
    node.server = Server::Primary;
    node.follows = None;
    node.pending = 0;
    state.latest = id;
    state.wrong = state
        .wrong
        .or_else(|| properties::after_promotion(state, id));
    Task::Finish {
        seen: state.node(id).cib.content,
    }
}

/// agent/contract.rs, one round of `settle_sync` up to the decision.
fn look(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    present: Set,
    quorate: bool,
) -> Task {
    if !state.node(id).is_primary() {
        return Task::Idle;
    }
    let observed = observe(world, state, id, seen, present);
    let (step, partition) = observed.decide();
    let step = match step {
        Some(step) => step,
        None if marked(world, state, id, &seen) == seen.data => {
            return end(world, state, id, seen, present, quorate);
        }
        None => Step::Marks,
    };
    Task::Apply {
        seen,
        present,
        quorate,
        step,
        partition,
    }
}

/// agent/contract.rs, `outlive_statements`.
fn end(world: &World, state: &State, id: Id, seen: Content, present: Set, quorate: bool) -> Task {
    let peers = world.everybody().without(id);
    let silent = present.and(peers).minus(state.standbys_of(id));
    let is_needed = !silent.is_empty() && !statements(state, id, &seen).is_empty();
    if is_needed && seen.record.node == id {
        Task::Outlive { seen, quorate }
    } else {
        Task::Idle
    }
}

/// agent/promotion_record.rs, `begin_epoch`.
fn outlive(state: &mut State, id: Id, seen: Content, quorate: bool) -> Task {
    let epoch = seen.record.epoch.max(state.node(id).memory.epoch) + 1;
    let written = state.write(id, Condition::AsRead(seen), u8::from(quorate), |content| {
        content.record.epoch = epoch;
        if content.sync.primary == id {
            content.sync.epoch = epoch;
        }
    });
    if written.is_some() {
        state.node_mut(id).memory.epoch = epoch;
    }
    Task::Idle
}

/// agent/contract.rs, `look` and `facts`: what there is to be seen now.
fn observe(world: &World, state: &mut State, id: Id, seen: Content, present: Set) -> Observed {
    let barrier = barrier(world, state, id).map(lsn);
    let node = state.node(id);
    let connected = state.standbys_of(id);
    let flushed = |s: &Id| Some(lsn(state.node(*s).wal.len()));
    let caught_up = |s: &Id| contract::caught_up(flushed(s), barrier);
    let answers = |n: &Id| state.network.corosync.joins(id, *n);
    let mut copies = [None; MAX];
    for member in state.ring_of(id).iter().filter(answers) {
        copies[member.index()] = Some(state.node(member).cib.content.claimed());
    }
    Observed {
        mutation: world.mutation,
        unsafe_relax: world.unsafe_relax,
        quorum: world.method == sync_names::Method::Any,
        count: world.count,
        me: id,
        contract: node.configured,
        connected,
        caught_up: Set::of(connected.iter().filter(caught_up)),
        notes: node.memory.notes,
        lock: node.memory.lock,
        seen,
        present,
        quorate: world.is_quorate(node),
        requested: state.requested.without(id),
        copies,
    }
}

/// agent/contract.rs, `barrier`.
fn barrier(world: &World, state: &mut State, id: Id) -> Option<u8> {
    let connected = state.standbys_of(id);
    let node = state.node_mut(id);
    if let Some((contract, position)) = node.memory.barrier
        && contract == node.configured
    {
        return Some(position);
    }
    let counts = |s: Id| match node.configured.state_of(s, connected) {
        SyncState::Sync | SyncState::Quorum => true,
        SyncState::Async | SyncState::Potential => false,
    };
    // `is_read_by_senders` and `checkpointer_has_read`.
    let is_everywhere =
        world.mutation == Mutation::EarlyBarrier || node.in_force == node.configured;
    node.memory.barrier =
        (is_everywhere && connected.iter().any(counts)).then(|| (node.configured, node.wal.len()));
    node.memory.barrier.map(|(_, position)| position)
}

/// agent/contract.rs, `marks`.
fn mark(state: &State, id: Id, peer: Id, grant: Grant) -> Data {
    let connected = state.standbys_of(id);
    let sync = state.node(id).configured.state_of(peer, connected);
    let seen = Seen {
        link: connected
            .has(peer)
            .then_some((SenderState::Streaming, sync)),
        grant,
        too_far_behind: false,
    };
    Data::of(marks(Promise::Sync, seen).data)
}

/// agent/contract.rs, `write_marks`.
fn marked(world: &World, state: &State, id: Id, seen: &Content) -> [Data; MAX] {
    let claimed = seen.claimed();
    let mut data = seen.data;
    for peer in world.everybody().without(id).iter() {
        data[peer.index()] = mark(state, id, peer, grant_of(claimed, seen.method(), peer));
    }
    data
}

/// agent/contract.rs, `grant_of`.
fn grant_of(claimed: Set, method: sync_names::Method, name: Id) -> Grant {
    match (claimed.has(name), method) {
        (false, _) => Grant::No,
        (true, sync_names::Method::First) => Grant::Each,
        (true, sync_names::Method::Any) => Grant::Among,
    }
}

/// agent/contract.rs, `apply`, `revoke`, `grant`, `put_in_force` and `write_marks`.
#[expect(clippy::too_many_arguments, reason = "the parts of one task")]
fn apply(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    present: Set,
    quorate: bool,
    step: Step,
    partition: Option<Believed>,
) -> Task {
    let condition = world.mutation.contract_condition(seen);
    let seq = state.node(id).memory.seq.max(seen.sync.seq) + 1;
    match step {
        Step::Contract(rule) => {
            let node = state.node_mut(id);
            if !node.is_primary() {
                return Task::Idle;
            }
            node.configured = rule;
            node.memory.barrier = None;
            Task::Look {
                seen,
                present,
                quorate,
            }
        }
        Step::Revoke(names) => {
            state.node_mut(id).memory.seq = seq;
            let left = seen.claim().without(&names.names().collect());
            // R1 (a) first.
            if !lock::set_eligible(world, state, id, set(&left.members), left.needed()) {
                return Task::Idle;
            }
            let sync = Sync {
                seq,
                eligible: set(&left.members),
                ..seen.sync
            };
            let marks = |name: Id| mark(state, id, name, Grant::No);
            let marks: Vec<(Id, Data)> = names.iter().map(|n| (n, marks(n))).collect();
            let by = u8::from(partition.is_some_and(|p| p.quorate));
            let raise = world.mutation.revocation_raises(by);
            let written = state.write(id, condition, raise, |content| {
                content.sync = sync;
                for (name, data) in &marks {
                    content.data[name.index()] = *data;
                }
            });
            let Some(seen) = written else {
                return Task::Idle;
            };
            if partition.is_some_and(|p| p.holds) {
                for name in names.iter() {
                    state.node_mut(id).memory.notes[name.index()] = Note::Made;
                }
            }
            looking(world, state, id, seen)
        }
        Step::Grant(eligible, granted) => {
            let node = state.node_mut(id);
            node.memory.seq = seq;
            for name in granted.iter() {
                node.memory.notes[name.index()] = Note::None;
            }
            let sync = Sync {
                epoch: seen.record.epoch,
                seq,
                primary: id,
                contract: node.configured,
                eligible,
            };
            let record = sync.record();
            let claimed = set(&record.claim().members);
            if !lock::set_eligible(world, state, id, claimed, record.claim().needed()) {
                return Task::Idle;
            }
            let grant = |name: Id| grant_of(claimed, record.method, name);
            let marks = |name: Id| mark(state, id, name, grant(name));
            let marks: Vec<(Id, Data)> = granted.iter().map(|n| (n, marks(n))).collect();
            let written = state.write(id, condition, 0, |content| {
                content.sync = sync;
                for (name, data) in &marks {
                    content.data[name.index()] = *data;
                }
            });
            written.map_or(Task::Idle, |seen| looking(world, state, id, seen))
        }
        Step::Marks => {
            let data = marked(world, state, id, &seen);
            // Only what differs from what was read is written.
            let written = state.write(id, condition, 0, |content| {
                for peer in world.everybody().without(id).iter() {
                    if seen.data[peer.index()] != data[peer.index()] {
                        content.data[peer.index()] = data[peer.index()];
                    }
                }
            });
            written.map_or(Task::Idle, |seen| {
                end(world, state, id, seen, present, quorate)
            })
        }
    }
}
