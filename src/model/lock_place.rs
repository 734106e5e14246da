//! Which row of which table: `[SCHEMA.]TABLE:LOCKNAME`.

use std::fmt;
use std::str::FromStr;

/// pha4pgsql's name of the table, and ours where none is given.
const TABLE: &str = "distlock";

/// A lock's table and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    schema: Option<String>,
    table: String,
    name: String,
}

/// The text names no lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no lock; write LOCKNAME, TABLE:LOCKNAME or SCHEMA.TABLE:LOCKNAME")]
pub struct PlaceError(String);

impl Place {
    /// The lock `name` in pha4pgsql's table, whatever characters the name has.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            schema: None,
            table: TABLE.to_owned(),
            name: name.into(),
        }
    }

    /// The lock's name, as a value.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema, where one was named.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The same lock, its table in a schema that is named.
    #[must_use]
    pub fn in_schema(&self, schema: impl Into<String>) -> Self {
        Self {
            schema: Some(schema.into()),
            ..self.clone()
        }
    }

    /// The table for an SQL text.
    #[must_use]
    pub fn table(&self) -> String {
        self.qualified("")
    }

    /// The table's name as a value.
    #[must_use]
    pub fn table_name(&self) -> &str {
        &self.table
    }

    /// A thing beside the table whose name is the table's with `suffix`, for an SQL text.
    #[must_use]
    pub fn qualified(&self, suffix: &str) -> String {
        let name = identifier(&format!("{}{suffix}", self.table));
        match &self.schema {
            Some(schema) => format!("{}.{name}", identifier(schema)),
            None => name,
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    /// A name without quotes is folded to lower case, as PostgreSQL does: pha4pgsql's script put it into its SQL as
    /// it was.
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let bad = || PlaceError(text.to_owned());
        let (place, name) = match split(text, ':') {
            Some(parts) => parts,
            // A quote that is never closed.
            None if text.contains(':') => return Err(bad()),
            None => (TABLE, text),
        };
        let (schema, table) = match split(place, '.') {
            Some((schema, table)) => (Some(fold(schema).ok_or_else(bad)?), table),
            None => (None, place),
        };
        if name.is_empty() || name.contains('\0') {
            return Err(bad());
        }
        Ok(Self {
            schema,
            table: fold(table).ok_or_else(bad)?,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.table(), self.name)
    }
}

/// At the first `separator` outside double quotes.
fn split(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let at = text.find(|c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

fn fold(text: &str) -> Option<String> {
    let name = match text.strip_prefix('"') {
        Some(rest) => {
            let inner = rest.strip_suffix('"')?.replace("\"\"", "\u{0}");
            if inner.contains('"') {
                return None;
            }
            inner.replace('\u{0}', "\"")
        }
        None if text.contains(['"', '.', ':', '\0']) => return None,
        None => text.to_lowercase(),
    };
    (!name.is_empty()).then_some(name)
}

/// Quotes a name for an SQL text. The only place where names enter SQL.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_apart_and_quoted() {
        for (text, table, name) in [
            ("pgsql", r#""distlock""#, "pgsql"),
            ("distlock:pgsql", r#""distlock""#, "pgsql"),
            ("DistLock:PgSQL", r#""distlock""#, "PgSQL"),
            ("ha.locks:a:b", r#""ha"."locks""#, "a:b"),
            (r#""Ha.X"."l:o""k":n"#, r#""Ha.X"."l:o""k""#, "n"),
            ("t:it's; drop table x --", r#""t""#, "it's; drop table x --"),
            (
                r#"x"; drop table y; --"#,
                r#""distlock""#,
                r#"x"; drop table y; --"#,
            ),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(
                (place.table().as_str(), place.name()),
                (table, name),
                "{text}"
            );
        }
        assert_eq!(
            "ha.locks:x".parse::<Place>().unwrap().qualified("_history"),
            r#""ha"."locks_history""#
        );
        assert_eq!(Place::named("a:b").name(), "a:b");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "", "t:", ":x", ".t:x", "s.:x", "a.b.c:x", r#""t:x"#, r#"a"b:x"#,
        ] {
            let found = text.parse::<Place>();
            assert!(found.is_err(), "{text}: {found:?}");
        }
    }

    #[test]
    fn identifiers_survive_quotes() {
        assert_eq!(identifier("a"), r#""a""#);
        assert_eq!(identifier(r#"a"b; drop"#), r#""a""b; drop""#);
    }
}
