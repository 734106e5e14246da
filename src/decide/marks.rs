//! What the primary writes about each standby: its status, data status and promotion score.

use crate::decide::eligibility::Promise;
use crate::model::status::{DataStatus, NodeStatus, Score, SenderState, SyncState};

/// What is seen of one standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its row in `pg_stat_replication`; `None` where it is not connected.
    pub link: Option<(SenderState, SyncState)>,
    pub grant: Grant,
    /// It is further behind than `maxlag` or `maxlag_time` allows.
    pub too_far_behind: bool,
}

/// Whether a standby may be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    No,
    /// The contract with it is in force, and it had caught up (R2): it has everything.
    Each,
    /// It is one of those among whom somebody has everything; which one, their positions say (R8).
    Among,
}

/// What is written about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// `None`: left to the standby itself, which alone knows whether it runs.
    pub status: Option<NodeStatus>,
    pub data: DataStatus,
    pub score: Score,
}

/// The table of FACTS section 5, "CONTROL_SLAVE_STATUS", with R2 added: `STREAMING|SYNC` is
/// written for a standby that was granted, and for no other, because that is what a promoter
/// reads as the right to be promoted.
#[must_use]
pub fn marks(promise: Promise, seen: Seen) -> Marks {
    let grant = match promise {
        Promise::Sync => seen.grant,
        Promise::Async => Grant::No,
    };
    if grant == Grant::Each {
        return of_granted(seen.link);
    }
    let Some((state, sync)) = seen.link else {
        return Marks {
            status: None,
            data: DataStatus::Disconnected,
            score: Score::Never,
        };
    };
    if state != SenderState::Streaming {
        return Marks {
            status: Some(NodeStatus::Connected),
            data: DataStatus::Replicating(state, sync),
            score: Score::Never,
        };
    }
    let status = match sync {
        SyncState::Sync if promise == Promise::Async => NodeStatus::Sync,
        // Commits wait for it already; that it has everything is not proven yet.
        SyncState::Quorum if promise == Promise::Async || grant == Grant::Among => {
            NodeStatus::Quorum
        }
        SyncState::Sync | SyncState::Potential | SyncState::Quorum => NodeStatus::Potential,
        SyncState::Async => NodeStatus::Async,
    };
    let (data, may) = match (promise, sync) {
        (Promise::Sync, SyncState::Quorum) if grant == Grant::Among => (sync, true),
        (Promise::Sync, SyncState::Sync | SyncState::Quorum) => (SyncState::Potential, false),
        (Promise::Sync, SyncState::Async | SyncState::Potential) => (sync, false),
        // Not by its data status either: when the primary is gone, that is all there is.
        (Promise::Async, _) if seen.too_far_behind => (SyncState::Potential, false),
        (Promise::Async, SyncState::Async | SyncState::Sync) => (sync, true),
        (Promise::Async, SyncState::Potential | SyncState::Quorum) => (SyncState::Async, true),
    };
    Marks {
        status: Some(status),
        data: DataStatus::Replicating(state, data),
        score: if may { Score::May } else { Score::Never },
    }
}

/// Commits wait for it, and it has all earlier ones: whatever its link is like at the moment, it
/// has every acknowledged commit.
fn of_granted(link: Option<(SenderState, SyncState)>) -> Marks {
    let status = link.map(|(state, _)| match state {
        SenderState::Streaming => NodeStatus::Sync,
        SenderState::Startup
        | SenderState::Catchup
        | SenderState::Backup
        | SenderState::Stopping => NodeStatus::Connected,
    });
    Marks {
        status,
        data: DataStatus::Replicating(SenderState::Streaming, SyncState::Sync),
        score: Score::May,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray;

    fn marked(
        promise: Promise,
        link: &str,
        grant: Grant,
        too_far_behind: bool,
    ) -> (String, String, String) {
        let link = link
            .split_once('|')
            .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
        let m = marks(
            promise,
            Seen {
                link,
                grant,
                too_far_behind,
            },
        );
        (
            m.status.map_or_else(String::new, |s| s.to_string()),
            m.data.to_string(),
            m.score.to_string(),
        )
    }

    #[test]
    fn each_link_has_its_marks() {
        use Grant::{Among, Each, No};
        use Promise::{Async, Sync};
        for (promise, link, grant, far, status, data, score) in [
            (Sync, "", No, false, "", "DISCONNECT", "-INFINITY"),
            (
                Sync,
                "streaming|sync",
                Each,
                false,
                "HS:sync",
                "STREAMING|SYNC",
                "100",
            ),
            (
                Sync,
                "streaming|sync",
                No,
                false,
                "HS:potential",
                "STREAMING|POTENTIAL",
                "-INFINITY",
            ),
            (
                Sync,
                "streaming|async",
                No,
                false,
                "HS:async",
                "STREAMING|ASYNC",
                "-INFINITY",
            ),
            (
                Sync,
                "streaming|potential",
                No,
                false,
                "HS:potential",
                "STREAMING|POTENTIAL",
                "-INFINITY",
            ),
            (
                Sync,
                "streaming|quorum",
                No,
                false,
                "HS:potential",
                "STREAMING|POTENTIAL",
                "-INFINITY",
            ),
            (
                Sync,
                "streaming|quorum",
                Among,
                false,
                "HS:quorum",
                "STREAMING|QUORUM",
                "100",
            ),
            (
                Sync,
                "catchup|quorum",
                Among,
                false,
                "HS:connected",
                "CATCHUP|QUORUM",
                "-INFINITY",
            ),
            (Sync, "", Among, false, "", "DISCONNECT", "-INFINITY"),
            (
                Sync,
                "catchup|sync",
                No,
                false,
                "HS:connected",
                "CATCHUP|SYNC",
                "-INFINITY",
            ),
            (
                Sync,
                "catchup|sync",
                Each,
                false,
                "HS:connected",
                "STREAMING|SYNC",
                "100",
            ),
            (Sync, "", Each, false, "", "STREAMING|SYNC", "100"),
            (
                Async,
                "streaming|async",
                No,
                false,
                "HS:async",
                "STREAMING|ASYNC",
                "100",
            ),
            (
                Async,
                "streaming|async",
                No,
                true,
                "HS:async",
                "STREAMING|POTENTIAL",
                "-INFINITY",
            ),
            (
                Async,
                "streaming|sync",
                No,
                false,
                "HS:sync",
                "STREAMING|SYNC",
                "100",
            ),
            (
                Async,
                "backup|async",
                No,
                false,
                "HS:connected",
                "BACKUP|ASYNC",
                "-INFINITY",
            ),
            (Async, "", No, false, "", "DISCONNECT", "-INFINITY"),
        ] {
            let expected = (status.to_owned(), data.to_owned(), score.to_owned());
            assert_eq!(
                marked(promise, link, grant, far),
                expected,
                "{promise:?} {link} grant={grant:?} far={far}"
            );
        }
    }

    #[test]
    fn in_sync_mode_a_positive_score_needs_a_grant() {
        for state in SenderState::VARIANTS {
            for sync in SyncState::VARIANTS {
                let seen = Seen {
                    link: Some((*state, *sync)),
                    grant: Grant::No,
                    too_far_behind: false,
                };
                let marks = marks(Promise::Sync, seen);
                assert_eq!(marks.score, Score::Never, "{seen:?}");
                let eligible = DataStatus::Replicating(SenderState::Streaming, SyncState::Sync);
                assert_ne!(marks.data, eligible, "{seen:?}");
            }
        }
    }
}
