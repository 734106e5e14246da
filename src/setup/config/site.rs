//! What config.ini says, understood: nodes, addresses, parameters. Whoever has a [`Site`] need not look at text again.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::cluster_view::NoQuorumPolicy;
use crate::model::node_name::NodeName;
use crate::params::Params;
use crate::setup::parts::RESOURCE;

use super::secrets::Passwords;

/// The two kinds of cluster there are templates for.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
    clap::ValueEnum,
)]
#[strum(serialize_all = "lowercase")]
pub enum Shape {
    /// Two nodes, and a lock service in place of a majority
    Dual,
    /// Three nodes or more, of which the majority goes on
    Multi,
}

/// What the configuration is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    /// What this program makes by itself.
    BuiltIn,
    /// A file of the operator's own.
    Own(String),
}

/// A monitor that looks deeper than the plain one, of which config.ini speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeepMonitor {
    pub(crate) level: u32,
    pub(crate) is_of_promoted: bool,
    /// None: it is not to be there.
    pub(crate) interval: Duration,
}

/// Numbers that config.ini may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// The keys that stand in the file: what it says nothing of is nobody's wish.
    pub(crate) said: Vec<String>,
    /// Failures after which a node is given up.
    pub(crate) migration_threshold: u32,
    /// After which they are forgotten.
    pub(crate) failure_timeout: Duration,
    /// Of the clone.
    pub(crate) resource_stickiness: u32,
    /// How much the reader's address prefers a synchronous standby.
    pub(crate) reader_score: u32,
    /// Whether the reader's address is on the primary where there is no standby for it.
    pub(crate) reader_on_primary: bool,
    pub(crate) monitor_interval: Duration,
    pub(crate) promoted_monitor_interval: Duration,
    /// Those that config.ini says nothing of are left to whoever makes them.
    pub(crate) deep_monitors: Vec<DeepMonitor>,
    pub(crate) vip_monitor_interval: Duration,
    pub(crate) operation_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            said: Vec::new(),
            migration_threshold: 3,
            failure_timeout: Duration::from_secs(600),
            resource_stickiness: 1000,
            reader_score: 100,
            reader_on_primary: true,
            monitor_interval: Duration::from_secs(4),
            promoted_monitor_interval: Duration::from_secs(3),
            deep_monitors: Vec::new(),
            vip_monitor_interval: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(60),
        }
    }
}

impl Tuning {
    /// Whether config.ini leaves this key out.
    pub(crate) fn says_nothing_of(&self, key: &str) -> bool {
        !self.said.iter().any(|said| said == key)
    }
}

/// config.ini, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) shape: Shape,
    pub(crate) template: Template,
    /// In the order of the file.
    pub(crate) nodes: Vec<NodeName>,
    /// What the database's resource is called; unset: as always.
    pub(crate) resource_name: Option<String>,
    pub(crate) ocf_root: String,
    pub(crate) writer: IpAddr,
    /// None, one, or one for each standby.
    pub(crate) readers: Vec<IpAddr>,
    pub(crate) nic: Option<String>,
    pub(crate) netmask: Option<u8>,
    /// Addresses to ask whether a node's way out is whole, separated by spaces.
    pub(crate) gateway: Option<String>,
    /// The agent's parameters, as they are to stand in the cluster's configuration: without passwords, in the order of the
    /// table. An empty value: it must not stand there.
    pub(crate) params: Vec<(&'static str, String)>,
    /// Those of them that config.ini does not name, and that need not have this value.
    pub(crate) unsaid: Vec<&'static str>,
    /// The same, read.
    pub(crate) resolved: Params,
    /// Unset: a cluster without fencing devices gets `false`, because it would start nothing otherwise.
    pub(crate) stonith_enabled: Option<bool>,
    /// Unset: what the shape needs.
    pub(crate) no_quorum_policy: Option<NoQuorumPolicy>,
    pub(crate) tuning: Tuning,
    pub(crate) passwords: Passwords,
}

impl Site {
    /// The addresses that answer where a node's way out is whole.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &str> {
        self.gateway.iter().flat_map(|all| all.split_whitespace())
    }

    /// What the database's resource is called where the cluster has none yet.
    pub(crate) fn resource(&self) -> &str {
        self.resource_name.as_deref().unwrap_or(RESOURCE)
    }

    /// The program's place on every node.
    pub(crate) fn program(&self) -> String {
        format!("{}/resource.d/heartbeat/expgsql", self.ocf_root)
    }
}
