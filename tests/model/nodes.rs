//! Nodes and sets of nodes, small enough to be part of millions of states.

use std::fmt;

use expgsql::model::node_name::NodeName;
use expgsql::model::sync_names::StandbyName;

/// The largest cluster that is modelled.
pub(crate) const MAX: usize = 3;

/// A node by its place: 0 is `node1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) u8);

impl Id {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its standby name.
    pub(crate) fn standby(self) -> StandbyName {
        format!("node{}", self.0 + 1)
    }

    pub(crate) fn name(self) -> NodeName {
        NodeName::new(self.standby()).expect("a valid name")
    }

    /// The node whose standby is called `name`.
    pub(crate) fn of(name: &str) -> Self {
        let number = name.strip_prefix("node").and_then(|n| n.parse::<u8>().ok());
        Self(number.expect("a name made by this model") - 1)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0 + 1)
    }
}

/// A set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Set(u8);

impl Set {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) fn first(count: usize) -> Self {
        Self((1u8 << count) - 1)
    }

    pub(crate) fn of(ids: impl IntoIterator<Item = Id>) -> Self {
        ids.into_iter().fold(Self::EMPTY, Self::with)
    }

    pub(crate) fn with(self, id: Id) -> Self {
        Self(self.0 | 1 << id.0)
    }

    pub(crate) fn without(self, id: Id) -> Self {
        Self(self.0 & !(1 << id.0))
    }

    pub(crate) fn has(self, id: Id) -> bool {
        self.0 & 1 << id.0 != 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Id> {
        (0..MAX as u8).map(Id).filter(move |id| self.has(*id))
    }

    pub(crate) fn names(self) -> impl Iterator<Item = StandbyName> {
        self.iter().map(Id::standby)
    }

    /// Every set of the first `count` nodes that is not empty.
    pub(crate) fn all(count: usize) -> impl Iterator<Item = Self> {
        (1..1u8 << count).map(Self)
    }
}

/// `{1,3}`.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.iter().map(|id| (id.0 + 1).to_string()).collect();
        write!(f, "{{{}}}", ids.join(","))
    }
}
