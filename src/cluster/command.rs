//! The command line of `expgsql cluster`.

use std::time::Duration;

use clap::Subcommand;

use super::ops::Operation;
use super::repair::RepairArgs;

/// What stands behind `expgsql cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Operate(Operation),

    /// Undo what this node wrote past the fork (pg_rewind), and let it follow the primary
    ///
    /// For a node whose start was refused because its write-ahead log went past the place where the present primary
    /// took over. pg_rewind takes back what only this node has and fetches what changed on the primary: quick, because
    /// only changed blocks are copied. It needs wal_log_hints=on or data checksums, and the write-ahead log since the
    /// last common checkpoint. This node's own configuration files stay as they are.
    ///
    /// Everything is checked before anything is written. Once pg_rewind has begun to write, only its end, or a rebuild,
    /// gives a usable data directory.
    #[command(alias = "repair_by_pg_rewind", after_help = AFTER_HELP)]
    Rewind(RepairArgs),

    /// Replace this node's data by a new copy of the primary's (pg_basebackup)
    ///
    /// Always works where the primary can be reached and there is room for a second copy beside the present one: the
    /// present data are replaced when the new copy is complete, and not before. A data directory that is empty, or does
    /// not exist, is filled. Tablespaces are copied too. This node's own configuration files stay as they are.
    #[command(alias = "rebuild_slave", after_help = AFTER_HELP)]
    Rebuild(RepairArgs),

    /// As rewind; as rebuild where a rewind turns out to be impossible
    ///
    /// The rebuild begins only where the rewind failed before it had written anything.
    #[command(alias = "repair_slave", after_help = AFTER_HELP)]
    Repair(RepairArgs),
}

const AFTER_HELP: &str = "\
Run it as root on the node that is to be repaired. It says what it is about to do, and asks.

Exit codes:
  0    the node follows the primary
  1    failed, or not agreed to: nothing was done, or what was done is said
  2    wrong usage
  10   the cluster has no primary
  11   waited too long: for the primary, or, after the repair, to see the node stream
  100  this node is the primary, or is healthy
  101  Pacemaker does not answer on this node
  102  this node's part of the cluster has no quorum";

impl Command {
    /// Whether the agent's reasoning is to be printed.
    #[must_use]
    pub const fn is_verbose(&self) -> bool {
        match self {
            Self::Rewind(args) | Self::Rebuild(args) | Self::Repair(args) => args.verbose,
            Self::Operate(_) => false,
        }
    }
}

/// The value of an option that is a time.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "a whole number of seconds is expected".to_owned())
}
