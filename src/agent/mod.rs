//! The agent: what Pacemaker calls, and what it leaves behind for a while.
//!
//! The rooms from the top down: the actions, a standby's repair, the contract with the standbys, this node as a standby, what is kept where the
//! cluster sees it, this machine's server. Each knows those below it, and none above.

mod actions;
mod context;
mod contract;
mod launched;
mod membership;
mod repair;
mod server;
mod standby;
mod state;
mod step;

use crate::model::repair::Work;
use crate::ocf::{Action, OcfCode, OcfEnv, Outcome};
use crate::params::{Params, RepMode};

use actions::{deep, demote, monitor, notify, promote, reload, start, stop, validate};
use context::Context;
use server::{follow, own_dir, storage};
use step::Step;

pub(crate) use membership::watched::begin_lost_monitors;
pub(crate) use repair::by_hand;
pub(crate) use server::own_dir::settled;
pub(crate) use state::memory;

/// Carries out an action. The parameters have been checked for what can be seen in them alone.
#[must_use]
pub(crate) fn dispatch(action: Action, env: &OcfEnv, params: &Params) -> Outcome {
    let params = &own_dir::settled(params, &env.resource);
    let ctx = match Context::new(env, params) {
        Ok(ctx) => ctx,
        Err(failure) => return without_account(action, params, failure),
    };
    let result = match action {
        Action::Start => start::start(&ctx),
        Action::Stop => stop::stop(&ctx),
        Action::Status | Action::Monitor => {
            monitor::monitor(&ctx).and_then(|plain| deep::deepen(&ctx, plain))
        }
        Action::Promote => promotable(params).and_then(|()| promote::promote(&ctx)),
        Action::Demote => promotable(params).and_then(|()| demote::demote(&ctx)),
        Action::Notify => notify::notify(&ctx),
        Action::ReloadAgent => reload::reload(&ctx),
        Action::ValidateAll => validate::validate(&ctx)
            .and_then(|()| validate::advise(&ctx))
            .map(|()| Outcome::of(OcfCode::Success)),
        // These need nothing of this machine and were answered before.
        Action::MetaData | Action::Methods | Action::Usage => Ok(Outcome::of(OcfCode::Success)),
    };
    result.unwrap_or_else(|failure| failure)
}

/// The process that [`Action::Notify`] leaves behind after a promotion elsewhere.
pub(crate) fn follow_primary(env: &OcfEnv, params: &Params, old_receiver: Option<i32>) -> Outcome {
    let params = &own_dir::settled(params, &env.resource);
    let result = Context::new(env, params).and_then(|ctx| follow::follow(&ctx, old_receiver));
    result.map_or_else(|failure| failure, |()| Outcome::of(OcfCode::Success))
}

/// The process that a deep monitor has write to the server's storage.
pub(crate) fn try_storage(env: &OcfEnv, params: &Params) -> Outcome {
    let result = Context::new(env, params).and_then(|ctx| storage::try_all(&ctx));
    result.unwrap_or_else(|failure| failure)
}

/// The process that a start leaves behind where this node's data have to be repaired.
pub(crate) fn repair_standby(env: &OcfEnv, params: &Params, work: Work) -> Outcome {
    let params = &own_dir::settled(params, &env.resource);
    repair::in_background(env, params, work)
}

/// promote and demote exist only where there is something to promote. Code 3, not 6: a plain
/// resource is a proper configuration, and ocf-tester asks just this way.
fn promotable(params: &Params) -> Step<()> {
    match params.rep_mode {
        RepMode::Async | RepMode::Sync => Ok(()),
        RepMode::None | RepMode::Slave => Err(Outcome::because(
            OcfCode::ErrUnimplemented,
            format!(
                "rep_mode={} has nothing to promote or demote; set rep_mode=async or sync on a promotable clone",
                params.rep_mode
            ),
        )),
    }
}

/// Without the account that pgdba names nothing can run; but a server that does is not denied.
fn without_account(action: Action, params: &Params, failure: Outcome) -> Outcome {
    use crate::postgres::process::{Postmaster, postmaster};
    if !matches!(postmaster(&params.pgdata), Ok(Postmaster::Stopped)) {
        return failure;
    }
    if action == Action::Stop {
        Outcome::of(OcfCode::Success)
    } else if matches!(action, Action::Monitor | Action::Status) {
        Outcome {
            code: OcfCode::NotRunning,
            ..failure
        }
    } else {
        failure
    }
}
