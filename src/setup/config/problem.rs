//! What is wrong with config.ini, and where.

use std::fmt;
use std::path::Path;

/// One thing that is wrong: a line, a key, a sentence that begins with a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1. `None`: it is about something that is not there.
    pub(crate) line: Option<usize>,
    pub(crate) key: Option<String>,
    /// What was seen and what to do, as it reads behind the key. Never a value that may be secret.
    pub(crate) what: String,
}

impl Problem {
    /// About a line.
    pub(crate) fn at(line: usize, key: Option<&str>, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            key: key.map(str::to_owned),
            what: what.into(),
        }
    }

    /// About a key that is not there.
    pub(crate) fn missing(key: &str, what: impl Into<String>) -> Self {
        Self {
            line: None,
            key: Some(key.to_owned()),
            what: what.into(),
        }
    }

    /// `config.ini:12: pgsql_pgport is not …`
    pub(crate) fn shown<'a>(&'a self, path: &'a Path) -> impl fmt::Display + 'a {
        Shown {
            problem: self,
            path,
        }
    }
}

struct Shown<'a> {
    problem: &'a Problem,
    path: &'a Path,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { line, key, what } = self.problem;
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = line {
            write!(f, "{line}:")?;
        }
        match key {
            Some(key) => write!(f, " {key} {what}"),
            None => write!(f, " this line {what}"),
        }
    }
}
