//! R2: whether a contract is in force in every process that lets commits go.
//!
//! The processes that send WAL let commits go, each by the setting as it has read it. The checkpointer says whether
//! commits wait at all. A new setting reaches them by a signal, which the postmaster has sent to all of them before it
//! takes a connection that sees the new setting; when each of them has read it is its own affair. It may be held up for
//! any time, so time proves nothing.

use std::collections::BTreeSet;

use crate::model::lsn::Lsn;
use crate::model::sync_names::{Method, StandbyName, SyncNames};

/// One of these processes, as PostgreSQL shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// What it waits for; `None`: it works.
    pub wait_event: Option<String>,
    pub work: Work,
}

/// What such a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Checkpointer,
    /// It sends WAL to a standby.
    Sender {
        /// application_name, in lower case.
        name: StandbyName,
        /// The standby's place in `synchronous_standby_names` as this process has read that; with 0 it lets no commit go.
        priority: u32,
        /// How far it has sent.
        sent: Option<Lsn>,
    },
}

/// Two looks at the processes, in a session that was begun after the setting was changed and sees the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks {
    pub first: Vec<Process>,
    /// The end of all WAL at the first look, inserted or about to be.
    pub written: Lsn,
    /// Between the looks these were asleep, and no signal was on its way to them.
    pub asleep: BTreeSet<i32>,
    pub second: Vec<Process>,
}

/// The place that PostgreSQL gives a standby: `SyncRepGetStandbyPriority` in syncrep.c.
#[must_use]
pub fn priority(contract: &SyncNames, name: &str) -> u32 {
    let SyncNames::Wait { method, names, .. } = contract else {
        return 0;
    };
    let is_it = |listed: &String| listed == "*" || listed.eq_ignore_ascii_case(name);
    match (names.iter().position(is_it), method) {
        (None, _) => 0,
        (Some(_), Method::Any) => 1,
        (Some(place), Method::First) => u32::try_from(place + 1).unwrap_or(u32::MAX),
    }
}

/// Whether each of them goes by `contract`, and one at least sends.
///
/// The priority alone does not tell: with `"node2"` and `FIRST 2 (node2, node3)` node2's is the same, and so it is with
/// `ANY 1` and `ANY 2`. So each has to be seen where it must have read the setting.
#[must_use]
pub fn is_in_force(contract: &SyncNames, looks: &Looks) -> bool {
    let has_read = |process: &Process| match &process.work {
        Work::Checkpointer => has_idled(looks, process),
        Work::Sender {
            name,
            priority: shown,
            sent,
        } => {
            let lets_nobody_go = *shown == 0;
            *shown == priority(contract, name)
                && (lets_nobody_go
                    || is_new(looks, process)
                    || has_idled(looks, process)
                    || *sent > Some(looks.written))
        }
    };
    let is_sender = |process: &Process| matches!(process.work, Work::Sender { .. });
    let is_checkpointer = |process: &Process| process.work == Work::Checkpointer;
    looks.second.iter().any(is_sender)
        && looks.second.iter().any(is_checkpointer)
        && looks.second.iter().all(has_read)
}

/// It was begun after the first look, by a postmaster that had read the setting.
fn is_new(looks: &Looks, process: &Process) -> bool {
    looks.first.iter().all(|old| old.pid != process.pid)
}

/// It was asleep in a place where it looks at its settings before it goes to sleep. Either it has slept there from the
/// first look to the second: then it was told before it went to sleep, or the signal would have woken it. Or it left that
/// place in between, or came there anew: on the way it has looked.
///
/// Seen there only once it might be about to wake up.
fn has_idled(looks: &Looks, process: &Process) -> bool {
    let before = looks.first.iter().find(|old| old.pid == process.pid);
    before.is_some_and(idles) && looks.asleep.contains(&process.pid) && idles(process)
}

/// Whether it waits right after it has looked at its settings: `WalSndLoop` and `WalSndWaitForWal` in walsender.c,
/// `CheckpointerMain` and `CheckpointWriteDelay` in checkpointer.c.
#[must_use]
pub fn idles(process: &Process) -> bool {
    let event = process.wait_event.as_deref();
    match process.work {
        Work::Checkpointer => matches!(event, Some("CheckpointerMain" | "CheckpointWriteDelay")),
        Work::Sender { .. } => event.is_some_and(|event| {
            event == "WalSenderMain" || event.eq_ignore_ascii_case("WalSenderWaitForWal")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Lsn = Lsn::new(0x100);
    const MAIN: Option<&str> = Some("WalSenderMain");

    #[test]
    fn the_priority_is_the_place_in_the_list() {
        for (contract, name, expected) in [
            ("", "node2", 0),
            ("node3", "node2", 0),
            ("FIRST 2 (node2, \"Node3\")", "node3", 2),
            ("FIRST 1 (node2, node3)", "node3", 2),
            ("ANY 2 (node2, node3)", "node3", 1),
            ("ANY 1 (node2)", "node3", 0),
            ("*", "dr", 1),
            ("node2, *", "dr", 2),
        ] {
            let got = priority(&contract.parse().unwrap(), name);
            assert_eq!(got, expected, "{contract} {name}");
        }
    }

    fn checkpointer(event: &str) -> Process {
        Process {
            pid: 1,
            wait_event: (!event.is_empty()).then(|| event.to_owned()),
            work: Work::Checkpointer,
        }
    }

    fn sender(pid: i32, name: &str, priority: u32, event: Option<&str>, sent: u64) -> Process {
        Process {
            pid,
            wait_event: event.map(str::to_owned),
            work: Work::Sender {
                name: name.to_owned(),
                priority,
                sent: Some(Lsn::new(sent)),
            },
        }
    }

    /// The same seen twice, all of them asleep in between.
    fn steady(senders: &[Process]) -> Looks {
        let mut all = vec![checkpointer("CheckpointerMain")];
        all.extend_from_slice(senders);
        Looks {
            first: all.clone(),
            written: END,
            asleep: all.iter().map(|p| p.pid).collect(),
            second: all,
        }
    }

    fn is(contract: &str, looks: &Looks) -> bool {
        is_in_force(&contract.parse().unwrap(), looks)
    }

    #[test]
    fn every_sender_has_the_priority_of_the_contract() {
        let two = |priority| sender(2, "node2", priority, MAIN, 0x100);
        let three = |priority| sender(3, "node3", priority, MAIN, 0x100);
        for (contract, senders, expected) in [
            ("node3", vec![two(0), three(1)], true),
            // node2's sender still goes by "node2": it would release what waits for node3.
            ("node3", vec![two(1), three(1)], false),
            ("node3", vec![two(0), three(0)], false),
            ("ANY 1 (node2, node3)", vec![two(1), three(1)], true),
            ("ANY 1 (node2, node3)", vec![two(1), three(0)], false),
            // node3's sender still goes by ANY 1.
            ("FIRST 2 (node2, node3)", vec![two(1), three(1)], false),
            ("FIRST 2 (node2, node3)", vec![two(1), three(2)], true),
            // A sender that is dying is one like the others.
            (
                "node3",
                vec![two(0), three(1), sender(4, "node2", 1, MAIN, 0x90)],
                false,
            ),
            ("node3", vec![], false),
        ] {
            assert_eq!(is(contract, &steady(&senders)), expected, "{contract}");
        }
    }

    #[test]
    fn where_the_priority_stays_the_sender_is_seen_asleep_or_sending_what_is_new() {
        let contract = "ANY 2 (node2, node3)";
        let three = sender(3, "node3", 1, MAIN, 0x100);
        let with = |first: Option<&str>, asleep: bool, second: Option<&str>, sent: u64| {
            let mut looks = steady(&[sender(2, "node2", 1, first, 0x100), three.clone()]);
            if !asleep {
                looks.asleep.remove(&2);
            }
            looks.second[1] = sender(2, "node2", 1, second, sent);
            is(contract, &looks)
        };
        assert!(with(MAIN, true, MAIN, 0x100));
        // Stopped by a signal, or about to run: it has not come to its settings yet.
        assert!(!with(MAIN, false, MAIN, 0x100));
        // In the middle of something, which may have begun before.
        assert!(!with(None, true, MAIN, 0x100));
        assert!(!with(MAIN, true, None, 0x100));
        assert!(!with(Some("WALWrite"), true, Some("WALWrite"), 0x100));
        // Busy: what was written since has been sent, which comes after a look at the settings and before the next reply.
        assert!(with(None, false, None, 0x101));
        assert!(!with(None, false, None, 0x100));
    }

    #[test]
    fn who_lets_no_commit_go_and_who_came_later_need_no_look() {
        let busy = |pid, name, priority| sender(pid, name, priority, None, 0x90);
        let three = sender(3, "node3", 1, MAIN, 0x100);
        assert!(is("node3", &steady(&[busy(2, "node2", 0), three.clone()])));
        let mut looks = steady(&[three]);
        looks.second.push(busy(9, "node3", 1));
        assert!(is("node3", &looks));
        // One that went has no more to say.
        let mut looks = steady(&[busy(2, "node2", 1), sender(3, "node3", 1, MAIN, 0x100)]);
        looks.second.remove(1);
        assert!(is("node3", &looks));
    }

    #[test]
    fn the_checkpointer_is_seen_asleep() {
        let three = [sender(3, "node3", 1, MAIN, 0x100)];
        let with = |first: &str, asleep: bool, second: &str| {
            let mut looks = steady(&three);
            looks.first[0] = checkpointer(first);
            looks.second[0] = checkpointer(second);
            if !asleep {
                looks.asleep.remove(&1);
            }
            is("node3", &looks)
        };
        assert!(with("CheckpointerMain", true, "CheckpointerMain"));
        assert!(with("CheckpointWriteDelay", true, "CheckpointerMain"));
        assert!(!with("CheckpointerMain", false, "CheckpointerMain"));
        // Asleep for a lock in a checkpoint, and about to begin its wait when it was seen again.
        assert!(!with("", true, "CheckpointerMain"));
        assert!(!with("CheckpointerMain", true, "DataFileWrite"));
        let mut looks = steady(&three);
        looks.second.remove(0);
        assert!(!is("node3", &looks), "there is none");
    }
}
