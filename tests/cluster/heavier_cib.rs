//! Two CIBs meet after a split, and Pacemaker keeps the heavier one, with all that it says of who was promoted and who has every commit.
//! Here the one that knows less has changed more often, or somebody made it win; and who would correct the record is gone by then.

use lab::resources::RESOURCE;
use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::lag::is_not_promoted;
use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, cut_off, expect, promised, wrong};

/// What an operator changes on the side that has lost: more than the other side changes by a promotion and two grants.
const CHANGES: &str = "i=0; while [ $i -lt 60 ]; do i=$((i + 1)); \
                       crm_attribute --type=crm_config --name=operators-note --update=$i || exit 1; done";

/// More than a promotion and a revocation raise admin_epoch by.
const BY_HAND: u32 = 150;

/// Time in which nobody may be promoted after the primary's machine was lost, in corosync's token timeouts. A healthy
/// failover takes three.
const WATCH: u32 = 4;

pub(crate) fn a_promotion_outlives_a_merge_with_a_cib_that_changed_more() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, repaired)?;
    stage.step(
        "the old primary's CIB changed more, and the new one is lost",
        cut_off().promotions(2).restarts(2).waiting(),
        changed_more,
    )
}

pub(crate) fn a_standby_that_was_cut_off_is_no_successor_though_its_cib_wins() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, repaired)?;
    stage.step(
        "the CIB of a standby that was cut off wins, and the primary is lost",
        Allowed::failover()
            .restarts(4)
            .waiting()
            // By the score that the merge has brought back.
            .failing(Whose::Anybodys, "promote", "this node was cut off", 2),
        wins_by_hand,
    )
}

fn repaired(builder: lab::Builder) -> lab::Builder {
    builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
}

/// The primary is cut off, and another one acknowledges commits that a third node has. Then that one's machine is lost, and the third
/// meets the first.
fn changed_more(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.split(old)?;
    let new = stage.taken_over_from(old)?;
    let third = beside(lab, [old, new])?;
    granted(lab, new, third)?;
    is_down(lab, old)?;
    stage.writes_go_on()?;
    old.command(&["sh", "-c", CHANGES])?.limit(LIMIT).ok()?;
    let (mine, theirs) = (weight(old)?, weight(third)?);
    println!(
        "         admin_epoch and epoch: {mine:?} on {}, {theirs:?} on {}",
        old.name(),
        third.name()
    );
    expect(mine.1 > theirs.1, || {
        format!("the old primary's CIB has not changed more: {mine:?}, {theirs:?}")
    })?;
    lab.power_off(new)?;
    lab.heal()?;
    nothing_is_lost_after(stage, new)
}

/// The only standby is cut off, and the primary goes on alone. Then the CIB of the standby is made to win, as by an operator who
/// repairs something on the wrong side, and the primary's machine is lost. The third node votes, and has no server.
fn wins_by_hand(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, away) = (lab.primary()?, most_important_standby(stage)?);
    let third = beside(lab, [primary, away])?;
    lab.set_standby_mode(third, true)?;
    is_down(lab, third)?;
    lab.split(away)?;
    is_alone(lab, primary)?;
    is_down(lab, away)?;
    stage.writes_go_on()?;
    lab.raise_cib(away, BY_HAND)?;
    let (mine, theirs) = (weight(away)?, weight(third)?);
    expect(mine > theirs, || format!("{mine:?}, {theirs:?}"))?;
    lab.power_off(primary)?;
    lab.heal()?;
    lab.eventually("the standby is back, and has a vote more", LIMIT, |lab| {
        let status = lab.status_on(away).map_err(|error| error.to_string())?;
        let runs = lab.postgres(away).is_writable().is_some();
        let is_back = runs && status.is_online(third.name()) && !status.is_online(primary.name());
        is_back.then_some(()).ok_or_else(|| status.to_string())
    })?;
    lab.holds_for("nobody is promoted", lab.spec().token * WATCH, |lab| {
        is_not_promoted(lab, away)
    })?;
    lab.set_standby_mode(third, false)?;
    lab.power_on(primary)?;
    stage.recovers()
}

/// Nothing answers on the node any more.
fn is_down(lab: &Cluster, node: &Node) -> Result<()> {
    lab.eventually("its server has stopped", LIMIT, |lab| {
        let answer = lab.postgres(node).is_writable();
        answer.map_or(Ok(()), |answer| Err(format!("it answers: {answer}")))
    })
}

/// Commits wait for nobody.
fn is_alone(lab: &Cluster, primary: &Node) -> Result<()> {
    lab.eventually("commits wait for nobody", LIMIT, |lab| {
        let contract = lab.postgres(primary).sql("show synchronous_standby_names");
        match contract.map_err(|error| error.to_string())?.as_str() {
            "" => Ok(()),
            contract => Err(contract.to_owned()),
        }
    })
}

/// Who takes over from a machine that is lost has all that was acknowledged.
fn nothing_is_lost_after(stage: &Stage, lost: &Node) -> Result<()> {
    let lab = &stage.lab;
    // What the status says of the roles is of before the merge for a moment.
    let now = lab.eventually("another server takes writes", LIMIT, |lab| {
        let now = lab.primary().map_err(|error| error.to_string())?;
        let is_it = now.name() != lost.name() && lab.postgres(now).is_writable() == Some(true);
        is_it
            .then(|| now.name().to_owned())
            .ok_or_else(|| format!("{} does not", now.name()))
    })?;
    let now = lab.node(&now)?;
    println!("         {} took over from {}", now.name(), lost.name());
    let missing = stage.client.score().lost(lab)?;
    promised(missing.is_empty(), || {
        format!(
            "{} took over: {} acknowledged commits are lost",
            now.name(),
            missing.len()
        )
    })?;
    lab.power_on(lost)?;
    stage.recovers()
}

fn beside<'a>(lab: &'a Cluster, two: [&Node; 2]) -> Result<&'a Node> {
    let mut nodes = lab.nodes().iter();
    nodes
        .find(|node| two.iter().all(|other| other.name() != node.name()))
        .ok_or_else(|| wrong("there is no third node"))
}

/// Waits until commits wait for `standby`, and it may be promoted.
fn granted(lab: &Cluster, primary: &Node, standby: &Node) -> Result<()> {
    let attribute = format!("{RESOURCE}-data-status");
    lab.eventually("the other standby may be promoted", LIMIT, |lab| {
        let status = lab.status_on(primary).map_err(|error| error.to_string())?;
        match status.attribute(standby.name(), &attribute) {
            Some("STREAMING|SYNC") => Ok(()),
            _ => Err(status.to_string()),
        }
    })
}

/// `admin_epoch` and `epoch` of a node's own copy: the heavier one stays.
fn weight(node: &Node) -> Result<(u64, u64)> {
    let text = node.run(&["cibadmin", "--query"])?.ok()?;
    let document = roxmltree::Document::parse(&text).map_err(|error| wrong(error.to_string()))?;
    let number = |name: &str| {
        let value = document.root_element().attribute(name);
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| wrong(format!("no {name} in the CIB")))
    };
    Ok((number("admin_epoch")?, number("epoch")?))
}
