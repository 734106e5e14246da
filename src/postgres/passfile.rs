//! Password files as libpq has them (`.pgpass`).
//!
//! Source: PostgreSQL documentation, "The Password File".

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::params::Secret;

/// So much of a file is read; it has a line for each server.
const MOST: u64 = 1 << 20;

/// What a password is for.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// As given to connect: a name, an address, or the directory of a socket.
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// Why a password file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PassfileError {
    /// It can't be read.
    #[error("the password file {} can't be read: {source}; create it, or correct the setting that names it", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others may read it. libpq leaves such a file alone with a warning; here it is said where it is seen.
    #[error(
        "the password file {} may be read by others (mode {mode:03o}) and is not used: chmod 600 it", .path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    /// A directory, a device.
    #[error("the password file {} is not a file; name one", .0.display())]
    NoFile(PathBuf),
}

impl PassfileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        matches!(self, Self::Unreadable { source, .. } if gone.contains(&source.kind()))
    }
}

/// A password file that was read.
pub struct Lines(String);

impl Lines {
    /// The password of the first line that fits. `None`: no line does.
    #[must_use]
    pub fn find(&self, login: &Login<'_>) -> Option<Secret> {
        find(&self.0, login)
    }
}

/// The password of the first line that fits. `None`: no line does.
///
/// # Errors
/// [`PassfileError`]; [`PassfileError::Unreadable`] also where it does not exist.
pub fn password(path: &Path, login: &Login<'_>) -> Result<Option<Secret>, PassfileError> {
    lines(path).map(|lines| lines.find(login))
}

/// Reads a password file, for several logins.
///
/// # Errors
/// [`PassfileError`]; [`PassfileError::Unreadable`] also where it does not exist.
pub fn lines(path: &Path) -> Result<Lines, PassfileError> {
    let unreadable = |source| PassfileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // A pipe at its place would hold the caller up for ever.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let file = options.open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(PassfileError::NoFile(path.to_owned()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(PassfileError::Open {
            path: path.to_owned(),
            mode: about.mode() & 0o777,
        });
    }
    let mut bytes = Vec::new();
    let mut some = file.take(MOST);
    some.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Lines(String::from_utf8_lossy(&bytes).into_owned()))
}

fn find(text: &str, login: &Login<'_>) -> Option<Secret> {
    let port = login.port.to_string();
    // A socket in the server's usual directory is localhost in these files; any other is its directory.
    let usual = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
    let is_usual = usual.contains(&login.host);
    let hosts = [login.host, if is_usual { "localhost" } else { login.host }];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let (fields, password) = split(line)?;
            let fits = |field: &Field, value: &str| field.is_any || field.text == value;
            let [host, its_port, database, user] = &fields;
            let is_it = hosts.iter().any(|name| fits(host, name))
                && fits(its_port, &port)
                && fits(database, login.database)
                && fits(user, login.user);
            is_it.then(|| Secret::new(password))
        })
}

#[derive(Default)]
struct Field {
    text: String,
    /// An asterisk that was not escaped.
    is_any: bool,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Four fields and the password; a backslash takes the next character as it is.
fn split(line: &str) -> Option<([Field; 4], String)> {
    let mut chars = line.trim_end_matches('\r').chars();
    let mut fields: [Field; 4] = Default::default();
    for field in &mut fields {
        let mut has_escape = false;
        loop {
            match chars.next()? {
                ':' => break,
                '\\' => {
                    has_escape = true;
                    field.text.push(chars.next()?);
                }
                c => field.text.push(c),
            }
        }
        field.is_any = field.text == "*" && !has_escape;
    }
    let mut password = String::new();
    while let Some(c) = chars.next() {
        match c {
            // Anything after a fifth colon is not part of it, as in libpq.
            ':' => break,
            '\\' => password.extend(chars.next()),
            c => password.push(c),
        }
    }
    (!password.is_empty()).then_some((fields, password))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LOGIN: Login<'_> = Login {
        host: "lock.example",
        port: 5439,
        database: "locks",
        user: "agent",
    };

    fn found(text: &str) -> Option<String> {
        find(text, &LOGIN).map(|password| password.reveal().to_owned())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        for (text, expected) in [
            ("lock.example:5439:locks:agent:a", Some("a")),
            ("*:*:*:*:a", Some("a")),
            (
                "# lock.example:5439:locks:agent:no\n*:*:*:agent:a\r\n*:*:*:*:b",
                Some("a"),
            ),
            (
                "other:*:*:*:no\nlock.example:5440:*:*:no\n*:*:*:agent:a",
                Some("a"),
            ),
            (r"*:*:*:agent:a\:b\\c", Some(r"a:b\c")),
            (r"\*:*:*:*:no", None),
            ("*:*:locks:agent", None),
            ("*:*:*:agent:", None),
            ("", None),
            ("*:*:LOCKS:*:no", None),
        ] {
            assert_eq!(found(text).as_deref(), expected, "{text}");
        }
        let escaped = Login {
            host: "::1",
            ..LOGIN
        };
        assert!(find(r"\:\:1:5439:*:*:a", &escaped).is_some());
        let socket = Login {
            host: "/run/postgresql",
            ..LOGIN
        };
        assert!(find("localhost:*:*:*:a", &socket).is_some());
        assert!(find("localhost:*:*:*:a", &LOGIN).is_none());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, "*:*:*:*:a\n").unwrap();
        for (mode, is_used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = password(&path, &LOGIN);
            assert_eq!(found.is_ok(), is_used, "{mode:o}");
            if let Err(error) = found {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
        assert!(matches!(
            password(dir.path(), &LOGIN),
            Err(PassfileError::NoFile(_))
        ));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(
            password(&pipe, &LOGIN),
            Err(PassfileError::NoFile(_))
        ));
        let missing = password(&dir.path().join("none"), &LOGIN).unwrap_err();
        assert!(missing.to_string().contains("create it"), "{missing}");
    }
}
