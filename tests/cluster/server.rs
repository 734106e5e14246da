//! What happens to a server while its machine lives.

use expgsql::model::version::Version;
use lab::resources::RESOURCE;
use lab::{Allowed, Error, Node, RepMode, Result, Whose};

use super::stage::{GONE, LIMIT, ON_DIVERGENCE, Stage, expect};

pub(crate) fn a_sync_cluster_survives_what_happens_to_its_servers() -> Result<()> {
    story(RepMode::Sync)
}

pub(crate) fn an_async_cluster_survives_what_happens_to_its_servers() -> Result<()> {
    story(RepMode::Async)
}

fn story(mode: RepMode) -> Result<()> {
    // A primary that is killed has often written what nobody received: without a repair its next start is refused.
    let stage = Stage::set(mode, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the node with the most WAL is elected",
        Allowed::nothing(),
        elected,
    )?;
    let is_in_place = restarts_in_place(&stage, mode)?;
    let promotions = usize::from(!is_in_place);
    stage.step(
        "kill -9 once: it comes back on the same node",
        Allowed::nothing()
            .restarts(2)
            .promotions(promotions)
            .failing(Whose::Anybodys, "monitor", GONE, 1),
        |stage| killed_once(stage, is_in_place),
    )?;
    stage.step("switchover there", Allowed::switchover(), switchover)?;
    stage.step("and back again", Allowed::switchover(), switchover)?;
    stage.step(
        "a hung postmaster is found, and started anew on the same node",
        Allowed::nothing()
            .restarts(2)
            .promotions(promotions)
            .failing(
                Whose::Anybodys,
                "monitor",
                "the postmaster is stopped by a signal",
                1,
            ),
        hung,
    )?;
    stage.step(
        "kill -9 migration-threshold times: failover",
        Allowed::failover().failing(Whose::Deposed, "monitor", GONE, 3),
        killed_three_times,
    )
}

fn elected(stage: &Stage) -> Result<()> {
    let primary = stage.lab.primary()?;
    let last = stage.lab.nodes().last().map(Node::name);
    expect(Some(primary.name()) == last, || {
        format!("{} was elected, but {last:?} has more WAL", primary.name())
    })?;
    let planted = stage
        .lab
        .postgres(primary)
        .sql("select count(*) from planted")?;
    expect(planted == "2000", || {
        format!("{planted} of 2000 planted rows are there")
    })
}

/// A server from before May 2025 acknowledges for a moment without waiting when it was started as a primary: where commits wait for
/// standbys it is promoted instead, to a timeline of its own.
fn restarts_in_place(stage: &Stage, mode: RepMode) -> Result<bool> {
    let server = stage.lab.postgres(stage.lab.primary()?);
    let number = server.sql("show server_version_num")?;
    let number = number
        .parse()
        .map_err(|_| Error::Other(format!("server_version_num is {number:?}")))?;
    Ok(mode == RepMode::Async || Version::of(number).waits_from_the_start())
}

pub(crate) fn killed_once(stage: &Stage, is_in_place: bool) -> Result<()> {
    let primary = stage.lab.primary()?;
    let timeline = stage.timeline(primary)?;
    kill_and_see_it_restarted(stage, 1)?;
    stage.lab.wait_healthy(LIMIT)?;
    let now = stage.lab.primary()?;
    expect(now.name() == primary.name(), || {
        format!("the primary moved to {}", now.name())
    })?;
    let timeline_now = stage.timeline(now)?;
    expect((timeline == timeline_now) == is_in_place, || {
        format!("timeline {timeline} became {timeline_now}; in place: {is_in_place}")
    })?;
    stage.forgive(primary)
}

/// Kills the primary's postmaster, waits until the same node takes writes again, and holds the fail-count against
/// `count`.
pub(crate) fn kill_and_see_it_restarted(stage: &Stage, count: u32) -> Result<()> {
    let primary = stage.lab.primary()?;
    let postgres = stage.lab.postgres(primary);
    let killed = postgres.postmaster();
    stage.lab.kill_postmaster(primary)?;
    stage
        .lab
        .eventually("PostgreSQL takes writes on the same node", LIMIT, |lab| {
            let now = postgres.postmaster();
            let writable = lab.writable();
            let same = writable.len() == 1 && writable[0].name() == primary.name();
            if now.is_some()
                && now != killed
                && same
                && lab.primary().is_ok_and(|p| p.name() == primary.name())
            {
                return Ok(());
            }
            let names: Vec<&str> = writable.iter().map(|node| node.name()).collect();
            Err(format!(
                "postmaster {now:?}, killed was {killed:?}; these take writes: {names:?}"
            ))
        })?;
    stage.lab.eventually("the failure is counted", LIMIT, |_| {
        let counted = stage
            .fail_count(primary)
            .map_err(|error| error.to_string())?;
        if counted == count.to_string() {
            Ok(())
        } else {
            Err(format!("fail-count is {counted} after kill {count}"))
        }
    })
}

pub(crate) fn switchover(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    let new = stage.lab.switchover(LIMIT)?;
    // Healthy means that the old primary, too, is a standby that streams.
    stage.lab.wait_healthy(LIMIT)?;
    let now = stage.lab.primary()?;
    expect(now.name() == new.name() && now.name() != old.name(), || {
        format!("{} is the primary", now.name())
    })?;
    let status = stage.lab.status()?;
    let counts = status
        .fail_counts
        .iter()
        .filter(|f| f.resource == RESOURCE)
        .count();
    expect(counts == 0, || {
        format!("a switchover left failures:\n{status}")
    })
}

fn hung(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    let postgres = stage.lab.postgres(old);
    let hung = postgres.postmaster();
    stage.lab.hang_postmaster(old)?;
    stage
        .lab
        .eventually("the hung postmaster is gone", LIMIT, |_| {
            match postgres.postmaster() {
                same if same == hung => Err(format!("postmaster {hung:?} is still there")),
                _ => Ok(()),
            }
        })?;
    stage.lab.wait_healthy(LIMIT)?;
    let now = stage.lab.primary()?;
    println!(
        "         {} hung; the primary is {}",
        old.name(),
        now.name()
    );
    stage.forgive(old)
}

fn killed_three_times(stage: &Stage) -> Result<()> {
    let old = stage.lab.primary()?;
    for count in [1, 2] {
        kill_and_see_it_restarted(stage, count)?;
        // A standby must be eligible again, or there is nobody to fail over to.
        stage.lab.wait_healthy(LIMIT)?;
    }
    stage.lab.kill_postmaster(old)?;
    let new = stage.taken_over_from(old)?;
    println!("         {} took over from {}", new.name(), old.name());
    stage.writes_go_on()?;
    let counted = stage.fail_count(old)?;
    expect(counted == "3", || {
        format!("fail-count is {counted} after three kills")
    })?;
    for failure in stage.lab.status()?.failures {
        println!("         {failure}");
    }
    stage.forgive(old)?;
    stage.recovers()
}
