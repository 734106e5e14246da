//! Whose answer the agent goes by, and sockets of every kind.

use lab::Result;

use crate::field::postmaster;
use crate::site::{Agent, SOCKET, SOON, Site};

const USER: &str = lab::postgres::REPLICATION_USER;

fn knowing<'a>(agent: &Agent<'a>) -> Agent<'a> {
    agent.clone().var("OCF_RESKEY_crm_feature_set", "3.19.0")
}

/// `pghost` is an address that is the primary's now, as that of the clients or a proxy's: who answers there is a primary, and another server.
pub(crate) fn another_server_at_the_address_is_not_this_one() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    let theirs = site.elsewhere().address();
    let misled = agent.clone().param("pghost", theirs);
    let says = ["another server answers", theirs];
    knowing(&misled).gives("monitor", 190).says(&says);
    misled.gives("start", 0);
    assert_eq!(postmaster(&site), pid);
    assert_eq!(site.postgres().is_writable(), Some(false));
    agent.gives("stop", 0);
    // It listens there as well as everywhere, by an option behind the agent's own.
    let wide = misled.clone().param("start_opt", "-h *");
    wide.gives("start", 0);
    knowing(&wide).gives("monitor", 190).says(&says);
    // Nothing that the other one says counts while this one is silent.
    site.postgres().signal("STOP")?;
    wide.gives("monitor", 1);
    site.postgres().signal("CONT")?;
    wide.gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    Ok(())
}

/// Several sockets, and such that are in no file system.
pub(crate) fn sockets_of_every_kind_are_ways_in() -> Result<()> {
    let site = Site::fresh()?;
    let well = |agent: &Agent<'_>, what: &str| {
        let answer = knowing(agent).gives("monitor", 0);
        let reason = answer.stderr().contains("ocf-exit-reason");
        assert!(!reason, "{what}: {answer}");
    };
    let other = "/var/lib/pgsql/sockets";
    for (settings, params) in [
        ("unix_socket_directories = '@contract'", &[][..]),
        (
            "unix_socket_directories = '@contract, /run/postgresql'",
            &[],
        ),
        // In the server's working directory, which is not the agent's.
        ("unix_socket_directories = '.'", &[]),
        ("", &[("socketdir", "@contract")][..]),
        ("", &[("pghost", "@contract")]),
        (
            "",
            &[("socketdir", "/run/postgresql, /var/lib/pgsql/sockets")],
        ),
    ] {
        site.restore(site.host())?;
        // No other way is left.
        site.configure(&format!("listen_addresses = ''\n{settings}"))?;
        let agent = site.agent().params(params);
        let what = format!("{settings:?} {params:?}");
        agent.gives("validate-all", 0);
        agent.gives("start", 0);
        let pid = postmaster(&site);
        well(&agent, &what);
        agent.gives("start", 0);
        assert_eq!(postmaster(&site), pid, "{what}");
        agent.gives("stop", 0);
    }
    // Each of the list is made, and used.
    site.configure("listen_addresses = ''")?;
    let agent = site
        .agent()
        .param("socketdir", &format!("{SOCKET},{other}"));
    agent.gives("start", 0);
    for dir in [SOCKET, other] {
        assert_eq!(site.postgres().psql(dir, 5432, "select 1")?, "1");
    }
    agent.gives("stop", 0);
    for wrong in [
        "relative",
        "/run/postgresql,relative",
        "@",
        "/run/postgresql,",
    ] {
        let agent = site.agent().param("socketdir", wrong);
        agent.gives("start", 6).says(&["socketdir"]);
    }
    Ok(())
}

/// `pghost` is the address of a pooler in front of this server. The session that it gives is one that it had before, and lives on while the
/// server takes nobody on.
pub(crate) fn a_poolers_session_is_not_the_agents_own() -> Result<()> {
    const DIR: &str = "/var/lib/contract-pooler";
    let site = Site::fresh()?;
    let pooler = site.sh("command -v pgbouncer || :")?;
    if pooler.trim().is_empty() {
        return Err(lab::Error::LeftOut("there is no pgbouncer here".into()));
    }
    site.configure("listen_addresses = '127.0.0.1'")?;
    let agent = site.agent();
    let through = agent.clone().param("pghost", "127.0.0.2");
    for (ignored, says) in [
        ("extra_float_digits", "unsupported startup parameter"),
        ("extra_float_digits, options", "pooler"),
    ] {
        agent.gives("start", 0);
        let pid = postmaster(&site);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port=5432 user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.2\nlisten_port = 5432\n\
             unix_socket_dir =\nauth_type = any\npool_mode = session\nignore_startup_parameters = {ignored}\nlogfile = {DIR}/log\n"
        );
        site.sh(&format!("install -d -o postgres {DIR}"))?;
        let file = format!("{DIR}/pgbouncer.ini");
        site.host().write_file(&file, settings, "postgres", "600")?;
        let argv = ["runuser", "-u", "postgres", "--", pooler.trim(), &file];
        let running = site.host().spawn("pgbouncer", &argv)?;
        site.lab().eventually("the pooler serves", SOON, |_| {
            let asked = site.postgres().psql("127.0.0.2", 5432, "select 1");
            asked.map(drop).map_err(|error| error.to_string())
        })?;
        for _ in 0..2 {
            knowing(&through).gives("monitor", 190).says(&[says]);
        }
        // The agent's own limits hold.
        let slow = knowing(&through).param("monitor_sql", "select pg_sleep(60)");
        slow.gives("monitor", 190);
        through.gives("start", 0);
        assert_eq!(postmaster(&site), pid);
        site.postgres().signal("STOP")?;
        through.gives("monitor", 1).says(&["stopped by a signal"]);
        site.postgres().signal("CONT")?;
        agent.gives("monitor", 0);
        drop(running);
        agent.gives("stop", 0);
    }
    Ok(())
}
