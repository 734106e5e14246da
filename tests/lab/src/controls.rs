//! `cargo lab controls`: the suite's own test. An agent that lacks one rule has to turn a scenario red, and for the right reason.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use lab::{CONTROL, Error, Result};

use crate::one_scenario;

/// The trial's agent with all its rules.
const NONE: &str = "none";

/// A rule that is taken out, and who notices.
struct Control {
    /// As the agent calls it.
    name: &'static str,
    scenario: &'static str,
    /// What a red run says, one of these; without it, it is red for another reason.
    words: &'static [&'static str],
}

const CONTROLS: &[Control] = &[
    Control {
        name: "state-while-replaying",
        scenario: "backlog::a_power_cut_of_the_site_loses_nothing_of_a_backlog",
        words: &[
            "was promoted, and does not have all",
            "acknowledged commits are lost",
        ],
    },
    Control {
        name: "target-unseen",
        scenario: "forgotten_target::a_forgotten_recovery_target_loses_nothing",
        words: &["acknowledged commits are lost"],
    },
    Control {
        name: "claimed-by-name",
        scenario: "quorum::repairs_go_on_with_quorum_commit",
        words: &["the cluster counts on this node's commits"],
    },
    Control {
        name: "relax-without-revoking",
        scenario: "not_waited_for::a_standby_that_is_not_waited_for_is_nobodys_successor",
        words: &[
            "node1 is promoted",
            "node2 is promoted",
            "node3 is promoted",
            "takes writes",
        ],
    },
    Control {
        name: "no-settle-time",
        scenario: "large_frames::a_revocation_that_nobody_else_has_lets_no_commit_go",
        words: &["commits were acknowledged by"],
    },
    Control {
        name: "members-by-the-cib",
        scenario: "two_votes::two_nodes_without_a_lock_lose_nothing_while_a_controller_hangs",
        words: &["acknowledged commits are lost"],
    },
    Control {
        name: "grant-without-barrier",
        scenario: "between_looks::a_standby_that_stops_between_two_looks_is_nobodys_successor",
        words: &["nobody is promoted: broken"],
    },
    Control {
        name: "right-unchecked",
        scenario: "by_hand::a_server_promoted_by_hand_never_takes_the_cluster_over",
        words: &["it is a standby again"],
    },
    Control {
        name: "lease-unchecked",
        scenario: "lease::the_lease_binds_a_primary_that_cannot_read_the_cib",
        words: &["the other side takes over", "both took writes"],
    },
    Control {
        name: "no-admin-epoch",
        scenario: "heavier_cib::a_promotion_outlives_a_merge_with_a_cib_that_changed_more",
        words: &["acknowledged commits are lost"],
    },
    Control {
        name: "diverged-follows",
        scenario: "comes_back::what_was_the_primary_comes_back_by_itself",
        words: &[
            "a healthy cluster",
            "every node streams",
            "rows that nobody received",
        ],
    },
    Control {
        name: "larger-position-ignored",
        scenario: "machines::a_sync_cluster_survives_the_loss_of_machines",
        words: &["was promoted, and has less"],
    },
    Control {
        name: "no-distrust",
        scenario: "heavier_cib::a_standby_that_was_cut_off_is_no_successor_though_its_cib_wins",
        words: &["nobody is promoted: broken"],
    },
    Control {
        name: "no-tickets",
        scenario: "stale_route::a_standby_that_reaches_the_old_primary_confirms_it_nothing",
        words: &["commits were acknowledged by"],
    },
    Control {
        name: "async-elects-anybody",
        scenario: "server::an_async_cluster_survives_what_happens_to_its_servers",
        words: &[
            "was elected, but node3 has more WAL",
            "planted rows are there",
        ],
    },
    Control {
        name: "recovery-is-failure",
        scenario: "recovery::a_recovery_longer_than_the_start_goes_on_to_its_end",
        words: &["failures", "it is started, and recovers", "it answers"],
    },
    Control {
        name: "swap-unfinished",
        scenario: "killed_between::the_agent_may_be_killed_at_any_point_of_a_repair",
        words: &["a healthy cluster"],
    },
];

/// How a scenario went.
struct Run {
    outcome: Outcome,
    time: Duration,
    /// The line that says why it is red.
    said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Green,
    /// For the reason that is expected.
    Red,
    /// For another one.
    RedOtherwise,
}

pub(crate) fn run(names: &[String], with_baseline: bool) -> Result<ExitCode> {
    let is_meant = |c: &&Control| names.is_empty() || names.iter().any(|name| name == c.name);
    let chosen: Vec<&Control> = CONTROLS.iter().filter(is_meant).collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| chosen.iter().all(|c| c.name != **name))
    {
        return Err(Error::Other(format!("there is no control {unknown:?}")));
    }
    all_are_there()?;
    let mut is_well = true;
    println!("| control | scenario | | seconds | what it says |\n| --- | --- | --- | --- | --- |");
    if with_baseline {
        let scenarios: BTreeSet<&str> = chosen.iter().map(|c| c.scenario).collect();
        for scenario in scenarios {
            let run = try_out(NONE, scenario, &[])?;
            is_well &= run.outcome == Outcome::Green;
            row(NONE, scenario, &run);
        }
    }
    for control in chosen {
        let run = try_out(control.name, control.scenario, control.words)?;
        is_well &= run.outcome == Outcome::Red;
        row(control.name, control.scenario, &run);
    }
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn row(name: &str, scenario: &str, run: &Run) {
    let outcome = match run.outcome {
        Outcome::Green => "green",
        Outcome::Red => "red",
        Outcome::RedOtherwise => "red, for another reason",
    };
    println!(
        "| {name} | {scenario} | {outcome} | {:.0} | {} |",
        run.time.as_secs_f64(),
        run.said.replace('|', "\\|")
    );
}

/// The agent has no control that is not run here.
fn all_are_there() -> Result<()> {
    let program = lab::build_trial()?;
    let listed = lab::Cmd::new(&[&program.display().to_string(), "trial-controls"]).ok()?;
    let listed: BTreeSet<&str> = listed.lines().collect();
    let here: BTreeSet<&str> = CONTROLS.iter().map(|c| c.name).collect();
    let differ: Vec<_> = listed.symmetric_difference(&here).collect();
    if differ.is_empty() {
        return Ok(());
    }
    Err(Error::Other(format!(
        "either not in the agent, or not tried: {differ:?}"
    )))
}

/// Runs one scenario with one rule out of the agent. What it prints is kept under `target/controls`.
fn try_out(name: &str, scenario: &str, words: &[&str]) -> Result<Run> {
    let ended = one_scenario::run("controls", name, scenario, (CONTROL, name))?;
    let text = &ended.text;
    let was_run = text.contains(&format!("scenario {scenario} ..."));
    if !was_run {
        return Err(Error::Other(format!(
            "{scenario} was not run; see {}",
            ended.log.display()
        )));
    }
    let (outcome, said) = judge(ended.status.success(), text, words);
    Ok(Run {
        outcome,
        time: ended.time,
        said,
    })
}

fn judge(succeeded: bool, text: &str, words: &[&str]) -> (Outcome, String) {
    if succeeded {
        return (Outcome::Green, String::new());
    }
    // The scenario's own account of its failure comes first, the evidence after that.
    let failure = text.split("FAILED").nth(1).unwrap_or(text);
    let find = |line: &'_ str| {
        let found = words.iter().find_map(|word| line.find(word));
        found.map(|at| if line.starts_with("step ") { 0 } else { at })
    };
    let found = failure
        .lines()
        .find_map(|line| find(line).and_then(|at| line.get(at..)));
    let (outcome, line) = match found {
        Some(line) => (Outcome::Red, Some(line)),
        None => (
            Outcome::RedOtherwise,
            failure.lines().find(|line| line.starts_with("step ")),
        ),
    };
    let said: String = line.unwrap_or_default().trim().chars().take(200).collect();
    (outcome, said)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, judge};

    #[test]
    fn red_is_red_only_for_the_reason_that_is_expected() {
        let text = "scenario a ...\nok so far: 3 lost\nscenario a ... FAILED, 3.0 s\nstep \"x\": 7 commits are lost\n12:00 refused: counts on it\n";
        for (succeeded, words, outcome, said) in [
            (true, &["commits are lost"][..], Outcome::Green, ""),
            (
                false,
                &["commits are lost"],
                Outcome::Red,
                "step \"x\": 7 commits are lost",
            ),
            (false, &["counts on"], Outcome::Red, "counts on it"),
            (
                false,
                &["ok so far"],
                Outcome::RedOtherwise,
                "step \"x\": 7 commits are lost",
            ),
            (
                false,
                &[],
                Outcome::RedOtherwise,
                "step \"x\": 7 commits are lost",
            ),
        ] {
            assert_eq!(
                judge(succeeded, text, words),
                (outcome, said.to_owned()),
                "{words:?}"
            );
        }
    }
}
