//! Who repairs this node's data, and how far it is: a lock and a file under tmpdir.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::log::say;
use crate::model::repair::Journal;
use crate::postgres::owner::as_owner;
use crate::postgres::{files, reading};
use crate::sys::{Deadline, Sent, poll_until, signal_if};
use crate::timing;

use crate::agent::context::Context;
use crate::agent::step::{Step, failed};

const JOURNAL: &str = "expgsql.repair";
const LOG: &str = "expgsql.repair.log";
const LOCK: &str = "expgsql.repair.lock";

/// Nobody needs a link there, and a pipe is not waited for.
const FLAGS: i32 = O_NOFOLLOW | O_NONBLOCK;

/// Held as long as this process repairs. The kernel takes it back when the process ends, in whatever way.
pub(super) struct Held {
    _lock: Flock<File>,
}

/// Takes the lock; `Err` with the process that has it, where that is known.
pub(super) fn take(ctx: &Context<'_>) -> Step<Result<Held, Option<i32>>> {
    let path = ctx.tmp(LOCK);
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600).custom_flags(FLAGS);
        let file = options.open(&path)?;
        reading::require_plain(&file).map(|_| file)
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
        return Ok(Err(holder(ctx)?.and_then(|holder| holder.pid)));
    };
    let mut file: &File = &lock;
    file.rewind()
        .and_then(|()| file.set_len(0))
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(at_path)?;
    Ok(Ok(Held { _lock: lock }))
}

/// Whoever has the lock: a repair of this node's data, as far as it can be told from the lock alone.
#[derive(Debug)]
pub(super) struct Holder {
    file: File,
    /// What the file says, which is the server's account to write. `None` for the moment between the taking of the
    /// lock and the writing of the number, too.
    pid: Option<i32>,
}

/// Who has the lock now; `None`: nobody, so that no repair goes on.
pub(super) fn holder(ctx: &Context<'_>) -> Step<Option<Holder>> {
    let path = ctx.tmp(LOCK);
    look(ctx).map_err(|e| failed(format!("{}: {e}", path.display())))
}

fn look(ctx: &Context<'_>) -> io::Result<Option<Holder>> {
    let path = ctx.tmp(LOCK);
    let open = || reading::open(&path, O_NOFOLLOW);
    let opened = as_owner(&ctx.owner, open)
        .map_err(io::Error::from)
        .flatten();
    let file = match opened {
        Ok((file, _)) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_free) => Ok(None),
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            (&file).take(32).read_to_string(&mut text)?;
            let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
            Ok(Some(Holder { file, pid }))
        }
        Err((_, errno)) => Err(errno.into()),
    }
}

impl Holder {
    /// Signals the process whose number is in the file if it is a repair: the same program, started by us or by the
    /// server's account, and the one that has the lock.
    fn signal(&self, ctx: &Context<'_>, signal: Signal) -> io::Result<Sent> {
        let Some(pid) = self.pid else {
            return Ok(Sent::Refused);
        };
        let own = std::env::current_exe()?;
        let own = own.file_name().unwrap_or_default().to_string_lossy();
        signal_if(pid, signal, |process| {
            let user = process.real_user()?;
            let is_ours = user == Some(Uid::current()) || user == Some(ctx.owner.uid);
            Ok(is_ours && process.program()? == own && process.locks(&self.file)?)
        })
    }
}

/// It is no file that could be locked, or nobody but root gets there.
fn is_shut(error: &io::Error) -> bool {
    let is_link = error.raw_os_error() == Some(Errno::ELOOP as i32);
    let kinds = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::InvalidData,
        io::ErrorKind::IsADirectory,
    ];
    is_link || kinds.contains(&error.kind())
}

/// Ends a repair: the programs it has started end with it. What is half done is found by the next start.
///
/// A lock that is held, and not by a repair, ends nothing and holds up nothing: the server's account could hold it for ever. Nor does what the
/// account put in its place, or shut away: no repair could take the lock there.
pub(crate) fn end(ctx: &Context<'_>) -> Step<()> {
    let mut was_told = false;
    let deadline = ctx.deadline.min(timing::REPAIR_END);
    let polite = Deadline::after(timing::REPAIR_END / 2);
    let mut stranger = None;
    let ended = poll_until(deadline, timing::READY_POLL, || {
        let holder = match look(ctx) {
            Ok(None) => return Some(Ok(())),
            Ok(Some(holder)) => holder,
            Err(error) if is_shut(&error) => {
                say!(
                    WARN,
                    "whether this node's data are being repaired can't be told",
                    file = ctx.tmp(LOCK).display(),
                    reason = error
                );
                return Some(Ok(()));
            }
            Err(error) => {
                return Some(Err(failed(format!("{}: {error}", ctx.tmp(LOCK).display()))));
            }
        };
        let signal = match (was_told, polite.is_past()) {
            (_, true) => Signal::SIGKILL,
            (false, false) => Signal::SIGTERM,
            (true, false) => return None,
        };
        let pid = holder.pid.unwrap_or_default();
        match holder.signal(ctx, signal) {
            Ok(Sent::Sent) => {
                if !was_told {
                    say!(WARN, "ending a repair", pid = pid);
                }
                was_told = true;
                stranger = None;
                None
            }
            // Or it has taken the lock this moment, and not written its number yet.
            Ok(Sent::Gone | Sent::Refused) => {
                let since = *stranger.get_or_insert_with(|| Deadline::after(timing::REPAIR_LOCK));
                since.is_past().then(|| {
                    say!(
                        WARN,
                        "the lock of a repair is held by what is no repair, which is left alone",
                        file = ctx.tmp(LOCK).display(),
                        named = pid
                    );
                    Ok(())
                })
            }
            Err(error) => Some(Err(failed(format!("process {pid}: {error}")))),
        }
    });
    ended.unwrap_or_else(|| Err(failed("a repair of the data directory does not end")))
}

/// What is known of a repair that goes on, was interrupted or failed. `None`: there was none, or it is done.
pub(crate) fn read(ctx: &Context<'_>) -> Step<Option<Journal>> {
    let path = ctx.tmp(JOURNAL);
    match reading::read_as(&ctx.owner, &path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
            failed(format!(
                "{} is damaged (line {}, column {}); whether the data are whole is not known: run 'expgsql cluster rebuild' on this node",
                path.display(),
                e.line(),
                e.column()
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
        if fs::symlink_metadata(&path).is_ok_and(|file| file.len() > LONG) {
            files::remove(&path)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.custom_flags(FLAGS).open(&path)?;
        reading::require_plain(&file).map(|_| file)
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
