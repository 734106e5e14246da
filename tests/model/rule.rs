//! What a commit waits for, in a form that is small and can be part of a state.

use std::fmt;

use expgsql::model::status::SyncState;
use expgsql::model::sync_names::{Method, SyncNames};

use super::nodes::{Id, Set};

/// `synchronous_standby_names`. Nobody where `count` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) any: bool,
    pub(crate) count: u8,
    pub(crate) names: Set,
}

impl Rule {
    pub(crate) const NOBODY: Self = Self {
        any: false,
        count: 0,
        names: Set::EMPTY,
    };

    /// Whether a commit is acknowledged that `flushed` have, where `connected` are connected.
    /// PostgreSQL waits for the first connected ones of a list, or for any.
    pub(crate) fn is_met(self, connected: Set, flushed: Set) -> bool {
        if self.any || self.count == 0 {
            return flushed.and(self.names).len() >= usize::from(self.count);
        }
        let chosen = self.chosen(connected);
        chosen.len() == usize::from(self.count) && chosen.is_within(flushed)
    }

    fn chosen(self, connected: Set) -> Set {
        let candidates = self.names.and(connected).iter();
        Set::of(candidates.take(usize::from(self.count)))
    }

    /// `pg_stat_replication.sync_state`.
    pub(crate) fn state_of(self, standby: Id, connected: Set) -> SyncState {
        if self.count == 0 || !self.names.has(standby) {
            SyncState::Async
        } else if self.any {
            SyncState::Quorum
        } else if self.chosen(connected).has(standby) {
            SyncState::Sync
        } else {
            SyncState::Potential
        }
    }
}

impl From<&SyncNames> for Rule {
    fn from(names: &SyncNames) -> Self {
        match names {
            SyncNames::Nobody => Self::NOBODY,
            SyncNames::Wait {
                method,
                count,
                names,
            } => Self {
                any: *method == Method::Any,
                count: u8::try_from(*count).expect("few"),
                names: Set::of(names.iter().map(|n| Id::of(n))),
            },
        }
    }
}

impl From<Rule> for SyncNames {
    fn from(rule: Rule) -> Self {
        if rule.count == 0 {
            return Self::Nobody;
        }
        Self::Wait {
            method: if rule.any { Method::Any } else { Method::First },
            count: usize::from(rule.count),
            names: rule.names.names().collect(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("nobody");
        }
        let text = SyncNames::from(*self).to_string().replace('"', "");
        f.write_str(&text)
    }
}
