//! A promotion follows its record only when a majority has that. Decided in `decide::promote`.

use crate::decide::promote::{Spread, is_spread};
use crate::log::say;
use crate::model::cluster_view::{ClusterView, NoQuorumPolicy, NodeKind, NodeView};
use crate::model::repl_info::ReplInfo;
use crate::pacemaker::cib::Cib;
use crate::pacemaker::quorum::{self, Membership};
use crate::sys::{Deadline, poll_until};
use crate::timing;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::step::{Step, failed};

/// What the others' copies of the CIB must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) record: &'a ReplInfo,
    /// No copy that is lighter counts: it would lose a merge.
    pub(crate) admin_epoch: u64,
}

impl Wanted<'_> {
    fn is_in(&self, ctx: &Context<'_>, view: &ClusterView) -> bool {
        self.is_recorded(ctx, view) && view.version.admin_epoch >= self.admin_epoch
    }

    fn is_recorded(&self, ctx: &Context<'_>, view: &ClusterView) -> bool {
        let is_same = |r: &ReplInfo| r.epoch == self.record.epoch && r.node == self.record.node;
        matches!(ctx.record(view), Ok(Some(r)) if is_same(&r))
    }

    /// A heavier copy without the record wins: the record is lost, or about to be.
    fn is_lost_to(&self, ctx: &Context<'_>, view: &ClusterView) -> bool {
        !self.is_recorded(ctx, view) && view.version.admin_epoch > self.admin_epoch
    }
}

/// What was seen of the record.
struct Seen {
    spread: Spread,
    /// After the copies were read.
    membership: Membership,
    is_lost: bool,
}

/// One look at every copy, and at the membership after that.
fn look(board: &mut Board<'_, '_>, wanted: Wanted<'_>) -> Step<Seen> {
    let ctx = board.ctx;
    // A write that was not confirmed may have been made since.
    if !wanted.is_in(ctx, &board.view) {
        board.view = ctx.cluster()?;
    }
    let mut have = usize::from(wanted.is_in(ctx, &board.view));
    let mut is_lost = wanted.is_lost_to(ctx, &board.view);
    for node in board.view.members().filter(|n| n.name != ctx.me) {
        let deadline = ctx.deadline.min(timing::CIB_COPY);
        if let Ok(copy) = Cib::live().read_at(&node.name, deadline) {
            have += usize::from(wanted.is_in(ctx, &copy));
            is_lost |= wanted.is_lost_to(ctx, &copy);
        }
    }
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    let membership = quorum::read(deadline).map_err(failed)?;
    let is_node = |n: &&NodeView| n.kind == NodeKind::Member;
    let spread = Spread {
        have,
        // The CIB learns of a new member some time after corosync.
        members: board
            .view
            .members()
            .count()
            .max(membership.count().unwrap_or_default()),
        nodes: board.view.nodes.values().filter(is_node).count(),
        voters: membership.expected_votes,
        one_vote_each: membership.one_vote_each,
        quorate: membership.quorate,
        others_stop_without_quorum: board.view.no_quorum_policy() != NoQuorumPolicy::Ignore,
    };
    Ok(Seen {
        spread,
        membership,
        is_lost,
    })
}

/// Whether a majority has it now. Asks nobody twice.
pub(crate) fn is_known(board: &mut Board<'_, '_>, wanted: Wanted<'_>) -> Step<bool> {
    look(board, wanted).map(|seen| is_spread(&seen.spread))
}

/// Why a record was not confirmed.
#[derive(Debug)]
pub(crate) enum Unconfirmed {
    /// This node was left without quorum: another partition may go on.
    Alone(String),
    /// Nothing says that; the others, or this node, are slow.
    Silent(String),
}

impl Unconfirmed {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Alone(text) => {
                format!("{text}; another partition may go on without this node")
            }
            Self::Silent(text) => text.clone(),
        }
    }
}

/// Waits until a majority has the record, and gives the membership as it was right after that.
///
/// Nobody else is promoted meanwhile, and another try would not be quicker than a further look. A copy that is slow to
/// answer is right after a node's death, when each daemon has most to do, no reason to fail: so there is patience as long as there is
/// quorum, but for the time that the promotion itself takes.
pub(crate) fn confirm(
    board: &mut Board<'_, '_>,
    wanted: Wanted<'_>,
    mut goes_on: impl FnMut(&Board<'_, '_>, &Membership) -> bool,
) -> Result<Membership, Unconfirmed> {
    let patience = board.ctx.deadline;
    let patience = patience.min(patience.remaining() / 2);
    let mut last = "nobody was asked".to_owned();
    let mut alone: Option<Deadline> = None;
    let over = poll_until(patience, timing::READY_POLL, || {
        let seen = match look(board, wanted) {
            Ok(seen) => seen,
            Err(failure) => {
                last = failure.text().to_owned();
                return None;
            }
        };
        let spread = &seen.spread;
        let is_first = last.starts_with("nobody");
        last = format!(
            "{} of {} nodes have the record of it, which is no majority",
            spread.have, spread.nodes
        );
        if seen.is_lost || !goes_on(board, &seen.membership) {
            return Some(Err(Unconfirmed::Silent(
                "the membership has changed meanwhile, and another partition may have gone on"
                    .to_owned(),
            )));
        }
        if is_spread(spread) {
            return Some(Ok(seen.membership));
        }
        if spread.quorate {
            alone = None;
        } else if alone
            .get_or_insert_with(|| Deadline::after(timing::ELECTION_WAIT))
            .is_past()
        {
            return Some(Err(Unconfirmed::Alone(last.clone())));
        }
        if is_first {
            say!(INFO, "promote: waiting for the others' CIB", seen = last);
        }
        None
    });
    over.unwrap_or(Err(if alone.is_some() {
        Unconfirmed::Alone(last)
    } else {
        Unconfirmed::Silent(last)
    }))
}
