//! Networks that break, under servers with PostgreSQL's own defaults for what notices that and for what writes by itself: in the
//! other stories a WAL sender gives up long before the cluster has settled, and nothing is vacuumed.

use std::time::Duration;

use lab::{Ack, Allowed, Builder, Node, RepMode, Result};

use super::machines::most_important_standby;
use super::split;
use super::stage::{
    LIMIT, ON_DIVERGENCE, Stage, cut_off, expect, promised, watching_for_two_writable,
};

/// PostgreSQL's default for `wal_sender_timeout`.
const SENDER_TIMEOUT: Duration = Duration::from_secs(60);

fn as_postgres_has_it(builder: Builder) -> Builder {
    builder
        .setting(&format!(
            "wal_sender_timeout = {}s",
            SENDER_TIMEOUT.as_secs()
        ))
        .setting("autovacuum = on")
        .setting("autovacuum_naptime = 1s")
}

pub(crate) fn a_sync_cluster_survives_partitions_and_splits() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, as_postgres_has_it)?;
    stage.step(
        "a standby is cut off from everything: commits go on",
        Allowed::nothing().restarts(1),
        standby_cut_off,
    )?;
    stage.step(
        "the primary is cut off from everything",
        cut_off(),
        partition,
    )?;
    split::repeatedly(&stage)
}

pub(crate) fn an_async_cluster_survives_partitions() -> Result<()> {
    let stage = Stage::set(RepMode::Async, |builder| {
        as_postgres_has_it(builder).param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the primary is cut off from everything",
        cut_off(),
        partition,
    )
}

/// The one that commits wait for. They go on when the cluster knows that it is away, and not when the WAL sender gives it up.
fn standby_cut_off(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let before = lab.postgres(primary).postmaster();
    let standby = most_important_standby(stage)?;
    let begin = stage.client.now();
    lab.isolate(standby)?;
    lab.eventually("the loss is noticed", LIMIT, |lab| {
        let status = lab.status_on(primary).map_err(|error| error.to_string())?;
        if status.is_online(standby.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    stage.writes_go_on()?;
    let pause = stage.client.score().longest_gap_since(begin);
    expect(pause < SENDER_TIMEOUT / 2, || {
        format!("writes paused for {pause:?}")
    })?;
    lab.heal()?;
    lab.wait_healthy(LIMIT)?;
    let now = lab.postgres(primary).postmaster();
    expect(before.is_some() && before == now, || {
        format!("postmaster {before:?} became {now:?}")
    })
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
    promised(later.is_empty(), || {
        format!("two servers took writes after the network was whole again: {later:?}")
    })?;
    let score = stage.client.score();
    let acks: Vec<&Ack> = score.acks.iter().filter(|ack| ack.at >= begin).collect();
    let mut after = acks.iter().skip_while(|ack| *ack.node == *old.name());
    expect(after.clone().next().is_some(), || {
        "nobody else acknowledged anything".into()
    })?;
    let again = after.find(|ack| *ack.node == *old.name());
    promised(again.is_none(), || {
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
