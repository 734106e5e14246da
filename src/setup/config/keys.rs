//! The keys of config.ini: pha4pgsql's, and ours.

use crate::params::{PARAMS, Param};

/// What a key that is no parameter of the agent looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    /// Whole seconds, `s` may follow.
    Seconds,
    Number,
    Boolean,
    /// Not shown.
    Secret,
    /// pha4pgsql needed it. It is accepted, so that its files can be used as they are, and changes nothing.
    Unused,
}

/// A key that is not `pgsql_` and a parameter of the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
}

const fn key(name: &'static str, form: Form) -> Key {
    Key { name, form }
}

/// Those that are not one of a family (`node1`, `node2`, …; `pgsql_PARAMETER`).
pub(crate) const KEYS: &[Key] = &[
    key("pcs_template", Form::Text),
    key("OCF_ROOT", Form::Text),
    key("resource_name", Form::Text),
    key("RESOURCE_LIST", Form::Text),
    key("pha4pgsql_dir", Form::Unused),
    key("use_ssh", Form::Unused),
    key("writer_vip", Form::Text),
    key("reader_vip", Form::Text),
    key("othernodes", Form::Text),
    key("vip_nic", Form::Text),
    key("vip_cidr_netmask", Form::Number),
    key("gateway_ip", Form::Text),
    // Misspelt since 2016; both spellings mean the same.
    key("pgsql_reppassord", Form::Secret),
    key("pgsql_reppassword", Form::Secret),
    key("pgsql_distlock_psql_cmd", Form::Secret),
    // Of the user in distlock_conninfo, so that the connection string has none in it.
    key("pgsql_distlock_password", Form::Secret),
    key("stonith_enabled", Form::Boolean),
    key("no_quorum_policy", Form::Text),
    key("migration_threshold", Form::Number),
    key("failure_timeout", Form::Seconds),
    key("resource_stickiness", Form::Number),
    key("reader_score", Form::Number),
    key("reader_on_primary", Form::Boolean),
    key("monitor_interval", Form::Seconds),
    key("promoted_monitor_interval", Form::Seconds),
    key("deep_monitor_interval", Form::Seconds),
    key("promoted_deep_monitor_interval", Form::Seconds),
    key("storage_monitor_interval", Form::Seconds),
    key("promoted_storage_monitor_interval", Form::Seconds),
    key("vip_monitor_interval", Form::Seconds),
    key("operation_timeout", Form::Seconds),
];

/// What a name in config.ini stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    Key(Key),
    /// `pgsql_` and its name.
    Param(&'static Param),
    /// `node1`, `node2`, …: which of them.
    Node(usize),
}

/// The prefix of the agent's parameters.
pub(crate) const PARAM_PREFIX: &str = "pgsql_";

/// What `name` is.
pub(crate) fn find(name: &str) -> Option<Known> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Some(Known::Key(*key));
    }
    if let Some(number) = name.strip_prefix("node") {
        let number = number.parse().ok().filter(|n| (1..=99).contains(n))?;
        return Some(Known::Node(number));
    }
    let name = name.strip_prefix(PARAM_PREFIX)?;
    PARAMS
        .iter()
        .find(|param| param.name == name)
        .map(Known::Param)
}

/// The known name that is most like `name`, where one is like it.
pub(crate) fn nearest(name: &str) -> Option<String> {
    let nodes = (1..=3).map(|n| format!("node{n}"));
    let params = PARAMS.iter().map(|p| format!("{PARAM_PREFIX}{}", p.name));
    let keys = KEYS.iter().map(|key| key.name.to_owned());
    // A parameter without the prefix is the likeliest mistake.
    let bare = format!("{PARAM_PREFIX}{name}");
    keys.chain(nodes)
        .chain(params)
        .map(|known| (distance(name, &known).min(distance(&bare, &known)), known))
        .filter(|(distance, known)| *distance <= known.len().min(name.len()) / 3)
        .min()
        .map(|(_, known)| known)
}

/// How many characters must be added, removed or replaced; in any case of letters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_answered_with_the_name_that_was_meant() {
        for (typed, meant) in [
            ("writer_ip", Some("writer_vip")),
            ("pgsql_pgprot", Some("pgsql_pgport")),
            ("pgdata", Some("pgsql_pgdata")),
            ("rep_mode", Some("pgsql_rep_mode")),
            ("PCS_TEMPLATE", Some("pcs_template")),
            ("ocf_root", Some("OCF_ROOT")),
            ("nod1", Some("node1")),
            ("pgsql_reppasword", Some("pgsql_reppassord")),
            ("favourite_colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed).as_deref(), meant, "{typed}");
        }
    }

    #[test]
    fn every_key_of_the_older_scripts_is_known() {
        for name in "pcs_template OCF_ROOT RESOURCE_LIST pha4pgsql_dir writer_vip reader_vip node1 node2 node3 othernodes \
                     vip_nic vip_cidr_netmask pgsql_pgctl pgsql_psql pgsql_pgdata pgsql_pghost pgsql_pgport pgsql_socketdir \
                     pgsql_restore_command pgsql_rep_mode pgsql_repuser pgsql_reppassord pgsql_enable_distlock \
                     pgsql_distlock_psql_cmd pgsql_distlock_lockname use_ssh"
            .split_whitespace()
        {
            assert!(find(name).is_some(), "{name}");
        }
        for name in [
            "node0",
            "node",
            "nodex",
            "pgsql_",
            "pgsql_nosuch",
            "node100",
        ] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn no_name_means_two_things() {
        for key in KEYS {
            let name = key.name.strip_prefix(PARAM_PREFIX);
            assert!(
                !PARAMS.iter().any(|param| Some(param.name) == name),
                "{}",
                key.name
            );
        }
    }
}
