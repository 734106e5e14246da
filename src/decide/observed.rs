//! What a person at a node can see of the cluster, gathered without judging it. `decide::why` and `decide::condition`
//! judge it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::barred::Bar;
use crate::decide::eligibility::{self, Promise};
use crate::decide::witness::Statement;
use crate::model::claim::Claim;
use crate::model::cluster_view::{NoQuorumPolicy, Quorum, RecordedRole, ResourceName, Score};
use crate::model::lock::LockRow;
use crate::model::lsn::Lsn;
use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::status::{DataStatus, NodeStatus};
use crate::model::sync_names::{StandbyName, SyncNames};
use crate::model::sync_record::SyncRecord;
use crate::model::timeline::{TimelineId, WalPosition};

/// Something that is recorded, is not, or can't be understood; then the sentence that says so.
pub type Recorded<T> = Result<Option<T>, String>;

/// The whole picture.
#[derive(Clone, Debug)]
pub struct Observed {
    pub resource: ResourceName,
    /// What Pacemaker's tools call it: the clone's name where there is one.
    pub clone: String,
    /// `None`: Pacemaker promotes nobody here (rep_mode none or slave).
    pub promise: Option<Promise>,
    /// From which node it was seen.
    pub me: Option<NodeName>,
    pub quorum: Quorum,
    pub no_quorum_policy: NoQuorumPolicy,
    pub fencing: bool,
    /// corosync's votes, where they could be read.
    pub votes: Option<Votes>,
    pub dc: Option<NodeName>,
    /// maintenance-mode of the cluster.
    pub maintenance: bool,
    /// The resource is Pacemaker's to manage.
    pub managed: bool,
    /// stop-all-resources of the cluster.
    pub stops_all: bool,
    /// promoted-max=0: no instance may be promoted.
    pub promotes_none: bool,
    /// Tickets that the resource needs and that are not granted here, each with its constraint's id.
    pub tickets: Vec<(String, String)>,
    /// Constraints by which another resource may hold it back.
    pub held_by: Vec<String>,
    /// Whether Pacemaker's scheduler would promote somebody now; `None`: it was not asked.
    pub is_planned: Option<bool>,
    pub target_role: TargetRole,
    /// `RSC_REPL_INFO`
    pub record: Recorded<ReplInfo>,
    /// `RSC_SYNC`
    pub sync: Recorded<SyncRecord>,
    pub nodes: BTreeMap<NodeName, NodeSeen>,
    pub lock: LockSeen,
    pub companions: Vec<Companion>,
    /// Which companions that go with the primary are kept away from which nodes.
    pub companion_bans: Vec<CompanionBan>,
    /// `synchronous_standby_names` as the primary has it in force.
    pub in_force: Option<SyncNames>,
    /// Who else streams from the primary.
    pub outside: Vec<Outside>,
    /// The primary's slots; `None`: it was not asked.
    pub slots: Option<Vec<SlotSeen>>,
    /// Why commits go on waiting, as this node's agent last decided it (R1).
    pub hold: Option<String>,
    /// What makes a commit worth less, as the agent on the primary last found it; known there alone.
    pub weak: Vec<String>,
    /// The operator's bound on a standby's lag, in bytes.
    pub maxlag: Option<u64>,
    /// What could not be read, each with the reason.
    pub unread: Vec<String>,
}

/// Votes as corosync counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Votes {
    pub expected: usize,
    /// So that members can be counted instead.
    pub one_each: bool,
    /// There are enough here, and corosync waits until it has seen every node (`wait_for_all`).
    pub awaits_all: bool,
}

/// What the operator lets the resource be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum TargetRole {
    Stopped,
    Unpromoted,
    /// Unset, Started, or Promoted: all that it can be.
    #[default]
    Any,
}

/// Where a node is, for Pacemaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Presence {
    Online,
    /// In the membership, and Pacemaker there has not joined yet.
    Joining,
    /// Shut down in order, or fenced.
    Offline,
    /// Gone without a word: it may run somewhere out of reach.
    Lost,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeSeen {
    pub presence: Presence,
    pub standby: bool,
    pub maintenance: bool,
    /// It is one of those that replicate (node_list).
    pub is_replica: bool,
    pub role: RecordedRole,
    /// Nobody runs the monitor that Pacemaker takes for running: see [`super::unwatched`].
    pub is_unwatched: bool,
    /// When the role's last operation ended, seconds since 1970 by that node's clock.
    pub role_since: Option<u64>,
    /// `RSC-status`
    pub status: Option<NodeStatus>,
    /// `RSC-data-status`
    pub data: Recorded<DataStatus>,
    /// `master-RSC`
    pub score: Option<Score>,
    pub fail_count: FailCount,
    /// migration-threshold.
    pub threshold: Option<u32>,
    pub placements: Vec<Placement>,
    /// Constraints that may keep the primary away, as only Pacemaker knows.
    pub unclear: Vec<String>,
    /// What the resource's parameters have against its promotion.
    pub bar: Option<Bar>,
    pub failures: Vec<FailedAction>,
    /// `RSC-repair`
    pub repair: Option<String>,
    /// `RSC-replay`: what keeps the standby from replaying all it has.
    pub held: Option<String>,
    /// `RSC-notice` and `RSC-deep-notice`: what a person should see to, as its monitors say.
    pub told: Vec<String>,
    /// `RSC-degraded`, and since when its monitor has said so.
    pub degraded: Option<(String, Option<u64>)>,
    /// `RSC-xlog-loc` with `RSC-timeline`: reported for an election.
    pub report: Option<WalPosition>,
    /// Stated for a promotion (R8), of the recorded epoch.
    pub statement: Option<Statement>,
    /// R9; `None`: only that node knows.
    pub distrusted: Option<bool>,
    /// R9 for one that arrives; `None`: only that node knows.
    pub has_missed: Option<bool>,
    /// Its recorded promotion took place; `None`: only that node knows.
    pub is_complete: Option<bool>,
    pub wal: Wal,
    /// Whether the primary sees it stream at this moment; `None`: the primary was not asked.
    pub streams: Option<bool>,
}

/// How far a node's WAL reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wal {
    pub timeline: Option<TimelineId>,
    pub position: Option<Lsn>,
    /// Bytes behind the primary.
    pub lag: Option<u64>,
    /// Time behind the primary, where that is known.
    pub delay: Option<Duration>,
    /// How much of the primary's WAL is not replayed.
    pub replay: Behind,
}

/// How far a standby is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Bytes of the primary's WAL.
    pub bytes: Option<u64>,
    /// How long ago the primary wrote what it did last; `None` where nothing was written lately.
    pub delay: Option<Duration>,
}

/// Who streams from the primary and is no node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Its `application_name`.
    pub name: String,
    pub is_streaming: bool,
    pub position: Option<Lsn>,
    /// What it has not on its disk.
    pub lag: Behind,
    pub replay: Behind,
    /// The slot by which it streams.
    pub slot: Option<String>,
}

/// A replication slot of the primary's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSeen {
    pub name: String,
    pub is_logical: bool,
    /// Somebody reads by it.
    pub is_active: bool,
    /// How much WAL is kept for it; `None`: none, nobody ever read by it, or it has lost it.
    pub held: Option<u64>,
    /// PostgreSQL has given it up.
    pub is_lost: bool,
}

/// How often something failed on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailCount(pub u32);

impl FailCount {
    /// Pacemaker's INFINITY: never again until somebody cleans up.
    pub const NEVER_AGAIN: Self = Self(1_000_000);
}

impl std::fmt::Display for FailCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self >= Self::NEVER_AGAIN {
            f.write_str("INFINITY")
        } else {
            self.0.fmt(f)
        }
    }
}

/// A location constraint without a condition, or with one that names the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub id: String,
    pub node: NodeName,
    pub score: Score,
    /// It is about the primary's place only.
    pub promoted_only: bool,
    /// When it ends, as it is written.
    pub until: Option<String>,
}

impl Placement {
    /// Pacemaker's own commands made it (ban, move), and forgot it there.
    #[must_use]
    pub fn is_by_command(&self) -> bool {
        self.id.starts_with("cli-")
    }

    /// It keeps the primary away.
    #[must_use]
    pub fn is_ban(&self) -> bool {
        self.score == Score::MINUS_INFINITY
    }
}

/// An operation that failed, and is not forgiven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAction {
    pub operation: String,
    pub code: i32,
    pub timed_out: bool,
    pub reason: Option<String>,
    /// Seconds since 1970, by that node's clock.
    pub at: Option<u64>,
}

/// A resource that goes with this one: the clients' address, say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    pub name: String,
    /// The agent's type: IPaddr2.
    pub kind: String,
    pub address: Option<String>,
    pub place: Place,
    /// Where it runs.
    pub nodes: BTreeSet<NodeName>,
}

/// A constraint that keeps a companion away from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompanionBan {
    pub companion: String,
    pub node: NodeName,
    /// The constraint's id.
    pub id: String,
}

/// Where a companion belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Place {
    WithPrimary,
    WithStandby,
    Anywhere,
}

/// What was learnt of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockSeen {
    /// None is configured.
    Unused,
    /// Only a command knows, and to run it would be to take the lock.
    ByCommand,
    Row {
        name: String,
        row: LockRow,
    },
    /// There is no row of that name, the table is wrong, the password: a person has to repair it.
    Unusable {
        name: String,
        why: String,
    },
    Silent {
        name: String,
        why: String,
        /// Nodes that are asked in its place.
        deadcheck: Vec<String>,
    },
    /// Nobody asked.
    NotAsked {
        name: String,
        why: String,
    },
}

impl Observed {
    /// A node that is in this partition, is on record as promoted and says so itself.
    pub fn primaries(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes
            .iter()
            .filter(|(_, node)| {
                node.is_member()
                    && node.role == RecordedRole::Promoted
                    && node.status == Some(NodeStatus::Primary)
            })
            .map(|(name, _)| name)
    }

    /// The primary; `None` also where there are several.
    #[must_use]
    pub fn primary(&self) -> Option<&NodeName> {
        let mut all = self.primaries();
        let first = all.next();
        if all.next().is_some() { None } else { first }
    }

    /// Nodes that replicate.
    pub fn replicas(&self) -> impl Iterator<Item = (&NodeName, &NodeSeen)> {
        self.nodes.iter().filter(|(_, node)| node.is_replica)
    }

    /// R3: who has every acknowledged commit, by what is recorded.
    ///
    /// # Errors
    /// The sentence of what can't be read: nothing is claimed then.
    pub fn claim(&self) -> Result<Claim, String> {
        let mut statuses = BTreeMap::new();
        for (name, node) in self.replicas() {
            if let Some(status) = node.data.clone()? {
                statuses.insert(name.lower().to_owned(), status);
            }
        }
        let record = self.record.clone()?;
        let sync = self.sync.clone()?;
        Ok(eligibility::claim(
            record.as_ref(),
            sync.as_ref(),
            &statuses,
        ))
    }

    /// The node that a standby's name stands for.
    #[must_use]
    pub fn node_named(&self, name: &StandbyName) -> Option<&NodeName> {
        self.nodes.keys().find(|node| node.lower() == name)
    }
}

impl NodeSeen {
    /// In this partition, whatever Pacemaker may do with it.
    #[must_use]
    pub fn is_member(&self) -> bool {
        match self.presence {
            Presence::Online | Presence::Joining => true,
            Presence::Offline | Presence::Lost => false,
        }
    }

    /// It may not be promoted, whatever it has.
    #[must_use]
    pub fn is_barred(&self) -> bool {
        self.bar.is_some() || self.placements.iter().any(Placement::is_ban)
    }

    /// Its server runs, as far as anybody has told.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let says_so = match self.status {
            Some(NodeStatus::Stopped | NodeStatus::Unknown) => false,
            Some(
                NodeStatus::Primary
                | NodeStatus::Sync
                | NodeStatus::Quorum
                | NodeStatus::Potential
                | NodeStatus::Async
                | NodeStatus::Connected
                | NodeStatus::Alone,
            )
            | None => true,
        };
        let has_role = match self.role {
            RecordedRole::Promoted | RecordedRole::Unpromoted => true,
            RecordedRole::Stopped | RecordedRole::Unknown => false,
        };
        self.is_member() && says_so && has_role
    }

    /// It failed too often: Pacemaker keeps the resource away until somebody cleans up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.fail_count >= FailCount::NEVER_AGAIN
            || self
                .threshold
                .is_some_and(|limit| limit > 0 && self.fail_count.0 >= limit)
    }

    /// Its last start failed, and was not forgiven.
    #[must_use]
    pub fn failed_start(&self) -> Option<&FailedAction> {
        self.failures.iter().find(|f| f.operation == "start")
    }
}

impl FailedAction {
    /// The reason, or what is known in its place.
    #[must_use]
    pub fn in_words(&self) -> String {
        match &self.reason {
            Some(reason) => reason.clone(),
            None if self.timed_out => "it took too long".to_owned(),
            None => format!("code {}", self.code),
        }
    }
}

/// Clusters for the tables of cases.
#[cfg(test)]
pub(crate) mod example {
    use super::*;
    use crate::model::sync_names::Method;

    pub(crate) fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn node(status: NodeStatus, data: &str, score: i32) -> NodeSeen {
        let is_primary = status == NodeStatus::Primary;
        NodeSeen {
            presence: Presence::Online,
            standby: false,
            maintenance: false,
            is_replica: true,
            role: if is_primary {
                RecordedRole::Promoted
            } else {
                RecordedRole::Unpromoted
            },
            is_unwatched: false,
            role_since: Some(1_795_272_432),
            status: Some(status),
            data: Ok(Some(data.parse().unwrap())),
            score: Some(Score::new(score)),
            fail_count: FailCount(0),
            threshold: Some(3),
            placements: Vec::new(),
            unclear: Vec::new(),
            bar: None,
            failures: Vec::new(),
            repair: None,
            held: None,
            told: Vec::new(),
            degraded: None,
            report: None,
            statement: None,
            distrusted: None,
            has_missed: None,
            is_complete: None,
            wal: Wal {
                timeline: TimelineId::new(2),
                position: Some(Lsn::new(0x0150_1428)),
                lag: (!is_primary).then_some(0),
                delay: None,
                replay: Behind {
                    bytes: (!is_primary).then_some(0),
                    delay: None,
                },
            },
            streams: Some(!is_primary),
        }
    }

    /// node1 is the primary, commits wait for node3, node2 streams.
    pub(crate) fn healthy() -> Observed {
        Observed {
            resource: ResourceName::new("pgsql").unwrap(),
            clone: "msPostgresql".to_owned(),
            promise: Some(Promise::Sync),
            me: Some(name("node1")),
            quorum: Quorum::Yes,
            no_quorum_policy: NoQuorumPolicy::Stop,
            fencing: false,
            votes: None,
            dc: Some(name("node3")),
            maintenance: false,
            managed: true,
            stops_all: false,
            promotes_none: false,
            tickets: Vec::new(),
            held_by: Vec::new(),
            is_planned: None,
            target_role: TargetRole::Any,
            record: Ok(Some("node1|1|00000000015012D8|1".parse().unwrap())),
            sync: Ok(Some("1|2|node1|FIRST|1|node3|node3".parse().unwrap())),
            nodes: [
                (name("node1"), node(NodeStatus::Primary, "LATEST", 1000)),
                (
                    name("node2"),
                    node(NodeStatus::Async, "STREAMING|ASYNC", -1_000_000),
                ),
                (name("node3"), node(NodeStatus::Sync, "STREAMING|SYNC", 100)),
            ]
            .into(),
            lock: LockSeen::Unused,
            companion_bans: Vec::new(),
            companions: vec![Companion {
                name: "vip-master".to_owned(),
                kind: "IPaddr2".to_owned(),
                address: Some("10.77.0.100".to_owned()),
                place: Place::WithPrimary,
                nodes: [name("node1")].into(),
            }],
            in_force: Some(SyncNames::all(["node3".to_owned()])),
            outside: Vec::new(),
            slots: None,
            hold: None,
            weak: Vec::new(),
            maxlag: None,
            unread: Vec::new(),
        }
    }

    /// The same with commits that wait for any of the standbys.
    pub(crate) fn quorum_of_three() -> Observed {
        let mut seen = healthy();
        seen.sync = Ok(Some(
            "1|2|node1|ANY|1|node2 node3|node2 node3".parse().unwrap(),
        ));
        assert!(matches!(&seen.sync, Ok(Some(record)) if record.method == Method::Any));
        seen.in_force = Some(SyncNames::any_one(["node2".to_owned(), "node3".to_owned()]));
        for standby in ["node2", "node3"] {
            let node = seen.nodes.get_mut(&name(standby)).unwrap();
            node.data = Ok(Some("STREAMING|QUORUM".parse().unwrap()));
            node.score = Some(Score::new(100));
        }
        seen
    }

    /// The words in the paragraph of docs/status.md that begins with `opening`.
    pub(crate) fn documented(opening: &str) -> BTreeSet<String> {
        let text = include_str!("../../docs/status.md");
        let (_, rest) = text.split_once(opening).unwrap();
        let (paragraph, _) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let quoted = paragraph.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    }

    pub(crate) fn lock_row(owner: &str, eligible: &[&str]) -> LockSeen {
        LockSeen::Row {
            name: "lab".to_owned(),
            row: LockRow {
                owner: owner.to_owned(),
                last_owner: None,
                since: "2026-11-21 18:00:00+00".to_owned(),
                lease: Duration::from_secs(9),
                remaining: Duration::from_millis(6500),
                epoch: 3,
                eligible: Some(eligible.iter().map(|n| (*n).to_owned()).collect()),
                reports: 1,
                system: None,
            },
        }
    }
}
