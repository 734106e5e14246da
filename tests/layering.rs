//! `src/decide` decides and does nothing else.

use std::fs;
use std::path::Path;

/// What a decision may not have, as it is written in the code.
const BANNED: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::io",
    "::now()",
    "tokio",
    "tracing",
    "nix::",
];

/// Rooms of the program that decisions know.
const KNOWN: [&str; 2] = ["decide", "model"];

fn check(folder: &Path, files: &mut u32) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            check(&path, files);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        *files += 1;
        for word in BANNED {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
        for behind in text.split("crate::").skip(1) {
            let is_known = KNOWN.iter().any(|room| behind.starts_with(room));
            let line = behind.lines().next().unwrap_or_default();
            assert!(is_known, "{} uses crate::{line}", path.display());
        }
    }
}

#[test]
fn decisions_use_no_io_no_clock_and_no_environment() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide");
    let mut files = 0;
    check(&folder, &mut files);
    assert!(
        files > 5,
        "the decisions are expected in {}",
        folder.display()
    );
}
