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
    if will_be_stopped(ctx) {
        // Starting a standby that Pacemaker stops at once would only lengthen the outage.
        if let Err(failure) = stop::tell(ctx) {
            tracing::warn!(
                reason = failure.reason,
                "demoted; the cluster could not be told"
            );
        }
        return Ok(Outcome::of(OcfCode::Success));
    }
    let board = Board::read(ctx)?;
    start::start_as_standby(&board)?;
    board.set_status(&ctx.me, NodeStatus::Alone)?;
    board.set_own(TransientAttribute::MasterBaseline, None)?;
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

/// The same transition stops this node after demoting it.
fn will_be_stopped(ctx: &Context<'_>) -> bool {
    ctx.env
        .notify
        .stop
        .iter()
        .any(|node| node.eq_ignore_ascii_case(ctx.me.as_str()))
}
