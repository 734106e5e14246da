//! `expgsql distlock`, and by the name `distlock`.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::server::{Server, expgsql};

/// Standard output, standard error and exit code.
fn call(program: &Path, args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(program);
    command.args(args).env("PATH", "/nonexistent");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

#[test]
fn locks_are_taken_and_given_back_as_by_pha4pgsqls_script() {
    let server = Server::start();
    let link = server.dir().join("distlock");
    symlink(expgsql(), &link).unwrap();
    let port = server.port;
    let psql = format!("psql -h 127.0.0.1 -p {port} -U postgres postgres");
    let conninfo = server.conninfo();
    let answers = |words: &[&str], expected: &str| {
        let (out, err, code) = call(&link, words);
        assert_eq!(
            (out.as_str(), code),
            (expected, Some(0)),
            "{words:?}: {err}"
        );
    };
    let (out, err, code) = call(&link, &[&psql, "init", "distlock:pgsql"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("is ready"), "{out}");
    for connection in [&psql, &conninfo] {
        answers(
            &[
                connection,
                "trylock",
                "distlock:pgsql",
                "pgsql_node1",
                "3600",
            ],
            "1\n",
        );
        answers(
            &[
                connection,
                "trylock",
                "distlock:pgsql",
                "pgsql_node1",
                "3600",
            ],
            "1\n",
        );
        answers(
            &[
                connection,
                "trylock",
                "distlock:pgsql",
                "pgsql_node2",
                "3600",
            ],
            "0\n",
        );
        answers(
            &[
                connection,
                "lock",
                "distlock:pgsql",
                "pgsql_node2",
                "3600",
                "0",
            ],
            "0\n",
        );
        answers(
            &[
                "trylock",
                connection,
                "distlock:pgsql",
                "pgsql_node2",
                "3600",
            ],
            "0\n",
        );
        answers(
            &[connection, "unlock", "distlock:pgsql", "pgsql_node2"],
            "0\n",
        );
        answers(
            &[connection, "unlock", "distlock:pgsql", "pgsql_node1"],
            "1\n",
        );
    }
    answers(
        &[&conninfo, "trylock", "distlock:pgsql", "pgsql_node1", "1"],
        "1\n",
    );
    // It waits for the lease to end.
    answers(
        &[
            &conninfo,
            "lock",
            "distlock:pgsql",
            "it's me; \\ $HOME",
            "3600",
            "50",
        ],
        "1\n",
    );
    assert_eq!(
        server.sql("select owner from distlock"),
        "it's me; \\ $HOME"
    );

    let (out, err, code) = call(
        &expgsql(),
        &[
            "distlock",
            &conninfo,
            "unlock",
            "distlock:pgsql",
            "it's me; \\ $HOME",
        ],
    );
    assert_eq!((out.as_str(), code), ("1\n", Some(0)), "{err}");
}

#[test]
fn errors_are_told_and_end_with_one() {
    let server = Server::start();
    let conninfo = format!("{} password=zq7x-hidden", server.conninfo());
    for (words, part) in [
        (&[][..], "usage:"),
        (&["distlock", &conninfo, "grab", "t:l", "o"], "\"grab\""),
        (
            &["distlock", &conninfo, "trylock", "t:l", "o"],
            "how many seconds",
        ),
        (
            &["distlock", &conninfo, "trylock", "t:l", "o", "9"],
            "no such table",
        ),
        (
            &["distlock", "host=h pasword=zq7x-hidden", "status", "t:l"],
            "\"pasword\"",
        ),
        (
            &["distlock", "psql -f zq7x-hidden", "status", "t:l"],
            "\"-f\"",
        ),
        (
            &["distlock", "host=127.0.0.1 port=1 user=u", "status", "l"],
            "can't be reached",
        ),
        (&["distlock", &conninfo, "status", ".:l"], "is no lock"),
        (
            // There is no cluster, or not even its software.
            &["distlock", "--resource", "pgsql", "status"],
            "resource",
        ),
    ] {
        let words = if words.is_empty() {
            &["distlock"][..]
        } else {
            words
        };
        let (out, err, code) = call(&expgsql(), words);
        assert_eq!((out.as_str(), code), ("", Some(1)), "{words:?}");
        assert!(err.contains(part), "{words:?}: {err}");
        assert!(!err.contains("zq7x"), "{err}");
    }
    let init = call(
        &expgsql(),
        &["distlock", &conninfo, "init", "distlock:pgsql"],
    );
    assert_eq!(init.2, Some(0), "{init:?}");
    // A lock that does not exist is an error; the script waits for it for ever.
    let (_, err, code) = call(
        &expgsql(),
        &[
            "distlock",
            &conninfo,
            "trylock",
            "distlock:pgsqll",
            "o",
            "9",
        ],
    );
    assert_eq!(code, Some(1));
    assert!(err.contains("no lock named"), "{err}");
}

#[test]
fn status_and_history_show_the_row() {
    let server = Server::start();
    let conninfo = server.conninfo();
    let run = |words: &[&str]| {
        let words: Vec<&str> = ["distlock", &conninfo]
            .iter()
            .chain(words)
            .copied()
            .collect();
        let (out, err, code) = call(&expgsql(), &words);
        assert_eq!(code, Some(0), "{words:?}: {err}");
        out
    };
    run(&["init", "pgsql"]);
    assert!(run(&["status", "pgsql"]).contains("owner     nobody"));
    run(&["trylock", "pgsql", "pgsql_node1", "3600"]);
    server.sql("update distlock set eligible = array['node1', 'node2'], reports = 2");
    let status = run(&["status", "pgsql"]);
    for part in [
        "owner     pgsql_node1\n",
        "expires   in 3",
        "epoch     1\n",
        "eligible  node1 node2 (with reports of 2 of them)\n",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&run(&["status", "pgsql", "--json"])).unwrap();
    assert_eq!(json["owner"], "pgsql_node1");
    assert_eq!(json["lease_seconds"], 3600.0);
    assert_eq!(json["eligible"], serde_json::json!(["node1", "node2"]));
    let again = run(&["init", "pgsql"]);
    assert!(
        again.contains("stays as it is: held by pgsql_node1"),
        "{again}"
    );
    assert!(again.contains("--role ROLE makes it one role's"), "{again}");
    let bound = run(&["init", "pgsql", "--role", "agent"]);
    assert!(bound.contains("only the role agent may use it"), "{bound}");
    let history = run(&["history", "pgsql"]);
    assert_eq!(history.lines().count(), 3, "{history}");
    assert!(
        history
            .lines()
            .next()
            .unwrap()
            .contains("eligible node1 node2"),
        "{history}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&run(&["history", "pgsql", "--json", "-n", "1"])).unwrap();
    assert_eq!(json[0]["epoch"], 1);
}

#[test]
fn help_is_shown() {
    let (out, _, code) = call(&expgsql(), &["distlock", "--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("trylock") && out.contains(".pgpass"), "{out}");
}
