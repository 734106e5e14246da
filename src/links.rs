//! The other names by which the program is called: links that a package, or `setup install`, makes.

use crate::cli;

/// pha4pgsql's name of the lock's client, and `cls_NAME` for each command for operators: by pha4pgsql's name where it
/// had one, by ours where it had none.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names = vec!["distlock".to_owned()];
    let all = cli::command();
    let cluster = all.get_subcommands().find(|c| c.get_name() == "cluster");
    for command in cluster.into_iter().flat_map(clap::Command::get_subcommands) {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        let older: Vec<&str> = command
            .get_all_aliases()
            .filter(|alias| alias.contains('_'))
            .collect();
        if older.is_empty() {
            names.push(format!("cls_{}", command.get_name().replace('-', "_")));
        } else {
            names.extend(older.iter().map(|alias| format!("cls_{alias}")));
        }
    }
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use crate::cli::Request;

    use super::*;

    #[test]
    fn each_link_is_understood_as_a_command() {
        let names = names();
        let pha4pgsql = "start stop status master online_switch cleanup reset_master repair_by_pg_rewind repair_slave \
                         rebuild_slave maintenance unmaintenance maintenance_node unmaintenance_node standby_node \
                         unstandby_node manage unmanage";
        for wanted in pha4pgsql.split_whitespace() {
            let wanted = format!("cls_{wanted}");
            assert!(names.contains(&wanted), "{wanted}: {names:?}");
        }
        assert!(names.iter().any(|name| name == "distlock"));
        for name in names {
            let path = format!("/usr/sbin/{name}");
            let words = [path.as_str(), "--help"].map(Into::into);
            let request = Request::parse(words);
            if name == "distlock" {
                assert!(matches!(request, Request::Distlock(_)), "{request:?}");
            } else {
                let is_help = matches!(&request, Request::Show(help) if help.contains("Usage"));
                assert!(is_help, "{name}: {request:?}");
            }
        }
    }
}
