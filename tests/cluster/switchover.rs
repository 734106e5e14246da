//! The primary moves back and forth under load, in every way an operator has, and leaves nothing to clean up.
//!
//! `cargo test` moves it six times; `EXPGSQL_ROUNDS=20` twenty times.

use std::fmt;
use std::time::Duration;

use lab::{Allowed, Node, Redundancy, RepMode, Result, StreamWatch};

use super::split::rounds;
use super::stage::{LIMIT, Stage, expect, wrong};

const ROUNDS: u32 = 6;

/// How an operator moves the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `crm_resource --ban`, then `--clear`.
    Ban,
    /// `crm_resource --move`, then `--clear`.
    Move,
    /// The primary's node leaves service, then returns.
    Standby,
}

const WAYS: [Way; 3] = [Way::Ban, Way::Move, Way::Standby];

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ban => "crm_resource --ban",
            Self::Move => "crm_resource --move",
            Self::Standby => "node standby",
        })
    }
}

/// What one switchover cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// The longest time without an acknowledged commit.
    pause: Duration,
    /// From the command to a synchronous standby of the new primary.
    synchronous: Duration,
    /// From the command, or from the node's return to service, to the moment when all stream.
    full: Duration,
}

pub(crate) fn switchovers_back_and_forth_leave_nothing_to_clean_up() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    let watch = stage.client.watch_streams(&stage.lab)?;
    let mut costs = Vec::new();
    for (round, way) in (1..=rounds(ROUNDS)?).zip(WAYS.into_iter().cycle()) {
        let name = format!("switchover {round}: {way}");
        stage.step(&name, Allowed::switchover(), |stage| {
            costs.push(switchover(stage, &watch, way)?);
            nothing_to_clean_up(stage)
        })?;
    }
    print(&stage, &costs);
    stage.step(
        "maintenance mode on and off: nothing happens",
        Allowed::nothing(),
        maintenance,
    )?;
    nothing_to_clean_up(&stage)
}

fn switchover(stage: &Stage, watch: &StreamWatch, way: Way) -> Result<Cost> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let begin = stage.client.now();
    let mut since = begin;
    match way {
        Way::Ban => lab.switchover(LIMIT).map(drop)?,
        Way::Move => lab.move_primary(eligible_standby(stage)?, LIMIT)?,
        Way::Standby => {
            lab.set_standby_mode(old, true)?;
            stage.taken_over_from(old)?;
            stage.writes_go_on()?;
            since = stage.client.now();
            lab.set_standby_mode(old, false)?;
        }
    }
    lab.wait_healthy(LIMIT)?;
    let (synchronous, full) = lab.eventually("every node streams", LIMIT, |_| {
        let synchronous = watch.back(Redundancy::OneSynchronous, begin);
        let full = watch.steady(Redundancy::Full, since);
        synchronous.zip(full).ok_or_else(|| watch.now())
    })?;
    let now = lab.primary()?;
    expect(now.name() != old.name(), || {
        format!("{} is still the primary", old.name())
    })?;
    Ok(Cost {
        pause: stage.client.score().longest_gap_since(begin),
        synchronous: synchronous - begin,
        full: full - since,
    })
}

/// A standby that Pacemaker would let be promoted.
fn eligible_standby(stage: &Stage) -> Result<&Node> {
    let status = stage.lab.status()?;
    let standbys = stage.lab.standbys()?;
    let is_eligible = |node: &&Node| {
        let score = status.attribute(node.name(), "master-pgsql");
        score.is_some_and(|score| score.parse::<i64>().is_ok_and(|score| score > 0))
    };
    let mut eligible = standbys.into_iter().filter(is_eligible);
    eligible
        .next()
        .ok_or_else(|| wrong(format!("no standby may be promoted\n{status}")))
}

/// No failure is counted, none is listed.
fn nothing_to_clean_up(stage: &Stage) -> Result<()> {
    let status = stage.lab.status()?;
    expect(
        status.fail_counts.is_empty() && status.failures.is_empty(),
        || format!("there is something to clean up:\n{status}"),
    )
}

/// Pacemaker looks away, and looks again: every server goes on as it was.
fn maintenance(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let servers = || -> Vec<Option<i32>> {
        let all = lab.nodes().iter();
        all.map(|node| lab.postgres(node).postmaster()).collect()
    };
    let (before, begin) = (servers(), stage.client.now());
    lab.set_maintenance(true)?;
    managed(stage, false)?;
    stage.writes_go_on()?;
    lab.set_maintenance(false)?;
    managed(stage, true)?;
    // Every resource is probed anew, and watched from here on.
    let probed = lab.spec().token * 2;
    lab.holds_for("writes go on", probed, |_| {
        let pause = stage.client.score().longest_gap_since(begin);
        if pause < lab.spec().token {
            Ok(())
        } else {
            Err(format!("writes paused for {pause:?}"))
        }
    })?;
    let after = servers();
    expect(
        before == after && before.iter().all(Option::is_some),
        || format!("postmasters {before:?} became {after:?}"),
    )
}

/// Waits until Pacemaker looks after every resource, or after none.
fn managed(stage: &Stage, wanted: bool) -> Result<()> {
    let what = format!("managed: {wanted}");
    stage.lab.eventually(&what, LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let mut instances = status.instances.iter();
        if instances.all(|instance| instance.managed == wanted) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
}

fn print(stage: &Stage, costs: &[Cost]) {
    let line = |what: &str, pick: fn(&Cost) -> Duration| {
        let mut values: Vec<f64> = costs.iter().map(|cost| pick(cost).as_secs_f64()).collect();
        values.sort_by(f64::total_cmp);
        if let ([first, ..], [.., last]) = (&values[..], &values[..]) {
            println!(
                "  {:<8} {} switchovers, {what:<28} min {first:>5.2} s  median {:>5.2} s  max {last:>5.2} s",
                stage.label(),
                values.len(),
                values[values.len() / 2],
            );
        }
    };
    line("writes paused", |cost| cost.pause);
    line("to one synchronous standby", |cost| cost.synchronous);
    line("to every node streaming", |cost| cost.full);
}
