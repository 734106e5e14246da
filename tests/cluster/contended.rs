//! Many who change the CIB at the same time, each on a condition: a compare-and-set, or a count would be lost.

use lab::{Agent, Cluster, Node, Result};

use super::stage::{expect, wrong};

/// How often each node counts.
const TIMES: u64 = 20;

/// Where the hosts have the agent.
const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// The feature set from which on a change of the outermost element fits one version of the CIB only (Pacemaker 3.0.1). What changes the status as fast as
/// it can starves it (docs/field.md); ten times a second does not, which is more than a cluster of many resources does while it recovers.
const BY_PATCH: [u32; 3] = [3, 20, 1];

/// Changes the status, which is nothing to the others, as fast as it can, or with a pause.
fn noise(pause: &str) -> String {
    format!(
        "touch /run/noise; i=0; while [ -e /run/noise ]; do i=$((i + 1)); \
         attrd_updater --name=noise --update=$i || exit 1; {pause} done; echo $i"
    )
}

pub(crate) fn conditional_changes_of_all_nodes_are_one_after_the_other() -> Result<()> {
    let binary = lab::build_trial()?;
    let lab = Cluster::builder().agent(Agent::Expgsql { binary }).boot()?;
    lab.form()?;
    for how in ["plain", "raising"] {
        let said = count(&lab.nodes()[0], &format!("trial-quiet-{how}"), how)?;
        println!("         {how:<8} alone: refused and milliseconds: {said}");
        let (before, _) = outermost(&lab.nodes()[0])?;
        counted(&lab, how)?;
        let (epoch, rest) = outermost(&lab.nodes()[0])?;
        let expected = match how {
            "raising" => before + TIMES * lab.nodes().len() as u64,
            _ => before,
        };
        expect(epoch == expected, || {
            format!("{how}: admin_epoch is {epoch}, from {before}, not {expected}")
        })?;
        // A patch sets the whole outermost element: what the controller has written there must be as it was.
        for attribute in ["have-quorum=\"1\"", "dc-uuid=\"", "crm_feature_set=\""] {
            expect(rest.contains(attribute), || {
                format!("{how}: no {attribute} in {rest}")
            })?;
        }
        lab.eventually("every copy is the same", super::stage::LIMIT, |lab| {
            let all = lab.nodes().iter().map(copy);
            let all = all
                .collect::<Result<Vec<_>>>()
                .map_err(|error| error.to_string())?;
            let is_same = all.windows(2).all(|pair| pair[0] == pair[1]);
            is_same.then_some(()).ok_or_else(|| format!("{all:?}"))
        })?;
    }
    Ok(())
}

/// All nodes count at once, while one of them makes noise.
fn counted(lab: &Cluster, how: &str) -> Result<()> {
    let property = format!("trial-{how}");
    let (_, rest) = outermost(&lab.nodes()[0])?;
    let set = rest.split_once("crm_feature_set=\"");
    let set = set.and_then(|(_, rest)| rest.split('"').next());
    let set = set.ok_or_else(|| wrong(format!("no feature set: {rest}")))?;
    let numbers: Vec<u32> = set.split('.').filter_map(|it| it.parse().ok()).collect();
    let noise = noise(if numbers[..] >= BY_PATCH[..] {
        "sleep 0.08;"
    } else {
        ""
    });
    let (results, made) = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            lab.nodes()[0]
                .command(&["sh", "-c", &noise])?
                .limit(super::stage::LIMIT * 3)
                .ok()
        });
        let counters: Vec<_> = lab
            .nodes()
            .iter()
            .map(|node| scope.spawn(|| count(node, &property, how)))
            .collect();
        let results: Vec<_> = counters.into_iter().map(|it| it.join()).collect();
        let ended = lab.nodes()[0].run(&["rm", "-f", "/run/noise"]);
        (
            results,
            ended.and_then(|_| made.join().map_err(|_| wrong("noise"))?),
        )
    });
    for (node, result) in lab.nodes().iter().zip(results) {
        let said = result.map_err(|_| wrong("a counter panicked"))??;
        let (refused, middle) = said.split_once(' ').unwrap_or((&said, ""));
        println!(
            "         {how:<8} {}: {TIMES} changes, {refused} refused, {middle} ms in the middle",
            node.name()
        );
    }
    println!("         {how:<8} beside {} changes of the status", made?);
    let query = [
        "crm_attribute",
        "--type=crm_config",
        "--set-name=pgsql_replication",
        &format!("--name={property}"),
        "--query",
        "--quiet",
    ];
    let count = lab.nodes()[0].run(&query)?.ok()?;
    let expected = TIMES * lab.nodes().len() as u64;
    expect(count.trim() == expected.to_string(), || {
        format!("{how}: counted {count} of {expected}")
    })
}

fn count(node: &Node, property: &str, how: &str) -> Result<String> {
    let times = TIMES.to_string();
    node.command(&[PROGRAM, "trial-count", property, &times, how])?
        .limit(super::stage::LIMIT * 2)
        .ok()
}

/// The admin_epoch in a node's copy, and the whole line that it is in.
fn outermost(node: &Node) -> Result<(u64, String)> {
    let text = query(node)?;
    let line = text.lines().find(|line| line.starts_with("<cib "));
    let line = line.ok_or_else(|| wrong(format!("no CIB: {text}")))?;
    let epoch = line.split_once("admin_epoch=\"");
    let epoch = epoch.and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
    let epoch = epoch.ok_or_else(|| wrong(format!("no admin_epoch: {line}")))?;
    Ok((epoch, line.to_owned()))
}

/// A node's copy, but for the time that each daemon notes for itself.
fn copy(node: &Node) -> Result<String> {
    let text = query(node)?;
    let Some((head, rest)) = text.split_once("cib-last-written=\"") else {
        return Ok(text);
    };
    let tail = rest.split_once('"').map_or("", |(_, tail)| tail);
    Ok(format!("{head}{tail}"))
}

/// The node's own copy: each asks its own daemon.
fn query(node: &Node) -> Result<String> {
    node.run(&["cibadmin", "--query"])?.ok()
}
