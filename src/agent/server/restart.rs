//! A standby that is restarted out of recovery.

use crate::postgres::process::Running;
use crate::timing;
use crate::trial::point;

use crate::agent::context::Context;
use crate::agent::server::answering::Server;
use crate::agent::server::{by_files, ending, launch, ready};
use crate::agent::step::Step;

/// Restarts a running standby out of recovery: a primary on the same timeline.
pub(crate) fn restart_as_primary(ctx: &Context<'_>) -> Step<Server> {
    // It comes back in a moment, so nobody needs its last checkpoint; a fast shutdown would first send a standby
    // that is far behind all that it lacks.
    let frozen = |running: &Running| {
        let mut plan = ending::plan(ctx, running);
        plan.fast = plan.fast.min(timing::RESTART);
        plan
    };
    ending::end(ctx, frozen)?;
    point!(RestartStopped);
    by_files::remove_signal(ctx)?;
    point!(RestartUnsignalled);
    launch::launch(ctx)?;
    point!(RestartLaunched);
    ready::wait(ctx, "a primary", |state| !state.in_recovery)
}
