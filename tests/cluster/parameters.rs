//! What a parameter says is done: each is changed while the cluster runs, and what follows changes with it.

use std::time::Duration;

use lab::resources::RESOURCE;
use lab::{Allowed, Cluster, Node, RepMode, Result};

use super::lag::is_not_promoted;
use super::stage::{LIMIT, Stage, expect, wrong};
use super::status::shows;

/// Longer than what the agent takes for certain by itself (7.6 s with the lab's token).
const SETTLE: Duration = Duration::from_secs(20);

/// The length of a lease, in seconds, that is not the default.
const TTL: &str = "30";

/// Longer than that, and than the default.
const TIMEOUT: &str = "60";

/// What is written while a standby can't receive it.
const BACKLOG_MB: u64 = 8;

pub(crate) fn what_a_parameter_says_is_done() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    stage.step(
        "sync_strict: alone, it lets commits wait",
        Allowed::nothing().restarts(2).waiting(),
        sync_strict,
    )?;
    // Last: what is certain only after so long would hold up every other step.
    stage.step(
        "settle_time: the primary goes on alone after that time",
        Allowed::nothing().restarts(2).waiting(),
        settle_time,
    )
}

pub(crate) fn what_a_parameter_says_is_done_in_async_mode() -> Result<()> {
    let stage = Stage::set(RepMode::Async, |builder| builder)?;
    stage.step(
        "maxlag: who is further behind may not be promoted",
        Allowed::nothing(),
        maxlag,
    )?;
    stage.step(
        "maxlag_time: nor who lacks what is old; a primary on which nobody writes makes nobody late",
        Allowed::nothing(),
        maxlag_time,
    )?;
    stage.step(
        "maxlag: when the primary is lost, nobody who is further behind takes its place",
        Allowed::nothing().restarts(1).waiting(),
        all_too_late,
    )
}

pub(crate) fn what_a_parameter_of_the_lock_says_is_done() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(2)
            .lock_service()
            // A promotion waits for half of the operation's time at most.
            .start_timeout(Duration::from_secs(120))
    })?;
    stage.step(
        "distlock_ttl: how long a lease is",
        Allowed::nothing(),
        |stage| {
            let before = stage.lab.lease_length()?;
            expect(before != TTL, || {
                format!("a lease is {before} s long already")
            })?;
            stage.lab.set_parameter("distlock_ttl", TTL)?;
            stage
                .lab
                .eventually("a lease is as long as it was told", LIMIT, |lab| {
                    let length = lab.lease_length().map_err(|error| error.to_string())?;
                    if length == TTL {
                        Ok(())
                    } else {
                        Err(format!("{length} s"))
                    }
                })
        },
    )?;
    // After it: a lease is as long as that by now.
    stage.step(
        "distlock_timeout: how long a promotion waits for a lease to end",
        Allowed::failover().waiting(),
        distlock_timeout,
    )
}

/// The first promotion waits for all that is left of the lease, and is not refused.
fn distlock_timeout(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    lab.set_parameter("distlock_timeout", TIMEOUT)?;
    lab.await_reload()?;
    let old = lab.primary()?;
    lab.power_off(old)?;
    stage.taken_over_from(old)?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    stage.recovers()
}

/// Whom commits wait for, as the primary's server says.
fn contract(lab: &Cluster, primary: &Node) -> std::result::Result<String, String> {
    lab.postgres(primary)
        .sql("show synchronous_standby_names")
        .map_err(|error| error.to_string())
}

/// Both standbys leave: the primary may go on alone once it is certain that everybody has seen it.
fn settle_time(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    lab.set_parameter("settle_time", &SETTLE.as_secs().to_string())?;
    lab.await_reload()?;
    let names: Vec<String> = lab
        .standbys()?
        .iter()
        .map(|n| n.name().to_owned())
        .collect();
    let (primary, begin) = (lab.primary()?, stage.client.now());
    for name in &names {
        lab.set_standby_mode(lab.node(name)?, true)?;
    }
    lab.eventually("commits wait for nobody", LIMIT, |lab| {
        match contract(lab, primary)?.as_str() {
            "" => Ok(()),
            waits => Err(format!("commits wait for {waits}")),
        }
    })?;
    stage.writes_go_on()?;
    let pause = stage.client.score().longest_gap_since(begin);
    expect(pause >= SETTLE, || {
        format!("writes paused for {pause:?}, with settle_time={SETTLE:?}")
    })?;
    for name in &names {
        lab.set_standby_mode(lab.node(name)?, false)?;
    }
    Ok(())
}

fn sync_strict(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let names: Vec<String> = lab
        .standbys()?
        .iter()
        .map(|n| n.name().to_owned())
        .collect();
    lab.set_parameter("sync_strict", "true")?;
    lab.await_reload()?;
    for name in &names {
        lab.set_standby_mode(lab.node(name)?, true)?;
    }
    // It says so after fifteen seconds of waiting: it had all the time to go on alone.
    shows(lab, primary, "degraded", "commits-wait")?;
    lab.set_parameter("sync_strict", "false")?;
    lab.eventually(
        "without it, it goes on alone",
        LIMIT,
        |lab| match contract(lab, primary)?.as_str() {
            "" => Ok(()),
            waits => Err(format!("commits wait for {waits}")),
        },
    )?;
    stage.writes_go_on()?;
    for name in &names {
        lab.set_standby_mode(lab.node(name)?, false)?;
    }
    Ok(())
}

fn maxlag(stage: &Stage) -> Result<()> {
    late_by(stage, "maxlag", "1MB", "1GB", 64)
}

fn maxlag_time(stage: &Stage) -> Result<()> {
    // The standby has to go on answering for longer than wal_sender_timeout.
    late_by(stage, "maxlag_time", "3", "3600", 1000)
}

/// A standby falls behind: with the tight limit it may not be promoted, with the wide one it may.
fn late_by(stage: &Stage, limit: &str, tight: &str, wide: &str, kbit: u32) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standbys = lab.standbys()?;
    let late = standbys
        .first()
        .ok_or_else(|| wrong("there is no standby"))?;
    let awaits = |may: bool, what: &str| {
        lab.eventually(what, LIMIT, |lab| {
            let status = lab.status().map_err(|error| error.to_string())?;
            let score = status.attribute(late.name(), &format!("master-{RESOURCE}"));
            let score = score.unwrap_or("nothing");
            // One that is not connected is late for another reason.
            let data = status.attribute(late.name(), &format!("{RESOURCE}-data-status"));
            let expected = if may {
                "STREAMING|ASYNC"
            } else {
                "STREAMING|POTENTIAL"
            };
            let is_so = (score == "100") == may && data == Some(expected);
            is_so
                .then_some(())
                .ok_or_else(|| format!("its score is {score}, its data status {data:?}"))
        })
    };
    lab.set_parameter(limit, tight)?;
    awaits(true, "it may be promoted, as it keeps up")?;
    lab.throttle_replication(late, kbit)?;
    lab.postgres(primary).sql(&format!(
        "create table {limit} as select repeat('x', 1000) from generate_series(1, {BACKLOG_MB} * 1000)"
    ))?;
    awaits(false, "it may not be promoted any more")?;
    // It is as far behind as before, and that is allowed now.
    lab.set_parameter(limit, wide)?;
    awaits(true, "with another limit it may be")?;
    lab.clear_weather(late)
}

/// Both standbys are too far behind, and stay so when the primary is gone: they wait for it.
fn all_too_late(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standbys = lab.standbys()?;
    lab.set_parameter("maxlag", "1MB")?;
    for late in &standbys {
        lab.throttle_replication(late, 64)?;
    }
    lab.postgres(primary).sql(&format!(
        "create table all_too_late as select repeat('x', 1000) from generate_series(1, {BACKLOG_MB} * 1000)"
    ))?;
    shows(lab, primary, "degraded", "late")?;
    lab.eventually("nobody may be promoted", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let score = format!("master-{RESOURCE}");
        let mut scores = standbys.iter().map(|n| status.attribute(n.name(), &score));
        if scores.all(|score| score == Some("-INFINITY")) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    lab.power_off(primary)?;
    lab.eventually("the loss is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(primary.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    // More than the rounds of an election.
    lab.holds_for("nobody is promoted", Duration::from_secs(30), |lab| {
        standbys
            .iter()
            .try_for_each(|late| is_not_promoted(lab, late))
    })?;
    for late in &standbys {
        lab.clear_weather(late)?;
    }
    lab.power_on(primary)?;
    stage.writes_go_on()?;
    lab.set_parameter("maxlag", "0")?;
    lab.wait_healthy(LIMIT)
}
