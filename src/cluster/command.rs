//! The command line of `expgsql cluster`.

use clap::Subcommand;

use super::ops::Operation;
use super::repair::RepairArgs;
use super::status::{MasterArgs, StatusArgs, WhyArgs};

/// What stands behind `expgsql cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// How the cluster is, on one screen
    ///
    /// The first line says whether it is well, and if not, what to type next. Works on any node that runs Pacemaker, also
    /// without quorum and without a primary.
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),

    /// Why there is no primary, or who takes over if it fails
    ///
    /// For each node: whether it may be promoted, and if not, every reason: the agent's own rules about its data, and what
    /// keeps Pacemaker from it. The first sentence is the answer.
    #[command(after_help = WHY_HELP)]
    Why(WhyArgs),

    /// Print the name of the node where the primary runs
    #[command(alias = "primary", after_help = MASTER_HELP)]
    Master(MasterArgs),

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

const STATUS_HELP: &str = "\
Exit codes:
  0    it is shown how the cluster is, whatever that is (with --check: it is healthy)
  1    it can't be shown (with --check: degraded)
  2    wrong usage
  10   with --check: no primary
  101  Pacemaker does not answer on this node
  102  with --check: this node's part of the cluster has no quorum";

const WHY_HELP: &str = "\
Exit codes:
  0    it is explained
  1    it can't be
  2    wrong usage
  101  Pacemaker does not answer on this node";

const MASTER_HELP: &str = "\
Exit codes:
  0    the name is printed
  1    it can't be told
  2    wrong usage
  10   the cluster has no primary
  101  Pacemaker does not answer on this node
  102  this node's part of the cluster has no quorum";

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
            Self::Status(_) | Self::Why(_) | Self::Master(_) | Self::Operate(_) => false,
        }
    }
}
