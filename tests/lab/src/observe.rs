//! Watching the cluster: conditions with a limit, and the evidence when one does not come.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::progress::note;
use crate::resources::{READER, RESOURCE};
use crate::spec::{Agent, RepMode};
use crate::status::{Role, Status};
use crate::{corosync, poll, postgres, status};

/// Lines of each log in the evidence of a failure.
const EVIDENCE_LINES: usize = 60;

impl Cluster {
    /// The cluster as its quorate part sees it; without one, as any node does.
    ///
    /// # Errors
    /// The last node's error when none answers.
    pub fn status(&self) -> Result<Status> {
        let mut fallback = Err(Error::Other("every node is powered off".into()));
        for node in self.nodes().iter().filter(|node| node.is_on()) {
            match status::of(node) {
                Ok(seen) if seen.quorum => return Ok(seen),
                seen => {
                    if fallback.is_err() || seen.is_ok() {
                        fallback = seen;
                    }
                }
            }
        }
        fallback
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// [`Error::Failed`] when Pacemaker does not run there, [`Error::PoweredOff`].
    pub fn status_on(&self, node: &Node) -> Result<Status> {
        status::of(node)
    }

    /// The node that is promoted, by Pacemaker's account.
    ///
    /// # Errors
    /// [`Error::Other`] when there is none or more than one.
    pub fn primary(&self) -> Result<&Node> {
        let status = self.status()?;
        match status.promoted().as_slice() {
            [one] => self.node(one),
            others => Err(Error::Other(format!(
                "{} nodes are promoted: {others:?}\n{status}",
                others.len()
            ))),
        }
    }

    /// The nodes that run an unpromoted instance.
    ///
    /// # Errors
    /// Those of [`Cluster::status`].
    pub fn standbys(&self) -> Result<Vec<&Node>> {
        let status = self.status()?;
        status
            .of(RESOURCE, Role::Unpromoted)
            .into_iter()
            .map(|name| self.node(name))
            .collect()
    }

    /// The nodes whose PostgreSQL takes writes right now, asked one by one, whatever Pacemaker believes.
    pub fn writable(&self) -> Vec<&Node> {
        self.nodes()
            .iter()
            .filter(|node| node.is_on() && self.postgres(node).is_writable() == Some(true))
            .collect()
    }

    /// Looks until `look` gives `Ok`; its `Err` says what is seen instead.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last observation and the tails of every node's logs.
    pub fn eventually<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl FnMut(&Self) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let mut look = look;
        poll::until(limit, poll::slow(), || look(self))
            .map_err(|seen| self.timeout(what, limit, seen))
    }

    /// Looks for the whole of `time`; every look must give `Ok`.
    ///
    /// # Errors
    /// [`Error::Broken`] with the first other observation.
    pub fn holds_for(
        &self,
        what: &str,
        time: Duration,
        look: impl FnMut(&Self) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let mut look = look;
        let start = Instant::now();
        while start.elapsed() < time {
            if let Err(seen) = look(self) {
                return Err(Error::Broken {
                    what: what.to_owned(),
                    after: start.elapsed(),
                    seen,
                    evidence: self.evidence(),
                });
            }
            poll::rest(poll::slow());
        }
        Ok(())
    }

    /// Waits for one primary that holds the writer's address, all other powered nodes as standbys that stream (in sync
    /// mode one of them synchronous), and the reader's address on one of them. The servers themselves are asked, too:
    /// Pacemaker believes in a dead one until the next monitor.
    ///
    /// # Errors
    /// [`Error::Timeout`] naming what was missing.
    pub fn wait_healthy(&self, limit: Duration) -> Result<()> {
        self.eventually("a healthy cluster", limit, Self::health)?;
        note("healthy");
        Ok(())
    }

    /// What [`Cluster::wait_healthy`] waits for, looked at once.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn health(&self) -> std::result::Result<(), String> {
        let expect = Expectation::of(self);
        let status = self.status().map_err(|error| error.to_string())?;
        expect
            .check(&status)
            .and_then(|()| self.check_servers(&expect))
            .map_err(|missing| format!("{missing}\n{status}"))
    }

    /// Exactly one server takes writes, and every other answers.
    fn check_servers(&self, expect: &Expectation) -> std::result::Result<(), String> {
        let mut writable = Vec::new();
        for name in &expect.nodes {
            let node = self.node(name).map_err(|error| error.to_string())?;
            match self.postgres(node).is_writable() {
                Some(true) => writable.push(name),
                Some(false) => {}
                None => return Err(format!("PostgreSQL on {name} does not answer")),
            }
        }
        let [primary] = writable[..] else {
            return Err(format!("these take writes: {writable:?}"));
        };
        if expect.attributes {
            self.check_streams(primary, &expect.nodes)?;
        }
        if matches!(self.spec().agent, Agent::Expgsql { .. }) {
            self.check_watched(primary, &expect.nodes)?;
        }
        Ok(())
    }

    /// Pacemaker watches every server: its monitor is in the node's history, not only the note of an earlier result.
    fn check_watched(&self, primary: &str, nodes: &[String]) -> std::result::Result<(), String> {
        let monitors = format!(
            "/cib/status/node_state/lrm/lrm_resources/lrm_resource/lrm_rsc_op[starts-with(@id,'{RESOURCE}_monitor_')][@interval!='0']"
        );
        let query = self
            .node(primary)
            .and_then(|node| {
                node.run(&["cibadmin", "--query", "--xpath", &monitors])?
                    .ok()
            })
            .map_err(|error| error.to_string())?;
        let unwatched = nodes
            .iter()
            .find(|name| !query.contains(&format!("on_node=\"{name}\"")));
        unwatched.map_or(Ok(()), |name| {
            Err(format!("nobody watches the server on {name}"))
        })
    }

    /// Every other server streams from the primary's: the attributes may be older than a break by a monitor's interval.
    fn check_streams(&self, primary: &str, nodes: &[String]) -> std::result::Result<(), String> {
        let streams = self
            .node(primary)
            .and_then(|node| {
                self.postgres(node).ask(
                    "select application_name from pg_stat_replication where state = 'streaming'",
                )
            })
            .map_err(|error| error.to_string())?;
        let streams: Vec<&str> = streams.lines().collect();
        let mut standbys = nodes.iter().filter(|node| *node != primary);
        let is_away = |node: &&String| !streams.iter().any(|it| it.eq_ignore_ascii_case(node));
        match standbys.find(is_away) {
            Some(away) => Err(format!("{away} does not stream from {primary}")),
            None => Ok(()),
        }
    }

    /// The powered nodes that are neither the primary nor a standby that streams.
    ///
    /// # Errors
    /// Those of [`Cluster::status`].
    pub fn unhealthy(&self) -> Result<Vec<&Node>> {
        let expect = Expectation::of(self);
        let status = self.status()?;
        let works = |name: &str| {
            status.promoted().contains(&name) || expect.check_standby(&status, name).is_ok()
        };
        Ok(self
            .nodes()
            .iter()
            .filter(|node| node.is_on() && !works(node.name()))
            .collect())
    }

    pub(crate) fn timeout(&self, what: &str, limit: Duration, seen: impl Into<String>) -> Error {
        Error::Timeout {
            what: what.to_owned(),
            limit,
            seen: seen.into(),
            evidence: self.evidence(),
        }
    }

    /// Tails of the logs that explain a failure: what the agent told Pacemaker, and PostgreSQL.
    pub fn evidence(&self) -> String {
        self.nodes()
            .iter()
            .map(|node| format!("--- {}\n{}", node.name(), logs(node, EVIDENCE_LINES)))
            .collect()
    }
}

/// What explains a node's doings in Pacemaker's log: the shell agents' own lines, what an agent wrote to its standard
/// error, Pacemaker's decisions, warnings and errors. Not the information base's differences, which quote all of them.
const TELLING: &str = r"^[^)]*(pgsql|pgsqlms|expgsql|IPaddr2)[(]|\((log_op_output|log_list_item)\)|\)[[:space:]]+(warning|error|crit):";
/// Said at every start or every transition, and never the cause of anything here.
const NOISE: &str = "Blind faith|threshold_reached|crm_mon|pcmk__force_args";

/// The last `lines` of what the agents said on a node, with Pacemaker's own warnings, errors and decisions, and of
/// PostgreSQL's log.
pub fn logs(node: &Node, lines: usize) -> String {
    if !node.is_on() {
        return "powered off\n".to_owned();
    }
    let filter = r#"grep -aE "$1" "$2" | grep -avE "$3" | cut -c 1-600 | tail -n "$4""#;
    let argv = [
        "sh",
        "-c",
        filter,
        "sh",
        TELLING,
        corosync::LOG,
        NOISE,
        &lines.to_string(),
    ];
    let agent = node
        .run(&argv)
        .map(|output| output.stdout)
        .unwrap_or_default();
    let repair = node.tail(&format!("{}/expgsql.repair.log", postgres::TMPDIR), lines);
    let repair = if repair.is_empty() {
        repair
    } else {
        format!("--- {} repair\n{repair}", node.name())
    };
    format!(
        "{agent}{repair}--- {} postgresql\n{}",
        node.name(),
        node.tail(postgres::LOG, lines)
    )
}

/// What a healthy cluster of this make looks like.
struct Expectation {
    /// The nodes that are powered on.
    nodes: Vec<String>,
    mode: RepMode,
    /// PAF has no node attributes that tell the replication state.
    attributes: bool,
}

impl Expectation {
    fn of(cluster: &Cluster) -> Self {
        let spec = cluster.spec();
        Self {
            nodes: cluster
                .nodes()
                .iter()
                .filter(|node| node.is_on())
                .map(|node| node.name().to_owned())
                .collect(),
            mode: spec.mode,
            attributes: spec.agent != Agent::Paf && spec.mode != RepMode::None,
        }
    }

    fn check(&self, status: &Status) -> std::result::Result<(), String> {
        if let Some(missing) = self.nodes.iter().find(|node| !status.is_online(node)) {
            return Err(format!("{missing} is not online"));
        }
        let [primary] = status.promoted()[..] else {
            return Err(format!("promoted: {:?}", status.promoted()));
        };
        if status.writer() != Some(primary) {
            return Err(format!("the writer's address is on {:?}", status.writer()));
        }
        let standbys: Vec<&String> = self.nodes.iter().filter(|node| *node != primary).collect();
        standbys
            .iter()
            .try_for_each(|node| self.check_standby(status, node))?;
        if !standbys.is_empty() && status.location(READER).is_none_or(|node| node == primary) {
            return Err(format!(
                "the reader's address is on {:?}",
                status.location(READER)
            ));
        }
        if self.attributes {
            self.check_attributes(status, primary, &standbys)?;
        }
        Ok(())
    }

    fn check_standby(&self, status: &Status, node: &str) -> std::result::Result<(), String> {
        if !status.of(RESOURCE, Role::Unpromoted).contains(&node) {
            return Err(format!("{node} runs no standby"));
        }
        let state = status.attribute(node, "pgsql-status").unwrap_or_default();
        if self.attributes && !["HS:sync", "HS:quorum", "HS:potential", "HS:async"].contains(&state)
        {
            return Err(format!("pgsql-status of {node} is {state:?}"));
        }
        let data = status
            .attribute(node, "pgsql-data-status")
            .unwrap_or_default();
        if self.attributes && !data.starts_with("STREAMING|") {
            return Err(format!("pgsql-data-status of {node} is {data:?}"));
        }
        Ok(())
    }

    fn check_attributes(
        &self,
        status: &Status,
        primary: &str,
        standbys: &[&String],
    ) -> std::result::Result<(), String> {
        let state = |node: &str| {
            status
                .attribute(node, "pgsql-status")
                .unwrap_or_default()
                .to_owned()
        };
        if state(primary) != "PRI" {
            return Err(format!("pgsql-status of {primary} is {:?}", state(primary)));
        }
        let synchronous = standbys
            .iter()
            .any(|node| ["HS:sync", "HS:quorum"].contains(&state(node).as_str()));
        if self.mode == RepMode::Sync && !standbys.is_empty() && !synchronous {
            return Err("no standby is synchronous".into());
        }
        Ok(())
    }
}
