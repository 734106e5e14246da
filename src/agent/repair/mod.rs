//! A node that cannot follow the primary gets data that can. Decided in `decide::divergence` and `decide::repair`.
//!
//! The work may take hours, and Pacemaker waits for a start in the middle of whatever else it has to do. So it is done by
//! a process of its own, which starts the server in the end; the monitor reports it meanwhile. Whatever is interrupted,
//! the next start finds: a swap is finished, an incomplete copy is thrown away, and half a rewind is known as such.

use crate::decide::repair;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::repair::{Journal, Phase, Work};
use crate::model::status::{NodeStatus, Score};
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::own_entries;
use crate::postgres::process::Postmaster;
use crate::postgres::replace::Swap;
use crate::sys::{Command, poll_until};
use crate::timing;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::server::answering::Server;
use crate::agent::server::ready::{self, Up};
use crate::agent::standby::bring_up;
use crate::agent::step::{Step, failed};

mod gate;
mod journal;
mod work;

pub(super) use gate::{knock, of_standby, plan_for};
pub(super) use journal::end;
pub(crate) use work::by_hand;
pub(super) use work::in_background;

/// Where this node's own configuration waits while a rewind puts the primary's in its place.
const OWN: &str = "expgsql.own";

/// Finishes what an interrupted repair left half done, so that the data directory is a whole one again.
pub(super) fn tidy(ctx: &Context<'_>) -> Step<()> {
    if !is_out!(SwapUnfinished) {
        Swap::finish(ctx.pgdata(), &ctx.owner).map_err(failed)?;
    }
    own_entries::restore(ctx.pgdata(), &ctx.tmp(OWN), &ctx.owner).map_err(failed)
}

/// The server as a standby, where its data can follow the primary. `None`: they are being repaired, and the server
/// starts when that is done; or it replays its WAL. The monitor sees the end of both.
pub(super) fn come_up(board: &Board<'_, '_>) -> Step<Option<Server>> {
    let Some(misfit) = gate::misfit(board)? else {
        let up = bring_up::start_as_standby(board)?;
        clear_up(board.ctx)?;
        return Ok(match up {
            Up::Answers(server) => Some(*server),
            Up::Recovers | Up::Refuses(_) => None,
        });
    };
    match gate::plan_for(board, &misfit)? {
        Ok(work) => {
            say!(
                WARN,
                "this node can't follow the primary",
                reason = misfit,
                repair = work
            );
            begin(board, work)
        }
        Err(refusal) => {
            say!(
                WARN,
                "this node can't follow the primary, and on_divergence does not let it be repaired; with rewind_or_rebuild it would be",
                on_divergence = board.ctx.params.on_divergence
            );
            Err(failed(refusal))
        }
    }
}

/// Data that can follow need no repair any more. What an interrupted one has left on the disk may take long to remove.
fn clear_up(ctx: &Context<'_>) -> Step<()> {
    journal::remove(ctx)?;
    if !Swap::has_leftovers(ctx.pgdata()).map_err(failed)? {
        return Ok(());
    }
    say!(INFO, "removing what an interrupted repair has left behind");
    launch(ctx, Work::Rebuild)
}

/// A repair that was given up, or interrupted, is of no interest once the server runs. What it has left on the disk is removed: the
/// process that does so may have been killed, and the next start may be months away.
pub(super) fn forget(board: &Board<'_, '_>) -> Step<()> {
    let ctx = board.ctx;
    let has_leftovers = Swap::has_leftovers(ctx.pgdata()).map_err(failed)?;
    let is_told = board
        .transient(&ctx.me, TransientAttribute::Repair)
        .is_some();
    if !has_leftovers && !is_told {
        return Ok(());
    }
    let goes_on = goes_on(ctx)?;
    let ended = journal::read(ctx)?.map(|journal| journal.phase);
    if repair::is_to_clear_up(has_leftovers, goes_on, ended) {
        return clear_up(ctx);
    }
    if !is_told || goes_on {
        return Ok(());
    }
    // With something left, the note that it was given up stays: it is not tried again before the next start.
    if !has_leftovers {
        journal::remove(ctx)?;
    }
    board.set_own(TransientAttribute::Repair, None)
}

/// Starts the process that repairs.
fn launch(ctx: &Context<'_>, work: Work) -> Step<()> {
    Command::new(std::env::current_exe().map_err(failed)?)
        .arg("repair-standby")
        .arg(work.to_string())
        .spawn_detached(Some(journal::open_log(ctx)?))
        .map_err(failed)
}

fn begin(board: &Board<'_, '_>, work: Work) -> Step<Option<Server>> {
    let ctx = board.ctx;
    let mut journal = Journal::new(work);
    journal::carry_on(ctx, &mut journal)?;
    journal::write(ctx, &journal)?;
    point!(RepairJournal);
    board.set_status(&ctx.me, NodeStatus::Stopped)?;
    board.set_score(&ctx.me, Score::Never)?;
    board.set_own(TransientAttribute::Repair, Some(&journal.to_string()))?;
    point!(RepairTold);
    launch(ctx, work)?;
    point!(RepairLaunched);
    attend(ctx)
}

/// Sees a repair through that is over soon; a longer one goes on by itself.
pub(super) fn attend(ctx: &Context<'_>) -> Step<Option<Server>> {
    let over = poll_until(
        ctx.deadline.min(timing::REPAIR_WAIT),
        timing::READY_POLL,
        || match journal::read(ctx) {
            Ok(None) => Some(Ok(())),
            Ok(Some(journal)) if journal.phase == Phase::Failed => {
                Some(Err(failed(journal.note.unwrap_or_default())))
            }
            Ok(Some(_)) => None,
            Err(failure) => Some(Err(failure)),
        },
    );
    match over.transpose()? {
        Some(()) => ready::wait(ctx, "a standby", |_| true).map(Some),
        None => Ok(None),
    }
}

/// Whether a repair goes on now.
pub(super) fn goes_on(ctx: &Context<'_>) -> Step<bool> {
    Ok(journal::holder(ctx)?.is_some())
}

/// What the monitor answers where a repair goes on, or has ended without a server. `None`: there is none.
pub(super) fn answer(ctx: &Context<'_>) -> Step<Option<Outcome>> {
    let is_stopped = ctx.postmaster()? == Postmaster::Stopped;
    let goes_on = match goes_on(ctx) {
        // A server that runs is asked for itself, and that its directory can't be read is told by the monitor.
        Err(failure) if !is_stopped => {
            say!(WARN, "repair", reason = failure.text());
            return Ok(None);
        }
        looked => looked?,
    };
    if goes_on {
        // A stand-alone server that recovers is none that could be asked.
        let phase = journal::read(ctx)?.map(|journal| journal.phase);
        let is_up = !is_stopped && phase.is_none_or(|phase| phase == Phase::Starting);
        return Ok((!is_up).then(|| Outcome::of(OcfCode::Success)));
    }
    if ctx.env.is_probe() || !is_stopped {
        return Ok(None);
    }
    Ok(journal::read(ctx)?.map(|journal| match journal.phase {
        Phase::Failed => failed(journal.note.unwrap_or_default()),
        Phase::Waiting
        | Phase::Recovering
        | Phase::Checking
        | Phase::Copying
        | Phase::Swapping
        | Phase::Starting
        | Phase::Done => Outcome::because(
            OcfCode::NotRunning,
            format!("a repair was interrupted ({journal}); the next start goes on with it"),
        ),
    }))
}
