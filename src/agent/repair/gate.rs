//! R6: whether this node's data can follow the primary, found out before the server starts.

use crate::decide::divergence::{self, Misfit};
use crate::decide::eligibility::Promise;
use crate::decide::repair::{self, Plan, Why, plan};
use crate::decide::stalled;
use crate::log::say;
use crate::model::repair::Work;
use crate::model::repl_info::ReplInfo;
use crate::model::timeline::WalPosition;
use crate::postgres::control;
use crate::postgres::source::{Primary, SERVICE_FILE, Source, SourceError, service_text};
use crate::postgres::views::ServerState;
use crate::postgres::wal::{self, LocalEnd};
use crate::sys::boot_clock;
use crate::timing;
use crate::trial::is_out;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::promotion_record;
use crate::agent::repair::journal;
use crate::agent::server::archive;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// What stands between this node and being a standby; `None`: nothing that is known.
pub(super) fn misfit(board: &Board<'_, '_>) -> Step<Option<Misfit>> {
    let ctx = board.ctx;
    if journal::is_damaged(ctx)? {
        return Ok(Some(Misfit::Damaged));
    }
    let Some(record) = others_record(board)?.filter(|_| !is_out!(DivergedFollows)) else {
        return Ok(None);
    };
    // A base backup is made consistent by its own start; its control file is the primary's.
    if ctx.pgdata().join("backup_label").exists() {
        return Ok(None);
    }
    let programs = ctx.programs();
    let control = control::read(&programs, ctx.pgdata(), ctx.deadline).map_err(failed)?;
    let deadline = ctx.deadline.min(timing::WAL_END);
    let local = wal::end(&programs, ctx.pgdata(), &control, deadline).map_err(failed)?;
    say!(
        INFO,
        "local WAL",
        state = control.state,
        local = local.position,
        exact = local.is_exact
    );
    of_position(board, &record, &local, &control, Asked::BeforeItsStart)
}

/// The same for a running standby that receives nothing, whose WAL reaches `local`.
pub(crate) fn of_standby(
    board: &Board<'_, '_>,
    local: &WalPosition,
    asks: bool,
) -> Step<Option<Misfit>> {
    let ctx = board.ctx;
    let Some(record) = others_record(board)?.filter(|_| !is_out!(DivergedFollows)) else {
        return Ok(None);
    };
    if !asks {
        return Ok(divergence::by_record(&ctx.me, Some(&record), local));
    }
    let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(failed)?;
    let local = LocalEnd {
        position: local.clone(),
        is_exact: true,
    };
    of_position(board, &record, &local, &control, Asked::AsItReceivesNothing)
}

/// The recorded primary is what the others are held against.
fn others_record(board: &Board<'_, '_>) -> Step<Option<ReplInfo>> {
    let record = board.ctx.record(&board.view)?;
    Ok(record.filter(|r| r.node != board.ctx.me))
}

/// When the primary is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    BeforeItsStart,
    /// The standby runs, and has replayed all it has.
    AsItReceivesNothing,
}

fn of_position(
    board: &Board<'_, '_>,
    record: &ReplInfo,
    local: &LocalEnd,
    control: &control::Control,
    asked: Asked,
) -> Step<Option<Misfit>> {
    let ctx = board.ctx;
    let by_record = divergence::by_record(&ctx.me, Some(record), &local.position);
    if by_record.is_some() || board.primary().is_none() {
        return Ok(by_record);
    }
    let source = source(ctx)?;
    let answer = ask(ctx, &source, record, local, control);
    match &answer {
        Ok(None) if asked == Asked::AsItReceivesNothing => {
            let system = &control.system_identifier;
            note_silence(ctx, system, system, true)?;
        }
        // At a start the primary's address may be on its way.
        Err(Unknown::Silent(why)) if asked == Asked::AsItReceivesNothing => {
            let why = format!("nothing comes from the primary, and it can't be asked why: {why}");
            note_refusal(ctx, Some(&why))?;
        }
        other => note_refusal(ctx, other.as_ref().err().and_then(Unknown::refusal))?,
    }
    match answer {
        Ok(misfit) => Ok(misfit),
        Err(Unknown::OtherCluster(theirs)) => Err(other_cluster(ctx, control, &theirs)),
        // The record has nothing against it; the standby tries, and monitor looks again.
        Err(Unknown::Silent(why) | Unknown::Refused(why)) => {
            say!(
                WARN,
                "the primary could not be asked for its history",
                reason = why
            );
            Ok(None)
        }
    }
}

/// Another cluster's data are never touched.
pub(super) fn other_cluster(
    ctx: &Context<'_>,
    control: &control::Control,
    theirs: &str,
) -> crate::ocf::Outcome {
    crate::ocf::Outcome::because(
        crate::ocf::OcfCode::ErrInstalled,
        format!(
            "correct pgdata, or move {} away and rebuild: it is of another database cluster (system identifier {}, the primary's is {theirs})",
            ctx.pgdata().display(),
            control.system_identifier,
        ),
    )
}

enum Unknown {
    /// With the primary's system identifier.
    OtherCluster(String),
    Silent(String),
    /// It answers, and does not let this node in.
    Refused(String),
}

impl Unknown {
    fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused(why) => Some(why),
            Self::OtherCluster(_) | Self::Silent(_) => None,
        }
    }
}

impl From<SourceError> for Unknown {
    fn from(error: SourceError) -> Self {
        if error.is_told() {
            Self::Refused(error.to_string())
        } else {
            Self::Silent(error.to_string())
        }
    }
}

/// Keeps in mind why the primary does not let this node in, to be told in each monitor until it streams: it is asked in few of them.
fn note_refusal(ctx: &Context<'_>, why: Option<&str>) -> Step<()> {
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let mut state = old.clone();
    state.refusal = why.map(str::to_owned);
    state.let_in = 0;
    state.save(ctx, &old)
}

/// The same where it lets this node in, which receives nothing all the same.
fn note_silence(ctx: &Context<'_>, theirs: &str, ours: &str, has_replayed_all: bool) -> Step<()> {
    let boot = boot_clock().map_err(failed)?;
    let old = State::load(ctx, boot.boot_id())?;
    let mut state = old.clone();
    state.let_in = old.let_in.saturating_add(1);
    let mark = old.started.as_ref();
    let said = mark.and_then(|mark| mark.of_receiver(ctx.pgdata(), &ctx.owner));
    state.refusal = stalled::why(&stalled::Facts {
        theirs,
        ours,
        has_replayed_all,
        times: state.let_in,
        said: said.as_deref(),
    });
    state.save(ctx, &old)
}

/// Asks the primary of a standby outside a cluster whether it lets this node in, and notes that.
pub(crate) fn knock(ctx: &Context<'_>, server: &ServerState) -> Step<()> {
    let deadline = ctx.deadline.min(timing::SOURCE);
    match source(ctx)?.identify(deadline).map_err(Unknown::from) {
        Ok(theirs) => {
            let is_through = server.has_replayed_all;
            note_silence(ctx, &theirs.system, &server.system, is_through)
        }
        Err(unknown) => note_refusal(ctx, unknown.refusal()),
    }
}

fn ask(
    ctx: &Context<'_>,
    source: &Source,
    record: &ReplInfo,
    end: &LocalEnd,
    control: &control::Control,
) -> Result<Option<Misfit>, Unknown> {
    let local = &end.position;
    let deadline = ctx.deadline.min(timing::SOURCE);
    let identity = source.identify(deadline)?;
    if identity.system != control.system_identifier {
        return Err(Unknown::OtherCluster(identity.system));
    }
    let theirs = WalPosition {
        lineage: source.lineage(identity.timeline, deadline)?,
        end: identity.flushed,
    };
    if !divergence::is_recorded(record, &theirs.lineage) {
        return Err(Unknown::Silent(format!(
            "the server at its address is on {}, which is not {}'s timeline",
            theirs.lineage, record.node
        )));
    }
    let misfit = divergence::by_history(local, &record.node, &theirs);
    // With more WAL than was found it may need less than it seems; once the server runs, the monitor looks again.
    if misfit.is_some() || !end.is_exact {
        return Ok(misfit);
    }
    let has_wal = source.has_wal(
        local.lineage.timeline,
        local.end,
        control.wal_segment_size,
        deadline,
    )?;
    let lacking = count_lacking(ctx, has_wal, local);
    if has_wal || divergence::may_come_from_an_archive(archive::is_there(ctx), lacking) {
        return Ok(None);
    }
    Ok(Some(Misfit::Lacking {
        local: local.clone(),
        primary: record.node.clone(),
    }))
}

/// Notes that the primary no longer has what comes next here, or that it does. How often in a row that was so, at this place. Where that can't be
/// noted it begins anew each time.
fn count_lacking(ctx: &Context<'_>, has_wal: bool, local: &WalPosition) -> u32 {
    let Ok(boot) = boot_clock() else { return 0 };
    let Ok(old) = State::load(ctx, boot.boot_id()) else {
        return 0;
    };
    let place = local.end.to_attribute();
    let before = old.lacking.as_ref().filter(|(_, at)| *at == place);
    let times = before.map_or(0, |(times, _)| *times).saturating_add(1);
    let mut state = old.clone();
    state.lacking = (!has_wal).then_some((times, place));
    if let Err(failure) = state.save(ctx, &old) {
        say!(
            WARN,
            "what the primary lacks could not be noted",
            reason = failure.text()
        );
    }
    state.lacking.map_or(0, |(times, _)| times)
}

/// The primary, as this node's standby reaches it.
pub(super) fn source(ctx: &Context<'_>) -> Step<Source> {
    let p = ctx.params;
    let text = service_text(&Primary {
        host: p.master_ip.as_deref().unwrap_or_default(),
        port: p.pgport,
        user: &p.repuser,
        passfile: p.passfile.as_deref(),
        more: p.primary_conninfo_opt.as_ref(),
        node: ctx.me.lower(),
    })
    .map_err(failed)?;
    let path = ctx.tmp(SERVICE_FILE);
    let source = Source::new(&ctx.programs(), &p.psql, path.clone());
    source
        .write(&ctx.owner, &text)
        .map_err(|e| failed(format!("{}: {e}", path.display())))?;
    Ok(source)
}

/// What is to be done about `misfit`.
pub(crate) fn plan_for(board: &Board<'_, '_>, misfit: &Misfit) -> Step<Result<Work, String>> {
    let ctx = board.ctx;
    let is_claimed = is_claimed(board, Some(misfit))?;
    Ok(match plan(misfit, ctx.params.on_divergence, is_claimed) {
        Plan::Repair(work) => Ok(work),
        Plan::Refuse(why) => Err(refusal(misfit, why)),
    })
}

/// Whether the cluster counts on what would be thrown away here.
pub(super) fn is_claimed(board: &Board<'_, '_>, misfit: Option<&Misfit>) -> Step<bool> {
    let ctx = board.ctx;
    let is_member = || Ok(board.claim()?.members.contains(ctx.me.lower()));
    if ctx.promise() != Promise::Sync || !is_member()? {
        return Ok(false);
    }
    if is_out!(ClaimedByName) {
        return Ok(true);
    }
    let (Some(misfit), Some(record)) = (misfit, others_record(board)?) else {
        return Ok(true);
    };
    let own = promotion_record::own_epoch(ctx)?;
    Ok(repair::is_counted_on(misfit, true, Some(&record))
        && !divergence::was_promoted_by_hand(misfit, &record, own))
}

/// Both positions, and the command that helps.
pub(super) fn refusal(misfit: &Misfit, why: Why) -> String {
    let program = std::env::current_exe();
    let program = program.map_or_else(|_| "expgsql".to_owned(), |path| path.display().to_string());
    repair::refusal(misfit, why, &program)
}
