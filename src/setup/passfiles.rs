//! The password files that config.ini asks for on each node: what is in them, and whose they are.
//!
//! Each password is in a file of who uses it, and is offered only to the hosts that it is for.

use serde::{Deserialize, Serialize};

use crate::conninfo::words::keyword_values;
use crate::distlock::LOCK_PASSFILE;
use crate::params::Secret;

use super::config::{PassLine, Site};

/// The first line of such a file: one without it is somebody else's.
pub(super) const MARK: &str = "# Made by expgsql setup install from config.ini; changes are lost.";

/// A file with passwords, of mode 600.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PasswordFile {
    pub(super) path: String,
    pub(super) owner: String,
    pub(super) content: String,
}

/// Those of a site; `None`: config.ini has no such password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PasswordFiles {
    /// What standbys, and repairs of them, connect to the primary with. The server reads it.
    pub(super) replication: Option<PasswordFile>,
    /// The lock service's. Only the agent reads it, which is root: the server and who breaks into it have no use for it.
    pub(super) lock: Option<PasswordFile>,
}

impl PasswordFiles {
    pub(super) fn of(site: &Site) -> Self {
        let file = |path: String, owner: &str, lines: &[PassLine]| {
            let lines: Vec<String> = lines.iter().map(PassLine::text).collect();
            (!lines.is_empty()).then(|| PasswordFile {
                path,
                owner: owner.to_owned(),
                content: format!("{MARK}\n{}\n", lines.join("\n")),
            })
        };
        let own = site.resolved.passfile.as_ref();
        Self {
            replication: own.and_then(|path| {
                file(
                    path.display().to_string(),
                    &site.resolved.pgdba,
                    &replication(site),
                )
            }),
            lock: file(LOCK_PASSFILE.to_owned(), "root", &site.passwords.lock),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PasswordFile> {
        self.lock.iter().chain(&self.replication)
    }
}

/// A line for each place where standbys and repairs connect: the primary's address, and the nodes by name, as check does.
fn replication(site: &Site) -> Vec<PassLine> {
    let Some(password) = &site.passwords.replication else {
        return Vec::new();
    };
    let params = &site.resolved;
    let others = params
        .primary_conninfo_opt
        .as_ref()
        .and_then(|text| keyword_values(text.reveal()).ok())
        .and_then(|words| words.get("host").cloned());
    let named = others.iter().flat_map(|hosts| hosts.split(','));
    let nodes = site.nodes.iter().map(|node| node.as_str());
    let mut hosts: Vec<&str> = Vec::new();
    for host in params
        .master_ip
        .iter()
        .map(String::as_str)
        .chain(named)
        .chain(nodes)
    {
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
        .into_iter()
        .map(|host| PassLine {
            host: host.to_owned(),
            port: params.pgport.to_string(),
            database: "*".to_owned(),
            user: params.repuser.clone(),
            password: Secret::clone(password),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::config;

    const TEXT: &str = "node1=a\nnode2=b\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\npgsql_repuser=repl\n\
                        pgsql_distlock_conninfo='host=lock user=u'\npgsql_pgport=5433\n";

    fn files(more: &str) -> PasswordFiles {
        let (site, _) = config::read(&format!("{TEXT}{more}")).unwrap();
        PasswordFiles::of(&site)
    }

    #[test]
    fn each_password_is_in_the_file_of_who_uses_it() {
        assert!(files("") == PasswordFiles::default());
        let both = files("pgsql_distlock_password='l:k'\npgsql_reppassord='p\\w'\n");
        let lock = both.lock.unwrap();
        assert_eq!(lock.content, format!("{MARK}\nlock:5432:u:u:l\\:k\n"));
        assert_eq!(
            (lock.path.as_str(), lock.owner.as_str()),
            (LOCK_PASSFILE, "root")
        );
        let own = both.replication.unwrap();
        assert_eq!(
            (own.path.as_str(), own.owner.as_str()),
            ("/etc/expgsql/pgpass", "postgres")
        );
        assert!(files("pgsql_reppassord=p\n").lock.is_none());
        assert!(files("pgsql_distlock_password=p\n").replication.is_none());
    }

    #[test]
    fn the_replication_password_is_offered_to_the_hosts_it_is_for() {
        for (more, hosts) in [
            ("", &["192.0.2.9", "a", "b"][..]),
            ("pgsql_master_ip=db.example\n", &["db.example", "a", "b"]),
            (
                "pgsql_primary_conninfo_opt='host=x,192.0.2.9 sslmode=require'\n",
                &["192.0.2.9", "x", "a", "b"],
            ),
        ] {
            let own = files(&format!("pgsql_reppassord='p\\w'\n{more}")).replication;
            let lines: String = hosts
                .iter()
                .map(|host| format!("{host}:5433:*:repl:p\\\\w\n"))
                .collect();
            assert_eq!(own.unwrap().content, format!("{MARK}\n{lines}"), "{more}");
        }
    }
}
