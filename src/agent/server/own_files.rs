//! The files that the agent writes for the server, which postgresql.conf includes: their names, and how they are written.

use std::io;
use std::path::{Path, PathBuf};

use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::owner::as_owner;

use crate::agent::context::Context;
use crate::agent::step::{Step, failed};

/// Files under tmpdir that postgresql.conf includes. The names are the older agents', so that
/// their include lines go on working.
pub(crate) const RECOVERY_CONF: &str = "recovery.conf";

pub(crate) const REP_MODE_CONF: &str = "rep_mode.conf";

/// Our files, whichever mode they are for.
pub(crate) fn files(ctx: &Context<'_>) -> [PathBuf; 2] {
    [ctx.tmp(RECOVERY_CONF), ctx.tmp(REP_MODE_CONF)]
}

/// Our files that this mode includes.
pub(crate) fn includes(ctx: &Context<'_>) -> Vec<PathBuf> {
    match ctx.params.rep_mode {
        RepMode::None => Vec::new(),
        RepMode::Slave => vec![ctx.tmp(RECOVERY_CONF)],
        RepMode::Async | RepMode::Sync => files(ctx).to_vec(),
    }
}

/// What to do where the include lines can't be added.
pub(crate) fn by_hand(ctx: &Context<'_>) -> String {
    let lines: Vec<String> = includes(ctx)
        .iter()
        .map(|i| format!("include_if_exists '{}'", i.display()))
        .collect();
    format!("add to it: {}", lines.join("; "))
}

pub(crate) fn owner_files(
    ctx: &Context<'_>,
    path: &Path,
    action: impl FnOnce() -> io::Result<()>,
) -> Step<()> {
    as_owner(&ctx.owner, action)
        .map_err(failed)?
        .map_err(|e| not_writable(path, &e, ctx))
}

pub(crate) fn not_writable(path: &Path, error: &io::Error, ctx: &Context<'_>) -> Outcome {
    Outcome::because(
        OcfCode::ErrPerm,
        format!(
            "{} is not writable for {}: {error}",
            path.display(),
            ctx.owner.name
        ),
    )
}
