//! Writing node attributes and cluster properties.
//!
//! | what | through | the call returns when |
//! | --- | --- | --- |
//! | transient attribute | pacemaker-attrd | attrd has taken it: the CIB has it some 10 ms later, or never |
//! | permanent attribute, cluster property, admin_epoch | the CIB, see [`crate::pacemaker::change_set`] | this node's copy has it |
//!
//! What a confirmed CIB change proves, and what not (tried on Pacemaker 2.1.5 with two and three nodes, token 3000):
//! - It has its place in the order of changes that all members of the partition apply. A change begun right after the
//!   network was cut was confirmed 6.1 s later, when the other node was out of the membership: until then the call
//!   blocks, and needs a deadline.
//! - It does not prove that another node has it: corosync hands a message to its sender as soon as the sender has sent it.
//!   That the membership is still the same a [`crate::pacemaker::corosync::settle_time`] later does.
//! - It does not prove quorum: Pacemaker accepts changes without it (nine of nine in a lone node out of three).
//! - A change that timed out may take effect yet (tried: it did once the partition had re-formed).
//!
//! What attrd takes without a word (exit code 0, tried), and what then does not reach the CIB: a value for a node that does
//! not exist, and one for a node that is away. The latter is kept, and when partitions meet it may be written over what the
//! node's own partition says of it (seen: a new primary's score, which the old one had taken away while it was cut off;
//! all attrds had the right value soon after, the CIB had not). A permanent attribute of a node that is away is stored. An
//! empty value is stored as one, in both places; [`delete_transient`] removes the pair.

use std::time::Duration;

use crate::model::cluster_view::{ClusterView, ResourceName, Score, TransientAttribute};
use crate::model::node_name::NodeName;
use crate::pacemaker::cib::{CibError, exit_code};
use crate::sys::{Command, Deadline, RunError};

/// A change was not made, or is not known to be made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A condition was not met; nothing was changed.
    #[error(
        "nothing was written, since it is not so that {condition}: another node changed it meanwhile"
    )]
    ConditionFailed {
        /// The condition.
        condition: String,
        /// What the CIB was right after.
        view: Box<ClusterView>,
    },
    /// Somebody else raised the admin_epoch since the view was read; nothing was changed.
    #[error(
        "nothing was written: the CIB's admin_epoch was raised by somebody else meanwhile; read it and decide again"
    )]
    Superseded,
    /// The CIB does not have what was written. Where another node may write the same thing, it may have been there for a
    /// moment.
    #[error(
        "{what} was written, but the CIB has {found}: another node overwrote it, or it was not applied"
    )]
    NotConfirmed {
        /// What should be there.
        what: String,
        /// What is there.
        found: String,
    },
    /// No confirmation in time. The change may have been made, or may yet be.
    #[error(
        "no confirmation within {after:.1?}: the partition may be re-forming; the change may have been made or be made yet"
    )]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// Pacemaker does not run on this node; nothing was changed.
    #[error("Pacemaker does not run on this node ({0}): start the cluster")]
    NotConnected(String),
    /// The node is not in the configuration; nothing was changed.
    #[error("the cluster has no node {0}: correct node_list, or add the node")]
    UnknownNode(NodeName),
    /// A query was answered with something else than attributes.
    #[error("attrd_updater answered {0:?}, which is no list of attributes")]
    BadAnswer(String),
    /// A name or value that the CIB cannot carry as it is; nothing was changed.
    #[error("{name}={value:?} cannot be written: {why}")]
    BadValue {
        /// Attribute or property.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The change was made or not, but the CIB could not be read to see which.
    #[error("written, but not confirmed: {0}")]
    Unread(CibError),
    /// The CIB could not be read before the change; nothing was changed.
    #[error("nothing was written: {0}")]
    NotRead(CibError),
    /// Other changes came in between each time; nothing was changed.
    #[error(
        "nothing was written: the CIB was changed by others between looking and writing, {0} times in a row"
    )]
    Restless(u32),
    /// The node is not in the membership: attrd would take the value and forget it.
    #[error(
        "{0} is not in the cluster's membership, and an attribute that ends with it cannot be set"
    )]
    NodeAway(NodeName),
    /// The tool failed in another way. Nothing was changed; where the change also removes something and that failed, the
    /// values are set.
    #[error("not written: {0}")]
    Failed(RunError),
}

impl WriteError {
    /// Whether the change may have been made, or may be made yet (tried: once the partition had re-formed).
    #[must_use]
    pub const fn leaves_it_open(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Unread(_) | Self::NotConfirmed { .. } => true,
            Self::ConditionFailed { .. }
            | Self::NotRead(_)
            | Self::Restless(_)
            | Self::Superseded
            | Self::NotConnected(_)
            | Self::UnknownNode(_)
            | Self::BadAnswer(_)
            | Self::BadValue { .. }
            | Self::NodeAway(_)
            | Self::Failed(_) => false,
        }
    }

    pub(crate) fn from_run(error: RunError, limit: Duration) -> Self {
        match (error.exit_code(), error) {
            (Some(exit_code::NOT_CONNECTED), error) => Self::NotConnected(error.to_string()),
            (Some(exit_code::OLD), _) => Self::Superseded,
            (Some(exit_code::TIMEOUT), _) => Self::TimedOut { after: limit },
            (_, RunError::TimedOut { after, .. }) => Self::TimedOut { after },
            (_, error) => Self::Failed(error),
        }
    }
}

/// Sets a transient attribute of a node that is in the membership. See the table above: the CIB has it later.
///
/// # Errors
/// [`WriteError::NotConnected`], [`WriteError::TimedOut`], [`WriteError::BadValue`], [`WriteError::Failed`]. No error says
/// that the node is away or unknown.
pub fn set_transient(
    node: &NodeName,
    name: &str,
    value: &str,
    deadline: Deadline,
) -> Result<(), WriteError> {
    refuse_bad_text(name, value)?;
    attrd_updater(node, name, format!("--update={value}"), deadline)
}

/// Sets an attribute that attrd keeps to itself: every member of the partition sees it, the CIB never has it, no
/// transition is begun anew, and it is forgotten when the node leaves the membership.
///
/// # Errors
/// As [`set_transient`].
pub fn set_private(
    node: &NodeName,
    name: &str,
    value: &str,
    deadline: Deadline,
) -> Result<(), WriteError> {
    refuse_bad_text(name, value)?;
    let limit = deadline.remaining();
    Command::new("attrd_updater")
        .arg(format!("--name={name}"))
        .arg(format!("--update={value}"))
        .args(["--private"])
        .arg(format!("--node={node}"))
        .run(deadline)
        .map_err(|error| WriteError::from_run(error, limit))?;
    Ok(())
}

/// Makes this node's attrd write all that it has to the CIB once more.
///
/// After two partitions have merged the CIB may have the other side's value of an attribute while every attrd has this
/// side's. To set it again changes nothing in attrd then, and so nothing in the CIB (seen: a promotion score that never
/// arrived, and a cluster without a primary).
///
/// # Errors
/// As [`set_transient`].
pub fn rewrite_all(deadline: Deadline) -> Result<(), WriteError> {
    let limit = deadline.remaining();
    Command::new("attrd_updater")
        .arg("--refresh")
        .run(deadline)
        .map_err(|error| WriteError::from_run(error, limit))?;
    Ok(())
}

/// The values of an attribute on all nodes, as attrd has them. An attribute that nobody ever set is none.
///
/// # Errors
/// [`WriteError::NotConnected`], [`WriteError::TimedOut`], [`WriteError::BadAnswer`], [`WriteError::Failed`].
pub fn read_all(name: &str, deadline: Deadline) -> Result<Vec<(NodeName, String)>, WriteError> {
    let limit = deadline.remaining();
    let mut command = Command::new("attrd_updater")
        .arg(format!("--name={name}"))
        .args(["--query", "--all", "--output-as=xml"]);
    // Called by an agent, 2.1.5 answers for the agent's node only, in spite of --all (tried).
    for variable in ["on_node", "physical_host", "container_attribute_target"] {
        command = command.env_remove(format!("OCF_RESKEY_CRM_meta_{variable}"));
    }
    match command.run(deadline) {
        Ok(output) => {
            let text = output.stdout_text();
            parse_query(&text).ok_or(WriteError::BadAnswer(text))
        }
        // 2.1.5 answers 78 where nobody ever set the attribute, later ones 105.
        Err(error)
            if matches!(
                error.exit_code(),
                Some(exit_code::NO_SUCH | exit_code::CONFIG)
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(WriteError::from_run(error, limit)),
    }
}

/// `attrd_updater --query --output-as=xml`: an `attribute` element for each node.
fn parse_query(xml: &str) -> Option<Vec<(NodeName, String)>> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let root = document.root_element();
    let is_query = root.tag_name().name() == "pacemaker-result";
    let elements = root.descendants().filter(|n| n.has_tag_name("attribute"));
    let value = |node: roxmltree::Node<'_, '_>| {
        let host = NodeName::new(node.attribute("host")?).ok()?;
        Some((host, node.attribute("value").unwrap_or_default().to_owned()))
    };
    is_query.then(|| elements.map(value).collect()).flatten()
}

/// Removes a transient attribute. Removing one that does not exist is no error.
///
/// # Errors
/// As [`set_transient`].
pub fn delete_transient(node: &NodeName, name: &str, deadline: Deadline) -> Result<(), WriteError> {
    refuse_bad_text(name, "")?;
    attrd_updater(node, name, "--delete".to_owned(), deadline)
}

/// Sets or removes (`None`) a transient attribute unless the CIB was so when `view` was read; true when it was written.
///
/// # Errors
/// [`WriteError::NodeAway`] when `view` has the node not in the membership; else as [`set_transient`].
pub fn write_transient(
    view: &ClusterView,
    node: &NodeName,
    name: &str,
    value: Option<&str>,
    deadline: Deadline,
) -> Result<bool, WriteError> {
    let known = view
        .node(node)
        .ok_or_else(|| WriteError::UnknownNode(node.clone()))?;
    if !known.in_membership {
        return Err(WriteError::NodeAway(node.clone()));
    }
    let present = known.transient.pair(name).map(|pair| pair.value.as_str());
    if known.transient_known && present == value {
        return Ok(false);
    }
    match value {
        Some(value) => set_transient(node, name, value, deadline)?,
        None => delete_transient(node, name, deadline)?,
    }
    Ok(true)
}

/// Sets the promotion score of a resource on a node.
///
/// # Errors
/// As [`set_transient`].
pub fn set_promotion_score(
    node: &NodeName,
    resource: &ResourceName,
    score: Score,
    deadline: Deadline,
) -> Result<(), WriteError> {
    let name = TransientAttribute::PromotionScore.name(resource);
    set_transient(node, &name, &score.to_string(), deadline)
}

/// Long options with `=` only: Pacemaker 2.1.5 takes a separate `-INFINITY` for options.
fn attrd_updater(
    node: &NodeName,
    name: &str,
    action: String,
    deadline: Deadline,
) -> Result<(), WriteError> {
    let limit = deadline.remaining();
    let command = Command::new("attrd_updater")
        .arg(format!("--name={name}"))
        .arg(action);
    command
        .arg(format!("--node={node}"))
        .run(deadline)
        .map_err(|error| WriteError::from_run(error, limit))?;
    Ok(())
}

/// Refuses what would not arrive as it is: characters that XML has not, and the forms that the CIB and attrd calculate
/// with (`value++` stored 1, tried).
///
/// Source: Pacemaker, `lib/common/xml.c`, `expand_plus_plus`; `daemons/attrd`, `attrd_value_needs_expansion`.
pub(crate) fn refuse_bad_text(name: &str, value: &str) -> Result<(), WriteError> {
    let bad = |why| {
        Err(WriteError::BadValue {
            name: name.to_owned(),
            value: value.to_owned(),
            why,
        })
    };
    if name.is_empty() {
        return bad("the name is empty");
    }
    if name.chars().chain(value.chars()).any(char::is_control) {
        return bad("it has a control character");
    }
    if value.starts_with("value++") || value.starts_with("value+=") {
        return bad("Pacemaker would take it for a calculation");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::cib::parse;

    const ONLINE: &str = include_str!("../../tests/fixtures/cib/two-nodes-online-2.1.5.xml");
    const PEER_LOST: &str = include_str!("../../tests/fixtures/cib/peer-lost-2.1.5.xml");

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    #[test]
    fn a_node_that_is_away_gets_no_transient_attribute() {
        let past = Deadline::after(Duration::ZERO);
        let view = parse(PEER_LOST).unwrap();
        let result = write_transient(&view, &node("node2"), "a", Some("b"), past);
        assert!(matches!(result, Err(WriteError::NodeAway(_))), "{result:?}");
    }

    #[test]
    fn a_query_lists_every_node_s_value() {
        let answer = |attributes: &str| {
            parse_query(&format!(
                "<pacemaker-result api-version=\"2.25\" request=\"attrd_updater\">{attributes}\
                 <status code=\"0\" message=\"OK\"/></pacemaker-result>"
            ))
        };
        let one = r#"<attribute name="a" value="2|W|2&lt;1:0|5" host="node1"/>"#;
        let two = r#"<attribute name="a" value="" host="node2"/>"#;
        assert_eq!(
            answer(&format!("{one}{two}")),
            Some(vec![
                (node("node1"), "2|W|2<1:0|5".to_owned()),
                (node("node2"), String::new())
            ])
        );
        assert_eq!(answer(""), Some(vec![]));
        assert_eq!(answer(r#"<attribute name="a" value="x"/>"#), None);
        assert_eq!(parse_query("error"), None);
        assert_eq!(parse_query("<cib/>"), None);
    }

    #[test]
    fn an_attribute_as_it_should_be_is_not_written_again() {
        let view = parse(ONLINE).unwrap();
        let past = Deadline::after(Duration::ZERO);
        let write = |name: &str, value| write_transient(&view, &node("node1"), name, value, past);
        assert!(!write("pgsql-status", Some("PRI")).unwrap());
        assert!(!write("pgsql-xlog-loc", None).unwrap());
        assert!(write("pgsql-status", Some("STOP")).is_err(), "it tries");
        let result = write_transient(&view, &node("stranger"), "a", Some("b"), past);
        assert!(matches!(result, Err(WriteError::UnknownNode(_))));
    }
}
