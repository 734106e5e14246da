//! One connection to the server, every call of which ends in time.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::params::Params;
use crate::postgres::owner::as_owner;
use crate::postgres::process::Running;
use crate::sys::Owner;

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
}

/// A server's address.
#[derive(Clone, Debug)]
pub enum Address {
    Socket(PathBuf),
    Host(String),
}

impl Target {
    /// This node's own server, as the parameters and the server itself say where it listens.
    #[must_use]
    pub fn of_server(
        params: &Params,
        running: &Running,
        user: String,
        password: Option<String>,
    ) -> Self {
        // The running server knows best.
        let socket = || {
            params
                .socketdir
                .clone()
                .or_else(|| running.socket_dir.clone())
                .unwrap_or_else(|| "/tmp".into())
        };
        let address = match &params.pghost {
            Some(host) if host.starts_with('/') => Address::Socket(host.into()),
            Some(host) => Address::Host(host.clone()),
            None => Address::Socket(socket()),
        };
        Self {
            address,
            port: running.port.unwrap_or(params.pgport),
            user,
            password,
            database: params.pgdb.clone(),
        }
    }
}

/// The user that monitoring is set up for, and its password.
#[must_use]
pub fn monitoring_user(params: &Params) -> (String, Option<String>) {
    let user = params.monitor_user.clone();
    let password = params.monitor_password.as_ref();
    (
        user.unwrap_or_else(|| params.pgdba.clone()),
        password.map(|secret| secret.reveal().to_owned()),
    )
}

/// Why the server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It took the connection, or the query, and said nothing.
    #[error("no answer within {:.1} s: the server hangs, or the machine is overloaded", .0.as_secs_f32())]
    TimedOut(Duration),
    /// It is starting, recovering, or shutting down.
    #[error("the server does not take connections yet: {0}")]
    NotReady(String),
    /// Nobody listens there.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// It answered with an error.
    #[error("{message} (SQLSTATE {state})")]
    Failed { state: String, message: String },
    /// The answer is not of the form that was asked for.
    #[error("unexpected answer to {query:?}: {what}")]
    Unexpected { query: &'static str, what: String },
    #[error("cannot act as the instance's owner: {0}")]
    Owner(#[from] nix::Error),
    #[error("cannot set up the connection: {0}")]
    Setup(#[from] io::Error),
}

/// A row in text form; NULL is `None`.
pub type Row = Vec<Option<String>>;

/// An open connection. Every query may take `limit` at most.
pub struct Session {
    runtime: Runtime,
    client: Client,
    limit: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects with the owner's identity, which peer authentication asks for.
    ///
    /// # Errors
    /// See [`SqlError`]; a server that accepts and then hangs is [`SqlError::TimedOut`].
    pub fn connect(target: &Target, owner: &Owner, limit: Duration) -> Result<Self, SqlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut config = tokio_postgres::Config::new();
        match &target.address {
            Address::Socket(dir) => config.host_path(dir),
            Address::Host(host) => config.host(host),
        };
        config
            .port(target.port)
            .user(&target.user)
            .dbname(&target.database)
            .application_name("expgsql");
        // The server gives up by itself what the agent no longer waits for.
        config.options(format!(
            "-c statement_timeout={} -c lock_timeout=2000 -c client_encoding=UTF8",
            limit.as_millis()
        ));
        if let Some(password) = &target.password {
            config.password(password);
        }
        let client = as_owner(owner, || {
            runtime.block_on(async {
                let connecting = tokio::time::timeout(limit, config.connect(NoTls)).await;
                let (client, connection) = connecting
                    .map_err(|_| SqlError::TimedOut(limit))?
                    .map_err(classify)?;
                tokio::spawn(connection);
                Ok::<_, SqlError>(client)
            })
        })??;
        Ok(Self {
            runtime,
            client,
            limit,
        })
    }

    /// Lets the following queries take `limit`, for work that is known to be long.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Runs `sql` (one statement, or several of which the last returns the rows).
    ///
    /// # Errors
    /// See [`SqlError`].
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>, SqlError> {
        let Self {
            runtime,
            client,
            limit,
        } = self;
        let answer = runtime
            .block_on(async { tokio::time::timeout(*limit, client.simple_query(sql)).await });
        let messages = answer
            .map_err(|_| SqlError::TimedOut(*limit))?
            .map_err(classify)?;
        let mut rows = Vec::new();
        for message in messages {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "the library's enum is non-exhaustive"
            )]
            match message {
                SimpleQueryMessage::Row(row) => {
                    rows.push(
                        (0..row.len())
                            .map(|i| row.get(i).map(str::to_owned))
                            .collect(),
                    );
                }
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                _ => {}
            }
        }
        Ok(rows)
    }

    /// Runs `sql` for its effect.
    ///
    /// # Errors
    /// See [`SqlError`].
    pub fn execute(&mut self, sql: &str) -> Result<(), SqlError> {
        self.rows(sql).map(drop)
    }
}

fn classify(error: tokio_postgres::Error) -> SqlError {
    let Some(db) = error.as_db_error() else {
        return if error.is_closed()
            || std::error::Error::source(&error).is_some_and(|s| s.is::<io::Error>())
        {
            SqlError::Unreachable(chain(&error))
        } else {
            SqlError::Failed {
                state: "-".to_owned(),
                message: chain(&error),
            }
        };
    };
    if *db.code() == SqlState::CANNOT_CONNECT_NOW {
        return SqlError::NotReady(db.message().to_owned());
    }
    SqlError::Failed {
        state: db.code().code().to_owned(),
        message: db.message().to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Quotes a value as an SQL string literal. The only place where values enter SQL text.
///
/// The `E''` form means the same whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(value: &str) -> String {
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("a"), "E'a'");
        assert_eq!(literal("it's"), "E'it''s'");
        assert_eq!(literal(r"\'; drop"), r"E'\\''; drop'");
    }
}
