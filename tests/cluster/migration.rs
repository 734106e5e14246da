//! docs/migration.md, word for word: what it tells an administrator to type is read from it, and typed.

use std::path::Path;

use lab::{Agent, Cluster, Node, Package, RepMode, Result, ScoreClient, make_package};

use super::stage::{LIMIT, expect, taken_over_from, wrong};

/// Where a block of commands is run, as the comment in front of it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    EveryNode,
    OneNode,
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
    for line in lines.take_while(|line| !line.starts_with(&format!("{level} "))) {
        match (&mut block, line) {
            (None, "```") if place.is_some() => block = Some(String::new()),
            (None, _) => {
                if let Some(rest) = line.strip_prefix("<!-- run: ") {
                    place = match rest.trim_end_matches(" -->") {
                        "every node" => Some(Where::EveryNode),
                        "one node" => Some(Where::OneNode),
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

fn follow(lab: &Cluster, page: &str, heading: &str) -> Result<()> {
    for (place, block) in commands(page, heading)? {
        match place {
            Where::EveryNode => lab
                .nodes()
                .iter()
                .try_for_each(|node| type_in(node, &block))?,
            Where::OneNode => type_in(&lab.nodes()[0], &block)?,
        }
    }
    Ok(())
}

pub(crate) fn a_cluster_of_the_stock_agent_is_taken_over_as_documented() -> Result<()> {
    let deb = make_package(Package::Deb)?;
    let content = std::fs::read(&deb).map_err(|error| wrong(format!("{deb:?}: {error}")))?;
    let lab = Cluster::builder()
        .agent(Agent::StockPgsql)
        .mode(RepMode::Sync)
        .up()?;
    lab.wait_healthy(LIMIT)?;
    let client = ScoreClient::start(&lab)?;
    let name = deb
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    for node in lab.nodes() {
        node.write_file(
            &format!("/root/{name}"),
            content.clone(),
            "root:root",
            "600",
        )?;
    }
    let servers: Vec<_> = lab
        .nodes()
        .iter()
        .map(|node| lab.postgres(node).postmaster())
        .collect();
    let primary = lab.primary()?;
    let begin = client.now();

    follow(&lab, "migration.md", "## From ocf:heartbeat:pgsql")?;
    lab.wait_healthy(LIMIT)?;

    let now: Vec<_> = lab
        .nodes()
        .iter()
        .map(|node| lab.postgres(node).postmaster())
        .collect();
    expect(servers == now, || {
        format!("servers {servers:?} became {now:?}")
    })?;
    expect(lab.primary()?.name() == primary.name(), || {
        "the primary moved".into()
    })?;
    let pause = client.score().longest_gap_since(begin);
    println!(
        "  taken over with {} as it was, writes paused for at most {:.2} s",
        primary.name(),
        pause.as_secs_f64()
    );
    let agent = lab.nodes()[0]
        .run(&["crm_resource", "--resource", "pgsql", "--query-xml"])?
        .ok()?;
    expect(agent.contains("type=\"expgsql\""), || agent.clone())?;
    // Each standby, promoted as it is, would wait for another.
    for standby in lab.standbys()? {
        lab.eventually("a standby has the new agent's settings", LIMIT, |lab| {
            let waits = lab.postgres(standby).sql("show synchronous_standby_names");
            let waits = waits.map_err(|error| error.to_string())?;
            if waits.starts_with("ANY 1") {
                Ok(())
            } else {
                Err(format!("{} would wait for {waits:?}", standby.name()))
            }
        })?;
    }

    // What the stock agent does not survive: its primary's machine fails, and comes back.
    lab.power_off(primary)?;
    let new = taken_over_from(&lab, primary)?;
    println!("  {} took over from {}", new.name(), primary.name());
    lab.power_on(primary)?;
    lab.wait_healthy(LIMIT)?;
    let score = client.stop();
    let lost = score.lost(&lab)?;
    println!(
        "  {} acknowledged commits, {} lost",
        score.acked(),
        lost.len()
    );
    expect(lost.is_empty(), || format!("lost: {lost:?}"))
}
