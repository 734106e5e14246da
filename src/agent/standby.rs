//! Making this node a standby: the files, the start, and what is in force afterwards.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::decide::contract::at_start;
use crate::log::say;
use crate::model::sync_names::SyncNames;
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::config::ConfigError;
use crate::postgres::owner::as_owner;
use crate::postgres::server::Launch;
use crate::postgres::{config, files, reach, reading, server, views};
use crate::sys::poll_until;
use crate::timing;
use crate::trial::point;

use super::context::Context;
use super::ready::Server;
use super::record::Board;
use super::{Step, failed, minimums, obituary, own_dir, slots};

/// Files under tmpdir that postgresql.conf includes. The names are the older agents', so that
/// their include lines go on working.
pub(super) const RECOVERY_CONF: &str = "recovery.conf";
pub(super) const REP_MODE_CONF: &str = "rep_mode.conf";

/// Our files, whichever mode they are for.
pub(super) fn files(ctx: &Context<'_>) -> [PathBuf; 2] {
    [ctx.tmp(RECOVERY_CONF), ctx.tmp(REP_MODE_CONF)]
}

/// Our files that this mode includes.
pub(super) fn includes(ctx: &Context<'_>) -> Vec<PathBuf> {
    match ctx.params.rep_mode {
        RepMode::None => Vec::new(),
        RepMode::Slave => vec![ctx.tmp(RECOVERY_CONF)],
        RepMode::Async | RepMode::Sync => files(ctx).to_vec(),
    }
}

/// What a server started here waits for if it becomes a primary.
pub(super) fn initial_contract(board: &Board<'_, '_>) -> Step<SyncNames> {
    let ctx = board.ctx;
    match ctx.params.rep_mode {
        RepMode::Sync => {
            let is_recorded = ctx.record(&board.view)?.is_some_and(|r| r.node == ctx.me);
            let mut peers = ctx.sync_order(&board.view);
            if peers.is_empty() {
                let all = ctx.peers(&board.view);
                peers = all.iter().map(|n| n.lower().to_owned()).collect();
            }
            peers.sort();
            let others = peers.into_iter().chain(ctx.outside());
            Ok(at_start(is_recorded, &board.claim()?, others))
        }
        RepMode::Async | RepMode::Slave | RepMode::None => Ok(SyncNames::Nobody),
    }
}

/// Writes everything that makes the next start one of a standby. Idempotent; `standby.signal`
/// comes last but one, so that a call that dies on the way leaves a server that either starts as
/// before or as a standby.
pub(super) fn prepare(ctx: &Context<'_>, contract: Option<&SyncNames>, follow: Follow) -> Step<()> {
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

/// Whom a standby receives from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// The server at the primary's address, if it has this slot.
    Primary { slot: Option<String> },
    /// It has stated how far it is (R8), and must not get further.
    Nobody,
}

/// How to follow a primary.
pub(super) fn write_recovery(ctx: &Context<'_>, follow: &Follow) -> Step<()> {
    let recovery = ctx.tmp(RECOVERY_CONF);
    let text = recovery_conf(ctx, follow);
    owner_files(ctx, &recovery, || files::write(&recovery, &text, 0o600))
}

/// Whether recovery.conf says that already.
pub(super) fn follows(ctx: &Context<'_>, follow: &Follow) -> bool {
    let present = reading::read_as(&ctx.owner, &ctx.tmp(RECOVERY_CONF));
    present.is_ok_and(|text| text == recovery_conf(ctx, follow))
}

/// Puts a contract into rep_mode.conf; the server has to read it then.
pub(super) fn write_contract(ctx: &Context<'_>, contract: &SyncNames) -> Step<()> {
    let path = ctx.tmp(REP_MODE_CONF);
    let text = format!(
        "synchronous_standby_names = {}\n",
        config::quote(&contract.to_string())
    );
    owner_files(ctx, &path, || files::write(&path, &text, 0o600))
}

/// Another node was promoted: what this one waited for as a primary is not what it would wait for as the next one.
pub(super) fn renew_contract(board: &Board<'_, '_>, server: &Server) -> Step<()> {
    let contract = initial_contract(board)?;
    if server.state.sync_names == contract {
        return Ok(());
    }
    write_contract(board.ctx, &contract)?;
    point!(RenewConf);
    server::reload(&server.running).map_err(failed)
}

/// Has a standby read what was written for it. An agent that was killed between the two left it undone, and to all that look at the
/// files it seems done: nobody would be followed, or the contract would be taken for one that somebody overrides.
pub(super) fn load_what_is_written(ctx: &Context<'_>, server: &mut Server) -> Step<()> {
    let Some(loaded) = server
        .state
        .conf_loaded
        .filter(|_| server.state.in_recovery)
    else {
        return Ok(());
    };
    // A time that is yet to come says nothing: the clock was set back.
    #[allow(
        clippy::disallowed_methods,
        reason = "it is held against the times of files, which are of the same clock"
    )]
    let now = since_1970(SystemTime::now());
    let is_news = |at: &Duration| *at >= loaded && Some(*at) <= now;
    if !files(ctx)
        .iter()
        .filter_map(|f| written(f))
        .any(|at| is_news(&at))
    {
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

fn since_1970(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}

/// When a file was written.
fn written(path: &Path) -> Option<Duration> {
    let at = fs::symlink_metadata(path).and_then(|file| file.modified());
    since_1970(at.ok()?)
}

/// Holds a standby that has read what was written for it to that: by what comes behind the include lines it may stream from whom it should not,
/// or from nobody, or stay on a timeline that was left.
pub(super) fn is_in_force(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let (state, path) = (&server.state, ctx.tmp(RECOVERY_CONF));
    let has_read = written(&path).is_some_and(|at| state.conf_loaded > Some(at));
    if !ctx.params.rep_mode.is_replicated() || !state.in_recovery || !has_read {
        return Ok(());
    }
    let contents = as_owner(&ctx.owner, || config::read(&path, &[])).map_err(failed)?;
    let contents = contents.map_err(failed)?;
    for (name, in_force) in [
        ("primary_slot_name", &state.slot),
        ("recovery_target_timeline", &state.target_timeline),
    ] {
        // What the agent leaves unset is the operator's to set.
        let Some(set) = contents.settings.iter().rfind(|s| s.name == name) else {
            continue;
        };
        let written = &set.value;
        if written != in_force {
            return Err(failed(format!(
                "{name} is '{in_force}' and not '{written}' as the agent set it: something behind its include lines, or start_opt, overrides it; \
                 see pg_settings.sourcefile, and remove it"
            )));
        }
    }
    Ok(())
}

/// What keeps the contract that the agent has written from being in force, where the server waits for `in_force`. Such a server
/// would break R1 as a primary.
pub(super) fn overridden(ctx: &Context<'_>, in_force: &SyncNames) -> Step<Option<String>> {
    let path = ctx.tmp(REP_MODE_CONF);
    let contents = as_owner(&ctx.owner, || config::read(&path, &[])).map_err(failed)?;
    let contents = match contents {
        Ok(contents) => contents,
        // Removed by somebody while the server runs: there is nothing to hold it against until the next start.
        Err(ConfigError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut settings = contents.settings.iter();
    let written = settings.rfind(|s| s.name == "synchronous_standby_names");
    let written: SyncNames = match written {
        Some(setting) => setting.value.parse().map_err(failed)?,
        None => SyncNames::Nobody,
    };
    Ok((written != *in_force).then(|| {
        format!(
            "synchronous_standby_names is '{in_force}' and not '{written}' as the agent set it: something after its include lines, or start_opt, overrides it; see pg_settings.sourcefile"
        )
    }))
}

/// A server that was started as a standby and never promoted. PostgreSQL removes the file when it is promoted, so this also holds for
/// a server that nobody can ask.
pub(super) fn has_signal(ctx: &Context<'_>) -> Step<bool> {
    let signal = ctx.pgdata().join("standby.signal");
    signal
        .try_exists()
        .map_err(|e| failed(format!("{}: {e}", signal.display())))
}

/// Takes standby.signal away: the next start is one of a primary.
pub(super) fn remove_signal(ctx: &Context<'_>) -> Step<()> {
    let signal = ctx.pgdata().join("standby.signal");
    owner_files(ctx, &signal, || files::remove(&signal))
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
        Follow::Nobody => set("primary_conninfo", ""),
    }
    set("recovery_target_timeline", "latest");
    for (name, value) in [
        ("restore_command", &p.restore_command),
        ("archive_cleanup_command", &p.archive_cleanup_command),
        ("recovery_end_command", &p.recovery_end_command),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    // After a failover commits wait until a standby has found the new primary; PostgreSQL's own
    // 5 s would be most of the outage. An archive is not asked that often for nothing.
    if p.restore_command.is_none() {
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

/// What to do where the include lines can't be added.
pub(super) fn by_hand(ctx: &Context<'_>) -> String {
    let lines: Vec<String> = includes(ctx)
        .iter()
        .map(|i| format!("include_if_exists '{}'", i.display()))
        .collect();
    format!("add to it: {}", lines.join("; "))
}

/// Puts back what was taken away from under a server that runs: tmpdir, as who makes room does, the include lines in its configuration, as
/// whoever keeps that file somewhere else does, and the file with a standby's settings. What the agent has set there would be gone with the next reload, and
/// is gone where that has come already.
pub(super) fn mend(ctx: &Context<'_>, server: &Server) -> Step<()> {
    if !ctx.params.rep_mode.is_replicated() {
        return Ok(());
    }
    keep_place(ctx)?;
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
    let follow = Follow::Primary {
        slot: slots::slot_of(ctx, &ctx.me, None, &[]),
    };
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
    // What commits wait for is in force until the next reload, and stays in force.
    let contract = &server.state.sync_names;
    let is_waited_for = ctx.is_promotable() && *contract != SyncNames::Nobody;
    if is_waited_for && !ctx.tmp(REP_MODE_CONF).exists() {
        say!(
            WARN,
            "was gone, and is written anew",
            file = ctx.tmp(REP_MODE_CONF).display()
        );
        write_contract(ctx, contract)?;
    }
    if added || is_gone {
        server::reload(&server.running).map_err(failed)?;
    }
    Ok(())
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

/// rep_mode was async or sync, and is no more; the include line is still in the configuration. A server that went on to
/// wait for standbys that nobody starts would never commit again.
pub(super) fn retire_contract(ctx: &Context<'_>) -> Step<()> {
    let path = ctx.tmp(REP_MODE_CONF);
    if !path.exists() {
        return Ok(());
    }
    // It may be another resource's, of a time when nobody said whose it is.
    let read = as_owner(&ctx.owner, || config::read(&ctx.params.config, &files(ctx)));
    let is_ours = |contents: config::Contents| contents.includes.contains(&path);
    if !read.map_err(failed)?.is_ok_and(is_ours) {
        return Ok(());
    }
    let text = "# rep_mode waits for no standby.\n";
    owner_files(ctx, &path, || files::write(&path, text, 0o600))
}

/// Makes tmpdir where it is gone: what the agent has to remember is kept in there. Another resource may have made it, whose own is in
/// it; so whose it is counts, too.
pub(super) fn keep_place(ctx: &Context<'_>) -> Step<()> {
    let dir = &ctx.params.tmpdir;
    if !ctx.params.rep_mode.is_replicated() {
        // Little is kept there by one that replicates nothing, and it takes the place from nobody.
        return if dir.is_dir() {
            Ok(())
        } else {
            make_dir(ctx, dir, 0o700)
        };
    }
    if dir.is_dir() && own_dir::is_claimed(ctx) {
        return Ok(());
    }
    if !dir.is_dir() {
        say!(
            WARN,
            "was gone, and is made anew",
            directory = dir.display()
        );
        make_dir(ctx, dir, 0o700)?;
    }
    own_dir::claim(ctx)
}

/// tmpdir, the log file and the socket directory.
pub(super) fn prepare_places(ctx: &Context<'_>) -> Step<()> {
    let p = ctx.params;
    if p.rep_mode != RepMode::None {
        make_dir(ctx, &p.tmpdir, 0o700)?;
        own_dir::claim(ctx)?;
    }
    if let Some(dir) = &p.socketdir {
        make_dir(ctx, dir, 0o2775)?;
    }
    if p.logfile != Path::new("/dev/null") {
        let made = as_owner(&ctx.owner, || open_log(&p.logfile)).map_err(failed)?;
        let made = match made {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                reach::make_file(&p.logfile, &ctx.owner)
            }
            other => other.map(drop),
        };
        made.map_err(|e| not_writable(&p.logfile, &e, ctx))?;
    }
    Ok(())
}

/// Statements are logged, and passwords in them: the file is for nobody else. A pipe is not waited for.
fn open_log(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.custom_flags(nix::libc::O_NONBLOCK).open(path)
}

fn make_dir(ctx: &Context<'_>, dir: &Path, mode: u32) -> Step<()> {
    let error = |e: io::Error| not_writable(dir, &e, ctx);
    let mut is_new = false;
    if !dir.is_dir() {
        let made = as_owner(&ctx.owner, || fs::create_dir_all(dir)).map_err(failed)?;
        if made.is_err() {
            reach::make_dir(dir, &ctx.owner, mode).map_err(error)?;
        }
        is_new = true;
    }
    // PostgreSQL's settings may hold a password, so tmpdir is closed also when it was there.
    let is_ours = fs::metadata(dir).map_err(error)?.uid() == ctx.owner.uid.as_raw();
    if is_ours && (is_new || mode == 0o700) {
        let set = as_owner(&ctx.owner, || {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode))
        })
        .map_err(failed)?;
        set.map_err(error)?;
    }
    Ok(())
}

fn not_writable(path: &Path, error: &io::Error, ctx: &Context<'_>) -> Outcome {
    Outcome::because(
        OcfCode::ErrPerm,
        format!(
            "{} is not writable for {}: {error}",
            path.display(),
            ctx.owner.name
        ),
    )
}

fn owner_files(
    ctx: &Context<'_>,
    path: &Path,
    action: impl FnOnce() -> io::Result<()>,
) -> Step<()> {
    as_owner(&ctx.owner, action)
        .map_err(failed)?
        .map_err(|e| not_writable(path, &e, ctx))
}

/// Starts the server, after clearing away what a killed one left behind.
pub(super) fn launch(ctx: &Context<'_>) -> Step<()> {
    launch_with(ctx, ctx.launch())
}

/// The same as a standby, which needs some settings as large as its primary.
pub(super) fn launch_as_standby(ctx: &Context<'_>) -> Step<()> {
    let mut launch = ctx.launch();
    for word in minimums::options(ctx)? {
        launch.start_opt.push(' ');
        launch.start_opt.push_str(&shell_words::quote(&word));
    }
    launch_with(ctx, launch)
}

fn launch_with(ctx: &Context<'_>, launch: Launch) -> Step<()> {
    server::kill_orphans(ctx.pgdata(), &ctx.owner, ctx.deadline).map_err(failed)?;
    obituary::remember(ctx, &launch);
    server::launch(&ctx.programs(), &launch, ctx.deadline).map_err(|e| {
        failed(format!(
            "{e}; the server's log says more: {}",
            ctx.params.logfile.display()
        ))
    })
}
