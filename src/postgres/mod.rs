//! One PostgreSQL instance on this machine: its files, its processes, its answers. Reads facts
//! and carries out steps; judges nothing (that is `decide`).

pub mod address;
pub mod base_backup;
pub mod children;
pub mod config;
pub mod control;
mod door;
pub mod entry;
pub mod files;
mod held_wal;
pub mod last_words;
pub mod lock_files;
pub mod meter;
pub mod mounts;
pub mod own_entries;
pub mod owner;
pub mod passfile;
pub mod process;
pub mod programs;
pub mod reach;
pub mod reading;
pub mod recovery_command;
pub mod replace;
pub mod rewind;
pub mod server;
pub mod session;
pub mod source;
pub mod tls;
pub mod upkeep;
pub mod views;
pub mod wal;
