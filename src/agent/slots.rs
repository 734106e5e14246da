//! Replication slots, one for each standby, under a common prefix.

use crate::postgres::session::{Session, SqlError, literal};
use crate::postgres::views;

/// The slot of the standby named `node`: `prefix_node`, with `-` and `.` as `_`.
pub(super) fn name(prefix: &str, node: &str) -> String {
    let node: String = node
        .chars()
        .map(|c| if c == '-' || c == '.' { '_' } else { c })
        .collect();
    format!("{prefix}_{node}")
}

/// On a primary: makes the slots that are missing. Those that exist keep the WAL they hold.
pub(super) fn create_missing<'n>(
    session: &mut Session,
    prefix: &str,
    standbys: impl Iterator<Item = &'n str>,
) -> Result<(), SqlError> {
    let present = views::slots(session, prefix)?;
    for slot in standbys.map(|node| name(prefix, node)) {
        if !present.iter().any(|(name, _)| *name == slot) {
            tracing::info!(slot, "creating replication slot");
            session.execute(&format!(
                "SELECT pg_create_physical_replication_slot({}, true)",
                literal(&slot)
            ))?;
        }
    }
    Ok(())
}

/// On a standby: drops the slots of an earlier time as primary, which would hold back WAL until
/// the disk is full.
pub(super) fn drop_stale(session: &mut Session, prefix: &str) -> Result<(), SqlError> {
    for (slot, active) in views::slots(session, &format!("{prefix}_"))? {
        // An active one feeds a cascading standby.
        if !active {
            tracing::info!(slot, "dropping replication slot of an earlier primary");
            session.execute(&format!(
                "SELECT pg_drop_replication_slot({})",
                literal(&slot)
            ))?;
        }
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
