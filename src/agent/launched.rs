//! What a call knows of the start that it has made.

use crate::postgres::last_words::Mark;
use crate::postgres::server::Launch;

/// A start, and how the logs were before it.
#[derive(Clone, Debug)]
pub(crate) struct Launched {
    pub(crate) launch: Launch,
    pub(crate) mark: Mark,
}
