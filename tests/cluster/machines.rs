//! Machines that lose power, and come back.

use std::time::Duration;

use lab::network::WRITER_ADDRESS;
use lab::{Allowed, Error, Node, RepMode, Result};

use super::stage::{LIMIT, Stage, expect, wrong};

pub(crate) fn a_sync_cluster_survives_the_loss_of_machines() -> Result<()> {
    story(RepMode::Sync)
}

pub(crate) fn an_async_cluster_survives_the_loss_of_machines() -> Result<()> {
    story(RepMode::Async)
}

fn story(mode: RepMode) -> Result<()> {
    let stage = Stage::set_async_repaired(mode)?;
    stage.step(
        "a standby's machine loses power: the primary stays",
        Allowed::nothing(),
        standby_lost,
    )?;
    stage.step(
        "the primary's machine loses power: failover",
        Allowed::failover(),
        primary_lost,
    )?;
    if mode == RepMode::Sync {
        stage.step(
            "a standby has more than the one eligible: it is promoted",
            Allowed::failover().waiting(),
            standby_ahead,
        )?;
    }
    Ok(())
}

/// The synchronous standby has every acknowledged commit; but another has received WAL that nobody was told of. Were
/// the first promoted, the second could not follow it. So the second is, and the first follows.
pub(crate) fn standby_ahead(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, next) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|node| node.name() != next.name());
    let other = other.ok_or_else(|| wrong("there is no second standby"))?;
    // Replication alone is cut, not the cluster's own messages: the standby stays, and stays eligible.
    let rule = format!("INPUT -p tcp --sport 5432 -s {} -j DROP", old.address());
    let virtual_too = format!("INPUT -p tcp --sport 5432 -s {WRITER_ADDRESS} -j DROP");
    next.sh(&format!("iptables -A {rule} && iptables -A {virtual_too}"))?
        .ok()?;
    let received = |node: &Node| {
        let query = "select pg_last_wal_receive_lsn() - '0/0'";
        lab.postgres(node)
            .sql(query)
            .map_err(|error| error.to_string())
    };
    lab.eventually("one standby has more than the other", LIMIT, |_| {
        if stage.client.silence() < Duration::from_secs(1) {
            return Err("commits are still acknowledged".into());
        }
        let (less, more) = (received(next)?, received(other)?);
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        if number(&more)? > number(&less)? {
            Ok(())
        } else {
            Err(format!("{less} and {more}"))
        }
    })?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    // Not before: a dead host's kernel may still deliver what was on its way.
    next.sh(&format!("iptables -D {rule} && iptables -D {virtual_too}"))?
        .ok()?;
    expect(new.name() == other.name(), || {
        format!("{} was promoted, and has less", new.name())
    })?;
    stage.writes_go_on()?;
    lab.wait_healthy(LIMIT)?;
    lab.power_on(old)?;
    stage.recovers()
}

fn standby_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let postmaster = lab.postgres(primary).postmaster();
    let standby = most_important_standby(stage)?;
    let begin = stage.client.now();
    lab.power_off(standby)?;
    lab.eventually("the node's loss is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(standby.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    stage.writes_go_on()?;
    let stall = stage.client.score().longest_gap_since(begin);
    println!(
        "         without {} writes stalled for {:.1} s",
        standby.name(),
        stall.as_secs_f64()
    );
    lab.wait_healthy(LIMIT)?;
    lab.power_on(standby)?;
    lab.wait_healthy(LIMIT)?;
    let now = lab.primary()?;
    expect(now.name() == primary.name(), || {
        format!("the primary moved to {}", now.name())
    })?;
    let postmaster_now = lab.postgres(primary).postmaster();
    expect(postmaster.is_some() && postmaster == postmaster_now, || {
        format!("postmaster {postmaster:?} became {postmaster_now:?}")
    })
}

/// The one that commits wait for, or one of them; in async mode any.
pub(crate) fn most_important_standby(stage: &Stage) -> Result<&Node> {
    let status = stage.lab.status()?;
    let standbys = stage.lab.standbys()?;
    let is_sync = |node: &&&Node| {
        let word = status.attribute(node.name(), "pgsql-status");
        matches!(word, Some("HS:sync" | "HS:quorum"))
    };
    let found = match stage.mode {
        RepMode::Sync => standbys.iter().find(is_sync),
        RepMode::Async | RepMode::Slave | RepMode::None => standbys.first(),
    };
    found
        .copied()
        .ok_or_else(|| -> Error { wrong(format!("no such standby\n{status}")) })
}

pub(crate) fn primary_lost(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    stage.lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    stage.recovers()?;
    stage.lab.power_on(old)?;
    stage.recovers()
}
