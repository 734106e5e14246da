//! Whom an operator may make the primary where the recorded one is lost, and what is given up with that.
//!
//! No rule allows it: nobody knows for certain who has every acknowledged commit. So everything that is known is weighed,
//! and what is not known is said; the operator decides.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::node_name::NodeName;
use crate::model::timeline::{Newer, Relation, WalPosition};

/// What is known when an operator asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Nodes in the cluster that are the primary.
    pub primaries: Vec<NodeName>,
    /// The node that the operator named.
    pub wanted: Option<NodeName>,
    /// Whatever the others have.
    pub force: bool,
    /// The recorded primary: among equals it is preferred.
    pub recorded: Option<NodeName>,
    /// Every node that replicates.
    pub nodes: BTreeMap<NodeName, Known>,
}

/// What is known of one node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Not in the cluster.
    Away,
    /// In the cluster, and has not said how far its WAL reaches: its server does not run, or still replays.
    Silent,
    At(WalPosition),
}

/// How a node's WAL stands to that of the node which becomes the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It becomes the primary.
    Chosen,
    Unknown,
    /// The chosen one has all that it has.
    Contained,
    /// It has more: that is given up.
    More {
        /// `None`: on a later timeline.
        bytes: Option<u64>,
    },
    /// Each has what the other has not: its part is given up.
    Diverged,
}

/// Who becomes the primary, and what of the others is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub node: NodeName,
    pub stands: BTreeMap<NodeName, Stand>,
}

/// Why nobody is made the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    HasPrimary(Vec<NodeName>),
    NotAReplica(NodeName),
    Away(NodeName),
    /// The node that was named has not said what it has.
    Unknown(NodeName),
    /// Another has more than the one that was named.
    Behind {
        node: NodeName,
        better: NodeName,
        bytes: Option<u64>,
    },
    /// Nobody was named, and these may have more than those that have reported.
    Silent(Vec<NodeName>),
    /// Nobody was named, and nobody has reported.
    NobodyReported,
    /// Nobody was named, and these were promoted separately.
    Unrankable(NodeName, NodeName),
}

/// The plan.
///
/// # Errors
/// [`Refusal`].
pub fn reset(facts: &Facts) -> Result<Plan, Refusal> {
    if !facts.primaries.is_empty() {
        return Err(Refusal::HasPrimary(facts.primaries.clone()));
    }
    let node = match &facts.wanted {
        Some(wanted) => named(facts, wanted)?,
        None => best(facts)?,
    };
    let stands = facts.nodes.iter();
    let stands = stands.map(|(name, known)| (name.clone(), stand(facts, node, name, known)));
    Ok(Plan {
        node: node.clone(),
        stands: stands.collect(),
    })
}

fn named<'f>(facts: &'f Facts, wanted: &NodeName) -> Result<&'f NodeName, Refusal> {
    let (name, known) = facts
        .nodes
        .get_key_value(wanted)
        .ok_or_else(|| Refusal::NotAReplica(wanted.clone()))?;
    match known {
        Known::Away => return Err(Refusal::Away(name.clone())),
        Known::Silent if !facts.force => return Err(Refusal::Unknown(name.clone())),
        Known::Silent | Known::At(_) => {}
    }
    if facts.force {
        return Ok(name);
    }
    for (other, known) in &facts.nodes {
        if let Stand::More { bytes } = stand(facts, name, other, known) {
            return Err(Refusal::Behind {
                node: name.clone(),
                better: other.clone(),
                bytes,
            });
        }
    }
    Ok(name)
}

fn best(facts: &Facts) -> Result<&NodeName, Refusal> {
    let silent = facts.nodes.iter().filter(|(_, k)| **k == Known::Silent);
    let silent: Vec<NodeName> = silent.map(|(name, _)| name.clone()).collect();
    let mut best: Option<(&NodeName, &WalPosition)> = None;
    for (name, known) in &facts.nodes {
        let Known::At(position) = known else {
            continue;
        };
        let Some((leader, leading)) = best else {
            best = Some((name, position));
            continue;
        };
        let is_better = match position.relate(leading) {
            Relation::Ahead => true,
            Relation::Behind => false,
            Relation::Equal => facts.recorded.as_ref() == Some(name),
            Relation::Diverged { newer, .. } => match newer {
                Newer::This => true,
                Newer::Other => false,
                Newer::Unknown => {
                    return Err(Refusal::Unrankable(leader.clone(), name.clone()));
                }
            },
        };
        if is_better {
            best = Some((name, position));
        }
    }
    match (best, &silent[..]) {
        (None, _) => Err(Refusal::NobodyReported),
        (Some(_), [_, ..]) => Err(Refusal::Silent(silent)),
        (Some((name, _)), []) => Ok(name),
    }
}

fn stand(facts: &Facts, chosen: &NodeName, name: &NodeName, known: &Known) -> Stand {
    if name == chosen {
        return Stand::Chosen;
    }
    let (Known::At(theirs), Some(Known::At(ours))) = (known, facts.nodes.get(chosen)) else {
        return Stand::Unknown;
    };
    match ours.relate(theirs) {
        Relation::Equal | Relation::Ahead => Stand::Contained,
        Relation::Behind => Stand::More {
            bytes: theirs.end.bytes_past(ours.end),
        },
        Relation::Diverged { newer, .. } => match newer {
            Newer::Other => Stand::More { bytes: None },
            Newer::This | Newer::Unknown => Stand::Diverged,
        },
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |nodes: &[NodeName]| {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            names.join(" and ")
        };
        match self {
            Self::HasPrimary(nodes) => write!(
                f,
                "{} is the primary, so there is nothing to reset: expgsql cluster switch makes another node the primary",
                listed(nodes)
            ),
            Self::NotAReplica(node) => {
                write!(f, "{node} is not in node_list: the resource does not run there")
            }
            Self::Away(node) => write!(
                f,
                "{node} is not in the cluster at the moment, so it can't be promoted: start it, or name another node"
            ),
            Self::Unknown(node) => write!(
                f,
                "{node} has not said how far its WAL reaches, since its server does not run or still replays: wait, or expgsql cluster cleanup; --force goes on without knowing"
            ),
            Self::Behind { node, better, bytes } => {
                match bytes {
                    Some(bytes) => write!(f, "{better} has {bytes} bytes of WAL more than {node}")?,
                    None => write!(f, "{better} is on a later timeline than {node}")?,
                }
                write!(f, ", which would be lost: name {better}, or add --force")
            }
            Self::Silent(nodes) => write!(
                f,
                "{} may have more WAL than the others, and has not said how much: wait, or expgsql cluster cleanup, or name a node",
                listed(nodes)
            ),
            Self::NobodyReported => f.write_str(
                "no node has said how far its WAL reaches, since no server runs: expgsql cluster start, or cleanup, and try again; or name a node, with --force",
            ),
            Self::Unrankable(one, other) => write!(
                f,
                "{one} and {other} were promoted separately, and each has commits that the other has not: name the one that counts"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lsn::Lsn;

    fn name(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn at(lineage: &str, end: u64) -> Known {
        Known::At(WalPosition {
            lineage: lineage.parse().unwrap(),
            end: Lsn::new(end),
        })
    }

    fn facts(wanted: Option<&str>, nodes: [Known; 3]) -> Facts {
        let names = ["node1", "node2", "node3"];
        Facts {
            primaries: vec![],
            wanted: wanted.map(name),
            force: false,
            recorded: Some(name("node1")),
            nodes: names.into_iter().map(name).zip(nodes).collect(),
        }
    }

    fn outcome(facts: &Facts) -> Result<String, Refusal> {
        reset(facts).map(|plan| plan.node.to_string())
    }

    #[test]
    fn without_a_name_the_most_wal_counts() {
        use Known::{Away, Silent};
        let two = "2<1:0000000000000040";
        let other_two = "2<1:0000000000000050";
        for (nodes, expected) in [
            ([Away, at("1", 0x50), at("1", 0x60)], Ok("node3")),
            ([Away, at("1", 0x60), at("1", 0x50)], Ok("node2")),
            // A larger number on a timeline that was left loses.
            ([Away, at(two, 0x48), at("1", 0x90)], Ok("node2")),
            ([Away, at("1", 0x60), at("1", 0x60)], Ok("node2")),
            ([at("1", 0x60), at("1", 0x60), Away], Ok("node1")),
            (
                [Away, at(two, 0x60), at(other_two, 0x60)],
                Err(Refusal::Unrankable(name("node2"), name("node3"))),
            ),
            (
                [Away, at("1", 0x60), Silent],
                Err(Refusal::Silent(vec![name("node3")])),
            ),
            ([Away, Away, Silent], Err(Refusal::NobodyReported)),
            ([Away, Away, Away], Err(Refusal::NobodyReported)),
        ] {
            let facts = facts(None, nodes);
            assert_eq!(outcome(&facts), expected.map(str::to_owned), "{facts:?}");
        }
        // Among equals the recorded primary, also where it does not come first.
        let mut equal = facts(None, [at("1", 0x60), at("1", 0x60), at("1", 0x60)]);
        equal.recorded = Some(name("node3"));
        assert_eq!(outcome(&equal), Ok("node3".to_owned()));
    }

    #[test]
    fn a_named_node_must_be_there_and_nobody_may_have_more_unless_forced() {
        use Known::{Away, Silent};
        let two = "2<1:0000000000000040";
        let behind = |bytes| Refusal::Behind {
            node: name("node2"),
            better: name("node3"),
            bytes,
        };
        for (nodes, plain, forced) in [
            ([Away, at("1", 0x60), at("1", 0x50)], Ok(()), Ok(())),
            ([Away, at("1", 0x60), Silent], Ok(()), Ok(())),
            (
                [Away, at("1", 0x50), at("1", 0x60)],
                Err(behind(Some(0x10))),
                Ok(()),
            ),
            (
                [Away, at("1", 0x50), at(two, 0x44)],
                Err(behind(None)),
                Ok(()),
            ),
            (
                [Away, Silent, at("1", 0x60)],
                Err(Refusal::Unknown(name("node2"))),
                Ok(()),
            ),
            (
                [Silent, Away, Silent],
                Err(Refusal::Away(name("node2"))),
                Err(Refusal::Away(name("node2"))),
            ),
        ] {
            let mut facts = facts(Some("NODE2"), nodes);
            let answer = |result: Result<(), Refusal>| result.map(|()| "node2".to_owned());
            assert_eq!(outcome(&facts), answer(plain), "{facts:?}");
            facts.force = true;
            assert_eq!(outcome(&facts), answer(forced), "{facts:?}");
        }
        // Of two that were promoted separately a person says who counts.
        let diverged = facts(
            Some("node2"),
            [Away, at(two, 0x60), at("2<1:0000000000000050", 0x70)],
        );
        assert_eq!(
            reset(&diverged).unwrap().stands[&name("node3")],
            Stand::Diverged
        );
    }

    #[test]
    fn what_is_given_up_is_in_the_plan() {
        let mut facts = facts(Some("node2"), [Known::Away, at("1", 0x50), at("1", 0x60)]);
        facts.force = true;
        let plan = reset(&facts).unwrap();
        let stands: Vec<Stand> = plan.stands.into_values().collect();
        assert_eq!(
            stands,
            [
                Stand::Unknown,
                Stand::Chosen,
                Stand::More { bytes: Some(0x10) }
            ]
        );
        facts.wanted = None;
        facts.force = false;
        let plan = reset(&facts).unwrap();
        assert_eq!(plan.stands[&name("node2")], Stand::Contained);
    }

    #[test]
    fn with_a_primary_and_for_a_stranger_nothing_is_done() {
        let mut facts = facts(Some("node9"), [const { Known::Silent }; 3]);
        facts.force = true;
        assert_eq!(reset(&facts), Err(Refusal::NotAReplica(name("node9"))));
        facts.primaries.push(name("node3"));
        assert_eq!(reset(&facts), Err(Refusal::HasPrimary(vec![name("node3")])));
    }
}
