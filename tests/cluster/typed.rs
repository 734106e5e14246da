//! What a page of docs/ tells an administrator to type is read from it, and typed.
//!
//! A comment in front of a block says where: `<!-- run: every node -->`, `one node`, `the other nodes`; `the new
//! node`, `the node that leaves` and `the nodes that stay`, where a page is about one of them; `nobody` where it is only shown.

use std::path::Path;

use lab::{Cluster, Node, Package, Result, make_package};

use super::stage::{expect, wrong};

/// Where a block of commands is run, as the comment in front of it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    EveryNode,
    OneNode,
    OtherNodes,
    /// The one that the page is about.
    ThatNode,
    /// All but that one.
    Rest,
}

/// The commands of a page below a heading, in order.
fn commands(page: &str, heading: &str) -> Result<Vec<(Where, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(page);
    let text =
        std::fs::read_to_string(&path).map_err(|error| wrong(format!("{path:?}: {error}")))?;
    let level = heading.split(' ').next().unwrap_or_default();
    let mut found = Vec::new();
    let mut place = None;
    let mut block: Option<String> = None;
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    // A part ends where one of the same level begins, or of a higher one.
    let is_end = |line: &str| {
        let begin = line.split(' ').next().unwrap_or_default();
        (1..=level.len()).contains(&begin.len()) && begin.chars().all(|c| c == '#')
    };
    for line in lines {
        match (&mut block, line) {
            (None, line) if is_end(line) => break,
            (None, "```") if place.is_some() => block = Some(String::new()),
            (None, _) => {
                if let Some(rest) = line.strip_prefix("<!-- run: ") {
                    place = match rest.trim_end_matches(" -->") {
                        "every node" => Some(Where::EveryNode),
                        "one node" => Some(Where::OneNode),
                        "the other nodes" => Some(Where::OtherNodes),
                        "the new node" | "the node that leaves" => Some(Where::ThatNode),
                        "the nodes that stay" => Some(Where::Rest),
                        other if other.starts_with("nobody") => None,
                        other => return Err(wrong(format!("{page}: who is {other:?}?"))),
                    };
                }
            }
            (Some(commands), "```") => {
                found.extend(place.take().map(|place| (place, commands.clone())));
                block = None;
            }
            (Some(commands), _) => {
                commands.push_str(line);
                commands.push('\n');
            }
        }
    }
    expect(!found.is_empty(), || {
        format!("{page} has no commands under {heading:?}")
    })?;
    Ok(found)
}

/// The rest of the one line of a page that begins so: a command behind its prompt.
pub(crate) fn line(page: &str, prompt: &str, begin: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(page);
    let text =
        std::fs::read_to_string(&path).map_err(|error| wrong(format!("{path:?}: {error}")))?;
    let commands = text.lines().filter_map(|line| line.strip_prefix(prompt));
    let mut found = commands.filter(|command| command.starts_with(begin));
    match (found.next(), found.next()) {
        (Some(command), None) => Ok(command.to_owned()),
        (one, other) => Err(wrong(format!("{page}: {begin:?} is {one:?} and {other:?}"))),
    }
}

/// Types a block as root in /root; the first line that fails ends it.
fn type_in(node: &Node, block: &str) -> Result<()> {
    let output = node.sh(&format!("cd /root && set -e\n{block}"))?;
    print!("{}", indented(block));
    output.ok().map(drop)
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("         # {line}\n"))
        .collect()
}

/// Types what a page says below a heading. `meant`: what stands in the page, and what this lab has in its place.
pub(crate) fn follow(
    lab: &Cluster,
    page: &str,
    heading: &str,
    meant: &[(&str, &str)],
) -> Result<()> {
    follow_about(lab, page, heading, meant, None)
}

/// The same of a page that is about one machine: a new node, one that leaves.
pub(crate) fn follow_about(
    lab: &Cluster,
    page: &str,
    heading: &str,
    meant: &[(&str, &str)],
    that: Option<&Node>,
) -> Result<()> {
    let nobody = || wrong(format!("{page}: {heading} is about no node here"));
    for (place, block) in commands(page, heading)? {
        let block = meant
            .iter()
            .fold(block, |block, (page, lab)| block.replace(page, lab));
        match place {
            Where::EveryNode => lab
                .nodes()
                .iter()
                .try_for_each(|node| type_in(node, &block))?,
            Where::OneNode => type_in(&lab.nodes()[0], &block)?,
            Where::OtherNodes => lab.nodes()[1..]
                .iter()
                .try_for_each(|node| type_in(node, &block))?,
            Where::ThatNode => type_in(that.ok_or_else(nobody)?, &block)?,
            Where::Rest => {
                let that = that.ok_or_else(nobody)?;
                let mut rest = lab.nodes().iter().filter(|it| it.name() != that.name());
                rest.try_for_each(|node| type_in(node, &block))?;
            }
        }
    }
    Ok(())
}

/// Puts the Debian package where the pages look for it: root's home.
pub(crate) fn bring(lab: &Cluster) -> Result<()> {
    let deb = make_package(Package::Deb)?;
    let path = format!("/root/{}", deb.name);
    lab.nodes()
        .iter()
        .try_for_each(|node| node.write_file(&path, deb.content.clone(), "root:root", "600"))
}
