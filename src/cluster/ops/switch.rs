//! `cluster switch`: another node becomes the primary, and no acknowledged commit is lost.
//!
//! Two things are set in the cluster and cleared again, whatever happens: a request to the primary that commits wait for the
//! next one, too (`RSC-wanted`), and a constraint that makes Pacemaker prefer it. Both lapse by themselves where this
//! program is killed.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use crate::cluster::{Exit, Failure, ask};
use crate::cluster::{node, resource};
use crate::decide::barred::{self, Bar, Lists, Standing};
use crate::decide::eligibility::{self, Promise};
use crate::decide::switch::{self as decide, Plan, Service, Standby};
use crate::model::claim::Claim;
use crate::model::cluster_view::{
    ClusterProperty, NodeView, RecordedRole, Score, TransientAttribute,
};
use crate::model::node_name::NodeName;
use crate::pacemaker::attributes;
use crate::pacemaker::constraints::Location;
use crate::pacemaker::failures::{FailedOperation, fail_count, new_failure};
use crate::params::{Params, RepMode};
use crate::sys::Deadline;
use crate::timing;

use super::args::SwitchArgs;
use super::scene::{Scene, is_in_mode, node_named};
use super::start::{all_follow, primary_serves};
use super::tools::{self, NodeMode};
use super::wait::{Ended, Look, Watch};

/// Makes another node the primary.
///
/// # Errors
/// [`Failure`] with what was done, and what was not.
pub(super) fn switch(args: &SwitchArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.which.resource.as_deref())?;
    let wanted = match &args.node {
        Some(name) => Some(node_named(&scene.view, name)?.name.clone()),
        None => None,
    };
    scene.require_managed()?;
    let params = replicating(&scene)?;
    if scene.locations()?.iter().any(|location| location.ends) {
        tools::clear_expired(scene.handle())?;
        scene.refresh()?;
    }
    let plan = decide::switch(&facts(&scene, &params, wanted)?).map_err(|refusal| {
        let exit = if refusal.is_about_the_dead() {
            Exit::NoPrimary
        } else {
            Exit::Refused
        };
        Failure::new(exit, format!("nothing was done: {refusal}"))
    })?;
    refuse_if_pinned(&scene, &plan)?;
    let _ = io::stdout().write_all(in_words(&scene, &plan, promise(&params)).as_bytes());
    if !args.yes {
        ask::agree()?;
    }
    let mut watch = Watch::begin()?;
    let mut tracks = Tracks::default();
    let moved = move_primary(
        &mut watch,
        &mut scene,
        &plan,
        &params,
        args.timeout,
        &mut tracks,
    );
    let cleared = tracks.clear(&scene, &plan);
    let followed = match moved {
        Ok(()) => {
            let to = &plan.to;
            all_follow(&mut watch, &mut scene, to, args.timeout)
                .map_err(|ended| ended.after(&format!("{to} is the primary and serves")))
        }
        Err(failure) if tracks.preferred => {
            Err(with_stand(&mut watch, &mut scene, failure, args.timeout))
        }
        Err(failure) => Err(failure),
    };
    match (followed, cleared) {
        (result, Ok(())) => result,
        (Ok(()), Err(left)) => Err(left),
        (Err(failure), Err(left)) => Err(Failure::new(
            failure.exit,
            format!("{}; {}", failure.why, left.why),
        )),
    }
}

/// A switchover that did not come about, and who is the primary now that nobody is preferred.
fn with_stand(watch: &mut Watch, scene: &mut Scene, failure: Failure, limit: Duration) -> Failure {
    let stand = match watch.until(scene, limit, primary_serves) {
        Ok(primary) => format!("{primary} is the primary"),
        Err(_) => "no node is the primary yet: expgsql cluster why says what keeps each from it"
            .to_owned(),
    };
    Failure::new(failure.exit, format!("{}; {stand}", failure.why))
}

/// The parameters of a cluster that has a primary. Those that the agent refuses are refused here, too.
fn replicating(scene: &Scene) -> Result<Params, Failure> {
    let me = node::own_name()?;
    let (_, params) = resource::call(&scene.resource, &me, &scene.view)?;
    match params.rep_mode {
        RepMode::Sync | RepMode::Async => Ok(params),
        RepMode::None | RepMode::Slave => Err(Failure::plain(format!(
            "nothing was done: resource {} has rep_mode={}: it has no primary that could move",
            scene.name(),
            params.rep_mode
        ))),
    }
}

/// What a commit means in this cluster.
fn promise(params: &Params) -> Promise {
    match params.rep_mode {
        RepMode::Sync => Promise::Sync,
        RepMode::Async | RepMode::None | RepMode::Slave => Promise::Async,
    }
}

fn facts(
    scene: &Scene,
    params: &Params,
    wanted: Option<NodeName>,
) -> Result<decide::Facts, Failure> {
    let claim = claim(scene)?;
    let nodes = scene.replicas().into_iter();
    Ok(decide::Facts {
        primaries: scene.primaries(),
        wanted,
        promise: promise(params),
        nodes: nodes
            .map(|node| (node.name.clone(), standby(scene, node, &claim, params)))
            .collect(),
    })
}

fn standby(scene: &Scene, node: &NodeView, claim: &Claim, params: &Params) -> Standby {
    let name = scene.name();
    let lists = Lists {
        nofailover: &params.nofailover_node_list,
        sync: &params.sync_node_list,
    };
    let by_lists = barred::by_lists(
        lists,
        Standing {
            name: node.name.lower(),
            is_recorded: false,
            is_claimed: claim.members.contains(node.name.lower()),
        },
    );
    let ban = scene.view.ban(name, &node.name).map(Bar::from);
    let has_place = scene.view.has_place(name, &node.name);
    let ban = ban.or_else(|| (!has_place).then_some(Bar::Nowhere));
    let threshold = scene.resource.meta.get("migration-threshold");
    let threshold: Score = threshold
        .and_then(|text| text.parse().ok())
        .filter(|score: &Score| *score > Score::new(0))
        .unwrap_or(Score::INFINITY);
    Standby {
        is_online: node.is_online,
        service: if is_in_mode(node, NodeMode::Standby) {
            Service::Standby
        } else if is_in_mode(node, NodeMode::Maintenance) {
            Service::Maintenance
        } else {
            Service::Full
        },
        is_running: match node.role(name) {
            RecordedRole::Unpromoted | RecordedRole::Promoted => true,
            RecordedRole::Stopped | RecordedRole::Unknown => false,
        },
        data_status: scene.data_status(node),
        is_claimed: claim.members.contains(node.name.lower()),
        may_be_chosen: may_be_chosen(scene, node),
        is_worn_out: fail_count(node, name) >= threshold,
        kept_away_by: by_lists.or(ban),
    }
}

fn may_be_chosen(scene: &Scene, node: &NodeView) -> bool {
    let score = node.promotion_score(scene.name()).ok().flatten();
    score.is_some_and(|score| score > Score::new(0))
}

/// Who is recorded as having every acknowledged commit.
fn claim(scene: &Scene) -> Result<Claim, Failure> {
    let sync = scene
        .view
        .cluster_property(ClusterProperty::Sync, scene.name());
    let sync = sync
        .map(|text| text.parse().map_err(Failure::plain))
        .transpose()?;
    let statuses = scene.replicas().into_iter().filter_map(|node| {
        let status = scene.data_status(node)?;
        Some((node.name.lower().to_owned(), status))
    });
    Ok(eligibility::claim(
        scene.record()?.as_ref(),
        sync.as_ref(),
        &statuses.collect(),
    ))
}

/// Somebody holds the primary where it is, or wants it elsewhere. Where that ends by itself it is an earlier switchover's, and
/// this one takes its place.
fn refuse_if_pinned(scene: &Scene, plan: &Plan) -> Result<(), Failure> {
    let locations = scene.locations()?;
    let pins = |location: &&Location| {
        location.score == Score::INFINITY
            && location.node != plan.to
            && location.is_of_promoted
            && !location.ends
    };
    match locations.iter().find(pins) {
        None => Ok(()),
        Some(pin) => Err(Failure::new(
            Exit::Refused,
            format!(
                "nothing was done: the constraint {} holds the primary on {}: remove that first (crm_resource --clear --resource={}, or cibadmin --delete)",
                pin.id,
                pin.node,
                scene.handle()
            ),
        )),
    }
}

/// The plan, for the operator to agree to.
fn in_words(scene: &Scene, plan: &Plan, promise: Promise) -> String {
    // With quorum commit somebody among several has everything, and which one is known when they compare.
    let among = claim(scene).is_ok_and(|claim| !claim.is_of_each());
    let Plan { from, to, is_ready } = plan;
    let mut text = format!("Switch {} from {from} to {to}\n", scene.handle());
    let mut line = |label: &str, what: &str| {
        let _infallible = writeln!(text, "  {label:<14} {what}");
    };
    line(
        "first",
        match (promise, is_ready) {
            (Promise::Sync, true) if among => {
                "nothing: it streams, and gets what it lacks when the primary shuts down"
            }
            (Promise::Sync, true) => "nothing: it has every acknowledged commit",
            (Promise::Sync, false) => {
                "commits wait for it, too, until it has every acknowledged commit"
            }
            (Promise::Async, _) => {
                "nothing: it streams, and gets the rest when the primary shuts down"
            }
        },
    );
    let moved: Vec<&str> = scene
        .followers
        .iter()
        .map(|follower| follower.name.as_str())
        .collect();
    line(
        "then",
        &format!("{from} becomes a standby, and {to} the primary"),
    );
    if !moved.is_empty() {
        line("moves along", &moved.join(", "));
    }
    line("clients", "writes pause for a moment, connections break");
    text
}

/// What has been set in the cluster and is to be cleared.
#[derive(Debug, Default)]
struct Tracks {
    requested: bool,
    preferred: bool,
}

impl Tracks {
    fn clear(&self, scene: &Scene, plan: &Plan) -> Result<(), Failure> {
        let (handle, to) = (scene.handle(), &plan.to);
        let mut left = Vec::new();
        if self.preferred
            && let Err(failure) = tools::stop_preferring(handle, to)
        {
            left.push(format!(
                "the constraint {} is left ({}); it ends by itself in a few minutes, crm_resource --clear --resource={handle} ends it now",
                tools::preference(handle),
                failure.why
            ));
        }
        // Only what is this one's: another operator may have begun another switchover by now.
        if self.requested {
            let name = TransientAttribute::Wanted.name(scene.name());
            let deadline = Deadline::after(timing::CHANGE);
            if let Err(error) = attributes::delete_transient(to, &name, deadline) {
                left.push(format!(
                    "the attribute {name} of {to} is left ({error}); it means nothing after the next promotion"
                ));
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(Failure::plain(left.join("; ")))
        }
    }
}

fn move_primary(
    watch: &mut Watch,
    scene: &mut Scene,
    plan: &Plan,
    params: &Params,
    limit: Duration,
    tracks: &mut Tracks,
) -> Result<(), Failure> {
    let Plan { from, to, is_ready } = plan;
    // Also where nothing has to be asked for: an earlier switchover that was killed, or is still going on, has left its request, and
    // this one takes its place.
    forget_requests(scene, to)?;
    let name = TransientAttribute::Wanted.name(scene.name());
    let node = scene.view.node(to);
    tracks.requested = node.is_some_and(|node| node.transient.pair(&name).is_some());
    if !is_ready {
        watch.doing(&format!("asking {from} to let commits wait for {to}"));
        tracks.requested = true;
        ask_for(scene, to)?;
        watch
            .until(scene, limit, |scene| readiness(scene, plan, params))
            .map_err(|ended| match ended {
                // It says who is.
                Ended::Never(failure) => failure,
                Ended::TimedOut { .. } | Ended::Interrupted { .. } => {
                    ended.after(&format!("{from} is still the primary"))
                }
            })?;
        watch.say(&format!("{to} has every acknowledged commit"));
    }
    let before = scene.forgivable()?;
    watch.doing(&format!("moving the primary to {to}"));
    tracks.preferred = true;
    tools::prefer(scene.handle(), to, limit + timing::CONSTRAINT_MARGIN)?;
    let mut was_ours = false;
    watch
        .until(scene, limit, |scene| match promotion(scene, to, &before) {
            Look::NotYet(missing) => {
                let preferred = scene.preferred().ok().flatten();
                was_ours |= preferred.as_ref() == Some(to);
                match preferred.filter(|other| was_ours && other != to) {
                    Some(other) => Look::Never(Failure::plain(format!(
                        "somebody else moves the primary to {other} meanwhile"
                    ))),
                    None => Look::NotYet(missing),
                }
            }
            look @ (Look::Done(()) | Look::Never(_)) => look,
        })
        .map_err(|ended| ended.after(&format!("{to} is not preferred any more")))?;
    watch.say(&format!("{to} is the primary"));
    Ok(())
}

/// Asks the primary to let commits wait for `to`.
fn ask_for(scene: &Scene, to: &NodeName) -> Result<(), Failure> {
    let name = TransientAttribute::Wanted.name(scene.name());
    let epoch = scene.record()?.and_then(|record| record.epoch);
    let value = epoch.unwrap_or_default().to_string();
    let deadline = Deadline::after(timing::CHANGE);
    attributes::write_transient(&scene.view, to, &name, Some(&value), deadline)
        .map(drop)
        .map_err(Failure::plain)
}

/// Takes back what somebody has asked for another node before.
fn forget_requests(scene: &Scene, to: &NodeName) -> Result<(), Failure> {
    let name = TransientAttribute::Wanted.name(scene.name());
    let is_asked_for = |node: &&NodeView| node.transient.pair(&name).is_some();
    for node in scene.view.members().filter(is_asked_for) {
        if node.name != *to {
            let deadline = Deadline::after(timing::CHANGE);
            attributes::delete_transient(&node.name, &name, deadline).map_err(Failure::plain)?;
        }
    }
    Ok(())
}

/// Whether the primary has made the node ready.
fn readiness(scene: &Scene, plan: &Plan, params: &Params) -> Look<()> {
    let facts = match facts(scene, params, Some(plan.to.clone())) {
        Ok(facts) => facts,
        Err(failure) => return Look::NotYet(failure.why),
    };
    match decide::switch(&facts) {
        Ok(now) if now.from != plan.from => Look::Never(Failure::plain(format!(
            "{} became the primary meanwhile",
            now.from
        ))),
        Ok(now) if now.is_ready => Look::Done(()),
        Ok(_) => Look::NotYet(format!(
            "{} does not have every acknowledged commit yet",
            plan.to
        )),
        // It may be a passing weakness: a link that broke comes back.
        Err(refusal) => Look::NotYet(refusal.to_string()),
    }
}

/// Whether the node is the primary, with what goes with it.
fn promotion(scene: &Scene, to: &NodeName, before: &[FailedOperation]) -> Look<()> {
    let failures = scene.forgivable().unwrap_or_default();
    if let Some(failure) = new_failure(before, &failures, to) {
        return Look::Never(Failure::plain(failure));
    }
    match scene.settled_primary() {
        Some(primary) if primary == *to => match scene.missing_beside(to) {
            None => Look::Done(()),
            Some(missing) => Look::NotYet(missing),
        },
        Some(primary) => Look::NotYet(format!("{primary} is still the primary")),
        None => Look::NotYet(format!("{to} is not the primary yet")),
    }
}
