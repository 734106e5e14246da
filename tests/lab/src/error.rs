//! What can go wrong in the lab, in sentences for the person who runs it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Result of a lab operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed lab operation. `Debug` is `Display`, so that `unwrap()` in a scenario prints the report as it was written.
#[derive(thiserror::Error)]
pub enum Error {
    /// Namespaces, overlay mounts and bridges need root.
    #[error(
        "the lab builds network and mount namespaces and needs root: run it with sudo, or set EXPGSQL_LAB=skip to leave its scenarios out"
    )]
    NotRoot,
    /// The user asked for no lab (`EXPGSQL_LAB=skip`).
    #[error("left out because EXPGSQL_LAB=skip is set")]
    Skipped,
    /// A scenario that runs only when it is asked for.
    #[error("{0}")]
    LeftOut(String),
    /// A file or system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A program ended with another status than 0.
    #[error("`{command}` ended with {status}\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// `exit status: N` or `signal: N`.
        status: String,
        /// Both streams.
        output: String,
    },
    /// A program ran past its limit and was killed with its process group.
    #[error("`{command}` was killed after {limit:?}\n{output}")]
    Overran {
        /// The command line.
        command: String,
        /// The limit.
        limit: Duration,
        /// Both streams, as far as they came.
        output: String,
    },
    /// A condition did not become true in time, or did not stay true.
    #[error("{what}: not within {limit:?}\nlast seen: {seen}\n{evidence}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// The last observation.
        seen: String,
        /// Tails of the nodes' logs, or empty.
        evidence: String,
    },
    /// The condition of [`crate::Cluster::holds_for`] broke.
    #[error("{what}: broken after {after:?}\nseen: {seen}\n{evidence}")]
    Broken {
        /// The condition.
        what: String,
        /// Time it held.
        after: Duration,
        /// The observation that broke it.
        seen: String,
        /// Tails of the nodes' logs.
        evidence: String,
    },
    /// A name that is no host of this cluster.
    #[error("no host named {0:?} in this cluster")]
    NoSuchHost(String),
    /// The host has no running pid 1.
    #[error("{0} is powered off")]
    PoweredOff(String),
    /// No cluster of this name, or nothing of it is alive.
    #[error("no lab named {name:?} is up (looked in {})", dir.display())]
    NotUp {
        /// The lab's name.
        name: String,
        /// Its directory.
        dir: PathBuf,
    },
    /// A cluster of this name is running.
    #[error(
        "a lab named {0:?} is up already: `cargo lab down --name {0}` ends it, another --name goes beside it"
    )]
    AlreadyUp(String),
    /// Acknowledged commits are lost, two servers took writes, or a standby has other data: no accident of a busy machine.
    #[error("{0}")]
    Promise(String),
    /// Something the lab can't read or can't do here.
    #[error("{0}")]
    Other(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Error {
    /// For `map_err` on I/O: `Error::io(format!("read {path}"))`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on nix calls.
    pub(crate) fn sys(what: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let what = what.into();
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }
}
