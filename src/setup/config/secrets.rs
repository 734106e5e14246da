//! Passwords: taken out of what goes into the cluster's configuration, and put into a file that only the server's owner reads.

use std::fmt::Write as _;

use crate::conninfo::words::Words;
use crate::distlock;
use crate::params::Secret;

/// Where that file is, on each node, unless `pgsql_passfile` says otherwise.
pub(crate) const PASSFILE: &str = "/etc/expgsql/pgpass";

/// What there is to be kept secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passwords {
    /// Of the replication user.
    pub(crate) replication: Option<Secret>,
    /// For the lock service, with its own host, port, database and user.
    pub(crate) lock: Vec<PassLine>,
    /// config.ini has one of them, or something that is as good as one.
    pub(crate) in_file: bool,
}

/// A line of a password file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PassLine {
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl PassLine {
    /// As libpq reads it: a backslash before a colon or a backslash, also in the password.
    pub(crate) fn text(&self) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let fields = [&self.host, &self.port, &self.database, &self.user];
        let fields: Vec<String> = fields
            .iter()
            .map(|field| {
                if *field == "*" {
                    "*".to_owned()
                } else {
                    escaped(field)
                }
            })
            .collect();
        format!("{}:{}", fields.join(":"), escaped(self.password.reveal()))
    }
}

/// The lock service's connection string without its password, and the password: the one in it, or else `apart`.
///
/// # Errors
/// What is wrong with `text`, without its values.
pub(super) fn split_conninfo(
    text: &str,
    apart: Option<&str>,
) -> Result<(String, Vec<PassLine>), String> {
    // pha4pgsql's value went through sed and a shell, each of which took a backslash.
    let text = text.replace("\\\\\"", "\"").replace("\\\"", "\"");
    let mut words = distlock::keywords(&text)?;
    let password = words.remove("password").filter(|p| !p.is_empty());
    let password = password.or_else(|| apart.map(str::to_owned));
    Ok((
        conninfo(&words),
        password.map(|p| lines(&words, p)).unwrap_or_default(),
    ))
}

/// A line for each host that is named.
fn lines(words: &Words, password: String) -> Vec<PassLine> {
    let get = |name: &str| words.get(name).cloned().filter(|value| !value.is_empty());
    let user = get("user").unwrap_or_else(|| "*".to_owned());
    let database = get("dbname").unwrap_or_else(|| user.clone());
    let port = get("port").unwrap_or_else(|| "5432".to_owned());
    let hosts = get("host")
        .or_else(|| get("hostaddr"))
        .unwrap_or_else(|| "*".to_owned());
    let ports: Vec<&str> = port.split(',').collect();
    hosts
        .split(',')
        .enumerate()
        .map(|(at, host)| PassLine {
            host: host.to_owned(),
            port: (*ports.get(at).or(ports.first()).unwrap_or(&"5432")).to_owned(),
            database: database.clone(),
            user: user.clone(),
            password: Secret::new(password.clone()),
        })
        .collect()
}

/// `keyword=value …`, in an order that does not change.
pub(crate) fn conninfo(words: &Words) -> String {
    const FIRST: [&str; 4] = ["host", "port", "dbname", "user"];
    let first = FIRST.iter().filter_map(|name| words.get_key_value(*name));
    let rest = words
        .iter()
        .filter(|(name, _)| !FIRST.contains(&name.as_str()));
    let mut text = String::new();
    for (keyword, value) in first.chain(rest) {
        let separator = if text.is_empty() { "" } else { " " };
        let is_plain = !value.is_empty()
            && !value.contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '\\'));
        let _infallible = if is_plain {
            write!(text, "{separator}{keyword}={value}")
        } else {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            write!(text, "{separator}{keyword}='{value}'")
        };
    }
    text
}

/// Whether a value that would stand in the cluster's configuration has a password in it.
pub(crate) fn has_password(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.contains("password=") || lower.contains("password =") || {
        // scheme://user:password@host
        lower.split("://").nth(1).is_some_and(|rest| {
            rest.split(['/', '?', ' '])
                .next()
                .and_then(|authority| authority.rsplit_once('@'))
                .is_some_and(|(login, _)| login.contains(':'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_services_password_leaves_the_connection_string() {
        for (text, conninfo, lines) in [
            (
                "host=lock port=5439 dbname=ha user=u password=p",
                "host=lock port=5439 dbname=ha user=u",
                &["lock:5439:ha:u:p"][..],
            ),
            ("host=lock user=u", "host=lock user=u", &[]),
            (
                "postgresql://u:p%3Aq@lock/ha?sslmode=require",
                "host=lock dbname=ha user=u sslmode=require",
                &["lock:5432:ha:u:p\\:q"],
            ),
            (
                r#"/usr/bin/psql \\"host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5\\""#,
                "host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5",
                &[],
            ),
            (
                "PGPASSWORD=s psql -h lock -p 1 -U u ha",
                "host=lock port=1 dbname=ha user=u",
                &["lock:1:ha:u:s"],
            ),
            (
                "host=a,b user=u password='x y'",
                "host=a,b user=u",
                &["a:5432:u:u:x y", "b:5432:u:u:x y"],
            ),
        ] {
            let (found, secrets) = split_conninfo(text, None).unwrap();
            assert_eq!(found, conninfo, "{text}");
            let found: Vec<String> = secrets.iter().map(PassLine::text).collect();
            assert_eq!(found, lines, "{text}");
        }
        let (conninfo, secrets) = split_conninfo("host=lock user=u", Some("p:")).unwrap();
        assert_eq!(
            (conninfo.as_str(), secrets[0].text().as_str()),
            ("host=lock user=u", "lock:5432:u:u:p\\:")
        );
        for text in ["", "nonsense", "host='a", "ssh x psql"] {
            assert!(split_conninfo(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_value_is_noticed() {
        for (text, has) in [
            ("user=u password=p", true),
            ("PGPASSWORD=p psql", true),
            ("postgresql://u:p@h/d", true),
            ("postgresql://u@h:5432/d", false),
            ("keepalives_idle=60", false),
            ("passfile=/x", false),
        ] {
            assert_eq!(has_password(text), has, "{text}");
        }
    }
}
