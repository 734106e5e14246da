//! Whether this node goes ahead with a promotion, and how.

use std::fmt;

use crate::decide::election::Outcome;
use crate::decide::eligibility::{Ground, Ineligible};
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::timeline::Lineage;

/// What promote has seen.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The server already accepts writes.
    pub is_primary: bool,
    /// R3, as the CIB has it.
    pub ground: Result<Ground, Ineligible>,
    /// The election; looked at where the ground alone does not single out one node.
    pub election: Outcome,
    pub record: Option<&'a ReplInfo>,
    pub lineage: &'a Lineage,
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
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ineligible(why) => why.fmt(f),
            Self::Election(outcome) => outcome.fmt(f),
        }
    }
}

/// Decides on a promotion that Pacemaker asks for. A score is only a hint; this is the rule.
#[must_use]
pub fn promote(facts: &Facts<'_>) -> Verdict {
    if facts.is_primary {
        return Verdict::Complete;
    }
    let ground = match &facts.ground {
        Ok(ground) => *ground,
        Err(why) => return Verdict::Refuse(Refusal::Ineligible(why.clone())),
    };
    let needs_election = match ground {
        Ground::RecordedPrimary | Ground::RecordedStandby => false,
        Ground::FirstElection | Ground::AsyncStandby => true,
    };
    if needs_election && facts.election != Outcome::Won {
        return Verdict::Refuse(Refusal::Election(facts.election.clone()));
    }
    Verdict::Go(method(ground, facts.record, facts.lineage))
}

/// The same timeline is kept only by the node that was the last to write on it: two nodes that
/// wrote on one timeline could never be told apart afterwards.
fn method(ground: Ground, record: Option<&ReplInfo>, lineage: &Lineage) -> Method {
    let own_origin = lineage
        .last_switch()
        .map_or(Origin::NoHistory, Origin::Forked);
    match (ground, record) {
        (Ground::RecordedPrimary, Some(record)) if record.origin == own_origin => {
            Method::SameTimeline
        }
        _ => Method::NewTimeline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node_name::NodeName;
    use crate::model::status::DataStatus;

    fn verdict(
        ground: Result<Ground, Ineligible>,
        election: Outcome,
        record: Option<&str>,
        lineage: &str,
    ) -> Verdict {
        let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
        let lineage = lineage.parse().unwrap();
        promote(&Facts {
            is_primary: false,
            ground,
            election,
            record: record.as_ref(),
            lineage: &lineage,
        })
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
                Ground::RecordedStandby,
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
    fn the_election_binds_where_the_record_does_not_name_one_node() {
        let lost = || Outcome::Lost {
            better: NodeName::new("node3").unwrap(),
        };
        for (ground, refused) in [
            (Ground::FirstElection, true),
            (Ground::AsyncStandby, true),
            (Ground::RecordedStandby, false),
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
        assert_eq!(
            verdict(Err(why.clone()), Outcome::Won, None, "1"),
            Verdict::Refuse(Refusal::Ineligible(why))
        );
    }

    #[test]
    fn a_promotion_that_was_interrupted_after_the_fact_is_completed() {
        let lineage = "1".parse().unwrap();
        let facts = Facts {
            is_primary: true,
            ground: Ok(Ground::RecordedPrimary),
            election: Outcome::Won,
            record: None,
            lineage: &lineage,
        };
        assert_eq!(promote(&facts), Verdict::Complete);
    }
}
