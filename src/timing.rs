//! Every duration the agent itself chooses. What the operator chooses is a parameter.

use std::time::Duration;

/// Kept free at the end of an operation, so that the agent, and not Pacemaker's SIGKILL, says
/// what it waited for.
pub const RESERVE: Duration = Duration::from_secs(2);

/// Time for an action that was started by hand, where Pacemaker sets none.
pub const BY_HAND: Duration = Duration::from_secs(120);

/// What a demotion spends at most on its promotion score: commits are acknowledged as long as the server runs.
pub const YIELD: Duration = Duration::from_secs(1);

/// One read of the CIB. It takes 10 ms; a cluster that needs longer than this is in trouble, and
/// the agent has better things to do than to wait for it.
pub const CIB_READ: Duration = Duration::from_secs(10);

/// One read of another node's copy of the CIB. It takes 25 ms; a node that dies at this moment costs
/// the whole of it.
pub const CIB_COPY: Duration = Duration::from_secs(1);

/// How often the others' copies are looked at until they have a change.
pub const CIB_COPY_POLL: Duration = Duration::from_millis(50);

/// How often a starting or promoting server is asked whether it is ready.
pub const READY_POLL: Duration = Duration::from_millis(40);

/// How long a promotion is waited for before the lease is looked after: several times in the shortest one.
pub const PROMOTION_LOOK: Duration = Duration::from_secs(1);

/// How long after pg_ctl a postmaster may take to write its pid file. It takes milliseconds; past
/// this the server is taken to have ended at once.
pub const LAUNCH: Duration = Duration::from_secs(5);

/// How often replication is looked at while a step of the contract takes effect.
pub const CONTRACT_POLL: Duration = Duration::from_millis(25);

/// How long one call waits for a step of the contract to take effect before it leaves the rest to
/// the next call. Longer delays whatever Pacemaker wants next; shorter costs a monitor interval
/// before a standby becomes eligible.
pub const CONTRACT_WAIT: Duration = Duration::from_millis(1500);

/// How long a new primary's first monitor waits for a standby to connect, so that a standby is
/// eligible as soon as possible after a failover.
pub const FIRST_STANDBY: Duration = Duration::from_secs(2);

/// How long that first monitor gives the cluster to bring up the address at which standbys connect. Where a changed attribute
/// has made Pacemaker plan anew, or the machine is under load, the address comes up after this monitor only, and both would wait for
/// each other; otherwise it is there in 0.2 s.
pub const ADDRESS: Duration = Duration::from_millis(300);

/// How long a start waits for a server that recovers before it leaves that to go on by itself. Pacemaker promotes nobody, here or
/// elsewhere, while a start is under way.
pub const RECOVERY: Duration = Duration::from_secs(15);

/// How long a standby is given to replay its local WAL before it leaves the election to a later
/// monitor.
pub const REPLAY_WAIT: Duration = Duration::from_secs(2);

/// How often a replay that is waited for is looked after: queries may hold it up, one after the other.
pub const QUERIES_IN_THE_WAY: Duration = Duration::from_millis(500);

/// How long a candidate waits for the positions that the pre-promote notification made the other
/// standbys report.
pub const ELECTION_WAIT: Duration = Duration::from_secs(3);

/// How long a standby may take to stop receiving from the old primary before a promotion. It takes
/// some 50 ms.
pub const DETACH: Duration = Duration::from_secs(5);

/// One request to the lock service. It takes milliseconds; what is spent here on a service that is
/// silent is missing from the monitor's time.
pub const LOCK_REQUEST: Duration = Duration::from_secs(3);

/// Asking the other nodes about a silent lock service: 1.5 s for ssh, the rest for their own request.
pub const LOCK_CHECK: Duration = Duration::from_secs(5);

/// What may pass, beyond the monitor's interval, between a decision to go on with a lease and the
/// server's end where it runs out (asynchronous mode only).
pub const LOCK_MARGIN: Duration = Duration::from_secs(2);

/// A renewal is asked for at least so long, also where the lease is nearly over: an answer takes milliseconds.
pub const LOCK_LEAST: Duration = Duration::from_millis(300);

/// What a monitor has for everything else where the lease leaves it less: enough to read the CIB and to write an attribute.
pub const LOCK_REST: Duration = Duration::from_secs(1);

/// Looks at the lock's row that are further apart belong to different outages: a monitor looks every few seconds, and a promotion that
/// failed, with the stop and the start that Pacemaker makes of that, lies between two of them.
pub const SAME_OUTAGE: Duration = Duration::from_secs(120);

/// How long a restart waits for an orderly shutdown before it ends the server at once.
pub const RESTART: Duration = Duration::from_secs(2);

/// How often it is looked what a shutdown that goes on still waits for, and how long it takes before there is anything to see.
pub const LINGER_POLL: Duration = Duration::from_millis(250);

/// A checkpoint ahead of a demotion shortens the shutdown; past this it only delays it.
pub const CHECKPOINT: Duration = Duration::from_secs(30);

/// With less time than this a checkpoint is not begun.
pub const LEAST_CHECKPOINT: Duration = Duration::from_secs(1);

/// How long a standby tries to reach a new primary's address before it leaves that to PostgreSQL.
/// The address comes up after the promotion; Pacemaker's own work on it takes seconds at most.
pub const FOLLOW: Duration = Duration::from_secs(30);

/// How often the new primary's address is tried. It is a fresh connection each time, because a lost
/// SYN is repeated by the kernel only after 1, 3 and 7 s.
pub const FOLLOW_POLL: Duration = Duration::from_millis(150);

/// How long the name service may take for the address of the primary, where that is given as a name. It takes milliseconds.
pub const NAME_SERVICE: Duration = Duration::from_secs(1);

/// How long a WAL receiver that was just started is given to begin streaming.
pub const RECEIVER_START: Duration = Duration::from_secs(1);

/// Finding out where the local WAL ends. Usually one WAL file is read, which takes some 50 ms. Of a standby that replays, all is
/// read from there on, a second for each GB or so; past this it says nothing before it has replayed more.
pub const WAL_END: Duration = Duration::from_secs(10);

/// One question to the primary about its history. It takes some 20 ms; a primary that is silent costs a start this much.
pub const SOURCE: Duration = Duration::from_secs(8);

/// How long a start sees a repair through before it leaves it to go on by itself: Pacemaker does nothing else meanwhile.
pub const REPAIR_WAIT: Duration = Duration::from_secs(5);

/// How long the lock of a repair may be held by somebody who only looks.
pub const REPAIR_LOCK: Duration = Duration::from_millis(500);

/// How long a repair may take to end that is told to; half of it politely.
pub const REPAIR_END: Duration = Duration::from_secs(10);

/// How often a repair tries again what passes by itself, such as a primary that is away.
pub const REPAIR_RETRY: Duration = Duration::from_secs(2);

/// How long it does so. Nobody waits for it; but a primary that was away so long has left its people something to do.
pub const REPAIR_PATIENCE: Duration = Duration::from_secs(3600);

/// How often the attribute shows a repair's progress. Each change makes Pacemaker plan anew.
pub const REPAIR_ATTRIBUTE: Duration = Duration::from_secs(10);

/// Crash recovery of what is to be rewound. At most max_wal_size, or what a standby was behind, is replayed.
pub const REPAIR_RECOVERY: Duration = Duration::from_secs(3600);

/// A checkpoint of the primary, and reading the lists of files; either may take minutes on a large database.
pub const REPAIR_CHECKPOINT: Duration = Duration::from_secs(900);

/// How long pg_rewind or pg_basebackup may print nothing before it is taken to hang. Both print every second while they copy;
/// but the primary's estimate of its own size and its checkpoint come before, and the fsync of the whole copy comes after,
/// which takes minutes for each 100 GB on a slow disk.
pub const REPAIR_SILENCE: Duration = Duration::from_secs(30 * 60);

/// Over how long the speed of a copy is measured: the tools print every second.
pub const RATE_WINDOW: Duration = Duration::from_secs(10);

/// How often the primary is asked whether its checkpoint on the new timeline is done, where this node may not order one.
pub const SETTLE_POLL: Duration = Duration::from_millis(500);

/// How long a repair by hand waits for Pacemaker to finish what it has begun. Usually nothing: half a second.
pub const SETTLE_BEFORE: Duration = Duration::from_secs(20);

/// Pacemaker's forgiveness of a node's failures: it asks that node what runs there.
pub const CLEANUP: Duration = Duration::from_secs(30);

/// How long a monitor may take to begin once the note that was taken for it is deleted. It takes a transition of Pacemaker's.
pub const MONITOR_BEGINS: Duration = Duration::from_secs(3);

/// One change by Pacemaker's own tools. It takes some 50 ms; while a partition re-forms it waits for that.
pub const CHANGE: Duration = Duration::from_secs(30);

/// How often a command looks whether what it waits for has come about, and whether it was interrupted.
pub const COMMAND_POLL: Duration = Duration::from_millis(300);

/// How much longer than the command itself its constraint lives: enough to be cleared by hand, should the command be killed,
/// and short enough that nobody has to remember it.
pub const CONSTRAINT_MARGIN: Duration = Duration::from_secs(60);

/// How often it is looked whether a repaired node streams. The primary's monitor writes that down every few seconds.
pub const STREAMING_POLL: Duration = Duration::from_millis(500);

const _: () = assert!(READY_POLL.as_millis() < CONTRACT_WAIT.as_millis());
