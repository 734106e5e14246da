//! What to do next, and why commits go on to wait.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::model::sync_names::{StandbyName, SyncNames};

/// One thing to do; in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Record in the CIB that these may not be promoted, and remember when.
    Revoke(BTreeSet<StandbyName>),
    /// Put this contract in force.
    Contract(SyncNames),
    /// Record in the CIB that these may be promoted.
    Grant(BTreeSet<StandbyName>),
    /// Commits go on waiting.
    Hold(Hold),
}

impl Step {
    /// Whether it may be another step when the copies of the CIB have been read.
    #[must_use]
    pub fn asks_for_copies(&self) -> bool {
        matches!(
            self,
            Self::Hold(Hold::Settling { .. } | Hold::NotSpread { .. })
        )
    }
}

/// Why commits go on waiting for a standby that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// R10.
    Strict,
    /// The partition could not be read.
    Unknown,
    /// Too early to be sure of quorum and membership.
    Settling {
        standby: StandbyName,
        remaining: Duration,
    },
    /// The settle time is over, and whoever has to know of the revocation has not been seen to have it.
    NotSpread { standby: StandbyName },
    /// corosync's timing could not be read, so nobody knows when it is early.
    NoSettleTime,
    /// Somebody else may be promoting right now.
    NoQuorum,
    /// The standby is out of reach, and nothing keeps the other side from promoting it.
    NoArbiter { standby: StandbyName },
    /// The standby's node is down, and would be promoted if it started alone.
    StartsAlone { standby: StandbyName },
    /// The lock may be somebody else's by now.
    LockUnsure,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("no standby streams, and sync_strict=true: commits wait"),
            Self::Unknown => f.write_str("corosync's state could not be read: commits go on waiting"),
            Self::Settling { standby, remaining } => {
                write!(f, "{standby} does not stream; quorum must hold for {:.1} s more before commits stop waiting for it", remaining.as_secs_f32())
            }
            Self::NotSpread { standby } => {
                write!(f, "{standby} does not stream, and that it may not be promoted is in neither its own copy of the CIB nor those of a majority yet: commits go on waiting (what the nodes send each other is lost, or Pacemaker does not run or hangs on one)")
            }
            Self::NoSettleTime => f.write_str("corosync's timing could not be read (set settle_time): commits go on waiting"),
            Self::NoQuorum => f.write_str("this node's partition has no quorum, another may be promoting: commits go on waiting"),
            Self::NoArbiter { standby } => {
                write!(f, "{standby} is out of reach, and with two votes neither side can prove it is alone: commits go on waiting (add a lock service, a third vote, a quorum device or fencing, or set unsafe_relax=true)")
            }
            Self::StartsAlone { standby } => {
                write!(f, "{standby}'s node is down, but if it starts while this node is off it acts alone, and by its own CIB it may be promoted: commits go on waiting (remove wait_for_all: 0 from corosync.conf and set no-quorum-policy=stop, or add a lock service, a third vote or a quorum device)")
            }
            Self::LockUnsure => f.write_str("the lock could not be renewed, another node may have taken it: commits go on waiting"),
        }
    }
}
