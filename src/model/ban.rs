//! What keeps a resource from being promoted on a node.

use crate::model::node_name::NodeName;

/// A location constraint with a score of -INFINITY, in force now, on one node: about the resource as a whole, or about its
/// promoted role.
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

impl Ban {
    /// Pacemaker's own commands made it (`crm_resource --ban`), and take it away again.
    #[must_use]
    pub fn is_by_command(&self) -> bool {
        self.id.starts_with("cli-")
    }
}
