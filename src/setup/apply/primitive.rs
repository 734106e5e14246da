//! What one resource has: its parameters, meta attributes and operations. Each change is told in words.

use std::collections::HashSet;
use std::time::Duration;

use crate::decide::lease_length::too_short;
use crate::params::{Kind, PARAMS, Param};
use crate::setup::config::boolean;
use crate::setup::parts::{
    Attribute, CHECK_LEVEL, Meta, Operation, PLAIN, Primitive, STORAGE, WRITES,
};
use crate::setup::plan::seconds;
use crate::setup::render::xml::{self, nvpair};
use crate::setup::tree::Tree;

use super::find::sets;
use super::same;

/// This program, as Pacemaker's agent.
const OWN: &str = "expgsql";

/// Takes a name out of the sets of `owner`; whether it was there.
pub(super) fn unset(owner: &mut Tree, tag: &str, name: &str) -> bool {
    let mut is_found = false;
    for set in owner
        .children
        .iter_mut()
        .filter(|set| set.tag == tag && set.child("rule").is_none())
    {
        let before = set.children.len();
        set.children.retain(|pair| pair.get("name") != Some(name));
        is_found |= set.children.len() < before;
    }
    is_found
}

pub(super) fn current<'a>(owner: &'a Tree, tag: &'a str, name: &str) -> Option<&'a str> {
    let pair = sets(owner, tag)
        .flat_map(|set| set.children_named("nvpair"))
        .find(|pair| pair.get("name") == Some(name));
    pair.and_then(|pair| pair.get("value"))
}

/// Sets a name in the set where it is, else in the first set, which is made where there is none.
pub(super) fn set(owner: &mut Tree, tag: &str, name: &str, value: &str) {
    let is_plain = |set: &Tree| set.tag == tag && set.child("rule").is_none();
    let places = owner.children.iter_mut().filter(|set| is_plain(set));
    for place in places {
        if let Some(pair) = place
            .children
            .iter_mut()
            .find(|pair| pair.get("name") == Some(name))
        {
            pair.set("value", value);
            return;
        }
    }
    if !owner.children.iter().any(is_plain) {
        let id = format!("{}-{tag}", owner.id());
        owner.children.push(Tree::new(tag).with("id", id));
    }
    if let Some(first) = owner.children.iter_mut().find(|set| is_plain(set)) {
        let id = first.id().to_owned();
        first.children.push(nvpair(&id, name, value));
    }
}

/// Sets meta attributes of `owner`. What nobody asked for is set only where nothing is; `is_elsewhere`: what has a value in another
/// place, which counts more. What is done, and what stays and is worth knowing.
pub(super) fn set_meta(
    owner: &mut Tree,
    id: &str,
    wanted: &Meta,
    is_elsewhere: impl Fn(&str) -> bool,
) -> (Vec<String>, Vec<String>) {
    let (mut changes, mut kept) = (Vec::new(), Vec::new());
    for it in wanted {
        let (name, value) = (it.name, &it.value);
        let now = current(owner, "meta_attributes", name).map(str::to_owned);
        let is_same = now.as_deref().is_some_and(|now| {
            same::value(now) == same::value(value) || same::time(now) == same::time(value)
        });
        if !it.is_default {
            kept.extend(unsound(id, it, value));
        }
        if is_same || it.is_default && is_elsewhere(name) {
            continue;
        }
        match now {
            Some(now) if it.is_default => kept.extend(unsound(id, it, &now)),
            now => {
                changes.push(changed(
                    id,
                    &format!("the meta attribute {name}"),
                    now.as_deref(),
                    value,
                ));
                set(owner, "meta_attributes", name, value);
            }
        }
    }
    (changes, kept)
}

/// What comes of a value that somebody set: in the cluster, where config.ini says nothing of it, or in config.ini.
pub(super) fn unsound(id: &str, it: &Attribute, now: &str) -> Option<String> {
    const INFINITY: u64 = 1_000_000;
    let sound = it.sound.as_ref()?;
    let number = match same::value(now).as_str() {
        "infinity" => INFINITY,
        _ => now
            .trim()
            .parse()
            .ok()
            .or_else(|| Some(same::duration(now)?.as_secs()))?,
    };
    // Of a threshold and of a time it means never.
    let is_never = number == 0 && it.name != "resource-stickiness";
    let is_sound = (u64::from(sound.least)..=u64::from(sound.most)).contains(&number);
    (!is_sound && !is_never).then(|| {
        let (name, otherwise) = (it.name, sound.otherwise);
        if it.is_default {
            format!("{id}: the meta attribute {name}={now} stays, as config.ini says nothing of it: {otherwise}; usual is {}", it.value)
        } else {
            // The rest of config.ini was held against it already.
            format!("{id}: the meta attribute {name}={now} is config.ini's, and the cluster has a longer timeout: {otherwise}; right is {} and more", sound.least)
        }
    })
}

fn changed(id: &str, what: &str, from: Option<&str>, to: &str) -> String {
    match from {
        Some(from) => format!("{id}: change {what} from {} to {}", shown(from), shown(to)),
        None => format!("{id}: set {what}={}", shown(to)),
    }
}

fn shown(value: &str) -> String {
    if value.is_empty() || value.contains(' ') {
        format!("{value:?}")
    } else {
        value.to_owned()
    }
}

/// Whether a parameter's value may hold a password.
fn is_secret(name: &str) -> bool {
    PARAMS
        .iter()
        .any(|param| param.name == name && param.kind == Kind::Secret)
}

/// Whether two values of a parameter differ in their spelling only: a change restarts what has it.
fn means_the_same(name: &str, now: &str, value: &str) -> bool {
    let mut params = PARAMS.iter();
    let is_switch = params.any(|param| param.name == name && param.kind == Kind::Boolean);
    let is_same_switch =
        || is_switch && boolean(now).is_some_and(|now| boolean(value) == Some(now));
    now == value || same::address(now, value) || is_same_switch()
}

/// Behind a change that restarts PostgreSQL.
pub(super) const RESTARTS: &str = " (restarts every server)";

/// What is said behind the change of a parameter of this agent.
fn outcome(agent: &str, name: &str) -> &'static str {
    let is_it = |param: &&Param| param.name == name;
    let restarts = PARAMS.iter().find(is_it).is_some_and(|it| !it.reloadable);
    if agent == OWN && restarts {
        RESTARTS
    } else {
        ""
    }
}

/// Sets parameters. Each change in words; of a server that runs, `is_running`, also what it costs.
pub(super) fn set_params(
    primitive: &mut Tree,
    wanted: &Primitive,
    is_running: bool,
) -> Vec<String> {
    const TAG: &str = "instance_attributes";
    let mut changes = Vec::new();
    let agent = if is_running { wanted.agent } else { "" };
    for (name, value) in &wanted.params {
        let now = current(primitive, TAG, name).map(str::to_owned);
        match now {
            Some(_) if value.is_empty() => {
                unset(primitive, TAG, name);
                let outcome = outcome(agent, name);
                changes.push(format!("{}: remove {name}{outcome}", wanted.id));
            }
            None if value.is_empty() => {}
            Some(now) if means_the_same(name, &now, value) => {}
            now => {
                // What was there may have a password in it; what is wanted has none.
                let from = now.as_deref().map(|now| {
                    if is_secret(name) {
                        "its old value"
                    } else {
                        now
                    }
                });
                let change = match from {
                    Some(from) if is_secret(name) => format!(
                        "{}: change {name} from {from} to {}",
                        wanted.id,
                        shown(value)
                    ),
                    from => changed(&wanted.id, name, from, value),
                };
                changes.push(change + outcome(agent, name));
                set(primitive, TAG, name, value);
            }
        }
    }
    changes
}

/// Parameters that config.ini says nothing of: those that the agent knows stay, the others go. What is done, and what stays.
pub(super) fn judge_others(primitive: &mut Tree, wanted: &Primitive) -> (Vec<String>, Vec<String>) {
    // The lock's older commands have no meaning beside a connection string, and are taken out by the plan itself.
    let names: Vec<String> = sets(primitive, "instance_attributes")
        .flat_map(|set| set.children_named("nvpair"))
        .filter_map(|pair| pair.get("name").map(str::to_owned))
        .filter(|name| !wanted.params.iter().any(|(wanted, _)| wanted == name))
        .collect();
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for name in names {
        if PARAMS.iter().any(|param| param.name == name) {
            let value = if is_secret(&name) {
                "…"
            } else {
                current(primitive, "instance_attributes", &name).unwrap_or_default()
            };
            kept.push(format!(
                "{}: {name}={} stays; config.ini says nothing of it",
                wanted.id,
                shown(value)
            ));
        } else {
            unset(primitive, "instance_attributes", &name);
            removed.push(format!(
                "{}: remove {name}, which is no parameter of {}",
                wanted.id, wanted.agent
            ));
        }
    }
    (removed, kept)
}

/// How deep a monitor looks: one that looks deeper is another operation, with its own interval beside the plain one.
fn level(op: &Tree) -> u32 {
    let is_level = |e: &&Tree| e.tag == "nvpair" && e.get("name") == Some(CHECK_LEVEL);
    let text = op.all().find(is_level).and_then(|pair| pair.get("value"));
    let number: u32 = text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    // As the agent reads it.
    [STORAGE, WRITES]
        .into_iter()
        .find(|level| number >= *level)
        .unwrap_or(PLAIN)
}

/// Whether `op` is the operation that the plan means: by name, role and depth.
fn is_operation(op: &Tree, it: &Operation) -> bool {
    op.get("name") == Some(it.name)
        && same::is_promoted(op.get("role")) == it.is_of_promoted
        // A role of its own, such as Stopped, is something else.
        && (it.is_of_promoted || op.get("role").is_none_or(|role| matches!(same::value(role).as_str(), "started" | "unpromoted")))
        && level(op) == it.level
}

/// Monitors that the plan does not speak of.
fn other_monitors<'a>(
    operations: &'a Tree,
    wanted: &'a Primitive,
) -> impl Iterator<Item = &'a Tree> {
    let is_ours = |op: &Tree| wanted.operations.iter().any(|it| is_operation(op, it));
    let monitors = operations.children.iter();
    let monitors = monitors.filter(|op| op.get("name") == Some("monitor"));
    monitors.filter(move |op| !is_ours(op))
}

fn interval(op: &Tree) -> Option<Duration> {
    let interval = same::duration(op.get("interval")?)?;
    (!interval.is_zero()).then_some(interval)
}

/// The plan's operations as they are to be: an interval that somebody chose stays where nobody asks for another, if the lock is still
/// renewed in time, and if Pacemaker can tell the monitors apart, of which some may be somebody else's.
fn with_kept_intervals(operations: &Tree, wanted: &Primitive) -> Vec<Operation> {
    let asked = wanted.operations.iter().filter(|it| !it.is_usual_interval);
    let mut taken: HashSet<Duration> = other_monitors(operations, wanted)
        .filter_map(interval)
        .chain(asked.map(|it| it.interval))
        .collect();
    let is_late = |it: &Operation, interval: Duration| {
        it.renews
            .is_some_and(|ttl| too_short(ttl, interval).is_some())
    };
    let mut all = wanted.operations.clone();
    let mut open = Vec::new();
    for it in all.iter_mut().filter(|it| it.is_usual_interval) {
        let mut there = operations.children.iter();
        let kept = there.find(|op| is_operation(op, it)).and_then(interval);
        match kept.filter(|kept| !is_late(it, *kept) && taken.insert(*kept)) {
            Some(kept) => it.interval = kept,
            None => open.push(it),
        }
    }
    for it in open {
        let usual = it.interval;
        let near = (1..NEAR).map(Duration::from_secs).flat_map(|away| {
            let less = usual.checked_sub(away).filter(|less| !less.is_zero());
            std::iter::once(usual + away).chain(less)
        });
        let free = std::iter::once(usual)
            .chain(near)
            .find(|interval| !is_late(it, *interval) && taken.insert(*interval));
        it.interval = free.unwrap_or(usual);
    }
    all
}

/// So many seconds from the usual interval a free one is looked for.
const NEAR: u64 = 60;

/// The longest that an operation may take by a timeout which somebody chose, and which stays.
pub(super) fn longest_that_stays(primitive: &Tree, wanted: &Primitive) -> Option<Duration> {
    let is_asked = |op: &&Tree| {
        let mut all = wanted.operations.iter();
        all.any(|it| is_operation(op, it) && !it.is_usual_timeout)
    };
    let operations = primitive.child("operations")?.children_named("op");
    let stay = operations.filter(|op| !is_asked(op));
    stay.filter_map(|op| same::duration(op.get("timeout")?))
        .max()
}

/// The same meta attributes for operations that may take so long: a failure is not to be forgotten within that.
pub(super) fn outlasting(wanted: &Meta, longest: Option<Duration>) -> Meta {
    let mut all = wanted.clone();
    let Some(longest) = longest else {
        return all;
    };
    let least = longest.as_millis().div_ceil(1000) + 1;
    let least = u32::try_from(least).unwrap_or(u32::MAX);
    for it in all.iter_mut().filter(|it| it.name == "failure-timeout") {
        let is_short = same::duration(&it.value).is_some_and(|time| time <= longest);
        if it.is_default && is_short {
            it.value = seconds(Duration::from_secs(u64::from(least).saturating_add(ROOM)));
        }
        if let Some(sound) = &mut it.sound {
            sound.least = sound.least.max(least);
        }
    }
    all
}

/// So many seconds a failure is remembered beyond the longest operation, where nobody says it.
const ROOM: u64 = 59;

/// Operations are the plan's by name, role and depth; others, such as those that pcs adds, stay. What is done, and what stays and is worth
/// knowing.
pub(super) fn set_operations(
    primitive: &mut Tree,
    wanted: &Primitive,
) -> (Vec<String>, Vec<String>) {
    let (mut changes, mut kept) = (Vec::new(), Vec::new());
    let operations = primitive.child_mut("operations");
    let all = with_kept_intervals(operations, wanted);
    for other in other_monitors(operations, wanted) {
        let is_doubled = |it: &&Operation| interval(other) == Some(it.interval);
        if let Some(it) = all.iter().find(is_doubled) {
            kept.push(format!(
                "{}: the operation {} has the interval of its {}{}, which Pacemaker can't tell apart: let them differ by a second",
                wanted.id,
                other.id(),
                it.name,
                it.level_words()
            ));
        }
    }
    for (it, usual) in all.iter().zip(&wanted.operations) {
        let is_it = |op: &Tree| is_operation(op, it);
        if it.is_unwanted() {
            operations.children.retain(|op| {
                let is_gone = is_it(op);
                if is_gone {
                    changes.push(format!("{}: remove the operation {}", wanted.id, op.id()));
                }
                !is_gone
            });
            continue;
        }
        let mut new = xml::operation(&wanted.id, it);
        let Some(at) = operations.children.iter().position(is_it) else {
            changes.push(format!("{}: add the operation {}", wanted.id, words(it)));
            free_id(&mut new, &operations.children);
            operations.children.push(new);
            continue;
        };
        // Several of one kind, with intervals of their own: one is enough.
        let mut seen = 0;
        operations.children.retain(|op| {
            let is_other = is_it(op) && {
                seen += 1;
                seen > 1
            };
            if is_other {
                changes.push(format!("{}: remove the operation {}", wanted.id, op.id()));
            }
            !is_other
        });
        let old = &mut operations.children[at];
        kept.extend(keep(old, &mut new, it, usual).iter().map(|what| {
            format!(
                "{}: {what} of its {}{} stays, as config.ini says nothing of it",
                wanted.id,
                it.name,
                it.level_words()
            )
        }));
        let differences = differences(old, &new);
        if !differences.is_empty() {
            changes.push(format!(
                "{}: operation {}{}: {}",
                wanted.id,
                it.name,
                it.level_words(),
                differences.join(", ")
            ));
            for (name, value) in &new.attributes {
                if name != "id" {
                    old.set(name, value.clone());
                }
            }
            if new.get("on-fail").is_none() && !is_stop(&new) {
                old.unset("on-fail");
            }
        }
    }
    (changes, kept)
}

/// Gives the new operation what somebody chose for the old one and config.ini says nothing of. What of it is worse than the usual.
fn keep(old: &Tree, new: &mut Tree, it: &Operation, usual: &Operation) -> Vec<String> {
    let mut worse = Vec::new();
    // As it is written: in milliseconds, for one.
    if let Some(text) = old.get("interval")
        && same::duration(text) == Some(it.interval)
    {
        new.set("interval", text);
    }
    if it.interval > usual.interval {
        worse.push(format!(
            "interval={} (usual is {} s: a failure is noticed later)",
            old.get("interval").unwrap_or_default(),
            usual.interval.as_secs()
        ));
    }
    if let Some(timeout) = old.get("timeout").filter(|_| it.is_usual_timeout) {
        new.set("timeout", timeout);
        if same::duration(timeout).is_some_and(|time| time < usual.timeout) {
            worse.push(format!(
                "timeout={timeout} (usual is {} s: what takes longer is a failure)",
                usual.timeout.as_secs()
            ));
        }
    }
    // pha4pgsql's template has it: one failed demotion bans the clone from every node.
    let is_known_mistake = |on_fail: &str| it.name == "demote" && on_fail == "stop";
    if let Some(on_fail) = old.get("on-fail").filter(|word| !is_known_mistake(word)) {
        new.set("on-fail", on_fail);
        let what = match on_fail {
            "ignore" => "nothing is done about a failure",
            "stop" | "block" => "after a failure it is started nowhere",
            _ => "",
        };
        if !what.is_empty() && !is_stop(new) {
            worse.push(format!("on-fail={on_fail} (usual is restart: {what})"));
        }
    } else if old.get("on-fail").is_none() {
        // What Pacemaker does by itself, or what the defaults of the cluster's operations say.
        new.unset("on-fail");
    }
    worse
}

/// Gives an element, and what is in it, ids that none of the others has: pcs names operations by their interval, and two may have had the
/// same.
pub(super) fn free_id(new: &mut Tree, others: &[Tree]) {
    let id = new.id().to_owned();
    let taken: HashSet<&str> = others.iter().flat_map(Tree::all).map(Tree::id).collect();
    let ids = std::iter::once(id.clone()).chain((1..).map(|n| format!("{id}-{n}")));
    for free in ids {
        let mut renamed = new.clone();
        rename(&mut renamed, &id, &free);
        if renamed
            .all()
            .all(|e| e.id().is_empty() || !taken.contains(e.id()))
        {
            *new = renamed;
            return;
        }
    }
}

/// The ids of what is in an element begin with its own.
fn rename(it: &mut Tree, from: &str, to: &str) {
    if let Some(rest) = it.id().strip_prefix(from) {
        it.set("id", format!("{to}{rest}"));
    }
    for child in &mut it.children {
        rename(child, from, to);
    }
}

fn words(it: &Operation) -> String {
    let role = if it.is_of_promoted {
        " role=Promoted"
    } else {
        ""
    };
    format!(
        "{} interval={} timeout={}{role}{}",
        it.name,
        seconds(it.interval),
        seconds(it.timeout),
        it.level_words()
    )
}

fn differences(old: &Tree, new: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    for name in ["interval", "timeout"] {
        let (from, to) = (old.get(name).unwrap_or("0"), new.get(name).unwrap_or("0"));
        if same::time(from) != same::time(to) {
            all.push(format!("{name} from {from} to {to}"));
        }
    }
    // What Pacemaker does by itself.
    let usual = |op: &Tree| op.get("on-fail").unwrap_or("restart").to_owned();
    let (from, to) = (usual(old), usual(new));
    if from != to && !is_stop(new) {
        all.push(format!("on-fail from {from} to {to}"));
    }
    all
}

/// What becomes of a stop that failed depends on the fencing there is: Pacemaker decides it, or whoever set it.
fn is_stop(op: &Tree) -> bool {
    op.get("name") == Some("stop")
}
