//! The client that keeps score: it writes numbers through the virtual address, one commit each, and remembers which ones
//! the cluster acknowledged and when. Afterwards: the longest pause, and whether an acknowledged number is missing.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::login::{Login, SILENCE, connect};
use crate::network::WRITER_ADDRESS;
use crate::reads::ReadWatch;
use crate::servers::ServerWatch;
use crate::streams::StreamWatch;
use crate::{poll, pool};

/// Rest between two commits: nearly a hundred a second, half as many beside other labs, whose cores they take.
fn pace() -> Duration {
    Duration::from_millis(if pool::has_neighbours() { 20 } else { 10 })
}
/// Rest before another connection after a failure.
const RETRY: Duration = Duration::from_millis(100);
/// A commit that is not acknowledged by then is left behind, its outcome unknown: the host answers probes, so only
/// PostgreSQL hangs, or the commit waits for a standby.
const COMMIT: Duration = Duration::from_secs(10);
/// Time for the first acknowledgement after start.
const FIRST: Duration = Duration::from_secs(30);

/// One acknowledged commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its number.
    pub seq: u64,
    /// When the acknowledgement came, since the client's start.
    pub at: Duration,
    /// The node that gave it.
    pub node: Arc<str>,
}

/// A time without acknowledgements, between two of them or up to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last acknowledgement before, since the client's start.
    pub from: Duration,
    /// The next one; when there was none, the end of the record.
    pub to: Duration,
    /// Who acknowledged before.
    pub before: Arc<str>,
    /// Who did after; `None`: nobody, up to the end of the record.
    pub after: Option<Arc<str>>,
}

impl Outage {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// What the client saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Acknowledged commits, in order.
    pub acks: Vec<Ack>,
    /// Numbers whose commit was sent but never answered: they may be there or not, and count as neither.
    pub unknown: Vec<u64>,
    /// Errors, with their time since the client's start.
    pub errors: Vec<(Duration, String)>,
    /// End of the record, since the client's start.
    pub end: Duration,
    /// The table it wrote to.
    pub table: String,
}

impl Score {
    /// Number of acknowledged commits.
    pub fn acked(&self) -> usize {
        self.acks.len()
    }

    /// The times without acknowledgements that reach into the time after `since`.
    fn pauses(&self, since: Duration) -> impl Iterator<Item = Outage> + '_ {
        let next = self
            .acks
            .iter()
            .skip(1)
            .map(Some)
            .chain(std::iter::once(None));
        self.acks
            .iter()
            .zip(next)
            .map(|(last, next)| Outage {
                from: last.at,
                to: next.map_or(self.end.max(last.at), |ack| ack.at),
                before: Arc::clone(&last.node),
                after: next.map(|ack| Arc::clone(&ack.node)),
            })
            .filter(move |pause| pause.to > since)
    }

    /// Pauses of at least `least`, in order.
    pub fn outages(&self, least: Duration) -> Vec<Outage> {
        self.pauses(Duration::ZERO)
            .filter(|pause| pause.length() >= least)
            .collect()
    }

    /// The longest pause that reaches into the time after `since` (since the client's start); zero: there was none.
    pub fn longest_gap_since(&self, since: Duration) -> Duration {
        self.pauses(since)
            .map(|pause| pause.length())
            .max()
            .unwrap_or_default()
    }

    /// The longest pause of the record.
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap_since(Duration::ZERO)
    }

    /// Acknowledged numbers that are not among `present`.
    pub fn missing(&self, present: &BTreeSet<u64>) -> Vec<u64> {
        self.acks
            .iter()
            .map(|ack| ack.seq)
            .filter(|seq| !present.contains(seq))
            .collect()
    }
}

/// The running client. Dropping it stops it.
#[derive(Debug)]
pub struct ScoreClient {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Where it writes to.
    address: String,
    login: Login,
    table: String,
    /// A connection for each commit: what keeps new clients out is seen, too.
    anew: bool,
    score: Mutex<Score>,
}

impl Shared {
    fn score(&self) -> MutexGuard<'_, Score> {
        self.score.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: impl ToString) {
        self.score()
            .errors
            .push((self.start.elapsed(), error.to_string()));
    }
}

impl ScoreClient {
    /// Starts writing from the client host, through the writer's address, and returns with the first acknowledgement.
    ///
    /// # Errors
    /// [`Error::Timeout`] when there is none in 30 s.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let client = Self::begin(cluster, Instant::now(), WRITER_ADDRESS, "score", false)?;
        client.wait_first(cluster)?;
        Ok(client)
    }

    /// As [`ScoreClient::start`], with a connection for each commit: a server that hangs for new clients goes on for those it has.
    ///
    /// # Errors
    /// As [`ScoreClient::start`].
    pub fn start_anew(cluster: &Cluster) -> Result<Self> {
        let client = Self::begin(cluster, Instant::now(), WRITER_ADDRESS, "score", true)?;
        client.wait_first(cluster)?;
        Ok(client)
    }

    /// Starts a second client beside this one, with the same clock, that writes to a table of its own, and holds on to
    /// `node` whoever has the writer's address. Returns at once: the node may be a standby, now.
    ///
    /// # Errors
    /// The client host is off.
    pub fn beside(&self, cluster: &Cluster, node: &Node, table: &str) -> Result<Self> {
        let table = identifier(table);
        Self::begin(cluster, self.shared.start, node.address(), &table, false)
    }

    fn begin(
        cluster: &Cluster,
        start: Instant,
        address: &str,
        table: &str,
        anew: bool,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            start,
            address: address.to_owned(),
            login: cluster.spec().site.login(),
            table: table.to_owned(),
            anew,
            score: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let for_thread = Arc::clone(&shared);
        let thread = on_client(cluster, async move || write(&for_thread, stopped).await)?;
        let client = Self {
            shared,
            stop,
            thread: Some(thread),
        };
        Ok(client)
    }

    /// Starts to watch who streams from whom, by this client's clock.
    ///
    /// # Errors
    /// The client host is off.
    pub fn watch_streams(&self, cluster: &Cluster) -> Result<StreamWatch> {
        StreamWatch::begin(cluster, self.shared.start)
    }

    /// Starts to watch what every server is, by this client's clock.
    ///
    /// # Errors
    /// No thread for it.
    pub fn watch_servers(&self, cluster: &Cluster) -> Result<ServerWatch> {
        ServerWatch::begin(cluster, self.shared.start)
    }

    /// Starts to read through the reader's address, by this client's clock.
    ///
    /// # Errors
    /// The client host is off.
    pub fn watch_reads(&self, cluster: &Cluster) -> Result<ReadWatch> {
        ReadWatch::begin(cluster, self.shared.start)
    }

    fn wait_first(&self, cluster: &Cluster) -> Result<()> {
        let first = poll::until(FIRST, poll::QUICK, || {
            if self.acked_count() > 0 {
                Ok(())
            } else {
                Err(())
            }
        });
        first.map_err(|()| {
            let seen = self
                .shared
                .score()
                .errors
                .last()
                .map_or_else(|| "no error either".to_owned(), |(_, error)| error.clone());
            cluster.timeout("a first commit through the writer's address", FIRST, seen)
        })
    }

    /// Commits acknowledged so far.
    pub fn acked_count(&self) -> usize {
        self.shared.score().acked()
    }

    /// Time since the client's start: the clock of [`Score`].
    pub fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Time since the last acknowledgement.
    pub fn silence(&self) -> Duration {
        let last = self
            .shared
            .score()
            .acks
            .last()
            .map_or(Duration::ZERO, |ack| ack.at);
        self.now().saturating_sub(last)
    }

    /// The record so far.
    pub fn score(&self) -> Score {
        let mut score = self.shared.score().clone();
        score.end = self.now();
        score.table.clone_from(&self.shared.table);
        score
    }

    /// Stops writing and gives the record.
    pub fn stop(mut self) -> Score {
        self.halt();
        self.score()
    }

    fn halt(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for ScoreClient {
    fn drop(&mut self) {
        self.halt();
    }
}

/// A table's name that needs no quotes, and leaves room for what is added to it: names of nodes may be part of it.
fn identifier(name: &str) -> String {
    const BEGINNING: usize = 24;
    const END: usize = 16;
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(plain).collect();
    if name.len() <= BEGINNING + END {
        return name;
    }
    format!("{}{}", &name[..BEGINNING], &name[name.len() - END..])
}

/// Runs something on a thread that has the client host's network, on a runtime of its own.
pub(crate) fn on_client<F: AsyncFnOnce() + Send + 'static>(
    cluster: &Cluster,
    act: F,
) -> Result<JoinHandle<()>> {
    let path = format!("/proc/{}/ns/net", cluster.client().init()?.pid);
    let network = File::open(&path).map_err(Error::io(format!("open {path}")))?;
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Only this thread moves: its sockets are the client host's, everything else stays where it is.
        let moved = setns(network, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
        let runtime = moved.and_then(|()| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        });
        match runtime {
            Ok(runtime) => {
                let _ = tell.send(Ok(()));
                runtime.block_on(act());
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    });
    told.recv()
        .map_err(|_| Error::Other("a thread on the client's network ended at once".into()))?
        .map_err(Error::io("enter the client's network"))?;
    Ok(thread)
}

async fn write(shared: &Shared, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = write_forever(shared) => {}
        _ = stopped.changed() => {}
    }
}

async fn write_forever(shared: &Shared) {
    let mut next = 1;
    loop {
        match one_connection(shared, &mut next).await {
            Ok(()) => {}
            Err(error) => {
                shared.error(error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Writes over one connection until something fails.
async fn one_connection(
    shared: &Shared,
    next: &mut u64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let config = shared.login.config(&shared.address, "score");
    // connect_timeout covers the TCP handshake only; a frozen postmaster lets the kernel complete it.
    let (client, driver) = tokio::time::timeout(SILENCE, connect(&config)).await??;
    let outcome = commits(shared, &client, next).await;
    driver.abort();
    outcome
}

/// Rows of the sums: so many commits in a row touch different ones, so that one that still waits for a standby does not
/// hold the next one up.
const SUMS: u32 = 16;

/// The client's tables: a row for each commit, and sums that each commit updates in the same transaction.
fn schema(table: &str) -> String {
    format!(
        "create table if not exists {table}(seq bigint primary key, node text not null, at timestamptz not null default clock_timestamp());
         create table if not exists {table}_sums(id int primary key, commits bigint not null) with (fillfactor = 20);
         insert into {table}_sums select id, 0 from generate_series(0, {SUMS} - 1) id on conflict do nothing"
    )
}

/// One commit: an insert and an update. $1: its number, $2: the node that the client writes to.
fn commit(table: &str) -> String {
    format!(
        "with row as (insert into {table}(seq, node) values ($1, $2))
         update {table}_sums set commits = commits + 1 where id = $1 % {SUMS}"
    )
}

async fn commits(
    shared: &Shared,
    client: &Client,
    next: &mut u64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let hello = async {
        client.batch_execute(&schema(&shared.table)).await?;
        // The file, not cluster_name: a rebuilt standby has the primary's settings.
        client
            .query_one(
                "select trim(e'\\n ' from pg_read_file('/etc/hostname'))",
                &[],
            )
            .await
    };
    let node: String = tokio::time::timeout(COMMIT, hello).await??.get(0);
    let node: Arc<str> = node.into();
    let commit = tokio::time::timeout(COMMIT, client.prepare(&commit(&shared.table))).await??;
    loop {
        // A number is used once: one whose commit got no answer may be there.
        let seq = *next;
        *next += 1;
        let number = i64::try_from(seq)?;
        shared.score().unknown.push(seq);
        tokio::time::timeout(COMMIT, client.execute(&commit, &[&number, &&*node]))
            .await
            .map_err(|_| format!("no answer to commit {seq} in {COMMIT:?}"))??;
        {
            let mut score = shared.score();
            score.unknown.pop();
            score.acks.push(Ack {
                seq,
                at: shared.start.elapsed(),
                node: Arc::clone(&node),
            });
        }
        tokio::time::sleep(pace()).await;
        if shared.anew {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_after_a_node_whatever_that_is_called() {
        assert_eq!(identifier("held_node1_250"), "held_node1_250");
        let name = "leased_DB-Knoten-1.Rechenzentrum-Nord.Niederlassung-Koeln.example_81250";
        assert_eq!(identifier(name), "leased_db_knoten_1_recheln_example_81250");
    }

    fn score(acks: &[(u64, u64)], end: u64) -> Score {
        let node: Arc<str> = "node1".into();
        let acks = acks
            .iter()
            .map(|(seq, ms)| Ack {
                seq: *seq,
                at: Duration::from_millis(*ms),
                node: Arc::clone(&node),
            })
            .collect();
        Score {
            acks,
            end: Duration::from_millis(end),
            ..Score::default()
        }
    }

    #[test]
    fn the_longest_gap_may_be_the_one_that_has_not_ended() {
        let score = score(&[(1, 100), (2, 200), (3, 1200)], 5000);
        assert_eq!(score.longest_gap(), Duration::from_millis(3800));
        assert_eq!(score.outages(Duration::from_millis(500)).len(), 2);
        assert_eq!(score.outages(Duration::from_millis(500))[1].after, None);
    }

    #[test]
    fn a_gap_counts_when_it_reaches_past_the_given_time() {
        let score = score(&[(1, 100), (2, 1100), (3, 1200), (4, 1300)], 1300);
        assert_eq!(
            score.longest_gap_since(Duration::from_millis(500)),
            Duration::from_millis(1000)
        );
        assert_eq!(
            score.longest_gap_since(Duration::from_millis(1100)),
            Duration::from_millis(100)
        );
    }

    #[test]
    fn an_empty_record_has_no_gap_and_loses_nothing() {
        let score = score(&[], 9000);
        assert_eq!(score.longest_gap(), Duration::ZERO);
        assert!(score.missing(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn only_acknowledged_numbers_can_be_missing() {
        let mut score = score(&[(1, 1), (3, 2), (4, 3)], 3);
        score.unknown = vec![2];
        assert_eq!(score.missing(&BTreeSet::from([1, 4])), [3]);
    }
}
