//! monitor: is it well, is it what it should be, and what do the others have to know.

pub(super) mod answers;
mod care;
mod recovering;
mod unseen;

use crate::decide::eligibility::Promise;
use crate::decide::replay::Obstacle;
use crate::decide::right::{Right, Seat};
use crate::decide::verdict::{Verdict, verdict};
use crate::log::say;
use crate::model::status::{DataStatus, NodeStatus, Score};
use crate::model::timeline::{Lineage, WalPosition};
use crate::ocf::{OcfCode, Outcome};
use crate::pacemaker::change_set::ChangeSet;
use crate::params::RepMode;
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::session::SqlError;
use crate::postgres::{process, views, wal};
use crate::sys::boot_clock;

use crate::agent::actions::monitor::answers::{kept, promoted_slave, step_down};
use crate::agent::actions::monitor::care::Troubles;
use crate::agent::context::Context;
use crate::agent::contract::Settled;
use crate::agent::membership::board::Board;
use crate::agent::membership::candidacy::stand_for_election;
use crate::agent::membership::election::{self, Counting};
use crate::agent::membership::lease::Lease;
use crate::agent::membership::{attempt, external_slots, promotion_record, statement, watched};
use crate::agent::repair;
use crate::agent::server::answering::Server;
use crate::agent::server::recovery_conf::{self, Follow};
use crate::agent::server::{
    archive, by_files, in_force, obituary, places, prepare, reach, recovery, slots,
};
use crate::agent::standby::announce::{self, receiver_status};
use crate::agent::standby::initial_contract;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// What the older agents run where nothing else was asked for; the agent's own query shows as much.
const DEFAULT_MONITOR_SQL: &str = "select now();";

/// In which of this many monitors a standby that receives nothing has the primary asked why: that costs three processes,
/// and a primary that was just promoted deserves some patience.
const ASK_EVERY: u32 = 6;

pub(crate) fn monitor(ctx: &Context<'_>) -> Step<Outcome> {
    if ctx.is_promotable()
        && let Some(answer) = repair::answer(ctx)?
    {
        arrive_unseen(ctx);
        return Ok(answer);
    }
    let running = match ctx.postmaster()? {
        Postmaster::Stopped if ctx.env.is_probe() => return Ok(Outcome::of(OcfCode::NotRunning)),
        Postmaster::Stopped => {
            return Ok(Outcome::because(OcfCode::NotRunning, why_it_is_down(ctx)));
        }
        Postmaster::Running(running) => running,
    };
    // Before the server is asked: one that does not answer may serve others.
    let lease = match Lease::first(ctx) {
        Lease::Over(reason) => return step_down(ctx, reason),
        lease @ (Lease::None | Lease::Kept { .. }) => lease,
    };
    let seen = look(&ctx.within(lease.until_asked_again(ctx)?), running.clone());
    // A standby that answers is judged below.
    if !matches!(&seen, Ok((server, _)) if server.state.in_recovery) {
        arrive_unseen(ctx);
    }
    let (mut server, detour) = match seen {
        Ok(seen) => seen,
        Err(SqlError::TimedOut(..)) if running.frozen => {
            return Ok(failed(
                "the postmaster is stopped by a signal (state T) and answers nothing",
            ));
        }
        Err(error) => return without(ctx, &running, lease, &error),
    };
    let mut mended = if ctx.env.is_probe() {
        Ok(())
    } else {
        recovery::forget(ctx);
        prepare::mend(ctx, &server)
            .and_then(|()| in_force::load_what_is_written(ctx, &mut server))
            .and_then(|()| in_force::is_readable(ctx, &server))
            .and_then(|()| in_force::is_in_force(ctx, &server))
            .and_then(|()| in_force::lets_in_by_its_rules(ctx, &server))
    };
    // Not on a standby: what writes, or names a table that has not arrived yet, fails there.
    // Nor in another database or as another user than it was written for.
    let has_query = ctx.params.monitor_sql != DEFAULT_MONITOR_SQL;
    let mut refused = Ok(());
    let mut lease = lease;
    if has_query && !server.state.in_recovery && detour.is_none() {
        if !ctx.env.is_probe() {
            lease = match lease.or_ask(ctx)? {
                Lease::Over(reason) => return step_down(ctx, reason),
                lease @ (Lease::None | Lease::Kept { .. }) => lease,
            };
        }
        let limit = ctx.within(lease.until_asked_again(ctx)?).query_limit();
        server.session.set_limit(limit);
        let is_cut = limit < ctx.query_limit();
        refused = ask(ctx, &mut server, is_cut)?;
        server.session.set_limit(ctx.query_limit());
        // The session is the operator's by then, or was ended.
        if refused.is_err() {
            server.session = match ctx.connect(&running) {
                Ok(session) => session,
                Err(error) => return without(ctx, &running, lease, &error),
            };
        }
    }
    let is_looked_after = ctx.params.rep_mode.is_replicated() && !ctx.env.is_probe();
    if is_looked_after && !server.state.in_recovery {
        archive::end_what_is_of_no_use(ctx, &running);
    }
    let hoarded = if is_looked_after && server.state.in_recovery {
        slots::hoarded_by_others(ctx, &mut server.session)
            .or_else(|| archive::holds_restartpoints_up(ctx, &running))
    } else {
        None
    };
    let outcome = match (ctx.params.rep_mode, server.state.in_recovery) {
        (RepMode::None, _) => Ok(Outcome::of(OcfCode::Success)),
        (RepMode::Slave, true) => {
            // Here it is no promotion that fails, but the next start.
            if mended.is_ok() && !ctx.env.is_probe() {
                mended = places::takes_no_note(ctx)?.map_or(Ok(()), |why| Err(failed(why)));
            }
            if mended.is_ok() && server.state.has_trigger {
                mended = Err(failed(Obstacle::Trigger));
            }
            slave(ctx, &server)
        }
        (RepMode::Slave, false) => Ok(promoted_slave()),
        (RepMode::Async | RepMode::Sync, true) => standby(ctx, server),
        (RepMode::Async | RepMode::Sync, false) => {
            let mut troubles = Troubles::default();
            troubles.note("its lines in the configuration", mended);
            troubles.note("monitor_sql", refused);
            if let Some(reason) = detour {
                troubles.shut(reason);
            }
            return leased(ctx, server, lease, troubles);
        }
    };
    let refused = refused
        .err()
        .map(|why| format!("monitor_sql: {}", why.text()));
    let notice = detour.or(refused);
    let notice = notice.or_else(|| Some(mended.err()?.text().to_owned()));
    let notice = notice.or(hoarded);
    match (outcome?, notice) {
        (
            Outcome {
                code: OcfCode::Success,
                reason: None,
            },
            Some(notice),
        ) => Ok(kept(ctx, notice)),
        (outcome, _) => Ok(outcome),
    }
}

/// The reason is all that crm_mon shows of it.
fn why_it_is_down(ctx: &Context<'_>) -> String {
    let is_named = ctx.pgdata().join("postmaster.pid").try_exists();
    let left = process::orphans(ctx.pgdata(), ctx.owner.uid).unwrap_or_default();
    if let (Ok(false), Some(first)) = (is_named, left.first()) {
        return format!(
            "postmaster.pid is gone while PostgreSQL (process {first}) works in {}: who removed it? All of it is ended",
            ctx.pgdata().display()
        );
    }
    match obituary::of_one_that_ran(ctx) {
        Some(words) => format!("PostgreSQL does not run: {words}"),
        None => "PostgreSQL does not run".to_owned(),
    }
}

/// R9, where a Pacemaker that just began finds a server of which it can't be judged now. That is no reason to end it. Where it can't be noted
/// either, a standby is not to be promoted before somebody has looked.
fn arrive_unseen(ctx: &Context<'_>) {
    if !ctx.env.is_probe() || ctx.promise() != Promise::Sync {
        return;
    }
    let Err(failure) = attempt::arrive_unseen(ctx) else {
        return;
    };
    say!(WARN, "arrival", reason = failure.text());
    if by_files::is_standby(ctx).unwrap_or(false) {
        tolerate(Board::read(ctx).and_then(|board| board.set_score(&ctx.me, Score::Never)));
    }
}

/// What is answered where no session is to be had.
fn without(
    ctx: &Context<'_>,
    running: &Running,
    lease: Lease<'_>,
    error: &SqlError,
) -> Step<Outcome> {
    if !error.is_answer() {
        return recovering::answer(ctx, running, lease, error);
    }
    if !ctx.env.is_probe() {
        recovery::forget(ctx);
    }
    unseen::answer(ctx, lease, error)
}

/// Runs the operator's query. The inner error says why it was not carried out, which is no failure of the server's. `is_cut`: the lease left it less
/// time than it is meant to have.
fn ask(ctx: &Context<'_>, server: &mut Server, is_cut: bool) -> Step<Step<()>> {
    let asked = server
        .session
        .execute_as_configured(&ctx.params.monitor_sql);
    match asked {
        Ok(()) => Ok(Ok(())),
        Err(SqlError::Failed { state, message }) if verdict(&state) == Verdict::Refused => {
            Ok(Err(failed(format!("{message} (SQLSTATE {state})"))))
        }
        Err(SqlError::TimedOut(limit, _)) if is_cut => Ok(Err(failed(format!(
            "not ended within {limit:.1?}, which is what the lease on the lock leaves: a larger distlock_ttl leaves more"
        )))),
        // It was carried out, as far as it goes.
        Err(SqlError::Unexpected { what, .. }) => Ok(Err(failed(what))),
        Err(error) => Err(failed(format!("monitor_sql: {error}"))),
    }
}

/// The server's state, and why it was not asked in the way that is configured.
fn look(ctx: &Context<'_>, running: Running) -> Result<(Server, Option<String>), SqlError> {
    let entered = ctx.enter(&running)?;
    let (mut session, mut detour) = (entered.session, entered.detour);
    let state = match views::server_state(&mut session) {
        Ok(state) => state,
        // A machine under load. One that hangs is not entered once more.
        Err(SqlError::TimedOut(..)) if ctx.deadline.remaining() > ctx.params.query_timeout => {
            session = ctx.enter(&running)?.session;
            session.set_limit(ctx.deadline.remaining());
            session.execute("SET statement_timeout = 0")?;
            let state = views::server_state(&mut session)?;
            session.execute("RESET statement_timeout")?;
            session.set_limit(ctx.query_limit());
            state
        }
        // The user of the monitoring may not see it, say.
        Err(error) if error.is_answer() && ctx.params.monitor_user.is_some() => {
            let Ok(mut owner) = ctx.connect_as_owner(&running) else {
                return Err(error);
            };
            let state = views::server_state(&mut owner)?;
            detour = Some(format!("{error}; asked as {} instead", ctx.params.pgdba));
            session = owner;
            state
        }
        Err(error) => return Err(error),
    };
    let server = Server {
        running,
        session,
        state,
    };
    Ok((server, detour))
}

fn slave(ctx: &Context<'_>, server: &Server) -> Step<Outcome> {
    if ctx.params.check_wal_receiver {
        tolerate(Board::read(ctx).and_then(|board| receiver_status(&board, server)));
    }
    if !ctx.params.is_of_archive_alone() && !ctx.env.is_probe() {
        // It serves reads, whatever can't be noted.
        tolerate(ask_why_nothing_comes(ctx, server));
    }
    Ok(match refusal(ctx) {
        Some(why) => kept(ctx, why),
        None => Outcome::of(OcfCode::Success),
    })
}

/// Asks the primary outside, in one monitor of several in which nothing was received.
fn ask_why_nothing_comes(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let (is_streaming, idle) = count_idle(ctx, server)?;
    if !is_streaming && idle % ASK_EVERY == ASK_EVERY / 2 {
        repair::knock(ctx, &server.state)?;
    }
    Ok(())
}

/// Counts the monitors in a row in which this standby received nothing. One that receives is not refused.
fn count_idle(ctx: &Context<'_>, server: &Server) -> Step<(bool, u32)> {
    let receiver = server.state.receiver.as_ref();
    let is_streaming = receiver.is_some_and(|r| r.is_streaming);
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let mut state = old.clone();
    state.idle = if is_streaming { 0 } else { old.idle + 1 };
    if is_streaming {
        state.refusal = None;
        state.let_in = 0;
        state.lacking = None;
    }
    if !ctx.env.is_probe() {
        state.save(ctx, &old)?;
    }
    Ok((is_streaming, state.idle))
}

/// Why the primary does not let this standby in; nothing for a probe, or a person who asks.
fn refusal(ctx: &Context<'_>) -> Option<String> {
    if ctx.env.is_probe() {
        return None;
    }
    let boot = boot_clock().ok()?;
    State::load(ctx, boot.boot_id()).ok()?.refusal
}

fn standby(ctx: &Context<'_>, mut server: Server) -> Step<Outcome> {
    let ok = Ok(Outcome::of(OcfCode::Success));
    let mut board = match Board::read(ctx) {
        Ok(board) => board,
        // Nothing is concluded from it; the server itself is well.
        Err(failure) => {
            say!(
                WARN,
                "monitor: the cluster's state is unknown",
                reason = failure.text()
            );
            arrive_unseen(ctx);
            return ok;
        }
    };
    tolerate(receiver_status(&board, &server));
    let mut held = None;
    if !ctx.env.is_probe() {
        tolerate(repair::forget(&board));
        tolerate(watched::others(&board));
        match held_replay(&board, &mut server) {
            Ok(obstacle) => held = obstacle,
            Err(failure) => tolerate(Err(failure)),
        }
    }
    if let Some(reason) = held.as_ref().and_then(needs_restart) {
        return Ok(failed(reason));
    }
    if ctx.promise() == Promise::Sync {
        if ctx.env.is_probe() && attempt::arrive(&board).is_err() {
            arrive_unseen(ctx);
        }
        tolerate(distrust(&mut board));
    }
    if board.primary().is_some() {
        if !ctx.env.is_probe() {
            tolerate(attach(&board, &mut server));
        }
        match cannot_follow(&board, &server) {
            Ok(None) => {}
            Ok(Some(reason)) => return Ok(failed(reason)),
            Err(failure) => tolerate(Err(failure)),
        }
        tolerate(election::withdraw(&board));
        if !ctx.env.is_probe() {
            let peers = ctx.peers(&board.view);
            let running = &server.running;
            tolerate(slots::on_standby(ctx, running, &mut server.session, &peers));
            tolerate(external_slots::follow(&board, &mut server));
        }
        let recorded = ctx.data_status(&board.view, &ctx.me);
        let disconnected = recorded == Ok(Some(DataStatus::Disconnected));
        // It recovered until now, or was started by somebody else.
        let is_new = matches!(
            board.status(&ctx.me),
            None | Some(NodeStatus::Unknown | NodeStatus::Stopped)
        );
        if disconnected || is_new {
            tolerate(board.set_status(&ctx.me, NodeStatus::Alone));
        }
        return match held {
            // A probe, or a person who asks, gets the plain answer.
            Some(obstacle) if !ctx.env.is_probe() && board.view.knows_degraded() => {
                Ok(Outcome::because(OcfCode::Degraded, obstacle))
            }
            Some(_) => ok,
            // What it has it has, and it may be promoted with that.
            None => match refusal(ctx) {
                Some(why) => Ok(kept(ctx, why)),
                None => ok,
            },
        };
    }
    if ctx.env.is_probe() {
        return ok;
    }
    tolerate(stand_for_election(&board, &mut server, Counting::NewRound));
    ok
}

/// What keeps this standby from replaying all it has, or from being told what to do, or would make a poor primary of it; it is not granted
/// then. The others are told.
fn held_replay(board: &Board<'_, '_>, server: &mut Server) -> Step<Option<Obstacle>> {
    let mut held = reach::held(board.ctx, server)?;
    if held.is_none() {
        held = in_force::taken_over(board.ctx, server)?;
    }
    if held.is_none() {
        held = reach::is_unfit(board.ctx, server)?;
    }
    announce::obstacle(board, held.as_ref())?;
    Ok(held)
}

/// Why a standby is restarted that waits for just that: it comes up with what it lacked, and nothing else helps.
fn needs_restart(held: &Obstacle) -> Option<String> {
    let Obstacle::TooSmall(setting) = held else {
        return None;
    };
    Some(format!(
        "replay waits for a restart: {}={} here, {} on the primary; it is restarted with that",
        setting.name, setting.here, setting.needed
    ))
}

/// Follows the recorded primary. Where that is news, the promotion's notification did not reach this server, as it does not while it
/// recovers.
fn attach(board: &Board<'_, '_>, server: &mut Server) -> Step<()> {
    if statement::attach(board, server)? {
        initial_contract::renew_contract(board, server)?;
    }
    if board.ctx.promise() == Promise::Sync && statement::is_owed(board)? {
        say!(
            WARN,
            "this standby stopped receiving for a promotion that did not take place, and did not say so: it says so now, so that the primary begins \
             an epoch that it can follow"
        );
        statement::make(board, server)?;
    }
    Ok(())
}

/// R9: takes a grant back that is not to be believed, so that the primary gives a new one.
fn distrust(board: &mut Board<'_, '_>) -> Step<()> {
    let ctx = board.ctx;
    if attempt::belief(board)?.is_trusted || !board.view.is_quorate() {
        return Ok(());
    }
    if !board.claim()?.members.contains(ctx.me.lower()) {
        return Ok(());
    }
    let change = board.data_status(ChangeSet::default(), &ctx.me, DataStatus::Disconnected);
    if change.minus(&board.view).is_empty() {
        return Ok(());
    }
    say!(
        WARN,
        "this node was cut off, and its grant may have been revoked meanwhile: taking it back"
    );
    board.change(&board.as_it_was_read(change))
}

/// R6 for a standby that runs. One that received a little more than the one that was promoted asks the new primary for
/// its WAL twice a second, for ever, and is told each time that the timeline ended earlier; one whose WAL the primary
/// has removed is told that. The cluster would have a standby that is none.
fn cannot_follow(board: &Board<'_, '_>, server: &Server) -> Step<Option<String>> {
    let ctx = board.ctx;
    let (is_streaming, idle) = count_idle(ctx, server)?;
    // It does not ask the new primary for anything before it has replayed what it has.
    if idle > 1 && !server.state.has_replayed_all && !ctx.env.is_probe() {
        reach::end_queries_in_the_way(ctx);
    }
    // A part of a record that came before the primary was gone is nothing: the new timeline begins in front of it, here too.
    let replayed = server
        .state
        .replayed
        .filter(|_| server.state.has_replayed_all);
    let (false, Some(end)) = (is_streaming, replayed) else {
        return Ok(None);
    };
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let local = WalPosition { lineage, end };
    let is_detached = recovery_conf::follows(ctx, &Follow::Nobody);
    let asks = !is_detached && idle % ASK_EVERY == ASK_EVERY / 2;
    let Some(misfit) = repair::of_standby(board, &local, asks)? else {
        return Ok(None);
    };
    Ok(Some(match repair::plan_for(board, &misfit)? {
        Ok(work) => format!("{misfit}; it is restarted for a {work}"),
        Err(refusal) => refusal,
    }))
}

/// A primary, within the time that its lease leaves.
fn leased(
    ctx: &Context<'_>,
    server: Server,
    lease: Lease<'_>,
    troubles: Troubles,
) -> Step<Outcome> {
    let lease = if ctx.env.is_probe() {
        lease
    } else {
        lease.or_ask(ctx)?
    };
    if let Lease::Over(reason) = lease {
        drop(server);
        return step_down(ctx, reason);
    }
    let rest = lease.rest(ctx)?;
    primary(&ctx.within(rest), server, lease, troubles)
}

fn primary(
    ctx: &Context<'_>,
    mut server: Server,
    lease: Lease<'_>,
    mut troubles: Troubles,
) -> Step<Outcome> {
    let mut board = match Board::read(ctx) {
        Ok(board) => board,
        // Nothing is relaxed.
        Err(failure) => {
            if let Some(reason) = lease.is_over_without(ctx, failure.text()) {
                drop(server);
                return step_down(ctx, reason);
            }
            troubles.note::<()>("the cluster's state", Err(failure));
            return Ok(care::answer(ctx, None, None, troubles));
        }
    };
    let (lineage, right) = match judge(&board, &server) {
        Ok(judgement) => judgement,
        // An unreadable record says nothing against this primary.
        Err(failure) => {
            troubles.note::<()>("its right to be primary", Err(failure));
            return Ok(care::answer(ctx, Some(&board), None, troubles));
        }
    };
    match right {
        Right::Keep => {}
        // Promoted by hand, it may be: what Pacemaker has not made a primary, or only asks about, corrects nothing.
        Right::Correct(stale) if promotion_record::seat(ctx) == Seat::Other => {
            say!(
                WARN,
                "this server runs as a primary, and the record is left to the monitor of the role Promoted",
                stale = stale,
                timeline = lineage
            );
            if ctx.env.is_probe() {
                tolerate(show(&board, &server));
            }
            return Ok(Outcome::of(OcfCode::RunningPromoted));
        }
        Right::Correct(stale) => {
            say!(
                WARN,
                "correcting the promotion record",
                stale = stale,
                timeline = lineage
            );
            let corrected = promotion_record::correct_record(&mut board, &lineage);
            troubles.note("the promotion record", corrected);
        }
        // A probe only looks: a person may have asked, or the cluster may be in maintenance.
        lost @ Right::Lost { .. } if ctx.env.is_probe() => {
            return Ok(Outcome::because(OcfCode::FailedPromoted, lost));
        }
        lost @ Right::Lost { .. } => {
            drop(server);
            return step_down(ctx, lost);
        }
    }
    if !ctx.env.is_probe() {
        troubles.note("standby.signal", by_files::tidy_primary(ctx));
    }
    let settled = care::look_after(ctx, &mut board, &mut server, &lineage, lease, &mut troubles);
    if !ctx.env.is_probe() {
        tolerate(watched::others(&board));
    }
    if let Some(Settled::StepDown(reason)) = settled {
        drop(server);
        return step_down(ctx, reason);
    }
    Ok(care::answer(ctx, Some(&board), settled, troubles))
}

/// Its own history held against the promotion record.
fn judge(board: &Board<'_, '_>, server: &Server) -> Step<(Lineage, Right)> {
    let ctx = board.ctx;
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let right = promotion_record::judge(board, &lineage)?;
    Ok((lineage, right))
}

/// What Pacemaker, and people, see of a primary.
fn show(board: &Board<'_, '_>, server: &Server) -> Step<()> {
    board.set_primarys_score()?;
    board.set_status(&board.ctx.me, NodeStatus::Primary)?;
    receiver_status(board, server)
}

/// The server is well; what the cluster could not be told, it is told by the next monitor. While
/// a node goes down every write waits for the new membership: a monitor that failed because of it
/// would restart a healthy primary, which is what happened.
fn tolerate(result: Step<()>) {
    if let Err(failure) = result {
        say!(
            WARN,
            "monitor: left to the next one",
            reason = failure.text()
        );
    }
}
