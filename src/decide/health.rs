//! Whether a running primary should tell that something is missing.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::decide::barred::Bars;
use crate::model::sync_names::{StandbyName, SyncNames};

/// In which way a cluster is less than it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// Commits are acknowledged without any standby: losing this machine loses them.
    Alone,
    /// Commits wait, because too few of those they wait for are connected.
    Waiting {
        contract: SyncNames,
        connected: usize,
    },
    /// Whoever has every acknowledged commit may not be promoted.
    Barred { bars: Bars },
    /// The server does not let the agent in as it is configured.
    Shut { reason: String },
    /// Asynchronous: every standby that is connected is further behind than the limits allow, so nobody would take over.
    Late { names: BTreeSet<StandbyName> },
    /// Somebody else streams under a node's name, and PostgreSQL can't tell the two apart.
    Impostor { name: String, address: String },
    /// The agent can't do all that it has to for the standbys.
    Unattended { reason: String },
}

impl Degradation {
    /// In one word, for `RSC-degraded`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Waiting { .. } => "waiting",
            Self::Barred { .. } => "barred",
            Self::Shut { .. } => "shut",
            Self::Late { .. } => "late",
            Self::Impostor { .. } => "impostor",
            Self::Unattended { .. } => "unattended",
        }
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str(
                "running alone: commits are acknowledged without a standby, and nobody may be promoted",
            ),
            Self::Waiting {
                contract,
                connected,
            } => write!(
                f,
                "commits wait: synchronous_standby_names is {contract}, and {connected} of them stream and answer"
            ),
            Self::Barred { bars } => {
                f.write_str("nobody would take over: commits wait only for")?;
                for (number, (name, bar)) in bars.iter().enumerate() {
                    let comma = if number > 0 { "," } else { "" };
                    write!(f, "{comma} {name}, which may not be promoted ({bar})")?;
                }
                f.write_str("; bring another standby back, or lift that: expgsql cluster why says how")
            }
            Self::Shut { reason } => f.write_str(reason),
            Self::Late { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                write!(
                    f,
                    "nobody would take over: {} behind by more than maxlag or maxlag_time allows; see what holds up the stream, or allow more",
                    match &names[..] {
                        [one] => format!("{one} is"),
                        names => format!("{} are", names.join(", ")),
                    }
                )
            }
            Self::Impostor { name, address } => {
                let from = if address.is_empty() { "a socket" } else { address };
                write!(
                    f,
                    "another server streams under the name of {name}, without its slot, from {from}: give it another application_name; {name} is not waited for, and may not be promoted"
                )
            }
            Self::Unattended { reason } => write!(f, "the agent fails in each monitor at {reason}"),
        }
    }
}

/// How long commits may wait before people are told. Every failover has such a wait, a lost standby another until it is
/// revoked; and what Pacemaker was told once it lists until somebody cleans up.
const PATIENCE: Duration = Duration::from_secs(15);

/// An asynchronous primary with these standbys, of which these are further behind than the limits allow. That nobody is connected is another
/// matter.
#[must_use]
pub fn all_late(
    connected: &BTreeSet<StandbyName>,
    late: &BTreeSet<StandbyName>,
) -> Option<Degradation> {
    let is_so = !connected.is_empty() && connected.is_subset(late);
    is_so.then(|| Degradation::Late {
        names: connected.clone(),
    })
}

/// Whether people should know, after it has lasted so long.
#[must_use]
pub fn is_worth_telling(degradation: &Degradation, lasted: Duration) -> bool {
    match degradation {
        Degradation::Alone | Degradation::Shut { .. } | Degradation::Unattended { .. } => true,
        // A standby that was taken over from an older agent has no ticket for a moment, and others may come before a barred one.
        // Nor is who was held up for a moment late for long.
        Degradation::Waiting { .. }
        | Degradation::Barred { .. }
        | Degradation::Late { .. }
        | Degradation::Impostor { .. } => lasted >= PATIENCE,
    }
}

/// Monitors in a row in which something may fail before people are told: as long as a node takes to go down, while every
/// write waits.
const FAILURES: u32 = 3;

/// Whether people should know of what has failed in so many monitors in a row.
#[must_use]
pub const fn is_lasting(failures: u32) -> bool {
    failures > FAILURES
}

/// Judges a primary in synchronous mode. `connected`: how many of those named in the contract stream and answer.
#[must_use]
pub fn degradation(contract: &SyncNames, connected: usize) -> Option<Degradation> {
    if contract.count() == 0 {
        return Some(Degradation::Alone);
    }
    (connected < contract.count()).then(|| Degradation::Waiting {
        contract: contract.clone(),
        connected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monitoring is written by that table.
    #[test]
    fn every_word_is_documented_and_no_other() {
        let page = include_str!("../../docs/how-it-works.md");
        let mut rows = page
            .lines()
            .filter(|row| row.starts_with("| `RSC-degraded` (new) |"));
        let values = rows.next().and_then(|row| row.split('|').nth(3)).unwrap();
        let documented: Vec<&str> = values.split('`').skip(1).step_by(2).collect();
        let reason = String::new;
        let known = [
            degradation(&"b".parse().unwrap(), 0).unwrap(),
            degradation(&SyncNames::Nobody, 0).unwrap(),
            Degradation::Barred {
                bars: Bars::default(),
            },
            Degradation::Late {
                names: BTreeSet::new(),
            },
            Degradation::Shut { reason: reason() },
            Degradation::Impostor {
                name: reason(),
                address: reason(),
            },
            Degradation::Unattended { reason: reason() },
        ];
        assert_eq!(documented, known.map(|degraded| degraded.word()));
    }

    /// The page names that time.
    #[test]
    fn a_wait_is_told_after_the_time_that_is_documented() {
        let page = include_str!("../../docs/how-it-works.md");
        let told = format!("When commits have waited for {} s,", PATIENCE.as_secs());
        assert!(page.contains(&told), "{told}");
    }

    #[test]
    fn a_wait_is_told_when_it_lasts() {
        let waiting = degradation(&"b".parse().unwrap(), 0).unwrap();
        let alone = degradation(&SyncNames::Nobody, 0).unwrap();
        for (what, lasted, expected) in [
            (&waiting, Duration::ZERO, false),
            (&waiting, PATIENCE, true),
            (&alone, Duration::ZERO, true),
        ] {
            assert_eq!(
                is_worth_telling(what, lasted),
                expected,
                "{what} {lasted:?}"
            );
        }
    }

    #[test]
    fn that_all_are_late_is_told_and_that_one_is_not() {
        let set = |names: &str| -> BTreeSet<StandbyName> {
            names.split_whitespace().map(str::to_owned).collect()
        };
        for (streaming, late, is_told) in [
            ("a b", "a b c", true),
            ("a", "a", true),
            ("a b", "a", false),
            ("", "", false),
            ("a", "", false),
        ] {
            let told = all_late(&set(streaming), &set(late));
            assert_eq!(told.is_some(), is_told, "{streaming} {late}");
        }
        let told = all_late(&set("a b"), &set("a b")).unwrap();
        assert!(told.to_string().contains("a, b are behind"), "{told}");
        assert!(!is_worth_telling(&told, Duration::ZERO) && is_worth_telling(&told, PATIENCE));
    }

    #[test]
    fn what_fails_now_and_then_is_not_told() {
        assert!([0, 1, FAILURES].iter().all(|n| !is_lasting(*n)));
        assert!(is_lasting(FAILURES + 1));
    }

    #[test]
    fn a_cluster_that_waits_or_is_alone_is_degraded() {
        for (contract, connected, degraded) in [
            ("", 0, true),
            ("", 2, true),
            ("b", 1, false),
            ("b", 0, true),
            ("ANY 1 (b, c)", 1, false),
            ("ANY 1 (b, c)", 0, true),
            ("FIRST 2 (b, c)", 1, true),
        ] {
            let got = degradation(&contract.parse().unwrap(), connected);
            assert_eq!(got.is_some(), degraded, "{contract} {connected}");
        }
    }
}
