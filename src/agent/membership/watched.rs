//! Sees to it that Pacemaker watches every server: see [`crate::decide::unwatched`].

use crate::decide::unwatched::{is_watched, lost_monitor};
use crate::log::say;
use crate::model::cluster_view::{ClusterView, NodeView, Operation, ResourceName};
use crate::pacemaker::attributes::WriteError;
use crate::pacemaker::cib::Cib;
use crate::pacemaker::failures::{delete_note, forget_monitor};
use crate::sys::{Deadline, poll_until};
use crate::timing;

use crate::agent::membership::board::Board;
use crate::agent::step::{Step, failed};

/// The servers of the other nodes; that this one is watched shows in that its monitor is called.
pub(crate) fn others(board: &Board<'_, '_>) -> Step<()> {
    let ctx = board.ctx;
    let deadline = ctx.deadline.min(timing::CLEANUP);
    let is_other = |node: &NodeView| node.name != ctx.me;
    begin_lost_monitors(&board.view, &ctx.resource, is_other, deadline).map_err(failed)
}

/// Has Pacemaker begin the monitors that it takes for running and that nobody runs.
///
/// The note is deleted. After a change of the status by `cibadmin` Pacemaker 3 has each node write down once more what it knows, the note
/// included (seen on 3.0.1); then Pacemaker's own cleanup helps.
///
/// # Errors
/// [`WriteError`].
pub(crate) fn begin_lost_monitors(
    view: &ClusterView,
    resource: &ResourceName,
    of: impl Fn(&NodeView) -> bool,
    deadline: Deadline,
) -> Result<(), WriteError> {
    let cib = Cib::live();
    for (node, note) in lost(view, resource).filter(|(node, _)| of(node)) {
        say!(
            WARN,
            "Pacemaker takes a monitor for running that it cancelled, and nobody watches the server: its note of a degraded result is removed, so that the monitor begins again",
            node = node.name
        );
        let Some(call) = note.call_id else { continue };
        delete_note(&cib, &node.name, resource, call, deadline)?;
        let has_begun = poll_until(
            deadline.min(timing::MONITOR_BEGINS),
            timing::STREAMING_POLL,
            || {
                let now = cib.read(deadline).ok()?;
                let history = now.node(&node.name)?.history.get(resource.as_str())?;
                is_watched(history).then_some(())
            },
        );
        if has_begun.is_none() {
            let limit = deadline.remaining();
            forget_monitor(&node.name, resource, note.interval_ms, deadline)
                .map_err(|error| WriteError::from_run(error, limit))?;
        }
    }
    Ok(())
}

fn lost<'a>(
    view: &'a ClusterView,
    resource: &'a ResourceName,
) -> impl Iterator<Item = (&'a NodeView, &'a Operation)> {
    let online = view.nodes.values().filter(|node| node.is_online);
    online.filter_map(|node| {
        let history = node.history.get(resource.as_str())?;
        Some((node, lost_monitor(history)?))
    })
}
