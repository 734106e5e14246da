//! Small files that the agent writes: complete or not at all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, getegid, geteuid};

use crate::postgres::reading;

/// What we put into a data directory begins with this.
pub(super) const OURS: &str = ".expgsql.";

/// Replaces `path` by `contents`: written beside it, on disk, then renamed, so that neither a
/// power cut nor a full disk leaves a half-written file. Does nothing where the contents are the
/// same already.
///
/// # Errors
/// Whatever the file system says; the old file is untouched then.
pub fn write(path: &Path, contents: &str, mode: u32) -> io::Result<()> {
    if reading::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::rename(write_draft(path, contents, mode)?, path)?;
    sync_dir(dir)
}

/// Whether `contents` could be written to `path` now: does everything of [`write`] but the last step, which needs no room.
///
/// # Errors
/// As [`write`].
pub fn try_out(path: &Path, contents: &str, mode: u32) -> io::Result<()> {
    remove(&write_draft(path, contents, mode)?)
}

/// Writes `contents` beside `path`, on disk.
fn write_draft(path: &Path, contents: &str, mode: u32) -> io::Result<PathBuf> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    let draft = dir.join(format!(".{name}.new"));
    // What an interrupted call left behind.
    remove(&draft)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()?;
    Ok(draft)
}

/// As [`write`], keeping the old file's owner and permissions, and following a symbolic link to
/// the file it names: for files that belong to the operator. `dir_owner`: only where the file's
/// directory belongs to this user, so that root may write for it and be led nowhere else.
///
/// # Errors
/// As [`write`].
pub fn rewrite(path: &Path, contents: &[u8], dir_owner: Option<Uid>) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(dir)?;
    if dir_owner.is_some_and(|owner| dir.metadata().map(|d| d.uid()).ok() != Some(owner.as_raw())) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    rewrite_in(&dir, name, contents)
}

/// [`rewrite`] of the file `name` in a directory that is held: that very directory is meant, whatever is put in the place
/// of its name.
///
/// # Errors
/// As [`write`].
pub fn rewrite_in(dir: &File, name: &OsStr, contents: &[u8]) -> io::Result<()> {
    let pinned = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let target = pinned.join(name);
    let old = fs::symlink_metadata(&target)?;
    if !old.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let draft = pinned.join(format!(".{}.expgsql", name.to_string_lossy()));
    remove(&draft)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(contents)
        .and_then(|()| own_alike(&file, &old))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, &target));
    if written.is_err() {
        // The operator's directory is left as it was.
        let _ = remove(&draft);
    }
    written?;
    dir.sync_all()
}

fn own_alike(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let same_owner = geteuid().as_raw() == old.uid() && getegid().as_raw() == old.gid();
    if !same_owner {
        std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    // Never a set-user-id bit: root may be writing words of the owner's here.
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))
}

/// Removes `path`, which may be gone already, and makes that last.
///
/// # Errors
/// Whatever the file system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Power loss between creating a file and its directory entry reaching the disk would undo the
/// creation: a lost standby.signal would make the next start open a second primary.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes `dir` with `mode` where it is missing.
///
/// # Errors
/// Whatever the file system says.
pub fn ensure_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recovery.conf");
        write(&path, "a", 0o600).unwrap();
        fs::write(dir.path().join(".recovery.conf.new"), "left behind").unwrap();
        write(&path, "b", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn a_try_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("expgsql.state");
        try_out(&path, "b", 0o600).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write(&path, "a", 0o600).unwrap();
        try_out(&path, "b", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(try_out(&dir.path().join("missing/x"), "b", 0o600).is_err());
    }

    #[test]
    fn an_unchanged_file_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, "a", 0o600).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        write(&path, "a", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn an_operators_file_keeps_its_mode_and_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (
            dir.path().join("real.conf"),
            dir.path().join("postgresql.conf"),
        );
        fs::write(&real, "a").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        rewrite(&link, b"b", None).unwrap();
        rewrite(&link, b"b", Some(geteuid())).unwrap();
        let other = Uid::from_raw(geteuid().as_raw() + 1);
        assert!(rewrite(&link, b"c", Some(other)).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(&real).unwrap(), "b");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
