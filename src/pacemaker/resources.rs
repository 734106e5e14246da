//! Which resources of an agent the CIB configures, and what Pacemaker would tell the agent of each.
//!
//! Values are merged as Pacemaker's scheduler does it: a resource's own sets before those of its template, then those of
//! the group and clone around it; of the sets in one place the one with the higher score first, and of equals the one
//! written last (tried with 2.1.5: `crm_resource --get-parameter` on tests/fixtures/cib/resources-handmade.xml). The
//! value met first counts, except that `#default` takes back what was met before it.
//!
//! Sets that a rule governs are left out, since rules are not evaluated here, and named.
//!
//! Source: Pacemaker 2.1.5, `lib/pengine/complex.c`, `get_rsc_attributes`, `get_meta_attributes` and `unpack_template`;
//! `lib/pengine/rules.c`, `make_pairs` and `populate_hash`.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use crate::model::cluster_view::{ResourceName, Score, parse_bool};
use crate::pacemaker::cib::CibError;
use crate::pacemaker::document::{child, children, referred, required};

/// Names and values. Deliberately without `Debug`: passwords may be among them.
pub type Values = BTreeMap<String, String>;

/// One configured resource. Deliberately without `Debug`, as [`Values`].
pub struct Resource {
    /// The primitive's id.
    pub name: ResourceName,
    /// `heartbeat` in `ocf:heartbeat:expgsql`.
    pub provider: String,
    /// Instance attributes.
    pub parameters: Values,
    /// Meta attributes: its own, and what it has from the clone, the group and the defaults.
    pub meta: Values,
    /// The clone around it.
    pub clone: Option<Clone>,
    /// Ids of the sets that were left out because a rule says when they apply.
    pub ruled: Vec<String>,
}

/// A clone.
pub struct Clone {
    pub name: String,
    /// Its instances may be promoted.
    pub is_promotable: bool,
    pub meta: Values,
}

impl Resource {
    /// Pacemaker starts, stops and watches it. False where the operator took it out of its hands.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        let says = |name| self.meta.get(name).and_then(|text| parse_bool(text));
        says("is-managed") != Some(false) && says("maintenance") != Some(true)
    }
}

/// The resources of the OCF agent `agent`, of any provider, in the order of the CIB.
///
/// # Errors
/// [`CibError::Malformed`]: no XML, or a resource without a name.
pub fn of_agent(cib: &str, agent: &str) -> Result<Vec<Resource>, CibError> {
    let found = read(cib, |place| {
        place.attribute("class") == Some("ocf") && place.attribute("type") == Some(agent)
    });
    found.map_err(CibError::Malformed)
}

/// The resource of this name, of whatever agent; `None`: none is configured.
///
/// # Errors
/// As [`of_agent`].
pub fn named(cib: &str, name: &ResourceName) -> Result<Option<Resource>, CibError> {
    let found = read(cib, |place| {
        place.primitive.attribute("id") == Some(name.as_str())
    });
    Ok(found.map_err(CibError::Malformed)?.into_iter().next())
}

fn read(cib: &str, is_it: impl Fn(&Place<'_, '_>) -> bool) -> Result<Vec<Resource>, String> {
    let document = Document::parse(cib).map_err(|error| error.to_string())?;
    let configuration =
        child(document.root_element(), "configuration").ok_or("it has no <configuration>")?;
    let Some(resources) = child(configuration, "resources") else {
        return Ok(Vec::new());
    };
    let defaults = child(configuration, "rsc_defaults");
    let properties = child(configuration, "crm_config").map(|node| vec![node]);
    let properties = merged(
        "cluster_property_set",
        properties.into_iter(),
        &mut Vec::new(),
    );
    let templates: Vec<Node<'_, '_>> = children(Some(resources), "template").collect();
    let primitives = resources
        .descendants()
        .filter(|node| node.has_tag_name("primitive"));
    let mut found = Vec::new();
    for primitive in primitives {
        let name = primitive.attribute("template");
        let template = templates
            .iter()
            .copied()
            .find(|template| name.is_some() && template.attribute("id") == name);
        let around = primitive.ancestors().skip(1);
        let place = Place {
            primitive,
            template,
            around: around.take_while(|node| *node != resources).collect(),
            defaults,
            managed_default: properties.get(MANAGED_DEFAULT),
        };
        if is_it(&place) {
            found.push(place.resource()?);
        }
    }
    Ok(found)
}

/// The cluster's default for `is-managed`, up to Pacemaker 2.1.
const MANAGED_DEFAULT: &str = "is-managed-default";

/// A primitive and what it has values from.
struct Place<'a, 'i> {
    primitive: Node<'a, 'i>,
    template: Option<Node<'a, 'i>>,
    /// Group and clone, the inner one first.
    around: Vec<Node<'a, 'i>>,
    /// `rsc_defaults`
    defaults: Option<Node<'a, 'i>>,
    managed_default: Option<&'a String>,
}

impl Place<'_, '_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        let own = self.primitive.attribute(name);
        own.or_else(|| self.template?.attribute(name))
    }

    fn resource(&self) -> Result<Resource, String> {
        let id = required(self.primitive, "id")?;
        let name = ResourceName::new(id).ok_or_else(|| format!("{id:?} names no resource"))?;
        // Pacemaker puts the primitive's sets behind the template's, into one element.
        let own = || self.template.into_iter().chain([self.primitive]).collect();
        let around = |from: usize| self.around.iter().skip(from).map(|node| vec![*node]);
        let mut ruled = Vec::new();
        let parameters = {
            let places = std::iter::once(own()).chain(around(0));
            merged("instance_attributes", places, &mut ruled)
        };
        let mut meta = |first, outer_from| {
            let defaults = self.defaults.map(|node| vec![node]);
            let places = std::iter::once(first)
                .chain(around(outer_from))
                .chain(defaults);
            merged("meta_attributes", places, &mut ruled)
        };
        let mut own_meta = meta(own(), 0);
        if let Some(default) = self.managed_default {
            let managed = own_meta.entry("is-managed".to_owned());
            managed.or_insert_with(|| default.clone());
        }
        let clone = match self.around.iter().rposition(|node| is_clone(*node)) {
            None => None,
            Some(at) => {
                let (element, meta) = (self.around[at], meta(vec![self.around[at]], at + 1));
                let says = meta.get("promotable").and_then(|text| parse_bool(text));
                Some(Clone {
                    name: required(element, "id")?.to_owned(),
                    is_promotable: element.has_tag_name("master") || says == Some(true),
                    meta,
                })
            }
        };
        Ok(Resource {
            name,
            provider: self.attribute("provider").unwrap_or("heartbeat").to_owned(),
            parameters,
            meta: own_meta,
            clone,
            ruled,
        })
    }
}

/// `master` is what a promotable clone was called up to Pacemaker 1.1.
fn is_clone(node: Node<'_, '_>) -> bool {
    node.has_tag_name("clone") || node.has_tag_name("master")
}

/// The values of all sets named `tag` in `places`, the inmost first; a place is one element, or several that count as one,
/// in the order in which they are written. The ids of sets that a rule governs go to `ruled`.
fn merged<'a, 'i: 'a>(
    tag: &str,
    places: impl Iterator<Item = Vec<Node<'a, 'i>>>,
    ruled: &mut Vec<String>,
) -> Values {
    let mut values = Values::new();
    for place in places {
        let of_element = |element| children(Some(element), tag);
        let sets = place.into_iter().flat_map(of_element).map(referred);
        let mut sets: Vec<Node<'_, '_>> = sets.collect();
        sets.reverse();
        sets.sort_by_key(|set| std::cmp::Reverse(score(*set)));
        for set in sets {
            if child(set, "rule").is_none() {
                add(&mut values, set);
                continue;
            }
            let id = set.attribute("id").unwrap_or_default().to_owned();
            if !ruled.contains(&id) {
                ruled.push(id);
            }
        }
    }
    values
}

fn add(values: &mut Values, set: Node<'_, '_>) {
    for element in children(Some(set), "nvpair") {
        let original = referred(element);
        let name = element
            .attribute("name")
            .or_else(|| original.attribute("name"));
        let value = element
            .attribute("value")
            .or_else(|| original.attribute("value"));
        match (name, value) {
            (Some(name), Some("#default")) => {
                values.remove(name);
            }
            (Some(name), Some(value)) => {
                values
                    .entry(name.to_owned())
                    .or_insert_with(|| value.to_owned());
            }
            (None, _) | (_, None) => {}
        }
    }
}

fn score(set: Node<'_, '_>) -> Score {
    set.attribute("score")
        .and_then(|text| text.parse().ok())
        .unwrap_or(Score::new(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::sys::{Command, Deadline};

    const THREE: &str = include_str!("../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
    const HANDMADE: &str = include_str!("../../tests/fixtures/cib/resources-handmade.xml");

    fn value<'a>(values: &'a Values, name: &str) -> Option<&'a str> {
        values.get(name).map(String::as_str)
    }

    #[test]
    fn a_resource_is_read_with_its_parameters_and_its_clone() {
        let found = of_agent(THREE, "expgsql").unwrap();
        let [pgsql] = &found[..] else {
            panic!("{} resources", found.len())
        };
        assert_eq!(pgsql.name.as_str(), "pgsql");
        assert_eq!(pgsql.provider, "heartbeat");
        assert_eq!(pgsql.parameters.len(), 11);
        for (name, expected) in [
            ("pgdata", "/var/lib/pgsql/data"),
            ("node_list", "node1 node2 node3"),
            ("rep_mode", "sync"),
        ] {
            assert_eq!(value(&pgsql.parameters, name), Some(expected));
        }
        let clone = pgsql.clone.as_ref().unwrap();
        assert_eq!(clone.name, "msPostgresql");
        assert!(clone.is_promotable);
        assert_eq!(value(&clone.meta, "clone-max"), Some("3"));
        assert_eq!(value(&pgsql.meta, "notify"), Some("true"));
        // The clone's, not that of the defaults.
        assert_eq!(value(&pgsql.meta, "resource-stickiness"), Some("1000"));
        assert!(pgsql.is_managed() && pgsql.ruled.is_empty());
        assert!(of_agent(THREE, "pgsql").unwrap().is_empty());
        assert_eq!(of_agent(THREE, "IPaddr2").unwrap().len(), 2);
    }

    #[test]
    fn several_resources_templates_groups_and_rules_are_understood() {
        let found = of_agent(HANDMADE, "expgsql").unwrap();
        let names: Vec<&str> = found.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["db", "other"]);
        let (db, other) = (&found[0], &found[1]);
        assert_eq!(db.ruled, ["db-ruled"]);
        assert_eq!(db.provider, "heartbeat");
        let clone = db.clone.as_ref().unwrap();
        assert_eq!(
            (clone.name.as_str(), clone.is_promotable),
            ("db-clone", true)
        );
        assert_eq!(value(&db.meta, "migration-threshold"), Some("5"));
        assert!(db.is_managed());
        assert_eq!(other.provider, "local");
        assert!(other.clone.is_none() && !other.is_managed());
    }

    #[test]
    fn a_resource_is_unmanaged_wherever_that_stands() {
        let set = |tag: &str, name: &str, value: &str| {
            format!("<{tag} id=\"s\"><nvpair id=\"n\" name=\"{name}\" value=\"{value}\"/></{tag}>")
        };
        let off = |tag| set(tag, "is-managed", "false");
        let property = set("cluster_property_set", "is-managed-default", "no");
        for (properties, defaults, clone, own, expected) in [
            ("", "", "", "", true),
            ("", "", "", &*off("meta_attributes"), false),
            ("", "", &*off("meta_attributes"), "", false),
            ("", &*off("meta_attributes"), "", "", false),
            (&*property, "", "", "", false),
            // What is nearer to it counts.
            (
                "",
                &*off("meta_attributes"),
                "",
                &*set("meta_attributes", "is-managed", "true"),
                true,
            ),
            (
                &*property,
                "",
                &*set("meta_attributes", "is-managed", "true"),
                "",
                true,
            ),
            (
                "",
                "",
                "",
                &*set("meta_attributes", "maintenance", "true"),
                false,
            ),
        ] {
            let cib = format!(
                r#"<cib><configuration><crm_config>{properties}</crm_config><resources><clone id="c">{clone}
                <primitive id="p" class="ocf" type="expgsql">{own}</primitive></clone></resources>
                <rsc_defaults>{defaults}</rsc_defaults></configuration></cib>"#
            );
            let found = of_agent(&cib, "expgsql").unwrap();
            assert_eq!(found[0].is_managed(), expected, "{cib}");
            let name = ResourceName::new("p").unwrap();
            assert_eq!(named(&cib, &name).unwrap().unwrap().is_managed(), expected);
        }
    }

    /// What is read here is what Pacemaker itself would pass on.
    #[test]
    fn values_are_those_that_crm_resource_gives() {
        crate::pacemaker::programs_are_there();
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cib/resources-handmade.xml");
        let names = [
            "pgdata",
            "pgdba",
            "pgdb",
            "pghost",
            "pgport",
            "repuser",
            "socketdir",
            "tmpdir",
            "logfile",
        ];
        let mut told = 0;
        for resource in of_agent(HANDMADE, "expgsql").unwrap() {
            for name in names {
                let deadline = Deadline::after(Duration::from_secs(20));
                let output = Command::new("crm_resource")
                    .arg(format!("--resource={}", resource.name))
                    .arg(format!("--get-parameter={name}"))
                    .env("CIB_file", &file)
                    .output(deadline)
                    .unwrap();
                assert!(output.status.success(), "{}", output.stderr_text());
                // Empty: "not found", which it says on standard error.
                let theirs = output.stdout_text();
                let theirs = Some(theirs.trim()).filter(|text| !text.is_empty());
                let ours = value(&resource.parameters, name);
                // Pacemaker 3.0 finds nothing outside of a template that a pair in it refers to.
                if theirs.is_none() && (resource.name.as_str(), name) == ("db", "tmpdir") {
                    continue;
                }
                assert_eq!(ours, theirs, "{name} of {}", resource.name);
                told += usize::from(theirs.is_some());
            }
        }
        assert!(told > 8, "crm_resource gave {told} values");
    }

    #[test]
    fn nothing_configured_is_no_error_and_what_is_no_cib_is() {
        for (text, is_ok) in [
            ("<cib><configuration/></cib>", true),
            (
                "<cib><configuration><resources/></configuration></cib>",
                true,
            ),
            ("<cib/>", false),
            ("", false),
            (&THREE[..THREE.len() / 2], false),
        ] {
            let found = of_agent(text, "expgsql").map(|found| found.len());
            assert_eq!(found.is_ok(), is_ok, "{text:.60}");
            assert_eq!(found.unwrap_or(0), 0);
        }
        let nameless = THREE.replace("<primitive id=\"pgsql\"", "<primitive");
        assert!(of_agent(&nameless, "expgsql").is_err());
    }

    #[test]
    fn an_older_master_element_is_a_promotable_clone() {
        let older = THREE
            .replace("<clone id", "<master id")
            .replace("</clone>", "</master>")
            .replace(
                "name=\"promotable\" value=\"true\"",
                "name=\"x\" value=\"y\"",
            );
        let found = of_agent(&older, "expgsql").unwrap();
        assert!(found[0].clone.as_ref().unwrap().is_promotable);
    }
}
