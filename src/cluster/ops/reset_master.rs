//! `cluster reset-master`: the recorded primary is given up, and another node is promoted.
//!
//! The new record names the node under the next epoch, and says nothing about timelines: so the node may be promoted, on a
//! timeline of its own, every standby follows it although it has stopped receiving ahead of an earlier promotion, and an
//! old primary that comes back is told by the epoch that it is none any more. It is one change of the CIB, made only if the CIB is
//! still what the operator was shown.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::cluster::{Exit, Failure, ask, node, resource};
use crate::decide::barred::Bar;
use crate::decide::reset::{self as decide, Known, Plan, Stand};
use crate::distlock::Service;
use crate::model::cluster_view::{
    ClusterProperty, NodeView, PermanentAttribute, TransientAttribute,
};
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::status::DataStatus;
use crate::model::sync_record::SyncRecord;
use crate::pacemaker::attributes;
use crate::pacemaker::change_set::{ChangeSet, Condition, Weight};
use crate::pacemaker::cib::Cib;
use crate::params::{Params, RepMode};
use crate::sys::Deadline;
use crate::timing;

use super::args::ResetArgs;
use super::scene::{Scene, node_named};
use super::start::all_follow;
use super::tools::{self, Meta};
use super::wait::{Look, Watch};

/// Makes a node the primary where there is none.
///
/// # Errors
/// [`Failure`] with what was done, and what was not.
pub(super) fn reset_master(args: &ResetArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.which.resource.as_deref())?;
    let wanted = match &args.node {
        Some(name) => Some(node_named(&scene.view, name)?.name.clone()),
        None => None,
    };
    scene.require_managed()?;
    let me = node::own_name()?;
    let (_, params) = resource::call(&scene.resource, &me, &scene.view)?;
    match params.rep_mode {
        RepMode::Async | RepMode::Sync => {}
        RepMode::None | RepMode::Slave => {
            return Err(Failure::plain(format!(
                "nothing was done: resource {} has rep_mode={}: it has no primary",
                scene.name(),
                params.rep_mode
            )));
        }
    }
    let facts = facts(&scene, wanted, args.force)?;
    let plan = decide::reset(&facts).map_err(refused)?;
    if params
        .nofailover_node_list
        .iter()
        .any(|name| name == plan.node.lower())
    {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "nothing was done: {}: {}; first {}",
                plan.node,
                Bar::NoFailover,
                Bar::NoFailover.fix(scene.handle())
            ),
        ));
    }
    scene.require_managed_at(|node| node.name == plan.node)?;
    let barred = barred_by_lock(&scene, &params, &plan.node)?;
    let _ = io::stdout().write_all(in_words(&scene, &facts, &plan)?.as_bytes());
    if !args.yes {
        ask::agree()?;
    }
    let mut watch = Watch::begin()?;
    let Plan { node, .. } = &plan;
    watch.doing(&format!("recording {node} as the primary"));
    // The row first: without the record it allows nobody anything.
    if let Some(barred) = barred {
        barred.lift()?;
    }
    record(&scene, node)?;
    let done = format!(
        "{node} is recorded as the primary, and Pacemaker promotes it as soon as it can; the same command again records another"
    );
    for name in scene.names() {
        tools::delete_meta(name, Meta::TargetRole)?;
    }
    let (handle, limit) = (scene.handle().to_owned(), args.timeout);
    tools::cleanup(&handle)
        .map_err(|failure| Failure::new(failure.exit, format!("{}; {done}", failure.why)))?;
    watch
        .until(&mut scene, limit, |scene| promotion(scene, node))
        .map_err(|ended| ended.after(&done))?;
    watch.say(&format!("{node} is the primary"));
    // Those that have more than it, or are away, don't: they are left to expgsql cluster repair.
    if let Err(ended) = all_follow(&mut watch, &mut scene, node, limit) {
        watch.say(
            &ended
                .after("the others are another matter: expgsql cluster status")
                .why,
        );
    }
    Ok(())
}

fn refused(refusal: decide::Refusal) -> Failure {
    let exit = match &refusal {
        decide::Refusal::HasPrimary(_) => Exit::NoPrimary,
        decide::Refusal::NotAReplica(_)
        | decide::Refusal::Away(_)
        | decide::Refusal::Unknown(_)
        | decide::Refusal::Behind { .. }
        | decide::Refusal::Silent(_)
        | decide::Refusal::NobodyReported
        | decide::Refusal::Unrankable(..) => Exit::Refused,
    };
    Failure::new(exit, format!("nothing was done: {refusal}"))
}

fn facts(scene: &Scene, wanted: Option<NodeName>, force: bool) -> Result<decide::Facts, Failure> {
    let known = |node: &NodeView| -> Result<Known, Failure> {
        if !node.is_online {
            return Ok(Known::Away);
        }
        let position = node
            .reported_position(scene.name())
            .map_err(Failure::plain)?;
        Ok(position.map_or(Known::Silent, Known::At))
    };
    let nodes = scene.replicas().into_iter();
    Ok(decide::Facts {
        primaries: scene.primaries(),
        wanted,
        force,
        // One that can't be read is replaced like any other.
        recorded: scene.record().ok().flatten().map(|record| record.node),
        nodes: nodes
            .map(|node| Ok((node.name.clone(), known(node)?)))
            .collect::<Result<_, Failure>>()?,
    })
}

/// The plan, for the operator to agree to.
fn in_words(scene: &Scene, facts: &decide::Facts, plan: &Plan) -> Result<String, Failure> {
    let chosen = &plan.node;
    let mut text = format!("Make {chosen} the primary of {}\n", scene.handle());
    let mut line = |label: &str, what: String| {
        let _infallible = writeln!(text, "  {label:<14} {what}");
    };
    for (name, known) in &facts.nodes {
        let mut words = vec![match known {
            Known::Away => "not in the cluster: what it has is not known".to_owned(),
            Known::Silent => "has not said how far its WAL reaches".to_owned(),
            Known::At(position) => format!("WAL up to {position}"),
        }];
        match plan.stands.get(name) {
            Some(Stand::More { bytes: Some(bytes) }) => words.push(format!(
                "{bytes} bytes more than {chosen}: they are given up"
            )),
            Some(Stand::More { bytes: None }) => {
                words.push(format!("a later timeline than {chosen}'s: it is given up"));
            }
            Some(Stand::Diverged) => words.push(format!(
                "it has commits that {chosen} has not: they are given up"
            )),
            Some(Stand::Chosen | Stand::Contained | Stand::Unknown) | None => {}
        }
        let view = scene.view.node(name);
        let status = view.and_then(|node| scene.data_status(node));
        words.extend(status.map(|status| status.to_string()));
        if facts.recorded.as_ref() == Some(name) {
            words.push("the recorded primary".to_owned());
        }
        line(name.as_str(), words.join("; "));
    }
    let away: Vec<&str> = facts
        .nodes
        .iter()
        .filter(|(name, known)| !matches!(known, Known::At(_)) && *name != chosen)
        .map(|(name, _)| name.as_str())
        .collect();
    line(
        "lost",
        match &away[..] {
            [] => format!("what {chosen} does not have"),
            [_, ..] => format!(
                "what only {} has, acknowledged commits among it",
                away.join(" or ")
            ),
        },
    );
    line(
        "recorded",
        match &facts.recorded {
            Some(old) if old != chosen => format!("{chosen} in place of {old}"),
            Some(_) | None => chosen.to_string(),
        },
    );
    Ok(text)
}

/// Writes the new record, if everything is still as it was shown.
fn record(scene: &Scene, chosen: &NodeName) -> Result<(), Failure> {
    let (view, name) = (&scene.view, scene.name());
    let property = |which: ClusterProperty| {
        let name = which.name(name);
        let is = view.properties.pair(&name).map(|pair| pair.value.clone());
        (name, is)
    };
    let (repl_info, old) = property(ClusterProperty::ReplInfo);
    let (sync, contract) = property(ClusterProperty::Sync);
    // A record that can't be read is what may have to be reset.
    let of_record = old
        .as_deref()
        .and_then(|text| text.parse::<ReplInfo>().ok());
    let of_contract = contract
        .as_deref()
        .and_then(|text| text.parse::<SyncRecord>().ok());
    let epoch = of_record
        .and_then(|record| record.epoch)
        .max(of_contract.map(|contract| contract.epoch))
        .unwrap_or_default()
        + 1;
    let record = ReplInfo {
        node: chosen.clone(),
        origin: Origin::Unstated,
        epoch: Some(epoch),
    };
    let mut change = ChangeSet::default()
        .property(&repl_info, Some(&record.to_string()))
        .only_if(Condition::Property {
            name: repl_info,
            is: old,
        })
        .only_if(Condition::Property {
            name: sync,
            is: contract,
        });
    let attribute = PermanentAttribute::DataStatus.name(name);
    for node in scene.replicas() {
        let status = if node.name == *chosen {
            DataStatus::Latest
        } else {
            DataStatus::Disconnected
        };
        let is = node
            .permanent
            .pair(&attribute)
            .map(|pair| pair.value.clone());
        change = change
            .permanent(&node.name, &attribute, Some(&status.to_string()))
            .only_if(Condition::Permanent {
                node: node.name.clone(),
                name: attribute.clone(),
                is,
            });
    }
    // Before the record, without which it says nothing: a node that waits for others is told that they are given up (R9 for one that arrives).
    let named = TransientAttribute::Named.name(name);
    let deadline = Deadline::after(timing::CHANGE);
    attributes::write_transient(view, chosen, &named, Some(&epoch.to_string()), deadline)
        .map_err(Failure::plain)?;
    // R5: what comes back must not bring the old record along.
    if view.is_quorate() {
        change = change.raise_admin_epoch(Weight::Promotion);
    }
    change
        .apply(&Cib::live(), view, Deadline::after(timing::CHANGE))
        .map(drop)
        .map_err(|error| Failure::plain(format!("not recorded: {error}")))
}

/// The lock's row does not let the node be promoted.
struct Barred {
    service: Service,
    owner: String,
    epoch: u64,
}

/// Whether the lock's row bars the node; a lock that somebody holds means that somebody serves.
fn barred_by_lock(
    scene: &Scene,
    params: &Params,
    chosen: &NodeName,
) -> Result<Option<Barred>, Failure> {
    let Some(conninfo) = params
        .distlock_conninfo
        .as_ref()
        .filter(|_| params.enable_distlock)
    else {
        return Ok(None);
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::plain(format!(
            "nothing was done: the lock service says who may be promoted, and can't be asked: {error}"
        ))
    };
    let name = params
        .distlock_lockname
        .as_deref()
        .unwrap_or(scene.name().as_str());
    let service =
        Service::new(conninfo, name, params.passfile.as_deref()).map_err(|error| failed(&error))?;
    let row = service
        .read(Deadline::after(timing::LOCK_REQUEST))
        .map_err(|error| failed(&error))?
        .ok_or_else(|| {
            failed(&format!(
                "it has no row {name}; expgsql distlock init makes one"
            ))
        })?;
    let own = format!("{}_{}", scene.name(), chosen.lower());
    if !row.is_free() && row.owner != own && !row.remaining.is_zero() {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "nothing was done: the lock is {row}, so a primary may serve out of this node's sight: wait until it has ended"
            ),
        ));
    }
    let is_open = row.is_open_to(&own, chosen.lower(), params.rep_mode == RepMode::Sync);
    Ok((!is_open).then_some(Barred {
        service,
        owner: row.owner,
        epoch: row.epoch,
    }))
}

impl Barred {
    /// Lets every node take the lock that the CIB lets be promoted, if nobody took it meanwhile.
    fn lift(&self) -> Result<(), Failure> {
        let limit = Deadline::after(timing::LOCK_REQUEST);
        match self.service.forget_eligible(&self.owner, self.epoch, limit) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::plain(
                "nothing was done: the lock was taken meanwhile, so somebody is being promoted",
            )),
            Err(error) => Err(Failure::plain(format!(
                "nothing was recorded: the lock's row could not be changed: {error}"
            ))),
        }
    }
}

fn promotion(scene: &Scene, node: &NodeName) -> Look<()> {
    match scene.settled_primary() {
        Some(primary) if primary == *node => match scene.missing_beside(node) {
            None => Look::Done(()),
            Some(missing) => Look::NotYet(missing),
        },
        Some(primary) => Look::Never(Failure::plain(format!("{primary} is the primary"))),
        None => {
            let failures = scene.failures().unwrap_or_default();
            let last = failures.iter().find(|failure| failure.node == *node);
            let last = last.map_or_else(String::new, |failure| format!(" ({failure})"));
            Look::NotYet(format!("{node} is not the primary yet{last}"))
        }
    }
}
