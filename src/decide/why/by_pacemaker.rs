//! What Pacemaker has against a node, or against all of them.

use crate::decide::barred::Bar;
use crate::decide::observed::{NodeSeen, Observed, Presence, TargetRole};
use crate::decide::why::reason::Reason;
use crate::model::cluster_view::{NoQuorumPolicy, Quorum};

pub(super) fn cluster_wide(seen: &Observed) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match seen.target_role {
        TargetRole::Any => {}
        role @ (TargetRole::Stopped | TargetRole::Unpromoted) => {
            reasons.push(Reason::TargetRole(role));
        }
    }
    if seen.stops_all {
        reasons.push(Reason::StopsAll);
    }
    if seen.promotes_none {
        reasons.push(Reason::PromotesNone);
    }
    let tickets = seen.tickets.iter().cloned();
    reasons.extend(tickets.map(|(id, ticket)| Reason::Ticket { id, ticket }));
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

pub(super) fn by_pacemaker(node: &NodeSeen) -> Vec<Reason> {
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
