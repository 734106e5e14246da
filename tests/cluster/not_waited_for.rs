//! A standby that stays a member of the cluster and receives nothing: once commits no longer wait for it, it is nobody's successor.

use lab::network::WRITER_ADDRESS;
use lab::{Allowed, Node, RepMode, Result};

use super::lag::is_not_promoted;
use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, wrong};

/// Time in which nobody may be promoted after the primary's machine was lost, in corosync's token timeouts. A healthy
/// failover takes three.
const WATCH: u32 = 4;

pub(crate) fn a_standby_that_is_not_waited_for_is_nobodys_successor() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the only standby receives nothing, and the primary's machine is lost",
        Allowed::failover().waiting().restarts(3),
        receives_nothing,
    )
}

fn receives_nothing(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, standby) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|node| node.name() != standby.name());
    let other = other.ok_or_else(|| wrong("there is no second standby"))?;
    lab.set_standby_mode(other, true)?;
    lab.eventually("the other one is down", LIMIT, |lab| {
        let answer = lab.postgres(other).is_writable();
        answer.map_or(Ok(()), |answer| Err(format!("{answer}")))
    })?;
    rules(standby, primary, "-A")?;
    lab.eventually("commits wait for nobody", LIMIT, |lab| {
        let contract = lab
            .postgres(primary)
            .sql("show synchronous_standby_names")
            .map_err(|error| error.to_string())?;
        if contract.is_empty() {
            Ok(())
        } else {
            Err(contract)
        }
    })?;
    stage.writes_go_on()?;
    lab.power_off(primary)?;
    rules(standby, primary, "-D")?;
    lab.set_standby_mode(other, false)?;
    lab.eventually("the loss of the machine is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(primary.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    lab.holds_for("nobody is promoted", lab.spec().token * WATCH, |lab| {
        is_not_promoted(lab, standby)?;
        is_not_promoted(lab, other)
    })?;
    lab.power_on(primary)?;
    stage.recovers()
}

/// Replication alone is cut, not the cluster's own messages.
pub(crate) fn rules(standby: &Node, primary: &Node, act: &str) -> Result<()> {
    for source in [primary.address(), WRITER_ADDRESS] {
        let rule = format!("iptables {act} INPUT -p tcp --sport 5432 -s {source} -j DROP");
        standby.sh(&rule)?.ok()?;
    }
    Ok(())
}
