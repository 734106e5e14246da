//! Making this node a standby: the files, the start, and what is in force afterwards.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::decide::contract::at_start;
use crate::decide::recovery::Phase;
use crate::decide::recovery_command::Command;
use crate::log::say;
use crate::model::sync_names::SyncNames;
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::owner::as_owner;
use crate::postgres::server::Launch;
use crate::postgres::{config, control, files, process, reach, reading, server};
use crate::trial::point;

use super::context::Context;
use super::ready::Server;
use super::record::Board;
use super::{Step, failed, in_force, minimums, obituary, own_dir, slots};

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
    /// There is no primary that it could connect to: what it gets is in the archive.
    Archive,
}

impl Follow {
    /// Whom a standby follows whose primary this cluster does not manage.
    pub(super) fn outside(ctx: &Context<'_>) -> Self {
        if ctx.params.is_of_archive_alone() {
            return Self::Archive;
        }
        let slot = slots::slot_of(ctx, &ctx.me, None, &[]);
        Self::Primary { slot }
    }
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

/// Whether the server that runs was started as a standby and never promoted, as far as its files say: this also holds for a server
/// that nobody can ask. PostgreSQL removes standby.signal when it is promoted; but the file says what the next start will be, and
/// somebody else may have put it into the directory of a primary that runs. Of that the control file knows.
pub(super) fn is_standby(ctx: &Context<'_>) -> Step<bool> {
    let signal = ctx.pgdata().join("standby.signal");
    let is_there = signal
        .try_exists()
        .map_err(|e| failed(format!("{}: {e}", signal.display())))?;
    if !is_there {
        return Ok(false);
    }
    takes_writes(ctx).map(|takes| !takes)
}

/// Whether the server that runs is in production, and not about to become a standby: one that starts after a crash has the control file
/// of before until its recovery begins.
fn takes_writes(ctx: &Context<'_>) -> Step<bool> {
    let may_be = matches!(process::phase(ctx.pgdata()), Phase::Up | Phase::Stopping);
    let in_production = || control::is_in_production(ctx.pgdata(), &ctx.owner);
    Ok(may_be && in_production().map_err(|e| failed(format!("the control file: {e}")))?)
}

/// A primary that runs has no standby.signal: whoever put it there meant the next start, which is the agent's to decide, and a server
/// that recovers from the crash of one of its processes would come back as a standby.
pub(super) fn tidy_primary(ctx: &Context<'_>) -> Step<()> {
    let signal = ctx.pgdata().join("standby.signal");
    if !signal.try_exists().unwrap_or(false) || !takes_writes(ctx)? {
        return Ok(());
    }
    say!(
        WARN,
        "standby.signal is in the directory of a primary that runs, where somebody has put it: it is removed",
        file = signal.display()
    );
    remove_signal(ctx)
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
    server::make_room(ctx.pgdata(), &launch.sockets(), &ctx.owner, ctx.deadline).map_err(failed)?;
    obituary::remember(ctx, &launch);
    server::launch(&ctx.programs(), &launch, ctx.deadline).map_err(|e| {
        failed(format!(
            "{e}; the server's log says more: {}",
            ctx.params.logfile.display()
        ))
    })
}
