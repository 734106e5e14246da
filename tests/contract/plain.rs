//! rep_mode=none: one server.

use std::time::Duration;

use lab::Result;

use crate::site::{AGENT, CONFIG, DATA, LOG, SOCKET, SOON, Site, TMPDIR};

/// Smallest query_timeout, so that a hung server is found soon.
const AT_ONCE: (&str, &str) = ("query_timeout", "1");

pub(crate) fn every_action_may_be_repeated() -> Result<()> {
    let site = Site::fresh()?;
    // No psql is needed, and restart_on_promote is for others.
    let agent = site
        .agent()
        .param("psql", "/no/such/psql")
        .param("restart_on_promote", "true");
    for _round in ["first", "second"] {
        for (action, code) in [
            ("monitor", 7),
            ("stop", 0),
            ("start", 0),
            ("start", 0),
            ("monitor", 0),
            ("monitor", 0),
            ("status", 0),
            ("reload-agent", 0),
            ("reload", 0),
            ("notify", 0),
            ("validate-all", 0),
            ("stop", 0),
            ("stop", 0),
            ("monitor", 7),
        ] {
            agent.gives(action, code);
        }
        agent.clone().once().gives("monitor", 7);
        assert_eq!(site.server_processes()?, "");
    }
    agent
        .var("OCF_CHECK_LEVEL", "10")
        .param("check_wal_receiver", "yes")
        .gives("validate-all", 0);
    Ok(())
}

/// Where the machine's kernel lets nobody say so, only that the server is told how its children take it back.
pub(crate) fn a_server_is_spared_where_memory_runs_out_and_its_sessions_are_not() -> Result<()> {
    let site = Site::fresh()?;
    site.agent().gives("start", 0);
    let pid = crate::field::postmaster(&site);
    let environment = site.sh(&format!("tr '\\0' '\\n' </proc/{pid}/environ"))?;
    for told in [
        "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj",
        "PG_OOM_ADJUST_VALUE=0",
    ] {
        assert!(
            environment.lines().any(|line| line == told),
            "{environment}"
        );
    }
    let may = site.sh("echo -900 2>/dev/null >/proc/self/oom_score_adj && echo yes || echo no")?;
    let expected = if may.trim() == "yes" { "-900" } else { "0" };
    let score = |pid: &str| site.sh(&format!("cat /proc/{pid}/oom_score_adj"));
    assert_eq!(score(&pid.to_string())?.trim(), expected);
    let child = site.sh(&format!("pgrep -P {pid} | head -n 1"))?;
    assert_eq!(score(child.trim())?.trim(), "0");
    Ok(())
}

pub(crate) fn monitor_sql_decides_whether_a_server_is_well() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().param("pgdb", "postgres");
    agent.gives("start", 0);
    let watch = |sql: &str| agent.clone().param("monitor_sql", sql);
    site.postgres().sql("create table beats(n int)")?;
    watch("insert into beats values (1)").gives("monitor", 0);
    watch("select 'it''s'; select 1").gives("monitor", 0);
    assert_eq!(site.postgres().sql("select count(*) from beats")?, "1");
    watch("select * from no_such_table")
        .gives("monitor", 1)
        .says(&["monitor_sql", "no_such_table"]);
    watch("select pg_sleep(100)")
        .params(&[AT_ONCE])
        .gives("monitor", 1)
        .says(&["monitor_sql"]);
    // The table is not in the database that pgdb names.
    watch("select * from beats")
        .param("pgdb", "template1")
        .gives("monitor", 1);
    // A standby is asked the agent's own question only: what writes would fail there.
    agent.gives("stop", 0);
    site.sh(&format!(
        "runuser -u postgres -- touch {DATA}/standby.signal"
    ))?;
    agent.gives("start", 0);
    watch("insert into beats values (2)").gives("monitor", 0);
    Ok(())
}

/// What the operator's query returns, and what it sets for its session, is nobody's business.
pub(crate) fn monitor_sql_may_be_what_psql_takes() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    agent.gives("start", 0);
    let sql = |text: &str| site.postgres().sql(text);
    sql(
        "create database bytes encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'",
    )?;
    let psql = site.lab().layout().program("psql");
    site.sh(&format!(
        "{psql} -XqU postgres -h {SOCKET} -d bytes -c \"set client_encoding = 'SQL_ASCII'; create table t as select E'caf\\\\351' as v\""
    ))?;
    for (database, query) in [
        ("bytes", "select v from t"),
        (
            "postgres",
            "set client_encoding = 'LATIN1'; select chr(233)",
        ),
        ("postgres", "set role pg_monitor; set statement_timeout = 1"),
        ("postgres", "begin; select 1; commit"),
        ("postgres", "set session authorization 'pg_monitor'"),
        ("postgres", "discard all"),
        ("postgres", ";"),
    ] {
        let asked = agent.clone().param("pgdb", database);
        let answer = asked.param("monitor_sql", query).gives("monitor", 0);
        let reason = answer.stderr().contains("ocf-exit-reason");
        assert!(!reason, "{query}: {answer}");
    }
    // It is answered, and not served.
    for query in ["copy (select 1) to stdout", "copy pg_class from stdin"] {
        let asked = agent.clone().param("monitor_sql", query);
        asked.gives("monitor", 0).says(&["monitor_sql", "COPY"]);
    }
    Ok(())
}

/// Others' locks, and what there is too little of, say nothing of how well the server is.
pub(crate) fn monitor_sql_may_wait_for_a_lock_and_be_refused() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().param("pgdb", "postgres");
    agent.gives("start", 0);
    site.postgres().sql("create table beat(n int)")?;
    let pid = site.postgres().postmaster();
    let psql = site.lab().layout().program("psql");
    let hold = |seconds: &str| {
        let sql = format!("begin; lock table beat; select pg_sleep({seconds}); rollback");
        let argv = [
            "runuser", "-u", "postgres", "--", &psql, "-Xh", SOCKET, "-d", "postgres", "-c", &sql,
        ];
        let client = site.host().spawn("locker", &argv)?;
        let is_held = "select count(*) from pg_locks where relation = 'beat'::regclass and granted and mode = 'AccessExclusiveLock'";
        site.lab().eventually("the lock is held", SOON, |_| {
            match site.postgres().sql(is_held) {
                Ok(count) if count == "1" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
        Ok::<_, lab::Error>(client)
    };
    let beat = agent
        .clone()
        .param("monitor_sql", "insert into beat values (1)")
        .param("query_timeout", "20");
    let client = hold("5")?;
    beat.gives("monitor", 0);
    drop(client);
    assert_eq!(site.postgres().sql("select count(*) from beat")?, "1");
    // The operator's own limit: an answer, and told.
    let client = hold("60")?;
    let impatient = agent
        .clone()
        .param("monitor_sql", "begin; lock table beat nowait; commit");
    impatient
        .gives("monitor", 0)
        .says(&["monitor_sql", "55P03"]);
    drop(client);
    let raises = |state: &str| {
        let sql = format!("do $$begin raise exception 'x' using errcode = '{state}'; end$$");
        agent.clone().param("monitor_sql", &sql)
    };
    for state in [
        "53200", "53300", "55006", "57P01", "40001", "40P01", "54000",
    ] {
        raises(state)
            .gives("monitor", 0)
            .says(&["monitor_sql", state]);
    }
    // What the operator asks for fails as ever; a full disk is one that nobody can write to.
    for state in ["53100", "57014", "42P01", "22012", "P0001", "XX001"] {
        raises(state).gives("monitor", 1).says(&["monitor_sql"]);
    }
    assert_eq!(site.postgres().postmaster(), pid);
    agent.gives("stop", 0);
    Ok(())
}

pub(crate) fn a_frozen_postmaster_is_found_and_stopped() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().params(&[AT_ONCE]);
    agent.gives("start", 0);
    site.postgres().signal("STOP")?;
    agent.gives("monitor", 1).says(&["postmaster", "signal"]);
    agent.clone().once().gives("monitor", 1);
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    agent.gives("monitor", 7);
    agent.gives("start", 0);
    Ok(())
}

pub(crate) fn a_stop_is_not_spent_on_a_login_that_is_slow() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().param("query_timeout", "5");
    agent.gives("start", 0);
    let sql = |text: &str| site.postgres().sql(text);
    // The server looks each of these up from the first one on: minutes of work at each login.
    sql("alter role postgres set application_name = 'x'")?;
    sql(
        "update pg_db_role_setting set setconfig = array(select 'application_name=x' from generate_series(1, 600000))",
    )?;
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    let log = site.host().read_file(LOG)?;
    assert!(log.contains("received fast shutdown request"), "{log}");
    Ok(())
}

pub(crate) fn a_frozen_backend_does_not_outlast_the_stop() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site
        .agent()
        .timeout(Duration::from_secs(8))
        .param("stop_escalate", "0");
    agent.gives("start", 0);
    let _client = site.host().spawn("client", &sleeper(&site))?;
    let backend = backend(&site)?;
    site.sh(&format!("kill -STOP {backend}"))?;
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    Ok(())
}

/// Who was stopped by a signal goes on, so that it ends as the others do, and nothing has to recover.
pub(crate) fn a_frozen_process_is_let_go_on_to_its_end() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    for frozen in ["client backend", "checkpointer", "walwriter"] {
        agent.gives("start", 0);
        let _client = site.host().spawn("client", &sleeper(&site))?;
        backend(&site)?;
        let query = format!(
            "select pid from pg_stat_activity where backend_type = '{frozen}' and pid <> pg_backend_pid()"
        );
        let pid = site.postgres().sql(&query)?;
        site.sh(&format!("kill -STOP {pid}; : >{LOG}"))?;
        let answer = agent.gives("stop", 0);
        let log = site.host().read_file(LOG)?;
        assert!(!log.contains("immediate shutdown"), "{frozen}: {log}");
        assert!(answer.stderr().contains("stopped by a signal"), "{answer}");
        let control = site.sh(&format!(
            "{} -D {DATA} | grep 'cluster state'",
            site.lab().layout().program("pg_controldata")
        ))?;
        assert!(control.trim_end().ends_with("shut down"), "{control}");
        assert_eq!(site.server_processes()?, "");
    }
    Ok(())
}

/// PostgreSQL writes its shutdown checkpoint when each subscriber has confirmed all that there is, and one of them confirms nothing.
pub(crate) fn a_subscriber_that_reads_nothing_holds_no_stop_up() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("wal_level = logical\nwal_sender_timeout = 0\nlisten_addresses = '*'")?;
    let agent = site.agent();
    let layout = site.lab().layout();
    // What is to be sent is more than the socket takes; or all was sent.
    for rows in [300_000, 1] {
        agent.gives("start", 0);
        let sql = |text: &str| site.postgres().sql(text);
        sql("drop table if exists much")?;
        sql("create table much (n int)")?;
        if rows > 1 {
            sql("select pg_create_logical_replication_slot('sub', 'test_decoding')")?;
        }
        let receive = layout.program("pg_recvlogical");
        let argv = [
            "runuser",
            "-u",
            "postgres",
            "--",
            &receive,
            "-h",
            SOCKET,
            "-d",
            "postgres",
            "-S",
            "sub",
            "--start",
            "-f",
            "/dev/null",
        ];
        let _subscriber = site.host().spawn("subscriber", &argv)?;
        site.lab().eventually("it receives", SOON, |_| {
            match sql("select count(*) from pg_stat_replication where state = 'streaming'") {
                Ok(count) if count == "1" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
        site.sh("kill -STOP $(pidof pg_recvlogical)")?;
        sql(&format!(
            "insert into much select generate_series(1, {rows})"
        ))?;
        let before = sql("select confirmed_flush_lsn from pg_replication_slots")?;
        site.sh(&format!(": >{LOG}"))?;
        agent.gives("stop", 0);
        let log = site.host().read_file(LOG)?;
        assert!(!log.contains("immediate shutdown"), "{rows}: {log}");
        let control = site.sh(&format!(
            "{} -D {DATA} | grep 'cluster state'",
            layout.program("pg_controldata")
        ))?;
        assert!(control.trim_end().ends_with("shut down"), "{control}");
        site.sh("kill -KILL $(pidof pg_recvlogical)")?;
        // It goes on where it was.
        agent.gives("start", 0);
        assert_eq!(
            sql("select confirmed_flush_lsn from pg_replication_slots")?,
            before
        );
        agent.gives("stop", 0);
    }
    Ok(())
}

/// By `pg_receivewal`, say, or what a backup program has in its place.
pub(crate) fn an_archiver_that_confirms_nothing_holds_no_stop_up() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("wal_sender_timeout = 0")?;
    let agent = site.agent();
    agent.gives("start", 0);
    let layout = site.lab().layout();
    let receive = layout.program("pg_receivewal");
    site.sh("install -d -o postgres /var/lib/contract")?;
    let argv = [
        "runuser",
        "-u",
        "postgres",
        "--",
        &receive,
        "-h",
        SOCKET,
        "-D",
        "/var/lib/contract",
    ];
    let _archiver = site.host().spawn("archiver", &argv)?;
    site.lab().eventually("it receives", SOON, |_| {
        let count = "select count(*) from pg_stat_replication where state = 'streaming'";
        match site.postgres().sql(count) {
            Ok(count) if count == "1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    site.sh("kill -STOP $(pidof pg_receivewal)")?;
    let answer = agent.gives("stop", 0);
    assert!(
        answer.stderr().contains("only waits for others"),
        "{answer}"
    );
    let control = site.sh(&format!(
        "{} -D {DATA} | grep 'cluster state'",
        layout.program("pg_controldata")
    ))?;
    assert!(control.trim_end().ends_with("shut down"), "{control}");
    site.sh("kill -KILL $(pidof pg_receivewal)").map(drop)
}

/// Where the data are, by another path or with more rights, is where they are.
pub(crate) fn data_behind_a_link_or_open_to_a_group_are_served() -> Result<()> {
    let site = Site::fresh()?;
    let link = "/var/lib/pgsql/current";
    site.sh(&format!(
        "ln -s {DATA} {link} && chmod 750 {DATA} && chown -h postgres {link}"
    ))?;
    let agent = site
        .agent()
        .param("pgdata", link)
        .param("config", &format!("{link}/postgresql.conf"));
    agent.gives("start", 0);
    let pid = site.postgres().postmaster();
    for other in [&agent, &site.agent()] {
        other.gives("monitor", 0);
        other.gives("start", 0);
        assert_eq!(site.postgres().postmaster(), pid);
    }
    agent.gives("stop", 0);
    assert_eq!(site.sh(&format!("stat -c %a {DATA}"))?.trim(), "750");
    assert_eq!(site.server_processes()?, "");
    Ok(())
}

/// Somebody repairs the data by `postgres --single`, and nobody must start a server on them.
pub(crate) fn a_stand_alone_server_counts_as_one_that_runs() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().timeout(Duration::from_secs(10));
    let single = site.lab().layout().program("postgres");
    let line = format!("sleep 600 | {single} --single -D {DATA} postgres");
    let argv = ["runuser", "-u", "postgres", "--", "sh", "-c", &line];
    let _single = site.host().spawn("single", &argv)?;
    site.lab().eventually("it is there", SOON, |_| {
        site.sh(&format!("test -s {DATA}/postmaster.pid"))
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    let before = site.server_processes()?;
    agent.clone().once().gives("monitor", 1);
    agent.gives("start", 1);
    assert_eq!(site.server_processes()?, before, "it is left alone");
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    Ok(())
}

/// A client in a transaction that does not end by itself.
fn sleeper(site: &Site) -> [String; 9] {
    let psql = site.lab().layout().program("psql");
    let sql = "begin; create table unfinished(); select pg_sleep(600)";
    let argv = [
        "runuser", "-u", "postgres", "--", &psql, "-h", SOCKET, "-c", sql,
    ];
    argv.map(str::to_owned)
}

/// Waits for the backend of [`sleeper`] and gives its number.
fn backend(site: &Site) -> Result<String> {
    let query = "select pid from pg_stat_activity where wait_event = 'PgSleep'";
    site.lab().eventually("the client waits", SOON, |_| {
        match site.postgres().sql(query) {
            Ok(pid) if !pid.is_empty() => Ok(pid),
            Ok(_) => Err("there is no such backend".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
}

pub(crate) fn what_a_killed_postmaster_left_behind_does_not_prevent_a_start() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    agent.gives("start", 0);
    let _client = site.host().spawn("client", &sleeper(&site))?;
    let backend = backend(&site)?;
    // A frozen backend does not notice that its postmaster is gone.
    site.sh(&format!("kill -STOP {backend}"))?;
    site.postgres().signal("KILL")?;
    site.lab()
        .eventually("its main process is gone", SOON, |_| {
            match site.postgres().postmaster() {
                None => Ok(()),
                Some(pid) => Err(format!("process {pid} is there")),
            }
        })?;
    agent.gives("monitor", 7);
    assert_ne!(site.server_processes()?, "", "the backend is still there");
    agent.gives("start", 0);
    agent.gives("monitor", 0);
    let alive = site
        .host()
        .run(&["test", "-d", &format!("/proc/{backend}")])?;
    assert!(!alive.success(), "the old backend lives");

    let _client = site.host().spawn("client", &sleeper(&site))?;
    let left = self::backend(&site)?;
    site.sh(&format!("kill -STOP {left}"))?;
    site.postgres().signal("KILL")?;
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    Ok(())
}

pub(crate) fn a_stop_ends_transactions_and_escalates_as_told() -> Result<()> {
    let site = Site::fresh()?;
    let fast = "received fast shutdown request";
    let immediate = "received immediate shutdown request";
    for (escalate, heard, not_heard) in [("90", fast, immediate), ("0", immediate, fast)] {
        let agent = site.agent().param("stop_escalate", escalate);
        agent.gives("start", 0);
        let _client = site.host().spawn("client", &sleeper(&site))?;
        backend(&site)?;
        site.host().write_file(LOG, "", "postgres", "600")?;
        agent.gives("stop", 0);
        assert_eq!(site.server_processes()?, "");
        let log = site.host().read_file(LOG)?;
        assert!(
            log.contains(heard) && !log.contains(not_heard),
            "stop_escalate={escalate}: {log}"
        );
    }
    Ok(())
}

pub(crate) fn an_orderly_stop_is_logged_to_its_last_line() -> Result<()> {
    let site = Site::fresh()?;
    // The collector outlives the postmaster by a moment: it writes what is still in its pipe.
    site.configure("logging_collector = on\nlog_directory = 'log'\nlog_filename = 'all.log'")?;
    let agent = site.agent();
    for _round in 0..3 {
        agent.gives("start", 0);
        agent.gives("stop", 0);
        assert_eq!(site.server_processes()?, "");
        let log = format!("{DATA}/log/all.log");
        assert!(
            site.host()
                .tail(&log, 1)
                .contains("database system is shut down"),
            "{}",
            site.host().tail(&log, 5)
        );
        site.sh(&format!("rm {log}"))?;
    }
    Ok(())
}

pub(crate) fn where_the_server_listens_is_where_it_is_watched() -> Result<()> {
    let site = Site::fresh()?;
    let cycle = |params: &[(&str, &str)], check: &str| -> Result<()> {
        let agent = site.agent().params(params);
        agent.gives("start", 0);
        agent.gives("monitor", 0);
        assert_eq!(site.sh(check)?, "yes", "{params:?}: {check}");
        agent.gives("stop", 0);
        Ok(())
    };
    let listens =
        |address: &str| format!("ss -Hltn | grep -q ' {address} ' && echo yes || ss -Hltn");
    cycle(&[("pgport", "5433")], &listens("0.0.0.0:5433"))?;
    cycle(&[("pghost", "127.0.0.1")], &listens("127.0.0.1:5432"))?;
    cycle(
        &[("pghost", site.host().address()), ("pgport", "5434")],
        &listens(&format!("{}:5434", site.host().address())),
    )?;
    let socket = |dir: &str| format!("test -S {dir}/.s.PGSQL.5432 && echo yes || ls -la {dir}");
    cycle(
        &[("socketdir", "/run/contract-socket")],
        &socket("/run/contract-socket"),
    )?;
    assert_eq!(
        site.sh("stat -c '%a %U' /run/contract-socket")?,
        "2775 postgres"
    );
    // A directory in pghost is one of sockets, as in libpq.
    site.sh("install -d -o postgres /run/contract-host")?;
    cycle(
        &[("pghost", "/run/contract-host")],
        &socket("/run/contract-host"),
    )?;
    site.sh("rm -r /run/contract-*")?;
    // The port that the server really has counts, also where start_opt chose it.
    cycle(&[("start_opt", "-p 5435")], &listens("0.0.0.0:5435"))?;
    site.configure("unix_socket_directories = '/tmp'")?;
    cycle(&[], "test -S /tmp/.s.PGSQL.5432 && echo yes")
}

pub(crate) fn options_reach_the_server_word_for_word() -> Result<()> {
    let site = Site::fresh()?;
    site.sh(&format!("cp -a {CONFIG} /var/lib/contract.conf && echo \"cluster_name = 'other file'\" >>/var/lib/contract.conf"))?;
    let show = |name: &str| site.postgres().sql(&format!("show {name}"));

    let agent = site
        .agent()
        .param(
            "start_opt",
            r#"-c work_mem=8MB -c "application_name=it's a $HOME; \`x\`""#,
        )
        .param("ctl_opt", "-w -t 25")
        .param("config", "/var/lib/contract.conf")
        .param("pglibs", "/opt/contract-libraries");
    agent.gives("start", 0);
    agent.gives("monitor", 0);
    assert_eq!(show("work_mem")?, "8MB");
    assert_eq!(show("cluster_name")?, "other file");
    assert_eq!(show("config_file")?, "/var/lib/contract.conf");
    let pid = site.postgres().postmaster().expect("it runs");
    let words = site.sh(&format!("tr '\\0' '\\n' </proc/{pid}/cmdline"))?;
    assert!(
        words
            .lines()
            .any(|word| word == "application_name=it's a $HOME; `x`"),
        "{words}"
    );
    let variables = site.sh(&format!("tr '\\0' '\\n' </proc/{pid}/environ"))?;
    assert!(
        variables
            .lines()
            .any(|line| line == "LD_LIBRARY_PATH=/opt/contract-libraries"),
        "{variables}"
    );
    agent.gives("stop", 0);

    // A pg_ctl that finds its own libraries there only.
    site.sh("mkdir -p /var/lib/contract")?;
    let real = site.lab().layout().program("pg_ctl");
    site.host().write_file(
        "/var/lib/contract/pg_ctl",
        format!("#!/bin/sh\ntest \"$LD_LIBRARY_PATH\" = /var/lib/contract || exit 127\nexec {real} \"$@\"\n"),
        "root",
        "755",
    )?;
    let agent = site
        .agent()
        .param("pgctl", "/var/lib/contract/pg_ctl")
        .param("pglibs", "/var/lib/contract");
    agent.gives("start", 0);
    agent.gives("stop", 0);

    // ctl_opt reaches pg_ctl: one that it does not know is refused in its words.
    site.agent()
        .param("ctl_opt", "--no-such-option")
        .gives("start", 1)
        .says(&["pg_ctl", "unrecognized option"]);
    site.sh("rm /var/lib/contract.conf")?;
    Ok(())
}

pub(crate) fn files_that_are_missing_are_made_as_the_server_needs_them() -> Result<()> {
    let site = Site::fresh()?;
    // In a directory that is root's alone, as in one that is the owner's.
    site.sh("mkdir -p /var/lib/contract && umask 022")?;
    for log in ["/var/lib/contract/server.log", "/var/lib/pgsql/server.log"] {
        let agent = site.agent().param("logfile", log);
        agent.gives("start", 0);
        assert_eq!(
            site.sh(&format!("stat -c '%a %U' {log}"))?,
            "600 postgres",
            "the log may hold statements, and those passwords"
        );
        assert!(!site.host().read_file(log)?.is_empty());
        agent.gives("stop", 0);
    }
    let agent = site
        .follower()
        .param("tmpdir", "/var/lib/contract/deep/tmp");
    agent.gives("start", 0);
    assert_eq!(
        site.sh(
            "stat -c '%a %U' /var/lib/contract/deep/tmp /var/lib/contract/deep/tmp/recovery.conf"
        )?,
        "700 postgres\n600 postgres"
    );
    agent.gives("stop", 0);
    // Another tmpdir would leave two includes that contradict each other.
    site.restore(site.host())?;
    // An own tmpdir that others may read is closed.
    site.sh(&format!("chmod 755 {TMPDIR}"))?;
    let agent = site.follower();
    agent.gives("start", 0);
    assert_eq!(site.sh(&format!("stat -c %a {TMPDIR}"))?, "700");
    agent.gives("stop", 0);
    Ok(())
}

pub(crate) fn the_monitoring_user_logs_in_with_its_password() -> Result<()> {
    let site = Site::fresh()?;
    let owner = site.agent();
    owner.gives("start", 0);
    site.postgres()
        .sql("create role watcher login password 'pass word''s' in role pg_monitor")?;
    let hba = format!("{DATA}/pg_hba.conf");
    site.sh(&format!(
        "sed -i '1i local all watcher scram-sha-256\\nhost all watcher samehost scram-sha-256' {hba}"
    ))?;
    site.postgres().sql("select pg_reload_conf()")?;
    let watcher = owner.param("monitor_user", "watcher");
    let known = watcher.clone().param("monitor_password", "pass word's");
    let over_tcp = known.clone().param("pghost", site.host().address());
    known.gives("monitor", 0);
    over_tcp.gives("monitor", 0);
    known.gives("start", 0);
    // The instance's owner is let in all the same.
    watcher
        .clone()
        .param("monitor_password", "wrong")
        .gives("monitor", 0)
        .says(&["watcher", "as postgres"]);
    watcher.gives("monitor", 0).says(&["password"]);
    known.gives("stop", 0);
    known.gives("start", 0);
    Ok(())
}

pub(crate) fn the_owner_may_run_the_agent_and_a_stranger_may_not() -> Result<()> {
    let site = Site::fresh()?;
    let owner = site.agent().run_by("postgres");
    for (action, code) in [("start", 0), ("monitor", 0), ("stop", 0), ("monitor", 7)] {
        owner.gives(action, code);
    }
    let stranger = site.agent().run_by("nobody");
    let before = site.snapshot()?;
    stranger.gives("start", 1).says(&["root", "postgres"]);
    before.assert_same(&site.snapshot()?, "a stranger's start");
    assert_eq!(stranger.run(&[AGENT, "meta-data"])?.code(), 0);
    Ok(())
}

/// rep_mode was sync, and is none now: the include line in postgresql.conf is still there.
pub(crate) fn a_server_that_was_replicated_waits_for_nobody() -> Result<()> {
    let site = Site::fresh()?;
    site.configure(&format!(
        "include '{TMPDIR}/rep_mode.conf' # added by pgsql RA"
    ))?;
    site.host().write_file(
        &format!("{TMPDIR}/rep_mode.conf"),
        "synchronous_standby_names = 'ANY 1 (\"node2\")'\n",
        "postgres",
        "600",
    )?;
    let agent = site.agent();
    agent.gives("start", 0);
    assert_eq!(site.postgres().sql("show synchronous_standby_names")?, "");
    site.postgres().sql("create table acknowledged()")?;
    agent.gives("stop", 0);
    Ok(())
}

/// An upgrade of the package puts other programs in the place of those that run, which the kernel then calls `postgres (deleted)`.
pub(crate) fn a_server_whose_program_was_replaced_is_known() -> Result<()> {
    let site = Site::fresh()?;
    let (copy, bin) = ("/var/lib/contract-package", site.agent().programs());
    // Its files are found from where the program is.
    site.sh(&format!(
        "mkdir -p {copy}/usr {copy}{bin} && cp -p {bin}/* {copy}{bin}/ && \
         for dir in $(dirname {bin})/*; do ln -sn $dir {copy}$dir 2>/dev/null || :; done; ln -sn /usr/share {copy}/usr/share 2>/dev/null || :"
    ))?;
    let pgctl = format!("{copy}{bin}/pg_ctl");
    let agent = site.agent().param("pgctl", &pgctl);
    agent.gives("start", 0);
    let pid = site.postgres().postmaster().expect("the server runs");
    let replace = format!("cd {copy}{bin} && cp -p postgres new && mv new postgres");
    site.sh(&replace)?;
    let program = site.sh(&format!("readlink /proc/{pid}/exe"))?;
    assert!(program.trim().ends_with("postgres (deleted)"), "{program}");
    agent.gives("monitor", 0);
    agent.gives("start", 0);
    assert_eq!(site.postgres().postmaster(), Some(pid));
    // Frozen, so that it has to be ended by force; and what its death leaves behind is known, too.
    site.postgres().signal("STOP")?;
    agent.gives("monitor", 1);
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    let left = site.sh("grep -l 'postgres' /proc/[0-9]*/comm 2>/dev/null | wc -l")?;
    assert_eq!(left.trim(), "0");
    Ok(())
}
