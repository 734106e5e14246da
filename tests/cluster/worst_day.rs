//! Days for which docs/operations.md has a recipe: a full disk, and a cluster of which one machine is left.

use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};
use serde_json::Value;

use super::arbiters::is_waiting;
use super::commands::{cluster, ends, indented};
use super::machines::most_important_standby;
use super::stage::{GONE, LIMIT, Stage, expect, wrong};
use super::typed::line;

/// What a small disk has room for beside the data that are there.
const ROOM_MB: u32 = 160;

pub(crate) fn what_to_do_when_is_what_helps() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    stage.step(
        "two of three machines are gone for good",
        // Its score is from before; the promotion itself says no.
        Allowed::failover()
            .waiting()
            .restarts(2)
            .failing(Whose::Anybodys, "promote", "cut off", 1),
        one_is_left,
    )?;
    stage.step(
        "a standby's data are on a small disk",
        Allowed::nothing().restarts(1),
        |stage| onto_a_small_disk(stage, another(stage)?),
    )?;
    stage.step(
        "its disk is full, and commits wait for it",
        Allowed::nothing().restarts(4).waiting(),
        standby_full,
    )?;
    stage.step(
        "the primary's disk is full: another takes over",
        Allowed::failover()
            .promotions(2)
            .restarts(4)
            .waiting()
            .failing(Whose::Deposed, "monitor", GONE, 1)
            .failing(Whose::Deposed, "promote", "No space left on device", 3)
            // On a site that speaks another language.
            .failing(Whose::Deposed, "promote", "pg_wal/xlogtemp", 3)
            .refused(),
        primary_full,
    )
}

/// The standby that commits do not wait for.
fn another(stage: &Stage) -> Result<&Node> {
    let waited_for = most_important_standby(stage)?;
    let mut standbys = stage.lab.standbys()?.into_iter();
    let other = standbys.find(|node| node.name() != waited_for.name());
    other.ok_or_else(|| wrong("there is one standby only"))
}

/// The node whose data are on a small disk.
fn on_a_small_disk(stage: &Stage) -> Result<&Node> {
    let data = stage.lab.layout().data.display().to_string();
    let is_there = |node: &&Node| {
        let mounted = node.run(&["mountpoint", "--quiet", &data]);
        mounted.is_ok_and(|output| output.success())
    };
    let found = stage.lab.nodes().iter().find(is_there);
    found.ok_or_else(|| wrong("no data are on a small disk"))
}

/// Moves a node's data to a disk of their own, which has little room.
fn onto_a_small_disk(stage: &Stage, node: &Node) -> Result<()> {
    let data = stage.lab.layout().data.display().to_string();
    ends(
        node,
        &["standby-node", node.name(), "--yes"],
        0,
        "out of service",
    )?;
    node.sh(&format!(
        "set -e; size=$(du -sm {data} | cut -f1); mv {data} {data}.own; install -d -o postgres -g postgres -m 700 {data}; \
         mount -t tmpfs -o size=$((size + {ROOM_MB}))m,mode=700 tmpfs {data}; chown postgres:postgres {data}; \
         cp -a {data}.own/. {data}/; rm -rf {data}.own"
    ))?
    .ok()?;
    ends(node, &["unstandby-node", node.name()], 0, "follows").map(drop)
}

/// Leaves no room there.
fn fill(stage: &Stage, node: &Node) -> Result<()> {
    let data = stage.lab.layout().data.display().to_string();
    let full = format!("dd if=/dev/zero of={data}/ballast bs=4k");
    let output = node.sh(&full)?;
    expect(output.stderr.contains("No space left"), || output.text())
}

fn make_room(stage: &Stage, node: &Node) -> Result<()> {
    let data = stage.lab.layout().data.display().to_string();
    node.run(&["rm", &format!("{data}/ballast")])?
        .ok()
        .map(drop)
}

/// Has the primary write a whole file of WAL.
fn write_wal(lab: &Cluster) -> std::result::Result<(), String> {
    let primary = lab.primary().map_err(|error| error.to_string())?;
    let sql = "select pg_logical_emit_message(false, 'worst day', 'x'), pg_switch_wal()";
    let written = lab.postgres(primary).sql(sql);
    written.map(drop).map_err(|error| error.to_string())
}

/// Whom commits wait for.
fn waits_for(stage: &Stage, node: &Node) -> Result<()> {
    stage
        .lab
        .eventually("commits wait for another", LIMIT, |_| {
            let now = most_important_standby(stage).map_err(|error| error.to_string())?;
            if now.name() == node.name() {
                Ok(())
            } else {
                Err(now.name().to_owned())
            }
        })
}

fn standby_full(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, full) = (lab.primary()?, on_a_small_disk(stage)?);
    let other = most_important_standby(stage)?;
    if other.name() != full.name() {
        ends(
            primary,
            &["standby-node", other.name(), "--yes"],
            0,
            "out of service",
        )?;
        waits_for(stage, full)?;
        ends(primary, &["unstandby-node", other.name()], 0, "follows")?;
    }
    waits_for(stage, full)?;
    fill(stage, full)?;
    let streams = format!(
        "select count(*) from pg_stat_replication where application_name = '{}' and state = 'streaming'",
        full.name()
    );
    lab.eventually("it stops receiving", LIMIT, |lab| {
        write_wal(lab)?;
        let seen = lab.postgres(primary).sql(&streams);
        match seen.map_err(|error| error.to_string())?.as_str() {
            "0" => Ok(()),
            _ => Err("it streams".to_owned()),
        }
    })?;
    waits_for(stage, lab.node(other.name())?)?;
    stage.writes_go_on()?;
    make_room(stage, full)
}

fn primary_full(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let full = on_a_small_disk(stage)?;
    ends(full, &["switch", full.name(), "--yes"], 0, "is the primary")?;
    stage.writes_go_on()?;
    fill(stage, full)?;
    let begin = stage.client.now();
    let name = lab.eventually("another takes over", LIMIT, |lab| {
        match lab.primary() {
            Ok(new) if new.name() != full.name() => Ok(new.name().to_owned()),
            // It needs a new file of WAL: that is what it has no room for.
            Ok(_) => Err(write_wal(lab)
                .err()
                .unwrap_or_else(|| "it still writes".to_owned())),
            Err(error) => Err(error.to_string()),
        }
    })?;
    stage.writes_go_on()?;
    let pause = stage.client.score().longest_gap_since(begin);
    println!(
        "         {name} took over, writes paused for {:.1} s",
        pause.as_secs_f64()
    );
    let status = ends(
        lab.node(&name)?,
        &["status"],
        0,
        &format!("{name} is the primary"),
    )?;
    print!("{}", indented(&status.stdout));
    make_room(stage, full)?;
    let output = cluster(full, &["cleanup"])?;
    print!("{}", indented(&output.text()));
    if output.code() == Some(0) {
        return Ok(());
    }
    // What it had written when it ended, nobody may have received.
    expect(output.text().contains(" is past fork "), || output.text())?;
    ends(full, &["rewind", "--yes"], 0, "follows").map(drop)
}

fn one_is_left(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, left) = (lab.primary()?, most_important_standby(stage)?);
    let others = lab.nodes().iter().filter(|n| n.name() != left.name());
    let others: Vec<&Node> = others.collect();
    others.iter().try_for_each(|node| lab.power_off(node))?;
    let why = lab.eventually("there is no quorum", LIMIT, |_| {
        let output = cluster(left, &["why", "--json"]).map_err(|error| error.to_string())?;
        let why: Value = serde_json::from_str(&output.stdout).map_err(|error| error.to_string())?;
        if why["state"] == "none" && why["cluster"][0]["code"] == "no-quorum" {
            Ok(why)
        } else {
            Err(why.to_string())
        }
    })?;
    let ground = &why["nodes"][left.name()]["ground"];
    expect(*ground == "claimed", || why.to_string())?;
    // Outside (R9) is where its server is stopped for lack of quorum: a human does not type faster than that.
    lab.eventually("its server is stopped", LIMIT, |lab| {
        let status = lab.status_on(left).map_err(|error| error.to_string())?;
        let stopped = status.attribute(left.name(), "pgsql-status") == Some("STOP");
        match (lab.postgres(left).postmaster(), stopped) {
            (None, true) => Ok(()),
            running => Err(format!("{running:?}")),
        }
    })?;

    let type_in = |begin: &str| -> Result<()> {
        let command = line("operations.md", "    # ", begin)?;
        print!("{}", indented(&command));
        left.sh(&command)?.ok().map(drop)
    };
    type_in("corosync-quorumtool")?;
    // Pacemaker has stopped its server for lack of quorum: it was outside (R9).
    let words = ["reset-master", left.name(), "--yes"];
    lab.eventually("it is named", LIMIT, |_| {
        let output = cluster(left, &words).map_err(|error| error.to_string())?;
        match output.code() {
            Some(0) => Ok(()),
            _ => Err(output.text()),
        }
    })?;
    let new = stage.taken_over_from(primary)?;
    expect(new.name() == left.name(), || new.name().to_owned())?;
    is_waiting(stage, left)?;
    type_in("crm_resource")?;
    stage.writes_go_on()?;

    others.iter().try_for_each(|node| lab.power_on(node))?;
    lab.eventually("they are back", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let mut nodes = lab.nodes().iter();
        match nodes.find(|node| !status.is_online(node.name())) {
            Some(_) => Err(status.to_string()),
            None => Ok(()),
        }
    })?;
    let delete = "crm_resource --resource pgsql --delete-parameter unsafe_relax";
    left.sh(delete)?.ok().map(drop)
}
