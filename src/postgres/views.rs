//! What a running server says about replication, each in one query.

use std::time::Duration;

use crate::decide::slots::Slot;
use crate::model::lsn::Lsn;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::StandbyName;
use crate::model::sync_names::SyncNames;
use crate::model::timeline::TimelineId;
use crate::model::version::Version;
use crate::postgres::session::{Row, Session, SqlError};

/// Role and positions of a running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// A standby, or a primary that is still recovering from a crash.
    pub in_recovery: bool,
    /// The timeline it writes on, or last received from.
    pub timeline: TimelineId,
    /// Primary: end of flushed WAL. Standby: the further of received and replayed. `None`: a
    /// standby that has neither received nor replayed anything since it started.
    pub end: Option<Lsn>,
    /// Standby: the end of the last whole record that it has replayed. What it received may end within the next one.
    pub replayed: Option<Lsn>,
    /// `synchronous_standby_names` in force.
    pub sync_names: SyncNames,
    /// A standby whose startup process has used up its local WAL and waits for more.
    pub has_replayed_all: bool,
    pub receiver: Option<Receiver>,
    pub version: Version,
    /// PostgreSQL's system identifier: the same on all copies of one cluster.
    pub system: String,
}

/// The WAL receiver process of a standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub pid: i32,
    /// Connected and receiving; one that is still connecting is not.
    pub is_streaming: bool,
}

/// One row of `pg_stat_replication`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// application_name, in lower case.
    pub name: StandbyName,
    pub state: SenderState,
    pub sync: SyncState,
    /// Its place in `synchronous_standby_names` as the process that sends to it has read that: 0 if it
    /// has none. So this shows whether a new setting has reached that process.
    pub priority: u32,
    pub flushed: Option<Lsn>,
    /// Bytes of WAL written here and not there yet; `None` before the first report.
    pub lag: Option<u64>,
    /// The process that sends to it.
    pub pid: i32,
}

/// The server's role and positions.
///
/// # Errors
/// See [`SqlError`].
pub fn server_state(session: &mut Session) -> Result<ServerState, SqlError> {
    // No function tells the timeline that a standby replays. The control file follows a switch only
    // at the next restartpoint, minutes later, and the receiver is gone with the primary: a standby
    // that reported the timeline before would lose the election to one that is behind, or count as
    // diverged. So without a receiver the newest segment that it has begun says it.
    const QUERY: &str = "SELECT pg_is_in_recovery(), \
        CASE WHEN pg_is_in_recovery() \
             THEN greatest(c.timeline_id, r.min_recovery_end_timeline, \
                           coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
                                    (SELECT max(('x' || substr(name, 1, 8))::bit(32)::int) FROM pg_ls_waldir() \
                                     WHERE name ~ '^[0-9A-F]{24}$' \
                                       AND ('x' || substr(name, 9, 8))::bit(32)::bigint * 4294967296 \
                                         + ('x' || substr(name, 17, 8))::bit(32)::bigint \
                                           * pg_size_bytes(current_setting('wal_segment_size')) \
                                        <= greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'))) \
             ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END, \
        CASE WHEN pg_is_in_recovery() \
             THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
             ELSE pg_current_wal_flush_lsn() END, \
        current_setting('synchronous_standby_names'), \
        (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), \
        (SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'), \
        (SELECT status FROM pg_stat_wal_receiver), \
        current_setting('server_version_num'), \
        (SELECT system_identifier FROM pg_control_system()), \
        pg_last_wal_replay_lsn() \
        FROM pg_control_checkpoint() c, pg_control_recovery() r";
    let rows = session.rows(QUERY)?;
    let row = rows
        .first()
        .filter(|row| row.len() == 10)
        .ok_or_else(|| unexpected(QUERY, "not one row of ten columns"))?;
    let text = |i: usize| row[i].as_deref();
    Ok(ServerState {
        in_recovery: text(0) == Some("t"),
        timeline: parse(QUERY, row, 1)?
            .and_then(TimelineId::new)
            .ok_or_else(|| unexpected(QUERY, "no timeline"))?,
        end: parse(QUERY, row, 2)?,
        replayed: parse(QUERY, row, 9)?,
        sync_names: parse(QUERY, row, 3)?.unwrap_or(SyncNames::Nobody),
        has_replayed_all: text(4).is_some_and(waits_for_more),
        receiver: parse(QUERY, row, 5)?.map(|pid| Receiver {
            pid,
            is_streaming: text(6) == Some("streaming"),
        }),
        version: Version::of(parse(QUERY, row, 7)?.unwrap_or_default()),
        system: text(8).unwrap_or_default().to_owned(),
    })
}

/// How far a primary and its standbys are, for people: what a user sees who may do little. The columns are text, so that
/// psql and a session of ours give the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    pub timeline: Option<TimelineId>,
    /// End of the primary's flushed WAL.
    pub flushed: Option<Lsn>,
    /// `synchronous_standby_names` in force.
    pub sync_names: Option<SyncNames>,
    pub standbys: Vec<Follower>,
}

/// A standby, as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    pub name: StandbyName,
    /// False also for one whose state this user may not see.
    pub is_streaming: bool,
    pub flushed: Option<Lsn>,
    /// Bytes that it has not flushed.
    pub lag: Option<u64>,
    /// How long ago the primary flushed what it flushed last; `None` where nothing was written lately.
    pub delay: Option<Duration>,
}

/// The query behind [`Replication`]: one row for the primary, one for each standby; none on a standby.
pub const REPLICATION: &str = "SELECT 'P', ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text, \
    pg_current_wal_flush_lsn()::text, current_setting('synchronous_standby_names'), NULL::text, NULL::text \
    WHERE NOT pg_is_in_recovery() \
    UNION ALL SELECT 'S', lower(application_name), flush_lsn::text, \
    greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn), 0)::bigint::text, \
    extract(epoch FROM flush_lag)::text, state FROM pg_stat_replication \
    WHERE application_name <> 'pg_basebackup' AND NOT pg_is_in_recovery()";

impl Replication {
    /// Reads what [`REPLICATION`] returned; `None`: it is no such answer.
    #[must_use]
    pub fn of_rows(rows: &[Row]) -> Option<Self> {
        let mut found = Self::default();
        for row in rows {
            let [kind, first, flushed, third, delay, state] = row.as_slice() else {
                return None;
            };
            let text = |field: &Option<String>| field.clone();
            let flushed: Option<Lsn> = text(flushed).map(|t| t.parse()).transpose().ok()?;
            match kind.as_deref()? {
                "P" => {
                    found.timeline = TimelineId::new(text(first)?.parse().ok()?);
                    found.flushed = flushed;
                    let names = text(third).unwrap_or_default();
                    found.sync_names = Some(names.parse().ok()?);
                }
                "S" => found.standbys.push(Follower {
                    name: text(first).unwrap_or_default(),
                    is_streaming: state.as_deref() == Some("streaming"),
                    flushed,
                    lag: text(third).map(|t| t.parse()).transpose().ok()?,
                    delay: text(delay)
                        .and_then(|t| t.parse().ok())
                        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
                }),
                _ => return None,
            }
        }
        Some(found)
    }
}

/// [`Replication`] of the server of this session.
///
/// # Errors
/// See [`SqlError`].
pub fn replication(session: &mut Session) -> Result<Replication, SqlError> {
    let rows = session.rows(REPLICATION)?;
    Replication::of_rows(&rows).ok_or_else(|| unexpected(REPLICATION, "rows of another form"))
}

/// Whom a standby would receive from, as the postmaster has it; empty: from nobody.
///
/// # Errors
/// See [`SqlError`]; a user who may not see the setting is an error.
pub fn primary_conninfo(session: &mut Session) -> Result<String, SqlError> {
    const QUERY: &str =
        "SELECT CASE WHEN current_setting('primary_conninfo') = '' THEN '' ELSE 'set' END";
    let rows = session.rows(QUERY)?;
    let row = rows.first().ok_or_else(|| unexpected(QUERY, "no row"))?;
    row.first()
        .cloned()
        .flatten()
        .ok_or_else(|| unexpected(QUERY, "no value"))
}

/// Wait events of a startup process that has nothing left to replay. PostgreSQL 12 has the first
/// two, 13 and later the last two. Source: `wait_event_types`, "Wait Events of Type Activity" and
/// "Timeout" in the manual of each version.
fn waits_for_more(event: &str) -> bool {
    matches!(
        event,
        "RecoveryWalAll" | "RecoveryWalStream" | "RecoveryRetrieveRetryInterval"
    )
}

/// Every standby connected to this primary.
///
/// # Errors
/// See [`SqlError`]; a user who may not see the columns is an error, not "nobody is connected".
pub fn senders(session: &mut Session) -> Result<Vec<Sender>, SqlError> {
    const QUERY: &str = "SELECT lower(application_name), state, sync_state, flush_lsn, \
        greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), write_lsn), 0)::bigint, sync_priority, pid \
        FROM pg_stat_replication WHERE application_name <> 'pg_basebackup' AND pid IS NOT NULL";
    let rows = session.rows(QUERY)?;
    rows.iter()
        .map(|row| {
            if row.len() != 7 {
                return Err(unexpected(QUERY, "not seven columns"));
            }
            let hidden = || {
                unexpected(
                    QUERY,
                    "state is hidden: GRANT pg_monitor to the user that monitor_user names",
                )
            };
            Ok(Sender {
                name: row[0].clone().unwrap_or_default(),
                state: parse(QUERY, row, 1)?.ok_or_else(hidden)?,
                sync: parse(QUERY, row, 2)?.ok_or_else(hidden)?,
                flushed: parse(QUERY, row, 3)?,
                lag: parse(QUERY, row, 4)?,
                priority: parse(QUERY, row, 5)?.ok_or_else(hidden)?,
                pid: parse(QUERY, row, 6)?.ok_or_else(hidden)?,
            })
        })
        .collect()
}

/// The end of flushed WAL: every commit acknowledged so far lies before it, because a commit is
/// flushed here before it is acknowledged (R2).
///
/// # Errors
/// See [`SqlError`].
pub fn flushed(session: &mut Session) -> Result<Lsn, SqlError> {
    const QUERY: &str = "SELECT pg_current_wal_flush_lsn()";
    let rows = session.rows(QUERY)?;
    let row = rows.first().ok_or_else(|| unexpected(QUERY, "no row"))?;
    parse(QUERY, row, 0)?.ok_or_else(|| unexpected(QUERY, "no position"))
}

/// What commits wait for now, as this session sees it.
///
/// # Errors
/// See [`SqlError`].
pub fn sync_names(session: &mut Session) -> Result<SyncNames, SqlError> {
    const QUERY: &str = "SELECT current_setting('synchronous_standby_names')";
    let rows = session.rows(QUERY)?;
    let row = rows.first().ok_or_else(|| unexpected(QUERY, "no row"))?;
    parse(QUERY, row, 0)?.ok_or_else(|| unexpected(QUERY, "NULL"))
}

/// The checkpointer's process id. It, and nobody else, tells the backends that commits wait at all.
///
/// # Errors
/// See [`SqlError`].
pub fn checkpointer(session: &mut Session) -> Result<Option<i32>, SqlError> {
    const QUERY: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let rows = session.rows(QUERY)?;
    rows.first().map_or(Ok(None), |row| parse(QUERY, row, 0))
}

/// Whether the checkpointer waits where it has read every setting it was told of before it went to
/// sleep: in its main loop, or between two buffers of a checkpoint. (`CheckpointerMain` and
/// `CheckpointWriteDelay` in checkpointer.c look at a pending reload right before they wait.)
///
/// # Errors
/// See [`SqlError`].
pub fn checkpointer_idles(session: &mut Session) -> Result<bool, SqlError> {
    const QUERY: &str =
        "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let rows = session.rows(QUERY)?;
    let event = rows.first().and_then(|row| row[0].as_deref());
    Ok(matches!(
        event,
        Some("CheckpointerMain" | "CheckpointWriteDelay")
    ))
}

/// The physical replication slots.
///
/// # Errors
/// See [`SqlError`].
pub fn slots(session: &mut Session) -> Result<Vec<Slot>, SqlError> {
    const QUERY: &str = "SELECT slot_name, active, restart_lsn IS NOT NULL \
        FROM pg_replication_slots WHERE slot_type = 'physical'";
    let rows = session.rows(QUERY)?;
    rows.into_iter()
        .map(|row| {
            let [Some(name), Some(active), Some(holds_wal)] = row.as_slice() else {
                return Err(unexpected(QUERY, "not three values"));
            };
            Ok(Slot {
                name: name.clone(),
                active: active == "t",
                holds_wal: holds_wal == "t",
            })
        })
        .collect()
}

/// Whether something bounds the WAL that slots hold back. PostgreSQL 12 can't.
///
/// # Errors
/// See [`SqlError`].
pub fn limits_slots(session: &mut Session) -> Result<bool, SqlError> {
    const QUERY: &str = "SELECT coalesce(current_setting('max_slot_wal_keep_size', true), '-1')";
    let rows = session.rows(QUERY)?;
    let row = rows.first().ok_or_else(|| unexpected(QUERY, "no row"))?;
    Ok(row
        .first()
        .cloned()
        .flatten()
        .is_some_and(|limit| limit != "-1"))
}

fn parse<T: std::str::FromStr>(
    query: &'static str,
    row: &Row,
    column: usize,
) -> Result<Option<T>, SqlError> {
    let Some(text) = row[column].as_deref() else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|_| unexpected(query, &format!("column {} is {text:?}", column + 1)))
}

fn unexpected(query: &'static str, what: &str) -> SqlError {
    SqlError::Unexpected {
        query,
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: [&str; 6]) -> Row {
        fields
            .iter()
            .map(|f| (!f.is_empty()).then(|| (*f).to_owned()))
            .collect()
    }

    #[test]
    fn replication_is_read_from_text() {
        let rows = [
            row([
                "P",
                "2",
                "0/1501428",
                "ANY 1 (\"node2\", \"node3\")",
                "",
                "",
            ]),
            row(["S", "node2", "0/1501400", "40", "1.5", "streaming"]),
            // A user who may not see the rest of the row; and one that has just connected.
            row(["S", "node3", "", "", "", ""]),
        ];
        let found = Replication::of_rows(&rows).unwrap();
        assert_eq!(found.timeline, TimelineId::new(2));
        assert_eq!(found.sync_names.as_ref().map(SyncNames::count), Some(1));
        let [first, second] = &found.standbys[..] else {
            panic!("{found:?}")
        };
        assert_eq!(first.delay, Some(Duration::from_millis(1500)));
        assert_eq!((first.is_streaming, first.lag), (true, Some(40)));
        assert_eq!(
            (second.is_streaming, second.lag, second.flushed),
            (false, None, None)
        );
        // No row at all: a standby answers.
        assert_eq!(Replication::of_rows(&[]), Some(Replication::default()));
    }

    #[test]
    fn what_is_no_such_answer_is_none() {
        for bad in [
            row(["X", "2", "0/1", "", "", ""]),
            row(["P", "two", "0/1", "", "", ""]),
            row(["P", "2", "nowhere", "", "", ""]),
            row(["S", "node2", "0/1", "many", "", ""]),
            vec![Some("P".to_owned())],
        ] {
            assert_eq!(
                Replication::of_rows(std::slice::from_ref(&bad)),
                None,
                "{bad:?}"
            );
        }
    }
}
