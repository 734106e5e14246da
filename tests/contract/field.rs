//! What sites do to a server that is well: each row of docs/field.md that one instance can show.

use lab::{Process, Result};

use crate::site::{AGENT, Agent, CONFIG, DATA, SOCKET, SOON, Site};

/// The server's main process, by which a restart is seen.
#[track_caller]
pub(crate) fn postmaster(site: &Site) -> i32 {
    site.postgres().postmaster().expect("the server runs")
}

/// `sessions` connections of `user` that stay.
pub(crate) fn crowd(site: &Site, user: &str, sessions: usize) -> Result<Vec<Process>> {
    let psql = site.lab().layout().program("psql");
    let argv = [
        "runuser",
        "-u",
        "postgres",
        "--",
        &psql,
        "-Xh",
        SOCKET,
        "-U",
        user,
        "-d",
        "postgres",
        "-c",
        "select pg_sleep(600)",
    ];
    let clients = (0..sessions).map(|n| site.host().spawn(&format!("client{n}"), &argv));
    clients.collect()
}

/// Replaces pg_hba.conf and has the server read it.
fn set_hba(site: &Site, lines: &str) -> Result<()> {
    site.host()
        .write_file(&format!("{DATA}/pg_hba.conf"), lines, "postgres", "600")?;
    let pid = postmaster(site);
    site.sh(&format!("kill -HUP {pid}"))?;
    // The postmaster logs it once it has read them.
    site.lab().eventually("the new lines count", SOON, |_| {
        let log = site.host().read_file(crate::site::LOG);
        let log = log.map_err(|error| error.to_string())?;
        let seen = log.matches("received SIGHUP").count();
        (seen > 0).then_some(()).ok_or_else(|| "not yet".to_owned())
    })
}

/// The role is kept by a monitor and by a repeated start, the server goes on as the same, and the reason is told.
#[track_caller]
fn assert_kept(site: &Site, agent: &Agent<'_>, pid: i32, says: &[&str], what: &str) {
    let answer = agent
        .call("monitor")
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer.code(), 0, "{what}: {answer}");
    for word in says {
        let told = answer.stderr();
        assert!(told.contains("ocf-exit-reason:"), "{what}: {answer}");
        assert!(told.contains(word), "{what}: no {word:?} in {answer}");
    }
    // Pacemaker says which version it is of, and a new one knows degraded resources.
    let degraded = agent
        .clone()
        .var("OCF_RESKEY_crm_feature_set", "3.19.0")
        .call("monitor")
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(degraded.code(), 190, "{what}: {degraded}");
    let started = agent
        .call("start")
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(started.code(), 0, "{what}: {started}");
    assert_eq!(postmaster(site), pid, "{what}: it is another server");
}

/// An answer is a sign of life, whatever it says.
pub(crate) fn a_refused_agent_leaves_the_server_alone() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("max_connections = 12\nsuperuser_reserved_connections = 2")?;
    let owner = site.agent();
    owner.gives("start", 0);
    let pid = postmaster(&site);
    let trust = site.host().read_file(&format!("{DATA}/pg_hba.conf"))?;
    let sql = |text: &str| site.postgres().sql(text);
    sql("create role watcher login password 'x' in role pg_monitor")?;
    let watcher = owner
        .clone()
        .param("monitor_user", "watcher")
        .param("monitor_password", "x");
    watcher.gives("monitor", 0);

    // The database.
    let mon = owner.clone().param("pgdb", "mon");
    sql("create database mon")?;
    mon.gives("monitor", 0);
    sql("alter database mon rename to mon2")?;
    assert_kept(&site, &mon, pid, &["mon", "3D000"], "renamed");
    let mon2 = owner.clone().param("pgdb", "mon2");
    sql("alter database mon2 allow_connections false")?;
    assert_kept(&site, &mon2, pid, &["mon2"], "closed");
    sql("drop database mon2")?;
    assert_kept(&site, &mon2, pid, &["mon2", "3D000"], "dropped");

    // The user.
    sql("create database closed")?;
    sql("revoke connect on database closed from public")?;
    let only = watcher.clone().param("pgdb", "closed");
    assert_kept(
        &site,
        &only,
        pid,
        &["closed", "42501"],
        "no right to connect",
    );
    set_hba(
        &site,
        "local all watcher scram-sha-256\nlocal all all trust\nhost all all all scram-sha-256\n",
    )?;
    sql("alter role watcher valid until '2001-01-01'")?;
    assert_kept(&site, &watcher, pid, &["watcher", "28P01"], "expired");
    sql("alter role watcher valid until 'infinity' connection limit 0")?;
    assert_kept(&site, &watcher, pid, &["watcher", "53300"], "its limit");
    sql("alter role watcher connection limit -1 nologin")?;
    assert_kept(&site, &watcher, pid, &["watcher", "28000"], "no login");
    sql("drop role watcher")?;
    assert_kept(&site, &watcher, pid, &["watcher"], "dropped role");
    sql("create role watcher login password 'x' in role pg_monitor")?;
    watcher.gives("monitor", 0);
    // Something that is loaded at a login, and fails.
    for place in ["role watcher", "database template1"] {
        sql(&format!(
            "alter {place} set session_preload_libraries = 'no_such_thing'"
        ))?;
        assert_kept(&site, &watcher, pid, &["no_such_thing"], place);
        sql(&format!("alter {place} reset session_preload_libraries"))?;
    }
    // The owner of the instance gets in all the same, and loads nothing.
    sql("alter role postgres set session_preload_libraries = 'no_such_thing'")?;
    owner.gives("monitor", 0);
    let psql = site.lab().layout().program("psql");
    let reset = "alter role postgres reset session_preload_libraries";
    let argv = [&psql, "-Xh", SOCKET, "-d", "postgres", "-c", reset];
    let unarmed = site.host().as_user("postgres", &argv)?;
    unarmed
        .env("PGOPTIONS", "-c session_preload_libraries=")
        .run()?
        .ok()?;
    set_hba(&site, &trust)?;

    // The way: nobody of this machine gets in.
    for (lines, says) in [
        ("host all nobody 192.0.2.1/32 trust\n", "28000"),
        ("local all all reject\nhost all all all reject\n", "28000"),
        ("local all all scram-sha-256\n", "password"),
        ("local all all md5\n", "password"),
    ] {
        set_hba(&site, lines)?;
        site.lab().eventually("the line counts", SOON, |_| {
            match site.postgres().sql("select 1") {
                Ok(_) => Err("still let in".to_owned()),
                Err(_) => Ok(()),
            }
        })?;
        assert_kept(&site, &owner, pid, &[says], lines);
    }
    set_hba(&site, &trust)?;
    site.lab().eventually("let in again", SOON, |_| {
        sql("select 1").map(drop).map_err(|e| e.to_string())
    })?;
    owner.gives("monitor", 0);
    owner.gives("stop", 0);
    Ok(())
}

/// Every connection is taken: the ordinary ones, then those kept for superusers.
pub(crate) fn a_server_that_is_full_is_left_alone() -> Result<()> {
    let site = Site::fresh()?;
    site.configure(
        "max_connections = 10\nsuperuser_reserved_connections = 3\nmax_wal_senders = 2",
    )?;
    let owner = site.agent();
    owner.gives("start", 0);
    let pid = postmaster(&site);
    site.postgres()
        .sql("create role app login; create role watcher login in role pg_monitor")?;
    let watcher = owner.clone().param("monitor_user", "watcher");
    let full = |user: &str, sessions| -> Result<Vec<Process>> {
        let clients = crowd(&site, user, sessions)?;
        site.lab().eventually("it is full", SOON, |_| {
            let psql = site.lab().layout().program("psql");
            let argv = [
                &psql, "-Xh", SOCKET, "-U", user, "-d", "postgres", "-c", "select 1",
            ];
            let tried = site.host().as_user("postgres", &argv);
            let tried = tried.and_then(|command| command.run());
            match tried.map_err(|e| e.to_string())?.stderr.as_str() {
                refused if refused.contains("connection slots are reserved") => Ok(()),
                refused if refused.contains("too many clients") => Ok(()),
                other => Err(other.to_owned()),
            }
        })?;
        Ok(clients)
    };
    let _clients = full("app", 9)?;
    // The owner still gets in.
    owner.gives("monitor", 0);
    assert_kept(&site, &watcher, pid, &["53300"], "for ordinary users");
    let _more = full("postgres", 5)?;
    assert_kept(&site, &watcher, pid, &["53300"], "for everybody");
    assert_kept(&site, &owner, pid, &["53300"], "for the owner");
    Ok(())
}

/// No process is left for the server's account: who is connected is served, and nobody else.
pub(crate) fn a_server_that_can_not_fork_is_left_alone() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    agent.gives("start", 0);
    let pid = postmaster(&site);
    well(&agent, "before");
    let limit = |most: &str| {
        let (pid, most) = (pid.to_string(), format!("--nproc={most}"));
        let argv = ["prlimit", "--pid", &pid, &most];
        site.host().as_user("postgres", &argv)?.run()?.ok()
    };
    let before = site.sh("prlimit --pid $$ --nproc --noheadings --output SOFT")?;
    limit("1:")?;
    site.lab().eventually("it can't fork", SOON, |_| {
        let tried = site.postgres().sql("select 1");
        tried.err().map(drop).ok_or("let in".to_owned())
    })?;
    assert_kept(&site, &agent, pid, &["fork"], "the socket");
    let by_tcp = agent.clone().param("pghost", "127.0.0.1");
    assert_kept(&site, &by_tcp, pid, &["fork"], "TCP");
    limit(&format!("{}:", before.trim()))?;
    well(&agent, "after");
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    Ok(())
}

/// What logins wait for is held by a session: the server is well.
pub(crate) fn a_login_that_waits_for_a_lock_is_no_hung_server() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().param("query_timeout", "4");
    agent.gives("start", 0);
    let pid = postmaster(&site);
    // Commits wait for a standby that is not there, and CREATE DATABASE holds its template meanwhile.
    site.postgres()
        .sql("alter system set synchronous_standby_names = 'nobody'; ")?;
    site.postgres().sql("select pg_reload_conf()")?;
    let psql = site.lab().layout().program("psql");
    let argv = [
        "runuser",
        "-u",
        "postgres",
        "--",
        &psql,
        "-Xh",
        SOCKET,
        "-d",
        "postgres",
        "-c",
        "create database copy",
    ];
    let copy = site.host().spawn("copy", &argv)?;
    site.lab().eventually("it waits", SOON, |_| {
        let query = "select count(*) from pg_stat_activity where query like 'create database%' and wait_event = 'SyncRep'";
        match site.postgres().sql(query) {
            Ok(count) if count == "1" => Ok(()),
            Ok(count) => Err(count),
            Err(error) => Err(error.to_string()),
        }
    })?;
    assert_kept(&site, &agent, pid, &["template1", "lock"], "template1");
    site.postgres()
        .sql("alter system reset synchronous_standby_names; ")?;
    site.postgres().sql("select pg_reload_conf()")?;
    drop(copy);
    site.lab().eventually("the lock is gone", SOON, |_| {
        let waits = site
            .postgres()
            .sql("select count(*) from pg_stat_activity where query like 'create database%' and pid <> pg_backend_pid()");
        match waits {
            Ok(count) if count == "0" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    agent.gives("monitor", 0);

    // Nobody can log in anywhere.
    let session = hold_logins(&site)?;
    for _round in 0..2 {
        assert_kept(&site, &agent, pid, &["lock"], "pg_authid");
    }
    assert_no_pile(&site)?;
    drop(session);
    // A session that sleeps does not notice that its client is gone; nobody can log in to end it.
    site.sh(
        r#"for it in /proc/[0-9]*; do
    if tr '\0' ' ' <"$it/cmdline" | grep -q '^postgres: postgres postgres .local. SELECT'; then kill "${it#/proc/}"; fi
done 2>/dev/null; true"#,
    )?;
    site.lab().eventually("it is as before", SOON, |_| {
        let answer = agent.call("monitor").map_err(|e| e.to_string())?;
        (answer.code() == 0 && !answer.stderr().contains("ocf-exit-reason"))
            .then_some(())
            .ok_or_else(|| format!("{answer}"))
    })?;
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    Ok(())
}

/// A session holds what every login needs.
fn hold_logins(site: &Site) -> Result<Process> {
    let psql = site.lab().layout().program("psql");
    let hold = "begin; lock table pg_authid; select pg_sleep(600)";
    let argv = [
        "runuser", "-u", "postgres", "--", &psql, "-Xh", SOCKET, "-d", "postgres", "-c", hold,
    ];
    let session = site.host().spawn("holder", &argv)?;
    site.lab().eventually("the lock is held", SOON, |_| {
        let argv = [
            "timeout", "1", &psql, "-Xh", SOCKET, "-U", "postgres", "-d", "postgres", "-c",
            "select 1",
        ];
        let tried = site.host().as_user("postgres", &argv);
        let tried = tried.and_then(|c| c.run()).map_err(|e| e.to_string())?;
        (tried.code() == Some(124))
            .then_some(())
            .ok_or_else(|| "still let in".to_owned())
    })?;
    Ok(session)
}

/// The agent's own logins do not pile up behind the lock.
fn assert_no_pile(site: &Site) -> Result<()> {
    let waiting =
        site.sh("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c 'startup waiting' || :")?;
    let waiting: u32 = waiting.trim().parse().unwrap_or(99);
    assert!(waiting <= 3, "{waiting} logins wait");
    Ok(())
}

/// The same where the processes do not say what they do.
pub(crate) fn a_login_that_waits_is_no_hung_server_without_titles() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().param("query_timeout", "4");
    site.configure("update_process_title = off")?;
    // The agent has its own server say it.
    agent.gives("start", 0);
    let pid = postmaster(&site);
    let holder = hold_logins(&site)?;
    for _round in 0..2 {
        assert_kept(&site, &agent, pid, &["lock"], "started by the agent");
    }
    assert_no_pile(&site)?;
    agent.gives("stop", 0);
    drop(holder);
    // Somebody else has started it.
    site.postgres().start()?;
    let pid = postmaster(&site);
    well(&agent, "started by hand");
    let holder = hold_logins(&site)?;
    let says = ["update_process_title"];
    assert_kept(&site, &agent, pid, &says, "started by hand");
    // What hangs is found all the same.
    site.postgres().signal("STOP")?;
    agent.gives("monitor", 1);
    agent.gives("stop", 0);
    drop(holder);
    Ok(())
}

/// Why a server does not start is said in the server's own last words, wherever they are.
pub(crate) fn a_server_that_refuses_to_start_says_why() -> Result<()> {
    let site = Site::fresh()?;
    let collected = "logging_collector = on\nlog_directory = 'log'\nlog_filename = 'all.log'\n";
    let csv = "logging_collector = on\nlog_destination = csvlog\nlog_directory = 'log'\n";
    let wrong: [(&str, &str, &[&str]); 5] = [
        ("shared_buffers = '100TB'", "", &["shared_buffers", "100TB"]),
        (
            "shared_buffers = '7TB'",
            "",
            &["could not map anonymous shared memory"],
        ),
        ("no_such_setting = 1", "", &["no_such_setting"]),
        (
            "ssl = on\nssl_cert_file = 'nowhere.crt'",
            "",
            &["nowhere.crt"],
        ),
        // By a process that comes after the logging collector.
        (
            "",
            "find /var/lib/pgsql/data/pg_wal -type f -delete",
            &["checkpoint record"],
        ),
    ];
    let has_tls = site.lab().layout().has_tls()?;
    for (lines, prepare, says) in wrong {
        if lines.starts_with("ssl") && !has_tls {
            continue;
        }
        for logging in ["", collected, csv] {
            for log in [Some(crate::site::LOG), None] {
                // With each, once thrown away and once kept.
                let is_one = logging.is_empty() == log.is_none() && logging != csv;
                if !lines.starts_with("shared_buffers = '100") && !is_one {
                    continue;
                }
                site.restore(site.host())?;
                site.configure(&format!("{logging}{lines}"))?;
                site.sh(&format!("true; {prepare}"))?;
                let agent = match log {
                    Some(log) => site.agent().param("logfile", log),
                    None => site.agent().param("logfile", "/dev/null"),
                };
                let begun = std::time::Instant::now();
                let answer = agent.gives("start", 1);
                let what = format!("{lines:?} {logging:?} {log:?}: {answer}");
                let took = begun.elapsed();
                if log.is_some() && logging.is_empty() {
                    assert!(took.as_secs() < 4, "{what}: {took:?}");
                }
                for word in says {
                    assert!(answer.reason().contains(word), "no {word:?}: {what}");
                }
                assert_eq!(site.server_processes()?, "", "{what}");
                // Nothing is left lying about.
                let left = site
                    .sh("find /tmp -name '*expgsql*' -newer /var/lib/pgsql/data/postgresql.conf")?;
                assert_eq!(left, "", "{what}");
            }
        }
    }
    // It takes connections on before it finds out; and the line of the rules is in a line before.
    for (lines, prepare, log, says) in [
        (
            "listen_addresses = '*'\nunix_socket_directories = '/nowhere'",
            "",
            crate::site::LOG,
            "/nowhere",
        ),
        (
            "",
            "echo 'host all all all scram-sha-265' >>/var/lib/pgsql/data/pg_hba.conf",
            "/dev/null",
            "scram-sha-265\" (line",
        ),
        (
            "log_error_verbosity = verbose\nlisten_addresses = '192.0.2.77'",
            "",
            crate::site::LOG,
            "could not bind IPv4 address \"192.0.2.77\"",
        ),
        // The logging collector itself.
        (
            "logging_collector = on\nlog_directory = '/proc/nowhere'",
            "",
            "/dev/null",
            "/proc/nowhere",
        ),
    ] {
        for follows in [false, true] {
            site.restore(site.host())?;
            site.configure(lines)?;
            site.sh(&format!("true; {prepare}"))?;
            let agent = if follows {
                site.follower()
            } else {
                site.agent()
            };
            let answer = agent.param("logfile", log).gives("start", 1);
            assert!(
                answer.reason().contains(says),
                "no {says:?}: {lines:?} {follows}: {answer}"
            );
        }
    }
    // What it says goes where nobody looks, or is of no severity.
    let no_wal = "find /var/lib/pgsql/data/pg_wal -type f -delete";
    for (lines, prepare, options, says) in [
        ("log_destination = syslog", no_wal, "", "checkpoint record"),
        ("log_min_messages = panic", no_wal, "", "checkpoint record"),
        ("", "", "-z", "invalid option -- 'z'"),
    ] {
        for log in [crate::site::LOG, "/dev/null"] {
            site.restore(site.host())?;
            site.configure(lines)?;
            site.sh(&format!("true; {prepare}"))?;
            let agent = site.agent().param("logfile", log);
            let answer = agent.param("start_opt", options).gives("start", 1);
            let what = format!("{lines:?} {options:?} {log}: {answer}");
            assert!(answer.reason().contains(says), "no {says:?}: {what}");
            assert_eq!(site.server_processes()?, "", "{what}");
            let left =
                site.sh("find /tmp -name '*expgsql*' -newer /var/lib/pgsql/data/postgresql.conf")?;
            assert_eq!(left, "", "{what}");
        }
    }
    Ok(())
}

/// Settings in another encoding are none of the agent's business, and stay as they are.
pub(crate) fn a_configuration_in_another_encoding_is_served() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let included = format!("{DATA}/caf\\351.conf");
    site.sh(&format!(
        r#"printf '# S\351bastien, \261\340\n' >>{CONFIG}
           printf "application_name = 'caf\351' # \377\n" >>{CONFIG}
           printf "include 'caf\351.conf'\n" >>{CONFIG}
           printf "work_mem = '9MB' # \351\n" >"$(printf '{included}')"
           chown postgres "$(printf '{included}')""#
    ))?;
    let before = site.sh(&format!("sha256sum <{CONFIG}"))?;
    let agent = site.agent();
    agent.gives("start", 0);
    agent.gives("monitor", 0);
    assert_eq!(site.postgres().sql("show work_mem")?, "9MB");
    agent.gives("stop", 0);
    let follower = site.follower();
    follower.gives("validate-all", 0);
    follower.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    follower.gives("monitor", 0);
    follower.gives("stop", 0);
    // Byte for byte, but for the line that was added.
    let rest = site.sh(&format!("head -n -1 {CONFIG} | sha256sum"))?;
    assert_eq!(rest, before);
    // What contradicts the agent is found all the same.
    site.sh(&format!(
        r#"printf "primary_conninfo = 'h\351' # x\n" >>"$(printf '{included}')""#
    ))?;
    follower
        .gives("start", 5)
        .says(&["primary_conninfo", "line 2"]);
    Ok(())
}

/// Configuration management puts the file back that it knows.
pub(crate) fn lines_that_are_restored_away_are_put_back() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let known = site.sh(&format!(
        "cp -a {CONFIG} /dev/shm/known && sha256sum <{CONFIG}"
    ))?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    let pid = postmaster(&site);
    let conninfo = || site.postgres().sql("show primary_conninfo");
    let restore = || -> Result<()> {
        site.sh(&format!("cp -a /dev/shm/known {CONFIG}; kill -HUP {pid}"))?;
        site.lab()
            .eventually("the lines are gone", SOON, |_| match conninfo() {
                Ok(text) if text.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            })
    };
    restore()?;
    let answer = agent.gives("monitor", 0);
    assert!(answer.stderr().contains("include"), "{answer}");
    site.lab()
        .eventually("they are back", SOON, |_| match conninfo() {
            Ok(text) if !text.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    let answer = agent.gives("monitor", 0);
    assert!(!answer.stderr().contains("include"), "once: {answer}");
    // The file itself is gone.
    site.sh(&format!(
        "rm {}/recovery.conf; kill -HUP {pid}",
        crate::site::TMPDIR
    ))?;
    site.lab()
        .eventually("the settings are gone", SOON, |_| match conninfo() {
            Ok(text) if text.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    agent.gives("monitor", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    // A probe only looks.
    restore()?;
    agent.clone().once().gives("monitor", 0);
    assert_eq!(site.sh(&format!("sha256sum <{CONFIG}"))?, known);
    // Where the lines can't be put back, that is said each time.
    site.sh(&format!(
        "mount --bind {CONFIG} {CONFIG} && mount -o remount,bind,ro {CONFIG}"
    ))?;
    for _round in 0..2 {
        agent.gives("monitor", 0).says(&["include", CONFIG]);
    }
    site.sh(&format!("umount {CONFIG}"))?;
    agent.gives("monitor", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    site.sh("rm /dev/shm/known")?;
    Ok(())
}

/// The agent gets in, and has nothing to say of it.
#[track_caller]
fn well(agent: &Agent<'_>, what: &str) {
    let answer = agent.gives("monitor", 0);
    assert!(
        !answer.stderr().contains("ocf-exit-reason"),
        "{what}: {answer}"
    );
    agent.gives("start", 0);
}

/// The same where the server insists on TLS, or on none.
pub(crate) fn ways_in_by_tls_are_ways_in() -> Result<()> {
    let site = Site::fresh()?;
    let owner = site.agent();
    owner.gives("start", 0);
    let sql = |text: &str| site.postgres().sql(text);
    if !site.lab().layout().has_tls()? {
        return Err(lab::Error::LeftOut(
            "this PostgreSQL was built without TLS".into(),
        ));
    }
    sql("create role mapped login in role pg_monitor")?;
    let home = site.sh("getent passwd postgres | cut -d: -f6")?;
    let home = home.trim();
    site.sh(&format!("mkdir -p {home} && chown postgres {home}"))?;
    // TLS only, and a client certificate.
    let certificates = r#"
cd /var/lib/pgsql/data
openssl req -new -x509 -days 2 -nodes -subj /CN=mapped -newkey rsa:2048 -keyout server.key -out server.crt 2>&1
cp server.crt root.crt
chmod 600 server.key; chown postgres server.key server.crt root.crt
"#;
    site.sh(certificates)?;
    let tls = "ssl = on\nssl_ca_file = 'root.crt'\n";
    site.configure(tls)?;
    set_hba(
        &site,
        "local all all trust\nhostssl all mapped all cert\nhostssl all all all trust\n",
    )?;
    site.lab()
        .eventually("TLS is there", SOON, |_| match sql("show ssl") {
            Ok(on) if on == "on" => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    for host in ["127.0.0.1", "localhost", "::1", site.host().address()] {
        well(&owner.clone().param("pghost", host), host);
    }
    let mapped = owner
        .clone()
        .param("monitor_user", "mapped")
        .param("pghost", "127.0.0.1");
    let said = mapped.gives("monitor", 0);
    assert!(said.stderr().contains("certificate"), "{said}");
    site.sh(&format!(
        "install -d -o postgres -m 700 {home}/.postgresql && cd {home}/.postgresql && \
         install -o postgres -m 600 {DATA}/server.key postgresql.key && \
         install -o postgres -m 600 {DATA}/server.crt postgresql.crt"
    ))?;
    well(&mapped, "a client certificate");
    site.sh(&format!("rm -r {home}/.postgresql"))?;
    // Without TLS only.
    set_hba(&site, "local all all trust\nhostnossl all all all trust\n")?;
    site.lab().eventually("TLS is refused", SOON, |_| {
        let psql = site.lab().layout().program("psql");
        let line = format!(
            "{psql} -XU postgres 'host=127.0.0.1 dbname=postgres sslmode=require' -c 'select 1'"
        );
        match site.sh(&line) {
            Ok(_) => Err("let in".to_owned()),
            Err(_) => Ok(()),
        }
    })?;
    well(
        &owner.clone().param("pghost", "127.0.0.1"),
        "without TLS only",
    );
    Ok(())
}

/// Certificates that this program's TLS library does not take: the server is as well as psql finds it.
pub(crate) fn a_certificate_that_is_no_good_ends_no_server() -> Result<()> {
    let site = Site::fresh()?;
    if !site.lab().layout().has_tls()? {
        return Err(lab::Error::LeftOut(
            "this PostgreSQL was built without TLS".into(),
        ));
    }
    let home = site.sh("getent passwd postgres | cut -d: -f6")?;
    let home = home.trim();
    site.sh(&format!(
        "mkdir -p {home} && chown postgres {home} && rm -rf {home}/.postgresql"
    ))?;
    // Its only way in may have TLS.
    site.configure("unix_socket_directories = ''\nlisten_addresses = '127.0.0.1'\nssl = on")?;
    let agent = site.agent().param("pghost", "127.0.0.1");
    let lines = |lines: &str| {
        site.host()
            .write_file(&format!("{DATA}/pg_hba.conf"), lines, "postgres", "600")
    };
    let make = |kind: &str| {
        site.sh(&format!(
            "cd {DATA} && {{ {kind}; }} 2>&1 && chmod 600 server.key && chown postgres server.*"
        ))
    };
    let request = "openssl req -new -nodes -subj /CN=here -newkey rsa:2048 -keyout server.key";
    // As the server's manual makes it, and what comes of that is of version 1.
    let v1 = format!(
        "{request} -out server.csr && openssl x509 -req -days 2 -in server.csr -signkey server.key -out server.crt"
    );
    let v3 = format!("{request} -x509 -days 2 -out server.crt");
    let p521 = "openssl req -new -x509 -days 2 -nodes -subj /CN=here -newkey ec \
                -pkeyopt ec_paramgen_curve:secp521r1 -keyout server.key -out server.crt";
    let old = "-c ssl_max_protocol_version=TLSv1.2";
    for (kind, options, only_by_tls) in [
        (v1.as_str(), "", None),
        (v1.as_str(), old, None),
        (p521, "", Some("TLS")),
    ] {
        let agent = agent.clone().param("start_opt", options);
        make(kind)?;
        lines("host all all all trust\n")?;
        agent.gives("start", 0);
        let pid = postmaster(&site);
        well(&agent, kind);
        lines("hostssl all all all trust\n")?;
        site.sh(&format!("kill -HUP {pid}"))?;
        site.lab().eventually("TLS is asked for", SOON, |_| {
            by_tcp(&site, "disable")
                .err()
                .map(drop)
                .ok_or("let in".to_owned())
        })?;
        by_tcp(&site, "require")?;
        match only_by_tls {
            None => well(&agent, kind),
            Some(word) => assert_kept(&site, &agent, pid, &[word], kind),
        }
        assert_eq!(postmaster(&site), pid);
        agent.gives("stop", 0);
    }

    // What the account shows of itself is vouched for by nobody whom the server knows.
    make(&v3)?;
    site.sh(&format!("cp -p {DATA}/server.crt {DATA}/root.crt"))?;
    site.configure("ssl_ca_file = 'root.crt'")?;
    lines("host all all all trust\n")?;
    site.sh(&format!(
        "install -d -o postgres -m 700 {home}/.postgresql && cd {home}/.postgresql && \
         openssl req -new -x509 -days 2 -nodes -subj /CN=postgres -newkey rsa:2048 -keyout postgresql.key \
         -out postgresql.crt 2>&1 && chmod 600 postgresql.* && chown postgres postgresql.*"
    ))?;
    agent.gives("start", 0);
    let pid = postmaster(&site);
    for line in ["host", "hostssl"] {
        lines(&format!("{line} all all all trust\n"))?;
        site.sh(&format!("kill -HUP {pid}"))?;
        well(&agent, line);
    }
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    site.sh(&format!("rm -r {home}/.postgresql"))?;
    Ok(())
}

/// A login of psql's by TCP.
fn by_tcp(site: &Site, sslmode: &str) -> Result<String> {
    let psql = site.lab().layout().program("psql");
    site.sh(&format!(
        "{psql} -XU postgres 'host=127.0.0.1 dbname=postgres sslmode={sslmode}' -c 'select 1'"
    ))
}

/// Where psql gets in on the same machine, the agent does.
pub(crate) fn every_way_in_that_psql_has_is_one() -> Result<()> {
    let site = Site::fresh()?;
    let owner = site.agent();
    owner.gives("start", 0);
    let pid = postmaster(&site);
    site.postgres()
        .sql("create role watcher login password 'pass:wo\\rd' in role pg_monitor")?;
    let watcher = owner.clone().param("monitor_user", "watcher");
    // The password is in the owner's password file.
    set_hba(
        &site,
        "local all watcher scram-sha-256\nhost all watcher all scram-sha-256\nlocal all all trust\n",
    )?;
    let home = site.sh("getent passwd postgres | cut -d: -f6")?;
    let home = home.trim();
    let pgpass = format!("{home}/.pgpass");
    site.sh(&format!("mkdir -p {home} && chown postgres {home}"))?;
    site.lab()
        .eventually("the password is asked for", SOON, |_| {
            let answer = watcher.call("monitor").map_err(|e| e.to_string())?;
            answer
                .stderr()
                .contains("password")
                .then_some(())
                .ok_or_else(|| format!("{answer}"))
        })?;
    let line = "*:5432:*:watcher:pass\\:wo\\\\rd\n";
    site.host().write_file(&pgpass, line, "postgres", "600")?;
    well(&watcher, "~/.pgpass");
    well(
        &watcher.clone().param("pghost", "127.0.0.1"),
        "~/.pgpass by TCP",
    );
    // One that others may read is not used, and that is the reason.
    site.sh(&format!("chmod 644 {pgpass}"))?;
    watcher.gives("monitor", 0);
    let said = watcher.gives("monitor", 0);
    assert!(said.stderr().contains("chmod 600"), "{said}");
    site.sh(&format!("rm {pgpass} && mkfifo {pgpass}"))?;
    let said = watcher.gives("monitor", 0);
    assert!(said.stderr().contains(".pgpass"), "{said}");
    site.sh(&format!("rm {pgpass}"))?;
    // The resource's own.
    let passfile = format!("{}/pass", crate::site::TMPDIR);
    site.sh(&format!(
        "install -d -o postgres -m 700 {}",
        crate::site::TMPDIR
    ))?;
    site.host().write_file(&passfile, line, "postgres", "600")?;
    well(&watcher.clone().param("passfile", &passfile), "passfile");

    // An address that is not this machine's any more, and nobody's.
    set_hba(&site, "local all all trust\nhost all all all trust\n")?;
    for gone in ["192.0.2.1", "no-such-host.invalid"] {
        let away = owner.clone().param("pghost", gone);
        let said = away.gives("monitor", 0);
        assert!(said.stderr().contains("ocf-exit-reason"), "{said}");
    }
    // By no socket at all, and where the socket's file was removed.
    set_hba(&site, "host all all all trust\n")?;
    site.sh("rm /run/postgresql/.s.PGSQL.5432")?;
    let said = owner.gives("monitor", 0);
    assert!(said.stderr().contains("ocf-exit-reason"), "{said}");
    well(&owner.clone().param("pghost", "127.0.0.1"), "no socket");
    assert_eq!(postmaster(&site), pid);
    owner.gives("stop", 0);
    // Where it listens by TCP alone, from the start on.
    site.configure("unix_socket_directories = ''\nlisten_addresses = '::1'")?;
    let only = owner.clone().param("pghost", "::1");
    only.gives("start", 0);
    well(&only, "IPv6 alone");
    // Its pid file says where, also where nobody has told the agent.
    owner.gives("monitor", 0);
    only.gives("stop", 0);
    Ok(())
}

/// Answers every login at 127.0.0.2 with a no, as a pooler does that has lost its server.
const POOLER: &str = r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.2", LocalPort => 5432, Listen => 9, ReuseAddr => 1) or die "$!";
my $no = "SFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
while (my $client = $listener->accept) {
    sysread($client, my $asked, 4096);
    if (length($asked) == 8) { syswrite($client, "N"); sysread($client, $asked, 4096); }
    syswrite($client, "E" . pack("N", 4 + length($no)) . $no);
}
"#;

/// Somebody else answers where the server is looked for.
pub(crate) fn an_answer_from_a_pooler_is_no_life_of_the_server() -> Result<()> {
    let site = Site::fresh()?;
    if site.sh("command -v perl").is_err() {
        return Err(lab::Error::LeftOut("there is no perl".into()));
    }
    site.configure("listen_addresses = '127.0.0.1'")?;
    site.agent().gives("start", 0);
    let pid = postmaster(&site);
    let _pooler = site.host().spawn("pooler", &["perl", "-e", POOLER])?;
    site.lab().eventually("the pooler answers", SOON, |_| {
        let said = site.postgres().psql("127.0.0.2", 5432, "select 1");
        match said {
            Err(error) if error.to_string().contains("unsupported startup") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    let agent = site
        .agent()
        .param("pghost", "127.0.0.2")
        .param("query_timeout", "4");
    assert_kept(&site, &agent, pid, &["08P01"], "the server is well");
    // By its own words it is well as long as the others are its own as well.
    set_hba(&site, "local all all reject\nhost all all all reject\n")?;
    assert_kept(&site, &agent, pid, &["SQLSTATE"], "nobody is let in");
    site.postgres().signal("STOP")?;
    agent.gives("monitor", 1).says(&["signal"]);
    site.postgres().signal("CONT")?;
    assert_kept(&site, &agent, pid, &["SQLSTATE"], "it goes on");
    site.agent().gives("stop", 0);
    Ok(())
}

/// Both are told the same tmpdir, or nothing of it.
pub(crate) fn two_resources_on_a_node_keep_their_files_apart() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let data2 = "/var/lib/pgsql/data2";
    site.sh(&format!("cp -a {DATA} {data2}"))?;
    let first = site.follower();
    let second = site
        .follower()
        .var("OCF_RESOURCE_INSTANCE", "other.site:0")
        .param("pgdata", data2)
        .param("config", &format!("{data2}/postgresql.conf"))
        .param("pgport", "5433")
        .param("logfile", "/var/log/postgresql/other.log");
    let tmp = crate::site::TMPDIR;
    let recovery = || site.host().read_file(&format!("{tmp}/recovery.conf"));
    first.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    let before = recovery()?;
    for action in ["start", "monitor", "reload-agent", "start", "monitor"] {
        second.gives(action, 0);
        assert_eq!(recovery()?, before, "{action}");
    }
    let theirs = site
        .host()
        .read_file(&format!("{tmp}/other.site/recovery.conf"))?;
    assert!(theirs.contains("port=''5433''"), "{theirs}");
    first.gives("reload-agent", 0);
    first.gives("monitor", 0);
    assert_eq!(recovery()?, before);
    assert!(
        site.postgres()
            .sql("show primary_conninfo")?
            .contains("5432")
    );
    second.gives("stop", 0);
    // One that replicates nothing takes nobody's contract away.
    let contract = format!("{tmp}/rep_mode.conf");
    site.host().write_file(
        &contract,
        "synchronous_standby_names = 'x'\n",
        "postgres",
        "600",
    )?;
    let plain = second.param("rep_mode", "none");
    plain.gives("start", 0);
    plain.gives("stop", 0);
    assert_eq!(
        site.host().read_file(&contract)?,
        "synchronous_standby_names = 'x'"
    );
    // What was there before anybody said whose it is, is the first one's.
    site.sh(&format!("rm {tmp}/expgsql.resource"))?;
    first.gives("monitor", 0);
    assert_eq!(recovery()?, before);
    first.gives("stop", 0);
    first.gives("start", 0);
    assert_eq!(recovery()?, before);
    first.gives("stop", 0);
    Ok(())
}

/// What a server is, is known without a session as well.
pub(crate) fn a_follower_that_nobody_can_ask_is_still_a_follower() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    let pid = postmaster(&site);
    set_hba(&site, "local all all reject\n")?;
    site.lab().eventually("nobody is let in", SOON, |_| {
        match site.postgres().sql("select 1") {
            Ok(_) => Err("still let in".to_owned()),
            Err(_) => Ok(()),
        }
    })?;
    assert_kept(&site, &agent, pid, &["28000"], "a follower");
    // It goes on to stream, and the settings that are the agent's can be changed.
    agent.gives("reload-agent", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    // A start that makes it one: nothing more is to be learned by waiting.
    agent.gives("stop", 0);
    let begun = std::time::Instant::now();
    agent.gives("start", 0);
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    // Promoted by hand, it is none any more.
    site.sh(&format!(
        "runuser -u postgres -- {} promote -w -D {DATA}",
        site.lab().layout().program("pg_ctl")
    ))?;
    agent.gives("monitor", 1).says(&["promoted"]);
    agent.gives("stop", 0);
    Ok(())
}

/// Root without the right to read everybody's files, as on a file system that trusts no root of another machine's. (A fake: the capabilities are taken away.)
pub(crate) fn what_root_may_not_read_is_not_said_to_be_missing() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    let barred = |action: &str| {
        agent.run(&[
            "setpriv",
            "--bounding-set=-dac_override,-dac_read_search",
            AGENT,
            action,
        ])
    };
    let start = barred("start")?;
    assert_eq!(start.code(), 4, "{start}");
    start.says(&["root may not look into it", "no_root_squash"]);
    assert_eq!(site.server_processes()?, "");
    assert_eq!(barred("stop")?.code(), 0);
    agent.gives("start", 0);
    let pid = postmaster(&site);
    let monitor = barred("monitor")?;
    assert_eq!(monitor.code(), 0, "{monitor}");
    assert_eq!(postmaster(&site), pid);
    let stop = barred("stop")?;
    assert_eq!(stop.code(), 0, "{stop}");
    assert_eq!(site.server_processes()?, "");
    Ok(())
}
