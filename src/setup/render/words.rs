//! What a configuration says of itself in its comments, whichever form it is in.

use crate::setup::parts::{NO_QUORUM_POLICY, Way};

use super::super::plan::Plan;

/// The comment at the top, without comment signs.
pub(super) fn heading(plan: &Plan, how: &[&str]) -> Vec<String> {
    let what = match (plan.means.two_nodes, plan.means.has_lock) {
        (true, true) => {
            "Two nodes, and a lock service outside of them that decides who may be primary (docs/lock-service.md)."
        }
        (true, false) => "Two nodes: fencing or a quorum device decides who goes on.",
        (false, _) => "Three nodes or more, of which the majority goes on.",
    };
    let mut lines = vec![
        format!("PostgreSQL with an address for writers and one for readers. {what}"),
        String::new(),
    ];
    lines.extend(how.iter().map(|line| (*line).to_owned()));
    lines
}

/// Why the properties are what they are.
pub(super) fn why_properties(plan: &Plan) -> Vec<&'static str> {
    let policy = plan.properties.iter();
    let policy = policy.filter(|property| property.name == NO_QUORUM_POLICY);
    let quorum: &[&str] = match policy.map(|property| property.value.as_str()).next() {
        Some("ignore") => &[
            "no-quorum-policy=ignore is for the lock service: one of two nodes that starts alone asks it, and does not wait for the",
            "other. With fencing or a quorum device it is stop.",
        ],
        Some("stop") => &["A part of the cluster without quorum stops everything."],
        Some(_) | None => &[],
    };
    let fencing = [
        "stonith-enabled=false is for a cluster without fencing devices or SBD, which would start nothing otherwise.",
        "Where there is either, leave that out.",
    ];
    [&fencing, quorum].concat()
}

pub(super) const WHY_CLONE: [&str; 2] = [
    "failure-timeout: a node that was given up may try again. resource-stickiness: an instance must hold to its node more",
    "than the readers' address prefers another, or Pacemaker restarts standbys for the address.",
];

pub(super) const WHY_WRITER: &str = "Writers: with the primary, and only once it takes writes.";

pub(super) const WHY_READER: [&str; 3] = [
    "Readers: with a standby that gets the primary's WAL and replays it, preferably one that commits wait for; else with the",
    "primary (reader_on_primary). Keep these scores below 900, the distance between two promotion scores, or the preference",
    "moves the primary.",
];

pub(super) const WHY_GATEWAY: [&str; 2] = [
    "The primary: preferably where the gateway answers. Nothing is forbidden, so it stays where it is when no node reaches the",
    "gateway; the scores are relative to the distance between two promotion scores, 900.",
];

/// A rule on what is known of a node's way out, as pcs and crmsh write it.
pub(super) fn way_of(way: Way, attribute: &str) -> String {
    match way {
        Way::Open => format!("{attribute} gt 0"),
        Way::Unknown => format!("not_defined {attribute}"),
    }
}

/// The second half of a rule, as pcs and crmsh write it.
pub(super) fn and_without(attribute: Option<&str>) -> String {
    attribute.map_or_else(String::new, |name| format!(" and not_defined {name}"))
}
