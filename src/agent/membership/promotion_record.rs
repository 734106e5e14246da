//! The record of the last promotion: written before it, confirmed by a majority, corrected after a merge.

use crate::decide::contract::{Revocation, kept_at_promotion};
use crate::decide::election::last_primary;
use crate::decide::eligibility::{Promise, left_at_promotion};
use crate::decide::promote::{Method, next_epoch};
use crate::decide::right::{Right, Seat, right, right_in};
use crate::log::say;
use crate::model::cluster_view::ClusterProperty;
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::status::{DataStatus, Score};
use crate::model::sync_record::SyncRecord;
use crate::model::timeline::Lineage;
use crate::ocf::Outcome;
use crate::ocf::action::Role;
use crate::pacemaker::change_set::{ChangeSet, Condition, Weight};
use crate::pacemaker::quorum;
use crate::sys::boot_clock;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::spread::{self, Unconfirmed, Wanted};
use crate::agent::membership::{attempt, notes};
use crate::agent::server::answering::Server;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// The epoch this node was last promoted with, where it knows.
pub(crate) fn own_epoch(ctx: &Context<'_>) -> Step<Option<u64>> {
    let boot = boot_clock().map_err(failed)?;
    Ok(State::load(ctx, boot.boot_id())?.epoch)
}

/// Whether Pacemaker has promoted this node, as far as this call tells.
pub(crate) fn seat(ctx: &Context<'_>) -> Seat {
    match ctx.env.role {
        Some(Role::Promoted) if !ctx.env.is_probe() => Seat::Promoted,
        Some(_) | None => Seat::Other,
    }
}

/// R4, R5: what right a server that runs as a primary, with this history, has to be one.
pub(crate) fn judge(board: &Board<'_, '_>, lineage: &Lineage) -> Step<Right> {
    let ctx = board.ctx;
    if is_out!(RightUnchecked) {
        return Ok(Right::Keep);
    }
    let record = ctx.record(&board.view)?;
    let replicas = ctx.replicas(&board.view);
    let marks = replicas
        .iter()
        .map(|node| Ok((node, ctx.data_status(&board.view, node)?)));
    let marks = marks.collect::<Step<Vec<_>>>()?;
    let recorded = last_primary(record.as_ref(), marks);
    let by_epoch = |own| {
        let right = right(&ctx.me, record.as_ref(), lineage, own);
        right_in(seat(ctx), &ctx.me, recorded, right)
    };
    match (notes::notes(board), by_epoch(None)) {
        (Ok(notes), _) => Ok(by_epoch(notes.epoch)),
        // It loses no right for the lack of a note.
        (Err(failure), Right::Keep) => {
            say!(
                WARN,
                "the right is judged without this node's notes",
                reason = failure.text()
            );
            Ok(Right::Keep)
        }
        (Err(failure), Right::Correct(_) | Right::Lost { .. }) => Err(failure),
    }
}

/// The record of a promotion that takes place now. The exact end of the old timeline is known only
/// afterwards; then it is corrected.
pub(crate) fn next_record(
    ctx: &Context<'_>,
    old: Option<&ReplInfo>,
    origin: Option<Origin>,
) -> Step<ReplInfo> {
    let boot = boot_clock().map_err(failed)?;
    let notes = State::load(ctx, boot.boot_id())?;
    let epoch = next_epoch(old.and_then(|r| r.epoch), notes.epoch, notes.detached);
    Ok(ReplInfo {
        node: ctx.me.clone(),
        origin: origin.unwrap_or(Origin::NoHistory),
        epoch: Some(epoch),
    })
}

/// Writes down that this node is the primary and that no other may be promoted, in one change,
/// before the server is promoted: were it the other way round, an agent that dies in between
/// would leave the old primary with the right to come back.
pub(crate) fn take_over(
    board: &mut Board<'_, '_>,
    method: Method,
    server: &Server,
    record: &ReplInfo,
    lineage: &Lineage,
    decided_in: Option<&str>,
) -> Step<()> {
    let ctx = board.ctx;
    let in_force = &server.state.sync_names;
    let kept = kept_at_promotion(method, in_force, &board.claim()?);
    let peers = ctx.peers(&board.view);
    let is_kept = |n: &&NodeName| kept.members.contains(n.lower());
    let revoked: Vec<_> = peers.iter().filter(|n| !is_kept(n)).collect();
    let property = ClusterProperty::ReplInfo.name(&ctx.resource);
    let mut change = ChangeSet::default().property(&property, Some(&record.to_string()));
    if !leaves_statuses(board, method)? {
        change = board.data_status(change, &ctx.me, DataStatus::Latest);
        for peer in &revoked {
            change = board.data_status(change, peer, DataStatus::Disconnected);
        }
    }
    // A restart takes its standbys along. At a promotion the contract of the primary before stays where
    // it is, and says nothing under the new record; only where the promotion does not take place, it says by
    // what right it was begun.
    let contract = match (ctx.promise(), method) {
        (Promise::Async, _) => None,
        (Promise::Sync, Method::SameTimeline) => {
            let version = (record.epoch.unwrap_or_default(), 1);
            let eligible = kept.members.clone();
            Some(SyncRecord::new(version, &ctx.me, in_force, eligible))
        }
        (Promise::Sync, Method::NewTimeline) => left_at_promotion(
            ctx.record(&board.view)?.as_ref(),
            board.sync_record()?.as_ref(),
            &board.claim_for(lineage)?,
            board.is_unfinished(lineage)?,
        ),
    };
    if let Some(contract) = &contract {
        change = board.record_contract(change, contract);
    }
    // Nobody else was promoted since the record was read, and no grant was revoked.
    change = board.as_it_was_read(change);
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    let membership = quorum::read(deadline).map_err(failed)?;
    match method {
        // A primary that is cut off at this moment writes this alone, and nobody confirms it: it must not weigh as much as
        // the promotion of another.
        Method::SameTimeline if membership.quorate => {
            board.change(&change.raise_admin_epoch(Weight::Revocation))?;
            point!(RestartRecorded);
        }
        Method::SameTimeline => board.change(&change)?,
        Method::NewTimeline => {
            let heavy = (membership.quorate).then_some(decided_in);
            announce(board, &change, record, contract.as_ref(), heavy)?;
        }
    }
    remember(ctx, record, &revoked, &membership.ring)
}

/// Whether a promotion leaves the data statuses to the monitors that follow. They only narrow what the contract says that is
/// recorded (`decide::eligibility::claim`), and under the new record that says nothing until the next one is written, with the
/// statuses it goes by in the same change. Without a contract they are all that is known, and go with the record.
///
/// From Pacemaker 2.1.7 on each change that cibadmin makes to a node has the controllers elect their coordinator anew, and what
/// was to follow the promotion, the address first, waits for seconds (source: `daemons/controld/controld_cib.c`,
/// `do_cib_updated`; `cib__client_triggers_refresh`).
fn leaves_statuses(board: &Board<'_, '_>, method: Method) -> Step<bool> {
    let has_contract = board.sync_record()?.is_some();
    let is_sync = board.ctx.promise() == Promise::Sync;
    Ok(is_sync && method == Method::NewTimeline && has_contract)
}

/// The record in the copies of a majority, and, with quorum, in a CIB that wins a merge (`heavy`; in it, the ring in which
/// the promotion was decided upon, where that matters).
///
/// The weight comes only now: a record that nobody else has must not win. And only if the record is still
/// there: a merge may have taken it away, and the CIB of the primary before must not be the one that is raised. A majority
/// must have the weight as well.
fn announce(
    board: &mut Board<'_, '_>,
    change: &ChangeSet,
    record: &ReplInfo,
    contract: Option<&SyncRecord>,
    heavy: Option<Option<&str>>,
) -> Step<()> {
    let resource = &board.ctx.resource;
    let [name, sync] = [ClusterProperty::ReplInfo, ClusterProperty::Sync].map(|p| p.name(resource));
    let sync_is = match contract {
        Some(changed) => Some(changed.to_string()),
        None => board.view.property(&sync).map(str::to_owned),
    };
    let mut wanted = Wanted {
        record,
        admin_epoch: board.view.version.admin_epoch,
    };
    put(board, change)?;
    point!(PromoteRecorded);
    let now = match spread::confirm(board, wanted, |_, _| true) {
        Ok(now) => now,
        Err(why) => return Err(not_confirmed(board, &why)),
    };
    point!(PromoteConfirmed);
    let Some(decided_in) = heavy else {
        return Ok(());
    };
    let mut attempt = attempt::begin(board, decided_in, &now)?;
    point!(PromoteNoted);
    let is = Some(record.to_string());
    let raise = ChangeSet::default()
        .raise_admin_epoch(Weight::Promotion)
        .only_if(Condition::Property { name, is })
        .only_if(Condition::Property {
            name: sync,
            is: sync_is,
        });
    if !is_out!(NoAdminEpoch) {
        wanted.admin_epoch = board.view.version.admin_epoch + Weight::Promotion.steps();
    }
    put(board, &raise)?;
    point!(PromoteRaised);
    let goes_on = |board: &Board<'_, '_>, now: &_| attempt::goes_on(board, &mut attempt, now);
    match spread::confirm(board, wanted, goes_on) {
        Ok(_) => {
            point!(PromoteSpread);
            Ok(())
        }
        Err(why) => Err(not_confirmed(board, &why)),
    }
}

/// A change that is looked for afterwards, in all copies. While a partition re-forms none is confirmed in time, and made
/// all the same.
fn put(board: &mut Board<'_, '_>, change: &ChangeSet) -> Step<()> {
    match board.put(change) {
        Err(error) if error.leaves_it_open() => {
            say!(
                WARN,
                "promote: looking whether it was written",
                reason = error
            );
            Ok(())
        }
        other => other.map_err(failed),
    }
}

/// The next monitor asks to be promoted again, when that is of use.
fn not_confirmed(board: &Board<'_, '_>, why: &Unconfirmed) -> Outcome {
    let noted = match why {
        Unconfirmed::Alone(_) => attempt::distrust(board),
        Unconfirmed::Silent(_) => Ok(()),
    };
    for failure in [noted, board.set_score(&board.ctx.me, Score::Never)] {
        if let Err(failure) = failure {
            say!(WARN, "promote", reason = failure.text());
        }
    }
    failed(format!("not promoted: {}", why.text()))
}

/// What this node has to know of its promotion, from here on. R1: it revokes the others, and now the settle time runs.
fn remember(ctx: &Context<'_>, record: &ReplInfo, revoked: &[&NodeName], ring: &str) -> Step<()> {
    let now = boot_clock().map_err(failed)?;
    let old = State::load(ctx, now.boot_id())?;
    let mut state = old.clone();
    state.epoch = record.epoch;
    state.seq = state.seq.max(1);
    state.barrier = None;
    state.election = None;
    state.attempt = None;
    // A primary tells anew what its commits are worth.
    state.worth = None;
    let note = Revocation {
        at: now.since_boot(),
        ring: ring.to_owned(),
    };
    let revoked = revoked.iter();
    state.revoked = revoked
        .map(|peer| (peer.lower().to_owned(), note.clone()))
        .collect();
    state.save(ctx, &old)
}

/// A new epoch of the same primary: the record, and the contract with it, under the next number after `latest`, too.
pub(crate) fn begin_epoch(board: &mut Board<'_, '_>, latest: u64) -> Step<u64> {
    let ctx = board.ctx;
    let Some(mut record) = ctx.record(&board.view)?.filter(|r| r.node == ctx.me) else {
        return Err(failed("another node is the recorded primary"));
    };
    let epoch = next_epoch(record.epoch, own_epoch(ctx)?, Some(latest));
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
    point!(EpochBegun);
    Ok(epoch)
}

/// Makes the record say that this node is the primary, and where its timeline began.
pub(crate) fn correct_record(board: &mut Board<'_, '_>, lineage: &Lineage) -> Step<()> {
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
    if !leaves_statuses(board, Method::NewTimeline)? {
        change = board.data_status(change, &ctx.me, DataStatus::Latest);
    }
    // Not over a promotion that came in between.
    board.change(&board.as_it_was_read(change))?;
    // The first with an epoch: the standbys that stream were set up by an older agent, and get their tickets from now on.
    if epoch.is_none() {
        let old = notes::notes(board)?;
        let mut state = old.clone();
        state.taken_over = corrected.epoch;
        state.save(ctx, &old)?;
    }
    Ok(())
}
