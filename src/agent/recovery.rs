//! A server that takes no connections yet, because it replays its WAL. That may take an hour, and is no reason to stop it:
//! after a crash the next start would begin at the same place again. Decided in `decide::recovery`.

use std::time::Duration;

use crate::decide::recovery::{Course, Duty, Heard, Look, Server, Watch, course, watch};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::children::{self, Processes, Role};
use crate::postgres::process::{self, Postmaster, Running};
use crate::postgres::session::SqlError;
use crate::sys::{boot_clock, poll_until};
use crate::timing;
use crate::trial::is_out;

use crate::agent::context::Context;
use crate::agent::lease::Lease;
use crate::agent::record::Board;
use crate::agent::standby;
use crate::agent::state::State;
use crate::agent::step::Step;
use crate::agent::step::failed;
use crate::agent::unseen;

/// From when on it is said that a recovery does nothing.
const SAID_AFTER: Duration = Duration::from_secs(30);

/// A startup process at work.
pub(crate) struct Recovery {
    look: Look,
    /// `startup recovering 000000010000000000000003`
    pub(crate) title: String,
}

/// The recovery of a server that takes no connections, where that is left to its end. `None`: there is none, or nobody can tell.
fn of(ctx: &Context<'_>, running: &Running, heard: Heard) -> Step<Option<Recovery>> {
    let duty = duty(ctx);
    let phase = process::phase(ctx.pgdata());
    if watch(duty, heard, phase, true) != Watch::Startup {
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
fn duty(ctx: &Context<'_>) -> Duty {
    let is_standby = standby::is_standby(ctx).unwrap_or(false);
    match ctx.params.rep_mode {
        RepMode::None => Duty::Alone,
        RepMode::Slave | RepMode::Async | RepMode::Sync if is_standby => Duty::Standby,
        RepMode::Slave => Duty::Misfit,
        RepMode::Async | RepMode::Sync => Duty::Primary(ctx.promise()),
    }
}

const fn heard(error: &SqlError) -> Heard {
    match error {
        SqlError::NotReady(_) => Heard::NotReady,
        SqlError::Unreachable(_)
        | SqlError::Closed(_)
        | SqlError::TimedOut(..)
        | SqlError::Slow(_) => Heard::Nothing,
        SqlError::Refused(_)
        | SqlError::Failed { .. }
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => Heard::Nonsense,
    }
}

/// Whether the server recovers now; `heard`: what came of the last login.
pub(crate) fn is_under_way(ctx: &Context<'_>, heard: Heard) -> Step<bool> {
    Ok(match ctx.postmaster()? {
        Postmaster::Running(running) => of(ctx, &running, heard)?.is_some(),
        Postmaster::Stopped => false,
    })
}

/// A start or a demotion ends here, and the recovery goes on. Until it is over nobody may promote this node: a promotion would wait
/// for it in vain, fail, and end it.
pub(crate) fn goes_on(board: &Board<'_, '_>) {
    say!(
        WARN,
        "the server replays its WAL and takes no connections yet: that goes on by itself, and the monitor says when it is over"
    );
    bar(board);
}

/// Nobody may promote this node, whose server can't be asked, before its monitor has seen it.
pub(crate) fn bar(board: &Board<'_, '_>) {
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
pub(crate) fn answer(
    ctx: &Context<'_>,
    running: &Running,
    lease: Lease<'_>,
    error: &SqlError,
) -> Step<Outcome> {
    if is_out!(RecoveryIsFailure) {
        return Ok(failed(error));
    }
    let heard = heard(error);
    if let Some(recovery) = of(ctx, running, heard)? {
        return goes(ctx, recovery);
    }
    let duty = duty(ctx);
    let phase = process::phase(ctx.pgdata());
    let limit = match watch(duty, heard, phase, false) {
        Watch::For(limit) => limit,
        // The startup process has just gone, or come: the next monitor sees more.
        Watch::Startup | Watch::Failed => return Ok(failed(error)),
    };
    let noted = note(ctx, look(running, 0, 0)?)?;
    let since = noted.course.idle();
    let reason = format!("{error}; it has taken none for {} s", since.as_secs());
    if since >= limit {
        return Ok(failed(reason));
    }
    if !matches!(duty, Duty::Primary(_)) {
        say!(INFO, "the server takes no connections yet", at = error);
        return Ok(Outcome::of(OcfCode::Success));
    }
    // Where nobody keeps the time, it would have all there is.
    if let Some(unkept) = noted.unkept {
        return Ok(failed(format!("{error}; {unkept}")));
    }
    unseen::leased(
        ctx,
        lease,
        format!(
            "a process of the server was killed, and it recovers in place: {reason}, and gets {} s before it is given up",
            limit.as_secs()
        ),
    )
}

/// A startup process is at work.
fn goes(ctx: &Context<'_>, recovery: Recovery) -> Step<Outcome> {
    let what = recovery.title;
    match note(ctx, recovery.look)?.course {
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

/// What was seen, held against what was noted.
struct Noted {
    course: Course,
    /// Why it could not be noted for the next time.
    unkept: Option<String>,
}

fn note(ctx: &Context<'_>, look: Look) -> Step<Noted> {
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let (course, next) = course(old.recovery.as_ref(), &look);
    let mut noted = Noted {
        course,
        unkept: None,
    };
    if ctx.env.is_probe() {
        return Ok(noted);
    }
    let mut state = old.clone();
    state.recovery = Some(next);
    let saved = standby::keep_place(ctx).and_then(|()| state.save(ctx, &old));
    // A full disk is no reason to end a recovery.
    if let Err(failure) = saved {
        let reason = failure.text();
        say!(
            WARN,
            "how far the recovery is could not be noted",
            reason = reason
        );
        noted.unkept = Some(reason.to_owned());
    }
    Ok(noted)
}

/// A server that answers does not recover: what was noted of that is of no use to the next time, which may be days later.
pub(crate) fn forget(ctx: &Context<'_>) {
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
pub(crate) fn is_over(ctx: &Context<'_>, noted: &mut Option<Look>) -> Step<bool> {
    let Postmaster::Running(running) = ctx.postmaster()? else {
        return Ok(true);
    };
    let Some(recovery) = of(ctx, &running, Heard::Nothing)? else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_under_load_has_said_nothing() {
        let at_once = Duration::ZERO;
        let said = String::new;
        for (error, expected) in [
            (SqlError::NotReady(said()), Heard::NotReady),
            (SqlError::Unreachable(said()), Heard::Nothing),
            (SqlError::TimedOut(at_once, ""), Heard::Nothing),
            // The login was worked on all the time: what recovers beside it needs the CPU as well.
            (SqlError::Slow(at_once), Heard::Nothing),
            (
                SqlError::Setup(std::io::ErrorKind::Other.into()),
                Heard::Nonsense,
            ),
        ] {
            assert_eq!(heard(&error), expected, "{error}");
        }
    }
}
