//! What the settings of the nodes' servers mean for the cluster. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::reachable::{lets_others_in, listens_later};
use crate::decide::silence::is_too_patient;
use crate::decide::worth::{self, Weak};
use crate::params::RepMode;
use crate::setup::config::Site;

use crate::setup::check::facts::Machine;
use crate::setup::check::findings::{Findings, Seen, Severity};

/// Settings of one server.
pub(super) fn judge(
    findings: &mut Findings,
    site: &Site,
    node: &str,
    settings: &BTreeMap<String, String>,
    machine: &Machine,
) {
    let get = |name: &str| settings.get(name).map_or("", String::as_str);
    let number = |name: &str| get(name).parse::<usize>().ok();
    let nodes = site.nodes.len();
    const RESTART: &str = "in postgresql.conf, which takes a restart";
    if get("wal_level") == "minimal" {
        findings.error(
            node,
            "wal_level=minimal: nothing can be replicated",
            format!("wal_level=replica {RESTART}"),
        );
    }
    if get("hot_standby") == "off" {
        findings.error(
            node,
            "hot_standby=off: a standby could not be watched",
            format!("hot_standby=on {RESTART}"),
        );
    }
    if number("max_wal_senders").is_some_and(|senders| senders < nodes) {
        findings.error(
            node,
            format!(
                "max_wal_senders={} is too few for {nodes} nodes",
                get("max_wal_senders")
            ),
            format!("max_wal_senders=10 {RESTART}"),
        );
    }
    let is_sync = site.resolved.rep_mode == RepMode::Sync;
    let has_slots = site.resolved.replication_slot_name.is_some();
    // In sync mode each standby streams by a slot, whether that holds WAL or not.
    if (has_slots || is_sync) && number("max_replication_slots").is_some_and(|slots| slots < nodes)
    {
        findings.error(
            node,
            format!(
                "max_replication_slots={} is too few for {nodes} nodes",
                get("max_replication_slots")
            ),
            format!("max_replication_slots=10 {RESTART}"),
        );
    }
    if is_sync && matches!(get("synchronous_commit"), "off" | "local") {
        findings.error(
            node,
            format!(
                "synchronous_commit={}: commits would wait for no standby",
                get("synchronous_commit")
            ),
            "synchronous_commit=on in postgresql.conf, and reload",
        );
    }
    if is_sync && get("synchronous_commit") == "remote_write" {
        findings.error(
            node,
            "synchronous_commit=remote_write: commits would be acknowledged before a standby has flushed them, and are lost where both machines \
             lose power",
            "synchronous_commit=on in postgresql.conf, and reload",
        );
    }
    let timeout = number("wal_sender_timeout").and_then(|ms| u64::try_from(ms).ok());
    if is_sync
        && timeout
            .map(Duration::from_millis)
            .is_some_and(is_too_patient)
    {
        findings.warning(
            node,
            format!(
                "wal_sender_timeout={} ms (0: never): commits may wait so long for a standby that hangs",
                get("wal_sender_timeout")
            ),
            "wal_sender_timeout=5s in postgresql.conf, and reload",
        );
    }
    if get("fsync") == "off" {
        findings.error(
            node,
            "fsync=off: a crash may destroy the database",
            "fsync=on in postgresql.conf, and reload",
        );
    }
    if get("full_page_writes") == "off" {
        findings.warning(
            node,
            "full_page_writes=off: a crash may destroy pages",
            "full_page_writes=on in postgresql.conf, and reload",
        );
    }
    if get("restart_after_crash") == "on" {
        findings.warning(
            node,
            "restart_after_crash=on: PostgreSQL would restart itself behind the agent's back",
            "restart_after_crash=off in postgresql.conf, and reload",
        );
    }
    let listens = get("listen_addresses");
    if settings.contains_key("listen_addresses")
        && site.resolved.pghost.is_none()
        && !lets_others_in(listens)
    {
        findings.error(
            node,
            format!("listen_addresses={listens:?}: no standby can connect"),
            format!("listen_addresses='*' {RESTART}"),
        );
    }
    let addresses = [site.writer]
        .into_iter()
        .chain(site.readers.iter().copied());
    let by_parameter = site
        .resolved
        .master_ip
        .as_deref()
        .and_then(|ip| ip.parse().ok());
    let unheard = addresses
        .chain(by_parameter)
        .filter(|_| site.resolved.pghost.is_none() && lets_others_in(listens))
        .find(|address| {
            listens_later(listens, *address, machine.binds_foreign(*address)) == Some(false)
        });
    if let Some(address) = unheard {
        findings.error(
            node,
            format!(
                "listen_addresses={listens:?}: nobody could connect at {address}, which the node gets after its server was started"
            ),
            format!("listen_addresses='*' {RESTART}"),
        );
    }
    if let Some(port) = number("port").filter(|port| *port != usize::from(site.resolved.pgport)) {
        findings.error(
            node,
            format!(
                "port={port} in postgresql.conf, and {} in config.ini",
                site.resolved.pgport
            ),
            "make them the same",
        );
    }
    if !has_slots && matches!(get("wal_keep_size"), "0") && get("archive_mode") == "off" {
        findings.warning(
            node,
            "wal_keep_size=0, no slots and no archive: a standby that was away for minutes can't catch up",
            "wal_keep_size=1GB in postgresql.conf, or pgsql_replication_slot_name in config.ini",
        );
    }
    let milliseconds = |name: &str| number(name).and_then(|ms| u64::try_from(ms).ok());
    if milliseconds("recovery_min_apply_delay").is_some_and(|delay| delay > 0) {
        findings.warning(
            node,
            format!(
                "recovery_min_apply_delay={} ms: a failover to this node takes that long, since all it has is replayed first",
                get("recovery_min_apply_delay")
            ),
            "recovery_min_apply_delay=0 in postgresql.conf, and reload; delay a standby outside of the cluster",
        );
    }
    if milliseconds("wal_receiver_timeout") == Some(0) {
        findings.warning(
            node,
            "wal_receiver_timeout=0: a standby never gives up a connection to its primary that is dead",
            "wal_receiver_timeout=5s in postgresql.conf, and reload",
        );
    }
    if number("wal_receiver_status_interval") == Some(0) {
        let what = "wal_receiver_status_interval=0: a standby does not say by itself how far it is";
        let fix = "wal_receiver_status_interval=2s in postgresql.conf, and reload";
        if is_sync {
            findings.error(
                node,
                format!("{what}, and each commit waits until it is asked"),
                fix,
            );
        } else {
            findings.warning(node, format!("{what}, so that its lag is not known"), fix);
        }
    }
    for name in ["max_standby_streaming_delay", "max_standby_archive_delay"] {
        if get(name) == "-1" {
            findings.warning(
                node,
                format!("{name}=-1: a query on a standby holds up its replay for as long as it runs, and what is read there gets older"),
                format!("{name}=30s in postgresql.conf, and reload; or hot_standby_feedback=on, so that queries are in nobody's way"),
            );
        }
    }
    if has_slots && get("hot_standby_feedback") == "on" {
        findings.warning(
            node,
            "hot_standby_feedback=on, and slots that stay: while a standby is away its slot keeps the primary from cleaning up old rows",
            "hot_standby_feedback=off in postgresql.conf, and reload; or watch for bloat while a standby is away",
        );
    }
    // A version without archive_library has no other way than the command; what it shows where archiving is off is no command.
    let archives = !matches!(get("archive_mode"), "" | "off");
    let has_way = [get("archive_command"), get("archive_library")]
        .iter()
        .any(|way| !way.is_empty() && *way != "(disabled)");
    if archives && settings.contains_key("archive_command") && !has_way {
        findings.warning(
            node,
            format!(
                "archive_mode={}, and there is no archive_command: WAL is kept until the disk is full",
                get("archive_mode")
            ),
            "set archive_command in postgresql.conf, and reload; or archive_mode=off, which takes a restart",
        );
    }
}

/// What a role or a database has instead of what is set for all: it shows only in a server that runs.
pub(super) fn of_roles(findings: &mut Findings, site: &Site, it: &Seen) {
    let Some(text) = it
        .facts
        .weak
        .as_ref()
        .filter(|_| site.resolved.rep_mode == RepMode::Sync)
    else {
        return;
    };
    // What is set for all is seen without a server.
    let of_role = |weak: &Weak| matches!(weak, Weak::For { .. });
    let found: Vec<Weak> = worth::parse(text)
        .unwrap_or_default()
        .into_iter()
        .filter(of_role)
        .collect();
    for what in worth::told(&found) {
        findings.warning(
            &it.node,
            what,
            "ALTER ROLE or ALTER DATABASE … RESET synchronous_commit, unless its commits may be lost",
        );
    }
}

/// What the server says of its archive, and what its pages have.
pub(super) fn of_archiver(findings: &mut Findings, it: &Seen) {
    if let Some(file) = &it.facts.unarchived {
        findings.warning(
            &it.node,
            format!("{file} can't be archived: WAL is kept until it is, or until the disk is full"),
            "see the server's log for what archive_command says, and correct it",
        );
    }
    if it.facts.data.known().is_some_and(|data| !data.checksums) {
        findings.warning(
            &it.node,
            "there are no data checksums: what a disk damages is not noticed, and is copied to other nodes",
            "pg_checksums --enable on each node, while PostgreSQL is stopped on all",
        );
    }
}

/// Settings that a standby must have at least as large as its primary.
///
/// Source: "Administrator's Overview" in the manual's chapter on hot standby.
const AS_LARGE: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

/// What must be the same everywhere.
pub(super) fn of_all(findings: &mut Findings, seen: &[Seen]) {
    for name in AS_LARGE {
        let value = |it: &Seen| {
            let value = it.facts.settings.known()?.get(name)?;
            Some((it.node.clone(), value.clone()))
        };
        let all: Vec<(String, String)> = seen.iter().filter_map(value).collect();
        let values: BTreeSet<&String> = all.iter().map(|(_, value)| value).collect();
        if values.len() < 2 {
            continue;
        }
        let each: Vec<String> = all
            .iter()
            .map(|(node, value)| format!("{node} {value}"))
            .collect();
        findings.add(
            Severity::Warning,
            None,
            format!("{name} differs between the nodes: {}", each.join(", ")),
            format!(
                "set it to the largest on each node, which takes a restart, the standbys first: one with less than the primary is started \
                 with what {name} is there, and stops replaying where the primary's is raised"
            ),
        );
    }
}
