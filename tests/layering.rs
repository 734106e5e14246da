//! `src/decide` decides and does nothing else.

use std::fs;
use std::path::Path;

#[test]
fn decisions_use_no_io_no_clock_and_no_environment() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide");
    let banned = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::io",
        "::now()",
        "crate::sys",
        "crate::postgres",
        "crate::pacemaker",
        "crate::agent",
        "tokio",
        "tracing",
        "nix::",
    ];
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        files += 1;
        for word in banned {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
    assert!(files > 5, "the decisions are expected in {}", dir.display());
}
