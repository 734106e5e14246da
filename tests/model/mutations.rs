//! Rules taken away, one at a time. The functions of `decide` stay as they are: what they are told is
//! altered, or what is done with their answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use expgsql::decide::contract::{Facts, Revocation};
use expgsql::decide::eligibility::{Ground, Ineligible};
use expgsql::decide::right::{Loss, Right, Stale};
use expgsql::decide::witness::{Coverage, Statement};
use expgsql::model::claim::Claim;
use expgsql::model::sync_names::StandbyName;
use expgsql::model::timeline::WalPosition;

use super::cib::{Condition, Content};
use super::nodes::Id;

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutation {
    None,
    /// R1: commits stop waiting for a standby that is still eligible.
    RelaxWithoutRevoking,
    /// R1 (b), (c): a revocation counts as soon as the CIB has confirmed it.
    RelaxWithoutSettling,
    /// R1 (b), (c): the settle time is over before everybody outside has noticed.
    SettleTooShort,
    /// R1 (b): who is there is read from the CIB alone.
    PresentByTheCib,
    /// R1 (e): the own copy of the CIB counts as a majority of them.
    OneCopyIsEnough,
    /// R2: whoever streams is granted.
    GrantWithoutBarrier,
    /// R2: the barrier is taken before the contract is in force everywhere.
    EarlyBarrier,
    /// R3: promote does not look.
    PromoteAnybody,
    /// R4, R5: a primary goes by the record's node name alone.
    RightByName,
    /// R5: a promotion leaves admin_epoch as it is.
    PromoteWithoutAdminEpoch,
    /// R5: a revocation leaves admin_epoch as it is.
    RevokeWithoutAdminEpoch,
    /// R5: a promotion raises admin_epoch by no more than a revocation.
    PromoteWithOneAdminEpoch,
    /// A promotion goes ahead whoever has the raised admin_epoch.
    RaiseUnconfirmed,
    /// A promotion goes ahead whoever has its record, raised or not.
    PromoteUnconfirmed,
    /// R7: positions are compared as numbers.
    LargerPositionWins,
    /// R8: statements are made by standbys that go on receiving.
    StateWhileReceiving,
    /// R8: a statement goes by what the server says, though there is more on its disk than it has replayed.
    StateBeforeReplay,
    /// R3: a node with a recovery target is promoted.
    TargetUnseen,
    /// R8: one statement fewer than needed.
    OneStatementFewer,
    /// R8: who has stated its position follows the same primary again.
    FollowTheSameEpoch,
    /// R8: who follows a later primary is counted by the deposed one.
    CountLaterFollowers,
    /// R9.
    NoDistrust,
    /// R9: a promotion is not noted before it raises admin_epoch.
    RaiseWithoutNote,
    /// R9: a promotion that is not confirmed is distrusted with quorum, too, until a primary writes a later record.
    DistrustForGood,
    /// A repair is refused to whom the claim names, whatever promotion its WAL is of.
    ClaimedByName,
    /// A promotion that did not take place leaves nobody with a claim but its own node.
    UnfinishedBarsOthers,
    /// A primary begins a new epoch only for statements about its own.
    OutliveOneEpoch,
    /// R9: a moment alone is distrust, until a primary writes a later record.
    AloneForGood,
    /// The record of the contract is written whatever happened meanwhile.
    ContractUnconditional,
    /// The promotion record is written whatever happened meanwhile.
    PromoteUnconditional,
    /// R1: a restarted primary waits for any one of its standbys.
    RestartWithAnyOne,
    /// R1 (a): a revocation is not written to the lock's row.
    RevokeWithoutLock,
    /// R3: the lock goes to whoever asks once the lease is over.
    LockAnybody,
    /// The row is changed by whoever owns it, whichever promotion that was.
    LockWithoutEpoch,
    /// A primary that does not reach the lock service goes on as if it held the lock.
    AsIfLocked,
}

impl Mutation {
    /// What `decide::contract` is told.
    pub(crate) fn facts(self, facts: &mut Facts, settle: Duration) {
        let Some(now) = facts.partition.as_ref().map(|p| p.now) else {
            if self == Self::RelaxWithoutRevoking {
                facts.claim = Claim::nothing();
            }
            if self == Self::GrantWithoutBarrier {
                catch_up(facts);
            }
            return;
        };
        match self {
            Self::RelaxWithoutRevoking => {
                facts.claim = Claim::nothing();
                let noted = |name: &StandbyName| {
                    let ring = facts.partition.as_ref().map(|p| p.ring.clone());
                    let at = now.saturating_sub(settle);
                    (
                        name.clone(),
                        Revocation {
                            at,
                            ring: ring.unwrap_or_default(),
                        },
                    )
                };
                facts.revoked = facts.standbys.keys().map(noted).collect();
                all_have_it(facts);
            }
            // With a quorum device no copy need be seen: the time is all there is.
            Self::SettleTooShort | Self::PresentByTheCib => all_have_it(facts),
            Self::RelaxWithoutSettling => {
                all_have_it(facts);
                for note in facts.revoked.values_mut() {
                    note.at = now.saturating_sub(settle);
                }
            }
            Self::OneCopyIsEnough => {
                if let Some(partition) = &mut facts.partition {
                    // Of three votes one would have to be a majority; quorum itself is left alone.
                    partition.one_vote_each = true;
                }
                let own: Vec<_> = facts.copies.keys().cloned().collect();
                for name in own {
                    let seen = facts.copies.get(&name).cloned().unwrap_or_default();
                    facts.copies.insert(format!("{name}-again"), seen);
                }
            }
            Self::GrantWithoutBarrier => catch_up(facts),
            Self::None
            | Self::EarlyBarrier
            | Self::PromoteAnybody
            | Self::RightByName
            | Self::PromoteWithoutAdminEpoch
            | Self::RevokeWithoutAdminEpoch
            | Self::PromoteWithOneAdminEpoch
            | Self::RaiseUnconfirmed
            | Self::PromoteUnconfirmed
            | Self::LargerPositionWins
            | Self::StateWhileReceiving
            | Self::StateBeforeReplay
            | Self::TargetUnseen
            | Self::OneStatementFewer
            | Self::FollowTheSameEpoch
            | Self::CountLaterFollowers
            | Self::NoDistrust
            | Self::RaiseWithoutNote
            | Self::ClaimedByName
            | Self::UnfinishedBarsOthers
            | Self::OutliveOneEpoch
            | Self::AloneForGood
            | Self::DistrustForGood
            | Self::ContractUnconditional
            | Self::PromoteUnconditional
            | Self::RestartWithAnyOne
            | Self::RevokeWithoutLock
            | Self::LockAnybody
            | Self::LockWithoutEpoch
            | Self::AsIfLocked => {}
        }
    }

    /// By how much a promotion raises admin_epoch.
    pub(crate) fn promotion_raises(self, by: u8) -> u8 {
        if self == Self::PromoteWithoutAdminEpoch {
            0
        } else if self == Self::PromoteWithOneAdminEpoch {
            by.min(1)
        } else {
            by
        }
    }

    /// By how much a revocation does.
    pub(crate) fn revocation_raises(self, by: u8) -> u8 {
        if self == Self::RevokeWithoutAdminEpoch {
            0
        } else {
            by
        }
    }

    pub(crate) fn contract_condition(self, seen: Content) -> Condition {
        if self == Self::ContractUnconditional {
            Condition::None
        } else {
            Condition::as_read(&seen)
        }
    }

    pub(crate) fn promotion_condition(self, seen: Content) -> Condition {
        if self == Self::PromoteUnconditional {
            Condition::None
        } else {
            Condition::as_read(&seen)
        }
    }

    pub(crate) fn right(self, me: Id, record: Id, right: Right) -> Right {
        if self != Self::RightByName {
            return right;
        }
        if record == me {
            return match right {
                Right::Correct(Stale::Incomplete) => right,
                Right::Keep | Right::Correct(_) | Right::Lost { .. } => Right::Keep,
            };
        }
        Right::Lost {
            primary: record.name(),
            why: Loss::Named,
        }
    }

    pub(crate) fn ground(self, ground: Result<Ground, Ineligible>) -> Result<Ground, Ineligible> {
        match (self, ground) {
            (Self::PromoteAnybody, Err(_)) => Ok(Ground::Claimed),
            (_, ground) => ground,
        }
    }

    pub(crate) fn coverage(self, coverage: Coverage) -> Coverage {
        if self == Self::PromoteAnybody {
            return Coverage::Covered;
        }
        coverage
    }

    pub(crate) fn claim(self, claim: Claim) -> Claim {
        if self == Self::OneStatementFewer {
            return Claim {
                count: (claim.count + 1).min(claim.members.len()),
                members: claim.members,
            };
        }
        claim
    }

    /// Other nodes' statements, to a node at `mine`.
    pub(crate) fn statements(
        self,
        mine: &WalPosition,
        statements: &mut BTreeMap<StandbyName, Statement>,
    ) {
        if self == Self::LargerPositionWins {
            for statement in statements.values_mut() {
                statement.position.lineage = mine.lineage.clone();
            }
        }
    }
}

/// R1 (b), (c): nobody looks whether those who have to know of a revocation have it.
fn all_have_it(facts: &mut Facts) {
    let names = facts.standbys.keys();
    facts.copies = names.map(|name| (name.clone(), BTreeSet::new())).collect();
}

fn catch_up(facts: &mut Facts) {
    for standby in facts.standbys.values_mut() {
        if let Some(link) = &mut standby.link {
            link.caught_up = true;
        }
    }
}
