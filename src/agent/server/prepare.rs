//! Writes what makes the next start one of a standby, and puts back what was taken away from it while the server runs.

use std::io;

use crate::log::say;
use crate::model::sync_names::SyncNames;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::owner::as_owner;
use crate::postgres::{config, files, reach, server};
use crate::trial::point;

use crate::agent::context::Context;
use crate::agent::server::answering::Server;
use crate::agent::server::by_files::keep_signal;
use crate::agent::server::in_force;
use crate::agent::server::make_places::{keep_place, prepare_places};
use crate::agent::server::own_files::{RECOVERY_CONF, by_hand, includes, owner_files};
use crate::agent::server::recovery_conf::{Follow, follows, write_recovery};
use crate::agent::server::rep_mode_conf::write_contract;
use crate::agent::step::{Step, failed};

/// Writes everything that makes the next start one of a standby. Idempotent; `standby.signal`
/// comes last but one, so that a call that dies on the way leaves a server that either starts as
/// before or as a standby.
pub(crate) fn prepare(ctx: &Context<'_>, contract: Option<&SyncNames>, follow: Follow) -> Step<()> {
    prepare_places(ctx)?;
    write_recovery(ctx, &follow)?;
    point!(StartRecoveryConf);
    if let Some(contract) = contract {
        write_contract(ctx, contract)?;
        point!(StartContract);
    }
    let signal = ctx.pgdata().join("standby.signal");
    let obsolete = ctx.pgdata().join("recovery.signal");
    owner_files(ctx, &signal, || {
        files::write(&signal, "", 0o600)?;
        files::remove(&obsolete)
    })?;
    point!(StartSignal);
    add_includes(ctx)?;
    point!(StartIncludes);
    Ok(())
}

/// Puts back what was taken away from under a server that runs: tmpdir, as who makes room does, the include lines in its configuration, as
/// whoever keeps that file somewhere else does, and the file with a standby's settings. What the agent has set there would be gone with the next reload, and
/// is gone where that has come already.
pub(crate) fn mend(ctx: &Context<'_>, server: &Server) -> Step<()> {
    if !ctx.params.rep_mode.is_replicated() {
        return Ok(());
    }
    keep_place(ctx)?;
    keep_signal(ctx, server)?;
    let config = &ctx.params.config;
    let look = || config::has_includes(config, &includes(ctx)).unwrap_or(false);
    let has_lines = as_owner(&ctx.owner, look).map_err(failed)?;
    // They may be in a file that this one includes.
    let added = !has_lines && add_includes(ctx)?;
    if added {
        say!(
            WARN,
            "the include lines were gone from the configuration, and are there again: let whoever wrote that file keep them",
            file = config.display(),
            lines = by_hand(ctx)
        );
    }
    let follow = Follow::outside(ctx);
    // In a cluster that depends on who is primary, and is looked after there.
    let is_gone = !ctx.is_promotable() && !follows(ctx, &follow);
    if is_gone {
        say!(
            WARN,
            "was gone or changed, and is written anew",
            file = ctx.tmp(RECOVERY_CONF).display()
        );
        write_recovery(ctx, &follow)?;
    }
    let kept = in_force::keep_contract(ctx, server);
    if added || is_gone {
        server::reload(&server.running).map_err(failed)?;
    }
    kept
}

/// Adds the include lines to the server's configuration file, and says whether any was missing.
fn add_includes(ctx: &Context<'_>) -> Step<bool> {
    let file = &ctx.params.config;
    let text =
        as_owner(&ctx.owner, || config::with_includes(file, &includes(ctx))).map_err(failed)?;
    let Some(text) = text.map_err(|e| Outcome::because(OcfCode::ErrInstalled, e))? else {
        return Ok(false);
    };
    let written = as_owner(&ctx.owner, || files::rewrite(file, &text, None)).map_err(failed)?;
    match written {
        // Root's directory, or a file with another owner in the owner's own.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            match reach::pin(file, &ctx.owner) {
                Ok(place) => files::rewrite_in(&place.dir, &place.name, &text),
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    files::rewrite(file, &text, Some(ctx.owner.uid))
                }
                Err(e) => Err(e),
            }
        }
        other => other,
    }
    .map_err(|e| {
        Outcome::because(
            OcfCode::ErrPerm,
            format!("{}: {e}; {}", file.display(), by_hand(ctx)),
        )
    })?;
    Ok(true)
}
