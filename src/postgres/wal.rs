//! Where the WAL of a stopped instance really ends, and along which timelines.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::model::lsn::Lsn;
use crate::model::timeline::{Lineage, LineageParseError, TimelineId, WalPosition};
use crate::postgres::control::Control;
use crate::postgres::owner::as_owner;
use crate::postgres::programs::Programs;
use crate::postgres::reading;
use crate::sys::{Deadline, RunError};

/// The end of WAL could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("timeline history {file}: {error}")]
    History { file: String, error: io::Error },
    #[error("timeline history {file}, {error}")]
    BadHistory {
        file: String,
        error: LineageParseError,
    },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("WAL files: {0}")]
    Segments(#[from] io::Error),
}

/// Reads the ancestry of `timeline` from pg_wal.
///
/// # Errors
/// The file is there but cannot be read or understood. A timeline without a file counts as a
/// root: timeline 1 has none, and a restored backup may lack it.
pub fn lineage(pgdata: &Path, timeline: TimelineId) -> Result<Lineage, WalError> {
    lineage_in(pgdata, &pgdata.join("pg_wal"), timeline)
}

/// The same of a directory that holds the WAL of `pgdata`.
///
/// # Errors
/// As [`lineage`].
pub fn lineage_in(pgdata: &Path, wal: &Path, timeline: TimelineId) -> Result<Lineage, WalError> {
    let file = timeline.history_file_name();
    match reading::read_own(pgdata, &wal.join(&file)) {
        Ok(text) => Lineage::from_history_file(timeline, &text)
            .map_err(|error| WalError::BadHistory { file, error }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lineage::root(timeline)),
        Err(error) => Err(WalError::History { file, error }),
    }
}

/// Where the WAL of a stopped instance ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEnd {
    pub position: WalPosition,
    /// False: it reaches this far at least. Then nothing follows from what it seems to lack.
    pub is_exact: bool,
}

/// The real end of WAL of a stopped instance. A crashed primary has WAL behind its last
/// checkpoint, so the control file alone does not say.
///
/// There may be hundreds of gigabytes of it. But a server writes a WAL file only after the one before is whole and on disk, and
/// each begins with its own position; so the last one that does is found by a look at the beginning of each, and only that one is read.
///
/// # Errors
/// pg_waldump could not be run, or a history or a WAL file could not be read.
pub fn end(
    programs: &Programs,
    pgdata: &Path,
    control: &Control,
    deadline: Deadline,
) -> Result<LocalEnd, WalError> {
    let (timeline, known) = match control.min_recovery {
        Some((timeline, reached)) if timeline.get() >= control.timeline.get() => {
            (timeline, reached.max(control.checkpoint))
        }
        _ => (control.timeline, control.checkpoint),
    };
    let lineage = lineage(pgdata, timeline)?;
    let wal = pgdata.join("pg_wal");
    let list = || segments(&wal, &lineage, control);
    let segments = as_owner(programs.owner(), list).map_err(io::Error::from)??;
    let found = last_record(programs, &wal, &segments, control, deadline)?;
    // What is known without reading is a lower bound.
    let begun = segments.last().map_or(known, |last| last.start.max(known));
    Ok(LocalEnd {
        position: WalPosition {
            lineage,
            end: found.map_or(begun, |end| end.max(known)),
        },
        is_exact: found.is_some(),
    })
}

/// A WAL file that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: Lsn,
    /// The timeline in its name.
    timeline: TimelineId,
}

/// The WAL files from the one with the redo point on, as far as they follow one another. One that is there for later use has
/// the position of its earlier use in it.
fn segments(wal: &Path, lineage: &Lineage, control: &Control) -> io::Result<Vec<Segment>> {
    let size = control.wal_segment_size;
    let bytes = |lsn: Lsn| lsn.bytes_past(Lsn::new(0)).unwrap_or_default();
    let mut found = Vec::new();
    for number in bytes(control.redo) / size.. {
        let start = Lsn::new(number * size);
        // Where a timeline was left within a file, that file is there under both numbers; the later one goes on.
        let mut ancestors = lineage.ancestors.iter().rev();
        let timelines = std::iter::once(lineage.timeline).chain(
            std::iter::from_fn(|| ancestors.next())
                .filter(|s| start < s.end)
                .map(|s| s.timeline),
        );
        let mut next = None;
        for timeline in timelines {
            let name = segment_name(timeline, number, size);
            if begins_at(&wal.join(name), start, lineage.timeline)? {
                next = Some(Segment { start, timeline });
                break;
            }
        }
        let Some(next) = next else {
            break;
        };
        found.push(next);
    }
    Ok(found)
}

/// `XLogFileName`.
fn segment_name(timeline: TimelineId, number: u64, size: u64) -> String {
    let per_id = 0x1_0000_0000 / size;
    format!(
        "{:08X}{:08X}{:08X}",
        timeline.get(),
        number / per_id,
        number % per_id
    )
}

/// Whether a WAL file begins with the page of that position. (`XLogPageHeaderData`: magic, flags, timeline, position.)
fn begins_at(file: &Path, start: Lsn, timeline: TimelineId) -> io::Result<bool> {
    let mut options = fs::OpenOptions::new();
    // Nothing but a file has to be there, and nothing is waited for.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let mut file = match options.read(true).custom_flags(flags).open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut header = [0; 16];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let [_, _, _, _, a, b, c, d, position @ ..] = header;
    let is_ours = (1..=timeline.get()).contains(&u32::from_ne_bytes([a, b, c, d]));
    Ok(is_ours && Lsn::new(u64::from_ne_bytes(position)) == start)
}

/// The end of the last whole record. `None`: it was not found in time, or the next file is missing just where it is needed.
fn last_record(
    programs: &Programs,
    wal: &Path,
    segments: &[Segment],
    control: &Control,
    deadline: Deadline,
) -> Result<Option<Lsn>, WalError> {
    let Some(last) = segments.last() else {
        return Ok(None);
    };
    // The last files may hold nothing but the middle of a record that began before them.
    for back in [1, 2, 8, 64] {
        let first = segments.len().saturating_sub(back);
        let Some(first) = segments.get(first).filter(|s| s.timeline == last.timeline) else {
            break;
        };
        let start = first.start.max(control.redo);
        let printed = match dump(programs, wal, first.timeline, start, deadline) {
            Ok(printed) => printed,
            Err(RunError::TimedOut { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = first_invalid(&printed);
        if end.is_some() || !printed.contains("could not find a valid record") {
            return Ok(end);
        }
    }
    Ok(None)
}

/// What pg_waldump complains of at the end. It always ends with an error: the first position that holds no valid record.
fn dump(
    programs: &Programs,
    wal: &Path,
    timeline: TimelineId,
    start: Lsn,
    deadline: Deadline,
) -> Result<String, RunError> {
    // Statistics only: printing each record would take the time of the recovery itself.
    let command = programs
        .tool("pg_waldump")
        .arg("--stats")
        .arg("--path")
        .arg(wal)
        .arg("--timeline")
        .arg(timeline.to_string())
        .arg("--start")
        .arg(start.to_string());
    match command.run(deadline) {
        Ok(output) => Ok(output.stderr_text()),
        Err(RunError::Failed { stderr, .. }) => Ok(stderr),
        Err(error) => Err(error),
    }
}

/// Where the WAL of a running standby ends that receives nothing and has replayed up to `replayed`, on the timeline that it
/// replays. `None`: that can't be told for certain, as where another timeline follows, or WAL ends at the edge of a page.
///
/// # Errors
/// pg_waldump could not be run in time, or pg_wal could not be read.
pub fn end_behind(
    programs: &Programs,
    pgdata: &Path,
    timeline: TimelineId,
    replayed: Lsn,
    deadline: Deadline,
) -> Result<Option<Lsn>, WalError> {
    let wal = pgdata.join("pg_wal");
    let newest =
        as_owner(programs.owner(), || newest_timeline(&wal)).map_err(io::Error::from)??;
    if newest > Some(timeline.get()) {
        return Ok(None);
    }
    let printed = dump(programs, &wal, timeline, replayed, deadline)?;
    Ok(end_of_record(&printed).map(|end| end.max(replayed)))
}

/// The newest timeline of which a directory holds WAL or a history.
fn newest_timeline(wal: &Path) -> io::Result<Option<u32>> {
    let mut newest = None;
    for entry in fs::read_dir(wal)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        let is_wal = name.len() == 24 && is_hex(&name);
        let is_history = name.strip_suffix(".history").is_some_and(is_hex);
        if let Some(timeline) = name.get(..8).filter(|_| is_wal || is_history) {
            newest = newest.max(u32::from_str_radix(timeline, 16).ok());
        }
    }
    Ok(newest)
}

/// `pg_waldump: error: error in WAL record at 0/5000060: invalid record length at 0/5000098: …`
fn first_invalid(printed: &str) -> Option<Lsn> {
    // Other complaints (a broken checksum, say) are about the record at the second position, or
    // name none: then the last good record's start is all that is known.
    end_of_record(printed).or_else(|| complaint(printed)?.0.parse().ok())
}

/// The end of the last good record, where the message says it.
fn end_of_record(printed: &str) -> Option<Lsn> {
    let tails = complaint(printed)?.1.split(" at ").skip(1);
    let positions = tails.filter_map(|tail| tail.split([':', ',', ' ']).next()?.parse().ok());
    positions.last()
}

/// The last good record's start, and what is said of what follows.
fn complaint(printed: &str) -> Option<(&str, &str)> {
    let message = printed
        .lines()
        .find_map(|l| l.split_once("error in WAL record at "))?
        .1;
    message.split_once(": ")
}

#[cfg(test)]
mod tests {
    use std::fs;

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
            // 19's.
            (
                "pg_waldump: error: error in WAL record at 0/05000060: invalid record length at 0/05000098: expected at least 24, got 0\n",
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

    fn control(redo: u64) -> Control {
        Control {
            system_identifier: "1".to_owned(),
            state: crate::postgres::control::ClusterState::InProduction,
            checkpoint: Lsn::new(redo),
            redo: Lsn::new(redo),
            timeline: TimelineId::new(1).unwrap(),
            min_recovery: None,
            wal_segment_size: 1 << 20,
            wal_log_hints: true,
            checksums: false,
            needed: Vec::new(),
        }
    }

    fn write_segment(dir: &Path, name: &str, timeline: u32, position: u64) {
        let mut page = vec![0x10, 0xd1, 2, 0];
        page.extend(timeline.to_ne_bytes());
        page.extend(position.to_ne_bytes());
        page.extend([0; 64]);
        fs::write(dir.join(name), page).unwrap();
    }

    #[test]
    fn the_files_that_were_begun_follow_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path();
        let mb = |n: u64| n << 20;
        let lineage: Lineage = "2<1:0000000000380000".parse().unwrap();
        let found = || -> Vec<(u64, u32)> {
            let segments = segments(wal, &lineage, &control(mb(1) + 0x28)).unwrap();
            let one = |s: &Segment| {
                (
                    s.start.bytes_past(Lsn::new(0)).unwrap() >> 20,
                    s.timeline.get(),
                )
            };
            segments.iter().map(one).collect()
        };
        assert_eq!(found(), []);
        write_segment(wal, "000000010000000000000001", 1, mb(1));
        write_segment(wal, "000000010000000000000002", 1, mb(2));
        write_segment(wal, "000000010000000000000003", 1, mb(3));
        // Left on the other side of the fork.
        write_segment(wal, "000000010000000000000004", 1, mb(4));
        assert_eq!(found(), [(1, 1), (2, 1), (3, 1)]);
        // Begins with pages of the timeline that was left.
        write_segment(wal, "000000020000000000000003", 1, mb(3));
        write_segment(wal, "000000020000000000000004", 2, mb(4));
        // For later use: from an earlier one, empty, too short.
        write_segment(wal, "000000020000000000000005", 1, mb(1));
        assert_eq!(found(), [(1, 1), (2, 1), (3, 2), (4, 2)]);
        for nothing in [vec![0; 64], vec![1; 8]] {
            fs::write(wal.join("000000020000000000000005"), nothing).unwrap();
            assert_eq!(found().len(), 4);
        }
        // No file at all, but a trap.
        fs::remove_file(wal.join("000000020000000000000005")).unwrap();
        nix::unistd::mkfifo(
            &wal.join("000000020000000000000005"),
            nix::sys::stat::Mode::S_IRUSR,
        )
        .unwrap();
        assert_eq!(found().len(), 4);
        fs::remove_file(wal.join("000000010000000000000001")).unwrap();
        assert_eq!(found(), []);
    }

    #[test]
    fn wal_files_are_named_as_postgresql_names_them() {
        let three = TimelineId::new(3).unwrap();
        for (number, size, expected) in [
            (0x1_23, 16 << 20, "000000030000000100000023"),
            (0x1FF, 1 << 30, "000000030000007F00000003"),
            (0xFFF, 1 << 20, "000000030000000000000FFF"),
        ] {
            assert_eq!(segment_name(three, number, size), expected);
        }
    }

    #[test]
    fn the_end_is_certain_only_where_the_message_names_it() {
        for (printed, expected) in [
            (
                "pg_waldump: error: error in WAL record at 0/5000060: invalid record length at 0/5000098: wanted 24, got 0\n",
                Some("0/5000098"),
            ),
            // WAL that ends with a page: the record before is whole, and its end is not said.
            (
                "pg_waldump: error: error in WAL record at 0/5FFFFD0: invalid magic number 0000 in log segment 000000010000000000000006, offset 0\n",
                None,
            ),
            (
                "pg_waldump: error: could not find file \"000000010000000000000005\"\n",
                None,
            ),
        ] {
            let end = end_of_record(printed);
            assert_eq!(
                end.map(|l| l.to_string()).as_deref(),
                expected,
                "{printed:?}"
            );
        }
    }

    #[test]
    fn the_newest_timeline_is_that_of_a_segment_or_a_history() {
        let dir = tempfile::tempdir().unwrap();
        let newest = || newest_timeline(dir.path()).unwrap();
        assert_eq!(newest(), None);
        for (file, expected) in [
            ("archive_status", None),
            ("000000020000000000000005", Some(2)),
            ("000000010000000000000006", Some(2)),
            ("00000003.history", Some(3)),
            ("000000040000000000000006.partial", Some(3)),
            ("0000000A0000000000000007", Some(10)),
        ] {
            fs::write(dir.path().join(file), "").unwrap();
            assert_eq!(newest(), expected, "{file}");
        }
        assert!(newest_timeline(&dir.path().join("absent")).is_err());
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
        // Neither the log nor an exit reason is the place for what is in there.
        let hostile = [
            "s3cret",
            "1\ts3cret\tx",
            "s3cret\t0/1",
            "1\t0/3000000\tx\n2\ts3cret",
        ];
        for text in hostile {
            fs::write(dir.path().join("pg_wal/00000002.history"), text).unwrap();
            let error = lineage(dir.path(), two).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
