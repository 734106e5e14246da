//! This machine's server: its files and settings, its start and its end, what it is and how far it is.
//!
//! Nothing here reads what the cluster has of it.

pub(in crate::agent) mod address;
pub(in crate::agent) mod answering;
pub(in crate::agent) mod archive;
pub(in crate::agent) mod by_files;
pub(in crate::agent) mod ending;
pub(in crate::agent) mod follow;
pub(in crate::agent) mod in_force;
pub(in crate::agent) mod launch;
pub(in crate::agent) mod lingering;
pub(in crate::agent) mod make_places;
pub(in crate::agent) mod minimums;
pub(in crate::agent) mod obituary;
pub(in crate::agent) mod own_dir;
pub(in crate::agent) mod own_files;
pub(in crate::agent) mod places;
pub(in crate::agent) mod prepare;
pub(in crate::agent) mod reach;
pub(in crate::agent) mod ready;
pub(in crate::agent) mod recovery;
pub(in crate::agent) mod recovery_conf;
pub(in crate::agent) mod rep_mode_conf;
pub(in crate::agent) mod restart;
pub(in crate::agent) mod settings;
pub(in crate::agent) mod slots;
pub(in crate::agent) mod storage;
pub(in crate::agent) mod worth;
