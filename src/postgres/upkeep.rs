//! What a deep monitor asks of a running server's upkeep, all in one query.

use std::time::Duration;

use crate::decide::upkeep::{Named, Unsorted, Waiting};
use crate::model::version::{RECORDS_COLLATIONS, SYNCHRONISES_SLOTS, Version};
use crate::postgres::session::{Row, Session, SqlError};

/// See `decide::upkeep`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// `None`: nothing waits for an archive, or this server archives nothing.
    pub waiting: Option<Waiting>,
    pub unsorted: Vec<Unsorted>,
    /// Primary: what `synchronized_standby_slots` names.
    pub named: Vec<(String, Named)>,
}

/// A file waits from when its mark was made. With archive_mode=on a standby archives nothing, and removes its WAL whatever is marked.
const ARCHIVE: &str = "SELECT 'archive', r.oldest, r.age::text, r.files::text, r.bytes::text, \
    CASE WHEN a.last_failed_time > coalesce(a.last_archived_time, '-infinity') THEN a.last_failed_wal END, \
    CASE WHEN a.last_archived_time IS NOT NULL THEN greatest(extract(epoch FROM clock_timestamp() - a.last_archived_time), 0)::bigint::text END \
    FROM pg_stat_archiver a, \
    (SELECT (array_agg(left(name, -6) ORDER BY modification, name))[1] AS oldest, \
            greatest(extract(epoch FROM clock_timestamp() - min(modification)), 0)::bigint AS age, count(*) AS files, \
            count(*) FILTER (WHERE name ~ '^[0-9A-F]{24}[.]ready$') * pg_size_bytes(current_setting('wal_segment_size')) AS bytes \
     FROM pg_ls_archive_statusdir() WHERE name ~ '[.]ready$' \
       AND (current_setting('archive_mode') = 'always' OR current_setting('archive_mode') = 'on' AND NOT pg_is_in_recovery())) r \
    WHERE r.files > 0";

/// As PostgreSQL itself compares at a login: where nothing is recorded (the C locale, template0), nothing is known. An invalid database can only be dropped. A
/// name may be in an encoding that the session can't have.
const COLLATIONS: &str = "SELECT 'collation', CASE WHEN datname COLLATE \"C\" ~ '^[ -~]*$' THEN datname::text ELSE concat('number ', oid) END, \
    datcollversion, here, NULL, NULL, NULL \
    FROM (SELECT oid, datname, datcollversion, pg_database_collation_actual_version(oid) AS here FROM pg_database \
          WHERE datallowconn AND datconnlimit <> -2 AND datcollversion IS NOT NULL) d \
    WHERE here IS DISTINCT FROM datcollversion";

const STANDBY_SLOTS: &str = "SELECT 'slot', n.name, CASE WHEN s.slot_name IS NULL THEN 'missing' \
         WHEN s.slot_type <> 'physical' OR s.invalidation_reason IS NOT NULL THEN 'unfit' \
         WHEN s.active THEN 'streams' ELSE 'idle' END, NULL, NULL, NULL, NULL \
    FROM (SELECT DISTINCT lower(btrim(word, ' \"')) AS name \
          FROM unnest(string_to_array(current_setting('synchronized_standby_slots'), ',')) AS u(word)) n \
    LEFT JOIN pg_replication_slots s ON s.slot_name = n.name \
    WHERE n.name <> '' AND NOT pg_is_in_recovery()";

/// What a server of this version can be asked.
fn query(version: Version) -> String {
    let parts = [
        (0, ARCHIVE),
        (RECORDS_COLLATIONS, COLLATIONS),
        (SYNCHRONISES_SLOTS, STANDBY_SLOTS),
    ];
    let known = parts.iter().filter(|(since, _)| version.major >= *since);
    let known: Vec<&str> = known.map(|(_, part)| *part).collect();
    known.join(" UNION ALL ")
}

/// Asks it. It takes the owner's right, or a superuser's.
///
/// # Errors
/// See [`SqlError`].
pub fn upkeep(session: &mut Session, version: Version) -> Result<Upkeep, SqlError> {
    let rows = session.rows(&query(version))?;
    let mut upkeep = Upkeep::default();
    for row in &rows {
        read(&mut upkeep, row).ok_or_else(|| SqlError::Unexpected {
            query: "upkeep",
            what: format!("{row:?}"),
        })?;
    }
    Ok(upkeep)
}

fn read(upkeep: &mut Upkeep, row: &Row) -> Option<()> {
    let [Some(kind), Some(name), second, third, fourth, fifth, sixth] = row.as_slice() else {
        return None;
    };
    let name = name.clone();
    let number = |field: &Option<String>| field.as_ref()?.parse::<u64>().ok();
    match kind.as_str() {
        "archive" => {
            let archived = match sixth {
                None => None,
                some => Some(Duration::from_secs(number(some)?)),
            };
            upkeep.waiting = Some(Waiting {
                oldest: name,
                age: Duration::from_secs(number(second)?),
                files: number(third)?,
                bytes: number(fourth)?,
                failed: fifth.clone(),
                archived,
            });
        }
        "collation" => upkeep.unsorted.push(Unsorted {
            database: name,
            recorded: second.clone()?,
            here: third.clone(),
        }),
        "slot" => {
            let named = match second.as_deref()? {
                "streams" => Named::Streams,
                "idle" => Named::Idle,
                "unfit" => Named::Unfit,
                "missing" => Named::Missing,
                _ => return None,
            };
            upkeep.named.push((name, named));
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_for_what_its_version_has() {
        for (number, collations, slots) in [
            (120_022, false, false),
            (140_018, false, false),
            (150_000, true, false),
            (160_009, true, false),
            (170_000, true, true),
            (180_001, true, true),
        ] {
            let query = query(Version::of(number));
            assert!(query.contains("pg_stat_archiver"), "{query}");
            assert_eq!(query.contains("datcollversion"), collations, "{number}");
            assert_eq!(
                query.contains("synchronized_standby_slots"),
                slots,
                "{number}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_is_no_empty_one() {
        let row = |fields: [&str; 7]| -> Row {
            let field = |f: &str| (!f.is_empty()).then(|| f.to_owned());
            fields.into_iter().map(field).collect()
        };
        for (fields, is_answer) in [
            (["archive", "A", "60", "1", "0", "", ""], true),
            (["archive", "A", "60", "1", "0", "A", "7"], true),
            (["archive", "A", "60", "1", "0", "A", "x"], false),
            (["archive", "A", "", "1", "0", "", ""], false),
            (["archive", "", "60", "1", "0", "", ""], false),
            (["collation", "app", "1", "", "", "", ""], true),
            (["collation", "app", "", "1", "", "", ""], false),
            (["slot", "a", "idle", "", "", "", ""], true),
            (["slot", "a", "?", "", "", "", ""], false),
            (["?", "a", "idle", "", "", "", ""], false),
        ] {
            let got = read(&mut Upkeep::default(), &row(fields));
            assert_eq!(got.is_some(), is_answer, "{fields:?}");
        }
    }
}
