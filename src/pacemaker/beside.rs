//! What runs beside a resource because a constraint says so: the clients' address, say. For people: an order alone is
//! enough to be shown, and where it stands in a set makes no difference. What *must* run there says
//! [`crate::pacemaker::constraints::followers`].

use roxmltree::{Document, Node};

use crate::decide::observed::Place;
use crate::pacemaker::cib::CibError;
use crate::pacemaker::document::{child, children, referred};
use crate::pacemaker::scope;

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

/// The primitives that constraints bind to a resource, which they may call by any of `names`.
///
/// # Errors
/// [`CibError::Malformed`]: no XML.
pub fn beside(cib: &str, names: &[&str]) -> Result<Vec<Beside>, CibError> {
    let document = Document::parse(cib).map_err(|error| CibError::Malformed(error.to_string()))?;
    let Some(configuration) = child(document.root_element(), "configuration") else {
        return Ok(Vec::new());
    };
    let primitives = |id: &str| scope::primitives(&scope::stand_for(configuration, id));
    // By a tag or a template, too.
    let is_it = |id: Option<&str>| {
        id.is_some_and(|id| {
            names.contains(&id) || primitives(id).iter().any(|name| names.contains(name))
        })
    };
    let constraints = child(configuration, "constraints");
    let mut found: Vec<Beside> = Vec::new();
    // Where it belongs says a colocation; an order alone says only that it has to do with the resource.
    for (id, place) in colocated(constraints, &is_it).chain(ordered(constraints, &is_it)) {
        let elements = scope::stand_for(configuration, id);
        let inside = elements.iter().flat_map(|element| element.descendants());
        for primitive in inside.filter(|e| e.has_tag_name("primitive")) {
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
    Ok(found)
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
            let score = constraint.attribute("score").unwrap_or_default();
            let place = match place {
                // Kept apart from the primary.
                Place::WithPrimary if score.starts_with('-') => Place::WithStandby,
                Place::WithStandby if score.starts_with('-') => Place::Anywhere,
                Place::WithPrimary | Place::WithStandby | Place::Anywhere => place,
            };
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
            let set = referred(set);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(constraints: &str) -> Vec<(String, Option<String>, Place)> {
        let cib = format!(
            "<cib><configuration><resources>\
             <clone id=\"ms\"><primitive id=\"pgsql\" type=\"expgsql\"/></clone>\
             <primitive id=\"vip\" type=\"IPaddr2\"><instance_attributes id=\"i\">\
             <nvpair id=\"n\" name=\"ip\" value=\"10.0.0.1\"/></instance_attributes></primitive>\
             <group id=\"g\"><primitive id=\"a\" type=\"IPaddr2\"/><primitive id=\"b\" type=\"lvsdr\"/></group>\
             </resources><constraints>{constraints}</constraints><tags><tag id=\"dbs\"><obj_ref id=\"ms\"/></tag>\
             <tag id=\"vips\"><obj_ref id=\"vip\"/></tag></tags></configuration></cib>"
        );
        let beside = beside(&cib, &["ms", "pgsql"]).unwrap();
        beside
            .into_iter()
            .map(|b| (b.name, b.address, b.place))
            .collect()
    }

    #[test]
    fn colocations_orders_and_sets_are_understood() {
        let name = str::to_owned;
        let vip = |place| vec![(name("vip"), Some(name("10.0.0.1")), place)];
        for (constraints, expected) in [
            ("", vec![]),
            (
                r#"<rsc_colocation id="c" rsc="vip" with-rsc="ms" with-rsc-role="Master" score="100"/>"#,
                vip(Place::WithPrimary),
            ),
            (
                r#"<rsc_colocation id="c" rsc="vip" with-rsc="pgsql" with-rsc-role="Unpromoted"/>"#,
                vip(Place::WithStandby),
            ),
            (
                r#"<rsc_colocation id="c" rsc="vip" with-rsc="ms" with-rsc-role="Promoted" score="-INFINITY"/>"#,
                vip(Place::WithStandby),
            ),
            (
                r#"<rsc_order id="o" first="ms" then="vip" first-action="promote"/>"#,
                vip(Place::Anywhere),
            ),
            // Where it belongs comes from the colocation, wherever that stands.
            (
                r#"<rsc_order id="o" first="ms" then="vip"/><rsc_colocation id="c" rsc="vip" with-rsc="ms" with-rsc-role="Promoted"/>"#,
                vip(Place::WithPrimary),
            ),
            (
                r#"<rsc_colocation id="c" rsc="g" with-rsc="ms" with-rsc-role="Promoted"/>"#,
                vec![
                    (name("a"), None, Place::WithPrimary),
                    (name("b"), None, Place::WithPrimary),
                ],
            ),
            (
                r#"<rsc_colocation id="c"><resource_set id="s" role="Started"><resource_ref id="vip"/></resource_set><resource_set id="t" role="Promoted"><resource_ref id="ms"/></resource_set></rsc_colocation>"#,
                vip(Place::WithPrimary),
            ),
            (
                r#"<rsc_colocation id="c" rsc="vip" with-rsc="other"/><rsc_order id="o" first="other" then="vip"/>"#,
                vec![],
            ),
            (
                r#"<rsc_colocation id="c" rsc="vips" with-rsc="dbs" with-rsc-role="Promoted"/>"#,
                vip(Place::WithPrimary),
            ),
            // Nothing of that name is configured.
            (r#"<rsc_order id="o" first="ms" then="gone"/>"#, vec![]),
        ] {
            assert_eq!(found(constraints), expected, "{constraints}");
        }
        assert!(beside("no XML", &["ms"]).is_err());
    }
}
