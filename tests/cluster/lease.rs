//! Asynchronous replication, two nodes and a lock service: the lease is all that keeps two primaries apart.

use std::time::Duration;

use lab::{Agent, Allowed, RepMode, Result, Whose};

use super::stage::{GONE, LIMIT, ON_DIVERGENCE, Stage, promised, watching_for_two_writable, wrong};

/// The agent's default for `distlock_ttl`.
const LEASE: Duration = Duration::from_secs(9);

pub(crate) fn the_lease_binds_a_primary_that_cannot_read_the_cib() -> Result<()> {
    let stage = Stage::set(RepMode::Async, |builder| {
        builder
            .nodes(2)
            .lock_service()
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the primary's CIB hangs and the link breaks: one primary",
        Allowed::failover()
            .restarts(2)
            .failing(Whose::Anybodys, "promote", "holds the lock for", 3)
            .failing(Whose::Deposed, "monitor", "the lock is not renewed", 1)
            .failing(Whose::Deposed, "monitor", GONE, 1),
        cib_hangs,
    )
}

pub(crate) fn a_promotion_longer_than_the_lease_keeps_it() -> Result<()> {
    let binary = lab::build_trial()?;
    let stage = Stage::set_with(Agent::Expgsql { binary }, RepMode::Async, |builder| {
        builder
            .nodes(2)
            .lock_service()
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the standby's recovery hangs in the middle of its promotion: the lock stays its own",
        Allowed::failover().waiting(),
        promotion_hangs,
    )
}

/// The lock was taken, and the agent is about to promote.
const TAKEN: &str = "promote-remembered";

fn promotion_hangs(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let mut nodes = lab.nodes().iter();
    let new = nodes
        .find(|node| node.name() != old.name())
        .ok_or_else(|| wrong("there is no second node"))?;
    lab.hold(new, TAKEN)?;
    lab.power_off(old)?;
    lab.eventually("the lock is taken", LIMIT, |lab| {
        match lab.is_held(new, TAKEN).map_err(|error| error.to_string())? {
            true => Ok(()),
            false => Err("the promotion has not come so far".into()),
        }
    })?;
    lab.freeze_recovery(new)?;
    lab.release(new, TAKEN)?;
    // Renewed once, it is good for a lease; so twice as long shows that it is renewed again and again.
    lab.holds_for("its lease is not over", LEASE * 2, |lab| {
        let row = lab.lock_row().map_err(|error| error.to_string())?;
        if row.ends_with("|f") {
            Ok(())
        } else {
            Err(row)
        }
    })?;
    lab.thaw_recovery(new)?;
    stage.taken_over_from(old)?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    stage.recovers()
}

fn cib_hangs(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let mut nodes = lab.nodes().iter();
    let other = nodes
        .find(|node| node.name() != old.name())
        .ok_or_else(|| wrong("there is no second node"))?;
    let takes_writes = |node| lab.postgres(node).is_writable() == Some(true);
    lab.freeze_cib(old)?;
    let ((), two) = watching_for_two_writable(lab, || {
        lab.split(old)?;
        lab.eventually("the other side notices the split", LIMIT, |lab| {
            let status = lab.status_on(other).map_err(|error| error.to_string())?;
            if status.is_online(old.name()) {
                Err(status.to_string())
            } else {
                Ok(())
            }
        })?;
        // It renews by what it knows itself.
        lab.holds_for("the primary keeps the lock", LEASE * 2, |_| {
            match (takes_writes(old), takes_writes(other)) {
                (true, false) => Ok(()),
                seen => Err(format!("old and other take writes: {seen:?}")),
            }
        })?;
        // And ends by what it knows itself.
        lab.partition(&[old], &[lab.lock()?])?;
        lab.eventually("the other side takes over", LIMIT, |_| {
            match (takes_writes(old), takes_writes(other)) {
                (false, true) => Ok(()),
                seen => Err(format!("old and other take writes: {seen:?}")),
            }
        })
    })?;
    promised(two.is_empty(), || format!("both took writes: {two:?}"))?;
    // Nothing else wakes its daemon up.
    lab.power_off(old)?;
    lab.heal()?;
    lab.power_on(old)?;
    stage.recovers()
}
