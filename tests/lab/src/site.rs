//! What kind of site a cluster is part of. The plain one is as clean as no site is; each other has what many have, so that a
//! scenario shows whether it holds there as well.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::login::Login;
use crate::network::NET;
use crate::postgres::{ConfigStyle, REPLICATION_USER};
use crate::spec::{Agent, Spec};
use crate::suite;

/// Names the site of every cluster whose scenario does not say which: one of [`Site::ALL`], or `drawn`.
pub const SITE_VARIABLE: &str = "EXPGSQL_SITE";
/// The seed that sites are drawn by: each scenario gets the one that follows from it and from the scenario's name.
pub const SEED_VARIABLE: &str = "EXPGSQL_SITE_SEED";
/// The value of [`SITE_VARIABLE`] that has a site drawn.
const DRAWN: &str = "drawn";

/// The lab's own watch of the servers logs in as this user, where the owner's way in is the owner's alone.
const WATCH_USER: &str = "watch";
/// The application of a site that gives it a role of its own.
pub(crate) const APPLICATION_USER: &str = "app";
/// The agent's user for looking, where it has one.
const MONITOR_USER: &str = "monitor";

/// The application's password.
const APPLICATION_SECRET: &str = "app-9f2b7c51";
/// That of the agent's user for looking.
const MONITOR_SECRET: &str = "monitor-4e81d0aa";
/// That of the replication user.
const REPLICATION_SECRET: &str = "repl-c35f6e27";
/// The passwords: none may turn up in a log, a command line or the cluster's configuration.
pub const SECRETS: [&str; 3] = [APPLICATION_SECRET, MONITOR_SECRET, REPLICATION_SECRET];

/// A slot of somebody else's that keeps WAL.
pub const FOREIGN_SLOT: &str = "archive_of_others";
/// A logical one.
pub const LOGICAL_SLOT: &str = "change_feed";
/// The archive on each node.
const ARCHIVE: &str = "/var/lib/postgresql/archive";
/// A locale's directory.
const LOCALE: &str = "de_DE.utf8";
/// Its language, as `localedef` knows it.
pub(crate) const LANGUAGE: &str = "de_DE";

/// The file that a standby, and the agent, take their passwords from.
const PASSFILE: &str = "/var/lib/pgsql/expgsql.pgpass";

/// A kind of site.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Site {
    /// Nothing is in anybody's way: trust, a superuser for replication, a plain data directory.
    #[default]
    Plain,
    /// The owner by peer and nobody else, passwords (SCRAM) and TLS for all others, roles that have what the documentation says and no more.
    Hardened,
    /// As Debian's packages lay a server out, with the logging collector, an archive and a `restore_command`.
    Debian,
    /// Ten years old: standbys that never cancel a query, extensions, settings of old applications, slots of others, hardly a connection left.
    Grown,
    /// Nobody here speaks English: German messages, a database without an encoding, names with other bytes, long names of nodes.
    CLocale,
}

impl Site {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Plain,
        Self::Hardened,
        Self::Debian,
        Self::Grown,
        Self::CLocale,
    ];

    /// Its name, in the environment and in what is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hardened => "hardened",
            Self::Debian => "debian",
            Self::Grown => "grown",
            Self::CLocale => "c-locale",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|site| site.name() == name);
        named.ok_or_else(|| {
            Error::Other(format!(
                "{SITE_VARIABLE}={name:?}: a site is one of {}, or {DRAWN}",
                Self::ALL.map(Self::name).join(", ")
            ))
        })
    }

    /// The name of a cluster node, by its number from 1 on.
    pub(crate) fn node_name(self, number: u8) -> String {
        match self {
            // 58 characters: what is made of it has 63.
            Self::CLocale => {
                format!("DB-Knoten-{number}.Rechenzentrum-Nord.Niederlassung-Koeln.example")
            }
            Self::Plain | Self::Hardened | Self::Debian | Self::Grown => format!("node{number}"),
        }
    }

    /// The layout that its servers have, where it has one.
    pub(crate) fn style(self) -> Option<ConfigStyle> {
        (self == Self::Debian).then_some(ConfigStyle::Packaged)
    }

    /// initdb's encoding and locale.
    pub(crate) fn encoding_and_locale(self) -> (&'static str, &'static str) {
        match self {
            Self::CLocale => ("SQL_ASCII", "C"),
            Self::Plain | Self::Hardened | Self::Debian | Self::Grown => ("UTF8", "C.UTF-8"),
        }
    }

    /// A locale that its machines have beside their own, by its directory: the language, UTF-8.
    pub(crate) fn locale(self) -> Option<&'static str> {
        (self == Self::CLocale).then_some(LOCALE)
    }

    /// Directories of PostgreSQL's owner on each node.
    pub(crate) fn directories(self) -> &'static [&'static str] {
        match self {
            Self::Debian => &[ARCHIVE],
            Self::Plain | Self::Hardened | Self::Grown | Self::CLocale => &[],
        }
    }

    /// How many sessions of others each server has, whatever it is at the moment.
    pub(crate) fn sessions(self) -> usize {
        match self {
            // Of 30, 3 of which are for superusers: what is left is what the lab itself needs, and little more.
            Self::Grown => 20,
            Self::Plain | Self::Hardened | Self::Debian | Self::CLocale => 0,
        }
    }

    /// What its clusters are copied from is made apart from that of others.
    pub(crate) fn template_tag(self) -> &'static str {
        match self {
            Self::Plain | Self::Debian => "",
            Self::Hardened => "-hardened",
            Self::Grown => "-grown",
            Self::CLocale => "-c-locale",
        }
    }

    /// What the databases begin with, for single-user mode: a database, and a statement a line. Not all of it is UTF-8.
    pub(crate) fn beginning(self) -> [(&'static str, Vec<u8>); 2] {
        let lines = |statements: Vec<String>| (statements.join("\n") + "\n").into_bytes();
        let mut bytes = lines(self.statements());
        if self == Self::CLocale {
            bytes.extend_from_slice(b"create role \"M\xfcller\" login\n");
            bytes.extend_from_slice(b"create database \"K\xf6ln\" owner \"M\xfcller\"\n");
        }
        [
            ("postgres", bytes),
            (
                "template1",
                lines(self.statements_of_the_agent_s_database()),
            ),
        ]
    }

    /// As docs/repair.md has them: what pg_rewind needs, in the database that the agent's `pgdb` names.
    fn statements_of_the_agent_s_database(self) -> Vec<String> {
        let functions = [
            "pg_ls_dir(text, boolean, boolean)",
            "pg_stat_file(text, boolean)",
            "pg_read_binary_file(text)",
            "pg_read_binary_file(text, bigint, bigint, boolean)",
        ];
        let granted =
            functions.map(|name| format!("grant execute on function {name} to {REPLICATION_USER}"));
        if self == Self::Hardened {
            granted.to_vec()
        } else {
            Vec::new()
        }
    }

    fn statements(self) -> Vec<String> {
        let superuser = format!("create role {REPLICATION_USER} with login superuser replication");
        match self {
            Self::Plain | Self::Debian | Self::CLocale => vec![superuser],
            Self::Grown => vec![
                superuser,
                format!("create role {APPLICATION_USER} login"),
                format!("grant create on schema public to {APPLICATION_USER}"),
                format!("select pg_create_physical_replication_slot('{FOREIGN_SLOT}', true)"),
                format!(
                    "select pg_create_logical_replication_slot('{LOGICAL_SLOT}', 'test_decoding')"
                ),
            ],
            Self::Hardened => [
                // As docs/getting-started.md has it.
                format!(
                    "create role {REPLICATION_USER} login replication password '{REPLICATION_SECRET}'"
                ),
                format!("create role {MONITOR_USER} login password '{MONITOR_SECRET}'"),
                format!("grant pg_monitor to {MONITOR_USER}"),
                format!("create role {APPLICATION_USER} login password '{APPLICATION_SECRET}'"),
                format!("grant create on schema public to {APPLICATION_USER}"),
                // The client that keeps score asks for the host's name, and the watches for the streams.
                format!("grant pg_monitor, pg_read_server_files to {APPLICATION_USER}"),
                format!("grant execute on function pg_read_file(text) to {APPLICATION_USER}"),
                format!("create role {WATCH_USER} login"),
            ]
            .to_vec(),
        }
    }

    /// pg_hba.conf of a cluster node.
    pub(crate) fn access(self) -> String {
        match self {
            // Trust, but only for addresses that exist in no other place than the lab's namespaces.
            Self::Plain | Self::Debian | Self::Grown | Self::CLocale => format!(
                "local all all trust
local replication all trust
host all all 127.0.0.1/32 trust
host all all {NET}.0/24 trust
host replication all {NET}.0/24 trust
"
            ),
            Self::Hardened => format!(
                "local postgres {WATCH_USER} trust
local all postgres peer
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
hostssl all all {NET}.0/24 scram-sha-256
hostssl replication {REPLICATION_USER} {NET}.0/24 scram-sha-256
"
            ),
        }
    }

    /// What it has in postgresql.conf beside, or in place of, the lab's own.
    pub(crate) fn settings(self) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Plain => &[],
            Self::Debian => &[
                "logging_collector = on",
                "log_directory = '/var/log/postgresql'",
                // The lab reads it.
                "log_filename = 'lab.log'",
                "archive_mode = on",
                // As PostgreSQL's documentation has them.
                "archive_command = 'test ! -f /var/lib/postgresql/archive/%f && cp %p /var/lib/postgresql/archive/%f'",
                "restore_command = 'cp /var/lib/postgresql/archive/%f %p'",
            ],
            Self::Grown => &[
                "max_standby_streaming_delay = -1",
                "max_standby_archive_delay = -1",
                "max_connections = 30",
                "max_wal_senders = 20",
                "max_replication_slots = 30",
                "max_slot_wal_keep_size = 1GB",
                "max_prepared_transactions = 10",
                "max_locks_per_transaction = 128",
                "wal_level = logical",
                "shared_preload_libraries = 'pg_stat_statements,auto_explain'",
                "pg_stat_statements.max = 5000",
                "auto_explain.log_min_duration = '10s'",
                "track_activity_query_size = 4096",
                "statement_timeout = 30s",
                "lock_timeout = 5s",
                "default_transaction_isolation = 'repeatable read'",
                "search_path = 'app, public'",
                "datestyle = 'german'",
                "intervalstyle = 'sql_standard'",
                "timezone = 'Asia/Kolkata'",
                "bytea_output = 'escape'",
                "standard_conforming_strings = off",
                "extra_float_digits = 0",
            ],
            Self::CLocale => &["lc_messages = 'de_DE.UTF-8'"],
            Self::Hardened => &[
                "ssl = on",
                "ssl_min_protocol_version = 'TLSv1.3'",
                "password_encryption = scram-sha-256",
            ],
        };
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    /// The agent's parameters beside, or in place of, the lab's own.
    pub(crate) fn parameters(self) -> Vec<(String, String)> {
        let parameters: &[(&str, &str)] = match self {
            Self::Plain | Self::Debian | Self::Grown | Self::CLocale => &[],
            Self::Hardened => &[("monitor_user", MONITOR_USER), ("passfile", PASSFILE)],
        };
        let owned = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    /// Those of the lab's own that it does not have.
    pub(crate) fn parameters_left_out(self) -> &'static [&'static str] {
        match self {
            // The logging collector's file is the log.
            Self::Debian => &["logfile"],
            // All nodes of the cluster hold a copy.
            Self::Grown => &["node_list"],
            Self::Plain | Self::Hardened | Self::CLocale => &[],
        }
    }

    /// How the application gets in.
    pub(crate) fn login(self) -> Login {
        match self {
            Self::Plain | Self::Debian | Self::Grown | Self::CLocale => Login {
                user: "postgres",
                password: None,
                is_encrypted: false,
                port: 5432,
            },
            Self::Hardened => Login {
                user: APPLICATION_USER,
                password: Some(APPLICATION_SECRET),
                is_encrypted: true,
                port: 5432,
            },
        }
    }

    /// Who asks the servers over their own sockets, from outside the hosts.
    pub(crate) fn watch_user(self) -> &'static str {
        match self {
            Self::Plain | Self::Debian | Self::Grown | Self::CLocale => "postgres",
            Self::Hardened => WATCH_USER,
        }
    }

    /// Whether its servers have a certificate.
    pub(crate) fn has_certificate(self) -> bool {
        self == Self::Hardened
    }

    /// A file of PostgreSQL's owner on each node, which nobody else may read: path and text.
    pub(crate) fn passfile(self) -> Option<(PathBuf, String)> {
        let text = format!(
            "*:5432:*:{REPLICATION_USER}:{REPLICATION_SECRET}
*:5432:*:{MONITOR_USER}:{MONITOR_SECRET}
"
        );
        (self == Self::Hardened).then(|| (PASSFILE.into(), text))
    }

    /// What of it a scenario sets itself, so that it can't be had there; `None`: nothing.
    fn contradicted_by(self, spec: &Spec) -> Option<String> {
        if self == Self::Plain {
            return None;
        }
        if !matches!(spec.agent, Agent::Expgsql { .. }) {
            return Some("another agent".to_owned());
        }
        let key = |line: &str| {
            let name = line.split('=').next().unwrap_or_default();
            name.trim().to_owned()
        };
        let settings: Vec<String> = self.settings().iter().map(|line| key(line)).collect();
        let its_own = spec.settings.iter().map(|line| key(line));
        if let Some(name) = its_own.into_iter().find(|name| settings.contains(name)) {
            return Some(name);
        }
        // Each node's archive is its own here, and one server is ahead of the others before the cluster begins: with archive_mode a
        // server that stops ends its segment, which it then removes.
        let keeps_none = |line: &String| line.replace(' ', "") == "wal_keep_size=0";
        if self == Self::Debian && spec.settings.iter().any(keeps_none) {
            return Some("wal_keep_size=0".to_owned());
        }
        if self.style().is_some() && spec.style != ConfigStyle::DataDirectory {
            return Some("another layout".to_owned());
        }
        let parameters = self.parameters();
        let its = parameters.iter().map(|(name, _)| name.as_str());
        let its: Vec<&str> = its
            .chain(self.parameters_left_out().iter().copied())
            .collect();
        let mut set = spec.params.iter().map(|(name, _)| name);
        set.find(|name| its.contains(&name.as_str())).cloned()
    }
}

/// The site of a cluster that is about to be made, and why this one, in words.
///
/// # Errors
/// [`Error::Other`] for a name or a seed that is none, and where the scenario names a site and sets what belongs to it.
pub(crate) fn choose(named: Option<Site>, spec: &Spec) -> Result<(Site, String)> {
    if let Some(site) = named {
        return match site.contradicted_by(spec) {
            Some(what) => Err(Error::Other(format!(
                "the site {} can't be had with {what}, which is set as well",
                site.name()
            ))),
            None => Ok((site, "named".to_owned())),
        };
    }
    let (site, why) = asked_for()?;
    Ok(match site.contradicted_by(spec) {
        Some(what) => (
            Site::Plain,
            format!("not {}, for {what} is set here", site.name()),
        ),
        None => (site, why),
    })
}

/// What the environment says.
fn asked_for() -> Result<(Site, String)> {
    match std::env::var(SITE_VARIABLE) {
        Ok(name) if name == DRAWN => {
            let seed = seed()?;
            let scenario = suite::current().unwrap_or_default();
            Ok((
                drawn(seed, scenario),
                format!("drawn with {SEED_VARIABLE}={seed}"),
            ))
        }
        Ok(name) if !name.is_empty() => Ok((Site::named(&name)?, format!("by {SITE_VARIABLE}"))),
        Ok(_) | Err(_) => Ok((Site::Plain, "unless told otherwise".to_owned())),
    }
}

/// Whether sites are drawn in this run, and by which seed: to be handed on to the processes of scenarios, so that all of
/// them have the same one.
///
/// # Errors
/// As [`seed`].
pub(crate) fn seed_of_run() -> Result<Option<u64>> {
    let is_drawn = std::env::var(SITE_VARIABLE).is_ok_and(|name| name == DRAWN);
    is_drawn.then(seed).transpose()
}

/// The seed that is given, or one that is made up once.
fn seed() -> Result<u64> {
    static MADE_UP: OnceLock<u64> = OnceLock::new();
    match std::env::var(SEED_VARIABLE) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .map_err(|_| Error::Other(format!("{SEED_VARIABLE}={text:?} is no number"))),
        // The hasher's own keys are random.
        Ok(_) | Err(_) => Ok(
            *MADE_UP.get_or_init(|| RandomState::new().hash_one(std::process::id()) % 1_000_000)
        ),
    }
}

/// The site that a scenario gets by a seed: the same on every machine and with every compiler.
fn drawn(seed: u64, scenario: &str) -> Site {
    // FNV-1a, and a last mixing: the low bits of similar names are too similar without it.
    let bytes = seed.to_le_bytes().into_iter().chain(scenario.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 33;
    let count = Site::ALL.len();
    let index = usize::try_from(mixed).unwrap_or_default() % count;
    Site::ALL[index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_site_is_named_or_refused_in_a_sentence() {
        for site in Site::ALL {
            assert_eq!(Site::named(site.name()).unwrap(), site);
        }
        let error = Site::named("bunker").unwrap_err().to_string();
        assert!(
            error.starts_with(r#"EXPGSQL_SITE="bunker": a site is one of plain, hardened"#),
            "{error}"
        );
    }

    #[test]
    fn a_draw_can_be_repeated_and_leaves_no_site_out() {
        for seed in 0..20 {
            let mut drawn_so_often: BTreeMap<&str, usize> = BTreeMap::new();
            for number in 0..60 {
                let scenario = format!("module::a_scenario_with_number_{number}");
                let site = drawn(seed, &scenario);
                assert_eq!(site, drawn(seed, &scenario));
                *drawn_so_often.entry(site.name()).or_default() += 1;
            }
            assert_eq!(drawn_so_often.len(), Site::ALL.len(), "{drawn_so_often:?}");
        }
        let of_seed = |seed| drawn(seed, "server::a_sync_cluster");
        assert!((1..20).any(|seed| of_seed(seed) != of_seed(0)));
    }

    #[test]
    fn what_a_scenario_sets_itself_is_not_taken_from_it() {
        let binary = "expgsql".into();
        let mut spec = Spec {
            agent: Agent::Expgsql { binary },
            ..Spec::default()
        };
        assert_eq!(Site::Hardened.contradicted_by(&spec), None);
        spec.settings.push("ssl=off".into());
        assert_eq!(Site::Hardened.contradicted_by(&spec), Some("ssl".into()));
        assert_eq!(Site::Plain.contradicted_by(&spec), None);
        spec.settings.clear();
        spec.params.push(("passfile".into(), "/elsewhere".into()));
        assert_eq!(
            Site::Hardened.contradicted_by(&spec),
            Some("passfile".into())
        );
        assert!(choose(Some(Site::Hardened), &spec).is_err());
        spec.params.clear();
        spec.agent = Agent::StockPgsql;
        assert!(Site::Hardened.contradicted_by(&spec).is_some());
    }
}
