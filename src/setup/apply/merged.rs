//! A configuration that was changed, and how.

use crate::setup::render::xml::nvpair;
use crate::setup::tree::Tree;

/// A configuration that was changed, and how.
pub(super) struct Merged {
    /// `<configuration>`
    pub(super) configuration: Tree,
    /// Each in words. None: it is as it should be.
    pub(super) changes: Vec<String>,
    /// What was found and left, and is worth knowing.
    pub(super) remarks: Vec<String>,
    /// The agent it had: PostgreSQL runs under another agent now.
    pub(super) replaces: Option<String>,
}

impl Merged {
    /// Sets a property where it is, or in the set with this id.
    pub(super) fn set_property(&mut self, set: &str, name: &str, value: &str) {
        let config = self.configuration.child_mut("crm_config");
        let is_it = |e: &Tree| e.tag == "nvpair" && e.get("name") == Some(name);
        if let Some(pair) = config.find_mut(&is_it) {
            pair.set("value", value);
            return;
        }
        if config.find(&|e| e.id() == set).is_none() {
            config
                .children
                .push(Tree::new("cluster_property_set").with("id", set));
        }
        if let Some(found) = config.find_mut(&|e| e.id() == set) {
            found.children.push(nvpair(set, name, value));
        }
    }
}
