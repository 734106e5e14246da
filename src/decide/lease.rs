//! The lock service's answers, and what follows from them for a primary and for a promotion.
//!
//! In sync mode it is the contract and the eligible set that keep acknowledged commits, and the lease only says who may
//! change the set. In async mode the lease is all there is. An answer that is not known is never taken for "locked".

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::lock::Taken;

/// What a node said that was asked in place of a service this node can't reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// The node can't be asked: no ssh, no such program there, no answer in time.
    NotAsked(String),
    /// It can't reach the service either.
    Silent(String),
    /// It reaches the service, which answers with an error.
    Trouble(String),
    /// The service's answer.
    Answer(T),
}

/// What the nodes together say about the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It lives, and this is its answer, by way of this node.
    Answer { node: String, answer: T },
    /// Each of these nodes was asked and none reaches it.
    Dead { asked: BTreeSet<String> },
    /// It may live.
    Unknown { why: String },
}

/// The nodes of `list` that are to be asked: all but this one, whatever the case of their letters.
#[must_use]
pub fn to_ask<'a>(own: &str, list: &'a [String]) -> Vec<&'a str> {
    let others = list.iter().filter(|node| !node.eq_ignore_ascii_case(own));
    others.map(String::as_str).collect()
}

/// What follows from the replies of the nodes that were [`to_ask`]. Of several answers a good one counts: the first
/// node's request may have changed what the second one's found.
pub fn dead_check<T>(replies: Vec<(String, Reply<T>)>, is_good: impl Fn(&T) -> bool) -> Verdict<T> {
    if replies.is_empty() {
        return Verdict::Unknown {
            why: "distlock_lockservice_deadcheck_nodelist names no other node to ask".to_owned(),
        };
    }
    let (mut asked, mut doubts) = (BTreeSet::new(), Vec::new());
    let mut found: Option<(String, T)> = None;
    for (node, reply) in replies {
        match reply {
            Reply::Answer(answer) => {
                if found
                    .as_ref()
                    .is_none_or(|(_, before)| is_good(&answer) && !is_good(before))
                {
                    found = Some((node, answer));
                }
            }
            Reply::Silent(_) => {
                asked.insert(node.to_lowercase());
            }
            Reply::NotAsked(why) => doubts.push(format!("{node} can't be asked: {why}")),
            Reply::Trouble(why) => doubts.push(format!("{node} reaches it: {why}")),
        }
    }
    match found {
        Some((node, answer)) => Verdict::Answer { node, answer },
        None if doubts.is_empty() => Verdict::Dead { asked },
        None => Verdict::Unknown {
            why: doubts.join("; "),
        },
    }
}

/// What a commit waits for, as far as the lock is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Sync,
    Async,
}

/// What a primary learnt when it renewed its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The row is mine, and the eligible set in it may be changed.
    Row,
    /// A lock command said that the lock is mine. It knows no eligible set.
    Command,
    /// Somebody else's now, or given back.
    Lost { why: String },
    /// This primary was promoted without it, and the lease of the node (in lower case) that had it before goes on.
    Held { node: String, why: String },
    /// Each of these was asked and none reaches the service.
    Dead { asked: BTreeSet<String> },
    /// No answer, and it may live.
    Unreachable { why: String },
    /// It lives and can't be used.
    Misconfigured { why: String },
}

/// All that a primary's right by the lock depends on.
#[derive(Clone, Debug)]
pub struct Renewing<'a> {
    pub mode: Mode,
    pub answer: &'a Renewed,
    /// From when the last renewal that was confirmed *was sent* until `answer` was known. `None`: none is known of.
    pub since_confirmed: Option<Duration>,
    pub ttl: Duration,
    /// What may pass until the next decision, and until a stop has taken effect ([`Pace::margin`]).
    pub margin: Duration,
    /// Standbys that the record says may be promoted, this node left out.
    pub eligible: &'a BTreeSet<String>,
    /// How many of the eligible a promoter must have reports of.
    pub reports: usize,
    /// Standbys that stream from this primary at this moment. One that does has detached for no promotion.
    pub streaming: &'a BTreeSet<String>,
}

/// By what a revocation may be made certain (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relax {
    /// By the lock's row: (a), and any other way.
    ByRow,
    /// By membership or fencing only: (b), (d).
    ByMembership,
}

/// Whether a primary goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Keep {
        relax: Relax,
    },
    /// Go on, and by no means wait for fewer standbys than now.
    KeepUnconfirmed {
        reason: String,
    },
    StepDown {
        reason: String,
    },
}

/// Does this primary go on?
#[must_use]
pub fn standing(now: &Renewing<'_>) -> Standing {
    let why = match now.answer {
        Renewed::Row => {
            return Standing::Keep {
                relax: Relax::ByRow,
            };
        }
        // Nobody can take what nobody reaches; that it comes back and gives the lock away shows in the next renewal.
        Renewed::Command | Renewed::Dead { .. } => {
            return Standing::Keep {
                relax: Relax::ByMembership,
            };
        }
        // Who streams from here has been promoted by nobody, and nobody else can take the lock as long as that node has it.
        Renewed::Held { node, why } if now.mode == Mode::Sync && now.streaming.contains(node) => {
            return Standing::KeepUnconfirmed {
                reason: format!("the lock is not taken yet ({why}); {node} streams from here"),
            };
        }
        Renewed::Lost { why } | Renewed::Held { why, .. } => {
            return Standing::StepDown {
                reason: format!("the lock is not this node's any more: {why}"),
            };
        }
        Renewed::Unreachable { why } | Renewed::Misconfigured { why } => why,
    };
    let keep = |ground: String| Standing::KeepUnconfirmed {
        reason: format!("the lock is not renewed ({why}); {ground}"),
    };
    let has_lease = now
        .since_confirmed
        .is_some_and(|since| since + now.margin < now.ttl);
    let age = match now.since_confirmed {
        Some(since) => format!("was confirmed last {:.1} s ago", since.as_secs_f32()),
        None => "was not confirmed by this node since it started".to_owned(),
    };
    match now.mode {
        _ if has_lease => keep(format!("the lease of {} s {age}", now.ttl.as_secs())),
        Mode::Async => Standing::StepDown {
            reason: format!(
                "the lock is not renewed ({why}), and its lease of {} s {age}: another node may take it",
                now.ttl.as_secs()
            ),
        },
        Mode::Sync if now.eligible.is_empty() => {
            keep("no standby may be promoted, so nobody takes over".to_owned())
        }
        Mode::Sync => {
            let silent: Vec<&str> = now
                .eligible
                .difference(now.streaming)
                .map(String::as_str)
                .collect();
            // A promoter needs as many reports, and a standby that streams has made none.
            if silent.len() < now.reports.max(1) {
                return keep("the standbys that may be promoted stream from here".to_owned());
            }
            Standing::StepDown {
                reason: format!(
                    "the lock is not renewed ({why}), its lease of {} s {age}, and {} may be promoted and does not stream \
                     from here",
                    now.ttl.as_secs(),
                    silent.join(" ")
                ),
            }
        }
    }
}

/// What a promoter learnt when it asked for the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Row(Taken),
    /// A lock command's answer.
    Command {
        is_mine: bool,
    },
    /// Each of these was asked and none reaches the service.
    Dead {
        asked: BTreeSet<String>,
    },
    /// No answer.
    Failed {
        why: String,
    },
}

/// Who had the lock at a look at its row, and when that one had renewed it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub owner: String,
    /// By the service's clock, as it writes that.
    pub renewed: String,
    /// When it was looked; time since the machine started.
    pub at: Duration,
}

/// Whether the holder is alive, as far as two looks in one outage tell: it has renewed the lock, or taken it, in between. A promotion
/// would wait for the end of a lease that does not end, and three of those that fail are what Pacemaker keeps a node away for
/// until somebody cleans up. One look tells nothing: what a primary renewed that is lost since is no older than its monitor's
/// interval. `outage`: looks further apart than this belong to different ones.
#[must_use]
pub fn is_alive(before: Option<&Holder>, now: &Holder, outage: Duration) -> bool {
    before.is_some_and(|before| {
        let is_of_this_outage = now.at.saturating_sub(before.at) <= outage;
        is_of_this_outage && (&before.owner, &before.renewed) != (&now.owner, &now.renewed)
    })
}

/// The primary before this promotion, as the record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldPrimary {
    /// In lower case.
    pub node: String,
    /// It is this node.
    pub is_me: bool,
    /// It is in this node's partition.
    pub is_member: bool,
    /// Pacemaker stopped or demoted it there, and that succeeded.
    pub is_demoted: bool,
    /// Another node that was asked, and so is up, outside this partition, where that does not keep it from being promoted: in async mode,
    /// where quorum decides nothing. By its own CIB it may be the primary since then.
    pub at_large: Option<String>,
}

/// Whether a promotion goes ahead, as far as the lock is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `None`: there is no row, hence no epoch in it.
    Go {
        epoch: Option<u64>,
    },
    Refuse {
        reason: String,
    },
}

/// Does the promotion go ahead?
#[must_use]
pub fn entry(answer: &Asked, old: Option<&OldPrimary>) -> Entry {
    let refuse = |reason: String| Entry::Refuse { reason };
    match answer {
        Asked::Row(Taken::Mine { epoch, .. }) => Entry::Go {
            epoch: Some(*epoch),
        },
        Asked::Row(
            other @ (Taken::Held { .. } | Taken::NotEligible { .. } | Taken::Foreign { .. }),
        ) => refuse(other.to_string()),
        Asked::Command { is_mine: true } => Entry::Go { epoch: None },
        Asked::Command { is_mine: false } => {
            refuse("distlock_lock_cmd says that another node holds the lock".to_owned())
        }
        Asked::Failed { why } => refuse(format!("the lock is not taken: {why}")),
        Asked::Dead { asked } => {
            let dead = "no node reaches the lock service";
            match old {
                None => refuse(format!(
                    "{dead}, and no primary is recorded that could have been asked"
                )),
                Some(OldPrimary {
                    is_me: true,
                    at_large: Some(node),
                    ..
                }) => refuse(format!(
                    "{dead}, and {node} is up but not in this partition: it may have been promoted since"
                )),
                Some(old) if old.is_me => Entry::Go { epoch: None },
                Some(OldPrimary { node, .. }) if !asked.contains(node) => refuse(format!(
                    "{dead}, and {node}, the last primary, was not asked: it may be at work"
                )),
                Some(OldPrimary {
                    node,
                    is_member: false,
                    ..
                }) => refuse(format!(
                    "{dead}, and {node}, the last primary, is up but not in this partition: it may be at work"
                )),
                Some(OldPrimary {
                    node,
                    is_demoted: false,
                    ..
                }) => refuse(format!(
                    "{dead}, and {node}, the last primary, was not demoted"
                )),
                Some(_) => Entry::Go { epoch: None },
            }
        }
    }
}

/// How quickly a lease that is not renewed is followed by the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the end of one call of the agent to the beginning of the next.
    pub interval: Duration,
    /// A request to the service, which may go unanswered.
    pub request: Duration,
    /// What is asked for at least, however little of the lease is left.
    pub least: Duration,
    /// Until a stop has taken effect.
    pub stop: Duration,
}

impl Pace {
    /// What passes at least between a decision to go on and the end that the next call makes of the server.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.interval + self.least + self.stop
    }

    /// How much time a call may spend on the server before it asks for a renewal once more, where the lease ends at `end`: it can still ask
    /// then, and end the server in time.
    #[must_use]
    pub fn until_asked_again(&self, end: Duration, now: Duration) -> Duration {
        time_to_ask(end, now, self.least + self.stop)
    }

    /// Whether the renewal is so old that the next call could not ask in peace any more.
    #[must_use]
    pub fn is_late(&self, end: Duration, now: Duration) -> bool {
        end.saturating_sub(now) < self.interval + self.request + self.stop
    }

    /// How much time a call has for all the rest, after the lock, where the lease ends at `end`: so much that the next call can
    /// still ask in peace. Where there is not so much, up to `usual`, but no more than lets the next call end the server in time.
    #[must_use]
    pub fn rest(&self, end: Duration, now: Duration, usual: Duration) -> Duration {
        let left = end.saturating_sub(now);
        left.saturating_sub(self.interval + self.request + self.stop)
            .max(usual.min(left.saturating_sub(self.margin())))
    }
}

/// When the lock is renewed next, in a monitor of this interval. A deep monitor (`OCF_CHECK_LEVEL`), once a minute or less often, comes
/// beside the plain one, which renews several times in each `ttl`, or is told to be too rare
/// ([`too_short`](super::lease_length::too_short)).
#[must_use]
pub fn until_renewed(interval: Duration, check_level: u32, ttl: Duration) -> Duration {
    match check_level {
        0 => interval,
        _ => interval.min(ttl / 3),
    }
}

/// How long a primary may ask for its renewal, where its lease ends at `end` and its stop takes up to `margin`.
#[must_use]
pub fn time_to_ask(end: Duration, now: Duration, margin: Duration) -> Duration {
    end.saturating_sub(now + margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A server that is slow to log in to, or an operator's query, may take longer than the lease.
    #[test]
    fn what_comes_before_the_rest_leaves_time_to_ask_again_and_to_stop() {
        let ms = Duration::from_millis;
        let pace = Pace {
            interval: ms(3000),
            request: ms(3000),
            least: ms(300),
            stop: ms(2000),
        };
        let end = ms(100_000);
        for (now, until, late) in [
            (91_000, 6_700, false),
            (92_000, 5_700, false),
            (92_001, 5_699, true),
            (97_700, 0, true),
            (99_000, 0, true),
            (101_000, 0, true),
        ] {
            let now = ms(now);
            assert_eq!(pace.until_asked_again(end, now), ms(until), "{now:?}");
            assert_eq!(pace.is_late(end, now), late, "{now:?}");
        }
    }

    #[test]
    fn only_what_changed_between_two_looks_is_a_sign_of_life() {
        let s = Duration::from_secs;
        let look = |owner: &str, renewed: &str, at| Holder {
            owner: owner.to_owned(),
            renewed: renewed.to_owned(),
            at: s(at),
        };
        let now = look("pgsql_node1", "10:00:07", 1000);
        for (before, alive) in [
            (None, false),
            (Some(look("pgsql_node1", "10:00:07", 997)), false),
            (Some(look("pgsql_node1", "10:00:04", 997)), true),
            (Some(look("pgsql_node3", "10:00:04", 997)), true),
            (Some(look("", "10:00:04", 997)), true),
            // The outage before.
            (Some(look("pgsql_node1", "09:10:04", 10)), false),
            (Some(look("pgsql_node1", "09:58:04", 880)), true),
            (Some(look("pgsql_node1", "09:58:04", 879)), false),
        ] {
            assert_eq!(is_alive(before.as_ref(), &now, s(120)), alive, "{before:?}");
        }
    }

    /// By its own interval, a minute, no lease would ever have outlasted it.
    #[test]
    fn a_deep_monitor_leaves_the_lease_to_the_plain_one() {
        let s = Duration::from_secs;
        assert_eq!(until_renewed(s(3), 0, s(9)), s(3));
        assert_eq!(until_renewed(s(29), 0, s(9)), s(29));
        assert_eq!(until_renewed(s(61), 10, s(9)), s(3));
        assert_eq!(until_renewed(s(121), 20, s(30)), s(10));
        assert_eq!(until_renewed(s(0), 10, s(9)), s(0));
        let pace = |interval| Pace {
            interval,
            request: s(3),
            least: Duration::from_millis(300),
            stop: s(2),
        };
        // Confirmed 1 s ago.
        let rest = |interval| pace(interval).rest(s(9), s(1), s(1));
        assert_eq!(rest(s(61)), s(0));
        assert!(rest(until_renewed(s(61), 10, s(9))) > s(0));
    }

    #[test]
    fn a_node_does_not_ask_itself() {
        let list = ["Node1", "node2"].map(str::to_owned);
        assert_eq!(to_ask("node1", &list), ["node2"]);
        assert_eq!(to_ask("NODE2", &list), ["Node1"]);
        assert_eq!(to_ask("node1", &list[..1]), [""; 0]);
    }

    #[test]
    fn a_service_is_dead_only_if_every_other_node_says_so() {
        use Reply::{Answer, NotAsked, Silent, Trouble};
        let text = |word: &str| word.to_owned();
        let dead = |names: &[&str]| Verdict::Dead { asked: set(names) };
        let answer = |node: &str, answer| Verdict::Answer {
            node: node.to_owned(),
            answer,
        };
        let cases = [
            (vec![], None),
            (vec![Silent(text("x"))], Some(dead(&["node1"]))),
            (
                vec![Silent(text("x")), Silent(text("y"))],
                Some(dead(&["node1", "node2"])),
            ),
            (vec![NotAsked(text("x"))], None),
            (vec![Silent(text("x")), NotAsked(text("y"))], None),
            (vec![Silent(text("x")), Trouble(text("y"))], None),
            (
                vec![Silent(text("x")), Answer(false)],
                Some(answer("Node2", false)),
            ),
            (
                vec![NotAsked(text("x")), Answer(true)],
                Some(answer("Node2", true)),
            ),
            (
                vec![Answer(false), Answer(true)],
                Some(answer("Node2", true)),
            ),
            (
                vec![Answer(true), Answer(false)],
                Some(answer("Node1", true)),
            ),
        ];
        for (replies, expected) in cases {
            let named = replies
                .into_iter()
                .zip(["Node1", "Node2"])
                .map(|(reply, node)| (node.to_owned(), reply))
                .collect();
            let shown = format!("{named:?}");
            match (dead_check(named, |good| *good), expected) {
                (Verdict::Unknown { why }, None) => assert!(!why.is_empty()),
                (found, expected) => assert_eq!(Some(found), expected, "{shown}"),
            }
        }
    }

    #[derive(Debug, PartialEq)]
    enum Short {
        Row,
        Membership,
        Unconfirmed,
        Down,
    }

    #[test]
    fn a_primary_goes_on_only_while_nobody_can_have_taken_over() {
        use Mode::{Async, Sync};
        let text = |word: &str| word.to_owned();
        let away = Renewed::Unreachable { why: text("x") };
        let wrong = Renewed::Misconfigured { why: text("x") };
        let lost = Renewed::Lost { why: text("x") };
        let dead = Renewed::Dead { asked: set(&["s"]) };
        // mode, answer, confirmed seconds ago, eligible, reports, streaming
        let cases = [
            (
                Sync,
                &Renewed::Row,
                None,
                &["s"][..],
                1,
                &[][..],
                Short::Row,
            ),
            (Async, &Renewed::Row, None, &[], 1, &[], Short::Row),
            (
                Sync,
                &Renewed::Command,
                None,
                &["s"],
                1,
                &[],
                Short::Membership,
            ),
            (Sync, &lost, Some(0), &[], 1, &["s"], Short::Down),
            (Async, &lost, Some(0), &[], 1, &["s"], Short::Down),
            (Sync, &dead, Some(99), &["s"], 1, &[], Short::Membership),
            (Async, &dead, Some(99), &[], 1, &[], Short::Membership),
            // Within the lease, less what passes until the next look.
            (Sync, &away, Some(5), &["s"], 1, &[], Short::Unconfirmed),
            (Async, &away, Some(5), &[], 1, &[], Short::Unconfirmed),
            (Async, &wrong, Some(5), &[], 1, &[], Short::Unconfirmed),
            (Async, &away, Some(6), &[], 1, &["s"], Short::Down),
            (Async, &away, None, &[], 1, &["s"], Short::Down),
            (Async, &wrong, Some(99), &[], 1, &["s"], Short::Down),
            // Past it: sync goes on while nobody can be promoted.
            (Sync, &away, None, &[], 1, &[], Short::Unconfirmed),
            (Sync, &away, Some(99), &["s"], 1, &["s"], Short::Unconfirmed),
            (
                Sync,
                &wrong,
                Some(99),
                &["s"],
                1,
                &["s"],
                Short::Unconfirmed,
            ),
            (Sync, &away, Some(6), &["s"], 1, &[], Short::Down),
            (Sync, &away, None, &["s"], 1, &["t"], Short::Down),
            (Sync, &away, Some(99), &["s", "t"], 1, &["s"], Short::Down),
            // ANY 1 of two: a promoter needs both.
            (
                Sync,
                &away,
                Some(99),
                &["s", "t"],
                2,
                &["s"],
                Short::Unconfirmed,
            ),
            (Sync, &away, Some(99), &["s", "t"], 2, &[], Short::Down),
            // A row without a count counts as one.
            (Sync, &away, Some(99), &["s"], 0, &["s"], Short::Unconfirmed),
        ];
        for (mode, answer, confirmed, eligible, reports, streaming, expected) in cases {
            let (eligible, streaming) = (set(eligible), set(streaming));
            let now = Renewing {
                mode,
                answer,
                since_confirmed: confirmed.map(Duration::from_secs),
                ttl: Duration::from_secs(9),
                margin: Duration::from_secs(3),
                eligible: &eligible,
                reports,
                streaming: &streaming,
            };
            let found = match standing(&now) {
                Standing::Keep {
                    relax: Relax::ByRow,
                } => Short::Row,
                Standing::Keep {
                    relax: Relax::ByMembership,
                } => Short::Membership,
                Standing::KeepUnconfirmed { .. } => Short::Unconfirmed,
                Standing::StepDown { .. } => Short::Down,
            };
            assert_eq!(found, expected, "{now:?}");
        }
    }

    /// The service was dead at the promotion, and is back before the old primary's lease is over.
    #[test]
    fn who_was_promoted_without_the_lock_waits_for_the_old_lease_to_end() {
        let answer = Renewed::Held {
            node: "n1".to_owned(),
            why: "rsc_n1 holds the lock for 1.7 s more".to_owned(),
        };
        let keeps = |mode, streaming: &[&str], eligible: &[&str]| {
            let standing = standing(&Renewing {
                mode,
                answer: &answer,
                since_confirmed: None,
                ttl: Duration::from_secs(9),
                margin: Duration::from_secs(5),
                eligible: &set(eligible),
                reports: 1,
                streaming: &set(streaming),
            });
            matches!(standing, Standing::KeepUnconfirmed { .. })
        };
        assert!(keeps(Mode::Sync, &["n1"], &[]));
        assert!(keeps(Mode::Sync, &["n1", "n3"], &["n3"]));
        // It may have been promoted by its row, and this primary be the deposed one.
        assert!(!keeps(Mode::Sync, &[], &[]));
        assert!(!keeps(Mode::Sync, &["n3"], &["n3"]));
        // The lease is all there is.
        assert!(!keeps(Mode::Async, &["n1"], &[]));
    }

    #[test]
    fn a_promotion_needs_the_lock_or_a_dead_service_and_a_demoted_primary() {
        let old = |node: &str, is_member, is_demoted| {
            Some(OldPrimary {
                node: node.to_owned(),
                is_me: node == "me",
                is_member,
                is_demoted,
                at_large: None,
            })
        };
        let at_large = |node: &str| {
            let old = old(node, true, true)?;
            let at_large = Some("q".to_owned());
            Some(OldPrimary { at_large, ..old })
        };
        let dead = || Asked::Dead {
            asked: set(&["p", "q"]),
        };
        let mine = Taken::Mine {
            epoch: 7,
            eligible: None,
            reports: 1,
        };
        let held = Taken::Held {
            owner: "pgsql_p".to_owned(),
            remaining: Duration::from_secs(3),
        };
        let go = |epoch| Ok(epoch);
        let cases = [
            (Asked::Row(mine), None, go(Some(7))),
            (
                Asked::Row(held),
                old("p", true, true),
                Err("pgsql_p holds the lock for 3.0 s"),
            ),
            (Asked::Command { is_mine: true }, None, go(None)),
            (
                Asked::Command { is_mine: false },
                old("p", true, true),
                Err("another node holds"),
            ),
            (
                Asked::Failed {
                    why: "away".to_owned(),
                },
                old("p", true, true),
                Err("not taken: away"),
            ),
            (dead(), old("p", true, true), go(None)),
            (dead(), old("me", true, false), go(None)),
            (
                dead(),
                at_large("me"),
                Err("q is up but not in this partition: it may have been promoted"),
            ),
            // The recorded primary is here, and was demoted here.
            (dead(), at_large("p"), go(None)),
            (dead(), None, Err("no primary is recorded")),
            (
                dead(),
                old("r", true, true),
                Err("r, the last primary, was not asked"),
            ),
            (dead(), old("p", false, true), Err("not in this partition")),
            (dead(), old("p", true, false), Err("was not demoted")),
        ];
        for (answer, old, expected) in cases {
            match (entry(&answer, old.as_ref()), expected) {
                (Entry::Go { epoch }, Ok(expected)) => assert_eq!(epoch, expected),
                (Entry::Refuse { reason }, Err(part)) => {
                    assert!(reason.contains(part), "{reason}");
                }
                (found, _) => panic!("{answer:?} {old:?}: {found:?}"),
            }
        }
    }

    /// A lease that was confirmed at 0, and the agent's own figures, in tenths of a second: whenever the next call begins, and however
    /// long its request takes, the server has ended before the lease has.
    #[test]
    fn no_primary_outlives_a_lease_that_it_can_not_renew() {
        let tenths = |n: u64| Duration::from_millis(n * 100);
        let pace = Pace {
            interval: tenths(30),
            request: tenths(30),
            least: tenths(3),
            stop: tenths(20),
        };
        let (ttl, usual) = (tenths(90), tenths(10));
        let away = Renewed::Unreachable {
            why: "away".to_owned(),
        };
        let nobody = set(&[]);
        let goes_on = |known: Duration| {
            let standing = standing(&Renewing {
                mode: Mode::Async,
                answer: &away,
                since_confirmed: Some(known),
                ttl,
                margin: pace.margin(),
                eligible: &nobody,
                reports: 1,
                streaming: &nobody,
            });
            !matches!(standing, Standing::StepDown { .. })
        };
        // One late renewal is survived where the service refuses at once, and not where it is silent until the request is given up.
        assert!(goes_on(tenths(31)));
        assert!(!goes_on(tenths(61)));
        for begin in (0..70).map(tenths) {
            let most = time_to_ask(ttl, begin, pace.stop).max(pace.least);
            for known in (0..=60).map(|n| begin + tenths(n)) {
                if known > begin + most || !goes_on(known) {
                    continue;
                }
                let next = known + pace.rest(ttl, known, usual) + pace.interval;
                let asks = time_to_ask(ttl, next, pace.stop).max(pace.least);
                let end = next + asks + pace.stop;
                assert!(
                    end <= ttl,
                    "asked at {begin:?}, known at {known:?}: {end:?}"
                );
            }
        }
    }

    #[test]
    fn nobody_is_asked_beyond_the_lease() {
        let s = Duration::from_secs;
        for (end, now, expected) in [(36, 31, 3), (36, 34, 0), (36, 40, 0), (36, 28, 6)] {
            assert_eq!(
                time_to_ask(s(end), s(now), s(2)),
                s(expected),
                "{end} {now}"
            );
        }
    }
}
