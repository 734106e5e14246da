//! What Pacemaker's and PostgreSQL's logs say of a time: operations that failed, copies that were made. The logs are read
//! on the hosts' disks, so that a host that is off is read, too.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::{corosync, postgres};

/// An operation of a resource that did not end as it should.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    pub node: String,
    pub resource: String,
    /// `start`, `monitor`, `promote`, …
    pub operation: String,
    /// Pacemaker's word and the agent's reason.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            resource,
            operation,
            reason,
        } = self;
        write!(f, "{operation} of {resource} on {node}: {reason}")
    }
}

/// Up to where the logs have been read, by file.
#[derive(Clone, Debug, Default)]
pub struct Mark(BTreeMap<(String, &'static str), u64>);

/// A node's logs, from a mark to now.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub node: String,
    pub corosync: String,
    pub pacemaker: String,
    pub postgresql: String,
}

/// What happened between a mark and now.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// In the order of the nodes.
    pub failures: Vec<Failure>,
    /// Base backups that a server began to send, by the node that sent them.
    pub copies: Vec<String>,
    /// What an agent told of its node by `RSC-degraded`, in order: node and word.
    pub degraded: Vec<(String, String)>,
}

impl Cluster {
    /// The end of the logs as they are now.
    ///
    /// # Errors
    /// [`Error::Io`] when a log can't be read.
    pub fn mark(&self) -> Result<Mark> {
        let mut mark = Mark::default();
        self.read_on(&mut mark)?;
        Ok(mark)
    }

    /// What happened since the mark, which is moved to now.
    ///
    /// # Errors
    /// [`Error::Io`] when a log can't be read.
    pub fn events_since(&self, mark: &mut Mark) -> Result<Events> {
        self.read_on(mark)
    }

    /// What all logs have since the mark, which is moved to now; a log that the mark does not know is read from its beginning.
    ///
    /// # Errors
    /// [`Error::Io`] when a log can't be read.
    pub fn text_since(&self, mark: &mut Mark) -> Result<Vec<Text>> {
        let text = |node: &Node| {
            Ok(Text {
                node: node.name().to_owned(),
                corosync: next_part(node, corosync::OWN_LOG, mark)?,
                pacemaker: next_part(node, corosync::LOG, mark)?,
                postgresql: next_part(node, postgres::LOG, mark)?,
            })
        };
        self.machines().iter().map(text).collect()
    }

    fn read_on(&self, mark: &mut Mark) -> Result<Events> {
        let mut events = Events::default();
        for node in self.machines() {
            let text = next_part(node, corosync::LOG, mark)?;
            events.failures.extend(text.lines().filter_map(failure));
            events.degraded.extend(text.lines().filter_map(degraded));
            let text = next_part(node, postgres::LOG, mark)?;
            let copies = text.lines().filter(|line| is_copy(line)).count();
            events
                .copies
                .extend(std::iter::repeat_n(node.name().to_owned(), copies));
        }
        Ok(events)
    }
}

/// What a server writes, in whatever language, when a base backup is asked for; it writes the statement itself below it, too.
fn is_copy(line: &str) -> bool {
    let said = line.split_once("LOG:  ").map(|(_, said)| said);
    said.is_some_and(|said| said.contains(": BASE_BACKUP"))
}

/// The rest of a log below /var, as it is on the host's disk; what is no whole line yet is left for the next time.
fn next_part(node: &Node, log: &'static str, mark: &mut Mark) -> Result<String> {
    let Some(below_var) = log.strip_prefix("/var/") else {
        return Err(Error::Other(format!("{log} is not below /var")));
    };
    let path = node.disk("var").join(below_var);
    let at = mark.0.entry((node.name().to_owned(), log)).or_default();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(Error::io(format!("open {}", path.display()))(error)),
    };
    // A machine that was replaced begins its logs anew.
    let length = file.metadata().map_or(*at, |about| about.len());
    if length < *at {
        *at = 0;
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(*at))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(Error::io(format!("read {}", path.display())))?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |n| n + 1);
    bytes.truncate(whole);
    *at += u64::try_from(whole).unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `… INFO attribute node=node1 attribute=pgsql-degraded value=alone ]`, as Pacemaker hands the agent's line on.
fn degraded(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("INFO attribute node=")?;
    let (node, rest) = rest.split_once(" attribute=")?;
    let (name, rest) = rest.split_once(" value=")?;
    // Pacemaker writes the end of each but the last line so.
    let word = rest.split_whitespace().next()?.trim_end_matches("\\n");
    let is_told = name.ends_with("-degraded") && word != "(removed)";
    is_told.then(|| (node.to_owned(), word.to_owned()))
}

/// `… (log_executor_event) notice: Result of start operation for pgsql on node1: error (why) | …; call=9 key=… rc=1`
fn failure(line: &str) -> Option<Failure> {
    let (_, rest) = line.split_once(" Result of ")?;
    let (operation, rest) = rest.split_once(" operation for ")?;
    let (resource, rest) = rest.split_once(" on ")?;
    let (node, rest) = rest.split_once(": ")?;
    let (reason, technical) = rest.split_once(" | ").unwrap_or((rest, ""));
    let code: Option<i32> = technical
        .rsplit_once("rc=")
        .and_then(|(_, code)| code.trim().parse().ok());
    // As OCF has them: running, promoted, and the two degraded ones; a probe may also find nothing.
    let is_well = match operation {
        "probe" => code.is_some_and(|code| [0, 7, 8, 190, 191].contains(&code)),
        "monitor" => code.is_some_and(|code| [0, 8, 190, 191].contains(&code)),
        _ => code == Some(0),
    };
    if is_well || reason.starts_with("Cancelled") {
        return None;
    }
    Some(Failure {
        node: node.to_owned(),
        resource: resource.to_owned(),
        operation: operation.to_owned(),
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_degraded_node_is_read_from_the_agent_s_line() {
        let line = |name: &str, value: &str| {
            degraded(&format!(
                "Nov 30 00:58:03.548 node3 pacemaker-execd     [98] (log_op_output) \tinfo: pgsql_monitor_3000[1523] error output \
                 [ {}  INFO attribute node=node3 attribute=pgsql-{name} value={value} ]",
                "2026-11-30T00:58:03Z"
            ))
        };
        let told = Some(("node3".to_owned(), "waiting".to_owned()));
        assert_eq!(line("degraded", "waiting"), told);
        assert_eq!(line("degraded", "(removed)"), None);
        assert_eq!(line("degraded", "(removed)\\n"), None);
        assert_eq!(line("status", "PRI"), None);
    }

    #[test]
    fn only_what_did_not_end_as_it_should_is_a_failure() {
        let line = |operation: &str, result: &str| {
            failure(&format!(
                "Nov 29 19:30:22.997 node1 pacemaker-controld  [62] (log_executor_event) \tnotice: Result of {operation} \
                 operation for pgsql on node1: {result}"
            ))
        };
        let not_running = "not running | CIB update 46, graph action confirmed; call=9 key=k rc=7";
        assert_eq!(line("probe", not_running), None);
        assert_eq!(
            line("monitor", "promoted | CIB update 4; call=9 key=k rc=8"),
            None
        );
        assert_eq!(line("monitor", "Cancelled | call=9 key=k"), None);
        let failed = line("monitor", not_running).expect("a failure");
        assert_eq!(
            (failed.node.as_str(), failed.operation.as_str()),
            ("node1", "monitor")
        );
        let refused = line(
            "start",
            "error (diverged: at 0/3, fork at 0/2) | CIB update 1; call=1 key=k rc=1",
        );
        assert_eq!(
            refused.expect("a failure").reason,
            "error (diverged: at 0/3, fork at 0/2)"
        );
        assert!(
            line(
                "promote",
                "Timed Out after 20s (why) | CIB update 1; call=1 key=k rc=1"
            )
            .is_some()
        );
    }
}
