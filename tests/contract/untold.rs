//! What a server, or a standby's neighbours, do that nobody would hear of before it is too late.

use lab::Result;

use crate::field::postmaster;
use crate::site::{Agent, CONFIG, DATA, SOON, Site, TMPDIR};

const USER: &str = lab::postgres::REPLICATION_USER;

/// As Pacemaker calls it that knows of degraded resources.
fn knowing<'a>(agent: &Agent<'a>) -> Agent<'a> {
    agent.clone().var("OCF_RESKEY_crm_feature_set", "3.19.0")
}

/// What has to be noted for a promotion is noted in there.
pub(crate) fn a_tmpdir_that_takes_no_note_is_told_while_nothing_is_noted() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let mount = |options: &str| {
        format!(
            "cp -a {TMPDIR} {TMPDIR}.kept && mount -t tmpfs -o {options} none {TMPDIR} && cp -a {TMPDIR}.kept/. {TMPDIR}/ && chown postgres {TMPDIR} && chmod 700 {TMPDIR}"
        )
    };
    let back = format!("umount {TMPDIR} && rm -rf {TMPDIR}.kept");
    for (what, prepare, undo, says) in [
        (
            "no right to write",
            format!("chmod 500 {TMPDIR}"),
            format!("chmod 700 {TMPDIR}"),
            "chmod 700",
        ),
        (
            "no room",
            format!(
                "{} && dd if=/dev/zero of={TMPDIR}/filler bs=4k 2>/dev/null || :",
                mount("size=256k")
            ),
            back.clone(),
            "room",
        ),
        (
            "no inode",
            format!(
                "{} && n=0; while touch {TMPDIR}/filler$n 2>/dev/null; do n=$((n + 1)); done",
                mount("size=4m,nr_inodes=16")
            ),
            back.clone(),
            "files",
        ),
        (
            "read-only",
            format!("{} && mount -o remount,ro {TMPDIR}", mount("size=4m")),
            back.clone(),
            "read-only",
        ),
    ] {
        println!("  {what}");
        agent.gives("monitor", 0);
        site.sh(&prepare)?;
        knowing(&agent).gives("monitor", 190).says(&[TMPDIR, says]);
        site.sh(&undo)?;
        knowing(&agent).gives("monitor", 0);
        assert_eq!(postmaster(&site), pid, "{what}");
    }
    Ok(())
}

/// Who repairs this node's data is looked up in there before anything else.
pub(crate) fn a_directory_that_the_account_may_not_enter_ends_no_server() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let follower = site.follower();
    let cluster = site.follower().param("rep_mode", "sync").promotable();
    let lock = format!("{TMPDIR}/expgsql.repair.lock");
    for (what, prepare, undo) in [
        (
            "root's alone",
            format!("chown root:root {TMPDIR} && chmod 700 {TMPDIR}"),
            format!("chown postgres {TMPDIR} && chmod 700 {TMPDIR}"),
        ),
        (
            "no right at all",
            format!("chmod 000 {TMPDIR}"),
            format!("chmod 700 {TMPDIR}"),
        ),
        (
            "a link for the lock",
            format!("ln -sf /etc/shadow {lock}"),
            format!("rm -f {lock}"),
        ),
        (
            "a pipe for the lock",
            format!("rm -f {lock} && mkfifo {lock}"),
            format!("rm -f {lock}"),
        ),
        (
            "a directory for the lock",
            format!("rm -f {lock} && mkdir {lock}"),
            format!("rmdir {lock}"),
        ),
    ] {
        follower.gives("start", 0);
        site.wait_streaming(USER)?;
        let pid = postmaster(&site);
        site.sh(&prepare)?;
        for agent in [&cluster, &follower] {
            for probe in [false, true] {
                let agent = if probe {
                    agent.clone().once()
                } else {
                    agent.clone()
                };
                let answer = knowing(&agent).call("monitor")?;
                assert!(
                    [0, 190].contains(&answer.code()),
                    "{what}: {} {}",
                    answer.code(),
                    answer.stderr()
                );
            }
        }
        assert_eq!(postmaster(&site), pid, "{what}");
        cluster.gives("stop", 0);
        assert_eq!(site.server_processes()?, "", "{what}");
        site.sh(&undo)?;
    }
    Ok(())
}

/// Some name services say so of every account while they are restarted.
pub(crate) fn an_account_that_the_name_service_denies_ends_no_server() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let follower = site.follower();
    follower.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let cluster = site.follower().param("rep_mode", "sync").promotable();
    for agent in [&follower, &cluster] {
        let agent = agent.clone().param("pgdba", "no_user");
        agent.gives("monitor", 0);
        agent.clone().once().gives("monitor", 0);
        agent.gives("start", 5).says(&["pgdba", "no_user"]);
        assert_eq!(postmaster(&site), pid);
    }
    let agent = follower.clone().param("pgdba", "no_user");
    agent.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    agent.gives("monitor", 7);
    agent.gives("start", 5).says(&["pgdba", "no_user"]);
    Ok(())
}

/// A standby that replays what it can't do.
pub(crate) fn a_server_that_ends_by_itself_has_said_why() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    // What a session was told is no reason for anything that comes later.
    assert!(
        site.postgres()
            .sql("select pg_terminate_backend(pg_backend_pid())")
            .is_err()
    );
    let place = "/var/lib/pgsql/more";
    site.elsewhere()
        .sh(&format!("mkdir {place} && chown postgres {place}"))?
        .ok()?;
    site.primary()
        .sql(&format!("create tablespace more location '{place}'"))?;
    let wait_down = || {
        site.lab().eventually("the server is down", SOON, |_| {
            match site.server_processes() {
                Ok(none) if none.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    wait_down()?;
    let why = format!("directory \"{place}\" does not exist");
    agent.gives("monitor", 7).says(&[&why]);
    site.sh(&format!("mkdir {place} && chown postgres {place}"))?;
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    // Stopped by somebody: what the one before has said is not why, nor is what its sessions were told.
    let pid = postmaster(&site);
    let _client = crate::field::crowd(&site, "postgres", 1)?;
    site.sh(&format!("kill -INT {pid}"))?;
    wait_down()?;
    let answer = agent.gives("monitor", 7);
    assert_eq!(answer.reason(), "PostgreSQL does not run");
    Ok(())
}

/// Who is killed says nothing, and what is left of the server does.
pub(crate) fn a_server_that_was_killed_is_told_from_one_that_was_stopped() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let wait_down = || {
        site.lab().eventually("the server is down", SOON, |_| {
            match site.server_processes() {
                Ok(none) if none.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    let session = "select pid from pg_stat_activity where query like 'select pg_sleep%'";
    let kill_a_session = |agent: &Agent<'_>| -> Result<()> {
        agent.gives("start", 0);
        let _client = crate::field::crowd(&site, "postgres", 1)?;
        let pid = site.lab().eventually("it is connected", SOON, |_| {
            match site.postgres().sql(session) {
                Ok(pid) if !pid.is_empty() => Ok(pid),
                other => Err(format!("{other:?}")),
            }
        })?;
        site.sh(&format!("kill -KILL {pid}")).map(drop)
    };
    let csv = "logging_collector = on\nlog_destination = csvlog\nlog_directory = 'log'";
    for logging in ["", csv] {
        let agent = site.follower();
        site.configure(&format!("restart_after_crash = off\n{logging}"))?;
        kill_a_session(&agent)?;
        wait_down()?;
        agent.gives("monitor", 7).says(&["(PID ", "signal 9"]);
        // Of the next one this says nothing.
        agent.gives("start", 0);
        let pid = postmaster(&site);
        site.sh(&format!("kill -INT {pid}"))?;
        wait_down()?;
        let answer = agent.gives("monitor", 7);
        assert_eq!(answer.reason(), "PostgreSQL does not run");
    }
    // The main process itself.
    for agent in [site.follower(), site.agent()] {
        agent.gives("start", 0);
        let pid = postmaster(&site);
        site.sh(&format!("kill -KILL {pid}"))?;
        // A process of its own may not have noticed yet: the next start ends it.
        site.lab()
            .eventually("its main process is gone", SOON, |_| {
                let gone = site.sh(&format!("! kill -0 {pid} 2>/dev/null"));
                gone.map(drop).map_err(|error| error.to_string())
            })?;
        agent
            .gives("monitor", 7)
            .says(&["without a word", "kernel's log"]);
        agent.gives("start", 0);
        agent.gives("stop", 0);
    }
    // From this one it recovers, and what ends it later is something else.
    site.configure("restart_after_crash = on\nlogging_collector = off")?;
    for (signal, ended) in [("INT", None), ("QUIT", Some("not shut down in order"))] {
        let agent = site.follower();
        kill_a_session(&agent)?;
        site.lab().eventually("it has recovered", SOON, |_| {
            // What it did before the session was killed may be the end of its log yet.
            let log = site.host().tail(crate::site::LOG, 20);
            let since = log.rsplit_once("reinitializing").map(|(_, since)| since);
            let streams = since.is_some_and(|since| since.contains("started streaming"));
            streams.then_some(()).ok_or(log)
        })?;
        let pid = postmaster(&site);
        site.sh(&format!("kill -{signal} {pid}"))?;
        wait_down()?;
        let answer = agent.gives("monitor", 7);
        match ended {
            Some(words) => answer.says(&[words]),
            None => assert_eq!(answer.reason(), "PostgreSQL does not run"),
        }
        assert!(!answer.reason().contains("signal 9"), "{answer}");
    }
    Ok(())
}

/// Made when this server was the primary, by a backup program, say.
pub(crate) fn a_slot_of_others_that_holds_wal_on_a_standby_is_told() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("max_wal_size = 32MB\nmin_wal_size = 32MB")?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    site.postgres()
        .sql("select pg_create_physical_replication_slot('it''s', true)")
        .expect_err("no name of a slot");
    site.postgres()
        .sql("select pg_create_physical_replication_slot('barman', true)")?;
    // As it is between two of its connections.
    knowing(&agent).gives("monitor", 0);
    for _ in 0..4 {
        site.primary()
            .sql("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")?;
    }
    site.wait_streaming(USER)?;
    site.lab().eventually("the WAL is there", SOON, |_| {
        let held = "select pg_last_wal_replay_lsn() - restart_lsn > 48 * 1024 * 1024 from pg_replication_slots";
        match site.postgres().sql(held) {
            Ok(held) if held == "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    knowing(&agent).gives("monitor", 190).says(&[
        "barman",
        "MiB",
        "SELECT pg_drop_replication_slot('barman')",
        "max_slot_wal_keep_size",
    ]);
    agent.gives("monitor", 0);
    assert_eq!(
        site.postgres()
            .sql("select count(*) from pg_replication_slots")?,
        "1",
        "it is not the agent's to drop"
    );
    // What is bounded fills no disk.
    site.postgres()
        .sql("alter system set max_slot_wal_keep_size = '1GB'")?;
    site.postgres().sql("select pg_reload_conf()")?;
    site.lab().eventually("the limit is in force", SOON, |_| {
        match site.postgres().sql("show max_slot_wal_keep_size") {
            Ok(limit) if limit == "1GB" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    knowing(&agent).gives("monitor", 0);
    site.postgres()
        .sql("select pg_drop_replication_slot('barman')")?;
    Ok(())
}

/// A password that expired, a line of pg_hba.conf that went with a clean-up, a role that was dropped: the stream ends, and the words are in the
/// primary's log and the standby's.
pub(crate) fn a_primary_that_lets_its_standby_not_in_is_told() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let primary = site.primary();
    let hba = primary.sql("show hba_file")?;
    let clean = site.elsewhere().read_file(&hba)?;
    let put = |text: &str| -> Result<()> {
        site.elsewhere().write_file(&hba, text, "postgres", "600")?;
        primary.sql("select pg_reload_conf()")?;
        primary.sql("select pg_terminate_backend(pid) from pg_stat_replication")?;
        Ok(())
    };
    put(&format!("host replication {USER} all reject\n{clean}\n"))?;
    // It is asked in one monitor of several: the question costs three processes.
    site.lab().eventually("the refusal is told", SOON, |_| {
        let answer = knowing(&agent).call("monitor");
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.code() {
            190 if ["refuses", "pg_hba"]
                .iter()
                .all(|word| answer.reason().contains(word)) =>
            {
                Ok(())
            }
            _ => Err(answer.to_string()),
        }
    })?;
    knowing(&agent).gives("monitor", 190).says(&["refuses"]);
    // A person who asks gets the plain code.
    agent.clone().once().gives("monitor", 0);
    // What can't be noted fails nobody that serves reads.
    site.sh(&format!("chmod 500 {TMPDIR}"))?;
    for _ in 0..4 {
        knowing(&agent).gives("monitor", 190);
    }
    site.sh(&format!("chmod 700 {TMPDIR}"))?;
    put(&clean)?;
    site.wait_streaming(USER)?;
    knowing(&agent).gives("monitor", 0);
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    Ok(())
}

/// Monitors until one tells it: the primary is asked in few of them.
fn told(site: &Site, agent: &Agent<'_>, words: &[&str]) -> Result<()> {
    site.lab().eventually("it is told", SOON, |_| {
        let answer = knowing(agent).call("monitor");
        let answer = answer.map_err(|error| error.to_string())?;
        let is_told =
            answer.code() == 190 && words.iter().all(|word| answer.reason().contains(word));
        is_told.then_some(()).ok_or_else(|| answer.to_string())
    })
}

/// The primary answers, lets it in, and sends nothing: a slot that is not there or another's, WAL that was removed.
pub(crate) fn a_standby_that_is_let_in_and_gets_nothing_is_told() -> Result<()> {
    let site = Site::fresh()?;
    let (primary, elsewhere) = (site.primary(), site.elsewhere());
    primary.start()?;
    let agent = site.follower().param("replication_slot_name", "exp");
    agent.gives("start", 0);
    told(&site, &agent, &["receives nothing", "exp_node1"])?;
    primary.sql("select pg_create_physical_replication_slot('exp_node1')")?;
    site.wait_streaming(USER)?;
    knowing(&agent).gives("monitor", 0);
    agent.gives("stop", 0);
    // Somebody else has it.
    let receivewal = site.lab().layout().program("pg_receivewal");
    elsewhere
        .sh("install -d -o postgres /var/lib/pgsql/received")?
        .ok()?;
    let other = elsewhere.spawn(
        "receivewal",
        &[
            "runuser",
            "-u",
            "postgres",
            "--",
            &receivewal,
            "-h",
            crate::site::SOCKET,
            "-U",
            "postgres",
            "-S",
            "exp_node1",
            "-D",
            "/var/lib/pgsql/received",
        ],
    )?;
    site.lab().eventually("the slot is in use", SOON, |_| {
        match primary.sql("select active from pg_replication_slots") {
            Ok(active) if active == "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    agent.gives("start", 0);
    told(&site, &agent, &["exp_node1", "is active"])?;
    drop(other);
    site.wait_streaming(USER)?;
    knowing(&agent).gives("monitor", 0);
    agent.gives("stop", 0);

    // Its WAL is gone.
    let agent = site.follower();
    for sql in [
        "select pg_drop_replication_slot('exp_node1')",
        "create table t(n int)",
        "alter system set wal_keep_size = 0",
        "alter system set min_wal_size = '32MB'",
        "alter system set max_wal_size = '32MB'",
        "select pg_reload_conf()",
    ] {
        primary.sql(sql)?;
    }
    for _ in 0..8 {
        for sql in [
            "insert into t values (1)",
            "select pg_switch_wal()",
            "checkpoint",
        ] {
            primary.sql(sql)?;
        }
    }
    agent.gives("start", 0);
    told(&site, &agent, &["receives nothing", "removed"])?;
    agent.gives("stop", 0);
    primary.stop()?;

    // It has no place for any standby; then it is another cluster's.
    site.restore(site.host())?;
    site.restore(elsewhere)?;
    elsewhere
        .sh(&format!(
            "printf 'max_wal_senders = 0\\nwal_level = minimal\\narchive_mode = off\\n' >>{CONFIG}"
        ))?
        .ok()?;
    primary.start()?;
    agent.gives("start", 0);
    told(&site, &agent, &["max_wal_senders"])?;
    primary.stop()?;
    let programs = site.agent().programs();
    elsewhere
        .sh(&format!(
            "cd {DATA} && mkdir /var/lib/pgsql/kept && cp -p postgresql.conf pg_hba.conf /var/lib/pgsql/kept && cd / && rm -r {DATA} && \
             runuser -u postgres -- {programs}/initdb -A trust -D {DATA} && cp -p /var/lib/pgsql/kept/* {DATA}/ && \
             sed -i '/max_wal_senders/d; /wal_level/d' {CONFIG}"
        ))?
        .ok()?;
    primary.start()?;
    primary.sql(&format!("create role {USER} replication login"))?;
    told(&site, &agent, &["another database cluster"])?;
    // Nothing of that ends a standby that serves reads.
    knowing(&agent).gives("monitor", 190);
    agent.gives("stop", 0);
    // Nobody is there: it waits.
    primary.stop()?;
    site.restore(elsewhere)?;
    agent.gives("start", 0);
    for _ in 0..20 {
        knowing(&agent).gives("monitor", 0);
    }
    agent.gives("stop", 0);
    Ok(())
}

/// The way to the primary is no way: TLS that the two don't agree on, a word that is none.
pub(crate) fn a_way_to_the_primary_that_is_none_is_told() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let mut cases = vec![
        ("no_such_word=1", "service file"),
        ("sslmode=require", "does not support SSL"),
    ];
    let tls = [
        (
            "sslmode=verify-ca sslrootcert=/nowhere",
            "\"/nowhere\" does not exist",
        ),
        (
            "sslmode=verify-full sslrootcert=/var/lib/pgsql/root.crt",
            "does not match host name",
        ),
    ];
    if site.lab().layout().has_tls()? {
        cases.extend(tls);
    }
    for (words, says) in cases {
        if words == tls[0].0 {
            site.elsewhere()
                .sh(&format!(
                    "cd {DATA} && openssl req -new -x509 -days 2 -nodes -subj /CN=somebody -newkey rsa:2048 -keyout server.key -out server.crt 2>&1 && \
                     chmod 600 server.key && chown postgres server.*"
                ))?
                .ok()?;
            let certificate = site.elsewhere().read_file(&format!("{DATA}/server.crt"))?;
            site.host()
                .write_file("/var/lib/pgsql/root.crt", certificate, "postgres", "600")?;
            site.primary().sql("alter system set ssl = on")?;
            site.primary().sql("select pg_reload_conf()")?;
        }
        let agent = site.follower().param("primary_conninfo_opt", words);
        agent.gives("start", 0);
        told(&site, &agent, &[says])?;
        agent.gives("stop", 0);
    }
    Ok(())
}

/// A user who may read the directory of the WAL, and not see the server's processes: what is hidden is not taken for what is not there.
pub(crate) fn what_is_hidden_is_asked_as_the_owner() -> Result<()> {
    let site = Site::fresh()?;
    let primary = site.primary();
    primary.start()?;
    for sql in [
        "create role watcher login",
        "grant execute on function pg_ls_waldir() to watcher",
        "create role heir noinherit login in role pg_monitor",
        "create role insider login in role pg_monitor",
    ] {
        primary.sql(sql)?;
    }
    let agent = site
        .follower()
        .params(&[("pgdb", "postgres"), ("check_wal_receiver", "true")]);
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let watched_by = |user: &str| knowing(&agent).param("monitor_user", user);
    site.lab().eventually("the roles are here", SOON, |_| {
        match site
            .postgres()
            .sql("select count(*) from pg_roles where rolname = 'insider'")
        {
            Ok(count) if count == "1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    watched_by("insider").gives("monitor", 0);
    for (user, says) in [("watcher", "hidden"), ("heir", "permission denied")] {
        watched_by(user).gives("monitor", 190).says(&[says]);
    }
    // Functions that everybody may call by default.
    primary.sql("revoke execute on function pg_control_system() from public")?;
    site.lab().eventually("it is revoked here", SOON, |_| {
        let answer = watched_by("insider")
            .call("monitor")
            .map_err(|e| e.to_string())?;
        let is_told = answer.code() == 190 && answer.reason().contains("pg_control_system");
        is_told.then_some(()).ok_or_else(|| answer.to_string())
    })?;
    knowing(&agent).gives("monitor", 0);
    agent.gives("stop", 0);
    Ok(())
}
