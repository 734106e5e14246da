//! The slots of standbys outside the cluster, on each member (`external_slot_list`). See [`crate::decide::external_slots`].

use crate::decide::external_slots::{Change, Held, on_primary, on_standby};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::postgres::session::literal;
use crate::postgres::views;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::server::answering::{Server, refused};
use crate::agent::step::{Step, failed};

/// On the primary: makes them, and tells the standbys how far they are.
pub(crate) fn look_after(board: &Board<'_, '_>, server: &mut Server) -> Step<()> {
    let (ctx, list) = (board.ctx, &board.ctx.params.external_slot_list);
    if list.is_empty() {
        return board.set_own(TransientAttribute::ExternalSlots, None);
    }
    let present = views::external_slots(&mut server.session, list).map_err(|e| refused(&e))?;
    let told = Held::by(&present).words();
    board.set_own(TransientAttribute::ExternalSlots, told.as_deref())?;
    bring_about(ctx, server, &on_primary(list, &present))
}

/// On a standby: makes them, and moves them behind the primary's.
pub(crate) fn follow(board: &Board<'_, '_>, server: &mut Server) -> Step<()> {
    let (ctx, list) = (board.ctx, &board.ctx.params.external_slot_list);
    board.set_own(TransientAttribute::ExternalSlots, None)?;
    if list.is_empty() {
        return Ok(());
    }
    let words = board.primary().and_then(|primary| {
        let node = board.view.node(primary)?;
        node.transient(TransientAttribute::ExternalSlots, &ctx.resource)
    });
    let held = words.map(Held::read).unwrap_or_default();
    let present = views::external_slots(&mut server.session, list).map_err(|e| refused(&e))?;
    bring_about(
        ctx,
        server,
        &on_standby(list, &present, &held, server.state.replayed),
    )
}

fn bring_about(ctx: &Context<'_>, server: &Server, changes: &[Change]) -> Step<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut owner = ctx
        .connect_as_owner(&server.running)
        .map_err(|error| refused(&error))?;
    let mut all = Ok(());
    for change in changes {
        let (what, name, steps) = match change {
            Change::Create(name) => ("creating", name, vec![create(name)]),
            Change::Renew(name) => ("renewing", name, vec![drop_slot(name), create(name)]),
            Change::Advance(name, lsn) => {
                let (slot, to) = (literal(name), literal(&lsn.to_string()));
                let advance = format!("SELECT pg_replication_slot_advance({slot}, {to}::pg_lsn)");
                ("advancing", name, vec![advance])
            }
        };
        say!(
            INFO,
            "slot of a standby outside the cluster",
            what = what,
            slot = name
        );
        // Where there is no room for all, those who get one can stream.
        let made = steps.iter().try_for_each(|step| owner.execute(step));
        let made = made.map_err(|error| failed(format!("external_slot_list: {name}: {error}")));
        all = all.and(made);
    }
    all
}

fn create(name: &str) -> String {
    let name = literal(name);
    format!("SELECT pg_create_physical_replication_slot({name}, true)")
}

fn drop_slot(name: &str) -> String {
    format!("SELECT pg_drop_replication_slot({})", literal(name))
}
