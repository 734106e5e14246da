//! Lock files of a server that is gone, which name a process that is another's by now: after a reboot the numbers come again.

use lab::Result;

use crate::site::{DATA, SOCKET, SOON, Site};

/// Kills the server with all of its processes.
fn crash(site: &Site) -> Result<()> {
    site.postgres().signal("KILL")?;
    site.lab().eventually("the server is gone", SOON, |_| {
        match site.server_processes() {
            Ok(none) if none.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Starts a process of the server's account that is no server, and tells its number.
fn bystander(site: &Site) -> Result<String> {
    site.sh("setsid runuser -u postgres -- sleep 600 >/dev/null 2>&1 </dev/null & echo")?;
    site.lab().eventually("it runs", SOON, |_| {
        let pid = site
            .sh("for comm in /proc/[0-9]*/comm; do test \"$(cat $comm 2>/dev/null)\" = sleep && basename \"${comm%/comm}\" && break; done")
            .map_err(|error| error.to_string())?;
        (!pid.is_empty()).then_some(pid).ok_or_else(|| "not yet".to_owned())
    })
}

pub(crate) fn a_number_that_is_anothers_by_now_keeps_no_server_down() -> Result<()> {
    let site = Site::fresh()?;
    let agent = site.agent().param("socketdir", SOCKET);
    let other = bystander(&site)?;
    let data = format!("{DATA}/postmaster.pid");
    let socket = format!("{SOCKET}/.s.PGSQL.5432.lock");
    for (what, meddle) in [
        (
            "the data directory's",
            format!("sed -i '1s/.*/{other}/' {data}"),
        ),
        (
            "a stand-alone server's",
            format!("sed -i '1s/.*/-{other}/' {data}"),
        ),
        ("the socket's", format!("sed -i '1s/.*/{other}/' {socket}")),
        ("both", format!("sed -i '1s/.*/{other}/' {data} {socket}")),
        ("one that a power cut has left empty", format!(": >{data}")),
        (
            "and one with nothing but zeros",
            format!("printf '\\0\\0\\0\\0' >{data}"),
        ),
    ] {
        println!("  {what}");
        agent.gives("start", 0);
        crash(&site)?;
        site.sh(&format!(
            "test -f {data} && test -f {socket} && {meddle} && chown postgres {data} {socket}"
        ))?;
        agent.gives("start", 0);
        agent.gives("monitor", 0);
        assert_eq!(
            site.sh(&format!("head -1 {data}"))?,
            site.postgres().postmaster().expect("it runs").to_string()
        );
        site.sh(&format!("kill -0 {other}"))?;
    }
    // The lock of another instance's socket is none of this one's business.
    agent.gives("stop", 0);
    let theirs = format!("{other}\n/var/lib/pgsql/other\n1\n5432\n{SOCKET}\n");
    site.host()
        .write_file(&socket, theirs.as_str(), "postgres", "600")?;
    agent.gives("start", 1).says(&["PGSQL.5432.lock"]);
    assert_eq!(site.host().read_file(&socket)?.trim(), theirs.trim());
    agent.gives("stop", 0);
    site.sh(&format!("kill {other}"))?;
    Ok(())
}
