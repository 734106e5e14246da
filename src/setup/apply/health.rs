//! Whether the cluster does what it was configured for, and what of it can't come as things are.

use crate::model::cluster_view::{
    ClusterView, NodeView, PermanentAttribute, RecordedRole, ResourceName,
};
use crate::model::node_name::NodeName;
use crate::pacemaker::cib::{self, CibError};
use crate::pacemaker::resources::Resource;
use crate::setup::parts::Names;

use super::hands;
use super::same;

/// What is expected of the cluster.
pub(super) struct Expected<'a> {
    pub(super) names: &'a Names,
    pub(super) nodes: &'a [NodeName],
    /// The readers' addresses need no standby.
    pub(super) reader_on_primary: bool,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What is missing, the most important first. Empty: it is healthy. Nodes that are off are not waited for.
    pub(super) missing: Vec<String>,
    /// What else is not waited for, and why.
    pub(super) left_out: Vec<String>,
    /// PostgreSQL is to start on a node, or to be promoted.
    pub(super) lacks_database: bool,
    /// Why what is missing does not come by itself, and what to do about that.
    pub(super) never: Option<String>,
}

/// Looks at a CIB.
///
/// # Errors
/// [`CibError`].
pub(super) fn look(text: &str, expected: &Expected<'_>) -> Result<Found, CibError> {
    let view = cib::parse(text)?;
    let ours = hands::ours(text, expected.names)?;
    let mut found = state(&view, &ours, expected);
    if !found.missing.is_empty() {
        // An address that is unmanaged is not missing, and keeps nothing else from coming.
        let database = ours
            .iter()
            .find(|it| it.name.as_str() == expected.names.resource);
        let unmanaged = database.filter(|it| found.lacks_database && !it.is_managed());
        found.never = hands::mode(&view)
            .or_else(|| unmanaged.map(hands::unmanaged))
            .or_else(|| hopeless(&view, &ours, expected));
    }
    Ok(found)
}

fn target<'a>(ours: &'a [Resource], id: &str) -> Option<&'a str> {
    let it = ours.iter().find(|it| it.name.as_str() == id)?;
    it.meta.get("target-role").map(String::as_str)
}

fn is_stopped(ours: &[Resource], id: &str) -> bool {
    target(ours, id).is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
}

/// Why a node is not to run PostgreSQL now.
fn excuse(view: &ClusterView, node: &NodeView, resource: &ResourceName) -> Option<String> {
    if hands::is_on(node, "maintenance") {
        return Some("maintenance".to_owned());
    }
    if hands::is_on(node, "standby") {
        return Some("standby".to_owned());
    }
    let mut bans = view.bans_of(resource);
    let ban = bans.find(|ban| ban.node == node.name && !ban.is_of_promoted)?;
    Some(format!("banned by {}", ban.id))
}

fn online<'v>(view: &'v ClusterView, expected: &Expected<'_>) -> Vec<&'v NodeView> {
    let nodes = expected.nodes.iter().filter_map(|name| view.node(name));
    nodes.filter(|node| node.is_online).collect()
}

/// What keeps the cluster from what it lacks, of what an operator has said.
fn hopeless(view: &ClusterView, ours: &[Resource], expected: &Expected<'_>) -> Option<String> {
    let names = expected.names;
    let resource = ResourceName::new(&names.resource)?;
    if is_stopped(ours, &names.resource) {
        return Some(format!(
            "{} is stopped (target-role=Stopped): expgsql cluster start",
            names.clone
        ));
    }
    let role = target(ours, &names.resource).map(same::value);
    if role.as_deref() == Some("unpromoted") {
        return Some(format!(
            "{} is told to have no primary (target-role=Unpromoted): expgsql cluster start",
            names.clone
        ));
    }
    let is_primary = |node: &&NodeView| node.role(&resource) == RecordedRole::Promoted;
    if online(view, expected).iter().any(is_primary) {
        return None;
    }
    // One that is off may be on its way, and may have the primary when it is there.
    let reasons = expected.nodes.iter().map(|name| {
        let node = view.node(name)?;
        let why = excuse(view, node, &resource).or_else(|| {
            let ban = view.ban(&resource, name)?;
            Some(format!("not to be promoted, by {}", ban.id))
        })?;
        Some(format!("{name} ({why})"))
    });
    let all: Vec<String> = reasons.collect::<Option<_>>()?;
    Some(format!("no node may have the primary: {}", all.join(", ")))
}

fn state(view: &ClusterView, ours: &[Resource], expected: &Expected<'_>) -> Found {
    let mut found = Found::default();
    let Some(resource) = ResourceName::new(&expected.names.resource) else {
        let what = format!("{:?} names no resource", expected.names.resource);
        found.missing.push(what);
        return found;
    };
    let online = online(view, expected);
    let all = &mut found.missing;
    let primaries: Vec<&NodeName> = online
        .iter()
        .filter(|node| node.role(&resource) == RecordedRole::Promoted)
        .map(|node| &node.name)
        .collect();
    let primary = match primaries.as_slice() {
        [one] => Some(*one),
        [] => {
            all.push("a primary".to_owned());
            found.lacks_database = true;
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
    // Where the clone has fewer instances than there are nodes, any of them do.
    let database = ours.iter().find(|it| it.name == resource);
    let clone = database.and_then(|it| it.clone.as_ref());
    let most: Option<usize> = clone.and_then(|clone| clone.meta.get("clone-max")?.parse().ok());
    let running = online.iter().filter(|node| {
        matches!(
            node.role(&resource),
            RecordedRole::Promoted | RecordedRole::Unpromoted
        )
    });
    let is_full = most.is_some_and(|most| most > 0 && running.count() >= most);
    let mut places = 0;
    for node in &online {
        if Some(&node.name) == primary {
            places += 1;
            continue;
        }
        let excuse = excuse(view, node, &resource);
        let lacks = match node.role(&resource) {
            RecordedRole::Promoted => None,
            RecordedRole::Unpromoted if primary.is_none() || is_streaming(&node.name) => None,
            RecordedRole::Unpromoted => Some(format!("replication to {}", node.name)),
            RecordedRole::Stopped | RecordedRole::Unknown if is_full && excuse.is_none() => {
                let most = most.unwrap_or_default();
                found
                    .left_out
                    .push(format!("{} (clone-max={most})", node.name));
                continue;
            }
            RecordedRole::Stopped | RecordedRole::Unknown => {
                found.lacks_database |= excuse.is_none();
                Some(format!("PostgreSQL on {}", node.name))
            }
        };
        match (excuse, lacks) {
            (Some(why), _) => found.left_out.push(format!("{} ({why})", node.name)),
            (None, Some(what)) => {
                places += 1;
                all.push(what);
            }
            (None, None) => places += 1,
        }
    }
    let is_active = |id: &str| {
        ResourceName::new(id).is_some_and(|id| view.active_nodes(&id).any(|node| node.is_online))
    };
    let has_place = places > 1 || expected.reader_on_primary;
    let writer = std::iter::once((&expected.names.writer, "writer"));
    let readers = expected.names.readers.iter().filter(|_| has_place);
    for (id, whose) in writer.chain(readers.map(|id| (id, "reader"))) {
        if is_active(id) {
            continue;
        }
        let it = ours.iter().find(|it| it.name.as_str() == id);
        if is_stopped(ours, id) && !is_stopped(ours, resource.as_str()) {
            found.left_out.push(format!("{id} (target-role=Stopped)"));
        } else if it.is_some_and(|it| !it.is_managed()) {
            found.left_out.push(format!("{id} (unmanaged)"));
        } else {
            all.push(format!("the {whose}'s address ({id})"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    fn found_in(text: &str) -> Found {
        let nodes: Vec<NodeName> = ["node1", "node2", "node3"]
            .map(|name| NodeName::new(name).unwrap())
            .to_vec();
        let names = Names {
            readers: vec!["vip-slave".to_owned()],
            ..Names::default()
        };
        let expected = Expected {
            names: &names,
            nodes: &nodes,
            reader_on_primary: true,
        };
        look(text, &expected).unwrap()
    }

    fn missing_in(text: &str) -> Vec<String> {
        found_in(text).missing
    }

    #[test]
    fn a_healthy_cluster_lacks_nothing() {
        assert_eq!(found_in(THREE), Found::default());
    }

    /// Nothing of the database runs anywhere.
    fn nowhere(text: &str) -> String {
        text.replace("<lrm_resource id=\"pgsql\"", "<lrm_resource id=\"other\"")
    }

    /// Nor does it on this node.
    fn not_on(text: &str, node: &str) -> String {
        let at = text.rfind(&format!("uname=\"{node}\"")).unwrap();
        let end = at + text[at..].find("</node_state>").unwrap();
        format!("{}{}{}", &text[..at], nowhere(&text[at..end]), &text[end..])
    }

    fn with_attribute(text: &str, id: &str, name: &str, value: &str) -> String {
        let pair = format!("<nvpair id=\"test-{name}\" name=\"{name}\" value=\"{value}\"/>");
        let set = format!("<instance_attributes id=\"nodes-{id}\">");
        assert!(text.contains(&set), "{set}");
        text.replacen(&set, &format!("{set}{pair}"), 1)
    }

    fn with_meta(text: &str, element: &str, value: &str) -> String {
        let begin = text.find(element).unwrap_or_else(|| panic!("{element}"));
        let at = begin + text[begin..].find('>').unwrap() + 1;
        let set = format!(
            "<meta_attributes id=\"test-m\" score=\"9\"><nvpair id=\"test-t\" name=\"target-role\" value=\"{value}\"/></meta_attributes>"
        );
        format!("{}{set}{}", &text[..at], &text[at..])
    }

    fn unmanaged(text: &str, primitive: &str) -> String {
        with_meta(text, &format!("<primitive id=\"{primitive}\""), "x").replace(
            "name=\"target-role\" value=\"x\"",
            "name=\"is-managed\" value=\"false\"",
        )
    }

    /// The machine is off.
    fn off(text: &str, node: &str) -> String {
        let at = text.find(&format!("uname=\"{node}\" ")).unwrap();
        let at = text[at..].find("crmd=").map_or(at, |more| at + more);
        let rest = text[at..].replacen("crmd=\"online\"", "crmd=\"offline\"", 1);
        format!("{}{rest}", &text[..at])
    }

    fn with_constraint(text: &str, more: &str) -> String {
        let ban = format!(
            "<rsc_location id=\"ban\" rsc=\"msPostgresql\" {more} score=\"-INFINITY\"/></constraints>"
        );
        text.replace("</constraints>", &ban)
    }

    #[test]
    fn what_an_operator_took_out_is_not_waited_for() {
        let less = not_on(THREE, "node2");
        assert_eq!(missing_in(&less), ["PostgreSQL on node2"]);
        let no_vip = THREE.replace(
            "<lrm_resource id=\"vip-slave\"",
            "<lrm_resource id=\"other\"",
        );
        assert_eq!(missing_in(&no_vip), ["the reader's address (vip-slave)"]);
        let max = "name=\"clone-max\" value=\"3\"";
        assert!(less.contains(max));
        for (text, left_out) in [
            (
                with_attribute(&less, "2", "standby", "on"),
                "node2 (standby)",
            ),
            (
                with_attribute(&less, "2", "maintenance", "true"),
                "node2 (maintenance)",
            ),
            (
                with_constraint(&less, "node=\"node2\""),
                "node2 (banned by ban)",
            ),
            (
                less.replace(max, "name=\"clone-max\" value=\"2\""),
                "node2 (clone-max=2)",
            ),
            (
                with_meta(&no_vip, "<primitive id=\"vip-slave\"", "Stopped"),
                "vip-slave (target-role=Stopped)",
            ),
            (unmanaged(&no_vip, "vip-slave"), "vip-slave (unmanaged)"),
        ] {
            let found = found_in(&text);
            assert_eq!(found.missing, Vec::<String>::new(), "{left_out}");
            assert_eq!(found.left_out, [left_out]);
        }
        // What is not to be promoted is to run all the same.
        let ban = with_constraint(&less, "node=\"node2\" role=\"Promoted\"");
        assert_eq!(missing_in(&ban), ["PostgreSQL on node2"]);
    }

    #[test]
    fn what_does_not_come_by_itself_is_told_at_once() {
        let none = nowhere(THREE);
        assert_eq!(found_in(&none).never, None);
        let everywhere = ["1", "2", "3"].iter().fold(none.clone(), |text, id| {
            with_attribute(&text, id, "standby", "on").replace("test-standby", &format!("s-{id}"))
        });
        let clone = "<clone id=\"msPostgresql\"";
        let maintenance = none.replacen(
            "<cluster_property_set id=\"cib-bootstrap-options\">",
            "<cluster_property_set id=\"cib-bootstrap-options\"><nvpair id=\"t\" name=\"maintenance-mode\" value=\"true\"/>",
            1,
        );
        for (text, part) in [
            (with_meta(&none, clone, "Stopped"), "expgsql cluster start"),
            (with_meta(&none, clone, "Slave"), "no primary"),
            (everywhere, "node1 (standby), node2 (standby), node3 (standby)"),
            (
                with_constraint(&none, "role=\"Promoted\" node=\"node1\"")
                    .replace("<rsc_location id=\"ban\"", "<rsc_location id=\"b2\" rsc=\"msPostgresql\" node=\"node2\" score=\"-INFINITY\"/><rsc_location id=\"b3\" rsc=\"msPostgresql\" node=\"node3\" score=\"-INFINITY\"/><rsc_location id=\"ban\""),
                "node1 (not to be promoted, by ban)",
            ),
            (maintenance, "cluster unmaintenance"),
        ] {
            let never = found_in(&text).never;
            let never = never.unwrap_or_else(|| panic!("{part}: it is waited for"));
            assert!(never.contains(part), "{part}: {never}");
        }
        // What is unmanaged on purpose keeps nothing else from coming, and a node that is off may come.
        let less = not_on(THREE, "node2");
        let no_vip = THREE.replace(
            "<lrm_resource id=\"vip-slave\"",
            "<lrm_resource id=\"other\"",
        );
        let two = ["2", "3"].iter().fold(none.clone(), |text, id| {
            with_attribute(&text, id, "standby", "on").replace("test-standby", &format!("s-{id}"))
        });
        let booting = off(&two, "node1");
        assert_ne!(booting, two);
        for (text, missing) in [
            (unmanaged(&less, "vip-slave"), "PostgreSQL on node2"),
            (
                unmanaged(&no_vip, "pgsql"),
                "the reader's address (vip-slave)",
            ),
            (booting, "a primary"),
        ] {
            let found = found_in(&text);
            assert!(found.missing.contains(&missing.to_owned()), "{found:?}");
            assert_eq!(found.never, None);
        }
        let never = found_in(&unmanaged(&less, "pgsql")).never;
        assert!(never.is_some_and(|why| why.contains("pgsql is unmanaged")));
        // One of which all is well lacks nothing, whoever looks away.
        let healthy = with_attribute(THREE, "2", "maintenance", "true");
        assert_eq!(found_in(&healthy).never, None);
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
