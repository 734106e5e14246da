//! The answer as a sentence, and what to type.

use crate::decide::barred::Bar;
use crate::decide::eligibility::Promise;
use crate::decide::observed::{CompanionBan, LockSeen, Observed};
use crate::decide::why::explanation::{Answer, Explanation, State};
use crate::decide::why::reason::Reason;
use crate::decide::why::words::{and, one_of, or};
use crate::model::cluster_view::NoQuorumPolicy;
use crate::model::node_name::NodeName;
use crate::model::sync_names::StandbyName;

/// Why commits wait, if they do.
pub(super) fn waiting(seen: &Observed) -> Option<String> {
    let primary = seen.primary()?;
    let is_told = || {
        let degraded = seen.nodes.get(primary).and_then(|n| n.degraded.as_ref());
        degraded.is_some_and(|(word, _)| word == "waiting")
    };
    let missing = missing(seen);
    let waits = missing
        .as_ref()
        .map_or_else(is_told, |names| !names.is_empty());
    if !waits {
        return None;
    }
    let who = match missing.as_deref() {
        Some(names @ [_, ..]) => {
            format!("{} does not stream", one_of(names, Clone::clone))
        }
        Some([]) | None => "too few of the standbys they wait for stream".to_owned(),
    };
    let is_here = seen.me.as_ref() == Some(primary);
    Some(match &seen.hold {
        Some(hold) if is_here => hold.clone(),
        None if is_here => format!("{who}; the agent's next monitor decides what follows"),
        Some(_) | None => {
            format!("{who}; expgsql cluster why on {primary} says why they are not let go")
        }
    })
}

/// Standbys that commits wait for and that do not stream, where too few do; `None`: the primary was not asked.
pub(super) fn missing(seen: &Observed) -> Option<Vec<StandbyName>> {
    let in_force = seen.in_force.as_ref()?;
    let everybody = seen.replicas().map(|(n, _)| n.lower().to_owned()).collect();
    let is_away = |name: &StandbyName| {
        let node = seen.node_named(name).and_then(|node| seen.nodes.get(node));
        node.is_some_and(|node| node.streams == Some(false))
    };
    let named = in_force.named(&everybody).into_iter();
    let (away, there): (Vec<_>, Vec<_>) = named.partition(is_away);
    let is_enough = there.len() >= in_force.count();
    Some(if is_enough { Vec::new() } else { away })
}

pub(super) fn sentence(seen: &Observed, e: &Explanation) -> (String, Vec<String>) {
    match &e.state {
        State::NotPromotable => (
            "Pacemaker promotes nobody here: rep_mode is none or slave.".to_owned(),
            Vec::new(),
        ),
        State::Several(names) => (
            format!(
                "{} are both on record as the primary: look at each at once.",
                and(&names.iter().map(NodeName::as_str).collect::<Vec<_>>())
            ),
            vec!["compare crm_mon -1Afr on each of them, and stop the one that RSC_REPL_INFO does not name".to_owned()],
        ),
        State::Promoting(name) => (
            format!("There is no primary yet: {name} is being promoted."),
            Vec::new(),
        ),
        State::Primary(primary) => with_primary(seen, e, primary),
        State::None => without_primary(seen, e),
    }
}

fn with_primary(seen: &Observed, e: &Explanation, primary: &NodeName) -> (String, Vec<String>) {
    let candidates: Vec<&str> = e.candidates().map(NodeName::as_str).collect();
    let next = match candidates.as_slice() {
        [] => format!("nobody can take over: {}", nobody(e)),
        [one] => format!("{one} takes over{}", caution(seen, primary)),
        several => format!(
            "{} takes over, whichever has more{}",
            or(several),
            caution(seen, primary)
        ),
    };
    let kept = |ban: &&CompanionBan| candidates.contains(&ban.node.as_str());
    let kept: Vec<&CompanionBan> = seen.companion_bans.iter().filter(kept).collect();
    let without = kept.iter().map(|ban| {
        format!(
            "; but the constraint {} keeps {} away from {}, so clients would not reach it there",
            ban.id, ban.companion, ban.node
        )
    });
    let next = next + &without.collect::<String>();
    let advice = if candidates.is_empty() {
        fixes(seen, e)
    } else {
        let delete = kept.iter().map(|ban| {
            format!(
                "pcs constraint delete {id} (crm configure delete {id})",
                id = ban.id
            )
        });
        delete.collect()
    };
    (
        format!("{primary} is the primary. If it fails now, {next}."),
        advice,
    )
}

/// What the loss of the whole machine would add to that of its server.
fn caution(seen: &Observed, primary: &NodeName) -> String {
    let mut words = String::new();
    if matches!(seen.lock, LockSeen::Silent { .. }) {
        words = format!(
            " (while the lock service is silent, only if {primary}'s machine can still be asked)"
        );
    }
    let Some(votes) = seen.votes.filter(|v| v.one_each && v.expected >= 3) else {
        return words;
    };
    let left = seen.nodes.values().filter(|n| n.is_member()).count() - 1;
    let is_enough = left * 2 > votes.expected || seen.no_quorum_policy == NoQuorumPolicy::Ignore;
    if !is_enough && seen.nodes.len() == votes.expected {
        words = format!(
            "{words}; but the loss of its whole machine would leave {left} of {} votes, which is no quorum",
            votes.expected
        );
    }
    words
}

/// Why nobody is a candidate, in one line.
fn nobody(e: &Explanation) -> String {
    if let Some(reason) = e.cluster.first() {
        return reason.to_string();
    }
    // Who lacks the data is nobody to wait for, unless all do.
    let has_holder = e
        .nodes
        .values()
        .any(|answer| !answer.is_primary && answer.has_the_data());
    let each: Vec<String> = e
        .nodes
        .iter()
        .filter(|(_, answer)| !answer.is_primary && answer.has_the_data() == has_holder)
        .filter_map(|(name, answer)| Some(format!("{name}: {}", answer.reasons.first()?)))
        .collect();
    if each.is_empty() {
        "there is no other node".to_owned()
    } else {
        each.join("; ")
    }
}

fn without_primary(seen: &Observed, e: &Explanation) -> (String, Vec<String>) {
    if let Some(reason) = e.cluster.first() {
        return (format!("There is no primary: {reason}."), fixes(seen, e));
    }
    let candidates: Vec<&str> = e.candidates().map(NodeName::as_str).collect();
    if !candidates.is_empty() && seen.is_planned == Some(false) {
        return unplanned(seen, &candidates);
    }
    if !candidates.is_empty() {
        return (
            format!(
                "There is no primary yet: {} may be promoted, and nothing is seen that keeps Pacemaker from it.",
                or(&candidates)
            ),
            vec!["look again in a few seconds; if nothing changes: crm_mon -1Afr, and Pacemaker's log on the DC".to_owned()],
        );
    }
    let holders: Vec<String> = e
        .nodes
        .iter()
        .filter(|(_, answer)| answer.has_the_data())
        .filter_map(|(name, answer)| {
            Some(format!("{name} ({})", in_short(answer.reasons.first()?)))
        })
        .collect();
    let mut advice = fixes(seen, e);
    let text = if holders.is_empty() {
        format!(
            "There is no primary, and no node may become one: {}.",
            nobody(e)
        )
    } else {
        let which: Vec<&str> = holders.iter().map(String::as_str).collect();
        let is_recorded = seen.record.as_ref().is_ok_and(Option::is_some);
        let is_each = seen.claim().is_ok_and(|claim| claim.is_of_each());
        match seen.promise {
            Some(Promise::Sync) if is_recorded && !is_each => format!(
                "There is no primary: it takes {} to know every acknowledged commit.",
                or(&which)
            ),
            Some(Promise::Sync) if is_recorded => format!(
                "There is no primary: nobody but {} is known to have every acknowledged commit.",
                and(&which)
            ),
            Some(_) | None => format!(
                "There is no primary: nobody but {} may be promoted.",
                and(&which)
            ),
        }
    };
    let is_away = |reason: &Reason| matches!(reason, Reason::Offline(_));
    let is_lost = |answer: &Answer| answer.has_the_data() && answer.reasons.iter().any(is_away);
    if holders.is_empty() || e.nodes.values().any(is_lost) {
        advice.push(
            "only if that can't be done, and the last commits may be lost: expgsql cluster reset-master NODE"
                .to_owned(),
        );
    }
    (text, advice)
}

/// The agent offers somebody, and Pacemaker promotes nobody.
fn unplanned(seen: &Observed, candidates: &[&str]) -> (String, Vec<String>) {
    let may = or(candidates);
    let constraints = match &seen.held_by[..] {
        [] => String::new(),
        ids => format!(
            "; another resource may hold it back, by {}",
            and(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        ),
    };
    (
        format!("There is no primary: {may} may be promoted, and Pacemaker itself plans no promotion{constraints}."),
        vec![
            "see what Pacemaker makes of the configuration: crm_simulate --live-check --run --show-scores; a promotion score below 0, or an action that is blocked, is the reason"
                .to_owned(),
        ],
    )
}

/// The part of a reason before its explanation.
fn in_short(reason: &Reason) -> String {
    if let Reason::Barred(bar) = reason {
        let is_nowhere = *bar == Bar::Nowhere;
        return if is_nowhere {
            "not let run there"
        } else {
            "banned"
        }
        .to_owned();
    }
    let text = reason.to_string();
    let short = text.split(':').next().unwrap_or_default();
    short.to_owned()
}

/// What helps: first what concerns all, then the nodes that have the data.
pub(super) fn fixes(seen: &Observed, e: &Explanation) -> Vec<String> {
    let any = seen.nodes.keys().next();
    let all = e.cluster.iter().filter_map(|r| r.fix(any?, &seen.clone));
    let (holders, others): (Vec<_>, Vec<_>) = e
        .nodes
        .iter()
        .filter(|(_, answer)| !answer.is_primary)
        .partition(|(_, answer)| answer.has_the_data());
    let worth = if holders.is_empty() { others } else { holders };
    let each = worth.into_iter().flat_map(|(name, answer)| {
        let fix = |reason: &Reason| reason.fix(name, &seen.clone);
        answer.reasons.iter().filter_map(fix).collect::<Vec<_>>()
    });
    let mut unique = Vec::new();
    for fix in all.chain(each) {
        if !unique.contains(&fix) {
            unique.push(fix);
        }
    }
    unique
}
