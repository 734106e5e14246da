//! Files that say what root is to do: read only where nobody else can have written them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Uid, User, geteuid};

/// Far more than any such file has.
const MOST: u64 = 1 << 20;

/// What is demanded of the directories above the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directories {
    /// Nobody else may write there: the file was found and not named, and whoever writes there chooses what is found.
    Trusted,
    /// Not everybody may write there. Somebody named the file, and its directory may be another account's, as /etc/postgresql
    /// is postgres's: that account can put a file of root's there, but none of its own.
    Named,
}

/// A file that can be relied on.
#[derive(Debug)]
pub struct TrustedFile {
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Where it is, from the root on.
    pub path: PathBuf,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is not there, or it can't be opened or read.
    #[error("{} can't be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link may lead somewhere else tomorrow.
    #[error("{} is a symbolic link and is not followed: name the file itself", .0.display())]
    Link(PathBuf),
    /// A directory, a pipe, a device.
    #[error("{} is not a file: name one", .0.display())]
    NoFile(PathBuf),
    /// Nobody wrote that by hand.
    #[error("{} is larger than {most} bytes and is not read: name the right file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How large it may be.
        most: u64,
    },
    /// Its owner could have it say anything.
    #[error(
        "{0} belongs to {owner} and is not used: look at what is in it, then chown {wanted} {0}", .path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Whose it should be.
        wanted: String,
    },
    /// So could these.
    #[error(
        "{0} can be written by others (mode {mode:03o}) and is not used: look at what is in it, then chmod go-w {0}", .path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file can be exchanged.
    #[error(
        "{} is not used, because {} {why}, so that others may put another file there: move it, to /etc/expgsql for example",
        .path.display(), .directory.display()
    )]
    Directory {
        /// The file.
        path: PathBuf,
        /// The directory, the file's or one above it.
        directory: PathBuf,
        /// What about it.
        why: String,
    },
}

/// Reads a file that belongs to root or to the caller, and that nobody else can write. What is judged is what is read: the file
/// is opened first, without waiting for anybody and without following a link.
///
/// # Errors
/// [`TrustError`], without a word of what is in it.
pub fn read(path: &Path, directories: Directories) -> Result<TrustedFile, TrustError> {
    let path_buf = || path.to_owned();
    let unreadable = |source| TrustError::Unreadable {
        path: path_buf(),
        source,
    };
    let name = path
        .file_name()
        .ok_or_else(|| TrustError::NoFile(path_buf()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let parent = fs::canonicalize(parent).map_err(unreadable)?;
    judge_directories(path, &parent, directories)?;
    let place = parent.join(name);
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(&place);
    let mut file = file.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => TrustError::Link(path_buf()),
        Some(Errno::ENXIO) => TrustError::NoFile(path_buf()),
        Some(_) | None => unreadable(error),
    })?;
    let about = file.metadata().map_err(unreadable)?;
    judge_file(path, &about)?;
    Ok(TrustedFile {
        content: content(&mut file, path)?,
        mode: about.mode() & 0o7777,
        path: place,
    })
}

fn content(file: &mut File, path: &Path) -> Result<Vec<u8>, TrustError> {
    let mut content = Vec::new();
    let read = file.take(MOST + 1).read_to_end(&mut content);
    let count = read.map_err(|source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if u64::try_from(count).is_ok_and(|count| count <= MOST) {
        return Ok(content);
    }
    Err(TrustError::TooLarge {
        path: path.to_owned(),
        most: MOST,
    })
}

fn judge_file(path: &Path, about: &Metadata) -> Result<(), TrustError> {
    let path = path.to_owned();
    if !about.is_file() {
        return Err(TrustError::NoFile(path));
    }
    if !is_trusted(about) {
        return Err(TrustError::Owner {
            path,
            owner: account(about.uid()),
            wanted: account(geteuid().as_raw()),
        });
    }
    if about.mode() & 0o022 != 0 {
        return Err(TrustError::Writable {
            path,
            mode: about.mode() & 0o777,
        });
    }
    Ok(())
}

/// All the way up: whoever may write to one of them can put another one in its place.
fn judge_directories(path: &Path, parent: &Path, wanted: Directories) -> Result<(), TrustError> {
    for directory in parent.ancestors() {
        let bad = |why: String| TrustError::Directory {
            path: path.to_owned(),
            directory: directory.to_owned(),
            why,
        };
        let about = fs::metadata(directory).map_err(|source| TrustError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        // Where only owners may move things away, as in /tmp, what is ours stays.
        let is_sticky = about.mode() & 0o1000 != 0;
        if about.mode() & 0o022 != 0 && !(is_sticky && is_trusted(&about)) {
            let mode = about.mode() & 0o7777;
            return Err(bad(format!("can be written by others (mode {mode:03o})")));
        }
        if wanted == Directories::Trusted && !is_trusted(&about) {
            return Err(bad(format!("belongs to {}", account(about.uid()))));
        }
    }
    Ok(())
}

fn is_trusted(about: &Metadata) -> bool {
    about.uid() == 0 || about.uid() == geteuid().as_raw()
}

fn account(uid: u32) -> String {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| format!("the user {uid}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::{chown, mkfifo};
    use tempfile::TempDir;

    use super::*;

    const TEXT: &str = "zq7x=1\n";

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn given_to_a_stranger(path: &Path) {
        chown(path, Some(Uid::from_raw(65534)), None).unwrap();
    }

    type Prepare = fn(&Path);

    /// What is put at the file's place, and what is said of it; empty: it is read.
    const PREPARED: [(&str, Prepare, &str); 10] = [
        ("as it is", |_| {}, ""),
        ("for all to read", |path| with_mode(path, 0o644), ""),
        (
            "group",
            |path| with_mode(path, 0o660),
            "can be written by others (mode 660)",
        ),
        (
            "others",
            |path| with_mode(path, 0o602),
            "can be written by others (mode 602)",
        ),
        ("a stranger's", given_to_a_stranger, "and is not used"),
        (
            "a link",
            |path| {
                let other = path.with_file_name("other");
                fs::rename(path, &other).unwrap();
                symlink(&other, path).unwrap();
            },
            "is a symbolic link",
        ),
        (
            "a pipe",
            |path| {
                fs::remove_file(path).unwrap();
                mkfifo(path, Mode::S_IRUSR).unwrap();
            },
            "is not a file",
        ),
        (
            "a directory",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            "is not a file",
        ),
        (
            "huge",
            |path| {
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap()
            },
            "is larger than",
        ),
        (
            "none",
            |path| fs::remove_file(path).unwrap(),
            "can't be read",
        ),
    ];

    fn in_new_directory() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.ini");
        fs::write(&path, TEXT).unwrap();
        with_mode(&path, 0o600);
        (dir, path)
    }

    #[test]
    fn only_a_file_that_nobody_else_can_have_written_is_read() {
        assert!(geteuid().is_root(), "what is another's can't be made");
        for (what, prepare, part) in PREPARED {
            let (_dir, path) = in_new_directory();
            prepare(&path);
            for wanted in [Directories::Trusted, Directories::Named] {
                match read(&path, wanted) {
                    Ok(found) => {
                        assert_eq!(part, "", "{what}");
                        assert_eq!(found.content, TEXT.as_bytes());
                        assert_eq!(found.path, path);
                    }
                    Err(error) => {
                        let error = error.to_string();
                        assert!(!part.is_empty() && error.contains(part), "{what}: {error}");
                        assert!(!error.contains("zq7x"), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_directory_in_which_others_may_exchange_the_file_is_refused() {
        for (wanted, prepare, part) in [
            (
                Directories::Named,
                (|dir| with_mode(dir, 0o777)) as Prepare,
                "mode 777",
            ),
            (Directories::Named, |dir| with_mode(dir, 0o770), "mode 770"),
            (Directories::Trusted, |dir| with_mode(dir, 0o1777), ""),
            (Directories::Trusted, given_to_a_stranger, "belongs to"),
            (Directories::Named, given_to_a_stranger, ""),
            (
                Directories::Named,
                |dir| {
                    with_mode(dir, 0o1777);
                    given_to_a_stranger(dir);
                },
                "mode 1777",
            ),
        ] {
            let (outer, path) = in_new_directory();
            let inner = outer.path().join("inner");
            fs::create_dir(&inner).unwrap();
            let deep = inner.join("config.ini");
            fs::copy(&path, &deep).unwrap();
            prepare(outer.path());
            for path in [&path, &deep] {
                match read(path, wanted) {
                    Ok(_) => assert_eq!(part, "", "{wanted:?}"),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(!part.is_empty() && error.contains(part), "{error}");
                    }
                }
            }
        }
    }
}
