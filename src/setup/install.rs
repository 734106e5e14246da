//! `setup install`: what each node needs is copied there, and what is there already is left alone.

use std::fs;
use std::io::{self, Write as _};

use crate::cluster::{Exit, Failure, agree};

use super::command::InstallArgs;
use super::config::{Config, Site};
use super::passfiles::{MARK, PasswordFile, PasswordFiles};
use super::put::PUT;
use super::remote::{CALL, COPY, Host};

/// Where the commands are found by their names.
const COMMANDS: &str = "/usr/local/sbin";

/// The scripts below are fixed texts for the shell of a node; what differs comes as arguments, and what is secret on standard input.
///
/// Says what is there: the program's checksum, each password file's, its first line, its mode and owner, and where each link leads.
/// A password file is read by its owner: its directory may be that account's, and a link there may lead to what only root reads.
const LOOK: &str = r#"
program=$1 dir=$2 files=$3; shift 3
by_owner() { timeout 5 setpriv --reuid="$(id -u -- "$owner")" --regid="$(id -g -- "$owner")" --init-groups -- "$@" 2>/dev/null; }
echo "program $(sha256sum <"$program" 2>/dev/null | cut -d' ' -f1)"
while [ "$files" -gt 0 ]; do
  passfile=$1 owner=$2; shift 2; files=$((files - 1))
  if [ -L "$passfile" ]; then
    echo "passfile $passfile link"
  elif [ -e "$passfile" ]; then
    echo "passfile $passfile $(by_owner sha256sum -- "$passfile" | cut -d' ' -f1) $(stat -c '%a %U' -- "$passfile")"
    echo "mark $passfile $(by_owner head -n 1 -- "$passfile")"
  fi
done
real=$(readlink -f -- "$program")
for name; do
  # A package has its own.
  if [ -L "/usr/sbin/$name" ] && [ "$(readlink -f -- "/usr/sbin/$name")" = "$real" ]; then echo "link $name $program"
  elif [ -L "$dir/$name" ]; then echo "link $name $(readlink -- "$dir/$name")"
  elif [ -e "$dir/$name" ]; then echo "file $name"
  fi
done
"#;

const LINK: &str = r#"
set -e
program=$1 dir=$2; shift 2
mkdir -p -- "$dir"
for name; do ln -sfT -- "$program" "$dir/$name"; done
"#;

/// What is to be done on one node.
struct Work {
    host: Host,
    copies_program: bool,
    writes: Vec<PasswordFile>,
    links: Vec<String>,
    /// What was found, in words.
    lines: Vec<String>,
}

/// Copies the program, the password file and the links. `links`: what they are called.
pub(super) fn install(
    config: &Config,
    args: &InstallArgs,
    links: &[String],
) -> Result<(), Failure> {
    let site = &config.site;
    let files = Files::of(site)?;
    let hosts = chosen(site, &args.node)?;
    // Every node is looked at before anything is done on one.
    let works: Vec<Work> = hosts
        .into_iter()
        .map(|host| look(host, site, &files, links))
        .collect::<Result<_, Failure>>()?;
    let lines: Vec<&String> = works.iter().flat_map(|work| &work.lines).collect();
    let mut text = String::new();
    if works.iter().all(Work::is_done) {
        text += "Nothing to do: every node has this program and its files.\n";
    } else {
        text += "To be done:\n";
    }
    for line in lines {
        text += &format!("  {line}\n");
    }
    let _ = io::stdout().write_all(text.as_bytes());
    if works.iter().all(Work::is_done) {
        return Ok(());
    }
    if !args.yes {
        agree()?;
    }
    for work in works.iter().filter(|work| !work.is_done()) {
        perform(work, site, &files)?;
        let _ = writeln!(io::stdout(), "{}: done", work.host.name);
    }
    Ok(())
}

/// What goes to the nodes.
struct Files {
    program: Vec<u8>,
    program_sum: String,
    passwords: PasswordFiles,
}

impl Files {
    fn of(site: &Site) -> Result<Self, Failure> {
        let path = std::env::current_exe().map_err(|error| {
            Failure::plain(format!("where this program is can't be told: {error}"))
        })?;
        let program = fs::read(&path).map_err(|error| {
            Failure::plain(format!("{} can't be read: {error}", path.display()))
        })?;
        Ok(Self {
            program_sum: sum(&program),
            program,
            passwords: PasswordFiles::of(site),
        })
    }
}

pub(super) fn sum(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The nodes that are named, or all.
pub(super) fn chosen(site: &Site, named: &[String]) -> Result<Vec<Host>, Failure> {
    let hosts = Host::all(&site.nodes);
    if let Some(unknown) = named
        .iter()
        .find(|name| !hosts.iter().any(|host| host.name.as_str() == *name))
    {
        let all: Vec<&str> = site
            .nodes
            .iter()
            .map(crate::model::node_name::NodeName::as_str)
            .collect();
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "nothing was done: config.ini names no node {unknown:?}; it names {}",
                all.join(", ")
            ),
        ));
    }
    let is_chosen =
        |host: &Host| named.is_empty() || named.iter().any(|name| host.name.as_str() == name);
    Ok(hosts.into_iter().filter(is_chosen).collect())
}

/// The links that are wanted.
fn with_the_program(links: &[String]) -> Vec<String> {
    let mut names = links.to_vec();
    names.insert(0, "expgsql".to_owned());
    names
}

pub(super) fn script<'a>(text: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    ["/bin/sh", "-c", text, "sh"]
        .iter()
        .chain(args)
        .copied()
        .collect()
}

fn look(host: Host, site: &Site, files: &Files, links: &[String]) -> Result<Work, Failure> {
    let (program, wanted) = (site.program(), with_the_program(links));
    let count = files.passwords.iter().count().to_string();
    let mut args = vec![program.as_str(), COMMANDS, &count];
    for file in files.passwords.iter() {
        args.extend([file.path.as_str(), &file.owner]);
    }
    args.extend(wanted.iter().map(String::as_str));
    let output = host
        .run(&script(LOOK, &args), Vec::new(), CALL)
        .map_err(|error| {
            Failure::plain(format!(
                "nothing was done: {error}; or leave the node out: --node names those to be done"
            ))
        })?;
    let text = output.stdout_text();
    let find = |word: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
    };
    let name = &host.name;
    let mut lines = Vec::new();

    let there = find("program").unwrap_or_default();
    let copies_program = there != files.program_sum;
    if copies_program {
        let why = if there.is_empty() {
            "which it does not have"
        } else {
            "in place of another version"
        };
        lines.push(format!(
            "{name}: copy this program ({}) to {program}, {why}",
            env!("CARGO_PKG_VERSION")
        ));
    }

    let mut writes = Vec::new();
    for file in files.passwords.iter() {
        let PasswordFile {
            path,
            owner,
            content,
        } = file;
        let is = format!("{} 600 {owner}", sum(content.as_bytes()));
        let why = match (
            find(&format!("passfile {path}")),
            find(&format!("mark {path}")),
        ) {
            (Some(found), _) if found == is => continue,
            (None, _) => ", which it does not have",
            (Some(_), Some(MARK)) => " anew",
            (Some(_), _) => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "nothing was done: {name} has a file {path} that was not made by this program: move it away, or name another one as \
                         pgsql_passfile, or leave the passwords out of config.ini and keep that file yourself"
                    ),
                ));
            }
        };
        lines.push(format!("{name}: write {path} (mode 600, for {owner}){why}"));
        writes.push(file.clone());
    }

    let is_right = |link: &str| find(&format!("link {link}")) == Some(program.as_str());
    let is_file = |link: &str| text.lines().any(|line| line == format!("file {link}"));
    let kept: Vec<&String> = wanted.iter().filter(|link| is_file(link)).collect();
    for link in kept {
        lines.push(format!(
            "{name}: {COMMANDS}/{link} is a file of somebody else and stays"
        ));
    }
    let new: Vec<String> = wanted
        .iter()
        .filter(|link| !is_right(link) && !is_file(link))
        .cloned()
        .collect();
    if !new.is_empty() {
        lines.push(format!("{name}: link {} in {COMMANDS}", new.join(", ")));
    }
    Ok(Work {
        host,
        copies_program,
        writes,
        links: new,
        lines,
    })
}

impl Work {
    fn is_done(&self) -> bool {
        !self.copies_program && self.writes.is_empty() && self.links.is_empty()
    }
}

fn perform(work: &Work, site: &Site, files: &Files) -> Result<(), Failure> {
    let host = &work.host;
    let failed = |error: super::remote::RemoteError| {
        Failure::plain(format!(
            "{error}; what was done before stays, and running this again does the rest"
        ))
    };
    let program = site.program();
    if work.copies_program {
        let args = [program.as_str(), &files.program_sum, "755", "root"];
        host.run(&script(PUT, &args), files.program.clone(), COPY)
            .map_err(failed)?;
    }
    for file in &work.writes {
        let sum = sum(file.content.as_bytes());
        let args = [file.path.as_str(), &sum, "600", &file.owner];
        host.run(&script(PUT, &args), file.content.clone().into_bytes(), CALL)
            .map_err(failed)?;
    }
    if !work.links.is_empty() {
        let mut args = vec![program.as_str(), COMMANDS];
        args.extend(work.links.iter().map(String::as_str));
        host.run(&script(LINK, &args), Vec::new(), CALL)
            .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_sha256sum() {
        assert_eq!(
            sum(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
