//! What the CIB has around a resource: what runs beside it, where it may not be, and what failed.

use roxmltree::{Document, Node};

use crate::decide::observed::{FailedAction, Place, Placement};
use crate::model::cluster_view::{Score, base_name};
use crate::model::node_name::NodeName;
use crate::pacemaker::cib::{CibError, child, children, required};

/// Everything around one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub companions: Vec<Beside>,
    pub placements: Vec<Placement>,
    /// Failed operations that were not forgiven, and where.
    pub failures: Vec<(NodeName, FailedAction)>,
}

/// A primitive that a constraint binds to the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    pub name: String,
    /// The agent's type: IPaddr2.
    pub kind: String,
    /// Its parameter `ip`.
    pub address: Option<String>,
    pub place: Place,
}

/// Reads what is around `resource`, which constraints may call by its own name or by that of its `clone`.
///
/// # Errors
/// [`CibError::Malformed`]: no XML, or an element without what it must have.
pub fn read(cib: &str, resource: &str, clone: Option<&str>) -> Result<Surroundings, CibError> {
    let document = Document::parse(cib).map_err(|error| CibError::Malformed(error.to_string()))?;
    let root = document.root_element();
    let is_it = |id: Option<&str>| id.is_some() && (id == Some(resource) || id == clone);
    let configuration = child(root, "configuration");
    let constraints = configuration.and_then(|c| child(c, "constraints"));
    let resources = configuration.and_then(|c| child(c, "resources"));
    let failures = failures(root, resource).map_err(CibError::Malformed)?;
    Ok(Surroundings {
        companions: companions(constraints, resources, is_it),
        placements: placements(constraints, is_it),
        failures,
    })
}

fn companions(
    constraints: Option<Node<'_, '_>>,
    resources: Option<Node<'_, '_>>,
    is_it: impl Fn(Option<&str>) -> bool,
) -> Vec<Beside> {
    let mut found: Vec<Beside> = Vec::new();
    // Where it belongs says a colocation; an order alone says only that it has to do with the resource.
    for (id, place) in colocated(constraints, &is_it).chain(ordered(constraints, &is_it)) {
        let element = resources
            .into_iter()
            .flat_map(|r| r.descendants())
            .find(|e| e.attribute("id") == Some(id) && is_resource(*e));
        let primitives = element
            .into_iter()
            .flat_map(|e| e.descendants())
            .filter(|e| e.has_tag_name("primitive"));
        for primitive in primitives {
            let name = primitive.attribute("id").unwrap_or_default();
            if is_it(Some(name)) || found.iter().any(|beside| beside.name == name) {
                continue;
            }
            found.push(Beside {
                name: name.to_owned(),
                kind: primitive.attribute("type").unwrap_or("-").to_owned(),
                address: parameter(primitive, "ip").map(str::to_owned),
                place,
            });
        }
    }
    found
}

fn is_resource(element: Node<'_, '_>) -> bool {
    ["primitive", "group", "clone", "master", "bundle"]
        .iter()
        .any(|tag| element.has_tag_name(*tag))
}

fn parameter<'a>(primitive: Node<'a, '_>, name: &str) -> Option<&'a str> {
    children(Some(primitive), "instance_attributes")
        .flat_map(|set| children(Some(set), "nvpair"))
        .find(|pair| pair.attribute("name") == Some(name))?
        .attribute("value")
}

fn place_of(role: Option<&str>) -> Place {
    match role {
        Some("Promoted" | "Master") => Place::WithPrimary,
        Some("Unpromoted" | "Slave") => Place::WithStandby,
        Some(_) | None => Place::Anywhere,
    }
}

fn colocated<'a, 'i: 'a>(
    constraints: Option<Node<'a, 'i>>,
    is_it: &impl Fn(Option<&str>) -> bool,
) -> impl Iterator<Item = (&'a str, Place)> {
    children(constraints, "rsc_colocation").flat_map(move |constraint| {
        if is_it(constraint.attribute("with-rsc")) {
            let place = place_of(constraint.attribute("with-rsc-role"));
            return constraint
                .attribute("rsc")
                .map(|id| (id, place))
                .into_iter()
                .collect();
        }
        in_sets(constraint, is_it)
    })
}

/// Members of the resource sets of a constraint that names the resource in one of them.
fn in_sets<'a, 'i: 'a>(
    constraint: Node<'a, 'i>,
    is_it: &impl Fn(Option<&str>) -> bool,
) -> Vec<(&'a str, Place)> {
    let members = || {
        children(Some(constraint), "resource_set").flat_map(|set| {
            children(Some(set), "resource_ref")
                .filter_map(move |r| Some((r.attribute("id")?, set.attribute("role"))))
        })
    };
    let Some((_, role)) = members().find(|(id, _)| is_it(Some(id))) else {
        return Vec::new();
    };
    let place = place_of(role);
    members()
        .filter(|(id, _)| !is_it(Some(id)))
        .map(|(id, _)| (id, place))
        .collect()
}

fn ordered<'a, 'i: 'a>(
    constraints: Option<Node<'a, 'i>>,
    is_it: &impl Fn(Option<&str>) -> bool,
) -> impl Iterator<Item = (&'a str, Place)> {
    children(constraints, "rsc_order").flat_map(move |constraint| {
        if is_it(constraint.attribute("first")) {
            let then = constraint.attribute("then");
            return then.map(|id| (id, Place::Anywhere)).into_iter().collect();
        }
        let set = in_sets(constraint, is_it).into_iter();
        set.map(|(id, _)| (id, Place::Anywhere)).collect::<Vec<_>>()
    })
}

fn placements(
    constraints: Option<Node<'_, '_>>,
    is_it: impl Fn(Option<&str>) -> bool,
) -> Vec<Placement> {
    children(constraints, "rsc_location")
        .filter(|constraint| is_it(constraint.attribute("rsc")))
        .filter_map(placement)
        .collect()
}

/// `None`: a rule with conditions that only Pacemaker evaluates.
fn placement(constraint: Node<'_, '_>) -> Option<Placement> {
    let id = constraint.attribute("id")?.to_owned();
    let promoted = |role: Option<&str>| matches!(role, Some("Promoted" | "Master"));
    if let Some(node) = constraint.attribute("node") {
        return Some(Placement {
            id,
            node: NodeName::new(node).ok()?,
            score: constraint.attribute("score")?.parse().ok()?,
            promoted_only: promoted(constraint.attribute("role")),
            until: None,
        });
    }
    // What crm_resource --ban --lifetime writes: the node's name, and an end.
    let rule = child(constraint, "rule")?;
    let mut expressions = children(Some(rule), "expression");
    let (Some(only), None) = (expressions.next(), expressions.next()) else {
        return None;
    };
    let is_node =
        only.attribute("attribute") == Some("#uname") && only.attribute("operation") == Some("eq");
    let date = child(rule, "date_expression");
    let until = date.and_then(|date| date.attribute("end"));
    if !is_node || (date.is_some() && until.is_none()) {
        return None;
    }
    let score: Score = rule.attribute("score")?.parse().ok()?;
    let role = constraint.attribute("role").or(rule.attribute("role"));
    Some(Placement {
        id,
        node: NodeName::new(only.attribute("value")?).ok()?,
        score,
        promoted_only: promoted(role),
        until: until.map(str::to_owned),
    })
}

/// Results that are kept because they are failures: `RSC_last_failure_0`.
///
/// Source: Pacemaker, `lib/pengine/unpack.c`, `unpack_rsc_op`: what was expected is the third part of the transition key;
/// a degraded answer is the expected one with something to tell; a probe may find whatever it finds.
fn failures(cib: Node<'_, '_>, resource: &str) -> Result<Vec<(NodeName, FailedAction)>, String> {
    let mut found = Vec::new();
    for state in children(child(cib, "status"), "node_state") {
        let node = NodeName::new(required(state, "uname")?).map_err(|e| e.to_string())?;
        let lrm = child(state, "lrm").and_then(|lrm| child(lrm, "lrm_resources"));
        let of_it = children(lrm, "lrm_resource").filter(|r| {
            r.attribute("id")
                .is_some_and(|id| base_name(id) == resource)
        });
        for operation in of_it.flat_map(|r| children(Some(r), "lrm_rsc_op")) {
            let is_kept = operation
                .attribute("id")
                .is_some_and(|id| id.contains("_last_failure_"));
            if is_kept && let Some(failure) = failure(operation)? {
                found.push((node.clone(), failure));
            }
        }
    }
    Ok(found)
}

/// pcmk_exec_status: PCMK_EXEC_TIMEOUT
const TIMED_OUT: &str = "2";

fn failure(operation: Node<'_, '_>) -> Result<Option<FailedAction>, String> {
    let name = required(operation, "operation")?;
    let text = required(operation, "rc-code")?;
    let code: i32 = text
        .parse()
        .map_err(|_| format!("rc-code={text:?} of an operation is not a number"))?;
    let key = operation.attribute("transition-key").unwrap_or_default();
    let expected: Option<i32> = key.split(':').nth(2).and_then(|rc| rc.parse().ok());
    let is_probe = name == "monitor" && operation.attribute("interval") == Some("0");
    let is_fine = match code {
        0 | 7 | 8 if is_probe => true,
        190 | 191 => true,
        code => expected == Some(code),
    };
    let timed_out = operation.attribute("op-status") == Some(TIMED_OUT);
    let reason = operation.attribute("exit-reason").filter(|r| !r.is_empty());
    Ok((!is_fine || timed_out).then(|| FailedAction {
        operation: name.to_owned(),
        code,
        timed_out,
        reason: reason.map(str::to_owned),
        at: operation
            .attribute("last-rc-change")
            .and_then(|at| at.parse().ok()),
    }))
}
