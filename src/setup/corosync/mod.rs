//! `setup corosync`: how soon a lost machine is noticed, for the network that there is. The file on every node, then corosync reads
//! it anew; nothing is restarted.

mod file;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use crate::cluster::{Exit, Failure, agree};
use crate::decide::detection::{Network, Timing};
use crate::model::node_name::NodeName;
use crate::pacemaker::corosync;
use crate::sys::{Deadline, poll_until};

use super::command::CorosyncArgs;
use super::config::Config;
use super::install::{script, sum};
use super::put::PUT;
use super::remote::{CALL, Host, RemoteError};
use file::Conf;

/// Where corosync has its configuration.
const FILE: &str = "/etc/corosync/corosync.conf";

/// How long corosync may take to read it anew, on all nodes.
const TAKES_EFFECT: Duration = Duration::from_secs(15);

/// Between two questions whether it has.
const POLL: Duration = Duration::from_millis(500);

/// Changes the timing, on all nodes.
pub(super) fn set(config: &Config, args: &CorosyncArgs) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::plain(
            "run this as root: it changes corosync.conf on every node",
        ));
    }
    let hosts = Host::all(&config.site.nodes);
    let text = the_one_text(&hosts)?;
    let unfit = |why: file::Unfit| {
        Failure::new(
            Exit::Refused,
            format!("nothing was done: {FILE} can't be changed by this program: {why}"),
        )
    };
    let conf = Conf::parse(&text).map_err(unfit)?;
    same_nodes(&conf.names, &config.site.nodes).map_err(|why| Failure::new(Exit::Refused, why))?;
    let now = conf.timing().map_err(unfit)?;
    let then = Timing::advised(args.network, conf.nodes);
    if now == then && all_have(&hosts, then.real(conf.nodes)).is_ok() {
        return say(&format!(
            "Nothing to do: a lost machine is noticed after {:.1} s.\n",
            now.noticed_after(conf.nodes).as_secs_f64()
        ));
    }
    say(&plan(args.network, conf.nodes, now, then))?;
    if args.dry_run {
        return Ok(());
    }
    if !args.yes {
        agree()?;
    }
    let new = conf.with(then).map_err(unfit)?;
    put_everywhere(&hosts, &new, &text)?;
    reload(&hosts, &text)?;
    let mut last = String::new();
    let seen = poll_until(Deadline::after(TAKES_EFFECT), POLL, || {
        match all_have(&hosts, then.real(conf.nodes)) {
            Ok(()) => Some(()),
            Err(why) => {
                last = why;
                None
            }
        }
    });
    if seen.is_none() {
        return Err(Failure::new(
            Exit::TimedOut,
            format!(
                "{FILE} is written on every node, but corosync does not run with it: {last}; it will when the node's cluster software \
                 is restarted"
            ),
        ));
    }
    say(&format!(
        "Done: a lost machine is noticed after {:.1} s. Back to what corosync does by itself: expgsql setup corosync --network default\n",
        then.noticed_after(conf.nodes).as_secs_f64()
    ))
}

/// All that have the file get the new one: to a node that keeps the old one corosync refuses, at its next start, to join the others.
///
/// # Errors
/// A sentence: the file is of other nodes than config.ini's.
fn same_nodes(listed: &[Option<&str>], nodes: &[NodeName]) -> Result<(), String> {
    let is_node = |name: &&str| NodeName::new(*name).is_ok_and(|name| nodes.contains(&name));
    let named = listed.iter().flatten();
    let others: Vec<&str> = named.copied().filter(|name| !is_node(name)).collect();
    if !others.is_empty() {
        return Err(format!(
            "nothing was done: {FILE} has {} besides, which config.ini does not name: a node that kept the old file would not join the others any \
             more. Use a config.ini for this command alone (--config FILE) that names every node, for one in othernodes, if the agent has nothing \
             to do with it",
            others.join(" and ")
        ));
    }
    let is_listed = |node: &&NodeName| {
        let mut names = listed.iter().flatten();
        names.any(|name| NodeName::new(*name).is_ok_and(|name| name == **node))
    };
    let missing: Vec<String> = nodes
        .iter()
        .filter(|node| !is_listed(node))
        .map(ToString::to_string)
        .collect();
    // As many as have no name there.
    if listed.len() == nodes.len() {
        return Ok(());
    }
    Err(format!(
        "nothing was done: {FILE} has {} nodes, and config.ini names {}: {} {} not found there; let both have the same nodes, by the same names",
        listed.len(),
        nodes.len(),
        missing.join(" and "),
        if missing.len() == 1 { "is" } else { "are" }
    ))
}

/// The file's text, which must be the same on every node.
fn the_one_text(hosts: &[Host]) -> Result<String, Failure> {
    let mut first: Option<(&Host, String)> = None;
    for host in hosts {
        let text = host
            .run(&["cat", "--", FILE], Vec::new(), CALL)
            .map_err(|error| Failure::plain(format!("nothing was done: {error}")))?
            .stdout_text();
        match &first {
            None => first = Some((host, text)),
            Some((other, same)) if *same != text => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "nothing was done: {FILE} is not the same on {} and {}; make it the same (pcs cluster sync, or copy it) and try again",
                        other.name, host.name
                    ),
                ));
            }
            Some(_) => {}
        }
    }
    first
        .map(|(_, text)| text)
        .ok_or_else(|| Failure::plain("nothing was done: config.ini names no node"))
}

/// What will be done, and what comes of it.
fn plan(network: Network, nodes: usize, now: Timing, then: Timing) -> String {
    let show = |set: Option<Duration>, real: Option<Duration>| match (set, real) {
        (Some(time), _) => time.as_millis().to_string(),
        (None, Some(real)) => format!("{} by itself", real.as_millis()),
        (None, None) => "not set".to_owned(),
    };
    let consensus = |timing: Timing| show(timing.consensus, Some(timing.real(nodes).1));
    let rows = [
        ("token", show(now.token, None), show(then.token, None)),
        (
            "token_coefficient",
            show(now.coefficient, None),
            show(then.coefficient, None),
        ),
        ("consensus", consensus(now), consensus(then)),
    ];
    let mut text =
        format!("To be done, in {FILE} of all {nodes} nodes, while everything runs on:\n");
    for (name, from, to) in rows {
        // Writing to a String can't fail.
        let _ = if from == to {
            writeln!(text, "  {name:<18} {from}, as it is")
        } else {
            writeln!(text, "  {name:<18} {from} -> {to}")
        };
    }
    let _ = writeln!(
        text,
        "A lost machine is noticed after {:.1} s, and will be after {:.1} s. The risk: {}.",
        now.noticed_after(nodes).as_secs_f64(),
        then.noticed_after(nodes).as_secs_f64(),
        network.risk()
    );
    text
}

/// Writes the file on every node; where one fails, those before it get the old one back.
fn put_everywhere(hosts: &[Host], new: &str, old: &str) -> Result<(), Failure> {
    for (n, host) in hosts.iter().enumerate() {
        if let Err(error) = put(host, new) {
            // One that timed out may have been written.
            let left = put_back(&hosts[..=n], old);
            return Err(Failure::plain(format!(
                "nothing was changed: {error}{left}"
            )));
        }
    }
    Ok(())
}

fn put(host: &Host, text: &str) -> Result<(), RemoteError> {
    let sum = sum(text.as_bytes());
    let args = [FILE, sum.as_str(), "644", "root"];
    host.run(&script(PUT, &args), text.as_bytes().to_vec(), CALL)
        .map(drop)
}

/// What could not be put back, in words; nothing where all could.
fn put_back(hosts: &[Host], old: &str) -> String {
    let failed = hosts.iter().filter_map(|host| put(host, old).err());
    failed
        .map(|error| format!("; and the old {FILE} could not be put back: {error}"))
        .collect()
}

/// Has corosync read the file anew, everywhere.
fn reload(hosts: &[Host], old: &str) -> Result<(), Failure> {
    const RELOAD: [&str; 2] = ["corosync-cfgtool", "-R"];
    let here = hosts.iter().find(|host| host.is_local);
    let Some(host) = here.or(hosts.first()) else {
        return Ok(());
    };
    let Err(error) = host.run(&RELOAD, Vec::new(), CALL) else {
        return Ok(());
    };
    let left = put_back(hosts, old);
    // It may have been read.
    let again = host.run(&RELOAD, Vec::new(), CALL);
    let again = again.err().map_or(String::new(), |error| {
        format!("; corosync could not be told of the old file: {error}")
    });
    Err(Failure::plain(format!(
        "corosync did not take the new {FILE}, and the old one was put back: {error}{left}{again}"
    )))
}

/// Whether corosync runs with this token and consensus on every node; if not, who has what.
fn all_have(hosts: &[Host], (token, consensus): (Duration, Duration)) -> Result<(), String> {
    for host in hosts {
        let argv = [
            "corosync-cmapctl",
            "-g",
            corosync::TOKEN,
            corosync::CONSENSUS,
        ];
        let output = host
            .run(&argv, Vec::new(), CALL)
            .map_err(|error| error.to_string())?;
        let real = corosync::timing(&output.stdout_text()).map_err(|error| error.to_string())?;
        if real != (token, consensus) {
            return Err(format!(
                "on {} the token is {} ms and the consensus {} ms",
                host.name,
                real.0.as_millis(),
                real.1.as_millis()
            ));
        }
    }
    Ok(())
}

fn say(text: &str) -> Result<(), Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::plain(format!("standard output can't be written to: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_would_keep_the_old_file_is_named() {
        let nodes = |names: &[&str]| -> Vec<NodeName> {
            let all = names.iter().map(|name| NodeName::new(*name).unwrap());
            all.collect()
        };
        let two = ["node1", "node2"];
        for (listed, config, part) in [
            // (the names in corosync.conf, those of config.ini, what is said)
            (&[Some("node1"), Some("node2")][..], &two[..], ""),
            (&[Some("node2"), Some("NODE1")], &two, ""),
            (
                &[Some("node1"), Some("node2"), Some("arbiter")],
                &two,
                "has arbiter besides",
            ),
            (
                &[Some("node1"), Some("x"), Some("y")],
                &two,
                "has x and y besides",
            ),
            (&[None, None], &two, ""),
            (&[None, Some("node2")], &two, ""),
            (&[None, None, None], &two, "3 nodes, and config.ini names 2"),
            (
                &[Some("node1"), Some("node2")],
                &["node1", "node2", "node3"],
                "node3 is not found there",
            ),
            (&[None, Some("arbiter")], &two, "has arbiter besides"),
        ] {
            match same_nodes(listed, &nodes(config)) {
                Ok(()) => assert_eq!(part, "", "{listed:?} {config:?}"),
                Err(why) => assert!(!part.is_empty() && why.contains(part), "{part}: {why}"),
            }
        }
    }

    #[test]
    fn the_plan_says_what_changes_and_what_comes_of_it() {
        let then = Timing::advised(Network::Local, 3);
        let text = plan(Network::Local, 3, Timing::default(), then);
        let expected = "\
To be done, in /etc/corosync/corosync.conf of all 3 nodes, while everything runs on:
  token              not set -> 1000
  token_coefficient  not set -> 0
  consensus          4380 by itself -> 1200 by itself
A lost machine is noticed after 8.0 s, and will be after 2.2 s. The risk: a node that is silent for longer, by a stalled switch or a machine that swaps, is taken for lost though it is well.
";
        assert_eq!(text, expected);
    }
}
