//! R9 for this node's own promotion: noted before its CIB is made to win a merge, and taken back when a majority has
//! the record with that weight. Decided in `decide::distrust`.

use crate::decide::distrust::{self, Around, Arrival, Attempt, Notes, Place, Ring};
use crate::decide::eligibility::{Ineligible, Promise};
use crate::log::say;
use crate::model::cluster_view::{ClusterView, NoQuorumPolicy, NodeView, TransientAttribute};
use crate::model::sync_record::SyncRecord;
use crate::pacemaker::quorum::{self, Membership};
use crate::sys::boot_clock;
use crate::trial::is_out;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::notes;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

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
    let present = view
        .full_nodes()
        .filter(|n| membership.has(&n.id) == Some(true));
    let all = view.full_nodes().count().max(membership.expected_votes);
    Ring {
        id: &membership.ring,
        is_majority: membership.quorate && membership.one_vote_each && present.count() * 2 > all,
    }
}

fn place(board: &Board<'_, '_>) -> Place {
    let view = &board.view;
    Place {
        is_quorate: view.is_quorate(),
        quorum_decides: view.no_quorum_policy() != NoQuorumPolicy::Ignore,
        has_row: board.ctx.has_lock_row(),
        nodes: view.full_nodes().count(),
    }
}

/// What this node makes of its own copy of the CIB, after a look around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belief {
    /// Its grant is to be believed.
    pub(crate) is_trusted: bool,
    /// Others may have gone on without it: neither its grant nor that it is the recorded primary is to be believed.
    pub(crate) has_missed: bool,
}

/// Notes R9's distrust, or that it is over.
pub(crate) fn belief(board: &Board<'_, '_>) -> Step<Belief> {
    if is_out!(NoDistrust) {
        return Ok(Belief {
            is_trusted: true,
            has_missed: false,
        });
    }
    look(board, distrust::is_inside(place(board)), Looks::Again)
}

/// R9 for a node whose server is started, or found by a probe: where Pacemaker has just begun, nobody on it looked until then.
pub(crate) fn arrive(board: &Board<'_, '_>) -> Step<()> {
    if is_out!(NoDistrust) {
        return Ok(());
    }
    let looks = if has_just_begun(board) {
        Looks::First
    } else {
        Looks::Again
    };
    look(board, distrust::is_inside(place(board)), looks).map(drop)
}

/// The same before this node tells its first word in whatever way: after it nobody looks for what was missed before it. Where the look can't be
/// made, or not be noted, the word is not to be told.
pub(crate) fn before_a_word(board: &Board<'_, '_>) -> Step<()> {
    match board.ctx.promise() {
        Promise::Sync => arrive(board).or_else(|_| arrive_unseen(board.ctx)),
        Promise::Async => Ok(()),
    }
}

/// Whether this node's Pacemaker has just begun: what it has told of itself is gone with the membership that it was told in. A
/// server that is started anew in the same one, or looked for once more (a cleanup), has missed nothing that its monitors did not see.
fn has_just_begun(board: &Board<'_, '_>) -> bool {
    board.status(&board.ctx.me).is_none()
}

/// The same where the server can't be asked now: judged before anything is believed. Nor need the cluster be.
pub(crate) fn arrive_unseen(ctx: &Context<'_>) -> Step<()> {
    if Board::read(ctx).is_ok_and(|board| !has_just_begun(&board)) {
        return Ok(());
    }
    let old = load(ctx)?;
    let mut state = old.clone();
    state.has_missed = true;
    state.save(ctx, &old)
}

/// Whether others may have gone on without this node, by the last look.
pub(crate) fn has_missed(ctx: &Context<'_>) -> Step<bool> {
    Ok(ctx.promise() == Promise::Sync && load(ctx)?.has_missed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    First,
    Again,
}

/// Whether what was missed, if anything, is still unknown here.
pub(crate) fn still_missed(board: &Board<'_, '_>) -> Step<bool> {
    may_have_missed(board, board.sync_record()?.as_ref())
}

/// Where the membership can't be read, something may have been missed.
fn may_have_missed(board: &Board<'_, '_>, record: Option<&SyncRecord>) -> Step<bool> {
    let Place {
        quorum_decides,
        has_row,
        ..
    } = place(board);
    // Without a record nothing was granted.
    let Some(record) = record.filter(|_| quorum_decides && !has_row) else {
        return Ok(false);
    };
    let Ok(membership) = read_membership(board.ctx) else {
        return Ok(true);
    };
    let nodes = || board.view.full_nodes();
    let is_here = |node: &NodeView| node.is_online && membership.has(&node.id) == Some(true);
    let promotion = board.ctx.record(&board.view)?;
    let me = &board.ctx.me;
    let heard = board.transient(me, TransientAttribute::Named);
    let is_named = promotion.as_ref().is_some_and(|promotion| {
        let epoch = promotion.epoch.map(|epoch| epoch.to_string());
        promotion.names(me, record.version().0) && heard.is_some() && heard == epoch.as_deref()
    });
    let promoted = promotion.map(|promotion| promotion.node);
    let mut concerned = record.eligible.clone();
    concerned.extend(
        [&Some(record.primary.clone()), &promoted]
            .into_iter()
            .flatten()
            .map(|node| node.lower().to_owned()),
    );
    concerned.remove(board.ctx.me.lower());
    let joined = nodes().filter(|n| is_here(n) || n.name == board.ctx.me);
    let all = nodes().count().max(membership.expected_votes);
    let votes_are_copies = membership.one_vote_each && !membership.has_device;
    Ok(distrust::may_have_missed(Arrival {
        is_quorate: membership.quorate,
        quorum_decides,
        has_row,
        outvotes: membership.has_device || membership.expected_votes >= 3,
        is_majority: if votes_are_copies {
            ring(&board.view, &membership).is_majority
        } else {
            joined.count() * 2 > all
        },
        // One that is no node of the cluster any more is nowhere.
        all_concerned_are_here: concerned
            .iter()
            .all(|name| nodes().any(|n| n.name.lower() == name && is_here(n))),
        is_named,
    }))
}

/// R9 for a node that found out by itself: what is recorded now is not to be believed.
pub(crate) fn distrust(board: &Board<'_, '_>) -> Step<()> {
    look(board, false, Looks::Again).map(drop)
}

fn look(board: &Board<'_, '_>, is_inside: bool, looks: Looks) -> Step<Belief> {
    let ctx = board.ctx;
    // With the notes went the one that something was missed.
    let was_lost = load(ctx)?.lost.is_some();
    let old = notes::notes(board)?;
    let record = board.sync_record()?;
    let asks = looks == Looks::First || old.has_missed || was_lost;
    let has_missed = asks && may_have_missed(board, record.as_ref())?;
    if has_missed {
        say!(WARN, "not to be promoted", reason = Ineligible::Missed);
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
    state.has_missed = has_missed;
    state.save(ctx, &old)?;
    Ok(Belief {
        is_trusted,
        has_missed,
    })
}

/// The ring in which a promotion is decided upon, to be read before that. `None`: it does not matter, since this
/// node's CIB is not one that wins a merge although it should not.
pub(crate) fn decided_in(ctx: &Context<'_>) -> Step<Option<String>> {
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
pub(crate) fn begin(
    board: &Board<'_, '_>,
    decided_in: Option<&str>,
    now: &Membership,
) -> Step<Attempt> {
    let old = notes::notes(board)?;
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
pub(crate) fn goes_on(board: &Board<'_, '_>, attempt: &mut Attempt, now: &Membership) -> bool {
    let Some(then) = attempt.outlasts(ring(&board.view, now)) else {
        return false;
    };
    if then != *attempt {
        // Not noted, it is distrusted sooner than it need be.
        let _ = notes::notes(board).and_then(|old| note(board.ctx, &old, &then));
        *attempt = then;
    }
    true
}
