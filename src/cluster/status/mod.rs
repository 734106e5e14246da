//! `cluster status` and `cluster master`: how the cluster is, and who is the primary. What `look` gathers,
//! `decide::why` explains and `decide::condition` judges.

mod args;
mod look;
mod master;
mod report;
mod servers;
mod show;
mod table;
mod text;

pub use args::{MasterArgs, StatusArgs, WhyArgs};

pub(super) use look::{Depth, look};
pub(super) use master::master;
pub(super) use report::{VERSION, stamp};
pub(super) use show::{print, status};
pub(super) use table::wrapped;
pub(super) use text::{Screen, bad, good, odd};
