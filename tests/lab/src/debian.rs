//! The Debian suite that the hosts of a lab have: the machine's own, or another, whose root is made once and kept beside the
//! labs. A host's overlays lie over that root's directories then, so nothing in it is of the machine but the kernel.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::other_server::OtherServer;
use crate::packages;
use crate::process::Cmd;
use crate::progress::note;

/// Names the suite of every lab that is not told another one.
pub const SUITE_VARIABLE: &str = "EXPGSQL_SUITE";

/// Raised when what is in a root changes, so that an old one is not used.
const ROOT_VERSION: u32 = 1;
/// What the making of a root takes at most, and then some.
const ROOM: u64 = 2 << 30;
/// Time to fetch and unpack a root on a slow line.
const MAKE: Duration = Duration::from_secs(1800);
/// In a root beside what the lab needs on any machine: a small one lacks them.
const ALSO: [&str; 4] = ["mount", "procps", "iputils-ping", "ca-certificates"];

/// The suite of the scenario that this process runs, where it names one.
static OF_SCENARIO: Mutex<Option<Suite>> = Mutex::new(None);

/// Every cluster from now on has the suite, where there is one; its root is made.
///
/// # Errors
/// [`Error::LeftOut`] where it can't be made.
pub(crate) fn of_scenario(suite: Option<Suite>) -> Result<()> {
    *OF_SCENARIO.lock().unwrap_or_else(PoisonError::into_inner) = suite;
    if suite.is_none() {
        return Ok(());
    }
    crate::place::base()
        .and_then(|base| prepare(suite, &base))
        .map(drop)
        .map_err(|error| Error::LeftOut(error.to_string()))
}

/// A release of Debian by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// Debian 12: Pacemaker 2.1.5, PostgreSQL 15.
    Bookworm,
    /// Debian 13: Pacemaker 3.0.0, PostgreSQL 17.
    Trixie,
    /// What becomes Debian 14: Pacemaker 3.0.1, PostgreSQL 18.
    Forky,
}

impl Suite {
    /// Every suite that a lab can have.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Forky];

    /// Its name, as Debian has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    /// The versions of what a cluster is made of: PostgreSQL, Pacemaker, corosync, pcs, crmsh. Makes the suite's root, if it is not
    /// there.
    ///
    /// # Errors
    /// Those of making the root; [`Error::Other`] where a package is missing in it.
    pub fn versions(self) -> Result<Vec<String>> {
        packages::install()?;
        let base = crate::place::base()?;
        let root = prepare(Some(self), &base)?;
        let server = crate::Layout::find_in(&root, crate::ConfigStyle::DataDirectory)?;
        let server = format!("postgresql-{}", server.version);
        let admin = root.at("/var/lib/dpkg").display().to_string();
        [&server, "pacemaker", "corosync", "pcs", "crmsh"]
            .into_iter()
            .map(|package| {
                let argv = [
                    "dpkg-query",
                    &format!("--admindir={admin}"),
                    "--showformat=${Version}",
                    "--show",
                    package,
                ];
                let version = Cmd::new(&argv).ok()?;
                Ok(upstream(&version).to_owned())
            })
            .collect()
    }

    fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or_else(|| {
                Error::Other(format!(
                    "{name:?} is no suite that a lab can have: {}",
                    Self::ALL.map(Self::name).join(", ")
                ))
            })
    }

    /// The one that the scenario or else the environment asks for; `None`: the machine's own.
    ///
    /// # Errors
    /// [`Error::Other`] for a name that is none.
    pub fn asked_for() -> Result<Option<Self>> {
        let of_scenario = OF_SCENARIO.lock().unwrap_or_else(PoisonError::into_inner);
        if of_scenario.is_some() {
            return Ok(*of_scenario);
        }
        match std::env::var(SUITE_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name).map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Whether the machine has it itself.
    #[must_use]
    pub fn is_the_machine_s(self) -> bool {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let line = format!("VERSION_CODENAME={}", self.name());
        release.lines().any(|it| it.replace('"', "") == line)
    }
}

/// Where the directories of a lab's hosts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// `None`: the machine's own.
    path: Option<PathBuf>,
    /// A PostgreSQL that is in none, and the directory of the labs, below which it is.
    server: Option<(OtherServer, PathBuf)>,
    /// One more beside it.
    also: Option<(OtherServer, PathBuf)>,
}

impl Root {
    /// The machine's own.
    pub(crate) const fn own() -> Self {
        Self {
            path: None,
            server: None,
            also: None,
        }
    }

    /// The same with another PostgreSQL in place of what it has itself.
    pub(crate) fn with_server(mut self, server: Option<OtherServer>, base: &Path) -> Self {
        self.server = server.map(|server| (server, base.to_owned()));
        self
    }

    /// The same with one more PostgreSQL beside its own.
    pub(crate) fn and_server(mut self, server: Option<OtherServer>, base: &Path) -> Self {
        self.also = server.map(|server| (server, base.to_owned()));
        self
    }

    /// Every PostgreSQL that is not in it, and the directory below which it is.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (OtherServer, &Path)> {
        let all = [self.server.as_ref(), self.also.as_ref()];
        all.into_iter()
            .flatten()
            .map(|(server, base)| (*server, base.as_path()))
    }

    /// A PostgreSQL that is not in it, and the directory below which it is.
    pub(crate) fn server(&self) -> Option<(OtherServer, &Path)> {
        let (server, base) = self.server.as_ref()?;
        Some((*server, base))
    }

    /// That of a suite, whether it was made yet or not.
    pub(crate) fn of(suite: Option<Suite>, base: &Path) -> Self {
        let path = suite
            .filter(|suite| !suite.is_the_machine_s())
            .map(|suite| base.join(directory(suite)));
        Self {
            path,
            server: None,
            also: None,
        }
    }

    /// A place in it, as the lab machine sees it; `at` is absolute.
    pub(crate) fn at(&self, at: &str) -> PathBuf {
        match &self.path {
            Some(root) => root.join(at.trim_start_matches('/')),
            None => PathBuf::from(at),
        }
    }

    /// A directory in it as an overlay of a host takes it. Not from the machine's `/`: once a host's /tmp or /var is mounted over,
    /// such a path leads elsewhere. `disk` is the host's, where the mounting is done.
    pub(crate) fn lower(&self, at: &str, disk: &Path) -> Result<String> {
        let Some(root) = &self.path else {
            return Ok(at.to_owned());
        };
        // BASE/LAB/HOST beside BASE/ROOT.
        let base = disk.parent().and_then(Path::parent);
        let inside = base.and_then(|base| root.strip_prefix(base).ok());
        let inside = inside.ok_or_else(|| {
            Error::Other(format!(
                "{} and {} are not under one directory",
                root.display(),
                disk.display()
            ))
        })?;
        Ok(format!("../../{}{at}", inside.display()))
    }

    /// `USER:GROUP` for chown on the lab machine: a suite numbers its users itself.
    pub(crate) fn owner(&self, user: &str) -> Result<String> {
        let Some(root) = &self.path else {
            return Ok(format!("{user}:{user}"));
        };
        let path = root.join("etc/passwd");
        let text = std::fs::read_to_string(&path)
            .map_err(Error::io(format!("read {}", path.display())))?;
        let of_user = |line: &str| {
            let mut fields = line.split(':');
            let ids = (fields.next()? == user).then(|| fields.skip(1))?;
            let ids: Vec<&str> = ids.take(2).collect();
            (ids.len() == 2).then(|| ids.join(":"))
        };
        text.lines()
            .find_map(of_user)
            .ok_or_else(|| Error::Other(format!("{} has no user {user}", path.display())))
    }

    /// A command with this root's programs, with the lab machine's `shared` directory where it is.
    pub(crate) fn command<S: AsRef<str>>(&self, shared: &Path, argv: &[S]) -> Cmd {
        let command = Cmd::new(argv);
        let Some(root) = &self.path else {
            return command;
        };
        const INSIDE: &str = r#"set -e
mkdir -p "$1$2" "$1/dev/shm"
mount --bind "$2" "$1$2"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
root=$1; shift 2
exec chroot "$root" "$@""#;
        let (root, shared) = (root.display().to_string(), shared.display().to_string());
        let prefix = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            INSIDE,
            "sh",
            &root,
            &shared,
        ];
        command.behind(prefix.map(str::to_owned).to_vec())
    }

    /// What tells this root from another in the name of a file that is kept.
    pub(crate) fn tag(&self) -> String {
        let name = self.path.as_deref().and_then(Path::file_name);
        let root = name.map(|name| name.to_string_lossy().into_owned());
        let server = self.server().map(|(server, _)| server.directory());
        [root, server]
            .into_iter()
            .flatten()
            .map(|name| format!("-{}", name.trim_start_matches('.')))
            .collect()
    }
}

/// A package's version as its authors call it.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.rsplit_once('-').map_or(version, |(first, _)| first)
}

fn directory(suite: Suite) -> String {
    format!(".root-{}-{ROOT_VERSION}", suite.name())
}

/// Makes the suite's root, if it is not there: some 800 MB, a minute or two. The machine's own suite needs none.
///
/// # Errors
/// [`Error::Other`] in one sentence where there is no room, no network, or no such suite any more. No lab is touched by that.
pub(crate) fn prepare(suite: Option<Suite>, base: &Path) -> Result<Root> {
    let root = Root::of(suite, base);
    let (Some(suite), Some(path)) = (suite, &root.path) else {
        return Ok(root);
    };
    if path.exists() {
        return Ok(root);
    }
    // Another lab may be at it.
    let _alone = crate::place::lock(&format!("root-{}", suite.name()))?;
    if path.exists() {
        return Ok(root);
    }
    if !Path::new("/usr/lib").is_dir() || !Path::new("/lib").is_symlink() {
        return Err(Error::Other(
            "this machine has a /lib of its own beside /usr/lib, and a lab's hosts can have another suite only where it is in /usr"
                .into(),
        ));
    }
    room(base)?;
    packages::install_also("mmdebstrap", "/usr/bin/mmdebstrap")?;
    note(format!(
        "making the root of {}, once: later labs share it",
        suite.name()
    ));
    let making = path.with_extension("making");
    crate::place::remove(&making)?;
    let made = bootstrap(suite, &making);
    if made.is_err() {
        // What is left of it is of no use to anybody.
        crate::place::remove(&making)?;
    }
    made?;
    std::fs::rename(&making, path).map_err(Error::io(format!("name {}", path.display())))?;
    Ok(root)
}

fn room(base: &Path) -> Result<()> {
    let found = statvfs(base).map_err(Error::sys("find how much room there is beside the labs"))?;
    let free = found.blocks_available() * found.fragment_size();
    if free < ROOM {
        return Err(Error::Other(format!(
            "no room for another suite's root: it takes {} MiB while it is made, and {} has {} MiB: make room, or name another directory in {}",
            ROOM >> 20,
            base.display(),
            free >> 20,
            crate::place::BASE_VARIABLE
        )));
    }
    Ok(())
}

fn bootstrap(suite: Suite, into: &Path) -> Result<()> {
    let wanted = packages::names().chain(ALSO).collect::<Vec<_>>().join(",");
    let into = into.display().to_string();
    let mut argv = vec![
        "mmdebstrap".to_owned(),
        "--mode=root".into(),
        "--variant=apt".into(),
        format!("--include={wanted}"),
        // What is no release yet may have an index that is older than it says it lives.
        "--aptopt=Acquire::Check-Valid-Until \"false\"".into(),
        "--aptopt=APT::Install-Recommends \"false\"".into(),
        "--dpkgopt=path-exclude=/usr/share/doc/*".into(),
        "--dpkgopt=path-exclude=/usr/share/man/*".into(),
        suite.name().into(),
        into,
    ];
    argv.extend(mirror());
    let failed = |said: &str| {
        Error::Other(format!(
            "the root of {} could not be made, is there a network? ({}); labs of this machine's own suite need none",
            suite.name(),
            complaint(said)
        ))
    };
    match Cmd::new(&argv).limit(MAKE).run() {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => Err(failed(&output.text())),
        Err(Error::Overran { limit, .. }) => Err(failed(&format!("nothing within {limit:?}"))),
        Err(error) => Err(error),
    }
}

/// What went wrong first: apt's and mmdebstrap's complaints begin with `E:`, and later ones come of the first.
pub(crate) fn complaint(said: &str) -> &str {
    let first = said.lines().find_map(|line| line.strip_prefix("E: "));
    let told = first.or_else(|| said.lines().next_back());
    told.unwrap_or("no word").trim()
}

/// Where this machine gets Debian from; none: mmdebstrap knows one.
pub(crate) fn mirror() -> Option<String> {
    let format = "$(LABEL)|$(COMPONENT)|$(REPO_URI)";
    let argv = [
        "apt-get",
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ];
    let said = Cmd::new(&argv).ok().ok()?;
    let main = said.lines().find_map(|it| it.strip_prefix("Debian|main|"));
    main.map(|uri| uri.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_named_or_refused_in_a_sentence() {
        assert_eq!(Suite::named("trixie").unwrap(), Suite::Trixie);
        let error = Suite::named("sarge").unwrap_err().to_string();
        assert_eq!(
            error,
            r#""sarge" is no suite that a lab can have: bookworm, trixie, forky"#
        );
    }

    #[test]
    fn a_version_is_its_authors() {
        for (version, expected) in [
            ("17.12-0+deb13u1", "17.12"),
            ("1:4.16.0-3+deb13u2", "4.16.0"),
            ("5.0.0~rc1-1", "5.0.0~rc1"),
            ("3.1", "3.1"),
        ] {
            assert_eq!(upstream(version), expected);
        }
    }

    #[test]
    fn the_first_complaint_is_the_one_to_tell() {
        let said =
            "I: running apt-get update...\nE: Failed to fetch it\nE: mmdebstrap failed to run\n";
        assert_eq!(complaint(said), "Failed to fetch it");
        assert_eq!(complaint("nothing within 1s"), "nothing within 1s");
        assert_eq!(complaint(""), "no word");
    }

    #[test]
    fn the_machine_s_own_needs_no_root() {
        let base = Path::new("/base");
        let own = Suite::ALL.into_iter().find(|it| it.is_the_machine_s());
        for suite in [None, own] {
            assert_eq!(Root::of(suite, base), Root::own());
        }
        let disk = base.join("lab/node1");
        assert_eq!(Root::own().lower("/usr", &disk).unwrap(), "/usr");
        let other = Suite::ALL.into_iter().find(|it| !it.is_the_machine_s());
        let other = Root::of(other, base);
        let lower = other.lower("/usr", &disk).unwrap();
        assert!(lower.starts_with("../../.root-"), "{lower}");
        assert!(
            other
                .lower("/usr", Path::new("/elsewhere/lab/node1"))
                .is_err()
        );
    }

    #[test]
    fn an_owner_is_a_number_in_another_root() {
        let dir = std::env::temp_dir().join(format!("lab-owner-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        std::fs::write(dir.join("etc/passwd"), passwd).unwrap();
        let root = Root {
            path: Some(dir.clone()),
            server: None,
            also: None,
        };
        let (found, none) = (root.owner("postgres"), root.owner("hacluster"));
        std::fs::remove_dir_all(dir).unwrap();
        assert_eq!(found.unwrap(), "101:104");
        assert!(none.is_err());
        assert_eq!(Root::own().owner("postgres").unwrap(), "postgres:postgres");
    }
}
