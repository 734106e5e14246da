//! What the command line names the service by: a connection string, or a call of psql as pha4pgsql's scripts have it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::conninfo::words::{Words, words};

use crate::conninfo::{Conninfo, ConninfoError};

/// libpq's environment variables, and the keywords they stand for.
///
/// `PGPASSFILE` is looked at where passwords are.
const VARIABLES: [(&str, &str); 18] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGDATABASE", "dbname"),
    ("PGPASSWORD", "password"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSERVICE", "service"),
];

/// libpq's own default on Debian and Red Hat.
const SOCKET: &str = "/var/run/postgresql";

/// Why the first argument names no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LoginError {
    #[error("{0}")]
    Conninfo(#[from] ConninfoError),
    #[error("a quote in the psql command is never closed")]
    OpenQuote,
    #[error(
        "psql's option {0:?} is not understood; write -h, -p, -U and -d, or a connection string such as \"host=h user=u dbname=d\""
    )]
    Option(String),
    #[error("psql's option {0:?} needs a value")]
    NoValue(String),
    #[error(
        "the command is run by something else than psql itself; write a connection string such as \"host=h user=u dbname=d\""
    )]
    NotPsql,
    #[error("psql is given more than a database and a user")]
    TooMuch,
}

/// Understands `text` as [`Conninfo::parse`] does, or as a call of psql, with the environment for what it does not
/// say.
pub(super) fn login(
    text: &str,
    env: impl Fn(&str) -> Option<String>,
    os_user: Option<&str>,
) -> Result<Conninfo, LoginError> {
    let (given, own_env) = match psql(text)? {
        Some(call) => call,
        None => (words(text).map_err(ConninfoError::from)?, BTreeMap::new()),
    };
    let mut all = Words::new();
    for (variable, keyword) in VARIABLES {
        let value = own_env.get(variable).cloned().or_else(|| env(variable));
        all.extend(value.map(|value| (keyword.to_owned(), value)));
    }
    // A host that is given is not the one whose address the environment has.
    if given.contains_key("host") {
        all.remove("hostaddr");
    }
    all.extend(given);
    let is_set =
        |all: &Words, keyword: &str| all.get(keyword).is_some_and(|value| !value.is_empty());
    if !is_set(&all, "host") && !is_set(&all, "hostaddr") {
        all.insert("host".to_owned(), SOCKET.to_owned());
    }
    if let Some(user) = os_user.filter(|_| !is_set(&all, "user")) {
        all.insert("user".to_owned(), user.to_owned());
    }
    Ok(Conninfo::of_words(all)?)
}

/// What `text` itself says, a connection string or a call of psql, as keywords of a connection string. The environment of this
/// process does not count.
///
/// # Errors
/// What is wrong with it, without its values.
pub(crate) fn keywords(text: &str) -> Result<Words, String> {
    let (given, env) = match psql(text).map_err(|error| error.to_string())? {
        Some(call) => call,
        None => (
            words(text).map_err(|error| error.to_string())?,
            BTreeMap::new(),
        ),
    };
    let of_env = VARIABLES.iter().filter_map(|(variable, keyword)| {
        Some(((*keyword).to_owned(), env.get(*variable)?.clone()))
    });
    let all: Words = of_env.chain(given).collect();
    Conninfo::of_words(all.clone()).map_err(|error| error.to_string())?;
    Ok(all)
}

type Call = (Words, BTreeMap<String, String>);

/// `None`: this is no command.
fn psql(text: &str) -> Result<Option<Call>, LoginError> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.starts_with("postgres://") || first.starts_with("postgresql://") {
        return Ok(None);
    }
    let Ok(all) = shell_words::split(text) else {
        // Let the connection string's own rules say what is wrong, unless it is none.
        return if first.contains('=') {
            Ok(None)
        } else {
            Err(LoginError::OpenQuote)
        };
    };
    let is_psql = |word: &str| {
        Path::new(word)
            .file_name()
            .is_some_and(|name| name == "psql")
    };
    let Some(at) = all.iter().position(|word| is_psql(word)) else {
        return if first.contains('=') || text.contains('=') && !text.contains(" -") {
            Ok(None)
        } else {
            Err(LoginError::NotPsql)
        };
    };
    // PGPASSWORD=… psql …
    let mut env = BTreeMap::new();
    for word in &all[..at] {
        let (name, value) = word
            .split_once('=')
            .filter(|(name, _)| name.starts_with("PG"))
            .ok_or(LoginError::NotPsql)?;
        env.insert(name.to_owned(), value.to_owned());
    }
    Ok(Some((arguments(&all[at + 1..])?, env)))
}

fn arguments(args: &[String]) -> Result<Words, LoginError> {
    let mut found = Words::new();
    let mut positional = Vec::new();
    let mut args = args.iter().map(String::as_str);
    let mut database = None;
    while let Some(arg) = args.next() {
        let mut put = |keyword: &str, value: &str| {
            if keyword == "dbname" {
                database = Some(value.to_owned());
            } else if !keyword.is_empty() {
                found.insert(keyword.to_owned(), value.to_owned());
            }
        };
        if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = long
                .split_once('=')
                .map_or((long, None), |(n, v)| (n, Some(v)));
            let keyword = match name {
                "host" => "host",
                "port" => "port",
                "username" => "user",
                "dbname" => "dbname",
                "set" | "variable" | "pset" => "",
                "no-password" | "quiet" | "tuples-only" | "no-align" | "no-psqlrc" => continue,
                _ => return Err(LoginError::Option(format!("--{name}"))),
            };
            let value = match value {
                Some(value) => value,
                None => args
                    .next()
                    .ok_or_else(|| LoginError::NoValue(format!("--{name}")))?,
            };
            put(keyword, value);
        } else if let Some(short) = arg.strip_prefix('-').filter(|short| !short.is_empty()) {
            for (at, letter) in short.char_indices() {
                let keyword = match letter {
                    'h' => "host",
                    'p' => "port",
                    'U' => "user",
                    'd' => "dbname",
                    'v' | 'P' => "",
                    'w' | 'q' | 't' | 'A' | 'X' | 'n' => continue,
                    _ => return Err(LoginError::Option(format!("-{letter}"))),
                };
                let rest = &short[at + letter.len_utf8()..];
                let value = if rest.is_empty() {
                    args.next()
                        .ok_or_else(|| LoginError::NoValue(format!("-{letter}")))?
                } else {
                    rest
                };
                put(keyword, value);
                break;
            }
        } else {
            positional.push(arg);
        }
    }
    let mut positional = positional.into_iter();
    if database.is_none() {
        database = positional.next().map(str::to_owned);
    }
    if let Some(user) = positional.next() {
        found.insert("user".to_owned(), user.to_owned());
    }
    if positional.next().is_some() {
        return Err(LoginError::TooMuch);
    }
    match database {
        // A whole connection string; what it says counts.
        Some(text) if text.contains('=') || text.contains("://") => {
            found.extend(words(&text).map_err(ConninfoError::from)?);
        }
        Some(name) => {
            found.insert("dbname".to_owned(), name);
        }
        None => {}
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Conninfo, LoginError> {
        login(text, |_| None, Some("root"))
    }

    #[test]
    fn a_call_of_psql_means_what_psql_would_connect_to() {
        let expected = Conninfo::parse("host=h port=5439 user=u dbname=d").unwrap();
        for text in [
            "host=h port=5439 user=u dbname=d",
            "postgresql://u@h:5439/d",
            "psql -h h -p 5439 -U u d",
            "psql -h h -p 5439 d u",
            "/usr/pgsql-15/bin/psql -qAtX -hh -p5439 -U u -d d",
            "psql --host=h --port 5439 --username=u --dbname=d --no-password",
            r#"psql "host=h port=5439 user=u dbname=d""#,
            "psql 'postgresql://u@h:5439/d' -v ON_ERROR_STOP=1",
            "psql -U other -d 'host=h port=5439 user=u dbname=d'",
            "PGHOST=h PGPORT=5439 psql -U u d",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
        let with_password = parse("PGPASSWORD=zq7x psql -h h -U u d").unwrap();
        assert_eq!(with_password.password.unwrap().reveal(), "zq7x");
    }

    #[test]
    fn the_environment_fills_in_what_is_not_said() {
        let env = |name: &str| match name {
            "PGHOST" => Some("e".to_owned()),
            "PGPORT" => Some("7".to_owned()),
            "PGSSLMODE" => Some("require".to_owned()),
            _ => None,
        };
        let found = login("host=h user=u", env, None).unwrap();
        assert_eq!(
            found,
            Conninfo::parse("host=h port=7 user=u sslmode=require").unwrap()
        );
        let found = login("psql", env, Some("root")).unwrap();
        assert_eq!(
            (found.hosts[0].name.as_str(), found.user.as_str()),
            ("e", "root")
        );
        let local = parse("psql -d d").unwrap();
        assert!(local.hosts[0].is_socket());
    }

    #[test]
    fn what_is_not_understood_is_said_without_a_value() {
        for (text, part) in [
            ("psql -h h -c zq7x", "\"-c\" is not understood"),
            ("psql --file=zq7x", "\"--file\" is not understood"),
            ("psql -h", "needs a value"),
            ("psql a b c", "more than"),
            ("sudo -u postgres psql -h h", "something else than psql"),
            ("ssh zq7x psql", "something else than psql"),
            ("zq7x", "something else than psql"),
            ("psql 'host=zq7x", "never closed"),
            ("psql -h h 'password=zq7x pasword=zq7x'", "\"pasword\""),
            ("host=h user='zq7x", "never closed"),
            ("", "something else"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("zq7x"), "{error}");
        }
    }
}
