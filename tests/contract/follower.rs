//! rep_mode=slave: a standby of a primary that no cluster manages.

use expgsql::decide::recovery_command::Command;
use lab::Result;

use crate::site::{Agent, CONFIG, DATA, SOON, Site, TMPDIR};

const USER: &str = lab::postgres::REPLICATION_USER;

pub(crate) fn a_follower_streams_and_every_action_may_be_repeated() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower().param(
        "primary_conninfo_opt",
        "keepalives_idle=60 connect_timeout=3",
    );
    for _round in ["first", "second"] {
        agent.gives("start", 0);
        agent.gives("start", 0);
        site.wait_streaming(USER)?;
        agent.gives("monitor", 0);
        agent.clone().once().gives("monitor", 0);
        agent.gives("reload-agent", 0);
        agent.gives("notify", 0);
        agent.gives("monitor", 0);
        let conninfo = site.postgres().sql("show primary_conninfo")?;
        assert_eq!(
            conninfo,
            format!(
                "host='{}' port='5432' user='{USER}' application_name='node1' keepalives_idle=60 connect_timeout=3",
                site.elsewhere().address()
            )
        );
        agent.gives("stop", 0);
        agent.gives("stop", 0);
        agent.gives("monitor", 7);
        assert_eq!(site.server_processes()?, "");
    }
    for action in ["promote", "demote"] {
        agent.gives(action, 3).says(&["rep_mode=slave"]);
    }
    Ok(())
}

/// As an agent leaves it that is killed between the two.
pub(crate) fn what_was_written_and_not_read_is_read_by_the_next_monitor() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let file = format!("{TMPDIR}/recovery.conf");
    let reloads = || -> Result<usize> {
        let log = site.host().read_file(crate::site::LOG)?;
        Ok(log.matches("SIGHUP").count())
    };
    let before = reloads()?;
    site.host().run(&["touch", &file])?.ok()?;
    agent.gives("monitor", 0);
    assert_eq!(reloads()?, before + 1);
    // It is read once.
    agent.gives("start", 0);
    agent.gives("monitor", 0);
    assert_eq!(reloads()?, before + 1);
    Ok(())
}

pub(crate) fn the_recovery_parameters_are_in_force() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let restore = r#"test -f /var/lib/contract/it\'s/%f && cp "/var/lib/contract/it's/%f" '%p'"#;
    let values = [
        ("restore_command", restore),
        ("archive_cleanup_command", "echo cleanup %r >>/tmp/cleanup"),
        ("recovery_end_command", r"echo 'the end' >/tmp/recovery-end"),
    ];
    let agent = site
        .follower()
        .params(&values)
        .param("replication_slot_name", "exp")
        .param("stop_escalate_in_slave", "0");
    site.primary()
        .sql("select pg_create_physical_replication_slot('exp_node1')")?;
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    for (name, value) in values {
        let in_force = site.postgres().sql(&format!("show {name}"))?;
        let expected = match name {
            "restore_command" => Command::RestoreCommand.guarded(value),
            "recovery_end_command" => Command::RecoveryEndCommand.guarded(value),
            _ => Command::ArchiveCleanupCommand.guarded(value),
        };
        assert_eq!(in_force, expected);
    }
    assert_eq!(site.postgres().sql("show primary_slot_name")?, "exp_node1");
    assert_eq!(
        site.primary()
            .sql("select active from pg_replication_slots where slot_name = 'exp_node1'")?,
        "t"
    );
    // stop_escalate_in_slave, not stop_escalate, counts here.
    agent.gives("stop", 0);
    let log = site.host().read_file(crate::site::LOG)?;
    assert!(log.contains("received immediate shutdown request"), "{log}");
    // What is unset again is in force no more.
    let plain = site.follower();
    plain.gives("start", 0);
    for name in [
        "restore_command",
        "recovery_end_command",
        "primary_slot_name",
    ] {
        assert_eq!(site.postgres().sql(&format!("show {name}"))?, "", "{name}");
    }
    plain.gives("stop", 0);
    Ok(())
}

pub(crate) fn a_follower_logs_in_with_its_password_file() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    site.primary()
        .sql("create role follower login replication password 'from a file'")?;
    site.elsewhere()
        .sh(&format!(
            "sed -i '1i host replication follower all scram-sha-256' {DATA}/pg_hba.conf"
        ))?
        .ok()?;
    site.primary().sql("select pg_reload_conf()")?;
    site.host().write_file(
        "/var/lib/pgsql/replication.pass",
        format!(
            "{}:5432:replication:follower:from a file\n",
            site.elsewhere().address()
        ),
        "postgres",
        "600",
    )?;
    let agent = site
        .follower()
        .param("repuser", "follower")
        .param("passfile", "/var/lib/pgsql/replication.pass");
    agent.gives("start", 0);
    site.wait_streaming("follower")?;
    agent.gives("stop", 0);
    Ok(())
}

/// Where the server's configuration may be, and what the agent must leave as it is.
pub(crate) fn include_lines_are_added_once_and_change_nothing_else() -> Result<()> {
    let site = Site::fresh()?;
    let etc = "/etc/postgresql-contract";
    let outside = format!("{etc}/postgresql.conf");
    let moved = format!("mkdir -p {etc} && mv {CONFIG} {outside}");
    let linked = format!("{moved} && ln -s {outside} {CONFIG}");
    for (place, prepare, config, real) in [
        ("in the data directory", "true".to_owned(), CONFIG, CONFIG),
        (
            "as Debian has it",
            format!("{moved} && chown postgres {etc}"),
            outside.as_str(),
            outside.as_str(),
        ),
        (
            "a file of root's in the data directory",
            format!("chown root {CONFIG}"),
            CONFIG,
            CONFIG,
        ),
        (
            "in a directory of root's",
            moved.clone(),
            outside.as_str(),
            outside.as_str(),
        ),
        (
            "behind a link",
            format!("{linked} && chown -R postgres {etc}"),
            CONFIG,
            outside.as_str(),
        ),
    ] {
        site.restore(site.host())?;
        site.sh(&prepare)?;
        site.sh(&format!(
            "echo \"data_directory = '{DATA}'\" >>{real}; echo \"hba_file = '{DATA}/pg_hba.conf'\" >>{real}; chgrp adm {real}; chmod 644 {real}"
        ))?;
        let owner = site.sh(&format!("stat -c %U {real}"))?;
        let first = site.host().read_file(real)?;
        let agent = site.follower().param("config", config);
        for _round in 0..2 {
            agent.gives("start", 0);
            assert_eq!(site.postgres().sql("show config_file")?, config, "{place}");
            assert!(!site.postgres().sql("show primary_conninfo")?.is_empty());
            agent.gives("stop", 0);
            let line = format!("include_if_exists '{TMPDIR}/recovery.conf' # added by expgsql");
            assert_eq!(
                site.host().read_file(real)?,
                format!("{first}\n{line}"),
                "{place}"
            );
            assert_eq!(
                site.sh(&format!("stat -c '%a %U %G' {real}"))?,
                format!("644 {owner} adm"),
                "{place}"
            );
        }
        if config != real {
            assert_eq!(site.sh(&format!("readlink {config}"))?, real);
        }
        let strays = site.sh(&format!(
            "find {DATA} {etc} {TMPDIR} -name '*.new' -o -name '.*.expgsql' 2>/dev/null || :"
        ))?;
        assert_eq!(strays, "", "{place}");
    }
    the_lines_of_the_older_agents_are_enough(&site)
}

fn the_lines_of_the_older_agents_are_enough(site: &Site) -> Result<()> {
    site.restore(site.host())?;
    site.configure(&format!(
        "include '{TMPDIR}/recovery.conf' # added by pgsql RA"
    ))?;
    let before = site.host().read_file(CONFIG)?;
    let agent = site.follower();
    agent.gives("start", 0);
    assert!(!site.postgres().sql("show primary_conninfo")?.is_empty());
    agent.gives("stop", 0);
    assert_eq!(site.host().read_file(CONFIG)?, before);
    // rep_mode was sync before: what the agent wrote then is not the operator's contradiction.
    site.configure(&format!("include '{TMPDIR}/rep_mode.conf'"))?;
    site.host().write_file(
        &format!("{TMPDIR}/rep_mode.conf"),
        "synchronous_standby_names = 'node2'\n",
        "postgres",
        "600",
    )?;
    agent.gives("start", 0);
    assert_eq!(site.postgres().sql("show synchronous_standby_names")?, "");
    agent.gives("stop", 0);
    Ok(())
}

pub(crate) fn a_promoted_follower_is_reported() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.postgres().sql("select pg_promote()")?;
    agent.gives("monitor", 1).says(&["promoted", "rebuild"]);
    agent.gives("start", 1).says(&["promoted", "rebuild"]);
    agent.gives("stop", 0);
    Ok(())
}

/// check_wal_receiver publishes in the cluster, and there is none.
pub(crate) fn a_follower_is_well_although_the_cluster_can_not_be_told() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.follower().param("check_wal_receiver", "true");
    agent.gives("start", 0);
    agent.gives("monitor", 0);
    wait_for_receiver_to_be_missing(&site, &agent)
}

/// The primary is away: a standby without one is as well as it can be.
fn wait_for_receiver_to_be_missing(site: &Site, agent: &Agent<'_>) -> Result<()> {
    let query = "select count(*) from pg_stat_wal_receiver";
    site.lab().eventually("no receiver runs", SOON, |_| {
        match site.postgres().sql(query) {
            Ok(count) if count == "0" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    agent.gives("monitor", 0);
    agent.gives("stop", 0);
    Ok(())
}
