//! Whether a node may be named the first primary of a cluster: only where nobody has ever been one.

use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;

/// What comes of naming a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Nobody was promoted yet: it is written down.
    Name,
    /// It is on record already.
    IsIt,
    /// Somebody else is, as this says: commits may have been acknowledged there that the named node lacks.
    Another(String),
}

/// `record`: the promotion record as it stands in the CIB. `latest`: the nodes whose data status is LATEST, which is all
/// that an older agent records of a primary.
#[must_use]
pub fn first_primary(node: &NodeName, record: Option<&str>, latest: &[NodeName]) -> First {
    let is_it = |text: &str| text.parse::<ReplInfo>().is_ok_and(|r| r.node == *node);
    match (record, latest.iter().find(|other| *other != node)) {
        (Some(text), _) if is_it(text) => First::IsIt,
        // One that can't be read is of somebody, too.
        (Some(text), _) => First::Another(format!("on record is {text}")),
        (None, Some(other)) => First::Another(format!("{other}'s data status is LATEST")),
        (None, None) if !latest.is_empty() => First::IsIt,
        (None, None) => First::Name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_only_where_nobody_was_a_primary() {
        let node = |name: &str| NodeName::new(name).unwrap();
        let nobody: &[NodeName] = &[];
        let (one, two) = ([node("node1")], [node("node2")]);
        for (record, latest, expected) in [
            (None, nobody, Some(First::Name)),
            (Some("node2"), nobody, Some(First::IsIt)),
            (Some("node2|3|0000000005000060|7"), &two, Some(First::IsIt)),
            (Some("node1|3|0000000005000060|7"), nobody, None),
            (Some("node1|3|0000000005000060|7"), &two, None),
            (Some("?|?"), nobody, None),
            // Of an agent that keeps no promotion record.
            (None, &one, None),
            (None, &two, Some(First::IsIt)),
        ] {
            let got = first_primary(&node("Node2"), record, latest);
            match expected {
                Some(expected) => assert_eq!(got, expected, "{record:?} {latest:?}"),
                None => assert!(
                    matches!(got, First::Another(_)),
                    "{record:?} {latest:?}: {got:?}"
                ),
            }
        }
    }
}
