//! What a node's data, and what the cluster has of them, have against it.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::election::{self, Patience, Report, Tie, elect, last_primary};
use crate::decide::eligibility::{self, Ground, Promise, Standing, ground};
use crate::decide::observed::{NodeSeen, Observed};
use crate::decide::why::reason::Reason;
use crate::decide::witness::{Coverage, Statement, coverage, is_ahead_of_all};
use crate::model::claim::Claim;
use crate::model::node_name::NodeName;
use crate::model::status::NodeStatus;
use crate::model::sync_names::StandbyName;
use crate::model::sync_record::SyncRecord;

/// What is against a node's data; the ground it would have otherwise.
pub(super) struct Against {
    pub(super) ground: Option<Ground>,
    pub(super) reason: Reason,
}

impl From<Reason> for Against {
    fn from(reason: Reason) -> Self {
        Self {
            ground: None,
            reason,
        }
    }
}

/// The agent's own rules: R3, R8, R9, and the election.
pub(super) fn by_data(
    seen: &Observed,
    name: &NodeName,
    node: &NodeSeen,
    failing: Option<&NodeName>,
) -> Result<Ground, Against> {
    let unreadable = |why: &String| Against::from(Reason::Unreadable(why.clone()));
    let promise = seen.promise.unwrap_or(Promise::Async);
    let record = seen.record.as_ref().map_err(unreadable)?.as_ref();
    let claim = claim_for(seen, node).map_err(|why| unreadable(&why))?;
    let standing = Standing {
        promise,
        node: name,
        record,
        recorded: *node.data.as_ref().map_err(unreadable)?,
        claim: &claim,
        is_distrusted: promise == Promise::Sync && node.distrusted == Some(true),
        has_missed: node.has_missed == Some(true),
        is_complete: node.is_complete != Some(false),
    };
    let found = ground(&standing);
    let by_statement = promise == Promise::Sync
        && record.is_some()
        && found != Ok(Ground::RecordedPrimary)
        && found != Ok(Ground::FirstElection);
    if by_statement && let Some(own) = &node.statement {
        let covered = covered(seen, own, &claim);
        return match (found, covered) {
            (_, Coverage::Covered) => Ok(Ground::Claimed),
            (Ok(ground), other) => Err(Against {
                ground: Some(ground),
                reason: Reason::Coverage(other),
            }),
            (Err(why), _) => Err(Reason::Ineligible(why).into()),
        };
    }
    let found = found.map_err(|why| Against::from(Reason::Ineligible(why)))?;
    let reason = match found {
        Ground::Claimed => too_few_witnesses(seen, &claim, name),
        Ground::RecordedPrimary => None,
        // If the primary failed they would compare what they have by then.
        Ground::FirstElection | Ground::AsyncStandby if failing.is_some() => None,
        Ground::FirstElection | Ground::AsyncStandby => lost_election(seen, name, &claim, promise),
    };
    match reason {
        Some(reason) => Err(Against {
            ground: Some(found),
            reason,
        }),
        None => Ok(found),
    }
}

pub(super) fn claim_for(seen: &Observed, node: &NodeSeen) -> Result<Claim, String> {
    match (&seen.sync, node.is_complete) {
        (Ok(Some(before)), Some(false)) => Ok(before.claim()),
        (Ok(Some(before)), _) if is_unfinished(seen, before) => Ok(before.claim()),
        _ => seen.claim(),
    }
}

/// By what the recorded primary states.
fn is_unfinished(seen: &Observed, before: &SyncRecord) -> bool {
    let record = seen.record.as_ref().ok().and_then(Option::as_ref);
    let theirs = record.and_then(|r| seen.nodes.get(&r.node)?.statement.as_ref());
    let lineage = theirs.map(|s| &s.position.lineage);
    eligibility::is_unfinished(record, Some(before), lineage)
}

fn covered(seen: &Observed, own: &Statement, claim: &Claim) -> Coverage {
    let statements: BTreeMap<StandbyName, Statement> = seen
        .replicas()
        .filter_map(|(name, node)| Some((name.lower().to_owned(), node.statement.clone()?)))
        .collect();
    let all = seen.replicas().map(|(n, _)| n.lower().to_owned()).collect();
    if is_ahead_of_all(&own.position, &all, &statements) {
        Coverage::Covered
    } else {
        coverage(&own.position, claim, &statements)
    }
}

/// Before anybody has spoken: whether enough could.
fn too_few_witnesses(seen: &Observed, claim: &Claim, name: &NodeName) -> Option<Reason> {
    let speaks = |member: &&StandbyName| {
        *member == name.lower()
            || seen
                .node_named(member)
                .and_then(|node| seen.nodes.get(node))
                .is_some_and(NodeSeen::is_running)
    };
    let (there, away): (Vec<_>, Vec<_>) = claim.members.iter().partition(speaks);
    let more = claim.needed().saturating_sub(there.len());
    (more > 0).then(|| Reason::TooFewWitnesses {
        more,
        away: away.into_iter().cloned().collect(),
    })
}

fn lost_election(
    seen: &Observed,
    name: &NodeName,
    claim: &Claim,
    promise: Promise,
) -> Option<Reason> {
    let record = seen.record.as_ref().ok()?.as_ref();
    let is_barred = |(other, node): &(&NodeName, &NodeSeen)| *other != name && node.is_barred();
    let barred: BTreeSet<NodeName> = seen
        .replicas()
        .filter(is_barred)
        .map(|(name, _)| name.clone())
        .collect();
    let may_stand = |name: &NodeName, node: &NodeSeen| {
        let recorded = node.data.as_ref().ok().copied().flatten();
        ground(&Standing {
            promise,
            node: name,
            record,
            recorded,
            claim,
            is_distrusted: false,
            has_missed: false,
            is_complete: true,
        })
        .is_ok_and(|ground| election::weighs(ground, barred.contains(name)))
    };
    let reports: BTreeMap<NodeName, Report> = seen
        .replicas()
        .filter(|(name, node)| may_stand(name, node))
        .map(|(name, node)| {
            let is_stopped = node.status == Some(NodeStatus::Stopped);
            let report = if !node.is_member() || is_stopped {
                Report::Absent
            } else {
                node.report.clone().map_or(Report::Silent, Report::At)
            };
            (name.clone(), report)
        })
        .collect();
    let status = |(name, node): (_, &NodeSeen)| (name, node.data.as_ref().ok().copied().flatten());
    let tie = Tie::Ranked {
        last_primary: last_primary(record, seen.replicas().map(status)),
        barred: &barred,
    };
    match elect(name, &reports, tie, Patience::WaitForAll) {
        election::Outcome::Won => None,
        other @ (election::Outcome::Lost { .. }
        | election::Outcome::Wait { .. }
        | election::Outcome::Unrankable { .. }) => Some(Reason::Election(other)),
    }
}
