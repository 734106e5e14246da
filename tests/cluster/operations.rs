//! The commands that change the cluster, typed on a node of a real one: each does what it says, refuses what can't work
//! before anything is done, leaves nothing behind, and costs no acknowledged commit.

use lab::resources::{CLONE, READER, RESOURCE, WRITER};
use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::commands::{PROGRAM, cluster, ends, indented};
use super::degraded::{correct, misspell};
use super::stage::{
    GONE, LIMIT, Stage, expect, promised, refusals, watching_for_two_writable, wrong,
};

/// Every command, with arguments that are right.
fn all(node: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["start"],
        vec!["stop", "--yes"],
        vec!["switch", "--yes"],
        vec!["switch", node, "--yes"],
        vec!["cleanup"],
        vec!["reset-master", "--yes"],
        vec!["maintenance"],
        vec!["unmaintenance"],
        vec!["maintenance-node", node],
        vec!["unmaintenance-node", node],
        vec!["standby-node", node, "--yes"],
        vec!["unstandby-node", node],
        vec!["manage"],
        vec!["unmanage"],
    ]
}

pub(crate) fn an_operator_runs_the_cluster() -> Result<()> {
    // A receiver hangs in it while commands are given up: its sender must not give up before.
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.setting("wal_sender_timeout = 60s")
    })?;
    let step = |name: &str, allowed: Allowed, act: fn(&Stage) -> Result<()>| {
        stage.step(name, allowed, act)?;
        leaves_nothing(&stage)
    };
    let (nothing, switchover) = (Allowed::nothing, Allowed::switchover);
    step("bad input is refused with a sentence", nothing(), bad_input)?;
    step(
        "maintenance mode, of the cluster and of a node",
        nothing(),
        maintenance,
    )?;
    step(
        "a server that was degraded once is watched after maintenance",
        nothing(),
        watched_after_maintenance,
    )?;
    step("unmanaged and managed again", nothing(), unmanaged)?;
    step(
        "to a node that commits did not wait for",
        switchover(),
        switch_to_async,
    )?;
    step("to the node that is ready", switchover(), switch_to_ready)?;
    step(
        "who can't take over is refused",
        nothing().restarts(2),
        switch_refused,
    )?;
    step(
        "a switchover that is given up or killed",
        switchover(),
        switch_ended,
    )?;
    step(
        "a promotion that fails",
        // The one that failed; the one that was demoted, as a standby and as the primary, and once more where Pacemaker exchanges the two
        // instances.
        switchover()
            .restarts(4)
            .failing(Whose::Anybodys, "promote", "No space left", 1),
        promotion_failed,
    )?;
    step(
        "a standby out of service, and back",
        nothing().restarts(1),
        standby_out,
    )?;
    step(
        "the primary out of service, and back",
        switchover(),
        primary_out,
    )?;
    step(
        "stopped and started, with the same primary",
        nothing().restarts(4).waiting(),
        stop_and_start,
    )?;
    step(
        "failures are forgiven",
        nothing()
            .restarts(1)
            .failing(Whose::Anybodys, "monitor", GONE, 1),
        failures,
    )?;
    step("a node that is off", nothing(), node_off)?;
    step(
        "without quorum nothing is done",
        nothing().restarts(2).waiting(),
        without_quorum,
    )
}

pub(crate) fn an_operator_gives_the_recorded_primary_up() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder)?;
    stage.scene(
        "the recorded primary is given up",
        Allowed::failover().waiting().losing().refused(),
        |stage| reset(stage, true),
    )
}

pub(crate) fn an_operator_runs_a_cluster_with_quorum_commit() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param("sync_method", "quorum")
    })?;
    for round in 1..=2 {
        stage.step(&format!("switch {round}"), Allowed::switchover(), |stage| {
            let target = standbys(&stage.lab)?.1;
            switch(stage, stage.lab.primary()?, target)
        })?;
        leaves_nothing(&stage)?;
    }
    Ok(())
}

pub(crate) fn an_operator_runs_an_async_cluster() -> Result<()> {
    let stage = Stage::set(RepMode::Async, |builder| builder)?;
    let step = |name: &str, allowed: Allowed, act: fn(&Stage) -> Result<()>| {
        stage.step(name, allowed, act)?;
        leaves_nothing(&stage)
    };
    let (nothing, switchover) = (Allowed::nothing, Allowed::switchover);
    step("what an operator sees", nothing(), |stage| {
        let (lab, name) = (&stage.lab, stage.lab.primary()?.name());
        let able = format!("{name} is the primary. If it fails now, ");
        for words in [["status"], ["why"]] {
            let output = ends(standbys(lab)?.0, &words, 0, &able)?;
            print!("{}", indented(&output.stdout));
        }
        Ok(())
    })?;
    step("unmanaged and managed again", nothing(), unmanaged)?;
    step("switch", switchover(), switch_to_async)?;
    step("and back", switchover(), switch_to_async)?;
    step(
        "a standby out of service, and back",
        nothing().restarts(1),
        standby_out,
    )?;
    step(
        "the primary out of service, and back",
        switchover(),
        primary_out,
    )?;
    step(
        "stopped and started, with the same primary",
        nothing().restarts(4).waiting(),
        stop_and_start,
    )
}

pub(crate) fn an_operator_runs_two_nodes_with_a_lock_service() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| builder.nodes(2).lock_service())?;
    stage.step("switch to the other", Allowed::switchover(), |stage| {
        let target = stage.lab.standbys()?.into_iter().next();
        let target = target.ok_or_else(|| wrong("there is no standby"))?;
        switch(stage, stage.lab.primary()?, target)
    })?;
    leaves_nothing(&stage)?;
    stage.scene(
        "the recorded primary is given up",
        Allowed::failover().waiting().losing().refused(),
        |stage| reset(stage, false),
    )
}

/// The standby that may be promoted, and another.
fn standbys(lab: &Cluster) -> Result<(&Node, &Node)> {
    let status = lab.status()?;
    let is_ready = |node: &&Node| {
        status.attribute(node.name(), &format!("{RESOURCE}-data-status")) == Some("STREAMING|SYNC")
    };
    let all = lab.standbys()?;
    let ready = all.iter().copied().find(is_ready);
    let ready = ready.or(all.first().copied());
    let ready = ready.ok_or_else(|| wrong("there is no standby"))?;
    let other = all.into_iter().find(|node| node.name() != ready.name());
    other
        .map(|other| (ready, other))
        .ok_or_else(|| wrong("there is one standby only"))
}

/// No constraint, request, failure or mode is left.
fn leaves_nothing(stage: &Stage) -> Result<()> {
    let node = stage.lab.primary()?;
    let cib = node.run(&["cibadmin", "--query"])?.ok()?;
    for trace in [
        "cli-prefer",
        "cli-ban",
        "pgsql-wanted",
        "target-role",
        "is-managed",
        "maintenance-mode",
        "name=\"standby\"",
        "name=\"maintenance\"",
        "fail-count-",
    ] {
        expect(!cib.contains(trace), || {
            format!("{trace} is left in\n{cib}")
        })?;
    }
    Ok(())
}

fn bad_input(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = lab.primary()?;
    for words in all(node.name()) {
        let mut longer = vec![PROGRAM, "cluster"];
        longer.extend(&words);
        let not_root = node.as_user("postgres", &longer)?.run()?;
        expect(
            not_root.code() == Some(1) && not_root.stderr.contains("as root"),
            || format!("{words:?}: {}", not_root.text()),
        )?;
        // Pacemaker's sockets belong to the network namespace.
        let alone = [&["unshare", "--net"], &longer[..]].concat();
        let no_cluster = node.run(&alone)?;
        expect(
            no_cluster.code() == Some(101) && no_cluster.stderr.contains("Pacemaker does not run"),
            || format!("{words:?}: {}", no_cluster.text()),
        )?;
        ends(
            node,
            &[&words[..], &["--nonsense"]].concat(),
            2,
            "--nonsense",
        )?;
        ends(node, &[&words[..], &["x", "y"]].concat(), 2, "'")?;
    }
    for command in ["start", "stop", "switch", "cleanup", "manage", "unmanage"] {
        let words = [command, "--resource", "nosuch"];
        ends(node, &words, 1, &format!("it has {RESOURCE}"))?;
    }
    for command in [
        "switch",
        "reset-master",
        "maintenance-node",
        "unmaintenance-node",
        "standby-node",
        "unstandby-node",
    ] {
        ends(
            node,
            &[command, "nosuch"],
            100,
            "its nodes are node1, node2",
        )?;
    }
    for words in [&["stop"][..], &["switch"], &["standby-node", node.name()]] {
        ends(node, words, 1, "--yes goes on without asking")?;
    }
    for command in ["standby-node", "maintenance-node", "unstandby-node"] {
        ends(node, &[command], 2, "<NODE>")?;
    }
    ends(node, &["reset-master", "--yes"], 10, "is the primary, so")?;
    for (link, code) in [
        ("cls_reset_master", 10),
        ("cls_standby_node", 2),
        ("cls_online_switch", 1),
    ] {
        let path = format!("/usr/local/sbin/{link}");
        node.run(&["ln", "-sf", PROGRAM, &path])?.ok()?;
        let output = node.run(&[path.as_str()])?;
        expect(output.code() == Some(code), || output.text())?;
    }
    Ok(())
}

fn maintenance(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, node) = (lab.primary()?, standbys(lab)?.0);
    ends(primary, &["maintenance"], 0, "is in maintenance mode:")?;
    ends(node, &["maintenance"], 0, "already")?;
    for words in [&["start"][..], &["stop", "--yes"], &["switch", "--yes"]] {
        ends(node, words, 100, "first expgsql cluster unmaintenance")?;
    }
    stage.writes_go_on()?;
    ends(node, &["unmaintenance"], 0, "watches over everything again")?;
    ends(node, &["unmaintenance"], 0, "is not in maintenance mode")?;

    let name = node.name();
    ends(primary, &["maintenance_node", name], 0, "not watched")?;
    ends(primary, &["maintenance-node", name], 0, "already")?;
    ends(
        primary,
        &["switch", name, "--yes"],
        100,
        "is in maintenance mode",
    )?;
    ends(node, &["unmaintenance-node", name], 0, "watches over")?;
    ends(node, &["unmaintenance-node", name], 0, "not in maintenance")?;

    // Of the primary's node: nothing is told to Pacemaker that it would do only later, when nobody expects it any more.
    let serves = primary.name();
    ends(node, &["maintenance-node", serves], 0, "not watched")?;
    let first = format!("first expgsql cluster unmaintenance-node {serves}");
    for words in [
        &["switch", name, "--yes"][..],
        &["switch", "--yes"],
        &["stop", "--yes"],
    ] {
        ends(node, words, 100, &first)?;
    }
    ends(node, &["unmaintenance-node", serves], 0, "watches over")?;
    stage.writes_go_on()
}

/// Pacemaker takes the note of a degraded monitor for a monitor that runs, and would begin none after the maintenance. The primary's: a standby's
/// code says nothing as long as the primary's node coordinates.
fn watched_after_maintenance(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = lab.primary()?;
    let (note, monitor) = (
        format!("{RESOURCE}_last_failure_0"),
        format!("{RESOURCE}_monitor_3000"),
    );
    let history = |id: &str, more: &str| {
        let name = node.name();
        let path = format!("//node_state[@uname='{name}']//lrm_rsc_op[@id='{id}']{more}");
        let found = node.run(&["cibadmin", "--query", "--xpath", &path]);
        found.map(|output| output.success())
    };
    let until = |what: &str, is_so: &dyn Fn() -> Result<bool>| {
        lab.eventually(what, LIMIT, |_| match is_so() {
            Ok(true) => Ok(()),
            Ok(false) => Err("not yet".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    };
    let mode = |value: &str| {
        let words = ["crm_attribute", "--name=maintenance-mode"];
        let update = format!("--update={value}");
        node.run(&[&words[..], &[&update]].concat())?.ok()
    };
    misspell(stage, node)?;
    until("its monitor is degraded", &|| {
        history(&note, "[@rc-code='191']")
    })?;
    correct(stage, node)?;
    until("its monitor is well", &|| {
        history(&monitor, "[@rc-code='8']")
    })?;
    stage.told(node, None)?;
    // By Pacemaker's own tool, which knows nothing of notes.
    mode("true")?;
    until("nobody watches it", &|| {
        history(&monitor, "").map(|is_watched| !is_watched)
    })?;
    expect(history(&note, "")?, || "the note is gone".into())?;
    let delete = ["crm_attribute", "--name=maintenance-mode", "--delete"];
    node.run(&delete)?.ok()?;
    until("it is watched again", &|| history(&monitor, ""))
}

fn unmanaged(stage: &Stage) -> Result<()> {
    let node = stage.lab.primary()?;
    let output = ends(node, &["unmanage"], 0, "unmanaged: ")?;
    for name in [CLONE, WRITER, READER] {
        expect(output.stdout.contains(name), || output.text())?;
    }
    for words in [&["start"][..], &["stop", "--yes"], &["switch", "--yes"]] {
        ends(node, words, 100, "first expgsql cluster manage")?;
    }
    ends(node, &["manage"], 0, "managed: ")?;
    ends(node, &["manage"], 0, "managed: ")?;
    // As pcs does it: on the primitive.
    let meta = ["crm_resource", "--resource", RESOURCE, "--meta", "--force"];
    let off = ["--set-parameter=is-managed", "--parameter-value=false"];
    node.run(&[&meta[..], &off].concat())?.ok()?;
    ends(node, &["start"], 100, "is unmanaged")?;
    ends(node, &["manage"], 0, "managed: ").map(drop)
}

/// Moves the primary to `target` and looks at everything that must be so then.
fn switch(stage: &Stage, from: &Node, target: &Node) -> Result<()> {
    let begin = stage.client.now();
    let words = ["switch", target.name(), "--yes"];
    let output = ends(
        from,
        &words,
        0,
        &format!("{} is the primary", target.name()),
    )?;
    print!("{}", indented(&output.stdout));
    println!(
        "         the command took {:.1} s",
        (stage.client.now() - begin).as_secs_f64()
    );
    is_primary(stage, target)
}

fn is_primary(stage: &Stage, node: &Node) -> Result<()> {
    let now = stage.lab.primary()?;
    expect(now.name() == node.name(), || {
        format!("{} is the primary, not {}", now.name(), node.name())
    })
}

fn switch_to_async(stage: &Stage) -> Result<()> {
    let (_, target) = standbys(&stage.lab)?;
    switch(stage, stage.lab.primary()?, target)
}

fn switch_to_ready(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (old, (ready, _)) = (lab.primary()?, standbys(lab)?);
    let output = ends(ready, &["online_switch", "--yes"], 0, "follow it")?;
    expect(
        output
            .stdout
            .contains("nothing: it has every acknowledged commit"),
        || output.text(),
    )?;
    let now = lab.primary()?;
    expect(now.name() != old.name(), || "it is the same".into())?;
    is_primary(stage, ready)
}

fn switch_refused(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, (node, _)) = (lab.primary()?, standbys(lab)?);
    let name = node.name();
    let refused = |part: &str| {
        let output = ends(primary, &["switch", name, "--yes"], 100, part)?;
        expect(output.stderr.starts_with("nothing was done: "), || {
            output.text()
        })?;
        println!("         {}", output.stderr.trim());
        is_primary(stage, primary)
    };
    ends(
        primary,
        &["switch", primary.name(), "--yes"],
        100,
        "is the primary already",
    )?;
    lab.set_standby_mode(node, true)?;
    refused("is out of service")?;
    lab.set_standby_mode(node, false)?;
    lab.wait_healthy(LIMIT)?;

    let ban = ["crm_resource", "--ban", "--promoted", "--resource", CLONE];
    primary.run(&[&ban[..], &["--node", name]].concat())?.ok()?;
    refused(&format!("cli-ban-{CLONE}-on-{name}"))?;
    let clear = ["crm_resource", "--clear", "--resource", CLONE];
    primary.run(&clear)?.ok()?;

    // Somebody holds the primary where it is.
    let pin = format!(
        "<rsc_location id=\"pin\" rsc=\"{CLONE}\" role=\"Promoted\" node=\"{}\" score=\"INFINITY\"/>",
        primary.name()
    );
    let constraints = |act: &str| {
        let argv = ["cibadmin", act, "--scope=constraints", "--xml-text", &pin];
        primary.run(&argv)?.ok().map(drop)
    };
    constraints("--create")?;
    refused(&format!("pin holds the primary on {}", primary.name()))?;
    constraints("--delete")?;

    let fail = format!("fail-count-{RESOURCE}#monitor_4000");
    let set = |value: &str| {
        let argv = ["attrd_updater", "--node", name, "--name", &fail, value];
        primary.run(&argv)?.ok().map(drop)
    };
    set("--update=3")?;
    lab.eventually("the failures are counted", LIMIT, |_| {
        refused("migration-threshold").map_err(|error| error.to_string())
    })?;
    set("--delete")?;

    lab.wait_healthy(LIMIT)
}

/// A node that can't keep up is not waited for; the command gives up, is interrupted, or is killed, and the primary stays.
fn switch_ended(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, (_, slow)) = (lab.primary()?, standbys(lab)?);
    lab.hang_receiver(slow)?;
    let words = ["switch", slow.name(), "--yes", "--timeout"];
    let output = ends(
        primary,
        &[&words[..], &["4"]].concat(),
        11,
        "given up after 4 s",
    )?;
    println!("         {}", output.stderr.trim());
    let says = format!("{} is still the primary", primary.name());
    expect(output.stderr.contains(&says), || output.text())?;
    leaves_nothing(stage)?;

    let ended_by = |signal: &str| -> Result<Option<i32>> {
        let line = format!(
            "{PROGRAM} cluster switch {} --yes >/tmp/switch.log 2>&1 & pid=$!; \
             while ! grep -q waiting: /tmp/switch.log; do sleep 0.1; done; kill -{signal} $pid; wait $pid",
            slow.name()
        );
        Ok(primary.sh(&line)?.code())
    };
    let code = ended_by("INT")?;
    // A shell without job control has its children ignore SIGINT; the command listens all the same.
    expect(code == Some(1), || format!("{code:?}"))?;
    let told = primary.read_file("/tmp/switch.log")?;
    expect(told.contains("interrupted: "), || told.clone())?;
    leaves_nothing(stage)?;

    ended_by("KILL")?;
    is_primary(stage, primary)?;
    lab.unhang_receiver(slow)?;
    lab.wait_healthy(LIMIT)?;
    stage.writes_go_on()?;
    // What it left is a wish: commits wait for that node, too, and it is taken up by whoever comes next.
    switch(stage, primary, slow)
}

/// The old primary is demoted, and the new one can't write down what it would have to: nothing is recorded, another takes
/// over by itself, and the command says which.
fn promotion_failed(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, (target, _)) = (lab.primary()?, standbys(lab)?);
    lab.fill_tmpdir(target)?;
    let words = ["switch", target.name(), "--yes"];
    let result = cluster(primary, &words);
    let taken_over = stage.writes_go_on();
    lab.empty_tmpdir(target)?;
    taken_over?;
    let output = result?;
    println!("         {}", output.stderr.trim());
    let failed = format!("{}: promote of {RESOURCE} failed: ", target.name());
    let now = lab.primary()?;
    let stand = format!("; {} is the primary", now.name());
    let parts = [&failed, "No space left", "make space", &stand];
    expect(
        output.code() == Some(1) && parts.iter().all(|part| output.stderr.contains(part)),
        || output.text(),
    )?;
    expect(now.name() != target.name(), || output.text())?;
    let output = ends(primary, &["start"], 0, "follow it")?;
    expect(output.stdout.contains("forgiven: "), || output.text())?;
    is_primary(stage, now)
}

fn standby_out(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, (_, node)) = (lab.primary()?, standbys(lab)?);
    let name = node.name();
    ends(primary, &["standby_node", name], 0, "is out of service")?;
    expect(lab.postgres(node).postmaster().is_none(), || {
        "its server still runs".into()
    })?;
    ends(primary, &["standby-node", name], 0, "is out of service")?;
    ends(node, &["unstandby_node", name], 0, "follows")?;
    ends(node, &["unstandby-node", name], 0, "follows").map(drop)
}

fn primary_out(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    let output = ends(
        old,
        &["standby-node", old.name(), "--yes"],
        0,
        "is out of service",
    )?;
    print!("{}", indented(&output.stdout));
    let new = lab.primary()?;
    expect(new.name() != old.name(), || "it is the primary".into())?;
    expect(
        output
            .stdout
            .contains(&format!("{} is the primary", new.name())),
        || output.text(),
    )?;
    ends(new, &["unstandby-node", old.name()], 0, "follows").map(drop)
}

fn stop_and_start(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let (_, other) = standbys(lab)?;
    let output = ends(other, &["stop", "--yes"], 0, "is stopped on all nodes")?;
    print!("{}", indented(&output.stdout));
    for node in lab.nodes() {
        expect(lab.postgres(node).postmaster().is_none(), || {
            format!("{} still runs", node.name())
        })?;
    }
    let status = lab.status()?;
    expect(
        status.fail_counts.is_empty() && status.location(WRITER).is_none(),
        || status.to_string(),
    )?;
    ends(other, &["stop", "--yes"], 0, "is stopped")?;
    ends(other, &["switch", "--yes"], 10, "no primary")?;
    let output = ends(other, &["start"], 0, "follow it")?;
    print!("{}", indented(&output.stdout));
    is_primary(stage, primary)?;
    ends(other, &["start"], 0, "follow it")?;
    is_primary(stage, primary)
}

fn failures(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, (_, node)) = (lab.primary()?, standbys(lab)?);
    ends(primary, &["cleanup"], 0, "there was no failure")?;
    lab.kill_postmaster(node)?;
    lab.eventually("the failure is counted", LIMIT, |_| {
        match stage.fail_count(node).map_err(|error| error.to_string())? {
            count if count == "0" => Err(count),
            _ => Ok(()),
        }
    })?;
    lab.wait_healthy(LIMIT)?;
    let output = ends(primary, &["cleanup"], 0, "is forgiven")?;
    print!("{}", indented(&output.stdout));
    let told = format!("{}: monitor of {RESOURCE} failed", node.name());
    expect(output.stdout.contains(&told), || output.text())?;
    let count = stage.fail_count(node)?;
    expect(count == "0", || count.clone())
}

fn node_off(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, (_, node)) = (lab.primary()?, standbys(lab)?);
    let name = node.name();
    lab.power_off(node)?;
    lab.eventually("the loss is noticed", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if status.is_online(name) {
            Err(status.to_string())
        } else {
            Ok(())
        }
    })?;
    ends(
        primary,
        &["switch", name, "--yes"],
        10,
        "is not in the cluster at the moment",
    )?;
    ends(primary, &["standby-node", name], 0, "when it comes back")?;
    ends(primary, &["unstandby-node", name], 0, "when it comes back")?;
    ends(primary, &["maintenance-node", name], 0, "once it is in")?;
    ends(primary, &["unmaintenance-node", name], 0, "once it is in")?;
    ends(primary, &["cleanup"], 0, "failure")?;
    ends(primary, &["start"], 0, "is the primary")?;
    lab.power_on(node)
}

fn without_quorum(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = standbys(lab)?.1;
    lab.isolate(node)?;
    let result = lab.eventually("the node has no quorum", LIMIT, |_| {
        for words in all(node.name()) {
            // Not before the loss is noticed: it would be done then.
            if words[0] == "start" {
                let quorum = node.run(&["cibadmin", "--query", "--xpath=/cib[@have-quorum='0']"]);
                if quorum.map_err(|error| error.to_string())?.code() != Some(0) {
                    return Err("it still has quorum".to_owned());
                }
            }
            ends(node, &words, 102, "no quorum").map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    lab.heal()?;
    result
}

/// The primary acknowledges what nobody else gets, and is lost: no rule lets another node be promoted, and only a person can
/// give up what the lost one had.
fn reset(stage: &Stage, is_quorate: bool) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    lab.cut_replication_from(old)?;
    let sync = format!("{RESOURCE}-data-status");
    lab.eventually("nobody may take over", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        let mut others = lab.nodes().iter().filter(|node| node.name() != old.name());
        if others.all(|node| status.attribute(node.name(), &sync) == Some("DISCONNECT")) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    stage.writes_go_on()?;
    lab.power_off(old)?;
    let node = lab.nodes().iter().find(|node| node.name() != old.name());
    let node = node.ok_or_else(|| wrong("there is one node only"))?;
    lab.eventually("there is no primary", LIMIT, |_| {
        let output = cluster(node, &["switch", "--yes"]).map_err(|error| error.to_string())?;
        if output.code() == Some(10) && output.stderr.contains("no primary") {
            Ok(())
        } else {
            Err(output.text())
        }
    })?;
    ends(
        node,
        &["reset-master", old.name(), "--yes"],
        100,
        "is not in the cluster at the moment",
    )?;
    let before = node
        .run(&["cibadmin", "--query", "--scope=crm_config"])?
        .ok()?;
    lab.eventually("every server has said how much it has", LIMIT, |_| {
        let output = cluster(node, &["reset-master"]).map_err(|error| error.to_string())?;
        if output.code() == Some(1) && output.stderr.contains("--yes goes on without asking") {
            Ok(())
        } else {
            Err(output.text())
        }
    })?;
    let after = node
        .run(&["cibadmin", "--query", "--scope=crm_config"])?
        .ok()?;
    expect(before == after, || "asking has changed something".into())?;
    let output = ends(node, &["reset-master", "--yes"], 0, "is the primary")?;
    print!("{}", indented(&output.stdout));
    let new = lab.primary()?;
    expect(new.name() != old.name(), || "the old one".into())?;
    stage.writes_go_on()?;
    ends(node, &["reset_master", "--yes"], 10, "is the primary, so")?;
    // The lost one comes back, and is told that it is the primary no more. Pacemaker shows what the node ran before its
    // power failure until it has joined again, so the server itself is asked whether it ever takes writes.
    let (now, both) = watching_for_two_writable(lab, || {
        lab.power_on(old)?;
        lab.eventually("the old one is refused", LIMIT, |lab| {
            let status = lab.status().map_err(|error| error.to_string())?;
            if refusals(&status).contains_key(old.name()) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
    })?;
    promised(both.is_empty(), || format!("both take writes: {both:?}"))?;
    expect(now.promoted() == [new.name()], || now.to_string())?;
    if is_quorate {
        let lost = stage.client.score().lost(lab)?.len();
        println!("         given up with {}: {lost} commits", old.name());
    }
    ends(old, &["rebuild", "--yes"], 0, "follows")?;
    lab.wait_healthy(LIMIT)?;
    stage.writes_go_on()
}
