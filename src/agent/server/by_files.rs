//! What a server is, a standby or a primary, by its files: this also holds for one that nobody can ask.

use crate::decide::recovery::Phase;
use crate::log::say;
use crate::postgres::control::{self, Doing};
use crate::postgres::files;
use crate::postgres::process::{self, Postmaster};

use crate::agent::context::Context;
use crate::agent::server::answering::Server;
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
        // Somebody has removed it. A server that takes connections, and whose control file says so, is a standby until it is promoted.
        return control_says(ctx, &[Phase::Up], Doing::ArchiveRecovery);
    }
    takes_writes(ctx).map(|takes| !takes)
}

/// Whether the server that runs is in production, and not about to become a standby: one that starts after a crash has the control file
/// of before until its recovery begins.
fn takes_writes(ctx: &Context<'_>) -> Step<bool> {
    control_says(ctx, &[Phase::Up, Phase::Stopping], Doing::Production)
}

/// Whether a server that runs does this. In other phases the control file may be that of before.
fn control_says(ctx: &Context<'_>, phases: &[Phase], what: Doing) -> Step<bool> {
    if !phases.contains(&process::phase(ctx.pgdata())) || ctx.postmaster()? == Postmaster::Stopped {
        return Ok(false);
    }
    let doing = control::doing(ctx.pgdata(), &ctx.owner);
    let doing = doing.map_err(|e| failed(format!("the control file: {e}")))?;
    Ok(doing == what)
}

/// Puts standby.signal back beside a standby that runs. Without it that server would be a primary after the crash of one of its processes, on
/// the timeline of the one that it follows.
pub(crate) fn keep_signal(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let signal = ctx.pgdata().join("standby.signal");
    if !server.state.in_recovery || signal.try_exists().unwrap_or(true) {
        return Ok(());
    }
    say!(
        WARN,
        "was removed from under a standby that runs, and is there again",
        file = signal.display()
    );
    owner_files(ctx, &signal, || files::write(&signal, "", 0o600))
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

/// Whether `pg_ctl promote` has left its request, which the server has not taken up yet.
pub(crate) fn is_told_to_promote(ctx: &Context<'_>) -> Step<bool> {
    // The second is one that PostgreSQL 12 still reads, where somebody has made it.
    for name in ["promote", "fallback_promote"] {
        let file = ctx.pgdata().join(name);
        let is_there = file
            .try_exists()
            .map_err(|error| failed(format!("{}: {error}", file.display())))?;
        if is_there {
            return Ok(true);
        }
    }
    Ok(false)
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
