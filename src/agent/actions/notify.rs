//! notify: what other nodes' steps ask of this one. Pacemaker ignores the result, so a failure is
//! only logged.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::election::{Outcome as Elected, Patience, Tie, elect};
use crate::decide::eligibility::Promise;
use crate::decide::right::Right;
use crate::decide::witness::better_than;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::node_name::NodeName;
use crate::model::status::Score;
use crate::model::sync_names::StandbyName;
use crate::ocf::{NotifyKind, NotifyOperation, OcfCode, Outcome};
use crate::postgres::process::{Postmaster, Running};
use crate::postgres::session::SqlError;
use crate::postgres::{views, wal};
use crate::sys::poll_until;
use crate::timing;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::contract;
use crate::agent::membership::board::Board;
use crate::agent::membership::election::{self, Counting};
use crate::agent::membership::lease::Lease;
use crate::agent::membership::{candidacy, promotion_record, stated, statement};
use crate::agent::server::answering::Server;
use crate::agent::server::{follow, reach, slots};
use crate::agent::standby::initial_contract;
use crate::agent::step::{Step, failed};

pub(crate) fn notify(ctx: &Context<'_>) -> Step<Outcome> {
    if ctx.is_promotable() {
        let (kind, operation) = (ctx.env.notify.kind, ctx.env.notify.operation);
        if let Err(failure) = react(ctx) {
            say!(
                WARN,
                "notify",
                kind = format_args!("{:?}", kind),
                operation = format_args!("{:?}", operation),
                reason = failure.text()
            );
        }
    }
    Ok(Outcome::of(OcfCode::Success))
}

fn react(ctx: &Context<'_>) -> Step<()> {
    let notify = &ctx.env.notify;
    let (Some(kind), Some(operation)) = (notify.kind, notify.operation) else {
        return Ok(());
    };
    match (kind, operation) {
        (NotifyKind::Pre, NotifyOperation::Demote) if ctx.is_among(&notify.demote) => {
            checkpoint(ctx)
        }
        (NotifyKind::Pre, NotifyOperation::Promote) => before_promotion(ctx, &notify.promote),
        (NotifyKind::Post, NotifyOperation::Promote) if !ctx.is_among(&notify.promote) => {
            turn_to_new_primary(ctx)
        }
        (NotifyKind::Post, NotifyOperation::Start | NotifyOperation::Stop) => {
            after_start_or_stop(ctx)
        }
        (
            NotifyKind::Pre | NotifyKind::Post,
            NotifyOperation::Start
            | NotifyOperation::Stop
            | NotifyOperation::Promote
            | NotifyOperation::Demote,
        ) => Ok(()),
    }
}

/// A postmaster that can answer. Everybody waits for the notifications: one that is stopped by a
/// signal is not asked, which would take query_timeout out of the recovery from just that.
fn postmaster(ctx: &Context<'_>) -> Step<Option<Running>> {
    Ok(match ctx.postmaster()? {
        Postmaster::Running(running) if !running.frozen => Some(running),
        Postmaster::Running(_) | Postmaster::Stopped => None,
    })
}

/// A server that answers now.
fn answering(ctx: &Context<'_>) -> Step<Option<Server>> {
    let Some(running) = postmaster(ctx)? else {
        return Ok(None);
    };
    let mut session = match ctx.connect(&running) {
        Ok(session) => session,
        // It recovers, or is on its way down: there is nothing to ask, and nothing wrong.
        Err(SqlError::NotReady(_)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let state = views::server_state(&mut session).map_err(failed)?;
    Ok(Some(Server {
        running,
        session,
        state,
    }))
}

/// Ahead of a demotion: what is written now need not be written while everybody waits for the
/// shutdown.
fn checkpoint(ctx: &Context<'_>) -> Step<()> {
    let Some(running) = postmaster(ctx)? else {
        return Ok(());
    };
    let limit = timing::CHECKPOINT.min(time_to_write(ctx)?);
    if limit < timing::LEAST_CHECKPOINT {
        say!(
            INFO,
            "no checkpoint ahead of the demotion: what is acknowledged meanwhile may be lost"
        );
        return Ok(());
    }
    let ctx = &ctx.within(limit);
    let mut session = ctx.connect_as_owner(&running).map_err(failed)?;
    session.set_limit(ctx.deadline.remaining());
    session
        .execute("SET statement_timeout = 0")
        .and_then(|()| session.execute("CHECKPOINT"))
        .map_err(failed)?;
    point!(NotifyCheckpoint);
    Ok(())
}

/// How long this primary may go on to take writes before its demotion. In sync mode what it acknowledges is on a standby. In async mode
/// another partition may have a primary already where this one has no quorum, and another node the lock where its lease is over.
fn time_to_write(ctx: &Context<'_>) -> Step<Duration> {
    let all = ctx.deadline.remaining();
    if ctx.promise() == Promise::Sync {
        return Ok(all);
    }
    // What can't be read is no quorum.
    let is_quorate = Board::read(ctx).is_ok_and(|board| board.view.is_quorate());
    if !is_quorate {
        return Ok(Duration::ZERO);
    }
    match Lease::ask(ctx) {
        Lease::Over(_) => Ok(Duration::ZERO),
        lease @ (Lease::None | Lease::Kept { .. }) => lease.rest(ctx),
    }
}

/// The primary cannot know who has received most when it dies. So all standbys say now how far they
/// got, and the best one asks to be promoted instead of the node that Pacemaker has chosen: the
/// changed score makes Pacemaker plan anew before it promotes. The others can follow only that one.
fn before_promotion(ctx: &Context<'_>, candidates: &[String]) -> Step<()> {
    let Some(mut server) = answering(ctx)? else {
        return Ok(());
    };
    if !server.state.in_recovery {
        return Ok(());
    }
    let mut board = Board::read(ctx)?;
    let record = ctx.record(&board.view)?;
    if record.as_ref().is_some_and(|r| {
        candidates
            .iter()
            .any(|c| c.eq_ignore_ascii_case(r.node.as_str()))
    }) {
        // The last primary comes back: it has everything.
        return Ok(());
    }
    let better = match (ctx.promise(), &record) {
        (Promise::Sync, None) => return Ok(()),
        (Promise::Sync, Some(_)) if is_out!(LargerPositionIgnored) => {
            statement::make(&board, &mut server)?;
            return Ok(());
        }
        (Promise::Async, _) if is_out!(AsyncElectsAnybody) => return Ok(()),
        (Promise::Sync, Some(_)) => better_by_statement(&board, &mut server, candidates)?,
        (Promise::Async, _) => {
            is_better_by_report(&mut board, &server, candidates)?.then(|| ctx.me.clone())
        }
    };
    let Some(better) = better else {
        return Ok(());
    };
    say!(
        WARN,
        "another has more WAL than the one to be promoted: asking for it to be promoted instead",
        candidates = candidates.join(" "),
        instead = better
    );
    for candidate in chosen(candidates) {
        board.set_score(&candidate, Score::May)?;
    }
    point!(NotifyGaveWay);
    board.set_score(&better, Score::Must)?;
    // Until the CIB has it, Pacemaker would go on with its old plan.
    let must = Score::Must.to_string();
    poll_until(
        ctx.deadline.min(timing::ELECTION_WAIT),
        timing::READY_POLL,
        || {
            let view = ctx.cluster().ok()?;
            let score = view
                .node(&better)?
                .transient(TransientAttribute::PromotionScore, &ctx.resource)?;
            (score == must).then_some(())
        },
    );
    Ok(())
}

fn chosen(candidates: &[String]) -> impl Iterator<Item = NodeName> {
    let name = |c: &String| NodeName::new(c.as_str()).ok();
    candidates.iter().filter_map(name)
}

/// Asynchronous: by the positions that all report now.
fn is_better_by_report(
    board: &mut Board<'_, '_>,
    server: &Server,
    candidates: &[String],
) -> Step<bool> {
    let ctx = board.ctx;
    let Some(own) = reach::end(ctx, server)? else {
        return Ok(false);
    };
    election::publish(board, &own)?;
    let barred = board.barred();
    if ctx.is_among(candidates) || barred.contains(&ctx.me) {
        return Ok(false);
    }
    candidacy::await_reports(board, &own)?;
    let reports = election::reports(board, Some(&own))?;
    let ranked = Tie::Ranked {
        last_primary: None,
        barred: &barred,
    };
    if elect(&ctx.me, &reports, ranked, Patience::Exhausted) != Elected::Won {
        return Ok(false);
    }
    let is_behind =
        |c: NodeName| reports.contains_key(&c) && reports.get(&c) != reports.get(&ctx.me);
    Ok(chosen(candidates).any(is_behind))
}

/// Synchronous (R8): every standby stops receiving from the old primary, and states what it has. One
/// with more than the candidate takes its place, if it has all that the witnesses have: otherwise it
/// could not follow the candidate afterwards, and would need a new copy.
///
/// Whoever speaks last sees it. That may be the candidate: on a machine under load Pacemaker sends the notifications one after
/// the other. So the candidate looks, too, but waits for nobody: those who come after it will look.
fn better_by_statement(
    board: &Board<'_, '_>,
    server: &mut Server,
    candidates: &[String],
) -> Step<Option<NodeName>> {
    let ctx = board.ctx;
    let Some(own) = statement::make(board, server)? else {
        return Ok(None);
    };
    let claim = board.claim_for(&own.position.lineage)?;
    let peers = ctx.peers(&board.view);
    let is_candidate = ctx.is_among(candidates);
    let may_report = |n: &&NodeName| election::may_report(board, n);
    let expected = peers.iter().filter(may_report).count();
    let patience = if is_candidate {
        Duration::ZERO
    } else {
        timing::ELECTION_WAIT
    };
    let mut statements = BTreeMap::new();
    let mut failure = None;
    poll_until(
        ctx.deadline.min(patience),
        timing::READY_POLL,
        || match stated::all(ctx, &board.view) {
            Ok(said) => {
                statements = said;
                (statements.len() >= expected).then_some(())
            }
            Err(error) => {
                failure = Some(error);
                Some(())
            }
        },
    );
    if let Some(failure) = failure {
        return Err(failure);
    }
    statements.insert(ctx.me.lower().to_owned(), own);
    // The lock goes to members only, and Pacemaker promotes none that is barred.
    let bars = board.bars();
    let is_open_to = |name: &StandbyName| {
        let is_known = !ctx.params.enable_distlock || claim.members.contains(name);
        is_known && !bars.contains_key(name)
    };
    let instead_of =
        |c: NodeName| better_than(&c.lower().to_owned(), &claim, &statements, is_open_to);
    let better = chosen(candidates).find_map(instead_of);
    // Who is neither leaves it to those two.
    let is_mine_to_say = |name: &&StandbyName| is_candidate || **name == *ctx.me.lower();
    let better = better.filter(is_mine_to_say);
    let all = ctx.replicas(&board.view).into_iter();
    Ok(better.and_then(|name| all.into_iter().find(|node| node.lower() == name)))
}

/// Another node was promoted.
fn turn_to_new_primary(ctx: &Context<'_>) -> Step<()> {
    let server = answering(ctx)?.filter(|s| s.state.in_recovery);
    let board = Board::read(ctx)?;
    if let Some(server) = &server {
        // First, as commits wait for it.
        statement::attach(&board, server)?;
        point!(NotifyAttached);
        follow::begin(ctx, server)?;
        point!(FollowSpawned);
    }
    if let Some(server) = &server {
        initial_contract::renew_contract(&board, server)?;
    }
    election::withdraw(&board)?;
    point!(NotifyWithdrawn);
    board.set_own(TransientAttribute::MasterBaseline, None)?;
    if let Some(mut server) = server {
        let peers = ctx.peers(&board.view);
        slots::on_standby(ctx, &server.running, &mut server.session, &peers)?;
    }
    Ok(())
}

/// A primary looks after its standbys; a standby without one may have been waiting for this
/// start to hold the election.
fn after_start_or_stop(ctx: &Context<'_>) -> Step<()> {
    let Some(mut server) = answering(ctx)? else {
        return Ok(());
    };
    let mut board = Board::read(ctx)?;
    if !server.state.in_recovery {
        let lineage = wal::lineage(ctx.pgdata(), server.state.timeline).map_err(failed)?;
        if promotion_record::judge(&board, &lineage)? != Right::Keep {
            return Ok(());
        }
        // What has to follow from a lost lock is the monitor's.
        let lease = Lease::ask(ctx);
        let patience = timing::CONTRACT_POLL;
        let ctx = &ctx.within(lease.rest(ctx)?);
        return contract::settle(ctx, &mut board, &mut server, lease, patience).map(drop);
    }
    let somebody_is_promoted = !ctx.env.notify.promoted.is_empty();
    if somebody_is_promoted
        || board.primary().is_some()
        || ctx.env.notify.operation != Some(NotifyOperation::Start)
    {
        return Ok(());
    }
    candidacy::stand_for_election(&board, &mut server, Counting::SameRound)
}
