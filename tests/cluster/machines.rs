//! Machines that lose power, and come back.

use lab::{Error, Node, RepMode, Result};

use super::stage::{LIMIT, Loss, Stage, expect, wrong};

pub(crate) fn a_sync_cluster_survives_the_loss_of_machines() -> Result<()> {
    story(RepMode::Sync)
}

pub(crate) fn an_async_cluster_survives_the_loss_of_machines() -> Result<()> {
    story(RepMode::Async)
}

fn story(mode: RepMode) -> Result<()> {
    let stage = Stage::set(mode, |builder| builder)?;
    stage.step(
        "a standby's machine loses power: the primary stays",
        Loss::None,
        standby_lost,
    )?;
    stage.step(
        "the primary's machine loses power: failover",
        Loss::InAsyncMode,
        primary_lost,
    )
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

/// The one that commits wait for; in async mode any.
fn most_important_standby(stage: &Stage) -> Result<&Node> {
    let status = stage.lab.status()?;
    let standbys = stage.lab.standbys()?;
    let is_sync = |node: &&&Node| status.attribute(node.name(), "pgsql-status") == Some("HS:sync");
    let found = match stage.mode {
        RepMode::Sync => standbys.iter().find(is_sync),
        RepMode::Async | RepMode::Slave | RepMode::None => standbys.first(),
    };
    found
        .copied()
        .ok_or_else(|| -> Error { wrong(format!("no such standby\n{status}")) })
}

fn primary_lost(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    stage.lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    stage.lab.wait_healthy(LIMIT)?;
    stage.lab.power_on(old)?;
    stage.comes_back(old)
}
