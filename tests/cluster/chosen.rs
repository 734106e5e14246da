//! What a site has chosen about quorum, fencing and failed stops, and what `setup apply` makes of it: nothing, but to tell where it does not
//! go together.

use lab::{Allowed, Builder, RepMode, Result};

use super::addresses::apply;
use super::stage::{ON_DIVERGENCE, Stage, expect};

const POLICY: &str = "no-quorum-policy";

/// config.ini for two nodes without a lock service.
const NO_LOCK: &str = "pgsql_enable_distlock=false\n";

pub(crate) fn setup_leaves_what_two_nodes_have_chosen() -> Result<()> {
    // What setup would change of the database's own is as it would have it already.
    let two = |builder: Builder| {
        let builder = builder.nodes(2).param("enable_distlock", "false");
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    };
    let stage = Stage::set(RepMode::Sync, |builder| two(builder).fencing())?;
    stage.step("with fencing", Allowed::nothing(), |stage| {
        let told = apply(stage, NO_LOCK)?;
        says(&told, "on-fail=block of its stop stays", true)?;
        says(&told, "stonith-enabled", false)?;
        // corosync says two_node.
        says(&told, "neither two_node", false)?;
        property(stage, "stonith-enabled", "true")?;
        chosen(stage, "fences the other")
    })?;
    drop(stage);
    let stage = Stage::set(RepMode::Sync, |builder| two(builder).quorum_device())?;
    stage.step("with a quorum device", Allowed::nothing(), |stage| {
        let told = apply(stage, NO_LOCK)?;
        // Blocked is what Pacemaker does without fencing, too.
        says(&told, "on-fail=block", false)?;
        // There is none, and corosync lists the device.
        says(&told, "neither two_node", false)?;
        property(stage, "stonith-enabled", "false")?;
        chosen(stage, "without a majority goes on by itself")
    })
}

/// What nobody set is set to `stop`; `ignore` stays, and what comes of it is told.
fn chosen(stage: &Stage, consequence: &str) -> Result<()> {
    let node = stage.lab.primary()?;
    property(stage, POLICY, "stop")?;
    let set = |value: &str| {
        let name = format!("--name={POLICY}");
        let value = format!("--update={value}");
        node.run(&["crm_attribute", &name, &value])?.ok().map(drop)
    };
    set("ignore")?;
    let told = apply(stage, NO_LOCK)?;
    says(&told, &format!("{POLICY}=ignore stays"), true)?;
    says(&told, consequence, true)?;
    says(&told, "set no_quorum_policy=stop in config.ini", true)?;
    property(stage, POLICY, "ignore")?;
    let name = format!("--name={POLICY}");
    node.run(&["crm_attribute", &name, "--delete"])?.ok()?;
    let told = apply(stage, NO_LOCK)?;
    says(&told, &format!("set the property {POLICY}=stop"), true)?;
    property(stage, POLICY, "stop")?;
    set("ignore")?;
    let told = apply(stage, &format!("{NO_LOCK}no_quorum_policy=stop\n"))?;
    says(&told, "from ignore to stop", true)?;
    property(stage, POLICY, "stop")
}

fn says(told: &str, part: &str, is_expected: bool) -> Result<()> {
    expect(told.contains(part) == is_expected, || {
        format!("{part:?}, expected: {is_expected}\n{told}")
    })
}

fn property(stage: &Stage, name: &str, expected: &str) -> Result<()> {
    let node = stage.lab.primary()?;
    let name = format!("--name={name}");
    let value = node
        .run(&["crm_attribute", &name, "--query", "--quiet"])?
        .ok()?;
    expect(value.trim() == expected, || format!("{name}: {value}"))
}
