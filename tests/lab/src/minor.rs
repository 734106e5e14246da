//! Another minor version of the machine's own PostgreSQL, as packages, for hosts that are to be upgraded. The machine itself is left alone.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::postgres::{ConfigStyle, Layout};
use crate::process::Cmd;
use crate::progress::note;
use crate::{debian, other_server, place};

/// Time to fetch the packages on a slow line.
const FETCH: Duration = Duration::from_secs(600);

/// Packages of another minor version than the one that is installed, newer or older.
#[derive(Clone, Debug)]
pub struct OtherMinor {
    /// As apt has it, `15.20-0+deb12u1`.
    pub version: String,
    /// The server, the client, and their library.
    pub packages: Vec<PathBuf>,
}

impl OtherMinor {
    /// Fetches them, once, beside the labs.
    ///
    /// # Errors
    /// [`Error::LeftOut`] where the hosts have not the machine's PostgreSQL, or apt knows no other version of it; those of apt.
    pub fn fetch() -> Result<Self> {
        let is_the_machine_s = debian::Suite::asked_for()?.is_none()
            && other_server::OtherServer::asked_for()?.is_none();
        if !is_the_machine_s {
            return Err(Error::LeftOut(
                "only the machine's own PostgreSQL has packages of another minor version".into(),
            ));
        }
        let major = Layout::find(ConfigStyle::DataDirectory)?.version;
        let server = format!("postgresql-{major}");
        let show = ["dpkg-query", "--show", "--showformat=${Version}", &server];
        let installed = Cmd::new(&show).ok()?;
        let known = Cmd::new(&["apt-cache", "madison", &server]).ok()?;
        let Some(version) = other_than(&known, installed.trim()) else {
            return Err(Error::LeftOut(format!(
                "apt knows no other version of {server} than {}",
                installed.trim()
            )));
        };
        let names = [
            server,
            format!("postgresql-client-{major}"),
            "libpq5".to_owned(),
        ];
        let dir = place::base()?.join(format!(".minor-{version}"));
        if !dir.exists() {
            // Another test may be at it.
            let _alone = place::lock("minor")?;
            if !dir.exists() {
                fetch(&names, &version, &dir)?;
            }
        }
        let listed =
            std::fs::read_dir(&dir).map_err(Error::io(format!("list {}", dir.display())))?;
        let packages = listed.flatten().map(|entry| entry.path()).collect();
        Ok(Self { version, packages })
    }
}

fn fetch(names: &[String], version: &str, dir: &std::path::Path) -> Result<()> {
    note(format!("fetching PostgreSQL {version}, once"));
    let making = dir.with_extension("making");
    place::remove(&making)?;
    std::fs::create_dir_all(&making).map_err(Error::io(format!("create {}", making.display())))?;
    let wanted: Vec<String> = names
        .iter()
        .map(|name| format!("{name}={version}"))
        .collect();
    const LINE: &str =
        r#"cd "$1" && shift && exec apt-get -q -o APT::Sandbox::User=root download "$@""#;
    let mut argv = vec!["sh", "-c", LINE, "sh"];
    let into = making.display().to_string();
    argv.push(&into);
    argv.extend(wanted.iter().map(String::as_str));
    Cmd::new(&argv).limit(FETCH).ok()?;
    std::fs::rename(&making, dir).map_err(Error::io(format!("name {}", dir.display())))
}

/// The first version in `apt-cache madison`'s list that is not the installed one.
fn other_than(known: &str, installed: &str) -> Option<String> {
    known
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| *version != installed)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_than_the_installed_one_is_taken() {
        let known = "postgresql-15 | 15.20-0+deb12u1 | http://deb.debian.org/debian-security bookworm-security/main amd64 Packages\n\
                     postgresql-15 | 15.18-0+deb12u1 | http://deb.debian.org/debian bookworm/main amd64 Packages\n";
        let other = |installed| other_than(known, installed);
        assert_eq!(other("15.18-0+deb12u1").as_deref(), Some("15.20-0+deb12u1"));
        assert_eq!(other("15.20-0+deb12u1").as_deref(), Some("15.18-0+deb12u1"));
        assert_eq!(other_than("", "15.18-0+deb12u1"), None);
    }
}
