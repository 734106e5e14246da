//! Reading the CIB: one process, one consistent picture.
//!
//! `cibadmin --query` asks the CIB daemon of this node, which answers from its own copy: without quorum, without the
//! other nodes, and with a hung corosync (tried: 12 ms with corosync stopped by a signal). So a node that is cut off
//! can still read, and what it reads is what its partition knew last. For the same reason an answer says nothing
//! about the present: after a cut the copy names the other nodes as members until corosync's token and consensus
//! timeouts have passed (see [`crate::pacemaker::corosync::settle_time`]).
//!
//! `--local` is not given: Pacemaker 2.1 processes a query locally with or without it (same time, same answer, also
//! with corosync stopped), and Pacemaker 3.0 hides the option as deprecated, so one day it will be an error.

use std::path::PathBuf;
use std::time::Duration;

use roxmltree::{Document, Node};

use crate::model::cluster_view::{
    CibVersion, ClusterView, NodeKind, NodeView, NvPair, NvPairs, Operation, Quorum, Score,
    base_name, parse_bool,
};
use crate::model::node_name::{NodeName, NodeNameError};
use crate::pacemaker::bans;
use crate::pacemaker::dates::Clock;
use crate::pacemaker::document::{child, children, required};
use crate::sys::{Command, Deadline, RunError};

/// Exit codes of Pacemaker's tools.
///
/// Source: `crm_error --exit --list`.
pub(crate) mod exit_code {
    /// `CRM_EX_CONFIG`
    pub(crate) const CONFIG: i32 = 78;
    /// `CRM_EX_DISCONNECT`
    pub(crate) const NOT_CONNECTED: i32 = 102;
    /// `CRM_EX_OLD`
    pub(crate) const OLD: i32 = 103;
    /// `CRM_EX_NOSUCH`
    pub(crate) const NO_SUCH: i32 = 105;
    /// `CRM_EX_TIMEOUT`
    pub(crate) const TIMEOUT: i32 = 124;
}

/// How the id of a history entry ends that is the note of a failure, `RSC_last_failure_0`.
pub(super) const NOTE: &str = "_last_failure_0";

/// Where the CIB is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cib {
    file: Option<PathBuf>,
}

/// The CIB could not be read. There is no view then, and nothing may be concluded.
#[derive(Debug, thiserror::Error)]
pub enum CibError {
    /// No CIB daemon answers on this node.
    #[error(
        "Pacemaker does not run on this node, so the cluster's state is not known: start the cluster ({0})"
    )]
    NotConnected(String),
    /// The daemon is there but gave no answer in time.
    #[error(
        "Pacemaker's CIB daemon gave no answer within {after:.1?}: it hangs or the node is overloaded"
    )]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// There was an answer that is no CIB.
    #[error("the CIB could not be understood: {0}")]
    Malformed(String),
    /// cibadmin failed in another way, or is not installed.
    #[error("the CIB could not be read: {0}")]
    Failed(RunError),
}

impl CibError {
    /// What a failed cibadmin means, which had `limit` to do its work.
    pub(crate) fn from_run(error: RunError, limit: Duration) -> Self {
        match (error.exit_code(), error) {
            (Some(exit_code::NOT_CONNECTED), error) => Self::NotConnected(error.to_string()),
            (Some(exit_code::TIMEOUT), _) => Self::TimedOut { after: limit },
            (_, RunError::TimedOut { after, .. }) => Self::TimedOut { after },
            (_, error) => Self::Failed(error),
        }
    }
}

/// [`Cib::read`] on the running cluster.
///
/// # Errors
/// See [`CibError`].
pub fn read(deadline: Deadline) -> Result<ClusterView, CibError> {
    Cib::live().read(deadline)
}

impl Cib {
    /// The running cluster's, or the file that the variable `CIB_file` names.
    #[must_use]
    pub fn live() -> Self {
        Self { file: None }
    }

    /// A file, as `pcs -f` and `crm_shadow` use: for setup and tests.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(path.into()),
        }
    }

    /// Reads everything in one process.
    ///
    /// # Errors
    /// See [`CibError`]. There is no empty view for "could not read".
    pub fn read(&self, deadline: Deadline) -> Result<ClusterView, CibError> {
        parse(&self.text(None, deadline)?)
    }

    /// The document as it is, for [`parse`] and [`crate::pacemaker::resources`]: two readings of one state.
    ///
    /// # Errors
    /// See [`CibError`]; [`CibError::Malformed`] only for what is not even text.
    pub fn read_text(&self, deadline: Deadline) -> Result<String, CibError> {
        self.text(None, deadline)
    }

    /// The coordinator's copy, which any other is brought to; where there is none, this node's.
    ///
    /// # Errors
    /// See [`CibError`].
    pub(crate) fn coordinators_text(
        &self,
        view: &ClusterView,
        deadline: Deadline,
    ) -> Result<String, CibError> {
        self.text(view.dc.as_ref().filter(|_| !self.is_file()), deadline)
    }

    /// Whether this is a file, which no daemon has.
    pub(crate) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reads `node`'s own copy: what that node would go by, were it alone from now on. A daemon that hangs or is gone
    /// gives no answer until the deadline (tried with 2.1.5: `--node` is answered by that node's daemon, not by this
    /// one).
    ///
    /// # Errors
    /// See [`CibError`].
    pub fn read_at(&self, node: &NodeName, deadline: Deadline) -> Result<ClusterView, CibError> {
        parse(&self.text(Some(node), deadline)?)
    }

    fn text(&self, node: Option<&NodeName>, deadline: Deadline) -> Result<String, CibError> {
        let limit = deadline.remaining();
        let query = self.cibadmin(deadline).arg("--query");
        let query = match node {
            Some(node) => query.arg(format!("--node={node}")),
            None => query,
        };
        let output = query
            .run(deadline)
            .map_err(|error| CibError::from_run(error, limit))?;
        String::from_utf8(output.stdout).map_err(|error| CibError::Malformed(error.to_string()))
    }

    /// `cibadmin`, aimed at this CIB. Its own limit (30 seconds unless told) is put after ours, so that there is one.
    pub(crate) fn cibadmin(&self, deadline: Deadline) -> Command {
        let limit = deadline.remaining().as_secs().min(86_400) + 1;
        let command = Command::new("cibadmin").arg(format!("--timeout={limit}"));
        match &self.file {
            Some(file) => command.env("CIB_file", file),
            None => command,
        }
    }
}

/// Reads a CIB's text.
///
/// # Errors
/// [`CibError::Malformed`]: no XML, no `cib` element, or a value in it that cannot be what it should be. cibadmin
/// answers a CIB file that is no XML with an empty `cib` element and exit code 0 (tried with 2.1.5), which is caught by
/// its lack of a version.
pub fn parse(text: &str) -> Result<ClusterView, CibError> {
    parse_document(text).map_err(CibError::Malformed)
}

fn parse_document(text: &str) -> Result<ClusterView, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let cib = document.root_element();
    if !cib.has_tag_name("cib") {
        return Err(format!(
            "the outermost element is <{}>, not <cib>",
            cib.tag_name().name()
        ));
    }
    let version = CibVersion {
        admin_epoch: number(cib, "admin_epoch")?,
        epoch: number(cib, "epoch")?,
        num_updates: number(cib, "num_updates")?,
    };
    let mut view = ClusterView::new(version, quorum(cib)?);
    view.feature_set = cib.attribute("crm_feature_set").map(str::to_owned);

    let configuration = child(cib, "configuration").ok_or("it has no <configuration>")?;
    if let Some(properties) = child(configuration, "crm_config") {
        view.properties = nvpairs(properties, "cluster_property_set");
    }
    let mut unknown = Vec::new();
    for element in children(child(configuration, "nodes"), "node") {
        match configured_node(element)? {
            Some(node) => drop(view.nodes.insert(node.name.clone(), node)),
            None => unknown.push(element),
        }
    }
    let is_unknown = |state: &Node<'_, '_>| {
        unknown.iter().any(|node| {
            let same =
                |name| state.has_attribute(name) && state.attribute(name) == node.attribute(name);
            same("id") || same("uname")
        })
    };
    let states: Vec<Node<'_, '_>> = children(child(cib, "status"), "node_state")
        .filter(|state| state.has_attribute("id") && !is_unknown(state))
        .collect();
    for element in &states {
        let id = required(*element, "id")?;
        let Some(name) = name_of_state(&view, *element, id) else {
            continue;
        };
        let is_remote = element.attribute("remote_node").and_then(parse_bool) == Some(true);
        let node = view.nodes.entry(name.clone()).or_insert_with(|| {
            let kind = if is_remote {
                NodeKind::Remote
            } else {
                NodeKind::Member
            };
            NodeView::new(name, id, kind)
        });
        // What is left of a node of this name that was another.
        let is_old = node.id != id && states.iter().any(|s| s.attribute("id") == Some(&node.id));
        if !is_old {
            add_state(node, *element)?;
        }
    }
    let is_opt_in = view.property("symmetric-cluster").and_then(parse_bool) == Some(false);
    view.bans = bans::read(configuration, &view.nodes, is_opt_in, &Clock::now());
    view.dc = cib
        .attribute("dc-uuid")
        .and_then(|id| view.nodes.values().find(|node| node.id == id))
        .map(|node| node.name.clone());
    Ok(view)
}

fn quorum(cib: Node<'_, '_>) -> Result<Quorum, String> {
    let Some(text) = cib.attribute("have-quorum") else {
        return Ok(Quorum::Unknown);
    };
    match parse_bool(text) {
        Some(true) => Ok(Quorum::Yes),
        Some(false) => Ok(Quorum::No),
        None => Err(format!("have-quorum={text:?} is neither true nor false")),
    }
}

/// `None`: Pacemaker ignores it, since it is of a type that it does not know; or it is no member, and has a name that no record of
/// ours could carry.
fn configured_node(element: Node<'_, '_>) -> Result<Option<NodeView>, String> {
    let kind = match element.attribute("type").map(str::to_lowercase).as_deref() {
        None | Some("member" | "normal") => NodeKind::Member,
        Some("remote") => NodeKind::Remote,
        Some("ping") => NodeKind::Ping,
        Some(_) => return Ok(None),
    };
    let name = match (name(element), kind) {
        (Ok(name), _) => name,
        // A member that is left out would not be counted where a majority is asked for.
        (Err(why), NodeKind::Member) => return Err(why),
        (Err(_), NodeKind::Remote | NodeKind::Ping) => return Ok(None),
    };
    let mut node = NodeView::new(name, required(element, "id")?, kind);
    node.permanent = nvpairs(element, "instance_attributes");
    Ok(Some(node))
}

/// The name of the node that a `node_state` is about. A peer that has joined corosync, and not yet Pacemaker, has no name there until it
/// has; the node's entry in the configuration has one. `None`: there is none, so Pacemaker ignores it.
///
/// Source: Pacemaker, `lib/pengine/unpack.c`, `unpack_node_state`.
fn name_of_state(view: &ClusterView, element: Node<'_, '_>, id: &str) -> Option<NodeName> {
    name(element).ok().or_else(|| {
        let mut configured = view.nodes.values();
        configured
            .find(|node| node.id == id)
            .map(|node| node.name.clone())
    })
}

/// What a `node_state` says.
///
/// `in_ccm` and `crmd` are true/false and online/offline up to Pacemaker 2.1.6; since 2.1.7 (feature set 3.18.0) they
/// are the times since when, in seconds since 1970, or 0. `expected` and `join` are as before. A node that vanished keeps
/// `expected="member"`; an orderly shutdown, and fencing, set both to `down`.
///
/// Source: Pacemaker, `lib/pengine/unpack.c`, `determine_online_status_fencing`; the earlier form as captured in
/// tests/fixtures/cib.
fn add_state(node: &mut NodeView, element: Node<'_, '_>) -> Result<(), String> {
    let is = |attribute: &str, word: &str| {
        element
            .attribute(attribute)
            .is_some_and(|v| v.eq_ignore_ascii_case(word))
    };
    let is_set = |attribute: &str, yes: &str, no: &str| match element.attribute(attribute) {
        None => Ok(None),
        Some(text) if text.eq_ignore_ascii_case(yes) => Ok(Some(true)),
        Some(text) if text.eq_ignore_ascii_case(no) => Ok(Some(false)),
        Some(text) => text
            .parse::<u64>()
            .map(|since| Some(since > 0))
            .map_err(|_| {
                format!(
                    "{attribute}={text:?} of node {} is neither {yes}, {no} nor a time",
                    node.name
                )
            }),
    };
    // A word that is new to us is no word about the node's absence. For a remote node it says nothing either way.
    let (in_membership, controller) = if node.kind == NodeKind::Member {
        (
            is_set("in_ccm", "true", "false")?,
            is_set("crmd", "online", "offline")?,
        )
    } else {
        (None, None)
    };

    node.in_membership = in_membership == Some(true);
    node.is_online = node.in_membership && controller == Some(true) && is("join", "member");
    // Without in_ccm the node was never seen, which is not the same as down.
    node.is_cleanly_down = in_membership == Some(false)
        && controller != Some(true)
        && is("join", "down")
        && is("expected", "down");
    node.transient_known = true;
    if let Some(attributes) = child(element, "transient_attributes") {
        node.transient = nvpairs(attributes, "instance_attributes");
    }
    let resources = child(element, "lrm").and_then(|lrm| child(lrm, "lrm_resources"));
    for resource in children(resources, "lrm_resource") {
        let Some(id) = resource.attribute("id") else {
            continue;
        };
        let history = node.history.entry(base_name(id).to_owned()).or_default();
        history.extend(children(Some(resource), "lrm_rsc_op").filter_map(operation));
    }
    Ok(())
}

/// `None`: an operation that says nothing about the role (notify, reload …), or an entry that Pacemaker ignores, because it does not say what
/// was done and how that ended. An entry of whatever resource must not keep the rest of the CIB from being read.
///
/// Source: Pacemaker, `lib/pengine/unpack.c`, `unpack_rsc_op` and `unpack_action_result`.
fn operation(element: Node<'_, '_>) -> Option<Operation> {
    let kind = element.attribute("operation")?.parse().ok()?;
    let signed = |attribute| element.attribute(attribute)?.parse::<i64>().ok();
    // Pacemaker's `enum pcmk_exec_status`. A running operation usually has no call-id yet either (-1).
    let (is_running, is_cancelled) = match signed("op-status")? {
        -1 => (true, false),
        status => (false, status == 1),
    };
    if is_cancelled {
        return None;
    }
    let call_id = signed("call-id")
        .and_then(|id| u64::try_from(id).ok())
        .filter(|_| !is_running);
    let code = match signed("rc-code").and_then(|code| i32::try_from(code).ok()) {
        Some(code) => code,
        None if is_running => 0,
        None => return None,
    };
    let last_change = element
        .attribute("last-rc-change")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let interval = element.attribute("interval");
    let interval_ms = interval.and_then(|text| text.parse().ok()).unwrap_or(0);
    let id = element.attribute("id").unwrap_or_default();
    Some(Operation {
        kind,
        call_id,
        last_change,
        code,
        interval_ms,
        is_note: id.ends_with(NOTE),
    })
}

/// The pairs of all sets, in Pacemaker's order: `cib-bootstrap-options` first, then by score, then whichever was written last.
///
/// Source: Pacemaker, `lib/pengine/rules.c`, `make_pairs` (which turns the order round), `sort_pairs` and `pe_eval_nvpairs`.
fn nvpairs(parent: Node<'_, '_>, set_name: &str) -> NvPairs {
    let mut sets: Vec<Node<'_, '_>> = children(Some(parent), set_name)
        .filter(|set| child(*set, "rule").is_none())
        .collect();
    sets.reverse();
    sets.sort_by_key(|set| {
        let score: Score = set
            .attribute("score")
            .and_then(|text| text.parse().ok())
            .unwrap_or(Score::new(0));
        (
            set.attribute("id") != Some("cib-bootstrap-options"),
            std::cmp::Reverse(score),
        )
    });
    let mut pairs = NvPairs::default();
    for set in sets {
        for element in children(Some(set), "nvpair") {
            if let (Some(id), Some(set_id), Some(name), Some(value)) = (
                element.attribute("id"),
                set.attribute("id"),
                element.attribute("name"),
                element.attribute("value"),
            ) {
                pairs.add(
                    name,
                    NvPair {
                        id: id.into(),
                        set_id: set_id.into(),
                        value: value.into(),
                    },
                );
            }
        }
    }
    pairs
}

fn name(element: Node<'_, '_>) -> Result<NodeName, String> {
    NodeName::new(required(element, "uname")?).map_err(|error: NodeNameError| error.to_string())
}

fn number(element: Node<'_, '_>, attribute: &str) -> Result<u64, String> {
    let text = required(element, attribute)?;
    text.parse()
        .map_err(|_| format!("{attribute}={text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster_view::{
        ClusterProperty, NoQuorumPolicy, PermanentAttribute, RecordedRole, ResourceName,
        TransientAttribute,
    };

    const ONLINE: &str = include_str!("../../tests/fixtures/cib/two-nodes-online-2.1.5.xml");
    const PEER_LOST: &str = include_str!("../../tests/fixtures/cib/peer-lost-2.1.5.xml");
    const TIMESTAMPS: &str = include_str!("../../tests/fixtures/cib/node-down-3.0-handmade.xml");

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn rsc() -> ResourceName {
        ResourceName::new("pgsql").unwrap()
    }

    fn names<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> Vec<&'a str> {
        nodes.map(|node| node.name.as_str()).collect()
    }

    fn minimal(cib_attributes: &str, inside: &str) -> String {
        format!(
            "<cib admin_epoch=\"0\" epoch=\"1\" num_updates=\"2\" {cib_attributes}>{inside}</cib>"
        )
    }

    fn malformed(text: &str) -> String {
        match parse(text) {
            Err(CibError::Malformed(why)) => why,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_running_cluster_is_read_whole() {
        let view = parse(ONLINE).unwrap();
        assert_eq!(
            view.version,
            CibVersion {
                admin_epoch: 11,
                epoch: 142,
                num_updates: view.version.num_updates
            }
        );
        assert!(view.is_quorate());
        assert_eq!(view.dc, Some(node("node1")));
        assert_eq!(view.feature_set.as_deref(), Some("3.16.1"));
        assert_eq!(view.no_quorum_policy(), NoQuorumPolicy::Ignore);
        assert!(!view.is_fencing_enabled());
        assert_eq!(
            view.cluster_property(ClusterProperty::ReplInfo, &rsc()),
            Some("node2|2|0000000004000000")
        );
        assert_eq!(
            view.properties.pair("pgsql_REPL_INFO").unwrap().set_id,
            "pgsql_replication"
        );

        let (node1, node2) = (
            view.node(&node("NODE1")).unwrap(),
            view.node(&node("node2")).unwrap(),
        );
        assert!(node1.is_online && node2.is_online && node1.in_membership && node2.transient_known);
        assert_eq!((node1.id.as_str(), node1.kind), ("1", NodeKind::Member));
        assert_eq!(
            node1.permanent(PermanentAttribute::DataStatus, &rsc()),
            Some("LATEST")
        );
        assert_eq!(
            node2.permanent(PermanentAttribute::DataStatus, &rsc()),
            Some("STREAMING|SYNC")
        );
        assert_eq!(
            node2.permanent.pair("pgsql-data-status").unwrap().id,
            "nodes-2-pgsql-data-status"
        );
        assert_eq!(
            node1.transient(TransientAttribute::Status, &rsc()),
            Some("PRI")
        );
        assert_eq!(
            node2.transient(TransientAttribute::XlogLoc, &rsc()),
            Some("0000000003000060")
        );
        assert_eq!(
            node2.transient(TransientAttribute::MasterBaseline, &rsc()),
            None
        );
        assert_eq!(node2.promotion_score(&rsc()), Ok(Some(Score::new(5))));
        assert_eq!(names(view.promoted_nodes(&rsc())), ["node1"]);
        assert_eq!(names(view.active_nodes(&rsc())), ["node1", "node2"]);
        assert_eq!(names(view.members()), ["node1", "node2"]);
        let other = ResourceName::new("other").unwrap();
        assert_eq!(view.promoted_nodes(&other).count(), 0);
    }

    #[test]
    fn a_lost_peer_is_out_but_not_cleanly_down_and_keeps_its_history() {
        let view = parse(PEER_LOST).unwrap();
        let lost = view.node(&node("node2")).unwrap();
        assert!(!lost.in_membership && !lost.is_online && !lost.is_cleanly_down);
        assert!(lost.transient_known);
        assert_eq!(lost.transient(TransientAttribute::Status, &rsc()), None);
        assert_eq!(
            lost.permanent(PermanentAttribute::DataStatus, &rsc()),
            Some("STREAMING|SYNC")
        );
        assert_eq!(lost.role(&rsc()), RecordedRole::Unpromoted);
        assert_eq!(names(view.active_nodes(&rsc())), ["node1", "node2"]);
        assert_eq!(names(view.members()), ["node1"]);
    }

    #[test]
    fn an_orderly_shutdown_or_fencing_is_cleanly_down() {
        let text = PEER_LOST.replace(
            "join=\"down\" expected=\"member\"",
            "join=\"down\" expected=\"down\"",
        );
        assert!(
            parse(&text)
                .unwrap()
                .node(&node("node2"))
                .unwrap()
                .is_cleanly_down
        );
    }

    #[test]
    fn membership_as_timestamps_is_read_like_the_older_form() {
        let view = parse(TIMESTAMPS).unwrap();
        let (node1, node2) = (
            view.node(&node("node1")).unwrap(),
            view.node(&node("node2")).unwrap(),
        );
        assert!(node1.in_membership && node1.is_online);
        assert!(!node2.in_membership && !node2.is_online && node2.is_cleanly_down);
        let joining = TIMESTAMPS.replacen("crmd=\"1795248786\"", "crmd=\"0\"", 1);
        let view = parse(&joining).unwrap();
        let node1 = view.node(&node("node1")).unwrap();
        assert!(node1.in_membership && !node1.is_online && !node1.is_cleanly_down);
    }

    #[test]
    fn without_a_quorum_attribute_nothing_is_claimed() {
        let view = parse(&ONLINE.replace(" have-quorum=\"1\"", "")).unwrap();
        assert_eq!(view.quorum, Quorum::Unknown);
        assert!(!view.is_quorate());
        let view = parse(&ONLINE.replace("have-quorum=\"1\"", "have-quorum=\"0\"")).unwrap();
        assert_eq!(view.quorum, Quorum::No);
        malformed(&ONLINE.replace("have-quorum=\"1\"", "have-quorum=\"maybe\""));
    }

    #[test]
    fn a_node_without_status_is_not_known_to_have_no_attributes() {
        let inside =
            "<configuration><nodes><node id=\"1\" uname=\"a\"/></nodes></configuration><status/>";
        let view = parse(&minimal("", inside)).unwrap();
        let node = view.node(&node("a")).unwrap();
        assert!(!node.transient_known && !node.is_cleanly_down);
        assert_eq!(view.dc, None);
    }

    #[test]
    fn text_that_is_no_cib_is_an_error_and_never_an_empty_view() {
        malformed("");
        malformed("<cib");
        malformed("<other/>");
        // What cibadmin 2.1.5 prints, with exit code 0, for a CIB file that is no XML.
        assert_eq!(
            malformed("<cib validate-with=\"none\">\n  <status/>\n</cib>"),
            "<cib> has no admin_epoch"
        );
        malformed(&minimal("", ""));
        malformed(&ONLINE.replace("epoch=\"142\"", "epoch=\"-1\""));
        malformed(&ONLINE.replacen("in_ccm=\"true\"", "in_ccm=\"perhaps\"", 1));
        malformed(&ONLINE.replacen("uname=\"node1\"", "uname=\"\"", 1));
        malformed(&ONLINE[..ONLINE.len() / 2]);
    }

    /// The node of each name that is understood, with what is known of it, in a cluster of a, which is online, and what `nodes` and
    /// `states` add.
    fn understood(nodes: &str, states: &str) -> String {
        let inside = format!(
            "<configuration><nodes><node id=\"1\" uname=\"a\"/>{nodes}</nodes></configuration><status>{states}\
             <node_state id=\"1\" uname=\"a\" in_ccm=\"1\" crmd=\"1\" join=\"member\"/></status>"
        );
        let view = parse(&minimal("", &inside)).unwrap();
        let word = |node: &NodeView| {
            let state = if node.is_online {
                "online"
            } else if node.in_membership {
                "joining"
            } else if node.is_cleanly_down {
                "down"
            } else {
                "-"
            };
            format!("{}:{}:{state}", node.name, node.kind)
        };
        let words: Vec<String> = view.nodes.values().map(word).collect();
        words.join(" ")
    }

    #[test]
    fn what_pacemaker_ignores_keeps_the_rest_from_nobody() {
        let b = r#"<node id="2" uname="b"/>"#;
        for (nodes, states, expected) in [
            // A peer that has joined corosync, and not yet Pacemaker.
            (
                b,
                r#"<node_state id="2" in_ccm="1" crmd="0"/>"#,
                "b:member:joining",
            ),
            (
                b,
                r#"<node_state id="2" uname="" in_ccm="1" crmd="0"/>"#,
                "b:member:joining",
            ),
            ("", r#"<node_state id="3" in_ccm="1" crmd="0"/>"#, ""),
            (
                b,
                r#"<node_state uname="b" in_ccm="1" crmd="1" join="member"/>"#,
                "b:member:-",
            ),
            // Types that nobody knows.
            (
                r#"<node id="2" uname="b" type="witness"/>"#,
                r#"<node_state id="2" uname="b" in_ccm="1"/>"#,
                "",
            ),
            (
                r#"<node id="2" uname="b" type="Member"/>"#,
                "",
                "b:member:-",
            ),
            // What is no member has what name it likes.
            (
                r#"<node id="x,y" uname="x,y" type="remote"/>"#,
                r#"<node_state id="x,y" uname="x,y" remote_node="true"/>"#,
                "",
            ),
            (
                "",
                r#"<node_state id="x y" uname="x y" remote_node="true" in_ccm="true"/>"#,
                "",
            ),
            (
                "",
                r#"<node_state id="r" uname="r" remote_node="true" in_ccm="soon" crmd="soon"/>"#,
                "r:remote:-",
            ),
            // The node has got another id, and the state under the old one is left.
            (
                b,
                r#"<node_state id="2" uname="b" in_ccm="1" crmd="1" join="member"/><node_state id="7" uname="b" in_ccm="0" crmd="0" join="down" expected="down"/>"#,
                "b:member:online",
            ),
            // Entries of a history that say nothing.
            (
                b,
                r#"<node_state id="2" uname="b" in_ccm="1" crmd="1" join="member"><lrm><lrm_resources><lrm_resource/><lrm_resource id="x">
                    <lrm_rsc_op/><lrm_rsc_op operation="start"/><lrm_rsc_op operation="start" op-status="?" rc-code="0"/>
                    <lrm_rsc_op operation="start" op-status="0" rc-code="none"/><lrm_rsc_op operation="start" op-status="-1" interval="often"/>
                    </lrm_resource></lrm_resources></lrm></node_state>"#,
                "b:member:online",
            ),
        ] {
            let expected = format!("a:member:online {expected}");
            assert_eq!(
                understood(nodes, states),
                expected.trim(),
                "{nodes}{states}"
            );
        }
        // A member that were left out would be missing where they are counted.
        let odd = "<configuration><nodes><node id=\"1\" uname=\"a b\"/></nodes></configuration>";
        assert!(malformed(&minimal("", odd)).contains("a b"));
    }

    #[test]
    fn of_several_sets_the_pair_pacemaker_uses_is_taken() {
        let inside = r#"<configuration><crm_config>
            <cluster_property_set id="other" score="50"><nvpair id="o-a" name="a" value="other"/>
              <nvpair id="o-b" name="b" value="low"/></cluster_property_set>
            <cluster_property_set id="early"><nvpair id="e-d" name="d" value="early"/></cluster_property_set>
            <cluster_property_set id="late"><nvpair id="l-d" name="d" value="late"/></cluster_property_set>
            <cluster_property_set id="high" score="INFINITY"><nvpair id="h-b" name="b" value="high"/></cluster_property_set>
            <cluster_property_set id="ruled"><rule id="r" score="INFINITY"/><nvpair id="r-c" name="c" value="x"/>
              </cluster_property_set>
            <cluster_property_set id="cib-bootstrap-options"><nvpair id="c-a" name="a" value="first"/>
              </cluster_property_set></crm_config></configuration>"#;
        let view = parse(&minimal("", inside)).unwrap();
        assert_eq!(view.property("a"), Some("first"));
        assert_eq!(view.properties.pair("b").unwrap().set_id, "high");
        assert_eq!(view.property("c"), None);
        assert_eq!(view.property("d"), Some("late"));
    }

    #[test]
    fn running_and_cancelled_operations_are_told_from_finished_ones() {
        let operation = |op: &str, call: i64, status: i64, rc: i64| {
            format!(
                "<lrm_rsc_op id=\"i{call}{op}\" operation=\"{op}\" call-id=\"{call}\" op-status=\"{status}\" \
                 rc-code=\"{rc}\"/>"
            )
        };
        let role = |operations: &[String]| {
            let inside = format!(
                "<configuration/><status><node_state id=\"1\" uname=\"a\"><lrm id=\"1\"><lrm_resources>\
                 <lrm_resource id=\"pgsql:0\">{}</lrm_resource></lrm_resources></lrm></node_state></status>",
                operations.concat()
            );
            parse(&minimal("", &inside))
                .unwrap()
                .node(&node("a"))
                .unwrap()
                .role(&rsc())
        };
        let started = operation("start", 5, 0, 0);
        assert_eq!(
            role(&[started.clone(), operation("promote", -1, -1, 193)]),
            RecordedRole::Promoted
        );
        assert_eq!(
            role(&[started.clone(), operation("promote", 7, 1, 193)]),
            RecordedRole::Unpromoted
        );
        assert_eq!(
            role(&[operation("notify", 9, 0, 7), started]),
            RecordedRole::Unpromoted
        );
    }

    #[test]
    fn a_file_is_read_through_the_real_cibadmin() {
        crate::pacemaker::programs_are_there();
        let deadline = Deadline::after(Duration::from_secs(20));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cib.xml");
        std::fs::write(&file, ONLINE).unwrap();
        assert_eq!(
            Cib::file(&file).read(deadline).unwrap(),
            parse(ONLINE).unwrap()
        );
        std::fs::write(&file, "<cib").unwrap();
        // 2.1 makes an empty one of it, 3.0 refuses it.
        let broken = Cib::file(&file).read(deadline);
        assert!(
            matches!(broken, Err(CibError::Malformed(_) | CibError::Failed(_))),
            "{broken:?}"
        );
        let missing = Cib::file(dir.path().join("missing.xml")).read(deadline);
        assert!(matches!(missing, Err(CibError::Failed(_))), "{missing:?}");
    }
}
