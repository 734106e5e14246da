//! No parameter is forgotten by the tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use expgsql::params::PARAMS;

/// Tests in which a parameter does what it is for.
const TRIED_IN: [&str; 4] = ["ocf.rs", "plain.rs", "follower.rs", "secrets.rs"];

/// What those do not try, and why. That bad values are refused is shown for all, in `contract/bad_input.rs` and in the
/// unit tests of `params`.
const ELSEWHERE: [(&str, &str); 16] = [
    (
        "node_list",
        "says who takes part in a cluster: cluster scenarios",
    ),
    (
        "external_standby_node_list",
        "part of the contract of rep_mode=sync: cluster scenarios",
    ),
    (
        "xlog_check_count",
        "counts rounds of an election: decide::election and cluster scenarios",
    ),
    (
        "crm_attr_timeout",
        "bounds calls to Pacemaker: cluster scenarios",
    ),
    (
        "maxlag",
        "keeps a standby from promotion: decide::marks and cluster scenarios",
    ),
    (
        "settle_time",
        "bounds changes of membership: decide::contract and cluster scenarios",
    ),
    (
        "unsafe_relax",
        "relaxes without proof: decide::contract and cluster scenarios",
    ),
    (
        "sync_strict",
        "never relaxes: decide::contract and cluster scenarios",
    ),
    (
        "sync_method",
        "chooses the contract: decide::contract and cluster scenarios",
    ),
    ("sync_num", "counts the contract: decide::contract"),
    (
        "on_divergence",
        "repairs a node that can't follow: decide::repair and cluster scenarios",
    ),
    (
        "enable_distlock",
        "lets a lock decide: decide::lease, tests/distlock and cluster scenarios",
    ),
    (
        "distlock_lockname",
        "names the lock: tests/distlock and cluster scenarios",
    ),
    (
        "distlock_ttl",
        "bounds a lease: tests/distlock and cluster scenarios",
    ),
    (
        "distlock_timeout",
        "bounds a wait: tests/distlock and cluster scenarios",
    ),
    (
        "distlock_lockservice_deadcheck_nodelist",
        "names who is asked by ssh: decide::lease, tests/distlock and cluster scenarios",
    ),
];

#[test]
fn every_parameter_is_tried_or_has_a_reason_not_to_be() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let read = |file: &str| fs::read_to_string(dir.join(file)).expect("the tests are there");
    let tests: String = TRIED_IN.iter().map(|file| read(file)).collect();
    // The base of every call.
    let base = read("site.rs");
    let reasons = BTreeMap::from(ELSEWHERE);
    assert_eq!(reasons.len(), ELSEWHERE.len(), "a name is listed twice");
    for param in PARAMS {
        let word = format!("\"{}\"", param.name);
        let is_tried = tests.contains(&word) || base.contains(&format!(".param({word}"));
        assert_ne!(
            is_tried,
            reasons.contains_key(param.name),
            "{}: must be tried in one of {TRIED_IN:?} or be listed with a reason, not both",
            param.name
        );
    }
    for name in reasons.keys() {
        assert!(
            PARAMS.iter().any(|param| param.name == *name),
            "{name} is no parameter"
        );
    }
}
