//! A template of the operator's own: a text with names in `${}`, which are keys of config.ini, or of what setup derives from
//! it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cluster::{Exit, Failure};
use crate::setup::config::{Config, PARAM_PREFIX};
use crate::setup::render::format::Format;
use crate::sys::trusted_file::{self, Directories};

const READER: &str = "reader_vip";

/// What names stand for.
type Names = BTreeMap<String, String>;

/// The names that a template may use: every key of config.ini as it stands there, and every parameter of the agent as setup
/// would set it, as `pgsql_PARAMETER`. No password is among them.
fn names(config: &Config) -> Names {
    let given = config
        .values
        .iter()
        .filter(|(key, _)| !is_secret(key))
        .cloned();
    let params = config
        .site
        .params
        .iter()
        .map(|(name, value)| (format!("{PARAM_PREFIX}{name}"), value.clone()));
    // Where one address is wanted, and several may be given.
    let readers = config.site.readers.iter();
    let readers = (1..).zip(readers);
    let readers = readers.map(|(number, ip)| (format!("{READER}_{number}"), ip.to_string()));
    given
        .chain(params)
        .chain(readers)
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn is_secret(key: &str) -> bool {
    [
        "pgsql_reppassord",
        "pgsql_reppassword",
        "pgsql_distlock_password",
        // May have one in it; pgsql_distlock_conninfo is there again as a parameter, without.
        "pgsql_distlock_psql_cmd",
        "pgsql_distlock_conninfo",
    ]
    .contains(&key)
}

/// The template in the file `path` with its names replaced.
///
/// # Errors
/// [`Exit::Usage`]: the file can't be read, or has a name without a value, or not the name of a key that is set; all of them are said.
pub(crate) fn render(path: &Path, config: &Config) -> Result<String, Failure> {
    let names = &names(config);
    let bad = |what: String| Failure::new(Exit::Usage, what);
    // What is made of it is run by root.
    let file = trusted_file::read(path, Directories::Named)
        .map_err(|error| bad(format!("the template: {error}; or correct pcs_template")))?;
    let text = String::from_utf8(file.content).map_err(|_| {
        bad(format!(
            "the template {} is not UTF-8 text; save it as such",
            path.display()
        ))
    })?;
    let (result, problems) = replace(&text, names, path.to_str().and_then(format_of));
    let unused = unused(&text, config);
    if problems.is_empty() && unused.is_empty() {
        return Ok(result);
    }
    let at_lines = problems
        .iter()
        .map(|(line, what)| format!("{}:{line}: {what}", path.display()));
    let unused = unused
        .iter()
        .map(|key| format!("{}: has no ${{{key}}}, and config.ini sets {key}, of which nothing would come: put it in, or take it out of config.ini", path.display()));
    let lines: Vec<String> = at_lines.chain(unused).collect();
    Err(bad(lines.join("\n")))
}

/// The keys of config.ini that have a value and no place in the template: who sets one expects something of it. One in a comment
/// counts, so that a template can say that it has taken care of it.
fn unused(text: &str, config: &Config) -> Vec<String> {
    let site = &config.site;
    let has = |name: &str| text.contains(&format!("${{{name}}}"));
    let parts = (1..=site.readers.len()).map(|number| format!("{READER}_{number}"));
    let parts: Vec<String> = parts.collect();
    let is_used = |key: &str| {
        has(key)
            || match key {
                // Of the file itself, or of those who read no template.
                "pcs_template" | "OCF_ROOT" | "RESOURCE_LIST" | "pha4pgsql_dir" | "use_ssh" => true,
                // A password goes into a file.
                "pgsql_reppassord" | "pgsql_reppassword" | "pgsql_distlock_password" => true,
                "pgsql_distlock_psql_cmd" => {
                    !site.resolved.enable_distlock || has("pgsql_distlock_conninfo")
                }
                READER => !parts.is_empty() && parts.iter().all(|part| has(part)),
                "othernodes" => has("pgsql_node_list"),
                _ if key.starts_with("node") => has("pgsql_node_list"),
                // A template for a cluster with a lock switches it on by itself.
                "pgsql_enable_distlock" if site.resolved.enable_distlock => {
                    has("pgsql_distlock_conninfo") || has("pgsql_distlock_lock_cmd")
                }
                // There is no lock, and pha4pgsql's files have its lines all the same.
                _ => {
                    !site.resolved.enable_distlock
                        && (key.starts_with("pgsql_distlock_") || key == "pgsql_enable_distlock")
                }
            }
    };
    let set = config.values.iter().filter(|(_, value)| !value.is_empty());
    set.map(|(key, _)| key.clone())
        .filter(|key| !is_used(key))
        .collect()
}

/// The format that a template's name says it has.
pub(crate) fn format_of(path: &str) -> Option<Format> {
    let name = path.strip_suffix(".template").unwrap_or(path);
    match name.rsplit('.').next() {
        Some("pcs" | "sh") => Some(Format::Pcs),
        Some("crm") => Some(Format::Crmsh),
        Some("xml") => Some(Format::Xml),
        Some(_) | None => None,
    }
}

/// Replaces names, line by line. Comments stay as they are. What is put in is escaped for a double-quoted word of a shell or of
/// crmsh, or for an XML attribute.
fn replace(text: &str, names: &Names, format: Option<Format>) -> (String, Vec<(usize, String)>) {
    let (mut result, mut problems) = (String::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('#') {
            result += line;
        } else {
            let mut rest = line;
            while let Some(at) = rest.find("${") {
                result += &rest[..at];
                let Some(end) = rest[at..].find('}') else {
                    problems.push((number, "a ${ is not closed by }".to_owned()));
                    break;
                };
                let name = &rest[at + 2..at + end];
                match names.get(name) {
                    Some(value) if name == READER && value.contains(char::is_whitespace) => problems.push((
                        number,
                        format!("{READER} has several addresses, and one is wanted here: write ${{{READER}_1}}, ${{{READER}_2}}, … in its place"),
                    )),
                    Some(value) => result += &escaped(value, format),
                    None if is_secret(name) => problems.push((
                        number,
                        format!("{name} is a password, which may not stand in the cluster's configuration: take it out, setup install puts it into a file"),
                    )),
                    None => problems.push((number, format!("{name} has no value: set it in config.ini, or take it out here"))),
                }
                rest = &rest[at + end + 1..];
            }
            if !rest.contains("${") {
                result += rest;
            }
        }
        result.push('\n');
    }
    (result, problems)
}

fn escaped(value: &str, format: Option<Format>) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match (format, c) {
            (Some(Format::Xml), '&') => text += "&amp;",
            (Some(Format::Xml), '<') => text += "&lt;",
            (Some(Format::Xml), '"') => text += "&quot;",
            (Some(Format::Crmsh), '$' | '`') | (Some(Format::Xml), _) => text.push(c),
            (_, '"' | '\\' | '$' | '`') => text.extend(['\\', c]),
            (_, c) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        [
            ("writer_vip", "192.0.2.9"),
            ("pgsql_restore_command", "cp \"$x\" %p"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn names_are_replaced_and_what_has_no_value_is_named_with_its_line() {
        let (text, problems) = replace(
            "# ${nosuch}\nip=\"${writer_vip}\" x\nc=\"${pgsql_restore_command}\"\n",
            &names(),
            Some(Format::Pcs),
        );
        assert_eq!(
            text,
            "# ${nosuch}\nip=\"192.0.2.9\" x\nc=\"cp \\\"\\$x\\\" %p\"\n"
        );
        assert_eq!(problems, []);
        let (_, problems) = replace(
            "a\n${writer_vip} ${reader_vip}\n${pgsql_reppassord}\n${open\n",
            &names(),
            None,
        );
        let problems: Vec<(usize, bool)> = problems
            .iter()
            .map(|(line, what)| {
                (
                    *line,
                    what.contains("reader_vip has no value")
                        || what.contains("is a password")
                        || what.contains("not closed"),
                )
            })
            .collect();
        assert_eq!(problems, [(2, true), (3, true), (4, true)]);
    }

    #[test]
    fn xml_is_escaped_as_xml() {
        let (text, _) = replace(
            "v=\"${pgsql_restore_command}\"",
            &names(),
            Some(Format::Xml),
        );
        assert_eq!(text, "v=\"cp &quot;$x&quot; %p\"\n");
    }

    #[test]
    fn a_templates_name_says_its_format() {
        for (name, format) in [
            ("/a/b.pcs", Some(Format::Pcs)),
            ("/a/dual.pcs.template", Some(Format::Pcs)),
            ("./x.crm", Some(Format::Crmsh)),
            ("./x.xml", Some(Format::Xml)),
            ("./x", None),
        ] {
            assert_eq!(format_of(name), format, "{name}");
        }
    }
}
