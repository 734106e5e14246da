//! `cluster standby-node` and `unstandby-node`: a node out of service, and back.

use std::io::{self, Write as _};

use crate::cluster::{Failure, ask};
use crate::model::cluster_view::Score;
use crate::model::node_name::NodeName;
use crate::pacemaker::failures::new_failure;

use super::args::{NodeWaitArgs, StandbyArgs};
use super::scene::{Scene, is_in_mode, node_named};
use super::tools::{self, NodeMode};
use super::wait::{Look, Watch};

/// Takes a node out of service.
///
/// # Errors
/// [`Failure`].
pub(super) fn take_out(args: &StandbyArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.wait.which.resource.as_deref())?;
    let node = node_named(&scene.view, &args.node.node)?;
    let name = node.name.clone();
    let is_online = node.is_online;
    let is_primary = scene.primaries().contains(&name);
    let successors = may_be_promoted(&scene, &name);
    if !is_in_mode(node, NodeMode::Standby) {
        if let Some(cost) = cost(&scene, &name, is_primary, &successors) {
            let _ = writeln!(io::stdout(), "Take {name} out of service\n  {cost}");
            if !args.yes {
                ask::agree()?;
            }
        }
        tools::set_node_mode(&name, NodeMode::Standby, true)?;
    }
    if !is_online {
        let _ = writeln!(
            io::stdout(),
            "{name} is not in the cluster at the moment; when it comes back it is out of service until expgsql cluster unstandby-node {name}"
        );
        return Ok(());
    }
    if let Some(why) = scene.hands_off() {
        let _ = writeln!(
            io::stdout(),
            "{name} is marked as out of service, but {why}"
        );
        return Ok(());
    }
    let mut watch = Watch::begin()?;
    watch.doing(&format!("taking {name} out of service"));
    let done = format!(
        "{name} is marked as out of service, and Pacemaker goes on with it; expgsql cluster unstandby-node {name} takes that back"
    );
    watch
        .until(&mut scene, args.wait.timeout, |scene| {
            if let Some(failure) = scene.failed_stop().filter(|f| f.node == name) {
                return Look::Never(Failure::plain(failure));
            }
            if let Some(what) = scene.still_runs(|node| node.name == name) {
                return Look::NotYet(what);
            }
            match scene.settled_primary() {
                None if is_primary && !successors.is_empty() => {
                    Look::NotYet("no other node is the primary yet".to_owned())
                }
                Some(primary) => match scene.missing_beside(&primary) {
                    Some(missing) => Look::NotYet(missing),
                    None => Look::Done(()),
                },
                None => Look::Done(()),
            }
        })
        .map_err(|ended| ended.after(&done))?;
    if let Some(primary) = scene.settled_primary().filter(|_| is_primary) {
        watch.say(&format!("{primary} is the primary"));
    }
    watch.say(&format!(
        "{name} is out of service until expgsql cluster unstandby-node {name}"
    ));
    Ok(())
}

/// The nodes but `name` that Pacemaker may promote.
fn may_be_promoted(scene: &Scene, name: &NodeName) -> Vec<NodeName> {
    let resource = scene.name();
    let may = |node: &&crate::model::cluster_view::NodeView| {
        let score = node.promotion_score(resource).ok().flatten();
        node.name != *name && score.is_some_and(|score| score > Score::new(0))
    };
    let nodes = scene.in_service().filter(may);
    nodes.map(|node| node.name.clone()).collect()
}

/// What is worth a question.
fn cost(
    scene: &Scene,
    name: &NodeName,
    is_primary: bool,
    successors: &[NodeName],
) -> Option<String> {
    let names: Vec<&str> = successors.iter().map(NodeName::as_str).collect();
    if is_primary {
        return Some(match &names[..] {
            [] => format!(
                "{name} is the primary, and no other node may be promoted: the cluster will have no primary"
            ),
            [_, ..] => format!(
                "{name} is the primary: {} takes over, writes pause for a moment and clients are cut off",
                names.join(" or ")
            ),
        });
    }
    let primary = scene.settled_primary()?;
    let mut left = successors.iter().filter(|node| **node != primary);
    let is_needed = may_be_promoted(scene, &primary).contains(name);
    (is_needed && left.next().is_none()).then(|| {
        format!(
            "{name} is the only node that may take over from {primary}: commits may pause until another is ready"
        )
    })
}

/// Puts a node back into service.
///
/// # Errors
/// [`Failure`].
pub(super) fn put_back(args: &NodeWaitArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.wait.which.resource.as_deref())?;
    let node = node_named(&scene.view, &args.node.node)?;
    let name = node.name.clone();
    let is_online = node.is_online;
    if is_in_mode(node, NodeMode::Standby) {
        tools::set_node_mode(&name, NodeMode::Standby, false)?;
    }
    if !is_online {
        let _ = writeln!(
            io::stdout(),
            "{name} is not in the cluster at the moment; when it comes back it is in service"
        );
        return Ok(());
    }
    let is_replica = scene.replicas().iter().any(|node| node.name == name);
    if !is_replica {
        let _ = writeln!(
            io::stdout(),
            "{name} is in service; {} does not run there (node_list)",
            scene.name()
        );
        return Ok(());
    }
    let disabled = || {
        let why = format!(
            "{} is stopped on all nodes; first expgsql cluster start",
            scene.handle()
        );
        scene.is_disabled().then_some(why)
    };
    if let Some(why) = scene.hands_off().or_else(disabled) {
        let _ = writeln!(io::stdout(), "{name} is marked as in service, but {why}");
        return Ok(());
    }
    let before = scene.forgivable()?;
    let mut watch = Watch::begin()?;
    watch.doing(&format!("putting {name} back into service"));
    let follows = watch
        .until(&mut scene, args.wait.timeout, |scene| {
            if scene.primaries().contains(&name) {
                return Look::Done(format!("{name} is in service, and the primary"));
            }
            let Some(node) = scene.view.node(&name) else {
                return Look::NotYet(format!("{name} is not in the cluster"));
            };
            let failures = scene.forgivable().unwrap_or_default();
            if let Some(failure) = new_failure(&before, &failures, &name) {
                return Look::Never(Failure::plain(failure));
            }
            match scene.missing_standby(node) {
                Some(missing) => Look::NotYet(missing),
                None => Look::Done(format!(
                    "{name} is in service, and follows{}",
                    scene
                        .settled_primary()
                        .map_or_else(String::new, |primary| format!(" {primary}"))
                )),
            }
        })
        .map_err(|ended| ended.after(&format!("{name} is marked as in service")))?;
    watch.say(&follows);
    Ok(())
}
