//! No parameter is forgotten by the tests: each is set to another value in a test that sees what it changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use expgsql::params::PARAMS;

/// Where a parameter is set: contract tests and cluster scenarios, and the lab's own parameters. Not where bad values are
/// refused, and not where secrets are only looked for.
const FOLDERS: [&str; 3] = ["tests/contract", "tests/cluster", "tests/lab/src"];
const NOT_IN: [&str; 2] = ["bad_input.rs", "secrets.rs"];

/// What no scenario sets by name, and the test that sees what it does.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    (
        "xlog_check_count",
        "src/decide/election.rs",
        "nobody_wins_while_a_node_is_missing_until_patience_ends",
    ),
    (
        "distlock_lock_cmd",
        "tests/cluster/migration.rs",
        "a_pha4pgsql_cluster_is_taken_over_as_documented",
    ),
    (
        "distlock_unlock_cmd",
        "tests/cluster/migration.rs",
        "a_pha4pgsql_cluster_is_taken_over_as_documented",
    ),
];

/// What nothing sees yet: how long one call waits.
const UNSEEN: [&str; 2] = ["crm_attr_timeout", "distlock_timeout"];

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of all tests that set parameters.
fn tests() -> String {
    let files = FOLDERS
        .iter()
        .flat_map(|folder| fs::read_dir(in_project(folder)).expect("the tests are there"));
    files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .filter(|path| !NOT_IN.iter().any(|name| path.ends_with(name)))
        .map(|path| fs::read_to_string(path).expect("a test"))
        .collect()
}

/// Whether a test sets the parameter, as the first of a pair of name and value.
fn is_set(tests: &str, name: &str) -> bool {
    let without_spaces: String = tests.split_whitespace().collect();
    let forms = [
        format!("(\"{name}\","),
        format!("(\"{name}\".into(),"),
        format!("(\"OCF_RESKEY_{name}\"."),
    ];
    forms.iter().any(|form| without_spaces.contains(form))
}

#[test]
fn every_parameter_is_set_in_a_test_that_sees_what_it_does() {
    let tests = tests();
    // A constant, since many scenarios set it.
    let constant = "const ON_DIVERGENCE: &str = \"on_divergence\";";
    let tests = if tests.contains(constant) {
        tests.replace("ON_DIVERGENCE", "\"on_divergence\"")
    } else {
        tests
    };
    let elsewhere = BTreeMap::from(ELSEWHERE.map(|(name, file, test)| (name, (file, test))));
    for param in PARAMS {
        assert_ne!(
            is_set(&tests, param.name),
            elsewhere.contains_key(param.name) || UNSEEN.contains(&param.name),
            "{}: must be set in a test below {FOLDERS:?} or be listed with the test that tries it, not both",
            param.name
        );
    }
    for (name, (file, test)) in elsewhere {
        assert!(
            PARAMS.iter().any(|param| param.name == name),
            "{name} is no parameter"
        );
        let text = fs::read_to_string(in_project(file)).expect(file);
        assert!(
            text.contains(&format!("fn {test}(")),
            "{file} has no test {test}, which is said to try {name}"
        );
    }
}
