//! The record of the last promotion: written before it, confirmed by a majority, corrected after a merge.

use crate::decide::contract::{Revocation, kept_at_promotion};
use crate::decide::eligibility::Promise;
use crate::decide::promote::{Method, Spread, is_spread};
use crate::log::say;
use crate::model::cluster_view::{
    ClusterProperty, ClusterView, NoQuorumPolicy, NodeKind, NodeView, PermanentAttribute,
};
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::status::{DataStatus, Score};
use crate::model::sync_record::SyncRecord;
use crate::model::timeline::Lineage;
use crate::pacemaker::change_set::{ChangeSet, Weight};
use crate::pacemaker::cib::Cib;
use crate::pacemaker::quorum;
use crate::sys::{boot_clock, poll_until};
use crate::timing;

use super::context::Context;
use super::ready::Server;
use super::record::Board;
use super::state::State;
use super::{Step, failed, statement};

/// The epoch this node was last promoted with, where it knows.
pub(super) fn own_epoch(ctx: &Context<'_>) -> Step<Option<u64>> {
    let boot = boot_clock().map_err(failed)?;
    Ok(State::load(ctx, boot.boot_id()).epoch)
}

/// The record of a promotion that takes place now. The exact end of the old timeline is known only
/// afterwards; then it is corrected.
pub(super) fn next_record(
    ctx: &Context<'_>,
    old: Option<&ReplInfo>,
    origin: Option<Origin>,
) -> Step<ReplInfo> {
    let own = own_epoch(ctx)?;
    let epoch = old.and_then(|r| r.epoch).max(own).unwrap_or(0) + 1;
    Ok(ReplInfo {
        node: ctx.me.clone(),
        origin: origin.unwrap_or(Origin::NoHistory),
        epoch: Some(epoch),
    })
}

/// Writes down that this node is the primary and that no other may be promoted, in one change,
/// before the server is promoted: were it the other way round, an agent that dies in between
/// would leave the old primary with the right to come back.
pub(super) fn take_over(
    board: &mut Board<'_, '_>,
    method: Method,
    server: &Server,
    record: &ReplInfo,
) -> Step<()> {
    let ctx = board.ctx;
    let in_force = &server.state.sync_names;
    let kept = kept_at_promotion(method, in_force, &board.claim()?);
    let peers = ctx.peers(&board.view);
    let is_kept = |n: &&NodeName| kept.members.contains(n.lower());
    let revoked: Vec<_> = peers.iter().filter(|n| !is_kept(n)).collect();
    let property = ClusterProperty::ReplInfo.name(&ctx.resource);
    let mut change = ChangeSet::default().property(&property, Some(&record.to_string()));
    change = board.data_status(change, &ctx.me, DataStatus::Latest);
    for peer in &revoked {
        change = board.data_status(change, peer, DataStatus::Disconnected);
    }
    // A restart takes its standbys along. At a promotion the contract of the primary before stays where
    // it is, and says nothing under the new record; only where the promotion does not take place, it says by
    // what right it was begun.
    if ctx.promise() == Promise::Sync && method == Method::SameTimeline {
        let version = (record.epoch.unwrap_or_default(), 1);
        let contract = SyncRecord::new(version, &ctx.me, in_force, kept.members.clone());
        change = board.record_contract(change, &contract);
    }
    // Nobody else was promoted since the record was read, and no grant was revoked.
    change = board.as_it_was_read(change);
    let read_quorum = || quorum::read(ctx.deadline.min(ctx.params.crm_attr_timeout));
    let membership = read_quorum().map_err(failed)?;
    let raise = ChangeSet::default().raise_admin_epoch(Weight::Promotion);
    if method == Method::SameTimeline && membership.quorate {
        change = change.raise_admin_epoch(Weight::Promotion);
    }
    board.change(&change)?;
    if method == Method::NewTimeline {
        confirm_spread(board, record)?;
        // R5, and only now: a record that nobody else has must not win a merge. Only if it is still there: a merge may
        // have taken it away, and the CIB of the primary before must not be the one that is raised. And a
        // majority must have that, too.
        if membership.quorate {
            board.change(&board.as_it_was_read(raise))?;
            confirm_spread(board, record)?;
        }
    }

    let now = boot_clock().map_err(failed)?;
    let old = State::load(ctx, now.boot_id());
    let mut state = old.clone();
    state.epoch = record.epoch;
    state.seq = state.seq.max(1);
    state.barrier = None;
    state.election = None;
    // R1: a promotion revokes the others; from here the settle time runs.
    let note = Revocation {
        at: now.since_boot(),
        ring: membership.ring,
    };
    let name = |peer: &&NodeName| peer.lower().to_owned();
    state.revoked = revoked
        .iter()
        .map(|peer| (name(peer), note.clone()))
        .collect();
    state.save(ctx, &old)
}

/// A majority must know of the promotion before it takes place: have the record, and the CIB's weight as it is here.
fn confirm_spread(board: &Board<'_, '_>, record: &ReplInfo) -> Step<()> {
    let ctx = board.ctx;
    let weight = board.view.version.admin_epoch;
    let is_there = |view: ClusterView| {
        let theirs = ctx.record(&view);
        let is_same = |r: &ReplInfo| r.epoch == record.epoch && r.node == record.node;
        view.version.admin_epoch >= weight && matches!(theirs, Ok(Some(r)) if is_same(&r))
    };
    let look = || -> Step<Spread> {
        let others = board.view.members().filter(|n| n.name != ctx.me);
        let mut have = 1;
        for node in others {
            let deadline = ctx.deadline.min(timing::CIB_COPY);
            let copy = Cib::live().read_at(&node.name, deadline);
            have += usize::from(copy.is_ok_and(is_there));
        }
        let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
        let membership = quorum::read(deadline).map_err(failed)?;
        let is_node = |n: &&NodeView| n.kind == NodeKind::Member;
        Ok(Spread {
            have,
            members: board.view.members().count(),
            nodes: board.view.nodes.values().filter(is_node).count(),
            voters: membership.expected_votes,
            one_vote_each: membership.one_vote_each,
            quorate: membership.quorate,
            others_stop_without_quorum: board.view.no_quorum_policy() != NoQuorumPolicy::Ignore,
        })
    };
    let mut last = look()?;
    let deadline = ctx.deadline.min(timing::ELECTION_WAIT);
    poll_until(deadline, timing::READY_POLL, || {
        if !is_spread(&last) {
            last = look().ok()?;
        }
        is_spread(&last).then_some(())
    });
    if is_spread(&last) {
        return Ok(());
    }
    statement::distrust(board)?;
    board.set_score(&ctx.me, Score::Never)?;
    Err(failed(format!(
        "not promoted: {} of {} nodes have the record of it, which is no majority; another partition may go on without this node",
        last.have, last.nodes
    )))
}

/// A new epoch of the same primary: the record, and the contract with it, under the next number.
pub(super) fn begin_epoch(board: &mut Board<'_, '_>) -> Step<u64> {
    let ctx = board.ctx;
    let Some(mut record) = ctx.record(&board.view)?.filter(|r| r.node == ctx.me) else {
        return Err(failed("another node is the recorded primary"));
    };
    let epoch = record.epoch.max(own_epoch(ctx)?).unwrap_or(0) + 1;
    say!(
        WARN,
        "a promotion was prepared and did not come about: beginning a new epoch, which its standbys follow",
        epoch = epoch
    );
    record.epoch = Some(epoch);
    let property = ClusterProperty::ReplInfo.name(&ctx.resource);
    let mut change = ChangeSet::default().property(property, Some(&record.to_string()));
    if let Some(mut contract) = board.sync_record()?.filter(|c| c.primary == ctx.me) {
        contract.epoch = epoch;
        change = board.record_contract(change, &contract);
    }
    change = board.as_it_was_read(change);
    if board.view.is_quorate() {
        change = change.raise_admin_epoch(Weight::Revocation);
    }
    board.change(&change)?;
    Ok(epoch)
}

/// Makes the record say that this node is the primary, and where its timeline began.
pub(super) fn correct_record(board: &mut Board<'_, '_>, lineage: &Lineage) -> Step<()> {
    let ctx = board.ctx;
    let origin = lineage
        .last_switch()
        .map_or(Origin::NoHistory, Origin::Forked);
    let record = ctx.record(&board.view)?;
    let own = own_epoch(ctx)?;
    let epoch = match &record {
        Some(record) if record.node == ctx.me => record.epoch.max(own),
        Some(record) => record.epoch.max(own).map(|e| e.max(1)),
        None => own,
    };
    let corrected = ReplInfo {
        node: ctx.me.clone(),
        origin,
        epoch: Some(epoch.unwrap_or(1)),
    };
    let property = ClusterProperty::ReplInfo.name(&ctx.resource);
    let mut change = ChangeSet::default().property(&property, Some(&corrected.to_string()));
    change = change.permanent(
        &ctx.me,
        PermanentAttribute::DataStatus.name(&ctx.resource),
        Some(&DataStatus::Latest.to_string()),
    );
    // Not over a promotion that came in between.
    board.change(&board.as_it_was_read(change))
}
