//! The kinds of parameter values, and one parser for each. All are pure, and say what they expected when they refuse.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use strum::VariantNames;

use crate::model::repair::OnDivergence;
use crate::model::secret::Secret;
use crate::params::mode::{RepMode, SyncMethod};

/// What a parameter's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// Any text.
    String,
    /// Text that is not shown in logs.
    Secret,
    /// Words as a shell would split them: quotes and backslashes count, variables and commands do not.
    Words,
    /// An absolute path.
    Path,
    /// Directories of sockets, separated by commas; `@` begins the name of an abstract one.
    Sockets,
    /// Whole seconds, 0 included; `s` may follow.
    Seconds,
    /// Whole seconds, at least 1.
    Timeout,
    /// A whole number.
    Count,
    /// A TCP port.
    Port,
    /// A number of bytes; kB, MB, GB or TB (powers of 1024) may follow. 0 turns off what is limited.
    Bytes,
    /// `yes`, `true`, `1`, `ja`, `on` or `no`, `false`, `0`, `nein`, `off`, in any case.
    Boolean,
    /// One of none, slave, async, sync.
    Mode,
    /// priority or quorum.
    Method,
    /// stop, rewind, rebuild or rewind_or_rebuild.
    Remedy,
    /// A whole number, at least 1.
    Number,
    /// Names separated by spaces.
    Names,
}

impl Kind {
    /// The type OCF metadata has for it. `select`, which OCF 1.1 has, is not valid by the DTD that resource-agents
    /// checks with, so that a choice is a string there and its words stand in the description.
    pub const fn ocf_type(self) -> &'static str {
        match self {
            Self::Seconds | Self::Timeout | Self::Count | Self::Number | Self::Port => "integer",
            Self::Boolean => "boolean",
            Self::String
            | Self::Secret
            | Self::Words
            | Self::Path
            | Self::Sockets
            | Self::Bytes
            | Self::Mode
            | Self::Method
            | Self::Remedy
            | Self::Names => "string",
        }
    }

    /// The words it is limited to; empty when it is not.
    pub const fn choices(self) -> &'static [&'static str] {
        match self {
            Self::Mode => RepMode::VARIANTS,
            Self::Method => SyncMethod::VARIANTS,
            Self::Remedy => OnDivergence::VARIANTS,
            Self::String
            | Self::Secret
            | Self::Words
            | Self::Path
            | Self::Sockets
            | Self::Seconds
            | Self::Timeout
            | Self::Count
            | Self::Number
            | Self::Port
            | Self::Bytes
            | Self::Boolean
            | Self::Names => &[],
        }
    }

    /// Would a parameter of this kind accept `text`?
    ///
    /// # Errors
    /// What was expected instead, as it reads after "is not".
    pub fn check(self, text: &str) -> Result<(), Expected> {
        match self {
            Self::String | Self::Secret => Ok(()),
            Self::Words => words(text).map(drop),
            Self::Path => path(text).map(drop),
            Self::Sockets => sockets(text).map(drop),
            Self::Seconds => seconds(text).map(drop),
            Self::Timeout => timeout(text).map(drop),
            Self::Count => count(text).map(drop),
            Self::Port => port(text).map(drop),
            Self::Bytes => bytes(text).map(drop),
            Self::Boolean => boolean(text).map(drop),
            Self::Mode => mode(text).map(drop),
            Self::Method => method(text).map(drop),
            Self::Remedy => remedy(text).map(drop),
            Self::Number => number(text).map(drop),
            Self::Names => names(text).map(drop),
        }
    }
}

/// What a parser expected, as it reads after "is not".
pub type Expected = &'static str;

pub(super) fn string(text: &str) -> Result<String, Expected> {
    Ok(text.to_owned())
}

pub(super) fn secret(text: &str) -> Result<Secret, Expected> {
    Ok(Secret::new(text))
}

pub(super) fn words(text: &str) -> Result<Vec<String>, Expected> {
    shell_words::split(text)
        .map_err(|shell_words::ParseError| "a list of words: a quote in it is never closed")
}

pub(super) fn path(text: &str) -> Result<PathBuf, Expected> {
    let path = PathBuf::from(text.trim());
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("an absolute path (the agent runs in no particular directory)")
    }
}

pub(super) fn sockets(text: &str) -> Result<Vec<PathBuf>, Expected> {
    let one = |text: &str| match text.trim() {
        name if name.starts_with('@') && name.len() > 1 => Ok(PathBuf::from(name)),
        dir => path(dir),
    };
    let all: Result<_, _> = text.split(',').map(one).collect();
    all.map_err(|_| {
        "the absolute path of a directory, or several with commas between them; @NAME for an abstract socket"
    })
}

pub(super) fn seconds(text: &str) -> Result<Duration, Expected> {
    let text = text.trim();
    let number: u32 = text
        .strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map_err(|_| "a whole number of seconds such as 90")?;
    Ok(Duration::from_secs(number.into()))
}

pub(super) fn timeout(text: &str) -> Result<Duration, Expected> {
    match seconds(text) {
        Ok(Duration::ZERO) | Err(_) => Err("a whole number of seconds, at least 1"),
        Ok(timeout) => Ok(timeout),
    }
}

pub(super) fn count(text: &str) -> Result<u32, Expected> {
    text.trim().parse().map_err(|_| "a whole number such as 3")
}

pub(super) fn number(text: &str) -> Result<usize, Expected> {
    match text.trim().parse() {
        Ok(0) | Err(_) => Err("a whole number, at least 1"),
        Ok(number) => Ok(number),
    }
}

pub(super) fn method(text: &str) -> Result<SyncMethod, Expected> {
    text.trim()
        .parse()
        .map_err(|_: strum::ParseError| "priority or quorum")
}

pub(super) fn remedy(text: &str) -> Result<OnDivergence, Expected> {
    text.trim()
        .parse()
        .map_err(|_: strum::ParseError| "stop, rewind, rebuild or rewind_or_rebuild")
}

pub(super) fn port(text: &str) -> Result<u16, Expected> {
    match text.trim().parse() {
        Ok(0) | Err(_) => Err("a port number from 1 to 65535"),
        Ok(port) => Ok(port),
    }
}

/// `None` for 0.
pub(crate) fn bytes(text: &str) -> Result<Option<NonZeroU64>, Expected> {
    const EXPECTED: Expected = "a byte count such as 16777216 or 16MB";
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        "tb" => 1 << 40,
        _ => return Err(EXPECTED),
    };
    let number: u64 = digits.parse().map_err(|_| EXPECTED)?;
    let bytes = number.checked_mul(unit).ok_or(EXPECTED)?;
    Ok(NonZeroU64::new(bytes))
}

/// The true words are those of resource-agents' `ocf_is_true`. That takes every other word for false; a typing error
/// in `sync_strict=ture` would then weaken what the operator asked for, so that here other words are refused.
pub(super) fn boolean(text: &str) -> Result<bool, Expected> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "ja" | "on" => Ok(true),
        "no" | "false" | "0" | "nein" | "off" => Ok(false),
        _ => Err("a boolean such as true or false"),
    }
}

pub(super) fn mode(text: &str) -> Result<RepMode, Expected> {
    text.trim()
        .parse()
        .map_err(|_: strum::ParseError| "one of none, slave, async, sync")
}

/// Without doubles, in the order given.
pub(super) fn names(text: &str) -> Result<Vec<String>, Expected> {
    // No node or application is called like this, but a list with commas would be taken for one long name.
    if text.contains([',', ';', '"', '\'']) {
        return Err("a list of names separated by spaces, without commas and quotes");
    }
    let mut names: Vec<String> = Vec::new();
    for name in text.split_whitespace() {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use strum::VariantArray;

    use super::{Kind, boolean, bytes, names, seconds, words};
    use crate::model::secret::Secret;

    #[test]
    fn each_kind_accepts_good_values_and_refuses_bad_ones() {
        for kind in Kind::VARIANTS {
            let (good, bad): (&[&str], &[&str]) = match kind {
                Kind::String | Kind::Secret => (&["", "select now();", "é\n"], &[]),
                Kind::Words => (&["", "-t 90", "-c 'a b'=\"c\""], &["-c 'a", "\""]),
                Kind::Path => (
                    &["/", "/usr/bin/pg_ctl", " /x "],
                    &["", "x", "./x", "~/x", "$pgdata/x"],
                ),
                Kind::Sockets => (
                    &["/run/postgresql", "/a, /b", "@pg", "@pg,/tmp "],
                    &["", "x", "/a,", "/a,x", "@", ",/a", "/a /b,c"],
                ),
                Kind::Seconds => (
                    &["0", "90", "90s", " 5 "],
                    &["", "-1", "1.5", "s", "5 min", "4294967296"],
                ),
                Kind::Timeout => (&["1", "8s"], &["", "0", "0s", "-1", "x"]),
                Kind::Count => (&["0", "3"], &["", "-1", "three", "1e3", "4294967296"]),
                Kind::Port => (
                    &["1", "5432", "65535"],
                    &["", "0", "65536", "-5432", "postgres"],
                ),
                Kind::Bytes => (
                    &["0", "1048576", "16MB", "1 gb", "8kB"],
                    &["", "MB", "-1", "1.5GB", "16 parsecs", "0x10", "99999999TB"],
                ),
                Kind::Boolean => (
                    &[
                        "yes", "TRUE", "1", "Ja", "ON", "no", "False", "0", "nein", "off",
                    ],
                    &["", "ture", "2", "y", "none"],
                ),
                Kind::Method => (&["priority", " quorum "][..], &["", "any", "Quorum"][..]),
                Kind::Remedy => (
                    &["stop", "rewind ", "rebuild", "rewind_or_rebuild"][..],
                    &["", "Stop", "rewind rebuild", "pg_rewind"][..],
                ),
                Kind::Number => (&["1", " 2 "][..], &["", "0", "-1", "1.5", "one"][..]),
                Kind::Mode => (
                    &["none", "slave", "async", "sync"],
                    &["", "Sync", "quorum", "sync async"],
                ),
                Kind::Names => (
                    &["", "a b", "node-1.example_x"],
                    &["a,b", "a, b", "'a'", "\"a\" b", "a;b"],
                ),
            };
            for text in good {
                assert_eq!(kind.check(text), Ok(()), "{kind}: {text:?} was refused");
            }
            for text in bad {
                assert!(kind.check(text).is_err(), "{kind}: {text:?} was accepted");
            }
        }
    }

    #[test]
    fn values_mean_what_they_say() {
        assert_eq!(seconds("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(bytes("0"), Ok(None));
        assert_eq!(bytes("16MB"), Ok(NonZeroU64::new(16 * 1024 * 1024)));
        assert_eq!(bytes("2 TB"), Ok(NonZeroU64::new(2 << 40)));
        assert_eq!(boolean("Ja"), Ok(true));
        assert_eq!(boolean("NEIN"), Ok(false));
        assert_eq!(
            words("-t 90 -o '-c a=b c'").unwrap(),
            ["-t", "90", "-o", "-c a=b c"]
        );
    }

    #[test]
    fn a_name_given_twice_counts_once_whatever_its_case() {
        assert_eq!(
            names(" node1  Node2\tnode1 NODE2\n").unwrap(),
            ["node1", "Node2"]
        );
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let shown = format!("{:?}", Some(Secret::new("hunter2")));
        assert_eq!(shown, "Some(***)");
    }

    #[test]
    fn the_words_for_a_mode_are_the_ones_the_refusal_names() {
        let expected = Kind::Mode.check("x").unwrap_err();
        assert_eq!(
            expected,
            format!("one of {}", Kind::Mode.choices().join(", "))
        );
    }
}
