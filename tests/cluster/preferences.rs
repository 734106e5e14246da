//! Nodes that are not to be the primary, or not to be waited for: by Pacemaker's constraints, and by the agent's own lists.

use lab::resources::CLONE;
use lab::{Allowed, Cluster, Node, RepMode, Result};

use super::commands::PROGRAM;
use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// The constraint that keeps the primary away.
const BAN: &str = "not-there";

pub(crate) fn a_barred_standby_is_waited_for_last() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "a location rule keeps the primary away from the one that commits wait for, and the primary's machine is lost",
        Allowed::failover(),
        barred,
    )
}

fn barred(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, banned) = (lab.primary()?, most_important_standby(stage)?);
    let other = beside(stage, banned)?;
    let rule = format!(
        "<rsc_location id=\"{BAN}\" rsc=\"{CLONE}\"><rule id=\"{BAN}-rule\" role=\"Promoted\" score=\"-INFINITY\">\
         <expression id=\"{BAN}-expr\" attribute=\"#uname\" operation=\"eq\" value=\"{}\"/></rule></rsc_location>",
        banned.name()
    );
    constraint(old, "--create", &rule)?;
    counts(lab, other, banned)?;
    let why = old.run(&[PROGRAM, "cluster", "why"])?.text();
    expect(
        why.contains(&format!("{} takes over", other.name())),
        || format!("cluster why says\n{why}"),
    )?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    expect(new.name() == other.name(), || {
        format!("{} was promoted", new.name())
    })?;
    stage.writes_go_on()?;
    // Only the barred one is left.
    stage.told(new, Some("barred"))?;
    let why = new.run(&[PROGRAM, "cluster", "why"])?.text();
    for part in [
        "nobody can take over",
        BAN,
        &format!("pcs constraint delete {BAN}"),
    ] {
        expect(why.contains(part), || {
            format!("cluster why does not say {part:?}:\n{why}")
        })?;
    }
    lab.power_on(old)?;
    stage.recovers()?;
    stage.told(new, None)?;
    constraint(new, "--delete", &rule)?;
    lab.clean_up(new)
}

pub(crate) fn lists_say_who_is_waited_for_and_who_is_promoted() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "another order while it runs; a list of strangers; one that is never promoted, and the primary's machine is lost",
        Allowed::failover(),
        listed,
    )
}

fn listed(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, first) = (lab.primary()?, most_important_standby(stage)?);
    let second = beside(stage, first)?;
    let order = format!("{} {} {}", second.name(), first.name(), old.name());
    lab.set_parameter("sync_node_list", &order)?;
    lab.await_reload()?;
    counts(lab, second, first)?;
    // A mistake is told, and commits wait as without it.
    lab.set_parameter("sync_node_list", "nosuch")?;
    lab.await_reload()?;
    lab.eventually("the mistake is told", LIMIT, |_| {
        let seen = old
            .run(&["crm_mon", "-1"])
            .map_err(|e| e.to_string())?
            .text();
        let is_told = seen.contains("sync_node_list names nosuch");
        is_told.then_some(()).ok_or(seen)
    })?;
    stage.writes_go_on()?;
    expect(
        lab.status()?
            .attribute(old.name(), "pgsql-degraded")
            .is_none(),
        || "commits wait for nobody".to_owned(),
    )?;
    lab.set_parameter("sync_node_list", &order)?;
    lab.await_reload()?;
    lab.set_parameter("nofailover_node_list", second.name())?;
    lab.await_reload()?;
    counts(lab, first, second)?;
    let refused = old.run(&[PROGRAM, "cluster", "switch", "--yes", second.name()])?;
    expect(
        refused.text().contains("nofailover_node_list names it"),
        || format!("cluster switch says {}", refused.text()),
    )?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    expect(new.name() == first.name(), || {
        format!("{} was promoted", new.name())
    })?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    stage.recovers()?;
    lab.clean_up(new)
}

/// The standby beside `node`.
fn beside<'a>(stage: &'a Stage, node: &Node) -> Result<&'a Node> {
    let standbys = stage.lab.standbys()?;
    let other = standbys.iter().find(|other| other.name() != node.name());
    other
        .copied()
        .ok_or_else(|| wrong("there is no second standby"))
}

fn constraint(node: &Node, act: &str, text: &str) -> Result<()> {
    let argv = ["cibadmin", act, "--scope=constraints", "--xml-text", text];
    node.run(&argv)?.ok().map(drop)
}

/// Waits until `node` alone is sure to have every acknowledged commit.
fn counts(lab: &Cluster, node: &Node, no_more: &Node) -> Result<()> {
    let what = format!(
        "commits wait for {} in place of {}",
        node.name(),
        no_more.name()
    );
    lab.eventually(&what, LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let of = |node: &Node| status.attribute(node.name(), "pgsql-data-status");
        let is_so = of(node) == Some("STREAMING|SYNC") && of(no_more) != Some("STREAMING|SYNC");
        is_so.then_some(()).ok_or_else(|| status.to_string())
    })
}
