//! What one node says of itself. It is gathered there, by this program, and judged here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::setup::apply::FencedBy;
use crate::setup::passfiles::PasswordFiles;

use super::starters::Starter;

/// What a node is asked. It goes there on standard input, because of the passwords.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Request {
    /// The node's own name in config.ini.
    pub(super) node: String,
    /// What the resource is called.
    pub(super) resource: String,
    /// Where the program is to be.
    pub(super) program: String,
    /// The agent's parameters.
    pub(super) params: Vec<(String, String)>,
    /// What the password files are to hold.
    pub(super) passwords: PasswordFiles,
    /// The other nodes, to which it must be possible to connect.
    pub(super) others: Vec<String>,
    /// The virtual addresses.
    pub(super) addresses: Vec<String>,
    /// Those that answer where the node's way out is whole.
    pub(super) gateways: Vec<String>,
    /// The agent that asks them.
    pub(super) ping: String,
}

/// What it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// What Pacemaker calls this node; `None`: it does not run.
    pub(super) cluster_name: Option<String>,
    pub(super) pacemaker: Option<String>,
    pub(super) corosync: Option<String>,
    /// Of the running corosync; `None`: it does not run.
    pub(super) quorum: Option<Quorum>,
    /// By what Pacemaker fences.
    #[serde(default)]
    pub(super) fenced_by: FencedBy,
    /// Token and consensus that corosync runs with, in milliseconds; `None`: it does not run.
    #[serde(default)]
    pub(super) totem: Option<(u64, u64)>,
    /// SHA-256 of the program in its place.
    pub(super) installed: Option<String>,
    /// Milliseconds since 1970.
    pub(super) clock: i64,
    /// `postgres --version`, or why there is none.
    pub(super) postgres: Answer<String>,
    /// Programs of the server that are not beside pg_ctl.
    pub(super) missing_programs: Vec<String>,
    pub(super) data: Answer<Data>,
    /// What starts the server besides Pacemaker.
    pub(super) starters: Vec<Starter>,
    /// Of postgresql.conf.
    pub(super) settings: Answer<BTreeMap<String, String>>,
    /// What the agent itself objects to.
    pub(super) objections: Vec<String>,
    pub(super) passfile: Passfile,
    pub(super) interfaces: Vec<Interface>,
    /// Virtual addresses at which another machine answers.
    pub(super) taken: Vec<String>,
    /// The gateways that do not answer a ping from here.
    pub(super) silent: Vec<String>,
    /// The agent that asks them is not there.
    pub(super) lacks_ping: bool,
    /// The lock service: whether the lock's row is there.
    pub(super) lock: Option<Answer<bool>>,
    /// The attempt to connect to another node as a standby does.
    pub(super) replication: Vec<(String, Connection)>,
    /// Where pg_rewind is to be used: what it lacks on another node, and what to run there.
    pub(super) rewind: Vec<(String, String)>,
    /// The WAL file that the running server tried in vain to archive, and has not archived since.
    pub(super) unarchived: Option<String>,
    #[serde(default)]
    pub(super) machine: Machine,
    /// What the running server has that makes a commit worth less, as [`crate::postgres::views::WEAK`] shows it.
    pub(super) weak: Option<String>,
}

/// What the machine does to a server that works on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// What systemd does to Pacemaker's unit where the kernel kills a process of it for want of memory; `None`: it does not say.
    pub(super) oom_policy: Option<String>,
    /// systemd-logind takes the account's shared memory away when the last person who is logged in as it leaves.
    pub(super) removes_ipc: bool,
    /// `getconf GNU_LIBC_VERSION`; `None`: another library, or it does not say.
    pub(super) libc: Option<String>,
    /// A server may listen at IPv4 addresses that the machine does not have yet (`net.ipv4.ip_nonlocal_bind`).
    pub(super) binds_foreign_v4: bool,
    /// The same for IPv6.
    pub(super) binds_foreign_v6: bool,
}

impl Machine {
    /// Whether a server may listen at this address before the machine has it.
    pub(super) fn binds_foreign(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.binds_foreign_v4,
            IpAddr::V6(_) => self.binds_foreign_v6,
        }
    }
}

/// Who has a say in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quorum {
    pub(super) votes: usize,
    /// wait_for_all.
    pub(super) waits_for_all: bool,
}

/// Something, or why it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer<T> {
    Known(T),
    Unknown(String),
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self::Unknown("it was not asked".to_owned())
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Answer<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(it) => Self::Known(it),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

impl<T> Answer<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(it) => Some(it),
            Self::Unknown(_) => None,
        }
    }
}

/// The control file of the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Data {
    pub(super) system_identifier: String,
    pub(super) checksums: bool,
}

/// The password file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Passfile {
    #[default]
    NotNeeded,
    Missing,
    Good,
    /// What is wrong with it.
    Bad(String),
}

/// An address of the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) bits: u8,
}

/// How an attempt to connect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Connection {
    Works,
    /// No server runs there, so that nothing is proved.
    NoServer,
    Refused(String),
}
