//! This node as one of the cluster's standbys: how it comes up, and what the cluster is told of it.

pub(in crate::agent) mod announce;
pub(in crate::agent) mod bar;
pub(in crate::agent) mod bring_up;
pub(in crate::agent) mod initial_contract;
