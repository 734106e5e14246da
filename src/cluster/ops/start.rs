//! `cluster start`

use std::io::{self, Write as _};
use std::time::Duration;

use crate::cluster::{Exit, Failure};
use crate::model::node_name::NodeName;
use crate::sys::Deadline;

use super::args::StartArgs;
use super::scene::Scene;
use super::tools::{self, Meta};
use super::wait::{Ended, Look, Watch};

/// Starts the resource, and waits until it is replicated.
///
/// # Errors
/// [`Exit::Failed`] without a primary in time, [`Exit::TimedOut`] where only the rest is missing.
pub(super) fn start(args: &StartArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.which.resource.as_deref())?;
    scene.require_managed()?;
    let left_out: Vec<String> = scene
        .view
        .members()
        .filter_map(|node| scene.hands_off_at(node))
        .collect();
    if scene.in_service().next().is_none() && !left_out.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            format!("nothing was done: {}", left_out.join("; ")),
        ));
    }
    for why in &left_out {
        let _ = writeln!(io::stdout(), "left out: {why}");
    }
    for failure in scene.forgivable()? {
        let _ = writeln!(io::stdout(), "forgiven: {failure}");
    }
    let mut watch = Watch::begin()?;
    watch.doing(&format!("starting {}", scene.handle()));
    let deadline = Deadline::after(args.timeout);
    for name in scene.names() {
        tools::delete_meta(name, Meta::TargetRole)?;
    }
    tools::cleanup(scene.handle())?;
    for follower in &scene.followers {
        tools::cleanup(follower.name.as_str())?;
    }
    if !scene.is_promotable() {
        return runs(&mut watch, &mut scene, deadline.remaining());
    }
    let primary = watch
        .until(&mut scene, deadline.remaining(), primary_serves)
        .map_err(|ended| no_primary(ended, &scene))?;
    watch.say(&format!("{primary} is the primary"));
    all_follow(&mut watch, &mut scene, &primary, deadline.remaining())
        .map_err(|ended| ended.after(&format!("{primary} is the primary and serves")))
}

/// Waits until a server without a primary, or with one outside the cluster, runs.
fn runs(watch: &mut Watch, scene: &mut Scene, limit: Duration) -> Result<(), Failure> {
    let place = watch
        .until(scene, limit, |scene| match &scene.runs_on()[..] {
            [] => Look::NotYet(format!("{} does not run yet", scene.name())),
            nodes @ [_, ..] => Look::Done(nodes.join(", ")),
        })
        .map_err(|ended| Failure::new(Exit::Failed, ended.after("Pacemaker goes on trying").why))?;
    watch.say(&format!("{} runs on {place}", scene.name()));
    Ok(())
}

/// Waits until every node in service follows `primary`, and says so.
pub(super) fn all_follow(
    watch: &mut Watch,
    scene: &mut Scene,
    primary: &NodeName,
    limit: Duration,
) -> Result<(), Ended> {
    watch.until(scene, limit, |scene| {
        if scene.settled_primary().as_ref() != Some(primary) {
            return Look::NotYet(format!("{primary} is not the primary any more"));
        }
        match scene.missing_behind(primary) {
            None => Look::Done(()),
            Some(missing) => Look::NotYet(missing),
        }
    })?;
    let others = scene.in_service().filter(|node| node.name != *primary);
    let followed: Vec<String> = others
        .map(|node| {
            let status = scene.data_status(node);
            let status = status.map_or_else(String::new, |status| format!(" ({status})"));
            format!("{}{status}", node.name)
        })
        .collect();
    watch.say(&match &followed[..] {
        [] => format!("no other node is in service: nobody follows {primary}"),
        [one] => format!("{one} follows it"),
        [_, _, ..] => format!("{} follow it", followed.join(", ")),
    });
    Ok(())
}

/// The primary and what goes with it.
pub(super) fn primary_serves(scene: &Scene) -> Look<NodeName> {
    let Some(primary) = scene.settled_primary() else {
        let last = scene
            .failures()
            .ok()
            .and_then(|failures| failures.into_iter().next());
        let last = last.map_or_else(String::new, |failure| format!(" ({failure})"));
        return Look::NotYet(format!("no node is the primary yet{last}"));
    };
    match scene.missing_beside(&primary) {
        None => Look::Done(primary),
        Some(missing) => Look::NotYet(missing),
    }
}

/// As pha4pgsql's cls_start: without a primary it has failed, whatever Pacemaker may do yet.
fn no_primary(ended: Ended, scene: &Scene) -> Failure {
    let hint = format!(
        "Pacemaker goes on trying to start {}; expgsql cluster why says what keeps a node from being promoted",
        scene.handle()
    );
    Failure::new(Exit::Failed, ended.after(&hint).why)
}
