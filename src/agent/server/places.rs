//! The files and directories beside the data: tmpdir, the log file, the socket directory, the password file. What is
//! missing is made by the start; here is looked whether it can be.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::params::RepMode;
use crate::postgres::address::is_abstract;
use crate::postgres::owner::as_owner;

use crate::agent::context::Context;
use crate::agent::step::{Step, failed, installed, permission};

/// More than the agent ever writes there at a time; bytes.
const NOTE: u64 = 8192;

pub(crate) fn check(ctx: &Context<'_>) -> Step<()> {
    let p = ctx.params;
    if p.rep_mode != RepMode::None {
        directory(ctx, "tmpdir", &p.tmpdir, "chmod 700")?;
        apart_from_data(ctx)?;
        passfile(ctx)?;
    }
    for dir in p.socketdir.iter().filter(|dir| !is_abstract(dir)) {
        directory(ctx, "socketdir", dir, "chmod or chown it")?;
    }
    logfile(ctx)
}

/// The notes of a node are not to be copied with its data to another one, nor to be replaced by another one's: they say what this node has stated.
fn apart_from_data(ctx: &Context<'_>) -> Step<()> {
    let (tmpdir, pgdata) = (&ctx.params.tmpdir, ctx.pgdata());
    // It may not be there yet.
    let mut dirs = tmpdir.ancestors();
    let real = dirs.find_map(|dir| dir.canonicalize().ok());
    let data = pgdata.canonicalize().unwrap_or_else(|_| pgdata.to_owned());
    let is_inside = tmpdir.starts_with(pgdata) || real.is_some_and(|dir| dir.starts_with(&data));
    if ctx.is_promotable() && is_inside {
        return Err(installed(format!(
            "tmpdir={} is in the data directory, and would be copied and replaced with that: name a directory beside it",
            tmpdir.display()
        )));
    }
    Ok(())
}

fn directory(ctx: &Context<'_>, param: &str, dir: &Path, remedy: &str) -> Step<()> {
    let shown = dir.display();
    let owner = &ctx.owner.name;
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => Err(permission(format!(
            "{param}={shown} is not a directory: remove it, or name another"
        ))),
        // A socket directory is often another's, and writable for all.
        Ok(meta) if param == "tmpdir" && meta.uid() != ctx.owner.uid.as_raw() => {
            Err(permission(format!(
                "{param}={shown} belongs to user id {}, not to {owner}: chown it, or name another",
                meta.uid(),
            )))
        }
        Ok(_) if !may(ctx, dir, AccessFlags::W_OK | AccessFlags::X_OK)? => {
            Err(permission(format!(
                "{param}={shown} is not writable for {owner}: {remedy}, or look for a read-only file system"
            )))
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => makeable(param, dir),
        Err(e) => Err(permission(format!("{param}={shown}: {e}; name another"))),
    }
}

/// Why nothing could be written in tmpdir now, as far as that is seen without a write; `None`: nothing speaks against it.
pub(crate) fn takes_no_note(ctx: &Context<'_>) -> Step<Option<String>> {
    let dir = &ctx.params.tmpdir;
    let look = || {
        let at = nix::fcntl::AT_FDCWD;
        let flags = AccessFlags::W_OK | AccessFlags::X_OK;
        // The effective user is what counts.
        let may = nix::fcntl::AtFlags::AT_EACCESS;
        nix::unistd::faccessat(at, dir, flags, may).and_then(|()| statvfs(dir))
    };
    let seen = as_owner(&ctx.owner, look).map_err(failed)?;
    let why = match seen {
        Err(Errno::EROFS) => "it is on a read-only file system".to_owned(),
        Err(Errno::EACCES) => format!("{} may not write in it, chmod 700 it", ctx.owner.name),
        Err(error) => error.to_string(),
        Ok(seen) if seen.blocks_available().saturating_mul(seen.fragment_size()) < NOTE => {
            "its file system has no room, make some".to_owned()
        }
        // Zero of zero: that file system does not count them.
        Ok(seen) if seen.files() > 0 && seen.files_available() == 0 => {
            "its file system takes no more files, remove some".to_owned()
        }
        Ok(_) => return Ok(None),
    };
    Ok(Some(format!(
        "tmpdir={}: {why}; nothing can be noted there, and this node can't be promoted",
        dir.display()
    )))
}

/// The directory above that exists must take it.
fn makeable(param: &str, path: &Path) -> Step<()> {
    let above = path.ancestors().skip(1).find(|dir| dir.exists());
    let Some(above) = above.filter(|dir| access(*dir, AccessFlags::W_OK) == Err(Errno::EROFS))
    else {
        return Ok(());
    };
    Err(permission(format!(
        "{param}={} can't be made, {} is read-only: name another",
        path.display(),
        above.display()
    )))
}

fn logfile(ctx: &Context<'_>) -> Step<()> {
    let log = &ctx.params.logfile;
    let shown = log.display();
    match fs::metadata(log) {
        Ok(meta) if meta.is_dir() => Err(permission(format!(
            "logfile={shown} is a directory: name a file in it"
        ))),
        Ok(_) if !may(ctx, log, AccessFlags::W_OK)? => Err(permission(format!(
            "logfile={shown} is not writable for {}: chown it",
            ctx.owner.name
        ))),
        Ok(_) => Ok(()),
        Err(_) if !log.parent().is_some_and(Path::is_dir) => Err(permission(format!(
            "logfile={shown} is in no directory: create that, or name another file"
        ))),
        Err(_) => makeable("logfile", log),
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
    let meta = fs::metadata(path).map_err(|e| {
        installed(format!(
            "passfile={shown}: {e}; create it, as the owner {} and with mode 600, or unset passfile",
            ctx.owner.name
        ))
    })?;
    if meta.mode() & 0o077 != 0 {
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
