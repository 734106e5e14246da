//! rep_mode.conf: whom commits wait for.

use crate::model::sync_names::SyncNames;
use crate::postgres::owner::as_owner;
use crate::postgres::{config, files};

use crate::agent::context::Context;
use crate::agent::server::own_files::{self, REP_MODE_CONF, owner_files};
use crate::agent::step::{Step, failed};

/// Puts a contract into rep_mode.conf; the server has to read it then.
pub(crate) fn write_contract(ctx: &Context<'_>, contract: &SyncNames) -> Step<()> {
    let path = ctx.tmp(REP_MODE_CONF);
    let text = format!(
        "synchronous_standby_names = {}\n",
        config::quote(&contract.to_string())
    );
    owner_files(ctx, &path, || files::write(&path, &text, 0o600))
}

/// rep_mode was async or sync, and is no more; the include line is still in the configuration. A server that went on to
/// wait for standbys that nobody starts would never commit again.
pub(crate) fn retire_contract(ctx: &Context<'_>) -> Step<()> {
    let path = ctx.tmp(REP_MODE_CONF);
    if !path.exists() {
        return Ok(());
    }
    // It may be another resource's, of a time when nobody said whose it is.
    let read = as_owner(&ctx.owner, || {
        config::read(&ctx.params.config, &own_files::files(ctx))
    });
    let is_ours = |contents: config::Contents| contents.includes.contains(&path);
    if !read.map_err(failed)?.is_ok_and(is_ours) {
        return Ok(());
    }
    let text = "# rep_mode waits for no standby.\n";
    owner_files(ctx, &path, || files::write(&path, text, 0o600))
}
