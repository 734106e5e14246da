//! The operator's commands, typed on a node of a real cluster: what they refuse, what they repair, and that a repair
//! that fails leaves the data directory as it was.

use std::time::{Duration, Instant};

use lab::process::Output;
use lab::resources::{CLONE, RESOURCE};
use lab::{Allowed, Cluster, Node, RepMode, Result, Whose};

use super::comes_back;
use super::stage::{GONE, LIMIT, Stage, cut_off, expect, refusals, wrong};

/// Where Pacemaker has the program, which is where an operator finds it without being told.
pub(crate) const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// Time for a whole repair.
const REPAIR: Duration = Duration::from_secs(180);

pub(crate) fn an_operator_repairs_a_node_by_hand() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .setting("wal_log_hints = on")
            // A copy over a narrow line is not to be given up.
            .setting("wal_sender_timeout = 60s")
    })?;
    stage.step(
        "who needs no repair is refused one",
        Allowed::nothing(),
        refused,
    )?;
    stage.step(
        "without quorum nothing is done",
        // A node that is cut off stops what it runs.
        Allowed::nothing().restarts(1),
        without_quorum,
    )?;
    stage.step(
        "a running standby is rebuilt",
        Allowed::nothing().restarts(1).copies(1),
        rebuilt,
    )?;
    stage.step(
        "data removed by hand are copied anew",
        Allowed::nothing()
            .restarts(1)
            .copies(1)
            .failing(Whose::Anybodys, "monitor", GONE, 1)
            .failing(Whose::Anybodys, "start", "No such file", 1),
        removed,
    )?;
    stage.step("an old primary is rewound", cut_off(), rewound)?;
    stage.step(
        "without a primary nothing is done",
        Allowed::nothing().restarts(2).waiting(),
        without_primary,
    )
}

/// A data directory of some 40 MB takes twenty seconds at this rate.
const RATE_KBIT: u32 = 16_000;
/// How often a repair writes its progress down for the cluster.
const PROGRESS: Duration = Duration::from_secs(10);

/// `expgsql cluster …` on a node.
pub(crate) fn cluster(node: &Node, words: &[&str]) -> Result<Output> {
    node.command(&[&[PROGRAM, "cluster"], words].concat())?
        .limit(REPAIR)
        .run()
}

/// Runs a command that must end with `code`, saying `part`.
pub(crate) fn ends(node: &Node, words: &[&str], code: i32, part: &str) -> Result<Output> {
    let output = cluster(node, words)?;
    expect(
        output.code() == Some(code) && output.text().contains(part),
        || {
            format!(
                "{words:?} on {} should end with {code} and say {part:?}, but ended with {:?}:\n{}",
                node.name(),
                output.code(),
                output.text()
            )
        },
    )?;
    Ok(output)
}

/// The data directory's names, kinds, owners and contents, in one word.
fn fingerprint(lab: &Cluster, node: &Node) -> Result<String> {
    let line = format!(
        "cd {} && {{ find . -printf '%p %y %m %u %g %l\\n' | sort; \
         find . -type f -print0 | sort -z | xargs -0 -r sha256sum; }} | sha256sum",
        lab.layout().data.display()
    );
    node.sh(&line)?.ok()
}

/// Some standby.
fn standby(lab: &Cluster) -> Result<&Node> {
    let first = lab.standbys()?.into_iter().next();
    first.ok_or_else(|| wrong("there is no standby"))
}

fn refused(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, standby) = (lab.primary()?, standby(lab)?);
    for command in ["rewind", "rebuild", "repair"] {
        for more in [&["--yes"][..], &["--yes", "--force"]] {
            let words = [&[command], more].concat();
            ends(primary, &words, 100, "is the primary")?;
        }
        ends(standby, &[command, "--yes"], 100, "is healthy")?;
        ends(
            standby,
            &[command, "--force"],
            1,
            "--yes goes on without asking",
        )?;
        let unknown = [command, "--yes", "--resource", "nosuch"];
        ends(standby, &unknown, 1, &format!("it has {RESOURCE}"))?;
        // The clone's name means the same resource.
        ends(
            standby,
            &[command, "--yes", "--resource", CLONE],
            100,
            "is healthy",
        )?;
        ends(standby, &[command, "--nonsense"], 2, "--nonsense")?;
        // Pacemaker's sockets belong to the network namespace.
        let alone = ["unshare", "--net", PROGRAM, "cluster", command, "--yes"];
        let no_cluster = standby.run(&alone)?;
        expect(
            no_cluster.code() == Some(101) && no_cluster.stderr.contains("Pacemaker does not run"),
            || no_cluster.text(),
        )?;
        let not_root = standby
            .as_user("postgres", &[PROGRAM, "cluster", command, "--yes"])?
            .run()?;
        expect(
            not_root.code() == Some(1) && not_root.stderr.contains("as root"),
            || not_root.text(),
        )?;
    }
    for link in [
        "cls_repair_by_pg_rewind",
        "cls_repair_slave",
        "cls_rebuild_slave",
    ] {
        let path = format!("/usr/local/sbin/{link}");
        standby.run(&["ln", "-sf", PROGRAM, &path])?.ok()?;
        let output = standby.run(&[path.as_str()])?;
        expect(output.code() == Some(100), || output.text())?;
    }
    Ok(())
}

fn without_quorum(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = standby(lab)?;
    lab.isolate(node)?;
    let result = lab.eventually("the node has no quorum", LIMIT, |_| {
        let output = cluster(node, &["rebuild", "--yes"]).map_err(|error| error.to_string())?;
        // Before the loss is noticed it is healthy as far as it knows.
        if output.code() == Some(102) && output.stderr.contains("no quorum") {
            Ok(())
        } else {
            Err(format!("{:?}: {}", output.code(), output.text()))
        }
    });
    lab.heal()?;
    result
}

fn rebuilt(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = standby(lab)?;
    let before = lab.postgres(node).postmaster();
    let configuration = lab.layout().config.display().to_string();
    let own = node.read_file(&configuration)?;
    let mark = format!("{own}\n# of {} alone\n", node.name());
    node.write_file(&configuration, mark.clone(), "postgres:postgres", "600")?;
    lab.throttle_replication(node, RATE_KBIT)?;
    let start = Instant::now();
    let output = ends(node, &["rebuild", "--yes", "--force"], 0, "follows")?;
    print!("{}", indented(&output.stdout));
    expect(start.elapsed() > PROGRESS, || {
        "the copy was too quick for its progress to be written down".into()
    })?;
    lab.clear_weather(node)?;
    for part in [
        "Rebuild pgsql on",
        "destroyed",
        "rebuild: copying",
        "STREAMING|",
    ] {
        expect(output.stdout.contains(part), || {
            format!("{part:?} is not in\n{}", output.text())
        })?;
    }
    expect(!output.stdout.contains('\r'), || {
        "a bar was drawn into a pipe".into()
    })?;
    let after = lab.postgres(node).postmaster();
    expect(after.is_some() && after != before, || {
        format!("the server was not restarted: {before:?}, {after:?}")
    })?;
    let kept = node.read_file(&configuration)?;
    expect(kept.trim() == mark.trim(), || {
        format!("the node's own configuration is gone:\n{kept}")
    })?;
    leaves_nothing(stage, node)
}

/// As pha4pgsql's cls_rebuild_slave demanded it.
fn removed(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = standby(lab)?;
    let data = lab.layout().data.display().to_string();
    let configuration: Vec<(String, String)> = ["postgresql.conf", "pg_hba.conf"]
        .iter()
        .map(|name| {
            let path = format!("{data}/{name}");
            node.read_file(&path).map(|text| (path, text))
        })
        .collect::<Result<_>>()?;
    // In this order: without its pid file nobody finds a server that still runs.
    lab.kill_postmaster(node)?;
    node.run(&["rm", "-rf", &data])?.ok()?;
    // A stop by Pacemaker would end a repair.
    lab.eventually("Pacemaker has given it up", LIMIT, |lab| {
        let status = lab.status().map_err(|error| error.to_string())?;
        if refusals(&status).contains_key(node.name()) {
            return Ok(());
        }
        Err(status.to_string())
    })?;
    ends(node, &["rewind", "--yes"], 1, "nothing to rewind")?;
    let output = cluster(node, &["rebuild", "--yes", "--json"])?;
    expect(output.success(), || output.text())?;
    let is_object = |line: &str| line.starts_with("{\"work\":\"rebuild\"") && line.ends_with('}');
    expect(output.stdout.lines().all(is_object), || output.text())?;
    expect(output.stdout.contains("\"phase\":\"copying\""), || {
        output.text()
    })?;
    // The primary's came with the copy, since this node had none.
    for (path, text) in configuration {
        expect(node.read_file(&path)?.len() + 64 > text.len(), || {
            path.clone()
        })?;
    }
    leaves_nothing(stage, node)
}

/// The old primary wrote what nobody else has. Nothing helps but a repair, and one that fails changes nothing.
fn rewound(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    diverge(stage, old)?;
    let reason = comes_back::refused(stage, old)?;
    expect(
        reason.contains(&format!("{PROGRAM} cluster rewind")),
        || format!("the reason does not name the command: {reason}"),
    )?;
    bad_input(stage, old)?;
    let output = ends(old, &["rewind", "--yes"], 0, "follows")?;
    print!("{}", indented(&output.stdout));
    let rows = lab
        .postgres(old)
        .sql("select count(*) from pg_class where relname = 'only_here'")?;
    expect(rows == "0", || {
        "what only the old primary had is still there".into()
    })?;
    leaves_nothing(stage, old)
}

/// Cuts the primary off, lets it write what nobody else gets, and puts it back beside its successor.
pub(crate) fn diverge(stage: &Stage, old: &Node) -> Result<()> {
    let lab = &stage.lab;
    lab.isolate(old)?;
    let written = lab.postgres(old).sql(
        "set synchronous_commit to local; create table only_here as select generate_series(1, 20000) as n",
    );
    let taken_over = written.and_then(|_| stage.taken_over_from(old).map(drop));
    lab.heal()?;
    taken_over
}

/// Each of these must end with a sentence, and with the data directory as it was.
fn bad_input(stage: &Stage, node: &Node) -> Result<()> {
    let lab = &stage.lab;
    let data = lab.layout().data.display().to_string();
    let rebuild = &["rebuild", "--yes"][..];
    let rewind = &["rewind", "--yes"][..];
    let unchanged_but = |what: &str, words: &[&str], code: i32, part: &str| {
        let before = fingerprint(lab, node)?;
        let output = ends(node, words, code, part)?;
        let says_so = output.stderr.contains("data are as they were");
        expect(says_so, || format!("{what}: {}", output.text()))?;
        println!("         {what}: {}", output.stderr.trim());
        let after = fingerprint(lab, node)?;
        expect(before == after, || {
            format!("{what}: the data directory was changed:\n{}", output.text())
        })
    };

    let unchanged = |what: &str, words: &[&str], part: &str| unchanged_but(what, words, 1, part);

    // Another directory in the place of the node's own, for one command each.
    let instead = |make: &str, act: &dyn Fn() -> Result<()>| {
        node.sh(&format!("set -e; mv {data} {data}.own; {make}"))?
            .ok()?;
        let result = act();
        node.sh(&format!(
            "set -e; umount {data} 2>/dev/null || :; rm -rf {data}; mv {data}.own {data}"
        ))?
        .ok()?;
        result
    };
    let own_directory = format!("install -d -o postgres -g postgres -m 700 {data}");
    let initdb = format!(
        "{own_directory}; runuser -u postgres -- {} -D {data} --auth=trust --no-sync >/dev/null",
        lab.layout().program("initdb")
    );
    instead(&initdb, &|| {
        unchanged("data of another cluster", rebuild, "system identifier")?;
        unchanged("data of another cluster", rewind, "system identifier")
    })?;
    let papers =
        format!("{own_directory}; echo precious > {data}/papers; mkdir {data}/photographs");
    instead(&papers, &|| {
        unchanged("no data directory", rebuild, "data directory")?;
        unchanged("no data directory", rewind, "data directory")
    })?;
    // Room for what is there and for little more.
    let small = format!(
        "{own_directory}; size=$(du -sm {data}.own | cut -f1); \
         mount -t tmpfs -o size=$((size + 16))m,mode=700 tmpfs {data}; chown postgres:postgres {data}; \
         cp -a {data}.own/. {data}/"
    );
    instead(&small, &|| {
        unchanged("no room for a second copy", rebuild, "space")
    })?;

    let primary = lab.primary()?;
    let on_primary = |sql: &str| lab.postgres(primary).sql(sql).map(drop);
    on_primary("alter role repl nosuperuser noreplication")?;
    let result = unchanged("a user without the right", rebuild, "replication");
    on_primary("alter role repl superuser replication")?;
    result?;

    let firewall = |act: &str| {
        let rule = format!("iptables {act} OUTPUT -p tcp --dport 5432 -j REJECT");
        node.sh(&rule)?.ok().map(drop)
    };
    firewall("--insert")?;
    let impatient = ["rebuild", "--yes", "--timeout", "5"];
    let result = unchanged_but("the primary can't be reached", &impatient, 11, "primary");
    firewall("--delete")?;
    result
}

fn without_primary(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = standby(lab)?;
    let role = |change: &[&str]| {
        let words = ["crm_resource", "--resource", CLONE, "--meta"];
        node.run(&[&words[..], change].concat())?.ok().map(drop)
    };
    role(&[
        "--set-parameter=target-role",
        "--parameter-value=Unpromoted",
    ])?;
    let result = lab.eventually("the cluster has no primary", LIMIT, |_| {
        let words = ["rebuild", "--yes", "--force", "--timeout", "1"];
        match lab.status() {
            Ok(status) if status.promoted().is_empty() => {}
            Ok(status) => return Err(status.to_string()),
            Err(error) => return Err(error.to_string()),
        }
        let output = cluster(node, &words).map_err(|error| error.to_string())?;
        if output.code() == Some(10) && output.stderr.contains("no primary") {
            Ok(())
        } else {
            Err(format!("{:?}: {}", output.code(), output.text()))
        }
    });
    role(&["--delete-parameter=target-role"])?;
    result
}

/// Neither failures nor files that a repair has for itself are left.
fn leaves_nothing(stage: &Stage, node: &Node) -> Result<()> {
    let count = stage.fail_count(node)?;
    expect(count == "0", || {
        format!("the fail-count of {} is {count}", node.name())
    })?;
    let data = stage.lab.layout().data.display().to_string();
    stage
        .lab
        .eventually("nothing is left of the repair", LIMIT, |_| {
            let found = node
                .run(&["find", &data, "-maxdepth", "1", "-name", ".expgsql*"])
                .and_then(Output::ok)
                .map_err(|error| error.to_string())?;
            if found.is_empty() { Ok(()) } else { Err(found) }
        })
}

pub(crate) fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("         | {line}\n"))
        .collect()
}
