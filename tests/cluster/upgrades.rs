//! docs/upgrades.md, word for word, while a client writes.
//!
//! `EXPGSQL_OLD_AGENT=/path/to/expgsql` has the cluster begin with another build of the agent than the one it is upgraded to.

use std::collections::BTreeMap;

use lab::{
    Agent, Allowed, Builder, Cluster, ConfigStyle, Layout, Node, OtherMinor, OtherServer, RepMode,
    Result, Site, Suite,
};

use super::commands::PROGRAM;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, expgsql, wrong};
use super::typed::{bring, follow};

/// Set: one node has another Debian than the machine, and another Pacemaker. Its root takes minutes to make.
const MIXED: &str = "EXPGSQL_MIXED";

/// Names the program that the cluster begins with.
const OLD_AGENT: &str = "EXPGSQL_OLD_AGENT";

/// How the page installs a new package of PostgreSQL's, and what does it here.
const INSTALL: &str = "apt-get install --yes --only-upgrade postgresql-15";
const PACKAGES: &str = "/root/postgresql";

/// The page's cluster: the primary is on node1.
fn set(agent: Agent, adapt: impl FnOnce(Builder) -> Builder) -> Result<Stage> {
    let stage = Stage::set_with(agent, RepMode::Sync, |builder| {
        adapt(builder.site(Site::Plain))
    })?;
    let lab = &stage.lab;
    let first = &lab.nodes()[0];
    stage.step("node1 is the primary", Allowed::switchover(), |_| {
        switch_to(lab, first)
    })?;
    Ok(stage)
}

/// What has to be fetched. Where that is not to be had there is nothing to upgrade to, and the closing line counts it.
fn had<T>(fetched: Result<T>) -> Result<T> {
    fetched.map_err(|error| lab::Error::LeftOut(error.to_string()))
}

/// As the page says: whoever is to be the primary next is made ready first, since commits wait for whoever streamed first.
fn switch_to(lab: &Cluster, node: &Node) -> Result<()> {
    let words = [PROGRAM, "cluster", "switch", node.name(), "--yes"];
    node.command(&words)?.limit(LIMIT).ok()?;
    lab.wait_healthy(LIMIT)
}

/// The commands are in PATH, as by the package.
fn commands(lab: &Cluster) -> Result<()> {
    lab.nodes().iter().try_for_each(|node| {
        let link = ["ln", "--symbolic", "--force", PROGRAM, "/usr/sbin/expgsql"];
        node.run(&link)?.ok().map(drop)
    })
}

fn postmasters(lab: &Cluster) -> Vec<Option<i32>> {
    let nodes = lab.nodes().iter();
    nodes.map(|node| lab.postgres(node).postmaster()).collect()
}

pub(crate) fn the_agent_is_replaced_node_by_node() -> Result<()> {
    let old = match std::env::var_os(OLD_AGENT) {
        Some(path) => Agent::Expgsql {
            binary: path.into(),
        },
        None => expgsql()?,
    };
    let stage = set(old, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    let lab = &stage.lab;
    bring(lab)?;
    let [first, second, third] = lab.nodes() else {
        return Err(wrong("a story for three nodes"));
    };
    // The new one beside the old: on one standby, then as the primary of old standbys, and an old one as its successor.
    let new_only_on_second = || second.sh("dpkg --install /root/expgsql_*.deb")?.ok();
    stage.step("one standby has the new agent", Allowed::nothing(), |_| {
        new_only_on_second().map(drop)
    })?;
    stage.step(
        "an old primary is killed beside it",
        Allowed::failover()
            .restarts(2)
            .failing(lab::Whose::Anybodys, "monitor", "", 1),
        |stage| {
            lab.kill_postmaster(first)?;
            stage.writes_go_on()
        },
    )?;
    stage.step(
        "the new agent's node is the primary",
        Allowed::switchover(),
        |_| switch_to(lab, second),
    )?;
    stage.step(
        "it loses power: an old one takes over",
        Allowed::failover(),
        |stage| {
            lab.power_off(second)?;
            let new = stage.taken_over_from(second)?;
            expect([first.name(), third.name()].contains(&new.name()), || {
                format!("{} took over", new.name())
            })?;
            lab.power_on(second)
        },
    )?;
    stage.step(
        "node1 is the primary again",
        Allowed::switchover(),
        |_| match lab.primary()?.name() == first.name() {
            true => Ok(()),
            false => switch_to(lab, first),
        },
    )?;
    stage.step("as the page says", Allowed::nothing(), |_| {
        let before = postmasters(lab);
        follow(lab, "upgrades.md", "## A new expgsql", &[])?;
        let after = postmasters(lab);
        expect(before == after, || {
            format!("servers {before:?} became {after:?}")
        })
    })?;
    stage.step(
        "the new agent alone: a switchover",
        Allowed::switchover(),
        |_| lab.switchover(LIMIT).map(drop),
    )
}

pub(crate) fn postgresql_gets_a_minor_version_node_by_node() -> Result<()> {
    let other = had(OtherMinor::fetch())?;
    let stage = set(expgsql()?, |builder| builder)?;
    let lab = &stage.lab;
    commands(lab)?;
    for node in lab.nodes() {
        node.run(&["mkdir", "-p", PACKAGES])?.ok()?;
        for package in &other.packages {
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            let content = std::fs::read(package)
                .map_err(|error| wrong(format!("{}: {error}", package.display())))?;
            node.write_file(&format!("{PACKAGES}/{name}"), content, "root:root", "600")?;
        }
    }
    let before = versions(lab)?;
    let here = format!("dpkg --install {PACKAGES}/*.deb");
    stage.step(
        "as the page says",
        Allowed::switchover().restarts(2),
        |_| {
            follow(
                lab,
                "upgrades.md",
                "## A minor version of PostgreSQL",
                &[(INSTALL, here.as_str())],
            )
        },
    )?;
    let after = versions(lab)?;
    println!("         {before:?} became {after:?}");
    let is_new = |version: &String| other.version.starts_with(version.as_str());
    expect(
        after.values().all(is_new) && !before.values().any(is_new),
        || format!("{before:?} became {after:?}, not {}", other.version),
    )?;
    stage.step("a switchover", Allowed::switchover(), |_| {
        lab.switchover(LIMIT).map(drop)
    })
}

/// What each server says of itself.
fn versions(lab: &Cluster) -> Result<BTreeMap<String, String>> {
    let version = |node: &lab::Node| {
        let said = lab.postgres(node).sql("show server_version")?;
        let number = said.split(' ').next().unwrap_or_default().to_owned();
        Ok((node.name().to_owned(), number))
    };
    lab.nodes().iter().map(version).collect()
}

pub(crate) fn postgresql_gets_a_major_version_by_pg_upgrade() -> Result<()> {
    let old = Layout::find(ConfigStyle::DataDirectory)?;
    let Some(new) = OtherServer::after(old.version) else {
        return Err(lab::Error::LeftOut(format!(
            "there is no newer PostgreSQL than {} for a lab",
            old.version
        )));
    };
    let new_bin = had(new.programs())?.display().to_string();
    let old_bin = old.bin.display().to_string();
    let stage = set(expgsql()?, |builder| builder.also_server(new))?;
    let lab = &stage.lab;
    commands(lab)?;
    let meant = [
        ("/usr/lib/postgresql/15/bin", old_bin.as_str()),
        ("/usr/lib/postgresql/17/bin", new_bin.as_str()),
        ("/var/lib/postgresql/main", "/var/lib/pgsql/data"),
        ("/var/lib/postgresql", "/var/lib/pgsql"),
        ("/var/log/postgresql/pgsql.log", lab::postgres::LOG),
    ];
    let before = versions(lab)?;
    stage.step(
        "as the page says",
        Allowed::nothing()
            .waiting()
            .promotions(1)
            .restarts(4)
            .copies(2),
        |_| {
            follow(
                lab,
                "upgrades.md",
                "## A major version of PostgreSQL",
                &meant,
            )
        },
    )?;
    let after = versions(lab)?;
    println!("         {before:?} became {after:?}");
    let major = new.name().split('.').next().unwrap_or_default();
    expect(
        after.values().all(|version| version.starts_with(major)),
        || format!("{before:?} became {after:?}"),
    )?;
    stage.step("a switchover", Allowed::switchover(), |_| {
        lab.switchover(LIMIT).map(drop)
    })?;
    let old = lab.primary()?;
    stage.step(
        "the primary's machine is lost",
        Allowed::failover(),
        |stage| {
            lab.power_off(old)?;
            stage.taken_over_from(old)?;
            lab.power_on(old)
        },
    )
}

/// Two nodes of Debian 12 and one of 13, or the other way round, with one PostgreSQL: Pacemaker 2.1 beside 3.0.
pub(crate) fn pacemaker_2_and_3_run_one_cluster() -> Result<()> {
    if std::env::var_os(MIXED).is_none() {
        return Err(lab::Error::LeftOut(format!(
            "it makes the root of another Debian: {MIXED}=1"
        )));
    }
    let other = [Suite::Trixie, Suite::Bookworm]
        .into_iter()
        .find(|suite| !suite.is_the_machine_s())
        .unwrap_or(Suite::Trixie);
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .site(Site::Plain)
            .server(OtherServer::V17)
            .suite_of("node3", other)
            // Each may follow each.
            .param("sync_method", "quorum")
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    let lab = &stage.lab;
    for node in lab.nodes() {
        let version = node.run(&["pacemakerd", "--version"])?.ok()?;
        println!(
            "         {}: {}",
            node.name(),
            version.lines().next().unwrap_or_default()
        );
    }
    for (round, to) in [2, 0, 2, 1].into_iter().enumerate() {
        let to = &lab.nodes()[to];
        if lab.primary()?.name() == to.name() {
            continue;
        }
        let name = format!("switchover {round}, to {}", to.name());
        stage.step(&name, Allowed::switchover(), |_| {
            lab.move_primary(to, LIMIT)
        })?;
    }
    for _ in 0..lab.nodes().len() {
        let old = lab.primary()?;
        let name = format!("{} loses power", old.name());
        stage.step(&name, Allowed::failover(), |stage| {
            lab.power_off(old)?;
            stage.taken_over_from(old)?;
            lab.power_on(old)
        })?;
    }
    Ok(())
}
