//! What must not hold a cluster up: an archive that does not answer, and a replication slot that the server has given up.

use std::time::Duration;

use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// WAL that a standby has to fetch, and at what rate: it is never near the end before its slot is given up.
const BACKLOG_MB: u32 = 120;
const RATE_KBIT: u32 = 4000;

pub(crate) fn neither_an_archive_nor_a_lost_slot_holds_a_cluster_up() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
            // So that what was left is archived by a standby, too.
            .setting("archive_mode = always")
            .setting("archive_command = 'true'")
            .setting("wal_keep_size = 0")
            .setting("max_slot_wal_keep_size = 32MB")
            .setting("max_wal_size = 64MB")
    })?;
    let mut usual = Duration::ZERO;
    stage.step("a switchover", Allowed::switchover(), |stage| {
        usual = pause(stage)?;
        Ok(())
    })?;
    let lab = &stage.lab;
    let hung = lab.primary()?;
    stage.step(
        "one whose archive does not answer",
        Allowed::switchover(),
        |stage| {
            archive_hangs(lab, hung)?;
            let paused = pause(stage)?;
            println!(
                "         writes paused {:.1} s, {:.1} s usually",
                paused.as_secs_f64(),
                usual.as_secs_f64()
            );
            // The archiver has to be seen idle first; its command would take ten minutes.
            expect(
                paused < usual.mul_f64(2.0) + Duration::from_secs(15),
                || format!("writes paused {paused:?}, {usual:?} usually"),
            )?;
            let left = unarchived(lab, hung).map_err(wrong)?;
            expect(left > 0, || {
                "what was not archived is marked as archived".to_owned()
            })
        },
    )?;
    stage.step(
        "it answers again: nothing is missing in it",
        Allowed::nothing().restarts(2),
        |_| {
            let postgres = lab.postgres(hung);
            postgres.sql("alter system reset archive_command")?;
            postgres.sql("select pg_reload_conf()")?;
            // The standby's own archiver has met the same command.
            hung.run(&["pkill", "-x", "-u", "postgres", "sleep"])?;
            lab.eventually("all is archived", LIMIT, |lab| {
                match unarchived(lab, hung)? {
                    0 => Ok(()),
                    left => Err(format!("{left} WAL files are not")),
                }
            })
        },
    )?;
    stage.step(
        "a slot that the server gives up is made anew",
        Allowed::nothing().paused(3).restarts(1).copies(1).failing(
            Whose::Anybodys,
            "monitor",
            "has removed the WAL",
            1,
        ),
        given_up,
    )?;
    stage.step(
        "a node is away for longer than the primary keeps its WAL, and an archive that the server's own file names has it: no copy",
        Allowed::nothing().restarts(1),
        kept_by_an_archive,
    )
}

/// Moves the primary, and gives the longest time without a commit.
fn pause(stage: &Stage) -> Result<Duration> {
    let begin = stage.client.now();
    stage.lab.switchover(LIMIT)?;
    stage.writes_go_on()?;
    Ok(stage.client.score().longest_gap_since(begin))
}

fn archive_hangs(lab: &Cluster, primary: &Node) -> Result<()> {
    let postgres = lab.postgres(primary);
    postgres.sql("alter system set archive_command = 'sleep 600'")?;
    postgres.sql("select pg_reload_conf()")?;
    lab.eventually("the archiver waits", LIMIT, |lab| {
        // Again: one that it had begun before was archived.
        let switched = lab.postgres(primary).sql("select pg_switch_wal()");
        switched.map_err(|error| error.to_string())?;
        let hangs = primary.run(&["pgrep", "-x", "sleep"]);
        match hangs.map(|output| output.success()) {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// WAL files that wait to be archived.
fn unarchived(lab: &Cluster, node: &Node) -> std::result::Result<usize, String> {
    let dir = lab.layout().data.join("pg_wal/archive_status");
    let listed = node.run(&["ls", &dir.display().to_string()]);
    let listed = listed
        .and_then(lab::Output::ok)
        .map_err(|error| error.to_string())?;
    Ok(listed
        .lines()
        .filter(|name| name.ends_with(".ready"))
        .count())
}

/// The standby that commits do not wait for falls behind by more than max_slot_wal_keep_size.
fn given_up(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let query =
        "select application_name from pg_stat_replication where sync_state <> 'sync' limit 1";
    let late = lab.node(&lab.postgres(primary).sql(query)?)?;
    lab.throttle_replication(late, RATE_KBIT)?;
    let step = 10;
    for _ in 0..BACKLOG_MB / step {
        lab.postgres(primary).sql(&format!(
            "select count(pg_logical_emit_message(false, 'lab', repeat('x', 1000000))) from generate_series(1, {step})"
        ))?;
    }
    lab.eventually(
        "the server gives its slot up, and the agent makes it anew",
        LIMIT,
        |lab| {
            lab.postgres(primary)
                .sql("checkpoint")
                .map_err(|error| error.to_string())?;
            let said = lab::logs(primary, 400);
            if said.contains("the server has given this slot up") {
                return Ok(());
            }
            slots(lab, primary).and_then(|slots| Err(slots.to_string()))
        },
    )?;
    lab.clear_weather(late)?;
    lab.wait_healthy(LIMIT)?;
    let slots = slots(lab, primary).map_err(wrong)?;
    expect(!slots.contains("lost"), || slots.clone())
}

/// Where the archive is, on the node that fills it and on the one that reads it.
const KEPT: &str = "/var/lib/postgresql/kept";

fn kept_by_an_archive(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let late = lab.node(&lab.postgres(primary).sql(
        "select application_name from pg_stat_replication where sync_state <> 'sync' limit 1",
    )?)?;
    let config = lab.layout().config.display();
    late.sh(&format!(
        "install -d -o postgres {KEPT} && echo \"restore_command = 'cp {KEPT}/%f %p'\" >>{config}"
    ))?
    .ok()?;
    primary
        .sh(&format!("install -d -o postgres {KEPT}"))?
        .ok()?;
    let postgres = lab.postgres(primary);
    postgres.sql(&format!(
        "alter system set archive_command = 'cp %p {KEPT}/%f'"
    ))?;
    postgres.sql("select pg_reload_conf()")?;
    // What follows is in the archive, and nothing before is missing to the standby.
    postgres.sql("select pg_switch_wal()")?;
    lab.wait_healthy(LIMIT)?;
    let file = postgres.sql("select pg_walfile_name(pg_current_wal_lsn())")?;
    // In order, so that where its WAL ends is known before it is started again.
    lab.set_standby_mode(late, true)?;
    let postgres_there = lab.postgres(late);
    lab.eventually("it is stopped", LIMIT, |_| {
        match postgres_there.postmaster() {
            None => Ok(()),
            Some(pid) => Err(format!("process {pid}")),
        }
    })?;
    lab.eventually("the primary has removed its WAL", LIMIT, |lab| {
        let sql = |sql: &str| lab.postgres(primary).sql(sql).map_err(|error| error.to_string());
        sql("select count(pg_logical_emit_message(false, 'lab', repeat('x', 1000000))) from generate_series(1, 30)")?;
        sql("select pg_switch_wal()")?;
        sql("checkpoint")?;
        let is_there = sql(&format!("select (pg_stat_file('pg_wal/{file}', true)).size is not null"))?;
        match is_there.as_str() {
            "f" => Ok(()),
            _ => slots(lab, primary).and_then(Err),
        }
    })?;
    lab.eventually("all is archived", LIMIT, |lab| {
        match unarchived(lab, primary)? {
            0 => Ok(()),
            left => Err(format!("{left} WAL files are not")),
        }
    })?;
    let packed = primary.sh(&format!("tar -cz -C {KEPT} . | base64"))?.ok()?;
    late.write_file(&format!("{KEPT}.tar"), packed, "root", "600")?;
    late.sh(&format!("base64 -d {KEPT}.tar | tar -xz -C {KEPT}"))?
        .ok()?;
    lab.set_standby_mode(late, false)?;
    lab.wait_healthy(LIMIT)?;
    postgres.sql("alter system reset archive_command")?;
    postgres.sql("select pg_reload_conf()").map(drop)
}

fn slots(lab: &Cluster, primary: &Node) -> std::result::Result<String, String> {
    let query = "select slot_name, active, wal_status from pg_replication_slots";
    lab.postgres(primary)
        .sql(query)
        .map_err(|error| error.to_string())
}
