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

use crate::log::say;
use crate::model::repair::Work;
use crate::ocf::{Action, OcfCode, OcfEnv, Outcome};
use crate::params::{ParamError, Params, RepMode};

use actions::{deep, demote, monitor, notify, promote, reload, start, stop, validate};
use context::Context;
use membership::told;
use server::{follow, own_dir, storage};
use step::Step;

pub(crate) use membership::watched::begin_lost_monitors;
pub(crate) use repair::by_hand;
pub(crate) use server::own_dir::settled;
pub(crate) use state::memory;

/// Carries out an action. The parameters have been checked for what can be seen in them alone; `problem` is what was found, where the action
/// goes on with those that can be read.
#[must_use]
pub(crate) fn dispatch(
    action: Action,
    env: &OcfEnv,
    params: &Params,
    problem: Option<&ParamError>,
) -> Outcome {
    if let Some(problem) = problem {
        say!(
            WARN,
            "going on with the parameters that can be read",
            action = action,
            problem = problem
        );
    }
    let params = &own_dir::settled(params, &env.resource);
    let ctx = match Context::new(env, params) {
        Ok(ctx) => ctx,
        Err(failure) => return without_account(action, params, failure),
    };
    let result = match action {
        Action::Start => start::start(&ctx),
        Action::Stop => stop::stop(&ctx),
        Action::Status => watched(&ctx),
        Action::Monitor if env.is_probe() => watched(&ctx),
        Action::Monitor => watched(&ctx).map(|outcome| {
            let outcome = problem.map_or(outcome.clone(), |problem| despite(problem, outcome));
            if ctx.is_promotable() {
                told::told(&ctx, outcome)
            } else {
                outcome
            }
        }),
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

fn watched(ctx: &Context<'_>) -> Step<Outcome> {
    monitor::monitor(ctx).and_then(|plain| deep::deepen(ctx, plain))
}

/// A recurring monitor's outcome that went on in spite of `problem`. It is the one that tells people: its "degraded" answers are listed in crm_mon
/// with their reason, and Pacemaker recovers nothing. What the action itself has to say matters more.
fn despite(problem: &ParamError, outcome: Outcome) -> Outcome {
    if outcome.code.degraded() == outcome.code {
        return outcome;
    }
    Outcome {
        code: outcome.code.degraded(),
        reason: outcome.reason.or_else(|| Some(problem.to_string())),
    }
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

#[cfg(test)]
mod tests {
    use super::despite;
    use crate::ocf::{OcfCode, Outcome, Vars};
    use crate::params::Params;

    #[test]
    fn a_recurring_monitor_with_a_bad_parameter_is_degraded_and_says_why() {
        let vars = Vars::new([("OCF_RESKEY_maxlag", "much")]);
        let problems = Params::resolve(&vars).problems;
        let cases = [
            (Outcome::of(OcfCode::Success), OcfCode::Degraded, "maxlag"),
            (
                Outcome::of(OcfCode::RunningPromoted),
                OcfCode::DegradedPromoted,
                "maxlag",
            ),
            (
                Outcome::because(OcfCode::Degraded, "held"),
                OcfCode::Degraded,
                "held",
            ),
            (
                Outcome::because(OcfCode::NotRunning, "stopped"),
                OcfCode::NotRunning,
                "stopped",
            ),
            (
                Outcome::because(OcfCode::ErrGeneric, "hung"),
                OcfCode::ErrGeneric,
                "hung",
            ),
        ];
        for (outcome, code, says) in cases {
            let told = despite(&problems[0], outcome);
            assert_eq!(told.code, code);
            assert!(told.reason.unwrap_or_default().contains(says), "{code:?}");
        }
    }
}
