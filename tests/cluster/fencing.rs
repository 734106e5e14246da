//! Two nodes, and a power strip by which each can switch the other off; nothing else decides between them. docs/fencing.md, typed.

use lab::{Allowed, Node, RepMode, Result, Site, Whose};

use super::commands::PROGRAM;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};
use super::typed::follow;

pub(crate) fn two_nodes_with_a_power_strip_fence_each_other_and_lose_nothing() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        let builder = builder.nodes(2).power_strip().site(Site::Plain);
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    let lab = &stage.lab;
    stage.step("as the page says", Allowed::nothing(), |_| {
        follow(lab, "fencing.md", "## Two nodes and a device", &[])
    })?;
    // On both, so that it is no matter of names or of who is faster.
    for round in 1..=2 {
        stage.step(
            &format!("they lose each other: the primary's node stays, {round}"),
            Allowed::nothing().waiting(),
            the_primary_survives,
        )?;
        stage.step("the primary moves", Allowed::switchover(), |_| {
            let other = standby(&stage)?;
            lab.move_primary(other, LIMIT)
        })?;
    }
    stage.step(
        "the primary's machine loses power: it is fenced, and the other takes over",
        Allowed::failover(),
        |stage| {
            let lost = lab.primary()?;
            lab.power_off(lost)?;
            stage.taken_over_from(lost)?;
            stage.writes_go_on()?;
            lab.power_on(lost)?;
            stage.recovers()
        },
    )?;
    stage.step(
        "a primary that can't be stopped is switched off",
        Allowed::failover().failing(Whose::Anybodys, "stop", "", 1),
        a_failed_stop,
    )
}

fn standby(stage: &Stage) -> Result<&Node> {
    let found = stage.lab.standbys()?.into_iter().next();
    found.ok_or_else(|| wrong("there is no standby"))
}

/// Each has quorum, and fences the other; clients reach both.
fn the_primary_survives(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, other) = (lab.primary()?, standby(stage)?);
    let server = lab.postgres(primary).postmaster();
    lab.split(primary)?;
    switched_off(stage, other)?;
    stage.writes_go_on()?;
    // Longer than the other could have been waiting for its turn; who is off asks for nothing.
    expect(primary.is_on(), || {
        format!("{}, the primary's, is off, too", primary.name())
    })?;
    lab.heal()?;
    lab.power_on(other)?;
    lab.wait_healthy(LIMIT)?;
    expect(lab.postgres(primary).postmaster() == server, || {
        "the primary's server is another".into()
    })
}

fn switched_off(stage: &Stage, node: &Node) -> Result<()> {
    let what = format!("{} is switched off", node.name());
    stage.lab.eventually(&what, LIMIT, |lab| {
        if node.is_on() {
            Err(lab
                .status()
                .map_or_else(|error| error.to_string(), |s| s.to_string()))
        } else {
            Ok(())
        }
    })
}

/// A fake in the agent's place refuses every stop, as where the storage holds the server's processes.
fn a_failed_stop(stage: &Stage) -> Result<()> {
    const FAKE: &str = "#!/bin/sh\n# A fake: the agent, but for a stop, which fails.\ncase \"$1\" in\nstop) exit 1 ;;\nesac\nexec /root/agent/expgsql \"$@\"\n";
    let lab = &stage.lab;
    let primary = lab.primary()?;
    primary
        .sh(&format!("mkdir /root/agent && mv {PROGRAM} /root/agent/"))?
        .ok()?;
    primary.write_file(PROGRAM, FAKE, "root", "755")?;
    lab.set_standby_mode(primary, true)?;
    switched_off(stage, primary)?;
    stage.taken_over_from(primary)?;
    stage.writes_go_on()?;
    let name = ["--node", primary.name(), "--name", "standby"];
    let back = ["--lifetime", "forever", "--delete"];
    let words = [&["crm_attribute"], &name[..], &back[..]].concat();
    lab.primary()?.run(&words)?.ok()?;
    lab.power_on_after(primary, |node| {
        node.run(&["mv", "/root/agent/expgsql", PROGRAM])?
            .ok()
            .map(drop)
    })?;
    stage.recovers()
}
