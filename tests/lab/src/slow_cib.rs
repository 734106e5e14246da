//! A CIB that is slow, on one node: its daemon, or what is written there.

use crate::cluster::Cluster;
use crate::error::Result;
use crate::host::Node;
use crate::progress::note;

/// While it is there, nothing is written.
const HOLD: &str = "/run/lab-cib-hold";
/// Somebody waits.
const HELD: &str = "/run/lab-cib-held";

/// In the place of Pacemaker's tool on a node: what writes to the CIB waits as long as it is told to.
const CIBADMIN: &str = r#"#!/bin/sh
case " $* " in
*" --modify "* | *" --patch "*) while [ -e /run/lab-cib-hold ]; do : >/run/lab-cib-held; sleep 0.02; done ;;
esac
exec /usr/sbin/cibadmin.real "$@"
"#;

impl Cluster {
    /// SIGSTOP to the CIB's daemon on a node, and to pacemakerd, which would end it for that: its copy can't be read, and is
    /// behind, while corosync goes on.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] when none runs.
    pub fn freeze_cib(&self, node: &Node) -> Result<()> {
        note(format!("SIGSTOP to the CIB's daemon on {}", node.name()));
        signal(node, "-STOP")
    }

    /// SIGCONT to a CIB's daemon that was stopped.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] when none runs.
    pub fn thaw_cib(&self, node: &Node) -> Result<()> {
        note(format!("SIGCONT to the CIB's daemon on {}", node.name()));
        signal(node, "-CONT")
    }

    /// From now on whoever writes to the CIB on this node waits before it does, until [`Cluster::release_cib_changes`].
    ///
    /// # Errors
    /// [`crate::Error::Failed`] from the shell.
    pub fn hold_cib_changes(&self, node: &Node) -> Result<()> {
        note(format!("changes of the CIB are held up on {}", node.name()));
        let line = "set -e; cd /usr/sbin; [ -e cibadmin.real ] || cp -p cibadmin cibadmin.real; \
                    cp -p cibadmin.real cibadmin.new; cat >cibadmin.new; mv cibadmin.new cibadmin; rm -f \"$2\"; : >\"$1\"";
        node.command(&["sh", "-c", line, "sh", HOLD, HELD])?
            .input(CIBADMIN)
            .ok()
            .map(drop)
    }

    /// Whether somebody waits for [`Cluster::release_cib_changes`].
    ///
    /// # Errors
    /// What kept it from being looked at.
    pub fn is_cib_change_held(&self, node: &Node) -> Result<bool> {
        Ok(node.run(&["test", "-e", HELD])?.ok().is_ok())
    }

    /// Lets them write.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] from rm.
    pub fn release_cib_changes(&self, node: &Node) -> Result<()> {
        note(format!("changes of the CIB go on on {}", node.name()));
        node.run(&["rm", "-f", HOLD])?.ok().map(drop)
    }
}

/// By name: a node has process ids of its own.
fn signal(node: &Node, signal: &str) -> Result<()> {
    Cluster::signal_daemon(node, "based", signal)
}
