//! The command line of `expgsql setup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::decide::detection::Network;

use super::config::Shape;
use super::render::Format;

/// What stands behind `expgsql setup`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Command {
    /// config.ini; by default the one in this directory, else /etc/expgsql/config.ini
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub step: Step,
}

/// One step from config.ini to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Step {
    /// Print the configuration that the cluster would get
    ///
    /// Nothing is asked and nothing is changed. No password is in it.
    #[command(after_help = AFTER_HELP)]
    Render(RenderArgs),

    /// Hold config.ini against the nodes, and say how to correct what is wrong
    ///
    /// Each node is asked by ssh, as root: versions, data directory, settings, networks, clock, the lock service, whether a standby can
    /// connect. This program is copied to a node for that where it is not installed, and removed again. Nothing else is changed.
    #[command(after_help = AFTER_HELP)]
    Check(CheckArgs),

    /// What a node says of itself, for check; asked on standard input
    #[command(hide = true)]
    Probe,

    /// Copy the program, the password file and the commands' links to the nodes
    ///
    /// By ssh, as root. Shows what each node lacks, asks, and copies that; a node that has everything is left alone. Passwords go to
    /// the file that pgsql_passfile names (/etc/expgsql/pgpass), which only PostgreSQL's owner can read.
    #[command(after_help = AFTER_HELP)]
    Install(InstallArgs),

    /// Give the cluster its resources
    ///
    /// Shows the difference between the cluster's configuration and what config.ini says, asks, changes it in one step, and waits
    /// until there is a primary, replication and addresses. Where there is no difference, nothing is written.
    ///
    /// Only this program's resources, and the constraints between them, are touched: fencing devices, other resources, constraints
    /// and properties stay. A PostgreSQL resource of ocf:heartbeat:pgsql or of pha4pgsql is taken over by whatever name it has.
    #[command(after_help = AFTER_HELP)]
    Apply(ApplyArgs),

    /// Set how soon corosync notices a lost machine
    ///
    /// By itself corosync waits 6.6 s with two nodes, 8.0 s with three, and longer with more: what a failover takes, for the
    /// most part. Shows what would change in corosync.conf and what is risked, asks, writes it on every node, and has corosync read it
    /// anew; nothing is restarted.
    #[command(after_help = AFTER_HELP)]
    Corosync(CorosyncArgs),

    /// Stop PostgreSQL, and take this program's resources out of the cluster
    ///
    /// The data directories stay. So does everything in the configuration that is not this program's.
    #[command(after_help = AFTER_HELP)]
    Erase(EraseArgs),
}

/// How `check` is done.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Only this node; may be repeated
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
    /// The findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// How `install` is done.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct InstallArgs {
    /// Only on this node; may be repeated
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
}

/// How `apply` is done.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ApplyArgs {
    /// The node that is to be the first primary; without it the one with the most WAL is chosen
    #[arg(value_name = "NODE")]
    pub master: Option<String>,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How long to wait until the cluster is healthy, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub timeout: Duration,
}

/// How `corosync` is done.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CorosyncArgs {
    /// What is between the nodes
    #[arg(long, value_enum)]
    pub network: Network,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// How `erase` is done.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct EraseArgs {
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// How long to wait until everything has stopped, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "a whole number of seconds is expected".to_owned())
}

/// What `render` prints.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RenderArgs {
    /// For which tool
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Without config.ini: a template, with names in the place of values
    #[arg(long, value_enum, conflicts_with = "config")]
    pub template: Option<Shape>,
}

const AFTER_HELP: &str = "\
Exit codes:
  0    done, or there was nothing to do
  1    failed, or not agreed to; check: something is wrong
  2    wrong usage, or config.ini can't be used as it is: each line is named, and nothing was done
  11   it was done, but the cluster was not seen to be healthy in time
  100  refused, with the reason
  101  Pacemaker does not answer on this node
  102  this node's part of the cluster has no quorum";
