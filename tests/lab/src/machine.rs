//! Machines that come to a cluster, leave it, and are replaced.
//!
//! A spare has the software of the others, an empty disk beside that, and ssh; no cluster knows it. What makes it a node is the
//! operator's to do. The lab is told of it afterwards ([`Cluster::has_joined`]), since it judges the cluster by who belongs to it.

use std::os::unix::fs::PermissionsExt;

use crate::cluster::Cluster;
use crate::corosync;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::progress::note;

/// In front of the machine's own in PATH. A host has no systemd, so that pages could not be typed word for word.
const SYSTEMCTL: &str = r#"#!/bin/sh
# Stands for systemd on a host of the lab, which has none: it starts and ends corosync and Pacemaker, and knows nothing else.
case "$*" in
"enable --now corosync pacemaker" | "start corosync pacemaker")
    setsid --fork sh -c 'exec lab-service "$1" >>/var/log/pacemaker/service.log 2>&1 </dev/null' sh "LOG"
    ;;
"disable --now pacemaker corosync" | "stop pacemaker corosync")
    pkill -TERM -x pacemakerd
    while pkill -0 -x pacemakerd; do sleep 0.1; done
    pkill -TERM -x corosync
    while pkill -0 -x corosync; do sleep 0.1; done
    ;;
*) exec /usr/bin/systemctl "$@" ;;
esac
"#;

/// Puts systemctl on the disk of a host that is off.
pub(crate) fn lay_out(node: &Node) -> Result<()> {
    let dir = node.disk("usr").join("local/sbin");
    std::fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
    let systemctl = SYSTEMCTL.replace("LOG", corosync::LOG);
    for (name, text) in [
        ("systemctl", systemctl.as_str()),
        ("lab-service", corosync::SERVICE),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .map_err(Error::io(format!("chmod {}", path.display())))?;
    }
    Ok(())
}

impl Cluster {
    /// Whether a host is a machine that is no node.
    pub(crate) fn is_spare(&self, host: &Node) -> bool {
        let mut spares = self.machines().iter().skip(self.nodes().len());
        spares.any(|spare| spare.name() == host.name())
    }

    /// The next machine that is no node.
    ///
    /// # Errors
    /// [`Error::Other`] where all are nodes.
    pub fn spare(&self) -> Result<&Node> {
        let mut spares = self.machines().iter().skip(self.nodes().len());
        spares
            .next()
            .ok_or_else(|| Error::Other("every machine is a node".into()))
    }

    /// The next machine is a node from now on: the lab demands of it what it demands of the others.
    ///
    /// # Errors
    /// [`Error::Io`] where the lab's state can't be written.
    pub fn has_joined(&self) -> Result<()> {
        self.respecify(|spec| {
            spec.nodes += 1;
            spec.spares -= 1;
        })
    }

    /// The last node is one no more.
    ///
    /// # Errors
    /// [`Error::Io`] where the lab's state can't be written.
    pub fn has_left(&self) -> Result<()> {
        self.respecify(|spec| {
            spec.nodes -= 1;
            spec.spares += 1;
        })
    }

    /// Another machine with a node's name and address: nothing of the old one's disk is left. It is on, and no cluster runs there.
    ///
    /// # Errors
    /// What kept it from booting.
    pub fn replace_machine(&self, node: &Node) -> Result<()> {
        note(format!("another machine for {}", node.name()));
        node.kill()?;
        node.wipe_disk()?;
        self.install(node)?;
        lay_out(node)?;
        self.boot_host(node)?;
        corosync::prepare_directories(node)
    }
}
