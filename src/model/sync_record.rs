//! `RSC_SYNC`: the primary's record of the contract and of who may be promoted by it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::model::claim::Claim;
use crate::model::node_name::NodeName;
use crate::model::sync_names::{Method, StandbyName, SyncNames};

/// Text form `epoch|seq|primary|method|k|standbys|eligible`, the lists separated by a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRecord {
    /// The epoch of the promotion record; written by the primary of that epoch alone.
    pub epoch: u64,
    /// Grows with every change within the epoch.
    pub seq: u64,
    pub primary: NodeName,
    pub method: Method,
    /// How many of `standbys` a commit waits for.
    pub count: usize,
    pub standbys: BTreeSet<StandbyName>,
    pub eligible: BTreeSet<StandbyName>,
}

/// A record that cannot be read is never taken for "anybody may".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record of eligible standbys {0:?} is not 'epoch|seq|primary|FIRST or ANY|number|standbys|eligible'; the primary writes it anew where it is deleted (crm_attribute --delete)"
)]
pub struct SyncRecordParseError(pub String);

impl SyncRecord {
    /// The record of a contract that is in force, with `eligible` as those who may be promoted.
    #[must_use]
    pub fn new(
        (epoch, seq): (u64, u64),
        primary: &NodeName,
        contract: &SyncNames,
        eligible: BTreeSet<StandbyName>,
    ) -> Self {
        let nobody = BTreeSet::new();
        Self {
            epoch,
            seq,
            primary: primary.clone(),
            method: match contract {
                SyncNames::Wait {
                    method: Method::Any,
                    ..
                } => Method::Any,
                SyncNames::Wait {
                    method: Method::First,
                    ..
                }
                | SyncNames::Nobody => Method::First,
            },
            count: contract.count(),
            standbys: contract.named(&nobody),
            eligible,
        }
    }

    /// What it says about where acknowledged commits are.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let others = self.standbys.difference(&self.eligible).count();
        let strangers = self.eligible.difference(&self.standbys).count();
        if strangers > 0 {
            // No primary writes that; commits do not wait for them.
            return Claim::nothing();
        }
        Claim::some_of(self.count.saturating_sub(others), self.eligible.clone())
    }

    /// The same but for the running number.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self {
            seq: 0,
            ..self.clone()
        } == Self {
            seq: 0,
            ..other.clone()
        }
    }

    /// Its place in time.
    #[must_use]
    pub fn version(&self) -> (u64, u64) {
        (self.epoch, self.seq)
    }
}

fn names(text: &str) -> BTreeSet<StandbyName> {
    text.split_ascii_whitespace()
        .map(str::to_lowercase)
        .collect()
}

impl FromStr for SyncRecord {
    type Err = SyncRecordParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || SyncRecordParseError(text.to_owned());
        let fields: Vec<&str> = text.split('|').collect();
        let [epoch, seq, primary, method, count, standbys, eligible] = fields[..] else {
            return Err(bad());
        };
        Ok(Self {
            epoch: epoch.parse().map_err(|_| bad())?,
            seq: seq.parse().map_err(|_| bad())?,
            primary: NodeName::new(primary).map_err(|_| bad())?,
            method: match method {
                "FIRST" => Method::First,
                "ANY" => Method::Any,
                _ => return Err(bad()),
            },
            count: count.parse().map_err(|_| bad())?,
            standbys: names(standbys),
            eligible: names(eligible),
        })
    }
}

impl fmt::Display for SyncRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<StandbyName>| {
            set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        let method = match self.method {
            Method::First => "FIRST",
            Method::Any => "ANY",
        };
        write!(
            f,
            "{}|{}|{}|{method}|{}|{}|{}",
            self.epoch,
            self.seq,
            self.primary,
            self.count,
            list(&self.standbys),
            list(&self.eligible)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_parse_then_display() {
        for text in [
            "5|1|node1|FIRST|1|node2|node2",
            "5|2|node1|FIRST|0||",
            "6|9|node-2|ANY|1|node1 node3|node1 node3",
            "6|9|node-2|ANY|1|node1 node3|",
        ] {
            assert_eq!(text.parse::<SyncRecord>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "5|1|node1|FIRST|1|node2",
            "5|1|node1|LAST|1|node2|node2",
            "x|1|node1|FIRST|1|node2|node2",
            "5|1||FIRST|1|node2|node2",
            "5|1|node1|FIRST|1|node2|node2|",
            "5|1|node1|FIRST|-1|node2|node2",
        ] {
            assert!(bad.parse::<SyncRecord>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn it_claims_no_more_than_the_contract_makes_certain() {
        for (text, count, members) in [
            ("5|1|n1|FIRST|1|n2|n2", 1, "n2"),
            ("5|1|n1|FIRST|2|n2 n3|n2", 1, "n2"),
            ("5|1|n1|FIRST|2|n2 n3|n2 n3", 2, "n2 n3"),
            ("5|1|n1|ANY|1|n2 n3|n2 n3", 1, "n2 n3"),
            ("5|1|n1|ANY|2|n2 n3 n4|n2 n3", 1, "n2 n3"),
            // One of two, and nobody knows which: neither may be promoted by it.
            ("5|1|n1|ANY|1|n2 n3|n2", 0, ""),
            ("5|1|n1|FIRST|1|n2|", 0, ""),
            ("5|1|n1|FIRST|0||n2", 0, ""),
        ] {
            let record: SyncRecord = text.parse().unwrap();
            assert_eq!(
                record.claim(),
                Claim::some_of(count, names(members)),
                "{text}"
            );
        }
    }

    #[test]
    fn it_is_made_from_a_contract() {
        let primary = NodeName::new("n1").unwrap();
        for (contract, text) in [
            ("", "5|1|n1|FIRST|0||n2"),
            ("n2", "5|1|n1|FIRST|1|n2|n2"),
            ("ANY 1 (n2, N3)", "5|1|n1|ANY|1|n2 n3|n2"),
        ] {
            let eligible = names("n2");
            let record = SyncRecord::new((5, 1), &primary, &contract.parse().unwrap(), eligible);
            assert_eq!(record.to_string(), text);
        }
    }
}
