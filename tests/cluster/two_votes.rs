//! Two nodes and no lock service: neither side can outvote the other. What one of them concludes about the other has to be
//! so for certain, or commits wait.

use lab::postgres::TMPDIR;
use lab::{Allowed, Node, RepMode, Result, ScoreClient, Whose};

use super::stage::{GONE, LIMIT, NEWER, Stage, expect, promised, wrong};

pub(crate) fn two_nodes_without_a_lock_lose_nothing_while_a_controller_hangs() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder.nodes(2))?;
    stage.step(
        "the link breaks while the primary's controller hangs",
        // Until the network is whole again two are promoted, and one of them holds commits up. Pacemaker then demotes both.
        Allowed::failover()
            .waiting()
            .restarts(2)
            .both_writable(LIMIT)
            .failing(Whose::Deposed, "demote", " is past ", 1)
            // Its monitor may be the first to see it.
            .failing(Whose::Deposed, "monitor", NEWER, 1)
            .failing(Whose::Deposed, "monitor", GONE, 1),
        split_while_the_controller_hangs,
    )
}

pub(crate) fn two_nodes_with_fencing_lose_nothing_to_one_that_starts_alone() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.nodes(2).fencing().wait_for_all(false)
    })?;
    stage.step(
        "both lost one after the other, and the first one is back first",
        Allowed::failover(),
        lost_in_turn,
    )?;
    stage.step(
        "with wait_for_all the primary goes on alone",
        Allowed::switchover(),
        goes_on_alone,
    )
}

fn other_than<'a>(stage: &'a Stage, primary: &Node) -> Result<&'a Node> {
    let mut nodes = stage.lab.nodes().iter();
    nodes
        .find(|node| node.name() != primary.name())
        .ok_or_else(|| wrong("there is no second node"))
}

/// A client for each node that holds on to it, wherever the writer's address is.
fn hold_on(stage: &Stage) -> Result<Vec<ScoreClient>> {
    let nodes = stage.lab.nodes().iter();
    let clients: Vec<_> = nodes
        .map(|node| {
            let table = format!("held_{}", node.name());
            stage.client.beside(&stage.lab, node, &table)
        })
        .collect::<Result<_>>()?;
    stage
        .lab
        .eventually("a client holds on to the primary", LIMIT, |_| {
            if clients.iter().any(|client| client.acked_count() > 0) {
                Ok(())
            } else {
                Err("no commit".into())
            }
        })?;
    Ok(clients)
}

/// Its CIB shows the other as a member for as long as the controller hangs. Each side has quorum.
fn split_while_the_controller_hangs(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let new = other_than(stage, old)?;
    let held = hold_on(stage)?;
    lab.freeze_controller(old)?;
    lab.split(old)?;
    lab.eventually("the other side promotes", LIMIT, |lab| {
        match lab.postgres(new).is_writable() {
            Some(true) => Ok(()),
            Some(false) | None => Err(format!("{} takes no writes", new.name())),
        }
    })?;
    let begin = stage.client.now();
    let alone = || {
        let of = |client: &ScoreClient| client.score().acks;
        let acks: Vec<_> = held.iter().flat_map(of).collect();
        let late = acks.iter().filter(|ack| ack.at > begin);
        late.filter(|ack| *ack.node == *old.name()).count()
    };
    // From here on nothing changes for the old primary any more.
    let acknowledged = lab.eventually("the old primary holds commits up", LIMIT, |_| {
        let state = old.read_file(&format!("{TMPDIR}/expgsql.state"));
        let state = state.map_err(|error| error.to_string())?;
        match alone() {
            0 if state.contains("is out of reach") => Ok(0),
            0 => Err(state),
            count => Ok(count),
        }
    })?;
    println!(
        "         {acknowledged} commits acknowledged by {} alone",
        old.name()
    );
    lab.thaw_controller(old)?;
    lab.heal()?;
    stage.recovers()?;
    let mut lost = 0;
    for client in held {
        let score = client.stop();
        // One that never wrote has no table.
        if score.acked() > 0 {
            lost += score.lost(lab)?.len();
        }
    }
    promised(lost == 0, || {
        format!("{lost} acknowledged commits are lost")
    })
}

/// The standby is fenced, and later the primary loses power. Who starts first, and alone, goes by its own CIB.
fn lost_in_turn(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standby = other_than(stage, primary)?;
    lab.power_off(standby)?;
    let goal = stage.client.acked_count() + 50;
    lab.eventually("commits wait for certain, or go on", LIMIT, |_| {
        let state = primary.read_file(&format!("{TMPDIR}/expgsql.state"));
        let state = state.map_err(|error| error.to_string())?;
        if state.contains("acts alone") {
            println!("         commits wait");
            return Ok(());
        }
        if stage.client.acked_count() >= goal {
            println!("         commits go on");
            return Ok(());
        }
        Err(state)
    })?;
    lab.power_off(primary)?;
    lab.power_on(standby)?;
    stage.taken_over_from(primary)?;
    lab.power_on(primary)?;
    stage.recovers()
}

/// corosync takes the setting at its start: the standby's is started anew, and becomes the primary.
fn goes_on_alone(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    for node in lab.nodes() {
        let edit = "sed -i 's/wait_for_all: 0/wait_for_all: 1/' /etc/corosync/corosync.conf";
        node.sh(edit)?.ok()?;
    }
    let old = lab.primary()?;
    let new = other_than(stage, old)?;
    lab.power_off(new)?;
    lab.power_on(new)?;
    lab.wait_healthy(LIMIT)?;
    let seen = new.run(&["corosync-quorumtool", "-s"])?.text();
    expect(seen.contains("WaitForAll"), || seen.clone())?;
    lab.move_primary(new, LIMIT)?;
    lab.wait_healthy(LIMIT)?;
    lab.power_off(old)?;
    lab.eventually("the loss is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(old.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    lab.wait_healthy(LIMIT)
}
