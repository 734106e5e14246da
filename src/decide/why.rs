//! Why a node may be promoted or not, and so why there is no primary, or who is the next one. The rules are the agent's
//! own; Pacemaker's reasons come beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::decide::barred::Bar;
use crate::decide::election::{self, Patience, Report, Tie, elect, last_primary};
use crate::decide::eligibility::{self, Ground, Ineligible, Promise, Standing, ground};
use crate::decide::lease::{Asked, Entry, OldPrimary, Reply, Verdict, dead_check, entry, to_ask};
use crate::decide::observed::{FailCount, LockSeen, NodeSeen, Observed, Presence, TargetRole};
use crate::decide::replay;
use crate::decide::witness::{Coverage, Statement, coverage, is_ahead_of_all};
use crate::model::claim::Claim;
use crate::model::cluster_view::{NoQuorumPolicy, Quorum, RecordedRole, Score};
use crate::model::node_name::NodeName;
use crate::model::status::NodeStatus;
use crate::model::sync_names::StandbyName;
use crate::model::sync_record::SyncRecord;

/// The explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub state: State,
    /// One sentence, or two.
    pub answer: String,
    /// What helps, the most likely first.
    pub advice: Vec<String>,
    /// What keeps Pacemaker from promoting anybody at all.
    pub cluster: Vec<Reason>,
    /// Every node that replicates, or could.
    pub nodes: BTreeMap<NodeName, Answer>,
    /// Why commits wait at this moment; `None`: as far as is known they do not.
    pub waiting: Option<String>,
}

/// Who is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Primary(NodeName),
    /// Pacemaker is promoting it.
    Promoting(NodeName),
    Several(Vec<NodeName>),
    None,
    /// Pacemaker promotes nobody in this mode.
    NotPromotable,
}

/// What is known of one node's promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub is_primary: bool,
    /// On what ground it may be promoted, as far as its data go.
    pub ground: Option<Ground>,
    /// Everything that is against it, now, or, where there is a primary, if that one failed now.
    pub reasons: Vec<Reason>,
}

impl Answer {
    /// Nothing about its data is against it.
    #[must_use]
    pub fn has_the_data(&self) -> bool {
        !self.reasons.iter().any(Reason::is_about_data)
    }
}

impl Explanation {
    /// Nodes that may be promoted now, or if the primary failed now.
    pub fn candidates(&self) -> impl Iterator<Item = &NodeName> {
        let is_blocked = !self.cluster.is_empty();
        self.nodes
            .iter()
            .filter(move |(_, answer)| {
                !is_blocked && !answer.is_primary && answer.reasons.is_empty()
            })
            .map(|(name, _)| name)
    }
}

/// Something that is against a promotion.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    /// target-role=Stopped, or Unpromoted.
    TargetRole(TargetRole),
    Maintenance,
    Unmanaged,
    NoQuorum(NoQuorumPolicy),
    /// It is withheld: wait_for_all.
    AwaitsAll(NoQuorumPolicy),
    /// Pacemaker promotes nobody while a node that vanished is not fenced.
    Unfenced(NodeName),

    NotListed,
    Offline(Presence),
    Joining,
    Standby,
    NodeMaintenance,
    /// It may not be promoted, whatever it has.
    #[strum(serialize = "banned")]
    Barred(Bar),
    GivenUp {
        count: FailCount,
        limit: Option<u32>,
    },
    StartFailed {
        reason: Option<String>,
        at: Option<u64>,
    },
    Repairing(String),
    NotRunning,
    /// It would not replay all it has; with the word of `RSC-replay`.
    Held(String),

    Unreadable(String),
    Ineligible(Ineligible),
    Coverage(Coverage),
    /// Fewer witnesses could speak than are needed.
    TooFewWitnesses {
        more: usize,
        away: Vec<StandbyName>,
    },
    Election(election::Outcome),

    LockHeld {
        owner: String,
        remaining: Duration,
    },
    LockNotEligible(BTreeSet<StandbyName>),
    LockUnusable(String),
    Lock(String),

    /// Its agent, or the primary's, does not offer it.
    NotOffered(Option<Score>),
}

impl Reason {
    /// A name for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// It is about what the node has, not about whether it is there.
    #[must_use]
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::NotListed
            | Self::Held(_)
            | Self::Unreadable(_)
            | Self::Ineligible(_)
            | Self::Coverage(_)
            | Self::Election(_)
            | Self::LockNotEligible(_) => true,
            Self::TargetRole(_)
            | Self::Maintenance
            | Self::Unmanaged
            | Self::NoQuorum(_)
            | Self::AwaitsAll(_)
            | Self::Unfenced(_)
            | Self::Offline(_)
            | Self::Joining
            | Self::Standby
            | Self::NodeMaintenance
            | Self::Barred(_)
            | Self::GivenUp { .. }
            | Self::StartFailed { .. }
            | Self::Repairing(_)
            | Self::NotRunning
            | Self::TooFewWitnesses { .. }
            | Self::LockHeld { .. }
            | Self::LockUnusable(_)
            | Self::Lock(_)
            | Self::NotOffered(_) => false,
        }
    }

    /// What a person may do about it on `node`. `clone`: what Pacemaker's tools call the resource.
    #[must_use]
    pub fn fix(&self, node: &NodeName, clone: &str) -> Option<String> {
        match self {
            Self::TargetRole(_) => Some("expgsql cluster start".to_owned()),
            Self::Maintenance => Some("expgsql cluster unmaintenance".to_owned()),
            Self::Unmanaged => Some("expgsql cluster manage".to_owned()),
            Self::NoQuorum(_) => {
                Some("bring nodes back until more than half of all votes are here".to_owned())
            }
            Self::AwaitsAll(_) => Some(format!("bring every node back; {UNBLOCK}")),
            Self::Unfenced(lost) => Some(format!(
                "look at the fencing of {lost} (stonith_admin --history {lost}); if the machine is off for certain: \
                 stonith_admin --confirm={lost}"
            )),
            Self::NotListed => Some(format!("add {node} to node_list")),
            Self::Offline(_) | Self::Joining => Some(format!(
                "bring {node} back: its machine, its network, then systemctl start pacemaker there"
            )),
            Self::Standby => Some(format!("expgsql cluster unstandby-node {node}")),
            Self::NodeMaintenance => Some(format!("expgsql cluster unmaintenance-node {node}")),
            Self::Barred(bar) => Some(bar.fix(clone)),
            Self::StartFailed { reason, .. } => Some(match reason.as_deref().and_then(advised) {
                Some(command) => format!("on {node}: {command}"),
                None => CLEANUP.to_owned(),
            }),
            Self::GivenUp { .. } => Some(CLEANUP.to_owned()),
            Self::NotRunning | Self::Repairing(_) => None,
            Self::Held(word) => Some(format!("on {node}: {}", replay::remedy(word))),
            Self::Unreadable(_) => None,
            Self::Ineligible(_) | Self::Coverage(_) | Self::Election(_) => None,
            Self::TooFewWitnesses { away, .. } => {
                Some(format!("bring back {}", one_of(away, |name| name.clone())))
            }
            Self::LockHeld { .. } => None,
            Self::LockNotEligible(_) => None,
            Self::LockUnusable(_) | Self::Lock(_) => Some(LOCK_FIX.to_owned()),
            Self::NotOffered(_) => None,
        }
    }
}

/// What helps where the lock service is the trouble.
pub const LOCK_FIX: &str =
    "see to the lock service: its machine, the server there, the network to it";

/// What ends corosync's wait for nodes that are gone for good.
const UNBLOCK: &str = "if the missing ones are off for certain, and stay off: corosync-cmapctl -s quorum.cancel_wait_for_all u8 1";

const CLEANUP: &str = "repair the cause, then: expgsql cluster cleanup";

/// The command in `run 'COMMAND': reason`, which is how the agent refuses a start that a repair would help.
fn advised(reason: &str) -> Option<&str> {
    let (command, _) = reason.split_once("run '")?.1.split_once('\'')?;
    Some(command)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetRole(TargetRole::Unpromoted) => {
                f.write_str("an operator lets nobody be promoted (target-role=Unpromoted)")
            }
            Self::TargetRole(_) => {
                f.write_str("an operator stopped the resource (target-role=Stopped)")
            }
            Self::Maintenance => {
                f.write_str("the cluster is in maintenance: Pacemaker promotes nobody")
            }
            Self::Unmanaged => f.write_str("the resource is not Pacemaker's to manage (unmanaged)"),
            Self::NoQuorum(policy) => write!(
                f,
                "this partition has no quorum, and no-quorum-policy is {policy}"
            ),
            Self::AwaitsAll(policy) => write!(
                f,
                "this partition has no quorum before every node was seen since it started (corosync's wait_for_all), and \
                 no-quorum-policy is {policy}"
            ),
            Self::Unfenced(lost) => write!(
                f,
                "{lost} vanished and is not fenced: Pacemaker waits for that before it promotes anybody"
            ),
            Self::NotListed => f.write_str("not in node_list: its data are not part of this"),
            Self::Offline(Presence::Lost) => {
                f.write_str("offline: it left without a word, and may run out of reach")
            }
            Self::Offline(_) => f.write_str("offline"),
            Self::Joining => f.write_str("its Pacemaker has not joined the cluster yet"),
            Self::Standby => f.write_str("in standby"),
            Self::NodeMaintenance => f.write_str("in maintenance: Pacemaker does nothing there"),
            Self::Barred(bar) => bar.fmt(f),
            Self::GivenUp { count, limit } => match limit {
                Some(limit) if *count < FailCount::NEVER_AGAIN => write!(
                    f,
                    "failed {count} times (migration-threshold={limit}): Pacemaker keeps the resource away"
                ),
                _ => f.write_str(
                    "failed for good (fail-count INFINITY): Pacemaker keeps the resource away",
                ),
            },
            Self::StartFailed { reason, .. } => write!(
                f,
                "its start failed: {}",
                reason
                    .as_deref()
                    .unwrap_or("no reason was given, see the log")
            ),
            Self::Repairing(text) => write!(f, "its data are being repaired ({text})"),
            Self::NotRunning => f.write_str("the server does not run"),
            Self::Held(word) => f.write_str(&replay::in_words(word)),
            Self::Unreadable(why) => f.write_str(why),
            Self::Ineligible(why) => why.fmt(f),
            Self::Coverage(coverage) => coverage.fmt(f),
            Self::TooFewWitnesses { more, away } => write!(
                f,
                "the last commits may be on {} only: {more} more of them must say how much it has",
                away.join(", ")
            ),
            Self::Election(outcome) => outcome.fmt(f),
            Self::LockHeld { owner, remaining } if remaining.is_zero() => {
                write!(f, "{owner} holds the lock, which has expired")
            }
            Self::LockHeld { owner, remaining } => write!(
                f,
                "{owner} holds the lock for {:.0} s more",
                remaining.as_secs_f32().ceil()
            ),
            Self::LockNotEligible(names) => write!(
                f,
                "the lock's row lets only {} be promoted",
                and(&names.iter().map(String::as_str).collect::<Vec<_>>())
            ),
            Self::LockUnusable(why) => write!(f, "the lock can't be used: {why}"),
            Self::Lock(why) => f.write_str(why),
            Self::NotOffered(score) => {
                let score = score.map_or_else(|| "not set".to_owned(), |score| score.to_string());
                write!(
                    f,
                    "it is not offered (promotion score {score}): too far behind, still replaying, or its next monitor is awaited"
                )
            }
        }
    }
}

/// The reasons for everything, from all that was seen.
#[must_use]
pub fn explain(seen: &Observed) -> Explanation {
    let state = state(seen);
    let failing = match &state {
        State::Primary(name) => Some(name),
        State::Promoting(_) | State::Several(_) | State::None | State::NotPromotable => None,
    };
    let cluster = cluster_wide(seen);
    let nodes: BTreeMap<_, _> = seen
        .nodes
        .iter()
        .map(|(name, node)| (name.clone(), answer(seen, name, node, failing)))
        .collect();
    let mut explanation = Explanation {
        waiting: waiting(seen),
        state,
        answer: String::new(),
        advice: Vec::new(),
        cluster,
        nodes,
    };
    let (sentence, advice) = sentence(seen, &explanation);
    explanation.answer = sentence;
    explanation.advice = advice;
    explanation
}

fn state(seen: &Observed) -> State {
    if seen.promise.is_none() {
        return State::NotPromotable;
    }
    let primaries: Vec<NodeName> = seen.primaries().cloned().collect();
    match primaries.as_slice() {
        [one] => return State::Primary(one.clone()),
        [] => {}
        _ => return State::Several(primaries),
    }
    let is_promoting = |node: &NodeSeen| {
        node.is_member()
            && node.role == RecordedRole::Promoted
            && !node.failures.iter().any(|f| f.operation == "promote")
            && node.status.is_some_and(|s| s != NodeStatus::Stopped)
    };
    let promoting = seen.nodes.iter().find(|(_, node)| is_promoting(node));
    promoting.map_or(State::None, |(name, _)| State::Promoting(name.clone()))
}

fn cluster_wide(seen: &Observed) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match seen.target_role {
        TargetRole::Any => {}
        role @ (TargetRole::Stopped | TargetRole::Unpromoted) => {
            reasons.push(Reason::TargetRole(role));
        }
    }
    if seen.maintenance {
        reasons.push(Reason::Maintenance);
    }
    if !seen.managed {
        reasons.push(Reason::Unmanaged);
    }
    if seen.quorum != Quorum::Yes && seen.no_quorum_policy != NoQuorumPolicy::Ignore {
        let policy = seen.no_quorum_policy;
        reasons.push(match seen.votes {
            Some(votes) if votes.awaits_all => Reason::AwaitsAll(policy),
            Some(_) | None => Reason::NoQuorum(policy),
        });
    }
    if seen.fencing {
        let lost = |node: &NodeSeen| node.presence == Presence::Lost;
        let lost = seen.nodes.iter().filter(|(_, node)| lost(node));
        reasons.extend(lost.map(|(name, _)| Reason::Unfenced(name.clone())));
    }
    reasons
}

fn answer(seen: &Observed, name: &NodeName, node: &NodeSeen, failing: Option<&NodeName>) -> Answer {
    let is_primary = seen.primaries().any(|primary| primary == name);
    if is_primary || seen.promise.is_none() {
        return Answer {
            is_primary,
            ground: None,
            reasons: Vec::new(),
        };
    }
    if !node.is_replica {
        return Answer {
            is_primary,
            ground: None,
            reasons: vec![Reason::NotListed],
        };
    }
    let mut reasons = by_pacemaker(node);
    let (ground, against) = match by_data(seen, name, node, failing) {
        Ok(ground) => (Some(ground), None),
        Err(Against { ground, reason }) => (ground, Some(reason)),
    };
    reasons.extend(against);
    reasons.extend(by_lock(seen, name, failing));
    if reasons.is_empty() && !is_offered(seen, node, failing) {
        reasons.push(Reason::NotOffered(node.score));
    }
    Answer {
        is_primary,
        ground,
        reasons,
    }
}

fn by_pacemaker(node: &NodeSeen) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match node.presence {
        Presence::Online => {}
        Presence::Joining => reasons.push(Reason::Joining),
        gone @ (Presence::Offline | Presence::Lost) => reasons.push(Reason::Offline(gone)),
    }
    if node.standby {
        reasons.push(Reason::Standby);
    }
    if node.maintenance {
        reasons.push(Reason::NodeMaintenance);
    }
    for placement in node.placements.iter().filter(|p| p.is_ban()) {
        reasons.push(Reason::Barred(Bar::Constraint {
            id: placement.id.clone(),
            until: placement.until.clone(),
        }));
    }
    reasons.extend(node.bar.clone().map(Reason::Barred));
    let is_there = node.is_member();
    if let Some(text) = &node.repair
        && is_there
    {
        reasons.push(Reason::Repairing(text.clone()));
    }
    let failed_start = node
        .failed_start()
        .filter(|_| is_there && !node.is_running());
    if let Some(failure) = failed_start {
        reasons.push(Reason::StartFailed {
            reason: failure.reason.clone(),
            at: failure.at,
        });
    } else if node.is_given_up() {
        reasons.push(Reason::GivenUp {
            count: node.fail_count,
            limit: node.threshold,
        });
    }
    if reasons.is_empty() && !node.is_running() {
        reasons.push(Reason::NotRunning);
    }
    if let Some(word) = &node.held
        && node.is_running()
    {
        reasons.push(Reason::Held(word.clone()));
    }
    reasons
}

/// What is against a node's data; the ground it would have otherwise.
struct Against {
    ground: Option<Ground>,
    reason: Reason,
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
fn by_data(
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

fn claim_for(seen: &Observed, node: &NodeSeen) -> Result<Claim, String> {
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

fn owner(seen: &Observed, node: &NodeName) -> String {
    format!("{}_{}", seen.resource, node.lower())
}

/// R3 with the lock.
fn by_lock(seen: &Observed, name: &NodeName, failing: Option<&NodeName>) -> Option<Reason> {
    match &seen.lock {
        LockSeen::Unused | LockSeen::ByCommand | LockSeen::NotAsked { .. } => None,
        LockSeen::Unusable { why, .. } => Some(Reason::LockUnusable(why.clone())),
        LockSeen::Row { row, .. } => {
            let is_sync = seen.promise == Some(Promise::Sync);
            if row.is_open_to(&owner(seen, name), name.lower(), is_sync) {
                return None;
            }
            match row.eligible.as_ref().filter(|_| is_sync) {
                Some(names) if !names.contains(name.lower()) => {
                    return Some(Reason::LockNotEligible(names.clone()));
                }
                Some(_) | None => {}
            }
            // A primary that fails leaves its lock behind, which expires.
            let is_left = failing.is_some_and(|primary| row.owner == owner(seen, primary));
            (!is_left).then(|| Reason::LockHeld {
                owner: row.owner.clone(),
                remaining: row.remaining,
            })
        }
        // Whoever fails, and how, decides what the other nodes are asked.
        LockSeen::Silent { .. } if failing.is_some() => None,
        LockSeen::Silent { deadcheck, .. } => by_dead_lock(seen, name, deadcheck),
    }
}

/// What a promotion would do about a lock service that is silent here: it asks the other nodes.
fn by_dead_lock(seen: &Observed, name: &NodeName, deadcheck: &[String]) -> Option<Reason> {
    let view = |asked: &str| {
        seen.nodes
            .iter()
            .find(|(n, _)| n.as_str().eq_ignore_ascii_case(asked))
    };
    let replies = to_ask(name.as_str(), deadcheck).into_iter().map(|asked| {
        let is_there = view(asked).is_some_and(|(_, node)| node.is_member());
        let reply = if is_there {
            Reply::Silent(String::new())
        } else {
            Reply::NotAsked("it is offline".to_owned())
        };
        (asked.to_owned(), reply)
    });
    let answer = match dead_check::<()>(replies.collect(), |()| true) {
        Verdict::Dead { asked } => Asked::Dead { asked },
        Verdict::Unknown { why } => Asked::Failed {
            why: format!("the lock service does not answer; {why}"),
        },
        Verdict::Answer { .. } => return None,
    };
    let record = seen.record.as_ref().ok().and_then(Option::as_ref);
    let old = record.map(|record| {
        let node = seen.nodes.get(&record.node);
        let is_member = node.is_some_and(NodeSeen::is_member);
        OldPrimary {
            is_me: record.node == *name,
            is_member,
            is_demoted: node.is_some_and(|n| is_member && n.status != Some(NodeStatus::Primary)),
            node: record.node.lower().to_owned(),
            // Only a promotion asks.
            at_large: None,
        }
    });
    match entry(&answer, old.as_ref()) {
        Entry::Go { .. } => None,
        Entry::Refuse { reason } => Some(Reason::Lock(reason)),
    }
}

/// Whether Pacemaker is asked to promote it. With a primary, in synchronous mode, that is settled when it has failed.
fn is_offered(seen: &Observed, node: &NodeSeen, failing: Option<&NodeName>) -> bool {
    let is_settled_later = failing.is_some() && seen.promise == Some(Promise::Sync);
    is_settled_later || node.score.is_some_and(|score| score > Score::new(0))
}

/// Why commits wait, if they do.
fn waiting(seen: &Observed) -> Option<String> {
    let primary = seen.primary()?;
    let is_told = || {
        let degraded = seen.nodes.get(primary).and_then(|n| n.degraded.as_ref());
        degraded.is_some_and(|(word, _)| word == "waiting")
    };
    let missing = missing(seen);
    let waits = missing
        .as_ref()
        .map_or_else(is_told, |names| !names.is_empty());
    if !waits {
        return None;
    }
    let who = match missing.as_deref() {
        Some(names @ [_, ..]) => {
            format!("{} does not stream", one_of(names, Clone::clone))
        }
        Some([]) | None => "too few of the standbys they wait for stream".to_owned(),
    };
    let is_here = seen.me.as_ref() == Some(primary);
    Some(match &seen.hold {
        Some(hold) if is_here => hold.clone(),
        None if is_here => format!("{who}; the agent's next monitor decides what follows"),
        Some(_) | None => {
            format!("{who}; expgsql cluster why on {primary} says why they are not let go")
        }
    })
}

/// Standbys that commits wait for and that do not stream, where too few do; `None`: the primary was not asked.
fn missing(seen: &Observed) -> Option<Vec<StandbyName>> {
    let in_force = seen.in_force.as_ref()?;
    let everybody = seen.replicas().map(|(n, _)| n.lower().to_owned()).collect();
    let is_away = |name: &StandbyName| {
        let node = seen.node_named(name).and_then(|node| seen.nodes.get(node));
        node.is_some_and(|node| node.streams == Some(false))
    };
    let named = in_force.named(&everybody).into_iter();
    let (away, there): (Vec<_>, Vec<_>) = named.partition(is_away);
    let is_enough = there.len() >= in_force.count();
    Some(if is_enough { Vec::new() } else { away })
}

fn sentence(seen: &Observed, e: &Explanation) -> (String, Vec<String>) {
    match &e.state {
        State::NotPromotable => (
            "Pacemaker promotes nobody here: rep_mode is none or slave.".to_owned(),
            Vec::new(),
        ),
        State::Several(names) => (
            format!(
                "{} are both on record as the primary: look at each at once.",
                and(&names.iter().map(NodeName::as_str).collect::<Vec<_>>())
            ),
            vec!["compare crm_mon -1Afr on each of them, and stop the one that RSC_REPL_INFO does not name".to_owned()],
        ),
        State::Promoting(name) => (
            format!("There is no primary yet: {name} is being promoted."),
            Vec::new(),
        ),
        State::Primary(primary) => with_primary(seen, e, primary),
        State::None => without_primary(seen, e),
    }
}

fn with_primary(seen: &Observed, e: &Explanation, primary: &NodeName) -> (String, Vec<String>) {
    let candidates: Vec<&str> = e.candidates().map(NodeName::as_str).collect();
    let next = match candidates.as_slice() {
        [] => format!("nobody can take over: {}", nobody(e)),
        [one] => format!("{one} takes over{}", caution(seen, primary)),
        several => format!(
            "{} takes over, whichever has more{}",
            or(several),
            caution(seen, primary)
        ),
    };
    let advice = if candidates.is_empty() {
        fixes(seen, e)
    } else {
        Vec::new()
    };
    (
        format!("{primary} is the primary. If it fails now, {next}."),
        advice,
    )
}

/// What the loss of the whole machine would add to that of its server.
fn caution(seen: &Observed, primary: &NodeName) -> String {
    let mut words = String::new();
    if matches!(seen.lock, LockSeen::Silent { .. }) {
        words = format!(
            " (while the lock service is silent, only if {primary}'s machine can still be asked)"
        );
    }
    let Some(votes) = seen.votes.filter(|v| v.one_each && v.expected >= 3) else {
        return words;
    };
    let left = seen.nodes.values().filter(|n| n.is_member()).count() - 1;
    let is_enough = left * 2 > votes.expected || seen.no_quorum_policy == NoQuorumPolicy::Ignore;
    if !is_enough && seen.nodes.len() == votes.expected {
        words = format!(
            "{words}; but the loss of its whole machine would leave {left} of {} votes, which is no quorum",
            votes.expected
        );
    }
    words
}

/// Why nobody is a candidate, in one line.
fn nobody(e: &Explanation) -> String {
    if let Some(reason) = e.cluster.first() {
        return reason.to_string();
    }
    // Who lacks the data is nobody to wait for, unless all do.
    let has_holder = e
        .nodes
        .values()
        .any(|answer| !answer.is_primary && answer.has_the_data());
    let each: Vec<String> = e
        .nodes
        .iter()
        .filter(|(_, answer)| !answer.is_primary && answer.has_the_data() == has_holder)
        .filter_map(|(name, answer)| Some(format!("{name}: {}", answer.reasons.first()?)))
        .collect();
    if each.is_empty() {
        "there is no other node".to_owned()
    } else {
        each.join("; ")
    }
}

fn without_primary(seen: &Observed, e: &Explanation) -> (String, Vec<String>) {
    if let Some(reason) = e.cluster.first() {
        return (format!("There is no primary: {reason}."), fixes(seen, e));
    }
    let candidates: Vec<&str> = e.candidates().map(NodeName::as_str).collect();
    if !candidates.is_empty() {
        return (
            format!(
                "There is no primary yet: {} may be promoted, and nothing is seen that keeps Pacemaker from it.",
                or(&candidates)
            ),
            vec!["look again in a few seconds; if nothing changes: crm_mon -1Afr, and Pacemaker's log on the DC".to_owned()],
        );
    }
    let holders: Vec<String> = e
        .nodes
        .iter()
        .filter(|(_, answer)| answer.has_the_data())
        .filter_map(|(name, answer)| {
            Some(format!("{name} ({})", in_short(answer.reasons.first()?)))
        })
        .collect();
    let mut advice = fixes(seen, e);
    let text = if holders.is_empty() {
        format!(
            "There is no primary, and no node may become one: {}.",
            nobody(e)
        )
    } else {
        let which: Vec<&str> = holders.iter().map(String::as_str).collect();
        let is_recorded = seen.record.as_ref().is_ok_and(Option::is_some);
        let is_each = seen.claim().is_ok_and(|claim| claim.is_of_each());
        match seen.promise {
            Some(Promise::Sync) if is_recorded && !is_each => format!(
                "There is no primary: it takes {} to know every acknowledged commit.",
                or(&which)
            ),
            Some(Promise::Sync) if is_recorded => format!(
                "There is no primary: nobody but {} is known to have every acknowledged commit.",
                and(&which)
            ),
            Some(_) | None => format!(
                "There is no primary: nobody but {} may be promoted.",
                and(&which)
            ),
        }
    };
    let is_away = |reason: &Reason| matches!(reason, Reason::Offline(_));
    let is_lost = |answer: &Answer| answer.has_the_data() && answer.reasons.iter().any(is_away);
    if holders.is_empty() || e.nodes.values().any(is_lost) {
        advice.push(
            "only if that can't be done, and the last commits may be lost: expgsql cluster reset-master NODE"
                .to_owned(),
        );
    }
    (text, advice)
}

/// The part of a reason before its explanation.
fn in_short(reason: &Reason) -> String {
    if let Reason::Barred(_) = reason {
        return "banned".to_owned();
    }
    let text = reason.to_string();
    let short = text.split(':').next().unwrap_or_default();
    short.to_owned()
}

/// What helps: first what concerns all, then the nodes that have the data.
fn fixes(seen: &Observed, e: &Explanation) -> Vec<String> {
    let any = seen.nodes.keys().next();
    let all = e.cluster.iter().filter_map(|r| r.fix(any?, &seen.clone));
    let (holders, others): (Vec<_>, Vec<_>) = e
        .nodes
        .iter()
        .filter(|(_, answer)| !answer.is_primary)
        .partition(|(_, answer)| answer.has_the_data());
    let worth = if holders.is_empty() { others } else { holders };
    let each = worth.into_iter().flat_map(|(name, answer)| {
        let fix = |reason: &Reason| reason.fix(name, &seen.clone);
        answer.reasons.iter().filter_map(fix).collect::<Vec<_>>()
    });
    let mut unique = Vec::new();
    for fix in all.chain(each) {
        if !unique.contains(&fix) {
            unique.push(fix);
        }
    }
    unique
}

/// The answer without the words that say that there is no primary, for who has said that already.
#[must_use]
pub fn bare(answer: &str) -> &str {
    let answer = answer.trim_end_matches('.');
    let openings = [
        "There is no primary: ",
        "There is no primary yet: ",
        "There is no primary, and ",
    ];
    let rest = openings.iter().find_map(|o| answer.strip_prefix(o));
    rest.unwrap_or(answer)
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn and(words: &[&str]) -> String {
    joined(words, "and")
}

/// `a`, `a or b`, `a, b or c`.
#[must_use]
pub fn or(words: &[&str]) -> String {
    joined(words, "or")
}

fn one_of<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    let names: Vec<String> = items.iter().map(name).collect();
    or(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn joined(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decide::observed::example::{documented, healthy, lock_row, name, quorum_of_three};
    use crate::decide::observed::{FailedAction, Placement, Votes};
    use crate::model::status::DataStatus;
    use crate::model::timeline::WalPosition;

    type Change = fn(&mut Observed);

    /// What is the matter, how it comes about; the answer, and the codes of what is against all, and against each node.
    type Case = (
        &'static str,
        Change,
        &'static str,
        &'static [&'static str],
        [&'static [&'static str]; 3],
    );

    fn node<'a>(seen: &'a mut Observed, node: &str) -> &'a mut NodeSeen {
        seen.nodes.get_mut(&name(node)).unwrap()
    }

    /// As after a failure of the machine.
    fn lose(seen: &mut Observed, lost: &str) {
        let node = node(seen, lost);
        node.presence = Presence::Lost;
        node.status = None;
        node.streams = None;
    }

    fn position(text: &str, lsn: u64) -> WalPosition {
        WalPosition {
            lineage: text.parse().unwrap(),
            end: crate::model::lsn::Lsn::new(lsn),
        }
    }

    fn silent_lock(deadcheck: &[&str]) -> LockSeen {
        LockSeen::Silent {
            name: "l".to_owned(),
            why: "timeout".to_owned(),
            deadcheck: deadcheck.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    fn cases() -> Vec<Case> {
        vec![
            (
                "all is well",
                |_| {},
                "node1 is the primary. If it fails now, node3 takes over.",
                &[],
                [&[], &["ineligible"], &[]],
            ),
            (
                "the eligible node would not replay all it has",
                |seen| node(seen, "node3").held = Some("recovery_target_time".to_owned()),
                "node1 is the primary. If it fails now, nobody can take over: node2: data status is STREAMING|ASYNC: commits did not wait for this node; node3: recovery_target_time is set there: a promotion would drop the WAL behind that point.",
                &[],
                [&[], &["ineligible"], &["held"]],
            ),
            (
                "the only eligible node is gone, and the primary, too",
                |seen| {
                    lose(seen, "node1");
                    lose(seen, "node3");
                    seen.no_quorum_policy = NoQuorumPolicy::Ignore;
                },
                "There is no primary: nobody but node1 (offline) and node3 (offline) is known to have every acknowledged commit.",
                &[],
                [&["offline"], &["ineligible"], &["offline"]],
            ),
            (
                "the primary is gone and the eligible node is about to be promoted",
                |seen| {
                    lose(seen, "node1");
                    node(seen, "node3").score = Some(Score::new(1000));
                },
                "There is no primary yet: node3 may be promoted, and nothing is seen that keeps Pacemaker from it.",
                &[],
                [&["offline"], &["ineligible"], &[]],
            ),
            (
                "it has not asked to be promoted yet",
                |seen| {
                    lose(seen, "node1");
                    node(seen, "node3").score = None;
                },
                "There is no primary: nobody but node1 (offline) and node3 (it is not offered (promotion score not set)) is known to have every acknowledged commit.",
                &[],
                [&["offline"], &["ineligible"], &["not-offered"]],
            ),
            (
                "no quorum",
                |seen| {
                    lose(seen, "node1");
                    lose(seen, "node2");
                    seen.quorum = Quorum::No;
                },
                "There is no primary: this partition has no quorum, and no-quorum-policy is stop.",
                &["no-quorum"],
                [&["offline"], &["offline", "ineligible"], &[]],
            ),
            (
                "one of two is back after both lost power",
                |seen| {
                    lose(seen, "node1");
                    lose(seen, "node2");
                    seen.quorum = Quorum::No;
                    seen.votes = Some(Votes {
                        expected: 3,
                        one_each: true,
                        awaits_all: true,
                    });
                },
                "There is no primary: this partition has no quorum before every node was seen since it started (corosync's wait_for_all), and no-quorum-policy is stop.",
                &["awaits-all"],
                [&["offline"], &["offline", "ineligible"], &[]],
            ),
            (
                "the lost primary is not fenced",
                |seen| {
                    lose(seen, "node1");
                    seen.fencing = true;
                },
                "There is no primary: node1 vanished and is not fenced: Pacemaker waits for that before it promotes anybody.",
                &["unfenced"],
                [&["offline"], &["ineligible"], &[]],
            ),
            (
                "an operator stopped it",
                |seen| {
                    seen.target_role = TargetRole::Stopped;
                    for node in seen.nodes.values_mut() {
                        node.role = RecordedRole::Stopped;
                        node.status = Some(NodeStatus::Stopped);
                    }
                },
                "There is no primary: an operator stopped the resource (target-role=Stopped).",
                &["target-role"],
                [
                    &["not-running"],
                    &["not-running", "ineligible"],
                    &["not-running"],
                ],
            ),
            (
                "a ban on the one that could",
                |seen| {
                    node(seen, "node3").placements.push(Placement {
                        id: "cli-ban-ms-on-node3".to_owned(),
                        node: name("node3"),
                        score: Score::MINUS_INFINITY,
                        promoted_only: true,
                        until: None,
                    });
                },
                "node1 is the primary. If it fails now, nobody can take over: node3: the constraint cli-ban-ms-on-node3 keeps the \
                 primary away.",
                &[],
                [&[], &["ineligible"], &["banned"]],
            ),
            (
                "the parameters keep the one that could away",
                |seen| node(seen, "node3").bar = Some(Bar::NoFailover),
                "node1 is the primary. If it fails now, nobody can take over: node3: nofailover_node_list names it: it is never promoted.",
                &[],
                [&[], &["ineligible"], &["banned"]],
            ),
            (
                "in standby, in maintenance",
                |seen| {
                    node(seen, "node3").standby = true;
                    node(seen, "node2").maintenance = true;
                },
                "node1 is the primary. If it fails now, nobody can take over: node3: in standby.",
                &[],
                [&[], &["node-maintenance", "ineligible"], &["standby"]],
            ),
            (
                "the cluster is in maintenance, the resource unmanaged",
                |seen| {
                    seen.maintenance = true;
                    seen.managed = false;
                },
                "node1 is the primary. If it fails now, nobody can take over: the cluster is in maintenance: Pacemaker promotes nobody.",
                &["maintenance", "unmanaged"],
                [&[], &["ineligible"], &[]],
            ),
            (
                "given up after too many failures",
                |seen| {
                    let node = node(seen, "node3");
                    node.fail_count = FailCount(3);
                },
                "node1 is the primary. If it fails now, nobody can take over: node3: failed 3 times (migration-threshold=3): \
                 Pacemaker keeps the resource away.",
                &[],
                [&[], &["ineligible"], &["given-up"]],
            ),
            (
                "an unreadable record",
                |seen| seen.sync = Err("the record is nonsense".to_owned()),
                "node1 is the primary. If it fails now, nobody can take over: node2: the record is nonsense; node3: the record is \
                 nonsense.",
                &[],
                [&[], &["unreadable"], &["unreadable"]],
            ),
            (
                "a node that was cut off does not believe its grant",
                |seen| node(seen, "node3").distrusted = Some(true),
                "node1 is the primary. If it fails now, nobody can take over: node2: data status is STREAMING|ASYNC: commits did not \
                 wait for this node; node3: this node was cut off from the quorate partition since it was granted, and the grant \
                 may have been revoked meanwhile.",
                &[],
                [&[], &["ineligible"], &["ineligible"]],
            ),
            (
                "two on record",
                |seen| {
                    let node = node(seen, "node2");
                    node.role = RecordedRole::Promoted;
                    node.status = Some(NodeStatus::Primary);
                },
                "node1 and node2 are both on record as the primary: look at each at once.",
                &[],
                [&[], &[], &[]],
            ),
            (
                "a node is being promoted",
                |seen| {
                    lose(seen, "node1");
                    node(seen, "node3").role = RecordedRole::Promoted;
                },
                "There is no primary yet: node3 is being promoted.",
                &[],
                [&["offline"], &["ineligible"], &[]],
            ),
            (
                "Pacemaker promotes nobody",
                |seen| seen.promise = None,
                "Pacemaker promotes nobody here: rep_mode is none or slave.",
                &[],
                [&[], &[], &[]],
            ),
            (
                "nobody was ever promoted, and one has more",
                |seen| {
                    seen.record = Ok(None);
                    seen.sync = Ok(None);
                    for (who, end) in [("node1", 0x100), ("node2", 0x200), ("node3", 0x300)] {
                        let node = node(seen, who);
                        node.role = RecordedRole::Unpromoted;
                        node.status = Some(NodeStatus::Alone);
                        node.data = Ok(None);
                        node.score = Some(Score::new(100));
                        node.report = Some(position("1", end));
                    }
                },
                "There is no primary yet: node3 may be promoted, and nothing is seen that keeps Pacemaker from it.",
                &[],
                [&["election"], &["election"], &[]],
            ),
            (
                "in asynchronous mode whoever streams may be promoted",
                |seen| {
                    seen.promise = Some(Promise::Async);
                    seen.sync = Ok(None);
                },
                "node1 is the primary. If it fails now, node3 takes over.",
                &[],
                [&[], &["not-offered"], &[]],
            ),
            (
                "its Pacemaker joins, and its data are repaired",
                |seen| {
                    node(seen, "node2").presence = Presence::Joining;
                    node(seen, "node3").repair = Some("rewind: copying".to_owned());
                },
                "node1 is the primary. If it fails now, nobody can take over: node3: its data are being repaired (rewind: copying).",
                &[],
                [&[], &["joining", "ineligible"], &["repairing"]],
            ),
            (
                "one is not of the cluster, the start of the other failed",
                |seen| {
                    node(seen, "node2").is_replica = false;
                    let failed = node(seen, "node3");
                    failed.role = RecordedRole::Stopped;
                    failed.failures.push(FailedAction {
                        operation: "start".to_owned(),
                        code: 1,
                        timed_out: true,
                        reason: None,
                        at: None,
                    });
                },
                "node1 is the primary. If it fails now, nobody can take over: node3: its start failed: no reason was given, see the \
                 log.",
                &[],
                [&[], &["not-listed"], &["start-failed"]],
            ),
            (
                "with quorum commit too few could say what they have",
                |seen| {
                    *seen = quorum_of_three();
                    lose(seen, "node2");
                },
                "node1 is the primary. If it fails now, nobody can take over: node2: offline: it left without a word, and may run \
                 out of reach; node3: the last commits may be on node2 only: 1 more of them must say how much it has.",
                &[],
                [&[], &["offline"], &["too-few-witnesses"]],
            ),
            (
                "with quorum commit one has stated less than the other",
                |seen| {
                    *seen = quorum_of_three();
                    lose(seen, "node1");
                    for (who, end) in [("node2", 0x300), ("node3", 0x200)] {
                        node(seen, who).statement = Some(Statement {
                            position: position("2<1:0000000000000100", end),
                            is_witness: true,
                        });
                    }
                },
                "There is no primary yet: node2 may be promoted, and nothing is seen that keeps Pacemaker from it.",
                &[],
                [&["offline"], &[], &["coverage"]],
            ),
            (
                "a stranger holds the lock, whose row lets it be promoted",
                |seen| seen.lock = lock_row("pgsql_node2", &["node2", "node3"]),
                "node1 is the primary. If it fails now, nobody can take over: node3: pgsql_node2 holds the lock for 7 s more.",
                &[],
                [&[], &["ineligible"], &["lock-held"]],
            ),
            (
                "the lock's row lets others be promoted",
                |seen| seen.lock = lock_row("pgsql_node1", &["node1"]),
                "node1 is the primary. If it fails now, nobody can take over: node2: data status is STREAMING|ASYNC: commits did not \
                 wait for this node; node3: the lock's row lets only node1 be promoted.",
                &[],
                [
                    &[],
                    &["ineligible", "lock-not-eligible"],
                    &["lock-not-eligible"],
                ],
            ),
            (
                "the lock can't be used",
                |seen| {
                    seen.lock = LockSeen::Unusable {
                        name: "l".to_owned(),
                        why: "no table".to_owned(),
                    };
                },
                "node1 is the primary. If it fails now, nobody can take over: node3: the lock can't be used: no table.",
                &[],
                [&[], &["ineligible", "lock-unusable"], &["lock-unusable"]],
            ),
            (
                "the lock service is silent, and who had the lock is gone",
                |seen| {
                    lose(seen, "node1");
                    seen.lock = silent_lock(&["node1", "node3"]);
                },
                "There is no primary: nobody but node1 (offline) and node3 (the lock is not taken) is known to have \
                 every acknowledged commit.",
                &[],
                [&["offline"], &["ineligible", "lock"], &["lock"]],
            ),
        ]
    }

    /// The clusters of the cases, for who shows them.
    pub(crate) fn pictures() -> Vec<Observed> {
        let picture = |(_, change, ..): Case| {
            let mut seen = healthy();
            change(&mut seen);
            seen
        };
        cases().into_iter().map(picture).collect()
    }

    #[test]
    fn what_is_documented_keeps_a_primary_away_and_what_does_is_documented() {
        let found: BTreeSet<String> = pictures()
            .iter()
            .map(explain)
            .flat_map(|found| {
                let each = found.nodes.into_values().flat_map(|node| node.reasons);
                found.cluster.into_iter().chain(each).collect::<Vec<_>>()
            })
            .map(|reason| reason.code().to_owned())
            .collect();
        assert_eq!(found, documented("Codes of reasons: "));
    }

    /// The first sentence, and each node's reasons by name.
    #[test]
    fn everything_that_can_keep_a_primary_away_is_named() {
        for ((what, _, answer, cluster, reasons), seen) in cases().into_iter().zip(pictures()) {
            let found = explain(&seen);
            assert_eq!(found.answer, *answer, "{what}");
            let codes = |reasons: &[Reason]| reasons.iter().map(Reason::code).collect::<Vec<_>>();
            assert_eq!(codes(&found.cluster), *cluster, "{what}");
            for (node, expected) in ["node1", "node2", "node3"].iter().zip(reasons) {
                assert_eq!(
                    codes(&found.nodes[&name(node)].reasons),
                    *expected,
                    "{what}: {node}"
                );
            }
        }
    }

    #[test]
    fn a_refused_start_is_answered_with_the_command_that_helps() {
        let mut seen = healthy();
        let failed = node(&mut seen, "node3");
        failed.role = RecordedRole::Stopped;
        failed.status = Some(NodeStatus::Stopped);
        failed.data = Ok(Some(DataStatus::Disconnected));
        failed.fail_count = FailCount::NEVER_AGAIN;
        failed.failures.push(FailedAction {
            operation: "start".to_owned(),
            code: 1,
            timed_out: false,
            reason: Some(
                "run '/usr/bin/expgsql cluster rewind': own WAL 3@0/2 is past fork 3@0/1 of node1"
                    .to_owned(),
            ),
            at: Some(1),
        });
        let found = explain(&seen);
        let reason = &found.nodes[&name("node3")].reasons[0];
        assert_eq!(reason.code(), "start-failed");
        assert_eq!(
            reason.fix(&name("node3"), "ms").as_deref(),
            Some("on node3: /usr/bin/expgsql cluster rewind")
        );
    }

    #[test]
    fn a_quorum_needs_its_witnesses() {
        let seen = quorum_of_three();
        let found = explain(&seen);
        let candidates: Vec<&str> = found.candidates().map(NodeName::as_str).collect();
        assert_eq!(candidates, ["node2", "node3"]);
        assert!(
            found
                .answer
                .ends_with("node2 or node3 takes over, whichever has more."),
            "{}",
            found.answer
        );
        let mut seen = quorum_of_three();
        lose(&mut seen, "node2");
        let found = explain(&seen);
        assert_eq!(found.candidates().count(), 0);
        let reasons = &found.nodes[&name("node3")].reasons;
        assert_eq!(
            reasons[..],
            [Reason::TooFewWitnesses {
                more: 1,
                away: vec!["node2".to_owned()]
            }]
        );
        assert!(
            found
                .answer
                .contains("the last commits may be on node2 only"),
            "{}",
            found.answer
        );
    }

    /// What was stated counts more than what is recorded, as for the agent.
    #[test]
    fn statements_settle_who_has_everything() {
        let history = "2<1:0000000000000100";
        let state = |seen: &mut Observed, who: &str, end: u64, is_witness: bool| {
            let position = position(history, end);
            node(seen, who).statement = Some(Statement {
                position,
                is_witness,
            });
        };
        let mut seen = quorum_of_three();
        lose(&mut seen, "node1");
        state(&mut seen, "node2", 0x300, true);
        state(&mut seen, "node3", 0x200, true);
        let found = explain(&seen);
        assert_eq!(
            found.candidates().map(NodeName::as_str).collect::<Vec<_>>(),
            ["node2"]
        );
        let behind = Coverage::Behind {
            better: "node2".to_owned(),
        };
        assert_eq!(
            found.nodes[&name("node3")].reasons[..],
            [Reason::Coverage(behind)]
        );
    }

    #[test]
    fn the_loss_of_the_whole_machine_may_cost_the_quorum() {
        let mut seen = healthy();
        seen.votes = Some(Votes {
            expected: 3,
            one_each: true,
            awaits_all: false,
        });
        assert!(!explain(&seen).answer.contains("quorum"));
        lose(&mut seen, "node2");
        let answer = explain(&seen).answer;
        assert!(
            answer.contains("would leave 1 of 3 votes, which is no quorum"),
            "{answer}"
        );
        seen.no_quorum_policy = NoQuorumPolicy::Ignore;
        assert!(!explain(&seen).answer.contains("would leave"));
    }

    #[test]
    fn the_lock_is_asked_as_a_promotion_would_ask_it() {
        let cases: &[(&str, Change, Option<&str>)] = &[
            ("the failing primary holds it", |_| {}, None),
            (
                "its row names others",
                |seen| {
                    let LockSeen::Row { row, .. } = &mut seen.lock else {
                        panic!()
                    };
                    row.eligible = Some(["node1".to_owned()].into());
                },
                Some("the lock's row lets only node1 be promoted"),
            ),
            (
                "a stranger holds it",
                |seen| {
                    let LockSeen::Row { row, .. } = &mut seen.lock else {
                        panic!()
                    };
                    row.owner = "pgsql_node2".to_owned();
                },
                Some("pgsql_node2 holds the lock for 7 s more"),
            ),
            (
                "it can't be used",
                |seen| {
                    seen.lock = LockSeen::Unusable {
                        name: "l".to_owned(),
                        why: "no table".to_owned(),
                    }
                },
                Some("the lock can't be used: no table"),
            ),
            (
                "it is silent, and the old primary's machine is gone",
                |seen| {
                    lose(seen, "node1");
                    seen.lock = silent_lock(&["node1", "node3"]);
                },
                Some(
                    "the lock is not taken: the lock service does not answer; node1 can't be asked: it is offline",
                ),
            ),
            (
                "it is silent, and all nodes can be asked",
                |seen| {
                    let old = node(seen, "node1");
                    old.status = Some(NodeStatus::Alone);
                    old.role = RecordedRole::Unpromoted;
                    seen.lock = silent_lock(&["node1", "node3"]);
                },
                None,
            ),
        ];
        for (what, change, expected) in cases {
            let mut seen = healthy();
            seen.lock = lock_row("pgsql_node1", &["node1", "node3"]);
            change(&mut seen);
            let reasons = &explain(&seen).nodes[&name("node3")].reasons;
            let lock = reasons.iter().map(ToString::to_string).next();
            assert_eq!(lock.as_deref(), *expected, "{what}");
        }
    }

    #[test]
    fn commits_that_wait_are_explained_where_the_agent_said_why() {
        let mut seen = healthy();
        assert_eq!(explain(&seen).waiting, None);
        node(&mut seen, "node3").streams = Some(false);
        let waiting = explain(&seen).waiting.unwrap();
        assert!(waiting.starts_with("node3 does not stream"), "{waiting}");
        seen.hold = Some("with two votes neither side can prove it is alone".to_owned());
        assert_eq!(explain(&seen).waiting, seen.hold);
        // Said by the agent of another node than this.
        seen.me = Some(name("node2"));
        let waiting = explain(&seen).waiting.unwrap();
        assert!(
            waiting.contains("expgsql cluster why on node1"),
            "{waiting}"
        );
        // The primary can't be asked: its agent's word counts.
        seen.in_force = None;
        assert_eq!(explain(&seen).waiting, None);
        node(&mut seen, "node1").degraded = Some(("waiting".to_owned(), None));
        assert!(explain(&seen).waiting.is_some());
    }

    #[test]
    fn in_asynchronous_mode_positions_decide() {
        let history = "2<1:0000000000000100";
        let report = |seen: &mut Observed, who: &str, end: u64| {
            node(seen, who).report = Some(position(history, end));
        };
        let mut seen = healthy();
        seen.promise = Some(Promise::Async);
        seen.sync = Ok(None);
        seen.in_force = None;
        for standby in ["node2", "node3"] {
            node(&mut seen, standby).data = Ok(Some("STREAMING|ASYNC".parse().unwrap()));
            node(&mut seen, standby).score = Some(Score::new(100));
        }
        let answer = explain(&seen).answer;
        assert!(
            answer.ends_with("node2 or node3 takes over, whichever has more."),
            "{answer}"
        );
        // The primary has said that this one is further behind than maxlag allows.
        node(&mut seen, "node2").score = Some(Score::MINUS_INFINITY);
        let reasons = &explain(&seen).nodes[&name("node2")].reasons;
        assert_eq!(
            reasons[..],
            [Reason::NotOffered(Some(Score::MINUS_INFINITY))]
        );

        lose(&mut seen, "node1");
        report(&mut seen, "node2", 0x300);
        let missing = |found: &Explanation, who: &str| {
            let reasons = &found.nodes[&name(who)].reasons;
            reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let waits = "no position reported yet by node1, node3";
        assert_eq!(missing(&explain(&seen), "node2"), [waits]);
        report(&mut seen, "node3", 0x200);
        let lost = &explain(&seen).nodes[&name("node3")].reasons;
        assert!(
            matches!(&lost[..], [Reason::Election(election::Outcome::Lost { better })] if better.as_str() == "node2"),
            "{lost:?}"
        );
    }

    #[test]
    fn what_is_said_of_primary_and_successor_needs_no_repetition() {
        for (answer, bare_answer) in [
            ("There is no primary: no quorum.", "no quorum"),
            (
                "There is no primary yet: node1 is being promoted.",
                "node1 is being promoted",
            ),
            (
                "There is no primary, and no node may become one: x.",
                "no node may become one: x",
            ),
            ("node1 is the primary.", "node1 is the primary"),
        ] {
            assert_eq!(bare(answer), bare_answer);
        }
    }

    /// To make another node the primary gives commits up: that is no advice for a forgotten ban.
    #[test]
    fn giving_commits_up_is_the_last_advice_and_only_where_somebody_is_gone() {
        let gives_up = |seen: &Observed| {
            let advice = explain(seen).advice;
            let at = advice.iter().position(|a| a.contains("reset-master"));
            assert!(at.is_none_or(|at| at + 1 == advice.len()), "{advice:?}");
            at.is_some()
        };
        let mut seen = healthy();
        for who in ["node1", "node2", "node3"] {
            let node = node(&mut seen, who);
            node.role = RecordedRole::Unpromoted;
            node.status = Some(NodeStatus::Alone);
            node.placements.push(Placement {
                id: format!("cli-ban-ms-on-{who}"),
                node: name(who),
                score: Score::MINUS_INFINITY,
                promoted_only: true,
                until: None,
            });
        }
        assert!(!gives_up(&seen));
        assert!(
            explain(&seen)
                .answer
                .contains("nobody but node1 (banned) and node3 (banned) is known")
        );
        lose(&mut seen, "node1");
        assert!(gives_up(&seen));
    }

    /// As seen on a real cluster: node3 was refused, since what node2 has nobody knew.
    #[test]
    fn without_the_witnesses_of_a_quorum_it_is_said_whom_it_takes() {
        let mut seen = quorum_of_three();
        for who in ["node1", "node2"] {
            let node = node(&mut seen, who);
            node.standby = true;
            node.role = RecordedRole::Stopped;
            node.status = Some(NodeStatus::Stopped);
        }
        let alone = position("2<1:0000000000000100", 0x300);
        node(&mut seen, "node3").statement = Some(Statement {
            position: alone,
            is_witness: true,
        });
        let found = explain(&seen);
        assert_eq!(
            found.answer,
            "There is no primary: it takes node1 (in standby) or node2 (in standby) to know every acknowledged commit."
        );
        assert_eq!(found.nodes[&name("node3")].reasons[0].code(), "coverage");
    }
}
