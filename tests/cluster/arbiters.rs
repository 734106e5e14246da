//! Setups that decide in other ways than three nodes with one synchronous standby: rows of the table in docs/safety.md.

use std::time::Duration;

use lab::resources::CLONE;
use lab::{Ack, Allowed, Node, RepMode, Result, ScoreClient, Whose};

use super::commands::{ends, indented};
use super::lag::is_not_promoted;
use super::machines::most_important_standby;
use super::stage::{
    GONE, LIMIT, ON_DIVERGENCE, Stage, cut_off, expect, promised, refusals,
    watching_for_two_writable, wrong,
};

/// The agent's default for `distlock_ttl`.
const LEASE: Duration = Duration::from_secs(9);
/// Sessions that are there go on, and every new one waits.
const NO_LOGIN: &str = "begin; lock table pg_authid in access exclusive mode; select pg_sleep(600)";
/// Acknowledgements of one node after which it is taken to be in service.
const STEADY: usize = 50;

pub(crate) fn an_async_pair_has_one_primary_at_a_time_by_its_lease() -> Result<()> {
    let stage = Stage::set(RepMode::Async, |builder| {
        builder
            .nodes(2)
            .lock_service()
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the standby alone reaches the lock: one at a time",
        by_its_lease()
            .failing(Whose::Deposed, "monitor", "the lock is not renewed", 1)
            .failing(Whose::Deposed, "monitor", GONE, 1)
            .failing(Whose::Deposed, "monitor", " is past ", 1),
        |stage| cannot_renew(stage, None),
    )?;
    stage.step(
        "the same, while nobody can log in to the primary: no monitor waits longer than the lease",
        by_its_lease()
            .failing(Whose::Deposed, "monitor", "the lock is not renewed", 1)
            .failing(Whose::Deposed, "monitor", GONE, 1)
            .failing(Whose::Deposed, "monitor", " is past ", 1),
        |stage| cannot_renew(stage, Some(NO_LOGIN)),
    )?;
    stage.step(
        "the nodes lose sight of each other, and both reach the lock: the primary keeps it, and nothing is left to clean up",
        Allowed::nothing()
            .failing(Whose::Anybodys, "promote", "holds the lock for", 1)
            .restarts(1),
        both_renew,
    )?;
    stage.step(
        "the primary's machine loses power: after the lease",
        by_its_lease(),
        primary_lost,
    )
}

/// The other side is refused until the lease is over, which Pacemaker answers by starting its server anew.
fn by_its_lease() -> Allowed {
    Allowed::failover()
        .restarts(3)
        .failing(Whose::Anybodys, "promote", "holds the lock for", 3)
}

pub(crate) fn four_nodes_with_two_synchronous_standbys_lose_two_machines_and_no_commit()
-> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(4)
            .param("sync_num", "2")
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "two primaries lose power, and the first one is back",
        Allowed::failover().promotions(2).restarts(2).waiting(),
        two_primaries_lost,
    )
}

pub(crate) fn five_nodes_with_two_synchronous_standbys_lose_two_machines_at_once_and_no_commit()
-> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(5)
            .param("sync_num", "2")
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "two standbys that commits wait for lose power",
        Allowed::nothing(),
        |stage| {
            let lost = waited_for(stage)?;
            expect(lost.len() == 2, || format!("commits wait for {lost:?}"))?;
            lost.iter().try_for_each(|node| stage.lab.power_off(node))?;
            lost.iter().try_for_each(|node| is_gone(stage, node))?;
            stage.writes_go_on()?;
            lost.iter().try_for_each(|node| stage.lab.power_on(node))
        },
    )?;
    stage.step(
        "the primary and a standby that commits wait for lose power",
        Allowed::failover(),
        |stage| {
            let (primary, lost) = (stage.lab.primary()?, most_important_standby(stage)?);
            stage.lab.power_off(primary)?;
            stage.lab.power_off(lost)?;
            let new = stage.taken_over_from(primary)?;
            println!("         {} took over from {}", new.name(), primary.name());
            stage.writes_go_on()?;
            stage.lab.power_on(primary)?;
            stage.lab.power_on(lost)
        },
    )
}

/// The standbys that commits wait for.
fn waited_for(stage: &Stage) -> Result<Vec<&Node>> {
    let status = stage.lab.status()?;
    let standbys = stage.lab.standbys()?.into_iter();
    let is_sync = |node: &&Node| status.attribute(node.name(), "pgsql-status") == Some("HS:sync");
    Ok(standbys.filter(is_sync).collect())
}

pub(crate) fn two_nodes_with_nothing_let_commits_wait_unless_told_not_to() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.nodes(2).param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the standby is lost: commits wait until it is back",
        Allowed::nothing().waiting(),
        commits_wait,
    )?;
    stage.step(
        "the primary is lost: the standby has everything",
        Allowed::failover().waiting(),
        claimed_standby_takes_over,
    )?;
    stage.step(
        "unsafe_relax=true: commits go on without the standby",
        Allowed::nothing(),
        |stage| {
            stage.lab.set_parameter("unsafe_relax", "true")?;
            stage.lab.await_reload()?;
            commits_go_on(stage)
        },
    )
}

pub(crate) fn two_nodes_with_a_quorum_device_survive_the_loss_of_either() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(2)
            .quorum_device()
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    let votes = stage.lab.primary()?.run(&["corosync-quorumtool", "-s"])?;
    votes
        .text()
        .lines()
        .for_each(|line| println!("         | {line}"));
    stage.step(
        "the standby is lost: commits go on",
        Allowed::nothing(),
        commits_go_on,
    )?;
    stage.step(
        "the primary's machine loses power: failover",
        Allowed::failover(),
        primary_lost,
    )?;
    stage.step(
        "the two don't see each other: one of them goes on",
        cut_off().restarts(1),
        split,
    )?;
    stage.step(
        "the quorum device is lost: nothing happens",
        Allowed::nothing(),
        device_lost,
    )?;
    stage.step(
        "the standby is lost, and the primary restarts alone: commits go on",
        Allowed::nothing().waiting().restarts(1),
        restarts_alone,
    )
}

/// A quorum device gives its vote to one node after the other, and knows nothing of what either of them wrote.
pub(crate) fn two_nodes_with_a_quorum_device_lose_nothing_whoever_starts_first() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .nodes(2)
            .quorum_device()
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the standby is lost, then the primary: the one that was lost first starts first",
        Allowed::failover().waiting().restarts(1),
        first_lost_starts_first,
    )?;
    stage.step(
        "the same, and only corosync runs on the primary's machine when it is back",
        Allowed::failover().waiting().restarts(2),
        first_lost_sees_corosync_alone,
    )?;
    stage.step(
        "the primary is lost, then its successor: the one that was lost first starts first",
        Allowed::failover().waiting().restarts(1),
        old_primary_starts_first,
    )?;
    stage.step(
        "the same, and its server, which runs already when Pacemaker begins, lets the agent in later",
        Allowed::failover().waiting().restarts(1),
        first_lost_lets_in_later,
    )?;
    stage.step(
        "the same, and its first start finds no data directory",
        Allowed::failover()
            .waiting()
            .restarts(1)
            .failing(Whose::Anybodys, "start", "pgdata", 1),
        first_lost_starts_without_its_disk,
    )
}

/// Who knows more is lost for good: an operator may name the one that is left.
pub(crate) fn an_operator_names_the_node_that_waits_for_whom_is_lost() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder.nodes(2).quorum_device())?;
    stage.scene(
        "the standby is lost, then the primary; the one that was lost first is named",
        Allowed::failover().waiting().losing().refused().restarts(1),
        |stage| {
            let lab = &stage.lab;
            let standby = both_lost(stage)?;
            let primary = other_than(stage, standby)?;
            lab.power_on(standby)?;
            waits(stage, standby)?;
            let output = ends(standby, &["reset-master", "--yes"], 0, "is the primary")?;
            print!("{}", indented(&output.stdout));
            stage.writes_go_on()?;
            lab.power_on(primary)?;
            lab.eventually("the old one is refused", LIMIT, |lab| {
                let status = lab.status().map_err(|error| error.to_string())?;
                if refusals(&status).contains_key(primary.name()) {
                    Ok(())
                } else {
                    Err(status.to_string())
                }
            })?;
            ends(primary, &["rebuild", "--yes"], 0, "follows")?;
            lab.wait_healthy(LIMIT)
        },
    )
}

fn other_than<'a>(stage: &'a Stage, primary: &Node) -> Result<&'a Node> {
    let mut nodes = stage.lab.nodes().iter();
    nodes
        .find(|node| node.name() != primary.name())
        .ok_or_else(|| wrong("there is no second node"))
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

/// The primary lives, and its clients reach it; it reaches neither the lock service nor the standby. Nothing but the lease stops
/// it: the last thing that it acknowledges is acknowledged within the lease that it had, and before anything that the other does.
/// `meanwhile`: what a session on the primary does.
fn cannot_renew(stage: &Stage, meanwhile: Option<&str>) -> Result<()> {
    let lab = &stage.lab;
    let (old, lock) = (lab.primary()?, lab.lock()?);
    let other = other_than(stage, old)?;
    let begin = stage.client.now();
    let held: Vec<ScoreClient> = [old, other]
        .into_iter()
        .map(|node| {
            let table = format!("leased_{}_{}", node.name(), begin.as_millis());
            stage.client.beside(lab, node, &table)
        })
        .collect::<Result<_>>()?;
    let acks = || {
        let all = held.iter().chain([&stage.client]);
        let mut acks: Vec<Ack> = all.flat_map(|client| client.score().acks).collect();
        acks.retain(|ack| ack.at >= begin);
        acks.sort_by_key(|ack| ack.at);
        acks
    };
    lab.eventually("a client holds on to the primary", LIMIT, |_| {
        if held[0].acked_count() > 0 {
            Ok(())
        } else {
            Err("no commit".into())
        }
    })?;
    let (cut, two) = watching_for_two_writable(lab, || {
        lab.partition(&[old], &[lock])?;
        lab.split(old)?;
        let cut = stage.client.now();
        // Only now: the standby would get the lock on a table as well.
        let psql = lab.layout().program("psql");
        let session = meanwhile.map(|sql| {
            let argv = [
                "runuser", "-u", "postgres", "--", &psql, "-X", "-d", "postgres", "-c", sql,
            ];
            old.spawn("meanwhile", &argv)
        });
        let _session = session.transpose()?;
        lab.eventually("the other side acknowledges commits", LIMIT, |_| {
            let acks = acks();
            let count = acks.iter().filter(|ack| *ack.node == *other.name()).count();
            if count >= STEADY {
                Ok(())
            } else {
                Err(format!("{count} commits"))
            }
        })?;
        Ok(cut)
    })?;
    promised(two.is_empty(), || format!("both took writes: {two:?}"))?;
    let acks = acks();
    let last = acks.iter().rfind(|ack| *ack.node == *old.name());
    let first = acks.iter().find(|ack| *ack.node == *other.name());
    let (Some(last), Some(first)) = (last, first) else {
        return Err(wrong("one of the two acknowledged nothing"));
    };
    println!(
        "         {} acknowledged until {:.1} s after the cut, {} from {:.1} s on",
        old.name(),
        last.at.saturating_sub(cut).as_secs_f64(),
        other.name(),
        first.at.saturating_sub(cut).as_secs_f64(),
    );
    expect(last.at < first.at, || {
        format!("{last:?} of the old primary came after {first:?}")
    })?;
    expect(last.at < cut + LEASE, || {
        format!("the lease ended, and then came {last:?}; the cut was at {cut:?}")
    })?;
    lab.heal()?;
    stage.recovers()?;
    // To step down is a failure for Pacemaker.
    stage.forgive(old)
}

/// A standby that asks to be promoted against a primary at work fails, and after three times Pacemaker keeps it away.
fn both_renew(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let other = other_than(stage, primary)?;
    let looks = || {
        let counted = other.run(&["grep", "-ac", "who renews it", lab::corosync::LOG]);
        counted.map_or(0, |output| output.stdout.trim().parse().unwrap_or(0))
    };
    let before: u32 = looks();
    lab.split(primary)?;
    lab.eventually(
        "the standby has looked at the lock several times",
        LIMIT,
        |lab| {
            is_not_promoted(lab, other)?;
            match looks() - before {
                4.. => Ok(()),
                seen => Err(format!("{seen} times that the log tells")),
            }
        },
    )?;
    stage.writes_go_on()?;
    lab.heal()?;
    lab.wait_healthy(LIMIT)
}

fn primary_lost(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    stage.lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    stage.lab.power_on(old)?;
    stage.recovers()
}

/// The device gives one side its vote, whichever that is.
fn split(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    lab.split(primary)?;
    let other = other_than(stage, primary)?;
    lab.eventually(
        "one side has quorum, and the other knows it",
        LIMIT,
        |lab| {
            let quorum = |node| -> std::result::Result<bool, String> {
                let status = lab.status_on(node).map_err(|error| error.to_string())?;
                Ok(status.quorum)
            };
            match (quorum(primary)?, quorum(other)?) {
                (true, false) | (false, true) => Ok(()),
                both => Err(format!("{both:?}")),
            }
        },
    )?;
    stage.writes_go_on()?;
    println!("         {} is the primary", lab.primary()?.name());
    lab.heal()?;
    stage.recovers()
}

/// The primary went on without the other one, and is lost, too. With the device's vote the other one has quorum when it starts; by its own
/// CIB it has every acknowledged commit.
fn first_lost_starts_first(stage: &Stage) -> Result<()> {
    let standby = both_lost(stage)?;
    stage.lab.power_on(standby)?;
    is_not_believed(stage, standby)
}

/// The first look of its Pacemaker finds a server of which nothing can be judged.
fn first_lost_lets_in_later(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let hba = lab.postgres(lab.primary()?).sql("show hba_file")?;
    let hba = hba.as_str();
    let standby = both_lost(stage)?;
    let server = lab.postgres(standby);
    lab.power_on_after(standby, |node| {
        node.run(&["cp", "-p", hba, "/root/let-in"])?.ok()?;
        let nobody = "1i local all all reject\\nhost all all all reject";
        node.run(&["sed", "-i", nobody, hba])?.ok()?;
        server.start()
    })?;
    lab.eventually("its Pacemaker knows the server", LIMIT, |_| {
        let known = standby.run(&["crm_mon", "-1"]);
        let known = known.map_err(|error| error.to_string())?.text();
        if known.contains("Unpromoted") {
            Ok(())
        } else {
            Err(known)
        }
    })?;
    standby.run(&["cp", "-p", "/root/let-in", hba])?.ok()?;
    server.signal("HUP")?;
    is_not_believed(stage, standby)
}

/// When the standby starts, corosync has the primary's machine as a member, and nobody has its copy of the CIB. Then that is lost, too.
fn first_lost_sees_corosync_alone(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let standby = both_lost(stage)?;
    let primary = other_than(stage, standby)?;
    lab.power_on_without_pacemaker(primary)?;
    lab.power_on(standby)?;
    lab.eventually(
        "its server runs beside the other's corosync",
        LIMIT,
        |lab| {
            let seen = standby.run(&["corosync-quorumtool", "-s"]);
            let seen = seen.map_err(|error| error.to_string())?.text();
            match lab.postgres(standby).is_writable() {
                Some(false) if seen.contains("Nodes:            2") => Ok(()),
                answer => Err(format!("takes writes: {answer:?}\n{seen}")),
            }
        },
    )?;
    lab.power_off(primary)?;
    is_not_believed(stage, standby)
}

/// The recorded primary, by its own CIB: its successor was promoted, acknowledged commits alone, and is lost.
fn old_primary_starts_first(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    stage.writes_go_on()?;
    lab.power_off(new)?;
    lab.power_on(old)?;
    is_not_believed(stage, old)
}

/// It serves alone, restarts alone, and serves again: the device's vote is one of three, whoever corosync expects.
fn restarts_alone(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standby = other_than(stage, primary)?;
    lab.power_off(standby)?;
    is_gone(stage, standby)?;
    stage.writes_go_on()?;
    lab.power_off(primary)?;
    lab.power_on(primary)?;
    stage.writes_go_on()?;
    lab.power_on(standby)?;
    stage.recovers()
}

/// The standby that was lost first, when the primary is lost, too.
fn both_lost(stage: &Stage) -> Result<&Node> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standby = other_than(stage, primary)?;
    lab.power_off(standby)?;
    is_gone(stage, standby)?;
    stage.writes_go_on()?;
    lab.power_off(primary)?;
    Ok(standby)
}

/// Its first start is over before anything was read of the cluster; the next one is not the first any more.
fn first_lost_starts_without_its_disk(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let standby = both_lost(stage)?;
    let data = lab.layout().data.display().to_string();
    let away = format!("{data}.away");
    lab.power_on_after(standby, |node| {
        node.run(&["mv", &data, &away])?.ok().map(drop)
    })?;
    lab.eventually("its start has failed", LIMIT, |_| {
        let known = standby.run(&["crm_mon", "-1"]);
        let known = known.map_err(|error| error.to_string())?.text();
        if ["pgsql start on", "pgsql_start_0"]
            .iter()
            .any(|w| known.contains(w))
        {
            Ok(())
        } else {
            Err(known)
        }
    })?;
    standby.run(&["mv", &away, &data])?.ok()?;
    standby
        .run(&["crm_resource", "--cleanup", "--resource", CLONE])?
        .ok()?;
    is_not_believed(stage, standby)
}

/// Alone and with quorum it stays a standby, and the primary serves when it is back.
fn is_not_believed(stage: &Stage, standby: &Node) -> Result<()> {
    let lab = &stage.lab;
    waits(stage, standby)?;
    let primary = other_than(stage, standby)?;
    lab.power_on(primary)?;
    lab.wait_healthy(LIMIT)?;
    expect(lab.primary()?.name() == primary.name(), || {
        format!("{} is not the primary", primary.name())
    })
}

/// Alone and with quorum it stays a standby.
fn waits(stage: &Stage, standby: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.eventually("it runs, and has quorum", LIMIT, |lab| {
        let seen = standby.run(&["corosync-quorumtool", "-s"]);
        let seen = seen.map_err(|error| error.to_string())?.text();
        match lab.postgres(standby).is_writable() {
            Some(_) if seen.contains("Total votes:      2") => Ok(()),
            answer => Err(format!("takes writes: {answer:?}\n{seen}")),
        }
    })?;
    lab.holds_for("nobody is promoted", lab.spec().token * 4, |lab| {
        is_not_promoted(lab, standby)
    })
}

fn device_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, device) = (lab.primary()?, lab.lock()?);
    let before = lab.postgres(primary).postmaster();
    lab.power_off(device)?;
    lab.eventually("its vote is lost", LIMIT, |_| {
        let seen = primary.run(&["corosync-quorumtool", "-s"]);
        let seen = seen.map_err(|error| error.to_string())?.text();
        if seen.contains("Total votes:      2") {
            Ok(())
        } else {
            Err(seen)
        }
    })?;
    stage.writes_go_on()?;
    lab.power_on(device)?;
    lab.wait_healthy(LIMIT)?;
    let now = lab.postgres(primary).postmaster();
    expect(before.is_some() && before == now, || {
        format!("postmaster {before:?} became {now:?}")
    })
}

/// Of four, two are left: no quorum, and nobody is promoted, although each of them has everything. Then the one is back that
/// was lost first, and has not got what was acknowledged since.
fn two_primaries_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let first = lab.primary()?;
    lab.power_off(first)?;
    let second = stage.taken_over_from(first)?;
    println!("         {} took over from {}", second.name(), first.name());
    stage.writes_go_on()?;
    lab.wait_healthy(LIMIT)?;
    lab.power_off(second)?;
    let left: Vec<&Node> = lab.nodes().iter().filter(|node| node.is_on()).collect();
    lab.eventually("quorum is lost", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.quorum || status.is_online(second.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    lab.holds_for(
        "nobody takes writes",
        lab.spec().token * 3,
        |lab| match &lab.writable()[..] {
            [] => Ok(()),
            some => Err(format!("{some:?}")),
        },
    )?;
    lab.power_on(first)?;
    let third = stage.taken_over_from(second)?;
    println!("         {} took over from {}", third.name(), second.name());
    expect(left.iter().any(|node| node.name() == third.name()), || {
        format!("{} was promoted, and lacks commits", third.name())
    })?;
    stage.writes_go_on()?;
    lab.power_on(second)?;
    stage.recovers()
}

/// Writes have stopped, and the primary says so.
pub(crate) fn is_waiting(stage: &Stage, primary: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.eventually("commits wait, and it is said", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let degraded = status.attribute(primary.name(), "pgsql-degraded");
        let silence = stage.client.silence();
        if degraded == Some("waiting") && silence > lab.spec().token {
            Ok(())
        } else {
            Err(format!("{degraded:?}, silent for {silence:?}\n{status}"))
        }
    })?;
    // Longer than the settle time, after which more nodes would go on.
    let acked = stage.client.acked_count();
    lab.holds_for("commits wait", lab.spec().token * 4, |_| {
        match stage.client.acked_count() - acked {
            0 => Ok(()),
            more => Err(format!("{more} commits were acknowledged")),
        }
    })
}

fn commits_wait(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standby = other_than(stage, primary)?;
    let before = lab.postgres(primary).postmaster();
    lab.power_off(standby)?;
    is_gone(stage, standby)?;
    is_waiting(stage, primary)?;
    lab.power_on(standby)?;
    lab.wait_healthy(LIMIT)?;
    let now = lab.postgres(primary).postmaster();
    expect(before.is_some() && before == now, || {
        format!("postmaster {before:?} of {} became {now:?}", primary.name())
    })
}

fn claimed_standby_takes_over(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    is_waiting(stage, new)?;
    lab.power_on(old)?;
    stage.recovers()
}

fn commits_go_on(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let standby = other_than(stage, lab.primary()?)?;
    lab.power_off(standby)?;
    is_gone(stage, standby)?;
    stage.writes_go_on()?;
    lab.power_on(standby)?;
    lab.wait_healthy(LIMIT)
}
