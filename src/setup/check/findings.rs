//! What is wrong, of what was seen of each node.

use serde::Serialize;

use super::facts::Facts;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(super) enum Severity {
    /// The cluster won't work, or not as it should.
    Error,
    /// It will work; something about it is a risk.
    Warning,
    /// A later step of the setup does it.
    Todo,
    /// All is well; it could be better.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// `None`: about all of them.
    pub(super) node: Option<String>,
    pub(super) what: String,
    pub(super) fix: String,
}

/// A node, and what it said; and by how much its clock is ahead of ours, in milliseconds.
pub(super) struct Seen {
    pub(super) node: String,
    pub(super) facts: Facts,
    pub(super) ahead: i64,
}

pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        node: Option<&str>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.0.push(Finding {
            severity,
            node: node.map(str::to_owned),
            what: what.into(),
            fix: fix.into(),
        });
    }

    pub(super) fn error(&mut self, node: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Error, Some(node), what, fix);
    }

    pub(super) fn warning(&mut self, node: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Warning, Some(node), what, fix);
    }

    pub(super) fn todo(&mut self, node: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Todo, Some(node), what, fix);
    }
}
