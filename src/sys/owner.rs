//! The account that PostgreSQL runs under.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::deadline::Deadline;
use super::name_service::within;

/// How long a person waits for the name service.
const PATIENCE: Duration = Duration::from_secs(10);

/// The account a PostgreSQL instance runs under, with everything needed to become it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Account name.
    pub name: String,
    /// User id.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// All groups, the primary one included. Looked up beforehand: between fork and exec nothing may allocate.
    pub groups: Vec<Gid>,
    /// Home directory.
    pub home: PathBuf,
}

/// The account could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// There is no such account.
    #[error(
        "there is no account named {0:?} on this node: create it, or correct the parameter that names it"
    )]
    Unknown(String),
    /// The account database, or what it asks, does not answer.
    #[error(
        "the account {name:?} could not be looked up in time: the name service does not answer; look at nsswitch.conf, and at the \
         service that it names"
    )]
    Silent {
        /// Account name.
        name: String,
    },
    /// The account database could not be read.
    #[error("the account {name:?} could not be looked up: {source}")]
    Lookup {
        /// Account name.
        name: String,
        /// What the account database said.
        source: Errno,
    },
}

impl Owner {
    /// Looks the account up, with its groups.
    ///
    /// # Errors
    /// [`OwnerError::Unknown`] when there is no such account, [`OwnerError::Lookup`] when that could not be found out,
    /// [`OwnerError::Silent`] when it was not by `deadline`.
    pub fn lookup_by(name: &str, deadline: Deadline) -> Result<Self, OwnerError> {
        let owned = name.to_owned();
        let silent = |_| OwnerError::Silent {
            name: name.to_owned(),
        };
        within(deadline, move || Self::ask(&owned)).map_err(silent)?
    }

    /// [`Owner::lookup_by`] for commands that people type.
    ///
    /// # Errors
    /// As [`Owner::lookup_by`].
    pub fn lookup(name: &str) -> Result<Self, OwnerError> {
        Self::lookup_by(name, Deadline::after(PATIENCE))
    }

    fn ask(name: &str) -> Result<Self, OwnerError> {
        let failed = |source| OwnerError::Lookup {
            name: name.to_owned(),
            source,
        };
        let user = User::from_name(name)
            .map_err(failed)?
            .ok_or_else(|| OwnerError::Unknown(name.to_owned()))?;
        let c_name = CString::new(name).map_err(|_| OwnerError::Unknown(name.to_owned()))?;
        let groups = getgrouplist(&c_name, user.gid).map_err(failed)?;
        Ok(Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            groups,
            home: user.dir,
        })
    }
}
