//! From older agents: docs/migration.md word for word, and what it does not say.

use lab::network::{LOCK_ADDRESS, READER_ADDRESS, WRITER_ADDRESS};
use lab::resources::{CLONE, RESOURCE};
use lab::{Agent, Cluster, Node, RepMode, Result, ScoreClient, Site};

use super::commands::PROGRAM;
use super::stage::{LIMIT, expect, expgsql, promised, taken_over_from, wrong};
use super::typed::{bring, follow};

fn stock_cluster() -> Result<Cluster> {
    let builder = Cluster::builder().agent(Agent::StockPgsql);
    let lab = builder.mode(RepMode::Sync).up()?;
    lab.wait_healthy(LIMIT)?;
    Ok(lab)
}

pub(crate) fn a_cluster_of_the_stock_agent_is_taken_over_as_documented() -> Result<()> {
    let lab = stock_cluster()?;
    let client = ScoreClient::start(&lab)?;
    bring(&lab)?;
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

    loses_a_machine(&lab, client)
}

/// Not as documented: stopped, changed and started, and the machine of the primary fails meanwhile. No promotion is on
/// record then; that commits waited for a standby is all that the stock agent left.
pub(crate) fn a_stock_primary_is_lost_while_the_agent_changes() -> Result<()> {
    let lab = stock_cluster()?;
    let client = ScoreClient::start(&lab)?;
    let program = std::fs::read(lab::build_expgsql()?).map_err(|error| wrong(error.to_string()))?;
    for node in lab.nodes() {
        node.write_file(PROGRAM, program.clone(), "root:root", "755")?;
    }
    let old = lab.primary()?;
    let status = format!("{RESOURCE}-data-status");
    let (attributes, standbys) = (lab.status()?, lab.standbys()?);
    let is_waited_for =
        |node: &&&Node| attributes.attribute(node.name(), &status) == Some("STREAMING|SYNC");
    let waited_for = standbys.iter().find(is_waited_for);
    let waited_for = waited_for.ok_or_else(|| wrong("commits wait for nobody"))?;
    let other = standbys[0];
    let role = ["crm_resource", "--meta", "--resource", CLONE];
    let stop = [
        "--set-parameter",
        "target-role",
        "--parameter-value",
        "Stopped",
    ];
    other.run(&[&role[..], &stop].concat())?.ok()?;
    lab.eventually("the stock agent has stopped", LIMIT, |lab| {
        let running = |node: &&Node| lab.postgres(node).postmaster().is_some();
        match lab.nodes().iter().find(running) {
            Some(node) => Err(format!("{}'s server still runs", node.name())),
            None => Ok(()),
        }
    })?;
    lab.power_off(old)?;
    let agent = format!("<primitive id=\"{RESOURCE}\" type=\"expgsql\"/>");
    other
        .run(&["cibadmin", "--modify", "--xml-text", &agent])?
        .ok()?;
    let start = ["--delete-parameter", "target-role"];
    other.run(&[&role[..], &start].concat())?.ok()?;

    let new = taken_over_from(&lab, old)?;
    println!("  {} took over from {}", new.name(), old.name());
    expect(waited_for.name() == new.name(), || {
        format!("commits waited for {}", waited_for.name())
    })?;
    lab.power_on(old)?;
    lab.wait_healthy(LIMIT)?;
    loses_nothing(&lab, client)
}

/// The cluster that pha4pgsql's templates make. Its own agent can't run here (PostgreSQL 12 and newer refuse its
/// recovery.conf), so the story begins where its page begins: with the resources stopped.
pub(crate) fn a_pha4pgsql_cluster_is_taken_over_as_documented() -> Result<()> {
    let lab = Cluster::builder()
        .agent(expgsql()?)
        .mode(RepMode::Sync)
        .nodes(2)
        .lock_service()
        // The page's own.
        .site(Site::Plain)
        .boot()?;
    lab.form()?;
    bring(&lab)?;
    for node in lab.nodes() {
        node.run(&["mkdir", "-p", "/opt/pha4pgsql/tools"])?.ok()?;
    }
    let first = &lab.nodes()[0];
    let layout = lab.layout();
    let here = |text: &str| {
        text.replace("@WRITER@", WRITER_ADDRESS)
            .replace("@READER@", READER_ADDRESS)
            .replace("@PGCTL@", &layout.program("pg_ctl"))
            .replace("@PSQL@", &layout.program("psql"))
            .replace("@PGDATA@", &layout.data.display().to_string())
            .replace("@LOGFILE@", lab::postgres::LOG)
            .replace("@LOCK@", &lab::lock::conninfo())
    };
    let file = "/root/pha4pgsql.xml";
    let configuration = here(include_str!("../fixtures/pha4pgsql-dual.xml"));
    first.write_file(file, configuration, "root:root", "600")?;
    first
        .run(&["cibadmin", "--modify", "--allow-create", "--xml-file", file])?
        .ok()?;
    let config = here(include_str!("../fixtures/pha4pgsql-config.ini"));
    first.write_file("/opt/pha4pgsql/config.ini", config, "root:root", "644")?;
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

    loses_a_machine(&lab, ScoreClient::start(&lab)?)
}

/// What the older agents do not survive without a hand: the primary's machine fails, and comes back.
fn loses_a_machine(lab: &Cluster, client: ScoreClient) -> Result<()> {
    let primary = lab.primary()?;
    lab.power_off(primary)?;
    let new = taken_over_from(lab, primary)?;
    println!("  {} took over from {}", new.name(), primary.name());
    lab.power_on(primary)?;
    lab.wait_healthy(LIMIT)?;
    loses_nothing(lab, client)
}

fn loses_nothing(lab: &Cluster, client: ScoreClient) -> Result<()> {
    let score = client.stop();
    let lost = score.lost(lab)?;
    println!(
        "  {} acknowledged commits, {} lost",
        score.acked(),
        lost.len()
    );
    promised(lost.is_empty(), || format!("lost: {lost:?}"))
}
