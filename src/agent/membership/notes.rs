//! This node's notes, after what was lost of them has been found out again.

use crate::decide::distrust;
use crate::decide::state_loss::recall;
use crate::log::say;
use crate::sys::boot_clock;

use crate::agent::membership::board::Board;
use crate::agent::membership::stated;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// This node's notes. What it has lost of them is found out again first.
pub(crate) fn notes(board: &Board<'_, '_>) -> Step<State> {
    let ctx = board.ctx;
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let Some(loss) = old.lost else {
        return Ok(old);
    };
    let recorded = stated::recorded_epoch(board.ctx, &board.view)?;
    let is_mine = ctx.record(&board.view)?.is_some_and(|r| r.node == ctx.me);
    let recalled = recall(loss, stated::own_stated(ctx)?, recorded, is_mine);
    let mut state = old.clone();
    state.detached = old.detached.max(recalled.detached);
    state.epoch = old.epoch.max(recalled.epoch);
    if recalled.distrusts {
        state.distrust = distrust::note(false, old.distrust, board.sync_record()?.as_ref());
        state.outside = None;
    }
    state.lost = None;
    state.save(ctx, &old)?;
    say!(
        WARN,
        "this node's notes were lost; this is what the cluster knows of them",
        loss = format_args!("{loss:?}"),
        detached = format_args!("{:?}", state.detached),
        distrust = format_args!("{:?}", state.distrust)
    );
    Ok(state)
}
