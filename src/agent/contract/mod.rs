//! The primary's care for its standbys: what commits wait for, who may be promoted, and what the
//! cluster is told about each. Decided in `decide::contract` and `decide::marks`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::barred::{Bars, are_all_barred};
use crate::decide::contract::{
    self, Facts, Hold, Link, Options, Partition, Place, Revocation, Standby, Step as ContractStep,
};
use crate::decide::eligibility::{Promise, shows_revocations};
use crate::decide::health::{Degradation, all_late, degradation, is_worth_telling};
use crate::decide::impostor::{Known, Row, tell_apart};
use crate::decide::lateness::{Sample, is_late, remember};
use crate::decide::marks::Grant;
use crate::decide::silence;
use crate::decide::waited_for::Wishes;
use crate::log::say;
use crate::model::cluster_view::{
    ClusterProperty, ClusterView, NoQuorumPolicy, TransientAttribute,
};
use crate::model::node_name::NodeName;
use crate::model::status::{DataStatus, SenderState, SyncState};
use crate::model::sync_names::{Method, StandbyName, SyncNames};
use crate::model::sync_record::SyncRecord;
use crate::pacemaker::change_set::{ChangeSet, Weight};
use crate::pacemaker::cib::Cib;
use crate::pacemaker::{corosync, quorum};
use crate::params::SyncMethod;
use crate::postgres::server;
use crate::postgres::session::{Session, SqlError};
use crate::postgres::views::{self, Sender};
use crate::sys::{Deadline, boot_clock, poll_until};
use crate::timing;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::lease::Lease;
use crate::agent::membership::lock::Held;
use crate::agent::membership::{attempt, promotion_record, statement};
use crate::agent::server::answering::{self, Server};
use crate::agent::server::{address, in_force, rep_mode_conf, slots};
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

use marks::grant_of;
use round::Round;

mod barrier;
mod marks;
mod round;

/// Brings contract, eligible set and marks up to date. In sync mode it stays for up to `patience`
/// while a step is about to take effect. The answer is what is missing afterwards.
pub(super) fn settle(
    ctx: &Context<'_>,
    board: &mut Board<'_, '_>,
    server: &mut Server,
    lease: Lease<'_>,
    patience: Duration,
) -> Step<Settled> {
    let (lock, renewal) = match lease {
        Lease::None => (None, None),
        Lease::Over(reason) => return Ok(Settled::StepDown(reason)),
        Lease::Kept { lock, renewal } => (Some(lock), renewal),
    };
    let boot = boot_clock().map_err(failed)?;
    let state = State::load(ctx, boot.boot_id());
    let is_noted = state.is_ok();
    let mut round = Round {
        began_at: None,
        ctx,
        running: &server.running,
        state: state.clone().unwrap_or_default(),
        in_force: server.state.sync_names.clone(),
        senders: BTreeMap::new(),
        impostors: BTreeMap::new(),
        silent: BTreeSet::new(),
        timeline: server.state.timeline,
        late: BTreeSet::new(),
        members: BTreeSet::new(),
        lock: lock.as_deref(),
        held: Held::none(),
        bars: Bars::new(),
        only_barred: Bars::new(),
    };
    if let Some(lock) = &lock {
        let renewal = match renewal {
            Some(renewal) => *renewal,
            None => lock
                .adopt(board, server)
                .or_else(|failure| lock.not_renewed(failure.text().to_owned()))?,
        };
        if let Some(reason) = lock.is_over_by(&renewal) {
            return Ok(Settled::StepDown(reason));
        }
        round.look(board, &mut server.session)?;
        match lock.judge(board, &renewal, &round.streaming())? {
            Ok(held) => round.held = held,
            Err(reason) => return Ok(Settled::StepDown(reason)),
        }
        // It wrote to the state file.
        if is_noted {
            round.state = State::load(ctx, boot.boot_id())?;
        }
    }
    // The lock is renewed without the notes; nothing is granted or relaxed.
    state?;
    let before = round.state.clone();
    let result = match ctx.promise() {
        Promise::Sync => round.settle_sync(board, &mut server.session, ctx.deadline.min(patience)),
        Promise::Async => round.settle_async(board, &mut server.session),
    };
    let degradation = round.lasting_degradation();
    // What was revoked is noted even where a later step failed.
    round.state.save(ctx, &before)?;
    result.and(degradation.map(|what| what.map_or(Settled::Well, Settled::Degraded)))
}

/// How a primary is afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Well,
    /// It serves, and people should know that something is missing.
    Degraded(Degradation),
    /// The lock is lost, or may be: it must not go on (R4).
    StepDown(String),
}

/// Gives the server a moment.
fn pause(time: Duration) {
    poll_until(Deadline::after(time), time, || None::<()>);
}

impl Round<'_> {
    fn settle_sync(
        &mut self,
        board: &mut Board<'_, '_>,
        session: &mut Session,
        until: Deadline,
    ) -> Step<()> {
        self.began_at = Some(views::flushed(session).map_err(|e| answering::refused(&e))?);
        let address = Deadline::after(timing::ADDRESS);
        loop {
            self.look(board, session)?;
            let facts = self.facts(board, session)?;
            self.only_barred = self.only_barred(&facts);
            let steps = contract::next(&facts);
            self.apply(board, session, &facts, &steps)?;
            let is_moving = steps.iter().any(|s| !matches!(s, ContractStep::Hold(_)));
            let has_granted = steps.iter().any(|s| matches!(s, ContractStep::Grant(_)));
            // Somebody may be connecting or catching up at this moment.
            let may_come =
                || !self.answering().is_empty() || !address.is_past() || address::is_here(self.ctx);
            let waits = self.awaits_standby(&facts) && !until.is_past() && may_come();
            let stays = is_moving || waits;
            let is_over = !stays || self.ctx.deadline.is_past();
            if has_granted || is_over {
                let marked = self.write_marks(board);
                if is_over {
                    return marked.and(self.outlive_statements(board));
                }
                marked?;
            }
            if !is_moving {
                pause(timing::CONTRACT_POLL);
            }
        }
    }

    /// What an asynchronous primary acknowledges is on nobody for certain, whatever an earlier, synchronous one
    /// recorded.
    fn settle_async(&mut self, board: &mut Board<'_, '_>, session: &mut Session) -> Step<()> {
        let stale = ClusterProperty::Sync.name(&self.ctx.resource);
        let cleared = board.change(&ChangeSet::default().property(stale, None));
        self.look(board, session)?;
        self.find_late(session)?;
        let peers = self.ctx.peers(&board.view).into_iter();
        let peers = peers.map(|node| node.lower().to_owned());
        self.members = peers
            .filter(|name| self.senders.contains_key(name))
            .collect();
        cleared.and(self.write_marks(board))
    }

    /// Standbys that are further behind in time than maxlag_time allows.
    fn find_late(&mut self, session: &mut Session) -> Step<()> {
        let limit = self.ctx.params.maxlag_time;
        if limit.is_zero() {
            self.state.samples.clear();
            return Ok(());
        }
        let now = boot_clock().map_err(failed)?.since_boot();
        let end = views::flushed(session).map_err(|e| answering::refused(&e))?;
        let sample = Sample::new(now, self.timeline, end);
        self.state.samples = remember(&self.state.samples, &sample, limit);
        let samples = &self.state.samples;
        let is_late = |(_, sender): &(&StandbyName, &Sender)| {
            let flushed = sender.flushed;
            flushed.is_some_and(|flushed| is_late(samples, flushed, now, limit))
        };
        let late = self.senders.iter().filter(is_late);
        self.late = late.map(|(name, _)| name.clone()).collect();
        Ok(())
    }

    /// What people should know of.
    fn lasting_degradation(&mut self) -> Step<Option<Degradation>> {
        let now = boot_clock().map_err(failed)?.since_boot();
        let impostor = self.impostors.first_key_value().map(|(name, address)| {
            let (name, address) = (name.clone(), address.clone());
            Degradation::Impostor { name, address }
        });
        let less = self.degradation();
        let sync = self.ctx.promise() == Promise::Sync;
        let mut told = None;
        for (what, since) in [
            (impostor.filter(|_| sync), &mut self.state.impostor_since),
            (less, &mut self.state.degraded_since),
        ] {
            let Some(what) = what else {
                *since = None;
                continue;
            };
            let lasted = now.saturating_sub(*since.get_or_insert(now));
            told = told.or(is_worth_telling(&what, lasted).then_some(what));
        }
        Ok(told)
    }

    fn degradation(&self) -> Option<Degradation> {
        if self.ctx.promise() == Promise::Async {
            return all_late(&self.members, &self.too_late());
        }
        let everybody = self.senders.keys().cloned().collect();
        let named = self.in_force.named(&everybody);
        let connected = named.intersection(&self.answering()).count();
        degradation(&self.in_force, connected).or_else(|| {
            let bars = self.only_barred.clone();
            (!bars.is_empty()).then_some(Degradation::Barred { bars })
        })
    }

    /// Who is further behind than the limits allow.
    fn too_late(&self) -> BTreeSet<StandbyName> {
        let all = self.senders.keys();
        all.filter(|name| self.is_too_far_behind(name))
            .cloned()
            .collect()
    }

    fn streaming(&self) -> BTreeSet<StandbyName> {
        let streams = |(_, s): &(&StandbyName, &Sender)| s.state == SenderState::Streaming;
        self.senders
            .iter()
            .filter(streams)
            .map(|(n, _)| n.clone())
            .collect()
    }

    fn answering(&self) -> BTreeSet<StandbyName> {
        let streaming = self.streaming();
        streaming.difference(&self.silent).cloned().collect()
    }

    /// Notes who owes an answer, and since when it is the same.
    fn listen(&mut self, now: Duration) {
        let old = std::mem::take(&mut self.state.last_words);
        self.silent.clear();
        for name in self.streaming() {
            let Some(sender) = self.senders.get(&name) else {
                continue;
            };
            let owes = !contract::caught_up(sender.flushed, self.began_at);
            let flushed = sender.flushed.map(|lsn| lsn.to_attribute());
            let report = format!(
                "{} {}",
                sender.replied.as_deref().unwrap_or_default(),
                flushed.unwrap_or_default()
            );
            let note = silence::note(old.get(&name), owes, &report, now);
            if silence::is_silent(note.as_ref(), now) {
                self.silent.insert(name.clone());
            }
            if let Some(note) = note {
                self.state.last_words.insert(name, note);
            }
        }
    }

    fn look(&mut self, board: &Board<'_, '_>, session: &mut Session) -> Step<()> {
        let read = |e: SqlError| answering::refused(&e);
        let senders = views::senders(session).map_err(read)?;
        let (record, nodes) = (
            self.ctx.record(&board.view)?,
            self.ctx.replicas(&board.view),
        );
        let record = record.as_ref();
        let rows: Vec<Row> = senders
            .iter()
            .map(|sender| Row {
                name: sender.name.clone(),
                state: sender.state,
                slot: slots::kind(
                    self.ctx,
                    &sender.name,
                    sender.slot.as_deref(),
                    record,
                    &nodes,
                ),
                address: sender.address.clone(),
            })
            .collect();
        let gives_tickets = slots::gives_tickets(self.ctx, record);
        let was_taken_over = self.state.taken_over.is_some()
            && self.state.taken_over == record.and_then(|r| r.epoch);
        let known = |name: &StandbyName| match nodes.iter().any(|node| node.lower() == name) {
            true if gives_tickets && was_taken_over => Known::Soon,
            true if gives_tickets => Known::ByTicket,
            _ => Known::ByName,
        };
        let told = tell_apart(&rows, known);
        let mut senders: Vec<Option<Sender>> = senders.into_iter().map(Some).collect();
        self.senders = told
            .of
            .into_iter()
            .filter_map(|(name, at)| Some((name, senders.get_mut(at)?.take()?)))
            .collect();
        self.impostors = told.impostors;
        Ok(())
    }

    fn facts(&mut self, board: &Board<'_, '_>, session: &mut Session) -> Step<Facts> {
        self.in_force = views::sync_names(session).map_err(|e| answering::refused(&e))?;
        let barrier = self.barrier(session)?;
        if self.state.has_missed {
            self.state.has_missed = attempt::still_missed(board).unwrap_or(true);
        }
        self.listen(boot_clock().map_err(failed)?.since_boot());
        self.bars = board.bars();
        let ctx = self.ctx;
        let mut standbys = BTreeMap::new();
        for node in ctx.peers(&board.view) {
            let view = board.view.node(&node);
            let present = view.is_some_and(|n| n.in_membership);
            let fenced = board.view.is_fencing_enabled() && view.is_some_and(|n| n.is_cleanly_down);
            standbys.insert(node.lower().to_owned(), Place::Node { present, fenced });
        }
        for name in ctx.outside() {
            standbys.entry(name).or_insert(Place::Outside);
        }
        let standby = |(name, place): (StandbyName, Place)| {
            let began_at = self.began_at;
            let link = self.senders.get(&name).map(|s| Link {
                keeps_up: contract::caught_up(s.flushed, began_at),
                state: s.state,
                sync: s.sync,
                caught_up: contract::caught_up(s.flushed, barrier) || is_out!(GrantWithoutBarrier),
            });
            (name, Standby { place, link })
        };
        let mut facts = Facts {
            in_force: self.in_force.clone(),
            standbys: standbys.into_iter().map(standby).collect(),
            doubts: self.doubts(board)?,
            silent: self.silent.clone(),
            impostors: self.impostors.keys().cloned().collect(),
            claim: board.claim()?,
            lock: self.held.fact.clone(),
            partition: None,
            copies: BTreeMap::new(),
            revoked: self.state.revoked.clone(),
            requested: self.requested(board)?,
            wishes: Wishes {
                barred: self.bars.keys().cloned().collect(),
                held: self.held_replay(board),
                order: ctx.sync_order(&board.view),
            },
            options: Options {
                strict: ctx.params.sync_strict,
                unsafe_relax: ctx.params.unsafe_relax,
                everyone: !ctx.params.external_standby_node_list.is_empty(),
                method: match ctx.params.sync_method {
                    SyncMethod::Priority => Method::First,
                    SyncMethod::Quorum => Method::Any,
                },
                count: ctx.params.sync_num,
            },
        };
        if is_out!(RelaxWithoutRevoking) {
            self.forget_the_claim(board, &mut facts)?;
        }
        // corosync is asked only where the answer depends on it: two processes fewer otherwise.
        let is_asked = |steps: &[ContractStep]| steps.contains(&ContractStep::Hold(Hold::Unknown));
        if !self.silent.is_empty() || is_asked(&contract::next(&facts)) {
            facts.partition = self.partition(board);
        }
        for name in contract::outdated(&facts) {
            self.state.revoked.remove(&name);
            facts.revoked.remove(&name);
        }
        if contract::next(&facts)
            .iter()
            .any(ContractStep::asks_for_copies)
        {
            facts.copies = self.copies(board);
            let is_believed = [
                is_out!(NoSettleTime),
                is_out!(RelaxWithoutRevoking),
                is_out!(MembersByTheCib),
            ];
            if is_believed.contains(&true) {
                let all = facts.standbys.keys();
                facts.copies = all.map(|name| (name.clone(), BTreeSet::new())).collect();
            }
        }
        Ok(facts)
    }

    fn only_barred(&self, facts: &Facts) -> Bars {
        if !are_all_barred(&facts.claim, &self.bars) {
            return Bars::new();
        }
        let claimed = |(name, _): &(&StandbyName, _)| facts.claim.members.contains(*name);
        let bars = self.bars.iter().filter(claimed);
        bars.map(|(name, bar)| (name.clone(), bar.clone()))
            .collect()
    }

    /// For a trial: whoever does not stream is taken to have been revoked long ago.
    fn forget_the_claim(&mut self, board: &Board<'_, '_>, facts: &mut Facts) -> Step<()> {
        let is_away = |(name, _): &(&StandbyName, &Standby)| !contract::is_streaming(facts, name);
        let away = facts.standbys.iter().filter(is_away);
        let away: Vec<StandbyName> = away.map(|(name, _)| name.clone()).collect();
        facts.claim = facts.claim.without(&away.iter().cloned().collect());
        facts.partition = self.partition(board);
        let ring = facts.partition.as_ref().map(|p| p.ring.clone());
        for name in away {
            let note = Revocation {
                at: Duration::ZERO,
                ring: ring.clone().unwrap_or_default(),
            };
            facts.revoked.insert(name.clone(), note.clone());
            self.state.revoked.insert(name, note);
        }
        Ok(())
    }

    /// Standbys that an operator wants to be eligible, under the present promotion.
    fn requested(&self, board: &Board<'_, '_>) -> Step<BTreeSet<StandbyName>> {
        let record = self.ctx.record(&board.view)?;
        let epoch = record.and_then(|r| r.epoch).unwrap_or_default().to_string();
        let is_wanted =
            |node: &NodeName| board.transient(node, TransientAttribute::Wanted) == Some(&epoch);
        let peers = self.ctx.peers(&board.view).into_iter();
        let wanted = peers.filter(is_wanted);
        Ok(wanted.map(|node| node.lower().to_owned()).collect())
    }

    /// Standbys that would not replay all they have.
    fn held_replay(&self, board: &Board<'_, '_>) -> BTreeSet<StandbyName> {
        let is_held = |node: &NodeName| board.transient(node, TransientAttribute::Replay).is_some();
        let peers = self.ctx.peers(&board.view).into_iter();
        let held = peers.filter(is_held);
        held.map(|node| node.lower().to_owned()).collect()
    }

    /// Members of a quorum whose data status is not that of one.
    fn doubts(&self, board: &Board<'_, '_>) -> Step<BTreeSet<StandbyName>> {
        let mut doubts = BTreeSet::new();
        let record = board.sync_record()?;
        if record.is_none_or(|record| record.method == Method::First) {
            return Ok(doubts);
        }
        let counted = DataStatus::Replicating(SenderState::Streaming, SyncState::Quorum);
        for node in self.ctx.peers(&board.view) {
            if self.ctx.data_status(&board.view, &node)? != Some(counted) {
                doubts.insert(node.lower().to_owned());
            }
        }
        Ok(doubts)
    }

    /// Who may be promoted, as each node's own copy of the CIB has it that records this primary's promotion.
    fn copies(&self, board: &Board<'_, '_>) -> BTreeMap<StandbyName, BTreeSet<StandbyName>> {
        let mut copies = BTreeMap::new();
        let claimed = |view: ClusterView| {
            let (own, copy) = (self.ctx.record(&board.view)?, self.ctx.record(&view)?);
            if !shows_revocations(own.as_ref(), copy.as_ref()) {
                return Err(failed("it records another promotion"));
            }
            Board::of(self.ctx, view).claim()
        };
        let online = board.view.nodes.values().filter(|n| n.is_online);
        for node in online {
            let deadline = self.ctx.deadline.min(timing::CIB_COPY);
            let copy = Cib::live().read_at(&node.name, deadline).map_err(failed);
            match copy.and_then(claimed) {
                Ok(claim) => {
                    copies.insert(node.name.lower().to_owned(), claim.members);
                }
                Err(failure) => say!(
                    INFO,
                    "no copy of the CIB",
                    node = node.name,
                    reason = failure.text()
                ),
            }
        }
        copies
    }

    fn partition(&self, board: &Board<'_, '_>) -> Option<Partition> {
        let deadline = self.ctx.deadline.min(self.ctx.params.crm_attr_timeout);
        let membership = quorum::read(deadline)
            .inspect_err(|error| say!(WARN, "quorum", error = error))
            .ok()?;
        let at_once = is_out!(NoSettleTime).then_some(Duration::ZERO);
        let settle = at_once.or(self.ctx.params.settle_time).or_else(|| {
            corosync::settle_time(deadline)
                .inspect_err(|error| say!(WARN, "settle time", error = error))
                .ok()
        });
        let is_member = |node: NodeName| {
            let view = board.view.node(&node)?;
            if is_out!(MembersByTheCib) {
                return Some((node.lower().to_owned(), view.in_membership));
            }
            Some((node.lower().to_owned(), membership.has(&view.id)?))
        };
        let peers = self.ctx.peers(&board.view).into_iter();
        let nodes = corosync::nodes(deadline).ok().filter(|nodes| *nodes > 0);
        // More than there are makes it more careful.
        let nodes = nodes.unwrap_or_else(|| board.view.full_nodes().count());
        // Of those that a node expects which starts alone, a device is none.
        let voters = match membership.has_device {
            true => membership.expected_votes.max(nodes + 1),
            false => membership.expected_votes,
        };
        Some(Partition {
            quorate: membership.quorate,
            members: peers.filter_map(is_member).collect(),
            waits_for_all: membership.waits_for_all,
            ring: membership.ring,
            voters,
            votes: membership.total_votes,
            nodes,
            one_vote_each: membership.one_vote_each,
            has_device: membership.has_device,
            has_missed: self.state.has_missed,
            others_stop_without_quorum: board.view.no_quorum_policy() != NoQuorumPolicy::Ignore,
            now: boot_clock().ok()?.since_boot(),
            settle,
        })
    }

    /// Carries the steps out, in order.
    fn apply(
        &mut self,
        board: &mut Board<'_, '_>,
        session: &mut Session,
        facts: &Facts,
        steps: &[ContractStep],
    ) -> Step<()> {
        let mut hold = None;
        for step in steps {
            match step {
                ContractStep::Revoke(names) => self.revoke(board, facts, names)?,
                ContractStep::Contract(names) => self.put_in_force(session, names)?,
                ContractStep::Grant(names) => self.grant(board, facts, names)?,
                ContractStep::Hold(why) => {
                    // The same reason without its figures, which change all the time.
                    let kind = format!("{:?}", std::mem::discriminant(why));
                    if self.state.hold.as_ref() != Some(&kind) {
                        say!(WARN, "hold", contract = self.in_force, reason = why);
                        self.state.hold_reason = Some(why.to_string());
                    }
                    hold = Some(kind);
                }
            }
        }
        if hold.is_none() {
            self.state.hold_reason = None;
        }
        self.state.hold = hold;
        Ok(())
    }

    /// R1: out of the eligible set first, in the CIB, confirmed; and a note of when.
    fn revoke(
        &mut self,
        board: &mut Board<'_, '_>,
        facts: &Facts,
        names: &BTreeSet<StandbyName>,
    ) -> Step<()> {
        say!(
            WARN,
            "revoke: they may not be promoted any more",
            standbys = listed(names),
            contract = self.in_force
        );
        let left = facts.claim.without(names);
        // R1 (a) first: once the row has it, no promotion elsewhere gets the lock.
        if let Some(lock) = self.lock {
            lock.set_eligible(&mut self.held, &left)?;
            point!(RevokeLocked);
        }
        // The contract stays recorded as it was granted by: what is left was true of that.
        let mut record = match board.sync_record()? {
            Some(record) => record,
            None => self.next_record(board, BTreeSet::new())?,
        };
        record.seq = self.next_seq(board)?;
        record.eligible = left.members;
        let mut change = board.record_contract(ChangeSet::default(), &record);
        for name in names {
            let Some(node) = board.node_named(name) else {
                continue;
            };
            change = board.data_status(change, &node, self.marks(name, Grant::No).data);
        }
        // R5: a node that is away, now or in a moment, must not bring its old right back with its CIB.
        let quorate = facts.partition.as_ref().is_some_and(|p| p.quorate);
        if quorate {
            change = change.raise_admin_epoch(Weight::Revocation);
        }
        board.change(&board.as_it_was_read(change))?;
        point!(RevokeRecorded);
        let Some(partition) = &facts.partition else {
            return Ok(());
        };
        // After the write was confirmed, in the ring that was seen before it.
        let at = boot_clock().map_err(failed)?.since_boot();
        for name in names {
            self.state.revoked.insert(
                name.clone(),
                Revocation {
                    at,
                    ring: partition.ring.clone(),
                },
            );
        }
        Ok(())
    }

    /// R2: into the eligible set, with the contract that is in force.
    fn grant(
        &mut self,
        board: &mut Board<'_, '_>,
        facts: &Facts,
        names: &BTreeSet<StandbyName>,
    ) -> Step<()> {
        say!(
            INFO,
            "grant: they have every acknowledged commit and may be promoted",
            standbys = listed(names),
            contract = self.in_force
        );
        let eligible = contract::eligible_after_grant(facts, names);
        let record = self.next_record(board, eligible)?;
        if let Some(lock) = self.lock {
            lock.set_eligible(&mut self.held, &record.claim())?;
            point!(GrantLocked);
        }
        let mut change = board.record_contract(ChangeSet::default(), &record);
        for name in names {
            self.state.revoked.remove(name);
            let Some(node) = board.node_named(name) else {
                continue;
            };
            let marks = self.marks(name, grant_of(&record.claim(), record.method, name));
            change = board.data_status(change, &node, marks.data);
        }
        board.change(&board.as_it_was_read(change))?;
        point!(GrantRecorded);
        Ok(())
    }

    /// The record of the contract in force, with `eligible` as those who may be promoted by it.
    fn next_record(
        &mut self,
        board: &Board<'_, '_>,
        eligible: BTreeSet<StandbyName>,
    ) -> Step<SyncRecord> {
        let record = self.ctx.record(&board.view)?;
        // Every record that this agent writes has an epoch; monitor completes those of others first.
        let epoch = record.and_then(|r| r.epoch).unwrap_or_default();
        let version = (epoch, self.next_seq(board)?);
        Ok(SyncRecord::new(
            version,
            &self.ctx.me,
            &self.in_force,
            eligible,
        ))
    }

    fn next_seq(&mut self, board: &Board<'_, '_>) -> Step<u64> {
        let recorded = board.sync_record()?.map_or(0, |record| record.seq);
        self.state.seq = self.state.seq.max(recorded) + 1;
        Ok(self.state.seq)
    }

    /// R8: a standby that has stopped receiving ahead of a promotion follows only a later epoch. The
    /// promotion did not come about, as this primary goes on: so it begins a new epoch. Whoever still
    /// counts on those statements is refused by the same compare-and-set, or this is.
    fn outlive_statements(&mut self, board: &mut Board<'_, '_>) -> Step<()> {
        let streams = |node: &NodeName| {
            let sender = self.senders.get(node.lower());
            sender.is_some_and(|s| s.state == SenderState::Streaming)
        };
        let is_there = |node: &NodeName| board.view.node(node).is_some_and(|n| n.in_membership);
        let mut peers = self.ctx.peers(&board.view).into_iter();
        if !peers.any(|node| is_there(&node) && !streams(&node)) {
            return Ok(());
        }
        if let Some(latest) = statement::to_outlive(board)? {
            self.state.epoch = Some(promotion_record::begin_epoch(board, latest)?);
        }
        Ok(())
    }

    fn put_in_force(&mut self, session: &mut Session, names: &SyncNames) -> Step<()> {
        say!(
            INFO,
            "contract: what a commit waits for",
            from = self.in_force,
            to = names
        );
        // Before anything is changed: a barrier is of the contract that was in force when it was taken, and an agent that is ended in
        // between would leave it beside another one that reads the same.
        let before = self.state.clone();
        self.state.barrier = None;
        self.state.save(self.ctx, &before)?;
        rep_mode_conf::write_contract(self.ctx, names)?;
        point!(ContractConf);
        server::reload(self.running).map_err(failed)?;
        let deadline = self.ctx.deadline.min(timing::CONTRACT_WAIT);
        let in_force = poll_until(deadline, timing::CONTRACT_POLL, || match views::sync_names(
            session,
        ) {
            Ok(now) if now == *names => {
                point!(ContractInForce);
                Some(Ok(()))
            }
            Ok(_) => None,
            Err(error) => Some(Err(answering::refused(&error))),
        });
        in_force.unwrap_or_else(|| {
            let why = in_force::refused(self.ctx, self.running);
            let why = why.unwrap_or_else(|| {
                "look for another setting of it with SELECT * FROM pg_file_settings".to_owned()
            });
            Err(failed(format!(
                "synchronous_standby_names did not become {names} after a reload: {why}"
            )))
        })
    }

    /// Somebody who streams is not granted yet, or a contract still leaves the choice to PostgreSQL:
    /// both are settled within moments after a promotion.
    fn awaits_standby(&self, facts: &Facts) -> bool {
        let Some(members) = facts.in_force.certain() else {
            return facts.claim.is_empty();
        };
        let streams = |(name, _): &(&StandbyName, &Standby)| {
            contract::is_streaming(facts, name) && contract::is_allowed(facts, name)
        };
        let mut candidates = facts.standbys.iter().filter(streams);
        candidates.any(|(name, s)| match s.place {
            Place::Node { .. } => {
                !facts.claim.members.contains(name)
                    && (members.is_empty() || members.contains(name))
            }
            Place::Outside => false,
        })
    }
}

/// Names for the log.
fn listed(names: &BTreeSet<StandbyName>) -> String {
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}
