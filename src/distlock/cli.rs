//! `expgsql distlock …`: pha4pgsql's `distlock`, and what an operator wants to know of a lock.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::time::Duration;

use nix::unistd::{User, geteuid};

use super::login::login;
use super::relay;
use super::schema::Made;
use super::service::Service;
use crate::model::lock::LockRow;
use crate::model::lock_place::Place;
use crate::sys::{Command, Deadline, poll_until};

/// Time for one question at the service.
const CALL: Duration = Duration::from_secs(10);

/// How often `lock` tries.
const TRY: Duration = Duration::from_secs(1);

/// How many changes `history` shows unless told.
const CHANGES: u32 = 20;

/// The text of `expgsql distlock --help`.
pub const HELP: &str = "\
The lock that decides who may be primary: a row in a PostgreSQL outside the cluster.

Usage:
  expgsql distlock CONNECTION init    LOCK [--role ROLE] [--force]
                                                           make or mend the table, and the row; ROLE alone may use it
  expgsql distlock CONNECTION status  LOCK [--json]        who has the lock, until when, who may be promoted
  expgsql distlock CONNECTION history LOCK [--json] [-n N] the last changes, the latest first
  expgsql distlock CONNECTION trylock LOCK OWNER SECONDS   take or renew the lock for so long: prints 1, or 0 when held
  expgsql distlock CONNECTION lock    LOCK OWNER SECONDS [TIMEOUT]
                                                           the same, and wait for it up to TIMEOUT seconds
  expgsql distlock CONNECTION unlock  LOCK OWNER           give it back: prints 1, or 0 when it was not OWNER's

The verb may also stand before CONNECTION. A link named distlock to expgsql does what `expgsql distlock` does.

  CONNECTION  \"host=lock.example user=expgsql dbname=ha sslmode=verify-full sslrootcert=/etc/expgsql/lock-ca.crt\",
              a postgresql:// address, a call of psql as older scripts have it (\"psql -h lock.example -U expgsql ha\"),
              or --resource RESOURCE: what that resource's distlock_conninfo and distlock_lockname say (LOCK is left out)
  LOCK        LOCKNAME, TABLE:LOCKNAME or SCHEMA.TABLE:LOCKNAME; the table is distlock unless named
  OWNER       who asks; the agent's own name is RESOURCE_NODE

A password on a command line is seen by everybody on the machine. Put it in ~/.pgpass (mode 600), in the file that
passfile= or PGPASSFILE names, or in PGPASSWORD. root's is looked for in /etc/expgsql/lock.pgpass as well.

Exit code: 0 with the answer on standard output, 1 with the reason on standard error.

Examples:
  expgsql distlock 'host=lock.example user=postgres dbname=ha options=-crole=expgsql_lock' init orders --role orders
  expgsql distlock --resource pgsql status
  expgsql distlock 'host=lock.example user=expgsql dbname=ha' trylock distlock:pgsql pgsql_node1 9
";

const USAGE: &str = "usage: expgsql distlock CONNECTION init|status|history|trylock|lock|unlock LOCK …; expgsql distlock --help says more";

const VERBS: [&str; 6] = ["init", "status", "history", "trylock", "lock", "unlock"];

/// What was asked for by the words behind `distlock`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    service: Named,
    verb: Verb,
}

#[derive(Clone, PartialEq, Eq)]
enum Named {
    Here { connection: String, lock: String },
    ByResource(String),
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here { lock, .. } => write!(f, "Here({lock})"),
            Self::ByResource(name) => write!(f, "ByResource({name})"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verb {
    Init {
        force: bool,
        role: Option<String>,
    },
    Status {
        json: bool,
    },
    History {
        json: bool,
        count: u32,
    },
    TryLock {
        owner: String,
        lease: Duration,
    },
    Lock {
        owner: String,
        lease: Duration,
        timeout: Duration,
    },
    Unlock {
        owner: String,
    },
}

/// Does what the words behind `distlock` ask for: the text for standard output.
///
/// # Errors
/// The text for standard error.
pub fn run(args: &[String]) -> Result<String, String> {
    match args.first().map(String::as_str) {
        Some("relay") => return relayed(),
        Some("-h" | "--help" | "help") => return Ok(HELP.to_owned()),
        Some(_) | None => {}
    }
    let call = parse(args).map_err(|what| format!("{what}\n{USAGE}"))?;
    let service = match &call.service {
        Named::Here { connection, lock } => named(connection, lock)?,
        Named::ByResource(resource) => by_resource(resource)?,
    };
    perform(&service, &call.verb)
}

/// By another node's dead-check.
fn relayed() -> Result<String, String> {
    let mut request = Vec::new();
    io::stdin()
        .read_to_end(&mut request)
        .map_err(|error| format!("no request: {error}"))?;
    Ok(relay::serve(&request) + "\n")
}

fn parse(args: &[String]) -> Result<Call, String> {
    let (mut words, mut json, mut force) = (Vec::new(), false, false);
    let (mut resource, mut count, mut role) = (None, None, None);
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let mut value = |name: &str| {
            let value = rest.next().cloned();
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        match word.as_str() {
            "--json" => json = true,
            "--force" => force = true,
            "--resource" => resource = Some(value("--resource")?),
            "--role" => role = Some(value("--role")?),
            "--conninfo" => words.insert(0, value("--conninfo")?),
            "-n" => {
                let number = value("-n")?;
                let number = number
                    .parse()
                    .map_err(|_| format!("-n {number} is no number"))?;
                count = Some(number);
            }
            _ => words.push(word.clone()),
        }
    }
    // pha4pgsql has the connection first.
    let is_verb = |place: usize| {
        words
            .get(place)
            .is_some_and(|word: &String| VERBS.contains(&word.as_str()))
    };
    let at = match (is_verb(0), is_verb(1)) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => {
            return Err(match words.get(1).or(words.first()) {
                // The first word may hold a password.
                Some(word) if words.len() > 1 => format!("{word:?} is nothing that distlock does"),
                Some(_) | None => "it is not said what to do".to_owned(),
            });
        }
    };
    let verb = words.remove(at);
    let mut words = words.into_iter();
    let mut next = |what: &str| {
        let word = words.next().filter(|word| !word.is_empty());
        word.ok_or_else(|| format!("{verb}: {what} is missing"))
    };
    let service = match resource {
        Some(resource) => Named::ByResource(resource),
        None => Named::Here {
            connection: next("the connection")?,
            lock: next("the lock")?,
        },
    };
    let parsed = match verb.as_str() {
        "init" => Verb::Init { force, role },
        "status" => Verb::Status { json },
        "history" => Verb::History {
            json,
            count: count.unwrap_or(CHANGES),
        },
        "trylock" => Verb::TryLock {
            owner: next("the owner")?,
            lease: seconds(&next("how many seconds the lock lasts")?)?,
        },
        "lock" => Verb::Lock {
            owner: next("the owner")?,
            lease: seconds(&next("how many seconds the lock lasts")?)?,
            timeout: match next("timeout") {
                Ok(text) => seconds(&text)?,
                Err(_none) => Duration::MAX,
            },
        },
        _ => Verb::Unlock {
            owner: next("the owner")?,
        },
    };
    // pha4pgsql's script takes one word more in every case without a word.
    if let Some(word) = words.nth(1) {
        return Err(format!("{verb}: {word:?} is one word too many"));
    }
    Ok(Call {
        service,
        verb: parsed,
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim().parse().ok();
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| format!("{text:?} is no number of seconds"))
}

fn named(connection: &str, lock: &str) -> Result<Service, String> {
    let user = User::from_uid(geteuid()).ok().flatten();
    let conninfo = login(
        connection,
        |name| std::env::var(name).ok().filter(|value| !value.is_empty()),
        user.as_ref().map(|user| user.name.as_str()),
    )
    .map_err(|error| format!("the connection: {error}"))?;
    let place: Place = lock
        .parse()
        .map_err(|error: super::PlaceError| error.to_string())?;
    Ok(Service::of(conninfo, place))
}

/// By the parameters that Pacemaker has of it.
fn by_resource(resource: &str) -> Result<Service, String> {
    let parameter = |name: &str| -> Result<Option<String>, String> {
        let output = Command::new("crm_resource")
            .args(["--resource", resource, "--get-parameter", name])
            .output(Deadline::after(CALL))
            .map_err(|error| format!("the parameters of {resource} can't be read: {error}"))?;
        let text = output.stdout_text().trim().to_owned();
        Ok((output.status.success() && !text.is_empty()).then_some(text))
    };
    let conninfo = parameter("distlock_conninfo")?.ok_or_else(|| {
        format!(
            "there is no distlock_conninfo of a resource {resource} in the cluster; name the connection and the lock instead"
        )
    })?;
    let lock = parameter("distlock_lockname")?.unwrap_or_else(|| resource.to_owned());
    let passfile = parameter("passfile")?;
    let passfile = passfile.as_deref().map(std::path::Path::new);
    Service::new(&crate::params::Secret::new(conninfo), &lock, passfile)
        .map_err(|error| error.to_string())
}

fn perform(service: &Service, verb: &Verb) -> Result<String, String> {
    let soon = Deadline::after(CALL);
    let answer = |is_mine: bool| if is_mine { "1\n" } else { "0\n" }.to_owned();
    match verb {
        Verb::Init { force, role } => init(service, *force, role.as_deref(), soon),
        Verb::Status { json } => match service.read(soon) {
            Ok(Some(row)) if *json => return as_json(&for_programs(&row)),
            Ok(Some(row)) => Ok(table(service.place(), &row)),
            Ok(None) => Err(super::LockError::RowMissing(service.place().to_string())),
            Err(error) => Err(error),
        },
        Verb::History { json, count } => match service.history(*count, soon) {
            Ok(changes) if *json => return as_json(&changes),
            Ok(changes) => Ok(changes.iter().map(line).collect()),
            Err(error) => Err(error),
        },
        Verb::TryLock { owner, lease } => service.plain_lock(owner, *lease, soon).map(answer),
        Verb::Unlock { owner } => service.plain_unlock(owner, soon).map(answer),
        Verb::Lock {
            owner,
            lease,
            timeout,
        } => {
            let done = poll_until(Deadline::after(*timeout), TRY, || {
                match service.plain_lock(owner, *lease, Deadline::after(CALL)) {
                    Ok(false) => None,
                    done => Some(done),
                }
            });
            done.unwrap_or(Ok(false)).map(answer)
        }
    }
    .map_err(|error| error.to_string())
}

fn init(
    service: &Service,
    force: bool,
    role: Option<&str>,
    deadline: Deadline,
) -> Result<String, super::LockError> {
    let place = service.place();
    let mut text = match service.init(force, deadline)? {
        Made::New => format!("{place} is ready\n"),
        Made::Kept(row) if row.is_free() => format!("{place} is ready; it was there: {row}\n"),
        Made::Kept(row) => format!(
            "{place} is ready; it was there and stays as it is: {row} (--force would take it away)\n"
        ),
        Made::Cleared => format!("{place} is ready, and nobody's\n"),
    };
    if let Some(role) = role {
        service.bind(role, deadline)?;
    }
    text += &match service.role(deadline)? {
        Some(role) => format!("only the role {role} may use it\n"),
        None => {
            "every role that has UPDATE on the table may use it; --role ROLE makes it one role's\n"
                .to_owned()
        }
    };
    Ok(text)
}

fn as_json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

fn for_programs(row: &LockRow) -> serde_json::Value {
    serde_json::json!({
        "owner": row.owner,
        "last_owner": row.last_owner,
        "since": row.since,
        "lease_seconds": row.lease.as_secs_f64(),
        "remaining_seconds": row.remaining.as_secs_f64(),
        "epoch": row.epoch,
        "eligible": row.eligible,
        "reports": row.reports,
        "system": row.system,
    })
}

fn table(place: &Place, row: &LockRow) -> String {
    let owner = match (&row.last_owner, row.is_free()) {
        (_, false) => row.owner.clone(),
        (Some(last), true) => format!("nobody (last: {last})"),
        (None, true) => "nobody".to_owned(),
    };
    let expires = if row.is_free() {
        "-".to_owned()
    } else if row.remaining.is_zero() {
        "expired: whoever may be promoted can take it".to_owned()
    } else if row.remaining > row.lease {
        format!(
            "in {:.1} s, more than the lease of {} s: the service's clock went back",
            row.remaining.as_secs_f32(),
            row.lease.as_secs()
        )
    } else {
        format!("in {:.1} s", row.remaining.as_secs_f32())
    };
    let eligible = match &row.eligible {
        None => "not recorded: whoever takes it".to_owned(),
        Some(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let names = names.join(" ");
            if row.reports > 1 {
                format!("{names} (with reports of {} of them)", row.reports)
            } else {
                names
            }
        }
    };
    let mut text = String::new();
    for (name, value) in [
        ("lock", place.to_string()),
        ("owner", owner),
        ("since", row.since.clone()),
        ("expires", expires),
        ("epoch", row.epoch.to_string()),
        ("eligible", eligible),
        (
            "system",
            row.system
                .clone()
                .unwrap_or_else(|| "not recorded yet".to_owned()),
        ),
    ] {
        let _infallible = writeln!(text, "{name:<9} {value}");
    }
    text
}

fn line(change: &super::Change) -> String {
    let owner = if change.owner.is_empty() {
        "(given back)"
    } else {
        &change.owner
    };
    let epoch = change
        .epoch
        .map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    let eligible = match &change.eligible {
        Some(names) => names.join(" "),
        None => "-".to_owned(),
    };
    format!(
        "{}  epoch {epoch:<4} {owner:<24} eligible {eligible}\n",
        change.since
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Call, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words)
    }

    fn here(verb: Verb) -> Result<Call, String> {
        Ok(Call {
            service: Named::Here {
                connection: "c".to_owned(),
                lock: "t:l".to_owned(),
            },
            verb,
        })
    }

    #[test]
    fn the_connection_or_the_verb_comes_first() {
        let owner = || "o".to_owned();
        let lease = Duration::from_secs(9);
        for (words, verb) in [
            (
                &["c", "trylock", "t:l", "o", "9"][..],
                Verb::TryLock {
                    owner: owner(),
                    lease,
                },
            ),
            (
                &["trylock", "c", "t:l", "o", "9"],
                Verb::TryLock {
                    owner: owner(),
                    lease,
                },
            ),
            (
                &["c", "lock", "t:l", "o", "9"],
                Verb::Lock {
                    owner: owner(),
                    lease,
                    timeout: Duration::MAX,
                },
            ),
            (
                &["c", "lock", "t:l", "o", "9", "12"],
                Verb::Lock {
                    owner: owner(),
                    lease,
                    timeout: Duration::from_secs(12),
                },
            ),
            (
                &["c", "unlock", "t:l", "o"],
                Verb::Unlock { owner: owner() },
            ),
            (
                &["init", "c", "t:l", "--force"],
                Verb::Init {
                    force: true,
                    role: None,
                },
            ),
            (
                &["c", "init", "t:l", "--role", "r"],
                Verb::Init {
                    force: false,
                    role: Some("r".to_owned()),
                },
            ),
            (
                &["status", "--conninfo", "c", "t:l", "--json"],
                Verb::Status { json: true },
            ),
            (
                &["c", "history", "t:l", "-n", "3"],
                Verb::History {
                    json: false,
                    count: 3,
                },
            ),
        ] {
            assert_eq!(parsed(words), here(verb), "{words:?}");
        }
        let by_resource = parsed(&["--resource", "pgsql", "status"]).unwrap();
        assert_eq!(by_resource.service, Named::ByResource("pgsql".to_owned()));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (words, part) in [
            (&[][..], "not said what to do"),
            (&["zq7x"], "not said what to do"),
            (&["zq7x", "grab", "t:l", "o"], "\"grab\""),
            (&["zq7x", "trylock", "t:l", "o"], "how many seconds"),
            (
                &["zq7x", "trylock", "t:l", "o", "soon"],
                "no number of seconds",
            ),
            (
                &["zq7x", "trylock", "t:l", "o", "-1"],
                "no number of seconds",
            ),
            (&["zq7x", "unlock", "t:l"], "the owner is missing"),
            (&["zq7x", "unlock", "t:l", ""], "the owner is missing"),
            (
                &["zq7x", "lock", "t:l", "o", "9", "12", "x", "y"],
                "too many",
            ),
            (&["zq7x", "status"], "the lock is missing"),
            (&["zq7x", "history", "t:l", "-n", "x"], "-n x is no number"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
            assert!(!error.contains("zq7x"), "{error}");
        }
    }
}
