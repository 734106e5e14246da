//! The agent's actions, in its order of steps, between any two of which it may pause. Every choice
//! is made by the functions that the agent itself calls.

use std::collections::BTreeMap;

use expgsql::decide::contract;
use expgsql::decide::distrust::{self, Attempt};
use expgsql::decide::divergence::{self, by_record};
use expgsql::decide::election::Outcome;
use expgsql::decide::eligibility::{self, Ground, Promise};
use expgsql::decide::marks::{Grant, Seen, marks};
use expgsql::decide::promote::{self as decide, Method, Spread, Verdict, is_spread};
use expgsql::decide::repair::{self, Plan};
use expgsql::decide::replay::Obstacle;
use expgsql::decide::right::{Right, right};
use expgsql::decide::witness::{self, Coverage, Statement, coverage, is_ahead_of_all};
use expgsql::model::repair::OnDivergence;
use expgsql::model::status::{SenderState, SyncState};
use expgsql::model::sync_names::{self, StandbyName};

use super::cib::{Change, Condition, Content, Data, Record, Sync};
use super::lock;
use super::memo::remembered;
use super::mutations::Mutation;
use super::node::{
    Announced, Believed, Method2, Node, Note, Notes, Ring, Server, Stated, Step, Task, Version,
};
use super::nodes::{Id, MAX, Set};
use super::observed::Observed;
use super::properties;
use super::rule::Rule;
use super::wal::{Wal, lsn};
use super::world::{State, World};

pub(crate) fn set<'a>(names: impl IntoIterator<Item = &'a StandbyName>) -> Set {
    Set::of(names.into_iter().map(|n| Id::of(n)))
}

/// agent/standby/initial_contract.rs, `initial_contract`.
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

/// agent/repair/gate.rs, `misfit`.
pub(crate) fn may_start(state: &State, id: Id) -> bool {
    let node = state.node(id);
    let record = node.cib.content.record;
    remembered!((id, record, node.wal), (Id, Record, Wal) => bool, || {
        by_record(&id.name(), Some(&record.info()), &node.wal.position()).is_none()
    })
}

/// agent/repair/gate.rs: the WAL that this node has after a repair, if one is to be made.
pub(crate) fn repaired(world: &World, state: &State, id: Id) -> Option<Wal> {
    let node = state.node(id);
    let seen = node.cib.content;
    let primary = seen.record.node;
    let source = state.node(primary);
    let is_reached = primary != id && state.network.replication.joins(id, primary);
    let can_be_repaired =
        node.task == Task::Idle && matches!(node.server, Server::Down | Server::Standby(None));
    if !can_be_repaired || !is_reached || !source.is_primary() {
        return None;
    }
    let is_claimed = seen.claimed().has(id);
    let goes_by_name = world.mutation == Mutation::ClaimedByName;
    type Asked = (Id, Record, Wal, Wal, bool, bool);
    let key = (
        primary,
        seen.record,
        node.wal,
        source.wal,
        is_claimed,
        goes_by_name,
    );
    let is_to_be = remembered!(key, Asked => bool, || {
        let (primary, record, own, theirs, is_claimed, goes_by_name) = key;
        let record = record.info();
        let is_recorded = |wal: &Wal| divergence::is_recorded(&record, &wal.lineage());
        let misfit = divergence::by_history(&own.position(), &primary.name(), &theirs.position());
        let plan = misfit.map(|misfit| {
            let counts = repair::is_counted_on(&misfit, is_claimed, Some(&record));
            let counts = if goes_by_name { is_claimed } else { counts };
            repair::plan(&misfit, OnDivergence::RewindOrRebuild, counts)
        });
        is_recorded(&theirs) && matches!(plan, Some(Plan::Repair(_)))
    });
    is_to_be.then_some(source.wal)
}

/// agent/standby/bring_up.rs, `start_as_standby`.
pub(crate) fn start(world: &World, state: &mut State, id: Id) {
    let contract = initial_contract(world, state, id);
    let node = state.node_mut(id);
    node.server = Server::Standby(None);
    // Replay begins anew at the last restartpoint.
    if world.hazards.late.has(id) {
        node.replayed = 0;
    }
    node.has_received = false;
    node.configured = contract;
    node.in_force = contract;
    node.follows = whom_to_follow(world, node);
}

/// agent/membership/statement.rs, `whom_to_follow`.
fn whom_to_follow(world: &World, node: &Node) -> Option<(Id, u8)> {
    let record = node.cib.content.record;
    let is_later = node
        .memory
        .detached
        .is_none_or(|epoch| record.epoch > epoch);
    let may = is_later || world.mutation == Mutation::FollowTheSameEpoch;
    may.then_some((record.node, record.epoch))
}

/// agent/membership/attempt.rs, `look`: the notes afterwards, and whether the grant is not to be believed.
fn distrusted(world: &World, node: &Node, seen: &Content, quorate: bool) -> (Notes, bool) {
    if world.mutation == Mutation::NoDistrust {
        return (Notes::default(), false);
    }
    type Asked = (Sync, Notes, bool, Ring, bool, u8, bool);
    let key = (
        seen.sync,
        node.memory.r9,
        quorate,
        node.ring(),
        is_majority(world, node),
        node.cib.admin_epoch,
        node.view.has(seen.sync.primary),
    );
    let is_for_good = world.mutation == Mutation::AloneForGood;
    let (mut notes, is_distrusted) = remembered!(key, Asked => (Notes, bool), || {
        let (sync, old, is_quorate, ring, is_majority, weight, primary_is_here) = key;
        let record = sync.record();
        let id = ring_id(ring);
        let notes = distrust::Notes {
            distrust: old.distrust.map(large),
            attempt: old.attempt.map(noted),
            outside: old.outside.map(|(ring, weight)| distrust::Outside {
                ring: ring_id(ring),
                weight: u64::from(weight),
            }),
        };
        let is_inside = distrust::is_inside(distrust::Place {
            is_quorate,
            quorum_decides: world.count > 2,
            has_row: world.lock,
            nodes: world.count,
        });
        let now = distrust::Around {
            is_inside,
            ring: Some(distrust::Ring { id: &id, is_majority }),
            weight: u64::from(weight),
            primary_is_here,
        };
        let (notes, is_trusted) = distrust::look(notes, now, Some(&record));
        let notes = Notes {
            distrust: notes.distrust.map(small),
            attempt: notes.attempt.map(noted_in),
            outside: notes.outside.map(|outside| {
                let weight = u8::try_from(outside.weight).expect("small");
                (ring_named(&outside.ring), weight)
            }),
        };
        (notes, !is_trusted)
    });
    if is_for_good {
        notes.outside = None;
    }
    (notes, is_distrusted)
}

fn small((epoch, seq): distrust::Version) -> Version {
    let small = |n: u64| u8::try_from(n).expect("small");
    (small(epoch), small(seq))
}

fn large((epoch, seq): Version) -> distrust::Version {
    (u64::from(epoch), u64::from(seq))
}

/// As corosync writes it: it counts in fours.
fn ring_id((lowest, number): Ring) -> String {
    format!("{}.{:x}", lowest.0 + 1, 4 * (u16::from(number) + 1))
}

fn noted((by, ring): (Version, Ring)) -> Attempt {
    Attempt {
        by: large(by),
        ring: ring_id(ring),
    }
}

fn noted_in(attempt: Attempt) -> (Version, Ring) {
    (small(attempt.by), ring_named(&attempt.ring))
}

fn ring_named(id: &str) -> Ring {
    let (lowest, number) = id.split_once('.').expect("made above");
    let lowest: u8 = lowest.parse().expect("a node");
    let number = u8::from_str_radix(number, 16).expect("few") / 4 - 1;
    (Id(lowest - 1), number)
}

fn is_majority(world: &World, node: &Node) -> bool {
    world.is_quorate(node) && node.view.len() * 2 > world.count
}

/// The ring's next form of a promotion that was noted in `ring`; `None`: another partition may have gone on.
fn outlasts(world: &World, node: &Node, (by, ring): (Version, Ring)) -> Option<(Version, Ring)> {
    let id = ring_id(node.ring());
    let now = distrust::Ring {
        id: &id,
        is_majority: is_majority(world, node),
    };
    noted((by, ring)).outlasts(now).map(noted_in)
}

/// agent/actions/monitor/mod.rs, `standby`: what it notes and what it begins to do.
pub(crate) fn watch(world: &World, state: &State, id: Id, has_primary: bool) -> (Task, Notes) {
    let node = state.node(id);
    let seen = node.cib.content;
    let quorate = world.is_quorate_in_cib(node);
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

/// agent/server/reach.rs, `end`: how far this standby is. Where a server that was restarted does not know it yet,
/// `pg_waldump` finds the end of what is on the disk, or nothing is stated.
fn own_position(world: &World, node: &Node) -> Wal {
    if world.mutation == Mutation::StateBeforeReplay {
        node.wal.up_to(node.end())
    } else {
        node.wal
    }
}

/// agent/actions/promote.rs: a recovery target, of which the agent knows.
fn held(world: &World, id: Id) -> Option<Obstacle> {
    let is_held = world.hazards.targets.has(id) && world.mutation != Mutation::TargetUnseen;
    is_held.then(|| Obstacle::Target("recovery_target_time".to_owned()))
}

/// agent/membership/statement.rs, `at`.
fn what_to_state(
    world: &World,
    state: &State,
    id: Id,
    seen: &Content,
    is_distrusted: bool,
) -> Stated {
    let wal = own_position(world, state.node(id));
    let recorded = wal_of_recorded(world, state, id, seen, &wal);
    type Asked = (Content, Id, Wal, Option<Wal>, bool);
    let key = (*seen, id, wal, recorded, is_distrusted);
    let is_witness = remembered!(key, Asked => bool, || {
        let (seen, id, wal, recorded, is_distrusted) = key;
        seen.ground(id, &wal, recorded.as_ref(), is_distrusted) == Ok(Ground::Claimed)
    });
    Stated {
        epoch: seen.record.epoch,
        is_witness,
        wal,
    }
}

/// Whether what this standby would state now is news.
pub(crate) fn has_news(world: &World, state: &State, id: Id) -> bool {
    let node = state.node(id);
    let seen = node.cib.content;
    let quorate = world.is_quorate_in_cib(node);
    let (_, is_distrusted) = distrusted(world, node, &seen, quorate);
    let news = what_to_state(world, state, id, &seen, is_distrusted);
    node.follows.is_some() || node.stated != Some(news)
}

/// agent/membership/board.rs, `is_unfinished`: the WAL of the node that `seen` records as the primary; the own one is at hand, another's is
/// what it has stated about this promotion.
fn wal_of_recorded(world: &World, state: &State, id: Id, seen: &Content, own: &Wal) -> Option<Wal> {
    let recorded = seen.record.node;
    if recorded == id {
        return Some(*own);
    }
    if world.mutation == Mutation::UnfinishedBarsOthers {
        return None;
    }
    let is_heard = state.ring_of(id).has(recorded) && state.network.corosync.joins(id, recorded);
    let stated = state.node(recorded).stated.filter(|_| is_heard)?;
    (stated.epoch == seen.record.epoch).then_some(stated.wal)
}

/// agent/membership/statement.rs, `make`.
fn make_statement(world: &World, state: &mut State, id: Id, seen: Content, quorate: bool) -> Task {
    let node = state.node(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    let (note, is_distrusted) = distrusted(world, node, &seen, quorate);
    let stated = what_to_state(world, state, id, &seen, is_distrusted);
    let node = state.node_mut(id);
    node.memory.detached = node.memory.detached.max(Some(stated.epoch));
    node.memory.r9 = note;
    if world.mutation != Mutation::StateWhileReceiving {
        node.follows = None;
        node.server = Server::Standby(None);
    }
    node.stated = Some(stated);
    Task::Idle
}

/// agent/membership/statement.rs, `attach` and `take_back`.
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

/// agent/membership/stated.rs, `all`: what the other members of the ring state about `seen`'s epoch.
fn statements(state: &State, id: Id, seen: &Content) -> BTreeMap<StandbyName, Statement> {
    heard(state, id)
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

/// agent/membership/stated.rs, `said`.
fn heard(state: &State, id: Id) -> impl Iterator<Item = (Id, Stated)> {
    let ring = state.ring_of(id).without(id).iter();
    let heard = ring.filter(move |n| state.network.corosync.joins(id, *n));
    heard.filter_map(|n| Some((n, state.node(n).stated?)))
}

/// Who has stated as a witness what is known here.
pub(crate) fn witnesses(state: &State, id: Id, seen: &Content) -> Set {
    let statements = statements(state, id, seen);
    let said = statements.iter().filter(|(_, s)| s.is_witness);
    set(said.map(|(name, _)| name))
}

/// agent/actions/monitor/mod.rs, `primary`: reads the board and judges its own right.
pub(crate) fn monitor(world: &World, state: &mut State, id: Id) {
    let node = *state.node(id);
    let seen = node.cib.content;
    let epoch = Some(u64::from(node.memory.epoch));
    let record = seen.record.info();
    let correct = |record| Task::Correct { seen, record };
    let look = Task::Look {
        seen,
        present: node.members,
        quorate: world.is_quorate_in_cib(&node),
    };
    let right = right(&id.name(), Some(&record), &node.wal.lineage(), epoch);
    // The lock is asked after the record; a lock that is lost means the same.
    let held = lock::renew(world, state, id, &seen);
    state.node_mut(id).memory.lock = held.unwrap_or(lock::Seen::Unused);
    let task = match world.mutation.right(id, seen.record.node, right) {
        _ if held.is_none() => Task::Quit,
        Right::Lost { .. } => Task::Quit,
        Right::Correct(_) => correction(&node, id, &seen).map_or(look, correct),
        Right::Keep => look,
    };
    state.node_mut(id).task = task;
}

/// agent/membership/promotion_record.rs, `correct_record`; `None` where there is nothing to correct.
fn correction(node: &Node, id: Id, seen: &Content) -> Option<Record> {
    let epoch = seen.record.epoch.max(node.memory.epoch);
    let record = Record::of(id, &node.wal, epoch);
    (record != seen.record).then_some(record)
}

/// agent/actions/promote.rs, `try_promote` up to the verdict.
fn decide_promotion(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    quorate: bool,
    decided_in: Option<Ring>,
) -> Task {
    let node = *state.node(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    let (note, is_distrusted) = distrusted(world, &node, &seen, quorate);
    state.node_mut(id).memory.r9 = note;
    let recorded = wal_of_recorded(world, state, id, &seen, &node.wal);
    let ground =
        world
            .mutation
            .ground(seen.ground(id, &node.wal, recorded.as_ref(), is_distrusted));
    let record = seen.record.info();
    let coverage = if ground == Ok(Ground::RecordedPrimary) {
        Coverage::NothingClaimed
    } else {
        let position = own_position(world, &node).position();
        let own = Statement {
            position: position.clone(),
            is_witness: ground == Ok(Ground::Claimed),
        };
        let mut statements = statements(state, id, &seen);
        statements.insert(id.standby(), own);
        world.mutation.statements(&position, &mut statements);
        let claim = world.mutation.claim(seen.claim_for(recorded.as_ref()));
        let nodes = world.everybody().names().collect();
        // agent/membership/statement.rs, `covers`.
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
        bar: None,
        held: held(world, id),
        record: Some(&record),
        lineage: &node.wal.lineage(),
        restart_keeps_contract: true,
        restart_repeats: Some(0),
    });
    match verdict {
        Verdict::Go(method) => Task::Promote {
            seen,
            method: method.into(),
            decided_in,
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
        | Task::Confirm(_)
        | Task::Weigh(_)
        | Task::Server { .. } => true,
        Task::Apply { step, .. } => match step {
            Step::Contract(_) => true,
            Step::Revoke(_) | Step::Grant(..) | Step::Marks => state.can_write(id),
        },
        Task::Correct { .. }
        | Task::Outlive { .. }
        | Task::Void { .. }
        | Task::TakeOver { .. }
        | Task::Raise(_)
        | Task::Finish { .. } => state.can_write(id),
    }
}

/// The call goes on to the next step before which a pause makes a difference.
///
/// Where `fine` is not set a step that only reads is done together with the one before, and a write
/// on condition that nothing was written since together with what it was decided by.
pub(crate) fn run(world: &World, state: &mut State, id: Id) {
    while !world.fine && can_go(state, id) && !is_pause(world, &state.node(id).task) {
        let before = state.node(id).task;
        go(world, state, id);
        // It looks again when something has changed.
        if state.node(id).task == before {
            break;
        }
    }
}

/// Before these steps what was read may have become wrong.
fn is_pause(world: &World, task: &Task) -> bool {
    match task {
        Task::Idle
        | Task::Correct { .. }
        | Task::Apply { .. }
        | Task::TakeOver { .. }
        | Task::Raise(_)
        | Task::Server { .. } => true,
        Task::Quit
        | Task::Look { .. }
        | Task::Outlive { .. }
        | Task::State { .. }
        | Task::Void { .. }
        | Task::Attach
        | Task::Ask { .. }
        | Task::Promote { .. }
        | Task::Finish { .. } => false,
        // It may look in vain.
        Task::Confirm(_) => world.hazards.blind,
        // A kill between a write and the look at what became of it.
        Task::Weigh(_) => world.hazards.kills || world.hazards.blind,
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
            let seen = state.write(id, &Change::on(Condition::None).record(record));
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
        Task::Outlive { seen, quorate } => outlive(world, state, id, seen, quorate),
        Task::State { seen, quorate } => make_statement(world, state, id, seen, quorate),
        Task::Void { seen } => {
            let change = Change::on(Condition::as_read(&seen));
            state.write(id, &change.data(id, Data::Other));
            Task::Idle
        }
        Task::Attach => attach(world, state, id),
        Task::Ask {
            seen,
            quorate,
            decided_in,
        } => decide_promotion(world, state, id, seen, quorate, decided_in),
        Task::Promote { seen, method, .. }
            if !lock::take(world, state, id, &seen, method.into()) =>
        {
            Task::Idle
        }
        Task::Promote {
            seen,
            method,
            decided_in,
        } => Task::TakeOver {
            seen,
            method,
            decided_in,
            partition: Believed {
                quorate: world.is_quorate(state.node(id)),
                holds: true,
            },
        },
        Task::TakeOver {
            seen,
            method,
            decided_in,
            partition,
        } => take_over(world, state, id, seen, method, decided_in, partition),
        Task::Confirm(of) => confirm(world, state, id, of),
        Task::Raise(of) => raise(world, state, id, of),
        Task::Weigh(of) => weigh(world, state, id, of),
        Task::Server { method } => promote_server(world, state, id, method),
        Task::Finish { seen } => {
            if let Some(record) = correction(state.node(id), id, &seen) {
                state.write(id, &Change::on(Condition::None).record(record));
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
        present: node.members,
        quorate: world.is_quorate_in_cib(node),
    }
}

/// agent/membership/promotion_record.rs, `take_over`.
fn take_over(
    world: &World,
    state: &mut State,
    id: Id,
    seen: Content,
    method: Method2,
    decided_in: Option<Ring>,
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
    let epoch = next_epoch(node, &seen);
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
        Method::NewTimeline => left(world, state, id, &seen),
    };
    let raise = match method {
        Method::SameTimeline => u8::from(partition.quorate),
        Method::NewTimeline => 0,
    };
    let condition = world.mutation.promotion_condition(seen);
    let change = Change::on(condition).raise(raise).record(record).sync(sync);
    // A promotion leaves the data statuses as they are, and here nothing but a revocation and a grant ever corrects them: they
    // stand longer than they really do.
    let change = match method {
        Method::SameTimeline => revoked
            .iter()
            .fold(change.data(id, Data::Latest), |change, peer| {
                change.data(peer, Data::Other)
            }),
        Method::NewTimeline => change,
    };
    let weight = node_weight(state, id);
    let written = state.write(id, &change);
    // Not confirmed, it is looked for all the same.
    let is_announced = written.is_some() || state.times_out && method == Method::NewTimeline;
    match (is_announced, method) {
        (false, _) => Task::Idle,
        (true, Method::SameTimeline) => {
            remember(state, id, record, revoked, partition);
            Task::Server {
                method: method.into(),
            }
        }
        (true, Method::NewTimeline) => Task::Confirm(Announced {
            record,
            sync,
            revoked,
            partition,
            weight,
            decided_in,
        }),
    }
}

/// `decide::promote::next_epoch`.
pub(crate) fn next_epoch(node: &Node, seen: &Content) -> u8 {
    let [recorded, own] = [seen.record.epoch, node.memory.epoch].map(|e| Some(u64::from(e)));
    let next = decide::next_epoch(recorded, own, node.memory.detached.map(u64::from));
    u8::try_from(next).expect("small")
}

/// `left_at_promotion`: the contract that a promotion to a new timeline leaves in place.
fn left(world: &World, state: &State, id: Id, seen: &Content) -> Sync {
    let recorded = wal_of_recorded(world, state, id, seen, &state.node(id).wal);
    type Asked = (Content, Option<Wal>);
    let key = (*seen, recorded);
    remembered!(key, Asked => Sync, || {
        let (seen, recorded) = key;
        let left = eligibility::left_at_promotion(
            Some(&seen.record.info()),
            Some(&seen.sync.record()),
            &seen.claim_for(recorded.as_ref()),
            seen.is_unfinished(recorded.as_ref()),
        );
        left.map_or(seen.sync, |left| Sync::of(&left))
    })
}

fn node_weight(state: &State, id: Id) -> u8 {
    state.node(id).cib.admin_epoch
}

/// `Weight::Promotion`; a revocation weighs 1.
const PROMOTION: u8 = 100;

/// By how much a promotion raises admin_epoch.
fn promotion_weight(world: &World, partition: Believed) -> u8 {
    let weight = if partition.quorate { PROMOTION } else { 0 };
    world.mutation.promotion_raises(weight)
}

/// agent/membership/promotion_record.rs, `announce`: the record is looked for, and then the attempt noted.
fn confirm(world: &World, state: &mut State, id: Id, of: Announced) -> Task {
    let is_left_out = world.mutation == Mutation::PromoteUnconfirmed;
    if !is_left_out && !has_spread(world, state, id, &of) {
        return Task::Confirm(of);
    }
    if !of.partition.quorate {
        remember(state, id, of.record, of.revoked, of.partition);
        return Task::Server {
            method: Method::NewTimeline.into(),
        };
    }
    // agent/membership/attempt.rs, `begin`.
    let node = *state.node(id);
    let sync = node.cib.content.sync;
    let attempt = ((sync.epoch, sync.seq), of.decided_in.unwrap_or(node.ring()));
    let Some(attempt) = outlasts(world, &node, attempt) else {
        return Task::Idle;
    };
    if world.mutation != Mutation::RaiseWithoutNote {
        state.node_mut(id).memory.r9.attempt = Some(attempt);
    }
    Task::Raise(Announced {
        // It is in the note from here on.
        decided_in: None,
        ..of
    })
}

/// agent/membership/promotion_record.rs, `announce`: the raise.
fn raise(world: &World, state: &mut State, id: Id, of: Announced) -> Task {
    let by = promotion_weight(world, of.partition);
    let weight = node_weight(state, id) + by;
    let change = Change::on(Condition::AsRead(of.record, of.sync)).raise(by);
    let written = state.write(id, &change);
    if written.is_none() && !state.times_out {
        return Task::Idle;
    }
    Task::Weigh(Announced { weight, ..of })
}

/// agent/membership/promotion_record.rs, `announce`: the raise is looked for.
fn weigh(world: &World, state: &mut State, id: Id, of: Announced) -> Task {
    let is_left_out =
        [Mutation::RaiseUnconfirmed, Mutation::PromoteUnconfirmed].contains(&world.mutation);
    // agent/membership/attempt.rs, `goes_on`.
    let node = *state.node(id);
    if let Some(attempt) = node.memory.r9.attempt.filter(|_| !is_left_out) {
        match outlasts(world, &node, attempt) {
            None => return Task::Idle,
            next => state.node_mut(id).memory.r9.attempt = next,
        }
    }
    if !is_left_out && !has_spread(world, state, id, &of) {
        return Task::Weigh(of);
    }
    remember(state, id, of.record, of.revoked, of.partition);
    Task::Server {
        method: Method::NewTimeline.into(),
    }
}

/// agent/membership/promotion_record.rs, `not_confirmed`.
pub(crate) fn give_up(world: &World, state: &mut State, id: Id) {
    let node = state.node(id);
    let is_for_good = world.mutation == Mutation::DistrustForGood;
    let is_alone = !world.is_quorate(node) || is_for_good;
    let content = node.cib.content;
    let (mut noted, _) = distrusted(world, node, &content, false);
    if is_for_good {
        noted.outside = None;
    }
    let node = state.node_mut(id);
    node.task = Task::Idle;
    if is_alone {
        node.memory.r9 = noted;
    }
}

/// agent/membership/spread.rs, `look`: whether a majority has the record, with the weight that it is to have.
fn has_spread(world: &World, state: &State, id: Id, of: &Announced) -> bool {
    let node = *state.node(id);
    let has_it = |n: &Id| {
        let theirs = state.node(*n).cib;
        let there = theirs.content.record;
        let says_so = there.epoch == of.record.epoch && there.node == of.record.node;
        let is_heavy = theirs.admin_epoch >= of.weight;
        state.network.corosync.joins(id, *n) && says_so && is_heavy
    };
    let others = state.ring_of(id).without(id);
    let spread = Spread {
        have: others.with(id).iter().filter(has_it).count(),
        members: node.members.len(),
        nodes: world.count,
        voters: world.count,
        one_vote_each: true,
        quorate: world.is_quorate(&node),
        others_stop_without_quorum: world.count > 2,
    };
    is_spread(&spread)
}

fn remember(state: &mut State, id: Id, record: Record, revoked: Set, partition: Believed) {
    let memory = &mut state.node_mut(id).memory;
    memory.epoch = record.epoch;
    memory.r9.attempt = None;
    memory.seq = memory.seq.max(1);
    memory.barrier = None;
    memory.forget_ring();
    if partition.holds {
        for peer in revoked.iter() {
            memory.notes[peer.index()] = Note::Made;
        }
    }
}

/// agent/actions/promote.rs: `server::promote`, or `restart_as_primary`.
fn promote_server(world: &World, state: &mut State, id: Id, method: Method2) -> Task {
    let node = state.node_mut(id);
    if !node.is_standby() {
        return Task::Idle;
    }
    if Method::from(method) == Method::NewTimeline {
        if world.hazards.targets.has(id) {
            node.wal = node.wal.up_to(node.replayed);
        }
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

/// agent/contract/mod.rs, one round of `settle_sync` up to the decision.
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

/// agent/contract/mod.rs, `outlive_statements`.
fn end(world: &World, state: &State, id: Id, seen: Content, present: Set, quorate: bool) -> Task {
    let peers = world.everybody().without(id);
    let silent = present.and(peers).minus(state.standbys_of(id));
    let is_needed = !silent.is_empty() && to_outlive(world, state, id, &seen).is_some();
    if is_needed && seen.record.node == id {
        Task::Outlive { seen, quorate }
    } else {
        Task::Idle
    }
}

/// agent/membership/statement.rs, `to_outlive`.
fn to_outlive(world: &World, state: &State, id: Id, seen: &Content) -> Option<u8> {
    let recorded = seen.record.epoch;
    // The later of what it states, and of what it stated before.
    let stated = heard(state, id).map(|(n, s)| state.node(n).memory.detached.unwrap_or(s.epoch));
    if world.mutation == Mutation::OutliveOneEpoch {
        return stated.into_iter().find(|epoch| *epoch == recorded);
    }
    let stated = stated.into_iter().map(u64::from);
    let latest = witness::to_outlive(u64::from(recorded), stated)?;
    Some(u8::try_from(latest).expect("small"))
}

/// agent/membership/promotion_record.rs, `begin_epoch`.
fn outlive(world: &World, state: &mut State, id: Id, seen: Content, quorate: bool) -> Task {
    // The statements are read again.
    let latest = to_outlive(world, state, id, &seen).map(u64::from);
    let [recorded, own] =
        [seen.record.epoch, state.node(id).memory.epoch].map(|e| Some(u64::from(e)));
    let epoch = u8::try_from(decide::next_epoch(recorded, own, latest)).expect("small");
    let record = Record {
        epoch,
        ..seen.record
    };
    let sync = Sync {
        epoch: if seen.sync.primary == id {
            epoch
        } else {
            seen.sync.epoch
        },
        ..seen.sync
    };
    let change = Change::on(Condition::as_read(&seen))
        .raise(u8::from(quorate))
        .record(record)
        .sync(sync);
    if state.write(id, &change).is_some() {
        state.node_mut(id).memory.epoch = epoch;
    }
    Task::Idle
}

/// agent/contract/mod.rs, `look` and `facts`: what there is to be seen now.
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
        listed: if world.mutation == Mutation::PresentByTheCib {
            present
        } else {
            node.view
        },
        quorate: world.is_quorate(node),
        requested: state.requested.without(id),
        barred: world.barred.without(id),
        copies,
    }
}

/// agent/contract/barrier.rs, `barrier`.
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
    // decide/proof.rs.
    let is_everywhere =
        world.mutation == Mutation::EarlyBarrier || node.in_force == node.configured;
    node.memory.barrier =
        (is_everywhere && connected.iter().any(counts)).then(|| (node.configured, node.wal.len()));
    node.memory.barrier.map(|(_, position)| position)
}

/// agent/contract/marks.rs, `marks`.
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

/// agent/contract/marks.rs, `write_marks`.
fn marked(world: &World, state: &State, id: Id, seen: &Content) -> [Data; MAX] {
    let claimed = seen.claimed();
    let mut data = seen.data;
    for peer in world.everybody().without(id).iter() {
        data[peer.index()] = mark(state, id, peer, grant_of(claimed, seen.method(), peer));
    }
    data
}

/// agent/contract/marks.rs, `grant_of`.
fn grant_of(claimed: Set, method: sync_names::Method, name: Id) -> Grant {
    match (claimed.has(name), method) {
        (false, _) => Grant::No,
        (true, sync_names::Method::First) => Grant::Each,
        (true, sync_names::Method::Any) => Grant::Among,
    }
}

/// agent/contract/mod.rs, `apply`, `revoke`, `grant` and `put_in_force`, and agent/contract/marks.rs, `write_marks`.
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
            let change = Change::on(condition).raise(raise).sync(sync);
            let mark = |change: Change, (name, data): (Id, Data)| change.data(name, data);
            let written = state.write(id, &marks.into_iter().fold(change, mark));
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
            let change = Change::on(condition).sync(sync);
            let mark = |change: Change, (name, data): (Id, Data)| change.data(name, data);
            let written = state.write(id, &marks.into_iter().fold(change, mark));
            written.map_or(Task::Idle, |seen| looking(world, state, id, seen))
        }
        Step::Marks => {
            let data = marked(world, state, id, &seen);
            // Only what differs from what was read is written.
            let peers = world.everybody().without(id).iter();
            let changed = peers.filter(|p| seen.data[p.index()] != data[p.index()]);
            let mark = |change: Change, peer: Id| change.data(peer, data[peer.index()]);
            let written = state.write(id, &changed.fold(Change::on(condition), mark));
            written.map_or(Task::Idle, |seen| {
                end(world, state, id, seen, present, quorate)
            })
        }
    }
}
