//! The election by position: who has the most WAL where no primary decided that beforehand (R7).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::decide::eligibility::Ground;
use crate::model::cluster_view::{NoQuorumPolicy, Quorum};
use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::status::{DataStatus, Score};
use crate::model::timeline::{Newer, Relation, WalPosition};

/// What is known of one node that may be promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Not a member of this partition, or its server is stopped: its position cannot be known now.
    Absent,
    /// A member that has not said its position: not started, or still replaying.
    Silent,
    /// Everything it has, replayed or received, and nothing more to come.
    At(WalPosition),
}

/// Whether to decide without nodes that have not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Somebody is missing, and may have more WAL: wait for it.
    WaitForAll,
    /// The same reports were seen often enough (`xlog_check_count`): decide among them.
    Exhausted,
}

/// Who is better among nodes with the same WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie<'a> {
    /// Where the election chooses: the last primary, which then need not change its timeline, else
    /// the first by name. So every node that asks computes the same order, and one wins.
    /// Who may not be promoted comes after all others.
    Ranked {
        last_primary: Option<&'a NodeName>,
        barred: &'a BTreeSet<NodeName>,
    },
    /// Where Pacemaker has chosen already: whoever it chose. In a switchover the last primary has
    /// as much WAL, and is the one that must not be promoted.
    Chosen,
}

/// Who was the primary: the recorded one, or, as an older agent keeps no promotion record, the one node that is LATEST.
#[must_use]
pub fn last_primary<'a>(
    record: Option<&'a ReplInfo>,
    statuses: impl IntoIterator<Item = (&'a NodeName, Option<DataStatus>)>,
) -> Option<&'a NodeName> {
    if let Some(record) = record {
        return Some(&record.node);
    }
    let mut latest = statuses
        .into_iter()
        .filter(|(_, status)| *status == Some(DataStatus::Latest));
    match (latest.next(), latest.next()) {
        (Some((node, _)), None) => Some(node),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// What the election says to the node that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Won,
    /// `better` has more WAL, or the same and comes first by name.
    Lost {
        better: NodeName,
    },
    /// Not all have reported.
    Wait {
        missing: Vec<NodeName>,
    },
    /// Two nodes were promoted from the same timeline; only a human can say which data counts.
    Unrankable {
        with: NodeName,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Won => f.write_str("this node has the most WAL"),
            Self::Lost { better } => write!(
                f,
                "{better} has more WAL, or as much and comes first by name"
            ),
            Self::Wait { missing } => {
                let names: Vec<&str> = missing.iter().map(NodeName::as_str).collect();
                write!(f, "no position reported yet by {}", names.join(", "))
            }
            Self::Unrankable { with } => {
                write!(
                    f,
                    "this node and {with} were promoted separately and their WAL cannot be ranked; name the right one with 'expgsql cluster reset_master NODE'"
                )
            }
        }
    }
}

/// Whether a node's position is held against another's. Of one that may not be promoted it is only where that is the first primary's
/// election: what it has may be nowhere else. The loss of the last commits is what asynchronous mode allows, and to wait for
/// such a node would be to have no primary.
#[must_use]
pub fn weighs(ground: Ground, is_barred: bool) -> bool {
    match ground {
        Ground::AsyncStandby => !is_barred,
        Ground::RecordedPrimary | Ground::Claimed | Ground::FirstElection => true,
    }
}

/// Holds the election from the point of view of `me`. (The shell agents let every node of a tie
/// win, and Pacemaker picks one.)
#[must_use]
pub fn elect(
    me: &NodeName,
    reports: &BTreeMap<NodeName, Report>,
    tie: Tie<'_>,
    patience: Patience,
) -> Outcome {
    let Some(Report::At(mine)) = reports.get(me) else {
        return Outcome::Wait {
            missing: vec![me.clone()],
        };
    };
    let mut missing = Vec::new();
    let mut unrankable = None;
    for (name, report) in reports.iter().filter(|(name, _)| *name != me) {
        let Report::At(theirs) = report else {
            missing.push(name.clone());
            continue;
        };
        let loses = match mine.relate(theirs) {
            Relation::Behind => true,
            Relation::Equal => match tie {
                Tie::Ranked {
                    last_primary,
                    barred,
                } => {
                    let rank = |node| (barred.contains(node), last_primary != Some(node), node);
                    rank(name) < rank(me)
                }
                Tie::Chosen => false,
            },
            Relation::Ahead => false,
            Relation::Diverged {
                newer: Newer::Other,
                ..
            } => true,
            Relation::Diverged {
                newer: Newer::This, ..
            } => false,
            Relation::Diverged {
                newer: Newer::Unknown,
                ..
            } => {
                unrankable.get_or_insert(name);
                false
            }
        };
        if loses {
            return Outcome::Lost {
                better: name.clone(),
            };
        }
    }
    match (unrankable, patience) {
        (Some(with), _) => Outcome::Unrankable { with: with.clone() },
        (None, Patience::WaitForAll) if !missing.is_empty() => Outcome::Wait { missing },
        (None, _) => Outcome::Won,
    }
}

/// What a primary asks of Pacemaker. Without quorum another may have been promoted in the rest of the cluster. When the two sides
/// meet, Pacemaker finds two primaries and demotes one of them; of equals it is as likely the new one, whose server would be
/// restarted, and writes would stop a second time (seen). A standby never comes before a primary that yields.
#[must_use]
pub fn primarys_score(quorum: Quorum, policy: NoQuorumPolicy) -> Score {
    match (quorum, policy) {
        // Something else than votes decides who may be promoted.
        (Quorum::No, NoQuorumPolicy::Ignore) => Score::Must,
        (Quorum::No, _) => Score::Yields,
        // Without a coordinator it is not known; that passes within a second.
        (Quorum::Yes | Quorum::Unknown, _) => Score::Must,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lsn::Lsn;

    const NOBODY: &BTreeSet<NodeName> = &BTreeSet::new();
    const RANKED: Tie<'static> = Tie::Ranked {
        last_primary: None,
        barred: NOBODY,
    };

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn at(lineage: &str, end: u64) -> Report {
        Report::At(WalPosition {
            lineage: lineage.parse().unwrap(),
            end: Lsn::new(end),
        })
    }

    fn election(reports: &[(&str, Report)], patience: Patience) -> Vec<(String, Outcome)> {
        let map: BTreeMap<_, _> = reports.iter().map(|(n, r)| (node(n), r.clone())).collect();
        map.keys()
            .map(|n| (n.to_string(), elect(n, &map, RANKED, patience)))
            .collect()
    }

    fn winners(reports: &[(&str, Report)], patience: Patience) -> Vec<String> {
        let all = election(reports, patience).into_iter();
        all.filter(|(_, o)| *o == Outcome::Won)
            .map(|(n, _)| n)
            .collect()
    }

    #[test]
    fn a_primary_yields_where_another_may_have_been_promoted() {
        use NoQuorumPolicy::{Demote, Freeze, Ignore, Stop};
        use Quorum::{No, Unknown, Yes};
        for (quorum, policy, expected) in [
            (Yes, Stop, Score::Must),
            (Yes, Ignore, Score::Must),
            (Unknown, Stop, Score::Must),
            (No, Stop, Score::Yields),
            (No, Freeze, Score::Yields),
            (No, Demote, Score::Yields),
            (No, Ignore, Score::Must),
        ] {
            assert_eq!(
                primarys_score(quorum, policy),
                expected,
                "{quorum:?} {policy}"
            );
        }
    }

    #[test]
    fn the_most_wal_wins_at_once_when_all_have_reported() {
        let reports = [
            ("node1", at("1", 0x50)),
            ("node2", at("1", 0x70)),
            ("node3", at("1", 0x60)),
        ];
        assert_eq!(winners(&reports, Patience::WaitForAll), ["node2"]);
    }

    #[test]
    fn a_tie_has_exactly_one_winner() {
        let reports = [
            ("node1", at("1", 0x70)),
            ("node2", at("1", 0x70)),
            ("node3", at("1", 0x60)),
        ];
        assert_eq!(winners(&reports, Patience::WaitForAll), ["node1"]);
    }

    #[test]
    fn whom_pacemaker_chose_loses_to_more_wal_only() {
        let map = |theirs| {
            BTreeMap::from([
                (node("node1"), at("1", theirs)),
                (node("node2"), at("1", 0x70)),
            ])
        };
        let chosen = |theirs| {
            elect(
                &node("node2"),
                &map(theirs),
                Tie::Chosen,
                Patience::Exhausted,
            )
        };
        assert_eq!(chosen(0x70), Outcome::Won);
        assert_eq!(
            chosen(0x71),
            Outcome::Lost {
                better: node("node1")
            }
        );
    }

    #[test]
    fn a_tie_goes_to_the_last_primary() {
        let last = node("node2");
        let map: BTreeMap<_, _> = ["node1", "node2", "node3"]
            .iter()
            .map(|n| (node(n), at("1", 0x70)))
            .collect();
        let won = |n: &&NodeName| {
            elect(
                n,
                &map,
                Tie::Ranked {
                    last_primary: Some(&last),
                    barred: NOBODY,
                },
                Patience::WaitForAll,
            ) == Outcome::Won
        };
        assert_eq!(map.keys().filter(won).collect::<Vec<_>>(), [&last]);
    }

    #[test]
    fn who_may_not_be_promoted_loses_a_tie_and_keeps_what_it_has() {
        let barred = BTreeSet::from([node("node1")]);
        for (theirs, last_primary, expected) in [
            (0x70, None, "node2"),
            (0x70, Some("node1"), "node2"),
            (0x60, None, "node2"),
            // Nobody else has that; a person has to say what it is worth.
            (0x80, None, "node1"),
        ] {
            let map = BTreeMap::from([
                (node("node1"), at("1", theirs)),
                (node("node2"), at("1", 0x70)),
                (node("node3"), at("1", 0x70)),
            ]);
            let last = last_primary.map(node);
            let tie = Tie::Ranked {
                last_primary: last.as_ref(),
                barred: &barred,
            };
            let won = |n: &&NodeName| elect(n, &map, tie, Patience::WaitForAll) == Outcome::Won;
            let winners: Vec<_> = map.keys().filter(won).collect();
            assert_eq!(winners, [&node(expected)], "{theirs:x} {last_primary:?}");
        }
    }

    #[test]
    fn an_asynchronous_failover_does_not_wait_for_who_may_not_be_promoted() {
        for (ground, is_barred, expected) in [
            (Ground::AsyncStandby, false, true),
            (Ground::AsyncStandby, true, false),
            (Ground::FirstElection, true, true),
            (Ground::Claimed, true, true),
        ] {
            assert_eq!(
                weighs(ground, is_barred),
                expected,
                "{ground:?} {is_barred}"
            );
        }
    }

    #[test]
    fn the_last_primary_is_on_record_or_is_the_one_that_is_latest() {
        let [one, two] = ["node1", "node2"].map(node);
        let record: ReplInfo = "node2|1|0000000005000060|5".parse().unwrap();
        let latest = Some(DataStatus::Latest);
        let away = Some(DataStatus::Disconnected);
        for (record, of_one, of_two, expected) in [
            (Some(&record), latest, away, Some(&two)),
            (None, latest, away, Some(&one)),
            (None, away, latest, Some(&two)),
            (None, None, None, None),
            // Two of them: neither is more the primary than the other.
            (None, latest, latest, None),
        ] {
            let statuses = [(&one, of_one), (&two, of_two)];
            assert_eq!(last_primary(record, statuses), expected);
        }
    }

    #[test]
    fn a_larger_position_on_an_abandoned_timeline_loses() {
        let reports = [
            ("node1", at("1", 0x900)),
            ("node2", at("2<1:0000000000000100", 0x180)),
        ];
        assert_eq!(winners(&reports, Patience::WaitForAll), ["node2"]);
    }

    #[test]
    fn nobody_wins_while_a_node_is_missing_until_patience_ends() {
        for gone in [Report::Absent, Report::Silent] {
            let reports = [
                ("node1", at("1", 0x50)),
                ("node2", gone),
                ("node3", at("1", 0x40)),
            ];
            assert_eq!(
                winners(&reports, Patience::WaitForAll),
                Vec::<String>::new()
            );
            assert_eq!(winners(&reports, Patience::Exhausted), ["node1"]);
        }
    }

    #[test]
    fn a_node_that_still_replays_never_wins() {
        let reports = [("node1", Report::Silent)];
        assert_eq!(winners(&reports, Patience::Exhausted), Vec::<String>::new());
    }

    #[test]
    fn two_separate_promotions_elect_nobody() {
        let reports = [
            ("node1", at("2<1:0000000000000100", 0x180)),
            ("node2", at("3<1:0000000000000120", 0x500)),
        ];
        for patience in [Patience::WaitForAll, Patience::Exhausted] {
            assert_eq!(winners(&reports, patience), Vec::<String>::new());
        }
    }
}
