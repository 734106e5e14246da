//! `cluster rewind`, `cluster rebuild`, `cluster repair`: this node's data are made to follow the primary again.

use std::io::{self, Write as _};
use std::time::Duration;

use crate::model::cluster_view::{
    ClusterProperty, ClusterView, PermanentAttribute, RecordedRole, Score,
};
use crate::model::node_name::NodeName;
use crate::model::repair::Work;
use crate::model::repl_info::ReplInfo;
use crate::model::status::{DataStatus, SenderState};
use crate::pacemaker::failures::fail_count;
use crate::sys::{Command, Deadline, poll_until};
use crate::timing;

use super::node::{self, Here};
use super::{Exit, Failure, ask};

mod args;
mod interrupt;
mod job;
mod plan;
mod strategy;

pub use args::RepairArgs;

use super::show::Display;
use job::{Job, Stopped};
use plan::{HandsOff, Plan};
pub(super) use strategy::Strategy;

/// Repairs this node.
///
/// # Errors
/// [`Failure`] with the sentence for the operator.
pub(super) fn repair(strategy: Strategy, args: &RepairArgs) -> Result<(), Failure> {
    let here = Here::look(args.resource.as_deref())?;
    let plan = Plan::make(&here, strategy, args.force)?;
    let text = plan.in_words(&here);
    // Standard output is a program's where it asked for JSON.
    let _ = if args.json {
        write!(io::stderr(), "{text}")
    } else {
        write!(io::stdout(), "{text}")
    };
    if !args.yes {
        ask::agree()?;
    }
    super::interrupt::listen().map_err(Failure::plain)?;
    let mut display = Display::new(args.json, args.verbose);
    // Pacemaker stops what failed to start, and that ends a repair. Where it does not settle in time, a repair may well be what
    // it lacks.
    node::settle();
    let result = work(&here, &plan, args.timeout, &mut display)
        .and_then(|()| afterwards(&here, &plan, args.timeout, &display));
    display.close();
    let follows = result?;
    display.say(&follows);
    Ok(())
}

fn work(here: &Here, plan: &Plan, limit: Duration, display: &mut Display) -> Result<(), Failure> {
    let is_watched = plan.is_running && plan.hands_off.is_none();
    let job = |work| Job {
        here,
        work,
        limit,
        is_watched,
    };
    let (first, second) = match plan.strategy {
        Strategy::Rewind => (Work::Rewind, None),
        Strategy::Rebuild => (Work::Rebuild, None),
        Strategy::RewindOrRebuild => (Work::Rewind, Some(Work::Rebuild)),
    };
    match (job(first).run(display), second) {
        (
            Err(Stopped {
                failure,
                may_rebuild,
            }),
            Some(work),
        ) if may_rebuild => {
            display.say(&format!("no rewind: {}", failure.why));
            job(work).run(display).map_err(|stopped| stopped.failure)
        }
        (result, _) => result.map_err(|stopped| stopped.failure),
    }
}

/// Forgives this node its failures, and waits until the primary has seen it stream. Gives the sentence that says so.
fn afterwards(
    here: &Here,
    plan: &Plan,
    timeout: Duration,
    display: &Display,
) -> Result<String, Failure> {
    forgive(here)?;
    let Here { me, .. } = here;
    match plan.hands_off {
        None => {}
        Some(HandsOff::Maintenance) => {
            return Ok(format!(
                "{me} is repaired; whether it streams is seen when Pacemaker watches it again"
            ));
        }
        Some(HandsOff::Standby) => {
            return Ok(format!(
                "{me} is repaired; it takes part again after crm_standby --node={me} --delete"
            ));
        }
    }
    let deadline = Deadline::after(timeout);
    let primary = primary_now(here).unwrap_or_else(|| plan.primary.clone());
    let mut follows = await_streaming(here, &primary, deadline, timeout, display)?;
    // A start that Pacemaker asks for in the moment in which it forgets the resource's failures fails before it reaches the agent, and the
    // node's controller with it (seen on 2.1.5 and 3.0.1). The failure is counted when it has come back, and then the server is stopped.
    for _ in 0..FORGIVEN_AGAIN {
        node::settle();
        let view = node::view()?;
        let is_forgiven = view
            .node(me)
            .is_some_and(|node| fail_count(node, &here.resource.name) == Score::new(0));
        if is_forgiven && seen(here, &view).1 {
            break;
        }
        display.say("Pacemaker has counted a failure of its own meanwhile: it is forgiven, too");
        forgive(here)?;
        follows = await_streaming(here, &primary, deadline, timeout, display)?;
    }
    Ok(format!("{me} follows {primary} ({follows})"))
}

/// Whom the data are of: another may have been promoted since the repair was asked for.
fn primary_now(here: &Here) -> Option<NodeName> {
    let view = node::view().ok()?;
    let record = view.cluster_property(ClusterProperty::ReplInfo, &here.resource.name)?;
    record.parse().ok().map(|record: ReplInfo| record.node)
}

/// How often failures are forgiven that are counted after the first time.
const FORGIVEN_AGAIN: u32 = 2;

fn forgive(here: &Here) -> Result<(), Failure> {
    let Here { me, resource, .. } = here;
    Command::new("crm_resource")
        .arg("--cleanup")
        .arg(format!("--resource={}", resource.name))
        .arg(format!("--node={me}"))
        .run(Deadline::after(timing::CLEANUP))
        .map(drop)
        .map_err(|error| {
            Failure::plain(format!(
                "the repair is done, but Pacemaker did not forgive {me} its failures: {error}; \
                 crm_resource --cleanup --resource={} --node={me}",
                resource.name
            ))
        })
}

/// Waits until the primary has recorded that this node streams, and Pacemaker has found its server. Gives the record.
fn await_streaming(
    here: &Here,
    primary: &NodeName,
    deadline: Deadline,
    timeout: Duration,
    display: &Display,
) -> Result<DataStatus, Failure> {
    let me = &here.me;
    display.wait(&format!("waiting until {primary} sees {me} stream"));
    let mut last = None;
    let follows = poll_until(deadline, timing::STREAMING_POLL, || {
        let view = node::view().ok()?;
        let (status, is_up) = seen(here, &view);
        last = status;
        match status {
            Some(DataStatus::Replicating(SenderState::Streaming, _)) if is_up => status,
            Some(_) | None => None,
        }
    });
    follows.ok_or_else(|| {
        let last = last.map_or_else(|| "nothing".to_owned(), |status| status.to_string());
        Failure::new(
            Exit::TimedOut,
            format!(
                "the repair is done, but within {timeout:?} {me} was not seen streaming from {primary} (recorded: {last}): \
                 see crm_mon -1Afr and the server's log"
            ),
        )
    })
}

/// What the primary has recorded about this node, and whether Pacemaker has found the server running here.
fn seen(here: &Here, view: &ClusterView) -> (Option<DataStatus>, bool) {
    let name = &here.resource.name;
    let Some(node) = view.node(&here.me) else {
        return (None, false);
    };
    let recorded = node.permanent(PermanentAttribute::DataStatus, name);
    let is_up = match node.role(name) {
        RecordedRole::Unpromoted | RecordedRole::Promoted => true,
        RecordedRole::Stopped | RecordedRole::Unknown => false,
    };
    (recorded.and_then(|text| text.parse().ok()), is_up)
}
