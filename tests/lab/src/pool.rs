//! Runs scenarios beside each other: most of a scenario is waiting for Corosync and Pacemaker. Each is a process of its own,
//! the test program once more with one scenario's name, so that what it prints is kept together, and a lab ends with its
//! process however that ends. Scenarios that compare times run at the end, alone.
//!
//! Scenarios that need no cluster take a second each, and booting a lab takes longer than that: [`chains`] has a process run one
//! after the other, on one lab.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::{Error, Result};
use crate::suite::{Arguments, Outcome, Report, Scenario, reason_in};
use crate::{packages, poll, site};

/// How many labs at a time.
const LABS_VARIABLE: &str = "EXPGSQL_LABS";
/// Set for the process of a scenario: [`BESIDE`], [`CHAINED`] or [`ALONE`].
const MEMBER_VARIABLE: &str = "EXPGSQL_LAB_MEMBER";
/// Other scenarios run at the same time.
const BESIDE: &str = "beside";
/// The same, and it runs those that it is told one after the other.
const CHAINED: &str = "chained";
/// None does.
const ALONE: &str = "alone";
/// What the process of a scenario that was left out exits with.
const LEFT_OUT: u8 = 77;
/// And of one in which a promise was broken.
const BROKEN: u8 = 78;
/// `0`: no scenario is tried a second time.
const SECOND_VARIABLE: &str = "EXPGSQL_SECOND_TRY";
/// More scenarios than these do not fail because the machine was busy.
const SECOND_TRIES: usize = 4;
/// A scenario that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs the scenarios that the command line selects (filters as with libtest; `--exact`, `--list`): as many of `beside` at a
/// time as `EXPGSQL_LABS` says (by default two for each core), then those of `alone` one after the other. A single one runs in this process, and what it prints appears at once.
///
/// Labs beside each other take each other's time. So a few that failed are tried once more at the end, alone: what they failed
/// in is printed at the end all the same, and the closing line counts them. A broken promise ([`Error::Promise`]) is final.
///
/// With `EXPGSQL_LAB=skip` every one is left out, and the closing line says so; without root every one fails.
pub fn pool(beside: &[Scenario], alone: &[Scenario]) -> ExitCode {
    all(beside, alone, Way::Apart)
}

/// The same for scenarios that share a lab, which each of them puts back to its first state: as many processes as labs may run at
/// a time, each with a lab of its own, take the next scenario when they are done with one. The caller ends the lab of this process
/// after it.
pub fn chains(scenarios: &[Scenario]) -> ExitCode {
    all(scenarios, &[], Way::Chained)
}

/// How the scenarios that run beside each other have their processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each has one.
    Apart,
    /// Those that run one after the other have one.
    Chained,
}

fn all(beside: &[Scenario], alone: &[Scenario], way: Way) -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let all = [beside, alone].concat();
    if arguments.list {
        return arguments.listed(&all);
    }
    let chosen: Vec<&Scenario> = all.iter().filter(|s| arguments.selects(s.name)).collect();
    match std::env::var(MEMBER_VARIABLE) {
        Ok(told) if told == CHAINED => return chained(&all),
        Ok(_) => return member(&chosen),
        Err(_) => {}
    }
    let mut report = Report::new();
    report.filtered(all.len() - chosen.len());
    if chosen.len() < 2 || packages::available().is_err() {
        for scenario in chosen {
            report.run(scenario);
        }
        return report.close();
    }
    if let Err(error) = packages::install() {
        eprintln!("lab: {error}");
        return ExitCode::FAILURE;
    }
    match site::seed_of_run() {
        Ok(None) => {}
        Ok(Some(seed)) => println!("sites are drawn with {}={seed}", site::SEED_VARIABLE),
        Err(error) => {
            eprintln!("lab: {error}");
            return ExitCode::FAILURE;
        }
    }
    let selects = |scenario: &&Scenario| arguments.selects(scenario.name);
    let queue: Mutex<VecDeque<&Scenario>> = Mutex::new(beside.iter().filter(selects).collect());
    let results = Mutex::new(Results {
        report,
        failed: Vec::new(),
    });
    let next = || lock(&queue).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..labs() {
            scope.spawn(|| {
                let mut chain = None;
                while let Some(scenario) = next() {
                    println!("scenario {} begins", scenario.name);
                    let end = match way {
                        Way::Apart => ended(scenario.name, BESIDE),
                        Way::Chained => ended_in(&mut chain, scenario.name),
                    };
                    note_end(scenario, end, &results);
                }
            });
        }
    });
    for scenario in alone.iter().filter(selects) {
        println!("scenario {} begins", scenario.name);
        note_end(scenario, ended(scenario.name, ALONE), &results);
    }
    let results = results.into_inner();
    let Results { report, failed } = results.unwrap_or_else(PoisonError::into_inner);
    again(report, failed).close()
}

/// What the scenarios came to.
struct Results {
    report: Report,
    /// Those that may be tried a second time, and why they failed.
    failed: Vec<(&'static str, String)>,
}

/// Tries those a second time, alone, that failed beside others.
fn again(mut report: Report, failed: Vec<(&'static str, String)>) -> Report {
    if !may_try_again(failed.len(), std::env::var(SECOND_VARIABLE).ok().as_deref()) {
        for (name, why) in failed {
            report.count(name, Outcome::Failed(why));
        }
        return report;
    }
    for (name, first) in failed {
        println!("scenario {name} failed beside others, and is tried a second time, alone");
        let (outcome, printed) = ended(name, ALONE);
        print!("{printed}");
        match outcome {
            Outcome::Passed => report.passed_at_the_second_try(name, first),
            Outcome::LeftOut(_) | Outcome::Failed(_) | Outcome::Broken(_) => {
                report.count(name, outcome);
            }
        }
    }
    report
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn labs() -> usize {
    let told = std::env::var(LABS_VARIABLE)
        .ok()
        .and_then(|v| v.parse().ok());
    let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    told.unwrap_or_else(|| 2 * cores()).max(1)
}

/// A lab is not to outlive the run that it belongs to.
fn follow_the_run() -> std::result::Result<(), ExitCode> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| {
        eprintln!("lab: follow the run in its end: {errno}");
        ExitCode::FAILURE
    })
}

/// The process of one scenario.
fn member(chosen: &[&Scenario]) -> ExitCode {
    if let Err(code) = follow_the_run() {
        return code;
    }
    let [scenario] = chosen else {
        eprintln!("lab: {} scenarios for one process", chosen.len());
        return ExitCode::FAILURE;
    };
    ExitCode::from(code(&Report::new().run(scenario)))
}

/// What the process of a scenario says of its end.
fn code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Passed => 0,
        Outcome::LeftOut(_) => LEFT_OUT,
        Outcome::Failed(_) => 1,
        Outcome::Broken(_) => BROKEN,
    }
}

/// Goes before a scenario's code, on a line of its own below what the scenario printed.
const ENDED: &str = "scenario ended with ";

/// The process of scenarios that are told one after the other, a name a line.
fn chained(all: &[Scenario]) -> ExitCode {
    if let Err(code) = follow_the_run() {
        return code;
    }
    for name in std::io::stdin().lines().map_while(std::result::Result::ok) {
        let Some(scenario) = all.iter().find(|scenario| scenario.name == name) else {
            eprintln!("lab: no scenario {name:?}");
            return ExitCode::FAILURE;
        };
        println!("{ENDED}{}", code(&Report::new().run(scenario)));
    }
    ExitCode::SUCCESS
}

/// A process that runs scenarios one after the other.
struct Chain {
    child: Child,
    /// The names go in here; with its end the process ends.
    names: Option<ChildStdin>,
    printed: File,
    /// Up to where that has been read.
    read: u64,
}

impl Chain {
    fn begin() -> Result<Self> {
        let (mut child, printed) = process(&[], CHAINED, Stdio::piped())?;
        Ok(Self {
            names: child.stdin.take(),
            child,
            printed,
            read: 0,
        })
    }

    /// Has it run a scenario, and gives how that ended and what was printed. An error: the process is of no more use.
    fn run(&mut self, name: &str) -> Result<(ExitStatus, String)> {
        let told = self.names.as_mut().map(|names| writeln!(names, "{name}"));
        told.transpose()
            .map_err(Error::io("name a scenario to its process"))?;
        let start = Instant::now();
        let mut text = Vec::new();
        loop {
            // Before what it printed: that is all then.
            let status = end_within(&mut self.child, start)?;
            self.printed
                .seek(SeekFrom::Start(self.read))
                .and_then(|_| self.printed.read_to_end(&mut text))
                .map_err(Error::io("read what a scenario printed"))?;
            self.read += u64::try_from(text.len()).unwrap_or_default();
            let said = String::from_utf8_lossy(&text);
            if let Some((printed, code)) = code_in(&said) {
                return Ok((ExitStatus::from_raw(i32::from(code) << 8), printed));
            }
            if let Some(status) = status {
                return Ok((status, said.into_owned()));
            }
            self.read -= u64::try_from(text.len()).unwrap_or_default();
            text.clear();
            poll::rest(Duration::from_millis(50));
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        drop(self.names.take());
        // It takes its lab down.
        drop(end_of(&mut self.child));
    }
}

/// What a scenario of a chain printed, and its code, once that is there.
fn code_in(printed: &str) -> Option<(String, u8)> {
    let (before, after) = printed.rsplit_once(ENDED)?;
    // Whatever somebody who is late has printed after it.
    let (code, _) = after.split_once('\n')?;
    let code = code.parse().ok()?;
    Some((before.to_owned(), code))
}

/// Runs a scenario to its end in the process of a chain, which is begun where there is none.
fn ended_in(chain: &mut Option<Chain>, name: &str) -> (Outcome, String) {
    let begun = match chain.take() {
        Some(chain) => Ok(chain),
        None => Chain::begin(),
    };
    let end = begun.and_then(|mut it| {
        let end = it.run(name)?;
        if it.child.try_wait().is_ok_and(|status| status.is_none()) {
            *chain = Some(it);
        }
        Ok(end)
    });
    told(name, end)
}

/// Whether this is the process of a scenario that others run beside.
pub(crate) fn has_neighbours() -> bool {
    std::env::var(MEMBER_VARIABLE).is_ok_and(|told| told == BESIDE || told == CHAINED)
}

fn note_end(scenario: &Scenario, end: (Outcome, String), results: &Mutex<Results>) {
    let (outcome, printed) = end;
    // Printed under the lock: two stories are not to be mixed.
    let mut results = lock(results);
    print!("{printed}");
    match outcome {
        Outcome::Failed(why) => results.failed.push((scenario.name, why)),
        Outcome::Passed | Outcome::LeftOut(_) | Outcome::Broken(_) => {
            results.report.count(scenario.name, outcome);
        }
    }
}

fn may_try_again(failed: usize, told: Option<&str>) -> bool {
    told != Some("0") && failed <= SECOND_TRIES
}

/// Runs a scenario to its end, and gives what it printed, with a closing line in any case.
fn ended(name: &str, company: &str) -> (Outcome, String) {
    told(name, run(name, company))
}

fn told(name: &str, end: Result<(ExitStatus, String)>) -> (Outcome, String) {
    let (outcome, mut printed) = match end {
        Ok((status, printed)) => (outcome(name, status, &printed), printed),
        Err(error) => (Outcome::Failed(error.to_string()), String::new()),
    };
    if let Outcome::Failed(why) | Outcome::Broken(why) = &outcome
        && !printed.contains("... FAILED")
    {
        let line = format!("scenario {name} ... FAILED\n{why}\n");
        printed.push_str(&line);
    }
    (outcome, printed)
}

fn outcome(name: &str, status: ExitStatus, printed: &str) -> Outcome {
    match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(LEFT_OUT) => Outcome::LeftOut(String::new()),
        Some(code) if code == i32::from(BROKEN) => Outcome::Broken(reason_in(printed, name)),
        Some(_) => Outcome::Failed(reason_in(printed, name)),
        None => Outcome::Failed(format!(
            "its process ended by signal {}\n{}",
            status.signal().unwrap_or_default(),
            reason_in(printed, name)
        )),
    }
}

/// Runs the scenario of this name in a process of its own, and gives how that ended and what it printed.
fn run(name: &str, company: &str) -> Result<(ExitStatus, String)> {
    let (mut child, mut printed) = process(&["--exact", name], company, Stdio::null())?;
    let status = end_of(&mut child)?;
    let mut text = Vec::new();
    printed
        .rewind()
        .and_then(|()| printed.read_to_end(&mut text))
        .map_err(Error::io("read what a scenario printed"))?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// Starts this program once more, for scenarios of its own, and gives the file with what they print.
fn process(arguments: &[&str], company: &str, names: Stdio) -> Result<(Child, File)> {
    let program = std::env::current_exe().map_err(Error::io("find the test program"))?;
    // A file and no pipe: what a scenario started may hold on to it after its end.
    let printed = unnamed_file()?;
    let duplicate = || printed.try_clone().map_err(Error::io("duplicate a file"));
    let mut command = Command::new(program);
    if let Some(seed) = site::seed_of_run()? {
        command.env(site::SEED_VARIABLE, seed.to_string());
    }
    let child = command
        .args(arguments)
        .env(MEMBER_VARIABLE, company)
        .stdin(names)
        .stdout(duplicate()?)
        .stderr(duplicate()?)
        .spawn()
        .map_err(Error::io("start the process of a scenario"))?;
    Ok((child, printed))
}

fn end_of(child: &mut Child) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = end_within(child, start)? {
            return Ok(status);
        }
        poll::rest(Duration::from_millis(100));
    }
}

/// Whether a process has ended, by itself or since its time is over; `None`: not yet.
fn end_within(child: &mut Child, start: Instant) -> Result<Option<ExitStatus>> {
    let ended = child.try_wait().map_err(Error::io("wait for a scenario"))?;
    if ended.is_none() && start.elapsed() > LIMIT {
        child.kill().map_err(Error::io("end a scenario"))?;
        return child
            .wait()
            .map(Some)
            .map_err(Error::io("wait for a scenario"));
    }
    Ok(ended)
}

/// A file without a name, which is gone with its last user.
fn unnamed_file() -> Result<File> {
    let path = crate::place::base()?.join(format!(
        "printed-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = File::options()
        .read(true)
        .append(true)
        .create_new(true)
        .open(&path)
        .map_err(Error::io(format!("create {}", path.display())))?;
    std::fs::remove_file(&path).map_err(Error::io(format!("remove {}", path.display())))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_that_failed_are_tried_again_and_many_are_not() {
        assert!(may_try_again(SECOND_TRIES, None));
        assert!(may_try_again(1, Some("1")));
        assert!(!may_try_again(1, Some("0")));
        assert!(!may_try_again(SECOND_TRIES + 1, None));
    }

    #[test]
    fn a_scenario_of_a_chain_is_over_with_its_code_on_a_line() {
        let printed = "scenario a::b ... ok, 1.0 s\n";
        assert_eq!(code_in(printed), None);
        assert_eq!(code_in(&format!("{printed}{ENDED}7")), None);
        assert_eq!(
            code_in(&format!("{printed}{ENDED}77\n")),
            Some((printed.to_owned(), LEFT_OUT))
        );
        assert_eq!(
            code_in(&format!("{printed}{ENDED}0\nlate")),
            Some((printed.to_owned(), 0))
        );
    }

    #[test]
    fn how_a_process_ended_says_whether_it_may_be_tried_again() {
        let ended = |code: i32| {
            let printed = "scenario a::b ... FAILED, 1.0 s\nwhy\n";
            outcome("a::b", ExitStatus::from_raw(code << 8), printed)
        };
        assert_eq!(ended(0), Outcome::Passed);
        assert_eq!(ended(i32::from(LEFT_OUT)), Outcome::LeftOut(String::new()));
        assert_eq!(ended(i32::from(BROKEN)), Outcome::Broken("why".into()));
        assert_eq!(ended(1), Outcome::Failed("why".into()));
    }
}
