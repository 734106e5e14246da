//! `cluster standby-node` and `unstandby-node`: a node out of service, and back.

use std::io::{self, Write as _};

use crate::cluster::{Failure, ask};
use crate::model::cluster_view::{NodeView, Score};
use crate::model::node_name::NodeName;
use crate::pacemaker::failures::new_failure;
use crate::sys::Deadline;

use super::args::{NodeWaitArgs, StandbyArgs};
use super::scene::{Scene, is_in_mode, node_named};
use super::tools::{self, NodeMode};
use super::wait::{Ended, Look, Watch};

/// One resource on a node that is taken out of service.
struct Leaving {
    scene: Scene,
    is_primary: bool,
    successors: Vec<NodeName>,
    /// In front of what is said of it, where there are several.
    whose: String,
}

/// What is to happen to each of the cluster's resources.
fn leaving(scenes: Vec<Scene>, name: &NodeName) -> Vec<Leaving> {
    let are_several = scenes.len() > 1;
    let leaving = |scene: Scene| Leaving {
        is_primary: scene.primaries().contains(name),
        successors: may_be_promoted(&scene, name),
        whose: if are_several {
            format!("{}: ", scene.name())
        } else {
            String::new()
        },
        scene,
    };
    scenes.into_iter().map(leaving).collect()
}

/// What is worth a question, a line for each resource.
fn costs(leaving: &[Leaving], name: &NodeName) -> Vec<String> {
    let cost = |one: &Leaving| {
        let cost = cost(&one.scene, name, one.is_primary, &one.successors)?;
        Some(format!("{}{cost}", one.whose))
    };
    leaving.iter().filter_map(cost).collect()
}

/// Takes a node out of service, with every resource of this agent that is there.
///
/// # Errors
/// [`Failure`].
pub(super) fn take_out(args: &StandbyArgs) -> Result<(), Failure> {
    let scenes = Scene::all(args.wait.which.resource.as_deref())?;
    let node = node_named(&scenes[0].view, &args.node.node)?.clone();
    let name = node.name.clone();
    let mut leaving = leaving(scenes, &name);
    if !is_in_mode(&node, NodeMode::Standby) {
        let costs = costs(&leaving, &name);
        if !costs.is_empty() {
            let _ = writeln!(
                io::stdout(),
                "Take {name} out of service\n  {}",
                costs.join("\n  ")
            );
            if !args.yes {
                ask::agree()?;
            }
        }
        tools::set_node_mode(&name, NodeMode::Standby, true)?;
    }
    if !node.is_online {
        let _ = writeln!(
            io::stdout(),
            "{name} is not in the cluster at the moment; when it comes back it is out of service until expgsql cluster unstandby-node {name}"
        );
        return Ok(());
    }
    let reasons: Vec<String> = leaving
        .iter()
        .filter_map(|one| one.scene.hands_off_at(&node))
        .collect();
    if let Some(why) = reasons.first() {
        let _ = writeln!(
            io::stdout(),
            "{name} is marked as out of service, but {why}"
        );
    }
    leaving.retain(|one| one.scene.hands_off_at(&node).is_none());
    if leaving.is_empty() {
        return Ok(());
    }
    let mut watch = Watch::begin()?;
    watch.doing(&format!("taking {name} out of service"));
    let done = format!(
        "{name} is marked as out of service, and Pacemaker goes on with it; expgsql cluster unstandby-node {name} takes that back"
    );
    let deadline = Deadline::after(args.wait.timeout);
    for one in &mut leaving {
        one.await_end(&mut watch, &name, deadline)
            .map_err(|ended| ended.of(args.wait.timeout).after(&done))?;
        if let Some(primary) = one.scene.settled_primary().filter(|_| one.is_primary) {
            watch.say(&format!("{}{primary} is the primary", one.whose));
        }
    }
    watch.say(&format!(
        "{name} is out of service until expgsql cluster unstandby-node {name}"
    ));
    Ok(())
}

impl Leaving {
    /// Waits until nothing of it runs on the node, and another is the primary.
    fn await_end(
        &mut self,
        watch: &mut Watch,
        name: &NodeName,
        deadline: Deadline,
    ) -> Result<(), Ended> {
        let Self {
            scene,
            is_primary,
            successors,
            whose,
        } = self;
        watch.until(scene, deadline.remaining(), |scene| {
            if let Some(failure) = scene.failed_stop().filter(|f| f.node == *name) {
                return Look::Never(Failure::plain(failure));
            }
            if let Some(what) = scene.still_runs(|node| node.name == *name) {
                return Look::NotYet(what);
            }
            match scene.settled_primary() {
                None if *is_primary && !successors.is_empty() => {
                    Look::NotYet(format!("{whose}no other node is the primary yet"))
                }
                Some(primary) => match scene.missing_beside(&primary) {
                    Some(missing) => Look::NotYet(missing),
                    None => Look::Done(()),
                },
                None => Look::Done(()),
            }
        })
    }
}

/// The nodes but `name` that Pacemaker may promote.
fn may_be_promoted(scene: &Scene, name: &NodeName) -> Vec<NodeName> {
    let resource = scene.name();
    let may = |node: &&NodeView| {
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

/// Puts a node back into service, with every resource of this agent.
///
/// # Errors
/// [`Failure`].
pub(super) fn put_back(args: &NodeWaitArgs) -> Result<(), Failure> {
    let mut scenes = Scene::all(args.wait.which.resource.as_deref())?;
    let node = node_named(&scenes[0].view, &args.node.node)?.clone();
    let name = node.name.clone();
    if is_in_mode(&node, NodeMode::Standby) {
        tools::set_node_mode(&name, NodeMode::Standby, false)?;
    }
    if !node.is_online {
        let _ = writeln!(
            io::stdout(),
            "{name} is not in the cluster at the moment; when it comes back it is in service"
        );
        return Ok(());
    }
    let deadline = Deadline::after(args.wait.timeout);
    let mut watch: Option<Watch> = None;
    for scene in &mut scenes {
        if let Some(why) = not_awaited(scene, &node) {
            let _ = writeln!(io::stdout(), "{why}");
            continue;
        }
        let watch = match &mut watch {
            Some(watch) => watch,
            none @ None => {
                let begun = none.insert(Watch::begin()?);
                begun.doing(&format!("putting {name} back into service"));
                begun
            }
        };
        let follows = await_return(watch, scene, &name, deadline).map_err(|ended| {
            ended
                .of(args.wait.timeout)
                .after(&format!("{name} is marked as in service"))
        })?;
        watch.say(&follows);
    }
    Ok(())
}

/// Why nothing has to follow from that: in a sentence.
fn not_awaited(scene: &Scene, node: &NodeView) -> Option<String> {
    let name = &node.name;
    let is_replica = scene.replicas().iter().any(|replica| replica.name == *name);
    if !is_replica {
        return Some(format!(
            "{name} is in service; {} does not run there (node_list)",
            scene.name()
        ));
    }
    let disabled = || {
        let why = format!(
            "{} is stopped on all nodes; first expgsql cluster start",
            scene.handle()
        );
        scene.is_disabled().then_some(why)
    };
    let why = scene.hands_off_at(node).or_else(disabled)?;
    Some(format!("{name} is marked as in service, but {why}"))
}

/// Waits until the node is the primary, or follows it.
fn await_return(
    watch: &mut Watch,
    scene: &mut Scene,
    name: &NodeName,
    deadline: Deadline,
) -> Result<String, Ended> {
    let before = scene.forgivable().map_err(Ended::Never)?;
    watch.until(scene, deadline.remaining(), |scene| {
        if scene.primaries().contains(name) {
            return Look::Done(format!("{name} is in service, and the primary"));
        }
        let Some(node) = scene.view.node(name) else {
            return Look::NotYet(format!("{name} is not in the cluster"));
        };
        let failures = scene.forgivable().unwrap_or_default();
        if let Some(failure) = new_failure(&before, &failures, name) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::cib;

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    fn name(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    /// With a second database, `sales`, of which `primary` is the primary by its history and by its own account.
    fn two(primary: &str) -> String {
        let resource = r#"<clone id="ms-sales"><meta_attributes id="sm"><nvpair id="sp" name="promotable" value="true"/></meta_attributes>
            <primitive id="sales" class="ocf" provider="heartbeat" type="expgsql"/></clone></resources>"#;
        let mut text = THREE.replace("</resources>", resource);
        for (at, node) in ["node1", "node2", "node3"].into_iter().enumerate() {
            let (status, code, score) = if node == primary {
                ("PRI", 8, "1000")
            } else {
                ("HS:sync", 0, "100")
            };
            let opening = format!("uname=\"{node}\"");
            let state = text.find("<status>").unwrap();
            let begin = state + text[state..].find(&opening).unwrap();
            let resources = begin + text[begin..].find("<lrm_resources>").unwrap();
            let resources = resources + "<lrm_resources>".len();
            let history = format!(
                r#"<lrm_resource id="sales"><lrm_rsc_op id="sales_monitor_0" operation="monitor" call-id="99" op-status="0" rc-code="{code}" interval="0"/></lrm_resource>"#
            );
            text.insert_str(resources, &history);
            let attributes = begin + text[begin..].find("<transient_attributes").unwrap();
            let attributes = attributes + text[attributes..].find("<nvpair").unwrap();
            let pairs = format!(
                r#"<nvpair id="s{at}" name="sales-status" value="{status}"/><nvpair id="m{at}" name="master-sales" value="{score}"/>"#
            );
            text.insert_str(attributes, &pairs);
        }
        text
    }

    fn asked(cib: &str, wanted: &str, node: &str) -> Vec<String> {
        let view = cib::parse(cib).unwrap();
        let scenes = Scene::all_of(cib, &view, Some(wanted)).unwrap();
        costs(&leaving(scenes, &name(node)), &name(node))
    }

    #[test]
    fn every_database_that_has_its_primary_on_the_node_is_told() {
        // node1 is the primary of pgsql, and node3 may take over from it.
        let cib = two("node2");
        for wanted in ["pgsql", "sales"] {
            let told = asked(&cib, wanted, "node2");
            assert!(
                matches!(&told[..], [one] if one.starts_with("sales: node2 is the primary: node1 or node3 takes over")),
                "{wanted}: {told:?}"
            );
            let told = asked(&cib, wanted, "node3");
            assert!(
                matches!(&told[..], [one] if one.starts_with("pgsql: node3 is the only node")),
                "{wanted}: {told:?}"
            );
        }
        let cib = two("node1");
        let (told, other) = (asked(&cib, "pgsql", "node1"), asked(&cib, "sales", "node1"));
        assert!(
            told[0].starts_with("pgsql: node1 is the primary: node3")
                && told[1].starts_with("sales: "),
            "{told:?}"
        );
        assert_eq!(other, [told[1].clone(), told[0].clone()]);
        // Of one alone its name is not said.
        let told = asked(THREE, "pgsql", "node1");
        assert!(
            matches!(&told[..], [one] if one.starts_with("node1 is the primary")),
            "{told:?}"
        );
    }
}
