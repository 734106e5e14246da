//! What stands around a cluster: an archive whose machine is away, load balancers that ask each node, and a standby outside that follows a
//! member.

use lab::postgres::REPLICATION_USER;
use lab::{Allowed, Cluster, Node, RepMode, Result, Site};

use super::machines::most_important_standby;
use super::stage::{LIMIT, Stage, wrong};

const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// The data directory of the standby outside.
const OUTSIDE: &str = "/var/tmp/outside";

/// As scp ends where the other machine is down.
const NO_HOST: &str = "exit 255";

pub(crate) fn archives_balancers_and_a_standby_outside_see_a_failover_through() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            // The standby outside has no password.
            .site(Site::Plain)
            .param("restore_command", NO_HOST)
    })?;
    stage.step(
        "each node tells a load balancer what it is",
        Allowed::nothing(),
        |stage| told(&stage.lab),
    )?;
    stage.step(
        "a standby outside follows one of the cluster",
        Allowed::nothing().copies(1),
        follow,
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

/// A copy of a member, with a slot there, that streams from it.
fn follow(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let member = most_important_standby(stage)?;
    let (copy, ctl) = (
        lab.layout().program("pg_basebackup"),
        lab.layout().program("pg_ctl"),
    );
    let line = format!(
        "{copy} -h {} -U {REPLICATION_USER} -D {OUTSIDE} -X stream -c fast -R -C -S outside && \
         {ctl} -D {OUTSIDE} -w -t 60 -l {OUTSIDE}.log -o '-p 5499 -k /tmp -h \"\"' start",
        member.address()
    );
    let client = lab.client();
    client
        .as_user("postgres", &["sh", "-c", &line])?
        .ok()
        .inspect_err(|_| eprintln!("{}", client.tail(&format!("{OUTSIDE}.log"), 20)))?;
    arrives(stage, "before_the_failover")
}

/// What is written on the primary comes to the standby outside.
fn arrives(stage: &Stage, table: &str) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    lab.postgres(primary)
        .sql(&format!("create table {table}()"))?;
    let psql = lab.layout().program("psql");
    let query = format!("select to_regclass('{table}') is not null");
    let argv = [
        &psql, "-h", "/tmp", "-p", "5499", "-d", "postgres", "-XAtc", &query,
    ];
    let client = lab.client();
    lab.eventually(&format!("{table} arrives outside"), LIMIT, |_| {
        let answer = client.as_user("postgres", &argv).and_then(lab::Cmd::ok);
        match answer {
            Ok(answer) if answer == "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .inspect_err(|_| eprintln!("{}", client.tail(&format!("{OUTSIDE}.log"), 20)))
}

fn lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    stage.writes_go_on()?;
    told(lab)?;
    arrives(stage, "after_the_failover")?;
    let ctl = lab.layout().program("pg_ctl");
    let stop = [&ctl, "-D", OUTSIDE, "-m", "fast", "-w", "stop"];
    lab.client().as_user("postgres", &stop)?.ok()?;
    stage.recovers()?;
    lab.power_on(old)?;
    stage.recovers()?;
    told(lab)?;
    if lab.primary()?.name() == new.name() {
        Ok(())
    } else {
        Err(wrong("the primary went back"))
    }
}
