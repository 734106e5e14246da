//! R6: no diverged node joins.

use std::fmt;

use crate::model::lsn::Lsn;
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::timeline::{Lineage, Relation, TimelineId, WalPosition};

/// Why a node cannot follow the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It has WAL past the place where the primary's history left its own.
    Forked {
        /// Where this node's WAL ends.
        local: WalPosition,
        /// The last position on `timeline` that both share.
        fork: Lsn,
        /// The timeline that one of them, or both, left at `fork`.
        timeline: TimelineId,
        primary: NodeName,
    },
    /// On the primary's own timeline it has more than the primary: that one lost WAL in a crash.
    Ahead {
        local: WalPosition,
        /// How far the primary's WAL reaches on disk.
        flushed: Lsn,
        primary: NodeName,
    },
    /// The primary has removed WAL that this node still needs, and no archive brings it: see [`may_come_from_an_archive`].
    Lacking {
        local: WalPosition,
        primary: NodeName,
    },
    /// A rewind began to write and did not end: the data are neither the old ones nor the new.
    Damaged,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The positions before the name: a reason is cut at its end, and a name may be long.
        match self {
            Self::Forked {
                local,
                fork,
                timeline,
                primary,
            } => write!(
                f,
                "own WAL {local} is past fork {timeline}@{fork} of {primary}"
            ),
            Self::Ahead {
                local,
                flushed,
                primary,
            } => write!(
                f,
                "own WAL {local} is past the end {flushed} of {primary}, which lost WAL in a crash"
            ),
            Self::Lacking { local, primary } => {
                write!(f, "{primary} has removed the WAL that follows own {local}")
            }
            Self::Damaged => f.write_str("a rewind was interrupted while it wrote"),
        }
    }
}

/// Holds the end of local WAL against the record of the last promotion: for the time when the
/// primary cannot be asked.
///
/// `None` also where the record cannot tell, as for a node that missed several promotions.
#[must_use]
pub fn by_record(me: &NodeName, record: Option<&ReplInfo>, local: &WalPosition) -> Option<Misfit> {
    let record = record.filter(|record| record.node != *me)?;
    let Origin::Forked(switch) = record.origin else {
        return None;
    };
    let forked = |fork| Misfit::Forked {
        local: local.clone(),
        fork,
        timeline: switch.timeline,
        primary: record.node.clone(),
    };
    if local.lineage.timeline == switch.timeline {
        return (local.end > switch.end).then(|| forked(switch.end));
    }
    match local.lineage.end_of(switch.timeline) {
        // This node left the same timeline at another place than the recorded primary.
        Some(end) if end != switch.end => Some(forked(end.min(switch.end))),
        _ => None,
    }
}

/// Holds the end of local WAL against what the primary says of itself: its history, over any number of
/// promotions, and how far its WAL reaches on disk. `theirs` must have been asked after `local` was
/// read, of a server that receives nothing any more: a standby gets only what the primary has on disk.
#[must_use]
pub fn by_history(local: &WalPosition, primary: &NodeName, theirs: &WalPosition) -> Option<Misfit> {
    match local.relate(theirs) {
        Relation::Equal | Relation::Behind => None,
        Relation::Ahead if local.lineage.timeline == theirs.lineage.timeline => {
            Some(Misfit::Ahead {
                local: local.clone(),
                flushed: theirs.end,
                primary: primary.clone(),
            })
        }
        // This node left the primary's timeline: at a place that the primary has not even reached.
        Relation::Ahead => Some(Misfit::Forked {
            local: local.clone(),
            fork: theirs.end,
            timeline: theirs.lineage.timeline,
            primary: primary.clone(),
        }),
        Relation::Diverged { fork, .. } => Some(Misfit::Forked {
            local: local.clone(),
            fork,
            timeline: shared(&local.lineage, &theirs.lineage),
            primary: primary.clone(),
        }),
    }
}

/// The last timeline that two histories have in common. Two that were left at different places have none in common after
/// that, though their numbers may be the same.
fn shared(a: &Lineage, b: &Lineage) -> TimelineId {
    let same = a
        .ancestors
        .iter()
        .zip(&b.ancestors)
        .take_while(|(x, y)| x == y);
    let left = same.count();
    let then = |lineage: &Lineage| {
        let switch = lineage.ancestors.get(left);
        switch.map_or(lineage.timeline, |switch| switch.timeline)
    };
    let last_left = left.checked_sub(1).and_then(|i| a.ancestors.get(i));
    match last_left {
        Some(switch) if then(a) != then(b) => switch.timeline,
        Some(_) | None => then(a),
    }
}

/// A standby asks its archive every few seconds ("wal_retrieve_retry_interval"), and the primary is asked in every sixth monitor: an archive that
/// has the WAL has brought some of it long before. The rest is for an archive that is down at the moment.
const ARCHIVE_PATIENCE: u32 = 10;

/// Whether WAL that the primary no longer has may still come from an archive. `lacking`: how often in a row the primary has said that it has removed
/// it, while nothing was replayed in between.
#[must_use]
pub fn may_come_from_an_archive(has_archive: bool, lacking: u32) -> bool {
    has_archive && lacking < ARCHIVE_PATIENCE
}

/// Whether a server that calls itself the primary is the recorded one: the address may still lead to a
/// deposed one, from which nothing may be copied.
#[must_use]
pub fn is_recorded(record: &ReplInfo, history: &Lineage) -> bool {
    match record.origin {
        Origin::Forked(switch) => history.end_of(switch.timeline) == Some(switch.end),
        Origin::NoHistory => history.ancestors.is_empty(),
        Origin::Unstated => true,
    }
}

/// Whether all that this node has past the fork was written after a promotion by hand: it had followed the recorded promotion,
/// and left it by one that no epoch was given to. What the cluster may count on lies before that, and the primary has it.
#[must_use]
pub fn was_promoted_by_hand(misfit: &Misfit, record: &ReplInfo, own_epoch: Option<u64>) -> bool {
    let Misfit::Forked {
        local,
        fork,
        timeline,
        ..
    } = misfit
    else {
        return false;
    };
    let is_counted = |theirs: u64| own_epoch.is_some_and(|own| own >= theirs);
    record.epoch.is_some_and(|theirs| !is_counted(theirs))
        && is_recorded(record, &local.lineage)
        && local.lineage.end_of(*timeline) == Some(*fork)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(lineage: &str, end: u64) -> WalPosition {
        WalPosition {
            lineage: lineage.parse().unwrap(),
            end: Lsn::new(end),
        }
    }

    #[test]
    fn an_archive_is_given_time_and_not_for_ever() {
        for (has_archive, lacking, expected) in [
            (false, 0, false),
            (false, 600, false),
            (true, 0, true),
            (true, 9, true),
            (true, 10, false),
            (true, u32::MAX, false),
        ] {
            assert_eq!(
                may_come_from_an_archive(has_archive, lacking),
                expected,
                "{has_archive} {lacking}"
            );
        }
    }

    #[test]
    fn wal_past_the_recorded_fork_is_divergence() {
        let me = NodeName::new("node1").unwrap();
        let two = "2<1:0000000000000100";
        for (record, lineage, end, expected) in [
            (None, "1", 0x900, None),
            (Some("node1|1|0000000000000100"), "1", 0x900, None),
            (Some("node2"), "1", 0x900, None),
            (Some("node2|0|0000000000000000"), "1", 0x900, None),
            (Some("node2|1|0000000000000100"), "1", 0x80, None),
            (Some("node2|1|0000000000000100"), "1", 0x100, None),
            (Some("node2|1|0000000000000100"), "1", 0x101, Some(0x100)),
            // Follows the recorded primary already.
            (Some("node2|1|0000000000000100"), two, 0x180, None),
            // Two timelines behind: it can follow; the shell agents refused it.
            (Some("node2|2|0000000000000200"), "1", 0x80, None),
            (Some("node2|2|0000000000000200"), two, 0x201, Some(0x200)),
            // Promoted itself from the same timeline, elsewhere.
            (Some("node2|1|0000000000000120"), two, 0x180, Some(0x100)),
            (Some("node2|1|00000000000000F0"), two, 0x180, Some(0xF0)),
        ] {
            let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
            let got = match by_record(&me, record.as_ref(), &position(lineage, end)) {
                Some(Misfit::Forked { fork, .. }) => Some(fork),
                None => None,
                Some(other) => panic!("{other:?}"),
            };
            assert_eq!(got, expected.map(Lsn::new), "{record:?} {lineage} {end:x}");
        }
    }

    #[test]
    fn the_primarys_history_tells_over_any_number_of_promotions() {
        let primary = NodeName::new("node2").unwrap();
        let three = "3<2:0000000000000200<1:0000000000000100";
        let two = "2<1:0000000000000100";
        let fork = |timeline, fork| Some((timeline, Lsn::new(fork)));
        for (lineage, end, theirs, flushed, expected) in [
            ("1", 0x80, "1", 0x100, None),
            ("1", 0x100, "1", 0x100, None),
            ("1", 0x80, three, 0x300, None),
            ("1", 0x100, three, 0x300, None),
            // What the record alone can't tell: it was away for two promotions.
            ("1", 0x101, three, 0x300, fork(1, 0x100)),
            (two, 0x180, three, 0x300, None),
            (two, 0x201, three, 0x300, fork(2, 0x200)),
            ("2<1:00000000000000F0", 0x180, three, 0x300, fork(1, 0xF0)),
            ("4<1:0000000000000100", 0x180, three, 0x300, fork(1, 0x100)),
            // It left the primary's timeline ahead of where the primary is now.
            (
                "4<3:0000000000000400<2:0000000000000200<1:0000000000000100",
                0x480,
                three,
                0x300,
                fork(3, 0x300),
            ),
        ] {
            let local = position(lineage, end);
            let got = match by_history(&local, &primary, &position(theirs, flushed)) {
                Some(Misfit::Forked { fork, timeline, .. }) => Some((timeline.get(), fork)),
                None => None,
                Some(other) => panic!("{other:?}"),
            };
            assert_eq!(got, expected, "{lineage} {end:x} against {theirs}");
        }
        let local = position("1", 0x101);
        let ahead = by_history(&local, &primary, &position("1", 0x100));
        assert_eq!(
            ahead,
            Some(Misfit::Ahead {
                local,
                flushed: Lsn::new(0x100),
                primary
            })
        );
    }

    #[test]
    fn a_deposed_primary_is_not_taken_for_the_recorded_one() {
        for (record, history, expected) in [
            ("node2|1|0000000000000100|7", "2<1:0000000000000100", true),
            (
                "node2|1|0000000000000100|7",
                "3<2:0000000000000200<1:0000000000000100",
                true,
            ),
            // The deposed one, before and after a promotion of its own.
            ("node2|1|0000000000000100|7", "1", false),
            ("node2|1|0000000000000100|7", "2<1:0000000000000140", false),
            ("node2|0|0000000000000000|1", "1", true),
            ("node2|0|0000000000000000|1", "2<1:0000000000000100", false),
            ("node2", "2<1:0000000000000100", true),
        ] {
            let record: ReplInfo = record.parse().unwrap();
            let got = is_recorded(&record, &history.parse().unwrap());
            assert_eq!(got, expected, "{record} {history}");
        }
    }

    #[test]
    fn both_positions_are_said() {
        let local = position("1", 0x101);
        let misfit = by_history(
            &local,
            &NodeName::new("node2").unwrap(),
            &position("2<1:0000000000000100", 0x300),
        );
        assert_eq!(
            misfit.unwrap().to_string(),
            "own WAL 1@0/101 is past fork 1@0/100 of node2"
        );
    }

    #[test]
    fn what_was_written_after_a_promotion_by_hand_is_told_from_what_the_cluster_counts_on() {
        let primary = NodeName::new("node1").unwrap();
        let (two, hand) = (
            "2<1:0000000000000100",
            "3<2:0000000000000200<1:0000000000000100",
        );
        let recorded = "node1|1|0000000000000100|4";
        for (record, own_epoch, lineage, theirs, expected) in [
            // The primary has gone on on timeline 2, or was promoted to 3 elsewhere since.
            (recorded, None, hand, (two, 0x300), true),
            (recorded, Some(3), hand, (two, 0x300), true),
            (
                recorded,
                None,
                hand,
                ("3<2:0000000000000280<1:0000000000000100", 0x300),
                true,
            ),
            // It was promoted by the cluster, and a merge has brought an earlier record back.
            (recorded, Some(5), hand, (two, 0x300), false),
            (recorded, Some(4), hand, (two, 0x300), false),
            // An older agent's record says nothing about who counts.
            ("node1|1|0000000000000100", None, hand, (two, 0x300), false),
            // The primary does not even reach the place: it has lost WAL that this node has.
            (recorded, None, hand, (two, 0x180), false),
            // The old primary: what it has past the fork it wrote as a primary.
            (
                "node1|2|0000000000000200|5",
                Some(4),
                two,
                (hand, 0x300),
                false,
            ),
            // It never followed the recorded promotion.
            (
                "node1|2|0000000000000280|5",
                None,
                hand,
                ("3<2:0000000000000280<1:0000000000000100", 0x300),
                false,
            ),
        ] {
            let local = position(lineage, 0x260);
            let theirs = position(theirs.0, theirs.1);
            let misfit = by_history(&local, &primary, &theirs).unwrap();
            let record: ReplInfo = record.parse().unwrap();
            assert_eq!(
                was_promoted_by_hand(&misfit, &record, own_epoch),
                expected,
                "{record} {own_epoch:?} {lineage} {theirs}"
            );
        }
        let record: ReplInfo = recorded.parse().unwrap();
        assert!(!was_promoted_by_hand(&Misfit::Damaged, &record, None));
    }
}
