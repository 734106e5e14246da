//! The server's account, or the owner of a database, has been broken into, and tries to become more than it is.

use std::time::Duration;

use lab::{Process, Result};

use crate::site::{AGENT, Agent, Answer, DATA, SOCKET, SOON, Site, TMPDIR};

const LOCK: &str = "/var/lib/pgsql/tmp/expgsql.repair.lock";
const SECRET: &str = "/root/hostile-secret";
/// What no output and no file of others may have.
const MARK: &str = "zq8x-of-root";

/// A process of root's that works in the data directory, and its number.
fn victim(site: &Site) -> Result<(Process, String)> {
    let line = format!("cd {DATA} && echo $$ >/dev/shm/victim && exec sleep 600");
    let process = site.host().spawn("victim", &["sh", "-c", &line])?;
    let pid = site.lab().eventually("the victim runs", SOON, |_| {
        let pid = site.sh("cat /dev/shm/victim && rm /dev/shm/victim");
        pid.map(|pid| pid.trim().to_owned())
            .map_err(|e| e.to_string())
    })?;
    Ok((process, pid))
}

#[track_caller]
fn assert_alive(site: &Site, pid: &str, what: &str) {
    let name = site.sh(&format!("cat /proc/{pid}/comm"));
    assert_eq!(name.unwrap_or_default().trim(), "sleep", "{what}");
}

pub(crate) fn nobody_makes_root_end_a_process() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    let (_process, pid) = victim(&site)?;
    site.sh(&format!(
        "install -d -o postgres -g postgres -m 700 {TMPDIR}"
    ))?;
    // Many processes at once come last: a test that fails with them ends its own host.
    for named in [
        pid.as_str(),
        "0",
        "1",
        "2147483648",
        "",
        "-2147483648",
        "-1",
    ] {
        agent.gives("start", 0);
        let hold = format!("echo {named} >{LOCK}; echo held >/dev/shm/held; exec sleep 600");
        let argv = [
            "runuser", "-u", "postgres", "--", "flock", "-x", LOCK, "sh", "-c", &hold,
        ];
        let holder = site.host().spawn("holder", &argv)?;
        site.lab().eventually("the lock is held", SOON, |_| {
            site.sh("rm /dev/shm/held").map_err(|e| e.to_string())
        })?;
        agent.gives("stop", 0);
        assert_eq!(site.server_processes()?, "", "{named:?}");
        assert_alive(&site, &pid, named);
        drop(holder);
        site.sh(&format!("rm {LOCK}"))?;
    }

    // The pid file is the account's, too. The server that it does not name any more has no postmaster.
    agent.gives("start", 0);
    site.sh(&format!("sed -i '1s/.*/{pid}/' {DATA}/postmaster.pid"))?;
    agent.gives("monitor", 7);
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    assert_alive(&site, &pid, "postmaster.pid");
    Ok(())
}

/// Runs an action, which must end by itself.
#[track_caller]
fn ends(agent: &Agent<'_>, action: &str, what: &str) -> Answer {
    let answer = agent
        .clone()
        .timeout(Duration::from_secs(20))
        .run(&["timeout", "100", AGENT, action]);
    let answer = answer.unwrap_or_else(|error| panic!("{action}: {error}"));
    assert_ne!(answer.code(), 124, "{what}: {action} does not end");
    answer
}

pub(crate) fn a_file_that_is_none_is_neither_shown_nor_waited_for() -> Result<()> {
    let site = Site::fresh()?;
    site.sh(&format!(
        "install -m 600 /dev/null {SECRET} && echo '{MARK} 5432 x' >{SECRET}"
    ))?;
    let follower = site.follower();
    let cluster = site.follower().param("rep_mode", "sync").promotable();
    let passfile = format!("{TMPDIR}/hostile.pass");
    let with_lock = cluster
        .clone()
        .param("passfile", &passfile)
        .param("distlock_conninfo", "host=127.0.0.1 user=u");
    let calls: [(&Agent<'_>, &[&str]); 3] = [
        (&follower, &["start", "monitor", "reload-agent", "stop"]),
        (&cluster, &["monitor", "start", "stop"]),
        (&with_lock, &["validate-all"]),
    ];
    let shapes = [
        ("a link", format!("ln -s {SECRET} \"$place\"")),
        ("a pipe", "mkfifo \"$place\"".to_owned()),
    ];
    // Those that would keep the agent from the others are tried alone.
    let groups: [&[&str]; 6] = [
        &["data/PG_VERSION"],
        &["data/postmaster.pid"],
        &["data/.expgsql.swap", "data/.expgsql.copy"],
        &["tmp/expgsql.repair"],
        &["tmp/expgsql.repair.lock", "data/postgresql.auto.conf"],
        &[
            "tmp/expgsql.state",
            "tmp/recovery.conf",
            "tmp/rep_mode.conf",
            "tmp/hostile.pass",
            "tmp/expgsql.resource",
        ],
    ];
    for (shape, make) in &shapes {
        for places in &groups {
            site.restore(site.host())?;
            site.sh(&format!(
                "install -d -o postgres -g postgres -m 700 {TMPDIR}"
            ))?;
            let what = format!("{places:?}: {shape}");
            let line = format!(
                "cd /var/lib/pgsql && for place in {}; do rm -f $place; {make} || exit; done",
                places.join(" ")
            );
            let made = site.host().as_user("postgres", &["sh", "-c", &line])?;
            made.run()?.ok()?;
            for (agent, actions) in calls {
                for action in actions {
                    let answer = ends(agent, action, &what);
                    let said = format!("{}{}", answer.stdout(), answer.stderr());
                    assert!(!said.contains(MARK), "{what}: {action} says it: {said}");
                }
            }
            let argv = [
                "grep",
                "-rlsF",
                "--devices=skip",
                MARK,
                TMPDIR,
                DATA,
                "/tmp",
                "/var/log",
            ];
            let seen = site.host().as_user("postgres", &argv)?.run()?;
            assert_eq!(seen.stdout, "", "{what}: the account can read it");
        }
    }
    site.sh(&format!("rm {SECRET}"))?;
    Ok(())
}

pub(crate) fn the_owner_of_the_database_sets_nothing_for_the_agent() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site
        .agent()
        .param("pgdb", "app")
        .param("query_timeout", "5");
    site.configure("synchronous_standby_names = 'nobody'")?;
    site.agent().gives("start", 0);
    // By a session that is none of the victims: it does not wait for the standby either.
    let own = "synchronous_commit=local default_transaction_read_only=off statement_timeout=0 lock_timeout=0 role=none \
               idle_in_transaction_session_timeout=0 search_path=pg_catalog";
    let own: String = own
        .split(' ')
        .map(|setting| format!("-c {setting} "))
        .collect();
    let sql = |database: &str, sql: &str| {
        let psql = site.lab().layout().program("psql");
        let argv = [
            &psql,
            "-XAtqh",
            SOCKET,
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-c",
            sql,
        ];
        let command = site.host().as_user("postgres", &argv)?;
        command.env("PGOPTIONS", &own).run()?.ok()
    };
    let as_owner = |statement: &str| sql("app", &format!("set role app_owner; {statement}"));
    sql("postgres", "create role app_owner")?;
    sql("postgres", "create database app owner app_owner")?;
    as_owner(
        "create schema evil; create schema heart; create table heart.beats(n int);
         create function evil.rise() returns void language plpgsql as
           $$begin execute 'alter role app_owner superuser'; exception when others then null; end$$;
         create function evil.pg_is_in_recovery() returns bool language plpgsql as
           $$begin perform evil.rise(); return pg_catalog.pg_is_in_recovery(); end$$;
         create function evil.current_setting(text) returns text language plpgsql as
           $$begin perform evil.rise(); return pg_catalog.current_setting($1); end$$;
         create function evil.lower(text) returns text language plpgsql as
           $$begin perform evil.rise(); return pg_catalog.lower($1); end$$;
         create view evil.pg_stat_activity as select evil.rise()::text as wait_event, 1 as pid, 'startup'::text as backend_type;
         create view evil.pg_stat_replication as select evil.rise()::text as application_name",
    )?;
    for setting in [
        "search_path = evil, pg_catalog, heart",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "idle_in_transaction_session_timeout = 1",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "row_security = off",
    ] {
        as_owner(&format!("alter database app set {setting}"))?;
    }
    let is_super = "select rolsuper from pg_roles where rolname = 'app_owner'";
    agent.gives("monitor", 0);
    assert_eq!(
        sql("postgres", is_super)?.trim(),
        "f",
        "its functions are run"
    );
    // What a superuser may set there, by mistake.
    sql("postgres", "alter database app set role = app_owner")?;
    if sql("postgres", "show server_version_num")?.trim() >= "140000" {
        sql(
            "postgres",
            "alter database app set idle_session_timeout = 1",
        )?;
    }
    for action in ["monitor", "start", "status"] {
        agent.gives(action, 0);
        assert_eq!(sql("postgres", is_super)?.trim(), "f", "{action}");
    }
    sql("postgres", "alter database app reset all")?;
    // The operator's own query finds what is configured for it, and waits for no standby.
    sql("postgres", "alter database app set search_path = heart")?;
    let beats = agent
        .clone()
        .param("monitor_sql", "insert into beats values (1)");
    beats.gives("monitor", 0);
    assert_eq!(
        sql("app", "set role none; select count(*) from heart.beats")?.trim(),
        "1"
    );
    // The server waits for the standby as it should: a session that does not say otherwise gets no answer.
    let waits =
        "set statement_timeout = 0; set synchronous_commit = on; insert into beats values (2)";
    beats
        .param("monitor_sql", waits)
        .param("query_timeout", "1")
        .gives("monitor", 1)
        .says(&["monitor_sql"]);
    agent.gives("stop", 0);
    Ok(())
}
