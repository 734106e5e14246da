//! What the decisions about the contract go by.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::barred::Bars;
use crate::model::lsn::Lsn;
use crate::model::sync_names::{StandbyName, SyncNames};
use crate::model::timeline::TimelineId;
use crate::postgres::process::Running;
use crate::postgres::views::Sender;

use crate::agent::context::Context;
use crate::agent::membership::lock::{Held, Lock};
use crate::agent::state::State;

/// One look at replication, with everything the decisions need.
pub(super) struct Round<'r> {
    /// Where the primary's WAL ended when this call began.
    pub(super) began_at: Option<Lsn>,
    pub(super) ctx: &'r Context<'r>,
    pub(super) running: &'r Running,
    pub(super) state: State,
    pub(super) in_force: SyncNames,
    pub(super) senders: BTreeMap<StandbyName, Sender>,
    /// Nodes' names under which others are connected, and from where.
    pub(super) impostors: BTreeMap<StandbyName, String>,
    /// Those of them that do not answer.
    pub(super) silent: BTreeSet<StandbyName>,
    /// The one it writes on.
    pub(super) timeline: TimelineId,
    /// Those of them that lack WAL for longer than maxlag_time.
    pub(super) late: BTreeSet<StandbyName>,
    /// Asynchronous: nodes of the cluster that are connected, whether they stream or catch up.
    pub(super) members: BTreeSet<StandbyName>,
    pub(super) lock: Option<&'r Lock<'r>>,
    pub(super) held: Held,
    /// Standbys that may not be promoted.
    pub(super) bars: Bars,
    /// Those of them that have every acknowledged commit, where nobody else has.
    pub(super) only_barred: Bars,
}
