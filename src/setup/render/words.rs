//! What a configuration says of itself in its comments, whichever form it is in.

use crate::setup::parts::{NO_QUORUM_POLICY, Property, Way};

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

/// The properties that config.ini sets. What it says nothing of is the cluster's, which is not known here: it may have fencing.
pub(super) fn said(plan: &Plan) -> impl Iterator<Item = &Property> {
    plan.properties
        .iter()
        .filter(|property| !property.is_default)
}

/// The properties that a cluster needs that has nothing to fence with, and where config.ini says nothing of them. Where Pacemaker's
/// own default is meant there is nothing to write.
pub(super) fn without_fencing(plan: &Plan) -> impl Iterator<Item = &Property> {
    let is_own = |it: &Property| it.name == NO_QUORUM_POLICY && it.value == "stop";
    plan.properties
        .iter()
        .filter(move |property| property.is_default && !is_own(property))
}

/// Why the properties are what they are.
pub(super) fn why_properties(plan: &Plan) -> Vec<&'static str> {
    let is_needed = |name: &str| without_fencing(plan).any(|property| property.name == name);
    let fencing: &[&str] = if is_needed("stonith-enabled") {
        &[
            "A cluster without fencing devices or SBD starts nothing unless stonith-enabled=false. Where there is either, fencing stays on.",
        ]
    } else {
        &[]
    };
    let quorum: &[&str] = if is_needed(NO_QUORUM_POLICY) {
        &[
            "no-quorum-policy=ignore is for the lock service: one of two nodes that starts alone asks it, and does not wait for the",
            "other. With fencing or a quorum device it is stop.",
        ]
    } else {
        &[]
    };
    [fencing, quorum].concat()
}

/// The same, and what to type, for formats that can't look at the cluster.
pub(super) fn how_properties(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = why_properties(plan)
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    let needed: Vec<String> = without_fencing(plan)
        .map(|it| format!("crm_attribute -n {} -v {}", it.name, it.value))
        .collect();
    if !needed.is_empty() {
        lines.push(format!(
            "Where nothing can fence, and neither is set yet: {}",
            needed.join("; ")
        ));
    }
    lines
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
