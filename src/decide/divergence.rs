//! R6: no diverged node joins.

use std::fmt;

use crate::model::lsn::Lsn;
use crate::model::node_name::NodeName;
use crate::model::repl_info::{Origin, ReplInfo};
use crate::model::timeline::{TimelineId, WalPosition};

/// WAL of this node that the recorded primary does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Where this node's WAL ends.
    pub local: WalPosition,
    /// The last position on `timeline` that both share.
    pub fork: Lsn,
    /// The timeline that the recorded primary left at `fork`.
    pub timeline: TimelineId,
    /// The recorded primary.
    pub primary: NodeName,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            local,
            fork,
            timeline,
            primary,
        } = self;
        write!(
            f,
            "own WAL reaches {local}, past {timeline}@{fork} where {primary} took over; repair with pg_rewind or pg_basebackup, then clean up the resource"
        )
    }
}

/// Holds the end of local WAL against the record of the last promotion.
///
/// `None` also where the record cannot tell: a node several timelines behind can follow, and
/// PostgreSQL itself refuses to stream across a fork.
#[must_use]
pub fn divergence(
    me: &NodeName,
    record: Option<&ReplInfo>,
    local: &WalPosition,
) -> Option<Divergence> {
    let record = record.filter(|record| record.node != *me)?;
    let Origin::Forked(switch) = record.origin else {
        return None;
    };
    let diverged = |fork| Divergence {
        local: local.clone(),
        fork,
        timeline: switch.timeline,
        primary: record.node.clone(),
    };
    if local.lineage.timeline == switch.timeline {
        return (local.end > switch.end).then(|| diverged(switch.end));
    }
    match local.lineage.end_of(switch.timeline) {
        // This node left the same timeline at another place than the recorded primary.
        Some(end) if end != switch.end => Some(diverged(end.min(switch.end))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_past_the_recorded_fork_is_divergence() {
        let me = NodeName::new("node1").unwrap();
        let two = "2<1:0000000000000100";
        for (record, lineage, end, expected) in [
            (None, "1", 0x900, None),
            (Some("node1|1|0000000000000100"), "1", 0x900, None),
            (Some("node2"), "1", 0x900, None),
            (Some("node2|0|0000000000000000"), "1", 0x900, None),
            (Some("node2|1|0000000000000100"), "1", 0x80, None),
            (Some("node2|1|0000000000000100"), "1", 0x100, None),
            (Some("node2|1|0000000000000100"), "1", 0x101, Some(0x100)),
            // Follows the recorded primary already.
            (Some("node2|1|0000000000000100"), two, 0x180, None),
            // Two timelines behind: it can follow; the shell agents refused it.
            (Some("node2|2|0000000000000200"), "1", 0x80, None),
            (Some("node2|2|0000000000000200"), two, 0x201, Some(0x200)),
            // Promoted itself from the same timeline, elsewhere.
            (Some("node2|1|0000000000000120"), two, 0x180, Some(0x100)),
            (Some("node2|1|00000000000000F0"), two, 0x180, Some(0xF0)),
        ] {
            let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
            let local = WalPosition {
                lineage: lineage.parse().unwrap(),
                end: Lsn::new(end),
            };
            let got = divergence(&me, record.as_ref(), &local).map(|d| d.fork);
            assert_eq!(got, expected.map(Lsn::new), "{record:?} {lineage} {end:x}");
        }
    }
}
