//! The primary's care for its standbys: what commits wait for, who may be promoted, and what the
//! cluster is told about each. Decided in `decide::contract` and `decide::marks`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::contract::{
    self, Facts, Hold, Link, Options, Partition, Place, Revocation, Standby, StandbyName,
    Step as ContractStep,
};
use crate::decide::eligibility::Promise;
use crate::decide::marks::{Seen, marks};
use crate::log::say;
use crate::model::cluster_view::NoQuorumPolicy;
use crate::model::lsn::Lsn;
use crate::model::node_name::NodeName;
use crate::model::status::{NodeStatus, SenderState, SyncState};
use crate::model::sync_names::SyncNames;
use crate::pacemaker::change_set::ChangeSet;
use crate::pacemaker::cib::Cib;
use crate::pacemaker::{corosync, quorum};
use crate::postgres::process::Running;
use crate::postgres::server;
use crate::postgres::session::{Session, SqlError};
use crate::postgres::views::{self, Sender};
use crate::sys::{Deadline, boot_clock, poll_until};
use crate::timing;

use super::context::Context;
use super::ready::{self, Server};
use super::record::{Board, ELIGIBLE};
use super::standby;
use super::state::{Barrier, State};
use super::{Step, failed};

/// One look at replication, with everything the decisions need.
struct Round<'r> {
    /// Where the primary's WAL ended when this call began.
    began_at: Option<Lsn>,
    ctx: &'r Context<'r>,
    running: &'r Running,
    state: State,
    in_force: SyncNames,
    senders: BTreeMap<StandbyName, Sender>,
}

/// Brings contract, eligible set and marks up to date. In sync mode it stays for up to `patience`
/// while a step is about to take effect.
pub(super) fn settle(
    ctx: &Context<'_>,
    board: &mut Board<'_, '_>,
    server: &mut Server,
    patience: Duration,
) -> Step<()> {
    let boot = boot_clock().map_err(failed)?;
    let state = State::load(ctx, boot.boot_id());
    let before = state.clone();
    let mut round = Round {
        began_at: None,
        ctx,
        running: &server.running,
        state,
        in_force: server.state.sync_names.clone(),
        senders: BTreeMap::new(),
    };
    let result = match ctx.promise() {
        Promise::Sync => round.settle_sync(board, &mut server.session, ctx.deadline.min(patience)),
        Promise::Async => round
            .look(&mut server.session)
            .and_then(|()| round.write_marks(board, &BTreeSet::new())),
    };
    // What was revoked is noted even where a later step failed.
    round.state.save(ctx, &before)?;
    result
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
        self.began_at = Some(views::flushed(session).map_err(|e| ready::refused(&e))?);
        loop {
            self.look(session)?;
            let facts = self.facts(board, session)?;
            let steps = contract::next(&facts);
            let granted = self.apply(board, session, &facts, &steps)?;
            let is_moving = steps.iter().any(|s| !matches!(s, ContractStep::Hold(_)));
            let has_granted = steps.iter().any(|s| matches!(s, ContractStep::Grant(_)));
            // Somebody may be connecting or catching up at this moment.
            let stays = is_moving || (self.awaits_standby(&facts) && !until.is_past());
            if has_granted || !stays {
                self.write_marks(board, &granted)?;
            }
            if !stays || self.ctx.deadline.is_past() {
                return Ok(());
            }
            if !is_moving {
                pause(timing::CONTRACT_POLL);
            }
        }
    }

    fn look(&mut self, session: &mut Session) -> Step<()> {
        let read = |e: SqlError| ready::refused(&e);
        let rows = views::senders(session).map_err(read)?;
        // Where a name appears twice, the row that streams is the standby's; the other is dying.
        let rank = |s: &Sender| s.state == SenderState::Streaming;
        self.senders.clear();
        for row in rows {
            match self.senders.get(&row.name) {
                Some(present) if rank(present) => {}
                _ => {
                    self.senders.insert(row.name.clone(), row);
                }
            }
        }
        Ok(())
    }

    fn facts(&mut self, board: &Board<'_, '_>, session: &mut Session) -> Step<Facts> {
        self.in_force = views::sync_names(session).map_err(|e| ready::refused(&e))?;
        let barrier = self.barrier(session)?;
        let ctx = self.ctx;
        let mut standbys = BTreeMap::new();
        for node in ctx.peers(&board.view) {
            let present = board.view.node(&node).is_some_and(|n| n.in_membership);
            let eligible = ctx.data_status(&board.view, &node)? == Some(ELIGIBLE);
            standbys.insert(node.lower().to_owned(), Place::Node { present, eligible });
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
                caught_up: contract::caught_up(s.flushed, barrier),
            });
            (name, Standby { place, link })
        };
        let mut facts = Facts {
            in_force: self.in_force.clone(),
            standbys: standbys.into_iter().map(standby).collect(),
            partition: None,
            copies: BTreeMap::new(),
            revoked: self.state.revoked.clone(),
            options: Options {
                strict: ctx.params.sync_strict,
                unsafe_relax: ctx.params.unsafe_relax,
                everyone: !ctx.params.external_standby_node_list.is_empty(),
            },
        };
        // corosync is asked only where the answer depends on it: two processes fewer otherwise.
        if contract::next(&facts).contains(&ContractStep::Hold(Hold::Unknown)) {
            facts.partition = self.partition(board);
        }
        for name in contract::outdated(&facts) {
            self.state.revoked.remove(&name);
            facts.revoked.remove(&name);
        }
        let is_settling = |s: &ContractStep| matches!(s, ContractStep::Hold(Hold::Settling { .. }));
        if contract::next(&facts).iter().any(is_settling) {
            facts.copies = self.copies(board);
        }
        Ok(facts)
    }

    /// R2: where the WAL ended at a moment when the contract was in force.
    fn barrier(&mut self, session: &mut Session) -> Step<Option<Lsn>> {
        let contract = self.in_force.to_string();
        if let Some(barrier) = self
            .state
            .barrier
            .as_ref()
            .filter(|b| b.contract == contract)
        {
            return Ok(barrier.position());
        }
        let is_sync = self.senders.values().any(|s| s.sync == SyncState::Sync);
        if !is_sync {
            self.state.barrier = None;
            return Ok(None);
        }
        let lsn = views::flushed(session).map_err(|e| ready::refused(&e))?;
        self.state.barrier = Some(Barrier {
            contract,
            lsn: lsn.to_attribute(),
        });
        Ok(Some(lsn))
    }

    /// Who may be promoted, as each node's own copy of the CIB has it.
    fn copies(&self, board: &Board<'_, '_>) -> BTreeMap<StandbyName, BTreeSet<StandbyName>> {
        let mut copies = BTreeMap::new();
        let online = board.view.nodes.values().filter(|n| n.is_online);
        for node in online {
            let deadline = self.ctx.deadline.min(timing::CIB_COPY);
            let copy = Cib::live().read_at(&node.name, deadline).map_err(failed);
            match copy.and_then(|view| Board::of(self.ctx, view).eligible()) {
                Ok(eligible) => {
                    copies.insert(node.name.lower().to_owned(), eligible);
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
        let settle = self.ctx.params.settle_time.or_else(|| {
            corosync::settle_time(deadline)
                .inspect_err(|error| say!(WARN, "settle time", error = error))
                .ok()
        });
        Some(Partition {
            quorate: membership.quorate,
            ring: membership.ring,
            voters: membership.expected_votes,
            one_vote_each: membership.one_vote_each,
            others_stop_without_quorum: board.view.no_quorum_policy() != NoQuorumPolicy::Ignore,
            now: boot_clock().ok()?.since_boot(),
            settle,
        })
    }

    /// Carries the steps out, in order. The answer is who may be promoted afterwards.
    fn apply(
        &mut self,
        board: &mut Board<'_, '_>,
        session: &mut Session,
        facts: &Facts,
        steps: &[ContractStep],
    ) -> Step<BTreeSet<StandbyName>> {
        let is_eligible = |s: &Standby| matches!(s.place, Place::Node { eligible: true, .. });
        let eligible = facts.standbys.iter().filter(|(_, s)| is_eligible(s));
        let mut granted: BTreeSet<StandbyName> = eligible.map(|(n, _)| n.clone()).collect();
        let mut hold = None;
        for step in steps {
            match step {
                ContractStep::Revoke(names) => {
                    self.revoke(board, facts, names)?;
                    granted.retain(|name| !names.contains(name));
                }
                ContractStep::Contract(names) => self.put_in_force(session, names)?,
                ContractStep::Grant(name) => {
                    say!(
                        INFO,
                        "grant: it has every acknowledged commit and may be promoted",
                        standby = name,
                        contract = self.in_force
                    );
                    self.state.revoked.remove(name);
                    granted.insert(name.clone());
                }
                ContractStep::Hold(why) => {
                    // The same reason without its figures, which change all the time.
                    let kind = format!("{:?}", std::mem::discriminant(why));
                    if self.state.hold.as_ref() != Some(&kind) {
                        say!(WARN, "hold", contract = self.in_force, reason = why);
                    }
                    hold = Some(kind);
                }
            }
        }
        self.state.hold = hold;
        Ok(granted)
    }

    /// R1: out of the eligible set first, in the CIB, confirmed; and a note of when.
    fn revoke(
        &mut self,
        board: &mut Board<'_, '_>,
        facts: &Facts,
        names: &BTreeSet<StandbyName>,
    ) -> Step<()> {
        let mut change = ChangeSet::default();
        for name in names {
            let Some(node) = board.node_named(name) else {
                continue;
            };
            say!(
                WARN,
                "revoke: it may not be promoted any more",
                standby = name,
                contract = self.in_force
            );
            let link = facts
                .standbys
                .get(name)
                .and_then(|s| s.link)
                .map(|l| (l.state, l.sync));
            let marks = marks(
                Promise::Sync,
                Seen {
                    link,
                    granted: false,
                    too_far_behind: false,
                },
            );
            change = board.data_status(change, &node, marks.data);
        }
        // R5: a node that is away, now or in a moment, must not bring its old right back with its CIB.
        let quorate = facts.partition.as_ref().is_some_and(|p| p.quorate);
        if quorate {
            change = change.raise_admin_epoch();
        }
        board.change(&change)?;
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

    fn put_in_force(&mut self, session: &mut Session, names: &SyncNames) -> Step<()> {
        say!(
            INFO,
            "contract: what a commit waits for",
            from = self.in_force,
            to = names
        );
        standby::write_contract(self.ctx, names)?;
        server::reload(self.running).map_err(failed)?;
        self.state.barrier = None;
        let deadline = self.ctx.deadline.min(timing::CONTRACT_WAIT);
        let in_force = poll_until(deadline, timing::CONTRACT_POLL, || match views::sync_names(
            session,
        ) {
            Ok(now) if now == *names => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(ready::refused(&error))),
        });
        in_force.unwrap_or_else(|| {
            Err(failed(format!("synchronous_standby_names did not become {names} after a reload: look for another setting of it with SELECT * FROM pg_file_settings")))
        })
    }

    /// Somebody who streams is not granted yet, or a contract still leaves the choice to PostgreSQL:
    /// both are settled within moments after a promotion.
    fn awaits_standby(&self, facts: &Facts) -> bool {
        let streams = |s: &Standby| s.link.is_some_and(|l| l.state == SenderState::Streaming);
        let Some(members) = facts.in_force.certain() else {
            return true;
        };
        let mut candidates = facts.standbys.iter().filter(|(_, s)| streams(s));
        candidates.any(|(name, s)| match s.place {
            Place::Node { eligible, .. } => {
                !eligible && (members.is_empty() || members.contains(name))
            }
            Place::Outside => false,
        })
    }

    fn write_marks(&self, board: &mut Board<'_, '_>, granted: &BTreeSet<StandbyName>) -> Step<()> {
        let promise = self.ctx.promise();
        let mut change = ChangeSet::default();
        let mut all: Vec<(NodeName, crate::decide::marks::Marks)> = Vec::new();
        for node in self.ctx.peers(&board.view) {
            let sender = self.senders.get(node.lower());
            let too_far_behind = match (self.ctx.params.maxlag, sender.and_then(|s| s.lag)) {
                (Some(max), Some(lag)) => lag > max.get(),
                _ => false,
            };
            let seen = Seen {
                link: sender.map(|s| (s.state, s.sync)),
                granted: granted.contains(node.lower()),
                too_far_behind,
            };
            let marks = marks(promise, seen);
            change = board.data_status(change, &node, marks.data);
            all.push((node, marks));
        }
        // The right to be promoted first, the score that makes use of it second.
        board.change(&change)?;
        for (node, marks) in all {
            if !board.view.node(&node).is_some_and(|n| n.in_membership) {
                continue;
            }
            board.set_score(&node, marks.score)?;
            let says_it_is_down = matches!(
                board.status(&node),
                Some(NodeStatus::Stopped | NodeStatus::Unknown)
            );
            if let Some(status) = marks.status.filter(|_| !says_it_is_down) {
                board.set_status(&node, status)?;
            }
        }
        Ok(())
    }
}
