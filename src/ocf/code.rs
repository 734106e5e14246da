//! The exit codes of the OCF resource agent API.

use std::process::ExitCode;

/// What an action answers, and what Pacemaker makes of it.
///
/// *Soft* means: recover on this node or another. *Hard*: this node is banned until somebody cleans up or
/// `failure-timeout` passes. *Fatal*: every node is banned.
///
/// Source: `lib/pengine/unpack.c` of Pacemaker 2.1.5. Where its manual differs from it (3.x documents call 1 hard), the
/// program is right. Codes above 9 other than 190 and 191 are read as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::VariantArray)]
#[repr(u8)]
pub enum OcfCode {
    /// Done; from monitor: running, unpromoted. The only answer that start, stop, promote and demote may give to succeed.
    Success = 0,
    /// Soft. From stop it leads to fencing or, without fencing, to a blocked resource.
    ErrGeneric = 1,
    /// Hard. The call itself was wrong: no action, or a broken command line.
    ErrArgs = 2,
    /// Hard; ignored for recurring actions. The action does not exist.
    ErrUnimplemented = 3,
    /// Hard. The agent lacks a permission on this node.
    ErrPerm = 4,
    /// Hard. Something this node needs is not installed; a probe that answers it counts as "not running".
    ErrInstalled = 5,
    /// Fatal. The configuration is wrong, on whichever node it is read.
    ErrConfigured = 6,
    /// Cleanly stopped. From a recurring monitor it is a failure, from stop as well: a stopped resource's stop answers 0.
    NotRunning = 7,
    /// Running and promoted. A recurring monitor of a resource held to be unpromoted that gets it corrects the role.
    RunningPromoted = 8,
    /// Promoted and broken: demote, stop, start.
    FailedPromoted = 9,
    /// Monitor only: as [`Self::Success`], nothing is recovered, but listed as a failed action so that people see it.
    Degraded = 190,
    /// Monitor only: as [`Self::RunningPromoted`], listed as a failed action.
    DegradedPromoted = 191,
}

impl OcfCode {
    /// The number the process ends with.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The name in the OCF API and in Pacemaker's logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "OCF_SUCCESS",
            Self::ErrGeneric => "OCF_ERR_GENERIC",
            Self::ErrArgs => "OCF_ERR_ARGS",
            Self::ErrUnimplemented => "OCF_ERR_UNIMPLEMENTED",
            Self::ErrPerm => "OCF_ERR_PERM",
            Self::ErrInstalled => "OCF_ERR_INSTALLED",
            Self::ErrConfigured => "OCF_ERR_CONFIGURED",
            Self::NotRunning => "OCF_NOT_RUNNING",
            Self::RunningPromoted => "OCF_RUNNING_PROMOTED",
            Self::FailedPromoted => "OCF_FAILED_PROMOTED",
            Self::Degraded => "OCF_DEGRADED",
            Self::DegradedPromoted => "OCF_DEGRADED_PROMOTED",
        }
    }

    /// The answer of a monitor where nothing needs a person. Codes that say "not as it should be" stay.
    pub const fn plain(self) -> Self {
        match self {
            Self::Degraded => Self::Success,
            Self::DegradedPromoted => Self::RunningPromoted,
            Self::Success
            | Self::RunningPromoted
            | Self::ErrGeneric
            | Self::ErrArgs
            | Self::ErrUnimplemented
            | Self::ErrPerm
            | Self::ErrInstalled
            | Self::ErrConfigured
            | Self::NotRunning
            | Self::FailedPromoted => self,
        }
    }

    /// The answer of a monitor that found the resource as it should be while something else needs a person.
    /// Codes that already say "not as it should be" stay.
    pub const fn degraded(self) -> Self {
        match self {
            Self::Success => Self::Degraded,
            Self::RunningPromoted => Self::DegradedPromoted,
            Self::ErrGeneric
            | Self::ErrArgs
            | Self::ErrUnimplemented
            | Self::ErrPerm
            | Self::ErrInstalled
            | Self::ErrConfigured
            | Self::NotRunning
            | Self::FailedPromoted
            | Self::Degraded
            | Self::DegradedPromoted => self,
        }
    }
}

impl From<OcfCode> for ExitCode {
    fn from(code: OcfCode) -> Self {
        Self::from(code.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::OcfCode;

    #[test]
    fn the_numbers_are_those_of_the_ocf_api() {
        let numbers: Vec<u8> = OcfCode::VARIANTS.iter().map(|code| code.as_u8()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 190, 191]);
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = OcfCode::VARIANTS.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), OcfCode::VARIANTS.len());
    }

    #[test]
    fn degraded_changes_only_the_two_healthy_answers() {
        for code in OcfCode::VARIANTS {
            let expected = match code.as_u8() {
                0 => 190,
                8 => 191,
                other => other,
            };
            assert_eq!(code.degraded().as_u8(), expected, "{}", code.name());
        }
    }
}
