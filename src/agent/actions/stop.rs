//! stop: the server down, whatever it takes, inside the operation's timeout.

use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::NodeStatus;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Postmaster;
use crate::trial::point;

use crate::agent::context::Context;
use crate::agent::membership::attempt;
use crate::agent::membership::board::Board;
use crate::agent::membership::lock::Lock;
use crate::agent::repair;
use crate::agent::server::ending::stop_server;
use crate::agent::step::Step;

pub(crate) fn stop(ctx: &Context<'_>) -> Step<Outcome> {
    // First, or it would start the server again. Whatever becomes of that, the server is stopped.
    let ended = repair::end(ctx);
    let stopped = stop_server(ctx);
    if let Err(failure) = ended.and(stopped) {
        if ctx.is_promotable() {
            let _ = Board::read(ctx).and_then(|board| {
                attempt::before_a_word(&board)?;
                board.set_status(&ctx.me, NodeStatus::Unknown)
            });
        }
        return Err(failure);
    }
    point!(StopServer);
    release_lock(ctx);
    point!(StopUnlocked);
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
pub(crate) fn release_lock(ctx: &Context<'_>) {
    match Lock::open(ctx) {
        Ok(Some(lock)) => lock.release(),
        Ok(None) => {}
        Err(failure) => say!(WARN, "lock not given back", reason = failure.text()),
    }
}

/// What the others see of a stopped node. Nothing is told of one whose server runs.
pub(crate) fn tell(ctx: &Context<'_>) -> Step<()> {
    if !ctx.is_promotable() {
        return Ok(());
    }
    // A start that has failed may leave a server that still recovers.
    if ctx.postmaster()? != Postmaster::Stopped {
        return Ok(());
    }
    let board = Board::read(ctx)?;
    // R9. Pacemaker may stop a standby because quorum is gone before any monitor has seen that, and start it when it is back; and a stop
    // comes after a first start that failed before it had looked.
    attempt::before_a_word(&board)?;
    board.set_status(&ctx.me, NodeStatus::Stopped)?;
    point!(StopStatus);
    for attribute in [
        TransientAttribute::XlogLoc,
        TransientAttribute::Timeline,
        TransientAttribute::MasterBaseline,
        TransientAttribute::ReceiverStatus,
        TransientAttribute::Degraded,
        TransientAttribute::Replay,
        TransientAttribute::Notice,
        TransientAttribute::DeepNotice,
    ] {
        board.set_own(attribute, None)?;
    }
    Ok(())
}
