//! A primary that is alone, and a standby that returns far behind it.
//!
//! Three nodes, so that the primary may go on without standbys: their machines stay in the cluster, out of service, and
//! vote. One of them then comes back and has hundreds of megabytes to fetch over a narrow line. Until it has everything
//! that was acknowledged it is nobody's successor.

use std::time::Instant;

use lab::resources::RESOURCE;
use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::stage::{LIMIT, Stage, expect, promised, wrong};

/// WAL that the standby has to fetch.
const BACKLOG_MB: u64 = 300;
/// It takes five minutes at this rate: the standby is never near the end while it is watched.
const RATE_KBIT: u32 = 8000;
/// What still counts as far behind.
const FAR_MB: u64 = 100;
/// Time in which nobody may be promoted after the primary's machine was lost, in corosync's token timeouts. A healthy
/// failover takes three.
const WATCH: u32 = 4;

/// `PCMK_OCF_DEGRADED_PROMOTED`: a primary that serves, but not as it should.
const DEGRADED: &str = "191";

pub(crate) fn a_standby_far_behind_is_nobodys_successor() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .setting("wal_keep_size = 2GB")
            // No checkpoint takes away what the standby still needs, and none is in the way of the restarts.
            .setting("max_wal_size = 4GB")
    })?;
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standbys: Vec<&Node> = lab
        .nodes()
        .iter()
        .filter(|n| n.name() != primary.name())
        .collect();
    let [away, late] = standbys[..] else {
        return Err(wrong("a story for three nodes"));
    };
    stage.scene(
        "the primary is alone, and says so",
        Allowed::nothing().waiting(),
        |stage| alone(stage, primary, &standbys),
    )?;
    stage.scene(
        "a standby returns, far behind",
        Allowed::nothing().waiting().restarts(1),
        |stage| {
            write_backlog(lab, primary)?;
            returns(stage, primary, late)
        },
    )?;
    stage.scene(
        "the primary is killed: nobody else is promoted",
        Allowed::failover().waiting().restarts(1).failing(
            Whose::Anybodys,
            "monitor",
            "PostgreSQL does not run",
            1,
        ),
        |stage| killed(stage, primary, late),
    )?;
    stage.scene(
        "its machine loses power: nobody is promoted",
        Allowed::failover().waiting().restarts(1),
        |stage| lost_power(stage, primary, late),
    )?;
    stage.scene(
        "a switchover does not wait for another that is far behind",
        Allowed::switchover().waiting().restarts(1),
        |stage| leaves_behind(stage, primary, late, away),
    )?;
    stage.step(
        "both have caught up: they may be promoted",
        Allowed::nothing().restarts(2).waiting(),
        |_| {
            lab.clear_weather(away)?;
            lab.wait_healthy(LIMIT)?;
            let primary = lab.primary()?;
            lab.eventually("nothing is degraded", LIMIT, |_| match degraded(primary)? {
                None => Ok(()),
                Some(code) => Err(format!("monitor on {} gives {code}", primary.name())),
            })
        },
    )
}

/// Both standbys out of service: commits wait for nobody, for certain, and the cluster shows it.
fn alone(stage: &Stage, primary: &Node, standbys: &[&Node]) -> Result<()> {
    let lab = &stage.lab;
    let before = degraded(primary).map_err(wrong)?;
    expect(before.is_none(), || {
        format!("a healthy primary's monitor gives {before:?}")
    })?;
    for node in standbys {
        lab.set_standby_mode(node, true)?;
    }
    lab.eventually("commits wait for nobody", LIMIT, |lab| {
        let contract = lab
            .postgres(primary)
            .sql("show synchronous_standby_names")
            .map_err(|error| error.to_string())?;
        if contract.is_empty() {
            Ok(())
        } else {
            Err(contract)
        }
    })?;
    stage.writes_go_on()?;
    lab.eventually("the cluster shows that it is degraded", LIMIT, |lab| {
        let code = degraded(primary)?.ok_or_else(|| {
            lab.status()
                .map_or_else(|error| error.to_string(), |status| status.to_string())
        })?;
        println!("         monitor on {} gives {code}", primary.name());
        Ok(())
    })
}

/// The code of the primary's last monitor, where it is one of the two that mean degraded. Pacemaker records the code under
/// the name of a failure, which stays when it is over until somebody cleans up; the later of the two entries counts.
fn degraded(node: &Node) -> std::result::Result<Option<String>, String> {
    let path = format!(
        "//node_state[@uname='{}']//lrm_resource[starts-with(@id,'{RESOURCE}')]",
        node.name()
    );
    let xml = node
        .run(&["cibadmin", "--query", "--xpath", &path])
        .and_then(lab::Output::ok)
        .map_err(|error| error.to_string())?;
    let history = roxmltree::Document::parse(&xml).map_err(|error| format!("{error}: {xml}"))?;
    let is_watch = |op: &roxmltree::Node<'_, '_>| {
        op.attribute("operation") == Some("monitor") && op.attribute("interval") != Some("0")
    };
    let changed = |op: &roxmltree::Node<'_, '_>| {
        let time = op.attribute("last-rc-change").unwrap_or_default();
        time.parse::<u64>().unwrap_or(0)
    };
    let last = history
        .descendants()
        .filter(is_watch)
        .max_by_key(changed)
        .and_then(|op| op.attribute("rc-code"));
    Ok(last.filter(|code| *code == DEGRADED).map(str::to_owned))
}

fn write_backlog(lab: &Cluster, primary: &Node) -> Result<()> {
    // Ten seconds are one statement's limit, on a slow disk too.
    let step = 20;
    for _ in 0..BACKLOG_MB / step {
        lab.postgres(primary).sql(&format!(
            "select count(pg_logical_emit_message(false, 'lab', repeat('x', 1000000))) from generate_series(1, {step})"
        ))?;
    }
    Ok(())
}

fn returns(stage: &Stage, primary: &Node, late: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.throttle_replication(late, RATE_KBIT)?;
    lab.set_standby_mode(late, false)?;
    lab.eventually("it fetches what it lacks", LIMIT, |lab| {
        behind(lab, primary, late).map(drop)
    })?;
    // It is watched over two monitors and more.
    lab.holds_for("it may not be promoted", lab.spec().token * 3, |lab| {
        may_not_be_promoted(lab, late)
    })?;
    far_behind(lab, primary, late)?;
    stage.writes_go_on()
}

/// Bytes of WAL that a standby has not flushed.
fn behind(lab: &Cluster, primary: &Node, late: &Node) -> std::result::Result<u64, String> {
    let query = format!(
        "select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn)::bigint from pg_stat_replication where application_name = '{}' and flush_lsn is not null",
        late.application_name()
    );
    let bytes = lab
        .postgres(primary)
        .sql(&query)
        .map_err(|error| error.to_string())?;
    bytes
        .parse()
        .map_err(|_| format!("pg_stat_replication says {bytes:?}"))
}

fn far_behind(lab: &Cluster, primary: &Node, late: &Node) -> Result<()> {
    let bytes = lab.eventually("its lag is known", LIMIT, |lab| behind(lab, primary, late))?;
    println!(
        "         {} is {} MB behind, and may not be promoted",
        late.name(),
        bytes / 1_000_000
    );
    expect(bytes > FAR_MB * 1_000_000, || {
        format!("it has caught up too soon: {bytes} bytes behind")
    })
}

fn may_not_be_promoted(lab: &Cluster, late: &Node) -> std::result::Result<(), String> {
    let status = lab.status().map_err(|error| error.to_string())?;
    let of = |name: &str| status.attribute(late.name(), name).unwrap_or("nothing");
    let (data, score) = (of("pgsql-data-status"), of("master-pgsql"));
    if ["STREAMING|SYNC", "STREAMING|QUORUM"].contains(&data) {
        return Err(format!("pgsql-data-status of {} is {data}", late.name()));
    }
    if ["-INFINITY", "-1000000", "nothing"].contains(&score) {
        Ok(())
    } else {
        Err(format!("master-pgsql of {} is {score}", late.name()))
    }
}

pub(crate) fn is_not_promoted(lab: &Cluster, late: &Node) -> std::result::Result<(), String> {
    let status = lab.status().map_err(|error| error.to_string())?;
    if status.promoted().contains(&late.name()) {
        return Err(format!("{} is promoted\n{status}", late.name()));
    }
    if lab.postgres(late).is_writable() == Some(true) {
        return Err(format!("{} takes writes\n{status}", late.name()));
    }
    Ok(())
}

fn killed(stage: &Stage, primary: &Node, late: &Node) -> Result<()> {
    let lab = &stage.lab;
    let postgres = lab.postgres(primary);
    let before = postgres.postmaster();
    lab.kill_postmaster(primary)?;
    lab.eventually("it comes back where it was", LIMIT, |lab| {
        is_not_promoted(lab, late)?;
        let now = postgres.postmaster();
        let is_back = now.is_some() && now != before && postgres.is_writable() == Some(true);
        if is_back && lab.primary().is_ok_and(|p| p.name() == primary.name()) {
            Ok(())
        } else {
            Err(format!("postmaster {now:?}, killed was {before:?}"))
        }
    })?;
    stage.writes_go_on()?;
    stage.forgive(primary)?;
    far_behind(lab, primary, late)?;
    may_not_be_promoted(lab, late).map_err(wrong)?;
    none_lost(stage)
}

fn lost_power(stage: &Stage, primary: &Node, late: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.power_off(primary)?;
    lab.eventually("the loss of the machine is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(primary.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    let watched = Instant::now();
    lab.holds_for("nobody is promoted", lab.spec().token * WATCH, |lab| {
        is_not_promoted(lab, late)
    })?;
    println!(
        "         nobody was promoted in {:.0} s",
        watched.elapsed().as_secs_f64()
    );
    lab.power_on(primary)?;
    lab.eventually("it is the primary again", LIMIT, |lab| {
        is_not_promoted(lab, late)?;
        match lab.primary() {
            Ok(now) if now.name() == primary.name() => Ok(()),
            Ok(now) => Err(format!("{} is the primary", now.name())),
            Err(error) => Err(error.to_string()),
        }
    })?;
    stage.writes_go_on()?;
    far_behind(lab, primary, late)?;
    none_lost(stage)
}

/// The first standby has caught up and takes over, while the other still lacks most of the backlog. PostgreSQL's shutdown
/// would send it all of that first, for minutes.
fn leaves_behind(stage: &Stage, primary: &Node, late: &Node, away: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.clear_weather(late)?;
    lab.eventually("the first standby may be promoted", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        match status.attribute(late.name(), "pgsql-data-status") {
            Some("STREAMING|SYNC") => Ok(()),
            _ => Err(status.to_string()),
        }
    })?;
    lab.throttle_replication(away, RATE_KBIT)?;
    lab.set_standby_mode(away, false)?;
    far_behind(lab, primary, away)?;
    lab.move_primary(late, LIMIT)?;
    stage.writes_go_on()?;
    let said = lab::logs(primary, 300);
    expect(said.contains("the shutdown does not wait for"), || {
        format!("{} waited for {}\n{said}", primary.name(), away.name())
    })?;
    none_lost(stage)
}

fn none_lost(stage: &Stage) -> Result<()> {
    // Failures that are forgiven are forgotten with the role: Pacemaker asks anew what runs where.
    stage.lab.eventually("there is a primary", LIMIT, |lab| {
        lab.primary().map(drop).map_err(|error| error.to_string())
    })?;
    let score = stage.client.score();
    let lost = score.lost(&stage.lab)?;
    println!(
        "         {} acknowledged commits, {} lost, longest pause {:.1} s",
        score.acked(),
        lost.len(),
        score.longest_gap().as_secs_f64()
    );
    promised(lost.is_empty(), || {
        format!("{} acknowledged commits are lost: {lost:?}", lost.len())
    })
}
