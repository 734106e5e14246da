//! Replication slots, one for each standby, under a common prefix.

use crate::log::say;
use crate::model::node_name::NodeName;
use crate::postgres::process::Running;
use crate::postgres::session::{Session, literal};
use crate::postgres::views;

use super::context::Context;
use super::{Step, ready};

/// The slot of the standby named `node`: `prefix_node`, with `-` and `.` as `_`.
pub(super) fn name(prefix: &str, node: &str) -> String {
    let node: String = node
        .chars()
        .map(|c| if c == '-' || c == '.' { '_' } else { c })
        .collect();
    format!("{prefix}_{node}")
}

/// On a primary: makes the slots that are missing. Those that exist keep the WAL they hold. It takes
/// the owner's right to make one; to see what is there, any session's will do.
pub(super) fn create_missing(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
) -> Step<()> {
    let Some(prefix) = &ctx.params.replication_slot_name else {
        return Ok(());
    };
    let present = views::slots(session, prefix).map_err(|e| ready::refused(&e))?;
    let wanted = nodes.iter().map(|node| name(prefix, node.lower()));
    let missing: Vec<String> = wanted
        .filter(|slot| !present.iter().any(|(name, _)| name == slot))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut owner = ctx
        .connect_as_owner(running)
        .map_err(|e| ready::refused(&e))?;
    for slot in missing {
        say!(INFO, "creating replication slot", slot = slot);
        let create = format!(
            "SELECT pg_create_physical_replication_slot({}, true)",
            literal(&slot)
        );
        owner.execute(&create).map_err(|e| ready::refused(&e))?;
    }
    Ok(())
}

/// On a standby: drops the nodes' slots of an earlier time as primary, which would hold back WAL
/// until the disk is full.
///
/// One that is in use is left: the others find this node at the primary's address until that has
/// moved, and stream from it for a moment, as cascading standbys do. So one look at the time of the
/// promotion is not enough.
pub(super) fn drop_stale(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
) -> Step<()> {
    let Some(prefix) = &ctx.params.replication_slot_name else {
        return Ok(());
    };
    let present = views::slots(session, prefix).map_err(|e| ready::refused(&e))?;
    let ours: Vec<String> = nodes.iter().map(|n| name(prefix, n.lower())).collect();
    let stale = |(slot, active): &(String, bool)| !active && ours.contains(slot);
    let stale: Vec<_> = present.into_iter().filter(stale).collect();
    if stale.is_empty() {
        return Ok(());
    }
    let mut owner = ctx
        .connect_as_owner(running)
        .map_err(|e| ready::refused(&e))?;
    for (slot, _) in stale {
        say!(
            INFO,
            "dropping replication slot of an earlier primary",
            slot = slot
        );
        let drop = format!("SELECT pg_drop_replication_slot({})", literal(&slot));
        owner.execute(&drop).map_err(|e| ready::refused(&e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slot_name_has_only_characters_that_slots_may_have() {
        assert_eq!(super::name("exp", "db-1.example"), "exp_db_1_example");
    }
}
