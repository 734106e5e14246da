//! What a primary's agent sees in one look at its standbys, and what `decide::contract` makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use expgsql::decide::contract::{
    self, Facts, Hold, Link, Options, Partition, Place, Revocation, Standby, Step as ContractStep,
};
use expgsql::decide::waited_for::Wishes;
use expgsql::model::status::SenderState;
use expgsql::model::sync_names::{Method, StandbyName};

use super::agent::set;
use super::cib::{Content, Data};
use super::memo::remembered;
use super::mutations::Mutation;
use super::node::{Believed, Note, Step};
use super::nodes::{Id, MAX, Set};
use super::rule::Rule;

const NOW: Duration = Duration::from_secs(100);
const SETTLE: Duration = Duration::from_secs(7);
const RING: &str = "1";

/// Everything that the decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Observed {
    pub(crate) mutation: Mutation,
    pub(crate) unsafe_relax: bool,
    /// sync_method=quorum.
    pub(crate) quorum: bool,
    pub(crate) count: usize,
    pub(crate) me: Id,
    pub(crate) contract: Rule,
    pub(crate) connected: Set,
    /// Those that have flushed up to the barrier.
    pub(crate) caught_up: Set,
    pub(crate) notes: [Note; MAX],
    pub(crate) lock: super::lock::Seen,
    pub(crate) seen: Content,
    /// Members, by the CIB.
    pub(crate) present: Set,
    /// Members, by corosync.
    pub(crate) listed: Set,
    pub(crate) quorate: bool,
    pub(crate) requested: Set,
    pub(crate) barred: Set,
    /// Who may be promoted by each copy of the CIB that can be read.
    pub(crate) copies: [Option<Set>; MAX],
}

/// The next step, and what was believed of the partition where that was asked for.
type Decision = (Option<Step>, Option<Believed>);

impl Observed {
    pub(crate) fn decide(self) -> Decision {
        remembered!(self, Observed => Decision, || self.ask())
    }

    fn ask(&self) -> Decision {
        let (facts, partition) = self.facts();
        let step = match contract::next(&facts).into_iter().next() {
            Some(ContractStep::Revoke(names)) => Some(Step::Revoke(set(&names))),
            Some(ContractStep::Contract(names)) => Some(Step::Contract(Rule::from(&names))),
            Some(ContractStep::Grant(names)) => {
                let eligible = contract::eligible_after_grant(&facts, &names);
                Some(Step::Grant(set(&eligible), set(&names)))
            }
            Some(ContractStep::Hold(_)) | None => None,
        };
        (step, partition)
    }

    fn peers(&self) -> Set {
        Set::first(self.count).without(self.me)
    }

    /// agent/contract/mod.rs, `facts`: corosync and the copies are asked only where it matters.
    fn facts(&self) -> (Facts, Option<Believed>) {
        let mut facts = self.first_facts();
        self.mutation.facts(&mut facts, SETTLE);
        let mut believed = None;
        if contract::next(&facts).contains(&ContractStep::Hold(Hold::Unknown)) {
            believed = Some(Believed {
                quorate: self.quorate,
                holds: true,
            });
            facts.partition = Some(self.partition());
            self.mutation.facts(&mut facts, SETTLE);
        }
        if contract::next(&facts)
            .iter()
            .any(ContractStep::asks_for_copies)
        {
            for member in Set::first(self.count).iter() {
                if let Some(claimed) = self.copies[member.index()] {
                    let claimed = claimed.names().collect();
                    facts.copies.insert(member.standby(), claimed);
                }
            }
            self.mutation.facts(&mut facts, SETTLE);
        }
        (facts, believed)
    }

    fn first_facts(&self) -> Facts {
        let standby = |peer: Id| {
            let link = self.connected.has(peer).then(|| Link {
                state: SenderState::Streaming,
                sync: self.contract.state_of(peer, self.connected),
                // A matter of speed, not of safety.
                keeps_up: true,
                caught_up: self.caught_up.has(peer),
            });
            let place = Place::Node {
                present: self.present.has(peer),
                fenced: false,
            };
            (peer.standby(), Standby { place, link })
        };
        let revocation = |peer: Id| {
            let at = match self.notes[peer.index()] {
                Note::None => return None,
                Note::Made => NOW,
                Note::Settled => NOW - SETTLE,
            };
            let ring = RING.to_owned();
            Some((peer.standby(), Revocation { at, ring }))
        };
        Facts {
            in_force: self.contract.into(),
            standbys: self.peers().iter().map(standby).collect(),
            claim: self.seen.claim(),
            doubts: self.doubts(),
            silent: BTreeSet::new(),
            impostors: BTreeSet::new(),
            lock: self.lock.fact(),
            partition: None,
            copies: BTreeMap::new(),
            revoked: self.peers().iter().filter_map(revocation).collect(),
            requested: self.requested.names().collect(),
            // A preference, which the primary may learn late.
            wishes: Wishes {
                barred: self.barred.names().collect(),
                ..Wishes::default()
            },
            options: Options {
                strict: false,
                unsafe_relax: self.unsafe_relax,
                everyone: false,
                method: if self.quorum {
                    Method::Any
                } else {
                    Method::First
                },
                count: 1,
            },
        }
    }

    fn partition(&self) -> Partition {
        Partition {
            quorate: self.quorate,
            ring: RING.to_owned(),
            members: self
                .peers()
                .iter()
                .map(|peer| (peer.standby(), self.listed.has(peer)))
                .collect(),
            voters: self.count,
            votes: self.count,
            nodes: self.count,
            one_vote_each: true,
            has_device: false,
            has_missed: false,
            waits_for_all: true,
            others_stop_without_quorum: self.count > 2,
            now: NOW,
            settle: Some(SETTLE),
        }
    }

    /// agent/contract/mod.rs, `doubts`.
    fn doubts(&self) -> BTreeSet<StandbyName> {
        if self.seen.method() == Method::First {
            return BTreeSet::new();
        }
        let is_doubted = |n: &Id| self.seen.data[n.index()] != Data::Among;
        self.peers()
            .iter()
            .filter(is_doubted)
            .map(Id::standby)
            .collect()
    }
}
