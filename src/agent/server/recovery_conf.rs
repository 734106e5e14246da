//! recovery.conf: whom a standby follows, and how.

use std::fmt::Write as _;

use crate::decide::recovery_command::Command;
use crate::postgres::{config, files, reading};

use crate::agent::context::Context;
use crate::agent::server::own_files::{RECOVERY_CONF, owner_files};
use crate::agent::server::slots;
use crate::agent::step::Step;

/// Whom a standby receives from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// The server at the primary's address, if it has this slot.
    Primary { slot: Option<String> },
    /// It has stated how far it is (R8), and must not get further.
    Nobody,
    /// There is no primary that it could connect to: what it gets is in the archive.
    Archive,
}

impl Follow {
    /// Whom a standby follows whose primary this cluster does not manage.
    pub(crate) fn outside(ctx: &Context<'_>) -> Self {
        if ctx.params.is_of_archive_alone() {
            return Self::Archive;
        }
        let slot = slots::slot_of(ctx, &ctx.me, None, &[]);
        Self::Primary { slot }
    }
}

/// How to follow a primary.
pub(crate) fn write_recovery(ctx: &Context<'_>, follow: &Follow) -> Step<()> {
    let recovery = ctx.tmp(RECOVERY_CONF);
    let text = recovery_conf(ctx, follow);
    owner_files(ctx, &recovery, || files::write(&recovery, &text, 0o600))
}

/// Whether recovery.conf says that already.
pub(crate) fn follows(ctx: &Context<'_>, follow: &Follow) -> bool {
    let present = reading::read_as(&ctx.owner, &ctx.tmp(RECOVERY_CONF));
    present.is_ok_and(|text| text == recovery_conf(ctx, follow))
}

fn recovery_conf(ctx: &Context<'_>, follow: &Follow) -> String {
    let p = ctx.params;
    let mut text =
        "# Written by expgsql at every start; edit the resource's parameters instead.\n".to_owned();
    let mut set = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {}", config::quote(value));
    };
    match follow {
        Follow::Primary { slot } => {
            set("primary_conninfo", &primary_conninfo(ctx));
            if let Some(slot) = slot {
                set("primary_slot_name", slot);
            }
        }
        Follow::Nobody | Follow::Archive => set("primary_conninfo", ""),
    }
    set("recovery_target_timeline", "latest");
    let restore = match (follow, &p.restore_command) {
        // Nor from the archive, also where it is the operator's own setting that comes before this. From PostgreSQL 14 on a reload is enough.
        (Follow::Nobody, _) => Some(String::new()),
        (Follow::Primary { .. } | Follow::Archive, given) => given
            .as_deref()
            .map(|command| Command::RestoreCommand.guarded(command)),
    };
    let at_end = p.recovery_end_command.as_deref();
    let cleanup = p.archive_cleanup_command.as_deref();
    for (name, value) in [
        ("restore_command", restore.as_ref()),
        // Its failure ends nothing; it is to be known where it hangs.
        (
            "archive_cleanup_command",
            cleanup
                .map(|command| Command::ArchiveCleanupCommand.guarded(command))
                .as_ref(),
        ),
        (
            "recovery_end_command",
            at_end
                .map(|command| Command::RecoveryEndCommand.guarded(command))
                .as_ref(),
        ),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    // After a failover commits wait until a standby has found the new primary; PostgreSQL's own
    // 5 s would be most of the outage. An archive is not asked that often for nothing.
    if restore.is_none_or(|command| command.is_empty()) {
        set("wal_retrieve_retry_interval", "500ms");
    }
    text
}

fn primary_conninfo(ctx: &Context<'_>) -> String {
    let p = ctx.params;
    let mut text = String::new();
    let mut set = |name: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = write!(text, "{name}='{value}' ");
    };
    set("host", p.master_ip.as_deref().unwrap_or_default());
    set("port", &p.pgport.to_string());
    set("user", &p.repuser);
    set("application_name", ctx.me.lower());
    if let Some(passfile) = &p.passfile {
        set("passfile", &passfile.to_string_lossy());
    }
    // Last, so that what the operator says there wins, as it always has.
    if let Some(more) = &p.primary_conninfo_opt {
        text.push_str(more.reveal());
    }
    text.trim_end().to_owned()
}
