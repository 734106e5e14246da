//! The repair of a node that cannot follow the primary: what is done, and how far it is.

use serde::{Deserialize, Serialize};

use super::progress::Progress;

/// How a copy is made that can follow again.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Work {
    /// pg_rewind: what this node wrote past the fork is undone in place.
    Rewind,
    /// pg_basebackup: a new copy, in the place of the old one once it is complete.
    Rebuild,
}

/// What happens to a node that cannot follow the primary: the parameter `on_divergence`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum OnDivergence {
    /// Its start is refused with the reason, and nothing is touched.
    #[default]
    Stop,
    /// pg_rewind, where that can help.
    Rewind,
    /// A new copy.
    Rebuild,
    /// pg_rewind where that can help, else a new copy.
    RewindOrRebuild,
}

/// Where the work is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Phase {
    /// For the primary to be reachable, say; the note says for what.
    Waiting,
    /// A server that ended badly finishes its own WAL, as pg_rewind needs it.
    Recovering,
    /// Whether all that is needed is there; nothing has been changed.
    Checking,
    Copying,
    /// The complete copy takes the place of the old one.
    Swapping,
    /// The server starts as a standby.
    Starting,
    Done,
    /// It was given up; the note says why.
    Failed,
}

impl Phase {
    /// Nothing is being done any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// What is known of a repair, while it goes on and after it has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    pub work: Work,
    pub phase: Phase,
    /// While copying.
    pub progress: Option<Progress>,
    /// What it waits for, or why it failed.
    pub note: Option<String>,
    /// A rewind has begun to write and has not ended: what is there is neither the old data nor the new.
    pub damaged: bool,
    /// Which data directory is damaged: somebody may have put a fresh copy there since.
    #[serde(default)]
    pub control_file: Option<String>,
}

impl Journal {
    /// The beginning of `work`.
    #[must_use]
    pub const fn new(work: Work) -> Self {
        Self {
            work,
            phase: Phase::Checking,
            progress: None,
            note: None,
            damaged: false,
            control_file: None,
        }
    }
}

/// `rebuild: copying, 43 % of 12.3 GB, 85.0 MB/s`: what `RSC-repair` shows.
impl std::fmt::Display for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.work, self.phase)?;
        if let Some(progress) = self.progress.filter(|_| self.phase == Phase::Copying) {
            write!(f, ", {progress}")?;
        }
        if let Some(note) = &self.note {
            write!(f, ": {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    /// What a script that reads `--json` is told.
    #[test]
    fn the_json_of_a_journal_is_as_documented() {
        let page = include_str!("../../docs/commands.md");
        let phases: Vec<String> = Phase::VARIANTS.iter().map(ToString::to_string).collect();
        let listed = format!("`phase` is one of {};", phases.join(", "));
        assert!(page.replace('\n', " ").contains(&listed), "{listed}");
        let is_journal = |line: &&str| line.starts_with("{\"work\"");
        let examples: Vec<&str> = page.lines().map(str::trim).filter(is_journal).collect();
        assert!(!examples.is_empty());
        for example in examples {
            let journal: Journal = serde_json::from_str(example).unwrap();
            assert_eq!(serde_json::to_string(&journal).unwrap(), example);
        }
    }

    #[test]
    fn a_journal_says_what_an_operator_wants_to_know() {
        let mut journal = Journal::new(Work::Rebuild);
        assert_eq!(journal.to_string(), "rebuild: checking");
        journal.phase = Phase::Copying;
        journal.progress = Some(Progress {
            done: 1 << 20,
            total: 4 << 20,
            rate: 0,
        });
        assert_eq!(journal.to_string(), "rebuild: copying, 25 % of 4.0 MB");
        journal.phase = Phase::Failed;
        journal.note = Some("no space".to_owned());
        assert_eq!(journal.to_string(), "rebuild: failed: no space");
        let text = serde_json::to_string(&journal).unwrap();
        assert_eq!(serde_json::from_str::<Journal>(&text).unwrap(), journal);
    }
}
