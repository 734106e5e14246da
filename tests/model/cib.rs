//! The CIB: what it holds, and each node's own copy of it.

use std::collections::{BTreeMap, BTreeSet};

use expgsql::decide::eligibility::{self, Ground, Ineligible, Promise, Standing, ground};
use expgsql::model::claim::Claim;
use expgsql::model::repl_info::{Origin, ReplInfo};
use expgsql::model::status::{DataStatus, SenderState, SyncState};
use expgsql::model::sync_names::{Method, StandbyName};
use expgsql::model::sync_record::SyncRecord;
use expgsql::model::timeline::{Switch, TimelineId};

use super::memo::remembered;
use super::nodes::{Id, MAX, Set};
use super::rule::Rule;
use super::wal::{Wal, lsn};

/// `RSC-data-status`, as far as anything is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Data {
    Latest,
    /// `STREAMING|SYNC`.
    Granted,
    /// `STREAMING|QUORUM`.
    Among,
    /// `DISCONNECT`, or any other word that gives no right.
    Other,
}

impl Data {
    pub(crate) fn of(status: DataStatus) -> Self {
        match status {
            DataStatus::Latest => Self::Latest,
            DataStatus::Replicating(SenderState::Streaming, SyncState::Sync) => Self::Granted,
            DataStatus::Replicating(SenderState::Streaming, SyncState::Quorum) => Self::Among,
            DataStatus::Disconnected | DataStatus::Replicating(..) => Self::Other,
        }
    }

    fn status(self) -> DataStatus {
        match self {
            Self::Latest => DataStatus::Latest,
            Self::Granted => DataStatus::Replicating(SenderState::Streaming, SyncState::Sync),
            Self::Among => DataStatus::Replicating(SenderState::Streaming, SyncState::Quorum),
            Self::Other => DataStatus::Disconnected,
        }
    }
}

/// `RSC_REPL_INFO`. The timeline's number is one more than its ancestors'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) node: Id,
    pub(crate) forks: u8,
    pub(crate) end: u8,
    pub(crate) epoch: u8,
}

impl Record {
    /// The record of a promotion whose timeline begins as that of `wal` did.
    pub(crate) fn of(node: Id, wal: &Wal, epoch: u8) -> Self {
        Self {
            node,
            forks: wal.forks(),
            end: wal.last_end().unwrap_or(0),
            epoch,
        }
    }

    pub(crate) fn info(&self) -> ReplInfo {
        let origin = match TimelineId::new(u32::from(self.forks)) {
            None => Origin::NoHistory,
            Some(timeline) => Origin::Forked(Switch {
                timeline,
                end: lsn(self.end),
            }),
        };
        ReplInfo {
            node: self.node.name(),
            origin,
            epoch: Some(u64::from(self.epoch)),
        }
    }
}

/// `RSC_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sync {
    pub(crate) epoch: u8,
    pub(crate) seq: u8,
    pub(crate) primary: Id,
    pub(crate) contract: Rule,
    pub(crate) eligible: Set,
}

impl Sync {
    pub(crate) fn of(record: &SyncRecord) -> Self {
        let small = |n: u64| u8::try_from(n).expect("small");
        let names = |names: &BTreeSet<StandbyName>| Set::of(names.iter().map(|n| Id::of(n)));
        Self {
            epoch: small(record.epoch),
            seq: small(record.seq),
            primary: Id::of(record.primary.lower()),
            contract: Rule {
                any: record.method == Method::Any,
                count: u8::try_from(record.count).expect("few"),
                names: names(&record.standbys),
            },
            eligible: names(&record.eligible),
        }
    }

    pub(crate) fn record(&self) -> SyncRecord {
        SyncRecord::new(
            (u64::from(self.epoch), u64::from(self.seq)),
            &self.primary.name(),
            &self.contract.into(),
            self.eligible.names().collect(),
        )
    }
}

/// What the agents keep in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) record: Record,
    pub(crate) sync: Sync,
    pub(crate) data: [Data; MAX],
}

impl Content {
    /// agent/membership/board.rs, `claim`.
    pub(crate) fn claim(&self) -> Claim {
        let everybody = (0..MAX as u8).map(Id);
        let statuses: BTreeMap<_, _> = everybody
            .map(|n| (n.standby(), self.data[n.index()].status()))
            .collect();
        eligibility::claim(
            Some(&self.record.info()),
            Some(&self.sync.record()),
            &statuses,
        )
    }

    pub(crate) fn claimed(&self) -> Set {
        remembered!(*self, Content => Set, || {
            Set::of(self.claim().members.iter().map(|n| Id::of(n)))
        })
    }

    pub(crate) fn method(&self) -> Method {
        if self.sync.contract.any {
            Method::Any
        } else {
            Method::First
        }
    }

    /// agent/membership/board.rs, `is_complete`.
    fn is_complete(&self, node: Id, wal: &Wal) -> bool {
        self.record.node != node
            || eligibility::is_complete(
                &self.record.info(),
                &wal.lineage(),
                Some(&self.sync.record()),
            )
    }

    /// agent/membership/board.rs, `is_unfinished`; `recorded`: what is known of the recorded node's WAL.
    pub(crate) fn is_unfinished(&self, recorded: Option<&Wal>) -> bool {
        let lineage = recorded.map(Wal::lineage);
        eligibility::is_unfinished(
            Some(&self.record.info()),
            Some(&self.sync.record()),
            lineage.as_ref(),
        )
    }

    /// agent/membership/board.rs, `claim_for`.
    pub(crate) fn claim_for(&self, recorded: Option<&Wal>) -> Claim {
        if self.is_unfinished(recorded) {
            self.sync.record().claim()
        } else {
            self.claim()
        }
    }

    /// agent/membership/ground.rs, `own_ground`.
    pub(crate) fn ground(
        &self,
        node: Id,
        wal: &Wal,
        recorded: Option<&Wal>,
        is_distrusted: bool,
    ) -> Result<Ground, Ineligible> {
        ground(&Standing {
            promise: Promise::Sync,
            node: &node.name(),
            record: Some(&self.record.info()),
            recorded: Some(self.data[node.index()].status()),
            claim: &self.claim_for(recorded),
            is_distrusted,
            // Votes are copies here, and there is no device.
            has_missed: false,
            is_complete: self.is_complete(node, wal),
        })
    }
}

/// What must still be so for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    None,
    /// agent/membership/board.rs, `as_it_was_read`.
    AsRead(Record, Sync),
}

impl Condition {
    /// Neither the promotion record nor that of the contract was changed.
    pub(crate) fn as_read(seen: &Content) -> Self {
        Self::AsRead(seen.record, seen.sync)
    }

    pub(crate) fn holds(&self, content: &Content) -> bool {
        match self {
            Self::None => true,
            Self::AsRead(record, sync) => *record == content.record && *sync == content.sync,
        }
    }
}

/// One call of `cibadmin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) condition: Condition,
    /// By how much admin_epoch is raised.
    pub(crate) raise: u8,
    pub(crate) record: Option<Record>,
    pub(crate) sync: Option<Sync>,
    pub(crate) data: [Option<Data>; MAX],
}

impl Change {
    pub(crate) fn on(condition: Condition) -> Self {
        Self {
            condition,
            raise: 0,
            record: None,
            sync: None,
            data: [None; MAX],
        }
    }

    pub(crate) fn raise(self, raise: u8) -> Self {
        Self { raise, ..self }
    }

    pub(crate) fn record(self, record: Record) -> Self {
        let record = Some(record);
        Self { record, ..self }
    }

    pub(crate) fn sync(self, sync: Sync) -> Self {
        let sync = Some(sync);
        Self { sync, ..self }
    }

    pub(crate) fn data(mut self, node: Id, data: Data) -> Self {
        self.data[node.index()] = Some(data);
        self
    }

    pub(crate) fn apply(&self, replica: &mut Replica) {
        let content = &mut replica.content;
        content.record = self.record.unwrap_or(content.record);
        content.sync = self.sync.unwrap_or(content.sync);
        for (data, new) in content.data.iter_mut().zip(self.data) {
            *data = new.unwrap_or(*data);
        }
        replica.admin_epoch += self.raise;
    }
}

/// One node's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) admin_epoch: u8,
    /// Writes that this node has seen and another of the same ring may not have. A ring that breaks
    /// lets its last writer have its own write confirmed before any other has received it.
    pub(crate) heard: u8,
    pub(crate) content: Content,
}
