//! demote: ends as a running standby, so that a switchover leaves nothing to clean up.

use nix::sys::signal::Signal;

use crate::decide::eligibility::Promise;
use crate::decide::stop::is_left_behind;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::NodeStatus;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::{self, Postmaster};
use crate::postgres::views;

use super::context::Context;
use super::record::Board;
use super::{Step, failed, repair, stop};

pub(super) fn demote(ctx: &Context<'_>) -> Step<Outcome> {
    let running = matches!(ctx.postmaster()?, Postmaster::Running(_));
    if running && is_standby(ctx)? {
        return Ok(Outcome::of(OcfCode::Success));
    }
    if running {
        if let Err(failure) = leave_stragglers(ctx) {
            say!(
                WARN,
                "the shutdown waits for every standby",
                reason = failure.text()
            );
        }
        stop::stop_server(ctx)?;
    }
    // Certain here: no server runs, so nothing is acknowledged any more.
    stop::release_lock(ctx);
    if ctx.is_among(&ctx.env.notify.stop) {
        // The same transition stops this node: a standby would only lengthen the outage.
        return Ok(Outcome::of(OcfCode::Success));
    }
    let board = Board::read(ctx)?;
    // Where another was promoted meanwhile, its WAL may go on where the new primary's does not.
    if repair::come_up(&board)?.is_some() {
        board.set_status(&ctx.me, NodeStatus::Alone)?;
    }
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    board.set_own(TransientAttribute::Degraded, None)?;
    Ok(Outcome::of(OcfCode::Success))
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
    let mut session = ctx.connect(&running).map_err(failed)?;
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
            process::signal(sender.pid, Signal::SIGTERM).map_err(failed)?;
        }
    }
    Ok(())
}

/// A server that was started as a standby and never promoted. PostgreSQL removes the file when it
/// is promoted, so this also holds for a server that hangs.
fn is_standby(ctx: &Context<'_>) -> Step<bool> {
    let signal = ctx.pgdata().join("standby.signal");
    signal
        .try_exists()
        .map_err(|e| super::failed(format!("{}: {e}", signal.display())))
}
