//! The network loses the primary's large frames, for longer than the settle time, and then everything. What the primary has written in between is
//! confirmed, and in its own CIB alone: corosync's token still went round.

use lab::resources::RESOURCE;
use lab::{Cluster, Node, RepMode, Result};

use super::machines::most_important_standby;
use super::not_waited_for::rules;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, cut_off, expect, promised, wrong};

/// How long the ring stands meanwhile, in corosync's token timeouts: longer than the settle time, and less than corosync takes to
/// find that the ring is of no use.
const STANDS: u32 = 4;

/// Bytes in a packet of corosync's. The token is smaller by far; whatever changes the CIB is larger.
const LARGE: &str = "500:65535";

pub(crate) fn a_revocation_that_nobody_else_has_lets_no_commit_go() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the last standby is revoked in the primary's CIB alone",
        cut_off().waiting().restarts(2),
        revoked_here_alone,
    )
}

fn revoked_here_alone(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, standby) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let voter = standbys.iter().find(|node| node.name() != standby.name());
    let voter = voter.ok_or_else(|| wrong("there is no second standby"))?;
    lab.set_standby_mode(voter, true)?;
    lab.eventually("the other one is down", LIMIT, |lab| {
        let answer = lab.postgres(voter).is_writable();
        answer.map_or(Ok(()), |answer| Err(format!("{answer}")))
    })?;
    let held = stage.client.beside(lab, old, "held_old")?;
    lab.eventually("a client holds on to the primary", LIMIT, |_| {
        match held.acked_count() {
            0 => Err(format!("{:?}", held.score().errors.last())),
            _ => Ok(()),
        }
    })?;
    lab.hold_cib_changes(old)?;
    rules(standby, old, "-A")?;
    lab.postgres(old)
        .sql("select count(pg_terminate_backend(pid)) from pg_stat_replication")?;
    lab.eventually("the standby is about to be revoked", LIMIT, |lab| match lab
        .is_cib_change_held(old)
    {
        Ok(true) => Ok(()),
        Ok(false) => Err("nothing is written".to_owned()),
        Err(error) => Err(error.to_string()),
    })?;
    large_frames(old, "-A")?;
    let begin = stage.client.now();
    lab.release_cib_changes(old)?;
    lab.eventually("the primary's CIB says so", LIMIT, |_| {
        match is_revoked(old, standby) {
            Ok(true) => Ok(()),
            Ok(false) => Err("it may still be promoted".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })?;
    lab.holds_for("the ring stands", lab.spec().token * STANDS, |_| {
        let quorum = old.run(&["corosync-quorumtool", "-s"]);
        let quorum = quorum.map_err(|error| error.to_string())?.text();
        let stands = quorum
            .lines()
            .any(|line| line.starts_with("Quorate:") && line.ends_with("Yes"));
        if stands { Ok(()) } else { Err(quorum) }
    })?;
    let others = [is_revoked(standby, standby)?, is_revoked(voter, standby)?];
    lab.split(old)?;
    expect(others == [false, false], || {
        format!("the others have it, too: {others:?}")
    })?;
    taken_over(lab, standby)?;
    let late = held.score().acks.into_iter().filter(|ack| ack.at > begin);
    let late = late.count();
    promised(late == 0, || {
        format!(
            "{late} commits were acknowledged by {} alone, and {} is promoted without them",
            old.name(),
            standby.name()
        )
    })?;
    rules(standby, old, "-D")?;
    large_frames(old, "-D")?;
    lab.heal()?;
    lab.set_standby_mode(voter, false)?;
    stage.recovers()?;
    let lost = held.stop().lost(lab)?;
    promised(lost.is_empty(), || {
        format!("{} acknowledged commits are lost", lost.len())
    })
}

fn taken_over(lab: &Cluster, standby: &Node) -> Result<()> {
    lab.eventually("the standby takes writes", LIMIT, |lab| {
        match lab.postgres(standby).is_writable() {
            Some(true) => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
}

/// Of what the node sends to the cluster only small packets arrive, as where somebody has changed the size of frames on the way.
fn large_frames(node: &Node, act: &str) -> Result<()> {
    let rule = format!("iptables {act} OUTPUT -p udp -m length --length {LARGE} -j DROP");
    node.sh(&rule)?.ok().map(drop)
}

/// Whether `standby` may not be promoted, by the CIB that `node` has.
fn is_revoked(node: &Node, standby: &Node) -> Result<bool> {
    let path = format!(
        "//node[@uname='{}']//nvpair[@name='{RESOURCE}-data-status']",
        standby.name()
    );
    let query = ["cibadmin", "--query", "--xpath", &path];
    let said = node.run(&query)?.ok()?;
    Ok(!said.contains("STREAMING|SYNC"))
}
