//! A primary that is alone, and a standby that is there again: the agent has seen that it keeps up, and lets commits wait for it. What is
//! acknowledged between the two is on the primary alone, and the standby may lack it.

use lab::{Agent, Allowed, Cluster, Node, RepMode, Result};

use super::lag::is_not_promoted;
use super::machines::most_important_standby;
use super::not_waited_for::rules;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, wrong};

/// Between the two: the setting is written, and the server was not told.
const BETWEEN: &str = "contract-conf";

/// Time in which nobody may be promoted after the primary's machine was lost, in corosync's token timeouts. A healthy
/// failover takes three.
const WATCH: u32 = 4;

pub(crate) fn a_standby_that_stops_between_two_looks_is_nobodys_successor() -> Result<()> {
    let binary = lab::build_trial()?;
    let stage = Stage::set_with(Agent::Expgsql { binary }, RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "a standby stops receiving just before commits wait for it",
        Allowed::failover().waiting().restarts(3),
        stops_between,
    )
}

fn stops_between(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, standby) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|node| node.name() != standby.name());
    let other = other.ok_or_else(|| wrong("there is no second standby"))?;
    for node in [*other, standby] {
        lab.set_standby_mode(node, true)?;
    }
    lab.eventually("commits wait for nobody", LIMIT, |lab| {
        match contract(lab, primary)?.as_str() {
            "" => Ok(()),
            waits_for => Err(waits_for.to_owned()),
        }
    })?;
    lab.hold(primary, BETWEEN)?;
    lab.set_standby_mode(standby, false)?;
    lab.eventually("commits are about to wait for it", LIMIT, |lab| {
        match lab.is_held(primary, BETWEEN) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the agent has not come there".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })?;
    rules(standby, primary, "-A")?;
    // Each of them is on the primary alone.
    stage.writes_go_on()?;
    lab.release(primary, BETWEEN)?;
    lab.eventually(
        "commits wait for the standby",
        LIMIT,
        |lab| match contract(lab, primary)?.as_str() {
            "" => Err("they wait for nobody".to_owned()),
            _ => Ok(()),
        },
    )?;
    // Whatever comes of that is written down in a monitor; one from its beginning to its end.
    lab.call_agent(primary, "monitor")?;
    lab.power_off(primary)?;
    rules(standby, primary, "-D")?;
    lab.eventually("the loss of the machine is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(primary.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    lab.holds_for("nobody is promoted", lab.spec().token * WATCH, |lab| {
        is_not_promoted(lab, standby)
    })?;
    lab.set_standby_mode(other, false)?;
    lab.power_on(primary)?;
    stage.recovers()
}

fn contract(lab: &Cluster, primary: &Node) -> std::result::Result<String, String> {
    let answer = lab.postgres(primary).sql("show synchronous_standby_names");
    answer.map_err(|error| error.to_string())
}
