//! What is taken away from under a server that runs, and what is added to its configuration behind the agent's lines.

use lab::Result;

use crate::field::postmaster;
use crate::site::{CONFIG, DATA, SOON, Site, TMPDIR};

const USER: &str = lab::postgres::REPLICATION_USER;

/// As a cleaner of directories, or a person who makes room, does it.
pub(crate) fn a_directory_that_is_removed_is_made_again() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let stat = |path: &str| site.sh(&format!("stat -c '%a %U' {path}"));
    let before = site.host().read_file(&format!("{TMPDIR}/recovery.conf"))?;
    site.sh(&format!("rm -rf {TMPDIR}"))?;
    // A probe, or a person who asks, changes nothing.
    agent.clone().once().gives("monitor", 0);
    site.sh(&format!("test ! -e {TMPDIR}"))?;
    agent.gives("monitor", 0);
    assert_eq!(stat(TMPDIR)?, "700 postgres");
    assert_eq!(
        site.host().read_file(&format!("{TMPDIR}/recovery.conf"))?,
        before
    );
    let claim = site
        .host()
        .read_file(&format!("{TMPDIR}/expgsql.resource"))?;
    assert_eq!(claim.lines().next(), Some("pgsql"), "{claim}");
    agent.gives("monitor", 0);
    assert_eq!(postmaster(&site), pid);
    // Another resource on this node, whose own directory was in there: it gets that, and not the first one's.
    let data2 = "/var/lib/pgsql/data2";
    agent.gives("stop", 0);
    site.sh(&format!("cp -a {DATA} {data2}"))?;
    let second = site
        .follower()
        .var("OCF_RESOURCE_INSTANCE", "second")
        .param("pgdata", data2)
        .param("config", &format!("{data2}/postgresql.conf"))
        .param("pgport", "5433")
        .param("logfile", "/var/log/postgresql/second.log");
    agent.gives("start", 0);
    site.sh(&format!("sed -i '/expgsql/d' {data2}/postgresql.conf"))?;
    second.gives("start", 0);
    let own = format!("{TMPDIR}/second");
    assert_eq!(stat(&own)?, "700 postgres");
    site.sh(&format!("rm -rf {TMPDIR}"))?;
    second.gives("monitor", 0);
    let theirs = site.host().read_file(&format!("{own}/recovery.conf"))?;
    assert!(theirs.contains("5433"), "{theirs}");
    agent.gives("monitor", 0);
    assert_eq!(
        site.host().read_file(&format!("{TMPDIR}/recovery.conf"))?,
        before
    );
    for agent in [&agent, &second] {
        agent.gives("monitor", 0);
        agent.gives("stop", 0);
    }
    Ok(())
}

/// Management that keeps a standby's files as they were, on the node that was promoted since. The file says what the next start is to be;
/// what runs takes writes, and a demotion that is told to be done is no demotion.
pub(crate) fn a_standbys_file_in_a_primarys_directory_makes_no_standby() -> Result<()> {
    let site = Site::fresh()?;
    for mode in ["async", "sync"] {
        site.postgres().start()?;
        let agent = site.follower().param("rep_mode", mode).promotable();
        site.sh(&format!(
            "runuser -u postgres -- touch {DATA}/standby.signal"
        ))?;
        let answer = agent.call("demote")?;
        // Without a cluster it can't come to its end; but nothing takes writes any more.
        assert_ne!(
            site.postgres().is_writable(),
            Some(true),
            "{mode}: {answer}"
        );
        site.sh(&format!("rm -f {DATA}/standby.signal"))?;
        agent.gives("stop", 0);
    }
    // One that is a standby is one at once.
    site.primary().start()?;
    let follower = site.follower();
    follower.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    site.follower()
        .param("rep_mode", "async")
        .promotable()
        .gives("demote", 0);
    assert_eq!(postmaster(&site), pid);
    follower.gives("stop", 0);
    Ok(())
}

/// PostgreSQL looks for its own file once a minute, and serves meanwhile. A lock that is given back then is taken by another.
pub(crate) fn a_primary_without_its_pid_file_is_ended_before_its_lock_is_given_back() -> Result<()>
{
    let site = Site::fresh()?;
    let given_back = "/var/tmp/given-back";
    let unlock = format!("sh -c 'pgrep -u postgres -c postgres > {given_back} || :; echo 1'");
    site.postgres().start()?;
    let agent = site
        .follower()
        .param("rep_mode", "async")
        .promotable()
        .params(&[
            ("enable_distlock", "true"),
            ("distlock_lock_cmd", "echo 1"),
            ("distlock_unlock_cmd", &unlock),
        ]);
    site.sh(&format!("rm {DATA}/postmaster.pid"))?;
    agent.gives("monitor", 7).says(&["postmaster.pid is gone"]);
    agent.call("demote")?;
    assert_eq!(site.server_processes()?, "", "processes are left");
    assert_eq!(site.host().read_file(given_back)?.trim(), "0");
    Ok(())
}

/// Whoever clears up takes it for a leftover. Without it the server that runs is a standby as before, and what it is after the crash of one of
/// its processes is a primary.
pub(crate) fn a_standby_whose_file_is_gone_gets_it_back() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("restart_after_crash = on")?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let remove = format!("rm {DATA}/standby.signal");
    site.sh(&remove)?;
    // Pacemaker calls the agent of a cluster's standby so; it has nothing to do with the lock, which is another's.
    let member = site
        .follower()
        .param("rep_mode", "async")
        .promotable()
        .params(&[
            ("enable_distlock", "true"),
            ("distlock_lock_cmd", "echo 0"),
            ("distlock_unlock_cmd", "echo 1"),
        ]);
    member.call("monitor")?;
    assert_eq!(postmaster(&site), pid, "a standby was ended");
    site.sh(&format!("rm -f {DATA}/standby.signal"))?;
    // A probe changes nothing.
    agent.clone().once().gives("monitor", 0);
    site.sh(&format!("test ! -e {DATA}/standby.signal"))?;
    agent.gives("monitor", 0);
    assert_eq!(
        site.sh(&format!("stat -c '%a %U' {DATA}/standby.signal"))?,
        "600 postgres"
    );
    site.sh("kill -9 $(pgrep -f 'postgres: .*checkpointer' | head -n 1)")?;
    site.lab().eventually("it is back", SOON, |_| {
        match site.postgres().is_writable() {
            Some(false) => Ok(()),
            other => Err(format!("takes writes: {other:?}")),
        }
    })?;
    agent.gives("monitor", 0);
    agent.gives("stop", 0);
    Ok(())
}

/// The last line counts, and what is added comes last.
pub(crate) fn what_is_set_behind_the_agents_lines_is_refused() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    site.primary()
        .sql("select pg_create_physical_replication_slot('exp_node1')")?;
    let agent = site.follower().param("replication_slot_name", "exp");
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    agent.gives("stop", 0);
    let clean = site.host().read_file(CONFIG)?;
    let put = |text: &str| site.host().write_file(CONFIG, text, "postgres", "600");
    for line in [
        "primary_slot_name = ''",
        "primary_slot_name = 'exp_other'",
        "recovery_target_timeline = 'current'",
        "primary_conninfo = ''",
    ] {
        put(&format!("{clean}\n{line}\n"))?;
        let name = line.split(' ').next().unwrap_or_default();
        let place = format!("{CONFIG} line {}", clean.lines().count() + 1);
        let refused = agent.gives("start", 5);
        refused.says(&[name, &place, "remove"]);
        // Before its own lines it does no harm.
        if !line.starts_with("primary_slot_name = 'exp") && !line.starts_with("recovery") {
            continue;
        }
        put(&format!("{line}\n{clean}\n"))?;
        agent.gives("start", 0);
        assert_eq!(site.postgres().sql("show primary_slot_name")?, "exp_node1");
        assert_eq!(
            site.postgres().sql("show recovery_target_timeline")?,
            "latest"
        );
        agent.gives("stop", 0);
    }
    // A later directory of settings.
    site.sh(&format!(
        "install -d -o postgres {DATA}/conf.d; echo \"primary_slot_name = ''\" >{DATA}/conf.d/x.conf"
    ))?;
    put(&format!("{clean}\ninclude_dir 'conf.d'\n"))?;
    agent
        .gives("start", 5)
        .says(&["primary_slot_name", "conf.d/x.conf line 1"]);
    // While it runs, it is told, and what the standby streams by is left alone.
    put(&clean)?;
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let set = |lines: &str| {
        put(&format!("{clean}\n{lines}"))?;
        site.postgres().sql("select pg_reload_conf()")
    };
    let in_force = |name: &str, value: &str| {
        site.lab().eventually("it is in force", SOON, |_| {
            match site.postgres().sql(&format!("show {name}")) {
                Ok(now) if now == value => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    set("primary_slot_name = 'exp_other'\n")?;
    in_force("primary_slot_name", "exp_other")?;
    agent
        .gives("monitor", 0)
        .says(&["primary_slot_name", "'exp_other'", "'exp_node1'"]);
    set("")?;
    in_force("primary_slot_name", "exp_node1")?;
    let well = agent.gives("monitor", 0);
    assert!(!well.stderr().contains("ocf-exit-reason"), "{well}");
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    // How WAL is fetched is the operator's to add.
    put(&format!("{clean}\nrestore_command = 'false'\n"))?;
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    agent.gives("stop", 0);
    Ok(())
}

/// By ALTER SYSTEM nothing is refused, and it wins over what the agent has written: this standby could not be told to stop receiving.
pub(crate) fn what_is_set_over_the_agents_settings_is_told() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site
        .follower()
        .param("primary_conninfo_opt", "password=not-to-be-shown");
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let ours = site.postgres().sql("show primary_conninfo")?;
    let set = |line: &str, expected: &str| {
        site.postgres().sql(line)?;
        site.postgres().sql("select pg_reload_conf()")?;
        site.lab().eventually("it is in force", SOON, |_| {
            match site.postgres().sql("show primary_conninfo") {
                Ok(now) if now == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    let address = site.elsewhere().address();
    let theirs = format!("host={address} user={USER} password=nor-this application_name=x");
    set(
        &format!("alter system set primary_conninfo = '{theirs}'"),
        &theirs,
    )?;
    let told = agent.gives("monitor", 0);
    told.says(&["primary_conninfo", "as the agent set it"]);
    // The server's own log shows both.
    let text = told.stderr();
    assert!(
        !text.contains("not-to-be") && !text.contains("nor-this"),
        "{text}"
    );
    set("alter system reset primary_conninfo", &ours)?;
    let well = agent.gives("monitor", 0);
    assert!(!well.stderr().contains("ocf-exit-reason"), "{well}");
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    Ok(())
}

/// One wrong line, and the server takes nothing of any file when it is told to read them again. It runs on, and nobody can change anything.
pub(crate) fn a_configuration_that_the_server_refuses_is_told() -> Result<()> {
    let site = Site::fresh()?;
    site.configure("max_connections = 120")?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let clean = site.host().read_file(CONFIG)?;
    let put = |text: &str| site.host().write_file(CONFIG, text, "postgres", "600");
    let place = format!("{CONFIG} line {}", clean.lines().count() + 1);
    for (line, word) in [
        ("max_connection = 200", "max_connection"),
        ("work_mem = 4MB 8MB", "syntax error"),
        ("include 'nowhere.conf'", "nowhere.conf"),
    ] {
        put(&format!("{clean}\n{line}\n"))?;
        site.postgres().sql("select pg_reload_conf()")?;
        agent.gives("monitor", 0).says(&["correct", &place, word]);
        // Also where the agent itself has something to be read.
        site.sh(&format!("touch {TMPDIR}/recovery.conf"))?;
        agent.gives("monitor", 0).says(&["correct", &place, word]);
    }
    put(&clean)?;
    agent.gives("monitor", 0);
    let well = || {
        let answer = agent.gives("monitor", 0);
        assert!(!answer.stderr().contains("ocf-exit-reason"), "{answer}");
    };
    well();
    // What is put off until the next start keeps nothing else from being taken.
    for line in ["max_connections = 130", "# max_connections = 120"] {
        put(&clean.replace("max_connections = 120", line))?;
        well();
        site.postgres().sql("select pg_reload_conf()")?;
        well();
        site.sh(&format!("touch {CONFIG}"))?;
        well();
    }
    put(&clean)?;
    site.postgres()
        .sql("alter system set max_locks_per_transaction = 70")?;
    site.postgres()
        .sql("alter system reset max_locks_per_transaction")?;
    well();
    assert_eq!(postmaster(&site), pid);
    agent.gives("stop", 0);
    Ok(())
}

/// A reload takes nothing of a pg_hba.conf with one wrong line, and says so in the log alone; a start ends there.
pub(crate) fn rules_that_the_server_refuses_are_told() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    wrong_rules(&site)?;
    // In another place than the server would look by itself.
    let dir = "/var/lib/contract-rules";
    site.sh(&format!(
        "install -d -o postgres {dir} && mv {DATA}/pg_hba.conf {DATA}/pg_ident.conf {dir}/"
    ))?;
    site.configure(&format!(
        "hba_file = '{dir}/pg_hba.conf'\nident_file = '{dir}/pg_ident.conf'"
    ))?;
    wrong_rules(&site)
}

fn wrong_rules(site: &Site) -> Result<()> {
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(site);
    for (show, line) in [
        ("show hba_file", "local all all trst"),
        ("show ident_file", "map only"),
    ] {
        let file = site.postgres().sql(show)?;
        let clean = site.host().read_file(&file)?;
        let put = |text: &str| site.host().write_file(&file, text, "postgres", "600");
        put(&format!("{clean}\n{line}\n"))?;
        site.postgres().sql("select pg_reload_conf()")?;
        let place = format!("{file} line {}", clean.lines().count() + 1);
        agent.gives("monitor", 0).says(&["correct", &place]);
        agent.gives("monitor", 0).says(&["correct", &place]);
        put(&clean)?;
        site.postgres().sql("select pg_reload_conf()")?;
        agent.gives("monitor", 0);
        let well = agent.gives("monitor", 0);
        assert!(!well.stderr().contains("ocf-exit-reason"), "{well}");
    }
    assert_eq!(postmaster(site), pid);
    agent.gives("stop", 0);
    Ok(())
}

/// As the primary's one query asks it.
pub(crate) fn what_makes_a_commit_worth_less_is_seen() -> Result<()> {
    use expgsql::decide::worth::{parse, told};
    let site = Site::fresh()?;
    let agent = site.agent();
    agent.gives("start", 0);
    let sql = |line: &str| site.postgres().sql(line);
    let seen = || {
        let text = sql(&format!("select {}", expgsql::postgres::views::WEAK))?;
        Ok::<_, lab::Error>(told(&parse(&text).expect("it is understood")))
    };
    assert_eq!(seen()?, Vec::<String>::new());
    for line in [
        "create role batch",
        "create database app",
        "alter role batch set synchronous_commit = off",
        "alter role batch set search_path = 'synchronous_commit=off'",
        "alter role batch in database app set synchronous_commit = remote_write",
        "alter database app set synchronous_commit = on",
        "alter system set full_page_writes = off",
        "alter system set fsync = off",
        "select pg_reload_conf()",
    ] {
        sql(line)?;
    }
    let oid = sql("select 'batch'::regrole::oid")?;
    let app = sql("select oid from pg_database where datname = 'app'")?;
    site.lab().eventually("all is seen", SOON, |_| {
        let told = seen().map_err(|error| error.to_string())?;
        let words = [
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            format!("synchronous_commit=off by ALTER ROLE or ALTER DATABASE for role {oid} (SELECT {oid}::regrole): its commits wait for no standby"),
            format!("synchronous_commit=remote_write by ALTER ROLE or ALTER DATABASE for role {oid} (SELECT {oid}::regrole) in database {app}"),
        ];
        let is_all = told.len() == words.len() && told.iter().zip(&words).all(|(t, w)| t.starts_with(w));
        is_all.then_some(()).ok_or_else(|| format!("{told:#?}"))
    })?;
    agent.gives("monitor", 0);
    agent.gives("stop", 0);
    Ok(())
}

/// A file of that name, left over from a promotion by hand, promotes the standby as soon as it starts: onto a timeline of its own.
pub(crate) fn a_file_that_promotes_a_standby_is_refused() -> Result<()> {
    let site = Site::fresh()?;
    if site.lab().layout().version > 15 {
        return Err(lab::Error::LeftOut(
            "this PostgreSQL has no trigger file".into(),
        ));
    }
    site.primary().start()?;
    let agent = site.follower();
    let clean = site.host().read_file(CONFIG)?;
    let put = |text: &str| site.host().write_file(CONFIG, text, "postgres", "600");
    let trigger = "/var/lib/pgsql/go";
    site.sh(&format!("touch {trigger}"))?;
    let line = format!("promote_trigger_file = '{trigger}'");
    put(&format!("{clean}\n{line}\n"))?;
    let place = format!("{CONFIG} line {}", clean.lines().count() + 1);
    agent
        .gives("start", 5)
        .says(&["remove promote_trigger_file", &place]);
    assert_eq!(site.server_processes()?, "");
    put(&clean)?;
    let option = format!("-c promote_trigger_file={trigger}");
    let by_option = agent.clone().param("start_opt", &option);
    by_option
        .gives("start", 6)
        .says(&["promote_trigger_file", "start_opt"]);
    let auto = format!("{DATA}/postgresql.auto.conf");
    site.sh(&format!("echo \"{line}\" >>{auto}"))?;
    agent
        .gives("start", 5)
        .says(&["ALTER SYSTEM RESET promote_trigger_file", &auto]);
    // The last line counts, and names none.
    site.sh(&format!("echo \"promote_trigger_file = ''\" >>{auto}"))?;
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    // Set while it runs, and before anybody makes the file.
    site.sh(&format!("rm {trigger}"))?;
    site.postgres().sql(&format!(
        "alter system set promote_trigger_file = '{trigger}'"
    ))?;
    site.postgres().sql("select pg_reload_conf()")?;
    site.lab().eventually("it is in force", SOON, |_| {
        match site.postgres().sql("show promote_trigger_file") {
            Ok(file) if file == trigger => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    agent
        .clone()
        .var("OCF_RESKEY_crm_feature_set", "3.19.0")
        .gives("monitor", 190)
        .says(&["promote_trigger_file"]);
    agent.gives("stop", 0);
    Ok(())
}

/// What a restore of a backup leaves behind would have the server recover to its end and come up as a primary.
pub(crate) fn a_restores_signal_is_removed_at_a_standbys_start() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    site.sh(&format!(
        "runuser -u postgres -- touch {DATA}/recovery.signal"
    ))?;
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    site.sh(&format!(
        "test ! -e {DATA}/recovery.signal && test -e {DATA}/standby.signal"
    ))?;
    agent.gives("stop", 0);
    Ok(())
}
