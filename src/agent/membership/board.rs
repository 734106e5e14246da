//! Writing to the cluster what differs from what it has.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::decide::barred::{Bar, Bars, Standing, by_lists};
use crate::decide::election::primarys_score;
use crate::decide::eligibility::{self, Promise};
use crate::decide::instances;
use crate::log::say;
use crate::model::claim::Claim;
use crate::model::cluster_view::{
    ClusterProperty, ClusterView, PermanentAttribute, TransientAttribute,
};
use crate::model::node_name::NodeName;
use crate::model::status::{DataStatus, NodeStatus, Score};
use crate::model::sync_names::StandbyName;
use crate::model::sync_record::SyncRecord;
use crate::model::timeline::Lineage;
use crate::pacemaker::attributes::{self, WriteError};
use crate::pacemaker::change_set::{ChangeSet, Condition};
use crate::pacemaker::cib::Cib;
use crate::pacemaker::quorum;
use crate::params::SyncMethod;
use crate::sys::Deadline;

use crate::agent::context::Context;
use crate::agent::membership::stated;
use crate::agent::step::{Step, failed};

/// The cluster's notice board: attributes as they were read, and writes that keep it current.
pub(crate) struct Board<'a, 'b> {
    pub(crate) ctx: &'a Context<'b>,
    pub(crate) view: ClusterView,
    /// What this call has written, which the CIB shows some time later.
    written: RefCell<BTreeMap<(NodeName, String), Option<String>>>,
}

impl<'a, 'b> Board<'a, 'b> {
    pub(crate) fn read(ctx: &'a Context<'b>) -> Step<Self> {
        Ok(Self::of(ctx, ctx.cluster()?))
    }

    pub(crate) fn of(ctx: &'a Context<'b>, view: ClusterView) -> Self {
        Self {
            ctx,
            view,
            written: RefCell::default(),
        }
    }

    /// A node's transient attribute; `None` where it is not set.
    pub(crate) fn transient(&self, node: &NodeName, attribute: TransientAttribute) -> Option<&str> {
        self.view
            .node(node)?
            .transient(attribute, &self.ctx.resource)
    }

    /// Nodes that may not be promoted, whatever they have.
    pub(crate) fn bars(&self) -> Bars {
        let replicas = self.ctx.replicas(&self.view).into_iter();
        let bar = |node: NodeName| {
            let ban = self.view.ban(&self.ctx.resource, &node).map(Bar::from);
            let has_place = self.view.has_place(&self.ctx.resource, &node);
            let ban = ban.or_else(|| (!has_place).then_some(Bar::Nowhere));
            let bar = self.bar_by_lists(&node).or(ban)?;
            Some((node.lower().to_owned(), bar))
        };
        replicas.filter_map(bar).collect()
    }

    /// What the parameters have against a promotion of `node`. Pacemaker knows nothing of it. What can't be read of the records says nothing.
    pub(crate) fn bar_by_lists(&self, node: &NodeName) -> Option<Bar> {
        let record = self.ctx.record(&self.view).ok().flatten();
        let claim = self.claim().unwrap_or_default();
        by_lists(
            self.ctx.lists(),
            Standing {
                name: node.lower(),
                is_recorded: record.is_some_and(|record| record.node == *node),
                is_claimed: claim.members.contains(node.lower()),
            },
        )
    }

    /// What is wrong where fewer servers run than a failover takes.
    pub(crate) fn lacks_instances(&self) -> Option<String> {
        let p = self.ctx.params;
        if self.ctx.promise() != Promise::Sync || p.sync_method != SyncMethod::Quorum {
            return None;
        }
        let bars = self.bars();
        let order = &p.sync_node_list;
        let replicas = self.ctx.replicas(&self.view).into_iter();
        let may_count = |node: &NodeName| {
            let is_listed = order.is_empty() || order.iter().any(|name| name == node.lower());
            *node == self.ctx.me || (is_listed && !bars.contains_key(node.lower()))
        };
        let members = replicas.filter(may_count);
        let members: Vec<_> = members.map(|node| node.lower().to_owned()).collect();
        instances::objection(self.ctx.env.clone.clone_max, &members, p.sync_num)
    }

    /// [`Self::bars`], by the nodes' names.
    pub(crate) fn barred(&self) -> BTreeSet<NodeName> {
        let bars = self.bars();
        let replicas = self.ctx.replicas(&self.view).into_iter();
        replicas
            .filter(|node| bars.contains_key(node.lower()))
            .collect()
    }

    /// Sets or, with `None`, removes a transient attribute, if that changes anything.
    pub(crate) fn set(
        &self,
        node: &NodeName,
        attribute: TransientAttribute,
        value: Option<&str>,
    ) -> Step<()> {
        let name = attribute.name(&self.ctx.resource);
        let key = (node.clone(), name.clone());
        let is_same = match self.written.borrow().get(&key) {
            Some(written) => written.as_deref() == value,
            None => self.transient(node, attribute) == value,
        };
        if is_same {
            return Ok(());
        }
        let deadline = self.ctx.deadline.min(self.ctx.params.crm_attr_timeout);
        if *node != self.ctx.me && !self.is_member(node, deadline)? {
            say!(
                INFO,
                "attribute not set: the node has just left the membership",
                node = node,
                attribute = name
            );
            return Ok(());
        }
        say!(
            INFO,
            "attribute",
            node = node,
            attribute = name,
            value = value.unwrap_or("(removed)")
        );
        match value {
            Some(value) if self.is_in_attrd_only(node, &name, value, deadline)? => {
                attributes::rewrite_all(deadline)
            }
            Some(value) => attributes::set_transient(node, &name, value, deadline),
            None => attributes::delete_transient(node, &name, deadline),
        }
        .map_err(failed)?;
        self.written
            .borrow_mut()
            .insert(key, value.map(str::to_owned));
        Ok(())
    }

    /// Whether corosync still counts a node among the members. The CIB shows a loss some 100 ms late. What attrd is told in
    /// that time about a node that is away it keeps, and when the partitions meet it may write that over what the node's own
    /// partition says: a new primary had its score taken away by the old one (seen), and was demoted.
    /// Where corosync's list can't be read, the CIB's word stands.
    fn is_member(&self, node: &NodeName, deadline: Deadline) -> Step<bool> {
        let membership = quorum::read(deadline).map_err(failed)?;
        let view = self.view.node(node);
        Ok(view.and_then(|n| membership.has(&n.id)).unwrap_or(true))
    }

    /// Whether a node is in this partition for certain: the CIB and corosync both have it.
    pub(crate) fn is_here(&self, node: &NodeName) -> Step<bool> {
        let Some(view) = self.view.node(node).filter(|n| n.in_membership) else {
            return Ok(false);
        };
        let deadline = self.ctx.deadline.min(self.ctx.params.crm_attr_timeout);
        let membership = quorum::read(deadline).map_err(failed)?;
        Ok(membership.has(&view.id) == Some(true))
    }

    /// Whether attrd has a value that the CIB has not. A monitor has time to look, and comes again.
    fn is_in_attrd_only(
        &self,
        node: &NodeName,
        name: &str,
        value: &str,
        deadline: Deadline,
    ) -> Step<bool> {
        if self.ctx.env.is_probe() {
            return Ok(false);
        }
        let values = attributes::read_all(name, deadline).map_err(failed)?;
        Ok(values.iter().any(|(n, v)| n == node && v == value))
    }

    pub(crate) fn set_own(&self, attribute: TransientAttribute, value: Option<&str>) -> Step<()> {
        self.set(&self.ctx.me, attribute, value)
    }

    /// Where the timeline begins that this primary writes on.
    pub(crate) fn set_baseline(&self, lineage: &Lineage) -> Step<()> {
        let Some(switch) = lineage.last_switch() else {
            return Ok(());
        };
        let position = switch.end.to_attribute();
        self.set_own(TransientAttribute::MasterBaseline, Some(&position))
    }

    pub(crate) fn set_status(&self, node: &NodeName, status: NodeStatus) -> Step<()> {
        self.set(node, TransientAttribute::Status, Some(&status.to_string()))
    }

    /// A standby that the parameters bar is never offered.
    pub(crate) fn set_score(&self, node: &NodeName, score: Score) -> Step<()> {
        let is_barred = score != Score::Never
            && self.status(node) != Some(NodeStatus::Primary)
            && self.bar_by_lists(node).is_some();
        let score = if is_barred { Score::Never } else { score };
        self.put_score(node, score)
    }

    /// The score as it is, of a primary.
    pub(crate) fn put_score(&self, node: &NodeName, score: Score) -> Step<()> {
        self.set(
            node,
            TransientAttribute::PromotionScore,
            Some(&score.to_string()),
        )
    }

    /// This node's own score, as a primary.
    pub(crate) fn set_primarys_score(&self) -> Step<()> {
        let policy = self.view.no_quorum_policy();
        self.put_score(&self.ctx.me, primarys_score(self.view.quorum, policy))
    }

    /// Makes a change to the CIB itself; it is there when this returns.
    pub(crate) fn change(&mut self, change: &ChangeSet) -> Step<()> {
        self.put(change).map_err(failed)
    }

    /// The same, for a caller to whom it matters what an error leaves open.
    pub(crate) fn put(&mut self, change: &ChangeSet) -> Result<(), WriteError> {
        let deadline = self.ctx.deadline.min(self.ctx.params.crm_attr_timeout);
        if let Some(view) = change.apply(&Cib::live(), &self.view, deadline)? {
            self.view = view;
        }
        Ok(())
    }

    /// The change that records `status` for `node`.
    pub(crate) fn data_status(
        &self,
        change: ChangeSet,
        node: &NodeName,
        status: DataStatus,
    ) -> ChangeSet {
        change.permanent(
            node,
            PermanentAttribute::DataStatus.name(&self.ctx.resource),
            Some(&status.to_string()),
        )
    }

    /// A node that is a member now and says that it is the primary.
    pub(crate) fn primary(&self) -> Option<&NodeName> {
        let is_primary = |node: &NodeName| self.status(node) == Some(NodeStatus::Primary);
        self.view
            .members()
            .map(|n| &n.name)
            .find(|name| **name != self.ctx.me && is_primary(name))
    }

    /// What a node says it is; a word nobody writes counts as nothing said.
    pub(crate) fn status(&self, node: &NodeName) -> Option<NodeStatus> {
        self.transient(node, TransientAttribute::Status)?
            .parse()
            .ok()
    }

    /// The primary's record of its contract, `RSC_SYNC`.
    pub(crate) fn sync_record(&self) -> Step<Option<SyncRecord>> {
        let resource = &self.ctx.resource;
        let text = self.view.cluster_property(ClusterProperty::Sync, resource);
        text.map(|text| text.parse().map_err(failed)).transpose()
    }

    /// What this CIB says about who has every acknowledged commit. This node counts where another is
    /// the recorded primary.
    pub(crate) fn claim(&self) -> Step<Claim> {
        let ctx = self.ctx;
        let sync = self.sync_record()?;
        let mut nodes = ctx.replicas(&self.view);
        // node_list is this node's own, and may name fewer than it did when the contract was recorded: who was granted is so until it is
        // revoked.
        let is_granted = |node: &NodeName| {
            let sync = sync.as_ref();
            sync.is_some_and(|sync| sync.eligible.contains(node.lower())) && !nodes.contains(node)
        };
        let full = self.view.full_nodes().map(|node| node.name.clone());
        let granted: Vec<NodeName> = full.filter(is_granted).collect();
        nodes.extend(granted);
        let mut statuses = BTreeMap::new();
        for node in nodes {
            if let Some(status) = ctx.data_status(&self.view, &node)? {
                statuses.insert(node.lower().to_owned(), status);
            }
        }
        let record = ctx.record(&self.view)?;
        Ok(eligibility::claim(
            record.as_ref(),
            sync.as_ref(),
            &statuses,
        ))
    }

    /// The claim by which this node may be promoted. Where a promotion is recorded that did not take place, that is the
    /// claim of the primary before.
    pub(crate) fn claim_for(&self, lineage: &Lineage) -> Step<Claim> {
        match self.sync_record()? {
            Some(before) if self.is_unfinished(lineage)? => Ok(before.claim()),
            Some(_) | None => self.claim(),
        }
    }

    /// Whether a promotion is recorded that has not taken place, by the history of its node: this one's `lineage`, or what
    /// another has stated about it.
    pub(crate) fn is_unfinished(&self, lineage: &Lineage) -> Step<bool> {
        let Some(record) = self.ctx.record(&self.view)? else {
            return Ok(false);
        };
        let sync = self.sync_record()?;
        let theirs = if record.node == self.ctx.me {
            Some(lineage.clone())
        } else if sync.as_ref().is_none_or(|s| s.primary == record.node) {
            // Nothing that an answer could change.
            None
        } else {
            let stated = stated::all(self.ctx, &self.view)?.remove(record.node.lower());
            stated.map(|s| s.position.lineage)
        };
        Ok(eligibility::is_unfinished(
            Some(&record),
            sync.as_ref(),
            theirs.as_ref(),
        ))
    }

    /// Whether the recorded promotion, if it is this node's, has taken place.
    pub(crate) fn is_complete(&self, lineage: &Lineage) -> Step<bool> {
        let record = self.ctx.record(&self.view)?;
        let Some(record) = record.filter(|r| r.node == self.ctx.me) else {
            return Ok(true);
        };
        let sync = self.sync_record()?;
        Ok(eligibility::is_complete(&record, lineage, sync.as_ref()))
    }

    /// The condition that nobody was promoted, and no contract recorded, since the CIB was read: an
    /// agent that was held up writes nothing into a later primary's time.
    pub(crate) fn as_it_was_read(&self, change: ChangeSet) -> ChangeSet {
        [ClusterProperty::ReplInfo, ClusterProperty::Sync]
            .into_iter()
            .fold(change, |change, property| {
                let name = property.name(&self.ctx.resource);
                let is = self.view.property(&name).map(str::to_owned);
                change.only_if(Condition::Property { name, is })
            })
    }

    /// The change that writes the record of the contract.
    pub(crate) fn record_contract(&self, change: ChangeSet, record: &SyncRecord) -> ChangeSet {
        let name = ClusterProperty::Sync.name(&self.ctx.resource);
        change.property(name, Some(&record.to_string()))
    }

    /// The node whose standby connects as `name`.
    pub(crate) fn node_named(&self, name: &StandbyName) -> Option<NodeName> {
        self.ctx
            .peers(&self.view)
            .into_iter()
            .find(|node| node.lower() == name)
    }
}
