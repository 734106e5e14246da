//! Deep monitors beside the plain ones, as Pacemaker runs them.

use lab::resources::{CLONE, RESOURCE};
use lab::{Allowed, Cluster, Node, RepMode, Result};

use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect};

/// A tablespace's place, on every node.
const PLACE: &str = "/var/lib/postgresql-space";

pub(crate) fn deep_monitors_run_beside_the_plain_ones() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "two more monitors; a tablespace that the server may not write in any more",
        Allowed::nothing(),
        beside,
    )
}

fn beside(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    for (interval, role) in [("7s", "Unpromoted"), ("8s", "Promoted")] {
        let id = format!("{RESOURCE}-deep-{interval}");
        let operation = format!(
            "<clone id=\"{CLONE}\"><primitive id=\"{RESOURCE}\"><operations>\
             <op id=\"{id}\" name=\"monitor\" interval=\"{interval}\" role=\"{role}\" timeout=\"60s\"><instance_attributes id=\"{id}-a\">\
             <nvpair id=\"{id}-l\" name=\"OCF_CHECK_LEVEL\" value=\"20\"/></instance_attributes></op></operations></primitive></clone>"
        );
        let modify = [
            "cibadmin",
            "--modify",
            "--allow-create",
            "--scope=resources",
        ];
        let argv = [&modify[..], &["--xml-text", &operation]].concat();
        primary.run(&argv)?.ok()?;
    }
    for node in lab.nodes() {
        node.sh(&format!(
            "mkdir -m 700 -p {PLACE} && chown postgres:postgres {PLACE}"
        ))?
        .ok()?;
    }
    lab.postgres(primary)
        .sql(&format!("create tablespace space location '{PLACE}'"))?;
    wrote(lab, primary)?;
    primary.sh(&format!("chmod 500 {PLACE}"))?.ok()?;
    shown(lab, primary, true)?;
    stage.writes_go_on()?;
    primary.sh(&format!("chmod 700 {PLACE}"))?.ok()?;
    // Pacemaker goes on showing what it was told once.
    lab.eventually("it is over", LIMIT, |lab| {
        lab.clean_up(primary).map_err(|error| error.to_string())?;
        shown_now(primary, false)
    })?;
    lab.wait_healthy(LIMIT)?;
    let now = lab.primary()?;
    expect(now.name() == primary.name(), || {
        format!("{} is the primary", now.name())
    })
}

/// The message that a deep monitor commits is in the WAL.
fn wrote(lab: &Cluster, primary: &Node) -> Result<()> {
    let bin = lab.layout().program("pg_waldump");
    let data = lab.layout().data.display().to_string();
    let line = format!(
        "for file in $(ls {data}/pg_wal | grep -E '^[0-9A-F]{{24}}$'); do {bin} {data}/pg_wal/$file 2>/dev/null; done | grep -c 'prefix \"expgsql\"' || :"
    );
    lab.eventually("a deep monitor has written", LIMIT, |_| {
        let count = primary.sh(&line).and_then(lab::Output::ok);
        let count = count.map_err(|error| error.to_string())?;
        let is_there = count.trim().parse::<u32>().is_ok_and(|count| count > 1);
        is_there.then_some(()).ok_or(count)
    })
}

fn shown(lab: &Cluster, primary: &Node, expected: bool) -> Result<()> {
    lab.eventually("Pacemaker shows what the deep monitor says", LIMIT, |_| {
        shown_now(primary, expected)
    })
}

fn shown_now(primary: &Node, expected: bool) -> std::result::Result<(), String> {
    let seen = primary
        .run(&["crm_mon", "-1"])
        .map_err(|error| error.to_string())?;
    let seen = seen.text();
    let is_shown = seen.contains(&format!("tablespace {PLACE}"));
    (is_shown == expected).then_some(()).ok_or(seen)
}
