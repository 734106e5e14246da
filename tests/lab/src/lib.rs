//! A real Pacemaker cluster on one machine, for expgsql's scenarios and its demonstration.
//!
//! Every node has its own namespaces, disks and network card; on it run corosync, pacemaker and PostgreSQL, as they
//! would on a machine. Nothing reaches the host: no service, no port, no address, and when the process that made a lab
//! ends, however it ends, the lab ends too.
//!
//! ```no_run
//! use std::time::Duration;
//! let lab = lab::Cluster::builder().nodes(3).agent(lab::Agent::StockPgsql).up()?;
//! lab.wait_healthy(Duration::from_secs(120))?;
//! lab.kill_postmaster(lab.primary()?)?;
//! lab.eventually("a primary is back", Duration::from_secs(60), |lab| lab.primary().map_err(|e| e.to_string()).map(drop))?;
//! # Ok::<(), lab::Error>(())
//! ```

pub mod agent;
pub mod allowed;
mod artifact;
mod ask;
mod cluster;
pub mod corosync;
mod crowd;
mod daemons;
mod debian;
mod error;
mod fault;
mod fencing;
pub mod history;
mod host;
pub mod lock;
mod login;
pub mod machine;
mod measure;
mod minor;
pub mod network;
mod observe;
mod operate;
mod oracle;
mod other_server;
pub mod packages;
pub mod phases;
mod place;
mod poll;
mod pool;
pub mod postgres;
pub mod process;
mod progress;
mod quorum_device;
mod reads;
pub mod resources;
mod score;
pub mod servers;
pub mod site;
mod slow_cib;
mod spec;
mod ssh;
mod state;
pub mod status;
mod streams;
pub mod suite;
mod trial;
mod weather;

pub use allowed::{Allowed, Seen, Whose};
pub use artifact::{Made, Package, build_expgsql, build_trial, cargo, make_package};
pub use cluster::{Builder, CLIENT, Cluster, LOCK};
pub use daemons::Daemon;
pub use debian::{SUITE_VARIABLE, Suite};
pub use error::{Error, Result};
pub use host::Node;
pub use measure::Cost;
pub use minor::OtherMinor;
pub use observe::logs;
pub use other_server::{OtherServer, SERVER_VARIABLE};
pub use packages::{available, install, install_also};
pub use place::labs;
pub use poll::rest;
pub use pool::{chains, pool};
pub use postgres::{ConfigStyle, Layout, Postgres};
pub use process::{Cmd, Output, Process};
pub use progress::quiet as quiet_progress;
pub use quorum_device::DEVICE_TIMEOUT;
pub use reads::ReadWatch;
pub use score::{Ack, Outage, Score, ScoreClient};
pub use servers::ServerWatch;
pub use site::Site;
pub use spec::{Agent, RepMode, Spec};
pub use status::{Role, Status};
pub use streams::{Redundancy, Stream, StreamWatch, View};
pub use suite::{Scenario, suite};
pub use trial::CONTROL;
pub use weather::Weather;
