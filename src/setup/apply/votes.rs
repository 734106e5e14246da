//! What corosync counts by.

use crate::cluster::{Exit, Failure};
use crate::pacemaker::quorum;
use crate::sys::Deadline;

/// What corosync counts by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Votes {
    pub(super) has_device: bool,
    /// Two votes, of which each has quorum without the other (`two_node`).
    pub(super) is_two_node: bool,
}

impl Votes {
    /// Asks the corosync of this node: what is not known is not taken for "none".
    pub(super) fn read(deadline: Deadline) -> Result<Self, Failure> {
        let seen = quorum::read(deadline).map_err(|error| {
            let what =
                format!("nothing was done: which no-quorum-policy is right is not known: {error}");
            Failure::new(Exit::Unreachable, what)
        })?;
        Ok(Self {
            has_device: seen.has_device,
            is_two_node: seen.two_node,
        })
    }
}
