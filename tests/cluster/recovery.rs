//! A server that was killed far behind its last checkpoint, and a start's timeout that is shorter than its recovery.
//!
//! Two nodes. Recovery is made slow in place of long: random writes to an index are replayed with hardly any buffers, which takes
//! as long as many gigabytes would on a machine that has memory. `EXPGSQL_RECOVERY_ROWS=8000000` writes gigabytes, and
//! leaves the buffers as they are.

use std::time::{Duration, Instant};

use lab::resources::RESOURCE;
use lab::status::Role;
use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::stage::{GONE, LIMIT, Stage, expect, refusals, wrong};

/// Of a start and of a promotion. The recovery takes longer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Rows that are written, in steps that each fit a statement's time.
const ROWS: u32 = 700_000;
const ROWS_VARIABLE: &str = "EXPGSQL_RECOVERY_ROWS";
const STEP: u32 = 25_000;

/// Limit of the waits for a recovery.
fn limit() -> Duration {
    if asked_for().is_some() {
        LIMIT * 10
    } else {
        LIMIT
    }
}

/// How many rows somebody asked for.
fn asked_for() -> Option<u32> {
    std::env::var(ROWS_VARIABLE).ok()?.parse().ok()
}

/// What a start says that does not wait for a recovery.
const LEFT_ALONE: &str = "the server replays its WAL";

pub(crate) fn a_recovery_longer_than_the_start_goes_on_to_its_end() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(2)
            .start_timeout(TIMEOUT)
            // No checkpoint shortens what is replayed.
            .setting("max_wal_size = 20GB")
            .setting("checkpoint_timeout = 1h")
    })?;
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standby = *lab
        .standbys()?
        .first()
        .ok_or_else(|| wrong("a story for two nodes"))?;
    stage.step(
        "much is written after the last checkpoint",
        Allowed::nothing(),
        |_| write(lab, primary),
    )?;
    stage.scene(
        "the standby is killed: it recovers, and streams",
        Allowed::nothing()
            .waiting()
            .restarts(1)
            .failing(Whose::Anybodys, "monitor", GONE, 1),
        |stage| {
            killed(stage, standby)?;
            lab.wait_healthy(limit())?;
            nothing_failed_but_the_monitor(stage, standby)?;
            stage.writes_go_on()
        },
    )?;
    stage.scene(
        "the primary is alone and is killed: it recovers, and is promoted",
        Allowed::nothing()
            .waiting()
            .promotions(1)
            .restarts(1)
            .failing(Whose::Anybodys, "monitor", GONE, 1),
        |stage| {
            lab.set_standby_mode(standby, true)?;
            stage.writes_go_on()?;
            killed(stage, primary)?;
            lab.eventually("it is the primary again", limit(), |lab| {
                let now = lab.primary().map_err(|error| error.to_string())?;
                match lab.postgres(now).is_writable() {
                    Some(true) if now.name() == primary.name() => Ok(()),
                    writable => Err(format!("{}, {writable:?}", now.name())),
                }
            })?;
            nothing_failed_but_the_monitor(stage, primary)?;
            stage.writes_go_on()
        },
    )?;
    stage.step(
        "the standby is back in service",
        Allowed::nothing().restarts(1),
        |stage| {
            lab.set_standby_mode(standby, false)?;
            stage.forgive(primary)?;
            // It replays what it has replayed before: there was no checkpoint since.
            lab.wait_healthy(limit())
        },
    )
}

fn write(lab: &Cluster, primary: &Node) -> Result<()> {
    let postgres = lab.postgres(primary);
    postgres.sql("create table big (a bigint, b bigint, c bigint, d bigint)")?;
    for column in ["a", "b", "c", "d"] {
        postgres.sql(&format!("create index on big ({column})"))?;
    }
    postgres.sql("checkpoint")?;
    for step in 0..asked_for().unwrap_or(ROWS) / STEP {
        let (from, to) = (step * STEP, (step + 1) * STEP);
        let hash = |seed: u8| format!("hashint8extended(i, {seed})");
        postgres.sql(&format!(
            "insert into big select {}, {}, {}, {} from generate_series({from}, {to}) i",
            hash(1),
            hash(2),
            hash(3),
            hash(4)
        ))?;
    }
    let wal = postgres.sql(
        "select pg_size_pretty(pg_current_wal_lsn() - redo_lsn) from pg_control_checkpoint()",
    )?;
    println!("         {wal} of WAL since the last checkpoint");
    Ok(())
}

/// Kills a server, and waits until it answers again. Meanwhile it counts as started, and nobody may promote it.
fn killed(stage: &Stage, node: &Node) -> Result<()> {
    let lab = &stage.lab;
    let config = lab.layout().config.display().to_string();
    if asked_for().is_none() {
        node.sh(&format!("echo 'shared_buffers = 512kB' >> {config}"))?
            .ok()?;
    }
    let since = Instant::now();
    lab.kill_postmaster(node)?;
    lab.eventually("it is started, and recovers", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let of = |name: &str| status.attribute(node.name(), name).unwrap_or("nothing");
        let (what, score) = (of("pgsql-status"), of("master-pgsql"));
        let is_left_alone = what == "UNKNOWN" && ["-INFINITY", "-1000000"].contains(&score);
        let is_started = status.of(RESOURCE, Role::Unpromoted).contains(&node.name());
        if is_left_alone && is_started {
            return Ok(());
        }
        Err(format!("{what}, {score}\n{status}"))
    })?;
    let said = lab::logs(node, 300);
    expect(said.contains(LEFT_ALONE), || {
        format!("{}: {said}", node.name())
    })?;
    lab.eventually("it answers", limit(), |lab| {
        let answer = lab.postgres(node).sql("select 1");
        answer.map(drop).map_err(|error| error.to_string())
    })?;
    println!(
        "         {} recovered in {:.0} s, a start may take {} s",
        node.name(),
        since.elapsed().as_secs_f64(),
        TIMEOUT.as_secs()
    );
    Ok(())
}

/// The death of the server is a failure; that it takes long to come back is none.
fn nothing_failed_but_the_monitor(stage: &Stage, node: &Node) -> Result<()> {
    let status = stage.lab.status()?;
    let (refused, count) = (refusals(&status), stage.fail_count(node)?);
    let monitor = format!("{RESOURCE}_monitor_");
    let is_other = |failure: &&String| !failure.starts_with(&monitor);
    let other = status.failures.iter().find(is_other);
    expect(
        refused.is_empty() && count == "1" && other.is_none(),
        || format!("{count} failures\n{status}"),
    )
}
