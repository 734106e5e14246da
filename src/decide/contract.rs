//! R1, R2, R10: what commits wait for, and who may therefore be promoted.
//!
//! The *contract* is what `synchronous_standby_names` makes a commit wait for. The *claim* is what
//! the CIB, and the lock where there is one, say about who has every acknowledged commit: each of
//! these standbys, or, with quorum commit, so many of them. The invariant that every step keeps:
//! **the contract in force keeps the claim true.** So a standby leaves the claim first, for certain,
//! and only then the contract (revoke, then relax); and it joins the contract first, is proven to
//! have caught up, and only then joins the claim (catch up, then grant).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

pub use crate::decide::membership::Partition;
use crate::decide::membership::{Ground, NoGround, Recorded, ground, has_left};
use crate::decide::promote::Method;
use crate::decide::waited_for::{self, Available, Wishes};
use crate::model::claim::Claim;
use crate::model::lsn::Lsn;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::{self, StandbyName, SyncNames};

/// Everything the decision rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `synchronous_standby_names` as the running server has it.
    pub in_force: SyncNames,
    /// Every standby that may count: the other cluster nodes, and the outside ones.
    pub standbys: BTreeMap<StandbyName, Standby>,
    /// Who may be promoted, as the CIB has it.
    pub claim: Claim,
    /// Members of the claim whose own data status says otherwise: they were away, or do not believe
    /// their grant (R9).
    pub doubts: BTreeSet<StandbyName>,
    /// Standbys that are connected and do not answer.
    pub silent: BTreeSet<StandbyName>,
    /// Nodes under whose name somebody else is connected, whether they are themselves or not: what is confirmed under that name proves
    /// nothing about the node.
    pub impostors: BTreeSet<StandbyName>,
    pub lock: Lock,
    /// The cluster as corosync has it; `None` where it could not be read.
    pub partition: Option<Partition>,
    /// Each node whose own copy of the CIB was read after that, and who may be promoted by it. Nodes
    /// that gave no answer are not in it.
    pub copies: BTreeMap<StandbyName, BTreeSet<StandbyName>>,
    /// Revocations written to the CIB and confirmed, with what was seen then.
    pub revoked: BTreeMap<StandbyName, Revocation>,
    /// Standbys that an operator wants to be eligible, too (`RSC-wanted`). Never more than a preference.
    pub requested: BTreeSet<StandbyName>,
    /// Who is rather waited for, and who not.
    pub wishes: Wishes,
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
    /// Whether the agent names those who must confirm, or PostgreSQL takes whoever is first (sync_method).
    pub method: sync_names::Method,
    /// How many must confirm, where there are as many (sync_num).
    pub count: usize,
}

/// The lock outside the cluster, as this call found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// None is configured, or one that only says who holds it.
    Unused,
    /// Mine, confirmed by this call; who else may take it, by its own record.
    Held { eligible: BTreeSet<StandbyName> },
    /// Every node was asked and none reaches it: nobody can take it either.
    Dead,
    /// Not known to be mine. Whoever holds it may be promoting.
    Unsure,
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
        /// A member, by the CIB.
        present: bool,
        /// Down for certain, by the CIB: it was fenced or stopped in order, and fencing is enabled.
        fenced: bool,
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
    /// Record in the CIB that these may be promoted.
    Grant(BTreeSet<StandbyName>),
    /// Commits go on waiting.
    Hold(Hold),
}

impl Step {
    /// Whether it may be another step when the copies of the CIB have been read.
    #[must_use]
    pub fn asks_for_copies(&self) -> bool {
        matches!(
            self,
            Self::Hold(Hold::Settling { .. } | Hold::NotSpread { .. })
        )
    }
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
    /// The settle time is over, and whoever has to know of the revocation has not been seen to have it.
    NotSpread { standby: StandbyName },
    /// corosync's timing could not be read, so nobody knows when it is early.
    NoSettleTime,
    /// Somebody else may be promoting right now.
    NoQuorum,
    /// The standby is out of reach, and nothing keeps the other side from promoting it.
    NoArbiter { standby: StandbyName },
    /// The standby's node is down, and would be promoted if it started alone.
    StartsAlone { standby: StandbyName },
    /// The lock may be somebody else's by now.
    LockUnsure,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("no standby streams, and sync_strict=true: commits wait"),
            Self::Unknown => f.write_str("corosync's state could not be read: commits go on waiting"),
            Self::Settling { standby, remaining } => {
                write!(f, "{standby} does not stream; quorum must hold for {:.1} s more before commits stop waiting for it", remaining.as_secs_f32())
            }
            Self::NotSpread { standby } => {
                write!(f, "{standby} does not stream, and that it may not be promoted is in neither its own copy of the CIB nor those of a majority yet: commits go on waiting (what the nodes send each other is lost, or Pacemaker does not run or hangs on one)")
            }
            Self::NoSettleTime => f.write_str("corosync's timing could not be read (set settle_time): commits go on waiting"),
            Self::NoQuorum => f.write_str("this node's partition has no quorum, another may be promoting: commits go on waiting"),
            Self::NoArbiter { standby } => {
                write!(f, "{standby} is out of reach, and with two votes neither side can prove it is alone: commits go on waiting (add a lock service, a third vote, a quorum device or fencing, or set unsafe_relax=true)")
            }
            Self::StartsAlone { standby } => {
                write!(f, "{standby}'s node is down, but if it starts while this node is off it acts alone, and by its own CIB it may be promoted: commits go on waiting (remove wait_for_all: 0 from corosync.conf and set no-quorum-policy=stop, or add a lock service, a third vote or a quorum device)")
            }
            Self::LockUnsure => f.write_str("the lock could not be renewed, another node may have taken it: commits go on waiting"),
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
    claim: &Claim,
    others: impl IntoIterator<Item = StandbyName>,
) -> SyncNames {
    if !is_recorded_primary || claim.is_empty() {
        return SyncNames::any_one(others);
    }
    if claim.is_of_each() {
        SyncNames::all(claim.members.iter().cloned())
    } else {
        SyncNames::any(claim.count, claim.members.iter().cloned())
    }
}

/// What stays claimed when this node becomes the primary by `method`: at a restart what every commit
/// keeps true from the first one on; at a promotion nothing.
#[must_use]
pub fn kept_at_promotion(method: Method, in_force: &SyncNames, claim: &Claim) -> Claim {
    match method {
        Method::NewTimeline => Claim::nothing(),
        Method::SameTimeline => {
            if claim.is_kept_by(in_force, &BTreeSet::new()) {
                return claim.clone();
            }
            let members = in_force.certain().unwrap_or_default();
            let lost = claim.members.difference(&members).cloned().collect();
            if claim.is_of_each() {
                claim.without(&lost)
            } else {
                Claim::nothing()
            }
        }
    }
}

/// Decides the next steps. Called again until it returns nothing to do.
#[must_use]
pub fn next(facts: &Facts) -> Vec<Step> {
    // The setting was edited by hand, or an agent died between two steps: every commit from here on
    // may be missing where the CIB or the lock says that none is.
    let strays = strays(facts);
    if !strays.is_empty() {
        return vec![Step::Revoke(strays)];
    }
    let wanted = wanted(facts);
    if is_same(&facts.in_force, &wanted) {
        let proven = newly_proven(facts);
        let step = if !proven.is_empty() {
            Some(Step::Grant(proven))
        } else if is_misnamed(facts, &wanted) {
            Some(Step::Contract(wanted))
        } else {
            None
        };
        return step.into_iter().collect();
    }
    let is_alone = wanted == SyncNames::Nobody;
    if is_alone && facts.options.strict {
        return vec![Step::Hold(Hold::Strict)];
    }

    // Whoever commits no longer wait for must be out of the claim, for certain.
    let dropped: BTreeSet<_> = dropped(facts, &wanted)
        .into_iter()
        .filter(|name| can_be_promoted(facts, name))
        .collect();
    // While nothing can make it certain, commits wait, and who they wait for stays eligible: it
    // has every acknowledged commit.
    if let Some(hold) = dropped.iter().find_map(|name| obstacle(facts, name)) {
        return vec![Step::Hold(hold)];
    }
    let unrevoked: BTreeSet<_> = dropped
        .iter()
        .filter(|name| facts.claim.members.contains(*name) || !is_noted(facts, name))
        .cloned()
        .collect();
    if !unrevoked.is_empty() {
        return vec![Step::Revoke(unrevoked)];
    }
    // To be alone is no change of standbys but the loss of the last one: the settle time is also
    // the time in which one may come back, as all do after a promotion.
    let haste = if is_alone {
        Haste::Settle
    } else {
        Haste::Known
    };
    match dropped.iter().find_map(|name| settling(facts, name, haste)) {
        Some(hold) => vec![Step::Hold(hold)],
        None => vec![Step::Contract(wanted)],
    }
}

/// The nodes that may be promoted at all, whatever is certain about them.
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

/// Who is in the claim although the contract in force does not keep it.
fn strays(facts: &Facts) -> BTreeSet<StandbyName> {
    let everybody = nodes(facts);
    let mut strays = BTreeSet::new();
    if !facts.claim.is_kept_by(&facts.in_force, &everybody) {
        let members = &facts.claim.members;
        strays = match facts.in_force.certain() {
            Some(kept) if facts.claim.is_of_each() => members.difference(&kept).cloned().collect(),
            _ => members.clone(),
        };
    }
    // Commits may be acknowledged by the other one.
    let members = &facts.claim.members;
    if !members.is_disjoint(&facts.impostors) {
        if facts.claim.is_of_each() {
            strays.extend(members.intersection(&facts.impostors).cloned());
        } else {
            strays.extend(members.iter().cloned());
        }
    }
    if let Lock::Held { eligible } = &facts.lock {
        let named = facts.in_force.named(&everybody);
        strays.extend(eligible.difference(&named).cloned());
        strays.extend(eligible.intersection(&facts.impostors).cloned());
    }
    strays
}

/// Whether two contracts let commits wait for the same.
fn is_same(a: &SyncNames, b: &SyncNames) -> bool {
    // Where all are waited for, the method makes no difference.
    a == b || (a.certain().is_some() && a.certain() == b.certain())
}

/// Whether everything is as it should be but for what PostgreSQL calls it. A server begins with ANY 1 of the others, which of one
/// is that one; but its sync_state says quorum then, and so would the attributes, by which the readers' address is
/// placed. Last of all, since a changed contract has to be proven anew before anybody is granted by it.
fn is_misnamed(facts: &Facts, wanted: &SyncNames) -> bool {
    let is_claimed = facts.in_force.certain() == Some(facts.claim.members.clone());
    is_claimed && facts.in_force.method() != wanted.method()
}

/// Who joins the claim: the contract with them is in force, and they have caught up (R2).
fn newly_proven(facts: &Facts) -> BTreeSet<StandbyName> {
    if facts.lock == Lock::Unsure {
        return BTreeSet::new();
    }
    let is_recorded = |name: &StandbyName| {
        if facts.doubts.contains(name) && is_proven(facts, name) {
            return false;
        }
        let by_lock = match &facts.lock {
            Lock::Held { eligible } => eligible.contains(name),
            Lock::Unused | Lock::Dead | Lock::Unsure => true,
        };
        facts.claim.members.contains(name) && by_lock
    };
    if let Some(members) = facts.in_force.certain() {
        // To be one of those among whom somebody has everything is less.
        let is_claimed = |name: &StandbyName| facts.claim.is_of_each() && is_recorded(name);
        let is_new = |name: &StandbyName| !is_claimed(name) && is_proven(facts, name);
        return members.into_iter().filter(is_new).collect();
    }
    // What was acknowledged before the contract is on as many as have caught up; what is
    // acknowledged since, on as many as it asks for.
    let everybody = nodes(facts);
    let whole = Claim::made_by(&facts.in_force, &everybody);
    if !whole.members.is_disjoint(&facts.impostors) {
        return BTreeSet::new();
    }
    let proven = whole.members.iter().filter(|name| is_proven(facts, name));
    let is_enough = proven.count() >= whole.count;
    let is_known = facts.claim == whole && whole.members.iter().all(is_recorded);
    if is_enough && !is_known {
        whole.members
    } else {
        BTreeSet::new()
    }
}

/// Who may be promoted once `granted` are: the record then names the contract in force.
#[must_use]
pub fn eligible_after_grant(
    facts: &Facts,
    granted: &BTreeSet<StandbyName>,
) -> BTreeSet<StandbyName> {
    match facts.in_force.certain() {
        Some(members) if facts.claim.is_of_each() => {
            let all = facts.claim.members.union(granted);
            all.filter(|name| members.contains(*name))
                .cloned()
                .collect()
        }
        Some(_) | None => granted.clone(),
    }
}

/// Who has to leave the claim before `wanted` may take the place of the contract in force.
fn dropped(facts: &Facts, wanted: &SyncNames) -> BTreeSet<StandbyName> {
    let everybody = nodes(facts);
    let whole = Claim::made_by(&facts.in_force, &everybody);
    if whole.is_kept_by(wanted, &everybody) {
        return BTreeSet::new();
    }
    match (facts.in_force.certain(), wanted.certain()) {
        (Some(members), Some(kept)) => members.difference(&kept).cloned().collect(),
        // Where PostgreSQL chose, anybody may have been granted before.
        (None, Some(kept)) if kept.is_empty() => whole.members.union(&everybody).cloned().collect(),
        (_, _) => whole.members,
    }
}

/// Whether it streams, and a commit may wait for it. PostgreSQL says so of one whose machine lost power until
/// wal_sender_timeout; where corosync has seen it go, and it does not answer, nobody has to wait for that.
#[must_use]
pub fn is_streaming(facts: &Facts, name: &str) -> bool {
    let link = facts.standbys.get(name).and_then(|s| s.link);
    let is_connected = link.is_some_and(|l| l.state == SenderState::Streaming);
    is_connected && !is_gone(facts, name) && !facts.impostors.contains(name)
}

fn is_gone(facts: &Facts, name: &str) -> bool {
    facts.silent.contains(name) && has_left(facts.partition.as_ref(), name)
}

fn keeps_up(facts: &Facts, name: &str) -> bool {
    let link = facts.standbys.get(name).and_then(|s| s.link);
    is_streaming(facts, name) && link.is_some_and(|l| l.keeps_up)
}

fn is_proven(facts: &Facts, name: &str) -> bool {
    let Some(standby) = facts.standbys.get(name) else {
        return false;
    };
    // The setting with it has reached the process that sends to it.
    let counts = |l: Link| matches!(l.sync, SyncState::Sync | SyncState::Quorum);
    let proven = |l: Link| l.state == SenderState::Streaming && counts(l) && l.caught_up;
    // What it has flushed is no use where it would not be there after a promotion.
    !facts.wishes.held.contains(name)
        && !facts.impostors.contains(name)
        && matches!(standby.place, Place::Node { .. })
        && standby.link.is_some_and(proven)
}

/// What commits should wait for.
fn wanted(facts: &Facts) -> SyncNames {
    let mut everybody = nodes(facts);
    everybody.retain(|name| !facts.impostors.contains(name));
    let members = match facts.options.method {
        sync_names::Method::First => facts.in_force.certain().unwrap_or_default(),
        sync_names::Method::Any => facts.in_force.named(&everybody),
    };
    // Whoever is waited for stays while it streams: changing the contract costs a pause.
    let is_kept = |name: &&StandbyName| members.contains(*name) && is_streaming(facts, name);
    let kept = facts.standbys.keys().filter(is_kept);
    let is_joining = |name: &&StandbyName| !is_kept(name) && keeps_up(facts, name);
    let joining = facts.standbys.keys().filter(is_joining);
    let available = kept.chain(joining).cloned();
    if facts.options.everyone {
        let mut all: Vec<_> = available.filter(|name| is_allowed(facts, name)).collect();
        all.sort();
        return SyncNames::all(all);
    }
    let available: Vec<Available> = available
        .filter(|name| can_be_promoted(facts, name))
        .map(|name| Available {
            is_waited_for: members.contains(&name),
            is_granted: facts.claim.is_of_each() && facts.claim.members.contains(&name),
            name,
        })
        .collect();
    let (wishes, count) = (&facts.wishes, facts.options.count);
    match facts.options.method {
        sync_names::Method::First => {
            let mut members = waited_for::named(&available, wishes, count);
            // Who is asked for joins those who are there, by the same rules, and takes nobody's place: until it has caught up
            // the others stay eligible, and nobody has to be revoked for it.
            let names = available.into_iter().map(|one| one.name);
            let is_asked_for =
                |name: &StandbyName| facts.requested.contains(name) && wishes.allow(name);
            members.extend(names.filter(is_asked_for));
            SyncNames::all(members)
        }
        // One that comes and goes changes nothing.
        sync_names::Method::Any => {
            let allowed = available.iter().filter(|one| wishes.allow(&one.name));
            let count = allowed.count().min(count);
            if count == 0 {
                return SyncNames::Nobody;
            }
            SyncNames::any(
                count,
                waited_for::listed(&everybody, &available, wishes, count),
            )
        }
    }
}

/// Whether commits may ever wait for a standby.
#[must_use]
pub fn is_allowed(facts: &Facts, name: &StandbyName) -> bool {
    !can_be_promoted(facts, name) || facts.wishes.allow(name)
}

/// R1 (a) to (d): what keeps it from ever being certain that `name` can't be promoted elsewhere.
fn obstacle(facts: &Facts, name: &str) -> Option<Hold> {
    if facts.options.unsafe_relax {
        return None;
    }
    let by_quorum_alone = match facts.lock {
        // (a): the lock's own record is the last word.
        Lock::Held { .. } => return None,
        Lock::Unsure => return Some(Hold::LockUnsure),
        Lock::Dead => false,
        Lock::Unused => true,
    };
    let Some(partition) = &facts.partition else {
        return Some(Hold::Unknown);
    };
    if !partition.quorate {
        return Some(Hold::NoQuorum);
    }
    let standby = name.to_owned();
    match ground(partition, name, recorded(facts, name), by_quorum_alone) {
        Ok(Ground::Here | Ground::Outvoted) if partition.settle.is_none() => {
            Some(Hold::NoSettleTime)
        }
        Ok(_) => None,
        Err(NoGround::OutOfReach) => Some(Hold::NoArbiter { standby }),
        Err(NoGround::StartsAlone) => Some(Hold::StartsAlone { standby }),
    }
}

/// A name that nobody knows is neither here nor down.
fn recorded(facts: &Facts, name: &str) -> Recorded {
    match facts.standbys.get(name).map(|s| s.place) {
        Some(Place::Node { present, fenced }) => Recorded { present, fenced },
        Some(Place::Outside) | None => Recorded {
            present: false,
            fenced: false,
        },
    }
}

/// Whether a revocation of `name` was made that something can be concluded from.
fn is_noted(facts: &Facts, name: &str) -> bool {
    match &facts.lock {
        Lock::Held { eligible } => !eligible.contains(name),
        // A note of when is what the settle time is counted from; unsafe_relax counts nothing.
        Lock::Unused | Lock::Dead | Lock::Unsure => {
            facts.options.unsafe_relax || facts.revoked.contains_key(name)
        }
    }
}

/// Whether seen copies of the CIB make the settle time needless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    Known,
    Settle,
}

/// How long quorum and membership must still hold before a revocation can be believed.
fn settling(facts: &Facts, name: &str, haste: Haste) -> Option<Hold> {
    if facts.options.unsafe_relax || matches!(facts.lock, Lock::Held { .. }) {
        return None;
    }
    let partition = facts.partition.as_ref()?;
    let ground = ground(partition, name, recorded(facts, name), true);
    let is_known = is_known_to_be_out(facts, partition, name);
    let standby = name.to_owned();
    // It is off now, and nothing has to settle. When it starts, it meets somebody: with two votes this node, which waits for all as it
    // does. With more another, who must have the revocation then, though this node may be lost by that time.
    if ground == Ok(Ground::Down) {
        let is_told = !partition.outvotes() || is_known || !partition.copies_are_votes();
        return (!is_told).then_some(Hold::NotSpread { standby });
    }
    if haste == Haste::Known && is_known {
        return None;
    }
    let settle = partition.settle?;
    let remaining = match facts.revoked.get(name) {
        // A note of another membership, or from the future: then of an earlier boot.
        Some(note) if note.ring != partition.ring || note.at > partition.now => settle,
        Some(note) => (note.at + settle).saturating_sub(partition.now),
        None => settle,
    };
    if !remaining.is_zero() {
        return Some(Hold::Settling { standby, remaining });
    }
    // That a write was confirmed here, and the ring has stood since, does not show that others have it: the token is small,
    // and passes where what is larger is lost; and corosync runs where Pacemaker does not.
    let is_shown = is_known || ground == Ok(Ground::Outvoted) && !partition.copies_are_votes();
    (!is_shown).then_some(Hold::NotSpread { standby })
}

/// R1 (e): no waiting where the copies themselves were seen. Either `name`'s own node has the
/// revocation, and refuses by it; or a majority of all votes has it, so that every partition that
/// could promote holds a node that has it, and its CIB, with the raised admin_epoch, is the one that
/// stays.
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
        && informed * 2 > partition.voters.max(partition.nodes)
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

    /// A standby, and whether the CIB says that it may be promoted.
    type Seen = (Standby, bool);

    fn node(eligible: bool, link: Option<Link>) -> Seen {
        let place = Place::Node {
            present: true,
            fenced: false,
        };
        (Standby { place, link }, eligible)
    }

    fn absent(eligible: bool) -> Seen {
        let place = Place::Node {
            present: false,
            fenced: false,
        };
        (Standby { place, link: None }, eligible)
    }

    fn outside(link: Option<Link>) -> Seen {
        let place = Place::Outside;
        (Standby { place, link }, false)
    }

    fn put(facts: &mut Facts, name: &str, (standby, eligible): Seen) {
        if let (Some(partition), Place::Node { present, .. }) =
            (&mut facts.partition, standby.place)
        {
            partition.members.insert(name.to_owned(), present);
        }
        facts.standbys.insert(name.to_owned(), standby);
        facts.claim.members.remove(name);
        if eligible {
            facts.claim.members.insert(name.to_owned());
        }
        facts.claim.count = facts.claim.members.len();
    }

    /// Three nodes, all present and quorate, ten seconds after everything settled.
    fn facts(in_force: &str, standbys: &[(&str, Seen)]) -> Facts {
        let mut facts = Facts {
            in_force: in_force.parse().unwrap(),
            standbys: BTreeMap::new(),
            claim: Claim::nothing(),
            doubts: BTreeSet::new(),
            silent: BTreeSet::new(),
            impostors: BTreeSet::new(),
            lock: Lock::Unused,
            partition: Some(Partition {
                quorate: true,
                ring: "1.4".to_owned(),
                members: BTreeMap::new(),
                voters: 3,
                votes: 3,
                nodes: 3,
                one_vote_each: true,
                has_device: false,
                has_missed: false,
                waits_for_all: false,
                others_stop_without_quorum: true,
                now: S(100),
                settle: Some(S(7)),
            }),
            copies: BTreeMap::new(),
            revoked: BTreeMap::new(),
            requested: BTreeSet::new(),
            wishes: Wishes::default(),
            options: Options {
                strict: false,
                unsafe_relax: false,
                everyone: false,
                method: sync_names::Method::First,
                count: 1,
            },
        };
        for (name, seen) in standbys {
            put(&mut facts, name, seen.clone());
        }
        facts
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

    /// Every member's own copy of the CIB has the revocations.
    fn spread(mut facts: Facts) -> Facts {
        let members = facts.partition.iter().flat_map(|p| &p.members);
        let here = members
            .filter(|(_, is_here)| **is_here)
            .map(|(name, _)| name.clone());
        let all = here.chain(["node1".to_owned()]);
        facts.copies = all.map(|name| (name, BTreeSet::new())).collect();
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
        vec![Step::Grant(set(&[name]))]
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
    fn a_contract_is_called_by_the_method_once_everybody_is_granted() {
        let initial = "ANY 1 (node2)";
        let with = |two: Seen, method| {
            let mut facts = facts(initial, &[("node2", two)]);
            facts.options.method = method;
            next(&facts)
        };
        use sync_names::Method::{Any, First};
        assert_eq!(with(node(false, QUORUM), First), grant("node2"));
        assert_eq!(with(node(true, QUORUM), First), contract("node2"));
        assert_eq!(with(node(true, QUORUM), Any), vec![]);
        // Not proven yet: another contract would have to be proven from its own beginning.
        let lagging = QUORUM.map(|link| Link {
            caught_up: false,
            ..link
        });
        assert_eq!(with(node(false, lagging), First), vec![]);
        let mut named = facts("node2", &[("node2", node(true, SYNC))]);
        named.options.method = Any;
        assert_eq!(next(&named), contract(initial));
        named.options.method = First;
        assert_eq!(next(&named), vec![]);
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
        let unknown = Hold::NotSpread {
            standby: "node2".to_owned(),
        };
        assert_eq!(hold(&settled), unknown);
        assert_eq!(next(&spread(settled)), contract("node3"));
        let nobody = [("node2", node(false, None)), ("node3", node(false, None))];
        let nobody = revoked(facts("node2", &nobody), "node2", S(93));
        assert_eq!(hold(&nobody), unknown);
        assert_eq!(next(&spread(nobody)), contract(""));
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
            next(&spread(settled())),
            contract("node3"),
            "the base case is certain"
        );
        // Its node is outside, so its own copy says nothing; and Pacemaker does not run on node3, or its CIB is late.
        let unknown = Hold::NotSpread {
            standby: "node2".to_owned(),
        };
        assert_eq!(hold(&settled()), unknown);
        let mut late = spread(settled());
        late.copies.insert("node3".to_owned(), set(&["node2"]));
        assert_eq!(hold(&late), unknown);
        // Where votes are no copies there is nothing but the time.
        for change in [
            |p: &mut Partition| p.has_device = true,
            |p: &mut Partition| {
                p.one_vote_each = false;
            },
        ] {
            assert_eq!(next(&partition(settled(), change)), contract("node3"));
        }

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
        // Corosync expects fewer once nodes have left (last_man_standing), or were told to be gone.
        let shrunk = partition(copies(early(), both), |p| {
            (p.voters, p.nodes) = (3, 5);
        });
        assert!(!is_certain(&shrunk), "two of five, whoever is expected");
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
            next(&spread(two(node(false, None)))),
            contract(""),
            "R1 (b): the CIB write reached it"
        );
        let unknown = Hold::NotSpread {
            standby: "node2".to_owned(),
        };
        assert_eq!(hold(&two(node(false, None))), unknown, "it is not known to");
        // A device's vote does not say what a member's copy has.
        let device = partition(two(node(false, None)), |p| p.has_device = true);
        assert_eq!(hold(&device), unknown);
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
            put(&mut allowed, "node2", absent(false));
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
        put(&mut lost, "node3", node(false, STREAMING));
        assert_eq!(next(&spread(lost)), contract("node3"));
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
            hold(&spread(noted)),
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
        assert_eq!(next(&spread(settled)), contract(""));
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
            let got = at_start(recorded, &Claim::each_of(eligible.clone()), others());
            assert_eq!(got, expected.parse().unwrap(), "{recorded} {eligible:?}");
        }
        assert_eq!(at_start(false, &Claim::nothing(), []), SyncNames::Nobody);
    }

    #[test]
    fn a_restarted_primary_by_quorum_waits_for_as_many_of_the_same() {
        let claim = Claim::some_of(1, set(&["node2", "node3"]));
        let others = || ["node2".to_owned(), "node3".to_owned(), "node4".to_owned()];
        let got = at_start(true, &claim, others());
        assert_eq!(got, "ANY 1 (node2, node3)".parse().unwrap());
        assert_eq!(kept_at_promotion(Method::SameTimeline, &got, &claim), claim);
        let other = "ANY 1 (node2, node3, node4)".parse().unwrap();
        assert!(kept_at_promotion(Method::SameTimeline, &other, &claim).is_empty());
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
            let claim = Claim::each_of(set(&["node3"]));
            let got = kept_at_promotion(method, &in_force.parse().unwrap(), &claim);
            assert_eq!(got, Claim::each_of(expected), "{method:?} {in_force}");
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
        let everyone = |in_force: &str, standbys: &[(&str, Seen)]| {
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

    const QUORUM: Option<Link> = Some(Link {
        state: SenderState::Streaming,
        sync: SyncState::Quorum,
        keeps_up: true,
        caught_up: true,
    });

    fn by_quorum(in_force: &str, claim: &[&str], standbys: &[(&str, Seen)]) -> Facts {
        let mut facts = facts(in_force, standbys);
        facts.options.method = sync_names::Method::Any;
        facts.claim = Claim::some_of(in_force.parse::<SyncNames>().unwrap().count(), set(claim));
        facts
    }

    #[test]
    fn with_quorum_commit_a_lost_standby_changes_nothing() {
        let any = "ANY 1 (node2, node3)";
        let nobody = node(false, None);
        let link = |l| node(false, l);
        let both = ["node2", "node3"];
        for (in_force, claim, two, three, expected) in [
            // A new primary: as soon as one has caught up, somebody among them has everything.
            (any, &[][..], link(None), link(None), revoke(&both)),
            (any, &[], link(STREAMING), link(None), vec![]),
            (
                any,
                &[],
                link(QUORUM),
                link(None),
                vec![Step::Grant(set(&both))],
            ),
            (any, &both, link(QUORUM), link(QUORUM), vec![]),
            (any, &both, link(QUORUM), link(None), vec![]),
            (any, &both, link(QUORUM), absent(false), vec![]),
            (any, &both, link(CATCHUP), link(QUORUM), vec![]),
            // The last one is lost: revoke all, and only then be alone.
            (any, &both, link(None), link(None), revoke(&both)),
            (any, &both, nobody.clone(), absent(false), revoke(&both)),
            // Alone, and one comes back.
            (
                "",
                &[],
                link(STREAMING),
                link(None),
                vec![Step::Contract(any.parse().unwrap())],
            ),
            ("", &[], link(CATCHUP), link(None), vec![]),
            // The setting was edited.
            ("node2", &both, link(SYNC), link(QUORUM), revoke(&["node2"])),
            ("", &both, link(SYNC), link(QUORUM), revoke(&both)),
        ] {
            let mut facts = by_quorum(in_force, claim, &[("node2", two), ("node3", three)]);
            if !claim.is_empty() {
                facts.claim = Claim::some_of(1, set(claim));
            }
            assert_eq!(next(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn nobody_waits_for_a_machine_that_has_left_and_does_not_answer() {
        let lost = |link| {
            let (mut standby, eligible) = node(true, link);
            standby.place = Place::Node {
                present: false,
                fenced: false,
            };
            (standby, eligible)
        };
        let three = ("node3", node(false, STREAMING));
        let silent = |mut facts: Facts| {
            facts.silent = set(&["node2"]);
            facts
        };
        let gone = facts("node2", &[("node2", lost(SYNC)), three.clone()]);
        assert_eq!(next(&gone), vec![], "it has left corosync, and answers");
        let gone = silent(gone);
        assert_eq!(next(&gone), revoke(&["node2"]));
        let mut out = revoked(gone.clone(), "node2", S(50));
        out.claim = Claim::nothing();
        assert_eq!(
            next(&spread(out.clone())),
            contract("node3"),
            "after the settle time"
        );
        let early = revoked(out.clone(), "node2", S(95));
        assert!(matches!(hold(&early), Hold::Settling { .. }));
        // It hangs, or its line is slow; or corosync was not asked, or has no list.
        let here = silent(facts("node2", &[("node2", node(true, SYNC)), three]));
        assert_eq!(next(&here), vec![]);
        let mut unasked = gone.clone();
        unasked.partition = None;
        assert_eq!(next(&unasked), vec![]);
        let unlisted = partition(gone, |p| p.members.clear());
        assert_eq!(next(&unlisted), vec![]);
        // One outside of the cluster is none of corosync's.
        let mut away = silent(facts("node2", &[("node2", outside(SYNC))]));
        away.options.everyone = true;
        assert_eq!(next(&away), vec![]);
    }

    #[test]
    fn with_quorum_commit_others_count_for_a_machine_that_has_left() {
        let any = "ANY 1 (node2, node3)";
        let both = ["node2", "node3"];
        let standbys = [("node2", absent(false)), ("node3", node(false, QUORUM))];
        let mut facts = by_quorum(any, &both, &standbys);
        facts.standbys.get_mut("node2").unwrap().link = QUORUM;
        facts.silent = set(&["node2"]);
        assert_eq!(next(&facts), vec![]);
        // Both are gone: nobody is left to wait for.
        put(&mut facts, "node3", absent(false));
        facts.standbys.get_mut("node3").unwrap().link = QUORUM;
        facts.silent = set(&both);
        facts.claim = Claim::some_of(1, set(&both));
        assert_eq!(next(&facts), revoke(&both));
    }

    #[test]
    fn who_doubts_its_grant_is_granted_anew() {
        let any = "ANY 1 (node2, node3)";
        let both = ["node2", "node3"];
        let streaming = [("node2", node(false, QUORUM)), ("node3", node(false, None))];
        let mut facts = by_quorum(any, &both, &streaming);
        facts.doubts = set(&["node3"]);
        assert_eq!(next(&facts), vec![], "it is away");
        facts.doubts = set(&["node2"]);
        assert_eq!(next(&facts), vec![Step::Grant(set(&both))]);
    }

    #[test]
    fn a_grant_adds_to_those_for_whom_commits_wait() {
        let seen = [("node2", node(true, SYNC)), ("node3", node(false, SYNC))];
        let both = facts("FIRST 2 (node2, node3)", &seen);
        assert_eq!(
            eligible_after_grant(&both, &set(&["node3"])),
            set(&["node2", "node3"])
        );
        let one = facts("node3", &seen);
        assert_eq!(
            eligible_after_grant(&one, &set(&["node3"])),
            set(&["node3"])
        );
        // Until now one of both had everything.
        let mut quorum = facts("node3", &seen);
        quorum.claim = Claim::some_of(1, set(&["node2", "node3"]));
        assert_eq!(next(&quorum), grant("node3"));
        assert_eq!(
            eligible_after_grant(&quorum, &set(&["node3"])),
            set(&["node3"])
        );
    }

    #[test]
    fn a_quorum_of_two_needs_two_that_have_caught_up_and_shrinks_by_revocation() {
        let link = |l| node(false, l);
        let two = |in_force: &str, claim: &[&str], links: [Option<Link>; 3]| {
            let [b, c, d] = links.map(link);
            let mut facts = by_quorum(in_force, claim, &[("node2", b), ("node3", c), ("node4", d)]);
            facts.options.count = 2;
            next(&facts)
        };
        let any1 = "ANY 1 (node2, node3, node4)";
        let any2 = "ANY 2 (node2, node3, node4)";
        let all = ["node2", "node3", "node4"];
        let contract = |text: &str| vec![Step::Contract(text.parse().unwrap())];
        assert_eq!(two(any1, &[], [QUORUM, QUORUM, None]), contract(any2));
        assert_eq!(two(any2, &[], [QUORUM, LAGGING, None]), vec![]);
        assert_eq!(
            two(any2, &[], [QUORUM, QUORUM, None]),
            vec![Step::Grant(set(&all))]
        );
        assert_eq!(two(any2, &all, [QUORUM, QUORUM, None]), vec![]);
        assert_eq!(two(any2, &all, [QUORUM, None, None]), revoke(&all));
    }

    #[test]
    fn whoever_has_a_nodes_name_proves_nothing_about_the_node() {
        let with = |mut facts: Facts| {
            facts.impostors = set(&["node2"]);
            facts
        };
        // It was granted, and the other one may confirm in its place: out of the claim at once, whether it streams itself or not, and
        // whether anything can be certain about it.
        for two in [node(true, SYNC), node(true, None), absent(true)] {
            let facts = facts(
                "node2",
                &[("node2", two), ("node3", node(false, STREAMING))],
            );
            assert_eq!(next(&with(facts)), revoke(&["node2"]));
        }
        // Then commits wait for one who is nobody else.
        let both = [
            ("node2", node(false, SYNC)),
            ("node3", node(false, STREAMING)),
        ];
        let revoked = spread(revoked(facts("node2", &both), "node2", S(50)));
        assert_eq!(next(&with(revoked)), contract("node3"));
        // It is not granted, and joins no contract.
        assert_eq!(
            next(&with(facts("node2", &[("node2", node(false, SYNC))]))),
            revoke(&["node2"])
        );
        let alone = facts("", &[("node2", node(false, STREAMING))]);
        assert_eq!(next(&with(alone)), vec![]);
        // By quorum the name itself leaves the list: each that is in it may be the one that confirms.
        let any = "ANY 1 (node2, node3)";
        let streaming = [
            ("node2", node(false, QUORUM)),
            ("node3", node(false, QUORUM)),
        ];
        let claimed = by_quorum(any, &["node2", "node3"], &streaming);
        assert_eq!(next(&with(claimed)), revoke(&["node2", "node3"]));
        let free = by_quorum(any, &[], &streaming);
        assert!(
            !next(&with(free))
                .iter()
                .any(|step| matches!(step, Step::Grant(_)))
        );
        let only = by_quorum("node3", &[], &streaming);
        assert_eq!(next(&with(only)), grant("node3"));
        // The lock's own record, too.
        let mut locked = facts("node2", &[("node2", node(false, SYNC))]);
        locked.lock = Lock::Held {
            eligible: set(&["node2"]),
        };
        assert_eq!(next(&with(locked)), revoke(&["node2"]));
    }

    #[test]
    fn changing_the_method_leaves_nobody_eligible_in_between() {
        // From priority to quorum: a commit may from then on be on node3 alone.
        let streaming = [
            ("node2", node(true, SYNC)),
            ("node3", node(false, STREAMING)),
        ];
        let mut facts = facts("node2", &streaming);
        facts.options.method = sync_names::Method::Any;
        assert_eq!(next(&facts), revoke(&["node2"]));
        // And back: whoever waits for node2 keeps "one of both" true.
        let both = ["node2", "node3"];
        let streaming = [
            ("node2", node(false, QUORUM)),
            ("node3", node(false, QUORUM)),
        ];
        let mut facts = by_quorum("ANY 1 (node2, node3)", &both, &streaming);
        facts.options.method = sync_names::Method::First;
        assert_eq!(next(&facts), contract("node2"));
    }

    #[test]
    fn with_the_lock_a_revocation_in_its_record_is_certain_at_once() {
        let two = |lock: Lock, eligible: bool| {
            let mut facts = facts("node2", &[("node2", absent(eligible))]);
            facts.partition = None;
            facts.lock = lock;
            facts
        };
        let held = |names: &[&str]| Lock::Held {
            eligible: set(names),
        };
        assert_eq!(next(&two(held(&["node2"]), true)), revoke(&["node2"]));
        assert_eq!(next(&two(held(&["node2"]), false)), revoke(&["node2"]));
        assert_eq!(next(&two(held(&[]), true)), revoke(&["node2"]));
        assert_eq!(next(&two(held(&[]), false)), contract(""), "R1 (a)");
        assert_eq!(hold(&two(Lock::Unsure, true)), Hold::LockUnsure);
        assert_eq!(hold(&two(Lock::Dead, true)), Hold::Unknown);
    }

    #[test]
    fn a_dead_lock_service_leaves_presence_and_fencing() {
        let dead = |seen: Seen| {
            let mut facts = revoked(facts("node2", &[("node2", seen)]), "node2", S(50));
            facts.lock = Lock::Dead;
            facts
        };
        assert_eq!(
            next(&spread(dead(node(false, None)))),
            contract(""),
            "R1 (b)"
        );
        let outvoted = Hold::NoArbiter {
            standby: "node2".to_owned(),
        };
        assert_eq!(hold(&dead(absent(false))), outvoted, "not (c)");
        let (mut standby, eligible) = absent(false);
        standby.place = Place::Node {
            present: false,
            fenced: true,
        };
        let mut fenced = spread(dead((standby, eligible)));
        fenced.copies.insert("node3".to_owned(), BTreeSet::new());
        assert_eq!(next(&fenced), contract(""), "R1 (d)");
    }

    #[test]
    fn of_three_a_fenced_node_finds_somebody_who_has_the_revocation() {
        let (mut standby, _) = absent(false);
        standby.place = Place::Node {
            present: false,
            fenced: true,
        };
        let fenced = facts(
            "node2",
            &[("node2", (standby, false)), ("node3", node(false, None))],
        );
        let copies = |names: &[&str]| {
            let mut facts = revoked(fenced.clone(), "node2", S(100));
            facts.copies = names
                .iter()
                .map(|name| ((*name).to_owned(), BTreeSet::new()))
                .collect();
            facts
        };
        // Confirmed here alone: what is larger does not get through. This node is lost, and the fenced one starts beside node3.
        for only in [&[][..], &["node1"]] {
            let standby = "node2".to_owned();
            assert_eq!(hold(&copies(only)), Hold::NotSpread { standby }, "{only:?}");
        }
        assert_eq!(next(&copies(&["node1", "node3"])), contract(""));
        // Copies are no votes: then the votes are all there is, as for one that is outvoted.
        let uneven = partition(copies(&["node1"]), |p| p.one_vote_each = false);
        assert_eq!(next(&uneven), contract(""));
    }

    #[test]
    fn a_fenced_node_needs_no_settle_time() {
        let (mut standby, _) = absent(false);
        standby.place = Place::Node {
            present: false,
            fenced: true,
        };
        let fenced = facts("node2", &[("node2", (standby, false))]);
        let fenced = partition(revoked(fenced, "node2", S(100)), |p| {
            p.voters = 2;
            p.waits_for_all = true;
            p.settle = None;
        });
        assert_eq!(next(&fenced), contract(""));
        // If this node is lost, too, and that one starts first, it goes by what it knew.
        let alone = partition(fenced, |p| p.waits_for_all = false);
        let standby = "node2".to_owned();
        assert_eq!(hold(&alone), Hold::StartsAlone { standby });
    }

    #[test]
    fn nobody_is_granted_while_the_lock_is_unsure_and_the_lock_is_told_too() {
        let streaming = |eligible| [("node2", node(eligible, SYNC))];
        let with = |lock: Lock, eligible| {
            let mut facts = facts("node2", &streaming(eligible));
            facts.lock = lock;
            next(&facts)
        };
        let held = |names: &[&str]| Lock::Held {
            eligible: set(names),
        };
        assert_eq!(with(Lock::Unsure, false), vec![]);
        assert_eq!(with(Lock::Dead, false), grant("node2"));
        assert_eq!(with(held(&[]), false), grant("node2"));
        assert_eq!(
            with(held(&[]), true),
            grant("node2"),
            "the lock's record was lost"
        );
        assert_eq!(with(held(&["node2"]), true), vec![]);
        // Somebody it names that commits do not wait for.
        assert_eq!(with(held(&["node2", "node3"]), true), revoke(&["node3"]));
    }

    #[test]
    fn who_is_asked_for_joins_and_nobody_leaves_for_it() {
        let asked = |in_force: &str, two: Seen, three: Seen, who: &str| {
            let mut facts = facts(in_force, &[("node2", two), ("node3", three)]);
            facts.requested = set(&[who]);
            next(&facts)
        };
        let (sync, streaming) = (node(true, SYNC), node(false, STREAMING));
        assert_eq!(
            asked("node2", sync.clone(), streaming.clone(), "node3"),
            contract("FIRST 2 (node2, node3)")
        );
        // In force, and it has caught up.
        let both = "FIRST 2 (node2, node3)";
        assert_eq!(
            asked(both, sync.clone(), node(false, SYNC), "node3"),
            grant("node3")
        );
        assert_eq!(asked(both, sync.clone(), node(true, SYNC), "node3"), vec![]);
        // Who can't keep up, does not stream, or is unknown holds no commit up.
        let slow = STREAMING.map(|link| Link {
            keeps_up: false,
            ..link
        });
        for three in [slow, CATCHUP, None] {
            assert_eq!(
                asked("node2", sync.clone(), node(false, three), "node3"),
                vec![]
            );
        }
        assert_eq!(
            asked("node2", sync.clone(), streaming.clone(), "nosuch"),
            vec![]
        );
        // Taken back: as without it, first out of the claim, then out of the contract.
        assert_eq!(
            asked(both, sync.clone(), node(true, SYNC), "nosuch"),
            revoke(&["node3"])
        );
        // It was there already.
        assert_eq!(asked("node2", sync, streaming, "node2"), vec![]);
        // Alone: whoever is asked for, and the first.
        let (two, three) = (node(false, STREAMING), node(false, STREAMING));
        assert_eq!(
            asked("", two, three, "node3"),
            contract("FIRST 2 (node2, node3)")
        );
        // With quorum commit all are in it anyway.
        let mut quorum = by_quorum(
            "ANY 1 (node2, node3)",
            &["node2", "node3"],
            &[
                ("node2", node(false, QUORUM)),
                ("node3", node(false, QUORUM)),
            ],
        );
        quorum.requested = set(&["node3"]);
        assert_eq!(next(&quorum), vec![]);
    }

    /// A standby that would not replay all it has still keeps a copy; whoever may be promoted is waited for before it.
    #[test]
    fn a_standby_that_is_held_up_is_not_granted_and_gives_way_to_one_that_is_not() {
        let with = |in_force: &str, two: Seen, three: Seen, held: &[&str]| {
            let mut facts = facts(in_force, &[("node2", two), ("node3", three)]);
            facts.wishes.held = set(held);
            next(&facts)
        };
        let (sync, streaming) = (node(true, SYNC), node(false, STREAMING));
        let gone = absent(false);
        for (what, in_force, two, three, held, expected) in [
            ("nobody", "node2", &sync, &streaming, &[][..], vec![]),
            (
                "the one that counts",
                "node2",
                &sync,
                &streaming,
                &["node2"],
                revoke(&["node2"]),
            ),
            ("the other", "node2", &sync, &streaming, &["node3"], vec![]),
            (
                "both",
                "node2",
                &sync,
                &streaming,
                &["node2", "node3"],
                vec![],
            ),
            // Rather it than nobody: what it has flushed outlives this machine.
            ("the only one", "node2", &sync, &gone, &["node2"], vec![]),
            (
                "the only one, new",
                "",
                &streaming,
                &gone,
                &["node2"],
                contract("node2"),
            ),
            (
                "the only one, not granted",
                "node2",
                &node(false, SYNC),
                &gone,
                &["node2"],
                vec![],
            ),
        ] {
            let got = with(in_force, two.clone(), three.clone(), held);
            assert_eq!(got, expected, "{what}");
        }
        let mut quorum = by_quorum(
            "ANY 1 (node2, node3)",
            &[],
            &[
                ("node2", node(false, QUORUM)),
                ("node3", node(false, LAGGING)),
            ],
        );
        assert_eq!(next(&quorum), vec![Step::Grant(set(&["node2", "node3"]))]);
        quorum.wishes.held = set(&["node2"]);
        assert_eq!(next(&quorum), vec![]);
    }

    /// A node that Pacemaker does not promote is not the one that commits wait for while another keeps up.
    #[test]
    fn a_barred_standby_gives_way_when_another_has_everything() {
        let with = |in_force: &str, two: Seen, three: Seen, barred: &[&str]| {
            let mut facts = facts(in_force, &[("node2", two), ("node3", three)]);
            facts.wishes.barred = set(barred);
            next(&facts)
        };
        let streaming = |eligible| node(eligible, STREAMING);
        let sync = |eligible| node(eligible, SYNC);
        let slow = STREAMING.map(|link| Link {
            keeps_up: false,
            ..link
        });
        let both = "FIRST 2 (node2, node3)";
        for (what, in_force, two, three, barred, expected) in [
            (
                "right after a promotion",
                "ANY 1 (node2, node3)",
                streaming(false),
                streaming(false),
                &["node2"][..],
                contract("node3"),
            ),
            (
                "the one that counts: another comes beside it",
                "node2",
                sync(true),
                streaming(false),
                &["node2"],
                contract(both),
            ),
            (
                "which is granted",
                both,
                sync(true),
                sync(false),
                &["node2"],
                grant("node3"),
            ),
            (
                "and then the other leaves",
                both,
                sync(true),
                sync(true),
                &["node2"],
                revoke(&["node2"]),
            ),
            (
                "nobody else keeps up",
                "node2",
                sync(true),
                node(false, slow),
                &["node2"],
                vec![],
            ),
            (
                "nobody else is there: it is granted, should the bar be lifted",
                "node2",
                sync(false),
                absent(false),
                &["node2"],
                grant("node2"),
            ),
            (
                "both are barred",
                "node2",
                sync(true),
                streaming(false),
                &["node2", "node3"],
                vec![],
            ),
        ] {
            assert_eq!(with(in_force, two, three, barred), expected, "{what}");
        }
    }

    /// Else the last commits may be on a node that nobody promotes.
    #[test]
    fn a_barred_standby_is_no_part_of_a_quorum_while_others_are_enough() {
        let links = [QUORUM, QUORUM, None];
        let any2 = "ANY 2 (node2, node3, node4)";
        let all = ["node2", "node3", "node4"];
        let with = |in_force: &str, claim: &[&str], links: [Option<Link>; 3], count| {
            let [b, c, d] = links.map(|link| node(false, link));
            let seen = [("node2", b), ("node3", c), ("node4", d)];
            let mut facts = by_quorum(in_force, claim, &seen);
            facts.options.count = count;
            facts.wishes.barred = set(&["node2"]);
            next(&facts)
        };
        let to = |text: &str| vec![Step::Contract(text.parse().unwrap())];
        let any = "ANY 1 (node2, node3, node4)";
        assert_eq!(with(any, &[], links, 1), to("ANY 1 (node3, node4)"));
        assert_eq!(
            with(any, &all, links, 1),
            to("ANY 1 (node3, node4)"),
            "it says more"
        );
        assert_eq!(with(any2, &all, links, 2), vec![], "two are asked for");
        let alone = [QUORUM, None, None];
        assert_eq!(
            with("ANY 1 (node3, node4)", &["node3", "node4"], alone, 1),
            revoke(&["node3", "node4"])
        );
    }

    #[test]
    fn a_priority_of_two_takes_two_where_there_are_two() {
        let three = |links: [Option<Link>; 3]| {
            let names = ["node2", "node3", "node4"];
            let seen: Vec<_> = names
                .into_iter()
                .zip(links.map(|l| node(false, l)))
                .collect();
            let mut facts = facts("ANY 1 (node2, node3, node4)", &seen);
            facts.options.count = 2;
            facts
        };
        let both = |text: &str| vec![Step::Contract(text.parse().unwrap())];
        assert_eq!(
            next(&three([None, STREAMING, STREAMING])),
            both("FIRST 2 (node3, node4)")
        );
        assert_eq!(next(&three([None, None, STREAMING])), contract("node4"));
    }

    /// Whatever is seen, no step breaks the invariant: nobody is dropped while eligible, nobody
    /// is granted outside the contract.
    #[test]
    fn no_combination_breaks_the_invariant() {
        let links = [None, STREAMING, LAGGING, SYNC, CATCHUP];
        let standbys: Vec<Seen> = links
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
                    for (noted, asked, barred, order) in [
                        (S(50), None, "", ""),
                        (S(95), None, "", ""),
                        (S(50), Some("node3"), "", ""),
                        (S(95), Some("node3"), "", ""),
                        (S(50), None, "node2", ""),
                        (S(95), None, "node2", ""),
                        (S(50), Some("node2"), "", "node3"),
                        (S(95), None, "", "node3"),
                        (S(95), None, "node2", "node3 node2"),
                    ] {
                        let facts = facts(
                            in_force,
                            &[("node2", two.clone()), ("node3", three.clone())],
                        );
                        let mut facts = revoked(revoked(facts, "node2", noted), "node3", S(50));
                        facts.requested = asked.into_iter().map(str::to_owned).collect();
                        facts.wishes.barred =
                            barred.split_whitespace().map(str::to_owned).collect();
                        facts.wishes.order = order.split_whitespace().map(str::to_owned).collect();
                        for step in next(&facts) {
                            seen += 1;
                            let members = facts.in_force.certain().unwrap_or_default();
                            match step {
                                Step::Contract(new) => {
                                    let kept =
                                        new.certain().expect("the agent writes certain contracts");
                                    assert!(
                                        facts.claim.members.is_subset(&kept),
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
                                Step::Grant(names) => {
                                    assert!(names.is_subset(&members), "{facts:?} -> {names:?}");
                                    let is_new = |name: &&StandbyName| {
                                        !facts.claim.members.contains(*name)
                                            && !facts.wishes.allow(name)
                                    };
                                    let refused = names.iter().find(is_new);
                                    assert_eq!(refused, None, "{facts:?} -> {names:?}");
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
