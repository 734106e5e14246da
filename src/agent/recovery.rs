//! A server that takes no connections yet, because it replays its WAL. That may take an hour, and is no reason to stop it:
//! after a crash the next start would begin at the same place again. Decided in `decide::recovery`.

use std::time::Duration;

use crate::decide::recovery::{Course, Look, Server, course};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::children::{self, Processes, Role};
use crate::postgres::process::{self, Postmaster, Running};
use crate::postgres::session::SqlError;
use crate::sys::{boot_clock, poll_until};
use crate::timing;
use crate::trial::is_out;

use super::context::Context;
use super::record::Board;
use super::state::State;
use super::{Step, failed};

/// From when on it is said that a recovery does nothing.
const SAID_AFTER: Duration = Duration::from_secs(30);

/// A startup process at work.
pub(super) struct Recovery {
    look: Look,
    /// `startup recovering 000000010000000000000003`
    pub(super) title: String,
}

/// The recovery of a server that has not taken a connection since it was started. `None`: there is none, or nobody can tell.
pub(super) fn of(ctx: &Context<'_>, running: &Running) -> Step<Option<Recovery>> {
    if !process::is_starting(ctx.pgdata()) || !is_meant_to(ctx) {
        return Ok(None);
    }
    let processes = Processes::look().map_err(failed)?;
    let children = processes.of(running.pid);
    let Some(startup) = children.into_iter().find(|c| c.role == Role::Startup) else {
        return Ok(None);
    };
    let Some(run_time) = processes.run_time(startup.pid) else {
        return Ok(None);
    };
    Ok(Some(Recovery {
        look: look(running, startup.pid, run_time)?,
        title: startup.title,
    }))
}

/// What is seen of a server now.
fn look(running: &Running, pid: i32, run_time: u64) -> Step<Look> {
    Ok(Look {
        pid,
        run_time,
        at: boot_clock().map_err(failed)?.since_boot(),
        server: Server {
            pid: running.pid,
            started: children::started(running.pid),
        },
    })
}

/// Of those that replicate, only a standby does no harm when it is done: what recovers without standby.signal becomes a primary by itself.
fn is_meant_to(ctx: &Context<'_>) -> bool {
    !ctx.params.rep_mode.is_replicated() || ctx.pgdata().join("standby.signal").exists()
}

/// Whether the server recovers now.
pub(super) fn is_under_way(ctx: &Context<'_>) -> Step<bool> {
    Ok(match ctx.postmaster()? {
        Postmaster::Running(running) => of(ctx, &running)?.is_some(),
        Postmaster::Stopped => false,
    })
}

/// A start or a demotion ends here, and the recovery goes on. Until it is over nobody may promote this node: a promotion would wait
/// for it in vain, fail, and end it.
pub(super) fn goes_on(board: &Board<'_, '_>) {
    say!(
        WARN,
        "the server replays its WAL and takes no connections yet: that goes on by itself, and the monitor says when it is over"
    );
    bar(board);
}

/// Nobody may promote this node, whose server can't be asked, before its monitor has seen it.
pub(super) fn bar(board: &Board<'_, '_>) {
    let ctx = board.ctx;
    let told = board
        .set_score(&ctx.me, Score::Never)
        .and_then(|()| board.set_status(&ctx.me, NodeStatus::Unknown));
    if let Err(failure) = told {
        say!(
            WARN,
            "the cluster could not be told of it",
            reason = failure.text()
        );
        return;
    }
    // Until the CIB has it, Pacemaker would go on with the promotion that it has planned.
    let never = Score::Never.to_string();
    poll_until(
        ctx.deadline.min(timing::ELECTION_WAIT),
        timing::READY_POLL,
        || {
            let view = ctx.cluster().ok()?;
            let score = view
                .node(&ctx.me)?
                .transient(TransientAttribute::PromotionScore, &ctx.resource)?;
            (score == never).then_some(())
        },
    );
}

/// What the monitor answers about a server that takes no connections; `error` is what it said instead.
pub(super) fn answer(ctx: &Context<'_>, running: &Running, error: &SqlError) -> Step<Outcome> {
    if is_out!(RecoveryIsFailure) {
        return Ok(failed(error));
    }
    let recovery = of(ctx, running)?;
    let what = recovery
        .as_ref()
        .map_or_else(|| error.to_string(), |r| r.title.clone());
    let look = match (recovery, error) {
        (
            Some(recovery),
            SqlError::NotReady(_) | SqlError::Unreachable(_) | SqlError::TimedOut(..),
        ) => recovery.look,
        // A standby on its way down, or up, does no harm. A primary that does not answer does not serve.
        (None, SqlError::NotReady(_))
            if ctx.params.rep_mode.is_replicated() && is_meant_to(ctx) =>
        {
            look(running, 0, 0)?
        }
        (_, SqlError::NotReady(what)) => {
            return Ok(failed(format!(
                "the server does not take connections: {what}"
            )));
        }
        (_, error) => return Ok(failed(error)),
    };
    match note(ctx, look)? {
        Course::Hangs(since) => {
            return Ok(failed(format!(
                "the server has taken no connections and done nothing for {} s ({what}): a disk or restore_command does not answer, \
                 or the process is stopped by a signal",
                since.as_secs()
            )));
        }
        Course::Idle(since) if since >= SAID_AFTER => say!(
            WARN,
            "the server takes no connections yet, and its recovery makes no progress: look at its disk and at restore_command",
            at = what,
            seconds = since.as_secs()
        ),
        Course::Idle(_) | Course::GoesOn => {
            say!(INFO, "the server takes no connections yet", at = what);
        }
    }
    Ok(Outcome::of(OcfCode::Success))
}

fn note(ctx: &Context<'_>, look: Look) -> Step<Course> {
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let (course, next) = course(old.recovery.as_ref(), &look);
    if !ctx.env.is_probe() {
        let mut state = old.clone();
        state.recovery = Some(next);
        // A full disk is no reason to end a recovery.
        if let Err(failure) = state.save(ctx, &old) {
            say!(
                WARN,
                "how far the recovery is could not be noted",
                reason = failure.text()
            );
        }
    }
    Ok(course)
}

/// A server that answers does not recover: what was noted of that is of no use to the next time, which may be days later.
pub(super) fn forget(ctx: &Context<'_>) {
    let Ok(old) = State::read(ctx) else {
        // Who needs what is in there says that it can't be read.
        return;
    };
    if old.recovery.is_none() {
        return;
    }
    let mut state = old.clone();
    state.recovery = None;
    if let Err(failure) = state.save(ctx, &old) {
        say!(
            WARN,
            "what was noted of a recovery that is over could not be removed",
            reason = failure.text()
        );
    }
}

/// Waits as long as the server recovers and gets on; `noted` is what was seen the last time. `false`: it still does.
pub(super) fn is_over(ctx: &Context<'_>, noted: &mut Option<Look>) -> Step<bool> {
    let Postmaster::Running(running) = ctx.postmaster()? else {
        return Ok(true);
    };
    let Some(recovery) = of(ctx, &running)? else {
        return Ok(true);
    };
    let (course, next) = course(noted.as_ref(), &recovery.look);
    *noted = Some(next);
    match course {
        Course::GoesOn | Course::Idle(_) => Ok(false),
        Course::Hangs(since) => Err(failed(format!(
            "the server recovers, and has done nothing for {} s ({})",
            since.as_secs(),
            recovery.title
        ))),
    }
}
