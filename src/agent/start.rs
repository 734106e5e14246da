//! start: always as a standby where there is a primary to promote; R6 first.

use std::time::Duration;

use crate::decide::eligibility::Promise;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::wal;
use crate::sys::poll_until;
use crate::timing;
use crate::trial::{is_out, point};

use crate::agent::attempt;
use crate::agent::context::Context;
use crate::agent::election;
use crate::agent::in_force;
use crate::agent::monitor;
use crate::agent::ready;
use crate::agent::ready::Server;
use crate::agent::ready::Up;
use crate::agent::record::Board;
use crate::agent::recovery;
use crate::agent::repair;
use crate::agent::standby;
use crate::agent::standby::Follow;
use crate::agent::statement;
use crate::agent::step::Step;
use crate::agent::step::failed;
use crate::agent::stop;
use crate::agent::validate;

pub(crate) fn start(ctx: &Context<'_>) -> Step<Outcome> {
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
    come_up_alone(ctx, "ready").map(drop)
}

/// Success means that the server serves, and nobody waits for this start but who needs the server. So it waits as long as it may; but
/// to fail then would be to throw the recovery away, and the next start would have no more time for it.
fn come_up_alone(ctx: &Context<'_>, what: &str) -> Step<Option<Server>> {
    match ready::come_up(ctx, what, ctx.deadline.remaining())? {
        Up::Answers(server) => Ok(Some(*server)),
        Up::Recovers => {
            say!(
                WARN,
                "the server still replays its WAL, and takes no connections until that is done; the start's timeout is shorter than that"
            );
            Ok(None)
        }
        Up::Refuses(reason) => {
            not_let_in(&reason);
            Ok(None)
        }
    }
}

/// It serves others, which is what a start is for.
fn not_let_in(reason: &str) {
    say!(
        WARN,
        "the server is up, and does not let the agent in: look at monitor_user, monitor_password, pgdb and pg_hba.conf",
        reason = reason
    );
}

/// rep_mode=slave: a standby of a primary that this cluster does not manage.
fn start_follower(ctx: &Context<'_>) -> Step<()> {
    if ctx.postmaster()? == Postmaster::Stopped {
        standby::retire_contract(ctx)?;
        standby::prepare(ctx, None, Follow::outside(ctx))?;
        standby::launch_as_standby(ctx)?;
    }
    match come_up_alone(ctx, "a standby")? {
        Some(server) if !server.state.in_recovery => Err(is_primary_already()),
        Some(_) | None => Ok(()),
    }
}

fn is_primary_already() -> Outcome {
    failed(
        "the server runs as a primary although rep_mode=slave: it was promoted by hand; rebuild it as a standby, or change rep_mode",
    )
}

fn start_standby(ctx: &Context<'_>) -> Step<()> {
    let board = Board::read(ctx)?;
    if ctx.promise() == Promise::Sync {
        attempt::arrive(&board)?;
    }
    match already_running(ctx)? {
        Some(Up::Answers(running)) => return announce(&board, *running),
        Some(Up::Recovers) => {
            recovery::goes_on(&board);
            return Ok(());
        }
        Some(Up::Refuses(reason)) => {
            not_let_in(&reason);
            recovery::bar(&board);
            return Ok(());
        }
        None => {}
    }
    match repair::come_up(&board)? {
        Some(server) => announce(&board, server),
        None => Ok(()),
    }
}

/// A standby that runs is left running. A primary that Pacemaker does not know of is stopped and
/// comes back as a standby: it was never promoted by the cluster.
fn already_running(ctx: &Context<'_>) -> Step<Option<Up>> {
    if ctx.postmaster()? == Postmaster::Stopped {
        return Ok(None);
    }
    let server = match ready::come_up(ctx, "ready", patience(ctx))? {
        Up::Answers(server) => server,
        Up::Recovers => return Ok(Some(Up::Recovers)),
        Up::Refuses(reason) if standby::is_standby(ctx)? => return Ok(Some(Up::Refuses(reason))),
        Up::Refuses(_) => return restart_as_standby(ctx),
    };
    if server.state.in_recovery {
        return Ok(Some(Up::Answers(server)));
    }
    drop(server);
    restart_as_standby(ctx)
}

fn restart_as_standby(ctx: &Context<'_>) -> Step<Option<Up>> {
    say!(
        WARN,
        "the server runs as a primary that the cluster did not promote: it is stopped and started as a standby"
    );
    stop::stop_server(ctx)?;
    Ok(None)
}

/// How long a recovery is waited for; what is left is for telling the cluster about it.
fn patience(ctx: &Context<'_>) -> Duration {
    timing::RECOVERY.min(ctx.deadline.remaining() / 4 * 3)
}

/// Writes the files, starts the server, waits until it answers, and looks at what is in force. A long recovery goes on by
/// itself; then the monitor, and a promotion, look at that.
pub(crate) fn start_as_standby(board: &Board<'_, '_>) -> Step<Up> {
    let ctx = board.ctx;
    let expected = standby::initial_contract(board)?;
    standby::prepare(ctx, Some(&expected), statement::whom_to_follow(board)?)?;
    standby::launch_as_standby(ctx)?;
    point!(StartLaunched);
    let server = match ready::come_up(ctx, "a standby", patience(ctx))? {
        Up::Answers(server) => server,
        Up::Recovers => {
            recovery::goes_on(board);
            return Ok(Up::Recovers);
        }
        // What is in force is looked at before a promotion.
        Up::Refuses(reason) => {
            not_let_in(&reason);
            recovery::bar(board);
            return Ok(Up::Refuses(reason));
        }
    };
    let server = check_what_is_in_force(ctx, *server)?;
    point!(StartAnswers);
    Ok(Up::Answers(Box::new(server)))
}

fn ends_replay(target: &str) -> String {
    format!(
        "{target} is set, which ends a standby's replay: look for it with SELECT sourcefile, sourceline FROM pg_settings, and remove it"
    )
}

/// A server that runs by other rules than the agent's would break R1 when promoted.
pub(crate) fn check_what_is_in_force(ctx: &Context<'_>, mut server: Server) -> Step<Server> {
    in_force::load_what_is_written(ctx, &mut server)?;
    let problem = if server.state.in_recovery {
        let target = server.state.replay.target.as_deref();
        let target = target.filter(|_| !is_out!(TargetUnseen));
        in_force::overridden(ctx, &server.state.sync_names)?.or_else(|| target.map(ends_replay))
    } else {
        Some("it came up as a primary although standby.signal was there".to_owned())
    };
    match problem {
        None => Ok(server),
        Some(problem) => {
            drop(server);
            stop::stop_server(ctx)?;
            Err(Outcome::because(OcfCode::ErrInstalled, problem))
        }
    }
}

/// Pacemaker plans anew when something changes. Where a promotion failed and the server was stopped and started in one
/// transition, which says nothing (see stop), all would be as it was before, and nobody would be promoted until the cluster's next
/// recheck, a quarter of an hour later (seen: the recorded primary with its score, and an idle cluster).
fn say_alone(board: &Board<'_, '_>) -> Step<()> {
    let me = &board.ctx.me;
    if board.status(me) == Some(NodeStatus::Alone) {
        board.set_status(me, NodeStatus::Stopped)?;
    }
    board.set_status(me, NodeStatus::Alone)
}

/// Tells the cluster that a standby runs here, and how far it reaches where nobody is primary.
pub(crate) fn announce(board: &Board<'_, '_>, server: Server) -> Step<()> {
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
        return say_alone(board);
    }
    say_alone(board)?;
    point!(StartStatus);
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    if board
        .transient(&ctx.me, TransientAttribute::PromotionScore)
        .is_none()
    {
        board.set_score(&ctx.me, Score::Never)?;
    }
    point!(StartAnnounced);
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
pub(crate) fn restart_as_primary(ctx: &Context<'_>) -> Step<Server> {
    // It comes back in a moment, so nobody needs its last checkpoint; a fast shutdown would first send a standby
    // that is far behind all that it lacks.
    let frozen = |running: &Running| {
        let mut plan = stop::plan(ctx, running);
        plan.fast = plan.fast.min(timing::RESTART);
        plan
    };
    stop::end(ctx, frozen)?;
    point!(RestartStopped);
    standby::remove_signal(ctx)?;
    point!(RestartUnsignalled);
    standby::launch(ctx)?;
    point!(RestartLaunched);
    ready::wait(ctx, "a primary", |state| !state.in_recovery)
}
