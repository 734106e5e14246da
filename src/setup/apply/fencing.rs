//! What the cluster can fence a node with, and what stands in the way of that.

use crate::setup::tree::Tree;

use super::find::property;
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
