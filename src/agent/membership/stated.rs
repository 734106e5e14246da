//! What this node and the other members have stated: R8's statements, as attrd has them.

use std::collections::BTreeMap;

use crate::decide::state_loss::Stated;
use crate::decide::witness::{Said, Statement};
use crate::model::cluster_view::ClusterView;
use crate::model::sync_names::StandbyName;
use crate::pacemaker::attributes;

use crate::agent::context::Context;
use crate::agent::step::{Step, failed};

pub(crate) fn attribute(ctx: &Context<'_>) -> String {
    format!("{}-statement", ctx.resource)
}

/// The epoch of the recorded promotion; 0 for a record that an older agent wrote.
pub(crate) fn recorded_epoch(ctx: &Context<'_>, view: &ClusterView) -> Step<u64> {
    let record = ctx.record(view)?;
    Ok(record.and_then(|r| r.epoch).unwrap_or_default())
}

/// What the cluster has of this node.
pub(crate) fn own_stated(ctx: &Context<'_>) -> Step<Stated> {
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    let said = attributes::read_all(&attribute(ctx), deadline).map_err(failed)?;
    let own = said.iter().find(|(host, _)| *host == ctx.me);
    Ok(match own.map(|(_, text)| text.as_str()) {
        None | Some("") => Stated::Nothing,
        Some(text) => {
            Said::parse(text).map_or(Stated::Something, |said| Stated::About(said.latest))
        }
    })
}

/// Every statement about the present epoch, by other members.
pub(crate) fn all(ctx: &Context<'_>, view: &ClusterView) -> Step<BTreeMap<StandbyName, Statement>> {
    let epoch = recorded_epoch(ctx, view)?;
    let of_epoch = said(ctx, view)?
        .into_iter()
        .filter(|(_, said)| said.of == epoch);
    Ok(of_epoch
        .map(|(name, said)| (name, said.statement))
        .collect())
}

/// Every statement by other members.
pub(crate) fn said(ctx: &Context<'_>, view: &ClusterView) -> Step<BTreeMap<StandbyName, Said>> {
    let deadline = ctx.deadline.min(ctx.params.crm_attr_timeout);
    let said = attributes::read_all(&attribute(ctx), deadline).map_err(failed)?;
    let peers = ctx.peers(view);
    let mut statements = BTreeMap::new();
    for node in peers {
        let is_member = view.node(&node).is_some_and(|n| n.in_membership);
        let text = said
            .iter()
            .find(|(host, _)| *host == node)
            .map(|(_, text)| text);
        if let Some(text) = text.filter(|text| is_member && !text.is_empty()) {
            let statement =
                Said::parse(text).map_err(|why| failed(format!("{node} states {why}")))?;
            statements.insert(node.lower().to_owned(), statement);
        }
    }
    Ok(statements)
}
