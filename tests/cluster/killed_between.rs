//! The agent is killed between any two of its steps: at each point of `src/trial/points.rs` in turn. Afterwards its next calls bring
//! everything in order, and no acknowledged commit is lost.
//!
//! Nobody helps but where Pacemaker itself waits for a human: a start that failed keeps a node out until somebody cleans up
//! (`start-failure-is-fatal`), and so does a stop that failed where there is no fencing (`on-fail=block`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::resources::RESOURCE;
use lab::{Agent, Allowed, Builder, Cluster, Node, Output, RepMode, Result, Whose};

use super::comes_back::diverge;
use super::machines::{most_important_standby, standby_ahead};
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// More than all kills together: each is a failure, and none is a reason to leave the node.
const PATIENT: u32 = 1000;
/// A point that was armed on a node may not be on the way of this round, as when Pacemaker takes another node.
const ROUNDS: usize = 8;
/// Pacemaker's words for an agent that was killed.
const KILLED: &str = "interrupted by Killed signal";
/// What a healthy cluster still may come to: two monitors of each node.
const MONITORS: Duration = Duration::from_secs(8);

/// Points of promote, in their order.
const PROMOTE: [&str; 17] = [
    "promote-recorded",
    "promote-confirmed",
    "promote-noted",
    "promote-raised",
    "promote-spread",
    "promote-remembered",
    "promote-asked",
    "promote-writable",
    "slot-created",
    "promote-slots",
    "promote-score",
    "promote-status",
    "promote-corrected",
    "promote-baseline",
    "promote-peers",
    "promote-taken-back",
    "contract-in-force",
];

/// Of the node that is demoted.
const DEMOTE: [&str; 7] = [
    "notify-checkpoint",
    "demote-stopped",
    "demote-unlocked",
    "demote-standby",
    "demote-baseline",
    "renew-conf",
    "slot-dropped",
];

/// Of a standby beside the two.
const BESIDE: [&str; 12] = [
    "statement-noted",
    "statement-conf",
    "statement-reloaded",
    "statement-alone",
    "statement-made",
    "attach-taken-back",
    "attach-conf",
    "notify-attached",
    "follow-receiver",
    "follow-spawned",
    "follow-connects",
    "notify-withdrawn",
];

/// Of a standby that is to say how far it reaches, for a promotion that then does not come about.
const STATED: [&str; 5] = [
    "statement-noted",
    "statement-conf",
    "statement-reloaded",
    "statement-alone",
    "statement-made",
];

/// Of a primary whose standby leaves.
const LEFT: [&str; 5] = [
    "revoke-recorded",
    "contract-conf",
    "grant-recorded",
    "marks-recorded",
    "marks-told",
];
/// Of one that is restarted in place.
const RESTARTED: [&str; 5] = [
    "restart-recorded",
    "restart-remembered",
    "restart-stopped",
    "restart-unsignalled",
    "restart-launched",
];

/// Of a node whose server stops, and starts.
const STOP: [&str; 3] = ["stop-server", "stop-unlocked", "stop-status"];
const START: [&str; 8] = [
    "start-recovery-conf",
    "start-contract",
    "start-signal",
    "start-includes",
    "start-launched",
    "start-answers",
    "start-status",
    "start-announced",
];
const ELECTION: [&str; 1] = ["election-timeline"];
const EPOCH: [&str; 1] = ["epoch-begun"];
const GIVES_WAY: [&str; 1] = ["notify-gave-way"];

/// Of a node that is repaired, one divergence after the other.
const BEGIN_REPAIR: [&str; 3] = ["repair-journal", "repair-told", "repair-launched"];
const REWIND: [&str; 3] = ["rewind-recovered", "rewind-checked", "rewind-damaged"];
/// Half a rewind is followed by a new copy.
const REBUILD: [&str; 4] = ["rebuild-copied", "swap-moved", "swap-out", "swap-in"];
/// Who finds the new data in place starts on them, and has the old ones removed.
const PURGE: [&str; 1] = ["repair-started"];
const REWOUND: [&str; 3] = ["rewind-run", "rebuild-swapped", "repair-purged"];
const WHOLE: [&str; 1] = ["rewind-whole"];
const FORGOTTEN: [&str; 1] = ["repair-forgotten"];

/// With a lock service.
const LOCK_PROMOTE: [&str; 1] = ["promote-locked"];
const LOCK_LEFT: [&str; 2] = ["revoke-locked", "grant-locked"];

fn all() -> BTreeSet<&'static str> {
    let groups = [
        &PROMOTE[..],
        &DEMOTE,
        &BESIDE,
        &LEFT,
        &RESTARTED,
        &STOP,
        &START,
        &ELECTION,
        &EPOCH,
        &GIVES_WAY,
        &BEGIN_REPAIR,
        &REWIND,
        &REBUILD,
        &PURGE,
        &REWOUND,
        &WHOLE,
        &FORGOTTEN,
        &LOCK_PROMOTE,
        &LOCK_LEFT,
    ];
    groups.concat().into_iter().collect()
}

pub(crate) fn the_agent_may_be_killed_at_any_point_of_a_switchover() -> Result<()> {
    let stage = set(|builder| builder)?;
    every_point_is_tried(&stage)?;
    let pending = [&PROMOTE[..], &DEMOTE, &BESIDE].map(Pending::of);
    let [promote, demote, beside] = &pending;
    for round in 1.. {
        if pending.iter().all(Pending::is_over) {
            break;
        }
        stage.step(
            &format!("switchover {round}"),
            Allowed::killed(4),
            |stage| {
                let roles = Roles::of(stage)?;
                // Two in a row: the second strikes where the first one's consequences are dealt with.
                let plan = [
                    promote.arm(stage, roles.next, 2)?,
                    demote.arm(stage, roles.primary, 1)?,
                    beside.arm(stage, roles.beside()?, 1)?,
                ];
                stage.lab.ban_primary(roles.primary)?;
                let moved = stage.lab.eventually("another is promoted", LIMIT, |lab| {
                    let now = lab.primary().map_err(|error| error.to_string())?;
                    let is_other = now.name() != roles.primary.name();
                    is_other
                        .then_some(())
                        .ok_or_else(|| format!("{} still is", now.name()))
                });
                stage.lab.lift_bans()?;
                moved?;
                settle(stage, &plan)
            },
        )?;
    }
    end(&stage, &pending)
}

pub(crate) fn the_agent_may_be_killed_at_any_point_of_stop_start_and_monitor() -> Result<()> {
    let stage = set(|builder| builder)?;
    let pending = [
        Pending::of(&LEFT),
        Pending::of(&RESTARTED),
        Pending::of(&STOP),
        Pending::of(&START),
        Pending::of(&ELECTION),
        Pending::of(&EPOCH),
        Pending::of(&GIVES_WAY),
    ];
    let [left, restarted, stop, start, election, epoch, gives_way] = &pending;
    for round in 1.. {
        if [left, stop, start].iter().all(|p| p.is_over()) {
            break;
        }
        stage.step(
            &format!("a standby leaves {round}"),
            Allowed::killed(5),
            |stage| {
                let roles = Roles::of(stage)?;
                let plan = [
                    left.arm(stage, roles.primary, 1)?,
                    restarted.arm(stage, roles.primary, 1)?,
                    stop.arm(stage, roles.next, 1)?,
                    start.arm(stage, roles.next, 2)?,
                ];
                leave_and_come_back(stage, roles.next)?;
                settle(stage, &plan)
            },
        )?;
    }
    for round in 1.. {
        if restarted.is_over() {
            break;
        }
        stage.step(
            &format!("restarted in place {round}"),
            Allowed::killed(1).failing(Whose::Anybodys, "monitor", "PostgreSQL does not run", 1),
            |stage| {
                let roles = Roles::of(stage)?;
                let plan = [restarted.arm(stage, roles.primary, 1)?];
                stage.lab.kill_postmaster(roles.primary)?;
                settle(stage, &plan)
            },
        )?;
    }
    stage.step(
        "all are stopped and started",
        Allowed::killed(1).restarts(6),
        |stage| {
            let roles = Roles::of(stage)?;
            let plan = [election.arm(stage, roles.next, 1)?];
            everything(&stage.lab, false)?;
            stage.lab.eventually("no server runs", LIMIT, |lab| {
                let mut nodes = lab.nodes().iter();
                let running = nodes.find(|node| lab.postgres(node).is_writable().is_some());
                running.map_or(Ok(()), |node| Err(format!("{} answers", node.name())))
            })?;
            everything(&stage.lab, true)?;
            settle(stage, &plan)
        },
    )?;
    stage.step(
        "a promotion is prepared, and does not come about",
        Allowed::killed(1),
        |stage| {
            let roles = Roles::of(stage)?;
            let plan = [epoch.arm(stage, roles.primary, 1)?];
            let standbys = [roles.next, roles.beside()?];
            for node in standbys {
                prepared(&stage.lab, node, roles.next)?;
            }
            settle(stage, &plan)
        },
    )?;
    // Nobody else hears that the standby has begun: it must say so itself, or the primary goes on without it for ever.
    let stated = Pending::of(&STATED);
    for round in 1.. {
        if stated.is_over() {
            break;
        }
        stage.step(
            &format!("a standby is killed on its way to a statement {round}"),
            Allowed::killed(1),
            |stage| {
                let roles = Roles::of(stage)?;
                let plan = [stated.arm(stage, roles.next, 1)?];
                let before = record(&stage.lab)?;
                notified(&stage.lab, roles.next, roles.next)?;
                // All is well until its monitor says what it has begun.
                stage.lab.eventually(
                    "the primary begins another epoch",
                    LIMIT,
                    |lab| match record(lab).map_err(|error| error.to_string())? {
                        now if now == before => Err(now),
                        _ => Ok(()),
                    },
                )?;
                settle(stage, &plan)
            },
        )?;
    }
    stage.step(
        "a standby that receives nothing for a moment states, after its agent was killed",
        Allowed::killed(1),
        states_what_stands_still,
    )?;
    stage.step(
        "the chosen one has less, and its notification is killed",
        Allowed::killed(2),
        |stage| {
            let roles = Roles::of(stage)?;
            let plan = [
                gives_way.arm(stage, roles.next, 1)?,
                gives_way.arm(stage, roles.beside()?, 1)?,
            ];
            standby_ahead(stage)?;
            settle(stage, &plan)
        },
    )?;
    end(&stage, &pending)?;
    end(&stage, &[stated])
}

pub(crate) fn the_agent_may_be_killed_at_any_point_of_a_repair() -> Result<()> {
    let stage = set(|builder| builder)?;
    let groups = [
        (
            "repairs are interrupted everywhere",
            [&BEGIN_REPAIR[..], &REWIND, &REBUILD, &PURGE].concat(),
        ),
        ("a rewind is done, and not noted", REWOUND.to_vec()),
        ("a rewind is noted, and not started", WHOLE.to_vec()),
        ("all is done but the telling", FORGOTTEN.to_vec()),
    ];
    let mut all = Vec::new();
    for (name, points) in groups {
        let pending = Pending::of(&points);
        // The pieces that a killed worker has left are seen by the monitor; a rewind that was not noted may end as a copy.
        let allowed = Allowed::killed(points.len()).copies(2).failing(
            Whose::Anybodys,
            "monitor",
            "a repair was interrupted",
            points.len(),
        );
        stage.step(name, allowed, |stage| {
            let old = diverge(stage)?;
            let plan = [pending.arm_when_off(stage, old)?];
            settle(stage, &plan)?;
            nothing_is_left(&stage.lab, old)
        })?;
        all.push(pending);
    }
    end(&stage, &all)
}

pub(crate) fn the_agent_may_be_killed_wherever_it_uses_the_lock() -> Result<()> {
    let stage = set(|builder| builder.nodes(2).lock_service())?;
    let pending = [
        Pending::of(&LOCK_PROMOTE),
        Pending::of(&["demote-unlocked"]),
        Pending::of(&LOCK_LEFT),
        Pending::of(&["stop-unlocked"]),
    ];
    let [promote, demote, left, stop] = &pending;
    for round in 1.. {
        if pending.iter().all(Pending::is_over) {
            break;
        }
        stage.step(
            &format!("switchover {round}"),
            Allowed::killed(2),
            |stage| {
                let roles = Roles::of(stage)?;
                let plan = [
                    promote.arm(stage, roles.next, 1)?,
                    demote.arm(stage, roles.primary, 1)?,
                ];
                stage.lab.switchover(LIMIT)?;
                settle(stage, &plan)
            },
        )?;
        stage.step(
            &format!("the standby leaves {round}"),
            Allowed::killed(2),
            |stage| {
                let roles = Roles::of(stage)?;
                let plan = [
                    left.arm(stage, roles.primary, 1)?,
                    stop.arm(stage, roles.next, 1)?,
                ];
                leave_and_come_back(stage, roles.next)?;
                settle(stage, &plan)
            },
        )?;
    }
    end(&stage, &pending)
}

fn set(adapt: impl FnOnce(Builder) -> Builder) -> Result<Stage> {
    let binary = lab::build_trial()?;
    Stage::set_with(Agent::Expgsql { binary }, RepMode::Sync, |builder| {
        adapt(
            builder
                .param(ON_DIVERGENCE, "rewind_or_rebuild")
                .migration_threshold(PATIENT),
        )
    })
}

/// The points that the agent has are those that are tried here.
fn every_point_is_tried(stage: &Stage) -> Result<()> {
    let program: PathBuf = match stage.lab.spec().agent {
        Agent::Expgsql { binary } => binary,
        Agent::StockPgsql | Agent::Paf => return Err(wrong("another agent")),
    };
    let listed = lab::Cmd::new(&[&program.display().to_string(), "trial-points"]).ok()?;
    let listed: BTreeSet<&str> = listed.lines().collect();
    let tried = all();
    let differ: Vec<_> = listed.symmetric_difference(&tried).collect();
    expect(differ.is_empty(), || {
        format!("either not in the agent, or not tried: {differ:?}")
    })
}

/// Who is what when a round begins.
struct Roles<'a> {
    primary: &'a Node,
    /// The one that commits wait for.
    next: &'a Node,
    beside: Option<&'a Node>,
}

impl<'a> Roles<'a> {
    fn of(stage: &'a Stage) -> Result<Self> {
        let (primary, next) = (stage.lab.primary()?, most_important_standby(stage)?);
        let mut standbys = stage.lab.standbys()?.into_iter();
        let beside = standbys.find(|node| node.name() != next.name());
        Ok(Self {
            primary,
            next,
            beside,
        })
    }

    fn beside(&self) -> Result<&'a Node> {
        self.beside.ok_or_else(|| wrong("there is no third node"))
    }
}

/// Points that have not struck yet, each with how often it was armed.
struct Pending(RefCell<Vec<(&'static str, usize)>>);

/// Points that are armed on a node.
struct Armed<'a> {
    node: &'a Node,
    points: Vec<&'static str>,
    of: &'a Pending,
}

impl Pending {
    fn of(points: &[&'static str]) -> Self {
        Self(RefCell::new(
            points.iter().map(|point| (*point, 0)).collect(),
        ))
    }

    fn is_over(&self) -> bool {
        let pending = self.0.borrow();
        pending.iter().all(|(_, armed)| *armed >= ROUNDS)
    }

    /// Arms the points that were armed least, `count` of them that are far from each other.
    fn arm<'a>(&'a self, stage: &Stage, node: &'a Node, count: usize) -> Result<Armed<'a>> {
        let mut pending = self.0.borrow_mut();
        let least = pending.iter().map(|(_, armed)| *armed).min();
        let open = |(_, (_, armed)): &(usize, &(&str, usize))| Some(*armed) == least;
        let open = pending.iter().enumerate().filter(open);
        let open: Vec<usize> = open.map(|(index, _)| index).collect();
        let far = open.len().div_ceil(count).max(1);
        let chosen: Vec<usize> = open.into_iter().step_by(far).take(count).collect();
        let mut points = Vec::new();
        for index in chosen {
            let (point, armed) = &mut pending[index];
            *armed += 1;
            stage.lab.arm(node, point)?;
            points.push(*point);
        }
        Ok(Armed {
            node,
            points,
            of: self,
        })
    }

    /// All of them, on a node whose machine is off until then.
    fn arm_when_off<'a>(&'a self, stage: &Stage, node: &'a Node) -> Result<Armed<'a>> {
        let points: Vec<&'static str> = self.0.borrow().iter().map(|(point, _)| *point).collect();
        stage.lab.power_on_after(node, |node| {
            let mut points = points.iter();
            points.try_for_each(|point| stage.lab.arm(node, point))
        })?;
        Ok(Armed {
            node,
            points,
            of: self,
        })
    }
}

/// Until the cluster is in order, whether all points were reached or not; those that were are done with.
fn settle(stage: &Stage, plan: &[Armed<'_>]) -> Result<()> {
    let lab = &stage.lab;
    let mut cleanups = BTreeSet::new();
    let mut calm: Option<Instant> = None;
    lab.eventually("a healthy cluster", LIMIT * 2, |lab| {
        let said = |error: lab::Error| error.to_string();
        help(lab, &mut cleanups).map_err(said)?;
        if let Err(missing) = lab.health() {
            calm = None;
            return Err(missing);
        }
        let since = *calm.get_or_insert_with(Instant::now);
        let mut open = Vec::new();
        for armed in plan {
            let reached = lab.reached(armed.node).map_err(said)?;
            let is_open = |point: &&str| !reached.iter().any(|r| r == point);
            open.extend(armed.points.iter().copied().filter(is_open));
        }
        if open.is_empty() || since.elapsed() > MONITORS {
            return Ok(());
        }
        Err(format!("not reached: {open:?}"))
    })?;
    for node in lab.nodes() {
        let reached = lab.disarm(node)?;
        for armed in plan.iter().filter(|armed| armed.node.name() == node.name()) {
            let mut pending = armed.of.0.borrow_mut();
            pending.retain(|(point, _)| !reached.iter().any(|r| r == point));
        }
        for point in &reached {
            println!("         {} was killed at {point}", node.name());
        }
    }
    for node in &cleanups {
        println!("         cleaned up: {node}");
    }
    Ok(())
}

/// What a human has to do by Pacemaker's own rules, and nothing else: a killed start or stop is forgiven.
fn help(lab: &Cluster, cleanups: &mut BTreeSet<String>) -> Result<()> {
    let status = lab.status()?;
    for operation in ["start", "stop"] {
        let prefix = format!("{RESOURCE}_{operation}_0 on ");
        for failure in &status.failures {
            let Some(rest) = failure.strip_prefix(&prefix) else {
                continue;
            };
            let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
            expect(why.contains(KILLED), || {
                format!("{operation} on {name} failed otherwise: {why}")
            })?;
            let count = cleanups.len();
            cleanups.insert(format!("{name} {count}: {operation} {why}"));
            lab.clean_up(lab.node(name)?)?;
        }
    }
    Ok(())
}

/// Neither the old data nor an unfinished copy takes up room for good.
fn nothing_is_left(lab: &Cluster, node: &Node) -> Result<()> {
    let data = lab.layout().data.display().to_string();
    let find = ["find", &data, "-maxdepth", "1", "-name", ".expgsql.*"];
    let what = format!("nothing is left of the repair on {}", node.name());
    lab.eventually(&what, LIMIT, |_| {
        let found = node.run(&find).and_then(lab::Output::ok);
        match found.map_err(|error| error.to_string())?.trim() {
            "" => Ok(()),
            left => Err(left.to_owned()),
        }
    })
}

/// A switchover comes there only where a standby still receives from the old primary when the new one has been promoted: most have ended that for
/// their statement by then. It is armed all the same, and told where eight switchovers did not come to it (seen in one run of three).
const RARE: [&str; 1] = ["follow-receiver"];

/// Nothing is left that was never reached.
fn end(stage: &Stage, pending: &[Pending]) -> Result<()> {
    let never: Vec<&str> = pending
        .iter()
        .flat_map(|p| {
            p.0.borrow()
                .iter()
                .map(|(point, _)| *point)
                .collect::<Vec<_>>()
        })
        .collect();
    let (rare, never): (Vec<&str>, Vec<&str>) =
        never.into_iter().partition(|point| RARE.contains(point));
    for point in rare {
        println!("         nobody came to {point} this time");
    }
    expect(never.is_empty(), || {
        format!("the agent never came to {never:?}")
    })?;
    stage.forgive(stage.lab.primary()?)
}

fn leave_and_come_back(stage: &Stage, node: &Node) -> Result<()> {
    let lab = &stage.lab;
    let mut cleanups = BTreeSet::new();
    lab.set_standby_mode(node, true)?;
    let what = format!(
        "{} is out of service, and another takes its place",
        node.name()
    );
    lab.eventually(&what, LIMIT, |lab| {
        help(lab, &mut cleanups).map_err(|error| error.to_string())?;
        let status = lab.status().map_err(|error| error.to_string())?;
        let is_there = |i: &lab::status::Instance| {
            i.resource == RESOURCE && i.node.as_deref() == Some(node.name())
        };
        let is_gone = !status.instances.iter().any(is_there);
        let others: Vec<&Node> = lab
            .nodes()
            .iter()
            .filter(|n| n.name() != node.name())
            .collect();
        let goes_on = others.len() == 1
            || others
                .iter()
                .any(|n| status.attribute(n.name(), "pgsql-data-status") == Some("STREAMING|SYNC"));
        if is_gone && goes_on {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    stage.writes_go_on()?;
    for cleanup in cleanups {
        println!("         cleaned up: {cleanup}");
    }
    lab.set_standby_mode(node, false)
}

/// Stops the clone, or lets it run.
fn everything(lab: &Cluster, on: bool) -> Result<()> {
    let role = if on { "Started" } else { "Stopped" };
    let value = format!("--parameter-value={role}");
    let node = lab.nodes().first().ok_or_else(|| wrong("no nodes"))?;
    let argv = [
        "crm_resource",
        "--resource",
        lab::resources::CLONE,
        "--meta",
        "--set-parameter=target-role",
        &value,
    ];
    node.run(&argv)?.ok().map(drop)
}

/// What a standby is told ahead of a promotion.
fn prepared(lab: &Cluster, node: &Node, candidate: &Node) -> Result<()> {
    let answer = notified(lab, node, candidate)?;
    expect(answer.success(), || format!("notify: {}", answer.text()))
}

/// The first notification is killed when it has noted that it begins. The next one finds the note, and no receiver, since the primary's
/// port is shut to it at that moment; what it states must stand still when the port is open again.
fn states_what_stands_still(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = Roles::of(stage)?.beside()?;
    let rule = "OUTPUT -p tcp --dport 5432 -j REJECT --reject-with tcp-reset";
    node.sh(&format!("iptables -A {rule}"))?.ok()?;
    let alone = lab.eventually("its receiver is gone", LIMIT, |lab| {
        let receivers = lab
            .postgres(node)
            .sql("select count(*) from pg_stat_wal_receiver");
        match receivers.map_err(|error| error.to_string())?.trim() {
            "0" => Ok(()),
            receivers => Err(format!("{receivers} receivers")),
        }
    });
    let said = alone.and_then(|()| {
        lab.arm(node, STATED[0])?;
        let killed = notified(lab, node, node)?;
        expect(!killed.success(), || killed.text())?;
        notified(lab, node, node)
    });
    let follows = lab.postgres(node).sql("show primary_conninfo");
    node.sh(&format!("iptables -D {rule}"))?.ok()?;
    let (said, follows) = (said?.text(), follows?);
    expect(said.contains(" stated "), || said.clone())?;
    expect(follows.trim().is_empty(), || {
        format!("it has stated, and follows {follows}: {said}")
    })?;
    settle(stage, &[])
}

/// The record of the last promotion.
fn record(lab: &Cluster) -> Result<String> {
    let name = format!("{RESOURCE}_REPL_INFO");
    let asked = ["crm_attribute", "--name", &name, "--query", "--quiet"];
    lab.primary()?.run(&asked)?.ok()
}

/// The notification ahead of a promotion, and its answer.
fn notified(lab: &Cluster, node: &Node, candidate: &Node) -> Result<Output> {
    let meta = [
        ("notify_type", "pre"),
        ("notify_operation", "promote"),
        ("notify_promote_uname", candidate.name()),
    ];
    let meta = meta.map(|(name, value)| (format!("OCF_RESKEY_CRM_meta_{name}"), value.to_owned()));
    lab.call_agent_with(node, "notify", &meta)
}
