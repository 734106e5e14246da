//! Names in a row, as a sentence has them.

/// The answer without the words that say that there is no primary, for who has said that already.
#[must_use]
pub fn bare(answer: &str) -> &str {
    let answer = answer.trim_end_matches('.');
    let openings = [
        "There is no primary: ",
        "There is no primary yet: ",
        "There is no primary, and ",
    ];
    let rest = openings.iter().find_map(|o| answer.strip_prefix(o));
    rest.unwrap_or(answer)
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn and(words: &[&str]) -> String {
    joined(words, "and")
}

/// `a`, `a or b`, `a, b or c`.
#[must_use]
pub fn or(words: &[&str]) -> String {
    joined(words, "or")
}

pub(super) fn one_of<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    let names: Vec<String> = items.iter().map(name).collect();
    or(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn joined(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}
