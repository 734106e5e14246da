//! What stands around a cluster: an archive whose machine is away, load balancers that ask each node, and standbys outside that follow a
//! member, or the primary's address.

use lab::network::WRITER_ADDRESS;
use lab::postgres::REPLICATION_USER;
use lab::{Allowed, Cluster, Node, RepMode, Result, Site};

use super::machines::most_important_standby;
use super::stage::{LIMIT, Stage, wrong};

const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// A standby outside.
#[derive(Clone, Copy)]
struct Outside {
    dir: &'static str,
    port: &'static str,
}

/// It follows a member, by a slot there.
const OF_MEMBER: Outside = Outside {
    dir: "/var/tmp/outside",
    port: "5499",
};

/// It follows the primary's address, by a slot that goes along.
const OF_PRIMARY: Outside = Outside {
    dir: "/var/tmp/reports",
    port: "5498",
};

/// That slot.
const SLOT: &str = "reports";

/// As scp ends where the other machine is down.
const NO_HOST: &str = "exit 255";

pub(crate) fn archives_balancers_and_a_standby_outside_see_a_failover_through() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            // The standby outside has no password.
            .site(Site::Plain)
            .param("restore_command", NO_HOST)
            .param("external_slot_list", SLOT)
    })?;
    stage.step(
        "each node tells a load balancer what it is",
        Allowed::nothing(),
        |stage| told(&stage.lab),
    )?;
    stage.step(
        "a standby outside follows one of the cluster",
        Allowed::nothing().copies(1),
        |stage| {
            let member = most_important_standby(stage)?.address();
            follow(stage, OF_MEMBER, member, "-C -S outside")?;
            arrives(stage, OF_MEMBER, "before_the_failover")
        },
    )?;
    stage.step(
        "another follows the primary's address, by a slot that each node has",
        Allowed::nothing().copies(1),
        |stage| {
            each_has_the_slot(&stage.lab)?;
            follow(stage, OF_PRIMARY, WRITER_ADDRESS, &format!("-S {SLOT}"))?;
            arrives(stage, OF_PRIMARY, "by_the_address")
        },
    )?;
    stage.step(
        "status shows it, with what it has not replayed",
        Allowed::nothing(),
        shown,
    )?;
    stage.step(
        "the primary's machine loses power: all of them go on",
        Allowed::failover(),
        lost,
    )
}

/// Whether a node serves this role, up to date, as an account without rights at the cluster sees it.
fn serves(node: &Node, role: &str) -> std::result::Result<bool, String> {
    let argv = [
        PROGRAM,
        "check",
        "--role",
        role,
        "--max-lag",
        "16MB",
        "--max-lag-time",
        "30",
        "--timeout",
        "10",
    ];
    let output = node
        .as_user("postgres", &argv)
        .and_then(lab::Cmd::run)
        .map_err(|error| error.to_string())?;
    match output.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(format!("{}: {}", node.name(), output.text())),
    }
}

/// The primary, and nobody else, serves writes; all others serve reads.
fn told(lab: &Cluster) -> Result<()> {
    lab.eventually("each node says its role", LIMIT, |lab| {
        let primary = lab.primary().map_err(|error| error.to_string())?;
        for node in lab.nodes().iter().filter(|node| node.is_on()) {
            let is_primary = node.name() == primary.name();
            for (role, expected) in [("primary", is_primary), ("standby", !is_primary)] {
                if serves(node, role)? != expected {
                    return Err(format!("{} as {role}: {}", node.name(), !expected));
                }
            }
        }
        Ok(())
    })
}

/// A copy of what answers at the address, that streams from there by a slot.
fn follow(stage: &Stage, outside: Outside, address: &str, slot: &str) -> Result<()> {
    let lab = &stage.lab;
    let Outside { dir, port } = outside;
    let (copy, ctl) = (
        lab.layout().program("pg_basebackup"),
        lab.layout().program("pg_ctl"),
    );
    let line = format!(
        "{copy} -h {address} -U {REPLICATION_USER} -D {dir} -X stream -c fast -R {slot} && \
         {ctl} -D {dir} -w -t 60 -l {dir}.log -o '-p {port} -k /tmp -h \"\"' start"
    );
    let client = lab.client();
    client
        .as_user("postgres", &["sh", "-c", &line])?
        .ok()
        .inspect_err(|_| eprintln!("{}", client.tail(&format!("{dir}.log"), 20)))
        .map(drop)
}

/// The primary made it, and each standby.
fn each_has_the_slot(lab: &Cluster) -> Result<()> {
    let query =
        format!("select count(restart_lsn) from pg_replication_slots where slot_name = '{SLOT}'");
    lab.eventually("each node has the slot", LIMIT, |lab| {
        for node in lab.nodes().iter().filter(|node| node.is_on()) {
            let found = lab.postgres(node).sql(&query);
            if found.as_ref().ok().map(String::as_str) != Some("1") {
                return Err(format!("{}: {found:?}", node.name()));
            }
        }
        Ok(())
    })
}

/// What is written on the primary comes to the standby outside.
fn arrives(stage: &Stage, outside: Outside, table: &str) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    lab.postgres(primary)
        .sql(&format!("create table {table}()"))?;
    let psql = lab.layout().program("psql");
    let query = format!("select to_regclass('{table}') is not null");
    let argv = [
        &psql,
        "-h",
        "/tmp",
        "-p",
        outside.port,
        "-d",
        "postgres",
        "-XAtc",
        &query,
    ];
    let client = lab.client();
    lab.eventually(&format!("{table} arrives outside"), LIMIT, |_| {
        let answer = client.as_user("postgres", &argv).and_then(lab::Cmd::ok);
        match answer {
            Ok(answer) if answer == "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .inspect_err(|_| eprintln!("{}", client.tail(&format!("{}.log", outside.dir), 20)))
}

/// Its replay is held up by hand; every node says so, and who streams from a standby is that one's to know.
fn shown(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    by_hand(lab, OF_PRIMARY, "select pg_wal_replay_pause()")?;
    let primary = lab.primary()?;
    let write = "create table much as select repeat('x', 1000) from generate_series(1, 5000)";
    lab.postgres(primary).sql(write)?;
    for node in lab.nodes() {
        says(lab, node, "every node shows it", |line| {
            line.starts_with("outside ")
                && line.contains(" streams: lag ")
                && line.contains("MB")
                && line.ends_with(&format!("; slot {SLOT}"))
        })?;
    }
    by_hand(lab, OF_PRIMARY, "select pg_wal_replay_resume()")
}

fn by_hand(lab: &Cluster, outside: Outside, statement: &str) -> Result<()> {
    let psql = lab.layout().program("psql");
    let argv = [
        &psql,
        "-h",
        "/tmp",
        "-p",
        outside.port,
        "-d",
        "postgres",
        "-XAtc",
        statement,
    ];
    let client = lab.client();
    client.as_user("postgres", &argv)?.ok().map(drop)
}

/// Waits until a line of `cluster status` on a node is so.
fn says(lab: &Cluster, node: &Node, what: &str, is_so: impl Fn(&str) -> bool) -> Result<()> {
    lab.eventually(what, LIMIT, |_| {
        let output = node.run(&[PROGRAM, "cluster", "status"]);
        let text = output.map_err(|error| error.to_string())?.text();
        if text.lines().any(&is_so) {
            Ok(())
        } else {
            Err(text)
        }
    })
}

fn lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    stage.writes_go_on()?;
    told(lab)?;
    let ctl = lab.layout().program("pg_ctl");
    for (outside, table) in [(OF_MEMBER, "of_a_member"), (OF_PRIMARY, "of_the_primary")] {
        arrives(stage, outside, table)?;
        let stop = [&ctl, "-D", outside.dir, "-m", "fast", "-w", "stop"];
        lab.client().as_user("postgres", &stop)?.ok()?;
    }
    says(lab, new, "its slot waits for it", |line| {
        line.contains(&format!("{SLOT} (physical) keeps "))
    })?;
    stage.recovers()?;
    lab.power_on(old)?;
    stage.recovers()?;
    told(lab)?;
    // The lost machine had one from its time as the primary.
    each_has_the_slot(lab)?;
    if lab.primary()?.name() == new.name() {
        Ok(())
    } else {
        Err(wrong("the primary went back"))
    }
}
