//! Who repairs this node's data, and how far it is: a lock and a file under tmpdir.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::log::say;
use crate::model::repair::Journal;
use crate::postgres::owner::as_owner;
use crate::postgres::{files, process};
use crate::sys::{Deadline, poll_until};
use crate::timing;

use super::super::context::Context;
use super::super::{Step, failed};

const JOURNAL: &str = "expgsql.repair";
const LOG: &str = "expgsql.repair.log";
const LOCK: &str = "expgsql.repair.lock";

/// Held as long as this process repairs. The kernel takes it back when the process ends, in whatever way.
pub(super) struct Held {
    _lock: Flock<File>,
}

/// Takes the lock; `Err` with the process that has it.
pub(super) fn take(ctx: &Context<'_>) -> Step<Result<Held, i32>> {
    let path = ctx.tmp(LOCK);
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600).open(&path)
    };
    let at_path = |e: io::Error| failed(format!("{}: {e}", path.display()));
    let mut file = Some(
        as_owner(&ctx.owner, open)
            .map_err(io::Error::from)
            .flatten()
            .map_err(at_path)?,
    );
    // Whoever only looks has it for a moment, too.
    let patience = Deadline::after(timing::REPAIR_LOCK);
    let taken = poll_until(patience, timing::READY_POLL, || {
        match Flock::lock(file.take()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Some(Ok(lock)),
            Err((back, Errno::EWOULDBLOCK)) => {
                file = Some(back);
                None
            }
            Err((_, errno)) => Some(Err(at_path(errno.into()))),
        }
    });
    let Some(lock) = taken.transpose()? else {
        return Ok(Err(holder(ctx)?.unwrap_or_default()));
    };
    let mut file: &File = &lock;
    file.rewind()
        .and_then(|()| file.set_len(0))
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(at_path)?;
    Ok(Ok(Held { _lock: lock }))
}

/// The process that repairs this node's data now.
pub(in crate::agent) fn holder(ctx: &Context<'_>) -> Step<Option<i32>> {
    let path = ctx.tmp(LOCK);
    let at_path = |e: io::Error| failed(format!("{}: {e}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(at_path(e)),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_free) => Ok(None),
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(at_path)?;
            // Empty for the moment between taking the lock and writing the number.
            Ok(Some(text.trim().parse().unwrap_or_default()))
        }
        Err((_, errno)) => Err(at_path(errno.into())),
    }
}

/// Ends a repair: the programs it has started end with it. What is half done is found by the next start.
pub(in crate::agent) fn end(ctx: &Context<'_>) -> Step<()> {
    let mut is_first = true;
    let deadline = ctx.deadline.min(timing::REPAIR_END);
    let polite = Deadline::after(timing::REPAIR_END / 2);
    let ended = poll_until(deadline, timing::READY_POLL, || {
        let pid = match holder(ctx) {
            Ok(None) => return Some(Ok(())),
            Ok(Some(0)) => return None,
            Ok(Some(pid)) => pid,
            Err(failure) => return Some(Err(failure)),
        };
        if is_first {
            say!(WARN, "ending a repair", pid = pid);
        }
        let signal = if polite.is_past() {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        if std::mem::take(&mut is_first) || signal == Signal::SIGKILL {
            let sent = process::signal(pid, signal);
            return sent
                .err()
                .map(|e| Err(failed(format!("process {pid}: {e}"))));
        }
        None
    });
    ended.unwrap_or_else(|| Err(failed("a repair of the data directory does not end")))
}

/// What is known of a repair that goes on, was interrupted or failed. `None`: there was none, or it is done.
pub(in crate::agent) fn read(ctx: &Context<'_>) -> Step<Option<Journal>> {
    let path = ctx.tmp(JOURNAL);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
            failed(format!(
                "{}: {e}; whether the data are whole is not known: run 'expgsql cluster rebuild' on this node",
                path.display()
            ))
        }),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(failed(format!("{}: {e}", path.display()))),
    }
}

/// Whether a rewind has left the data neither old nor new.
pub(super) fn is_damaged(ctx: &Context<'_>) -> Step<bool> {
    let Some(journal) = read(ctx)?.filter(|journal| journal.damaged) else {
        return Ok(false);
    };
    // A person may have made a copy since, by other means.
    Ok(journal.control_file.is_none() || journal.control_file == control_file(ctx))
}

/// Takes over into a new journal what an earlier one says of the data.
pub(super) fn carry_on(ctx: &Context<'_>, journal: &mut Journal) -> Step<()> {
    if is_damaged(ctx)?
        && let Some(old) = read(ctx)?
    {
        journal.damaged = true;
        journal.control_file = old.control_file;
    }
    Ok(())
}

/// Which file the control file is. pg_rewind writes into the old one; a copy has one of its own.
pub(super) fn control_file(ctx: &Context<'_>) -> Option<String> {
    let file = fs::metadata(ctx.pgdata().join("global/pg_control")).ok()?;
    // Some file systems do not tell when a file was made.
    let made = file.created().ok();
    let made = made.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Some(format!(
        "{}@{}",
        file.ino(),
        made.unwrap_or_default().as_nanos()
    ))
}

/// Notes how far it is; on disk when this returns.
pub(super) fn write(ctx: &Context<'_>, journal: &Journal) -> Step<()> {
    let path = ctx.tmp(JOURNAL);
    let text = serde_json::to_string(journal).map_err(failed)?;
    as_owner(&ctx.owner, || files::write(&path, &text, 0o600))
        .map_err(io::Error::from)
        .flatten()
        .map_err(|e| failed(format!("{}: {e}", path.display())))
}

/// Where the process that repairs logs to on a machine without a journal. It is begun anew when it is long.
pub(super) fn open_log(ctx: &Context<'_>) -> Step<File> {
    const LONG: u64 = 1 << 20;
    let path = ctx.tmp(LOG);
    let open = || {
        if fs::metadata(&path).is_ok_and(|file| file.len() > LONG) {
            files::remove(&path)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).open(&path)
    };
    as_owner(&ctx.owner, open)
        .map_err(io::Error::from)
        .flatten()
        .map_err(|e| failed(format!("{}: {e}", path.display())))
}

/// It is done.
pub(super) fn remove(ctx: &Context<'_>) -> Step<()> {
    let path = ctx.tmp(JOURNAL);
    as_owner(&ctx.owner, || files::remove(&path))
        .map_err(io::Error::from)
        .flatten()
        .map_err(|e| failed(format!("{}: {e}", path.display())))
}
