//! How far a standby's WAL reaches, and whether it will all be replayed. Decided in `decide::replay`.

use std::collections::BTreeMap;

use crate::decide::replay::{Obstacle, as_primary, in_the_way, obstacle, too_small};
use crate::log::say;
use crate::model::timeline::WalPosition;
use crate::postgres::process::Postmaster;
use crate::postgres::session::SqlError;
use crate::postgres::{control, views, wal};
use crate::sys::{Deadline, poll_until};
use crate::timing;
use crate::trial::is_out;

use crate::agent::context::Context;
use crate::agent::server::answering::{self, Server};
use crate::agent::server::{places, settings};
use crate::agent::step::{Step, failed};

/// The end of a server's WAL, with the history it lies on. `None`: a standby that still receives, or one that was restarted and whose
/// end can't be told before it has replayed it.
pub(crate) fn end(ctx: &Context<'_>, server: &Server) -> Step<Option<WalPosition>> {
    let state = &server.state;
    let end = match (state.end, state.replayed) {
        (Some(end), _) => Some(end),
        (None, Some(replayed)) if is_out!(StateWhileReplaying) => Some(replayed),
        (None, Some(replayed)) if state.receiver.is_none() => {
            let deadline = ctx.deadline.min(timing::WAL_END);
            let read = wal::end_behind(
                &ctx.programs(),
                ctx.pgdata(),
                state.timeline,
                replayed,
                deadline,
            );
            read.unwrap_or_else(|error| {
                say!(INFO, "the end of WAL is not known yet", reason = error);
                None
            })
        }
        (None, _) => None,
    };
    let Some(end) = end else { return Ok(None) };
    let lineage = wal::lineage(ctx.pgdata(), state.timeline).map_err(failed)?;
    Ok(Some(WalPosition { lineage, end }))
}

/// The same of a server that was just started: where the end can't be found, it is given until `deadline` to replay what it has.
pub(crate) fn await_end(
    ctx: &Context<'_>,
    server: &mut Server,
    deadline: Deadline,
) -> Step<Option<WalPosition>> {
    // A replay that is delayed may take hours.
    let found = end(ctx, server)?;
    if found.is_some() {
        return Ok(found);
    }
    let mut look = Deadline::after(timing::QUERIES_IN_THE_WAY);
    let known = poll_until(deadline, timing::READY_POLL, || {
        if look.is_past() {
            end_queries_in_the_way(ctx);
            look = Deadline::after(timing::QUERIES_IN_THE_WAY);
        }
        if server.state.end.is_none() {
            match views::server_state(&mut server.session) {
                Ok(state) => server.state = state,
                Err(error) => return Some(Err(answering::refused(&error))),
            }
        }
        server.state.end.map(|_| Ok(()))
    });
    known.transpose()?;
    end(ctx, server)
}

/// What keeps this standby from replaying all it has. The control file is read only where replay is paused.
pub(crate) fn held(ctx: &Context<'_>, server: &mut Server) -> Step<Option<Obstacle>> {
    let replay = &server.state.replay;
    if is_out!(TargetUnseen) && replay.target.is_some() {
        return Ok(None);
    }
    if !server.state.in_recovery || !replay.is_paused || replay.target.is_some() {
        return Ok(obstacle(replay, None));
    }
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    let here: BTreeMap<String, u64> =
        views::settings(&mut server.session, control.needed().map(|(name, _)| name))
            .map_err(|e| answering::refused(&e))?;
    let small = too_small(control.needed(), |name| here.get(name).copied());
    Ok(obstacle(&server.state.replay, small.into_iter().next()))
}

/// What makes this standby no successor although it replays. Where there is no primary any more, that is no reason to leave its data
/// unused.
pub(crate) fn is_unfit(ctx: &Context<'_>, server: &Server) -> Step<Option<Obstacle>> {
    let state = &server.state;
    if !ctx.is_promotable() || !state.in_recovery {
        return Ok(None);
    }
    let listens = settings::listens(ctx).then_some(state.listens.as_str());
    if let Some(poor) = as_primary(listens, state.wal_senders) {
        return Ok(Some(poor));
    }
    if state.has_trigger {
        return Ok(Some(Obstacle::Trigger));
    }
    Ok(places::takes_no_note(ctx)?.map(Obstacle::NoNotes))
}

/// Resumes a replay that somebody has paused: without a primary, this server may be the one that has everything. What else
/// keeps it from replaying is the answer.
pub(crate) fn make_way(ctx: &Context<'_>, server: &mut Server) -> Step<Option<Obstacle>> {
    let held = held(ctx, server)?;
    if held != Some(Obstacle::Paused) {
        return Ok(held);
    }
    say!(
        WARN,
        "replay was paused by hand: it is resumed, since there is no primary"
    );
    let mut session = ctx
        .connect_as_owner(&server.running)
        .map_err(|e| answering::refused(&e))?;
    session
        .execute("SELECT pg_wal_replay_resume()")
        .map_err(|e| answering::refused(&e))?;
    server.state = views::server_state(&mut server.session).map_err(|e| answering::refused(&e))?;
    Ok(None)
}

/// Ends the sessions on this standby that its replay waits for. To be done only where somebody waits for the replay: what a query
/// on a standby may take away from the cluster is the site's to say, but not whether there is a primary.
pub(crate) fn end_queries_in_the_way(ctx: &Context<'_>) {
    let end = || -> Result<usize, String> {
        let Postmaster::Running(running) = ctx.postmaster().map_err(|e| e.text().to_owned())?
        else {
            return Ok(0);
        };
        let words = |error: SqlError| error.to_string();
        let mut session = ctx.connect_as_owner(&running).map_err(words)?;
        let pids = in_the_way(&views::halt(&mut session).map_err(words)?);
        for pid in &pids {
            let end = format!("SELECT pg_terminate_backend({pid})");
            session.execute(&end).map_err(words)?;
        }
        Ok(pids.len())
    };
    match end() {
        Ok(0) => {}
        Ok(sessions) => say!(
            WARN,
            "replay waits for queries on this standby, and the cluster for the replay: their sessions are ended",
            sessions = sessions
        ),
        Err(error) => say!(
            WARN,
            "whether queries hold up the replay is not known",
            reason = error
        ),
    }
}
