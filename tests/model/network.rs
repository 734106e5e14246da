//! Who reaches whom, and who believes to be with whom.

use super::nodes::{Id, MAX, Set};

/// Links, each of two nodes. A link that works in one direction is as good as none: a ring of
/// corosync needs both, and so does a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Links([Set; MAX]);

impl Links {
    pub(crate) fn all(count: usize) -> Self {
        Self([Set::first(count); MAX])
    }

    pub(crate) fn joins(&self, a: Id, b: Id) -> bool {
        a == b || self.0[a.index()].has(b)
    }

    /// Whether each reaches each.
    pub(crate) fn joins_all(&self, nodes: Set) -> bool {
        nodes.iter().all(|n| nodes.iter().all(|m| self.joins(n, m)))
    }

    pub(crate) fn cut(&mut self, a: Id, b: Id) {
        self.0[a.index()] = self.0[a.index()].without(b);
        self.0[b.index()] = self.0[b.index()].without(a);
    }

    pub(crate) fn isolate(&mut self, node: Id, count: usize) {
        for other in Set::first(count).without(node).iter() {
            self.cut(node, other);
        }
    }
}

/// What is between the nodes. Replication and corosync may use different networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    pub(crate) corosync: Links,
    pub(crate) replication: Links,
}

impl Network {
    pub(crate) fn whole(count: usize) -> Self {
        Self {
            corosync: Links::all(count),
            replication: Links::all(count),
        }
    }
}

/// Which network a fault is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    Corosync,
    Replication,
    Both,
}

/// A way in which links break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cut {
    /// One node from all others.
    Node(Id),
    /// Two nodes from each other.
    Pair(Id, Id),
}

impl Network {
    pub(crate) fn cut(&mut self, which: Which, cut: Cut, count: usize) {
        let break_links = |links: &mut Links| match cut {
            Cut::Node(node) => links.isolate(node, count),
            Cut::Pair(a, b) => links.cut(a, b),
        };
        match which {
            Which::Corosync => break_links(&mut self.corosync),
            Which::Replication => break_links(&mut self.replication),
            Which::Both => {
                break_links(&mut self.corosync);
                break_links(&mut self.replication);
            }
        }
    }
}
