//! What one node's copy of the CIB says: a value, filled by [`crate::pacemaker::cib`].
//!
//! It may lag behind the cluster (see there). Nothing in it is a default for something that could not be read.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::model::ban::{Ban, Bans};
use crate::model::lsn::Lsn;
use crate::model::node_name::NodeName;
use crate::model::timeline::{Lineage, WalPosition};

/// A CIB's version, in the order in which Pacemaker compares copies after a partition heals: the greater one is kept,
/// whoever is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CibVersion {
    /// Only ever raised on purpose: wins over any number of changes on the other side.
    pub admin_epoch: u64,
    /// Raised with each change of the configuration.
    pub epoch: u64,
    /// Raised with each change of the status; back to 0 when the epoch is raised.
    pub num_updates: u64,
}

impl fmt::Display for CibVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}",
            self.admin_epoch, self.epoch, self.num_updates
        )
    }
}

/// Whether this partition has quorum, as the partition's DC wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Quorum {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// The CIB does not say: the cluster has not elected a DC yet. Pacemaker's scheduler goes ahead then; for us it
    /// proves nothing.
    Unknown,
}

/// What Pacemaker does in a partition without quorum (`no-quorum-policy`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray,
)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum NoQuorumPolicy {
    /// Goes on as if it had quorum: two partitions may both promote.
    Ignore,
    /// Keeps what runs, starts nothing.
    Freeze,
    /// Demotes, then as `stop`.
    Demote,
    /// Stops everything; the default, and what Pacemaker does with a word it does not know
    /// (`lib/pengine/unpack.c`, `unpack_config`).
    Stop,
    /// Fences the whole partition.
    #[strum(to_string = "suicide", serialize = "fence")]
    Suicide,
}

/// A node's type in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum NodeKind {
    /// A full cluster node, which runs corosync.
    Member,
    /// A Pacemaker Remote node: runs resources, has no vote.
    Remote,
    /// Only in membership; runs nothing.
    Ping,
}

/// A resource's name without `:instance`: the RSC of attribute names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(String);

impl ResourceName {
    /// `text` without a trailing `:NUMBER`. `None`: nothing is left, or it could not be part of an XML id.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let base = base_name(text);
        let is_id = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!base.is_empty() && base.chars().all(is_id)).then(|| Self(base.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `pgsql:3` → `pgsql`.
pub(crate) fn base_name(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((base, instance))
            if !instance.is_empty() && instance.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base
        }
        Some(_) | None => id,
    }
}

/// Node attributes that are gone when the node leaves the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub enum TransientAttribute {
    /// `RSC-status`: PRI, HS:sync, STOP, …
    Status,
    /// `RSC-xlog-loc`: LSN, 16 hex digits.
    XlogLoc,
    /// `RSC-timeline` (ours): the timeline history that `RSC-xlog-loc` lies on, without which
    /// positions can't be compared.
    Timeline,
    /// `RSC-master-baseline`: LSN, 16 hex digits.
    MasterBaseline,
    /// `RSC-receiver-status`: normal, normal (master), ERROR.
    ReceiverStatus,
    /// `RSC-degraded` (ours): on the primary's node, in what way the cluster is less than it should be.
    Degraded,
    /// `RSC-repair` (ours): how far the repair of a node that can't follow the primary is, or why it was given up.
    Repair,
    /// `RSC-replay` (ours): what keeps this standby from replaying all it has, in a word (see `decide::replay`); so it may not
    /// be promoted.
    Replay,
    /// `RSC-wanted` (ours): an operator wants commits to wait for this node, too, so that it may be promoted. The value is the epoch
    /// of the promotion record (`RSC_REPL_INFO`; 0 without one), so that it means nothing after the next promotion.
    Wanted,
    /// `RSC-named` (ours): an operator has named this node the primary (`reset-master`) under this epoch, in this membership: what a record of
    /// that says to a node that was away since may be long over.
    Named,
    /// `RSC-notice` (ours): what a person should see to on this node, as its monitor says.
    Notice,
    /// `RSC-deep-notice` (ours): the same of a monitor with an OCF_CHECK_LEVEL.
    DeepNotice,
    /// `RSC-external-slots` (ours): on the primary's node, from where on the slots of standbys outside hold WAL (see
    /// `decide::external_slots`).
    ExternalSlots,
    /// `master-RSC`: a [`Score`].
    PromotionScore,
}

impl TransientAttribute {
    /// The attribute's name in the CIB.
    #[must_use]
    pub fn name(self, resource: &ResourceName) -> String {
        match self {
            Self::Status => format!("{resource}-status"),
            Self::XlogLoc => format!("{resource}-xlog-loc"),
            Self::Timeline => format!("{resource}-timeline"),
            Self::MasterBaseline => format!("{resource}-master-baseline"),
            Self::ReceiverStatus => format!("{resource}-receiver-status"),
            Self::Degraded => format!("{resource}-degraded"),
            Self::Repair => format!("{resource}-repair"),
            Self::Replay => format!("{resource}-replay"),
            Self::Wanted => format!("{resource}-wanted"),
            Self::Named => format!("{resource}-named"),
            Self::Notice => format!("{resource}-notice"),
            Self::DeepNotice => format!("{resource}-deep-notice"),
            Self::ExternalSlots => format!("{resource}-external-slots"),
            Self::PromotionScore => format!("master-{resource}"),
        }
    }
}

/// Node attributes that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub enum PermanentAttribute {
    /// `RSC-data-status`: LATEST, STREAMING|SYNC, DISCONNECT, …
    DataStatus,
}

impl PermanentAttribute {
    /// The attribute's name in the CIB.
    #[must_use]
    pub fn name(self, resource: &ResourceName) -> String {
        match self {
            Self::DataStatus => format!("{resource}-data-status"),
        }
    }
}

/// Our cluster properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub enum ClusterProperty {
    /// `RSC_SYNC`: contract and eligible set.
    Sync,
    /// `RSC_REPL_INFO`: the last promotion.
    ReplInfo,
}

impl ClusterProperty {
    /// The property's name in the CIB.
    #[must_use]
    pub fn name(self, resource: &ResourceName) -> String {
        match self {
            Self::Sync => format!("{resource}_SYNC"),
            Self::ReplInfo => format!("{resource}_REPL_INFO"),
        }
    }
}

/// A Pacemaker score: a number between -1000000 and 1000000, the ends being minus and plus infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(i32);

/// The text is not a score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a score: a whole number, INFINITY or -INFINITY")]
pub struct ScoreError(String);

impl Score {
    /// Plus infinity.
    pub const INFINITY: Self = Self(1_000_000);
    /// Never here.
    pub const MINUS_INFINITY: Self = Self(-1_000_000);

    /// A score, capped at the infinities.
    #[must_use]
    pub const fn new(value: i32) -> Self {
        if value < Self::MINUS_INFINITY.0 {
            return Self::MINUS_INFINITY;
        }
        if value > Self::INFINITY.0 {
            return Self::INFINITY;
        }
        Self(value)
    }

    /// As a number.
    #[must_use]
    pub fn value(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::INFINITY => f.write_str("INFINITY"),
            Self::MINUS_INFINITY => f.write_str("-INFINITY"),
            Self(value) => write!(f, "{value}"),
        }
    }
}

impl FromStr for Score {
    type Err = ScoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().as_str() {
            "INFINITY" | "+INFINITY" => Ok(Self::INFINITY),
            "-INFINITY" => Ok(Self::MINUS_INFINITY),
            // However large it is, it is the infinity at most.
            _ => match text.parse::<i64>() {
                Ok(value) => Ok(Self::new(i32::try_from(value).unwrap_or(if value < 0 {
                    i32::MIN
                } else {
                    i32::MAX
                }))),
                Err(_) => Err(ScoreError(text.to_owned())),
            },
        }
    }
}

/// One name and value in the CIB, with the ids under which it can be changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvPair {
    /// The nvpair's id.
    pub id: String,
    /// The id of the set around it.
    pub set_id: String,
    /// The value; may be empty.
    pub value: String,
}

/// Names and values of one place in the CIB. Where several sets give the same name, the pair is here that Pacemaker
/// uses: the set with the higher score, then the earlier one. Sets with a rule are left out, as is a pair without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NvPairs(BTreeMap<String, NvPair>);

impl NvPairs {
    /// The value. `None`: absent, or empty (an older `attrd_updater --delete` left the empty value).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|pair| pair.value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The pair as it stands in the CIB, also with an empty value.
    #[must_use]
    pub fn pair(&self, name: &str) -> Option<&NvPair> {
        self.0.get(name)
    }

    /// Adds a pair unless the name is there already: to be called in order of precedence.
    pub fn add(&mut self, name: impl Into<String>, pair: NvPair) {
        self.0.entry(name.into()).or_insert(pair);
    }

    /// All pairs, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NvPair)> {
        self.0.iter().map(|(name, pair)| (name.as_str(), pair))
    }
}

/// Operations that say which role an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum OperationKind {
    /// start
    Start,
    /// stop
    Stop,
    /// promote
    Promote,
    /// demote
    Demote,
    /// monitor, probes included
    Monitor,
}

/// One line of a node's operation history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was done.
    pub kind: OperationKind,
    /// The executor's count of calls on that node. `None`: still running.
    pub call_id: Option<u64>,
    /// When the result last changed, seconds since 1970 by that node's clock: only to order results of one call.
    pub last_change: u64,
    /// The exit code. Meaningless while it is running.
    pub code: i32,
    /// After how many milliseconds it is repeated; 0: never.
    pub interval_ms: u32,
    /// Kept as a note of a failure (`RSC_last_failure_0`), also when the operation itself is over or cancelled.
    pub is_note: bool,
}

/// The role Pacemaker has on record for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum RecordedRole {
    /// Not running.
    Stopped,
    /// Running, not promoted.
    Unpromoted,
    /// Promoted, or being promoted, or in a promotion that failed.
    Promoted,
    /// No history, or none that says.
    Unknown,
}

/// The role a history amounts to, by the rules of Pacemaker's scheduler.
///
/// A failed promotion counts as promoted and a failed demotion as not; a failed start or stop counts as running. So a
/// running promotion counts as promoted, and a running demotion or stop changes nothing yet.
///
/// Source: Pacemaker 2.1.5, `lib/pengine/unpack.c`, `unpack_rsc_op` and `update_resource_state`.
#[must_use]
pub fn recorded_role(history: &[Operation]) -> RecordedRole {
    let mut ordered: Vec<&Operation> = history.iter().collect();
    // Running operations last: they were begun after all that have a result.
    ordered.sort_by_key(|operation| (operation.call_id.unwrap_or(u64::MAX), operation.last_change));
    ordered
        .into_iter()
        .fold(RecordedRole::Unknown, |role, operation| {
            let is_finished = operation.call_id.is_some();
            let at_least_running = match role {
                RecordedRole::Promoted => RecordedRole::Promoted,
                RecordedRole::Stopped | RecordedRole::Unpromoted | RecordedRole::Unknown => {
                    RecordedRole::Unpromoted
                }
            };
            match (operation.kind, is_finished, operation.code) {
                (OperationKind::Promote, ..) => RecordedRole::Promoted,
                (OperationKind::Start, ..) | (OperationKind::Demote, true, _) => {
                    RecordedRole::Unpromoted
                }
                (OperationKind::Stop, true, 0) => RecordedRole::Stopped,
                (OperationKind::Stop, true, _) => at_least_running,
                (OperationKind::Monitor, true, 7) => RecordedRole::Stopped,
                (OperationKind::Monitor, true, 0 | 190) => RecordedRole::Unpromoted,
                (OperationKind::Monitor, true, 8 | 9 | 191) => RecordedRole::Promoted,
                (OperationKind::Monitor, true, _)
                | (
                    OperationKind::Stop | OperationKind::Demote | OperationKind::Monitor,
                    false,
                    _,
                ) => role,
            }
        })
}

/// One node, from the configuration and the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Name.
    pub name: NodeName,
    /// Id in the CIB: corosync's node id for a full node, the name for a remote one.
    pub id: String,
    /// Type.
    pub kind: NodeKind,
    /// Attributes that stay.
    pub permanent: NvPairs,
    /// Attributes that are gone when the node leaves. Pacemaker removes them when it notices that the node left.
    pub transient: NvPairs,
    /// The status section knows this node. Without that, absent transient attributes prove nothing.
    pub transient_known: bool,
    /// In corosync's membership, as the DC saw it.
    pub in_membership: bool,
    /// In the membership, its controller is there, and it has joined: it can run resources. Always false for a remote
    /// node, whose state is that of its connection resource.
    pub is_online: bool,
    /// Gone, and for certain: it was shut down in order, or fenced. False for a node that vanished, and for one
    /// never seen: something may be running there.
    pub is_cleanly_down: bool,
    /// Operation history by resource id without instance.
    pub history: BTreeMap<String, Vec<Operation>>,
}

impl NodeView {
    /// A configured node of which nothing else is known.
    #[must_use]
    pub fn new(name: NodeName, id: impl Into<String>, kind: NodeKind) -> Self {
        Self {
            name,
            id: id.into(),
            kind,
            permanent: NvPairs::default(),
            transient: NvPairs::default(),
            transient_known: false,
            in_membership: false,
            is_online: false,
            is_cleanly_down: false,
            history: BTreeMap::new(),
        }
    }

    /// Value of a transient attribute; `None` when absent or empty.
    #[must_use]
    pub fn transient(
        &self,
        attribute: TransientAttribute,
        resource: &ResourceName,
    ) -> Option<&str> {
        self.transient.get(&attribute.name(resource))
    }

    /// Value of a permanent attribute; `None` when absent or empty.
    #[must_use]
    pub fn permanent(
        &self,
        attribute: PermanentAttribute,
        resource: &ResourceName,
    ) -> Option<&str> {
        self.permanent.get(&attribute.name(resource))
    }

    /// The promotion score; `None` when unset: the node is no candidate.
    ///
    /// # Errors
    /// [`ScoreError`] when somebody wrote something else there.
    pub fn promotion_score(&self, resource: &ResourceName) -> Result<Option<Score>, ScoreError> {
        self.transient(TransientAttribute::PromotionScore, resource)
            .map(Score::from_str)
            .transpose()
    }

    /// How far its WAL reaches, as it has reported for an election; `None`: it has not, or has taken it back.
    ///
    /// # Errors
    /// In words, when somebody wrote something else there.
    pub fn reported_position(
        &self,
        resource: &ResourceName,
    ) -> Result<Option<WalPosition>, String> {
        let (Some(end), Some(lineage)) = (
            self.transient(TransientAttribute::XlogLoc, resource),
            self.transient(TransientAttribute::Timeline, resource),
        ) else {
            return Ok(None);
        };
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", self.name);
        Ok(Some(WalPosition {
            lineage: lineage.parse::<Lineage>().map_err(|e| wrong(&e))?,
            end: Lsn::from_attribute(end).map_err(|e| wrong(&e))?,
        }))
    }

    /// The role of the resource here, as recorded. See [`ClusterView::promoted_nodes`].
    #[must_use]
    pub fn role(&self, resource: &ResourceName) -> RecordedRole {
        self.history
            .get(resource.as_str())
            .map_or(RecordedRole::Unknown, |history| recorded_role(history))
    }
}

/// The cluster, as this node's copy of the CIB has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Version of the copy.
    pub version: CibVersion,
    /// Whether this partition has quorum.
    pub quorum: Quorum,
    /// Who coordinates this partition. `None`: nobody yet.
    pub dc: Option<NodeName>,
    /// Pacemaker's own version number of the CIB's language (`crm_feature_set`), "3.16.1" for 2.1.5: that of the
    /// oldest node.
    pub feature_set: Option<String>,
    /// Cluster properties of all sets.
    pub properties: NvPairs,
    /// All nodes, configured or seen.
    pub nodes: BTreeMap<NodeName, NodeView>,
    /// What keeps resources from being promoted on a node.
    pub bans: Bans,
}

/// See [`ClusterView::knows_degraded`]; of a feature set such as `3.16.1`.
#[must_use]
pub fn knows_degraded(feature_set: &str) -> bool {
    version(feature_set) >= (3, 10, 0)
}

/// The numbers of a feature set; what is no number, and all behind it, counts as 0.
fn version(feature_set: &str) -> (u32, u32, u32) {
    let numbers = feature_set.split('.');
    let mut parts = numbers.map_while(|part| part.parse().ok());
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// The transient attribute in which each node's controller says what feature set it has, from 2.1.5 on.
const NODE_FEATURE_SET: &str = "#feature-set";

impl ClusterView {
    /// A CIB with neither nodes nor properties, to be filled.
    #[must_use]
    pub fn new(version: CibVersion, quorum: Quorum) -> Self {
        Self {
            version,
            quorum,
            dc: None,
            feature_set: None,
            properties: NvPairs::default(),
            nodes: BTreeMap::new(),
            bans: Bans::default(),
        }
    }

    /// The constraint that keeps `resource` from being promoted on `node`; of several the first in the CIB.
    #[must_use]
    pub fn ban(&self, resource: &ResourceName, node: &NodeName) -> Option<&Ban> {
        self.bans_of(resource).find(|ban| ban.node == *node)
    }

    /// All that keeps `resource` from being promoted on one node or another.
    pub fn bans_of(&self, resource: &ResourceName) -> impl Iterator<Item = &Ban> {
        let all = self.bans.in_force.iter();
        all.filter(move |ban| ban.is_of(resource.as_str()))
    }

    /// Whether constraints let `resource` run on `node` at all, where it runs only where one does.
    #[must_use]
    pub fn has_place(&self, resource: &ResourceName, node: &NodeName) -> bool {
        self.bans.places.have(resource.as_str(), node)
    }

    /// What may keep `resource` from being promoted on one node or another, as only Pacemaker knows.
    pub fn unclear_bans_of(&self, resource: &ResourceName) -> impl Iterator<Item = &Ban> {
        let all = self.bans.unclear.iter();
        all.filter(move |ban| ban.is_of(resource.as_str()))
    }

    /// The CIB says that this partition has quorum. It says so until corosync has noticed the loss, and the DC has
    /// written it down.
    #[must_use]
    pub fn is_quorate(&self) -> bool {
        match self.quorum {
            Quorum::Yes => true,
            Quorum::No | Quorum::Unknown => false,
        }
    }

    /// Whether this Pacemaker takes the answers 190 and 191 for what they are. Documented, and known by the whole stack,
    /// since 2.1.0, whose feature set is 3.10.0.
    #[must_use]
    pub fn knows_degraded(&self) -> bool {
        self.feature_set.as_deref().is_some_and(knows_degraded)
    }

    /// Whether every member's CIB daemon takes a change of the outermost element under conditions: up to 3.0.0, whose feature set
    /// is 3.20.0 (see [`crate::pacemaker::patch`]). Each daemon carries a change out by itself, so the newest member counts.
    #[must_use]
    pub fn takes_a_path_to_the_root(&self) -> bool {
        let members = self.members();
        let own = members.filter_map(|node| node.transient.get(NODE_FEATURE_SET));
        let mut all = own.chain(self.feature_set.as_deref());
        all.all(|set| version(set) < (3, 20, 1))
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&NodeView> {
        self.nodes.get(name)
    }

    /// Value of any cluster property; `None` when absent or empty.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)
    }

    /// Value of one of our cluster properties; `None` when absent or empty.
    #[must_use]
    pub fn cluster_property(
        &self,
        property: ClusterProperty,
        resource: &ResourceName,
    ) -> Option<&str> {
        self.properties.get(&property.name(resource))
    }

    /// `no-quorum-policy`; Pacemaker's default `stop` when unset or not one of its words.
    #[must_use]
    pub fn no_quorum_policy(&self) -> NoQuorumPolicy {
        self.property("no-quorum-policy")
            .and_then(|text| text.parse().ok())
            .unwrap_or(NoQuorumPolicy::Stop)
    }

    /// Lost nodes are fenced: `stonith-enabled`, which Pacemaker 3 also calls `fencing-enabled`; on by default. False
    /// when either says so.
    #[must_use]
    pub fn is_fencing_enabled(&self) -> bool {
        let is_off = |name| self.property(name).and_then(parse_bool) == Some(false);
        !is_off("stonith-enabled") && !is_off("fencing-enabled")
    }

    /// Nodes that corosync may have as members; a remote one is none of these.
    pub fn full_nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values().filter(|n| n.kind == NodeKind::Member)
    }

    /// Nodes in the membership, as the DC saw it.
    pub fn members(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values().filter(|node| node.in_membership)
    }

    /// Nodes where Pacemaker has the resource on record as promoted.
    ///
    /// This is history: a result is written when an operation has ended, and nobody writes for a node that is gone. A
    /// lost node keeps its last role, and is in this list, until it comes back or is fenced; whether it is there tells
    /// [`NodeView::is_online`]. An empty list does not prove that no primary runs.
    pub fn promoted_nodes(&self, resource: &ResourceName) -> impl Iterator<Item = &NodeView> {
        self.nodes
            .values()
            .filter(|node| match node.role(resource) {
                RecordedRole::Promoted => true,
                RecordedRole::Unpromoted | RecordedRole::Stopped | RecordedRole::Unknown => false,
            })
    }

    /// Nodes where Pacemaker has the resource on record as running, promoted or not. Lags as
    /// [`ClusterView::promoted_nodes`] does.
    pub fn active_nodes(&self, resource: &ResourceName) -> impl Iterator<Item = &NodeView> {
        self.nodes
            .values()
            .filter(|node| match node.role(resource) {
                RecordedRole::Promoted | RecordedRole::Unpromoted => true,
                RecordedRole::Stopped | RecordedRole::Unknown => false,
            })
    }
}

/// A boolean as Pacemaker reads it; `None` when it is none.
///
/// Source: Pacemaker, `lib/common/strings.c`, `crm_str_to_boolean`.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["true", "on", "yes", "y", "1"]) {
        Some(true)
    } else if is_one_of(&["false", "off", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    fn rsc() -> ResourceName {
        ResourceName::new("pgsql").unwrap()
    }

    fn done(kind: OperationKind, call_id: u64, code: i32) -> Operation {
        Operation {
            kind,
            call_id: Some(call_id),
            last_change: 0,
            code,
            interval_ms: 0,
            is_note: false,
        }
    }

    fn running(kind: OperationKind) -> Operation {
        Operation {
            kind,
            call_id: None,
            last_change: 0,
            code: 193,
            interval_ms: 0,
            is_note: false,
        }
    }

    fn view(properties: &[(&str, &str)]) -> ClusterView {
        let version = CibVersion {
            admin_epoch: 0,
            epoch: 1,
            num_updates: 2,
        };
        let mut view = ClusterView::new(version, Quorum::Yes);
        for (name, value) in properties {
            let pair = NvPair {
                id: format!("s-{name}"),
                set_id: "s".to_owned(),
                value: (*value).to_owned(),
            };
            view.properties.add(*name, pair);
        }
        view
    }

    #[test]
    fn a_higher_admin_epoch_wins_over_any_number_of_changes() {
        let rightful = CibVersion {
            admin_epoch: 1,
            epoch: 8,
            num_updates: 0,
        };
        let busy = CibVersion {
            admin_epoch: 0,
            epoch: 9000,
            num_updates: 77,
        };
        assert!(rightful > busy);
        assert_eq!(rightful.to_string(), "1.8.0");
    }

    #[test]
    fn attribute_names_are_the_interface() {
        let rsc = ResourceName::new("pgsql:12").unwrap();
        let names: Vec<_> = TransientAttribute::VARIANTS
            .iter()
            .map(|a| a.name(&rsc))
            .collect();
        let expected = [
            "pgsql-status",
            "pgsql-xlog-loc",
            "pgsql-timeline",
            "pgsql-master-baseline",
            "pgsql-receiver-status",
            "pgsql-degraded",
            "pgsql-repair",
            "pgsql-replay",
            "pgsql-wanted",
            "pgsql-named",
            "pgsql-notice",
            "pgsql-deep-notice",
            "pgsql-external-slots",
            "master-pgsql",
        ];
        assert_eq!(names, expected);
        assert_eq!(
            PermanentAttribute::DataStatus.name(&rsc),
            "pgsql-data-status"
        );
        let names: Vec<_> = ClusterProperty::VARIANTS
            .iter()
            .map(|p| p.name(&rsc))
            .collect();
        assert_eq!(names, ["pgsql_SYNC", "pgsql_REPL_INFO"]);
    }

    #[test]
    fn a_resource_name_has_no_instance_and_fits_an_xml_id() {
        assert_eq!(ResourceName::new("pg:0").unwrap().as_str(), "pg");
        for bad in ["", ":0", "a b", "a'b", "a:b", "a/b"] {
            assert_eq!(ResourceName::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn scores_survive_display_then_parse_and_are_capped() {
        for score in [
            Score::INFINITY,
            Score::MINUS_INFINITY,
            Score::new(100),
            Score::new(-1),
            Score::new(0),
        ] {
            assert_eq!(score.to_string().parse(), Ok(score));
        }
        assert_eq!(Score::new(i32::MAX), Score::INFINITY);
        for lowest in ["-1000000", "-9999999999", "-infinity"] {
            assert_eq!(lowest.parse(), Ok(Score::MINUS_INFINITY), "{lowest}");
        }
        for bad in ["", "-", "INF", "1.5", "infinity "] {
            assert!(bad.parse::<Score>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_policy_survives_display_then_parse_and_an_unknown_word_is_stop() {
        for policy in NoQuorumPolicy::VARIANTS {
            assert_eq!(
                view(&[("no-quorum-policy", &policy.to_string())]).no_quorum_policy(),
                *policy
            );
        }
        assert_eq!(
            view(&[("no-quorum-policy", "IGNORE")]).no_quorum_policy(),
            NoQuorumPolicy::Ignore
        );
        assert_eq!(
            view(&[("no-quorum-policy", "fence")]).no_quorum_policy(),
            NoQuorumPolicy::Suicide
        );
        assert_eq!(
            view(&[("no-quorum-policy", "ignored")]).no_quorum_policy(),
            NoQuorumPolicy::Stop
        );
        assert_eq!(view(&[]).no_quorum_policy(), NoQuorumPolicy::Stop);
    }

    #[test]
    fn degraded_is_told_where_pacemaker_knows_it() {
        for (text, known) in [
            (Some("3.16.1"), true),
            (Some("3.10.0"), true),
            (Some("3.9.2"), false),
            (Some("4.0"), true),
            (Some("x"), false),
            (None, false),
        ] {
            let mut view = view(&[]);
            view.feature_set = text.map(str::to_owned);
            assert_eq!(view.knows_degraded(), known, "{text:?}");
        }
    }

    #[test]
    fn the_newest_member_says_which_changes_arrive() {
        for (oldest, newest, expected) in [
            (Some("3.16.1"), None, true),
            (Some("3.16.1"), Some("3.16.1"), true),
            (Some("3.20.0"), Some("3.20.0"), true),
            (Some("3.20.0"), Some("3.20.1"), false),
            (Some("3.16.1"), Some("4.0"), false),
            (Some("3.20.1"), None, false),
            (None, None, true),
        ] {
            let mut view = view(&[]);
            view.feature_set = oldest.map(str::to_owned);
            for (name, set) in [("node1", oldest), ("node2", newest)] {
                let name = NodeName::new(name).unwrap();
                let mut node = NodeView::new(name.clone(), "1", NodeKind::Member);
                node.in_membership = true;
                if let Some(set) = set {
                    node.transient.add(
                        NODE_FEATURE_SET,
                        NvPair {
                            id: "i".into(),
                            set_id: "s".into(),
                            value: set.into(),
                        },
                    );
                }
                view.nodes.insert(name, node);
            }
            assert_eq!(
                view.takes_a_path_to_the_root(),
                expected,
                "{oldest:?} {newest:?}"
            );
        }
    }

    #[test]
    fn fencing_is_on_unless_either_name_says_no() {
        assert!(view(&[]).is_fencing_enabled());
        assert!(view(&[("stonith-enabled", "yes")]).is_fencing_enabled());
        assert!(!view(&[("stonith-enabled", "False")]).is_fencing_enabled());
        assert!(
            !view(&[("stonith-enabled", "true"), ("fencing-enabled", "off")]).is_fencing_enabled()
        );
    }

    #[test]
    fn the_first_pair_of_a_name_counts_and_an_empty_value_is_absent() {
        let mut pairs = NvPairs::default();
        let pair = |id: &str, value: &str| NvPair {
            id: id.into(),
            set_id: "s".into(),
            value: value.into(),
        };
        pairs.add("a", pair("1", "first"));
        pairs.add("a", pair("2", "second"));
        pairs.add("b", pair("3", ""));
        assert_eq!(pairs.get("a"), Some("first"));
        assert_eq!(pairs.get("b"), None);
        assert_eq!(pairs.pair("b").unwrap().id, "3");
    }

    #[test]
    fn the_recorded_role_follows_the_latest_operation() {
        use OperationKind::{Demote, Monitor, Promote, Start, Stop};
        use RecordedRole::{Promoted, Stopped, Unknown, Unpromoted};
        let table: &[(&str, Vec<Operation>, RecordedRole)] = &[
            ("no history", vec![], Unknown),
            ("probe found nothing", vec![done(Monitor, 5, 7)], Stopped),
            ("probe found a primary", vec![done(Monitor, 5, 8)], Promoted),
            ("started", vec![done(Start, 9, 0)], Unpromoted),
            (
                "order in the CIB does not matter",
                vec![done(Promote, 12, 0), done(Start, 9, 0)],
                Promoted,
            ),
            (
                "promoted, then watched",
                vec![done(Promote, 12, 0), done(Monitor, 14, 8)],
                Promoted,
            ),
            (
                "older monitor",
                vec![done(Monitor, 10, 0), done(Promote, 12, 0)],
                Promoted,
            ),
            (
                "being promoted",
                vec![done(Start, 9, 0), running(Promote)],
                Promoted,
            ),
            ("promotion failed", vec![done(Promote, 12, 1)], Promoted),
            (
                "being demoted",
                vec![done(Promote, 12, 0), running(Demote)],
                Promoted,
            ),
            (
                "demoted",
                vec![done(Promote, 12, 0), done(Demote, 15, 0)],
                Unpromoted,
            ),
            (
                "demotion failed",
                vec![done(Promote, 12, 0), done(Demote, 15, 1)],
                Unpromoted,
            ),
            (
                "being stopped",
                vec![done(Start, 9, 0), running(Stop)],
                Unpromoted,
            ),
            (
                "stopped",
                vec![done(Start, 9, 0), done(Stop, 11, 0)],
                Stopped,
            ),
            (
                "stop failed",
                vec![done(Promote, 9, 0), done(Stop, 11, 1)],
                Promoted,
            ),
            (
                "start failed",
                vec![done(Monitor, 5, 7), done(Start, 9, 1)],
                Unpromoted,
            ),
            (
                "monitor failed, reason unknown",
                vec![done(Promote, 12, 0), done(Monitor, 14, 1)],
                Promoted,
            ),
            (
                "failed primary",
                vec![done(Promote, 12, 0), done(Monitor, 14, 9)],
                Promoted,
            ),
            (
                "primary found dead",
                vec![done(Promote, 12, 0), done(Monitor, 14, 7)],
                Stopped,
            ),
        ];
        for (case, history, expected) in table {
            assert_eq!(recorded_role(history), *expected, "{case}");
        }
    }

    #[test]
    fn of_two_results_of_one_call_the_later_counts() {
        let ok = Operation {
            last_change: 10,
            ..done(OperationKind::Monitor, 14, 8)
        };
        let failed = Operation {
            last_change: 20,
            ..done(OperationKind::Monitor, 14, 7)
        };
        assert_eq!(
            recorded_role(&[failed.clone(), ok.clone()]),
            RecordedRole::Stopped
        );
        assert_eq!(recorded_role(&[ok, failed]), RecordedRole::Stopped);
    }

    #[test]
    fn a_foreign_promotion_score_is_an_error_not_a_zero() {
        let mut node = NodeView::new(NodeName::new("a").unwrap(), "1", NodeKind::Member);
        assert_eq!(node.promotion_score(&rsc()), Ok(None));
        let pair = NvPair {
            id: "i".into(),
            set_id: "s".into(),
            value: "much".into(),
        };
        node.transient.add("master-pgsql", pair);
        assert!(node.promotion_score(&rsc()).is_err());
    }
}
