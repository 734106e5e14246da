//! What the cluster is told of a standby that runs here.

use crate::decide::eligibility::Promise;
use crate::decide::replay::Obstacle;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::postgres::wal;
use crate::sys::poll_until;
use crate::timing;
use crate::trial::point;

use crate::agent::membership::board::Board;
use crate::agent::membership::{candidacy, election};
use crate::agent::server::answering::{self, Server};
use crate::agent::step::{Step, failed};

/// Tells the cluster that a standby runs here, and how far it reaches where nobody is primary.
pub(crate) fn announce(board: &Board<'_, '_>, server: Server) -> Step<()> {
    let ctx = board.ctx;
    board.set_own(TransientAttribute::Repair, None)?;
    let is_recorded = ctx.record(&board.view)?.is_some_and(|r| r.node == ctx.me);
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let is_complete = ctx.promise() == Promise::Async || board.is_complete(&lineage)?;
    if is_recorded && is_complete {
        // Nobody was promoted since this node was, as far as the CIB knows: no election.
        board.set_score(&ctx.me, candidacy::recorded_primarys_score(ctx)?)?;
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

/// Reports once the local WAL is replayed; a long replay is left to the monitor.
fn report_position(board: &Board<'_, '_>, mut server: Server) -> Step<()> {
    let ctx = board.ctx;
    let position = poll_until(
        ctx.deadline.min(timing::REPLAY_WAIT),
        timing::READY_POLL,
        || {
            match crate::postgres::views::server_state(&mut server.session) {
                Ok(state) => server.state = state,
                Err(error) => return Some(Err(answering::refused(&error))),
            }
            election::own_position(ctx, &server).transpose()
        },
    );
    match position.transpose()? {
        Some(position) => election::publish(board, &position),
        None => Ok(()),
    }
}

pub(crate) fn receiver_status(board: &Board<'_, '_>, server: &Server) -> Step<()> {
    if !board.ctx.params.check_wal_receiver {
        return Ok(());
    }
    let status = match (&server.state.receiver, server.state.in_recovery) {
        (_, false) => "normal (master)",
        (Some(_), true) => "normal",
        (None, true) => "ERROR",
    };
    board.set_own(TransientAttribute::ReceiverStatus, Some(status))
}

/// Tells the others what keeps this standby from replaying, or that nothing does.
pub(crate) fn obstacle(board: &Board<'_, '_>, held: Option<&Obstacle>) -> Step<()> {
    board.set_own(TransientAttribute::Replay, held.map(Obstacle::word))
}
