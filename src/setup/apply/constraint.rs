//! The colocations, orders and preferences between this program's resources.

use crate::setup::plan::Plan;
use crate::setup::render::xml;
use crate::setup::tree::Tree;

use super::find::is_ours;
use super::primitive::free_id;
use super::same;
use crate::setup::apply::merged::Merged;

impl Merged {
    pub(super) fn constraints(&mut self, plan: &Plan) {
        let constraints = self.configuration.child_mut("constraints");
        let wanted: Vec<Tree> = plan
            .constraints
            .iter()
            .map(|it| xml::constraint(it, &plan.names.clone))
            .collect();
        let forms: Vec<String> = wanted.iter().map(same::constraint).collect();
        let mut found = vec![false; wanted.len()];
        let mut changes = Vec::new();
        constraints.children.retain_mut(|it| {
            if !is_ours(it, &plan.names) {
                return true;
            }
            let form = same::constraint(it);
            match forms.iter().position(|wanted| *wanted == form) {
                Some(at) if !found[at] => {
                    found[at] = true;
                    if modernize(it) {
                        changes.push(format!(
                            "the constraint {}: write it as Pacemaker does since 2.1",
                            it.id()
                        ));
                    }
                    true
                }
                Some(_) | None => {
                    changes.push(format!(
                        "remove the constraint {} ({form})",
                        it.id(),
                        form = brief(it)
                    ));
                    false
                }
            }
        });
        for (mut it, is_there) in wanted.into_iter().zip(found) {
            if !is_there {
                // Somebody else's constraint may have the id, and stays.
                free_id(&mut it, &constraints.children);
                changes.push(format!("add the constraint {} ({})", it.id(), brief(&it)));
                constraints.children.push(it);
            }
        }
        self.changes.extend(changes);
    }
}

/// Gives a constraint the spelling that Pacemaker still has in its next version, with the same meaning. Whether there was
/// anything to do.
fn modernize(it: &mut Tree) -> bool {
    let before = it.clone();
    for name in ["rsc-role", "with-rsc-role"] {
        let role = match it.get(name) {
            Some("Master") => "Promoted",
            Some("Slave") => "Unpromoted",
            Some(_) | None => continue,
        };
        it.set(name, role);
    }
    if it.tag == "rsc_order"
        && let Some(score) = it.get("score").map(str::to_owned)
    {
        let kind = if score == "0" {
            "Optional"
        } else {
            "Mandatory"
        };
        it.unset("score");
        if it.get("kind").is_none() {
            it.set("kind", kind);
        }
    }
    *it != before
}

/// A constraint in a few words.
fn brief(it: &Tree) -> String {
    let get = |name: &str| it.get(name).unwrap_or_default();
    match it.tag.as_str() {
        "rsc_colocation" => {
            let role = it.get("with-rsc-role");
            let role = role.map_or_else(String::new, |role| format!("{role} "));
            let with = if get("score").starts_with('-') {
                "apart from"
            } else {
                "with"
            };
            format!("{} {with} {role}{}", get("rsc"), get("with-rsc"))
        }
        "rsc_order" => format!(
            "{} {}, then {} {}",
            get("first-action"),
            get("first"),
            get("then-action"),
            get("then")
        ),
        _ => {
            let rule = it.child("rule");
            let score = rule.and_then(|r| r.get("score")).unwrap_or_default();
            let part = |name| {
                rule.and_then(|r| r.child("expression"))
                    .and_then(|e| e.get(name))
                    .unwrap_or_default()
            };
            let is = match part("operation") {
                "eq" => format!("{}={}", part("attribute"), part("value")),
                "not_defined" => format!("no {}", part("attribute")),
                other => format!("{} {other} {}", part("attribute"), part("value")),
            };
            format!("{} prefers {is} by {score}", get("rsc"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_spelling_becomes_the_present_one_and_means_the_same() {
        for (old, new) in [
            (
                "<rsc_order id='a' first='c' first-action='demote' then='v' then-action='stop' score='0' symmetrical='false'/>",
                Some("kind=\"Optional\""),
            ),
            (
                "<rsc_order id='a' first='c' first-action='promote' then='v' score='INFINITY'/>",
                Some("kind=\"Mandatory\""),
            ),
            (
                "<rsc_colocation id='a' rsc='v' rsc-role='Started' with-rsc='c' with-rsc-role='Slave' score='INFINITY'/>",
                Some("with-rsc-role=\"Unpromoted\""),
            ),
            (
                "<rsc_order id='a' first='c' first-action='promote' then='v' kind='Mandatory'/>",
                None,
            ),
        ] {
            let mut tree = Tree::parse(old).unwrap();
            let meaning = same::constraint(&tree);
            assert_eq!(modernize(&mut tree), new.is_some(), "{old}");
            assert_eq!(same::constraint(&tree), meaning);
            let text = tree.to_text();
            assert!(text.contains(new.unwrap_or("Mandatory")), "{text}");
            assert!(!modernize(&mut tree));
        }
    }
}
