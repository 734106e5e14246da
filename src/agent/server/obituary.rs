//! Why a server that was started has ended: in its own words, from wherever they are.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::log::say;
use crate::postgres::control;
use crate::postgres::last_words::Mark;
use crate::postgres::owner::as_owner;
use crate::postgres::process::Postmaster;
use crate::postgres::server::{self, Launch};
use crate::sys::{boot_clock, poll_until};
use crate::timing;

use crate::agent::context::Context;
use crate::agent::launched::Launched;
use crate::agent::server::ending;
use crate::agent::state::State;
use crate::agent::step::failed;

/// How long the second start may take that is only made to hear why the first has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// What is left for everything else then.
const REST: Duration = Duration::from_secs(10);

/// The last ones among the server's options count, and come before every file.
const HEARD: &str = " -c lc_messages=C -c log_destination=stderr -c log_min_messages=warning";

const ENDED: &str = "the server does not start";

/// To be called before each start.
pub(crate) fn remember(ctx: &Context<'_>, launch: &Launch) {
    let launched = Launched {
        launch: launch.clone(),
        mark: Mark::now(&launch.logfile, &ctx.owner),
    };
    note(ctx, &launched.mark);
    ctx.launched.replace(Some(launched));
}

/// For the monitors of that server. Where it can't be noted, they say less.
fn note(ctx: &Context<'_>, mark: &Mark) {
    if !ctx.params.rep_mode.is_replicated() {
        return;
    }
    let noted = boot_clock().map_err(failed).and_then(|boot| {
        let old = State::load(ctx, boot.boot_id())?;
        let mut state = old.clone();
        state.started = Some(mark.clone());
        // What the primary said to the one before is not said to this one.
        state.refusal = None;
        state.let_in = 0;
        state.save(ctx, &old)
    });
    if let Err(failure) = noted {
        say!(INFO, "the start is not noted", reason = failure.text());
    }
}

/// Why a server has ended by itself that was started by an earlier call in this boot. `None`: somebody has stopped it in order.
pub(crate) fn of_one_that_ran(ctx: &Context<'_>) -> Option<String> {
    // A main process that ends in whatever way of its own removes that.
    if ctx.pgdata().join("postmaster.pid").exists() {
        return Some(
            "its main process ended without a word, as by SIGKILL: see the kernel's log".to_owned(),
        );
    }
    let mark = boot_clock().ok().and_then(|boot| {
        let state = State::load(ctx, boot.boot_id()).ok()?;
        state.started
    });
    let words = mark.and_then(|mark| mark.own_end(ctx.pgdata(), &ctx.owner));
    words.or_else(|| disorder(ctx))
}

/// What the control file has of an end that nothing else tells of.
fn disorder(ctx: &Context<'_>) -> Option<String> {
    let deadline = ctx.deadline.min(timing::LAUNCH);
    let control = control::read(&ctx.programs(), ctx.pgdata(), deadline).ok()?;
    (!control.state.is_orderly()).then(|| {
        format!(
            "it was not shut down in order, its control file says {}: an immediate shutdown, or a crash with restart_after_crash=off; its log says more",
            control.state
        )
    })
}

/// The words of a server that has ended, where they are in its logs already.
pub(crate) fn known(ctx: &Context<'_>) -> Option<String> {
    let launched = ctx.launched.borrow().clone()?;
    let words = launched.mark.last_words(ctx.pgdata(), &ctx.owner)?;
    Some(format!("{ENDED}: {words}"))
}

/// Why a server has ended. Where nothing that is kept says it, since its output is thrown away, goes to syslog, or has less in it than that,
/// it is started once more to hear it.
pub(crate) fn of(ctx: &Context<'_>) -> String {
    if let Some(words) = known(ctx) {
        return words;
    }
    let launched = ctx.launched.borrow().clone();
    let mut heard = None;
    if let Some(launched) = launched {
        if is_harmless(ctx) && ctx.deadline.remaining() > AGAIN + REST {
            heard = again(ctx, &launched.launch);
        }
        heard = heard.or_else(|| launched.mark.other_words(ctx.pgdata(), &ctx.owner));
    }
    match heard {
        Some(words) => format!("{ENDED}: {words}"),
        None => format!(
            "the server ended while it was starting, and its log says why: {}",
            ctx.params.logfile.display()
        ),
    }
}

/// Whether nobody is served what is lost afterwards, should the server come up this time. A primary of a cluster would take writes, with its lease
/// looked after by nobody.
fn is_harmless(ctx: &Context<'_>) -> bool {
    let is_standby = ctx.pgdata().join("standby.signal").try_exists();
    !ctx.is_promotable() || is_standby.unwrap_or(false)
}

/// Starts the server with its output in a file of its own, which is gone afterwards. One that comes up this time is stopped again, as
/// it would go on to write into that.
fn again(ctx: &Context<'_>, launch: &Launch) -> Option<String> {
    let made = as_owner(&ctx.owner, || {
        let file = tempfile::Builder::new()
            .prefix(".expgsql-start-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile();
        file.map(tempfile::NamedTempFile::into_temp_path)
    });
    let file = made.ok()?.ok()?;
    let mut launch = launch.clone();
    launch.logfile = file.to_path_buf();
    // Where the settings say so, the words are in another language, somewhere else, or left out.
    launch.start_opt.push_str(HEARD);
    let mark = Mark::now(&launch.logfile, &ctx.owner);
    say!(
        INFO,
        "the server ended while it was starting, and nothing that is kept says why: starting it once more to hear it"
    );
    let limit = ctx.deadline.min(AGAIN);
    let mut words = None;
    if server::launch(&ctx.programs(), &launch, limit).is_ok() {
        words = poll_until(limit, timing::READY_POLL, || {
            let is_gone = ctx.postmaster() == Ok(Postmaster::Stopped);
            is_gone.then(|| mark.last_words(ctx.pgdata(), &ctx.owner))?
        });
        // Of a program that could not become a server it is not known earlier that no more will come.
        let is_gone = ctx.postmaster() == Ok(Postmaster::Stopped);
        if words.is_none() && is_gone {
            words = mark.other_words(ctx.pgdata(), &ctx.owner);
        }
        if let Err(failure) = ending::stop_server(ctx) {
            say!(WARN, "not stopped again", reason = failure.text());
        }
    }
    let removed = as_owner(&ctx.owner, || file.close());
    if let Ok(Err(error)) = removed {
        say!(WARN, "a file is left behind", reason = error);
    }
    words
}
