//! What this machine must have before anything is started. Nothing is changed here.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{AccessFlags, access};

use crate::ocf::{OcfCode, Outcome};

use super::context::Context;
use super::{Step, places, settings};

/// The oldest PostgreSQL that has standby.signal, and so the settings in postgresql.conf.
const OLDEST: u32 = 12;

/// Every check; the first that fails is the reason.
pub(super) fn validate(ctx: &Context<'_>) -> Step<()> {
    let p = ctx.params;
    if access(&p.pgctl, AccessFlags::X_OK).is_err() || !p.pgctl.is_file() {
        return Err(installed(format!(
            "pgctl={} is not an executable file; on Debian it is /usr/lib/postgresql/VERSION/bin/pg_ctl",
            p.pgctl.display()
        )));
    }
    let data = data_directory(ctx)?;
    program_version(ctx, data)?;
    settings::check(ctx)?;
    places::check(ctx)
}

pub(super) fn installed(text: impl std::fmt::Display) -> Outcome {
    Outcome::because(OcfCode::ErrInstalled, text)
}

pub(super) fn permission(text: impl std::fmt::Display) -> Outcome {
    Outcome::because(OcfCode::ErrPerm, text)
}

/// A data directory of the owner's, and its major version.
fn data_directory(ctx: &Context<'_>) -> Step<u32> {
    let dir = ctx.pgdata().display();
    let meta = fs::metadata(ctx.pgdata()).map_err(|e| {
        installed(format!(
            "pgdata={dir}: {e}; create it with initdb or pg_basebackup, or correct pgdata"
        ))
    })?;
    if !meta.is_dir() {
        return Err(installed(format!(
            "pgdata={dir} is not a directory: correct pgdata"
        )));
    }
    if meta.uid() != ctx.owner.uid.as_raw() {
        return Err(permission(format!(
            "pgdata={dir} belongs to user id {}, not to {}: chown it, or correct pgdba",
            meta.uid(),
            ctx.owner.name
        )));
    }
    // What the server demands (`checkDataDir` in miscinit.c).
    if meta.mode() & 0o027 != 0 {
        return Err(permission(format!(
            "pgdata={dir} has mode {:o}, with which PostgreSQL does not start: chmod 700, or 750",
            meta.mode() & 0o7777
        )));
    }
    let text = fs::read_to_string(ctx.pgdata().join("PG_VERSION")).map_err(|e| {
        installed(format!(
            "pgdata={dir} is no data directory: run initdb or pg_basebackup, or correct pgdata (PG_VERSION: {e})"
        ))
    })?;
    let version = text.trim().split('.').next().and_then(|v| v.parse().ok());
    let version: u32 = version.ok_or_else(|| {
        installed(format!(
            "pgdata={dir} is damaged: restore it, PG_VERSION says {:?}",
            text.trim()
        ))
    })?;
    if version < OLDEST {
        return Err(installed(format!(
            "pgdata={dir} is of PostgreSQL {}; expgsql needs {OLDEST} or newer: upgrade it with pg_upgrade",
            text.trim()
        )));
    }
    Ok(version)
}

fn program_version(ctx: &Context<'_>, data: u32) -> Step<()> {
    let pgctl = ctx.params.pgctl.display();
    let output = ctx
        .programs()
        .pg_ctl()
        .arg("--version")
        .env("LC_ALL", "C")
        .run(ctx.deadline)
        .map_err(installed)?;
    // "pg_ctl (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 17devel"
    let text = output.stdout_text();
    let digits: String = text
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let program: u32 = digits.parse().map_err(|_| {
        installed(format!(
            "pgctl={pgctl} is not pg_ctl: correct pgctl; asked for its version it says {:?}",
            text.lines().next().unwrap_or_default()
        ))
    })?;
    if program == data {
        return Ok(());
    }
    Err(installed(format!(
        "pgctl={pgctl} is of PostgreSQL {program}, pgdata={} of {data}: correct one of the two",
        ctx.pgdata().display()
    )))
}
