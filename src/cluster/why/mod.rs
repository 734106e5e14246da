//! `cluster why`: why there is no primary, or who the next one would be. Explained in `decide::why`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::decide::eligibility::Ground;
use crate::decide::observed::Observed;
use crate::decide::why::{Answer, Explanation, Reason, State, explain};
use crate::model::node_name::NodeName;

use super::Failure;
use super::status::{Depth, Screen, VERSION, WhyArgs, bad, good, look, odd, print, stamp, wrapped};

/// Explains who may be promoted.
///
/// # Errors
/// [`Failure`]: Pacemaker does not answer, or it is not clear which resource is meant.
pub(super) fn why(args: &WhyArgs) -> Result<(), Failure> {
    let seen = look(args.resource.as_deref(), Depth::Everything)?;
    let explanation = explain(&seen);
    let text = if args.json {
        let document = document(&seen, &explanation, Timestamp::now());
        serde_json::to_string_pretty(&document).map_err(Failure::plain)?
    } else {
        render(&seen, &explanation, Screen::of_stdout()).join("\n")
    };
    print(&text)
}

/// The form of the JSON, documented in docs/status.md.
#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    seen_at: String,
    seen_from: Option<NodeName>,
    resource: String,
    state: &'static str,
    primary: Option<NodeName>,
    answer: String,
    advice: Vec<String>,
    candidates: Vec<NodeName>,
    cluster: Vec<Against>,
    nodes: BTreeMap<String, Node>,
    commits_wait: Option<String>,
    unread: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Node {
    may_be_promoted: bool,
    is_primary: bool,
    ground: Option<&'static str>,
    reasons: Vec<Against>,
}

#[derive(Debug, Serialize)]
struct Against {
    code: &'static str,
    text: String,
    fix: Option<String>,
}

impl Against {
    fn new(reason: &Reason, node: Option<&NodeName>, clone: &str) -> Self {
        Self {
            code: reason.code(),
            text: reason.to_string(),
            fix: node.and_then(|node| reason.fix(node, clone)),
        }
    }
}

fn document(seen: &Observed, e: &Explanation, now: Timestamp) -> Document {
    let (state, primary) = match &e.state {
        State::Primary(name) => ("primary", Some(name.clone())),
        State::Promoting(_) => ("promoting", None),
        State::Several(_) => ("several", None),
        State::None => ("none", None),
        State::NotPromotable => ("not-promotable", None),
    };
    let any = seen.nodes.keys().next();
    let clone = seen.clone.as_str();
    Document {
        version: VERSION,
        seen_at: stamp(now),
        seen_from: seen.me.clone(),
        resource: seen.resource.to_string(),
        state,
        primary,
        answer: e.answer.clone(),
        advice: e.advice.clone(),
        candidates: e.candidates().cloned().collect(),
        cluster: e
            .cluster
            .iter()
            .map(|reason| Against::new(reason, any, clone))
            .collect(),
        nodes: e
            .nodes
            .iter()
            .map(|(name, answer)| {
                let against = |reason| Against::new(reason, Some(name), clone);
                let node = Node {
                    may_be_promoted: e.candidates().any(|c| c == name),
                    is_primary: answer.is_primary,
                    ground: answer.ground.map(code),
                    reasons: answer.reasons.iter().map(against).collect(),
                };
                (name.to_string(), node)
            })
            .collect(),
        commits_wait: e.waiting.clone(),
        unread: seen.unread.clone(),
    }
}

const fn code(ground: Ground) -> &'static str {
    match ground {
        Ground::RecordedPrimary => "recorded-primary",
        Ground::Claimed => "claimed",
        Ground::FirstElection => "first-election",
        Ground::AsyncStandby => "async-standby",
    }
}

fn in_words(seen: &Observed, ground: Ground) -> &'static str {
    let is_each = seen.claim().is_ok_and(|claim| claim.is_of_each());
    match ground {
        Ground::Claimed if !is_each => {
            "it is one of those among whom every acknowledged commit is; whoever has the most is promoted"
        }
        Ground::RecordedPrimary => "it was the last primary, and nobody was promoted since",
        Ground::Claimed => "the primary counts on it: every acknowledged commit is there",
        Ground::FirstElection => "nobody was ever promoted here, and it has the most WAL",
        Ground::AsyncStandby => "it streams; in asynchronous mode that is enough",
    }
}

fn render(seen: &Observed, e: &Explanation, screen: Screen) -> Vec<String> {
    let style = match (&e.state, e.candidates().next()) {
        (State::Primary(_), Some(_)) | (State::NotPromotable, _) => good(),
        (State::Primary(_), None) | (State::Promoting(_), _) => odd(),
        (State::Several(_) | State::None, _) => bad(),
    };
    let mut text: Vec<String> = wrapped(&e.answer, 2, screen.width)
        .into_iter()
        .map(|line| screen.paint(line, &style.clone().bold()))
        .collect();
    for (i, advice) in e.advice.iter().enumerate() {
        let label = if i == 0 { "  do" } else { "" };
        text.extend(wrapped(&format!("{label:8}{advice}"), 8, screen.width));
    }
    if let Some(waiting) = &e.waiting {
        text.extend(wrapped(
            &format!("Commits wait: {waiting}"),
            2,
            screen.width,
        ));
    }
    text.push(String::new());
    for reason in &e.cluster {
        let line = format!("{}  {reason}", screen.paint("no  every node", &bad()));
        text.extend(wrapped(&line, 4, screen.width));
    }
    let width = seen
        .nodes
        .keys()
        .map(|n| n.as_str().len())
        .max()
        .unwrap_or(0);
    for (name, answer) in &e.nodes {
        text.extend(of_node(seen, e, name, answer, width, screen));
    }
    for unread in &seen.unread {
        text.extend(wrapped(&format!("not known: {unread}"), 2, screen.width));
    }
    text
}

fn of_node(
    seen: &Observed,
    e: &Explanation,
    name: &NodeName,
    answer: &Answer,
    width: usize,
    screen: Screen,
) -> Vec<String> {
    let named = format!("{:width$}", name.as_str());
    let line = |verdict: &str, rest: &str| {
        wrapped(
            &format!("{verdict}  {named}  {rest}"),
            width + 7,
            screen.width,
        )
    };
    if answer.is_primary {
        return line("   ", "is the primary");
    }
    if answer.reasons.is_empty() {
        let (verdict, why) = match answer.ground {
            Some(ground) if e.cluster.is_empty() => {
                (screen.paint("yes", &good()), in_words(seen, ground))
            }
            Some(ground) => (screen.paint("no ", &bad()), in_words(seen, ground)),
            None => ("   ".to_owned(), ""),
        };
        return line(&verdict, why);
    }
    let mut text = Vec::new();
    for (i, reason) in answer.reasons.iter().enumerate() {
        let reason_text = reason.to_string();
        if i == 0 {
            text.extend(line(&screen.paint("no ", &bad()), &reason_text));
        } else {
            let indent = " ".repeat(width + 7);
            text.extend(wrapped(
                &format!("{indent}{reason_text}"),
                width + 7,
                screen.width,
            ));
        }
        if let Some(fix) = reason
            .fix(name, &seen.clone)
            .filter(|fix| !e.advice.contains(fix))
        {
            let indent = " ".repeat(width + 7);
            text.extend(wrapped(
                &format!("{indent}  -> {fix}"),
                width + 12,
                screen.width,
            ));
        }
    }
    if let Some(ground) = answer.ground.filter(|_| answer.has_the_data()) {
        let indent = " ".repeat(width + 7);
        text.extend(wrapped(
            &format!("{indent}but: {}", in_words(seen, ground)),
            width + 12,
            screen.width,
        ));
    }
    text
}
