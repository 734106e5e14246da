//! Whom an operator's switchover makes the primary, and what has to come first.

use std::collections::BTreeMap;
use std::fmt;

use crate::decide::barred::Bar;
use crate::decide::eligibility::Promise;
use crate::model::node_name::NodeName;
use crate::model::status::{DataStatus, SenderState};

/// What is known when an operator asks for a switchover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Nodes in the cluster that are the primary.
    pub primaries: Vec<NodeName>,
    /// The node that the operator named.
    pub wanted: Option<NodeName>,
    pub promise: Promise,
    /// Every node that replicates.
    pub nodes: BTreeMap<NodeName, Standby>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// In the cluster now, so that Pacemaker can run something there.
    pub is_online: bool,
    pub service: Service,
    /// Its server runs as a standby, by Pacemaker's account.
    pub is_running: bool,
    /// What the primary last recorded about it; `None`: nothing.
    pub data_status: Option<DataStatus>,
    /// It is recorded as having every acknowledged commit (synchronous mode).
    pub is_claimed: bool,
    /// Its promotion score lets Pacemaker choose it.
    pub may_be_chosen: bool,
    /// Pacemaker has counted as many failures as it tolerates.
    pub is_worn_out: bool,
    /// What keeps it from being the primary, whatever it has.
    pub kept_away_by: Option<Bar>,
}

/// Whether a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Full,
    /// Out of service.
    Standby,
    /// Pacemaker does nothing there.
    Maintenance,
}

/// What is going to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub from: NodeName,
    pub to: NodeName,
    /// It may be promoted as it is; else the primary has to make it so first.
    pub is_ready: bool,
}

/// Why there is no switchover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoPrimary,
    SeveralPrimaries(Vec<NodeName>),
    /// Pacemaker does nothing on the primary's node, so it would not demote it.
    Unmoved(NodeName),
    /// The node that was named can't take over.
    Node(NodeName, Obstacle),
    /// No node was named, and none can.
    Nobody(BTreeMap<NodeName, Obstacle>),
}

/// What keeps a node from becoming the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    IsPrimary,
    /// node_list does not name it.
    NotAReplica,
    Offline,
    OutOfService(Service),
    NotRunning,
    /// The primary has never seen it.
    NeverStreamed,
    /// It is not connected to the primary.
    Disconnected,
    /// Connected, and not yet streaming.
    CatchingUp(DataStatus),
    /// Asynchronous mode: the primary keeps it from being promoted (maxlag).
    TooFarBehind,
    WornOut,
    KeptAway(Bar),
}

/// The plan.
///
/// # Errors
/// [`Refusal`].
pub fn switch(facts: &Facts) -> Result<Plan, Refusal> {
    let from = match &facts.primaries[..] {
        [] => return Err(Refusal::NoPrimary),
        [primary] => primary,
        [_, _, ..] => return Err(Refusal::SeveralPrimaries(facts.primaries.clone())),
    };
    let is_unmoved = |node: &Standby| node.service == Service::Maintenance;
    if facts.nodes.get(from).is_some_and(is_unmoved) {
        return Err(Refusal::Unmoved(from.clone()));
    }
    let plan = |to: &NodeName, is_ready| Plan {
        from: from.clone(),
        to: to.clone(),
        is_ready,
    };
    if let Some(wanted) = &facts.wanted {
        return match readiness(facts, from, wanted) {
            Ok(is_ready) => Ok(plan(wanted, is_ready)),
            Err(obstacle) => Err(Refusal::Node(wanted.clone(), obstacle)),
        };
    }
    let mut obstacles = BTreeMap::new();
    let mut other = None;
    for name in facts.nodes.keys().filter(|name| *name != from) {
        match readiness(facts, from, name) {
            Ok(true) => return Ok(plan(name, true)),
            Ok(false) => {
                other.get_or_insert(name);
            }
            Err(obstacle) => {
                obstacles.insert(name.clone(), obstacle);
            }
        }
    }
    other
        .map(|name| plan(name, false))
        .ok_or(Refusal::Nobody(obstacles))
}

/// Whether a node may be promoted as it is.
fn readiness(facts: &Facts, primary: &NodeName, name: &NodeName) -> Result<bool, Obstacle> {
    if name == primary {
        return Err(Obstacle::IsPrimary);
    }
    let Some(node) = facts.nodes.get(name) else {
        return Err(Obstacle::NotAReplica);
    };
    if !node.is_online {
        return Err(Obstacle::Offline);
    }
    match node.service {
        Service::Full => {}
        Service::Standby | Service::Maintenance => {
            return Err(Obstacle::OutOfService(node.service));
        }
    }
    if node.is_worn_out {
        return Err(Obstacle::WornOut);
    }
    if !node.is_running {
        return Err(Obstacle::NotRunning);
    }
    match node.data_status {
        None => return Err(Obstacle::NeverStreamed),
        // What a primary records of itself, and has not corrected since it was demoted.
        Some(DataStatus::Disconnected | DataStatus::Latest) => return Err(Obstacle::Disconnected),
        Some(DataStatus::Replicating(SenderState::Streaming, _)) => {}
        Some(status @ DataStatus::Replicating(..)) => return Err(Obstacle::CatchingUp(status)),
    }
    if let Some(bar) = &node.kept_away_by {
        return Err(Obstacle::KeptAway(bar.clone()));
    }
    match facts.promise {
        Promise::Sync => Ok(node.is_claimed && node.may_be_chosen),
        Promise::Async if node.may_be_chosen => Ok(true),
        Promise::Async => Err(Obstacle::TooFarBehind),
    }
}

impl Refusal {
    /// The node that is needed is not there, as against: it is there and not fit.
    #[must_use]
    pub fn is_about_the_dead(&self) -> bool {
        match self {
            Self::NoPrimary | Self::SeveralPrimaries(_) => true,
            Self::Unmoved(_) => false,
            Self::Node(_, obstacle) => *obstacle == Obstacle::Offline,
            Self::Nobody(all) => {
                !all.is_empty() && all.values().all(|obstacle| *obstacle == Obstacle::Offline)
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrimary => f.write_str(
                "the cluster has no primary that could hand over: expgsql cluster why says what keeps a node from being promoted",
            ),
            Self::SeveralPrimaries(nodes) => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(f, "{} are the primary at once: wait until one of them is left", names.join(" and "))
            }
            Self::Unmoved(name) => write!(
                f,
                "{name}, the primary, is in maintenance mode, so Pacemaker does not demote it: first expgsql cluster unmaintenance-node {name}"
            ),
            Self::Node(name, obstacle) => write!(f, "{name} {obstacle}"),
            Self::Nobody(all) if all.is_empty() => {
                f.write_str("the cluster has no other node that could take over")
            }
            Self::Nobody(all) => {
                f.write_str("no other node can take over")?;
                for (name, obstacle) in all {
                    write!(f, "; {name} {obstacle}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsPrimary => f.write_str("is the primary already"),
            Self::NotAReplica => f.write_str("is not in node_list: the resource does not run there"),
            Self::Offline => f.write_str("is not in the cluster at the moment: start it, or name another node"),
            Self::OutOfService(Service::Maintenance) => f.write_str(
                "is in maintenance mode, so Pacemaker promotes nothing there: first expgsql cluster unmaintenance-node",
            ),
            Self::OutOfService(Service::Standby | Service::Full) => {
                f.write_str("is out of service (standby): first expgsql cluster unstandby-node")
            }
            Self::NotRunning => f.write_str("has no running server: expgsql cluster cleanup tries again what failed"),
            Self::NeverStreamed => f.write_str("was never seen by the primary: wait until it streams"),
            Self::Disconnected => f.write_str(
                "does not stream from the primary (DISCONNECT), so it lacks commits: wait until it does, or see expgsql cluster repair",
            ),
            Self::CatchingUp(status) => write!(f, "still catches up ({status}): wait until it streams"),
            Self::TooFarBehind => f.write_str("is further behind than maxlag or maxlag_time allows: wait until it has caught up"),
            Self::WornOut => f.write_str(
                "has failed as often as migration-threshold allows: first see why, then expgsql cluster cleanup",
            ),
            Self::KeptAway(bar) => write!(f, "is not to be the primary: {bar}; first {}", bar.fix("RESOURCE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn standby(data_status: &str) -> Standby {
        Standby {
            is_online: true,
            service: Service::Full,
            is_running: true,
            data_status: Some(data_status.parse().unwrap()),
            is_claimed: data_status == "STREAMING|SYNC",
            may_be_chosen: data_status == "STREAMING|SYNC",
            is_worn_out: false,
            kept_away_by: None,
        }
    }

    /// node1 is the primary, commits wait for node3.
    fn facts(wanted: Option<&str>) -> Facts {
        Facts {
            primaries: vec![name("node1")],
            wanted: wanted.map(name),
            promise: Promise::Sync,
            nodes: [
                (name("node1"), standby("LATEST")),
                (name("node2"), standby("STREAMING|ASYNC")),
                (name("node3"), standby("STREAMING|SYNC")),
            ]
            .into(),
        }
    }

    fn plan(to: &str, is_ready: bool) -> Result<Plan, Refusal> {
        Ok(Plan {
            from: name("node1"),
            to: name(to),
            is_ready,
        })
    }

    #[test]
    fn a_named_node_takes_over_as_it_is_or_is_made_ready_first() {
        assert_eq!(switch(&facts(Some("node3"))), plan("node3", true));
        assert_eq!(switch(&facts(Some("NODE2"))), plan("node2", false));
        // Nobody named: the one that is ready, else any that can be made so.
        assert_eq!(switch(&facts(None)), plan("node3", true));
        let mut nobody_ready = facts(None);
        nobody_ready
            .nodes
            .insert(name("node3"), standby("DISCONNECT"));
        assert_eq!(switch(&nobody_ready), plan("node2", false));
        // Recorded, and the score has not followed yet.
        let mut early = facts(Some("node3"));
        early.nodes.get_mut(&name("node3")).unwrap().may_be_chosen = false;
        assert_eq!(switch(&early), plan("node3", false));
    }

    #[test]
    fn every_obstacle_is_named() {
        type Change = fn(&mut Standby);
        let cases: [(Change, Obstacle, bool); 11] = [
            (|s| s.is_online = false, Obstacle::Offline, true),
            (
                |s| s.service = Service::Standby,
                Obstacle::OutOfService(Service::Standby),
                false,
            ),
            (
                |s| s.service = Service::Maintenance,
                Obstacle::OutOfService(Service::Maintenance),
                false,
            ),
            (|s| s.is_worn_out = true, Obstacle::WornOut, false),
            (|s| s.is_running = false, Obstacle::NotRunning, false),
            (|s| s.data_status = None, Obstacle::NeverStreamed, false),
            (
                |s| s.data_status = Some(DataStatus::Disconnected),
                Obstacle::Disconnected,
                false,
            ),
            (
                |s| s.data_status = Some(DataStatus::Latest),
                Obstacle::Disconnected,
                false,
            ),
            (
                |s| s.data_status = Some("CATCHUP|ASYNC".parse().unwrap()),
                Obstacle::CatchingUp("CATCHUP|ASYNC".parse().unwrap()),
                false,
            ),
            (
                |s| s.data_status = Some("STARTUP|SYNC".parse().unwrap()),
                Obstacle::CatchingUp("STARTUP|SYNC".parse().unwrap()),
                false,
            ),
            (
                |s| s.kept_away_by = Some(Bar::NoFailover),
                Obstacle::KeptAway(Bar::NoFailover),
                false,
            ),
        ];
        for (change, obstacle, is_dead) in cases {
            let mut facts = facts(Some("node3"));
            change(facts.nodes.get_mut(&name("node3")).unwrap());
            let refusal = switch(&facts).unwrap_err();
            assert_eq!(refusal, Refusal::Node(name("node3"), obstacle));
            assert_eq!(refusal.is_about_the_dead(), is_dead, "{refusal}");
            // The others are not held up by it.
            facts.wanted = None;
            assert_eq!(switch(&facts), plan("node2", false));
        }
    }

    #[test]
    fn who_is_the_primary_or_no_replica_is_refused() {
        for (wanted, obstacle) in [
            ("node1", Obstacle::IsPrimary),
            ("node9", Obstacle::NotAReplica),
        ] {
            let refusal = switch(&facts(Some(wanted))).unwrap_err();
            assert_eq!(refusal, Refusal::Node(name(wanted), obstacle));
            assert!(!refusal.is_about_the_dead());
        }
    }

    #[test]
    fn a_primary_that_pacemaker_does_not_touch_does_not_move() {
        for (service, wanted, expected) in [
            (
                Service::Maintenance,
                Some("node3"),
                Err(Refusal::Unmoved(name("node1"))),
            ),
            (
                Service::Maintenance,
                None,
                Err(Refusal::Unmoved(name("node1"))),
            ),
            // It is on its way already, or could be.
            (Service::Standby, Some("node3"), plan("node3", true)),
            (Service::Full, Some("node3"), plan("node3", true)),
        ] {
            let mut facts = facts(wanted);
            facts.nodes.get_mut(&name("node1")).unwrap().service = service;
            let found = switch(&facts);
            assert_eq!(found, expected, "{service:?}");
            if let Err(refusal) = found {
                assert!(!refusal.is_about_the_dead());
                assert!(refusal.to_string().ends_with("unmaintenance-node node1"));
            }
        }
    }

    #[test]
    fn there_must_be_one_primary() {
        let mut none = facts(None);
        none.primaries.clear();
        assert_eq!(switch(&none), Err(Refusal::NoPrimary));
        let mut two = facts(Some("node3"));
        two.primaries.push(name("node3"));
        assert!(matches!(switch(&two), Err(Refusal::SeveralPrimaries(_))));
    }

    #[test]
    fn where_nobody_can_each_node_s_reason_is_told() {
        let mut facts = facts(None);
        facts.nodes.get_mut(&name("node2")).unwrap().is_online = false;
        facts.nodes.insert(name("node3"), standby("DISCONNECT"));
        let refusal = switch(&facts).unwrap_err();
        let told = refusal.to_string();
        assert!(
            told.contains("node2 is not in the cluster")
                && told.contains("; node3 does not stream")
        );
        assert!(!refusal.is_about_the_dead());
        facts.nodes.get_mut(&name("node3")).unwrap().is_online = false;
        assert!(switch(&facts).unwrap_err().is_about_the_dead());
        facts.nodes.clear();
        assert_eq!(switch(&facts), Err(Refusal::Nobody(BTreeMap::new())));
    }

    #[test]
    fn in_asynchronous_mode_streaming_is_enough_unless_it_is_too_far_behind() {
        let mut facts = facts(Some("node2"));
        facts.promise = Promise::Async;
        assert_eq!(
            switch(&facts),
            Err(Refusal::Node(name("node2"), Obstacle::TooFarBehind))
        );
        facts.nodes.get_mut(&name("node2")).unwrap().may_be_chosen = true;
        assert_eq!(switch(&facts), plan("node2", true));
    }
}
