//! R3, R8: whether this node's WAL is known to reach as far as every acknowledged commit.
//!
//! Before a promotion each standby stops receiving from the old primary and then states how far its
//! WAL reaches. A statement made while it still receives is worthless: the next commit may be
//! acknowledged by it a moment later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::claim::Claim;
use crate::model::lsn::Lsn;
use crate::model::sync_names::StandbyName;
use crate::model::timeline::{Newer, Relation, WalPosition};

/// What one standby states for the present epoch: the end of its WAL, with nothing more to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub position: WalPosition,
    /// By its own copy of the CIB it is one of those whom the claim is about, and it believes that.
    pub is_witness: bool,
}

/// A statement as the others have it: the attribute `RSC-statement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The epoch of the promotion record that it is about.
    pub of: u64,
    /// The latest that this standby has stated something about. That is a later one where a merge has taken its record away.
    pub latest: u64,
    pub statement: Statement,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement {
            position,
            is_witness,
        } = &self.statement;
        let witness = if *is_witness { "W" } else { "-" };
        let end = position.end.to_attribute();
        write!(f, "{}|{witness}|{}|{end}", self.of, position.lineage)?;
        if self.latest > self.of {
            write!(f, "|{}", self.latest)?;
        }
        Ok(())
    }
}

impl Said {
    /// Reads `EPOCH|W or -|timeline history|LSN`, and `|LATEST` where that is later than `EPOCH`.
    ///
    /// # Errors
    /// In words: what is no such text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &dyn fmt::Display| format!("{text:?}: {why}");
        let fields: Vec<&str> = text.split('|').collect();
        let (of, witness, lineage, end, latest) = match fields[..] {
            [of, witness, lineage, end] => (of, witness, lineage, end, of),
            [of, witness, lineage, end, latest] => (of, witness, lineage, end, latest),
            _ => return Err(bad(&"neither four fields nor five")),
        };
        let epoch = |text: &str| text.parse::<u64>().map_err(|e| bad(&e));
        let (of, latest) = (epoch(of)?, epoch(latest)?);
        let statement = Statement {
            position: WalPosition {
                lineage: lineage.parse().map_err(|e| bad(&e))?,
                end: Lsn::from_attribute(end).map_err(|e| bad(&e))?,
            },
            is_witness: witness == "W",
        };
        Ok(Self {
            of,
            latest,
            statement,
        })
    }
}

/// Whether a node may go ahead, by the statements it has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Enough witnesses have spoken, and this node has all that they have.
    Covered,
    /// Nobody is known to have every acknowledged commit.
    NothingClaimed,
    /// Fewer witnesses have spoken than are needed.
    Missing { more: usize, of: Vec<StandbyName> },
    /// A witness has more.
    Behind { better: StandbyName },
    /// A witness wrote or received something that is not in this node's history.
    Diverged { from: StandbyName },
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Covered => f.write_str("this node has every acknowledged commit"),
            Self::NothingClaimed => {
                f.write_str("no standby is recorded as having every acknowledged commit")
            }
            Self::Missing { more, of } => write!(
                f,
                "the last commits may be on nodes that have not said how much they have: {more} more needed of {}",
                of.join(", ")
            ),
            Self::Behind { better } => write!(f, "{better} has more WAL"),
            Self::Diverged { from } => {
                write!(f, "{from} has WAL that is not in this node's history")
            }
        }
    }
}

/// R9's other way, where nobody is known to have everything: every node there is has spoken, none
/// runs as a primary, and this one has what all of them have. Where two were promoted from the same
/// timeline one after the other, the later history is the right one (R7).
#[must_use]
pub fn is_ahead_of_all(
    mine: &WalPosition,
    nodes: &BTreeSet<StandbyName>,
    statements: &BTreeMap<StandbyName, Statement>,
) -> bool {
    !nodes.is_empty()
        && nodes.iter().all(|node| {
            statements
                .get(node)
                .is_some_and(|s| match mine.relate(&s.position) {
                    Relation::Equal | Relation::Ahead => true,
                    Relation::Behind => false,
                    Relation::Diverged { newer, .. } => newer == Newer::This,
                })
        })
}

/// Holds the node's own position against the claim. It need not be a member of the claim itself: one
/// that has as much as the members who have spoken has every acknowledged commit too.
#[must_use]
pub fn coverage(
    mine: &WalPosition,
    claim: &Claim,
    statements: &BTreeMap<StandbyName, Statement>,
) -> Coverage {
    if claim.is_empty() {
        return Coverage::NothingClaimed;
    }
    let witnesses = statements
        .iter()
        .filter(|(name, s)| s.is_witness && claim.members.contains(*name));
    let mut spoken = 0;
    for (name, statement) in witnesses {
        spoken += 1;
        match mine.relate(&statement.position) {
            Relation::Equal | Relation::Ahead => {}
            Relation::Behind => {
                return Coverage::Behind {
                    better: name.clone(),
                };
            }
            Relation::Diverged { .. } => return Coverage::Diverged { from: name.clone() },
        }
    }
    let more = claim.needed().saturating_sub(spoken);
    if more == 0 {
        return Coverage::Covered;
    }
    let has_not_spoken = |name: &&StandbyName| !statements.get(*name).is_some_and(|s| s.is_witness);
    let of = claim.members.iter().filter(has_not_spoken);
    Coverage::Missing {
        more,
        of: of.cloned().collect(),
    }
}

/// Whether nobody who has spoken is a better choice: with less WAL than another this node would be
/// safe to promote, and the other could not follow it. Among equals the first by name.
#[must_use]
pub fn is_best(
    me: &StandbyName,
    mine: &WalPosition,
    statements: &BTreeMap<StandbyName, Statement>,
) -> bool {
    let others = statements.iter().filter(|(name, _)| *name != me);
    others
        .map(|(name, s)| (name, mine.relate(&s.position)))
        .all(|(name, relation)| match relation {
            Relation::Ahead => true,
            Relation::Equal => me < name,
            Relation::Behind => false,
            // It can follow neither way.
            Relation::Diverged { .. } => true,
        })
}

/// The latest epoch that standbys have stated something about, if a primary of the epoch `recorded` has to begin a later one for
/// them to follow it. That may be later than its own: a promotion was recorded, and a merge took the record away.
#[must_use]
pub fn to_outlive(recorded: u64, stated: impl IntoIterator<Item = u64>) -> Option<u64> {
    stated
        .into_iter()
        .max()
        .filter(|latest| *latest >= recorded)
}

/// Who should be promoted instead of `candidate`: it has more, by what was stated, and every acknowledged commit. The others
/// could not follow the candidate, and each would need a new copy of the data. `is_open_to`: whom a lock would let, and nobody bars.
#[must_use]
pub fn better_than<'a>(
    candidate: &StandbyName,
    claim: &Claim,
    statements: &'a BTreeMap<StandbyName, Statement>,
    is_open_to: impl Fn(&StandbyName) -> bool,
) -> Option<&'a StandbyName> {
    let theirs = &statements.get(candidate)?.position;
    let mut better = statements.iter().filter(|(name, s)| {
        *name != candidate
            && s.position != *theirs
            && is_open_to(name)
            && coverage(&s.position, claim, statements) == Coverage::Covered
            && is_best(name, &s.position, statements)
    });
    better.next().map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_outlives_what_was_stated_about_its_epoch_or_a_later_one() {
        for (recorded, stated, expected) in [
            (3, vec![], None),
            (3, vec![3], Some(3)),
            (3, vec![3, 5, 2], Some(5)),
            // Its standbys follow it already, or are about to.
            (3, vec![2, 1], None),
        ] {
            assert_eq!(to_outlive(recorded, stated.clone()), expected, "{stated:?}");
        }
    }

    fn at(text: &str) -> WalPosition {
        let (lineage, end) = text.split_once('@').unwrap();
        WalPosition {
            lineage: lineage.parse().unwrap(),
            end: end.parse().unwrap(),
        }
    }

    fn set(names: &[&str]) -> BTreeSet<StandbyName> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn statements(of: &[(&str, &str, bool)]) -> BTreeMap<StandbyName, Statement> {
        let one = |(name, position, is_witness): &(&str, &str, bool)| {
            let position = at(position);
            let statement = Statement {
                position,
                is_witness: *is_witness,
            };
            ((*name).to_owned(), statement)
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn it_goes_ahead_only_with_all_that_enough_witnesses_have() {
        let single = Claim::each_of(set(&["b"]));
        let quorum = Claim::some_of(1, set(&["b", "c"]));
        let two_of_three = Claim::some_of(2, set(&["b", "c", "d"]));
        let missing = |more, of: &[&str]| Coverage::Missing {
            more,
            of: of.iter().map(|n| (*n).to_owned()).collect(),
        };
        let behind = |better: &str| Coverage::Behind {
            better: better.to_owned(),
        };
        for (claim, mine, said, expected) in [
            (
                &single,
                "1@0/5",
                vec![("b", "1@0/5", true)],
                Coverage::Covered,
            ),
            (&single, "1@0/5", vec![], missing(1, &["b"])),
            // A third node with as much as the one that has everything, or more: it has everything.
            (
                &single,
                "1@0/5",
                vec![("b", "1@0/5", true), ("c", "1@0/5", false)],
                Coverage::Covered,
            ),
            (
                &single,
                "1@0/9",
                vec![("b", "1@0/5", true), ("c", "1@0/9", false)],
                Coverage::Covered,
            ),
            (&single, "1@0/4", vec![("b", "1@0/5", true)], behind("b")),
            // What a node that is no witness has need not be acknowledged.
            (
                &single,
                "1@0/5",
                vec![("b", "1@0/5", true), ("c", "1@0/9", false)],
                Coverage::Covered,
            ),
            (
                &single,
                "1@0/9",
                vec![("c", "1@0/9", true)],
                missing(1, &["b"]),
            ),
            (
                &single,
                "1@0/9",
                vec![("b", "1@0/5", false)],
                missing(1, &["b"]),
            ),
            (
                &quorum,
                "1@0/5",
                vec![("b", "1@0/5", true)],
                missing(1, &["c"]),
            ),
            (
                &quorum,
                "1@0/5",
                vec![("b", "1@0/5", true), ("c", "1@0/4", true)],
                Coverage::Covered,
            ),
            (
                &quorum,
                "1@0/4",
                vec![("b", "1@0/5", true), ("c", "1@0/4", true)],
                behind("b"),
            ),
            (
                &quorum,
                "1@0/5",
                vec![("b", "1@0/5", true), ("c", "1@0/4", false)],
                missing(1, &["c"]),
            ),
            (
                &two_of_three,
                "1@0/5",
                vec![("b", "1@0/5", true), ("d", "1@0/5", true)],
                Coverage::Covered,
            ),
            (
                &two_of_three,
                "1@0/5",
                vec![("b", "1@0/5", true)],
                missing(1, &["c", "d"]),
            ),
            (
                &Claim::nothing(),
                "1@0/5",
                vec![("b", "1@0/5", true)],
                Coverage::NothingClaimed,
            ),
            // A larger position on a timeline that was left is not more (R7).
            (
                &single,
                "2<1:0000000000000004@0/5",
                vec![("b", "1@0/9", true)],
                Coverage::Diverged {
                    from: "b".to_owned(),
                },
            ),
            (
                &single,
                "2<1:0000000000000004@0/5",
                vec![("b", "1@0/3", true)],
                Coverage::Covered,
            ),
        ] {
            let got = coverage(&at(mine), claim, &statements(&said));
            assert_eq!(got, expected, "{claim:?} {mine} {said:?}");
        }
    }

    #[test]
    fn with_nothing_claimed_all_nodes_must_have_spoken() {
        let nodes = set(&["a", "b"]);
        let said = |a: &str, b: &str| statements(&[("a", a, false), ("b", b, false)]);
        let ahead = |mine: &str, said| is_ahead_of_all(&at(mine), &nodes, &said);
        assert!(ahead("1@0/5", said("1@0/5", "1@0/5")));
        assert!(ahead("1@0/9", said("1@0/9", "1@0/5")));
        assert!(!ahead("1@0/5", said("1@0/5", "1@0/9")));
        assert!(
            !ahead("1@0/9", statements(&[("a", "1@0/9", true)])),
            "one is missing"
        );
        let later = "2<1:0000000000000004@0/5";
        assert!(ahead(later, said(later, "1@0/9")), "it was promoted later");
        assert!(!ahead("1@0/9", said("1@0/9", later)));
        assert!(!is_ahead_of_all(&at("1@0/9"), &set(&[]), &statements(&[])));
    }

    #[test]
    fn one_node_is_the_best() {
        let said = statements(&[
            ("b", "1@0/5", true),
            ("c", "1@0/9", false),
            ("d", "1@0/9", true),
        ]);
        let best: Vec<_> = said
            .iter()
            .filter(|(name, s)| is_best(name, &s.position, &said))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(best, ["c"]);
    }

    #[test]
    fn a_statement_is_read_as_it_is_made() {
        let text = "7|W|3<2:0000000005000060|0000000005000100";
        let said = Said::parse(text).unwrap();
        let (epoch, statement) = (said.of, &said.statement);
        assert_eq!((said.latest, said.to_string()), (epoch, text.to_owned()));
        // A merge has taken the record away about which it was the last to state something.
        let later = format!("{text}|9");
        let said = Said::parse(&later).unwrap();
        assert_eq!((said.of, said.latest, said.to_string()), (7, 9, later));
        assert_eq!((epoch, statement.is_witness), (7, true));
        assert_eq!(statement.position.to_string(), "3@0/5000100");
        assert!(
            !Said::parse("7|-|3|0000000005000100")
                .unwrap()
                .statement
                .is_witness
        );
        for bad in [
            "",
            "7|W|3",
            "x|W|3|0000000005000100",
            "7|W|?|0000000005000100",
            "7|W|3|0/5",
        ] {
            assert!(Said::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_has_more_and_everything_is_better_than_the_candidate() {
        let claim = Claim::each_of(set(&["b"]));
        let of = |c: (&'static str, bool)| {
            [
                ("b", "1@0/200", true),
                ("c", c.0, c.1),
                ("d", "1@0/100", false),
            ]
        };
        for (stated, candidate, expected) in [
            (&of(("1@0/300", false))[..], "b", Some("c")),
            (&of(("1@0/200", false)), "b", None),
            (&of(("1@0/100", false)), "b", None),
            // As much is no reason to move, whoever comes first by name.
            (&of(("1@0/200", false)), "c", None),
            // Among equals the first by name, and it is none of them.
            (&of(("1@0/200", false)), "d", Some("b")),
            // The witness has not spoken: who has everything is not known.
            (&of(("1@0/300", false))[1..], "d", None),
            // Nor has the candidate.
            (&of(("1@0/300", false))[..2], "d", None),
        ] {
            let statements = statements(stated);
            let found = better_than(&candidate.to_owned(), &claim, &statements, |_| true);
            assert_eq!(
                found.map(String::as_str),
                expected,
                "{stated:?} {candidate}"
            );
        }
        let statements = statements(&of(("1@0/300", false)));
        let is_member = |name: &StandbyName| claim.members.contains(name);
        let found = better_than(&"b".to_owned(), &claim, &statements, is_member);
        assert_eq!(found, None, "the lock goes to members only");
    }
}
