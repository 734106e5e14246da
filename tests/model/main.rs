//! The rules of `decide`, tried in every order of events that a small cluster can meet. What is modelled, and what was
//! found, is in docs/model.md.

mod agent;
mod cib;
mod lock;
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

/// Breadth first and by one thread, so that the story is a shortest one, and the same each time.
fn search(world: &World, most: Option<usize>) -> Found {
    let mut builder = world
        .clone()
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = most {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_bfs().join();
    let mut reached: Vec<_> = checker.discoveries().into_keys().collect();
    reached.sort_unstable();
    let story = checker
        .discovery(KEPT)
        .map(|path| (path.clone().into_actions().len(), story::tell(path)));
    let counts = format!(
        "{} states, {} distinct, {} deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    Found {
        story,
        reached,
        counts,
    }
}

/// Every order of events in `world`: no acknowledged commit is lost, and what is to be possible is.
fn holds(name: &str, world: &World, reached: &[&str]) {
    let found = search(world, None);
    println!("{name}: {}, reached: {:?}", found.counts, found.reached);
    if let Some((_, story)) = found.story {
        panic!("{name}: an acknowledged commit is lost\n{story}");
    }
    assert_eq!(found.reached, reached, "{name}: what was reached");
}

/// The same world without one rule: the search must find what the rule is for.
fn fails(mutation: Mutation, world: World) {
    let found = search(&World { mutation, ..world }, None);
    let Some((length, story)) = found.story else {
        panic!(
            "{mutation:?}: nothing is lost without this rule ({})",
            found.counts
        );
    };
    println!("{mutation:?}: {length} steps, {}\n{story}", found.counts);
}

const BOTH: &[&str] = &["a failover", "alone"];

mod priority {
    use super::{BOTH, holds, worlds};
    use expgsql::model::sync_names::Method::First;

    #[test]
    fn the_primary_is_cut_off() {
        holds(
            "priority, primary cut off",
            &worlds::primary_cut_off(First),
            BOTH,
        );
    }

    #[test]
    fn a_standby_is_cut_off() {
        holds(
            "priority, standby cut off",
            &worlds::standby_cut_off(First),
            BOTH,
        );
    }

    #[test]
    fn the_primary_crashes() {
        holds(
            "priority, primary crashes",
            &worlds::primary_crashes(First),
            BOTH,
        );
    }

    #[test]
    fn a_standby_is_asked_for_and_the_primary_crashes() {
        holds(
            "priority, primary crashes, a standby asked for",
            &worlds::requested(worlds::primary_crashes(First)),
            BOTH,
        );
    }
}

mod quorum {
    use super::{BOTH, holds, worlds};
    use expgsql::model::sync_names::Method::Any;

    #[test]
    fn the_primary_is_cut_off() {
        holds(
            "quorum, primary cut off",
            &worlds::primary_cut_off(Any),
            BOTH,
        );
    }

    #[test]
    fn a_standby_is_cut_off() {
        holds(
            "quorum, standby cut off",
            &worlds::standby_cut_off(Any),
            BOTH,
        );
    }

    #[test]
    fn the_primary_crashes() {
        holds(
            "quorum, primary crashes",
            &worlds::primary_crashes(Any),
            BOTH,
        );
    }
}

mod two_nodes {
    use super::{Mutation, World, fails, holds, worlds};

    /// Each half may promote, and the primary never stops waiting. A standby that does not stream
    /// although its node is there is dropped: R1 (b).
    #[test]
    fn a_link_breaks() {
        holds(
            "two nodes, cut off",
            &worlds::two_nodes(),
            &["a failover", "alone"],
        );
    }

    /// The primary goes on alone once the row says that nobody else may be promoted; or the standby takes over by it.
    #[test]
    fn with_a_lock_the_link_and_the_service_fail() {
        holds(
            "two nodes, lock",
            &worlds::two_nodes_with_a_lock(),
            &["a failover", "alone"],
        );
    }

    #[test]
    fn unsafe_relax_is_what_it_says() {
        let world = World {
            unsafe_relax: true,
            ..worlds::two_nodes()
        };
        fails(Mutation::None, world);
    }
}

/// One test a rule, so that they run beside each other.
macro_rules! needed {
    ($($name:ident: $mutation:ident in $world:expr;)*) => {
        mod each_rule_is_needed {
            use super::{Mutation, fails, worlds};
            use expgsql::model::sync_names::Method::{Any, First};

            $(#[test]
            fn $name() {
                fails(Mutation::$mutation, $world);
            })*
        }
    };
}

needed! {
    revoke_before_relaxing: RelaxWithoutRevoking in worlds::primary_cut_off(First);
    settle_before_relaxing: RelaxWithoutSettling in worlds::primary_cut_off(First);
    a_majority_of_copies: OneCopyIsEnough in worlds::primary_cut_off(First);
    catch_up_before_the_grant: GrantWithoutBarrier in worlds::standby_cut_off(First);
    a_contract_in_force_before_the_barrier: EarlyBarrier in worlds::standby_cut_off(First);
    promote_only_who_has_everything: PromoteAnybody in worlds::primary_cut_off(First);
    a_promotion_raises_admin_epoch: PromoteWithoutAdminEpoch in worlds::primary_cut_off(First);
    a_promotion_raises_it_by_more: PromoteWithOneAdminEpoch in worlds::primary_cut_off(First);
    a_revocation_raises_admin_epoch: RevokeWithoutAdminEpoch in worlds::standby_cut_off(First);
    the_raise_is_confirmed: RaiseUnconfirmed in worlds::pair_cut(First);
    a_promotion_is_confirmed: PromoteUnconfirmed in worlds::pair_cut(First);
    stop_receiving_before_the_statement: StateWhileReceiving in worlds::primary_cut_off(First);
    enough_statements: OneStatementFewer in worlds::primary_cut_off(Any);
    follow_a_later_epoch_only: FollowTheSameEpoch in worlds::primary_cut_off(First);
    a_deposed_primary_counts_no_later_follower: CountLaterFollowers in worlds::primary_cut_off(First);
    contracts_are_recorded_as_they_were_read: ContractUnconditional in worlds::primary_cut_off(First);
    promotions_are_recorded_as_they_were_read: PromoteUnconditional in worlds::primary_cut_off(First);
    revoke_in_the_lock: RevokeWithoutLock in worlds::two_nodes_with_a_lock();
    the_lock_goes_to_the_eligible: LockAnybody in worlds::two_nodes_with_a_lock();
    never_as_if_locked: AsIfLocked in worlds::two_nodes_with_a_lock();
}

fn is_large() -> bool {
    let is_large = std::env::var("EXPGSQL_MODEL").as_deref() == Ok("large");
    if !is_large {
        println!("left out: EXPGSQL_MODEL=large is not set");
    }
    is_large
}

/// Rules behind other rules: in no world that was searched is anything lost without one of them alone. Told, not
/// demanded: a larger world may need them.
#[test]
fn rules_behind_rules() {
    use Mutation::{
        LargerPositionWins, LockWithoutEpoch, NoDistrust, RestartWithAnyOne, RightByName,
    };
    if !is_large() {
        return;
    }
    for mutation in [
        LargerPositionWins,
        NoDistrust,
        RestartWithAnyOne,
        RightByName,
    ] {
        for (name, world) in worlds::behind() {
            let found = search(&World { mutation, ..world }, Some(4_000_000));
            let length = found.story.as_ref().map(|(length, _)| *length);
            println!("{mutation:?}, {name}: {length:?}, {}", found.counts);
            if let Some((_, story)) = found.story {
                println!("{story}");
            }
        }
    }
    let world = World {
        promotions: 3,
        mutation: LockWithoutEpoch,
        ..worlds::two_nodes_with_a_lock()
    };
    let found = search(&world, Some(4_000_000));
    println!("{LockWithoutEpoch:?}: {}", found.counts);
    if let Some((_, story)) = found.story {
        println!("{story}");
    }
}

/// Larger sizes: `EXPGSQL_MODEL=large`.
#[test]
fn large() {
    if !is_large() {
        return;
    }
    let only = std::env::var("EXPGSQL_MODEL_ONLY").unwrap_or_default();
    // All stories up to some length, where there are more than can be looked at.
    let most = std::env::var("EXPGSQL_MODEL_STATES").ok();
    let most = most.map_or(50_000_000, |m| m.parse().expect("a number"));
    for (name, world) in worlds::large() {
        if !name.contains(&only) {
            continue;
        }
        let found = search(&world, Some(most));
        println!("{name}: {}, reached: {:?}", found.counts, found.reached);
        if let Some((_, story)) = found.story {
            panic!("{name}\n{story}");
        }
    }
}
