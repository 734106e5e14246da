//! An action of a resource, with the time that config.ini gives it.

use std::time::Duration;

use crate::setup::parts::{Operation, PLAIN};

use super::config::Tuning;

/// One that is not repeated.
pub(super) fn operation(name: &'static str, tuning: &Tuning) -> Operation {
    Operation {
        name,
        interval: Duration::ZERO,
        is_usual_interval: false,
        renews: None,
        timeout: tuning.operation_timeout,
        is_usual_timeout: tuning.says_nothing_of("operation_timeout"),
        on_fail: None,
        is_of_promoted: false,
        level: PLAIN,
    }
}
