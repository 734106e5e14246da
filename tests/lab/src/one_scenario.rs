//! One scenario of the cluster suite, or another program of tests, run by `cargo test` with something else about it; what it prints
//! is kept in a file.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use lab::{Error, Result};

/// How it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// All that it printed, which is in `log`.
    pub(crate) text: String,
    pub(crate) log: PathBuf,
    pub(crate) time: Duration,
}

/// Runs a scenario with an environment variable set. Its log is `label.SCENARIO.log` below `target/FOLDER`.
///
/// # Errors
/// As [`test`].
pub(crate) fn run(
    folder: &str,
    label: &str,
    scenario: &str,
    variable: (&str, &str),
) -> Result<Ended> {
    let label = format!("{label}.{}", scenario.replace("::", "."));
    let args = ["--test", "cluster", "--", "--exact", scenario];
    test(folder, &label, &args, variable)
}

/// Runs `cargo test` for the program with an environment variable set. Its log is `label.log` below `target/FOLDER`.
///
/// # Errors
/// [`Error::Io`] when the log can't be written or cargo not be started.
pub(crate) fn test(
    folder: &str,
    label: &str,
    args: &[&str],
    (name, value): (&str, &str),
) -> Result<Ended> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target")
        .join(folder);
    let log = dir.join(format!("{label}.log"));
    let at_log = |source| Error::Io {
        what: format!("write {}", log.display()),
        source,
    };
    std::fs::create_dir_all(&dir).map_err(at_log)?;
    let file = std::fs::File::create(&log).map_err(at_log)?;
    let again = file.try_clone().map_err(at_log)?;
    let start = Instant::now();
    let status = lab::cargo()
        .args(["test", "--package", "expgsql"])
        .args(args)
        .env(name, value)
        .stdout(file)
        .stderr(again)
        .status()
        .map_err(|source| Error::Io {
            what: "start cargo".into(),
            source,
        })?;
    let time = start.elapsed();
    let text = std::fs::read(&log).map_err(at_log)?;
    Ok(Ended {
        status,
        text: String::from_utf8_lossy(&text).into_owned(),
        time,
        log,
    })
}
