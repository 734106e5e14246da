//! R3: by what right this node may be promoted, by what the cluster has of it.

use crate::decide::eligibility::{Ground, Ineligible, Promise, Standing, ground};
use crate::model::timeline::Lineage;

use crate::agent::membership::attempt;
use crate::agent::membership::board::Board;
use crate::agent::step::Step;

/// R3: what the CIB says about this node.
pub(crate) fn own_ground(
    board: &Board<'_, '_>,
    lineage: &Lineage,
) -> Step<Result<Ground, Ineligible>> {
    let ctx = board.ctx;
    let belief = match ctx.promise() {
        Promise::Sync => Some(attempt::belief(board)?),
        Promise::Async => None,
    };
    Ok(ground(&Standing {
        promise: ctx.promise(),
        node: &ctx.me,
        record: ctx.record(&board.view)?.as_ref(),
        recorded: ctx.data_status(&board.view, &ctx.me)?,
        claim: &board.claim_for(lineage)?,
        is_complete: board.is_complete(lineage)?,
        is_distrusted: belief.is_some_and(|belief| !belief.is_trusted),
        has_missed: belief.is_some_and(|belief| belief.has_missed),
    }))
}
