//! `expgsql check`, as a load balancer runs it: by an account that may nothing but log in.

use std::time::{Duration, Instant};

use lab::{Node, Output, Result};

use crate::site::{AGENT, DATA, SOCKET, SOON, Site};

/// Has no right at the server but a login.
const STRANGER: &str = "nobody";

/// May see what the receiver does.
pub(crate) const USER: &str = "balancer";

/// One call of the check on a host.
fn check(node: &Node, args: &[&str], input: &str) -> Result<Output> {
    let mut argv = vec![AGENT, "check"];
    for (option, value) in [("--host", SOCKET), ("--user", USER)] {
        if !args.contains(&option) {
            argv.extend([option, value]);
        }
    }
    argv.extend(args);
    node.as_user(STRANGER, &argv)?.input(input).run()
}

/// Its exit code, by what it is asked, and a part of the one line that it prints.
#[track_caller]
fn gives(node: &Node, args: &[&str], code: i32, part: &str) {
    let output = check(node, args, "").unwrap_or_else(|error| panic!("{args:?}: {error}"));
    assert_eq!(output.code(), Some(code), "{args:?}: {}", output.text());
    assert!(output.stdout.contains(part), "{args:?}: {}", output.text());
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.text());
}

/// The status line and the body of an HTTP answer.
#[track_caller]
fn http(node: &Node, args: &[&str], request: &str) -> (String, String) {
    let output = check(node, &[&["--http"], args].concat(), request)
        .unwrap_or_else(|error| panic!("{request:?}: {error}"));
    assert_eq!(output.code(), Some(0), "{request:?}: {}", output.text());
    let (head, body) = output
        .stdout
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{request:?}: {}", output.text()));
    let status = head.lines().next().unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

fn get(node: &Node, path: &str) -> (String, String) {
    http(
        node,
        &[],
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
}

/// A primary, and a standby that streams from it; both have the role.
pub(crate) fn pair() -> Result<Site> {
    let site = Site::fresh()?;
    site.primary().start()?;
    let make = format!("create role {USER} login; grant pg_read_all_stats to {USER}");
    site.primary().sql(&make)?;
    site.follower().gives("start", 0);
    site.wait_streaming(lab::postgres::REPLICATION_USER)?;
    caught_up(&site)?;
    Ok(site)
}

pub(crate) fn caught_up(site: &Site) -> Result<()> {
    let end = site.primary().sql("select pg_current_wal_lsn()")?;
    let query = format!("select pg_last_wal_replay_lsn() >= '{end}'");
    site.lab().eventually("the standby has all", SOON, |_| {
        match site.postgres().sql(&query) {
            Ok(answer) if answer == "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

pub(crate) fn each_role_is_served_by_its_own_kind() -> Result<()> {
    let site = pair()?;
    let (standby, primary) = (site.host(), site.elsewhere());
    for (node, role, code, words, agent, status) in [
        (
            primary,
            "primary",
            0,
            "serves: primary",
            "up ready 100%",
            "200 OK",
        ),
        (
            primary,
            "standby",
            1,
            "this is the primary",
            "down #this is the primary",
            "503",
        ),
        (
            primary,
            "any",
            0,
            "serves: primary",
            "up ready 100%",
            "200 OK",
        ),
        (
            standby,
            "primary",
            1,
            "this is a standby",
            "down #this is a standby",
            "503",
        ),
        (
            standby,
            "standby",
            0,
            "serves: standby",
            "up ready 100%",
            "200 OK",
        ),
        (
            standby,
            "any",
            0,
            "serves: standby, 0 bytes behind, 0.0 s",
            "up ready 100%",
            "200 OK",
        ),
    ] {
        gives(node, &["--role", role], code, words);
        gives(node, &["--role", role, "--haproxy"], 0, agent);
        let (line, body) = get(node, &format!("/{role}"));
        assert!(line.contains(status), "{role}: {line} {body}");
    }
    // Nobody has committed anything for long: a standby that has all is not old.
    let strict = ["--max-lag", "1", "--max-lag-time", "1"];
    gives(standby, &strict, 0, "serves: standby");
    let (_, body) = get(standby, "/standby?max-lag=1kB&max-lag-time=1");
    assert!(body.contains(r#""role":"standby""#), "{body}");
    assert!(body.contains(r#""lag_bytes":0"#), "{body}");
    let (line, body) = http(standby, &[], "HEAD /standby HTTP/1.0\r\n\r\n");
    assert_eq!((line.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    site.follower().gives("stop", 0);
    Ok(())
}

pub(crate) fn a_standby_that_is_behind_is_drained_and_comes_back() -> Result<()> {
    let site = pair()?;
    let standby = site.host();
    let bytes = ["--role", "standby", "--max-lag", "8kB"];
    let time = ["--role", "standby", "--max-lag-time", "1"];
    site.postgres().sql("select pg_wal_replay_pause()")?;
    let paused = "select pg_get_wal_replay_pause_state()";
    site.lab().eventually("the replay is paused", SOON, |_| {
        match site.postgres().sql(paused) {
            Ok(state) if state == "paused" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    gives(standby, &bytes, 0, "serves");
    site.primary()
        .sql("create table more as select generate_series(1, 10000)")?;
    for (args, part) in [
        (bytes, "bytes are not replayed"),
        (time, "s old, more than 1 s"),
    ] {
        site.lab().eventually("it is behind", SOON, |_| {
            let output = check(standby, &args, "").map_err(|error| error.to_string())?;
            let is_it = output.code() == Some(1) && output.stdout.contains(part);
            is_it.then_some(()).ok_or_else(|| output.text())
        })?;
        let agent = [&args[..], &["--haproxy"]].concat();
        gives(standby, &agent, 0, "up drain #");
        gives(standby, &agent, 0, "pg_wal_replay_resume");
    }
    let (line, _) = get(standby, "/standby?max-lag=8kB");
    assert!(line.contains("503"), "{line}");
    // Without a limit it is asked for its role only.
    gives(standby, &["--role", "standby"], 0, "bytes behind");
    site.postgres().sql("select pg_wal_replay_resume()")?;
    caught_up(&site)?;
    gives(standby, &bytes, 0, "serves: standby");
    gives(standby, &time, 0, "serves: standby");
    what_does_not_stream_is_not_zero(&site)?;
    site.follower().gives("stop", 0);
    Ok(())
}

/// The primary is away: bytes can't be told, and the age is the last commit's.
fn what_does_not_stream_is_not_zero(site: &Site) -> Result<()> {
    let standby = site.host();
    site.primary().stop()?;
    site.lab().eventually("it does not stream", SOON, |_| {
        let output =
            check(standby, &["--max-lag", "1GB"], "").map_err(|error| error.to_string())?;
        let is_it = output.code() == Some(1) && output.stdout.contains("does not stream");
        is_it.then_some(()).ok_or_else(|| output.text())
    })?;
    let wide = ["--max-lag", "1GB", "--max-lag-time", "86400"];
    gives(standby, &wide, 0, "serves: standby");
    site.lab().eventually("it gets old", SOON, |_| {
        let args = ["--max-lag", "1GB", "--max-lag-time", "1"];
        let output = check(standby, &args, "").map_err(|error| error.to_string())?;
        let is_it = output.code() == Some(1) && output.stdout.contains("s old");
        is_it.then_some(()).ok_or_else(|| output.text())
    })?;
    // One that was just started has replayed nothing, and knows nothing.
    site.follower().gives("stop", 0);
    site.follower().gives("start", 0);
    gives(standby, &["--max-lag-time", "86400"], 1, "not known");
    Ok(())
}

pub(crate) fn what_can_not_be_asked_is_not_up() -> Result<()> {
    let site = pair()?;
    let node = site.host();
    let any = ["--role", "any"];
    let is_down = |what: &str, args: &[&str]| {
        gives(node, args, 2, "could not ask: ");
        gives(node, &[args, &["--haproxy"]].concat(), 0, "drain #");
        let (line, body) = http(node, args, "GET /any HTTP/1.0\r\n\r\n");
        assert!(line.contains("503"), "{what}: {line}");
        assert!(body.contains(r#""serves":false"#), "{what}: {body}");
    };
    is_down("no such role", &["--user", "stranger"]);
    is_down("no such database", &["--dbname", "nowhere"]);
    is_down("nobody listens", &["--port", "5433"]);
    is_down("no such host", &["--host", "/nowhere"]);
    site.primary().sql("create role hidden login")?;
    caught_up(&site)?;
    gives(node, &["--user", "hidden"], 0, "serves: standby");
    let hidden = ["--user", "hidden", "--max-lag", "1GB"];
    is_down("a receiver that is hidden", &hidden);
    gives(node, &hidden, 2, "pg_read_all_stats");
    site.primary().sql("alter role hidden connection limit 0")?;
    caught_up(&site)?;
    is_down("no connection left", &["--user", "hidden"]);
    gives(node, &["--user", "hidden"], 2, "53300");
    wrong_passwords(&site, &is_down)?;
    strangers_that_listen(&site)?;
    site.postgres().signal("STOP")?;
    let begun = Instant::now();
    is_down("a server that is frozen", &["--timeout", "1"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    site.postgres().signal("CONT")?;
    gives(node, &any, 0, "serves: standby");
    site.follower().gives("stop", 0);
    is_down("a server that is stopped", &any);
    Ok(())
}

fn wrong_passwords(site: &Site, is_down: &dyn Fn(&str, &[&str])) -> Result<()> {
    site.primary()
        .sql("create role secret login password 'right'; grant pg_read_all_stats to secret")?;
    caught_up(site)?;
    let node = site.host();
    site.sh(&format!(
        "sed -i '1i local all secret scram-sha-256\\nhost all secret all scram-sha-256' {DATA}/pg_hba.conf"
    ))?;
    site.postgres().sql("select pg_reload_conf()")?;
    site.lab()
        .eventually("a password is asked for", SOON, |_| {
            let output =
                check(node, &["--user", "secret"], "").map_err(|error| error.to_string())?;
            (output.code() == Some(2))
                .then_some(())
                .ok_or_else(|| output.text())
        })?;
    is_down("a password that is nowhere", &["--user", "secret"]);
    let file = "/tmp/check.pgpass";
    let with_file = ["--user", "secret", "--passfile", file, "--max-lag", "1GB"];
    is_down("a password file that is nowhere", &with_file);
    for (password, mode, is_right) in [
        ("wrong", "600", false),
        ("right", "644", false),
        ("right", "600", true),
    ] {
        let line = format!("*:*:*:secret:{password}\n");
        node.write_file(file, line, STRANGER, mode)?;
        if is_right {
            gives(node, &with_file, 0, "serves: standby");
            gives(
                node,
                &[&with_file[..], &["--host", "127.0.0.1"]].concat(),
                0,
                "serves",
            );
        } else {
            is_down("a password file that is no good", &with_file);
        }
    }
    let output = check(node, &with_file, "")?;
    assert!(!output.text().contains("right"), "{}", output.text());
    node.run(&["rm", file])?.ok().map(drop)
}

/// What listens at the server's port may be anything, or say nothing.
fn strangers_that_listen(site: &Site) -> Result<()> {
    let node = site.host();
    for (name, port, says) in [
        ("silent", "6001", ""),
        ("garbage", "6002", "220 mail ESMTP\\r\\n"),
        ("half", "6003", "R\\0\\0\\0"),
    ] {
        let server = format!(
            "import socket\ns=socket.create_server(('127.0.0.1',{port}))\nheld=[]\nwhile True:\n c,_=s.accept(); c.send(b'{says}'); held.append(c)"
        );
        let _server = node.spawn(name, &["python3", "-c", &server])?;
        let args = ["--host", "127.0.0.1", "--port", port, "--timeout", "1"];
        site.lab().eventually("it listens", SOON, |_| {
            let output = check(node, &args, "").map_err(|error| error.to_string())?;
            let listens = !output.stdout.contains("refused");
            listens.then_some(()).ok_or_else(|| output.text())
        })?;
        gives(node, &args, 2, "could not ask: ");
    }
    Ok(())
}

pub(crate) fn http_that_is_none_is_refused_and_never_a_yes() -> Result<()> {
    let site = pair()?;
    let node = site.host();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for (request, status) in [
        ("", "400"),
        ("\r\n\r\n", "400"),
        ("GET /any", "400"),
        ("GET /any HTTP/1.1\r\nHost: x\r\n", "400"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}", "400"),
        ("quit\r\n", "400"),
        ("DELETE /any HTTP/1.1\r\n\r\n", "405"),
        ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
        ("GET /any?max-lag=many HTTP/1.1\r\n\r\n", "400"),
        (&long, "431"),
        (&many, "431"),
    ] {
        let (line, body) = http(node, &[], request);
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.40}: {line}"
        );
        assert!(body.contains(r#""serves":false"#), "{request:.40}: {body}");
    }
    // A client that keeps its line open and says nothing.
    let line = format!(
        "mkfifo /tmp/silent && exec 3<>/tmp/silent && exec runuser -u {STRANGER} -- {AGENT} check --http --timeout 1 <&3"
    );
    let silent = node.command(&["sh", "-c", &line])?.limit(SOON);
    let begun = Instant::now();
    let answer = silent.run()?;
    assert!(
        answer.stdout.starts_with("HTTP/1.1 408 "),
        "{}",
        answer.text()
    );
    assert!(begun.elapsed() < SOON - Duration::from_secs(1));
    site.follower().gives("stop", 0);
    Ok(())
}
