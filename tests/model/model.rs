//! The rules of `decide`, tried in every order of events that a small cluster can meet. What is modelled, and what was
//! found, is in docs/model.md.

mod agent;
mod cib;
mod liveness;
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

/// The stories of up to `depth` steps, where there are too many to look at all: those in which a rule that was taken away is missed, and
/// one step more.
fn holds_so_far(name: &str, world: &World, depth: usize) {
    let builder = world.clone().checker().threads(1);
    let checker = builder.target_max_depth(depth).spawn_bfs().join();
    println!("{name}: {} distinct states", checker.unique_state_count());
    if let Some(path) = checker.discovery(KEPT) {
        panic!(
            "{name}: an acknowledged commit is lost\n{}",
            story::tell(path)
        );
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
    fn a_standby_is_late_to_replay() {
        holds("priority, late replay", &worlds::late_replay(First), BOTH);
    }

    #[test]
    fn a_standby_has_a_recovery_target() {
        holds(
            "priority, recovery target",
            &worlds::recovery_target(First),
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

    #[test]
    fn a_standby_is_barred_and_the_primary_is_cut_off() {
        holds(
            "priority, primary cut off, a standby is barred",
            &worlds::barred(worlds::primary_cut_off(First)),
            BOTH,
        );
    }

    #[test]
    fn a_standby_is_barred_and_the_primary_crashes() {
        holds(
            "priority, primary crashes, a standby is barred",
            &worlds::barred(worlds::primary_crashes(First)),
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
    fn a_standby_is_late_to_replay() {
        holds("quorum, late replay", &worlds::late_replay(Any), BOTH);
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

mod one_link_of_three {
    use super::{holds_so_far, worlds};
    use expgsql::model::sync_names::Method::First;

    #[test]
    fn breaks() {
        holds_so_far("a pair is split", &worlds::pair_split(First), 13);
    }

    #[test]
    fn breaks_and_the_ring_changes() {
        holds_so_far("a ring that changes", &worlds::changing_ring(), 9);
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

    /// The controller hangs, so that the CIB shows who has gone.
    #[test]
    fn the_cib_lags_behind() {
        holds(
            "two nodes, the CIB lags behind",
            &worlds::lagging(worlds::two_nodes()),
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
    present_by_corosync: PresentByTheCib in worlds::lagging(worlds::two_nodes());
    a_settle_time_that_is_long_enough: SettleTooShort in worlds::primary_cut_off(First);
    note_a_promotion_before_the_raise: RaiseWithoutNote in worlds::changing_ring();
    a_majority_of_copies: OneCopyIsEnough in worlds::primary_cut_off(First);
    catch_up_before_the_grant: GrantWithoutBarrier in worlds::standby_cut_off(First);
    a_contract_in_force_before_the_barrier: EarlyBarrier in worlds::standby_cut_off(First);
    promote_only_who_has_everything: PromoteAnybody in worlds::primary_cut_off(First);
    a_promotion_raises_admin_epoch: PromoteWithoutAdminEpoch in worlds::primary_cut_off(First);
    a_promotion_raises_it_by_more: PromoteWithOneAdminEpoch in worlds::primary_cut_off(First);
    a_revocation_raises_admin_epoch: RevokeWithoutAdminEpoch in worlds::standby_cut_off(First);
    the_raise_is_confirmed: RaiseUnconfirmed in worlds::pair_split(First);
    a_promotion_is_confirmed: PromoteUnconfirmed in worlds::pair_split(First);
    stop_receiving_before_the_statement: StateWhileReceiving in worlds::primary_cut_off(First);
    replay_before_the_statement: StateBeforeReplay in worlds::late_replay(First);
    replay_before_the_statement_quorum: StateBeforeReplay in worlds::late_replay(Any);
    nobody_with_a_recovery_target: TargetUnseen in worlds::recovery_target(First);
    enough_statements: OneStatementFewer in worlds::primary_cut_off(Any);
    follow_a_later_epoch_only: FollowTheSameEpoch in worlds::primary_cut_off(First);
    a_deposed_primary_counts_no_later_follower: CountLaterFollowers in worlds::primary_cut_off(First);
    contracts_are_recorded_as_they_were_read: ContractUnconditional in worlds::primary_cut_off(First);
    promotions_are_recorded_as_they_were_read: PromoteUnconditional in worlds::primary_cut_off(First);
    revoke_in_the_lock: RevokeWithoutLock in worlds::two_nodes_with_a_lock();
    the_lock_goes_to_the_eligible: LockAnybody in worlds::two_nodes_with_a_lock();
    never_as_if_locked: AsIfLocked in worlds::two_nodes_with_a_lock();
}

/// From every state, once nothing more breaks, the agents alone come to a primary that acknowledges.
mod comes_back {
    use super::liveness::{ALL, Aid, search};
    use super::{Mutation, World, worlds};
    use expgsql::model::sync_names::Method::{Any, First};

    fn always(name: &str, world: &World, aid: Aid, (stride, most): (usize, usize)) {
        let found = search(world, aid, stride, most);
        println!("{name}: from each {stride}th of {} states", found.states);
        if let Some((_, story)) = found.stuck {
            panic!("{name}: no primary that acknowledges\n{story}");
        }
    }

    fn not(mutation: Mutation, world: World, aid: Aid) {
        let found = search(&World { mutation, ..world }, aid, 1, ALL);
        let Some((length, story)) = found.stuck else {
            panic!(
                "{mutation:?}: the cluster always comes back ({} states)",
                found.states
            );
        };
        println!(
            "{mutation:?}: {length} steps, {} states\n{story}",
            found.states
        );
    }

    #[test]
    fn after_a_crash() {
        for method in [First, Any] {
            always(
                "the primary crashes",
                &worlds::primary_crashes(method),
                Aid::Nothing,
                (20, ALL),
            );
        }
    }

    #[test]
    fn with_one_machine_fewer_and_slow_copies() {
        for method in [First, Any] {
            let world = worlds::slow_copies_anybody(method);
            always("slow copies", &world, Aid::Nothing, (1, ALL));
        }
    }

    #[test]
    fn after_a_moment_alone() {
        for method in [First, Any] {
            let world = worlds::unsteady(method);
            always("a moment alone", &world, Aid::Nothing, (3, ALL));
        }
    }

    #[test]
    fn after_a_split_that_heals() {
        for method in [First, Any] {
            let world = worlds::primary_cut_off(method);
            always("split", &world, Aid::All, (9, 20_000));
        }
    }

    /// All of what the others look at in part.
    #[test]
    fn in_large() {
        if !super::is_large() {
            return;
        }
        for method in [First, Any] {
            for (name, world) in [
                ("split", worlds::primary_cut_off(method)),
                ("a standby is cut off", worlds::standby_cut_off(method)),
                ("crash", worlds::primary_crashes(method)),
            ] {
                always(name, &world, Aid::All, (5, ALL));
            }
        }
    }

    #[test]
    fn not_where_an_unfinished_promotion_bars_others() {
        not(
            Mutation::UnfinishedBarsOthers,
            worlds::slow_copies_anybody(First),
            Aid::Nothing,
        );
    }

    #[test]
    fn not_where_a_moment_alone_is_distrust() {
        not(
            Mutation::AloneForGood,
            worlds::unsteady(First),
            Aid::Nothing,
        );
    }

    #[test]
    fn not_where_statements_about_a_lost_record_stay() {
        not(
            Mutation::OutliveOneEpoch,
            worlds::primary_cut_off(First),
            Aid::All,
        );
    }

    #[test]
    fn not_where_the_claim_keeps_the_old_primary() {
        not(
            Mutation::ClaimedByName,
            worlds::primary_crashes(Any),
            Aid::All,
        );
    }

    #[test]
    fn not_where_slow_copies_are_distrust() {
        not(
            Mutation::DistrustForGood,
            worlds::slow_copies(First),
            Aid::Nothing,
        );
    }
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
