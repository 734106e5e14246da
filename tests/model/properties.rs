//! What must always hold, and what must be possible.

use stateright::Property;

use super::nodes::Id;
use super::world::{State, World};

/// How a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// A node takes writes that lacks an acknowledged commit.
    Promoted(Id),
    /// A commit was acknowledged that the node promoted last has not.
    Answered(Id),
}

/// Looked at when a promotion is complete.
pub(crate) fn after_promotion(state: &State, id: Id) -> Option<Wrong> {
    let has = state.node(id).wal.set();
    (state.acked & !has != 0).then_some(Wrong::Promoted(id))
}

/// Looked at when clients were answered.
pub(crate) fn after_answer(state: &State, id: Id) -> Option<Wrong> {
    let has = state.node(state.latest).wal.set();
    (state.acked & !has != 0).then_some(Wrong::Answered(id))
}

pub(crate) const KEPT: &str = "an acknowledged commit survives";

pub(crate) fn all() -> Vec<Property<World>> {
    vec![
        Property::always(KEPT, |_: &World, state: &State| state.wrong.is_none()),
        Property::sometimes("a failover", |_: &World, s: &State| {
            let leader = s.node(s.latest);
            // Of what was written before the promotion.
            s.latest != Id(0) && leader.is_primary() && s.acked & leader.wal.inherited() != 0
        }),
        Property::sometimes("alone", |_: &World, s: &State| {
            let mut nodes = s.nodes.iter();
            nodes.any(|n| n.is_primary() && n.in_force == super::rule::Rule::NOBODY)
        }),
    ]
}
