//! What a standby would wait for, were it to become a primary.

use crate::decide::contract::at_start;
use crate::model::sync_names::SyncNames;
use crate::params::RepMode;
use crate::postgres::server;
use crate::trial::point;

use crate::agent::membership::board::Board;
use crate::agent::server::answering::Server;
use crate::agent::server::rep_mode_conf::write_contract;
use crate::agent::step::{Step, failed};

/// What a server started here waits for if it becomes a primary.
pub(crate) fn initial_contract(board: &Board<'_, '_>) -> Step<SyncNames> {
    let ctx = board.ctx;
    match ctx.params.rep_mode {
        RepMode::Sync => {
            let is_recorded = ctx.record(&board.view)?.is_some_and(|r| r.node == ctx.me);
            let mut peers = ctx.sync_order(&board.view);
            if peers.is_empty() {
                let all = ctx.peers(&board.view);
                peers = all.iter().map(|n| n.lower().to_owned()).collect();
            }
            peers.sort();
            let others = peers.into_iter().chain(ctx.outside());
            Ok(at_start(is_recorded, &board.claim()?, others))
        }
        RepMode::Async | RepMode::Slave | RepMode::None => Ok(SyncNames::Nobody),
    }
}

/// Another node was promoted: what this one waited for as a primary is not what it would wait for as the next one.
pub(crate) fn renew_contract(board: &Board<'_, '_>, server: &Server) -> Step<()> {
    let contract = initial_contract(board)?;
    if server.state.sync_names == contract {
        return Ok(());
    }
    write_contract(board.ctx, &contract)?;
    point!(RenewConf);
    server::reload(&server.running).map_err(failed)
}
