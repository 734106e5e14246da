//! What means the same to Pacemaker, however it is written.

use std::net::IpAddr;
use std::time::Duration;

use crate::setup::tree::Tree;

/// A value of an operation or a meta attribute: times in seconds, roles by their new names.
pub(super) fn value(text: &str) -> String {
    let text = text.trim();
    match text {
        "Master" => return "promoted".to_owned(),
        "Slave" => return "unpromoted".to_owned(),
        "+INFINITY" | "1000000" => return "infinity".to_owned(),
        _ => {}
    }
    match milliseconds(text) {
        Some(time) => format!("{time} ms"),
        None => text.to_lowercase(),
    }
}

/// A time with a unit. A bare number is left as it is: it may be a count.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match &text[digits..] {
        "us" | "usec" => return Some(number / 1000),
        "ms" | "msec" => 1,
        "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" | "hr" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A time of an operation, where a bare number is seconds.
pub(super) fn time(text: &str) -> String {
    let text = text.trim();
    if text.chars().all(|c| c.is_ascii_digit()) {
        return value(&format!("{text}s"));
    }
    value(text)
}

/// A time of an operation as a number; `None`: it has another form.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    milliseconds(text).map(Duration::from_millis)
}

/// Whether two texts are one address.
pub(super) fn address(one: &str, other: &str) -> bool {
    let parsed = |text: &str| text.trim().parse::<IpAddr>().ok();
    one == other || parsed(one).is_some() && parsed(one) == parsed(other)
}

/// What Pacemaker reads as yes.
pub(super) fn is_true(text: &str) -> bool {
    ["true", "on", "yes", "y", "1"].contains(&text.trim().to_lowercase().as_str())
}

/// Whether a role is that of a primary.
pub(super) fn is_promoted(role: Option<&str>) -> bool {
    role.is_some_and(|role| value(role) == "promoted")
}

/// A constraint in one form, whatever its id and whichever of the equivalent spellings it has.
pub(super) fn constraint(tree: &Tree) -> String {
    let get = |name: &str| tree.get(name).unwrap_or_default().to_owned();
    match tree.tag.as_str() {
        "rsc_colocation" => {
            let role = tree.get("rsc-role").filter(|role| value(role) != "started");
            // Any role, as where none is named.
            let with_role = Some(value(&get("with-rsc-role"))).filter(|role| role != "started");
            format!(
                "{} with {} of {} by {} if {:?} {:?}",
                get("rsc"),
                with_role.unwrap_or_default(),
                get("with-rsc"),
                value(&get("score")),
                role,
                tree.get("node-attribute")
            )
        }
        "rsc_order" => {
            let kind = tree.get("kind").map_or_else(
                || match tree.get("score") {
                    Some("0") => "optional".to_owned(),
                    Some(_) | None => "mandatory".to_owned(),
                },
                str::to_lowercase,
            );
            let symmetrical = tree
                .get("symmetrical")
                .map_or(kind != "serialize", |text| text == "true");
            let then = tree
                .get("then-action")
                .map_or_else(|| get("first-action"), str::to_owned);
            format!(
                "{} {} then {then} {} {kind} {symmetrical}",
                get("first-action"),
                get("first"),
                get("then")
            )
        }
        // The rule without its ids.
        _ => {
            let mut plain = tree.clone();
            strip(&mut plain);
            plain.to_text()
        }
    }
}

fn strip(tree: &mut Tree) {
    tree.unset("id");
    if tree.get("boolean-op") == Some("and") {
        tree.unset("boolean-op");
    }
    tree.attributes.sort();
    tree.children.iter_mut().for_each(strip);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_value() {
        for (a, b) in [
            ("60s", "60sec"),
            ("1min", "60s"),
            ("Master", "Promoted"),
            ("INFINITY", "1000000"),
            ("TRUE", "true"),
        ] {
            assert_eq!(value(a), value(b), "{a} {b}");
        }
        assert_ne!(value("60s"), value("61s"));
        assert_ne!(value("3"), value("3s"));
        assert_eq!(time("3"), time("3s"));
    }

    #[test]
    fn spellings_of_a_constraint() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| constraint(&Tree::parse(text).unwrap()));
            a == b
        };
        assert!(same(
            "<rsc_order id='a' first='x' first-action='promote' then='y' then-action='start' score='INFINITY' symmetrical='false'/>",
            "<rsc_order id='b' first='x' first-action='promote' then='y' then-action='start' kind='Mandatory' symmetrical='false'/>",
        ));
        assert!(same(
            "<rsc_order id='a' first='x' first-action='stop' then='y' score='0' symmetrical='false'/>",
            "<rsc_order id='b' first='x' first-action='stop' then='y' then-action='stop' kind='Optional' symmetrical='false'/>",
        ));
        assert!(!same(
            "<rsc_order id='a' first='x' first-action='promote' then='y' then-action='start'/>",
            "<rsc_order id='b' first='x' first-action='promote' then='y' then-action='start' symmetrical='false'/>",
        ));
        assert!(same(
            "<rsc_colocation id='a' rsc='v' with-rsc='c' with-rsc-role='Master' score='INFINITY' rsc-role='Started'/>",
            "<rsc_colocation id='b' rsc='v' with-rsc='c' with-rsc-role='Promoted' score='1000000'/>",
        ));
        assert!(same(
            "<rsc_colocation id='a' rsc='v' with-rsc='c' with-rsc-role='Started' score='INFINITY'/>",
            "<rsc_colocation id='b' rsc='v' with-rsc='c' score='INFINITY'/>",
        ));
        assert!(same(
            "<rsc_location id='l' rsc='v'><rule id='r' score='100' boolean-op='and'><expression id='e' attribute='a' operation='eq' value='x'/></rule></rsc_location>",
            "<rsc_location id='m' rsc='v'><rule score='100' id='s'><expression operation='eq' attribute='a' id='f' value='x'/></rule></rsc_location>",
        ));
    }
}
