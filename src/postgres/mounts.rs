//! Where file systems are mounted: what is a mount point can be neither renamed nor removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The mount points of this process's namespace, bind mounts among them.
#[derive(Clone, Debug, Default)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Reads them.
    ///
    /// # Errors
    /// /proc could not be read. It is root's file, also while root acts as somebody else.
    ///
    /// Source: proc(5), `/proc/pid/mountinfo`.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read("/proc/thread-self/mountinfo")?))
    }

    fn parse(text: &[u8]) -> Self {
        let points = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
            .map(|point| PathBuf::from(OsString::from_vec(unescape(point))));
        Self(points.collect())
    }

    /// Whether `path`, which has no symbolic links in it, is one.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|point| point == path)
    }

    /// Those below `dir`, which has no symbolic links in it.
    pub fn below<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.0
            .iter()
            .map(PathBuf::as_path)
            .filter(move |point| *point != dir && point.starts_with(dir))
    }
}

/// A space in a path stands there as `\040`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(escaped) => {
                bytes.push(escaped);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"22 1 8:1 / / rw - ext4 /dev/vda rw\n35 22 0:31 / /data/my\\040db rw shared:3 - tmpfs tmpfs rw\n\
            36 35 0:32 / /data/my\\040db/pg_wal rw - tmpfs tmpfs rw\n";
        let mounts = Mounts::parse(text);
        assert!(mounts.has(Path::new("/data/my db")));
        assert!(!mounts.has(Path::new("/data")));
        let below: Vec<&Path> = mounts.below(Path::new("/data/my db")).collect();
        assert_eq!(below, [Path::new("/data/my db/pg_wal")]);
        assert!(Mounts::read().unwrap().has(Path::new("/proc")));
    }
}
