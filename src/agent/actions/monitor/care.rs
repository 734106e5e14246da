//! What a primary does for its cluster in each monitor, and what people are told of it.
//!
//! Each part may fail by itself. None of them keeps the contract from being looked after, and what goes on failing is told.

use crate::decide::barred::objection;
use crate::decide::eligibility::Promise;
use crate::decide::health::{Degradation, is_lasting};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{DataStatus, NodeStatus};
use crate::model::sync_names::StandbyName;
use crate::model::timeline::Lineage;
use crate::ocf::{OcfCode, Outcome};
use crate::pacemaker::change_set::ChangeSet;
use crate::sys::boot_clock;
use crate::timing;

use crate::agent::context::Context;
use crate::agent::contract::{self, Settled};
use crate::agent::membership::board::Board;
use crate::agent::membership::lease::Lease;
use crate::agent::membership::{external_slots, lease_length};
use crate::agent::server::answering::Server;
use crate::agent::server::slots::{self, Unmade};
use crate::agent::server::worth;
use crate::agent::standby::announce;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// What failed in this call.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    notes: Vec<String>,
    /// The way to the server that is configured is closed, and why.
    shut: Option<String>,
    /// Something does not pass by itself.
    is_certain: bool,
}

impl Troubles {
    /// The agent is not let in as it should be. That does not pass by itself, and is told at once.
    pub(crate) fn shut(&mut self, reason: String) {
        self.shut = Some(reason);
    }

    /// The server is well; what could not be done now, the next monitor does. While a node goes down every write waits for
    /// the new membership: a monitor that failed because of it would restart a healthy primary, which is what happened.
    pub(crate) fn note<T>(&mut self, what: &str, result: Step<T>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(failure) => {
                let reason = failure.text();
                say!(
                    WARN,
                    "monitor: left to the next one",
                    what = what,
                    reason = reason
                );
                self.notes.push(format!("{what}: {reason}"));
                None
            }
        }
    }
}

/// Looks after everything. What is told of this primary is told in each monitor: when Pacemaker's controller is started anew on
/// a node, the CIB loses all that a node's attributes were since its start. `None`: how the contract is could not be found out.
pub(crate) fn look_after(
    ctx: &Context<'_>,
    board: &mut Board<'_, '_>,
    server: &mut Server,
    lineage: &Lineage,
    lease: Lease<'_>,
    troubles: &mut Troubles,
) -> Option<Settled> {
    troubles.note("its promotion score", board.set_primarys_score());
    troubles.note("its status", board.set_status(&ctx.me, NodeStatus::Primary));
    troubles.note("its baseline", board.set_baseline(lineage));
    troubles.note(
        "its receiver's status",
        announce::receiver_status(board, server),
    );
    if ctx.env.is_probe() {
        note_data_status(board, troubles);
        return Some(Settled::Well);
    }
    if ctx.promise() == Promise::Sync
        && let Err(failure) = worth::look(ctx, server)
    {
        say!(
            WARN,
            "what the settings make of a commit is not known",
            reason = failure.text()
        );
    }
    let peers = ctx.peers(&board.view);
    let record = troubles.note("the promotion record", ctx.record(&board.view));
    let (running, session) = (&server.running, &mut server.session);
    let made = slots::on_primary(ctx, running, session, &peers, record.flatten().as_ref());
    if let Err(Unmade::Certain(_)) = made {
        troubles.is_certain = true;
    }
    troubles.note("replication slots", made.map_err(Unmade::outcome));
    let kept = external_slots::look_after(board, server);
    troubles.note("slots of standbys outside", kept);
    let settled = contract::settle(ctx, board, server, lease, timing::FIRST_STANDBY);
    let settled = troubles.note("the contract with the standbys", settled);
    if !matches!(settled, Some(Settled::StepDown(_))) {
        note_data_status(board, troubles);
    }
    settled
}

/// Last, since after a promotion the address comes up meanwhile: see `promotion_record::leaves_statuses`.
fn note_data_status(board: &mut Board<'_, '_>, troubles: &mut Troubles) {
    let me = &board.ctx.me;
    let latest = board.data_status(ChangeSet::default(), me, DataStatus::Latest);
    let changed = board.change(&latest);
    troubles.note("its data status", changed);
}

/// A primary's answer, and what is told besides. `board`: `None` where the CIB can't be read.
pub(crate) fn answer(
    ctx: &Context<'_>,
    board: Option<&Board<'_, '_>>,
    settled: Option<Settled>,
    mut troubles: Troubles,
) -> Outcome {
    let promoted = Outcome::of(OcfCode::RunningPromoted);
    // A probe, or a person who asks, gets the plain answer.
    if ctx.env.is_probe() {
        return promoted;
    }
    let noted = note(ctx, board, &mut troubles);
    let (is_lasting, knows_degraded) =
        troubles.note("the state file", noted).unwrap_or_else(|| {
            // What can't be counted would never be told.
            (true, board.is_some_and(|board| board.view.knows_degraded()))
        });
    let is_lasting = is_lasting || troubles.is_certain;
    let reason = troubles.notes.join("; ");
    let unattended = || Degradation::Unattended {
        reason: reason.clone(),
    };
    let shut = troubles.shut.take();
    let (told, is_known) = match settled {
        Some(Settled::Well | Settled::StepDown(_)) | None if shut.is_some() => {
            let reason = shut.clone().unwrap_or_default();
            (Some(Degradation::Shut { reason }), true)
        }
        Some(Settled::Degraded(what)) => (Some(what), true),
        Some(Settled::Well | Settled::StepDown(_)) => (is_lasting.then(unattended), true),
        None => (is_lasting.then(unattended), is_lasting),
    };
    if let Some(board) = board.filter(|_| is_known) {
        let word = told.as_ref().map(Degradation::word);
        let told = board.set_own(TransientAttribute::Degraded, word);
        troubles.note("what is told of it", told);
    }
    match told {
        // Pacemaker shows a degraded resource as such, and leaves it alone; an older one takes the code for a failure.
        Some(what) if knows_degraded => {
            let more = is_lasting && !matches!(what, Degradation::Unattended { .. });
            let mut text = what.to_string();
            if let Some(reason) = shut.filter(|_| !matches!(what, Degradation::Shut { .. })) {
                text = format!("{text}; {}", Degradation::Shut { reason });
            }
            if more {
                text = format!("{text}; {}", unattended());
            }
            Outcome::because(OcfCode::DegradedPromoted, text)
        }
        // In words at least.
        Some(what @ Degradation::Shut { .. }) => Outcome::because(OcfCode::RunningPromoted, what),
        Some(_) => promoted,
        None => match lease_length::objection(ctx)
            .or_else(|| unwise_lists(ctx, board))
            .or_else(|| board?.lacks_instances())
        {
            Some(why) if knows_degraded => Outcome::because(OcfCode::DegradedPromoted, why),
            Some(_) | None => promoted,
        },
    }
}

/// What is wrong with the lists of nodes: told, as nothing else would be seen of it before it is too late.
fn unwise_lists(ctx: &Context<'_>, board: Option<&Board<'_, '_>>) -> Option<String> {
    let nodes = ctx.replicas(&board?.view);
    let names: Vec<StandbyName> = nodes.iter().map(|n| n.lower().to_owned()).collect();
    objection(ctx.lists(), Some(ctx.me.lower()), &names)
}

/// Counts the monitors in which something failed, and keeps in mind what is read from the CIB, for when it can't be. The
/// answer: whether it has lasted, and whether Pacemaker knows degraded resources.
fn note(
    ctx: &Context<'_>,
    board: Option<&Board<'_, '_>>,
    troubles: &mut Troubles,
) -> Step<(bool, bool)> {
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let mut state = old.clone();
    if let Some(board) = board {
        state.knows_degraded = board.view.knows_degraded();
    }
    state.failures = match troubles.notes.is_empty() {
        true => 0,
        // Once it is told, another one is no news.
        false if is_lasting(old.failures) => old.failures,
        false => old.failures + 1,
    };
    let saved = troubles.note("the state file", state.save(ctx, &old));
    let is_told = saved.is_none() || is_lasting(state.failures);
    Ok((is_told, state.knows_degraded))
}
