//! The addresses, by the rules that `setup apply` makes: readers are served as long as any server is, and no server is moved or started
//! anew for their sake.

use std::collections::BTreeMap;
use std::time::Duration;

use lab::network::{READER_ADDRESS, WRITER_ADDRESS};
use lab::resources::READER;
use lab::{Allowed, Node, RepMode, Result};

use super::commands::{PROGRAM, ends};
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// The operator's file.
const CONFIG: &str = "/etc/postgresql/config.ini";

/// Time for a change of the cluster's configuration, and for the cluster to be healthy after it.
const APPLY: Duration = Duration::from_secs(200);

pub(crate) fn reads_go_on_with_no_standby_left() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.nodes(3).param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step("setup makes the rules", Allowed::nothing(), |stage| {
        apply(stage, "").map(drop)
    })?;
    let primary = stage.lab.primary()?;
    let standbys = stage.lab.standbys()?;
    let [first, second] = standbys[..] else {
        return Err(wrong("there are not two standbys"));
    };
    stage.scene(
        "no standby is left: both addresses on the primary",
        Allowed::nothing().waiting(),
        |stage| {
            let before = postmasters(stage);
            for node in [first, second] {
                ends(
                    primary,
                    &["standby-node", node.name(), "--yes"],
                    0,
                    "is out of service",
                )?;
            }
            reads_from(stage, primary)?;
            stage.writes_go_on()?;
            same_server(stage, &before, &[primary])
        },
    )?;
    stage.scene(
        "one is back: the readers' address moves to it",
        Allowed::nothing().restarts(1),
        |stage| {
            let before = postmasters(stage);
            ends(first, &["unstandby-node", first.name()], 0, "follows")?;
            let started = postmasters(stage);
            reads_from(stage, first)?;
            same_server(stage, &before, &[primary])?;
            same_server(stage, &started, &[first])
        },
    )?;
    stage.step(
        "the other is back, too",
        Allowed::nothing().restarts(1),
        |stage| {
            let before = postmasters(stage);
            ends(second, &["unstandby-node", second.name()], 0, "follows")?;
            stage.lab.wait_healthy(LIMIT)?;
            same_server(stage, &before, &[primary, first])
        },
    )?;
    stage.step(
        "what nobody replays is not read where something else is",
        Allowed::nothing(),
        |stage| {
            let status = stage.lab.status()?;
            let place = status.location(READER).unwrap_or_default().to_owned();
            let (here, there) = if place == first.name() {
                (first, second)
            } else {
                (second, first)
            };
            let before = postmasters(stage);
            stage
                .lab
                .postgres(here)
                .sql("select pg_wal_replay_pause()")?;
            reads_from(stage, there)?;
            stage
                .lab
                .postgres(here)
                .sql("select pg_wal_replay_resume()")?;
            same_server(stage, &before, &[primary, first, second])
        },
    )
}

/// The gateway here is the client's host: who does not reach it is reached by no client.
pub(crate) fn a_primary_that_lost_its_gateway_gives_way_and_none_where_all_lost_it() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.nodes(3).param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    let gateway = stage.lab.client();
    stage.step("setup watches the gateway", Allowed::nothing(), |stage| {
        apply(
            stage,
            &format!("gateway_ip={}\nvip_monitor_interval=2\n", gateway.address()),
        )?;
        seen(stage, |count| count == Some("1"))
    })?;
    stage.step(
        "all lose it: the primary stays",
        Allowed::nothing().waiting(),
        |stage| {
            let before = postmasters(stage);
            let nodes: Vec<&Node> = stage.lab.nodes().iter().collect();
            let primary = stage.lab.primary()?;
            stage.lab.partition(&nodes, &[gateway])?;
            seen(stage, |count| count == Some("0"))?;
            stage.lab.holds_for(
                "the primary stays",
                stage.lab.spec().token * 4,
                |lab| match lab.primary() {
                    Ok(now) if now.name() == primary.name() => Ok(()),
                    Ok(now) => Err(format!("{} is the primary", now.name())),
                    Err(error) => Err(error.to_string()),
                },
            )?;
            stage.lab.heal()?;
            seen(stage, |count| count == Some("1"))?;
            same_server(stage, &before, &nodes)
        },
    )?;
    stage.step(
        "the primary alone loses it: another takes over",
        Allowed::switchover().waiting(),
        |stage| {
            let old = stage.lab.primary()?;
            stage.lab.partition(&[old], &[gateway])?;
            let new = stage.taken_over_from(old)?;
            println!("         {} took over from {}", new.name(), old.name());
            stage.writes_go_on()?;
            stage.lab.heal()?;
            seen(stage, |count| count == Some("1"))
        },
    )
}

/// Waits until what every node's watch counts is so.
fn seen(stage: &Stage, is_so: impl Fn(Option<&str>) -> bool) -> Result<()> {
    stage
        .lab
        .eventually("what the nodes see of the gateway", LIMIT, |lab| {
            let status = lab.status().map_err(|error| error.to_string())?;
            let counts = lab
                .nodes()
                .iter()
                .map(|node| status.attribute(node.name(), "pgsql-gateway"));
            if counts.into_iter().all(&is_so) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
}

/// The lab's cluster gets its rules from config.ini, and keeps everything else. Gives what was told.
pub(crate) fn apply(stage: &Stage, more: &str) -> Result<String> {
    let lab = &stage.lab;
    let node = lab.primary()?;
    let layout = lab.layout();
    let nodes: String = (1..)
        .zip(lab.nodes())
        .map(|(number, node)| format!("node{number}={}\n", node.name()))
        .collect();
    let text = format!(
        "{nodes}writer_vip={WRITER_ADDRESS}\nreader_vip={READER_ADDRESS}\nvip_nic=eth0\nvip_cidr_netmask=24\npgsql_pgctl={}\npgsql_psql={}\n\
         pgsql_pgdata={}\npgsql_rep_mode={}\npgsql_repuser=repl\npgsql_primary_conninfo_opt=\n{more}",
        layout.program("pg_ctl"),
        layout.program("psql"),
        layout.data.display(),
        stage.mode.as_str(),
    );
    node.run(&["mkdir", "-p", "/etc/postgresql"])?.ok()?;
    node.write_file(CONFIG, text, "root", "600")?;
    let output = node
        .command(&[PROGRAM, "setup", "--config", CONFIG, "apply", "--yes"])?
        .limit(APPLY)
        .run()?;
    expect(output.success(), || output.text())?;
    let told = output.text();
    told.lines().for_each(|line| println!("         | {line}"));
    Ok(told)
}

/// Waits until the readers' address is there, and asks there, from outside of the cluster.
fn reads_from(stage: &Stage, node: &Node) -> Result<()> {
    let what = format!("readers are served by {}", node.name());
    stage.lab.eventually(&what, LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.location(READER) != Some(node.name()) {
            return Err(status.to_string());
        }
        let client = lab.postgres(lab.client());
        let answer = client.psql(
            READER_ADDRESS,
            5432,
            "select inet_server_addr(), pg_is_in_recovery()",
        );
        let answer = answer.map_err(|error| error.to_string())?;
        let is_primary = lab
            .primary()
            .is_ok_and(|primary| primary.name() == node.name());
        let expected = format!("{READER_ADDRESS}|{}", if is_primary { "f" } else { "t" });
        if answer.trim() == expected {
            Ok(())
        } else {
            Err(answer)
        }
    })
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

/// These have run on.
fn same_server(
    stage: &Stage,
    before: &BTreeMap<String, Option<i32>>,
    nodes: &[&Node],
) -> Result<()> {
    let now = postmasters(stage);
    nodes.iter().try_for_each(|node| {
        let [old, new] = [before, &now].map(|all| all.get(node.name()).copied().flatten());
        expect(old.is_some() && old == new, || {
            format!("the server on {} was {old:?}, and is {new:?}", node.name())
        })
    })
}
