//! The plan as elements of the CIB.

use super::super::plan::{Plan, seconds};
use super::super::tree::Tree;
use crate::setup::parts::{
    Attribute, CHECK_LEVEL, Constraint, Operation, PLAIN, Primitive, Role, Way,
};
use crate::setup::render::words::{heading, how_properties, said};

/// The set of cluster properties that pcs and crmsh use, too.
pub(crate) const PROPERTIES: &str = "cib-bootstrap-options";

pub(super) fn render(plan: &Plan) -> String {
    let how = [
        "As root, on one node: cibadmin -M -o configuration -x FILE",
        "`expgsql setup apply` does the same, and also takes out what is not wanted any more.",
        "",
    ];
    let mut lines = heading(plan, &how);
    lines.extend(how_properties(plan));
    let comment = lines.join("\n  ");
    format!("<!--\n  {comment}\n-->\n{}", configuration(plan).to_text())
}

/// The whole of it.
fn configuration(plan: &Plan) -> Tree {
    let properties: Vec<Tree> = said(plan)
        .map(|property| nvpair(PROPERTIES, property.name, &property.value))
        .collect();
    let set = (!properties.is_empty()).then(|| {
        Tree::new("cluster_property_set")
            .with("id", PROPERTIES)
            .holding(properties)
    });
    Tree::new("configuration").holding([
        Tree::new("crm_config").holding(set),
        Tree::new("resources")
            .holding(std::iter::once(clone(plan)).chain(plan.addresses.iter().map(primitive)))
            .holding(gateway(plan)),
        Tree::new("constraints").holding(
            plan.constraints
                .iter()
                .map(|it| constraint(it, &plan.names.clone)),
        ),
    ])
}

/// A name and a value, in the set with this id.
pub(crate) fn nvpair(set: &str, name: &str, value: &str) -> Tree {
    Tree::new("nvpair")
        .with("id", format!("{set}-{name}"))
        .with("name", name)
        .with("value", value)
}

/// The clone with the database in it.
pub(crate) fn clone(plan: &Plan) -> Tree {
    Tree::new("clone").with("id", &plan.names.clone).holding([
        primitive(&plan.pgsql),
        meta(&plan.names.clone, &plan.clone_meta),
    ])
}

/// What watches the gateway, in its clone.
pub(crate) fn gateway(plan: &Plan) -> Option<Tree> {
    let watch = plan.gateway.as_ref()?;
    let around = Tree::new("clone").with("id", plan.names.gateway_clone());
    Some(around.holding([primitive(watch)]))
}

fn set<'a>(tag: &str, owner: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Tree {
    let id = format!("{owner}-{tag}");
    let pairs = pairs
        .map(|(name, value)| nvpair(&id, name, value))
        .collect::<Vec<_>>();
    Tree::new(tag).with("id", id).holding(pairs)
}

pub(crate) fn meta(owner: &str, all: &[Attribute]) -> Tree {
    set(
        "meta_attributes",
        owner,
        all.iter().map(|it| (it.name, it.value.as_str())),
    )
}

/// A resource.
pub(crate) fn primitive(it: &Primitive) -> Tree {
    let mut tree = Tree::new("primitive")
        .with("id", &it.id)
        .with("class", "ocf")
        .with("provider", it.provider)
        .with("type", it.agent)
        .holding([set("instance_attributes", &it.id, it.set_params())]);
    tree.children.push(
        Tree::new("operations").holding(it.made_operations().map(|op| operation(&it.id, op))),
    );
    if !it.meta.is_empty() {
        tree.children.push(meta(&it.id, &it.meta));
    }
    tree
}

/// One action of a resource.
pub(crate) fn operation(owner: &str, it: &Operation) -> Tree {
    let interval = seconds(it.interval);
    let mut tree = Tree::new("op")
        .with("id", format!("{owner}-{}-interval-{interval}", it.name))
        .with("name", it.name)
        .with("interval", interval)
        .with("timeout", seconds(it.timeout));
    if let Some(on_fail) = it.on_fail {
        tree.set("on-fail", on_fail);
    }
    if it.is_of_promoted {
        tree.set("role", "Promoted");
    }
    if it.level > PLAIN {
        let level = it.level.to_string();
        let id = tree.id().to_owned();
        let pair = std::iter::once((CHECK_LEVEL, level.as_str()));
        tree.children.push(set("instance_attributes", &id, pair));
    }
    tree
}

/// A constraint.
pub(crate) fn constraint(it: &Constraint, clone: &str) -> Tree {
    match it {
        Constraint::With { id, address, role } => {
            colocation((id, address), clone, role.as_ref(), "INFINITY")
        }
        Constraint::Spread {
            id,
            address,
            other,
            score,
        } => colocation((id, address), other, None, &format!("-{score}")),
        Constraint::Apart { id, address, role } => {
            colocation((id, address), clone, Some(role), "-INFINITY")
        }
        Constraint::Order {
            id,
            first,
            then,
            address,
            is_mandatory,
        } => Tree::new("rsc_order")
            .with("id", id)
            .with("first", clone)
            .with("first-action", *first)
            .with("then", address)
            .with("then-action", *then)
            .with(
                "kind",
                if *is_mandatory {
                    "Mandatory"
                } else {
                    "Optional"
                },
            )
            .with("symmetrical", "false"),
        Constraint::Reaches {
            id,
            score,
            attribute,
            way,
        } => {
            let expression = Tree::new("expression")
                .with("id", format!("{id}-rule-expr"))
                .with("attribute", attribute);
            let expression = match way {
                Way::Open => expression.with("operation", "gt").with("value", "0"),
                Way::Unknown => expression.with("operation", "not_defined"),
            };
            let rule = Tree::new("rule")
                .with("id", format!("{id}-rule"))
                .with("role", "Promoted")
                .with("score", score.to_string());
            Tree::new("rsc_location")
                .with("id", id)
                .with("rsc", clone)
                .holding([rule.holding([expression])])
        }
        Constraint::Prefers {
            id,
            address,
            score,
            attribute,
            value,
            without,
        } => {
            let has = Tree::new("expression")
                .with("id", format!("{id}-rule-expr"))
                .with("attribute", attribute)
                .with("operation", "eq")
                .with("value", value.to_string());
            let lacks = without.as_ref().map(|name| {
                Tree::new("expression")
                    .with("id", format!("{id}-rule-expr-1"))
                    .with("attribute", name)
                    .with("operation", "not_defined")
            });
            let rule = Tree::new("rule")
                .with("id", format!("{id}-rule"))
                .with("score", score.to_string())
                .holding(std::iter::once(has).chain(lacks));
            Tree::new("rsc_location")
                .with("id", id)
                .with("rsc", address)
                .holding([rule])
        }
    }
}

fn colocation((id, address): (&str, &str), clone: &str, role: Option<&Role>, score: &str) -> Tree {
    let mut tree = Tree::new("rsc_colocation")
        .with("id", id)
        .with("rsc", address)
        .with("with-rsc", clone);
    if let Some(role) = role {
        tree.set("with-rsc-role", role.to_string());
    }
    tree.with("score", score)
}
