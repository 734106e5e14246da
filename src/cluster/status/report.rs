//! What `cluster status` says, as a value: `--json` prints it, and the text is made from it, so that both say the same.
//! Documented in docs/status.md; [`VERSION`] grows when a reader of an earlier one would be wrong.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::decide::barred::Bar;
use crate::decide::condition::{Condition, Health};
use crate::decide::eligibility::Promise;
use crate::decide::observed::{LockSeen, NodeSeen, Observed};
use crate::decide::why::{Explanation, State};
use crate::model::cluster_view::RecordedRole;
use crate::model::node_name::NodeName;
use crate::model::repl_info::Origin;
use crate::model::sync_names::Method;

/// The form of the JSON.
pub(in crate::cluster) const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) seen_at: String,
    pub(super) seen_from: Option<NodeName>,
    pub(super) resource: String,
    pub(super) clone: String,
    pub(super) mode: &'static str,
    pub(super) health: String,
    pub(super) headline: String,
    pub(super) since: Option<String>,
    pub(super) next: Option<String>,
    pub(super) outlook: String,
    pub(super) primary: Option<NodeName>,
    pub(super) findings: Vec<Finding>,
    pub(super) nodes: Vec<Node>,
    pub(super) outside: Vec<Outside>,
    pub(super) slots: Option<Vec<Slot>>,
    pub(super) contract: Option<Contract>,
    pub(super) last_promotion: Option<Promotion>,
    pub(super) lock: Lock,
    pub(super) addresses: Vec<Address>,
    pub(super) cluster: Cluster,
    pub(super) unread: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) code: &'static str,
    pub(super) weight: String,
    pub(super) node: Option<NodeName>,
    pub(super) text: String,
    pub(super) since: Option<String>,
    pub(super) fix: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) state: String,
    pub(super) replica: bool,
    pub(super) role: &'static str,
    pub(super) since: Option<String>,
    pub(super) status: Option<String>,
    pub(super) data_status: Option<String>,
    pub(super) timeline: Option<u32>,
    pub(super) position: Option<String>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) replay_lag_bytes: Option<u64>,
    pub(super) replay_lag_seconds: Option<f64>,
    /// What keeps it from being promoted, whatever it has.
    pub(super) barred_by: Option<String>,
    pub(super) may_be_promoted: bool,
    pub(super) promotion_score: Option<String>,
    pub(super) fail_count: String,
    pub(super) migration_threshold: Option<u32>,
    pub(super) failures: Vec<Failure>,
    pub(super) repair: Option<String>,
}

/// Who streams from the primary and is no node.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outside {
    pub(super) application_name: String,
    pub(super) streaming: bool,
    pub(super) position: Option<String>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) replay_lag_bytes: Option<u64>,
    pub(super) replay_lag_seconds: Option<f64>,
    pub(super) slot: Option<String>,
}

/// A slot of the primary's.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Slot {
    pub(super) slot: String,
    pub(super) kind: &'static str,
    pub(super) active: bool,
    pub(super) held_bytes: Option<u64>,
    pub(super) lost: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    pub(super) operation: String,
    pub(super) reason: String,
    pub(super) code: i32,
    pub(super) at: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Contract {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) primary: NodeName,
    pub(super) method: &'static str,
    pub(super) count: usize,
    pub(super) standbys: BTreeSet<String>,
    pub(super) eligible: BTreeSet<String>,
    pub(super) is_current: bool,
    pub(super) in_force: Option<InForce>,
}

/// `synchronous_standby_names` as the primary's server has it now.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InForce {
    pub(super) setting: String,
    pub(super) count: usize,
    pub(super) standbys: BTreeSet<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Promotion {
    pub(super) node: NodeName,
    pub(super) at: Option<String>,
    pub(super) epoch: Option<u64>,
    pub(super) left_timeline: Option<u32>,
    pub(super) left_at: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Lock {
    pub(super) state: &'static str,
    pub(super) name: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) remaining_seconds: Option<f64>,
    pub(super) lease_seconds: Option<f64>,
    pub(super) epoch: Option<u64>,
    pub(super) eligible: Option<BTreeSet<String>>,
    pub(super) why: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Address {
    pub(super) name: String,
    pub(super) agent: String,
    pub(super) address: Option<String>,
    pub(super) place: String,
    pub(super) nodes: Vec<NodeName>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Cluster {
    pub(super) quorum: String,
    pub(super) members: usize,
    pub(super) nodes: usize,
    pub(super) expected_votes: Option<usize>,
    pub(super) dc: Option<NodeName>,
    pub(super) no_quorum_policy: String,
    pub(super) fencing: bool,
    pub(super) maintenance: bool,
    pub(super) managed: bool,
    pub(super) target_role: String,
}

/// Seconds since 1970 as RFC 3339; `None` where that is no time.
pub(super) fn time(seconds: u64) -> Option<String> {
    let seconds = i64::try_from(seconds).ok()?;
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}

/// To the second: nothing here is known more exactly.
pub(in crate::cluster) fn stamp(now: Timestamp) -> String {
    format!("{now:.0}")
}

impl Report {
    pub(super) fn new(
        seen: &Observed,
        why: &Explanation,
        condition: &Condition,
        now: Timestamp,
    ) -> Self {
        let worst = condition
            .findings
            .first()
            .filter(|_| condition.health != Health::Healthy);
        Self {
            version: VERSION,
            seen_at: stamp(now),
            seen_from: seen.me.clone(),
            resource: seen.resource.to_string(),
            clone: seen.clone.clone(),
            mode: match seen.promise {
                Some(Promise::Sync) => "sync",
                Some(Promise::Async) => "async",
                None => "unpromotable",
            },
            health: condition.health.to_string(),
            headline: headline(seen, condition),
            since: worst.and_then(|f| f.since).and_then(time),
            // What is worst may have its cause in what comes after it.
            next: worst.and_then(|_| condition.findings.iter().find_map(|f| f.fix.clone())),
            outlook: why.answer.clone(),
            primary: seen.primary().cloned(),
            findings: condition.findings.iter().map(finding).collect(),
            nodes: seen
                .nodes
                .iter()
                .map(|(name, node)| of_node(why, name, node))
                .collect(),
            outside: seen.outside.iter().map(outside).collect(),
            slots: seen
                .slots
                .as_ref()
                .map(|slots| slots.iter().map(slot).collect()),
            contract: contract(seen),
            last_promotion: promotion(seen),
            lock: lock(&seen.lock),
            addresses: seen.companions.iter().map(address).collect(),
            cluster: Cluster {
                quorum: format!("{:?}", seen.quorum).to_lowercase(),
                members: seen.nodes.values().filter(|n| n.is_member()).count(),
                nodes: seen.nodes.len(),
                expected_votes: seen.votes.map(|votes| votes.expected),
                dc: seen.dc.clone(),
                no_quorum_policy: seen.no_quorum_policy.to_string(),
                fencing: seen.fencing,
                maintenance: seen.maintenance,
                managed: seen.managed,
                target_role: seen.target_role.to_string(),
            },
            unread: seen.unread.clone(),
        }
    }

    /// Without what changes all the time: where two are equal, nothing happened that a person would want to see.
    pub(super) fn without_figures(&self) -> Self {
        let mut still = self.clone();
        still.seen_at = String::new();
        still.lock.remaining_seconds = still
            .lock
            .remaining_seconds
            .map(|left| if left > 0.0 { 1.0 } else { 0.0 });
        for node in &mut still.nodes {
            node.position = None;
            node.lag_bytes = None;
            node.lag_seconds = None;
            node.replay_lag_bytes = None;
            node.replay_lag_seconds = None;
        }
        for outside in &mut still.outside {
            outside.position = None;
            outside.lag_bytes = None;
            outside.lag_seconds = None;
            outside.replay_lag_bytes = None;
            outside.replay_lag_seconds = None;
        }
        for slot in still.slots.iter_mut().flatten() {
            slot.held_bytes = None;
        }
        still
    }
}

fn seconds(time: Option<std::time::Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

fn outside(it: &crate::decide::observed::Outside) -> Outside {
    Outside {
        application_name: it.name.clone(),
        streaming: it.is_streaming,
        position: it.position.map(|lsn| lsn.to_string()),
        lag_bytes: it.lag.bytes,
        lag_seconds: seconds(it.lag.delay),
        replay_lag_bytes: it.replay.bytes,
        replay_lag_seconds: seconds(it.replay.delay),
        slot: it.slot.clone(),
    }
}

fn slot(it: &crate::decide::observed::SlotSeen) -> Slot {
    Slot {
        slot: it.name.clone(),
        kind: if it.is_logical { "logical" } else { "physical" },
        active: it.is_active,
        held_bytes: it.held,
        lost: it.is_lost,
    }
}

fn headline(seen: &Observed, condition: &Condition) -> String {
    let resource = &seen.resource;
    let worst = condition.findings.first().map_or("", |f| f.text.as_str());
    match condition.health {
        Health::Healthy => format!("{resource} is healthy"),
        Health::Degraded => format!("{resource} is degraded: {worst}"),
        Health::NoPrimary => format!("{resource} has no primary: {worst}"),
        Health::Stopped => format!("{resource} is stopped: {worst}"),
        Health::Split => format!("{resource} has more than one primary: {worst}"),
    }
}

fn finding(finding: &crate::decide::condition::Finding) -> Finding {
    Finding {
        code: finding.code,
        weight: finding.weight.to_string(),
        node: finding.node.clone(),
        text: finding.text.clone(),
        since: finding.since.and_then(time),
        fix: finding.fix.clone(),
    }
}

fn of_node(why: &Explanation, name: &NodeName, node: &NodeSeen) -> Node {
    let answer = why.nodes.get(name);
    let is_primary = answer.is_some_and(|a| a.is_primary);
    let is_promoting = why.state == State::Promoting(name.clone());
    let role = match node.role {
        _ if is_primary => "primary",
        _ if is_promoting => "promoting",
        _ if !node.is_member() => "none",
        RecordedRole::Stopped => "stopped",
        RecordedRole::Unpromoted | RecordedRole::Promoted if !node.is_running() => "stopped",
        RecordedRole::Unpromoted | RecordedRole::Promoted => "standby",
        RecordedRole::Unknown => "none",
    };
    let state = if node.is_member() && node.standby {
        "standby".to_owned()
    } else if node.is_member() && node.maintenance {
        "maintenance".to_owned()
    } else {
        node.presence.to_string()
    };
    Node {
        name: name.clone(),
        state,
        replica: node.is_replica,
        role,
        since: node.role_since.filter(|_| node.is_member()).and_then(time),
        status: node.status.map(|status| status.to_string()),
        data_status: node
            .data
            .as_ref()
            .ok()
            .copied()
            .flatten()
            .map(|d| d.to_string()),
        timeline: node
            .wal
            .timeline
            .map(crate::model::timeline::TimelineId::get),
        position: node.wal.position.map(|lsn| lsn.to_string()),
        lag_bytes: node.wal.lag,
        lag_seconds: seconds(node.wal.delay),
        replay_lag_bytes: node.wal.replay.bytes,
        replay_lag_seconds: seconds(node.wal.replay.delay),
        barred_by: bar(node),
        may_be_promoted: why.candidates().any(|candidate| candidate == name),
        promotion_score: node.score.map(|score| score.to_string()),
        fail_count: node.fail_count.to_string(),
        migration_threshold: node.threshold,
        failures: node
            .failures
            .iter()
            .map(|failure| Failure {
                operation: failure.operation.clone(),
                reason: failure.in_words(),
                code: failure.code,
                at: failure.at.and_then(time),
            })
            .collect(),
        repair: node.repair.clone(),
    }
}

/// What keeps it from being promoted, whatever it has.
fn bar(node: &NodeSeen) -> Option<String> {
    let ban = node.placements.iter().find(|p| p.is_ban());
    let ban = ban.map(|ban| Bar::Constraint {
        id: ban.id.clone(),
        until: ban.until.clone(),
    });
    Some(node.bar.clone().or(ban)?.to_string())
}

fn contract(seen: &Observed) -> Option<Contract> {
    let record = seen.sync.as_ref().ok()?.as_ref()?;
    Some(Contract {
        epoch: record.epoch,
        sequence: record.seq,
        primary: record.primary.clone(),
        method: match record.method {
            Method::First => "FIRST",
            Method::Any => "ANY",
        },
        count: record.count,
        standbys: record.standbys.clone(),
        eligible: record.eligible.clone(),
        is_current: seen.record.as_ref().is_ok_and(|last| {
            last.as_ref()
                .is_some_and(|last| last.node == record.primary && last.epoch == Some(record.epoch))
        }),
        in_force: seen.in_force.as_ref().map(|names| InForce {
            setting: names.to_string(),
            count: names.count(),
            standbys: names.named(&BTreeSet::new()),
        }),
    })
}

fn promotion(seen: &Observed) -> Option<Promotion> {
    let record = seen.record.as_ref().ok()?.as_ref()?;
    let switch = match record.origin {
        Origin::Forked(switch) => Some(switch),
        Origin::Unstated | Origin::NoHistory => None,
    };
    let at = seen
        .nodes
        .get(&record.node)
        .filter(|_| seen.primary() == Some(&record.node))
        .and_then(|node| node.role_since);
    Some(Promotion {
        node: record.node.clone(),
        at: at.and_then(time),
        epoch: record.epoch,
        left_timeline: switch.map(|s| s.timeline.get()),
        left_at: switch.map(|s| s.end.to_string()),
    })
}

fn lock(lock: &LockSeen) -> Lock {
    let failed = |state, name: &String, why: &String| Lock {
        state,
        name: Some(name.clone()),
        why: Some(why.clone()),
        ..Lock::default()
    };
    match lock {
        LockSeen::Unused => Lock {
            state: "unused",
            ..Lock::default()
        },
        LockSeen::ByCommand => Lock {
            state: "by-command",
            ..Lock::default()
        },
        LockSeen::Silent { name, why, .. } => failed("silent", name, why),
        LockSeen::Unusable { name, why } => failed("unusable", name, why),
        LockSeen::NotAsked { name, why } => failed("not-asked", name, why),
        LockSeen::Row { name, row } => Lock {
            state: if row.is_free() {
                "free"
            } else if row.remaining.is_zero() {
                "expired"
            } else {
                "held"
            },
            name: Some(name.clone()),
            owner: (!row.is_free()).then(|| row.owner.clone()),
            remaining_seconds: Some(row.remaining.as_secs_f64()),
            lease_seconds: Some(row.lease.as_secs_f64()),
            epoch: Some(row.epoch),
            eligible: row.eligible.clone(),
            why: None,
        },
    }
}

fn address(companion: &crate::decide::observed::Companion) -> Address {
    Address {
        name: companion.name.clone(),
        agent: companion.kind.clone(),
        address: companion.address.clone(),
        place: companion.place.to_string(),
        nodes: companion.nodes.iter().cloned().collect(),
    }
}
