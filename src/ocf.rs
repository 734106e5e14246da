//! The contract with Pacemaker: what it hands the agent, and what the agent may answer.
//!
//! Nothing here does I/O except [`reason`], which prints the one line Pacemaker shows to people.

pub mod action;
pub mod code;
pub mod env;
pub mod reason;

pub use action::Action;
pub use code::OcfCode;
pub use env::{EnvError, NotifyEnv, NotifyKind, NotifyOperation, OcfEnv, Promotable, Vars};
pub use reason::Outcome;
