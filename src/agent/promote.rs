//! promote: the record first, then the server, then the rest of the cluster.

use std::collections::BTreeSet;

use crate::decide::contract::kept_at_promotion;
use crate::decide::election::{Outcome as Elected, Patience, Report, Tie, elect};
use crate::decide::eligibility::{Ground, Ineligible, Promise, Standing, ground};
use crate::decide::promote::{self as decide, Facts, Method, Refusal, Verdict};
use crate::decide::right::right;
use crate::decide::witness::Coverage;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::repl_info::Origin;
use crate::model::status::{NodeStatus, Score};
use crate::model::timeline::{Lineage, Switch, WalPosition};
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::{server, wal};
use crate::sys::poll_until;
use crate::timing;

use super::context::Context;
use super::lock::{Lock, Wish};
use super::promotion_record::{correct_record, next_record, own_epoch, take_over};
use super::ready::{self, Server};
use super::record::Board;
use super::state::State;
use super::{Step, election, failed, slots, start, statement, stop};

pub(super) fn promote(ctx: &Context<'_>) -> Step<Outcome> {
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

fn try_promote(ctx: &Context<'_>) -> Step<Outcome> {
    let mut board = Board::read(ctx)?;
    let server = ready::wait(ctx, "ready", |_| true)?;
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let record = ctx.record(&board.view)?;
    let recorded = ctx.data_status(&board.view, &ctx.me)?;
    let epoch = own_epoch(ctx)?;
    let facts = Facts {
        running_primary: (!server.state.in_recovery)
            .then(|| right(&ctx.me, record.as_ref(), &lineage, epoch)),
        ground: own_ground(&board, &lineage)?,
        election: compare_positions(&mut board, &server)?,
        coverage: compare_statements(&mut board, &server)?,
        record: record.as_ref(),
        lineage: &lineage,
        restart_keeps_contract: ctx.promise() == Promise::Async
            || server.state.version.waits_from_the_start(),
    };
    let verdict = decide::promote(&facts);
    say!(
        INFO,
        "promote",
        verdict = verdict,
        record = shown(record.as_ref()),
        data_status = shown(recorded.as_ref()),
        timeline = lineage
    );
    let server = match verdict {
        Verdict::Refuse(refusal) => {
            if matches!(refusal, Refusal::LostRight(_)) {
                drop(server);
                stop::stop_server(ctx)?;
            }
            board.set_score(&ctx.me, Score::Never)?;
            return Ok(Outcome::because(
                OcfCode::ErrGeneric,
                format!("not promoted: {refusal}"),
            ));
        }
        Verdict::Complete => server,
        // A record of a promotion that then fails bars everybody else.
        Verdict::Go(_) if let Err(failure) = State::require_room(ctx) => {
            board.set_score(&ctx.me, Score::Never)?;
            return Err(failed(format!(
                "not promoted: {}: make space there",
                failure.text()
            )));
        }
        Verdict::Go(method) if let Err(failure) = take_lock(&board, &server, method) => {
            board.set_score(&ctx.me, Score::Never)?;
            return Err(failure);
        }
        Verdict::Go(Method::SameTimeline) => {
            let next = next_record(ctx, record.as_ref(), record.as_ref().map(|r| r.origin))?;
            take_over(&mut board, Method::SameTimeline, &server, &next)?;
            drop(server);
            start::restart_as_primary(ctx)?
        }
        Verdict::Go(Method::NewTimeline) => {
            let fork = server.state.end.map(|end| {
                Origin::Forked(Switch {
                    timeline: server.state.timeline,
                    end,
                })
            });
            let next = next_record(ctx, record.as_ref(), fork)?;
            take_over(&mut board, Method::NewTimeline, &server, &next)?;
            drop(server);
            server::promote(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
            ready::wait(ctx, "a primary", |state| !state.in_recovery)?
        }
    };
    // It takes writes. What could not be told now, the first monitor tells; to fail here would be
    // to take it down again.
    if let Err(failure) = finish(&mut board, server) {
        say!(
            WARN,
            "promoted, and left to the monitor",
            reason = failure.text()
        );
    }
    Ok(Outcome::of(OcfCode::Success))
}

/// A fact for the log, or that there is none.
fn shown(fact: Option<&impl ToString>) -> String {
    fact.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// The election as far as this node can hold it now: nobody who has reported may be better.
/// Whether all had to report was settled when the score was given.
fn compare_positions(board: &mut Board<'_, '_>, server: &Server) -> Step<Elected> {
    let ctx = board.ctx;
    let own = WalPosition {
        lineage: wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?,
        end: match server.state.end {
            Some(end) => end,
            None => {
                return Ok(Elected::Wait {
                    missing: vec![ctx.me.clone()],
                });
            }
        },
    };
    if own_ground(board, &own.lineage)? == Ok(Ground::AsyncStandby) {
        await_reports(board, &own)?;
    }
    let reports = election::reports(board, Some(&own))?;
    Ok(elect(&ctx.me, &reports, Tie::Chosen, Patience::Exhausted))
}

/// R3: what the CIB says about this node.
pub(super) fn own_ground(
    board: &Board<'_, '_>,
    lineage: &Lineage,
) -> Step<Result<Ground, Ineligible>> {
    let ctx = board.ctx;
    Ok(ground(&Standing {
        promise: ctx.promise(),
        node: &ctx.me,
        record: ctx.record(&board.view)?.as_ref(),
        recorded: ctx.data_status(&board.view, &ctx.me)?,
        claim: &board.claim_for(lineage)?,
        is_complete: board.is_complete(lineage)?,
        is_distrusted: ctx.promise() == Promise::Sync && !statement::is_trusted(board)?,
    }))
}

/// R8: what the standbys have stated, this one included. The pre-promote notification made them, so
/// that they are there, or about to be.
fn compare_statements(board: &mut Board<'_, '_>, server: &Server) -> Step<Coverage> {
    let ctx = board.ctx;
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
    let Some(own) = statement::own(board, server)? else {
        return Ok(Coverage::NothingClaimed);
    };
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
        let statements = statement::all(board)?;
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

/// Reads the CIB until every member that may be promoted has said its position, or time is up.
pub(super) fn await_reports(board: &mut Board<'_, '_>, own: &WalPosition) -> Step<()> {
    let ctx = board.ctx;
    let mut failure = None;
    poll_until(
        ctx.deadline.min(timing::ELECTION_WAIT),
        timing::READY_POLL,
        || {
            let all_there = ctx.cluster().and_then(|view| {
                board.view = view;
                let reports = election::reports(board, Some(own))?;
                Ok(!reports.values().any(|r| *r == Report::Silent))
            });
            match all_there {
                Ok(true) => Some(()),
                Ok(false) => None,
                Err(error) => {
                    failure = Some(error);
                    Some(())
                }
            }
        },
    );
    failure.map_or(Ok(()), Err)
}

/// What remains once the server takes writes. Also completes a promotion that was interrupted.
fn finish(board: &mut Board<'_, '_>, mut server: Server) -> Step<()> {
    let ctx = board.ctx;
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    say!(INFO, "primary", timeline = lineage);
    let peers = ctx.peers(&board.view);
    let record = ctx.record(&board.view)?;
    let (running, session) = (&server.running, &mut server.session);
    slots::on_primary(ctx, running, session, &peers, record.as_ref())?;
    board.set_score(&ctx.me, Score::Must)?;
    board.set_status(&ctx.me, NodeStatus::Primary)?;
    correct_record(board, &lineage)?;
    if let Some(switch) = lineage.last_switch() {
        board.set_own(
            TransientAttribute::MasterBaseline,
            Some(&switch.end.to_attribute()),
        )?;
    }
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
    statement::take_back(ctx)?;
    election::withdraw(board)
}
