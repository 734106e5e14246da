//! One node: its server, its agent's call in progress, what that leaves for the next, and its copy of the CIB.

use super::cib::{Content, Replica};
use super::nodes::{Id, MAX, Set};
use super::rule::Rule;
use super::wal::{Commits, Wal};
use expgsql::decide::promote::Method;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Server {
    Down,
    /// A standby, and whom it receives from.
    Standby(Option<Id>),
    Primary,
}

/// A note of a revocation (`Revocation`). One of another ring is worth nothing and left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Note {
    None,
    /// Made in the present ring.
    Made,
    /// The settle time has passed since, in the same ring.
    Settled,
}

/// The state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    /// The epoch of the lock when this node took it.
    pub(crate) lock_epoch: u8,
    /// What the call in progress has learnt of the lock.
    pub(crate) lock: super::lock::Seen,
    pub(crate) epoch: u8,
    pub(crate) notes: [Note; MAX],
    /// The contract that was in force, and the position taken then.
    pub(crate) barrier: Option<(Rule, u8)>,
    /// R8: it has stopped receiving from the primary of this epoch.
    pub(crate) detached: Option<u8>,
    /// The number of its last record of the contract.
    pub(crate) seq: u8,
    /// R9: the version of the record that is not believed.
    pub(crate) distrust: Option<(u8, u8)>,
}

/// A statement, as its node's attrd has it (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stated {
    pub(crate) epoch: u8,
    pub(crate) is_witness: bool,
    pub(crate) wal: Wal,
}

impl Memory {
    pub(crate) fn forget_ring(&mut self) {
        self.notes = [Note::None; MAX];
    }
}

/// A call of the agent, between two of its steps. What it has read may be old by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    Idle,
    /// monitor: the record is to be corrected to this, and the own data status.
    Correct {
        seen: Content,
        record: super::cib::Record,
    },
    /// monitor: another was promoted since.
    Quit,
    /// monitor: the board is read, the server is to be looked at.
    Look {
        seen: Content,
        present: Set,
        quorate: bool,
    },
    /// monitor: a promotion was prepared that did not come about; a new epoch is to begin.
    Outlive {
        seen: Content,
        quorate: bool,
    },
    /// A standby's monitor, or the notification ahead of a promotion: it is to stop receiving, and to
    /// state how far it is.
    State {
        seen: Content,
        quorate: bool,
    },
    /// A standby's monitor: its grant is to be taken back (R9).
    Void {
        seen: Content,
    },
    /// A standby's monitor: it is to follow a later primary.
    Attach,
    /// monitor: a step is decided.
    Apply {
        seen: Content,
        present: Set,
        quorate: bool,
        step: Step,
        /// What the facts said about this node's partition, where it was asked.
        partition: Option<Believed>,
    },
    /// promote: the board is read, statements are to be compared.
    Ask {
        seen: Content,
        quorate: bool,
    },
    /// promote: decided to go ahead.
    Promote {
        seen: Content,
        method: Method2,
    },
    /// promote: quorum is read, the record is to be written.
    TakeOver {
        seen: Content,
        method: Method2,
        partition: Believed,
    },
    /// promote: the record is written; a majority of copies must have it.
    Confirm {
        record: super::cib::Record,
        revoked: Set,
        partition: Believed,
    },
    /// promote: a majority has the record; admin_epoch is to be raised.
    Raise {
        record: super::cib::Record,
        revoked: Set,
        partition: Believed,
    },
    /// promote: the record is written, the server is to be promoted.
    Server {
        method: Method2,
    },
    /// promote: it takes writes; the rest of the record is to be written.
    Finish {
        seen: Content,
    },
}

/// What corosync said a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Believed {
    pub(crate) quorate: bool,
    /// The ring is still the same.
    pub(crate) holds: bool,
}

/// A step of `decide::contract`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Revoke(Set),
    Contract(Rule),
    /// The new record, and whom it grants.
    Grant(Set, Set),
    /// Nothing to decide; the marks of the others are to be written.
    Marks,
}

/// `Method`, which cannot be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method2 {
    NewTimeline,
    SameTimeline,
}

impl From<Method> for Method2 {
    fn from(method: Method) -> Self {
        match method {
            Method::NewTimeline => Self::NewTimeline,
            Method::SameTimeline => Self::SameTimeline,
        }
    }
}

impl From<Method2> for Method {
    fn from(method: Method2) -> Self {
        match method {
            Method2::NewTimeline => Self::NewTimeline,
            Method2::SameTimeline => Self::SameTimeline,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// The machine runs, and corosync and Pacemaker on it.
    pub(crate) is_up: bool,
    /// Its ring, as it believes.
    pub(crate) view: Set,
    /// Two nodes: it has seen the other since it started (`wait_for_all`).
    pub(crate) has_met_all: bool,
    pub(crate) cib: Replica,
    pub(crate) server: Server,
    pub(crate) wal: Wal,
    /// The contract as it is configured, and as every session shows it.
    pub(crate) configured: Rule,
    /// The contract that commits wait by. It follows the configured one some time later: each process
    /// reads the configuration by itself, and whether to wait at all is told by the checkpointer.
    pub(crate) in_force: Rule,
    /// The promotion whose primary a standby receives from, by its ticket; `None`: from nobody (R8).
    pub(crate) follows: Option<(Id, u8)>,
    pub(crate) stated: Option<Stated>,
    /// Commits whose clients wait for an answer.
    pub(crate) pending: Commits,
    pub(crate) task: Task,
    pub(crate) memory: Memory,
}

impl Node {
    pub(crate) fn is_primary(&self) -> bool {
        self.server == Server::Primary
    }

    pub(crate) fn is_standby(&self) -> bool {
        matches!(self.server, Server::Standby(_))
    }

    /// The server has gone; who waited for an answer gets none.
    pub(crate) fn stop_server(&mut self) {
        self.server = Server::Down;
        self.pending = 0;
        self.configured = Rule::NOBODY;
        self.in_force = Rule::NOBODY;
    }

    /// A new ring.
    pub(crate) fn join(&mut self, ring: Set) {
        self.view = ring;
        self.cib.heard = 0;
        self.memory.forget_ring();
        match &mut self.task {
            Task::Apply {
                partition: Some(partition),
                ..
            }
            | Task::TakeOver { partition, .. }
            | Task::Confirm { partition, .. }
            | Task::Raise { partition, .. } => partition.holds = false,
            Task::Idle
            | Task::Correct { .. }
            | Task::Quit
            | Task::Look { .. }
            | Task::Outlive { .. }
            | Task::State { .. }
            | Task::Void { .. }
            | Task::Attach
            | Task::Ask { .. }
            | Task::Apply { .. }
            | Task::Promote { .. }
            | Task::Server { .. }
            | Task::Finish { .. } => {}
        }
    }
}
