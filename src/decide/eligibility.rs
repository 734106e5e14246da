//! R3: who may be promoted, by what the cluster has recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::claim::Claim;
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::status::{DataStatus, SenderState, SyncState};
use crate::model::sync_names::{Method, StandbyName};
use crate::model::sync_record::SyncRecord;
use crate::model::timeline::{Lineage, TimelineId};

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
    /// The primary counted on it when it last wrote that down: it has every acknowledged commit, or
    /// is one of those among whom somebody has.
    Claimed,
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
    /// Its data status is a grant that the primary's own record does not have.
    NotInRecord,
    /// R9: it was outside a quorate partition since it was granted.
    Distrusted,
    /// Its promotion was recorded, and never took place; what allowed it then may be revoked by now.
    Unfinished,
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
            Self::NotInRecord => f.write_str(
                "the primary's record of eligible standbys (RSC_SYNC) is of another promotion, or does not name this node",
            ),
            Self::Unfinished => f.write_str(
                "its promotion was recorded and did not take place, and nothing says that it still has every acknowledged commit",
            ),
            Self::Distrusted => f.write_str(
                "this node was cut off from the quorate partition since it was granted, and the grant may have been revoked meanwhile",
            ),
        }
    }
}

/// The data statuses that a primary writes for a standby that was granted.
fn is_grant(status: DataStatus) -> bool {
    status == DataStatus::Replicating(SenderState::Streaming, SyncState::Sync)
}

/// What the CIB says about where acknowledged commits are: the primary's record, and each standby's
/// data status, which the standby itself, an operator or an older agent may have withdrawn.
///
/// A record of another promotion than the recorded one says nothing. Without a record the data
/// statuses alone count: an older agent wrote them.
#[must_use]
pub fn claim(
    record: Option<&ReplInfo>,
    sync: Option<&SyncRecord>,
    statuses: &BTreeMap<StandbyName, DataStatus>,
) -> Claim {
    let granted: BTreeSet<StandbyName> = statuses
        .iter()
        .filter(|(_, status)| is_grant(**status))
        .map(|(name, _)| name.clone())
        .collect();
    let Some(sync) = sync else {
        return Claim::each_of(granted);
    };
    let is_current = record.is_some_and(|r| r.node == sync.primary && r.epoch == Some(sync.epoch));
    if !is_current {
        return Claim::nothing();
    }
    match sync.method {
        Method::First => {
            let claim = sync.claim();
            let withdrawn = claim.members.difference(&granted).cloned().collect();
            claim.without(&withdrawn)
        }
        // Whoever is away at the moment is still one of those among whom somebody has everything.
        Method::Any => sync.claim(),
    }
}

/// Whether the recorded promotion of this node has taken place: the record is written first, so the
/// agent may have died, or been refused, between the two.
///
/// By timelines alone, as the exact end of the old one is known only afterwards. `sync`: where this
/// node was the primary before, too, it has everything in any case.
#[must_use]
pub fn is_complete(record: &ReplInfo, lineage: &Lineage, sync: Option<&SyncRecord>) -> bool {
    let switched = |from: TimelineId| lineage.ancestors.iter().any(|s| s.timeline == from);
    match record.origin {
        Origin::Unstated | Origin::NoHistory => true,
        Origin::Forked(switch) => {
            switched(switch.timeline) || sync.is_some_and(|sync| sync.primary == record.node)
        }
    }
}

/// What is known of a node that asks to be promoted.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub promise: Promise,
    pub node: &'a NodeName,
    pub record: Option<&'a ReplInfo>,
    /// Its recorded data status.
    pub recorded: Option<DataStatus>,
    pub claim: &'a Claim,
    /// R9.
    pub is_distrusted: bool,
    /// It is the recorded primary, and was promoted as the record says; see [`is_complete`].
    pub is_complete: bool,
}

/// Whether a node may be promoted, by what the cluster has recorded.
///
/// # Errors
/// The reason why not.
pub fn ground(standing: &Standing<'_>) -> Result<Ground, Ineligible> {
    let node = standing.node;
    let binds = standing.is_complete || standing.promise == Promise::Async;
    let other_primary = match standing.record {
        Some(record) if record.node == *node && binds => return Ok(Ground::RecordedPrimary),
        Some(record) => Some(&record.node),
        None => None,
    };
    if standing.promise == Promise::Sync && standing.claim.members.contains(node.lower()) {
        return if standing.is_distrusted {
            Err(Ineligible::Distrusted)
        } else {
            Ok(Ground::Claimed)
        };
    }
    if !binds && other_primary == Some(node) {
        return Err(Ineligible::Unfinished);
    }
    match (standing.recorded, other_primary) {
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
        (
            Some(DataStatus::Replicating(
                SenderState::Streaming,
                SyncState::Sync | SyncState::Async,
            )),
            _,
        ) if standing.promise == Promise::Async => Ok(Ground::AsyncStandby),
        (Some(status), _) if is_grant(status) => Err(Ineligible::NotInRecord),
        (Some(status), _) => Err(Ineligible::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(why: Ineligible) -> &'static str {
        match why {
            Ineligible::Status(_) => "status",
            Ineligible::NeverRecorded { .. } => "never",
            Ineligible::Superseded { .. } => "superseded",
            Ineligible::NotInRecord => "not in record",
            Ineligible::Distrusted => "distrusted",
            Ineligible::Unfinished => "unfinished",
        }
    }

    #[test]
    fn a_claim_is_the_primary_s_record_less_what_was_withdrawn() {
        let record: ReplInfo = "node1|1|0000000005000060|5".parse().unwrap();
        for (sync, two, three, expected) in [
            (None, "STREAMING|SYNC", "STREAMING|ASYNC", (1, "node2")),
            (None, "STREAMING|QUORUM", "STREAMING|QUORUM", (0, "")),
            (
                Some("5|1|node1|FIRST|1|node2|node2"),
                "STREAMING|SYNC",
                "STREAMING|ASYNC",
                (1, "node2"),
            ),
            // Withdrawn by the standby itself, or by an operator.
            (
                Some("5|1|node1|FIRST|1|node2|node2"),
                "DISCONNECT",
                "STREAMING|ASYNC",
                (0, ""),
            ),
            // Granted by hand, or by an agent that was late: the record does not have it.
            (
                Some("5|1|node1|FIRST|1|node2|node2"),
                "DISCONNECT",
                "STREAMING|SYNC",
                (0, ""),
            ),
            (
                Some("5|1|node1|FIRST|2|node2 node3|node2 node3"),
                "STREAMING|SYNC",
                "DISCONNECT",
                (1, "node2"),
            ),
            (
                Some("5|1|node1|ANY|1|node2 node3|node2 node3"),
                "STREAMING|QUORUM",
                "DISCONNECT",
                (1, "node2 node3"),
            ),
            (
                Some("5|1|node1|ANY|1|node2 node3|"),
                "STREAMING|QUORUM",
                "STREAMING|QUORUM",
                (0, ""),
            ),
            // Of another promotion.
            (
                Some("4|1|node1|FIRST|1|node2|node2"),
                "STREAMING|SYNC",
                "DISCONNECT",
                (0, ""),
            ),
            (
                Some("5|1|node3|FIRST|1|node2|node2"),
                "STREAMING|SYNC",
                "DISCONNECT",
                (0, ""),
            ),
        ] {
            let sync: Option<SyncRecord> = sync.map(|s| s.parse().unwrap());
            let statuses = [("node2", two), ("node3", three)]
                .map(|(name, status)| (name.to_owned(), status.parse().unwrap()));
            let got = claim(Some(&record), sync.as_ref(), &statuses.into());
            let members = expected.1.split_whitespace().map(str::to_owned).collect();
            assert_eq!(
                got,
                Claim::some_of(expected.0, members),
                "{sync:?} {two} {three}"
            );
            assert!(claim(None, sync.as_ref(), &BTreeMap::new()).is_empty());
        }
    }

    #[test]
    fn a_grant_that_is_not_in_the_record_or_not_believed_is_none() {
        let record: ReplInfo = "node2|1|0000000005000060|5".parse().unwrap();
        let me = NodeName::new("Node1").unwrap();
        let claimed = Claim::each_of(["node1".to_owned()].into());
        let standing = Standing {
            promise: Promise::Sync,
            node: &me,
            record: Some(&record),
            recorded: Some("STREAMING|SYNC".parse().unwrap()),
            claim: &claimed,
            is_distrusted: false,
            is_complete: true,
        };
        assert_eq!(ground(&standing), Ok(Ground::Claimed));
        let distrusted = Standing {
            is_distrusted: true,
            ..standing
        };
        assert_eq!(ground(&distrusted), Err(Ineligible::Distrusted));
        let unrecorded = Standing {
            claim: &Claim::nothing(),
            ..standing
        };
        assert_eq!(ground(&unrecorded), Err(Ineligible::NotInRecord));
    }

    #[test]
    fn a_recorded_promotion_that_did_not_take_place_proves_nothing() {
        let record: ReplInfo = "node1|2|0000000000000200|6".parse().unwrap();
        let by = |text: &str| -> SyncRecord { text.parse().unwrap() };
        let other = by("5|3|node2|FIRST|1|node1|node1");
        let own = by("5|3|node1|FIRST|1|node2|node2");
        for (lineage, sync, complete) in [
            ("2<1:0000000000000100", None, false),
            ("2<1:0000000000000100", Some(&other), false),
            // It was the primary before, too.
            ("2<1:0000000000000100", Some(&own), true),
            ("3<2:0000000000000180<1:0000000000000100", None, true),
        ] {
            let lineage = lineage.parse().unwrap();
            assert_eq!(
                is_complete(&record, &lineage, sync),
                complete,
                "{lineage} {sync:?}"
            );
        }
        for text in ["node1", "node1|0|0000000000000000"] {
            assert!(is_complete(
                &text.parse().unwrap(),
                &"1".parse().unwrap(),
                None
            ));
        }

        let me = NodeName::new("node1").unwrap();
        let claimed = other.claim();
        let standing = Standing {
            promise: Promise::Sync,
            node: &me,
            record: Some(&record),
            recorded: Some(DataStatus::Latest),
            claim: &claimed,
            is_distrusted: false,
            is_complete: false,
        };
        assert_eq!(
            ground(&standing),
            Ok(Ground::Claimed),
            "what allowed it then"
        );
        let distrusted = Standing {
            is_distrusted: true,
            ..standing
        };
        assert_eq!(ground(&distrusted), Err(Ineligible::Distrusted));
        let nothing = Standing {
            claim: &Claim::nothing(),
            ..standing
        };
        assert_eq!(ground(&nothing), Err(Ineligible::Unfinished));
        let asynchronous = Standing {
            promise: Promise::Async,
            ..nothing
        };
        assert_eq!(ground(&asynchronous), Ok(Ground::RecordedPrimary));
    }

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
                yes(Ground::Claimed),
            ),
            (Sync, Some("node2"), Some("STREAMING|ASYNC"), Err("status")),
            (
                Sync,
                Some("node2"),
                Some("STREAMING|POTENTIAL"),
                Err("status"),
            ),
            // Among whom somebody has everything, only the record says.
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
            let me = node("node1");
            let statuses = recorded.map(|r| (me.lower().to_owned(), r)).into_iter();
            let standing = Standing {
                promise,
                node: &me,
                record: record.as_ref(),
                recorded,
                claim: &claim(record.as_ref(), None, &statuses.collect()),
                is_distrusted: false,
                is_complete: true,
            };
            let got = ground(&standing).map_err(short);
            assert_eq!(
                got, expected,
                "{promise:?} record={record:?} recorded={recorded:?}"
            );
        }
    }
}
