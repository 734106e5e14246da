//! The resource's parameters: one table of them, and their values for one call.
//!
//! Reading them is pure: it does no I/O. Whether a path exists or a user is known is for the actions to find out.

mod error;
mod kind;
mod mode;
mod table;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::model::secret::Secret;
pub use error::ParamError;
pub(crate) use kind::bytes;
pub use kind::{Expected, Kind};
pub use mode::{RepMode, SyncMethod};
pub use table::{Described, PARAMS, Param};

use crate::conninfo::Conninfo;
use crate::conninfo::words::keyword_values;
use crate::model::lock_place::Place;
use crate::model::repair::OnDivergence;
use crate::model::ticket::is_ticket;
use crate::ocf::env::NotUtf8;
use crate::ocf::{OcfEnv, Promotable, Vars};

/// The parameters of one call. What each means stands in [`PARAMS`]; `None` and an empty list mean it is unset and has no default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    pub pgctl: PathBuf,
    pub psql: PathBuf,
    pub pgdata: PathBuf,
    pub pgdba: String,
    pub pghost: Option<String>,
    pub pgport: u16,
    pub pglibs: PathBuf,
    /// `postgresql.conf` in `pgdata` when unset.
    pub config: PathBuf,
    /// One option or value each; see [`Self::start_opt_quoted`].
    pub start_opt: Vec<String>,
    /// Arguments for pg_ctl, one each.
    pub ctl_opt: Vec<String>,
    pub pgdb: String,
    pub logfile: PathBuf,
    pub socketdir: Vec<PathBuf>,
    pub monitor_user: Option<String>,
    pub monitor_password: Option<Secret>,
    pub monitor_sql: String,
    pub check_wal_receiver: bool,
    pub stop_escalate: Duration,
    pub stop_escalate_in_slave: Duration,
    pub rep_mode: RepMode,
    /// In lower case, without doubles. Empty: all nodes of the cluster.
    pub node_list: Vec<String>,
    pub restore_command: Option<String>,
    pub archive_cleanup_command: Option<String>,
    pub recovery_end_command: Option<String>,
    pub master_ip: Option<String>,
    pub repuser: String,
    /// Secret because existing configurations have `password=` in it.
    pub primary_conninfo_opt: Option<Secret>,
    pub passfile: Option<PathBuf>,
    /// Changes nothing; see [`PARAMS`].
    pub restart_on_promote: bool,
    pub replication_slot_name: Option<String>,
    pub tmpdir: PathBuf,
    /// Monitor rounds; 0 and 1 are the same.
    pub xlog_check_count: u32,
    pub crm_attr_timeout: Duration,
    /// Values of application_name, as given, without doubles.
    pub external_standby_node_list: Vec<String>,
    pub external_slot_list: Vec<String>,
    /// In lower case, without doubles, the best first. Empty: all nodes.
    pub sync_node_list: Vec<String>,
    /// In lower case, without doubles.
    pub nofailover_node_list: Vec<String>,
    /// With it, `distlock_conninfo` or both commands are set in parameters that were accepted.
    pub enable_distlock: bool,
    /// Wins over the commands. Secret because a password may be in it.
    pub distlock_conninfo: Option<Secret>,
    /// `None`: the resource's name, in the usual table.
    pub distlock_lockname: Option<String>,
    pub distlock_ttl: Duration,
    pub distlock_timeout: Duration,
    /// Secret because existing configurations have a password in it.
    pub distlock_lock_cmd: Option<Secret>,
    /// Secret because existing configurations have a password in it.
    pub distlock_unlock_cmd: Option<Secret>,
    pub distlock_lockservice_deadcheck_nodelist: Vec<String>,
    /// Bytes; `None`: no limit.
    pub maxlag: Option<NonZeroU64>,
    /// Zero: no limit.
    pub maxlag_time: Duration,
    pub query_timeout: Duration,
    /// `None`: compute it from corosync's timeouts.
    pub settle_time: Option<Duration>,
    pub unsafe_relax: bool,
    pub sync_strict: bool,
    pub sync_method: SyncMethod,
    /// How many standbys must confirm a commit.
    pub sync_num: usize,
    pub on_divergence: OnDivergence,
}

/// Parameters as far as they could be read, and all that is wrong with them.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What could not be read has its default, except that an unreadable `sync_strict` is true.
    pub params: Params,
    /// Empty: the parameters may be used for anything.
    pub problems: Vec<ParamError>,
}

impl Params {
    /// The parameters in `vars`, if nothing is wrong with them.
    ///
    /// # Errors
    /// The first of the problems [`Self::resolve`] finds.
    pub fn from_env(vars: &Vars) -> Result<Self, ParamError> {
        let resolved = Self::resolve(vars);
        match resolved.problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(resolved.params),
        }
    }

    /// Reads what can be read and lists everything that is wrong, contradictions included.
    ///
    /// For the actions that must not fail because of a typing error made since the start: PostgreSQL has to be stopped,
    /// demoted and watched all the same. An empty value counts as unset.
    pub fn resolve(vars: &Vars) -> Resolved {
        let mut reader = Reader {
            vars,
            problems: Vec::new(),
        };
        let params = reader.params();
        let mut problems = reader.problems;
        params.contradictions(&mut problems);
        Resolved { params, problems }
    }

    /// Names of parameters that are set but that this version does not know, most likely typing
    /// errors. Pacemaker passes them on without a word.
    pub fn unknown(vars: &Vars) -> Vec<&str> {
        // pcs offers these two for every agent of resource-agents, whatever its metadata says.
        const OF_THE_SHELL_AGENTS: [&str; 2] = ["trace_ra", "trace_file"];
        let known = |name: &str| {
            PARAMS.iter().any(|param| param.name == name) || OF_THE_SHELL_AGENTS.contains(&name)
        };
        vars.parameter_names().filter(|name| !known(name)).collect()
    }

    /// `start_opt` for pg_ctl's `-o`, which pg_ctl hands to a shell: each word is quoted, so that it arrives as it is.
    pub fn start_opt_quoted(&self) -> String {
        shell_words::join(&self.start_opt)
    }

    /// What can't be true at once. What needs to know about the clone is in [`check_consistency`].
    fn contradictions(&self, problems: &mut Vec<ParamError>) {
        let rep_mode = self.rep_mode;
        if rep_mode.is_promotable() && self.master_ip.is_none() {
            problems.push(ParamError::MasterIpMissing { rep_mode });
        }
        if rep_mode == RepMode::Slave && self.master_ip.is_none() {
            self.archive_alone(problems);
        }
        if let Some(more) = &self.primary_conninfo_opt {
            let words = keyword_values(more.reveal());
            problems.extend(words.err().map(ParamError::PrimaryConninfo));
        }
        if let Some(seen) = self.master_ip.clone().filter(|ip| ip.starts_with('[')) {
            problems.push(ParamError::Brackets { seen });
        }
        if let Some(slot) = &self.replication_slot_name {
            problems.extend(bad_slot_name("replication_slot_name", slot));
        }
        self.contradictions_of_external_slots(problems);
        if !self.external_standby_node_list.is_empty() && rep_mode != RepMode::Sync {
            problems.push(ParamError::ExternalStandbysUnused { rep_mode });
        }
        if self.sync_method == SyncMethod::Quorum {
            if rep_mode != RepMode::Sync {
                problems.push(ParamError::QuorumUnused { rep_mode });
            }
            if !self.external_standby_node_list.is_empty() {
                problems.push(ParamError::QuorumWithExternal);
            }
        }
        self.contradictions_of_lists(problems);
        if self.monitor_password.is_some() && self.monitor_user.is_none() {
            problems.push(ParamError::PasswordWithoutUser);
        }
        if self.enable_distlock {
            problems.extend(self.lock_service().err());
        }
        if self.sync_strict && self.unsafe_relax {
            problems.push(ParamError::StrictAndUnsafe);
        }
    }
}

/// PostgreSQL's `NAMEDATALEN` less the byte at the end.
const MOST_OF_A_SLOT_S_NAME: usize = 63;

/// What is wrong with the name, or a part of the name, of a slot.
fn bad_slot_name(param: &'static str, slot: &str) -> Option<ParamError> {
    let bad = slot
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_'))?;
    Some(ParamError::SlotName {
        param,
        seen: slot.to_owned(),
        bad,
    })
}

impl Params {
    /// Whether the standby takes its WAL from an archive, and connects to nobody.
    pub fn is_of_archive_alone(&self) -> bool {
        self.rep_mode == RepMode::Slave && self.master_ip.is_none()
    }

    /// What one that connects to nobody can't have.
    fn archive_alone(&self, problems: &mut Vec<ParamError>) {
        if self.restore_command.is_none() {
            problems.push(ParamError::NoSource);
            return;
        }
        for (name, is_set) in [
            (
                "replication_slot_name",
                self.replication_slot_name.is_some(),
            ),
            ("primary_conninfo_opt", self.primary_conninfo_opt.is_some()),
            ("check_wal_receiver", self.check_wal_receiver),
        ] {
            if is_set {
                problems.push(ParamError::NobodyToConnectTo { name });
            }
        }
    }

    /// What can't be a slot of somebody else's.
    fn contradictions_of_external_slots(&self, problems: &mut Vec<ParamError>) {
        const NAME: &str = "external_slot_list";
        let (rep_mode, list) = (self.rep_mode, &self.external_slot_list);
        if !list.is_empty() && !rep_mode.is_promotable() {
            problems.push(ParamError::ExternalSlotsUnused { rep_mode });
        }
        let prefix = self.replication_slot_name.as_deref();
        for slot in list {
            problems.extend(bad_slot_name(NAME, slot));
            if slot.len() > MOST_OF_A_SLOT_S_NAME {
                problems.push(ParamError::LongSlotName { seen: slot.clone() });
            }
            let has_prefix = prefix.is_some_and(|p| slot.starts_with(&format!("{p}_")));
            if is_ticket(prefix, slot) || has_prefix {
                problems.push(ParamError::SlotOfMember { seen: slot.clone() });
            }
        }
    }

    /// What the lists of nodes say about each other.
    fn contradictions_of_lists(&self, problems: &mut Vec<ParamError>) {
        let rep_mode = self.rep_mode;
        let (sync, nofailover) = (&self.sync_node_list, &self.nofailover_node_list);
        if !sync.is_empty() && rep_mode != RepMode::Sync {
            problems.push(ParamError::SyncNodesUnused { rep_mode });
        }
        if !nofailover.is_empty() && !rep_mode.is_promotable() {
            problems.push(ParamError::NoFailoverUnused { rep_mode });
        }
        let outside = |name: &&String| {
            let mut outside = self.external_standby_node_list.iter();
            outside.any(|other| other.eq_ignore_ascii_case(name))
        };
        if let Some(node) = sync.iter().find(outside) {
            let node = node.clone();
            problems.push(ParamError::SyncNodeOutside { node });
        }
        let all = if sync.is_empty() {
            &self.node_list
        } else {
            sync
        };
        if !all.is_empty() && all.iter().all(|name| nofailover.contains(name)) {
            problems.push(ParamError::NobodyToPromote);
        }
    }

    /// Is it clear where the lock is? Looked at only where a lock is wanted: values that are left over harm nobody.
    fn lock_service(&self) -> Result<(), ParamError> {
        if let Some(name) = &self.distlock_lockname {
            name.parse::<Place>().map_err(ParamError::LockName)?;
        }
        match (
            &self.distlock_conninfo,
            &self.distlock_lock_cmd,
            &self.distlock_unlock_cmd,
        ) {
            (Some(conninfo), _, _) => Conninfo::parse(conninfo.reveal())
                .map(drop)
                .map_err(ParamError::LockConninfo),
            (None, Some(_), Some(_)) => Ok(()),
            (None, None, None) => Err(ParamError::LockServiceUnnamed),
            (None, Some(_), None) | (None, None, Some(_)) => Err(ParamError::HalfOfLockCommands),
        }
    }
}

/// Do the parameters fit the resource they are set on?
///
/// Where nothing is known about the clone (a check before the resource exists, a call by hand) nothing is objected to.
///
/// # Errors
/// [`ParamError::NotPromotable`], [`ParamError::NothingToPromote`] or [`ParamError::SeveralPrimaries`].
pub fn check_consistency(params: &Params, env: &OcfEnv) -> Result<(), ParamError> {
    let rep_mode = params.rep_mode;
    match env.clone.promotable {
        Promotable::Unknown => Ok(()),
        Promotable::No if rep_mode.is_promotable() => Err(ParamError::NotPromotable { rep_mode }),
        Promotable::No => Ok(()),
        Promotable::Yes if !rep_mode.is_promotable() => {
            Err(ParamError::NothingToPromote { rep_mode })
        }
        Promotable::Yes => match env.clone.promoted_max {
            Some(max @ 2..) => Err(ParamError::SeveralPrimaries { max }),
            Some(0 | 1) | None => Ok(()),
        },
    }
}

/// Reads parameters and collects what is wrong with them.
struct Reader<'a> {
    vars: &'a Vars,
    problems: Vec<ParamError>,
}

impl Reader<'_> {
    fn params(&mut self) -> Params {
        let pgdata = self.value(&table::PGDATA, kind::path);
        Params {
            pgctl: self.value(&table::PGCTL, kind::path),
            psql: self.value(&table::PSQL, kind::path),
            pgdba: self.value(&table::PGDBA, kind::string),
            pghost: self.given(&table::PGHOST, kind::string),
            pgport: self.value(&table::PGPORT, kind::port),
            pglibs: self.value(&table::PGLIBS, kind::path),
            config: self
                .given(&table::CONFIG, kind::path)
                .unwrap_or_else(|| pgdata.join("postgresql.conf")),
            start_opt: self.value(&table::START_OPT, kind::words),
            ctl_opt: self.value(&table::CTL_OPT, kind::words),
            pgdb: self.value(&table::PGDB, kind::string),
            logfile: self.value(&table::LOGFILE, kind::path),
            socketdir: self
                .given(&table::SOCKETDIR, kind::sockets)
                .unwrap_or_default(),
            monitor_user: self.given(&table::MONITOR_USER, kind::string),
            monitor_password: self.given(&table::MONITOR_PASSWORD, kind::secret),
            monitor_sql: self.value(&table::MONITOR_SQL, kind::string),
            check_wal_receiver: self.value(&table::CHECK_WAL_RECEIVER, kind::boolean),
            stop_escalate: self.value(&table::STOP_ESCALATE, kind::seconds),
            stop_escalate_in_slave: self.value(&table::STOP_ESCALATE_IN_SLAVE, kind::seconds),
            rep_mode: self.value(&table::REP_MODE, kind::mode),
            node_list: self.value(&table::NODE_LIST, lower_case_names),
            restore_command: self.given(&table::RESTORE_COMMAND, kind::string),
            archive_cleanup_command: self.given(&table::ARCHIVE_CLEANUP_COMMAND, kind::string),
            recovery_end_command: self.given(&table::RECOVERY_END_COMMAND, kind::string),
            master_ip: self.given(&table::MASTER_IP, kind::string),
            repuser: self.value(&table::REPUSER, kind::string),
            primary_conninfo_opt: self.given(&table::PRIMARY_CONNINFO_OPT, kind::secret),
            passfile: self.given(&table::PASSFILE, kind::path),
            restart_on_promote: self.value(&table::RESTART_ON_PROMOTE, kind::boolean),
            replication_slot_name: self.given(&table::REPLICATION_SLOT_NAME, kind::string),
            tmpdir: self.value(&table::TMPDIR, kind::path),
            xlog_check_count: self.value(&table::XLOG_CHECK_COUNT, kind::count),
            crm_attr_timeout: self.value(&table::CRM_ATTR_TIMEOUT, kind::timeout),
            external_standby_node_list: self.value(&table::EXTERNAL_STANDBY_NODE_LIST, kind::names),
            external_slot_list: self.value(&table::EXTERNAL_SLOT_LIST, kind::names),
            sync_node_list: self.value(&table::SYNC_NODE_LIST, lower_case_names),
            nofailover_node_list: self.value(&table::NOFAILOVER_NODE_LIST, lower_case_names),
            enable_distlock: self.value(&table::ENABLE_DISTLOCK, kind::boolean),
            distlock_conninfo: self.given(&table::DISTLOCK_CONNINFO, kind::secret),
            distlock_lockname: self.given(&table::DISTLOCK_LOCKNAME, kind::string),
            distlock_ttl: self.value(&table::DISTLOCK_TTL, kind::timeout),
            distlock_timeout: self.value(&table::DISTLOCK_TIMEOUT, kind::timeout),
            distlock_lock_cmd: self.given(&table::DISTLOCK_LOCK_CMD, kind::secret),
            distlock_unlock_cmd: self.given(&table::DISTLOCK_UNLOCK_CMD, kind::secret),
            distlock_lockservice_deadcheck_nodelist: self
                .value(&table::DISTLOCK_DEADCHECK, kind::names),
            maxlag: self.value(&table::MAXLAG, kind::bytes),
            maxlag_time: self.value(&table::MAXLAG_TIME, kind::seconds),
            query_timeout: self.value(&table::QUERY_TIMEOUT, kind::timeout),
            settle_time: self.given(&table::SETTLE_TIME, kind::timeout),
            unsafe_relax: self.value(&table::UNSAFE_RELAX, kind::boolean),
            sync_strict: self.strict(),
            sync_method: self.value(&table::SYNC_METHOD, kind::method),
            sync_num: self.value(&table::SYNC_NUM, kind::number),
            on_divergence: self.value(&table::ON_DIVERGENCE, kind::remedy),
            pgdata,
        }
    }

    /// What can't be read might have been `true`, and the running database might rely on it.
    fn strict(&mut self) -> bool {
        let known = self.problems.len();
        let strict = self.value(&table::SYNC_STRICT, kind::boolean);
        strict || self.problems.len() > known
    }

    /// The value given, the default otherwise, or when what is given can't be read; `T`'s own default where the
    /// parameter has none.
    fn value<T: Default>(&mut self, param: &Param, parse: fn(&str) -> Result<T, Expected>) -> T {
        if let Some(value) = self.given(param, parse) {
            return value;
        }
        // Every default in the table is valid for its kind: a test holds it to that.
        let default = param.default.and_then(|default| parse(default).ok());
        default.unwrap_or_default()
    }

    /// The value given; `None` when unset, empty or unreadable.
    fn given<T>(&mut self, param: &Param, parse: fn(&str) -> Result<T, Expected>) -> Option<T> {
        let name = param.name;
        match self.vars.get(&format!("OCF_RESKEY_{name}")) {
            Ok(None) => None,
            Ok(Some(text)) if text.trim().is_empty() => None,
            Ok(Some(text)) => match parse(text) {
                Ok(value) => Some(value),
                Err(expected) => {
                    self.problems
                        .push(ParamError::unparsable(name, text, expected));
                    None
                }
            },
            Err(NotUtf8) => {
                self.problems.push(ParamError::NotUtf8 { name });
                None
            }
        }
    }
}

/// Pacemaker compares node names without regard to case, and the older agents lower-cased this list.
fn lower_case_names(text: &str) -> Result<Vec<String>, Expected> {
    let names = kind::names(text)?;
    Ok(names.iter().map(|name| name.to_lowercase()).collect())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::Path;
    use std::time::Duration;

    use strum::VariantArray;

    use crate::conninfo::ConninfoError;
    use crate::conninfo::words::SyntaxError;

    use super::{Kind, PARAMS, ParamError, Params, RepMode, Resolved, check_consistency};
    use crate::ocf::{OcfCode, OcfEnv, Vars};

    type Given = &'static [(&'static str, &'static str)];

    fn vars(given: &[(&str, &str)]) -> Vars {
        Vars::new(
            given
                .iter()
                .map(|(name, value)| (format!("OCF_RESKEY_{name}"), *value)),
        )
    }

    fn resolve(given: &[(&str, &str)]) -> Resolved {
        Params::resolve(&vars(given))
    }

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let params = Params::from_env(&Vars::default()).unwrap();
        assert_eq!(params.pgctl, Path::new("/usr/bin/pg_ctl"));
        assert_eq!(params.pgdata, Path::new("/var/lib/pgsql/data"));
        assert_eq!(
            params.config,
            Path::new("/var/lib/pgsql/data/postgresql.conf")
        );
        assert_eq!(params.tmpdir, Path::new("/var/lib/pgsql/tmp"));
        assert_eq!((params.pgdba.as_str(), params.pgport), ("postgres", 5432));
        assert_eq!(params.rep_mode, RepMode::None);
        assert_eq!(params.monitor_sql, "select now();");
        assert_eq!(params.stop_escalate, Duration::from_secs(90));
        assert_eq!(params.query_timeout, Duration::from_secs(8));
        assert_eq!(params.maxlag, None);
        assert_eq!(params.settle_time, None);
        assert!(params.node_list.is_empty());
        assert!(!params.sync_strict && !params.unsafe_relax);
    }

    #[test]
    fn an_empty_value_counts_as_unset() {
        let all_empty: Vec<_> = PARAMS.iter().map(|param| (param.name, " ")).collect();
        let resolved = resolve(&all_empty);
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        assert_eq!(resolved.params, Params::from_env(&Vars::default()).unwrap());
    }

    #[test]
    fn config_follows_pgdata_unless_it_is_set() {
        let params = resolve(&[("pgdata", "/data")]).params;
        assert_eq!(params.config, Path::new("/data/postgresql.conf"));
        let params = resolve(&[("pgdata", "/data"), ("config", "/etc/pg.conf")]).params;
        assert_eq!(params.config, Path::new("/etc/pg.conf"));
    }

    /// Also shows that each parameter is read, and read as its kind says.
    #[test]
    fn a_bad_value_of_any_parameter_is_refused_with_its_name() {
        for param in PARAMS {
            let bad = match param.kind {
                Kind::String | Kind::Secret => continue,
                Kind::Words => "'",
                Kind::Path | Kind::Sockets => "relative",
                Kind::Seconds
                | Kind::Count
                | Kind::Port
                | Kind::Bytes
                | Kind::Boolean
                | Kind::Mode
                | Kind::Method
                | Kind::Remedy
                | Kind::Number => "nonsense",
                Kind::Timeout => "0",
                Kind::Names => "a,b",
            };
            let error = Params::from_env(&vars(&[(param.name, bad)])).unwrap_err();
            let code = match param.name {
                "pgctl" | "psql" => OcfCode::ErrInstalled,
                _ => OcfCode::ErrConfigured,
            };
            assert_eq!(error.ocf_code(), code);
            let expected = format!(
                "{}={bad:?} is not {}",
                param.name,
                param.kind.check(bad).unwrap_err()
            );
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_the_name_of_any_parameter() {
        for param in PARAMS {
            let bytes = OsString::from_vec(vec![b'/', 0xff]);
            let vars = Vars::new([(format!("OCF_RESKEY_{}", param.name), bytes)]);
            assert_eq!(
                Params::from_env(&vars),
                Err(ParamError::NotUtf8 { name: param.name })
            );
        }
    }

    #[test]
    fn a_good_value_of_any_parameter_arrives() {
        let default = format!("{:?}", Params::from_env(&Vars::default()).unwrap());
        for param in PARAMS {
            let good = match param.kind {
                Kind::String | Kind::Secret => "other",
                Kind::Words => "-a 'b c'",
                Kind::Path | Kind::Sockets => "/other",
                Kind::Seconds | Kind::Timeout | Kind::Count | Kind::Port | Kind::Bytes => "77",
                Kind::Boolean => "true",
                Kind::Mode => "async",
                Kind::Method => "quorum",
                Kind::Remedy => "rewind",
                Kind::Number => "2",
                Kind::Names => "a b",
            };
            let params = resolve(&[(param.name, good)]).params;
            assert_ne!(
                format!("{params:?}"),
                default,
                "{}={good} changes nothing",
                param.name
            );
        }
    }

    #[test]
    fn contradictions_are_refused() {
        const IP: (&str, &str) = ("master_ip", "192.168.0.9");
        const SYNC: (&str, &str) = ("rep_mode", "sync");
        const SLAVE: (&str, &str) = ("rep_mode", "slave");
        const RESTORE: (&str, &str) = ("restore_command", "cp /archive/%f %p");
        let alone = |name| Some(ParamError::NobodyToConnectTo { name });
        let missing = |rep_mode| Some(ParamError::MasterIpMissing { rep_mode });
        let slot = |seen: &str, bad| {
            Some(ParamError::SlotName {
                param: "replication_slot_name",
                seen: seen.to_owned(),
                bad,
            })
        };
        let unused = |rep_mode| Some(ParamError::ExternalStandbysUnused { rep_mode });
        let external = |list: &str| {
            let seen = list.to_owned();
            Some(match list {
                "expgsql_db1_e3_db2" | "own_db1" => ParamError::SlotOfMember { seen },
                list if list.len() > 63 => ParamError::LongSlotName { seen },
                _ => ParamError::SlotName {
                    param: "external_slot_list",
                    seen,
                    bad: '-',
                },
            })
        };
        const LONG: &str = "a2345678901234567890123456789012345678901234567890123456789012345";
        const LONGEST: &str = LONG.split_at(63).0;
        let cases: [(Given, Option<ParamError>); 51] = [
            (
                &[("rep_mode", "none"), ("external_slot_list", "reports")],
                Some(ParamError::ExternalSlotsUnused {
                    rep_mode: RepMode::None,
                }),
            ),
            (&[SYNC, IP, ("external_slot_list", "reports dr_1")], None),
            (
                &[SYNC, IP, ("external_slot_list", "dr-1")],
                external("dr-1"),
            ),
            (&[SYNC, IP, ("external_slot_list", LONG)], external(LONG)),
            (&[SYNC, IP, ("external_slot_list", LONGEST)], None),
            (
                &[SYNC, IP, ("external_slot_list", "expgsql_db1_e3_db2")],
                external("expgsql_db1_e3_db2"),
            ),
            (
                &[
                    SYNC,
                    IP,
                    ("replication_slot_name", "own"),
                    ("external_slot_list", "own_db1"),
                ],
                external("own_db1"),
            ),
            (&[SYNC], missing(RepMode::Sync)),
            (&[("rep_mode", "async")], missing(RepMode::Async)),
            (
                &[("rep_mode", "slave"), ("master_ip", "")],
                Some(ParamError::NoSource),
            ),
            (&[SLAVE, RESTORE], None),
            (&[SLAVE, IP, RESTORE], None),
            (&[SLAVE, IP, ("replication_slot_name", "a")], None),
            (
                &[SLAVE, RESTORE, ("replication_slot_name", "a")],
                alone("replication_slot_name"),
            ),
            (
                &[SLAVE, RESTORE, ("check_wal_receiver", "true")],
                alone("check_wal_receiver"),
            ),
            (
                &[SLAVE, RESTORE, ("primary_conninfo_opt", "port=1")],
                alone("primary_conninfo_opt"),
            ),
            (
                &[
                    SLAVE,
                    IP,
                    ("primary_conninfo_opt", "sslmode=require x = ' '"),
                ],
                None,
            ),
            (
                &[SLAVE, IP, ("primary_conninfo_opt", "postgresql://h")],
                Some(ParamError::PrimaryConninfo(SyntaxError::NoKeyword)),
            ),
            (
                &[SLAVE, IP, ("primary_conninfo_opt", "password='x")],
                Some(ParamError::PrimaryConninfo(SyntaxError::OpenQuote(
                    "password".to_owned(),
                ))),
            ),
            (&[SLAVE, ("master_ip", "fd00::1%eth0")], None),
            (
                &[SLAVE, ("master_ip", "[fd00::1]")],
                Some(ParamError::Brackets {
                    seen: "[fd00::1]".to_owned(),
                }),
            ),
            (&[SYNC, RESTORE], missing(RepMode::Sync)),
            (&[("rep_mode", "none")], None),
            (&[SYNC, IP], None),
            (&[("replication_slot_name", "slot_1")], None),
            (&[("replication_slot_name", "Slot")], slot("Slot", 'S')),
            (&[("replication_slot_name", "a-b")], slot("a-b", '-')),
            (
                &[("external_standby_node_list", "dr1")],
                unused(RepMode::None),
            ),
            (
                &[
                    ("rep_mode", "async"),
                    IP,
                    ("external_standby_node_list", "dr1"),
                ],
                unused(RepMode::Async),
            ),
            (&[SYNC, IP, ("external_standby_node_list", "dr1")], None),
            (&[SYNC, IP, ("sync_node_list", "B a")], None),
            (
                &[("rep_mode", "async"), IP, ("sync_node_list", "a")],
                Some(ParamError::SyncNodesUnused {
                    rep_mode: RepMode::Async,
                }),
            ),
            (
                &[
                    SYNC,
                    IP,
                    ("sync_node_list", "a dr1"),
                    ("external_standby_node_list", "DR1"),
                ],
                Some(ParamError::SyncNodeOutside {
                    node: "dr1".to_owned(),
                }),
            ),
            (
                &[
                    SYNC,
                    IP,
                    ("node_list", "a b"),
                    ("nofailover_node_list", "B"),
                ],
                None,
            ),
            (
                &[
                    SYNC,
                    IP,
                    ("node_list", "a b"),
                    ("nofailover_node_list", "b a"),
                ],
                Some(ParamError::NobodyToPromote),
            ),
            (
                &[
                    SYNC,
                    IP,
                    ("sync_node_list", "a"),
                    ("nofailover_node_list", "a c"),
                ],
                Some(ParamError::NobodyToPromote),
            ),
            (
                &[("rep_mode", "async"), IP, ("nofailover_node_list", "a")],
                None,
            ),
            (
                &[("nofailover_node_list", "a")],
                Some(ParamError::NoFailoverUnused {
                    rep_mode: RepMode::None,
                }),
            ),
            (
                &[("monitor_password", "x")],
                Some(ParamError::PasswordWithoutUser),
            ),
            (&[("monitor_password", "x"), ("monitor_user", "m")], None),
            (&[("monitor_user", "m")], None),
            (
                &[("enable_distlock", "ja")],
                Some(ParamError::LockServiceUnnamed),
            ),
            (
                &[("enable_distlock", "ja"), ("distlock_lock_cmd", "x")],
                Some(ParamError::HalfOfLockCommands),
            ),
            (
                &[("enable_distlock", "ja"), ("distlock_unlock_cmd", "x")],
                Some(ParamError::HalfOfLockCommands),
            ),
            (
                &[
                    ("enable_distlock", "ja"),
                    ("distlock_lock_cmd", "x"),
                    ("distlock_unlock_cmd", "x"),
                ],
                None,
            ),
            (
                &[
                    ("enable_distlock", "ja"),
                    ("distlock_conninfo", "host=h user=u"),
                    ("distlock_lock_cmd", "x"),
                ],
                None,
            ),
            (
                &[("enable_distlock", "ja"), ("distlock_conninfo", "user=u")],
                Some(ParamError::LockConninfo(ConninfoError::NoHost)),
            ),
            (&[("distlock_conninfo", "user=u")], None),
            (
                &[("enable_distlock", "false"), ("distlock_lock_cmd", "x")],
                None,
            ),
            (
                &[("sync_strict", "on"), ("unsafe_relax", "on")],
                Some(ParamError::StrictAndUnsafe),
            ),
            (&[("sync_strict", "on")], None),
        ];
        for (given, expected) in cases {
            let error = Params::from_env(&vars(given)).err();
            assert_eq!(error, expected, "{given:?}");
            assert!(error.is_none_or(|error| error.ocf_code() == OcfCode::ErrConfigured));
        }
    }

    #[test]
    fn the_mode_must_fit_the_clone_where_the_clone_is_known() {
        #[derive(Clone, Copy)]
        enum Clone {
            Promotable,
            SeveralPromoted,
            Plain,
            NotTold,
        }
        let env = |clone| {
            let told = match clone {
                Clone::Promotable => Some(("OCF_RESKEY_CRM_meta_promoted_max", "1")),
                Clone::SeveralPromoted => Some(("OCF_RESKEY_CRM_meta_promoted_max", "2")),
                Clone::Plain => Some(("OCF_RESKEY_CRM_meta_on_node", "node1")),
                Clone::NotTold => None,
            };
            OcfEnv::from_vars(&Vars::new(
                told.into_iter().chain([("OCF_RESOURCE_INSTANCE", "pgsql")]),
            ))
            .unwrap()
        };
        for rep_mode in RepMode::VARIANTS.iter().copied() {
            let mode = rep_mode.to_string();
            let params =
                Params::from_env(&vars(&[("rep_mode", &mode), ("master_ip", "vip")])).unwrap();
            let check = |clone| check_consistency(&params, &env(clone));
            let promotable = rep_mode.is_promotable();
            let not_promotable = Err(ParamError::NotPromotable { rep_mode });
            let nothing_to_promote = Err(ParamError::NothingToPromote { rep_mode });
            let several = Err(ParamError::SeveralPrimaries { max: 2 });
            assert_eq!(check(Clone::NotTold), Ok(()), "{mode}");
            assert_eq!(
                check(Clone::Plain),
                if promotable { not_promotable } else { Ok(()) },
                "{mode}"
            );
            assert_eq!(
                check(Clone::Promotable),
                if promotable {
                    Ok(())
                } else {
                    nothing_to_promote.clone()
                },
                "{mode}"
            );
            assert_eq!(
                check(Clone::SeveralPromoted),
                if promotable {
                    several
                } else {
                    nothing_to_promote
                },
                "{mode}"
            );
        }
    }

    #[test]
    fn resolving_reads_what_it_can_and_lists_everything_wrong() {
        let found = resolve(&[
            ("pgdata", "/data"),
            ("pgport", "x"),
            ("maxlag", "much"),
            ("enable_distlock", "1"),
        ]);
        assert_eq!(found.params.pgdata, Path::new("/data"));
        assert_eq!(found.params.pgport, 5432);
        assert_eq!(found.params.maxlag, None);
        assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
    }

    #[test]
    fn an_unreadable_sync_strict_is_strict() {
        for (text, strict) in [
            ("ture", true),
            ("true", true),
            ("false", false),
            ("", false),
        ] {
            assert_eq!(
                resolve(&[("sync_strict", text)]).params.sync_strict,
                strict,
                "{text:?}"
            );
        }
    }

    #[test]
    fn node_names_are_lower_cased_and_application_names_are_not() {
        let given = [
            ("rep_mode", "sync"),
            ("master_ip", "vip"),
            ("node_list", "Node1 node2 NODE1"),
            ("external_standby_node_list", "DR1"),
        ];
        let params = Params::from_env(&vars(&given)).unwrap();
        assert_eq!(params.node_list, ["node1", "node2"]);
        assert_eq!(params.external_standby_node_list, ["DR1"]);
    }

    #[test]
    fn options_are_split_once_and_nothing_in_them_is_run_by_a_shell() {
        let params = resolve(&[("start_opt", "-c 'a=b c' $(id)"), ("ctl_opt", "-t 600")]).params;
        assert_eq!(params.start_opt, ["-c", "a=b c", "$(id)"]);
        assert_eq!(params.start_opt_quoted(), "-c 'a=b c' '$(id)'");
        assert_eq!(params.ctl_opt, ["-t", "600"]);
    }

    #[test]
    fn no_secret_appears_in_debug_output() {
        let secrets = [
            "monitor_password",
            "primary_conninfo_opt",
            "distlock_conninfo",
            "distlock_lock_cmd",
            "distlock_unlock_cmd",
        ];
        let given = secrets.map(|name| (name, "password=hunter2"));
        let resolved = resolve(&given);
        assert!(!format!("{resolved:?}").contains("hunter2"), "{resolved:?}");
    }

    #[test]
    fn a_long_bad_value_leaves_room_for_what_was_expected() {
        let error = Params::from_env(&vars(&[("pgport", &"é".repeat(500))]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("...\" is not a port number from 1 to 65535"),
            "{error}"
        );
    }

    #[test]
    fn a_misspelt_parameter_is_noticed() {
        let vars = vars(&[
            ("pgdata", "/x"),
            ("node_lst", "a b"),
            ("trace_ra", "1"),
            ("CRM_meta_timeout", "1"),
        ]);
        assert_eq!(Params::unknown(&vars), ["node_lst"]);
    }
}
