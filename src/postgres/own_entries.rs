//! This node's own files in the data directory: configuration, certificates, logs. pg_rewind makes a data directory
//! equal to the primary's, so they are set aside while it works, and put back afterwards.
//!
//! Every call may be interrupted anywhere and repeated: `manifest.json` beside the files says how far it is.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, geteuid};
use serde::{Deserialize, Serialize};

use crate::postgres::files::{self, OURS};
use crate::postgres::mounts::Mounts;
use crate::postgres::owner::as_owner;
use crate::postgres::{held_wal, reading};
use crate::sys::Owner;

/// What PostgreSQL keeps directly in a data directory and does not name `pg_…`. All versions from 12.
const POSTGRESQLS: [&str; 21] = [
    "PG_VERSION",
    "base",
    "global",
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "backup_manifest",
    "backup_manifest.tmp",
    "current_logfiles",
    "current_logfiles.tmp",
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "recovery.done",
    "promote",
    "fallback_promote",
    "logrotate",
    "postgresql.auto.conf.tmp",
];

const MANIFEST: &str = "manifest.json";
const ENTRIES: &str = "entries";
const DRAFTS: &str = "drafts";

/// Whether an entry directly in a data directory is the node's own rather than PostgreSQL's: everything that PostgreSQL
/// does not make. `pg_…` is PostgreSQL's or an extension's, except configuration (`pg_hba.conf`, and copies of it) and
/// log directories (`pg_log`).
#[must_use]
pub fn is_own(name: &str) -> bool {
    if name.starts_with(OURS) || POSTGRESQLS.contains(&name) {
        return false;
    }
    match name.strip_prefix("pg_") {
        Some("logical") => false,
        Some(rest) => rest.contains(".conf") || rest.starts_with("log"),
        None => true,
    }
}

/// An own entry could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} can't be set aside while pg_rewind works ({source}): move it out of the data directory, or give it to the server's account",
        .path.display()
    )]
    Stuck {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} and the free space in {} are too much and too little for each other: move it out of the data directory",
        .path.display(), .to.display()
    )]
    Space { path: PathBuf, to: PathBuf },
    #[error(
        "{} is not readable as a list of saved files: look at what lies beside it, put it back into the data directory by hand, and remove it",
        .0.display()
    )]
    BadManifest(PathBuf),
    #[error("{} holds files of another data directory, {}", .save.display(), .pgdata.display())]
    OtherDirectory { save: PathBuf, pgdata: PathBuf },
    #[error("the name of {} is not UTF-8: rename it, or move it out of the data directory", .0.display())]
    Name(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// Some are still in the data directory.
    Saving,
    /// What is in the data directory now is the source's.
    Saved,
    /// The source's are removed; some are back.
    Returning,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    pgdata: PathBuf,
    phase: Phase,
    names: Vec<String>,
    /// Own, and not moved: mount points, logs for which there is no space.
    left: Vec<String>,
}

/// Whether there is something to put back.
#[must_use]
pub fn is_saved(from: &Path) -> bool {
    from.join(MANIFEST).exists()
}

/// Moves all own entries of `pgdata` to the directory `to`.
///
/// # Errors
/// See [`OwnError`]; some may have been moved then, and [`restore`] puts them back.
pub fn save(pgdata: &Path, to: &Path, owner: &Owner) -> Result<(), OwnError> {
    save_some(pgdata, to, owner, |_| true)
}

/// [`save`] for the entries that `chosen` picks by their path; the others stay where they are.
pub(super) fn save_some(
    pgdata: &Path,
    to: &Path,
    owner: &Owner,
    chosen: impl Fn(&Path) -> bool,
) -> Result<(), OwnError> {
    let place = Place { pgdata, to, owner };
    if place
        .manifest()?
        .is_some_and(|m| m.phase == Phase::Returning)
    {
        restore(pgdata, to, owner)?;
    }
    let mut manifest = match place.manifest()? {
        Some(manifest) if manifest.phase == Phase::Saved => return Ok(()),
        Some(manifest) => manifest,
        None => place.begin(chosen)?,
    };
    for name in manifest.names.clone() {
        if !place.set_aside(&name)? {
            manifest.names.retain(|other| *other != name);
            manifest.left.push(name);
            place.write(&manifest)?;
        }
    }
    place.sync()?;
    manifest.phase = Phase::Saved;
    place.write(&manifest)
}

/// Puts back what [`save`] has moved, in the place of what the source brought; own entries that only the source has are
/// removed; the second names of WAL files go. Nothing to do where nothing is saved.
///
/// # Errors
/// See [`OwnError`]; a repeated call continues.
pub fn restore(pgdata: &Path, from: &Path, owner: &Owner) -> Result<(), OwnError> {
    // What is left of them costs room, and goes before the next rewind at the latest.
    let _left = as_owner(owner, || held_wal::remove(pgdata, from));
    let place = Place {
        pgdata,
        to: from,
        owner,
    };
    let Some(mut manifest) = place.manifest()? else {
        return Ok(());
    };
    if manifest.phase == Phase::Saved {
        for name in place.own_names()? {
            let path = pgdata.join(&name);
            if !manifest.left.contains(&name) && !place.is_mounted(&path)? {
                place.remove(&path)?;
            }
        }
        manifest.phase = Phase::Returning;
        place.write(&manifest)?;
    }
    for name in &manifest.names {
        place.put_back(name)?;
    }
    place.sync()?;
    place.act(from, || {
        files::remove(&from.join(MANIFEST))?;
        fs::remove_dir_all(from)
    })
}

/// A data directory and where its own entries are kept meanwhile.
struct Place<'a> {
    pgdata: &'a Path,
    to: &'a Path,
    owner: &'a Owner,
}

impl Place<'_> {
    /// Does it as the owner.
    fn act<T>(&self, path: &Path, action: impl FnOnce() -> io::Result<T>) -> Result<T, OwnError> {
        as_owner(self.owner, action)
            .map_err(io::Error::from)
            .and_then(|result| result)
            .map_err(|source| OwnError::Io {
                path: path.to_owned(),
                source,
            })
    }

    fn manifest(&self) -> Result<Option<Manifest>, OwnError> {
        let path = self.to.join(MANIFEST);
        let read = self.act(&path, || match reading::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        })?;
        let Some(text) = read else { return Ok(None) };
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|_| OwnError::BadManifest(path))?;
        let is_same = fs::canonicalize(&manifest.pgdata).ok() == fs::canonicalize(self.pgdata).ok();
        if is_same {
            Ok(Some(manifest))
        } else {
            Err(OwnError::OtherDirectory {
                save: self.to.to_owned(),
                pgdata: manifest.pgdata,
            })
        }
    }

    fn write(&self, manifest: &Manifest) -> Result<(), OwnError> {
        let path = self.to.join(MANIFEST);
        let text =
            serde_json::to_string(manifest).map_err(|_| OwnError::BadManifest(path.clone()))?;
        self.act(&path, || files::write(&path, &text, 0o600))
    }

    fn begin(&self, chosen: impl Fn(&Path) -> bool) -> Result<Manifest, OwnError> {
        self.act(self.to, || {
            // Without a manifest nothing of this node's is in there.
            remove_any(self.to)?;
            files::ensure_dir(self.to, 0o700)?;
            files::ensure_dir(&self.to.join(ENTRIES), 0o700)?;
            files::ensure_dir(&self.to.join(DRAFTS), 0o700)
        })?;
        let (mut names, mut left) = (Vec::new(), Vec::new());
        for name in self.own_names()? {
            let path = self.pgdata.join(&name);
            if chosen(&path) && !self.is_mounted(&path)? {
                names.push(name);
            } else {
                left.push(name);
            }
        }
        let manifest = Manifest {
            pgdata: self.pgdata.to_owned(),
            phase: Phase::Saving,
            names,
            left,
        };
        self.write(&manifest)?;
        Ok(manifest)
    }

    fn own_names(&self) -> Result<Vec<String>, OwnError> {
        let entries = self.act(self.pgdata, || {
            fs::read_dir(self.pgdata)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        })?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry
                .into_string()
                .map_err(|name| OwnError::Name(self.pgdata.join(name)))?;
            if is_own(&name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn is_mounted(&self, path: &Path) -> Result<bool, OwnError> {
        let failed = |source| OwnError::Io {
            path: path.to_owned(),
            source,
        };
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(true);
        };
        let real = fs::canonicalize(dir).map_err(failed)?.join(name);
        Ok(Mounts::read().map_err(failed)?.has(&real))
    }

    /// `false`: it is left where it is.
    fn set_aside(&self, name: &str) -> Result<bool, OwnError> {
        let (from, to) = (self.pgdata.join(name), self.to.join(ENTRIES).join(name));
        if !self.act(&from, || is_there(&from))? {
            return Ok(true);
        }
        // The copy is complete, or it would not have this name.
        if self.act(&to, || is_there(&to))? {
            self.remove(&from)?;
            return Ok(true);
        }
        if self.rename(&from, &to)? {
            return Ok(true);
        }
        let (size, free) = self.act(&from, || Ok((size_of(&from)?, free_in(self.to)?)))?;
        if size > free / 2 {
            return if is_log(name) {
                Ok(false)
            } else {
                Err(OwnError::Space {
                    path: from,
                    to: self.to.to_owned(),
                })
            };
        }
        let draft = self.to.join(DRAFTS).join(name);
        self.act(&draft, || remove_any(&draft))?;
        self.copy(&from, &draft).map_err(|source| OwnError::Stuck {
            path: from.clone(),
            source,
        })?;
        self.act(&to, || {
            fs::rename(&draft, &to)?;
            sync_dir(&self.to.join(ENTRIES))
        })?;
        self.remove(&from)?;
        Ok(true)
    }

    fn put_back(&self, name: &str) -> Result<(), OwnError> {
        let (from, to) = (self.to.join(ENTRIES).join(name), self.pgdata.join(name));
        if !self.act(&from, || is_there(&from))? {
            return Ok(());
        }
        self.remove(&to)?;
        if self.rename(&from, &to)? {
            return Ok(());
        }
        let draft = self.pgdata.join(format!("{OURS}draft"));
        self.act(&draft, || remove_any(&draft))?;
        self.copy(&from, &draft).map_err(|source| OwnError::Io {
            path: to.clone(),
            source,
        })?;
        self.act(&to, || {
            fs::rename(&draft, &to)?;
            sync_dir(self.pgdata)
        })?;
        self.remove(&from)
    }

    /// `false`: it has to be copied, to another file system.
    fn rename(&self, from: &Path, to: &Path) -> Result<bool, OwnError> {
        let done = as_owner(self.owner, || fs::rename(from, to))
            .map_err(io::Error::from)
            .and_then(|result| result);
        let done = match done {
            // A directory can be moved only by who may write in it.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && geteuid().is_root() =>
            {
                self.rename_as_root(from, to)
            }
            other => other,
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
            Err(source) => Err(OwnError::Stuck {
                path: from.to_owned(),
                source,
            }),
        }
    }

    /// Between two directories that belong to the owner, and nowhere else, whatever is put in the place of their names.
    fn rename_as_root(&self, from: &Path, to: &Path) -> io::Result<()> {
        let pin = |path: &Path| {
            let dir = fs::canonicalize(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
            let dir = fs::OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
                .open(dir)?;
            if dir.metadata()?.uid() == self.owner.uid.as_raw() {
                Ok(dir)
            } else {
                Err(io::Error::from(io::ErrorKind::PermissionDenied))
            }
        };
        let name = from.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let (from, to) = (pin(from)?, pin(to)?);
        Ok(nix::fcntl::renameat(from.as_fd(), name, to.as_fd(), name)?)
    }

    /// A file, link or directory with all that is in it, and on disk. What the owner can't read can't be copied.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let own = |action: &mut dyn FnMut() -> io::Result<()>| -> io::Result<()> {
            as_owner(self.owner, action)?
        };
        let about = fs::symlink_metadata(from)?;
        if about.is_symlink() {
            let mut link = || std::os::unix::fs::symlink(fs::read_link(from)?, to);
            return own(&mut link);
        }
        if about.is_file() {
            let mut made = None;
            own(&mut || {
                made = Some(copy_file(from, to)?);
                Ok(())
            })?;
            return match made {
                Some((file, copied)) => self.own_alike(&file, &copied),
                None => Ok(()),
            };
        }
        if !about.is_dir() {
            // A socket or a pipe means nothing without the program that made it.
            return Ok(());
        }
        let mut names = Vec::new();
        own(&mut || {
            fs::create_dir(to)?;
            for entry in fs::read_dir(from)? {
                names.push(entry?.file_name());
            }
            Ok(())
        })?;
        for name in names {
            self.copy(&from.join(&name), &to.join(&name))?;
        }
        let mut made = None;
        own(&mut || {
            let dir = File::open(to)?;
            dir.set_permissions(fs::Permissions::from_mode(about.mode() & 0o777))?;
            dir.sync_all()?;
            made = Some(dir);
            Ok(())
        })?;
        made.map_or(Ok(()), |dir| self.own_alike(&dir, &about))
    }

    /// A file of root's stays root's, where we are root. By its descriptor: its name could be another file's by now.
    fn own_alike(&self, file: &File, old: &fs::Metadata) -> io::Result<()> {
        let is_owners =
            old.uid() == self.owner.uid.as_raw() && old.gid() == self.owner.gid.as_raw();
        if is_owners || !geteuid().is_root() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
        nix::unistd::fchown(file, Some(uid), Some(gid))?;
        file.sync_all()
    }

    fn remove(&self, path: &Path) -> Result<(), OwnError> {
        self.act(path, || remove_any(path))
    }

    fn sync(&self) -> Result<(), OwnError> {
        self.act(self.pgdata, || {
            sync_dir(self.pgdata)?;
            sync_dir(&self.to.join(ENTRIES))
        })
    }
}

/// The copy, and what the file that was copied is: its name may be another's by now, whose owner the copy must not get.
fn copy_file(from: &Path, to: &Path) -> io::Result<(File, fs::Metadata)> {
    let (mut source, about) = reading::open(from, nix::libc::O_NOFOLLOW)?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut file)?;
    // Never a set-user-id bit: the file may be given to root.
    file.set_permissions(fs::Permissions::from_mode(about.mode() & 0o777))?;
    file.sync_all()?;
    Ok((file, about))
}

fn is_log(name: &str) -> bool {
    name.starts_with("log") || name.starts_with("pg_log")
}

pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file, a link (not what it leads to), or a directory with all that is in it; it may be gone already.
pub(super) fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Bytes of all files in it; links count nothing.
fn size_of(path: &Path) -> io::Result<u64> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Ok(if about.is_file() { about.len() } else { 0 });
    }
    fs::read_dir(path)?.try_fold(0, |sum: u64, entry| {
        Ok(sum.saturating_add(size_of(&entry?.path())?))
    })
}

/// Free bytes for who is not root.
pub(super) fn free_in(dir: &Path) -> io::Result<u64> {
    let about = statvfs(dir)?;
    Ok(about
        .blocks_available()
        .saturating_mul(about.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_makes_is_not_the_nodes_own() {
        for name in [
            "PG_VERSION",
            "base",
            "global",
            "pg_wal",
            "pg_xact",
            "pg_logical",
            "pg_tblspc",
            "pg_internal.init",
            "postmaster.pid",
            "standby.signal",
            "backup_label.old",
            "pg_tde",
            "pg_replslot",
            ".expgsql.swap",
        ] {
            assert!(!is_own(name), "{name}");
        }
        for name in [
            "postgresql.conf",
            "postgresql.auto.conf",
            "pg_hba.conf",
            "pg_hba.conf.bak",
            // 19's.
            "pg_hosts.conf",
            "pg_ident.conf",
            "pg_log",
            "log",
            "conf.d",
            "server.key",
            "serverlog",
            "lost+found",
            ".pgpass",
        ] {
            assert!(is_own(name), "{name}");
        }
    }

    fn me() -> Owner {
        let user = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap();
        Owner::lookup(&user.name).unwrap()
    }

    /// Names and contents, recursively.
    fn contents(dir: &Path) -> Vec<String> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let about = fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                all.extend(
                    contents(&path)
                        .iter()
                        .map(|inner| format!("{name}/{inner}")),
                );
            } else if about.is_symlink() {
                all.push(format!(
                    "{name} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else {
                let text = fs::read_to_string(&path).unwrap();
                all.push(format!("{name}={text} {:o}", about.mode() & 0o777));
            }
        }
        all.sort();
        all
    }

    fn populate(pgdata: &Path) {
        fs::create_dir_all(pgdata.join("conf.d")).unwrap();
        fs::create_dir_all(pgdata.join("base")).unwrap();
        for (name, text) in [
            ("postgresql.conf", "own"),
            ("conf.d/a.conf", "a"),
            ("base/1", "data"),
        ] {
            fs::write(pgdata.join(name), text).unwrap();
        }
        fs::set_permissions(
            pgdata.join("postgresql.conf"),
            fs::Permissions::from_mode(0o640),
        )
        .unwrap();
        std::os::unix::fs::symlink("/etc/hosts", pgdata.join("pg_hba.conf")).unwrap();
    }

    fn bring(pgdata: &Path) {
        fs::create_dir_all(pgdata.join("conf.d")).unwrap();
        for (name, text) in [
            ("postgresql.conf", "source's"),
            ("conf.d/b.conf", "b"),
            ("new.conf", "n"),
            ("base/1", "new data"),
        ] {
            fs::write(pgdata.join(name), text).unwrap();
        }
    }

    /// Two directories, on one file system or on two.
    fn places(is_apart: bool) -> (tempfile::TempDir, tempfile::TempDir) {
        let other = if is_apart {
            tempfile::tempdir_in("/dev/shm")
        } else {
            tempfile::tempdir()
        };
        (tempfile::tempdir().unwrap(), other.unwrap())
    }

    #[test]
    fn own_files_come_back_and_the_sources_go() {
        for is_apart in [false, true] {
            let (dir, other) = places(is_apart);
            let (pgdata, save_dir) = (dir.path().join("data"), other.path().join("own"));
            populate(&pgdata);
            let before = contents(&pgdata);
            save(&pgdata, &save_dir, &me()).unwrap();
            save(&pgdata, &save_dir, &me()).unwrap();
            assert_eq!(contents(&pgdata), ["base/1=data 644"]);
            assert!(is_saved(&save_dir));
            bring(&pgdata);
            // pg_rewind was interrupted and runs again: what is there now is not saved.
            save(&pgdata, &save_dir, &me()).unwrap();
            restore(&pgdata, &save_dir, &me()).unwrap();
            restore(&pgdata, &save_dir, &me()).unwrap();
            let expected: Vec<String> = before
                .iter()
                .map(|line| line.replace("base/1=data", "base/1=new data"))
                .collect();
            assert_eq!(contents(&pgdata), expected);
            assert!(!save_dir.exists());
        }
    }

    #[test]
    fn an_interrupted_save_or_return_loses_nothing() {
        let (dir, other) = places(true);
        let (pgdata, save_dir) = (dir.path().join("data"), other.path().join("own"));
        populate(&pgdata);
        let before = contents(&pgdata);
        let owner = me();
        let place = Place {
            pgdata: &pgdata,
            to: &save_dir,
            owner: &owner,
        };
        // One is away, of another there is half a copy, a third is copied and not removed.
        place.begin(|_| true).unwrap();
        assert!(place.set_aside("postgresql.conf").unwrap());
        fs::write(save_dir.join(DRAFTS).join("pg_hba.conf"), "half").unwrap();
        place
            .copy(
                &pgdata.join("conf.d"),
                &save_dir.join(ENTRIES).join("conf.d"),
            )
            .unwrap();
        fs::remove_file(pgdata.join("conf.d/a.conf")).unwrap();
        restore(&pgdata, &save_dir, &owner).unwrap();
        assert_eq!(contents(&pgdata), before);

        save(&pgdata, &save_dir, &owner).unwrap();
        bring(&pgdata);
        // The source's are removed and one is back, when it ends.
        let mut manifest = place.manifest().unwrap().unwrap();
        for name in place.own_names().unwrap() {
            place.remove(&pgdata.join(name)).unwrap();
        }
        manifest.phase = Phase::Returning;
        place.write(&manifest).unwrap();
        place.put_back("conf.d").unwrap();
        fs::write(pgdata.join(".expgsql.draft"), "half").unwrap();
        // Before the next attempt of a rewind the return is finished first.
        save(&pgdata, &save_dir, &owner).unwrap();
        restore(&pgdata, &save_dir, &owner).unwrap();
        fs::write(pgdata.join("base/1"), "data").unwrap();
        assert_eq!(contents(&pgdata), before);
    }

    #[test]
    fn only_the_chosen_are_moved_and_the_others_stay() {
        let (dir, other) = places(false);
        let (pgdata, save_dir) = (dir.path().join("data"), other.path().join("own"));
        populate(&pgdata);
        let before = contents(&pgdata);
        save_some(&pgdata, &save_dir, &me(), Path::is_symlink).unwrap();
        assert!(!is_there(&pgdata.join("pg_hba.conf")).unwrap());
        assert!(pgdata.join("postgresql.conf").exists());
        restore(&pgdata, &save_dir, &me()).unwrap();
        assert_eq!(contents(&pgdata), before);
    }

    #[test]
    fn files_of_another_data_directory_are_not_put_back() {
        let (dir, other) = places(false);
        let (pgdata, save_dir) = (dir.path().join("data"), other.path().join("own"));
        populate(&pgdata);
        save(&pgdata, &save_dir, &me()).unwrap();
        let foreign = dir.path().join("foreign");
        populate(&foreign);
        assert!(matches!(
            restore(&foreign, &save_dir, &me()),
            Err(OwnError::OtherDirectory { .. })
        ));
        fs::write(save_dir.join(MANIFEST), "torn").unwrap();
        assert!(matches!(
            restore(&pgdata, &save_dir, &me()),
            Err(OwnError::BadManifest(_))
        ));
    }
}
