//! Parameters that follow from others, beside what somebody has set: what was chosen stays, what followed before follows again.

use std::collections::BTreeSet;

use crate::conninfo::words::keyword_values;
use crate::ocf::{OcfEnv, Vars};
use crate::params::{Params, Resolved, check_consistency};
use crate::setup::config;
use crate::setup::parts::Primitive;
use crate::setup::plan::Plan;
use crate::setup::tree::Tree;

use super::find::{parameter, sets};
use super::same;

/// The database's parameters as they are to be set beside those that it has: without those that nobody asked for and that have a value.
/// `writer`: the address that goes with the primary now.
pub(super) fn of_database(primitive: &Tree, plan: &Plan, writer: Option<&str>) -> Primitive {
    let mut wanted = plan.pgsql.clone();
    let now = |name: &str| parameter(primitive, name).filter(|now| !now.is_empty());
    let defaults = wanted.defaults.clone();
    let is_default = |name: &str| defaults.contains(&name);
    let planned = |name: &str| {
        let mut all = plan.pgsql.set_params();
        all.find(|(it, _)| *it == name).map(|(_, value)| value)
    };
    let mode = now("rep_mode").filter(|_| is_default("rep_mode"));
    let is_sync = mode.or(planned("rep_mode")) == Some("sync");
    wanted.params.retain_mut(|(name, value)| {
        if !is_default(name) {
            return true;
        }
        let Some(now) = now(name) else {
            // Rewound by itself is what no acknowledged commit is on.
            return *name != "on_divergence" || is_sync;
        };
        match *name {
            "master_ip" => writer.is_some_and(|writer| same::address(now, writer)),
            "distlock_lockservice_deadcheck_nodelist" => {
                parameter(primitive, "node_list").is_some_and(|all| words(all) == words(now))
            }
            "primary_conninfo_opt" if plan.has_password && config::has_password(now) => {
                if let Some(rest) = without_login(now).filter(|rest| !is_same(rest, value)) {
                    *value = rest;
                }
                true
            }
            "primary_conninfo_opt" if is_same(now, value) => {
                now.clone_into(value);
                true
            }
            _ => now == value,
        }
    });
    wanted
}

fn words(list: &str) -> BTreeSet<&str> {
    list.split_whitespace().collect()
}

/// Whether connection options are the same, in whatever order.
fn is_same(one: &str, other: &str) -> bool {
    match (keyword_values(one), keyword_values(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Connection options without the user and its password, which are in the password file and in `repuser`. `None`: there are no others.
fn without_login(options: &str) -> Option<String> {
    let mut words = keyword_values(options).ok()?;
    words.remove("password");
    words.remove("user");
    (!words.is_empty()).then(|| config::conninfo(&words))
}

/// What a file of the operator's own means for a password in config.ini, which is put into another.
pub(super) fn unread_password(id: &str, plan: &Plan, primitive: &Tree) -> Option<String> {
    let is_default = plan.pgsql.defaults.contains(&"passfile");
    let mut params = plan.pgsql.set_params();
    let (_, ours) = params.find(|(name, _)| *name == "passfile" && is_default)?;
    let theirs = parameter(primitive, "passfile").filter(|now| !now.is_empty() && *now != ours)?;
    Some(format!(
        "{id}: passfile={theirs} stays, and the password of config.ini is put into {ours}, which is not read then: set pgsql_passfile to one of the two"
    ))
}

/// That the cluster's configuration has a password in it, which stays as config.ini has none.
pub(super) fn open_password(id: &str, plan: &Plan, primitive: &Tree) -> Option<String> {
    let options = parameter(primitive, "primary_conninfo_opt")?;
    let is_left = plan.pgsql.defaults.contains(&"primary_conninfo_opt") && !plan.has_password;
    (is_left && config::has_password(options)).then(|| {
        format!(
            "{id}: primary_conninfo_opt has a password in it, which every user of the cluster can read: with pgsql_reppassword in config.ini it goes \
             into a file"
        )
    })
}

/// The parameters of what watches the gateway, likewise, and what stays.
pub(super) fn of_gateway(primitive: &Tree, wanted: &Primitive) -> (Primitive, Vec<String>) {
    let (mut wanted, mut kept) = (wanted.clone(), Vec::new());
    let defaults = wanted.defaults.clone();
    let id = wanted.id.clone();
    wanted.params.retain(|(name, value)| {
        let Some(now) = parameter(primitive, name).filter(|_| defaults.contains(name)) else {
            return true;
        };
        let (there, needed) = (same::duration(now), same::duration(value));
        // What is made of it before all nodes have looked would move the primary.
        if *name == "dampen" && there.is_none_or(|there| Some(there) < needed) {
            return true;
        }
        if now != value && there != needed {
            kept.push(format!(
                "{id}: {name}={now} stays; config.ini says nothing of it"
            ));
        }
        false
    });
    (wanted, kept)
}

/// What the agent would refuse of a database's parameters: what stays and what config.ini says need not go together.
///
/// # Errors
/// A sentence.
pub(super) fn usable(configuration: &Tree, id: &str) -> Result<(), String> {
    let is_it = |e: &Tree| e.tag == "primitive" && e.id() == id;
    let Some(primitive) = configuration.find(&is_it) else {
        return Ok(());
    };
    let meta = [("CRM_meta_promoted_max", "1"), ("CRM_meta_notify", "true")];
    let pairs = sets(primitive, "instance_attributes").flat_map(|set| set.children_named("nvpair"));
    let own = pairs.filter_map(|pair| Some((pair.get("name")?, pair.get("value")?)));
    let given = meta
        .into_iter()
        .chain(own)
        .map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.to_owned()));
    let instance = ("OCF_RESOURCE_INSTANCE".to_owned(), id.to_owned());
    let vars = Vars::new(std::iter::once(instance).chain(given));
    let Resolved {
        params,
        mut problems,
    } = Params::resolve(&vars);
    if let Ok(env) = OcfEnv::from_vars(&vars) {
        problems.extend(check_consistency(&params, &env).err());
    }
    match problems.first() {
        None => Ok(()),
        Some(problem) => Err(format!(
            "nothing was done: what the cluster's resource {id} has, and what config.ini says, do not go together: {problem}; say in config.ini \
             how it is to be"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::config::read;
    use crate::setup::parts::Names;
    use crate::setup::plan::Values;

    const CONFIG: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\n\
                          pgsql_repuser=repl\n";
    const LOCK: &str = "pgsql_enable_distlock=true\npgsql_distlock_conninfo='host=lock user=u'\n";
    const PASSWORD: &str = "pgsql_reppassword=x\n";
    const KEEPALIVES: &str = "keepalives_idle=60 keepalives_interval=5 keepalives_count=5";

    fn plan(lines: &str) -> Plan {
        let (site, _) = read(&format!("{CONFIG}{lines}")).unwrap();
        Plan::named(&Values::from(&site), Names::default())
    }

    fn primitive(params: &[(&str, &str)]) -> Tree {
        let mut set = Tree::new("instance_attributes").with("id", "s");
        for (name, value) in params {
            set = set.holding([Tree::new("nvpair")
                .with("id", *name)
                .with("name", *name)
                .with("value", *value)]);
        }
        Tree::new("primitive").with("id", "pgsql").holding([set])
    }

    #[test]
    fn what_somebody_chose_stays_and_what_followed_follows() {
        let nodes = ("node_list", "a b");
        for (lines, there, name, expected) in [
            // (config.ini, what the cluster has, the parameter, what it is set to; None: it is left alone)
            ("", &[][..], "rep_mode", Some("sync")),
            ("", &[("rep_mode", "async")], "rep_mode", None),
            (
                "pgsql_rep_mode=sync\n",
                &[("rep_mode", "async")],
                "rep_mode",
                Some("sync"),
            ),
            ("", &[], "on_divergence", Some("rewind_or_rebuild")),
            (
                "",
                &[("on_divergence", "")],
                "on_divergence",
                Some("rewind_or_rebuild"),
            ),
            ("", &[("on_divergence", "stop")], "on_divergence", None),
            (
                "pgsql_on_divergence=rewind\n",
                &[("on_divergence", "stop")],
                "on_divergence",
                Some("rewind"),
            ),
            // Of another mode nobody has said so much.
            ("", &[("rep_mode", "async")], "on_divergence", None),
            ("", &[], "primary_conninfo_opt", Some(KEEPALIVES)),
            (
                "",
                &[("primary_conninfo_opt", "sslmode=verify-full")],
                "primary_conninfo_opt",
                None,
            ),
            (
                "",
                &[("primary_conninfo_opt", "user=r password=p")],
                "primary_conninfo_opt",
                None,
            ),
            (
                PASSWORD,
                &[("primary_conninfo_opt", "sslmode=verify-full")],
                "primary_conninfo_opt",
                None,
            ),
            (
                PASSWORD,
                &[("primary_conninfo_opt", "user=r password=p")],
                "primary_conninfo_opt",
                Some(KEEPALIVES),
            ),
            (
                PASSWORD,
                &[(
                    "primary_conninfo_opt",
                    "user=r password='p q' sslmode=verify-full",
                )],
                "primary_conninfo_opt",
                Some("sslmode=verify-full"),
            ),
            (
                PASSWORD,
                &[(
                    "primary_conninfo_opt",
                    "keepalives_count=5 password=p keepalives_idle=60 keepalives_interval=5",
                )],
                "primary_conninfo_opt",
                Some(KEEPALIVES),
            ),
            (
                "",
                &[(
                    "primary_conninfo_opt",
                    "keepalives_count=5 keepalives_idle=60 keepalives_interval=5",
                )],
                "primary_conninfo_opt",
                None,
            ),
            (PASSWORD, &[], "passfile", Some("/etc/expgsql/pgpass")),
            (PASSWORD, &[("passfile", "/x")], "passfile", None),
            ("", &[], "master_ip", Some("192.0.2.9")),
            ("", &[("master_ip", "192.0.2.20")], "master_ip", None),
            // That of the writer's address, which moves.
            (
                "",
                &[("master_ip", "192.0.2.8")],
                "master_ip",
                Some("192.0.2.9"),
            ),
            (
                LOCK,
                &[nodes],
                "distlock_lockservice_deadcheck_nodelist",
                Some("a b c"),
            ),
            (
                LOCK,
                &[nodes, ("distlock_lockservice_deadcheck_nodelist", "b a")],
                "distlock_lockservice_deadcheck_nodelist",
                Some("a b c"),
            ),
            (
                LOCK,
                &[nodes, ("distlock_lockservice_deadcheck_nodelist", "a")],
                "distlock_lockservice_deadcheck_nodelist",
                None,
            ),
            // What config.ini says in other words.
            ("", &[nodes], "node_list", Some("a b c")),
            (
                LOCK,
                &[("enable_distlock", "false")],
                "enable_distlock",
                Some("true"),
            ),
        ] {
            let wanted = of_database(&primitive(there), &plan(lines), Some("192.0.2.8"));
            let mut set = wanted.set_params().filter(|(it, _)| *it == name);
            let found = set.next().map(|(_, value)| value);
            // What is there already is no change.
            let is_there = there
                .iter()
                .any(|(it, now)| *it == name && Some(*now) == found);
            assert_eq!(
                found.filter(|_| !is_there),
                expected,
                "{lines} {there:?} {name}"
            );
        }
    }

    /// Whatever follows from something else is in one of the two tables above: a new one has to be thought about.
    #[test]
    fn every_parameter_that_config_ini_does_not_name_is_known() {
        let lines = format!("{LOCK}{PASSWORD}");
        let said = ["pgctl", "pgdata", "repuser", "distlock_conninfo"];
        let in_other_words = [
            "node_list",
            "enable_distlock",
            "distlock_lock_cmd",
            "distlock_unlock_cmd",
        ];
        let plan = plan(&lines);
        for (name, value) in &plan.pgsql.params {
            let is_known = said.contains(name)
                || in_other_words.contains(name)
                || plan.pgsql.defaults.contains(name);
            assert!(is_known, "{name}={value}");
        }
    }

    #[test]
    fn a_password_that_nobody_reads_is_told() {
        let told = |lines: &str, file: &str| {
            unread_password("pgsql", &plan(lines), &primitive(&[("passfile", file)])).is_some()
        };
        assert!(told(PASSWORD, "/x"));
        assert!(!told(PASSWORD, "/etc/expgsql/pgpass"));
        assert!(!told("", "/x"));
        assert!(!told("pgsql_reppassword=x\npgsql_passfile=/y\n", "/x"));
        let open = |lines: &str, options: &str| {
            let there = primitive(&[("primary_conninfo_opt", options)]);
            open_password("pgsql", &plan(lines), &there).is_some()
        };
        assert!(open("", "user=r password=p"));
        assert!(!open("", "sslmode=verify-full"));
        assert!(!open(PASSWORD, "user=r password=p"));
    }

    #[test]
    fn what_stays_of_the_gateways_watch() {
        let plan = plan("gateway_ip='192.0.2.1 192.0.2.2'\n");
        let wanted = plan.gateway.unwrap();
        let there = |dampen: &str| {
            primitive(&[
                ("dampen", dampen),
                ("attempts", "5"),
                ("multiplier", "7"),
                ("timeout", "2"),
            ])
        };
        let (left, kept) = of_gateway(&there("1min"), &wanted);
        let names: Vec<&str> = left.params.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["host_list", "name", "multiplier"]);
        assert_eq!(
            kept,
            [
                "pgsql-gateway: dampen=1min stays; config.ini says nothing of it",
                "pgsql-gateway: attempts=5 stays; config.ini says nothing of it",
            ]
        );
        // Too short for two gateways.
        let (left, _) = of_gateway(&there("5s"), &wanted);
        assert!(
            left.params
                .iter()
                .any(|(name, value)| *name == "dampen" && value == "30s")
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let configuration = |more: &[(&str, &str)]| {
            let base = [("pgdata", "/data"), ("master_ip", "192.0.2.9")];
            let all: Vec<_> = base.iter().chain(more).copied().collect();
            Tree::new("configuration").holding([primitive(&all)])
        };
        let fits = [("rep_mode", "sync"), ("sync_node_list", "a")];
        assert_eq!(usable(&configuration(&fits), "pgsql"), Ok(()));
        let other = [("rep_mode", "async"), ("sync_node_list", "a")];
        let why = usable(&configuration(&other), "pgsql").unwrap_err();
        assert!(why.contains("do not go together"), "{why}");
        assert_eq!(usable(&Tree::new("configuration"), "pgsql"), Ok(()));
    }
}
