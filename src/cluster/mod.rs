//! The operator's commands: `expgsql cluster …`, and links named `cls_*`.
//!
//! They run as root on a node of the cluster, talk to Pacemaker by its own tools, say what they will do before they do
//! it, and end with the codes of [`Exit`]. What a command may do is decided in [`crate::decide`], by functions that know
//! nothing of terminals.

mod ask;
mod command;
#[cfg(test)]
mod documented;
mod exit;
mod interrupt;
mod node;
mod ops;
mod repair;
mod resource;
mod seconds;
mod show;
mod status;
mod why;

use std::io::{self, Write as _};
use std::panic::catch_unwind;

pub(crate) use ask::agree;
pub use command::Command;
pub use exit::{Exit, Failure};
pub(crate) use node::settle;
pub use ops::Operation;
pub use repair::RepairArgs;
pub use status::{MasterArgs, StatusArgs, WhyArgs};

use crate::cluster::repair::Strategy;

/// Does what `command` says, prints to standard output, and, where it fails, why to standard error.
#[must_use]
pub fn run(command: &Command) -> Exit {
    let result = catch_unwind(|| match command {
        Command::Status(args) => status::status(args),
        Command::Master(args) => status::master(args),
        Command::Why(args) => why::why(args),
        Command::Rewind(args) => repair::repair(Strategy::Rewind, args),
        Command::Rebuild(args) => repair::repair(Strategy::Rebuild, args),
        Command::Repair(args) => repair::repair(Strategy::RewindOrRebuild, args),
        Command::Operate(operation) => ops::run(operation),
    });
    let failure = match result {
        Ok(Ok(())) => return Exit::Done,
        Ok(Err(failure)) => failure,
        // The panic has printed its message.
        Err(_) => Failure::plain("bug in expgsql: please report it with what is printed above"),
    };
    // Nothing is left to tell it to when standard error is closed.
    if !failure.why.is_empty() {
        let _ = writeln!(io::stderr(), "{}", failure.why);
    }
    failure.exit
}
