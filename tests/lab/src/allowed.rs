//! What a step of a scenario may do to a cluster, and whether it did more. Each step says what it allows; everything else
//! that the watches saw fails it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::history::Failure;
use crate::servers::Both;

/// What happened in a step.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In order, by node.
    pub promotions: Vec<String>,
    /// Nodes that were a primary in this step or at its beginning, and are none at its end.
    pub deposed: BTreeSet<String>,
    /// How often each node's server was started anew while the machine was on.
    pub restarts: BTreeMap<String, usize>,
    /// The times in which two servers took writes.
    pub both: Vec<Both>,
    /// Operations of Pacemaker's that failed.
    pub failures: Vec<Failure>,
    /// Base backups that were begun, by the node that sent them.
    pub copies: Vec<String>,
    /// The longest time without an acknowledgement.
    pub pause: Duration,
    /// The longest time in which nobody answered at the reader's address. It is shown, and not judged: the address is nowhere
    /// as long as there is no standby.
    pub reads: Duration,
    /// What a node told of itself by `RSC-degraded`, each once; shown, and not judged.
    pub degraded: BTreeSet<(String, String)>,
    /// What the client was told, each once.
    pub errors: BTreeSet<String>,
}

/// On which node a failure is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One that is a primary no more: see [`Seen::deposed`].
    Deposed,
    Anybodys,
}

/// A failure that may happen.
#[derive(Clone, Debug)]
struct Expected {
    whose: Whose,
    operation: &'static str,
    /// A part of its reason.
    says: &'static str,
    times: usize,
}

impl Expected {
    fn covers(&self, failure: &Failure, seen: &Seen) -> bool {
        let is_whose = match self.whose {
            Whose::Deposed => seen.deposed.contains(&failure.node),
            Whose::Anybodys => true,
        };
        is_whose && self.operation == failure.operation && failure.reason.contains(self.says)
    }
}

/// What a step allows.
#[derive(Clone, Debug)]
pub struct Allowed {
    promotions: usize,
    restarts: usize,
    copies: usize,
    failures: Vec<Expected>,
    both: Duration,
    loses: bool,
    /// In times of what it takes to notice that a node is lost; `None`: commits may wait as long as the step lasts.
    pause: Option<u32>,
}

impl Allowed {
    /// The primary stays, no server is started anew, no operation fails, and writes hardly pause.
    pub fn nothing() -> Self {
        Self {
            promotions: 0,
            restarts: 0,
            copies: 0,
            failures: Vec::new(),
            both: Duration::ZERO,
            loses: false,
            pause: Some(1),
        }
    }

    /// One other node is promoted, as an operator asked; what was the primary is started anew.
    pub fn switchover() -> Self {
        Self {
            promotions: 1,
            pause: Some(3),
            ..Self::nothing()
        }
    }

    /// One other node is promoted, since the primary was lost; what was the primary is started anew.
    pub fn failover() -> Self {
        Self {
            promotions: 1,
            pause: Some(3),
            ..Self::nothing()
        }
    }

    /// What it may cost that the agent was killed so often, each time in the middle of an operation: that one fails, and
    /// Pacemaker recovers, by what is there.
    pub fn killed(times: usize) -> Self {
        let operations = ["start", "stop", "monitor", "promote", "demote", "notify"];
        let allowed = Self::failover()
            .paused(6)
            .promotions(times)
            // Demoted, stopped, and started for each.
            .restarts(3 * times + 1);
        operations.into_iter().fold(allowed, |allowed, operation| {
            allowed.failing(Whose::Anybodys, operation, "Killed signal", times)
        })
    }

    /// So many promotions.
    pub fn promotions(mut self, times: usize) -> Self {
        self.promotions = times;
        self
    }

    /// So many starts of servers whose machine was on and which were no deposed primary.
    pub fn restarts(mut self, times: usize) -> Self {
        self.restarts = times;
        self
    }

    /// So many copies of a data directory.
    pub fn copies(mut self, times: usize) -> Self {
        self.copies = times;
        self
    }

    /// This failure, so many times; `says` is a part of its reason.
    pub fn failing(
        mut self,
        whose: Whose,
        operation: &'static str,
        says: &'static str,
        times: usize,
    ) -> Self {
        self.failures.push(Expected {
            whose,
            operation,
            says,
            times,
        });
        self
    }

    /// What was the primary is refused, because its WAL is past the fork, and it gets one new copy.
    pub fn refused(mut self) -> Self {
        self.copies += 1;
        self.failing(Whose::Deposed, "start", " is past ", 1)
    }

    /// Two servers may take writes for so long; none is acknowledged by both, which the step itself must show.
    pub fn both_writable(mut self, time: Duration) -> Self {
        self.both = time;
        self
    }

    /// Writes may pause for so many times what it takes to notice that a node is lost.
    pub fn paused(mut self, times: u32) -> Self {
        self.pause = Some(times);
        self
    }

    /// Commits wait for something that the step keeps from them.
    pub fn waiting(mut self) -> Self {
        self.pause = None;
        self
    }

    /// An operator gives up what only the lost primary has.
    pub fn losing(mut self) -> Self {
        self.loses = true;
        self
    }

    /// Whether acknowledged commits may be lost in sync mode.
    pub fn may_lose(&self) -> bool {
        self.loses
    }

    /// Whether a promotion may happen.
    pub fn may_promote(&self) -> bool {
        self.promotions > 0
    }

    /// Holds what was seen against what is allowed. `detection` is what it takes to notice that a node is lost.
    ///
    /// # Errors
    /// Everything that is not allowed, in words.
    pub fn judge(&self, seen: &Seen, detection: Duration) -> Result<(), String> {
        let mut wrong = Vec::new();
        if seen.promotions.len() > self.promotions {
            wrong.push(format!(
                "promoted: {}; allowed: {}",
                seen.promotions.join(", "),
                self.promotions
            ));
        }
        let undeposed = seen
            .restarts
            .iter()
            .filter(|(n, _)| !seen.deposed.contains(*n));
        let restarts: Vec<(&String, &usize)> = undeposed.collect();
        if restarts.iter().map(|(_, times)| **times).sum::<usize>() > self.restarts {
            wrong.push(format!(
                "started anew: {restarts:?}; allowed: {}",
                self.restarts
            ));
        }
        if seen.copies.len() > self.copies {
            wrong.push(format!(
                "copies were sent by {}; allowed: {}",
                seen.copies.join(", "),
                self.copies
            ));
        }
        wrong.extend(self.unexpected(seen));
        let both = self.too_long(seen);
        wrong.extend(both.map(|both| {
            let ((one, other), time) = (&both.nodes, both.time.as_secs_f64());
            format!("{one} and {other} took writes at once for {time:.1} s")
        }));
        if let Some(limit) = self.pause.map(|times| detection * times)
            && seen.pause > limit
        {
            wrong.push(format!(
                "writes paused for {:.1} s; allowed: {:.1} s",
                seen.pause.as_secs_f64(),
                limit.as_secs_f64()
            ));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    }

    /// Whether two servers took writes at once for longer than is allowed.
    pub fn two_took_writes(&self, seen: &Seen) -> bool {
        self.too_long(seen).next().is_some()
    }

    fn too_long<'a>(&'a self, seen: &'a Seen) -> impl Iterator<Item = &'a Both> {
        seen.both.iter().filter(|both| both.time > self.both)
    }

    /// The failures that nobody expected, and those that came too often.
    fn unexpected(&self, seen: &Seen) -> Vec<String> {
        let mut left: Vec<usize> = self
            .failures
            .iter()
            .map(|expected| expected.times)
            .collect();
        let mut found = Vec::new();
        for failure in &seen.failures {
            let mut fitting = self.failures.iter().zip(&mut left);
            let covered =
                fitting.find(|(expected, left)| **left > 0 && expected.covers(failure, seen));
            match covered {
                Some((_, left)) => *left -= 1,
                None => found.push(failure.to_string()),
            }
        }
        found
    }
}

impl fmt::Display for Seen {
    /// A line for each kind of event that happened; nothing where nothing did.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, items: Vec<String>| {
            if items.is_empty() {
                return Ok(());
            }
            writeln!(f, "           {name}: {}", items.join("; "))
        };
        line("promoted", self.promotions.clone())?;
        let times = |(node, times): (&String, &usize)| format!("{node} {times} times");
        line("started anew", self.restarts.iter().map(times).collect())?;
        line("copies sent by", self.copies.clone())?;
        let both = |both: &Both| {
            let (one, other) = &both.nodes;
            format!("{one} and {other} {:.1} s", both.time.as_secs_f64())
        };
        line("took writes at once", self.both.iter().map(both).collect())?;
        line(
            "failed",
            self.failures.iter().map(Failure::to_string).collect(),
        )?;
        let degraded = self.degraded.iter();
        let words = degraded.map(|(node, word)| format!("{node} {word}"));
        line("degraded", words.collect())?;
        line("the client was told", self.errors.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECTION: Duration = Duration::from_secs(10);

    fn failover() -> Seen {
        Seen {
            promotions: vec!["node2".into()],
            deposed: ["node1".into()].into(),
            restarts: [("node1".into(), 2)].into(),
            pause: Duration::from_secs(11),
            ..Seen::default()
        }
    }

    fn failure(node: &str, operation: &str, reason: &str) -> Failure {
        Failure {
            node: node.into(),
            resource: "pgsql".into(),
            operation: operation.into(),
            reason: reason.into(),
        }
    }

    fn complaint(allowed: &Allowed, change: impl FnOnce(&mut Seen)) -> String {
        let mut seen = failover();
        change(&mut seen);
        allowed
            .judge(&seen, DETECTION)
            .expect_err("it is not allowed")
    }

    #[test]
    fn a_failover_is_allowed_where_one_is_expected() {
        assert_eq!(Allowed::failover().judge(&failover(), DETECTION), Ok(()));
        assert_eq!(
            Allowed::nothing().judge(&Seen::default(), DETECTION),
            Ok(())
        );
        let text = complaint(&Allowed::nothing(), |_| {});
        assert_eq!(
            text,
            "promoted: node2; allowed: 0\nwrites paused for 11.0 s; allowed: 10.0 s"
        );
    }

    #[test]
    fn whatever_else_happens_is_not() {
        let allowed = Allowed::failover();
        let one = |change: fn(&mut Seen)| complaint(&allowed, change);
        assert_eq!(
            one(|seen| seen.promotions.push("node3".into())),
            "promoted: node2, node3; allowed: 1"
        );
        assert_eq!(
            one(|seen| {
                seen.restarts.insert("node3".into(), 1);
            }),
            "started anew: [(\"node3\", 1)]; allowed: 0"
        );
        assert_eq!(
            one(|seen| seen.copies.push("node2".into())),
            "copies were sent by node2; allowed: 0"
        );
        assert_eq!(
            one(|seen| seen.pause = Duration::from_secs(31)),
            "writes paused for 31.0 s; allowed: 30.0 s"
        );
        assert_eq!(
            one(|seen| seen.both.push(Both {
                nodes: ("node1".into(), "node2".into()),
                time: Duration::from_millis(1500),
            })),
            "node1 and node2 took writes at once for 1.5 s"
        );
        assert_eq!(
            one(|seen| seen.failures.push(failure("node3", "monitor", "Timed Out"))),
            "monitor of pgsql on node3: Timed Out"
        );
    }

    #[test]
    fn a_refusal_is_for_what_was_the_primary_and_once() {
        let allowed = Allowed::failover().refused();
        let past = "error (run 'rewind': own WAL 2@0/3 is past fork 2@0/2 of node2)";
        let mut seen = failover();
        seen.failures.push(failure("node1", "start", past));
        seen.copies.push("node2".into());
        assert_eq!(allowed.judge(&seen, DETECTION), Ok(()));
        seen.failures.push(failure("node1", "start", past));
        assert!(allowed.judge(&seen, DETECTION).is_err());
        let text = complaint(&allowed, |seen| {
            seen.failures.push(failure("node3", "start", past));
        });
        assert!(
            text.starts_with("start of pgsql on node3: error (run"),
            "{text}"
        );
        let text = complaint(&allowed, |seen| {
            let reason = "error (the cluster counts on this node's commits: 0/2, 0/3)";
            seen.failures.push(failure("node1", "start", reason));
        });
        assert!(text.contains("counts on this node's commits"), "{text}");
    }

    #[test]
    fn where_commits_wait_for_what_the_step_keeps_from_them_no_pause_is_too_long() {
        let mut seen = failover();
        seen.pause = Duration::from_secs(300);
        assert_eq!(
            Allowed::failover().waiting().judge(&seen, DETECTION),
            Ok(())
        );
    }
}
