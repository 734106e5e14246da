//! The agent's parameters, from what config.ini says and what follows from it.

use std::net::IpAddr;

use crate::model::node_name::NodeName;
use crate::ocf::{OcfEnv, Vars};
use crate::params::{PARAMS, ParamError, Params, Resolved, Secret, check_consistency};
use crate::setup::parts::RESOURCE;

use super::keys::PARAM_PREFIX;
use super::reader::Reader;
use super::secrets::{PASSFILE, Passwords, split_conninfo};
use super::site::Shape;

/// Parameters that get a value where config.ini says nothing of them, and for which another one is as good: what somebody chose stays. The
/// others that follow from something say the same as that in other words: the list of nodes, that there is a lock.
const ADVISED: [&str; 6] = [
    "rep_mode",
    "master_ip",
    "primary_conninfo_opt",
    "on_divergence",
    "passfile",
    "distlock_lockservice_deadcheck_nodelist",
];

/// The parameters.
pub(super) struct Given {
    /// In the order of the table.
    pub(super) params: Vec<(&'static str, String)>,
    /// Those of them that config.ini does not name, and that need not have this value.
    pub(super) unsaid: Vec<&'static str>,
}

impl Reader<'_> {
    pub(super) fn params(
        &mut self,
        nodes: &[NodeName],
        shape: Option<Shape>,
        writer: Option<IpAddr>,
    ) -> (Given, Passwords) {
        let mut passwords = Passwords::default();
        let (right, misspelt) = ("pgsql_reppassword", "pgsql_reppassord");
        if self.text(right).is_some() && self.text(misspelt).is_some() {
            self.wrong(
                right,
                format!("and {misspelt} are both set, and mean the same: keep one"),
            );
        }
        passwords.replication = self.text(right).or(self.text(misspelt)).map(Secret::new);
        for key in ["pgsql_pgctl", "pgsql_pgdata", "pgsql_repuser"] {
            if self.text(key).is_none() {
                let advice = match key {
                    "pgsql_pgctl" => {
                        "the pg_ctl of the server, as /usr/lib/postgresql/15/bin/pg_ctl"
                    }
                    "pgsql_pgdata" => "the data directory, the same on every node",
                    _ => {
                        "the user that standbys connect with; it needs REPLICATION, and for pg_rewind more"
                    }
                };
                self.missing(key, advice);
            }
        }
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let names = names.join(" ");
        let lock = self.lock(shape, &mut passwords);
        let mode = self.text("pgsql_rep_mode").unwrap_or("sync").to_owned();
        let (mut all, mut unsaid) = (Vec::new(), Vec::new());
        for param in PARAMS {
            let given = self
                .entry(&format!("{PARAM_PREFIX}{}", param.name))
                .map(|entry| entry.value.clone());
            if given.is_none() && ADVISED.contains(&param.name) {
                unsaid.push(param.name);
            }
            let conninfo = lock.as_deref().filter(|text| !text.is_empty());
            let value = match param.name {
                // The connection string goes on without its password.
                "distlock_conninfo" => conninfo.map(str::to_owned),
                "distlock_lock_cmd" | "distlock_unlock_cmd" => match (&lock, conninfo) {
                    (Some(_), Some(_)) => Some(String::new()),
                    (Some(_), None) => given,
                    (None, _) => None,
                },
                // In one spelling: templates and the policy without quorum depend on it.
                "enable_distlock" => {
                    let is_on = lock
                        .as_ref()
                        .map(|_| true)
                        .or(self.boolean("pgsql_enable_distlock"));
                    is_on.map(|is_on| is_on.to_string()).or(given)
                }
                "distlock_lockservice_deadcheck_nodelist" => {
                    given.or_else(|| lock.as_ref().map(|_| names.clone()))
                }
                "rep_mode" => Some(mode.clone()),
                "node_list" => given
                    .filter(|list| !list.is_empty())
                    .or_else(|| Some(names.clone())),
                "master_ip" => given.or_else(|| writer.map(|ip| ip.to_string())),
                // As in the older templates: a standby notices within 85 s that its primary is gone.
                "primary_conninfo_opt" => given.or_else(|| {
                    Some("keepalives_idle=60 keepalives_interval=5 keepalives_count=5".to_owned())
                }),
                "on_divergence" if mode == "sync" => {
                    given.or_else(|| Some("rewind_or_rebuild".to_owned()))
                }
                "passfile" if passwords.replication.is_some() => {
                    // Several databases' users have passwords of their own.
                    let name = self.text("resource_name").filter(|name| *name != RESOURCE);
                    let own = name.map(|name| format!("/etc/expgsql/{name}.pgpass"));
                    given.or(own).or_else(|| Some(PASSFILE.to_owned()))
                }
                _ => given,
            };
            all.extend(value.map(|value| (param.name, value)));
        }
        if passwords.replication.is_some()
            && self
                .entry("pgsql_passfile")
                .is_some_and(|entry| entry.value.is_empty())
        {
            self.wrong("pgsql_passfile", format!("is empty, but there is a password to be kept: leave the line out for {PASSFILE}, or name a file"));
        }
        self.outsiders(nodes);
        let given = Given {
            params: all,
            unsaid,
        };
        (given, passwords)
    }

    /// Names in lists that are no nodes of the cluster.
    fn outsiders(&mut self, nodes: &[NodeName]) {
        for key in [
            "pgsql_node_list",
            "pgsql_sync_node_list",
            "pgsql_nofailover_node_list",
            "pgsql_distlock_lockservice_deadcheck_nodelist",
        ] {
            let list = self.text(key).unwrap_or_default().to_owned();
            let is_node = |word: &str| NodeName::new(word).is_ok_and(|name| nodes.contains(&name));
            if let Some(other) = list.split_whitespace().find(|word| !is_node(word)) {
                self.wrong(
                    key,
                    format!("names {other:?}, which is none of node1, node2, …"),
                );
            }
        }
    }

    /// The lock service's connection string, without a password. Empty: the older commands are used. `None`: there is none.
    fn lock(&mut self, shape: Option<Shape>, passwords: &mut Passwords) -> Option<String> {
        const CONNINFO: &str = "pgsql_distlock_conninfo";
        const PSQL: &str = "pgsql_distlock_psql_cmd";
        const ENABLE: &str = "pgsql_enable_distlock";
        let is_wanted = self.boolean(ENABLE);
        if is_wanted == Some(false) {
            return None;
        }
        let commands = self.text("pgsql_distlock_lock_cmd").is_some()
            && self.text("pgsql_distlock_unlock_cmd").is_some();
        let key = if self.text(CONNINFO).is_some() {
            CONNINFO
        } else {
            PSQL
        };
        let Some(text) = self.text(key).map(str::to_owned) else {
            if commands {
                return Some(String::new());
            }
            if is_wanted == Some(true) {
                self.missing(CONNINFO, "pgsql_enable_distlock=true, and nothing says where the lock service is; host=… dbname=… user=…");
            } else if shape == Some(Shape::Dual) {
                self.missing(
                    CONNINFO,
                    "two nodes can't outvote each other, so a lock service outside of them decides who may be primary; set it to \
                     host=… dbname=… user=…, or pgsql_enable_distlock=false if you have fencing or a quorum device",
                );
            }
            return None;
        };
        // A cluster with a majority needs none; pha4pgsql's sample has the line all the same.
        if is_wanted.is_none() && shape == Some(Shape::Multi) {
            return None;
        }
        match split_conninfo(&text, self.text("pgsql_distlock_password")) {
            Ok((conninfo, lines)) => {
                passwords.lock = lines;
                Some(conninfo)
            }
            Err(what) => {
                self.wrong(key, format!("can't be used: {what}"));
                None
            }
        }
    }

    /// The parameters as the agent will read them, with what it finds wrong.
    pub(super) fn resolve(&mut self, resource: &str, params: &[(&'static str, String)]) -> Params {
        let own = [
            ("OCF_RESOURCE_INSTANCE".to_owned(), resource.to_owned()),
            (
                "OCF_RESKEY_CRM_meta_promoted_max".to_owned(),
                "1".to_owned(),
            ),
            ("OCF_RESKEY_CRM_meta_notify".to_owned(), "true".to_owned()),
        ];
        let given = params
            .iter()
            .map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone()));
        let vars = Vars::new(own.into_iter().chain(given));
        let Resolved {
            params,
            mut problems,
        } = Params::resolve(&vars);
        if let Ok(env) = OcfEnv::from_vars(&vars) {
            problems.extend(check_consistency(&params, &env).err());
        }
        for problem in problems {
            // What comes of a key that was complained of already need not be said again.
            let key = key_of(&problem);
            if self.problems.is_empty() || self.entry(&key).is_some() {
                self.wrong(&key, format!("can't be used: {problem}"));
            }
        }
        params
    }
}

/// The key that is to blame for what the agent would complain of.
fn key_of(problem: &ParamError) -> String {
    let param = match problem {
        ParamError::MasterIpMissing { .. } | ParamError::NoSource | ParamError::Brackets { .. } => {
            return "writer_vip".to_owned();
        }
        ParamError::Unparsable { name, .. }
        | ParamError::NotUtf8 { name }
        | ParamError::NobodyToConnectTo { name } => name,
        ParamError::SlotName { param, .. } => param,
        ParamError::LongSlotName { .. }
        | ParamError::SlotOfMember { .. }
        | ParamError::ExternalSlotsUnused { .. } => "external_slot_list",
        ParamError::ExternalStandbysUnused { .. } | ParamError::QuorumWithExternal => {
            "external_standby_node_list"
        }
        ParamError::SyncNodesUnused { .. } | ParamError::SyncNodeOutside { .. } => "sync_node_list",
        ParamError::NoFailoverUnused { .. } | ParamError::NobodyToPromote => "nofailover_node_list",
        ParamError::QuorumUnused { .. } => "sync_method",
        ParamError::PasswordWithoutUser => "monitor_password",
        ParamError::LockServiceUnnamed | ParamError::LockConninfo(_) => "distlock_conninfo",
        ParamError::PrimaryConninfo(_) => "primary_conninfo_opt",
        ParamError::HalfOfLockCommands => "distlock_lock_cmd",
        ParamError::LockName(_) => "distlock_lockname",
        ParamError::StrictAndUnsafe => "unsafe_relax",
        ParamError::NotPromotable { .. }
        | ParamError::NothingToPromote { .. }
        | ParamError::SeveralPrimaries { .. } => "rep_mode",
    };
    format!("{PARAM_PREFIX}{param}")
}
