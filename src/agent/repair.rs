//! Repair of a node that cannot follow the primary.

use crate::model::repair::{Journal, Work};
use crate::ocf::{OcfCode, OcfEnv, Outcome};
use crate::params::Params;

use super::context::Context;

/// Does the whole work in this process, for an operator: stops a standby that runs, repairs it, starts it again.
pub(crate) fn by_hand(
    _env: &OcfEnv,
    _params: &Params,
    work: Work,
    tell: &mut dyn FnMut(&Journal),
) -> Outcome {
    tell(&Journal::new(work));
    Outcome::because(OcfCode::ErrUnimplemented, "not built in yet")
}

/// The work of the process that a start leaves behind.
pub(super) fn worker(_ctx: &Context<'_>, _work: Work) -> Outcome {
    Outcome::because(OcfCode::ErrUnimplemented, "not built in yet")
}
