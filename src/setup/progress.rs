//! What is waited for: something that turns on a terminal, a line for each change elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often what turns turns.
const TICK: Duration = Duration::from_millis(120);

/// Where it is shown.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines(Option<String>),
}

impl Progress {
    pub(super) fn new() -> Self {
        if !(io::stdout().is_terminal() && io::stderr().is_terminal()) {
            return Self::Lines(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self::Bar(bar)
    }

    /// What is being waited for now.
    pub(super) fn wait(&mut self, text: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(text.to_owned()),
            Self::Lines(last) if last.as_deref() == Some(text) => {}
            Self::Lines(last) => {
                // Whoever reads may have gone; the work goes on all the same.
                let _ = writeln!(io::stdout(), "{text}");
                *last = Some(text.to_owned());
            }
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        let _ = match self {
            Self::Bar(bar) => bar.suspend(|| writeln!(io::stdout(), "{text}")),
            Self::Lines(_) => writeln!(io::stdout(), "{text}"),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
