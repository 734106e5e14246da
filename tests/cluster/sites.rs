//! What a cluster is for, at each kind of site: its server dies, its machine is lost, it is moved, a standby is copied anew. No
//! commit is lost by any of it, and what belongs to the site itself is as it was.

use lab::site::SECRETS;
use lab::{Allowed, Cluster, Node, Process, RepMode, Result, Site, Whose};

use super::comes_back::obey;
use super::commands::PROGRAM;
use super::machines::{most_important_standby, primary_lost};
use super::server::{killed_once, switchover};
use super::stage::{GONE, LIMIT, ON_DIVERGENCE, Stage, expect};

pub(crate) fn a_hardened_site_fails_over_and_back() -> Result<()> {
    let stage = story(Site::Hardened)?;
    no_secret_is_told(&stage.lab)
}

pub(crate) fn a_debian_site_fails_over_and_back() -> Result<()> {
    let stage = story(Site::Debian)?;
    let lab = &stage.lab;
    let primary = lab.primary()?;
    primary
        .sh("test -e /etc/postgresql/*/main/start.conf")?
        .ok()?;
    lab.eventually("the primary's WAL is archived", LIMIT, |lab| {
        let postgres = lab.postgres(primary);
        let archived = postgres
            .sql("select pg_switch_wal() is not null, archived_count > 0, last_failed_time is null or last_failed_time < last_archived_time from pg_stat_archiver")
            .map_err(|error| error.to_string())?;
        if archived == "t|t|t" {
            Ok(())
        } else {
            Err(archived)
        }
    })
}

pub(crate) fn a_grown_site_fails_over_and_back() -> Result<()> {
    let stage = story(Site::Grown)?;
    for node in stage.lab.nodes() {
        println!(
            "         {}: slots {}",
            node.name(),
            slots(&stage.lab, node)?
        );
    }
    stage.step(
        "reports hold up the replay of both standbys, and the primary's machine is lost",
        Allowed::failover(),
        lost_beneath_reports,
    )
}

pub(crate) fn a_site_that_speaks_no_english_fails_over_and_back() -> Result<()> {
    let stage = set(Site::CLocale)?;
    let lab = &stage.lab;
    let sessions: Vec<Process> = lab
        .nodes()
        .iter()
        .map(|node| in_other_bytes(lab, node))
        .collect::<Result<_>>()?;
    act(&stage)?;
    drop(sessions);
    let log = lab
        .nodes()
        .first()
        .map(|node| node.read_file(lab::postgres::LOG));
    let log = log.transpose()?.unwrap_or_default();
    expect(log.contains("Datenbanksystem"), || {
        format!("no German in the log:\n{log}")
    })
}

fn story(site: Site) -> Result<Stage> {
    let stage = set(site)?;
    act(&stage)?;
    Ok(stage)
}

fn set(site: Site) -> Result<Stage> {
    Stage::set(RepMode::Sync, |builder| {
        builder.site(site).param(ON_DIVERGENCE, "rewind_or_rebuild")
    })
}

fn act(stage: &Stage) -> Result<()> {
    stage.step(
        "kill -9: restarted in place",
        Allowed::nothing()
            .restarts(2)
            .failing(Whose::Anybodys, "monitor", GONE, 1),
        |stage| killed_once(stage, true),
    )?;
    stage.step(
        "the primary's machine loses power: failover",
        Allowed::failover(),
        primary_lost,
    )?;
    stage.step("a switchover", Allowed::switchover(), switchover)?;
    stage.step(
        "a standby is copied anew",
        Allowed::nothing().restarts(1).copies(1),
        copied_anew,
    )
}

fn copied_anew(stage: &Stage) -> Result<()> {
    let standby = most_important_standby(stage)?;
    obey(standby, &format!("{PROGRAM} cluster rebuild --force"))?;
    stage.lab.wait_healthy(LIMIT)
}

/// No password is in a log, a command line or the cluster's configuration, on any node.
fn no_secret_is_told(lab: &Cluster) -> Result<()> {
    for node in lab.nodes() {
        for secret in SECRETS {
            let places = "cibadmin --query; cat /var/log/pacemaker/pacemaker.log /var/log/postgresql/*; cat /proc/[0-9]*/cmdline";
            let found = node.sh(&format!("({places}) 2>/dev/null"))?;
            expect(!found.stdout.contains(secret), || {
                format!("{}: a password is told", node.name())
            })?;
        }
    }
    Ok(())
}

/// Who has which slots.
fn slots(lab: &Cluster, node: &Node) -> Result<String> {
    let query = "select string_agg(slot_name, ' ' order by slot_name) from pg_replication_slots";
    lab.postgres(node).sql(query)
}

/// A session of a user, in a database and with a statement, whose names are not UTF-8: for as long as the machine is on.
fn in_other_bytes(lab: &Cluster, node: &Node) -> Result<Process> {
    let psql = lab.layout().program("psql");
    let script = r#"user=$(printf 'M\374ller') database=$(printf 'K\366ln')
while :; do
    "$0" -X -U "$user" -d "$database" -c "select '$database', pg_sleep(600)"
    sleep 0.2
done"#;
    node.spawn(
        "other-bytes",
        &["runuser", "-u", "postgres", "--", "sh", "-c", script, &psql],
    )
}

/// With `max_standby_streaming_delay=-1` a query on a standby is never cancelled: what would take away from it what it reads
/// is not replayed, and nothing after that, until it ends. The standbys have the commits; they have to be promoted in spite of it.
fn lost_beneath_reports(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    lab.postgres(primary)
        .sql("create table report as select generate_series(1, 1000) n")?;
    let standbys = lab.standbys()?;
    let _reports: Vec<Process> = standbys
        .iter()
        .map(|standby| report(lab, standby))
        .collect::<Result<_>>()?;
    lab.postgres(primary).sql("truncate report")?;
    lab.eventually("replay is held up on every standby", LIMIT, |lab| {
        for standby in &standbys {
            let query = "select pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn()";
            let behind = lab
                .postgres(standby)
                .sql(query)
                .map_err(|e| e.to_string())?;
            // Some seconds of the client's commits.
            if behind.parse::<u64>().is_ok_and(|bytes| bytes < 100_000) {
                return Err(format!("{}: {behind}", standby.name()));
            }
        }
        Ok(())
    })?;
    lab.power_off(primary)?;
    let new = stage.taken_over_from(primary)?;
    println!("         {} took over from {}", new.name(), primary.name());
    stage.writes_go_on()?;
    stage.recovers()?;
    lab.power_on(primary)?;
    stage.recovers()
}

/// A query that goes on for as long as it is let.
fn report(lab: &Cluster, standby: &Node) -> Result<Process> {
    let psql = lab.layout().program("psql");
    let statements = [
        "set statement_timeout = 0; set application_name = 'report'",
        "begin isolation level repeatable read",
        "select count(*) from report",
        "select pg_sleep(3600)",
    ];
    let mut argv = vec![
        "runuser", "-u", "postgres", "--", &psql, "-X", "-d", "postgres",
    ];
    for statement in &statements {
        argv.extend(["-c", statement]);
    }
    lab.eventually("the table is on the standby", LIMIT, |lab| {
        let query = "select count(*) from report";
        lab.postgres(standby).sql(query).map_err(|e| e.to_string())
    })?;
    let process = standby.spawn("report", &argv)?;
    lab.eventually("the report is under way", LIMIT, |lab| {
        let query = "select count(*) from pg_stat_activity where application_name = 'report' and query like '%pg_sleep%' and state = 'active'";
        match lab.postgres(standby).sql(query) {
            Ok(count) if count == "1" => Ok(()),
            Ok(count) => Err(count),
            Err(error) => Err(error.to_string()),
        }
    })?;
    Ok(process)
}
