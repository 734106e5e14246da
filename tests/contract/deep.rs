//! The deep monitor: a write, the storage, and what is held against a server and what is only told.

use lab::Result;

use crate::field::postmaster;
use crate::site::{Agent, DATA, SOCKET, SOON, Site};

/// The agent at this check level, called by a Pacemaker that knows degraded resources.
fn deep<'a>(agent: &Agent<'a>, level: u32) -> Agent<'a> {
    agent
        .clone()
        .var("OCF_CHECK_LEVEL", &level.to_string())
        .var("OCF_RESKEY_crm_feature_set", "3.19.0")
}

fn forget(site: &Site) -> Result<()> {
    site.sh("rm -f /run/expgsql-pgsql.deep").map(drop)
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
