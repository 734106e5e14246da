//! Runs scenarios as a test program of its own (`harness = false`), each with its time, and a closing line that also says
//! how many were left out. Libtest can't do that: there a skipped scenario looks like a passed one. Here they run one
//! after the other; beside each other: [`crate::pool`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::debian::Suite;
use crate::error::Error;
use crate::{debian, packages};

/// A scenario: its claim as a name, and what to do. It fails by panicking or by an error.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, in the form of a claim.
    pub name: &'static str,
    /// The scenario itself.
    pub run: fn() -> crate::Result<()>,
    /// The Debian suite that its hosts have; `None`: what the environment says, else the machine's own.
    pub suite: Option<Suite>,
}

/// Names and functions of one module's scenarios: `scenarios![kill_is_survived, split_loses_nothing]`.
#[macro_export]
macro_rules! scenarios {
    ($($name:path),* $(,)?) => { &[$($crate::Scenario { name: stringify!($name), run: $name, suite: None }),*] };
}

/// The same on hosts of another Debian suite, whose name goes before theirs: `scenarios_on![Forky, "forky": kill_is_survived]`.
/// Where the suite's root can't be made (no network, no room) they are left out.
#[macro_export]
macro_rules! scenarios_on {
    ($suite:ident, $label:literal: $($name:path),* $(,)?) => {
        &[$($crate::Scenario {
            name: concat!($label, "::", stringify!($name)),
            run: $name,
            suite: Some($crate::Suite::$suite),
        }),*]
    };
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    /// Of those that passed.
    at_the_second_try: usize,
    failed: usize,
    left_out: usize,
    filtered: usize,
}

impl Tally {
    fn line(self) -> String {
        let Self {
            passed,
            at_the_second_try,
            failed,
            left_out,
            filtered,
        } = self;
        let result = if failed > 0 { "FAILED" } else { "ok" };
        let second = if at_the_second_try > 0 {
            format!(" ({at_the_second_try} at the second try, see above)")
        } else {
            String::new()
        };
        format!(
            "scenarios: {result}. {passed} passed{second}; {failed} failed; {left_out} left out; {filtered} filtered out"
        )
    }
}

/// The words on the command line, as `cargo test` passes them on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) list: bool,
    exact: bool,
    filters: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => arguments.list = true,
                "--exact" => arguments.exact = true,
                // libtest's options with a value: without their value it would be taken for a filter.
                "--format" | "--test-threads" | "--skip" | "--color" => drop(words.next()),
                flag if flag.starts_with('-') => {}
                filter => arguments.filters.push(filter.to_owned()),
            }
        }
        arguments
    }

    pub(crate) fn selects(&self, name: &str) -> bool {
        let matches = |filter: &String| {
            if self.exact {
                filter == name
            } else {
                name.contains(filter.as_str())
            }
        };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }

    /// Prints the names of those that are selected, as libtest does.
    pub(crate) fn listed(&self, scenarios: &[Scenario]) -> ExitCode {
        let selected = scenarios.iter().filter(|s| self.selects(s.name));
        selected.for_each(|scenario| println!("{}: test", scenario.name));
        ExitCode::SUCCESS
    }
}

/// Runs the scenarios that the command line selects one after the other (filters as with libtest; `--exact`, `--list`).
///
/// With `EXPGSQL_LAB=skip` every one is left out, and the closing line says so; without root every one fails.
pub fn suite(scenarios: &[Scenario]) -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    if arguments.list {
        return arguments.listed(scenarios);
    }
    let mut report = Report::new();
    for scenario in scenarios {
        if arguments.selects(scenario.name) {
            report.run(scenario);
        } else {
            report.tally.filtered += 1;
        }
    }
    report.close()
}

/// The scenario that this process runs now, or ran last.
static CURRENT: Mutex<Option<&'static str>> = Mutex::new(None);

/// Its name.
pub(crate) fn current() -> Option<&'static str> {
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// And why.
    LeftOut(String),
    /// And why, with the evidence.
    Failed(String),
    /// The same; a second try would not excuse it: see [`Error::Promise`].
    Broken(String),
}

/// What a run has come to so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    tally: Tally,
    failures: Vec<(&'static str, String)>,
    /// Why those failed at first that passed at the second try.
    unstable: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn filtered(&mut self, count: usize) {
        self.tally.filtered += count;
    }

    /// Runs a scenario in this process, and prints how it ended.
    pub(crate) fn run(&mut self, scenario: &Scenario) -> Outcome {
        println!("scenario {} ...", scenario.name);
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(scenario.name);
        let start = Instant::now();
        let outcome = attempt(scenario);
        println!("{}", closing_line(scenario.name, &outcome, start.elapsed()));
        self.count(scenario.name, outcome.clone());
        outcome
    }

    pub(crate) fn count(&mut self, name: &'static str, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.tally.passed += 1,
            Outcome::LeftOut(_) => self.tally.left_out += 1,
            Outcome::Failed(why) | Outcome::Broken(why) => {
                self.tally.failed += 1;
                self.failures.push((name, why));
            }
        }
    }

    /// A scenario passed alone that had failed beside others, and why it had.
    pub(crate) fn passed_at_the_second_try(&mut self, name: &'static str, why: String) {
        self.tally.passed += 1;
        self.tally.at_the_second_try += 1;
        self.unstable.push((name, why));
    }

    /// The failures once more at the end, and shorter: the evidence is long, and what reads the output may keep only its
    /// end. Then the tally.
    pub(crate) fn close(self) -> ExitCode {
        let budget = DIGESTS / (self.failures.len() + self.unstable.len()).max(1);
        for (name, why) in &self.unstable {
            println!(
                "passed at the second try: {name}; the first: {}",
                digest(why, budget)
            );
        }
        for (name, why) in &self.failures {
            println!("failed: {name}: {}", digest(why, budget));
        }
        println!("{}", self.tally.line());
        if self.failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The line that says how a scenario ended, and for a failure the evidence below it.
fn closing_line(name: &str, outcome: &Outcome, took: Duration) -> String {
    let took = took.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("scenario {name} ... ok, {took:.1} s"),
        Outcome::LeftOut(why) => format!("scenario {name} ... left out: {why}"),
        Outcome::Failed(why) | Outcome::Broken(why) => {
            format!("scenario {name} ... FAILED, {took:.1} s\n{why}")
        }
    }
}

/// Why a scenario failed, from what its process printed: what is below the closing line; all of it where there is none.
pub(crate) fn reason_in(printed: &str, name: &str) -> String {
    let failed = format!("scenario {name} ... FAILED");
    let below = printed
        .split_once(&failed)
        .and_then(|(_, rest)| rest.split_once('\n'));
    below.map_or(printed, |(_, why)| why).trim().to_owned()
}

/// What the digests of all failures may have together, in characters.
const DIGESTS: usize = 9000;
/// What a line of a digest may have.
const LINE: usize = 240;

/// A failure in about `budget` characters: the beginning of the reason, and the end of each part of the evidence, since
/// the last lines of a log are the ones that matter.
fn digest(why: &str, budget: usize) -> String {
    let lines = why.lines().filter(|line| !line.trim().is_empty());
    let mut parts: Vec<Vec<String>> = Vec::new();
    for line in lines {
        if parts.is_empty() || line.starts_with("--- ") {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(line.chars().take(LINE).collect());
        }
    }
    let share = budget / parts.len().max(1);
    for (n, part) in parts.iter_mut().enumerate() {
        let mut used = 0;
        let mut fits = |line: &String| {
            used += line.chars().count() + 1;
            used <= share
        };
        let body = part.split_off(1);
        let kept = if n == 0 {
            let kept = body.iter().take_while(|line| fits(line)).count();
            &body[..kept]
        } else {
            let kept = body.iter().rev().take_while(|line| fits(line)).count();
            &body[body.len() - kept..]
        };
        part.extend_from_slice(kept);
    }
    parts.concat().join("\n")
}

fn attempt(scenario: &Scenario) -> Outcome {
    let outcome = packages::available()
        .and_then(|()| debian::of_scenario(scenario.suite))
        .and_then(|()| match catch_unwind(AssertUnwindSafe(scenario.run)) {
            Ok(result) => result,
            // The panic hook has printed message and place.
            Err(_) => Err(Error::Other("it panicked, see above".into())),
        });
    match outcome {
        Ok(()) => Outcome::Passed,
        Err(error) if matches!(error, Error::Skipped | Error::LeftOut(_)) => {
            Outcome::LeftOut(error.to_string())
        }
        Err(error @ Error::Promise(_)) => Outcome::Broken(error.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Arguments {
        Arguments::parse(words.iter().map(|w| (*w).to_owned()))
    }

    #[test]
    fn a_filter_selects_by_part_of_the_name_and_exact_by_the_whole() {
        assert!(parse(&["split"]).selects("split_loses_nothing"));
        assert!(!parse(&["split", "--exact"]).selects("split_loses_nothing"));
        assert!(parse(&[]).selects("anything"));
    }

    #[test]
    fn the_value_of_a_libtest_option_is_no_filter() {
        assert_eq!(
            parse(&["--test-threads", "1", "--nocapture"]),
            Arguments::default()
        );
    }

    #[test]
    fn a_digest_has_the_reason_from_its_beginning_and_the_logs_from_their_end() {
        let log = |name: &str| {
            let lines: Vec<String> = (1..=100).map(|n| format!("{name} line {n}")).collect();
            format!("--- {name}\n{}\n", lines.join("\n"))
        };
        let status = "status\n".repeat(100);
        let why = format!(
            "step three: not seen\n\n{status}{}{}",
            log("node1"),
            log("node2")
        );
        let digest = digest(&why, 300);
        assert!(
            digest.starts_with("step three: not seen\nstatus\n"),
            "{digest}"
        );
        let seen: Vec<&str> = digest.lines().filter(|line| *line != "status").collect();
        let expected = [
            "step three: not seen",
            "--- node1",
            "node1 line 94",
            "node1 line 95",
            "node1 line 96",
            "node1 line 97",
            "node1 line 98",
            "node1 line 99",
            "node1 line 100",
            "--- node2",
            "node2 line 94",
            "node2 line 95",
            "node2 line 96",
            "node2 line 97",
            "node2 line 98",
            "node2 line 99",
            "node2 line 100",
        ];
        assert_eq!(seen, expected);
        assert!(digest.len() < 400, "{digest}");
    }

    #[test]
    fn a_digest_of_one_line_is_that_line_cut() {
        assert_eq!(digest(&"x".repeat(2000), 9000), "x".repeat(LINE));
        assert_eq!(digest("", 9000), "");
    }

    #[test]
    fn the_reason_of_a_failure_is_what_is_below_its_closing_line() {
        let took = Duration::from_secs(2);
        let failed = Outcome::Failed("step two: not seen\n--- node1\nlog".into());
        let printed = format!("  story\n{}\nend", closing_line("a::b", &failed, took));
        assert_eq!(
            reason_in(&printed, "a::b"),
            "step two: not seen\n--- node1\nlog\nend"
        );
        assert_eq!(reason_in("  story\nkilled\n", "a::b"), "story\nkilled");
    }

    #[test]
    fn the_closing_line_tells_what_was_left_out() {
        let line = Tally {
            passed: 2,
            left_out: 3,
            ..Tally::default()
        }
        .line();
        assert_eq!(
            line,
            "scenarios: ok. 2 passed; 0 failed; 3 left out; 0 filtered out"
        );
    }

    #[test]
    fn the_closing_line_tells_what_passed_at_the_second_try() {
        let mut report = Report::new();
        report.passed_at_the_second_try("a::b", "too late".into());
        report.count("a::c", Outcome::Passed);
        assert_eq!(
            report.tally.line(),
            "scenarios: ok. 2 passed (1 at the second try, see above); 0 failed; 0 left out; 0 filtered out"
        );
    }

    #[test]
    fn a_broken_promise_is_a_failure_of_its_own() {
        let scenario = |run| {
            attempt(&Scenario {
                name: "a::b",
                run,
                suite: None,
            })
        };
        if packages::available().is_err() {
            return;
        }
        assert_eq!(
            scenario(|| Err(Error::Promise("3 acknowledged commits are lost".into()))),
            Outcome::Broken("3 acknowledged commits are lost".into())
        );
        assert_eq!(
            scenario(|| Err(Error::Other("not yet healthy".into()))),
            Outcome::Failed("not yet healthy".into())
        );
    }
}
