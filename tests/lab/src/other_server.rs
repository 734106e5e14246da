//! PostgreSQL of a version that the machine does not have, for what the agent does by itself: its programs, and the libraries
//! they were built for, in a directory beside the labs. Hosts see it at the same place. Nothing is installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::packages;
use crate::process::Cmd;
use crate::progress::note;

/// Names the PostgreSQL of every lab and test that is not told another one.
pub const SERVER_VARIABLE: &str = "EXPGSQL_SERVER";

/// Raised when what is in such a directory changes, so that an old one is not used.
const DIRECTORY_VERSION: u32 = 1;
/// Time to fetch and unpack one on a slow line.
const MAKE: Duration = Duration::from_secs(900);

/// A version, by the name under which it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
pub enum OtherServer {
    /// Debian 11's.
    #[value(name = "13")]
    V13,
    /// The Python package `pgserver` 0.1.4: from before the minor releases of May 2025, without OpenSSL and ICU.
    #[value(name = "16.2")]
    V16,
    /// Debian 13's.
    #[value(name = "17")]
    V17,
    /// That of the next Debian.
    #[value(name = "18")]
    V18,
}

enum Source {
    /// A suite of Debian.
    Suite(&'static str),
    /// A wheel for this version of Python, and where the programs are in it.
    Wheel {
        package: &'static str,
        python: &'static str,
        bin: &'static str,
    },
}

impl OtherServer {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::V13, Self::V16, Self::V17, Self::V18];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V13 => "13",
            Self::V16 => "16.2",
            Self::V17 => "17",
            Self::V18 => "18",
        }
    }

    const fn source(self) -> Source {
        match self {
            Self::V13 => Source::Suite("bullseye"),
            Self::V16 => Source::Wheel {
                package: "pgserver==0.1.4",
                python: "3.11",
                bin: "pgserver/pginstall/bin",
            },
            Self::V17 => Source::Suite("trixie"),
            Self::V18 => Source::Suite("forky"),
        }
    }

    pub(crate) const fn major(self) -> u32 {
        match self {
            Self::V13 => 13,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| {
            Error::Other(format!(
                "{name:?} is no PostgreSQL that a lab can have: {}",
                Self::ALL.map(Self::name).join(", ")
            ))
        })
    }

    /// The one that the environment asks for; `None`: the newest that is installed.
    ///
    /// # Errors
    /// [`Error::Other`] for a name that is none.
    pub fn asked_for() -> Result<Option<Self>> {
        match std::env::var(SERVER_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name).map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// What it says of its version, as `13.16`. Makes its directory, if that is not there.
    ///
    /// # Errors
    /// Those of making it.
    pub fn version(self) -> Result<String> {
        let base = crate::place::base()?;
        prepare(self, &base)?;
        crate::postgres::version(&self.bin(&base))
    }

    /// Debian's next major version after this one.
    #[must_use]
    pub fn after(major: u32) -> Option<Self> {
        let is_debian_s = |server: &Self| matches!(server.source(), Source::Suite(_));
        let all = Self::ALL.into_iter().filter(is_debian_s);
        all.into_iter().find(|server| server.major() > major)
    }

    /// Where its programs are, on the machine and on every host that has it. Makes its directory, if that is not there.
    ///
    /// # Errors
    /// Those of making it.
    pub fn programs(self) -> Result<PathBuf> {
        let base = crate::place::base()?;
        prepare(self, &base)?;
        Ok(self.bin(&base))
    }

    /// Its directory's name below that of the labs.
    pub(crate) fn directory(self) -> String {
        format!(".server-{}-{DIRECTORY_VERSION}", self.name())
    }

    /// Where `postgres`, `pg_ctl`, `psql` are.
    pub(crate) fn bin(self, base: &Path) -> PathBuf {
        let dir = base.join(self.directory());
        match self.source() {
            Source::Suite(_) => dir.join(format!("usr/lib/postgresql/{}/bin", self.major())),
            Source::Wheel { bin, .. } => dir.join(bin),
        }
    }
}

/// Makes the server's directory, if it is not there: a minute or so.
///
/// # Errors
/// [`Error::Other`] in one sentence where there is no network, or no such package any more. No lab is touched by that.
pub(crate) fn prepare(server: OtherServer, base: &Path) -> Result<()> {
    let path = base.join(server.directory());
    if path.exists() {
        return Ok(());
    }
    // Another test may be at it.
    let _alone = crate::place::lock(&format!("server-{}", server.name()))?;
    if path.exists() {
        return Ok(());
    }
    note(format!(
        "unpacking PostgreSQL {}, once: later runs share it",
        server.name()
    ));
    let making = base.join(format!("{}.making", server.directory()));
    crate::place::remove(&making)?;
    let made = match server.source() {
        Source::Suite(suite) => unpack(server, suite, &making, &path),
        Source::Wheel {
            package, python, ..
        } => wheel(package, python, &making),
    };
    if let Err(error) = made {
        // What is left of it is of no use to anybody.
        crate::place::remove(&making)?;
        return Err(Error::Other(format!(
            "PostgreSQL {} could not be had, is there a network? ({})",
            server.name(),
            error.to_string().lines().next().unwrap_or_default()
        )));
    }
    std::fs::rename(&making, &path).map_err(Error::io(format!("name {}", path.display())))
}

/// A suite's package and all that it needs, unpacked. PostgreSQL finds its own files from where its programs are; the programs are
/// told where their libraries and their loader are, since those may be older or newer than the machine's.
fn unpack(server: OtherServer, suite: &str, into: &Path, finally: &Path) -> Result<()> {
    packages::install_also("mmdebstrap", "/usr/bin/mmdebstrap")?;
    packages::install_also("patchelf", "/usr/bin/patchelf")?;
    let package = format!("postgresql-{}", server.major());
    let mut argv = vec![
        "mmdebstrap".to_owned(),
        "--mode=root".into(),
        "--variant=extract".into(),
        format!("--include={package}"),
        // What is no release yet, or no longer cared for, may have an index that is older than it says it lives.
        "--aptopt=Acquire::Check-Valid-Until \"false\"".into(),
        "--aptopt=APT::Install-Recommends \"false\"".into(),
        suite.to_owned(),
        into.display().to_string(),
    ];
    argv.extend(crate::debian::mirror());
    let made = Cmd::new(&argv).limit(MAKE).run()?;
    if !made.success() {
        let said = made.text();
        return Err(Error::Other(crate::debian::complaint(&said).to_owned()));
    }
    let arch = std::env::consts::ARCH;
    let libraries: Vec<String> = ["usr/lib", "lib"]
        .iter()
        .map(|dir| format!("{}/{dir}/{arch}-linux-gnu", finally.display()))
        .collect();
    const TELL: &str = r#"set -e
loader=
for dir in usr/lib lib; do
    for it in "$1/$dir/$5-linux-gnu/"ld-linux-*; do
        if test -e "$it"; then loader=$3/$dir/$5-linux-gnu/${it##*/}; fi
    done
done
test -n "$loader" || { echo "no loader in $1" >&2; exit 1; }
for program in "$1/usr/lib/postgresql/$2/bin"/*; do
    # Some are scripts.
    patchelf --print-interpreter "$program" >/dev/null 2>&1 || continue
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$4" "$program"
done
# The compiler of expressions would bring libraries of the machine's along; a server without it does without.
rm -rf "$1/usr/lib/postgresql/$2/lib"/llvmjit* "$1/usr/lib/"*/libLLVM*
rm -rf "$1/usr/share/doc" "$1/usr/share/man" "$1/dev"
"#;
    Cmd::new(&[
        "sh",
        "-c",
        TELL,
        "sh",
        &into.display().to_string(),
        &server.major().to_string(),
        &finally.display().to_string(),
        &libraries.join(":"),
        arch,
    ])
    .ok()
    .map(drop)
}

/// A package of Python's that has the programs and needs nothing but the machine's C library.
fn wheel(package: &str, python: &str, into: &Path) -> Result<()> {
    let has_pip = Cmd::new(&["python3", "-m", "pip", "--version"]).run()?;
    let python3 = if has_pip.success() {
        "python3"
    } else {
        packages::install_also("python3-pip", "/usr/bin/pip3")?;
        "/usr/bin/python3"
    };
    let argv = [
        python3,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--only-binary=:all:",
        "--implementation=cp",
        &format!("--python-version={python}"),
        &format!("--platform=manylinux2014_{}", std::env::consts::ARCH),
        "--target",
        &into.display().to_string(),
        package,
    ];
    Cmd::new(&argv).limit(MAKE).ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_or_refused_in_a_sentence() {
        for server in OtherServer::ALL {
            assert_eq!(OtherServer::named(server.name()).unwrap(), server);
            let major = server.major().to_string();
            assert_eq!(server.name().split('.').next(), Some(major.as_str()));
        }
        let error = OtherServer::named("9.6").unwrap_err().to_string();
        assert_eq!(
            error,
            r#""9.6" is no PostgreSQL that a lab can have: 13, 16.2, 17, 18"#
        );
    }
}
