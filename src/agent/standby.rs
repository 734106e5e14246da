//! Making this node a standby: the files, the start, and what is in force afterwards.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::decide::contract::at_start;
use crate::model::sync_names::SyncNames;
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::owner::as_owner;
use crate::postgres::{config, files, server};

use super::context::Context;
use super::record::Board;
use super::{Step, failed};

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
            let peers = ctx.peers(&board.view);
            let others = peers
                .iter()
                .map(|n| n.lower().to_owned())
                .chain(ctx.outside());
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
    if let Some(contract) = contract {
        write_contract(ctx, contract)?;
    }
    let signal = ctx.pgdata().join("standby.signal");
    let obsolete = ctx.pgdata().join("recovery.signal");
    owner_files(ctx, &signal, || {
        files::write(&signal, "", 0o600)?;
        files::remove(&obsolete)
    })?;
    add_includes(ctx)
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
    let present = fs::read_to_string(ctx.tmp(RECOVERY_CONF));
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

/// Adds the include lines to the server's configuration file.
fn add_includes(ctx: &Context<'_>) -> Step<()> {
    let file = &ctx.params.config;
    let text =
        as_owner(&ctx.owner, || config::with_includes(file, &includes(ctx))).map_err(failed)?;
    let Some(text) = text.map_err(|e| Outcome::because(OcfCode::ErrInstalled, e))? else {
        return Ok(());
    };
    let written = as_owner(&ctx.owner, || files::rewrite(file, &text, None)).map_err(failed)?;
    match written {
        // Root's directory, or a file with another owner in the owner's own.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let within = (!is_out_of_reach(ctx, file)?).then_some(ctx.owner.uid);
            files::rewrite(file, &text, within)
        }
        other => other,
    }
    .map_err(|e| {
        Outcome::because(
            OcfCode::ErrPerm,
            format!("{}: {e}; {}", file.display(), by_hand(ctx)),
        )
    })
}

/// Is `file` in a directory where the owner can put nothing? Root may write there: anywhere else a broken-into database
/// could exchange the file for a link to one of root's while the agent looks at it.
fn is_out_of_reach(ctx: &Context<'_>, file: &Path) -> Step<bool> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    let may_write = || {
        let flags = nix::unistd::AccessFlags::W_OK;
        let at = nix::fcntl::AtFlags::AT_EACCESS;
        nix::unistd::faccessat(nix::fcntl::AT_FDCWD, dir, flags, at).is_ok()
    };
    Ok(!as_owner(&ctx.owner, may_write).map_err(failed)?)
}

/// rep_mode was async or sync, and is no more; the include line is still in the configuration. A server that went on to
/// wait for standbys that nobody starts would never commit again.
pub(super) fn retire_contract(ctx: &Context<'_>) -> Step<()> {
    let path = ctx.tmp(REP_MODE_CONF);
    if !path.exists() {
        return Ok(());
    }
    let text = "# rep_mode waits for no standby.\n";
    owner_files(ctx, &path, || files::write(&path, text, 0o600))
}

/// tmpdir, the log file and the socket directory.
pub(super) fn prepare_places(ctx: &Context<'_>) -> Step<()> {
    let p = ctx.params;
    if p.rep_mode != RepMode::None {
        make_dir(ctx, &p.tmpdir, 0o700)?;
    }
    if let Some(dir) = &p.socketdir {
        make_dir(ctx, dir, 0o2775)?;
    }
    if p.logfile != Path::new("/dev/null") {
        let made = as_owner(&ctx.owner, || open_log(&p.logfile)).map_err(failed)?;
        let made = match made {
            Err(e)
                if e.kind() == io::ErrorKind::PermissionDenied
                    && is_out_of_reach(ctx, &p.logfile)? =>
            {
                make_log(&p.logfile, ctx)
            }
            other => other.map(drop),
        };
        made.map_err(|e| not_writable(&p.logfile, &e, ctx))?;
    }
    Ok(())
}

/// Statements are logged, and passwords in them: the file is for nobody else.
fn open_log(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// In a directory of root's.
fn make_log(path: &Path, ctx: &Context<'_>) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let (uid, gid) = (ctx.owner.uid.as_raw(), ctx.owner.gid.as_raw());
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))
}

fn make_dir(ctx: &Context<'_>, dir: &Path, mode: u32) -> Step<()> {
    let error = |e: io::Error| not_writable(dir, &e, ctx);
    let mut is_new = false;
    if !dir.is_dir() {
        let made = as_owner(&ctx.owner, || files::ensure_dir(dir, mode)).map_err(failed)?;
        if made.is_err() {
            // Its parent is root's, so nobody can have put a link there.
            fs::create_dir_all(dir).map_err(error)?;
            std::os::unix::fs::lchown(
                dir,
                Some(ctx.owner.uid.as_raw()),
                Some(ctx.owner.gid.as_raw()),
            )
            .map_err(error)?;
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
    server::kill_orphans(ctx.pgdata(), &ctx.owner, ctx.deadline).map_err(failed)?;
    server::launch(&ctx.programs(), &ctx.launch(), ctx.deadline).map_err(|e| {
        failed(format!(
            "{e}; the server's log says more: {}",
            ctx.params.logfile.display()
        ))
    })
}
