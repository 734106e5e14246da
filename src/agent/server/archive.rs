//! A command that recovery or a standby's checkpointer waits for, where nothing that it could bring is waited for any more. Decided in `decide::recovery_command`.

use std::time::Duration;

use crate::decide::recovery_command::{Blow, Command, allowed, blow, runs_long};
use crate::log::say;
use crate::postgres::children::{self, Processes, Role};
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::recovery_command::{self, Guard};

use crate::agent::context::Context;
use crate::agent::server::settings;
use crate::agent::step::Step;

/// The command by which recovery gets WAL from an archive here: the parameter's, or that of the server's own files.
pub(crate) fn restore_command(ctx: &Context<'_>) -> Step<Option<String>> {
    if let Some(given) = &ctx.params.restore_command {
        return Ok(Some(given.clone()));
    }
    let own = settings::in_force(ctx, "restore_command")?;
    Ok(own
        .map(|(value, _)| value)
        .filter(|value| !value.is_empty()))
}

/// Whether there is an archive to get WAL from. Files that can't be read may name one.
pub(crate) fn is_there(ctx: &Context<'_>) -> bool {
    !matches!(restore_command(ctx), Ok(None))
}

/// The standby is to get no further: nothing more is fetched.
pub(crate) fn end_fetching(ctx: &Context<'_>, running: &Running) {
    if ctx.params.restore_command.is_none() {
        return;
    }
    end(running, &Role::Startup, |command, ran| match command {
        Command::RestoreCommand => blow(ran, Duration::ZERO),
        Command::RecoveryEndCommand | Command::ArchiveCleanupCommand => None,
    });
}

/// A promotion waits for recovery to end; `half`: of the time that it had.
pub(crate) fn end_what_holds_up(ctx: &Context<'_>, half: Duration) {
    let p = ctx.params;
    if p.restore_command.is_none() && p.recovery_end_command.is_none() {
        return;
    }
    let Ok(Postmaster::Running(running)) = ctx.postmaster() else {
        return;
    };
    end(&running, &Role::Startup, |command, ran| {
        blow(ran, allowed(command, ctx.promise(), half))
    });
}

/// Of what a server that is a primary now, or becomes one, has begun as a standby nothing is waited for: it could make no checkpoint.
pub(crate) fn end_what_is_of_no_use(ctx: &Context<'_>, running: &Running) {
    if ctx.params.archive_cleanup_command.is_none() || is_idle(running) {
        return;
    }
    let command = Command::ArchiveCleanupCommand;
    let allowed = allowed(command, ctx.promise(), ctx.deadline.remaining());
    end_cleanup(running, |ran| blow(ran, allowed));
}

/// Whether the checkpointer has begun nothing: this is asked in each monitor, and a look at all processes would cost more than the rest of it.
fn is_idle(running: &Running) -> bool {
    children::is_busy(running.pid, &Role::Checkpointer) == Some(false)
}

/// Ends the command that cleans up the archive, as `decide` says by how long it has run.
pub(crate) fn end_cleanup(running: &Running, decide: impl Fn(Duration) -> Option<Blow>) {
    end(running, &Role::Checkpointer, |command, ran| match command {
        Command::ArchiveCleanupCommand => decide(ran),
        Command::RestoreCommand | Command::RecoveryEndCommand => None,
    });
}

/// The command that cleans up the archive, where it runs.
pub(crate) fn cleanup(running: &Running, processes: &Processes) -> Option<Guard> {
    let children = processes.of(running.pid);
    let checkpointer = children.iter().find(|c| c.role == Role::Checkpointer)?;
    let guards = recovery_command::guards(processes, checkpointer.pid).ok()?;
    let is_cleanup = |guard: &Guard| guard.command == Command::ArchiveCleanupCommand;
    guards.into_iter().find(is_cleanup)
}

/// What is to be told of a standby whose checkpointer waits for the archive. `None`: it does not, or not for long.
pub(crate) fn holds_restartpoints_up(ctx: &Context<'_>, running: &Running) -> Option<String> {
    ctx.params.archive_cleanup_command.as_ref()?;
    if is_idle(running) {
        return None;
    }
    let guard = cleanup(running, &Processes::look().ok()?)?;
    runs_long(guard.command, guard.ran).then(|| {
        format!(
            "archive_cleanup_command has run for {} s, and PostgreSQL makes no restartpoint before it ends: look at the archive, or end that command",
            guard.ran.as_secs()
        )
    })
}

fn end(running: &Running, parent: &Role, decide: impl Fn(Command, Duration) -> Option<Blow>) {
    let ended = Processes::look().and_then(|processes| {
        let mut children = processes.of(running.pid).into_iter();
        let Some(parent) = children.find(|child| child.role == *parent) else {
            return Ok(Vec::new());
        };
        recovery_command::end(&processes, parent.pid, running.account, decide)
    });
    match ended {
        Ok(ended) => {
            for command in ended {
                say!(
                    WARN,
                    "the server waits for this command, and others for the server: it is ended, and the server goes on without it",
                    command = command
                );
            }
        }
        Err(error) => say!(
            WARN,
            "whether a command holds up the server is not known",
            reason = error
        ),
    }
}
