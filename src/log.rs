//! Where the agent's reasoning goes: the journal, or standard error, which Pacemaker logs.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, FilterFn};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::ocf::reason;

/// Logs `text key=value …`, with the values in the text, where a person reads them, and as fields of
/// their own, where a script looks for them (`journalctl F_REASON=…`).
macro_rules! say {
    ($level:ident, $text:literal $(, $key:ident = $value:expr)* $(,)?) => {
        tracing::event!(
            tracing::Level::$level,
            $($key = %$value,)*
            "{}",
            format_args!(concat!($text $(, " ", stringify!($key), "={}")*) $(, $value)*)
        )
    };
}
pub(crate) use say;

/// Who reads what this process logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The journal or, without one, standard error, which Pacemaker logs. A person who runs the agent on a terminal gets
    /// it there.
    Agent,
    /// The journal alone: the terminal belongs to the command, which says itself how far it is.
    Journal,
    /// Standard error, because the operator asked for it.
    Terminal,
}

/// Sets up logging for this process, at INFO and above, under the name `expgsql-ACTION`. The exit reason goes to
/// standard error by itself and is left out there.
pub fn init(action: &str, reader: Reader) {
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let to_journal = match reader {
        Reader::Agent => !is_terminal,
        Reader::Journal => true,
        Reader::Terminal => false,
    };
    let journal = if to_journal {
        tracing_journald::layer().ok()
    } else {
        None
    };
    // Setting it up fails only where a subscriber is set already, which then does the work.
    if let Some(journal) = journal {
        let journal = journal.with_syslog_identifier(format!("expgsql-{action}"));
        let _ = tracing_subscriber::registry()
            .with(journal.with_filter(LevelFilter::INFO))
            .try_init();
        return;
    }
    if reader == Reader::Journal {
        return;
    }
    let message_only = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        _ => Ok(()),
    });
    let plain = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(is_terminal)
        .fmt_fields(message_only);
    let is_reason = FilterFn::new(|meta| meta.target() == reason::LOG_TARGET);
    let filtered = plain
        .with_filter(is_reason.not())
        .with_filter(LevelFilter::INFO);
    let _ = tracing_subscriber::registry().with(filtered).try_init();
}
