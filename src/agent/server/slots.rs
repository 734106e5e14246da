//! Replication slots: each standby's ticket to the primary it is meant to follow, which with
//! `replication_slot_name` also holds back the WAL it still needs.

use std::collections::BTreeSet;

use crate::decide::eligibility::Promise;
use crate::decide::impostor::Slot;
use crate::decide::slots::{Plan, hoarded, plan};
use crate::log::say;
use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::ticket::{is_ticket, own, ticket};
use crate::model::version::RELOADS_CONNINFO;
use crate::ocf::Outcome;
use crate::postgres::process::Running;
use crate::postgres::session::{Session, SqlError, literal};
use crate::postgres::views;
use crate::trial::{is_out, point};

use crate::agent::context::Context;
use crate::agent::server::answering;
use crate::agent::step::{Step, failed};

/// What an operator is told where nothing bounds what slots hold back.
pub(crate) const UNLIMITED_SLOTS: &str = "slots hold WAL back (replication_slot_name, external_slot_list) and max_slot_wal_keep_size is not set: a \
    standby that stays away makes the primary keep WAL until its disk is full; set max_slot_wal_keep_size to what the disk can spare";

/// The slot by which `standby` streams from the recorded primary; `None`: it needs none. `nodes`: all that replicate, none where no
/// cluster says so.
pub(crate) fn slot_of(
    ctx: &Context<'_>,
    standby: &NodeName,
    record: Option<&ReplInfo>,
    nodes: &[NodeName],
) -> Option<String> {
    let prefix = ctx.params.replication_slot_name.as_deref();
    if uses_tickets(ctx) {
        // Without a record nobody was promoted yet, and nobody deposed.
        let record = record?;
        return Some(ticket(prefix, standby, record.epoch?, &record.node, nodes));
    }
    prefix.map(|prefix| of_prefix(prefix, standby, nodes))
}

/// The older agents' name: `prefix_node`.
fn of_prefix(prefix: &str, node: &NodeName, nodes: &[NodeName]) -> String {
    format!("{prefix}_{}", own(node, nodes))
}

/// With this node, which is as easily mistaken as any other.
fn with_me(ctx: &Context<'_>, nodes: &[NodeName]) -> Vec<NodeName> {
    nodes.iter().chain([&ctx.me]).cloned().collect()
}

/// What the slot is by which a node's standby streams. A ticket of whichever promotion: a standby that is about to follow a new epoch still has the
/// one before. `record`: that of this primary.
pub(crate) fn kind(
    ctx: &Context<'_>,
    name: &str,
    slot: Option<&str>,
    record: Option<&ReplInfo>,
    nodes: &[NodeName],
) -> Slot {
    let Some(slot) = slot else {
        return Slot::None;
    };
    // One that had to be shortened may not look like one.
    let is_its = |node: &&NodeName| {
        node.lower() == name && slot_of(ctx, node, record, nodes).as_deref() == Some(slot)
    };
    let prefix = ctx.params.replication_slot_name.as_deref();
    if is_ticket(prefix, slot) || nodes.iter().any(|node| is_its(&node)) {
        Slot::Ticket
    } else {
        Slot::Other
    }
}

/// Whether the standbys of this node, where it is the recorded primary, stream by tickets.
pub(crate) fn gives_tickets(ctx: &Context<'_>, record: Option<&ReplInfo>) -> bool {
    uses_tickets(ctx) && record.is_some_and(|r| r.node == ctx.me && r.epoch.is_some())
}

/// Where commits wait for standbys, and a standby can change its slot without a restart.
fn uses_tickets(ctx: &Context<'_>) -> bool {
    ctx.promise() == Promise::Sync
        && ctx.data_version() >= Some(RELOADS_CONNINFO)
        && !is_out!(NoTickets)
}

/// Why not everything is as it should be.
#[derive(Debug)]
pub(crate) enum Unmade {
    /// The next monitor may well succeed.
    Passing(Outcome),
    /// Somebody has to do something, and a standby can't stream before.
    Certain(Outcome),
}

impl Unmade {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Passing(outcome) | Self::Certain(outcome) => outcome,
        }
    }

    fn read(error: &SqlError) -> Self {
        Self::Passing(answering::refused(error))
    }
}

/// On a primary: makes what is missing and drops what is of an earlier promotion. It takes the
/// owner's right to do so; to see what is there, any session's will do.
pub(crate) fn on_primary(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
    record: Option<&ReplInfo>,
) -> Result<(), Unmade> {
    let record = record.filter(|r| r.node == ctx.me);
    let all = with_me(ctx, nodes);
    let wanted = nodes.iter().filter_map(|n| slot_of(ctx, n, record, &all));
    bring_about(ctx, running, session, nodes, &wanted.collect())
}

/// On a standby: drops the nodes' slots of an earlier time as primary, which would hold back WAL
/// until the disk is full.
///
/// One that is in use is left: without tickets the others find this node at the primary's address
/// until that has moved, and stream from it for a moment, as cascading standbys do.
pub(crate) fn on_standby(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
) -> Step<()> {
    bring_about(ctx, running, session, nodes, &BTreeSet::new()).map_err(Unmade::outcome)
}

/// What others' slots on this standby hold back, in words. Where it can't be seen, nothing is said.
pub(crate) fn hoarded_by_others(ctx: &Context<'_>, session: &mut Session) -> Option<String> {
    let prefix = ctx.params.replication_slot_name.as_deref();
    // The agent drops its own, where it looks after them, and moves those of the list.
    let is_ours = |slot: &str| {
        if ctx
            .params
            .external_slot_list
            .iter()
            .any(|name| name == slot)
        {
            return true;
        }
        let is_named = |prefix: &str| slot.starts_with(&format!("{prefix}_"));
        ctx.is_promotable() && (is_ticket(prefix, slot) || prefix.is_some_and(is_named))
    };
    match views::hoards(session) {
        Ok(found) => hoarded(&found, is_ours),
        Err(error) => {
            say!(INFO, "what slots hold back is not known", reason = error);
            None
        }
    }
}

fn bring_about(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
    wanted: &BTreeSet<String>,
) -> Result<(), Unmade> {
    let prefix = ctx.params.replication_slot_name.as_deref();
    if prefix.is_none() && !uses_tickets(ctx) {
        return Ok(());
    }
    let present = views::slots(session).map_err(|e| Unmade::read(&e))?;
    let all = with_me(ctx, nodes);
    let is_ours = |slot: &str| {
        // The names without more to them are those that other versions, and this one before a node was added, have made.
        let is_of = |p: &str, n| of_prefix(p, n, &all) == slot || of_prefix(p, n, &[]) == slot;
        let is_plain = |p: &str| nodes.iter().any(|n| is_of(p, n));
        is_ticket(prefix, slot) || prefix.is_some_and(is_plain)
    };
    let plan = plan(&present, wanted, is_ours, prefix.is_some());
    if plan == Plan::default() {
        return Ok(());
    }
    // Who monitors may have the right as well, where the owner of the instance is not let in.
    let (mut owner, locked_out) = match ctx.connect_as_owner(running) {
        Ok(owner) => (Some(owner), None),
        Err(error) if error.is_answer() => (None, Some(error)),
        Err(error) => return Err(Unmade::read(&error)),
    };
    let owner = owner.as_mut().unwrap_or(session);
    let mut dropped = Ok(());
    for slot in &plan.drop {
        let is_invalid = present.iter().any(|s| s.name == *slot && s.is_invalid);
        if is_invalid {
            say!(
                WARN,
                "the server has given this slot up, as its standby was too far behind or away too long (max_slot_wal_keep_size, \
                 idle_replication_slot_timeout)",
                slot = slot
            );
        }
        say!(INFO, "dropping replication slot", slot = slot);
        let drop = format!("SELECT pg_drop_replication_slot({})", literal(slot));
        // It may have been taken into use since; the others are dropped, and made, all the same.
        let drop = owner.execute(&drop).map_err(|e| Unmade::read(&e));
        dropped = dropped.and(drop);
        point!(SlotDropped);
    }
    let holds_back = prefix.is_some() && !plan.create.is_empty();
    if holds_back && !views::limits_slots(owner).map_err(|e| Unmade::read(&e))? {
        say!(WARN, "slots without a limit", advice = UNLIMITED_SLOTS);
    }
    // Where there is no room for all, those who get one can stream.
    let mut made = dropped;
    for slot in &plan.create {
        say!(INFO, "creating replication slot", slot = slot);
        let create = format!(
            "SELECT pg_create_physical_replication_slot({}, {})",
            literal(slot),
            prefix.is_some()
        );
        let created = owner.execute(&create).map_err(|error| {
            let outcome = failed(match &locked_out {
                None => format!("{slot} can't be made, so its standby can't stream: {error}"),
                Some(why) => format!(
                    "{} is not let in to make {slot}, and its standby can't stream: {why}; let it in by pg_hba.conf or with a line in \
                     its ~/.pgpass, or ALTER ROLE {} REPLICATION ({error})",
                    ctx.params.pgdba,
                    ctx.params.monitor_user.as_deref().unwrap_or(&ctx.params.pgdba),
                ),
            });
            if error.is_answer() {
                Unmade::Certain(outcome)
            } else {
                Unmade::Passing(outcome)
            }
        });
        made = made.and(created);
        point!(SlotCreated);
    }
    made
}
