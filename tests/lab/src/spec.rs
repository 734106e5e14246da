//! What a cluster is to be: everything the builder sets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::debian::Suite;
use crate::other_server::OtherServer;
use crate::postgres::ConfigStyle;
use crate::site::Site;

/// Replication mode of the resource: the agents' `rep_mode` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RepMode {
    /// No replication.
    None,
    /// Standby of something outside the cluster.
    Slave,
    /// Commits don't wait for standbys.
    Async,
    /// Commits wait for a standby.
    Sync,
}

impl RepMode {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Slave => "slave",
            Self::Async => "async",
            Self::Sync => "sync",
        }
    }
}

/// The resource agent that runs PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Agent {
    /// This project's agent, copied into every node as `ocf:heartbeat:expgsql`.
    Expgsql {
        /// The executable.
        binary: PathBuf,
    },
    /// `ocf:heartbeat:pgsql` of the resource-agents package, with the one edit it needs on Pacemaker 2.1.5
    /// (see [`crate::agent`]).
    StockPgsql,
    /// `ocf:heartbeat:pgsqlms` (PAF) of the resource-agents-paf package; always asynchronous.
    Paf,
}

impl Agent {
    /// The agent's file name, which is the last part of its OCF type.
    pub fn ocf_name(&self) -> &'static str {
        match self {
            Self::Expgsql { .. } => "expgsql",
            Self::StockPgsql => "pgsql",
            Self::Paf => "pgsqlms",
        }
    }
}

/// Everything a cluster is made from. Kept in the state file, so that an attached cluster knows it too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Number of cluster nodes, 1 to 5.
    pub nodes: u8,
    /// Machines that are no nodes (yet), see [`crate::Builder::spares`].
    #[serde(default)]
    pub spares: u8,
    /// Corosync's token timeout.
    pub token: Duration,
    /// The agent under test.
    pub agent: Agent,
    /// Its replication mode.
    pub mode: RepMode,
    /// Where PostgreSQL's configuration lies.
    pub style: ConfigStyle,
    /// Agent parameters beside or in place of the lab's own.
    pub params: Vec<(String, String)>,
    /// Cluster properties beside or in place of the lab's own.
    pub properties: Vec<(String, String)>,
    /// Lines appended to postgresql.conf.
    pub settings: Vec<String>,
    /// Whether the host beside the cluster has the lock service, and the agent is told of it.
    #[serde(default)]
    pub lock_service: bool,
    /// Whether that host has a quorum device, and each node asks it.
    #[serde(default)]
    pub quorum_device: bool,
    /// Whether there is a fence device, and fencing is enabled.
    #[serde(default)]
    pub fencing: bool,
    /// Whether that device switches off what it is told to.
    #[serde(default)]
    pub power_strip: bool,
    /// Of two nodes, one that starts waits for the other: corosync's default.
    #[serde(default = "wait_for_all")]
    pub wait_for_all: bool,
    /// Failures of the PostgreSQL resource on a node after which it has to leave that node.
    #[serde(default = "migration_threshold")]
    pub migration_threshold: u32,
    /// How long PostgreSQL's start, and its promotion, may take.
    #[serde(default = "start_timeout")]
    pub start_timeout: Duration,
    /// After this time without another one failures are forgotten; `None`: never.
    #[serde(default)]
    pub failure_timeout: Option<Duration>,
    /// The Debian suite that the hosts have; `None`: the machine's own.
    #[serde(default)]
    pub suite: Option<Suite>,
    /// Nodes that have another one.
    #[serde(default)]
    pub suites: BTreeMap<String, Suite>,
    /// A PostgreSQL that the hosts' suite does not have; `None`: the newest that it has.
    #[serde(default)]
    pub server: Option<OtherServer>,
    /// Another PostgreSQL that the hosts have beside theirs, for an upgrade.
    #[serde(default)]
    pub also_server: Option<OtherServer>,
    /// What kind of site it is.
    #[serde(default)]
    pub site: Site,
}

fn start_timeout() -> Duration {
    Duration::from_secs(60)
}

fn wait_for_all() -> bool {
    true
}

fn migration_threshold() -> u32 {
    3
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            nodes: 3,
            spares: 0,
            token: Duration::from_millis(3000),
            agent: Agent::StockPgsql,
            mode: RepMode::Sync,
            style: ConfigStyle::DataDirectory,
            params: Vec::new(),
            properties: Vec::new(),
            settings: Vec::new(),
            lock_service: false,
            quorum_device: false,
            fencing: false,
            power_strip: false,
            wait_for_all: wait_for_all(),
            migration_threshold: migration_threshold(),
            start_timeout: start_timeout(),
            failure_timeout: None,
            suite: None,
            suites: BTreeMap::new(),
            server: None,
            also_server: None,
            site: Site::Plain,
        }
    }
}

impl Spec {
    /// The Debian suite of a host.
    pub(crate) fn suite_of(&self, host: &str) -> Option<Suite> {
        self.suites.get(host).copied().or(self.suite)
    }

    /// An agent parameter as it was set last.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut latest = self.params.iter().rev();
        let set = latest.find(|(set, _)| set == name);
        set.map(|(_, value)| value.as_str())
    }

    /// Where PostgreSQL's configuration lies: the site's way where it has one.
    pub(crate) fn style(&self) -> ConfigStyle {
        self.site.style().unwrap_or(self.style)
    }

    /// Names of the cluster nodes: node1, node2, … where the site has no others.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|n| self.site.node_name(n)).collect()
    }

    /// Names of the cluster's nodes and of the machines that may become some.
    pub(crate) fn machine_names(&self) -> Vec<String> {
        let machines = self.nodes + self.spares;
        (1..=machines).map(|n| self.site.node_name(n)).collect()
    }

    /// Whether a host of this name is one of the cluster's nodes.
    pub(crate) fn has_node(&self, name: &str) -> bool {
        self.node_names().iter().any(|node| node == name)
    }
}
