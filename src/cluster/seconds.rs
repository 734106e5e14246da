//! A number of seconds on a command line.

use std::time::Duration;

/// The value of an option that is a time.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "a whole number of seconds is expected".to_owned())
}
