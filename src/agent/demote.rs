//! demote: ends as a running standby, so that a switchover leaves nothing to clean up.

use crate::model::cluster_view::TransientAttribute;
use crate::model::status::NodeStatus;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Postmaster;

use super::context::Context;
use super::record::Board;
use super::{Step, start, stop};

pub(super) fn demote(ctx: &Context<'_>) -> Step<Outcome> {
    let running = matches!(ctx.postmaster()?, Postmaster::Running(_));
    if running && is_standby(ctx)? {
        return Ok(Outcome::of(OcfCode::Success));
    }
    if running {
        stop::stop_server(ctx)?;
    }
    // Certain here: no server runs, so nothing is acknowledged any more.
    stop::release_lock(ctx);
    if ctx.is_among(&ctx.env.notify.stop) {
        // The same transition stops this node: a standby would only lengthen the outage.
        return Ok(Outcome::of(OcfCode::Success));
    }
    let board = Board::read(ctx)?;
    start::start_as_standby(&board)?;
    board.set_status(&ctx.me, NodeStatus::Alone)?;
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    board.set_own(TransientAttribute::Degraded, None)?;
    Ok(Outcome::of(OcfCode::Success))
}

/// A server that was started as a standby and never promoted. PostgreSQL removes the file when it
/// is promoted, so this also holds for a server that hangs.
fn is_standby(ctx: &Context<'_>) -> Step<bool> {
    let signal = ctx.pgdata().join("standby.signal");
    signal
        .try_exists()
        .map_err(|e| super::failed(format!("{}: {e}", signal.display())))
}
