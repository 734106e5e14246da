//! The command lines of `status`, `why` and `master`.

use std::time::Duration;

use clap::Args;

use crate::cluster::seconds::seconds;

/// How the status is shown.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// The resource; needed where the cluster has several of this agent
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,

    /// Print one JSON object, as docs/status.md describes it
    #[arg(long)]
    pub json: bool,

    /// Go on: draw anew every so many seconds on a terminal; elsewhere print what has changed
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds)]
    pub watch: Option<Duration>,

    /// Say in one line how it is, and in the exit code: 0 healthy, 1 degraded, 10 no primary, 102 no quorum
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    pub check: bool,
}

/// How the reasons are shown.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct WhyArgs {
    /// The resource; needed where the cluster has several of this agent
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,

    /// Print one JSON object, as docs/status.md describes it
    #[arg(long)]
    pub json: bool,
}

/// Which resource's primary.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct MasterArgs {
    /// The resource; needed where the cluster has several of this agent
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,
}
