//! The command line of the commands that change the cluster.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cluster::seconds::seconds;

/// The end of every help text.
macro_rules! ends {
    ($($code:literal)*; $($late:literal)*) => {
        concat!(
            "Run it as root on any node of the cluster.\n\nExit codes:\n",
            $($code, "\n",)*
            "  2    wrong usage\n",
            $($late, "\n",)*
            "  101  Pacemaker does not answer on this node\n  \
             102  this node's part of the cluster has no quorum"
        )
    };
}

/// The commands that change what the cluster does.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Operation {
    /// Start PostgreSQL on all nodes, and wait until the standbys follow
    ///
    /// Forgives earlier failures, lets Pacemaker start the resource (its target-role is taken back), and waits: first for
    /// the primary and the address that goes with it, then for the standbys and theirs.
    #[command(after_help = ends!(
        "  0    the primary serves, and every node in service follows it"
        "  1    failed, or no primary in time: what was seen is said";
        "  11   the primary serves, but not everything else was seen in time"
        "  100  the cluster or every node is in maintenance mode, or something of it is unmanaged"
    ))]
    Start(StartArgs),

    /// Stop PostgreSQL on all nodes
    ///
    /// Has Pacemaker stop the resource (target-role=Stopped), which takes the addresses along, and waits. The primary is
    /// demoted first, so that its standbys have everything; start brings the same primary back. It asks before.
    #[command(after_help = ends!(
        "  0    nothing of it runs any more"
        "  1    failed, or not agreed to";
        "  11   waited too long for the servers to stop: Pacemaker goes on with it"
        "  100  the cluster or a node of it is in maintenance mode, or something of it is unmanaged"
    ))]
    Stop(StopArgs),

    /// Make another node the primary: NODE, or the standby that is ready for it
    ///
    /// No acknowledged commit is lost: a node is taken only if it streams, and in synchronous mode only if it has every
    /// acknowledged commit. Where commits did not wait for NODE so far, the primary is asked to let them wait for it as well,
    /// until it has caught up. Then Pacemaker demotes the one and promotes the other; writes pause for a moment, and client
    /// connections break. It asks before.
    ///
    /// What it sets in the cluster it clears again, also where it is interrupted. Where it is killed, the constraint ends by
    /// itself a minute after --timeout, and the request to the primary with the next promotion.
    #[command(visible_alias = "online_switch", after_help = ends!(
        "  0    the node is the primary, with its address, and the others follow it"
        "  1    failed, or not agreed to: what was done is said";
        "  10   there is no primary, or NODE is not in the cluster at the moment"
        "  11   waited too long: what was done, and what was not seen, is said"
        "  100  NODE can't take over as it is, or is unknown; the reason is said, and nothing was done"
    ))]
    Switch(SwitchArgs),

    /// Forgive failures, so that Pacemaker tries again what it had given up
    ///
    /// Lists the failures of the resource and of the addresses that go with it, has Pacemaker forget them, and waits until
    /// it has found out anew what runs where.
    #[command(after_help = ends!(
        "  0    no failure is left"
        "  1    something failed again: what is said";
        "  11   Pacemaker did not settle in time"
    ))]
    Cleanup(WaitArgs),

    /// Forget which node was the primary last, and make NODE the primary
    ///
    /// The last resort, where the recorded primary is lost and no other node may be promoted: what only the lost one had is
    /// given up with it. Shows what each node has, and asks. Without NODE it takes the node that reports the most
    /// write-ahead log. It refuses where there is a primary, and where another node has more than NODE.
    #[command(visible_alias = "reset_master", after_help = ends!(
        "  0    the node is the primary"
        "  1    failed, or not agreed to: what was done is said";
        "  10   there is a primary: nothing is to be reset"
        "  11   it is recorded, but the node was not seen as the primary in time"
        "  100  NODE is unknown or not in the cluster, another node has more, or it is not known who has the most"
    ))]
    ResetMaster(ResetArgs),

    /// Have Pacemaker leave everything as it is: no watching, no failover
    ///
    /// Servers and addresses go on running; whatever happens to them, nothing is started, stopped or moved until
    /// unmaintenance.
    #[command(after_help = ends!(
        "  0    the cluster is in maintenance mode"
        "  1    failed";
    ))]
    Maintenance(PlainArgs),

    /// Have Pacemaker watch over everything again
    #[command(after_help = ends!(
        "  0    the cluster is not in maintenance mode"
        "  1    failed";
    ))]
    Unmaintenance(PlainArgs),

    /// As maintenance, for what runs on NODE
    #[command(visible_alias = "maintenance_node", after_help = ends!(
        "  0    the node is in maintenance mode"
        "  1    failed";
        "  100  no such node"
    ))]
    MaintenanceNode(NodeArgs),

    /// As unmaintenance, for NODE
    #[command(visible_alias = "unmaintenance_node", after_help = ends!(
        "  0    the node is not in maintenance mode"
        "  1    failed";
        "  100  no such node"
    ))]
    UnmaintenanceNode(NodeArgs),

    /// Take NODE out of service: what runs on it is stopped there, and stays so
    ///
    /// The node keeps its vote. Where it is the primary, or the last node that may become one, it asks before. It waits until
    /// nothing of the resource runs there, and until another node is the primary. All resources of this agent count.
    #[command(visible_alias = "standby_node", after_help = ends!(
        "  0    the node is out of service"
        "  1    failed, or not agreed to";
        "  11   it is recorded, but something still ran there, or no other primary was seen, in time"
        "  100  no such node"
    ))]
    StandbyNode(StandbyArgs),

    /// Put NODE back into service, and wait until it follows the primary
    #[command(visible_alias = "unstandby_node", after_help = ends!(
        "  0    the node is in service, and follows the primary"
        "  1    failed: it was started, and did not come up";
        "  11   it is recorded, but the node was not seen following in time"
        "  100  no such node"
    ))]
    UnstandbyNode(NodeWaitArgs),

    /// Give the resource and its addresses back into Pacemaker's hands
    #[command(after_help = ends!(
        "  0    they are managed"
        "  1    failed";
    ))]
    Manage(ResourceArgs),

    /// Take the resource and its addresses out of Pacemaker's hands: watched, but not started, stopped or moved
    #[command(after_help = ends!(
        "  0    they are not managed"
        "  1    failed";
    ))]
    Unmanage(ResourceArgs),
}

/// No more than the command.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct PlainArgs {}

/// Which resource.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ResourceArgs {
    /// The resource; needed where the cluster has several of this agent
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,
}

/// A command that waits.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub which: ResourceArgs,

    /// How long to wait
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
}

/// `start`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub which: ResourceArgs,

    /// How long to wait, for all of it
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    pub timeout: Duration,
}

/// `stop`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StopArgs {
    #[command(flatten)]
    pub which: ResourceArgs,

    /// Do not ask: for scripts
    #[arg(long, short)]
    pub yes: bool,

    /// How long to wait: a server may need a while to write what it has in memory
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub timeout: Duration,
}

/// `switch`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct SwitchArgs {
    /// The next primary; without it, a standby that may be promoted as it is
    pub node: Option<String>,

    #[command(flatten)]
    pub which: ResourceArgs,

    /// Do not ask: for scripts
    #[arg(long, short)]
    pub yes: bool,

    /// How long to wait, for each of: the node to be ready, its promotion, the others to follow
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
}

/// `reset-master`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ResetArgs {
    /// The next primary; without it, the node that reports the most write-ahead log
    pub node: Option<String>,

    #[command(flatten)]
    pub which: ResourceArgs,

    /// Do not ask: for scripts
    #[arg(long, short)]
    pub yes: bool,

    /// Also where another node has more than NODE, or nobody knows: that is lost then
    #[arg(long, requires = "node")]
    pub force: bool,

    /// How long to wait for the promotion
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
}

/// A command about a node.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NodeArgs {
    /// The node's name in the cluster
    pub node: String,
}

/// A command about a node, that waits.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NodeWaitArgs {
    #[command(flatten)]
    pub node: NodeArgs,

    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `standby-node`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StandbyArgs {
    #[command(flatten)]
    pub node: NodeArgs,

    #[command(flatten)]
    pub wait: WaitArgs,

    /// Do not ask: for scripts
    #[arg(long, short)]
    pub yes: bool,
}
