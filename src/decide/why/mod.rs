//! Why a node may be promoted or not, and so why there is no primary, or who is the next one. The rules are the agent's
//! own; Pacemaker's reasons come beside them.

mod by_data;
mod by_lock;
mod by_pacemaker;
mod explanation;
mod reason;
mod sentence;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub use explanation::{Answer, Explanation, State};
pub use reason::{LOCK_FIX, Reason};
pub use words::{and, bare, or};

use std::collections::BTreeMap;

use crate::decide::eligibility::Promise;
use crate::decide::observed::{NodeSeen, Observed};
use crate::model::cluster_view::{RecordedRole, Score};
use crate::model::node_name::NodeName;
use crate::model::status::NodeStatus;
use by_data::{Against, by_data};
use by_lock::by_lock;
use by_pacemaker::{by_pacemaker, cluster_wide};
use sentence::{sentence, waiting};

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

/// Whether Pacemaker is asked to promote it. With a primary, in synchronous mode, that is settled when it has failed.
fn is_offered(seen: &Observed, node: &NodeSeen, failing: Option<&NodeName>) -> bool {
    let is_settled_later = failing.is_some() && seen.promise == Some(Promise::Sync);
    is_settled_later || node.score.is_some_and(|score| score > Score::new(0))
}
