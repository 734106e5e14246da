//! What is known of the standbys when the next step is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::membership::Partition;
use crate::decide::waited_for::Wishes;
use crate::model::claim::Claim;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::{self, StandbyName, SyncNames};

/// Everything the decision rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `synchronous_standby_names` as the running server has it.
    pub in_force: SyncNames,
    /// Every standby that may count: the other cluster nodes, and the outside ones.
    pub standbys: BTreeMap<StandbyName, Standby>,
    /// Who may be promoted, as the CIB has it.
    pub claim: Claim,
    /// Members of the claim whose own data status says otherwise: they were away, or do not believe
    /// their grant (R9).
    pub doubts: BTreeSet<StandbyName>,
    /// Standbys that are connected and do not answer.
    pub silent: BTreeSet<StandbyName>,
    /// Nodes under whose name somebody else is connected, whether they are themselves or not: what is confirmed under that name proves
    /// nothing about the node.
    pub impostors: BTreeSet<StandbyName>,
    pub lock: Lock,
    /// The cluster as corosync has it; `None` where it could not be read.
    pub partition: Option<Partition>,
    /// Each node whose own copy of the CIB was read after that, and who may be promoted by it. Nodes
    /// that gave no answer are not in it.
    pub copies: BTreeMap<StandbyName, BTreeSet<StandbyName>>,
    /// Revocations written to the CIB and confirmed, with what was seen then.
    pub revoked: BTreeMap<StandbyName, Revocation>,
    /// Standbys that an operator wants to be eligible, too (`RSC-wanted`). Never more than a preference.
    pub requested: BTreeSet<StandbyName>,
    /// Who is rather waited for, and who not.
    pub wishes: Wishes,
    pub options: Options,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// R10: commits never stop waiting.
    pub strict: bool,
    /// Two nodes without lock, fencing or quorum device: relax although nothing is certain.
    pub unsafe_relax: bool,
    /// Every streaming standby belongs to the contract (external_standby_node_list is set).
    pub everyone: bool,
    /// Whether the agent names those who must confirm, or PostgreSQL takes whoever is first (sync_method).
    pub method: sync_names::Method,
    /// How many must confirm, where there are as many (sync_num).
    pub count: usize,
}

/// The lock outside the cluster, as this call found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// None is configured, or one that only says who holds it.
    Unused,
    /// Mine, confirmed by this call; who else may take it, by its own record.
    Held { eligible: BTreeSet<StandbyName> },
    /// Every node was asked and none reaches it: nobody can take it either.
    Dead,
    /// Not known to be mine. Whoever holds it may be promoting.
    Unsure,
}

/// One standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    pub place: Place,
    /// Its row in `pg_stat_replication`; `None` where it is not connected.
    pub link: Option<Link>,
}

/// Where a standby runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node of the cluster: it can be promoted.
    Node {
        /// A member, by the CIB.
        present: bool,
        /// Down for certain, by the CIB: it was fenced or stopped in order, and fencing is enabled.
        fenced: bool,
    },
    /// Not a node of the cluster: it is never promoted, so nothing need be revoked.
    Outside,
}

/// A row of `pg_stat_replication`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub state: SenderState,
    pub sync: SyncState,
    /// It has flushed what the primary had flushed a moment ago. One that streams, but far behind,
    /// or on a timeline that was left, would let commits wait for as long.
    pub keeps_up: bool,
    /// It has flushed everything acknowledged before the contract with it was in force (R2).
    pub caught_up: bool,
}

/// A revocation that the CIB took.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    /// Time since the machine started.
    pub at: Duration,
    /// The ring it was made in.
    pub ring: String,
}
