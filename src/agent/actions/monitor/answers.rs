//! Answers of a monitor that more than one part of it gives.

use crate::model::cluster_view::knows_degraded;
use crate::ocf::{OcfCode, Outcome};

use crate::agent::context::Context;
use crate::agent::server::ending;
use crate::agent::step::{Step, failed};

/// The answer about a server that goes on as what it is, no primary of the cluster's, although something is wrong that people have
/// to know of. Only the code is plain for a probe, a person who asks, and where nobody says that Pacemaker knows the other one.
pub(crate) fn kept(ctx: &Context<'_>, reason: impl ToString) -> Outcome {
    let is_known = ctx.env.feature_set.as_deref().is_some_and(knows_degraded);
    let code = if is_known && !ctx.env.is_probe() {
        OcfCode::Degraded
    } else {
        OcfCode::Success
    };
    Outcome::because(code, reason)
}

pub(crate) fn promoted_slave() -> Outcome {
    failed(
        "the server was promoted although rep_mode=slave; rebuild it as a standby, or change rep_mode",
    )
}

/// R4: not one more commit is acknowledged; Pacemaker does the rest.
pub(crate) fn step_down(ctx: &Context<'_>, reason: impl std::fmt::Display) -> Step<Outcome> {
    ending::step_down(ctx)?;
    Ok(Outcome::because(
        OcfCode::FailedPromoted,
        reason.to_string(),
    ))
}
