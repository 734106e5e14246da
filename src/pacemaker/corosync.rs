//! corosync's timing, and its list of nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::sys::{Command, Deadline, RunError};

/// Added to corosync's own times: the new membership still has to reach the DC and the CIB, and clocks tick unevenly.
pub const SETTLE_MARGIN: Duration = Duration::from_secs(1);

/// The token that corosync runs with, which grows with the number of nodes; milliseconds.
pub const TOKEN: &str = "runtime.config.totem.token";
/// And the consensus.
pub const CONSENSUS: &str = "runtime.config.totem.consensus";

/// The settle time is not known. There is no default: with a longer token than guessed, a node would trust a membership
/// that is about to change.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// corosync's values could not be asked for.
    #[error(
        "corosync's timeouts could not be read, so it is not known how long a lost node may go unnoticed: {0}; start corosync, or set settle_time"
    )]
    Unread(RunError),
    /// corosync answered something else.
    #[error("corosync's {key} is missing from, or no number in, {answer:?}; set settle_time")]
    Malformed {
        /// The key.
        key: &'static str,
        /// All it answered.
        answer: String,
    },
}

/// How long after an event it takes at most until a node that was lost before it is out of the membership: token +
/// consensus + [`SETTLE_MARGIN`], as corosync runs with (the token grows with the number of nodes).
///
/// Measured with token 3000 and consensus 3600: a peer that was cut off was out after 6.1 s.
///
/// # Errors
/// See [`SettleError`].
///
/// Source: corosync.conf(5), `token`, `token_coefficient`, `consensus`; corosync-cmapctl(8).
pub fn settle_time(deadline: Deadline) -> Result<Duration, SettleError> {
    let output = Command::new("corosync-cmapctl")
        .args(["-g", TOKEN, CONSENSUS])
        .run(deadline)
        .map_err(SettleError::Unread)?;
    parse_settle_time(&output.stdout_text())
}

/// How many nodes corosync is configured with. One that was taken out of its list has no vote anywhere, whatever the CIB still has of it; and
/// the list stays the same where corosync expects fewer votes than there are (`last_man_standing`, `corosync-quorumtool -e`).
///
/// # Errors
/// It could not be asked; 0 nodes: it has no list.
pub fn nodes(deadline: Deadline) -> Result<usize, RunError> {
    let output = Command::new("corosync-cmapctl").arg(NODE).run(deadline)?;
    Ok(count_nodes(&output.stdout_text()))
}

const NODE: &str = "nodelist.node.";

fn count_nodes(answer: &str) -> usize {
    let number = |line: &str| Some(line.strip_prefix(NODE)?.split_once('.')?.0.to_owned());
    let numbers: BTreeSet<String> = answer.lines().filter_map(number).collect();
    numbers.len()
}

/// Token and consensus, from corosync-cmapctl's answer about both.
///
/// # Errors
/// [`SettleError::Malformed`].
pub fn timing(answer: &str) -> Result<(Duration, Duration), SettleError> {
    Ok((
        milliseconds(answer, TOKEN)?,
        milliseconds(answer, CONSENSUS)?,
    ))
}

fn parse_settle_time(answer: &str) -> Result<Duration, SettleError> {
    let (token, consensus) = timing(answer)?;
    Ok(token
        .saturating_add(consensus)
        .saturating_add(SETTLE_MARGIN))
}

/// From a line `KEY (u32) = NUMBER`.
fn milliseconds(answer: &str, key: &'static str) -> Result<Duration, SettleError> {
    answer
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .find(|(left, _)| {
            left.split_once(' ')
                .is_some_and(|(name, _type)| name == key)
        })
        .and_then(|(_, value)| value.trim().parse().ok())
        .map(Duration::from_millis)
        .ok_or_else(|| SettleError::Malformed {
            key,
            answer: answer.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// corosync 3.1.7, three nodes, token 1000.
    const ANSWER: &str =
        "runtime.config.totem.token (u32) = 1650\nruntime.config.totem.consensus (u32) = 1980\n";

    #[test]
    fn settle_time_is_token_and_consensus_and_a_margin() {
        assert_eq!(
            parse_settle_time(ANSWER).unwrap(),
            Duration::from_millis(1650 + 1980 + 1000)
        );
    }

    #[test]
    fn nodes_are_counted_by_their_numbers() {
        let answer = "nodelist.node.0.name (str) = node1\nnodelist.node.0.nodeid (u32) = 1\n\
                      nodelist.node.1.name (str) = node2\nnodelist.node.10.nodeid (u32) = 3\n";
        assert_eq!(count_nodes(answer), 3);
        assert_eq!(count_nodes("nodelist.local_node_pos (u32) = 1\n"), 0);
    }

    #[test]
    fn keys_are_compared_whole() {
        let longer = ANSWER.replace("totem.token ", "totem.token_warning ");
        assert!(matches!(
            parse_settle_time(&longer),
            Err(SettleError::Malformed { key: TOKEN, .. })
        ));
    }

    #[test]
    fn a_missing_or_bad_value_is_an_error_not_a_default() {
        for bad in [
            "",
            "runtime.config.totem.token (u32) = 1650\n",
            &ANSWER.replace("1980", "-1"),
            &ANSWER.replace("1980", ""),
            &ANSWER.replace(" = ", " "),
        ] {
            assert!(parse_settle_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn without_corosync_there_is_no_settle_time() {
        // On a machine with a running corosync this holds too: the deadline has passed.
        let past = Deadline::after(Duration::ZERO);
        assert!(matches!(settle_time(past), Err(SettleError::Unread(_))));
    }
}
