//! The CIB: what it holds, and each node's own copy of it.

use expgsql::decide::eligibility::{Ground, Ineligible, Promise, ground};
use expgsql::model::repl_info::{Origin, ReplInfo};
use expgsql::model::status::{DataStatus, SenderState, SyncState};
use expgsql::model::timeline::{Switch, TimelineId};

use super::nodes::{Id, MAX, Set};
use super::wal::{Wal, lsn};

/// `RSC-data-status`, as far as anything is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Data {
    Latest,
    /// `STREAMING|SYNC`.
    Granted,
    /// `DISCONNECT`, or any other word that gives no right.
    Other,
}

impl Data {
    pub(crate) fn of(status: DataStatus) -> Self {
        match status {
            DataStatus::Latest => Self::Latest,
            DataStatus::Replicating(SenderState::Streaming, SyncState::Sync) => Self::Granted,
            DataStatus::Disconnected | DataStatus::Replicating(..) => Self::Other,
        }
    }

    fn status(self) -> DataStatus {
        match self {
            Self::Latest => DataStatus::Latest,
            Self::Granted => DataStatus::Replicating(SenderState::Streaming, SyncState::Sync),
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

/// What the agents keep in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) record: Record,
    pub(crate) data: [Data; MAX],
}

impl Content {
    pub(crate) fn eligible(&self) -> Set {
        let ids = (0..MAX).filter(|i| self.data[*i] == Data::Granted);
        Set::of(ids.map(|i| Id(u8::try_from(i).expect("few"))))
    }

    /// R3, by the function that promote calls.
    pub(crate) fn ground(&self, node: Id) -> Result<Ground, Ineligible> {
        let recorded = Some(self.data[node.index()].status());
        ground(
            Promise::Sync,
            &node.name(),
            Some(&self.record.info()),
            recorded,
        )
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
