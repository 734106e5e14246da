//! What the nodes' facts mean: findings, each with what to do. No I/O.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::conninfo::Conninfo;
use crate::decide::detection::{Network, Timing};
use crate::model::version::{DEPRECATES_MD5, OLDEST};
use crate::params::{RepMode, Secret};
use crate::setup::apply::FencedBy;
use crate::setup::check::findings::{Finding, Findings, Seen, Severity};
use crate::setup::config::Site;

use super::facts::{Answer, Connection, Facts, Passfile};
use super::{machine, settings};

/// Which versions of something the program runs with.
struct Range {
    what: &'static str,
    oldest: (u32, u32),
    /// What else there is to say where it is older.
    more: &'static str,
    /// The newest that the tests were run with (docs/platforms.md). A newer one is not refused.
    tried: (u32, u32),
    /// Where the second number changes nothing that matters here.
    is_major: bool,
}

const PACEMAKER: Range = Range {
    what: "Pacemaker",
    oldest: (2, 1),
    more: "",
    tried: (3, 0),
    is_major: false,
};

const COROSYNC: Range = Range {
    what: "Corosync",
    oldest: (3, 0),
    more: ": this program reads the membership as that version tells it",
    tried: (3, 1),
    is_major: false,
};

const POSTGRESQL: Range = Range {
    what: "PostgreSQL",
    oldest: (OLDEST, 0),
    more: ", by pg_upgrade",
    tried: (18, 0),
    is_major: true,
};

impl Range {
    fn judge(&self, findings: &mut Findings, node: &str, version: &str) {
        // One that can't be understood is neither too old nor too new.
        let Some((major, minor)) = numbers(version) else {
            return;
        };
        let what = self.what;
        let number = (major, if self.is_major { 0 } else { minor });
        let show = |(major, minor): (u32, u32)| {
            if self.is_major {
                major.to_string()
            } else {
                format!("{major}.{minor}")
            }
        };
        if number < self.oldest {
            findings.error(
                node,
                format!("{what} {version} is too old"),
                format!("upgrade to {} or newer{}", show(self.oldest), self.more),
            );
        } else if number > self.tried {
            findings.warning(
                node,
                format!(
                    "{what} {version} is untested: it is newer than what this program was tried with, which is {} at most",
                    show(self.tried)
                ),
                "try it on a cluster that may fail, or ask for a newer expgsql",
            );
        }
    }
}

/// The first two numbers of a version, as `3.1.7` or `19beta1`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit());
        part[..end.unwrap_or(part.len())].parse::<u32>().ok()
    });
    let major = numbers.next()??;
    Some((major, numbers.next().flatten().unwrap_or_default()))
}

/// Clocks that differ by more make logs hard to compare, and certificates fail.
const CLOCKS: i64 = 2000;

/// Everything that is to be said of these nodes. `program`: the checksum of this program.
pub(super) fn judge(site: &Site, seen: &[Seen], program: &str) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    for it in seen {
        of_cluster(&mut findings, it, program);
        of_quorum(&mut findings, site, it);
        of_server(&mut findings, site, it);
        if let Answer::Known(settings) = &it.facts.settings {
            settings::judge(&mut findings, site, &it.node, settings, &it.facts.machine);
        }
        settings::of_archiver(&mut findings, it);
        settings::of_roles(&mut findings, site, it);
        of_network(&mut findings, site, it, seen);
        of_gateway(&mut findings, site, it);
    }
    of_all(&mut findings, seen);
    of_detection(&mut findings, seen);
    machine::judge(&mut findings, seen);
    settings::of_all(&mut findings, seen);
    of_lock(&mut findings, site);
    let mut all = findings.0;
    all.sort_by(|a, b| (a.severity, &a.node).cmp(&(b.severity, &b.node)));
    all
}

/// How soon a lost machine is noticed, which is most of a failover.
fn of_detection(findings: &mut Findings, seen: &[Seen]) {
    let all = seen.iter().filter_map(|it| it.facts.totem);
    let Some(slowest) = all.map(|(token, consensus)| token + consensus).max() else {
        return;
    };
    let noticed = |network| Timing::advised(network, seen.len()).noticed_after(seen.len());
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let slowest = Duration::from_millis(slowest);
    if slowest < noticed(Network::Local) * 2 {
        return;
    }
    findings.add(
        Severity::Note,
        None,
        format!(
            "a lost machine is noticed after {} (corosync's token and consensus), and nobody takes over before",
            seconds(slowest)
        ),
        format!(
            "on a local network with two links expgsql setup corosync --network local makes it {}; virtual machines: {}; rented ones need longer than corosync's default",
            seconds(noticed(Network::Local)),
            seconds(noticed(Network::Virtual)),
        ),
    );
}

fn of_cluster(findings: &mut Findings, it: &Seen, program: &str) {
    let (node, facts) = (it.node.as_str(), &it.facts);
    match (&facts.pacemaker, &facts.corosync) {
        (None, _) => findings.error(
            node,
            "Pacemaker is not installed",
            "install pacemaker, corosync and resource-agents",
        ),
        (_, None) => findings.error(node, "Corosync is not installed", "install corosync"),
        (Some(pacemaker), Some(corosync)) => {
            PACEMAKER.judge(findings, node, pacemaker);
            COROSYNC.judge(findings, node, corosync);
        }
    }
    match &facts.cluster_name {
        None if facts.pacemaker.is_some() => findings.error(
            node,
            "Pacemaker does not run",
            "make the cluster and start it: pcs cluster setup NAME NODES, pcs cluster start --all",
        ),
        Some(name) if !name.eq_ignore_ascii_case(node) => findings.error(
            node,
            format!("Pacemaker calls this node {name}"),
            format!(
                "write {name} into config.ini, or give the node the name {node} in corosync.conf"
            ),
        ),
        Some(_) | None => {}
    }
    match &facts.installed {
        None => findings.todo(node, "the agent is not installed", "expgsql setup install"),
        Some(installed) if installed != program => findings.todo(
            node,
            "the agent is of another version",
            "expgsql setup install",
        ),
        Some(_) => {}
    }
    match &facts.passfile {
        Passfile::NotNeeded | Passfile::Good => {}
        Passfile::Missing => findings.todo(
            node,
            "the password file is not there",
            "expgsql setup install",
        ),
        Passfile::Bad(what) => findings.error(
            node,
            what,
            "expgsql setup install writes it anew, where it was made by that",
        ),
    }
    if it.ahead.abs() > CLOCKS {
        findings.warning(
            node,
            format!(
                "its clock is {:.1} s {} this node's",
                it.ahead.abs() as f64 / 1000.0,
                if it.ahead > 0 { "ahead of" } else { "behind" }
            ),
            "run chrony or ntpd on every node",
        );
    }
    match &facts.lock {
        None | Some(Answer::Known(true)) => {}
        Some(Answer::Known(false)) => findings.todo(node, "the lock is not in the lock service yet", "expgsql setup apply makes it"),
        Some(Answer::Unknown(why)) => findings.error(
            node,
            format!("the lock service can't be used: {why}"),
            "correct pgsql_distlock_conninfo, or the lock service's pg_hba.conf and user (docs/lock-service.md)",
        ),
    }
}

/// With two votes and no lock, fencing is all that can prove a lost standby harmless; and only where it stays so.
fn of_quorum(findings: &mut Findings, site: &Site, it: &Seen) {
    let resolved = &site.resolved;
    let Some(quorum) = &it.facts.quorum else {
        return;
    };
    match it.facts.fenced_by {
        FencedBy::Watchdog if quorum.votes < 3 => findings.error(
            &it.node,
            "nodes are fenced by their watchdogs alone (SBD without a disk), and there are two votes: nothing tells which half of a split \
             ends itself, and each takes the other for dead",
            "add a third node or a quorum device, or a fence device (docs/fencing.md)",
        ),
        FencedBy::Device {
            prefers_primary: false,
        } if quorum.votes < 3 => findings.warning(
            &it.node,
            "two nodes that lose each other fence each other, and nothing gives the primary's a start: it may be the one that goes off, or \
             both do",
            "pcs property set priority-fencing-delay=10s, and pcs resource meta CLONE priority=1 for the database's clone (docs/fencing.md)",
        ),
        FencedBy::None | FencedBy::Watchdog | FencedBy::Device { .. } => {}
    }
    let asks = resolved.rep_mode == RepMode::Sync && !resolved.enable_distlock;
    if asks && quorum.votes < 3 && !quorum.waits_for_all {
        findings.warning(
            &it.node,
            "wait_for_all is off, and there are two votes: the node that starts first acts alone, so that a lost standby was fenced \
             proves nothing, and commits wait for it",
            "remove wait_for_all: 0 from corosync.conf and restart the cluster; or use a lock service, a quorum device or a third node",
        );
    }
}

/// What `postgres --version` answers: `postgres (PostgreSQL) 15.18 (Debian …)`.
fn of_postgres(answer: &str) -> Option<&str> {
    answer.split_whitespace().nth(2)
}

/// The major version in that.
fn major(answer: &str) -> Option<u32> {
    numbers(of_postgres(answer)?).map(|(major, _)| major)
}

fn of_server(findings: &mut Findings, site: &Site, it: &Seen) {
    let (node, facts) = (it.node.as_str(), &it.facts);
    if let Answer::Unknown(why) = &facts.postgres {
        findings.error(
            node,
            format!("PostgreSQL can't be run: {why}"),
            "install the server, or correct pgsql_pgctl or pgsql_pgdba",
        );
        return;
    }
    let answer = facts.postgres.known();
    if let Some(version) = answer.and_then(|answer| of_postgres(answer)) {
        POSTGRESQL.judge(findings, node, version);
    }
    let number = answer.and_then(|answer| major(answer));
    let settings = facts.settings.known();
    let encryption = settings.and_then(|all| all.get("password_encryption"));
    if encryption.is_some_and(|it| it == "md5") && number >= Some(DEPRECATES_MD5) {
        findings.warning(
            node,
            "password_encryption=md5: a later PostgreSQL will know no such passwords",
            "password_encryption=scram-sha-256 in postgresql.conf, reload, and set the passwords anew",
        );
    }
    for program in facts
        .missing_programs
        .iter()
        .filter(|program| *program != "postgres")
    {
        findings.error(
            node,
            format!("{program} is not beside pg_ctl"),
            "install the server's and the client's package of the same version",
        );
    }
    if let Answer::Unknown(why) = &facts.data {
        findings.error(
            node,
            format!("there is no usable data directory {}: {why}", site.resolved.pgdata.display()),
            "on one node: initdb; on the others a copy of it, by pg_basebackup or expgsql cluster rebuild",
        );
        return;
    }
    for starter in &facts.starters {
        findings.warning(
            node,
            format!(
                "{} starts the server when the machine boots: what was the primary would be one again, before the cluster is asked",
                starter.who
            ),
            starter.fix.as_str(),
        );
    }
    if let Answer::Unknown(why) = &facts.settings {
        findings.error(
            node,
            format!("the server's configuration can't be read: {why}"),
            "correct it; where it is not in the data directory, name it as pgsql_config",
        );
    }
    // The data directory knows of the setting only once the server has run with it.
    let will_hint = facts
        .settings
        .known()
        .is_some_and(|all| all.get("wal_log_hints").is_some_and(|value| value == "on"));
    let counts = |objection: &&String| !(will_hint && objection.contains("set wal_log_hints=on"));
    for objection in facts.objections.iter().filter(counts) {
        findings.error(node, objection, "as it says");
    }
}

/// The watch over a node's way out works only where its agent is, and where what it asks is outside and answers.
fn of_gateway(findings: &mut Findings, site: &Site, it: &Seen) {
    let (node, facts) = (&it.node, &it.facts);
    if facts.lacks_ping {
        findings.error(
            node,
            "ocf:pacemaker:ping, which asks gateway_ip, is not installed",
            "install Pacemaker's agents (pacemaker-resource-agents, on Red Hat a part of pacemaker), or take gateway_ip out",
        );
    }
    let own = |address: &str| facts.interfaces.iter().any(|it| it.address == address);
    for address in site.gateways().filter(|address| own(address)) {
        findings.error(
            node,
            format!("{address} of gateway_ip is this node's own: it answers there whatever becomes of the network"),
            "name an address outside of the cluster, the router's say",
        );
    }
    let number = site.gateways().count();
    let silent = facts.silent.join(", ");
    if number > 0 && facts.silent.len() == number {
        findings.error(
            node,
            format!("{silent} of gateway_ip does not answer a ping: the primary would not stay here while another node has an answer"),
            format!("name an address that answers (ping -c 3 {})", facts.silent[0]),
        );
    } else if !facts.silent.is_empty() {
        findings.warning(
            node,
            format!("{silent} of gateway_ip does not answer a ping"),
            "name addresses that answer from every node",
        );
    }
}

fn of_network(findings: &mut Findings, site: &Site, it: &Seen, seen: &[Seen]) {
    let (node, facts) = (it.node.as_str(), &it.facts);
    for address in std::iter::once(site.writer).chain(site.readers.iter().copied()) {
        let text = address.to_string();
        let is_own = |other: &Seen| {
            other
                .facts
                .interfaces
                .iter()
                .any(|interface| interface.address == text)
        };
        let near = facts.interfaces.iter().any(|interface| {
            interface
                .address
                .parse()
                .is_ok_and(|own| is_near(own, interface.bits, address))
                && interface.address != text
        });
        if !near && !facts.interfaces.is_empty() {
            findings.error(
                node,
                format!("{text} is in none of this node's networks"),
                "correct writer_vip or reader_vip; an address has to be of a network that every node is in",
            );
        }
        if facts.taken.contains(&text) && !seen.iter().any(is_own) {
            findings.error(
                node,
                format!("{text} is in use by a machine outside of the cluster"),
                "choose an address that nobody has",
            );
        }
    }
    if let Some(nic) = &site.nic
        && !facts.interfaces.is_empty()
        && !facts
            .interfaces
            .iter()
            .any(|interface| interface.name == *nic)
    {
        let names: BTreeSet<&str> = facts
            .interfaces
            .iter()
            .map(|interface| interface.name.as_str())
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        findings.error(
            node,
            format!("there is no interface {nic}; it has {}", names.join(", ")),
            "correct vip_nic, or leave it out where the nodes' interfaces have different names",
        );
    }
    for (other, connection) in &facts.replication {
        if let Connection::Refused(why) = connection {
            findings.error(
                node,
                format!("it can't connect to {other} as a standby: {why}"),
                format!(
                    "on {other}: a line \"host replication {} ADDRESS/32 scram-sha-256\" for each node in pg_hba.conf, the user with REPLICATION, \
                     and its password in config.ini",
                    site.resolved.repuser
                ),
            );
        }
    }
    for (other, lacks) in &facts.rewind {
        findings.warning(
            node,
            format!("after a failover it would be copied from {other}, and not rewound: {lacks}"),
            format!(
                "on the primary, as a superuser: what is said there, and in pg_hba.conf a line for database {:?}; or pgsql_on_divergence=rebuild",
                site.resolved.pgdb
            ),
        );
    }
}

fn is_near(own: IpAddr, bits: u8, other: IpAddr) -> bool {
    match (own, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32u32.saturating_sub(u32::from(bits));
            shift >= 32 || u32::from(a) >> shift == u32::from(b) >> shift
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128u32.saturating_sub(u32::from(bits));
            shift >= 128 || u128::from(a) >> shift == u128::from(b) >> shift
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// How the lock service is reached, wherever that is.
fn of_lock(findings: &mut Findings, site: &Site) {
    let conninfo = site.resolved.distlock_conninfo.as_ref();
    let conninfo = conninfo.filter(|_| site.resolved.enable_distlock);
    let is_open = |text: &Secret| Conninfo::parse(text.reveal()).is_ok_and(|it| !it.verifies());
    if conninfo.is_some_and(is_open) {
        findings.add(
            Severity::Warning,
            None,
            "whoever answers in the lock service's place is believed (pgsql_distlock_conninfo)",
            "add sslmode=verify-full sslrootcert=/etc/expgsql/lock-ca.crt, with the certificate that signed the service's",
        );
    }
}

/// What must be the same everywhere.
fn of_all(findings: &mut Findings, seen: &[Seen]) {
    let mut differ =
        |what: &str, severity: Severity, values: Vec<(&str, Option<&str>)>, fix: &str| {
            let known: BTreeSet<&str> = values.iter().filter_map(|(_, value)| *value).collect();
            if known.len() > 1 {
                let each: Vec<String> = values
                    .iter()
                    .filter_map(|(node, value)| Some(format!("{node} {}", (*value)?)))
                    .collect();
                findings.add(severity, None, format!("{what}: {}", each.join(", ")), fix);
            }
        };
    let of = |pick: fn(&Facts) -> Option<&str>| {
        seen.iter()
            .map(move |it| (it.node.as_str(), pick(&it.facts)))
            .collect::<Vec<_>>()
    };
    differ(
        "the data directories are not copies of one another (system identifier)",
        Severity::Error,
        of(|facts| {
            facts
                .data
                .known()
                .map(|data| data.system_identifier.as_str())
        }),
        "keep the one that has your data, and make the others anew: expgsql cluster rebuild there, or pg_basebackup",
    );
    let of_server = |it: &Seen| major(it.facts.postgres.known()?);
    let majors: BTreeSet<u32> = seen.iter().filter_map(of_server).collect();
    let severity = if majors.len() > 1 {
        Severity::Error
    } else {
        Severity::Warning
    };
    differ(
        "PostgreSQL differs between the nodes",
        severity,
        of(|facts| facts.postgres.known().map(String::as_str)),
        "install the same version everywhere",
    );
    differ(
        "Pacemaker differs between the nodes",
        Severity::Warning,
        of(|facts| facts.pacemaker.as_deref()),
        "install the same version everywhere; different ones only while upgrading",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::check::facts::{Data, Interface, Machine, Quorum};
    use crate::setup::check::starters::Starter;
    use crate::setup::config;

    const PROGRAM: &str = "sum";

    fn site(more: &str) -> Site {
        let text = format!(
            "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\npgsql_repuser=repl\n{more}"
        );
        config::read(&text).unwrap().0
    }

    #[test]
    fn how_soon_a_lost_machine_is_noticed_is_said_once() {
        let note = |totem: &[Option<(u64, u64)>]| {
            let seen = totem.iter().map(|totem| Seen {
                node: "a".to_owned(),
                facts: Facts {
                    totem: *totem,
                    ..good()
                },
                ahead: 0,
            });
            let mut findings = Findings(Vec::new());
            of_detection(&mut findings, &seen.collect::<Vec<_>>());
            findings.0.pop().map(|finding| finding.what)
        };
        let default = Some((3650, 4380));
        let what = note(&[default, default, None]).unwrap();
        assert!(what.contains("8.0 s"), "{what}");
        // As it is advised, or nearly; corosync does not run.
        let local = Some((1000, 1200));
        assert_eq!(note(&[local, local, local]), None);
        assert_eq!(note(&[None, None, None]), None);
        assert_eq!(note(&[Some((1000, 200)), Some((1000, 200))]), None);
    }

    fn good() -> Facts {
        let settings = [
            ("wal_level", "replica"),
            ("hot_standby", "on"),
            ("max_wal_senders", "10"),
            ("max_replication_slots", "10"),
            ("wal_keep_size", "128"),
            ("restart_after_crash", "off"),
            ("synchronous_commit", "on"),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("listen_addresses", "*"),
            ("port", "5432"),
            ("archive_mode", "off"),
            ("wal_sender_timeout", "5000"),
            ("wal_receiver_timeout", "60000"),
            ("max_connections", "100"),
            ("max_worker_processes", "8"),
            ("max_prepared_transactions", "0"),
            ("max_locks_per_transaction", "64"),
            ("recovery_min_apply_delay", "0"),
            ("wal_receiver_status_interval", "2"),
            ("max_standby_streaming_delay", "30000"),
            ("max_standby_archive_delay", "30000"),
            ("hot_standby_feedback", "off"),
            ("archive_command", "(disabled)"),
        ];
        Facts {
            cluster_name: Some("a".to_owned()),
            pacemaker: Some("2.1.5".to_owned()),
            corosync: Some("3.1.7".to_owned()),
            installed: Some(PROGRAM.to_owned()),
            fenced_by: FencedBy::None,
            totem: Some((1000, 1200)),
            clock: 0,
            postgres: Answer::Known("postgres (PostgreSQL) 15.18".to_owned()),
            starters: Vec::new(),
            missing_programs: Vec::new(),
            data: Answer::Known(Data {
                system_identifier: "1".to_owned(),
                checksums: true,
            }),
            settings: Answer::Known(settings.map(|(n, v)| (n.to_owned(), v.to_owned())).into()),
            objections: Vec::new(),
            passfile: Passfile::NotNeeded,
            interfaces: vec![Interface {
                name: "eth0".to_owned(),
                address: "192.0.2.1".to_owned(),
                bits: 24,
            }],
            taken: Vec::new(),
            silent: Vec::new(),
            lacks_ping: false,
            lock: None,
            replication: Vec::new(),
            rewind: Vec::new(),
            unarchived: None,
            machine: Machine::default(),
            weak: None,
            quorum: Some(Quorum {
                votes: 3,
                waits_for_all: false,
            }),
        }
    }

    fn found(more: &str, spoil: impl FnOnce(&mut Facts, &mut i64)) -> Vec<Finding> {
        let (mut facts, mut ahead) = (good(), 0);
        spoil(&mut facts, &mut ahead);
        let b = Facts {
            cluster_name: Some("B".to_owned()),
            ..good()
        };
        let seen = [
            Seen {
                node: "a".to_owned(),
                facts,
                ahead,
            },
            Seen {
                node: "b".to_owned(),
                facts: b,
                ahead: 0,
            },
        ];
        judge(&site(more), &seen, PROGRAM)
    }

    #[test]
    fn a_version_is_right_or_too_old_or_untested() {
        use Severity::{Error, Warning};
        let set_pacemaker: fn(&mut Facts, &str) = |f, it| f.pacemaker = Some(it.to_owned());
        let set_corosync: fn(&mut Facts, &str) = |f, it| f.corosync = Some(it.to_owned());
        let set_server: fn(&mut Facts, &str) = |f, it| {
            f.postgres = Answer::Known(format!("postgres (PostgreSQL) {it} (Debian {it}-1)"));
        };
        let cases = [
            (
                set_pacemaker,
                "2.0.5",
                Some((Error, "Pacemaker 2.0.5 is too old", "2.1")),
            ),
            (set_pacemaker, "2.1.0", None),
            (set_pacemaker, "3.0.3", None),
            (
                set_pacemaker,
                "3.1.0",
                Some((Warning, "Pacemaker 3.1.0 is untested", "3.0")),
            ),
            (
                set_pacemaker,
                "4.0.0-rc1",
                Some((Warning, "Pacemaker 4.0.0-rc1 is untested", "3.0")),
            ),
            (
                set_corosync,
                "2.4.6",
                Some((
                    Error,
                    "Corosync 2.4.6 is too old",
                    "3.0 or newer: this program",
                )),
            ),
            (set_corosync, "3.0.0", None),
            (set_corosync, "3.1.10", None),
            (
                set_corosync,
                "3.2.0",
                Some((Warning, "Corosync 3.2.0 is untested", "3.1")),
            ),
            (
                set_server,
                "11.22",
                Some((
                    Error,
                    "PostgreSQL 11.22 is too old",
                    "12 or newer, by pg_upgrade",
                )),
            ),
            (set_server, "12.22", None),
            (set_server, "18.6", None),
            (
                set_server,
                "19beta1",
                Some((Warning, "PostgreSQL 19beta1 is untested", "18 at most")),
            ),
            (
                set_server,
                "19.0",
                Some((Warning, "PostgreSQL 19.0 is untested", "18 at most")),
            ),
            // What nobody understands is neither.
            (set_pacemaker, "unknown", None),
            (set_server, "devel", None),
        ];
        for (set, version, expected) in cases {
            let findings = found("", |facts, _| set(facts, version)).into_iter();
            let on_node: Vec<Finding> = findings.filter(|it| it.node.is_some()).collect();
            match (&on_node[..], expected) {
                ([], None) => {}
                ([it], Some((severity, what, more))) => {
                    assert_eq!(it.severity, severity, "{version}: {it:?}");
                    assert!(it.what.starts_with(what), "{version}: {it:?}");
                    assert!(
                        format!("{} {}", it.what, it.fix).contains(more),
                        "{version}: {it:?}"
                    );
                }
                (findings, _) => panic!("{version}: {findings:?}"),
            }
        }
    }

    #[test]
    fn two_that_are_too_old_are_two_findings() {
        let findings = found("", |facts, _| {
            facts.pacemaker = Some("2.0.1".to_owned());
            facts.corosync = Some("2.4.6".to_owned());
        });
        let errors = findings.iter().filter(|it| it.severity == Severity::Error);
        assert_eq!(errors.count(), 2, "{findings:?}");
    }

    #[test]
    fn md5_passwords_are_told_of_where_the_server_tells_of_them() {
        let told = |version: &str, encryption: &str| {
            let findings = found("", |facts, _| {
                facts.postgres = Answer::Known(format!("postgres (PostgreSQL) {version}"));
                set(facts, "password_encryption", encryption);
            });
            findings
                .iter()
                .any(|it| it.what.contains("password_encryption"))
        };
        assert!(told("18.6", "md5"));
        assert!(!told("18.6", "scram-sha-256"));
        // Its default there.
        assert!(!told("13.16", "md5"));
    }

    #[test]
    fn good_nodes_give_no_finding() {
        assert_eq!(found("vip_nic=eth0\n", |_, _| {}), []);
    }

    #[test]
    fn two_votes_are_enough_where_a_node_waits_or_a_lock_decides() {
        let two = |f: &mut Facts, waits_for_all| {
            f.quorum = Some(Quorum {
                votes: 2,
                waits_for_all,
            });
        };
        assert_eq!(found("", |f, _| two(f, true)), []);
        assert_eq!(found("pgsql_rep_mode=async\n", |f, _| two(f, false)), []);
    }

    fn two_that_wait(facts: &mut Facts) {
        facts.quorum = Some(Quorum {
            votes: 2,
            waits_for_all: true,
        });
    }

    const fn by_device(prefers_primary: bool) -> FencedBy {
        FencedBy::Device { prefers_primary }
    }

    #[test]
    fn fencing_that_knows_whom_to_spare_is_no_finding() {
        let two = found("", |f, _| {
            two_that_wait(f);
            f.fenced_by = by_device(true);
        });
        assert_eq!(two, []);
        // A majority tells.
        for means in [FencedBy::Watchdog, by_device(false)] {
            assert_eq!(found("", |f, _| f.fenced_by = means), []);
        }
    }

    type Spoil = fn(&mut Facts, &mut i64);

    fn set(facts: &mut Facts, name: &str, value: &str) {
        if let Answer::Known(settings) = &mut facts.settings {
            settings.insert(name.to_owned(), value.to_owned());
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_one_finding_with_a_way_out() {
        use Severity::{Error, Todo, Warning};
        let cases: &[(&str, Spoil, Severity, &str)] = &[
            ("", |f, _| f.pacemaker = None, Error, "not installed"),
            (
                "",
                |f, _| f.pacemaker = Some("2.0.5".to_owned()),
                Error,
                "too old",
            ),
            (
                "",
                |f, _| f.corosync = Some("2.4.3".to_owned()),
                Error,
                "Corosync 2.4.3 is too old",
            ),
            (
                "",
                |f, _| set(f, "wal_sender_timeout", "60000"),
                Warning,
                "wal_sender_timeout=60000",
            ),
            (
                "",
                |f, _| set(f, "wal_sender_timeout", "0"),
                Warning,
                "wal_sender_timeout=0",
            ),
            (
                "",
                |f, _| {
                    f.quorum = Some(Quorum {
                        votes: 2,
                        waits_for_all: false,
                    });
                },
                Warning,
                "wait_for_all is off",
            ),
            (
                "",
                |f, _| {
                    two_that_wait(f);
                    f.fenced_by = FencedBy::Watchdog;
                },
                Error,
                "SBD without a disk",
            ),
            (
                "",
                |f, _| {
                    two_that_wait(f);
                    f.fenced_by = by_device(false);
                },
                Warning,
                "fence each other",
            ),
            (
                "",
                |f, _| {
                    f.starters = vec![Starter {
                        who: "postgresql-16.service".to_owned(),
                        fix: "systemctl disable postgresql-16.service".to_owned(),
                    }];
                },
                Warning,
                "postgresql-16.service starts the server when the machine boots",
            ),
            ("", |f, _| f.cluster_name = None, Error, "does not run"),
            (
                "",
                |f, _| f.cluster_name = Some("x".to_owned()),
                Error,
                "calls this node x",
            ),
            ("", |f, _| f.installed = None, Todo, "not installed"),
            (
                "",
                |f, _| f.installed = Some("other".to_owned()),
                Todo,
                "another version",
            ),
            (
                "",
                |f, _| f.passfile = Passfile::Missing,
                Todo,
                "password file",
            ),
            (
                "",
                |f, _| f.passfile = Passfile::Bad("it is open".to_owned()),
                Error,
                "it is open",
            ),
            ("", |_, ahead| *ahead = 5000, Warning, "5.0 s ahead"),
            ("", |_, ahead| *ahead = -5000, Warning, "5.0 s behind"),
            ("", |f, _| f.lock = Some(Answer::Known(false)), Todo, "lock"),
            (
                "",
                |f, _| f.lock = Some(Answer::Unknown("because".to_owned())),
                Error,
                "because",
            ),
            (
                "",
                |f, _| f.rewind = vec![("b".to_owned(), "in database \"x\": GRANT".to_owned())],
                Warning,
                "in database \"x\": GRANT",
            ),
            (
                "",
                |f, _| f.postgres = Answer::Unknown("because".to_owned()),
                Error,
                "because",
            ),
            (
                "",
                |f, _| f.missing_programs = vec!["pg_rewind".to_owned()],
                Error,
                "pg_rewind",
            ),
            (
                "",
                |f, _| f.data = Answer::Unknown("because".to_owned()),
                Error,
                "no usable data directory /data",
            ),
            (
                "",
                |f, _| f.settings = Answer::Unknown("because".to_owned()),
                Error,
                "because",
            ),
            ("", |f, _| f.objections = vec!["no".to_owned()], Error, "no"),
            (
                "",
                |f, _| set(f, "wal_level", "minimal"),
                Error,
                "wal_level",
            ),
            (
                "",
                |f, _| set(f, "hot_standby", "off"),
                Error,
                "hot_standby",
            ),
            (
                "",
                |f, _| set(f, "max_wal_senders", "2"),
                Error,
                "max_wal_senders",
            ),
            (
                "pgsql_replication_slot_name=s\n",
                |f, _| set(f, "max_replication_slots", "0"),
                Error,
                "max_replication_slots",
            ),
            (
                "",
                |f, _| set(f, "synchronous_commit", "off"),
                Error,
                "synchronous_commit",
            ),
            (
                "",
                |f, _| set(f, "synchronous_commit", "remote_write"),
                Error,
                "synchronous_commit=remote_write",
            ),
            ("", |f, _| set(f, "fsync", "off"), Error, "fsync"),
            (
                "",
                |f, _| set(f, "recovery_min_apply_delay", "3600000"),
                Warning,
                "recovery_min_apply_delay=3600000 ms",
            ),
            (
                "",
                |f, _| set(f, "wal_receiver_timeout", "0"),
                Warning,
                "wal_receiver_timeout=0",
            ),
            (
                "pgsql_replication_slot_name=s\n",
                |f, _| set(f, "hot_standby_feedback", "on"),
                Warning,
                "hot_standby_feedback=on",
            ),
            (
                "",
                |f, _| {
                    set(f, "archive_mode", "on");
                    set(f, "archive_command", "");
                },
                Warning,
                "archive_mode=on, and there is no archive_command",
            ),
            (
                "",
                |f, _| f.unarchived = Some("000000010000000000000003".to_owned()),
                Warning,
                "000000010000000000000003 can't be archived",
            ),
            (
                "",
                |f, _| {
                    f.data = Answer::Known(Data {
                        system_identifier: "1".to_owned(),
                        checksums: false,
                    });
                },
                Warning,
                "no data checksums",
            ),
            (
                "",
                |f, _| set(f, "max_connections", "50"),
                Warning,
                "max_connections differs between the nodes: a 50, b 100",
            ),
            (
                "",
                |f, _| set(f, "max_worker_processes", "4"),
                Warning,
                "max_worker_processes differs",
            ),
            (
                "",
                |f, _| set(f, "max_wal_senders", "12"),
                Warning,
                "max_wal_senders differs",
            ),
            (
                "",
                |f, _| set(f, "max_prepared_transactions", "5"),
                Warning,
                "max_prepared_transactions differs",
            ),
            (
                "",
                |f, _| set(f, "max_locks_per_transaction", "128"),
                Warning,
                "max_locks_per_transaction differs",
            ),
            (
                "",
                |f, _| set(f, "full_page_writes", "off"),
                Warning,
                "full_page_writes",
            ),
            (
                "",
                |f, _| set(f, "restart_after_crash", "on"),
                Warning,
                "restart_after_crash",
            ),
            (
                "",
                |f, _| set(f, "listen_addresses", "localhost,127.0.0.1"),
                Error,
                "listen_addresses",
            ),
            (
                "",
                |f, _| set(f, "listen_addresses", "::1"),
                Error,
                "listen_addresses",
            ),
            (
                "",
                |f, _| set(f, "listen_addresses", "192.0.2.1"),
                Error,
                "nobody could connect at 192.0.2.9",
            ),
            (
                "",
                |f, _| {
                    f.machine.binds_foreign_v6 = true;
                    set(f, "listen_addresses", "192.0.2.1,192.0.2.9");
                },
                Error,
                "nobody could connect at 192.0.2.9",
            ),
            (
                "",
                |f, _| set(f, "wal_receiver_status_interval", "0"),
                Error,
                "each commit waits",
            ),
            (
                "pgsql_rep_mode=async\n",
                |f, _| set(f, "wal_receiver_status_interval", "0"),
                Warning,
                "lag is not known",
            ),
            (
                "",
                |f, _| set(f, "max_standby_streaming_delay", "-1"),
                Warning,
                "max_standby_streaming_delay=-1",
            ),
            (
                "",
                |f, _| set(f, "max_standby_archive_delay", "-1"),
                Warning,
                "max_standby_archive_delay=-1",
            ),
            (
                "",
                |f, _| f.weak = Some("fsync,16385 0 off".to_owned()),
                Warning,
                "role 16385",
            ),
            (
                "",
                |f, _| set(f, "listen_addresses", "localhost"),
                Error,
                "listen_addresses",
            ),
            ("", |f, _| set(f, "port", "5433"), Error, "port=5433"),
            (
                "",
                |f, _| set(f, "wal_keep_size", "0"),
                Warning,
                "wal_keep_size",
            ),
            (
                "",
                |f, _| f.interfaces[0].address = "198.51.100.1".to_owned(),
                Error,
                "none of this node's networks",
            ),
            (
                "",
                |f, _| f.taken = vec!["192.0.2.9".to_owned()],
                Error,
                "in use",
            ),
            (
                "gateway_ip=192.0.2.254\n",
                |f, _| f.lacks_ping = true,
                Error,
                "ocf:pacemaker:ping",
            ),
            (
                "gateway_ip='192.0.2.254 192.0.2.253'\n",
                |f, _| f.silent = vec!["192.0.2.253".to_owned()],
                Warning,
                "192.0.2.253 of gateway_ip does not answer",
            ),
            (
                "gateway_ip='192.0.2.254 192.0.2.253'\n",
                |f, _| f.silent = vec!["192.0.2.254".to_owned(), "192.0.2.253".to_owned()],
                Error,
                "192.0.2.254, 192.0.2.253 of gateway_ip does not answer",
            ),
            (
                "gateway_ip=192.0.2.254\n",
                |f, _| {
                    f.interfaces.push(Interface {
                        name: "eth1".to_owned(),
                        address: "192.0.2.254".to_owned(),
                        bits: 24,
                    });
                },
                Error,
                "192.0.2.254 of gateway_ip is this node's own",
            ),
            (
                "vip_nic=eth0\n",
                |f, _| f.interfaces[0].name = "eth1".to_owned(),
                Error,
                "no interface eth0",
            ),
            (
                "",
                |f, _| {
                    f.replication =
                        vec![("b".to_owned(), Connection::Refused("because".to_owned()))]
                },
                Error,
                "because",
            ),
            (
                "",
                |f, _| {
                    f.data = Answer::Known(Data {
                        system_identifier: "2".to_owned(),
                        checksums: true,
                    })
                },
                Error,
                "system identifier",
            ),
            (
                "",
                |f, _| f.postgres = Answer::Known("postgres (PostgreSQL) 14.1".to_owned()),
                Error,
                "differs",
            ),
            (
                "",
                |f, _| f.postgres = Answer::Known("postgres (PostgreSQL) 15.1".to_owned()),
                Warning,
                "differs",
            ),
            (
                "",
                |f, _| f.pacemaker = Some("2.1.6".to_owned()),
                Warning,
                "differs",
            ),
        ];
        for (more, spoil, severity, part) in cases {
            let findings = found(more, spoil);
            // Some of these also make the nodes differ, which is said after it.
            let (one, rest) = findings
                .split_first()
                .unwrap_or_else(|| panic!("{part}: nothing"));
            assert!(
                rest.iter().all(|finding| finding.what.contains("differs")),
                "{findings:?}"
            );
            assert_eq!(one.severity, *severity, "{one:?}");
            assert!(one.what.contains(part), "{one:?}");
            assert!(!one.fix.is_empty(), "{one:?}");
        }
    }

    #[test]
    fn a_setting_that_the_data_directory_does_not_know_of_yet_is_no_error() {
        let objects =
            |f: &mut Facts| f.objections = vec!["x: set wal_log_hints=on and restart".to_owned()];
        assert_eq!(found("", |f, _| objects(f)).len(), 1);
        let findings = found("", |f, _| {
            objects(f);
            set(f, "wal_log_hints", "on");
        });
        assert_eq!(findings, []);
    }

    #[test]
    fn a_lock_service_that_nobody_verifies_is_warned_of() {
        for (conninfo, is_verified) in [
            ("host=lock user=u", false),
            ("host=lock user=u sslmode=require", false),
            ("host=lock user=u sslmode=require sslrootcert=/ca", true),
            ("host=lock user=u sslmode=verify-full", true),
            ("host=/run/postgresql user=u", true),
        ] {
            let more =
                format!("pgsql_enable_distlock=true\npgsql_distlock_conninfo='{conninfo}'\n");
            let findings = found(&more, |f, _| f.lock = Some(Answer::Known(true)));
            let about_it = findings.iter().filter(|it| it.what.contains("is believed"));
            assert_eq!(
                about_it.count() == 0,
                is_verified,
                "{conninfo}: {findings:?}"
            );
        }
    }

    #[test]
    fn an_address_that_a_node_of_the_cluster_has_is_not_taken() {
        let findings = found("", |f, _| {
            f.interfaces.push(Interface {
                name: "eth0".to_owned(),
                address: "192.0.2.9".to_owned(),
                bits: 24,
            });
        });
        assert_eq!(findings, []);
    }
}
