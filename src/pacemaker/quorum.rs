//! Quorum and membership as corosync itself has them. The CIB's copy of both is written by the
//! controller some time later, too late to decide on (R1).

use std::collections::BTreeSet;

use crate::sys::{Command, Deadline, RunError};

/// What `corosync-quorumtool -s` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub quorate: bool,
    /// Changes with every change of membership.
    pub ring: String,
    /// Votes in the whole cluster.
    pub expected_votes: usize,
    /// Votes in this partition; 0 where that is not said.
    pub total_votes: usize,
    /// Each of two nodes keeps quorum when it loses the other (`two_node`); false where that is not said.
    pub two_node: bool,
    /// A node that starts has no quorum before it has seen every other one (`wait_for_all`); false where that is not said.
    pub waits_for_all: bool,
    /// It has enough votes, and waits until it has seen every node (`wait_for_all`); false where that is not said.
    pub awaits_all: bool,
    /// Each member listed has exactly one vote, so that members can be counted instead.
    pub one_vote_each: bool,
    /// A quorum device is listed, with a vote or without.
    pub has_device: bool,
    /// The ids of the members listed; empty where there is no list that can be read.
    members: BTreeSet<u32>,
}

impl Membership {
    /// How many members are listed, a quorum device not counted; `None` where there is no list that can be read.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        (!self.members.is_empty()).then_some(self.members.len())
    }

    /// Whether the node with this id (as the CIB has it) is a member; `None` where that can't be told.
    #[must_use]
    pub fn has(&self, id: &str) -> Option<bool> {
        let id = id.parse().ok()?;
        (!self.members.is_empty()).then(|| self.members.contains(&id))
    }
}

/// Quorum could not be read, which is not the same as "no quorum".
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error("corosync's quorum could not be asked for: {0}")]
    Run(#[from] RunError),
    #[error(
        "corosync-quorumtool printed no usable {0:?}; is corosync_votequorum the quorum provider?"
    )]
    Missing(&'static str),
}

/// Asks the local corosync.
///
/// # Errors
/// See [`QuorumError`].
pub fn read(deadline: Deadline) -> Result<Membership, QuorumError> {
    // Its exit code says whether there is quorum, in a way that changed between versions.
    let output = Command::new("corosync-quorumtool")
        .arg("-s")
        .env("LC_ALL", "C")
        .output(deadline)?;
    parse(&output.stdout_text())
}

fn parse(text: &str) -> Result<Membership, QuorumError> {
    let field = |label: &'static str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        value
            .map(str::trim)
            .filter(|v| !v.is_empty())
            .ok_or(QuorumError::Missing(label))
    };
    let quorate = match field("Quorate")? {
        "Yes" => true,
        "No" => false,
        _ => return Err(QuorumError::Missing("Quorate")),
    };
    let has_flag =
        |name| field("Flags").is_ok_and(|flags| flags.split_whitespace().any(|flag| flag == name));
    let waits_for_all = has_flag("WaitForAll");
    // "1 Activity blocked"
    let number = |label| {
        field(label)
            .ok()?
            .split_whitespace()
            .next()?
            .parse::<u32>()
            .ok()
    };
    let total = number("Total votes");
    let has_votes = total
        .zip(number("Quorum"))
        .is_some_and(|(votes, needed)| votes >= needed);
    Ok(Membership {
        quorate,
        ring: field("Ring ID")?.to_owned(),
        expected_votes: field("Expected votes")?
            .parse()
            .map_err(|_| QuorumError::Missing("Expected votes"))?,
        total_votes: total.unwrap_or_default() as usize,
        two_node: has_flag("2Node"),
        waits_for_all,
        awaits_all: waits_for_all && !quorate && has_votes,
        one_vote_each: one_vote_each(text),
        has_device: has_device(text),
        members: members(text),
    })
}

/// The id of a quorum device in the table of members: it has a vote and no copy of anything.
///
/// Source: corosync's votequorum.h, `VOTEQUORUM_QDEVICE_NODEID`.
const QUORUM_DEVICE: u32 = 0;

/// The table under `Nodeid Votes Name`.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .skip_while(|line| !line.contains("Nodeid"))
        .skip(1)
        .filter(|line| !line.trim().is_empty())
}

/// False where there is no table.
fn one_vote_each(text: &str) -> bool {
    let mut rows = rows(text).peekable();
    let is_one = |line: &str| line.split_whitespace().nth(1) == Some("1");
    rows.peek().is_some() && rows.all(is_one)
}

fn has_device(text: &str) -> bool {
    let is_device = |row: &str| {
        let id = row.split_whitespace().next();
        id.and_then(|id| id.parse().ok()) == Some(QUORUM_DEVICE)
    };
    rows(text).any(is_device)
}

/// Empty where there is no table, or a row that does not begin with an id: a list with a gap would call a member away.
fn members(text: &str) -> BTreeSet<u32> {
    let id = |row: &str| row.split_whitespace().next()?.parse().ok();
    let ids: Option<BTreeSet<u32>> = rows(text).map(id).collect();
    let mut ids = ids.unwrap_or_default();
    ids.remove(&QUORUM_DEVICE);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As printed by corosync 3.1.7.
    const PRINTED: &str = "\
Quorum information
------------------
Date:             Sat Nov 21 08:00:00 2026
Quorum provider:  corosync_votequorum
Nodes:            3
Node ID:          1
Ring ID:          1.c
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      3
Quorum:           2
Flags:            Quorate

Membership information
----------------------
    Nodeid      Votes Name
         1          1 node1 (local)
         2          1 node2
";

    #[test]
    fn quorum_and_ring_are_read() {
        let expected = Membership {
            quorate: true,
            ring: "1.c".to_owned(),
            expected_votes: 3,
            total_votes: 3,
            two_node: false,
            waits_for_all: false,
            awaits_all: false,
            one_vote_each: true,
            has_device: false,
            members: BTreeSet::from([1, 2]),
        };
        assert_eq!(parse(PRINTED).unwrap(), expected);
        assert!(!parse(&PRINTED.replace("Yes", "No")).unwrap().quorate);
        let weighted = PRINTED.replace("2          1 node2", "2          0 node2");
        assert!(!parse(&weighted).unwrap().one_vote_each);
        let no_table = PRINTED.split("Membership").next().unwrap();
        assert!(!parse(no_table).unwrap().one_vote_each);
    }

    #[test]
    fn who_is_a_member_is_read_from_the_table_or_not_known() {
        let seen = parse(PRINTED).unwrap();
        assert_eq!(seen.has("2"), Some(true));
        assert_eq!(seen.has("3"), Some(false));
        assert_eq!(seen.has("a-remote-node"), None);
        let no_table = PRINTED.split("    Nodeid").next().unwrap();
        assert_eq!(parse(no_table).unwrap().has("2"), None);
        let unreadable = PRINTED.replace("         1          1", "         ?          1");
        assert_eq!(parse(&unreadable).unwrap().has("2"), None);
    }

    #[test]
    fn a_quorum_device_has_a_vote_and_is_no_member() {
        let device = PRINTED
            .replace(
                "    Nodeid      Votes Name",
                "    Nodeid      Votes    Qdevice Name",
            )
            .replace(
                "         1          1 node1",
                "         1          1    A,V,NMW node1",
            )
            .replace(
                "         2          1 node2",
                "         2          1    A,V,NMW node2",
            )
            + "         0          1            Qdevice\n";
        let seen = parse(&device).unwrap();
        assert_eq!((seen.count(), seen.expected_votes), (Some(2), 3));
        assert!(seen.one_vote_each && seen.has("1") == Some(true));
        // Nobody has the id, so nobody is it.
        assert_eq!(seen.has("0"), Some(false));
    }

    #[test]
    fn wait_for_all_is_among_the_flags() {
        for (flags, expected) in [
            ("2Node Quorate WaitForAll ", true),
            ("2Node WaitForAll", true),
            ("2Node Quorate ", false),
            ("", false),
        ] {
            let text = PRINTED.replace(
                "Flags:            Quorate",
                &format!("Flags:            {flags}"),
            );
            let seen = parse(&text).unwrap();
            assert_eq!(seen.waits_for_all, expected, "{flags:?}");
            assert_eq!(seen.two_node, flags.contains("2Node"), "{flags:?}");
        }
        assert!(
            !parse(&PRINTED.replace("Flags:", "X:"))
                .unwrap()
                .waits_for_all
        );
    }

    #[test]
    fn who_has_the_votes_and_no_quorum_waits_for_all() {
        for (quorate, flags, votes, quorum, expected) in [
            // Both nodes of two lost power, and one is back: as printed by corosync 3.1.7.
            ("No", "2Node WaitForAll ", "1", "1 Activity blocked", true),
            ("Yes", "2Node Quorate WaitForAll ", "1", "1  ", false),
            // Two of three are back, and one.
            ("No", "WaitForAll ", "2", "2 Activity blocked", true),
            ("No", "WaitForAll ", "1", "2 Activity blocked", false),
            ("No", "", "1", "2 Activity blocked", false),
            ("No", "2Node WaitForAll ", "?", "1", false),
        ] {
            let text = PRINTED
                .replace(
                    "Quorate:          Yes",
                    &format!("Quorate:          {quorate}"),
                )
                .replace(
                    "Flags:            Quorate",
                    &format!("Flags:            {flags}"),
                )
                .replace("Total votes:      3", &format!("Total votes:      {votes}"))
                .replace(
                    "Quorum:           2",
                    &format!("Quorum:           {quorum}"),
                );
            let seen = parse(&text).unwrap().awaits_all;
            assert_eq!(seen, expected, "{quorate} {flags:?} {votes} {quorum}");
        }
    }

    #[test]
    fn what_is_missing_is_an_error_and_not_no_quorum() {
        for text in ["", "Cannot initialize QUORUM service\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        for label in ["Quorate", "Ring ID", "Expected votes"] {
            assert!(parse(&PRINTED.replace(label, "X")).is_err(), "{label}");
        }
    }
}
