//! Standbys that take their WAL from an archive, that archive themselves, and that feed others.
//!
//! The primary, which no cluster manages, runs on the same host, at another port: so that both see the archive.

use lab::Result;

use crate::site::{Agent, CONFIG, DATA, SOCKET, SOON, Site};

const USER: &str = lab::postgres::REPLICATION_USER;

const PRIMARY: &str = "/var/lib/pgsql/primary";
const PORT: u16 = 5433;
const ARCHIVE: &str = "/var/lib/contract/archive";
const RESTORE: &str = "cp /var/lib/contract/archive/%f %p";

/// A primary at [`PORT`] that archives, and a copy of it in [`DATA`].
fn archiving() -> Result<Site> {
    let site = Site::fresh()?;
    site.sh(&format!(
        "mkdir -p {ARCHIVE} && chown -R postgres /var/lib/contract && cp -a {DATA} {PRIMARY} && \
         echo \"port = {PORT}\narchive_mode = on\narchive_command = 'cp %p {ARCHIVE}/%f'\nwal_keep_size = 0\nmin_wal_size = 32MB\" >>{PRIMARY}/postgresql.conf"
    ))?;
    start_primary(&site)?;
    Ok(site)
}

fn start_primary(site: &Site) -> Result<()> {
    let options = [
        "-D",
        PRIMARY,
        "-w",
        "-l",
        "/var/log/postgresql/primary.log",
        "start",
    ];
    site.postgres().program("pg_ctl", &options)?.ok().map(drop)
}

fn stop_primary(site: &Site) -> Result<()> {
    let options = ["-D", PRIMARY, "-w", "-m", "fast", "stop"];
    site.postgres().program("pg_ctl", &options)?.ok().map(drop)
}

fn primary(site: &Site, sql: &str) -> Result<String> {
    site.postgres().psql(SOCKET, PORT, sql)
}

/// Writes something of that name, and ends the segment that it is in.
fn write(site: &Site, table: &str) -> Result<()> {
    primary(site, &format!("create table {table}()"))?;
    primary(site, "select pg_switch_wal()").map(drop)
}

/// Waits for it at the standby.
fn arrives(site: &Site, table: &str) -> Result<()> {
    let query = format!("select to_regclass('{table}') is not null");
    eventually(site, &format!("{table} arrives"), &query, "t")
}

fn eventually(site: &Site, what: &str, query: &str, expected: &str) -> Result<()> {
    site.lab()
        .eventually(what, SOON, |_| match site.postgres().sql(query) {
            Ok(answer) if answer == expected => Ok(()),
            other => Err(format!("{other:?}")),
        })
}

/// A resource that has an archive and no primary's address.
fn from_the_archive(site: &Site) -> Agent<'_> {
    site.agent()
        .param("rep_mode", "slave")
        .param("restore_command", RESTORE)
}

pub(crate) fn an_archive_alone_feeds_a_standby() -> Result<()> {
    let site = archiving()?;
    let agent = from_the_archive(&site)
        .param(
            "archive_cleanup_command",
            "pg_archivecleanup /var/lib/contract/archive %r",
        )
        .param("recovery_end_command", "touch /var/lib/contract/ended");
    write(&site, "first")?;
    for round in ["one", "two"] {
        agent.gives("start", 0);
        agent.gives("start", 0);
        write(&site, round)?;
        arrives(&site, round)?;
        for action in ["monitor", "reload-agent", "monitor", "notify"] {
            agent.gives(action, 0);
        }
        agent.clone().once().gives("monitor", 0);
        assert_eq!(site.postgres().sql("show primary_conninfo")?, "");
        let receivers = "select count(*) from pg_stat_wal_receiver";
        assert_eq!(site.postgres().sql(receivers)?, "0");
        agent.gives("stop", 0);
        agent.gives("monitor", 7);
    }
    agent.gives("start", 0);
    // The archive and the primary are away: it is as well as it can be, and goes on with what comes.
    stop_primary(&site)?;
    site.sh(&format!("mv {ARCHIVE} {ARCHIVE}.away"))?;
    agent.gives("monitor", 0);
    site.sh(&format!("mv {ARCHIVE}.away {ARCHIVE}"))?;
    start_primary(&site)?;
    write(&site, "later")?;
    arrives(&site, "later")?;
    // What no restart of it needs any more is removed from the archive.
    let segments = || site.sh(&format!("ls {ARCHIVE} | wc -l"));
    let before: u32 = segments()?.parse().unwrap_or_default();
    write(&site, "last")?;
    primary(&site, "checkpoint")?;
    write(&site, "behind_the_checkpoint")?;
    arrives(&site, "behind_the_checkpoint")?;
    site.postgres().sql("checkpoint")?;
    let after: u32 = segments()?.parse().unwrap_or(u32::MAX);
    assert!(after < before, "{before} segments, and then {after}");
    // The end of its recovery.
    site.postgres().sql("select pg_promote()")?;
    site.sh("test -e /var/lib/contract/ended")?;
    agent.gives("monitor", 1).says(&["promoted", "rebuild"]);
    agent.gives("stop", 0);
    stop_primary(&site)
}

/// What a standby of an archive alone has no use for, and one that has neither.
pub(crate) fn what_an_archive_alone_has_no_use_for_is_refused() -> Result<()> {
    let site = Site::fresh()?;
    let neither = site.agent().param("rep_mode", "slave");
    neither
        .gives("start", 6)
        .says(&["master_ip", "restore_command"]);
    for (name, value) in [
        ("replication_slot_name", "exp"),
        ("check_wal_receiver", "true"),
        ("primary_conninfo_opt", "keepalives_idle=60"),
    ] {
        let agent = from_the_archive(&site).param(name, value);
        agent.gives("start", 6).says(&["master_ip", name]);
        agent.gives("validate-all", 6).says(&[name]);
    }
    for mode in ["async", "sync"] {
        let agent = from_the_archive(&site).promotable().param("rep_mode", mode);
        agent.gives("start", 6).says(&["master_ip"]);
    }
    Ok(())
}

pub(crate) fn an_archive_has_what_the_stream_no_longer_has() -> Result<()> {
    let site = archiving()?;
    let agent = from_the_archive(&site)
        .param("master_ip", site.host().address())
        .param("repuser", lab::postgres::REPLICATION_USER)
        .param("primary_conninfo_opt", &format!("port={PORT}"));
    let streams = "select status from pg_stat_wal_receiver";
    agent.gives("start", 0);
    write(&site, "before")?;
    arrives(&site, "before")?;
    eventually(&site, "it streams", streams, "streaming")?;
    agent.gives("stop", 0);
    for number in 0..12 {
        write(&site, &format!("missed{number}"))?;
    }
    primary(&site, "checkpoint")?;
    let oldest = "select min(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'";
    let there = site.sh(&format!("ls {ARCHIVE} | sort | head -1"))?;
    assert!(
        primary(&site, oldest)? > there,
        "the primary has removed nothing"
    );
    agent.gives("start", 0);
    arrives(&site, "missed11")?;
    eventually(&site, "it streams again", streams, "streaming")?;
    agent.gives("monitor", 0);
    agent.gives("stop", 0);
    stop_primary(&site)
}

/// `archive_mode=always`: so that the archive has no gap when the primary and its archive are lost.
pub(crate) fn a_standby_archives_what_it_receives() -> Result<()> {
    let site = archiving()?;
    let own = "/var/lib/contract/own";
    site.sh(&format!("mkdir {own} && chown postgres {own}"))?;
    site.configure(&format!(
        "archive_mode = always\narchive_command = 'cp %p {own}/%f'"
    ))?;
    let agent = site
        .agent()
        .param("rep_mode", "slave")
        .param("master_ip", site.host().address())
        .param("repuser", lab::postgres::REPLICATION_USER)
        .param("primary_conninfo_opt", &format!("port={PORT}"));
    agent.gives("start", 0);
    write(&site, "archived")?;
    arrives(&site, "archived")?;
    let last = primary(&site, "select pg_walfile_name(pg_current_wal_lsn() - 1)")?;
    write(&site, "another")?;
    site.lab()
        .eventually("the segment is archived", SOON, |lab| {
            let node = &lab.nodes()[0];
            let found = node.run(&["test", "-s", &format!("{own}/{last}")]);
            found
                .map_err(|error| error.to_string())?
                .success()
                .then_some(())
                .ok_or_else(|| last.clone())
        })?;
    agent.gives("monitor", 0);
    agent.gives("stop", 0);
    stop_primary(&site)
}

/// A standby outside follows this one, with a slot of its own here, over a restart of the resource.
pub(crate) fn a_follower_feeds_another() -> Result<()> {
    let site = archiving()?;
    let agent = site
        .agent()
        .param("rep_mode", "slave")
        .param("master_ip", site.host().address())
        .param("repuser", lab::postgres::REPLICATION_USER)
        .param("primary_conninfo_opt", &format!("port={PORT}"));
    agent.gives("start", 0);
    site.postgres()
        .sql("select pg_create_physical_replication_slot('downstream', true)")?;
    let source = format!(
        "host={} user={} application_name=downstream",
        site.host().address(),
        lab::postgres::REPLICATION_USER
    );
    site.elsewhere().sh(&format!(
        "runuser -u postgres -- touch {DATA}/standby.signal && \
         echo \"primary_conninfo = '{source}'\nprimary_slot_name = 'downstream'\" >>{DATA}/postgresql.conf"
    ))?.ok()?;
    site.primary().start()?;
    let active = "select active from pg_replication_slots where slot_name = 'downstream'";
    for round in ["once", "again"] {
        eventually(&site, "the other one streams", active, "t")?;
        write(&site, round)?;
        let query = format!("select to_regclass('{round}') is not null");
        site.lab()
            .eventually("it arrives at the other one", SOON, |_| {
                match site.primary().sql(&query) {
                    Ok(answer) if answer == "t" => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })?;
        agent.gives("monitor", 0);
        agent.gives("stop", 0);
        agent.gives("start", 0);
    }
    agent.gives("stop", 0);
    stop_primary(&site)
}

/// In place of scp: copies from what stands for another host, and ends as ssh does where it finds none.
const SCP: &str = r#"#!/bin/sh
echo "$1" >>/var/lib/contract/asked
host=${1%%:*}
[ -d "/var/lib/contract/hosts/$host" ] || exit 255
cp "/var/lib/contract/hosts/$host${1#*:}" "$2" 2>/dev/null || exit 1
"#;

/// As a guide has it, and once for all nodes: each takes from the others.
const FROM_THE_OTHERS: &str = r#"for host in node1 node2; do if [ "$host" != "$(uname -n)" ] && /var/lib/contract/scp "$host:/archive/%f" "%p"; then exit 0; fi; done; exit 1"#;

fn asked(site: &Site) -> Result<u32> {
    let count = site.sh("cat /var/lib/contract/asked 2>/dev/null | wc -l")?;
    Ok(count.parse().unwrap_or_default())
}

/// scp ends with 255 where the other host is down, which PostgreSQL takes for the end of the standby. That is when it is needed.
pub(crate) fn a_copy_that_finds_no_host_ends_no_standby() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    site.sh("mkdir -p /var/lib/contract/hosts/node1/archive /var/lib/contract/hosts/node2/archive && chown -R postgres /var/lib/contract")?;
    site.host()
        .write_file("/var/lib/contract/scp", SCP, "postgres", "755")?;
    for command in [
        "/var/lib/contract/scp node2:/archive/%f %p",
        "exec /var/lib/contract/scp node2:/archive/%f %p # from the other node",
        FROM_THE_OTHERS,
    ] {
        let agent = site.follower().param("restore_command", command);
        agent.gives("start", 0);
        site.wait_streaming(lab::postgres::REPLICATION_USER)?;
        let pid = site.postgres().postmaster();
        site.sh("mv /var/lib/contract/hosts/node2 /var/lib/contract/hosts/away")?;
        site.primary().stop()?;
        let before = asked(&site)?;
        site.lab().eventually("it looks for WAL there", SOON, |_| {
            let now = asked(&site).map_err(|error| error.to_string())?;
            (now > before + 2)
                .then_some(())
                .ok_or_else(|| format!("{before}, {now}"))
        })?;
        agent.gives("monitor", 0);
        assert_eq!(site.postgres().postmaster(), pid, "{command}");
        // Nor does it keep one from starting.
        agent.gives("stop", 0);
        agent.gives("start", 0);
        agent.gives("monitor", 0);
        site.sh("mv /var/lib/contract/hosts/away /var/lib/contract/hosts/node2")?;
        site.primary().start()?;
        site.wait_streaming(lab::postgres::REPLICATION_USER)?;
        agent.gives("stop", 0);
    }
    Ok(())
}

/// A cluster that has seen many promotions, with another size of WAL files: their names are hexadecimal.
pub(crate) fn a_timeline_beyond_nine_and_small_wal_files_are_followed() -> Result<()> {
    let site = Site::fresh()?;
    let programs = site.agent().programs();
    let elsewhere = site.elsewhere();
    let made = format!(
        "mkdir /var/lib/pgsql/kept && cp -p {DATA}/*.conf /var/lib/pgsql/kept/ && rm -r {DATA} && cd / && \
         runuser -u postgres -- {programs}/initdb -D {DATA} --wal-segsize=1 -A trust && \
         runuser -u postgres -- {programs}/pg_resetwal -l 0000001A0000000A000000FE -D {DATA} && \
         printf '1\\t0/1000000\\tof long ago\\n' >{DATA}/pg_wal/0000001A.history && chown postgres {DATA}/pg_wal/*.history && \
         cp -p /var/lib/pgsql/kept/* {DATA}/ && sed -i '/_wal_size/d' {CONFIG}"
    );
    elsewhere.sh(&made)?.ok()?;
    site.primary().start()?;
    site.primary()
        .sql(&format!("create role {USER} replication login"))?;
    site.sh(&format!(
        "rm -r {DATA} && runuser -u postgres -- {programs}/pg_basebackup -D {DATA} -h {} -U postgres -c fast",
        elsewhere.address()
    ))?;
    let agent = site.follower().param("check_wal_receiver", "true");
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    agent.gives("monitor", 0);
    // The same from its own files, and in a promotion, by hand.
    agent.gives("stop", 0);
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    for _ in 0..8 {
        agent.gives("monitor", 0);
    }
    site.postgres()
        .program("pg_ctl", &["-D", DATA, "-w", "promote"])?
        .ok()?;
    agent.gives("monitor", 1).says(&["promoted"]);
    let file = site
        .postgres()
        .sql("select pg_walfile_name(pg_current_wal_lsn())")?;
    assert!(file.starts_with("0000001B0000000A"), "{file}");
    agent.gives("stop", 0);
    Ok(())
}
