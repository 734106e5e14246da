//! What in the configuration keeps Pacemaker from promoting anybody, besides where that may be.
//!
//! Source: Pacemaker, `lib/pacemaker/pcmk_sched_tickets.c`; seen with 2.1.5 that a ticket which is not granted keeps everybody from being promoted,
//! whatever role and policy its constraint names.

use std::time::Duration;

use roxmltree::{Document, Node};

use crate::model::cluster_view::parse_bool;
use crate::pacemaker::cib::CibError;
use crate::pacemaker::document::{child, children, referred};
use crate::pacemaker::scope;
use crate::sys::{Command, Deadline};

/// The tickets that the resource called `names` needs, and that are not granted here: each with its constraint.
///
/// # Errors
/// [`CibError::Malformed`].
pub fn tickets(cib: &str, names: &[&str]) -> Result<Vec<(String, String)>, CibError> {
    let document = document(cib)?;
    let Some(configuration) = child(document.root_element(), "configuration") else {
        return Ok(Vec::new());
    };
    let states = child(document.root_element(), "status").and_then(|s| child(s, "tickets"));
    let is_granted = |ticket: &str| {
        let mut states = children(states, "ticket_state");
        let state = states.find(|state| state.attribute("id") == Some(ticket));
        let says = |name| state?.attribute(name).and_then(parse_bool);
        says("granted") == Some(true) && says("standby") != Some(true)
    };
    let constraints = children(child(configuration, "constraints"), "rsc_ticket");
    let needed = constraints.filter(|constraint| {
        let ids = constraint.attribute("rsc").into_iter();
        is_about(configuration, ids.chain(members(*constraint)), names)
    });
    let lacking = needed.filter_map(|constraint| {
        let ticket = constraint.attribute("ticket")?;
        let id = constraint.attribute("id")?;
        (!is_granted(ticket)).then(|| (id.to_owned(), ticket.to_owned()))
    });
    Ok(lacking.collect())
}

/// The constraints by which another resource may hold back the one called `names`: orders in which it comes second, and colocations by which it is
/// where another is.
///
/// # Errors
/// [`CibError::Malformed`].
pub fn by_others(cib: &str, names: &[&str]) -> Result<Vec<String>, CibError> {
    let document = document(cib)?;
    let Some(configuration) = child(document.root_element(), "configuration") else {
        return Ok(Vec::new());
    };
    let all = child(configuration, "constraints").into_iter();
    let all = all.flat_map(|constraints| constraints.children());
    let holds = |constraint: &Node<'_, '_>| {
        let says = |name| constraint.attribute(name);
        let one = match constraint.tag_name().name() {
            "rsc_order" => says("then"),
            "rsc_colocation" => says("rsc"),
            _ => return false,
        };
        is_about(
            configuration,
            one.into_iter().chain(members(*constraint)),
            names,
        )
    };
    let ids = all.filter(holds).filter_map(|it| it.attribute("id"));
    Ok(ids.map(str::to_owned).collect())
}

fn members<'a>(constraint: Node<'a, '_>) -> Vec<&'a str> {
    let sets = children(Some(constraint), "resource_set").map(referred);
    let members = sets.flat_map(|set| children(Some(set), "resource_ref"));
    members
        .filter_map(|member| member.attribute("id"))
        .collect()
}

fn is_about<'a>(
    configuration: Node<'_, '_>,
    ids: impl Iterator<Item = &'a str>,
    names: &[&str],
) -> bool {
    let mut all = ids.flat_map(|id| {
        let elements = scope::stand_for(configuration, id);
        scope::primitives(&elements)
    });
    all.any(|primitive| names.contains(&primitive))
}

fn document(cib: &str) -> Result<Document<'_>, CibError> {
    Document::parse(cib).map_err(|error| CibError::Malformed(error.to_string()))
}

/// It answers in some 100 ms.
const SCHEDULER: Duration = Duration::from_secs(8);

/// Whether Pacemaker's own scheduler would promote an instance of the primitive, if it looked at this CIB now. Nothing is carried out: where an
/// action is blocked, crm_simulate fails at that.
///
/// # Errors
/// In words: it could not be asked.
pub fn plans_promotion(cib: &str, primitive: &str) -> Result<bool, String> {
    let command = Command::new("crm_simulate").args(["--run", "--xml-pipe"]);
    let output = command
        .stdin(cib)
        .env("LC_ALL", "C")
        .env_remove("CIB_file")
        .run(Deadline::after(SCHEDULER));
    let output = output.map_err(|error| format!("what Pacemaker plans: {error}"))?;
    let text = output.stdout_text();
    // What is no CIB is an empty cluster to it, and no error.
    let is_read = text.contains("Transition Summary") && text.contains(primitive);
    if !is_read {
        return Err(format!(
            "what Pacemaker plans: crm_simulate shows nothing of {primitive}"
        ));
    }
    Ok(promotes(&text, primitive))
}

/// `  * Promote    pgsql:0        ( Unpromoted -> Promoted node3 )`; one that waits for something has `(blocked)` at its end.
fn promotes(summary: &str, primitive: &str) -> bool {
    summary.lines().any(|line| {
        let mut words = line.split_whitespace();
        let is_promotion = words.next() == Some("*") && words.next() == Some("Promote");
        let name = words.next().and_then(|name| name.split(':').next());
        is_promotion && name == Some(primitive) && !line.contains("(blocked)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacemaker::programs_are_there;

    const THREE: &str = include_str!("../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    fn with(constraints: &str, status: &str) -> String {
        let cib = THREE.replacen("<constraints>", &format!("<constraints>{constraints}"), 1);
        let cib = cib.replacen("<status>", &format!("<status>{status}"), 1);
        assert!(status.is_empty() || cib.contains(status));
        cib
    }

    #[test]
    fn a_ticket_that_is_not_granted_is_found() {
        let own = r#"<rsc_ticket id="t" rsc="msPostgresql" rsc-role="Promoted" ticket="T"/>"#;
        let set = r#"<rsc_ticket id="t" ticket="T"><resource_set id="s"><resource_ref id="pgsql"/></resource_set></rsc_ticket>"#;
        let other = r#"<rsc_ticket id="t" rsc="vip-slave" ticket="T"/>"#;
        let state = |more: &str| format!(r#"<tickets><ticket_state id="T" {more}/></tickets>"#);
        for (constraint, status, expected) in [
            ("", String::new(), false),
            (own, String::new(), true),
            (set, String::new(), true),
            (other, String::new(), false),
            (own, state(r#"granted="false""#), true),
            (own, state(r#"granted="true""#), false),
            (own, state(r#"granted="true" standby="true""#), true),
        ] {
            let cib = with(constraint, &status);
            let found = tickets(&cib, &["msPostgresql", "pgsql"]).unwrap();
            assert_eq!(!found.is_empty(), expected, "{constraint} {status}");
        }
    }

    #[test]
    fn what_holds_it_back_by_another_is_named() {
        for (constraint, expected) in [
            ("", ""),
            (
                r#"<rsc_order id="o" first="vip-slave" then="pgsql" then-action="promote"/>"#,
                "o",
            ),
            (
                r#"<rsc_order id="o" first="msPostgresql" then="vip-slave"/>"#,
                "",
            ),
            (
                r#"<rsc_colocation id="c" rsc="msPostgresql" rsc-role="Promoted" with-rsc="vip-slave" score="INFINITY"/>"#,
                "c",
            ),
            (
                r#"<rsc_location id="l" rsc="msPostgresql" node="node1" score="1"/>"#,
                "",
            ),
        ] {
            let found = by_others(&with(constraint, ""), &["msPostgresql", "pgsql"]).unwrap();
            assert_eq!(found.join(" "), expected, "{constraint}");
        }
    }

    #[test]
    fn the_scheduler_itself_is_asked() {
        programs_are_there();
        // As after the loss of the primary.
        let down = THREE.replacen(
            r#"uname="node1" in_ccm="true" crmd="online" crm-debug-origin="do_update_resource" join="member" expected="member""#,
            r#"uname="node1" in_ccm="false" crmd="offline" crm-debug-origin="do_update_resource" join="down" expected="down""#,
            1,
        );
        assert_ne!(down, THREE);
        assert_eq!(plans_promotion(&down, "pgsql"), Ok(true));
        assert!(plans_promotion(&down, "nosuch").is_err());
        assert_eq!(plans_promotion(THREE, "pgsql"), Ok(false));
        let stopped = r#"<rsc_colocation id="c" rsc="msPostgresql" rsc-role="Promoted" with-rsc="gone" score="INFINITY"/>"#;
        let gone = r#"<primitive id="gone" class="ocf" provider="pacemaker" type="Dummy"><meta_attributes id="gm"><nvpair id="gt" name="target-role" value="Stopped"/></meta_attributes></primitive></resources>"#;
        let held = down.replacen("<constraints>", &format!("<constraints>{stopped}"), 1);
        let held = held.replacen("</resources>", gone, 1);
        assert_eq!(plans_promotion(&held, "pgsql"), Ok(false));
        let behind =
            r#"<rsc_order id="c" first="gone" then="msPostgresql" then-action="promote"/>"#;
        let held = held.replacen(stopped, behind, 1);
        assert_eq!(plans_promotion(&held, "pgsql"), Ok(false));
        assert!(plans_promotion("<cib", "pgsql").is_err());
        let blocked = "  * Promote    pgsql:0        ( Unpromoted -> Promoted node3 )  due to unrunnable a start (blocked)";
        assert!(!promotes(blocked, "pgsql"));
    }
}
