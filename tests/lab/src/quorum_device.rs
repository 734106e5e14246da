//! A quorum device: corosync-qnetd on the host that is beside the cluster, with a vote of its own, and a corosync-qdevice on each node
//! that asks it. Without TLS: the network is the lab's alone.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::host::Node;
use crate::network::LOCK_ADDRESS;
use crate::progress::note;

/// After how long without a word the device and a node give each other up: corosync-qdevice's default for `net.timeout`.
/// Source: corosync-qdevice(8).
pub const DEVICE_TIMEOUT: Duration = Duration::from_secs(10);

/// What corosync.conf says of it, in the section `quorum`.
pub(crate) fn config() -> String {
    format!(
        "  device {{
    model: net
    votes: 1
    net {{
      host: {LOCK_ADDRESS}
      algorithm: ffsplit
      tls: off
    }}
  }}
"
    )
}

/// Has a node's corosync ask the device.
pub(crate) fn ask(node: &Node) -> Result<()> {
    node.sh("install -d -m 770 /run/corosync-qdevice")?.ok()?;
    node.daemon("corosync-qdevice -f", "/var/log/corosync/qdevice.log")
}

impl Cluster {
    /// Starts the quorum device on its host.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchHost`] in a lab without one.
    pub fn start_quorum_device(&self) -> Result<()> {
        note("starting the quorum device");
        let host = self.lock()?;
        host.sh("install -d -m 770 /run/corosync-qnetd")?.ok()?;
        host.daemon("corosync-qnetd -f -s off", "/var/log/qnetd.log")
    }
}
