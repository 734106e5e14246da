//! A recovery target that a restore has left behind: the standby would flush everything, replay nothing past it, and drop the
//! rest when it is promoted.

use lab::{Allowed, Cluster, Node, RepMode, Result, Status, Whose};

use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, promised, refusals, wrong};

const TARGET: &str = "forgotten";

pub(crate) fn a_forgotten_recovery_target_loses_nothing() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "a standby with a recovery target is the only one left",
        Allowed::failover().waiting().restarts(4).failing(
            Whose::Anybodys,
            "start",
            "recovery_target",
            2,
        ),
        only_one_left,
    )
}

fn only_one_left(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, node) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|other| other.name() != node.name());
    let other = other.ok_or_else(|| wrong("there is no second standby"))?;
    let config = lab.layout().config.display().to_string();
    let before = node.read_file(&config)? + "\n";
    let with_target = format!("{before}recovery_target_name = '{TARGET}'\n");
    lab.set_standby_mode(node, true)?;
    lab.eventually("its server is down", LIMIT, |lab| {
        let answer = lab.postgres(node).is_writable();
        answer.map_or(Ok(()), |answer| Err(format!("{answer}")))
    })?;
    node.write_file(&config, with_target, "postgres:postgres", "600")?;
    lab.set_standby_mode(node, false)?;
    let is_refused = lab.eventually("it is refused, or runs", LIMIT, |lab| refused(lab, node))?;
    // Its place is taken by nobody else.
    lab.set_standby_mode(other, true)?;
    lab.eventually("the other one is down", LIMIT, |lab| {
        let answer = lab.postgres(other).is_writable();
        answer.map_or(Ok(()), |answer| Err(format!("{answer}")))
    })?;
    // Replay would end here.
    let target = format!("select pg_create_restore_point('{TARGET}')");
    lab.postgres(old).sql(&target)?;
    stage.writes_go_on()?;
    lab.power_off(old)?;
    lab.set_standby_mode(other, false)?;
    if !is_refused {
        // What it is promoted with is seen in the end.
        stage.taken_over_from(old)?;
    }
    node.write_file(&config, before, "postgres:postgres", "600")?;
    lab.power_on(old)?;
    if is_refused {
        lab.clean_up(node)?;
    }
    stage.recovers()?;
    let lost = stage.client.score().lost(lab)?.len();
    promised(lost == 0, || {
        format!("{lost} acknowledged commits are lost")
    })?;
    expect(is_refused, || {
        format!("{} was started with a recovery target", node.name())
    })
}

/// Whether its start was refused; `Err`: it is on its way.
fn refused(lab: &Cluster, node: &Node) -> std::result::Result<bool, String> {
    let status: Status = lab.status().map_err(|error| error.to_string())?;
    if refusals(&status).contains_key(node.name()) {
        return Ok(true);
    }
    let streams = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
    match lab.postgres(node).sql(streams) {
        Ok(count) if count == "1" => Ok(false),
        _ => Err(status.to_string()),
    }
}
