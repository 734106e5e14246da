//! What `expgsql setup check` sees of a node's server.

use lab::Result;
use serde_json::{Value, json};

use crate::site::{AGENT, DATA, Site};

/// The server counts, and not its file alone: what it is started with, and what a role has instead.
pub(crate) fn a_check_sees_what_a_server_is_started_with_and_what_its_roles_have() -> Result<()> {
    let site = Site::fresh()?;
    site.postgres().start()?;
    site.postgres().sql("create role batch")?;
    site.postgres()
        .sql("alter role batch set synchronous_commit = off")?;
    let program = site.lab().layout().program("pg_ctl");
    let request = json!({
        "node": "node1",
        "resource": "pgsql",
        "program": AGENT,
        "params": [
            ["pgctl", program],
            ["pgdata", DATA],
            ["start_opt", "-c wal_receiver_timeout=0 -c max_standby_archive_delay=-1"],
        ],
        "passwords": {"replication": null, "lock": null},
        "others": [],
        "addresses": [],
        // Of no network of the lab, and its own.
        "gateways": ["203.0.113.1", "127.0.0.1"],
        "ping": "/nosuch/ping",
    });
    let output = site
        .host()
        .command(&[AGENT, "setup", "probe"])?
        .input(request.to_string())
        .run()?
        .ok()?;
    let facts: Value = serde_json::from_str(&output).expect("it is JSON");
    let known = |name: &str| facts["settings"]["Known"][name].as_str().map(str::to_owned);
    for (name, value) in [
        ("wal_receiver_timeout", "0"),
        ("max_standby_archive_delay", "-1"),
        ("max_standby_streaming_delay", "30000"),
    ] {
        assert_eq!(known(name).as_deref(), Some(value), "{name}: {facts:#}");
    }
    assert!(known("wal_receiver_status_interval").is_some(), "{facts:#}");
    let oid = site.postgres().sql("select 'batch'::regrole::oid")?;
    let weak = facts["weak"].as_str().unwrap_or_default();
    assert!(weak.contains(&format!("{oid} 0 off")), "{facts:#}");
    assert_eq!(facts["silent"], json!(["203.0.113.1"]), "{facts:#}");
    assert_eq!(facts["lacks_ping"], json!(true));
    Ok(())
}
