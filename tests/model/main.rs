//! The rules of `decide`, tried in every order of events that a small cluster can meet.

mod agent;
mod cib;
mod mutations;
mod network;
mod node;
mod nodes;
mod properties;
mod rule;
mod story;
mod wal;
mod world;

use expgsql::model::sync_names::Method;
use stateright::{Checker, HasDiscoveries, Model};

use mutations::Mutation;
use network::{Cut, Which};
use nodes::Id;
use properties::KEPT;
use world::{Hazards, World};

fn check(world: World) {
    let size = properties::size(&world);
    let checker = world
        .clone()
        .checker()
        .threads(2)
        .target_max_depth(std::env::var("DEPTH").map_or(99, |v| v.parse().expect("a number")))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{size}: {} states, {} distinct, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    let found: Vec<_> = checker.discoveries().into_keys().collect();
    println!("{found:?}");
    if let Some(path) = checker.discovery(KEPT) {
        panic!("{size}:\n{}", story::tell(&world, path));
    }
}

#[test]
fn three_nodes() {
    let _ = properties::initial;
    check(World {
        count: 3,
        mutation: Mutation::None,
        commits: std::env::var("COMMITS").map_or(2, |v| v.parse().expect("a number")),
        promotions: std::env::var("PROMOTIONS").map_or(1, |v| v.parse().expect("a number")),
        faults: std::env::var("FAULTS").map_or(1, |v| v.parse().expect("a number")),
        hazards: Hazards {
            cuts: vec![(
                Which::Both,
                Cut::Node(Id(
                    std::env::var("CUT").map_or(0, |v| v.parse().expect("a number"))
                )),
            )],
            crashes: nodes::Set::of(
                std::env::var("CRASH")
                    .ok()
                    .map(|v| Id(v.parse().expect("a number"))),
            ),
            restarts: std::env::var("RESTARTS").is_ok(),
            watches: std::env::var("WATCHES").is_ok(),

            ..Hazards::default()
        },
        unsafe_relax: false,
        assumed: world::Assumed {
            epoch_of_followers: true,
            barrier_in_force: true,
            promotion_raises_more: std::env::var("NO3").is_err(),
        },
        fine: std::env::var("FINE").is_ok(),
        method: Method::First,
    });
}
