//! Who is not to be promoted, whatever it has.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::ban::Ban;
use crate::model::claim::Claim;
use crate::model::sync_names::StandbyName;

/// What keeps a node from being promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bar {
    /// A location constraint keeps the primary away.
    Constraint { id: String, until: Option<String> },
    /// nofailover_node_list names it.
    NoFailover,
    /// sync_node_list does not: commits never wait for it.
    Unlisted,
    /// The resource runs only where constraints let it (symmetric-cluster=false, resource-discovery=exclusive), and none does here.
    Nowhere,
}

/// Those that are barred among the standbys of a primary, each with what bars it.
pub type Bars = BTreeMap<StandbyName, Bar>;

impl From<&Ban> for Bar {
    fn from(ban: &Ban) -> Self {
        Self::Constraint {
            id: ban.id.clone(),
            until: ban.until.clone(),
        }
    }
}

impl Bar {
    /// What a person may do about it. `clone`: what Pacemaker's tools call the resource.
    #[must_use]
    pub fn fix(&self, clone: &str) -> String {
        match self {
            Self::Constraint { id, .. } if id.starts_with("cli-") => {
                format!("crm_resource --clear --resource {clone}")
            }
            Self::Constraint { id, .. } => {
                format!("pcs constraint delete {id} (crm configure delete {id})")
            }
            Self::NoFailover => {
                "take it off the resource's nofailover_node_list (pcs resource update, crm configure edit)".to_owned()
            }
            Self::Nowhere => {
                format!("let it run there (pcs constraint location {clone} prefers NODE=0), or take the node off node_list")
            }
            Self::Unlisted => {
                "add it to the resource's sync_node_list (pcs resource update, crm configure edit)".to_owned()
            }
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint { id, until } => {
                write!(f, "the constraint {id} keeps the primary away")?;
                match until {
                    Some(until) => write!(f, " until {until}"),
                    None => Ok(()),
                }
            }
            Self::NoFailover => f.write_str("nofailover_node_list names it: it is never promoted"),
            Self::Nowhere => f.write_str(
                "no location constraint lets the resource run there, and it runs only where one does (symmetric-cluster=false, or \
                 resource-discovery=exclusive)",
            ),
            Self::Unlisted => f.write_str(
                "sync_node_list does not name it: commits never wait for it, and it is not promoted",
            ),
        }
    }
}

/// What the resource's parameters say about nodes, in lower case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    pub nofailover: &'a [String],
    /// In the order in which commits wait for them; empty: all, in the order of their names.
    pub sync: &'a [String],
}

/// One node, as far as the lists go.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub name: &'a str,
    /// The recorded primary.
    pub is_recorded: bool,
    /// It is recorded as one that has every acknowledged commit, or as one of those among whom somebody has.
    pub is_claimed: bool,
}

/// Whether the parameters keep a node from being promoted. That commits do not wait for a node any more is true as soon as
/// the contract says so: until then it is one of those that have everything.
#[must_use]
pub fn by_lists(lists: Lists<'_>, node: Standing<'_>) -> Option<Bar> {
    let is_in = |list: &[String]| list.iter().any(|name| name == node.name);
    if is_in(lists.nofailover) {
        return Some(Bar::NoFailover);
    }
    let is_unlisted = !lists.sync.is_empty() && !is_in(lists.sync);
    (is_unlisted && !node.is_recorded && !node.is_claimed).then_some(Bar::Unlisted)
}

/// The part of sync_node_list that a primary goes by: the order in which commits wait for `peers`; empty: for any of them. A list that
/// names none of them is a mistake, and commits that wait for nobody would be the worst that can be made of it.
#[must_use]
pub fn sync_order(list: &[String], peers: &[StandbyName]) -> Vec<StandbyName> {
    let is_peer = |name: &&String| peers.contains(name);
    list.iter().filter(is_peer).cloned().collect()
}

/// What is wrong with the lists on a cluster of `nodes`, seen from a primary, or where there is none: `me` is not waited for.
#[must_use]
pub fn objection(lists: Lists<'_>, me: Option<&str>, nodes: &[StandbyName]) -> Option<String> {
    for (param, list) in [
        ("sync_node_list", lists.sync),
        ("nofailover_node_list", lists.nofailover),
    ] {
        if let Some(unknown) = list.iter().find(|name| !nodes.contains(name)) {
            return Some(format!(
                "{param} names {unknown}, which is no node of the replication ({}): correct it",
                nodes.join(", ")
            ));
        }
    }
    let others: Vec<StandbyName> = nodes
        .iter()
        .filter(|name| Some(name.as_str()) != me)
        .cloned()
        .collect();
    let is_for_nobody = !lists.sync.is_empty() && sync_order(lists.sync, &others).is_empty();
    if is_for_nobody && !others.is_empty() {
        return Some(format!(
            "sync_node_list names none of the other nodes ({}), so it is not obeyed: commits wait for any of them; add one",
            others.join(", ")
        ));
    }
    let is_barred = |name: &StandbyName| lists.nofailover.contains(name);
    if !others.is_empty() && others.iter().all(is_barred) {
        return Some(format!(
            "nofailover_node_list names every other node ({}): nobody would take over; take one off",
            others.join(", ")
        ));
    }
    None
}

/// Whether nobody would take over although somebody has every acknowledged commit: all who have are barred.
#[must_use]
pub fn are_all_barred(claim: &Claim, bars: &Bars) -> bool {
    !claim.is_empty() && claim.members.iter().all(|name| bars.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_over_where_all_that_are_claimed_are_barred() {
        let set = |names: &str| names.split_whitespace().map(str::to_owned).collect();
        let bar = Bar::Constraint {
            id: "x".to_owned(),
            until: None,
        };
        for (claimed, barred, expected) in [
            ("", "", false),
            ("", "b", false),
            ("b", "", false),
            ("b", "c", false),
            ("b", "b", true),
            ("b c", "b", false),
            ("b c", "b c d", true),
        ] {
            let bars = barred
                .split_whitespace()
                .map(|name| (name.to_owned(), bar.clone()))
                .collect();
            let got = are_all_barred(&Claim::each_of(set(claimed)), &bars);
            assert_eq!(got, expected, "{claimed:?} {barred:?}");
        }
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_list_keeps_a_node_from_being_promoted() {
        let no = Some(Bar::NoFailover);
        let un = Some(Bar::Unlisted);
        for (what, nofailover, sync, is_recorded, is_claimed, expected) in [
            ("no lists", "", "", false, false, None),
            ("others are named", "c", "b", false, false, None),
            ("it is named", "b", "", false, false, no.clone()),
            ("whatever it has", "b", "b", true, true, no),
            ("commits never wait for it", "", "c", false, false, un),
            (
                "they do until the contract is another",
                "",
                "c",
                false,
                true,
                None,
            ),
            (
                "it is the primary that comes back",
                "",
                "c",
                true,
                false,
                None,
            ),
        ] {
            let (nofailover, sync) = (names(nofailover), names(sync));
            let lists = Lists {
                nofailover: &nofailover,
                sync: &sync,
            };
            let node = Standing {
                name: "b",
                is_recorded,
                is_claimed,
            };
            assert_eq!(by_lists(lists, node), expected, "{what}");
        }
    }

    #[test]
    fn a_list_that_names_no_peer_is_not_obeyed() {
        let peers = names("b c");
        for (list, expected) in [("", ""), ("c", "c"), ("c a b", "c b"), ("a", ""), ("x", "")] {
            assert_eq!(
                sync_order(&names(list), &peers),
                names(expected),
                "{list:?}"
            );
        }
    }

    #[test]
    fn a_list_that_helps_nobody_is_objected_to() {
        for (sync, nofailover, me, expected) in [
            ("", "", Some("a"), None),
            ("b c", "", Some("a"), None),
            ("a b", "c", Some("a"), None),
            ("b x", "", Some("a"), Some("sync_node_list names x,")),
            ("", "x", Some("a"), Some("nofailover_node_list names x,")),
            (
                "a",
                "",
                Some("a"),
                Some("names none of the other nodes (b, c)"),
            ),
            ("a", "", None, None),
            ("", "b c", Some("a"), Some("names every other node (b, c)")),
            ("", "b c", None, None),
            ("", "a b c", None, Some("names every other node (a, b, c)")),
        ] {
            let (sync, nofailover) = (names(sync), names(nofailover));
            let lists = Lists {
                nofailover: &nofailover,
                sync: &sync,
            };
            let got = objection(lists, me, &names("a b c"));
            let is_right = match (&got, expected) {
                (None, None) => true,
                (Some(got), Some(expected)) => got.contains(expected),
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(is_right, "{sync:?} {nofailover:?} {me:?}: {got:?}");
        }
        let alone = Lists::default();
        assert_eq!(objection(alone, Some("a"), &names("a")), None);
    }

    #[test]
    fn each_bar_says_how_it_is_lifted() {
        let by = |id: &str| Bar::Constraint {
            id: id.to_owned(),
            until: None,
        };
        assert_eq!(
            by("no-dr").fix("c"),
            "pcs constraint delete no-dr (crm configure delete no-dr)"
        );
        assert_eq!(
            by("cli-ban-c-on-node2").fix("c"),
            "crm_resource --clear --resource c"
        );
    }
}
