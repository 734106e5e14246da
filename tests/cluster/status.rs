//! `status`, `why` and `master`, typed on a node while something is wrong: each names it, in words and in JSON, and none
//! of them needs a healthy cluster to answer.

use std::time::Duration;

use lab::process::Output;
use lab::resources::CLONE;
use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};
use serde_json::Value;

use super::stage::{LIMIT, Stage, cut_off, expect, wrong};

/// Where Pacemaker has the program, which is where an operator finds it without being told.
const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// More than any of the questions behind these commands may take together.
const ANSWER: Duration = Duration::from_secs(40);

pub(crate) fn an_operator_sees_what_is_wrong() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.setting("wal_log_hints = on")
    })?;
    stage.step(
        "a healthy cluster is shown as one",
        Allowed::nothing(),
        healthy,
    )?;
    stage.step("who may not ask is told so", Allowed::nothing(), bad_input)?;
    stage.step(
        "a node in standby",
        Allowed::nothing().restarts(1),
        in_standby,
    )?;
    stage.step("a ban that was forgotten", Allowed::nothing(), banned)?;
    stage.step("a machine that is off", Allowed::nothing(), machine_off)?;
    stage.step(
        "the resource is stopped",
        Allowed::nothing().restarts(4).waiting(),
        stopped,
    )?;
    stage.step(
        "bans on every node: no primary",
        Allowed::nothing().restarts(2).waiting(),
        no_primary,
    )?;
    stage.step(
        "two of three machines off: no quorum",
        Allowed::nothing().restarts(2).waiting(),
        no_quorum,
    )?;
    stage.step("a node whose start was refused", cut_off(), refused_start)
}

pub(crate) fn an_operator_sees_what_the_lock_service_does() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder.nodes(2).lock_service())?;
    stage.step(
        "the lock and its holder are shown",
        Allowed::nothing(),
        lock_held,
    )?;
    stage.step(
        "a silent lock service is a fact, not an error",
        Allowed::nothing(),
        lock_silent,
    )?;
    stage.step(
        "the old primary and the lock service are gone",
        Allowed::failover().waiting().restarts(2).failing(
            Whose::Anybodys,
            "promote",
            "the lock is not taken",
            3,
        ),
        lock_and_primary_gone,
    )
}

/// `expgsql cluster …` on a node.
fn cluster(node: &Node, words: &[&str]) -> Result<Output> {
    node.command(&[&[PROGRAM, "cluster"], words].concat())?
        .limit(ANSWER)
        .run()
}

/// Runs a command that must end with `code`, saying `part`.
fn ends(node: &Node, words: &[&str], code: i32, part: &str) -> Result<Output> {
    let output = cluster(node, words)?;
    is(&output, node, words, code, part)?;
    Ok(output)
}

/// The same, after a while: the cluster is about to get there.
fn comes_to(lab: &Cluster, node: &Node, words: &[&str], code: i32, part: &str) -> Result<()> {
    lab.eventually(&format!("{words:?} ends with {code}"), LIMIT, |_| {
        ends(node, words, code, part)
            .map(drop)
            .map_err(|error| error.to_string())
    })
}

fn is(output: &Output, node: &Node, words: &[&str], code: i32, part: &str) -> Result<()> {
    let is_so = output.code() == Some(code) && output.text().contains(part);
    expect(is_so, || {
        format!(
            "{words:?} on {} should end with {code} and say {part:?}, but ended with {:?}:\n{}",
            node.name(),
            output.code(),
            output.text()
        )
    })
}

/// What a command prints as JSON.
fn json(node: &Node, command: &str) -> Result<Value> {
    let output = ends(node, &[command, "--json"], 0, "")?;
    serde_json::from_str(&output.stdout)
        .map_err(|error| wrong(format!("{error}: {}", output.text())))
}

/// Waits until the status has this `health` and a finding of this `code`, and shows what a person sees then.
pub(crate) fn shows(lab: &Cluster, node: &Node, health: &str, code: &str) -> Result<Value> {
    let what = format!("the status is {health}, with {code}");
    let status = lab.eventually(&what, LIMIT, |_| {
        let status = json(node, "status").map_err(|error| error.to_string())?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        let has_it = code.is_empty() || findings.iter().any(|f| f["code"] == code);
        if status["health"] == health && has_it {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })?;
    for command in ["status", "why"] {
        let text = ends(node, &[command], 0, "")?.stdout;
        println!("         # expgsql cluster {command}");
        text.lines().for_each(|line| println!("         | {line}"));
    }
    Ok(status)
}

/// The codes of what is against a node.
fn against(why: &Value, node: &Node) -> Vec<String> {
    let reasons = why["nodes"][node.name()]["reasons"].as_array();
    let code = |reason: &Value| reason["code"].as_str().unwrap_or_default().to_owned();
    reasons
        .map(|all| all.iter().map(code).collect())
        .unwrap_or_default()
}

fn is_against(why: &Value, node: &Node, code: &str) -> Result<()> {
    let found = against(why, node);
    expect(found.iter().any(|c| c == code), || {
        format!("{code} is not among {found:?} of {}: {why}", node.name())
    })
}

/// The standby that may be promoted.
fn eligible(lab: &Cluster) -> Result<&Node> {
    let why = json(lab.primary()?, "why")?;
    let name = why["candidates"][0].as_str().unwrap_or_default().to_owned();
    lab.node(&name)
}

fn pacemaker(node: &Node, words: &[&str]) -> Result<()> {
    node.run(words)?.ok().map(drop)
}

fn healthy(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    for node in lab.nodes() {
        let status = json(node, "status")?;
        expect(status["health"] == "healthy", || status.to_string())?;
        expect(
            status["version"] == 1 && status["primary"] == primary.name(),
            || status.to_string(),
        )?;
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let knows = |n: &Value| n["position"].is_string() && n["timeline"].is_number();
        expect(nodes.len() == 3 && nodes.iter().all(knows), || {
            format!("{} does not know every position: {status}", node.name())
        })?;
        ends(node, &["status"], 0, "pgsql is healthy.")?;
        ends(node, &["status", "--check"], 0, "pgsql is healthy.")?;
        let why = ends(
            node,
            &["why"],
            0,
            &format!("{} is the primary.", primary.name()),
        )?;
        expect(why.stdout.contains("takes over"), || why.text())?;
        let master = ends(node, &["master"], 0, "")?;
        expect(master.stdout == format!("{}\n", primary.name()), || {
            master.text()
        })?;
        ends(node, &["primary"], 0, primary.name())?;
    }
    shows(lab, primary, "healthy", "").map(drop)
}

fn bad_input(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = lab.primary()?;
    for command in ["status", "why", "master"] {
        ends(node, &[command, "--nonsense"], 2, "--nonsense")?;
        ends(node, &[command, "--resource", "nosuch"], 1, "it has pgsql")?;
        ends(node, &[command, "--resource", CLONE], 0, "")?;
        // Pacemaker's sockets belong to the network namespace.
        let alone = ["unshare", "--net", PROGRAM, "cluster", command];
        is(&node.run(&alone)?, node, &alone, 101, "start the cluster")?;
        let stranger = node.as_user("nobody", &[PROGRAM, "cluster", command])?;
        is(
            &stranger.run()?,
            node,
            &[command, "as nobody"],
            101,
            "not root",
        )?;
    }
    // A member of haclient sees what Pacemaker knows, and is told what more root would see.
    for (command, part) in [("status", "takes root"), ("master", node.name())] {
        let member = node.as_user("hacluster", &[PROGRAM, "cluster", command])?;
        is(&member.run()?, node, &[command, "as hacluster"], 0, part)?;
    }
    ends(node, &["status", "--check", "--json"], 2, "--json").map(drop)
}

fn in_standby(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, node) = (lab.primary()?, eligible(lab)?);
    lab.set_standby_mode(node, true)?;
    let status = shows(lab, primary, "degraded", "standby")?;
    let fix = format!("expgsql cluster unstandby-node {}", node.name());
    let findings = status["findings"].to_string();
    expect(findings.contains(&fix), || findings.clone())?;
    is_against(&json(primary, "why")?, node, "standby")?;
    ends(primary, &["status", "--check"], 1, "degraded")?;
    lab.set_standby_mode(node, false)
}

fn banned(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, node) = (lab.primary()?, eligible(lab)?);
    lab.ban_primary(node)?;
    shows(lab, primary, "degraded", "constraint")?;
    let why = json(primary, "why")?;
    is_against(&why, node, "banned")?;
    // With the reason, whether another standby has taken its place by now or not: on that the advice depends.
    let reasons = why["nodes"][node.name()]["reasons"].to_string();
    expect(reasons.contains("crm_resource --clear"), || why.to_string())?;
    lab.lift_bans()
}

fn machine_off(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, node) = (lab.primary()?, eligible(lab)?);
    lab.power_off(node)?;
    shows(lab, primary, "degraded", "offline")?;
    is_against(&json(primary, "why")?, node, "offline")?;
    ends(
        primary,
        &["status"],
        0,
        &format!("bring {} back", node.name()),
    )?;
    ends(primary, &["master"], 0, primary.name())?;
    lab.power_on(node)
}

fn role(node: &Node, change: &[&str]) -> Result<()> {
    pacemaker(
        node,
        &[&["crm_resource", "--resource", CLONE, "--meta"], change].concat(),
    )
}

fn stopped(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = lab.primary()?;
    role(
        node,
        &["--set-parameter=target-role", "--parameter-value=Stopped"],
    )?;
    let status = shows(lab, node, "stopped", "stopped")?;
    expect(status["next"] == "expgsql cluster start", || {
        status.to_string()
    })?;
    ends(node, &["why"], 0, "an operator stopped the resource")?;
    comes_to(lab, node, &["master"], 10, "no primary")?;
    comes_to(lab, node, &["status", "--check"], 10, "is stopped")?;
    role(node, &["--delete-parameter=target-role"])
}

fn no_primary(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let first = lab.primary()?;
    for node in lab.nodes() {
        lab.ban_primary(node)?;
    }
    let status = shows(lab, first, "no-primary", "no-primary")?;
    expect(status["primary"].is_null(), || status.to_string())?;
    let why = json(first, "why")?;
    expect(why["state"] == "none", || why.to_string())?;
    for node in lab.nodes() {
        is_against(&why, node, "banned")?;
    }
    let has_it = why["nodes"][first.name()]["ground"] == "recorded-primary";
    expect(has_it, || format!("{} has everything: {why}", first.name()))?;
    comes_to(lab, first, &["master"], 10, "no primary")?;
    comes_to(lab, first, &["status", "--check"], 10, "no primary")?;
    lab.lift_bans()
}

fn no_quorum(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let others: Vec<&Node> = lab
        .nodes()
        .iter()
        .filter(|n| n.name() != primary.name())
        .collect();
    for node in &others {
        lab.power_off(node)?;
    }
    let status = shows(lab, primary, "no-primary", "no-primary")?;
    expect(status["cluster"]["quorum"] == "no", || status.to_string())?;
    let why = json(primary, "why")?;
    expect(why["cluster"][0]["code"] == "no-quorum", || why.to_string())?;
    ends(primary, &["master"], 102, "no quorum")?;
    ends(primary, &["status", "--check"], 102, "no quorum")?;
    for node in others {
        lab.power_on(node)?;
    }
    Ok(())
}

/// The old primary wrote what nobody else has, and is refused; the command that is named helps.
fn refused_start(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.isolate(old)?;
    let written = lab.postgres(old).sql(
        "set synchronous_commit to local; create table only_here as select generate_series(1, 20000) as n",
    );
    let taken_over = written.and_then(|_| stage.taken_over_from(old).map(drop));
    lab.heal()?;
    taken_over?;
    let new = lab.primary()?;
    shows(lab, new, "degraded", "start-failed")?;
    let fix = format!("on {}: {PROGRAM} cluster rewind", old.name());
    // Until the other standby streams again that is what is worst.
    lab.eventually("the refused start is what is worst", LIMIT, |_| {
        let status = json(new, "status").map_err(|error| error.to_string())?;
        let is_so = status["next"] == fix.as_str();
        is_so.then_some(()).ok_or_else(|| status.to_string())
    })?;
    is_against(&json(new, "why")?, old, "start-failed")?;
    let repair = node_command(old, &["rewind", "--yes"])?;
    expect(repair.success(), || repair.text())
}

/// With the time that a repair may take.
fn node_command(node: &Node, words: &[&str]) -> Result<Output> {
    let words = [&[PROGRAM, "cluster"], words].concat();
    node.command(&words)?.limit(Duration::from_secs(180)).run()
}

fn lock_held(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let status = shows(lab, primary, "healthy", "")?;
    let lock = &status["lock"];
    let owner = format!("pgsql_{}", primary.name().to_lowercase());
    expect(
        lock["state"] == "held" && lock["owner"] == owner.as_str(),
        || lock.to_string(),
    )?;
    let eligible = eligible(lab)?.name();
    let lets = lock["eligible"].to_string();
    expect(lets.contains(eligible), || {
        format!("{eligible} is not in {lets}")
    })
}

fn lock_silent(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    lab.stop_lock_service()?;
    let status = shows(lab, primary, "degraded", "lock-silent")?;
    expect(status["lock"]["state"] == "silent", || status.to_string())?;
    ends(primary, &["master"], 0, primary.name())?;
    // One that takes connections and says nothing costs some seconds, not for ever.
    lab.start_lock_service()?;
    let lock = lab.lock()?;
    lab.freeze_postgres(lock)?;
    let frozen = shows(lab, primary, "degraded", "lock-silent");
    lab.thaw_postgres(lock)?;
    frozen.map(drop)
}

fn lock_and_primary_gone(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let other = eligible(lab)?;
    lab.stop_lock_service()?;
    lab.power_off(primary)?;
    shows(lab, other, "no-primary", "lock-silent")?;
    let why = json(other, "why")?;
    is_against(&why, other, "lock")?;
    ends(other, &["why"], 0, "lock service")?;
    ends(other, &["master"], 10, "no primary")?;
    lab.start_lock_service()?;
    stage.taken_over_from(primary)?;
    lab.power_on(primary)
}
