//! How far the work is: a bar on a terminal, a line for each change elsewhere, JSON where a program reads it.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::model::progress::Progress;
use crate::model::repair::{Journal, Phase};

/// How often what turns turns.
const TICK: Duration = Duration::from_millis(120);

/// Per cent between two lines.
const STEP: u64 = 10;

/// Where the progress of a command is shown. What is said to people goes to standard output, or to standard error where
/// standard output is a program's.
pub(super) enum Display {
    Bar(ProgressBar),
    Lines(Lines),
    Json,
}

impl Display {
    /// A bar needs a terminal of its own: with the log in between it is lines.
    pub(super) fn new(json: bool, verbose: bool) -> Self {
        if json {
            Self::Json
        } else if io::stdout().is_terminal() && io::stderr().is_terminal() && !verbose {
            let bar = ProgressBar::new_spinner();
            spin(&bar, "looking".to_owned());
            bar.enable_steady_tick(TICK);
            Self::Bar(bar)
        } else {
            Self::Lines(Lines::default())
        }
    }

    /// A line for people.
    pub(super) fn say(&self, text: &str) {
        // Whoever reads may have gone; the work goes on all the same.
        let _ = match self {
            Self::Bar(bar) => bar.suspend(|| writeln!(io::stdout(), "{text}")),
            Self::Lines(_) => writeln!(io::stdout(), "{text}"),
            Self::Json => writeln!(io::stderr(), "{text}"),
        };
    }

    /// The work is as far as this.
    pub(super) fn tell(&mut self, journal: &Journal) {
        match self {
            Self::Bar(bar) => draw(bar, journal),
            Self::Lines(lines) => {
                if let Some(line) = lines.next(journal) {
                    self.say(&line);
                }
            }
            Self::Json => {
                if let Ok(line) = serde_json::to_string(journal) {
                    let _ = writeln!(io::stdout(), "{line}");
                }
            }
        }
    }

    /// Something is waited for that is not part of the work.
    pub(super) fn wait(&self, text: &str) {
        match self {
            Self::Bar(bar) => spin(bar, text.to_owned()),
            Self::Lines(_) | Self::Json => self.say(text),
        }
    }

    /// Nothing more is to come: the bar goes, what was said stays.
    pub(super) fn close(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, journal: &Journal) {
    let Some(progress) = journal.progress.filter(|_| journal.phase == Phase::Copying) else {
        return spin(bar, journal.to_string());
    };
    // The style comes last: each of these draws.
    bar.set_length(progress.total);
    bar.set_position(progress.done.min(progress.total));
    bar.set_prefix(format!("{}: {}", journal.work, journal.phase));
    bar.set_message(with_rest(&progress));
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
}

fn spin(bar: &ProgressBar, text: String) {
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_message(text);
}

/// `43 % of 12.3 GB, 85.0 MB/s, 1 min 24 s to go`
fn with_rest(progress: &Progress) -> String {
    let left = progress.total.saturating_sub(progress.done);
    match left.checked_div(progress.rate) {
        Some(seconds) if left > 0 => format!("{progress}, {} to go", in_words(seconds)),
        Some(_) | None => progress.to_string(),
    }
}

/// `2 h 5 min`, `1 min 24 s`, `7 s`
fn in_words(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// Turns the journal, which changes every moment, into lines worth keeping.
#[derive(Debug, Default)]
pub(super) struct Lines {
    last: Option<Journal>,
}

impl Lines {
    /// The line for `journal`, where it says something new: another phase or note, or ten per cent more.
    fn next(&mut self, journal: &Journal) -> Option<String> {
        let step = |journal: &Journal| journal.progress.map(|p| p.percent() / STEP);
        let is_new = self.last.as_ref().is_none_or(|last| {
            last.work != journal.work
                || last.phase != journal.phase
                || last.note != journal.note
                || step(last) != step(journal)
        });
        is_new.then(|| {
            self.last = Some(journal.clone());
            journal.to_string()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::repair::Work;

    fn copying(done: u64) -> Journal {
        Journal {
            phase: Phase::Copying,
            progress: Some(Progress {
                done,
                total: 100 << 20,
                rate: 10 << 20,
            }),
            ..Journal::new(Work::Rebuild)
        }
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_change_and_for_each_tenth() {
        let mut lines = Lines::default();
        let mut told = Vec::new();
        told.extend(lines.next(&Journal::new(Work::Rebuild)));
        told.extend(lines.next(&Journal::new(Work::Rebuild)));
        for megabytes in 0..=25 {
            told.extend(lines.next(&copying(megabytes << 20)));
        }
        let waiting = Journal {
            note: Some("the primary does not answer".to_owned()),
            ..copying(25 << 20)
        };
        told.extend(lines.next(&waiting));
        assert_eq!(
            told,
            [
                "rebuild: checking",
                "rebuild: copying, 0 % of 100.0 MB, 10.0 MB/s",
                "rebuild: copying, 10 % of 100.0 MB, 10.0 MB/s",
                "rebuild: copying, 20 % of 100.0 MB, 10.0 MB/s",
                "rebuild: copying, 25 % of 100.0 MB, 10.0 MB/s: the primary does not answer",
            ]
        );
    }

    #[test]
    fn a_bar_says_how_long_it_will_take() {
        for (done, total, rate, expected) in [
            (0, 100 << 20, 0, "0 % of 100.0 MB"),
            (
                10 << 20,
                100 << 20,
                10 << 20,
                "10 % of 100.0 MB, 10.0 MB/s, 9 s to go",
            ),
            (
                0,
                2 << 30,
                8 << 20,
                "0 % of 2.0 GB, 8.0 MB/s, 4 min 16 s to go",
            ),
            (
                0,
                1 << 40,
                100 << 20,
                "0 % of 1.0 TB, 100.0 MB/s, 2 h 54 min to go",
            ),
            (5 << 20, 5 << 20, 1 << 20, "100 % of 5.0 MB, 1.0 MB/s"),
            (6 << 20, 5 << 20, 1 << 20, "100 % of 5.0 MB, 1.0 MB/s"),
        ] {
            let progress = Progress { done, total, rate };
            assert_eq!(with_rest(&progress), expected);
        }
    }

    #[test]
    fn the_bar_takes_every_phase() {
        let bar = ProgressBar::hidden();
        for phase in [
            Phase::Waiting,
            Phase::Checking,
            Phase::Swapping,
            Phase::Done,
        ] {
            let journal = Journal {
                phase,
                ..copying(1)
            };
            draw(&bar, &journal);
            assert_eq!(bar.message(), format!("rebuild: {phase}"));
        }
        draw(&bar, &copying(50 << 20));
        assert_eq!((bar.position(), bar.length()), (50 << 20, Some(100 << 20)));
        assert_eq!(bar.message(), "50 % of 100.0 MB, 10.0 MB/s, 5 s to go");
    }
}
