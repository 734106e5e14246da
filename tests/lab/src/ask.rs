//! Questions to a host's server from outside: over its own socket, without a process on the host. A look at a cluster is half
//! a dozen of them, and one by psql costs three processes.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::error::{Error, Result};
use crate::host::Node;
use crate::servers::SOCKETS;

/// Time for a connection, and for everything: as psql has it here.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);

/// What the server said.
pub(crate) enum Answer {
    /// The bare values, as psql's `-At` writes them: `|` between columns, a line a row.
    Values(String),
    /// It lets its owner in by this way only as the owner's own process.
    NotThisWay,
}

/// Asks the server of a host as its superuser.
///
/// # Errors
/// [`Error::PoweredOff`]; [`Error::Failed`] with the server's message; [`Error::Overran`].
pub(crate) fn ask(node: &Node, question: &str) -> Result<Answer> {
    let sockets = node.inside(SOCKETS)?;
    let command = || format!("{question} (on {})", node.name());
    let failed = |said: String| Error::Failed {
        command: command(),
        status: "an error".into(),
        output: said,
    };
    let mut config = Config::new();
    config
        .host_path(sockets)
        .user("postgres")
        .dbname("postgres")
        .application_name("psql")
        .connect_timeout(CONNECT);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a question"))?;
    let talk = async {
        let Ok(connected) = tokio::time::timeout(CONNECT, config.connect(NoTls)).await else {
            return Ok(None);
        };
        let (client, connection) = connected?;
        let driver = tokio::spawn(connection);
        let rows = client.simple_query(question).await;
        drop(client);
        // It ends with the client: until the server has the end of it, too.
        let _ = driver.await;
        rows.map(Some)
    };
    let asked = runtime.block_on(async { tokio::time::timeout(ANSWER, talk).await });
    match asked {
        Ok(Ok(Some(messages))) => Ok(Answer::Values(values(&messages))),
        Ok(Err(error)) if is_of_login(&error) => Ok(Answer::NotThisWay),
        Ok(Err(error)) => Err(failed(told(&error))),
        Ok(Ok(None)) => Err(failed("no connection: it hangs, or does not run".into())),
        Err(_) => Err(Error::Overran {
            command: command(),
            limit: ANSWER,
            output: String::new(),
        }),
    }
}

fn is_of_login(error: &tokio_postgres::Error) -> bool {
    let kinds = [
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_PASSWORD,
    ];
    error.code().is_some_and(|code| kinds.contains(code))
}

fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}:  {}", said.severity(), said.message()),
        None => error.to_string(),
    }
}

fn values(messages: &[SimpleQueryMessage]) -> String {
    let line = |message: &SimpleQueryMessage| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default());
        Some(columns.collect::<Vec<_>>().join("|"))
    };
    let lines: Vec<String> = messages.iter().filter_map(line).collect();
    lines.join("\n").trim_end().to_owned()
}
