//! R9 for this node's own promotion: noted before its CIB is made to win a merge, and taken back when a majority has
//! the record with that weight. Decided in `decide::distrust`.

use crate::decide::distrust::{self, Around, Arrival, Attempt, Notes, Place, Ring};
use crate::log::say;
use crate::model::cluster_view::{ClusterView, NoQuorumPolicy, NodeKind};
use crate::model::sync_record::SyncRecord;
use crate::pacemaker::quorum::{self, Membership};
use crate::sys::boot_clock;
use crate::trial::is_out;

use super::context::Context;
use super::record::Board;
use super::state::State;
use super::{Step, failed, statement};

fn load(ctx: &Context<'_>) -> Step<State> {
    let boot = boot_clock().map_err(failed)?;
    State::load(ctx, boot.boot_id())
}

fn read_membership(ctx: &Context<'_>) -> Step<Membership> {
    quorum::read(ctx.deadline.min(ctx.params.crm_attr_timeout)).map_err(failed)
}

/// The ring, and whether it has more than half of all nodes. Votes that are no nodes, as a quorum device's, count
/// against that: two partitions may have had them one after the other.
fn ring<'a>(view: &ClusterView, membership: &'a Membership) -> Ring<'a> {
    let nodes = || view.nodes.values().filter(|n| n.kind == NodeKind::Member);
    let present = nodes().filter(|n| membership.has(&n.id) == Some(true));
    let all = nodes().count().max(membership.expected_votes);
    Ring {
        id: &membership.ring,
        is_majority: membership.quorate && membership.one_vote_each && present.count() * 2 > all,
    }
}

fn place(board: &Board<'_, '_>) -> Place {
    let view = &board.view;
    let nodes = view.nodes.values().filter(|n| n.kind == NodeKind::Member);
    Place {
        is_quorate: view.is_quorate(),
        quorum_decides: view.no_quorum_policy() != NoQuorumPolicy::Ignore,
        has_row: board.ctx.has_lock_row(),
        nodes: nodes.count(),
    }
}

/// Notes R9's distrust, or that it is over; the answer is whether this node's grant is to be believed.
pub(super) fn is_trusted(board: &Board<'_, '_>) -> Step<bool> {
    if is_out!(NoDistrust) {
        return Ok(true);
    }
    let owes = statement::notes(board)?.owes_arrival;
    look(board, distrust::is_inside(place(board)), owes)
}

/// R9 for a standby that was just started, or found by a Pacemaker that just began: until then nobody on this node looked.
pub(super) fn arrive(board: &Board<'_, '_>) -> Step<()> {
    if is_out!(NoDistrust) {
        return Ok(());
    }
    look(board, distrust::is_inside(place(board)), true).map(drop)
}

/// The same where the cluster or the server can't be asked now: before this node's grant is believed.
pub(super) fn owe_arrival(ctx: &Context<'_>) -> Step<()> {
    let old = load(ctx)?;
    let mut state = old.clone();
    state.owes_arrival = true;
    state.save(ctx, &old)
}

/// Where the membership can't be read, a revocation may have been missed.
fn may_have_missed(board: &Board<'_, '_>, record: Option<&SyncRecord>) -> bool {
    let Place {
        quorum_decides,
        has_row,
        ..
    } = place(board);
    if has_row || !quorum_decides {
        return false;
    }
    // A primary that is no node of the cluster any more is nowhere. Without a record nothing was granted.
    let is_here = |m: &Membership| {
        record.is_none_or(|record| {
            let node = board.view.node(&record.primary);
            node.is_some_and(|node| m.has(&node.id) == Some(true))
        })
    };
    read_membership(board.ctx).map_or(true, |m| {
        distrust::may_have_missed(Arrival {
            is_quorate: m.quorate,
            quorum_decides,
            has_row,
            outvotes: m.has_device || m.expected_votes >= 3,
            is_majority: ring(&board.view, &m).is_majority,
            primary_is_here: is_here(&m),
        })
    })
}

/// R9 for a node that found out by itself: what is recorded now is not to be believed.
pub(super) fn distrust(board: &Board<'_, '_>) -> Step<()> {
    look(board, false, false).map(drop)
}

/// `arrives`: nobody on this node looked before.
fn look(board: &Board<'_, '_>, is_inside: bool, arrives: bool) -> Step<bool> {
    let ctx = board.ctx;
    let old = statement::notes(board)?;
    let record = board.sync_record()?;
    let has_missed = arrives && is_inside && may_have_missed(board, record.as_ref());
    if has_missed {
        say!(
            WARN,
            "started beside nobody who would know whether this node's grant was revoked: it is not believed; bring the primary's node back, or, if \
             that can't be done, expgsql cluster reset-master"
        );
    }
    let is_inside = is_inside && !has_missed;
    let notes = Notes {
        distrust: old.distrust,
        attempt: old.attempt.clone(),
        outside: old.outside.clone(),
    };
    let asks = notes.ask_for_ring(is_inside);
    let membership = asks.then(|| read_membership(ctx)).and_then(Result::ok);
    let primary = record.as_ref().and_then(|r| board.view.node(&r.primary));
    let is_here = |m: &Membership| primary.is_none_or(|node| m.has(&node.id) != Some(false));
    let now = Around {
        is_inside,
        ring: membership.as_ref().map(|m| ring(&board.view, m)),
        weight: board.view.version.admin_epoch,
        primary_is_here: membership.as_ref().is_none_or(is_here),
    };
    let (notes, is_trusted) = distrust::look(notes, now, record.as_ref());
    let mut state = old.clone();
    state.distrust = notes.distrust;
    state.attempt = notes.attempt;
    state.outside = notes.outside;
    state.owes_arrival &= !arrives;
    state.save(ctx, &old)?;
    Ok(is_trusted)
}

/// The ring in which a promotion is decided upon, to be read before that. `None`: it does not matter, since this
/// node's CIB is not one that wins a merge although it should not.
pub(super) fn decided_in(ctx: &Context<'_>) -> Step<Option<String>> {
    let state = load(ctx)?;
    if state.attempt.is_none() && state.distrust.is_none() && state.lost.is_none() {
        return Ok(None);
    }
    read_membership(ctx).map(|m| Some(m.ring))
}

/// Notes that this node is about to make its CIB win a merge. `decided_in`: see the function of that name.
///
/// # Errors
/// The membership has changed since, and what was decided may be wrong by now: nothing was noted.
pub(super) fn begin(
    board: &Board<'_, '_>,
    decided_in: Option<&str>,
    now: &Membership,
) -> Step<Attempt> {
    let old = statement::notes(board)?;
    let by = board.sync_record()?.map(|sync| sync.version());
    let attempt = Attempt {
        by: by.unwrap_or_default(),
        ring: decided_in.unwrap_or(&now.ring).to_owned(),
    };
    let Some(attempt) = attempt.outlasts(ring(&board.view, now)) else {
        return Err(failed(
            "not promoted: the membership has changed since it was decided upon",
        ));
    };
    note(board.ctx, &old, &attempt)?;
    Ok(attempt)
}

fn note(ctx: &Context<'_>, old: &State, attempt: &Attempt) -> Step<()> {
    let mut state = old.clone();
    state.attempt = Some(attempt.clone());
    state.save(ctx, old)
}

/// Follows an attempt into the next ring, where nobody can have gone on without this node; false: somebody may have.
pub(super) fn goes_on(board: &Board<'_, '_>, attempt: &mut Attempt, now: &Membership) -> bool {
    let Some(then) = attempt.outlasts(ring(&board.view, now)) else {
        return false;
    };
    if then != *attempt {
        // Not noted, it is distrusted sooner than it need be.
        let _ = statement::notes(board).and_then(|old| note(board.ctx, &old, &then));
        *attempt = then;
    }
    true
}
