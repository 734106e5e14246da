//! The names and values that people, older tools and monitoring read.

use lab::{Cluster, RepMode, Status};

/// Everything a healthy cluster shows.
///
/// `Err`: what is different, in words.
pub(crate) fn check(lab: &Cluster, mode: RepMode) -> Result<(), String> {
    let status = lab.status().map_err(|error| error.to_string())?;
    let [primary] = status.promoted()[..] else {
        return Err(format!("promoted: {:?}", status.promoted()));
    };
    let one = |node: &str, name: &str, allowed: &[&str]| {
        let value = status.attribute(node, name).unwrap_or("nothing");
        if allowed.contains(&value) {
            Ok(())
        } else {
            Err(format!(
                "{name} of {node} is {value}, not one of {allowed:?}"
            ))
        }
    };
    one(primary, "pgsql-status", &["PRI"])?;
    one(primary, "pgsql-data-status", &["LATEST"])?;
    one(primary, "master-pgsql", &["1000"])?;
    baseline(&status, primary)?;
    let online = status.nodes.iter().filter(|node| node.online);
    let standbys: Vec<&str> = online
        .map(|node| node.name.as_str())
        .filter(|node| *node != primary)
        .collect();
    // With quorum commit every one of them counts, else as many as commits wait for.
    let (word, expected) = match (mode, is_quorum(lab)) {
        (RepMode::Sync, true) => ("HS:quorum", standbys.len()),
        (RepMode::Sync, false) => ("HS:sync", standbys.len().min(sync_num(lab))),
        (RepMode::Async | RepMode::Slave | RepMode::None, _) => ("HS:sync", 0),
    };
    let is_word = |node: &&&str| status.attribute(node, "pgsql-status") == Some(word);
    let synchronous = standbys.iter().filter(is_word).count();
    if synchronous != expected {
        return Err(format!("{synchronous} standbys are {word}\n{status}"));
    }
    for node in standbys {
        match status.attribute(node, "pgsql-status") {
            Some("HS:sync") => {
                one(node, "pgsql-data-status", &["STREAMING|SYNC"])?;
                one(node, "master-pgsql", &["100"])?;
            }
            Some("HS:quorum") => {
                one(node, "pgsql-data-status", &["STREAMING|QUORUM"])?;
                one(node, "master-pgsql", &["100"])?;
            }
            Some("HS:async") => {
                one(node, "pgsql-data-status", &["STREAMING|ASYNC"])?;
                // In sync mode only who has every acknowledged commit may be promoted.
                one(
                    node,
                    "master-pgsql",
                    if mode == RepMode::Sync {
                        &["-INFINITY", "-1000000"]
                    } else {
                        &["100"]
                    },
                )?;
            }
            other => return Err(format!("pgsql-status of {node} is {other:?}")),
        }
    }
    record(lab, primary)
}

/// Whether the agent was told `sync_method=quorum`.
pub(crate) fn is_quorum(lab: &Cluster) -> bool {
    lab.spec().param("sync_method") == Some("quorum")
}

/// How many standbys commits wait for: `sync_num`, of which 1 is the agent's default.
fn sync_num(lab: &Cluster) -> usize {
    let spec = lab.spec();
    let mut params = spec.params.iter();
    let told = params.find(|(name, _)| name == "sync_num");
    told.and_then(|(_, value)| value.parse().ok()).unwrap_or(1)
}

fn baseline(status: &Status, primary: &str) -> Result<(), String> {
    let value = status
        .attribute(primary, "pgsql-master-baseline")
        .unwrap_or_default();
    if is_position(value) {
        Ok(())
    } else {
        Err(format!("pgsql-master-baseline of {primary} is {value:?}"))
    }
}

/// What the last promotion was recorded with.
pub(crate) fn epoch(lab: &Cluster, primary: &str) -> Result<u64, String> {
    let text = repl_info(lab, primary)?;
    let epoch = text.rsplit('|').next().and_then(|field| field.parse().ok());
    epoch.ok_or_else(|| format!("pgsql_REPL_INFO is {text:?}"))
}

/// `pgsql_REPL_INFO`, as a node has it.
fn repl_info(lab: &Cluster, node: &str) -> Result<String, String> {
    let node = lab.node(node).map_err(|error| error.to_string())?;
    let query = [
        "crm_attribute",
        "--type=crm_config",
        "--set-name=pgsql_replication",
        "--name=pgsql_REPL_INFO",
        "--query",
        "--quiet",
    ];
    node.run(&query)
        .and_then(lab::process::Output::ok)
        .map(|text| text.trim().to_owned())
        .map_err(|error| error.to_string())
}

/// `pgsql_REPL_INFO`: `node|timeline|position|epoch`, about this primary.
fn record(lab: &Cluster, primary: &str) -> Result<(), String> {
    let text = repl_info(lab, primary)?;
    let fields: Vec<&str> = text.split('|').collect();
    let is_number = |text: &str| text.parse::<u64>().is_ok_and(|n| n > 0);
    match fields[..] {
        [name, timeline, position, epoch]
            if name == primary
                && is_number(timeline)
                && is_position(position)
                && is_number(epoch) =>
        {
            Ok(())
        }
        _ => Err(format!(
            "pgsql_REPL_INFO is {text:?} while {primary} is the primary"
        )),
    }
}

/// 16 hex digits in capitals.
fn is_position(text: &str) -> bool {
    text.len() == 16
        && text
            .chars()
            .all(|c| c.is_ascii_hexdigit() && !c.is_ascii_lowercase())
}
