//! Which resources go where a resource goes, and what keeps it on a node or away from it.
//!
//! Resources are known by each name that a constraint may give them ([`crate::pacemaker::scope`]). Of rules only "on this node" is read,
//! with or without an end, which is what Pacemaker's and pcs's own commands write.

use roxmltree::{Document, Node};

use crate::model::cluster_view::{ResourceName, Score};
use crate::model::node_name::NodeName;
use crate::pacemaker::cib::CibError;
use crate::pacemaker::dates::{self, Clock};
use crate::pacemaker::document::{child, children, referred};
use crate::pacemaker::scope::{self, Colocation, Scope};

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
    /// By its dates it counts now, or that can't be told.
    pub is_on: bool,
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
    let constraints = children(child(configuration, "constraints"), "rsc_colocation");
    let bindings: Vec<Binding<'_, '_>> = constraints
        .flat_map(|constraint| scope::of_colocation(constraint, configuration))
        .filter(|colocation| colocation.with.iter().any(|name| names.contains(name)))
        .flat_map(binding)
        .filter(|binding| !names.contains(&binding.name))
        .collect();
    let is_apart = |name: &str| {
        bindings.iter().any(|other| {
            other.name == name
                && other.with == With::Promoted
                && other.score == Score::MINUS_INFINITY
        })
    };
    let mut found: Vec<Follower> = Vec::new();
    for binding in bindings.iter().filter(|b| b.score == Score::INFINITY) {
        let with = match binding.with {
            // With any, but for the primary.
            With::Any if is_apart(binding.name) => With::Unpromoted,
            With::Any | With::Promoted | With::Unpromoted => binding.with,
        };
        let around = binding.element.ancestors();
        let is_disabled = binding.element.descendants().chain(around).any(is_disabled);
        let name = ResourceName::new(binding.name);
        if let Some(name) = name.filter(|name| found.iter().all(|f| f.name != *name)) {
            found.push(Follower {
                name,
                with,
                is_disabled,
            });
        }
    }
    Ok(found)
}

/// A primitive that runs with one of the resource's instances or apart from it.
struct Binding<'a, 'i> {
    name: &'a str,
    /// What the constraint names: it, or what it is in.
    element: Node<'a, 'i>,
    with: With,
    score: Score,
}

fn binding<'a, 'i: 'a>(colocation: Colocation<'a, 'i>) -> Vec<Binding<'a, 'i>> {
    let with = match colocation.with_role.map(str::to_lowercase).as_deref() {
        Some("promoted" | "master") => With::Promoted,
        Some("unpromoted" | "slave") => With::Unpromoted,
        Some(_) | None => With::Any,
    };
    let score = colocation.score;
    let of_element = |element: Node<'a, 'i>| {
        let names = scope::primitives(&[element]).into_iter();
        names.map(move |name| Binding {
            name,
            element,
            with,
            score,
        })
    };
    colocation
        .dependents
        .into_iter()
        .flat_map(of_element)
        .collect()
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
    let Some(configuration) = child(document.root_element(), "configuration") else {
        return Ok(Vec::new());
    };
    let clock = Clock::now();
    let constraints = children(child(configuration, "constraints"), "rsc_location");
    let found = constraints.flat_map(|constraint| {
        let scopes = scope::of_location(constraint, configuration).into_iter();
        let about = scopes.filter(|scope| scope.has(names));
        let locations = about.filter_map(|scope| location(constraint, &scope, &clock));
        locations.collect::<Vec<_>>()
    });
    Ok(found.collect())
}

fn location(constraint: Node<'_, '_>, scope: &Scope<'_>, clock: &Clock) -> Option<Location> {
    let rule = child(constraint, "rule").map(referred);
    let node = match rule {
        None => constraint.attribute("node")?,
        Some(rule) => children(Some(rule), "expression")
            .find(|e| {
                e.attribute("attribute") == Some("#uname") && e.attribute("operation") == Some("eq")
            })?
            .attribute("value")?,
    };
    let score = match rule {
        None => scope.score?,
        Some(rule) => rule.attribute("score")?.parse().ok()?,
    };
    let role = scope.role.or_else(|| rule?.attribute("role"));
    let date = rule.and_then(|rule| child(rule, "date_expression"));
    Some(Location {
        id: constraint.attribute("id")?.to_owned(),
        node: NodeName::new(node).ok()?,
        score,
        is_of_promoted: role.is_some_and(|role| {
            role.eq_ignore_ascii_case("promoted") || role.eq_ignore_ascii_case("master")
        }),
        ends: date.is_some(),
        until: date
            .and_then(|date| date.attribute("end"))
            .map(str::to_owned),
        is_on: date.is_none_or(|date| dates::holds(date, clock) != Some(false)),
    })
}

fn document(cib: &str) -> Result<Document<'_>, CibError> {
    Document::parse(cib).map_err(|error| CibError::Malformed(error.to_string()))
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
    fn addresses_follow_by_tags_templates_and_sets_too() {
        let seen = |constraints: &str| {
            let cib = format!(
                r#"<cib><configuration><resources><template id="addresses"/><clone id="msPostgresql"><primitive id="pgsql"/></clone>
                <primitive id="vip" template="addresses"/><group id="g"><primitive id="a"/><primitive id="b"/></group></resources>
                <constraints>{constraints}</constraints><tags><tag id="served"><obj_ref id="vip"/><obj_ref id="g"/></tag>
                <tag id="databases"><obj_ref id="msPostgresql"/><obj_ref id="vip"/></tag></tags></configuration></cib>"#
            );
            let seen = followers(&cib, &NAMES).unwrap();
            let words = seen
                .iter()
                .map(|f| format!("{}:{:?}", f.name.as_str(), f.with));
            words.collect::<Vec<_>>().join(" ")
        };
        let set = |role: &str, ids: &str| {
            let refs: String = ids
                .split(' ')
                .map(|id| format!("<resource_ref id=\"{id}\"/>"))
                .collect();
            format!("<resource_set id=\"s{role}\" role=\"{role}\">{refs}</resource_set>")
        };
        let sets = |sets: &[String]| {
            format!(
                "<rsc_colocation id=\"c\" score=\"INFINITY\">{}</rsc_colocation>",
                sets.concat()
            )
        };
        let pair = |rsc: &str, with: &str| {
            format!(
                r#"<rsc_colocation id="c" rsc="{rsc}" with-rsc="{with}" with-rsc-role="Promoted" score="INFINITY"/>"#
            )
        };
        for (constraints, expected) in [
            (
                pair("served", "msPostgresql"),
                "vip:Promoted a:Promoted b:Promoted",
            ),
            (pair("addresses", "pgsql"), "vip:Promoted"),
            (pair("g", "databases"), "a:Promoted b:Promoted"),
            (
                sets(&[set("Started", "vip g"), set("Promoted", "msPostgresql")]),
                "vip:Promoted a:Promoted b:Promoted",
            ),
            (
                sets(&[set("Promoted", "msPostgresql"), set("Started", "vip")]),
                "",
            ),
            (sets(&[set("Promoted", "msPostgresql vip")]), "vip:Promoted"),
            (sets(&[set("Promoted", "vip msPostgresql")]), ""),
            (pair("gone", "msPostgresql"), ""),
        ] {
            assert_eq!(seen(&constraints), expected, "{constraints}");
        }
    }

    #[test]
    fn a_constraint_is_read_in_every_form_that_the_tools_write() {
        let with = |constraint: &str| {
            let cib = format!(
                "<cib><configuration><resources><clone id=\"msPostgresql\"><primitive id=\"pgsql\"/></clone>\
                 <primitive id=\"vip\"/></resources><constraints>{constraint}</constraints><tags><tag id=\"all\">\
                 <obj_ref id=\"vip\"/><obj_ref id=\"msPostgresql\"/></tag></tags></configuration></cib>"
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
        assert_eq!(
            with(
                r#"<rsc_location id="x" rsc="all" role="Promoted" node="node1" score="INFINITY"/>"#
            ),
            one("x", "INFINITY", true, false)
        );
        assert_eq!(
            with(
                r#"<rsc_location id="x" node="node1"><resource_set id="s" role="Promoted" score="-INFINITY"><resource_ref id="msPostgresql"/></resource_set></rsc_location>"#
            ),
            one("x", "-INFINITY", true, false)
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
