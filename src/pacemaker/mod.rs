//! Pacemaker and corosync: reading the cluster's state, and writing to it.

pub mod cib;
