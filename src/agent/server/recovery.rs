//! A server that takes no connections yet, because it replays its WAL. That may take an hour, and is no reason to stop it:
//! after a crash the next start would begin at the same place again. Decided in `decide::recovery`.

use crate::decide::recovery::{Course, Duty, Heard, Look, Server, Watch, course, watch};
use crate::log::say;
use crate::params::RepMode;
use crate::postgres::children::{self, Processes, Role};
use crate::postgres::process::{self, Postmaster, Running};
use crate::sys::boot_clock;

use crate::agent::context::Context;
use crate::agent::server::by_files;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// A startup process at work.
pub(crate) struct Recovery {
    pub(crate) look: Look,
    /// `startup recovering 000000010000000000000003`
    pub(crate) title: String,
}

/// The recovery of a server that takes no connections, where that is left to its end. `None`: there is none, or nobody can tell.
pub(crate) fn of(ctx: &Context<'_>, running: &Running, heard: Heard) -> Step<Option<Recovery>> {
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
pub(crate) fn look(running: &Running, pid: i32, run_time: u64) -> Step<Look> {
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
pub(crate) fn duty(ctx: &Context<'_>) -> Duty {
    let is_standby = by_files::is_standby(ctx).unwrap_or(false);
    match ctx.params.rep_mode {
        RepMode::None => Duty::Alone,
        RepMode::Slave | RepMode::Async | RepMode::Sync if is_standby => Duty::Standby,
        RepMode::Slave => Duty::Misfit,
        RepMode::Async | RepMode::Sync => Duty::Primary(ctx.promise()),
    }
}

/// Whether the server recovers now; `heard`: what came of the last login.
pub(crate) fn is_under_way(ctx: &Context<'_>, heard: Heard) -> Step<bool> {
    Ok(match ctx.postmaster()? {
        Postmaster::Running(running) => of(ctx, &running, heard)?.is_some(),
        Postmaster::Stopped => false,
    })
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
