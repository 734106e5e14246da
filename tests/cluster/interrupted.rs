//! Commands that do not come to their end: given up after their time, killed, answered with no, or left by their terminal. Each
//! says how things stand, and the same command once more does the rest.

use std::time::Duration;

use lab::{Allowed, Cluster, Node, Output, RepMode, Result, Whose};

use super::comes_back;
use super::commands::{PROGRAM, diverge, ends, indented};
use super::machines::most_important_standby;
use super::stage::{LIMIT, Stage, cut_off, expect, wrong};

/// What a command has printed so far, on the node.
const LOG: &str = "/var/tmp/interrupted.log";
/// A data directory of some 40 MB takes twenty seconds at this rate.
const RATE_KBIT: u32 = 16_000;
/// What the monitor says of a repair that did not come to its end.
const LEFT: &str = "a repair was interrupted";

pub(crate) fn a_command_that_is_ended_may_be_run_again() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder
            .setting("wal_log_hints = on")
            .setting("wal_sender_timeout = 60s")
    })?;
    stage.step(
        "asked on a terminal, only yes is a yes",
        Allowed::nothing(),
        asked,
    )?;
    stage.step(
        "a standby is taken out of service",
        Allowed::nothing().restarts(2),
        standby_node,
    )?;
    stage.step(
        "all is stopped and started",
        Allowed::nothing().restarts(5).waiting(),
        stop_and_start,
    )?;
    stage.step(
        "a rebuild at a terminal",
        Allowed::nothing()
            .restarts(5)
            .copies(4)
            .failing(Whose::Anybodys, "monitor", LEFT, 2),
        rebuild,
    )?;
    stage.step(
        "the primary goes away while it is copied: its successor is",
        Allowed::switchover().restarts(1).copies(2),
        successor,
    )?;
    stage.step("a rewind at a terminal", cut_off(), rewind)
}

/// A command with a terminal of its own: `keys` are what is typed at first, `then` once it has printed `when`.
struct AtATerminal<'a> {
    words: &'a str,
    keys: &'a str,
    when: &'a str,
    then: Then,
}

enum Then {
    /// Nothing.
    Wait,
    /// Ctrl-C is typed.
    CtrlC,
    /// The terminal is gone.
    HangUp,
}

impl AtATerminal<'_> {
    /// Runs it to its end, or to that of its terminal; with all that it printed.
    fn run(&self, node: &Node) -> Result<Output> {
        let Self {
            words, keys, when, ..
        } = self;
        let then = match self.then {
            Then::Wait => ":",
            Then::CtrlC => "printf '\\003' >&3",
            Then::HangUp => "kill -KILL $pid",
        };
        let line = format!(
            "cd /var/tmp; rm -f keys {LOG}; mkfifo keys; \
             script --quiet --return --flush --command '{PROGRAM} cluster {words}' /dev/null <keys >{LOG} 2>&1 & pid=$!; \
             exec 3>keys; printf '{keys}' >&3; \
             while kill -0 $pid 2>/dev/null && ! grep -qa '{when}' {LOG}; do sleep 0.1; done; \
             {then}; wait $pid; code=$?; cat {LOG}; exit $code"
        );
        node.command(&["bash", "-c", &line])?.limit(LIMIT).run()
    }
}

/// Runs a command without a terminal, and beside it a line of shell once it has printed `when`. Its code, and all that it printed.
fn beside(node: &Node, words: &str, when: &str, line: &str) -> Result<Output> {
    let line = format!(
        "rm -f {LOG}; {PROGRAM} cluster {words} >{LOG} 2>&1 & pid=$!; \
         while kill -0 $pid 2>/dev/null && ! grep -qs '{when}' {LOG}; do sleep 0.1; done; \
         {line} >&2; wait $pid; code=$?; cat {LOG}; exit $code"
    );
    node.command(&["bash", "-c", &line])?.limit(LIMIT).run()
}

/// It is killed once it has printed `when`, and before it is done.
fn killed(node: &Node, words: &str, when: &str) -> Result<()> {
    let output = beside(node, words, when, "kill -KILL $pid")?;
    // What a shell says of SIGKILL.
    expect(output.code() == Some(128 + 9), || output.text())
}

fn has(output: &Output, code: i32, part: &str) -> Result<()> {
    print!("{}", indented(&output.stdout));
    expect(
        output.code() == Some(code) && output.stdout.contains(part),
        || {
            format!(
                "not {code} with {part:?}, but {:?}:\n{}",
                output.code(),
                output.text()
            )
        },
    )
}

/// A standby whose Pacemaker may stand still: it does not coordinate.
fn one_that_follows(stage: &Stage) -> Result<&Node> {
    let coordinator = stage
        .lab
        .primary()?
        .run(&["crmadmin", "--dc_lookup"])?
        .ok()?;
    let mut standbys = stage.lab.standbys()?.into_iter();
    let found = standbys.find(|node| !coordinator.contains(node.name()));
    found.ok_or_else(|| wrong("every standby coordinates"))
}

fn asked(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let primary = lab.primary()?;
    let before = primary
        .run(&["cibadmin", "--query", "--scope=configuration"])?
        .ok()?;
    for keys in ["n\\n", "\\n", "yea\\n", "\\004"] {
        let stop = AtATerminal {
            words: "stop",
            keys,
            when: "nothing was done",
            then: Then::Wait,
        };
        let output = stop.run(primary)?;
        has(&output, 1, "Go on? [y/N]")?;
        has(&output, 1, "nothing was done")?;
    }
    let after = primary
        .run(&["cibadmin", "--query", "--scope=configuration"])?
        .ok()?;
    expect(before == after, || "something was done".to_owned())
}

fn standby_node(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, node) = (lab.primary()?, one_that_follows(stage)?);
    let name = node.name();
    let words = ["standby-node", name, "--yes"];
    // Its Pacemaker does nothing.
    lab.freeze_controller(node)?;
    let output = ends(
        primary,
        &[&words[..], &["--timeout", "3"]].concat(),
        11,
        "still runs",
    );
    let killed = killed(primary, &words.join(" "), "still runs");
    lab.thaw_controller(node)?;
    print!("{}", indented(&output?.stderr));
    killed?;
    ends(primary, &words, 0, "is out of service")?;
    ends(primary, &["unstandby-node", name], 0, "follows").map(drop)
}

fn stop_and_start(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let (primary, node) = (lab.primary()?, one_that_follows(stage)?);
    lab.freeze_controller(node)?;
    let output = ends(
        primary,
        &["stop", "--yes", "--timeout", "3"],
        11,
        "goes on with it",
    );
    let ended = killed(primary, "stop --yes", "still runs");
    lab.thaw_controller(node)?;
    print!("{}", indented(&output?.stderr));
    ended?;
    ends(primary, &["stop", "--yes"], 0, "is stopped on all nodes")?;

    // It comes up, and does not reach the primary.
    let firewall = |act: &str| {
        let rule = format!("iptables {act} OUTPUT -p tcp --dport 5432 -j REJECT");
        node.sh(&rule)?.ok().map(drop)
    };
    firewall("--insert")?;
    let output = ends(
        primary,
        &["start", "--timeout", "20"],
        11,
        "does not stream",
    );
    let ended = killed(primary, "start", "does not stream");
    firewall("--delete")?;
    print!("{}", indented(&output?.stderr));
    ended?;
    ends(primary, &["start"], 0, "follow it")?;
    let now = lab.primary()?;
    expect(now.name() == primary.name(), || now.name().to_owned())
}

/// The server is back as it was, without anybody's help.
fn is_back(lab: &Cluster, node: &Node) -> Result<()> {
    lab.eventually("its server follows again", LIMIT, |lab| {
        let query = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
        match lab.postgres(node).sql(query) {
            Ok(count) if count == "1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

fn rebuild(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let node = most_important_standby(stage)?;
    let other = lab
        .standbys()?
        .into_iter()
        .find(|n| n.name() != node.name());
    let node = other.ok_or_else(|| wrong("there is one standby only"))?;
    let at_a_terminal = |then| AtATerminal {
        words: "rebuild --force",
        keys: "y\\n",
        when: "copying",
        then,
    };
    lab.throttle_replication(node, RATE_KBIT)?;
    let output = at_a_terminal(Then::CtrlC).run(node)?;
    has(&output, 1, "interrupted: this node's data are as they were")?;
    is_back(lab, node)?;
    killed(node, "rebuild --force --yes", "copying")?;
    is_back(lab, node)?;

    let stop = format!("{PROGRAM} cluster standby-node {} --yes", node.name());
    let output = beside(node, "rebuild --force --yes", "copying", &stop)?;
    has(&output, 1, "as Pacemaker does when it stops the resource")?;
    ends(node, &["unstandby-node", node.name()], 0, "follows")?;

    let before = lab.postgres(node).postmaster();
    at_a_terminal(Then::HangUp).run(node)?;
    // It goes on; nobody else begins, and nobody is promoted there.
    let repairing = "its data are being repaired";
    lab.eventually("its repair is told", LIMIT, |_| {
        let told = ends(node, &["why"], 0, repairing);
        told.map(drop).map_err(|error| error.to_string())
    })?;
    ends(
        node,
        &["rebuild", "--force", "--yes"],
        1,
        "being repaired already",
    )?;
    lab.clear_weather(node)?;
    is_back(lab, node)?;
    let now = lab.postgres(node).postmaster();
    expect(now != before, || format!("{before:?} still runs"))
}

fn successor(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let next = most_important_standby(stage)?;
    let other = lab.standbys()?;
    let other = other.iter().find(|n| n.name() != next.name());
    let node = other.ok_or_else(|| wrong("there is one standby only"))?;
    lab.throttle_replication(node, RATE_KBIT)?;
    let switch = format!("{PROGRAM} cluster switch {} --yes", next.name());
    let (output, cleared) = std::thread::scope(|scope| {
        let run = scope.spawn(|| beside(node, "rebuild --force --yes", "copying", &switch));
        // It begins anew; that need not take as long.
        let moved = lab.eventually("the primary moves", LIMIT, |lab| {
            let now = lab.primary().map_err(|error| error.to_string())?;
            let is_next = now.name() == next.name();
            is_next.then_some(()).ok_or_else(|| now.name().to_owned())
        });
        let cleared = moved.and_then(|()| lab.clear_weather(node));
        (run.join(), cleared)
    });
    cleared?;
    let output = output.map_err(|_| wrong("the command's thread ended in a panic"))??;
    has(&output, 0, &format!("follows {}", next.name()))?;
    has(&output, 0, "waiting")
}

fn rewind(stage: &Stage) -> Result<()> {
    let lab = &stage.lab;
    let old = lab.primary()?;
    diverge(stage, old)?;
    comes_back::refused(stage, old)?;
    lab.throttle_replication(old, RATE_KBIT)?;
    let rewind = AtATerminal {
        words: "rewind",
        keys: "y\\n",
        when: "copying",
        then: Then::CtrlC,
    };
    let (output, cleared) = std::thread::scope(|scope| {
        let run = scope.spawn(|| rewind.run(old));
        let told = lab.eventually("it asks whether that is meant", LIMIT, |_| {
            let log = old.read_file(LOG).map_err(|error| error.to_string())?;
            if log.contains("press Ctrl-C once more") {
                Ok(())
            } else {
                Err(log)
            }
        });
        let cleared = told.and_then(|()| lab.clear_weather(old));
        (run.join(), cleared)
    });
    cleared?;
    let output = output.map_err(|_| wrong("the command's thread ended in a panic"))??;
    has(&output, 0, "follows")?;
    lab.holds_for("nothing fails", Duration::from_secs(5), |lab| lab.health())
}
