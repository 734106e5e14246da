//! A tree of files as it was: what differs is made anew, and nothing else. To remove a thousand files and to make them again takes
//! a file system without a journal, which shuns what was just removed, seconds.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, FileTimes, Metadata, Permissions};
use std::io::{Error, Result};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink,
};
use std::path::Path;

/// Makes `now` what `first` is, whatever it has become. Nobody writes to either meanwhile.
pub(crate) fn put_back(first: &Path, now: &Path) -> Result<()> {
    let wanted = first.symlink_metadata()?;
    let found = now.symlink_metadata().ok();
    let found = found.filter(|found| found.file_type() == wanted.file_type());
    if found.is_none() {
        remove(now)?;
    }
    if wanted.is_dir() {
        return directory(first, now, &wanted, found.is_some());
    }
    if found.is_some_and(|found| is_same(&wanted, &found)) {
        return Ok(());
    }
    if wanted.is_symlink() {
        remove(now)?;
        symlink(first.read_link()?, now)?;
        return lchown(now, Some(wanted.uid()), Some(wanted.gid()));
    }
    if !wanted.is_file() {
        let what = format!(
            "{} is neither a file nor a directory nor a link",
            first.display()
        );
        return Err(Error::other(what));
    }
    // In the file that is there: one that has another name, too, would keep what it has.
    if now.symlink_metadata().is_ok_and(|found| found.nlink() > 1) {
        remove(now)?;
    }
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(now)?;
    std::io::copy(&mut File::open(first)?, &mut file)?;
    as_it_was(now, &wanted)?;
    file.set_times(times(&wanted)?)
}

fn directory(first: &Path, now: &Path, wanted: &Metadata, is_there: bool) -> Result<()> {
    if !is_there {
        DirBuilder::new().mode(0o700).create(now)?;
    }
    let mut names = BTreeSet::new();
    for entry in first.read_dir()? {
        let name = entry?.file_name();
        put_back(&first.join(&name), &now.join(&name))?;
        names.insert(name);
    }
    for entry in now.read_dir()? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            remove(&entry.path())?;
        }
    }
    as_it_was(now, wanted)?;
    File::open(now)?.set_times(times(wanted)?)
}

/// Who writes to a file changes its time, and nobody sets that back.
fn is_same(wanted: &Metadata, found: &Metadata) -> bool {
    let about = |it: &Metadata| {
        let changed = (it.mtime(), it.mtime_nsec());
        (it.len(), it.mode(), it.uid(), it.gid(), changed)
    };
    // A link's own time is of no matter, its text is.
    wanted.is_file() && about(wanted) == about(found) && found.nlink() == 1
}

fn as_it_was(path: &Path, wanted: &Metadata) -> Result<()> {
    chown(path, Some(wanted.uid()), Some(wanted.gid()))?;
    // Not before: a change of owner takes bits away.
    std::fs::set_permissions(path, Permissions::from_mode(wanted.mode() & 0o7777))
}

fn times(wanted: &Metadata) -> Result<FileTimes> {
    let (read, written) = (wanted.accessed()?, wanted.modified()?);
    Ok(FileTimes::new().set_accessed(read).set_modified(written))
}

fn remove(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
