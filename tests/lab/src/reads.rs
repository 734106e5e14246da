//! Whether reads go on: a client that asks through the reader's address, twenty times a second, and keeps the times in which it
//! got no answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::login::{Login, connect};
use crate::network::READER_ADDRESS;
use crate::score::on_client;

/// Rest between two questions, and before another connection.
const PACE: Duration = Duration::from_millis(50);
/// Time for a connection, and for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// A number that is read from a table's page, not made up.
const QUESTION: &str = "select count(*) from pg_database";

/// The running client. Dropping it ends it.
#[derive(Debug)]
pub struct ReadWatch {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    record: Mutex<Record>,
}

/// The answers, as the pauses between them.
#[derive(Clone, Debug, Default)]
struct Record {
    last: Option<Duration>,
    /// Beginning and end.
    pauses: Vec<(Duration, Duration)>,
}

impl Record {
    fn answered(&mut self, at: Duration) {
        let from = self.last.replace(at).unwrap_or(at);
        // Anything shorter is the client's own pace.
        if at - from > PACE * 4 {
            self.pauses.push((from, at));
        }
    }

    /// The longest pause that reaches into the time after `since`; one that lasts counts up to `now`.
    fn longest_since(&self, since: Duration, now: Duration) -> Duration {
        let lasting = self.last.map(|last| (last, now));
        let pauses = self.pauses.iter().copied().chain(lasting);
        pauses
            .filter(|(_, to)| *to > since)
            .map(|(from, to)| to.saturating_sub(from))
            .max()
            .unwrap_or_default()
    }
}

impl ReadWatch {
    /// Starts asking; times are since `start`.
    pub(crate) fn begin(cluster: &Cluster, start: Instant) -> Result<Self> {
        let shared = Arc::new(Shared {
            start,
            record: Mutex::default(),
        });
        let (stop, mut stopped) = watch::channel(false);
        let for_thread = Arc::clone(&shared);
        let login = cluster.spec().site.login();
        let thread = on_client(cluster, async move || {
            tokio::select! {
                () = ask_forever(&for_thread, login) => {}
                _ = stopped.changed() => {}
            }
        })?;
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// The longest time without an answer since `since`; zero where there never was one.
    pub fn longest_gap_since(&self, since: Duration) -> Duration {
        let record = self.shared.record.lock();
        let record = record.unwrap_or_else(PoisonError::into_inner);
        record.longest_since(since, self.shared.start.elapsed())
    }
}

impl Drop for ReadWatch {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn ask_forever(shared: &Shared, login: Login) {
    let config = login.config(READER_ADDRESS, "reads");
    loop {
        if let Ok(Ok((client, driver))) = tokio::time::timeout(ANSWER, connect(&config)).await {
            let question = tokio::time::timeout(ANSWER, client.prepare(QUESTION)).await;
            if let Ok(Ok(question)) = question {
                while let Ok(Ok(_)) =
                    tokio::time::timeout(ANSWER, client.query_one(&question, &[])).await
                {
                    let record = shared.record.lock();
                    record
                        .unwrap_or_else(PoisonError::into_inner)
                        .answered(shared.start.elapsed());
                    tokio::time::sleep(PACE).await;
                }
            }
            driver.abort();
        }
        tokio::time::sleep(PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_where_it_reaches_and_as_long_as_it_lasts() {
        let seconds = Duration::from_secs;
        let mut record = Record::default();
        assert_eq!(record.longest_since(seconds(0), seconds(9)), seconds(0));
        for at in [1, 2, 7, 8] {
            record.answered(seconds(at));
        }
        assert_eq!(record.longest_since(seconds(0), seconds(9)), seconds(5));
        assert_eq!(record.longest_since(seconds(6), seconds(9)), seconds(5));
        assert_eq!(record.longest_since(seconds(7), seconds(8)), seconds(1));
        assert_eq!(record.longest_since(seconds(9), seconds(30)), seconds(22));
    }
}
