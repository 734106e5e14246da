//! Networks that break.

use lab::{Ack, Node, RepMode, Result};

use super::stage::{LIMIT, Stage, Toll, expect, watching_for_two_writable};

pub(crate) fn a_sync_cluster_survives_partitions_and_splits() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    stage.step(
        "the primary is cut off from everything",
        Toll::Nothing,
        partition,
    )?;
    stage.step(
        "the primary is cut off from the nodes, not the clients",
        Toll::Nothing,
        split,
    )
}

pub(crate) fn an_async_cluster_survives_partitions() -> Result<()> {
    let stage = Stage::set(RepMode::Async, |builder| builder)?;
    stage.step(
        "the primary is cut off from everything",
        Toll::Failover,
        partition,
    )
}

fn partition(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    let (_, together) = watching_for_two_writable(&stage.lab, || {
        stage.lab.isolate(old)?;
        taken_over_and_healed(stage, old)
    })?;
    expect(together.is_empty(), || {
        format!("two servers took writes at the same time: {together:?}")
    })
}

/// The hard one: the old primary's clients still reach it, and it does not know yet that it is cut off.
fn split(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    let begin = stage.client.now();
    let (_, together) = watching_for_two_writable(&stage.lab, || {
        stage.lab.split(old)?;
        taken_over_and_healed(stage, old)
    })?;
    println!(
        "         two servers out of recovery at once: seen {} times",
        together.len()
    );
    let score = stage.client.score();
    let acks: Vec<&Ack> = score.acks.iter().filter(|ack| ack.at >= begin).collect();
    let after: Vec<&&Ack> = acks
        .iter()
        .skip_while(|ack| *ack.node == *old.name())
        .collect();
    let again = after.iter().find(|ack| *ack.node == *old.name());
    expect(!after.is_empty(), || {
        "nobody else acknowledged anything".into()
    })?;
    expect(again.is_none(), || {
        format!("{} acknowledged after another had: {again:?}", old.name())
    })
}

fn taken_over_and_healed(stage: &Stage, old: &Node) -> Result<()> {
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
    )?;
    lab.heal()?;
    stage.recovers()
}
