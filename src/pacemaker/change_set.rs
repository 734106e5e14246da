//! Changes of permanent node attributes and cluster properties: all in one step, checked afterwards, and if need be only
//! under a condition. What a confirmed change proves is in [`crate::pacemaker::attributes`].
//!
//! `cibadmin --modify` with the conditions in a path to `/cib/configuration`, and to `/cib` where the admin_epoch is raised as well. A
//! member with Pacemaker 3.0.1 or newer refuses the latter; then it is a patch against the coordinator's copy ([`crate::pacemaker::patch`]).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use crate::log::say;
use crate::model::cluster_view::{CibVersion, ClusterView, NvPair, NvPairs};
use crate::model::node_name::NodeName;
use crate::pacemaker::attributes::{WriteError, refuse_bad_text};
use crate::pacemaker::cib::{Cib, exit_code, parse};
use crate::pacemaker::patch;
use crate::pacemaker::xml::{Element, xpath_literal};
use crate::sys::{Command, Deadline, poll_until};
use crate::timing;
use crate::trial::is_out;

/// The set our cluster properties are in, where they are not in another already.
pub const PROPERTY_SET: &str = "pgsql_replication";

/// How often a raise of the admin_epoch is tried while the CIB changes all the time. A try takes some 30 ms, so usually it is the
/// deadline that ends them.
const MOST_TRIES: u32 = 1000;

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

    /// Makes the changes that differ from `view`, in one process and a read, or two and a read where something is
    /// removed. The answer is the CIB as it was read afterwards, with all of this in it; `None`: nothing differed, and no
    /// process was run.
    ///
    /// `view` should be fresh: where the admin_epoch is to be raised, nothing is changed if it is not `view`'s any more.
    ///
    /// # Errors
    /// See [`WriteError`], which tells "nothing was changed" from "not known".
    pub fn apply(
        &self,
        cib: &Cib,
        view: &ClusterView,
        deadline: Deadline,
    ) -> Result<Option<ClusterView>, WriteError> {
        let rest = self.minus(view);
        if rest.is_empty() {
            return Ok(None);
        }
        let mut is_guarded = true;
        // Without --allow-create a pair that does not exist yet is an error.
        let modify = |path: String, xml: Vec<u8>| {
            let command = cib.cibadmin(deadline);
            let command = command.args(["--modify", "--allow-create", "--xml-pipe"]);
            let command = command.arg(format!("--xpath={path}")).stdin(xml);
            rest.run(command, cib, deadline)
        };
        match (rest.raise_admin_epoch, rest.configuration(view)?) {
            (Some(weight), configuration) if view.takes_a_path_to_the_root() => {
                let raised = view.version.admin_epoch + weight.steps();
                let mut outermost = Element::new("cib").with("admin_epoch", &raised.to_string());
                if !configuration.is_empty() {
                    outermost.merge(configuration);
                }
                let path = format!("/cib[configuration{}]", rest.predicates(view)?);
                modify(path, outermost.to_bytes())?;
            }
            (Some(weight), _) => rest.raise(weight, cib, view, deadline)?,
            (None, configuration) if configuration.is_empty() => is_guarded = false,
            (None, configuration) => {
                let path = format!("/cib/configuration{}", rest.predicates(view)?);
                modify(path, configuration.to_bytes())?;
            }
        }
        let guard = if is_guarded {
            String::new()
        } else {
            rest.predicates(view)?
        };
        if let Some(pairs) = rest.removals(view, &format!("/cib/configuration{guard}"))? {
            let delete = cib.cibadmin(deadline).args(["--delete-all", "--force"]);
            rest.run(delete.arg(format!("--xpath={pairs}")), cib, deadline)?;
        }
        let after = cib.read(deadline).map_err(WriteError::Unread)?;
        let confirmed = self.confirm(view, &after);
        // Removing nothing is no error to cibadmin, also where a condition is the reason.
        if confirmed.is_err()
            && !is_guarded
            && !rest.only_if.iter().all(|condition| condition.holds(&after))
        {
            return Err(rest.condition_failed(after));
        }
        confirmed?;
        Ok(Some(after))
    }

    /// Sets the values and raises the admin_epoch in one step, if all is as it should be, by a patch of the coordinator's copy.
    ///
    /// The patch fits one version of the CIB only, so each change that comes in between, of the status as well, takes
    /// another look and another try. A member whose copy has another version refuses it, and the daemons tell nobody: so it is
    /// done when every member's copy has been read and has it.
    fn raise(
        &self,
        weight: Weight,
        cib: &Cib,
        before: &ClusterView,
        deadline: Deadline,
    ) -> Result<(), WriteError> {
        let mut refused: Option<(CibVersion, WriteError)> = None;
        for refusals in 0..MOST_TRIES {
            if refusals > 0 && deadline.is_past() {
                return Err(WriteError::Restless(refusals));
            }
            let text = cib.coordinators_text(before, deadline);
            let text = text.map_err(WriteError::NotRead)?;
            let now = parse(&text).map_err(WriteError::NotRead)?;
            if let Some((version, error)) = refused
                && version == now.version
            {
                return Err(error);
            }
            if !self.only_if.iter().all(|condition| condition.holds(&now)) {
                return Err(self.condition_failed(now));
            }
            if now.version.admin_epoch != before.version.admin_epoch {
                return Err(WriteError::Superseded);
            }
            let patch = patch::raising(&text, &now, &self.minus(&now), weight)?;
            let limit = deadline.remaining();
            let command = cib.cibadmin(deadline).args(["--patch", "--xml-pipe"]);
            let Err(error) = command.stdin(patch).run(deadline) else {
                if refusals > 0 {
                    say!(
                        INFO,
                        "the CIB was changed by others between looking and writing",
                        times = refusals
                    );
                }
                let raised = now.version.admin_epoch + weight.steps();
                return self.is_everywhere(raised, cib, deadline);
            };
            let error = WriteError::from_run(error, limit);
            if !matches!(error, WriteError::Superseded | WriteError::Failed(_)) {
                return Err(error);
            }
            // It has another version by now, or the change is refused for good: the next look tells.
            refused = Some((now.version, error));
        }
        Err(WriteError::Restless(MOST_TRIES))
    }

    /// Waits until every member's own copy has what was changed. A copy that was behind is brought up to the coordinator's within
    /// moments.
    fn is_everywhere(&self, raised: u64, cib: &Cib, deadline: Deadline) -> Result<(), WriteError> {
        if cib.is_file() {
            return Ok(());
        }
        let mut have: BTreeSet<NodeName> = BTreeSet::new();
        let mut last = None;
        let is_there = poll_until(deadline, timing::CIB_COPY_POLL, || {
            last = self.odd_one(raised, cib, &mut have, deadline);
            last.is_none().then_some(())
        });
        is_there.ok_or_else(|| WriteError::NotConfirmed {
            what: format!("admin_epoch {raised} in every member's copy"),
            found: last.unwrap_or_default(),
        })
    }

    /// A member whose copy lacks what was changed, in words. `have`: those whose copies have been seen with it.
    fn odd_one(
        &self,
        raised: u64,
        cib: &Cib,
        have: &mut BTreeSet<NodeName>,
        deadline: Deadline,
    ) -> Option<String> {
        // Anew each time: a member may have left.
        let now = match cib.read(deadline) {
            Ok(now) => now,
            Err(error) => return Some(error.to_string()),
        };
        for node in now.members().map(|node| &node.name) {
            if have.contains(node) {
                continue;
            }
            match cib.read_at(node, deadline.min(timing::CIB_COPY)) {
                Ok(copy) if self.is_in(&copy, raised) => {
                    have.insert(node.clone());
                }
                Ok(copy) => return Some(format!("{} on {node}", copy.version)),
                Err(error) => return Some(format!("no copy of {node}: {error}")),
            }
        }
        None
    }

    /// Whether a copy has this change, made under the admin_epoch `raised`. One that was raised further since had it first: a copy
    /// that refused this patch meets the next one with a lesser admin_epoch, and is brought up to the coordinator's.
    fn is_in(&self, copy: &ClusterView, raised: u64) -> bool {
        let mut values = self.clone();
        values.raise_admin_epoch = None;
        match copy.version.admin_epoch.cmp(&raised) {
            Ordering::Less => false,
            Ordering::Equal => values.minus(copy).is_empty(),
            Ordering::Greater => true,
        }
    }

    /// Runs cibadmin, and finds out which condition it was that failed.
    fn run(&self, command: Command, cib: &Cib, deadline: Deadline) -> Result<(), WriteError> {
        let limit = deadline.remaining();
        match command.run(deadline) {
            Ok(_) => Ok(()),
            // "No such object": the path, which has our conditions, matched nothing.
            Err(error)
                if error.exit_code() == Some(exit_code::NO_SUCH) && !self.only_if.is_empty() =>
            {
                let view = cib.read(deadline).map_err(WriteError::Unread)?;
                Err(self.condition_failed(view))
            }
            Err(error) => Err(WriteError::from_run(error, limit)),
        }
    }

    fn condition_failed(&self, view: ClusterView) -> WriteError {
        let failed: Vec<String> = self
            .only_if
            .iter()
            .filter(|condition| !condition.holds(&view))
            .map(ToString::to_string)
            .collect();
        let condition = if failed.is_empty() {
            self.only_if
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" and ")
        } else {
            failed.join(" and ")
        };
        WriteError::ConditionFailed {
            condition,
            view: Box::new(view),
        }
    }

    /// Everything asked for is in the CIB, also what was left out because an older view had it already.
    fn confirm(&self, before: &ClusterView, after: &ClusterView) -> Result<(), WriteError> {
        let missing = self.minus(after);
        let not_confirmed = |what: String, value: &Option<String>, found: Option<&NvPair>| {
            let show = |value: Option<&str>| {
                value.map_or("nothing".to_owned(), |value| format!("{value:?}"))
            };
            WriteError::NotConfirmed {
                what: format!("{what} = {}", show(value.as_deref())),
                found: show(found.map(|pair| pair.value.as_str())),
            }
        };
        if let Some(change) = missing.properties.first() {
            let found = after.properties.pair(&change.name);
            return Err(not_confirmed(
                format!("property {}", change.name),
                &change.value,
                found,
            ));
        }
        if let Some(change) = missing.permanent.first() {
            let what = format!("attribute {} of {}", change.name, change.node);
            return Err(not_confirmed(
                what,
                &change.value,
                permanent_pair(after, change),
            ));
        }
        if self.raise_admin_epoch.is_some()
            && after.version.admin_epoch <= before.version.admin_epoch
        {
            return Err(WriteError::NotConfirmed {
                what: format!("admin_epoch {}", before.version.admin_epoch + 1),
                found: after.version.admin_epoch.to_string(),
            });
        }
        Ok(())
    }

    /// The values to be set, as a `configuration` element to be merged into the CIB's; `None`: there are none.
    ///
    /// # Errors
    /// [`WriteError::UnknownNode`], [`WriteError::BadValue`].
    pub fn to_xml(&self, view: &ClusterView) -> Result<Option<Vec<u8>>, WriteError> {
        let configuration = self.configuration(view)?;
        Ok((!configuration.is_empty()).then(|| configuration.to_bytes()))
    }

    fn configuration(&self, view: &ClusterView) -> Result<Element, WriteError> {
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
    fn predicates(&self, view: &ClusterView) -> Result<String, WriteError> {
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
    fn removals(&self, view: &ClusterView, root: &str) -> Result<Option<String>, WriteError> {
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

fn permanent_pair<'a>(view: &'a ClusterView, change: &PermanentChange) -> Option<&'a NvPair> {
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
    use std::time::Duration;

    use super::*;
    use crate::model::cluster_view::{ClusterProperty, ResourceName};
    use crate::pacemaker::cib::parse;

    const ONLINE: &str = include_str!("../../tests/fixtures/cib/two-nodes-online-2.1.5.xml");
    const PEER_LOST: &str = include_str!("../../tests/fixtures/cib/peer-lost-2.1.5.xml");
    const REPL_INFO: &str = "pgsql_REPL_INFO";
    const DATA_STATUS: &str = "pgsql-data-status";

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn xml(changes: &ChangeSet) -> String {
        String::from_utf8(changes.to_xml(&parse(ONLINE).unwrap()).unwrap().unwrap()).unwrap()
    }

    /// One of the members has a Pacemaker that takes patches only.
    fn newer() -> String {
        let old = r##"name="#feature-set" value="3.16.1""##;
        let new = r##"name="#feature-set" value="3.20.1""##;
        let text = ONLINE.replacen(old, new, 1);
        assert!(!parse(&text).unwrap().takes_a_path_to_the_root());
        text
    }

    /// A CIB file of its own, changed by the real cibadmin.
    struct OnFile {
        cib: Cib,
        deadline: Deadline,
        _dir: tempfile::TempDir,
    }

    impl OnFile {
        fn new(text: &str) -> Self {
            crate::pacemaker::programs_are_there();
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("cib.xml");
            std::fs::write(&file, text).unwrap();
            let deadline = Deadline::after(Duration::from_secs(30));
            Self {
                cib: Cib::file(file),
                deadline,
                _dir: dir,
            }
        }

        fn view(&self) -> ClusterView {
            self.cib.read(self.deadline).unwrap()
        }

        fn text(&self) -> String {
            self.cib.read_text(self.deadline).unwrap()
        }

        fn patch(&self, patch: String) -> Result<(), crate::sys::RunError> {
            let command = self.cib.cibadmin(self.deadline);
            let command = command.args(["--patch", "--xml-pipe"]).stdin(patch);
            command.run(self.deadline).map(drop)
        }

        fn apply(&self, changes: &ChangeSet) -> Result<Option<ClusterView>, WriteError> {
            changes.apply(&self.cib, &self.view(), self.deadline)
        }
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
    fn raising_the_epoch_alone_touches_nothing_else() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let before = file.text();
            file.apply(&ChangeSet::default().raise_admin_epoch(Weight::Promotion))
                .unwrap();
            let is_counter = |line: &str| line.starts_with("<cib ");
            let rest = |text: &str| {
                let lines = text.lines().filter(|line| !is_counter(line));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            let after = file.text();
            assert_eq!(rest(&after), rest(&before));
            let kept = [
                "crm_feature_set=\"3.16.1\"",
                "validate-with=\"pacemaker-3.9\"",
                "have-quorum=\"1\"",
                "dc-uuid=\"1\"",
                "admin_epoch=\"111\"",
            ];
            let outermost = after.lines().find(|line| is_counter(line)).unwrap();
            for attribute in kept {
                assert!(outermost.contains(attribute), "{attribute}: {outermost}");
            }
        }
    }

    #[test]
    fn whoever_comes_in_between_makes_it_look_again() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let stale = file.view();
            // The status and the configuration have changed since, not what the condition is about.
            file.apply(&ChangeSet::default().property("somebody-s", Some("1")))
                .unwrap();
            let change = ChangeSet::default()
                .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
                .raise_admin_epoch(Weight::Revocation)
                .only_if(Condition::Property {
                    name: REPL_INFO.to_owned(),
                    is: Some("node2|2|0000000004000000".to_owned()),
                });
            let after = change
                .apply(&file.cib, &stale, file.deadline)
                .unwrap()
                .unwrap();
            assert_eq!(after.property("somebody-s"), Some("1"));
            assert_eq!(after.version.admin_epoch, stale.version.admin_epoch + 1);
        }
    }

    #[test]
    fn a_patch_for_another_version_changes_nothing() {
        let file = OnFile::new(ONLINE);
        let (text, before) = (file.text(), file.view());
        let change = ChangeSet::default().property(REPL_INFO, Some("x"));
        let made = patch::raising(&text, &before, &change, Weight::Revocation).unwrap();
        let made = String::from_utf8(made).unwrap();
        // One change of the status more, or less, than there was.
        for other in [r#"num_updates="0""#, r#"num_updates="2""#] {
            let stale = made.replacen(r#"num_updates="1""#, other, 1);
            assert_ne!(stale, made);
            let result = file.patch(stale);
            assert!(result.is_err(), "{other}");
            assert_eq!(file.view(), before, "{other}");
        }
        // What is not there fails as a whole.
        let result = file.patch(made.replace(
            "[@id=&apos;pgsql_replication&apos;]",
            "[@id=&apos;gone&apos;]",
        ));
        assert!(result.is_err());
        assert_eq!(file.view(), before);
        file.patch(made).unwrap();
        assert_eq!(file.view().property(REPL_INFO), Some("x"));
    }

    #[test]
    fn what_pacemaker_refuses_for_good_is_not_tried_for_ever() {
        // Two names that get the same id, which no schema lets through.
        let file = OnFile::new(&newer());
        let change = ChangeSet::default()
            .property("a:b", Some("x"))
            .property("a;b", Some("y"))
            .raise_admin_epoch(Weight::Revocation);
        let error = file.apply(&change).unwrap_err();
        assert!(!error.leaves_it_open(), "{error}");
        assert!(matches!(error, WriteError::Failed(_)), "{error}");
    }

    #[test]
    fn a_copy_has_a_change_by_its_values_or_by_a_later_one() {
        let change = ChangeSet::default()
            .property(REPL_INFO, Some("new"))
            .raise_admin_epoch(Weight::Revocation);
        for (admin_epoch, value, expected) in [
            (12, "new", true),
            // Somebody has gone on from there.
            (13, "newer", true),
            (11, "old", false),
            (11, "new", false),
            // It refused the patch, and was raised by somebody else.
            (12, "old", false),
        ] {
            let text = ONLINE.replace("node2|2|0000000004000000", value);
            let mut copy = parse(&text).unwrap();
            copy.version.admin_epoch = admin_epoch;
            assert_eq!(change.is_in(&copy, 12), expected, "{admin_epoch} {value}");
        }
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

    #[test]
    fn a_whole_change_set_arrives_in_one_step() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let before = file.view();
            let changes = ChangeSet::default()
                .property(REPL_INFO, Some("node1|3|0000000005000000"))
                .property("pgsql_SYNC", Some("7|1|node1|a<&\"'>b"))
                .permanent(&node("NODE2"), DATA_STATUS, Some("DISCONNECT"))
                .permanent(&node("node2"), "new", Some(""))
                .raise_admin_epoch(Weight::Revocation);
            let after = file.apply(&changes).unwrap().unwrap();
            assert_eq!(after, file.view());
            assert_eq!(after.version.admin_epoch, before.version.admin_epoch + 1);
            assert!(after.version > before.version);
            assert_eq!(after.property(REPL_INFO), Some("node1|3|0000000005000000"));
            assert_eq!(after.property("pgsql_SYNC"), Some("7|1|node1|a<&\"'>b"));
            let node2 = after.node(&node("node2")).unwrap();
            assert_eq!(node2.permanent.get(DATA_STATUS), Some("DISCONNECT"));
            assert_eq!(node2.permanent.pair("new").unwrap().value, "");
            assert_eq!(after.nodes.len(), 2);
            assert_eq!(
                after.properties.iter().count(),
                before.properties.iter().count() + 1,
                "no pair is doubled"
            );
        }
    }

    #[test]
    fn a_change_that_is_there_already_runs_no_process() {
        let file = OnFile::new(ONLINE);
        let changes = ChangeSet::default().permanent(&node("node1"), DATA_STATUS, Some("LATEST"));
        let view = file.view();
        let nowhere = Cib::file("/nonexistent/cib.xml");
        assert!(
            changes
                .apply(&nowhere, &view, file.deadline)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_node_that_is_away_gets_its_permanent_attribute() {
        let file = OnFile::new(PEER_LOST);
        let changes =
            ChangeSet::default().permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"));
        let after = file.apply(&changes).unwrap().unwrap();
        assert_eq!(
            after
                .node(&node("node2"))
                .unwrap()
                .permanent
                .get(DATA_STATUS),
            Some("DISCONNECT")
        );
    }

    #[test]
    fn a_pair_is_changed_where_it_is() {
        let text = ONLINE
            .replace("id=\"pgsql_replication\"", "id=\"set-of-pcs\"")
            .replace(
                "id=\"pgsql_replication-pgsql_REPL_INFO\"",
                "id=\"somebody-s\"",
            );
        let file = OnFile::new(&text);
        let after = file
            .apply(&ChangeSet::default().property(REPL_INFO, Some("x")))
            .unwrap()
            .unwrap();
        let pair = after.properties.pair(REPL_INFO).unwrap();
        assert_eq!(
            (pair.id.as_str(), pair.set_id.as_str(), pair.value.as_str()),
            ("somebody-s", "set-of-pcs", "x")
        );
    }

    #[test]
    fn removal_takes_the_named_pairs_and_nothing_else() {
        let file = OnFile::new(ONLINE);
        let changes = ChangeSet::default()
            .property(REPL_INFO, None)
            .permanent(&node("node1"), DATA_STATUS, None)
            .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
            .property("never-there", None);
        let before = file.view();
        let after = file.apply(&changes).unwrap().unwrap();
        assert_eq!(after.properties.pair(REPL_INFO), None);
        assert_eq!(
            after.node(&node("node1")).unwrap().permanent.iter().count(),
            0
        );
        assert_eq!(
            after
                .node(&node("node2"))
                .unwrap()
                .permanent
                .get(DATA_STATUS),
            Some("DISCONNECT")
        );
        assert_eq!(
            after.properties.iter().count(),
            before.properties.iter().count() - 1
        );
        assert!(file.apply(&changes).unwrap().is_none(), "twice is once");
    }

    #[test]
    fn a_condition_is_checked_in_the_same_step() {
        for text in [ONLINE, &newer()] {
            let file = OnFile::new(text);
            let resource = ResourceName::new("pgsql").unwrap();
            let name = ClusterProperty::ReplInfo.name(&resource);
            let condition = |is: Option<&str>| Condition::Property {
                name: name.clone(),
                is: is.map(str::to_owned),
            };
            let revoke = ChangeSet::default()
                .permanent(&node("node2"), DATA_STATUS, Some("DISCONNECT"))
                .raise_admin_epoch(Weight::Revocation);

            let stale = file.view();
            for wrong in [
                condition(Some("node1|1|0")),
                condition(None),
                condition(Some("both ' and x")),
            ] {
                let error = file.apply(&revoke.clone().only_if(wrong)).unwrap_err();
                assert!(
                    matches!(error, WriteError::ConditionFailed { .. }),
                    "{error}"
                );
            }
            assert_eq!(file.view(), stale, "nothing was changed");

            let data_status = |is: &str| Condition::Permanent {
                node: node("node2"),
                name: DATA_STATUS.to_owned(),
                is: Some(is.to_owned()),
            };
            let right = revoke
                .clone()
                .only_if(condition(Some("node2|2|0000000004000000")));
            let error = file
                .apply(&right.clone().only_if(data_status("LATEST")))
                .unwrap_err();
            let expected = "attribute pgsql-data-status of node2 is \"LATEST\"";
            assert!(
                matches!(&error, WriteError::ConditionFailed { condition, view }
                if condition == expected && **view == stale),
                "{error}"
            );
            let absent = Condition::Permanent {
                node: node("node1"),
                name: "voided".to_owned(),
                is: None,
            };
            file.apply(&right.only_if(data_status("STREAMING|SYNC")).only_if(absent))
                .unwrap()
                .unwrap();
        }
    }

    #[test]
    fn a_conditional_removal_is_not_done_when_the_condition_fails() {
        let file = OnFile::new(ONLINE);
        let condition = |is: &str| Condition::Property {
            name: REPL_INFO.to_owned(),
            is: Some(is.to_owned()),
        };
        let remove = ChangeSet::default().permanent(&node("node1"), DATA_STATUS, None);
        let error = file
            .apply(&remove.clone().only_if(condition("no")))
            .unwrap_err();
        assert!(
            matches!(error, WriteError::ConditionFailed { .. }),
            "{error}"
        );
        file.apply(&remove.only_if(condition("node2|2|0000000004000000")))
            .unwrap()
            .unwrap();
    }

    #[test]
    fn a_value_no_xpath_can_hold_is_refused() {
        let file = OnFile::new(ONLINE);
        let is = Some("'\"".to_owned());
        let changes = ChangeSet::default().property("b", Some("c"));
        let result = file.apply(&changes.only_if(Condition::Property {
            name: "a".to_owned(),
            is,
        }));
        assert!(
            matches!(result, Err(WriteError::BadValue { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn a_second_writer_who_raised_the_epoch_is_noticed() {
        for text in [ONLINE.to_owned(), newer()] {
            let file = OnFile::new(&text);
            let stale = file.view();
            let raise = ChangeSet::default().raise_admin_epoch(Weight::Promotion);
            file.apply(&raise).unwrap();
            let less = ChangeSet::default().raise_admin_epoch(Weight::Revocation);
            let result = less.apply(&file.cib, &stale, file.deadline);
            assert!(matches!(result, Err(WriteError::Superseded)), "{result:?}");
        }
    }
}
