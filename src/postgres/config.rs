//! postgresql.conf: what it sets, in which file and line, and the lines that include our files.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::postgres::reading;

/// One `name = value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In lower case.
    pub name: String,
    pub value: String,
    pub file: PathBuf,
    pub line: usize,
}

/// What a configuration file and the files it includes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub settings: Vec<Setting>,
    /// Every file that an `include` or `include_if_exists` names, there or not.
    pub includes: Vec<PathBuf>,
    /// How many of the settings come before each of them.
    pub before: Vec<usize>,
}

impl Contents {
    /// The settings that are read after `file` was included for the last time, and so win over what it says.
    #[must_use]
    pub fn behind(&self, file: &Path) -> &[Setting] {
        let last = self.includes.iter().rposition(|include| include == file);
        let before = last.and_then(|at| self.before.get(at));
        before
            .and_then(|&n| self.settings.get(n..))
            .unwrap_or_default()
    }
}

/// A configuration that could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{file}: {error}")]
    Read { file: PathBuf, error: io::Error },
    /// The line is not quoted: it may have a password in it, and this is told to everybody.
    #[error("{file} line {line} is not understood")]
    Syntax { file: PathBuf, line: usize },
    #[error("{file}: included more than 10 files deep")]
    Depth { file: PathBuf },
}

/// PostgreSQL's own limit (`CONF_FILE_MAX_DEPTH`).
const MAX_DEPTH: usize = 10;

/// Reads `file` with everything it includes, except `skip` (our own files).
///
/// # Errors
/// See [`ConfigError`]. An `include` of a missing file is an error, as it is for the server;
/// unless it is one of `skip`.
pub fn read(file: &Path, skip: &[PathBuf]) -> Result<Contents, ConfigError> {
    let mut contents = Contents::default();
    read_into(file, skip, 0, &mut contents)?;
    Ok(contents)
}

fn read_into(
    file: &Path,
    skip: &[PathBuf],
    depth: usize,
    contents: &mut Contents,
) -> Result<(), ConfigError> {
    if depth > MAX_DEPTH {
        return Err(ConfigError::Depth {
            file: file.to_owned(),
        });
    }
    let read_error = |file: &Path| {
        let file = file.to_owned();
        move |error| ConfigError::Read { file, error }
    };
    let bytes = reading::read_bytes(file).map_err(read_error(file))?;
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let text = Text::of(raw);
        let syntax = || ConfigError::Syntax {
            file: file.to_owned(),
            line,
        };
        let Some((name, value)) = parse_line(&text.decoded).map_err(|()| syntax())? else {
            continue;
        };
        let target = file
            .parent()
            .unwrap_or(Path::new("/"))
            .join(text.path(&value));
        match name.as_str() {
            "include" | "include_if_exists" => {
                contents.includes.push(target.clone());
                contents.before.push(contents.settings.len());
                let optional = name == "include_if_exists" && !target.exists();
                if !skip.contains(&target) && !optional {
                    read_into(&target, skip, depth + 1, contents)?;
                }
            }
            "include_dir" => {
                let entries = fs::read_dir(&target).map_err(read_error(&target))?;
                let mut files: Vec<PathBuf> =
                    entries.filter_map(|e| Some(e.ok()?.path())).collect();
                files.retain(|f| {
                    let name = f.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                    name.ends_with(".conf") && !name.starts_with('.') && f.is_file()
                });
                files.sort();
                for file in files.iter().filter(|f| !skip.contains(f)) {
                    read_into(file, skip, depth + 1, contents)?;
                }
            }
            _ => contents.settings.push(Setting {
                name,
                value,
                file: file.to_owned(),
                line,
            }),
        }
    }
    Ok(())
}

/// A line, in whichever encoding it is. What the agent looks for is ASCII; a name of a file has to come back as it was.
struct Text {
    decoded: String,
    /// It is no UTF-8, so each byte became a character.
    is_by_bytes: bool,
}

impl Text {
    fn of(raw: &[u8]) -> Self {
        match std::str::from_utf8(raw) {
            Ok(text) => Self {
                decoded: text.to_owned(),
                is_by_bytes: false,
            },
            Err(_) => Self {
                decoded: raw.iter().copied().map(char::from).collect(),
                is_by_bytes: true,
            },
        }
    }

    /// The file that a value of this line names.
    fn path(&self, value: &str) -> PathBuf {
        if !self.is_by_bytes {
            return PathBuf::from(value);
        }
        let bytes = value.chars().map(|c| u8::try_from(c).unwrap_or(b'?'));
        PathBuf::from(OsString::from_vec(bytes.collect()))
    }
}

/// Whether `file` itself has an include line for each of `includes`: a quick look, which finds nothing behind other includes.
///
/// # Errors
/// The file can't be read.
pub fn has_includes(file: &Path, includes: &[PathBuf]) -> io::Result<bool> {
    let bytes = reading::read_bytes(file)?;
    let lines = || bytes.split(|byte| *byte == b'\n').map(Text::of);
    let present: Vec<PathBuf> = lines()
        .filter(|line| line.decoded.trim_start().starts_with("include"))
        .filter_map(|line| {
            let (_, value) = parse_line(&line.decoded).ok()??;
            Some(line.path(&value))
        })
        .collect();
    Ok(includes.iter().all(|include| present.contains(include)))
}

/// One line of the grammar in PostgreSQL's `guc-file.l`: `name [=] value [# comment]`.
fn parse_line(text: &str) -> Result<Option<(String, String)>, ()> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    let name_end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    if name.is_empty() {
        return Err(());
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => unquote(quoted).ok_or(())?,
        None => rest
            .split(|c: char| c.is_whitespace() || c == '#')
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    Ok(Some((name.to_lowercase(), value)))
}

fn unquote(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars().peekable();
    loop {
        match chars.next()? {
            '\'' if chars.peek() == Some(&'\'') => {
                chars.next();
                value.push('\'');
            }
            '\'' => return Some(value),
            // Escapes as PostgreSQL has them; the octal ones do not occur in names or paths.
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

/// A value of a setting that is on or off, in as few letters as the server takes (`parse_bool`); `None`: it is neither.
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let is = |word: &str, letters: usize| value.len() >= letters && word.starts_with(&value);
    if is("true", 1) || is("yes", 1) || is("on", 2) || value == "1" {
        return Some(true);
    }
    let is_off = is("false", 1) || is("no", 1) || is("off", 2) || value == "0";
    is_off.then_some(false)
}

/// Quotes a value for a configuration file, in which a value ends with its line.
#[must_use]
pub fn quote(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\'', "''");
    format!("'{}'", value.replace('\n', "\\n"))
}

/// The contents of `file` with an include line for each of `includes` that is not there yet; `None`
/// where nothing is missing.
///
/// The lines go to the end, so that they come after every setting of the file itself.
/// `include_if_exists`, so that the server can still be started by hand when tmpdir is empty.
///
/// # Errors
/// The file cannot be read or understood.
pub fn with_includes(file: &Path, includes: &[PathBuf]) -> Result<Option<Vec<u8>>, ConfigError> {
    let present = read(file, includes)?.includes;
    let missing: Vec<&PathBuf> = includes.iter().filter(|i| !present.contains(i)).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let mut text = reading::read_bytes(file).map_err(|error| ConfigError::Read {
        file: file.to_owned(),
        error,
    })?;
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    for include in missing {
        let line = format!(
            "include_if_exists {} # added by expgsql\n",
            quote(&include.to_string_lossy())
        );
        text.extend_from_slice(line.as_bytes());
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_and_off_are_known_in_as_few_letters_as_the_server_takes() {
        for (values, expected) in [
            ("on ON 1 t Tr tru true y ye YES", Some(true)),
            ("off OFF of 0 f fa fal fals False n no", Some(false)),
            ("o offf 2 00 nope yess truely - enabled", None),
        ] {
            for value in values.split(' ') {
                assert_eq!(boolean(value), expected, "{value}");
            }
        }
        assert_eq!(boolean(""), None);
    }

    #[test]
    fn what_comes_behind_an_include_wins_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let put = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        let ours = path("ours.conf");
        put("more.conf", "c = 3\n");
        let behind = |text: &str| {
            put("main.conf", text);
            let contents = read(&path("main.conf"), std::slice::from_ref(&ours)).unwrap();
            let names = contents.behind(&ours).iter().map(|s| s.name.clone());
            names.collect::<Vec<_>>().join(" ")
        };
        for (text, expected) in [
            ("a = 1\n", ""),
            ("a = 1\ninclude 'ours.conf'\n", ""),
            ("a = 1\ninclude 'ours.conf'\nb = 2\n", "b"),
            (
                "include_if_exists 'ours.conf'\nb = 2\ninclude 'more.conf'\nd = 4",
                "b c d",
            ),
            // Included once more, it is the last.
            (
                "include 'ours.conf'\nb = 2\ninclude 'ours.conf'\nd = 4",
                "d",
            ),
        ] {
            assert_eq!(behind(text), expected, "{text}");
        }
        // The lines are in a file that this one includes.
        put("lines.conf", "x = 1\ninclude 'ours.conf'\ny = 1\n");
        assert_eq!(behind("include 'lines.conf'\nz = 1\n"), "y z");
    }

    #[test]
    fn lines_are_read_as_the_server_reads_them() {
        let some = |n: &str, v: &str| Ok(Some((n.to_owned(), v.to_owned())));
        for (text, expected) in [
            ("", Ok(None)),
            ("  # port = 1", Ok(None)),
            ("port = 5433", some("port", "5433")),
            ("Port 5433 # main", some("port", "5433")),
            ("a.b='x'", some("a.b", "x")),
            ("c = 'it''s \\'it\\'' # tail", some("c", "it's 'it'")),
            ("d=''", some("d", "")),
            ("e = 1#x", some("e", "1")),
            ("= 3", Err(())),
            ("f = 'open", Err(())),
        ] {
            assert_eq!(parse_line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_quoted_value_is_read_back_the_same() {
        for value in [
            "",
            "x",
            "it's",
            r"C:\dir\'",
            "host=a password='b c'",
            "(\na\\n\n)",
        ] {
            let line = format!("k = {}", quote(value));
            assert_eq!(line.lines().count(), 1, "{line}");
            assert_eq!(
                parse_line(&line),
                Ok(Some(("k".to_owned(), value.to_owned())))
            );
        }
    }

    #[test]
    fn settings_are_found_with_file_and_line_through_includes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("conf.d")).unwrap();
        fs::write(path("main.conf"), "port=1\ninclude 'sub.conf'\ninclude_if_exists 'absent.conf'\ninclude_dir 'conf.d'\ninclude 'ours.conf'\n").unwrap();
        fs::write(path("sub.conf"), "\nprimary_conninfo = 'x'\n").unwrap();
        fs::write(path("conf.d/b.conf"), "b=2\n").unwrap();
        fs::write(path("conf.d/a.conf"), "a=1\n").unwrap();
        fs::write(path("conf.d/.hidden.conf"), "h=1\n").unwrap();
        fs::write(path("conf.d/readme"), "not a setting!\n").unwrap();
        let contents = read(&path("main.conf"), &[path("ours.conf")]).unwrap();
        let names: Vec<&str> = contents.settings.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["port", "primary_conninfo", "a", "b"]);
        assert_eq!(
            (&contents.settings[1].file, contents.settings[1].line),
            (&path("sub.conf"), 2)
        );
        assert_eq!(
            contents.includes,
            [path("sub.conf"), path("absent.conf"), path("ours.conf")]
        );
        assert!(
            matches!(read(&path("main.conf"), &[]), Err(ConfigError::Read { .. })),
            "include of a missing file"
        );
        fs::write(path("loop.conf"), "include 'loop.conf'\n").unwrap();
        assert!(matches!(
            read(&path("loop.conf"), &[]),
            Err(ConfigError::Depth { .. })
        ));
    }

    #[test]
    fn includes_are_added_once_and_an_older_agents_line_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql.conf");
        let ours = [
            dir.path().join("t/rep_mode.conf"),
            dir.path().join("t/recovery.conf"),
        ];
        fs::write(
            &file,
            format!(
                "port=1\ninclude '{}' # added by pgsql RA",
                ours[0].display()
            ),
        )
        .unwrap();
        assert!(!has_includes(&file, &ours).unwrap());
        let text = with_includes(&file, &ours).unwrap().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.ends_with(&format!(
                "RA\ninclude_if_exists '{}' # added by expgsql\n",
                ours[1].display()
            )),
            "{text}"
        );
        fs::write(&file, text).unwrap();
        assert_eq!(with_includes(&file, &ours).unwrap(), None);
        assert!(has_includes(&file, &ours).unwrap());
        fs::write(&file, format!("#include '{}'\n", ours[0].display())).unwrap();
        assert!(!has_includes(&file, &ours[..1]).unwrap());
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_and_hide_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql.conf");
        let strange = OsString::from_vec(b"caf\xe9.conf".to_vec());
        fs::write(dir.path().join(&strange), "port = 7 # \u{e9}\n").unwrap();
        let bytes = b"# caf\xe9\r\ninclude 'caf\xe9.conf'\nwork_mem = '\xff' # x\n";
        fs::write(&file, bytes).unwrap();
        let contents = read(&file, &[]).unwrap();
        let names: Vec<&str> = contents.settings.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["port", "work_mem"]);
        assert_eq!(contents.includes, [dir.path().join(&strange)]);
        let ours = [dir.path().join("recovery.conf")];
        let more = with_includes(&file, &ours).unwrap().unwrap();
        assert!(more.starts_with(bytes));
    }
}
