//! Programs with deadlines, and clocks.

mod boot_time;
mod command;
mod deadline;
mod owner;

pub use boot_time::{BootTime, BootTimeError, boot_clock};
pub use command::{Command, Output, RunError, run};
pub use deadline::{Deadline, poll_until};
pub use owner::{Owner, OwnerError};
