//! What root makes for the server's account where that account may not: tmpdir in /var/lib, a log file in /var/log, a line
//! in /etc/postgresql.
//!
//! Root may do that only where the account can have had no hand in the way there: a link that it has put anywhere on the
//! way would lead root to a place of its choice. So the way is gone step by step, each step from the directory that
//! is held already, and no directory on it may be the account's to change.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{AccessFlags, faccessat};

use crate::postgres::owner::as_owner;
use crate::sys::Owner;

/// As many links as the kernel follows.
const LINKS: u32 = 40;

/// A place that is out of the account's reach: a directory that is held, and a name in it that is no link.
#[derive(Debug)]
pub struct Place {
    pub dir: File,
    pub name: OsString,
}

/// Goes to `path`, the last part of which may be missing.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] where the account can change a directory on the way; whatever the file
/// system says.
pub fn pin(path: &Path, owner: &Owner) -> io::Result<Place> {
    walk(path, owner, Missing::IsAnError)
}

/// Makes the directory `path` and gives it to the account; what is missing above it is made as root's.
///
/// # Errors
/// As [`pin`].
pub fn make_dir(path: &Path, owner: &Owner, mode: u32) -> io::Result<()> {
    let place = walk(path, owner, Missing::IsMade)?;
    // Nobody else can put anything there meanwhile.
    mkdirat(
        &place.dir,
        place.name.as_os_str(),
        Mode::from_bits_truncate(0o700),
    )?;
    give(&place.open(OFlag::O_DIRECTORY)?, owner)?;
    place
        .open(OFlag::O_DIRECTORY)?
        .set_permissions(fs::Permissions::from_mode(mode))
}

/// Makes the empty file `path` and gives it to the account, to nobody else's eyes.
///
/// # Errors
/// As [`pin`]; it is there already.
pub fn make_file(path: &Path, owner: &Owner) -> io::Result<()> {
    let place = pin(path, owner)?;
    give(&place.open(OFlag::O_CREAT | OFlag::O_EXCL)?, owner)
}

fn give(file: &File, owner: &Owner) -> io::Result<()> {
    let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
    std::os::unix::fs::fchown(file, Some(uid), Some(gid))
}

impl Place {
    fn open(&self, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        Ok(openat(&self.dir, self.name.as_os_str(), flags, mode)?.into())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsAnError,
    IsMade,
}

fn walk(path: &Path, owner: &Owner, missing: Missing) -> io::Result<Place> {
    if !path.is_absolute() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut links = LINKS;
    let mut dir = File::open("/")?;
    let mut ahead = parts(path);
    while let Some(name) = ahead.pop_front() {
        let about = match fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(about) => Some(about),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let passed = about.filter(|_| !ahead.is_empty());
        refuse_in_reach(&dir, owner, passed.map(|about| about.st_uid))?;
        let kind = about.map(|about| about.st_mode & SFlag::S_IFMT.bits());
        let kind = kind.map(SFlag::from_bits_truncate);
        match kind {
            Some(SFlag::S_IFLNK) => {
                links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                let target = readlinkat(&dir, name.as_os_str())?;
                if Path::new(&target).is_absolute() {
                    dir = File::open("/")?;
                }
                for part in parts(Path::new(&target)).into_iter().rev() {
                    ahead.push_front(part);
                }
                continue;
            }
            _ if ahead.is_empty() => return Ok(Place { dir, name }),
            None if missing == Missing::IsMade => {
                mkdirat(&dir, name.as_os_str(), Mode::from_bits_truncate(0o755))?;
            }
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(_) => {}
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        dir = openat(&dir, name.as_os_str(), flags, Mode::empty())?.into();
    }
    Err(io::ErrorKind::InvalidInput.into())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::from_bytes(b"..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

/// `entry`: whose that is which the way leads through.
fn refuse_in_reach(dir: &File, owner: &Owner, entry: Option<u32>) -> io::Result<()> {
    let may_write = || faccessat(dir, ".", AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok();
    let (about, theirs) = (dir.metadata()?, owner.uid.as_raw());
    // As in /tmp: what is another's there can't be put out of the way.
    let is_kept = about.mode() & 0o1000 != 0 && entry.is_some_and(|uid| uid != theirs);
    if about.uid() == theirs || (!is_kept && as_owner(owner, may_write)?) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}
