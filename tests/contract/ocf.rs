//! The OCF interface as such, by the test programs of resource-agents and by its words.

use std::time::Duration;

use lab::Result;

use crate::site::{AGENT, Agent, Answer, Site};

/// Runs `argv` where neither PostgreSQL nor its account nor Pacemaker's programs exist.
fn on_a_bare_host(agent: &Agent<'_>, argv: &[&str]) -> Result<Answer> {
    let bare = r#"
mount -t tmpfs tmpfs "$1"
shift
mount -t tmpfs tmpfs /var/lib/pgsql
sed /^postgres:/d /etc/passwd >/tmp/passwd
mount --bind /tmp/passwd /etc/passwd
mount -t tmpfs tmpfs /usr/sbin
exec "$@"
"#;
    let bin = agent.programs();
    agent.run(&[&["unshare", "--mount", "sh", "-ec", bare, "sh", &bin], argv].concat())
}

pub(crate) fn describing_actions_need_neither_cluster_nor_postgresql() -> Result<()> {
    let site = Site::fresh()?;
    let plain = site.agent();
    let confused = site
        .agent()
        .param("pgport", "nonsense")
        .param("rep_mode", "?");
    for agent in [&plain, &confused] {
        for (action, part) in [
            ("meta-data", "<resource-agent name=\"expgsql\""),
            ("methods", "reload-agent"),
            ("help", "validate-all"),
            ("usage", "validate-all"),
        ] {
            let answer = on_a_bare_host(agent, &[AGENT, action])?;
            assert_eq!(answer.code(), 0, "{action}: {answer}");
            assert!(answer.stdout().contains(part), "{action}: {answer}");
            assert_eq!(answer.stderr(), "", "{action}");
        }
    }
    // pcs asks with no environment at all.
    let answer = on_a_bare_host(&plain, &["env", "-i", AGENT, "meta-data"])?;
    assert_eq!(answer.code(), 0, "{answer}");
    Ok(())
}

pub(crate) fn a_probe_of_a_host_without_postgresql_says_not_running() -> Result<()> {
    let site = Site::fresh()?;
    for rep_mode in ["none", "slave"] {
        let agent = site.follower().param("rep_mode", rep_mode);
        for (action, agent, code) in [
            ("monitor", agent.clone().once(), 7),
            ("monitor", agent.clone(), 7),
            ("status", agent.clone().once(), 7),
            ("stop", agent.clone().once(), 0),
        ] {
            let answer = on_a_bare_host(&agent, &[AGENT, action])?;
            assert_eq!(answer.code(), code, "{rep_mode} {action}: {answer}");
        }
        let probe = on_a_bare_host(
            &agent.promotable().param("rep_mode", "sync").once(),
            &[AGENT, "monitor"],
        )?;
        assert_eq!(probe.code(), 7, "{probe}");
    }
    Ok(())
}

pub(crate) fn a_wrong_call_is_told_apart_from_a_wrong_configuration() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    // Also with parameters that validate-all refuses: the older agents answered 5 here.
    let confused = site.agent().param("pgctl", "/no/such/pg_ctl");
    for agent in [&agent, &confused] {
        agent.gives("no_cmd", 3).says(&["no_cmd", "methods"]);
        agent.gives("promote", 3).says(&["rep_mode=none"]);
        agent.gives("demote", 3).says(&["rep_mode=none"]);
    }
    assert_eq!(agent.run(&[AGENT])?.code(), 2);
    // A misspelled parameter is no parameter; Pacemaker passes it on without a word.
    let misspelled = agent.clone().param("pgdatta", "/x").call("validate-all")?;
    assert_eq!(misspelled.code(), 0, "{misspelled}");
    assert!(misspelled.stderr().contains("pgdatta"), "{misspelled}");
    // OCF 1.1: additional arguments are ignored.
    let more = agent.run(&[AGENT, "monitor", "and", "more"])?;
    assert_eq!(more.code(), 7, "{more}");
    Ok(())
}

pub(crate) fn ocf_tester_passes() -> Result<()> {
    let site = Site::fresh()?;
    let mut argv = ["ocf-tester", "-n", "pgsql"].map(str::to_owned).to_vec();
    argv.extend(site.agent().tester_options());
    argv.push(AGENT.to_owned());
    let output = site
        .host()
        .command(&argv)?
        .limit(Duration::from_secs(120))
        .run()?;
    assert!(output.success(), "{}", output.text());
    assert!(
        output.stdout.contains(&format!("{AGENT} passed all tests")),
        "{}",
        output.text()
    );
    Ok(())
}

/// A name, what differs from the base environment, and the actions with their codes.
type Ocft = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, i32)],
);

/// tools/ocft/pgsql of resource-agents. Every case begins with a stop.
const OCFT: [Ocft; 11] = [
    ("the base environment", &[], &[("start", 0)]),
    (
        "pgctl names no program",
        &[("pgctl", "no_such")],
        &[("start", 5)],
    ),
    ("normal start", &[], &[("start", 0)]),
    ("normal start and stop", &[], &[("start", 0), ("stop", 0)]),
    ("double start", &[], &[("start", 0), ("start", 0)]),
    ("stop of a stopped server", &[], &[("stop", 0)]),
    (
        "monitor of a running server",
        &[],
        &[("start", 0), ("monitor", 0)],
    ),
    ("monitor of a stopped server", &[], &[("monitor", 7)]),
    ("unimplemented command", &[], &[("no_cmd", 3)]),
    (
        "pgdba names no account",
        &[("pgdba", "no_user")],
        &[("start", 5)],
    ),
    (
        "pgdba is not the owner",
        &[("pgdba", "nobody")],
        &[("start", 4)],
    ),
];

pub(crate) fn every_case_of_the_ocft_suite_gives_its_code() -> Result<()> {
    let site = Site::fresh()?;
    let base = site.agent().timeout(Duration::from_secs(15));
    for (case, overrides, actions) in OCFT {
        base.gives("stop", 0);
        let agent = base.clone().params(overrides);
        for (action, code) in actions {
            let answer = agent.call(action)?;
            assert_eq!(answer.code(), *code, "{case}: {action}: {answer}");
        }
    }
    Ok(())
}
