//! The watch over each node's way out, and what it means for the primary.
//!
//! A primary on a node that nobody can reach is none. So a node that has lost its gateway gives the primary up to one that has it; but
//! where all have lost it the gateway is what failed, and the primary stays. Hence scores above 0, for where a gateway answers, and
//! none that forbids anything: what all have or all lack changes nothing between them.

use super::config::Tuning;
use crate::setup::operation::operation;
use crate::setup::parts::{Constraint, Names, Operation, Primitive, Way};

/// Above the distance of two promotion scores, by more than what the readers' address adds to one of them.
const OPEN: u32 = 1300;
/// As long as nobody has looked, a node is neither left for another nor chosen: below that distance from either side.
const UNKNOWN: u32 = 650;

/// Questions to each gateway, and seconds for an answer.
const ATTEMPTS: u64 = 3;
const ANSWER: u64 = 2;

/// The resource that asks `hosts`, which goes into a clone.
pub(super) fn watch(names: &Names, hosts: &str, tuning: &Tuning) -> Primitive {
    let interval = tuning.vip_monitor_interval;
    let number = hosts.split_whitespace().count() as u64;
    // All nodes are to have looked before anything is made of it, or the first to notice that the gateway is gone would lose the
    // primary: longer than an interval and a look.
    let dampen = interval.as_secs() + 2 * number * (ATTEMPTS + ANSWER);
    let once = |name| operation(name, tuning);
    Primitive {
        id: names.gateway(),
        provider: "pacemaker",
        agent: "ping",
        params: vec![
            ("host_list", hosts.to_owned()),
            ("name", names.gateway()),
            ("dampen", format!("{dampen}s")),
            ("multiplier", "1".to_owned()),
            ("attempts", ATTEMPTS.to_string()),
            ("timeout", ANSWER.to_string()),
        ],
        // Not the name and the multiplier, by which the rules count.
        defaults: vec!["dampen", "attempts", "timeout"],
        meta: Vec::new(),
        operations: vec![
            once("start"),
            Operation {
                interval,
                ..once("monitor")
            },
            once("stop"),
        ],
    }
}

/// Where the primary would rather be.
pub(super) fn of_primary(names: &Names) -> [Constraint; 2] {
    let reaches = |word: &str, score, way| Constraint::Reaches {
        id: format!("location-{}-gateway-{word}", names.clone),
        score,
        attribute: names.gateway(),
        way,
    };
    [
        reaches("open", OPEN, Way::Open),
        reaches("unknown", UNKNOWN, Way::Unknown),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::Score;
    use crate::setup::parts::MOST_READER_SCORE;

    #[test]
    fn what_is_lost_moves_the_primary_and_what_is_not_known_does_not() {
        let value = |score: Score| score.to_string().parse::<u32>().unwrap();
        let (primary, standby) = (value(Score::Must), value(Score::May));
        let (readers, on_primary) = (MOST_READER_SCORE, MOST_READER_SCORE / 5 * 2 + 1);
        assert!(primary + on_primary < standby + OPEN, "lost, and open");
        assert!(primary > standby + readers, "both lost, or both open");
        assert!(primary > standby + UNKNOWN + readers, "lost, and unknown");
        assert!(
            primary + UNKNOWN > standby + OPEN + readers,
            "unknown, and open"
        );
    }
}
