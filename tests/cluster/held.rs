//! WAL that a standby has, and would not replay: it is not promoted with that, everybody is told, and what can be mended is.

use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::comes_back::refused;
use super::commands::PROGRAM;
use super::machines::most_important_standby;
use super::stage::{GONE, LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// More, and less, than PostgreSQL's default of 100.
const RAISED: u32 = 150;
const LOWERED: u32 = 60;
/// What a restore of a backup has left behind.
const TARGET: &str = "recovery_target_time = '2099-01-01 00:00:00+00'";

pub(crate) fn a_standby_that_would_not_replay_all_it_has_is_no_successor() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "a recovery target: refused, with file and line",
        Allowed::nothing().restarts(1).failing(
            Whose::Anybodys,
            "start",
            "remove recovery_target_time",
            1,
        ),
        recovery_target,
    )?;
    stage.step(
        "replay is paused, and the primary's machine is lost",
        Allowed::failover(),
        paused,
    )?;
    stage.step(
        "max_connections is raised on the primary first",
        Allowed::nothing()
            .restarts(4)
            .failing(Whose::Anybodys, "monitor", GONE, 1)
            .failing(Whose::Anybodys, "monitor", "replay waits for a restart", 2),
        raised,
    )?;
    stage.step(
        "max_connections is lowered, and all are stopped and started",
        Allowed::nothing().restarts(4).waiting(),
        lowered,
    )
}

fn recovery_target(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = most_important_standby(stage)?;
    let config = lab.layout().config.display().to_string();
    lab.set_standby_mode(node, true)?;
    is_down(lab, node)?;
    let before = node.read_file(&config)? + "\n";
    let text = format!("{before}{TARGET}\n");
    let line = text.lines().count();
    node.write_file(&config, text.as_str(), "postgres:postgres", "600")?;
    lab.set_standby_mode(node, false)?;
    let reason = refused(stage, node)?;
    let place = format!("remove recovery_target_time from {config} line {line}");
    expect(reason.contains(&place), || {
        format!("the refusal does not say {place:?}: {reason}")
    })?;
    stage.writes_go_on()?;
    node.write_file(&config, before.as_str(), "postgres:postgres", "600")?;
    lab.clean_up(node)?;
    stage.forgive(node)
}

fn is_down(lab: &Cluster, node: &Node) -> Result<()> {
    let what = format!("the server on {} is stopped", node.name());
    lab.eventually(&what, LIMIT, |lab| {
        let answer = lab.postgres(node).is_writable();
        match answer {
            None => Ok(()),
            Some(_) => Err(format!("{answer:?}")),
        }
    })
}

fn paused(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, node) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|other| other.name() != node.name());
    let other = other.ok_or_else(|| wrong("there is no second standby"))?;
    lab.postgres(node).sql("select pg_wal_replay_pause()")?;
    lab.eventually("commits wait for the other one", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let told = status.attribute(node.name(), "pgsql-replay") == Some("paused");
        let data = status.attribute(other.name(), "pgsql-data-status");
        if told && data == Some("STREAMING|SYNC") {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    let why = old.run(&[PROGRAM, "cluster", "why"])?.text();
    let is_said = why.contains(&format!("{} takes over", other.name()))
        && why.contains("its replay is paused")
        && why.contains("pg_wal_replay_resume");
    expect(is_said, || format!("cluster why says\n{why}"))?;
    let status = old.run(&[PROGRAM, "cluster", "status"])?.text();
    expect(status.contains("its replay is paused"), || {
        format!("cluster status says\n{status}")
    })?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    expect(new.name() == other.name(), || {
        format!("{} was promoted, and its replay was paused", new.name())
    })?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    // Without a primary the node may be needed: there replay goes on.
    replays(lab, node)?;
    stage.recovers()
}

fn replays(lab: &Cluster, node: &Node) -> Result<()> {
    let what = format!("{} replays", node.name());
    lab.eventually(&what, LIMIT, |lab| {
        let sql = "select pg_is_wal_replay_paused()";
        match lab.postgres(node).sql(sql) {
            Ok(answer) if answer == "f" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// The standbys meet WAL that needs more than they were started with: they pause, and are restarted with what it needs.
fn raised(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let postgres = lab.postgres(primary);
    postgres.sql(&format!("alter system set max_connections = {RAISED}"))?;
    lab.kill_postmaster(primary)?;
    lab.eventually("all servers have as many", LIMIT, |lab| {
        let primary = lab.primary().map_err(|error| error.to_string())?;
        let mut all = vec![connections(lab, primary)?];
        for node in lab.standbys().map_err(|error| error.to_string())? {
            all.push(connections(lab, node)?);
        }
        if all == [RAISED; 3] {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })?;
    for node in lab.standbys()? {
        replays(lab, node)?;
    }
    stage.writes_go_on()?;
    stage.forgive(primary)
}

fn connections(lab: &Cluster, node: &Node) -> std::result::Result<u32, String> {
    let answer = lab.postgres(node).sql("show max_connections");
    let answer = answer.map_err(|error| error.to_string())?;
    answer.parse().map_err(|_| format!("{answer:?}"))
}

fn lowered(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let config = lab.layout().config.display().to_string();
    let primary = lab.primary()?;
    lab.postgres(primary)
        .sql("alter system reset max_connections")?;
    for node in lab.nodes() {
        let text = node.read_file(&config)?;
        let text = format!("{text}\nmax_connections = {LOWERED}\n");
        node.write_file(&config, text.as_str(), "postgres:postgres", "600")?;
    }
    operate(primary, &["stop", "--yes"])?;
    operate(primary, &["start"])?;
    lab.wait_healthy(LIMIT)?;
    let primary = lab.primary()?;
    let now = connections(lab, primary).map_err(wrong)?;
    expect(now == LOWERED, || {
        format!("the primary has max_connections={now}")
    })
}

fn operate(node: &Node, words: &[&str]) -> Result<()> {
    let argv = [&[PROGRAM, "cluster"], words].concat();
    node.command(&argv)?.limit(LIMIT).ok().map(drop)
}
