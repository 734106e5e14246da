//! `cargo lab matrix`: the core scenarios on every suite, and a table for docs/platforms.md.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::{Result, SUITE_VARIABLE, Suite};

use crate::one_scenario;

/// What meets the cluster's software in the most places: the CIB under contention, servers, machines and networks that fail, an
/// operator, the setup by pcs.
const CORE: [&str; 7] = [
    "contended::conditional_changes_of_all_nodes_are_one_after_the_other",
    "switchover::switchovers_back_and_forth_leave_nothing_to_clean_up",
    "server::a_sync_cluster_survives_what_happens_to_its_servers",
    "machines::a_sync_cluster_survives_the_loss_of_machines",
    "network::a_sync_cluster_survives_partitions_and_splits",
    "operations::an_operator_runs_the_cluster",
    "setup::three_nodes_are_set_up_from_one_file",
];

/// Runs the core scenarios, or those named, on the suites named, or all.
pub(crate) fn run(suites: &[Suite], scenarios: &[String]) -> Result<ExitCode> {
    let suites = if suites.is_empty() {
        &Suite::ALL
    } else {
        suites
    };
    let named: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    let scenarios = if named.is_empty() { &CORE[..] } else { &named };
    let mut is_well = true;
    let mut failed = Vec::new();
    println!(
        "| suite | PostgreSQL | Pacemaker | corosync | pcs | crmsh | scenarios | minutes |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for suite in suites {
        // Before any scenario: a root that can't be made fails the suite in one sentence.
        let versions = suite.versions()?;
        let start = Instant::now();
        let mut green = 0;
        for scenario in scenarios {
            let (is_green, log) = try_out(*suite, scenario)?;
            green += usize::from(is_green);
            if !is_green {
                failed.push(format!(
                    "{} {scenario}: see {}",
                    suite.name(),
                    log.display()
                ));
            }
        }
        is_well &= green == scenarios.len();
        println!(
            "| {} | {} | {green} of {} green | {} |",
            suite.name(),
            versions.join(" | "),
            scenarios.len(),
            minutes(start.elapsed())
        );
    }
    failed.iter().for_each(|line| eprintln!("{line}"));
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

/// Runs one scenario on a suite. What it prints is kept under `target/matrix`.
fn try_out(suite: Suite, scenario: &str) -> Result<(bool, PathBuf)> {
    let ended = one_scenario::run(
        "matrix",
        suite.name(),
        scenario,
        (SUITE_VARIABLE, suite.name()),
    )?;
    let was_run = ended.text.contains(&format!("scenario {scenario} ... ok"));
    Ok((ended.status.success() && was_run, ended.log))
}
