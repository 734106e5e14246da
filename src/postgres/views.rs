//! What a running server says about replication, each in one query.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::decide::external_slots::Slot as ExternalSlot;
use crate::decide::observed::{Behind, SlotSeen};
use crate::decide::proof::{Process, Work};
use crate::decide::replay::{Halt, Reader, Replay};
use crate::decide::slots::{Hoard, Slot};
use crate::decide::worth::{self, Weak};
use crate::model::lsn::Lsn;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::StandbyName;
use crate::model::sync_names::SyncNames;
use crate::model::timeline::TimelineId;
use crate::model::version::Version;
use crate::params::Secret;
use crate::postgres::session::{Row, Session, SqlError, literal};

/// Role and positions of a running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// A standby, or a primary that is still recovering from a crash.
    pub in_recovery: bool,
    /// The timeline it writes on, or last received from.
    pub timeline: TimelineId,
    /// Where its WAL ends. Primary: end of flushed WAL. Standby: the further of received and replayed. `None`: a standby that
    /// was restarted and has not yet replayed what it has: where that ends it does not know itself.
    pub end: Option<Lsn>,
    /// Standby: the end of the last whole record that it has replayed. What it received may end within the next one.
    pub replayed: Option<Lsn>,
    /// `synchronous_standby_names` in force.
    pub sync_names: SyncNames,
    /// A standby whose startup process has used up its local WAL and waits for more.
    pub has_replayed_all: bool,
    /// Standby: what may keep it from replaying what it has.
    pub replay: Replay,
    pub receiver: Option<Receiver>,
    pub version: Version,
    /// PostgreSQL's system identifier: the same on all copies of one cluster.
    pub system: String,
    /// When the postmaster last read its configuration files, since 1970, by this machine's clock.
    pub conf_loaded: Option<Duration>,
    /// `primary_slot_name` in force.
    pub slot: String,
    /// `recovery_target_timeline` in force.
    pub target_timeline: String,
    /// Standby: a file with the name in `promote_trigger_file` would promote it.
    pub has_trigger: bool,
    /// `listen_addresses` in force.
    pub listens: String,
    /// `max_wal_senders` in force.
    pub wal_senders: Option<u64>,
    /// Primary: what makes a commit worth less; `None`: that is not understood.
    pub weak: Option<Vec<Weak>>,
    /// `primary_conninfo` in force. `None`: a primary; this user may not see it; or it has other characters than ASCII's, which
    /// are others in another encoding.
    pub conninfo: Option<Secret>,
    /// `hba_file` and `ident_file`, where this user may see them and they are of ASCII's characters.
    pub rules: Vec<PathBuf>,
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
    pub flushed: Option<Lsn>,
    /// When it reported last, by its own clock: good for telling two reports apart.
    pub replied: Option<String>,
    /// Bytes of WAL written here and not there yet; `None` before the first report.
    pub lag: Option<u64>,
    /// The process that sends to it.
    pub pid: i32,
    /// The slot by which it streams.
    pub slot: Option<String>,
    /// Whose address it is from; empty through a socket.
    pub address: String,
}

/// Settings that make a commit worth less, as [`worth::parse`] takes them: of roles and databases by their numbers, since a name may be in an encoding that the
/// session can't have. What is set for all, the agent's own session does not see: it sets another value for itself.
pub const WEAK: &str = "concat_ws(',', CASE WHEN current_setting('fsync') = 'off' THEN 'fsync' END, \
    CASE WHEN current_setting('full_page_writes') = 'off' THEN 'full_page_writes' END, \
    (SELECT string_agg(concat_ws(' ', s.setrole, s.setdatabase, split_part(c, '=', 2)), ',' ORDER BY s.setrole, s.setdatabase) \
     FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE starts_with(c, 'synchronous_commit=')))";

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
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END, \
        current_setting('synchronous_standby_names'), \
        (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), \
        (SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'), \
        (SELECT status FROM pg_stat_wal_receiver), \
        current_setting('server_version_num'), \
        (SELECT system_identifier FROM pg_control_system()), \
        pg_last_wal_replay_lsn(), \
        CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END, \
        CASE WHEN NOT pg_is_in_recovery() THEN NULL \
             WHEN current_setting('recovery_target') <> '' THEN 'recovery_target' \
             WHEN current_setting('recovery_target_lsn') <> '' THEN 'recovery_target_lsn' \
             WHEN current_setting('recovery_target_name') <> '' THEN 'recovery_target_name' \
             WHEN current_setting('recovery_target_time') <> '' THEN 'recovery_target_time' \
             WHEN current_setting('recovery_target_xid') <> '' THEN 'recovery_target_xid' END, \
        (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint, \
        current_setting('primary_slot_name'), \
        current_setting('recovery_target_timeline'), \
        CASE WHEN NOT pg_is_in_recovery() THEN {weak} END, \
        current_setting('listen_addresses'), \
        current_setting('max_wal_senders'), \
        CASE WHEN pg_is_in_recovery() AND pg_has_role('pg_read_all_settings', 'USAGE') \
             THEN CASE WHEN current_setting('primary_conninfo') COLLATE \"C\" ~ '^[ -~]*$' \
                       THEN current_setting('primary_conninfo') END END, \
        pg_is_in_recovery() AND coalesce(current_setting('promote_trigger_file', true), '') <> '', \
        {rules}, \
        pg_has_role('pg_read_all_stats', 'USAGE') \
        FROM pg_control_checkpoint() c, pg_control_recovery() r";
    let rules = ["hba_file", "ident_file"].map(|name| {
        format!(
            "CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') \
             THEN CASE WHEN current_setting('{name}') COLLATE \"C\" ~ '^[ -~]*$' THEN current_setting('{name}') END END"
        )
    });
    let query = QUERY
        .replace("{weak}", WEAK)
        .replace("{rules}", &rules.join(", "));
    let rows = session.rows(&query)?;
    let row = rows
        .first()
        .filter(|row| row.len() == 23)
        .ok_or_else(|| unexpected(QUERY, "not one row of twenty-three columns"))?;
    let text = |i: usize| row[i].as_deref();
    let in_recovery = text(0) == Some("t");
    if in_recovery && text(22) != Some("t") {
        // Not to be seen is not the same as not to be there.
        return Err(unexpected(
            "pg_stat_activity",
            "processes are hidden: GRANT pg_monitor to the user that monitor_user names",
        ));
    }
    let has_replayed_all = text(4).is_some_and(waits_for_more);
    let replayed: Option<Lsn> = parse(QUERY, row, 9)?;
    let written: Option<Lsn> = parse(QUERY, row, 2)?;
    Ok(ServerState {
        in_recovery,
        timeline: parse(QUERY, row, 1)?
            .and_then(TimelineId::new)
            .ok_or_else(|| unexpected(QUERY, "no timeline"))?,
        end: if in_recovery {
            end_of_standby(written, replayed, has_replayed_all)
        } else {
            written
        },
        replayed,
        sync_names: parse(QUERY, row, 3)?.unwrap_or(SyncNames::Nobody),
        has_replayed_all,
        replay: Replay {
            target: text(11).map(str::to_owned),
            is_paused: text(10) == Some("t"),
        },
        receiver: parse(QUERY, row, 5)?.map(|pid| Receiver {
            pid,
            is_streaming: text(6) == Some("streaming"),
        }),
        version: Version::of(parse(QUERY, row, 7)?.unwrap_or_default()),
        system: text(8).unwrap_or_default().to_owned(),
        conf_loaded: parse(QUERY, row, 12)?.map(Duration::from_micros),
        slot: text(13).unwrap_or_default().to_owned(),
        target_timeline: text(14).unwrap_or_default().to_owned(),
        weak: worth::parse(text(15).unwrap_or_default()),
        has_trigger: text(19) == Some("t"),
        listens: text(16).unwrap_or_default().to_owned(),
        wal_senders: parse(QUERY, row, 17)?,
        conninfo: text(18).map(Secret::new),
        rules: [text(20), text(21)]
            .into_iter()
            .flatten()
            .map(PathBuf::from)
            .collect(),
    })
}

/// Where a standby's WAL ends. A restarted server knows only what it has replayed, and takes connections in the middle of
/// that; a receiver is started when all that is there has been read, and from then on the two positions are all there is.
fn end_of_standby(
    received: Option<Lsn>,
    replayed: Option<Lsn>,
    has_replayed_all: bool,
) -> Option<Lsn> {
    if received.is_none() && !has_replayed_all {
        return None;
    }
    received.max(replayed)
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
    /// `None`: it did not say.
    pub slots: Option<Vec<SlotSeen>>,
}

/// A standby, as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    pub name: StandbyName,
    /// False also for one whose state this user may not see.
    pub is_streaming: bool,
    pub flushed: Option<Lsn>,
    /// What it has not flushed.
    pub lag: Behind,
    /// What it has not replayed.
    pub replay: Behind,
    /// The slot by which it streams.
    pub slot: Option<String>,
}

/// The query behind [`Replication`]: one row for the primary, one for each standby, one for each slot; none on a standby. `wal_status` came with
/// PostgreSQL 13.
pub const REPLICATION: &str = "SELECT 'P', ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text, \
    pg_current_wal_flush_lsn()::text, current_setting('synchronous_standby_names'), NULL::text, NULL::text, NULL::text, NULL::text, NULL::text \
    WHERE NOT pg_is_in_recovery() \
    UNION ALL SELECT 'S', lower(application_name), flush_lsn::text, \
    greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn), 0)::bigint::text, \
    extract(epoch FROM flush_lag)::text, state, \
    greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn), 0)::bigint::text, extract(epoch FROM replay_lag)::text, \
    (SELECT s.slot_name::text FROM pg_replication_slots s WHERE s.active_pid = r.pid LIMIT 1) FROM pg_stat_replication r \
    WHERE application_name <> 'pg_basebackup' AND NOT pg_is_in_recovery() \
    UNION ALL SELECT 'L', slot_name::text, NULL, \
    CASE WHEN NOT pg_is_in_recovery() THEN greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn), 0)::bigint::text END, \
    NULL, slot_type, active::text, to_jsonb(l) ->> 'wal_status', NULL FROM pg_replication_slots l WHERE NOT pg_is_in_recovery()";

impl Replication {
    /// Reads what [`REPLICATION`] returned; `None`: it is no such answer.
    #[must_use]
    pub fn of_rows(rows: &[Row]) -> Option<Self> {
        let mut found = Self::default();
        for row in rows {
            let [
                kind,
                first,
                flushed,
                third,
                delay,
                state,
                sixth,
                seventh,
                slot,
            ] = row.as_slice()
            else {
                return None;
            };
            let text = |field: &Option<String>| field.clone();
            let behind = |bytes: &Option<String>, delay: &Option<String>| {
                let seconds = delay.as_ref().and_then(|t| t.parse().ok());
                Some(Behind {
                    bytes: bytes.as_ref().map(|t| t.parse()).transpose().ok()?,
                    delay: seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()),
                })
            };
            let flushed: Option<Lsn> = text(flushed).map(|t| t.parse()).transpose().ok()?;
            match kind.as_deref()? {
                "P" => {
                    found.timeline = TimelineId::new(text(first)?.parse().ok()?);
                    found.flushed = flushed;
                    let names = text(third).unwrap_or_default();
                    found.sync_names = Some(names.parse().ok()?);
                    found.slots.get_or_insert_default();
                }
                "S" => found.standbys.push(Follower {
                    name: text(first).unwrap_or_default(),
                    is_streaming: state.as_deref() == Some("streaming"),
                    flushed,
                    lag: behind(third, delay)?,
                    replay: behind(sixth, seventh)?,
                    slot: text(slot),
                }),
                "L" => found.slots.get_or_insert_default().push(SlotSeen {
                    name: text(first)?,
                    is_logical: state.as_deref() == Some("logical"),
                    is_active: sixth.as_deref() == Some("true"),
                    held: behind(third, &None)?.bytes,
                    is_lost: seventh.as_deref() == Some("lost"),
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
        greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), write_lsn), 0)::bigint, reply_time::text, r.pid, \
        (SELECT s.slot_name FROM pg_replication_slots s WHERE s.active_pid = r.pid LIMIT 1), \
        coalesce(host(client_addr), '') \
        FROM pg_stat_replication r WHERE application_name <> 'pg_basebackup' AND r.pid IS NOT NULL";
    let rows = session.rows(QUERY)?;
    rows.iter()
        .map(|row| {
            if row.len() != 9 {
                return Err(unexpected(QUERY, "not nine columns"));
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
                replied: row[5].clone(),
                pid: parse(QUERY, row, 6)?.ok_or_else(hidden)?,
                slot: row[7].clone(),
                address: row[8].clone().unwrap_or_default(),
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

/// The values in force of settings that are plain numbers. One that the server does not know is not among them.
///
/// # Errors
/// See [`SqlError`].
pub fn settings<'a>(
    session: &mut Session,
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, u64>, SqlError> {
    const QUERY: &str = "SELECT name, setting FROM pg_settings WHERE name IN";
    let names: Vec<String> = names.map(literal).collect();
    let rows = session.rows(&format!("{QUERY} ({})", names.join(", ")))?;
    let one = |row: &Row| {
        let name = row[0].clone().unwrap_or_default();
        Ok(parse(QUERY, row, 1)?.map(|value| (name, value)))
    };
    rows.iter().filter_map(|row| one(row).transpose()).collect()
}

/// The first line for which the server takes nothing of its files when it reads them again. Only its owner may ask. What needs a restart
/// to be applied, or is no value of its setting, is left out: that keeps nothing else from being applied. Of a setting that needs a restart and
/// is in no file any more no file is named.
///
/// Source: PostgreSQL, `guc-file.l`.
///
/// # Errors
/// See [`SqlError`].
pub fn refused_line(session: &mut Session) -> Result<Option<String>, SqlError> {
    const QUERY: &str = "SELECT concat_ws(': ', concat(sourcefile, ' line ', sourceline), name, error) FROM pg_file_settings \
        WHERE error <> 'setting could not be applied' AND sourcefile IS NOT NULL ORDER BY seqno LIMIT 1";
    let rows = session.rows(QUERY)?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next().flatten()))
}

/// The first line of pg_hba.conf or pg_ident.conf that the server would not take. Only its owner may ask.
///
/// # Errors
/// See [`SqlError`].
pub fn refused_rule(session: &mut Session) -> Result<Option<String>, SqlError> {
    // The file is named from 16 on. The view of the maps came with 15. A line that can't match, hostssl where ssl is off, is listed with an error
    // (hba.c), in English always, and refused by nobody.
    const RULES: &str = "SELECT concat(coalesce(to_jsonb(r) ->> 'file_name', current_setting('hba_file')), ' line ', line_number, ': ', error) \
        FROM pg_hba_file_rules r WHERE error IS NOT NULL AND error NOT LIKE '%record cannot match%' ORDER BY line_number LIMIT 1";
    const MAPS: &str = "SELECT concat(coalesce(to_jsonb(r) ->> 'file_name', current_setting('ident_file')), ' line ', line_number, ': ', error) \
        FROM pg_ident_file_mappings r WHERE error IS NOT NULL ORDER BY line_number LIMIT 1";
    const HAS_MAPS: &str = "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'pg_catalog' AND c.relname = 'pg_ident_file_mappings'";
    let first = |rows: Vec<Row>| {
        rows.into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
    };
    let rule = first(session.rows(RULES)?).flatten();
    if rule.is_some() || session.rows(HAS_MAPS)?.is_empty() {
        return Ok(rule);
    }
    Ok(first(session.rows(MAPS)?).flatten())
}

/// What a standby's replay waits for, and whose sessions there are.
///
/// # Errors
/// See [`SqlError`].
pub fn halt(session: &mut Session) -> Result<Halt, SqlError> {
    // The replaying process is none of those that pg_blocking_pids() knows.
    const QUERY: &str = "SELECT s.wait_event_type, s.wait_event, r.pid, r.backend_xmin IS NOT NULL, \
        EXISTS (SELECT FROM pg_locks w JOIN pg_locks h USING (locktype, database, relation) \
                WHERE w.pid = s.pid AND NOT w.granted AND h.pid = r.pid AND h.granted) \
        FROM pg_stat_activity s LEFT JOIN pg_stat_activity r \
          ON r.backend_type = 'client backend' AND r.pid <> pg_backend_pid() \
        WHERE s.backend_type = 'startup'";
    let mut halt = Halt::default();
    for row in &session.rows(QUERY)? {
        let [kind, event, _, has_snapshot, has_the_lock] = row.as_slice() else {
            return Err(unexpected(QUERY, "not five columns"));
        };
        halt.kind.clone_from(kind);
        halt.event.clone_from(event);
        if let Some(pid) = parse(QUERY, row, 2)? {
            let is = |value: &Option<String>| value.as_deref() == Some("t");
            halt.readers.push(Reader {
                pid,
                has_snapshot: is(has_snapshot),
                has_the_lock: is(has_the_lock),
            });
        }
    }
    Ok(halt)
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

/// The end of all WAL that was or is about to be written, and the processes that go by what commits wait for (R2):
/// whoever sends to a standby, and the checkpointer.
///
/// # Errors
/// See [`SqlError`].
pub fn committers(session: &mut Session) -> Result<(Lsn, Vec<Process>), SqlError> {
    const QUERY: &str = "SELECT pg_current_wal_insert_lsn(), a.backend_type = 'checkpointer', a.pid, a.wait_event, \
        lower(s.application_name), s.sync_priority, s.sent_lsn \
        FROM pg_stat_activity a LEFT JOIN pg_stat_replication s USING (pid) \
        WHERE a.backend_type = 'checkpointer' \
           OR s.pid IS NOT NULL AND (s.application_name <> 'pg_basebackup' OR s.sync_priority > 0)";
    let rows = session.rows(QUERY)?;
    let mut written = None;
    let mut processes = Vec::new();
    for row in &rows {
        if row.len() != 7 {
            return Err(unexpected(QUERY, "not seven columns"));
        }
        written = parse(QUERY, row, 0)?;
        let hidden = || unexpected(QUERY, "a process is hidden");
        processes.push(Process {
            pid: parse(QUERY, row, 2)?.ok_or_else(hidden)?,
            wait_event: row[3].clone(),
            work: if row[1].as_deref() == Some("t") {
                Work::Checkpointer
            } else {
                Work::Sender {
                    name: row[4].clone().unwrap_or_default(),
                    priority: parse(QUERY, row, 5)?.ok_or_else(hidden)?,
                    sent: parse(QUERY, row, 6)?,
                }
            },
        });
    }
    let written = written.ok_or_else(|| unexpected(QUERY, "no position"))?;
    Ok((written, processes))
}

/// The physical replication slots.
///
/// # Errors
/// See [`SqlError`].
pub fn slots(session: &mut Session) -> Result<Vec<Slot>, SqlError> {
    // The columns that tell of an invalidation came with PostgreSQL 13 and 17; as JSON one that is missing is NULL.
    const QUERY: &str = "SELECT slot_name, active, restart_lsn IS NOT NULL, \
        coalesce(to_jsonb(s) ->> 'wal_status' = 'lost', false) OR to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL \
        FROM pg_replication_slots s WHERE slot_type = 'physical'";
    let rows = session.rows(QUERY)?;
    rows.into_iter()
        .map(|row| {
            let [Some(name), Some(active), Some(holds_wal), Some(is_invalid)] = row.as_slice()
            else {
                return Err(unexpected(QUERY, "not four values"));
            };
            Ok(Slot {
                name: name.clone(),
                active: active == "t",
                holds_wal: holds_wal == "t",
                is_invalid: is_invalid == "t",
            })
        })
        .collect()
}

/// Those physical slots that are named.
///
/// # Errors
/// See [`SqlError`].
pub fn external_slots(
    session: &mut Session,
    names: &[String],
) -> Result<Vec<ExternalSlot>, SqlError> {
    const QUERY: &str = "SELECT slot_name, active, restart_lsn, \
        coalesce(to_jsonb(s) ->> 'wal_status' = 'lost', false) OR to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL \
        FROM pg_replication_slots s WHERE slot_type = 'physical'";
    let rows = session.rows(QUERY)?;
    let slots = rows.iter().map(|row| {
        let [Some(name), Some(active), _, Some(is_invalid)] = row.as_slice() else {
            return Err(unexpected(QUERY, "not four values"));
        };
        Ok(ExternalSlot {
            name: name.clone(),
            active: active == "t",
            restart: parse(QUERY, row, 2)?,
            is_invalid: is_invalid == "t",
        })
    });
    let is_named = |slot: &ExternalSlot| names.contains(&slot.name);
    slots
        .filter(|slot| slot.as_ref().map_or(true, is_named))
        .collect()
}

/// Slots of a standby that nobody uses now and that hold more WAL than the server keeps for itself (`max_wal_size`), where nothing bounds that; that are
/// of its time as the primary; or that keep the primary's catalogs from being cleaned.
///
/// # Errors
/// See [`SqlError`].
pub fn hoards(session: &mut Session) -> Result<Vec<Hoard>, SqlError> {
    // One that a standby has synchronised (17) is never in use there, and moves with the primary's. One that the server has given up holds no rows.
    const QUERY: &str = "SELECT slot_name, CASE WHEN held > pg_size_bytes(current_setting('max_wal_size')) THEN held END, \
        is_failover, holds_rows, CASE WHEN idle IS NOT NULL THEN greatest(extract(epoch FROM clock_timestamp() - idle::timestamptz), 0)::bigint END FROM (SELECT slot_name, \
        CASE WHEN coalesce(to_jsonb(s) ->> 'wal_status', '') <> 'lost' \
              AND coalesce(current_setting('max_slot_wal_keep_size', true), '-1') = '-1' \
             THEN pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), restart_lsn)::bigint END AS held, \
        coalesce(to_jsonb(s) ->> 'failover', 'false') = 'true' AS is_failover, \
        slot_type = 'logical' AND catalog_xmin IS NOT NULL AND current_setting('hot_standby_feedback') = 'on' \
            AND coalesce(to_jsonb(s) ->> 'wal_status', '') <> 'lost' AND coalesce(to_jsonb(s) ->> 'conflicting', 'false') <> 'true' \
            AND to_jsonb(s) ->> 'invalidation_reason' IS NULL AS holds_rows, \
        to_jsonb(s) ->> 'inactive_since' AS idle \
        FROM pg_replication_slots s WHERE NOT active AND coalesce(to_jsonb(s) ->> 'synced', 'false') <> 'true') h \
        WHERE held > pg_size_bytes(current_setting('max_wal_size')) OR is_failover OR holds_rows";
    let rows = session.rows(QUERY)?;
    rows.iter()
        .map(|row| {
            let [Some(name), _, Some(is_failover), Some(holds_rows), _] = row.as_slice() else {
                return Err(unexpected(QUERY, "not five columns"));
            };
            Ok(Hoard {
                name: name.clone(),
                held: parse(QUERY, row, 1)?,
                is_failover: is_failover == "t",
                holds_rows: holds_rows == "t",
                idle: parse(QUERY, row, 4)?.map(Duration::from_secs),
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

    fn row(fields: [&str; 9]) -> Row {
        fields
            .iter()
            .map(|f| (!f.is_empty()).then(|| (*f).to_owned()))
            .collect()
    }

    #[test]
    fn a_restarted_standby_does_not_know_its_end_before_it_has_replayed_it() {
        let lsn = |n: u64| Some(Lsn::new(n));
        for (received, replayed, has_replayed_all, expected) in [
            (None, lsn(5), false, None),
            (None, None, false, None),
            (None, lsn(5), true, lsn(5)),
            // A receiver has run since: it began where the local WAL ended.
            (lsn(9), lsn(5), false, lsn(9)),
            // It begins at the start of a segment, which was replayed already.
            (lsn(3), lsn(5), false, lsn(5)),
            (lsn(9), lsn(9), true, lsn(9)),
        ] {
            let end = end_of_standby(received, replayed, has_replayed_all);
            assert_eq!(
                end, expected,
                "{received:?} {replayed:?} {has_replayed_all}"
            );
        }
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
                "",
                "",
                "",
            ]),
            row([
                "S",
                "node2",
                "0/1501400",
                "40",
                "1.5",
                "streaming",
                "4000",
                "2.5",
                "a",
            ]),
            // A user who may not see the rest of the row; and one that has just connected.
            row(["S", "node3", "", "", "", "", "", "", ""]),
            row(["L", "a", "", "40", "", "physical", "true", "reserved", ""]),
            row(["L", "b", "", "", "", "logical", "false", "lost", ""]),
        ];
        let found = Replication::of_rows(&rows).unwrap();
        assert_eq!(found.timeline, TimelineId::new(2));
        assert_eq!(found.sync_names.as_ref().map(SyncNames::count), Some(1));
        let [first, second] = &found.standbys[..] else {
            panic!("{found:?}")
        };
        let behind = |bytes, milliseconds| Behind {
            bytes: Some(bytes),
            delay: Some(Duration::from_millis(milliseconds)),
        };
        assert_eq!((first.is_streaming, first.lag), (true, behind(40, 1500)));
        assert_eq!(first.replay, behind(4000, 2500));
        assert_eq!(first.slot.as_deref(), Some("a"));
        assert_eq!(
            (second.is_streaming, second.lag, second.flushed),
            (false, Behind::default(), None)
        );
        let slots = [
            ("a", false, true, Some(40), false),
            ("b", true, false, None, true),
        ];
        let slots = slots.map(|(name, is_logical, is_active, held, is_lost)| SlotSeen {
            name: name.to_owned(),
            is_logical,
            is_active,
            held,
            is_lost,
        });
        assert_eq!(found.slots.as_deref(), Some(&slots[..]));
        // No row at all: a standby answers.
        assert_eq!(Replication::of_rows(&[]), Some(Replication::default()));
    }

    #[test]
    fn what_is_no_such_answer_is_none() {
        for bad in [
            row(["X", "2", "0/1", "", "", "", "", "", ""]),
            row(["P", "two", "0/1", "", "", "", "", "", ""]),
            row(["P", "2", "nowhere", "", "", "", "", "", ""]),
            row(["S", "node2", "0/1", "many", "", "", "", "", ""]),
            row(["S", "node2", "0/1", "1", "", "", "many", "", ""]),
            row(["L", "a", "", "much", "", "physical", "true", "", ""]),
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
