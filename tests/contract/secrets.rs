//! Passwords stay where only root and the owner look.

use lab::Result;

use crate::site::{DATA, LOG, SOON, Site};

const MONITOR: &str = "zq7x-monitor-secret";
const REPLICATION: &str = "zq7x-replication-secret";
const LOCK: &str = "zq7x-lock-secret";
/// Part of each of them.
const MARK: &str = "zq7x-";

pub(crate) fn no_secret_is_shown_to_others() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    for (role, password) in [("watcher", MONITOR), ("follower", REPLICATION)] {
        site.primary().sql(&format!(
            "create role {role} login replication password '{password}'; grant pg_monitor to {role}"
        ))?;
    }
    site.elsewhere()
        .sh(&format!(
            "sed -i '1i host replication follower all scram-sha-256' {DATA}/pg_hba.conf"
        ))?
        .ok()?;
    site.primary().sql("select pg_reload_conf()")?;
    let agent = site
        .follower()
        .param("repuser", "follower")
        .param("primary_conninfo_opt", &format!("password={REPLICATION}"))
        .param("monitor_user", "watcher")
        .param("monitor_password", MONITOR)
        .param(
            "distlock_conninfo",
            &format!("host=127.0.0.1 user=u password={LOCK}"),
        )
        .param("distlock_lock_cmd", &format!("distlock password={LOCK}"))
        .param("distlock_unlock_cmd", &format!("distlock password={LOCK}"));
    // The standby has the roles only once it streams, and the agent is let in by its own user until then.
    let early = agent
        .clone()
        .param("monitor_user", "")
        .param("monitor_password", "");

    let mut said = String::new();
    // What comes and goes while the agent works.
    let watch =
        r#"while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' '; done >/dev/shm/seen"#;
    let watcher = site.host().spawn("watch", &["sh", "-c", watch])?;
    let mut keep = |answer: crate::site::Answer| {
        said.push_str(answer.stdout());
        said.push_str(answer.stderr());
    };
    keep(early.gives("start", 0));
    site.wait_streaming("follower")?;
    site.lab()
        .eventually("the monitoring user is known", SOON, |_| {
            let known = site
                .postgres()
                .sql("select 1 from pg_roles where rolname = 'watcher'");
            known
                .ok()
                .filter(|k| k == "1")
                .map(drop)
                .ok_or_else(|| "not yet".to_owned())
        })?;
    for (action, code) in [
        ("start", 0),
        ("monitor", 0),
        ("reload-agent", 0),
        ("validate-all", 0),
        ("notify", 0),
        ("promote", 3),
    ] {
        keep(agent.gives(action, code));
    }
    keep(
        agent
            .clone()
            .var("OCF_CHECK_LEVEL", "10")
            .gives("validate-all", 0),
    );
    keep(
        agent
            .clone()
            .param("monitor_user", "nobody-known")
            .gives("monitor", 0),
    );
    keep(
        agent
            .clone()
            .param("monitor_user", "")
            .gives("validate-all", 6),
    );

    let pid = site.postgres().postmaster().expect("it runs");
    let server = site.sh(&format!("cat /proc/{pid}/environ | tr '\\0' '\\n'"))?;
    assert!(
        !server.contains(MARK),
        "archive_command and every extension would see it: {server}"
    );
    let titles = site.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?;
    keep(agent.gives("stop", 0));
    drop(watcher);

    assert!(!said.contains(MARK), "the agent said it: {said}");
    assert!(!titles.contains(MARK), "a command line has it: {titles}");
    let seen = site.host().read_file("/dev/shm/seen")?;
    site.sh("rm /dev/shm/seen")?;
    // Some live for milliseconds; on a busy machine the watch may miss the shortest.
    let agents = ["expgsql", "pg_ctl"];
    let is_seen = agents.iter().any(|name| seen.contains(name));
    assert!(is_seen, "the watch saw nothing");
    assert!(!seen.contains(MARK), "a command line had it");
    assert!(
        !site.host().read_file(LOG)?.contains(MARK),
        "the server's log has it"
    );
    let nobody = site
        .host()
        .as_user(
            "nobody",
            &[
                "grep", "-rlsF", MARK, "/etc", "/run", "/var/lib", "/tmp", "/var",
            ],
        )?
        .run()?;
    assert_eq!(nobody.stdout, "", "others can read it");
    Ok(())
}
