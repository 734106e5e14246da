//! An archive that fails when it is needed least: the primary is gone, and this standby is to be promoted.

use lab::Result;

use crate::field::postmaster;
use crate::site::{DATA, LOG, SOCKET, SOON, Site};

const USER: &str = lab::postgres::REPLICATION_USER;
/// The archive fails from when on this is there.
const BROKEN: &str = "/var/lib/pgsql/archive-is-broken";
/// What the command writes where it was run with that.
const ASKED: &str = "/var/lib/pgsql/archive-was-asked";

/// `pg_ctl promote`, until the server has become a primary. Each time before it is asked, `meanwhile` is done.
fn promoted(site: &Site, meanwhile: impl Fn() -> Result<String>) -> Result<()> {
    let pid = postmaster(site);
    let pg_ctl = site.lab().layout().program("pg_ctl");
    let argv = [pg_ctl.as_str(), "promote", "-W", "-s", "-D", DATA];
    site.host().as_user("postgres", &argv)?.run()?.ok()?;
    site.lab().eventually("it is a primary", SOON, |_| {
        meanwhile().map_err(|error| error.to_string())?;
        match site.postgres().sql("select pg_is_in_recovery()") {
            Ok(answer) if answer == "f" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    assert_eq!(postmaster(site), pid);
    Ok(())
}

/// For PostgreSQL an exit code of more than 125 is no failure of the archive, but one of the machine: it ends the server.
pub(crate) fn a_command_that_fails_as_none_should_ends_no_server() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site
        .follower()
        .param(
            "restore_command",
            &format!(
                "if test -e {BROKEN}; then echo 'asked for \"%f\"' >>{ASKED}; exit 255; fi; exit 1 # at most"
            ),
        )
        .param("recovery_end_command", &format!("echo end >>{ASKED}; exit 254"));
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    let pid = postmaster(&site);
    site.sh(&format!("touch {BROKEN}"))?;
    site.primary().stop()?;
    let asked = |times: usize| {
        site.lab().eventually("the archive is asked", SOON, |_| {
            let lines = site.sh(&format!("cat {ASKED}")).unwrap_or_default();
            let is_enough = lines.lines().count() >= times;
            is_enough.then_some(lines.clone()).ok_or(lines)
        })
    };
    asked(3)?;
    agent.gives("monitor", 0);
    assert_eq!(postmaster(&site), pid);
    // Nor keeps it one from starting.
    agent.gives("stop", 0);
    agent.gives("start", 0);
    let now = asked(4)?;
    assert!(now.contains("asked for \"0000"), "{now}");
    promoted(&site, || Ok(String::new()))?;
    assert!(asked(5)?.lines().any(|line| line == "end"));
    agent.gives("stop", 0);
    Ok(())
}

/// A promotion asks for the next timeline's history, and waits for the answer. The agent ends what does not come to its end, by SIGTERM;
/// for PostgreSQL a command that dies of that is a server that shuts down.
pub(crate) fn a_command_that_is_ended_is_a_file_that_is_not_there() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let hang = format!("echo $$ >{ASKED}; sleep 600");
    let agent = site
        .follower()
        .param(
            "restore_command",
            &format!("if test -e {BROKEN}; then {hang}; fi; exit 1"),
        )
        .param("recovery_end_command", &hang);
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    site.sh(&format!("touch {BROKEN}"))?;
    site.primary().stop()?;
    site.lab().eventually("the archive is asked", SOON, |_| {
        let asked = site.sh(&format!("cat {ASKED}"));
        asked.map(drop).map_err(|error| error.to_string())
    })?;
    promoted(&site, || {
        site.sh(&format!("kill -TERM $(cat {ASKED}) 2>/dev/null || :"))
    })?;
    agent.gives("stop", 0);
    Ok(())
}

/// A promotion was asked for, and its action was ended, while the archive does not answer: once it does, the server would become a primary that
/// nobody knows of. A demotion leaves nothing that may.
pub(crate) fn a_demotion_outruns_a_promotion_that_waits_for_the_archive() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let hang = format!("if test -e {BROKEN}; then echo $$ >{ASKED}; sleep 600; fi; exit 1");
    let agent = site.follower().param("restore_command", &hang);
    agent.gives("start", 0);
    site.wait_streaming(USER)?;
    site.sh(&format!("touch {BROKEN}"))?;
    site.primary().stop()?;
    site.lab().eventually("the archive is asked", SOON, |_| {
        let asked = site.sh(&format!("cat {ASKED}"));
        asked.map(drop).map_err(|error| error.to_string())
    })?;
    let pg_ctl = site.lab().layout().program("pg_ctl");
    let argv = [pg_ctl.as_str(), "promote", "-W", "-s", "-D", DATA];
    site.host().as_user("postgres", &argv)?.run()?.ok()?;
    site.sh(&format!("test -e {DATA}/promote"))?;
    let answer = site
        .follower()
        .param("rep_mode", "async")
        .promotable()
        .call("demote")?;
    // Without a cluster the demotion can't come to its end.
    assert_eq!(site.server_processes()?, "", "{answer}");
    agent.gives("stop", 0);
    Ok(())
}

/// It is run by the checkpointer: a standby would make no restartpoint any more, and the primary that it becomes no checkpoint.
pub(crate) fn a_cleanup_that_hangs_holds_nothing_up() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower().param(
        "archive_cleanup_command",
        &format!("echo $$ >{ASKED}; sleep 601; true"),
    );
    // Other tests leave other sleepers behind. With a session that waits for it.
    let hang = || -> Result<lab::Process> {
        site.sh(&format!("rm -f {ASKED}"))?;
        agent.gives("start", 0);
        site.wait_streaming(USER)?;
        site.primary().sql("checkpoint")?;
        site.wait_streaming(USER)?;
        let psql = site.lab().layout().program("psql");
        let loops = format!(
            "until test -e {ASKED}; do {psql} -Xh {SOCKET} -U postgres -d postgres -c checkpoint; sleep 0.2; done"
        );
        let waits = site.host().spawn("checkpoint", &["sh", "-c", &loops])?;
        site.lab().eventually("it is run", SOON, |_| {
            let asked = site.sh(&format!("test -s {ASKED}"));
            asked.map(drop).map_err(|error| error.to_string())
        })?;
        Ok(waits)
    };
    let is_gone = || {
        site.sh(&format!(
            "! kill -0 $(cat {ASKED}) 2>/dev/null && ! pgrep -f '^[s]leep 601'"
        ))
    };
    let waits = hang()?;
    site.sh(&format!(": >{LOG}"))?;
    agent.gives("stop", 0);
    let log = site.host().read_file(LOG)?;
    assert!(!log.contains("immediate shutdown"), "{log}");
    is_gone()?;
    drop(waits);
    // A standby that runs: somebody has to look at the archive.
    let waits = hang()?;
    agent.gives("monitor", 0);
    site.lab().eventually("it is told", 2 * SOON, |_| {
        let knowing = agent.clone().var("OCF_RESKEY_crm_feature_set", "3.19.0");
        let answer = knowing.call("monitor").map_err(|e| e.to_string())?;
        let is_told = answer.code() == 190 && answer.reason().contains("archive_cleanup_command");
        is_told.then_some(()).ok_or_else(|| format!("{answer}"))
    })?;
    // Once it is a primary nothing is to be cleaned up for it.
    promoted(&site, || Ok(String::new()))?;
    agent.gives("monitor", 1).says(&["promoted"]);
    site.lab().eventually("it is ended", SOON, |_| {
        is_gone().map(drop).map_err(|error| error.to_string())
    })?;
    site.postgres().sql("checkpoint")?;
    drop(waits);
    agent.gives("stop", 0);
    Ok(())
}
