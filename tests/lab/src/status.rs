//! What Pacemaker says: `crm_mon -1 --output-as=xml`, read into values.

use std::collections::BTreeMap;
use std::fmt;

use roxmltree::{Document, Node as Xml};

use crate::error::{Error, Result};
use crate::host::Node;
use crate::resources::{RESOURCE, WRITER};

/// One look at the cluster, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the node that answered is in a partition with quorum.
    pub quorum: bool,
    /// The designated controller; `None`: none elected.
    pub dc: Option<String>,
    /// Every node the cluster knows.
    pub nodes: Vec<NodeStatus>,
    /// Every running or failed instance of a resource.
    pub instances: Vec<Instance>,
    /// Node name to attribute to value, transient and permanent ones.
    pub attributes: BTreeMap<String, BTreeMap<String, String>>,
    /// Failure counts.
    pub fail_counts: Vec<FailCount>,
    /// Failed operations, in words.
    pub failures: Vec<String>,
}

/// A node's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// A member that runs Pacemaker.
    pub online: bool,
    /// In standby mode.
    pub standby: bool,
    /// In maintenance mode.
    pub maintenance: bool,
    /// Lost in a way that needs fencing.
    pub unclean: bool,
    /// Joining.
    pub pending: bool,
}

/// A resource on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Resource name.
    pub resource: String,
    /// Node name; `None`: not placed.
    pub node: Option<String>,
    /// Its role.
    pub role: Role,
    /// Its last operation failed.
    pub failed: bool,
    /// Nothing more is done for it before someone cleans up.
    pub blocked: bool,
    /// Pacemaker looks after it: no maintenance mode.
    pub managed: bool,
}

/// A resource's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not running.
    Stopped,
    /// Running, not promotable.
    Started,
    /// A standby, for PostgreSQL.
    Unpromoted,
    /// The primary, for PostgreSQL.
    Promoted,
    /// On the way from one of these to another: an operation runs.
    Changing,
}

impl Role {
    /// From crm_mon's word; builds with the old names (RHEL 8) say Master and Slave.
    fn parse(word: &str) -> Result<Self> {
        match word {
            "Stopped" => Ok(Self::Stopped),
            "Started" => Ok(Self::Started),
            "Unpromoted" | "Slave" => Ok(Self::Unpromoted),
            "Promoted" | "Master" => Ok(Self::Promoted),
            "Starting" | "Stopping" | "Promoting" | "Demoting" | "Migrating" => Ok(Self::Changing),
            other => Err(Error::Other(format!("crm_mon: unknown role {other:?}"))),
        }
    }
}

/// Failures of a resource on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailCount {
    /// Node name.
    pub node: String,
    /// Resource name.
    pub resource: String,
    /// Number, or `INFINITY`, which crm_mon also writes as 1000000.
    pub count: String,
}

impl FailCount {
    /// Whether Pacemaker has given the resource up on this node.
    pub fn is_infinite(&self) -> bool {
        self.count == "INFINITY" || self.count == "1000000"
    }
}

impl Status {
    /// Nodes on which Pacemaker has the resource promoted. More than one is a defect in the making.
    pub fn promoted(&self) -> Vec<&str> {
        self.of(RESOURCE, Role::Promoted)
    }

    /// Nodes on which the resource has this role.
    pub fn of(&self, resource: &str, role: Role) -> Vec<&str> {
        self.instances
            .iter()
            .filter(|i| i.resource == resource && i.role == role && !i.failed)
            .filter_map(|i| i.node.as_deref())
            .collect()
    }

    /// Where a resource that is not promotable runs.
    pub fn location(&self, resource: &str) -> Option<&str> {
        self.of(resource, Role::Started).first().copied()
    }

    /// Where the writer's address is.
    pub fn writer(&self) -> Option<&str> {
        self.location(WRITER)
    }

    /// A node attribute; `None`: not set.
    pub fn attribute(&self, node: &str, name: &str) -> Option<&str> {
        self.attributes.get(node)?.get(name).map(String::as_str)
    }

    /// Whether a node is a working member.
    pub fn is_online(&self, node: &str) -> bool {
        self.nodes
            .iter()
            .any(|n| n.name == node && n.online && !n.pending)
    }

    /// Parses crm_mon's XML.
    ///
    /// # Errors
    /// [`Error::Other`] for XML that can't be read.
    pub fn parse(xml: &str) -> Result<Self> {
        let document = Document::parse(xml)
            .map_err(|error| Error::Other(format!("crm_mon: {error}\n{xml}")))?;
        let root = document.root_element();
        let mut status = Self::default();
        if let Some(dc) = find(root, "current_dc").filter(|dc| flag(*dc, "present")) {
            status.quorum = flag(dc, "with_quorum");
            status.dc = dc.attribute("name").map(str::to_owned);
        }
        for node in children(root, "nodes", "node") {
            status.nodes.push(NodeStatus {
                name: text(node, "name"),
                online: flag(node, "online"),
                standby: flag(node, "standby"),
                maintenance: flag(node, "maintenance"),
                unclean: flag(node, "unclean"),
                pending: flag(node, "pending"),
            });
        }
        // The group of this name directly below the root; `resource` elements may lie inside clones and groups.
        for resource in find(root, "resources")
            .into_iter()
            .flat_map(|r| r.descendants())
            .filter(|e| e.has_tag_name("resource"))
        {
            let instance = Instance {
                resource: text(resource, "id"),
                node: None,
                role: Role::parse(resource.attribute("role").unwrap_or_default())?,
                failed: flag(resource, "failed"),
                blocked: flag(resource, "blocked"),
                managed: flag(resource, "managed"),
            };
            let places: Vec<String> = resource
                .children()
                .filter(|e| e.has_tag_name("node"))
                .map(|e| text(e, "name"))
                .collect();
            if places.is_empty() {
                status.instances.push(instance);
            } else {
                status
                    .instances
                    .extend(places.into_iter().map(|node| Instance {
                        node: Some(node),
                        ..instance.clone()
                    }));
            }
        }
        for node in children(root, "node_attributes", "node") {
            let values = node
                .children()
                .filter(|e| e.has_tag_name("attribute"))
                .map(|e| (text(e, "name"), text(e, "value")))
                .collect();
            status.attributes.insert(text(node, "name"), values);
        }
        for node in children(root, "node_history", "node") {
            for history in node
                .children()
                .filter(|e| e.has_tag_name("resource_history"))
            {
                if let Some(count) = history
                    .attribute("fail-count")
                    .filter(|count| *count != "0")
                {
                    status.fail_counts.push(FailCount {
                        node: text(node, "name"),
                        resource: text(history, "id"),
                        count: count.to_owned(),
                    });
                }
            }
        }
        for failure in children(root, "failures", "failure") {
            status.failures.push(format!(
                "{} on {}: {} {}",
                text(failure, "op_key"),
                text(failure, "node"),
                text(failure, "exitstatus"),
                unescape(&text(failure, "exitreason"))
            ));
        }
        Ok(status)
    }
}

fn find<'a, 'i>(root: Xml<'a, 'i>, name: &str) -> Option<Xml<'a, 'i>> {
    root.descendants().find(|e| e.has_tag_name(name))
}

fn children<'a, 'i>(
    root: Xml<'a, 'i>,
    parent: &str,
    child: &'static str,
) -> impl Iterator<Item = Xml<'a, 'i>> {
    // `nodes` also names lists deeper down in other outputs: only the root's own child counts.
    root.children()
        .find(|e| e.has_tag_name(parent))
        .into_iter()
        .flat_map(|e| e.children())
        .filter(move |e| e.has_tag_name(child))
}

fn flag(element: Xml<'_, '_>, name: &str) -> bool {
    element.attribute(name) == Some("true")
}

fn text(element: Xml<'_, '_>, name: &str) -> String {
    element.attribute(name).unwrap_or_default().to_owned()
}

/// Undoes the escaping that crm_mon does to a reason before it writes it as XML.
fn unescape(text: &str) -> String {
    let plain = [
        ("&apos;", "'"),
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    let undone = plain
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    undone.replace("&amp;", "&")
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quorum = if self.quorum { "quorum" } else { "NO QUORUM" };
        writeln!(
            f,
            "{quorum}, controller {}, writer's address on {}",
            self.dc.as_deref().unwrap_or("none"),
            self.writer().unwrap_or("no node")
        )?;
        for node in &self.nodes {
            let roles: Vec<String> = self
                .instances
                .iter()
                .filter(|i| i.node.as_ref() == Some(&node.name))
                .map(|i| {
                    format!(
                        "{} {:?}{}{}",
                        i.resource,
                        i.role,
                        if i.failed { " FAILED" } else { "" },
                        if i.blocked { " BLOCKED" } else { "" }
                    )
                })
                .collect();
            let state = [
                (node.pending, "pending"),
                (node.unclean, "unclean"),
                (node.standby, "standby"),
                (node.maintenance, "maintenance"),
            ]
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, word)| *word)
            .collect::<Vec<_>>()
            .join(" ");
            writeln!(
                f,
                "{} {} {state} [{}]",
                node.name,
                if node.online { "online" } else { "OFFLINE" },
                roles.join(", ")
            )?;
            if let Some(attributes) = self.attributes.get(&node.name) {
                let list: Vec<String> = attributes
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                writeln!(f, "    {}", list.join("  "))?;
            }
        }
        for count in &self.fail_counts {
            writeln!(
                f,
                "fail-count {} on {}: {}",
                count.resource, count.node, count.count
            )?;
        }
        self.failures
            .iter()
            .try_for_each(|failure| writeln!(f, "failed: {failure}"))
    }
}

/// Asks a node.
///
/// # Errors
/// [`Error::Failed`] when Pacemaker does not run there, [`Error::PoweredOff`].
pub(crate) fn of(node: &Node) -> Result<Status> {
    let xml = node
        .command(&[
            "crm_mon",
            "-1",
            "--output-as=xml",
            "--inactive",
            "--include=all",
        ])?
        .limit(std::time::Duration::from_secs(15))
        .ok()?;
    Status::parse(&xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from Pacemaker 2.1.5 while the stock agent started on node3; a fail-count and a failure were added.
    const CAPTURED: &str = include_str!("../testdata/crm_mon.xml");

    #[test]
    fn crm_mon_is_read_into_roles_places_and_attributes() {
        let status = Status::parse(CAPTURED).unwrap();
        assert!(status.quorum);
        assert_eq!(status.dc.as_deref(), Some("node1"));
        assert!(status.is_online("node3"));
        assert!(!status.is_online("node"), "names are compared whole");
        assert_eq!(status.promoted(), ["node1"]);
        assert_eq!(status.of(RESOURCE, Role::Unpromoted), ["node2"]);
        assert_eq!(status.of(RESOURCE, Role::Changing), ["node3"]);
        assert_eq!(status.writer(), Some("node1"));
        assert!(status.instances.iter().all(|instance| instance.managed));
        assert_eq!(
            status.attribute("node2", "pgsql-data-status"),
            Some("STARTUP|ASYNC")
        );
        assert_eq!(status.attribute("node2", "absent"), None);
        let count = FailCount {
            node: "node3".into(),
            resource: "pgsql".into(),
            count: "1".into(),
        };
        assert_eq!(status.fail_counts, [count]);
        assert_eq!(
            status.failures,
            ["pgsql_start_0 on node2: error My data may be inconsistent."]
        );
    }

    #[test]
    fn old_role_names_mean_the_same() {
        let old = CAPTURED
            .replace("role=\"Promoted\"", "role=\"Master\"")
            .replace("role=\"Unpromoted\"", "role=\"Slave\"");
        assert_eq!(
            Status::parse(&old).unwrap(),
            Status::parse(CAPTURED).unwrap()
        );
    }

    #[test]
    fn a_reason_is_shown_as_the_agent_wrote_it() {
        assert_eq!(unescape("run &apos;a &amp;lt; b&apos;"), "run 'a &lt; b'");
    }

    #[test]
    fn an_unknown_role_and_broken_xml_are_errors() {
        assert!(
            Status::parse(&CAPTURED.replace("role=\"Promoted\"", "role=\"Sovereign\"")).is_err()
        );
        assert!(Status::parse("<pacemaker-result>").is_err());
    }
}
