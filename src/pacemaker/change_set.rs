//! Changes of permanent node attributes and cluster properties: all in one step, checked afterwards, and if need be only
//! under a condition. What a confirmed change proves is in [`crate::pacemaker::attributes`].
//!
//! `cibadmin --modify` with the conditions in a path to `/cib/configuration`, and to `/cib` where the admin_epoch is raised as well. A
//! member with Pacemaker 3.0.1 or newer refuses the latter; then it is a patch against the coordinator's copy ([`crate::pacemaker::patch`]).

use std::fmt;

use crate::model::cluster_view::{ClusterView, NvPair, NvPairs};
use crate::model::node_name::NodeName;
use crate::pacemaker::attributes::{WriteError, refuse_bad_text};
use crate::pacemaker::xml::{Element, xpath_literal};
use crate::trial::is_out;

/// The set our cluster properties are in, where they are not in another already.
pub const PROPERTY_SET: &str = "pgsql_replication";

/// A permanent node attribute to be set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermanentChange {
    /// Whose; the node may be away.
    pub node: NodeName,
    /// Attribute name.
    pub name: String,
    /// The value; `None` removes the attribute.
    pub value: Option<String>,
}

/// A cluster property to be set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyChange {
    /// Property name.
    pub name: String,
    /// The value; `None` removes the property.
    pub value: Option<String>,
}

/// What must be so for a change to happen. It is checked by the CIB daemons at the change's own place in the order of
/// changes (or here, and by them that nothing was changed since: [`crate::pacemaker::patch`]), so within a partition nothing can
/// come in between: a compare-and-set. (Tried: two nodes raising one counter
/// 100 times each at the same time, 134 conditions failed, and the counter was 200.) Two partitions know nothing of
/// each other's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A cluster property has this value; `None`: there is none.
    Property {
        /// Property name.
        name: String,
        /// The value.
        is: Option<String>,
    },
    /// A node's permanent attribute has this value; `None`: there is none.
    Permanent {
        /// Whose.
        node: NodeName,
        /// Attribute name.
        name: String,
        /// The value.
        is: Option<String>,
    },
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = match self {
            Self::Property { name, is } => {
                write!(f, "property {name}")?;
                is
            }
            Self::Permanent { node, name, is } => {
                write!(f, "attribute {name} of {node}")?;
                is
            }
        };
        match is {
            Some(value) => write!(f, " is {value:?}"),
            None => f.write_str(" is unset"),
        }
    }
}

impl Condition {
    /// Whether it held when `view` was read.
    #[must_use]
    pub fn holds(&self, view: &ClusterView) -> bool {
        let (pair, is) = match self {
            Self::Property { name, is } => (view.properties.pair(name), is),
            Self::Permanent { node, name, is } => (
                view.node(node).and_then(|node| node.permanent.pair(name)),
                is,
            ),
        };
        pair.map(|pair| pair.value.as_str()) == is.as_deref()
    }
}

/// How much a change weighs when two partitions merge.
///
/// A primary that is cut off may write a revocation after its partition has re-formed without the others: it was begun
/// when there was quorum, and blocks until then (seen: the old primary's CIB, with the number that the promotion on the
/// other side had raised by one, too, won the merge). So a promotion weighs more than all that the old primary can
/// write until it has noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Revocation,
    Promotion,
}

impl Weight {
    /// By how much the admin_epoch is raised.
    #[must_use]
    pub const fn steps(self) -> u64 {
        match self {
            Self::Revocation => 1,
            Self::Promotion => 100,
        }
    }
}

/// Changes that belong together: all values are set, and the admin_epoch raised, in one atomic step, or nothing is.
/// Removals follow in a second step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Node attributes.
    pub permanent: Vec<PermanentChange>,
    /// Cluster properties.
    pub properties: Vec<PropertyChange>,
    /// Make this partition's CIB win when a healed partition merges. Only for the rightful side. A deed, not a state:
    /// each time it is done it raises the number by one.
    pub raise_admin_epoch: Option<Weight>,
    /// What must be so, all of it.
    pub only_if: Vec<Condition>,
}

impl ChangeSet {
    /// Sets or removes a node's permanent attribute.
    #[must_use]
    pub fn permanent(
        mut self,
        node: &NodeName,
        name: impl Into<String>,
        value: Option<&str>,
    ) -> Self {
        let value = value.map(str::to_owned);
        self.permanent.push(PermanentChange {
            node: node.clone(),
            name: name.into(),
            value,
        });
        self
    }

    /// Sets or removes a cluster property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: Option<&str>) -> Self {
        self.properties.push(PropertyChange {
            name: name.into(),
            value: value.map(str::to_owned),
        });
        self
    }

    /// Raises the admin_epoch too.
    #[must_use]
    pub fn raise_admin_epoch(mut self, weight: Weight) -> Self {
        if !is_out!(NoAdminEpoch) {
            self.raise_admin_epoch = Some(weight);
        }
        self
    }

    /// Only if this is so.
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.only_if.push(condition);
        self
    }

    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permanent.is_empty() && self.properties.is_empty() && self.raise_admin_epoch.is_none()
    }

    /// What is left to do where the CIB is as `view`: the changes that differ from it, with the conditions, and the
    /// raising of the admin_epoch if asked for.
    #[must_use]
    pub fn minus(&self, view: &ClusterView) -> Self {
        let differs = |pair: Option<&NvPair>, value: &Option<String>| {
            pair.map(|pair| pair.value.as_str()) != value.as_deref()
        };
        let mut rest = self.clone();
        rest.permanent
            .retain(|change| differs(permanent_pair(view, change), &change.value));
        rest.properties
            .retain(|change| differs(view.properties.pair(&change.name), &change.value));
        rest
    }

    /// The values to be set, as a `configuration` element to be merged into the CIB's; `None`: there are none.
    ///
    /// # Errors
    /// [`WriteError::UnknownNode`], [`WriteError::BadValue`].
    pub fn to_xml(&self, view: &ClusterView) -> Result<Option<Vec<u8>>, WriteError> {
        let configuration = self.configuration(view)?;
        Ok((!configuration.is_empty()).then(|| configuration.to_bytes()))
    }

    pub(super) fn configuration(&self, view: &ClusterView) -> Result<Element, WriteError> {
        let mut configuration = Element::new("configuration");
        for write in self.writes(view)? {
            let set = Element::new(write.place.set_tag())
                .with("id", &write.pair.set_id)
                .holding(nvpair(write.name, &write.pair));
            configuration.merge(match write.place {
                Place::Properties => Element::new("crm_config").holding(set),
                Place::Node(id) => {
                    let node = Element::new("node").with("id", &id).holding(set);
                    Element::new("nodes").holding(node)
                }
            });
        }
        Ok(configuration)
    }

    /// The pairs to be written.
    pub(super) fn writes(&self, view: &ClusterView) -> Result<Vec<Write<'_>>, WriteError> {
        let mut writes = Vec::new();
        for PropertyChange { name, value } in &self.properties {
            if let Some(value) = value {
                refuse_bad_text(name, value)?;
                let pair = pair_to_write(&view.properties, PROPERTY_SET, name, value);
                writes.push(Write {
                    place: Place::Properties,
                    name,
                    pair,
                });
            }
        }
        for PermanentChange { node, name, value } in &self.permanent {
            if let Some(value) = value {
                refuse_bad_text(name, value)?;
                let known = view
                    .node(node)
                    .ok_or_else(|| WriteError::UnknownNode(node.clone()))?;
                let default_set = format!("nodes-{}", known.id);
                writes.push(Write {
                    place: Place::Node(known.id.clone()),
                    name,
                    pair: pair_to_write(&known.permanent, &default_set, name, value),
                });
            }
        }
        Ok(writes)
    }

    /// The conditions, as predicates of `/cib/configuration`.
    pub(super) fn predicates(&self, view: &ClusterView) -> Result<String, WriteError> {
        let mut predicates = String::new();
        for condition in &self.only_if {
            let (place, name, is) = match condition {
                Condition::Property { name, is } => {
                    ("crm_config/cluster_property_set".to_owned(), name, is)
                }
                Condition::Permanent { node, name, is } => {
                    let known = view
                        .node(node)
                        .ok_or_else(|| WriteError::UnknownNode(node.clone()))?;
                    let id = quote(name, &known.id)?;
                    (
                        format!("nodes/node[@id={id}]/instance_attributes"),
                        name,
                        is,
                    )
                }
            };
            let pair = format!("{place}/nvpair[@name={}]", quote(name, name)?);
            predicates += &match is {
                Some(value) => format!("[{pair}[@value={}]]", quote(name, value)?),
                None => format!("[not({pair})]"),
            };
        }
        Ok(predicates)
    }

    /// The path of all pairs to be removed, `root` being that of the configuration; `None`: there are none.
    pub(super) fn removals(
        &self,
        view: &ClusterView,
        root: &str,
    ) -> Result<Option<String>, WriteError> {
        let mut paths = Vec::new();
        for change in self
            .properties
            .iter()
            .filter(|change| change.value.is_none())
        {
            if let Some(pair) = view.properties.pair(&change.name) {
                let id = quote(&change.name, &pair.id)?;
                paths.push(format!(
                    "{root}/crm_config/cluster_property_set/nvpair[@id={id}]"
                ));
            }
        }
        for change in self
            .permanent
            .iter()
            .filter(|change| change.value.is_none())
        {
            if let Some(pair) = permanent_pair(view, change) {
                let id = quote(&change.name, &pair.id)?;
                paths.push(format!(
                    "{root}/nodes/node/instance_attributes/nvpair[@id={id}]"
                ));
            }
        }
        Ok((!paths.is_empty()).then(|| paths.join("|")))
    }
}

/// Where a pair is.
pub(super) enum Place {
    /// Among the cluster's properties.
    Properties,
    /// Among the permanent attributes of the node with this id.
    Node(String),
}

impl Place {
    /// What its sets are called.
    pub(super) const fn set_tag(&self) -> &'static str {
        match self {
            Self::Properties => "cluster_property_set",
            Self::Node(_) => "instance_attributes",
        }
    }
}

/// A pair as it is to be.
pub(super) struct Write<'a> {
    pub(super) place: Place,
    pub(super) name: &'a str,
    pub(super) pair: NvPair,
}

pub(super) fn permanent_pair<'a>(
    view: &'a ClusterView,
    change: &PermanentChange,
) -> Option<&'a NvPair> {
    view.node(&change.node)
        .and_then(|node| node.permanent.pair(&change.name))
}

/// The pair there is, with the new value; else a new one with the ids that Pacemaker's own tools would give it.
///
/// Source: Pacemaker, `lib/cib/cib_attrs.c`, `cib__update_node_attr`.
fn pair_to_write(pairs: &NvPairs, default_set: &str, name: &str, value: &str) -> NvPair {
    match pairs.pair(name) {
        Some(pair) => NvPair {
            value: value.to_owned(),
            ..pair.clone()
        },
        None => {
            let is_id = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            let id = format!("{default_set}-{name}").replace(|c| !is_id(c), ".");
            NvPair {
                id,
                set_id: default_set.to_owned(),
                value: value.to_owned(),
            }
        }
    }
}

fn quote(name: &str, text: &str) -> Result<String, WriteError> {
    xpath_literal(text).ok_or_else(|| WriteError::BadValue {
        name: name.to_owned(),
        value: text.to_owned(),
        why: "a condition cannot have both kinds of quotes",
    })
}

pub(super) fn nvpair(name: &str, pair: &NvPair) -> Element {
    Element::new("nvpair")
        .with("id", &pair.id)
        .with("name", name)
        .with("value", &pair.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::cib::parse;

    const ONLINE: &str = include_str!("../../tests/fixtures/cib/two-nodes-online-2.1.5.xml");
    const REPL_INFO: &str = "pgsql_REPL_INFO";
    const DATA_STATUS: &str = "pgsql-data-status";

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn xml(changes: &ChangeSet) -> String {
        String::from_utf8(changes.to_xml(&parse(ONLINE).unwrap()).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn only_what_differs_is_left() {
        let view = parse(ONLINE).unwrap();
        let changes = ChangeSet::default()
            .permanent(&node("NODE1"), DATA_STATUS, Some("LATEST"))
            .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
            .permanent(&node("node2"), "never-there", None)
            .property(REPL_INFO, Some("node2|2|0000000004000000"))
            .property("other", Some(""));
        let rest = changes.minus(&view);
        let expected = ChangeSet::default()
            .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
            .property("other", Some(""));
        assert_eq!(rest, expected);
        let nothing = ChangeSet::default().permanent(&node("node1"), DATA_STATUS, Some("LATEST"));
        assert!(nothing.minus(&view).is_empty());
        assert!(
            !nothing
                .raise_admin_epoch(Weight::Revocation)
                .minus(&view)
                .is_empty()
        );
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        let text = ONLINE.replace("value=\"LATEST\"", "value=\"\"");
        let view = parse(&text).unwrap();
        assert!(
            !ChangeSet::default()
                .permanent(&node("node1"), DATA_STATUS, None)
                .minus(&view)
                .is_empty()
        );
        assert!(
            ChangeSet::default()
                .permanent(&node("node1"), DATA_STATUS, Some(""))
                .minus(&view)
                .is_empty()
        );
    }

    #[test]
    fn a_change_set_is_one_element_with_existing_ids_or_pacemakers_own() {
        let changes = ChangeSet::default()
            .property(REPL_INFO, Some("node1|3|0000000005000000|7"))
            .property("pgsql_SYNC", Some("a<&\"'>b"))
            .permanent(&node("node1"), DATA_STATUS, Some("LATEST"))
            .permanent(&node("node1"), "other:1", Some("x"))
            .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"));
        let expected = concat!(
            r#"<configuration><crm_config><cluster_property_set id="pgsql_replication">"#,
            r#"<nvpair id="pgsql_replication-pgsql_REPL_INFO" name="pgsql_REPL_INFO" value="node1|3|0000000005000000|7"/>"#,
            r#"<nvpair id="pgsql_replication-pgsql_SYNC" name="pgsql_SYNC" value="a&lt;&amp;&quot;&apos;&gt;b"/>"#,
            r#"</cluster_property_set></crm_config><nodes><node id="1"><instance_attributes id="nodes-1">"#,
            r#"<nvpair id="nodes-1-pgsql-data-status" name="pgsql-data-status" value="LATEST"/>"#,
            r#"<nvpair id="nodes-1-other.1" name="other:1" value="x"/></instance_attributes></node>"#,
            r#"<node id="2"><instance_attributes id="nodes-2">"#,
            r#"<nvpair id="nodes-2-pgsql-data-status" name="pgsql-data-status" value="DISCONNECT"/>"#,
            r#"</instance_attributes></node></nodes></configuration>"#,
        );
        assert_eq!(xml(&changes), expected);
    }

    #[test]
    fn nothing_to_be_set_is_no_element() {
        let nothing = ChangeSet::default()
            .property("a", None)
            .raise_admin_epoch(Weight::Revocation)
            .to_xml(&parse(ONLINE).unwrap())
            .unwrap();
        assert_eq!(nothing, None);
    }

    #[test]
    fn what_would_not_arrive_as_it_is_is_refused() {
        let view = parse(ONLINE).unwrap();
        for (name, value) in [
            ("a", "value++"),
            ("a", "value+=5"),
            ("a", "x\ny"),
            ("", "x"),
            ("a\u{1}", "x"),
        ] {
            let changes = ChangeSet::default().property(name, Some(value));
            assert!(
                matches!(changes.to_xml(&view), Err(WriteError::BadValue { .. })),
                "{name:?}={value:?}"
            );
        }
        let stranger = ChangeSet::default().permanent(&node("stranger"), "a", Some("b"));
        assert!(
            matches!(stranger.to_xml(&view), Err(WriteError::UnknownNode(name)) if name.as_str() == "stranger")
        );
    }
}
