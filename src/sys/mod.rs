//! Programs with deadlines, and clocks.

mod boot_time;
mod command;
mod deadline;
mod name_service;
mod owner;
mod pattern;
mod process;
pub mod trusted_file;

pub use boot_time::{BootTime, BootTimeError, boot_clock};
pub use command::{Command, Output, RunError, run};
pub use deadline::{Deadline, poll_until};
pub use name_service::{account, addresses, within};
pub use owner::{Owner, OwnerError};
pub use pattern::Pattern;
pub use process::{Process, Sent, signal_if};
