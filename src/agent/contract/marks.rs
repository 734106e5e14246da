//! What the cluster is told about each standby: data status, promotion score, status. Decided in `decide::marks`.

use crate::decide::marks::{Grant, Marks, Seen, marks};
use crate::model::claim::Claim;
use crate::model::node_name::NodeName;
use crate::model::status::{NodeStatus, Score};
use crate::model::sync_names::Method;
use crate::pacemaker::change_set::ChangeSet;
use crate::trial::point;

use super::round::Round;
use crate::agent::membership::board::Board;
use crate::agent::step::Step;

impl Round<'_> {
    /// What is to be said about one standby, as it is seen now.
    pub(super) fn marks(&self, name: &str, grant: Grant) -> Marks {
        let sender = self.senders.get(name);
        let seen = Seen {
            link: sender.map(|s| (s.state, s.sync)),
            grant,
            too_far_behind: self.is_too_far_behind(name),
        };
        marks(self.ctx.promise(), seen)
    }

    /// By `maxlag` or `maxlag_time`.
    pub(super) fn is_too_far_behind(&self, name: &str) -> bool {
        let lag = self.senders.get(name).and_then(|s| s.lag);
        let is_over = match (self.ctx.params.maxlag, lag) {
            (Some(max), Some(lag)) => lag > max.get(),
            _ => false,
        };
        is_over || self.late.contains(name)
    }

    pub(super) fn write_marks(&self, board: &mut Board<'_, '_>) -> Step<()> {
        let claim = board.claim()?;
        let record = board.sync_record()?;
        let method = record.map_or(Method::First, |record| record.method);
        let mut change = ChangeSet::default();
        let mut all: Vec<(NodeName, Marks)> = Vec::new();
        for node in self.ctx.peers(&board.view) {
            let name = node.lower();
            let marks = self.marks(name, grant_of(&claim, method, name));
            change = board.data_status(change, &node, marks.data);
            all.push((node, marks));
        }
        // The right to be promoted first, the score that makes use of it second.
        board.change(&board.as_it_was_read(change))?;
        point!(MarksRecorded);
        // What can't be told of one node is no reason to say nothing of the next.
        let mut told = Ok(());
        for (node, marks) in all {
            if !board.view.node(&node).is_some_and(|n| n.in_membership) {
                continue;
            }
            // A promotion would wait for its recovery in vain, and end it.
            let recovers = board.status(&node) == Some(NodeStatus::Unknown);
            let score = if recovers { Score::Never } else { marks.score };
            told = told.and(board.set_score(&node, score));
            let says_it_is_down = matches!(
                board.status(&node),
                Some(NodeStatus::Stopped | NodeStatus::Unknown)
            );
            if let Some(status) = marks.status.filter(|_| !says_it_is_down) {
                told = told.and(board.set_status(&node, status));
            }
        }
        point!(MarksTold);
        told
    }
}

/// By what right `name` may be promoted.
pub(super) fn grant_of(claim: &Claim, method: Method, name: &str) -> Grant {
    match (claim.members.contains(name), method) {
        (false, _) => Grant::No,
        (true, Method::First) => Grant::Each,
        (true, Method::Any) => Grant::Among,
    }
}
