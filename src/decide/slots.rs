//! Which replication slots a node makes and drops.

use std::collections::BTreeSet;

/// A physical replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// A standby streams by it now.
    pub active: bool,
    /// It holds WAL back.
    pub holds_wal: bool,
}

/// What to do; in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub drop: BTreeSet<String>,
    pub create: BTreeSet<String>,
}

/// Compares what is there with what should be: `wanted` of a primary, nothing of a standby.
///
/// One that is in use is never dropped: a standby may still stream by it. `is_ours` tells the agent's
/// slots from others. Where slots are there to hold WAL back (`replication_slot_name` is set),
/// that of a standby that is away is left alone, unless it holds nothing any more: it was behind by more than
/// max_slot_wal_keep_size, and newer servers let nobody stream by such a slot. Else it is made anew, so that it
/// holds none: it is only a ticket then, and would fill the disk.
#[must_use]
pub fn plan(
    present: &[Slot],
    wanted: &BTreeSet<String>,
    is_ours: impl Fn(&str) -> bool,
    keeps_wal: bool,
) -> Plan {
    let mut plan = Plan::default();
    for slot in present.iter().filter(|s| !s.active) {
        let is_wanted = wanted.contains(&slot.name);
        let is_obsolete = !is_wanted && is_ours(&slot.name);
        if is_obsolete || (is_wanted && slot.holds_wal != keeps_wal) {
            plan.drop.insert(slot.name.clone());
        }
    }
    let stays = |name: &&String| {
        let is_there = present.iter().any(|s| s.name == **name);
        !is_there || plan.drop.contains(*name)
    };
    plan.create = wanted.iter().filter(stays).cloned().collect();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_what_is_away_holds_nothing() {
        let slot = |name: &str, active, holds_wal| Slot {
            name: name.to_owned(),
            active,
            holds_wal,
        };
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|n| (*n).to_owned()).collect()
        };
        let here = |present: &[Slot], wanted: &[&str], keeps: bool| {
            let plan = plan(present, &set(wanted), |n| n.starts_with("our"), keeps);
            let list = |s: BTreeSet<String>| s.into_iter().collect::<Vec<_>>().join(" ");
            (list(plan.drop), list(plan.create))
        };
        let is = |drop: &str, create: &str| (drop.to_owned(), create.to_owned());
        assert_eq!(here(&[], &["our1", "our2"], false), is("", "our1 our2"));
        assert_eq!(
            here(&[slot("our1", true, true)], &["our1"], false),
            is("", "")
        );
        let away = [slot("our1", false, true)];
        assert_eq!(here(&away, &["our1"], false), is("our1", "our1"));
        assert_eq!(here(&away, &["our1"], true), is("", ""));
        let lost = [slot("our1", false, false)];
        assert_eq!(here(&lost, &["our1"], true), is("our1", "our1"));
        assert_eq!(
            here(&[slot("our1", false, false)], &["our1"], false),
            is("", "")
        );
        // Of an earlier promotion, or of another time as primary.
        assert_eq!(here(&away, &["our2"], true), is("our1", "our2"));
        assert_eq!(here(&[slot("our1", true, true)], &[], true), is("", ""));
        assert_eq!(here(&away, &[], true), is("our1", ""));
        // Somebody else's.
        assert_eq!(
            here(&[slot("backup", false, true)], &["our1"], false),
            is("", "our1")
        );
    }
}
