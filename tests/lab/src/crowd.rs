//! Others' sessions: so many on each server, from its start to its end, on a primary and on a standby. They hold connections
//! for as long as they are let, and do nothing.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::{Client, Config, NoTls};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Outlook;
use crate::servers::SOCKETS;
use crate::site::APPLICATION_USER;

/// Rest before another connection, and between two looks at one.
const PACE: Duration = Duration::from_millis(500);
/// A server that has not answered by then does not run, or hangs.
const ANSWER: Duration = Duration::from_secs(2);

/// The running sessions. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Begins to keep `sessions` on each node's server.
    pub(crate) fn begin(cluster: &Cluster, sessions: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let servers: Vec<Outlook> = cluster.nodes().iter().map(|node| node.outlook()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start others' sessions"))?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(keep_all(&servers, sessions, stopped));
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn keep_all(servers: &[Outlook], sessions: usize, mut stopped: watch::Receiver<bool>) {
    for server in servers {
        for _ in 0..sessions {
            let (server, mut stopped) = (server.clone(), stopped.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = keep(&server) => {}
                    _ = stopped.changed() => {}
                }
            });
        }
    }
    let _ = stopped.changed().await;
}

/// Keeps one session, whatever ends it.
async fn keep(server: &Outlook) {
    loop {
        if let Some(client) = connect(server).await {
            while !client.is_closed() {
                tokio::time::sleep(PACE).await;
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn connect(server: &Outlook) -> Option<Client> {
    let root = PathBuf::from(format!("/proc/{}/root", server.pid()?));
    let mut config = Config::new();
    config
        .host_path(root.join(SOCKETS))
        .user(APPLICATION_USER)
        .dbname("postgres")
        .application_name("others")
        .connect_timeout(ANSWER);
    let connected = tokio::time::timeout(ANSWER, config.connect(NoTls)).await;
    let (client, connection) = connected.ok()?.ok()?;
    // It ends with the client.
    tokio::spawn(connection);
    Some(client)
}
