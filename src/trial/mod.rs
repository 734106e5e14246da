//! What tests can do to the agent from within: kill it between any two of its steps, and take a rule out of it.
//!
//! All of it exists only with the feature `trial`, which nothing that is shipped has. Without it nothing of this is in the
//! program: `point!` is no code, `is_out!` is `false`.

#[cfg(feature = "trial")]
mod armed;
#[cfg(feature = "trial")]
mod controls;
#[cfg(feature = "trial")]
mod points;

#[cfg(feature = "trial")]
pub use armed::{DIRECTORY, at, lacks};
#[cfg(feature = "trial")]
pub use controls::Control;
#[cfg(feature = "trial")]
pub use points::Point;

/// A place between two steps of which each has an effect outside this process: here a test may have the agent killed.
#[cfg(feature = "trial")]
macro_rules! point {
    ($point:ident) => {
        $crate::trial::at($crate::trial::Point::$point)
    };
}
#[cfg(not(feature = "trial"))]
macro_rules! point {
    ($point:ident) => {};
}
pub(crate) use point;

/// Whether a rule is taken out of this agent.
#[cfg(feature = "trial")]
macro_rules! is_out {
    ($control:ident) => {
        $crate::trial::lacks($crate::trial::Control::$control)
    };
}
#[cfg(not(feature = "trial"))]
macro_rules! is_out {
    ($control:ident) => {
        false
    };
}
pub(crate) use is_out;
