//! Breaking things, and mending them.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::corosync;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::network::Cut;
use crate::process::Output;
use crate::progress::note;
use crate::spec::Agent;

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
        Self::signal_controller(node, "-STOP")
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
        Self::signal_controller(node, "-CONT")
    }

    /// By name: a node has process ids of its own.
    fn signal_controller(node: &Node, signal: &str) -> Result<()> {
        let both = "(^|/)pacemaker(d|-controld)( |$)";
        node.run(&["pkill", signal, "--full", both])?.ok().map(drop)
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
        if node.is_on() {
            return Ok(());
        }
        note(format!("power on for {}", node.name()));
        // Reaps the parent of a pid 1 that died by another hand.
        node.kill()?;
        self.boot_host(node)?;
        match node.name() {
            crate::cluster::CLIENT => Ok(()),
            crate::cluster::LOCK => self.start_lock_service(),
            _ => corosync::start(node),
        }
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
        self.switch().cuts()
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

    /// Takes a node out of service, or puts it back: Pacemaker's standby mode. It keeps its vote.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_attribute.
    pub fn set_standby_mode(&self, node: &Node, on: bool) -> Result<()> {
        note(format!(
            "{} is {} service",
            node.name(),
            if on { "out of" } else { "in" }
        ));
        let name = ["--node", node.name(), "--name", "standby"];
        let act: &[&str] = if on {
            &["--lifetime", "forever", "--update=on"]
        } else {
            &["--lifetime", "forever", "--delete"]
        };
        node.run(&[&["crm_attribute"], &name[..], act].concat())?
            .ok()
            .map(drop)
    }

    /// Moves the primary: bans it from its node until another is promoted, then lifts the ban. Gives the new primary.
    ///
    /// # Errors
    /// [`Error::Timeout`] when no other node is promoted in time; the ban is lifted then, too.
    pub fn switchover(&self, limit: Duration) -> Result<&Node> {
        let old = self.primary()?;
        self.ban_primary(old)?;
        let moved = self.other_primary(old, limit);
        self.lift_bans()?;
        moved
    }

    /// Forbids a node to be the primary.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_resource.
    pub fn ban_primary(&self, node: &Node) -> Result<()> {
        note(format!("switchover, away from {}", node.name()));
        self.constrain(&["--ban", "--node", node.name()])
    }

    /// Lets every node be the primary again.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_resource.
    pub fn lift_bans(&self) -> Result<()> {
        self.constrain(&["--clear"])
    }

    /// Moves the primary to a node, then lifts the preference for it.
    ///
    /// # Errors
    /// [`Error::Timeout`] when no other node, or a third one, is promoted in time.
    pub fn move_primary(&self, to: &Node, limit: Duration) -> Result<()> {
        let old = self.primary()?;
        note(format!("switchover, {} to {}", old.name(), to.name()));
        self.constrain(&["--move", "--node", to.name()])?;
        let moved = self.other_primary(old, limit);
        self.lift_bans()?;
        let new = moved?;
        if new.name() == to.name() {
            return Ok(());
        }
        let seen = format!("{} was promoted", new.name());
        Err(self.timeout(&format!("{} is promoted", to.name()), limit, seen))
    }

    /// crm_resource with the promoted role of the clone.
    fn constrain(&self, act: &[&str]) -> Result<()> {
        let whom = ["crm_resource", "--promoted", "--resource"];
        let on = self.primary().or_else(|_| {
            let mut nodes = self.nodes().iter();
            nodes
                .find(|node| node.is_on())
                .ok_or_else(|| Error::Other("every node is powered off".into()))
        })?;
        on.run(&[&whom[..], &[crate::resources::CLONE], act].concat())?
            .ok()
            .map(drop)
    }

    fn other_primary(&self, old: &Node, limit: Duration) -> Result<&Node> {
        let name = self.eventually("another node is promoted", limit, |cluster| {
            let primary = cluster.primary().map_err(|error| error.to_string())?;
            if primary.name() == old.name() {
                Err(format!("{} still is", old.name()))
            } else {
                Ok(primary.name().to_owned())
            }
        })?;
        self.node(&name)
    }

    /// Changes a parameter of the agent, from now on, on every node.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_resource.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        note(format!("{name}={value}"));
        let parameter = format!("--set-parameter={name}");
        let value = format!("--parameter-value={value}");
        let whom = ["crm_resource", "--resource", crate::resources::RESOURCE];
        self.primary()?
            .run(&[&whom[..], &[parameter.as_str(), value.as_str()]].concat())?
            .ok()
            .map(drop)
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

    /// Has Pacemaker leave everything as it is, or watch over it again: `maintenance-mode`.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_attribute.
    pub fn set_maintenance(&self, on: bool) -> Result<()> {
        note(format!(
            "maintenance mode {}",
            if on { "on" } else { "off" }
        ));
        let value = format!("--update={on}");
        let name = ["crm_attribute", "--name", "maintenance-mode"];
        self.primary()?
            .run(&[&name[..], &[value.as_str()]].concat())?
            .ok()
            .map(drop)
    }

    /// Changes the number of failures after which PostgreSQL has to leave a node, from now on.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_resource.
    pub fn set_migration_threshold(&self, failures: u32) -> Result<()> {
        note(format!("migration-threshold {failures}"));
        let whom = ["crm_resource", "--resource", crate::resources::CLONE];
        let what = ["--meta", "--set-parameter=migration-threshold"];
        let value = format!("--parameter-value={failures}");
        self.primary()?
            .run(&[&whom[..], &what[..], &[value.as_str()]].concat())?
            .ok()
            .map(drop)
    }

    /// Gives a node a fresh copy of the primary's data, as an operator would: standby mode, pg_basebackup, back again.
    /// Its configuration files stay its own.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the node's PostgreSQL does not stop or pg_basebackup does not succeed.
    pub fn rebuild(&self, node: &Node, limit: Duration) -> Result<()> {
        note(format!("rebuilding {}", node.name()));
        let name = node.name();
        let postgres = self.postgres(node);
        self.set_standby_mode(node, true)?;
        self.eventually(
            &format!("PostgreSQL on {name} is stopped"),
            limit,
            |_| match postgres.postmaster() {
                Some(pid) => Err(format!("postmaster {pid} runs")),
                None => Ok(()),
            },
        )?;
        let (data, config) = (
            self.layout().data.display().to_string(),
            self.layout().config.display().to_string(),
        );
        let hba = self.layout().hba().display().to_string();
        let keep =
            [&config, &hba].map(|path| node.read_file(path).map(|text| (path.clone(), text)));
        node.run(&[
            "rm",
            "-rf",
            &data,
            &format!("{}/PGSQL.lock", crate::postgres::TMPDIR),
        ])?
        .ok()?;
        let source = [
            "-h",
            crate::network::WRITER_ADDRESS,
            "-U",
            crate::postgres::REPLICATION_USER,
        ];
        let arguments = [&source[..], &["-D", &data, "-X", "stream", "-c", "fast"]].concat();
        // Again, as an operator does, where the address is just then on its way.
        self.eventually("a copy of the primary's data", limit, |_| {
            let copied = postgres.program("pg_basebackup", &arguments);
            copied.and_then(Output::ok).map(drop).map_err(|error| {
                note(format!("no copy for {name} yet: {error}"));
                error.to_string()
            })
        })?;
        for kept in keep {
            let (path, text) = kept?;
            node.write_file(&path, text + "\n", "postgres:postgres", "600")?;
        }
        if self.spec().agent == Agent::Paf {
            node.write_file(
                &format!("{data}/standby.signal"),
                "",
                "postgres:postgres",
                "600",
            )?;
        }
        self.set_standby_mode(node, false)?;
        self.clean_up(node)
    }

    /// Removes what the stock agent leaves after a crash or a switchover, PGSQL.lock, and the failures; for comparing.
    ///
    /// # Errors
    /// [`Error::Failed`] from crm_resource.
    pub fn clean_up(&self, node: &Node) -> Result<()> {
        node.run(&[
            "rm",
            "-f",
            &format!("{}/PGSQL.lock", crate::postgres::TMPDIR),
        ])?
        .ok()?;
        node.run(&[
            "crm_resource",
            "--cleanup",
            "--resource",
            crate::resources::RESOURCE,
            "--node",
            node.name(),
        ])?
        .ok()
        .map(drop)
    }
}
