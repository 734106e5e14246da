//! Why the lock service gave no answer.

use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

use super::guard::Refused;
use crate::postgres::session::{cause, chain};

/// Why there is no answer. None of these ever means "locked".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LockError {
    /// What names the service can't be understood.
    #[error("{0}")]
    BadConninfo(String),
    /// The password file can't be used.
    #[error("{0}")]
    Passfile(String),
    /// No answer, or none in time.
    #[error(
        "the lock service can't be reached from here: {0}; look at its machine and at the network to it"
    )]
    Unreachable(String),
    /// The name or the password is wrong.
    #[error(
        "the lock service does not let this node in: {0}; look at user and password (distlock_conninfo, password file) and at the \
         service's pg_hba.conf"
    )]
    Authentication(String),
    /// TLS: not the server it should be, or not this kind of TLS.
    #[error(
        "the lock service's TLS certificate is not accepted: {0}; look at sslrootcert, at the host name in distlock_conninfo, and \
         at the service's certificate"
    )]
    Certificate(String),
    /// There is no such table, schema or database.
    #[error(
        "the lock service has no such table: {0}; look at the database and table named, then run expgsql distlock init"
    )]
    TableMissing(String),
    /// pha4pgsql's table.
    #[error(
        "the lock's table is of the old form: {0}; run expgsql distlock init, which keeps a lock that is held"
    )]
    OldForm(String),
    /// There is no row of that name.
    #[error(
        "the lock service has no lock named {0} for this user; look at distlock_lockname and at the user, then run expgsql distlock init"
    )]
    RowMissing(String),
    /// It can be read and not written.
    #[error(
        "the lock can't be written: {0}; a role that uses it needs SELECT and UPDATE, one that runs init must own the table, and \
         the server must be no standby"
    )]
    NotWritable(String),
    /// Another session holds on to the row.
    #[error(
        "the lock's row is blocked by another session of the service: {0}; look at pg_stat_activity and pg_locks there"
    )]
    Blocked(String),
    /// It said something else.
    #[error("the lock service answered with an error: {0}")]
    Failed(String),
}

impl LockError {
    /// Is it worth asking whether another node reaches the service? What is misconfigured is so for all of them.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::BadConninfo(_)
            | Self::Passfile(_)
            | Self::Authentication(_)
            | Self::Certificate(_)
            | Self::TableMissing(_)
            | Self::OldForm(_)
            | Self::RowMissing(_)
            | Self::NotWritable(_)
            | Self::Blocked(_)
            | Self::Failed(_) => false,
        }
    }

    /// Will it stay wrong until somebody corrects it?
    #[must_use]
    pub const fn is_misconfigured(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Blocked(_) | Self::Failed(_) => false,
            Self::BadConninfo(_)
            | Self::Passfile(_)
            | Self::Authentication(_)
            | Self::Certificate(_)
            | Self::TableMissing(_)
            | Self::OldForm(_)
            | Self::RowMissing(_)
            | Self::NotWritable(_) => true,
        }
    }

    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
            return Self::of_state(db.code(), text);
        }
        let text = chain(error);
        if let Some(refused) = cause::<Refused>(error) {
            return Self::Authentication(refused.to_string());
        }
        let is_tls = cause::<rustls::Error>(error).is_some();
        // The library knows these by their text only.
        if is_tls || text.contains("server does not support TLS") {
            Self::Certificate(text)
        } else if text.contains("password missing") {
            Self::Authentication(format!(
                "{text} (none in distlock_conninfo, and none in a password file)"
            ))
        } else if text.contains("authentication error") {
            Self::Authentication(text)
        } else if text.contains("invalid configuration") {
            Self::BadConninfo(format!(
                "what distlock_conninfo says can't be used: {text}; correct it"
            ))
        } else if text.contains("does not allow writes") || text.contains("read-only") {
            Self::NotWritable(text)
        } else {
            Self::Unreachable(text)
        }
    }

    fn of_state(state: &SqlState, text: String) -> Self {
        let known = [
            (
                SqlState::INVALID_PASSWORD,
                Self::Authentication as fn(String) -> Self,
            ),
            (
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                Self::Authentication,
            ),
            (SqlState::UNDEFINED_TABLE, Self::TableMissing),
            (SqlState::INVALID_SCHEMA_NAME, Self::TableMissing),
            (SqlState::INVALID_CATALOG_NAME, Self::TableMissing),
            (SqlState::UNDEFINED_COLUMN, Self::OldForm),
            (SqlState::INSUFFICIENT_PRIVILEGE, Self::NotWritable),
            (SqlState::READ_ONLY_SQL_TRANSACTION, Self::NotWritable),
            (SqlState::LOCK_NOT_AVAILABLE, Self::Blocked),
            (SqlState::QUERY_CANCELED, Self::Blocked),
        ];
        if let Some((_, kind)) = known.iter().find(|(known, _)| known == state) {
            return kind(text);
        }
        // Connection lost, no resources, shutting down or starting, system error: it is there, and does not serve.
        match state.code().get(..2) {
            Some("08" | "53" | "57" | "58") => Self::Unreachable(text),
            _ => Self::Failed(text),
        }
    }
}
