//! Reading files in directories of the server's account, which may put anything there: a link to a file of root's, a
//! pipe that nobody writes to, a file without end. A read here ends at once, reads a plain file of reasonable size or
//! fails, and what it says of a failure has nothing of the contents. (So should whoever reads: what does not
//! parse may be somebody's password.)

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::libc::{ELOOP, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::Uid;

use crate::postgres::owner::as_owner;
use crate::sys::Owner;

/// Far more than any file has that is read here; bytes.
const LIMIT: u64 = 1 << 20;

/// Reads `path` with the owner's rights and no more. A link leads where the owner may go by itself.
///
/// # Errors
/// Whatever the file system says; [`io::ErrorKind::InvalidData`] for what is no file of text of reasonable size.
pub fn read_as(owner: &Owner, path: &Path) -> io::Result<String> {
    as_owner(owner, || read(path))
        .map_err(io::Error::from)
        .flatten()
}

/// Reads `path` with the rights of whoever calls, which are the owner's where the owner could have put a link there.
///
/// # Errors
/// As [`read_as`].
pub fn read(path: &Path) -> io::Result<String> {
    let (file, _) = open(path, 0)?;
    text_of(file)
}

/// [`read`] for what need not be UTF-8.
///
/// # Errors
/// As [`read_as`].
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let (file, _) = open(path, 0)?;
    bytes_of(file)
}

/// Reads a file that PostgreSQL itself has written in `dir`, which is no link: it must belong to whom the directory
/// belongs to, or be for everybody to read.
///
/// # Errors
/// As [`read_as`].
pub fn read_own(dir: &Path, path: &Path) -> io::Result<String> {
    let (file, about) = open(path, O_NOFOLLOW)?;
    let of_dir = std::fs::metadata(dir)?.uid();
    if about.uid() != of_dir && about.mode() & 0o004 == 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it belongs to user id {}, its directory to {of_dir}: chown it",
                about.uid()
            ),
        ));
    }
    text_of(file)
}

/// Reads a file that is no link, whoever it belongs to, and tells that.
///
/// # Errors
/// As [`read_as`].
pub fn read_with_account(path: &Path) -> io::Result<(String, Uid)> {
    let (file, about) = open(path, O_NOFOLLOW)?;
    Ok((text_of(file)?, Uid::from_raw(about.uid())))
}

/// Opens a plain file for reading, and waits for nobody.
///
/// # Errors
/// As [`read_as`].
pub fn open(path: &Path, flags: i32) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(O_NONBLOCK | O_NOCTTY | flags);
    let file = options
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(ELOOP) => invalid("it is a symbolic link, which nobody needs there: remove it"),
            _ => error,
        })?;
    let about = require_plain(&file)?;
    Ok((file, about))
}

/// # Errors
/// [`io::ErrorKind::InvalidData`] for a pipe, a device, a directory.
pub fn require_plain(file: &File) -> io::Result<Metadata> {
    let about = file.metadata()?;
    if about.is_file() {
        Ok(about)
    } else {
        Err(invalid(
            "it is not a plain file: look what it is, and remove it",
        ))
    }
}

fn text_of(file: File) -> io::Result<String> {
    String::from_utf8(bytes_of(file)?).map_err(|_| invalid("it is not text"))
}

fn bytes_of(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(invalid(
            "it is longer than any such file is (more than 1 MiB)",
        ));
    }
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    type Read = fn(&Path) -> io::Result<String>;

    /// Each way of reading, as whoever runs the test.
    fn ways() -> [Read; 3] {
        [
            |path| read(path),
            |path| read_own(path.parent().unwrap(), path),
            |path| read_with_account(path).map(|(text, _)| text),
        ]
    }

    #[test]
    fn what_is_no_plain_file_ends_a_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        mkfifo(&path("pipe"), Mode::from_bits_truncate(0o644)).unwrap();
        fs::create_dir(path("dir")).unwrap();
        fs::write(path("big"), "x".repeat(usize::try_from(LIMIT).unwrap() + 1)).unwrap();
        fs::write(path("binary"), [0xff, 0xfe, b's']).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        for way in ways() {
            for name in ["pipe", "dir", "big", "binary", "device"] {
                let error = way(&path(name)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
            }
            let missing = way(&path("missing")).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        }
        fs::write(path("text"), "x\n").unwrap();
        for way in ways() {
            assert_eq!(way(&path("text")).unwrap(), "x\n");
        }
    }
}
