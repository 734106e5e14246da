//! What is certain about where acknowledged commits are.

use std::collections::BTreeSet;

use crate::model::sync_names::{StandbyName, SyncNames};

/// Every acknowledged commit is on at least `count` of `members`, besides the primary.
///
/// One notion for both methods: a standby that every commit waits for is a claim of one member;
/// `ANY k (list)` is a claim of k of the list. Nothing is claimed where there are no members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claim {
    pub count: usize,
    pub members: BTreeSet<StandbyName>,
}

impl Claim {
    /// Nothing is certain of anybody.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Each of `members` has every acknowledged commit.
    #[must_use]
    pub fn each_of(members: BTreeSet<StandbyName>) -> Self {
        Self {
            count: members.len(),
            members,
        }
    }

    /// At least `count` of `members`; nothing where that is none.
    #[must_use]
    pub fn some_of(count: usize, members: BTreeSet<StandbyName>) -> Self {
        let count = count.min(members.len());
        if count == 0 {
            return Self::nothing();
        }
        Self { count, members }
    }

    /// All that a contract makes certain of the commits that waited by it. `everybody` is who `*` may stand for.
    #[must_use]
    pub fn made_by(contract: &SyncNames, everybody: &BTreeSet<StandbyName>) -> Self {
        Self::some_of(contract.count(), contract.named(everybody))
    }

    /// Whether anything is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Each member by itself has everything, so that none need be compared with another.
    #[must_use]
    pub fn is_of_each(&self) -> bool {
        self.count == self.members.len()
    }

    /// How many members' positions must be known to know the end of all acknowledged commits:
    /// with one fewer, those that are missing could be just the ones that have the last commit.
    #[must_use]
    pub fn needed(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.members.len() - self.count + 1
    }

    /// Whether a commit that waits by `contract` keeps the claim true: whichever standbys PostgreSQL
    /// chooses, enough of them are members. `everybody` is who `*` may stand for.
    #[must_use]
    pub fn is_kept_by(&self, contract: &SyncNames, everybody: &BTreeSet<StandbyName>) -> bool {
        if self.is_empty() {
            return true;
        }
        let named = contract.named(everybody);
        let others = named.difference(&self.members).count();
        let certain = contract.count().saturating_sub(others);
        certain.min(named.len() - others) >= self.count
    }

    /// The claim without `names`: what stays certain when they are no longer counted on.
    #[must_use]
    pub fn without(&self, names: &BTreeSet<StandbyName>) -> Self {
        let dropped = self.members.intersection(names).count();
        let members = self.members.difference(names).cloned().collect();
        Self::some_of(self.count.saturating_sub(dropped), members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<StandbyName> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn claim(count: usize, members: &[&str]) -> Claim {
        Claim::some_of(count, set(members))
    }

    #[test]
    fn a_contract_makes_a_claim() {
        let everybody = set(&["b", "c"]);
        for (contract, expected) in [
            ("", Claim::nothing()),
            ("b", claim(1, &["b"])),
            ("FIRST 2 (b, c)", claim(2, &["b", "c"])),
            ("ANY 1 (b, c)", claim(1, &["b", "c"])),
            // PostgreSQL moves on to the next name by itself.
            ("FIRST 1 (b, c)", claim(1, &["b", "c"])),
            ("*", claim(1, &["b", "c"])),
        ] {
            let made = Claim::made_by(&contract.parse().unwrap(), &everybody);
            assert_eq!(made, expected, "{contract}");
            assert!(made.is_kept_by(&contract.parse().unwrap(), &everybody));
        }
        let star = "*".parse().unwrap();
        assert!(
            !claim(1, &["b"]).is_kept_by(&star, &BTreeSet::new()),
            "* may be anybody"
        );
    }

    #[test]
    fn contracts_keep_claims_whatever_postgresql_chooses() {
        let everybody = set(&["b", "c", "d"]);
        for (claimed, contract, kept) in [
            (claim(0, &[]), "", true),
            (claim(1, &["b"]), "", false),
            (claim(1, &["b"]), "b", true),
            (claim(1, &["b"]), "c", false),
            (claim(1, &["b"]), "FIRST 2 (b, c)", true),
            (claim(1, &["b"]), "ANY 1 (b, c)", false),
            (claim(1, &["b"]), "ANY 2 (b, c)", true),
            (claim(1, &["b", "c"]), "b", true),
            (claim(1, &["b", "c"]), "c", true),
            (claim(1, &["b", "c"]), "ANY 1 (b, c)", true),
            (claim(1, &["b", "c"]), "ANY 1 (b, c, d)", false),
            (claim(1, &["b", "c"]), "ANY 2 (b, c, d)", true),
            (claim(1, &["b", "c"]), "*", false),
            (claim(2, &["b", "c"]), "ANY 1 (b, c)", false),
            (claim(2, &["b", "c"]), "FIRST 3 (b, c, d)", true),
            (claim(2, &["b", "c", "d"]), "ANY 2 (b, c, d)", true),
            (claim(2, &["b", "c", "d"]), "FIRST 2 (b, c)", true),
            (claim(2, &["b", "c", "d"]), "ANY 1 (b, c, d)", false),
        ] {
            let contract = contract.parse().unwrap();
            assert_eq!(
                claimed.is_kept_by(&contract, &everybody),
                kept,
                "{claimed:?} by {contract}"
            );
        }
    }

    /// Tried out: every way in which commits can have been acknowledged, and every set of reports of
    /// the needed size, has one that holds them.
    #[test]
    fn the_needed_reports_always_include_a_holder() {
        let names = ["b", "c", "d", "e"];
        for size in 1..=names.len() {
            for count in 1..=size {
                let claim = claim(count, &names[..size]);
                let subsets = |least: usize| {
                    (0u32..1 << size)
                        .filter(move |bits| usize::try_from(bits.count_ones()).unwrap() == least)
                };
                for holders in subsets(count) {
                    for reports in subsets(claim.needed()) {
                        assert_ne!(holders & reports, 0, "{count} of {size}");
                    }
                    let too_few = subsets(claim.needed() - 1).any(|r| holders & r == 0);
                    assert!(too_few, "one report fewer must not do: {count} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_claim_shrinks_by_who_is_dropped() {
        assert_eq!(
            claim(2, &["b", "c"]).without(&set(&["b"])),
            claim(1, &["c"])
        );
        assert_eq!(
            claim(1, &["b", "c"]).without(&set(&["b"])),
            Claim::nothing()
        );
        assert_eq!(
            claim(2, &["b", "c", "d"]).without(&set(&["b"])),
            claim(1, &["c", "d"])
        );
        assert_eq!(claim(1, &["b"]).without(&set(&["x"])), claim(1, &["b"]));
    }
}
