//! What monitoring gets from `expgsql cluster status` and its kin: under cron's PATH, on standard output, and in JSON. The CIB is a file,
//! read by the real cibadmin.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use serde_json::Value;

/// The PATH of a job of cron's. Pacemaker's programs are not in there.
const CRON: &str = "/usr/bin:/bin";

fn programs_are_there() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if nix::unistd::geteuid().is_root() {
            lab::install().expect("Pacemaker's programs");
        }
    });
}

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cib");
    folder.join(name)
}

fn command(cib: &Path, words: &[&str]) -> Command {
    programs_are_there();
    let mut command = Command::new(env!("CARGO_BIN_EXE_expgsql"));
    command.arg("cluster").args(words);
    command.env("PATH", CRON).env("CIB_file", cib);
    command
}

fn run(cib: &Path, words: &[&str]) -> (Output, String) {
    let output = command(cib, words).output().expect("the agent runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn a_job_of_crons_finds_pacemakers_programs() {
    let cib = fixture("three-nodes-expgsql-2.1.5.xml");
    for (words, part) in [
        (&["status", "--check"][..], "pgsql is healthy."),
        (&["master"], "node1\n"),
        (&["why"], "node1 is the primary."),
        (&["status", "--json"], "\"health\": \"healthy\""),
    ] {
        let (output, said) = run(&cib, words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn a_check_prints_its_line_where_it_is_looked_for_whatever_it_says() {
    for (cib, code, part) in [
        (
            fixture("three-nodes-expgsql-2.1.5.xml"),
            0,
            "pgsql is healthy.",
        ),
        (
            fixture("three-nodes-diverged-2.1.5.xml"),
            1,
            "pgsql is degraded: node3: its start failed",
        ),
        (
            PathBuf::from("/nonexistent/cib.xml"),
            101,
            "the CIB could not be read",
        ),
    ] {
        let (output, said) = run(&cib, &["status", "--check"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(said.starts_with(part), "{said:?}");
        assert_eq!(said.lines().count(), 1, "{said:?}");
        // Once: who reads both has it once.
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn each_line_of_a_json_stream_is_json() {
    let nowhere = Path::new("/nonexistent/cib.xml");
    let mut child = command(nowhere, &["status", "--watch", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read.unwrap() > 0);
    let report: Value = serde_json::from_str(&line).expect(&line);
    let error = report["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("the CIB could not be read"), "{line}");
    assert!(
        report["seen_at"].is_string() && report["version"] == 1,
        "{line}"
    );
}
