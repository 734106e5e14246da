//! The patch that raises the admin_epoch and sets values, all of it or nothing, on one version of the CIB only: for a cluster in which a
//! member has Pacemaker 3.0.1 or newer.
//!
//! The admin_epoch is an attribute of the outermost element. `cibadmin --modify` with an `--xpath` that has the conditions in it sets
//! it up to Pacemaker 3.0.0. From 3.0.1 on the CIB daemon drops an input that is a `cib` element wherever a path is given, and the
//! change ends with 105, "No such device or address" (source: `daemons/based/based_callbacks.c`, `prepare_input`, where
//! `pcmk_find_cib_element` finds nothing any more for what is no section's name; `lib/cib/cib_file.c` mirrors it). Without a
//! path there is no condition: such a change would raise whatever CIB is there when it is carried out, after a merge that of
//! another partition. And in two steps either a raise could come without its values, or an agent killed in between would
//! leave values that a merge takes back, which is what the raise is for (docs/safety.md, R5).
//!
//! A patch (`cibadmin --patch`, what `crm_diff` writes) can change any element, and names the version it is for. Each daemon
//! holds that against its own copy at the patch's place in the order of changes, and applies all or nothing (source:
//! `lib/common/patchset.c`, `xml_patch_version_check`). The same in 2.1.5, 3.0.0 and 3.0.1 (tried).
//!
//! Why this is a compare-and-set of everything, and so of the conditions:
//! - Every change of the CIB raises the version, one of the status its last number. All of them take the same way through corosync's order
//!   of messages, so what the coordinator's copy was when the patch was made is what that copy is when it is applied there.
//! - Another member's copy may have another version, though: one that has just joined can lack a change of the status that was under
//!   way while it was given the partition's copy (seen on 2.1.5 on a loaded machine: a patch made from such a node's own copy was applied there, refused by both
//!   others as older than what they had, and reported as done; the epoch it began was known to nobody else, and nobody followed). A
//!   copy that is behind the coordinator's is brought up to it as soon as it meets the patch. So the patch is made from the
//!   coordinator's copy, and counts when every member's copy has been read and has it (`apply.rs`, `is_everywhere`).
//! - The patch has to set all attributes of the outermost element, `have-quorum` and `dc-uuid` too. They are those of that same version,
//!   so nothing of what the controller has written there is put back. (For the same reason the last number may not be left out of the
//!   patch, which would spare the other tries: these two change without the second number.)
//! - A write that was held up while the partition re-formed finds another version, and is refused, where the other form looked at
//!   its conditions alone.
//! - A copy with the very same three numbers and other contents would take it. That needs two partitions with as many changes of the
//!   configuration since they parted, and of the status since the last of those, and none that was raised in between; then both copies are
//!   equally heavy, and if the wrong one is kept, the rightful primary corrects the record (R5).
//!
//! What it costs (medians of 30, three nodes on two busy cores): 69 ms where the other form takes 49, of 2.1.5; 102 and 73 of 3.0.0, 89 and
//! 64 of 3.0.1, the read before and the one that confirms it included. While three nodes do nothing else and one of them changes the status
//! twelve times a second as well, 0.2 to 0.6 s, and no change was lost.
//!
//! A path in a patch knows no condition but an id: any other is passed over without a word. So none is put there.

use roxmltree::{Document, Node};

use crate::model::cluster_view::ClusterView;
use crate::pacemaker::attributes::WriteError;
use crate::pacemaker::change_set::{ChangeSet, Place, Weight, Write, nvpair};
use crate::pacemaker::cib::CibError;
use crate::pacemaker::document::{child, children};
use crate::pacemaker::xml::Element;

/// Behind all siblings.
const LAST: &str = "1000000";

/// The patch that sets the values of `changes` in the CIB `text`, which is `view`, and raises its admin_epoch.
///
/// # Errors
/// Those of [`ChangeSet::to_xml`]; [`WriteError::NotRead`] when `text` is no CIB.
pub(super) fn raising(
    text: &str,
    view: &ClusterView,
    changes: &ChangeSet,
    weight: Weight,
) -> Result<Vec<u8>, WriteError> {
    let malformed = |why: String| WriteError::NotRead(CibError::Malformed(why));
    let document = Document::parse(text).map_err(|error| malformed(error.to_string()))?;
    let cib = document.root_element();
    let configuration = child(cib, "configuration");
    let raised = (view.version.admin_epoch + weight.steps()).to_string();

    let version = |tag: &'static str, admin_epoch: &str| {
        Element::new(tag)
            .with("admin_epoch", admin_epoch)
            .with("epoch", &view.version.epoch.to_string())
            .with("num_updates", &view.version.num_updates.to_string())
    };
    let from_to = Element::new("version")
        .holding(version("source", &view.version.admin_epoch.to_string()))
        .holding(version("target", &raised));
    let mut outermost = Element::new("cib");
    for attribute in cib.attributes() {
        let value = match attribute.name() {
            "admin_epoch" => raised.as_str(),
            _ => attribute.value(),
        };
        outermost = outermost.with(attribute.name().to_owned(), value);
    }
    let mut diff = Element::new("diff")
        .with("format", "2")
        .holding(from_to)
        .holding(modify("/cib", "admin_epoch", &raised, outermost));

    // Sets that there are not yet, with all that goes into them.
    let mut new_sets: Vec<(String, Element)> = Vec::new();
    for write in changes.writes(view)? {
        let (parent, holder) = match &write.place {
            Place::Properties => (
                "/cib/configuration/crm_config".to_owned(),
                configuration.and_then(|it| child(it, "crm_config")),
            ),
            Place::Node(id) => (
                format!(
                    "/cib/configuration/nodes/node[@id='{}']",
                    plain(&write, id)?
                ),
                configuration
                    .and_then(|it| child(it, "nodes"))
                    .and_then(|nodes| with_id(nodes, "node", id)),
            ),
        };
        let (set_id, tag) = (plain(&write, &write.pair.set_id)?, write.place.set_tag());
        let set_path = format!("{parent}/{tag}[@id='{set_id}']");
        let pair = nvpair(write.name, &write.pair);
        let Some(set) = holder.and_then(|holder| with_id(holder, tag, set_id)) else {
            match new_sets.iter_mut().find(|(path, _)| *path == set_path) {
                Some((_, set)) => set.merge(pair),
                None => {
                    let set = Element::new(tag).with("id", set_id).holding(pair);
                    new_sets.push((set_path, set));
                }
            }
            continue;
        };
        let pair_id = plain(&write, &write.pair.id)?;
        diff = diff.holding(match with_id(set, "nvpair", pair_id) {
            Some(_) => {
                let path = format!("{set_path}/nvpair[@id='{pair_id}']");
                modify(&path, "value", &write.pair.value, pair)
            }
            None => create(&set_path, pair),
        });
    }
    for (path, set) in new_sets {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        diff = diff.holding(create(parent, set));
    }
    Ok(diff.to_bytes())
}

fn with_id<'a, 'i>(parent: Node<'a, 'i>, tag: &'a str, id: &str) -> Option<Node<'a, 'i>> {
    children(Some(parent), tag).find(|it| it.attribute("id") == Some(id))
}

/// The element becomes `result`, but for what is in it. `attribute` is what Pacemaker's log shows of it.
fn modify(path: &str, attribute: &str, value: &str, result: Element) -> Element {
    let shown = Element::new("change-attr")
        .with("name", attribute)
        .with("operation", "set")
        .with("value", value);
    Element::new("change")
        .with("operation", "modify")
        .with("path", path)
        .holding(Element::new("change-list").holding(shown))
        .holding(Element::new("change-result").holding(result))
}

fn create(parent: &str, element: Element) -> Element {
    Element::new("change")
        .with("operation", "create")
        .with("path", parent)
        .with("position", LAST)
        .holding(element)
}

/// An id as a patch's path can have it: Pacemaker takes it apart at these characters, whatever stands in front of them.
fn plain<'a>(write: &Write<'_>, id: &'a str) -> Result<&'a str, WriteError> {
    let is_bad = |c: char| matches!(c, '/' | '\'') || c.is_whitespace();
    if id.is_empty() || id.contains(is_bad) {
        return Err(WriteError::BadValue {
            name: write.name.to_owned(),
            value: id.to_owned(),
            why: "an id in the CIB has a slash, a quote or a space, and no patch can name it",
        });
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node_name::NodeName;
    use crate::pacemaker::cib::parse;

    const ONLINE: &str = include_str!("../../tests/fixtures/cib/two-nodes-online-2.1.5.xml");

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn patch(text: &str, changes: &ChangeSet) -> Result<String, WriteError> {
        let patch = raising(text, &parse(text).unwrap(), changes, Weight::Promotion)?;
        Ok(String::from_utf8(patch).unwrap())
    }

    #[test]
    fn the_outermost_element_keeps_what_it_has() {
        let version = r#"epoch="142" num_updates="1""#;
        let expected = [
            r#"<diff format="2"><version><source admin_epoch="11" "#,
            version,
            r#"/><target admin_epoch="111" "#,
            version,
            r#"/></version><change operation="modify" path="/cib"><change-list>"#,
            r#"<change-attr name="admin_epoch" operation="set" value="111"/></change-list><change-result>"#,
            r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" "#,
            version,
            r#" admin_epoch="111" cib-last-written="Sat Nov 21 08:18:46 2026" update-origin="node1" "#,
            r#"update-client="cibadmin" update-user="root" have-quorum="1" dc-uuid="1"/>"#,
            "</change-result></change></diff>",
        ];
        assert_eq!(
            patch(ONLINE, &ChangeSet::default()).unwrap(),
            expected.concat()
        );
    }

    #[test]
    fn a_set_that_is_not_there_is_made_once() {
        let text = ONLINE.replace("pgsql_replication", "somebody-s");
        let changes = ChangeSet::default()
            .property("one", Some("1"))
            .permanent(&node("node1"), "three", Some("3"))
            .property("two", Some("2"));
        let patch = patch(&text, &changes).unwrap();
        let at = |text: &str| patch.matches(text).count();
        assert_eq!(at(r#"<cluster_property_set id="pgsql_replication">"#), 1);
        assert_eq!(
            at(r#"operation="create" path="/cib/configuration/crm_config""#),
            1
        );
        let set = "/cib/configuration/nodes/node[@id=&apos;1&apos;]/instance_attributes[@id=&apos;nodes-1&apos;]";
        assert_eq!(at(&format!(r#"operation="create" path="{set}""#)), 1);
    }

    #[test]
    fn an_id_that_a_path_cannot_have_is_refused() {
        for bad in ["a/b", "a&apos;b", "a b"] {
            let text = ONLINE.replace("id=\"nodes-2\"", &format!("id=\"{bad}\""));
            let changes =
                ChangeSet::default().permanent(&node("node2"), "pgsql-data-status", Some("x"));
            let result = patch(&text, &changes);
            assert!(
                matches!(result, Err(WriteError::BadValue { .. })),
                "{bad}: {result:?}"
            );
        }
    }
}
