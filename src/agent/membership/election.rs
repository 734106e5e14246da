//! Reporting positions and holding the election. Decided in `decide::election`.

use std::collections::BTreeMap;

use crate::decide::election::{Outcome, Patience, Report, Tie, elect, last_primary, weighs};
use crate::decide::eligibility::{Promise, Standing, ground};
use crate::model::cluster_view::TransientAttribute;
use crate::model::node_name::NodeName;
use crate::model::status::NodeStatus;
use crate::model::timeline::WalPosition;
use crate::sys::boot_clock;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::server::answering::Server;
use crate::agent::server::reach;
use crate::agent::state::{Rounds, State};
use crate::agent::step::{Step, failed};

/// This standby's position; `None` while more may come, or where it can't be told yet.
pub(crate) fn own_position(ctx: &Context<'_>, server: &Server) -> Step<Option<WalPosition>> {
    if server.state.receiver.is_some() && !server.state.has_replayed_all {
        return Ok(None);
    }
    reach::end(ctx, server)
}

/// Tells the others how far this standby's WAL reaches.
pub(crate) fn publish(board: &Board<'_, '_>, position: &WalPosition) -> Step<()> {
    // The history first: a position alone would be compared on the wrong timeline.
    board.set_own(
        TransientAttribute::Timeline,
        Some(&position.lineage.to_string()),
    )?;
    point!(ElectionTimeline);
    board.set_own(
        TransientAttribute::XlogLoc,
        Some(&position.end.to_attribute()),
    )
}

/// Takes the report back: it is of an election that is over.
pub(crate) fn withdraw(board: &Board<'_, '_>) -> Step<()> {
    board.set_own(TransientAttribute::XlogLoc, None)?;
    board.set_own(TransientAttribute::Timeline, None)
}

/// What every node that may be promoted has reported. `mine`: what this node knows of itself,
/// which the CIB may not have yet.
pub(crate) fn reports(
    board: &Board<'_, '_>,
    mine: Option<&WalPosition>,
) -> Step<BTreeMap<NodeName, Report>> {
    let ctx = board.ctx;
    let record = ctx.record(&board.view)?;
    let claim = board.claim()?;
    let bars = board.bars();
    let mut reports = BTreeMap::new();
    for node in ctx.replicas(&board.view) {
        let standing = Standing {
            promise: ctx.promise(),
            node: &node,
            record: record.as_ref(),
            recorded: ctx.data_status(&board.view, &node)?,
            claim: &claim,
            is_distrusted: false,
            has_missed: false,
            is_complete: true,
        };
        let is_barred = node != ctx.me && bars.contains_key(node.lower());
        if !ground(&standing).is_ok_and(|ground| weighs(ground, is_barred)) {
            continue;
        }
        let report = if node == ctx.me {
            mine.cloned().map_or(Report::Silent, Report::At)
        } else if !may_report(board, &node) {
            Report::Absent
        } else {
            reported(board, &node)?.map_or(Report::Silent, Report::At)
        };
        reports.insert(node, report);
    }
    Ok(reports)
}

/// A member whose server was stopped says nothing, and a promotion need not wait for it: it has
/// failed too often to be started, say, and is the reason for the promotion.
pub(crate) fn may_report(board: &Board<'_, '_>, node: &NodeName) -> bool {
    let is_member = board.view.node(node).is_some_and(|n| n.in_membership);
    is_member && board.status(node) != Some(NodeStatus::Stopped)
}

fn reported(board: &Board<'_, '_>, node: &NodeName) -> Step<Option<WalPosition>> {
    let view = board.view.node(node);
    view.map_or(Ok(None), |view| {
        view.reported_position(&board.ctx.resource).map_err(failed)
    })
}

/// Reports for the log: `node1=2@0/5000060 node2=silent`.
pub(crate) fn shown(reports: &BTreeMap<NodeName, Report>) -> String {
    let one = |(node, report): (&NodeName, &Report)| match report {
        Report::At(position) => format!("{node}={position}"),
        Report::Silent => format!("{node}=silent"),
        Report::Absent => format!("{node}=absent"),
    };
    reports.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Holds the election among `reports`, with the patience that earlier calls have used up.
pub(crate) fn hold(
    board: &Board<'_, '_>,
    reports: &BTreeMap<NodeName, Report>,
    counting: Counting,
) -> Step<Outcome> {
    let ctx = board.ctx;
    if is_out!(AsyncElectsAnybody) && ctx.promise() == Promise::Async {
        return Ok(Outcome::Won);
    }
    let record = ctx.record(&board.view)?;
    let nodes = ctx.replicas(&board.view);
    let status = |node| Ok((node, ctx.data_status(&board.view, node)?));
    let statuses = nodes.iter().map(status).collect::<Step<Vec<_>>>()?;
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let mut state = old.clone();
    let fingerprint = shown(reports);
    let seen = match &state.election {
        Some(rounds) if rounds.reports == fingerprint => rounds.seen,
        _ => 0,
    };
    let seen = seen + u32::from(counting == Counting::NewRound);
    state.election = Some(Rounds {
        reports: fingerprint,
        seen,
    });
    state.save(ctx, &old)?;
    let patience = if seen > ctx.params.xlog_check_count {
        Patience::Exhausted
    } else {
        Patience::WaitForAll
    };
    let tie = Tie::Ranked {
        last_primary: last_primary(record.as_ref(), statuses),
        barred: &board.barred(),
    };
    Ok(elect(&ctx.me, reports, tie, patience))
}

/// Whether this call is a further round of waiting. Only recurring monitors are: notifications
/// come in bursts, and would use up the patience in no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    NewRound,
    SameRound,
}
