//! Whom commits should wait for, of the standbys that could be waited for.
//!
//! A standby that may not be promoted keeps a copy all the same, so it is rather waited for than nobody. But while it is
//! the one that has every acknowledged commit, and another has not, the loss of the primary leaves nobody to take over.

use std::collections::BTreeSet;

use crate::model::sync_names::StandbyName;

/// What speaks for one standby and against another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Those that may not be promoted, whatever they have: [`crate::decide::barred`].
    pub barred: BTreeSet<StandbyName>,
    /// Those that would not replay all they have (`RSC-replay`), and so may not be promoted now.
    pub held: BTreeSet<StandbyName>,
    /// The nodes for whom commits may wait, the best first (sync_node_list); empty: all, by name.
    pub order: Vec<StandbyName>,
}

/// A standby that commits could wait for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    pub name: StandbyName,
    /// The contract in force names it for certain: a commit waits for it as it is.
    pub is_waited_for: bool,
    /// By itself it has every acknowledged commit, and is recorded with that.
    pub is_granted: bool,
}

impl Wishes {
    /// Whether commits may wait for it at all.
    #[must_use]
    pub fn allow(&self, name: &StandbyName) -> bool {
        self.order.is_empty() || self.order.contains(name)
    }

    /// What is against waiting for it: the less, the better.
    fn rank(&self, name: &StandbyName) -> (u8, Option<usize>) {
        let against = if self.held.contains(name) {
            2
        } else {
            u8::from(self.barred.contains(name))
        };
        (against, self.order.iter().position(|one| one == name))
    }
}

/// The standbys that commits wait for by name: `count` of them, the best first. Of equals those that come first in `available`.
///
/// Where another is better than one that has everything, it comes beside that one first, and takes its place when it has
/// everything, too: so there is always somebody who has.
#[must_use]
pub fn named(available: &[Available], wishes: &Wishes, count: usize) -> BTreeSet<StandbyName> {
    let (mut ranked, refused): (Vec<_>, Vec<_>) =
        available.iter().partition(|one| wishes.allow(&one.name));
    ranked.sort_by_key(|one| wishes.rank(&one.name));
    let (chosen, others) = ranked.split_at(count.min(ranked.len()));
    let is_settled = chosen.iter().all(|one| one.is_granted);
    let stays = |one: &&&Available| {
        !is_settled && one.is_waited_for && one.is_granted && !wishes.held.contains(&one.name)
    };
    let staying = others.iter().chain(&refused).filter(stays);
    chosen
        .iter()
        .chain(staying)
        .map(|one| one.name.clone())
        .collect()
}

/// Among whom PostgreSQL chooses (`ANY`). All of them, so that one that comes and goes changes nothing; but what is
/// acknowledged must not be on barred ones only while there are others: none of those could be promoted then. Without order.
#[must_use]
pub fn listed(
    nodes: &BTreeSet<StandbyName>,
    available: &[Available],
    wishes: &Wishes,
    count: usize,
) -> BTreeSet<StandbyName> {
    let is_free = |name: &StandbyName| wishes.allow(name) && !wishes.barred.contains(name);
    let allowed = available.iter().filter(|one| wishes.allow(&one.name));
    let free = available.iter().filter(|one| is_free(&one.name)).count();
    if free < count.min(allowed.count()) {
        return nodes.iter().filter(|n| wishes.allow(n)).cloned().collect();
    }
    nodes.iter().filter(|n| is_free(n)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> BTreeSet<StandbyName> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// `b!` is waited for and has everything, `b?` is waited for, `b` streams.
    fn available(text: &str) -> Vec<Available> {
        text.split_whitespace()
            .map(|word| Available {
                name: word.trim_end_matches(['!', '?']).to_owned(),
                is_waited_for: word.ends_with(['!', '?']),
                is_granted: word.ends_with('!'),
            })
            .collect()
    }

    #[test]
    fn who_may_not_be_promoted_is_waited_for_when_nobody_else_is_left() {
        for (what, streaming, barred, held, count, expected) in [
            ("nobody is there", "", "", "", 1, ""),
            ("the first", "b c", "", "", 1, "b"),
            ("the first is barred", "b c", "b", "", 1, "c"),
            ("all are", "b c", "b c", "", 1, "b"),
            ("it is the only one", "b", "b", "", 1, "b"),
            ("it is the only one, and granted", "b!", "b", "", 1, "b"),
            ("two are needed", "b c", "b", "", 2, "b c"),
            (
                "two are needed, three are there",
                "b c d",
                "b",
                "",
                2,
                "c d",
            ),
            ("barred is better than held", "b c", "c", "b", 1, "c"),
            ("the better one joins", "b! c", "b", "", 1, "b c"),
            ("it has not caught up", "b! c?", "b", "", 1, "b c"),
            ("it takes the place", "b! c!", "b", "", 1, "c"),
            (
                "what would not be replayed is no help",
                "b! c",
                "",
                "b",
                1,
                "c",
            ),
            ("who was never granted is no help", "b? c", "b", "", 1, "c"),
            ("there were two, one is asked for", "b! c!", "", "", 1, "b"),
        ] {
            let wishes = Wishes {
                barred: set(barred),
                held: set(held),
                order: Vec::new(),
            };
            let got = named(&available(streaming), &wishes, count);
            assert_eq!(got, set(expected), "{what}");
        }
    }

    #[test]
    fn a_barred_node_is_no_part_of_a_quorum_while_there_are_enough_others() {
        for (what, streaming, barred, count, expected) in [
            ("nobody is barred", "b c d", "", 1, "b c d"),
            ("one is away", "b c", "", 1, "b c d"),
            ("one is barred", "b c d", "b", 1, "c d"),
            ("the others are away", "b", "b", 1, "b c d"),
            ("one of the others is away", "b c", "b", 1, "c d"),
            (
                "two are needed, and one of the others is away",
                "b c",
                "b",
                2,
                "b c d",
            ),
            ("all are barred", "b c d", "b c d", 1, "b c d"),
            ("nobody is there", "", "b", 1, "c d"),
        ] {
            let wishes = Wishes {
                barred: set(barred),
                held: BTreeSet::new(),
                order: Vec::new(),
            };
            let got = listed(&set("b c d"), &available(streaming), &wishes, count);
            assert_eq!(got, set(expected), "{what}");
        }
    }
    #[test]
    fn commits_wait_in_the_order_of_the_list_and_for_nobody_else() {
        for (what, streaming, order, count, expected) in [
            ("the first of the list", "b c d", "d c", 1, "d"),
            ("it is away", "b c", "d c", 1, "c"),
            ("nobody of the list is there", "b", "d c", 1, ""),
            ("nor do they stay", "b!", "d c", 1, ""),
            ("two of the list", "b c d", "d c", 2, "c d"),
            ("more than the list has", "b c d", "d", 2, "d"),
            ("a better one comes", "c! d", "d c", 1, "c d"),
            ("it has everything", "c! d!", "d c", 1, "d"),
            (
                "one that was taken off stays until another has",
                "b! c",
                "d c",
                1,
                "b c",
            ),
            ("and leaves", "b! c!", "d c", 1, "c"),
        ] {
            let wishes = Wishes {
                order: order.split_whitespace().map(str::to_owned).collect(),
                ..Wishes::default()
            };
            let got = named(&available(streaming), &wishes, count);
            assert_eq!(got, set(expected), "{what}");
        }
        let wishes = Wishes {
            barred: set("c"),
            order: vec!["c".to_owned(), "d".to_owned()],
            ..Wishes::default()
        };
        assert_eq!(named(&available("b c d"), &wishes, 1), set("d"), "barred");
        assert_eq!(
            named(&available("b c"), &wishes, 1),
            set("c"),
            "rather than nobody"
        );
    }

    #[test]
    fn a_quorum_is_of_those_that_the_list_names() {
        for (streaming, barred, order, count, expected) in [
            ("b c d", "", "d c", 1, "c d"),
            ("b", "", "d c", 1, "c d"),
            ("b c d", "d", "d c", 1, "c"),
            ("b d", "d", "d c", 1, "c d"),
        ] {
            let wishes = Wishes {
                barred: set(barred),
                held: BTreeSet::new(),
                order: order.split_whitespace().map(str::to_owned).collect(),
            };
            let got = listed(&set("b c d"), &available(streaming), &wishes, count);
            assert_eq!(got, set(expected), "{streaming:?} {barred:?} {order:?}");
        }
    }
}
