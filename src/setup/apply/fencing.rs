//! What the cluster can fence a node with, and what stands in the way of that.

use serde::{Deserialize, Serialize};

use crate::setup::tree::Tree;

use super::find::{property, sets};
use super::same;

/// The property that switches fencing on and off, by its name of today and by the one that Pacemaker 3.0 has brought.
pub(super) const ENABLED: [&str; 2] = ["stonith-enabled", "fencing-enabled"];

/// After how long a node that is lost has ended itself by its watchdog, by both names.
const WATCHDOG_TIMEOUT: [&str; 2] = ["stonith-watchdog-timeout", "fencing-watchdog-timeout"];

/// Whether there is anything that can fence a node.
pub(super) fn is_there(configuration: &Tree) -> bool {
    has_device(configuration) || has_watchdog(configuration)
}

/// Whether nodes are fenced: nobody has switched it off, either.
pub(super) fn is_used(configuration: &Tree) -> bool {
    let is_off = |name: &&str| property(configuration, name).is_some_and(|on| !same::is_true(on));
    is_there(configuration) && !ENABLED.iter().any(is_off)
}

/// SBD without a disk: Pacemaker found a watchdog, and counts on it. A time of 0, the default, means that it does not; one below it
/// has Pacemaker choose.
fn has_watchdog(configuration: &Tree) -> bool {
    let set = |name: &str| property(configuration, name);
    let counts_on_it = WATCHDOG_TIMEOUT
        .iter()
        .filter_map(|name| set(name))
        .any(|text| same::time(text) != same::time("0"));
    set("have-watchdog").is_some_and(same::is_true) && counts_on_it
}

/// By what nodes are fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::setup) enum Means {
    /// By nothing, or it is not known.
    #[default]
    None,
    /// By their own watchdogs alone.
    Watchdog,
    /// By a device.
    Device {
        /// Of two that fence each other, the primary's has a start.
        prefers_primary: bool,
    },
}

/// What the cluster has of it.
pub(super) fn means(configuration: &Tree) -> Means {
    match (is_used(configuration), has_device(configuration)) {
        (false, _) => Means::None,
        (true, false) => Means::Watchdog,
        (true, true) => Means::Device {
            prefers_primary: prefers_primary(configuration),
        },
    }
}

/// Pacemaker waits with the fencing of the node whose resources have the higher priority, and counts one more for what is promoted: where
/// none has a priority, that is nothing.
fn prefers_primary(configuration: &Tree) -> bool {
    let delay = property(configuration, "priority-fencing-delay");
    let waits = delay.is_some_and(|delay| same::time(delay) != same::time("0"));
    let is_priority = |pair: &Tree| {
        let value = pair.get("value").unwrap_or_default().trim();
        pair.get("name") == Some("priority") && !value.is_empty() && value != "0"
    };
    let has_priority = |resources: &Tree| {
        let mut sets = resources.all().flat_map(|it| sets(it, "meta_attributes"));
        sets.any(|set| set.children_named("nvpair").any(is_priority))
    };
    waits && configuration.child("resources").is_some_and(has_priority)
}

fn has_device(configuration: &Tree) -> bool {
    let is_device = |e: &Tree| e.tag == "primitive" && e.get("class") == Some("stonith");
    configuration
        .child("resources")
        .is_some_and(|resources| resources.all().any(is_device))
}

/// What a stop of this resource has instead of fencing, where it has anything of its own. Pacemaker's default is right with fencing
/// and without: the node is fenced, or, where it can't be, the resource is blocked there.
pub(super) fn instead(primitive: &Tree) -> Option<&str> {
    let operations = primitive.child("operations")?;
    let mut stops = operations
        .children_named("op")
        .filter(|op| op.get("name") == Some("stop"));
    stops
        .find_map(|op| op.get("on-fail"))
        .filter(|on_fail| *on_fail != "fence")
}

/// That it stays, and what to type.
pub(super) fn it_stays(id: &str, on_fail: &str) -> String {
    format!(
        "{id}: on-fail={on_fail} of its stop stays, as somebody chose it: a node on which it can't be stopped is not fenced then, and \
         nobody takes over; to have it fenced: pcs resource update {id} op stop interval=0s timeout=60s on-fail=fence"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_by_what_nodes_are_fenced() {
        let device = r#"<primitive id="f" class="stonith" type="fence_x"/>"#;
        let with_priority = |value: &str| {
            format!(
                r#"{device}<clone id="c"><meta_attributes id="m"><nvpair id="n" name="priority" value="{value}"/></meta_attributes></clone>"#
            )
        };
        let by_device = |prefers_primary| Means::Device { prefers_primary };
        let watchdog = [
            ("have-watchdog", "true"),
            ("stonith-watchdog-timeout", "10"),
        ];
        let delay = |delay| {
            [
                ("priority-fencing-delay", delay),
                ("stonith-enabled", "true"),
            ]
        };
        for (properties, resources, expected) in [
            (&[][..], String::new(), Means::None),
            (&[], device.to_owned(), by_device(false)),
            (
                &[("stonith-enabled", "false")],
                device.to_owned(),
                Means::None,
            ),
            (&watchdog, String::new(), Means::Watchdog),
            (&watchdog[..1], String::new(), Means::None),
            (&watchdog, device.to_owned(), by_device(false)),
            (&delay("10s"), device.to_owned(), by_device(false)),
            (&delay("10s"), with_priority("1"), by_device(true)),
            (&delay("10s"), with_priority("0"), by_device(false)),
            (&delay("0"), with_priority("1"), by_device(false)),
        ] {
            let pairs: String = properties
                .iter()
                .map(|(name, value)| {
                    format!(r#"<nvpair id="{name}" name="{name}" value="{value}"/>"#)
                })
                .collect();
            let text = format!(
                r#"<configuration><crm_config><cluster_property_set id="o">{pairs}</cluster_property_set></crm_config><resources>{resources}</resources></configuration>"#
            );
            let configuration = Tree::parse(&text).unwrap();
            assert_eq!(means(&configuration), expected, "{text}");
        }
    }
}
