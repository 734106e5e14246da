//! notify: what other nodes' steps ask of this one. Pacemaker ignores the result, so a failure is
//! only logged.

use crate::decide::election::{Outcome as Elected, Patience, Tie, elect};
use crate::decide::eligibility::Promise;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::node_name::NodeName;
use crate::model::status::Score;
use crate::ocf::{NotifyKind, NotifyOperation, OcfCode, Outcome};
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::{server, views};
use crate::sys::poll_until;
use crate::timing;

use super::context::Context;
use super::election::{self, Counting};
use super::ready::Server;
use super::record::Board;
use super::{Step, contract, failed, follow, monitor, promote, slots, standby};

pub(super) fn notify(ctx: &Context<'_>) -> Step<Outcome> {
    if ctx.is_promotable() {
        let (kind, operation) = (ctx.env.notify.kind, ctx.env.notify.operation);
        if let Err(failure) = react(ctx) {
            say!(
                WARN,
                "notify",
                kind = format_args!("{:?}", kind),
                operation = format_args!("{:?}", operation),
                reason = failure.text()
            );
        }
    }
    Ok(Outcome::of(OcfCode::Success))
}

fn react(ctx: &Context<'_>) -> Step<()> {
    let notify = &ctx.env.notify;
    let (Some(kind), Some(operation)) = (notify.kind, notify.operation) else {
        return Ok(());
    };
    match (kind, operation) {
        (NotifyKind::Pre, NotifyOperation::Demote) if ctx.is_among(&notify.demote) => {
            checkpoint(ctx)
        }
        (NotifyKind::Pre, NotifyOperation::Promote) => before_promotion(ctx, &notify.promote),
        (NotifyKind::Post, NotifyOperation::Promote) if !ctx.is_among(&notify.promote) => {
            turn_to_new_primary(ctx)
        }
        (NotifyKind::Post, NotifyOperation::Start | NotifyOperation::Stop) => {
            after_start_or_stop(ctx)
        }
        (
            NotifyKind::Pre | NotifyKind::Post,
            NotifyOperation::Start
            | NotifyOperation::Stop
            | NotifyOperation::Promote
            | NotifyOperation::Demote,
        ) => Ok(()),
    }
}

/// A postmaster that can answer. Everybody waits for the notifications: one that is stopped by a
/// signal is not asked, which would take query_timeout out of the recovery from just that.
fn postmaster(ctx: &Context<'_>) -> Step<Option<Running>> {
    Ok(match ctx.postmaster()? {
        Postmaster::Running(running) if !running.frozen => Some(running),
        Postmaster::Running(_) | Postmaster::Stopped => None,
    })
}

/// A server that answers now.
fn answering(ctx: &Context<'_>) -> Step<Option<Server>> {
    let Some(running) = postmaster(ctx)? else {
        return Ok(None);
    };
    let mut session = ctx.connect(&running).map_err(failed)?;
    let state = views::server_state(&mut session).map_err(failed)?;
    Ok(Some(Server {
        running,
        session,
        state,
    }))
}

/// Ahead of a demotion: what is written now need not be written while everybody waits for the
/// shutdown.
fn checkpoint(ctx: &Context<'_>) -> Step<()> {
    let Some(running) = postmaster(ctx)? else {
        return Ok(());
    };
    let mut session = ctx.connect_as_owner(&running).map_err(failed)?;
    session.set_limit(timing::CHECKPOINT.min(ctx.deadline.remaining()));
    session
        .execute("SET statement_timeout = 0")
        .and_then(|()| session.execute("CHECKPOINT"))
        .map_err(failed)
}

/// In asynchronous mode the primary cannot know who has received most when it dies. So all
/// standbys say now how far they got, and the best one asks to be promoted instead of the node
/// that Pacemaker has chosen: the changed score makes Pacemaker plan anew before it promotes.
fn before_promotion(ctx: &Context<'_>, candidates: &[String]) -> Step<()> {
    if ctx.promise() == Promise::Sync {
        return Ok(());
    }
    let Some(server) = answering(ctx)? else {
        return Ok(());
    };
    if !server.state.in_recovery {
        return Ok(());
    }
    let mut board = Board::read(ctx)?;
    if ctx.record(&board.view)?.is_some_and(|r| {
        candidates
            .iter()
            .any(|c| c.eq_ignore_ascii_case(r.node.as_str()))
    }) {
        // The last primary comes back: it has everything.
        return Ok(());
    }
    let Some(end) = server.state.end else {
        return Ok(());
    };
    let own = crate::model::timeline::WalPosition {
        lineage: crate::postgres::wal::lineage(ctx.pgdata(), server.state.timeline)
            .map_err(failed)?,
        end,
    };
    election::publish(&board, &own)?;
    if ctx.is_among(candidates) {
        return Ok(());
    }
    promote::await_reports(&mut board, &own)?;
    let reports = election::reports(&board, Some(&own))?;
    let ranked = Tie::Ranked { last_primary: None };
    if elect(&ctx.me, &reports, ranked, Patience::Exhausted) != Elected::Won {
        return Ok(());
    }
    let chosen = candidates
        .iter()
        .filter_map(|c| NodeName::new(c.as_str()).ok());
    let is_behind =
        |c: &NodeName| reports.contains_key(c) && reports.get(c) != reports.get(&ctx.me);
    if !chosen.clone().any(|c| is_behind(&c)) {
        return Ok(());
    }
    say!(
        WARN,
        "this standby has more WAL than the one to be promoted: asking to be promoted instead",
        candidates = candidates.join(" "),
        position = own
    );
    for candidate in chosen {
        board.set_score(&candidate, Score::May)?;
    }
    board.set_score(&ctx.me, Score::Must)?;
    // Until the CIB has it, Pacemaker would go on with its old plan.
    let must = Score::Must.to_string();
    poll_until(
        ctx.deadline.min(timing::ELECTION_WAIT),
        timing::READY_POLL,
        || {
            let view = ctx.cluster().ok()?;
            let score = view
                .node(&ctx.me)?
                .transient(TransientAttribute::PromotionScore, &ctx.resource)?;
            (score == must).then_some(())
        },
    );
    Ok(())
}

/// Another node was promoted.
fn turn_to_new_primary(ctx: &Context<'_>) -> Step<()> {
    let server = answering(ctx)?.filter(|s| s.state.in_recovery);
    if let Some(server) = &server {
        // First, as commits wait for it.
        follow::begin(ctx, server)?;
    }
    let board = Board::read(ctx)?;
    if let Some(server) = &server {
        // What this node waited for as a primary is not what it would wait for as the next one.
        let contract = standby::initial_contract(&board)?;
        if server.state.sync_names != contract {
            standby::write_contract(ctx, &contract)?;
            server::reload(&server.running).map_err(failed)?;
        }
    }
    election::withdraw(&board)?;
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    if let Some(mut server) = server {
        let peers = ctx.peers(&board.view);
        slots::drop_stale(ctx, &server.running, &mut server.session, &peers)?;
    }
    Ok(())
}

/// A primary looks after its standbys; a standby without one may have been waiting for this
/// start to hold the election.
fn after_start_or_stop(ctx: &Context<'_>) -> Step<()> {
    let Some(mut server) = answering(ctx)? else {
        return Ok(());
    };
    let mut board = Board::read(ctx)?;
    if !server.state.in_recovery {
        return contract::settle(ctx, &mut board, &mut server, timing::CONTRACT_POLL);
    }
    let somebody_is_promoted = !ctx.env.notify.promoted.is_empty();
    if somebody_is_promoted
        || board.primary().is_some()
        || ctx.env.notify.operation != Some(NotifyOperation::Start)
    {
        return Ok(());
    }
    monitor::stand_for_election(&board, &server, Counting::SameRound)
}
