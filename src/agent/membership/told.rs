//! What a monitor tells besides its answer: see [`crate::decide::told`].

use crate::decide::told::{Seen, by_attribute, by_code};
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::node_name::NodeName;
use crate::ocf::{OcfCode, Outcome};

use crate::agent::context::Context;
use crate::agent::membership::board::Board;

/// A recurring monitor's answer, by the code that Pacemaker bears, and in the attribute.
pub(crate) fn told(ctx: &Context<'_>, outcome: Outcome) -> Outcome {
    let is_degraded = outcome.code != outcome.code.plain();
    let is_well = matches!(outcome.code, OcfCode::Success | OcfCode::RunningPromoted);
    // What could not be read in this call is not read for this.
    let (true, Some(view)) = (is_degraded || is_well, ctx.last_view()) else {
        return outcome;
    };
    let attribute = if ctx.env.check_level > 0 {
        TransientAttribute::DeepNotice
    } else {
        TransientAttribute::Notice
    };
    let board = Board::of(ctx, view);
    let mut reason = outcome.reason.as_deref().filter(|_| is_degraded);
    if attribute == TransientAttribute::DeepNotice {
        // What the plain monitor says stands behind it, and is told by that one.
        let plain = board.transient(&ctx.me, TransientAttribute::Notice);
        let plain = plain.map(|text| format!("; {text}")).unwrap_or_default();
        reason = reason.map(|text| text.strip_suffix(&plain).unwrap_or(text));
        reason = reason.filter(|text| !plain.ends_with(&format!("; {text}")));
    }
    let change = by_attribute(board.transient(&ctx.me, attribute), reason);
    if let Some(text) = change
        && let Err(failure) = board.set_own(attribute, text.as_deref())
    {
        say!(WARN, "what is told", reason = failure.text());
    }
    if !is_degraded {
        return outcome;
    }
    let history = |node: Option<&NodeName>| {
        let node = node.and_then(|name| board.view.node(name));
        let history = node.and_then(|node| node.history.get(ctx.resource.as_str()));
        history.map_or(&[][..], Vec::as_slice)
    };
    let may_say = by_code(Seen {
        is_standby: outcome.code == OcfCode::Degraded,
        interval_ms: ctx.env.interval.as_millis().try_into().unwrap_or(u32::MAX),
        own: history(Some(&ctx.me)),
        coordinators: history(board.view.dc.as_ref()),
    });
    if may_say {
        return outcome;
    }
    say!(
        INFO,
        "degraded, which the code does not say now: Pacemaker could not cancel this monitor then",
        code = outcome.code.as_u8(),
        reason = outcome.reason.as_deref().unwrap_or_default()
    );
    Outcome {
        code: outcome.code.plain(),
        reason: outcome.reason,
    }
}
