//! `cluster rewind`, `cluster rebuild`, `cluster repair`: this node's data are made to follow the primary again.
//!
//! The work itself is the agent's ([`agent::repair::by_hand`]), as is its lock against the agent. It runs in a thread,
//! so that this one can answer the operator: when the command ends, so does the thread, and with it the programs that it
//! runs.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::agent;
use crate::model::cluster_view::{ClusterView, PermanentAttribute, RecordedRole};
use crate::model::repair::{Journal, Work};
use crate::model::status::{DataStatus, SenderState};
use crate::ocf::{OcfCode, Outcome};
use crate::sys::{Command, Deadline, poll_until};
use crate::timing;

use super::interrupt::{self, Reaction};
use super::node::{self, Here};
use super::plan::{HandsOff, Plan};
use super::show::Display;
use super::{Exit, Failure, RepairArgs};

/// How often it is looked whether the operator has asked for the end.
const LOOK: Duration = Duration::from_millis(100);

/// What is tried, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Rewind,
    Rebuild,
    RewindOrRebuild,
}

impl Strategy {
    /// What it is called in front of a resource's name.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Rewind => "Rewind",
            Self::Rebuild => "Rebuild",
            Self::RewindOrRebuild => "Repair",
        }
    }
}

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
        agree()?;
    }
    interrupt::listen().map_err(Failure::plain)?;
    let mut display = Display::new(args.json, args.verbose);
    let result = work(&here, &plan, &mut display)
        .and_then(|()| afterwards(&here, &plan, args.timeout, &display));
    display.close();
    let follows = result?;
    display.say(&follows);
    Ok(())
}

/// Asks whether to go on.
fn agree() -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::plain(
            "nothing was done: there is no terminal to ask on whether to go on; --yes goes on without asking",
        ));
    }
    let asked = write!(io::stderr(), "Go on? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
    let is_yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if read.is_ok() && is_yes {
        Ok(())
    } else {
        Err(Failure::plain("nothing was done"))
    }
}

fn work(here: &Here, plan: &Plan, display: &mut Display) -> Result<(), Failure> {
    let (first, second) = match plan.strategy {
        Strategy::Rewind => (Work::Rewind, None),
        Strategy::Rebuild => (Work::Rebuild, None),
        Strategy::RewindOrRebuild => (Work::Rewind, Some(Work::Rebuild)),
    };
    let (outcome, journal) = one(here, plan, first, display)?;
    match (outcome.code, second) {
        (OcfCode::Success, _) => Ok(()),
        (_, Some(work)) if !journal.damaged => {
            display.say(&format!("no rewind: {}; a rebuild is next", outcome.text()));
            let (outcome, journal) = one(here, plan, work, display)?;
            conclude(&outcome, &journal)
        }
        _ => conclude(&outcome, &journal),
    }
}

fn conclude(outcome: &Outcome, journal: &Journal) -> Result<(), Failure> {
    if outcome.code == OcfCode::Success {
        return Ok(());
    }
    let failure = node::failed(outcome);
    if !journal.damaged || failure.why.contains(REBUILD) {
        return Err(failure);
    }
    Err(Failure::plain(format!("{}; {DAMAGED}", failure.why)))
}

const REBUILD: &str = "expgsql cluster rebuild";

const DAMAGED: &str = "this node's data are neither the old ones nor the primary's, and only a new copy repairs them: expgsql cluster rebuild";

enum Event {
    Told(Journal),
    Ended(Outcome),
}

/// Does one kind of work to its end, and gives the last that was told of it.
fn one(
    here: &Here,
    plan: &Plan,
    work: Work,
    display: &mut Display,
) -> Result<(Outcome, Journal), Failure> {
    let events = start(here, work)?;
    let mut journal = Journal::new(work);
    let (mut answered, mut was_warned) = (interrupt::times_asked(), false);
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::Told(told)) => {
                display.tell(&told);
                journal = told;
            }
            Ok(Event::Ended(outcome)) => return Ok((outcome, journal)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::plain(
                    "bug in expgsql: the repair ended without a result; please report it with what is printed above",
                ));
            }
        }
        let asked = interrupt::times_asked();
        if asked == answered {
            continue;
        }
        answered = asked;
        match interrupt::react(&journal, was_warned) {
            Reaction::End => return Err(ended(plan)),
            Reaction::EndDamaged => {
                return Err(Failure::plain(format!(
                    "interrupted while pg_rewind was writing: {DAMAGED}"
                )));
            }
            Reaction::AskAgain => {
                was_warned = true;
                display.say(
                    "pg_rewind is writing: if it is interrupted now, only a rebuild repairs this node; press Ctrl-C once more to interrupt it",
                );
            }
            Reaction::Finish => {
                display.say("this can't be interrupted; it is done in a moment");
            }
        }
    }
}

fn start(here: &Here, work: Work) -> Result<Receiver<Event>, Failure> {
    let (send, events) = mpsc::channel();
    let (env, params) = (here.env.clone(), here.params.clone());
    let body = move || {
        // Nobody listens any more only when the process ends.
        let mut tell = |journal: &Journal| drop(send.send(Event::Told(journal.clone())));
        let outcome = agent::repair::by_hand(&env, &params, work, &mut tell);
        let _ = send.send(Event::Ended(outcome));
    };
    std::thread::Builder::new()
        .name(work.to_string())
        .spawn(body)
        .map_err(Failure::plain)?;
    Ok(events)
}

/// Interrupted before anything of the old data was changed.
fn ended(plan: &Plan) -> Failure {
    let server = if plan.is_running && plan.hands_off.is_none() {
        "; Pacemaker starts the server again with its next monitor"
    } else {
        ""
    };
    Failure::plain(format!(
        "interrupted: this node's data are as they were{server}"
    ))
}

/// Forgives this node its failures, and waits until the primary has seen it stream. Gives the sentence that says so.
fn afterwards(
    here: &Here,
    plan: &Plan,
    timeout: Duration,
    display: &Display,
) -> Result<String, Failure> {
    let Here { me, resource, .. } = here;
    let primary = &plan.primary;
    Command::new("crm_resource")
        .arg("--cleanup")
        .arg(format!("--resource={}", resource.name))
        .arg(format!("--node={me}"))
        .run(Deadline::after(timing::CLEANUP))
        .map_err(|error| {
            Failure::plain(format!(
                "the repair is done, but Pacemaker did not forgive {me} its failures: {error}; \
                 crm_resource --cleanup --resource={} --node={me}",
                resource.name
            ))
        })?;
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
    display.wait(&format!("waiting until {primary} sees {me} stream"));
    let mut last = None;
    let follows = poll_until(Deadline::after(timeout), timing::STREAMING_POLL, || {
        let view = node::view().ok()?;
        let (status, is_up) = seen(here, &view);
        last = status;
        match status {
            Some(DataStatus::Replicating(SenderState::Streaming, _)) if is_up => status,
            Some(_) | None => None,
        }
    });
    let name = |status: Option<DataStatus>| {
        status.map_or_else(|| "nothing".to_owned(), |status| status.to_string())
    };
    match follows {
        Some(_) => Ok(format!("{me} follows {primary} ({})", name(follows))),
        None => Err(Failure::new(
            Exit::TimedOut,
            format!(
                "the repair is done, but within {timeout:?} {me} was not seen streaming from {primary} (recorded: {}): \
                 see crm_mon -1Afr and the server's log",
                name(last)
            ),
        )),
    }
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
