//! The table: made, migrated, and shared with pha4pgsql's script.

use std::time::Duration;

use expgsql::distlock::{LockError, Made, Renewal, Taken};

use crate::server::{Server, service, set, soon, wish};

/// pha4pgsql's table, history and trigger, as its description has them.
const OLD: &str = "
create table distlock (lockname text primary key, owner text not null, ts timestamptz not null, expired_time interval not null);
create table distlock_history (id serial primary key, lockname text, owner text, ts timestamptz, expired_time interval);
create function distlock_trigger() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into distlock_history (lockname, owner, ts, expired_time) values (new.lockname, new.owner, new.ts, new.expired_time);
  elsif new.owner <> old.owner then
    insert into distlock_history (lockname, owner, ts, expired_time) values (new.lockname, new.owner, new.ts, new.expired_time);
  end if;
  return new;
end $$;
create trigger distlock_trigger after insert or update on distlock for each row execute procedure distlock_trigger();
insert into distlock (lockname, owner, ts, expired_time) values ('pgsql', '', now(), interval '-1 second');
";

/// The script's statements.
fn old_lock(owner: &str) -> String {
    format!(
        "with u as (update distlock set owner = '{owner}', ts = now(), expired_time = interval '3600 second' \
         where lockname = 'pgsql' and (owner = '{owner}' or owner = '' or now() > ts + expired_time) returning 1) \
         select count(*) from u"
    )
}

fn old_unlock(owner: &str) -> String {
    format!(
        "with u as (update distlock set owner = '', ts = now(), expired_time = interval '-1 second' \
         where lockname = 'pgsql' and owner = '{owner}' returning 1) select count(*) from u"
    )
}

#[test]
fn init_makes_the_table_once_and_keeps_what_is_there() {
    let server = Server::start();
    let lock = server.service();
    assert!(matches!(lock.read(soon()), Err(LockError::TableMissing(_))));
    assert_eq!(lock.init(false, soon()).unwrap(), Made::New);
    assert!(matches!(
        lock.take(&wish("node1"), soon()).unwrap(),
        Taken::Mine { epoch: 1, .. }
    ));
    let held = lock.read(soon()).unwrap().unwrap();
    let Made::Kept(kept) = lock.init(false, soon()).unwrap() else {
        panic!("it is there");
    };
    assert_eq!(
        (kept.owner.as_str(), kept.epoch, &kept.eligible, &kept.since),
        ("pgsql_node1", 1, &held.eligible, &held.since)
    );
    assert_eq!(lock.init(true, soon()).unwrap(), Made::Cleared);
    let row = lock.read(soon()).unwrap().unwrap();
    assert!(
        row.is_free() && row.epoch == 2 && row.system.is_none() && row.eligible.is_none(),
        "{row:?}"
    );

    // Another name, another table, another schema, names that need quotes.
    for name in [
        "other",
        "distlock:x",
        "ha.Locks:it's",
        r#""Q ""S"""."T:1":a"b"#,
    ] {
        let lock = service(&server.conninfo(), name);
        assert_eq!(lock.init(false, soon()).unwrap(), Made::New, "{name}");
        assert!(
            matches!(lock.init(false, soon()), Ok(Made::Kept(_))),
            "{name}"
        );
        assert!(
            matches!(lock.take(&wish("node2"), soon()), Ok(Taken::Mine { .. })),
            "{name}"
        );
        assert_eq!(lock.history(9, soon()).unwrap().len(), 2, "{name}");
    }
    assert_eq!(server.sql("select owner from ha.locks"), "pgsql_node2");
}

#[test]
fn a_table_of_pha4pgsql_is_migrated_without_losing_the_lock() {
    let server = Server::start();
    server.sql(OLD);
    server.sql(&old_lock("pgsql_node1"));
    let lock = server.service();
    let old_form = lock.read(soon()).unwrap_err();
    assert!(
        old_form.to_string().contains("run expgsql distlock init"),
        "{old_form}"
    );
    assert!(matches!(
        lock.take(&wish("node1"), soon()),
        Err(LockError::OldForm(_))
    ));
    // The command line's plain lock works on both forms.
    assert_eq!(
        lock.plain_lock("pgsql_node2", Duration::from_secs(9), soon()),
        Ok(false)
    );
    assert_eq!(
        lock.plain_lock("pgsql_node1", Duration::from_secs(3600), soon()),
        Ok(true)
    );

    let Made::Kept(row) = lock.init(false, soon()).unwrap() else {
        panic!("the row was there");
    };
    assert_eq!(
        (row.owner.as_str(), row.epoch, row.reports),
        ("pgsql_node1", 0, 1)
    );
    assert!(
        !row.remaining.is_zero() && row.eligible.is_none() && row.system.is_none(),
        "{row:?}"
    );
    let changes = lock.history(9, soon()).unwrap();
    assert_eq!(changes.len(), 2, "{changes:?}");

    // Its holder goes on by the new agent; each change is logged once.
    let taken = lock.take(&wish("node1"), soon()).unwrap();
    let mine = Taken::Mine {
        epoch: 1,
        eligible: Some(set(&["node1"])),
        reports: 1,
    };
    assert_eq!(taken, mine);
    assert_eq!(lock.history(9, soon()).unwrap().len(), 3);
    assert_eq!(
        lock.read(soon()).unwrap().unwrap().system.as_deref(),
        Some("7000")
    );
}

#[test]
fn the_old_script_and_the_new_agent_share_a_table() {
    let (server, lock) = Server::ready();
    assert!(matches!(
        lock.take(&wish("node1"), soon()).unwrap(),
        Taken::Mine { epoch: 1, .. }
    ));
    let eligible = set(&["node1", "node2"]);
    let hour = Duration::from_secs(3600);
    lock.set_eligible("pgsql_node1", 1, &eligible, 1, hour, soon())
        .unwrap();

    // Held, renewed and given back by the script: the same owner, the same epoch.
    assert_eq!(server.sql(&old_lock("pgsql_node2")), "0");
    assert_eq!(server.sql(&old_lock("pgsql_node1")), "1");
    assert!(matches!(
        lock.renew("pgsql_node1", 1, hour, soon()).unwrap(),
        Renewal::Mine(row) if row.eligible == Some(eligible.clone())
    ));
    assert_eq!(server.sql(&old_unlock("pgsql_node2")), "0");
    assert_eq!(server.sql(&old_unlock("pgsql_node1")), "1");
    assert_eq!(lock.read(soon()).unwrap().unwrap().eligible, Some(eligible));

    // Taken over by the script: a new epoch, and nothing is known of standbys any more.
    assert_eq!(server.sql(&old_lock("pgsql_node2")), "1");
    let row = lock.read(soon()).unwrap().unwrap();
    assert_eq!((row.owner.as_str(), row.epoch), ("pgsql_node2", 2));
    assert_eq!(
        (row.eligible, row.last_owner.as_deref()),
        (None, Some("pgsql_node2"))
    );
    let late = lock.set_eligible("pgsql_node1", 1, &set(&["node1"]), 1, hour, soon());
    assert!(matches!(late, Ok(Renewal::Lost(Some(_)))), "{late:?}");
    assert_eq!(server.sql(&old_unlock("pgsql_node2")), "1");
    assert!(matches!(
        lock.take(&wish("node3"), soon()).unwrap(),
        Taken::Mine { epoch: 3, .. }
    ));

    // The script's own init throws the row away: that is a lock lost, and a new beginning.
    server.sql("delete from distlock");
    assert_eq!(
        lock.renew("pgsql_node3", 3, hour, soon()),
        Ok(Renewal::Lost(None))
    );
    assert!(matches!(
        lock.take(&wish("node3"), soon()),
        Err(LockError::RowMissing(_))
    ));
    server.sql("insert into distlock (lockname, owner, ts, expired_time) values ('pgsql', '', now(), interval '-1 second')");
    let again = expgsql::distlock::Take {
        min_epoch: 4,
        ..wish("node3")
    };
    assert!(matches!(
        lock.take(&again, soon()).unwrap(),
        Taken::Mine { epoch: 4, .. }
    ));
}

#[test]
fn the_history_tells_of_changes_and_not_of_renewals() {
    let (_server, lock) = Server::ready();
    let hour = Duration::from_secs(3600);
    lock.take(&wish("node1"), soon()).unwrap();
    for _ in 0..3 {
        lock.renew("pgsql_node1", 1, hour, soon()).unwrap();
    }
    lock.set_eligible("pgsql_node1", 1, &set(&["node1", "node2"]), 1, hour, soon())
        .unwrap();
    lock.release("pgsql_node1", Some(1), soon()).unwrap();
    lock.take(&wish("node2"), soon()).unwrap();
    let changes = lock.history(20, soon()).unwrap();
    let seen: Vec<(&str, Option<i64>)> = changes
        .iter()
        .map(|change| (change.owner.as_str(), change.epoch))
        .collect();
    assert_eq!(
        seen,
        [
            ("pgsql_node2", Some(2)),
            ("", Some(1)),
            ("pgsql_node1", Some(1)),
            ("pgsql_node1", Some(1)),
            ("", Some(0))
        ]
    );
    assert_eq!(lock.history(2, soon()).unwrap().len(), 2);
}

#[test]
fn a_role_with_the_documented_rights_can_do_its_work_and_no_more() {
    let (server, _) = Server::ready();
    let conninfo = format!(
        "host=127.0.0.1 port={} user=agent dbname=postgres password=zq7x",
        server.port
    );
    let lock = service(&conninfo, "pgsql");
    let refused = lock.take(&wish("node1"), soon()).unwrap_err();
    assert!(matches!(refused, LockError::NotWritable(_)), "{refused}");
    server.sql(
        "grant select, update on distlock to agent; grant select on distlock_history to agent",
    );
    assert!(matches!(
        lock.take(&wish("node1"), soon()),
        Ok(Taken::Mine { .. })
    ));
    assert_eq!(lock.history(9, soon()).unwrap().len(), 2);
    assert!(matches!(
        lock.init(false, soon()),
        Err(LockError::NotWritable(_))
    ));
    server.sql("alter role agent set default_transaction_read_only = on");
    let standby =
        service(&conninfo, "pgsql").renew("pgsql_node1", 1, Duration::from_secs(9), soon());
    assert!(
        matches!(standby, Err(LockError::NotWritable(_))),
        "{standby:?}"
    );
}
