//! reload-agent: parameters changed that need no restart of the server.

use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Postmaster;
use crate::postgres::server;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::statement;
use crate::agent::server::recovery_conf::{self, Follow};
use crate::agent::server::{by_files, rep_mode_conf};
use crate::agent::standby::initial_contract;
use crate::agent::step::{Step, failed};

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
        recovery_conf::write_recovery(ctx, &Follow::outside(ctx))?;
        server::reload(&running).map_err(failed)?;
        return done;
    }
    let board = Board::read(ctx)?;
    recovery_conf::write_recovery(ctx, &statement::whom_to_follow(&board)?)?;
    if by_files::is_standby(ctx)? {
        rep_mode_conf::write_contract(ctx, &initial_contract::initial_contract(&board)?)?;
    }
    server::reload(&running).map_err(failed)?;
    done
}
