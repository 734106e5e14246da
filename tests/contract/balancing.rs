//! HAProxy in front of a primary and a standby, with the files that are shipped for it.

use lab::{Node, Process, Result};

use crate::check::{USER, caught_up, pair};
use crate::site::{AGENT, SOCKET, SOON, Site};

pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";
/// What systemd has for trying a socket unit by hand.
const SOCKETS: &str = "/usr/bin/systemd-socket-activate";

const WRITES: u16 = 5000;
const READS: u16 = 5001;

fn shipped(name: &str) -> String {
    let path = format!("{}/balancing/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let found = unit.lines().find_map(|line| line.strip_prefix(key));
    found.unwrap_or_else(|| panic!("no {key} in {unit}"))
}

/// Listens as the socket unit would, and runs what its service runs, by an account without rights.
fn listen(node: &Node, name: &str) -> Result<Process> {
    let socket = shipped(&format!("{name}.socket"));
    let service = shipped(&format!("{name}@.service"));
    let port = value(&socket, "ListenStream=");
    let words = value(&service, "ExecStart=").split_whitespace().skip(1);
    let mut argv = vec![
        "runuser", "-u", "nobody", "--", SOCKETS, "--accept", "--inetd",
    ];
    argv.extend(["--listen", port, AGENT]);
    argv.extend(words);
    // The account is not made here.
    argv.extend(["--host", SOCKET, "--user", USER]);
    node.spawn(name, &argv)
}

/// What a client sees who connects to HAProxy: whether it is on a standby.
fn is_standby(site: &Site, port: u16) -> std::result::Result<bool, String> {
    let answer = site
        .postgres()
        .psql("127.0.0.1", port, "select pg_is_in_recovery()");
    match answer.as_deref() {
        Ok("t") => Ok(true),
        Ok("f") => Ok(false),
        other => Err(format!("{other:?}")),
    }
}

fn eventually(site: &Site, what: &str, port: u16, standby: bool) -> Result<()> {
    // In a row: HAProxy takes every server for one that serves until it has asked each.
    site.lab().eventually(what, SOON, |_| {
        (0..10).try_for_each(|_| {
            let found = is_standby(site, port)?;
            (found == standby)
                .then_some(())
                .ok_or_else(|| format!("on a standby: {found}"))
        })
    })
}

/// Not only this once.
#[track_caller]
fn always(site: &Site, port: u16, standby: bool) {
    for _ in 0..10 {
        assert_eq!(is_standby(site, port), Ok(standby), "{port}");
    }
}

pub(crate) fn haproxy_sends_writes_to_the_primary_and_reads_to_who_is_up_to_date() -> Result<()> {
    lab::install_also("haproxy", HAPROXY)?;
    let site = pair()?;
    let (standby, primary) = (site.host(), site.elsewhere());
    for program in [HAPROXY, SOCKETS] {
        if !standby.run(&["test", "-x", program])?.success() {
            return Err(lab::Error::LeftOut(format!("there is no {program}")));
        }
    }
    let mut sockets = Vec::new();
    for node in [standby, primary] {
        for unit in ["expgsql-check", "expgsql-agent"] {
            sockets.push(listen(node, unit)?);
        }
    }
    let config = shipped("haproxy.cfg")
        .replace("192.0.2.1", standby.address())
        .replace("192.0.2.2", primary.address())
        .lines()
        .filter(|line| !line.contains("192.0.2.3"))
        .fold(String::new(), |text, line| text + line + "\n");
    standby.write_file("/tmp/haproxy.cfg", config, "root", "644")?;
    let _haproxy = standby.spawn("haproxy", &[HAPROXY, "-db", "-f", "/tmp/haproxy.cfg"])?;
    eventually(&site, "writes go to the primary", WRITES, false)?;
    eventually(&site, "reads go to the standby", READS, true)?;
    always(&site, WRITES, false);
    always(&site, READS, true);
    who_lags_gets_no_more_and_keeps_what_it_has(&site)?;
    who_is_promoted_gets_the_writes(&site)
}

fn who_lags_gets_no_more_and_keeps_what_it_has(site: &Site) -> Result<()> {
    let psql = site.lab().layout().program("psql");
    let login =
        format!("host=127.0.0.1 port={READS} user=postgres dbname=postgres application_name=held");
    let _held = site
        .host()
        .spawn("held", &[&psql, &login, "-Xc", "select pg_sleep(600)"])?;
    let held = || {
        site.postgres()
            .sql("select count(*) from pg_stat_activity where application_name = 'held'")
    };
    site.lab()
        .eventually("a reader is connected", SOON, |_| match held() {
            Ok(count) if count == "1" => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    site.postgres().sql("select pg_wal_replay_pause()")?;
    // More than the 16 MB that are shipped as the limit.
    site.primary()
        .sql("create table much as select generate_series(1, 700000)")?;
    eventually(site, "reads go to the primary", READS, false)?;
    always(site, READS, false);
    always(site, WRITES, false);
    assert_eq!(held()?, "1", "who was connected stays");
    site.postgres().sql("select pg_wal_replay_resume()")?;
    caught_up(site)?;
    eventually(site, "reads are back on the standby", READS, true)?;
    always(site, READS, true);
    Ok(())
}

fn who_is_promoted_gets_the_writes(site: &Site) -> Result<()> {
    site.primary().stop()?;
    site.lab().eventually("nobody takes writes", SOON, |_| {
        match is_standby(site, WRITES) {
            Err(_) => Ok(()),
            Ok(standby) => Err(format!("a server does, standby: {standby}")),
        }
    })?;
    site.postgres().sql("select pg_promote()")?;
    eventually(site, "writes go to the new primary", WRITES, false)?;
    eventually(site, "reads, too, where no standby is left", READS, false)?;
    site.postgres().stop()
}

pub(crate) fn libpq_finds_each_role_by_itself() -> Result<()> {
    let site = pair()?;
    let psql = site.lab().layout().program("psql");
    let hosts = format!("{},{}", site.elsewhere().address(), site.host().address());
    let asked = |attrs: &str| {
        let login = format!(
            "host={hosts} user=postgres dbname=postgres connect_timeout=3 target_session_attrs={attrs}"
        );
        let argv = [&psql, &login, "-XAtc", "select pg_is_in_recovery()"];
        site.host().run(&argv)?.ok()
    };
    for (attrs, is_standby) in [
        ("read-write", "f"),
        ("primary", "f"),
        ("standby", "t"),
        ("read-only", "t"),
        ("prefer-standby", "t"),
    ] {
        assert_eq!(asked(attrs)?, is_standby, "{attrs}");
    }
    site.follower().gives("stop", 0);
    assert_eq!(asked("prefer-standby")?, "f");
    assert!(asked("standby").is_err());
    Ok(())
}
