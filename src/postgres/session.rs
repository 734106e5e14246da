//! One connection to the server, every call of which ends in time.

use std::io;
use std::time::Duration;

use rustls::pki_types::InvalidDnsNameError;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Why the server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It took the connection, or the query, and said nothing.
    #[error("no answer within {:.1} s: {}", .0.as_secs_f32(), .1)]
    TimedOut(Duration, &'static str),
    /// It works on the login, and was not done in all the time that there was.
    #[error("no login is done within {:.1} s although the server works on it: the machine is overloaded", .0.as_secs_f32())]
    Slow(Duration),
    /// It lives, and does not let the agent in.
    #[error("{0}")]
    Refused(String),
    /// It is starting, recovering, or shutting down.
    #[error("the server does not take connections yet: {0}")]
    NotReady(String),
    /// Nobody listens there.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// Somebody takes the connection, and closes it before a login is done.
    #[error("it takes the connection and closes it: {0}")]
    Closed(String),
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

impl SqlError {
    /// Whether the server has answered: it lives.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Closed(_) | Self::Failed { .. } | Self::Unexpected { .. } => {
                true
            }
            Self::TimedOut(..)
            | Self::Slow(_)
            | Self::NotReady(_)
            | Self::Unreachable(_)
            | Self::Owner(_)
            | Self::Setup(_) => false,
        }
    }
}

/// A row in text form; NULL is `None`.
pub type Row = Vec<Option<String>>;

/// An open connection. Every query may take `limit` at most.
///
/// What the owner of the database, or `ALTER ROLE … SET`, may have set is set here as the agent needs it: its queries
/// find nobody else's functions and views, and no timeout but its own ends them.
pub struct Session {
    runtime: Background,
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
    pub(super) const fn new(runtime: Background, client: Client, limit: Duration) -> Self {
        Self {
            runtime,
            client,
            limit,
        }
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
            .get()
            .block_on(async { tokio::time::timeout(*limit, client.simple_query(sql)).await });
        let messages = answer
            .map_err(|_| SqlError::TimedOut(*limit, HANGS))?
            .map_err(classify)?;
        let mut rows = Vec::new();
        for message in messages {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "the library's enum is non-exhaustive"
            )]
            match message {
                SimpleQueryMessage::Row(row) => {
                    let fields = (0..row.len()).map(|i| Ok(row.try_get(i)?.map(str::to_owned)));
                    rows.push(fields.collect::<Result<Row, _>>().map_err(not_text)?);
                }
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                _ => {}
            }
        }
        Ok(rows)
    }

    /// Runs `sql` of the operator's, which finds what the operator's own session would find, and waits for locks as long as it may take. What it
    /// returns is not looked at, in whichever encoding that is. After an error the session is still set for that, and no more use to the agent.
    ///
    /// # Errors
    /// See [`SqlError`]; [`SqlError::Unexpected`] where it asks for something else than an answer, as COPY does.
    pub fn execute_as_configured(&mut self, sql: &str) -> Result<(), SqlError> {
        self.execute(AS_CONFIGURED)?;
        let Self {
            runtime,
            client,
            limit,
        } = self;
        let answer = runtime
            .get()
            .block_on(async { tokio::time::timeout(*limit, client.batch_execute(sql)).await });
        let answer = answer.map_err(|_| SqlError::TimedOut(*limit, HANGS))?;
        answer.map_err(|error| {
            // The library has no other sign of it.
            if error.as_db_error().is_none() && error.to_string() == NO_ANSWER {
                return SqlError::Unexpected {
                    query: "a statement",
                    what: "it wants to exchange data with the agent, as COPY TO STDOUT does; let it be a SELECT".to_owned(),
                };
            }
            classify(error)
        })?;
        // Whatever it has set.
        self.execute(OWN_AGAIN)?;
        self.execute(OWN_PATH)
    }

    /// Runs `sql` for its effect.
    ///
    /// # Errors
    /// See [`SqlError`].
    pub fn execute(&mut self, sql: &str) -> Result<(), SqlError> {
        self.rows(sql).map(drop)
    }
}

/// The runtime of a connection. Its end does not wait for a name server that does not answer.
pub(super) struct Background(Option<Runtime>);

impl Background {
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Ok(Self(Some(builder.enable_all().build()?)))
    }

    pub(super) fn get(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken by drop only")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the client library says of a message that is no part of an answer to a query.
const NO_ANSWER: &str = "unexpected message from server";

/// As the operator's own session would be. What is in a database without an encoding can't be converted to another one.
const AS_CONFIGURED: &str = "RESET search_path; SET lock_timeout = 0; \
    SELECT set_config('client_encoding', 'SQL_ASCII', false) WHERE current_setting('server_encoding') = 'SQL_ASCII'";

/// As the connection was opened.
const OWN_AGAIN: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL";

/// Text of an answer is in another encoding than was asked for: there is somebody between who leaves out how the session is to be set.
fn not_text(error: tokio_postgres::Error) -> SqlError {
    SqlError::Unexpected {
        query: "a query",
        what: chain(&error),
    }
}

/// What a query without an answer means.
const HANGS: &str = "the server hangs, or the machine is overloaded";

/// Where the agent's own queries look for functions and views. Not among the options of the connection, so that RESET gives
/// the operator's queries the path that is configured.
pub(super) const OWN_PATH: &str = "SET search_path = pg_catalog, pg_temp";

/// "unrecognized configuration parameter", "permission denied to set parameter".
pub(super) const NOT_TO_BE_SET: [&str; 2] = ["42704", "42501"];

/// Settings that win over those of the database, the role and the files. The server refuses a connection that
/// sets what it does not know.
pub(super) fn options(limit: Duration, version: Option<u32>, is_superuser: bool) -> String {
    // The server gives up by itself what the agent no longer waits for.
    let timeout = limit.as_millis().to_string();
    let mut all = vec![
        ("statement_timeout", timeout.as_str()),
        ("lock_timeout", "2000"),
        ("idle_in_transaction_session_timeout", "0"),
        ("client_encoding", "UTF8"),
        // The agent's queries write nothing that has to last, and the operator's monitor_sql must not wait for a standby:
        // commits that wait by design would look like a server that hangs.
        ("synchronous_commit", "local"),
        ("default_transaction_isolation", "read\\ committed"),
        ("default_transaction_read_only", "off"),
        ("default_transaction_deferrable", "off"),
        ("row_security", "on"),
        ("role", "none"),
        ("local_preload_libraries", ""),
    ];
    if version >= Some(14) {
        all.push(("idle_session_timeout", "0"));
    }
    if version >= Some(17) {
        all.push(("transaction_timeout", "0"));
    }
    if is_superuser {
        // What fails there would lock the agent out.
        all.push(("session_preload_libraries", ""));
    }
    if version >= Some(17) && is_superuser {
        // A trigger on login that fails would lock the agent out.
        all.push(("event_triggers", "off"));
    }
    let words = all.iter().map(|(name, value)| format!("-c {name}={value}"));
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn classify(error: tokio_postgres::Error) -> SqlError {
    let Some(db) = error.as_db_error() else {
        return unworded(&error);
    };
    if *db.code() == SqlState::CANNOT_CONNECT_NOW {
        return SqlError::NotReady(db.message().to_owned());
    }
    SqlError::Failed {
        state: db.code().code().to_owned(),
        message: db.message().to_owned(),
    }
}

/// As [`classify`], before a login is done: one that is closed then has been taken on by somebody.
pub(super) fn of_login(error: tokio_postgres::Error) -> SqlError {
    let kind = cause(&error).map(io::Error::kind);
    let is_cut = kind.is_some_and(|kind| CUT.contains(&kind)) && !is_of_tls(&error);
    if error.is_closed() || is_cut {
        SqlError::Closed(chain(&error))
    } else {
        classify(error)
    }
}

/// How a connection ends that has been one.
const CUT: [io::ErrorKind; 4] = [
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::BrokenPipe,
];

/// What it means that no error of the server's own came.
fn unworded(error: &tokio_postgres::Error) -> SqlError {
    let text = chain(error);
    let is_answer =
        cause(error).is_some_and(|io: &io::Error| io.kind() == io::ErrorKind::InvalidData);
    if is_answer || is_of_tls(error) {
        // Somebody is there who speaks. TLS is begun only with one who has said that he has it.
        SqlError::Refused(text)
    } else if error.is_closed() || cause::<io::Error>(error).is_some() {
        SqlError::Unreachable(text)
    } else {
        SqlError::Failed {
            state: "-".to_owned(),
            message: text,
        }
    }
}

/// The two could not agree on TLS, or one does not take what the other shows.
fn is_of_tls(error: &tokio_postgres::Error) -> bool {
    cause::<rustls::Error>(error).is_some() || cause::<InvalidDnsNameError>(error).is_some()
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The cause of this kind, also inside of an I/O error, which does not count what it holds among its causes.
pub(crate) fn cause<E: std::error::Error + 'static>(error: &tokio_postgres::Error) -> Option<&E> {
    causes(error).find_map(|cause| {
        let held = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause.downcast_ref().or_else(|| held?.downcast_ref())
    })
}

/// An error with all its causes.
pub(crate) fn chain(error: &tokio_postgres::Error) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
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
