//! `RSC_REPL_INFO`: the cluster's record of the last promotion.

use std::fmt;
use std::str::FromStr;

use super::lsn::Lsn;
use super::node_name::NodeName;
use super::timeline::{Switch, TimelineId};

/// Who was promoted last, and where the timeline before that promotion ended.
///
/// Text form `node|tli|lsn|epoch`. The first three fields are pha4pgsql's; it writes `node|0|0…`
/// where there is no timeline history, and its operators set a bare `node`. The epoch is ours; `node|||epoch` is a node that
/// an operator named under the next epoch (`expgsql cluster reset-master`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplInfo {
    pub node: NodeName,
    pub origin: Origin,
    /// Counts promotions; absent in records that an older agent or an operator wrote.
    pub epoch: Option<u64>,
}

impl ReplInfo {
    /// Whether an operator named `node` under an epoch after `last`, and it was not promoted since.
    #[must_use]
    pub fn names(&self, node: &NodeName, last: u64) -> bool {
        self.node == *node
            && self.origin == Origin::Unstated
            && self.epoch.is_some_and(|epoch| epoch > last)
    }
}

/// Which timeline the recorded primary writes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An operator named the node; nothing is said about timelines.
    Unstated,
    /// The primary's timeline has no ancestor.
    NoHistory,
    /// The timeline that the primary left, and where.
    Forked(Switch),
}

/// A record that cannot be read is never taken for "nobody was promoted".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the promotion record {0:?} is not 'node|timeline|position|epoch'; look at it with crm_attribute --query, correct or delete it"
)]
pub struct ReplInfoParseError(pub String);

impl FromStr for ReplInfo {
    type Err = ReplInfoParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ReplInfoParseError(text.to_owned());
        let fields: Vec<&str> = text.split('|').collect();
        let node = NodeName::new(fields[0]).map_err(|_| bad())?;
        let (origin, epoch) = match fields[1..] {
            [] => (Origin::Unstated, None),
            ["" | "0", ""] | [""] => (Origin::Unstated, None),
            ["", "", epoch] => (Origin::Unstated, Some(epoch.parse().map_err(|_| bad())?)),
            [tli, lsn] => (origin(tli, lsn).ok_or_else(bad)?, None),
            [tli, lsn, epoch] => (
                origin(tli, lsn).ok_or_else(bad)?,
                Some(epoch.parse().map_err(|_| bad())?),
            ),
            _ => return Err(bad()),
        };
        Ok(Self {
            node,
            origin,
            epoch,
        })
    }
}

fn origin(timeline: &str, lsn: &str) -> Option<Origin> {
    let end = Lsn::from_attribute(lsn).ok()?;
    Some(match TimelineId::new(timeline.parse().ok()?) {
        None => Origin::NoHistory,
        Some(timeline) => Origin::Forked(Switch { timeline, end }),
    })
}

impl fmt::Display for ReplInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.as_str().fmt(f)?;
        match (self.origin, self.epoch) {
            (Origin::Unstated, None) => {}
            (Origin::Unstated, Some(_)) => f.write_str("||")?,
            (Origin::NoHistory, _) => write!(f, "|0|{}", Lsn::new(0).to_attribute())?,
            (Origin::Forked(s), _) => write!(f, "|{}|{}", s.timeline, s.end.to_attribute())?,
        }
        match self.epoch {
            Some(epoch) => write!(f, "|{epoch}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_parse_then_display() {
        for text in [
            "node1",
            "node1|0|0000000000000000",
            "node1|2|0000000005000060",
            "node1|2|0000000005000060|7",
            "node1|||7",
        ] {
            assert_eq!(text.parse::<ReplInfo>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn garbage_is_an_error_not_an_empty_record() {
        for text in [
            "",
            "|1|0000000005000060",
            "node1|x|0000000005000060",
            "node1|1|5000060",
            "node1|1",
            "node1|1|0000000005000060|x",
            "node1|||x",
            "node1|||",
            "a|1|0000000005000060|1|1",
        ] {
            assert!(text.parse::<ReplInfo>().is_err(), "{text:?}");
        }
    }
}
