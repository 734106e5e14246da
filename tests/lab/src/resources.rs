//! The Pacemaker configuration, in the shape pha4pgsql's templates have: `pgsql` in the clone `msPostgresql`,
//! `vip-master` with the promoted instance, `vip-slave` with an unpromoted one.

use std::time::Duration;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::error::{Error, Result};
use crate::host::Node;
use crate::network::{READER_ADDRESS, WRITER_ADDRESS};
use crate::postgres::Layout;
use crate::process::Cmd;
use crate::spec::{Agent, Spec};
use crate::{agent, fencing, pool};

/// The interval of the primary's monitor.
pub const MONITOR: Duration = Duration::from_secs(3);

/// The PostgreSQL resource.
pub const RESOURCE: &str = "pgsql";
/// Its promotable clone.
pub const CLONE: &str = "msPostgresql";
/// The address that follows the primary.
pub const WRITER: &str = "vip-master";
/// The address that stays with a standby.
pub const READER: &str = "vip-slave";

/// The `pcs` commands, without `pcs -f FILE`.
fn commands(spec: &Spec, layout: &Layout) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut pcs = |line: &str, more: Vec<String>| {
        all.push(
            line.split_whitespace()
                .map(str::to_owned)
                .chain(more)
                .collect(),
        )
    };

    // Two votes can't outvote each other's loss: corosync's two_node gives each half quorum, and the agent has to cope.
    let policy = if spec.nodes <= 2 && !spec.fencing && !spec.quorum_device {
        "ignore"
    } else {
        "stop"
    };
    let mut properties = vec![
        ("stonith-enabled".to_owned(), spec.fencing.to_string()),
        ("no-quorum-policy".to_owned(), policy.to_owned()),
    ];
    for (name, value) in &spec.properties {
        properties.retain(|(existing, _)| existing != name);
        properties.push((name.clone(), value.clone()));
    }
    pcs(
        "property set --force",
        properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
    );
    pcs(
        "resource defaults update resource-stickiness=1 migration-threshold=3",
        vec![],
    );

    if spec.fencing {
        let device = fencing::TYPE;
        pcs(
            &format!(
                "stonith create {device} {device} pcmk_host_check=none pcmk_reboot_action=off op monitor interval=60s"
            ),
            vec![],
        );
    }
    let params = agent::parameters(spec, layout)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    // With demote on-fail=stop one failed demote takes the whole anonymous clone down; on-fail=restart is the default.
    let (start, monitor) = (spec.start_timeout.as_secs(), MONITOR.as_secs());
    let of_stop = if spec.power_strip { "fence" } else { "block" };
    let operations = format!(
        "op start interval=0s timeout={start}s on-fail=restart
        op monitor interval=4s timeout=60s on-fail=restart
        op monitor interval={monitor}s timeout=60s on-fail=restart role=Promoted
        op promote interval=0s timeout={start}s on-fail=restart
        op demote interval=0s timeout=60s
        op stop interval=0s timeout=60s on-fail={of_stop}
        op notify interval=0s timeout=60s"
    );
    let operations = operations.split_whitespace().map(str::to_owned);
    pcs(
        &format!(
            "resource create {RESOURCE} ocf:heartbeat:{}",
            spec.agent.ocf_name()
        ),
        params.chain(operations).collect(),
    );
    // An instance must hold to its node more than the reader's address prefers another (below): otherwise Pacemaker
    // 2.1.5 moves standbys about, that is, restarts them, when one of them was stopped.
    let forget = spec
        .failure_timeout
        .map(|time| format!("failure-timeout={}s", time.as_secs()));
    pcs(
        &format!(
            "resource promotable {RESOURCE} {CLONE} promoted-max=1 promoted-node-max=1 clone-max={} clone-node-max=1 notify=true migration-threshold={} resource-stickiness=1000",
            spec.nodes, spec.migration_threshold
        ),
        forget.into_iter().collect(),
    );

    // An address that is gone is no fault of this lab, and each look is forty processes.
    let looks = if pool::has_neighbours() { 30 } else { 10 };
    let mut address = |id: &str, ip: &str| {
        pcs(
            &format!(
                "resource create {id} ocf:heartbeat:IPaddr2 ip={ip} nic=eth0 cidr_netmask=24
                op start interval=0s timeout=60s on-fail=restart
                op monitor interval={looks}s timeout=60s on-fail=restart
                op stop interval=0s timeout=60s on-fail=block"
            ),
            vec![],
        );
    };
    address(WRITER, WRITER_ADDRESS);
    if spec.nodes > 1 {
        address(READER, READER_ADDRESS);
    }
    pcs(
        &format!("constraint colocation add {WRITER} with Promoted {CLONE} INFINITY"),
        vec![],
    );
    pcs(
        &format!(
            "constraint order promote {CLONE} then start {WRITER} kind=Mandatory symmetrical=false"
        ),
        vec![],
    );
    pcs(
        &format!(
            "constraint order demote {CLONE} then stop {WRITER} kind=Optional symmetrical=false"
        ),
        vec![],
    );
    if spec.nodes > 1 {
        pcs(
            &format!("constraint colocation add {READER} with Unpromoted {CLONE} INFINITY"),
            vec![],
        );
        pcs(
            &format!(
                "constraint order promote {CLONE} then start {READER} kind=Mandatory symmetrical=false"
            ),
            vec![],
        );
        pcs(
            &format!(
                "constraint order stop {CLONE} then stop {READER} kind=Optional symmetrical=false"
            ),
            vec![],
        );
        // The reader's address prefers a standby that is up to date. The preference must stay below the distance of
        // two promotion scores (1000 - 100): a dependent's preference counts for the instance it is colocated with, and
        // with score=1000 Pacemaker 2.1.5 promoted whatever standby had just become synchronous, again and again.
        pcs(
            &format!("constraint location {READER} rule score=100 {RESOURCE}-status eq HS:sync"),
            vec![],
        );
    }
    all
}

/// What `pcs` makes of the commands: the `<configuration>` element. The dozen `pcs` runs take seconds, so the
/// result is kept beside the labs, by a hash of the commands and of the agent's metadata they were checked against.
///
/// # Errors
/// [`Error::Failed`] with pcs's complaint.
pub(crate) fn build(node: &Node, spec: &Spec, layout: &Layout, base: &Path) -> Result<String> {
    let commands = commands(spec, layout);
    let mut hasher = DefaultHasher::new();
    commands.hash(&mut hasher);
    node.root().tag().hash(&mut hasher);
    if let Agent::Expgsql { binary } = &spec.agent {
        // pcs sees nothing else of the agent: a rebuilt one with the same metadata gives the same result.
        let metadata = Cmd::new(&[&binary.display().to_string(), "meta-data"]).run()?;
        metadata.stdout.hash(&mut hasher);
    }
    let cached = base.join(format!(".configuration-{:016x}.xml", hasher.finish()));
    if let Ok(xml) = std::fs::read_to_string(&cached) {
        return Ok(xml);
    }
    let file = "/run/lab-cib.xml";
    node.sh(&format!("cibadmin --empty >{file}"))?.ok()?;
    for command in &commands {
        let argv: Vec<&str> = ["pcs", "-f", file]
            .into_iter()
            .chain(command.iter().map(String::as_str))
            .collect();
        node.run(&argv)?.ok()?;
    }
    let xml = node.read_file(file)?;
    let configuration = between(&xml, "<configuration>", "</configuration>")
        .ok_or_else(|| Error::Other(format!("pcs left no configuration in\n{xml}")))?;
    let fresh = cached.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&fresh, configuration)
        .map_err(Error::io(format!("write {}", fresh.display())))?;
    std::fs::rename(&fresh, &cached)
        .map_err(Error::io(format!("rename to {}", cached.display())))?;
    Ok(configuration.to_owned())
}

/// From `open` to `close`, both included.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let start = text.find(open)?;
    let end = text[start..].find(close)? + start + close.len();
    text.get(start..end)
}

/// Gives the running cluster its configuration, in one change: resources never exist without their constraints.
pub(crate) fn push(node: &Node, configuration: &str) -> Result<()> {
    node.command(&[
        "cibadmin",
        "--modify",
        "--scope=configuration",
        "--xml-pipe",
    ])?
    .input(configuration)
    .ok()
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_keeps_both_tags_and_answers_nothing_when_one_is_missing() {
        assert_eq!(between("x<a>1</a>y", "<a>", "</a>"), Some("<a>1</a>"));
        assert_eq!(between("x<a>1", "<a>", "</a>"), None);
    }
}
