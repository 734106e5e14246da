//! A standby whose machine is gone while PostgreSQL still calls it streaming, and a primary on which not everything that
//! the standbys need can be done.

use lab::resources::RESOURCE;
use lab::{Allowed, Node, RepMode, Result};

use super::stage::{LIMIT, Stage, expect, wrong};

/// What the lab sets max_replication_slots to, less one.
const SLOTS: u32 = 9;

pub(crate) fn a_lost_machine_is_not_waited_for_and_missing_slots_are_told() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        // Far longer than any wait here.
        builder.setting("wal_sender_timeout = 30min")
    })?;
    stage.step(
        "the standby's machine loses power: another takes its place",
        Allowed::nothing(),
        machine_lost,
    )?;
    stage.scene(
        "no slots are left on the next primary",
        Allowed::switchover(),
        slots_used_up,
    )?;
    stage.step("there are slots again", Allowed::nothing(), |stage| {
        let primary = stage.lab.primary()?;
        let drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'others%'";
        stage.lab.postgres(primary).sql(drop)?;
        stage.lab.wait_healthy(LIMIT)?;
        stage.told(primary, None)
    })
}

/// The standby that commits wait for.
fn synchronous(stage: &Stage) -> Result<&Node> {
    let lab = &stage.lab;
    let primary = lab.postgres(lab.primary()?);
    let contract = primary.sql("show synchronous_standby_names")?;
    let mut nodes = lab.nodes().iter();
    nodes
        .find(|node| contract.contains(node.name()))
        .ok_or_else(|| wrong(format!("the contract is {contract:?}")))
}

fn machine_lost(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let sync = synchronous(stage)?;
    // Nothing that its kernel says while it dies gets out: it closes no connection.
    lab.isolate(sync)?;
    lab.power_off(sync)?;
    stage.writes_go_on()?;
    let shown = "select state from pg_stat_replication where application_name ilike ";
    let state = lab
        .postgres(primary)
        .sql(&format!("{shown} '{}'", sync.name()))?;
    println!("         PostgreSQL calls {} {state:?}", sync.name());
    lab.heal()?;
    lab.power_on(sync)?;
    lab.wait_healthy(LIMIT)
}

/// Commits go on with the standby that got the last slot; it may be promoted, and the cluster says what is missing.
fn slots_used_up(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let next = synchronous(stage)?;
    let all = format!(
        "select count(pg_create_physical_replication_slot('others' || i)) from generate_series(1, {SLOTS}) i"
    );
    lab.postgres(next).sql(&all)?;
    lab.move_primary(next, LIMIT)?;
    stage.writes_go_on()?;
    lab.eventually("one standby is granted", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let attribute = format!("{RESOURCE}-data-status");
        let granted = lab
            .nodes()
            .iter()
            .filter(|node| status.attribute(node.name(), &attribute) == Some("STREAMING|SYNC"));
        match granted.count() {
            1 => Ok(()),
            _ => Err(status.to_string()),
        }
    })?;
    stage.told(next, Some("unattended"))?;
    let status = lab.status()?;
    let told = status.attribute(next.name(), &format!("{RESOURCE}-notice"));
    expect(told.is_some_and(|text| text.contains("slot")), || {
        format!("no reason is told: {told:?}")
    })
}
