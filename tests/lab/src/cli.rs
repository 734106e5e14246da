//! The command line of `cargo lab`.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use lab::{Agent, ConfigStyle, OtherServer, RepMode, Site, Suite};

/// A PostgreSQL cluster under Pacemaker, on this machine, to break and to watch.
#[derive(Debug, Parser)]
#[command(name = "lab", bin_name = "cargo lab", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Brings up a cluster and leaves it running.
    Up {
        #[command(flatten)]
        lab: Name,
        #[command(flatten)]
        make: Make,
    },
    /// Breaks a cluster in six ways while a client writes, and tells what happens, second by second.
    Demo {
        #[command(flatten)]
        lab: Name,
        #[command(flatten)]
        make: Make,
        /// Leaves the cluster up afterwards.
        #[arg(long)]
        keep: bool,
    },
    /// Shows nodes, roles and attributes.
    Status {
        #[command(flatten)]
        lab: Name,
    },
    /// Opens a shell in a node.
    Shell {
        #[command(flatten)]
        lab: Name,
        /// node1, node2, … or client.
        node: String,
    },
    /// Runs a command in a node.
    Exec {
        #[command(flatten)]
        lab: Name,
        /// node1, node2, … or client.
        node: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
    /// Runs SQL on a node's PostgreSQL.
    Sql {
        #[command(flatten)]
        lab: Name,
        /// node1, node2, …
        node: String,
        /// The statement.
        sql: String,
    },
    /// Breaks something, or mends it.
    Fault {
        #[command(flatten)]
        lab: Name,
        #[command(subcommand)]
        fault: Fault,
    },
    /// Shows a node's Pacemaker and PostgreSQL logs.
    Log {
        #[command(flatten)]
        lab: Name,
        /// node1, node2, …
        node: String,
        /// Lines of each log.
        #[arg(long, default_value_t = 40)]
        lines: usize,
    },
    /// Measures one call of the agent: processes, wall time, CPU time.
    Cost {
        #[command(flatten)]
        lab: Name,
        /// node1, node2, …
        node: String,
        /// Which action; it is run six times, outside Pacemaker.
        #[arg(long, default_value = "monitor")]
        action: String,
    },
    /// Takes an outage apart: what it consists of, medians over several runs, and what is known by which log.
    Phases {
        /// kill, switch, off, cut, hung or standby-off.
        fault: String,
        #[command(flatten)]
        make: Make,
        /// How often.
        #[arg(long, default_value_t = 9)]
        runs: u32,
        /// Repeats the waits before the faults, which are drawn: the monitor's phase is one of chance.
        #[arg(long)]
        seed: Option<u64>,
        /// Adds the steps of the run whose outage is nearest to the median.
        #[arg(long)]
        steps: bool,
        /// All runs and the medians as JSON.
        #[arg(long, conflicts_with = "steps")]
        json: bool,
    },
    /// Runs the negative controls: agents that lack one rule, each with the scenario that should notice.
    Controls {
        /// Which; all when none is named.
        names: Vec<String>,
        /// Leaves the scenarios out that are run with the whole agent first.
        #[arg(long)]
        no_baseline: bool,
    },
    /// Runs the core scenarios on several Debian suites, and prints a table of versions and outcomes.
    Matrix {
        /// Which suites; all when none is named.
        #[arg(value_enum)]
        suites: Vec<Suite>,
        /// Another scenario than the core ones, by its whole name; may be repeated.
        #[arg(long = "scenario")]
        scenarios: Vec<String>,
    },
    /// Runs the tests of what the agent does by itself with several versions of PostgreSQL, and prints a table of outcomes. No
    /// cluster is made.
    Versions {
        /// Which; all and the machine's own when none is named. They are unpacked once, beside the labs.
        #[arg(value_enum)]
        servers: Vec<OtherServer>,
    },
    /// Lists the labs that are up.
    List,
    /// Ends a cluster and removes its disks.
    Down {
        #[command(flatten)]
        lab: Name,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Name {
    /// Which lab, when there is more than one.
    #[arg(long, default_value = "lab")]
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Make {
    /// Number of cluster nodes, 1 to 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) nodes: u8,
    /// Resource agent.
    #[arg(long, value_enum, default_value_t = AgentName::Expgsql)]
    pub(crate) agent: AgentName,
    /// Replication mode.
    #[arg(long, value_enum, default_value_t = RepMode::Sync)]
    pub(crate) mode: RepMode,
    /// Debian suite of the hosts; the machine's own when not given. Another one's root is made once, and kept.
    #[arg(long, value_enum)]
    pub(crate) suite: Option<Suite>,
    /// What kind of site it is.
    #[arg(long, value_enum)]
    pub(crate) site: Option<Site>,
    /// Executable of expgsql; built from the sources when not given.
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,
    /// Corosync's token timeout in milliseconds.
    #[arg(long, default_value_t = 3000)]
    pub(crate) token: u64,
    /// Where postgresql.conf is.
    #[arg(long, value_enum, default_value_t = ConfigStyle::DataDirectory)]
    pub(crate) config: ConfigStyle,
    /// Adds the host `lock` with a lock service, and tells expgsql of it.
    #[arg(long)]
    pub(crate) lock_service: bool,
    /// A parameter of the agent, NAME=VALUE; may be repeated.
    #[arg(long = "param", value_parser = pair)]
    pub(crate) params: Vec<(String, String)>,
    /// A cluster property, NAME=VALUE; may be repeated.
    #[arg(long = "property", value_parser = pair)]
    pub(crate) properties: Vec<(String, String)>,
}

/// The agents by their OCF names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AgentName {
    /// This project's agent.
    Expgsql,
    /// The resource-agents package's.
    Pgsql,
    /// PAF.
    Pgsqlms,
}

impl Make {
    /// The agent, built if it is ours and no executable was named.
    pub(crate) fn agent(&self) -> lab::Result<Agent> {
        Ok(match (self.agent, &self.binary) {
            (AgentName::Pgsql, _) => Agent::StockPgsql,
            (AgentName::Pgsqlms, _) => Agent::Paf,
            (AgentName::Expgsql, Some(binary)) => Agent::Expgsql {
                binary: binary.clone(),
            },
            (AgentName::Expgsql, None) => Agent::Expgsql {
                binary: lab::build_expgsql()?,
            },
        })
    }

    /// What lets every node come back by itself, where the agent can and nothing else was asked for.
    pub(crate) fn repairs(&self) -> Option<(&'static str, &'static str)> {
        const NAME: &str = "on_divergence";
        let is_given = self.params.iter().any(|(name, _)| name == NAME);
        let can = matches!(self.agent, AgentName::Expgsql);
        (can && !is_given).then_some((NAME, "rewind_or_rebuild"))
    }

    pub(crate) fn builder(&self) -> lab::Result<lab::Builder> {
        let mut builder = lab::Cluster::builder()
            .nodes(self.nodes)
            .agent(self.agent()?)
            .mode(self.mode)
            .style(self.config)
            .token(std::time::Duration::from_millis(self.token));
        if let Some(suite) = self.suite {
            builder = builder.suite(suite);
        }
        if let Some(site) = self.site {
            builder = builder.site(site);
        }
        if self.lock_service {
            builder = builder.lock_service();
        }
        for (name, value) in &self.params {
            builder = builder.param(name, value);
        }
        for (name, value) in &self.properties {
            builder = builder.property(name, value);
        }
        Ok(builder)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fault {
    /// SIGKILL to the postmaster.
    Kill { node: String },
    /// SIGSTOP to the postmaster.
    Hang { node: String },
    /// SIGCONT to the postmaster.
    Unhang { node: String },
    /// SIGSTOP to all of PostgreSQL.
    Freeze { node: String },
    /// SIGCONT to all of PostgreSQL.
    Thaw { node: String },
    /// SIGSTOP to a standby's WAL receiver.
    HangReceiver { node: String },
    /// SIGCONT to a standby's WAL receiver.
    UnhangReceiver { node: String },
    /// Power failure.
    Poweroff { node: String },
    /// Power on after a failure.
    Poweron { node: String },
    /// Cuts a node from the other nodes, not from the client.
    Split { node: String },
    /// Cuts a node from everything.
    Isolate { node: String },
    /// Cuts two hosts from each other (`lock` and `client` are hosts, too).
    Partition { node: String, other: String },
    /// Cuts one way: nothing of NODE's reaches OTHER.
    Cut { node: String, other: String },
    /// Makes a node's line bad: DELAY in milliseconds, LOSS in percent, both ways.
    Weather {
        node: String,
        #[arg(long, default_value_t = 0)]
        delay: u64,
        #[arg(long, default_value_t = 0.0)]
        loss: f64,
        /// Bandwidth in kbit/s.
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Lets replication reach a standby no faster than RATE, in kbit/s.
    Throttle { node: String, rate: u32 },
    /// Opens every connection again and makes every line good.
    Heal,
    /// Fills the agent's directory.
    Fill { node: String },
    /// Ends that.
    Unfill { node: String },
    /// Makes this node's copy of the CIB win the next merge, right or wrong.
    CibWins { node: String },
    /// Stops the lock service; its host lives. Others for it: `freeze lock`, `poweroff lock`, `partition node1 lock`.
    LockStop,
    /// Starts the lock service.
    LockStart,
    /// Moves the primary by hand.
    Switchover,
    /// Removes PGSQL.lock (the stock agent's) and the failures.
    Cleanup { node: String },
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text:?} is not NAME=VALUE"))
}
