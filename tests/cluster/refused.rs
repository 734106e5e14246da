//! What a site does to a cluster that is well, and takes back again: nobody is promoted, restarted or given up for it.

use lab::{Allowed, Node, RepMode, Result};

use super::stage::{LIMIT, Stage, expect};

/// The agent's own database, locked as CREATE DATABASE locks its template: for some monitors.
const LOCKED: &str =
    "begin; alter database template1 rename to renamed; select pg_sleep(45); rollback";

pub(crate) fn what_a_site_does_to_a_primary_costs_no_commit_and_no_restart() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    stage.scene(
        "the agent's database is locked on the primary",
        Allowed::nothing(),
        locked,
    )?;
    stage.step("the lock is gone", Allowed::nothing(), |stage| {
        stage.told(stage.lab.primary()?, None)?;
        stage.lab.wait_healthy(LIMIT)
    })?;
    stage.step(
        "every postgresql.conf is put back as it was, and reloaded",
        Allowed::nothing(),
        restored,
    )?;
    stage.step(
        "then the primary's machine loses power",
        Allowed::failover(),
        |stage| {
            let lab = &stage.lab;
            let primary = lab.primary()?;
            lab.power_off(primary)?;
            stage.writes_go_on()?;
            // A refusal because of WAL that nobody received is no surprise: see recovers.
            lab.power_on(primary)
        },
    )
}

fn locked(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let pid = lab.postgres(primary).postmaster();
    let psql = lab.layout().program("psql");
    let argv = [
        "runuser", "-u", "postgres", "--", &psql, "-X", "-d", "postgres", "-c", LOCKED,
    ];
    let _session = primary.spawn("lock", &argv)?;
    stage.told(stage.lab.primary()?, Some("shut"))?;
    stage.writes_go_on()?;
    let failures = lab.status()?.failures;
    expect(
        failures.iter().any(|failure| failure.contains("template1")),
        || format!("no reason is told: {failures:?}"),
    )?;
    stage.told(stage.lab.primary()?, None)?;
    expect(lab.postgres(primary).postmaster() == pid, || {
        "the primary was restarted".to_owned()
    })
}

fn restored(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let config = lab.layout().config.display().to_string();
    let waits = |node: &Node| lab.postgres(node).sql("show synchronous_standby_names");
    let primary = lab.primary()?;
    for node in lab.nodes() {
        node.sh(&format!("sed -i '/added by expgsql/d' {config}"))?
            .ok()?;
        lab.postgres(node).signal("HUP")?;
    }
    lab.eventually("the primary waits for a standby again", LIMIT, |_| {
        let lines = primary.read_file(&config).map_err(|e| e.to_string())?;
        let names = waits(primary).map_err(|e| e.to_string())?;
        if !names.is_empty() && lines.contains("added by expgsql") {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    })?;
    stage.writes_go_on()?;
    for node in lab.nodes() {
        let what = format!("{} has its lines", node.name());
        lab.eventually(&what, LIMIT, |_| {
            let lines = node.read_file(&config).map_err(|e| e.to_string())?;
            let has = lines.contains("added by expgsql");
            has.then_some(()).ok_or_else(|| "not yet".to_owned())
        })?;
    }
    lab.wait_healthy(LIMIT)
}
