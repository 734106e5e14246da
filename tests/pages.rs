//! What the pages in docs/ name of the tests and of the program is there.

mod named;

use std::fs;
use std::path::Path;

use named::{is_run, read};

/// Folders of tests, by whose file's name a page names them.
const TESTS: [&str; 5] = [
    "tests/cluster",
    "tests/contract",
    "tests/distlock",
    "tests/repair",
    "tests/model",
];

fn is_file(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).is_file()
}

/// The program's module of that name, as `decide::repair`.
fn module(words: &[&str]) -> Option<String> {
    let path = words.join("/");
    let files = [format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
    files.into_iter().find(|file| is_file(file))
}

/// A module, something in one, or a test.
fn is_there(path: &str) -> bool {
    let words: Vec<&str> = path.split("::").collect();
    let Some((last, before)) = words.split_last() else {
        return false;
    };
    let is_in = |file: String| read(&file).contains(&format!("fn {last}("));
    if module(&words).is_some() || module(before).is_some_and(is_in) {
        return true;
    }
    let files = TESTS.map(|folder| format!("{folder}/{}.rs", before.join("/")));
    files.iter().any(|file| is_file(file) && is_run(file, last))
}

/// Words in code style that are paths of Rust's, with small letters only.
fn paths(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
    quoted
        .filter(|word| word.contains("::") && word.chars().all(is_small))
        .collect()
}

#[test]
fn every_test_that_a_page_names_is_there_and_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut found = 0;
    for entry in fs::read_dir(folder).expect("docs") {
        let name = entry.expect("a page").file_name();
        let page = format!("docs/{}", name.to_string_lossy());
        // Code blocks have lone quotes.
        let text = read(&page);
        let prose: String = text.split("```").step_by(2).collect();
        for path in paths(&prose) {
            found += 1;
            assert!(
                is_there(path),
                "{page} names {path}, which is not there or not run"
            );
        }
    }
    assert!(found > 40, "the pages name {found}");
}

/// Each row of docs/abilities.md says how it stands, and what works names what shows it.
#[test]
fn every_ability_has_a_state_and_what_works_is_shown() {
    let page = read("docs/abilities.md");
    let (_, tables) = page.split_once("\n## ").expect("a document");
    let documents: Vec<&str> = tables.split("\n## ").collect();
    assert_eq!(documents.len(), 5, "one section for each document");
    for document in documents {
        let title = document.lines().next().unwrap_or_default();
        let rows = document.lines().filter(|line| line.starts_with("| "));
        let rows =
            rows.filter(|line| !line.starts_with("| ---") && !line.starts_with("| ability "));
        let mut found = 0;
        for row in rows {
            found += 1;
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [ability, here, state, shown] = cells[..] else {
                panic!("{title}: not four cells: {row}");
            };
            assert!(!ability.is_empty(), "{title}: {row}");
            match state {
                "works" => {
                    assert!(!here.is_empty(), "how is it done? {row}");
                    assert!(!paths(shown).is_empty(), "what shows it? {row}");
                }
                "described" => assert!(here.contains("]("), "where? {row}"),
                "in work" | "not yet" => assert_eq!(shown, "", "{row}"),
                left => assert!(left.starts_with("left: "), "{title}: {left:?} is no state"),
            }
        }
        assert!(found > 9, "{title}: {found} rows");
    }
}

/// Files of Rust's that a text names with their folders.
fn sources(text: &str) -> impl Iterator<Item = &str> {
    let is_of_a_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let words = text.split(move |c: char| !is_of_a_path(c));
    words
        .filter(|word| word.ends_with(".rs") && word.contains('/') && !word.starts_with(['.', '/']))
}

fn gather(folder: &str, files: &mut Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join(folder)).expect(folder) {
        let entry = entry.expect(folder);
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            gather(&path, files);
        } else if path.ends_with(".rs") || path.ends_with(".md") {
            files.push(path);
        }
    }
}

/// A file that was moved is named by its new place, in pages as in comments.
#[test]
fn every_source_that_is_named_is_there() {
    let mut files = vec!["README.md".to_owned(), "README.zh.md".to_owned()];
    for folder in ["docs", "src", "tests", "packaging/src"] {
        gather(folder, &mut files);
    }
    let mut found = 0;
    for file in files {
        // The circles there are made up.
        if file == "tests/circles.rs" {
            continue;
        }
        let text = read(&file);
        for source in sources(&text) {
            found += 1;
            let is_in = |folder: &str| is_file(&format!("{folder}/{source}"));
            assert!(
                is_file(source) || ["src", "tests", "tests/lab"].into_iter().any(is_in),
                "{file} names {source}, which is not there"
            );
        }
    }
    assert!(found > 60, "{found} are named");
}
