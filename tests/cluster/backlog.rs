//! WAL that a standby has flushed, and has not replayed: it counts, also after a restart, and only where it will be replayed.

use lab::network::WRITER_ADDRESS;
use lab::{Allowed, Node, RepMode, Result};

use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect};

/// Commits that only the delayed standby confirms.
const ONLY_THERE: usize = 40;

pub(crate) fn a_power_cut_of_the_site_loses_nothing_of_a_backlog() -> Result<()> {
    let stage = set("priority", 3)?;
    stage.step(
        "the site loses power, the standby has not replayed",
        Allowed::failover(),
        site_loses_power,
    )
}

pub(crate) fn a_power_cut_of_the_site_loses_nothing_of_a_backlog_with_quorum_commit() -> Result<()>
{
    let stage = set("quorum", 3)?;
    stage.step(
        "the site loses power, a standby has not replayed",
        Allowed::failover(),
        site_loses_power,
    )
}

pub(crate) fn a_power_cut_of_two_nodes_loses_nothing_of_a_backlog() -> Result<()> {
    let stage = set("priority", 2)?;
    stage.step(
        "both nodes lose power, the standby has not replayed",
        Allowed::failover(),
        site_loses_power,
    )
}

fn set(method: &str, nodes: u8) -> Result<Stage> {
    Stage::set(RepMode::Sync, |builder| {
        let builder = builder
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
            .param("sync_method", method)
            .nodes(nodes);
        if nodes == 2 {
            builder.lock_service()
        } else {
            builder
        }
    })
}

/// A standby whose replay is delayed has confirmed commits that the other standby, if there is one, does not have. All machines
/// lose power, and the primary's stays off. After its restart the delayed standby answers long before it has replayed what it
/// has; what it says of itself then must not let the other be promoted.
fn site_loses_power(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, late) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|node| node.name() != late.name());
    let postgres = lab.postgres(late);
    postgres.sql("alter system set recovery_min_apply_delay = '10min'")?;
    postgres.sql("select pg_reload_conf()")?;
    lab.eventually("replay is delayed", LIMIT, |_| {
        let query = "select pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn() > 10000";
        match postgres.sql(query) {
            Ok(answer) if answer == "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    if let Some(other) = other {
        receives_nothing(stage, old, other)?;
    }
    let goal = stage.client.acked_count() + ONLY_THERE;
    lab.eventually("commits that only one standby has", LIMIT, |_| {
        if stage.client.acked_count() >= goal {
            Ok(())
        } else {
            Err(format!("silent for {:?}", stage.client.silence()))
        }
    })?;
    lab.power_off(old)?;
    for node in &standbys {
        lab.power_off(node)?;
    }
    lab.power_on(late)?;
    if let Some(other) = other {
        lab.power_on(other)?;
    }
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    expect(new.name() == late.name(), || {
        format!("{} was promoted, and does not have all", new.name())
    })?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    lab.postgres(late)
        .sql("alter system reset recovery_min_apply_delay")
        .map(drop)?;
    stage.recovers()
}

/// Replication to one standby is cut, and the cluster's own messages are not.
fn receives_nothing(stage: &Stage, primary: &Node, standby: &Node) -> Result<()> {
    for source in [primary.address(), WRITER_ADDRESS] {
        let rule = format!("INPUT -p tcp --sport 5432 -s {source} -j DROP");
        standby.sh(&format!("iptables -A {rule}"))?.ok()?;
    }
    let goal = stage.client.acked_count() + ONLY_THERE;
    stage
        .lab
        .eventually("commits go on without it", LIMIT, |_| {
            if stage.client.acked_count() >= goal {
                Ok(())
            } else {
                Err(format!("silent for {:?}", stage.client.silence()))
            }
        })
}
