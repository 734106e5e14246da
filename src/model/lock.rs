//! What the lock service answers: the row of a lock, and the fate of a wish.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The row of a lock as the service has it. All times are the service's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRow {
    /// `RSC_NODE` of whoever holds it; empty: given back.
    pub owner: String,
    /// Who held it last, also after it was given back. `None`: not known (never taken since the table is ours).
    pub last_owner: Option<String>,
    /// When it was taken, renewed or given back last, as the service writes it (UTC).
    pub since: String,
    /// How long a lease lasts.
    pub lease: Duration,
    /// What is left of the lease; zero: expired or given back. More than `lease`: the service's clock went back.
    pub remaining: Duration,
    /// Grows with each change of owner.
    pub epoch: u64,
    /// Nodes that may be promoted, the last owner among them. `None`: nobody recorded any.
    pub eligible: Option<BTreeSet<String>>,
    /// How many of `eligible` a promoter must have reports of.
    pub reports: usize,
    /// PostgreSQL's system identifier of the cluster the lock belongs to. `None`: not recorded yet.
    pub system: Option<String>,
}

impl LockRow {
    /// Whether `owner`, on `node`, could have it now, as far as a look tells. `needs_eligibility`: only if it may be promoted
    /// by this row. Which reports the promoter has seen is asked when it is taken.
    #[must_use]
    pub fn is_open_to(&self, owner: &str, node: &str, needs_eligibility: bool) -> bool {
        if self.owner == owner {
            return true;
        }
        let is_there = self.is_free() || self.remaining.is_zero();
        let may = |eligible: &BTreeSet<String>| eligible.contains(node);
        is_there && (!needs_eligibility || self.eligible.as_ref().is_none_or(may))
    }

    /// Nobody has it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.owner.is_empty()
    }
}

impl fmt::Display for LockRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            owner,
            epoch,
            since,
            remaining,
            ..
        } = self;
        if owner.is_empty() {
            write!(f, "given back at {since}, epoch {epoch}")
        } else if remaining.is_zero() {
            write!(f, "held by {owner} since {since}, epoch {epoch}, expired")
        } else {
            let left = remaining.as_secs_f32();
            write!(
                f,
                "held by {owner} since {since}, epoch {epoch}, for {left:.1} s more"
            )
        }
    }
}

/// What became of the wish to take a lock. Everything but [`Taken::Mine`] means: it is not yours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// It is the caller's now.
    Mine {
        /// By which it is renewed and given back.
        epoch: u64,
        /// What the row says now; `None` only where eligibility was not asked for and none was recorded.
        eligible: Option<BTreeSet<String>>,
        /// As in [`LockRow::reports`].
        reports: usize,
    },
    /// Another member of the cluster has it.
    Held {
        /// Who.
        owner: String,
        /// What is left of its lease by the service's clock.
        remaining: Duration,
    },
    /// It is to be had, but not by this node: it may lack acknowledged commits.
    NotEligible {
        /// Nodes that may.
        eligible: BTreeSet<String>,
        /// How many of them must have reported.
        reports: usize,
        /// Those that have, by the wish.
        seen: BTreeSet<String>,
    },
    /// The row belongs to another cluster.
    Foreign {
        /// By which that was seen.
        whose: Foreign,
    },
}

/// By what a row is recognised as another cluster's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    /// Its owner is no node of this cluster.
    Owner(String),
    /// Its PostgreSQL system identifier is another.
    System {
        /// The row's.
        theirs: String,
        /// This cluster's.
        ours: String,
    },
}

fn list(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(" ")
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mine { epoch, .. } => write!(f, "taken, epoch {epoch}"),
            Self::Held { owner, remaining } => {
                let left = remaining.as_secs_f32();
                write!(f, "{owner} holds the lock for {left:.1} s more")
            }
            Self::NotEligible {
                eligible,
                reports,
                seen,
            } => write!(
                f,
                "the lock's row says that only {} may be promoted, with reports of {reports} of them, and there are reports of {}: \
                 another node may lack acknowledged commits",
                list(eligible),
                list(seen)
            ),
            Self::Foreign { whose } => whose.fmt(f),
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(owner) => write!(
                f,
                "the lock was taken by {owner:?}, which is no node of this cluster: two clusters use the same lock name; give \
                 each its own distlock_lockname (after a node was renamed: expgsql distlock init --force)"
            ),
            Self::System { theirs, ours } => write!(
                f,
                "the lock belongs to the cluster with system identifier {theirs}, this one has {ours}: two clusters use the same \
                 lock name; give each its own distlock_lockname (after a new initdb: expgsql distlock init --force)"
            ),
        }
    }
}

/// What became of the wish to keep a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    /// Still the caller's, and this is the row now.
    Mine(LockRow),
    /// Somebody else's, or given back. `None`: the row is gone.
    Lost(Option<LockRow>),
}

impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mine(row) => write!(f, "renewed: {row}"),
            Self::Lost(Some(row)) => write!(f, "lost: {row}"),
            Self::Lost(None) => f.write_str("lost: the lock's row was deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_open_to_its_owner_and_once_it_is_free_to_those_its_row_names() {
        let row = |owner: &str, left: u64, eligible: Option<&[&str]>| LockRow {
            owner: owner.to_owned(),
            last_owner: Some("pgsql_a".to_owned()),
            since: String::new(),
            lease: Duration::from_secs(9),
            remaining: Duration::from_secs(left),
            epoch: 1,
            eligible: eligible.map(|names| names.iter().map(|n| (*n).to_owned()).collect()),
            reports: 1,
            system: None,
        };
        for (row, needs_eligibility, open) in [
            (row("pgsql_b", 0, Some(&["a"])), true, true),
            (row("pgsql_a", 5, Some(&["a", "b"])), true, false),
            (row("pgsql_a", 0, Some(&["a", "b"])), true, true),
            (row("pgsql_a", 0, Some(&["a"])), true, false),
            (row("pgsql_a", 0, Some(&["a"])), false, true),
            (row("", 0, Some(&["a"])), true, false),
            (row("", 0, Some(&["b"])), true, true),
            (row("", 0, None), true, true),
        ] {
            let got = row.is_open_to("pgsql_b", "b", needs_eligibility);
            assert_eq!(got, open, "{row:?}");
        }
    }
}
