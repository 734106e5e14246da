//! The name of the replication slot by which a standby finds the primary it is meant to follow.
//!
//! Every standby connects to one address, and right after a partition has healed that of a primary
//! that was deposed meanwhile may answer there. Were the standby to stream from it, commits that
//! wait for this standby would be acknowledged on the wrong side, and lost. So a standby asks for a
//! slot that only the primary of one promotion has: PostgreSQL itself refuses the connection
//! anywhere else. (Two partitions may count on to the same epoch, so the primary's name is part of it.)

use crate::model::node_name::NodeName;

/// The longest name PostgreSQL allows (`NAMEDATALEN` - 1).
const LONGEST: usize = 63;

/// What the names begin with where `replication_slot_name` says nothing.
pub const DEFAULT_PREFIX: &str = "expgsql";

/// The slot of `standby` on `primary` since it was promoted with `epoch`; `nodes`: all that replicate.
#[must_use]
pub fn ticket(
    prefix: Option<&str>,
    standby: &NodeName,
    epoch: u64,
    primary: &NodeName,
    nodes: &[NodeName],
) -> String {
    let prefix = prefix.unwrap_or(DEFAULT_PREFIX);
    let name = format!(
        "{prefix}_{}_e{epoch}_{}",
        own(standby, nodes),
        own(primary, nodes)
    );
    if name.len() <= LONGEST {
        return name;
    }
    // What makes it unique is in the digest.
    let digest = format!("_e{epoch}_{:016x}", fnv1a(name.as_bytes()));
    let kept = LONGEST.saturating_sub(digest.len());
    format!("{}{digest}", &name[..kept.min(name.len())])
}

/// Whether a slot is a ticket of this prefix, for whichever promotion.
#[must_use]
pub fn is_ticket(prefix: Option<&str>, slot: &str) -> bool {
    let Some(rest) = slot
        .strip_prefix(prefix.unwrap_or(DEFAULT_PREFIX))
        .and_then(|rest| rest.strip_prefix('_'))
    else {
        return false;
    };
    let is_epoch = |part: &str| {
        let digits = part.strip_prefix('e').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let parts: Vec<&str> = rest.split('_').collect();
    parts.len() >= 3 && parts[1..parts.len() - 1].iter().any(|part| is_epoch(part))
}

/// A node's name as a slot has it. Only where that of another of `nodes` would be the same, as of db-1 and db.1, is there more to it: all
/// others keep the name that every version gives them.
pub(crate) fn own(node: &NodeName, nodes: &[NodeName]) -> String {
    let name = plain(node);
    let is_mistaken = |other: &NodeName| other.lower() != node.lower() && plain(other) == name;
    if !nodes.iter().any(is_mistaken) {
        return name;
    }
    let digest = fnv1a(node.lower().as_bytes()) & u64::from(u32::MAX);
    format!("{name}_{digest:08x}")
}

/// Slots may have a-z, 0-9 and _.
fn plain(node: &NodeName) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let name = node.lower().chars();
    name.map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// FNV-1a, 64 bits: the same on all nodes and in all versions.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    #[test]
    fn a_ticket_names_standby_promotion_and_primary() {
        let (one, two) = (node("db-1.example"), node("Node2"));
        assert_eq!(
            ticket(None, &one, 7, &two, &[]),
            "expgsql_db_1_example_e7_node2"
        );
        assert_eq!(
            ticket(Some("exp"), &two, 12, &one, &[one.clone(), two.clone()]),
            "exp_node2_e12_db_1_example"
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let long = |end: &str| node(&format!("{}{end}", "n".repeat(60)));
        let (a, b) = (long("a"), long("b"));
        let tickets = [
            ticket(None, &a, 1, &b, &[]),
            ticket(None, &b, 1, &a, &[]),
            ticket(None, &a, 2, &b, &[]),
        ];
        for (i, t) in tickets.iter().enumerate() {
            assert!(t.len() <= LONGEST, "{t}");
            assert!(is_ticket(None, t), "{t}");
            assert!(tickets[..i].iter().all(|other| other != t));
        }
    }

    #[test]
    fn nodes_whose_names_differ_in_punctuation_have_slots_of_their_own() {
        let nodes = ["db-1", "db_1", "db.1", "DB-2", "n"].map(node);
        let [dash, line, dot, two, primary] = &nodes;
        let of = |standby: &NodeName| ticket(None, standby, 7, primary, &nodes);
        let names = [of(dash), of(line), of(dot)];
        for (i, name) in names.iter().enumerate() {
            assert!(is_ticket(None, name) && name.len() <= LONGEST, "{name}");
            assert!(names[..i].iter().all(|other| other != name), "{name}");
        }
        // The same whoever is asked, and whatever the order is.
        let reversed: Vec<NodeName> = nodes.iter().rev().cloned().collect();
        assert_eq!(ticket(None, dash, 7, primary, &reversed), names[0]);
        // Two of them may have been promoted with the same epoch, on either side.
        assert_ne!(
            ticket(None, two, 7, dash, &nodes),
            ticket(None, two, 7, dot, &nodes)
        );
        // Who can't be mistaken has the name that every version gives it; a name in capitals is the same node's.
        assert_eq!(of(two), "expgsql_db_2_e7_n");
        let same = [node("db-1"), node("DB-1")];
        assert_eq!(ticket(None, dash, 7, primary, &same), "expgsql_db_1_e7_n");
    }

    #[test]
    fn other_slots_are_no_tickets() {
        for (prefix, slot, is) in [
            (None, "expgsql_node1_e7_node2", true),
            (None, "expgsql_db_1_e7_db_2", true),
            (None, "expgsql_node1", false),
            (None, "expgsql_node1_e7", false),
            (None, "expgsql_node1_east_node2", false),
            (None, "other_node1_e7_node2", false),
            (None, "expgsqlx_node1_e7_node2", false),
            (Some("exp"), "exp_node1_e7_node2", true),
            (Some("exp"), "exp_node1", false),
            (Some("exp"), "expgsql_node1_e7_node2", false),
        ] {
            assert_eq!(is_ticket(prefix, slot), is, "{prefix:?} {slot}");
        }
    }
}
