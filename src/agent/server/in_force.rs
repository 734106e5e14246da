//! Whether a server has what the agent has written for it, and what keeps it from that.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::decide::eligibility::Promise;
use crate::decide::replay::Obstacle;
use crate::log::say;
use crate::model::sync_names::SyncNames;
use crate::postgres::config::{self, ConfigError, Contents};
use crate::postgres::owner::as_owner;
use crate::postgres::process::Running;
use crate::postgres::{server, views};
use crate::sys::{boot_clock, poll_until};
use crate::timing;

use crate::agent::context::Context;
use crate::agent::server::answering::Server;
use crate::agent::server::own_files::{RECOVERY_CONF, REP_MODE_CONF, files};
use crate::agent::server::rep_mode_conf;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

const CONNINFO: &str = "primary_conninfo";
const SYNC_NAMES: &str = "synchronous_standby_names";

/// Has a standby read what was written for it. An agent that was killed between the two left it undone, and to all that look at the
/// files it seems done: nobody would be followed, or the contract would be taken for one that somebody overrides.
pub(crate) fn load_what_is_written(ctx: &Context<'_>, server: &mut Server) -> Step<()> {
    let Some(loaded) = server
        .state
        .conf_loaded
        .filter(|_| server.state.in_recovery)
    else {
        return Ok(());
    };
    if !files(ctx).iter().any(|f| is_news(written(f), loaded)) {
        return Ok(());
    }
    say!(INFO, "the server has not read what was written for it");
    server::reload(&server.running).map_err(failed)?;
    let deadline = ctx.deadline.min(timing::REPLAY_WAIT);
    poll_until(deadline, timing::READY_POLL, || {
        // A new session has what the postmaster has.
        let mut session = ctx.connect(&server.running).ok()?;
        server.state = views::server_state(&mut session).ok()?;
        (server.state.conf_loaded > Some(loaded)).then_some(())
    });
    Ok(())
}

/// Whether something was written after the server has read its files. A time that is yet to come says nothing: the clock was set back.
fn is_news(at: Option<Duration>, loaded: Duration) -> bool {
    #[allow(
        clippy::disallowed_methods,
        reason = "it is held against the times of files, which are of the same clock"
    )]
    let now = since_1970(SystemTime::now());
    at.is_some_and(|at| at >= loaded && Some(at) <= now)
}

fn since_1970(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}

/// When a file of the agent's was written.
fn written(path: &Path) -> Option<Duration> {
    changed(fs::symlink_metadata(path))
}

fn changed(file: io::Result<Metadata>) -> Option<Duration> {
    since_1970(file.and_then(|file| file.modified()).ok()?)
}

/// Holds a server whose files have changed since it has read them to what it would make of them. A single line that it does not
/// understand, and it takes nothing of all the others: it could not be told to stop receiving, or whom to wait for.
pub(crate) fn is_readable(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let Some(loaded) = server.state.conf_loaded else {
        return Ok(());
    };
    if !ctx.params.rep_mode.is_replicated() {
        return Ok(());
    }
    let auto = ctx.pgdata().join("postgresql.auto.conf");
    let theirs = [&ctx.params.config, &auto].map(|path| changed(fs::metadata(path)));
    let ours = files(ctx).map(|path| written(&path));
    if !theirs.into_iter().chain(ours).any(|at| is_news(at, loaded)) {
        return Ok(());
    }
    refused(ctx, &server.running).map_or(Ok(()), |why| Err(failed(why)))
}

/// Holds a server whose rules for connections have changed since they were looked at last to what it would make of them. It refuses all of them for one line,
/// says so in its log alone, and does not start by them: the next failover would find no server that does.
pub(crate) fn lets_in_by_its_rules(ctx: &Context<'_>, server: &Server) -> Step<()> {
    if !ctx.params.rep_mode.is_replicated() {
        return Ok(());
    }
    // Where the server says; else beside the configuration, as packages have it, or in the data directory.
    let dirs = [ctx.params.config.parent(), Some(ctx.pgdata())];
    let files = dirs
        .iter()
        .flatten()
        .flat_map(|dir| ["pg_hba.conf", "pg_ident.conf"].map(|name| dir.join(name)));
    let files = files.chain(server.state.rules.iter().cloned());
    let Some(last) = files.filter_map(|path| changed(fs::metadata(path))).max() else {
        return Ok(());
    };
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    if old.rules_judged == Some(last) {
        return Ok(());
    }
    let judged = || {
        let mut state = old.clone();
        state.rules_judged = Some(last);
        state.save(ctx, &old)
    };
    let asked = ctx
        .connect_as_owner(&server.running)
        .and_then(|mut owner| views::refused_rule(&mut owner));
    match asked {
        Ok(None) => judged(),
        Ok(Some(line)) => Err(failed(format!(
            "correct {line}; PostgreSQL goes on by what it has read before; with a line of pg_hba.conf like that it does not start, with one of pg_ident.conf it \
             maps nobody"
        ))),
        // Not by the agent; a login in each monitor that is refused each time helps nobody.
        Err(error) if error.is_answer() => judged(),
        Err(error) => {
            say!(
                WARN,
                "whether the server understands its rules for connections is not known",
                reason = error
            );
            Ok(())
        }
    }
}

/// Why the server takes nothing of its files when it reads them again. `None`: it does, or nobody can tell.
pub(crate) fn refused(ctx: &Context<'_>, running: &Running) -> Option<String> {
    let asked = ctx
        .connect_as_owner(running)
        .and_then(|mut owner| views::refused_line(&mut owner));
    match asked {
        Ok(line) => line.map(|line| {
            format!(
                "correct {line}; PostgreSQL refuses every change of its configuration because of that, and runs on as before"
            )
        }),
        Err(error) => {
            say!(
                WARN,
                "whether the server understands its configuration is not known",
                reason = error
            );
            None
        }
    }
}

/// Holds a standby that has read what was written for it to that: by what comes behind the include lines it may stream from whom it should not,
/// or from nobody, or stay on a timeline that was left.
pub(crate) fn is_in_force(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let Some(contents) = read_by(ctx, server, RECOVERY_CONF)? else {
        return Ok(());
    };
    let state = &server.state;
    for (name, in_force) in [
        ("primary_slot_name", &state.slot),
        ("recovery_target_timeline", &state.target_timeline),
    ] {
        // What the agent leaves unset is the operator's to set.
        let Some(written) = value(&contents, name) else {
            continue;
        };
        if written != in_force {
            return Err(failed(format!(
                "{name} is '{in_force}' and not '{written}' as the agent set it: something behind its include lines, or start_opt, overrides it; \
                 see pg_settings.sourcefile, and remove it"
            )));
        }
    }
    taken_over(ctx, server)?.map_or(Ok(()), |obstacle| Err(failed(obstacle)))
}

/// What keeps a standby from being promoted because a setting is not the agent's any more: it could not be told to stop receiving, or would
/// wait for others than it should. A value may hold a password, and is not shown.
pub(crate) fn taken_over(ctx: &Context<'_>, server: &Server) -> Step<Option<Obstacle>> {
    let overridden = |name: &str| Ok(Some(Obstacle::Overridden(name.to_owned())));
    if let Some(in_force) = &server.state.conninfo
        && let Some(contents) = read_by(ctx, server, RECOVERY_CONF)?
        && value(&contents, CONNINFO).is_some_and(|written| written != in_force.reveal())
    {
        return overridden(CONNINFO);
    }
    if ctx.is_promotable()
        && let Some(contents) = read_by(ctx, server, REP_MODE_CONF)?
        && contract(&contents)? != server.state.sync_names
    {
        return overridden(SYNC_NAMES);
    }
    Ok(None)
}

/// A file of the agent's that this server, a standby, has read since it was written.
fn read_by(ctx: &Context<'_>, server: &Server, name: &str) -> Step<Option<Contents>> {
    let (state, path) = (&server.state, ctx.tmp(name));
    let has_read = written(&path).is_some_and(|at| state.conf_loaded > Some(at));
    if !ctx.params.rep_mode.is_replicated() || !state.in_recovery || !has_read {
        return Ok(None);
    }
    let contents = as_owner(&ctx.owner, || config::read(&path, &[])).map_err(failed)?;
    contents.map(Some).map_err(failed)
}

fn value<'a>(contents: &'a Contents, name: &str) -> Option<&'a str> {
    let last = contents.settings.iter().rfind(|s| s.name == name);
    last.map(|setting| setting.value.as_str())
}

fn contract(contents: &Contents) -> Step<SyncNames> {
    value(contents, SYNC_NAMES).map_or(Ok(SyncNames::Nobody), |text| text.parse().map_err(failed))
}

/// What keeps the contract that the agent has written from being in force, where the server waits for `in_force`. Such a server
/// would break R1 as a primary.
pub(crate) fn overridden(ctx: &Context<'_>, in_force: &SyncNames) -> Step<Option<String>> {
    // Removed by somebody while the server runs: there is nothing to hold it against until the next start.
    let Some(written) = written_contract(ctx)? else {
        return Ok(None);
    };
    Ok((written != *in_force).then(|| {
        format!(
            "{SYNC_NAMES} is '{in_force}' and not '{written}' as the agent set it: something after its include lines, or start_opt, overrides it; see pg_settings.sourcefile"
        )
    }))
}

/// What rep_mode.conf says that commits wait for; `None`: it is gone.
fn written_contract(ctx: &Context<'_>) -> Step<Option<SyncNames>> {
    let path = ctx.tmp(REP_MODE_CONF);
    match as_owner(&ctx.owner, || config::read(&path, &[])).map_err(failed)? {
        Ok(contents) => contract(&contents).map(Some),
        Err(ConfigError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Sees to it that the next reload, whoever asks for it, changes nothing of what commits wait for.
pub(crate) fn keep_contract(ctx: &Context<'_>, server: &Server) -> Step<()> {
    // What is in force is in force until the next reload, and stays in force. A primary's agent that was ended after it had written
    // another contract, and before the server read that, leaves one that the next reload, whoever asks for it, would put in force.
    // One that it has read and does not have is overridden by somebody, who may take that back.
    let contract = &server.state.sync_names;
    let path = ctx.tmp(REP_MODE_CONF);
    let is_unread = written(&path).is_some_and(|at| server.state.conf_loaded < Some(at));
    let is_lost = match written_contract(ctx)? {
        None => *contract != SyncNames::Nobody,
        Some(text) => {
            is_unread
                && ctx.promise() == Promise::Sync
                && !server.state.in_recovery
                && text != *contract
        }
    };
    if ctx.is_promotable() && is_lost {
        say!(
            WARN,
            "did not say what commits wait for, and is written anew",
            file = ctx.tmp(REP_MODE_CONF).display(),
            contract = contract
        );
        rep_mode_conf::write_contract(ctx, contract)?;
    }
    Ok(())
}
