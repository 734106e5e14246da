//! R3: who may be promoted, by what the cluster has recorded.

use std::fmt;

use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::status::{DataStatus, SenderState, SyncState};

/// What a commit means in this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// rep_mode=async: an acknowledged commit may be lost with its primary.
    Async,
    /// rep_mode=sync: an acknowledged commit survives any automatic action.
    Sync,
}

/// The ground on which a node may be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It is the recorded primary: nobody was promoted since.
    RecordedPrimary,
    /// It held everything acknowledged when the primary last wrote its state down.
    RecordedStandby,
    /// Nobody was ever promoted here; the node with the most WAL will be the first.
    FirstElection,
    /// Asynchronous: any streaming standby may; positions decide among them.
    AsyncStandby,
}

/// Why a node may not be promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ineligible {
    /// The recorded data status says that commits were not waiting for this node.
    Status(DataStatus),
    /// A primary is recorded, and it never recorded this node.
    NeverRecorded { primary: NodeName },
    /// This node's own record says LATEST, and another was promoted since.
    Superseded { primary: NodeName },
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(DataStatus::Disconnected) => f.write_str(
                "data status is DISCONNECT: commits were acknowledged without this node",
            ),
            Self::Status(status) => write!(
                f,
                "data status is {status}: commits did not wait for this node"
            ),
            Self::NeverRecorded { primary } => write!(
                f,
                "{primary} is the recorded primary and never recorded this node as its standby"
            ),
            Self::Superseded { primary } => write!(f, "{primary} was promoted after this node"),
        }
    }
}

/// Whether `node` may be promoted, from the promotion record and its recorded data status.
///
/// # Errors
/// The reason why not.
pub fn ground(
    promise: Promise,
    node: &NodeName,
    record: Option<&ReplInfo>,
    recorded: Option<DataStatus>,
) -> Result<Ground, Ineligible> {
    let other_primary = match record {
        Some(record) if record.node == *node => return Ok(Ground::RecordedPrimary),
        Some(record) => Some(&record.node),
        None => None,
    };
    match (recorded, other_primary) {
        (None, None) => Ok(Ground::FirstElection),
        (None, Some(primary)) => Err(Ineligible::NeverRecorded {
            primary: primary.clone(),
        }),
        // An older agent keeps no promotion record; there LATEST is the record.
        (Some(DataStatus::Latest), None) => Ok(Ground::RecordedPrimary),
        // A promotion records DISCONNECT for all others in the same write, so this is what a
        // merge of two CIBs left behind: the promotion record is the newer of the two.
        (Some(DataStatus::Latest), Some(primary)) => Err(Ineligible::Superseded {
            primary: primary.clone(),
        }),
        (Some(DataStatus::Replicating(SenderState::Streaming, SyncState::Sync)), _) => {
            Ok(Ground::RecordedStandby)
        }
        (Some(DataStatus::Replicating(SenderState::Streaming, SyncState::Async)), _)
            if promise == Promise::Async =>
        {
            Ok(Ground::AsyncStandby)
        }
        (Some(status), _) => Err(Ineligible::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_holds_every_acknowledged_commit_may_be_promoted() {
        use Promise::{Async, Sync};
        let node = |n: &str| NodeName::new(n).unwrap();
        let yes = Ok::<Ground, &str>;
        for (promise, record, recorded, expected) in [
            (
                Sync,
                Some("node1|1|0000000005000060"),
                None,
                yes(Ground::RecordedPrimary),
            ),
            (
                Sync,
                Some("node1"),
                Some("DISCONNECT"),
                yes(Ground::RecordedPrimary),
            ),
            (Sync, Some("node2"), Some("LATEST"), Err("superseded")),
            (
                Sync,
                Some("node2"),
                Some("STREAMING|SYNC"),
                yes(Ground::RecordedStandby),
            ),
            (Sync, Some("node2"), Some("STREAMING|ASYNC"), Err("status")),
            (
                Sync,
                Some("node2"),
                Some("STREAMING|POTENTIAL"),
                Err("status"),
            ),
            // ANY k: any one of them may be the one that lacks a commit.
            (Sync, Some("node2"), Some("STREAMING|QUORUM"), Err("status")),
            (Sync, Some("node2"), Some("CATCHUP|SYNC"), Err("status")),
            (Sync, Some("node2"), Some("DISCONNECT"), Err("status")),
            (Sync, Some("node2"), None, Err("never")),
            (Sync, None, None, yes(Ground::FirstElection)),
            (Sync, None, Some("LATEST"), yes(Ground::RecordedPrimary)),
            (Sync, None, Some("DISCONNECT"), Err("status")),
            (
                Async,
                Some("node2"),
                Some("STREAMING|ASYNC"),
                yes(Ground::AsyncStandby),
            ),
            (Async, Some("node2"), Some("CATCHUP|ASYNC"), Err("status")),
            (Async, Some("node2"), Some("DISCONNECT"), Err("status")),
            (Async, Some("node2"), None, Err("never")),
        ] {
            let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
            let recorded: Option<DataStatus> = recorded.map(|r| r.parse().unwrap());
            let got =
                ground(promise, &node("node1"), record.as_ref(), recorded).map_err(|e| match e {
                    Ineligible::Status(_) => "status",
                    Ineligible::NeverRecorded { .. } => "never",
                    Ineligible::Superseded { .. } => "superseded",
                });
            assert_eq!(
                got, expected,
                "{promise:?} record={record:?} recorded={recorded:?}"
            );
        }
    }
}
