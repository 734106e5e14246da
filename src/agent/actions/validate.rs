//! What this machine must have before anything is started. Nothing is changed here.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use crate::decide::barred::objection;
use crate::decide::silence::is_too_patient;
use crate::log::say;
use crate::model::cluster_view::NoQuorumPolicy;
use crate::model::repair::OnDivergence;
use crate::model::sync_names::StandbyName;
use crate::model::version::{self, OLDEST};
use crate::ocf::{OcfCode, Outcome};
use crate::pacemaker::quorum;
use crate::params::{RepMode, SyncMethod};
use crate::postgres::control;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::lock::Lock;
use crate::agent::server::slots::UNLIMITED_SLOTS;
use crate::agent::server::{places, settings};
use crate::agent::step::{Step, failed, installed, permission};

/// Every check; the first that fails is the reason.
pub(crate) fn validate(ctx: &Context<'_>) -> Step<()> {
    ctx.require_account()?;
    let p = ctx.params;
    if access(&p.pgctl, AccessFlags::X_OK).is_err() || !p.pgctl.is_file() {
        return Err(installed(format!(
            "pgctl={} is not an executable file; on Debian it is /usr/lib/postgresql/VERSION/bin/pg_ctl",
            p.pgctl.display()
        )));
    }
    let data = data_directory(ctx)?;
    program_version(ctx, data)?;
    // Before that a standby can't stop receiving without a restart.
    if p.sync_method == SyncMethod::Quorum && data < version::RELOADS_CONNINFO {
        return Err(installed(format!(
            "sync_method=quorum needs PostgreSQL 13 or newer, and this is {data}: use sync_method=priority"
        )));
    }
    settings::check(ctx)?;
    places::check(ctx)
}

/// What validate-all has to say beyond that.
pub(crate) fn advise(ctx: &Context<'_>) -> Step<()> {
    can_repair(ctx)?;
    lists_name_nodes(ctx)?;
    has_instances(ctx)?;
    bounds_slots(ctx);
    gives_up_in_time(ctx);
    can_relax(ctx)
}

/// Found out when a node has diverged, it would be too late: what is missing must have been there while it wrote.
fn can_repair(ctx: &Context<'_>) -> Step<()> {
    let policy = ctx.params.on_divergence;
    let (rewinds, rebuilds) = match policy {
        OnDivergence::Stop => (false, false),
        OnDivergence::Rewind => (true, false),
        OnDivergence::Rebuild => (false, true),
        OnDivergence::RewindOrRebuild => (true, true),
    };
    for (tool, is_needed) in [("pg_rewind", rewinds), ("pg_basebackup", rebuilds)] {
        if is_needed {
            let version = ctx.programs().tool(tool).arg("--version");
            version
                .run(ctx.deadline)
                .map_err(|e| installed(format!("on_divergence={policy}: {e}")))?;
        }
    }
    if !rewinds {
        return Ok(());
    }
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    if control.wal_log_hints || control.checksums {
        return Ok(());
    }
    Err(installed(format!(
        "on_divergence={policy}: set wal_log_hints=on and restart, or use on_divergence=rebuild: {} has no checksums, so pg_rewind can't work",
        ctx.pgdata().display()
    )))
}

/// Without a running cluster nobody knows which nodes there are.
fn lists_name_nodes(ctx: &Context<'_>) -> Step<()> {
    let lists = ctx.lists();
    if lists.sync.is_empty() && lists.nofailover.is_empty() {
        return Ok(());
    }
    let Ok(view) = ctx.cluster() else {
        return Ok(());
    };
    let nodes = ctx.replicas(&view);
    let names: Vec<StandbyName> = nodes.iter().map(|n| n.lower().to_owned()).collect();
    match objection(lists, None, &names) {
        Some(why) => Err(Outcome::because(OcfCode::ErrConfigured, why)),
        None => Ok(()),
    }
}

/// Without a running cluster nobody knows which nodes there are.
fn has_instances(ctx: &Context<'_>) -> Step<()> {
    let Ok(view) = ctx.cluster() else {
        return Ok(());
    };
    match Board::of(ctx, view).lacks_instances() {
        Some(why) => Err(Outcome::because(OcfCode::ErrConfigured, why)),
        None => Ok(()),
    }
}

/// A slot holds WAL back for a standby that may never come back.
fn bounds_slots(ctx: &Context<'_>) {
    const LIMIT: &str = "max_slot_wal_keep_size";
    let has_slots =
        ctx.params.replication_slot_name.is_some() || !ctx.params.external_slot_list.is_empty();
    if !has_slots || ctx.data_version() < Some(13) {
        return;
    }
    if setting(ctx, LIMIT).is_some_and(|limit| limit == "-1") {
        say!(WARN, "slots without a limit", advice = UNLIMITED_SLOTS);
    }
}

/// A setting as the configuration has it, in its own unit; `None` where it can't be read.
fn setting(ctx: &Context<'_>, name: &str) -> Option<String> {
    let command = ctx.programs().tool("postgres").arg("-D").arg(ctx.pgdata());
    let config = format!("config_file={}", ctx.params.config.display());
    let command = command.arg("-c").arg(config).arg("-C").arg(name);
    match command.run(ctx.deadline.min(ctx.params.query_timeout)) {
        Ok(output) => Some(output.stdout_text().trim().to_owned()),
        Err(error) => {
            say!(
                WARN,
                "a setting could not be read",
                setting = name,
                reason = error
            );
            None
        }
    }
}

/// Commits wait for a standby until PostgreSQL gives it up.
fn gives_up_in_time(ctx: &Context<'_>) {
    if ctx.params.rep_mode != RepMode::Sync {
        return;
    }
    let milliseconds = setting(ctx, "wal_sender_timeout").and_then(|text| text.parse().ok());
    if let Some(timeout) = milliseconds
        .map(Duration::from_millis)
        .filter(|t| is_too_patient(*t))
    {
        say!(
            WARN,
            "commits may wait for long for a standby that hangs: set wal_sender_timeout to some seconds",
            wal_sender_timeout = format_args!("{} s", timeout.as_secs_f32()),
            zero_means = "never given up"
        );
    }
}

/// Whether the lock service can be used, and whether anything can ever prove to this cluster that a lost standby is not
/// being promoted.
fn can_relax(ctx: &Context<'_>) -> Step<()> {
    let lock = Lock::open(ctx)?;
    match lock.as_ref().map(Lock::check) {
        Some(Err(error)) if error.is_misconfigured() => {
            return Err(Outcome::because(OcfCode::ErrConfigured, error));
        }
        // It may be back when it is needed.
        Some(Err(error)) => say!(WARN, "the lock service does not answer", reason = error),
        Some(Ok(())) | None => {}
    }
    let p = ctx.params;
    let asks = p.rep_mode == RepMode::Sync && !p.sync_strict && !p.unsafe_relax;
    let has_lock = lock.is_some_and(|lock| lock.is_arbiter());
    // Without a running cluster there is nothing to be said about it.
    let (true, false, Ok(view)) = (asks, has_lock, ctx.cluster()) else {
        return Ok(());
    };
    let deadline = ctx.deadline.min(p.crm_attr_timeout);
    let seen = quorum::read(deadline);
    let votes = seen
        .as_ref()
        .map_or(view.members().count(), |q| q.expected_votes);
    let ignores = view.no_quorum_policy() == NoQuorumPolicy::Ignore;
    let starts_alone = seen.is_ok_and(|q| !q.waits_for_all) || ignores;
    if votes < 3 && view.is_fencing_enabled() && starts_alone {
        say!(
            WARN,
            "two votes, and a node that starts alone acts alone: that a lost standby was fenced proves nothing then, and commits \
             wait until it is back; remove wait_for_all: 0 from corosync.conf and set no-quorum-policy=stop, or set \
             distlock_conninfo, or add a quorum device or a third node",
            votes = votes
        );
    }
    if votes < 3 && !view.is_fencing_enabled() {
        say!(
            WARN,
            "two votes, no fencing and no lock service: when the standby is lost, nothing proves that it is not being promoted, \
             and commits wait until it is back; set distlock_conninfo, enable fencing, add a quorum device or a third node, or \
             set unsafe_relax=true and accept that a split may lose acknowledged commits",
            votes = votes
        );
    }
    Ok(())
}

/// A data directory of the owner's, and its major version.
fn data_directory(ctx: &Context<'_>) -> Step<u32> {
    let dir = ctx.pgdata().display();
    // An agent that may not look can't tell what is there, and must not say that nothing is.
    let barred = |e: &io::Error| {
        permission(format!(
            "pgdata={dir}: root may not look into it: set no_root_squash (NFS) or allow_root (FUSE), as the agent has to look ({e})"
        ))
    };
    let meta = fs::metadata(ctx.pgdata()).map_err(|e| {
        if e.kind() == io::ErrorKind::PermissionDenied {
            return barred(&e);
        }
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
    let version = control::version_file(ctx.pgdata()).map_err(|e| {
        if e.kind() == io::ErrorKind::PermissionDenied {
            return barred(&e);
        }
        installed(format!(
            "pgdata={dir} is no data directory: run initdb or pg_basebackup, or correct pgdata (PG_VERSION: {e})"
        ))
    })?;
    let version = version.ok_or_else(|| {
        installed(format!(
            "pgdata={dir} is damaged: restore it, there is no version in PG_VERSION"
        ))
    })?;
    if version < OLDEST {
        return Err(installed(format!(
            "pgdata={dir} is of PostgreSQL {version}; expgsql needs {OLDEST} or newer: upgrade it with pg_upgrade"
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
    // The paths come last: of a reason little more than a line is shown.
    Err(installed(format!(
        "the programs are of PostgreSQL {program} and the data of {data}: correct pgctl={pgctl} or pgdata={}",
        ctx.pgdata().display()
    )))
}
