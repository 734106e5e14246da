//! Waiting for a server that starts or is being promoted.

use std::time::Duration;

use crate::decide::recovery::Heard;
use crate::ocf::Outcome;
use crate::postgres::process::{self, Postmaster};
use crate::postgres::session::SqlError;
use crate::postgres::views::{self, ServerState};
use crate::sys::{Deadline, poll_until};
use crate::timing;

use crate::agent::context::Context;
use crate::agent::server::answering::{Server, not_let_in, refused};
use crate::agent::server::{archive, by_files, obituary, reach, recovery};
use crate::agent::step::{Step, failed};

/// What came of a start.
pub(crate) enum Up {
    Answers(Box<Server>),
    /// It replays its WAL, and that goes on.
    Recovers,
    /// It is up, and does not let the agent in.
    Refuses(String),
}

/// Waits until the server answers. One that still recovers after `patience` is left to it.
pub(crate) fn come_up(ctx: &Context<'_>, what: &str, patience: Duration) -> Step<Up> {
    let mut deadline = ctx.deadline.min(patience);
    loop {
        let (last, heard) = match wait_until(ctx, deadline, false, |_| true)? {
            Ok(server) => return Ok(Up::Answers(Box::new(server))),
            Err(Last::Refused(reason)) => return Ok(Up::Refuses(reason)),
            Err(Last::Silent(last)) => (last, Heard::Nothing),
            Err(Last::NotReady(last)) => (last, Heard::NotReady),
        };
        if recovery::is_under_way(ctx, heard)? {
            return Ok(Up::Recovers);
        }
        if ctx.deadline.is_past() {
            return Err(late(what, &last));
        }
        deadline = ctx.deadline;
    }
}

/// Waits until the server answers and `accept` is content with it. `what` names that for people.
pub(crate) fn wait(
    ctx: &Context<'_>,
    what: &str,
    accept: impl FnMut(&ServerState) -> bool,
) -> Step<Server> {
    wait_until(ctx, ctx.deadline, false, accept)?.map_err(|last| match last {
        Last::Silent(last) | Last::NotReady(last) => late(what, &last),
        Last::Refused(reason) => not_let_in(&reason),
    })
}

/// [`wait`] for a server that is being promoted. `None`: it is one that takes writes, and does not let the agent in. `look_after`: what must
/// not be left alone for as long as that may take; its failure ends the waiting.
pub(crate) fn wait_promoted(
    ctx: &Context<'_>,
    mut look_after: impl FnMut() -> Step<()>,
) -> Step<Option<Server>> {
    const PRIMARY: &str = "a primary";
    if let Ok(Postmaster::Running(running)) = ctx.postmaster() {
        archive::end_what_is_of_no_use(ctx, &running);
    }
    let half = ctx.deadline.remaining() / 2;
    let mut look = Deadline::after(timing::QUERIES_IN_THE_WAY);
    let mut is_promoted = |state: &ServerState| {
        if state.in_recovery && look.is_past() {
            reach::end_queries_in_the_way(ctx);
            archive::end_what_holds_up(ctx, half);
            look = Deadline::after(timing::QUERIES_IN_THE_WAY);
        }
        !state.in_recovery
    };
    loop {
        let a_while = ctx.deadline.min(timing::PROMOTION_LOOK);
        let last = match wait_until(ctx, a_while, true, &mut is_promoted)? {
            Ok(server) => return Ok(Some(server)),
            Err(Last::Silent(last) | Last::NotReady(last)) => last,
            Err(Last::Refused(last)) => {
                let seen = poll_until(a_while, timing::READY_POLL, || {
                    match by_files::is_primary(ctx) {
                        Ok(true) => Some(Ok(())),
                        Ok(false) => None,
                        Err(failure) => Some(Err(failure)),
                    }
                });
                if let Some(seen) = seen {
                    return seen.map(|()| None);
                }
                last
            }
        };
        if ctx.deadline.is_past() {
            return Err(late(PRIMARY, &last));
        }
        look_after()?;
    }
}

/// What was seen last of a server that is not as it was waited for.
enum Last {
    Silent(String),
    /// It starts, recovers or shuts down.
    NotReady(String),
    Refused(String),
}

fn late(what: &str, last: &str) -> Outcome {
    failed(format!("the server did not become {what} in time: {last}"))
}

/// With what was seen last, where the time is over.
///
/// `was_seen`: it ran when this was called, so one that is gone has ended; else it may not have written its pid file yet.
fn wait_until(
    ctx: &Context<'_>,
    deadline: Deadline,
    mut was_seen: bool,
    mut accept: impl FnMut(&ServerState) -> bool,
) -> Step<Result<Server, Last>> {
    let mut last = Last::Silent("it was not asked".to_owned());
    let launch = Deadline::after(timing::LAUNCH);
    let answer = poll_until(deadline, timing::READY_POLL, || {
        let running = match ctx.postmaster() {
            Ok(Postmaster::Running(running)) => {
                was_seen = true;
                running
            }
            // pg_ctl returns before the postmaster has written its pid file.
            Ok(Postmaster::Stopped) if !was_seen && !launch.is_past() => {
                return obituary::known(ctx).map(|why| Err(failed(why)));
            }
            Ok(Postmaster::Stopped) => return Some(Err(failed(obituary::of(ctx)))),
            Err(failure) => return Some(Err(failure)),
        };
        let mut session = match ctx.connect(&running) {
            Ok(session) => session,
            // It may be on its way out.
            Err(error) if error.is_answer() && !process::has_begun(ctx.pgdata()) => {
                last = Last::Silent(error.to_string());
                return None;
            }
            Err(error) => return still_starting(error, &mut last),
        };
        match views::server_state(&mut session) {
            Ok(state) if accept(&state) => Some(Ok(Some(Server {
                running,
                session,
                state,
            }))),
            Ok(state) => {
                let is = if state.in_recovery {
                    "it is in recovery"
                } else {
                    "it is a primary"
                };
                last = Last::Silent(is.to_owned());
                None
            }
            Err(error) => still_starting(error, &mut last),
        }
    });
    match answer {
        Some(Ok(Some(server))) => Ok(Ok(server)),
        Some(Err(failure)) => Err(failure),
        Some(Ok(None)) | None => Ok(Err(last)),
    }
}

/// Errors that pass by themselves, and those that never will: the server is up, and nothing more is to be learned by waiting.
fn still_starting(error: SqlError, last: &mut Last) -> Option<Step<Option<Server>>> {
    if error.is_answer() {
        *last = Last::Refused(error.to_string());
        return Some(Ok(None));
    }
    if matches!(error, SqlError::Owner(_) | SqlError::Setup(_)) {
        return Some(Err(refused(&error)));
    }
    let said = error.to_string();
    *last = match error {
        SqlError::NotReady(_) => Last::NotReady(said),
        SqlError::TimedOut(..)
        | SqlError::Slow(_)
        | SqlError::Refused(_)
        | SqlError::Unreachable(_)
        | SqlError::Closed(_)
        | SqlError::Failed { .. }
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => Last::Silent(said),
    };
    None
}
