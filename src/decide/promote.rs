//! Whether this node goes ahead with a promotion, and how.

use std::fmt;

use crate::decide::barred::Bar;
use crate::decide::election::Outcome;
use crate::decide::eligibility::{Ground, Ineligible};
use crate::decide::replay::Obstacle;
use crate::decide::right::Right;
use crate::decide::witness::Coverage;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::timeline::Lineage;

/// What promote has seen.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The server already accepts writes, with this right to; `None` for a standby.
    pub running_primary: Option<Right>,
    /// R3, as the CIB has it.
    pub ground: Result<Ground, Ineligible>,
    /// The election; looked at where the ground alone does not single out one node.
    pub election: Outcome,
    /// What the standbys have stated; looked at in synchronous mode.
    pub coverage: Coverage,
    /// What the parameters have against it.
    pub bar: Option<Bar>,
    /// What keeps it from replaying all it has.
    pub held: Option<Obstacle>,
    pub record: Option<&'a ReplInfo>,
    pub lineage: &'a Lineage,
    /// A restart keeps the contract from the first commit on: it does in asynchronous mode, where there
    /// is none, and with a server that waits from its start.
    pub restart_keeps_contract: bool,
    /// How much WAL, in bytes, a restart would replay again: all behind the last checkpoint. `None`: nobody knows, as it is
    /// still being replayed.
    pub restart_repeats: Option<u64>,
}

/// What promote does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Already a primary: complete what an interrupted promotion may have left undone.
    Complete,
    Go(Method),
    Refuse(Refusal),
}

/// How a standby becomes a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Method {
    /// `pg_ctl promote`: a new timeline, without a restart.
    #[strum(serialize = "new timeline")]
    NewTimeline,
    /// A restart out of recovery, on the same timeline.
    #[strum(serialize = "restart on the same timeline")]
    SameTimeline,
}

/// Why a promotion was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Ineligible(Ineligible),
    /// Another node has more WAL, or not everybody has said how much it has.
    Election(Outcome),
    /// It is not known to have every acknowledged commit.
    Coverage(Coverage),
    /// The server runs as a primary, and another was promoted since.
    LostRight(Right),
    /// It would not have after the promotion what it has now.
    Held(Obstacle),
    /// The operator does not want it to be the primary.
    Barred(Bar),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Go(method) => write!(f, "go, {method}"),
            Self::Refuse(refusal) => write!(f, "refuse, {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ineligible(why) => why.fmt(f),
            Self::Election(outcome) => outcome.fmt(f),
            Self::Coverage(coverage) => coverage.fmt(f),
            Self::LostRight(right) => right.fmt(f),
            Self::Held(obstacle) => obstacle.fmt(f),
            Self::Barred(bar) => bar.fmt(f),
        }
    }
}

/// The epoch of a promotion that is recorded now: later than the recorded one, than this node's own last one, and than each
/// that this node, or a standby that is to follow it, has stated something about (R8; `stated`). So a statement about a promotion of this node's says what
/// became of it for good, whatever record a merge brings back.
#[must_use]
pub fn next_epoch(recorded: Option<u64>, own: Option<u64>, stated: Option<u64>) -> u64 {
    recorded.max(own).max(stated).unwrap_or(0) + 1
}

/// Where the record of a promotion is, right after it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Copies of the CIB that were read and have it, this node's included.
    pub have: usize,
    /// Nodes in this partition, this one included.
    pub members: usize,
    /// Nodes there are.
    pub nodes: usize,
    /// Votes there are.
    pub voters: usize,
    pub one_vote_each: bool,
    /// Read after the record was written.
    pub quorate: bool,
    /// A partition without quorum stops its resources.
    pub others_stop_without_quorum: bool,
}

/// Whether the promotion may follow its record. Quorum was there when the promotion began, and may
/// have gone since: the write is then in a copy that nobody else has, while the old primary, with
/// quorum, revokes this node and goes on without it. Once a majority of all votes has the
/// record, every partition with quorum has a node that knows of it.
///
/// With a quorum device, or unequal votes, votes are not copies: there all members must have it, and
/// quorum must still be there. Where quorum decides nothing, the lock does.
#[must_use]
pub fn is_spread(spread: &Spread) -> bool {
    if !spread.others_stop_without_quorum {
        return true;
    }
    if spread.one_vote_each && spread.voters == spread.nodes && spread.voters >= 3 {
        return spread.have * 2 > spread.voters;
    }
    spread.quorate && spread.have >= spread.members
}

/// Decides on a promotion that Pacemaker asks for. A score is only a hint; this is the rule.
#[must_use]
pub fn promote(facts: &Facts<'_>) -> Verdict {
    match &facts.running_primary {
        Some(Right::Keep | Right::Correct(_)) => return Verdict::Complete,
        // Left over from before another node was promoted: R4.
        Some(lost @ Right::Lost { .. }) => {
            return Verdict::Refuse(Refusal::LostRight(lost.clone()));
        }
        None => {}
    }
    if let Some(bar) = &facts.bar {
        return Verdict::Refuse(Refusal::Barred(bar.clone()));
    }
    let ground = match (&facts.ground, &facts.coverage) {
        // Whatever was recorded about it: who has as much as the witnesses has everything.
        (Err(_) | Ok(Ground::Claimed), Coverage::Covered) => Ground::Claimed,
        (Ok(Ground::Claimed), coverage) => {
            return Verdict::Refuse(Refusal::Coverage(coverage.clone()));
        }
        (Err(why), _) => return Verdict::Refuse(Refusal::Ineligible(why.clone())),
        (Ok(ground), _) => *ground,
    };
    let needs_election = match ground {
        Ground::RecordedPrimary | Ground::Claimed => false,
        Ground::FirstElection | Ground::AsyncStandby => true,
    };
    if needs_election && facts.election != Outcome::Won {
        return Verdict::Refuse(Refusal::Election(facts.election.clone()));
    }
    match (method(ground, facts), &facts.held) {
        (Method::NewTimeline, Some(obstacle)) => Verdict::Refuse(Refusal::Held(obstacle.clone())),
        // Its restart is none of a standby's: it replays everything, and knows no recovery target.
        (method, _) => Verdict::Go(method),
    }
}

/// What a restart replays in a second or two. With more, as after a crash, a new timeline is sooner there by far, and it comes in
/// any case: a promotion that is still replaying when its time is over is ended, and so never comes.
const SHORT: u64 = 128 << 20;

/// The same timeline is kept only by the node that was the last to write on it: two nodes that
/// wrote on one timeline could never be told apart afterwards.
fn method(ground: Ground, facts: &Facts<'_>) -> Method {
    let switch = facts.lineage.last_switch();
    let own_origin = switch.map_or(Origin::NoHistory, Origin::Forked);
    match (ground, facts.record) {
        (Ground::RecordedPrimary, Some(record))
            if record.origin == own_origin
                && facts.restart_keeps_contract
                && facts.restart_repeats.is_some_and(|bytes| bytes <= SHORT) =>
        {
            Method::SameTimeline
        }
        _ => Method::NewTimeline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::right::{Loss, Stale};
    use crate::model::node_name::NodeName;
    use crate::model::status::DataStatus;

    fn verdict(
        ground: Result<Ground, Ineligible>,
        election: Outcome,
        record: Option<&str>,
        lineage: &str,
    ) -> Verdict {
        covered(ground, election, Coverage::Covered, record, lineage)
    }

    fn covered(
        ground: Result<Ground, Ineligible>,
        election: Outcome,
        coverage: Coverage,
        record: Option<&str>,
        lineage: &str,
    ) -> Verdict {
        let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
        let lineage = lineage.parse().unwrap();
        promote(&Facts {
            running_primary: None,
            ground,
            election,
            coverage,
            bar: None,
            held: None,
            record: record.as_ref(),
            lineage: &lineage,
            restart_keeps_contract: true,
            restart_repeats: Some(0),
        })
    }

    #[test]
    fn who_would_not_replay_all_it_has_is_not_promoted() {
        let lineage = "1".parse().unwrap();
        let go = |ground, held: Option<Obstacle>| {
            let record: ReplInfo = "node1|0|0000000000000000".parse().unwrap();
            promote(&Facts {
                running_primary: None,
                ground: Ok(ground),
                election: Outcome::Won,
                coverage: Coverage::Covered,
                bar: None,
                held,
                record: Some(&record),
                lineage: &lineage,
                restart_keeps_contract: true,
                restart_repeats: Some(0),
            })
        };
        let target = Obstacle::Target("recovery_target_time".to_owned());
        for (ground, held, expected) in [
            (Ground::Claimed, None, Verdict::Go(Method::NewTimeline)),
            (
                Ground::Claimed,
                Some(target.clone()),
                Verdict::Refuse(Refusal::Held(target.clone())),
            ),
            (
                Ground::AsyncStandby,
                Some(Obstacle::Paused),
                Verdict::Refuse(Refusal::Held(Obstacle::Paused)),
            ),
            // It is restarted, without standby.signal.
            (
                Ground::RecordedPrimary,
                Some(target),
                Verdict::Go(Method::SameTimeline),
            ),
        ] {
            assert_eq!(go(ground, held.clone()), expected, "{ground:?} {held:?}");
        }
    }

    #[test]
    fn whom_the_operator_does_not_want_is_not_promoted_and_goes_on_if_it_is() {
        let lineage = "1".parse().unwrap();
        let go = |running_primary, ground| {
            promote(&Facts {
                running_primary,
                ground: Ok(ground),
                election: Outcome::Won,
                coverage: Coverage::Covered,
                bar: Some(Bar::NoFailover),
                held: None,
                record: None,
                lineage: &lineage,
                restart_keeps_contract: true,
                restart_repeats: Some(0),
            })
        };
        let refused = Verdict::Refuse(Refusal::Barred(Bar::NoFailover));
        for ground in [
            Ground::RecordedPrimary,
            Ground::Claimed,
            Ground::FirstElection,
            Ground::AsyncStandby,
        ] {
            assert_eq!(go(None, ground), refused, "{ground:?}");
            assert_eq!(
                go(Some(Right::Keep), ground),
                Verdict::Complete,
                "{ground:?}"
            );
        }
    }

    #[test]
    fn the_timeline_is_kept_only_by_the_node_that_wrote_on_it_last() {
        let two = "2<1:0000000000000100";
        for (ground, record, lineage, expected) in [
            (
                Ground::RecordedPrimary,
                Some("node1|1|0000000000000100"),
                two,
                Method::SameTimeline,
            ),
            (
                Ground::RecordedPrimary,
                Some("node1|0|0000000000000000"),
                "1",
                Method::SameTimeline,
            ),
            // The record was written, and the promotion itself interrupted.
            (
                Ground::RecordedPrimary,
                Some("node1|1|0000000000000100"),
                "1",
                Method::NewTimeline,
            ),
            // An operator chose this node; others may have written on this timeline.
            (
                Ground::RecordedPrimary,
                Some("node1"),
                two,
                Method::NewTimeline,
            ),
            (Ground::RecordedPrimary, None, two, Method::NewTimeline),
            (
                Ground::Claimed,
                Some("node2|1|0000000000000100"),
                two,
                Method::NewTimeline,
            ),
        ] {
            let got = verdict(Ok(ground), Outcome::Won, record, lineage);
            assert_eq!(
                got,
                Verdict::Go(expected),
                "{ground:?} {record:?} {lineage}"
            );
        }
    }

    #[test]
    fn a_promotion_is_later_than_all_that_this_node_knows_of() {
        for (recorded, own, stated, expected) in [
            (None, None, None, 1),
            (Some(4), None, None, 5),
            (Some(4), Some(6), None, 7),
            // Its record was lost in a merge, after it had stated something about it.
            (Some(4), Some(4), Some(5), 6),
            (Some(4), None, Some(3), 5),
        ] {
            assert_eq!(next_epoch(recorded, own, stated), expected);
        }
    }

    #[test]
    fn a_promotion_follows_its_record_only_when_a_majority_has_that() {
        let three = Spread {
            have: 2,
            members: 2,
            nodes: 3,
            voters: 3,
            one_vote_each: true,
            quorate: true,
            others_stop_without_quorum: true,
        };
        assert!(is_spread(&three));
        assert!(
            is_spread(&Spread {
                quorate: false,
                ..three
            }),
            "a majority is one"
        );
        assert!(!is_spread(&Spread { have: 1, ..three }));
        let four = Spread {
            nodes: 4,
            voters: 4,
            ..three
        };
        assert!(!is_spread(&four), "half is no majority");
        // Two nodes and a device; two nodes of which each has quorum by itself.
        for voters in [3, 2] {
            let two = Spread {
                have: 1,
                members: 1,
                nodes: 2,
                voters,
                ..three
            };
            assert!(is_spread(&two));
            assert!(!is_spread(&Spread {
                quorate: false,
                ..two
            }));
            assert!(!is_spread(&Spread { members: 2, ..two }));
        }
        let weighted = Spread {
            one_vote_each: false,
            voters: 5,
            ..three
        };
        assert!(is_spread(&weighted));
        assert!(!is_spread(&Spread {
            members: 3,
            ..weighted
        }));
        let ignored = Spread {
            have: 1,
            quorate: false,
            others_stop_without_quorum: false,
            ..three
        };
        assert!(is_spread(&ignored));
    }

    #[test]
    fn a_restart_that_would_not_wait_at_first_or_take_long_is_a_promotion_instead() {
        let record: ReplInfo = "node1|0|0000000000000000".parse().unwrap();
        let lineage = "1".parse().unwrap();
        for (restart_keeps_contract, restart_repeats, expected) in [
            (true, Some(0), Method::SameTimeline),
            (true, Some(SHORT), Method::SameTimeline),
            (false, Some(0), Method::NewTimeline),
            // After a crash, far behind the last checkpoint; and nobody knows how far.
            (true, Some(SHORT + 1), Method::NewTimeline),
            (true, None, Method::NewTimeline),
        ] {
            let facts = Facts {
                running_primary: None,
                ground: Ok(Ground::RecordedPrimary),
                election: Outcome::Won,
                coverage: Coverage::NothingClaimed,
                bar: None,
                held: None,
                record: Some(&record),
                lineage: &lineage,
                restart_keeps_contract,
                restart_repeats,
            };
            assert_eq!(
                promote(&facts),
                Verdict::Go(expected),
                "{restart_keeps_contract} {restart_repeats:?}"
            );
        }
    }

    #[test]
    fn the_election_binds_where_the_record_does_not_name_one_node() {
        let lost = || Outcome::Lost {
            better: NodeName::new("node3").unwrap(),
        };
        for (ground, refused) in [
            (Ground::FirstElection, true),
            (Ground::AsyncStandby, true),
            (Ground::Claimed, false),
            (Ground::RecordedPrimary, false),
        ] {
            let got = verdict(Ok(ground), lost(), None, "1");
            assert_eq!(
                got == Verdict::Refuse(Refusal::Election(lost())),
                refused,
                "{ground:?}"
            );
        }
    }

    #[test]
    fn an_ineligible_node_is_refused_whatever_the_election_says() {
        let why = Ineligible::Status(DataStatus::Disconnected);
        for coverage in [
            Coverage::NothingClaimed,
            Coverage::Behind {
                better: "node3".to_owned(),
            },
        ] {
            assert_eq!(
                covered(Err(why.clone()), Outcome::Won, coverage, None, "1"),
                Verdict::Refuse(Refusal::Ineligible(why.clone()))
            );
        }
    }

    #[test]
    fn who_has_all_that_the_witnesses_have_is_promoted_whatever_was_recorded_about_it() {
        let why = || Err(Ineligible::Status(DataStatus::Disconnected));
        let record = Some("node2|1|0000000000000100");
        let go = Verdict::Go(Method::NewTimeline);
        assert_eq!(verdict(why(), Outcome::Won, record, "1"), go);
        let missing = || Coverage::Missing {
            more: 1,
            of: vec!["node3".to_owned()],
        };
        assert_eq!(
            covered(Ok(Ground::Claimed), Outcome::Won, missing(), record, "1"),
            Verdict::Refuse(Refusal::Coverage(missing())),
            "one of several among whom somebody has everything"
        );
    }

    #[test]
    fn a_running_primary_is_completed_only_with_the_right_to_be_one() {
        let lineage = "1".parse().unwrap();
        let verdict = |right| {
            promote(&Facts {
                running_primary: Some(right),
                ground: Ok(Ground::RecordedPrimary),
                election: Outcome::Won,
                coverage: Coverage::Covered,
                bar: None,
                held: None,
                record: None,
                lineage: &lineage,
                restart_keeps_contract: true,
                restart_repeats: Some(0),
            })
        };
        assert_eq!(verdict(Right::Keep), Verdict::Complete);
        assert_eq!(verdict(Right::Correct(Stale::Missing)), Verdict::Complete);
        let lost = Right::Lost {
            primary: NodeName::new("node2").unwrap(),
            why: Loss::NewerEpoch,
        };
        assert_eq!(
            verdict(lost.clone()),
            Verdict::Refuse(Refusal::LostRight(lost))
        );
    }
}
