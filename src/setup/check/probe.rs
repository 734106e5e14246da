//! Gathers the [`Facts`] of the node this runs on. Nothing is changed, and nothing is judged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::distlock::{LockError, Service};
use crate::model::repair::OnDivergence;
use crate::ocf::Vars;
use crate::pacemaker::cib::Cib;
use crate::pacemaker::{corosync, quorum};
use crate::params::{Params, Resolved};
use crate::postgres::control;
use crate::postgres::programs::Programs;
use crate::postgres::source::{rewind_grant, rewind_question};
use crate::postgres::views::WEAK;
use crate::setup::apply::{FencedBy, fenced_by};
use crate::setup::install::sum;
use crate::setup::passfiles::{PasswordFile, PasswordFiles};
use crate::sys::{Command, Deadline, Owner, RunError, poll_until};

use super::facts::{Answer, Connection, Data, Facts, Interface, Passfile, Quorum, Request};
use super::machine;
use super::starters::starters;

/// One program.
const STEP: Duration = Duration::from_secs(10);

/// How long another machine may take to say that an address is its own. On one network it takes a millisecond.
const NEIGHBOUR: Duration = Duration::from_secs(2);
const NEIGHBOUR_POLL: Duration = Duration::from_millis(100);

/// Settings that are judged.
const SETTINGS: [&str; 27] = [
    "wal_level",
    "hot_standby",
    "max_wal_senders",
    "max_replication_slots",
    "wal_keep_size",
    "restart_after_crash",
    "synchronous_commit",
    "fsync",
    "full_page_writes",
    "listen_addresses",
    "port",
    "archive_mode",
    "wal_log_hints",
    "wal_sender_timeout",
    "password_encryption",
    "max_connections",
    "max_worker_processes",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "recovery_min_apply_delay",
    "wal_receiver_timeout",
    "hot_standby_feedback",
    "archive_command",
    "archive_library",
    "wal_receiver_status_interval",
    "max_standby_streaming_delay",
    "max_standby_archive_delay",
];

/// What pg_ctl needs beside it.
const PROGRAMS: [&str; 5] = [
    "postgres",
    "pg_controldata",
    "psql",
    "pg_basebackup",
    "pg_rewind",
];

fn deadline() -> Deadline {
    Deadline::after(STEP)
}

/// Everything.
pub(super) fn gather(request: &Request) -> Facts {
    let vars = request
        .params
        .iter()
        .map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone()));
    let Resolved { params, .. } = Params::resolve(&Vars::new(vars));
    let secrets = temporary(request.passwords.replication.as_ref());
    let lock_secrets = temporary(request.passwords.lock.as_ref());
    let mut facts = Facts {
        cluster_name: first_line(Command::new("crm_node").arg("--name")),
        pacemaker: version(Command::new("pacemakerd").arg("--version")),
        corosync: version(Command::new("corosync").arg("-v")),
        installed: fs::read(&request.program).ok().map(|bytes| sum(&bytes)),
        quorum: quorum::read(deadline()).ok().map(|seen| Quorum {
            votes: seen.expected_votes,
            waits_for_all: seen.waits_for_all,
        }),
        fenced_by: Cib::live()
            .read_text(deadline())
            .map_or(FencedBy::None, |cib| fenced_by(&cib)),
        totem: totem(),
        clock: clock(),
        passfile: passfiles(&request.passwords),
        interfaces: interfaces(),
        lock: lock(&request.resource, &params, lock_secrets.as_ref()),
        ..Facts::default()
    };
    facts.taken = taken(&request.addresses, &facts.interfaces);
    facts.silent = silent(&request.gateways);
    facts.lacks_ping = !request.gateways.is_empty() && !Path::new(&request.ping).exists();
    let owner = Owner::lookup(&params.pgdba);
    facts.machine = machine::look(owner.as_ref().ok(), deadline());
    match owner {
        Ok(owner) => server(&mut facts, request, &params, &owner, secrets.as_ref()),
        Err(error) => {
            facts.postgres = Answer::Unknown(error.to_string());
            facts.objections.push(error.to_string());
        }
    }
    facts
}

fn totem() -> Option<(u64, u64)> {
    let output = Command::new("corosync-cmapctl")
        .args(["-g", corosync::TOKEN, corosync::CONSENSUS])
        .run(deadline())
        .ok()?;
    let (token, consensus) = corosync::timing(&output.stdout_text()).ok()?;
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).ok();
    Some((milliseconds(token)?, milliseconds(consensus)?))
}

/// A password file for this process and its children.
fn temporary(like: Option<&PasswordFile>) -> Option<NamedTempFile> {
    let mut file = NamedTempFile::new().ok()?;
    file.write_all(like?.content.as_bytes()).ok()?;
    file.flush().ok()?;
    Some(file)
}

fn first_line(command: Command) -> Option<String> {
    let output = command.run(deadline()).ok()?;
    let text = output.stdout_text();
    text.lines()
        .next()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
}

/// The first number with a dot in it.
fn version(command: Command) -> Option<String> {
    let line = first_line(command)?;
    let is_version =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    line.split(|c: char| c.is_whitespace() || c == '\'')
        .find(is_version)
        .map(str::to_owned)
}

/// Milliseconds since 1970.
pub(super) fn clock() -> i64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME);
    now.map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}

fn server(
    facts: &mut Facts,
    request: &Request,
    params: &Params,
    owner: &Owner,
    secrets: Option<&NamedTempFile>,
) {
    let programs = Programs::new(&params.pgctl, &params.pglibs, owner);
    let is_there = |name: &str| programs.tool(name).arg("--version").run(deadline());
    facts.postgres = is_there("postgres")
        .map(|output| output.stdout_text().trim().to_owned())
        .into();
    let missing = PROGRAMS
        .iter()
        .filter(|name| matches!(is_there(name), Err(RunError::NotFound(_))));
    facts.missing_programs = missing.map(|name| (*name).to_owned()).collect();
    facts.data = control::read(&programs, &params.pgdata, deadline())
        .map(|control| Data {
            system_identifier: control.system_identifier,
            checksums: control.checksums,
        })
        .into();
    facts.starters = starters(Path::new("/"), &params.pgdata);
    facts.settings = settings(&programs, params);
    let archiver = "select last_failed_wal from pg_catalog.pg_stat_archiver \
                    where last_failed_time > coalesce(last_archived_time, '-infinity')";
    facts.unarchived = ask_here(&programs, params, archiver);
    facts.weak = ask_here(&programs, params, &format!("SELECT {WEAK}"));
    facts.objections = objections(request, owner, secrets);
    facts.replication = request
        .others
        .iter()
        .map(|node| (node.clone(), connect(&programs, params, node, secrets)))
        .collect();
    if matches!(
        params.on_divergence,
        OnDivergence::Rewind | OnDivergence::RewindOrRebuild
    ) {
        let open = facts.replication.iter();
        let open = open.filter(|(_, connection)| *connection == Connection::Works);
        facts.rewind = open
            .filter_map(|(node, _)| {
                Some((node.clone(), not_rewound(&programs, params, node, secrets)?))
            })
            .collect();
    }
}

fn settings(programs: &Programs, params: &Params) -> Answer<BTreeMap<String, String>> {
    let ask = |name: &str| {
        let command = programs.tool("postgres").arg("-D").arg(&params.pgdata);
        let config = format!("config_file={}", params.config.display());
        command
            .arg("-c")
            .arg(config)
            // What the agent starts the server with counts more than the file.
            .args(&params.start_opt)
            .arg("-C")
            .arg(name)
            .run(deadline())
    };
    let mut all = BTreeMap::new();
    for name in SETTINGS {
        match ask(name) {
            Ok(output) => {
                all.insert(name.to_owned(), output.stdout_text().trim().to_owned());
            }
            // Not every version has every setting; without the first of them there is none to be read.
            Err(error) if name == SETTINGS[0] => return Answer::Unknown(error.to_string()),
            Err(_) => {}
        }
    }
    Answer::Known(all)
}

/// Asked of the server that runs here, as its owner. Where none runs, or it lets nobody in, nothing is proved.
fn ask_here(programs: &Programs, params: &Params, sql: &str) -> Option<String> {
    let host = params.pghost.as_deref().map(|host| format!("host={host} "));
    let conninfo = format!(
        "{}port={} dbname={} connect_timeout=5",
        host.unwrap_or_default(),
        params.pgport,
        params.pgdb
    );
    let command = programs
        .tool("psql")
        .args(["-X", "-A", "-t", "-w", "-d", &conninfo, "-c", sql]);
    let answer = command.run(deadline()).ok()?.stdout_text();
    Some(answer.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What the agent would refuse a start for. The password file need not be there yet: that is said by itself.
fn objections(request: &Request, owner: &Owner, secrets: Option<&NamedTempFile>) -> Vec<String> {
    let Ok(program) = std::env::current_exe() else {
        return Vec::new();
    };
    let mut command = Command::new(program)
        .arg("validate-all")
        .env("OCF_RESOURCE_INSTANCE", &request.resource)
        .env("OCF_RESKEY_CRM_meta_on_node", &request.node)
        .env("OCF_RESKEY_CRM_meta_promoted_max", "1")
        .env("OCF_RESKEY_CRM_meta_notify", "true")
        .env("OCF_CHECK_LEVEL", "10");
    let given = request.params.iter().filter(|(_, value)| !value.is_empty());
    for (name, value) in given {
        command = command.env(format!("OCF_RESKEY_{name}"), value);
    }
    let copy = secrets.and_then(|file| own_copy(owner, file.path()).ok());
    if let Some(copy) = &copy {
        command = command.env("OCF_RESKEY_passfile", copy.path());
    }
    match command.output(Deadline::after(STEP * 3)) {
        Ok(output) if output.status.success() => Vec::new(),
        Ok(output) => complaints(&output.stderr_text()),
        Err(error) => vec![error.to_string()],
    }
}

/// The lines of the log where there are some: the exit reason repeats one of them, shortened.
fn complaints(text: &str) -> Vec<String> {
    const REASON: &str = "ocf-exit-reason:";
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let logged: Vec<String> = lines()
        .filter(|line| !line.starts_with(REASON))
        .map(str::to_owned)
        .collect();
    if logged.is_empty() {
        lines()
            .filter_map(|line| line.strip_prefix(REASON))
            .map(str::to_owned)
            .collect()
    } else {
        logged
    }
}

/// As a standby does: as the server's owner, with its password file.
fn connect(
    programs: &Programs,
    params: &Params,
    node: &str,
    secrets: Option<&NamedTempFile>,
) -> Connection {
    let more = "dbname=postgres replication=1";
    judged(ask(programs, params, (node, more), secrets, "IDENTIFY_SYSTEM").map(drop))
}

/// What pg_rewind lacks where it would take its pages from.
fn not_rewound(
    programs: &Programs,
    params: &Params,
    node: &str,
    secrets: Option<&NamedTempFile>,
) -> Option<String> {
    let more = format!("dbname={}", params.pgdb);
    match ask(programs, params, (node, &more), secrets, &rewind_question()) {
        Ok(answer) => rewind_grant(&params.pgdb, &answer),
        Err(error) => Some(format!(
            "pg_rewind can't connect to database {:?}: {error}",
            params.pgdb
        )),
    }
}

/// Asks another node's server, as the replication user.
fn ask(
    programs: &Programs,
    params: &Params,
    (node, more): (&str, &str),
    secrets: Option<&NamedTempFile>,
    sql: &str,
) -> Result<String, RunError> {
    let conninfo = format!(
        "host={node} port={} user={} connect_timeout=5 {more}",
        params.pgport, params.repuser
    );
    let command = programs
        .tool("psql")
        .args(["-X", "-A", "-t", "-d", &conninfo, "-c", sql]);
    let copy = secrets.map(|file| own_copy(programs.owner(), file.path()));
    let command = match (&copy, &params.passfile) {
        (Some(Ok(copy)), _) => command.env("PGPASSFILE", copy.path()),
        (Some(Err(error)), _) => {
            return Err(RunError::Spawn {
                program: "psql".to_owned(),
                source: std::io::Error::other(format!("the passwords can't be written: {error}")),
            });
        }
        (None, Some(path)) => command.env("PGPASSFILE", path),
        (None, None) => command,
    };
    command.run(deadline()).map(|output| output.stdout_text())
}

/// A password file that the server's owner can read.
fn own_copy(owner: &Owner, from: &Path) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(&fs::read(from)?)?;
    file.flush()?;
    std::os::unix::fs::fchown(&file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    Ok(file)
}

fn judged(result: Result<(), RunError>) -> Connection {
    match result {
        Ok(()) => Connection::Works,
        Err(error) => {
            let text = error.to_string();
            // Nobody listens: the cluster starts the server later.
            if text.contains("Connection refused") {
                Connection::NoServer
            } else {
                Connection::Refused(text)
            }
        }
    }
}

/// What is wrong with one of them, or missing.
fn passfiles(wanted: &PasswordFiles) -> Passfile {
    let all: Vec<Passfile> = wanted.iter().map(passfile).collect();
    let find = |is_it: fn(&Passfile) -> bool| all.iter().find(|it| is_it(it)).cloned();
    find(|it| matches!(it, Passfile::Bad(_)))
        .or_else(|| find(|it| *it == Passfile::Missing))
        .or_else(|| all.first().cloned())
        .unwrap_or_default()
}

fn passfile(wanted: &PasswordFile) -> Passfile {
    let path = Path::new(&wanted.path);
    let unreadable =
        |error: std::io::Error| Passfile::Bad(format!("{} can't be read: {error}", path.display()));
    // Its directory may be the server's owner's: a link is not followed there, and a pipe not waited for.
    let mut options = File::options();
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = match options.read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Passfile::Missing,
        Err(error) => return unreadable(error),
    };
    let about = match file.metadata() {
        Ok(about) => about,
        Err(error) => return unreadable(error),
    };
    if !about.is_file() {
        return Passfile::Bad(format!("{} is not a file", path.display()));
    }
    let owner = Owner::lookup(&wanted.owner).ok();
    if about.mode() & 0o077 != 0 {
        return Passfile::Bad(format!(
            "{} may be read by others (mode {:03o})",
            path.display(),
            about.mode() & 0o777
        ));
    }
    if owner.is_some_and(|owner| owner.uid.as_raw() != about.uid()) {
        return Passfile::Bad(format!(
            "{} does not belong to {}",
            path.display(),
            wanted.owner
        ));
    }
    let mut content = Vec::new();
    let most = wanted.content.len() as u64 + 1;
    match file.take(most).read_to_end(&mut content) {
        Ok(_) if content == wanted.content.as_bytes() => Passfile::Good,
        Ok(_) => Passfile::Bad(format!(
            "{} has other passwords than config.ini",
            path.display()
        )),
        Err(error) => unreadable(error),
    }
}

fn lock(resource: &str, params: &Params, secrets: Option<&NamedTempFile>) -> Option<Answer<bool>> {
    let conninfo = params
        .distlock_conninfo
        .as_ref()
        .filter(|_| params.enable_distlock)?;
    let name = params.distlock_lockname.as_deref().unwrap_or(resource);
    let own = params.passfile.as_deref().filter(|path| path.exists());
    let passfile: Option<&Path> = secrets.map(NamedTempFile::path).or(own);
    let found = Service::new(conninfo, name, passfile).and_then(|service| service.read(deadline()));
    Some(match found {
        Ok(row) => Answer::Known(row.is_some()),
        Err(LockError::TableMissing(_) | LockError::RowMissing(_)) => Answer::Known(false),
        Err(error) => Answer::Unknown(error.to_string()),
    })
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: Option<String>,
    prefixlen: Option<u8>,
}

fn interfaces() -> Vec<Interface> {
    let output = Command::new("ip")
        .args(["-json", "addr", "show"])
        .run(deadline());
    let links: Vec<Link> = output
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok())
        .unwrap_or_default();
    let of_link = |link: Link| {
        let name = link.ifname;
        link.addr_info.into_iter().filter_map(move |it| {
            Some(Interface {
                name: name.clone(),
                address: it.local?,
                bits: it.prefixlen?,
            })
        })
    };
    links.into_iter().flat_map(of_link).collect()
}

#[derive(Deserialize)]
struct Neighbour {
    #[serde(default)]
    state: Vec<String>,
    lladdr: Option<String>,
}

/// Addresses at which another machine of the network answers: it is asked for by sending there, and the kernel then knows.
fn taken(addresses: &[String], own: &[Interface]) -> Vec<String> {
    let is_own = |address: &String| own.iter().any(|interface| interface.address == *address);
    let is_taken = |address: &&String| {
        if is_own(address) {
            return false;
        }
        let bind = if address.contains(':') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let target = if address.contains(':') {
            format!("[{address}]:9")
        } else {
            format!("{address}:9")
        };
        let sent = UdpSocket::bind(bind).and_then(|socket| socket.send_to(b"", target));
        sent.is_ok() && answers(address)
    };
    addresses.iter().filter(is_taken).cloned().collect()
}

/// Gateways that give no answer. What can't be asked, for want of the program, is not known to be silent: its agent is missing, too, or
/// can't do it either.
fn silent(gateways: &[String]) -> Vec<String> {
    let is_silent = |address: &&String| {
        let ping =
            Command::new("ping").args(["-n", "-q", "-c", "3", "-i", "0.3", "-W", "2", address]);
        matches!(ping.output(deadline()), Ok(output) if !output.status.success())
    };
    gateways.iter().filter(is_silent).cloned().collect()
}

fn answers(address: &str) -> bool {
    let settled = poll_until(Deadline::after(NEIGHBOUR), NEIGHBOUR_POLL, || {
        let output = Command::new("ip")
            .args(["-json", "neigh", "show", "to", address])
            .run(deadline())
            .ok()?;
        let found: Vec<Neighbour> = serde_json::from_slice(&output.stdout).ok()?;
        let one = found.first()?;
        let is = |word: &str| one.state.iter().any(|state| state == word);
        if is("FAILED") {
            return Some(false);
        }
        // A stale one is what was known of old; it is asked for again within seconds.
        (one.lladdr.is_some() && (is("REACHABLE") || is("PERMANENT"))).then_some(true)
    });
    settled.unwrap_or(false)
}
