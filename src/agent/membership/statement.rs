//! R8: ahead of a promotion a standby stops receiving from the old primary, makes sure of it, and then
//! states how far its WAL reaches. Decided upon in `decide::witness`.
//!
//! A statement is an attribute that pacemaker-attrd keeps to itself: all members see it, no transition
//! is begun anew because of it, and it is gone when the node leaves the membership.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use crate::decide::eligibility::{Ground, Promise};
use crate::decide::state_loss::Stated;
use crate::decide::witness::{self, Coverage, Said, Statement, coverage, is_ahead_of_all};
use crate::log::say;
use crate::model::claim::Claim;
use crate::model::sync_names::StandbyName;
use crate::model::timeline::WalPosition;
use crate::model::version::RELOADS_CONNINFO;
use crate::pacemaker::attributes;
use crate::postgres::{server, views};
use crate::sys::poll_until;
use crate::timing;
use crate::trial::point;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::notes::notes;
use crate::agent::membership::{ground, stated};
use crate::agent::server::answering::{self, Server};
use crate::agent::server::recovery_conf::{self, Follow};
use crate::agent::server::{archive, in_force, reach, slots};
use crate::agent::step::{Step, failed};

/// Whom this server may follow: the recorded primary, unless it is the one it detached from.
pub(crate) fn whom_to_follow(board: &Board<'_, '_>) -> Step<Follow> {
    let ctx = board.ctx;
    Ok(match notes(board)?.detached {
        Some(epoch) if stated::recorded_epoch(board.ctx, &board.view)? <= epoch => Follow::Nobody,
        Some(_) | None => Follow::Primary {
            slot: slots::slot_of(
                ctx,
                &ctx.me,
                ctx.record(&board.view)?.as_ref(),
                &ctx.replicas(&board.view),
            ),
        },
    })
}

/// Whether this standby follows nobody because of a statement that was never made: whoever is to make it was ended in between, say.
/// The primary knows nothing of it, and would go on without this standby for ever.
pub(crate) fn is_owed(board: &Board<'_, '_>) -> Step<bool> {
    let recorded = stated::recorded_epoch(board.ctx, &board.view)?;
    let detached = notes(board)?.detached.filter(|epoch| recorded <= *epoch);
    if detached.is_none() {
        return Ok(false);
    }
    Ok(match stated::own_stated(board.ctx)? {
        Stated::About(latest) => Some(latest) < detached,
        Stated::Nothing | Stated::Something => true,
    })
}

/// What this standby states, where its WAL ends at `position`.
pub(crate) fn at(board: &Board<'_, '_>, position: WalPosition) -> Step<Statement> {
    let is_witness = ground::own_ground(board, &position.lineage)? == Ok(Ground::Claimed);
    Ok(Statement {
        position,
        is_witness,
    })
}

/// Stops receiving, makes sure of it, and tells the others how far the WAL reaches. `None`: this
/// server can't be told to stop, does not know yet how far its WAL reaches, or will not replay all of it.
pub(crate) fn make(board: &Board<'_, '_>, server: &mut Server) -> Step<Option<Statement>> {
    let ctx = board.ctx;
    if server.state.version.major < RELOADS_CONNINFO {
        return Ok(None);
    }
    let epoch = stated::recorded_epoch(board.ctx, &board.view)?;
    // First, so that whatever happens next, it is not followed again.
    let old = notes(board)?;
    // By the note, the file and the server: an agent that was ended, or whose reload was late, may have left any of them as it was.
    let is_detached = old.detached >= Some(epoch)
        && recovery_conf::follows(ctx, &Follow::Nobody)
        && views::primary_conninfo(&mut server.session)
            .map_err(|error| answering::refused(&error))?
            .is_empty();
    let mut state = old.clone();
    state.detached = old.detached.max(Some(epoch));
    state.save(ctx, &old)?;
    point!(StatementNoted);
    if !is_detached || server.state.receiver.is_some() {
        stop_receiving(ctx, server)?;
    }
    archive::end_fetching(ctx, &server.running);
    point!(StatementAlone);
    if let Some(obstacle) = reach::make_way(ctx, server)? {
        say!(WARN, "nothing is stated", reason = obstacle);
        return Ok(None);
    }
    let patience = ctx.deadline.min(timing::REPLAY_WAIT);
    let Some(position) = reach::await_end(ctx, server, patience)? else {
        say!(
            INFO,
            "nothing is stated before it has replayed what it has",
            replayed = format_args!("{:?}", server.state.replayed)
        );
        return Ok(None);
    };
    let statement = at(board, position)?;
    let said = Said {
        of: epoch,
        latest: state.detached.unwrap_or(epoch),
        statement: statement.clone(),
    };
    let text = said.to_string();
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    attributes::set_private(&ctx.me, &stated::attribute(ctx), &text, deadline).map_err(failed)?;
    point!(StatementMade);
    say!(INFO, "stated", statement = text);
    Ok(Some(statement))
}

/// Takes the primary's address away from the server, and waits until nothing is received any more.
fn stop_receiving(ctx: &Context<'_>, server: &mut Server) -> Step<()> {
    recovery_conf::write_recovery(ctx, &Follow::Nobody)?;
    point!(StatementConf);
    server::reload(&server.running).map_err(failed)?;
    point!(StatementReloaded);
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
                    last =
                        "primary_conninfo is still set: ALTER SYSTEM, or what comes behind the agent's include lines, overrides its own; \
                         see pg_settings.sourcefile"
                            .to_owned();
                    None
                }
                Ok((_, state)) => match &state.receiver {
                    None => Some(state),
                    // The startup process ends it once it has replayed what there is; this is sooner, and
                    // by now it would not start another.
                    Some(receiver) => {
                        last = format!("its receiver (process {}) does not end", receiver.pid);
                        let _ = server.running.signal_child(receiver.pid, Signal::SIGTERM);
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
        // The true cause may be quite another line.
        if let Some(why) = in_force::refused(ctx, &server.running) {
            last = why;
        }
        failed(format!(
            "this standby did not stop receiving from the old primary: {last}"
        ))
    })?;
    Ok(())
}

/// The epoch after which a primary has to begin one, so that those who have stated something follow it.
pub(crate) fn to_outlive(board: &Board<'_, '_>) -> Step<Option<u64>> {
    let stated = stated::said(board.ctx, &board.view)?
        .into_values()
        .map(|said| said.latest);
    Ok(witness::to_outlive(
        stated::recorded_epoch(board.ctx, &board.view)?,
        stated,
    ))
}

/// Whether `own` may go ahead, by all that was stated; and those statements, its own among them.
pub(crate) fn covers(
    board: &Board<'_, '_>,
    own: &Statement,
    claim: &Claim,
) -> Step<(Coverage, BTreeMap<StandbyName, Statement>)> {
    let ctx = board.ctx;
    let mut statements = stated::all(board.ctx, &board.view)?;
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

/// Follows the recorded primary, if that is a later one than the one it follows, or has left. True
/// where something was changed; the caller makes the server connect.
pub(crate) fn attach(board: &Board<'_, '_>, server: &Server) -> Step<bool> {
    let ctx = board.ctx;
    let follow = whom_to_follow(board)?;
    if recovery_conf::follows(ctx, &follow) {
        return Ok(false);
    }
    if follow != Follow::Nobody {
        take_back(board)?;
        point!(AttachTakenBack);
    }
    recovery_conf::write_recovery(ctx, &follow)?;
    point!(AttachConf);
    server::reload(&server.running).map_err(failed)?;
    say!(INFO, "follows", whom = format_args!("{follow:?}"));
    Ok(true)
}

/// Takes the statement back, before anything is received again: also one that this node does not remember.
pub(crate) fn take_back(board: &Board<'_, '_>) -> Step<()> {
    let ctx = board.ctx;
    let old = notes(board)?;
    if ctx.promise() == Promise::Async && old.detached.is_none() {
        // Nobody counts statements then.
        return Ok(());
    }
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    // Not with --private: attrd settles whether the CIB has an attribute when it hears of its name first, and that is here. The CIB's having them makes
    // Pacemaker plan anew, with a second round of notifications before the promotion; by that one a standby with more takes the place of
    // the chosen one where the first was killed (seen: `killed_between`, red without).
    attributes::delete_transient(&ctx.me, &stated::attribute(ctx), deadline).map_err(failed)?;
    let mut state = old.clone();
    state.detached = None;
    state.save(ctx, &old)
}
