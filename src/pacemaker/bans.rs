//! Which nodes a location constraint keeps a resource, or its promoted role, away from.
//!
//! Read as Pacemaker reads it: a constraint about the resource by any name ([`crate::pacemaker::scope`]), with a node or with
//! rules about the node's name, its attributes and the time. What can't be told from the CIB alone (a date that is none, the type `version`, a
//! value out of a parameter, a part of what a pattern matched) is no ban: this is a preference, and Pacemaker has the last word. It is kept apart, to
//! be told.
//!
//! Source: Pacemaker 2.1, `lib/pengine/rules.c` (`accept_attr_expr`, `compare_attr_expr_vals`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use crate::model::ban::{Ban, Bans, Places};
use crate::model::cluster_view::{NodeKind, NodeView, Score};
use crate::model::node_name::NodeName;
use crate::pacemaker::dates::{self, Clock};
use crate::pacemaker::document::{child, children, referred};
use crate::pacemaker::scope::{self, Scope};
use crate::pacemaker::scores::{self, Part};

/// Every ban that is in force, as far as it is of one of `nodes`. `is_opt_in`: resources run only where a constraint lets them
/// (`symmetric-cluster=false`).
pub(crate) fn read(
    configuration: Node<'_, '_>,
    nodes: &BTreeMap<NodeName, NodeView>,
    is_opt_in: bool,
    clock: &Clock,
) -> Bans {
    let mut bans = Bans::default();
    bans.places.is_opt_in = is_opt_in;
    let mut finite: BTreeMap<(&str, &NodeName), Vec<Part>> = BTreeMap::new();
    for constraint in children(child(configuration, "constraints"), "rsc_location") {
        for scope in scope::of_location(constraint, configuration) {
            for node in nodes.values().filter(|n| n.kind == NodeKind::Member) {
                let found = on_node(constraint, &scope, node, clock);
                place(&mut bans.places, constraint, &scope, node, &found);
                // The other roles have a place with it, and no ban.
                let found = found.into_iter().filter(|found| found.role != Role::Other);
                let found: Vec<Found> = found.collect();
                let is_never = |found: &&Found| found.part.score == Score::MINUS_INFINITY;
                let never = found.iter().filter(is_never);
                if let Some(found) = never.max_by_key(|found| found.is_clear) {
                    let kind = if found.is_clear {
                        &mut bans.in_force
                    } else {
                        &mut bans.unclear
                    };
                    let all = scope.primitives.iter();
                    let all = all.map(|id| (*id).to_owned()).collect();
                    kind.push(ban(&found.part, all, &node.name));
                }
                let counts = found.iter().filter(|found| found.is_clear);
                let parts: Vec<&Part> = counts.map(|found| &found.part).collect();
                for primitive in &scope.primitives {
                    let of_it = finite.entry((primitive, &node.name)).or_default();
                    of_it.extend(parts.iter().copied().cloned());
                }
            }
        }
    }
    for ((primitive, node), parts) in finite {
        let has_never = parts.iter().any(|part| part.score == Score::MINUS_INFINITY);
        if let Some(part) = scores::culprit(&parts).filter(|_| !has_never) {
            bans.in_force
                .push(ban(part, vec![primitive.to_owned()], node));
        }
    }
    bans
}

/// Notes where what the constraint says lets a resource run. What it says of the promoted role alone does not.
fn place(
    places: &mut Places,
    constraint: Node<'_, '_>,
    scope: &Scope<'_>,
    node: &NodeView,
    found: &[Found],
) {
    let is_exclusive = constraint
        .attribute("resource-discovery")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("exclusive"));
    let is_about_it = found.iter().any(|found| found.role != Role::Promoted);
    // One that names a node that is no more says nothing.
    let name = constraint.attribute("node");
    let is_exclusive =
        is_exclusive && name.is_none_or(|name| name.eq_ignore_ascii_case(node.name.as_str()));
    for primitive in &scope.primitives {
        let place = || ((*primitive).to_owned(), node.name.clone());
        if is_exclusive {
            places.exclusive.insert((*primitive).to_owned());
        }
        if is_exclusive && is_about_it {
            places.exclusively.insert(place());
        }
        if is_about_it {
            places.named.insert(place());
        }
    }
}

fn ban(part: &Part, resources: Vec<String>, node: &NodeName) -> Ban {
    Ban {
        id: part.id.clone(),
        resources,
        node: node.clone(),
        is_of_promoted: part.is_of_promoted,
        until: part.until.clone(),
    }
}

/// The bans of a configuration by itself, of nodes of which nothing but the name is known. `None`: it is no XML.
pub(crate) fn by_name(configuration: &str, nodes: &[NodeName]) -> Option<Vec<Ban>> {
    let document = Document::parse(configuration).ok()?;
    let views = nodes.iter().map(|name| {
        let view = NodeView::new(name.clone(), name.as_str(), NodeKind::Member);
        (name.clone(), view)
    });
    let bans = read(
        document.root_element(),
        &views.collect(),
        false,
        &Clock::now(),
    );
    Some(bans.in_force)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Any,
    Promoted,
    /// No matter of a promotion.
    Other,
}

impl Role {
    fn of(text: &str) -> Self {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if is("promoted") || is("master") {
            Self::Promoted
        } else if is("started") {
            Self::Any
        } else {
            Self::Other
        }
    }
}

/// What a constraint says of one node.
struct Found {
    role: Role,
    part: Part,
    /// It counts for certain.
    is_clear: bool,
}

fn on_node(
    constraint: Node<'_, '_>,
    scope: &Scope<'_>,
    node: &NodeView,
    clock: &Clock,
) -> Vec<Found> {
    let found = |role: Option<&str>, score: Score, until: Option<String>, is_clear: bool| {
        let role = role.map_or(Role::Any, Role::of);
        let id = constraint.attribute("id").unwrap_or("without an id");
        Found {
            role,
            part: Part {
                id: id.to_owned(),
                score,
                is_of_promoted: role == Role::Promoted,
                until,
            },
            is_clear,
        }
    };
    if let (Some(name), Some(score)) = (constraint.attribute("node"), scope.score) {
        let is_it = name.eq_ignore_ascii_case(node.name.as_str());
        let found = is_it.then(|| found(scope.role, score, None, true));
        return found.into_iter().collect();
    }
    let score = |rule: Node<'_, '_>| {
        let score = match (rule.attribute("score"), rule.attribute("score-attribute")) {
            (Some(score), _) => Some(score),
            (None, Some(name)) if is_whole(name, scope) => attribute(node, name),
            (None, _) => None,
        };
        score?.parse().ok()
    };
    let rules = children(Some(constraint), "rule").map(referred);
    let judged = rules.filter_map(|rule| {
        let score = score(rule)?;
        let holds = holds(rule, scope, node, clock);
        let role = scope.role.or_else(|| rule.attribute("role"));
        (holds != Some(false)).then(|| found(role, score, end(rule), holds.is_some()))
    });
    judged.collect()
}

/// It is no attribute's name with a part of what a pattern matched.
fn is_whole(name: &str, scope: &Scope<'_>) -> bool {
    !(scope.is_by_pattern && name.contains('%'))
}

fn attribute<'v>(node: &'v NodeView, name: &str) -> Option<&'v str> {
    let transient = node.transient.get(name);
    transient.or_else(|| node.permanent.get(name))
}

fn end(rule: Node<'_, '_>) -> Option<String> {
    let mut dates = children(Some(rule), "date_expression");
    let end = dates.find_map(|date| date.attribute("end"));
    end.map(str::to_owned)
}

/// Whether a rule is true of a node; `None`: that can't be told.
fn holds(rule: Node<'_, '_>, scope: &Scope<'_>, node: &NodeView, clock: &Clock) -> Option<bool> {
    let parts: Vec<Option<bool>> = rule
        .children()
        .filter(Node::is_element)
        .map(|part| match part.tag_name().name() {
            "rule" => holds(referred(part), scope, node, clock),
            "expression" => expression(part, scope, node),
            "date_expression" => dates::holds(part, clock),
            _ => None,
        })
        .collect();
    let decides = rule
        .attribute("boolean-op")
        .is_some_and(|op| op.eq_ignore_ascii_case("or"));
    if parts.contains(&Some(decides)) {
        return Some(decides);
    }
    (!parts.contains(&None) && !parts.is_empty()).then_some(!decides)
}

fn expression(part: Node<'_, '_>, scope: &Scope<'_>, node: &NodeView) -> Option<bool> {
    if !matches!(part.attribute("value-source"), None | Some("literal")) {
        return None;
    }
    let name = part
        .attribute("attribute")
        .filter(|name| is_whole(name, scope))?;
    let here = match name {
        "#uname" => Some(node.name.as_str()),
        "#id" => Some(node.id.as_str()),
        "#kind" => Some("cluster"),
        name => attribute(node, name),
    };
    let operation = part.attribute("operation")?.to_ascii_lowercase();
    let wanted = part.attribute("value");
    match operation.as_str() {
        "defined" => return Some(here.is_some()),
        "not_defined" => return Some(here.is_none()),
        "eq" | "ne" | "lt" | "lte" | "gt" | "gte" => {}
        _ => return None,
    }
    let (Some(here), Some(wanted)) = (here, wanted) else {
        // Only "not the same" is true of what is not there.
        let is_same = here.is_none() && wanted.is_none();
        return Some(match operation.as_str() {
            "eq" => is_same,
            "ne" => !is_same,
            _ => false,
        });
    };
    let order = compare(here, wanted, part.attribute("type"), &operation)?;
    Some(match operation.as_str() {
        "eq" => order.is_eq(),
        "ne" => order.is_ne(),
        "lt" => order.is_lt(),
        "lte" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// By numbers where the type says so, or where only numbers are larger or smaller.
fn compare(here: &str, wanted: &str, kind: Option<&str>, operation: &str) -> Option<Ordering> {
    let is_by_size = !matches!(operation, "eq" | "ne");
    match kind {
        Some("integer" | "number") => {}
        None if is_by_size => {}
        None | Some("string") => {
            return Some(here.to_lowercase().cmp(&wanted.to_lowercase()));
        }
        Some(_) => return None,
    }
    let (here, wanted): (f64, f64) = (here.trim().parse().ok()?, wanted.trim().parse().ok()?);
    here.partial_cmp(&wanted)
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;
    use crate::model::cluster_view::NvPair;

    fn nodes() -> BTreeMap<NodeName, NodeView> {
        let node = |name: &str, pings: Option<&str>| {
            let name = NodeName::new(name).unwrap();
            let mut node = NodeView::new(name.clone(), "1", NodeKind::Member);
            if let Some(pings) = pings {
                let pair = |value: &str| NvPair {
                    id: "x".to_owned(),
                    set_id: "x".to_owned(),
                    value: value.to_owned(),
                };
                node.transient.add("pingd", pair(pings));
                node.permanent.add("site", pair("East"));
                let weight = if pings == "0" {
                    "INFINITY"
                } else {
                    "-INFINITY"
                };
                node.permanent.add("weight", pair(weight));
            }
            (name, node)
        };
        [
            node("node1", Some("0")),
            node("node2", Some("10")),
            node("node3", None),
        ]
        .into()
    }

    /// The nodes that `pgsql` is banned from; with `+` for its promoted role alone, with the end, and with `?` where only Pacemaker knows.
    fn banned(constraint: &str) -> String {
        let text = format!(
            r#"<configuration><resources><clone id="pgsql-clone"><primitive id="pgsql"/></clone>
               <group id="g"><primitive id="other"/></group></resources>
               <constraints>{constraint}</constraints>
               <tags><tag id="databases"><obj_ref id="pgsql-clone"/></tag></tags></configuration>"#
        );
        let document = Document::parse(&text).unwrap();
        let now = "2026-11-21T19:00:00Z".parse().unwrap();
        let clock = Clock::at(now, jiff::tz::TimeZone::UTC);
        let bans = read(document.root_element(), &nodes(), false, &clock);
        let word = |ban: &Ban| {
            let mark = if ban.is_of_promoted { "+" } else { "" };
            let until = ban.until.as_deref().unwrap_or_default();
            format!("{}{mark}{until}", ban.node)
        };
        let is_ours = |ban: &&Ban| ban.is_of("pgsql");
        let in_force = bans.in_force.iter().filter(is_ours).map(word);
        let unclear = bans.unclear.iter().filter(is_ours);
        let unclear = unclear.map(|ban| format!("?{}", word(ban)));
        in_force.chain(unclear).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_ban_is_read_in_every_form_that_the_tools_write() {
        let role = r#"rsc="pgsql-clone" role="Promoted""#;
        for (constraint, expected) in [
            (r#"<rsc_location id="l" rsc="pgsql" node="node2" score="-INFINITY"/>"#.to_owned(), "node2"),
            (format!(r#"<rsc_location id="l" {role} node="NODE2" score="-INFINITY"/>"#), "node2+"),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-1000000"/>"#), "node2+"),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-1000"/>"#), ""),
            // Of finite scores it takes more than the agent's highest, by one or by several, whatever makes them.
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-1001"/>"#), "node2+"),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-600"/><rsc_location id="m" {role}>
                <rule score="-600"><expression attribute="site" operation="defined"/></rule></rsc_location>"#), "node2+"),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-5000"/><rsc_location id="m" rsc="databases" role="Promoted" node="node2" score="4000"/>"#), ""),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-5000"/><rsc_location id="m" rsc="pgsql" node="node2" score="INFINITY"/>"#), "node2+"),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="-5000"/><rsc_location id="m" {role} node="node2" score="-INFINITY"/>"#), "node2+"),
            (r#"<rsc_location id="l" rsc="pgsql" node="node2" score="-5000"/>"#.to_owned(), "node2"),
            (r#"<rsc_location id="l" rsc="g" role="Promoted" node="node2" score="-5000"/>"#.to_owned(), ""),
            (format!(r#"<rsc_location id="l" {role}><rule score="-5000"><expression attribute="site" operation="eq" value="1.2" type="version"/></rule></rsc_location>"#), ""),
            (format!(r#"<rsc_location id="l" {role} node="node2" score="INFINITY"/>"#), ""),
            (r#"<rsc_location id="l" rsc="pgsql-clone" role="Master" node="node2" score="-INFINITY"/>"#.to_owned(), "node2+"),
            (r#"<rsc_location id="l" rsc="pgsql-clone" role="Unpromoted" node="node2" score="-INFINITY"/>"#.to_owned(), ""),
            (r#"<rsc_location id="l" rsc="g" node="node2" score="-INFINITY"/>"#.to_owned(), ""),
            (r#"<rsc_location id="l" rsc="nosuch" node="node2" score="-INFINITY"/>"#.to_owned(), ""),
            // A set of resources.
            (r#"<rsc_location id="l" node="node3" score="-INFINITY"><resource_set id="s" role="Promoted">
                <resource_ref id="g"/><resource_ref id="pgsql-clone"/></resource_set></rsc_location>"#.to_owned(), "node3+"),
            // By a tag, also in a set that has a score of its own; by a pattern.
            (r#"<rsc_location id="l" rsc="databases" role="Promoted" node="node3" score="-INFINITY"/>"#.to_owned(), "node3+"),
            (r#"<rsc_location id="l" node="node3"><resource_set id="s" score="-INFINITY"><resource_ref id="databases"/>
                </resource_set></rsc_location>"#.to_owned(), "node3"),
            (r#"<rsc_location id="l" rsc-pattern="^pg" role="Promoted" node="node3" score="-INFINITY"/>"#.to_owned(), "node3+"),
            (r#"<rsc_location id="l" rsc-pattern="!^pg" node="node3" score="-INFINITY"/>"#.to_owned(), ""),
            (r#"<rsc_location id="l" rsc-pattern="^(pg)"><rule id="r" score="-INFINITY"><expression attribute="%1" operation="not_defined"/></rule></rsc_location>"#.to_owned(), "?node1 ?node2 ?node3"),
            // What the rule of another constraint says; a score that is an attribute's.
            (format!(r#"<rsc_location id="l" {role}><rule id-ref="s"/></rsc_location><rsc_location id="m" rsc="g">
                <rule id="s" score="-INFINITY"><expression attribute="site" operation="defined"/></rule></rsc_location>"#), "node1+ node2+"),
            (format!(r#"<rsc_location id="l" {role}><rule id="r" score-attribute="weight"><expression attribute="site" operation="defined"/></rule></rsc_location>"#), "node2+"),
            // pcs: constraint location pgsql-clone rule role=Promoted score=-INFINITY pingd lt 1 or not_defined pingd
            (r#"<rsc_location id="l" rsc="pgsql-clone"><rule id="r" role="Promoted" score="-INFINITY" boolean-op="or">
                <expression id="a" attribute="pingd" operation="lt" value="1"/>
                <expression id="b" attribute="pingd" operation="not_defined"/></rule></rsc_location>"#.to_owned(), "node1+ node3+"),
            (rule(r#"<expression attribute="site" operation="eq" value="east"/>"#), "node1+ node2+"),
            (rule(r#"<expression attribute="site" operation="ne" value="east"/>"#), "node3+"),
            (rule(r#"<expression attribute="pingd" operation="lte" value="9" type="integer"/>"#), "node1+"),
            (rule(r##"<expression attribute="#uname" operation="eq" value="node2"/><rule boolean-op="or" score="0">
                <expression attribute="pingd" operation="gte" value="10"/><expression attribute="pingd" operation="eq" value="0"/></rule>"##), "node2+"),
            // What can't be told is no ban, but where the rest decides.
            (rule(r#"<expression attribute="pingd" operation="eq" value="1.2" type="version"/>"#), "?node1+ ?node2+"),
            (rule(r##"<expression attribute="#uname" operation="ne" value="node1"/><expression attribute="site" operation="eq" value="1.2" type="version"/>"##), "?node2+"),
            (rule(r#"<date_expression operation="date_spec"><date_spec hours="9-16"/></date_expression>"#), ""),
            (rule(""), "?node1+ ?node2+ ?node3+"),
            // crm_resource --ban --lifetime
            (ended("lt", "2026-11-21 19:30:00Z"), "node2+2026-11-21 19:30:00Z"),
            (ended("lt", "2026-11-21 18:30:00Z"), ""),
            (ended("in_range", "2026-11-21 19:30:00Z"), "node2+2026-11-21 19:30:00Z"),
            (ended("lt", "tomorrow"), "?node2+tomorrow"),
            // The same outside UTC; by week; with a duration; by office hours.
            (ended("lt", "2026-11-21 20:30:00 +01:00"), "node2+2026-11-21 20:30:00 +01:00"),
            (ended("lt", "2026-11-21 20:00:00 +01:00"), ""),
            (ended("in_range", "2026-W47-7"), "node2+2026-W47-7"),
            (rule(r#"<date_expression operation="in_range" start="2026-11-21T18:00:00Z"><duration hours="2"/></date_expression>"#), "node1+ node2+ node3+"),
            (rule(r#"<date_expression operation="date_spec"><date_spec hours="19" weekdays="6-7"/></date_expression>"#), "node1+ node2+ node3+"),
        ] {
            assert_eq!(banned(&constraint), expected, "{constraint}");
        }
    }

    /// The nodes on which `pgsql` may run where `property` is set.
    fn places(is_opt_in: bool, constraints: &str) -> String {
        let text = format!(
            r#"<configuration><crm_config/><resources>
               <clone id="pgsql-clone"><primitive id="pgsql"/></clone><primitive id="other"/></resources>
               <constraints>{constraints}</constraints></configuration>"#
        );
        let document = Document::parse(&text).unwrap();
        let clock = Clock::at(jiff::Timestamp::UNIX_EPOCH, jiff::tz::TimeZone::UTC);
        let nodes = nodes();
        let places = read(document.root_element(), &nodes, is_opt_in, &clock).places;
        let names = nodes.keys().filter(|node| places.have("pgsql", node));
        names.map(NodeName::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Each seen with Pacemaker 2.1.5: `crm_simulate -x FILE -S`.
    #[test]
    fn where_a_resource_runs_only_by_a_constraint_the_others_have_no_place() {
        let on = |node: &str, more: &str| {
            format!(
                r#"<rsc_location id="l{node}" rsc="pgsql-clone" node="{node}" score="1" {more}/>"#
            )
        };
        let exclusive = r#"resource-discovery="exclusive""#;
        let promoted = |more: &str| on("node1", &format!(r#"role="Promoted" {more}"#));
        for (is_opt_in, constraints, expected) in [
            (false, String::new(), "node1 node2 node3"),
            (false, on("node1", ""), "node1 node2 node3"),
            (true, String::new(), ""),
            (true, on("node1", "") + &on("node3", ""), "node1 node3"),
            (true, promoted("") + &on("node3", ""), "node3"),
            (true, r#"<rsc_location id="l" rsc="pgsql"><rule score="0"><expression attribute="site" operation="defined"/></rule></rsc_location>"#.to_owned(), "node1 node2"),
            (true, on("node3", r#"role="Unpromoted""#), "node3"),
            (true, r#"<rsc_location id="l" rsc="other" node="node1" score="1"/>"#.to_owned(), ""),
            (false, on("node1", exclusive) + &on("node2", exclusive), "node1 node2"),
            (false, on("node1", exclusive) + &on("node2", ""), "node1"),
            (false, on("node3", &format!(r#"role="Unpromoted" {exclusive}"#)), "node3"),
            // Left behind by a node that is no more; a rule that is true nowhere.
            (false, on("node9", exclusive), "node1 node2 node3"),
            (false, r#"<rsc_location id="l" rsc="pgsql" resource-discovery="exclusive"><rule score="1">
                <expression attribute="nosuch" operation="defined"/></rule></rsc_location>"#.to_owned(), ""),
            (false, r#"<rsc_location id="l" rsc="other" node="node1" score="1" resource-discovery="exclusive"/>"#.to_owned(), "node1 node2 node3"),
        ] {
            assert_eq!(places(is_opt_in, &constraints), expected, "{is_opt_in} {constraints}");
        }
    }

    fn rule(inside: &str) -> String {
        format!(
            r#"<rsc_location id="l" rsc="pgsql-clone" role="Promoted"><rule id="r" score="-INFINITY">{inside}</rule></rsc_location>"#
        )
    }

    fn ended(operation: &str, end: &str) -> String {
        rule(&format!(
            r##"<expression attribute="#uname" operation="eq" value="node2"/>
                <date_expression operation="{operation}" end="{end}"/>"##
        ))
    }
}
