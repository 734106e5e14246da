//! Waiting for a server that starts or is being promoted.

use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::session::{Session, SqlError};
use crate::postgres::views::{self, ServerState};
use crate::sys::{Deadline, poll_until};
use crate::timing;

use super::context::Context;
use super::{Step, failed};

/// A server that answers.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) session: Session,
    pub(super) state: ServerState,
}

/// Waits until the server answers and `accept` is content with it. `what` names that for people.
pub(super) fn wait(
    ctx: &Context<'_>,
    what: &str,
    mut accept: impl FnMut(&ServerState) -> bool,
) -> Step<Server> {
    let mut last = "it was not asked".to_owned();
    let mut was_seen = false;
    let launch = Deadline::after(timing::LAUNCH);
    let answer = poll_until(ctx.deadline, timing::READY_POLL, || {
        let running = match ctx.postmaster() {
            Ok(Postmaster::Running(running)) => {
                was_seen = true;
                running
            }
            // pg_ctl returns before the postmaster has written its pid file.
            Ok(Postmaster::Stopped) if !was_seen && !launch.is_past() => return None,
            Ok(Postmaster::Stopped) => {
                let log = ctx.params.logfile.display();
                return Some(Err(failed(format!(
                    "the server ended while it was starting; its log says why: {log}"
                ))));
            }
            Err(failure) => return Some(Err(failure)),
        };
        let mut session = match ctx.connect(&running) {
            Ok(session) => session,
            Err(error) => return still_starting(error, &mut last),
        };
        match views::server_state(&mut session) {
            Ok(state) if accept(&state) => Some(Ok(Server {
                running,
                session,
                state,
            })),
            Ok(state) => {
                last = if state.in_recovery {
                    "it is in recovery"
                } else {
                    "it is a primary"
                }
                .to_owned();
                None
            }
            Err(error) => still_starting(error, &mut last),
        }
    });
    answer.unwrap_or_else(|| {
        Err(failed(format!(
            "the server did not become {what} in time: {last}"
        )))
    })
}

/// Errors that pass by themselves, and those that never will.
fn still_starting(error: SqlError, last: &mut String) -> Option<Step<Server>> {
    match error {
        SqlError::NotReady(_) | SqlError::Unreachable(_) | SqlError::TimedOut(_) => {
            *last = error.to_string();
            None
        }
        SqlError::Failed { .. }
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => Some(Err(refused(&error))),
    }
}

/// The server runs, and does not let the agent in, or not see: only a human can repair that.
pub(super) fn refused(error: &SqlError) -> Outcome {
    Outcome::because(
        OcfCode::ErrGeneric,
        format!(
            "the server runs but does not answer the agent: {error}; check monitor_user, monitor_password, pgdb and pg_hba.conf"
        ),
    )
}
