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

/// Builds expgsql, optimised, and tells where the executable is. Cargo's own progress goes to stderr.
///
/// # Errors
/// [`Error::Failed`] when it does not compile, [`Error::Io`] when there is no cargo.
pub fn build_expgsql() -> Result<PathBuf> {
    note("building expgsql");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = [
        "build",
        "--release",
        "--package",
        "expgsql",
        "--bin",
        "expgsql",
        "--message-format=json-render-diagnostics",
    ];
    let output = Command::new(cargo)
        .args(args)
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io("start cargo"))?;
    if !output.status.success() {
        return Err(Error::Failed {
            command: "cargo build --package expgsql".into(),
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

/// Makes a package and tells where it is. What it needs besides the sources is installed: cargo-deb by cargo, rpmbuild by
/// [`crate::packages::install`].
///
/// # Errors
/// [`Error::Failed`] from make, [`Error::Io`] where there is no make; [`Error::Other`]: not one package was made, but
/// none or several.
pub fn make_package(kind: Package) -> Result<PathBuf> {
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
    // One of an older version would be taken for the one that is made now.
    crate::place::remove(&dir)?;
    let output = Command::new("make")
        .args(["--silent", name])
        .current_dir(workspace())
        .stdin(Stdio::null())
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
    match found.as_slice() {
        [one] => Ok(one.clone()),
        others => Err(Error::Other(format!("make {name} made {others:?}"))),
    }
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
