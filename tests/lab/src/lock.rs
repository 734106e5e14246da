//! The lock service: a PostgreSQL on a host of its own, outside the cluster. Its host can be cut from any node, lose
//! power, hang.

use crate::cluster::Cluster;
use crate::error::Result;
use crate::network::LOCK_ADDRESS;
use crate::progress::note;
use crate::spec::{Agent, Spec};

/// Name of the lock that the cluster takes.
pub const LOCK_NAME: &str = "lab";

/// How the nodes reach the service.
pub fn conninfo() -> String {
    format!("host={LOCK_ADDRESS} port=5432 dbname=postgres user=postgres")
}

/// What the agent is told of it.
pub(crate) fn parameters(spec: &Spec) -> Vec<(String, String)> {
    [
        ("enable_distlock", "true".to_owned()),
        ("distlock_conninfo", conninfo()),
        ("distlock_lockname", LOCK_NAME.to_owned()),
        (
            "distlock_lockservice_deadcheck_nodelist",
            spec.node_names().join(" "),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

impl Cluster {
    /// Starts the lock service, if it does not run.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchHost`] in a lab without one, and those of [`crate::Postgres::start`].
    pub fn start_lock_service(&self) -> Result<()> {
        let postgres = self.postgres(self.lock()?);
        if postgres.postmaster().is_some() {
            return Ok(());
        }
        note("starting the lock service");
        postgres.start()
    }

    /// Stops the lock service: it refuses connections, its host lives.
    ///
    /// # Errors
    /// Those of [`crate::Postgres::stop`].
    pub fn stop_lock_service(&self) -> Result<()> {
        note("stopping the lock service");
        self.postgres(self.lock()?).stop()
    }

    /// Makes the table and the lock's row, in a lock service that runs, as an operator does: with `expgsql distlock init`.
    pub(crate) fn init_lock_service(&self) -> Result<()> {
        let Agent::Expgsql { .. } = self.spec().agent else {
            // Nobody else asks for it.
            return Ok(());
        };
        let Some(node) = self.nodes().first() else {
            return Ok(());
        };
        let program = format!("{}/expgsql", crate::agent::DIRECTORY);
        node.run(&[&program, "distlock", &conninfo(), "init", LOCK_NAME])?
            .ok()
            .map(drop)
    }

    /// How long the lock is held for from each renewal on, in seconds.
    ///
    /// # Errors
    /// Those of [`crate::Postgres::sql`].
    pub fn lease_length(&self) -> Result<String> {
        self.postgres(self.lock()?).sql(&format!(
            "select extract(epoch from expired_time)::int from distlock where lockname = '{LOCK_NAME}'"
        ))
    }

    /// The lock's row: `owner|epoch|eligible|reports|expired`.
    ///
    /// # Errors
    /// Those of [`crate::Postgres::sql`].
    pub fn lock_row(&self) -> Result<String> {
        self.postgres(self.lock()?).sql(&format!(
            "select owner, epoch, eligible, reports, ts + expired_time < now() from distlock where lockname = '{LOCK_NAME}'"
        ))
    }
}
