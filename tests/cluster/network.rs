//! Networks that break.

use lab::{Ack, Node, RepMode, Result};

use super::split;
use super::stage::{LIMIT, Stage, Toll, expect, watching_for_two_writable};

pub(crate) fn a_sync_cluster_survives_partitions_and_splits() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    stage.step(
        "the primary is cut off from everything",
        Toll::Nothing,
        partition,
    )?;
    split::repeatedly(&stage)
}

pub(crate) fn an_async_cluster_survives_partitions() -> Result<()> {
    let stage = Stage::set_async_repaired(RepMode::Async)?;
    stage.step(
        "the primary is cut off from everything",
        Toll::Failover,
        partition,
    )
}

/// Cuts the primary off from everything, waits for another, and heals; the two never acknowledge at the same time. That
/// both are out of recovery for a moment is counted, not forbidden: without fencing nothing orders what the two sides do
/// about a loss that both notice at the same time. In sync mode a primary on its own acknowledges nothing then.
fn partition(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    let begin = stage.client.now();
    let ((), together) = watching_for_two_writable(&stage.lab, || {
        stage.lab.isolate(old)?;
        taken_over(stage, old)
    })?;
    println!(
        "         two servers were seen out of recovery at once {} times",
        together.len()
    );
    // By now the old one takes no writes, so this has no end that is open.
    let ((), later) = watching_for_two_writable(&stage.lab, || {
        stage.lab.heal()?;
        stage.recovers()
    })?;
    expect(later.is_empty(), || {
        format!("two servers took writes after the network was whole again: {later:?}")
    })?;
    let score = stage.client.score();
    let acks: Vec<&Ack> = score.acks.iter().filter(|ack| ack.at >= begin).collect();
    let mut after = acks.iter().skip_while(|ack| *ack.node == *old.name());
    expect(after.clone().next().is_some(), || {
        "nobody else acknowledged anything".into()
    })?;
    let again = after.find(|ack| *ack.node == *old.name());
    expect(again.is_none(), || {
        format!("{} acknowledged after another had: {again:?}", old.name())
    })
}

fn taken_over(stage: &Stage, old: &Node) -> Result<()> {
    let lab = &stage.lab;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    lab.eventually(
        &format!("{} takes no writes", old.name()),
        LIMIT,
        |lab| match lab.postgres(old).is_writable() {
            Some(true) => Err("it is writable".into()),
            Some(false) | None => Ok(()),
        },
    )
}
