//! The rules of `decide`, tried in every order of events that a small cluster can meet.

mod agent;
mod cib;
mod memo;
mod mutations;
mod network;
mod node;
mod nodes;
mod observed;
mod properties;
mod rule;
mod story;
mod wal;
mod world;
mod worlds;

use stateright::{Checker, HasDiscoveries, Model};

use mutations::Mutation;
use properties::KEPT;
use world::World;

/// What a search found.
struct Found {
    /// The shortest story in which an acknowledged commit is lost, and its length.
    story: Option<(usize, String)>,
    reached: Vec<&'static str>,
    counts: String,
}

fn search(world: &World, limit: Option<usize>) -> Found {
    let mut builder = world
        .clone()
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(limit) = limit {
        builder = builder.target_state_count(limit);
    }
    let checker = builder.spawn_bfs().join();
    let mut reached: Vec<_> = checker.discoveries().into_keys().collect();
    reached.sort_unstable();
    let story = checker
        .discovery(KEPT)
        .map(|path| (path.clone().into_actions().len(), story::tell(path)));
    Found {
        story,
        reached,
        counts: format!(
            "{} states, {} distinct, depth {}",
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth()
        ),
    }
}

#[test]
fn explore() {
    let limit = std::env::var("LIMIT").map_or(2_000_000, |v| v.parse().expect("a number"));
    let only = std::env::var("ONLY").unwrap_or_default();
    for mutation in Mutation::ALL {
        if !format!("{mutation:?}").contains(&only) {
            continue;
        }
        for (name, world) in worlds::all() {
            let world = World {
                mutation: *mutation,
                ..world
            };
            let found = search(&world, Some(limit));
            let length = found.story.as_ref().map(|(length, _)| *length);
            println!(
                "{mutation:?} {name}: {length:?} {} {:?}",
                found.counts, found.reached
            );
            if let Some((_, story)) = found.story {
                println!("{story}");
                break;
            }
        }
    }
}
