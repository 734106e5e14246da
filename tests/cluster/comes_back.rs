//! Every node comes back by itself: with `on_divergence=rewind` what it wrote past the fork is undone; with `stop` it is told
//! which command does that.
//!
//! Power failure, kill -9 and switchover with `rewind` are in [`super::redundancy`], where they are timed.

use lab::postgres::TMPDIR;
use lab::{Allowed, Cluster, Node, Redundancy, RepMode, Result, StreamWatch, Whose};

use super::redundancy::FAILURE_TIMEOUT;
use super::stage::{
    GONE, LIMIT, ON_DIVERGENCE, Stage, cut_off, expect, positions, refusals, wrong,
};

/// Rows that only the old primary has.
const UNREPLICATED: u32 = 1000;
/// A node's own file in the data directory, which no other has.
const OWN_FILE: &str = "own.txt";

pub(crate) fn what_was_the_primary_comes_back_by_itself() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .param(ON_DIVERGENCE, "rewind")
            // A killed postmaster moves the primary, and the node may come back without a human.
            .migration_threshold(1)
            .failure_timeout(FAILURE_TIMEOUT)
    })?;
    let watch = stage.client.watch_streams(&stage.lab)?;
    mark_own_files(&stage.lab)?;
    stage.step(
        "the primary is cut off from everything",
        cut_off(),
        |stage| {
            partition(stage)?;
            all_stream(stage, &watch)
        },
    )?;
    stage.step(
        "two failovers while a node is down",
        Allowed::failover()
            .promotions(2)
            .failing(Whose::Deposed, "monitor", GONE, 1),
        |stage| {
            two_failovers(stage)?;
            all_stream(stage, &watch)
        },
    )?;
    stage.step(
        "commits that nobody received: rewound",
        Allowed::failover(),
        |stage| {
            rewound(stage)?;
            all_stream(stage, &watch)
        },
    )?;
    stage.step(
        "the same with stop: the command that is named helps",
        Allowed::failover(),
        told_what_to_do,
    )
}

/// Until every node streams, whatever Pacemaker believes.
fn all_stream(stage: &Stage, watch: &StreamWatch) -> Result<()> {
    stage.lab.eventually("every node streams", LIMIT, |lab| {
        lab.health()?;
        let full = watch.steady(Redundancy::Full, stage.client.now());
        full.map(drop).ok_or_else(|| watch.now())
    })
}

fn partition(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.isolate(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    lab.heal()?;
    stage.recovers()
}

fn two_failovers(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let first = lab.primary()?;
    lab.power_off(first)?;
    let second = stage.taken_over_from(first)?;
    stage.writes_go_on()?;
    // The third must have been granted, or there is nobody to fail over to.
    lab.wait_healthy(LIMIT)?;
    lab.kill_postmaster(second)?;
    let third = stage.taken_over_from(second)?;
    stage.writes_go_on()?;
    println!(
        "         {} took over from {}, then {}",
        second.name(),
        first.name(),
        third.name()
    );
    lab.power_on(first)?;
    stage.recovers()
}

fn rewound(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = diverge(stage)?;
    lab.power_on(old)?;
    let before = repairs(old, "rewind")?;
    stage.recovers()?;
    repaired(old, "rewind", before)?;
    undone(stage, old)?;
    own_files_are_there(lab)
}

fn told_what_to_do(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    lab.set_parameter(ON_DIVERGENCE, "stop")?;
    let old = diverge(stage)?;
    lab.power_on(old)?;
    let reason = refused(stage, old)?;
    expect(positions(&reason) >= 2, || {
        format!("the refusal does not say both positions: {reason}")
    })?;
    let command = named_command(&reason, "cluster rewind")?;
    is_down(stage, old)?;
    obey(old, &command)?;
    lab.wait_healthy(LIMIT)?;
    undone(stage, old)?;
    own_files_are_there(lab)?;
    let status = lab.status()?;
    expect(status.failures.is_empty(), || {
        format!("the command left a failure:\n{status}")
    })
}

/// A primary that has commits which no other node received, past its last checkpoint, loses power; another takes its
/// place. Gives the old one, which is off.
pub(crate) fn diverge(stage: &Stage) -> Result<&Node> {
    let lab = &stage.lab;
    lab.wait_healthy(LIMIT)?;
    // Pacemaker 2.1 takes a promoted instance for an unpromoted one from a reload to the next monitor.
    let name = lab.eventually("a promoted node is shown", LIMIT, |lab| {
        let primary = lab.primary().map_err(|error| error.to_string())?;
        Ok(primary.name().to_owned())
    })?;
    let old = lab.node(&name)?;
    let postgres = lab.postgres(old);
    postgres.sql("create table if not exists unreplicated(n int)")?;
    postgres.sql("checkpoint")?;
    lab.cut_replication_from(old)?;
    // Nobody waits for these, so nobody was told that they are safe.
    let insert = format!(
        "set synchronous_commit = local; insert into unreplicated select generate_series(1, {UNREPLICATED})"
    );
    postgres.sql(&insert)?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    let there = lab.postgres(new).sql("select count(*) from unreplicated")?;
    expect(there == "0", || {
        format!(
            "{} has {there} of the rows that nobody received",
            new.name()
        )
    })?;
    Ok(old)
}

/// What nobody received is gone on the node that had it, which follows.
pub(crate) fn undone(stage: &Stage, old: &Node) -> Result<()> {
    let count = stage
        .lab
        .postgres(old)
        .sql("select count(*) from unreplicated")?;
    expect(count == "0", || {
        format!("{} still has {count} rows that nobody received", old.name())
    })
}

/// A refused start has touched nothing: no server runs. The number in its postmaster.pid may be another process's by now.
fn is_down(stage: &Stage, old: &Node) -> Result<()> {
    let answer = stage.lab.postgres(old).is_writable();
    expect(answer.is_none(), || {
        format!("{} was refused, and its server answers", old.name())
    })
}

/// Waits until the start on a node is refused, and gives the reason.
pub(crate) fn refused(stage: &Stage, node: &Node) -> Result<String> {
    let reason = stage.lab.eventually("the start is refused", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let refused = refusals(&status).remove(node.name());
        refused.ok_or_else(|| status.to_string())
    })?;
    println!("         {} was refused: {reason}", node.name());
    Ok(reason)
}

/// The command between quotes in a reason, which must contain `words`.
pub(crate) fn named_command(reason: &str, words: &str) -> Result<String> {
    let mut quoted = reason.split('\'').skip(1).step_by(2);
    let command = quoted.find(|text| text.contains(words));
    command
        .map(str::to_owned)
        .ok_or_else(|| wrong(format!("no command '… {words}' is named: {reason}")))
}

/// Runs a command that the agent named, on the node in question, as an operator's script would.
pub(crate) fn obey(node: &Node, command: &str) -> Result<()> {
    let argv: Vec<&str> = command.split_whitespace().chain(["--yes"]).collect();
    let told = node.command(&argv)?.limit(LIMIT).ok()?;
    for line in told.lines() {
        println!("         {line}");
    }
    Ok(())
}

/// A start has decided on this repair since `before` was counted, and the repair ended well.
pub(crate) fn repaired(node: &Node, work: &str, before: usize) -> Result<()> {
    let (now, log) = (repairs(node, work)?, repair_log(node));
    let is_done = log.contains(&format!("a standby again repair={work}"));
    expect(now > before && is_done, || {
        format!("{}: no {work} since\n{log}", node.name())
    })
}

/// How often a start on a node has decided on this repair.
pub(crate) fn repairs(node: &Node, work: &str) -> Result<usize> {
    let pattern = format!("can't follow the primary .*repair={work}");
    let found = node.run(&["grep", "-acE", &pattern, lab::corosync::LOG])?;
    let count = found.stdout.trim().parse();
    count.map_err(|_| wrong(format!("grep: {}", found.text())))
}

/// What the last repair has logged on a node.
pub(crate) fn repair_log(node: &Node) -> String {
    node.tail(&format!("{TMPDIR}/expgsql.repair.log"), 1000)
}

/// Something in each data directory that is the node's own: a rewind and a rebuild leave it where it is.
pub(crate) fn mark_own_files(lab: &Cluster) -> Result<()> {
    for node in lab.nodes() {
        let path = own_file(lab);
        node.write_file(&path, node.name(), "postgres:postgres", "600")?;
        let line = format!("# {}\n", node.name());
        let config = lab.layout().config.display().to_string();
        let text = node.read_file(&config)?;
        node.write_file(&config, line + &text + "\n", "postgres:postgres", "600")?;
    }
    Ok(())
}

fn own_file(lab: &Cluster) -> String {
    lab.layout().data.join(OWN_FILE).display().to_string()
}

/// What [`mark_own_files`] wrote is there, and each node has its own.
pub(crate) fn own_files_are_there(lab: &Cluster) -> Result<()> {
    for node in lab.nodes() {
        let own = node.read_file(&own_file(lab))?;
        let config = node.read_file(&lab.layout().config.display().to_string())?;
        let first = config.lines().next().unwrap_or_default();
        let is_own = own == node.name() && first == format!("# {}", node.name());
        expect(is_own, || {
            format!(
                "{} has the files of another: {OWN_FILE} says {own:?}, the configuration {first:?}",
                node.name()
            )
        })?;
    }
    Ok(())
}
