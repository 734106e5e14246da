//! Where an outage goes: the logs of corosync, Pacemaker and PostgreSQL, and the client's record, taken apart into phases.
//!
//! All hosts of a lab have the machine's clock, so that times of different logs are compared as they are. What a log does not say
//! stays unknown: it is never taken for nought.
//!
//! Nothing here runs anything: [`lines`] reads lines, [`split`] makes phases of them, [`summary`] takes medians, [`draw`] shows
//! them.

pub mod draw;
pub mod lines;
pub mod split;
pub mod summary;

use std::fmt;

/// What an outage is taken apart into, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Until somebody notices: a monitor's interval, or corosync's token.
    Detect,
    /// Until corosync has a membership without the lost node.
    Membership,
    /// Until a coordinator begins to plan.
    Coordinator,
    /// Nobody does anything that the outage would end by.
    Wait,
    /// The scheduler plans, and the plan is read.
    Schedule,
    /// Notifications around the others' steps.
    Notify,
    /// The old primary is demoted, it and its address are stopped.
    Stop,
    /// A server is started.
    Start,
    /// A server is promoted.
    Promote,
    /// The writer's address comes up.
    Address,
    /// All is in its place, until the client's first acknowledged write.
    FirstWrite,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 11] = [
        Self::Detect,
        Self::Membership,
        Self::Coordinator,
        Self::Wait,
        Self::Schedule,
        Self::Notify,
        Self::Stop,
        Self::Start,
        Self::Promote,
        Self::Address,
        Self::FirstWrite,
    ];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Membership => "membership",
            Self::Coordinator => "coordinator",
            Self::Wait => "wait",
            Self::Schedule => "schedule",
            Self::Notify => "notify",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Promote => "promote",
            Self::Address => "address",
            Self::FirstWrite => "first write",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A point of time: milliseconds since 1970, by the machine's clock.
pub type Millis = i64;

/// What a fault has to bring about; where the logs do not show it, something was not found, which is not the same as that it took no
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// A node is lost: corosync has to form a new membership.
    pub membership: bool,
    /// A server has to be promoted.
    pub promotion: bool,
}
