//! Makes the directories and files beside the data: tmpdir, the log file, the socket directory.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::{fs, io};

use crate::log::say;
use crate::params::RepMode;
use crate::postgres::address::is_abstract;
use crate::postgres::owner::as_owner;
use crate::postgres::reach;

use crate::agent::context::Context;
use crate::agent::server::own_dir;
use crate::agent::server::own_files::not_writable;
use crate::agent::step::{Step, failed};

/// Makes tmpdir where it is gone: what the agent has to remember is kept in there. Another resource may have made it, whose own is in
/// it; so whose it is counts, too.
pub(crate) fn keep_place(ctx: &Context<'_>) -> Step<()> {
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

/// tmpdir, where there is none yet: on a machine that is new to its cluster something has to be noted before its server is prepared.
pub(crate) fn first_place(ctx: &Context<'_>) -> Step<()> {
    if ctx.params.tmpdir.is_dir() {
        return Ok(());
    }
    make_dir(ctx, &ctx.params.tmpdir, 0o700)?;
    own_dir::claim(ctx)
}

/// tmpdir, the log file and the socket directory.
pub(crate) fn prepare_places(ctx: &Context<'_>) -> Step<()> {
    let p = ctx.params;
    if p.rep_mode != RepMode::None {
        make_dir(ctx, &p.tmpdir, 0o700)?;
        own_dir::claim(ctx)?;
    }
    for dir in p.socketdir.iter().filter(|dir| !is_abstract(dir)) {
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
