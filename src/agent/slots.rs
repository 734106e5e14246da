//! Replication slots: each standby's ticket to the primary it is meant to follow, which with
//! `replication_slot_name` also holds back the WAL it still needs.

use std::collections::BTreeSet;

use crate::decide::eligibility::Promise;
use crate::decide::slots::{Plan, plan};
use crate::log::say;
use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::ticket::{is_ticket, plain, ticket};
use crate::postgres::process::Running;
use crate::postgres::session::{Session, literal};
use crate::postgres::views;

use super::context::Context;
use super::statement::RELOADS_CONNINFO;
use super::{Step, ready};

/// What an operator is told where nothing bounds what slots hold back.
pub(super) const UNLIMITED_SLOTS: &str = "replication_slot_name is set and max_slot_wal_keep_size is not: a standby that stays away makes \
    the primary keep WAL until its disk is full; set max_slot_wal_keep_size to what the disk can spare";

/// The slot by which `standby` streams from the recorded primary; `None`: it needs none.
pub(super) fn slot_of(
    ctx: &Context<'_>,
    standby: &NodeName,
    record: Option<&ReplInfo>,
) -> Option<String> {
    let prefix = ctx.params.replication_slot_name.as_deref();
    if uses_tickets(ctx) {
        // Without a record nobody was promoted yet, and nobody deposed.
        let record = record?;
        return Some(ticket(prefix, standby, record.epoch?, &record.node));
    }
    prefix.map(|prefix| of_prefix(prefix, standby))
}

/// The older agents' name: `prefix_node`.
fn of_prefix(prefix: &str, node: &NodeName) -> String {
    format!("{prefix}_{}", plain(node))
}

/// Where commits wait for standbys, and a standby can change its slot without a restart.
fn uses_tickets(ctx: &Context<'_>) -> bool {
    ctx.promise() == Promise::Sync && ctx.data_version() >= Some(RELOADS_CONNINFO)
}

/// On a primary: makes what is missing and drops what is of an earlier promotion. It takes the
/// owner's right to do so; to see what is there, any session's will do.
pub(super) fn on_primary(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
    record: Option<&ReplInfo>,
) -> Step<()> {
    let record = record.filter(|r| r.node == ctx.me);
    let wanted = nodes.iter().filter_map(|n| slot_of(ctx, n, record));
    bring_about(ctx, running, session, nodes, &wanted.collect())
}

/// On a standby: drops the nodes' slots of an earlier time as primary, which would hold back WAL
/// until the disk is full.
///
/// One that is in use is left: without tickets the others find this node at the primary's address
/// until that has moved, and stream from it for a moment, as cascading standbys do.
pub(super) fn on_standby(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
) -> Step<()> {
    bring_about(ctx, running, session, nodes, &BTreeSet::new())
}

fn bring_about(
    ctx: &Context<'_>,
    running: &Running,
    session: &mut Session,
    nodes: &[NodeName],
    wanted: &BTreeSet<String>,
) -> Step<()> {
    let prefix = ctx.params.replication_slot_name.as_deref();
    if prefix.is_none() && !uses_tickets(ctx) {
        return Ok(());
    }
    let present = views::slots(session).map_err(|e| ready::refused(&e))?;
    let is_ours = |slot: &str| {
        let is_plain = |p: &str| nodes.iter().any(|n| of_prefix(p, n) == slot);
        is_ticket(prefix, slot) || prefix.is_some_and(is_plain)
    };
    let plan = plan(&present, wanted, is_ours, prefix.is_some());
    if plan == Plan::default() {
        return Ok(());
    }
    let mut owner = ctx
        .connect_as_owner(running)
        .map_err(|e| ready::refused(&e))?;
    for slot in &plan.drop {
        say!(INFO, "dropping replication slot", slot = slot);
        let drop = format!("SELECT pg_drop_replication_slot({})", literal(slot));
        owner.execute(&drop).map_err(|e| ready::refused(&e))?;
    }
    let holds_back = prefix.is_some() && !plan.create.is_empty();
    if holds_back && !views::limits_slots(&mut owner).map_err(|e| ready::refused(&e))? {
        say!(WARN, "slots without a limit", advice = UNLIMITED_SLOTS);
    }
    for slot in &plan.create {
        say!(INFO, "creating replication slot", slot = slot);
        let create = format!(
            "SELECT pg_create_physical_replication_slot({}, {})",
            literal(slot),
            prefix.is_some()
        );
        owner.execute(&create).map_err(|e| ready::refused(&e))?;
    }
    Ok(())
}
