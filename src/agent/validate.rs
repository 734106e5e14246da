//! What this machine must have before anything is started. Nothing is changed here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::config::{self, Contents, Setting};
use crate::postgres::owner::as_owner;
use crate::sys::Command;

use super::context::Context;
use super::{Step, failed, standby};

/// The oldest PostgreSQL that has standby.signal, and so the settings in postgresql.conf.
const OLDEST: u32 = 12;

/// Settings that the agent writes itself; anywhere else they would override or contradict it.
const MANAGED: [&str; 2] = ["primary_conninfo", "synchronous_standby_names"];

/// In postgresql.auto.conf these would win over the agent's, too.
const MANAGED_AUTO: [&str; 5] = [
    "primary_conninfo",
    "synchronous_standby_names",
    "primary_slot_name",
    "recovery_target_timeline",
    "restore_command",
];

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
    let contents = configuration(ctx)?;
    writable(ctx)?;
    if p.rep_mode != RepMode::None {
        replication_settings(ctx, &contents)?;
        passfile(ctx)?;
    }
    Ok(())
}

fn installed(text: impl std::fmt::Display) -> Outcome {
    Outcome::because(OcfCode::ErrInstalled, text)
}

fn permission(text: impl std::fmt::Display) -> Outcome {
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
    if meta.uid() != ctx.owner.uid.as_raw() {
        return Err(permission(format!(
            "pgdata={dir} belongs to user id {}, not to {}: correct pgdba or the directory's owner",
            meta.uid(),
            ctx.owner.name
        )));
    }
    let text = fs::read_to_string(ctx.pgdata().join("PG_VERSION")).map_err(|e| {
        installed(format!(
            "pgdata={dir} is not a data directory: PG_VERSION: {e}"
        ))
    })?;
    let version = text.trim().split('.').next().and_then(|v| v.parse().ok());
    let version: u32 = version
        .ok_or_else(|| installed(format!("pgdata={dir}: PG_VERSION says {:?}", text.trim())))?;
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
    let output = Command::new(&ctx.params.pgctl)
        .arg("--version")
        .env("LC_ALL", "C")
        .as_owner(&ctx.owner)
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
            "pgctl={pgctl} does not say its version: {:?}",
            text.trim()
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

/// postgresql.conf, and its settings with everything it includes but our own files.
fn configuration(ctx: &Context<'_>) -> Step<Contents> {
    let file = &ctx.params.config;
    if !file.is_file() {
        return Err(installed(format!(
            "config={} does not exist; Debian keeps it under /etc/postgresql/VERSION/NAME",
            file.display()
        )));
    }
    as_owner(&ctx.owner, || config::read(file, &standby::includes(ctx)))
        .map_err(failed)?
        .map_err(installed)
}

fn replication_settings(ctx: &Context<'_>, contents: &Contents) -> Step<()> {
    if let Some(own) = contents
        .settings
        .iter()
        .find(|s| MANAGED.contains(&s.name.as_str()) && !s.value.is_empty())
    {
        return Err(contradicts(own, "remove this line"));
    }
    let auto = ctx.pgdata().join("postgresql.auto.conf");
    let contents_auto = match as_owner(&ctx.owner, || config::read(&auto, &[])).map_err(failed)? {
        Ok(contents) => contents,
        Err(config::ConfigError::Read { error, .. })
            if error.kind() == std::io::ErrorKind::NotFound =>
        {
            Contents::default()
        }
        Err(error) => return Err(installed(error)),
    };
    // In this file even an empty value overrides ours.
    if let Some(own) = contents_auto
        .settings
        .iter()
        .find(|s| MANAGED_AUTO.contains(&s.name.as_str()))
    {
        return Err(contradicts(
            own,
            &format!(
                "ALTER SYSTEM RESET {} while the server runs, or delete the line while it does not",
                own.name
            ),
        ));
    }
    let last = |name: &str| {
        let mut all = contents.settings.iter().chain(&contents_auto.settings);
        all.rfind(|s| s.name == name)
    };
    if let Some(off) = last("hot_standby").filter(|s| {
        matches!(
            s.value.to_lowercase().as_str(),
            "off" | "false" | "no" | "0"
        )
    }) {
        return Err(installed(format!(
            "{} line {}: hot_standby is off, so a standby could not be watched: set it to on",
            off.file.display(),
            off.line
        )));
    }
    if let Some(minimal) = last("wal_level").filter(|s| s.value.eq_ignore_ascii_case("minimal")) {
        return Err(installed(format!(
            "{} line {}: wal_level is minimal, which allows no standby: set it to replica",
            minimal.file.display(),
            minimal.line
        )));
    }
    Ok(())
}

fn contradicts(setting: &Setting, remedy: &str) -> Outcome {
    installed(format!(
        "{} line {}: {} is set there, but it is expgsql's to set: {remedy}",
        setting.file.display(),
        setting.line,
        setting.name
    ))
}

/// tmpdir and the log file, as far as they exist: the start makes them.
fn writable(ctx: &Context<'_>) -> Step<()> {
    let p = ctx.params;
    if p.rep_mode != RepMode::None {
        check_tmpdir(ctx, &p.tmpdir)?;
    }
    if p.logfile.exists() && !may(ctx, &p.logfile, AccessFlags::W_OK)? {
        return Err(permission(format!(
            "logfile={} is not writable for {}",
            p.logfile.display(),
            ctx.owner.name
        )));
    }
    Ok(())
}

fn check_tmpdir(ctx: &Context<'_>, dir: &Path) -> Step<()> {
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => Err(permission(format!("tmpdir={shown} is not a directory"))),
        Ok(meta) if meta.uid() != ctx.owner.uid.as_raw() => Err(permission(format!(
            "tmpdir={shown} belongs to user id {}, not to {}: chown it, or name another",
            meta.uid(),
            ctx.owner.name
        ))),
        Ok(_) if !may(ctx, dir, AccessFlags::W_OK | AccessFlags::X_OK)? => {
            Err(permission(format!(
                "tmpdir={shown} is not writable for {}: chmod 700, or look for a read-only file system",
                ctx.owner.name
            )))
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(permission(format!("tmpdir={shown}: {e}"))),
    }
}

fn may(ctx: &Context<'_>, path: &Path, flags: AccessFlags) -> Step<bool> {
    // The effective user is what counts; access(2) would look at the real one.
    let flags_at = nix::fcntl::AtFlags::AT_EACCESS;
    as_owner(&ctx.owner, || {
        nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, flags, flags_at).is_ok()
    })
    .map_err(failed)
}

/// libpq ignores a password file that others can read, and then every standby fails to connect.
fn passfile(ctx: &Context<'_>) -> Step<()> {
    let Some(path) = &ctx.params.passfile else {
        return Ok(());
    };
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|e| installed(format!("passfile={shown}: {e}")))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(permission(format!(
            "passfile={shown} can be read by others (mode {:o}): chmod 600 it, and change the password",
            meta.mode() & 0o7777
        )));
    }
    if !may(ctx, path, AccessFlags::R_OK)? {
        return Err(permission(format!(
            "passfile={shown} is not readable for {}: chown it",
            ctx.owner.name
        )));
    }
    Ok(())
}
