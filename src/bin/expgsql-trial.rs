//! The agent as the tests take it apart: the same program, built with the feature `trial`, a list of what that has, and a counter
//! in the CIB.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use expgsql::pacemaker::attributes::WriteError;
use expgsql::pacemaker::change_set::{ChangeSet, Condition, Weight};
use expgsql::pacemaker::cib::Cib;
use expgsql::sys::Deadline;
use expgsql::trial::{Control, Point};
use strum::VariantArray;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("trial-points") => Point::VARIANTS.iter().for_each(|point| println!("{point}")),
        Some("trial-controls") => Control::VARIANTS
            .iter()
            .for_each(|control| println!("{control}")),
        Some("trial-count") => return count(),
        Some(_) | None => return expgsql::run::run(std::env::args_os(), std::env::vars_os()),
    }
    ExitCode::SUCCESS
}

/// `trial-count PROPERTY TIMES raising|plain`: raises a number in the CIB so many times, each time on condition that it is what it was
/// read to be. Says how often that was refused, and how long a change took that was not, in the middle, in milliseconds.
fn count() -> ExitCode {
    let mut words = std::env::args().skip(2);
    let (Some(name), Some(times), Some(how)) = (words.next(), words.next(), words.next()) else {
        eprintln!("trial-count PROPERTY TIMES raising|plain");
        return ExitCode::FAILURE;
    };
    let Ok(times) = times.parse::<usize>() else {
        eprintln!("{times:?} is no number");
        return ExitCode::FAILURE;
    };
    let (mut refused, mut took) = (0, Vec::new());
    while took.len() < times {
        match raise(&name, how == "raising") {
            Ok(time) => took.push(time),
            Err(WriteError::ConditionFailed { .. } | WriteError::Superseded) => refused += 1,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    took.sort_unstable();
    let middle = took.get(took.len() / 2).copied().unwrap_or_default();
    println!("{refused} {}", middle.as_millis());
    ExitCode::SUCCESS
}

fn raise(name: &str, is_raising: bool) -> Result<Duration, WriteError> {
    let deadline = Deadline::after(Duration::from_secs(30));
    let view = Cib::live().read(deadline).map_err(WriteError::NotRead)?;
    let is = view.property(name).map(str::to_owned);
    let next = is.as_deref().map_or(Ok(0), str::parse::<u64>).unwrap_or(0) + 1;
    let mut change = ChangeSet::default()
        .property(name, Some(&next.to_string()))
        .only_if(Condition::Property {
            name: name.to_owned(),
            is,
        });
    if is_raising {
        change = change.raise_admin_epoch(Weight::Revocation);
    }
    let start = Instant::now();
    match change.apply(&Cib::live(), &view, deadline) {
        // Somebody else has counted on before it was looked at: no other way to read what was just set.
        Ok(_) | Err(WriteError::NotConfirmed { .. }) => Ok(start.elapsed()),
        Err(error) => Err(error),
    }
}
