//! The name of a cluster node.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node's name as the cluster configuration writes it. Compared without regard to case, as Pacemaker does, and
/// always whole, never as a pattern.
///
/// It never holds white space, `|`, `,` or quotes: records in the CIB and in synchronous_standby_names are separated
/// or quoted by them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName {
    exact: String,
    lower: String,
}

/// The text is not a node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameError {
    /// Nothing there.
    #[error("a node name is empty")]
    Empty,
    /// A character that no host name has, and that our records could not carry.
    #[error(
        "node name {name:?} has the character {character:?}, which a node name cannot have here"
    )]
    BadCharacter {
        /// The text.
        name: String,
        /// The first such character.
        character: char,
    },
}

impl NodeName {
    /// # Errors
    /// [`NodeNameError`] when empty, or when it holds white space, control characters, `|`, `,` or quotes.
    pub fn new(name: impl Into<String>) -> Result<Self, NodeNameError> {
        let exact = name.into();
        if exact.is_empty() {
            return Err(NodeNameError::Empty);
        }
        let is_bad =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '|' | ',' | '"' | '\'');
        if let Some(character) = exact.chars().find(|c| is_bad(*c)) {
            return Err(NodeNameError::BadCharacter {
                name: exact,
                character,
            });
        }
        let lower = exact.to_ascii_lowercase();
        Ok(Self { exact, lower })
    }

    /// As configured: to be written, and to be given to Pacemaker's tools.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.exact
    }

    /// In lower case: the standby's `application_name`.
    #[must_use]
    pub fn lower(&self) -> &str {
        &self.lower
    }
}

impl PartialEq for NodeName {
    fn eq(&self, other: &Self) -> bool {
        self.lower == other.lower
    }
}

impl Eq for NodeName {}

impl Hash for NodeName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lower.hash(state);
    }
}

impl Ord for NodeName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.lower.cmp(&other.lower)
    }
}

impl PartialOrd for NodeName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.exact)
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.exact
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    #[test]
    fn case_is_kept_for_writing_and_ignored_in_comparing() {
        let one = NodeName::new("DB-Node1.example").unwrap();
        let other: NodeName = "db-node1.EXAMPLE".parse().unwrap();
        assert_eq!(one, other);
        assert_eq!(one.as_str(), "DB-Node1.example");
        assert_eq!(one.lower(), "db-node1.example");
        assert_eq!(one.to_string(), "DB-Node1.example");
        assert_eq!(HashSet::from([one.clone(), other.clone()]).len(), 1);
        assert_eq!(BTreeSet::from([one, other]).len(), 1);
    }

    #[test]
    fn names_are_compared_whole() {
        assert_ne!(
            NodeName::new("node1").unwrap(),
            NodeName::new("node10").unwrap()
        );
        assert_ne!(
            NodeName::new("node.1").unwrap(),
            NodeName::new("nodeX1").unwrap()
        );
    }

    #[test]
    fn text_that_our_records_cannot_carry_is_refused() {
        assert_eq!(NodeName::new(""), Err(NodeNameError::Empty));
        for bad in ["a b", "a|b", "a,b", "a\n", "\ta", "a\"", "a'b", "a\u{0}"] {
            assert!(
                matches!(NodeName::new(bad), Err(NodeNameError::BadCharacter { .. })),
                "{bad:?}"
            );
        }
    }
}
