//! What every server was, from the beginning of a scenario to its end: who took writes, who was promoted, who was started
//! anew. Each server is asked ten times a second over its own socket, which no cut reaches, so that silence means that
//! it does not run, or hangs. Only changes are recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Outlook;

/// Rest between two looks at one server.
const PACE: Duration = Duration::from_millis(100);
/// A server that has not answered by then is silent.
const ANSWER: Duration = Duration::from_secs(1);

/// Where the lab's servers have their socket.
pub(crate) const SOCKETS: &str = "run/postgresql";

const QUESTION: &str = "select pg_is_in_recovery(), (extract(epoch from pg_postmaster_start_time()) * 1000)::bigint, system_identifier from pg_control_system()";

/// One run of a server, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When its postmaster started, in milliseconds since 1970.
    pub started: i64,
    /// The database system's identifier.
    pub system: i64,
}

/// What a server said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The machine is off.
    Off,
    /// Nothing: it does not run, is starting, or hangs.
    Silent,
    /// It is in recovery.
    Standby(Run),
    /// It takes writes.
    Primary(Run),
}

impl Sight {
    fn run(self) -> Option<Run> {
        match self {
            Self::Off | Self::Silent => None,
            Self::Standby(run) | Self::Primary(run) => Some(run),
        }
    }
}

/// A change: from `at` on `node` was this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Since the watch's clock began.
    pub at: Duration,
    /// The node's name.
    pub node: String,
    /// What was seen.
    pub sight: Sight,
}

/// Two servers that took writes at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Both {
    /// The one that did before, and the other.
    pub nodes: (String, String),
    /// How long.
    pub time: Duration,
}

/// The running watch. Dropping it ends it.
#[derive(Debug)]
pub struct ServerWatch {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    changes: Mutex<Vec<Change>>,
}

impl Shared {
    fn note(&self, node: &str, sight: Sight) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = changes.iter().rev().find(|change| change.node == node);
        if last.is_none_or(|last| last.sight != sight) {
            changes.push(Change {
                at: self.start.elapsed(),
                node: node.to_owned(),
                sight,
            });
        }
    }
}

impl ServerWatch {
    /// Starts asking; times are since `start`.
    pub(crate) fn begin(cluster: &Cluster, start: Instant) -> Result<Self> {
        let shared = Arc::new(Shared {
            start,
            changes: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let servers: Vec<(String, Outlook)> = cluster
            .machines()
            .iter()
            .map(|node| (node.name().to_owned(), node.outlook()))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start the watch"))?;
        let for_thread = Arc::clone(&shared);
        let user = cluster.spec().site.watch_user();
        let thread = std::thread::spawn(move || {
            runtime.block_on(ask_all(&for_thread, servers, user, stopped));
        });
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// Every change so far.
    pub fn changes(&self) -> Vec<Change> {
        let changes = self.shared.changes.lock();
        changes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ServerWatch {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The promotions after `since`, by node: a server that was in recovery takes writes, or one that took none is started as
/// a primary where another node was the last.
pub fn promotions(changes: &[Change], since: Duration) -> Vec<String> {
    let mut primary: Option<&str> = None;
    let mut was: BTreeMap<&str, Run> = BTreeMap::new();
    let mut found = Vec::new();
    for change in changes {
        let node = change.node.as_str();
        match change.sight {
            Sight::Off | Sight::Silent => {}
            Sight::Standby(run) => drop(was.insert(node, run)),
            Sight::Primary(run) => {
                let was_standby = was.remove(node) == Some(run);
                let is_new = primary.is_some_and(|last| last != node);
                if (was_standby || is_new) && change.at > since {
                    found.push(node.to_owned());
                }
                primary = Some(node);
            }
        }
    }
    found
}

/// The nodes whose server took writes at `since` or later, and does not at the end.
pub fn deposed(changes: &[Change], since: Duration) -> BTreeSet<String> {
    let mut last: BTreeMap<&str, Sight> = BTreeMap::new();
    let mut were: BTreeSet<&str> = BTreeSet::new();
    let is_primary = |sight: &Sight| matches!(sight, Sight::Primary(_));
    for change in changes {
        if change.at > since {
            were.extend(last.iter().filter(|(_, s)| is_primary(s)).map(|(n, _)| *n));
        }
        last.insert(&change.node, change.sight);
    }
    were.into_iter()
        .filter(|node| last.get(node).is_some_and(|sight| !is_primary(sight)))
        .map(str::to_owned)
        .collect()
}

/// How often each node's server was started anew after `since` while the machine was on; nodes without are left out.
pub fn restarts(changes: &[Change], since: Duration) -> BTreeMap<String, usize> {
    let mut last: BTreeMap<&str, Run> = BTreeMap::new();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for change in changes {
        if change.sight == Sight::Off {
            last.remove(change.node.as_str());
        }
        let Some(run) = change.sight.run() else {
            continue;
        };
        let before = last.insert(&change.node, run);
        if before.is_some_and(|before| before != run) && change.at > since {
            *found.entry(change.node.clone()).or_default() += 1;
        }
    }
    found
}

/// The times after `since` in which two servers took writes, up to `now`.
pub fn both_writable(changes: &[Change], since: Duration, now: Duration) -> Vec<Both> {
    let mut writable: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut found = Vec::new();
    let mut ends =
        |writable: &BTreeMap<&str, Duration>, node: &str, from: Duration, to: Duration| {
            for (other, began) in writable.iter().filter(|(other, _)| **other != node) {
                let begin = from.max(*began).max(since);
                if to > begin {
                    let nodes = if *began < from {
                        (*other, node)
                    } else {
                        (node, *other)
                    };
                    found.push(Both {
                        nodes: (nodes.0.to_owned(), nodes.1.to_owned()),
                        time: to - begin,
                    });
                }
            }
        };
    for change in changes {
        let node = change.node.as_str();
        let takes_writes = matches!(change.sight, Sight::Primary(_));
        match (writable.get(node).copied(), takes_writes) {
            (None, true) => drop(writable.insert(node, change.at)),
            (Some(from), false) => {
                writable.remove(node);
                ends(&writable, node, from, change.at);
            }
            (Some(_), true) | (None, false) => {}
        }
    }
    while let Some((node, from)) = writable.pop_first() {
        ends(&writable, node, from, now);
    }
    found
}

async fn ask_all(
    shared: &Arc<Shared>,
    servers: Vec<(String, Outlook)>,
    user: &'static str,
    stopped: watch::Receiver<bool>,
) {
    let tasks: Vec<_> = servers
        .into_iter()
        .map(|(node, outlook)| {
            let (shared, mut stopped) = (Arc::clone(shared), stopped.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = ask_forever(&shared, &node, &outlook, user) => {}
                    _ = stopped.changed() => {}
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
}

async fn ask_forever(shared: &Shared, node: &str, outlook: &Outlook, user: &str) {
    let mut machine = outlook.pid();
    loop {
        // Off and on again between two looks.
        let now = outlook.pid();
        if now.is_some() && now != machine {
            shared.note(node, Sight::Off);
            machine = now;
        }
        if let Some((client, question)) = connect(outlook, user).await {
            while let Some(sight) = ask(&client, &question).await {
                shared.note(node, sight);
                tokio::time::sleep(PACE).await;
            }
        }
        let is_on = outlook.pid().is_some();
        shared.note(node, if is_on { Sight::Silent } else { Sight::Off });
        tokio::time::sleep(PACE).await;
    }
}

/// The question is parsed once a connection: it is asked ten times a second on every server of every lab.
async fn connect(outlook: &Outlook, user: &str) -> Option<(Client, Statement)> {
    let root = PathBuf::from(format!("/proc/{}/root", outlook.pid()?));
    let mut config = Config::new();
    config
        .host_path(root.join(SOCKETS))
        .user(user)
        .dbname("postgres")
        .application_name("watch")
        .connect_timeout(ANSWER);
    let connected = tokio::time::timeout(ANSWER, config.connect(NoTls)).await;
    let (client, connection) = connected.ok()?.ok()?;
    // It ends with the client.
    tokio::spawn(connection);
    let question = tokio::time::timeout(ANSWER, client.prepare(QUESTION)).await;
    let question = question.ok()?.ok()?;
    Some((client, question))
}

/// `None`: no answer.
async fn ask(client: &Client, question: &Statement) -> Option<Sight> {
    let row = tokio::time::timeout(ANSWER, client.query_one(question, &[])).await;
    let row = row.ok()?.ok()?;
    let run = Run {
        started: row.get(1),
        system: row.get(2),
    };
    Some(if row.get(0) {
        Sight::Standby(run)
    } else {
        Sight::Primary(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(started: i64) -> Run {
        Run { started, system: 7 }
    }

    fn change(ms: u64, node: &str, sight: Sight) -> Change {
        Change {
            at: Duration::from_millis(ms),
            node: node.to_owned(),
            sight,
        }
    }

    /// node1 is killed, node2 takes over, and node1 is back as a standby.
    fn failover() -> Vec<Change> {
        vec![
            change(0, "node1", Sight::Primary(run(1))),
            change(0, "node2", Sight::Standby(run(2))),
            change(500, "node1", Sight::Silent),
            change(900, "node2", Sight::Primary(run(2))),
            change(1500, "node1", Sight::Standby(run(3))),
        ]
    }

    #[test]
    fn a_failover_is_one_promotion_and_one_restart() {
        let changes = failover();
        let since = Duration::from_millis(100);
        assert_eq!(promotions(&changes, since), ["node2"]);
        assert_eq!(restarts(&changes, since), [("node1".to_owned(), 1)].into());
        assert_eq!(both_writable(&changes, since, Duration::from_secs(9)), []);
        assert!(promotions(&changes, Duration::from_secs(2)).is_empty());
        assert_eq!(deposed(&changes, since), ["node1".to_owned()].into());
        assert!(deposed(&changes, Duration::from_secs(2)).is_empty());
    }

    #[test]
    fn a_machine_that_was_off_starts_its_server_without_being_counted() {
        let mut changes = failover();
        changes[2].sight = Sight::Off;
        assert!(restarts(&changes, Duration::ZERO).is_empty());
        assert_eq!(promotions(&changes, Duration::ZERO), ["node2"]);
    }

    #[test]
    fn a_primary_that_is_started_again_was_not_promoted() {
        let changes = [
            change(0, "node1", Sight::Primary(run(1))),
            change(500, "node1", Sight::Silent),
            change(900, "node1", Sight::Primary(run(2))),
        ];
        assert!(promotions(&changes, Duration::ZERO).is_empty());
        assert_eq!(restarts(&changes, Duration::ZERO)["node1"], 1);
    }

    #[test]
    fn a_restart_by_way_of_a_standby_is_a_promotion() {
        let changes = [
            change(0, "node1", Sight::Primary(run(1))),
            change(500, "node1", Sight::Standby(run(2))),
            change(900, "node1", Sight::Primary(run(2))),
        ];
        assert_eq!(promotions(&changes, Duration::ZERO), ["node1"]);
    }

    #[test]
    fn two_that_take_writes_are_seen_with_their_time() {
        let mut changes = failover();
        changes.insert(4, change(1000, "node1", Sight::Primary(run(1))));
        let both = both_writable(&changes, Duration::ZERO, Duration::from_secs(9));
        let expected = Both {
            nodes: ("node2".into(), "node1".into()),
            time: Duration::from_millis(500),
        };
        assert_eq!(both, [expected]);
        let still = both_writable(&changes[..5], Duration::ZERO, Duration::from_secs(3));
        assert_eq!(still[0].time, Duration::from_secs(2));
        let late = Duration::from_millis(1400);
        let rest = both_writable(&changes, late, Duration::from_secs(9));
        assert_eq!(rest[0].time, Duration::from_millis(100));
    }
}
