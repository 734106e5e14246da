//! `cluster maintenance`, `maintenance-node`, `unmanage` and their opposites: Pacemaker looks away, or looks again.

use std::io::{self, Write as _};

use crate::agent::begin_lost_monitors;
use crate::cluster::{Failure, node, resource};
use crate::model::cluster_view::{ClusterView, NodeView, parse_bool};
use crate::pacemaker::resources::{self, Resource};
use crate::sys::Deadline;
use crate::timing;

use super::args::{NodeArgs, ResourceArgs};
use super::scene::{self, Scene, is_in_maintenance, is_in_mode, node_named};
use super::tools::{self, Meta, NodeMode};

/// The whole cluster.
///
/// # Errors
/// [`Failure`].
pub(super) fn of_cluster(is_on: bool) -> Result<(), Failure> {
    let (text, view) = scene::cluster()?;
    if is_in_maintenance(&view) == is_on {
        say(if is_on {
            "the cluster is in maintenance mode already"
        } else {
            "the cluster is not in maintenance mode"
        });
        return Ok(());
    }
    if !is_on {
        watch_again(&text, &view, |_| true)?;
    }
    tools::set_maintenance_mode(is_on)?;
    confirm(|view| is_in_maintenance(view) == is_on)?;
    say(if is_on {
        "the cluster is in maintenance mode: what runs goes on, and nothing is watched, started, stopped or moved until expgsql cluster unmaintenance"
    } else {
        "Pacemaker watches over everything again"
    });
    Ok(())
}

/// One node.
///
/// # Errors
/// [`Failure`]; an unknown node is [`crate::cluster::Exit::Refused`].
pub(super) fn of_node(args: &NodeArgs, is_on: bool) -> Result<(), Failure> {
    let (text, view) = scene::cluster()?;
    let found = node_named(&view, &args.node)?;
    let name = &found.name;
    if is_in_mode(found, NodeMode::Maintenance) == is_on {
        say(&if is_on {
            format!("{name} is in maintenance mode already")
        } else {
            format!("{name} is not in maintenance mode")
        });
        return Ok(());
    }
    if !is_on {
        watch_again(&text, &view, |node| node.name == *name)?;
    }
    tools::set_node_mode(name, NodeMode::Maintenance, is_on)?;
    confirm(|view| {
        view.node(name)
            .is_some_and(|node| is_in_mode(node, NodeMode::Maintenance) == is_on)
    })?;
    let later = if found.is_online {
        ""
    } else {
        ", once it is in the cluster: it is not at the moment"
    };
    say(&if is_on {
        format!(
            "{name} is in maintenance mode{later}: what runs there goes on, and is not watched, stopped or moved until expgsql cluster unmaintenance-node {name}"
        )
    } else {
        format!("Pacemaker watches over {name} again{later}")
    });
    Ok(())
}

/// The resource and its addresses.
///
/// # Errors
/// [`Failure`].
pub(super) fn of_resource(args: &ResourceArgs, is_managed: bool) -> Result<(), Failure> {
    let scene = Scene::look(args.resource.as_deref())?;
    let followers = scene.followers.iter().map(|f| f.name.as_str());
    let all: Vec<&str> = [scene.handle()].into_iter().chain(followers).collect();
    if is_managed {
        // Wherever it stands: other tools write it on the primitive.
        for name in all.iter().copied().chain([scene.name().as_str()]) {
            tools::delete_meta(name, Meta::IsManaged)?;
        }
    } else {
        for name in &all {
            tools::set_meta(name, Meta::IsManaged, "false")?;
        }
    }
    let after = Scene::look(args.resource.as_deref())?;
    if after.resource.is_managed() != is_managed {
        return Err(not_so(after.handle(), &after.resource));
    }
    // An address that is not moved would keep the clients where they are.
    if let Some((name, follower)) = after.unmanaged_follower().filter(|_| is_managed) {
        return Err(not_so(name.as_str(), &follower));
    }
    let all = all.join(", ");
    say(&if is_managed {
        format!("managed: {all}")
    } else {
        format!(
            "unmanaged: {all}; they are watched, but nothing is started, stopped or moved until expgsql cluster manage"
        )
    });
    Ok(())
}

/// What keeps it as it was.
fn not_so(name: &str, resource: &Resource) -> Failure {
    let maintenance = resource.meta.get("maintenance");
    Failure::plain(match maintenance.and_then(|text| parse_bool(text)) {
        Some(true) => format!(
            "{name} has maintenance=true of its own, which keeps it unmanaged: crm_resource --resource={name} --meta --delete-parameter=maintenance"
        ),
        Some(false) | None => format!(
            "{name} has is-managed from somewhere else (defaults, a group, a rule): look for it with cibadmin --query"
        ),
    })
}

/// Pacemaker would not watch a server again whose last monitor before the maintenance found it degraded: see
/// [`crate::decide::unwatched`]. The other nodes' monitors see to that as well, where there are any.
fn watch_again(
    text: &str,
    view: &ClusterView,
    of: impl Fn(&NodeView) -> bool,
) -> Result<(), Failure> {
    let ours = resources::of_agent(text, resource::AGENT).map_err(Failure::plain)?;
    let deadline = Deadline::after(timing::CLEANUP);
    ours.iter().try_for_each(|resource| {
        begin_lost_monitors(view, &resource.name, &of, deadline).map_err(Failure::plain)
    })
}

fn confirm(is_so: impl Fn(&ClusterView) -> bool) -> Result<(), Failure> {
    if is_so(&node::view()?) {
        return Ok(());
    }
    Err(Failure::plain(
        "it was written, but the CIB does not say so: another set of the same name may come first; look with cibadmin --query",
    ))
}

fn say(text: &str) {
    // Whoever reads may have gone; it is done all the same.
    let _ = writeln!(io::stdout(), "{text}");
}
