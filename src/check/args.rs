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

    /// A standby does not serve while more WAL than this waits to be replayed: 16777216, 16MB, 1GB; 0: no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_lag: Option<Bytes>,

    /// A standby does not serve while what it shows is older than this; 0: no limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_lag_time: Option<Duration>,

    /// Answer as HAProxy's agent-check reads it: up, drain, down
    #[arg(long, conflicts_with = "http")]
    pub haproxy: bool,

    /// Read one HTTP request from standard input and answer it: 200 or 503, for a systemd socket unit with Accept=yes
    #[arg(long)]
    pub http: bool,

    /// The server's host, or the directory of its socket
    #[arg(
        long,
        env = "PGHOST",
        default_value = HOST,
        value_parser = |text: &str| or(text, HOST),
        hide_env_values = true
    )]
    pub host: String,

    /// The server's port
    #[arg(long, env = "PGPORT", default_value = "5432", value_parser = port, hide_env_values = true)]
    pub port: u16,

    /// As whom to log in; without it as the account that runs this
    #[arg(long, env = "PGUSER", hide_env_values = true)]
    pub user: Option<String>,

    /// The database to log in to; nothing in it is used
    #[arg(
        long,
        env = "PGDATABASE",
        default_value = DATABASE,
        value_parser = |text: &str| or(text, DATABASE),
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

const HOST: &str = "/var/run/postgresql";
const DATABASE: &str = "postgres";

/// A variable that is set to nothing is not set, for libpq.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the form that a parser of values has"
)]
fn or(text: &str, default: &str) -> Result<String, String> {
    Ok(if text.is_empty() { default } else { text }.to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    match or(text, "5432")?.parse() {
        Ok(0) | Err(_) => Err("a port number from 1 to 65535 is expected".to_owned()),
        Ok(port) => Ok(port),
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: CheckArgs,
    }

    fn parse(words: &[&str]) -> Result<CheckArgs, String> {
        let line = Line::try_parse_from([&["check"], words].concat());
        line.map(|line| line.args)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let empty = ["--host", "", "--port", "", "--dbname", "", "--max-lag", "0"];
        let args = parse(&empty).unwrap();
        assert_eq!((args.host.as_str(), args.port), (HOST, 5432));
        assert_eq!(args.dbname, DATABASE);
        assert_eq!(args.limits(), Limits::default());
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_reason() {
        for (words, part) in [
            (
                &["--role", "master"][..],
                "possible values: primary, standby, any",
            ),
            (&["--max-lag", "much"], "a byte count such as"),
            (&["--max-lag", "-1"], ""),
            (&["--max-lag-time", "1m"], "seconds is expected"),
            (&["--timeout", "0"], "1 to 60 seconds"),
            (&["--timeout", "600"], "1 to 60 seconds"),
            (&["--port", "0"], "a port number"),
            (&["--http", "--haproxy"], "cannot be used with"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
