//! What a cluster's data are held against: what the client was told, what was there before, and the primary's data on every
//! standby.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::score::Score;

impl Score {
    /// The numbers that are on the primary.
    ///
    /// # Errors
    /// No primary, or it does not answer.
    pub fn present(&self, cluster: &Cluster) -> Result<BTreeSet<u64>> {
        let rows = cluster
            .postgres(cluster.primary()?)
            .ask(&format!("select seq from {}", self.table))?;
        let numbers: std::result::Result<_, _> = rows.lines().map(str::parse).collect();
        numbers.map_err(|error| Error::Other(format!("table {}: {error}", self.table)))
    }

    /// Acknowledged numbers that are missing on the primary: lost commits.
    ///
    /// # Errors
    /// Those of [`Score::present`].
    pub fn lost(&self, cluster: &Cluster) -> Result<Vec<u64>> {
        Ok(self.missing(&self.present(cluster)?))
    }

    /// Commits without an answer that were there once and are not any more.
    pub fn gone(&self, before: &BTreeSet<u64>, present: &BTreeSet<u64>) -> Vec<u64> {
        let unanswered = self.unknown.iter().copied();
        unanswered
            .filter(|seq| before.contains(seq) && !present.contains(seq))
            .collect()
    }

    /// The first acknowledged number that is there although an earlier one of the same time under the same primary is lost: a
    /// primary that is lost may take its last commits along, and no others.
    pub fn hole(&self, lost: &BTreeSet<u64>) -> Option<u64> {
        let mut acks = self.acks.iter().peekable();
        let mut begun = false;
        while let Some(ack) = acks.next() {
            let is_lost = lost.contains(&ack.seq);
            if begun && !is_lost {
                return Some(ack.seq);
            }
            let goes_on = acks.peek().is_some_and(|next| next.node == ack.node);
            begun = is_lost && goes_on;
        }
        None
    }
}

impl Cluster {
    /// Demands that a standby has what the primary has, by the client's record: each row the same, and no row without what
    /// the same transaction wrote elsewhere.
    ///
    /// # Errors
    /// [`Error::Other`]: what differs, or that the standby has not replayed as much yet.
    pub fn same_data(&self, score: &Score, standby: &Node) -> Result<()> {
        let Some(last) = score.acks.last() else {
            return Ok(());
        };
        let primary = self.postgres(self.primary()?);
        let (table, last) = (&score.table, last.seq);
        let content = format!(
            "select count(*) || ' rows, ' || coalesce(md5(string_agg(seq || ' ' || node || ' ' || extract(epoch from at), ',' order by seq)), '') from {table} where seq <= {last}"
        );
        let written = primary.ask("select pg_current_wal_lsn()")?;
        let right = primary.ask(&content)?;
        let standby_server = self.postgres(standby);
        let replayed = standby_server.ask(&format!(
            "select pg_last_wal_replay_lsn() >= '{written}'::pg_lsn"
        ))?;
        if replayed != "t" {
            return Err(Error::Other(format!(
                "{} has not replayed up to {written} yet",
                standby.name()
            )));
        }
        for (node, server) in [(None, &primary), (Some(standby), &standby_server)] {
            let half = server.ask(&format!(
                "select (select sum(commits) from {table}_sums) - (select count(*) from {table})"
            ))?;
            if half != "0" {
                let node = node.map_or("the primary", Node::name);
                return Err(Error::Other(format!(
                    "on {node} {half} commits more are counted than there are rows"
                )));
            }
        }
        let there = standby_server.ask(&content)?;
        if there == right {
            Ok(())
        } else {
            Err(Error::Other(format!(
                "up to number {last} {} has {there}, the primary {right}",
                standby.name()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::score::Ack;

    fn score(acks: &[(u64, &str)]) -> Score {
        let ack = |(seq, node): &(u64, &str)| Ack {
            seq: *seq,
            at: Duration::from_millis(*seq),
            node: Arc::from(*node),
        };
        Score {
            acks: acks.iter().map(ack).collect(),
            unknown: vec![10, 11],
            ..Score::default()
        }
    }

    #[test]
    fn only_the_last_commits_of_a_primary_may_be_lost() {
        let two = score(&[(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "a")]);
        let hole = |lost: &[u64]| two.hole(&lost.iter().copied().collect());
        assert_eq!(hole(&[]), None);
        assert_eq!(hole(&[2, 3]), None);
        assert_eq!(hole(&[3, 5]), None);
        assert_eq!(hole(&[2]), Some(3));
        assert_eq!(hole(&[4]), Some(5));
    }

    #[test]
    fn a_commit_without_an_answer_may_be_there_or_not_but_does_not_go() {
        let score = score(&[(1, "a")]);
        let before = BTreeSet::from([1, 10]);
        assert!(score.gone(&before, &BTreeSet::from([1, 10])).is_empty());
        assert_eq!(score.gone(&before, &BTreeSet::from([1, 11])), [10]);
    }
}
