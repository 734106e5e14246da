//! The lock outside the cluster, as the actions use it: who may be primary, and who may become one.
//! Decided in `decide::lease`, explained in docs/lock-service.md.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::contract::Lock as LockFact;
use crate::decide::eligibility::Promise;
use crate::decide::lease::{
    Asked, Entry, Holder, Mode, OldPrimary, Pace, Relax, Renewed, Renewing, Standing, entry,
    is_alive, standing, time_to_ask, until_renewed,
};
use crate::distlock::{Commands, Deadcheck, LockError, LockRow, Service, Take, answer};
use crate::log::say;
use crate::model::claim::Claim;
use crate::model::cluster_view::NoQuorumPolicy;
use crate::model::lock::Taken;
use crate::model::node_name::NodeName;
use crate::model::status::NodeStatus;
use crate::model::sync_names::StandbyName;
use crate::sys::{Deadline, boot_clock};
use crate::timing;
use crate::trial::is_out;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::server::answering::Server;
use crate::agent::state::State;
use crate::agent::step::{Step, failed};

/// The configured lock service.
pub(crate) struct Lock<'c> {
    ctx: &'c Context<'c>,
    means: Means,
    deadcheck: Deadcheck,
}

enum Means {
    Row(Box<Service>),
    Commands(Commands),
    /// There should be a lock, and this is why it can't be used.
    Unusable(String),
}

/// What the lock said to a primary that renewed it.
#[derive(Debug)]
pub(crate) struct Renewal {
    answer: Renewed,
    row: Option<LockRow>,
    /// When it was known; time since the machine started.
    known: Duration,
    /// When the last renewal that was confirmed, be it this one, was asked for.
    pub(crate) confirmed: Option<Duration>,
    /// The lock's own epoch.
    epoch: Option<u64>,
}

/// What a primary knows of its lock for the rest of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) fact: LockFact,
    /// The lock's own epoch, where it has one.
    epoch: Option<u64>,
}

impl Held {
    /// No lock is configured.
    pub(crate) fn none() -> Self {
        Self {
            fact: LockFact::Unused,
            epoch: None,
        }
    }
}

/// What a promotion asks for.
pub(crate) struct Wish<'a> {
    /// The nodes whose statements were seen, this one included.
    pub(crate) seen: BTreeSet<StandbyName>,
    /// Who stays eligible.
    pub(crate) keep: &'a Claim,
    /// The epoch of the promotion record that is about to be written.
    pub(crate) epoch: u64,
    pub(crate) patience: Duration,
}

impl<'c> Lock<'c> {
    /// The lock, where one is configured.
    pub(crate) fn open(ctx: &'c Context<'c>) -> Step<Option<Self>> {
        let p = ctx.params;
        if !p.enable_distlock || !ctx.is_promotable() {
            return Ok(None);
        }
        let means = match (
            &p.distlock_conninfo,
            &p.distlock_lock_cmd,
            &p.distlock_unlock_cmd,
        ) {
            (Some(conninfo), _, _) => {
                let name = p
                    .distlock_lockname
                    .as_deref()
                    .unwrap_or(ctx.resource.as_str());
                let service = Service::new(conninfo, name, p.passfile.as_deref());
                Means::Row(Box::new(service.map_err(failed)?))
            }
            (None, Some(lock), Some(unlock)) => Means::Commands(Commands {
                lock: lock.clone(),
                unlock: unlock.clone(),
            }),
            // Refused where parameters are checked; an action that goes on nevertheless has no lock.
            (None, _, _) => {
                return Err(failed(
                    "enable_distlock=true without distlock_conninfo: the lock is not known",
                ));
            }
        };
        let nodes = &p.distlock_lockservice_deadcheck_nodelist;
        Ok(Some(Self {
            ctx,
            means,
            deadcheck: Deadcheck::new(ctx.me.as_str(), nodes),
        }))
    }

    /// The same for a primary, which has to be judged: a lock that can't be used is one that is not renewed.
    pub(crate) fn of_primary(ctx: &'c Context<'c>) -> Option<Self> {
        Self::open(ctx).unwrap_or_else(|failure| {
            Some(Self {
                ctx,
                means: Means::Unusable(failure.text().to_owned()),
                deadcheck: Deadcheck::new(ctx.me.as_str(), &[]),
            })
        })
    }

    fn owner(&self) -> String {
        owner(self.ctx, &self.ctx.me)
    }

    /// For one request.
    fn limit(&self) -> Deadline {
        self.ctx.deadline.min(timing::LOCK_REQUEST)
    }

    /// How long a primary may ask at all. In async mode the lease is what keeps two primaries apart: it must not run out while
    /// the answer, or that of the other nodes, is waited for, nor while the server is being stopped.
    fn left(&self, state: &State, now: Duration) -> Duration {
        let ctx = self.ctx;
        match (ctx.promise(), state.lock_confirmed) {
            (Promise::Async, Some(confirmed)) => {
                let end = confirmed + ctx.params.distlock_ttl;
                time_to_ask(end, now, timing::LOCK_MARGIN).max(timing::LOCK_LEAST)
            }
            (Promise::Async, None) | (Promise::Sync, _) => ctx.deadline.remaining(),
        }
    }

    /// For asking the other nodes, from now on.
    fn check_limit(&self) -> Deadline {
        self.ctx.deadline.min(timing::LOCK_CHECK)
    }

    /// Takes the lock for a promotion, or says why not.
    pub(crate) fn take(&self, board: &Board<'_, '_>, system: &str, wish: &Wish<'_>) -> Step<()> {
        let ctx = self.ctx;
        let sent = boot_clock().map_err(failed)?;
        let asked = match &self.means {
            Means::Row(service) => {
                let take = self.wish(board, system, wish);
                let by_others = || self.deadcheck.take(service, &take, self.check_limit());
                let first = service.take(&take, ctx.deadline);
                let is_silent = first.as_ref().is_err_and(LockError::is_unreachable);
                let asked = answer::asked(first, by_others);
                if is_silent && matches!(asked, Asked::Failed { .. }) {
                    // Nobody can say more, and to fail now would be to fail again soon: it may come back in the time that there is.
                    answer::asked(service.take_patiently(&take, ctx.deadline), by_others)
                } else {
                    asked
                }
            }
            Means::Commands(commands) => {
                let first = commands.lock(&self.owner(), ctx.deadline.min(wish.patience));
                answer::asked_by_command(first, || {
                    self.deadcheck
                        .lock(commands, &self.owner(), self.check_limit())
                })
            }
            Means::Unusable(why) => Asked::Failed { why: why.clone() },
        };
        if let Asked::Dead { .. } = &asked {
            say!(WARN, "no node reaches the lock service");
        }
        match entry(&asked, self.old_primary(board, &asked)?.as_ref()) {
            Entry::Go { epoch } => {
                say!(INFO, "lock taken", epoch = epoch.unwrap_or_default());
                let old = State::load(ctx, sent.boot_id())?;
                let mut state = old.clone();
                state.lock_epoch = epoch;
                state.lock_confirmed = Some(sent.since_boot());
                state.save(ctx, &old)
            }
            Entry::Refuse { reason } => {
                self.note_refusal(&asked);
                Err(failed(format!("not promoted: {reason}")))
            }
        }
    }

    /// So that the next monitor knows whether it would be in vain again.
    fn note_refusal(&self, asked: &Asked) {
        let Asked::Row(Taken::Held { .. }) = asked else {
            return;
        };
        let noted = self.row().map_or(Ok(false), |row| self.note_holder(&row));
        if let Err(failure) = noted {
            say!(WARN, "lock", reason = failure.text());
        }
    }

    fn wish(&self, board: &Board<'_, '_>, system: &str, wish: &Wish<'_>) -> Take {
        let ctx = self.ctx;
        let nodes = ctx.replicas(&board.view);
        Take {
            owner: self.owner(),
            node: ctx.me.lower().to_owned(),
            known_owners: nodes.iter().map(|n| owner(ctx, n)).collect(),
            system: system.to_owned(),
            seen: wish.seen.clone(),
            keep: wish.keep.members.clone(),
            needs_eligibility: ctx.promise() == Promise::Sync,
            min_epoch: wish.epoch,
            ttl: ctx.params.distlock_ttl,
            patience: wish.patience,
        }
    }

    /// A primary's renewal, once in each monitor, from the state file and the service alone. `None`: this node does not
    /// know that it has the lock; see [`Self::adopt`].
    pub(crate) fn renew(&self) -> Step<Option<Renewal>> {
        let ctx = self.ctx;
        let asked = boot_clock().map_err(failed)?;
        let found = State::load(ctx, asked.boot_id());
        let mut state = found.clone().unwrap_or_default();
        let until = Deadline::after(self.left(&state, asked.since_boot()));
        let first = self.limit().min(until.remaining());
        let ttl = ctx.params.distlock_ttl;
        let owner = self.owner();
        let (answer, row) = match &self.means {
            Means::Unusable(why) => (Renewed::Misconfigured { why: why.clone() }, None),
            Means::Commands(commands) => {
                let heard = commands.lock(&owner, first);
                let renewed = answer::renewed_by_command(heard, || {
                    self.deadcheck
                        .lock(commands, &owner, self.check_limit().min(until.remaining()))
                });
                (renewed, None)
            }
            Means::Row(service) => {
                let Some(epoch) = state.lock_epoch else {
                    return Ok(None);
                };
                let heard = service.renew(&owner, epoch, ttl, first);
                answer::renewed(heard, || {
                    self.deadcheck.renew(
                        service,
                        &owner,
                        epoch,
                        ttl,
                        self.check_limit().min(until.remaining()),
                    )
                })
            }
        };
        let renewal = noted(&mut state, asked.since_boot(), answer, row)?;
        // What can't be read is not overwritten.
        if let Ok(old) = &found {
            self.keep(&state, old);
        }
        Ok(Some(renewal))
    }

    /// Where it can't be written, the renewal holds all the same. The next call only takes the lease for older than it is.
    fn keep(&self, state: &State, old: &State) {
        if let Err(failure) = state.save(self.ctx, old) {
            say!(WARN, "lock", reason = failure.text());
        }
    }

    /// A renewal that could not even be asked for.
    pub(crate) fn not_renewed(&self, why: String) -> Step<Renewal> {
        let asked = boot_clock().map_err(failed)?;
        let mut state = State::load(self.ctx, asked.boot_id()).unwrap_or_default();
        let answer = Renewed::Unreachable { why };
        noted(&mut state, asked.since_boot(), answer, None)
    }

    /// Why a primary must not go on, as far as that can be said without the CIB: with rep_mode=async the lease says
    /// everything; with rep_mode=sync the rest depends on who may be promoted.
    pub(crate) fn is_over_by(&self, renewal: &Renewal) -> Option<String> {
        let is_lost = matches!(renewal.answer, Renewed::Lost { .. });
        if self.ctx.promise() == Promise::Sync && !is_lost {
            return None;
        }
        match self.standing(renewal, &Claim::nothing(), &BTreeSet::new()) {
            Standing::StepDown { reason } => Some(reason),
            Standing::Keep { .. } | Standing::KeepUnconfirmed { .. } => None,
        }
    }

    fn standing(
        &self,
        renewal: &Renewal,
        claim: &Claim,
        streaming: &BTreeSet<StandbyName>,
    ) -> Standing {
        let ctx = self.ctx;
        let me = ctx.me.lower();
        let eligible = claim.members.iter().filter(|n| *n != me).cloned();
        let standing = standing(&Renewing {
            mode: match ctx.promise() {
                Promise::Sync => Mode::Sync,
                Promise::Async => Mode::Async,
            },
            answer: &renewal.answer,
            since_confirmed: renewal.confirmed.map(|at| renewal.known.saturating_sub(at)),
            ttl: ctx.params.distlock_ttl,
            margin: pace(ctx).margin(),
            eligible: &eligible.collect(),
            reports: claim.needed(),
            streaming,
        });
        match standing {
            Standing::StepDown { reason } if is_out!(LeaseUnchecked) => {
                Standing::KeepUnconfirmed { reason }
            }
            Standing::Keep { .. }
            | Standing::KeepUnconfirmed { .. }
            | Standing::StepDown { .. } => standing,
        }
    }

    /// Whether a primary may go on, by a renewal and by who may be promoted, and as what.
    pub(crate) fn judge(
        &self,
        board: &Board<'_, '_>,
        renewal: &Renewal,
        streaming: &BTreeSet<StandbyName>,
    ) -> Step<Result<Held, String>> {
        let claim = match self.ctx.promise() {
            Promise::Sync => board.claim()?,
            Promise::Async => Claim::nothing(),
        };
        let held = |fact| Held {
            fact,
            epoch: renewal.epoch,
        };
        Ok(match self.standing(renewal, &claim, streaming) {
            Standing::Keep { relax } => {
                let (row, me) = (renewal.row.as_ref(), self.ctx.me.lower());
                Ok(held(fact(relax, &renewal.answer, row, board, me)))
            }
            Standing::KeepUnconfirmed { reason } => {
                say!(WARN, "lock", reason = reason);
                Ok(held(LockFact::Unsure))
            }
            Standing::StepDown { reason } => Err(reason),
        })
    }

    /// A primary that does not know of a lock: it was enabled on a running cluster, or the state file was
    /// lost. It takes the lock as a promotion would, but does not wait for it.
    pub(crate) fn adopt(&self, board: &Board<'_, '_>, server: &Server) -> Step<Renewal> {
        let Means::Row(service) = &self.means else {
            return self.not_renewed("there is no row that could be taken".to_owned());
        };
        let first = self.limit();
        let asked = boot_clock().map_err(failed)?;
        let found = State::load(self.ctx, asked.boot_id());
        let mut state = found.clone().unwrap_or_default();
        let record = self.ctx.record(&board.view)?;
        let keep = match self.ctx.promise() {
            Promise::Sync => board.claim()?,
            Promise::Async => Claim::nothing(),
        };
        let take = self.wish(
            board,
            &server.state.system,
            &Wish {
                seen: BTreeSet::from([self.ctx.me.lower().to_owned()]),
                keep: &keep,
                epoch: record.and_then(|r| r.epoch).unwrap_or_default(),
                patience: Duration::ZERO,
            },
        );
        let taken = service.take(&take, first);
        let read = |taken| match answer::asked(taken, || {
            self.deadcheck.take(service, &take, self.check_limit())
        }) {
            Asked::Row(Taken::Mine { epoch, .. }) => Ok(epoch),
            Asked::Row(other) => Err(self.not_mine(board, &other)),
            Asked::Dead { asked } => Err(Renewed::Dead { asked }),
            Asked::Failed { why } => Err(Renewed::Unreachable { why }),
            Asked::Command { .. } => Err(Renewed::Command),
        };
        let (answer, row) = match read(taken) {
            Ok(epoch) => {
                say!(INFO, "lock adopted", epoch = epoch);
                state.lock_epoch = Some(epoch);
                answer::renewed(
                    service.renew(&self.owner(), epoch, self.ctx.params.distlock_ttl, first),
                    || crate::decide::lease::Verdict::Unknown {
                        why: "it answered a moment ago".to_owned(),
                    },
                )
            }
            Err(renewed) => (renewed, None),
        };
        let renewal = noted(&mut state, asked.since_boot(), answer, row)?;
        // What can't be read is not overwritten.
        if let Ok(old) = &found {
            self.keep(&state, old);
        }
        Ok(renewal)
    }

    /// What it means for a primary without the lock that it can't have it.
    fn not_mine(&self, board: &Board<'_, '_>, taken: &Taken) -> Renewed {
        let why = taken.to_string();
        let Taken::Held { owner: holder, .. } = taken else {
            return Renewed::Lost { why };
        };
        let nodes = self.ctx.replicas(&board.view);
        let node = nodes.iter().find(|n| owner(self.ctx, n) == *holder);
        match node {
            Some(node) => Renewed::Held {
                node: node.lower().to_owned(),
                why,
            },
            None => Renewed::Lost { why },
        }
    }

    /// R1 (a): makes the row say who may be promoted, or fails. The primary itself always may.
    pub(crate) fn set_eligible(&self, held: &mut Held, claim: &Claim) -> Step<()> {
        let (LockFact::Held { eligible }, Means::Row(service), Some(epoch)) =
            (&mut held.fact, &self.means, held.epoch)
        else {
            return Ok(());
        };
        if *eligible == claim.members && !claim.members.is_empty() && claim.needed() == 1 {
            return Ok(());
        }
        let first = self.limit();
        let me = self.ctx.me.lower().to_owned();
        let all: BTreeSet<_> = claim.members.iter().cloned().chain([me]).collect();
        let (owner, ttl) = (self.owner(), self.ctx.params.distlock_ttl);
        let reports = claim.needed().max(1);
        let heard = service.set_eligible(&owner, epoch, &all, reports, ttl, first);
        let (renewed, _) = answer::renewed(heard, || {
            self.deadcheck.set_eligible(
                service,
                &owner,
                epoch,
                &all,
                reports,
                ttl,
                self.check_limit(),
            )
        });
        match renewed {
            Renewed::Row => {
                eligible.clone_from(&claim.members);
                Ok(())
            }
            Renewed::Lost { why }
            | Renewed::Held { why, .. }
            | Renewed::Unreachable { why }
            | Renewed::Misconfigured { why } => {
                held.fact = LockFact::Unsure;
                Err(failed(format!(
                    "who may be promoted could not be written to the lock: {why}"
                )))
            }
            Renewed::Dead { .. } | Renewed::Command => {
                held.fact = LockFact::Dead;
                Err(failed("the lock service died a moment ago"))
            }
        }
    }

    /// Gives the lock back; the server must have stopped. It expires by itself where that fails.
    pub(crate) fn release(&self) {
        let released = match &self.means {
            Means::Row(service) => service.release(&self.owner(), None, self.limit()),
            Means::Commands(commands) => commands.unlock(&self.owner(), self.limit()),
            // It was never taken by this.
            Means::Unusable(_) => return,
        };
        match released {
            Ok(true) => say!(INFO, "lock given back"),
            Ok(false) => {}
            Err(error) => say!(WARN, "lock not given back, it will expire", reason = error),
        }
    }

    /// Whether a promotion could have the lock now. Not known counts as no: the promotion would only
    /// wait in vain and count as a failure.
    pub(crate) fn is_to_be_had(&self) -> bool {
        self.look().unwrap_or(false)
    }

    /// Whether the service says that this node can't be primary now. Not known counts as no: then the
    /// promotion finds out, by way of the other nodes too.
    pub(crate) fn refuses(&self) -> bool {
        self.look() == Some(false)
    }

    /// Whether another has it who is alive. A lease that is not renewed is no obstacle: a promotion waits for its end, which
    /// comes sooner than the next monitor. Not known counts as no, as in [`Self::refuses`].
    pub(crate) fn is_kept_by_another(&self) -> Step<bool> {
        match self.row() {
            Some(row) if !self.is_open(&row) => self.note_holder(&row),
            Some(_) | None => Ok(false),
        }
    }

    /// Notes who has it, for the next look. Whether that one is alive, by the look before.
    fn note_holder(&self, row: &LockRow) -> Step<bool> {
        let boot = boot_clock().map_err(failed)?;
        let old = State::load(self.ctx, boot.boot_id())?;
        let now = Holder {
            owner: row.owner.clone(),
            renewed: row.since.clone(),
            at: boot.since_boot(),
        };
        let is_alive = is_alive(old.holder.as_ref(), &now, timing::SAME_OUTAGE);
        let mut state = old.clone();
        state.holder = Some(now);
        state.save(self.ctx, &old)?;
        Ok(is_alive)
    }

    /// Whether a promotion could have the lock; `None`: the service does not say.
    fn look(&self) -> Option<bool> {
        match &self.means {
            Means::Row(_) => self.row().map(|row| self.is_open(&row)),
            Means::Commands(_) | Means::Unusable(_) => Some(true),
        }
    }

    fn is_open(&self, row: &LockRow) -> bool {
        let is_sync = self.ctx.promise() == Promise::Sync;
        row.is_open_to(&self.owner(), self.ctx.me.lower(), is_sync)
    }

    /// `None`: there is none, or the service does not say.
    fn row(&self) -> Option<LockRow> {
        let Means::Row(service) = &self.means else {
            return None;
        };
        service.read(self.limit()).unwrap_or_else(|error| {
            say!(WARN, "lock", reason = error);
            None
        })
    }

    /// What is wrong with the configuration of the service, or with reaching it.
    pub(crate) fn check(&self) -> Result<(), LockError> {
        match &self.means {
            Means::Commands(_) | Means::Unusable(_) => Ok(()),
            Means::Row(service) => match service.read(self.limit())? {
                Some(_) => Ok(()),
                None => Err(LockError::RowMissing(
                    self.ctx
                        .params
                        .distlock_lockname
                        .clone()
                        .unwrap_or_default(),
                )),
            },
        }
    }

    /// The primary before. Where the service is dead its place counts, and corosync is asked for it: the CIB may be old.
    fn old_primary(&self, board: &Board<'_, '_>, asked: &Asked) -> Step<Option<OldPrimary>> {
        let Some(record) = self.ctx.record(&board.view)? else {
            return Ok(None);
        };
        let is_member = matches!(asked, Asked::Dead { .. }) && board.is_here(&record.node)?;
        let quorum_decides = board.view.no_quorum_policy() != NoQuorumPolicy::Ignore;
        let is_up = |node: &NodeName| match asked {
            Asked::Dead { asked } => asked.contains(node.lower()),
            Asked::Row(_) | Asked::Command { .. } | Asked::Failed { .. } => false,
        };
        let at_large = (self.ctx.promise() == Promise::Async && !quorum_decides).then(|| {
            let mut others = self.ctx.peers(&board.view).into_iter();
            others.find(|node| is_up(node) && !board.is_here(node).unwrap_or(false))
        });
        let at_large = at_large.flatten().map(|node| node.lower().to_owned());
        Ok(Some(OldPrimary {
            is_me: record.node == self.ctx.me,
            is_member,
            is_demoted: is_member && board.status(&record.node) != Some(NodeStatus::Primary),
            node: record.node.lower().to_owned(),
            at_large,
        }))
    }

    /// Whether the service itself records who may be promoted.
    pub(crate) fn is_arbiter(&self) -> bool {
        matches!(self.means, Means::Row(_))
    }
}

/// How quickly a lease that is not renewed is followed by the server's end.
pub(crate) fn pace(ctx: &Context<'_>) -> Pace {
    Pace {
        interval: until_renewed(
            ctx.env.interval,
            ctx.env.check_level,
            ctx.params.distlock_ttl,
        ),
        request: timing::LOCK_REQUEST,
        least: timing::LOCK_LEAST,
        stop: timing::LOCK_MARGIN,
    }
}

/// A confirmed renewal is noted. In the state file, for the next call.
fn noted(
    state: &mut State,
    asked: Duration,
    answer: Renewed,
    row: Option<LockRow>,
) -> Step<Renewal> {
    // A service that is silent is waited for, and that time is gone as well.
    let known = boot_clock().map_err(failed)?.since_boot();
    let is_confirmed = matches!(
        answer,
        Renewed::Row | Renewed::Command | Renewed::Dead { .. }
    );
    if is_confirmed {
        state.lock_confirmed = Some(asked);
    }
    Ok(Renewal {
        answer,
        row,
        known,
        confirmed: state.lock_confirmed,
        epoch: state.lock_epoch,
    })
}

/// In lower case, as the older agents' owners are.
fn owner(ctx: &Context<'_>, node: &NodeName) -> String {
    format!("{}_{}", ctx.resource, node.lower())
}

/// By what R1 may be decided, from the answer to the renewal.
fn fact(
    relax: Relax,
    renewed: &Renewed,
    row: Option<&LockRow>,
    board: &Board<'_, '_>,
    me: &str,
) -> LockFact {
    match (relax, renewed) {
        (Relax::ByRow, _) => LockFact::Held {
            eligible: match row.and_then(|row| row.eligible.clone()) {
                Some(eligible) => eligible.into_iter().filter(|n| n != me).collect(),
                // Nobody recorded any: everybody may take it.
                None => {
                    let peers = board.ctx.peers(&board.view);
                    peers.iter().map(|n| n.lower().to_owned()).collect()
                }
            },
        },
        (Relax::ByMembership, Renewed::Dead { .. }) => LockFact::Dead,
        (Relax::ByMembership, _) => LockFact::Unused,
    }
}
