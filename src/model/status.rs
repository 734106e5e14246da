//! The words that node attributes hold. They are an interface: monitoring reads them.

use std::fmt;
use std::str::FromStr;

/// `RSC-status`: what a node is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray,
)]
pub enum NodeStatus {
    #[strum(serialize = "PRI")]
    Primary,
    #[strum(serialize = "HS:sync")]
    Sync,
    #[strum(serialize = "HS:quorum")]
    Quorum,
    #[strum(serialize = "HS:potential")]
    Potential,
    #[strum(serialize = "HS:async")]
    Async,
    /// Connected to the primary, but not streaming.
    #[strum(serialize = "HS:connected")]
    Connected,
    /// Running as a standby without a primary.
    #[strum(serialize = "HS:alone")]
    Alone,
    #[strum(serialize = "STOP")]
    Stopped,
    /// Stopping failed, or this node's configuration does not let anyone tell.
    #[strum(serialize = "UNKNOWN")]
    Unknown,
}

/// `pg_stat_replication.state`, in the capitals the attribute uses.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray,
)]
#[strum(serialize_all = "UPPERCASE", ascii_case_insensitive)]
pub enum SenderState {
    Startup,
    Catchup,
    Streaming,
    Backup,
    Stopping,
}

/// `pg_stat_replication.sync_state`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray,
)]
#[strum(serialize_all = "UPPERCASE", ascii_case_insensitive)]
pub enum SyncState {
    Async,
    Potential,
    Sync,
    Quorum,
}

/// `RSC-data-status`: how far a node's data may be trusted, as the primary last recorded it.
/// It outlives reboots, because it is what decides who may be promoted when the primary is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataStatus {
    /// The primary itself.
    Latest,
    /// Not connected: commits were not waiting for this node.
    Disconnected,
    /// Connected, and how.
    Replicating(SenderState, SyncState),
}

/// A word that no agent writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a data status (LATEST, DISCONNECT or STATE|SYNC_STATE)")]
pub struct DataStatusParseError(pub String);

impl FromStr for DataStatus {
    type Err = DataStatusParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || DataStatusParseError(text.to_owned());
        match text {
            "LATEST" => Ok(Self::Latest),
            "DISCONNECT" => Ok(Self::Disconnected),
            _ => {
                let (state, sync) = text.split_once('|').ok_or_else(bad)?;
                Ok(Self::Replicating(
                    state.parse().map_err(|_| bad())?,
                    sync.parse().map_err(|_| bad())?,
                ))
            }
        }
    }
}

impl fmt::Display for DataStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("LATEST"),
            Self::Disconnected => f.write_str("DISCONNECT"),
            Self::Replicating(state, sync) => write!(f, "{state}|{sync}"),
        }
    }
}

/// `master-RSC`: the promotion score, which tells Pacemaker whom to promote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
pub enum Score {
    /// May not be promoted.
    #[strum(serialize = "-INFINITY")]
    Never,
    /// May be promoted.
    #[strum(serialize = "100")]
    May,
    /// Is the primary, in a part of the cluster without quorum.
    #[strum(serialize = "900")]
    Yields,
    /// Is the primary, or must be the next one.
    #[strum(serialize = "1000")]
    Must,
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray;

    /// Monitoring is written by that table.
    #[test]
    fn every_status_is_documented_and_no_other() {
        let page = include_str!("../../docs/how-it-works.md");
        let mut rows = page
            .lines()
            .filter(|row| row.starts_with("| `RSC-status` |"));
        let values = rows.next().and_then(|row| row.split('|').nth(3)).unwrap();
        let documented: Vec<&str> = values.split('`').skip(1).step_by(2).collect();
        let known: Vec<String> = NodeStatus::VARIANTS.iter().map(|s| s.to_string()).collect();
        assert_eq!(documented, known);
    }

    #[test]
    fn every_status_survives_display_then_parse() {
        for status in NodeStatus::VARIANTS {
            assert_eq!(status.to_string().parse(), Ok(*status));
        }
    }

    #[test]
    fn every_data_status_survives_display_then_parse() {
        let pairs = SenderState::VARIANTS
            .iter()
            .flat_map(|a| SyncState::VARIANTS.iter().map(move |b| (*a, *b)));
        let all = pairs
            .map(|(a, b)| DataStatus::Replicating(a, b))
            .chain([DataStatus::Latest, DataStatus::Disconnected]);
        for status in all {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert_eq!(
            "STREAMING|SYNC".parse(),
            Ok(DataStatus::Replicating(
                SenderState::Streaming,
                SyncState::Sync
            ))
        );
        for bad in [
            "",
            "latest",
            "STREAMING",
            "STREAMING|",
            "|SYNC",
            "STREAMING|SYNC|",
        ] {
            assert!(bad.parse::<DataStatus>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn postgresql_s_lower_case_words_are_read() {
        assert_eq!("catchup".parse(), Ok(SenderState::Catchup));
        assert_eq!("potential".parse(), Ok(SyncState::Potential));
    }
}
