//! How the cluster is, and how each node is.

use std::collections::BTreeMap;

use crate::decide::eligibility::Ground;
use crate::decide::why::reason::Reason;
use crate::model::node_name::NodeName;

/// The explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub state: State,
    /// One sentence, or two.
    pub answer: String,
    /// What helps, the most likely first.
    pub advice: Vec<String>,
    /// What keeps Pacemaker from promoting anybody at all.
    pub cluster: Vec<Reason>,
    /// Every node that replicates, or could.
    pub nodes: BTreeMap<NodeName, Answer>,
    /// Why commits wait at this moment; `None`: as far as is known they do not.
    pub waiting: Option<String>,
}

/// Who is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Primary(NodeName),
    /// Pacemaker is promoting it.
    Promoting(NodeName),
    Several(Vec<NodeName>),
    None,
    /// Pacemaker promotes nobody in this mode.
    NotPromotable,
}

/// What is known of one node's promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub is_primary: bool,
    /// On what ground it may be promoted, as far as its data go.
    pub ground: Option<Ground>,
    /// Everything that is against it, now, or, where there is a primary, if that one failed now.
    pub reasons: Vec<Reason>,
}

impl Answer {
    /// Nothing about its data is against it.
    #[must_use]
    pub fn has_the_data(&self) -> bool {
        !self.reasons.iter().any(Reason::is_about_data)
    }
}

impl Explanation {
    /// Nodes that may be promoted now, or if the primary failed now.
    pub fn candidates(&self) -> impl Iterator<Item = &NodeName> {
        let is_blocked = !self.cluster.is_empty();
        self.nodes
            .iter()
            .filter(move |(_, answer)| {
                !is_blocked && !answer.is_primary && answer.reasons.is_empty()
            })
            .map(|(name, _)| name)
    }
}
