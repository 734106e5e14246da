//! start: always as a standby where there is a primary to promote; R6 first.

use crate::decide::eligibility::Promise;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::model::sync_names::SyncNames;
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::{server, wal};
use crate::sys::poll_until;
use crate::timing;

use super::context::Context;
use super::election;
use super::ready::{self, Server};
use super::record::Board;
use super::standby::Follow;
use super::{Step, failed, monitor, repair, slots, standby, statement, stop, validate};

pub(super) fn start(ctx: &Context<'_>) -> Step<Outcome> {
    if ctx.is_promotable() {
        if repair::goes_on(ctx)? {
            say!(INFO, "this node's data are being repaired already");
            repair::attend(ctx)?;
            return Ok(Outcome::of(OcfCode::Success));
        }
        repair::tidy(ctx)?;
    }
    validate::validate(ctx)?;
    match ctx.params.rep_mode {
        RepMode::None => start_plain(ctx),
        RepMode::Slave => start_follower(ctx),
        RepMode::Async | RepMode::Sync => start_standby(ctx).inspect_err(|_| {
            // The stop that came before may have left this to the start.
            let _ = stop::tell(ctx);
        }),
    }?;
    Ok(Outcome::of(OcfCode::Success))
}

fn start_plain(ctx: &Context<'_>) -> Step<()> {
    if ctx.postmaster()? == Postmaster::Stopped {
        standby::prepare_places(ctx)?;
        standby::retire_contract(ctx)?;
        standby::launch(ctx)?;
    }
    ready::wait(ctx, "ready", |_| true).map(drop)
}

/// rep_mode=slave: a standby of a primary that this cluster does not manage.
fn start_follower(ctx: &Context<'_>) -> Step<()> {
    if ctx.postmaster()? == Postmaster::Stopped {
        standby::retire_contract(ctx)?;
        let slot = slots::slot_of(ctx, &ctx.me, None);
        standby::prepare(ctx, None, Follow::Primary { slot })?;
        standby::launch(ctx)?;
    }
    let server = ready::wait(ctx, "a standby", |_| true)?;
    if server.state.in_recovery {
        Ok(())
    } else {
        Err(is_primary_already())
    }
}

fn is_primary_already() -> Outcome {
    failed(
        "the server runs as a primary although rep_mode=slave: it was promoted by hand; rebuild it as a standby, or change rep_mode",
    )
}

fn start_standby(ctx: &Context<'_>) -> Step<()> {
    let board = Board::read(ctx)?;
    if let Some(running) = already_running(ctx)? {
        return announce(&board, running);
    }
    match repair::come_up(&board)? {
        Some(server) => announce(&board, server),
        None => Ok(()),
    }
}

/// A standby that runs is left running. A primary that Pacemaker does not know of is stopped and
/// comes back as a standby: it was never promoted by the cluster.
fn already_running(ctx: &Context<'_>) -> Step<Option<Server>> {
    if ctx.postmaster()? == Postmaster::Stopped {
        return Ok(None);
    }
    let server = ready::wait(ctx, "ready", |_| true)?;
    if server.state.in_recovery {
        return Ok(Some(server));
    }
    say!(
        WARN,
        "the server runs as a primary that the cluster did not promote: it is stopped and started as a standby"
    );
    drop(server);
    stop::stop_server(ctx)?;
    Ok(None)
}

/// Writes the files, starts the server, waits until it answers, and looks at what is in force.
pub(super) fn start_as_standby(board: &Board<'_, '_>) -> Step<Server> {
    let ctx = board.ctx;
    let expected = standby::initial_contract(board)?;
    standby::prepare(ctx, Some(&expected), statement::whom_to_follow(board)?)?;
    standby::launch(ctx)?;
    let server = ready::wait(ctx, "a standby", |_| true)?;
    let problem = if !server.state.in_recovery {
        Some("it came up as a primary although standby.signal was there".to_owned())
    } else if server.state.sync_names != expected {
        Some(overridden(&expected, &server.state.sync_names))
    } else {
        None
    };
    match problem {
        None => Ok(server),
        Some(problem) => {
            // A server that runs by other rules than the agent's would break R1 when promoted.
            drop(server);
            stop::stop_server(ctx)?;
            Err(Outcome::because(OcfCode::ErrInstalled, problem))
        }
    }
}

fn overridden(expected: &SyncNames, seen: &SyncNames) -> String {
    format!(
        "synchronous_standby_names is '{seen}' and not '{expected}' as the agent set it: something after its include lines, or start_opt, overrides it; see pg_settings.sourcefile"
    )
}

/// Tells the cluster that a standby runs here, and how far it reaches where nobody is primary.
pub(super) fn announce(board: &Board<'_, '_>, server: Server) -> Step<()> {
    let ctx = board.ctx;
    board.set_own(TransientAttribute::Repair, None)?;
    let is_recorded = ctx.record(&board.view)?.is_some_and(|r| r.node == ctx.me);
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let is_complete = ctx.promise() == Promise::Async || board.is_complete(&lineage)?;
    if is_recorded && is_complete {
        // Nobody was promoted since this node was, as far as the CIB knows: no election.
        board.set_score(&ctx.me, monitor::recorded_primarys_score(ctx)?)?;
        if ctx.is_among(&ctx.env.notify.promote) {
            // The promotion is on its way and says the rest; see stop for why not twice.
            return Ok(());
        }
        return board.set_status(&ctx.me, NodeStatus::Alone);
    }
    board.set_status(&ctx.me, NodeStatus::Alone)?;
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    if board
        .transient(&ctx.me, TransientAttribute::PromotionScore)
        .is_none()
    {
        board.set_score(&ctx.me, Score::Never)?;
    }
    if board.primary().is_some() {
        return election::withdraw(board);
    }
    report_position(board, server)
}

/// Reports once the local WAL is replayed; a long replay is left to the monitor.
fn report_position(board: &Board<'_, '_>, mut server: Server) -> Step<()> {
    let ctx = board.ctx;
    let position = poll_until(
        ctx.deadline.min(timing::REPLAY_WAIT),
        timing::READY_POLL,
        || {
            match crate::postgres::views::server_state(&mut server.session) {
                Ok(state) => server.state = state,
                Err(error) => return Some(Err(ready::refused(&error))),
            }
            election::own_position(ctx, &server).transpose()
        },
    );
    match position.transpose()? {
        Some(position) => election::publish(board, &position),
        None => Ok(()),
    }
}

/// Restarts a running standby out of recovery: a primary on the same timeline.
pub(super) fn restart_as_primary(ctx: &Context<'_>) -> Step<Server> {
    // It comes back in a moment, so nobody needs its last checkpoint; a fast shutdown would first send a standby
    // that is far behind all that it lacks.
    let frozen = |running: &Running| {
        let mut plan = stop::plan(ctx, running);
        plan.fast = plan.fast.min(timing::RESTART);
        plan
    };
    server::stop(ctx.pgdata(), &ctx.owner, frozen, ctx.deadline).map_err(failed)?;
    standby::remove_signal(ctx)?;
    standby::launch(ctx)?;
    ready::wait(ctx, "a primary", |state| !state.in_recovery)
}
