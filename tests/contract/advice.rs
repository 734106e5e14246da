//! What validate-all says of a machine that works, and would not when it matters.

use lab::Result;

use crate::site::{DATA, Site};

/// A synchronous node, as a full validation sees it.
fn validates(site: &Site, params: &[(&str, &str)], code: i32) -> crate::site::Answer {
    let agent = site.follower().param("rep_mode", "sync").promotable();
    let agent = agent.params(params).var("OCF_CHECK_LEVEL", "10");
    agent.gives("validate-all", code)
}

pub(crate) fn what_a_rewind_needs_is_missed_before_it_is_needed() -> Result<()> {
    let site = Site::fresh()?;
    let config = format!("{DATA}/postgresql.conf");
    // With checksums, which are 18's default, nothing else is needed. Refused where there are none.
    site.postgres()
        .program("pg_checksums", &["--disable", "-D", DATA])?;
    site.sh(&format!("sed -i '/wal_log_hints/d' {config}"))?;
    start_and_stop(&site);
    for policy in ["rewind", "rewind_or_rebuild"] {
        validates(&site, &[("on_divergence", policy)], 5).says(&[
            &format!("on_divergence={policy}"),
            "wal_log_hints=on",
            "on_divergence=rebuild",
        ]);
    }
    for policy in ["stop", "rebuild"] {
        validates(&site, &[("on_divergence", policy)], 0);
    }
    // The advice, followed.
    site.sh(&format!("echo 'wal_log_hints = on' >>{config}"))?;
    start_and_stop(&site);
    validates(&site, &[("on_divergence", "rewind")], 0);
    Ok(())
}

/// The control file has a setting once a server has run with it.
fn start_and_stop(site: &Site) {
    let agent = site.agent();
    agent.gives("start", 0);
    agent.once().gives("stop", 0);
}

pub(crate) fn a_slot_without_a_limit_is_warned_of() -> Result<()> {
    const LIMIT: &str = "max_slot_wal_keep_size";
    let site = Site::fresh()?;
    let slots = [("replication_slot_name", "slot")];
    let warns = |params: &[(&str, &str)]| validates(&site, params, 0).stderr().contains(LIMIT);
    assert!(warns(&slots));
    assert!(!warns(&[]), "there are no slots");
    site.configure("max_slot_wal_keep_size = 1GB")?;
    assert!(!warns(&slots), "it is set");
    Ok(())
}

/// PostgreSQL 12 can't stop receiving without a restart. It is at hand nowhere: a program and data that say so have to do.
pub(crate) fn quorum_commit_is_refused_with_postgresql_12() -> Result<()> {
    let site = Site::fresh()?;
    let program = "/var/lib/contract/pg_ctl";
    site.sh(&format!(
        "install -d /var/lib/contract && echo 12 >{DATA}/PG_VERSION"
    ))?;
    let says = "#!/bin/sh\necho 'pg_ctl (PostgreSQL) 12.22'\n";
    site.host().write_file(program, says, "root", "755")?;
    let with = |method| [("pgctl", program), ("sync_method", method)];
    validates(&site, &with("priority"), 0);
    validates(&site, &with("quorum"), 5).says(&[
        "sync_method=quorum",
        "PostgreSQL 13",
        "use sync_method=priority",
    ]);
    Ok(())
}
