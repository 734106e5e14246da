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
        }
    }
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
