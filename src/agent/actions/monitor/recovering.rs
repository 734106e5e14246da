//! What the monitor answers about a server that takes no connections: it starts, recovers, or hangs.

use std::time::Duration;

use crate::decide::recovery::{Course, Duty, Heard, Look, Watch, course, watch};
use crate::log::say;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::{self, Running};
use crate::postgres::session::SqlError;
use crate::sys::boot_clock;
use crate::trial::is_out;

use crate::agent::actions::monitor::unseen;
use crate::agent::context::Context;
use crate::agent::membership::lease::Lease;
use crate::agent::server::make_places;
use crate::agent::server::recovery::{Recovery, duty, look, of};
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// From when on it is said that a recovery does nothing.
const SAID_AFTER: Duration = Duration::from_secs(30);

/// What the monitor answers about a server that takes no connections; `error` is what it said instead.
pub(crate) fn answer(
    ctx: &Context<'_>,
    running: &Running,
    lease: Lease<'_>,
    error: &SqlError,
) -> Step<Outcome> {
    if is_out!(RecoveryIsFailure) {
        return Ok(failed(error));
    }
    let heard = heard(error);
    if let Some(recovery) = of(ctx, running, heard)? {
        return goes(ctx, recovery);
    }
    let duty = duty(ctx);
    let phase = process::phase(ctx.pgdata());
    let limit = match watch(duty, heard, phase, false) {
        Watch::For(limit) => limit,
        // The startup process has just gone, or come: the next monitor sees more.
        Watch::Startup | Watch::Failed => return Ok(failed(error)),
    };
    let noted = note(ctx, look(running, 0, 0)?)?;
    let since = noted.course.idle();
    let reason = format!("{error}; it has taken none for {} s", since.as_secs());
    if since >= limit {
        return Ok(failed(reason));
    }
    if !matches!(duty, Duty::Primary(_)) {
        say!(INFO, "the server takes no connections yet", at = error);
        return Ok(Outcome::of(OcfCode::Success));
    }
    // Where nobody keeps the time, it would have all there is.
    if let Some(unkept) = noted.unkept {
        return Ok(failed(format!("{error}; {unkept}")));
    }
    unseen::leased(
        ctx,
        lease,
        format!(
            "a process of the server was killed, and it recovers in place: {reason}, and gets {} s before it is given up",
            limit.as_secs()
        ),
    )
}

/// A startup process is at work.
fn goes(ctx: &Context<'_>, recovery: Recovery) -> Step<Outcome> {
    let what = recovery.title;
    match note(ctx, recovery.look)?.course {
        Course::Hangs(since) => {
            return Ok(failed(format!(
                "the server has taken no connections and done nothing for {} s ({what}): a disk or restore_command does not answer, \
                 or the process is stopped by a signal",
                since.as_secs()
            )));
        }
        Course::Idle(since) if since >= SAID_AFTER => say!(
            WARN,
            "the server takes no connections yet, and its recovery makes no progress: look at its disk and at restore_command",
            at = what,
            seconds = since.as_secs()
        ),
        Course::Idle(_) | Course::GoesOn => {
            say!(INFO, "the server takes no connections yet", at = what);
        }
    }
    Ok(Outcome::of(OcfCode::Success))
}

/// What was seen, held against what was noted.
struct Noted {
    course: Course,
    /// Why it could not be noted for the next time.
    unkept: Option<String>,
}

fn note(ctx: &Context<'_>, look: Look) -> Step<Noted> {
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let (course, next) = course(old.recovery.as_ref(), &look);
    let mut noted = Noted {
        course,
        unkept: None,
    };
    if ctx.env.is_probe() {
        return Ok(noted);
    }
    let mut state = old.clone();
    state.recovery = Some(next);
    let saved = make_places::keep_place(ctx).and_then(|()| state.save(ctx, &old));
    // A full disk is no reason to end a recovery.
    if let Err(failure) = saved {
        let reason = failure.text();
        say!(
            WARN,
            "how far the recovery is could not be noted",
            reason = reason
        );
        noted.unkept = Some(reason.to_owned());
    }
    Ok(noted)
}

const fn heard(error: &SqlError) -> Heard {
    match error {
        SqlError::NotReady(_) => Heard::NotReady,
        SqlError::Unreachable(_)
        | SqlError::Closed(_)
        | SqlError::TimedOut(..)
        | SqlError::Slow(_) => Heard::Nothing,
        SqlError::Refused(_)
        | SqlError::Failed { .. }
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => Heard::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_under_load_has_said_nothing() {
        let at_once = Duration::ZERO;
        let said = String::new;
        for (error, expected) in [
            (SqlError::NotReady(said()), Heard::NotReady),
            (SqlError::Unreachable(said()), Heard::Nothing),
            (SqlError::TimedOut(at_once, ""), Heard::Nothing),
            // The login was worked on all the time: what recovers beside it needs the CPU as well.
            (SqlError::Slow(at_once), Heard::Nothing),
            (
                SqlError::Setup(std::io::ErrorKind::Other.into()),
                Heard::Nonsense,
            ),
        ] {
            assert_eq!(heard(&error), expected, "{error}");
        }
    }
}
