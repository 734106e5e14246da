//! Connection strings as libpq understands them, taken apart. No error repeats a value: it may be the password.
//!
//! Source: PostgreSQL documentation, "Connection Strings".

use std::collections::BTreeMap;

/// Keywords and values, not judged yet.
pub type Words = BTreeMap<String, String>;

/// Why a connection string can't be read, without its values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error(
        "something without \"=\" where a keyword was expected; write keyword=value, or postgresql://user@host/database"
    )]
    NoKeyword,
    #[error(
        "{0} has a value with a quote that is never closed; close it, or write \\' for a quote inside the value"
    )]
    OpenQuote(String),
    #[error(
        "it is not a valid postgresql:// address: {0}; write postgresql://user@host:port/database?sslmode=verify-full"
    )]
    Uri(&'static str),
}

/// The keywords and values of a connection string of either form.
///
/// # Errors
/// [`SyntaxError`] where the text is not well-formed.
pub fn words(text: &str) -> Result<Words, SyntaxError> {
    let text = text.trim();
    match text
        .strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
    {
        Some(rest) => uri(rest),
        None => keyword_values(text),
    }
}

/// The keywords and values of `keyword=value …`. A keyword that comes again wins, as in libpq.
///
/// # Errors
/// [`SyntaxError`].
pub fn keyword_values(text: &str) -> Result<Words, SyntaxError> {
    let mut words = Words::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, after) = rest.split_once('=').ok_or(SyntaxError::NoKeyword)?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || keyword.contains(char::is_whitespace) {
            return Err(SyntaxError::NoKeyword);
        }
        let (value, after) = keyword_value(keyword, after.trim_start())?;
        words.insert(keyword.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(words)
}

/// The value at the beginning of `text`, and what follows it. A backslash takes the next character as it is, inside
/// quotes and outside.
fn keyword_value<'a>(keyword: &str, text: &'a str) -> Result<(String, &'a str), SyntaxError> {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if is_quoted => return Ok((value, &text[at + 1..])),
            c if c.is_whitespace() && !is_quoted => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if is_quoted {
        return Err(SyntaxError::OpenQuote(keyword.to_owned()));
    }
    Ok((value, ""))
}

fn uri(rest: &str) -> Result<Words, SyntaxError> {
    let mut words = Words::new();
    let (rest, query) = rest
        .split_once('?')
        .map_or((rest, None), |(r, q)| (r, Some(q)));
    let (place, database) = rest.split_once('/').map_or((rest, ""), |(p, d)| (p, d));
    let (login, place) = place.rsplit_once('@').map_or(("", place), |(l, p)| (l, p));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut put = |keyword: &str, value: &str| -> Result<(), SyntaxError> {
        if !value.is_empty() {
            words.insert(keyword.to_owned(), decode(value)?);
        }
        Ok(())
    };
    put("user", user)?;
    put("password", password)?;
    put("dbname", database)?;
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in place.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(one) => {
                let (host, port) = one
                    .split_once(']')
                    .ok_or(SyntaxError::Uri("a [ without ]"))?;
                let port = match port.strip_prefix(':') {
                    Some(port) => port,
                    None if port.is_empty() => "",
                    None => return Err(SyntaxError::Uri("text after ]")),
                };
                (host, port)
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    put("host", &hosts.join(","))?;
    if ports.iter().any(|port| !port.is_empty()) {
        put("port", &ports.join(","))?;
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        if pair.is_empty() {
            continue;
        }
        let (keyword, value) = pair
            .split_once('=')
            .ok_or(SyntaxError::Uri("an option without ="))?;
        match (decode(keyword)?.as_str(), value) {
            ("ssl", "true") => put("sslmode", "require")?,
            (keyword, value) => put(keyword, value)?,
        }
    }
    Ok(words)
}

fn decode(text: &str) -> Result<String, SyntaxError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(SyntaxError::Uri("a % without two hexadecimal digits"));
        };
        // Two hexadecimal digits are a byte.
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| SyntaxError::Uri("bytes that are not UTF-8"))
}
