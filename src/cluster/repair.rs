//! `cluster rewind`, `cluster rebuild`, `cluster repair`: this node's data are made to follow the primary again.

use super::{Failure, RepairArgs};

/// What is tried, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Rewind,
    Rebuild,
    RewindOrRebuild,
}

/// Repairs this node.
///
/// # Errors
/// [`Failure`] with the sentence for the operator.
pub(super) fn repair(_strategy: Strategy, _args: &RepairArgs) -> Result<(), Failure> {
    Err(Failure::plain("not built in yet"))
}
