//! A counterexample as a person reads it: one line a step.

use stateright::Path;

use super::cib::Content;
use super::network::{Cut, Which};
use super::node::{Server, Step, Task};
use super::nodes::{Id, Set};
use super::world::{Action, State};

/// The steps, and what came of them.
pub(crate) fn tell(path: Path<State, Action>) -> String {
    steps(&path.into_vec())
}

/// The same of any steps; the last has no action.
pub(crate) fn steps(steps: &[(State, Option<Action>)]) -> String {
    let mut lines = Vec::new();
    let after = steps.iter().skip(1).map(|(state, _)| state);
    for ((before, action), after) in steps.iter().zip(after) {
        if let Some(action) = action {
            let number = lines.len() + 1;
            lines.push(format!("{number:3}. {}", line(before, *action, after)));
        }
    }
    if let Some((last, _)) = steps.last()
        && let Some(wrong) = last.wrong
    {
        lines.push(format!("     => {wrong:?}: {}", commits(last)));
    }
    lines.join("\n")
}

fn commits(state: &State) -> String {
    let of = |id: &u8| {
        format!(
            "node{} has {:?}",
            id + 1,
            bits(state.nodes[usize::from(*id)].wal.set())
        )
    };
    let has: Vec<String> = (0..3u8).map(|id| of(&id)).collect();
    format!("acknowledged {:?}, {}", bits(state.acked), has.join(", "))
}

fn bits(set: u8) -> Vec<u8> {
    (0..8)
        .filter(|b| set & 1 << b != 0)
        .map(|b| b + 1)
        .collect()
}

fn line(before: &State, action: Action, after: &State) -> String {
    let told = after.acked & !before.acked;
    let answered = if told == 0 {
        String::new()
    } else {
        format!(" [client is told: {:?} is committed]", bits(told))
    };
    format!("{}{answered}", what(before, action, after))
}

fn what(before: &State, action: Action, after: &State) -> String {
    match action {
        Action::Commit(id) => format!("{id}: a client commits {}", before.commits + 1),
        Action::Connect(id, primary) => format!("{id}: streams from {primary}"),
        Action::Disconnect(id) => format!("{id}: loses its connection to the primary"),
        Action::Receive(id) => format!(
            "{id}: receives {:?}",
            bits(after.node(id).wal.set() & !before.node(id).wal.set())
        ),
        Action::Replay(id) => format!("{id}: replays what is on its disk"),
        Action::TakeEffect(id) => format!("{id}: commits wait for {}", after.node(id).in_force),
        Action::Monitor(id) => format!(
            "{id}: monitor reads {} -> {}",
            content(&before.node(id).cib.content),
            task(&after.node(id).task)
        ),
        Action::Promote(id) => format!(
            "{id}: is asked to promote, reads {} -> {}",
            content(&before.node(id).cib.content),
            task(&after.node(id).task)
        ),
        Action::TimeOut(id) => {
            let did = task(&before.node(id).task);
            format!("{id}: {did}: nobody knows whether that was done, after the time for it")
        }
        Action::GiveUp(id) => format!("{id}: gives up: {}", task(&before.node(id).task)),
        Action::Late(id) => format!("{id}: the change that timed out takes effect"),
        Action::Go(id) => go(before, id, after),
        Action::Repair(id) => format!("{id}: its data are made anew from the primary's"),
        Action::Kill(id) => format!(
            "{id}: the agent is killed at: {}",
            task(&before.node(id).task)
        ),
        Action::Start(id) => format!(
            "{id}: starts as a standby, to wait for {}",
            after.node(id).configured
        ),
        Action::Stop(id) => format!("{id}: Pacemaker stops the server"),
        Action::Watch(id) => format!(
            "{id}: a standby's monitor reads {} -> {}",
            content(&before.node(id).cib.content),
            task(&after.node(id).task)
        ),
        Action::State(id) => format!(
            "{id}: is told of a promotion, or finds no primary, reads {} -> {}",
            content(&before.node(id).cib.content),
            task(&after.node(id).task)
        ),
        Action::Refresh(id) => format!(
            "{id}: would wait for {} as a primary",
            after.node(id).configured
        ),
        Action::Cut(which, cut) => {
            let which = match which {
                Which::Corosync => "corosync",
                Which::Replication => "replication",
                Which::Both => "the network",
            };
            match cut {
                Cut::Node(node) => format!("{which}: {node} is cut off"),
                Cut::Pair(a, b) => format!("{which}: {a} and {b} lose each other"),
            }
        }
        Action::LoseLock(nodes) => format!("the lock service can't be reached from {nodes}"),
        Action::Heal => "the network heals".to_owned(),
        Action::Withdraw => "the operator's request is taken back".to_owned(),
        Action::Form(ring, winner) => format!(
            "corosync: ring {ring} forms; CIB of {winner}: {}",
            content(&after.node(winner).cib.content)
        ),
        Action::Membership(id) => {
            format!("{id}: the CIB shows the members {}", after.node(id).members)
        }
        Action::Settle(id) => format!(
            "{id}: the ring {} has held for the settle time",
            after.node(id).view
        ),
        Action::Crash(nodes) => format!("the servers of {nodes} crash"),
        Action::PowerOff(id) => format!("{id}: the machine goes down"),
        Action::PowerOn(id) => format!("{id}: the machine starts"),
    }
}

fn content(content: &Content) -> String {
    format!(
        "(primary {} epoch {}, eligible {})",
        content.record.node,
        content.record.epoch,
        content.claimed()
    )
}

fn copies(before: &State, after: &State) -> Set {
    let changed = |id: &Id| before.node(*id).cib.content != after.node(*id).cib.content;
    Set::of((0..3).map(Id).filter(changed))
}

fn go(before: &State, id: Id, after: &State) -> String {
    let did = task(&before.node(id).task);
    let mut text = format!("{id}: {did}");
    let copies = copies(before, after);
    if !copies.is_empty() {
        text += &format!(" (CIB copies of {copies})");
    }
    let now = after.node(id).task;
    if now != Task::Idle {
        text += &format!(" -> {}", task(&now));
    }
    if before.lock != after.lock {
        let row = after.lock;
        text += &format!(
            "; lock: {} epoch {}, eligible {}",
            row.owner, row.epoch, row.eligible
        );
    }
    if before.node(id).server != after.node(id).server {
        text += match after.node(id).server {
            Server::Primary => "; it takes writes",
            Server::Standby(_) => "; it is a standby",
            Server::Down => "; the server is down",
        };
    }
    text
}

fn task(task: &Task) -> String {
    match task {
        Task::Idle => "nothing to do".to_owned(),
        Task::Correct { record, .. } => {
            format!("record {} epoch {} as primary", record.node, record.epoch)
        }
        Task::Quit => "stop: another was promoted".to_owned(),
        Task::Look { .. } => "look at the standbys".to_owned(),
        Task::Apply { step, .. } => match step {
            Step::Revoke(names) => format!("revoke {names}"),
            Step::Contract(rule) => format!("let commits wait for {rule}"),
            Step::Grant(_, names) => format!("grant {names}"),
            Step::Marks => "write marks".to_owned(),
        },
        Task::Outlive { .. } => "begin a new epoch".to_owned(),
        Task::State { .. } => "stop receiving, and state the position".to_owned(),
        Task::Void { .. } => "take the own grant back".to_owned(),
        Task::Attach => "follow the later primary".to_owned(),
        Task::Ask { .. } => "compare statements".to_owned(),
        Task::Promote { method, .. } => format!("go, {method:?}"),
        Task::TakeOver { partition, .. } => format!(
            "write the promotion record (quorate: {})",
            partition.quorate
        ),
        Task::Confirm(_) => "look for the record in the copies of a majority".to_owned(),
        Task::Raise(_) => "raise admin_epoch".to_owned(),
        Task::Weigh(_) => "look for the raised admin_epoch in the copies of a majority".to_owned(),
        Task::Server { method } => format!("promote the server, {method:?}"),
        Task::Finish { .. } => "complete the record".to_owned(),
    }
}
