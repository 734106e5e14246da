//! R8: ahead of a promotion a standby stops receiving from the old primary, makes sure of it, and then
//! states how far its WAL reaches. Decided upon in `decide::witness`.
//!
//! A statement is an attribute that pacemaker-attrd keeps to itself: all members see it, no transition
//! is begun anew because of it, and it is gone when the node leaves the membership.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use crate::decide::distrust;
use crate::decide::eligibility::Ground;
use crate::decide::witness::{Coverage, Statement, coverage, is_ahead_of_all};
use crate::log::say;
use crate::model::claim::Claim;
use crate::model::node_name::NodeName;
use crate::model::sync_names::StandbyName;
use crate::model::timeline::WalPosition;
use crate::pacemaker::attributes;
use crate::postgres::{process, server, views, wal};
use crate::sys::{boot_clock, poll_until};
use crate::timing;

use super::context::Context;
use super::ready::Server;
use super::record::Board;
use super::standby::{self, Follow};
use super::state::State;
use super::{Step, failed, promote, slots};

/// The first version whose standbys can be told to stop receiving without a restart.
pub(super) const RELOADS_CONNINFO: u32 = 13;

/// The epoch of the recorded promotion; 0 for a record that an older agent wrote.
fn recorded_epoch(board: &Board<'_, '_>) -> Step<u64> {
    let record = board.ctx.record(&board.view)?;
    Ok(record.and_then(|r| r.epoch).unwrap_or_default())
}

fn attribute(ctx: &Context<'_>) -> String {
    format!("{}-statement", ctx.resource)
}

fn load(ctx: &Context<'_>) -> Step<State> {
    let boot = boot_clock().map_err(failed)?;
    Ok(State::load(ctx, boot.boot_id()))
}

/// Whom this server may follow: the recorded primary, unless it is the one it detached from.
pub(super) fn whom_to_follow(board: &Board<'_, '_>) -> Step<Follow> {
    let ctx = board.ctx;
    Ok(match load(ctx)?.detached {
        Some(epoch) if recorded_epoch(board)? <= epoch => Follow::Nobody,
        Some(_) | None => Follow::Primary {
            slot: slots::slot_of(ctx, &ctx.me, ctx.record(&board.view)?.as_ref()),
        },
    })
}

/// Notes R9's distrust, or that it is over; the answer is whether this node's grant is to be believed.
pub(super) fn is_trusted(board: &Board<'_, '_>) -> Step<bool> {
    let old = load(board.ctx)?;
    let record = board.sync_record()?;
    let note = distrust::note(board.view.is_quorate(), old.distrust, record.as_ref());
    let mut state = old.clone();
    state.distrust = note;
    state.save(board.ctx, &old)?;
    Ok(!distrust::is_distrusted(note, record.as_ref()))
}

/// This standby's own statement, as things are now.
pub(super) fn own(board: &Board<'_, '_>, server: &Server) -> Step<Option<Statement>> {
    let Some(end) = server.state.end else {
        return Ok(None);
    };
    let lineage = wal::lineage(board.ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let is_witness = promote::own_ground(board, &lineage)? == Ok(Ground::Claimed);
    Ok(Some(Statement {
        position: WalPosition { lineage, end },
        is_witness,
    }))
}

/// Stops receiving, makes sure of it, and tells the others how far the WAL reaches. `None`: this
/// server can't be told to stop, or has no WAL to speak of.
pub(super) fn make(board: &Board<'_, '_>, server: &mut Server) -> Step<Option<Statement>> {
    let ctx = board.ctx;
    if server.state.version.major < RELOADS_CONNINFO {
        return Ok(None);
    }
    let epoch = recorded_epoch(board)?;
    // First, so that whatever happens next, it is not followed again.
    let old = load(ctx)?;
    let is_detached = old.detached >= Some(epoch);
    let mut state = old.clone();
    state.detached = old.detached.max(Some(epoch));
    state.save(ctx, &old)?;
    if !is_detached || server.state.receiver.is_some() {
        stop_receiving(ctx, server)?;
    }
    let Some(statement) = own(board, server)? else {
        return Ok(None);
    };
    let text = format!(
        "{epoch}|{}|{}|{}",
        if statement.is_witness { "W" } else { "-" },
        statement.position.lineage,
        statement.position.end.to_attribute()
    );
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    attributes::set_private(&ctx.me, &attribute(ctx), &text, deadline).map_err(failed)?;
    say!(INFO, "stated", statement = text);
    Ok(Some(statement))
}

/// Takes the primary's address away from the server, and waits until nothing is received any more.
fn stop_receiving(ctx: &Context<'_>, server: &mut Server) -> Step<()> {
    standby::write_recovery(ctx, &Follow::Nobody)?;
    server::reload(&server.running).map_err(failed)?;
    let mut last = "it was not asked".to_owned();
    let state = poll_until(
        ctx.deadline.min(timing::DETACH),
        timing::CONTRACT_POLL,
        || {
            // A new session each time: it has what the postmaster has, and the postmaster has told its
            // processes before it took the connection.
            let looked = ctx.connect(&server.running).and_then(|mut session| {
                let follows = views::primary_conninfo(&mut session)?;
                Ok((follows, views::server_state(&mut session)?))
            });
            match looked {
                Ok((follows, _)) if !follows.is_empty() => {
                    last = "primary_conninfo is still set".to_owned();
                    None
                }
                Ok((_, state)) => match &state.receiver {
                    None => Some(state),
                    // The startup process ends it once it has replayed what there is; this is sooner, and
                    // by now it would not start another.
                    Some(receiver) => {
                        last = format!("its receiver (process {}) does not end", receiver.pid);
                        let _ = process::signal(receiver.pid, Signal::SIGTERM);
                        None
                    }
                },
                Err(error) => {
                    last = error.to_string();
                    None
                }
            }
        },
    );
    server.state = state.ok_or_else(|| {
        failed(format!(
            "this standby did not stop receiving from the old primary: {last}"
        ))
    })?;
    Ok(())
}

/// Every statement about the present epoch, by other members.
pub(super) fn all(board: &Board<'_, '_>) -> Step<BTreeMap<StandbyName, Statement>> {
    let ctx = board.ctx;
    let epoch = recorded_epoch(board)?;
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    let said = attributes::read_all(&attribute(ctx), deadline).map_err(failed)?;
    let peers = ctx.peers(&board.view);
    let mut statements = BTreeMap::new();
    for node in peers {
        let is_member = board.view.node(&node).is_some_and(|n| n.in_membership);
        let text = said
            .iter()
            .find(|(host, _)| *host == node)
            .map(|(_, text)| text);
        if let Some(text) = text.filter(|text| is_member && !text.is_empty())
            && let Some(statement) = of_epoch(&node, text, epoch)?
        {
            statements.insert(node.lower().to_owned(), statement);
        }
    }
    Ok(statements)
}

/// Whether `own` may go ahead, by all that was stated; and those statements, its own among them.
pub(super) fn covers(
    board: &Board<'_, '_>,
    own: &Statement,
    claim: &Claim,
) -> Step<(Coverage, BTreeMap<StandbyName, Statement>)> {
    let ctx = board.ctx;
    let mut statements = all(board)?;
    statements.insert(ctx.me.lower().to_owned(), own.clone());
    let nodes = ctx.replicas(&board.view);
    let nodes = nodes.iter().map(|n| n.lower().to_owned()).collect();
    let covered = if is_ahead_of_all(&own.position, &nodes, &statements) {
        Coverage::Covered
    } else {
        coverage(&own.position, claim, &statements)
    };
    Ok((covered, statements))
}

/// R9 for a node that found out by itself: what is recorded now is not to be believed.
pub(super) fn distrust(board: &Board<'_, '_>) -> Step<()> {
    let old = load(board.ctx)?;
    let mut state = old.clone();
    state.distrust = distrust::note(false, old.distrust, board.sync_record()?.as_ref());
    state.save(board.ctx, &old)
}

fn of_epoch(node: &NodeName, text: &str, epoch: u64) -> Step<Option<Statement>> {
    let (of, statement) =
        Statement::parse(text).map_err(|why| failed(format!("{node} states {why}")))?;
    Ok((of == epoch).then_some(statement))
}

/// Follows the recorded primary, if that is a later one than the one it follows, or has left. True
/// where something was changed; the caller makes the server connect.
pub(super) fn attach(board: &Board<'_, '_>, server: &Server) -> Step<bool> {
    let ctx = board.ctx;
    let follow = whom_to_follow(board)?;
    if standby::follows(ctx, &follow) {
        return Ok(false);
    }
    if follow != Follow::Nobody {
        take_back(ctx)?;
    }
    standby::write_recovery(ctx, &follow)?;
    server::reload(&server.running).map_err(failed)?;
    say!(INFO, "follows", whom = format_args!("{follow:?}"));
    Ok(true)
}

/// Takes the statement back, before anything is received again.
pub(super) fn take_back(ctx: &Context<'_>) -> Step<()> {
    let old = load(ctx)?;
    if old.detached.is_none() {
        return Ok(());
    }
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    attributes::delete_transient(&ctx.me, &attribute(ctx), deadline).map_err(failed)?;
    let mut state = old.clone();
    state.detached = None;
    state.save(ctx, &old)
}
