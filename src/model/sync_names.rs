//! `synchronous_standby_names`: what a commit waits for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A standby's name as PostgreSQL has it (`application_name`): the node name in lower case.
pub type StandbyName = String;

/// A parsed `synchronous_standby_names`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncNames {
    /// Empty: commits wait for nobody.
    Nobody,
    /// Commits wait for `count` standbys, chosen by `method` from `names`.
    Wait {
        method: Method,
        count: usize,
        names: Vec<String>,
    },
}

/// How PostgreSQL chooses among the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The first connected ones in list order.
    First,
    /// Whichever answer first.
    Any,
}

/// A value PostgreSQL itself would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a synchronous_standby_names value")]
pub struct SyncNamesParseError(pub String);

impl SyncNames {
    /// Every one of `names` must confirm.
    #[must_use]
    pub fn all(names: impl IntoIterator<Item = String>) -> Self {
        let names: Vec<String> = names.into_iter().collect();
        match names.len() {
            0 => Self::Nobody,
            count => Self::Wait {
                method: Method::First,
                count,
                names,
            },
        }
    }

    /// Any one of `names` must confirm.
    #[must_use]
    pub fn any_one(names: impl IntoIterator<Item = String>) -> Self {
        Self::any(1, names)
    }

    /// Any `count` of `names` must confirm; all of them, where there are fewer.
    #[must_use]
    pub fn any(count: usize, names: impl IntoIterator<Item = String>) -> Self {
        let names: Vec<String> = names.into_iter().collect();
        match count.min(names.len()) {
            0 => Self::Nobody,
            count => Self::Wait {
                method: Method::Any,
                count,
                names,
            },
        }
    }

    /// How many standbys a commit waits for.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Wait { count, .. } => *count,
        }
    }

    /// How PostgreSQL chooses; `None` where commits wait for nobody.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        match self {
            Self::Nobody => None,
            Self::Wait { method, .. } => Some(*method),
        }
    }

    /// Every standby that may be among those a commit waits for. `everybody` is who `*` stands for.
    #[must_use]
    pub fn named(&self, everybody: &BTreeSet<StandbyName>) -> BTreeSet<StandbyName> {
        let Self::Wait { names, .. } = self else {
            return BTreeSet::new();
        };
        if names.iter().any(|n| n == "*") {
            return everybody.clone();
        }
        names.iter().map(|n| n.to_lowercase()).collect()
    }

    /// The standbys that hold every acknowledged commit because each commit waits for all of
    /// them; `None` where PostgreSQL may choose, so that no single one is certain.
    #[must_use]
    pub fn certain(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Nobody => Some(BTreeSet::new()),
            Self::Wait { count, names, .. } => {
                let set: BTreeSet<String> = names.iter().map(|n| n.to_lowercase()).collect();
                (set.len() == *count && !set.contains("*")).then_some(set)
            }
        }
    }
}

/// The form that goes into the configuration file: every name quoted, as `-` and digits need it.
impl fmt::Display for SyncNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Wait {
            method,
            count,
            names,
        } = self
        else {
            return Ok(());
        };
        let quoted: Vec<String> = names
            .iter()
            .map(|n| format!("\"{}\"", n.replace('"', "\"\"")))
            .collect();
        let list = quoted.join(", ");
        match (method, *count) {
            (Method::First, 1) if names.len() == 1 => f.write_str(&list),
            (Method::First, n) => write!(f, "FIRST {n} ({list})"),
            (Method::Any, n) => write!(f, "ANY {n} ({list})"),
        }
    }
}

impl FromStr for SyncNames {
    type Err = SyncNamesParseError;

    /// The grammar of PostgreSQL's `syncrep_gram.y`: `list`, `N (list)`, `FIRST N (list)`,
    /// `ANY N (list)`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || SyncNamesParseError(text.to_owned());
        let tokens = tokenize(text).ok_or_else(bad)?;
        let (method, rest) = match tokens.as_slice() {
            [] => return Ok(Self::Nobody),
            [Token::Word(w), Token::Word(n), rest @ ..]
                if w.eq_ignore_ascii_case("first")
                    && is_number(n)
                    && rest.first() == Some(&Token::Open) =>
            {
                (Method::First, &tokens[1..])
            }
            [Token::Word(w), Token::Word(n), rest @ ..]
                if w.eq_ignore_ascii_case("any")
                    && is_number(n)
                    && rest.first() == Some(&Token::Open) =>
            {
                (Method::Any, &tokens[1..])
            }
            all => (Method::First, all),
        };
        match rest {
            [Token::Word(n), Token::Open, list @ .., Token::Close] if is_number(n) => {
                let count = n.parse().ok().filter(|&c| c > 0).ok_or_else(bad)?;
                Ok(Self::Wait {
                    method,
                    count,
                    names: names(list).ok_or_else(bad)?,
                })
            }
            list => Ok(Self::Wait {
                method: Method::First,
                count: 1,
                names: names(list).ok_or_else(bad)?,
            }),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Open,
    Close,
    Comma,
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn names(tokens: &[Token]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match (i % 2, token) {
            (0, Token::Word(name) | Token::Quoted(name)) => names.push(name.clone()),
            (1, Token::Comma) if i + 1 < tokens.len() => {}
            _ => return None,
        }
    }
    (!names.is_empty()).then_some(names)
}

fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '(' | ')' | ',' => {
                chars.next();
                tokens.push(match c {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Comma,
                });
            }
            '"' => {
                chars.next();
                let mut name = String::new();
                loop {
                    match chars.next()? {
                        '"' if chars.peek() == Some(&'"') => {
                            chars.next();
                            name.push('"');
                        }
                        '"' => break,
                        other => name.push(other),
                    }
                }
                tokens.push(Token::Quoted(name));
            }
            '*' => {
                chars.next();
                tokens.push(Token::Word("*".to_owned()));
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() {
                        word.push(c);
                        chars.next();
                    } else {
                        break;
                    }
                }
                tokens.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(method: Method, count: usize, names: &[&str]) -> SyncNames {
        SyncNames::Wait {
            method,
            count,
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        for (text, expected) in [
            ("", SyncNames::Nobody),
            ("  ", SyncNames::Nobody),
            ("node2", wait(Method::First, 1, &["node2"])),
            ("\"node-2\"", wait(Method::First, 1, &["node-2"])),
            ("a, b", wait(Method::First, 1, &["a", "b"])),
            ("2 (a, b, c)", wait(Method::First, 2, &["a", "b", "c"])),
            (
                "first 2 (a,\"b\"\"c\")",
                wait(Method::First, 2, &["a", "b\"c"]),
            ),
            (
                "ANY 1 (\"node1\", \"node3\")",
                wait(Method::Any, 1, &["node1", "node3"]),
            ),
            ("*", wait(Method::First, 1, &["*"])),
            ("first, any", wait(Method::First, 1, &["first", "any"])),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text:?}");
        }
        for bad in [
            "a,", ",a", "2 (", "2 ()", "a b", "\"a", "0 (a)", "(a)", "ANY (a)", "a-b",
        ] {
            assert!(bad.parse::<SyncNames>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let names = || ["node-1".to_owned(), "n\"2".to_owned()];
        for value in [
            SyncNames::Nobody,
            SyncNames::all(names()),
            SyncNames::any_one(names()),
            SyncNames::all(["x".to_owned()]),
        ] {
            assert_eq!(value.to_string().parse(), Ok(value));
        }
    }

    #[test]
    fn a_standby_is_certain_only_when_every_commit_waits_for_it() {
        let set = |names: &[&str]| {
            Some(
                names
                    .iter()
                    .map(|n| (*n).to_owned())
                    .collect::<BTreeSet<_>>(),
            )
        };
        for (text, expected) in [
            ("", set(&[])),
            ("Node2", set(&["node2"])),
            ("FIRST 2 (a, b)", set(&["a", "b"])),
            ("ANY 2 (a, b)", set(&["a", "b"])),
            ("a, b", None),
            ("ANY 1 (a, b)", None),
            ("*", None),
        ] {
            assert_eq!(
                text.parse::<SyncNames>().unwrap().certain(),
                expected,
                "{text:?}"
            );
        }
    }
}
