//! The text of config.ini: `key=value` lines with a shell's quoting, because pha4pgsql's file was read by a shell.

use std::fmt;

use super::problem::Problem;

/// One line that sets something.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) key: String,
    /// Without its quotes. It may be a password.
    pub(crate) value: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}=…", self.line, self.key)
    }
}

/// The lines of `text` that set something, and what is wrong with the others. A key that comes twice is wrong: which of the
/// two was meant?
pub(crate) fn parse(text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let (mut entries, mut problems) = (Vec::<Entry>::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (key, value) = match assignment(content) {
            Ok(pair) => pair,
            Err((key, what)) => {
                problems.push(Problem::at(line, key, what));
                continue;
            }
        };
        match entries.iter().find(|entry| entry.key == key) {
            Some(first) => problems.push(Problem::at(
                line,
                Some(&key),
                format!(
                    "is set a second time, first in line {}: keep one of the two",
                    first.line
                ),
            )),
            None => entries.push(Entry { line, key, value }),
        }
    }
    (entries, problems)
}

type Wrong<'a> = (Option<&'a str>, String);

fn assignment(content: &str) -> Result<(String, String), Wrong<'_>> {
    let no_key = "is not of the form key=value; a comment begins with #";
    let (key, value) = content.split_once('=').ok_or((None, no_key.to_owned()))?;
    let key = key.strip_prefix("export ").unwrap_or(key).trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.is_empty() || !key.chars().all(is_name) {
        return Err((None, no_key.to_owned()));
    }
    let value = unquote(value.trim()).map_err(|what| (Some(key), what.to_owned()))?;
    if value.contains(char::is_control) {
        return Err((Some(key), "has a control character in its value".to_owned()));
    }
    Ok((key.to_owned(), value))
}

const OPEN: &str = "has a quote that is not closed on the same line; close it, or put the value with the quote in it into quotes of the other kind";
const EXPANDS: &str = "has a $ in it, and variables are not expanded here; put the value into single quotes if the $ is part of it";
const SPACE: &str = "has a space outside of quotes; put the value into quotes";

/// A shell word. `#` begins a comment only after white space.
fn unquote(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next().ok_or(OPEN)? {
                    '\'' => break,
                    c => value.push(c),
                }
            },
            '"' => loop {
                match chars.next().ok_or(OPEN)? {
                    '"' => break,
                    '\\' => match chars.next().ok_or(OPEN)? {
                        c @ ('"' | '\\' | '$' | '`') => value.push(c),
                        c => value.extend(['\\', c]),
                    },
                    '$' | '`' => return Err(EXPANDS),
                    c => value.push(c),
                }
            },
            '\\' => value.push(
                chars
                    .next()
                    .ok_or("ends with a backslash; put it into single quotes")?,
            ),
            '$' | '`' => return Err(EXPANDS),
            c if c.is_whitespace() => {
                let rest: String = chars.collect();
                let rest = rest.trim_start();
                return if rest.is_empty() || rest.starts_with('#') {
                    Ok(value)
                } else {
                    Err(SPACE)
                };
            }
            c => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        for (text, expected) in [
            ("a", "a"),
            ("", ""),
            ("\"\"", ""),
            ("''", ""),
            ("\"a b\"", "a b"),
            ("'a b'", "a b"),
            ("a#b", "a#b"),
            ("a # comment", "a"),
            ("'a # b' # comment", "a # b"),
            ("# comment", ""),
            ("'p#w\"d$'", "p#w\"d$"),
            (r#""say \"x\" \\ \$y \z""#, r#"say "x" \ $y \z"#),
            ("a\\ b", "a b"),
            ("'a'\"b\"c", "abc"),
            (
                r#"'/usr/bin/psql \\"host=a\\"'"#,
                r#"/usr/bin/psql \\"host=a\\""#,
            ),
            ("'cp /archive/%f \"%p\"'", "cp /archive/%f \"%p\""),
        ] {
            // The comment case needs the space that stands behind the equals sign.
            let text = if text.starts_with('#') {
                format!("'' {text}")
            } else {
                text.to_owned()
            };
            assert_eq!(unquote(&text), Ok(expected.to_owned()), "{text}");
        }
        for (text, why) in [
            ("'a", OPEN),
            ("\"a", OPEN),
            ("\"a\\\"", OPEN),
            ("$HOME", EXPANDS),
            ("\"${x}\"", EXPANDS),
            ("`date`", EXPANDS),
            ("node1 node2", SPACE),
        ] {
            assert_eq!(unquote(text), Err(why), "{text}");
        }
    }

    #[test]
    fn entries_have_their_lines_and_what_is_wrong_has_its_own() {
        let text = "\u{feff}# a comment\r\nnode1=a\r\n\n node2 = \"b\" \nexport x=1\nnonsense\n[section]\nnode1=c\nb='\n=x\n";
        let (entries, problems) = parse(text);
        let entries: Vec<(usize, &str, &str)> = entries
            .iter()
            .map(|e| (e.line, e.key.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(
            entries,
            [(2, "node1", "a"), (4, "node2", "b"), (5, "x", "1")]
        );
        let problems: Vec<(Option<usize>, Option<&str>)> = problems
            .iter()
            .map(|p| (p.line, p.key.as_deref()))
            .collect();
        assert_eq!(
            problems,
            [
                (Some(6), None),
                (Some(7), None),
                (Some(8), Some("node1")),
                (Some(9), Some("b")),
                (Some(10), None)
            ]
        );
    }

    #[test]
    fn a_value_is_not_shown_by_accident() {
        let (entries, _) = parse("pgsql_reppassord=hush");
        assert!(!format!("{entries:?}").contains("hush"));
    }
}
