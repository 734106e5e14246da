//! `setup apply` and `setup erase`: the cluster gets what config.ini says, and nothing else of it is touched.

mod change;
mod constraint;
mod derived;
mod fencing;
mod files;
mod find;
mod hands;
mod health;
mod lock;
mod merge;
mod merged;
mod patch;
mod primitive;
mod property;
mod roles;
mod same;
#[cfg(test)]
mod simulated;
mod votes;

use std::io::{self, Write as _};
use std::time::Duration;

use crate::cluster::{Exit, Failure, agree, settle};
use crate::decide::first_primary::{self as decide, First};
use crate::model::cluster_view::{ClusterProperty, ClusterView, PermanentAttribute, ResourceName};
use crate::model::node_name::NodeName;
use crate::model::status::DataStatus;
use crate::pacemaker::change_set::PROPERTY_SET;
use crate::pacemaker::cib::{self, Cib};
use crate::sys::{Command, Deadline, poll_until};
use crate::timing;

use super::command::{ApplyArgs, EraseArgs};
use super::config::{Config, Site, Template};
use super::plan::{Plan, Values};
use super::progress::Progress;
use super::tree::Tree;
pub(super) use crate::setup::apply::fencing::Means as FencedBy;
use crate::setup::apply::health::Found;
use crate::setup::apply::merged::Merged;
use crate::setup::apply::primitive::RESTARTS;
use crate::setup::apply::votes::Votes;
use crate::setup::parts::Names;

/// Roles are called Promoted and Unpromoted from this schema on.
const SCHEMA: (u32, u32) = (3, 7);

/// The cluster as it is.
struct Present {
    /// As it was read.
    text: String,
    /// The whole CIB.
    cib: Tree,
    configuration: Tree,
    view: ClusterView,
}

impl Present {
    fn read() -> Result<Self, Failure> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Failure::plain(
                "run this as root: it changes the cluster's configuration",
            ));
        }
        let unreachable = |error: &dyn std::fmt::Display| Failure::new(Exit::Unreachable, error);
        let text = Cib::live()
            .read_text(Deadline::after(timing::CIB_READ))
            .map_err(|e| unreachable(&e))?;
        let view = cib::parse(&text).map_err(|e| unreachable(&e))?;
        let cib = Tree::parse(&text).map_err(|e| unreachable(&e))?;
        let configuration = cib
            .child("configuration")
            .cloned()
            .ok_or_else(|| unreachable(&"the CIB has no configuration"))?;
        Ok(Self {
            text,
            cib,
            configuration,
            view,
        })
    }

    fn demand_quorum(&self) -> Result<(), Failure> {
        if self.view.is_quorate() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::NoQuorum,
            "nothing was done: this node's part of the cluster has no quorum, and what is changed here would be lost when the parts meet \
             again; start the other nodes, or do it on one of the majority",
        ))
    }

    /// Why what is to be stopped would not stop, or would when nobody expects it any more.
    fn hands_off(&self, names: &Names) -> Result<Option<String>, Failure> {
        hands::off_where_it_runs(&self.text, &self.view, names)
            .map_err(|error| Failure::new(Exit::Unreachable, error))
    }

    /// Whether the schema knows the new names of the roles.
    fn is_new_enough(&self) -> bool {
        let version = self
            .cib
            .get("validate-with")
            .and_then(|schema| schema.strip_prefix("pacemaker-"));
        let parts = version
            .and_then(|v| v.split_once('.'))
            .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        parts.is_none_or(|version: (u32, u32)| version >= SCHEMA)
    }
}

/// Gives the cluster what config.ini says.
pub(super) fn apply(config: &Config, args: &ApplyArgs) -> Result<(), Failure> {
    let site = &config.site;
    if let Template::Own(name) = &site.template {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "config.ini names the template {name}, which only its own tool understands: expgsql setup render >FILE, and run that"
            ),
        ));
    }
    let mut present = Present::read()?;
    present.demand_quorum()?;
    know_nodes(&present.view, config)?;
    let mut first_steps = Vec::new();
    if !present.is_new_enough() {
        first_steps.push(format!(
            "upgrade the configuration's schema from {}, which does not know today's names of the roles",
            present.cib.get("validate-with").unwrap_or("an older one")
        ));
    }
    let (names, remarks) = find::names_to_change(&present.configuration, site)
        .map_err(|why| Failure::new(Exit::Refused, why))?;
    let plan = Plan::named(&Values::from(site), names);
    let votes = Votes::read(Deadline::after(timing::CIB_READ))?;
    let mut merged = merge::merge(&present.configuration, &plan, votes);
    merged.remarks.extend(remarks);
    if let Some(first) = &args.master {
        name_first(&mut merged, &present.view, config, &plan.names, first)?;
    }
    if !merged.changes.is_empty() {
        derived::usable(&merged.configuration, &plan.names.resource)
            .map_err(|why| Failure::new(Exit::Refused, why))?;
    }
    // A node that is off is told of by itself.
    let is_on = |name: &NodeName| present.view.node(name).is_some_and(|node| node.is_online);
    let starts = !merged.changes.is_empty() && !args.dry_run;
    let files = files::ask(site, is_on);
    merged.remarks.extend(files::judge(&files, starts)?);
    let lock = lock::look(site, &plan.names.resource)?;
    first_steps.extend(lock.to_do());
    first_steps.append(&mut merged.changes);
    merged.changes = first_steps;
    let is_replaced = merged.replaces.is_some();
    if is_replaced {
        // What can't be read is said before anything is stopped, and so is what would not stop.
        keep_primary(&mut merged, &present.view, &plan.names)?;
        match present.hands_off(&plan.names)? {
            Some(why) if args.dry_run => merged.remarks.push(format!("it would be refused: {why}")),
            Some(why) => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("nothing was done: {why}"),
                ));
            }
            None => {}
        }
    }
    // Whoever reads may have gone.
    let _ = io::stdout().write_all(told(&merged, &present.view).as_bytes());
    let is_new_enough = present.is_new_enough();
    if !merged.changes.is_empty() && is_new_enough {
        patch::verify(&present.cib, &merged.configuration, "nothing was done")?;
    }
    if merged.changes.is_empty() || args.dry_run {
        return Ok(());
    }
    if !args.yes {
        agree()?;
    }
    lock.make()?;
    if !is_new_enough {
        upgrade_schema()?;
        present = Present::read()?;
        merged = planned(&present, config, args, &plan, votes, &present.configuration)?;
        let done = "nothing was done but that the schema of the configuration was upgraded";
        patch::verify(&present.cib, &merged.configuration, done)?;
    }
    if is_replaced {
        // By the agent that started it, and in order: what one agent began is not left to another to end.
        change::carry_out(&mut Replacement {
            config,
            args,
            plan: &plan,
            votes,
            before: present,
        })?;
    } else {
        patch::apply(&present.cib, &present.configuration, &merged.configuration)?;
    }
    let expected = health::Expected {
        names: &plan.names,
        nodes: &site.nodes,
        reader_on_primary: site.tuning.reader_on_primary,
    };
    wait(&expected, args.timeout)
}

/// The configuration as it is to be; `before`: as it was before anything was stopped.
fn planned(
    present: &Present,
    config: &Config,
    args: &ApplyArgs,
    plan: &Plan,
    votes: Votes,
    before: &Tree,
) -> Result<Merged, Failure> {
    let mut merged = merge::merge(&present.configuration, plan, votes);
    if let Some(first) = &args.master {
        name_first(&mut merged, &present.view, config, &plan.names, first)?;
    }
    if merged.replaces.is_some() {
        keep_primary(&mut merged, &present.view, &plan.names)?;
        roles::start(&mut merged.configuration, &plan.names, before);
    }
    Ok(merged)
}

/// PostgreSQL is stopped by one agent, and started by another.
struct Replacement<'a> {
    config: &'a Config,
    args: &'a ApplyArgs,
    plan: &'a Plan,
    votes: Votes,
    before: Present,
}

impl Replacement<'_> {
    fn planned(&self, present: &Present) -> Result<Merged, Failure> {
        let before = &self.before.configuration;
        planned(
            present,
            self.config,
            self.args,
            self.plan,
            self.votes,
            before,
        )
    }
}

impl change::Steps for Replacement<'_> {
    fn verify(&mut self) -> Result<(), Failure> {
        let merged = self.planned(&self.before)?;
        patch::verify(&self.before.cib, &merged.configuration, "nothing was done")
    }

    fn stop(&mut self) -> Result<(), Failure> {
        stop(&self.before, &self.plan.names, self.args.timeout)
    }

    fn change(&mut self) -> Result<(), Failure> {
        let present = Present::read()?;
        let merged = self.planned(&present)?;
        let done = "the agent was not changed";
        patch::verify(&present.cib, &merged.configuration, done)?;
        patch::apply(&present.cib, &present.configuration, &merged.configuration)
    }

    fn is_changed(&mut self) -> bool {
        Present::read().is_ok_and(|present| {
            let merged = merge::merge(&present.configuration, self.plan, self.votes);
            merged.replaces.is_none()
        })
    }

    fn give_back(&mut self) -> Result<(), Failure> {
        give_back(&self.plan.names, &self.before.configuration)
    }

    fn way_back(&self) -> String {
        roles::by_hand(&self.plan.names, &self.before.configuration)
    }

    fn goes_on(&self) -> bool {
        false
    }
}

/// Everything is told what it was told before it was stopped.
fn give_back(names: &Names, before: &Tree) -> Result<(), Failure> {
    let present = Present::read()?;
    let mut as_before = present.configuration.clone();
    roles::give_back(&mut as_before, names, before);
    if as_before == present.configuration {
        return Ok(());
    }
    patch::apply(&present.cib, &present.configuration, &as_before)
}

/// What the clone around the database is called, in this CIB or, where it is not there yet, by default.
pub(super) fn clone_name(cib: &str, site: &Site) -> String {
    let found = Tree::parse(cib).ok().and_then(|cib| {
        let configuration = cib.child("configuration")?;
        find::names(configuration, site).ok()
    });
    found.unwrap_or_else(|| Names::of(site.resource())).clone
}

/// By what nodes are fenced, by the whole CIB.
pub(super) fn fenced_by(cib: &str) -> fencing::Means {
    let configuration = Tree::parse(cib).ok();
    let configuration = configuration.and_then(|cib| cib.child("configuration").cloned());
    configuration.map_or(fencing::Means::None, |it| fencing::means(&it))
}

/// Every node of config.ini is one of the cluster's.
fn know_nodes(view: &ClusterView, config: &Config) -> Result<(), Failure> {
    let all: Vec<String> = view
        .nodes
        .values()
        .map(|node| node.name.to_string())
        .collect();
    match config
        .site
        .nodes
        .iter()
        .find(|name| view.node(name).is_none())
    {
        Some(unknown) => Err(Failure::new(
            Exit::Refused,
            format!(
                "nothing was done: {} names the node {unknown}, which the cluster does not have; it has {}",
                config.path.display(),
                all.join(", ")
            ),
        )),
        None => Ok(()),
    }
}

/// Writes down which node shall be the first primary, as if it had been promoted last.
fn name_first(
    merged: &mut Merged,
    view: &ClusterView,
    config: &Config,
    names: &Names,
    first: &str,
) -> Result<(), Failure> {
    let refused = |why: String| Failure::new(Exit::Refused, why);
    let node = NodeName::new(first)
        .ok()
        .and_then(|name| config.site.nodes.iter().find(|node| **node == name))
        .ok_or_else(|| {
            refused(format!(
                "nothing was done: {first:?} is none of the nodes in {}",
                config.path.display()
            ))
        })?;
    let Some(resource) = ResourceName::new(&names.resource) else {
        return Err(refused(format!("{:?} names no resource", names.resource)));
    };
    let property = ClusterProperty::ReplInfo.name(&resource);
    let record = view.property(&property);
    match decide::first_primary(node, record, &latest(view, &resource)?) {
        First::Name => {
            merged.set_property(PROPERTY_SET, &property, node.as_str());
            merged.changes.push(format!(
                "name {node} the first primary (property {property})"
            ));
            Ok(())
        }
        First::IsIt => Ok(()),
        First::Another(which) => Err(refused(format!(
            "nothing was done: the cluster has had a primary ({which}), and a node that is simply named now may lack commits; \
             to move the primary use expgsql cluster switch {node}, and, where no node can become primary any more, expgsql cluster reset-master {node}"
        ))),
    }
}

/// The agent that is replaced may keep no promotion record; then the node that is LATEST by its data statuses goes on record, so
/// that it is the primary again, and no other is tried first.
fn keep_primary(merged: &mut Merged, view: &ClusterView, names: &Names) -> Result<(), Failure> {
    let Some(resource) = ResourceName::new(&names.resource) else {
        return Ok(());
    };
    let property = ClusterProperty::ReplInfo.name(&resource);
    if view.property(&property).is_none()
        && let [primary] = &latest(view, &resource)?[..]
    {
        merged.set_property(PROPERTY_SET, &property, primary.as_str());
    }
    Ok(())
}

/// Whose recorded data status is that of a primary: an older agent keeps no other record.
///
/// # Errors
/// [`Failure`]: one can't be read, so that it is not known whether it says so.
fn latest(view: &ClusterView, resource: &ResourceName) -> Result<Vec<NodeName>, Failure> {
    let mut found = Vec::new();
    for node in view.nodes.values() {
        let Some(text) = node.permanent(PermanentAttribute::DataStatus, resource) else {
            continue;
        };
        let status: DataStatus = text.parse().map_err(|error| {
            Failure::plain(format!(
                "who was the primary is not known: {}: {error}; correct {} with crm_attribute, and run this again",
                node.name,
                PermanentAttribute::DataStatus.name(resource)
            ))
        })?;
        if status == DataStatus::Latest {
            found.push(node.name.clone());
        }
    }
    Ok(found)
}

/// What is to be done, as it is told before the question.
fn told(merged: &Merged, view: &ClusterView) -> String {
    let mut text = String::new();
    if merged.changes.is_empty() {
        text += "Nothing to do: the cluster is configured as config.ini says.\n";
    } else {
        text += "To be done:\n";
        for change in &merged.changes {
            text += &format!("  {change}\n");
        }
    }
    for remark in &merged.remarks {
        text += &format!("Note: {remark}\n");
    }
    if merged.changes.iter().any(|it| it.ends_with(RESTARTS)) {
        text += "PostgreSQL is restarted on every node for what is marked so, the primary included: for that time there is no database.\n";
    }
    if let Some(before) = &merged.replaces {
        text += &format!(
            "PostgreSQL is stopped on every node by {before}, which is another agent, and then started by this one.\n"
        );
    }
    for node in view.nodes.values().filter(|node| !node.is_online) {
        text += &format!(
            "Note: {} is off; it gets the configuration when it comes back.\n",
            node.name
        );
    }
    text
}

fn upgrade_schema() -> Result<(), Failure> {
    let deadline = Deadline::after(timing::CIB_READ);
    Cib::live()
        .cibadmin(deadline)
        .args(["--upgrade", "--force"])
        .run(deadline)
        .map(drop)
        .map_err(|error| {
            Failure::plain(format!(
                "the configuration's schema can't be upgraded: {}",
                patch::brief(&error)
            ))
        })
}

/// So often in a row a reason is seen that is not from before the change.
const AGAIN: u32 = 3;

fn wait(expected: &health::Expected<'_>, limit: Duration) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut found = Found::default();
    let look = || {
        let text = Cib::live().read_text(Deadline::after(timing::CIB_READ));
        text.and_then(|text| health::look(&text, expected))
            .unwrap_or_else(|error| Found {
                missing: vec![error.to_string()],
                ..Found::default()
            })
    };
    let mut hopeless = 0;
    let ended = poll_until(Deadline::after(limit), timing::STREAMING_POLL, || {
        found = look();
        if found.missing.is_empty() {
            // What is seen may be from before the change: healthy is what is still so when Pacemaker has nothing left to do.
            progress.wait("waiting for Pacemaker to finish");
            settle();
            found = look();
        }
        if found.missing.is_empty() {
            return Some(None);
        }
        // This node's copy of the CIB may be from before the change, too.
        hopeless = if found.never.is_some() {
            hopeless + 1
        } else {
            0
        };
        if hopeless >= AGAIN {
            return Some(found.never.take());
        }
        progress.wait(&format!("waiting for {}", found.missing.join(", ")));
        None
    });
    let last = &found.missing;
    match ended {
        Some(None) => {
            progress.say("Done: the cluster has a primary, every standby that is on replicates, and the addresses are up.");
            if !found.left_out.is_empty() {
                progress.say(&format!("Not waited for: {}.", found.left_out.join(", ")));
            }
            Ok(())
        }
        Some(Some(never)) => Err(Failure::new(
            Exit::TimedOut,
            format!(
                "the cluster is configured, and what is missing does not come by itself ({}): {never}",
                last.join(", ")
            ),
        )),
        None => Err(Failure::new(
            Exit::TimedOut,
            format!(
                "the cluster is configured, but after {} s there is still missing: {}; crm_mon -1Afr shows why an action failed, \
                 expgsql cluster why tells for each node why it is not promoted",
                limit.as_secs(),
                last.join(", ")
            ),
        )),
    }
}

/// Takes this program's resources out of the cluster.
pub(super) fn erase(config: &Config, args: &EraseArgs) -> Result<(), Failure> {
    let present = Present::read()?;
    present.demand_quorum()?;
    let names = find::names(&present.configuration, &config.site)
        .map_err(|why| Failure::new(Exit::Refused, why))?;
    let merged = merge::without(&present.configuration, &names);
    if merged.changes.is_empty() {
        let _ = writeln!(
            io::stdout(),
            "Nothing to do: the cluster has none of the resources of config.ini."
        );
        return Ok(());
    }
    let off = hands::off_for_removal(&present.text, &present.view, &names)
        .map_err(|error| Failure::new(Exit::Unreachable, error))?;
    if let Some(why) = off {
        return Err(Failure::new(
            Exit::Refused,
            format!("nothing was done: {why}"),
        ));
    }
    let mut text =
        "To be done:\n  stop PostgreSQL on every node, and take the addresses down\n".to_owned();
    for change in &merged.changes {
        text += &format!("  {change}\n");
    }
    text += "The data directories stay, and so does the record of who was primary. Everything else in the configuration stays as it is.\n";
    let already = removable(&present, &merged, "nothing was done")?;
    if let Some(said) = already {
        text += &format!(
            "Note: Pacemaker finds errors in the configuration as it is, and what is left of them is yours to mend: {said}\n"
        );
    }
    let _ = io::stdout().write_all(text.as_bytes());
    if !args.yes {
        agree()?;
    }
    change::carry_out(&mut Removal {
        names: &names,
        limit: args.timeout,
        before: present,
    })?;
    let _ = writeln!(io::stdout(), "Done.");
    Ok(())
}

/// See [`patch::verify_removal`].
fn removable(present: &Present, merged: &Merged, done: &str) -> Result<Option<String>, Failure> {
    let before = &present.configuration;
    patch::verify_removal(&present.cib, before, &merged.configuration, done)
}

/// PostgreSQL is stopped, and taken out.
struct Removal<'a> {
    names: &'a Names,
    limit: Duration,
    before: Present,
}

impl change::Steps for Removal<'_> {
    fn verify(&mut self) -> Result<(), Failure> {
        let merged = merge::without(&self.before.configuration, self.names);
        removable(&self.before, &merged, "nothing was done").map(drop)
    }

    fn stop(&mut self) -> Result<(), Failure> {
        stop(&self.before, self.names, self.limit)
    }

    fn change(&mut self) -> Result<(), Failure> {
        let present = Present::read()?;
        let merged = merge::without(&present.configuration, self.names);
        removable(&present, &merged, "nothing was removed")?;
        patch::apply(&present.cib, &present.configuration, &merged.configuration)
    }

    fn is_changed(&mut self) -> bool {
        Present::read().is_ok_and(|present| {
            let merged = merge::without(&present.configuration, self.names);
            merged.changes.is_empty()
        })
    }

    fn give_back(&mut self) -> Result<(), Failure> {
        give_back(self.names, &self.before.configuration)
    }

    fn way_back(&self) -> String {
        roles::by_hand(self.names, &self.before.configuration)
    }

    fn goes_on(&self) -> bool {
        true
    }
}

/// Stops everything in order: what is simply removed is stopped in any.
fn stop(present: &Present, names: &Names, limit: Duration) -> Result<(), Failure> {
    let mut progress = Progress::new();
    progress.say(&format!(
        "Everything is told to stop. If this is interrupted before it is done, run it again, or, to go back: {}",
        roles::by_hand(names, &present.configuration)
    ));
    let resources = present.configuration.child("resources");
    for id in std::iter::once(&names.clone).chain(names.addresses()) {
        if resources.is_none_or(|r| r.find(&|e| e.id() == id).is_none()) {
            continue;
        }
        Command::new("crm_resource")
            .arg(format!("--resource={id}"))
            .args([
                "--meta",
                "--set-parameter=target-role",
                "--parameter-value=Stopped",
            ])
            .run(Deadline::after(timing::CIB_READ))
            .map_err(Failure::plain)?;
    }
    let mut running = String::new();
    let ids: Vec<ResourceName> = std::iter::once(&names.resource)
        .chain(names.addresses())
        .filter_map(|id| ResourceName::new(id))
        .collect();
    let stopped = poll_until(Deadline::after(limit), timing::STREAMING_POLL, || {
        let view = match cib::read(Deadline::after(timing::CIB_READ)) {
            Ok(view) => view,
            Err(error) => {
                running = error.to_string();
                return None;
            }
        };
        let still: Vec<String> = ids
            .iter()
            .flat_map(|id| {
                view.active_nodes(id)
                    .filter(|node| node.is_online)
                    .map(move |node| format!("{id} on {}", node.name))
            })
            .collect();
        if still.is_empty() {
            return Some(());
        }
        running = still.join(", ");
        progress.wait(&format!("stopping {running}"));
        None
    });
    stopped.ok_or_else(|| {
        Failure::new(
            Exit::TimedOut,
            format!("the resources were told to stop, and after {} s there still runs {running}; crm_mon -1Afr shows why", limit.as_secs()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_restarts_the_servers_is_told_before_the_question() {
        let text = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
        let view = cib::parse(text).unwrap();
        let merged = |change: &str| Merged {
            configuration: Tree::new("configuration"),
            changes: vec![change.to_owned()],
            remarks: Vec::new(),
            replaces: None,
        };
        let restarts = format!("pgsql: set pgport=5433{RESTARTS}");
        let line = "PostgreSQL is restarted on every node";
        let said = told(&merged(&restarts), &view);
        assert!(said.contains(&restarts) && said.contains(line), "{said}");
        let said = told(&merged("pgsql: set stop_escalate=20"), &view);
        assert!(!said.contains(line), "{said}");
    }
}
