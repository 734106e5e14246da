//! The exit reason: the one line of an action that Pacemaker keeps and shows to people.

use std::io::{self, Write};

use super::OcfCode;

/// What Pacemaker looks for at the start of a line of standard error, unless it names another in OCF_EXIT_REASON_PREFIX.
pub const DEFAULT_PREFIX: &str = "ocf-exit-reason:";

/// Target of the log record that carries the reason, which is written to standard error, too.
pub const LOG_TARGET: &str = "expgsql::exit_reason";

/// Bytes of a reason that reach crm_mon; Pacemaker cuts the rest, if need be in the middle of a character.
/// Source: the executor of Pacemaker 2.1.5.
const SHOWN_BYTES: usize = 128;

/// What a cut reason ends with: where the rest stands.
const CUT_MARK: &str = " ... (see log)";

/// What an action came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: OcfCode,
    /// For people, starting with what matters most; `None` where there is nothing to say.
    pub reason: Option<String>,
}

impl Outcome {
    /// An outcome that needs no words.
    pub const fn of(code: OcfCode) -> Self {
        Self { code, reason: None }
    }

    /// Why; empty where there is nothing to say.
    pub fn text(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// An outcome and why.
    pub fn because(code: OcfCode, reason: impl ToString) -> Self {
        Self {
            code,
            reason: Some(reason.to_string()),
        }
    }
}

/// Logs the whole of `text` and writes the exit reason line to `stderr`. To be called once in an action, last:
/// Pacemaker takes the last line that carries the prefix.
///
/// A text longer than Pacemaker shows is also written in full, on a line of its own before the reason: Pacemaker logs
/// what an agent prints, and a person who runs the agent by hand sees it.
///
/// # Errors
/// Those of writing to `stderr`.
pub fn report(stderr: &mut dyn Write, prefix: &str, text: &str) -> io::Result<()> {
    let full = one_line(text);
    tracing::error!(target: LOG_TARGET, "{full}");
    let shown = shorten(&full);
    if shown != full {
        writeln!(stderr, "{full}")?;
    }
    writeln!(stderr, "{prefix}{shown}")
}

/// Every run of white space becomes one space: a second line would be read as output, not as reason.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most [`SHOWN_BYTES`], cut between words where there are any.
fn shorten(text: &str) -> String {
    if text.len() <= SHOWN_BYTES {
        return text.to_owned();
    }
    let room = SHOWN_BYTES - CUT_MARK.len();
    let limit = (0..=room)
        .rfind(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let head = &text[..limit];
    // A single word longer than half a line is a path or a command: half of it tells more than nothing.
    let end = head
        .rfind(' ')
        .filter(|end| *end > limit / 2)
        .unwrap_or(limit);
    format!("{}{CUT_MARK}", &head[..end])
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_PREFIX, SHOWN_BYTES, report, shorten};

    fn reported(text: &str) -> String {
        let mut stderr = Vec::new();
        report(&mut stderr, DEFAULT_PREFIX, text).unwrap();
        String::from_utf8(stderr).unwrap()
    }

    #[test]
    fn a_short_reason_is_one_line_with_the_prefix() {
        assert_eq!(
            reported("the lock is held by node2"),
            "ocf-exit-reason:the lock is held by node2\n"
        );
    }

    #[test]
    fn line_breaks_do_not_split_the_reason() {
        assert_eq!(
            reported("first\n\tsecond\r\n"),
            "ocf-exit-reason:first second\n"
        );
    }

    #[test]
    fn a_long_reason_is_printed_whole_before_the_line_that_counts() {
        let text = "word ".repeat(60);
        let printed = reported(&text);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0], text.trim_end());
        assert_eq!(lines.len(), 2);
        let shown = lines[1].strip_prefix(DEFAULT_PREFIX).unwrap();
        assert!(shown.len() <= SHOWN_BYTES, "{} bytes: {shown}", shown.len());
        assert!(shown.ends_with("word ... (see log)"), "{shown}");
    }

    #[test]
    fn the_cut_never_splits_a_character_or_exceeds_what_is_shown() {
        for width in 1..=4 {
            let letter = ["x", "é", "€", "🐘"][width - 1];
            for offset in 0..8 {
                let text = format!("{}{}", "a".repeat(offset), letter.repeat(130));
                let shown = shorten(&text);
                assert!(shown.len() <= SHOWN_BYTES, "{} bytes: {shown}", shown.len());
            }
        }
    }

    #[test]
    fn exactly_what_fits_is_not_cut() {
        let text = "x".repeat(SHOWN_BYTES);
        assert_eq!(shorten(&text), text);
    }
}
