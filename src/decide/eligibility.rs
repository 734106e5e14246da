//! R3: who may be promoted, by what the cluster has recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::claim::Claim;
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::status::{DataStatus, SenderState, SyncState};
use crate::model::sync_names::{Method, StandbyName, SyncNames};
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
    /// R9: others may have gone on without it, and none of them is here.
    Missed,
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
            Self::Missed => f.write_str(
                "it was started beside nobody who would know whether others went on without it; bring the other nodes back, or, if that can't be done, expgsql cluster reset-master",
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
    if !is_of(sync, record) {
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

/// Whether a node's copy of the CIB can show that it has a revocation of the primary's whose own copy records `own` (R1): it records the
/// same promotion. One that records another has no claim of this primary's any more, or not yet, whatever it has been told; and
/// where another was promoted since, the others go by that one's claim. Such copies are met after a split, from when corosync's ring is
/// whole again until Pacemaker has merged them.
#[must_use]
pub fn shows_revocations(own: Option<&ReplInfo>, copy: Option<&ReplInfo>) -> bool {
    own == copy
}

/// Whether the contract is that of the recorded promotion.
fn is_of(sync: &SyncRecord, record: Option<&ReplInfo>) -> bool {
    record.is_some_and(|r| r.node == sync.primary && r.epoch == Some(sync.epoch))
}

/// Whether the contract of the primary before still says who has every acknowledged commit: the recorded promotion has not
/// taken place. `lineage`: the history of the node that the record names, where that is this one, or has stated something
/// about just this promotion (R8). A node that has done that is not promoted by this record any more: its next promotion has a
/// later epoch ([`next_epoch`](super::promote::next_epoch)).
///
/// A contract that is of a promotion still earlier says nothing; [`left_at_promotion`] sees to it that there is none.
#[must_use]
pub fn is_unfinished(
    record: Option<&ReplInfo>,
    sync: Option<&SyncRecord>,
    lineage: Option<&Lineage>,
) -> bool {
    let (Some(record), Some(sync), Some(lineage)) = (record, sync, lineage) else {
        return false;
    };
    !is_complete(record, lineage, Some(sync))
}

/// What a promotion to a new timeline makes of the contract that is recorded, so that this says by what right it was
/// begun, for as long as it is unfinished; `None`: it says so already. `claim`: by what was decided; `is_unfinished`: as
/// [that function](is_unfinished) says of the promotion recorded until now.
#[must_use]
pub fn left_at_promotion(
    record: Option<&ReplInfo>,
    sync: Option<&SyncRecord>,
    claim: &Claim,
    is_unfinished: bool,
) -> Option<SyncRecord> {
    let (Some(record), Some(sync)) = (record, sync) else {
        return None;
    };
    if !is_unfinished && !is_of(sync, Some(record)) {
        // The recorded primary may have acknowledged commits, and has written down nobody who has them. What was written in an
        // earlier one's time names those who may lack them. The version stays, as this is no news that would end a distrust.
        let nobody = SyncNames::Nobody;
        let left = SyncRecord::new(sync.version(), &record.node, &nobody, BTreeSet::new());
        return (left != *sync).then_some(left);
    }
    // A standby's data status, by which a grant may have been withdrawn, is written anew.
    let is_withdrawn = sync.method == Method::First && sync.claim().members != claim.members;
    is_withdrawn.then(|| SyncRecord {
        eligible: claim.members.clone(),
        ..sync.clone()
    })
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
    /// R9 for one that arrives, the recorded primary as well: see [`crate::decide::distrust::may_have_missed`].
    pub has_missed: bool,
    /// It is the recorded primary, and was promoted as the record says; see [`is_complete`].
    pub is_complete: bool,
}

/// Whether a node may be promoted, by what the cluster has recorded.
///
/// # Errors
/// The reason why not.
pub fn ground(standing: &Standing<'_>) -> Result<Ground, Ineligible> {
    let node = standing.node;
    if standing.promise == Promise::Sync && standing.has_missed {
        return Err(Ineligible::Missed);
    }
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
            Ineligible::Missed => "missed",
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
    fn the_contract_before_counts_while_the_promotion_after_it_is_unfinished() {
        for (record, sync, lineage, expected) in [
            // Recorded, and not promoted; the lineage is as its node states it.
            (
                Some("node3|1|0000000000000100|2"),
                Some("1|4|node1|FIRST|1|node2|node2"),
                Some("1"),
                true,
            ),
            // Promoted.
            (
                Some("node3|1|0000000000000100|2"),
                Some("1|4|node1|FIRST|1|node2|node2"),
                Some("2<1:0000000000000100"),
                false,
            ),
            // It has not said so.
            (
                Some("node3|1|0000000000000100|2"),
                Some("1|4|node1|FIRST|1|node2|node2"),
                None,
                false,
            ),
            // It was the primary before as well, and may have gone on by itself.
            (
                Some("node1|1|0000000000000100|2"),
                Some("1|4|node1|FIRST|1|node2|node2"),
                Some("1"),
                false,
            ),
            // An operator named it; nobody was promoted; older agents' records.
            (
                Some("node3"),
                Some("1|4|node1|FIRST|1|node2|node2"),
                Some("1"),
                false,
            ),
            (
                None,
                Some("1|4|node1|FIRST|1|node2|node2"),
                Some("1"),
                false,
            ),
            (Some("node3|1|0000000000000100|2"), None, Some("1"), false),
        ] {
            let of: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
            let contract: Option<SyncRecord> = sync.map(|s| s.parse().unwrap());
            let theirs: Option<Lineage> = lineage.map(|l| l.parse().unwrap());
            let got = is_unfinished(of.as_ref(), contract.as_ref(), theirs.as_ref());
            assert_eq!(got, expected, "{record:?} {sync:?} {lineage:?}");
        }
    }

    #[test]
    fn a_promotion_leaves_no_contract_but_that_by_which_it_was_begun() {
        for (record, sync, claim, unfinished, expected) in [
            // The contract of the recorded primary.
            (
                "node1|0|0000000000000000|1",
                "1|4|node1|FIRST|1|node2|node2",
                "node2",
                false,
                None,
            ),
            // A grant that was withdrawn, by its node or by an operator.
            (
                "node1|0|0000000000000000|1",
                "1|4|node1|FIRST|2|node2 node3|node2 node3",
                "node3",
                false,
                Some("1|4|node1|FIRST|2|node2 node3|node3"),
            ),
            // A promotion that follows one that did not take place.
            (
                "node3|1|0000000000000100|2",
                "1|4|node1|ANY|1|node2 node3|node2 node3",
                "node2 node3",
                true,
                None,
            ),
            // node3 was a primary, and has acknowledged commits which node2 may lack.
            (
                "node3|1|0000000000000100|2",
                "1|4|node1|ANY|1|node2 node3|node2 node3",
                "",
                false,
                Some("1|4|node3|FIRST|0||"),
            ),
            (
                "node3|1|0000000000000100|2",
                "1|4|node3|FIRST|0||",
                "",
                false,
                None,
            ),
        ] {
            let of: ReplInfo = record.parse().unwrap();
            let contract: SyncRecord = sync.parse().unwrap();
            let members: BTreeSet<_> = claim.split_whitespace().map(str::to_owned).collect();
            let by = Claim { count: 1, members };
            let got = left_at_promotion(Some(&of), Some(&contract), &by, unfinished);
            let expected: Option<SyncRecord> = expected.map(|s| s.parse().unwrap());
            assert_eq!(got, expected, "{record} {sync}");
            assert_eq!(left_at_promotion(None, Some(&contract), &by, false), None);
            assert_eq!(left_at_promotion(Some(&of), None, &by, false), None);
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
            has_missed: false,
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
            has_missed: false,
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
        // Others may have gone on: what makes it the recorded primary is as old as what grants it.
        for standing in [
            standing,
            Standing {
                is_complete: true,
                ..standing
            },
        ] {
            let missed = Standing {
                has_missed: true,
                ..standing
            };
            assert_eq!(ground(&missed), Err(Ineligible::Missed));
        }
        let asynchronous = Standing {
            promise: Promise::Async,
            ..nothing
        };
        assert_eq!(ground(&asynchronous), Ok(Ground::RecordedPrimary));
    }

    #[test]
    fn a_copy_that_records_another_promotion_shows_no_revocation() {
        let record = |text: &str| Some(text.parse::<ReplInfo>().unwrap());
        let own = record("node1|1|0000000005000060|4");
        for (copy, expected) in [
            (own.clone(), true),
            // Another was promoted since, or by the same node's next promotion; the copy is older; it has none.
            (record("node2|2|0000000006000060|5"), false),
            (record("node1|2|0000000006000060|5"), false),
            (record("node3|1|0000000004000060|3"), false),
            (record("node1|1|0000000005000060"), false),
            (None, false),
        ] {
            assert_eq!(
                shows_revocations(own.as_ref(), copy.as_ref()),
                expected,
                "{copy:?}"
            );
        }
        assert!(shows_revocations(None, None));
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
                has_missed: false,
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
