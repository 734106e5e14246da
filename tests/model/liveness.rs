//! What must come about: wherever a story has come to, once nothing more breaks, the agents alone bring the cluster to a primary
//! that acknowledges, with a standby that commits wait for and everybody else at work.
//!
//! Every state of a world is looked at, and from each one fair course of events: whoever has something to do does it, in turn.

use std::collections::{HashMap, HashSet};

use stateright::Model;

use super::node::{Server, Task};
use super::nodes::{Id, Set};
use super::rule::Rule;
use super::story;
use super::world::{Action, State, Timeouts, World};

/// What is repaired from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aid {
    /// The network heals, and machines that are down are started.
    All,
    /// Nothing: whoever is left has to do.
    Nothing,
}

/// More rounds than any course takes that ends.
const ROUNDS: usize = 120;

/// A search for a state from which the cluster does not come back.
pub(crate) struct Search {
    pub(crate) states: usize,
    /// The shortest story that leads to one, its length, and what comes of it.
    pub(crate) stuck: Option<(usize, String)>,
}

/// No end but that of the world.
pub(crate) const ALL: usize = usize::MAX;

/// Looks at each `stride`th of the first `most` states of `world`, by the length of the stories that lead there.
pub(crate) fn search(world: &World, aid: Aid, stride: usize, most: usize) -> Search {
    let mut world = world.clone();
    world.hazards.counts = true;
    let world = &world;
    let later = afterwards(world, aid);
    let mut good = HashSet::new();
    let start = world.init_states();
    let mut known: HashMap<State, usize> = HashMap::new();
    let mut found: Vec<(State, Option<(usize, Action)>)> = Vec::new();
    for state in start {
        known.insert(state, found.len());
        found.push((state, None));
    }
    let mut next = 0;
    while let Some((state, _)) = found.get(next).copied().filter(|_| next < most) {
        if next % stride == 0
            && let Err(end) = comes_back(&later, state, &mut good)
        {
            let steps = path(&found, next);
            let mut text = story::steps(&steps);
            text.push_str("\n     => and from there, with nothing more that breaks:\n");
            text.push_str(&story::steps(&end));
            return Search {
                states: found.len(),
                stuck: Some((steps.len() - 1, text)),
            };
        }
        let mut actions = Vec::new();
        world.actions(&state, &mut actions);
        for action in actions {
            if let Some(after) = world.next_state(&state, action)
                && !known.contains_key(&after)
            {
                known.insert(after, found.len());
                found.push((after, Some((next, action))));
            }
        }
        next += 1;
    }
    Search {
        states: next,
        stuck: None,
    }
}

fn path(found: &[(State, Option<(usize, Action)>)], last: usize) -> Vec<(State, Option<Action>)> {
    let mut steps = vec![(found[last].0, None)];
    let mut at = last;
    while let Some((before, action)) = found[at].1 {
        steps.push((found[before].0, Some(action)));
        at = before;
    }
    steps.reverse();
    steps
}

/// The world as it goes on: nothing breaks, and everything is tried that can be.
fn afterwards(world: &World, aid: Aid) -> World {
    let mut later = World {
        faults: 0,
        heals: aid == Aid::All,
        promotions: u8::MAX,
        commits: 0,
        ..world.clone()
    };
    later.hazards.restarts = true;
    later.hazards.watches = true;
    later.hazards.repairs = true;
    later.hazards.kills = false;
    later.hazards.blind = false;
    later.hazards.timeouts = Timeouts::None;
    later
}

/// A course of events, up to one that is known to end well; else its steps.
fn comes_back(
    world: &World,
    state: State,
    good: &mut HashSet<State>,
) -> Result<(), Vec<(State, Option<Action>)>> {
    let mut steps = Vec::new();
    let mut now = state;
    now.promotions = 0;
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        if good.contains(&now) {
            good.extend(seen);
            return Ok(());
        }
        seen.push(now);
        let Some((action, next)) = turn(world, &now) else {
            break;
        };
        steps.push((now, Some(action)));
        now = next;
        now.promotions = 0;
    }
    if is_well(world, &now) {
        good.extend(seen);
        return Ok(());
    }
    steps.push((now, None));
    Err(steps)
}

/// The next thing that happens, and what is there when that is over.
fn turn(world: &World, state: &State) -> Option<(Action, State)> {
    let mut actions = Vec::new();
    world.actions(state, &mut actions);
    actions.retain(|action| class(world, state, action).is_some());
    // Stable: nodes take their turns in their order.
    actions.sort_by_key(|action| class(world, state, action));
    let done = actions
        .into_iter()
        .map(|action| (action, whole(world, state, action)));
    done.into_iter().find(|(_, next)| next != state)
}

/// In which order things are done; `None`: they don't happen any more.
fn class(world: &World, state: &State, action: &Action) -> Option<u8> {
    Some(match action {
        Action::Heal if world.heals => 0,
        Action::PowerOn(_) if world.heals => 0,
        Action::Form(ring, _) if is_new_ring(world, state, *ring) => 1,
        Action::Membership(_) | Action::Late(_) | Action::Disconnect(_) => 2,
        Action::Go(_) => 3,
        Action::GiveUp(_) => 4,
        Action::Settle(_) | Action::TakeEffect(_) => 5,
        Action::Connect(..) | Action::Receive(_) | Action::Replay(_) => 6,
        Action::Start(_) => 7,
        Action::Repair(_) => 8,
        Action::Watch(_) | Action::Refresh(_) => 9,
        Action::Monitor(_) => 10,
        Action::State(_) => 11,
        Action::Promote(_) => 12,
        Action::Commit(_)
        | Action::TimeOut(_)
        | Action::Kill(_)
        | Action::Stop(_)
        | Action::Cut(..)
        | Action::LoseLock(_)
        | Action::Heal
        | Action::Withdraw
        | Action::Form(..)
        | Action::Crash(_)
        | Action::PowerOff(_)
        | Action::PowerOn(_) => return None,
    })
}

/// Rings don't change for no reason any more.
fn is_new_ring(world: &World, state: &State, ring: Set) -> bool {
    let is_larger = |n: Id| state.node(n).view.len() < ring.len();
    let is_at_home = |n: Id| state.is_intact(n) && world.is_quorate(state.node(n));
    ring.iter().all(|n| !is_at_home(n) || is_larger(n))
}

/// A call of the agent up to its end.
fn whole(world: &World, state: &State, action: Action) -> State {
    let mut now = world.next_state(state, action).unwrap_or(*state);
    let (Action::Monitor(id) | Action::Promote(id) | Action::State(id) | Action::Watch(id)) =
        action
    else {
        return now;
    };
    for _ in 0..20 {
        match now.node(id).task {
            Task::Idle => break,
            Task::Correct { .. }
            | Task::Quit
            | Task::Look { .. }
            | Task::Outlive { .. }
            | Task::State { .. }
            | Task::Void { .. }
            | Task::Attach
            | Task::Apply { .. }
            | Task::Ask { .. }
            | Task::Promote { .. }
            | Task::TakeOver { .. }
            | Task::Confirm(_)
            | Task::Raise(_)
            | Task::Weigh(_)
            | Task::Server { .. }
            | Task::Finish { .. } => match world.next_state(&now, Action::Go(id)) {
                Some(next) => now = next,
                None => break,
            },
        }
    }
    now.promotions = 0;
    now
}

/// A primary, everybody else its standby, and the next commit is acknowledged, by one of them.
fn is_well(world: &World, state: &State) -> bool {
    let is_leader = |id: &Id| {
        let node = state.node(*id);
        node.is_up && node.is_primary() && world.is_quorate(node) && state.is_intact(*id)
    };
    let Some(primary) = world.ids().find(is_leader) else {
        return false;
    };
    let others = state.node(primary).view.without(primary);
    let is_served = |n: Id| state.node(n).server == Server::Standby(Some(primary));
    let is_redundant = others.is_empty() || state.node(primary).in_force != Rule::NOBODY;
    others.iter().all(is_served) && is_redundant && acknowledges(world, state, primary)
}

fn acknowledges(world: &World, state: &State, primary: Id) -> bool {
    let world = World {
        commits: u8::MAX,
        ..world.clone()
    };
    let told = state.acked.count_ones();
    let mut now = world
        .next_state(state, Action::Commit(primary))
        .unwrap_or(*state);
    for standby in state.standbys_of(primary).iter() {
        now = world
            .next_state(&now, Action::Receive(standby))
            .unwrap_or(now);
    }
    now.wrong.is_none() && now.acked.count_ones() > told
}
