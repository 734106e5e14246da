//! `setup check`: config.ini is held against the nodes.

mod facts;
mod findings;
mod judge;
mod machine;
mod probe;
mod settings;
mod starters;

use std::io::{self, IsTerminal as _, Read as _};
use std::time::{Duration, Instant};

use facts::{Facts, Request};

use crate::cluster::{Exit, Failure};
use crate::pacemaker::cib;
use crate::setup::check::findings::{Finding, Seen, Severity};
use crate::setup::print::print;
use crate::sys::Deadline;
use crate::timing;

use super::apply::clone_name;
use super::command::CheckArgs;
use super::config::{Config, Site};
use super::install::{chosen, script, sum};
use super::passfiles::PasswordFiles;
use super::progress::Progress;
use super::put::PUT;
use super::remote::{CALL, COPY, Host, RemoteError};

/// Everything that one node is asked.
const PROBE: Duration = Duration::from_secs(120);

/// Where the program is put for a moment on a node that does not have it.
const GUEST: &str = "/var/lib/expgsql-check/expgsql";

/// Asks every node, and prints what was found.
pub(super) fn check(config: &Config, args: &CheckArgs) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::plain(
            "run this as root: it reads the server's files, and speaks to the other nodes as root",
        ));
    }
    let site = &config.site;
    let hosts = chosen(site, &args.node)?;
    let exe = std::env::current_exe()
        .map_err(|error| Failure::plain(format!("where this program is can't be told: {error}")))?;
    let program = std::fs::read(&exe)
        .map_err(|error| Failure::plain(format!("{} can't be read: {error}", exe.display())))?;
    let program_sum = sum(&program);
    let answers = {
        let mut progress = (!args.json).then(Progress::new);
        if let Some(progress) = &mut progress {
            let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
            progress.wait(&format!("asking {}", names.join(", ")));
        }
        ask_all(&hosts, site, &program, &program_sum)
    };
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    for (host, answer) in hosts.iter().zip(answers) {
        match answer {
            Ok((facts, ahead)) => seen.push(Seen {
                node: host.name.to_string(),
                facts,
                ahead,
            }),
            Err(error) => findings.push(unasked(host, &error)),
        }
    }
    findings.extend(of_membership(site));
    findings.extend(judge::judge(site, &seen, &program_sum));
    if args.json {
        let text = serde_json::to_string_pretty(&findings).map_err(Failure::plain)?;
        print(&format!("{text}\n"))?;
    } else {
        print(&in_words(&findings, hosts.len()))?;
    }
    if findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
    {
        return Err(Failure::new(Exit::Failed, ""));
    }
    Ok(())
}

/// The nodes at the same time: one that is off costs its own time, and not the others'.
fn ask_all(
    hosts: &[Host],
    site: &Site,
    program: &[u8],
    program_sum: &str,
) -> Vec<Result<(Facts, i64), RemoteError>> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(move || ask(host, site, program, program_sum)))
            .collect();
        hosts
            .iter()
            .zip(asking)
            .map(|(host, thread)| {
                thread.join().unwrap_or_else(|_| {
                    Err(RemoteError::Unreachable {
                        node: host.name.clone(),
                        why: "bug in expgsql: asking it panicked".to_owned(),
                    })
                })
            })
            .collect()
    })
}

/// What the node says, and by how much its clock is ahead.
fn ask(
    host: &Host,
    site: &Site,
    program: &[u8],
    program_sum: &str,
) -> Result<(Facts, i64), RemoteError> {
    let others = site
        .nodes
        .iter()
        .filter(|name| **name != host.name)
        .map(ToString::to_string)
        .collect();
    let request = Request {
        node: host.name.to_string(),
        resource: site.resource().to_owned(),
        program: site.program(),
        params: site
            .params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        passwords: PasswordFiles::of(site),
        others,
        addresses: std::iter::once(site.writer)
            .chain(site.readers.iter().copied())
            .map(|ip| ip.to_string())
            .collect(),
        gateways: site.gateways().map(str::to_owned).collect(),
        ping: format!("{}/resource.d/pacemaker/ping", site.ocf_root),
    };
    if host.is_local {
        return Ok((probe::gather(&request), 0));
    }
    let malformed = |what: &dyn std::fmt::Display| RemoteError::Unreachable {
        node: host.name.clone(),
        why: format!("its answer is not understood: {what}"),
    };
    let installed = host.output(&["sha256sum", "--", &site.program()], Vec::new(), CALL)?;
    let has_it = installed.stdout_text().starts_with(program_sum);
    let own = site.program();
    let place = if has_it { own.as_str() } else { GUEST };
    if !has_it {
        host.run(
            &script(PUT, &[GUEST, program_sum, "700", "root"]),
            program.to_vec(),
            COPY,
        )?;
    }
    let text = serde_json::to_vec(&request).map_err(|error| malformed(&error))?;
    let start = Instant::now();
    let answer = host.run(&[place, "setup", "probe"], text, PROBE);
    if !has_it {
        // What stays behind there costs nothing but room.
        let _ = host.run(
            &["rm", "-rf", "--", "/var/lib/expgsql-check"],
            Vec::new(),
            CALL,
        );
    }
    let answer = answer?;
    let took = i64::try_from(start.elapsed().as_millis()).unwrap_or_default();
    let facts: Facts = serde_json::from_slice(&answer.stdout).map_err(|error| malformed(&error))?;
    // Its clock was read at some time in between.
    let now = probe::clock();
    let ahead = match (facts.clock - now, facts.clock - (now - took)) {
        (late, _) if late > 0 => late,
        (_, early) if early < 0 => early,
        (_, _) => 0,
    };
    Ok((facts, ahead))
}

fn unasked(host: &Host, error: &RemoteError) -> Finding {
    let (what, fix) = match error {
        RemoteError::Unreachable { why, .. } => (
            format!("it does not answer by ssh: {why}"),
            format!(
                "start it, and let root log in there without a question: ssh -o BatchMode=yes {} true",
                host.name
            ),
        ),
        RemoteError::Failed { error, .. } => (error.to_string(), "see what it says".to_owned()),
    };
    Finding {
        severity: Severity::Error,
        node: Some(host.name.to_string()),
        what,
        fix,
    }
}

/// Whether config.ini and the cluster name the same nodes.
fn of_membership(site: &Site) -> Vec<Finding> {
    // Where Pacemaker does not run the node itself says so.
    let Ok(text) = cib::Cib::live().read_text(Deadline::after(timing::CIB_READ)) else {
        return Vec::new();
    };
    let Ok(view) = cib::parse(&text) else {
        return Vec::new();
    };
    let clone = clone_name(&text, site);
    let finding = |severity, node: &str, what: String, fix: String| Finding {
        severity,
        node: Some(node.to_owned()),
        what,
        fix,
    };
    let mut all = Vec::new();
    for name in &site.nodes {
        match view.node(name) {
            None => all.push(finding(
                Severity::Error,
                name.as_str(),
                "the cluster has no node of this name".to_owned(),
                "correct node1, node2, … in config.ini (crm_node --list), or add the node to the cluster".to_owned(),
            )),
            Some(node) if !node.is_online => all.push(finding(
                Severity::Error,
                name.as_str(),
                "it is not in the cluster at present".to_owned(),
                "start Pacemaker there: pcs cluster start, or systemctl start pacemaker".to_owned(),
            )),
            Some(_) => {}
        }
    }
    for node in view
        .nodes
        .values()
        .filter(|node| !site.nodes.contains(&node.name))
    {
        all.push(finding(
            Severity::Warning,
            node.name.as_str(),
            "config.ini does not name this node of the cluster, which would try to run PostgreSQL, too".to_owned(),
            format!("add it to config.ini, or keep the resource away: crm_resource --ban --resource={clone} --node={}", node.name),
        ));
    }
    if !view.is_quorate() {
        all.push(Finding {
            severity: Severity::Error,
            node: None,
            what: "this node's part of the cluster has no quorum".to_owned(),
            fix: "start the other nodes".to_owned(),
        });
    }
    all
}

/// Answers a request on standard input, for [`check`] on another node.
pub(super) fn probe_here() -> Result<(), Failure> {
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .map_err(|error| Failure::plain(format!("no request: {error}")))?;
    let request: Request = serde_json::from_slice(&text)
        // The request has passwords in it: what was read is not repeated.
        .map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!(
                    "the request is not understood (line {}, column {})",
                    error.line(),
                    error.column()
                ),
            )
        })?;
    let answer = serde_json::to_string(&probe::gather(&request)).map_err(Failure::plain)?;
    print(&answer)
}

/// A paragraph for each thing that was found, the worst first. What is so on several nodes is said once.
fn in_words(findings: &[Finding], nodes: usize) -> String {
    let is_coloured = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut said: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for finding in findings {
        let node = finding.node.as_deref();
        let same = said.iter_mut().find(|(first, _)| {
            (first.severity, &first.what, &first.fix)
                == (finding.severity, &finding.what, &finding.fix)
        });
        match same {
            Some((_, nodes)) => nodes.extend(node),
            None => said.push((finding, node.into_iter().collect())),
        }
    }
    let place = |names: &[&str]| match names.len() {
        0 => "all nodes".to_owned(),
        n if n == nodes && n > 1 => "all nodes".to_owned(),
        _ => names.join(" "),
    };
    let width = said
        .iter()
        .map(|(_, names)| place(names).len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (finding, names) in &said {
        let (word, colour) = match finding.severity {
            Severity::Error => ("error", "31"),
            Severity::Warning => ("warning", "33"),
            Severity::Todo => ("to do", "36"),
            Severity::Note => ("note", "36"),
        };
        let word = format!("{word:<8}");
        let word = if is_coloured {
            format!("\u{1b}[{colour}m{word}\u{1b}[0m")
        } else {
            word
        };
        let place = place(names);
        let indent = 8 + 1 + width;
        text += &format!(
            "{word} {place:<width$}  {}\n{:<indent$}  -> {}\n",
            finding.what, "", finding.fix
        );
    }
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let amount = |n: usize, word: &str| match n {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    };
    text += &format!(
        "{} asked about versions, data directory, settings, networks, clock, lock service and replication: {}, {}\n",
        amount(nodes, "node"),
        amount(errors, "error"),
        amount(warnings, "warning")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_on_several_nodes_is_said_once_with_its_way_out() {
        let finding = |node: &str, what: &str| Finding {
            severity: Severity::Error,
            node: Some(node.to_owned()),
            what: what.to_owned(),
            fix: "start it".to_owned(),
        };
        let all = [
            finding("a", "it is off"),
            finding("b", "it is off"),
            finding("b", "it is lost"),
        ];
        let lines: Vec<String> = in_words(&all, 3).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "error    a b  it is off",
                "              -> start it",
                "error    b    it is lost",
                "              -> start it",
                "3 nodes asked about versions, data directory, settings, networks, clock, lock service and replication: 3 errors, no warnings",
            ]
        );
        assert!(in_words(&all, 2).starts_with("error    all nodes  it is off\n"));
    }
}
