//! The server's configuration: can it be read, and does it leave to the agent what is the agent's to set?

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::config::{self, ConfigError, Contents, Setting};
use crate::postgres::owner::as_owner;

use super::context::Context;
use super::validate::{installed, permission};
use super::{Step, failed, standby};

/// Settings that the agent writes itself; anywhere else they would override or contradict it.
const MANAGED: [&str; 2] = ["primary_conninfo", "synchronous_standby_names"];

/// In postgresql.auto.conf and among the options of the server these would win over the agent's, too.
const MANAGED_AUTO: [&str; 5] = [
    "primary_conninfo",
    "synchronous_standby_names",
    "primary_slot_name",
    "recovery_target_timeline",
    "restore_command",
];

pub(super) fn check(ctx: &Context<'_>) -> Step<()> {
    let config = &ctx.params.config;
    if !config.is_file() {
        return Err(installed(format!(
            "config={} does not exist: correct config; on Debian it is in /etc/postgresql/VERSION/NAME",
            config.display()
        )));
    }
    let contents = read(ctx, config)?;
    same_data_directory(ctx, &contents)?;
    if ctx.params.rep_mode == RepMode::None {
        return Ok(());
    }
    replication(ctx, &contents)?;
    options(ctx)?;
    includable(ctx, config)
}

/// A file with everything it includes but our own files, in whichever mode those were written.
fn read(ctx: &Context<'_>, file: &Path) -> Step<Contents> {
    let ours = match ctx.params.rep_mode {
        // They are not written in this mode: one that is included must be there.
        RepMode::None => Vec::new(),
        RepMode::Slave | RepMode::Async | RepMode::Sync => standby::files(ctx).to_vec(),
    };
    as_owner(&ctx.owner, || config::read(file, &ours))
        .map_err(failed)?
        .map_err(|error| unusable(ctx, error))
}

fn unusable(ctx: &Context<'_>, error: ConfigError) -> Outcome {
    let (file, cause) = match &error {
        ConfigError::Read { file, error } => (file.display(), error.kind()),
        ConfigError::Syntax { .. } => return installed(format!("{error}: correct the line")),
        ConfigError::Depth { .. } => {
            return installed(format!("{error}: look for a file that includes itself"));
        }
    };
    if cause == io::ErrorKind::PermissionDenied {
        return permission(format!(
            "{file} is not readable for {}: chown or chmod it",
            ctx.owner.name
        ));
    }
    if cause == io::ErrorKind::NotFound {
        return installed(format!(
            "{file} is not there, but the configuration has an include of it: create it, or remove that line"
        ));
    }
    installed(error)
}

/// pg_ctl starts the server that the configuration names, wherever pgdata points.
fn same_data_directory(ctx: &Context<'_>, contents: &Contents) -> Step<()> {
    let set = |setting: &&Setting| setting.name == "data_directory";
    let Some(other) = contents.settings.iter().rfind(set) else {
        return Ok(());
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(Path::new(&other.value)) == real(ctx.pgdata()) {
        return Ok(());
    }
    Err(installed(format!(
        "pgdata={} is not data_directory={} of the configuration: correct one of the two ({} line {})",
        ctx.pgdata().display(),
        other.value,
        other.file.display(),
        other.line,
    )))
}

fn replication(ctx: &Context<'_>, contents: &Contents) -> Step<()> {
    let is_own = |s: &&Setting| MANAGED.contains(&s.name.as_str()) && !s.value.is_empty();
    if let Some(own) = contents.settings.iter().find(is_own) {
        return Err(installed(format!(
            "remove {} from {} line {}: expgsql sets it itself",
            own.name,
            own.file.display(),
            own.line
        )));
    }
    let auto = ctx.pgdata().join("postgresql.auto.conf");
    let contents_auto = if auto.exists() {
        read(ctx, &auto)?
    } else {
        Contents::default()
    };
    // In this file even an empty value overrides ours.
    let is_own = |s: &&Setting| MANAGED_AUTO.contains(&s.name.as_str());
    if let Some(own) = contents_auto.settings.iter().find(is_own) {
        return Err(installed(format!(
            "ALTER SYSTEM RESET {} (or delete {} line {} while the server is down): expgsql sets it itself",
            own.name,
            own.file.display(),
            own.line
        )));
    }
    let last = |name: &str| {
        let mut all = contents.settings.iter().chain(&contents_auto.settings);
        all.rfind(|s| s.name == name)
    };
    let is_off =
        |s: &&Setting| ["off", "false", "no", "0"].contains(&s.value.to_lowercase().as_str());
    if let Some(off) = last("hot_standby").filter(is_off) {
        return Err(installed(format!(
            "{} line {}: set hot_standby to on, a standby can't be watched without it",
            off.file.display(),
            off.line
        )));
    }
    // Each standby streams by a slot of its own.
    let too_few = |s: &&Setting| s.value.parse::<u32>().is_ok_and(|n| n == 0);
    let by_slot = ctx.params.rep_mode == RepMode::Sync;
    if let Some(none) = last("max_replication_slots").filter(|s| by_slot && too_few(s)) {
        return Err(installed(format!(
            "{} line {}: set max_replication_slots to 10 or more, each standby streams by a slot",
            none.file.display(),
            none.line
        )));
    }
    if let Some(minimal) = last("wal_level").filter(|s| s.value.eq_ignore_ascii_case("minimal")) {
        return Err(installed(format!(
            "{} line {}: set wal_level to replica, minimal allows no standby",
            minimal.file.display(),
            minimal.line
        )));
    }
    Ok(())
}

/// An option of the server wins over every file: `-c NAME=VALUE`, `-cNAME=VALUE` or `--NAME=VALUE`.
fn options(ctx: &Context<'_>) -> Step<()> {
    let words = ctx.params.start_opt.iter().chain(&ctx.params.ctl_opt);
    for word in words.flat_map(|word| word.split_whitespace()) {
        let setting = word.trim_start_matches("--").trim_start_matches("-c");
        let Some((name, _)) = setting.split_once('=') else {
            continue;
        };
        // The server takes dashes for underscores here.
        let name = name.to_lowercase().replace('-', "_");
        if MANAGED_AUTO.contains(&name.as_str()) {
            return Err(Outcome::because(
                OcfCode::ErrConfigured,
                format!("start_opt or ctl_opt sets {name}: remove that, expgsql sets it itself"),
            ));
        }
    }
    Ok(())
}

/// The include lines have to be there, or the file's directory must let them be added.
fn includable(ctx: &Context<'_>, config: &Path) -> Step<()> {
    let includes = standby::includes(ctx);
    let missing = as_owner(&ctx.owner, || config::with_includes(config, &includes))
        .map_err(failed)?
        .map_err(installed)?;
    let real = config.canonicalize().unwrap_or_else(|_| config.to_owned());
    let dir = real.parent().unwrap_or(Path::new("/"));
    if missing.is_none() || access(dir, AccessFlags::W_OK) != Err(Errno::EROFS) {
        return Ok(());
    }
    Err(permission(format!(
        "{} is on a read-only file system: {}",
        config.display(),
        standby::by_hand(ctx)
    )))
}
