//! What Pacemaker holds against a resource: its last failed operations, and how many failures it has counted.
//!
//! Source: Pacemaker, `lib/pengine/failcounts.c`: a count is an attribute `fail-count-RSC#OPERATION_INTERVAL`, added up
//! over all operations; `lib/pengine/pe_output.c`: a failure is listed by its history entry `RSC_last_failure_0`.

use std::fmt;

use roxmltree::{Document, Node};

use crate::model::cluster_view::{NodeView, ResourceName, Score, base_name};
use crate::model::node_name::NodeName;
use crate::pacemaker::attributes::WriteError;
use crate::pacemaker::cib::{Cib, CibError, NOTE};
use crate::pacemaker::document::{child, children};
use crate::pacemaker::xml::xpath_literal;
use crate::sys::{Command, Deadline, RunError};

/// A failed operation that nobody has forgiven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedOperation {
    pub node: NodeName,
    pub resource: ResourceName,
    /// start, promote, monitor …
    pub operation: String,
    /// The executor's count of calls: another one is another failure.
    pub call: String,
    /// What the agent said; `None`: nothing.
    pub reason: Option<String>,
    /// The exit code.
    pub code: String,
    /// It did not end in time.
    pub timed_out: bool,
    /// Not a failure after all: a probe that found the resource running, or stopped.
    pub is_finding: bool,
    /// Pacemaker counts it, and its note is gone: a history has one note a resource, and any later result that Pacemaker lists, a
    /// monitor's "degraded" as well, takes its place.
    pub is_count_alone: bool,
    /// When it happened, seconds since 1970 by that node's clock.
    pub at: Option<u64>,
}

impl FailedOperation {
    /// The resource runs and something is amiss (190, 191). Pacemaker lists that with the failures, also when it is over, and
    /// does not count it.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self.code.as_str(), "190" | "191")
    }
}

impl fmt::Display for FailedOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} ", self.node, self.operation, self.resource)?;
        if self.is_degraded() {
            f.write_str("was degraded")?;
            return self
                .reason
                .iter()
                .try_for_each(|reason| write!(f, ": {reason}"));
        }
        if self.is_count_alone {
            return f.write_str("failed (Pacemaker counts it; the reason is in that node's log, a later result stands in its place)");
        }
        match (&self.reason, self.timed_out) {
            (Some(reason), _) => write!(f, "failed: {reason}"),
            (None, true) => f.write_str("took too long"),
            (None, false) => write!(f, "failed with exit code {}", self.code),
        }
    }
}

/// The failures of `resources` on all nodes, by node.
///
/// # Errors
/// [`CibError::Malformed`].
pub fn failed_operations(
    cib: &str,
    resources: &[&ResourceName],
) -> Result<Vec<FailedOperation>, CibError> {
    let document = Document::parse(cib).map_err(|error| CibError::Malformed(error.to_string()))?;
    let states = children(child(document.root_element(), "status"), "node_state");
    let mut found: Vec<FailedOperation> =
        states.flat_map(|state| of_node(state, resources)).collect();
    found.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(found)
}

fn of_node(state: Node<'_, '_>, resources: &[&ResourceName]) -> Vec<FailedOperation> {
    let Some(node) = state
        .attribute("uname")
        .and_then(|name| NodeName::new(name).ok())
    else {
        return Vec::new();
    };
    let histories = child(state, "lrm").and_then(|lrm| child(lrm, "lrm_resources"));
    let mut found = Vec::new();
    for history in children(histories, "lrm_resource") {
        let name = base_name(history.attribute("id").unwrap_or_default());
        let Some(resource) = resources.iter().find(|r| r.as_str() == name) else {
            continue;
        };
        let is_failure =
            |op: &Node<'_, '_>| op.attribute("id").is_some_and(|id| id.ends_with(NOTE));
        for op in children(Some(history), "lrm_rsc_op").filter(is_failure) {
            let says = |name: &str| op.attribute(name).unwrap_or_default().to_owned();
            found.push(FailedOperation {
                node: node.clone(),
                resource: (*resource).clone(),
                operation: says("operation"),
                call: says("call-id"),
                reason: Some(says("exit-reason")).filter(|reason| !reason.is_empty()),
                code: says("rc-code"),
                // Pacemaker's PCMK_EXEC_TIMEOUT.
                timed_out: op.attribute("op-status") == Some("2"),
                is_finding: says("operation") == "monitor"
                    && says("interval") == "0"
                    && matches!(says("rc-code").as_str(), "0" | "7" | "8" | "190" | "191"),
                is_count_alone: false,
                at: says("last-rc-change").parse().ok(),
            });
        }
    }
    let counted = counted(state, &node, resources);
    let is_told = |failure: &FailedOperation| {
        found.iter().any(|told| {
            told.resource == failure.resource
                && told.operation == failure.operation
                && !told.is_degraded()
                && !told.is_finding
        })
    };
    let alone: Vec<FailedOperation> = counted.filter(|failure| !is_told(failure)).collect();
    found.extend(alone);
    found
}

/// What Pacemaker counts on a node, one for each operation.
fn counted<'a>(
    state: Node<'a, '_>,
    node: &'a NodeName,
    resources: &'a [&ResourceName],
) -> impl Iterator<Item = FailedOperation> + 'a {
    let sets = children(child(state, "transient_attributes"), "instance_attributes");
    let pairs = sets.flat_map(|set| children(Some(set), "nvpair"));
    pairs.filter_map(move |pair| {
        let (of, key) = pair
            .attribute("name")?
            .strip_prefix("fail-count-")?
            .rsplit_once('#')?;
        let resource = resources.iter().find(|r| r.as_str() == of)?;
        let (operation, _) = key.rsplit_once('_')?;
        let count: Score = pair.attribute("value")?.parse().ok()?;
        (count > Score::new(0)).then(|| FailedOperation {
            node: node.clone(),
            resource: (*resource).clone(),
            operation: operation.to_owned(),
            call: String::new(),
            reason: None,
            code: String::new(),
            timed_out: false,
            is_finding: false,
            is_count_alone: true,
            at: None,
        })
    })
}

/// What failed on `node` between two looks. A count whose note went in between is no news.
#[must_use]
pub fn new_failure<'a>(
    before: &[FailedOperation],
    now: &'a [FailedOperation],
    node: &NodeName,
) -> Option<&'a FailedOperation> {
    let is_known = |failure: &FailedOperation| {
        before.iter().any(|old| {
            old == failure
                || failure.is_count_alone
                    && old.node == failure.node
                    && old.resource == failure.resource
                    && old.operation == failure.operation
        })
    };
    now.iter()
        .find(|failure| failure.node == *node && !is_known(failure))
}

/// How many failures Pacemaker has counted for a resource on a node.
#[must_use]
pub fn fail_count(node: &NodeView, resource: &ResourceName) -> Score {
    let prefix = format!("fail-count-{resource}#");
    let counts = node
        .transient
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix));
    let sum = counts.fold(0_i32, |sum, (_, pair)| {
        let count: Score = pair.value.parse().unwrap_or(Score::new(0));
        sum.saturating_add(count.value())
    });
    Score::new(sum)
}

/// Removes the note of a monitor's result from a node's history, where it is still that of this call. That it is gone already is no
/// error.
///
/// # Errors
/// [`WriteError`].
pub fn delete_note(
    cib: &Cib,
    node: &NodeName,
    resource: &ResourceName,
    call: u64,
    deadline: Deadline,
) -> Result<(), WriteError> {
    let literal = |name: &str, text: &str| {
        xpath_literal(text).ok_or_else(|| WriteError::BadValue {
            name: name.to_owned(),
            value: text.to_owned(),
            why: "a path cannot have both kinds of quotes",
        })
    };
    let uname = literal("node", node.as_str())?;
    // An instance's history has the resource's name, with or without the instance's number.
    let (id, instance) = (
        literal("resource", resource.as_str())?,
        literal("resource", &format!("{resource}:"))?,
    );
    let path = format!(
        "/cib/status/node_state[@uname={uname}]/lrm/lrm_resources/lrm_resource[@id={id} or starts-with(@id,{instance})]\
         /lrm_rsc_op[contains(@id,'{NOTE}')][@operation='monitor'][@call-id='{call}']"
    );
    let limit = deadline.remaining();
    cib.cibadmin(deadline)
        .args(["--delete-all", "--force"])
        .arg(format!("--xpath={path}"))
        .run(deadline)
        .map(drop)
        .map_err(|error| WriteError::from_run(error, limit))
}

/// Has Pacemaker forget a monitor's note and all else that it knows of the resource on a node: the node is asked anew what runs there, which
/// stops nothing, and the monitors begin. Only where [`delete_note`] does not help: what is asked of the node in the same moment fails.
///
/// # Errors
/// [`RunError`].
pub fn forget_monitor(
    node: &NodeName,
    resource: &ResourceName,
    interval_ms: u32,
    deadline: Deadline,
) -> Result<(), RunError> {
    Command::new("crm_resource")
        .args(["--cleanup", "--operation=monitor"])
        .arg(format!("--resource={resource}"))
        .arg(format!("--node={node}"))
        .arg(format!("--interval={interval_ms}ms"))
        .run(deadline)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster_view::{NodeKind, NvPair};

    #[test]
    fn a_failure_is_told_with_the_agent_s_reason() {
        let cib = r#"<cib><status><node_state uname="node2"><lrm><lrm_resources>
            <lrm_resource id="pgsql:1"><lrm_rsc_op id="pgsql_last_0" operation="start" rc-code="0"/>
            <lrm_rsc_op id="pgsql_last_failure_0" operation="promote" rc-code="1" op-status="0" call-id="7" exit-reason="not promoted: x"/>
            </lrm_resource>
            <lrm_resource id="vip"><lrm_rsc_op id="vip_last_failure_0" operation="monitor" rc-code="7" op-status="0" call-id="9"/></lrm_resource>
            <lrm_resource id="pgsql2"><lrm_rsc_op id="pgsql2_last_failure_0" operation="monitor" rc-code="191" op-status="9" call-id="9" exit-reason="alone"/></lrm_resource>
            <lrm_resource id="other"><lrm_rsc_op id="other_last_failure_0" operation="start" rc-code="1"/></lrm_resource>
            </lrm_resources></lrm></node_state>
            <node_state uname="node1"><lrm><lrm_resources>
            <lrm_resource id="pgsql"><lrm_rsc_op id="pgsql_last_failure_0" operation="stop" rc-code="1" op-status="2" call-id="3"/>
            </lrm_resource></lrm_resources></lrm></node_state></status></cib>"#;
        let names = ["pgsql", "pgsql2", "vip"].map(|name| ResourceName::new(name).unwrap());
        let names: Vec<&ResourceName> = names.iter().collect();
        let told: Vec<String> = failed_operations(cib, &names)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "node1: stop of pgsql took too long",
                "node2: promote of pgsql failed: not promoted: x",
                "node2: monitor of vip failed with exit code 7",
                "node2: monitor of pgsql2 was degraded: alone",
            ]
        );
    }

    /// A promotion failed for want of space; the monitor after it was degraded for the same reason, and its note took the place.
    #[test]
    fn a_failure_whose_note_is_gone_is_told_by_its_count() {
        let cib = |note: &str| {
            format!(
                r##"<cib><status><node_state uname="node1"><lrm><lrm_resources><lrm_resource id="pgsql:1">{note}</lrm_resource>
                </lrm_resources></lrm><transient_attributes><instance_attributes>
                <nvpair name="fail-count-pgsql#promote_0" value="1"/><nvpair name="fail-count-pgsql#monitor_3000" value="0"/>
                <nvpair name="fail-count-other#start_0" value="INFINITY"/>
                <nvpair name="last-failure-pgsql#promote_0" value="1764560000"/>
                </instance_attributes></transient_attributes></node_state></status></cib>"##
            )
        };
        let note = |operation: &str, code: u32| {
            format!(
                r#"<lrm_rsc_op id="pgsql_last_failure_0" operation="{operation}" rc-code="{code}" op-status="0" call-id="7" exit-reason="x"/>"#
            )
        };
        let name = ResourceName::new("pgsql").unwrap();
        let told = |note: &str| -> Vec<String> {
            let found = failed_operations(&cib(note), &[&name]).unwrap();
            found.iter().map(ToString::to_string).collect()
        };
        let counted = "node1: promote of pgsql failed (Pacemaker counts it; the reason is in that node's log, a later result stands in \
                       its place)";
        assert_eq!(told(""), [counted]);
        let degraded = "node1: monitor of pgsql was degraded: x";
        assert_eq!(told(&note("monitor", 191)), [degraded, counted]);
        assert_eq!(
            told(&note("promote", 1)),
            ["node1: promote of pgsql failed: x"]
        );
    }

    #[test]
    fn counts_are_added_up_and_infinity_stays_infinity() {
        let name = NodeName::new("node1").unwrap();
        let mut node = NodeView::new(name, "1", NodeKind::Member);
        let pgsql = ResourceName::new("pgsql").unwrap();
        assert_eq!(fail_count(&node, &pgsql), Score::new(0));
        let mut add = |name: &str, value: &str| {
            let pair = NvPair {
                id: name.to_owned(),
                set_id: "s".to_owned(),
                value: value.to_owned(),
            };
            node.transient.add(name, pair);
        };
        add("fail-count-pgsql#promote_0", "2");
        add("fail-count-pgsql#monitor_3000", "1");
        add("fail-count-pgsql2#monitor_3000", "5");
        assert_eq!(fail_count(&node, &pgsql), Score::new(3));
        let pair = NvPair {
            id: "x".to_owned(),
            set_id: "s".to_owned(),
            value: "INFINITY".to_owned(),
        };
        node.transient.add("fail-count-pgsql#start_0", pair);
        assert_eq!(fail_count(&node, &pgsql), Score::INFINITY);
    }

    #[test]
    fn a_note_is_removed_from_that_node_s_history_only() {
        crate::pacemaker::programs_are_there();
        let deadline = Deadline::after(std::time::Duration::from_secs(20));
        let op = |id: &str, call: u32| {
            format!(
                "<lrm_rsc_op id=\"{id}\" operation_key=\"k\" operation=\"monitor\" crm_feature_set=\"3.16.1\" transition-key=\"t\" \
                 transition-magic=\"m\" call-id=\"{call}\" rc-code=\"191\" op-status=\"0\" interval=\"3000\"/>"
            )
        };
        let state = |id: u32, resources: &str| {
            format!(
                "<node_state id=\"{id}\" uname=\"node{id}\"><lrm id=\"{id}\"><lrm_resources>{resources}</lrm_resources></lrm></node_state>"
            )
        };
        let resource = |id: &str, ops: &str| {
            format!(
                "<lrm_resource id=\"{id}\" class=\"ocf\" provider=\"heartbeat\" type=\"expgsql\">{ops}</lrm_resource>"
            )
        };
        let both = op("pgsql_last_failure_0", 49) + &op("pgsql_monitor_3000", 49);
        let status = state(
            1,
            &(resource("pgsql:0", &both) + &resource("pgsql2", &op("pgsql2_last_failure_0", 49))),
        ) + &state(2, &resource("pgsql", &op("pgsql_last_failure_0", 49)));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cib.xml");
        let text = format!(
            "<cib validate-with=\"pacemaker-3.0\" epoch=\"1\" num_updates=\"0\" admin_epoch=\"0\"><configuration><crm_config/>\
             <nodes/><resources/><constraints/></configuration><status>{status}</status></cib>"
        );
        std::fs::write(&file, &text).unwrap();
        let cib = Cib::file(&file);
        let (node, name) = (
            NodeName::new("node1").unwrap(),
            ResourceName::new("pgsql").unwrap(),
        );
        let left = || {
            std::fs::read_to_string(&file)
                .unwrap()
                .matches("<lrm_rsc_op")
                .count()
        };
        // Another result has come since.
        delete_note(&cib, &node, &name, 48, deadline).unwrap();
        assert_eq!(left(), 4);
        for _ in 0..2 {
            delete_note(&cib, &node, &name, 49, deadline).unwrap();
            assert_eq!(left(), 3);
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("pgsql_monitor_3000"), "{text}");
        assert!(text.contains("pgsql2_last_failure_0"), "{text}");
        assert_eq!(text.matches("\"pgsql_last_failure_0").count(), 1, "{text}");
    }
}
