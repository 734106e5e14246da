//! The agent's executable, from the sources beside the lab.

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
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
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
        .current_dir(workspace)
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
