//! No two files of the program import each other, nor two of its rooms.
//!
//! A circle is a group of files of which none can be read, tested or changed without the others. The imports are read from the sources: each path
//! that begins with `crate`, `super` or `self`, with a name that a `use` brought in, or with a child module, wherever it stands. A name that a
//! module only hands on leads to the file that defines it, so a parent that declares its children and hands on what is theirs, name by name, imports nothing.
//! What is compiled for unit tests alone is left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = of_the_program();
    let circles = circles(&imports);
    assert!(circles.is_empty(), "{}", told(&imports, &circles));
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    let imports = of_the_program();
    let floors: BTreeSet<&str> = imports
        .keys()
        .flat_map(|file| file.match_indices('/').map(|(end, _)| &file[..end]))
        .collect();
    assert!(floors.contains("src/agent"), "the folders: {floors:?}");
    let mut found = String::new();
    for floor in floors {
        let rooms = rooms(&imports, floor);
        found += &told(&rooms, &circles(&rooms));
    }
    assert!(found.is_empty(), "{found}");
}

/// The two tables of docs/architecture.md, from the top down: each room is there, and imports only what stands below it.
#[test]
fn the_rooms_stand_in_the_order_that_the_page_says() {
    let imports = of_the_program();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).expect("the page");
    for (floor, heading) in [
        ("src", "## The rooms"),
        ("src/agent", "## The agent's rooms"),
    ] {
        let (_, table) = page.split_once(&format!("\n{heading}\n")).expect(heading);
        let table = table.split("\n## ").next().unwrap_or_default();
        let listed: Vec<String> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(|name| {
                format!(
                    "{floor}/{}",
                    name.trim_end_matches(['/']).trim_end_matches(".rs")
                )
            })
            .collect();
        let mut rooms = rooms(&imports, floor);
        // They only put the rooms together.
        rooms.remove(&format!("{floor}/lib"));
        rooms.remove(&format!("{floor}/mod"));
        let all: BTreeSet<&String> = rooms.keys().collect();
        assert_eq!(listed.iter().collect::<BTreeSet<_>>(), all, "{heading}");
        let place = |room: &String| listed.iter().position(|listed| listed == room);
        for (room, others) in &rooms {
            for (other, what) in others {
                assert!(
                    place(room) < place(other),
                    "{room} imports {other}, above it: {what:?}"
                );
            }
        }
    }
}

/// The tests above are worth nothing where no import is found.
#[test]
fn the_imports_are_found() {
    let imports = of_the_program();
    let count: usize = imports.values().map(BTreeMap::len).sum();
    let files = imports.len();
    assert!(
        files > 150 && count > 4 * files,
        "{files} files import {count}"
    );
    let is_found = |from: &str, to: &str| imports[from].contains_key(to);
    assert!(is_found("src/main.rs", "src/run.rs"));
    assert!(is_found(
        "src/pacemaker/cib.rs",
        "src/model/cluster_view.rs"
    ));
}

/// Small programs, and the circle of files that is in each.
#[test]
fn a_circle_is_found_however_it_is_written() {
    type Program<'p> = &'p [(&'p str, &'p str)];
    let cases: &[(&str, Program<'_>, &[&str])] = &[
        (
            "none",
            &[
                ("lib", "mod a; mod b;"),
                ("a", "use crate::b::f;"),
                ("b", ""),
            ],
            &[],
        ),
        (
            "use of crate",
            &[
                ("lib", "mod a; mod b;"),
                ("a", "use crate::b::f;"),
                ("b", "use crate::a::{x, y as z};"),
            ],
            &["a", "b"],
        ),
        (
            "by way of a third",
            &[
                ("lib", "mod a; mod b; mod c;"),
                ("a", "use super::b;\nfn f() { b::g() }"),
                ("b", "use super::c::T;"),
                ("c", "fn f(x: super::a::T) {}"),
            ],
            &["a", "b", "c"],
        ),
        (
            "a path in the code",
            &[
                ("lib", "mod a; mod b;"),
                ("a", "fn f() { crate::b::g::<u32>() }"),
                ("b", "#[attribute(with = crate::a::f)] struct S;"),
            ],
            &["a", "b"],
        ),
        (
            "a parent that uses its child",
            &[
                ("lib", "mod a;"),
                ("a/mod", "mod b; fn f() { b::g() }"),
                ("a/b", "use super::f;"),
            ],
            &["a/mod", "a/b"],
        ),
        (
            "a parent that hands on what is its children's",
            &[
                ("lib", "mod a;"),
                (
                    "a/mod",
                    "mod b; mod c; pub(crate) use b::g; pub use self::c::T;",
                ),
                ("a/b", "use super::c::f;"),
                ("a/c", "use crate::model::T;"),
            ],
            &[],
        ),
        (
            "what a parent hands on",
            &[
                ("lib", "mod a; mod d;"),
                ("a", "mod b; pub use b::g;"),
                ("a/b", "use crate::d::f;"),
                ("d", "use crate::a::g;"),
            ],
            &["a/b", "d"],
        ),
        (
            "a whole module of others",
            &[
                ("lib", "mod a; mod b;"),
                ("a", "use crate::b::*;"),
                ("b", "use crate::a::*;"),
            ],
            &["a", "b"],
        ),
        (
            "an alias of a module",
            &[
                ("lib", "mod a; mod b;"),
                ("a/mod", "pub mod c;"),
                ("a/c", "use crate::b as other; fn f() { other::g() }"),
                ("b", "use crate::a as first; fn g() { first::c::f() }"),
            ],
            &["a/c", "b"],
        ),
        (
            "a module in a file",
            &[
                ("lib", "mod a; mod b;"),
                ("a", "mod inner { use super::super::b::f; }"),
                ("b", "use crate::a::inner::g;"),
            ],
            &["a", "b"],
        ),
        (
            "comments, texts and unit tests",
            &[
                ("lib", "mod a; mod b;"),
                ("a", "use crate::b::f;"),
                (
                    "b",
                    "//! [`crate::a::x`]\n/* crate::a::x /* */ */ const A: &str = \"crate::a::x\"; const B: &str = r#\"\"crate::a::x\"#; const C: char = '\"';\n\
                  #[cfg(test)] use crate::a::{x};\n#[cfg(test)]\n#[allow(unused)] fn f() { crate::a::x() }\n#[cfg(test)] mod tests { use crate::a::x; }",
                ),
            ],
            &[],
        ),
        (
            "unit tests in a file of their own",
            &[
                ("lib", "mod a; mod b;"),
                ("a/mod", "use crate::b::f; #[cfg(test)] mod tests;"),
                ("a/tests", "use super::f;"),
                ("b", ""),
            ],
            &[],
        ),
        (
            "code behind unit tests",
            &[
                ("lib", "mod a; mod b;"),
                (
                    "a",
                    "#[cfg(test)] mod tests { fn f() { '{'; } } use crate::b::f;",
                ),
                ("b", "use crate::a::f;"),
            ],
            &["a", "b"],
        ),
        (
            "who may see it",
            &[
                ("lib", "mod a;"),
                ("a/mod", "mod b; use b::f;"),
                (
                    "a/b",
                    "pub(super) fn f<'a>(x: &'a str) {} pub(in crate::a) fn g() {}",
                ),
            ],
            &[],
        ),
    ];
    for (case, program, expected) in cases {
        let files = program
            .iter()
            .map(|(name, text)| (format!("src/{name}.rs"), (*text).to_owned()));
        let imports = imports(&files.collect());
        let found: BTreeSet<String> = circles(&imports).into_iter().flatten().collect();
        let expected: BTreeSet<String> = expected.iter().map(|f| format!("src/{f}.rs")).collect();
        assert_eq!(found, expected, "{case}: {imports:?}");
    }
}

/// Two rooms whose files form no circle.
#[test]
fn a_circle_of_rooms_is_found() {
    let program = [
        ("lib", "mod a; mod b;"),
        ("a/mod", "pub mod x; pub mod y;"),
        ("a/x", "use crate::b::z::f;"),
        ("a/y", "pub fn g() {}"),
        ("b", "pub mod z;"),
        ("b/z", "use crate::a::y::g;"),
    ];
    let files = program
        .iter()
        .map(|(name, text)| (format!("src/{name}.rs"), (*text).to_owned()));
    let imports = imports(&files.collect());
    assert_eq!(circles(&imports), Vec::<Vec<String>>::new());
    let rooms = rooms(&imports, "src");
    assert_eq!(circles(&rooms), [["src/a", "src/b"]]);
}

/// What each file imports: the other file, and the names in it.
type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn of_the_program() -> Imports {
    let mut files = BTreeMap::new();
    gather(Path::new(env!("CARGO_MANIFEST_DIR")), "src", &mut files);
    imports(&files)
}

fn gather(root: &Path, folder: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(folder)).expect(folder) {
        let entry = entry.expect(folder);
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            gather(root, &path, files);
        } else if path.ends_with(".rs") {
            files.insert(path, fs::read_to_string(entry.path()).expect("a source"));
        }
    }
}

/// A word, or a single other sign; `::` is one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    PathSign,
    Sign(char),
}

impl Token {
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::PathSign | Self::Sign(_) => None,
        }
    }

    fn is(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }
}

/// The program without its comments, its texts and its lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\n');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => depth += 1,
                    ('*', '/') => depth -= 1,
                    _ => {
                        i += 1;
                        continue;
                    }
                }
                i += 2;
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
            found.push(Token::Sign('"'));
        } else if c == '\'' {
            // A letter is closed by another sign like it; a lifetime is not.
            if at(i + 1) == '\\' {
                i += 3;
                while at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
                while is_word(at(i)) {
                    i += 1;
                }
            }
        } else if is_word(c) {
            let start = i;
            while is_word(at(i)) {
                i += 1;
            }
            let word: String = chars[start..i].iter().collect();
            let is_raw = matches!(word.as_str(), "r" | "br" | "cr");
            let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
            if is_raw && at(i + hashes) == '"' {
                i += hashes + 1;
                let ends = |i: usize| at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                while i < chars.len() && !ends(i) {
                    i += 1;
                }
                i += hashes + 1;
                found.push(Token::Sign('"'));
            } else {
                found.push(Token::Word(word));
            }
        } else if c == ':' && at(i + 1) == ':' {
            found.push(Token::PathSign);
            i += 2;
        } else {
            if !c.is_whitespace() && c != '$' {
                found.push(Token::Sign(c));
            }
            i += 1;
        }
    }
    found
}

/// Behind what begins with a bracket at `i`.
fn behind(tokens: &[Token], mut i: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(i) {
        i += 1;
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            Token::Sign(_) | Token::Word(_) | Token::PathSign => {}
        }
    }
    i
}

/// Without what is compiled for unit tests alone; and the names of the files that are.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, BTreeSet<String>) {
    let mut kept = Vec::new();
    let mut tests = BTreeSet::new();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        let words: Vec<&Token> = tokens.iter().skip(i).take(7).collect();
        let is_test = token.is('#')
            && words.len() == 7
            && words[2].word() == Some("cfg")
            && words[4].word() == Some("test")
            && words[5].is(')');
        if !is_test {
            kept.push(token.clone());
            i += 1;
            continue;
        }
        i += 7;
        while tokens.get(i).is_some_and(|t| t.is('#')) {
            i = behind(tokens, i + 1);
        }
        let start = i;
        let is_value = tokens[start..]
            .iter()
            .map_while(Token::word)
            .any(|word| matches!(word, "use" | "const" | "static" | "type"));
        while let Some(token) = tokens.get(i) {
            if token.is(';') {
                if tokens[start..i].iter().any(|t| t.word() == Some("mod")) {
                    tests.extend(tokens[i - 1].word().map(str::to_owned));
                }
                i += 1;
                break;
            }
            if matches!(token, Token::Sign('(' | '[' | '{')) {
                i = behind(tokens, i);
                if token.is('{') && !is_value {
                    break;
                }
            } else {
                i += 1;
            }
        }
    }
    (kept, tests)
}

type Names = Vec<String>;

/// A module: its file, the names that its `use` lines bring in, and every path in it that may lead out of it.
#[derive(Debug, Default)]
struct Module {
    file: String,
    names: BTreeMap<String, Names>,
    /// `true`: one that is handed on.
    paths: Vec<(Names, bool)>,
}

fn path_of(file: &str) -> Names {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut words: Names = path.split('/').map(str::to_owned).collect();
    if words
        .last()
        .is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main"))
    {
        words.pop();
    }
    words
}

fn imports(files: &BTreeMap<String, String>) -> Imports {
    let mut modules: BTreeMap<Names, Module> = BTreeMap::new();
    let mut tests: BTreeSet<Names> = BTreeSet::new();
    // The programs beside the library are roots of their own, and nothing can import them.
    let mut programs = Vec::new();
    for (file, text) in files {
        let path = path_of(file);
        let (tokens, of_tests) = without_tests(&tokens(text));
        tests.extend(
            of_tests
                .into_iter()
                .map(|name| [path.clone(), vec![name]].concat()),
        );
        if file == "src/main.rs" {
            let mut own = BTreeMap::new();
            read(&tokens, file, &path, &mut own);
            programs.extend(own.into_values());
        } else {
            read(&tokens, file, &path, &mut modules);
        }
    }
    modules.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
    let mut found = Imports::new();
    for (path, module) in modules
        .iter()
        .map(|(p, m)| (p.clone(), m))
        .chain(programs.iter().map(|m| (Names::new(), m)))
    {
        let imports = found.entry(module.file.clone()).or_default();
        for (words, is_handed_on) in &module.paths {
            let Some((target, name)) = leads_to(&modules, module, &path, words, 0) else {
                continue;
            };
            let is_childs = target.starts_with(&path) && target != path;
            let file = &modules[&target].file;
            if *file != module.file && !(*is_handed_on && is_childs) {
                imports.entry(file.clone()).or_default().insert(name);
            }
        }
    }
    found
}

/// The module that defines what `words` of a module name, and its name there. A module that is only named is not imported; what is
/// taken from it is.
fn leads_to(
    modules: &BTreeMap<Names, Module>,
    from: &Module,
    here: &Names,
    words: &[String],
    depth: u32,
) -> Option<(Names, String)> {
    let (first, rest) = words.split_first()?;
    if depth > 20 {
        return None;
    }
    let mut at = here.clone();
    let mut rest = rest;
    match first.as_str() {
        "crate" | "expgsql" => at.clear(),
        "self" => {}
        "super" => {
            at.pop();
        }
        name => {
            let child = [here.clone(), vec![name.to_owned()]].concat();
            if let Some(meant) = from.names.get(name) {
                let whole: Names = meant.iter().chain(rest).cloned().collect();
                return if *meant == words {
                    None
                } else {
                    leads_to(modules, from, here, &whole, depth + 1)
                };
            } else if modules.contains_key(&child) {
                at = child;
            } else {
                return None;
            }
        }
    }
    while let Some((next, behind)) = rest.split_first() {
        if next == "super" {
            at.pop();
        } else if next != "self" {
            let child = [at.clone(), vec![next.clone()]].concat();
            if !modules.contains_key(&child) {
                break;
            }
            at = child;
        }
        rest = behind;
    }
    let name = rest.first()?;
    let module = modules.get(&at)?;
    if let Some(meant) = module.names.get(name) {
        let whole: Names = meant.iter().chain(&rest[1..]).cloned().collect();
        if let Some(found) = leads_to(modules, module, &at, &whole, depth + 1) {
            return Some(found);
        }
    }
    Some((at, name.clone()))
}

/// Reads a file's modules: that of the file, and those that are written in it.
fn read(tokens: &[Token], file: &str, path: &Names, modules: &mut BTreeMap<Names, Module>) {
    let mut module = Module {
        file: file.to_owned(),
        ..Module::default()
    };
    let mut i = 0;
    let mut is_handed_on = false;
    while let Some(token) = tokens.get(i) {
        let next = tokens.get(i + 1);
        match token.word() {
            Some("pub") => {
                is_handed_on = true;
                i += 1;
                if tokens.get(i).is_some_and(|t| t.is('(')) {
                    i = behind(tokens, i);
                }
                continue;
            }
            Some("mod") if tokens.get(i + 2).is_some_and(|t| t.is('{')) => {
                let end = behind(tokens, i + 2);
                let name = next.and_then(Token::word).unwrap_or_default();
                let child = [path.clone(), vec![name.to_owned()]].concat();
                read(&tokens[i + 3..end - 1], file, &child, modules);
                i = end;
            }
            Some("use") => {
                i = tree(tokens, i + 1, &Names::new(), is_handed_on, &mut module);
            }
            Some(word) => {
                let is_first =
                    i == 0 || (tokens[i - 1] != Token::PathSign && !tokens[i - 1].is('.'));
                let mut words = vec![word.to_owned()];
                i += 1;
                while is_first
                    && tokens.get(i) == Some(&Token::PathSign)
                    && let Some(word) = tokens.get(i + 1).and_then(Token::word)
                {
                    words.push(word.to_owned());
                    i += 2;
                }
                if words.len() > 1 {
                    module.paths.push((words, false));
                }
            }
            None => i += 1,
        }
        is_handed_on = false;
    }
    modules.insert(path.clone(), module);
}

/// Reads what follows `use`, or one branch of it; ends behind it.
fn tree(
    tokens: &[Token],
    mut i: usize,
    before: &Names,
    is_handed_on: bool,
    module: &mut Module,
) -> usize {
    let mut words = before.clone();
    let mut name = None;
    while let Some(token) = tokens.get(i) {
        match token {
            Token::Word(word) if word == "as" => {
                name = tokens.get(i + 1).and_then(Token::word).map(str::to_owned);
                i += 2;
                continue;
            }
            Token::Word(word) => words.push(word.clone()),
            Token::PathSign => {}
            Token::Sign('{') => {
                i += 1;
                while tokens.get(i).is_some_and(|t| !t.is('}')) {
                    i = tree(tokens, i, &words, is_handed_on, module);
                    if tokens.get(i).is_some_and(|t| t.is(',')) {
                        i += 1;
                    }
                }
                i += 1;
                return if before.is_empty() && tokens.get(i).is_some_and(|t| t.is(';')) {
                    i + 1
                } else {
                    i
                };
            }
            Token::Sign('*') => {
                let every = [words.clone(), vec!["*".to_owned()]].concat();
                module.paths.push((every, false));
                return i + 1;
            }
            Token::Sign(_) => break,
        }
        i += 1;
    }
    // `{self}` names the module itself.
    if words.len() > 1 && words.last().is_some_and(|last| last == "self") {
        words.pop();
    }
    let name = name.or_else(|| words.last().cloned()).unwrap_or_default();
    module.paths.push((words.clone(), is_handed_on));
    module.names.insert(name, words);
    i
}

/// The same between the rooms of a folder: the files and the folders that are directly in it. A module's file is in the room of its folder.
fn rooms(imports: &Imports, floor: &str) -> Imports {
    let room = |file: &str| {
        let rest = file.strip_prefix(floor)?.strip_prefix('/')?;
        let name = rest.split('/').next()?.trim_end_matches(".rs");
        Some(format!("{floor}/{name}"))
    };
    let mut found = Imports::new();
    for (file, others) in imports {
        let Some(from) = room(file) else { continue };
        let imports = found.entry(from.clone()).or_default();
        for other in others.keys() {
            if let Some(to) = room(other)
                && to != from
            {
                let what = format!("{file} of {other}");
                imports.entry(to).or_default().insert(what);
            }
        }
    }
    found
}

/// Groups of which each reaches every other.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut left: Vec<&String> = vec![from];
        while let Some(file) = left.pop() {
            for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|f| (f, reached(f))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (file, seen) in &reach {
        if !seen.contains(*file) || found.iter().flatten().any(|f| f == *file) {
            continue;
        }
        let others = seen
            .iter()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(*file)));
        found.push(others.cloned().collect());
    }
    found
}

/// The circles for people: how many are in each, and the shortest way round.
fn told(imports: &Imports, circles: &[Vec<String>]) -> String {
    let mut text = String::new();
    for circle in circles {
        let shortest = circle
            .iter()
            .filter_map(|file| round(imports, file))
            .min_by_key(Vec::len);
        text += &format!("\n{} import each other:\n", circle.len());
        for pair in shortest.unwrap_or_default().windows(2) {
            let names: Vec<&str> = imports[&pair[0]][&pair[1]]
                .iter()
                .map(String::as_str)
                .collect();
            text += &format!("  {} -> {}: {}\n", pair[0], pair[1], names.join(", "));
        }
        text += &format!("  all: {}\n", circle.join(", "));
    }
    text
}

/// The shortest way from a file back to it.
fn round(imports: &Imports, file: &String) -> Option<Vec<String>> {
    let mut ways = VecDeque::from([vec![file.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in imports.get(way.last()?)?.keys() {
            let longer = [way.clone(), vec![next.clone()]].concat();
            if next == file {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}
