//! Lock files of a server that is gone: `postmaster.pid`, and the one beside its socket.
//!
//! PostgreSQL refuses to start as long as the number in one of them is a living process of its own account, whatever that
//! is; after a reboot the numbers come again. Here is known more: a server changes to its data directory before it writes such
//! a file, so a process that works elsewhere has not written it.
//!
//! Nothing is removed. The number alone is replaced, by one that no process ever has, in the very file that was judged: whoever
//! has replaced that meanwhile keeps its own. PostgreSQL then removes it by its own rules, which look at the shared memory that
//! the file names as well, so that two servers never come to work in one directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

use crate::log::say;
use crate::postgres::owner::as_owner;
use crate::postgres::process;
use crate::postgres::reading;
use crate::sys::Owner;

/// Larger than `PID_MAX_LIMIT` of any kernel, and a number for PostgreSQL.
const NOBODY: &str = "2147483647";

/// Far more than such a file has; bytes.
const LIMIT: u64 = 4096;

/// Where the socket's lock file may be.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    pub dirs: Vec<PathBuf>,
    pub port: u16,
}

/// Takes its number out of each lock file that a server which worked in `pgdata` has left. To be called where no server works there. What can't
/// be done is said in the log: PostgreSQL has the last word.
pub fn outdate(pgdata: &Path, sockets: &Sockets, owner: &Owner) {
    let data = pgdata.join("postmaster.pid");
    let left = as_owner(owner, || read(&data)).map_err(io::Error::from);
    let (mut dirs, mut port) = (sockets.dirs.clone(), sockets.port);
    if let Ok(Ok(Some((_, text)))) = &left {
        // It says itself where its socket was.
        let mut lines = text.lines().skip(3).map(str::trim);
        port = lines.next().and_then(|l| l.parse().ok()).unwrap_or(port);
        dirs.extend(lines.next().filter(|l| !l.is_empty()).map(PathBuf::from));
    }
    dirs.sort();
    dirs.dedup();
    let socket = |dir: PathBuf| (dir.join(format!(".s.PGSQL.{port}.lock")), false);
    for (file, is_data) in [(data, true)]
        .into_iter()
        .chain(dirs.into_iter().map(socket))
    {
        match outdate_one(pgdata, &file, is_data, owner) {
            Ok(None) => {}
            Ok(Some(was)) => say!(
                WARN,
                "a lock file of a server that is gone names a process that is another's by now, or nobody: PostgreSQL is told so",
                file = file.display(),
                named = was
            ),
            Err(error) => say!(
                WARN,
                "a lock file of a server that is gone is left as it is",
                file = file.display(),
                reason = error
            ),
        }
    }
}

/// What the file named, where that was replaced.
fn outdate_one(
    pgdata: &Path,
    path: &Path,
    is_data: bool,
    owner: &Owner,
) -> io::Result<Option<String>> {
    let Some((file, text)) = as_owner(owner, || read(path)).map_err(io::Error::from)?? else {
        return Ok(None);
    };
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let first = first.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if !is_data && !is_of(pgdata, rest) {
        return Ok(None);
    }
    let pid = first.parse::<i32>().ok().and_then(i32::checked_abs);
    match pid.filter(|pid| *pid > 0) {
        Some(pid) if !is_in_the_way(pgdata, pid, owner)? => return Ok(None),
        Some(_) | None => {}
    }
    let rest = rest.trim_matches('\0');
    // In one go, and never shorter than what was there.
    let anew = format!("{NOBODY}\n{rest}");
    as_owner(owner, || file.write_all_at(anew.as_bytes(), 0)).map_err(io::Error::from)??;
    Ok(Some(
        if first.is_empty() { "nobody" } else { first }.to_owned(),
    ))
}

/// Whether PostgreSQL would take this process for a server, which is none in `pgdata`.
fn is_in_the_way(pgdata: &Path, pid: i32, owner: &Owner) -> io::Result<bool> {
    if process::account_of(pid)? != Some(owner.uid) {
        // Gone, or somebody whom PostgreSQL may not signal.
        return Ok(false);
    }
    if process::works_in(pid, pgdata)? {
        return Err(io::Error::other(format!(
            "process {pid}, which it names, works in the data directory"
        )));
    }
    Ok(true)
}

/// Whether a socket's lock file is of the server in `pgdata`, which is its second line.
fn is_of(pgdata: &Path, rest: &str) -> bool {
    let named = rest.lines().next().map(|line| Path::new(line.trim()));
    let real = |path: &Path| path.canonicalize().ok();
    named.is_some_and(|named| {
        named == pgdata || (real(named).is_some() && real(named) == real(pgdata))
    })
}

/// The file, held, and its text; `None`: there is none, or it is not the caller's.
fn read(path: &Path) -> io::Result<Option<(File, String)>> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let about = reading::require_plain(&file)?;
    if about.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file).take(LIMIT).read_to_end(&mut bytes)?;
    Ok(Some((file, String::from_utf8_lossy(&bytes).into_owned())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command, Stdio};

    use nix::unistd::{getegid, geteuid};

    use super::*;

    fn owner() -> Owner {
        Owner {
            name: "me".to_owned(),
            uid: geteuid(),
            gid: getegid(),
            groups: vec![getegid()],
            home: PathBuf::from("/"),
        }
    }

    /// Waits for the end of its input, in `dir`.
    fn cat(dir: &Path) -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).current_dir(dir);
        command.spawn().unwrap()
    }

    #[test]
    fn only_a_number_of_a_process_that_works_elsewhere_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, data) = (dir.path().join("postmaster.pid"), dir.path().display());
        let elsewhere = cat(Path::new("/"));
        let inside = cat(dir.path());
        let rest = format!("{data}\n1700000000\n5432\n/run/pg\n*\n  5432001   77\nready\n");
        for (first, is_replaced) in [
            (elsewhere.id().to_string(), true),
            (format!("-{}", elsewhere.id()), true),
            (inside.id().to_string(), false),
            (NOBODY.to_owned(), false),
            ("x".to_owned(), true),
            ("0".to_owned(), true),
        ] {
            let text = format!("{first}\n{rest}");
            fs::write(&path, &text).unwrap();
            outdate(dir.path(), &Sockets::default(), &owner());
            let expected = if is_replaced {
                format!("{NOBODY}\n{rest}")
            } else {
                text
            };
            assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{first}");
        }
        for torn in [&b""[..], &b"\0\0\0\0"[..]] {
            fs::write(&path, torn).unwrap();
            outdate(dir.path(), &Sockets::default(), &owner());
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{NOBODY}\n"));
        }
        fs::remove_file(&path).unwrap();
        outdate(dir.path(), &Sockets::default(), &owner());
        assert!(!path.exists());
        for mut process in [elsewhere, inside] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    #[test]
    fn a_file_that_was_put_in_its_place_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postmaster.pid");
        fs::write(&path, "7\nold\n").unwrap();
        let (held, _) = read(&path).unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "8\nnew\n").unwrap();
        held.write_all_at(b"x", 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "8\nnew\n");
    }

    #[test]
    fn a_link_leads_nowhere_and_another_instances_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("theirs"), "x\n").unwrap();
        std::os::unix::fs::symlink(path("theirs"), path("postmaster.pid")).unwrap();
        let mut other = cat(Path::new("/"));
        let lock = path(".s.PGSQL.5433.lock");
        let sockets = Sockets {
            dirs: vec![dir.path().to_owned()],
            port: 5433,
        };
        let own = dir.path().display().to_string();
        for (whose, is_replaced) in [("/somewhere/else", false), (own.as_str(), true)] {
            let text = format!("{}\n{whose}\n1\n5433\n/run/pg\n", other.id());
            fs::write(&lock, &text).unwrap();
            outdate(dir.path(), &sockets, &owner());
            let is_kept = fs::read_to_string(&lock).unwrap() == text;
            assert_eq!(is_kept, !is_replaced, "{whose}");
        }
        assert_eq!(fs::read_to_string(path("theirs")).unwrap(), "x\n");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
