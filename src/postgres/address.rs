//! Where a server is.

use std::path::{Path, PathBuf};

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The directory of its socket, or `@` and a name where the socket is in no file system.
    Socket(PathBuf),
    Host(String),
}

/// Whether the host of a connection names a socket, as libpq and the server have it.
#[must_use]
pub fn names_socket(host: &str) -> bool {
    host.starts_with('/') || is_abstract(Path::new(host))
}

/// A socket of the kernel's own name space: nothing is in the file system, neither it nor a lock file of it.
#[must_use]
pub fn is_abstract(dir: &Path) -> bool {
    dir.as_os_str().as_encoded_bytes().starts_with(b"@")
}

/// The directory as the kernel is told it, which has a zero in the place of the `@`.
pub(super) fn for_kernel(dir: &Path) -> PathBuf {
    match dir.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(name) => PathBuf::from(format!("\0{name}")),
        None => dir.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_by_a_directory_or_by_a_name_of_the_kernels() {
        for (host, socket, abstract_one) in [
            ("/run/postgresql", true, false),
            ("@pg", true, true),
            ("localhost", false, false),
            ("::1", false, false),
            ("", false, false),
        ] {
            assert_eq!(names_socket(host), socket, "{host}");
            assert_eq!(is_abstract(Path::new(host)), abstract_one, "{host}");
        }
        assert_eq!(for_kernel(Path::new("@a/b")), Path::new("\0a/b"));
        assert_eq!(for_kernel(Path::new("/a@b")), Path::new("/a@b"));
    }
}
