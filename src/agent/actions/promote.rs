//! promote: the record first, then the server, then the rest of the cluster.

use std::collections::BTreeSet;

use crate::decide::contract::kept_at_promotion;
use crate::decide::election::{Outcome as Elected, Patience, Tie, elect};
use crate::decide::eligibility::{Ground, Promise};
use crate::decide::promote::{self as decide, Facts, Method, Refusal, Verdict};
use crate::decide::replay::Obstacle;
use crate::decide::witness::Coverage;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::status::{NodeStatus, Score};
use crate::model::timeline::{Lineage, Switch, WalPosition};
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::{control, server, views, wal};
use crate::sys::poll_until;
use crate::timing;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::candidacy::await_reports;
use crate::agent::membership::ground::own_ground;
use crate::agent::membership::lease::Lease;
use crate::agent::membership::lock::{Lock, Wish};
use crate::agent::membership::promotion_record::{self, correct_record, next_record, take_over};
use crate::agent::membership::{attempt, election, stated, statement};
use crate::agent::server::answering::Server;
use crate::agent::server::{ending, in_force, reach, ready, restart, slots};
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

pub(crate) fn promote(ctx: &Context<'_>) -> Step<Outcome> {
    let outcome = try_promote(ctx);
    if !matches!(
        &outcome,
        Ok(Outcome {
            code: OcfCode::Success,
            ..
        })
    ) {
        // An earlier time as primary may still stand there.
        let _ = Board::read(ctx).and_then(|board| board.set_status(&ctx.me, NodeStatus::Alone));
    }
    outcome
}

/// What a promotion is decided by, read once.
struct Candidate<'b, 'c> {
    board: Board<'b, 'c>,
    server: Server,
    /// What keeps this server from replaying all it has.
    held: Option<Obstacle>,
    /// `None`: the end of its WAL can't be told yet.
    own: Option<WalPosition>,
    lineage: Lineage,
    record: Option<ReplInfo>,
}

fn try_promote(ctx: &Context<'_>) -> Step<Outcome> {
    // Before everything that is decided by.
    let ring = attempt::decided_in(ctx)?;
    let mut candidate = Candidate::observe(ctx)?;
    let server = match candidate.judge()? {
        Verdict::Refuse(refusal) => return candidate.refuse(&refusal),
        Verdict::Complete => Some(candidate.server),
        Verdict::Go(method) => {
            if let Err(failure) = candidate.clear_the_way(method) {
                candidate.board.set_score(&ctx.me, Score::Never)?;
                return Err(failure);
            }
            point!(PromoteLocked);
            candidate.record_promotion(method, ring.as_deref())?;
            drop(candidate.server);
            take_writes(ctx, method)?
        }
    };
    keep_lease(ctx)?;
    // It takes writes. What could not be told now, the first monitor tells; to fail here would be
    // to take it down again.
    if let Some(server) = server
        && let Err(failure) = finish(&mut candidate.board, server)
    {
        say!(
            WARN,
            "promoted, and left to the monitor",
            reason = failure.text()
        );
    }
    Ok(Outcome::of(OcfCode::Success))
}

impl<'b, 'c> Candidate<'b, 'c> {
    fn observe(ctx: &'b Context<'c>) -> Step<Self> {
        let board = Board::read(ctx)?;
        let mut server = ready::wait(ctx, "ready", |_| true)?;
        let held = reach::make_way(ctx, &mut server)?;
        let patience = ctx.deadline.min(ctx.deadline.remaining() / 2);
        let own = reach::await_end(ctx, &mut server, patience)?;
        let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
        let record = ctx.record(&board.view)?;
        Ok(Self {
            board,
            server,
            held,
            own,
            lineage,
            record,
        })
    }

    fn judge(&mut self) -> Step<Verdict> {
        let ctx = self.board.ctx;
        let recorded = ctx.data_status(&self.board.view, &ctx.me)?;
        let running_primary = if self.server.state.in_recovery {
            None
        } else {
            Some(promotion_record::judge(&self.board, &self.lineage)?)
        };
        let own_ground = own_ground(&self.board, &self.lineage)?;
        let is_recorded =
            self.server.state.in_recovery && own_ground == Ok(Ground::RecordedPrimary);
        let restart_repeats = if is_recorded {
            restart_repeats(ctx, &mut self.server)?
        } else {
            None
        };
        let verdict = decide::promote(&Facts {
            running_primary,
            ground: own_ground,
            election: compare_positions(&mut self.board, self.own.as_ref())?,
            coverage: compare_statements(&mut self.board, &self.server, self.own.as_ref())?,
            bar: self.board.bar_by_lists(&ctx.me),
            held: self.held.take(),
            record: self.record.as_ref(),
            lineage: &self.lineage,
            restart_keeps_contract: ctx.promise() == Promise::Async
                || self.server.state.version.waits_from_the_start(),
            restart_repeats,
        });
        say!(
            INFO,
            "promote",
            verdict = verdict,
            record = shown(self.record.as_ref()),
            data_status = shown(recorded.as_ref()),
            timeline = self.lineage
        );
        Ok(verdict)
    }

    fn refuse(self, refusal: &Refusal) -> Step<Outcome> {
        let ctx = self.board.ctx;
        if matches!(refusal, Refusal::LostRight(_)) {
            drop(self.server);
            ending::stop_server(ctx)?;
        }
        self.board.set_score(&ctx.me, Score::Never)?;
        Ok(Outcome::because(
            OcfCode::ErrGeneric,
            format!("not promoted: {refusal}"),
        ))
    }

    /// What has to be so before anything is recorded: commits would wait as they should, the agent can note what it begins (a record
    /// of a promotion that then fails bars everybody else), and the lock is this node's.
    fn clear_the_way(&mut self, method: Method) -> Step<()> {
        let ctx = self.board.ctx;
        if let Some(problem) = overridden(ctx, &mut self.server)? {
            return Err(failed(format!("not promoted: {problem}")));
        }
        State::require_room(ctx).map_err(|failure| {
            failed(format!(
                "not promoted: {}: make space there",
                failure.text()
            ))
        })?;
        take_lock(&self.board, &self.server, method)
    }

    fn record_promotion(&mut self, method: Method, ring: Option<&str>) -> Step<()> {
        let origin = match method {
            Method::SameTimeline => self.record.as_ref().map(|r| r.origin),
            Method::NewTimeline => self.own.as_ref().map(|own| {
                Origin::Forked(Switch {
                    timeline: own.lineage.timeline,
                    end: own.end,
                })
            }),
        };
        let next = next_record(self.board.ctx, self.record.as_ref(), origin)?;
        take_over(
            &mut self.board,
            method,
            &self.server,
            &next,
            &self.lineage,
            ring,
        )
    }
}

/// The recorded promotion takes place. `None`: it does, and the first monitor finds out the rest.
fn take_writes(ctx: &Context<'_>, method: Method) -> Step<Option<Server>> {
    match method {
        Method::SameTimeline => {
            point!(RestartRemembered);
            restart::restart_as_primary(ctx).map(Some)
        }
        Method::NewTimeline => {
            point!(PromoteRemembered);
            server::promote(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
            point!(PromoteAsked);
            let server = ready::wait_promoted(ctx, || keep_lease(ctx))?;
            point!(PromoteWritable);
            Ok(server)
        }
    }
}

/// R4 in async mode, where the lease is all that keeps two primaries apart: a promotion may take longer than the lease, and the lock must
/// not be another's when the server begins to take writes. Where it is, the server is stopped, in its recovery or out of it.
fn keep_lease(ctx: &Context<'_>) -> Step<()> {
    if ctx.promise() == Promise::Sync {
        return Ok(());
    }
    let Lease::Over(reason) = Lease::ask(ctx) else {
        return Ok(());
    };
    ending::step_down(ctx)?;
    Err(failed(format!("not promoted: {reason}")))
}

/// How much WAL a restart would replay again, once this server has replayed all that it has.
fn restart_repeats(ctx: &Context<'_>, server: &mut Server) -> Step<Option<u64>> {
    poll_until(
        ctx.deadline.min(timing::REPLAY_WAIT),
        timing::READY_POLL,
        || {
            if let Ok(state) = views::server_state(&mut server.session) {
                server.state = state;
            }
            server.state.has_replayed_all.then_some(())
        },
    );
    let Some(end) = server.state.end.filter(|_| server.state.has_replayed_all) else {
        return Ok(None);
    };
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    Ok(end.bytes_past(control.redo))
}

/// R1: what commits will wait for must be what the agent has set. A setting that was just written may take a moment.
fn overridden(ctx: &Context<'_>, server: &mut Server) -> Step<Option<String>> {
    let mut last = in_force::overridden(ctx, &server.state.sync_names)?;
    if last.is_none() {
        return Ok(None);
    }
    server::reload(&server.running).map_err(failed)?;
    poll_until(
        ctx.deadline.min(timing::REPLAY_WAIT),
        timing::READY_POLL,
        || {
            // A new session has what the postmaster has.
            let mut session = ctx.connect(&server.running).ok()?;
            server.state = views::server_state(&mut session).ok()?;
            last = in_force::overridden(ctx, &server.state.sync_names).ok()?;
            last.is_none().then_some(())
        },
    );
    // The true cause may be quite another line.
    Ok(last.map(|last| in_force::refused(ctx, &server.running).unwrap_or(last)))
}

/// A fact for the log, or that there is none.
fn shown(fact: Option<&impl ToString>) -> String {
    fact.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// The election as far as this node can hold it now: nobody who has reported may be better.
/// Whether all had to report was settled when the score was given.
fn compare_positions(board: &mut Board<'_, '_>, own: Option<&WalPosition>) -> Step<Elected> {
    let ctx = board.ctx;
    if is_out!(LargerPositionIgnored) {
        return Ok(Elected::Won);
    }
    if is_out!(AsyncElectsAnybody) {
        return Ok(Elected::Won);
    }
    let Some(own) = own else {
        return Ok(Elected::Wait {
            missing: vec![ctx.me.clone()],
        });
    };
    if own_ground(board, &own.lineage)? == Ok(Ground::AsyncStandby) {
        await_reports(board, own)?;
    }
    let reports = election::reports(board, Some(own))?;
    Ok(elect(&ctx.me, &reports, Tie::Chosen, Patience::Exhausted))
}

/// R8: what the standbys have stated, this one included. The pre-promote notification made them, so
/// that they are there, or about to be.
fn compare_statements(
    board: &mut Board<'_, '_>,
    server: &Server,
    own: Option<&WalPosition>,
) -> Step<Coverage> {
    let ctx = board.ctx;
    if is_out!(LargerPositionIgnored) {
        return Ok(Coverage::Covered);
    }
    let record = ctx.record(&board.view)?;
    // Where nobody was ever promoted, nothing can be claimed; after an older agent the data statuses say who was granted.
    let is_first = record.is_none() && board.claim()?.is_empty();
    if is_first || ctx.promise() == Promise::Async || !server.state.in_recovery {
        return Ok(Coverage::NothingClaimed);
    }
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    if own_ground(board, &lineage)? == Ok(Ground::RecordedPrimary) {
        return Ok(Coverage::NothingClaimed);
    }
    let Some(own) = own else {
        return Ok(Coverage::Missing {
            more: 1,
            of: vec![ctx.me.lower().to_owned()],
        });
    };
    let own = statement::at(board, own.clone())?;
    let claim = board.claim_for(&lineage)?;
    let compare = || statement::covers(board, &own, &claim).map(|(covered, _)| covered);
    let mut last = compare();
    let may_come =
        |c: &Step<Coverage>| matches!(c, Ok(Coverage::Missing { .. } | Coverage::NothingClaimed));
    if may_come(&last) {
        let deadline = ctx.deadline.min(timing::ELECTION_WAIT);
        poll_until(deadline, timing::READY_POLL, || {
            last = compare();
            (!may_come(&last)).then_some(())
        });
    }
    last
}

/// R3 with the lock: taken in the same statement that checks whether this node may.
fn take_lock(board: &Board<'_, '_>, server: &Server, method: Method) -> Step<()> {
    let ctx = board.ctx;
    let Some(lock) = Lock::open(ctx)? else {
        return Ok(());
    };
    let mut seen = BTreeSet::from([ctx.me.lower().to_owned()]);
    if ctx.promise() == Promise::Sync && method == Method::NewTimeline {
        let statements = stated::all(ctx, &board.view)?;
        seen.extend(
            statements
                .into_iter()
                .filter(|(_, s)| s.is_witness)
                .map(|(n, _)| n),
        );
    }
    let record = ctx.record(&board.view)?;
    let next = next_record(ctx, record.as_ref(), None)?;
    let kept = kept_at_promotion(method, &server.state.sync_names, &board.claim()?);
    lock.take(
        board,
        &server.state.system,
        &Wish {
            seen,
            keep: &kept,
            epoch: next.epoch.unwrap_or_default(),
            // What remains is for the promotion itself.
            patience: ctx
                .params
                .distlock_timeout
                .min(ctx.deadline.remaining() / 2),
        },
    )
}

/// What remains once the server takes writes. Also completes a promotion that was interrupted.
fn finish(board: &mut Board<'_, '_>, mut server: Server) -> Step<()> {
    let ctx = board.ctx;
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    say!(INFO, "primary", timeline = lineage);
    let peers = ctx.peers(&board.view);
    let record = ctx.record(&board.view)?;
    let (running, session) = (&server.running, &mut server.session);
    // Standbys that have no slot yet can't connect; that is no reason to tell nobody who the primary is.
    let slots = slots::on_primary(ctx, running, session, &peers, record.as_ref());
    point!(PromoteSlots);
    board.put_score(&ctx.me, Score::Must)?;
    point!(PromoteScore);
    board.set_status(&ctx.me, NodeStatus::Primary)?;
    point!(PromoteStatus);
    correct_record(board, &lineage)?;
    point!(PromoteCorrected);
    board.set_baseline(&lineage)?;
    point!(PromoteBaseline);
    let eligible = board.claim()?.members;
    for peer in ctx.peers(&board.view) {
        if eligible.contains(peer.lower()) {
            continue;
        }
        if board
            .transient(&peer, TransientAttribute::PromotionScore)
            .is_some()
            && board.view.node(&peer).is_some_and(|n| n.is_online)
        {
            board.set_score(&peer, Score::Never)?;
        }
    }
    point!(PromotePeers);
    statement::take_back(board)?;
    point!(PromoteTakenBack);
    election::withdraw(board)?;
    slots.map_err(slots::Unmade::outcome)
}
