//! The worlds that are searched.

use expgsql::model::sync_names::Method;

use super::mutations::Mutation;
use super::network::{Cut, Which};
use super::nodes::{Id, Set};
use super::world::{Assumed, Hazards, World};

const FIRST: Id = Id(0);
const SECOND: Id = Id(1);

/// Three nodes, one commit, one fault of those in `hazards`, one promotion.
fn small(method: Method, hazards: Hazards) -> World {
    World {
        count: 3,
        mutation: Mutation::None,
        commits: 1,
        promotions: 1,
        faults: 1,
        hazards,
        unsafe_relax: false,
        assumed: Assumed {
            epoch_of_followers: true,
            barrier_in_force: true,
            promotion_raises_more: true,
            promotion_confirmed: true,
        },
        fine: false,
        method,
    }
}

/// One node is cut off.
fn cut(node: Id) -> Hazards {
    Hazards {
        cuts: vec![(Which::Both, Cut::Node(node))],
        ..Hazards::default()
    }
}

pub(crate) fn all() -> Vec<(&'static str, World)> {
    let mut worlds = Vec::new();
    for (method, names) in [
        (
            Method::First,
            [
                "primary cut off",
                "standby cut off",
                "primary crashes",
                "pair",
                "corosync",
                "standby repl",
            ],
        ),
        (
            Method::Any,
            [
                "quorum: primary cut off",
                "quorum: standby cut off",
                "quorum: primary crashes",
                "quorum: pair",
                "quorum: corosync",
                "quorum: standby repl",
            ],
        ),
    ] {
        let hazards = [
            cut(FIRST),
            cut(SECOND),
            Hazards {
                crashes: Set::of([FIRST]),
                restarts: true,
                ..Hazards::default()
            },
            Hazards {
                cuts: vec![(Which::Both, Cut::Pair(FIRST, SECOND))],
                ..Hazards::default()
            },
            Hazards {
                cuts: vec![(Which::Corosync, Cut::Node(FIRST))],
                ..Hazards::default()
            },
            Hazards {
                cuts: vec![(Which::Replication, Cut::Node(SECOND))],
                ..Hazards::default()
            },
        ];
        for (name, hazards) in names.into_iter().zip(hazards) {
            worlds.push((name, small(method, hazards)));
        }
    }
    worlds
}
