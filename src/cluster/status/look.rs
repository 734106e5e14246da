//! Gathering what `status` and `why` show: one reading of the CIB, and whatever else answers in time. What does not is
//! named, and nothing here waits for long.

use std::time::Duration;

use crate::agent;
use crate::decide::barred::{self, Bar, Lists, Standing};
use crate::decide::distrust::{self, Place};
use crate::decide::eligibility::{Promise, is_complete};
use crate::decide::observed::{
    Companion, CompanionBan, FailCount, FailedAction, LockSeen, NodeSeen, Observed, Outside,
    Placement, Presence, Recorded, TargetRole, Votes, Wal,
};
use crate::decide::unwatched::lost_monitor;
use crate::decide::why::{State, explain};
use crate::decide::witness::Said;
use crate::distlock::{LockError, Service};
use crate::model::ban::Ban;
use crate::model::cluster_view::{
    ClusterProperty, ClusterView, NoQuorumPolicy, NodeKind, NodeView, OperationKind,
    PermanentAttribute, Quorum, RecordedRole, ResourceName, Score, TransientAttribute, parse_bool,
};
use crate::model::lock::LockRow;
use crate::model::lsn::Lsn;
use crate::model::node_name::NodeName;
use crate::model::timeline::WalPosition;
use crate::pacemaker::beside::{self, Beside};
use crate::pacemaker::cib::{self, Cib, CibError};
use crate::pacemaker::constraints::{self, Location};
use crate::pacemaker::failures::{self, FailedOperation};
use crate::pacemaker::resources::{self, Resource};
use crate::pacemaker::{attributes, quorum, withheld};
use crate::params::{Params, RepMode};
use crate::postgres::views::Follower;
use crate::postgres::wal;
use crate::sys::{Command, Deadline};

use super::servers::{self, Servers};
use crate::cluster::{Exit, Failure, resource};

/// One question to Pacemaker's daemons. They answer in 10 ms, or are in trouble.
const PACEMAKER: Duration = Duration::from_secs(8);

/// One question to corosync.
const COROSYNC: Duration = Duration::from_secs(2);

/// One question to the lock service: a person waits.
const LOCK: Duration = Duration::from_secs(3);

/// How much is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Depth {
    /// What the CIB says.
    Cib,
    /// Servers, the lock service and corosync, too.
    Everything,
}

/// Looks at the cluster from this node.
///
/// # Errors
/// [`Failure`]: Pacemaker does not answer, or it is not clear which resource is meant.
pub(in crate::cluster) fn look(wanted: Option<&str>, depth: Depth) -> Result<Observed, Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        let hint = if nix::unistd::geteuid().is_root() {
            ""
        } else {
            " (this is not root: Pacemaker answers root, and members of the group haclient)"
        };
        Failure::new(Exit::Unreachable, format!("{error}{hint}"))
    };
    let text = Cib::live()
        .read_text(Deadline::after(PACEMAKER))
        .map_err(|e| unreachable(&e))?;
    let view = cib::parse(&text).map_err(|e| unreachable(&e))?;
    let found = resources::of_agent(&text, resource::AGENT).map_err(|e| unreachable(&e))?;
    let resource = resource::choose(found, wanted)?;
    let around = Around::read(&text, &resource).map_err(|e| unreachable(&e))?;
    let mut unread = Vec::new();
    let me = match own_name(&view) {
        Ok(me) => Some(me),
        Err(why) => {
            unread.push(why);
            None
        }
    };
    let any = me.clone().or_else(|| view.nodes.keys().next().cloned());
    let params = any.and_then(|me| match resource::readable(&resource, &me, &view) {
        Ok((_, params, problem)) => {
            unread.extend(problem);
            Some(params)
        }
        Err(why) => {
            unread.push(why);
            None
        }
    });
    let picture = Picture {
        view: &view,
        resource: &resource,
        around: &around,
        params: params.as_ref(),
        me: me.as_ref(),
    };
    let mut seen = picture.observed();
    seen.unread = unread;
    if let Some(params) = &params {
        by_lists(&mut seen, params);
    }
    if depth == Depth::Everything {
        deepen(&mut seen, params.as_ref());
        ask_scheduler(&mut seen, &text);
    }
    Ok(seen)
}

/// Where somebody is offered and there is no primary, Pacemaker's own scheduler knows whether it is about to promote somebody.
fn ask_scheduler(seen: &mut Observed, cib: &str) {
    let found = explain(seen);
    if found.state != State::None || found.candidates().next().is_none() {
        return;
    }
    match withheld::plans_promotion(cib, seen.resource.as_str()) {
        Ok(is_planned) => seen.is_planned = Some(is_planned),
        Err(why) => seen.unread.push(why),
    }
}

fn own_name(view: &ClusterView) -> Result<NodeName, String> {
    let output = Command::new("crm_node")
        .arg("--name")
        .run(Deadline::after(PACEMAKER))
        .map_err(|error| format!("this node's name in the cluster is not known: {error}"))?;
    let name = NodeName::new(output.stdout_text().trim()).map_err(|e| e.to_string())?;
    if view.nodes.contains_key(&name) {
        Ok(name)
    } else {
        Err(format!("{name}, this node, is not in the CIB yet"))
    }
}

/// What the CIB has around the resource.
struct Around {
    beside: Vec<Beside>,
    locations: Vec<Location>,
    failures: Vec<FailedOperation>,
    tickets: Vec<(String, String)>,
    held_by: Vec<String>,
}

impl Around {
    fn read(cib: &str, resource: &Resource) -> Result<Self, CibError> {
        let clone = resource.clone.as_ref().map(|clone| clone.name.as_str());
        let names: Vec<&str> = clone.into_iter().chain([resource.name.as_str()]).collect();
        Ok(Self {
            beside: beside::beside(cib, &names)?,
            locations: constraints::locations(cib, &names)?,
            failures: failures::failed_operations(cib, &[&resource.name])?,
            tickets: withheld::tickets(cib, &names)?,
            held_by: withheld::by_others(cib, &names)?,
        })
    }
}

/// What the CIB says.
struct Picture<'a> {
    view: &'a ClusterView,
    resource: &'a Resource,
    around: &'a Around,
    params: Option<&'a Params>,
    me: Option<&'a NodeName>,
}

impl Picture<'_> {
    fn observed(&self) -> Observed {
        let Self {
            view,
            resource,
            params,
            ..
        } = self;
        let name = &resource.name;
        let is_on = |name: &str| view.property(name).and_then(parse_bool) == Some(true);
        let record = parsed(view.cluster_property(ClusterProperty::ReplInfo, name));
        let sync = parsed(view.cluster_property(ClusterProperty::Sync, name));
        let lock_name = params.and_then(|p| p.distlock_lockname.clone());
        Observed {
            resource: name.clone(),
            clone: resource
                .clone
                .as_ref()
                .map_or_else(|| name.to_string(), |clone| clone.name.clone()),
            promise: match params.map(|p| p.rep_mode) {
                Some(RepMode::Sync) => Some(Promise::Sync),
                Some(RepMode::Async) => Some(Promise::Async),
                Some(RepMode::None | RepMode::Slave) | None => None,
            },
            me: self.me.cloned(),
            quorum: view.quorum,
            no_quorum_policy: view.no_quorum_policy(),
            fencing: view.is_fencing_enabled(),
            votes: None,
            dc: view.dc.clone(),
            maintenance: is_on("maintenance-mode"),
            managed: resource.is_managed(),
            stops_all: is_on("stop-all-resources"),
            promotes_none: promotes_none(resource),
            tickets: self.around.tickets.clone(),
            held_by: self.around.held_by.clone(),
            is_planned: None,
            target_role: target_role(resource),
            nodes: view
                .nodes
                .values()
                .filter(|node| node.kind == NodeKind::Member)
                .map(|node| (node.name.clone(), self.node(node)))
                .collect(),
            record,
            sync,
            lock: match params {
                Some(p) if p.enable_distlock && p.distlock_conninfo.is_none() => {
                    LockSeen::ByCommand
                }
                Some(p) if p.enable_distlock => LockSeen::NotAsked {
                    name: lock_name.unwrap_or_else(|| name.to_string()),
                    why: "it was not asked".to_owned(),
                },
                Some(_) | None => LockSeen::Unused,
            },
            companions: self.companions(),
            companion_bans: self.companion_bans(),
            in_force: None,
            outside: Vec::new(),
            slots: None,
            hold: None,
            weak: Vec::new(),
            maxlag: params.and_then(|p| p.maxlag).map(std::num::NonZero::get),
            unread: Vec::new(),
        }
    }

    fn node(&self, node: &NodeView) -> NodeSeen {
        let resource = &self.resource.name;
        let is_on = |text: Option<&str>| text.and_then(parse_bool) == Some(true);
        let either =
            |name: &str| is_on(node.permanent.get(name)) || is_on(node.transient.get(name));
        let history = node.history.get(resource.as_str());
        let history = history.map(Vec::as_slice).unwrap_or_default();
        let transient = |attribute| node.transient(attribute, resource);
        let listed = self
            .params
            .map(|p| p.node_list.as_slice())
            .unwrap_or_default();
        let told = history.iter().filter(|op| op.code == TOLD_DEGRADED);
        let bans = self
            .view
            .bans_of(resource)
            .filter(|ban| ban.node == node.name);
        // Of a reload Pacemaker keeps a start, in the place of whatever was done last: a primary was not promoted then.
        let role = role(node, resource);
        let is_change = |kind: OperationKind| match role {
            RecordedRole::Promoted => kind == OperationKind::Promote,
            RecordedRole::Unpromoted | RecordedRole::Stopped | RecordedRole::Unknown => {
                kind != OperationKind::Monitor
            }
        };
        let changes = history
            .iter()
            .filter(|op| op.call_id.is_some() && is_change(op.kind) && op.last_change > 0);
        NodeSeen {
            presence: presence(node),
            standby: either("standby"),
            maintenance: either("maintenance"),
            is_replica: listed.is_empty()
                || listed
                    .iter()
                    .any(|n| n.eq_ignore_ascii_case(node.name.as_str())),
            role,
            is_unwatched: node
                .history
                .get(resource.as_str())
                .is_some_and(|history| lost_monitor(history).is_some()),
            role_since: changes.map(|op| op.last_change).max(),
            status: transient(TransientAttribute::Status).and_then(|text| text.parse().ok()),
            data: parsed(node.permanent(PermanentAttribute::DataStatus, resource)),
            score: node.promotion_score(resource).ok().flatten(),
            fail_count: fail_count(node, resource),
            threshold: threshold(self.resource),
            placements: self
                .around
                .locations
                .iter()
                .filter(|location| location.node == node.name)
                .filter(|location| location.score != Score::MINUS_INFINITY)
                .filter(|location| location.is_on)
                .map(placement)
                .chain(bans.map(ban))
                .collect(),
            unclear: self
                .view
                .unclear_bans_of(resource)
                .filter(|ban| ban.node == node.name)
                .map(|ban| ban.id.clone())
                .collect(),
            bar: (!self.view.has_place(resource, &node.name)).then_some(Bar::Nowhere),
            failures: self
                .around
                .failures
                .iter()
                .filter(|failure| failure.node == node.name)
                .filter(|failure| !failure.is_degraded() && !failure.is_finding)
                // The column of fail counts has it.
                .filter(|failure| !failure.is_count_alone)
                .map(failed_action)
                .collect(),
            repair: transient(TransientAttribute::Repair).map(str::to_owned),
            held: transient(TransientAttribute::Replay).map(str::to_owned),
            told: [TransientAttribute::Notice, TransientAttribute::DeepNotice]
                .into_iter()
                .filter_map(|attribute| transient(attribute).map(str::to_owned))
                .collect(),
            degraded: transient(TransientAttribute::Degraded)
                .map(|word| (word.to_owned(), told.map(|op| op.last_change).max())),
            report: report(node, resource),
            statement: None,
            distrusted: None,
            has_missed: None,
            is_complete: None,
            wal: Wal::default(),
            streams: None,
        }
    }

    fn companion_bans(&self) -> Vec<CompanionBan> {
        let beside = self.around.beside.iter();
        let with =
            beside.filter(|beside| beside.place == crate::decide::observed::Place::WithPrimary);
        let bans = with.flat_map(|beside| {
            let name = ResourceName::new(&beside.name);
            let bans = name.iter().flat_map(|name| self.view.bans_of(name));
            let ban = |ban: &Ban| CompanionBan {
                companion: beside.name.clone(),
                node: ban.node.clone(),
                id: ban.id.clone(),
            };
            bans.filter(|ban| !ban.is_of_promoted)
                .map(ban)
                .collect::<Vec<_>>()
        });
        bans.collect()
    }

    fn companions(&self) -> Vec<Companion> {
        let beside = self.around.beside.iter();
        beside
            .map(|beside| {
                let name = ResourceName::new(&beside.name);
                let active = name.iter().flat_map(|name| self.view.active_nodes(name));
                Companion {
                    name: beside.name.clone(),
                    kind: beside.kind.clone(),
                    address: beside.address.clone(),
                    place: beside.place,
                    nodes: active
                        .filter(|node| node.in_membership)
                        .map(|node| node.name.clone())
                        .collect(),
                }
            })
            .collect()
    }
}

/// The monitor's answer of a primary that serves and is less than it should be.
const TOLD_DEGRADED: i32 = 191;

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: Option<&str>) -> Recorded<T> {
    text.map(|text| text.parse().map_err(|error: T::Err| error.to_string()))
        .transpose()
}

fn presence(node: &NodeView) -> Presence {
    if node.is_online {
        Presence::Online
    } else if node.in_membership {
        Presence::Joining
    } else if node.is_cleanly_down {
        Presence::Offline
    } else {
        Presence::Lost
    }
}

/// The role on record; a primary that is being demoted or stopped is none any more. (The operation that is running has
/// taken the place of the one before in the record, and what an earlier monitor found may be left.)
fn role(node: &NodeView, resource: &ResourceName) -> RecordedRole {
    let history = node.history.get(resource.as_str());
    let is_leaving = history.into_iter().flatten().any(|operation| {
        let ends = matches!(operation.kind, OperationKind::Demote | OperationKind::Stop);
        ends && operation.call_id.is_none()
    });
    match node.role(resource) {
        RecordedRole::Promoted if is_leaving => RecordedRole::Unpromoted,
        role @ (RecordedRole::Promoted
        | RecordedRole::Unpromoted
        | RecordedRole::Stopped
        | RecordedRole::Unknown) => role,
    }
}

fn fail_count(node: &NodeView, resource: &ResourceName) -> FailCount {
    let count = failures::fail_count(node, resource).value();
    FailCount(u32::try_from(count).unwrap_or(0))
}

fn placement(location: &Location) -> Placement {
    Placement {
        id: location.id.clone(),
        node: location.node.clone(),
        score: location.score,
        promoted_only: location.is_of_promoted,
        until: location.until.clone(),
    }
}

fn ban(ban: &Ban) -> Placement {
    Placement {
        id: ban.id.clone(),
        node: ban.node.clone(),
        score: Score::MINUS_INFINITY,
        promoted_only: ban.is_of_promoted,
        until: ban.until.clone(),
    }
}

fn failed_action(failure: &FailedOperation) -> FailedAction {
    FailedAction {
        operation: failure.operation.clone(),
        code: failure.code.parse().unwrap_or(-1),
        timed_out: failure.timed_out,
        reason: failure.reason.clone(),
        at: failure.at,
    }
}

/// What says how many instances may be promoted, of old and new.
fn promotes_none(resource: &Resource) -> bool {
    let meta = resource.clone.as_ref().map(|clone| &clone.meta);
    let says = |name| meta?.get(name)?.parse::<u32>().ok();
    says("promoted-max").or_else(|| says("master-max")) == Some(0)
}

/// `None`: any number of failures.
fn threshold(resource: &Resource) -> Option<u32> {
    let text = resource.meta.get("migration-threshold")?;
    text.parse().ok().filter(|limit| *limit > 0)
}

fn target_role(resource: &Resource) -> TargetRole {
    let of_clone = resource.clone.as_ref().map(|clone| &clone.meta);
    let roles = [Some(&resource.meta), of_clone]
        .into_iter()
        .flatten()
        .filter_map(|meta| meta.get("target-role").map(String::as_str));
    roles
        .map(|role| match role.to_ascii_lowercase().as_str() {
            "stopped" => TargetRole::Stopped,
            "unpromoted" | "slave" => TargetRole::Unpromoted,
            _ => TargetRole::Any,
        })
        .min_by_key(|role| match role {
            TargetRole::Stopped => 0,
            TargetRole::Unpromoted => 1,
            TargetRole::Any => 2,
        })
        .unwrap_or_default()
}

fn report(node: &NodeView, resource: &ResourceName) -> Option<WalPosition> {
    let end = node.transient(TransientAttribute::XlogLoc, resource)?;
    let lineage = node.transient(TransientAttribute::Timeline, resource)?;
    Some(WalPosition {
        end: Lsn::from_attribute(end).ok()?,
        lineage: lineage.parse().ok()?,
    })
}

/// What the parameters have against each node's promotion.
fn by_lists(seen: &mut Observed, params: &Params) {
    let lists = Lists {
        nofailover: &params.nofailover_node_list,
        sync: &params.sync_node_list,
    };
    let claim = seen.claim().unwrap_or_default();
    let recorded = seen.record.clone().ok().flatten();
    for (name, node) in &mut seen.nodes {
        let standing = Standing {
            name: name.lower(),
            is_recorded: recorded.as_ref().is_some_and(|record| record.node == *name),
            is_claimed: claim.members.contains(name.lower()),
        };
        let by_lists = barred::by_lists(lists, standing);
        node.bar = by_lists.or(node.bar.take()).filter(|_| node.is_replica);
    }
}

/// Asks whoever else may know.
fn deepen(seen: &mut Observed, params: Option<&Params>) {
    match quorum::read(Deadline::after(COROSYNC)) {
        Ok(membership) => {
            seen.votes = Some(Votes {
                expected: membership.expected_votes,
                one_each: membership.one_vote_each,
                awaits_all: membership.awaits_all,
            });
        }
        Err(error) => seen.unread.push(error.to_string()),
    }
    let Some(params) = params else {
        return;
    };
    let params = &agent::settled(params, seen.resource.as_str());
    let primary = seen.primary().cloned();
    let is_replica = |me: &NodeName| seen.nodes.get(me).is_some_and(|node| node.is_replica);
    if let Some(me) = seen.me.clone().filter(is_replica) {
        let servers = servers::ask(params, &me, primary.as_ref());
        take(seen, params, &me, primary.as_ref(), servers);
    }
    for node in seen.nodes.values_mut() {
        // Without a primary: what the nodes themselves have reported.
        if let (None, Some(report)) = (node.wal.position, &node.report) {
            node.wal.timeline = Some(report.lineage.timeline);
            node.wal.position = Some(report.end);
        }
    }
    if primary.is_none() && seen.promise == Some(Promise::Sync) {
        statements(seen);
    }
    lock(seen, params);
}

/// What this node's server and the primary's have said.
fn take(
    seen: &mut Observed,
    params: &Params,
    me: &NodeName,
    primary: Option<&NodeName>,
    servers: Servers,
) {
    let Servers {
        own,
        replication,
        unread,
    } = servers;
    seen.unread.extend(unread);
    let end = replication.as_ref().and_then(|r| r.flushed);
    if let (Some(replication), Some(primary)) = (replication, primary) {
        // Else only its own position is known.
        if replication.sync_names.is_some() {
            for (name, node) in &mut seen.nodes {
                let is_it = |s: &&Follower| s.is_streaming && s.name == name.lower();
                node.streams = Some(replication.standbys.iter().any(|s| is_it(&s)));
            }
        }
        seen.in_force = replication.sync_names;
        if let Some(node) = seen.nodes.get_mut(primary) {
            node.wal.timeline = replication.timeline;
            node.wal.position = replication.flushed;
        }
        seen.slots = replication.slots;
        for standby in replication.standbys {
            let named = seen.node_named(&standby.name).cloned();
            if let Some(node) = named.and_then(|name| seen.nodes.get_mut(&name)) {
                node.wal = Wal {
                    // It streams from there, so that is where it is.
                    timeline: replication.timeline,
                    position: standby.flushed,
                    lag: standby.lag.bytes,
                    delay: standby.lag.delay,
                    replay: standby.replay,
                };
            } else {
                seen.outside.push(Outside {
                    name: standby.name,
                    is_streaming: standby.is_streaming,
                    position: standby.flushed,
                    lag: standby.lag,
                    replay: standby.replay,
                    slot: standby.slot,
                });
            }
        }
    }
    let Some(own) = own else {
        return;
    };
    let lineage = wal::lineage(&params.pgdata, own.timeline).ok();
    let (record, sync) = (seen.record.clone(), seen.sync.clone());
    let is_primary = primary == Some(me);
    let note = agent::memory(&params.tmpdir);
    let is_inside = distrust::is_inside(Place {
        is_quorate: seen.quorum == Quorum::Yes,
        quorum_decides: seen.no_quorum_policy != NoQuorumPolicy::Ignore,
        has_row: params.enable_distlock && params.distlock_conninfo.is_some(),
        nodes: seen.nodes.len(),
    });
    let Some(node) = seen.nodes.get_mut(me) else {
        return;
    };
    if !is_primary {
        node.wal.timeline = Some(own.timeline);
        if own.end.is_some() {
            node.wal.position = own.end;
        }
        node.wal.lag = match (end, own.end) {
            (Some(end), Some(own)) => Some(end.bytes_past(own).unwrap_or(0)),
            _ => node.wal.lag,
        };
        if let (Some(end), Some(replayed)) = (end, own.replayed) {
            node.wal.replay.bytes = Some(end.bytes_past(replayed).unwrap_or(0));
        }
    }
    if let (Ok(Some(record)), Ok(sync), Some(lineage)) = (&record, &sync, &lineage)
        && record.node == *me
    {
        node.is_complete = Some(is_primary || is_complete(record, lineage, sync.as_ref()));
    }
    match note {
        Ok(memory) => {
            let memory = memory.unwrap_or_default();
            node.has_missed = Some(memory.has_missed);
            if let Ok(sync) = &sync {
                let note = distrust::note(is_inside, memory.distrust, sync.as_ref());
                node.distrusted = Some(distrust::is_distrusted(note, sync.as_ref()));
            }
            seen.hold = memory.hold;
            if is_primary {
                seen.weak = memory.weak;
            }
        }
        Err(error) => seen.unread.push(format!(
            "the agent's notes in {}: {error}",
            params.tmpdir.display()
        )),
    }
}

/// What standbys have stated for a promotion (R8).
fn statements(seen: &mut Observed) {
    let name = format!("{}-statement", seen.resource);
    let said = match attributes::read_all(&name, Deadline::after(PACEMAKER)) {
        Ok(said) => said,
        Err(error) => {
            seen.unread.push(format!("statements: {error}"));
            return;
        }
    };
    let record = seen.record.as_ref().ok().and_then(Option::as_ref);
    let epoch = record.and_then(|r| r.epoch).unwrap_or_default();
    for (node, text) in said {
        let Some(node) = seen.nodes.get_mut(&node).filter(|node| node.is_member()) else {
            continue;
        };
        match Said::parse(&text) {
            Ok(said) if said.of == epoch => node.statement = Some(said.statement),
            // Of an earlier promotion, or taken back.
            Ok(_) => {}
            Err(_) if text.is_empty() => {}
            Err(why) => seen.unread.push(format!("a statement: {why}")),
        }
    }
}

fn lock(seen: &mut Observed, params: &Params) {
    let LockSeen::NotAsked { name, .. } = seen.lock.clone() else {
        return;
    };
    let Some(conninfo) = &params.distlock_conninfo else {
        return;
    };
    let row = Service::new(conninfo, &name, params.passfile.as_deref())
        .and_then(|service| service.read(Deadline::after(LOCK)));
    let deadcheck = params.distlock_lockservice_deadcheck_nodelist.clone();
    seen.lock = lock_seen(name, row, deadcheck, nix::unistd::geteuid().is_root());
    if let LockSeen::NotAsked { name, why } = &seen.lock {
        seen.unread.push(format!("the lock {name}: {why}"));
    }
}

/// What an answer of the lock service, or none, says. The password and the certificates that the agent uses are root's: whoever has no
/// access without them has learnt nothing about the lock.
fn lock_seen(
    name: String,
    row: Result<Option<LockRow>, LockError>,
    deadcheck: Vec<String>,
    is_root: bool,
) -> LockSeen {
    match row {
        Ok(Some(row)) => LockSeen::Row { name, row },
        Ok(None) => LockSeen::Unusable {
            why: LockError::RowMissing(name.clone()).to_string(),
            name,
        },
        Err(
            LockError::Authentication(why)
            | LockError::Passfile(why)
            | LockError::Certificate(why)
            | LockError::BadConninfo(why),
        ) if !is_root => LockSeen::NotAsked {
            name,
            why: format!("root may ask for it, and this is not root ({why})"),
        },
        Err(error) if error.is_unreachable() => LockSeen::Silent {
            name,
            why: error.to_string(),
            deadcheck,
        },
        Err(error) => LockSeen::Unusable {
            name,
            why: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::condition::{Health, judge};
    use crate::decide::observed::Place;

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
    const DIVERGED: &str =
        include_str!("../../../tests/fixtures/cib/three-nodes-diverged-2.1.5.xml");

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    /// What is seen of a CIB from node2.
    fn seen(cib: &str) -> Observed {
        let view = cib::parse(cib).unwrap();
        let resource = resources::of_agent(cib, resource::AGENT).unwrap().remove(0);
        let around = Around::read(cib, &resource).unwrap();
        let me = name("node2");
        let (_, params, problem) = resource::readable(&resource, &me, &view).unwrap();
        assert_eq!(problem, None);
        Picture {
            view: &view,
            resource: &resource,
            around: &around,
            params: Some(&params),
            me: Some(&me),
        }
        .observed()
    }

    /// With `element` added where location constraints are.
    fn constrained(element: &str) -> Observed {
        assert!(THREE.contains("</constraints>"));
        seen(&THREE.replace("</constraints>", &format!("{element}</constraints>")))
    }

    #[test]
    fn a_healthy_cib_is_read_as_one() {
        let seen = seen(THREE);
        assert_eq!(seen.primary(), Some(&name("node1")));
        let explanation = explain(&seen);
        assert_eq!(
            explanation.answer,
            "node1 is the primary. If it fails now, node3 takes over."
        );
        let condition = judge(&seen, &explanation);
        assert_eq!(condition.health, Health::Healthy, "{condition:#?}");
        let vip = &seen.companions[0];
        assert_eq!(
            (vip.name.as_str(), vip.place),
            ("vip-master", Place::WithPrimary)
        );
        assert_eq!(vip.address.as_deref(), Some("10.77.0.100"));
        assert_eq!(vip.nodes, [name("node1")].into());
        let reader = &seen.companions[1];
        assert_eq!(
            (reader.name.as_str(), reader.place),
            ("vip-slave", Place::WithStandby)
        );
        assert_eq!(reader.nodes, [name("node3")].into());
        assert_eq!(seen.nodes[&name("node1")].role_since, Some(1_795_272_432));
        assert_eq!(seen.nodes[&name("node1")].threshold, Some(3));
    }

    /// As Pacemaker 2.1 keeps a change of node_list.
    #[test]
    fn a_primary_that_was_told_new_parameters_was_not_promoted_then() {
        let promoted = r#"operation_key="pgsql_promote_0" operation="promote""#;
        let reloaded = r#"operation_key="pgsql_start_0" operation="start""#;
        assert!(THREE.contains(promoted));
        let seen = seen(&THREE.replace(promoted, reloaded));
        assert_eq!(seen.primary(), Some(&name("node1")));
        assert_eq!(seen.nodes[&name("node1")].role_since, None);
    }

    #[test]
    fn who_may_not_ask_the_lock_has_found_nothing_wrong_with_it() {
        let said = || "password missing".to_owned();
        let word = |error: LockError, is_root| {
            let seen = lock_seen("lab".to_owned(), Err(error), Vec::new(), is_root);
            match seen {
                LockSeen::NotAsked { why, .. } => {
                    assert!(why.contains("password missing"), "{why}");
                    "not asked"
                }
                LockSeen::Unusable { .. } => "unusable",
                LockSeen::Silent { .. } => "silent",
                LockSeen::Row { .. } | LockSeen::Unused | LockSeen::ByCommand => "-",
            }
        };
        for (error, by_root, by_others) in [
            (LockError::Authentication(said()), "unusable", "not asked"),
            (LockError::Passfile(said()), "unusable", "not asked"),
            (LockError::Certificate(said()), "unusable", "not asked"),
            (LockError::BadConninfo(said()), "unusable", "not asked"),
            (LockError::Unreachable(said()), "silent", "silent"),
            (LockError::TableMissing(said()), "unusable", "unusable"),
            (LockError::Failed(said()), "unusable", "unusable"),
        ] {
            assert_eq!(word(error.clone(), true), by_root, "{error:?}");
            assert_eq!(word(error.clone(), false), by_others, "{error:?}");
        }
        // It is no reason to call the cluster degraded.
        let mut seen = seen(THREE);
        seen.lock = lock_seen(
            "lab".to_owned(),
            Err(LockError::Authentication(said())),
            Vec::new(),
            false,
        );
        assert_eq!(judge(&seen, &explain(&seen)).health, Health::Healthy);
    }

    #[test]
    fn a_refused_start_is_seen_with_its_reason() {
        let seen = seen(DIVERGED);
        let node = &seen.nodes[&name("node3")];
        assert_eq!(node.fail_count, FailCount::NEVER_AGAIN);
        let [failure] = &node.failures[..] else {
            panic!("{:?}", node.failures)
        };
        assert_eq!((failure.operation.as_str(), failure.code), ("start", 1));
        assert!(
            failure
                .reason
                .as_deref()
                .unwrap()
                .contains("cluster rewind")
        );
        let condition = judge(&seen, &explain(&seen));
        assert_eq!(condition.health, Health::Degraded);
        let worst = &condition.findings[0];
        assert_eq!((worst.code, worst.since), ("start-failed", failure.at));
        assert!(worst.fix.as_deref().unwrap().starts_with("on node3: "));
    }

    #[test]
    fn bans_are_read_in_each_of_their_forms() {
        let plain = r#"<rsc_location id="cli-ban-msPostgresql-on-node3" rsc="msPostgresql" role="Promoted" node="node3" score="-INFINITY"/>"#;
        let limited = |end: &str| {
            format!(
                r##"<rsc_location id="cli-ban-msPostgresql-on-node3" rsc="msPostgresql" role="Promoted"><rule id="r" score="-INFINITY" boolean-op="and"><expression id="e" attribute="#uname" operation="eq" value="node3" type="string"/><date_expression id="d" operation="lt" end="{end}"/></rule></rsc_location>"##
            )
        };
        let other = r#"<rsc_location id="x" rsc="vip-slave" node="node3" score="-INFINITY"/>"#;
        let by_attribute = |value: &str| {
            format!(
                r#"<rsc_location id="cli-x" rsc="msPostgresql"><rule id="r" role="Promoted" score="-INFINITY"><expression id="e" attribute="pgsql-status" operation="eq" value="{value}"/></rule></rsc_location>"#
            )
        };
        for (element, expected) in [
            (by_attribute("HS:sync"), true),
            (by_attribute("nowhere"), false),
            (plain.to_owned(), true),
            (limited("2999-01-01 00:00:00Z"), true),
            (limited("2020-01-01 00:00:00Z"), false),
            (other.to_owned(), false),
        ] {
            let seen = constrained(&element);
            let placements = &seen.nodes[&name("node3")].placements;
            let is_banned = placements.iter().any(|p| p.is_ban() && p.is_by_command());
            assert_eq!(is_banned, expected, "{element}");
            assert_eq!(explain(&seen).candidates().count(), usize::from(!expected));
        }
    }

    #[test]
    fn what_an_operator_wants_is_read_from_resource_and_clone() {
        for (from, to, check) in [
            (
                "name=\"notify\" value=\"true\"",
                "name=\"target-role\" value=\"Stopped\"",
                (|seen: &Observed| seen.target_role == TargetRole::Stopped)
                    as fn(&Observed) -> bool,
            ),
            (
                "name=\"notify\" value=\"true\"",
                "name=\"target-role\" value=\"Slave\"",
                |seen| seen.target_role == TargetRole::Unpromoted,
            ),
            (
                "name=\"notify\" value=\"true\"",
                "name=\"is-managed\" value=\"false\"",
                |seen| !seen.managed,
            ),
            (
                "name=\"dc-deadtime\" value=\"2s\"",
                "name=\"maintenance-mode\" value=\"true\"",
                |seen| seen.maintenance,
            ),
            (
                "name=\"pgsql-data-status\" value=\"LATEST\"",
                "name=\"standby\" value=\"on\"",
                |seen| seen.nodes[&name("node1")].standby,
            ),
            ("have-quorum=\"1\"", "have-quorum=\"0\"", |seen| {
                seen.quorum == Quorum::No
            }),
            ("1|2|node1|FIRST|1|node3|node3", "nonsense", |seen| {
                seen.sync.is_err()
            }),
        ] {
            assert!(THREE.contains(from), "{from}");
            assert!(!check(&seen(THREE)), "{to}");
            assert!(check(&seen(&THREE.replace(from, to))), "{to}");
        }
    }
}
