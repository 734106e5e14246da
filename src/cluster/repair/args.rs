//! The command line of the commands that repair.

use std::time::Duration;

use clap::Args;

use crate::cluster::seconds::seconds;

/// How a node is repaired.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RepairArgs {
    /// The resource; needed where the cluster has several of this agent
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,

    /// Do not ask: for scripts
    #[arg(long, short)]
    pub yes: bool,

    /// Also where the node is healthy; never where it is the primary
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object for each change of the state of the work
    #[arg(long)]
    pub json: bool,

    /// How long to wait: for a primary that does not answer, and afterwards to see the node stream
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,

    /// Print the reasoning of the agent, which otherwise goes to the journal
    #[arg(long, short)]
    pub verbose: bool,
}
