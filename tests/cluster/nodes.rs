//! docs/nodes.md, word for word, while a client writes: nodes that come, go, and are replaced.

use std::collections::BTreeMap;

use lab::network::NET;
use lab::{Allowed, Builder, Cluster, Node, RepMode, Result, Site};

use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, expgsql, wrong};
use super::typed::{follow_about, line};
use super::{commands, setup};

const PAGE: &str = "nodes.md";

/// Where the pages have it.
const CONFIG: &str = "/root/config.ini";

pub(crate) fn nodes_come_go_and_are_replaced_under_load() -> Result<()> {
    let stage = set(|builder| builder.nodes(3).spares(1))?;
    let lab = &stage.lab;
    stage.step("a node more", Allowed::nothing().copies(1), |stage| {
        let new = lab.spare()?;
        let before = postmasters(stage);
        for heading in [
            "### Program, password, data",
            "### Into the cluster",
            "### Into the replication",
        ] {
            typed(stage, heading, "node4", new)?;
        }
        lab.has_joined()?;
        healthy(stage)?;
        same_servers(stage, &before)?;
        votes(lab, 4)
    })?;
    let new = lab.node("node4")?;
    stage.step(
        "it is the one that commits wait for",
        Allowed::nothing().restarts(2).waiting(),
        |stage| {
            let primary = lab.primary()?;
            let others = lab.standbys()?.into_iter();
            let others: Vec<&Node> = others.filter(|node| node.name() != new.name()).collect();
            for other in &others {
                let words = ["standby-node", other.name(), "--yes"];
                commands::ends(primary, &words, 0, "out of service")?;
            }
            for other in &others {
                let words = ["unstandby-node", other.name()];
                commands::ends(primary, &words, 0, "follows")?;
            }
            lab.wait_healthy(LIMIT)?;
            let sync = most_important_standby(stage)?;
            expect(sync.name() == new.name(), || {
                format!("commits wait for {}", sync.name())
            })
        },
    )?;
    stage.step("a node less", Allowed::nothing(), |stage| {
        let before = postmasters(stage);
        for heading in ["### Out of service", "### Out of the cluster"] {
            typed(stage, heading, "node4", new)?;
        }
        lab.has_left()?;
        healthy(stage)?;
        forgotten(stage, new)?;
        let mut before = before;
        before.remove(new.name());
        same_servers(stage, &before)?;
        votes(lab, 3)
    })?;
    stage.step(
        "another machine in the place of a standby that commits wait for",
        Allowed::nothing().copies(1),
        |stage| {
            let lost = most_important_standby(stage)?;
            lab.power_off(lost)?;
            stage.writes_go_on()?;
            let mut before = postmasters(stage);
            before.remove(lost.name());
            replaced(stage, lost)?;
            same_servers(stage, &before)
        },
    )?;
    // config.ini is on node1, and the page's commands are typed there.
    stage.step("node1 is a standby", Allowed::switchover(), |_| {
        commands::ends(
            lab.primary()?,
            &["switch", "node3", "--yes"],
            0,
            "node3 is the primary",
        )?;
        lab.wait_healthy(LIMIT)
    })?;
    stage.step(
        "another machine in the place of the primary",
        Allowed::failover().copies(1),
        |stage| {
            let lost = lab.primary()?;
            lab.power_off(lost)?;
            stage.taken_over_from(lost)?;
            stage.writes_go_on()?;
            let mut before = postmasters(stage);
            before.remove(lost.name());
            replaced(stage, lost)?;
            same_servers(stage, &before)
        },
    )
}

/// The page's cluster, made by `setup` from one file in root's home on the first node, and the package on every machine.
fn set(adapt: impl FnOnce(Builder) -> Builder) -> Result<Stage> {
    let builder = Cluster::builder().agent(expgsql()?).site(Site::Plain);
    // For the lab, which is to expect that nobody has to lift a hand; it is setup that says it to the cluster.
    let builder = adapt(builder).param(ON_DIVERGENCE, "rewind_or_rebuild");
    let lab = builder.boot()?;
    let first = &lab.nodes()[0];
    for node in lab.nodes() {
        in_path(node)?;
    }
    first.write_file(CONFIG, setup::config(&lab), "root", "600")?;
    lab.form()?;
    for line in ["setup install --yes", "setup apply --yes"] {
        let line = format!("cd /root && expgsql {line}");
        first.command(&["sh", "-c", &line])?.limit(LIMIT).ok()?;
    }
    lab.wait_healthy(LIMIT)?;
    Stage::on(lab, RepMode::Sync)
}

/// Types what the page says below a heading, about this node: `name` is what the page calls it.
fn typed(stage: &Stage, heading: &str, name: &str, node: &Node) -> Result<()> {
    let lab = &stage.lab;
    let layout = lab.layout();
    let version = format!("/usr/lib/postgresql/{}/", layout.version);
    let data = layout.data.display().to_string();
    let parent = layout.data.parent().map(|dir| dir.display().to_string());
    let directories = format!("{} {data}", parent.unwrap_or_default());
    let meant = [
        (name, node.name()),
        ("192.0.2", NET),
        ("/usr/lib/postgresql/15/", version.as_str()),
        // The lab's servers trust each other.
        (
            "user=replication sslmode=verify-full sslrootcert=/etc/expgsql/ca.crt",
            "user=repl",
        ),
        ("/var/lib/pgsql /var/lib/pgsql/data", &directories),
        ("--pgdata=/var/lib/pgsql/data", &format!("--pgdata={data}")),
    ];
    follow_about(lab, PAGE, heading, &meant, Some(node))
}

/// The command is in PATH, as by the package.
fn in_path(node: &Node) -> Result<()> {
    let link = [
        "ln",
        "--symbolic",
        "--force",
        commands::PROGRAM,
        "/usr/sbin/expgsql",
    ];
    node.run(&link)?.ok().map(drop)
}

/// A machine is dead; another gets its name.
fn replaced(stage: &Stage, lost: &Node) -> Result<()> {
    stage.lab.replace_machine(lost)?;
    typed(
        stage,
        "## Another machine under the same name",
        "node2",
        lost,
    )?;
    healthy(stage)
}

/// Nobody has anything to add, an operator neither.
fn healthy(stage: &Stage) -> Result<()> {
    stage.lab.wait_healthy(LIMIT)?;
    let node = stage.lab.primary()?;
    removed_again(stage, node)?;
    let status = node.run(&["expgsql", "cluster", "status"])?;
    status
        .text()
        .lines()
        .for_each(|line| println!("         | {line}"));
    expect(status.stdout.starts_with("pgsql is healthy."), || {
        status.text()
    })?;
    let nodes = stage.lab.nodes().len();
    expect(
        status.stdout.contains(&format!("{nodes} of {nodes} nodes")),
        || format!("{}\n{}", status.text(), traces(&stage.lab, "node4")),
    )?;
    let counts = stage.lab.status()?.fail_counts;
    expect(counts.is_empty(), || "failures are counted".to_owned())
}

/// Another coordinator may have written down again what was removed: as the page says, by its line.
fn removed_again(stage: &Stage, node: &Node) -> Result<()> {
    let Ok(gone) = stage.lab.spare() else {
        return Ok(());
    };
    let nodes = node.run(&["cibadmin", "--query", "--scope=nodes"])?.ok()?;
    if !nodes.contains(&format!("\"{}\"", gone.name())) {
        return Ok(());
    }
    println!("         {} is written down again", gone.name());
    let command = line(PAGE, "    # ", "crm_node")?.replace("node4", gone.name());
    node.sh(&command)?.ok().map(drop)
}

/// Nothing of a node that left is anywhere in the cluster: not in the CIB, in no slot, in no contract.
fn forgotten(stage: &Stage, node: &Node) -> Result<()> {
    let primary = stage.lab.primary()?;
    let cib = primary.run(&["cibadmin", "--query"])?.ok()?;
    let left: Vec<&str> = cib
        .lines()
        .filter(|line| line.contains(node.name()))
        .collect();
    expect(left.is_empty(), || format!("the CIB has {left:#?}"))?;
    let of_node = format!(
        "select slot_name from pg_replication_slots where slot_name like '%{}%'",
        node.application_name()
    );
    for server in stage.lab.nodes() {
        let slots = stage.lab.postgres(server).sql(&of_node)?;
        expect(slots.is_empty(), || format!("{}: {slots}", server.name()))?;
    }
    let waits = stage
        .lab
        .postgres(primary)
        .sql("show synchronous_standby_names")?;
    expect(!waits.contains(node.name()), || waits.clone())
}

/// What corosync has, and what Pacemaker did, of a node that should be gone.
fn traces(lab: &Cluster, gone: &str) -> String {
    let look = format!(
        "corosync-cmapctl nodelist; grep -a {gone} {} | cut -c 1-300 | tail -n 60",
        lab::corosync::LOG
    );
    let nodes = lab.nodes().iter();
    nodes
        .map(|node| {
            let seen = node.sh(&look).map(|output| output.stdout);
            format!("--- {}\n{}", node.name(), seen.unwrap_or_default())
        })
        .collect()
}

fn votes(lab: &Cluster, expected: usize) -> Result<()> {
    for node in lab.nodes() {
        let said = node.run(&["corosync-quorumtool", "-s"])?.text();
        let line = said.lines().find(|line| line.starts_with("Expected votes"));
        let line = line.ok_or_else(|| wrong(said.clone()))?;
        expect(line.ends_with(&format!(" {expected}")), || line.to_owned())?;
    }
    Ok(())
}

fn postmasters(stage: &Stage) -> BTreeMap<String, Option<i32>> {
    let nodes = stage.lab.nodes().iter();
    nodes
        .map(|node| {
            (
                node.name().to_owned(),
                stage.lab.postgres(node).postmaster(),
            )
        })
        .collect()
}

/// The servers of these nodes have run on.
fn same_servers(stage: &Stage, before: &BTreeMap<String, Option<i32>>) -> Result<()> {
    let now = postmasters(stage);
    before.iter().try_for_each(|(node, old)| {
        let new = now.get(node).copied().flatten();
        expect(old.is_some() && *old == new, || {
            format!("the server on {node} was {old:?}, and is {new:?}")
        })
    })
}
