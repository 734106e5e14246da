//! R1, R2, R10: what commits wait for, and who may therefore be promoted.
//!
//! The *contract* is what `synchronous_standby_names` makes a commit wait for. The *eligible set*
//! is the standbys that the CIB names as promotable. The invariant that every step keeps:
//! **a standby is eligible only while every commit waits for it.** So it is dropped from the
//! eligible set first, for certain, and only then from the contract (revoke, then relax); and
//! added to the contract first, proven to have caught up, and only then eligible (catch up, then
//! grant).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::decide::promote::Method;
use crate::model::lsn::Lsn;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::SyncNames;

/// A standby's name as PostgreSQL has it: the node name in lower case.
pub type StandbyName = String;

/// Everything the decision rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `synchronous_standby_names` as the running server has it.
    pub in_force: SyncNames,
    /// Every standby that may count: the other cluster nodes, and the outside ones.
    pub standbys: BTreeMap<StandbyName, Standby>,
    /// The cluster as corosync has it; `None` where it could not be read.
    pub partition: Option<Partition>,
    /// Each node whose own copy of the CIB was read after that, and who may be promoted by it. Nodes
    /// that gave no answer are not in it.
    pub copies: BTreeMap<StandbyName, BTreeSet<StandbyName>>,
    /// Revocations written to the CIB and confirmed, with what was seen then.
    pub revoked: BTreeMap<StandbyName, Revocation>,
    pub options: Options,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// R10: commits never stop waiting.
    pub strict: bool,
    /// Two nodes without lock, fencing or quorum device: relax although nothing is certain.
    pub unsafe_relax: bool,
    /// Every streaming standby belongs to the contract (external_standby_node_list is set).
    pub everyone: bool,
}

/// One standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    pub place: Place,
    /// Its row in `pg_stat_replication`; `None` where it is not connected.
    pub link: Option<Link>,
}

/// Where a standby runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node of the cluster: it can be promoted.
    Node {
        /// In this node's partition.
        present: bool,
        /// The CIB says that it may be promoted.
        eligible: bool,
    },
    /// Not a node of the cluster: it is never promoted, so nothing need be revoked.
    Outside,
}

/// A row of `pg_stat_replication`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub state: SenderState,
    pub sync: SyncState,
    /// It has flushed what the primary had flushed a moment ago. One that streams, but far behind,
    /// or on a timeline that was left, would let commits wait for as long.
    pub keeps_up: bool,
    /// It has flushed everything acknowledged before the contract with it was in force (R2).
    pub caught_up: bool,
}

/// This node's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub quorate: bool,
    /// Changes whenever membership does (corosync's ring id).
    pub ring: String,
    /// Votes there are, here and elsewhere.
    pub voters: usize,
    /// Every node here has one vote, so nodes can be counted.
    pub one_vote_each: bool,
    /// A partition without quorum stops its resources (no-quorum-policy is not `ignore`).
    pub others_stop_without_quorum: bool,
    /// Time since the machine started.
    pub now: Duration,
    /// How long quorum and membership must hold before they can be believed; `None` where
    /// corosync's timing could not be read.
    pub settle: Option<Duration>,
}

/// A revocation that the CIB took.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    /// Time since the machine started.
    pub at: Duration,
    /// The ring it was made in.
    pub ring: String,
}

/// One thing to do; in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Record in the CIB that these may not be promoted, and remember when.
    Revoke(BTreeSet<StandbyName>),
    /// Put this contract in force.
    Contract(SyncNames),
    /// Record in the CIB that this standby may be promoted.
    Grant(StandbyName),
    /// Commits go on waiting.
    Hold(Hold),
}

/// Why commits go on waiting for a standby that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// R10.
    Strict,
    /// The partition could not be read.
    Unknown,
    /// Too early to be sure of quorum and membership.
    Settling {
        standby: StandbyName,
        remaining: Duration,
    },
    /// corosync's timing could not be read, so nobody knows when it is early.
    NoSettleTime,
    /// Somebody else may be promoting right now.
    NoQuorum,
    /// The standby is out of reach, and nothing keeps the other side from promoting it.
    NoArbiter { standby: StandbyName },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("no standby streams, and sync_strict=true: commits wait"),
            Self::Unknown => f.write_str("corosync's state could not be read: commits go on waiting"),
            Self::Settling { standby, remaining } => {
                write!(f, "{standby} does not stream; quorum must hold for {:.1} s more before commits stop waiting for it", remaining.as_secs_f32())
            }
            Self::NoSettleTime => f.write_str("corosync's timing could not be read (set settle_time): commits go on waiting"),
            Self::NoQuorum => f.write_str("this node's partition has no quorum, another may be promoting: commits go on waiting"),
            Self::NoArbiter { standby } => {
                write!(f, "{standby} is out of reach, and with two votes neither side can prove it is alone: commits go on waiting (add a third vote or a quorum device, or set unsafe_relax=true)")
            }
        }
    }
}

/// What a server that is being started waits for, should it become a primary. It stands in its
/// configuration from the start, because a setting that is changed at promotion reaches the running
/// processes some time later; on a standby it has no effect.
///
/// R1 for a restart: the recorded primary goes on waiting for whom it waited for before, who stay
/// eligible. To wait for any one of the standbys instead would be to stop waiting for those, with
/// nothing certain about them: cut off from the cluster, and not yet aware of it, the primary
/// would acknowledge with one standby while another, still eligible, is being promoted.
#[must_use]
pub fn at_start(
    is_recorded_primary: bool,
    eligible: &BTreeSet<StandbyName>,
    others: impl IntoIterator<Item = StandbyName>,
) -> SyncNames {
    if is_recorded_primary && !eligible.is_empty() {
        return SyncNames::all(eligible.iter().cloned());
    }
    SyncNames::any_one(others)
}

/// Who stays eligible when this node becomes the primary by `method`: at a restart those for whom
/// every commit waits from the first one on; at a promotion nobody.
#[must_use]
pub fn kept_at_promotion(
    method: Method,
    in_force: &SyncNames,
    eligible: &BTreeSet<StandbyName>,
) -> BTreeSet<StandbyName> {
    match (method, in_force.certain()) {
        (Method::SameTimeline, Some(members)) => eligible.intersection(&members).cloned().collect(),
        (Method::SameTimeline, None) | (Method::NewTimeline, _) => BTreeSet::new(),
    }
}

/// Decides the next steps. Called again until it returns nothing to do.
#[must_use]
pub fn next(facts: &Facts) -> Vec<Step> {
    let certain = facts.in_force.certain();
    let members = certain.clone().unwrap_or_default();
    let eligible = eligible(facts);

    // A standby that is eligible while commits do not wait for it: the setting was edited by
    // hand, or an agent died between two steps. Every commit from here on may be missing there.
    let stray: BTreeSet<_> = eligible.difference(&members).cloned().collect();
    if !stray.is_empty() {
        return vec![Step::Revoke(stray)];
    }

    let wanted = wanted(facts, &members);
    if certain.as_ref() == Some(&wanted) {
        let caught_up = wanted
            .iter()
            .filter(|name| !eligible.contains(*name) && is_proven(facts, name));
        return caught_up.cloned().map(Step::Grant).collect();
    }
    if wanted.is_empty() && facts.options.strict {
        return vec![Step::Hold(Hold::Strict)];
    }

    // Whoever commits no longer wait for must be out of the eligible set, for certain. Where
    // PostgreSQL chose among several, nobody was eligible; but to be alone, everybody must be
    // known to be out.
    let dropped = match &certain {
        Some(members) => members.difference(&wanted).cloned().collect(),
        None if wanted.is_empty() => nodes(facts),
        None => BTreeSet::new(),
    };
    let dropped: BTreeSet<_> = dropped
        .into_iter()
        .filter(|name| can_be_promoted(facts, name))
        .collect();
    // While nothing can make it certain, commits wait, and who they wait for stays eligible: it
    // has every acknowledged commit.
    if let Some(hold) = dropped.iter().find_map(|name| obstacle(facts, name)) {
        return vec![Step::Hold(hold)];
    }
    // A note of when is what the settle time is counted from; unsafe_relax counts nothing.
    let is_noted = |n: &String| facts.options.unsafe_relax || facts.revoked.contains_key(n);
    let unrevoked: BTreeSet<_> = dropped
        .iter()
        .filter(|n| eligible.contains(*n) || !is_noted(n))
        .cloned()
        .collect();
    if !unrevoked.is_empty() {
        return vec![Step::Revoke(unrevoked)];
    }
    // To be alone is no change of standbys but the loss of the last one: the settle time is also
    // the time in which one may come back, as all do after a promotion.
    let haste = if wanted.is_empty() {
        Haste::Settle
    } else {
        Haste::Known
    };
    match dropped.iter().find_map(|name| settling(facts, name, haste)) {
        Some(hold) => vec![Step::Hold(hold)],
        None => vec![Step::Contract(SyncNames::all(wanted))],
    }
}

fn nodes(facts: &Facts) -> BTreeSet<StandbyName> {
    facts
        .standbys
        .keys()
        .filter(|name| can_be_promoted(facts, name))
        .cloned()
        .collect()
}

/// A name that nobody knows is taken for a node's: it may be one that left node_list a moment ago.
fn can_be_promoted(facts: &Facts, name: &str) -> bool {
    facts
        .standbys
        .get(name)
        .is_none_or(|s| s.place != Place::Outside)
}

fn eligible(facts: &Facts) -> BTreeSet<StandbyName> {
    let is_eligible = |s: &Standby| matches!(s.place, Place::Node { eligible: true, .. });
    facts
        .standbys
        .iter()
        .filter(|(_, s)| is_eligible(s))
        .map(|(n, _)| n.clone())
        .collect()
}

fn is_streaming(facts: &Facts, name: &str) -> bool {
    let link = facts.standbys.get(name).and_then(|s| s.link);
    link.is_some_and(|l| l.state == SenderState::Streaming)
}

fn keeps_up(facts: &Facts, name: &str) -> bool {
    let link = facts.standbys.get(name).and_then(|s| s.link);
    link.is_some_and(|l| l.state == SenderState::Streaming && l.keeps_up)
}

fn is_proven(facts: &Facts, name: &str) -> bool {
    let Some(standby) = facts.standbys.get(name) else {
        return false;
    };
    let proven =
        |l: Link| l.state == SenderState::Streaming && l.sync == SyncState::Sync && l.caught_up;
    matches!(standby.place, Place::Node { .. }) && standby.link.is_some_and(proven)
}

/// The standbys that commits should wait for.
fn wanted(facts: &Facts, members: &BTreeSet<StandbyName>) -> BTreeSet<StandbyName> {
    // Whoever is waited for stays while it streams: changing the contract costs a pause.
    let kept = members
        .iter()
        .filter(|name| is_streaming(facts, name))
        .cloned();
    let joining = facts.standbys.keys().filter(|name| keeps_up(facts, name));
    if facts.options.everyone {
        return kept.chain(joining.cloned()).collect();
    }
    let mut joining = joining.filter(|name| can_be_promoted(facts, name)).cloned();
    let mut kept = kept;
    kept.next().or_else(|| joining.next()).into_iter().collect()
}

/// R1 (a) to (d): what keeps it from ever being certain that `name` can't be promoted elsewhere.
fn obstacle(facts: &Facts, name: &str) -> Option<Hold> {
    if facts.options.unsafe_relax {
        return None;
    }
    let Some(partition) = &facts.partition else {
        return Some(Hold::Unknown);
    };
    if !partition.quorate {
        return Some(Hold::NoQuorum);
    }
    let present = facts
        .standbys
        .get(name)
        .is_some_and(|s| matches!(s.place, Place::Node { present: true, .. }));
    let outvoted = partition.voters >= 3 && partition.others_stop_without_quorum;
    if !present && !outvoted {
        return Some(Hold::NoArbiter {
            standby: name.to_owned(),
        });
    }
    partition.settle.is_none().then_some(Hold::NoSettleTime)
}

/// Whether seen copies of the CIB make the settle time needless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    Known,
    Settle,
}

/// How long quorum and membership must still hold before a revocation can be believed.
fn settling(facts: &Facts, name: &str, haste: Haste) -> Option<Hold> {
    if facts.options.unsafe_relax {
        return None;
    }
    let partition = facts.partition.as_ref()?;
    if haste == Haste::Known && is_known_to_be_out(facts, partition, name) {
        return None;
    }
    let settle = partition.settle?;
    let remaining = match facts.revoked.get(name) {
        // A note of another membership, or from the future: then of an earlier boot.
        Some(note) if note.ring != partition.ring || note.at > partition.now => settle,
        Some(note) => (note.at + settle).saturating_sub(partition.now),
        None => settle,
    };
    (!remaining.is_zero()).then(|| Hold::Settling {
        standby: name.to_owned(),
        remaining,
    })
}

/// R1 (e): no waiting where the copies themselves were seen. Either `name`'s own node has the
/// revocation, and refuses by it; or a majority of all votes has it, so that every partition that
/// could promote holds a node that has it, and its CIB, with the raised admin_epoch, is the one that
/// stays. What the settle time makes certain is exactly this: that a write which was confirmed here
/// has reached the others.
fn is_known_to_be_out(facts: &Facts, partition: &Partition, name: &str) -> bool {
    let has_it = |eligible: &BTreeSet<StandbyName>| !eligible.contains(name);
    if facts.copies.get(name).is_some_and(has_it) {
        return true;
    }
    let informed = facts
        .copies
        .values()
        .filter(|eligible| has_it(eligible))
        .count();
    partition.others_stop_without_quorum
        && partition.one_vote_each
        && informed * 2 > partition.voters
}

/// Revocation notes that no longer say anything: their ring or boot is over. The caller makes
/// them anew, with the present time.
#[must_use]
pub fn outdated(facts: &Facts) -> BTreeSet<StandbyName> {
    let Some(partition) = &facts.partition else {
        return BTreeSet::new();
    };
    let is_outdated = |r: &Revocation| r.ring != partition.ring || r.at > partition.now;
    facts
        .revoked
        .iter()
        .filter(|(_, r)| is_outdated(r))
        .map(|(n, _)| n.clone())
        .collect()
}

/// Whether a standby's row proves that it holds all that was acknowledged before (R2).
///
/// `barrier` is a position written after the contract was in force; `None`: not taken yet.
#[must_use]
pub fn caught_up(flushed: Option<Lsn>, barrier: Option<Lsn>) -> bool {
    matches!((flushed, barrier), (Some(flushed), Some(barrier)) if flushed >= barrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMING: Option<Link> = Some(Link {
        state: SenderState::Streaming,
        sync: SyncState::Async,
        keeps_up: true,
        caught_up: false,
    });
    const SYNC: Option<Link> = Some(Link {
        state: SenderState::Streaming,
        sync: SyncState::Sync,
        keeps_up: true,
        caught_up: true,
    });
    const LAGGING: Option<Link> = Some(Link {
        state: SenderState::Streaming,
        sync: SyncState::Sync,
        keeps_up: true,
        caught_up: false,
    });
    const CATCHUP: Option<Link> = Some(Link {
        state: SenderState::Catchup,
        sync: SyncState::Async,
        keeps_up: true,
        caught_up: false,
    });
    const S: fn(u64) -> Duration = Duration::from_secs;

    fn node(eligible: bool, link: Option<Link>) -> Standby {
        Standby {
            place: Place::Node {
                present: true,
                eligible,
            },
            link,
        }
    }

    fn absent(eligible: bool) -> Standby {
        Standby {
            place: Place::Node {
                present: false,
                eligible,
            },
            link: None,
        }
    }

    fn outside(link: Option<Link>) -> Standby {
        Standby {
            place: Place::Outside,
            link,
        }
    }

    /// Three nodes, all present and quorate, ten seconds after everything settled.
    fn facts(in_force: &str, standbys: &[(&str, Standby)]) -> Facts {
        Facts {
            in_force: in_force.parse().unwrap(),
            standbys: standbys
                .iter()
                .map(|(n, s)| ((*n).to_owned(), s.clone()))
                .collect(),
            partition: Some(Partition {
                quorate: true,
                ring: "1.4".to_owned(),
                voters: 3,
                one_vote_each: true,
                others_stop_without_quorum: true,
                now: S(100),
                settle: Some(S(7)),
            }),
            copies: BTreeMap::new(),
            revoked: BTreeMap::new(),
            options: Options {
                strict: false,
                unsafe_relax: false,
                everyone: false,
            },
        }
    }

    fn revoked(mut facts: Facts, name: &str, at: Duration) -> Facts {
        facts.revoked.insert(
            name.to_owned(),
            Revocation {
                at,
                ring: "1.4".to_owned(),
            },
        );
        facts
    }

    fn partition(mut facts: Facts, change: impl FnOnce(&mut Partition)) -> Facts {
        change(facts.partition.as_mut().unwrap());
        facts
    }

    fn set(names: &[&str]) -> BTreeSet<StandbyName> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn revoke(names: &[&str]) -> Vec<Step> {
        vec![Step::Revoke(set(names))]
    }

    fn contract(text: &str) -> Vec<Step> {
        vec![Step::Contract(text.parse().unwrap())]
    }

    fn grant(name: &str) -> Vec<Step> {
        vec![Step::Grant(name.to_owned())]
    }

    fn hold(facts: &Facts) -> Hold {
        match next(facts).as_slice() {
            [Step::Hold(hold)] => hold.clone(),
            other => panic!("expected a hold, got {other:?}"),
        }
    }

    #[test]
    fn a_streaming_standby_is_waited_for_first_and_granted_after_it_caught_up() {
        let alone = [
            ("node2", node(false, STREAMING)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(next(&facts("", &alone)), contract("node2"));
        let lagging = [
            ("node2", node(false, LAGGING)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(
            next(&facts("node2", &lagging)),
            vec![],
            "in sync, but not proven to have everything"
        );
        let proven = [
            ("node2", node(false, SYNC)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(next(&facts("node2", &proven)), grant("node2"));
        let granted = [
            ("node2", node(true, SYNC)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(next(&facts("node2", &granted)), vec![]);
    }

    #[test]
    fn a_standby_far_behind_is_not_waited_for_but_one_that_falls_behind_is() {
        let far = Some(Link {
            keeps_up: false,
            ..STREAMING.unwrap()
        });
        assert_eq!(next(&facts("", &[("node2", node(false, far))])), vec![]);
        let both = [
            ("node2", node(false, far)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(
            next(&facts("ANY 1 (node2, node3)", &both)),
            contract("node3")
        );
        let fell_behind = Some(Link {
            keeps_up: false,
            ..SYNC.unwrap()
        });
        assert_eq!(
            next(&facts("node2", &[("node2", node(true, fell_behind))])),
            vec![]
        );
    }

    #[test]
    fn a_standby_that_catches_up_is_not_waited_for() {
        assert_eq!(next(&facts("", &[("node2", node(false, CATCHUP))])), vec![]);
    }

    #[test]
    fn a_lost_standby_is_revoked_then_outwaited_then_dropped() {
        let lost = [
            ("node2", node(true, None)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(next(&facts("node2", &lost)), revoke(&["node2"]));
        let lost = [
            ("node2", node(false, None)),
            ("node3", node(false, STREAMING)),
        ];
        // The CIB says no, but nobody noted when: it may be from before a merge.
        assert_eq!(next(&facts("node2", &lost)), revoke(&["node2"]));
        let early = revoked(facts("node2", &lost), "node2", S(95));
        assert_eq!(
            hold(&early),
            Hold::Settling {
                standby: "node2".to_owned(),
                remaining: S(2)
            }
        );
        let settled = revoked(facts("node2", &lost), "node2", S(93));
        assert_eq!(next(&settled), contract("node3"));
        let nobody = [("node2", node(false, None)), ("node3", node(false, None))];
        assert_eq!(
            next(&revoked(facts("node2", &nobody), "node2", S(93))),
            contract("")
        );
    }

    #[test]
    fn a_standby_that_returns_before_commits_stopped_waiting_is_granted_again() {
        let back = [
            ("node2", node(false, SYNC)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(
            next(&revoked(facts("node2", &back), "node2", S(93))),
            grant("node2")
        );
    }

    #[test]
    fn commits_keep_waiting_while_anything_is_uncertain() {
        let lost = [("node2", absent(false)), ("node3", node(false, STREAMING))];
        let settled = || revoked(facts("node2", &lost), "node2", S(50));
        assert_eq!(
            next(&settled()),
            contract("node3"),
            "the base case is certain"
        );

        assert_eq!(
            hold(&partition(settled(), |p| p.quorate = false)),
            Hold::NoQuorum
        );
        let no_arbiter = Hold::NoArbiter {
            standby: "node2".to_owned(),
        };
        assert_eq!(hold(&partition(settled(), |p| p.voters = 2)), no_arbiter);
        assert_eq!(
            hold(&partition(settled(), |p| p.others_stop_without_quorum = false)),
            no_arbiter
        );
        assert_eq!(
            hold(&partition(settled(), |p| p.settle = None)),
            Hold::NoSettleTime
        );
        let anew = Hold::Settling {
            standby: "node2".to_owned(),
            remaining: S(7),
        };
        assert_eq!(
            hold(&partition(settled(), |p| p.ring = "1.8".to_owned())),
            anew
        );
        assert_eq!(
            hold(&partition(settled(), |p| p.now = S(40))),
            anew,
            "the machine was restarted"
        );
        let mut unread = settled();
        unread.partition = None;
        assert_eq!(hold(&unread), Hold::Unknown);
    }

    #[test]
    fn a_lost_standby_stays_eligible_while_commits_can_only_wait_for_it() {
        let lost = [("node2", absent(true)), ("node3", node(false, STREAMING))];
        assert_eq!(
            next(&facts("node2", &lost)),
            revoke(&["node2"]),
            "the base case is revoked"
        );
        assert_eq!(
            hold(&partition(facts("node2", &lost), |p| p.quorate = false)),
            Hold::NoQuorum
        );
        let two = partition(facts("node2", &[("node2", absent(true))]), |p| p.voters = 2);
        assert_eq!(
            hold(&two),
            Hold::NoArbiter {
                standby: "node2".to_owned()
            }
        );
    }

    #[test]
    fn the_copies_of_a_majority_or_the_standbys_own_make_waiting_needless() {
        let lost = || [("node2", absent(false)), ("node3", node(false, STREAMING))];
        let copies = |facts: Facts, read: &[(&str, &[&str])]| Facts {
            copies: read
                .iter()
                .map(|(n, e)| ((*n).to_owned(), set(e)))
                .collect(),
            ..facts
        };
        let early = || revoked(facts("node2", &lost()), "node2", S(100));
        let is_certain = |facts: &Facts| next(facts) == contract("node3");
        assert!(!is_certain(&early()), "the base case must wait");
        assert!(is_certain(&copies(
            early(),
            &[("node1", &[]), ("node3", &[])]
        )));
        assert!(is_certain(&copies(
            early(),
            &[("node1", &[]), ("node3", &["dr1"])]
        )));
        assert!(
            !is_certain(&copies(early(), &[("node1", &[])])),
            "one of three"
        );
        assert!(
            !is_certain(&copies(early(), &[("node1", &[]), ("node3", &["node2"])])),
            "node3 has not got it"
        );
        let both = &[("node1", &[][..]), ("node3", &[][..])];
        let of_five = partition(copies(early(), both), |p| p.voters = 5);
        assert!(!is_certain(&of_five), "two of five");
        let of_four = partition(copies(early(), both), |p| p.voters = 4);
        assert!(!is_certain(&of_four), "half is no majority");
        let weighted = partition(copies(early(), both), |p| p.one_vote_each = false);
        assert!(!is_certain(&weighted));
        let nobody = [("node2", absent(false)), ("node3", node(false, None))];
        let alone = revoked(facts("node2", &nobody), "node2", S(100));
        let alone = copies(alone, &[("node1", &[]), ("node3", &[])]);
        assert!(
            matches!(hold(&alone), Hold::Settling { .. }),
            "to be alone takes its time"
        );
        // Its own node has it, in a hang of its receiver, say: no vote is needed.
        let here = [
            ("node2", node(false, None)),
            ("node3", node(false, STREAMING)),
        ];
        let here = revoked(facts("node2", &here), "node2", S(100));
        let here = partition(here, |p| p.voters = 2);
        assert!(is_certain(&copies(here.clone(), &[("node2", &[])])));
        assert!(!is_certain(&copies(here, &[("node2", &["node2"])])));
    }

    #[test]
    fn two_nodes_relax_for_a_present_standby_only_unless_told_otherwise() {
        let two = |s| {
            partition(
                revoked(facts("node2", &[("node2", s)]), "node2", S(50)),
                |p| p.voters = 2,
            )
        };
        assert_eq!(
            next(&two(node(false, None))),
            contract(""),
            "R1 (b): the CIB write reached it"
        );
        assert_eq!(
            hold(&two(absent(false))),
            Hold::NoArbiter {
                standby: "node2".to_owned()
            }
        );
        for partition in [two(absent(false)).partition, None] {
            let mut allowed = facts("node2", &[("node2", absent(true))]);
            allowed.options.unsafe_relax = true;
            allowed.partition = partition;
            assert_eq!(next(&allowed), revoke(&["node2"]));
            allowed.standbys.insert("node2".to_owned(), absent(false));
            assert_eq!(next(&allowed), contract(""), "without a note of when, too");
        }
    }

    #[test]
    fn strict_never_goes_alone_but_may_change_standbys() {
        let mut lost = revoked(
            facts("node2", &[("node2", node(false, None))]),
            "node2",
            S(50),
        );
        lost.options.strict = true;
        assert_eq!(hold(&lost), Hold::Strict);
        lost.standbys
            .insert("node3".to_owned(), node(false, STREAMING));
        assert_eq!(next(&lost), contract("node3"));
    }

    #[test]
    fn a_new_primary_waits_for_any_standby_then_for_one() {
        let initial = "ANY 1 (node2, node3)";
        let streaming = [
            ("node2", node(false, None)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(next(&facts(initial, &streaming)), contract("node3"));
        let nobody = [("node2", node(false, None)), ("node3", node(false, None))];
        assert_eq!(next(&facts(initial, &nobody)), revoke(&["node2", "node3"]));
        let noted = revoked(
            revoked(facts(initial, &nobody), "node2", S(50)),
            "node3",
            S(95),
        );
        assert_eq!(
            hold(&noted),
            Hold::Settling {
                standby: "node3".to_owned(),
                remaining: S(2)
            }
        );
        let settled = revoked(
            revoked(facts(initial, &nobody), "node2", S(50)),
            "node3",
            S(50),
        );
        assert_eq!(next(&settled), contract(""));
    }

    #[test]
    fn a_restarted_primary_waits_for_whom_it_waited_before() {
        let others = || ["node2".to_owned(), "node3".to_owned()];
        for (recorded, eligible, expected) in [
            (true, set(&["node3"]), "node3"),
            (true, set(&["dr1", "node3"]), "FIRST 2 (dr1, node3)"),
            (true, set(&[]), "ANY 1 (node2, node3)"),
            // Another node's standbys are not this one's.
            (false, set(&["node3"]), "ANY 1 (node2, node3)"),
        ] {
            let got = at_start(recorded, &eligible, others());
            assert_eq!(got, expected.parse().unwrap(), "{recorded} {eligible:?}");
        }
        assert_eq!(at_start(false, &set(&[]), []), SyncNames::Nobody);
    }

    #[test]
    fn only_a_restart_keeps_standbys_eligible_and_only_those_waited_for() {
        for (method, in_force, expected) in [
            (Method::SameTimeline, "node3", set(&["node3"])),
            (
                Method::SameTimeline,
                "FIRST 2 (node2, node3)",
                set(&["node3"]),
            ),
            (Method::SameTimeline, "node2", set(&[])),
            (Method::SameTimeline, "ANY 1 (node2, node3)", set(&[])),
            (Method::SameTimeline, "", set(&[])),
            (Method::NewTimeline, "node3", set(&[])),
        ] {
            let got = kept_at_promotion(method, &in_force.parse().unwrap(), &set(&["node3"]));
            assert_eq!(got, expected, "{method:?} {in_force}");
        }
    }

    #[test]
    fn eligibility_without_a_contract_is_revoked_at_once() {
        // Somebody emptied or changed the setting by hand.
        let standbys = [
            ("node2", node(true, SYNC)),
            ("node3", node(false, STREAMING)),
        ];
        assert_eq!(next(&facts("", &standbys)), revoke(&["node2"]));
        assert_eq!(next(&facts("node3", &standbys)), revoke(&["node2"]));
        assert_eq!(
            next(&facts("ANY 1 (node2, node3)", &standbys)),
            revoke(&["node2"])
        );
        assert_eq!(next(&facts("*", &standbys)), revoke(&["node2"]));
    }

    #[test]
    fn outside_standbys_join_and_leave_without_revocation() {
        let everyone = |in_force: &str, standbys: &[(&str, Standby)]| {
            let mut facts = facts(in_force, standbys);
            facts.options.everyone = true;
            facts
        };
        let both = [("dr1", outside(STREAMING)), ("node2", node(true, SYNC))];
        assert_eq!(
            next(&everyone("node2", &both)),
            contract("FIRST 2 (dr1, node2)")
        );
        let gone = [("dr1", outside(None)), ("node2", node(true, SYNC))];
        assert_eq!(
            next(&everyone("FIRST 2 (dr1, node2)", &gone)),
            contract("node2")
        );
        let node_gone = [("dr1", outside(SYNC)), ("node2", node(true, None))];
        assert_eq!(
            next(&everyone("FIRST 2 (dr1, node2)", &node_gone)),
            revoke(&["node2"])
        );
        // An outside standby is never promoted, so it is never granted.
        assert_eq!(next(&everyone("dr1", &[("dr1", outside(SYNC))])), vec![]);
    }

    /// Whatever is seen, no step breaks the invariant: nobody is dropped while eligible, nobody
    /// is granted outside the contract.
    #[test]
    fn no_combination_breaks_the_invariant() {
        let links = [None, STREAMING, LAGGING, SYNC, CATCHUP];
        let standbys: Vec<Standby> = links
            .into_iter()
            .flat_map(|l| [node(true, l), node(false, l)])
            .chain([absent(true), absent(false)])
            .collect();
        let mut seen = 0;
        for in_force in [
            "",
            "node2",
            "node3",
            "FIRST 2 (node2, node3)",
            "ANY 1 (node2, node3)",
            "*",
        ] {
            for two in &standbys {
                for three in &standbys {
                    for noted in [S(50), S(95)] {
                        let facts = facts(
                            in_force,
                            &[("node2", two.clone()), ("node3", three.clone())],
                        );
                        let facts = revoked(revoked(facts, "node2", noted), "node3", S(50));
                        for step in next(&facts) {
                            seen += 1;
                            let members = facts.in_force.certain().unwrap_or_default();
                            match step {
                                Step::Contract(new) => {
                                    let kept =
                                        new.certain().expect("the agent writes certain contracts");
                                    assert!(
                                        eligible(&facts).is_subset(&kept),
                                        "{facts:?} -> {new}"
                                    );
                                    let early = members.contains("node2")
                                        && !kept.contains("node2")
                                        && noted == S(95);
                                    assert!(
                                        !early,
                                        "dropped before it settled: {facts:?} -> {new}"
                                    );
                                }
                                Step::Grant(name) => {
                                    assert!(members.contains(&name), "{facts:?} -> grant {name}")
                                }
                                Step::Revoke(_) | Step::Hold(_) => {}
                            }
                        }
                    }
                }
            }
        }
        assert!(
            seen > 500,
            "the table must have exercised the function: {seen}"
        );
    }
}
