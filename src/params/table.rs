//! The one table of parameters. Reading `OCF_RESKEY_*`, the metadata, the help and the documentation follow it.

use serde::Serialize;

use super::kind::Kind;

/// One parameter of the resource.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name: `OCF_RESKEY_` in front of it makes the environment variable.
    pub name: &'static str,
    pub kind: Kind,
    /// What an unset or empty parameter means; `None`: `long` says what happens then.
    pub default: Option<&'static str>,
    /// A change takes effect with the next action, without a restart of PostgreSQL.
    pub reloadable: bool,
    pub short: &'static str,
    /// Paragraphs are separated by one empty line.
    pub long: &'static str,
}

/// A [`Param`] as `expgsql parameters --json` shows it.
#[derive(Serialize)]
pub struct Described {
    name: &'static str,
    #[serde(rename = "type")]
    kind: String,
    choices: &'static [&'static str],
    default: Option<&'static str>,
    reloadable: bool,
    summary: &'static str,
    description: &'static str,
}

impl Param {
    /// The words the parameter is limited to; empty when it is not.
    pub fn choices(&self) -> &'static [&'static str] {
        self.kind.choices()
    }

    /// For a program to read.
    pub fn describe(&self) -> Described {
        Described {
            name: self.name,
            kind: self.kind.to_string(),
            choices: self.choices(),
            default: self.default,
            reloadable: self.reloadable,
            summary: self.short,
            description: self.long,
        }
    }
}

/// Makes a constant of each parameter, for the code that reads it, and the list of them all.
macro_rules! parameters {
    ($($constant:ident = $param:expr;)*) => {
        $(pub(super) const $constant: Param = $param;)*
        /// Every parameter, in the order in which they are shown.
        pub const PARAMS: &[Param] = &[$($constant),*];
    };
}

parameters! {
    PGCTL = Param {
        name: "pgctl",
        kind: Kind::Path,
        default: Some("/usr/bin/pg_ctl"),
        reloadable: false,
        short: "Path of pg_ctl",
        long: "The pg_ctl of the PostgreSQL to run. The other programs of the server are taken from the same directory.",
    };
    PSQL = Param {
        name: "psql",
        kind: Kind::Path,
        default: Some("/usr/bin/psql"),
        reloadable: true,
        short: "Path of psql, where pg_ctl has none beside it",
        long: "A node that starts asks the primary for its history with the psql beside pg_ctl, or with this one. For everything else the \
               agent speaks to PostgreSQL itself.",
    };
    PGDATA = Param {
        name: "pgdata",
        kind: Kind::Path,
        default: Some("/var/lib/pgsql/data"),
        reloadable: false,
        short: "Data directory",
        long: "The data directory (PGDATA), the same on every node.",
    };
    PGDBA = Param {
        name: "pgdba",
        kind: Kind::String,
        default: Some("postgres"),
        reloadable: false,
        short: "Operating system user that owns the data",
        long: "The operating system user PostgreSQL runs as. Also the database user of the agent's own connections where \
               monitor_user is not set.",
    };
    PGHOST = Param {
        name: "pghost",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "Address or socket directory to listen on and to connect to",
        long: "When set, PostgreSQL is started with -h and this value, and the agent connects there; it has precedence over \
               socketdir. When unset, the configuration file decides.",
    };
    PGPORT = Param {
        name: "pgport",
        kind: Kind::Port,
        default: Some("5432"),
        reloadable: false,
        short: "Port",
        long: "The port PostgreSQL listens on, the same on every node: standbys look for their primary there as well.",
    };
    PGLIBS = Param {
        name: "pglibs",
        kind: Kind::Path,
        default: Some("/usr/lib"),
        reloadable: false,
        short: "Directory of shared libraries",
        long: "Added to the end of LD_LIBRARY_PATH for the programs of PostgreSQL.",
    };
    CONFIG = Param {
        name: "config",
        kind: Kind::Path,
        default: None,
        reloadable: false,
        short: "Configuration file of the server",
        long: "Path of postgresql.conf. When unset, the one in pgdata.",
    };
    START_OPT = Param {
        name: "start_opt",
        kind: Kind::Words,
        default: None,
        reloadable: false,
        short: "More options for the server",
        long: "Options given to postgres at start, as in: -c max_connections=200. Split into words as a shell would; \
               variables and commands in it are not expanded.",
    };
    CTL_OPT = Param {
        name: "ctl_opt",
        kind: Kind::Words,
        default: None,
        reloadable: false,
        short: "More options for pg_ctl",
        long: "Options given to pg_ctl when it starts the server. Split into words as a shell would; variables and commands \
               in it are not expanded.",
    };
    PGDB = Param {
        name: "pgdb",
        kind: Kind::String,
        default: Some("template1"),
        reloadable: true,
        short: "Database to connect to",
        long: "The database of the agent's own connections. Where it can't be entered, another is, and the resource is shown as degraded.",
    };
    LOGFILE = Param {
        name: "logfile",
        kind: Kind::Path,
        default: Some("/dev/null"),
        reloadable: false,
        short: "File for what the server prints",
        long: "Where the server's output goes until its own logging takes over. Created, and given to pgdba, when missing.",
    };
    SOCKETDIR = Param {
        name: "socketdir",
        kind: Kind::Sockets,
        default: None,
        reloadable: false,
        short: "Directory of the unix socket",
        long: "Directory of the socket the agent connects through; created at start when missing. Of several, separated by commas, PostgreSQL \
               has one in each, and the agent connects through the first. A name that begins with @ is that of an abstract socket. When unset, \
               the first of unix_socket_directories in the configuration.",
    };
    MONITOR_USER = Param {
        name: "monitor_user",
        kind: Kind::String,
        default: None,
        reloadable: true,
        short: "Database user for monitoring",
        long: "The database user of the monitoring connection. It needs the role pg_monitor: without that PostgreSQL hides \
               the state of replication from it. When unset, pgdba.",
    };
    MONITOR_PASSWORD = Param {
        name: "monitor_password",
        kind: Kind::Secret,
        default: None,
        reloadable: true,
        short: "Password of monitor_user",
        long: "Stands in the cluster's configuration in clear text; a line in the server's pg_hba.conf that needs no password \
               from the local socket is better, or a line in ~/.pgpass of pgdba or in passfile. Needs monitor_user.",
    };
    MONITOR_SQL = Param {
        name: "monitor_sql",
        kind: Kind::String,
        default: Some("select now();"),
        reloadable: true,
        short: "SQL that must succeed on a primary",
        long: "Run by each monitor of a database that accepts writes; when it fails, or takes longer than query_timeout, the \
               monitor fails. Where it is refused for a lock that others hold (with a lock_timeout or NOWAIT of its own), for lack of memory or connections, or because \
               somebody ends its session, the monitor goes on and tells it. Its result is ignored. What it commits waits for no standby (synchronous_commit=local).",
    };
    CHECK_WAL_RECEIVER = Param {
        name: "check_wal_receiver",
        kind: Kind::Boolean,
        default: Some("false"),
        reloadable: true,
        short: "Publish whether a standby receives WAL",
        long: "When true, monitor sets the node attribute RESOURCE-receiver-status to normal, normal (master) or ERROR. It \
               does not change what monitor answers.",
    };
    STOP_ESCALATE = Param {
        name: "stop_escalate",
        kind: Kind::Seconds,
        default: Some("90"),
        reloadable: true,
        short: "Seconds a fast stop may take",
        long: "After this time a fast stop of a primary becomes an immediate one, and after that a kill; 0: immediate at \
               once. Shortened where the action's timeout leaves less. An immediate stop may keep the last WAL from the \
               standbys, which an asynchronous one then lacks.",
    };
    STOP_ESCALATE_IN_SLAVE = Param {
        name: "stop_escalate_in_slave",
        kind: Kind::Seconds,
        default: Some("90"),
        reloadable: true,
        short: "Seconds a fast stop of a standby may take",
        long: "As stop_escalate, on a standby.",
    };
    REP_MODE = Param {
        name: "rep_mode",
        kind: Kind::Mode,
        default: Some("none"),
        reloadable: false,
        short: "Replication: none, slave, async or sync",
        long: "none: one server without replication, as a plain resource.\n\n\
               slave: a plain resource that follows a primary outside the cluster, at master_ip; without master_ip it takes its WAL from \
               an archive alone (restore_command).\n\n\
               async: a promotable clone; commits wait for no standby, so the last ones may be lost in a failover.\n\n\
               sync: a promotable clone; a commit that a client saw acknowledged survives every automatic action of the cluster.",
    };
    NODE_LIST = Param {
        name: "node_list",
        kind: Kind::Names,
        default: None,
        reloadable: true,
        short: "Nodes of the replication",
        long: "Names of the cluster nodes that hold a copy of the database, separated by spaces; upper and lower case do not \
               differ. When unset, all nodes of the cluster; the older agents said the same but refused to start. Set it \
               where some node, such as one that only votes, never runs the database: an election waits for every node of \
               the list.",
    };
    RESTORE_COMMAND = Param {
        name: "restore_command",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "restore_command of standbys",
        long: "PostgreSQL's restore_command, for standbys that take WAL from an archive. Given here and not in postgresql.conf, its failure costs \
               no server, and it holds up no promotion.",
    };
    ARCHIVE_CLEANUP_COMMAND = Param {
        name: "archive_cleanup_command",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "archive_cleanup_command of standbys",
        long: "PostgreSQL's archive_cleanup_command.",
    };
    RECOVERY_END_COMMAND = Param {
        name: "recovery_end_command",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "recovery_end_command of standbys",
        long: "PostgreSQL's recovery_end_command, run at the end of a promotion.",
    };
    MASTER_IP = Param {
        name: "master_ip",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "Address at which standbys find the primary",
        long: "Usually a virtual address that a resource of the cluster keeps where the primary is. Required unless \
               rep_mode=none, or rep_mode=slave with a restore_command: such a standby takes its WAL from the archive alone.",
    };
    REPUSER = Param {
        name: "repuser",
        kind: Kind::String,
        default: Some("postgres"),
        reloadable: false,
        short: "Database user of replication",
        long: "The user standbys connect with; it needs the REPLICATION attribute. Its password belongs into passfile.",
    };
    PRIMARY_CONNINFO_OPT = Param {
        name: "primary_conninfo_opt",
        kind: Kind::Secret,
        default: None,
        reloadable: false,
        short: "More of primary_conninfo",
        long: "Put after host, port, user and application_name, as in: keepalives_idle=60 keepalives_interval=5 \
               keepalives_count=5. Of a keyword given twice PostgreSQL takes the last. application_name must stay this \
               node's name in lower case.",
    };
    PASSFILE = Param {
        name: "passfile",
        kind: Kind::Path,
        default: None,
        reloadable: false,
        short: "Password file of the replication user",
        long: "A file in the format of .pgpass, readable by pgdba only, that standbys take the password of repuser from, so \
               that it stands neither in the cluster's configuration nor in a process list. The agent looks in it for the password \
               of its own connections as well, before ~/.pgpass of pgdba.",
    };
    RESTART_ON_PROMOTE = Param {
        name: "restart_on_promote",
        kind: Kind::Boolean,
        default: Some("false"),
        reloadable: true,
        short: "Accepted; makes no difference",
        long: "Asked the older agents to promote by a restart that keeps the timeline. This agent does so by itself where it is \
               safe: where RESOURCE_REPL_INFO names this node, and nobody was promoted since. After a failover a promotion \
               always begins a new timeline, because two nodes that wrote on the same timeline can't be told apart. So \
               the value makes no difference.",
    };
    REPLICATION_SLOT_NAME = Param {
        name: "replication_slot_name",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "Beginning of the names of replication slots",
        long: "When set, the primary keeps a physical replication slot for each standby, named after this value, an underscore and \
               the node (in lower case, with _ for dots and dashes). A slot holds WAL back until its standby has it, so \
               watch the disk, and limit it with max_slot_wal_keep_size. Allowed are a-z, 0-9 and _.",
    };
    TMPDIR = Param {
        name: "tmpdir",
        kind: Kind::Path,
        default: Some("/var/lib/pgsql/tmp"),
        reloadable: false,
        short: "Directory of the agent's files",
        long: "Holds the settings that the agent writes for PostgreSQL and its own records; created with mode 700 for pgdba. Must \
               survive a restart of the machine. Of several resources on a node that name the same, each but the first has a \
               directory with its own name in it.",
    };
    XLOG_CHECK_COUNT = Param {
        name: "xlog_check_count",
        kind: Kind::Count,
        default: Some("3"),
        reloadable: true,
        short: "Equal rounds before an election",
        long: "Where there is no primary and no record of one, and not every node has reported its position, this many monitors in \
               a row must have seen the same positions before the best node is chosen. When all have reported, it is chosen at once.",
    };
    CRM_ATTR_TIMEOUT = Param {
        name: "crm_attr_timeout",
        kind: Kind::Timeout,
        default: Some("5"),
        reloadable: true,
        short: "Seconds for one call to the cluster",
        long: "How long one change of the cluster's configuration or attributes, or one question about quorum and members, may take.",
    };
    EXTERNAL_STANDBY_NODE_LIST = Param {
        name: "external_standby_node_list",
        kind: Kind::Names,
        default: None,
        reloadable: true,
        short: "Synchronous standbys outside the cluster",
        long: "The application_name of each standby outside the cluster that commits shall wait for while it streams, separated by \
               spaces. The cluster never promotes it. Only with rep_mode=sync.",
    };
    EXTERNAL_SLOT_LIST = Param {
        name: "external_slot_list",
        kind: Kind::Names,
        default: None,
        reloadable: true,
        short: "Replication slots of standbys outside the cluster",
        long: "Names of physical slots, separated by spaces: every node of the cluster keeps them, so that a standby outside that \
               follows the primary's address by one goes on after a failover. They hold WAL back on all nodes until that standby has it, \
               so watch the disks, and limit it with max_slot_wal_keep_size. A slot that is taken off the list stays until somebody \
               drops it. Allowed are a-z, 0-9 and _. Only with rep_mode=sync or async.",
    };
    SYNC_NODE_LIST = Param {
        name: "sync_node_list",
        kind: Kind::Names,
        default: None,
        reloadable: true,
        short: "Nodes that commits may wait for, the best first",
        long: "Names of cluster nodes, separated by spaces. Commits wait for the first sync_num of them that keep up; when a better one \
               comes back, it takes the place of a worse one. A node that is not in the list is never waited for, so it is not promoted \
               either, but as the primary that comes back. With sync_method=quorum PostgreSQL waits for sync_num of those in the list, and the order means nothing. \
               When unset, all nodes, in the order of their names. A list that names no other node than the primary is not obeyed, and the \
               resource is shown as degraded. Only with rep_mode=sync.",
    };
    NOFAILOVER_NODE_LIST = Param {
        name: "nofailover_node_list",
        kind: Kind::Names,
        default: None,
        reloadable: true,
        short: "Nodes that are never promoted",
        long: "Names of cluster nodes, separated by spaces: no failover and no switchover makes one of them the primary. One that is \
               the primary when it is put into the list goes on until it fails or is moved. Commits wait for such a node only when no other keeps \
               up, as with a location constraint that keeps the primary away from it; leave it out of sync_node_list, too, and they never do. Only with rep_mode=sync or async.",
    };
    ENABLE_DISTLOCK = Param {
        name: "enable_distlock",
        kind: Kind::Boolean,
        default: Some("false"),
        reloadable: false,
        short: "Use a lock service",
        long: "Let a lock in a PostgreSQL outside the cluster decide who may be primary: with two nodes and no fencing, nothing else \
               can. Needs distlock_conninfo, or distlock_lock_cmd and distlock_unlock_cmd.",
    };
    DISTLOCK_CONNINFO = Param {
        name: "distlock_conninfo",
        kind: Kind::Secret,
        default: None,
        reloadable: true,
        short: "How to connect to the lock service",
        long: "A connection string such as \"host=lock.example user=expgsql dbname=ha sslmode=verify-full sslrootcert=/etc/lock-ca.crt\", \
               or a postgresql:// address. The server must be outside the cluster; expgsql distlock init makes the table in it. \
               The password belongs in a password file (passfile= in here, passfile, or ~/.pgpass of root), not in this value.\n\n\
               Where it is set, distlock_lock_cmd and distlock_unlock_cmd are not used.",
    };
    DISTLOCK_LOCKNAME = Param {
        name: "distlock_lockname",
        kind: Kind::String,
        default: None,
        reloadable: false,
        short: "Name of the lock",
        long: "The row of this cluster: LOCKNAME, TABLE:LOCKNAME or SCHEMA.TABLE:LOCKNAME. When unset, the name of the resource, in \
               the table distlock. Two clusters must not use the same one.",
    };
    DISTLOCK_TTL = Param {
        name: "distlock_ttl",
        kind: Kind::Timeout,
        default: Some("9"),
        reloadable: true,
        short: "Seconds the lock lasts without renewal",
        long: "How long a lock is held that is not renewed; every monitor of the primary renews it. Longer than twice the interval of \
               the primary's monitor. A failover waits for it where the old primary could not give the lock back.",
    };
    DISTLOCK_TIMEOUT = Param {
        name: "distlock_timeout",
        kind: Kind::Timeout,
        default: Some("12"),
        reloadable: true,
        short: "Seconds to wait for the lock",
        long: "How long a promotion waits for a lock that another node holds: longer than distlock_ttl, so that the lock of a dead \
               primary has expired by then.",
    };
    DISTLOCK_LOCK_CMD = Param {
        name: "distlock_lock_cmd",
        kind: Kind::Secret,
        default: None,
        reloadable: true,
        short: "Command that takes the lock",
        long: "Used where distlock_conninfo is not set: a line for /bin/sh that takes or renews the lock for @owner and prints 1, or 0 \
               when another has it; anything else is an error. It knows nothing of standbys that may be promoted: without fencing, \
               commits keep waiting for a standby that is lost.",
    };
    DISTLOCK_UNLOCK_CMD = Param {
        name: "distlock_unlock_cmd",
        kind: Kind::Secret,
        default: None,
        reloadable: true,
        short: "Command that gives the lock back",
        long: "Used where distlock_conninfo is not set: a line for /bin/sh that gives the lock of @owner back and prints 1, or 0 when \
               it was not the owner's.",
    };
    DISTLOCK_DEADCHECK = Param {
        name: "distlock_lockservice_deadcheck_nodelist",
        kind: Kind::Names,
        default: None,
        reloadable: true,
        short: "Nodes to ask when the lock service is silent",
        long: "Names of the cluster's nodes, separated by spaces. Where this node does not reach the lock service, it asks the others \
               by ssh (as root, without a password) whether they do. Only if all answer and none reaches it, the service is taken \
               to be dead and the primary goes on without it. When unset, nobody is asked.",
    };
    MAXLAG = Param {
        name: "maxlag",
        kind: Kind::Bytes,
        default: Some("0"),
        reloadable: true,
        short: "Lag beyond which a standby is not promoted",
        long: "Bytes of WAL a standby may be behind the primary; one that is further behind is not promoted. kB, MB, GB and TB are \
               understood. 0: no limit. Matters with rep_mode=async: sync promotes none that lacks an acknowledged commit.",
    };
    MAXLAG_TIME = Param {
        name: "maxlag_time",
        kind: Kind::Seconds,
        default: Some("0"),
        reloadable: true,
        short: "Seconds of lag beyond which a standby is not promoted",
        long: "A standby that lacks WAL which the primary had this many seconds ago is not promoted, as with maxlag. Known by what the primary's \
               monitors have seen of its own WAL, so to a sixteenth of it and one interval of the monitor; a primary on which nobody writes makes no \
               standby late. 0: no limit. Only matters with rep_mode=async.",
    };
    QUERY_TIMEOUT = Param {
        name: "query_timeout",
        kind: Kind::Timeout,
        default: Some("8"),
        reloadable: true,
        short: "Seconds for one connection or query",
        long: "How long the agent waits for one connection or one query, so that a hung server is noticed before Pacemaker's own \
               timeout ends the action.",
    };
    SETTLE_TIME = Param {
        name: "settle_time",
        kind: Kind::Timeout,
        default: None,
        reloadable: true,
        short: "Seconds until a change of membership is certain",
        long: "Before the primary stops waiting for a standby, quorum and membership must have been unchanged for this long. When \
               unset, it is computed from corosync's token and consensus timeouts, plus a margin; a smaller value is unsafe.",
    };
    UNSAFE_RELAX = Param {
        name: "unsafe_relax",
        kind: Kind::Boolean,
        default: Some("false"),
        reloadable: true,
        short: "Stop waiting for a standby without proof",
        long: "With two nodes and neither fencing nor a quorum device, nothing proves that a silent standby is not being promoted \
               at this moment. false: commits then wait for it. true: they go on, and a split between the nodes may lose \
               acknowledged commits.",
    };
    SYNC_STRICT = Param {
        name: "sync_strict",
        kind: Kind::Boolean,
        default: Some("false"),
        reloadable: true,
        short: "Never commit without a standby",
        long: "With rep_mode=sync. false: when no standby can be promoted any more, for certain, commits go on without one. true: \
               they wait until a standby is back.",
    };
    SYNC_METHOD = Param {
        name: "sync_method",
        kind: Kind::Method,
        default: Some("priority"),
        reloadable: true,
        short: "Who chooses the standbys that commits wait for",
        long: "With rep_mode=sync. priority: the agent names them (FIRST), and each of them can take over by itself. When one is \
               lost, commits wait until another has taken its place.\n\n\
               quorum: PostgreSQL waits for whichever sync_num of all standbys answer first (ANY), so that a lost standby stalls \
               nothing. Before a promotion the standbys compare how much they have, so more of them must be there: with two \
               standbys and sync_num=1, both. PostgreSQL 13 or newer.",
    };
    SYNC_NUM = Param {
        name: "sync_num",
        kind: Kind::Number,
        default: Some("1"),
        reloadable: true,
        short: "How many standbys must confirm a commit",
        long: "With rep_mode=sync. Where fewer can, commits wait for those there are, down to none where sync_strict=false.",
    };
    ON_DIVERGENCE = Param {
        name: "on_divergence",
        kind: Kind::Remedy,
        default: Some("stop"),
        reloadable: true,
        short: "What to do with a node that can't follow",
        long: "A node that comes back may have WAL that the primary never had, or lack WAL that the primary no longer has. stop: its \
               start is refused with the reason and the command that repairs it. rewind: pg_rewind undoes what it wrote past the \
               fork; needs wal_log_hints=on or checksums, and a repuser that pg_rewind accepts. rebuild: pg_basebackup makes a \
               new copy, which takes the place of the old one when it is complete; needs room for both. rewind_or_rebuild: rewind \
               where that helps, else rebuild.\n\n\
               With rep_mode=async what is undone may be commits that clients saw acknowledged. The work goes on in the \
               background: the attribute RESOURCE-repair shows how far it is.",
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::PARAMS;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = PARAMS.iter().map(|param| param.name).collect();
        assert_eq!(names.len(), PARAMS.len());
    }

    #[test]
    fn every_default_is_valid_for_its_kind() {
        for param in PARAMS {
            if let Some(default) = param.default {
                assert_eq!(
                    param.kind.check(default),
                    Ok(()),
                    "{}={default}",
                    param.name
                );
            }
        }
    }

    /// pcs and crmsh show the short text in a column; the long one is split at empty lines only.
    #[test]
    fn descriptions_are_single_lines_and_paragraphs() {
        for param in PARAMS {
            let name = param.name;
            assert!(
                param.short.len() <= 72,
                "{name}: the short text has {} bytes",
                param.short.len()
            );
            assert!(
                !param.short.contains('\n') && !param.short.ends_with('.'),
                "{name}: {}",
                param.short
            );
            assert!(param.long.ends_with('.'), "{name}: {}", param.long);
            assert!(
                !param.long.replace("\n\n", "").contains('\n'),
                "{name}: a line break inside a paragraph"
            );
            assert!(!param.long.contains("  "), "{name}: two spaces");
        }
    }

    /// Kept by hand, as a second opinion: a cluster that comes from an older agent must find each of its parameters.
    #[test]
    fn every_parameter_of_the_older_agents_is_there() {
        let older = "pgctl psql pgdata pgdba pghost pgport pglibs config start_opt ctl_opt pgdb logfile socketdir monitor_user \
                     monitor_password monitor_sql check_wal_receiver stop_escalate stop_escalate_in_slave rep_mode node_list \
                     restore_command archive_cleanup_command recovery_end_command master_ip repuser primary_conninfo_opt \
                     restart_on_promote replication_slot_name tmpdir xlog_check_count crm_attr_timeout \
                     external_standby_node_list enable_distlock distlock_lock_cmd distlock_unlock_cmd \
                     distlock_lockservice_deadcheck_nodelist maxlag";
        for name in older.split_whitespace() {
            assert!(
                PARAMS.iter().any(|param| param.name == name),
                "{name} is missing"
            );
        }
    }
}
