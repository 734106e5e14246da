//! The command line of `expgsql check`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::decide::serve::{Limits, Wanted};
use crate::params;

/// What a load balancer asks this node for, and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// What the server is wanted for; in an HTTP request the path says it: /primary, /standby, /any
    #[arg(long, value_enum, default_value_t = Wanted::Any)]
    pub role: Wanted,

    /// A standby that has not replayed more than so much WAL does not serve: 16777216, 16MB, 1GB; 0: no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_lag: Option<Bytes>,

    /// A standby that shows what is older than this does not serve; 0: no limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_lag_time: Option<Duration>,

    /// Answer as HAProxy's agent-check reads it: up, drain, down, fail
    #[arg(long, conflicts_with = "http")]
    pub haproxy: bool,

    /// Read one HTTP request from standard input and answer it: 200 or 503, for a systemd socket unit with Accept=yes
    #[arg(long)]
    pub http: bool,

    /// The server's host, or the directory of its socket
    #[arg(
        long,
        env = "PGHOST",
        default_value = "/var/run/postgresql",
        hide_env_values = true
    )]
    pub host: String,

    /// The server's port
    #[arg(long, env = "PGPORT", default_value_t = 5432, hide_env_values = true)]
    pub port: u16,

    /// As whom to log in; without it as the account that runs this
    #[arg(long, env = "PGUSER", hide_env_values = true)]
    pub user: Option<String>,

    /// The database to log in to; nothing in it is used
    #[arg(
        long,
        env = "PGDATABASE",
        default_value = "postgres",
        hide_env_values = true
    )]
    pub dbname: String,

    /// A password file; without it ~/.pgpass
    #[arg(long, value_name = "FILE", env = "PGPASSFILE", hide_env_values = true)]
    pub passfile: Option<PathBuf>,

    /// How long the server may take to answer, and the client of --http to ask
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = some_seconds)]
    pub timeout: Duration,
}

impl CheckArgs {
    /// The limits on the command line.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            bytes: self.max_lag.and_then(|Bytes(limit)| limit),
            time: self.max_lag_time.filter(|limit| !limit.is_zero()),
        }
    }
}

/// A number of bytes; `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub Option<u64>);

/// As the parameter maxlag.
pub(super) fn bytes(text: &str) -> Result<Bytes, String> {
    let parsed = params::bytes(text).map_err(|expected| format!("{expected} is expected"))?;
    Ok(Bytes(parsed.map(u64::from)))
}

/// Whole seconds, 0 included.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: u32 = text
        .parse()
        .map_err(|_| "a whole number of seconds is expected".to_owned())?;
    Ok(Duration::from_secs(number.into()))
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|limit| {
        if limit.is_zero() || limit > LONGEST {
            Err(format!("1 to {} seconds are expected", LONGEST.as_secs()))
        } else {
            Ok(limit)
        }
    })
}

/// A load balancer asks again long before.
const LONGEST: Duration = Duration::from_secs(60);
