//! A command that recovery waits for, where nothing that it could bring is waited for any more. Decided in `decide::recovery_command`.

use std::time::Duration;

use crate::decide::recovery_command::{Blow, Command, allowed, blow};
use crate::log::say;
use crate::postgres::children::{Processes, Role};
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::recovery_command;

use crate::agent::context::Context;

/// The standby is to get no further: nothing more is fetched.
pub(crate) fn end_fetching(ctx: &Context<'_>, running: &Running) {
    if ctx.params.restore_command.is_none() {
        return;
    }
    end(running, |command, ran| match command {
        Command::RestoreCommand => blow(ran, Duration::ZERO),
        Command::RecoveryEndCommand => None,
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
    end(&running, |command, ran| {
        blow(ran, allowed(command, ctx.promise(), half))
    });
}

fn end(running: &Running, decide: impl Fn(Command, Duration) -> Option<Blow>) {
    let ended = Processes::look().and_then(|processes| {
        let mut children = processes.of(running.pid).into_iter();
        let Some(startup) = children.find(|child| child.role == Role::Startup) else {
            return Ok(Vec::new());
        };
        recovery_command::end(&processes, startup.pid, running.account, decide)
    });
    match ended {
        Ok(ended) => {
            for command in ended {
                say!(
                    WARN,
                    "recovery waits for this command, and the cluster for the recovery: it is ended, and recovery goes on without it",
                    command = command
                );
            }
        }
        Err(error) => say!(
            WARN,
            "whether a command holds up the recovery is not known",
            reason = error
        ),
    }
}
