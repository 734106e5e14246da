//! What a server is, a standby or a primary, by its files: this also holds for one that nobody can ask.

use crate::decide::recovery::Phase;
use crate::log::say;
use crate::postgres::{control, files, process};

use crate::agent::context::Context;
use crate::agent::server::own_files::owner_files;
use crate::agent::step::{Step, failed};

/// Whether the server that runs was started as a standby and never promoted, as far as its files say: this also holds for a server
/// that nobody can ask. PostgreSQL removes standby.signal when it is promoted; but the file says what the next start will be, and
/// somebody else may have put it into the directory of a primary that runs. Of that the control file knows.
pub(crate) fn is_standby(ctx: &Context<'_>) -> Step<bool> {
    let signal = ctx.pgdata().join("standby.signal");
    let is_there = signal
        .try_exists()
        .map_err(|e| failed(format!("{}: {e}", signal.display())))?;
    if !is_there {
        return Ok(false);
    }
    takes_writes(ctx).map(|takes| !takes)
}

/// Whether the server that runs is in production, and not about to become a standby: one that starts after a crash has the control file
/// of before until its recovery begins.
fn takes_writes(ctx: &Context<'_>) -> Step<bool> {
    let may_be = matches!(process::phase(ctx.pgdata()), Phase::Up | Phase::Stopping);
    let in_production = || control::is_in_production(ctx.pgdata(), &ctx.owner);
    Ok(may_be && in_production().map_err(|e| failed(format!("the control file: {e}")))?)
}

/// A primary that runs has no standby.signal: whoever put it there meant the next start, which is the agent's to decide, and a server
/// that recovers from the crash of one of its processes would come back as a standby.
pub(crate) fn tidy_primary(ctx: &Context<'_>) -> Step<()> {
    let signal = ctx.pgdata().join("standby.signal");
    if !signal.try_exists().unwrap_or(false) || !takes_writes(ctx)? {
        return Ok(());
    }
    say!(
        WARN,
        "standby.signal is in the directory of a primary that runs, where somebody has put it: it is removed",
        file = signal.display()
    );
    remove_signal(ctx)
}

/// Takes standby.signal away: the next start is one of a primary.
pub(crate) fn remove_signal(ctx: &Context<'_>) -> Step<()> {
    let signal = ctx.pgdata().join("standby.signal");
    owner_files(ctx, &signal, || files::remove(&signal))
}

/// Whether a server that is being promoted takes writes already.
pub(crate) fn is_primary(ctx: &Context<'_>) -> Step<bool> {
    control::is_in_production(ctx.pgdata(), &ctx.owner).map_err(failed)
}
