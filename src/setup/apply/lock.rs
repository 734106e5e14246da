//! The lock's row, made where it is not there yet. A lock that is held stays held.

use crate::cluster::Failure;
use crate::distlock::{LockError, Made, Service};
use crate::params::Secret;
use crate::setup::config::Site;
use crate::sys::Deadline;

/// How long the lock service may take; making its table takes longer than using it.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// What the lock needs.
pub(super) enum Lock {
    /// Nothing: there is none, or it is there.
    Ready,
    /// The row, and perhaps the table.
    Missing { service: Box<Service>, name: String },
}

/// Looks at the lock service that config.ini names. The lock has the resource's name, unless it has one of its own.
///
/// # Errors
/// [`Failure`]: it can't be used. Nothing was done.
pub(super) fn look(site: &Site, resource: &str) -> Result<Lock, Failure> {
    let params = &site.resolved;
    let Some(conninfo) = params
        .distlock_conninfo
        .as_ref()
        .filter(|_| params.enable_distlock)
    else {
        return Ok(Lock::Ready);
    };
    let name = params.distlock_lockname.as_deref().unwrap_or(resource);
    let passfile = params.passfile.as_deref();
    let failed = |error: LockError| {
        Failure::plain(format!(
            "nothing was done: the lock service can't be used: {error}"
        ))
    };
    let service = Service::new(&Secret::new(conninfo.reveal()), name, passfile).map_err(failed)?;
    let missing = |service| Lock::Missing {
        service: Box::new(service),
        name: name.to_owned(),
    };
    match service.read(Deadline::after(LIMIT)) {
        Ok(Some(_)) => Ok(Lock::Ready),
        Ok(None)
        | Err(LockError::TableMissing(_) | LockError::RowMissing(_) | LockError::OldForm(_)) => {
            Ok(missing(service))
        }
        Err(error) => Err(failed(error)),
    }
}

impl Lock {
    /// In words, where there is something to do.
    pub(super) fn to_do(&self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::Missing { name, .. } => {
                Some(format!("make the lock {name:?} in the lock service"))
            }
        }
    }

    /// Makes the row; one that is there stays as it is.
    ///
    /// # Errors
    /// [`Failure`]; nothing else was done.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let Self::Missing { service, .. } = self else {
            return Ok(());
        };
        match service.init(false, Deadline::after(LIMIT)) {
            Ok(Made::New | Made::Kept(_) | Made::Cleared) => Ok(()),
            Err(error) => Err(Failure::plain(format!(
                "nothing was done: the lock could not be made: {error}; a user who may create tables can do it: expgsql distlock CONNECTION init LOCK"
            ))),
        }
    }
}
