//! Two nodes, and a lock service on a third host that decides which of them may be the primary.

use std::collections::BTreeSet;
use std::time::Duration;

use lab::{Ack, Allowed, Node, RepMode, Result, ScoreClient, Whose};

use super::stage::{LIMIT, Stage, expect, taken_over_from, wrong};

/// Acknowledgements of one node after which it is taken to be in service.
const STEADY: usize = 50;
/// The agent's default for `distlock_ttl`: what the lock service said holds for so long.
const LEASE: Duration = Duration::from_secs(9);
/// More than the agents of one side raise admin_epoch by in a split.
const WRONG_SIDE_WINS: u32 = 20;

pub(crate) fn two_nodes_with_a_lock_service_survive_the_loss_of_either() -> Result<()> {
    let stage = set()?;
    stage.step(
        "the lock service stops and comes back: nothing happens",
        Allowed::nothing(),
        |stage| {
            undisturbed(stage, |stage| stage.lab.stop_lock_service())?;
            stage.lab.start_lock_service()?;
            renewed(stage)
        },
    )?;
    stage.step(
        "the lock service hangs and goes on: nothing happens",
        Allowed::nothing(),
        |stage| {
            let lock = stage.lab.lock()?;
            undisturbed(stage, |stage| stage.lab.freeze_postgres(lock))?;
            stage.lab.thaw_postgres(lock)?;
            renewed(stage)
        },
    )?;
    stage.step(
        "the primary alone is cut off from it: the other node renews for it",
        Allowed::nothing(),
        |stage| {
            let (lab, primary) = (&stage.lab, stage.lab.primary()?);
            undisturbed(stage, |_| lab.partition(&[primary], &[lab.lock()?]))?;
            // For longer than a lease; nobody else has renewed it.
            renewed(stage)?;
            lab.heal()
        },
    )?;
    stage.step("switchover", Allowed::switchover(), |stage| {
        stage.lab.switchover(LIMIT).map(drop)
    })?;
    stage.step(
        "switchover while the lock service is down",
        Allowed::switchover(),
        |stage| {
            stage.lab.stop_lock_service()?;
            stage.lab.switchover(LIMIT)?;
            stage.writes_go_on()?;
            stage.lab.start_lock_service()?;
            renewed(stage)
        },
    )?;
    stage.step(
        "the standby's machine loses power: the primary goes on",
        Allowed::nothing(),
        standby_lost,
    )?;
    stage.step(
        "the primary's machine loses power: failover",
        Allowed::failover(),
        primary_lost,
    )?;
    stage.step(
        "the same without lock service: nobody until it is back",
        Allowed::failover().waiting().restarts(1).failing(
            Whose::Anybodys,
            "promote",
            "the lock is not taken",
            3,
        ),
        primary_and_lock_lost,
    )
}

pub(crate) fn two_nodes_with_a_lock_service_survive_splits() -> Result<()> {
    let stage = set()?;
    // Where one side stays or becomes the primary, the other's CIB is made to win, once each: that is the harder merge.
    let all = [
        (
            "both reach the lock, the wrong CIB wins",
            Reach::Both,
            Merge::WrongSideWins,
        ),
        (
            "the primary alone reaches the lock",
            Reach::PrimaryOnly,
            Merge::AsItComes,
        ),
        (
            "the standby alone does, the wrong CIB wins",
            Reach::StandbyOnly,
            Merge::WrongSideWins,
        ),
        ("nobody reaches the lock", Reach::Neither, Merge::AsItComes),
    ];
    for (name, reach, merge) in all {
        stage.step(&format!("split, {name}"), allowed(reach), |stage| {
            split(stage, reach, merge)
        })?;
    }
    Ok(())
}

/// Whoever has the lock is the primary, before the split and after it. The other side's promotion is refused, which Pacemaker
/// answers by starting its server anew.
fn allowed(reach: Reach) -> Allowed {
    let refused = |allowed: Allowed, restarts: usize| {
        allowed.restarts(restarts).failing(
            Whose::Anybodys,
            "promote",
            "the lock's row says that only",
            3,
        )
    };
    let not_renewed = "the lock is not renewed";
    match reach {
        Reach::Both | Reach::PrimaryOnly => refused(Allowed::nothing(), 3),
        // The old one takes writes, and acknowledges none, until its lease is over.
        Reach::StandbyOnly => Allowed::failover()
            .both_writable(LEASE)
            .failing(Whose::Deposed, "monitor", not_renewed, 1)
            .failing(Whose::Deposed, "monitor", " is past ", 1),
        Reach::Neither => refused(Allowed::nothing().waiting(), 5).failing(
            Whose::Anybodys,
            "monitor",
            not_renewed,
            1,
        ),
    }
}

fn set() -> Result<Stage> {
    Stage::set(RepMode::Sync, |builder| builder.nodes(2).lock_service())
}

/// Writes go on, without a pause worth the name and on the same server, for longer than a lease.
fn undisturbed(stage: &Stage, act: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let before = lab.postgres(primary).postmaster();
    let begin = stage.client.now();
    act(stage)?;
    let limit = lab.spec().token;
    lab.holds_for("writes go on", LEASE + limit * 2, |_| {
        let pause = stage.client.score().longest_gap_since(begin);
        if pause < limit {
            Ok(())
        } else {
            Err(format!("writes paused for {pause:?}"))
        }
    })?;
    let now = lab.postgres(primary).postmaster();
    expect(before.is_some() && before == now, || {
        format!("postmaster {before:?} became {now:?}")
    })
}

/// The primary holds the lock, and renews it.
fn renewed(stage: &Stage) -> Result<()> {
    stage
        .lab
        .eventually("the lock is the primary's", LIMIT, |lab| {
            let primary = lab.primary().map_err(|error| error.to_string())?;
            let row = lab.lock_row().map_err(|error| error.to_string())?;
            let (owner, _) = row.split_once('|').unwrap_or_default();
            let is_owner = owner.ends_with(&primary.name().to_lowercase());
            if is_owner && row.ends_with("|f") {
                Ok(())
            } else {
                Err(format!("{} is the primary; lock: {row}", primary.name()))
            }
        })
}

fn is_gone(stage: &Stage, node: &Node) -> Result<()> {
    stage.lab.eventually("the loss is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(node.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })
}

fn standby_of<'a>(stage: &'a Stage, primary: &Node) -> Result<&'a Node> {
    let mut nodes = stage.lab.nodes().iter();
    nodes
        .find(|node| node.name() != primary.name())
        .ok_or_else(|| wrong("there is no second node"))
}

fn standby_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standby = standby_of(stage, primary)?;
    let before = lab.postgres(primary).postmaster();
    lab.power_off(standby)?;
    is_gone(stage, standby)?;
    stage.writes_go_on()?;
    println!("         lock: {}", lab.lock_row()?);
    lab.power_on(standby)?;
    lab.wait_healthy(LIMIT)?;
    let now = lab.postgres(primary).postmaster();
    expect(before.is_some() && before == now, || {
        format!("postmaster {before:?} of {} became {now:?}", primary.name())
    })
}

fn primary_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    renewed(stage)?;
    lab.power_on(old)?;
    stage.recovers()
}

fn primary_and_lock_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let standby = standby_of(stage, old)?;
    lab.power_off(lab.lock()?)?;
    // One after the other, as the lease of a service that was there a moment ago is still good.
    renewals_fail(stage)?;
    lab.power_off(old)?;
    is_gone(stage, old)?;
    lab.holds_for("nobody is promoted", LEASE, |lab| {
        match lab.postgres(standby).is_writable() {
            Some(true) => Err(format!("{} takes writes", standby.name())),
            Some(false) | None => Ok(()),
        }
    })?;
    lab.power_on(lab.lock()?)?;
    let new = taken_over_from(lab, old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    lab.power_on(old)?;
    stage.recovers()?;
    renewed(stage)
}

/// Writes go on although the lock service is gone, until every lease has run out.
fn renewals_fail(stage: &Stage) -> Result<()> {
    stage
        .lab
        .holds_for("writes go on without the lock service", LEASE, |lab| {
            let silence = stage.client.silence();
            if silence < lab.spec().token {
                Ok(())
            } else {
                Err(format!("no acknowledgement for {silence:?}"))
            }
        })
}

/// Who reaches the lock service in a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Both,
    PrimaryOnly,
    StandbyOnly,
    Neither,
}

/// Which side's CIB is kept when the two meet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    /// Whatever Pacemaker makes of what both wrote.
    AsItComes,
    /// That of the node that is not the primary.
    WrongSideWins,
}

/// Cuts the two nodes from each other. Clients reach both, and one client for each holds on to it.
fn split(stage: &Stage, reach: Reach, merge: Merge) -> Result<()> {
    let lab = &stage.lab;
    let (old, lock) = (lab.primary()?, lab.lock()?);
    let other = standby_of(stage, old)?;
    let sides = Sides::watch(stage, [old, other])?;
    let begin = stage.client.now();
    let cut_off: &[&Node] = match reach {
        Reach::Both => &[],
        Reach::PrimaryOnly => &[other],
        Reach::StandbyOnly => &[old],
        Reach::Neither => &[old, other],
    };
    if !cut_off.is_empty() {
        lab.partition(cut_off, &[lock])?;
    }
    lab.split(old)?;
    // Before anything is concluded from who acknowledges: until it is noticed, nothing has changed.
    for (node, lost) in [(old, other), (other, old)] {
        lab.eventually("the split is noticed", LIMIT, |lab| {
            let status = lab.status_on(node).map_err(|error| error.to_string())?;
            if status.is_online(lost.name()) {
                Err(status.to_string())
            } else {
                Ok(())
            }
        })?;
    }
    let right = match reach {
        Reach::Both | Reach::PrimaryOnly => Some((old, other)),
        Reach::StandbyOnly => Some((other, old)),
        Reach::Neither => None,
    };
    match right {
        Some((right, wrong)) => {
            sides.serves(stage, right, stage.client.now())?;
            takes_no_writes(stage, wrong)?;
        }
        None => nobody_serves(stage, &sides, [old, other])?,
    }
    println!("         lock: {}", lab.lock_row()?);
    if let (Merge::WrongSideWins, Some((right, wrong))) = (merge, right) {
        both_write(right, wrong)?;
        lab.raise_cib(wrong, WRONG_SIDE_WINS)?;
    }
    let before = right.map(|(right, _)| lab.postgres(right).postmaster());
    lab.heal()?;
    stage.recovers()?;
    if let Some((right, _)) = right {
        let (now, server) = (lab.primary()?, lab.postgres(right).postmaster());
        expect(now.name() == right.name() && before == Some(server), || {
            format!(
                "{} was the right primary; now it is {}, postmaster {before:?} became {server:?}",
                right.name(),
                now.name()
            )
        })?;
    }
    renewed(stage)?;
    sides.judge(stage, begin)?;
    // To step down is a failure for Pacemaker, and so is a refused promotion; several splits in a row are more than a
    // node is forgiven by itself.
    lab.clean_up(other)?;
    stage.forgive(old)
}

fn takes_no_writes(stage: &Stage, node: &Node) -> Result<()> {
    let what = format!("{} takes no writes", node.name());
    stage
        .lab
        .eventually(&what, LIMIT, |lab| match lab.postgres(node).is_writable() {
            Some(true) => Err("it is writable".into()),
            Some(false) | None => Ok(()),
        })
}

/// Neither side can know that the other is not at work: nobody acknowledges, and nobody is promoted.
fn nobody_serves(stage: &Stage, sides: &Sides, [old, other]: [&Node; 2]) -> Result<()> {
    let begin = stage.client.now();
    takes_no_writes(stage, old)?;
    stage.lab.holds_for("nobody is promoted", LEASE, |lab| {
        match lab.postgres(other).is_writable() {
            Some(true) => Err(format!("{} takes writes", other.name())),
            Some(false) | None => Ok(()),
        }
    })?;
    let acks = sides.acks(stage, begin);
    expect(acks.is_empty(), || {
        format!("{} commits were acknowledged", acks.len())
    })
}

/// Both CIBs change, in ways of their own, so that neither is a later state of the other.
fn both_write(right: &Node, wrong: &Node) -> Result<()> {
    for node in [right, wrong] {
        for number in 1..=5 {
            node.run(&[
                "crm_attribute",
                "--node",
                node.name(),
                "--name",
                &format!("harmless-{number}"),
                "--lifetime=forever",
                &format!("--update={}", node.name()),
            ])?
            .ok()?;
        }
    }
    Ok(())
}

/// A client for each node that holds on to it, wherever the writer's address is.
struct Sides {
    clients: Vec<ScoreClient>,
}

impl Sides {
    fn watch(stage: &Stage, nodes: [&Node; 2]) -> Result<Self> {
        let number = stage.client.now().as_millis();
        let watch = |node: &Node| {
            let table = format!("held_{}_{number}", node.name());
            stage.client.beside(&stage.lab, node, &table)
        };
        let clients: Vec<_> = nodes.into_iter().map(watch).collect::<Result<_>>()?;
        stage
            .lab
            .eventually("a client holds on to the primary", LIMIT, |_| {
                if clients.iter().any(|client| client.acked_count() > 0) {
                    Ok(())
                } else {
                    Err("no commit".into())
                }
            })?;
        Ok(Self { clients })
    }

    /// Everything that was acknowledged since, by whom and to whomever, in order.
    fn acks(&self, stage: &Stage, since: Duration) -> Vec<Ack> {
        let all = self.clients.iter().chain([&stage.client]);
        let mut acks: Vec<Ack> = all.flat_map(|client| client.score().acks).collect();
        acks.retain(|ack| ack.at >= since);
        acks.sort_by_key(|ack| ack.at);
        acks
    }

    fn serves(&self, stage: &Stage, node: &Node, since: Duration) -> Result<()> {
        let what = format!("{} acknowledges commits", node.name());
        stage.lab.eventually(&what, LIMIT, |_| {
            let acks = self.acks(stage, since);
            let count = acks.iter().filter(|ack| *ack.node == *node.name()).count();
            if count >= STEADY {
                Ok(())
            } else {
                Err(format!("{count} commits"))
            }
        })
    }

    /// Acknowledgements changed sides once at most, and everything acknowledged is there.
    fn judge(self, stage: &Stage, begin: Duration) -> Result<()> {
        let acks = self.acks(stage, begin);
        let changes: Vec<&Ack> = acks
            .windows(2)
            .filter_map(|pair| (pair[0].node != pair[1].node).then_some(&pair[1]))
            .collect();
        expect(changes.len() <= 1, || {
            format!("both sides acknowledged in turns: {changes:?}")
        })?;
        let who: BTreeSet<&str> = acks.iter().map(|ack| &*ack.node).collect();
        let mut lost = 0;
        for client in self.clients {
            let score = client.stop();
            // One that never wrote has no table.
            if score.acked() > 0 {
                lost += score.lost(&stage.lab)?.len();
            }
        }
        println!(
            "         acknowledged by {}: {} commits, {} times by both in turn, {lost} lost",
            who.into_iter().collect::<Vec<_>>().join(", then "),
            acks.len(),
            changes.len().saturating_sub(1),
        );
        expect(lost == 0, || {
            format!("{lost} acknowledged commits are lost")
        })
    }
}
