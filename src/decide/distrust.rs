//! R9: a standby that was outside a quorate partition does not believe its grant any more.
//!
//! The primary may have revoked it meanwhile, in a CIB that this node did not get, and the merge
//! may bring back the CIB in which it stands. So the version of the record that it saw then is noted,
//! in a file that survives a restart; only a later one counts.
//!
//! The same goes for a node whose promotion did not take place after it had begun to make its CIB the one that wins a
//! merge: what it brings into the merge is older than what another partition may have acknowledged by then.

use serde::{Deserialize, Serialize};

use crate::model::sync_record::SyncRecord;

/// (epoch, seq) of the last record that is not believed.
pub type Version = (u64, u64);

/// Where this node is, as far as something may be decided elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub is_quorate: bool,
    /// Quorum decides who goes on (no-quorum-policy is not `ignore`).
    pub quorum_decides: bool,
    /// There is a lock service's row, which is asked at every promotion.
    pub has_row: bool,
    /// Nodes of the cluster, this one included.
    pub nodes: usize,
}

/// Whether no revocation is missed here. Of two nodes with a lock's row and `no-quorum-policy=ignore`, as they are when one starts alone
/// (wait_for_all), none can be: what is not in the row is in both copies of the CIB (R1), and a merge has no third one to bring back.
#[must_use]
pub fn is_inside(place: Place) -> bool {
    let row_decides = place.has_row && !place.quorum_decides && place.nodes <= 2;
    place.is_quorate || row_decides
}

/// What is around a node whose server was just started, or found by a Pacemaker that just began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub is_quorate: bool,
    /// As in [`Place`].
    pub quorum_decides: bool,
    /// As in [`Place`].
    pub has_row: bool,
    /// Three votes or more, or a quorum device, whose own vote is not among those that are expected when a node starts alone (seen:
    /// 2 expected of 3, and quorate).
    pub outvotes: bool,
    /// More than half of all nodes are here. Where votes are copies, corosync's list is enough, since no promotion goes on before a
    /// majority of copies has it; else those count whose Pacemaker has joined.
    pub is_majority: bool,
    /// The primary whose contract is recorded, and every node that it had granted: each is in the ring, and its Pacemaker has joined, so
    /// that its copy of the CIB is merged. This node aside.
    pub all_concerned_are_here: bool,
    /// An operator has named this node the primary since (`reset-master`): what others may have is given up.
    pub is_named: bool,
}

/// Whether others may have gone on without this node while it was away, in a partition of which no node is here: the primary without
/// this standby, or, where this node is the recorded primary, a standby that it had granted. A quorum device gives its vote to
/// one partition after the other, and keeps nothing: with it one of two nodes has quorum that starts when the
/// other one is down, and by its own CIB it may be promoted. The same goes for unequal votes. With fewer than three votes no
/// primary goes on without a node that is out of reach (R1), and a lock's row is asked at every promotion.
///
/// Asked anew as long as it is so: who has missed something has it when those have joined who know.
#[must_use]
pub fn may_have_missed(arrival: Arrival) -> bool {
    // Without quorum it is not known yet what there is: a device registers some seconds after corosync has begun.
    let is_settled = arrival.is_quorate && (arrival.is_majority || !arrival.outvotes);
    arrival.quorum_decides
        && !arrival.has_row
        && !is_settled
        && !arrival.all_concerned_are_here
        && !arrival.is_named
}

/// The note after a look at the cluster: made while this node is not inside ([`is_inside`]), dropped when the primary has
/// written a later record.
#[must_use]
pub fn note(is_inside: bool, old: Option<Version>, seen: Option<&SyncRecord>) -> Option<Version> {
    let seen = seen.map(SyncRecord::version);
    if !is_inside {
        return old.max(Some(seen.unwrap_or_default()));
    }
    old.filter(|old| seen.is_none_or(|seen| seen <= *old))
}

/// Whether the record, as it is now, is not to be believed.
#[must_use]
pub fn is_distrusted(note: Option<Version>, seen: Option<&SyncRecord>) -> bool {
    note.is_some_and(|note| seen.is_none_or(|seen| seen.version() <= note))
}

/// A promotion of this node that is about to make its CIB win a merge. Noted before that, and taken back when a majority
/// has the record with the new weight; so it is there after a write that timed out and takes effect later, and
/// after an agent that was killed in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The record of the contract by which this node is promoted.
    pub by: Version,
    /// The ring from which on no other partition can have gone on without this node.
    pub ring: String,
}

/// A moment in which this node was outside.
///
/// Corosync may leave a node alone for a moment on the way from three members to two. That is no different to this node from a
/// partition that went on without it, but that one would have made its CIB heavier before commits stopped waiting for
/// this node (R1, R5). So where the next ring has quorum, and a CIB no heavier than the one that this node had, nobody has.
/// Only the next one, and only without the primary: that a merge brings back what it should not is what the distrust is
/// for, and a primary that is there grants anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    pub ring: String,
    /// The admin_epoch that this node's CIB had.
    pub weight: u64,
}

impl Outside {
    /// Whether nobody can have gone on meanwhile.
    fn is_over(&self, now: &Around<'_>) -> bool {
        let Some(ring) = now.ring.filter(|ring| ring.is_majority) else {
            return false;
        };
        let is_next = ring.id == self.ring || follows_directly(&self.ring, ring.id);
        now.is_inside && is_next && !now.primary_is_here && now.weight <= self.weight
    }
}

/// What there is around this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around<'a> {
    /// Nothing is decided elsewhere: [`is_inside`].
    pub is_inside: bool,
    /// `None` where it could not be read, or does not matter.
    pub ring: Option<Ring<'a>>,
    /// The admin_epoch of this node's CIB.
    pub weight: u64,
    /// The primary whose contract is recorded is in the ring, for all that is known.
    pub primary_is_here: bool,
}

/// The membership as corosync has it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring<'a> {
    pub id: &'a str,
    /// More than half of all nodes are in it, with a vote each: whoever had quorum before shares a node with it.
    pub is_majority: bool,
}

impl Attempt {
    /// The attempt, noted for the ring as it is now, if no other partition can have had quorum since it was made;
    /// `None`: one may have, and has gone on.
    ///
    /// That a majority has the record says nothing by itself: after a merge everybody has what the heavier CIB had.
    #[must_use]
    pub fn outlasts(&self, now: Ring<'_>) -> Option<Self> {
        let is_same = now.id == self.ring;
        let is_next = now.is_majority && follows_directly(&self.ring, now.id);
        (is_same || is_next).then(|| Self {
            by: self.by,
            ring: now.id.to_owned(),
        })
    }
}

/// Whether no member of the ring `next` can have been in another one since `before`. Corosync gives a new ring the highest
/// number that one of its members has seen, and four: a ring in between would have taken that number.
fn follows_directly(before: &str, next: &str) -> bool {
    let number = |ring: &str| {
        let (_, number) = ring.rsplit_once('.')?;
        u64::from_str_radix(number, 16).ok()
    };
    match (number(before), number(next)) {
        (Some(before), Some(next)) => before.checked_add(4) == Some(next),
        _ => false,
    }
}

/// What this node has noted for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    pub distrust: Option<Version>,
    pub attempt: Option<Attempt>,
    /// When the distrust is because of nothing else.
    pub outside: Option<Outside>,
}

impl Notes {
    /// Whether what comes of a look depends on corosync's membership.
    #[must_use]
    pub fn ask_for_ring(&self, is_inside: bool) -> bool {
        !is_inside || self.attempt.is_some() || self.outside.is_some()
    }

    /// The note of being outside, after a look. What was noted in a ring without quorum goes along with the ring.
    fn outside_now(&self, now: &Around<'_>) -> Option<Outside> {
        let before = self.outside.as_ref();
        if now.is_inside || before.is_some() && now.ring.is_none_or(|ring| ring.is_majority) {
            return before.cloned();
        }
        let is_for_nothing_else =
            self.attempt.is_none() && (self.distrust.is_none() || before.is_some());
        let ring = now.ring.filter(|_| is_for_nothing_else)?;
        Some(Outside {
            ring: ring.id.to_owned(),
            weight: before.map_or(now.weight, |before| before.weight.min(now.weight)),
        })
    }
}

/// The notes after a look at the cluster, and whether this node's grant is to be believed. Where the ring could not be
/// read nothing is believed, and nothing is decided.
#[must_use]
pub fn look(old: Notes, now: Around<'_>, seen: Option<&SyncRecord>) -> (Notes, bool) {
    let mut notes = Notes {
        distrust: note(now.is_inside, old.distrust, seen),
        attempt: None,
        outside: old.outside_now(&now),
    };
    let is_over = |outside: &Outside| old.attempt.is_none() && outside.is_over(&now);
    if notes.distrust.is_none() || notes.outside.as_ref().is_some_and(is_over) {
        notes.distrust = None;
        notes.outside = None;
    }
    let is_over = |by: Version| now.is_inside && seen.is_some_and(|seen| seen.version() > by);
    let mut is_known = true;
    match (old.attempt, now.ring) {
        (Some(attempt), _) if is_over(attempt.by) => {}
        (Some(attempt), Some(ring)) => match attempt.outlasts(ring) {
            Some(attempt) => notes.attempt = Some(attempt),
            None => {
                notes.distrust = notes.distrust.max(Some(attempt.by));
                notes.outside = None;
            }
        },
        (Some(attempt), None) => {
            notes.attempt = Some(attempt);
            is_known = false;
        }
        (None, _) => {}
    }
    let is_trusted = is_known && !is_distrusted(notes.distrust, seen);
    (notes, is_trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_arrives_by_a_vote_that_is_no_node_may_have_missed_a_revocation() {
        let alone = Arrival {
            is_quorate: true,
            quorum_decides: true,
            has_row: false,
            outvotes: true,
            is_majority: false,
            all_concerned_are_here: false,
            is_named: false,
        };
        assert!(may_have_missed(alone));
        // A majority without quorum is of votes that are not equal; and where there is no quorum yet, nothing was judged.
        assert!(may_have_missed(Arrival {
            is_quorate: false,
            is_majority: true,
            ..alone
        }));
        assert!(may_have_missed(Arrival {
            is_quorate: false,
            outvotes: false,
            ..alone
        }));
        type Change = fn(&mut Arrival);
        let changes: [(&str, Change); 6] = [
            ("an operator has given up what others may have", |a| {
                a.is_named = true
            }),
            ("whoever may have gone on is here, and has told", |a| {
                a.all_concerned_are_here = true
            }),
            ("whoever had quorum shares a node with it", |a| {
                a.is_majority = true
            }),
            ("the row says who was revoked", |a| a.has_row = true),
            ("of two no primary goes on by quorum", |a| {
                a.outvotes = false
            }),
            ("nor where quorum stops nobody", |a| {
                a.quorum_decides = false
            }),
        ];
        for (why, change) in changes {
            let mut arrival = alone;
            change(&mut arrival);
            assert!(!may_have_missed(arrival), "{why}");
        }
    }

    fn ring(id: &str, is_majority: bool) -> Ring<'_> {
        Ring { id, is_majority }
    }

    fn around<'a>(is_inside: bool, ring: Option<Ring<'a>>) -> Around<'a> {
        Around {
            is_inside,
            ring,
            weight: 9,
            primary_is_here: false,
        }
    }

    #[test]
    fn a_moment_alone_is_no_distrust_where_nobody_can_have_gone_on() {
        let seen: SyncRecord = "1|7|n1|FIRST|1|n2|n2".parse().unwrap();
        let alone = ring("2.20", false);
        let (noted, trusted) = look(Notes::default(), around(false, Some(alone)), Some(&seen));
        let outside = |ring: &str, weight| {
            let ring = ring.to_owned();
            Some(Outside { ring, weight })
        };
        assert!(!trusted);
        assert_eq!(noted.outside, outside("2.20", 9));
        assert!(noted.ask_for_ring(true));
        let next = around(true, Some(ring("2.24", true)));
        for (now, expected) in [
            (next, true),
            // Another ring was in between.
            (around(true, Some(ring("2.28", true))), false),
            // Votes that are no nodes.
            (around(true, Some(ring("2.24", false))), false),
            (around(false, Some(ring("2.24", true))), false),
            (around(true, None), false),
            // A revocation, or a promotion, is in it.
            (Around { weight: 10, ..next }, false),
            // It grants anew, and a merge may have brought back what it has revoked.
            (
                Around {
                    primary_is_here: true,
                    ..next
                },
                false,
            ),
        ] {
            let (then, trusted) = look(noted.clone(), now, Some(&seen));
            assert_eq!(trusted, expected, "{now:?}");
            assert_eq!(then == Notes::default(), expected, "{now:?}");
        }
        // Noted while the CIB was late to say that there is quorum.
        let late = around(false, Some(ring("2.24", true)));
        let (kept, _) = look(noted.clone(), late, Some(&seen));
        assert_eq!(kept.outside, outside("2.20", 9));
        let (first, _) = look(Notes::default(), late, Some(&seen));
        assert!(look(first, next, Some(&seen)).1);
        // Alone again, and the CIB heavier: the lighter one counts.
        let again = Around {
            weight: 10,
            ..around(false, Some(ring("2.24", false)))
        };
        let (again, _) = look(noted, again, Some(&seen));
        assert_eq!(again.outside, outside("2.24", 9));
    }

    #[test]
    fn a_distrust_for_another_reason_stays_after_a_moment_alone() {
        let seen: SyncRecord = "1|7|n1|FIRST|1|n2|n2".parse().unwrap();
        let attempt = Attempt {
            by: (1, 7),
            ring: "2.1c".to_owned(),
        };
        for old in [
            Notes {
                distrust: Some((1, 7)),
                ..Notes::default()
            },
            // It may have made its own CIB heavier.
            Notes {
                attempt: Some(attempt),
                ..Notes::default()
            },
        ] {
            let alone = around(false, Some(ring("2.20", false)));
            let (noted, _) = look(old.clone(), alone, Some(&seen));
            assert_eq!(noted.outside, None, "{old:?}");
            let next = around(true, Some(ring("2.24", true)));
            assert!(!look(noted, next, Some(&seen)).1, "{old:?}");
        }
    }

    #[test]
    fn of_two_nodes_the_row_decides_where_quorum_does_not() {
        for (is_quorate, quorum_decides, has_row, nodes, expected) in [
            (true, true, false, 3, true),
            (false, true, false, 3, false),
            // wait_for_all, and the lock service's setup.
            (false, false, true, 2, true),
            // Its partition stops anyway, and may have been revoked by quorum.
            (false, true, true, 2, false),
            // No row, or a lock command, which knows of no eligible set.
            (false, false, false, 2, false),
            // A third copy of the CIB may bring an old grant back.
            (false, false, true, 3, false),
        ] {
            let place = Place {
                is_quorate,
                quorum_decides,
                has_row,
                nodes,
            };
            assert_eq!(is_inside(place), expected, "{place:?}");
        }
    }

    #[test]
    fn an_attempt_outlasts_what_no_other_partition_can_have_used() {
        let attempt = Attempt {
            by: (1, 7),
            ring: "2.1c".to_owned(),
        };
        for (now, expected) in [
            // The same ring, also where it is no majority: two nodes, or a quorum device.
            (ring("2.1c", true), true),
            (ring("2.1c", false), true),
            // A node joined, or left, and none of those who are left was elsewhere in between.
            (ring("1.20", true), true),
            (ring("2.20", true), true),
            // Alone: the others have the same number, and may be many.
            (ring("2.20", false), false),
            // A ring without this node may have been formed in between.
            (ring("1.24", true), false),
            (ring("1.21", true), false),
            (ring("1.18", true), false),
            (ring("3.1c", true), false),
            // Nothing that is known of corosync.
            (ring("", true), false),
            (ring("1.", true), false),
            (ring("32", true), false),
            (ring("1.ffffffffffffffffff", true), false),
        ] {
            let then = attempt.outlasts(now);
            let expected = expected.then(|| Attempt {
                by: (1, 7),
                ring: now.id.to_owned(),
            });
            assert_eq!(then, expected, "{now:?}");
        }
    }

    #[test]
    fn an_unfinished_attempt_is_distrust_as_soon_as_another_partition_may_have_gone_on() {
        let record = |epoch, seq| -> SyncRecord {
            format!("{epoch}|{seq}|n1|FIRST|1|n2|n2").parse().unwrap()
        };
        let attempt = |ring: &str| {
            Some(Attempt {
                by: (1, 7),
                ring: ring.to_owned(),
            })
        };
        let (same, next, later) = (ring("2.1c", true), ring("1.20", true), ring("1.28", true));
        for (quorate, now, seen, expected, trusted) in [
            // Tried again where it began, or where everybody who is there was there all the time.
            (true, Some(same), (1, 7), (None, attempt("2.1c")), true),
            (true, Some(next), (1, 7), (None, attempt("1.20")), true),
            // A merge: the record is the one by which it was begun, and that is what this node brought along.
            (true, Some(later), (1, 7), (Some((1, 7)), None), false),
            // The same where the other side's record, an older one, has come back.
            (true, Some(later), (1, 6), (Some((1, 7)), None), false),
            // A primary has written since.
            (true, Some(later), (1, 8), (None, None), true),
            (true, None, (2, 1), (None, None), true),
            // A write in a partition without quorum says nothing.
            (
                false,
                Some(same),
                (1, 8),
                (Some((1, 8)), attempt("2.1c")),
                false,
            ),
            (false, Some(later), (1, 7), (Some((1, 7)), None), false),
            // Corosync could not be asked.
            (true, None, (1, 7), (None, attempt("2.1c")), false),
        ] {
            let old = Notes {
                attempt: attempt("2.1c"),
                ..Notes::default()
            };
            let seen = record(seen.0, seen.1);
            let (notes, is_trusted) = look(old, around(quorate, now), Some(&seen));
            let (distrust, attempt) = expected;
            let outside = None;
            let expected = Notes {
                distrust,
                attempt,
                outside,
            };
            assert_eq!(
                (notes, is_trusted),
                (expected, trusted),
                "{quorate} {now:?} {seen}"
            );
        }
    }

    #[test]
    fn an_earlier_distrust_stays_whatever_becomes_of_an_attempt() {
        let seen: SyncRecord = "1|7|n1|FIRST|1|n2|n2".parse().unwrap();
        let attempt = Some(Attempt {
            by: (1, 7),
            ring: "2.1c".to_owned(),
        });
        let old = Notes {
            distrust: Some((1, 7)),
            attempt: attempt.clone(),
            outside: None,
        };
        let now = around(true, Some(ring("2.1c", true)));
        assert_eq!(look(old.clone(), now, Some(&seen)), (old, false));
        // Without any record, as after an older agent.
        let old = Notes {
            attempt,
            ..Notes::default()
        };
        assert!(look(old.clone(), now, None).1);
        let (notes, is_trusted) = look(old, around(true, Some(ring("1.28", true))), None);
        assert_eq!((notes.distrust, is_trusted), (Some((1, 7)), false));
    }

    #[test]
    fn only_a_later_record_ends_the_distrust() {
        let record = |epoch, seq| -> SyncRecord {
            format!("{epoch}|{seq}|n1|FIRST|1|n2|n2").parse().unwrap()
        };
        let at = |quorate, old, seen: Option<(u64, u64)>| {
            let seen = seen.map(|(e, s)| record(e, s));
            let note = note(quorate, old, seen.as_ref());
            (note, is_distrusted(note, seen.as_ref()))
        };
        for (quorate, old, seen, expected, distrusted) in [
            (true, None, Some((5, 3)), None, false),
            (true, None, None, None, false),
            (false, None, Some((5, 3)), Some((5, 3)), true),
            (false, Some((5, 3)), Some((5, 2)), Some((5, 3)), true),
            (false, Some((4, 9)), Some((5, 1)), Some((5, 1)), true),
            (false, None, None, Some((0, 0)), true),
            // Back, with the record that was seen then, an older one, or none: not believed.
            (true, Some((5, 3)), Some((5, 3)), Some((5, 3)), true),
            (true, Some((5, 3)), Some((5, 2)), Some((5, 3)), true),
            (true, Some((5, 3)), Some((4, 9)), Some((5, 3)), true),
            (true, Some((5, 3)), None, Some((5, 3)), true),
            // Written since.
            (true, Some((5, 3)), Some((5, 4)), None, false),
            (true, Some((5, 3)), Some((6, 1)), None, false),
        ] {
            assert_eq!(
                at(quorate, old, seen),
                (expected, distrusted),
                "{quorate} {old:?} {seen:?}"
            );
        }
    }
}
