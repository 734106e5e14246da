//! What is refused, with which code and words, and that it leaves no trace.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lab::{Error, Result};

use crate::site::{CONFIG, DATA, Site, TMPDIR};

/// Something that is wrong.
struct Case {
    what: &'static str,
    params: &'static [(&'static str, &'static str)],
    /// Shell lines that make the host so.
    prepare: &'static str,
    code: i32,
    /// In the part of the reason that Pacemaker shows: what is wrong, and what to do about it.
    says: &'static [&'static str],
}

const fn parameters(
    what: &'static str,
    params: &'static [(&'static str, &'static str)],
    says: &'static [&'static str],
) -> Case {
    Case {
        what,
        params,
        prepare: "",
        code: 6,
        says,
    }
}

/// In all of them the rest is that of a follower, so that rep_mode need not be said.
const PARAMETERS: &[Case] = &[
    parameters(
        "a port that is no number",
        &[("pgport", "nonsense")],
        &["pgport", "port number", "set another"],
    ),
    parameters(
        "a port out of range",
        &[("pgport", "70000")],
        &["pgport", "65535"],
    ),
    parameters(
        "a boolean that is none",
        &[("check_wal_receiver", "ture")],
        &["check_wal_receiver", "true or false"],
    ),
    parameters(
        "a negative number",
        &[("stop_escalate", "-1")],
        &["stop_escalate", "seconds such as 90"],
    ),
    parameters(
        "a time with the wrong unit",
        &[("stop_escalate_in_slave", "2m")],
        &["stop_escalate_in_slave", "seconds"],
    ),
    parameters(
        "no time at all",
        &[("query_timeout", "0")],
        &["query_timeout", "at least 1"],
    ),
    parameters(
        "no time for the cluster",
        &[("crm_attr_timeout", "0s")],
        &["crm_attr_timeout", "at least 1"],
    ),
    parameters(
        "a count that is none",
        &[("xlog_check_count", "few")],
        &["xlog_check_count", "number such as 3"],
    ),
    parameters(
        "an unknown mode",
        &[("rep_mode", "master")],
        &["rep_mode", "none, slave, async, sync"],
    ),
    parameters(
        "bytes that are none",
        &[("maxlag", "16 files")],
        &["maxlag", "16MB"],
    ),
    parameters(
        "a relative path",
        &[("tmpdir", "tmp")],
        &["tmpdir", "absolute path"],
    ),
    parameters(
        "a relative data directory",
        &[("pgdata", "data")],
        &["pgdata", "absolute path"],
    ),
    parameters(
        "a list with commas",
        &[("node_list", "a,b")],
        &["node_list", "separated by spaces"],
    ),
    parameters(
        "a quote that is never closed",
        &[("start_opt", "-c 'x")],
        &["start_opt", "quote"],
    ),
    parameters(
        "the same for pg_ctl",
        &[("ctl_opt", "\"")],
        &["ctl_opt", "quote"],
    ),
    parameters(
        "restart_on_promote=maybe",
        &[("restart_on_promote", "maybe")],
        &["restart_on_promote", "true or false"],
    ),
    parameters(
        "no address of the primary",
        &[("master_ip", "")],
        &["rep_mode=slave", "master_ip", "set"],
    ),
    parameters(
        "a slot with capitals",
        &[("replication_slot_name", "Slot")],
        &["replication_slot_name", "a-z"],
    ),
    parameters(
        "a slot with a dash",
        &[("replication_slot_name", "my-slot")],
        &["replication_slot_name", "a-z"],
    ),
    parameters(
        "external standbys that nobody waits for",
        &[("external_standby_node_list", "far")],
        &["external_standby_node_list", "rep_mode=sync"],
    ),
    parameters(
        "an order of standbys that nobody waits for",
        &[("sync_node_list", "far")],
        &["sync_node_list", "rep_mode=sync"],
    ),
    parameters(
        "nodes that are never promoted where nobody is",
        &[("nofailover_node_list", "far")],
        &["nofailover_node_list", "rep_mode=sync or async"],
    ),
    parameters(
        "a password of nobody",
        &[("monitor_password", "x")],
        &["monitor_password", "monitor_user"],
    ),
    parameters(
        "a lock service that is not named",
        &[("enable_distlock", "true")],
        &["enable_distlock", "set distlock_conninfo"],
    ),
    parameters(
        "a lock service named wrongly",
        &[
            ("enable_distlock", "true"),
            ("distlock_conninfo", "host=h user=u pasword=zq7x"),
        ],
        &["distlock_conninfo", "\"pasword\" is no keyword"],
    ),
    parameters(
        "half of the lock commands",
        &[("enable_distlock", "true"), ("distlock_lock_cmd", "x")],
        &["distlock_unlock_cmd", "set both"],
    ),
    parameters(
        "strict and unsafe",
        &[("sync_strict", "1"), ("unsafe_relax", "1")],
        &["sync_strict", "unsafe_relax", "unset one"],
    ),
    parameters(
        "a promotable mode on a plain resource",
        &[("rep_mode", "sync")],
        &["rep_mode=sync", "promotable"],
    ),
    parameters(
        "a plain mode on a promotable clone",
        &[("CRM_meta_promoted_max", "1"), ("CRM_meta_clone_max", "2")],
        &["rep_mode=slave", "promotable clone"],
    ),
    parameters(
        "two primaries",
        &[
            ("rep_mode", "async"),
            ("CRM_meta_promoted_max", "2"),
            ("CRM_meta_clone_max", "3"),
        ],
        &["promoted-max=2", "set promoted-max=1"],
    ),
    parameters(
        "a setting of the agent's in start_opt",
        &[("start_opt", "-c synchronous_standby_names=x")],
        &["start_opt", "synchronous_standby_names", "remove"],
    ),
    parameters(
        "the same, spelled differently",
        &[("start_opt", "-c work_mem=1MB --primary-conninfo=x")],
        &["start_opt", "primary_conninfo", "remove"],
    ),
];

const MACHINE: &[Case] = &[
    Case {
        what: "no pg_ctl",
        params: &[("pgctl", "/usr/bin/no_such")],
        prepare: "",
        code: 5,
        says: &["pgctl=/usr/bin/no_such", "/usr/lib/postgresql"],
    },
    Case {
        what: "a pg_ctl that is a directory",
        params: &[("pgctl", "/usr/bin")],
        prepare: "",
        code: 5,
        says: &["pgctl=/usr/bin", "/usr/lib/postgresql"],
    },
    Case {
        what: "a pg_ctl that is another program",
        params: &[("pgctl", "/bin/true")],
        prepare: "",
        code: 5,
        says: &["pgctl=/bin/true", "correct"],
    },
    Case {
        what: "no such account",
        params: &[("pgdba", "no_user")],
        prepare: "",
        code: 5,
        says: &["pgdba", "no_user", "create it"],
    },
    Case {
        what: "no data directory",
        params: &[],
        prepare: "mv /var/lib/pgsql/data /var/lib/pgsql/elsewhere",
        code: 5,
        says: &["pgdata=/var/lib/pgsql/data", "initdb"],
    },
    Case {
        what: "a file in place of the data directory",
        params: &[("pgdata", "/etc/passwd")],
        prepare: "",
        code: 5,
        says: &["pgdata=/etc/passwd", "not a directory"],
    },
    Case {
        what: "an empty data directory",
        params: &[("pgdata", "/var/lib/contract")],
        prepare: "install -d -o postgres -m 700 /var/lib/contract",
        code: 5,
        says: &["pgdata=/var/lib/contract", "PG_VERSION", "initdb"],
    },
    Case {
        what: "a data directory of root's",
        params: &[],
        prepare: "chown root /var/lib/pgsql/data",
        code: 4,
        says: &["pgdata=/var/lib/pgsql/data", "belongs to", "chown"],
    },
    Case {
        what: "another owner",
        params: &[("pgdba", "nobody")],
        prepare: "",
        code: 4,
        says: &["pgdata=/var/lib/pgsql/data", "belongs to", "pgdba"],
    },
    Case {
        what: "a data directory that is open to all",
        params: &[],
        prepare: "chmod 755 /var/lib/pgsql/data",
        code: 4,
        says: &["pgdata=/var/lib/pgsql/data", "755", "chmod 700"],
    },
    Case {
        what: "a version that is too old",
        params: &[],
        prepare: "echo 11 >/var/lib/pgsql/data/PG_VERSION",
        code: 5,
        says: &["PostgreSQL 11", "12 or newer", "pg_upgrade"],
    },
    Case {
        what: "a version with two numbers",
        params: &[],
        prepare: "echo 9.6 >/var/lib/pgsql/data/PG_VERSION",
        code: 5,
        says: &["PostgreSQL 9;", "12 or newer", "pg_upgrade"],
    },
    Case {
        what: "data and programs of two versions",
        params: &[],
        prepare: "echo 99 >/var/lib/pgsql/data/PG_VERSION",
        code: 5,
        says: &["99", "correct"],
    },
    Case {
        what: "a damaged PG_VERSION",
        params: &[],
        prepare: ": >/var/lib/pgsql/data/PG_VERSION",
        code: 5,
        says: &["pgdata=/var/lib/pgsql/data", "PG_VERSION", "restore"],
    },
    Case {
        what: "no configuration",
        params: &[],
        prepare: "rm /var/lib/pgsql/data/postgresql.conf",
        code: 5,
        says: &[
            "config=/var/lib/pgsql/data/postgresql.conf",
            "does not exist",
            "/etc/postgresql",
        ],
    },
    Case {
        what: "a configuration that only root can read",
        params: &[],
        prepare: "chown root:root /var/lib/pgsql/data/postgresql.conf; chmod 640 /var/lib/pgsql/data/postgresql.conf",
        code: 4,
        says: &["/var/lib/pgsql/data/postgresql.conf", "postgres", "chown"],
    },
    Case {
        what: "a tmpdir of root's",
        params: &[],
        prepare: "chown root /var/lib/pgsql/tmp",
        code: 4,
        says: &["tmpdir=/var/lib/pgsql/tmp", "belongs to", "chown"],
    },
    Case {
        what: "a tmpdir that is a file",
        params: &[],
        prepare: "rmdir /var/lib/pgsql/tmp; touch /var/lib/pgsql/tmp",
        code: 4,
        says: &[
            "tmpdir=/var/lib/pgsql/tmp",
            "not a directory",
            "name another",
        ],
    },
    Case {
        what: "a tmpdir without write permission",
        params: &[],
        prepare: "chmod 500 /var/lib/pgsql/tmp",
        code: 4,
        says: &["tmpdir=/var/lib/pgsql/tmp", "chmod 700"],
    },
    Case {
        what: "a tmpdir on a read-only file system",
        params: &[],
        prepare: "mount -t tmpfs -o ro,mode=700,uid=$(id -u postgres) tmpfs /var/lib/pgsql/tmp",
        code: 4,
        says: &["tmpdir=/var/lib/pgsql/tmp", "read-only file system"],
    },
    Case {
        what: "a tmpdir that can't be made",
        params: &[("tmpdir", "/var/lib/pgsql/readonly/a/b")],
        prepare: "mkdir /var/lib/pgsql/readonly; mount -t tmpfs -o ro tmpfs /var/lib/pgsql/readonly",
        code: 4,
        says: &[
            "tmpdir=/var/lib/pgsql/readonly/a/b",
            "/var/lib/pgsql/readonly is",
            "name another",
        ],
    },
    Case {
        what: "a log that is not writable",
        params: &[("logfile", "/var/lib/contract/log")],
        prepare: "mkdir -p /var/lib/contract; touch /var/lib/contract/log",
        code: 4,
        says: &["logfile=/var/lib/contract/log", "chown"],
    },
    Case {
        what: "a log in no directory",
        params: &[("logfile", "/var/lib/contract/log")],
        prepare: "",
        code: 4,
        says: &["logfile=/var/lib/contract/log", "create"],
    },
    Case {
        what: "a log that is a directory",
        params: &[("logfile", "/var/lib")],
        prepare: "",
        code: 4,
        says: &["logfile=/var/lib", "a file"],
    },
    Case {
        what: "a socket directory of another's",
        params: &[("socketdir", "/var/lib/contract")],
        prepare: "mkdir -p /var/lib/contract",
        code: 4,
        says: &["socketdir=/var/lib/contract", "not writable", "chown"],
    },
    Case {
        what: "no password file",
        params: &[("passfile", "/var/lib/no_such")],
        prepare: "",
        code: 5,
        says: &["passfile=/var/lib/no_such", "create it"],
    },
    Case {
        what: "a password that everyone can read",
        params: &[("passfile", "/var/lib/contract")],
        prepare: "install -o postgres -m 644 /dev/null /var/lib/contract",
        code: 4,
        says: &["passfile=/var/lib/contract", "644", "chmod 600"],
    },
    Case {
        what: "a password that the group can read",
        params: &[("passfile", "/var/lib/contract")],
        prepare: "install -o postgres -m 640 /dev/null /var/lib/contract",
        code: 4,
        says: &["passfile=/var/lib/contract", "640", "chmod 600"],
    },
    Case {
        what: "a password that the owner can't read",
        params: &[("passfile", "/var/lib/contract")],
        prepare: "install -m 600 /dev/null /var/lib/contract",
        code: 4,
        says: &["passfile=/var/lib/contract", "chown"],
    },
];

const fn contradiction(
    what: &'static str,
    prepare: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        what,
        params: &[],
        prepare,
        code: 5,
        says,
    }
}

/// An instance that may become the primary.
const PROMOTABLE: &[(&str, &str)] = &[
    ("rep_mode", "async"),
    ("CRM_meta_clone_max", "2"),
    ("CRM_meta_promoted_max", "1"),
    ("CRM_meta_notify", "true"),
];

const CONTRADICTIONS: &[Case] = &[
    contradiction(
        "synchronous_standby_names in the configuration",
        "echo \"synchronous_standby_names = '*'\" >>/var/lib/pgsql/data/postgresql.conf",
        &[
            "synchronous_standby_names",
            "/var/lib/pgsql/data/postgresql.conf line",
            "remove",
        ],
    ),
    contradiction(
        "the same in capitals and without quotes",
        "echo 'Synchronous_Standby_Names node2' >>/var/lib/pgsql/data/postgresql.conf",
        &[
            "synchronous_standby_names",
            "postgresql.conf line",
            "remove",
        ],
    ),
    contradiction(
        "primary_conninfo in the configuration",
        "echo \"primary_conninfo = 'host=x'\" >>/var/lib/pgsql/data/postgresql.conf",
        &["primary_conninfo", "postgresql.conf line", "remove"],
    ),
    contradiction(
        "synchronous_standby_names in an included file",
        "cd /var/lib/pgsql/data; echo \"include 'more.conf'\" >>postgresql.conf; printf \"# more\\nsynchronous_standby_names = 'a'\\n\" >more.conf; chown postgres more.conf",
        &[
            "synchronous_standby_names",
            "/var/lib/pgsql/data/more.conf line 2",
            "remove",
        ],
    ),
    contradiction(
        "primary_conninfo in an included directory",
        "cd /var/lib/pgsql/data; echo \"include_dir 'conf.d'\" >>postgresql.conf; mkdir conf.d; echo \"primary_conninfo = 'a'\" >conf.d/x.conf; chown -R postgres conf.d",
        &[
            "primary_conninfo",
            "/var/lib/pgsql/data/conf.d/x.conf line 1",
            "remove",
        ],
    ),
    contradiction(
        "ALTER SYSTEM SET synchronous_standby_names",
        "echo \"synchronous_standby_names = ''\" >>/var/lib/pgsql/data/postgresql.auto.conf",
        &[
            "synchronous_standby_names",
            "postgresql.auto.conf line",
            "ALTER SYSTEM RESET",
        ],
    ),
    contradiction(
        "what pg_basebackup -R leaves",
        "echo \"primary_conninfo = 'user=repl host=x'\" >>/var/lib/pgsql/data/postgresql.auto.conf",
        &[
            "primary_conninfo",
            "postgresql.auto.conf line",
            "ALTER SYSTEM RESET",
        ],
    ),
    contradiction(
        "primary_slot_name by ALTER SYSTEM",
        "echo \"primary_slot_name = 'x'\" >>/var/lib/pgsql/data/postgresql.auto.conf",
        &[
            "primary_slot_name",
            "postgresql.auto.conf line",
            "ALTER SYSTEM RESET",
        ],
    ),
    contradiction(
        "hot_standby off",
        "echo 'hot_standby = off' >>/var/lib/pgsql/data/postgresql.conf",
        &["hot_standby", "postgresql.conf line", "on"],
    ),
    contradiction(
        "hot_standby off by ALTER SYSTEM",
        "echo \"hot_standby = 'off'\" >>/var/lib/pgsql/data/postgresql.auto.conf",
        &["hot_standby", "postgresql.auto.conf line", "on"],
    ),
    contradiction(
        "hot_standby off in as few letters as the server takes",
        "echo 'hot_standby = F' >>/var/lib/pgsql/data/postgresql.conf",
        &["hot_standby", "postgresql.conf line", "on"],
    ),
    contradiction(
        "the same with two",
        "echo \"hot_standby = 'of'\" >>/var/lib/pgsql/data/postgresql.conf",
        &["hot_standby", "postgresql.conf line", "on"],
    ),
    Case {
        what: "hot_standby off among the server's options",
        params: &[("start_opt", "-c hot_standby=n")],
        prepare: "",
        code: 6,
        says: &["hot_standby", "start_opt", "on"],
    },
    Case {
        what: "wal_level minimal among the server's options",
        params: &[("start_opt", "--wal-level=minimal")],
        prepare: "",
        code: 6,
        says: &["wal_level", "start_opt", "replica"],
    },
    contradiction(
        "wal_level minimal",
        "echo 'wal_level = minimal' >>/var/lib/pgsql/data/postgresql.conf",
        &["wal_level", "postgresql.conf line", "replica"],
    ),
    Case {
        what: "a node that nobody else could reach as a primary",
        params: PROMOTABLE,
        prepare: "echo \"listen_addresses = 'localhost, 127.0.0.1'\" >>/var/lib/pgsql/data/postgresql.conf",
        code: 5,
        says: &["listen_addresses", "postgresql.conf line", "pghost"],
    },
    Case {
        what: "another configuration among the server's options",
        params: &[
            ("rep_mode", "slave"),
            ("master_ip", "192.0.2.1"),
            ("start_opt", "-c config_file=/var/lib/contract/other.conf"),
        ],
        prepare: "mkdir /var/lib/contract; cp -p /var/lib/pgsql/data/postgresql.conf /var/lib/contract/other.conf",
        code: 6,
        says: &["config_file", "start_opt", "config"],
    },
    Case {
        what: "another data directory among the server's options",
        params: &[("start_opt", "-D /var/lib/contract/data")],
        prepare: "mkdir /var/lib/contract; cp -a /var/lib/pgsql/data /var/lib/contract/",
        code: 6,
        says: &["-D", "start_opt", "pgdata"],
    },
    Case {
        what: "one that PostgreSQL's default lets nobody else reach",
        params: PROMOTABLE,
        prepare: "sed -i /^listen_addresses/d /var/lib/pgsql/data/*.conf",
        code: 5,
        says: &["listen_addresses", "default", "pghost"],
    },
    Case {
        what: "another name than the node's for a standby that commits may wait for",
        params: &[
            PROMOTABLE[0],
            PROMOTABLE[1],
            PROMOTABLE[2],
            PROMOTABLE[3],
            ("primary_conninfo_opt", "application_name=other"),
        ],
        prepare: "",
        code: 6,
        says: &["application_name", "primary_conninfo_opt", "node1"],
    },
    Case {
        what: "a tmpdir that goes with the data",
        params: &[
            PROMOTABLE[0],
            PROMOTABLE[1],
            PROMOTABLE[2],
            PROMOTABLE[3],
            ("tmpdir", "/var/lib/contract/link/own"),
        ],
        prepare: "mkdir /var/lib/contract; ln -s /var/lib/pgsql/data /var/lib/contract/link",
        code: 5,
        says: &["tmpdir", "data directory"],
    },
    Case {
        what: "sockets alone",
        params: PROMOTABLE,
        prepare: "echo \"listen_addresses = ''\" >>/var/lib/pgsql/data/postgresql.auto.conf",
        code: 5,
        says: &["listen_addresses", "postgresql.auto.conf line", "pghost"],
    },
    Case {
        what: "the same among the server's options",
        params: &[
            PROMOTABLE[0],
            PROMOTABLE[1],
            PROMOTABLE[2],
            PROMOTABLE[3],
            ("start_opt", "-c listen_addresses=::1"),
        ],
        prepare: "",
        code: 6,
        says: &["listen_addresses", "start_opt", "pghost"],
    },
    Case {
        what: "no standby can stream from it",
        params: PROMOTABLE,
        prepare: "echo 'max_wal_senders = 0' >>/var/lib/pgsql/data/postgresql.conf",
        code: 5,
        says: &["max_wal_senders", "postgresql.conf line", "10"],
    },
    contradiction(
        "an included file that is not there",
        "echo \"include 'absent.conf'\" >>/var/lib/pgsql/data/postgresql.conf",
        &["/var/lib/pgsql/data/absent.conf", "include"],
    ),
    contradiction(
        "a line that is none",
        "echo \"work_mem = '4MB\" >>/var/lib/pgsql/data/postgresql.conf",
        &[
            "/var/lib/pgsql/data/postgresql.conf line",
            "is not understood",
            "correct",
        ],
    ),
    contradiction(
        "another data directory",
        "echo \"data_directory = '/var/lib/pgsql/other'\" >>/var/lib/pgsql/data/postgresql.conf",
        &["data_directory", "/var/lib/pgsql/other", "pgdata"],
    ),
];

/// `start` and a full validation refuse; nothing is found, and there is nothing to stop.
fn refuses_without_a_trace(site: &Site, case: &Case) -> Result<()> {
    site.sh(case.prepare)?;
    let what = case.what;
    println!("  {what}");
    let agent = site.follower().params(case.params);
    let before = site.snapshot()?;
    for (action, agent) in [
        ("start", agent.clone().once()),
        ("validate-all", agent.clone().var("OCF_CHECK_LEVEL", "10")),
    ] {
        let answer = agent.call(action)?;
        assert_eq!(answer.code(), case.code, "{what}: {action}: {answer}");
        answer.says(case.says);
    }
    for (action, agent, code) in [
        ("monitor", agent.clone(), 7),
        ("monitor", agent.clone().once(), 7),
        ("stop", agent.once(), 0),
    ] {
        let answer = agent.call(action)?;
        assert_eq!(answer.code(), code, "{what}: {action}: {answer}");
    }
    before.assert_same(&site.snapshot()?, what);
    assert_eq!(site.server_processes()?, "", "{what}: a server runs");
    Ok(())
}

/// Tries all of them, also after one has failed: a change of wording concerns many.
fn each_is_refused(cases: &[Case]) -> Result<()> {
    let site = Site::fresh()?;
    let passes = |case: &&Case| {
        let outcome = catch_unwind(AssertUnwindSafe(|| refuses_without_a_trace(&site, case)));
        if !case.prepare.is_empty() || outcome.is_err() {
            site.restore(site.host())?;
        }
        // The panic hook has printed what was wrong.
        outcome.unwrap_or_else(|_| Err(Error::Other("see above".to_owned())))
    };
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| passes(&case).err().map(|e| format!("{}: {e}", case.what)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

pub(crate) fn unusable_parameters_are_refused_without_a_trace() -> Result<()> {
    each_is_refused(PARAMETERS)
}

pub(crate) fn an_unusable_machine_is_refused_without_a_trace() -> Result<()> {
    each_is_refused(MACHINE)
}

pub(crate) fn a_configuration_that_contradicts_the_agent_is_refused_without_a_trace() -> Result<()>
{
    each_is_refused(CONTRADICTIONS)
}

/// What is refused at a start must not end what runs.
pub(crate) fn a_typing_error_does_not_take_down_a_running_server() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent();
    agent.gives("start", 0);
    let pid = site.postgres().postmaster();
    for (name, value) in [
        ("stop_escalate", "soon"),
        ("check_wal_receiver", "ture"),
        ("replication_slot_name", "No"),
    ] {
        let confused = agent.clone().param(name, value);
        // 190: running, and somebody should look. Pacemaker recovers nothing.
        confused.gives("monitor", 190).says(&[name]);
        confused.clone().once().gives("monitor", 0);
        confused.gives("reload-agent", 0);
        confused.gives("start", 6).says(&[name]);
        assert_eq!(site.postgres().postmaster(), pid, "{name}: it runs on");
    }
    // A machine that became unusable meanwhile is no reason either.
    site.sh(&format!("mv {CONFIG} {CONFIG}.away"))?;
    agent.gives("monitor", 0);
    agent
        .clone()
        .param("pgctl", "/no/such")
        .param("stop_escalate", "soon")
        .gives("stop", 0);
    assert_eq!(site.server_processes()?, "");
    Ok(())
}

/// async and sync need a cluster to say who is primary.
pub(crate) fn replication_without_pacemaker_fails_and_says_so() -> Result<()> {
    let site = Site::fresh()?;
    for mode in ["async", "sync"] {
        let agent = site.follower().param("rep_mode", mode).promotable();
        let before = site.snapshot()?;
        agent
            .clone()
            .once()
            .gives("start", 1)
            .says(&["Pacemaker does not run", "start the cluster"]);
        agent.clone().once().gives("promote", 1);
        agent.gives("monitor", 7);
        agent.clone().once().gives("monitor", 7);
        agent.gives("notify", 0);
        agent.clone().once().gives("stop", 0);
        agent.var("OCF_CHECK_LEVEL", "10").gives("validate-all", 0);
        before.assert_same(&site.snapshot()?, mode);
        assert_eq!(site.server_processes()?, "", "{DATA} {TMPDIR}");
    }
    Ok(())
}
