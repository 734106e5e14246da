//! The look at the server's storage: a process of its own writes to each place, and is given up where it gets no answer. What it waits
//! for can't be interrupted; the agent must not be what waits.
//!
//! The process acts as the owner, so that it can write where the server can, and follows no link that the server could not follow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statvfs::statvfs;

use crate::decide::deep::Answer;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::owner::as_owner;
use crate::sys::{Command, RunError};

use crate::agent::context::Context;
use crate::agent::step::{Step, failed};

/// The process's words on standard error begin with this; others are the log's.
const MARK: &str = "storage";

/// The name of its file where the file system has none without a name.
const FILE: &str = "expgsql.storage";

/// Where the WAL is.
pub(crate) const WAL: &str = "pg_wal";

/// A place, and what came of writing there.
pub(crate) type Seen = (String, Answer);

/// Has each place written to. Each may take query_timeout, all together what is left of the operation's time.
pub(crate) fn look(ctx: &Context<'_>) -> Step<Vec<Seen>> {
    let program = std::env::current_exe().map_err(failed)?;
    let limit = ctx.query_limit();
    let mut seen: Vec<Seen> = Vec::new();
    let mut at: Option<String> = None;
    let deadline = ctx.deadline;
    let mut hear = |line: &str| {
        let mut words = line.splitn(4, '\t');
        if words.next() == Some(MARK)
            && let (Some(word), Some(place)) = (words.next(), words.next())
        {
            let rest = words.next().unwrap_or_default();
            at = match word {
                "at" => Some(place.to_owned()),
                word => {
                    seen.push((place.to_owned(), heard(word, rest)));
                    None
                }
            };
        }
        if deadline.is_past() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let ended = Command::new(program)
        .arg("try-storage")
        .watch(limit, &mut hear);
    match (ended, at) {
        (Ok(_), _) => Ok(seen),
        (Err(RunError::Silent { .. }), Some(place)) => {
            let why = format!("a write took longer than {:.0} s", limit.as_secs_f32());
            seen.push((place, Answer::Silent(why)));
            Ok(seen)
        }
        // Each has answered so far; there are many, or they are slow.
        (Err(RunError::Stopped(_)), Some(place)) => {
            let why =
                "not looked at, nor what comes after it: the operation's timeout is too short"
                    .to_owned();
            seen.push((place, Answer::Refused(why)));
            Ok(seen)
        }
        // It never came to the storage: the name service may hang.
        (Err(error), _) => Err(failed(error)),
    }
}

fn heard(word: &str, rest: &str) -> Answer {
    let why = || rest.to_owned();
    match word {
        "done" => Answer::Done {
            free: rest.parse().ok(),
        },
        "full" => Answer::Full(why()),
        "broken" => Answer::Broken(why()),
        _ => Answer::Refused(why()),
    }
}

/// That process. It says what it is at before it is at it.
pub(crate) fn try_all(ctx: &Context<'_>) -> Step<Outcome> {
    let pgdata = ctx.pgdata();
    as_owner(&ctx.owner, || {
        try_place("the data directory", pgdata)?;
        try_place(WAL, &pgdata.join(WAL))?;
        for (name, place) in tablespaces(pgdata) {
            try_place(&name, &place)?;
        }
        Ok(())
    })
    .map_err(failed)?
    .map(|()| Outcome::of(OcfCode::Success))
}

/// What can't be listed is said of the data directory itself.
fn tablespaces(pgdata: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(pgdata.join("pg_tblspc")).into_iter().flatten();
    let mut all: Vec<(String, PathBuf)> = entries
        .filter_map(Result::ok)
        .map(|entry| {
            let place = fs::read_link(entry.path()).unwrap_or_else(|_| entry.path());
            (format!("tablespace {}", place.display()), entry.path())
        })
        .collect();
    all.sort();
    all
}

fn try_place(name: &str, dir: &Path) -> Step<()> {
    say("at", name, "")?;
    let tried = write_in(dir).and_then(|()| {
        let all = statvfs(dir)?;
        Ok(all.blocks_available().saturating_mul(all.fragment_size()))
    });
    match tried {
        Ok(free) => say("done", name, &free.to_string()),
        Err(error) => say(word(&error), name, &error.to_string()),
    }
}

/// In which way a write failed.
fn word(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => "full",
        Some(
            Errno::EIO
            | Errno::EROFS
            | Errno::ENXIO
            | Errno::ENODEV
            | Errno::ESTALE
            | Errno::EUCLEAN
            | Errno::ESHUTDOWN
            | Errno::ETIMEDOUT,
        ) => "broken",
        _ => "refused",
    }
}

/// Writes a page to the disk. The file has no name, so nothing is left of it; where the file system can't do that, it has one.
fn write_in(dir: &Path) -> io::Result<()> {
    const PAGE: [u8; 8192] = [0; 8192];
    let write = |mut file: File| {
        file.write_all(&PAGE)?;
        file.sync_data()
    };
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let nameless = options
        .clone()
        .custom_flags((OFlag::O_TMPFILE | OFlag::O_CLOEXEC).bits())
        .open(dir);
    let cant = |error: &io::Error| {
        let known = [
            Errno::EOPNOTSUPP as i32,
            Errno::EISDIR as i32,
            Errno::EINVAL as i32,
        ];
        error
            .raw_os_error()
            .is_some_and(|code| known.contains(&code))
    };
    match nameless {
        Ok(file) => return write(file),
        Err(error) if cant(&error) => {}
        Err(error) => return Err(error),
    }
    let path = dir.join(FILE);
    let _ = fs::remove_file(&path);
    let file = options.create_new(true).open(&path)?;
    let written = write(file);
    fs::remove_file(&path)?;
    written
}

fn say(word: &str, place: &str, rest: &str) -> Step<()> {
    let clean = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    let line = format!("{MARK}\t{word}\t{}\t{}\n", clean(place), clean(rest));
    let mut out = io::stderr();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_broken_are_told_from_what_is_merely_refused() {
        for (errno, expected) in [
            (Errno::ENOSPC, "full"),
            (Errno::EDQUOT, "full"),
            (Errno::EIO, "broken"),
            (Errno::EROFS, "broken"),
            (Errno::EACCES, "refused"),
            (Errno::ENOENT, "refused"),
            (Errno::EMFILE, "refused"),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(word(&error), expected, "{errno}");
        }
    }

    #[test]
    fn a_directory_is_written_to_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        write_in(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let missing = write_in(&dir.path().join("nosuch")).unwrap_err();
        assert_eq!(word(&missing), "refused");
    }

    #[test]
    fn what_the_process_says_is_understood() {
        assert_eq!(heard("done", "77"), Answer::Done { free: Some(77) });
        assert_eq!(heard("full", "x"), Answer::Full("x".to_owned()));
        assert_eq!(heard("broken", "x"), Answer::Broken("x".to_owned()));
        assert_eq!(heard("refused", "x"), Answer::Refused("x".to_owned()));
    }
}
