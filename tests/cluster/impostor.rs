//! Somebody else streams from the primary under a node's name: a server of another cluster, a clone, an archiver.

use lab::{Allowed, Cluster, Node, RepMode, Result, Site};

use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, expect, wrong};

/// Where the other one puts what it receives.
const RECEIVED: &str = "/var/lib/postgresql/received";

pub(crate) fn a_server_with_a_nodes_name_confirms_nothing_for_it() -> Result<()> {
    // Its login needs no password there.
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .site(Site::Plain)
            .param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "another streams under the name of the node that commits wait for",
        Allowed::failover(),
        confirmed_elsewhere,
    )
}

/// The node itself receives nothing any more, and the other one confirms under its name; then the primary's machine is lost.
fn confirmed_elsewhere(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, named) = (lab.primary()?, most_important_standby(stage)?);
    let mut standbys = lab.standbys()?.into_iter();
    let third = standbys
        .find(|node| node.name() != named.name())
        .ok_or_else(|| wrong("one standby only"))?;
    let receive = format!(
        "install -d -o postgres {RECEIVED} && PGAPPNAME={} setsid runuser -u postgres -- {} --directory={RECEIVED} --synchronous \
         --host={} --username=repl --no-password >/dev/null 2>&1 </dev/null &",
        named.application_name(),
        lab.layout().program("pg_receivewal"),
        old.address(),
    );
    third.sh(&receive)?.ok()?;
    lab.eventually("it is connected twice", LIMIT, |lab| {
        let query = format!(
            "select count(*) from pg_stat_replication where lower(application_name) = lower('{}') and state = 'streaming'",
            named.application_name()
        );
        match lab.postgres(old).sql(&query) {
            Ok(count) if count.trim() == "2" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    // What the node receives is lost from now on; what the other one receives is not.
    let rule = format!("INPUT -p tcp --sport 5432 -s {} -j DROP", old.address());
    let too = format!(
        "INPUT -p tcp --sport 5432 -s {} -j DROP",
        lab::network::WRITER_ADDRESS
    );
    named
        .sh(&format!("iptables -A {rule} && iptables -A {too}"))?
        .ok()?;
    lab.eventually("the other standby may be promoted", LIMIT, |lab| {
        let of = |node: &Node| score(lab, node);
        match (of(named), of(third)) {
            (Some(named), Some(third)) if named.starts_with('-') && !third.starts_with('-') => {
                Ok(())
            }
            scores => Err(format!("{scores:?}")),
        }
    })?;
    let told = format!(
        "under the name of {}",
        named.application_name().to_lowercase()
    );
    lab.eventually("it is told", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let text = status.to_string();
        if text.contains(&told) {
            Ok(())
        } else {
            Err(text)
        }
    })?;
    stage.writes_go_on()?;
    lab.power_off(old)?;
    let new = stage.taken_over_from(old)?;
    named
        .sh(&format!("iptables -D {rule} && iptables -D {too}"))?
        .ok()?;
    expect(new.name() == third.name(), || {
        format!("{} was promoted, which had received nothing", new.name())
    })?;
    stage.writes_go_on()?;
    lab.power_on(old)?;
    stage.recovers()
}

fn score(lab: &Cluster, node: &Node) -> Option<String> {
    let status = lab.status().ok()?;
    status
        .attribute(node.name(), "master-pgsql")
        .map(str::to_owned)
}
