//! Other nodes are asked about a service that can't be reached, by a program in place of ssh.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use expgsql::decide::lease::Verdict;
use expgsql::distlock::{Commands, Deadcheck, Renewal, Service, Taken, relay};
use expgsql::params::Secret;
use expgsql::sys::Deadline;

use crate::server::{Server, expgsql, set, soon, wish};

/// Called as ssh is. node1 is down; node2 has this program, and a way to the service; node3 has no such way;
/// node4 has no such program; node5 hangs.
fn ssh(dir: &Path, server: Option<&Server>) -> PathBuf {
    let path = dir.join("ssh");
    let program = expgsql();
    let port = server.map_or(1, |server| server.port);
    let script = format!(
        r#"#!/bin/sh
echo "$*" >>{log}
while [ "$1" = -o ]; do shift 2; done
[ "$1" = -- ] || exit 9
node=$2
relay='{program} distlock relay'
case "$node:$3" in
node1:*) echo "ssh: connect to host node1: No route to host" >&2; exit 255 ;;
Node2:*relay) sed 's/port=1 /port={port} /' | $relay ;;
node3:*relay) $relay ;;
node4:*relay) echo "expgsql: not found" >&2; exit 127 ;;
node5:*) exec sleep 600 ;;
Node2:*) export HAS_WAY=1; exec sh -c "$3" ;;
node3:*) exec sh -c "$3" ;;
node4:*) exit 127 ;;
esac
"#,
        log = dir.join("log").display(),
        program = program.display(),
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn check(ssh: &Path, nodes: &[&str]) -> Deadcheck {
    let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    Deadcheck::new("Me", &nodes).by(ssh)
}

fn unreachable() -> Service {
    let conninfo = "host=127.0.0.1 port=1 user=postgres dbname=postgres password=zq7x-hidden";
    Service::new(&Secret::new(conninfo), "pgsql", None).unwrap()
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

#[test]
fn one_that_reaches_the_service_answers_for_it() {
    let (server, lock) = Server::ready();
    let dir = tempfile::tempdir().unwrap();
    let ssh = ssh(dir.path(), Some(&server));
    let taken = check(&ssh, &["me", "node3", "Node2", "node1"]).take(
        &unreachable(),
        &wish("node1"),
        limit(),
    );
    let Verdict::Answer {
        node,
        answer: Taken::Mine { epoch: 1, .. },
    } = &taken
    else {
        panic!("{taken:?}");
    };
    assert_eq!(node, "Node2");
    assert_eq!(lock.read(soon()).unwrap().unwrap().owner, "pgsql_node1");
    let nodes = check(&ssh, &["Node2"]);
    let hour = Duration::from_secs(3600);
    let renewed = nodes.renew(&unreachable(), "pgsql_node1", 1, hour, limit());
    assert!(
        matches!(
            renewed,
            Verdict::Answer {
                answer: Renewal::Mine(_),
                ..
            }
        ),
        "{renewed:?}"
    );
    let eligible = set(&["node1", "node2"]);
    let recorded = nodes.set_eligible(
        &unreachable(),
        "pgsql_node1",
        1,
        &eligible,
        1,
        hour,
        limit(),
    );
    assert!(
        matches!(
            recorded,
            Verdict::Answer {
                answer: Renewal::Mine(_),
                ..
            }
        ),
        "{recorded:?}"
    );
    assert_eq!(lock.read(soon()).unwrap().unwrap().eligible, Some(eligible));
    let lost = nodes.renew(&unreachable(), "pgsql_node1", 7, hour, limit());
    assert!(
        matches!(
            lost,
            Verdict::Answer {
                answer: Renewal::Lost(Some(_)),
                ..
            }
        ),
        "{lost:?}"
    );
    // It reaches the service, which has a complaint: not dead.
    server.sql("drop table distlock");
    let trouble = nodes.renew(&unreachable(), "pgsql_node1", 1, hour, limit());
    assert!(
        matches!(&trouble, Verdict::Unknown { why } if why.contains("no such table")),
        "{trouble:?}"
    );
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(
        log.contains("BatchMode=yes") && log.contains("-- Node2 "),
        "{log}"
    );
    assert!(!log.contains("zq7x"), "a command line had it: {log}");
    assert!(!log.contains("-- me"), "it asked itself: {log}");
}

#[test]
fn it_is_dead_only_if_all_were_asked_and_none_reaches_it() {
    let dir = tempfile::tempdir().unwrap();
    let ssh = ssh(dir.path(), None);
    let ask = |nodes: &[&str], limit: Duration| {
        check(&ssh, nodes).take(&unreachable(), &wish("node1"), Deadline::after(limit))
    };
    let long = Duration::from_secs(20);
    let dead = ask(&["ME", "node3"], long);
    assert_eq!(
        dead,
        Verdict::Dead {
            asked: set(&["node3"])
        }
    );
    for (nodes, limit, part) in [
        (&["me"][..], long, "no other node"),
        (&[], long, "no other node"),
        (&["node3", "node1"], long, "No route to host"),
        (&["node4", "node3"], long, "not found"),
        (&["node5"], Duration::from_secs(4), "did not finish"),
        (&["node3"], Duration::from_secs(3), "no time was left"),
    ] {
        match ask(nodes, limit) {
            Verdict::Unknown { why } => assert!(why.contains(part), "{nodes:?}: {why}"),
            found @ (Verdict::Answer { .. } | Verdict::Dead { .. }) => {
                panic!("{nodes:?}: {found:?}")
            }
        }
    }
}

#[test]
fn lock_commands_are_run_on_the_other_nodes_too() {
    let dir = tempfile::tempdir().unwrap();
    let ssh = ssh(dir.path(), None);
    let commands = |lock: &str| Commands {
        lock: Secret::new(lock),
        unlock: Secret::new("echo 0"),
    };
    let reaching =
        commands("p=zq7x-hidden; test -n \"$HAS_WAY\" && test @owner = pgsql_node1 && echo 1");
    let answer = check(&ssh, &["node3", "Node2"]).lock(&reaching, "pgsql_node1", limit());
    let expected = Verdict::Answer {
        node: "Node2".to_owned(),
        answer: true,
    };
    assert_eq!(answer, expected);
    let dead = check(&ssh, &["node3"]).lock(&reaching, "pgsql_node1", limit());
    assert_eq!(
        dead,
        Verdict::Dead {
            asked: set(&["node3"])
        }
    );
    // One that hangs there is one that has no way, not one that was not asked.
    let hanging = commands("sleep 600");
    let hung = check(&ssh, &["node3"]).lock(
        &hanging,
        "pgsql_node1",
        Deadline::after(Duration::from_secs(4)),
    );
    assert_eq!(
        hung,
        Verdict::Dead {
            asked: set(&["node3"])
        }
    );
    let unknown = check(&ssh, &["node4"]).lock(&reaching, "pgsql_node1", limit());
    assert!(matches!(unknown, Verdict::Unknown { .. }), "{unknown:?}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("zq7x"), "a command line had it: {log}");
}

#[test]
fn what_is_no_request_is_answered_without_a_word_of_it() {
    for request in ["", "zq7x", r#"{"conninfo":"password=zq7x"}"#] {
        let answer = relay::serve(request.as_bytes());
        assert!(
            answer.contains("no request") && !answer.contains("zq7x"),
            "{answer}"
        );
    }
}
