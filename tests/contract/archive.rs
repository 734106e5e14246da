//! An archive that fails when it is needed least: the primary is gone, and this standby is to be promoted.

use lab::Result;

use crate::field::postmaster;
use crate::site::{DATA, SOON, Site};

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
