//! Replication slots, receivers, standbys outside the cluster, and an operator's hand in the agent's file.

use lab::network::WRITER_ADDRESS;
use lab::postgres::{REPLICATION_USER, TMPDIR};
use lab::{Allowed, Cluster, Node, RepMode, Result, Site};

use super::attributes;
use super::stage::{LIMIT, Stage, expect, promised, wrong};

/// `application_name` of the standby outside.
const OUTSIDE: &str = "dr1";

pub(crate) fn slots_receivers_edited_and_outside_standbys_are_looked_after() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            // The standby outside has no password.
            .site(Site::Plain)
            .param("replication_slot_name", "exp")
            .param("check_wal_receiver", "true")
    })?;
    stage.step(
        "slots and receivers are as they should be",
        Allowed::nothing(),
        |stage| looked_after(&stage.lab),
    )?;
    stage.step(
        "so they are after a switchover",
        Allowed::switchover(),
        |stage| {
            let old = stage.lab.primary()?;
            stage.lab.switchover(LIMIT)?;
            stage.lab.wait_healthy(LIMIT)?;
            looked_after(&stage.lab)?;
            tickets(&stage.lab, old)
        },
    )?;
    stage.step(
        "what is recorded by hand, and is not so, is revoked",
        Allowed::nothing(),
        recorded_by_hand,
    )?;
    stage.step(
        "what is set by hand is read, and revoked with",
        Allowed::nothing(),
        altered,
    )?;
    stage.step(
        "the agent follows an operator's contract",
        Allowed::nothing(),
        edited,
    )?;
    // Last: from here on more than one standby is synchronous.
    outside(&stage)
}

fn looked_after(lab: &Cluster) -> Result<()> {
    lab.eventually("slots and receivers are as they should be", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let primary = lab.primary().map_err(|error| error.to_string())?;
        let epoch = attributes::epoch(lab, primary.name())?;
        for node in lab.nodes() {
            let is_primary = node.name() == primary.name();
            let query = "select slot_name, active from pg_replication_slots order by 1";
            let slots = lab
                .postgres(node)
                .sql(query)
                .map_err(|error| error.to_string())?;
            let others = lab
                .nodes()
                .iter()
                .filter(|other| is_primary && other.name() != node.name());
            let expected: Vec<String> = others
                .map(|other| format!("exp_{}_e{epoch}_{}|t", other.name(), primary.name()))
                .collect();
            if slots != expected.join("\n") {
                return Err(format!(
                    "slots of {}: {slots:?}, expected {expected:?}",
                    node.name()
                ));
            }
            let receiver = status.attribute(node.name(), "pgsql-receiver-status");
            if receiver
                != Some(if is_primary {
                    "normal (master)"
                } else {
                    "normal"
                })
            {
                return Err(format!(
                    "pgsql-receiver-status of {}: {receiver:?}",
                    node.name()
                ));
            }
        }
        Ok(())
    })
}

/// A standby follows one promotion: with its slot it is let in by that primary, and not by the one before, wherever the address
/// of both leads to.
fn tickets(lab: &Cluster, old: &Node) -> Result<()> {
    let mut standbys = lab.standbys()?.into_iter();
    let follower = standbys.find(|node| node.name() != old.name());
    let follower = follower.ok_or_else(|| wrong("there is one standby only"))?;
    let ticket = lab.postgres(follower).sql("show primary_slot_name")?;
    let told = lab
        .postgres(follower)
        .sql("select slot_name from pg_stat_wal_receiver")?;
    expect(!ticket.is_empty() && ticket == told, || {
        format!("{ticket:?} is set, {told:?} is used")
    })?;
    let directory = "/var/tmp/ticket";
    follower
        .run(&["install", "-d", "-o", "postgres", directory])?
        .ok()?;
    let conninfo = format!("host={} user={REPLICATION_USER}", old.address());
    let program = lab.layout().program("pg_receivewal");
    let words = [
        &program,
        "--no-loop",
        "-D",
        directory,
        "-d",
        &conninfo,
        "--slot",
        &ticket,
    ];
    let refused = follower.as_user("postgres", &words)?.run()?;
    let says = format!("replication slot \"{ticket}\" does not exist");
    expect(!refused.success() && refused.text().contains(&says), || {
        refused.text()
    })
}

/// An operator says of a standby that it has every acknowledged commit. Commits do not wait for it, so it has not.
fn recorded_by_hand(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let status = lab.status()?;
    let standbys = lab.standbys()?;
    let is_sync = |node: &&&Node| status.attribute(node.name(), "pgsql-status") == Some("HS:sync");
    let other = standbys
        .iter()
        .find(|node| !is_sync(node))
        .ok_or_else(|| wrong("every standby is HS:sync"))?;
    let property = |act: &str| {
        let words = ["crm_attribute", "--type=crm_config", "--name=pgsql_SYNC"];
        primary.run(&[&words[..], &[act]].concat())?.ok()
    };
    let query = || property("--query").map_err(|error| error.to_string());
    let record = property("--query")?;
    let (_, record) = record
        .split_once("value=")
        .ok_or_else(|| wrong(record.clone()))?;
    // epoch, sequence, primary, method, count, standbys, who may be promoted
    let mut fields: Vec<&str> = record.trim().split('|').collect();
    fields[5] = other.name();
    fields[6] = other.name();
    property(&format!("--update={}", fields.join("|")))?;
    lab.eventually("it is revoked", LIMIT, |_| {
        let now = query()?;
        match now.rsplit_once('|') {
            Some((_, eligible)) if !eligible.contains(other.name()) => Ok(()),
            _ => Err(now),
        }
    })?;
    let data = format!("{}-data-status", lab::resources::RESOURCE);
    let words = [
        "crm_attribute",
        "--node",
        other.name(),
        "--lifetime=forever",
        "--name",
        &data,
        "--update=STREAMING|SYNC",
    ];
    primary.run(&words)?.ok()?;
    lab.eventually("it is said of nobody who is not", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        match status.attribute(other.name(), &data) {
            Some("STREAMING|SYNC") | None => Err(status.to_string()),
            Some(_) => Ok(()),
        }
    })
}

/// `ALTER SYSTEM` on the primary: what it makes of the contract counts, and no acknowledged commit is promised to anybody else.
fn altered(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let names: Vec<&str> = lab.standbys()?.iter().map(|node| node.name()).collect();
    let status = lab.status()?;
    let is_sync = |name: &&&str| status.attribute(name, "pgsql-status") == Some("HS:sync");
    let other = names
        .iter()
        .find(|name| !is_sync(name))
        .ok_or_else(|| wrong("every standby is HS:sync"))?;
    let sql = |text: &str| lab.postgres(primary).sql(text);
    sql(&format!(
        "alter system set synchronous_standby_names = '{other}'"
    ))?;
    sql("select pg_reload_conf()")?;
    let result = lab.eventually("only who is waited for may be promoted", LIMIT, |lab| {
        only_one_counts(lab, other)
    });
    sql("alter system reset synchronous_standby_names")?;
    sql("select pg_reload_conf()")?;
    result
}

/// Commits wait for `one` alone, and the cluster shows it.
fn only_one_counts(lab: &Cluster, one: &str) -> std::result::Result<(), String> {
    let status = lab.status().map_err(|error| error.to_string())?;
    let shown = status
        .nodes
        .iter()
        .filter(|node| status.attribute(&node.name, "pgsql-status") == Some("HS:sync"));
    let shown: Vec<&str> = shown.map(|node| node.name.as_str()).collect();
    let in_force = contract(lab).map_err(|error| error.to_string())?;
    if shown == [one] && in_force.replace('"', "") == one {
        Ok(())
    } else {
        Err(format!("{in_force} is in force, {shown:?} are HS:sync"))
    }
}

fn contract(lab: &Cluster) -> Result<String> {
    lab.postgres(lab.primary()?)
        .sql("show synchronous_standby_names")
}

fn edited(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, status) = (lab.primary()?, lab.status()?);
    let standbys = lab.standbys()?;
    let is_sync = |node: &&&Node| status.attribute(node.name(), "pgsql-status") == Some("HS:sync");
    let other = standbys
        .iter()
        .find(|node| !is_sync(node))
        .ok_or_else(|| wrong("every standby is HS:sync"))?;
    let line = format!("synchronous_standby_names = '{}'\n", other.name());
    primary.write_file(
        &format!("{TMPDIR}/rep_mode.conf"),
        line,
        "postgres:postgres",
        "600",
    )?;
    lab.postgres(primary).signal("HUP")?;
    lab.eventually("HS:sync moves", LIMIT, |lab| {
        only_one_counts(lab, other.name())
    })?;
    // The agent looks every three seconds: it must not want its own choice back.
    lab.holds_for("HS:sync stays", std::time::Duration::from_secs(7), |lab| {
        only_one_counts(lab, other.name())
    })
}

fn outside(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let postmaster = lab.postgres(primary).postmaster();
    let others = lab.nodes().iter().map(Node::name);
    let names: Vec<&str> = others.filter(|name| *name != primary.name()).collect();
    lab.set_parameter("external_standby_node_list", OUTSIDE)?;
    in_force(
        stage,
        "every standby of the cluster belongs to the contract",
        &names,
    )?;

    let directory = "/var/tmp/dr1";
    let client = lab.client();
    client
        .run(&["install", "-d", "-o", "postgres", directory])?
        .ok()?;
    let conninfo =
        format!("host={WRITER_ADDRESS} user={REPLICATION_USER} application_name={OUTSIDE}");
    let program = lab.layout().program("pg_receivewal");
    let receive = [
        "runuser",
        "-u",
        "postgres",
        "--",
        &program,
        "--synchronous",
        "-D",
        directory,
        "-d",
        &conninfo,
    ];
    let receiver = client.spawn(OUTSIDE, &receive)?;
    let mut with_outside = vec![OUTSIDE];
    with_outside.extend(&names);
    in_force(stage, "the outside standby joins", &with_outside)?;
    drop(receiver);
    in_force(stage, "the outside standby leaves", &names)?;

    let now = lab.postgres(primary).postmaster();
    expect(postmaster.is_some() && postmaster == now, || {
        format!("the primary was restarted: {postmaster:?} became {now:?}")
    })?;
    let lost = stage.client.score().lost(lab)?;
    promised(lost.is_empty(), || {
        format!("{} acknowledged commits are lost", lost.len())
    })
}

/// Waits until commits wait for all of `names`, and go on.
fn in_force(stage: &Stage, what: &str, names: &[&str]) -> Result<()> {
    let expected = format!("FIRST {} ({})", names.len(), names.join(", "));
    let begin = stage.client.now();
    stage
        .lab
        .eventually(&format!("{what}: {expected} in force"), LIMIT, |lab| {
            let seen = contract(lab)
                .map_err(|error| error.to_string())?
                .replace('"', "");
            if seen == expected { Ok(()) } else { Err(seen) }
        })?;
    stage.writes_go_on()?;
    let pause = stage.client.score().longest_gap_since(begin);
    println!(
        "  {:<8} {:<52} writes paused {:>5.1} s",
        stage.mode.as_str(),
        format!("{what}: {expected}"),
        pause.as_secs_f64()
    );
    Ok(())
}
