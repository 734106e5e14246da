//! Ends the server, and everything that it left behind.

use crate::decide::eligibility::Promise;
use crate::decide::stop::{self as decide, Escalation, escalation};
use crate::log::say;
use crate::postgres::process::Running;
use crate::postgres::server::{self, Ended};
use crate::postgres::session::{Session, SqlError};

use crate::timing;

use crate::agent::context::Context;
use crate::agent::server::by_files;
use crate::agent::server::lingering::Lingerers;
use crate::agent::step::{Step, failed};

/// Stops the server and everything it left behind.
pub(crate) fn stop_server(ctx: &Context<'_>) -> Step<Ended> {
    let ended = end(ctx, |running| plan(ctx, running))?;
    match ended {
        Ended::Already | Ended::Fast | Ended::Curtailed => {
            say!(INFO, "server stopped", ended = ended);
        }
        Ended::Immediate | Ended::Killed => {
            say!(
                WARN,
                "server stopped, but not in order: it recovers at its next start, and standbys miss its last checkpoint",
                ended = ended
            );
        }
    }
    Ok(ended)
}

/// R4: this node has lost what it was the primary by. Where that is the lease, another may be the primary as soon as it is over: the server is
/// given no time beyond what is counted for its stop. One that is still there after that is stopped in whatever time there is.
pub(crate) fn step_down(ctx: &Context<'_>) -> Step<()> {
    let is_by_lease = ctx.promise() == Promise::Async && ctx.params.enable_distlock;
    if is_by_lease {
        match stop_server(&ctx.within(timing::LOCK_MARGIN)) {
            Ok(_) => return Ok(()),
            Err(failure) => say!(WARN, "stop", reason = failure.text()),
        }
    }
    stop_server(ctx).map(drop)
}

/// Stops the server in the time that `plan` gives to each way of stopping.
pub(crate) fn end(ctx: &Context<'_>, plan: impl Fn(&Running) -> Escalation) -> Step<Ended> {
    let mut lingerers = Lingerers::new(ctx);
    let only_waits = |running: &Running| lingerers.only_wait(running);
    server::stop(ctx.pgdata(), &ctx.owner, plan, only_waits, ctx.deadline).map_err(failed)
}

/// How long each way of stopping may take here and now.
pub(crate) fn plan(ctx: &Context<'_>, running: &Running) -> Escalation {
    let is_standby = by_files::is_standby(ctx).unwrap_or(false);
    let wish = if is_standby {
        ctx.params.stop_escalate_in_slave
    } else {
        ctx.params.stop_escalate
    };
    let responds = if running.frozen {
        decide::Postmaster::Frozen
    } else {
        responds(&look(ctx, running))
    };
    escalation(ctx.deadline.remaining(), wish, responds)
}

/// A login before the server is stopped. It may take a share of the time only: the rest is for the stop itself.
pub(crate) fn look(ctx: &Context<'_>, running: &Running) -> Result<Session, SqlError> {
    ctx.connect_within(running, decide::look(ctx.deadline.remaining()))
}

fn responds(login: &Result<Session, SqlError>) -> decide::Postmaster {
    match login {
        Err(SqlError::TimedOut(..) | SqlError::Slow(_)) => decide::Postmaster::Hangs,
        Ok(_)
        | Err(
            SqlError::Refused(_)
            | SqlError::Closed(_)
            | SqlError::NotReady(_)
            | SqlError::Unreachable(_)
            | SqlError::Failed { .. }
            | SqlError::Unexpected { .. }
            | SqlError::Owner(_)
            | SqlError::Setup(_),
        ) => decide::Postmaster::Runs,
    }
}
