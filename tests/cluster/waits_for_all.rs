//! Two nodes as corosync has them by default: `two_node`, and with that `wait_for_all`, and Pacemaker's default for a partition
//! without quorum. After both lost power a single node waits for the other, and says so.

use lab::{Allowed, Node, RepMode, Result};

use super::commands::ends;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, wrong};

/// What `expgsql cluster why` tells an operator to type where the other node is gone for good.
const UNBLOCK: &str = "corosync-cmapctl -s quorum.cancel_wait_for_all u8 1";

pub(crate) fn one_of_two_that_starts_alone_waits_for_the_other() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(2)
            .property("no-quorum-policy", "stop")
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "both lose power: the first one back waits",
        Allowed::failover().waiting().restarts(2),
        |stage| {
            let (old, _) = one_is_back(stage)?;
            stage.lab.power_on(old)?;
            stage.recovers()
        },
    )?;
    stage.step(
        "both lose power: an operator ends the wait",
        Allowed::failover().waiting().restarts(2),
        unblocked,
    )
}

/// Both lost power, and the one that was the standby is back. Gives the one that was the primary, and it.
fn one_is_back(stage: &Stage) -> Result<(&Node, &Node)> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let mut nodes = lab.nodes().iter();
    let standby = nodes
        .find(|node| node.name() != old.name())
        .ok_or_else(|| wrong("there is no second node"))?;
    lab.power_off(old)?;
    lab.power_off(standby)?;
    lab.power_on(standby)?;
    lab.eventually("it is said what is waited for", LIMIT, |_| {
        let why = ends(standby, &["why"], 0, "wait_for_all").map_err(|error| error.to_string())?;
        if why.stdout.contains(UNBLOCK) {
            Ok(())
        } else {
            Err(why.text())
        }
    })?;
    let why = ends(standby, &["why"], 0, "There is no primary")?.stdout;
    println!("         # expgsql cluster why");
    why.lines().for_each(|line| println!("         | {line}"));
    ends(standby, &["status", "--check"], 102, "wait_for_all")?;
    lab.holds_for("nobody is promoted", lab.spec().token * 4, |lab| {
        let status = lab.status_on(standby).map_err(|error| error.to_string())?;
        // By the server's own account as well: one that does not run takes no writes, one that is silent might.
        let runs = lab.postgres(standby).postmaster();
        if status.promoted().is_empty() && runs.is_none() {
            Ok(())
        } else {
            Err(format!("postmaster {runs:?}\n{status}"))
        }
    })?;
    Ok((old, standby))
}

/// The one that was the standby has everything. It is promoted at once; commits wait for the other, since nothing proves that
/// it is alone.
fn unblocked(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, standby) = one_is_back(stage)?;
    standby.run(&UNBLOCK.split(' ').collect::<Vec<_>>())?.ok()?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    lab.power_on(old)?;
    stage.recovers()
}
