//! A standby that comes up and can't be asked yet: nobody may promote it before its monitor has seen it.

use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::sys::poll_until;
use crate::timing;

use crate::agent::membership::board::Board;

/// A start or a demotion ends here, and the recovery goes on. Until it is over nobody may promote this node: a promotion would wait
/// for it in vain, fail, and end it.
pub(crate) fn goes_on(board: &Board<'_, '_>) {
    say!(
        WARN,
        "the server replays its WAL and takes no connections yet: that goes on by itself, and the monitor says when it is over"
    );
    bar(board);
}

/// Nobody may promote this node, whose server can't be asked, before its monitor has seen it.
pub(crate) fn bar(board: &Board<'_, '_>) {
    let ctx = board.ctx;
    let told = board
        .set_score(&ctx.me, Score::Never)
        .and_then(|()| board.set_status(&ctx.me, NodeStatus::Unknown));
    if let Err(failure) = told {
        say!(
            WARN,
            "the cluster could not be told of it",
            reason = failure.text()
        );
        return;
    }
    // Until the CIB has it, Pacemaker would go on with the promotion that it has planned.
    let never = Score::Never.to_string();
    poll_until(
        ctx.deadline.min(timing::ELECTION_WAIT),
        timing::READY_POLL,
        || {
            let view = ctx.cluster().ok()?;
            let score = view
                .node(&ctx.me)?
                .transient(TransientAttribute::PromotionScore, &ctx.resource)?;
            (score == never).then_some(())
        },
    );
}
