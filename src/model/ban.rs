//! What keeps a resource from being promoted on a node.

use std::collections::BTreeSet;

use crate::model::node_name::NodeName;

/// A location constraint by which nobody is promoted on one node: about the resource as a whole, or about its promoted role. Its score
/// is -INFINITY, or so low that with the others there nothing makes up for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The constraint's id.
    pub id: String,
    /// The primitives that it is about.
    pub resources: Vec<String>,
    pub node: NodeName,
    /// It is about the promoted role alone.
    pub is_of_promoted: bool,
    /// When it ends, as it is written; `None`: never, or not in so many words.
    pub until: Option<String>,
}

/// What location constraints say of where resources are promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    /// In force now.
    pub in_force: Vec<Ban>,
    /// Those of which only Pacemaker knows whether they are: a date that is none, say.
    pub unclear: Vec<Ban>,
    pub places: Places,
}

/// Where resources may run at all, for those that run only where a constraint lets them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// All resources do (`symmetric-cluster=false`).
    pub is_opt_in: bool,
    /// Primitives and nodes of which a constraint says something, or may.
    pub named: BTreeSet<(String, NodeName)>,
    /// Primitives that are looked for and run only where a constraint says so (`resource-discovery=exclusive`).
    pub exclusive: BTreeSet<String>,
    /// Where one does.
    pub exclusively: BTreeSet<(String, NodeName)>,
}

impl Places {
    /// Whether the resource may run on the node, as far as this goes.
    #[must_use]
    pub fn have(&self, resource: &str, node: &NodeName) -> bool {
        let place = (resource.to_owned(), node.clone());
        let is_excluded = self.exclusive.contains(resource) && !self.exclusively.contains(&place);
        !is_excluded && (!self.is_opt_in || self.named.contains(&place))
    }
}

impl Ban {
    /// It is about this primitive, among others.
    #[must_use]
    pub fn is_of(&self, resource: &str) -> bool {
        self.resources.iter().any(|name| name == resource)
    }

    /// Pacemaker's own commands made it (`crm_resource --ban`), and take it away again.
    #[must_use]
    pub fn is_by_command(&self) -> bool {
        self.id.starts_with("cli-")
    }
}
