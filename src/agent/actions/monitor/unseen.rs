//! A server that lives and does not let the agent in, in none of the ways that there are. What it is has to be known otherwise, and
//! what it serves it goes on to serve.

use crate::decide::right::Right;
use crate::log::say;
use crate::model::timeline::Lineage;
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::{control, wal};

use crate::agent::actions::monitor::answers;
use crate::agent::actions::monitor::care::{self, Troubles};
use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::lease::Lease;
use crate::agent::membership::promotion_record;
use crate::agent::server::by_files;
use crate::agent::step::{Step, failed};

/// What the monitor answers; `why`: what the server has answered.
pub(crate) fn answer(ctx: &Context<'_>, lease: Lease<'_>, why: &impl ToString) -> Step<Outcome> {
    let reason = format!("not let in: {}", why.to_string());
    say!(
        WARN,
        "the server runs, and does not let the agent in; it is left to go on",
        reason = reason
    );
    let is_standby = by_files::is_standby(ctx)?;
    match (ctx.params.rep_mode, is_standby) {
        (RepMode::None, _) | (RepMode::Slave, true) => Ok(answers::kept(ctx, reason)),
        (RepMode::Slave, false) => Ok(answers::promoted_slave()),
        (RepMode::Async | RepMode::Sync, true) => Ok(answers::kept(ctx, reason)),
        (RepMode::Async | RepMode::Sync, false) => leased(ctx, lease, reason),
    }
}

/// A primary that can't be asked: its lease and its right are looked after, and nothing that its commits wait for is changed. `reason`: why.
pub(crate) fn leased(ctx: &Context<'_>, lease: Lease<'_>, reason: String) -> Step<Outcome> {
    let lease = if ctx.env.is_probe() {
        lease
    } else {
        lease.or_ask(ctx)?
    };
    if let Lease::Over(reason) = lease {
        return answers::step_down(ctx, reason);
    }
    let rest = lease.rest(ctx)?;
    let ctx = &ctx.within(rest);
    let mut troubles = Troubles::default();
    troubles.shut(reason);
    let board = match Board::read(ctx) {
        Ok(board) => board,
        Err(failure) => {
            if let Some(reason) = lease.is_over_without(ctx, failure.text()) {
                return answers::step_down(ctx, reason);
            }
            troubles.note::<()>("the cluster's state", Err(failure));
            return Ok(care::answer(ctx, None, None, troubles));
        }
    };
    let judged = lineage(ctx).and_then(|lineage| promotion_record::judge(&board, &lineage));
    match troubles.note("its right to be primary", judged) {
        Some(lost @ Right::Lost { .. }) if ctx.env.is_probe() => {
            return Ok(Outcome::because(OcfCode::FailedPromoted, lost));
        }
        Some(lost @ Right::Lost { .. }) => return answers::step_down(ctx, lost),
        Some(Right::Keep | Right::Correct(_)) | None => {}
    }
    Ok(care::answer(ctx, Some(&board), None, troubles))
}

/// As the control file has it.
fn lineage(ctx: &Context<'_>) -> Step<Lineage> {
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    wal::lineage(ctx.pgdata(), control.timeline).map_err(failed)
}
