//! A step of an action: what it found, or what the action comes to because of it.

use crate::ocf::{OcfCode, Outcome};

/// The result of a step: what it found, or what the action comes to because of it.
pub(crate) type Step<T> = Result<T, Outcome>;

/// A step failed in a way that trying again, here or elsewhere, may repair.
pub(crate) fn failed(what: impl std::fmt::Display) -> Outcome {
    Outcome::because(OcfCode::ErrGeneric, what)
}

pub(crate) fn installed(text: impl std::fmt::Display) -> Outcome {
    Outcome::because(OcfCode::ErrInstalled, text)
}

pub(crate) fn permission(text: impl std::fmt::Display) -> Outcome {
    Outcome::because(OcfCode::ErrPerm, text)
}
