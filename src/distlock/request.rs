//! What a lock service is asked, as one node hands it to another.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::lock::{Renewal, Taken};

/// What to ask the service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Take(Take),
    Renew {
        owner: String,
        epoch: u64,
        ttl: Duration,
    },
    SetEligible {
        owner: String,
        epoch: u64,
        eligible: BTreeSet<String>,
        reports: usize,
        ttl: Duration,
    },
}

/// What it said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Taken(Taken),
    Renewal(Renewal),
}

/// A question and everything needed to ask it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) conninfo: String,
    pub(super) lock: String,
    pub(super) passfile: Option<PathBuf>,
    pub(super) limit: Duration,
    pub(super) question: Question,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("lock", &self.lock)
            .field("question", &self.question)
            .finish_non_exhaustive()
    }
}

/// The wish to have a lock. Owners and nodes are compared as they are: give them in lower case where the cluster
/// does not distinguish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// `RSC_NODE`.
    pub owner: String,
    /// This node, as it stands in the eligible set.
    pub node: String,
    /// `RSC_NODE` of each node of this cluster. Another owner, expired or not, means that another cluster uses the
    /// row.
    pub known_owners: BTreeSet<String>,
    /// PostgreSQL's system identifier of this cluster.
    pub system: String,
    /// Nodes whose reports of this promotion the promoter holds, itself included.
    pub seen: BTreeSet<String>,
    /// Nodes that stay eligible when the lock was this node's all along. A new owner is the only eligible node.
    pub keep: BTreeSet<String>,
    /// Ask the eligible set. False where none is kept (async): it is cleared then.
    pub needs_eligibility: bool,
    /// The epoch becomes this at least, and grows by one at least where the owner changes.
    pub min_epoch: u64,
    /// How long the lease lasts.
    pub ttl: Duration,
    /// How long to wait for a lock that is held.
    pub patience: Duration,
}
