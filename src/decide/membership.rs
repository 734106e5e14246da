//! R1 (b), (c), (d): by what it can ever be certain that a standby's node is not promoted elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::sync_names::StandbyName;

/// This node's partition. What corosync says of it is of one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub quorate: bool,
    /// Changes whenever membership does (corosync's ring id).
    pub ring: String,
    /// Whether corosync lists the standby's node as a member. One of which it says nothing is not in it: neither here
    /// nor away can be concluded then.
    pub members: BTreeMap<StandbyName, bool>,
    /// Votes there are, here and elsewhere.
    pub voters: usize,
    /// Votes there are here, a quorum device's among them.
    pub votes: usize,
    /// Nodes that corosync is configured with.
    pub nodes: usize,
    /// Every node here has one vote, so nodes can be counted.
    pub one_vote_each: bool,
    /// One of the votes is a quorum device's, which has no copy of anything.
    pub has_device: bool,
    /// R9 for one that arrives: others may have gone on without this node, and nobody is here who would know.
    pub has_missed: bool,
    /// A node that starts has no quorum before it has seen every other one (wait_for_all).
    pub waits_for_all: bool,
    /// A partition without quorum stops its resources (no-quorum-policy is not `ignore`).
    pub others_stop_without_quorum: bool,
    /// Time since the machine started.
    pub now: Duration,
    /// How long quorum and membership must hold before they can be believed; `None` where
    /// corosync's timing could not be read.
    pub settle: Option<Duration>,
}

impl Partition {
    /// Whether this partition's quorum shows that no other one has it. A node that starts alone counts two of three votes where one is
    /// a device's: so the votes that are here are held against all that there are.
    #[must_use]
    pub fn outvotes(&self) -> bool {
        let has_most = !self.has_device || self.votes * 2 > self.voters;
        self.voters >= 3 && has_most && self.others_stop_without_quorum && !self.has_missed
    }

    /// Whether whoever has quorum has a majority of the copies of the CIB.
    #[must_use]
    pub fn copies_are_votes(&self) -> bool {
        self.one_vote_each && !self.has_device
    }
}

/// A standby's node, as the CIB has it. The controller writes that some time after the event, or, while it hangs, not
/// at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// A member.
    pub present: bool,
    /// Down for certain: it was fenced or stopped in order, and fencing is enabled.
    pub fenced: bool,
}

/// What a revocation can be made certain by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// R1 (b): its node gets the revocation, as it is in this partition.
    Here,
    /// R1 (c): its node's partition stops without quorum.
    Outvoted,
    /// R1 (d): it is off, and does not act alone when it starts again.
    Down,
}

/// Why there is no [`Ground`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoGround {
    /// It may be at work elsewhere.
    OutOfReach,
    /// It is off. But when it starts, and this node is off by then, it has quorum all by itself, and goes by what its own CIB
    /// said before it went down.
    StartsAlone,
}

/// By what it can be certain that the node is not promoted. `by_quorum_alone`: there is no lock that outvotes quorum.
///
/// Both the CIB and corosync must have it here, or down. The CIB alone may be old; what corosync alone has may be a node
/// whose Pacemaker does not run yet, which has no copy of the CIB from here.
///
/// # Errors
/// See [`NoGround`].
pub fn ground(
    partition: &Partition,
    name: &str,
    recorded: Recorded,
    by_quorum_alone: bool,
) -> Result<Ground, NoGround> {
    let outvotes = partition.outvotes();
    let is_listed = partition.members.get(name).copied();
    let is_down = recorded.fenced && is_listed == Some(false);
    let starts_alone =
        !(outvotes || partition.waits_for_all && partition.others_stop_without_quorum);
    if is_down && !starts_alone {
        return Ok(Ground::Down);
    }
    if recorded.present && is_listed == Some(true) {
        return Ok(Ground::Here);
    }
    if by_quorum_alone && outvotes {
        return Ok(Ground::Outvoted);
    }
    Err(if is_down {
        NoGround::StartsAlone
    } else {
        NoGround::OutOfReach
    })
}

/// Whether a standby's machine has left: corosync says so. Not known counts as no.
#[must_use]
pub fn has_left(partition: Option<&Partition>, name: &str) -> bool {
    partition.is_some_and(|p| p.members.get(name) == Some(&false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "node2";

    fn two_votes(is_listed: Option<bool>) -> Partition {
        Partition {
            quorate: true,
            ring: "1.4".to_owned(),
            members: is_listed
                .map(|is| (NAME.to_owned(), is))
                .into_iter()
                .collect(),
            voters: 2,
            votes: 2,
            nodes: 2,
            one_vote_each: true,
            has_device: false,
            has_missed: false,
            waits_for_all: true,
            others_stop_without_quorum: true,
            now: Duration::from_secs(100),
            settle: Some(Duration::from_secs(7)),
        }
    }

    const HERE: Recorded = Recorded {
        present: true,
        fenced: false,
    };
    const LOST: Recorded = Recorded {
        present: false,
        fenced: false,
    };
    const FENCED: Recorded = Recorded {
        present: false,
        fenced: true,
    };

    #[test]
    fn here_is_who_the_cib_and_corosync_have() {
        for (listed, recorded, expected) in [
            (Some(true), HERE, Ok(Ground::Here)),
            // The controller hangs, and the link is broken: the CIB says what was.
            (Some(false), HERE, Err(NoGround::OutOfReach)),
            // There is no list that can be read, or its id is no number.
            (None, HERE, Err(NoGround::OutOfReach)),
            // Corosync is up there, and Pacemaker is not.
            (Some(true), LOST, Err(NoGround::OutOfReach)),
            (Some(false), LOST, Err(NoGround::OutOfReach)),
        ] {
            let got = ground(&two_votes(listed), NAME, recorded, true);
            assert_eq!(got, expected, "{listed:?} {recorded:?}");
        }
    }

    #[test]
    fn down_is_who_was_fenced_and_does_not_start_alone() {
        let ask = |change: &dyn Fn(&mut Partition)| {
            let mut partition = two_votes(Some(false));
            change(&mut partition);
            ground(&partition, NAME, FENCED, true)
        };
        assert_eq!(ask(&|_| {}), Ok(Ground::Down));
        assert_eq!(
            ask(&|p| p.waits_for_all = false),
            Err(NoGround::StartsAlone)
        );
        // It has no quorum, and acts all the same.
        assert_eq!(
            ask(&|p| p.others_stop_without_quorum = false),
            Err(NoGround::StartsAlone)
        );
        // Of three votes it has one.
        let three = |p: &mut Partition| {
            p.voters = 3;
            p.waits_for_all = false;
        };
        assert_eq!(ask(&three), Ok(Ground::Down));
        let ignored = |p: &mut Partition| {
            three(p);
            p.others_stop_without_quorum = false;
        };
        assert_eq!(ask(&ignored), Err(NoGround::StartsAlone));
        // It came back, and the CIB does not say so yet.
        for listed in [Some(true), None] {
            assert_eq!(
                ground(&two_votes(listed), NAME, FENCED, true),
                Err(NoGround::OutOfReach)
            );
        }
    }

    #[test]
    fn outvoted_is_who_is_elsewhere_in_a_cluster_of_three_votes() {
        for (voters, stops, alone, expected) in [
            (3, true, true, Ok(Ground::Outvoted)),
            (2, true, true, Err(NoGround::OutOfReach)),
            (3, false, true, Err(NoGround::OutOfReach)),
            // With a dead lock service quorum alone says nothing: the lock may come back, and name it.
            (3, true, false, Err(NoGround::OutOfReach)),
        ] {
            let mut partition = two_votes(Some(false));
            partition.voters = voters;
            partition.others_stop_without_quorum = stops;
            assert_eq!(
                ground(&partition, NAME, LOST, alone),
                expected,
                "{partition:?} {alone}"
            );
        }
    }

    #[test]
    fn with_a_device_the_votes_that_are_here_are_held_against_all() {
        let cases: [(usize, usize, bool, bool); 5] = [
            // Started alone: corosync expects two, and there are three.
            (3, 2, false, true),
            // Somebody told corosync to expect fewer: the device's vote may be elsewhere.
            (3, 1, false, false),
            (5, 2, false, false),
            (5, 3, false, true),
            // Whom this node would outvote may have outvoted it.
            (3, 2, true, false),
        ];
        for (voters, votes, has_missed, expected) in cases {
            let mut partition = two_votes(Some(false));
            (partition.voters, partition.votes) = (voters, votes);
            (partition.has_device, partition.has_missed) = (true, has_missed);
            assert_eq!(partition.outvotes(), expected, "{partition:?}");
            let is_outvoted = ground(&partition, NAME, LOST, true) == Ok(Ground::Outvoted);
            assert_eq!(is_outvoted, expected, "{partition:?}");
        }
    }

    #[test]
    fn only_corosync_says_that_a_machine_has_left() {
        for (partition, expected) in [
            (None, false),
            (Some(two_votes(None)), false),
            (Some(two_votes(Some(true))), false),
            (Some(two_votes(Some(false))), true),
        ] {
            assert_eq!(has_left(partition.as_ref(), NAME), expected);
        }
    }
}
