//! `pg_controldata`: what a stopped instance says about itself.

use std::io::{self, Read as _};
use std::path::Path;

use nix::libc::O_NOFOLLOW;

use crate::model::lsn::Lsn;
use crate::model::timeline::TimelineId;
use crate::postgres::owner::as_owner;
use crate::postgres::programs::Programs;
use crate::postgres::reading;
use crate::sys::{Deadline, Owner, RunError};

/// The parts of the control file that the agent uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Two data directories with different identifiers hold different clusters.
    pub system_identifier: String,
    pub state: ClusterState,
    /// Start of the last checkpoint record.
    pub checkpoint: Lsn,
    /// Where recovery from that checkpoint begins.
    pub redo: Lsn,
    pub timeline: TimelineId,
    /// A standby's replay had reached this far at least; `None` on a primary.
    pub min_recovery: Option<(TimelineId, Lsn)>,
    /// Bytes in one WAL file.
    pub wal_segment_size: u64,
    /// Whether the server, when it last ran, logged the first change of a page also where it is only a hint. pg_rewind
    /// needs that, or `checksums`.
    pub wal_log_hints: bool,
    pub checksums: bool,
    /// The values of [`NEEDED`].
    pub(super) needed: Vec<u64>,
}

/// `Database cluster state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
pub enum ClusterState {
    #[strum(serialize = "starting up")]
    StartingUp,
    #[strum(serialize = "shut down")]
    ShutDown,
    #[strum(serialize = "shut down in recovery")]
    ShutDownInRecovery,
    #[strum(serialize = "shutting down")]
    ShuttingDown,
    #[strum(serialize = "in crash recovery")]
    InCrashRecovery,
    #[strum(serialize = "in archive recovery")]
    InArchiveRecovery,
    #[strum(serialize = "in production")]
    InProduction,
}

impl ClusterState {
    /// It was stopped in order: its WAL ends with a shutdown checkpoint, or it was a standby and waits for more.
    #[must_use]
    pub const fn is_orderly(self) -> bool {
        matches!(self, Self::ShutDown | Self::ShutDownInRecovery)
    }
}

/// What pg_controldata calls the settings that a standby needs as large as its primary, and what they are called elsewhere.
const NEEDED: [(&str, &str); 5] = [
    ("max_connections setting", "max_connections"),
    ("max_worker_processes setting", "max_worker_processes"),
    ("max_wal_senders setting", "max_wal_senders"),
    ("max_prepared_xacts setting", "max_prepared_transactions"),
    ("max_locks_per_xact setting", "max_locks_per_transaction"),
];

impl Control {
    /// The settings that a standby needs at least as large as these, as the primary had them when it wrote the WAL that was
    /// replayed here last.
    pub fn needed(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let values = self.needed.iter().copied();
        NEEDED
            .iter()
            .zip(values)
            .map(|((_, name), value)| (*name, value))
    }
}

/// The control file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("pg_controldata printed no usable {0:?}: is this a data directory?")]
    Missing(&'static str),
}

/// Reads the control file of `pgdata`.
///
/// # Errors
/// The program failed, or printed something else.
pub fn read(
    programs: &Programs,
    pgdata: &Path,
    deadline: Deadline,
) -> Result<Control, ControlError> {
    let command = programs.tool("pg_controldata").arg("-D").arg(pgdata);
    parse(&command.run(deadline)?.stdout_text())
}

/// Whether the control file says that the server takes writes, or did so when it ended without a word ([`ClusterState::InProduction`]).
/// For where pg_controldata is too dear: the state's place has been the same in every version since 8.0.
///
/// # Errors
/// The file system's; [`io::ErrorKind::InvalidData`] for a file that begins otherwise.
///
/// Source: PostgreSQL 12 to 18, `src/include/catalog/pg_control.h`, `ControlFileData`, `DBState`, `PG_CONTROL_VERSION`.
pub fn is_in_production(pgdata: &Path, owner: &Owner) -> io::Result<bool> {
    doing(pgdata, owner).map(|doing| doing == Doing::Production)
}

/// What a server does, or did when it was ended, as the control file has it.
///
/// # Errors
/// As [`is_in_production`].
pub fn doing(pgdata: &Path, owner: &Owner) -> io::Result<Doing> {
    let mut bytes = [0; 20];
    as_owner(owner, || {
        let (mut file, _) = reading::open(&pgdata.join("global/pg_control"), O_NOFOLLOW)?;
        file.read_exact(&mut bytes)
    })
    .map_err(io::Error::from)
    .flatten()?;
    doing_by(&bytes).ok_or_else(|| {
        let what = "global/pg_control does not begin as one of PostgreSQL's";
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// From the first bytes: the system identifier, the file's own version, that of the catalogue, the state.
fn doing_by(bytes: &[u8; 20]) -> Option<Doing> {
    const IN_ARCHIVE_RECOVERY: u32 = 5;
    const IN_PRODUCTION: u32 = 6;
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (version, state) = (number(8)?, number(16)?);
    // 1201 in PostgreSQL 12, 1800 in 18.
    let doing = match state {
        IN_PRODUCTION => Doing::Production,
        IN_ARCHIVE_RECOVERY => Doing::ArchiveRecovery,
        0..IN_ARCHIVE_RECOVERY => Doing::Otherwise,
        _ => return None,
    };
    (1200..10_000).contains(&version).then_some(doing)
}

/// A control file's state, as far as it says what a running server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It takes writes.
    Production,
    /// As a standby does, until it is promoted.
    ArchiveRecovery,
    /// It is down, goes down, or recovers from a crash.
    Otherwise,
}

/// The major version that a data directory is of. `None`: there is none in `pgdata`, or not a whole one.
#[must_use]
pub fn major_version(pgdata: &Path) -> Option<u32> {
    version_file(pgdata).ok().flatten()
}

/// The same, and why it can't be read; `None`: it is there, and has no version in it.
///
/// # Errors
/// The file system's.
pub fn version_file(pgdata: &Path) -> io::Result<Option<u32>> {
    let text = reading::read_own(pgdata, &pgdata.join("PG_VERSION"))?;
    let major = text.trim().split('.').next();
    Ok(major.and_then(|major| major.parse().ok()))
}

fn parse(text: &str) -> Result<Control, ControlError> {
    let field = |label: &'static str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        value.map(str::trim).ok_or(ControlError::Missing(label))
    };
    let lsn = |label| {
        field(label)?
            .parse()
            .map_err(|_| ControlError::Missing(label))
    };
    let timeline = |label| {
        Ok::<_, ControlError>(TimelineId::new(
            field(label)?
                .parse()
                .map_err(|_| ControlError::Missing(label))?,
        ))
    };
    let min_recovery = timeline("Min recovery ending loc's timeline")?;
    Ok(Control {
        system_identifier: field("Database system identifier")?.to_owned(),
        state: field("Database cluster state")?
            .parse()
            .map_err(|_| ControlError::Missing("Database cluster state"))?,
        checkpoint: lsn("Latest checkpoint location")?,
        redo: lsn("Latest checkpoint's REDO location")?,
        timeline: timeline("Latest checkpoint's TimeLineID")?
            .ok_or(ControlError::Missing("Latest checkpoint's TimeLineID"))?,
        min_recovery: match min_recovery {
            Some(timeline) => Some((timeline, lsn("Minimum recovery ending location")?)),
            None => None,
        },
        wal_segment_size: field("Bytes per WAL segment")?
            .parse()
            .ok()
            .filter(|size| *size > 0)
            .ok_or(ControlError::Missing("Bytes per WAL segment"))?,
        wal_log_hints: field("wal_log_hints setting")? == "on",
        // 19 tells by other numbers than 1 that they are being switched on, or off: not every page has one then.
        checksums: field("Data page checksum version")? == "1",
        needed: NEEDED
            .map(|(label, _)| {
                field(label)?
                    .parse()
                    .map_err(|_| ControlError::Missing(label))
            })
            .into_iter()
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_read_at_its_place_and_only_in_a_file_of_postgresqls() {
        let file = |version: u32, state: u32| {
            let numbers = [7, 9, version, 202_209_061, state];
            let bytes: Vec<u8> = numbers.iter().flat_map(|n: &u32| n.to_ne_bytes()).collect();
            <[u8; 20]>::try_from(bytes).unwrap()
        };
        for (version, state, expected) in [
            (1300, 6, Some(Doing::Production)),
            (1300, 5, Some(Doing::ArchiveRecovery)),
            (1300, 4, Some(Doing::Otherwise)),
            (1201, 1, Some(Doing::Otherwise)),
            (1800, 6, Some(Doing::Production)),
            // Of a machine with the bytes the other way round; a state that nobody knows; no such file at all.
            (1300_u32.swap_bytes(), 6, None),
            (1300, 7, None),
            (0, 0, None),
        ] {
            assert_eq!(
                doing_by(&file(version, state)),
                expected,
                "{version} {state}"
            );
        }
    }

    const PRINTED: &str = "\
pg_control version number:            1300
Database system identifier:           7575016489012345678
Database cluster state:               in archive recovery
Latest checkpoint location:           0/5000060
Latest checkpoint's REDO location:    0/5000028
Latest checkpoint's TimeLineID:       2
Latest checkpoint's PrevTimeLineID:   1
Minimum recovery ending location:     0/6000148
Min recovery ending loc's timeline:   3
wal_log_hints setting:                on
Bytes per WAL segment:                16777216
Data page checksum version:           0
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
";

    #[test]
    fn the_fields_are_read() {
        let control = parse(PRINTED).unwrap();
        assert_eq!(control.state, ClusterState::InArchiveRecovery);
        assert_eq!(control.system_identifier, "7575016489012345678");
        assert_eq!(control.checkpoint.to_string(), "0/5000060");
        assert_eq!(control.redo.to_string(), "0/5000028");
        assert_eq!(control.timeline.get(), 2);
        let (timeline, lsn) = control.min_recovery.unwrap();
        assert_eq!((timeline.get(), lsn.to_string().as_str()), (3, "0/6000148"));
        assert_eq!(control.wal_segment_size, 16 << 20);
        assert!(control.wal_log_hints && !control.checksums);
        for (version, all_pages_have_one) in [("0", false), ("1", true), ("2", false), ("3", false)]
        {
            let printed = PRINTED.replace(
                "version:           0",
                &format!("version:           {version}"),
            );
            assert_eq!(
                parse(&printed).unwrap().checksums,
                all_pages_have_one,
                "{version}"
            );
        }
        // As 19 writes positions.
        let wide = PRINTED.replace("0/6000148", "0/06000148");
        assert_eq!(parse(&wide).unwrap(), parse(PRINTED).unwrap());
        let needed: Vec<_> = control.needed().collect();
        assert_eq!(needed[0], ("max_connections", 100));
        assert_eq!(needed[3], ("max_prepared_transactions", 0));
        let primary = PRINTED
            .replace("timeline:   3", "timeline:   0")
            .replace("0/6000148", "0/0");
        assert_eq!(parse(&primary).unwrap().min_recovery, None);
    }

    #[test]
    fn a_missing_or_translated_field_is_an_error() {
        for line in PRINTED
            .lines()
            .filter(|l| !l.contains("version") && !l.contains("Prev"))
        {
            assert!(
                parse(&PRINTED.replace(line, "")).is_err(),
                "without {line:?}"
            );
        }
        assert!(parse(&PRINTED.replace("in archive recovery", "im Recovery")).is_err());
    }
}
