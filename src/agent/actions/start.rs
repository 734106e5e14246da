//! start: always as a standby where there is a primary to promote; R6 first.

use crate::decide::eligibility::Promise;
use crate::log::say;
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::process::Postmaster;

use crate::agent::actions::{stop, validate};
use crate::agent::context::Context;
use crate::agent::membership::attempt;
use crate::agent::membership::board::Board;
use crate::agent::repair;
use crate::agent::server::answering::Server;
use crate::agent::server::ready::{self, Up};
use crate::agent::server::recovery_conf::Follow;
use crate::agent::server::{by_files, ending, launch, make_places, prepare, rep_mode_conf};
use crate::agent::standby::announce::announce;
use crate::agent::standby::bar;
use crate::agent::standby::bring_up::{not_let_in, patience};
use crate::agent::step::{Step, failed};

pub(crate) fn start(ctx: &Context<'_>) -> Step<Outcome> {
    if ctx.is_promotable() {
        if repair::goes_on(ctx)? {
            say!(INFO, "this node's data are being repaired already");
            repair::attend(ctx)?;
            return Ok(Outcome::of(OcfCode::Success));
        }
        repair::tidy(ctx)?;
    }
    validate::validate(ctx)?;
    match ctx.params.rep_mode {
        RepMode::None => start_plain(ctx),
        RepMode::Slave => start_follower(ctx),
        RepMode::Async | RepMode::Sync => start_standby(ctx).inspect_err(|_| {
            // The stop that came before may have left this to the start.
            let _ = stop::tell(ctx);
        }),
    }?;
    Ok(Outcome::of(OcfCode::Success))
}

fn start_plain(ctx: &Context<'_>) -> Step<()> {
    if ctx.postmaster()? == Postmaster::Stopped {
        make_places::prepare_places(ctx)?;
        rep_mode_conf::retire_contract(ctx)?;
        launch::launch(ctx)?;
    }
    come_up_alone(ctx, "ready").map(drop)
}

/// Success means that the server serves, and nobody waits for this start but who needs the server. So it waits as long as it may; but
/// to fail then would be to throw the recovery away, and the next start would have no more time for it.
fn come_up_alone(ctx: &Context<'_>, what: &str) -> Step<Option<Server>> {
    match ready::come_up(ctx, what, ctx.deadline.remaining())? {
        Up::Answers(server) => Ok(Some(*server)),
        Up::Recovers => {
            say!(
                WARN,
                "the server still replays its WAL, and takes no connections until that is done; the start's timeout is shorter than that"
            );
            Ok(None)
        }
        Up::Refuses(reason) => {
            not_let_in(&reason);
            Ok(None)
        }
    }
}

/// rep_mode=slave: a standby of a primary that this cluster does not manage.
fn start_follower(ctx: &Context<'_>) -> Step<()> {
    if ctx.postmaster()? == Postmaster::Stopped {
        rep_mode_conf::retire_contract(ctx)?;
        prepare::prepare(ctx, None, Follow::outside(ctx))?;
        launch::launch_as_standby(ctx)?;
    }
    match come_up_alone(ctx, "a standby")? {
        Some(server) if !server.state.in_recovery => Err(is_primary_already()),
        Some(_) | None => Ok(()),
    }
}

fn is_primary_already() -> Outcome {
    failed(
        "the server runs as a primary although rep_mode=slave: it was promoted by hand; rebuild it as a standby, or change rep_mode",
    )
}

fn start_standby(ctx: &Context<'_>) -> Step<()> {
    let board = Board::read(ctx)?;
    make_places::first_place(ctx)?;
    if ctx.promise() == Promise::Sync {
        attempt::arrive(&board)?;
    }
    match already_running(ctx)? {
        Some(Up::Answers(running)) => return announce(&board, *running),
        Some(Up::Recovers) => {
            bar::goes_on(&board);
            return Ok(());
        }
        Some(Up::Refuses(reason)) => {
            not_let_in(&reason);
            bar::bar(&board);
            return Ok(());
        }
        None => {}
    }
    match repair::come_up(&board)? {
        Some(server) => announce(&board, server),
        None => Ok(()),
    }
}

/// A standby that runs is left running. A primary that Pacemaker does not know of is stopped and
/// comes back as a standby: it was never promoted by the cluster.
fn already_running(ctx: &Context<'_>) -> Step<Option<Up>> {
    if ctx.postmaster()? == Postmaster::Stopped {
        return Ok(None);
    }
    let server = match ready::come_up(ctx, "ready", patience(ctx))? {
        Up::Answers(server) => server,
        Up::Recovers => return Ok(Some(Up::Recovers)),
        Up::Refuses(reason) if by_files::is_standby(ctx)? => return Ok(Some(Up::Refuses(reason))),
        Up::Refuses(_) => return restart_as_standby(ctx),
    };
    if server.state.in_recovery {
        return Ok(Some(Up::Answers(server)));
    }
    drop(server);
    restart_as_standby(ctx)
}

fn restart_as_standby(ctx: &Context<'_>) -> Step<Option<Up>> {
    say!(
        WARN,
        "the server runs as a primary that the cluster did not promote: it is stopped and started as a standby"
    );
    ending::stop_server(ctx)?;
    Ok(None)
}
