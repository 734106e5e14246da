//! How a command for operators ends.

use std::fmt;
use std::process::ExitCode;

/// The exit codes of `expgsql cluster …`: those of pha4pgsql's `cls_*` scripts, which operators' own scripts know. They
/// are not OCF codes. A command line that can't be understood ends with 2, as everywhere; what cls_start called 2, the primary
/// serves but not everything else is up, is [`Exit::TimedOut`] here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::VariantArray)]
#[repr(u8)]
pub enum Exit {
    /// Done, and seen to be so.
    Done = 0,
    /// Tried and failed, or given up before anything was done: the sentence says which.
    Failed = 1,
    /// The command line, or the file it names, can't be used as it is; nothing was done.
    Usage = 2,
    /// The cluster has no primary, or the node that is to be one is not in the cluster; where a primary is in the way (reset-master),
    /// it has one. pha4pgsql's scripts say 10 for all three.
    NoPrimary = 10,
    /// It was done, but what should follow from it was not seen in time.
    TimedOut = 11,
    /// Not for this node as it is, or not for this cluster as it is, or no such node: the sentence says which.
    Refused = 100,
    /// Pacemaker does not answer on this node.
    Unreachable = 101,
    /// This partition of the cluster has no quorum.
    NoQuorum = 102,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not come to its end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// A sentence: what was seen, what it means, what to do; nothing after [`Failure::told`].
    pub why: String,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(exit: Exit, why: impl fmt::Display) -> Self {
        Self {
            exit,
            why: why.to_string(),
        }
    }

    /// What was wrong is printed already, where it is looked for.
    #[must_use]
    pub const fn told(exit: Exit) -> Self {
        Self {
            exit,
            why: String::new(),
        }
    }

    /// [`Exit::Failed`], with its reason.
    pub fn plain(why: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, why)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_older_scripts() {
        let numbers: Vec<u8> = Exit::VARIANTS.iter().map(|exit| *exit as u8).collect();
        assert_eq!(numbers, [0, 1, 2, 10, 11, 100, 101, 102]);
    }

    /// What scripts are written by: the first column of each table below a heading.
    #[test]
    fn the_numbers_are_those_that_are_documented() {
        let numbers: Vec<u8> = Exit::VARIANTS.iter().map(|exit| *exit as u8).collect();
        let page = include_str!("../../docs/commands.md");
        for heading in ["\n## Exit codes\n", "\n### What it refuses\n"] {
            let (_, section) = page.split_once(heading).unwrap();
            let (section, _) = section.split_once("\n#").unwrap();
            let first = section.lines().filter_map(|line| line.split('|').nth(1));
            let documented: Vec<u8> = first.filter_map(|cell| cell.trim().parse().ok()).collect();
            assert_eq!(documented, numbers, "{heading}");
        }
    }
}
