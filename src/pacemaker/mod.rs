//! Pacemaker and corosync: reading the cluster's state, and writing to it.

pub mod attributes;
pub mod beside;
pub mod change_set;
pub mod cib;
pub mod constraints;
pub mod corosync;
pub mod failures;
pub mod quorum;
pub mod resources;
mod xml;
