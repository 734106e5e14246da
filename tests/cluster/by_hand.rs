//! A standby that somebody promotes by hand, past the cluster: the rightful primary goes on, and the node comes back.

use std::time::Duration;

use lab::postgres::TMPDIR;
use lab::{Allowed, Node, RepMode, Result, Whose};

use super::comes_back::{named_command, obey, refused, repaired, repairs};
use super::machines::most_important_standby;
use super::stage::{GONE, LIMIT, NEWER, ON_DIVERGENCE, Stage, expect, positions, wrong};

/// What the monitor says of a server that a person promoted.
const NOT_BY_THE_CLUSTER: &str = "this server was promoted, and not by the cluster";

/// The promotion by hand itself; its node takes writes until its next monitor, and is a standby again after that.
fn by_hand(says: &'static str) -> Allowed {
    Allowed::failover()
        .failing(Whose::Deposed, "monitor", says, 1)
        // The next monitor comes before Pacemaker has done anything about the first.
        .failing(Whose::Deposed, "monitor", GONE, 1)
        .both_writable(UNTIL_ITS_MONITOR)
}

/// Several times the monitor's interval.
const UNTIL_ITS_MONITOR: Duration = Duration::from_secs(15);

pub(crate) fn a_server_promoted_by_hand_never_takes_the_cluster_over() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "promoted by hand, on a node that never was a primary",
        by_hand(NOT_BY_THE_CLUSTER),
        |stage| {
            let (primary, next) = (stage.lab.primary()?, most_important_standby(stage)?);
            let standbys = stage.lab.standbys()?;
            let other = standbys.iter().find(|node| node.name() != next.name());
            let other = other.ok_or_else(|| wrong("there is no second standby"))?;
            comes_back(stage, primary, other)
        },
    )?;
    stage.step(
        "promoted by hand, on the one that commits wait for",
        by_hand(NOT_BY_THE_CLUSTER),
        |stage| {
            let (primary, next) = (stage.lab.primary()?, most_important_standby(stage)?);
            // What its agent knew of itself is lost, too.
            let notes = format!("{TMPDIR}/expgsql.state");
            next.run(&["rm", "-f", &notes])?.ok()?;
            comes_back(stage, primary, next)
        },
    )?;
    stage.step(
        "the record is gone: whom Pacemaker promoted writes it",
        Allowed::nothing(),
        |stage| {
            let delete = [
                "crm_attribute",
                "--type=crm_config",
                "--name=pgsql_REPL_INFO",
            ];
            let primary = stage.lab.primary()?;
            let told = primary.run(&[&delete[..], &["--delete"]].concat())?;
            told.ok().map(drop)
        },
    )?;
    stage.step(
        "promoted by hand, on one that was a primary: refused",
        by_hand(NEWER).promotions(2),
        is_refused,
    )
}

/// Promotes a standby's server as a person would who forgets that there is a cluster, and writes to it.
fn promote_by_hand(stage: &Stage, node: &Node) -> Result<()> {
    let lab = &stage.lab;
    let postgres = lab.postgres(node);
    let data = lab.layout().data.display().to_string();
    postgres
        .program("pg_ctl", &["-D", &data, "promote"])?
        .ok()?;
    println!("         {} was promoted by hand", node.name());
    // The agent may have stopped it by now.
    let _ = postgres.sql("set synchronous_commit = local; create table by_hand(n int)");
    Ok(())
}

/// The server that people use is the same one all the time; the other one is repaired by itself.
fn comes_back(stage: &Stage, primary: &Node, standby: &Node) -> Result<()> {
    let lab = &stage.lab;
    let postmaster = lab.postgres(primary).postmaster();
    let timeline = stage.timeline(primary)?;
    let before = repairs(standby, "rewind")?;
    promote_by_hand(stage, standby)?;
    lab.eventually("it is a standby again", LIMIT, |lab| {
        let streams = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
        let answer = lab.postgres(standby).sql(streams);
        match answer.map_err(|error| error.to_string())?.as_str() {
            "1" => Ok(()),
            other => Err(format!("{other} streams")),
        }
    })?;
    // It streams a moment before the repair says that it is over.
    lab.eventually("it was rewound", LIMIT, |_| {
        repaired(standby, "rewind", before).map_err(|error| error.to_string())
    })?;
    is_undone(stage, standby)?;
    let now = lab.postgres(primary).postmaster();
    expect(postmaster.is_some() && now == postmaster, || {
        format!(
            "the primary was {postmaster:?} on {}, now {now:?}",
            primary.name()
        )
    })?;
    let timeline_now = stage.timeline(primary)?;
    expect(timeline == timeline_now, || {
        format!("timeline {timeline} became {timeline_now}")
    })
}

fn is_undone(stage: &Stage, node: &Node) -> Result<()> {
    let there = "select count(*) from pg_class where relname = 'by_hand'";
    let count = stage.lab.postgres(node).sql(there)?;
    expect(count == "0", || {
        format!("{} has what was written by hand", node.name())
    })
}

fn is_refused(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let new = lab.switchover(LIMIT)?;
    lab.wait_healthy(LIMIT)?;
    lab.set_parameter(ON_DIVERGENCE, "stop")?;
    promote_by_hand(stage, old)?;
    let reason = refused(stage, old)?;
    expect(positions(&reason) >= 2, || {
        format!("the refusal does not say both positions: {reason}")
    })?;
    obey(old, &named_command(&reason, "cluster rewind")?)?;
    lab.wait_healthy(LIMIT)?;
    is_undone(stage, old)?;
    let now = lab.primary()?;
    expect(now.name() == new.name(), || {
        format!("the primary moved to {}", now.name())
    })
}
