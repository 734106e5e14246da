//! Whether this standby asks to be promoted, and how much it says it should be.

use crate::decide::election::{Outcome as Elected, Report};
use crate::decide::eligibility::Promise;
use crate::decide::witness::{Coverage, is_best};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::status::{NodeStatus, Score};
use crate::model::timeline::WalPosition;
use crate::postgres::wal;
use crate::sys::poll_until;
use crate::timing;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::election::{self, Counting};
use crate::agent::membership::lock::Lock;
use crate::agent::membership::spread::{self, Wanted};
use crate::agent::membership::{attempt, statement};
use crate::agent::server::answering::Server;
use crate::agent::server::{in_force, reach};
use crate::agent::step::{Step, failed};

/// Without a primary: report the own position, and ask for promotion where it is the best.
pub(crate) fn stand_for_election(
    board: &Board<'_, '_>,
    server: &mut Server,
    counting: Counting,
) -> Step<()> {
    let ctx = board.ctx;
    board.set_status(&ctx.me, NodeStatus::Alone)?;
    // A start looks at it, too, but does not wait for a server that recovers.
    if let Some(problem) = in_force::overridden(ctx, &server.state.sync_names)? {
        say!(WARN, "this node may not be promoted", reason = problem);
        return board.set_score(&ctx.me, Score::Never);
    }
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
    if let Some(obstacle) = reach::make_way(ctx, server)? {
        say!(WARN, "not to be promoted", reason = obstacle);
        return board.set_score(&ctx.me, Score::Never);
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
        Elected::Won => board.set_score(&ctx.me, elected_score(ctx)?),
        Elected::Lost { .. } | Elected::Wait { .. } | Elected::Unrankable { .. } => Ok(()),
    }
}

/// In async mode a primary that this node can't see may be at work, and renew the lock.
fn elected_score(ctx: &Context<'_>) -> Step<Score> {
    let is_kept = match Lock::open(ctx)? {
        Some(lock) => lock.is_kept_by_another()?,
        None => false,
    };
    if is_kept {
        say!(
            INFO,
            "not asked to be promoted: the lock is another's, who renews it"
        );
    }
    Ok(if is_kept { Score::Never } else { Score::Must })
}

/// The recorded primary comes back, unless the lock has passed it by, or others may have. To ask for a promotion that is refused is no
/// harmless try: three failures within a second, in which nothing can change, and Pacemaker keeps the resource away from
/// this node until somebody cleans up.
pub(crate) fn recorded_primarys_score(ctx: &Context<'_>) -> Step<Score> {
    if attempt::has_missed(ctx)? {
        return Ok(Score::Never);
    }
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
    if !would_be_confirmed(board)? {
        say!(
            INFO,
            "this node's promotion is recorded, and a majority does not know of it yet"
        );
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

/// A promotion of this node was not confirmed. To try again before the others' copies of the CIB can be read would only
/// add to the failures after which Pacemaker keeps the resource away from this node.
fn would_be_confirmed(board: &Board<'_, '_>) -> Step<bool> {
    let ctx = board.ctx;
    let Some(record) = ctx.record(&board.view)?.filter(|r| r.node == ctx.me) else {
        return Ok(true);
    };
    let wanted = Wanted {
        record: &record,
        admin_epoch: board.view.version.admin_epoch,
    };
    spread::is_known(&mut Board::of(ctx, board.view.clone()), wanted)
}

/// The recorded primary is about to be promoted again, as after a stop of the whole cluster: a standby that is up a moment sooner
/// does not take its place. Where it can't be promoted after all, its score goes, or Pacemaker keeps it away, and another may.
fn recorded_primary_comes_back(board: &Board<'_, '_>) -> Step<bool> {
    let record = board.ctx.record(&board.view)?;
    let Some(record) = record.filter(|r| r.node != board.ctx.me) else {
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

/// Reads the CIB until every member that may be promoted has said its position, or time is up.
pub(crate) fn await_reports(board: &mut Board<'_, '_>, own: &WalPosition) -> Step<()> {
    let ctx = board.ctx;
    let mut failure = None;
    poll_until(
        ctx.deadline.min(timing::ELECTION_WAIT),
        timing::READY_POLL,
        || {
            let all_there = ctx.cluster().and_then(|view| {
                board.view = view;
                let reports = election::reports(board, Some(own))?;
                Ok(!reports.values().any(|r| *r == Report::Silent))
            });
            match all_there {
                Ok(true) => Some(()),
                Ok(false) => None,
                Err(error) => {
                    failure = Some(error);
                    Some(())
                }
            }
        },
    );
    failure.map_or(Ok(()), Err)
}
