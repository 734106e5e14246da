//! Connection strings as libpq understands them.
//!
//! The client library knows neither `verify-full` nor `sslrootcert` nor `passfile`, and refuses a string that has
//! them, so that the string is taken apart here. No error repeats a value: it may be the password.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslNegotiation, TargetSessionAttrs};

use super::require_auth::RequireAuth;
use super::words::{SyntaxError, Words, words};
use crate::params::Secret;

/// How much of TLS is asked for. Source: libpq, "SSL Mode Descriptions".
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum SslMode {
    Disable,
    /// As `prefer` here: TLS where the server has it.
    Allow,
    Prefer,
    /// TLS with whoever answers; with `sslrootcert` as `verify-ca`, which libpq does too.
    Require,
    VerifyCa,
    VerifyFull,
}

/// One server of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name, address or, when it begins with `/`, the directory of a socket.
    pub name: String,
    /// Where to connect to, when not where `name` leads.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Host {
    /// A socket on this machine?
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/') && self.address.is_none()
    }
}

/// A connection string, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conninfo {
    pub hosts: Vec<Host>,
    pub user: String,
    pub dbname: String,
    pub password: Option<Secret>,
    pub passfile: Option<PathBuf>,
    pub sslmode: SslMode,
    pub sslrootcert: Option<PathBuf>,
    pub sslcert: Option<PathBuf>,
    pub sslkey: Option<PathBuf>,
    pub ssl_negotiation: SslNegotiation,
    pub channel_binding: ChannelBinding,
    pub require_auth: Option<RequireAuth>,
    /// For one host.
    pub connect_timeout: Option<Duration>,
    pub target_session_attrs: TargetSessionAttrs,
    pub options: Option<String>,
    pub application_name: Option<String>,
}

/// Why a connection string can't be used, without its values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("{0:?} is no keyword of a connection string; look for a typing error")]
    UnknownKeyword(String),
    #[error("{keyword} is not supported here ({why}); take it out")]
    Unsupported { keyword: String, why: &'static str },
    #[error("{keyword} is not {expected}")]
    Value {
        keyword: &'static str,
        expected: &'static str,
    },
    #[error("it names {hosts} hosts and {others} {what}; give one for all, or one for each host")]
    Count {
        hosts: usize,
        others: usize,
        what: &'static str,
    },
    #[error("it names no host; add host=, the lock service is a PostgreSQL outside the cluster")]
    NoHost,
    #[error("it names no user; add user=, the role that may update the lock's table")]
    NoUser,
}

const KEYWORDS: [&str; 18] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "dbname",
    "password",
    "passfile",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslnegotiation",
    "channel_binding",
    "require_auth",
    "connect_timeout",
    "target_session_attrs",
    "options",
    "application_name",
];

/// What libpq knows and what changes nothing here: the bounds on a silent connection are this client's own.
const IGNORED: [&str; 12] = [
    "fallback_application_name",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslcompression",
    "sslsni",
    "load_balance_hosts",
    "krbsrvname",
    "gsslib",
];

impl Conninfo {
    /// Understands `keyword=value …` and `postgresql://…`.
    ///
    /// # Errors
    /// [`ConninfoError`], which holds no value.
    pub fn parse(text: &str) -> Result<Self, ConninfoError> {
        Self::of_words(words(text)?)
    }

    /// Whether whoever answers has to prove that it is the service. A socket's directory proves it.
    #[must_use]
    pub fn verifies(&self) -> bool {
        let by_tls = match self.sslmode {
            SslMode::VerifyCa | SslMode::VerifyFull => true,
            // As libpq does where it has a file to do it with.
            SslMode::Require => self.sslrootcert.is_some(),
            SslMode::Disable | SslMode::Allow | SslMode::Prefer => false,
        };
        by_tls || self.hosts.iter().all(Host::is_socket)
    }

    pub(crate) fn of_words(mut words: Words) -> Result<Self, ConninfoError> {
        for (keyword, value) in &words {
            judge(keyword, value)?;
        }
        // Empty is unset, as in libpq.
        let mut take = |keyword: &str| words.remove(keyword).filter(|value| !value.is_empty());
        let hosts = hosts(take("host"), take("hostaddr"), take("port"))?;
        let user = take("user").ok_or(ConninfoError::NoUser)?;
        let several = hosts.len() > 1;
        Ok(Self {
            hosts,
            dbname: take("dbname").unwrap_or_else(|| user.clone()),
            user,
            password: take("password").map(Secret::new),
            passfile: take("passfile").map(PathBuf::from),
            sslmode: match take("sslmode") {
                None => SslMode::Prefer,
                Some(mode) => mode.parse().map_err(|_: strum::ParseError| {
                    value(
                        "sslmode",
                        "one of disable, allow, prefer, require, verify-ca, verify-full",
                    )
                })?,
            },
            sslrootcert: take("sslrootcert").map(PathBuf::from),
            sslcert: take("sslcert").map(PathBuf::from),
            sslkey: take("sslkey").map(PathBuf::from),
            ssl_negotiation: match take("sslnegotiation").as_deref() {
                None | Some("postgres") => SslNegotiation::Postgres,
                Some("direct") => SslNegotiation::Direct,
                Some(_) => return Err(value("sslnegotiation", "postgres or direct")),
            },
            channel_binding: match take("channel_binding").as_deref() {
                None | Some("prefer") => ChannelBinding::Prefer,
                Some("require") => ChannelBinding::Require,
                Some("disable") => ChannelBinding::Disable,
                Some(_) => return Err(value("channel_binding", "disable, prefer or require")),
            },
            require_auth: match take("require_auth") {
                None => None,
                Some(text) => Some(RequireAuth::parse(&text).ok_or_else(|| {
                    value(
                        "require_auth",
                        "a list of password, md5, scram-sha-256, none and others of libpq",
                    )
                })?),
            },
            connect_timeout: match take("connect_timeout") {
                None => None,
                Some(text) => {
                    let seconds: i32 = text
                        .trim()
                        .parse()
                        .map_err(|_| value("connect_timeout", "a whole number of seconds"))?;
                    u64::try_from(seconds)
                        .ok()
                        .filter(|seconds| *seconds > 0)
                        .map(Duration::from_secs)
                }
            },
            target_session_attrs: match take("target_session_attrs").as_deref() {
                // Of several servers the one that can be written to is the lock service.
                None if several => TargetSessionAttrs::ReadWrite,
                None | Some("any") => TargetSessionAttrs::Any,
                Some("read-write" | "primary") => TargetSessionAttrs::ReadWrite,
                Some(_) => {
                    return Err(value(
                        "target_session_attrs",
                        "any or read-write: a lock has to be written",
                    ));
                }
            },
            options: take("options"),
            application_name: take("application_name"),
        })
    }
}

const fn value(keyword: &'static str, expected: &'static str) -> ConninfoError {
    ConninfoError::Value { keyword, expected }
}

fn judge(keyword: &str, value: &str) -> Result<(), ConninfoError> {
    if KEYWORDS.contains(&keyword) || IGNORED.contains(&keyword) || value.is_empty() {
        return Ok(());
    }
    let why = match (keyword, value) {
        ("gssencmode", "disable" | "prefer") => return Ok(()),
        ("gssencmode" | "requirepeer" | "gssdelegation", _) => "this client can't",
        ("sslcrl" | "sslcrldir" | "sslpassword" | "sslcertmode", _) => "this client can't",
        ("ssl_min_protocol_version" | "ssl_max_protocol_version", _) => {
            "TLS 1.2 and 1.3 are used, nothing older"
        }
        ("service" | "servicefile", _) => "write host, user and dbname here",
        ("replication", _) => "a lock is taken over a plain connection",
        _ => return Err(ConninfoError::UnknownKeyword(keyword.to_owned())),
    };
    Err(ConninfoError::Unsupported {
        keyword: keyword.to_owned(),
        why,
    })
}

fn hosts(
    names: Option<String>,
    addresses: Option<String>,
    ports: Option<String>,
) -> Result<Vec<Host>, ConninfoError> {
    let split = |text: Option<String>| -> Vec<String> {
        text.map(|text| text.split(',').map(|part| part.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (split(names), split(addresses), split(ports));
    let count = names.len().max(addresses.len());
    if count == 0 || (addresses.is_empty() && names.iter().any(String::is_empty)) {
        return Err(ConninfoError::NoHost);
    }
    let mismatch = |others: usize, what| ConninfoError::Count {
        hosts: count,
        others,
        what,
    };
    if !addresses.is_empty() && !names.is_empty() && addresses.len() != names.len() {
        return Err(mismatch(
            addresses.len().min(names.len()),
            "values of hostaddr or host",
        ));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(mismatch(ports.len(), "ports"));
    }
    let port = |place: usize| -> Result<u16, ConninfoError> {
        match ports
            .get(place)
            .or_else(|| ports.first())
            .map(String::as_str)
        {
            None | Some("") => Ok(5432),
            Some(text) => match text.parse() {
                Ok(0) | Err(_) => Err(value("port", "a port number from 1 to 65535")),
                Ok(port) => Ok(port),
            },
        }
    };
    (0..count)
        .map(|place| {
            let address = match addresses.get(place).map(String::as_str) {
                None | Some("") => None,
                Some(text) => Some(
                    text.parse()
                        .map_err(|_| value("hostaddr", "an IP address"))?,
                ),
            };
            let name = names
                .get(place)
                .filter(|name| !name.is_empty())
                .or_else(|| addresses.get(place))
                .filter(|name| !name.is_empty())
                .ok_or(ConninfoError::NoHost)?;
            Ok(Host {
                name: name.clone(),
                address,
                port: port(place)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Conninfo {
        Conninfo::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn host(name: &str, port: u16) -> Host {
        Host {
            name: name.to_owned(),
            address: None,
            port,
        }
    }

    #[test]
    fn both_forms_mean_the_same() {
        let expected = parse(
            r"host=lock.example port=5439 user='a b' password = 'it\'s \\' dbname=locks sslmode=verify-full sslrootcert=/etc/ca.crt connect_timeout=2",
        );
        assert_eq!(expected.user, "a b");
        assert_eq!(expected.hosts, [host("lock.example", 5439)]);
        assert_eq!(expected.password.as_ref().unwrap().reveal(), r"it's \");
        assert_eq!(expected.connect_timeout, Some(Duration::from_secs(2)));
        let uri = parse(
            "postgresql://a%20b:it%27s%20%5C@lock.example:5439/locks?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.crt&connect_timeout=2",
        );
        assert_eq!(uri, expected);
    }

    #[test]
    fn what_is_unset_is_libpqs_default() {
        let found = parse("host=h user=u");
        assert_eq!(found.dbname, "u");
        assert_eq!(found.hosts[0].port, 5432);
        assert_eq!(found.sslmode, SslMode::Prefer);
        assert_eq!(found.target_session_attrs, TargetSessionAttrs::Any);
        assert_eq!(parse("host=h user=u dbname='' password=''").password, None);
    }

    #[test]
    fn hosts_and_ports_pair_up() {
        for text in [
            "host=a,b port=1,2 user=u",
            "postgres://u@a:1,b:2",
            "postgresql://u@/?host=a,b&port=1,2",
        ] {
            let found = parse(text);
            assert_eq!(found.hosts, [host("a", 1), host("b", 2)], "{text}");
            assert_eq!(found.target_session_attrs, TargetSessionAttrs::ReadWrite);
        }
        assert_eq!(parse("host=a,b port=7 user=u").hosts[1].port, 7);
        assert_eq!(parse("postgresql://u@[::1]:7/d").hosts, [host("::1", 7)]);
        let by_address = parse("hostaddr=192.0.2.1 user=u");
        assert_eq!(by_address.hosts[0].name, "192.0.2.1");
        assert!(parse("host=/run/postgresql user=u").hosts[0].is_socket());
        assert!(parse("postgresql://u@%2Frun%2Fpostgresql/d").hosts[0].is_socket());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_shown() {
        for (text, part) in [
            ("zq7x", "without \"=\""),
            ("host=h user=u password='zq7x", "never closed"),
            ("host=h user=u pasword=zq7x", "\"pasword\" is no keyword"),
            (
                "host=h user=u sslmode=zq7x",
                "sslmode is not one of disable",
            ),
            ("host=h user=u port=zq7x", "port is not"),
            ("host=h user=u hostaddr=zq7x", "hostaddr is not"),
            ("host=h user=u service=zq7x", "service is not supported"),
            (
                "host=h user=u target_session_attrs=standby password=zq7x",
                "has to be written",
            ),
            (
                "host=a,b,c port=1,2 user=u password=zq7x",
                "3 hosts and 2 ports",
            ),
            ("user=u password=zq7x", "names no host"),
            ("host=h password=zq7x", "names no user"),
            ("postgresql://u:zq7x@h/d?x", "option without ="),
            ("postgresql://u:zq7x%@h/d", "% without"),
            ("postgresql://u:zq7x@[::1/d", "[ without ]"),
        ] {
            let error = Conninfo::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("zq7x"), "{error}");
        }
        assert!(!format!("{:?}", parse("host=h user=u password=zq7x")).contains("zq7x"));
    }
}
