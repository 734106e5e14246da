//! Who streams from whom, looked at twenty times a second: when a cluster has a synchronous standby again, and when all.
//!
//! Every server is asked over a connection of its own from the client's host, by the clock of the client that keeps
//! score. Only changes are recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::{Client, Statement};

use crate::cluster::Cluster;
use crate::error::Result;
use crate::login::{Login, connect};
use crate::score;

/// Rest between two looks at one server.
const PACE: Duration = Duration::from_millis(50);
/// A server that has not answered by then is silent.
const ANSWER: Duration = Duration::from_millis(500);

const QUESTION: &str = "select pg_is_in_recovery(), coalesce((select string_agg(concat_ws(' ', application_name, state, sync_state), ',') from pg_stat_replication where state = 'streaming'), '')";

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Nothing.
    Silent,
    /// It is in recovery.
    Standby,
    /// It takes writes, and these stream from it.
    Primary(Vec<Stream>),
}

/// A standby that streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its node, which is its `application_name`.
    pub node: String,
    /// Commits wait for it, alone or with others: `sync_state` is `sync` or `quorum`.
    pub synchronous: bool,
}

/// How much redundancy is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redundancy {
    /// One standby streams.
    OneStreams,
    /// One standby streams, and commits wait for it.
    OneSynchronous,
    /// All other nodes stream.
    Full,
}

/// All servers' views from a moment on.
type Picture = BTreeMap<String, View>;

/// The running watch. Dropping it ends it.
#[derive(Debug)]
pub struct StreamWatch {
    shared: Arc<Shared>,
    nodes: usize,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    changes: Mutex<Vec<(Duration, Picture)>>,
}

impl Shared {
    fn note(&self, node: &str, view: View) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut picture = changes
            .last()
            .map(|last| last.1.clone())
            .unwrap_or_default();
        if picture.get(node) != Some(&view) {
            picture.insert(node.to_owned(), view);
            changes.push((self.start.elapsed(), picture));
        }
    }
}

impl StreamWatch {
    /// Starts asking; times are since `start`.
    pub(crate) fn begin(cluster: &Cluster, start: Instant) -> Result<Self> {
        let shared = Arc::new(Shared {
            start,
            changes: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let servers: Vec<(String, String)> = cluster
            .nodes()
            .iter()
            .map(|node| (node.application_name(), node.address().to_owned()))
            .collect();
        let (nodes, for_thread) = (servers.len(), Arc::clone(&shared));
        let login = cluster.spec().site.login();
        let thread = score::on_client(cluster, async move || {
            ask_all(&for_thread, servers, login, stopped).await;
        })?;
        Ok(Self {
            shared,
            nodes,
            stop,
            thread: Some(thread),
        })
    }

    fn changes(&self) -> Vec<(Duration, Picture)> {
        let changes = self.shared.changes.lock();
        changes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first moment after `since` at which there is redundancy again after there was none; `since` itself, where it
    /// never was gone. `None`: it is gone.
    pub fn back(&self, redundancy: Redundancy, since: Duration) -> Option<Duration> {
        back(&self.changes(), self.nodes, redundancy, since)
    }

    /// From when on there has been redundancy without a break, `since` at the earliest; `None`: there is none.
    pub fn steady(&self, redundancy: Redundancy, since: Duration) -> Option<Duration> {
        steady(&self.changes(), self.nodes, redundancy, since)
    }

    /// What is seen now, in words.
    pub fn now(&self) -> String {
        self.changes().last().map_or_else(
            || "nothing".to_owned(),
            |(_, picture)| format!("{picture:?}"),
        )
    }
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn has(picture: &Picture, nodes: usize, redundancy: Redundancy) -> bool {
    let mut primaries = picture.iter().filter_map(|(node, view)| match view {
        View::Primary(streams) => Some((node, streams)),
        View::Silent | View::Standby => None,
    });
    // Two for a moment, in a split: whose standbys count is not known then.
    let (Some((primary, streams)), None) = (primaries.next(), primaries.next()) else {
        return false;
    };
    // A copy that is being made streams, too, under another name.
    let mut nodes_streaming: Vec<&Stream> = streams
        .iter()
        .filter(|stream| stream.node != *primary && picture.contains_key(&stream.node))
        .collect();
    match redundancy {
        Redundancy::OneStreams => !nodes_streaming.is_empty(),
        Redundancy::OneSynchronous => nodes_streaming.iter().any(|stream| stream.synchronous),
        Redundancy::Full => {
            nodes_streaming.sort_by_key(|stream| &stream.node);
            nodes_streaming.dedup_by_key(|stream| &stream.node);
            nodes_streaming.len() + 1 == nodes
        }
    }
}

/// Whether there was redundancy at `since`, and at every change after it.
fn course(
    changes: &[(Duration, Picture)],
    nodes: usize,
    redundancy: Redundancy,
    since: Duration,
) -> Vec<(Duration, bool)> {
    let before = changes.iter().rev().find(|(at, _)| *at <= since);
    let before = before.map(|(_, picture)| (since, picture));
    let after = changes.iter().filter(|(at, _)| *at > since);
    before
        .into_iter()
        .chain(after.map(|(at, picture)| (*at, picture)))
        .map(|(at, picture)| (at, has(picture, nodes, redundancy)))
        .collect()
}

fn back(
    changes: &[(Duration, Picture)],
    nodes: usize,
    redundancy: Redundancy,
    since: Duration,
) -> Option<Duration> {
    let course = course(changes, nodes, redundancy, since);
    let Some(gone) = course.iter().position(|(_, is)| !is) else {
        return course.first().map(|(at, _)| *at);
    };
    let again = course[gone..].iter().find(|(_, is)| *is);
    again.map(|(at, _)| *at)
}

fn steady(
    changes: &[(Duration, Picture)],
    nodes: usize,
    redundancy: Redundancy,
    since: Duration,
) -> Option<Duration> {
    let course = course(changes, nodes, redundancy, since);
    let unbroken = course.iter().rev().take_while(|(_, is)| *is);
    unbroken.last().map(|(at, _)| *at)
}

async fn ask_all(
    shared: &Arc<Shared>,
    servers: Vec<(String, String)>,
    login: Login,
    stopped: watch::Receiver<bool>,
) {
    let tasks: Vec<_> = servers
        .into_iter()
        .map(|(node, address)| {
            let (shared, mut stopped) = (Arc::clone(shared), stopped.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = ask_forever(&shared, &node, &address, login) => {}
                    _ = stopped.changed() => {}
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
}

async fn ask_forever(shared: &Shared, node: &str, address: &str, login: Login) {
    loop {
        let mut config = login.config(address, "streams");
        config.connect_timeout(ANSWER);
        if let Ok(Ok((client, driver))) = tokio::time::timeout(ANSWER, connect(&config)).await {
            let question = tokio::time::timeout(ANSWER, client.prepare(QUESTION)).await;
            if let Ok(Ok(question)) = question {
                while let Some(view) = ask(&client, &question).await {
                    shared.note(node, view);
                    tokio::time::sleep(PACE).await;
                }
            }
            driver.abort();
        }
        shared.note(node, View::Silent);
        tokio::time::sleep(PACE).await;
    }
}

/// `None`: no answer.
async fn ask(client: &Client, question: &Statement) -> Option<View> {
    let row = tokio::time::timeout(ANSWER, client.query_one(question, &[])).await;
    let row = row.ok()?.ok()?;
    let (in_recovery, streams): (bool, String) = (row.get(0), row.get(1));
    Some(if in_recovery {
        View::Standby
    } else {
        View::Primary(parse(&streams))
    })
}

fn parse(streams: &str) -> Vec<Stream> {
    let one = |text: &str| {
        let mut words = text.split(' ');
        let node = words.next().filter(|name| !name.is_empty())?.to_owned();
        let synchronous = matches!(words.next_back(), Some("sync" | "quorum"));
        Some(Stream { node, synchronous })
    };
    let mut streams: Vec<Stream> = streams.split(',').filter_map(one).collect();
    streams.sort_by(|a, b| a.node.cmp(&b.node));
    streams
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(primary: &str, streams: &str) -> Picture {
        let nodes = ["node1", "node2", "node3"];
        let view = |node: &str| {
            if node == primary {
                View::Primary(parse(streams))
            } else {
                View::Standby
            }
        };
        nodes.map(|node| (node.to_owned(), view(node))).into()
    }

    fn at(ms: u64, primary: &str, streams: &str) -> (Duration, Picture) {
        (Duration::from_millis(ms), picture(primary, streams))
    }

    const BOTH: &str = "node3 streaming async,node2 streaming sync";

    #[test]
    fn redundancy_is_counted_from_the_break() {
        let changes = [
            at(0, "node1", BOTH),
            at(100, "nobody", ""),
            at(200, "node2", "node3 streaming sync"),
            at(900, "node2", "node1 streaming async,node3 streaming sync"),
        ];
        let ms = |ms| Some(Duration::from_millis(ms));
        let since = Duration::from_millis(50);
        assert_eq!(
            back(&changes, 3, Redundancy::OneSynchronous, since),
            ms(200)
        );
        assert_eq!(steady(&changes, 3, Redundancy::Full, since), ms(900));
        assert_eq!(back(&changes[..3], 3, Redundancy::Full, since), None);
        assert_eq!(steady(&changes[..3], 3, Redundancy::Full, since), None);
    }

    #[test]
    fn what_was_never_broken_is_there_from_the_beginning() {
        let changes = [at(0, "node1", BOTH)];
        let since = Duration::from_millis(50);
        assert_eq!(back(&changes, 3, Redundancy::Full, since), Some(since));
        assert_eq!(steady(&changes, 3, Redundancy::Full, since), Some(since));
        assert_eq!(steady(&[], 3, Redundancy::Full, since), None);
    }

    #[test]
    fn a_copy_that_is_being_made_is_no_standby() {
        let copy = picture(
            "node1",
            "expgsql_node2 streaming async,node3 streaming potential",
        );
        assert!(has(&copy, 3, Redundancy::OneStreams));
        assert!(!has(&copy, 3, Redundancy::OneSynchronous));
        assert!(!has(&copy, 3, Redundancy::Full));
    }

    #[test]
    fn two_primaries_are_no_redundancy() {
        let mut split = picture("node1", BOTH);
        split.insert("node2".into(), View::Primary(parse("node3 streaming sync")));
        assert!(!has(&split, 3, Redundancy::OneStreams));
    }
}
