//! The other names by which the program is called.

/// pha4pgsql's name of the lock's client, and `cls_NAME` for each command for operators: by pha4pgsql's name where it
/// had one, by ours where it had none.
pub(crate) fn names(command: &clap::Command) -> Vec<String> {
    let mut names = vec!["distlock".to_owned()];
    let cluster = command
        .get_subcommands()
        .find(|c| c.get_name() == "cluster");
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
    use expgsql::cli::Request;

    use super::*;

    #[test]
    fn each_link_is_understood_as_a_command() {
        let names = names(&expgsql::cli::command());
        for wanted in ["cls_repair_by_pg_rewind", "cls_rebuild_slave", "distlock"] {
            assert!(names.iter().any(|name| name == wanted), "{names:?}");
        }
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
