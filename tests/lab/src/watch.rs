//! Tells on the timeline what changes in the cluster while the demonstration goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::{Cluster, Role, ScoreClient, Status};

use crate::demo::{Timeline, Tone};

/// Silence of the cluster that is worth a line.
const PAUSE: Duration = Duration::from_millis(700);

/// What is shown of a cluster: one word for each node, and the place of the writer's address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Picture {
    nodes: BTreeMap<String, String>,
    writer: Option<String>,
}

impl Picture {
    /// While an operation runs on a node, its word stays the earlier picture's.
    fn of(status: &Status, before: &Self) -> Self {
        let word = |name: &str| {
            if !status.is_online(name) {
                return "gone".to_owned();
            }
            let has = |role| status.of(lab::resources::RESOURCE, role).contains(&name);
            let detail = status.attribute(name, "pgsql-status").unwrap_or_default();
            if has(Role::Promoted) {
                "primary".to_owned()
            } else if has(Role::Unpromoted) {
                format!("standby {detail}").trim_end().to_owned()
            } else if has(Role::Changing) {
                before
                    .nodes
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| "starting".to_owned())
            } else {
                "no PostgreSQL".to_owned()
            }
        };
        let nodes = status
            .nodes
            .iter()
            .map(|node| (node.name.clone(), word(&node.name)))
            .collect();
        Self {
            nodes,
            writer: status.writer().map(str::to_owned),
        }
    }

    /// The lines that tell the way from an earlier picture to this one.
    fn changes(&self, before: &Self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .nodes
            .iter()
            .filter(|(node, word)| before.nodes.get(*node) != Some(word))
            .map(|(node, word)| match before.nodes.get(node) {
                Some(old) => format!("{node}: {old} -> {word}"),
                None => format!("{node}: {word}"),
            })
            .collect();
        if self.writer != before.writer {
            lines.push(match &self.writer {
                Some(node) => format!("the writer's address is on {node}"),
                None => "the writer's address is nowhere".to_owned(),
            });
        }
        lines
    }
}

/// Watches until `over`.
pub(crate) fn watch(
    cluster: &Cluster,
    client: &ScoreClient,
    timeline: &Timeline,
    over: &AtomicBool,
) {
    let mut picture = Picture::default();
    let mut paused: Option<Duration> = None;
    while !over.load(Ordering::Relaxed) {
        if let Ok(status) = cluster.status() {
            let now = Picture::of(&status, &picture);
            now.changes(&picture)
                .iter()
                .for_each(|line| timeline.say(Tone::Change, line));
            picture = now;
        }
        let silence = client.silence();
        match paused {
            None if silence > PAUSE => {
                timeline.say(Tone::Broken, "writes pause");
                paused = Some(client.now().saturating_sub(silence));
            }
            Some(since) if silence < PAUSE => {
                let score = client.score();
                let by = score
                    .acks
                    .last()
                    .map_or("nobody", |ack| &ack.node)
                    .to_owned();
                let length = score.longest_gap_since(since + PAUSE / 2);
                timeline.say(
                    Tone::Good,
                    &format!("writes go on, on {by}, after {:.1} s", length.as_secs_f64()),
                );
                paused = None;
            }
            None | Some(_) => {}
        }
        lab::rest(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let picture = |first: &str, writer: Option<&str>| Picture {
            nodes: BTreeMap::from([
                ("node1".into(), first.into()),
                ("node2".into(), "standby HS:sync".into()),
            ]),
            writer: writer.map(str::to_owned),
        };
        let lines = picture("gone", None).changes(&picture("primary", Some("node1")));
        assert_eq!(
            lines,
            ["node1: primary -> gone", "the writer's address is nowhere"]
        );
    }
}
