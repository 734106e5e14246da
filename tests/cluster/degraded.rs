//! A standby of which something is told takes over as soon as any other: Pacemaker has to see the end of a monitor that answered degraded.

use lab::{Allowed, Node, RepMode, Result, Site};

use super::commands::PROGRAM;
use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// A regular expression that is none.
const LINE: &str = "lab /( postgres";

pub(crate) fn a_degraded_standby_takes_over_as_soon_as_any_other() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .site(Site::Plain)
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the primary is where the coordinator is",
        Allowed::switchover(),
        is_coordinator,
    )?;
    stage.step(
        "degraded, and the coordinator is lost with the primary",
        Allowed::failover(),
        |stage| {
            let successor = most_important_standby(stage)?;
            misspell(stage, successor)?;
            is_told(stage, successor)?;
            lost(stage, successor)?;
            stage.recovers()
        },
    )?;
    stage.step(
        "degraded from the first monitor on",
        Allowed::failover().restarts(2),
        |stage| {
            let lab = &stage.lab;
            let successor = most_important_standby(stage)?;
            misspell(stage, successor)?;
            let is_other = |node: &&Node| node.name() != successor.name();
            let other = lab.standbys()?.into_iter().find(is_other);
            let other = other.ok_or_else(|| wrong("one standby only"))?;
            lab.set_standby_mode(successor, true)?;
            is_out(stage, successor)?;
            lab.set_standby_mode(successor, false)?;
            is_told(stage, successor)?;
            lab.wait_healthy(LIMIT)?;
            // Then there is no other successor.
            lab.set_standby_mode(other, true)?;
            is_out(stage, other)?;
            lab.eventually("commits wait for it", LIMIT, |_| {
                let seen = most_important_standby(stage).map_err(|error| error.to_string())?;
                (seen.name() == successor.name())
                    .then_some(())
                    .ok_or_else(|| seen.name().to_owned())
            })?;
            stage.writes_go_on()?;
            lost(stage, successor)?;
            lab.set_standby_mode(other, false)?;
            stage.recovers()
        },
    )
}

fn is_out(stage: &Stage, node: &Node) -> Result<()> {
    let postgres = stage.lab.postgres(node);
    stage
        .lab
        .eventually("it has stopped", LIMIT, |_| match postgres.postmaster() {
            None => Ok(()),
            Some(pid) => Err(format!("process {pid} runs")),
        })
}

/// The primary's machine loses power, and its standby takes over.
fn lost(stage: &Stage, successor: &Node) -> Result<()> {
    let primary = stage.lab.primary()?;
    stage.lab.power_off(primary)?;
    let new = stage.taken_over_from(primary)?;
    expect(new.name() == successor.name(), || {
        format!("{} took over, not {}", new.name(), successor.name())
    })?;
    stage.writes_go_on()?;
    stage.lab.power_on(primary)
}

/// The primary runs where Pacemaker's coordinator does.
fn is_coordinator(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let coordinator = lab
        .status()?
        .dc
        .ok_or_else(|| wrong("nobody coordinates"))?;
    let primary = lab.primary()?;
    if coordinator == primary.name() {
        return Ok(());
    }
    let argv = [PROGRAM, "cluster", "switch", &coordinator, "--yes"];
    lab.node(&coordinator)?.run(&argv)?.ok()?;
    lab.wait_healthy(LIMIT)
}

/// A line that the server refuses, and starts with all the same.
pub(crate) fn misspell(stage: &Stage, node: &Node) -> Result<()> {
    edited(stage, node, &format!("echo '{LINE}' >>"))
}

/// Takes that line out again.
pub(crate) fn correct(stage: &Stage, node: &Node) -> Result<()> {
    edited(stage, node, "sed -i '/^lab /d'")
}

/// The file of the mappings of names, changed and read anew.
fn edited(stage: &Stage, node: &Node, by: &str) -> Result<()> {
    let config = &stage.lab.layout().config;
    let file = config.with_file_name("pg_ident.conf");
    node.sh(&format!("{by} {}", file.display()))?.ok()?;
    let postgres = stage.lab.postgres(node);
    postgres.sql("select pg_reload_conf()").map(drop)
}

/// The standby's monitor says so.
fn is_told(stage: &Stage, node: &Node) -> Result<()> {
    stage.lab.eventually("what is wrong is told", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let told = status.attribute(node.name(), "pgsql-notice");
        let is_there = told.is_some_and(|text| text.contains("pg_ident.conf"));
        is_there.then_some(()).ok_or_else(|| status.to_string())
    })
}
