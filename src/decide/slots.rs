//! Which replication slots a node makes and drops.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// A physical replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// A standby streams by it now.
    pub active: bool,
    /// It holds WAL back.
    pub holds_wal: bool,
    /// The server has given it up: its standby was too far behind, or away for too long.
    pub is_invalid: bool,
}

/// A slot on a standby that nobody uses now, and that was not synchronised from the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hoard {
    pub name: String,
    /// Bytes of WAL behind its position, where they are too many, and nothing limits them.
    pub held: Option<u64>,
    /// A failover slot (17): a standby can make none, so it is of the time when this server was the primary.
    pub is_failover: bool,
    /// By `hot_standby_feedback` it keeps the primary from cleaning its catalogs.
    pub holds_rows: bool,
    /// For how long nobody has used it; `None`: the server does not tell (before 17).
    pub idle: Option<Duration>,
}

/// For so long a consumer of a standby's own logical slot may be away.
const AWAY: Duration = Duration::from_secs(300);

/// What is told of slots that are not the agent's, most of them made when this server was the primary: they hold WAL until its disk is full, end the
/// synchronisation of slots, or let the primary's catalogs grow. To drop them is their owner's to decide. `None`: there is none.
#[must_use]
pub fn hoarded(found: &[Hoard], is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let theirs: Vec<&Hoard> = found.iter().filter(|slot| !is_ours(&slot.name)).collect();
    let (failover, others): (Vec<&Hoard>, Vec<&Hoard>) =
        theirs.into_iter().partition(|slot| slot.is_failover);
    let (mut large, small): (Vec<&Hoard>, Vec<&Hoard>) =
        others.into_iter().partition(|slot| slot.held.is_some());
    large.sort_by_key(|slot| Reverse(slot.held));
    // Before 17 one that is left can't be told from one whose consumer connects again.
    let is_left = |slot: &&Hoard| slot.holds_rows && slot.idle.is_some_and(|idle| idle >= AWAY);
    let left: Vec<&Hoard> = small.into_iter().filter(is_left).collect();
    let told = |slots: &[&Hoard], text: &dyn Fn(&Hoard, String) -> String| {
        let more = match slots.len().saturating_sub(1) {
            0 => String::new(),
            others => format!(", and {others} more like it"),
        };
        slots.first().map(|slot| text(slot, more))
    };
    let texts = [
        told(&large, &|slot, more| {
            format!(
                "slot {0} holds {1} MiB of WAL{more}: SELECT pg_drop_replication_slot('{0}') or set max_slot_wal_keep_size; nobody uses it on this standby, and the disk \
                 may fill",
                slot.name,
                slot.held.unwrap_or_default() >> 20
            )
        }),
        told(&failover, &|slot, more| {
            format!(
                "failover slot {0}{more}: no slot is synchronised to this standby: SELECT pg_drop_replication_slot('{0}'); it is left of when this server was the \
                 primary, and holds WAL and the rows of catalogs",
                slot.name
            )
        }),
        told(&left, &|slot, more| {
            format!(
                "slot {0}{more}: the primary's catalogs are not cleaned: SELECT pg_drop_replication_slot('{0}') if nobody will use it on this standby; its \
                 hot_standby_feedback keeps the rows",
                slot.name
            )
        }),
    ];
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    (!texts.is_empty()).then(|| texts.join("; "))
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
/// that of a standby that is away is left alone, unless it holds nothing any more. Else it is made anew, so that it
/// holds none: it is only a ticket then, and would fill the disk.
///
/// One that the server has invalidated is made anew in either case. It may look like a fresh ticket (`max_slot_wal_keep_size`
/// takes its position away) or like one that holds WAL (`idle_replication_slot_timeout` leaves it); PostgreSQL 18 lets
/// nobody stream by either, and the standby asks for no other.
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
        let is_unfit = slot.is_invalid || slot.holds_wal != keeps_wal;
        if is_obsolete || (is_wanted && is_unfit) {
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
    fn of_others_slots_the_largest_is_told() {
        let slot = |name: &str, mib: u64| Hoard {
            name: name.to_owned(),
            held: Some(mib << 20),
            ..Hoard::default()
        };
        let is_ours = |name: &str| name.starts_with("our");
        assert_eq!(hoarded(&[], is_ours), None);
        assert_eq!(hoarded(&[slot("our1", 9000)], is_ours), None);
        let one = hoarded(&[slot("our1", 9000), slot("barman", 70)], is_ours).unwrap();
        assert!(
            one.contains("slot barman holds") && one.contains(" 70 MiB"),
            "{one}"
        );
        assert!(
            one.contains("SELECT pg_drop_replication_slot('barman')"),
            "{one}"
        );
        assert!(!one.contains("more like it"), "{one}");
        let two = hoarded(&[slot("a", 70), slot("b", 700)], is_ours).unwrap();
        assert!(
            two.contains("slot b holds") && two.contains("and 1 more"),
            "{two}"
        );
    }

    #[test]
    fn a_logical_slot_that_is_left_on_a_standby_is_told_by_what_it_does() {
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        let slot = |is_failover, holds_rows, idle| Hoard {
            name: "sub".to_owned(),
            held: None,
            is_failover,
            holds_rows,
            idle,
        };
        for (slot, word) in [
            (slot(false, false, None), None),
            (slot(false, false, minutes(60)), None),
            // It ends the synchronisation from the first moment on.
            (slot(true, false, minutes(0)), Some("synchronised")),
            (slot(true, true, minutes(60)), Some("synchronised")),
            // A consumer that connects again.
            (slot(false, true, minutes(4)), None),
            (slot(false, true, minutes(5)), Some("hot_standby_feedback")),
            (slot(false, true, None), None),
        ] {
            let told = hoarded(std::slice::from_ref(&slot), |_| false);
            match (&told, word) {
                (None, None) => {}
                (Some(text), Some(word)) => assert!(
                    text.contains(word) && text.contains("SELECT pg_drop_replication_slot('sub')"),
                    "{text}"
                ),
                (_, _) => panic!("{slot:?}: {told:?}"),
            }
            assert_eq!(hoarded(&[slot], |_| true), None);
        }
    }

    #[test]
    fn what_is_in_use_stays_and_what_is_away_holds_nothing() {
        let slot = |name: &str, active, holds_wal| Slot {
            name: name.to_owned(),
            active,
            holds_wal,
            is_invalid: false,
        };
        let invalid = |slot: Slot| Slot {
            is_invalid: true,
            ..slot
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
        // Given up by the server, with and without a position; in use, the server itself will end that.
        for (holds_wal, keeps) in [(false, false), (false, true), (true, false), (true, true)] {
            let given_up = [invalid(slot("our1", false, holds_wal))];
            let anew = is("our1", "our1");
            assert_eq!(
                here(&given_up, &["our1"], keeps),
                anew,
                "{holds_wal} {keeps}"
            );
            assert_eq!(here(&given_up, &[], keeps), is("our1", ""));
            let in_use = [invalid(slot("our1", true, holds_wal))];
            assert_eq!(here(&in_use, &["our1"], keeps), is("", ""));
        }
        let theirs = [invalid(slot("backup", false, false))];
        assert_eq!(here(&theirs, &["our1"], false), is("", "our1"));
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
