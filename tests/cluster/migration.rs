//! docs/migration.md, word for word: what it tells an administrator to type is read from it, and typed.

use std::path::Path;

use lab::network::{LOCK_ADDRESS, READER_ADDRESS, WRITER_ADDRESS};
use lab::{Agent, Cluster, Node, Package, RepMode, Result, ScoreClient, make_package};

use super::stage::{LIMIT, expect, expgsql, taken_over_from, wrong};

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

/// Types what a page says below a heading. `meant`: what stands in the page, and what this lab has in its place.
fn follow(lab: &Cluster, page: &str, heading: &str, meant: &[(&str, &str)]) -> Result<()> {
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

    follow(&lab, "migration.md", "## From ocf:heartbeat:pgsql", &[])?;
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

/// The cluster that pha4pgsql's templates make. Its own agent can't run here (PostgreSQL 12 and newer refuse its
/// recovery.conf), so the story begins where its page begins: with the resources stopped.
pub(crate) fn a_pha4pgsql_cluster_is_taken_over_as_documented() -> Result<()> {
    let deb = make_package(Package::Deb)?;
    let content = std::fs::read(&deb).map_err(|error| wrong(format!("{deb:?}: {error}")))?;
    let lab = Cluster::builder()
        .agent(expgsql()?)
        .mode(RepMode::Sync)
        .nodes(2)
        .lock_service()
        .boot()?;
    lab.form()?;
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
        node.run(&["mkdir", "-p", "/opt/pha4pgsql/tools"])?.ok()?;
    }
    let first = &lab.nodes()[0];
    let layout = lab.layout();
    let configuration = include_str!("../fixtures/pha4pgsql-dual.xml")
        .replace("@WRITER@", WRITER_ADDRESS)
        .replace("@READER@", READER_ADDRESS)
        .replace("@PGCTL@", &layout.program("pg_ctl"))
        .replace("@PSQL@", &layout.program("psql"))
        .replace("@PGDATA@", &layout.data.display().to_string())
        .replace("@LOGFILE@", lab::postgres::LOG)
        .replace(
            "@LOCK@",
            &format!("host={LOCK_ADDRESS} port=5432 dbname=postgres user=postgres"),
        );
    let file = "/root/pha4pgsql.xml";
    first.write_file(file, configuration, "root:root", "600")?;
    first
        .run(&["cibadmin", "--modify", "--allow-create", "--xml-file", file])?
        .ok()?;
    // Its table, with its row, as its own script made it.
    lab.postgres(lab.lock()?).sql(
        "drop table distlock, distlock_history cascade; \
         create table distlock (lockname text primary key, owner text not null, ts timestamptz not null, \
         expired_time interval not null); \
         insert into distlock values ('pgsql_cls1', '', now(), '-1 second')",
    )?;

    follow(
        &lab,
        "migration.md",
        "## From pha4pgsql",
        &[("192.0.2.30", LOCK_ADDRESS)],
    )?;
    lab.wait_healthy(LIMIT)?;
    let verified = first.run(&["crm_verify", "--live-check", "--verbose"])?;
    expect(
        verified.code() == Some(0) && verified.text().trim().is_empty(),
        || verified.text(),
    )?;

    let client = ScoreClient::start(&lab)?;
    let primary = lab.primary()?;
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
