//! How soon a lost machine is noticed: by corosync's own timing, by what `setup corosync` sets, and back, while a client writes.

use std::time::{Duration, Instant};

use lab::{Allowed, Node, RepMode, Result, Site};

use super::machines::most_important_standby;
use super::setup::{config, ends, write};
use super::stage::{LIMIT, Stage, expect, wrong};

const FILE: &str = "/etc/corosync/corosync.conf";

pub(crate) fn a_lost_machine_is_noticed_sooner_where_corosync_is_told_of_the_network() -> Result<()>
{
    let stage = Stage::set(RepMode::Sync, |builder| builder.site(Site::Plain))?;
    let lab = &stage.lab;
    let node = lab.primary()?;
    let before: Vec<String> = files(&stage)?;
    write(node, &config(lab))?;
    let by_itself = lost(&stage, "by corosync's own timing")?;
    stage.step("what can't be done is refused", Allowed::nothing(), refused)?;
    stage.step("corosync is told", Allowed::nothing(), |_| {
        let plan = ends(
            node,
            &["corosync", "--network", "local", "--dry-run"],
            0,
            "8.0 s",
        )?;
        expect(
            plan.stdout.contains("token              3000 -> 1000"),
            || plan.text(),
        )?;
        expect(files(&stage)? == before, || "a dry run wrote".into())?;
        ends(
            node,
            &["corosync", "--network", "local"],
            1,
            "--yes goes on without asking",
        )?;
        let said = ends(
            node,
            &["corosync", "--network", "local", "--yes"],
            0,
            "noticed after 2.2 s",
        )?;
        print!("{}", said.stdout);
        ends(
            node,
            &["corosync", "--network", "local", "--yes"],
            0,
            "Nothing to do",
        )
        .map(drop)
    })?;
    let told = lost(&stage, "on a local network")?;
    println!("         a lost machine was noticed after {by_itself:.1?}, and after {told:.1?}");
    expect(told < by_itself / 2, || {
        format!("{told:?} is not half of {by_itself:?}")
    })?;
    stage.step("and back", Allowed::nothing(), |_| {
        ends(
            node,
            &["corosync", "--network", "default", "--yes"],
            0,
            "noticed after 8.0 s",
        )?;
        let unset = |text: &String| !text.contains("token") && !text.contains("consensus");
        let now = files(&stage)?;
        expect(now.iter().all(unset), || now.concat())
    })
}

/// The file of every node.
fn files(stage: &Stage) -> Result<Vec<String>> {
    let nodes = stage.lab.nodes().iter();
    nodes.map(|node| node.run(&["cat", FILE])?.ok()).collect()
}

/// A node of which nothing depends loses power: how long it took until another node knew.
fn lost(stage: &Stage, how: &str) -> Result<Duration> {
    let lab = &stage.lab;
    let mut took = Duration::ZERO;
    let name = format!("a standby's machine loses power, {how}");
    stage.step(&name, Allowed::nothing(), |stage| {
        let waited_for = most_important_standby(stage)?;
        let standbys = lab.standbys()?;
        let mut others = standbys
            .iter()
            .filter(|node| node.name() != waited_for.name());
        let node = others.next().ok_or_else(|| wrong("one standby only"))?;
        let begin = Instant::now();
        lab.power_off(node)?;
        lab.eventually("the loss is noticed", LIMIT, |lab| {
            let status = lab.status().map_err(|error| error.to_string())?;
            if status.is_online(node.name()) {
                return Err(status.to_string());
            }
            Ok(())
        })?;
        took = begin.elapsed();
        // Not on all nodes: on none.
        let before = files_of(lab.primary()?)?;
        ends(
            lab.primary()?,
            &["corosync", "--network", "cloud", "--yes"],
            1,
            "nothing was done",
        )?;
        expect(before == files_of(lab.primary()?)?, || {
            "it was written".into()
        })?;
        lab.power_on(node)?;
        stage.recovers()
    })?;
    Ok(took)
}

fn files_of(node: &Node) -> Result<String> {
    node.run(&["cat", FILE])?.ok()
}

/// A file that differs between the nodes, and one that is not understood.
fn refused(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (node, nodes) = (lab.primary()?, lab.nodes());
    let text = files_of(node)?;
    let put = |node: &Node, text: &str| node.write_file(FILE, text, "root", "644");
    let last = nodes.last().ok_or_else(|| wrong("no nodes"))?;
    let words = ["corosync", "--network", "local", "--yes"];
    put(last, &text.replace("token: 3000", "token: 4000"))?;
    ends(node, &words, 100, "is not the same on")?;
    for node in nodes {
        put(node, &text.replace("token: 3000", "token: 3s"))?;
    }
    ends(node, &words, 100, "\"3s\" is no number")?;
    nodes.iter().try_for_each(|node| put(node, &text))?;
    // A node that config.ini does not name would keep the old file.
    let fewer = config(lab)
        .replace(
            "pcs_template=muti.pcs.template\n",
            "pgsql_enable_distlock=false\n",
        )
        .replace("node3=node3\n", "");
    write(node, &fewer)?;
    ends(node, &words, 100, "has node3 besides")?;
    for node in nodes {
        let now = files_of(node)?;
        expect(now == text, || format!("{} was written", node.name()))?;
    }
    write(node, &config(lab))
}
