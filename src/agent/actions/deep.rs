//! The deep monitor: what OCF_CHECK_LEVEL 10 and 20 look at beyond the plain one. Decided in `decide::deep`.

use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::decide::deep::{Answer, Before, Finding, judge, replay, room_for_wal, worst};
use crate::decide::upkeep::{archive, order_of_text, standby_slots};
use crate::log::say;
use crate::model::cluster_view::knows_degraded;
use crate::model::lsn::Lsn;
use crate::ocf::{OcfCode, Outcome};
use crate::postgres::process::Postmaster;
use crate::postgres::session::{Session, SqlError};
use crate::postgres::upkeep::upkeep;
use crate::postgres::views::{self, ServerState};

use crate::agent::actions::monitor::answers::step_down;
use crate::agent::context::Context;
use crate::agent::membership::lease::Lease;
use crate::agent::server::storage::{self, WAL};
use crate::agent::step::{Step, failed};

/// From this level on something is written.
const WRITES: u32 = 10;

/// From this level on the storage itself is looked at.
const STORAGE: u32 = 20;

/// It is WAL, and a commit of its own; no table is needed. Who decodes the WAL, and asks for messages, sees it.
const HEARTBEAT: &str = "SELECT pg_logical_emit_message(true, 'expgsql', 'heartbeat')";

/// What one deep monitor leaves for the next. Not with the agent's other notes: their disk may be the one that hangs. /run is in
/// memory and root's alone.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Notes {
    /// Something that needs the storage got no answer.
    was_silent: bool,
    /// How far replay was, where there was more to replay; as an attribute has it.
    replayed: Option<String>,
}

impl Notes {
    /// One for each kind of deep monitor: what the one sees says nothing about what the other looks at.
    fn path(ctx: &Context<'_>) -> PathBuf {
        let kind = if ctx.env.check_level >= STORAGE {
            "storage"
        } else {
            "commit"
        };
        PathBuf::from(format!("/run/expgsql-{}.deep-{kind}", ctx.resource))
    }

    /// What can't be read says nothing against the server.
    fn read(ctx: &Context<'_>) -> Self {
        let text = fs::read_to_string(Self::path(ctx)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn write(&self, ctx: &Context<'_>) -> io::Result<()> {
        fs::write(Self::path(ctx), serde_json::to_string(self)?)
    }
}

/// What the deep monitor says of a server of which the plain one has said `plain`.
pub(crate) fn deepen(ctx: &Context<'_>, plain: Outcome) -> Step<Outcome> {
    let is_well = matches!(
        plain.code,
        OcfCode::Success | OcfCode::RunningPromoted | OcfCode::Degraded | OcfCode::DegradedPromoted
    );
    // A probe, and a person who asks, is told whether it runs.
    if ctx.env.check_level < WRITES || !is_well || ctx.env.is_probe() {
        return Ok(plain);
    }
    let Ok(Postmaster::Running(_)) = ctx.postmaster() else {
        return Ok(plain);
    };
    // Nobody renews the lock meanwhile: Pacemaker runs one operation of a resource at a time.
    let lease = Lease::first(ctx);
    if let Lease::Over(reason) = lease {
        return step_down(ctx, reason);
    }
    let rest = lease.rest(ctx)?;
    let is_in_a_hurry = rest < ctx.params.query_timeout;
    match look(&ctx.within(rest), is_in_a_hurry) {
        Ok(Finding::Well) => Ok(plain),
        Ok(Finding::Told(reason)) => Ok(told(ctx, plain, reason)),
        Ok(Finding::Failed(reason)) => Ok(failed(reason)),
        Err(failure) if is_in_a_hurry => {
            say!(
                INFO,
                "deep monitor: no time to look",
                reason = failure.text()
            );
            Ok(plain)
        }
        // Whatever keeps the agent from looking is nothing that the server did.
        Err(failure) => Ok(told(
            ctx,
            plain,
            format!("the deep monitor: {}", failure.text()),
        )),
    }
}

fn look(ctx: &Context<'_>, is_in_a_hurry: bool) -> Step<Finding> {
    let old = Notes::read(ctx);
    let mut notes = Notes::default();
    let before = match (is_in_a_hurry, old.was_silent) {
        (true, was_silent) => Before::InAHurry { was_silent },
        (false, true) => Before::Silent,
        (false, false) => Before::Answered,
    };
    let mut findings = Vec::new();
    let mut was_silent = false;
    let mut segment = None;
    let mut hear = |what: &str, answer: &Answer| {
        was_silent |= matches!(answer, Answer::Silent(_));
        judge(what, answer, before)
    };
    match served(ctx, &old) {
        Ok(Served::Primary {
            written,
            size,
            kept_up,
        }) => {
            segment = size;
            findings.push(hear("a commit", &written));
            findings.extend(kept_up);
        }
        Ok(Served::Standby {
            finding,
            stands,
            size,
            kept_up,
        }) => {
            segment = size;
            notes.replayed = stands;
            findings.push(finding);
            findings.extend(kept_up);
        }
        Err(error) => findings.push(Finding::Told(format!("the deep monitor: {error}"))),
    }
    if ctx.env.check_level >= STORAGE {
        for (place, answer) in storage::look(ctx)? {
            findings.push(hear(&place, &answer));
            if let (Answer::Done { free: Some(free) }, true, Some(segment)) =
                (&answer, place == WAL, segment)
            {
                findings.push(room_for_wal(*free, segment));
            }
        }
    }
    notes.was_silent = was_silent;
    if let Err(error) = notes.write(ctx) {
        say!(WARN, "deep monitor: not noted", reason = error);
    }
    Ok(worst(findings))
}

/// What the server itself could be asked.
enum Served {
    Primary {
        written: Answer,
        /// Of a WAL segment, in bytes.
        size: Option<u64>,
        kept_up: Vec<Finding>,
    },
    Standby {
        finding: Finding,
        /// How far it has replayed, where it has more to replay.
        stands: Option<String>,
        size: Option<u64>,
        kept_up: Vec<Finding>,
    },
}

/// As the owner: the user of the monitoring may not write.
fn served(ctx: &Context<'_>, old: &Notes) -> Result<Served, SqlError> {
    let Ok(Postmaster::Running(running)) = ctx.postmaster() else {
        return Err(SqlError::Unreachable("it does not run".to_owned()));
    };
    let mut session = ctx.connect_as_owner(&running)?;
    let state = views::server_state(&mut session)?;
    let size = views::settings(&mut session, ["wal_segment_size"].into_iter())?;
    let size = size.get("wal_segment_size").copied();
    if !state.in_recovery {
        let written = write(&mut session);
        // After a silence the session is still waiting for the answer.
        let kept_up = match written {
            Answer::Silent(_) => Vec::new(),
            Answer::Done { .. } | Answer::Full(_) | Answer::Broken(_) | Answer::Refused(_) => {
                kept_up(&mut session, &state)
            }
        };
        return Ok(Served::Primary {
            written,
            size,
            kept_up,
        });
    }
    let last = old.replayed.as_deref();
    let last = last.and_then(|text| Lsn::from_attribute(text).ok());
    // A paused replay is told by the plain monitor.
    let has_nothing_to_do = state.has_replayed_all || state.replay.is_paused;
    Ok(Served::Standby {
        finding: replay(state.replayed, has_nothing_to_do, last),
        stands: state
            .replayed
            .filter(|_| !has_nothing_to_do)
            .map(Lsn::to_attribute),
        size,
        kept_up: kept_up(&mut session, &state),
    })
}

/// What the server needs in the long run. Where that can't be seen, that is told: it is no sign that all is well.
fn kept_up(session: &mut Session, state: &ServerState) -> Vec<Finding> {
    match upkeep(session, state.version) {
        Ok(found) => vec![
            found.waiting.as_ref().map_or(Finding::Well, archive),
            order_of_text(&found.unsorted, state.in_recovery),
            standby_slots(&found.named),
        ],
        Err(error) => vec![Finding::Told(format!(
            "the deep monitor: what waits for the archive, and how text is sorted, is not known: {error}"
        ))],
    }
}

/// The session's commits wait for no standby (synchronous_commit=local).
fn write(session: &mut Session) -> Answer {
    match session.execute(HEARTBEAT) {
        Ok(()) => Answer::Done { free: None },
        Err(error @ SqlError::TimedOut(..)) => Answer::Silent(error.to_string()),
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// The plain answer, and what is to be told besides.
fn told(ctx: &Context<'_>, plain: Outcome, reason: String) -> Outcome {
    let is_known = ctx.env.feature_set.as_deref().is_some_and(knows_degraded);
    let code = if is_known && plain.code == OcfCode::Success {
        OcfCode::Degraded
    } else if is_known && plain.code == OcfCode::RunningPromoted {
        OcfCode::DegradedPromoted
    } else {
        plain.code
    };
    let reason = match plain.reason {
        Some(more) => format!("{reason}; {more}"),
        None => reason,
    };
    Outcome::because(code, reason)
}
