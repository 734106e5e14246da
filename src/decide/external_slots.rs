//! Slots of standbys outside the cluster (`external_slot_list`): a physical slot is in one server only, so each member has one of that
//! name, and a standby outside that follows the primary's address finds its slot, and the WAL it needs, after a failover.

use std::collections::BTreeMap;

use crate::model::lsn::Lsn;

/// What is told of positions is rounded down to this many bytes: it stands in the CIB, which a busy primary shall not write at each
/// monitor. A standby keeps that much more than it has to.
pub const GRAIN: u64 = 1 << 30;

/// A physical slot of this server that the list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// Somebody streams by it.
    pub active: bool,
    /// The oldest WAL that it holds; `None`: none, nobody ever streamed by it.
    pub restart: Option<Lsn>,
    /// The server has given it up.
    pub is_invalid: bool,
}

/// From where on the primary's slots hold WAL, by name: the words between the nodes, `name=LSN`, LSN in 16 hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(BTreeMap<String, Lsn>);

impl Held {
    /// What a primary tells of its slots.
    #[must_use]
    pub fn by(slots: &[Slot]) -> Self {
        let valid = slots.iter().filter(|slot| !slot.is_invalid);
        let held = valid.filter_map(|slot| Some((slot.name.clone(), rounded(slot.restart?))));
        Self(held.collect())
    }

    /// Reads a primary's words. What is no position says nothing: the slot is kept where it is.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let pairs = text.split_whitespace().filter_map(|word| {
            let (name, lsn) = word.split_once('=')?;
            Some((name.to_owned(), Lsn::from_attribute(lsn).ok()?))
        });
        Self(pairs.collect())
    }

    /// The words; `None`: there is nothing to tell.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let words = self
            .0
            .iter()
            .map(|(name, lsn)| format!("{name}={}", lsn.to_attribute()));
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

fn rounded(lsn: Lsn) -> Lsn {
    let bytes = lsn.bytes_past(Lsn::new(0)).unwrap_or(0);
    Lsn::new(bytes - bytes % GRAIN)
}

/// What to do with one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is missing.
    Create(String),
    /// It holds nothing, and nobody can stream by it.
    Renew(String),
    /// The standby outside has all before this position.
    Advance(String, Lsn),
}

/// On the primary: each slot of the list is there. Its position is the standby's to move.
#[must_use]
pub fn on_primary(list: &[String], present: &[Slot]) -> Vec<Change> {
    changes(list, present, |_| None)
}

/// On a standby, `held` being the primary's words: each slot is there and lets go of what the standby outside has, so that no disk fills with
/// WAL that nobody needs. Without the primary's words nothing is let go.
#[must_use]
pub fn on_standby(
    list: &[String],
    present: &[Slot],
    held: &Held,
    replayed: Option<Lsn>,
) -> Vec<Change> {
    changes(list, present, |slot| {
        let (here, there) = match slot.restart {
            // Made by somebody without a position, which can't be moved.
            None => return Some(Change::Renew(slot.name.clone())),
            // PostgreSQL moves it no further than this standby has replayed.
            Some(here) => (here, rounded(replayed?).min(*held.0.get(&slot.name)?)),
        };
        (here < there).then(|| Change::Advance(slot.name.clone(), there))
    })
}

fn changes(
    list: &[String],
    present: &[Slot],
    moved: impl Fn(&Slot) -> Option<Change>,
) -> Vec<Change> {
    let change = |name: &String| {
        let Some(slot) = present.iter().find(|slot| slot.name == *name) else {
            return Some(Change::Create(name.clone()));
        };
        match slot {
            // In use, by whom ever: theirs.
            slot if slot.active => None,
            slot if slot.is_invalid => Some(Change::Renew(name.clone())),
            slot => moved(slot),
        }
    };
    list.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str, restart: Option<u64>) -> Slot {
        Slot {
            name: name.to_owned(),
            active: false,
            restart: restart.map(Lsn::new),
            is_invalid: false,
        }
    }

    #[test]
    fn positions_are_told_in_large_steps_and_read_again() {
        let slots = [
            slot("b", Some(GRAIN * 3 + 5)),
            slot("a", Some(GRAIN - 1)),
            slot("never_used", None),
            Slot {
                is_invalid: true,
                ..slot("given_up", Some(GRAIN))
            },
        ];
        let held = Held::by(&slots);
        let words = held.words().unwrap();
        assert_eq!(words, "a=0000000000000000 b=00000000C0000000");
        assert_eq!(Held::read(&words), held);
        assert_eq!(Held::by(&[]).words(), None);
        assert_eq!(Held::read("a=x b c=0000000010000000").0.len(), 1);
    }

    #[test]
    fn each_member_has_the_slots_and_a_standby_moves_them() {
        let list = ["a", "b"].map(str::to_owned);
        let held = Held::read("a=0000000040000000 other=0000000090000000");
        let (create, renew) = (
            |name: &str| Change::Create(name.to_owned()),
            |name: &str| Change::Renew(name.to_owned()),
        );
        let missing = [create("a"), create("b")];
        assert_eq!(on_primary(&list, &[]), missing);
        let far = Some(Lsn::new(GRAIN * 9));
        assert_eq!(on_standby(&list, &[], &Held::default(), far), missing);

        let at = |a: Option<u64>| [slot("a", a), slot("b", Some(7)), slot("theirs", None)];
        let advance = [Change::Advance("a".to_owned(), Lsn::new(0x4000_0000))];
        for (here, words, expected) in [
            // The standby outside has more than what is held here.
            (Some(1), &held, &advance[..]),
            // It is further behind: what is gone can't be had again.
            (Some(0x4000_0001), &held, &[]),
            (Some(0x4000_0000), &held, &[]),
            // The primary has said nothing yet.
            (Some(1), &Held::default(), &[]),
        ] {
            assert_eq!(
                on_standby(&list, &at(here), words, far),
                expected,
                "{here:?}"
            );
            assert_eq!(on_primary(&list, &at(here)), []);
        }
        // It has not replayed as much itself, or nobody knows.
        for replayed in [None, Some(Lsn::new(GRAIN - 1))] {
            assert_eq!(on_standby(&list, &at(Some(1)), &held, replayed), []);
        }
        // Without a position: on the primary its standby has yet to come, on a standby it can't be moved.
        assert_eq!(on_primary(&list, &at(None)), []);
        assert_eq!(on_standby(&list, &at(None), &held, far), [renew("a")]);

        let in_use = |is_invalid| {
            [
                Slot {
                    active: true,
                    is_invalid,
                    ..slot("a", Some(1))
                },
                slot("b", Some(7)),
            ]
        };
        assert_eq!(on_standby(&list, &in_use(false), &held, far), []);
        assert_eq!(on_standby(&list, &in_use(true), &held, far), []);
        let given_up = [
            Slot {
                is_invalid: true,
                ..slot("a", Some(1))
            },
            slot("b", Some(7)),
        ];
        assert_eq!(on_primary(&list, &given_up), [renew("a")]);
        assert_eq!(on_standby(&list, &given_up, &held, far), [renew("a")]);
    }
}
