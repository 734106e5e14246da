//! Where Pacemaker has its hands off: there it stops nothing, and what was told to stop meanwhile stops when that ends.

use crate::model::cluster_view::{ClusterView, NodeView, ResourceName, parse_bool};
use crate::pacemaker::cib::CibError;
use crate::pacemaker::resources::{self, Resource};
use crate::setup::parts::Names;

/// Whose resources may be ours.
const AGENTS: [&str; 3] = ["expgsql", "pgsql", "IPaddr2"];

/// Our resources in a CIB, as Pacemaker takes them.
///
/// # Errors
/// [`CibError`].
pub(super) fn ours(cib: &str, names: &Names) -> Result<Vec<Resource>, CibError> {
    let mut all = Vec::new();
    for agent in AGENTS {
        all.extend(resources::of_agent(cib, agent)?);
    }
    let is_ours = |id: &str| id == names.resource || names.addresses().any(|name| name == id);
    all.retain(|it| is_ours(it.name.as_str()));
    Ok(all)
}

/// Whether a node's attribute is on, until it is changed or until its machine restarts.
pub(super) fn is_on(node: &NodeView, attribute: &str) -> bool {
    let says = |text: Option<&str>| text.and_then(parse_bool) == Some(true);
    says(node.permanent.get(attribute)) || says(node.transient.get(attribute))
}

/// Why Pacemaker starts and stops nothing of ours, and what to do about that. `None`: it does.
///
/// # Errors
/// [`CibError`].
pub(super) fn off(
    cib: &str,
    view: &ClusterView,
    names: &Names,
) -> Result<Option<String>, CibError> {
    if let Some(why) = mode(view) {
        return Ok(Some(why));
    }
    let ours = ours(cib, names)?;
    Ok(ours.iter().find(|it| !it.is_managed()).map(unmanaged))
}

/// The same of the whole cluster, by its maintenance mode.
pub(super) fn mode(view: &ClusterView) -> Option<String> {
    let is_on = view.property("maintenance-mode").and_then(parse_bool) == Some(true);
    is_on.then(|| {
        "the cluster is in maintenance mode, so Pacemaker starts and stops nothing; first expgsql cluster unmaintenance"
            .to_owned()
    })
}

/// What is said of one that is unmanaged.
pub(super) fn unmanaged(it: &Resource) -> String {
    format!(
        "{0} is unmanaged, so Pacemaker does not start or stop it; first expgsql cluster manage, or, with another agent, take is-managed=false or \
         maintenance=true away from where it stands (crm_resource --resource={0} --meta --get-parameter=is-managed)",
        it.name
    )
}

/// Ours that run somewhere, or may, as far as the CIB says it.
fn running<'v>(
    view: &'v ClusterView,
    names: &Names,
) -> impl Iterator<Item = (ResourceName, &'v NodeView)> {
    let ids = std::iter::once(&names.resource).chain(names.addresses());
    let ids: Vec<ResourceName> = ids.filter_map(|id| ResourceName::new(id)).collect();
    ids.into_iter().flat_map(|id| {
        let on: Vec<&NodeView> = view.active_nodes(&id).collect();
        on.into_iter().map(move |node| (id.clone(), node))
    })
}

/// The same, where something is to be taken out for good: what runs nowhere needs no stop, and nothing is to start afterwards.
///
/// # Errors
/// [`CibError`].
pub(super) fn off_for_removal(
    cib: &str,
    view: &ClusterView,
    names: &Names,
) -> Result<Option<String>, CibError> {
    if running(view, names).next().is_none() {
        return Ok(None);
    }
    off_where_it_runs(cib, view, names)
}

/// The same, where something is to be stopped: on no node may it run out of Pacemaker's hands.
///
/// # Errors
/// [`CibError`].
pub(super) fn off_where_it_runs(
    cib: &str,
    view: &ClusterView,
    names: &Names,
) -> Result<Option<String>, CibError> {
    if let Some(why) = off(cib, view, names)? {
        return Ok(Some(why));
    }
    let mut held = running(view, names).filter(|(_, node)| is_on(node, "maintenance"));
    Ok(held.next().map(|(id, node)| {
        format!(
            "{0} is in maintenance mode, so Pacemaker does not stop {id} there; first expgsql cluster unmaintenance-node {0}",
            node.name
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::cib;

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    /// A node's attribute, of node2, which is a standby.
    fn with_attribute(text: &str, name: &str, value: &str) -> String {
        let pair = format!("<nvpair id=\"test-{name}\" name=\"{name}\" value=\"{value}\"/>");
        let at = text.find("uname=\"node2\"").unwrap();
        let set = "<instance_attributes id=\"nodes-2\">";
        let begin = at + text[at..].find(set).unwrap() + set.len();
        format!("{}{pair}{}", &text[..begin], &text[begin..])
    }

    fn with_property(text: &str, name: &str, value: &str) -> String {
        let pair = format!("<nvpair id=\"test-{name}\" name=\"{name}\" value=\"{value}\"/>");
        let set = "<cluster_property_set id=\"cib-bootstrap-options\">";
        assert!(text.contains(set));
        text.replacen(set, &format!("{set}{pair}"), 1)
    }

    /// A meta attribute of a resource, behind its own parameters.
    fn with_meta(text: &str, element: &str, name: &str, value: &str) -> String {
        let begin = text.find(element).unwrap_or_else(|| panic!("{element}"));
        let at = begin + text[begin..].find('>').unwrap() + 1;
        let set = format!(
            "<meta_attributes id=\"test-m\"><nvpair id=\"test-{name}\" name=\"{name}\" value=\"{value}\"/></meta_attributes>"
        );
        format!("{}{set}{}", &text[..at], &text[at..])
    }

    #[test]
    fn nothing_is_stopped_where_pacemaker_does_not_act() {
        let names = Names {
            readers: vec!["vip-slave".to_owned()],
            ..Names::default()
        };
        let clone = "<clone id=\"msPostgresql\"";
        let pgsql = "<primitive id=\"pgsql\"";
        let stock = THREE.replace("type=\"expgsql\"", "type=\"pgsql\"");
        let vip = |name, value| with_meta(THREE, "<primitive id=\"vip-slave\"", name, value);
        let defaults = "<meta_attributes id=\"rsc_defaults-meta_attributes\">";
        assert!(THREE.contains(defaults));
        let pair = "<nvpair id=\"test-i\" name=\"is-managed\" value=\"false\"/>";
        let defaults = THREE.replace(defaults, &format!("{defaults}{pair}"));
        let free = [
            THREE.to_owned(),
            with_property(THREE, "maintenance-mode", "false"),
            with_attribute(THREE, "maintenance", "false"),
            with_attribute(THREE, "standby", "on"),
            with_meta(THREE, pgsql, "is-managed", "true"),
        ];
        for text in &free {
            let view = cib::parse(text).unwrap();
            assert_eq!(off_where_it_runs(text, &view, &names).unwrap(), None);
        }
        for (text, part) in [
            (
                with_property(THREE, "maintenance-mode", "true"),
                "cluster unmaintenance",
            ),
            (
                with_property(&stock, "maintenance-mode", "yes"),
                "cluster unmaintenance",
            ),
            (
                with_meta(THREE, clone, "is-managed", "false"),
                "pgsql is unmanaged",
            ),
            (
                with_meta(THREE, clone, "maintenance", "true"),
                "pgsql is unmanaged",
            ),
            (
                with_meta(THREE, pgsql, "is-managed", "false"),
                "pgsql is unmanaged",
            ),
            (
                with_meta(&stock, pgsql, "maintenance", "on"),
                "pgsql is unmanaged",
            ),
            (vip("is-managed", "false"), "vip-slave is unmanaged"),
            (defaults, "is unmanaged"),
            (
                with_attribute(THREE, "maintenance", "true"),
                "unmaintenance-node node2",
            ),
        ] {
            let view = cib::parse(&text).unwrap();
            let why = off_where_it_runs(&text, &view, &names).unwrap();
            let why = why.unwrap_or_else(|| panic!("{part}: nothing in the way"));
            assert!(why.contains(part), "{part}: {why}");
        }
    }

    #[test]
    fn what_runs_nowhere_is_taken_out_in_every_mode() {
        let names = Names {
            readers: vec!["vip-slave".to_owned()],
            ..Names::default()
        };
        let without = |text: &str, ids: &[&str]| {
            ids.iter().fold(text.to_owned(), |text, id| {
                text.replace(
                    &format!("<lrm_resource id=\"{id}\""),
                    "<lrm_resource id=\"other\"",
                )
            })
        };
        let all = ["pgsql", "vip-master", "vip-slave"];
        let mode = with_property(THREE, "maintenance-mode", "true");
        let unmanaged = with_meta(THREE, "<primitive id=\"pgsql\"", "is-managed", "false");
        let node = with_attribute(THREE, "maintenance", "true");
        for (text, is_refused) in [
            (without(&mode, &all), false),
            (without(&unmanaged, &all), false),
            (without(&node, &all), false),
            // An address is still up, and would stay so.
            (without(&mode, &["pgsql", "vip-master"]), true),
            (without(&unmanaged, &["vip-master", "vip-slave"]), true),
            (mode, true),
            (unmanaged, true),
            (node, true),
            (THREE.to_owned(), false),
        ] {
            let view = cib::parse(&text).unwrap();
            let why = off_for_removal(&text, &view, &names).unwrap();
            assert_eq!(why.is_some(), is_refused, "{why:?}");
        }
    }
}
