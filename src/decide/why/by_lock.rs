//! What the lock has against a node.

use crate::decide::eligibility::Promise;
use crate::decide::lease::{Asked, Entry, OldPrimary, Reply, Verdict, dead_check, entry, to_ask};
use crate::decide::observed::{LockSeen, NodeSeen, Observed};
use crate::decide::why::reason::Reason;
use crate::model::node_name::NodeName;
use crate::model::status::NodeStatus;

pub(super) fn owner(seen: &Observed, node: &NodeName) -> String {
    format!("{}_{}", seen.resource, node.lower())
}

/// R3 with the lock.
pub(super) fn by_lock(
    seen: &Observed,
    name: &NodeName,
    failing: Option<&NodeName>,
) -> Option<Reason> {
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
