//! reload-agent: parameters changed that need no restart of the server.

use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Postmaster;
use crate::postgres::server;

use crate::agent::context::Context;
use crate::agent::record::Board;
use crate::agent::standby;
use crate::agent::standby::Follow;
use crate::agent::statement;
use crate::agent::step::Step;
use crate::agent::step::failed;

/// Writes the standby's settings anew. On a primary they wait in the file for its next start, and
/// rep_mode.conf is left alone: what commits wait for is the monitor's to change (R1).
pub(crate) fn reload(ctx: &Context<'_>) -> Step<Outcome> {
    let done = Ok(Outcome::of(OcfCode::Success));
    if !ctx.params.rep_mode.is_replicated() {
        return done;
    }
    let Postmaster::Running(running) = ctx.postmaster()? else {
        return done;
    };
    if !ctx.is_promotable() {
        standby::write_recovery(ctx, &Follow::outside(ctx))?;
        server::reload(&running).map_err(failed)?;
        return done;
    }
    let board = Board::read(ctx)?;
    standby::write_recovery(ctx, &statement::whom_to_follow(&board)?)?;
    if standby::is_standby(ctx)? {
        standby::write_contract(ctx, &standby::initial_contract(&board)?)?;
    }
    server::reload(&running).map_err(failed)?;
    done
}
