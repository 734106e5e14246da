//! What an operator does to a cluster, by Pacemaker's own tools and by hand.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::process::Output;
use crate::progress::note;
use crate::spec::Agent;

/// More than a reload and a monitor take.
const RELOAD: Duration = Duration::from_secs(60);

impl Cluster {
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
        let to = format!("--parameter-value={value}");
        let whom = ["crm_resource", "--resource", crate::resources::RESOURCE];
        let primary = self.primary()?;
        primary
            .run(&[&whom[..], &[parameter.as_str(), to.as_str()]].concat())?
            .ok()?;
        self.respecify(|spec| spec.params.push((name.to_owned(), value.to_owned())))
    }

    /// Waits until the primary is shown after a parameter was changed: from a reload to the next monitor Pacemaker 2.1 takes
    /// a promoted instance for an unpromoted one.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub fn await_reload(&self) -> Result<()> {
        for node in self.nodes().iter().filter(|node| node.is_on()).take(1) {
            node.run(&["crm_resource", "--wait", "--timeout=20s"])?;
        }
        self.eventually("the primary is shown again", RELOAD, |lab| {
            lab.primary().map(drop).map_err(|error| error.to_string())
        })
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
