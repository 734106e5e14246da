//! What is among the crates, some 200 of which run as root: no licence but those of deny.toml, nothing from elsewhere than
//! crates.io, none that needs a newer Rust than Cargo.toml says. `make deny` asks cargo-deny, which says more and takes minutes
//! to build.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is tests; the lint knows only the functions marked as such"
)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

fn metadata() -> Value {
    let output = lab::cargo()
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Name and version of a package, and one of its fields.
fn each<'a>(metadata: &'a Value, field: &'a str) -> impl Iterator<Item = (String, &'a Value)> {
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(move |it| {
        let text = |name: &str| it[name].as_str().unwrap_or_default();
        (format!("{} {}", text("name"), text("version")), &it[field])
    })
}

/// The list `allow` of deny.toml's licences.
fn allowed() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let list = text.lines().find_map(|line| line.strip_prefix("allow = "));
    let words = list.unwrap().split('"').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

/// Whether an SPDX expression leaves a choice that is allowed. Without parentheses AND binds more strongly; a slash is an old OR.
fn may(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let may = any(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression}: {rest:?} is left");
    may
}

fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut may = all(rest, allowed);
    while let Some((&"OR", more)) = rest.split_first() {
        *rest = more;
        may |= all(rest, allowed);
    }
    may
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut may = one(rest, allowed);
    while let Some((&"AND", more)) = rest.split_first() {
        *rest = more;
        may &= one(rest, allowed);
    }
    may
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let (word, more) = rest.split_first().unwrap();
    *rest = more;
    if *word == "(" {
        let may = any(rest, allowed);
        *rest = rest.strip_prefix(&[")"]).unwrap();
        return may;
    }
    let mut name = (*word).to_owned();
    if let [with @ "WITH", exception, more @ ..] = rest {
        name = format!("{name} {with} {exception}");
        *rest = more;
    }
    allowed.contains(&name)
}

#[test]
fn an_expression_is_allowed_where_a_choice_is() {
    let allowed: BTreeSet<String> = ["MIT", "Unicode-3.0"].map(str::to_owned).into();
    for (expression, expected) in [
        ("MIT", true),
        ("Apache-2.0", false),
        ("MIT OR Apache-2.0", true),
        ("Apache-2.0/MIT", true),
        ("MIT AND Apache-2.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 OR MIT AND Unicode-3.0", true),
        ("Apache-2.0 OR BSL-1.0 AND MIT", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("MIT WITH something", false),
    ] {
        assert_eq!(may(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_may_be_part_of_the_program() {
    let (metadata, allowed) = (metadata(), allowed());
    let of = each(&metadata, "license");
    let bad: Vec<String> = of
        .filter(|(_, licence)| !licence.as_str().is_some_and(|it| may(it, &allowed)))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn every_crate_comes_from_crates_io_or_from_here() {
    let metadata = metadata();
    let of = each(&metadata, "source");
    let is_known = |source: &Value| {
        let source = source.as_str();
        source.is_none_or(|it| it == "registry+https://github.com/rust-lang/crates.io-index")
    };
    let bad: Vec<_> = of.filter(|(_, source)| !is_known(source)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// The first two numbers.
fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap_or_default())
}

#[test]
fn no_crate_needs_a_newer_rust_than_cargo_toml_says() {
    let metadata = metadata();
    let said = release(env!("CARGO_PKG_RUST_VERSION"));
    let of = each(&metadata, "rust_version");
    let newer: Vec<_> = of
        .filter(|(_, needs)| needs.as_str().is_some_and(|it| release(it) > said))
        .collect();
    assert!(newer.is_empty(), "Cargo.toml says {said:?}: {newer:#?}");
}
