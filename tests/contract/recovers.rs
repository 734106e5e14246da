//! A server that takes no connections for a while, and has had such a time before.

use std::time::Duration;

use lab::Result;

use crate::field::{crowd, postmaster};
use crate::site::{SOON, Site, TMPDIR};

const USER: &str = lab::postgres::REPLICATION_USER;
const SLEEPERS: &str = "select pid from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid() order by 1";

/// The server's processes that serve [`crowd`], once there are so many.
fn sleepers(site: &Site, wanted: usize) -> Result<Vec<i32>> {
    site.lab().eventually("the sessions are there", SOON, |_| {
        let list = site
            .postgres()
            .sql(SLEEPERS)
            .map_err(|error| error.to_string())?;
        let pids: Vec<i32> = list.lines().filter_map(|pid| pid.parse().ok()).collect();
        (pids.len() == wanted)
            .then_some(pids)
            .ok_or_else(|| list.clone())
    })
}

fn wait_stopped(site: &Site) -> Result<()> {
    site.lab().eventually("the server is down", SOON, |_| {
        match site.server_processes() {
            Ok(none) if none.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Asks a standby with a session on it to stop when that is over, and ends that later.
fn smart_stop(site: &Site, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let client = crowd(site, "postgres", 1)?;
    sleepers(site, 1)?;
    let pid = postmaster(site);
    site.sh(&format!("kill -TERM {pid}"))?;
    site.lab().eventually("nobody is let in", SOON, |_| {
        match site.postgres().sql("select 1") {
            Ok(_) => Err("still let in".to_owned()),
            Err(_) => Ok(()),
        }
    })?;
    meanwhile()?;
    drop(client);
    site.sh(&format!("kill -INT {pid} 2>/dev/null || :"))?;
    wait_stopped(site)
}

/// What is noted of one that took none is of that time, and of that server: held against it, a stop days later would be a hang of days.
pub(crate) fn a_second_stop_in_one_boot_is_no_hang_since_the_first() -> Result<()> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let agent = site.follower();
    let noted = || {
        let notes = site.host().read_file(&format!("{TMPDIR}/expgsql.state"))?;
        let from = notes.find(r#""recovery":"#).expect("it is noted");
        let rest = &notes[from..];
        Ok::<_, lab::Error>(rest[..rest.find("},\"").unwrap_or(rest.len())].to_owned())
    };
    let mut before = String::new();
    for is_seen_well in [false, false, true] {
        agent.gives("start", 0);
        site.wait_streaming(USER)?;
        if is_seen_well {
            agent.gives("monitor", 0);
            let now = noted()?;
            assert!(now.starts_with(r#""recovery":null"#), "{now}");
        }
        smart_stop(&site, || {
            agent.gives("monitor", 0);
            let now = noted()?;
            assert!(now.starts_with(r#""recovery":{"#), "{now}");
            assert_ne!(now, before, "as it was of the server before");
            before = now;
            // As long as it lasts it is one time.
            agent.gives("monitor", 0);
            assert_eq!(noted()?, before);
            Ok(())
        })?;
    }
    Ok(())
}

/// The startup process of the server, stopped as soon as there is one.
fn hold_recovery(site: &Site, postmaster: i32) -> Result<String> {
    let script = format!(
        r#"
look() {{
    for stat in /proc/[0-9]*/stat; do
        case "$(cat "$stat" 2>/dev/null)" in *') '?' {postmaster} '*) ;; *) continue;; esac
        pid=${{stat#/proc/}}; pid=${{pid%/stat}}
        case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in *startup*) kill -STOP "$pid" && echo "$pid" && return 0;; esac
    done
    return 1
}}
tries=0
until look; do tries=$((tries + 1)); test "$tries" -lt 2000 || exit 1; done
"#
    );
    site.sh(&script)
}

/// One session's process is killed, by the kernel for its memory, say: the server ends all others, and replays.
pub(crate) fn a_recovery_in_place_is_left_to_its_end() -> Result<()> {
    // Without hot standby a recovery says another thing of itself.
    ["on", "off"].into_iter().try_for_each(recovers_in_place)
}

fn recovers_in_place(hot_standby: &str) -> Result<()> {
    let site = Site::fresh()?;
    site.configure(&format!("hot_standby = {hot_standby}"))?;
    site.configure(
        "checkpoint_timeout = 1h\nmax_wal_size = 20GB\nrestart_after_crash = on\nfsync = off",
    )?;
    let agent = site.agent();
    agent.gives("start", 0);
    let pid = postmaster(&site);
    for line in [
        "create table much as select n, 0 as k from generate_series(1, 1000000) n",
        "update much set k = 1",
        "update much set k = 2",
    ] {
        site.postgres().sql(line)?;
    }
    let _clients = crowd(&site, "postgres", 2)?;
    let sessions = sleepers(&site, 2)?;
    // The server waits for this one, for some seconds, before it replays.
    let (late, killed) = (sessions[0], sessions[1]);
    site.sh(&format!("kill -STOP {late} && kill -KILL {killed}"))?;
    site.lab().eventually("nobody is let in", SOON, |_| {
        match site.postgres().sql("select 1") {
            Ok(_) => Err("still let in".to_owned()),
            Err(_) => Ok(()),
        }
    })?;
    agent.gives("monitor", 0);
    let startup = hold_recovery(&site, pid)?;
    let status = site.sh("sed -n 8p /var/lib/pgsql/data/postmaster.pid")?;
    assert_ne!(
        status.trim(),
        "starting",
        "what it says of itself meanwhile"
    );
    println!("  hot_standby={hot_standby}: {}", status.trim());
    agent.gives("monitor", 0);
    agent.gives("monitor", 0);
    agent
        .clone()
        .timeout(Duration::from_secs(6))
        .gives("start", 0);
    site.sh(&format!("kill -CONT {startup}"))?;
    site.lab().eventually("it is over", SOON * 4, |_| {
        agent.gives("monitor", 0);
        assert_eq!(postmaster(&site), pid);
        site.postgres()
            .sql("select 1")
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    assert_eq!(site.postgres().sql("select count(*) from much")?, "1000000");
    agent.gives("stop", 0);
    Ok(())
}
