//! Starts the server, after clearing away what a killed one left behind.

use crate::postgres::server::{self, Launch};

use crate::agent::context::Context;
use crate::agent::server::{minimums, obituary};
use crate::agent::step::{Step, failed};

/// Starts the server, after clearing away what a killed one left behind.
pub(crate) fn launch(ctx: &Context<'_>) -> Step<()> {
    launch_with(ctx, ctx.launch())
}

/// The same as a standby, which needs some settings as large as its primary.
pub(crate) fn launch_as_standby(ctx: &Context<'_>) -> Step<()> {
    let mut launch = ctx.launch();
    for word in minimums::options(ctx)? {
        launch.start_opt.push(' ');
        launch.start_opt.push_str(&shell_words::quote(&word));
    }
    launch_with(ctx, launch)
}

fn launch_with(ctx: &Context<'_>, launch: Launch) -> Step<()> {
    server::make_room(ctx.pgdata(), &launch.sockets(), &ctx.owner, ctx.deadline).map_err(failed)?;
    obituary::remember(ctx, &launch);
    server::launch(&ctx.programs(), &launch, ctx.deadline).map_err(|e| {
        failed(format!(
            "{e}; the server's log says more: {}",
            ctx.params.logfile.display()
        ))
    })
}
