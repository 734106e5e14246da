//! Which resources go where a resource goes, and what keeps it on a node or away from it.
//!
//! Only what stands in the CIB in so many words is read: constraints of resource sets are left out, as are rules other
//! than "on this node", with or without an end, which is what Pacemaker's and pcs's own commands write.

use roxmltree::{Document, Node};

use crate::model::cluster_view::{ResourceName, Score};
use crate::model::node_name::NodeName;
use crate::pacemaker::cib::CibError;
use crate::pacemaker::document::{child, children};

/// A resource that runs where another runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    pub name: ResourceName,
    pub with: With,
    /// Its own `target-role` says that it is not to run.
    pub is_disabled: bool,
}

/// The role of the instance beside which a follower runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    Promoted,
    Unpromoted,
    Any,
}

/// One location constraint about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub id: String,
    pub node: NodeName,
    pub score: Score,
    /// It is about the promoted role alone.
    pub is_of_promoted: bool,
    /// It ends by itself.
    pub ends: bool,
    /// When, as it is written; `None`: never, or not in so many words.
    pub until: Option<String>,
}

/// The resources that must run where one of `names` runs, a group's members each by itself.
///
/// # Errors
/// [`CibError::Malformed`].
pub fn followers(cib: &str, names: &[&str]) -> Result<Vec<Follower>, CibError> {
    let document = document(cib)?;
    let Some(configuration) = child(document.root_element(), "configuration") else {
        return Err(CibError::Malformed("it has no <configuration>".to_owned()));
    };
    let mut found: Vec<Follower> = Vec::new();
    let colocations = || {
        children(child(configuration, "constraints"), "rsc_colocation")
            .filter_map(|it| colocation(it, names))
    };
    let is_apart = |follower: &str| {
        colocations().any(|(other, with, score)| {
            other == follower && with == With::Promoted && score == Score::MINUS_INFINITY
        })
    };
    for (follower, with, _) in colocations().filter(|(.., score)| *score == Score::INFINITY) {
        let with = match with {
            // With any, but for the primary.
            With::Any if is_apart(follower) => With::Unpromoted,
            With::Any | With::Promoted | With::Unpromoted => with,
        };
        let resources = child(configuration, "resources");
        let Some(element) = resources.and_then(|all| by_id(all, follower)) else {
            continue;
        };
        let is_disabled = element
            .descendants()
            .chain(element.ancestors())
            .any(is_disabled);
        let primitives = element
            .descendants()
            .filter(|node| node.has_tag_name("primitive"));
        for primitive in primitives {
            let name = primitive.attribute("id").and_then(ResourceName::new);
            if let Some(name) = name.filter(|name| found.iter().all(|f| f.name != *name)) {
                found.push(Follower {
                    name,
                    with,
                    is_disabled,
                });
            }
        }
    }
    Ok(found)
}

/// What runs with one of `names` or apart from it, and how much.
fn colocation<'a>(constraint: Node<'a, '_>, names: &[&str]) -> Option<(&'a str, With, Score)> {
    let says = |name| constraint.attribute(name);
    says("with-rsc").filter(|with| names.contains(with))?;
    let score = says("score").and_then(|score| score.parse().ok());
    let with = match says("with-rsc-role").map(str::to_lowercase).as_deref() {
        Some("promoted" | "master") => With::Promoted,
        Some("unpromoted" | "slave") => With::Unpromoted,
        Some(_) | None => With::Any,
    };
    Some((says("rsc")?, with, score.unwrap_or(Score::new(0))))
}

fn is_disabled(element: Node<'_, '_>) -> bool {
    children(Some(element), "meta_attributes")
        .flat_map(|set| children(Some(set), "nvpair"))
        .any(|pair| {
            pair.attribute("name") == Some("target-role")
                && pair
                    .attribute("value")
                    .is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
        })
}

/// What keeps `names` on a node, or away from it.
///
/// # Errors
/// [`CibError::Malformed`].
pub fn locations(cib: &str, names: &[&str]) -> Result<Vec<Location>, CibError> {
    let document = document(cib)?;
    let configuration = child(document.root_element(), "configuration");
    let constraints = configuration.and_then(|inner| child(inner, "constraints"));
    let is_about = |constraint: &Node<'_, '_>| {
        constraint
            .attribute("rsc")
            .is_some_and(|rsc| names.contains(&rsc))
    };
    Ok(children(constraints, "rsc_location")
        .filter(is_about)
        .filter_map(location)
        .collect())
}

fn location(constraint: Node<'_, '_>) -> Option<Location> {
    let rule = child(constraint, "rule");
    let node = match rule {
        None => constraint.attribute("node")?,
        Some(rule) => children(Some(rule), "expression")
            .find(|e| {
                e.attribute("attribute") == Some("#uname") && e.attribute("operation") == Some("eq")
            })?
            .attribute("value")?,
    };
    let score = match rule {
        None => constraint.attribute("score"),
        Some(rule) => rule.attribute("score"),
    };
    let role = constraint
        .attribute("role")
        .or_else(|| rule?.attribute("role"));
    Some(Location {
        id: constraint.attribute("id")?.to_owned(),
        node: NodeName::new(node).ok()?,
        score: score?.parse().ok()?,
        is_of_promoted: role.is_some_and(|role| {
            role.eq_ignore_ascii_case("promoted") || role.eq_ignore_ascii_case("master")
        }),
        ends: rule.is_some_and(|rule| child(rule, "date_expression").is_some()),
        until: rule
            .and_then(|rule| child(rule, "date_expression"))
            .and_then(|date| date.attribute("end"))
            .map(str::to_owned),
    })
}

fn document(cib: &str) -> Result<Document<'_>, CibError> {
    Document::parse(cib).map_err(|error| CibError::Malformed(error.to_string()))
}

fn by_id<'a, 'i>(resources: Node<'a, 'i>, id: &str) -> Option<Node<'a, 'i>> {
    resources
        .descendants()
        .find(|node| node.attribute("id") == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = include_str!("../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
    const NAMES: [&str; 2] = ["msPostgresql", "pgsql"];

    #[test]
    fn the_addresses_follow_the_resource() {
        let seen = followers(THREE, &NAMES).unwrap();
        let seen: Vec<_> = seen
            .iter()
            .map(|f| (f.name.as_str(), f.with, f.is_disabled))
            .collect();
        assert_eq!(
            seen,
            [
                ("vip-master", With::Promoted, false),
                ("vip-slave", With::Unpromoted, false)
            ]
        );
        assert_eq!(followers(THREE, &["vip-master"]).unwrap(), []);
        let apart = THREE.replace(
            "with-rsc=\"msPostgresql\" score=\"INFINITY\"",
            "with-rsc=\"msPostgresql\" score=\"-INFINITY\"",
        );
        assert_eq!(followers(&apart, &NAMES).unwrap(), []);
        assert!(followers("<cib/>", &NAMES).is_err());
        // The readers' address as setup has it: with any, and apart from the primary where that is asked for.
        let any = THREE.replace(" with-rsc-role=\"Unpromoted\"", "");
        let with = |text: &str| followers(text, &NAMES).unwrap()[1].with;
        assert_eq!(with(&any), With::Any);
        let apart = "<constraints><rsc_colocation id=\"x\" rsc=\"vip-slave\" with-rsc=\"msPostgresql\" with-rsc-role=\"Promoted\" score=\"-INFINITY\"/>";
        assert_eq!(with(&any.replace("<constraints>", apart)), With::Unpromoted);
    }

    #[test]
    fn a_constraint_is_read_in_every_form_that_the_tools_write() {
        let with = |constraint: &str| {
            let cib = format!(
                "<cib><configuration><constraints>{constraint}</constraints></configuration></cib>"
            );
            let seen = locations(&cib, &NAMES).unwrap();
            seen.into_iter()
                .map(|l| {
                    (
                        l.id,
                        l.node.to_string(),
                        l.score.to_string(),
                        l.is_of_promoted,
                        l.ends,
                    )
                })
                .collect::<Vec<_>>()
        };
        let one = |id: &str, score: &str, promoted, ends| {
            vec![(
                id.to_owned(),
                "node1".to_owned(),
                score.to_owned(),
                promoted,
                ends,
            )]
        };
        assert_eq!(
            with(r#"<rsc_location id="b" rsc="pgsql" node="node1" score="-INFINITY"/>"#),
            one("b", "-INFINITY", false, false)
        );
        assert_eq!(
            with(
                r##"<rsc_location id="cli-prefer-msPostgresql" rsc="msPostgresql" role="Promoted">
                <rule id="r" score="INFINITY" boolean-op="and">
                <expression id="e" attribute="#uname" operation="eq" value="node1" type="string"/>
                <date_expression id="d" operation="lt" end="2026-11-21 19:00:00Z"/></rule></rsc_location>"##
            ),
            one("cli-prefer-msPostgresql", "INFINITY", true, true)
        );
        assert_eq!(
            with(
                r#"<rsc_location id="x" rsc="pgsql" role="Master" node="node1" score="INFINITY"/>"#
            ),
            one("x", "INFINITY", true, false)
        );
        // Another resource; another rule.
        assert_eq!(
            with(r#"<rsc_location id="x" rsc="vip" node="node1" score="INFINITY"/>"#),
            []
        );
        assert_eq!(
            with(
                r#"<rsc_location id="x" rsc="pgsql"><rule score="100"><expression attribute="a" operation="defined"/></rule></rsc_location>"#
            ),
            []
        );
    }
}
