//! Quorum commit: any one of the standbys confirms, so the loss of one is not felt.

use std::time::Duration;

use lab::{Allowed, Node, RepMode, Result, Whose};

use super::comes_back::{diverge, named_command, obey, refused, repaired, repairs, undone};
use super::machines::most_important_standby;
use super::stage::{GONE, LIMIT, ON_DIVERGENCE, Stage, expect};

/// With quorum commit every node is in the list of those that commits wait for, an old primary, too. It is repaired all the
/// same, by whatever `on_divergence` allows, and by hand; and then it counts: each step is a failover to a node that has others beside it.
pub(crate) fn repairs_go_on_with_quorum_commit() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .param("sync_method", "quorum")
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    for (policy, work) in [
        ("rewind_or_rebuild", "rewind"),
        ("rewind", "rewind"),
        ("rebuild", "rebuild"),
    ] {
        stage.step(
            &format!("commits that nobody received, {policy}"),
            Allowed::failover().copies(usize::from(policy == "rebuild")),
            |stage| {
                stage.lab.set_parameter(ON_DIVERGENCE, policy)?;
                let old = diverge(stage)?;
                stage.lab.power_on(old)?;
                let before = repairs(old, work)?;
                stage.lab.wait_healthy(LIMIT)?;
                repaired(old, work, before)?;
                undone(stage, old)
            },
        )?;
    }
    stage.step(
        "the same with stop: the command that is named helps",
        Allowed::failover(),
        |stage| {
            stage.lab.set_parameter(ON_DIVERGENCE, "stop")?;
            let old = diverge(stage)?;
            stage.lab.power_on(old)?;
            let command = named_command(&refused(stage, old)?, "cluster rewind")?;
            obey(old, &command)?;
            stage.lab.wait_healthy(LIMIT)?;
            undone(stage, old)
        },
    )
}

/// How writes fared when a standby's machine lost power.
struct Stall {
    /// The longest pause of the undisturbed time before.
    calm: Duration,
    gap: Duration,
}

pub(crate) fn with_quorum_commit_a_lost_standby_is_not_felt() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param("sync_method", "quorum")
    })?;
    let quorum = stall(&stage)?;
    println!(
        "         writes stalled {:.3} s; before, never longer than {:.3} s",
        quorum.gap.as_secs_f64(),
        quorum.calm.as_secs_f64()
    );
    // It is noticed after the token timeout at the earliest: a shorter pause waited for nothing of the kind.
    let token = stage.lab.spec().token;
    expect(quorum.gap < token, || {
        format!(
            "writes stalled until the loss was noticed: {:?}",
            quorum.gap
        )
    })?;
    others(&stage)
}

/// The standby that commits wait for loses power under load; with quorum commit, one of those they wait for.
fn stall(stage: &Stage) -> Result<Stall> {
    let lab = &stage.lab;
    let standby = most_important_standby(stage)?;
    let mut stall = None;
    stage.step(
        "a standby's machine loses power",
        Allowed::nothing(),
        |stage| {
            let (calm_begin, before) = (stage.client.now(), stage.client.acked_count());
            lab.eventually("undisturbed commits", LIMIT, |_| {
                if stage.client.acked_count() > before + 500 {
                    Ok(())
                } else {
                    Err("too few commits".into())
                }
            })?;
            let begin = stage.client.now();
            let calm = stage.client.score().longest_gap_since(calm_begin);
            lab.power_off(standby)?;
            lab.eventually("the loss is noticed", LIMIT, |lab| {
                let status = lab.status().map_err(|error| error.to_string())?;
                if status.is_online(standby.name()) {
                    Err(status.to_string())
                } else {
                    Ok(())
                }
            })?;
            stage.writes_go_on()?;
            lab.wait_healthy(LIMIT)?;
            stall = Some(Stall {
                calm,
                gap: stage.client.score().longest_gap_since(begin),
            });
            lab.power_on(standby)
        },
    )?;
    stall.ok_or_else(|| super::stage::wrong("the step took no measure"))
}

/// What else happens to a cluster, with quorum commit.
fn others(stage: &Stage) -> Result<()> {
    stage.step("a switchover", Allowed::switchover(), |stage| {
        stage.lab.switchover(LIMIT).map(drop)
    })?;
    stage.step(
        "a receiver hangs: commits don't wait for it",
        Allowed::nothing(),
        receiver_hangs,
    )?;
    stage.step(
        "the primary's machine loses power",
        Allowed::failover(),
        |stage| {
            let old = stage.lab.primary()?;
            stage.lab.power_off(old)?;
            let new = stage.taken_over_from(old)?;
            println!("         {} took over from {}", new.name(), old.name());
            stage.writes_go_on()?;
            stage.recovers()?;
            stage.lab.power_on(old)
        },
    )?;
    let in_place = Allowed::nothing()
        .restarts(2)
        .failing(Whose::Anybodys, "monitor", GONE, 1);
    stage.step("kill -9 of the postmaster", in_place, |stage| {
        let primary = stage.lab.primary()?;
        let before = stage.lab.postgres(primary).postmaster();
        stage.lab.kill_postmaster(primary)?;
        another_postmaster(stage, primary, before)?;
        stage.writes_go_on()?;
        stage.forgive(primary)
    })
}

fn receiver_hangs(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let standby = most_important_standby(stage)?;
    let begin = stage.client.now();
    lab.hang_receiver(standby)?;
    stage.writes_go_on()?;
    // The primary ends the connection after wal_sender_timeout; until then commits had to do without the standby.
    lab.eventually("the silent standby is dropped", LIMIT, |lab| {
        let query = format!(
            "select count(*) from pg_stat_replication where application_name = '{}' and reply_time > now() - interval '2 s'",
            standby.application_name()
        );
        match lab.postgres(lab.primary().map_err(|e| e.to_string())?).sql(&query) {
            Ok(answer) if answer == "0" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    let gap = stage.client.score().longest_gap_since(begin);
    expect(gap < lab.spec().token, || {
        format!("writes stalled for {gap:?} when one receiver hung")
    })?;
    lab.unhang_receiver(standby)
}

fn another_postmaster(stage: &Stage, node: &Node, before: Option<i32>) -> Result<()> {
    let postgres = stage.lab.postgres(node);
    stage.lab.eventually("a new postmaster runs", LIMIT, |_| {
        let now = postgres.postmaster();
        if now.is_some() && now != before {
            Ok(())
        } else {
            Err(format!("{now:?}, before {before:?}"))
        }
    })
}
