//! Whether the cluster does what it was configured for.

use crate::model::cluster_view::{ClusterView, PermanentAttribute, RecordedRole, ResourceName};
use crate::model::node_name::NodeName;
use crate::setup::parts::Names;

/// What is expected of the cluster.
pub(super) struct Expected<'a> {
    pub(super) names: &'a Names,
    pub(super) nodes: &'a [NodeName],
    /// The readers' addresses need no standby.
    pub(super) reader_on_primary: bool,
}

/// What is missing, the most important first. Empty: it is healthy. Nodes that are off are not waited for.
pub(super) fn missing(view: &ClusterView, expected: &Expected<'_>) -> Vec<String> {
    let Some(resource) = ResourceName::new(&expected.names.resource) else {
        return vec![format!("{:?} names no resource", expected.names.resource)];
    };
    let online: Vec<_> = expected
        .nodes
        .iter()
        .filter_map(|name| view.node(name))
        .filter(|node| node.is_online)
        .collect();
    let mut all = Vec::new();
    let primaries: Vec<&NodeName> = online
        .iter()
        .filter(|node| node.role(&resource) == RecordedRole::Promoted)
        .map(|node| &node.name)
        .collect();
    let primary = match primaries.as_slice() {
        [one] => Some(*one),
        [] => {
            all.push("a primary".to_owned());
            None
        }
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            all.push(format!("a single primary (now {})", names.join(" and ")));
            None
        }
    };
    let is_streaming = |name: &NodeName| {
        view.node(name)
            .and_then(|node| node.permanent(PermanentAttribute::DataStatus, &resource))
            .is_some_and(|status| status.starts_with("STREAMING|"))
    };
    for node in &online {
        if Some(&node.name) == primary {
            continue;
        }
        match node.role(&resource) {
            RecordedRole::Unpromoted if primary.is_none() || is_streaming(&node.name) => {}
            RecordedRole::Unpromoted => all.push(format!("replication to {}", node.name)),
            RecordedRole::Promoted => {}
            RecordedRole::Stopped | RecordedRole::Unknown => {
                all.push(format!("PostgreSQL on {}", node.name))
            }
        }
    }
    let is_active = |id: &str| {
        ResourceName::new(id).is_some_and(|id| view.active_nodes(&id).any(|node| node.is_online))
    };
    if !is_active(&expected.names.writer) {
        all.push(format!("the writer's address ({})", expected.names.writer));
    }
    let has_place = online.len() > 1 || expected.reader_on_primary;
    for reader in expected.names.readers.iter().filter(|_| has_place) {
        if !is_active(reader) {
            all.push(format!("the reader's address ({reader})"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::cib;

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    fn missing_in(text: &str) -> Vec<String> {
        let nodes: Vec<NodeName> = ["node1", "node2", "node3"]
            .map(|name| NodeName::new(name).unwrap())
            .to_vec();
        let names = Names {
            readers: vec!["vip-slave".to_owned()],
            ..Names::default()
        };
        missing(
            &cib::parse(text).unwrap(),
            &Expected {
                names: &names,
                nodes: &nodes,
                reader_on_primary: true,
            },
        )
    }

    #[test]
    fn a_healthy_cluster_lacks_nothing() {
        assert_eq!(missing_in(THREE), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_named() {
        let broken = THREE.replace("STREAMING|", "DISCONNECT|");
        assert!(
            missing_in(&broken)
                .iter()
                .any(|what| what.starts_with("replication to node"))
        );
        let no_writer = THREE.replace("id=\"vip-master\" ", "id=\"other\" ");
        assert!(
            missing_in(&no_writer)
                .iter()
                .any(|what| what.contains("vip-master"))
        );
        let none = THREE
            .replace("operation=\"promote\"", "operation=\"notify\"")
            .replace("rc-code=\"8\"", "rc-code=\"0\"");
        assert!(
            missing_in(&none).contains(&"a primary".to_owned()),
            "{:?}",
            missing_in(&none)
        );
    }
}
