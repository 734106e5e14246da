//! The power goes while a node is being repaired: the next start finishes, or says what to do.

use lab::postgres::TMPDIR;
use lab::{Allowed, Node, RepMode, Result, Whose};
use serde::Deserialize;

use super::comes_back::{
    diverge, mark_own_files, named_command, own_files_are_there, refused, repaired, repairs, undone,
};
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, wrong};

/// Data that a repair has to copy.
const BULK_MB: u32 = 60;
/// It takes ten seconds at this rate: time to cut the power in between.
const RATE_KBIT: u32 = 80_000;
/// WAL that the primary writes between two checkpoints while a node is away.
const STEP_MB: u32 = 20;

pub(crate) fn a_repair_survives_a_power_cut_or_says_what_to_do() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .param(ON_DIVERGENCE, "rewind")
            // A node that is away for long is to lack WAL.
            .setting("wal_keep_size = 0")
            .setting("max_slot_wal_keep_size = 16MB")
    })?;
    mark_own_files(&stage.lab)?;
    let old = stage.lab.primary()?;
    let told = Allowed::failover().failing(Whose::Deposed, "start", "a rewind was interrupted", 1);
    stage.scene("power cut in a rewind: told to rebuild", told, |stage| {
        let old = cut_in_rewind(stage)?;
        let reason = refused(stage, old)?;
        named_command(&reason, "cluster rebuild").map(drop)
    })?;
    stage.step(
        "power cut in the rebuild: the next start finishes",
        Allowed::nothing().copies(2),
        |stage| cut_in_rebuild(stage, old),
    )?;
    stage.step(
        "power cut in a rewind: rebuilt",
        Allowed::failover().copies(1),
        cut_and_rebuilt,
    )?;
    stage.step(
        "WAL that a node needs is gone: rebuilt",
        Allowed::nothing().restarts(1).copies(1),
        lacking,
    )
}

/// Gives the node whose rewind was cut, which is on again.
fn cut_in_rewind(stage: &Stage) -> Result<&Node> {
    let old = diverge(stage)?;
    write_bulk(stage)?;
    stage.lab.power_on(old)?;
    cut_while(stage, old, "rewind")?;
    Ok(old)
}

/// Cuts a node's power while its data are copied slowly, and switches it on again; the line is good then.
fn cut_while(stage: &Stage, node: &Node, work: &str) -> Result<()> {
    let lab = &stage.lab;
    lab.throttle_replication(node, RATE_KBIT)?;
    let seen = lab.eventually(&format!("a {work} is copying"), LIMIT, |_| {
        let journal = Journal::read(node)?;
        // A rewind writes from the beginning of this phase on.
        let is_it = journal.work == work && journal.phase == "copying";
        let progress = journal.progress.as_ref();
        match progress.map_or(0, |progress| progress.done) {
            done if is_it && done > 0 => Ok(done),
            _ => Err(format!("{journal:?}")),
        }
    })?;
    lab.power_off(node)?;
    println!("         cut after {seen} bytes of the {work}");
    lab.power_on(node)
}

fn cut_in_rebuild(stage: &Stage, old: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.set_parameter(ON_DIVERGENCE, "rewind_or_rebuild")?;
    // Before the start that this allows.
    lab.throttle_replication(old, RATE_KBIT)?;
    lab.clean_up(old)?;
    cut_while(stage, old, "rebuild")?;
    lab.wait_healthy(LIMIT)?;
    undone(stage, old)?;
    own_files_are_there(lab)
}

fn cut_and_rebuilt(stage: &Stage) -> Result<()> {
    let old = cut_in_rewind(stage)?;
    let before = repairs(old, "rebuild")?;
    stage.lab.wait_healthy(LIMIT)?;
    repaired(old, "rebuild", before)?;
    undone(stage, old)?;
    own_files_are_there(&stage.lab)
}

fn lacking(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let standbys = lab.standbys()?;
    let away = standbys
        .first()
        .ok_or_else(|| wrong("there is no standby"))?;
    let before = repairs(away, "rebuild")?;
    lab.power_off(away)?;
    lab.eventually("the loss is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(away.name()) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    stage.writes_go_on()?;
    let postgres = lab.postgres(primary);
    let needed = postgres.sql("select pg_walfile_name(pg_current_wal_lsn())")?;
    lab.eventually(&format!("WAL {needed} is gone"), LIMIT, |_| {
        let sql = |sql: &str| postgres.sql(sql).map_err(|error| error.to_string());
        sql(&format!(
            "select count(pg_logical_emit_message(false, 'lab', repeat('x', 1000000))) from generate_series(1, {STEP_MB})"
        ))?;
        sql("select pg_switch_wal()")?;
        sql("checkpoint")?;
        let there = sql("select string_agg(name, ' ' order by name) from pg_ls_waldir()")?;
        if there.contains(&needed) {
            Err(there)
        } else {
            Ok(())
        }
    })?;
    lab.power_on(away)?;
    lab.wait_healthy(LIMIT)?;
    repaired(away, "rebuild", before)?;
    own_files_are_there(lab)
}

/// Gives the primary data that a node which is away has to copy.
fn write_bulk(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let postgres = lab.postgres(lab.primary()?);
    postgres.sql("drop table if exists bulk")?;
    postgres.sql("create table bulk(filler text)")?;
    postgres.sql("alter table bulk alter filler set storage plain")?;
    // Ten seconds are one statement's limit, on a slow disk too.
    let step = 10;
    for _ in 0..BULK_MB / step {
        postgres.sql(&format!(
            "insert into bulk select repeat('x', 1000) from generate_series(1, {})",
            step * 1000
        ))?;
    }
    Ok(())
}

/// What the agent notes of a repair.
#[derive(Debug, Deserialize)]
struct Journal {
    work: String,
    phase: String,
    progress: Option<Progress>,
}

#[derive(Debug, Deserialize)]
struct Progress {
    done: u64,
}

impl Journal {
    fn read(node: &Node) -> std::result::Result<Self, String> {
        let path = format!("{TMPDIR}/expgsql.repair");
        let text = node.read_file(&path).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }
}
