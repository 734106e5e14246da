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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::documented;
    use crate::decide::observed::Presence;
    use crate::decide::observed::example::{healthy, name, quorum_of_three};

    const PLAIN: Screen = Screen {
        width: None,
        colour: false,
        live: false,
    };

    fn shown(seen: &Observed, screen: Screen) -> Vec<String> {
        render(seen, &explain(seen), screen)
    }

    /// Both gone, with a word that no quorum is needed.
    fn lost() -> Observed {
        let mut seen = healthy();
        seen.no_quorum_policy = crate::model::cluster_view::NoQuorumPolicy::Ignore;
        for gone in ["node1", "node3"] {
            let node = seen.nodes.get_mut(&name(gone)).unwrap();
            node.presence = Presence::Lost;
            node.status = None;
        }
        seen
    }

    #[test]
    fn the_answer_comes_first_and_then_each_node() {
        assert_eq!(
            shown(&healthy(), PLAIN),
            [
                "node1 is the primary. If it fails now, node3 takes over.",
                "",
                "     node1  is the primary",
                "no   node2  data status is STREAMING|ASYNC: commits did not wait for this node",
                "yes  node3  the primary counts on it: every acknowledged commit is there",
            ]
        );
        let among = shown(&quorum_of_three(), PLAIN);
        assert!(
            among[3].starts_with("yes  node2  it is one of those among whom"),
            "{among:?}"
        );
    }

    #[test]
    fn what_helps_and_what_speaks_for_a_node_is_said() {
        let text = shown(&lost(), PLAIN);
        let has = |line: &str| assert!(text.iter().any(|l| l == line), "{line:?}: {text:#?}");
        has(
            "  do    bring node1 back: its machine, its network, then systemctl start pacemaker there",
        );
        has(
            "        bring node3 back: its machine, its network, then systemctl start pacemaker there",
        );
        has("no   node1  offline: it left without a word, and may run out of reach");
        has("            but: it was the last primary, and nobody was promoted since");
    }

    #[test]
    fn every_line_fits_its_terminal() {
        for width in [60, 80] {
            let screen = Screen {
                width: Some(width),
                colour: true,
                live: false,
            };
            for line in shown(&lost(), screen) {
                assert!(console::measure_text_width(&line) <= width, "{line}");
            }
        }
    }

    #[test]
    fn the_json_has_its_documented_members() {
        let documented = include_str!("../../../docs/status.md");
        let seen = lost();
        let now = Timestamp::from_second(1_795_272_492).unwrap();
        let value = serde_json::to_value(document(&seen, &explain(&seen), now)).unwrap();
        let members = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let mut names = members(&value);
        names.extend(members(&value["nodes"]["node1"]));
        names.extend(members(&value["nodes"]["node1"]["reasons"][0]));
        assert!(names.len() > 15, "{names:?}");
        for name in names {
            assert!(
                documented.contains(&format!("`{name}`")),
                "docs/status.md lacks {name}"
            );
        }
        assert_eq!(value["state"], "none");
        assert_eq!(value["nodes"]["node1"]["reasons"][0]["code"], "offline");
    }

    #[test]
    fn every_documented_member_and_value_of_the_json_occurs() {
        let now = Timestamp::from_second(1_795_272_492).unwrap();
        let documents: Vec<_> = documented::pictures()
            .iter()
            .map(|seen| serde_json::to_value(document(seen, &explain(seen), now)).unwrap())
            .collect();
        documented::assert_occurs("### why --json", None, &documents);
    }
}
