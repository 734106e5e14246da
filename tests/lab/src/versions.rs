//! `cargo lab versions`: the tests of what the agent does by itself, with several versions of PostgreSQL, and a table for
//! docs/platforms.md.

use std::process::ExitCode;
use std::time::Instant;

use lab::{ConfigStyle, Layout, OtherServer, Result, SERVER_VARIABLE};

use crate::one_scenario::test;

/// The agent as Pacemaker calls it, a node that diverged and comes back, and the lock service.
const PROGRAMS: [&str; 3] = ["contract", "repair", "distlock"];

/// Runs them with the versions named, or with all and the machine's own.
pub(crate) fn run(servers: &[OtherServer]) -> Result<ExitCode> {
    let servers: Vec<Option<OtherServer>> = if servers.is_empty() {
        let all = OtherServer::ALL.into_iter().map(Some);
        std::iter::once(None).chain(all).collect()
    } else {
        servers.iter().copied().map(Some).collect()
    };
    let mut failed = Vec::new();
    println!(
        "| PostgreSQL | the agent's actions | repair | lock service | minutes |\n| --- | --- | --- | --- | --- |"
    );
    for server in servers {
        let start = Instant::now();
        // Before any test: a server that can't be had fails in one sentence.
        let version = match server {
            Some(server) => server.version()?,
            None => lab::postgres::version(&Layout::find(ConfigStyle::DataDirectory)?.bin)?,
        };
        let name = server.map_or("", OtherServer::name);
        let mut row = Vec::new();
        for program in PROGRAMS {
            let label = format!("{version}.{program}");
            let args = ["--test", program];
            let ended = test("versions", &label, &args, (SERVER_VARIABLE, name))?;
            let tally = tally(&ended.text).filter(|_| ended.status.success());
            if tally.is_none() {
                failed.push(ended.log);
            }
            row.push(tally.unwrap_or_else(|| "failed".to_owned()));
        }
        println!(
            "| {version} | {} | {} |",
            row.join(" | "),
            start.elapsed().as_secs().div_ceil(60)
        );
    }
    for log in &failed {
        eprintln!("see {}", log.display());
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the closing line of a test program counts: libtest's, or that of the lab's scenarios.
fn tally(printed: &str) -> Option<String> {
    let closing = printed.lines().rev().find_map(|line| {
        line.strip_prefix("test result: ok. ")
            .or_else(|| line.strip_prefix("scenarios: ok. "))
    })?;
    let mut parts = closing.split("; ");
    let passed = parts.next()?.trim_end_matches(" passed");
    let left_out = parts.find(|part| part.ends_with(" left out"));
    let left_out = left_out.filter(|part| !part.starts_with("0 "));
    Some(match left_out {
        Some(left_out) => format!("{passed} green, {left_out}"),
        None => format!("{passed} green"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_understood() {
        for (printed, expected) in [
            (
                "test a ... ok\n\ntest result: ok. 14 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 36.53s\n",
                Some("14 green"),
            ),
            (
                "scenarios: ok. 42 passed; 0 failed; 2 left out; 0 filtered out\n",
                Some("42 green, 2 left out"),
            ),
            (
                "scenarios: FAILED. 41 passed; 3 failed; 0 left out; 0 filtered out\n",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(tally(printed).as_deref(), expected, "{printed}");
        }
    }
}
