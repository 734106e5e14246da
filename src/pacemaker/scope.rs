//! Which resources a constraint is about. It names them by the id of a primitive, a group, a clone or a bundle, of a template or a tag, in
//! sets of these, or by a pattern.
//!
//! Source: Pacemaker, `lib/pacemaker/pcmk_sched_constraints.c` (`pcmk__find_constraint_resource`, `pcmk__expand_tags_in_sets`),
//! `pcmk_sched_location.c` (`unpack_location_set`, `unpack_simple_location`) and `pcmk_sched_colocation.c`.

use roxmltree::Node;

use crate::model::cluster_view::{Score, parse_bool};
use crate::pacemaker::document::{child, children, referred};
use crate::sys::Pattern;

/// What a location constraint is about, or one set of it.
pub(super) struct Scope<'a> {
    pub(super) primitives: Vec<&'a str>,
    pub(super) role: Option<&'a str>,
    pub(super) score: Option<Score>,
    /// Found by a pattern, parts of which the constraint's rules may take up.
    pub(super) is_by_pattern: bool,
}

impl Scope<'_> {
    /// It is about one of `names`.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.primitives.iter().any(|name| names.contains(name))
    }
}

/// The scopes of an `rsc_location`. Where it has sets they alone count.
pub(super) fn of_location<'a, 'i: 'a>(
    constraint: Node<'a, 'i>,
    configuration: Node<'a, 'i>,
) -> Vec<Scope<'a>> {
    let all = Resources { configuration };
    let role = constraint.attribute("role");
    let score = score(constraint);
    let sets = sets(constraint);
    if !sets.is_empty() {
        let members = all.members(&sets);
        let scope = |(set, members): (&Node<'a, 'i>, Vec<Node<'a, 'i>>)| Scope {
            primitives: primitives(&members),
            role: set.attribute("role").or(role),
            score: self::score(*set).or(score),
            is_by_pattern: false,
        };
        return sets.iter().zip(members).map(scope).collect();
    }
    let of = |elements: Vec<Node<'a, 'i>>, is_by_pattern| Scope {
        primitives: primitives(&elements),
        role,
        score,
        is_by_pattern,
    };
    let named = constraint.attribute("rsc");
    let pattern = constraint.attribute("rsc-pattern");
    let named = named.map(|id| of(all.stand_for(id), false));
    let matched = pattern.map(|pattern| of(all.matched(pattern), true));
    named.into_iter().chain(matched).collect()
}

/// Who is to run where another runs, or apart from it.
pub(super) struct Colocation<'a, 'i> {
    pub(super) dependents: Vec<Node<'a, 'i>>,
    pub(super) with: Vec<&'a str>,
    pub(super) with_role: Option<&'a str>,
    pub(super) score: Score,
}

/// What an `rsc_colocation` says. In a set each is with those before it, unless it is not `sequential`; each set is with those behind it.
pub(super) fn of_colocation<'a, 'i: 'a>(
    constraint: Node<'a, 'i>,
    configuration: Node<'a, 'i>,
) -> Vec<Colocation<'a, 'i>> {
    let all = Resources { configuration };
    let score_of = |element| score(element).unwrap_or(Score::new(0));
    let says = |name| constraint.attribute(name);
    let sets = sets(constraint);
    if let (Some(rsc), Some(with)) = (says("rsc"), says("with-rsc")) {
        return vec![Colocation {
            dependents: all.stand_for(rsc),
            with: primitives(&all.stand_for(with)),
            with_role: says("with-rsc-role"),
            score: score_of(constraint),
        }];
    }
    let members = all.members(&sets);
    let mut found = Vec::new();
    for (place, (set, inside)) in sets.iter().zip(&members).enumerate() {
        let with_role = set.attribute("role");
        if set.attribute("sequential").and_then(parse_bool) != Some(false) {
            let pairs = (1..inside.len()).map(|at| Colocation {
                dependents: vec![inside[at]],
                with: primitives(&inside[..at]),
                with_role,
                score: score(*set).unwrap_or_else(|| score_of(constraint)),
            });
            found.extend(pairs);
        }
        found.extend(members[..place].iter().map(|before| Colocation {
            dependents: before.clone(),
            with: primitives(inside),
            with_role,
            score: score_of(constraint),
        }));
    }
    found
}

/// The elements that `id` stands for in a constraint.
pub(super) fn stand_for<'a, 'i: 'a>(configuration: Node<'a, 'i>, id: &str) -> Vec<Node<'a, 'i>> {
    Resources { configuration }.stand_for(id)
}

/// The primitives in `elements`.
pub(super) fn primitives<'a>(elements: &[Node<'a, '_>]) -> Vec<&'a str> {
    let inside = elements.iter().flat_map(|element| element.descendants());
    inside
        .filter(|element| element.has_tag_name("primitive"))
        .filter_map(|element| element.attribute("id"))
        .collect()
}

fn score(element: Node<'_, '_>) -> Option<Score> {
    element.attribute("score")?.parse().ok()
}

fn sets<'a, 'i: 'a>(constraint: Node<'a, 'i>) -> Vec<Node<'a, 'i>> {
    children(Some(constraint), "resource_set")
        .map(referred)
        .collect()
}

fn is_one_of(element: Node<'_, '_>, tags: &[&str]) -> bool {
    tags.iter().any(|tag| element.has_tag_name(*tag))
}

/// What is configured.
#[derive(Clone, Copy)]
struct Resources<'a, 'i> {
    configuration: Node<'a, 'i>,
}

impl<'a, 'i: 'a> Resources<'a, 'i> {
    fn section(self) -> Option<Node<'a, 'i>> {
        child(self.configuration, "resources")
    }

    /// The resource of this id. What is in a clone has instances alone, which have no name that counts: it stands for the clone.
    fn named(self, id: &str) -> Option<Node<'a, 'i>> {
        let tags = ["primitive", "group", "clone", "master", "bundle"];
        let section = self.section()?;
        let mut all = section.descendants();
        let element = all.find(|e| e.attribute("id") == Some(id) && is_one_of(*e, &tags))?;
        let around = element.ancestors().take_while(|e| *e != section);
        let clone = around
            .filter(|e| is_one_of(*e, &["clone", "master", "bundle"]))
            .last();
        clone.or(Some(element))
    }

    /// The ids that a template or a tag is for.
    fn referred(self, id: &str) -> Option<Vec<&'a str>> {
        let is_it = |element: &Node<'_, '_>| element.attribute("id") == Some(id);
        if children(self.section(), "template").any(|template| is_it(&template)) {
            let all = self.section().into_iter().flat_map(|all| all.descendants());
            let derived = all.filter(|e| e.attribute("template") == Some(id));
            return Some(derived.filter_map(|e| e.attribute("id")).collect());
        }
        let tag = children(child(self.configuration, "tags"), "tag").find(is_it)?;
        let named = children(Some(tag), "obj_ref").filter_map(|r| r.attribute("id"));
        Some(named.collect())
    }

    fn stand_for(self, id: &str) -> Vec<Node<'a, 'i>> {
        match self.named(id) {
            Some(element) => vec![element],
            // The first that is no resource is where Pacemaker ends.
            None => self
                .referred(id)
                .into_iter()
                .flatten()
                .map_while(|id| self.named(id))
                .collect(),
        }
    }

    /// The members of each set. Where one of them is nothing at all, templates and tags don't count, and each set ends at the first that is
    /// no resource.
    fn members(self, sets: &[Node<'a, 'i>]) -> Vec<Vec<Node<'a, 'i>>> {
        let ids = |set: &Node<'a, 'i>| {
            children(Some(*set), "resource_ref").filter_map(|r| r.attribute("id"))
        };
        let is_known = |id: &str| self.named(id).is_some() || self.referred(id).is_some();
        let are_known = sets.iter().flat_map(ids).all(is_known);
        let members = |set: &Node<'a, 'i>| {
            if are_known {
                ids(set).flat_map(|id| self.stand_for(id)).collect()
            } else {
                ids(set).map_while(|id| self.named(id)).collect()
            }
        };
        sets.iter().map(members).collect()
    }

    /// The resources that a pattern is about: those that are in no other. What is no pattern is about none.
    fn matched(self, text: &str) -> Vec<Node<'a, 'i>> {
        let (pattern, is_inverted) = match text.strip_prefix('!') {
            Some(pattern) => (pattern, true),
            None => (text, false),
        };
        let Some(pattern) = Pattern::new(pattern) else {
            return Vec::new();
        };
        let outermost = self.section().into_iter().flat_map(|all| all.children());
        outermost
            .filter(|e| is_one_of(*e, &["primitive", "group", "clone", "master", "bundle"]))
            .filter(|e| {
                e.attribute("id")
                    .is_some_and(|id| pattern.matches(id) != is_inverted)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    /// A cluster in which constraints name things in every way: a clone with a group in it, a bundle, templates and tags.
    const CONFIGURATION: &str = r#"<configuration><resources>
        <template id="servers"/>
        <clone id="ms"><primitive id="pgsql" template="servers"/></clone>
        <clone id="pairs"><group id="pair"><primitive id="one"/><primitive id="two"/></group></clone>
        <group id="addresses"><primitive id="vip"/><primitive id="vip6"/></group>
        <bundle id="box"><primitive id="boxed" template="servers"/></bundle>
        </resources><tags><tag id="databases"><obj_ref id="ms"/><obj_ref id="vip"/></tag>
        <tag id="half"><obj_ref id="ms"/><obj_ref id="gone"/><obj_ref id="vip"/></tag></tags></configuration>"#;

    fn about(constraint: &str) -> String {
        let text = CONFIGURATION.replace(
            "<tags>",
            &format!("<constraints>{constraint}</constraints><tags>"),
        );
        let document = Document::parse(&text).unwrap();
        let configuration = document.root_element();
        let constraints = child(configuration, "constraints").unwrap();
        let first = constraints.first_element_child().unwrap();
        let scopes = of_location(first, configuration);
        let words: Vec<String> = scopes
            .iter()
            .map(|scope| {
                let role = scope
                    .role
                    .map(|role| format!("{role}:"))
                    .unwrap_or_default();
                format!("{role}{}", scope.primitives.join(","))
            })
            .collect();
        words.join(" ")
    }

    #[test]
    fn a_location_names_resources_in_every_way_that_pacemaker_knows() {
        let set = |role: &str, ids: &[&str]| {
            let refs: String = ids
                .iter()
                .map(|id| format!("<resource_ref id=\"{id}\"/>"))
                .collect();
            format!("<resource_set id=\"s{role}\" role=\"{role}\">{refs}</resource_set>")
        };
        for (named, inside, expected) in [
            ("rsc=\"ms\"", String::new(), "pgsql"),
            (
                "rsc=\"pgsql\" role=\"Promoted\"",
                String::new(),
                "Promoted:pgsql",
            ),
            ("rsc=\"addresses\"", String::new(), "vip,vip6"),
            ("rsc=\"vip6\"", String::new(), "vip6"),
            // What is in a clone is nowhere without it.
            ("rsc=\"two\"", String::new(), "one,two"),
            ("rsc=\"box\"", String::new(), "boxed"),
            ("rsc=\"servers\"", String::new(), "pgsql,boxed"),
            (
                "rsc=\"databases\" role=\"Promoted\"",
                String::new(),
                "Promoted:pgsql,vip",
            ),
            ("rsc=\"half\"", String::new(), "pgsql"),
            ("rsc=\"gone\"", String::new(), ""),
            // Of a pattern those that are in no other, and all but these.
            ("rsc-pattern=\"^m\"", String::new(), "pgsql"),
            ("rsc-pattern=\"(ms|box)$\"", String::new(), "pgsql,boxed"),
            ("rsc-pattern=\"pgsql\"", String::new(), ""),
            (
                "rsc-pattern=\"!^(ms|pairs|box)$\"",
                String::new(),
                "vip,vip6",
            ),
            ("rsc-pattern=\"(\"", String::new(), ""),
            (
                "role=\"Started\"",
                set("Promoted", &["vip", "databases"]),
                "Promoted:vip,pgsql,vip",
            ),
            (
                "",
                set("A", &["servers"]) + &set("B", &["pair"]),
                "A:pgsql,boxed B:one,two",
            ),
            // One that is nothing at all keeps tags from counting.
            (
                "",
                set("A", &["databases"]) + &set("B", &["vip", "gone", "ms"]),
                "A: B:vip",
            ),
        ] {
            let constraint = format!("<rsc_location id=\"l\" {named}>{inside}</rsc_location>");
            assert_eq!(about(&constraint), expected, "{constraint}");
        }
        let twice = format!(
            "<rsc_location id=\"l\"><resource_set id-ref=\"sA\"/></rsc_location><rsc_location id=\"m\">{}</rsc_location>",
            set("A", &["ms"])
        );
        assert_eq!(about(&twice), "A:pgsql");
    }
}
