//! The man pages of the command line, one for each command.

use std::io;

use clap_mangen::Man;
use roff::{Roff, bold, roman};

pub(crate) const PROGRAM: &str = "expgsql";

/// Commands for administrators.
const SECTION: &str = "8";

/// File names and contents.
///
/// # Errors
/// None in practice: it writes to memory.
pub(crate) fn all(command: &clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.clone();
    // So that a page says how its command is called in full.
    command.build();
    let mut found = Vec::new();
    add(&command, &mut found)?;
    Ok(found)
}

fn add(command: &clap::Command, found: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(PROGRAM).to_owned();
    let mut text = Vec::new();
    if name == format!("{PROGRAM}-distlock") {
        distlock(&mut text)?;
    } else {
        page(&name, command, &mut text)?;
    }
    found.push((format!("{name}.{SECTION}"), text));
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .try_for_each(|sub| add(sub, found))
}

fn page(name: &str, command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(SECTION)
        .manual("PostgreSQL under Pacemaker")
        .source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")));
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        man.render_options_section(text)?;
    }
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(text)?;
    }
    let notes = command.get_after_long_help().or(command.get_after_help());
    if let Some(notes) = notes {
        // As it is in --help: it has columns, which filled lines would lose.
        let mut section = Roff::new();
        section.control("SH", ["NOTES"]);
        verbatim(&mut section, &notes.to_string());
        section.to_writer(text)?;
    }
    Ok(())
}

fn verbatim(page: &mut Roff, text: &str) {
    page.control("nf", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

/// `distlock` reads its command line itself, and has its own help text.
fn distlock(text: &mut Vec<u8>) -> io::Result<()> {
    let name = format!("{PROGRAM}-distlock");
    let source = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", [name.to_uppercase().as_str(), SECTION, "", &source]);
    page.control("SH", ["NAME"]);
    page.text([
        bold(name),
        roman(" - the lock that decides who may be primary"),
    ]);
    page.control("SH", ["DESCRIPTION"]);
    verbatim(&mut page, expgsql::distlock::cli::HELP);
    page.to_writer(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_none_for_what_is_hidden() {
        let pages = all(&expgsql::cli::command()).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for wanted in [
            "expgsql.8",
            "expgsql-cluster.8",
            "expgsql-cluster-rebuild.8",
            "expgsql-distlock.8",
        ] {
            assert!(names.contains(&wanted), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("repair-standby")));
        for (name, text) in &pages {
            let text = String::from_utf8_lossy(text);
            assert!(text.contains(".TH "), "{name}: {text}");
            let title = name.trim_end_matches(".8");
            assert!(text.replace('\\', "").contains(title), "{name}: {text}");
        }
    }
}
