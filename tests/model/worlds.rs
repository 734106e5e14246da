//! The worlds that are searched.

use expgsql::model::sync_names::Method;

use super::mutations::Mutation;
use super::network::{Cut, Which};
use super::nodes::{Id, Set};
use super::world::{Action, Hazards, Timeouts, World};

const FIRST: Id = Id(0);
const SECOND: Id = Id(1);
const THIRD: Id = Id(2);

/// Three nodes, one commit, one fault of those in `hazards`, one promotion.
fn small(method: Method, hazards: Hazards) -> World {
    World {
        count: 3,
        prologue: Vec::new(),
        mutation: Mutation::None,
        commits: 1,
        promotions: 1,
        faults: 1,
        hazards,
        unsafe_relax: false,
        fine: false,
        method,
        lock: false,
        asked: Set::first(3),
        heals: true,
        requested: Set::EMPTY,
        barred: Set::EMPTY,
        withdraws: false,
    }
}

fn cut(which: Which, cut: Cut) -> Hazards {
    Hazards {
        cuts: vec![(which, cut)],
        ..Hazards::default()
    }
}

pub(crate) fn primary_cut_off(method: Method) -> World {
    small(method, cut(Which::Both, Cut::Node(FIRST)))
}

pub(crate) fn standby_cut_off(method: Method) -> World {
    small(method, cut(Which::Both, Cut::Node(SECOND)))
}

/// The third still sees both.
pub(crate) fn pair_cut(method: Method) -> World {
    small(method, cut(Which::Both, Cut::Pair(FIRST, SECOND)))
}

/// The same, where node2 and the third have noticed already.
pub(crate) fn pair_split(method: Method) -> World {
    let mut world = pair_cut(method);
    world.prologue = vec![
        Action::Cut(Which::Both, Cut::Pair(FIRST, SECOND)),
        Action::Form(Set::of([SECOND, THIRD]), SECOND),
    ];
    world
}

/// Commits are to wait for the third, too.
pub(crate) fn requested(world: World) -> World {
    World {
        requested: Set::of([THIRD]),
        ..world
    }
}

/// The one that commits wait for may not be promoted any more: another is to take its place.
pub(crate) fn barred(world: World) -> World {
    World {
        barred: Set::of([SECOND]),
        ..world
    }
}

/// Its server does, and may be started again.
pub(crate) fn primary_crashes(method: Method) -> World {
    let hazards = Hazards {
        crashes: vec![Set::of([FIRST])],
        restarts: true,
        ..Hazards::default()
    };
    small(method, hazards)
}

/// All crash together, and the one that commits wait for is late to replay what it has.
pub(crate) fn late_replay(method: Method) -> World {
    let mut hazards = Hazards {
        crashes: vec![Set::of([FIRST, SECOND])],
        restarts: true,
        late: Set::of([SECOND]),
        ..Hazards::default()
    };
    if method == Method::Any {
        hazards.crashes = vec![Set::of([FIRST, SECOND, THIRD])];
    }
    small(method, hazards)
}

/// The primary crashes; the one that commits wait for has a recovery target.
pub(crate) fn recovery_target(method: Method) -> World {
    let mut world = primary_crashes(method);
    world.hazards.targets = Set::of([SECOND]);
    world
}

/// No lock, no fencing, no third vote.
pub(crate) fn two_nodes() -> World {
    let one = primary_cut_off(Method::First);
    World { count: 2, ..one }
}

/// The same, and the CIB says who is there later than corosync does.
pub(crate) fn lagging(mut world: World) -> World {
    world.hazards.lags = true;
    world
}

/// Two nodes and a lock service: the link between them breaks, and either of them, or both, lose the service.
pub(crate) fn two_nodes_with_a_lock() -> World {
    let hazards = Hazards {
        lock_cuts: vec![
            Set::of([FIRST]),
            Set::of([SECOND]),
            Set::of([FIRST, SECOND]),
        ],
        ..cut(Which::Both, Cut::Node(FIRST))
    };
    World {
        count: 2,
        lock: true,
        faults: 2,
        ..small(Method::First, hazards)
    }
}

/// node1 and node2 lose each other, node2 is about to raise admin_epoch in the ring {2,3}, when corosync changes its mind:
/// {1,3} goes on.
pub(crate) fn changing_ring() -> World {
    let pair = Cut::Pair(FIRST, SECOND);
    let mut world = small(Method::First, cut(Which::Both, pair));
    world.hazards.timeouts = Timeouts::Promotions;
    world.prologue = vec![
        Action::Cut(Which::Both, pair),
        Action::Form(Set::of([SECOND, THIRD]), SECOND),
        Action::Promote(SECOND),
        Action::Go(SECOND),
        Action::Form(Set::of([FIRST, THIRD]), FIRST),
        Action::Monitor(FIRST),
        Action::Go(FIRST),
        Action::Go(FIRST),
        Action::TakeEffect(FIRST),
        Action::TimeOut(SECOND),
    ];
    world.promotions = 2;
    world
}

/// The primary's machine goes down for good, and others' copies of the CIB may be slow to answer when the standby that
/// commits wait for is promoted.
pub(crate) fn slow_copies(method: Method) -> World {
    let hazards = Hazards {
        power: Set::of([FIRST]),
        blind: true,
        steady: true,
        ..Hazards::default()
    };
    let one = small(method, hazards);
    World {
        heals: false,
        asked: Set::of([SECOND]),
        ..one
    }
}

/// The same, whoever is asked.
pub(crate) fn slow_copies_anybody(method: Method) -> World {
    World {
        asked: Set::first(3),
        ..slow_copies(method)
    }
}

/// The same, and a standby may be left alone for a moment.
pub(crate) fn unsteady(method: Method) -> World {
    let mut world = slow_copies_anybody(method);
    world.hazards.steady = false;
    world
}

/// The same while any change of the CIB may time out.
pub(crate) fn timeouts(mut world: World) -> World {
    world.hazards.timeouts = Timeouts::All;
    world
}

/// What takes minutes.
pub(crate) fn large() -> Vec<(String, World)> {
    let mut worlds = Vec::new();
    for method in [Method::First, Method::Any] {
        let mut add =
            |name: &str, world: World| worlds.push((format!("{name} ({method:?})"), world));
        let one = primary_cut_off(method);
        add(
            "corosync alone fails",
            small(method, cut(Which::Corosync, Cut::Node(FIRST))),
        );
        add(
            "replication alone fails",
            small(method, cut(Which::Replication, Cut::Node(SECOND))),
        );
        add("pair", pair_cut(method));
        let with = |change: fn(&mut Hazards)| {
            let mut world = one.clone();
            change(&mut world.hazards);
            world
        };
        add("agents are killed", with(|h| h.kills = true));
        add("changes time out", timeouts(one.clone()));
        add("the CIB lags behind", lagging(one.clone()));
        add("late replay", late_replay(method));
        let mut repairs = primary_crashes(method);
        repairs.hazards.repairs = true;
        repairs.promotions = 2;
        add("repairs, two promotions", repairs);
        add("connections linger", with(|h| h.lingering = true));
        add(
            "restarts and distrust",
            with(|h| {
                h.restarts = true;
                h.watches = true;
            }),
        );
        add(
            "the primary's machine goes down",
            small(
                method,
                Hazards {
                    power: Set::of([FIRST]),
                    restarts: true,
                    ..Hazards::default()
                },
            ),
        );
        add(
            "two commits",
            World {
                commits: 2,
                ..one.clone()
            },
        );
        add(
            "pauses before reads",
            World {
                fine: true,
                ..one.clone()
            },
        );
        add(
            "two promotions",
            World {
                promotions: 2,
                ..one.clone()
            },
        );
        add("two faults", World { faults: 2, ..one });
    }
    let asked = [
        ("primary cut off", primary_cut_off(Method::First)),
        ("standby cut off", standby_cut_off(Method::First)),
        ("primary crashes", primary_crashes(Method::First)),
    ];
    for (name, world) in asked {
        let stays = requested(world);
        let ends = World {
            withdraws: true,
            ..stays.clone()
        };
        worlds.push((format!("{name}, a standby asked for"), stays));
        worlds.push((
            format!("{name}, a standby asked for until that is taken back"),
            ends,
        ));
    }
    for (name, world) in [
        ("primary cut off", primary_cut_off(Method::First)),
        ("pair cut", pair_cut(Method::First)),
        ("primary crashes", primary_crashes(Method::First)),
        ("quorum, primary cut off", primary_cut_off(Method::Any)),
    ] {
        worlds.push((format!("{name}, a standby is barred"), barred(world)));
    }
    worlds.push(("a ring that changes".to_owned(), changing_ring()));
    let lock = two_nodes_with_a_lock();
    let mut add = |name: &str, world: World| worlds.push((name.to_owned(), world));
    add(
        "lock, two promotions",
        World {
            promotions: 2,
            ..lock.clone()
        },
    );
    let mut restarts = lock.clone();
    restarts.hazards.restarts = true;
    restarts.hazards.kills = true;
    add("lock, restarts and killed agents", restarts);
    add(
        "lock, pauses before reads",
        World {
            fine: true,
            ..lock.clone()
        },
    );
    add("lock, two commits", World { commits: 2, ..lock });
    worlds
}

/// Worlds with a second promotion, and standbys that notice.
pub(crate) fn behind() -> Vec<(String, World)> {
    let mut worlds = Vec::new();
    for method in [Method::First, Method::Any] {
        let mut add = |name: &str, world: World| {
            let world = World {
                promotions: 2,
                ..world
            };
            worlds.push((format!("{name}, two promotions ({method:?})"), world));
        };
        add("primary cut off", primary_cut_off(method));
        add("primary crashes", primary_crashes(method));
        let mut both = primary_crashes(method);
        both.hazards.cuts = primary_cut_off(method).hazards.cuts;
        both.hazards.watches = true;
        both.faults = 2;
        add("primary cut off or crashes, two faults", both);
    }
    worlds
}
