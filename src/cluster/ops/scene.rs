//! The cluster as these commands see it: one reading of the CIB, and what it says about the resource.

use std::collections::BTreeSet;

use crate::cluster::{Exit, Failure, node, resource};
use crate::model::cluster_view::{
    ClusterProperty, ClusterView, NoQuorumPolicy, NodeKind, NodeView, OperationKind,
    PermanentAttribute, Quorum, RecordedRole, ResourceName, TransientAttribute, parse_bool,
};
use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::status::{DataStatus, NodeStatus, SenderState};
use crate::pacemaker::constraints::{self, Follower, With};
use crate::pacemaker::failures::{FailedOperation, failed_operations};
use crate::pacemaker::resources::{self, Resource};

use super::tools::{self, Meta, NodeMode};

/// One reading of the CIB.
pub(super) struct Scene {
    text: String,
    pub(super) view: ClusterView,
    pub(super) resource: Resource,
    /// The addresses, as a rule.
    pub(super) followers: Vec<Follower>,
}

/// The CIB's text and what it says, in a partition that may act.
///
/// # Errors
/// [`Failure`]: not root, no cluster, no quorum.
pub(super) fn cluster() -> Result<(String, ClusterView), Failure> {
    let (text, view) = node::read()?;
    require_quorum(&view)?;
    Ok((text, view))
}

fn require_quorum(view: &ClusterView) -> Result<(), Failure> {
    let why = match view.quorum {
        Quorum::Yes => return Ok(()),
        // Whoever configures that lets something else than votes decide.
        Quorum::No if view.no_quorum_policy() == NoQuorumPolicy::Ignore => return Ok(()),
        Quorum::No => {
            "this node's part of the cluster has no quorum, so another part may decide otherwise: bring the other nodes back, and try again"
        }
        Quorum::Unknown => {
            "the cluster has not come together yet, so what is said to it may be lost: wait, and try again"
        }
    };
    Err(Failure::new(
        Exit::NoQuorum,
        format!("nothing was done: {why}"),
    ))
}

/// A node by the name that an operator typed.
///
/// # Errors
/// [`Exit::Refused`] with the names there are.
pub(super) fn node_named<'v>(view: &'v ClusterView, name: &str) -> Result<&'v NodeView, Failure> {
    let found = NodeName::new(name).ok();
    found.and_then(|name| view.node(&name)).ok_or_else(|| {
        let names: Vec<&str> = view.nodes.keys().map(NodeName::as_str).collect();
        Failure::new(
            Exit::Refused,
            format!(
                "the cluster has no node {name:?}; its nodes are {}",
                names.join(", ")
            ),
        )
    })
}

/// Whether a node is in a mode.
pub(super) fn is_in_mode(node: &NodeView, mode: NodeMode) -> bool {
    let is_on = |text: Option<&str>| text.and_then(parse_bool) == Some(true);
    is_on(node.permanent.get(mode.name())) || is_on(node.transient.get(mode.name()))
}

/// Whether the cluster is in maintenance mode.
pub(super) fn is_in_maintenance(view: &ClusterView) -> bool {
    view.property("maintenance-mode").and_then(parse_bool) == Some(true)
}

impl Scene {
    /// Reads the CIB and finds the resource that is meant.
    ///
    /// # Errors
    /// [`Failure`]: not root, no cluster, no quorum, no such resource.
    pub(super) fn look(wanted: Option<&str>) -> Result<Self, Failure> {
        let (text, view) = cluster()?;
        Self::of(text, view, wanted)
    }

    /// What a CIB says about the resource that is meant.
    pub(super) fn of(
        text: String,
        view: ClusterView,
        wanted: Option<&str>,
    ) -> Result<Self, Failure> {
        let found = resources::of_agent(&text, resource::AGENT).map_err(node::unreachable)?;
        Self::about(text, view, resource::choose(found, wanted)?)
    }

    fn about(text: String, view: ClusterView, resource: Resource) -> Result<Self, Failure> {
        let followers = followers(&text, &resource)?;
        Ok(Self {
            text,
            view,
            resource,
            followers,
        })
    }

    /// Every resource of this agent there is, the one that is meant first: what a node does is done to all of them.
    ///
    /// # Errors
    /// As [`Scene::look`].
    pub(super) fn all(wanted: Option<&str>) -> Result<Vec<Self>, Failure> {
        let (text, view) = cluster()?;
        Self::all_of(&text, &view, wanted)
    }

    /// What a CIB says about all of them.
    pub(super) fn all_of(
        text: &str,
        view: &ClusterView,
        wanted: Option<&str>,
    ) -> Result<Vec<Self>, Failure> {
        let first = Self::of(text.to_owned(), view.clone(), wanted)?;
        let found = resources::of_agent(text, resource::AGENT).map_err(node::unreachable)?;
        let mut scenes = vec![first];
        for resource in found {
            if resource.name != scenes[0].resource.name {
                scenes.push(Self::about(text.to_owned(), view.clone(), resource)?);
            }
        }
        Ok(scenes)
    }

    /// Reads the CIB again.
    ///
    /// # Errors
    /// [`Failure`]; what was read before stays.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        let (text, view) = cluster()?;
        self.followers = followers(&text, &self.resource)?;
        (self.text, self.view) = (text, view);
        Ok(())
    }

    /// What a constraint or a target-role is about: the clone, where there is one.
    pub(super) fn handle(&self) -> &str {
        match &self.resource.clone {
            Some(clone) => &clone.name,
            None => self.name().as_str(),
        }
    }

    pub(super) fn name(&self) -> &ResourceName {
        &self.resource.name
    }

    /// The resource under both its names.
    pub(super) fn names(&self) -> [&str; 2] {
        [self.handle(), self.name().as_str()]
    }

    pub(super) fn locations(&self) -> Result<Vec<constraints::Location>, Failure> {
        constraints::locations(&self.text, &self.names()).map_err(node::unreachable)
    }

    /// The node that a switchover that goes on, or was killed, prefers.
    pub(super) fn preferred(&self) -> Result<Option<NodeName>, Failure> {
        let id = tools::preference(self.handle());
        let mut locations = self.locations()?.into_iter();
        let found = locations.find(|location| location.id == id && location.ends);
        Ok(found.map(|location| location.node))
    }

    /// What Pacemaker holds against the resource and its addresses, and still has the note of: one more is a new failure.
    pub(super) fn failures(&self) -> Result<Vec<FailedOperation>, Failure> {
        let mut all = self.forgivable()?;
        all.retain(|operation| !operation.is_count_alone);
        Ok(all)
    }

    /// What Pacemaker holds against the resource and its addresses.
    pub(super) fn forgivable(&self) -> Result<Vec<FailedOperation>, Failure> {
        let mut all = self.listed()?;
        all.retain(|operation| !operation.is_degraded());
        Ok(all)
    }

    /// The same, with what crm_mon lists as a failure and is none.
    pub(super) fn listed(&self) -> Result<Vec<FailedOperation>, Failure> {
        let followers = self.followers.iter().map(|follower| &follower.name);
        let names: Vec<_> = [self.name()].into_iter().chain(followers).collect();
        let mut all = failed_operations(&self.text, &names).map_err(node::unreachable)?;
        // As after a cleanup.
        all.retain(|operation| !operation.is_finding);
        Ok(all)
    }

    /// Refuses what can't work because nothing is started or stopped at all.
    pub(super) fn require_managed(&self) -> Result<(), Failure> {
        match self.hands_off() {
            None => Ok(()),
            Some(why) => Err(Failure::new(
                Exit::Refused,
                format!("nothing was done: {why}"),
            )),
        }
    }

    /// Why Pacemaker starts and stops nothing, and what to do about that.
    pub(super) fn hands_off(&self) -> Option<String> {
        if is_in_maintenance(&self.view) {
            return Some(
                "the cluster is in maintenance mode, so Pacemaker starts and stops nothing; first expgsql cluster unmaintenance".to_owned(),
            );
        }
        let unmanaged = if self.resource.is_managed() {
            self.unmanaged_follower()?.0
        } else {
            self.name()
        };
        Some(format!(
            "{unmanaged} is unmanaged, so Pacemaker does not start or stop it; first expgsql cluster manage"
        ))
    }

    /// What goes where this goes, and is not moved.
    pub(super) fn unmanaged_follower(&self) -> Option<(&ResourceName, Resource)> {
        let enabled = self.followers.iter().filter(|f| !f.is_disabled);
        let found = |name| resources::named(&self.text, name).ok().flatten();
        enabled
            .filter_map(|f| Some((&f.name, found(&f.name)?)))
            .find(|(_, resource)| !resource.is_managed())
    }

    /// The same of one node.
    pub(super) fn hands_off_at(&self, node: &NodeView) -> Option<String> {
        let of_node = || {
            let name = &node.name;
            is_in_mode(node, NodeMode::Maintenance).then(|| {
                format!(
                    "{name} is in maintenance mode, so Pacemaker starts and stops nothing there; first expgsql cluster unmaintenance-node {name}"
                )
            })
        };
        self.hands_off().or_else(of_node)
    }

    /// Refuses what can't work because something on one of the nodes that `where_` chooses would neither start nor stop.
    pub(super) fn require_managed_at(
        &self,
        where_: impl Fn(&NodeView) -> bool,
    ) -> Result<(), Failure> {
        self.require_managed()?;
        let mut chosen = self.view.members().filter(|node| where_(node));
        match chosen.find_map(|node| self.hands_off_at(node)) {
            None => Ok(()),
            Some(why) => Err(Failure::new(
                Exit::Refused,
                format!("nothing was done: {why}"),
            )),
        }
    }

    /// The resource, or something that goes with it, runs on a node.
    pub(super) fn is_active_at(&self, node: &NodeView) -> bool {
        let followers = self.followers.iter().map(|follower| &follower.name);
        let mut names = [self.name()].into_iter().chain(followers);
        names.any(|name| is_active(node, name))
    }

    /// The operator has stopped the resource everywhere.
    pub(super) fn is_disabled(&self) -> bool {
        let role = self.resource.meta.get(Meta::TargetRole.name());
        role.is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
    }

    /// It has a primary.
    pub(super) fn is_promotable(&self) -> bool {
        self.resource
            .clone
            .as_ref()
            .is_some_and(|clone| clone.is_promotable)
    }

    /// The nodes where it runs.
    pub(super) fn runs_on(&self) -> Vec<&str> {
        let active = self.view.active_nodes(self.name());
        let members = active.filter(|node| node.in_membership);
        members.map(|node| node.name.as_str()).collect()
    }

    /// The nodes that are in the cluster now and are the primary, by Pacemaker's account or by their own.
    pub(super) fn primaries(&self) -> Vec<NodeName> {
        let name = self.name();
        let says_so = |node: &&NodeView| status_of(node, name) == Some(NodeStatus::Primary);
        let promoted = self.view.promoted_nodes(name).filter(|n| n.in_membership);
        let all: BTreeSet<&NodeName> = promoted
            .chain(self.view.members().filter(says_so))
            .map(|node| &node.name)
            .collect();
        all.into_iter().cloned().collect()
    }

    /// The one node that both Pacemaker and the agent call the primary.
    pub(super) fn settled_primary(&self) -> Option<NodeName> {
        let name = self.name();
        let mut promoted = self
            .view
            .promoted_nodes(name)
            .filter(|n| n.in_membership && status_of(n, name) == Some(NodeStatus::Primary));
        match (promoted.next(), promoted.next()) {
            (Some(one), None) if self.primaries().len() == 1 => Some(one.name.clone()),
            _ => None,
        }
    }

    /// Every node that replicates: those of node_list, or all.
    pub(super) fn replicas(&self) -> Vec<&NodeView> {
        let listed = self.resource.parameters.get("node_list");
        let listed: Vec<&str> = listed.map_or_else(Vec::new, |l| l.split_whitespace().collect());
        let is_listed = |node: &&NodeView| {
            listed.is_empty()
                || listed
                    .iter()
                    .any(|l| l.eq_ignore_ascii_case(node.name.as_str()))
        };
        self.view
            .nodes
            .values()
            .filter(|node| node.kind == NodeKind::Member)
            .filter(is_listed)
            .collect()
    }

    /// The replicas that Pacemaker should have running now, or has a hand in: not those in standby or in maintenance.
    pub(super) fn in_service(&self) -> impl Iterator<Item = &NodeView> {
        self.replicas().into_iter().filter(|node| {
            node.is_online
                && !is_in_mode(node, NodeMode::Standby)
                && !is_in_mode(node, NodeMode::Maintenance)
        })
    }

    pub(super) fn data_status(&self, node: &NodeView) -> Option<DataStatus> {
        node.permanent(PermanentAttribute::DataStatus, self.name())?
            .parse()
            .ok()
    }

    /// The last promotion.
    ///
    /// # Errors
    /// A record that can't be read is not taken for none.
    pub(super) fn record(&self) -> Result<Option<ReplInfo>, Failure> {
        let text = self
            .view
            .cluster_property(ClusterProperty::ReplInfo, self.name());
        text.map(|text| text.parse().map_err(Failure::plain))
            .transpose()
    }

    /// What of the primary's side is not there yet: the addresses that go with it.
    pub(super) fn missing_beside(&self, primary: &NodeName) -> Option<String> {
        let is_there = |follower: &&Follower| {
            let node = self.view.node(primary);
            follower.is_disabled
                || follower.with != With::Promoted
                || node.is_some_and(|node| is_active(node, &follower.name))
        };
        let missing = self.followers.iter().find(|f| !is_there(f))?;
        Some(format!("{} is not up on {primary}", missing.name))
    }

    /// What of the standbys' side is not there yet.
    pub(super) fn missing_behind(&self, primary: &NodeName) -> Option<String> {
        let name = self.name();
        let standbys: Vec<_> = self.in_service().filter(|n| n.name != *primary).collect();
        for node in &standbys {
            if let Some(missing) = self.missing_standby(node) {
                return Some(missing);
            }
        }
        let may_run = |with: With| match with {
            With::Promoted => false,
            With::Unpromoted => standbys
                .iter()
                .any(|n| n.role(name) == RecordedRole::Unpromoted),
            With::Any => true,
        };
        let runs = |follower: &Follower| {
            let mut nodes = self.view.nodes.values();
            nodes.any(|n| n.in_membership && is_active(n, &follower.name))
        };
        let mut followers = self.followers.iter();
        let missing = followers.find(|f| !f.is_disabled && may_run(f.with) && !runs(f))?;
        Some(format!("{} is not up", missing.name))
    }

    /// What keeps a node from being a standby that follows.
    pub(super) fn missing_standby(&self, node: &NodeView) -> Option<String> {
        let at = &node.name;
        match node.role(self.name()) {
            RecordedRole::Unpromoted => {}
            RecordedRole::Promoted => return Some(format!("{at} is still promoted")),
            RecordedRole::Stopped | RecordedRole::Unknown => {
                return Some(format!("the server on {at} does not run"));
            }
        }
        match self.data_status(node) {
            Some(DataStatus::Replicating(SenderState::Streaming, _)) => None,
            Some(status @ DataStatus::Replicating(..)) => {
                Some(format!("{at} catches up ({status})"))
            }
            Some(DataStatus::Disconnected | DataStatus::Latest) | None => {
                Some(format!("{at} does not stream"))
            }
        }
    }

    /// What still runs, on the members that `where_` chooses.
    pub(super) fn still_runs(&self, where_: impl Fn(&NodeView) -> bool) -> Option<String> {
        let followers = self.followers.iter().map(|follower| &follower.name);
        let names: Vec<_> = [self.name()].into_iter().chain(followers).collect();
        let members = self.view.members().filter(|node| where_(node));
        for node in members {
            if let Some(name) = names.iter().find(|name| is_active(node, name)) {
                return Some(format!("{name} still runs on {}", node.name));
            }
        }
        None
    }

    /// A stop that failed: Pacemaker does not try again.
    pub(super) fn failed_stop(&self) -> Option<FailedOperation> {
        let failures = self.failures().ok()?;
        let stop = OperationKind::Stop.to_string();
        failures.into_iter().find(|f| f.operation == stop)
    }
}

fn followers(text: &str, resource: &Resource) -> Result<Vec<Follower>, Failure> {
    let clone = resource.clone.iter().map(|clone| clone.name.as_str());
    let names: Vec<&str> = clone.chain([resource.name.as_str()]).collect();
    constraints::followers(text, &names).map_err(node::unreachable)
}

/// What a node says it is.
pub(super) fn status_of(node: &NodeView, resource: &ResourceName) -> Option<NodeStatus> {
    node.transient(TransientAttribute::Status, resource)?
        .parse()
        .ok()
}

fn is_active(node: &NodeView, resource: &ResourceName) -> bool {
    match node.role(resource) {
        RecordedRole::Promoted | RecordedRole::Unpromoted => true,
        RecordedRole::Stopped | RecordedRole::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::cib;

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    fn scene(cib: &str) -> Scene {
        Scene::of(cib.to_owned(), cib::parse(cib).unwrap(), None).unwrap()
    }

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    #[test]
    fn a_healthy_cluster_lacks_nothing() {
        let scene = scene(THREE);
        assert_eq!(scene.names(), ["msPostgresql", "pgsql"]);
        assert_eq!(scene.settled_primary(), Some(node("node1")));
        assert_eq!(scene.primaries(), [node("node1")]);
        assert_eq!(scene.missing_beside(&node("node1")), None);
        assert_eq!(scene.missing_behind(&node("node1")), None);
        assert_eq!(scene.in_service().count(), 3);
        assert!(scene.require_managed().is_ok() && scene.is_promotable());
        assert!(scene.failures().unwrap().is_empty() && !scene.is_disabled());
        assert!(scene.still_runs(|_| true).is_some());
    }

    #[test]
    fn what_is_missing_is_said() {
        let primary = node("node1");
        // Not on the primary's node.
        let scene_of = |from: &str, to: &str| {
            assert!(THREE.contains(from), "{from}");
            scene(&THREE.replace(from, to))
        };
        let catching = scene_of("STREAMING|SYNC", "CATCHUP|ASYNC");
        let missing = catching.missing_behind(&primary).unwrap();
        assert!(missing.contains("catches up (CATCHUP|ASYNC)"), "{missing}");
        let gone = scene_of("STREAMING|ASYNC", "DISCONNECT");
        assert_eq!(
            gone.missing_behind(&primary).as_deref(),
            Some("node2 does not stream")
        );
        let elsewhere = scene(THREE);
        let missing = elsewhere.missing_beside(&node("node3")).unwrap();
        assert_eq!(missing, "vip-master is not up on node3");
        // Pacemaker says so, and the agent does not yet.
        let early = scene_of(
            "name=\"pgsql-status\" value=\"PRI\"",
            "name=\"pgsql-status\" value=\"HS:alone\"",
        );
        assert_eq!(early.settled_primary(), None);
        assert_eq!(early.primaries(), [primary]);
    }

    #[test]
    fn hands_that_are_off_are_noticed() {
        let property = "<cluster_property_set id=\"x\"><nvpair id=\"y\" name=\"maintenance-mode\" value=\"true\"/></cluster_property_set></crm_config>";
        let maintenance = scene(&THREE.replace("</crm_config>", property));
        let why = maintenance.require_managed().unwrap_err();
        assert_eq!(why.exit, Exit::Refused);
        assert!(why.why.contains("expgsql cluster unmaintenance"));
        let meta = "name=\"notify\" value=\"true\"";
        for (with, is_disabled) in [
            ("name=\"is-managed\" value=\"false\"", false),
            ("name=\"target-role\" value=\"Stopped\"", true),
        ] {
            let scene = scene(&THREE.replace(meta, with));
            assert_eq!(scene.is_disabled(), is_disabled);
            assert_eq!(scene.require_managed().is_ok(), is_disabled);
        }
    }

    /// With an attribute of a node's.
    fn with_mode(node: &str, mode: &str) -> String {
        let id = &node["node".len()..];
        let open = format!("<node id=\"{id}\" uname=\"{node}\">");
        assert!(THREE.contains(&open), "{open}");
        let set = format!(
            "{open}<instance_attributes id=\"m\"><nvpair id=\"n\" name=\"{mode}\" value=\"true\"/></instance_attributes>"
        );
        THREE.replace(&open, &set)
    }

    #[test]
    fn a_node_in_maintenance_keeps_what_would_have_to_be_done_there() {
        let anywhere = |scene: &Scene| scene.require_managed_at(|node| scene.is_active_at(node));
        assert!(anywhere(&scene(THREE)).is_ok());
        for name in ["node1", "node2"] {
            let scene = scene(&with_mode(name, "maintenance"));
            // Elsewhere it works.
            assert!(scene.require_managed().is_ok());
            let failure = anywhere(&scene).unwrap_err();
            assert_eq!(failure.exit, Exit::Refused);
            let first = format!("first expgsql cluster unmaintenance-node {name}");
            assert!(failure.why.ends_with(&first), "{}", failure.why);
            assert!(scene.in_service().all(|n| n.name != node(name)));
        }
        assert!(anywhere(&scene(&with_mode("node2", "standby"))).is_ok());
    }

    #[test]
    fn an_address_that_pacemaker_does_not_move_is_no_less_in_the_way() {
        let managed = "<primitive id=\"vip-master\" ";
        assert!(THREE.contains(managed));
        let at = THREE.find(managed).unwrap();
        let end = at + THREE[at..].find('>').unwrap() + 1;
        let set = "<meta_attributes id=\"u\"><nvpair id=\"v\" name=\"is-managed\" value=\"false\"/></meta_attributes>";
        let unmanaged = format!("{}{set}{}", &THREE[..end], &THREE[end..]);
        let failure = scene(&unmanaged).require_managed().unwrap_err();
        assert!(
            failure.why.contains("vip-master is unmanaged"),
            "{}",
            failure.why
        );
        // Nobody waits for one that is not to run.
        let stopped = set
            .replace("is-managed", "target-role")
            .replace("false", "Stopped")
            .replace("\"u\"", "\"w\"");
        let both = format!("{}{set}{stopped}{}", &THREE[..end], &THREE[end..]);
        assert!(scene(&both).require_managed().is_ok());
    }

    #[test]
    fn nodes_are_known_by_any_case_and_strangers_are_told_who_there_is() {
        let view = cib::parse(THREE).unwrap();
        assert_eq!(node_named(&view, "NODE2").unwrap().name, node("node2"));
        for stranger in ["node9", "", "a b"] {
            let failure = node_named(&view, stranger).unwrap_err();
            assert_eq!(failure.exit, Exit::Refused);
            assert!(failure.why.ends_with("its nodes are node1, node2, node3"));
        }
    }

    #[test]
    fn quorum_is_asked_for_unless_the_cluster_does_without() {
        let without = THREE.replace("have-quorum=\"1\"", "have-quorum=\"0\"");
        let view = cib::parse(&without).unwrap();
        assert_eq!(require_quorum(&view).unwrap_err().exit, Exit::NoQuorum);
        let property = "<cluster_property_set id=\"x\"><nvpair id=\"y\" name=\"no-quorum-policy\" value=\"ignore\"/></cluster_property_set></crm_config>";
        let ignored = without
            .replace("name=\"no-quorum-policy\" ", "name=\"other\" ")
            .replace("</crm_config>", property);
        assert!(require_quorum(&cib::parse(&ignored).unwrap()).is_ok());
    }
}
