//! `cluster status`: once, or again and again.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decide::condition::{Condition, Health, judge};
use crate::decide::observed::Observed;
use crate::decide::why::explain;
use crate::model::cluster_view::Quorum;
use crate::sys::{Deadline, poll_until};

use super::args::StatusArgs;
use super::look::{Depth, look};
use super::report::{Report, VERSION, stamp};
use super::text::{Screen, clock, odd, render};
use crate::cluster::{Exit, Failure};

/// How many times a line that has changed is marked.
const MARKED: u8 = 5;

/// Shows how the cluster is.
///
/// # Errors
/// [`Failure`]: Pacemaker does not answer; with `--check` also what is not well.
pub(in crate::cluster) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let resource = args.resource.as_deref();
    if let Some(every) = args.watch {
        return watch(args, every.max(Duration::from_secs(1)));
    }
    let seen = look(resource, Depth::Everything);
    if args.check {
        return check(seen);
    }
    let (_, report) = report(&seen?);
    let text = if args.json {
        pretty(&report)?
    } else {
        render(&report, Screen::of_stdout()).join("\n")
    };
    print(&text)
}

/// Prints to whoever still reads.
///
/// # Errors
/// [`Failure`]: a full disk, say.
pub(in crate::cluster) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::plain),
    }
}

fn report(seen: &Observed) -> (Condition, Report) {
    let why = explain(seen);
    let condition = judge(seen, &why);
    let report = Report::new(seen, &why, &condition, Timestamp::now());
    (condition, report)
}

fn pretty(report: &Report) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(Failure::plain)
}

/// One line, and an exit code that says the same. The line is on standard output whatever it says: that is where monitoring looks for it.
fn check(seen: Result<Observed, Failure>) -> Result<(), Failure> {
    let (exit, line) = match seen {
        Ok(seen) => {
            let (condition, report) = report(&seen);
            match condition.health {
                Health::Healthy => {
                    return print(&format!("{}. {}", report.headline, report.outlook));
                }
                _ if seen.quorum != Quorum::Yes => (Exit::NoQuorum, report.headline),
                Health::Degraded | Health::Split => (Exit::Failed, report.headline),
                Health::NoPrimary | Health::Stopped => (Exit::NoPrimary, report.headline),
            }
        }
        Err(failure) => (failure.exit, failure.why),
    };
    print(&line)?;
    Err(Failure::told(exit))
}

/// In the place of a report where there is none.
fn unreadable(why: &str, now: Timestamp) -> Value {
    json!({ "version": VERSION, "seen_at": stamp(now), "error": why })
}

/// Until somebody interrupts it, or nobody reads it any more.
fn watch(args: &StatusArgs, every: Duration) -> Result<(), Failure> {
    let mut marks = Marks::default();
    loop {
        let seen = look(args.resource.as_deref(), Depth::Everything);
        let shown = match &seen {
            Ok(seen) => marks.show(&report(seen).1, args.json),
            // It may come back, and that is worth seeing.
            Err(failure) if failure.exit == Exit::Unreachable => marks.say(&failure.why, args.json),
            Err(failure) => return Err(failure.clone()),
        };
        match shown {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::plain(error)),
        }
        poll_until(Deadline::after(every), every, || None::<()>);
    }
}

/// What was shown before.
#[derive(Default)]
struct Marks {
    /// Lines without their figures; how often each is still to be marked.
    lines: BTreeMap<String, u8>,
    /// The last block of a pipe, without its figures.
    block: Option<String>,
    has_drawn: bool,
}

impl Marks {
    fn show(&mut self, report: &Report, json: bool) -> io::Result<()> {
        let screen = Screen::of_stdout();
        let still = report.without_figures();
        if screen.width.is_none() || json {
            let block = serde_json::to_string(&still).unwrap_or_default();
            if self.block.as_ref() == Some(&block) {
                return Ok(());
            }
            self.block = Some(block);
            let mut out = io::stdout();
            if json {
                writeln!(out, "{}", serde_json::to_string(report).unwrap_or_default())?;
            } else {
                writeln!(out, "--- {}", report.seen_at)?;
                writeln!(out, "{}\n", render(report, screen).join("\n"))?;
            }
            return out.flush();
        }
        let screen = Screen {
            // The marks are in front.
            width: screen.width.map(|width| width.saturating_sub(2)),
            live: true,
            ..screen
        };
        let plain = Screen {
            colour: false,
            ..screen
        };
        // Without the space between words: a column may become wider because of another line.
        let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let still: Vec<String> = render(&still, plain).into_iter().map(words).collect();
        let shown = render(report, screen);
        let marked = self.mark(&still, shown, screen);
        self.draw(&marked, &clock(&report.seen_at))
    }

    /// Puts a mark in front of what has changed lately.
    fn mark(&mut self, still: &[String], shown: Vec<String>, screen: Screen) -> Vec<String> {
        let is_first = self.lines.is_empty();
        let old = std::mem::take(&mut self.lines);
        for line in still {
            let left = match old.get(line) {
                Some(left) => left.saturating_sub(1),
                None if is_first => 0,
                None => MARKED,
            };
            self.lines.insert(line.clone(), left);
        }
        let is_marked = |i: usize| {
            let line = still.get(i).filter(|line| !line.is_empty());
            line.and_then(|line| self.lines.get(line))
                .is_some_and(|left| *left > 0)
        };
        let with_mark = |(i, line): (usize, String)| {
            let mark = if is_marked(i) { "*" } else { " " };
            format!("{} {line}", screen.paint(mark, &odd()))
        };
        shown.into_iter().enumerate().map(with_mark).collect()
    }

    /// What went wrong, in the place of everything.
    fn say(&mut self, text: &str, json: bool) -> io::Result<()> {
        if Screen::of_stdout().width.is_some() && !json {
            return self.draw(&[text.to_owned()], "");
        }
        if self.block.as_deref() != Some(text) {
            self.block = Some(text.to_owned());
            let mut out = io::stdout();
            if json {
                writeln!(out, "{}", unreadable(text, Timestamp::now()))?;
            } else {
                writeln!(out, "--- {text}\n")?;
            }
        }
        io::stdout().flush()
    }

    /// Over what stood there, without a flicker.
    fn draw(&mut self, lines: &[String], at: &str) -> io::Result<()> {
        let term = console::Term::buffered_stdout();
        if self.has_drawn {
            term.move_cursor_to(0, 0)?;
        } else {
            term.clear_screen()?;
            self.has_drawn = true;
        }
        let height = usize::from(term.size().0);
        for line in lines.iter().take(height.saturating_sub(2)) {
            term.clear_line()?;
            term.write_line(line)?;
        }
        term.clear_to_end_of_screen()?;
        term.write_line(&format!("  {at}  Ctrl-C ends"))?;
        term.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Screen = Screen {
        width: Some(80),
        colour: false,
        live: true,
    };

    #[test]
    fn a_look_that_failed_is_a_line_of_json_too() {
        let now = "2026-11-21T19:00:00Z".parse().unwrap();
        let line = unreadable("the CIB could not be read: \"why\"", now);
        let text = line.to_string();
        assert!(!text.contains('\n'));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["error"], "the CIB could not be read: \"why\"");
        assert_eq!(read["seen_at"], "2026-11-21T19:00:00Z");
        assert_eq!(read["version"], VERSION);
    }

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn what_has_changed_is_marked_for_a_while() {
        let mut marks = Marks::default();
        let mut mark = |text: &[&str]| marks.mark(&lines(text), lines(text), SCREEN);
        assert_eq!(
            mark(&["node1 online", "node2 online"]),
            ["  node1 online", "  node2 online"]
        );
        let changed = ["node1 online", "node2 offline"];
        for _ in 0..MARKED {
            assert_eq!(mark(&changed), ["  node1 online", "* node2 offline"]);
        }
        assert_eq!(mark(&changed), ["  node1 online", "  node2 offline"]);
    }
}
