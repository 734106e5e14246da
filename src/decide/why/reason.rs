//! What keeps a node, or all of them, from being promoted, and what to do about it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::decide::barred::Bar;
use crate::decide::eligibility::Ineligible;
use crate::decide::observed::{FailCount, Presence, TargetRole};
use crate::decide::why::words::{and, one_of};
use crate::decide::witness::Coverage;
use crate::decide::{election, replay};
use crate::model::cluster_view::{NoQuorumPolicy, Score};
use crate::model::node_name::NodeName;
use crate::model::sync_names::StandbyName;

/// Something that is against a promotion.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    /// target-role=Stopped, or Unpromoted.
    TargetRole(TargetRole),
    /// stop-all-resources=true.
    StopsAll,
    /// promoted-max=0.
    PromotesNone,
    /// A constraint asks for a ticket that is not granted here.
    Ticket {
        id: String,
        ticket: String,
    },
    Maintenance,
    Unmanaged,
    NoQuorum(NoQuorumPolicy),
    /// It is withheld: wait_for_all.
    AwaitsAll(NoQuorumPolicy),
    /// Pacemaker promotes nobody while a node that vanished is not fenced.
    Unfenced(NodeName),

    NotListed,
    Offline(Presence),
    Joining,
    Standby,
    NodeMaintenance,
    /// It may not be promoted, whatever it has.
    #[strum(serialize = "banned")]
    Barred(Bar),
    GivenUp {
        count: FailCount,
        limit: Option<u32>,
    },
    StartFailed {
        reason: Option<String>,
        at: Option<u64>,
    },
    Repairing(String),
    NotRunning,
    /// It would not replay all it has; with the word of `RSC-replay`.
    Held(String),

    Unreadable(String),
    Ineligible(Ineligible),
    Coverage(Coverage),
    /// Fewer witnesses could speak than are needed.
    TooFewWitnesses {
        more: usize,
        away: Vec<StandbyName>,
    },
    Election(election::Outcome),

    LockHeld {
        owner: String,
        remaining: Duration,
    },
    LockNotEligible(BTreeSet<StandbyName>),
    LockUnusable(String),
    Lock(String),

    /// Its agent, or the primary's, does not offer it.
    NotOffered(Option<Score>),
}

impl Reason {
    /// A name for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// It is about what the node has, not about whether it is there.
    #[must_use]
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::NotListed
            | Self::Held(_)
            | Self::Unreadable(_)
            | Self::Ineligible(_)
            | Self::Coverage(_)
            | Self::Election(_)
            | Self::LockNotEligible(_) => true,
            Self::TargetRole(_)
            | Self::StopsAll
            | Self::PromotesNone
            | Self::Ticket { .. }
            | Self::Maintenance
            | Self::Unmanaged
            | Self::NoQuorum(_)
            | Self::AwaitsAll(_)
            | Self::Unfenced(_)
            | Self::Offline(_)
            | Self::Joining
            | Self::Standby
            | Self::NodeMaintenance
            | Self::Barred(_)
            | Self::GivenUp { .. }
            | Self::StartFailed { .. }
            | Self::Repairing(_)
            | Self::NotRunning
            | Self::TooFewWitnesses { .. }
            | Self::LockHeld { .. }
            | Self::LockUnusable(_)
            | Self::Lock(_)
            | Self::NotOffered(_) => false,
        }
    }

    /// What a person may do about it on `node`. `clone`: what Pacemaker's tools call the resource.
    #[must_use]
    pub fn fix(&self, node: &NodeName, clone: &str) -> Option<String> {
        match self {
            Self::TargetRole(_) => Some("expgsql cluster start".to_owned()),
            Self::StopsAll => Some("crm_attribute --name stop-all-resources --delete".to_owned()),
            Self::PromotesNone => Some(format!(
                "crm_resource --meta --resource {clone} --set-parameter promoted-max --parameter-value 1"
            )),
            Self::Ticket { ticket, .. } => Some(format!(
                "if this is the site that is to have it: booth grant {ticket}, or without booth crm_ticket --ticket {ticket} --grant"
            )),
            Self::Maintenance => Some("expgsql cluster unmaintenance".to_owned()),
            Self::Unmanaged => Some("expgsql cluster manage".to_owned()),
            Self::NoQuorum(_) => {
                Some("bring nodes back until more than half of all votes are here".to_owned())
            }
            Self::AwaitsAll(_) => Some(format!("bring every node back; {UNBLOCK}")),
            Self::Unfenced(lost) => Some(format!(
                "look at the fencing of {lost} (stonith_admin --history {lost}); if the machine is off for certain: \
                 stonith_admin --confirm={lost}"
            )),
            Self::NotListed => Some(format!("add {node} to node_list")),
            Self::Offline(_) | Self::Joining => Some(format!(
                "bring {node} back: its machine, its network, then systemctl start pacemaker there"
            )),
            Self::Standby => Some(format!("expgsql cluster unstandby-node {node}")),
            Self::NodeMaintenance => Some(format!("expgsql cluster unmaintenance-node {node}")),
            Self::Barred(Bar::Nowhere) => Some(format!(
                "let it run there (pcs constraint location {clone} prefers {node}=0), or take {node} off node_list"
            )),
            Self::Barred(bar) => Some(bar.fix(clone)),
            Self::StartFailed { reason, .. } => Some(match reason.as_deref().and_then(advised) {
                Some(command) => format!("on {node}: {command}"),
                None => CLEANUP.to_owned(),
            }),
            Self::GivenUp { .. } => Some(CLEANUP.to_owned()),
            Self::NotRunning | Self::Repairing(_) => None,
            Self::Held(word) => Some(format!("on {node}: {}", replay::remedy(word))),
            Self::Unreadable(_) => None,
            Self::Ineligible(_) | Self::Coverage(_) | Self::Election(_) => None,
            Self::TooFewWitnesses { away, .. } => {
                Some(format!("bring back {}", one_of(away, |name| name.clone())))
            }
            Self::LockHeld { .. } => None,
            Self::LockNotEligible(_) => None,
            Self::LockUnusable(_) | Self::Lock(_) => Some(LOCK_FIX.to_owned()),
            Self::NotOffered(_) => None,
        }
    }
}

/// What helps where the lock service is the trouble.
pub const LOCK_FIX: &str =
    "see to the lock service: its machine, the server there, the network to it";

/// What ends corosync's wait for nodes that are gone for good.
const UNBLOCK: &str = "if the missing ones are off for certain, and stay off: corosync-cmapctl -s quorum.cancel_wait_for_all u8 1";

pub(super) const CLEANUP: &str = "repair the cause, then: expgsql cluster cleanup";

/// The command in `run 'COMMAND': reason`, which is how the agent refuses a start that a repair would help.
fn advised(reason: &str) -> Option<&str> {
    let (command, _) = reason.split_once("run '")?.1.split_once('\'')?;
    Some(command)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetRole(TargetRole::Unpromoted) => {
                f.write_str("an operator lets nobody be promoted (target-role=Unpromoted)")
            }
            Self::TargetRole(_) => {
                f.write_str("an operator stopped the resource (target-role=Stopped)")
            }
            Self::StopsAll => {
                f.write_str("Pacemaker is to stop everything (stop-all-resources=true)")
            }
            Self::PromotesNone => {
                f.write_str("no instance of the clone may be promoted (promoted-max=0)")
            }
            Self::Ticket { id, ticket } => write!(
                f,
                "the ticket {ticket} is not granted here, and the constraint {id} asks for it"
            ),
            Self::Maintenance => {
                f.write_str("the cluster is in maintenance: Pacemaker promotes nobody")
            }
            Self::Unmanaged => f.write_str("the resource is not Pacemaker's to manage (unmanaged)"),
            Self::NoQuorum(policy) => write!(
                f,
                "this partition has no quorum, and no-quorum-policy is {policy}"
            ),
            Self::AwaitsAll(policy) => write!(
                f,
                "this partition has no quorum before every node was seen since it started (corosync's wait_for_all), and \
                 no-quorum-policy is {policy}"
            ),
            Self::Unfenced(lost) => write!(
                f,
                "{lost} vanished and is not fenced: Pacemaker waits for that before it promotes anybody"
            ),
            Self::NotListed => f.write_str("not in node_list: its data are not part of this"),
            Self::Offline(Presence::Lost) => {
                f.write_str("offline: it left without a word, and may run out of reach")
            }
            Self::Offline(_) => f.write_str("offline"),
            Self::Joining => f.write_str("its Pacemaker has not joined the cluster yet"),
            Self::Standby => f.write_str("in standby"),
            Self::NodeMaintenance => f.write_str("in maintenance: Pacemaker does nothing there"),
            Self::Barred(bar) => bar.fmt(f),
            Self::GivenUp { count, limit } => match limit {
                Some(limit) if *count < FailCount::NEVER_AGAIN => write!(
                    f,
                    "failed {count} times (migration-threshold={limit}): Pacemaker keeps the resource away"
                ),
                _ => f.write_str(
                    "failed for good (fail-count INFINITY): Pacemaker keeps the resource away",
                ),
            },
            Self::StartFailed { reason, .. } => write!(
                f,
                "its start failed: {}",
                reason
                    .as_deref()
                    .unwrap_or("no reason was given, see the log")
            ),
            Self::Repairing(text) => write!(f, "its data are being repaired ({text})"),
            Self::NotRunning => f.write_str("the server does not run"),
            Self::Held(word) => f.write_str(&replay::in_words(word)),
            Self::Unreadable(why) => f.write_str(why),
            Self::Ineligible(why) => why.fmt(f),
            Self::Coverage(coverage) => coverage.fmt(f),
            Self::TooFewWitnesses { more, away } => write!(
                f,
                "the last commits may be on {} only: {more} more of them must say how much it has",
                away.join(", ")
            ),
            Self::Election(outcome) => outcome.fmt(f),
            Self::LockHeld { owner, remaining } if remaining.is_zero() => {
                write!(f, "{owner} holds the lock, which has expired")
            }
            Self::LockHeld { owner, remaining } => write!(
                f,
                "{owner} holds the lock for {:.0} s more",
                remaining.as_secs_f32().ceil()
            ),
            Self::LockNotEligible(names) => write!(
                f,
                "the lock's row lets only {} be promoted",
                and(&names.iter().map(String::as_str).collect::<Vec<_>>())
            ),
            Self::LockUnusable(why) => write!(f, "the lock can't be used: {why}"),
            Self::Lock(why) => f.write_str(why),
            Self::NotOffered(score) => {
                let score = score.map_or_else(|| "not set".to_owned(), |score| score.to_string());
                write!(
                    f,
                    "it is not offered (promotion score {score}): too far behind, still replaying, or its next monitor is awaited"
                )
            }
        }
    }
}
