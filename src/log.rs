//! Where the agent's reasoning goes: the journal, or standard error, which Pacemaker logs.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::ocf::reason;

/// Sets up logging for this process. Lines are `key=value` texts at INFO and above.
///
/// Without a journal they go to standard error; the exit reason does so by itself and is left out
/// there. A person who runs the agent on a terminal gets them there, too.
pub fn init() {
    let is_person = io::IsTerminal::is_terminal(&io::stderr());
    let journal = if is_person {
        None
    } else {
        tracing_journald::layer().ok()
    };
    // Fails only where a subscriber is set already, which then does the work.
    let _ = match journal {
        Some(journal) => tracing_subscriber::registry()
            .with(journal.with_filter(LevelFilter::INFO))
            .try_init(),
        None => {
            let plain = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .without_time()
                .with_ansi(is_person)
                .with_target(false);
            let is_told_otherwise = FilterFn::new(|meta| meta.target() == reason::LOG_TARGET);
            let filter = tracing_subscriber::filter::FilterExt::not(is_told_otherwise);
            tracing_subscriber::registry()
                .with(plain.with_filter(filter).with_filter(LevelFilter::INFO))
                .try_init()
        }
    };
}
