//! Tests that are named elsewhere: whether there are such.

use std::fs;
use std::path::Path;

/// A file of the project.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether `test` of that file is run: a scenario where the list of its program names it, another where it is marked as a test.
pub(crate) fn is_run(file: &str, test: &str) -> bool {
    let text = read(file);
    let (folder, name) = file.rsplit_once('/').unwrap_or_default();
    let list = match folder {
        "tests/contract" => "tests/contract/main.rs",
        "tests/cluster" => "tests/cluster.rs",
        _ => {
            let marks = ["#[test]\n", "#[test]\n    "];
            return marks
                .iter()
                .any(|mark| text.contains(&format!("{mark}fn {test}(")));
        }
    };
    let module = name.trim_end_matches(".rs");
    read(list).contains(&format!(" {module}::{test},")) && text.contains(&format!("fn {test}("))
}
