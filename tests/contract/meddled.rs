//! What is taken away from under a server that runs.

use lab::Result;

use crate::field::postmaster;
use crate::site::{DATA, Site, TMPDIR};

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
