//! The plan as lines for `crm configure load update`.

use super::super::plan::{Plan, seconds};
use crate::setup::parts::{Attribute, Constraint, Operation, Primitive, Way};
use crate::setup::render::words::{
    WHY_CLONE, WHY_GATEWAY, WHY_READER, WHY_WRITER, and_without, heading, how_properties, said,
    way_of,
};

pub(super) fn render(plan: &Plan) -> String {
    let how = [
        "For crmsh 4: crm configure load update FILE, as root, on one node.",
        "`expgsql setup apply` does the same without crmsh.",
    ];
    let mut text = String::new();
    let comment = |text: &mut String, line: &str| {
        *text += format!("# {line}").trim_end();
        text.push('\n');
    };
    heading(plan, &how)
        .iter()
        .for_each(|line| comment(&mut text, line));
    text.push('\n');
    text += &primitive(&plan.pgsql);
    WHY_CLONE.iter().for_each(|line| comment(&mut text, line));
    text += &format!(
        "clone {} {} \\\n    meta{}\n\n",
        plan.names.clone,
        plan.names.resource,
        options(&plan.clone_meta)
    );
    for address in &plan.addresses {
        text += &primitive(address);
    }
    if let Some(gateway) = &plan.gateway {
        text += &primitive(gateway);
        text += &format!("clone {} {}\n", plan.names.gateway_clone(), gateway.id);
    }
    text.push('\n');
    for it in &plan.constraints {
        match it {
            Constraint::With { address, .. } if *address == plan.names.writer => {
                comment(&mut text, WHY_WRITER)
            }
            Constraint::With { address, .. } if plan.names.readers.first() == Some(address) => {
                WHY_READER.iter().for_each(|line| comment(&mut text, line));
            }
            Constraint::With { .. }
            | Constraint::Apart { .. }
            | Constraint::Spread { .. }
            | Constraint::Order { .. }
            | Constraint::Prefers { .. }
            | Constraint::Reaches {
                way: Way::Unknown, ..
            } => {}
            Constraint::Reaches { .. } => {
                WHY_GATEWAY.iter().for_each(|line| comment(&mut text, line));
            }
        }
        text += &constraint(it, &plan.names.clone);
    }
    text.push('\n');
    how_properties(plan)
        .iter()
        .for_each(|line| comment(&mut text, line));
    let properties: String = said(plan)
        .map(|property| format!(" {}={}", property.name, property.value))
        .collect();
    if !properties.is_empty() {
        text += &format!("property{properties}\n");
    }
    text
}

/// ` name="value"` for each.
fn options(all: &[Attribute]) -> String {
    all.iter()
        .map(|it| format!(" {}={}", it.name, quoted(&it.value)))
        .collect()
}

fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn primitive(it: &Primitive) -> String {
    let mut text = format!(
        "primitive {} ocf:{}:{} \\\n    params",
        it.id, it.provider, it.agent
    );
    for (name, value) in it.set_params() {
        text += &format!(" \\\n        {name}={}", quoted(value));
    }
    for operation in it.made_operations() {
        text += &format!(" \\\n    op {}", words(operation));
    }
    if !it.meta.is_empty() {
        text += &format!(" \\\n    meta{}", options(&it.meta));
    }
    text + "\n"
}

fn words(operation: &Operation) -> String {
    let mut text = format!(
        "{} interval={} timeout={}",
        operation.name,
        seconds(operation.interval),
        seconds(operation.timeout)
    );
    if let Some(on_fail) = operation.on_fail {
        text += &format!(" on-fail={on_fail}");
    }
    if operation.is_of_promoted {
        text += " role=Promoted";
    }
    text + &operation.level_words()
}

fn constraint(it: &Constraint, clone: &str) -> String {
    match it {
        Constraint::Apart { id, address, role } => {
            format!("colocation {id} -inf: {address} {clone}:{role}\n")
        }
        Constraint::Spread {
            id,
            address,
            other,
            score,
        } => format!("colocation {id} -{score}: {address} {other}\n"),
        Constraint::With { id, address, role } => {
            let role = role.map_or_else(String::new, |role| format!(":{role}"));
            format!("colocation {id} inf: {address} {clone}{role}\n")
        }
        Constraint::Order {
            id,
            first,
            then,
            address,
            is_mandatory,
        } => {
            let kind = if *is_mandatory {
                "Mandatory"
            } else {
                "Optional"
            };
            format!("order {id} {kind}: {clone}:{first} {address}:{then} symmetrical=false\n")
        }
        Constraint::Reaches {
            id,
            score,
            attribute,
            way,
        } => format!(
            "location {id} {clone} \\\n    rule $id={id}-rule $role=Promoted {score}: {}\n",
            way_of(*way, attribute)
        ),
        Constraint::Prefers {
            id,
            address,
            score,
            attribute,
            value,
            without,
        } => format!(
            "location {id} {address} \\\n    rule $id={id}-rule {score}: {attribute} eq {value}{}\n",
            and_without(without.as_deref())
        ),
    }
}
