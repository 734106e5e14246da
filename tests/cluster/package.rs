//! The packages: what is in them, and a cluster that runs from one.

use std::collections::BTreeSet;

use lab::{Cluster, Made, Node, Package, RepMode, Result, Site, make_package};

use super::stage::{LIMIT, expect, expgsql};

/// Where Pacemaker looks for agents.
const AGENT: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";
/// The packages on a host.
const DEB: &str = "/root/expgsql.deb";
const RPM: &str = "/root/expgsql.rpm";

pub(crate) fn a_cluster_runs_from_the_debian_package() -> Result<()> {
    let deb = make_package(Package::Deb)?;
    let rpm = make_package(Package::Rpm)?;
    let lab = Cluster::builder()
        .agent(expgsql()?)
        .mode(RepMode::Sync)
        // It is configured from a file, which names what it needs.
        .site(Site::Plain)
        .boot()?;
    let client = lab.client();
    let put = |node: &Node, path: &str, made: &Made| {
        node.write_file(path, made.content.clone(), "root:root", "600")
    };
    put(client, DEB, &deb)?;
    put(client, RPM, &rpm)?;
    both_have_the_same(client)?;
    for node in lab.nodes() {
        // The lab's own copy: what runs here is to come from the package alone.
        node.run(&["rm", AGENT])?.ok()?;
        put(node, DEB, &deb)?;
        install(node)?;
        is_whole(node)?;
    }
    lab.form()?;
    lab.configure()?;
    lab.wait_healthy(LIMIT)?;
    println!("  a cluster of three is healthy, from {}", deb.name);

    // An upgrade in place: the server runs on, and the next monitor is the new program's.
    let primary = lab.primary()?;
    let server = lab.postgres(primary).postmaster();
    lab.nodes().iter().try_for_each(install)?;
    let new = lab.switchover(LIMIT)?;
    expect(new.name() != primary.name() && server.is_some(), || {
        format!("{} is the primary", new.name())
    })?;
    lab.wait_healthy(LIMIT)?;

    // As an administrator types it, found in PATH.
    let refused = primary.run(&["cls_rebuild_slave", "--yes"])?;
    expect(refused.code() == Some(100), || refused.text())?;

    install(client)?;
    client.run(&["dpkg", "--purge", "expgsql"])?.ok()?;
    let left = client.sh(
        "ls -d /usr/sbin/cls_* /usr/sbin/expgsql /usr/lib/ocf/resource.d/heartbeat/expgsql /usr/share/expgsql || true",
    )?;
    expect(left.stdout.trim().is_empty(), || {
        format!("the package left behind:\n{}", left.stdout)
    })
}

fn install(node: &Node) -> Result<()> {
    node.run(&["dpkg", "--install", DEB])?.ok().map(drop)
}

/// What an administrator expects of a package: the program in PATH, its other names, help in two places.
fn is_whole(node: &Node) -> Result<()> {
    let checks: [&[&str]; 9] = [
        &["dpkg", "--verify", "expgsql"],
        &["expgsql", "--version"],
        &["cls_repair_by_pg_rewind", "--help"],
        &["distlock", "--help"],
        &[AGENT, "meta-data"],
        &["man", "--where", "expgsql-cluster-rebuild"],
        &["man", "--where", "ocf_heartbeat_expgsql"],
        &[
            "bash",
            "-n",
            "/usr/share/bash-completion/completions/expgsql",
        ],
        &["test", "-s", "/usr/share/doc/expgsql/README.md"],
    ];
    for check in checks {
        node.run(check)?.ok()?;
    }
    // Root's, and not to be written by others: Pacemaker runs it as root.
    let mode = node.run(&["stat", "--format=%U:%G %a", AGENT])?.ok()?;
    expect(mode.trim() == "root:root 755", || {
        format!("{AGENT} is {mode}")
    })
}

/// The two packages are made from one list of files.
fn both_have_the_same(host: &Node) -> Result<()> {
    let in_deb = host
        .sh(&format!("dpkg-deb --fsys-tarfile {DEB} | tar t"))?
        .ok()?;
    let in_rpm = host
        .run(&["rpm", "--query", "--list", "--package", RPM])?
        .ok()?;
    let (in_deb, in_rpm) = (files(&in_deb), files(&in_rpm));
    expect(in_deb.contains(AGENT.trim_start_matches('/')), || {
        format!("the Debian package has {in_deb:?}")
    })?;
    let differ: Vec<&String> = in_deb.symmetric_difference(&in_rpm).collect();
    expect(differ.is_empty(), || {
        format!("only one of the two packages has {differ:?}")
    })
}

/// Paths without what differs by custom: leading dots, compression, zsh's directory, the copyright file of Debian.
fn files(listing: &str) -> BTreeSet<String> {
    let plain = |line: &str| {
        let path = line.trim_start_matches('.').trim_start_matches('/');
        path.trim_end_matches(".gz")
            .replace("vendor-completions", "site-functions")
    };
    let is_file = |path: &String| {
        path.rsplit('/')
            .next()
            .is_some_and(|name| !name.is_empty() && name != "copyright")
    };
    let all: BTreeSet<String> = listing.lines().map(plain).filter(is_file).collect();
    // rpm lists directories without a slash at their end.
    let is_directory = |path: &String| {
        all.iter()
            .any(|other| other.starts_with(&format!("{path}/")))
    };
    all.iter()
        .filter(|path| !is_directory(path))
        .cloned()
        .collect()
}
