//! How the cluster is, in one word, and what is wrong with it, the worst first.

use std::collections::BTreeSet;
use std::fmt;

use crate::decide::barred::Bar;
use crate::decide::eligibility::Promise;
use crate::decide::health::{Degradation, degradation};
use crate::decide::observed::{
    Companion, FailedAction, LockSeen, NodeSeen, Observed, Place, Presence, TargetRole,
};
use crate::decide::why::{Explanation, LOCK_FIX, Reason, State, and, bare};
use crate::model::cluster_view::Quorum;
use crate::model::node_name::NodeName;
use crate::model::progress::Bytes;
use crate::model::status::{DataStatus, SenderState};
use crate::model::sync_names::StandbyName;

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Health {
    Healthy,
    /// It serves, and something is less than it should be.
    Degraded,
    NoPrimary,
    /// An operator stopped it.
    Stopped,
    /// More than one node is on record as the primary.
    Split,
}

/// How the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub health: Health,
    /// The worst first; notices, which don't make it less than healthy, last.
    pub findings: Vec<Finding>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A name for scripts.
    pub code: &'static str,
    pub weight: Weight,
    pub node: Option<NodeName>,
    pub text: String,
    /// Seconds since 1970, where it is known.
    pub since: Option<u64>,
    /// What to type next.
    pub fix: Option<String>,
}

/// Whether a finding makes the cluster less than healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Weight {
    /// The database does not serve, or not as it must.
    Severe,
    Degrading,
    Notice,
}

impl Finding {
    fn new(code: &'static str, weight: Weight, text: impl fmt::Display) -> Self {
        Self {
            code,
            weight,
            node: None,
            text: text.to_string(),
            since: None,
            fix: None,
        }
    }

    fn on(self, node: &NodeName) -> Self {
        Self {
            node: Some(node.clone()),
            ..self
        }
    }

    fn since(self, since: Option<u64>) -> Self {
        Self { since, ..self }
    }

    fn fix(self, fix: Option<String>) -> Self {
        Self { fix, ..self }
    }
}

/// Judges what was seen.
#[must_use]
pub fn judge(seen: &Observed, why: &Explanation) -> Condition {
    let mut findings = Vec::new();
    findings.extend(primary(seen, why));
    let is_said = |reason: &Reason| matches!(reason, Reason::NoQuorum(_) | Reason::AwaitsAll(_));
    if why.state != State::None || !why.cluster.iter().any(is_said) {
        findings.extend(partition(seen));
    }
    findings.extend(hands_off(seen));
    findings.extend(commits(seen, why));
    let mut each: Vec<_> = seen
        .replicas()
        .filter_map(|(name, node)| of_node(seen, why, name, node))
        .collect();
    findings.append(&mut each);
    findings.extend(lock(seen));
    findings.extend(seen.companions.iter().filter_map(|c| companion(seen, c)));
    findings.extend(successors(why));
    findings.extend(unreadable(seen));
    findings.extend(notices(seen));
    findings.sort_by_key(|finding| finding.weight);
    let health = match (&why.state, seen.target_role) {
        (State::Several(_), _) => Health::Split,
        (_, TargetRole::Stopped) if seen.primaries().next().is_none() => Health::Stopped,
        (State::None | State::Promoting(_), _) => Health::NoPrimary,
        (State::Primary(_) | State::NotPromotable, _) => {
            let is_less = |f: &Finding| f.weight != Weight::Notice;
            if findings.iter().any(is_less) {
                Health::Degraded
            } else {
                Health::Healthy
            }
        }
    };
    Condition { health, findings }
}

fn primary(seen: &Observed, why: &Explanation) -> Option<Finding> {
    let code = match &why.state {
        State::Primary(_) | State::NotPromotable => return None,
        State::Several(_) => "several-primaries",
        State::Promoting(_) => "promoting",
        State::None if seen.target_role == TargetRole::Stopped => "stopped",
        State::None => "no-primary",
    };
    let text = bare(&why.answer);
    // The old primary's last word on record.
    let lost = seen.record.as_ref().ok().and_then(Option::as_ref);
    let node = lost.and_then(|record| seen.nodes.get(&record.node));
    let since = node
        .filter(|node| node.is_member())
        .and_then(|node| node.role_since);
    Some(
        Finding::new(code, Weight::Severe, text)
            .since(since)
            .fix(why.advice.first().cloned()),
    )
}

fn partition(seen: &Observed) -> Option<Finding> {
    let here = seen
        .me
        .as_ref()
        .map_or_else(|| "this node".to_owned(), ToString::to_string);
    let text = match seen.quorum {
        Quorum::Yes => return None,
        Quorum::No => format!(
            "{here}'s part of the cluster has no quorum: what is shown of the others may be out of date"
        ),
        Quorum::Unknown => format!(
            "{here}'s part of the cluster has no coordinator yet: what is shown may be out of date"
        ),
    };
    Some(Finding::new("no-quorum", Weight::Severe, text).fix(Some(
        "look at the other nodes and at the network between them".to_owned(),
    )))
}

fn hands_off(seen: &Observed) -> Option<Finding> {
    let (reason, text) = if seen.maintenance {
        (
            Reason::Maintenance,
            "the cluster is in maintenance: Pacemaker watches nothing, and nobody takes over",
        )
    } else if !seen.managed {
        (
            Reason::Unmanaged,
            "the resource is unmanaged: Pacemaker repairs nothing, and nobody takes over",
        )
    } else {
        return None;
    };
    let any = seen.nodes.keys().next()?;
    Some(Finding::new(reason.code(), Weight::Degrading, text).fix(reason.fix(any, &seen.clone)))
}

/// What `RSC-degraded` says of [`Degradation::Unattended`].
const UNATTENDED: &str = "unattended";

/// What it says of [`Degradation::Barred`].
const BARRED: &str = "barred";

/// What it says of [`Degradation::Shut`].
const SHUT: &str = "shut";

/// What it says of [`Degradation::Impostor`].
const IMPOSTOR: &str = "impostor";

/// What it says of [`Degradation::Late`].
const LATE: &str = "late";

/// What commits wait for is less than it should be: by what the primary's server says at this moment, else by what its
/// agent said last.
fn commits(seen: &Observed, why: &Explanation) -> Option<Finding> {
    let primary = seen.primary()?;
    let told = seen.nodes.get(primary)?.degraded.as_ref();
    // What it fails at nobody else can see.
    let unattended = || {
        Some(&told?.0)
            .filter(|word| [UNATTENDED, SHUT, BARRED, IMPOSTOR, LATE].contains(&word.as_str()))
            .cloned()
    };
    let word = match now(seen) {
        Some(Some(now)) => now.word().to_owned(),
        Some(None) => unattended()?,
        None => told?.0.clone(),
    };
    let (code, text) = match word.as_str() {
        "alone" => (
            "alone",
            "commits are acknowledged without any standby: losing this machine loses them"
                .to_owned(),
        ),
        "waiting" => (
            "commits-wait",
            format!(
                "commits wait: {}",
                why.waiting.as_deref().unwrap_or("too few standbys stream")
            ),
        ),
        BARRED => (
            "barred",
            "whoever has every acknowledged commit may not be promoted: nobody takes over if the primary is lost".to_owned(),
        ),
        UNATTENDED => (
            "unattended",
            "the primary's agent can't do all that it has to for the standbys: its log on that node says why".to_owned(),
        ),
        SHUT => (
            "shut",
            "the primary's server does not let the agent in as it is configured: crm_mon and its log on that node say why".to_owned(),
        ),
        LATE => (
            "late",
            "every standby is further behind than maxlag or maxlag_time allows: nobody takes over if the primary is lost".to_owned(),
        ),
        IMPOSTOR => (
            "impostor",
            "another server streams from the primary under a node's name, and what it confirms that node does not have: crm_mon says which, and from where".to_owned(),
        ),
        other => ("degraded", format!("the primary's agent says {other:?}")),
    };
    let since = told.filter(|(told, _)| *told == word).and_then(|t| t.1);
    Some(
        Finding::new(code, Weight::Severe, text)
            .on(primary)
            .since(since),
    )
}

/// As the agent judges it; `None` where the primary was not asked.
fn now(seen: &Observed) -> Option<Option<Degradation>> {
    if seen.promise != Some(Promise::Sync) {
        return Some(None);
    }
    let in_force = seen.in_force.as_ref()?;
    let everybody: BTreeSet<_> = seen.replicas().map(|(n, _)| n.lower().to_owned()).collect();
    let named = in_force.named(&everybody);
    let is_there = |name: &&StandbyName| {
        let node = seen.node_named(name).and_then(|node| seen.nodes.get(node));
        // A standby outside the cluster: the agent knows better.
        node.is_none_or(|node| node.streams == Some(true))
    };
    Some(degradation(in_force, named.iter().filter(is_there).count()))
}

/// The one thing about a node that explains the rest.
fn of_node(
    seen: &Observed,
    why: &Explanation,
    name: &NodeName,
    node: &NodeSeen,
) -> Option<Finding> {
    if seen.target_role == TargetRole::Stopped {
        return None;
    }
    let is_primary = seen.primary() == Some(name);
    let find = |code, text: String| Finding::new(code, Weight::Degrading, text).on(name);
    let by = |reason: Reason, text: String| {
        let fix = reason.fix(name, &seen.clone);
        find(reason.code(), text).fix(fix)
    };
    match node.presence {
        Presence::Online => {}
        gone @ (Presence::Offline | Presence::Lost) => {
            return Some(by(Reason::Offline(gone), format!("{name} is offline")));
        }
        Presence::Joining => {
            return Some(by(
                Reason::Joining,
                format!("{name} is joining the cluster"),
            ));
        }
    }
    if node.standby {
        return Some(by(Reason::Standby, format!("{name} is in standby")));
    }
    if node.maintenance {
        let text = format!("{name} is in maintenance");
        return Some(by(Reason::NodeMaintenance, text));
    }
    if let Some(text) = &node.repair {
        return Some(by(
            Reason::Repairing(text.clone()),
            format!("{name}: {text}"),
        ));
    }
    if !node.is_running() {
        if let Some(failure) = node.failed_start() {
            let reason = Reason::StartFailed {
                reason: failure.reason.clone(),
                at: failure.at,
            };
            let text = format!("{name}: {reason}");
            return Some(by(reason, text).since(failure.at));
        }
        if node.is_given_up() {
            let reason = Reason::GivenUp {
                count: node.fail_count,
                limit: node.threshold,
            };
            let text = format!("{name}: {}", reason);
            let last = node.failures.iter().filter_map(|f| f.at).max();
            return Some(by(reason, text).since(last));
        }
        // What stops them all is said already; and a server without standbys runs on one node.
        let is_single = seen.promise.is_none() && seen.nodes.values().any(NodeSeen::is_running);
        if !why.cluster.is_empty() || is_single {
            return None;
        }
        let text = format!("the server on {name} does not run");
        return Some(by(Reason::NotRunning, text).since(node.role_since));
    }
    if node.is_unwatched && !seen.maintenance {
        let text = format!(
            "nobody watches the server on {name}: Pacemaker takes its monitor for running, and cancelled it"
        );
        let fix = format!(
            "crm_resource --cleanup --resource={} --node={name}",
            seen.clone
        );
        return Some(find("unwatched", text).fix(Some(fix)));
    }
    if is_primary || seen.primary().is_none() || seen.promise.is_none() {
        return None;
    }
    if let Some(word) = &node.held {
        let reason = Reason::Held(word.clone());
        let text = format!("{name}: {reason}");
        return Some(by(reason, text));
    }
    streams(seen, name, node)
}

fn streams(seen: &Observed, name: &NodeName, node: &NodeSeen) -> Option<Finding> {
    let find = |code, text: String| Finding::new(code, Weight::Degrading, text).on(name);
    let behind = node
        .wal
        .lag
        .filter(|lag| seen.maxlag.is_some_and(|max| *lag > max));
    match node.data {
        Ok(Some(DataStatus::Replicating(SenderState::Streaming, _)))
            if node.streams == Some(false) =>
        {
            Some(find(
                "not-streaming",
                format!("{name} does not stream from the primary at this moment"),
            ))
        }
        // What the primary sees now is newer than what is recorded.
        Ok(Some(DataStatus::Replicating(..)))
            if node.streams == Some(true) && behind.is_none() => None,
        Ok(Some(DataStatus::Replicating(SenderState::Streaming, _))) => behind.map(|lag| {
            find(
                "behind",
                format!("{name} is {} behind, more than maxlag allows", Bytes(lag)),
            )
        }),
        Ok(Some(DataStatus::Replicating(SenderState::Catchup, _))) if node.streams != Some(true) => {
            Some(find("catching-up", format!("{name} is catching up")))
        }
        Ok(Some(status)) => Some(
            find(
                "not-streaming",
                format!("{name} does not stream from the primary ({status})"),
            )
            .fix(Some(format!(
                "look at the server's log on {name}; if it can't follow any more: expgsql cluster repair there"
            ))),
        ),
        Ok(None) => Some(find(
            "not-streaming",
            format!("the primary has not seen {name} stream"),
        )),
        // Said once, with the others that can't be read.
        Err(_) => None,
    }
}

fn lock(seen: &Observed) -> Option<Finding> {
    let see_to_it = || Some(LOCK_FIX.to_owned());
    match &seen.lock {
        LockSeen::Unused | LockSeen::ByCommand | LockSeen::NotAsked { .. } => None,
        LockSeen::Silent { why, .. } => {
            Some(Finding::new("lock-silent", Weight::Degrading, why).fix(see_to_it()))
        }
        LockSeen::Unusable { why, .. } => {
            Some(Finding::new("lock-unusable", Weight::Degrading, why).fix(see_to_it()))
        }
        LockSeen::Row { row, .. } => {
            let primary = seen.primary()?;
            let owner = format!("{}_{}", seen.resource, primary.lower());
            let text = if row.is_free() {
                format!("{primary} is the primary, and nobody holds the lock")
            } else if row.owner != owner {
                format!("{primary} is the primary, and {} holds the lock", row.owner)
            } else if row.remaining.is_zero() {
                format!("{primary}'s lock has expired: its renewals do not arrive")
            } else {
                return None;
            };
            Some(Finding::new("lock-holder", Weight::Degrading, text).fix(see_to_it()))
        }
    }
}

fn companion(seen: &Observed, companion: &Companion) -> Option<Finding> {
    let Companion {
        name,
        place,
        nodes,
        address,
        ..
    } = companion;
    let shown = match address {
        Some(address) => format!("{name} ({address})"),
        None => name.clone(),
    };
    let find = |weight, text| Some(Finding::new("address", weight, text));
    let look = || {
        Some(format!(
            "crm_mon -1fr shows why; crm_resource --why --resource {name}"
        ))
    };
    let primary = seen.primary()?;
    let where_it_is: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    match place {
        Place::WithPrimary if nodes.is_empty() => find(
            Weight::Severe,
            format!("{shown}, by which clients reach the primary, runs nowhere"),
        )
        .map(|f| f.fix(look())),
        Place::WithPrimary if !nodes.contains(primary) => find(
            Weight::Severe,
            format!(
                "{shown} is on {}, and the primary is {primary}",
                and(&where_it_is)
            ),
        )
        .map(|f| f.fix(look())),
        // The reader's address has nowhere to go without a standby, which is said already.
        Place::WithStandby | Place::Anywhere if nodes.is_empty() => {
            find(Weight::Notice, format!("{shown} runs nowhere"))
        }
        Place::WithPrimary | Place::WithStandby | Place::Anywhere => None,
    }
}

/// A cluster that is well but for this: the next failure is the end.
fn successors(why: &Explanation) -> Option<Finding> {
    let State::Primary(_) = why.state else {
        return None;
    };
    if why.candidates().next().is_some() || why.nodes.len() < 2 {
        return None;
    }
    let (_, text) = why.answer.split_once("now, ")?;
    let text = text.trim_end_matches('.');
    Some(Finding::new("no-successor", Weight::Degrading, text).fix(why.advice.first().cloned()))
}

fn unreadable(seen: &Observed) -> Vec<Finding> {
    let records = [
        seen.record.as_ref().err().cloned(),
        seen.sync.as_ref().err().cloned(),
    ];
    let statuses = seen
        .nodes
        .iter()
        .filter_map(|(name, node)| Some(format!("{name}: {}", node.data.as_ref().err()?)));
    records
        .into_iter()
        .flatten()
        .chain(statuses)
        .map(|text| Finding::new("unreadable", Weight::Degrading, text))
        .collect()
}

fn notices(seen: &Observed) -> Vec<Finding> {
    let mut notices = Vec::new();
    let clone = &seen.clone;
    let unwanted = seen.primary().filter(|name| {
        seen.nodes.get(*name).and_then(|node| node.bar.as_ref()) == Some(&Bar::NoFailover)
    });
    if let Some(primary) = unwanted {
        let text = "the primary is in nofailover_node_list: it goes on until it fails or is moved, and is not promoted again";
        notices.push(
            Finding::new("unwanted-primary", Weight::Notice, text)
                .on(primary)
                .fix(Some("expgsql cluster switch".to_owned())),
        );
    }
    for (name, node) in &seen.nodes {
        // Of these there is more to say, and it is said.
        if node.held.is_none() && node.degraded.is_none() {
            let told = node.told.iter().map(|text| format!("{name}: {text}"));
            notices.extend(told.map(|text| Finding::new("notice", Weight::Notice, text).on(name)));
        }
        for placement in node.placements.iter().filter(|p| p.is_by_command()) {
            let what = if placement.is_ban() {
                "keeps the primary away from"
            } else {
                "draws the primary to"
            };
            let until = placement
                .until
                .as_ref()
                .map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
            notices.push(
                Finding::new(
                    "constraint",
                    Weight::Notice,
                    format!(
                        "{} {what} {name} {until}: left behind by a move or a ban",
                        placement.id
                    ),
                )
                .on(name)
                .fix(Some(format!("crm_resource --clear --resource {clone}"))),
            );
        }
        let is_told = !node.is_running() && node.failed_start().is_some();
        notices.extend(node.unclear.iter().map(|id| unclear(name, id).on(name)));
        if node.fail_count.0 > 0 && !is_told && !node.is_given_up() {
            let last = node.failures.iter().max_by_key(|f| f.at);
            notices.push(
                Finding::new("failures", Weight::Notice, failures(name, node, last))
                    .on(name)
                    .since(last.and_then(|f| f.at))
                    .fix(Some("expgsql cluster cleanup".to_owned())),
            );
        }
    }
    let weak = seen.weak.iter();
    notices.extend(weak.map(|what| Finding::new("weak-commits", Weight::Notice, what)));
    notices
}

/// A ban that may be none.
fn unclear(name: &NodeName, id: &str) -> Finding {
    let text = format!(
        "{name}: whether the rule of {id} keeps the primary away can't be told here (by a date that can't be read, or a condition that only \
         Pacemaker knows); commits wait as if it did not"
    );
    let fix = "correct the rule, or see what Pacemaker makes of it: crm_simulate --live-check --run --show-scores";
    Finding::new("unclear-rule", Weight::Notice, text).fix(Some(fix.to_owned()))
}

fn failures(name: &NodeName, node: &NodeSeen, last: Option<&FailedAction>) -> String {
    let limit = match node.threshold {
        Some(limit) if limit > 0 => format!("; at {limit} it is given up"),
        Some(_) | None => String::new(),
    };
    let reason = last.map_or_else(String::new, |f| {
        format!(", last {}: {}", f.operation, f.in_words())
    });
    format!(
        "{name} has failed {} time{}{reason}{limit}",
        node.fail_count,
        if node.fail_count.0 == 1 { "" } else { "s" }
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decide::observed::example::{documented, healthy, lock_row, name, quorum_of_three};
    use crate::decide::observed::{FailCount, FailedAction, Placement};
    use crate::decide::why::explain;
    use crate::model::cluster_view::{RecordedRole, Score};
    use crate::model::status::NodeStatus;
    use crate::model::sync_names::SyncNames;

    type Change = fn(&mut Observed);

    fn node<'a>(seen: &'a mut Observed, node: &str) -> &'a mut NodeSeen {
        seen.nodes.get_mut(&name(node)).unwrap()
    }

    fn found(seen: &Observed) -> (Health, Vec<Finding>) {
        let condition = judge(seen, &explain(seen));
        (condition.health, condition.findings)
    }

    fn stop(node: &mut NodeSeen) {
        node.role = RecordedRole::Stopped;
        node.status = Some(NodeStatus::Stopped);
    }

    /// What is the matter, how it comes about; how the cluster is then, and the codes of what is found.
    type Case = (&'static str, Change, Health, &'static [&'static str]);

    fn cases() -> Vec<Case> {
        use Health::{Degraded, Healthy, NoPrimary, Split, Stopped};
        vec![
            ("all is well", |_| {}, Healthy, &[]),
            (
                "somebody's commits wait for nobody",
                |seen| seen.weak = vec!["synchronous_commit=off for role 16385".to_owned()],
                Healthy,
                &["weak-commits"],
            ),
            (
                "quorum commit is well",
                |seen| *seen = quorum_of_three(),
                Healthy,
                &[],
            ),
            (
                "a standby is off",
                |seen| node(seen, "node2").presence = Presence::Offline,
                Degraded,
                &["offline"],
            ),
            (
                "the standby that commits wait for is gone, and nobody knows yet",
                |seen| node(seen, "node3").streams = Some(false),
                Degraded,
                &["commits-wait", "not-streaming"],
            ),
            (
                "the replay of a standby is paused",
                |seen| {
                    node(seen, "node3").held = Some("paused".to_owned());
                    node(seen, "node3").told = vec!["replay is paused".to_owned()];
                },
                Degraded,
                &["held", "no-successor"],
            ),
            (
                "a standby's monitor tells what somebody should see to",
                |seen| node(seen, "node3").told = vec!["correct pg_hba.conf".to_owned()],
                Healthy,
                &["notice"],
            ),
            (
                "commits are on this machine only",
                |seen| {
                    seen.in_force = Some(SyncNames::Nobody);
                    seen.sync = Ok(Some("1|3|node1|FIRST|0||".parse().unwrap()));
                    node(seen, "node3").data = Ok(Some(DataStatus::Disconnected));
                    node(seen, "node3").streams = Some(false);
                    node(seen, "node1").degraded = Some(("alone".to_owned(), Some(7)));
                },
                Degraded,
                &["alone", "not-streaming", "no-successor"],
            ),
            (
                "the primary can't be asked: its agent's word counts",
                |seen| {
                    seen.in_force = None;
                    node(seen, "node1").degraded = Some(("waiting".to_owned(), None));
                },
                Degraded,
                &["commits-wait"],
            ),
            (
                "the agent is not let in, and commits are well",
                |seen| node(seen, "node1").degraded = Some(("shut".to_owned(), None)),
                Degraded,
                &["shut"],
            ),
            (
                "another server streams under a node's name",
                |seen| node(seen, "node1").degraded = Some(("impostor".to_owned(), None)),
                Degraded,
                &["impostor"],
            ),
            (
                "nobody is let in, and its agent says so",
                |seen| {
                    seen.in_force = None;
                    node(seen, "node1").degraded = Some(("shut".to_owned(), None));
                },
                Degraded,
                &["shut"],
            ),
            (
                "no primary, since nobody is left",
                |seen| {
                    for gone in ["node1", "node3"] {
                        node(seen, gone).presence = Presence::Lost;
                        node(seen, gone).status = None;
                    }
                },
                NoPrimary,
                &["no-primary", "offline", "offline"],
            ),
            (
                "no quorum is said once",
                |seen| {
                    seen.quorum = Quorum::No;
                    let node = node(seen, "node1");
                    node.role = RecordedRole::Stopped;
                    node.status = Some(NodeStatus::Stopped);
                },
                NoPrimary,
                &["no-primary"],
            ),
            (
                "no quorum, and the primary still runs",
                |seen| seen.quorum = Quorum::No,
                Degraded,
                &["no-quorum", "no-successor"],
            ),
            (
                "stopped by an operator is one finding",
                |seen| {
                    seen.target_role = TargetRole::Stopped;
                    for node in seen.nodes.values_mut() {
                        node.role = RecordedRole::Stopped;
                        node.status = Some(NodeStatus::Stopped);
                    }
                },
                Stopped,
                &["stopped"],
            ),
            (
                "two primaries",
                |seen| {
                    node(seen, "node2").role = RecordedRole::Promoted;
                    node(seen, "node2").status = Some(NodeStatus::Primary);
                },
                Split,
                &["several-primaries"],
            ),
            (
                "maintenance",
                |seen| seen.maintenance = true,
                Degraded,
                &["maintenance", "no-successor"],
            ),
            (
                "nobody watches a standby",
                |seen| node(seen, "node3").is_unwatched = true,
                Degraded,
                &["unwatched"],
            ),
            (
                "nobody watches the primary",
                |seen| node(seen, "node1").is_unwatched = true,
                Degraded,
                &["unwatched"],
            ),
            (
                "nobody watches anything in maintenance, which is one finding",
                |seen| {
                    seen.maintenance = true;
                    node(seen, "node1").is_unwatched = true;
                },
                Degraded,
                &["maintenance", "no-successor"],
            ),
            (
                "the clients' address is elsewhere",
                |seen| seen.companions[0].nodes = [name("node2")].into(),
                Degraded,
                &["address"],
            ),
            (
                "the lock service is silent",
                |seen| {
                    seen.lock = LockSeen::Silent {
                        name: "lab".to_owned(),
                        why: "timeout".to_owned(),
                        deadcheck: Vec::new(),
                    };
                },
                Degraded,
                &["lock-silent"],
            ),
            (
                "somebody else holds the lock",
                |seen| seen.lock = lock_row("pgsql_node2", &["node1", "node3"]),
                Degraded,
                &["lock-holder", "no-successor"],
            ),
            (
                "a failure that was survived, and a constraint that was forgotten, are notices",
                |seen| {
                    node(seen, "node2").fail_count = FailCount(1);
                    node(seen, "node2").placements.push(Placement {
                        id: "cli-ban-ms-on-node2".to_owned(),
                        node: name("node2"),
                        score: Score::MINUS_INFINITY,
                        promoted_only: true,
                        until: None,
                    });
                },
                Healthy,
                &["constraint", "failures"],
            ),
            (
                "whether a constraint keeps the primary away is not known",
                |seen| node(seen, "node3").unclear.push("night".to_owned()),
                Healthy,
                &["unclear-rule"],
            ),
            (
                "a repair explains why it does not stream",
                |seen| {
                    node(seen, "node2").repair = Some("rebuild: copying, 43 %".to_owned());
                    node(seen, "node2").data = Ok(Some(DataStatus::Disconnected));
                },
                Degraded,
                &["repairing"],
            ),
            (
                "a node is being promoted",
                |seen| {
                    node(seen, "node1").presence = Presence::Lost;
                    node(seen, "node3").role = RecordedRole::Promoted;
                },
                NoPrimary,
                &["promoting", "offline"],
            ),
            (
                "the agent fails at what it has to do for the standbys",
                |seen| node(seen, "node1").degraded = Some(("unattended".to_owned(), None)),
                Degraded,
                &["unattended"],
            ),
            (
                "the primary is one that is not to be promoted",
                |seen| node(seen, "node1").bar = Some(Bar::NoFailover),
                Healthy,
                &["unwanted-primary"],
            ),
            (
                "only a barred standby has everything",
                |seen| {
                    node(seen, "node1").degraded = Some(("barred".to_owned(), None));
                    node(seen, "node3").placements.push(Placement {
                        id: "no-dr".to_owned(),
                        node: name("node3"),
                        score: Score::MINUS_INFINITY,
                        promoted_only: true,
                        until: None,
                    });
                },
                Degraded,
                &["barred", "no-successor"],
            ),
            (
                "every asynchronous standby is late",
                |seen| {
                    seen.promise = Some(Promise::Async);
                    node(seen, "node1").degraded = Some(("late".to_owned(), None));
                },
                Degraded,
                &["late"],
            ),
            (
                "a later agent says what nobody knows here",
                |seen| {
                    seen.in_force = None;
                    node(seen, "node1").degraded = Some(("anew".to_owned(), None));
                },
                Degraded,
                &["degraded"],
            ),
            (
                "the resource is unmanaged",
                |seen| seen.managed = false,
                Degraded,
                &["unmanaged", "no-successor"],
            ),
            (
                "a node is joining",
                |seen| node(seen, "node2").presence = Presence::Joining,
                Degraded,
                &["joining"],
            ),
            (
                "a node is in standby, another in maintenance",
                |seen| {
                    node(seen, "node2").standby = true;
                    node(seen, "node3").maintenance = true;
                },
                Degraded,
                &["standby", "node-maintenance", "no-successor"],
            ),
            (
                "the start of a node was refused",
                |seen| {
                    stop(node(seen, "node2"));
                    node(seen, "node2").fail_count = FailCount::NEVER_AGAIN;
                    node(seen, "node2").failures.push(FailedAction {
                        operation: "start".to_owned(),
                        code: 1,
                        timed_out: false,
                        reason: Some("own WAL".to_owned()),
                        at: Some(1),
                    });
                },
                Degraded,
                &["start-failed"],
            ),
            (
                "a node was given up, another does not run",
                |seen| {
                    stop(node(seen, "node2"));
                    node(seen, "node2").fail_count = FailCount(3);
                    stop(node(seen, "node3"));
                },
                Degraded,
                &["given-up", "not-running", "no-successor"],
            ),
            (
                "a standby catches up, another is behind",
                |seen| {
                    seen.maxlag = Some(1 << 20);
                    node(seen, "node2").streams = None;
                    node(seen, "node2").data = Ok(Some("CATCHUP|ASYNC".parse().unwrap()));
                    node(seen, "node3").wal.lag = Some(2 << 20);
                },
                Degraded,
                &["catching-up", "behind"],
            ),
            (
                "the lock can't be used",
                |seen| {
                    seen.lock = LockSeen::Unusable {
                        name: "lab".to_owned(),
                        why: "no table".to_owned(),
                    };
                },
                Degraded,
                &["lock-unusable", "no-successor"],
            ),
            (
                "a record is nonsense",
                |seen| seen.record = Err("the record is nonsense".to_owned()),
                Degraded,
                &["no-successor", "unreadable"],
            ),
            (
                "the reader's address has nowhere to go",
                |seen| {
                    let reader = Companion {
                        name: "vip-slave".to_owned(),
                        place: Place::WithStandby,
                        nodes: BTreeSet::new(),
                        ..seen.companions[0].clone()
                    };
                    seen.companions.push(reader);
                },
                Healthy,
                &["address"],
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
    fn the_worst_comes_first() {
        for ((what, _, health, codes), seen) in cases().into_iter().zip(pictures()) {
            let (found_health, findings) = found(&seen);
            assert_eq!(found_health, health, "{what}: {findings:#?}");
            let found: Vec<&str> = findings.iter().map(|f| f.code).collect();
            assert_eq!(found, *codes, "{what}");
        }
    }

    #[test]
    fn what_is_documented_is_found_and_what_is_found_is_documented() {
        let found: BTreeSet<String> = pictures()
            .iter()
            .flat_map(|seen| found(seen).1)
            .map(|finding| finding.code.to_owned())
            .collect();
        assert_eq!(found, documented("Codes of findings: "));
    }

    #[test]
    fn since_when_is_taken_from_what_pacemaker_was_told() {
        let mut seen = healthy();
        seen.in_force = Some(SyncNames::Nobody);
        node(&mut seen, "node1").degraded = Some(("alone".to_owned(), Some(7)));
        assert_eq!(found(&seen).1[0].since, Some(7));
        // It is something else by now.
        seen.in_force = Some(SyncNames::all(["node3".to_owned()]));
        node(&mut seen, "node3").streams = Some(false);
        assert_eq!(found(&seen).1[0].since, None);
    }

    #[test]
    fn every_severe_finding_without_a_primary_says_what_to_type() {
        let mut seen = healthy();
        seen.target_role = TargetRole::Stopped;
        node(&mut seen, "node1").role = RecordedRole::Stopped;
        node(&mut seen, "node1").status = Some(NodeStatus::Stopped);
        assert_eq!(
            found(&seen).1[0].fix.as_deref(),
            Some("expgsql cluster start")
        );
    }
}
