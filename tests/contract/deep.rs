//! The deep monitor: a write, the storage, and what is held against a server and what is only told.

use lab::Result;

use crate::field::postmaster;
use crate::site::{Agent, CONFIG, DATA, SOCKET, SOON, Site, TMPDIR};

/// The agent at this check level, called by a Pacemaker that knows degraded resources.
fn deep<'a>(agent: &Agent<'a>, level: u32) -> Agent<'a> {
    agent
        .clone()
        .var("OCF_CHECK_LEVEL", &level.to_string())
        .var("OCF_RESKEY_crm_feature_set", "3.19.0")
}

fn forget(site: &Site) -> Result<()> {
    site.sh("rm -f /run/expgsql-pgsql.deep*").map(drop)
}

/// Commits wait for a standby that is not there: those of the deep monitor do not.
pub(crate) fn a_deep_monitor_writes_and_waits_for_no_standby() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    let agent = site.agent().param("pgdb", "postgres");
    agent.gives("start", 0);
    let end = || site.postgres().sql("select pg_current_wal_flush_lsn()");
    site.postgres()
        .sql("alter system set synchronous_standby_names = 'nobody'")?;
    site.postgres().sql("select pg_reload_conf()")?;
    site.lab().eventually("commits wait", SOON, |_| {
        match site.postgres().sql("show synchronous_standby_names") {
            Ok(names) if names == "nobody" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    let before = end()?;
    deep(&agent, 10).gives("monitor", 0);
    let after = end()?;
    assert_ne!(before, after, "nothing was written");
    // The plain one writes nothing.
    agent.gives("monitor", 0);
    assert_eq!(end()?, after);
    // Sessions that are read-only unless they say otherwise.
    let pid = postmaster(&site);
    for sql in [
        "set synchronous_commit = local; alter role postgres set default_transaction_read_only = on",
        "alter system set default_transaction_read_only = on",
        "select pg_reload_conf()",
    ] {
        site.postgres().sql(sql)?;
    }
    deep(&agent, 20).gives("monitor", 0);
    // What is refused is told, and no failure.
    for kind in ["text", "bytea"] {
        site.postgres().sql(&format!(
            "set synchronous_commit = local; set default_transaction_read_only = off; begin read write; \
             alter function pg_catalog.pg_logical_emit_message(boolean, text, {kind}) rename to hidden; commit"
        ))?;
    }
    deep(&agent, 20)
        .gives("monitor", 190)
        .says(&["a commit", "pg_logical_emit_message"]);
    assert_eq!(postmaster(&site), pid);
    Ok(())
}

/// A standby is asked for nothing that writes.
pub(crate) fn a_deep_monitor_of_a_standby_looks_at_replay() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    deep(&agent, 20).gives("monitor", 0);
    deep(&agent, 20).gives("monitor", 0);
    // A query is in the way of replay.
    site.primary().sql("create table t(n int)")?;
    site.postgres()
        .sql("alter system set max_standby_streaming_delay = -1")?;
    site.postgres().sql("select pg_reload_conf()")?;
    let there = |sql: &'static str| {
        site.lab()
            .eventually(sql, SOON, |_| match site.postgres().sql(sql) {
                Ok(yes) if yes == "t" => Ok(()),
                other => Err(format!("{other:?}")),
            })
    };
    there("select to_regclass('t') is not null")?;
    let psql = site.lab().layout().program("psql");
    let query = "begin; select count(*) from t; select pg_sleep(600)";
    let argv = [
        "runuser", "-u", "postgres", "--", &psql, "-Xh", SOCKET, "-d", "postgres", "-c", query,
    ];
    let reader = site.host().spawn("reader", &argv)?;
    there("select exists (select from pg_locks where relation = 't'::regclass)")?;
    let pid = postmaster(&site);
    site.primary().sql("drop table t")?;
    there(
        "select exists (select from pg_stat_activity where backend_type = 'startup' and wait_event_type = 'Lock')",
    )?;
    deep(&agent, 10).gives("monitor", 0);
    deep(&agent, 10)
        .gives("monitor", 190)
        .says(&["replay stands at", "more to replay"]);
    agent.gives("monitor", 0);
    assert_eq!(postmaster(&site), pid);
    drop(reader);
    site.postgres().sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()",
    )?;
    there("select to_regclass('t') is null")?;
    deep(&agent, 10).gives("monitor", 0);
    Ok(())
}

/// A tablespace that is full is told, and the server serves on.
pub(crate) fn a_full_tablespace_is_told_and_fails_nobody() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    let agent = site.agent().param("pgdb", "postgres");
    agent.gives("start", 0);
    let pid = postmaster(&site);
    const PLACE: &str = "/var/lib/contract-space";
    site.sh(&format!(
        "mkdir -p {PLACE} && mount -t tmpfs -o size=1m,mode=700,uid=$(id -u postgres),gid=$(id -g postgres) tmpfs {PLACE}"
    ))?;
    let result = full(&site, &agent, PLACE, pid);
    site.postgres().sql("drop tablespace if exists small")?;
    site.sh(&format!("umount {PLACE}"))?;
    result
}

fn full(site: &Site, agent: &Agent<'_>, place: &str, pid: i32) -> Result<()> {
    site.postgres()
        .sql(&format!("create tablespace small location '{place}'"))?;
    let before = site.sh(&format!("find {DATA} {place} | sort"))?;
    deep(agent, 20).gives("monitor", 0);
    let after = site.sh(&format!("find {DATA} {place} | sort"))?;
    assert_eq!(before, after, "something is left");
    site.sh(&format!(
        "dd if=/dev/zero of={place}/filler bs=64k 2>/dev/null || :"
    ))?;
    // As often as it is so.
    for _ in 0..3 {
        deep(agent, 20)
            .gives("monitor", 190)
            .says(&["tablespace", place, "no room"]);
    }
    deep(agent, 10).gives("monitor", 0);
    agent.gives("monitor", 0);
    assert_eq!(postmaster(site), pid);
    site.sh(&format!("rm {place}/filler"))?;
    deep(agent, 20).gives("monitor", 0);
    // Not the server's to write in.
    site.sh(&format!("chmod 500 {place}"))?;
    deep(agent, 20)
        .gives("monitor", 190)
        .says(&["tablespace", place, "denied"]);
    site.sh(&format!("chmod 700 {place}"))?;
    // As after an error of the disk.
    site.sh(&format!("mount -o remount,ro {place}"))?;
    deep(agent, 20)
        .gives("monitor", 1)
        .says(&["tablespace", place, "the storage is broken"]);
    site.sh(&format!("mount -o remount,rw {place}"))?;
    deep(agent, 20).gives("monitor", 0);
    Ok(())
}

/// A file system that is frozen answers no write, as one whose disks are gone. The agent itself is not what waits.
pub(crate) fn storage_that_gives_no_answer_fails_the_server_the_second_time() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    let agent = site
        .agent()
        .param("pgdb", "postgres")
        .param("query_timeout", "2");
    agent.gives("start", 0);
    const PLACE: &str = "/var/lib/contract-disk";
    site.sh(&format!(
        "truncate -s 16M {PLACE}.img && mkfs.ext4 -q {PLACE}.img && mkdir -p {PLACE} && mount -o loop {PLACE}.img {PLACE} && \
         chown postgres: {PLACE} && rmdir {PLACE}/lost+found"
    ))?;
    let result = frozen(&site, &agent, PLACE);
    site.sh(&format!("fsfreeze -u {PLACE} 2>/dev/null || :"))?;
    site.postgres().sql("drop tablespace if exists disk")?;
    site.sh(&format!("umount {PLACE}; rm -f {PLACE}.img"))?;
    result
}

fn frozen(site: &Site, agent: &Agent<'_>, place: &str) -> Result<()> {
    site.postgres()
        .sql(&format!("create tablespace disk location '{place}'"))?;
    deep(agent, 20).gives("monitor", 0);
    site.sh(&format!("fsfreeze -f {place}"))?;
    let pid = postmaster(site);
    // Once may be a checkpoint on a slow disk.
    deep(agent, 20)
        .gives("monitor", 190)
        .says(&["tablespace", place, "gives no answer"]);
    // What does not look there is content.
    agent.gives("monitor", 0);
    deep(agent, 20)
        .gives("monitor", 1)
        .says(&["tablespace", place, "as before"]);
    assert_eq!(postmaster(site), pid, "a monitor ends no server");
    site.sh(&format!("fsfreeze -u {place}"))?;
    deep(agent, 20).gives("monitor", 0);
    // A later silence is the first again.
    site.sh(&format!("fsfreeze -f {place}"))?;
    deep(agent, 20).gives("monitor", 190);
    site.sh(&format!("fsfreeze -u {place}"))?;
    Ok(())
}

/// The WAL that no archive takes is kept until the disk is full: people are told long before that.
pub(crate) fn an_archive_that_takes_nothing_is_told_long_before_the_disk_is_full() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    site.configure("archive_mode = on\narchive_command = 'exit 1'")?;
    let agent = site.agent().param("pgdb", "postgres");
    agent.gives("start", 0);
    let pid = postmaster(&site);
    site.postgres()
        .sql("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")?;
    let there = |sql: &'static str| {
        site.lab()
            .eventually(sql, SOON, |_| match site.postgres().sql(sql) {
                Ok(yes) if yes == "t" => Ok(()),
                other => Err(format!("{other:?}")),
            })
    };
    there("select failed_count > 0 from pg_stat_archiver")?;
    let file = site
        .postgres()
        .sql("select last_failed_wal from pg_stat_archiver")?;
    // It failed just now: the next attempt may succeed.
    deep(&agent, 20).gives("monitor", 0);
    site.sh(&format!(
        "touch -d '20 minutes ago' {DATA}/pg_wal/archive_status/{file}.ready"
    ))?;
    for level in [10, 20] {
        deep(&agent, level)
            .gives("monitor", 190)
            .says(&[&file, "can't be archived", "20 minutes"]);
    }
    // The plain one asks for none of that.
    agent.gives("monitor", 0);
    assert_eq!(postmaster(&site), pid);
    site.postgres()
        .sql("alter system set archive_command = 'true'")?;
    site.postgres().sql("select pg_reload_conf()")?;
    // It would try again only after a minute.
    site.postgres()
        .sql("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")?;
    there("select last_archived_time > last_failed_time from pg_stat_archiver")?;
    deep(&agent, 20).gives("monitor", 0);
    Ok(())
}

/// What another C library or ICU sorts in another order, an index of before does not find: a standby as well has it from its primary.
pub(crate) fn a_database_of_another_sort_order_is_told() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    let column = "select count(*) from pg_attribute where attrelid = 'pg_database'::regclass and attname = 'datcollversion'";
    let has_versions = site.primary().sql(column)? == "1";
    deep(&agent, 10).gives("monitor", 0);
    if !has_versions {
        return Ok(());
    }
    site.primary()
        .sql("create database \"Sorted\" template template0 lc_collate 'C.UTF-8' lc_ctype 'C.UTF-8' encoding 'UTF8'")?;
    let recorded = |version: &str| -> Result<()> {
        let set =
            format!("update pg_database set datcollversion = {version} where datname = 'Sorted'");
        site.primary().sql(&set)?;
        let query = format!(
            "select datcollversion is not distinct from {version} from pg_database where datname = 'Sorted'"
        );
        site.lab().eventually("it is replayed", SOON, |_| {
            match site.postgres().sql(&query) {
                Ok(yes) if yes == "t" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    recorded("'1'")?;
    let pid = postmaster(&site);
    deep(&agent, 10)
        .gives("monitor", 190)
        .says(&["database Sorted:", "by version 1,", "REINDEX"]);
    agent.gives("monitor", 0);
    assert_eq!(postmaster(&site), pid);
    // None is recorded: of such a database PostgreSQL itself says nothing either.
    recorded("null")?;
    deep(&agent, 10).gives("monitor", 0);
    Ok(())
}

/// A demoted primary keeps the slots of its subscribers: from 17 on they end the synchronisation of slots to it, and by its feedback they keep the
/// primary's catalogs from being cleaned. The slot's file is what such a server has; here it is brought over from the primary.
pub(crate) fn a_subscribers_slot_that_is_left_on_a_standby_is_told() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("wal_level = logical")?;
    let line = format!("echo 'wal_level = logical' >>{CONFIG}");
    site.elsewhere().sh(&line)?.ok()?;
    site.primary().start()?;
    let synchronises = version(&site.primary())? >= 17;
    let more = if synchronises {
        ", false, false, true"
    } else {
        ""
    };
    site.primary().sql(&format!(
        "select pg_create_logical_replication_slot('sub', 'pgoutput'{more})"
    ))?;
    let slot = format!("{DATA}/pg_replslot/sub");
    let state = site.elsewhere().sh(&format!("base64 -w 0 {slot}/state"))?;
    site.sh(&format!(
        "mkdir -m 700 {slot} && echo {} | base64 -d >{slot}/state && chmod 600 {slot}/state && chown -R postgres: {slot}",
        state.ok()?.trim()
    ))?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    let feedback = |value: &str| -> Result<()> {
        let set = format!("alter system set hot_standby_feedback = {value}");
        site.postgres().sql(&set)?;
        site.postgres().sql("select pg_reload_conf()")?;
        site.lab().eventually("it is in force", SOON, |_| {
            match site.postgres().sql("show hot_standby_feedback") {
                Ok(now) if now == value => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    let monitor = agent.clone().var("OCF_RESKEY_crm_feature_set", "3.19.0");
    let drop = "SELECT pg_drop_replication_slot('sub')";
    if synchronises {
        monitor
            .gives("monitor", 190)
            .says(&["failover slot sub", "no slot is synchronised", drop]);
    } else {
        feedback("off")?;
        monitor.gives("monitor", 0);
        // For how long nobody has used it such a server does not say.
        feedback("on")?;
        monitor.gives("monitor", 0);
    }
    assert_eq!(
        site.postgres()
            .sql("select count(*) from pg_replication_slots")?,
        "1",
        "it is not the agent's to drop"
    );
    site.postgres().sql(drop)?;
    monitor.gives("monitor", 0);
    Ok(())
}

fn version(postgres: &lab::Postgres<'_>) -> Result<u32> {
    let text = postgres.sql("select current_setting('server_version_num')::int / 10000")?;
    Ok(text.parse().expect("a number"))
}

/// Who names the cluster's slots in `synchronized_standby_slots`, as the manual says, names none after the next promotion.
pub(crate) fn a_slot_that_decoding_waits_for_in_vain_is_told() -> Result<()> {
    let site = Site::fresh()?;
    forget(&site)?;
    let agent = site.agent().param("pgdb", "postgres");
    agent.gives("start", 0);
    // Before there is no such setting, and the query has no such part.
    deep(&agent, 10).gives("monitor", 0);
    if version(&site.postgres())? < 17 {
        return Ok(());
    }
    for sql in [
        "select pg_create_physical_replication_slot('ticket', true)",
        "alter system set synchronized_standby_slots = 'ticket'",
        "select pg_reload_conf()",
    ] {
        site.postgres().sql(sql)?;
    }
    let there = |sql: &'static str| {
        site.lab()
            .eventually(sql, SOON, |_| match site.postgres().sql(sql) {
                Ok(yes) if yes == "t" => Ok(()),
                other => Err(format!("{other:?}")),
            })
    };
    there("select current_setting('synchronized_standby_slots') = 'ticket'")?;
    deep(&agent, 10)
        .gives("monitor", 190)
        .says(&["synchronized_standby_slots", "ticket is not in use"]);
    agent.gives("monitor", 0);
    let program = site.lab().layout().program("pg_receivewal");
    let argv = [
        "runuser", "-u", "postgres", "--", &program, "-h", SOCKET, "-S", "ticket", "-D", TMPDIR,
    ];
    let receiver = site.host().spawn("receiver", &argv)?;
    there("select active from pg_replication_slots")?;
    deep(&agent, 10).gives("monitor", 0);
    drop(receiver);
    site.postgres().sql(
        "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'pg_receivewal'",
    )?;
    there("select not active from pg_replication_slots")?;
    site.postgres()
        .sql("select pg_drop_replication_slot('ticket')")?;
    deep(&agent, 10)
        .gives("monitor", 190)
        .says(&["synchronized_standby_slots", "ticket is not there"]);
    Ok(())
}
