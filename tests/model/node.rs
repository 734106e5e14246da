//! One node: its server, its agent's call in progress, what that leaves for the next, and its copy of the CIB.

use super::cib::{Change, Content, Replica};
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
    pub(crate) r9: Notes,
}

/// Corosync's ring id: its lowest member, and a number that counts on.
pub(crate) type Ring = (Id, u8);

/// The version of a record of the contract.
pub(crate) type Version = (u8, u8);

/// R9: what is noted of what is not to be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Notes {
    pub(crate) distrust: Option<Version>,
    /// A promotion of this node that is about to raise admin_epoch: by which record, and the ring.
    pub(crate) attempt: Option<(Version, Ring)>,
    /// Where it was outside, and the admin_epoch that its CIB had.
    pub(crate) outside: Option<(Ring, u8)>,
}

/// A promotion whose record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Announced {
    pub(crate) record: super::cib::Record,
    /// As it was read before that.
    pub(crate) sync: super::cib::Sync,
    pub(crate) revoked: Set,
    pub(crate) partition: Believed,
    /// The admin_epoch that a majority must have.
    pub(crate) weight: u8,
    pub(crate) decided_in: Option<Ring>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
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
        /// The ring, where that matters (`attempt::decided_in`).
        decided_in: Option<Ring>,
    },
    /// promote: decided to go ahead.
    Promote {
        seen: Content,
        method: Method2,
        decided_in: Option<Ring>,
    },
    /// promote: quorum is read, the record is to be written.
    TakeOver {
        seen: Content,
        method: Method2,
        decided_in: Option<Ring>,
        partition: Believed,
    },
    /// promote: the record is written; a majority of copies must have it.
    Confirm(Announced),
    /// promote: a majority has the record; admin_epoch is to be raised.
    Raise(Announced),
    /// promote: admin_epoch is raised; a majority of copies must have that, too.
    Weigh(Announced),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
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
    /// The number of that ring; only differences matter, and only while a promotion is noted with one.
    pub(crate) ring_number: u8,
    /// The membership that its CIB shows (`in_ccm`). The controller writes it some time after the ring has formed.
    pub(crate) members: Set,
    /// Two nodes: it has seen the other since it started (`wait_for_all`).
    pub(crate) has_met_all: bool,
    pub(crate) cib: Replica,
    /// A change that the agent gave up waiting for, and that may take effect yet.
    pub(crate) late: Option<Change>,
    pub(crate) server: Server,
    /// What is on disk: received and flushed.
    pub(crate) wal: Wal,
    /// How much of that a standby has replayed.
    pub(crate) replayed: u8,
    /// This server has received something since it was started, and so knows how far what it received reaches. A
    /// restarted one knows only what it has replayed.
    pub(crate) has_received: bool,
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

    /// What `pg_last_wal_receive_lsn` and `pg_last_wal_replay_lsn` say, whichever is more.
    pub(crate) fn end(&self) -> u8 {
        if self.has_received {
            self.wal.len()
        } else {
            self.replayed
        }
    }

    /// It waits for more WAL than there is on its disk.
    pub(crate) fn has_replayed_all(&self) -> bool {
        self.replayed == self.wal.len()
    }

    /// The server has gone; who waited for an answer gets none.
    pub(crate) fn stop_server(&mut self) {
        self.server = Server::Down;
        self.pending = 0;
        self.configured = Rule::NOBODY;
        self.in_force = Rule::NOBODY;
    }

    /// The numbers of rings that are still compared with.
    pub(crate) fn noted_rings(&self) -> Vec<u8> {
        let mut copy = *self;
        let mut numbers = Vec::new();
        copy.each_ring(|number| numbers.push(*number));
        // The first is its own.
        numbers.split_off(1)
    }

    /// Its own ring's number first, then those that are noted.
    pub(crate) fn each_ring(&mut self, mut change: impl FnMut(&mut u8)) {
        change(&mut self.ring_number);
        if let Some((_, (_, number))) = &mut self.memory.r9.attempt {
            change(number);
        }
        if let Some(((_, number), _)) = &mut self.memory.r9.outside {
            change(number);
        }
        let decided_in = match &mut self.task {
            Task::Ask { decided_in, .. }
            | Task::Promote { decided_in, .. }
            | Task::TakeOver { decided_in, .. } => decided_in,
            Task::Confirm(of) | Task::Raise(of) | Task::Weigh(of) => &mut of.decided_in,
            Task::Idle
            | Task::Correct { .. }
            | Task::Quit
            | Task::Look { .. }
            | Task::Outlive { .. }
            | Task::State { .. }
            | Task::Void { .. }
            | Task::Attach
            | Task::Apply { .. }
            | Task::Server { .. }
            | Task::Finish { .. } => return,
        };
        if let Some((_, number)) = decided_in {
            change(number);
        }
    }

    pub(crate) fn ring(&self) -> Ring {
        (self.view.iter().next().expect("itself"), self.ring_number)
    }

    /// A new ring.
    pub(crate) fn join(&mut self, ring: Set, number: u8) {
        self.ring_number = number;
        self.view = ring;
        self.cib.heard = 0;
        self.memory.forget_ring();
        match &mut self.task {
            Task::Apply {
                partition: Some(partition),
                ..
            }
            | Task::TakeOver { partition, .. }
            | Task::Confirm(Announced { partition, .. })
            | Task::Raise(Announced { partition, .. })
            | Task::Weigh(Announced { partition, .. }) => partition.holds = false,
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
