//! Breaking things, and mending them.

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::network::{self, Cut};
use crate::progress::note;

impl Cluster {
    /// SIGKILL to the postmaster: PostgreSQL crashes, the node lives.
    ///
    /// # Errors
    /// [`Error::Other`] when none runs.
    pub fn kill_postmaster(&self, node: &Node) -> Result<()> {
        note(format!("kill -9 of the postmaster on {}", node.name()));
        self.postgres(node).signal("KILL")
    }

    /// SIGSTOP to the postmaster: it hangs, connections that exist go on.
    ///
    /// # Errors
    /// [`Error::Other`] when none runs.
    pub fn hang_postmaster(&self, node: &Node) -> Result<()> {
        note(format!("SIGSTOP to the postmaster on {}", node.name()));
        self.postgres(node).signal("STOP")
    }

    /// SIGCONT to a postmaster that was stopped.
    ///
    /// # Errors
    /// [`Error::Other`] when none runs.
    pub fn unhang_postmaster(&self, node: &Node) -> Result<()> {
        note(format!("SIGCONT to the postmaster on {}", node.name()));
        self.postgres(node).signal("CONT")
    }

    /// SIGSTOP to every process of PostgreSQL on the node, as on a machine that stalls: nothing answers, nothing closes.
    ///
    /// # Errors
    /// [`Error::Other`] when none runs.
    pub fn freeze_postgres(&self, node: &Node) -> Result<()> {
        note(format!("SIGSTOP to all of PostgreSQL on {}", node.name()));
        self.signal_all(node, "STOP")
    }

    /// SIGCONT to every process of PostgreSQL on the node.
    ///
    /// # Errors
    /// [`Error::Other`] when none runs.
    pub fn thaw_postgres(&self, node: &Node) -> Result<()> {
        note(format!("SIGCONT to all of PostgreSQL on {}", node.name()));
        self.signal_all(node, "CONT")
    }

    /// SIGSTOP to Pacemaker's controller on the node, and to pacemakerd, which would end it for that: the CIB shows no change
    /// of membership there, while recurring monitors, the CIB and attributes go on. crm_mon does not answer.
    ///
    /// # Errors
    /// [`Error::Failed`] when none runs.
    pub fn freeze_controller(&self, node: &Node) -> Result<()> {
        note(format!(
            "SIGSTOP to Pacemaker's controller on {}",
            node.name()
        ));
        Self::signal_daemon(node, "controld", "-STOP")
    }

    /// SIGCONT to a controller that was stopped.
    ///
    /// # Errors
    /// [`Error::Failed`] when none runs.
    pub fn thaw_controller(&self, node: &Node) -> Result<()> {
        note(format!(
            "SIGCONT to Pacemaker's controller on {}",
            node.name()
        ));
        Self::signal_daemon(node, "controld", "-CONT")
    }

    /// By name: a node has process ids of its own.
    pub(crate) fn signal_daemon(node: &Node, daemon: &str, signal: &str) -> Result<()> {
        let both = format!("(^|/)pacemaker(d|-{daemon})( |$)");
        node.run(&["pkill", signal, "--full", &both])?
            .ok()
            .map(drop)
    }

    fn signal_all(&self, node: &Node, signal: &str) -> Result<()> {
        let postmaster = self
            .postgres(node)
            .postmaster()
            .ok_or_else(|| Error::Other(format!("no postmaster runs on {}", node.name())))?;
        // The postmaster first: it could start a new child between the two.
        node.sh(&format!(
            "kill -{signal} {postmaster} $(cat /proc/{postmaster}/task/{postmaster}/children)"
        ))?
        .ok()
        .map(drop)
    }

    /// SIGSTOP to the process that replays a standby's WAL: the server answers, and no promotion comes to its end.
    ///
    /// # Errors
    /// [`Error::Failed`] when none runs.
    pub fn freeze_recovery(&self, node: &Node) -> Result<()> {
        note(format!("SIGSTOP to the recovery on {}", node.name()));
        Self::signal_recovery(node, "-STOP")
    }

    /// SIGCONT to a recovery that was stopped.
    ///
    /// # Errors
    /// [`Error::Failed`] when none runs.
    pub fn thaw_recovery(&self, node: &Node) -> Result<()> {
        note(format!("SIGCONT to the recovery on {}", node.name()));
        Self::signal_recovery(node, "-CONT")
    }

    fn signal_recovery(node: &Node, signal: &str) -> Result<()> {
        node.run(&["pkill", signal, "--full", "^postgres: .*startup"])?
            .ok()
            .map(drop)
    }

    /// SIGSTOP to the WAL receiver of a standby: it stays connected and confirms nothing.
    ///
    /// # Errors
    /// [`Error::Other`] when it has none.
    pub fn hang_receiver(&self, node: &Node) -> Result<()> {
        note(format!("SIGSTOP to the WAL receiver on {}", node.name()));
        self.signal_receiver(node, "-STOP")
    }

    /// SIGCONT to a WAL receiver that was stopped.
    ///
    /// # Errors
    /// [`Error::Other`] when there is none.
    pub fn unhang_receiver(&self, node: &Node) -> Result<()> {
        note(format!("SIGCONT to the WAL receiver on {}", node.name()));
        self.signal_receiver(node, "-CONT")
    }

    fn signal_receiver(&self, node: &Node, signal: &str) -> Result<()> {
        let pid = self
            .postgres(node)
            .sql("select pid from pg_stat_wal_receiver")?;
        if pid.is_empty() {
            return Err(Error::Other(format!(
                "no WAL receiver runs on {}",
                node.name()
            )));
        }
        node.run(&["kill", signal, &pid])?.ok().map(drop)
    }

    /// Power failure: everything on the host dies at once. What was written stays (the machine's page cache is not
    /// lost with a lab host, so this does not test fsync).
    ///
    /// # Errors
    /// [`Error::Timeout`] when a process does not end.
    pub fn power_off(&self, node: &Node) -> Result<()> {
        note(format!("power failure of {}", node.name()));
        node.kill()
    }

    /// Boots a host that is off, on the disk as it was left, and starts corosync and pacemaker on a cluster node.
    /// Returns when corosync runs; joining takes some seconds more.
    ///
    /// # Errors
    /// What kept it from booting.
    pub fn power_on(&self, node: &Node) -> Result<()> {
        self.power_on_after(node, |_| Ok(()))
    }

    /// The same, with something done on the host before any service of it runs.
    ///
    /// # Errors
    /// What kept it from booting, or what `prepare` gives.
    pub fn power_on_after(
        &self,
        node: &Node,
        prepare: impl FnOnce(&Node) -> Result<()>,
    ) -> Result<()> {
        if node.is_on() {
            return Ok(());
        }
        note(format!("power on for {}", node.name()));
        // Reaps the parent of a pid 1 that died by another hand.
        node.kill()?;
        self.boot_host(node)?;
        prepare(node)?;
        match node.name() {
            crate::cluster::CLIENT => Ok(()),
            crate::cluster::LOCK if self.spec().quorum_device => self.start_quorum_device(),
            crate::cluster::LOCK => self.start_lock_service(),
            _ => self.start_node(node),
        }
    }

    /// Boots a cluster node on which corosync runs and Pacemaker does not: it is not enabled there, say, or does not come up.
    ///
    /// # Errors
    /// What kept it from booting.
    pub fn power_on_without_pacemaker(&self, node: &Node) -> Result<()> {
        note(format!("power on for {}, without Pacemaker", node.name()));
        node.kill()?;
        self.boot_host(node)?;
        self.start_corosync(node)?;
        if self.spec().quorum_device {
            crate::quorum_device::ask(node)?;
        }
        Ok(())
    }

    /// Drops every frame between the hosts of one side and those of the other, both ways.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn partition(&self, these: &[&Node], those: &[&Node]) -> Result<()> {
        let names = |side: &[&Node]| {
            side.iter()
                .map(|node| node.name().to_owned())
                .collect::<Vec<_>>()
                .join(", ")
        };
        note(format!("cutting {} from {}", names(these), names(those)));
        let pairs = these
            .iter()
            .flat_map(|a| those.iter().map(move |b| (a.name(), b.name())));
        let ways: Vec<_> = pairs
            .flat_map(|(a, b)| [(a, b), (b, a)])
            .filter(|(a, b)| a != b)
            .collect();
        self.switch().set(Cut::Dropped, &ways)
    }

    /// Drops every frame from one host to another; the other way stays open.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn cut(&self, from: &Node, to: &Node) -> Result<()> {
        note(format!(
            "cutting the way from {} to {}",
            from.name(),
            to.name()
        ));
        self.switch().set(Cut::Dropped, &[(from.name(), to.name())])
    }

    /// Opens what [`Cluster::cut`] or [`Cluster::partition`] closed between two hosts.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn mend(&self, a: &Node, b: &Node) -> Result<()> {
        note(format!("mending {} and {}", a.name(), b.name()));
        self.switch()
            .set(Cut::Passing, &[(a.name(), b.name()), (b.name(), a.name())])
    }

    /// Cuts a host from all others, the client included.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn isolate(&self, node: &Node) -> Result<()> {
        let others: Vec<&Node> = self
            .hosts()
            .filter(|host| host.name() != node.name())
            .collect();
        self.partition(&[node], &others)
    }

    /// Cuts a node from the other nodes; the client reaches both sides. The case in which acknowledged commits get lost.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn split(&self, node: &Node) -> Result<()> {
        let others: Vec<&Node> = self
            .nodes()
            .iter()
            .filter(|host| host.name() != node.name())
            .collect();
        self.partition(&[node], &others)
    }

    /// Opens every connection again.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn heal(&self) -> Result<()> {
        note("the network is whole again");
        self.switch().heal()
    }

    /// The one-way connections that are cut: from, to.
    ///
    /// # Errors
    /// [`Error::Failed`] from ebtables.
    pub fn cuts(&self) -> Result<Vec<(String, String)>> {
        let whole = |part: String| {
            let mut hosts = self.hosts().map(Node::name);
            let host = hosts.find(|host| network::first_part(host) == part);
            host.map_or(part, str::to_owned)
        };
        let cuts = self.switch().cuts()?.into_iter();
        Ok(cuts.map(|(from, to)| (whole(from), whole(to))).collect())
    }

    /// Leaves no room in the agent's directory for its own files: a small tmpfs over it, filled. What was in it stays
    /// readable.
    ///
    /// # Errors
    /// [`Error::Failed`] from mount.
    pub fn fill_tmpdir(&self, node: &Node) -> Result<()> {
        note(format!(
            "no space left in the agent's directory on {}",
            node.name()
        ));
        let line = format!(
            "set -e; cd {dir}; mount -t tmpfs -o size=256k,mode=755 tmpfs {dir}; cp -a . {dir}/; chown postgres:postgres {dir}; \
             dd if=/dev/zero of={dir}/ballast bs=4k 2>/dev/null || :",
            dir = crate::postgres::TMPDIR
        );
        node.sh(&line)?.ok().map(drop)
    }

    /// Ends [`Cluster::fill_tmpdir`]; files that changed meanwhile keep their newer content.
    ///
    /// # Errors
    /// [`Error::Failed`] from umount.
    pub fn empty_tmpdir(&self, node: &Node) -> Result<()> {
        note(format!(
            "space again in the agent's directory on {}",
            node.name()
        ));
        let line = format!(
            "set -e; cd {dir}; rm -f ballast; saved=$(mktemp -d); cp -a . $saved; cd /; umount {dir}; cp -a $saved/. {dir}/; rm -rf $saved",
            dir = crate::postgres::TMPDIR
        );
        node.sh(&line)?.ok().map(drop)
    }

    /// Makes a node's copy of the CIB win a merge, right or wrong, as an operator's hand or many writes would: Pacemaker
    /// keeps the one with the higher admin_epoch, and this raises it by `by`.
    ///
    /// # Errors
    /// [`Error::Failed`] from cibadmin.
    pub fn raise_cib(&self, node: &Node, by: u32) -> Result<()> {
        note(format!(
            "admin_epoch of {}'s CIB raised by {by}",
            node.name()
        ));
        let argv = [
            "cibadmin",
            "--modify",
            "--xml-text",
            r#"<cib admin_epoch="admin_epoch++"/>"#,
        ];
        (0..by).try_for_each(|_| node.run(&argv)?.ok().map(drop))
    }

    /// Nothing that a node's PostgreSQL sends reaches another host than the client: replication stops, the cluster goes on.
    /// A power cycle ends it.
    ///
    /// # Errors
    /// [`Error::Failed`] from iptables.
    pub fn cut_replication_from(&self, node: &Node) -> Result<()> {
        note(format!("{} sends no WAL", node.name()));
        // One rule, so that all of them miss the same: a standby that had more than the others would be a story of its own.
        let rule = format!(
            "OUTPUT -o eth0 -p tcp --sport 5432 ! -d {} -j DROP",
            self.client().address()
        );
        node.sh(&format!("iptables -A {rule}"))?.ok().map(drop)
    }
}
