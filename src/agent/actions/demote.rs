//! demote: ends as a running standby, so that a switchover leaves nothing to clean up.

use nix::sys::signal::Signal;

use crate::decide::eligibility::Promise;
use crate::decide::stop::is_left_behind;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::NodeStatus;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Postmaster;
use crate::postgres::{control, views, wal};
use crate::timing;
use crate::trial::point;

use crate::agent::actions::stop;
use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::repair;
use crate::agent::server::{by_files, ending};
use crate::agent::step::{Step, failed};

pub(crate) fn demote(ctx: &Context<'_>) -> Step<Outcome> {
    let running = matches!(ctx.postmaster()?, Postmaster::Running(_));
    // What can't be told is taken for a primary: stopped, and started as a standby. So is what has no standby.signal, whatever the control file
    // says: PostgreSQL removes it on the way to a primary, and a promotion that was given up may still come to its end.
    let has_signal = ctx.pgdata().join("standby.signal").try_exists();
    let is_standby =
        running && has_signal.unwrap_or(false) && by_files::is_standby(ctx).unwrap_or(false);
    if is_standby && !is_to_be_promoted(ctx) {
        return Ok(Outcome::of(OcfCode::Success));
    }
    if running {
        if let Err(failure) = yield_without_quorum(&ctx.within(timing::YIELD)) {
            say!(
                WARN,
                "its promotion score stays as it was",
                reason = failure.text()
            );
        }
        if let Err(failure) = leave_stragglers(ctx) {
            say!(
                WARN,
                "the shutdown waits for every standby",
                reason = failure.text()
            );
        }
    }
    // Also what serves without its pid file, or was left behind by a postmaster that was killed.
    ending::stop_server(ctx)?;
    point!(DemoteStopped);
    // Certain here: no server runs, so nothing is acknowledged any more.
    stop::release_lock(ctx);
    point!(DemoteUnlocked);
    if ctx.is_among(&ctx.env.notify.stop) {
        // The same transition stops this node: a standby would only lengthen the outage.
        return Ok(Outcome::of(OcfCode::Success));
    }
    let board = Board::read(ctx)?;
    // Where another was promoted meanwhile, its WAL may go on where the new primary's does not.
    if repair::come_up(&board)?.is_some() {
        board.set_status(&ctx.me, NodeStatus::Alone)?;
    }
    point!(DemoteStandby);
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    point!(DemoteBaseline);
    board.set_own(TransientAttribute::Degraded, None)?;
    Ok(Outcome::of(OcfCode::Success))
}

/// A promotion was asked for that has not taken place: a server that restores from an archive, or has much to replay, comes to it when it waits for WAL, and becomes
/// a primary whatever has become of the action meanwhile. It is ended before.
fn is_to_be_promoted(ctx: &Context<'_>) -> bool {
    by_files::is_told_to_promote(ctx).unwrap_or(true) || is_recorded_only(ctx).unwrap_or(false)
}

/// The record has this node's promotion, and its data have not: the server may have taken the request's file away, and not be there yet.
fn is_recorded_only(ctx: &Context<'_>) -> Step<bool> {
    let board = Board::read(ctx)?;
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    let lineage = wal::lineage(ctx.pgdata(), control.timeline).map_err(failed)?;
    Ok(!board.is_complete(&lineage)?)
}

/// The demotion may be for want of quorum, and the two sides of a split may meet before the server is down.
fn yield_without_quorum(ctx: &Context<'_>) -> Step<()> {
    let board = Board::read(ctx)?;
    if board.view.is_quorate() {
        return Ok(());
    }
    board.set_primarys_score()
}

/// A standby that is hundreds of megabytes behind would hold up the shutdown until it has them. In asynchronous mode it
/// may be the one that is promoted next.
fn leave_stragglers(ctx: &Context<'_>) -> Step<()> {
    let (Promise::Sync, Postmaster::Running(running)) = (ctx.promise(), ctx.postmaster()?) else {
        return Ok(());
    };
    if running.frozen {
        return Ok(());
    }
    let mut session = ending::look(ctx, &running).map_err(failed)?;
    let senders = views::senders(&mut session).map_err(failed)?;
    if !senders.iter().any(|s| is_left_behind(s.lag, false)) {
        return Ok(());
    }
    let claim = Board::read(ctx)?.claim()?;
    for sender in senders {
        if is_left_behind(sender.lag, claim.members.contains(&sender.name)) {
            say!(
                INFO,
                "the shutdown does not wait for a standby that is far behind",
                standby = sender.name
            );
            running
                .signal_child(sender.pid, Signal::SIGTERM)
                .map_err(failed)?;
        }
    }
    Ok(())
}
