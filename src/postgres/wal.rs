//! Where the WAL of a stopped instance really ends, and along which timelines.

use std::fs;
use std::io;
use std::path::Path;

use crate::model::lsn::Lsn;
use crate::model::timeline::{Lineage, LineageParseError, TimelineId, WalPosition};
use crate::postgres::control::Control;
use crate::postgres::programs::Programs;
use crate::sys::{Deadline, RunError};

/// The end of WAL could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("timeline history {file}: {error}")]
    History { file: String, error: io::Error },
    #[error("timeline history {file}: {error}")]
    BadHistory {
        file: String,
        error: LineageParseError,
    },
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Reads the ancestry of `timeline` from pg_wal.
///
/// # Errors
/// The file is there but cannot be read or understood. A timeline without a file counts as a
/// root: timeline 1 has none, and a restored backup may lack it.
pub fn lineage(pgdata: &Path, timeline: TimelineId) -> Result<Lineage, WalError> {
    lineage_in(&pgdata.join("pg_wal"), timeline)
}

/// The same of a directory that holds WAL.
///
/// # Errors
/// As [`lineage`].
pub fn lineage_in(wal: &Path, timeline: TimelineId) -> Result<Lineage, WalError> {
    let file = timeline.history_file_name();
    match fs::read_to_string(wal.join(&file)) {
        Ok(text) => Lineage::from_history_file(timeline, &text)
            .map_err(|error| WalError::BadHistory { file, error }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lineage::root(timeline)),
        Err(error) => Err(WalError::History { file, error }),
    }
}

/// The real end of WAL of a stopped instance. A crashed primary has WAL behind its last
/// checkpoint, so the control file alone does not say.
///
/// # Errors
/// pg_waldump could not be run, or a history could not be read.
pub fn end(
    programs: &Programs,
    pgdata: &Path,
    control: &Control,
    deadline: Deadline,
) -> Result<WalPosition, WalError> {
    let (timeline, known) = match control.min_recovery {
        Some((timeline, reached)) if timeline.get() >= control.timeline.get() => {
            (timeline, reached.max(control.checkpoint))
        }
        _ => (control.timeline, control.checkpoint),
    };
    let lineage = lineage(pgdata, timeline)?;
    // Statistics only: printing each record would take the time of the recovery itself.
    let command = programs
        .tool("pg_waldump")
        .arg("--stats")
        .arg("--path")
        .arg(pgdata.join("pg_wal"))
        .arg("--timeline")
        .arg(timeline.to_string())
        .arg("--start")
        .arg(control.redo.to_string());
    // It always ends with an error: the first position that holds no valid record.
    let printed = match command.run(deadline) {
        Ok(output) => output.stderr_text(),
        Err(RunError::Failed { stderr, .. }) => stderr,
        Err(error) => return Err(error.into()),
    };
    let end = first_invalid(&printed).map_or(known, |end| end.max(known));
    Ok(WalPosition { lineage, end })
}

/// `pg_waldump: error: error in WAL record at 0/5000060: invalid record length at 0/5000098: …`
fn first_invalid(printed: &str) -> Option<Lsn> {
    let message = printed
        .lines()
        .find_map(|l| l.split_once("error in WAL record at "))?
        .1;
    let (before, rest) = message.split_once(": ")?;
    let tails = rest.split(" at ").skip(1);
    let positions = tails.filter_map(|tail| tail.split([':', ',', ' ']).next()?.parse().ok());
    // Other complaints (a broken checksum, say) are about the record at the second position, or
    // name none: then the last good record's start is all that is known.
    positions.last().or_else(|| before.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_invalid_position_is_the_end() {
        for (printed, expected) in [
            (
                "pg_waldump: error: error in WAL record at 0/5000060: invalid record length at 0/5000098: wanted 24, got 0\n",
                Some("0/5000098"),
            ),
            (
                "pg_waldump: fatal: error in WAL record at 0/5000060: invalid record length at 0/5000098: expected at least 24, got 0\n",
                Some("0/5000098"),
            ),
            (
                "pg_waldump: error: error in WAL record at 0/5000060: record with incorrect prev-link 0/1 at 0/5000098\n",
                Some("0/5000098"),
            ),
            (
                "pg_waldump: error: error in WAL record at 0/5000060: something else\n",
                Some("0/5000060"),
            ),
            (
                "pg_waldump: error: could not find file \"000000010000000000000005\"\n",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(
                first_invalid(printed).map(|l| l.to_string()).as_deref(),
                expected,
                "{printed:?}"
            );
        }
    }

    #[test]
    fn a_timeline_without_a_history_file_is_a_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("pg_wal")).unwrap();
        let two = TimelineId::new(2).unwrap();
        assert_eq!(lineage(dir.path(), two).unwrap(), Lineage::root(two));
        fs::write(
            dir.path().join("pg_wal/00000002.history"),
            "1\t0/3000000\tx\n",
        )
        .unwrap();
        assert_eq!(
            lineage(dir.path(), two).unwrap().to_string(),
            "2<1:0000000003000000"
        );
        fs::write(dir.path().join("pg_wal/00000002.history"), "torn").unwrap();
        assert!(lineage(dir.path(), two).is_err());
    }
}
