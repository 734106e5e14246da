//! Whose data an operator may have repaired, and from whom.
//!
//! A repair throws away what this node has and the primary has not. So there must be a primary, it must be another node,
//! and the record of both must come from a partition that may act.

use std::fmt;

use crate::model::cluster_view::Quorum;
use crate::model::node_name::NodeName;
use crate::model::status::{DataStatus, SenderState};

/// What is known when an operator asks for a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// This node.
    pub me: NodeName,
    pub quorum: Quorum,
    /// Nodes in the membership that are the primary, by Pacemaker's account or by their own.
    pub primaries: Vec<NodeName>,
    /// The resource may run on this node: node_list names it, or names nobody.
    pub is_replica: bool,
    /// The server runs on this node.
    pub is_running: bool,
    /// What the primary last recorded about this node.
    pub data_status: Option<DataStatus>,
    /// The operator wants a healthy node repaired, too.
    pub force: bool,
}

/// Why this node is not repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The partition has no quorum, or nobody has counted yet.
    NoQuorum(Quorum),
    /// Nobody to repair from.
    NoPrimary,
    /// Two nodes say that they are the primary.
    SeveralPrimaries(Vec<NodeName>),
    /// This node is the primary.
    IsPrimary(NodeName),
    /// The resource has no business on this node.
    NotAReplica(NodeName),
    /// The server runs and streams from the primary.
    Healthy {
        me: NodeName,
        primary: NodeName,
        data_status: DataStatus,
    },
}

/// The primary that this node is repaired from.
///
/// # Errors
/// [`Refusal`], the weightiest first.
pub fn repair_source(facts: &Facts) -> Result<&NodeName, Refusal> {
    match facts.quorum {
        Quorum::Yes => {}
        Quorum::No | Quorum::Unknown => return Err(Refusal::NoQuorum(facts.quorum)),
    }
    // Before anything else about primaries: of two, this node may be the right one.
    if facts.primaries.contains(&facts.me) {
        return Err(Refusal::IsPrimary(facts.me.clone()));
    }
    let primary = match &facts.primaries[..] {
        [] => return Err(Refusal::NoPrimary),
        [primary] => primary,
        [_, _, ..] => return Err(Refusal::SeveralPrimaries(facts.primaries.clone())),
    };
    if !facts.is_replica {
        return Err(Refusal::NotAReplica(facts.me.clone()));
    }
    match facts.data_status {
        // What was recorded of a server that has stopped since says nothing about its data.
        Some(data_status @ DataStatus::Replicating(SenderState::Streaming, _))
            if facts.is_running && !facts.force =>
        {
            Err(Refusal::Healthy {
                me: facts.me.clone(),
                primary: primary.clone(),
                data_status,
            })
        }
        _ => Ok(primary),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuorum(Quorum::Unknown) => f.write_str(
                "the cluster has not come together yet, so it is not known who the primary is: wait, and try again",
            ),
            Self::NoQuorum(Quorum::No | Quorum::Yes) => f.write_str(
                "this node's part of the cluster has no quorum, so another part may have another primary: bring the \
                 other nodes back, and try again",
            ),
            Self::NoPrimary => f.write_str(
                "the cluster has no primary to repair this node from, and this node's data may be the newest there are: \
                 crm_mon -1Afr shows why nobody was promoted",
            ),
            Self::SeveralPrimaries(nodes) => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(
                    f,
                    "{} are the primary at once, and it is not known who is right: wait until one of them is left",
                    names.join(" and ")
                )
            }
            Self::IsPrimary(me) => write!(
                f,
                "{me} is the primary: the others follow it, and its data are never replaced; run this on the node that is \
                 to be repaired"
            ),
            Self::NotAReplica(me) => write!(
                f,
                "{me} is not in node_list, so the resource does not run here and nothing is to be repaired"
            ),
            Self::Healthy {
                me,
                primary,
                data_status,
            } => write!(
                f,
                "{me} is healthy: it runs and follows {primary} ({data_status}); --force repairs it all the same"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::SyncState;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    const STREAMING: DataStatus = DataStatus::Replicating(SenderState::Streaming, SyncState::Async);
    const CATCHING_UP: DataStatus = DataStatus::Replicating(SenderState::Catchup, SyncState::Async);

    /// A node that was refused at its start, beside a primary.
    fn broken() -> Facts {
        Facts {
            me: node("node3"),
            quorum: Quorum::Yes,
            primaries: vec![node("node1")],
            is_replica: true,
            is_running: false,
            data_status: Some(DataStatus::Disconnected),
            force: false,
        }
    }

    /// A name for each refusal, to compare by.
    fn verdict(facts: &Facts) -> &'static str {
        match repair_source(facts) {
            Ok(primary) => {
                assert_eq!(*primary, node("node1"));
                "repaired"
            }
            Err(Refusal::NoQuorum(_)) => "no quorum",
            Err(Refusal::NoPrimary) => "no primary",
            Err(Refusal::SeveralPrimaries(_)) => "several primaries",
            Err(Refusal::IsPrimary(_)) => "is primary",
            Err(Refusal::NotAReplica(_)) => "no replica",
            Err(Refusal::Healthy { .. }) => "healthy",
        }
    }

    #[test]
    fn a_broken_node_is_repaired_whatever_was_last_recorded_of_it() {
        for data_status in [
            None,
            Some(DataStatus::Disconnected),
            Some(DataStatus::Latest),
            Some(STREAMING),
            Some(CATCHING_UP),
        ] {
            let facts = Facts {
                data_status,
                ..broken()
            };
            assert_eq!(verdict(&facts), "repaired", "{data_status:?}");
        }
    }

    #[test]
    fn a_running_node_is_repaired_unless_it_streams() {
        for (data_status, force, expected) in [
            (None, false, "repaired"),
            (Some(DataStatus::Disconnected), false, "repaired"),
            (Some(CATCHING_UP), false, "repaired"),
            (Some(STREAMING), false, "healthy"),
            (Some(STREAMING), true, "repaired"),
        ] {
            let facts = Facts {
                is_running: true,
                data_status,
                force,
                ..broken()
            };
            assert_eq!(verdict(&facts), expected, "{data_status:?} {force}");
        }
    }

    #[test]
    fn force_never_touches_a_primary_and_never_goes_without_one() {
        for force in [false, true] {
            for is_running in [false, true] {
                for (quorum, primaries, expected) in [
                    (Quorum::No, &["node1"][..], "no quorum"),
                    (Quorum::Unknown, &["node1"], "no quorum"),
                    (Quorum::No, &["node3"], "no quorum"),
                    (Quorum::Yes, &[], "no primary"),
                    (Quorum::Yes, &["node3"], "is primary"),
                    (Quorum::Yes, &["node1", "node3"], "is primary"),
                    (Quorum::Yes, &["node1", "node2"], "several primaries"),
                ] {
                    let facts = Facts {
                        quorum,
                        primaries: primaries.iter().map(|name| node(name)).collect(),
                        force,
                        is_running,
                        ..broken()
                    };
                    assert_eq!(verdict(&facts), expected, "{facts:?}");
                }
                let elsewhere = Facts {
                    is_replica: false,
                    force,
                    is_running,
                    ..broken()
                };
                assert_eq!(verdict(&elsewhere), "no replica");
            }
        }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for (facts, part) in [
            (
                Facts {
                    quorum: Quorum::Unknown,
                    ..broken()
                },
                "try again",
            ),
            (
                Facts {
                    primaries: vec![],
                    ..broken()
                },
                "crm_mon",
            ),
            (
                Facts {
                    primaries: vec![node("a"), node("b")],
                    ..broken()
                },
                "a and b are the primary at once",
            ),
            (
                Facts {
                    is_running: true,
                    data_status: Some(STREAMING),
                    ..broken()
                },
                "follows node1 (STREAMING|ASYNC); --force",
            ),
        ] {
            let text = repair_source(&facts).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
