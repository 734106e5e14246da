//! Quorum and membership as corosync itself has them. The CIB's copy of both is written by the
//! controller some time later, too late to decide on (R1).

use crate::sys::{Command, Deadline, RunError};

/// What `corosync-quorumtool -s` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub quorate: bool,
    /// Changes with every change of membership.
    pub ring: String,
    /// Votes in the whole cluster.
    pub expected_votes: usize,
    /// Each member listed has exactly one vote, so that members can be counted instead.
    pub one_vote_each: bool,
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
    Ok(Membership {
        quorate: match field("Quorate")? {
            "Yes" => true,
            "No" => false,
            _ => return Err(QuorumError::Missing("Quorate")),
        },
        ring: field("Ring ID")?.to_owned(),
        expected_votes: field("Expected votes")?
            .parse()
            .map_err(|_| QuorumError::Missing("Expected votes"))?,
        one_vote_each: one_vote_each(text),
    })
}

/// From the table under `Nodeid Votes Name`; false where there is none.
fn one_vote_each(text: &str) -> bool {
    let mut rows = text
        .lines()
        .skip_while(|line| !line.contains("Nodeid"))
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .peekable();
    let is_one = |line: &str| line.split_whitespace().nth(1) == Some("1");
    rows.peek().is_some() && rows.all(is_one)
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
            one_vote_each: true,
        };
        assert_eq!(parse(PRINTED).unwrap(), expected);
        assert!(!parse(&PRINTED.replace("Yes", "No")).unwrap().quorate);
        let weighted = PRINTED.replace("2          1 node2", "2          0 node2");
        assert!(!parse(&weighted).unwrap().one_vote_each);
        let no_table = PRINTED.split("Membership").next().unwrap();
        assert!(!parse(no_table).unwrap().one_vote_each);
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
