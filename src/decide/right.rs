//! R4, R5: whether a running primary still has the right to be one.

use std::cmp::Ordering;
use std::fmt;

use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::timeline::Lineage;

/// What a running primary has to do about the promotion record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// The record names this node, and its timeline.
    Keep,
    /// This node is the rightful primary, and the record does not say so.
    Correct(Stale),
    /// Another node was promoted since: this one stops acknowledging commits at once.
    Lost { primary: NodeName, why: Loss },
}

/// In which way the record is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Stale {
    #[strum(serialize = "no promotion is recorded")]
    Missing,
    #[strum(
        serialize = "the record names this node, without the end of the previous timeline or without an epoch"
    )]
    Incomplete,
    #[strum(serialize = "the record is of an earlier promotion than this node's (by epoch)")]
    OlderEpoch,
    #[strum(
        serialize = "the record is of an earlier promotion than this node's (by timeline history)"
    )]
    OlderTimeline,
}

/// By what another node's promotion is known to be the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Loss {
    #[strum(serialize = "its promotion has the newer epoch")]
    NewerEpoch,
    #[strum(serialize = "its timeline is not in this node's history")]
    NewerTimeline,
    #[strum(serialize = "an operator named it")]
    Named,
    #[strum(serialize = "this server was promoted, and not by the cluster")]
    ByHand,
}

/// Whether Pacemaker has promoted this server, or found it promoted: it runs the monitor for that role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    Promoted,
    /// It holds it to be a standby, or asks what it is.
    Other,
}

/// [`right`], where it matters by whom the server was promoted. Timelines count promotions, and a promotion by hand adds one as
/// well; so only who was promoted by the cluster may say by its history that the record is behind.
///
/// `recorded`: the last primary, where the record names one, or an older agent's marks do.
#[must_use]
pub fn right_in(seat: Seat, me: &NodeName, recorded: Option<&NodeName>, right: Right) -> Right {
    let other = recorded.filter(|node| *node != me);
    match (&right, other) {
        // Marks without a record: the primary of a cluster that an older agent ran.
        (Right::Correct(Stale::Missing), Some(primary)) => by_hand(primary),
        (Right::Correct(Stale::OlderTimeline), Some(primary)) if seat == Seat::Other => {
            by_hand(primary)
        }
        _ => right,
    }
}

fn by_hand(primary: &NodeName) -> Right {
    Right::Lost {
        primary: primary.clone(),
        why: Loss::ByHand,
    }
}

/// Holds a running primary's own history against the record.
///
/// A record that names another node is not enough to stop: after a partition heals, the CIB of
/// either side may have survived (R5). Newer epoch, then newer timeline, wins. `epoch` is the one
/// this node was promoted with, where it knows it.
#[must_use]
pub fn right(
    me: &NodeName,
    record: Option<&ReplInfo>,
    lineage: &Lineage,
    epoch: Option<u64>,
) -> Right {
    let Some(record) = record else {
        return Right::Correct(Stale::Missing);
    };
    let own_origin = lineage
        .last_switch()
        .map_or(Origin::NoHistory, Origin::Forked);
    if record.node == *me {
        return if record.origin == own_origin && record.epoch.is_some() {
            Right::Keep
        } else {
            Right::Correct(Stale::Incomplete)
        };
    }
    let lost = |why| Right::Lost {
        primary: record.node.clone(),
        why,
    };
    if let (Some(mine), Some(theirs)) = (epoch, record.epoch) {
        match mine.cmp(&theirs) {
            Ordering::Greater => return Right::Correct(Stale::OlderEpoch),
            Ordering::Less => return lost(Loss::NewerEpoch),
            // Two partitions counted on from the same epoch. The histories say who came later.
            Ordering::Equal => {}
        }
    }
    let by_history = by_history(record, lineage);
    // The cluster counts its promotions, and each node knows the number of its own. A server that has none, and calls
    // itself a primary, was promoted by somebody else, however new its timeline is.
    if epoch.is_none() && record.epoch.is_some() && matches!(by_history, Right::Correct(_)) {
        return by_hand(&record.node);
    }
    by_history
}

/// Another node is recorded: which promotion came later, by the timelines.
fn by_history(record: &ReplInfo, lineage: &Lineage) -> Right {
    let lost = |why| Right::Lost {
        primary: record.node.clone(),
        why,
    };
    match record.origin {
        Origin::Unstated => lost(Loss::Named),
        // The other wrote on a timeline without ancestors. A primary that has some was promoted
        // after that.
        Origin::NoHistory if !lineage.ancestors.is_empty() => Right::Correct(Stale::OlderTimeline),
        Origin::NoHistory => lost(Loss::NewerTimeline),
        Origin::Forked(switch) => {
            // The recorded promotion is one of this node's ancestors, and another followed it.
            let place = lineage.ancestors.iter().position(|s| *s == switch);
            match place {
                Some(place) if place + 1 < lineage.ancestors.len() => {
                    Right::Correct(Stale::OlderTimeline)
                }
                _ => lost(Loss::NewerTimeline),
            }
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("recorded primary"),
            Self::Correct(stale) => write!(f, "{stale}"),
            Self::Lost { primary, why } => write!(
                f,
                "{primary} is the recorded primary: {why}; this node must be its standby"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_stops_only_for_a_newer_promotion() {
        let me = NodeName::new("node1").unwrap();
        let two = "2<1:0000000000000100";
        let three = "3<2:0000000000000200<1:0000000000000100";
        let lost = |why| Right::Lost {
            primary: NodeName::new("node2").unwrap(),
            why,
        };
        for (record, lineage, epoch, expected) in [
            (None, "1", None, Right::Correct(Stale::Missing)),
            (Some("node1|0|0000000000000000|1"), "1", None, Right::Keep),
            // An older agent's: the record of the contract needs an epoch to refer to.
            (
                Some("node1|0|0000000000000000"),
                "1",
                None,
                Right::Correct(Stale::Incomplete),
            ),
            (
                Some("node1|1|0000000000000100|4"),
                two,
                Some(4),
                Right::Keep,
            ),
            (Some("node1"), two, None, Right::Correct(Stale::Incomplete)),
            // Written before pg_ctl promote: the exact end of the old timeline came later.
            (
                Some("node1|1|00000000000000F0|4"),
                two,
                Some(4),
                Right::Correct(Stale::Incomplete),
            ),
            // Another was promoted from the timeline this node still writes on.
            (
                Some("node2|1|0000000000000080"),
                "1",
                None,
                lost(Loss::NewerTimeline),
            ),
            (
                Some("node2|2|0000000000000200"),
                two,
                None,
                lost(Loss::NewerTimeline),
            ),
            // A merge brought back the record of an earlier promotion.
            (
                Some("node2|1|0000000000000100"),
                three,
                None,
                Right::Correct(Stale::OlderTimeline),
            ),
            (
                Some("node2|0|0000000000000000"),
                two,
                None,
                Right::Correct(Stale::OlderTimeline),
            ),
            (
                Some("node2|1|0000000000000100|3"),
                two,
                Some(4),
                Right::Correct(Stale::OlderEpoch),
            ),
            // The same place and no epoch: nobody can tell, so the one without a record stops.
            (
                Some("node2|1|0000000000000100"),
                two,
                None,
                lost(Loss::NewerTimeline),
            ),
            (
                Some("node2|0|0000000000000000"),
                "1",
                None,
                lost(Loss::NewerTimeline),
            ),
            // Epoch before timeline.
            (
                Some("node2|1|0000000000000100|5"),
                three,
                Some(4),
                lost(Loss::NewerEpoch),
            ),
            (
                Some("node2|2|0000000000000200|4"),
                two,
                Some(4),
                lost(Loss::NewerTimeline),
            ),
            // Two partitions counted on from the same epoch, and this node followed the other.
            (
                Some("node2|1|0000000000000100|4"),
                three,
                Some(4),
                Right::Correct(Stale::OlderTimeline),
            ),
            (Some("node2"), three, Some(9), lost(Loss::Named)),
            // Promoted by hand, on a node that never was a primary, or whose notes are lost.
            (
                Some("node2|1|0000000000000100|4"),
                three,
                None,
                lost(Loss::ByHand),
            ),
            (
                Some("node2|0|0000000000000000|1"),
                two,
                None,
                lost(Loss::ByHand),
            ),
            // On one that was a primary once, and on one that has nothing that was not there before.
            (
                Some("node2|1|0000000000000100|4"),
                three,
                Some(2),
                lost(Loss::NewerEpoch),
            ),
            (
                Some("node2|1|0000000000000100|4"),
                two,
                None,
                lost(Loss::NewerTimeline),
            ),
            // The recorded primary, promoted by hand while it came back; and one whose notes are lost.
            (
                Some("node1|1|0000000000000100|4"),
                three,
                Some(4),
                Right::Correct(Stale::Incomplete),
            ),
            (Some("node1|1|0000000000000100|4"), two, None, Right::Keep),
        ] {
            let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
            let got = right(&me, record.as_ref(), &lineage.parse().unwrap(), epoch);
            assert_eq!(
                got, expected,
                "record={record:?} lineage={lineage} epoch={epoch:?}"
            );
        }
    }

    #[test]
    fn a_newer_timeline_is_a_right_only_for_whom_the_cluster_promoted() {
        let node = |name: &str| NodeName::new(name).unwrap();
        let (me, other) = (node("node1"), node("node2"));
        let correct = Right::Correct;
        let lost = || by_hand(&other);
        for (seat, recorded, before, expected) in [
            (
                Seat::Promoted,
                Some(&other),
                correct(Stale::OlderTimeline),
                correct(Stale::OlderTimeline),
            ),
            // Older agents' records have no epoch, and two epochs may be the same.
            (
                Seat::Other,
                Some(&other),
                correct(Stale::OlderTimeline),
                lost(),
            ),
            // It knows its own number, which is the higher one.
            (
                Seat::Other,
                Some(&other),
                correct(Stale::OlderEpoch),
                correct(Stale::OlderEpoch),
            ),
            // Nobody was ever promoted, or this node was, by an older agent.
            (
                Seat::Promoted,
                None,
                correct(Stale::Missing),
                correct(Stale::Missing),
            ),
            (
                Seat::Other,
                None,
                correct(Stale::Missing),
                correct(Stale::Missing),
            ),
            (
                Seat::Promoted,
                Some(&me),
                correct(Stale::Missing),
                correct(Stale::Missing),
            ),
            // Another was.
            (Seat::Other, Some(&other), correct(Stale::Missing), lost()),
            (
                Seat::Promoted,
                Some(&other),
                correct(Stale::Missing),
                lost(),
            ),
            // The record names this node.
            (
                Seat::Other,
                Some(&me),
                correct(Stale::Incomplete),
                correct(Stale::Incomplete),
            ),
            (Seat::Other, Some(&me), Right::Keep, Right::Keep),
        ] {
            let got = right_in(seat, &me, recorded, before.clone());
            assert_eq!(got, expected, "{seat:?} {recorded:?} {before:?}");
        }
    }
}
