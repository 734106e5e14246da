//! The writer's address is on two nodes after a split: the old primary's, which hangs in the cluster's eyes and serves, and the new one's.
//! A standby that is to follow the new primary reaches the old one by it. That must not let the old one acknowledge.

use lab::network::WRITER_ADDRESS;
use lab::{Allowed, Error, Node, RepMode, Result, Whose};

use super::stage::{GONE, LIMIT, NEWER, ON_DIVERGENCE, Stage, cut_off, promised, wrong};

/// How often a standby has to be turned away until that is taken for the end of it.
const TURNED_AWAY: usize = 3;

/// Of the client that holds on to the old primary.
const TABLE: &str = "held_old";

pub(crate) fn a_standby_that_reaches_the_old_primary_confirms_it_nothing() -> Result<()> {
    // Whoever confirms counts, so either standby could let the old primary acknowledge.
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .param("sync_method", "quorum")
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the follower of the new primary reaches the old one",
        allowed(),
        reaches_the_old_one,
    )
}

/// As long as the old primary's controller hangs nobody stops it.
fn allowed() -> Allowed {
    cut_off()
        .both_writable(LIMIT)
        .waiting()
        .restarts(1)
        .failing(Whose::Deposed, "demote", " is past ", 1)
        .failing(Whose::Deposed, "monitor", NEWER, 1)
        .failing(Whose::Deposed, "monitor", GONE, 1)
}

fn reaches_the_old_one(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, standbys) = (lab.primary()?, lab.standbys()?);
    let held = stage.client.beside(lab, old, TABLE)?;
    lab.eventually("a client holds on to the primary", LIMIT, |_| {
        match held.acked_count() {
            0 => Err(format!("{:?}", held.score().errors.last())),
            _ => Ok(()),
        }
    })?;
    lab.freeze_controller(old)?;
    for standby in &standbys {
        remember_route(standby, old)?;
    }
    talk(old, "-A")?;
    let new = lab.eventually("a standby is promoted", LIMIT, |lab| {
        let is_it = |node: &&&Node| lab.postgres(node).is_writable() == Some(true);
        let new = standbys.iter().find(is_it);
        new.copied().ok_or_else(|| "none takes writes".to_owned())
    })?;
    let begin = stage.client.now();
    let follower = standbys.iter().find(|node| node.name() != new.name());
    let follower = follower.ok_or_else(|| wrong("there is no second standby"))?;
    println!(
        "         {} is promoted; {} is to follow it, and reaches {}",
        new.name(),
        follower.name(),
        old.name()
    );
    let late = || {
        let acks = held.score().acks.into_iter();
        let late = acks.filter(|ack| ack.at > begin);
        late.map(|ack| ack.seq.to_string()).collect::<Vec<_>>()
    };
    let late = lab.eventually(
        "the old primary turns the follower away",
        LIMIT,
        |_| match (late(), turned_away(old, follower)) {
            (late, times) if late.is_empty() && times < TURNED_AWAY => {
                Err(format!("{times} times"))
            }
            (late, _) => Ok(late),
        },
    )?;
    if !late.is_empty() {
        let there = format!(
            "select count(*) from {TABLE} where seq in ({})",
            late.join(", ")
        );
        return Err(Error::Promise(format!(
            "{} commits were acknowledged by {} after {} was promoted, which has {} of them",
            late.len(),
            old.name(),
            new.name(),
            lab.postgres(new).sql(&there)?
        )));
    }
    stage.writes_go_on()?;
    for standby in &standbys {
        forget_route(standby)?;
    }
    talk(old, "-D")?;
    lab.thaw_controller(old)?;
    stage.recovers()?;
    let lost = held.stop().lost(lab)?;
    promised(lost.is_empty(), || {
        format!("{} acknowledged commits are lost", lost.len())
    })
}

/// The node goes on sending what is for the writer's address to `there`, as where a switch or a router does not hear that it has moved.
fn remember_route(node: &Node, there: &Node) -> Result<()> {
    let card = there.read_file("/sys/class/net/eth0/address")?;
    let card = card.trim();
    node.sh(&format!(
        "ip neigh replace {WRITER_ADDRESS} lladdr {card} nud permanent dev eth0"
    ))?
    .ok()
    .map(drop)
}

fn forget_route(node: &Node) -> Result<()> {
    node.sh(&format!("ip neigh del {WRITER_ADDRESS} dev eth0"))?
        .ok()
        .map(drop)
}

/// The cluster's own messages are dropped on their way to and from the node, and nothing else.
fn talk(node: &Node, act: &str) -> Result<()> {
    let line =
        format!("iptables {act} INPUT -p udp -j DROP && iptables {act} OUTPUT -p udp -j DROP");
    node.sh(&line)?.ok().map(drop)
}

/// How often `old` has told `follower` that there is no such slot.
fn turned_away(old: &Node, follower: &Node) -> usize {
    let log = old.tail(lab::postgres::LOG, 500);
    let says = |line: &&str| {
        line.contains("replication slot \"")
            && line.contains(&follower.application_name())
            && line.contains("does not exist")
    };
    log.lines().filter(says).count()
}
