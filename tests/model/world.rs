//! The whole: nodes, network, what clients were told; and what may happen next.

use stateright::{Model, Property};

use super::agent;
use super::cib::{Change, Content, Data, Record, Replica, Sync};
use super::lock::{Row, Seen};
use super::mutations::Mutation;
use super::network::{Cut, Network, Which};
use super::node::{Memory, Node, Note, Notes, Server, Step, Task};
use super::nodes::{Id, MAX, Set};
use super::properties::{self, Wrong};
use super::rule::Rule;
use super::wal::{Commits, Wal};
use expgsql::model::sync_names::{Method, SyncNames};

/// How large a world is looked at, and by which rules it runs.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) count: usize,
    /// What has happened already where the search begins.
    pub(crate) prologue: Vec<Action>,
    pub(crate) mutation: Mutation,
    pub(crate) commits: u8,
    pub(crate) promotions: u8,
    /// Cuts of links, crashes of servers, and nodes that go down.
    pub(crate) faults: u8,
    /// Which of them.
    pub(crate) hazards: Hazards,
    pub(crate) unsafe_relax: bool,
    /// Agents may pause before steps that only read, too.
    pub(crate) fine: bool,
    /// sync_method.
    pub(crate) method: Method,
    /// There is a lock service.
    pub(crate) lock: bool,
    /// Standbys that an operator wants to be eligible, too.
    pub(crate) requested: Set,
    /// Standbys that an operator does not want to be promoted.
    pub(crate) barred: Set,
    /// Whom Pacemaker may ask for a promotion.
    pub(crate) asked: Set,
    /// What has broken is mended: the network, and machines that are down.
    pub(crate) heals: bool,
    /// That may be taken back.
    pub(crate) withdraws: bool,
}

/// What may go wrong in this world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hazards {
    /// Links that may break.
    pub(crate) cuts: Vec<(Which, Cut)>,
    /// Nodes that may lose the lock service, together.
    pub(crate) lock_cuts: Vec<Set>,
    /// Servers that may crash, together.
    pub(crate) crashes: Vec<Set>,
    /// Standbys that may be late to replay what is on their disks: reports run there, or `recovery_min_apply_delay` is set.
    pub(crate) late: Set,
    /// Standbys with a recovery target that is older than every commit: a promotion drops what is past it.
    pub(crate) targets: Set,
    /// Machines that may go down.
    pub(crate) power: Set,
    /// Changes of the CIB that the agent may give up waiting for, and that take effect later or never.
    pub(crate) timeouts: Timeouts,
    /// The others' copies of the CIB can't be read while a promotion is looked for in them.
    pub(crate) blind: bool,
    /// No node is left alone in a ring on the way to a larger one.
    pub(crate) steady: bool,
    /// Which ring followed which is known for rings of before the first note of one, too.
    pub(crate) counts: bool,
    /// Nodes that can't follow the primary are repaired (`on_divergence=rewind_or_rebuild`).
    pub(crate) repairs: bool,
    /// Agents are killed between two steps.
    pub(crate) kills: bool,
    /// Servers are started again.
    pub(crate) restarts: bool,
    /// Standbys' monitors notice that they are outside (R9). Without it the grants stand, which is the worse.
    pub(crate) watches: bool,
    /// The CIB's membership lags behind corosync's: a controller hangs.
    pub(crate) lags: bool,
    /// A connection over a broken link is taken for a live one, for some time.
    pub(crate) lingering: bool,
}

/// Which changes of the CIB may time out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timeouts {
    #[default]
    None,
    /// A promotion's record, and its raise of admin_epoch.
    Promotions,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: [Node; MAX],
    pub(crate) network: Network,
    pub(crate) lock: Row,
    /// Who reaches the lock service.
    pub(crate) lock_reach: Set,
    /// As in [`World::requested`].
    pub(crate) requested: Set,
    /// Commits that a client was told of.
    pub(crate) acked: Commits,
    pub(crate) commits: u8,
    pub(crate) faults: u8,
    pub(crate) promotions: u8,
    /// Whose promotion was completed last.
    pub(crate) latest: Id,
    pub(crate) wrong: Option<Wrong>,
    /// Within a step: the change of the CIB that it makes times out.
    pub(crate) times_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
pub(crate) enum Action {
    /// A client commits.
    Commit(Id),
    Connect(Id, Id),
    Disconnect(Id),
    Receive(Id),
    /// A standby replays what is on its disk.
    Replay(Id),
    /// The configured contract reaches every process.
    TakeEffect(Id),
    /// Pacemaker's monitor of a primary begins: it reads the CIB.
    Monitor(Id),
    /// Pacemaker asks for a promotion.
    Promote(Id),
    /// The agent's next step.
    Go(Id),
    /// The same, and its change of the CIB times out.
    TimeOut(Id),
    /// A change that timed out takes effect.
    Late(Id),
    /// The agent has looked long enough for its promotion in others' copies.
    GiveUp(Id),
    /// The agent is killed.
    Kill(Id),
    /// What can't follow the primary is repaired.
    Repair(Id),
    /// Pacemaker starts the server, as a standby.
    Start(Id),
    /// Pacemaker stops the server: no quorum, or another primary.
    Stop(Id),
    /// Pacemaker's monitor of a standby begins, or a notification about a primary.
    Watch(Id),
    /// A standby is told of a promotion ahead of it, or finds no primary: it prepares to state its position.
    State(Id),
    /// After a promotion elsewhere: what a standby would wait for as a primary.
    Refresh(Id),
    Cut(Which, Cut),
    /// These don't reach the lock service any more.
    LoseLock(Set),
    Heal,
    /// The operator's request is taken back.
    Withdraw,
    /// A ring forms; the CIB of the second stays, where several differ.
    Form(Set, Id),
    /// The CIB's membership catches up with the ring.
    Membership(Id),
    /// A settle time with an unchanged ring.
    Settle(Id),
    Crash(Set),
    PowerOff(Id),
    PowerOn(Id),
}

impl World {
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        Set::first(self.count).iter()
    }

    pub(crate) fn everybody(&self) -> Set {
        Set::first(self.count)
    }

    /// What the CIB says of quorum, which lags like its membership.
    pub(crate) fn is_quorate_in_cib(&self, node: &Node) -> bool {
        if self.count == 2 {
            node.has_met_all
        } else {
            node.members.len() * 2 > self.count
        }
    }

    /// corosync's votequorum, with `two_node` and so `wait_for_all` for two.
    pub(crate) fn is_quorate(&self, node: &Node) -> bool {
        if self.count == 2 {
            node.has_met_all
        } else {
            node.view.len() * 2 > self.count
        }
    }
}

impl State {
    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// Standbys that receive from `primary`.
    pub(crate) fn standbys_of(&self, primary: Id) -> Set {
        let all = (0..MAX as u8).map(Id);
        Set::of(all.filter(|n| self.node(*n).server == Server::Standby(Some(primary))))
    }

    pub(crate) fn stop_server(&mut self, id: Id) {
        self.node_mut(id).stop_server();
        for standby in self.standbys_of(id).iter() {
            self.node_mut(standby).server = Server::Standby(None);
        }
    }

    fn drop_connections(&mut self) {
        for id in (0..MAX as u8).map(Id) {
            if let Server::Standby(Some(primary)) = self.node(id).server
                && !self.network.replication.joins(id, primary)
            {
                self.node_mut(id).server = Server::Standby(None);
            }
        }
    }

    /// Those that believe to be in one ring with `id`.
    pub(crate) fn ring_of(&self, id: Id) -> Set {
        let view = self.node(id).view;
        let same = |n: &Id| self.node(*n).is_up && self.node(*n).view == view;
        Set::of(view.iter().filter(same))
    }

    /// The ring works: all members take part, and every write reaches all.
    pub(crate) fn is_intact(&self, id: Id) -> bool {
        let view = self.node(id).view;
        let ring = self.ring_of(id);
        ring == view
            && self.network.corosync.joins_all(view)
            && view.iter().all(|n| self.node(n).cib.heard == 0)
    }

    /// A ring that broke lets one more write through, confirmed to its writer: that of the node which
    /// had the token, before any other member has noticed.
    pub(crate) fn can_write(&self, id: Id) -> bool {
        let view = self.node(id).view;
        let mut members = view.iter().map(|n| self.node(n));
        self.is_intact(id) || members.all(|n| n.cib.heard == 0 && (!n.is_up || n.view == view))
    }

    /// A change of the CIB: the content afterwards as the writer sees it. `None`: the condition failed, or nobody knows.
    pub(crate) fn write(&mut self, id: Id, change: &Change) -> Option<Content> {
        if self.times_out {
            self.node_mut(id).late = Some(*change);
            return None;
        }
        self.write_now(id, change)
    }

    pub(crate) fn write_now(&mut self, id: Id, change: &Change) -> Option<Content> {
        if !change.condition.holds(&self.node(id).cib.content) {
            return None;
        }
        let is_broken = !self.is_intact(id);
        let ring = self.ring_of(id);
        for member in ring.iter() {
            if !self.network.corosync.joins(id, member) {
                continue;
            }
            let cib = &mut self.node_mut(member).cib;
            change.apply(cib);
            cib.heard = u8::from(is_broken);
        }
        Some(self.node(id).cib.content)
    }

    /// What the settle time makes certain: everyone outside has noticed that it is outside, and
    /// everyone inside has every write.
    pub(crate) fn is_settled(&self, id: Id, everybody: Set) -> bool {
        let view = self.node(id).view;
        let mut outside = everybody.minus(view).iter().map(|n| self.node(n));
        self.is_intact(id) && outside.all(|n| !n.is_up || n.view.and(view).is_empty())
    }

    /// Only the differences of the admin_epochs matter; and what nobody will look at again is forgotten.
    fn canonical(mut self, world: &World) -> Self {
        let everybody = world.everybody();
        for id in everybody.iter() {
            let node = self.node_mut(id);
            if !world.hazards.lags {
                node.members = node.view;
            }
            let is_prompt = !world.hazards.late.has(id) && !world.hazards.targets.has(id);
            if is_prompt || node.is_primary() {
                node.replayed = node.wal.len();
            }
            node.has_received |= node.has_replayed_all();
            let promotes = matches!(node.task, Task::Server { .. });
            if node.task == Task::Idle {
                node.memory.lock = Seen::Unused;
            }
            if !node.is_primary() && !promotes && node.task == Task::Idle {
                node.memory.forget_ring();
                node.memory.barrier = None;
            }
        }
        let least = everybody.iter().map(|n| self.node(n).cib.admin_epoch).min();
        let least = least.unwrap_or(0);
        for id in everybody.iter() {
            let node = self.node_mut(id);
            node.cib.admin_epoch -= least;
            // A CIB that light there is no more.
            let outside = node.memory.r9.outside;
            node.memory.r9.outside =
                outside.and_then(|(ring, weight)| Some((ring, weight.checked_sub(least)?)));
            if let Task::Confirm(of) | Task::Raise(of) | Task::Weigh(of) = &mut node.task {
                of.weight = of.weight.saturating_sub(least);
            }
        }
        self.count_rings_anew(everybody, world.hazards.counts);
        self
    }

    /// Of the numbers of rings only the order matters, and which follows another at once.
    fn count_rings_anew(&mut self, everybody: Set, counts: bool) {
        let noted = |id: Id| self.node(id).noted_rings();
        let mut numbers: Vec<u8> = everybody.iter().flat_map(noted).collect();
        if numbers.is_empty() && !counts {
            for id in everybody.iter() {
                self.node_mut(id).ring_number = 0;
            }
            return;
        }
        numbers.extend(everybody.iter().map(|n| self.node(n).ring_number));
        numbers.sort_unstable();
        numbers.dedup();
        let mut anew = Vec::with_capacity(numbers.len());
        for (place, number) in numbers.iter().enumerate() {
            let before = place.checked_sub(1);
            let next = before.map_or(0, |b| anew[b] + (number - numbers[b]).min(3));
            anew.push(next);
        }
        let renumber = |number: &mut u8| {
            let place = numbers.binary_search(number).expect("it is among them");
            *number = anew[place];
        };
        for id in everybody.iter() {
            self.node_mut(id).each_ring(renumber);
        }
    }

    /// Answers every client that need not wait any longer. As early as possible is the worst case.
    fn acknowledge(&mut self) {
        for id in (0..MAX as u8).map(Id) {
            let node = self.node(id);
            if !node.is_primary() || node.pending == 0 {
                continue;
            }
            let connected = self.standbys_of(id);
            let pending = (0..8).filter(|c| node.pending & 1 << c != 0);
            let mut told = 0;
            for commit in pending {
                let end = node.wal.position_of(commit).expect("it was written here");
                let has_it = |s: &Id| self.node(*s).wal.len() >= end;
                let flushed = Set::of(connected.iter().filter(has_it));
                if node.in_force.is_met(connected, flushed) {
                    told |= 1 << commit;
                }
            }
            if told != 0 {
                self.node_mut(id).pending &= !told;
                self.acked |= told;
                self.wrong = self.wrong.or_else(|| properties::after_answer(self, id));
            }
        }
    }
}

impl World {
    fn network_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.faults < self.faults {
            let cuts = self.hazards.cuts.iter();
            actions.extend(cuts.map(|(which, cut)| Action::Cut(*which, *cut)));
            let losses = self.hazards.lock_cuts.iter();
            actions.extend(losses.map(|nodes| Action::LoseLock(*nodes)));
            let runs = |n: Id| state.node(n).server != Server::Down;
            let crashes = self.hazards.crashes.iter();
            let possible = crashes.filter(|nodes| nodes.iter().any(runs));
            actions.extend(possible.map(|nodes| Action::Crash(*nodes)));
        }
        let is_whole = state.network == Network::whole(self.count);
        if self.heals && (!is_whole || state.lock_reach != self.everybody()) {
            actions.push(Action::Heal);
        }
        if self.withdraws && state.requested != Set::EMPTY {
            actions.push(Action::Withdraw);
        }
        self.rings(state, actions);
    }

    /// Rings that may form: whoever is left alone by a broken one, or all that reach each other.
    fn rings(&self, state: &State, actions: &mut Vec<Action>) {
        let up = Set::of(self.ids().filter(|n| state.node(*n).is_up));
        let is_ring = |s: &Set| s.is_within(up) && state.network.corosync.joins_all(*s);
        for set in Set::all(self.count).filter(is_ring) {
            let mut larger = up.minus(set).iter().map(|n| set.with(n));
            let is_largest = !larger.any(|s| is_ring(&s));
            let mut members = set.iter();
            let has_formed = members.all(|n| state.node(n).view == set && state.is_intact(n));
            let is_left =
                !self.hazards.steady && set.len() == 1 && set.iter().all(|n| !state.is_intact(n));
            if has_formed || !(is_largest || is_left) {
                continue;
            }
            self.winners(state, set, |winner| actions.push(Action::Form(set, winner)));
        }
    }

    /// Whose CIB stays: a higher admin_epoch, else any. Members of one ring have the same messages
    /// recovered, so among them it is the one that has heard more.
    fn winners(&self, state: &State, set: Set, mut found: impl FnMut(Id)) {
        let has_heard_most = |id: &Id| {
            let ring = state.ring_of(*id).and(set);
            let heard = |n: Id| state.node(n).cib.heard;
            ring.iter().all(|n| heard(n) <= heard(*id))
        };
        let heads: Vec<Id> = set.iter().filter(has_heard_most).collect();
        let highest = heads.iter().map(|n| state.node(*n).cib.admin_epoch).max();
        let mut seen: Vec<Replica> = Vec::new();
        for id in heads {
            let mut cib = state.node(id).cib;
            cib.heard = 0;
            if Some(cib.admin_epoch) == highest && !seen.contains(&cib) {
                seen.push(cib);
                found(id);
            }
        }
    }

    fn node_actions(&self, state: &State, id: Id, actions: &mut Vec<Action>) {
        let node = state.node(id);
        if !node.is_up {
            if self.heals {
                actions.push(Action::PowerOn(id));
            }
            return;
        }
        if state.faults < self.faults && self.hazards.power.has(id) {
            actions.push(Action::PowerOff(id));
        }
        if node.members != node.view {
            actions.push(Action::Membership(id));
        }
        if node.late.is_some() && state.can_write(id) {
            actions.push(Action::Late(id));
        }
        let settles = node.memory.notes.contains(&Note::Made);
        let is_early = self.mutation == Mutation::SettleTooShort;
        if settles && (is_early || state.is_settled(id, self.everybody())) {
            actions.push(Action::Settle(id));
        }
        if node.task != Task::Idle {
            if agent::can_go(state, id) {
                actions.push(Action::Go(id));
            }
            if node.late.is_none() && self.may_time_out(&node.task) {
                actions.push(Action::TimeOut(id));
            }
            if matches!(node.task, Task::Confirm(_) | Task::Weigh(_)) {
                actions.push(Action::GiveUp(id));
            }
            if self.hazards.kills {
                actions.push(Action::Kill(id));
            }
        }
        if self.hazards.repairs && agent::repaired(self, state, id).is_some() {
            actions.push(Action::Repair(id));
        }
        match node.server {
            Server::Down => {
                let may_run = self.hazards.restarts && self.is_quorate(node);
                if node.task == Task::Idle && may_run && agent::may_start(state, id) {
                    actions.push(Action::Start(id));
                }
            }
            Server::Standby(from) => self.standby_actions(state, id, from, actions),
            Server::Primary => {
                if state.commits < self.commits {
                    actions.push(Action::Commit(id));
                }
                if node.in_force != node.configured {
                    actions.push(Action::TakeEffect(id));
                }
                if node.task == Task::Idle {
                    actions.push(Action::Monitor(id));
                }
            }
        }
        if node.task == Task::Idle && node.server != Server::Down {
            let is_rival = |n: Id| n != id && state.node(n).is_primary();
            let has_rival = node.is_primary() && state.ring_of(id).iter().any(is_rival);
            if !self.is_quorate(node) || has_rival {
                actions.push(Action::Stop(id));
            }
        }
    }

    fn may_time_out(&self, task: &Task) -> bool {
        match (self.hazards.timeouts, task) {
            (Timeouts::None, _) => false,
            (_, Task::TakeOver { .. } | Task::Raise(_)) => true,
            (Timeouts::All, Task::Apply { step, .. }) => !matches!(step, Step::Contract(_)),
            (Timeouts::All, Task::Correct { .. }) => true,
            (Timeouts::All, _) | (Timeouts::Promotions, _) => false,
        }
    }

    fn standby_actions(&self, state: &State, id: Id, from: Option<Id>, actions: &mut Vec<Action>) {
        let node = state.node(id);
        match from {
            Some(primary) if !state.network.replication.joins(id, primary) => {
                actions.push(Action::Disconnect(id));
            }
            Some(primary) => {
                if state.node(primary).wal.len() > node.wal.len() {
                    actions.push(Action::Receive(id));
                }
            }
            // The startup process begins to receive when it has replayed what is there.
            None if !node.has_replayed_all() => {}
            None => {
                let can_connect = |p: &Id| {
                    let primary = state.node(*p);
                    // A ticket, which only the primary of that promotion has.
                    let has_ticket = node
                        .follows
                        .is_some_and(|(of, epoch)| of == *p && primary.memory.epoch >= epoch);
                    let is_let_in = has_ticket
                        || self.mutation == Mutation::CountLaterFollowers && node.follows.is_some();
                    primary.is_primary()
                        && is_let_in
                        && state.network.replication.joins(id, *p)
                        && node.wal.can_follow(&primary.wal)
                };
                let primaries = self.ids().filter(|p| *p != id).filter(can_connect);
                actions.extend(primaries.map(|p| Action::Connect(id, p)));
            }
        }
        if !node.has_replayed_all() && !self.hazards.targets.has(id) {
            actions.push(Action::Replay(id));
        }
        if node.task != Task::Idle {
            return;
        }
        let has_primary = node
            .view
            .iter()
            .any(|n| n != id && state.node(n).is_primary());
        let watched = agent::watch(self, state, id, has_primary);
        let notes = self.hazards.watches && watched.1 != node.memory.r9;
        if notes || watched.0 != Task::Idle {
            actions.push(Action::Watch(id));
        }
        if !has_primary && agent::has_news(self, state, id) {
            actions.push(Action::State(id));
        }
        if agent::initial_contract(self, state, id) != node.configured {
            actions.push(Action::Refresh(id));
        }
        if state.promotions < self.promotions && self.may_be_asked(state, id) {
            actions.push(Action::Promote(id));
        }
    }

    /// Pacemaker promotes one node of a quorate partition, if none of its members is a primary.
    /// The score is a hint that may be old, so any node may be asked. A ring that is broken carries
    /// no request.
    fn may_be_asked(&self, state: &State, id: Id) -> bool {
        let believed = state.node(id).view.without(id);
        let mut others = believed.iter().map(|n| state.node(n));
        let is_promoting = |task: &Task| {
            matches!(
                task,
                Task::Ask { .. }
                    | Task::Promote { .. }
                    | Task::TakeOver { .. }
                    | Task::Confirm(_)
                    | Task::Raise(_)
                    | Task::Weigh(_)
                    | Task::Server { .. }
            )
        };
        self.asked.has(id)
            && self.is_quorate(state.node(id))
            && state.is_intact(id)
            && others.all(|n| !n.is_primary() && !is_promoting(&n.task))
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    /// The first node is the primary, the second is waited for and eligible, the third receives, too.
    fn init_states(&self) -> Vec<State> {
        let first = Id(0);
        let others = self.everybody().without(first);
        let (contract, eligible, status) = match self.method {
            Method::First => (
                SyncNames::all([Id(1).standby()]),
                Set::of([Id(1)]),
                Data::Granted,
            ),
            Method::Any => (SyncNames::any_one(others.names()), others, Data::Among),
        };
        let contract = Rule::from(&contract);
        let mut data = [Data::Other; MAX];
        data[0] = Data::Latest;
        for id in eligible.iter() {
            data[id.index()] = status;
        }
        let content = Content {
            record: Record {
                node: first,
                forks: 0,
                end: 0,
                epoch: 1,
            },
            sync: Sync {
                epoch: 1,
                seq: 1,
                primary: first,
                contract,
                eligible,
            },
            data,
        };
        let node = |id: Id| Node {
            is_up: id.index() < self.count,
            view: self.everybody(),
            ring_number: 0,
            members: self.everybody(),
            has_met_all: true,
            cib: Replica {
                admin_epoch: 0,
                heard: 0,
                content,
            },
            late: None,
            server: if id == first {
                Server::Primary
            } else {
                Server::Standby(Some(first))
            },
            wal: Wal::default(),
            replayed: 0,
            has_received: true,
            configured: Rule::NOBODY,
            in_force: Rule::NOBODY,
            pending: 0,
            task: Task::Idle,
            memory: Memory {
                epoch: u8::from(id == first),
                notes: [Note::None; MAX],
                barrier: None,
                detached: None,
                seq: u8::from(id == first),
                r9: Notes::default(),
                lock_epoch: u8::from(id == first),
                lock: Seen::Unused,
            },
            follows: (id != first).then_some((first, 1)),
            stated: None,
        };
        let mut state = State {
            nodes: [node(Id(0)), node(Id(1)), node(Id(2))],
            network: Network::whole(self.count),
            lock: Row {
                owner: first,
                epoch: 1,
                eligible: eligible.with(first),
                reports: u8::try_from(others.len() - eligible.len() + 1).expect("few"),
            },
            lock_reach: self.everybody(),
            requested: self.requested,
            acked: 0,
            commits: 0,
            faults: 0,
            promotions: 0,
            latest: first,
            wrong: None,
            times_out: false,
        };
        for id in (0..MAX as u8).map(Id) {
            let contract = if id == first {
                contract
            } else {
                agent::initial_contract(self, &state, id)
            };
            let node = state.node_mut(id);
            if !node.is_up {
                node.stop_server();
                continue;
            }
            node.configured = contract;
            node.in_force = contract;
        }
        for action in &self.prologue {
            let mut possible = Vec::new();
            self.actions(&state, &mut possible);
            assert!(
                possible.contains(action),
                "{action:?}: not one of {possible:?}"
            );
            state = self.next_state(&state, *action).expect("something happens");
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // A story ends with what is wrong in it.
        if state.wrong.is_some() {
            return;
        }
        self.network_actions(state, actions);
        for id in self.ids() {
            self.node_actions(state, id, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.act(&mut next, action);
        if let Action::Monitor(id)
        | Action::Promote(id)
        | Action::Go(id)
        | Action::TimeOut(id)
        | Action::Watch(id)
        | Action::State(id) = action
        {
            agent::run(self, &mut next, id);
        }
        next.acknowledge();
        let next = next.canonical(self);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl World {
    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Commit(id) => {
                let commit = state.commits;
                state.commits += 1;
                let node = state.node_mut(id);
                node.wal.append(commit);
                node.pending |= 1 << commit;
            }
            Action::Connect(id, primary) => {
                let history = state.node(primary).wal;
                let node = state.node_mut(id);
                node.server = Server::Standby(Some(primary));
                node.has_received = true;
                node.wal.adopt(&history);
            }
            Action::Disconnect(id) => state.node_mut(id).server = Server::Standby(None),
            Action::Receive(id) => {
                if let Server::Standby(Some(primary)) = state.node(id).server {
                    let history = state.node(primary).wal;
                    state.node_mut(id).wal.receive(&history);
                }
            }
            Action::Replay(id) => {
                let node = state.node_mut(id);
                node.replayed = node.wal.len();
            }
            Action::TakeEffect(id) => {
                let node = state.node_mut(id);
                node.in_force = node.configured;
            }
            Action::Monitor(id) => agent::monitor(self, state, id),
            Action::Promote(id) => {
                state.promotions += 1;
                let quorate = self.is_quorate_in_cib(state.node(id));
                let node = state.node_mut(id);
                let is_noted = node.memory.r9 != Notes::default();
                node.task = Task::Ask {
                    seen: node.cib.content,
                    quorate,
                    decided_in: is_noted.then(|| node.ring()),
                };
            }
            Action::Go(id) => agent::go(self, state, id),
            Action::TimeOut(id) => {
                state.times_out = true;
                agent::go(self, state, id);
                state.times_out = false;
            }
            Action::Late(id) => {
                if let Some(change) = state.node_mut(id).late.take() {
                    state.write_now(id, &change);
                }
            }
            Action::GiveUp(id) => agent::give_up(self, state, id),
            Action::Kill(id) => state.node_mut(id).task = Task::Idle,
            Action::Watch(id) => {
                let node = state.node(id);
                let has_primary = node
                    .view
                    .iter()
                    .any(|n| n != id && state.node(n).is_primary());
                let (task, notes) = agent::watch(self, state, id, has_primary);
                state.node_mut(id).task = task;
                state.node_mut(id).memory.r9 = notes;
            }
            Action::State(id) => {
                let quorate = self.is_quorate_in_cib(state.node(id));
                let node = state.node_mut(id);
                node.task = Task::State {
                    seen: node.cib.content,
                    quorate,
                };
            }
            Action::Start(id) => agent::start(self, state, id),
            Action::Repair(id) => {
                if let Some(wal) = agent::repaired(self, state, id) {
                    state.node_mut(id).wal = wal;
                    agent::start(self, state, id);
                }
            }
            Action::Stop(id) => state.stop_server(id),
            Action::Refresh(id) => {
                let contract = agent::initial_contract(self, state, id);
                let node = state.node_mut(id);
                node.configured = contract;
                node.in_force = contract;
            }
            Action::Cut(which, cut) => {
                state.faults += 1;
                state.network.cut(which, cut, self.count);
                if !self.hazards.lingering {
                    state.drop_connections();
                }
            }
            Action::LoseLock(nodes) => {
                state.faults += 1;
                state.lock_reach = state.lock_reach.minus(nodes);
            }
            Action::Withdraw => state.requested = Set::EMPTY,
            Action::Heal => {
                state.network = Network::whole(self.count);
                state.lock_reach = self.everybody();
            }
            Action::Form(ring, winner) => {
                let cib = state.node(winner).cib;
                let numbers = ring.iter().map(|n| state.node(n).ring_number);
                let number = numbers.max().unwrap_or(0) + 1;
                for id in ring.iter() {
                    let everybody = self.everybody();
                    let node = state.node_mut(id);
                    node.cib = cib;
                    node.join(ring, number);
                    node.has_met_all |= ring == everybody;
                }
            }
            Action::Membership(id) => {
                let node = state.node_mut(id);
                node.members = node.view;
            }
            Action::Settle(id) => {
                for note in &mut state.node_mut(id).memory.notes {
                    if *note == Note::Made {
                        *note = Note::Settled;
                    }
                }
            }
            Action::Crash(nodes) => {
                state.faults += 1;
                nodes.iter().for_each(|id| state.stop_server(id));
            }
            Action::PowerOff(id) => {
                state.faults += 1;
                state.stop_server(id);
                let node = state.node_mut(id);
                node.is_up = false;
                node.task = Task::Idle;
                node.memory.forget_ring();
                node.memory.barrier = None;
                node.memory.detached = None;
                node.stated = None;
                node.late = None;
            }
            Action::PowerOn(id) => {
                let node = state.node_mut(id);
                node.is_up = true;
                node.has_met_all = false;
                node.members = Set::of([id]);
                node.join(Set::of([id]), node.ring_number + 1);
            }
        }
    }
}
