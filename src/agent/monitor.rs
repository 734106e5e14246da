//! monitor: is it well, is it what it should be, and what do the others have to know.

use crate::decide::election::Outcome as Elected;
use crate::decide::eligibility::Promise;
use crate::decide::right::{Right, right};
use crate::decide::witness::{Coverage, is_best};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{DataStatus, NodeStatus, Score};
use crate::model::timeline::{Lineage, WalPosition};
use crate::ocf::{OcfCode, Outcome};
use crate::pacemaker::change_set::ChangeSet;
use crate::params::RepMode;
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::session::SqlError;
use crate::postgres::{views, wal};
use crate::sys::boot_clock;
use crate::timing;

use super::context::Context;
use super::contract::Settled;
use super::election::Counting;
use super::lock::Lock;
use super::ready::Server;
use super::record::Board;
use super::standby::{self, Follow};
use super::state::State;
use super::{Step, contract, election, failed, promotion_record, repair, slots, statement, stop};

/// What the older agents run where nothing else was asked for; the agent's own query shows as much.
const DEFAULT_MONITOR_SQL: &str = "select now();";

/// In which of this many monitors a standby that receives nothing has the primary asked why: that costs three processes,
/// and a primary that was just promoted deserves some patience.
const ASK_EVERY: u32 = 6;

pub(super) fn monitor(ctx: &Context<'_>) -> Step<Outcome> {
    if ctx.is_promotable()
        && let Some(answer) = repair::answer(ctx)?
    {
        return Ok(answer);
    }
    let running = match ctx.postmaster()? {
        Postmaster::Stopped if ctx.env.is_probe() => return Ok(Outcome::of(OcfCode::NotRunning)),
        Postmaster::Stopped => {
            return Ok(Outcome::because(
                OcfCode::NotRunning,
                "PostgreSQL does not run",
            ));
        }
        Postmaster::Running(running) => running,
    };
    let mut server = match look(ctx, running) {
        Ok(server) => server,
        Err(Unwell::Recovering(what)) => return recovering(ctx, &what),
        Err(Unwell::Failed(reason)) => return Ok(failed(reason)),
    };
    // Not on a standby: what writes, or names a table that has not arrived yet, fails there.
    if ctx.params.monitor_sql != DEFAULT_MONITOR_SQL && !server.state.in_recovery {
        server
            .session
            .execute(&ctx.params.monitor_sql)
            .map_err(|e| failed(format!("monitor_sql: {e}")))?;
    }
    match (ctx.params.rep_mode, server.state.in_recovery) {
        (RepMode::None, _) => Ok(Outcome::of(OcfCode::Success)),
        (RepMode::Slave, true) => slave(ctx, &server),
        (RepMode::Slave, false) => Ok(failed(
            "the server was promoted although rep_mode=slave; rebuild it as a standby, or change rep_mode",
        )),
        (RepMode::Async | RepMode::Sync, true) => standby(ctx, server),
        (RepMode::Async | RepMode::Sync, false) => primary(ctx, server),
    }
}

enum Unwell {
    /// It starts, or replays, and takes no connections meanwhile.
    Recovering(String),
    Failed(String),
}

fn look(ctx: &Context<'_>, running: Running) -> Result<Server, Unwell> {
    let frozen = running.frozen;
    let error = |error: SqlError| match &error {
        SqlError::NotReady(what) => Unwell::Recovering(what.clone()),
        SqlError::TimedOut(_) if frozen => Unwell::Failed(
            "the postmaster is stopped by a signal (state T) and answers nothing".to_owned(),
        ),
        SqlError::TimedOut(_)
        | SqlError::Unreachable(_)
        | SqlError::Failed { .. }
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => Unwell::Failed(error.to_string()),
    };
    let mut session = ctx.connect(&running).map_err(error)?;
    let state = views::server_state(&mut session).map_err(error)?;
    Ok(Server {
        running,
        session,
        state,
    })
}

/// A standby may replay for long before it answers, and does no harm meanwhile. A primary that
/// does not answer is one that does not serve.
fn recovering(ctx: &Context<'_>, what: &str) -> Step<Outcome> {
    let is_standby = ctx.pgdata().join("standby.signal").exists();
    if ctx.params.rep_mode.is_replicated() && is_standby {
        say!(
            INFO,
            "the standby does not take connections yet",
            what = what
        );
        return Ok(Outcome::of(OcfCode::Success));
    }
    Ok(failed(format!(
        "the server does not take connections: {what}"
    )))
}

fn slave(ctx: &Context<'_>, server: &Server) -> Step<Outcome> {
    if ctx.params.check_wal_receiver {
        tolerate(Board::read(ctx).and_then(|board| receiver_status(&board, server)));
    }
    Ok(Outcome::of(OcfCode::Success))
}

fn receiver_status(board: &Board<'_, '_>, server: &Server) -> Step<()> {
    if !board.ctx.params.check_wal_receiver {
        return Ok(());
    }
    let status = match (&server.state.receiver, server.state.in_recovery) {
        (_, false) => "normal (master)",
        (Some(_), true) => "normal",
        (None, true) => "ERROR",
    };
    board.set_own(TransientAttribute::ReceiverStatus, Some(status))
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
            return ok;
        }
    };
    tolerate(receiver_status(&board, &server));
    if !ctx.env.is_probe() {
        tolerate(repair::forget(&board));
    }
    if ctx.promise() == Promise::Sync {
        tolerate(distrust(&mut board));
    }
    if board.primary().is_some() {
        if !ctx.env.is_probe() {
            tolerate(statement::attach(&board, &server).map(drop));
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
        }
        let recorded = ctx.data_status(&board.view, &ctx.me);
        let disconnected = recorded == Ok(Some(DataStatus::Disconnected));
        if disconnected || board.status(&ctx.me).is_none() {
            tolerate(board.set_status(&ctx.me, NodeStatus::Alone));
        }
        return ok;
    }
    if ctx.env.is_probe() {
        return ok;
    }
    tolerate(stand_for_election(&board, &mut server, Counting::NewRound));
    ok
}

/// R9: takes a grant back that is not to be believed, so that the primary gives a new one.
fn distrust(board: &mut Board<'_, '_>) -> Step<()> {
    let ctx = board.ctx;
    if statement::is_trusted(board)? || !board.view.is_quorate() {
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
    let receiver = server.state.receiver.as_ref();
    let is_streaming = receiver.is_some_and(|r| r.is_streaming);
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id());
    let mut state = old.clone();
    state.idle = if is_streaming { 0 } else { old.idle + 1 };
    if !ctx.env.is_probe() {
        state.save(ctx, &old)?;
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
    let is_detached = standby::follows(ctx, &Follow::Nobody);
    let asks = !is_detached && state.idle % ASK_EVERY == ASK_EVERY / 2;
    let Some(misfit) = repair::of_standby(board, &local, asks)? else {
        return Ok(None);
    };
    Ok(Some(match repair::plan_for(board, &misfit)? {
        Ok(work) => format!("{misfit}; it is restarted for a {work}"),
        Err(refusal) => refusal,
    }))
}

/// Without a primary: report the own position, and ask for promotion where it is the best.
pub(super) fn stand_for_election(
    board: &Board<'_, '_>,
    server: &mut Server,
    counting: Counting,
) -> Step<()> {
    let ctx = board.ctx;
    board.set_status(&ctx.me, NodeStatus::Alone)?;
    let own = election::own_position(ctx, server)?;
    if let Some(position) = &own {
        election::publish(board, position)?;
    }
    let record = ctx.record(&board.view)?;
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let is_mine = record.as_ref().is_some_and(|r| r.node == ctx.me);
    if is_mine && (ctx.promise() == Promise::Async || board.is_complete(&lineage)?) {
        return board.set_score(&ctx.me, recorded_primarys_score(ctx)?);
    }
    if ctx.promise() == Promise::Sync && record.is_some() {
        return stand_by_statement(board, server);
    }
    let reports = election::reports(board, own.as_ref())?;
    if !reports.contains_key(&ctx.me) {
        return board.set_score(&ctx.me, Score::Never);
    }
    let outcome = election::hold(board, &reports, counting)?;
    say!(
        INFO,
        "election",
        reports = election::shown(&reports),
        outcome = outcome
    );
    match outcome {
        Elected::Won => board.set_score(&ctx.me, Score::Must),
        Elected::Lost { .. } | Elected::Wait { .. } | Elected::Unrankable { .. } => Ok(()),
    }
}

/// The recorded primary comes back, unless the lock has passed it by. To ask for a promotion that is refused is no
/// harmless try: three failures within a second, in which nothing can change, and Pacemaker keeps the resource away from
/// this node until somebody cleans up.
pub(super) fn recorded_primarys_score(ctx: &Context<'_>) -> Step<Score> {
    let refuses = Lock::open(ctx)?.is_some_and(|lock| lock.refuses());
    if refuses {
        say!(
            WARN,
            "the lock is another's, or its row says that this node may not be promoted"
        );
    }
    Ok(if refuses { Score::Never } else { Score::Must })
}

/// The recorded primary is gone: who is sure to have every acknowledged commit, and the most of the
/// rest, asks to be promoted.
fn stand_by_statement(board: &Board<'_, '_>, server: &mut Server) -> Step<()> {
    let ctx = board.ctx;
    let Some(own) = statement::make(board, server)? else {
        return Ok(());
    };
    let claim = board.claim_for(&own.position.lineage)?;
    let (covered, statements) = statement::covers(board, &own, &claim)?;
    say!(
        INFO,
        "election by statements",
        position = own.position,
        coverage = covered
    );
    if covered != Coverage::Covered {
        return Ok(());
    }
    // A promotion that waits for the lock in vain counts as a failure.
    if let Some(lock) = Lock::open(ctx)?
        && !lock.is_to_be_had()
    {
        say!(INFO, "the lock is not to be had yet");
        return Ok(());
    }
    // Whoever is covered may; the best may be one that Pacemaker must not choose.
    let is_best = is_best(&ctx.me.lower().to_owned(), &own.position, &statements);
    let is_first = is_best && !recorded_primary_comes_back(board)?;
    board.set_score(&ctx.me, if is_first { Score::Must } else { Score::May })
}

/// The recorded primary is about to be promoted again, as after a stop of the whole cluster: a standby that is up a moment sooner
/// does not take its place. Where it can't be promoted after all, its score goes, or Pacemaker keeps it away, and another may.
fn recorded_primary_comes_back(board: &Board<'_, '_>) -> Step<bool> {
    let Some(record) = board.ctx.record(&board.view)? else {
        return Ok(false);
    };
    let must = Score::Must.to_string();
    let score = board.transient(&record.node, TransientAttribute::PromotionScore);
    let is_member = board
        .view
        .node(&record.node)
        .is_some_and(|n| n.in_membership);
    Ok(is_member && score == Some(must.as_str()))
}

fn primary(ctx: &Context<'_>, mut server: Server) -> Step<Outcome> {
    let promoted = Ok(Outcome::of(OcfCode::RunningPromoted));
    let mut board = match Board::read(ctx) {
        Ok(board) => board,
        Err(failure) => {
            say!(
                WARN,
                "monitor: the cluster's state is unknown, nothing is relaxed",
                reason = failure.text()
            );
            return promoted;
        }
    };
    let (lineage, right) = match judge(&board, &server) {
        Ok(judgement) => judgement,
        // An unreadable record says nothing against this primary.
        Err(failure) => {
            tolerate(Err(failure));
            return promoted;
        }
    };
    match right {
        Right::Keep => {}
        Right::Correct(stale) => {
            say!(
                WARN,
                "correcting the promotion record",
                stale = stale,
                timeline = lineage
            );
            tolerate(promotion_record::correct_record(&mut board, &lineage));
        }
        lost @ Right::Lost { .. } => {
            // R4: not one more commit is acknowledged; Pacemaker does the rest. A probe only looks:
            // a person may have asked, or the cluster may be in maintenance.
            drop(server);
            if !ctx.env.is_probe() {
                stop::stop_server(ctx)?;
            }
            return Ok(Outcome::because(OcfCode::FailedPromoted, lost));
        }
    }
    let settled = look_after(ctx, &mut board, &mut server);
    if let (Ok(settled), false) = (&settled, ctx.env.is_probe()) {
        let word = match settled {
            Settled::Degraded(what) => Some(what.word()),
            Settled::Well | Settled::StepDown(_) => None,
        };
        tolerate(board.set_own(TransientAttribute::Degraded, word));
    }
    match settled {
        Ok(Settled::Degraded(what)) if tells_degradation(ctx, &board) => {
            Ok(Outcome::because(OcfCode::DegradedPromoted, what))
        }
        Ok(Settled::Well | Settled::Degraded(_)) => promoted,
        Ok(Settled::StepDown(reason)) => {
            drop(server);
            stop::stop_server(ctx)?;
            Ok(Outcome::because(OcfCode::FailedPromoted, reason))
        }
        Err(failure) => {
            tolerate(Err(failure));
            promoted
        }
    }
}

/// Pacemaker shows a degraded resource as such, and leaves it alone. A probe, or a person who asks,
/// gets the plain answer.
fn tells_degradation(ctx: &Context<'_>, board: &Board<'_, '_>) -> bool {
    !ctx.env.is_probe() && board.view.knows_degraded()
}

/// Its own history held against the promotion record.
fn judge(board: &Board<'_, '_>, server: &Server) -> Step<(Lineage, Right)> {
    let ctx = board.ctx;
    let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
    let epoch = promotion_record::own_epoch(ctx)?;
    let right = right(&ctx.me, ctx.record(&board.view)?.as_ref(), &lineage, epoch);
    Ok((lineage, right))
}

/// What a primary does for its cluster in each monitor.
fn look_after(ctx: &Context<'_>, board: &mut Board<'_, '_>, server: &mut Server) -> Step<Settled> {
    let latest = ChangeSet::default();
    board.change(&board.data_status(latest, &ctx.me, DataStatus::Latest))?;
    board.set_score(&ctx.me, Score::Must)?;
    board.set_status(&ctx.me, NodeStatus::Primary)?;
    receiver_status(board, server)?;
    if ctx.env.is_probe() {
        return Ok(Settled::Well);
    }
    let peers = ctx.peers(&board.view);
    let record = ctx.record(&board.view)?;
    let (running, session) = (&server.running, &mut server.session);
    slots::on_primary(ctx, running, session, &peers, record.as_ref())?;
    let lock = Lock::open(ctx)?;
    contract::settle(ctx, board, server, lock.as_ref(), timing::FIRST_STANDBY)
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
