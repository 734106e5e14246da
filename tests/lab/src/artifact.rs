//! The agent's executable and its packages, from the sources beside the lab.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::progress::note;

/// One line of cargo's `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
}

/// Builds expgsql, optimised, and tells where the executable is; where a negative control is asked for, the trial's agent. Cargo's
/// own progress goes to stderr.
///
/// # Errors
/// [`Error::Failed`] when it does not compile, [`Error::Io`] when there is no cargo.
pub fn build_expgsql() -> Result<PathBuf> {
    if crate::trial::control().is_some() {
        return build_trial();
    }
    note("building expgsql");
    build(&["--release", "--bin", "expgsql"])
}

/// Builds the agent as tests take it apart (feature `trial`): the program that is shipped has nothing of that.
///
/// # Errors
/// As [`build_expgsql`].
pub fn build_trial() -> Result<PathBuf> {
    note("building expgsql for a trial");
    build(&["--features", "trial", "--bin", "expgsql-trial"])
}

/// cargo, on these sources.
pub fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program that may run cargo on these sources. What a cargo that runs this program has told it of its package is not handed
/// on: build scripts look at it, so that one and the same crate would be built anew each time.
fn program(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let is_of_package =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_of_package) {
            command.env_remove(&name);
        }
    }
    command
}

fn build(options: &[&str]) -> Result<PathBuf> {
    let output = cargo()
        .args(["build", "--package", "expgsql"])
        .arg("--message-format=json-render-diagnostics")
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io("start cargo"))?;
    if !output.status.success() {
        return Err(Error::Failed {
            command: format!("cargo build {}", options.join(" ")),
            status: output.status.to_string(),
            output: "its messages are above".into(),
        });
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| message.executable)
        .next_back()
        .ok_or_else(|| Error::Other("cargo named no executable for expgsql".into()))
}

/// A kind of package that the Makefile makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    Deb,
    Rpm,
}

/// A package that was made: its file name and its content. The file itself is replaced as soon as somebody else makes one.
#[derive(Clone, Debug)]
pub struct Made {
    pub name: String,
    pub content: Vec<u8>,
}

/// Makes a package. What it needs besides the sources is installed: cargo-deb by cargo, rpmbuild by
/// [`crate::packages::install`]. One process of this machine makes packages at a time.
///
/// # Errors
/// [`Error::Failed`] from make, [`Error::Io`] where there is no make; [`Error::Other`]: not one package was made, but
/// none or several.
pub fn make_package(kind: Package) -> Result<Made> {
    let name = match kind {
        Package::Deb => "deb",
        Package::Rpm => "rpm",
    };
    note(format!("making the {name} package"));
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let (dir, extension) = match kind {
        Package::Deb => (target.join("debian"), "deb"),
        Package::Rpm => (target.join("rpm"), "rpm"),
    };
    let _alone = crate::place::lock("packages")?;
    // One of an older version would be taken for the one that is made now.
    crate::place::remove(&dir)?;
    let output = program("make")
        .args(["--silent", name])
        .output()
        .map_err(Error::io("start make"))?;
    if !output.status.success() {
        return Err(Error::Failed {
            command: format!("make {name}"),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let mut found = Vec::new();
    files(&dir, &mut found)?;
    found.retain(|path| path.extension().is_some_and(|e| e == extension));
    let [one] = found.as_slice() else {
        return Err(Error::Other(format!("make {name} made {found:?}")));
    };
    let content = std::fs::read(one).map_err(Error::io(format!("read {}", one.display())))?;
    let name = one.file_name().unwrap_or_default();
    Ok(Made {
        name: name.to_string_lossy().into_owned(),
        content,
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || Error::io(format!("read {}", dir.display()));
    for entry in std::fs::read_dir(dir).map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
