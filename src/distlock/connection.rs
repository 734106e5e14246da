//! One connection to the lock service, every call of which ends by its deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::runtime::Runtime;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};

use super::error::LockError;
use super::guard::Guard;
use super::tls;
use crate::conninfo::{Conninfo, Host};
use crate::params::Secret;
use crate::postgres::passfile::{self, Login, PassfileError};
use crate::sys::{Deadline, account};

/// Time for the answer that says that the service itself gave up.
const ANSWER: Duration = Duration::from_millis(300);

/// The lock service's password on a node, where `setup` keeps it: a file of root's, because nobody else needs it.
pub const LOCK_PASSFILE: &str = "/etc/expgsql/lock.pgpass";

/// For the account that runs this, whose home may have a password file.
const ACCOUNT: Duration = Duration::from_secs(2);

/// A value of a statement, with the type the service is told.
pub(super) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// Where passwords and authorities are looked for when the connection string does not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// Further password files, in this order; they must exist.
    pub(super) passfiles: Vec<PathBuf>,
    /// `.pgpass` and `.postgresql` are looked for in here.
    pub(super) home: Option<PathBuf>,
}

impl Surroundings {
    /// This process's, with root's and the resource's password file in front.
    pub(super) fn of_process(passfile: Option<&Path>) -> Self {
        let by_env = std::env::var_os("PGPASSFILE").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(PathBuf::from);
        // Pacemaker starts agents without HOME.
        let home = home.or_else(|| {
            let user = account(geteuid(), Deadline::after(ACCOUNT));
            user.map(|user| user.dir)
        });
        Self {
            passfiles: own_passfile()
                .into_iter()
                .chain(passfile.map(Path::to_owned))
                .chain(by_env)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            home,
        }
    }
}

/// Nobody but root can read it, and it need not be there.
fn own_passfile() -> Option<PathBuf> {
    let path = PathBuf::from(LOCK_PASSFILE);
    (geteuid().is_root() && path.symlink_metadata().is_ok()).then_some(path)
}

/// An open connection.
pub(super) struct Connection {
    /// `None` only while dropped.
    runtime: Option<Runtime>,
    client: Client,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    /// Connects to the first of the hosts that will do. Each gets its share of the time.
    pub(super) fn open(
        conninfo: &Conninfo,
        around: &Surroundings,
        deadline: Deadline,
    ) -> Result<Self, LockError> {
        let tls = tls::connector(conninfo, around.home.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| LockError::Failed(format!("no connection can be set up: {error}")))?;
        let mut failed: Option<LockError> = None;
        for (place, host) in conninfo.hosts.iter().enumerate() {
            let left = u32::try_from(conninfo.hosts.len() - place).unwrap_or(1);
            let share = deadline.remaining() / left;
            let limit = conninfo.connect_timeout.map_or(share, |own| own.min(share));
            let config = config(conninfo, host, around, limit)?;
            match runtime.block_on(connect(&config, tls.clone(), limit)) {
                Ok(client) => {
                    return Ok(Self {
                        runtime: Some(runtime),
                        client,
                    });
                }
                Err(error) => {
                    // A host that is down says less than one that refuses.
                    if failed.as_ref().is_none_or(LockError::is_unreachable) {
                        failed = Some(error);
                    }
                }
            }
        }
        // A name server that does not answer would hold up the end of the runtime.
        runtime.shutdown_background();
        Err(failed.unwrap_or_else(|| LockError::BadConninfo("no host is named".to_owned())))
    }

    /// Runs one statement in a transaction of its own. The service gives up by itself a little before `deadline`: it
    /// must not do later what the caller has given up.
    pub(super) fn rows(
        &self,
        sql: &str,
        values: &[Value<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Row>, LockError> {
        let remaining = deadline.remaining();
        let limits = limits(remaining);
        self.bounded(remaining, async {
            // Sent together: one round trip.
            let (limited, rows) = tokio::join!(
                self.client.batch_execute(&limits),
                self.client.query_typed(sql, values)
            );
            limited.and(rows)
        })
    }

    /// Runs several statements, for their effect, in one transaction.
    pub(super) fn run(&self, sql: &str, deadline: Deadline) -> Result<(), LockError> {
        let remaining = deadline.remaining();
        let all = format!("{}; begin; {sql}; commit", limits(remaining));
        self.bounded(remaining, self.client.batch_execute(&all))
    }

    fn bounded<T>(
        &self,
        remaining: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, LockError> {
        let Some(runtime) = &self.runtime else {
            return Err(LockError::Unreachable(
                "the connection is closed".to_owned(),
            ));
        };
        match runtime.block_on(async { tokio::time::timeout(remaining, work).await }) {
            Ok(done) => done.map_err(|error| LockError::of(&error)),
            Err(_) => Err(silent("it took the query and gave no answer", remaining)),
        }
    }
}

fn silent(what: &str, limit: Duration) -> LockError {
    LockError::Unreachable(format!("{what} within {:.1} s", limit.as_secs_f32()))
}

fn limits(remaining: Duration) -> String {
    let whole = remaining
        .saturating_sub(ANSWER)
        .max(Duration::from_millis(50));
    format!(
        "set statement_timeout = {}; set lock_timeout = {}; set timezone = 'UTC'; set datestyle = 'ISO'; {OWN_FUNCTIONS_FIRST}",
        whole.as_millis(),
        whole.as_millis() / 2 + 1,
    )
}

/// The built-in functions come first where the path does not name their schema, and a table is made in the first that it
/// names; so that one is taken out of the path that is configured. Repeated, it changes nothing.
const OWN_FUNCTIONS_FIRST: &str = "select pg_catalog.set_config('search_path', \
    coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ' order by place), ''), false) \
    from pg_catalog.unnest(pg_catalog.array_remove(pg_catalog.current_schemas(false), 'pg_catalog')) \
    with ordinality as path(name, place)";

async fn connect(config: &Config, tls: Guard, limit: Duration) -> Result<Client, LockError> {
    match tokio::time::timeout(limit, config.connect(tls)).await {
        Ok(Ok((client, connection))) => {
            tokio::spawn(connection);
            Ok(client)
        }
        Ok(Err(error)) => Err(LockError::of(&error)),
        Err(_) => Err(silent("no connection", limit)),
    }
}

fn config(
    conninfo: &Conninfo,
    host: &Host,
    around: &Surroundings,
    limit: Duration,
) -> Result<Config, LockError> {
    let mut config = Config::new();
    // What is connected to by TCP has no socket's name, whatever its passwords are looked up by.
    let name = match host.address {
        Some(address) if host.name.starts_with('/') => address.to_string(),
        Some(_) | None => host.name.clone(),
    };
    config
        .host(&name)
        .port(host.port)
        .user(&conninfo.user)
        .dbname(&conninfo.dbname)
        .application_name(conninfo.application_name.as_deref().unwrap_or("expgsql"))
        .connect_timeout(limit)
        .tcp_user_timeout(limit)
        // The kernel refuses less than a second.
        .keepalives_idle(limit.max(Duration::from_secs(1)))
        .keepalives_interval(Duration::from_secs(1))
        .keepalives_retries(3)
        .channel_binding(conninfo.channel_binding)
        .target_session_attrs(conninfo.target_session_attrs);
    if host.is_socket() {
        // There is no TLS on a socket, and libpq does not insist on it there.
        config.ssl_mode(SslMode::Disable);
        if conninfo.require_auth.is_some() {
            return Err(LockError::BadConninfo(
                "require_auth can't be seen to on a socket of this machine; take it out".to_owned(),
            ));
        }
    } else {
        // All the rest is the guard's.
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
    }
    if let Some(address) = host.address {
        config.hostaddr(address);
    }
    if let Some(options) = &conninfo.options {
        config.options(options);
    }
    if let Some(password) = password(conninfo, host, around)? {
        config.password(password.reveal());
    }
    Ok(config)
}

/// From the connection string, or from the first password file that has a line for this login.
fn password(
    conninfo: &Conninfo,
    host: &Host,
    around: &Surroundings,
) -> Result<Option<Secret>, LockError> {
    if conninfo.password.is_some() {
        return Ok(conninfo.password.clone());
    }
    let login = Login {
        host: &host.name,
        port: host.port,
        database: &conninfo.dbname,
        user: &conninfo.user,
    };
    let refused = |error: PassfileError| LockError::Passfile(error.to_string());
    for path in conninfo.passfile.iter().chain(&around.passfiles) {
        let found = passfile::password(path, &login).map_err(refused)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let Some(home) = &around.home else {
        return Ok(None);
    };
    match passfile::password(&home.join(".pgpass"), &login) {
        Ok(found) => Ok(found),
        // Nobody said that there is one.
        Err(PassfileError::Unreadable { .. } | PassfileError::NoFile(_)) => Ok(None),
        Err(error @ PassfileError::Open { .. }) => Err(refused(error)),
    }
}
