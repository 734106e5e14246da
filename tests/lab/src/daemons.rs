//! The cluster's daemons, one by one: which process each is, and its sudden death.

use std::fmt;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::progress::note;

/// One of the daemons of a cluster node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// Membership, messages and votes.
    Corosync,
    /// Starts the other daemons of Pacemaker, and starts them again.
    Pacemakerd,
    /// The cluster information base.
    Based,
    /// Node attributes.
    Attrd,
    /// The controller: membership as Pacemaker has it, the coordinator.
    Controld,
    /// Calls the agents.
    Execd,
    /// Fencing.
    Fenced,
    /// Decides what is to be done.
    Schedulerd,
}

impl Daemon {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Pacemakerd,
        Self::Based,
        Self::Attrd,
        Self::Controld,
        Self::Execd,
        Self::Fenced,
        Self::Schedulerd,
        Self::Corosync,
    ];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Corosync => "corosync",
            Self::Pacemakerd => "pacemakerd",
            Self::Based => "pacemaker-based",
            Self::Attrd => "pacemaker-attrd",
            Self::Controld => "pacemaker-controld",
            Self::Execd => "pacemaker-execd",
            Self::Fenced => "pacemaker-fenced",
            Self::Schedulerd => "pacemaker-schedulerd",
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

impl Cluster {
    /// Number of a daemon's process inside the node; `None`: it does not run.
    pub fn daemon(&self, node: &Node, daemon: Daemon) -> Option<i32> {
        let line = format!("^([^ ]*/)?{}( |$)", daemon.program());
        let found = node.run(&["pgrep", "--full", &line]).ok()?.stdout;
        found.split_whitespace().next()?.parse().ok()
    }

    /// SIGKILL to a daemon. Gives the number that its process had.
    ///
    /// # Errors
    /// [`Error::Other`] when it does not run.
    pub fn kill_daemon(&self, node: &Node, daemon: Daemon) -> Result<i32> {
        note(format!("kill -9 of {daemon} on {}", node.name()));
        let pid = self
            .daemon(node, daemon)
            .ok_or_else(|| Error::Other(format!("no {daemon} runs on {}", node.name())))?;
        node.run(&["kill", "-KILL", &pid.to_string()])?.ok()?;
        Ok(pid)
    }
}
