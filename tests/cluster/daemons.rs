//! Each of the cluster's daemons dies at once, one after the other, under load. What systemd starts again is started again (see
//! the lab's `corosync`); nobody lends a hand, but for corosync, which systemd leaves alone.

use std::time::{Duration, Instant};

use lab::{Allowed, Cluster, Daemon, Node, RepMode, Result, Whose};

use super::machines::most_important_standby;
use super::stage::{LIMIT, NEWER, ON_DIVERGENCE, Stage, expect, promised};

const PRIMARY: &str = "primary";

/// Several times the monitor's interval.
const UNTIL_ITS_MONITOR: Duration = Duration::from_secs(15);

pub(crate) fn a_primary_outlives_each_daemon_of_its_cluster() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    each(&stage, PRIMARY, |stage| stage.lab.primary())
}

pub(crate) fn a_standby_outlives_each_daemon_of_its_cluster() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    each(&stage, "standby", most_important_standby)
}

fn each(
    stage: &Stage,
    whose: &str,
    which: impl for<'a> Fn(&'a Stage) -> Result<&'a Node>,
) -> Result<()> {
    for daemon in Daemon::ALL {
        // Without corosync the node has left, for the others and for itself: what it ran is started anew, or elsewhere.
        let leaves = daemon == Daemon::Corosync;
        let allowed = match (leaves, whose) {
            // Nobody stops what was the primary; it takes writes, and acknowledges none.
            (true, PRIMARY) => {
                Allowed::failover()
                    .both_writable(LIMIT)
                    .failing(Whose::Deposed, "probe", NEWER, 1)
            }
            (true, _) => Allowed::nothing().restarts(1),
            (false, PRIMARY) if may_move(daemon) => Allowed::failover()
                .restarts(2)
                .both_writable(UNTIL_ITS_MONITOR)
                .failing(Whose::Deposed, "monitor", NEWER, 1)
                .failing(Whose::Deposed, "probe", NEWER, 1),
            (false, _) => Allowed::nothing(),
        };
        stage.step(
            &format!("{daemon} of the {whose} is killed"),
            allowed,
            |stage| {
                let node = which(stage)?;
                if leaves {
                    leaves_and_returns(stage, node)
                } else {
                    goes_on(stage, node, daemon)
                }
            },
        )?;
    }
    Ok(())
}

/// Whether Pacemaker may take the primary elsewhere. When a node's attribute daemon dies, or its controller (both do with the
/// CIB's, the controller also with the executor, and with the scheduler where it is the coordinator), Pacemaker forgets all promotion scores of the node, and prefers a standby
/// that has one: a switchover in order. Or it takes the node for lost, and another is promoted while the old primary's server
/// still runs: it acknowledges nothing more, and its next monitor ends that. Or it demotes the primary and promotes it again.
fn may_move(daemon: Daemon) -> bool {
    matches!(
        daemon,
        Daemon::Based | Daemon::Attrd | Daemon::Controld | Daemon::Execd | Daemon::Schedulerd
    )
}

/// The daemon is started again, and PostgreSQL does not notice: the same servers in the same roles, which are still looked
/// after. Where the primary does not move, nothing has failed.
fn goes_on(stage: &Stage, node: &Node, daemon: Daemon) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let servers = || -> Vec<Option<i32>> {
        let nodes = lab.nodes().iter();
        nodes.map(|node| lab.postgres(node).postmaster()).collect()
    };
    let before = servers();
    // An earlier step's, which nobody has cleaned up.
    let known = lab.status()?.failures;
    let killed = lab.kill_daemon(node, daemon)?;
    is_back(stage, node, daemon, killed)?;
    settled(stage, node)?;
    let now = lab.primary()?;
    let moved = now.name() != primary.name();
    if moved {
        println!("         {} took over from {}", now.name(), primary.name());
    }
    let may_move = may_move(daemon) && node.name() == primary.name();
    expect(!moved || may_move, || {
        format!(
            "the primary moved from {} to {}",
            primary.name(),
            now.name()
        )
    })?;
    let after = servers();
    expect(may_move || before == after, || {
        format!("postmasters {before:?} became {after:?}")
    })?;
    let mut failures = lab.status()?.failures;
    failures.retain(|failure| !known.contains(failure));
    expect(moved || failures.is_empty(), || {
        format!("failures were counted: {failures:?}")
    })
}

/// Everything of the node's runs again.
fn is_back(stage: &Stage, node: &Node, daemon: Daemon, killed: i32) -> Result<()> {
    stage
        .lab
        .eventually(&format!("{daemon} runs again"), LIMIT, |lab| {
            let absent = Daemon::ALL
                .into_iter()
                .find(|daemon| lab.daemon(node, *daemon).is_none());
            match (absent, lab.daemon(node, daemon)) {
                (Some(absent), _) => Err(format!("{absent} does not run")),
                (None, Some(pid)) if pid != killed => Ok(()),
                (None, pid) => Err(format!("it is {pid:?}, as before")),
            }
        })
}

/// Pacemaker's election-timeout, by default: a controller that was killed comes back while its own loss is being voted on, and now
/// and then a vote is lost; nothing happens until this has passed.
const ELECTION: Duration = Duration::from_secs(120);

/// Nothing is left to be done, by the account of the node's own Pacemaker, and that for some time: a node whose controller
/// has come back is online for a moment with what was known of it before, and only then is asked what runs there.
fn settled(stage: &Stage, node: &Node) -> Result<()> {
    let mut since: Option<Instant> = None;
    stage
        .lab
        .eventually("the cluster has settled", LIMIT + ELECTION, |lab| {
            let calm = is_calm(lab, node);
            if calm.is_err() {
                since = None;
            }
            calm?;
            if since.get_or_insert_with(Instant::now).elapsed() > lab.spec().token * 2 {
                Ok(())
            } else {
                Err("it has, a moment ago".into())
            }
        })
}

fn is_calm(lab: &Cluster, node: &Node) -> std::result::Result<(), String> {
    let status = lab.status_on(node).map_err(|error| error.to_string())?;
    if !status.is_online(node.name()) {
        return Err(status.to_string());
    }
    let calm = node.run(&["crm_resource", "--wait", "--timeout=20s"]);
    calm.and_then(lab::Output::ok)
        .map_err(|error| error.to_string())?;
    lab.health()
}

/// Nothing starts corosync again but a hand (its unit has no Restart=). Without it the node has left, and nobody calls the agent
/// there: its server goes on as it is. The others go on without it, and a primary that was left so acknowledges nothing more. It is
/// enough to start corosync: Pacemaker is waiting for that.
fn leaves_and_returns(stage: &Stage, node: &Node) -> Result<()> {
    let lab = &stage.lab;
    let was_primary = lab.primary()?.name() == node.name();
    let table = format!("held_{}", node.name());
    let held = stage.client.beside(lab, node, &table)?;
    lab.kill_daemon(node, Daemon::Corosync)?;
    lab.eventually("the node has left", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(node.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    if was_primary {
        let new = stage.taken_over_from(node)?;
        println!("         {} took over from {}", new.name(), node.name());
    }
    stage.writes_go_on()?;
    let since = stage.client.now();
    stage.writes_go_on()?;
    let score = held.score();
    let late = score.acks.iter().find(|ack| ack.at > since);
    expect(late.is_none(), || {
        format!("{} acknowledged on its own: {late:?}", node.name())
    })?;
    lab.start_corosync(node)?;
    stage.recovers()?;
    settled(stage, node)?;
    let score = held.stop();
    // One that never wrote has no table.
    let lost = if score.acked() > 0 {
        score.lost(lab)?.len()
    } else {
        0
    };
    promised(lost == 0, || {
        format!("{lost} acknowledged commits are lost")
    })
}
