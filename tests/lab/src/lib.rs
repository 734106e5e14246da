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
mod artifact;
mod cluster;
pub mod corosync;
mod error;
mod fault;
mod host;
pub mod lock;
mod measure;
pub mod network;
mod observe;
mod operate;
pub mod packages;
mod place;
mod poll;
pub mod postgres;
pub mod process;
mod progress;
pub mod resources;
mod score;
mod spec;
mod ssh;
mod state;
pub mod status;
mod streams;
pub mod suite;
mod weather;

pub use artifact::{Package, build_expgsql, make_package};
pub use cluster::{Builder, CLIENT, Cluster, LOCK};
pub use error::{Error, Result};
pub use host::Node;
pub use measure::Cost;
pub use observe::logs;
pub use packages::{available, install};
pub use place::labs;
pub use poll::rest;
pub use postgres::{ConfigStyle, Layout, Postgres};
pub use process::{Cmd, Output, Process};
pub use progress::quiet as quiet_progress;
pub use score::{Ack, Outage, Score, ScoreClient};
pub use spec::{Agent, RepMode, Spec};
pub use status::{Role, Status};
pub use streams::{Redundancy, Stream, StreamWatch, View};
pub use suite::{Scenario, suite};
pub use weather::Weather;
