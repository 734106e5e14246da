//! stop: the server down, whatever it takes, inside the operation's timeout.

use crate::decide::stop::{Escalation, Postmaster as Responds, escalation};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::NodeStatus;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Running;
use crate::postgres::server::{self, Ended};
use crate::postgres::session::SqlError;

use super::context::Context;
use super::lock::Lock;
use super::record::Board;
use super::{Step, failed, repair};

pub(super) fn stop(ctx: &Context<'_>) -> Step<Outcome> {
    // First, or it would start the server again.
    if let Err(failure) = repair::end(ctx).and_then(|()| stop_server(ctx)) {
        if ctx.is_promotable() {
            let _ =
                Board::read(ctx).and_then(|board| board.set_status(&ctx.me, NodeStatus::Unknown));
        }
        return Err(failure);
    }
    release_lock(ctx);
    // Every attribute that changes makes Pacemaker plan anew, and a plan that begins between a
    // stop and the start that belongs to it may move the other instances about.
    let comes_back = ctx.is_among(&ctx.env.notify.start);
    // The server is down, and that is what counts: a stop that fails gets the node fenced.
    if !comes_back && let Err(failure) = tell(ctx) {
        say!(
            WARN,
            "stopped; the cluster could not be told",
            reason = failure.text()
        );
    }
    Ok(Outcome::of(OcfCode::Success))
}

/// The server is down: whoever has the lock's leave to be promoted need not wait for the lease to end.
pub(super) fn release_lock(ctx: &Context<'_>) {
    match Lock::open(ctx) {
        Ok(Some(lock)) => lock.release(),
        Ok(None) => {}
        Err(failure) => say!(WARN, "lock not given back", reason = failure.text()),
    }
}

/// Stops the server and everything it left behind.
pub(super) fn stop_server(ctx: &Context<'_>) -> Step<Ended> {
    let ended = server::stop(
        ctx.pgdata(),
        &ctx.owner,
        |running| plan(ctx, running),
        ctx.deadline,
    )
    .map_err(failed)?;
    match ended {
        Ended::Already | Ended::Fast => say!(INFO, "server stopped", ended = ended),
        Ended::Immediate | Ended::Killed => {
            say!(
                WARN,
                "server stopped, but not in order: it recovers at its next start, and standbys miss its last checkpoint",
                ended = ended
            );
        }
    }
    Ok(ended)
}

/// How long each way of stopping may take here and now.
pub(super) fn plan(ctx: &Context<'_>, running: &Running) -> Escalation {
    let is_standby = ctx.pgdata().join("standby.signal").exists();
    let wish = if is_standby {
        ctx.params.stop_escalate_in_slave
    } else {
        ctx.params.stop_escalate
    };
    let responds = if running.frozen {
        Responds::Frozen
    } else if matches!(ctx.connect(running), Err(SqlError::TimedOut(_))) {
        Responds::Hangs
    } else {
        Responds::Runs
    };
    escalation(ctx.deadline.remaining(), wish, responds)
}

/// What the others see of a stopped node.
pub(super) fn tell(ctx: &Context<'_>) -> Step<()> {
    if !ctx.is_promotable() {
        return Ok(());
    }
    let board = Board::read(ctx)?;
    board.set_status(&ctx.me, NodeStatus::Stopped)?;
    for attribute in [
        TransientAttribute::XlogLoc,
        TransientAttribute::Timeline,
        TransientAttribute::MasterBaseline,
        TransientAttribute::ReceiverStatus,
        TransientAttribute::Degraded,
    ] {
        board.set_own(attribute, None)?;
    }
    Ok(())
}
