//! Which of the resources that exist are the ones that config.ini speaks of.

use std::net::IpAddr;
use std::path::Path;

use crate::model::node_name::NodeName;
use crate::setup::config::{MOST_READERS, Site};
use crate::setup::parts::Names;
use crate::setup::tree::Tree;

use super::same;

/// PostgreSQL agents that know the same parameters: what they configure can be taken over.
const AGENTS: [&str; 2] = ["expgsql", "pgsql"];

/// The names that what config.ini speaks of has in this cluster; the usual ones for what is not there yet.
///
/// # Errors
/// A sentence: something is in the way that setup must not change.
pub(super) fn names(configuration: &Tree, site: &Site) -> Result<Names, String> {
    let mut names = Names::of(site.resource());
    let resources = configuration
        .child("resources")
        .cloned()
        .unwrap_or_else(|| Tree::new("resources"));
    if let Some(database) = database(configuration, &resources, site)? {
        is_the_same(configuration, database, site)?;
        names.resource = database.id().to_owned();
        names.clone = clone_of(&resources, database)?;
    } else if let Some(other) = resources
        .all()
        .find(|e| [names.resource.as_str(), &names.clone].contains(&e.id()))
    {
        return Err(format!(
            "the cluster has a <{}> with the id {}, which is no PostgreSQL resource: rename or remove it, the name is needed here",
            other.tag,
            other.id()
        ));
    }
    if let Some(writer) = with_ip(&resources, &site.writer) {
        names.writer = writer;
    }
    names.readers = readers(&resources, site, &names);
    let reader_is = |e: &Tree| is_address(e) && !names.readers.iter().any(|name| name == e.id());
    names.retired = names
        .usual_readers()
        .take(MOST_READERS)
        .filter(|name| resources.all().any(|e| e.id() == name && reader_is(e)))
        // A further one may be somebody else's, who has no such constraint.
        .filter(|name| *name == names.usual_reader || is_kept_away(configuration, name))
        .filter(|name| of_another(configuration, &resources, &names, name).is_none())
        .collect();
    not_of_another(configuration, &resources, site, &names)?;
    if names.readers.contains(&names.writer) || names.retired.contains(&names.writer) {
        return Err(format!(
            "the cluster's resource {} has an address of config.ini and the name of another: rename or remove it",
            names.writer
        ));
    }
    for id in names.addresses() {
        if let Some(other) = resources.all().find(|e| e.id() == id)
            && !is_address(other)
        {
            return Err(format!(
                "the cluster has a <{}> with the id {id}, which is no IPaddr2 resource: rename or remove it, the name is needed here",
                other.tag
            ));
        }
    }
    let gateway = [names.gateway(), names.gateway_clone()];
    let mut others = resources
        .all()
        .filter(|e| site.gateway.is_some() && gateway.iter().any(|id| id == e.id()));
    if let Some(other) = others.find(|e| !is_gateway(e, &names)) {
        return Err(format!(
            "the cluster has a <{}> with the id {}, which does not watch this database's gateway: rename or remove it, the name is needed here",
            other.tag,
            other.id()
        ));
    }
    Ok(names)
}

/// Whether setup made this address beside another.
fn is_kept_away(configuration: &Tree, name: &str) -> bool {
    let prefix = format!("colocation-{name}-away-from-");
    let constraints = configuration.child("constraints");
    constraints.is_some_and(|all| all.all().any(|e| e.id().starts_with(&prefix)))
}

/// The name of the resource that has this address.
fn with_ip(resources: &Tree, ip: &IpAddr) -> Option<String> {
    let mut all = resources.all();
    let found = all.find(|e| is_address(e) && has_ip(e, ip));
    found.map(|e| e.id().to_owned())
}

fn has_ip(address: &Tree, ip: &IpAddr) -> bool {
    parameter(address, "ip").is_some_and(|own| same::address(own, &ip.to_string()))
}

/// A constraint that keeps this address with another database than ours, and what that database is in.
fn of_another<'a>(
    configuration: &'a Tree,
    resources: &'a Tree,
    names: &Names,
    address: &str,
) -> Option<(&'a str, &'a str)> {
    let is_other = |e: &Tree| is_database(e) && e.id() != names.resource;
    let mut colocations = configuration
        .child("constraints")?
        .children_named("rsc_colocation")
        .filter(|e| {
            !e.get("score")
                .is_some_and(|score| score.trim().starts_with('-'))
        })
        .filter(|e| mentions(e, address));
    colocations.find_map(|e| {
        let mut holders = resources.all().filter(|it| it.tag != "resources");
        let holder = holders.find(|it| mentions(e, it.id()) && it.all().any(is_other))?;
        Some((e.id(), holder.id()))
    })
}

/// Whether a colocation is about this resource.
fn mentions(colocation: &Tree, id: &str) -> bool {
    let ends = ["rsc", "with-rsc"];
    !id.is_empty()
        && (ends.iter().any(|end| colocation.get(end) == Some(id))
            || colocation
                .all()
                .any(|e| e.tag == "resource_ref" && e.id() == id))
}

/// An address of another database is neither changed nor taken out.
fn not_of_another(
    configuration: &Tree,
    resources: &Tree,
    site: &Site,
    names: &Names,
) -> Result<(), String> {
    let writer = std::iter::once((&names.writer, &site.writer, "writer_vip"));
    let readers = names.readers.iter().zip(&site.readers);
    for (id, ip, key) in writer.chain(readers.map(|(id, ip)| (id, ip, "reader_vip"))) {
        let Some((constraint, holder)) = of_another(configuration, resources, names, id) else {
            continue;
        };
        let is_it = |e: &&Tree| e.id() == id && has_ip(e, ip);
        return Err(match resources.all().find(is_it) {
            Some(_) => format!(
                "the cluster's resource {id} has the address {ip} of config.ini, and the constraint {constraint} keeps it with {holder}, \
                 which is another database's: set {key} to an address of this one's own, or remove that constraint"
            ),
            None => format!(
                "the name of the cluster's resource {id} is needed here, and the constraint {constraint} keeps it with {holder}, which is \
                 another database's: rename the resource, or remove that constraint"
            ),
        });
    }
    Ok(())
}

/// The names of the readers' addresses: those that the cluster has for them; for the others usual ones that no other of them has.
fn readers(resources: &Tree, site: &Site, names: &Names) -> Vec<String> {
    let with_ip = |ip| with_ip(resources, ip);
    let found: Vec<Option<String>> = site.readers.iter().map(with_ip).collect();
    let taken: Vec<String> = found.iter().flatten().cloned().collect();
    let mut free = names.usual_readers().filter(|name| !taken.contains(name));
    let named = found
        .into_iter()
        .filter_map(|found| found.or_else(|| free.next()));
    named.collect()
}

/// What watches the gateway, or the clone around it.
pub(super) fn is_gateway(e: &Tree, names: &Names) -> bool {
    let is_watch = |e: &Tree| {
        e.tag == "primitive"
            && e.get("type") == Some("ping")
            && parameter(e, "name") == Some(&names.gateway())
    };
    is_watch(e) || e.tag == "clone" && e.children.iter().any(is_watch)
}

fn is_address(e: &Tree) -> bool {
    e.tag == "primitive" && e.get("class") == Some("ocf") && e.get("type") == Some("IPaddr2")
}

fn is_database(e: &Tree) -> bool {
    e.tag == "primitive"
        && e.get("class") == Some("ocf")
        && e.get("type").is_some_and(|agent| AGENTS.contains(&agent))
}

/// The PostgreSQL resource: the one with the name, else, where config.ini does not say it, the only one.
fn database<'a>(
    configuration: &Tree,
    resources: &'a Tree,
    site: &Site,
) -> Result<Option<&'a Tree>, String> {
    let found: Vec<&Tree> = resources.all().filter(|e| is_database(e)).collect();
    let named = found.iter().copied().find(|e| e.id() == site.resource());
    if site.resource_name.is_some() && named.is_none() {
        let mut others = found.iter().copied();
        return match others.find(|e| has_same_place(configuration, e, site)) {
            Some(other) => Err(format!(
                "the cluster's resource {0} has the data directory {1} or the address {2} of config.ini, and no two may have them: set \
                 resource_name={0}",
                other.id(),
                site.resolved.pgdata.display(),
                addresses_of(site).join(" or ")
            )),
            None => Ok(None),
        };
    }
    match (named, found.as_slice()) {
        (Some(named), _) => Ok(Some(named)),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, several) => {
            let ids: Vec<&str> = several.iter().map(|e| e.id()).collect();
            Err(format!(
                "the cluster has several PostgreSQL resources ({}), and none is called {}: say which one is meant by resource_name in \
                 config.ini",
                ids.join(", "),
                site.resource()
            ))
        }
    }
}

/// Where a resource has its data.
fn pgdata(database: &Tree) -> &Path {
    // What the agent takes where nothing is said.
    Path::new(parameter(database, "pgdata").unwrap_or("/var/lib/pgsql/data"))
}

/// The writer's address, and the one that standbys connect to, which may be another.
fn addresses_of(site: &Site) -> Vec<String> {
    let writer = site.writer.to_string();
    let other = site.resolved.master_ip.clone();
    let other = other.filter(|other| !same::address(other, &writer));
    std::iter::once(writer).chain(other).collect()
}

/// The same of a database that is there, as far as it is known.
fn addresses(configuration: &Tree, database: &Tree) -> Vec<String> {
    let other = parameter(database, "master_ip").map(str::to_owned);
    let both = writer_of(configuration, database).into_iter().chain(other);
    both.collect()
}

/// Whether a database has an address of config.ini.
fn has_address(configuration: &Tree, database: &Tree, site: &Site) -> bool {
    let wanted = addresses_of(site);
    let is_wanted = |own: &String| wanted.iter().any(|wanted| same::address(own, wanted));
    addresses(configuration, database).iter().any(is_wanted)
}

/// Whether a resource has the data directory of config.ini on one of its nodes, or its address.
fn has_same_place(configuration: &Tree, database: &Tree, site: &Site) -> bool {
    let nodes = parameter(database, "node_list").unwrap_or_default();
    let names = nodes.split_whitespace().map(NodeName::new);
    let is_elsewhere = !nodes.is_empty() && !names.flatten().any(|name| site.nodes.contains(&name));
    has_address(configuration, database, site)
        || pgdata(database) == site.resolved.pgdata && !is_elsewhere
}

/// What stands there under the name may be another database: with other data, and another address.
fn is_the_same(configuration: &Tree, database: &Tree, site: &Site) -> Result<(), String> {
    let own = addresses(configuration, database);
    let Some(shown) = own.first() else {
        return Ok(());
    };
    let data = pgdata(database);
    if data == site.resolved.pgdata || has_address(configuration, database, site) {
        return Ok(());
    }
    Err(format!(
        "the cluster's resource {} is another database than config.ini's: it has the data directory {} and the address {shown}, and config.ini \
         has {} and {}; for a database of its own set resource_name to a name that the cluster does not have; to move this one change first the \
         one and then the other",
        database.id(),
        data.display(),
        site.resolved.pgdata.display(),
        site.writer
    ))
}

/// The address that is kept with the primary.
fn writer_of(configuration: &Tree, database: &Tree) -> Option<String> {
    let resources = configuration.child("resources")?;
    let clone = clone_of(resources, database).ok()?;
    let mut with = configuration
        .child("constraints")?
        .children_named("rsc_colocation")
        .filter(|e| e.get("with-rsc") == Some(&clone))
        .filter(|e| same::is_promoted(e.get("with-rsc-role")));
    with.find_map(|e| {
        let id = e.get("rsc")?;
        let address = resources.find(&|r| r.id() == id && is_address(r))?;
        parameter(address, "ip").map(str::to_owned)
    })
}

/// The clone around the database.
fn clone_of(resources: &Tree, database: &Tree) -> Result<String, String> {
    let id = database.id();
    let holds = |e: &&Tree| {
        e.children
            .iter()
            .any(|child| child.tag == "primitive" && child.id() == id)
    };
    match resources.all().find(holds) {
        Some(around) if matches!(around.tag.as_str(), "clone" | "master") => {
            Ok(around.id().to_owned())
        }
        Some(around) if around.tag == "resources" => Err(format!(
            "the cluster's resource {id} is not in a clone, so it is a single server: stop it, make it a promotable clone \
             (pcs resource promotable {id}), and run this again"
        )),
        Some(around) => Err(format!(
            "the cluster's resource {id} is in the {} {}, where it can't be a promotable clone: take it out",
            around.tag,
            around.id()
        )),
        None => Err(format!("the resource {id} is nowhere")),
    }
}

/// The value of a parameter.
pub(super) fn parameter<'a>(primitive: &'a Tree, name: &str) -> Option<&'a str> {
    sets(primitive, "instance_attributes")
        .flat_map(|set| set.children_named("nvpair"))
        .find(|pair| pair.get("name") == Some(name))
        .and_then(|pair| pair.get("value"))
}

/// The value of a cluster property.
pub(super) fn property<'a>(configuration: &'a Tree, name: &str) -> Option<&'a str> {
    let config = configuration.child("crm_config")?;
    sets(config, "cluster_property_set")
        .flat_map(|set| set.children_named("nvpair"))
        .find(|pair| pair.get("name") == Some(name))
        .and_then(|pair| pair.get("value"))
}

/// The sets of an element that no rule governs.
pub(super) fn sets<'a>(owner: &'a Tree, tag: &'a str) -> impl Iterator<Item = &'a Tree> {
    owner
        .children_named(tag)
        .filter(|set| set.child("rule").is_none())
}

/// Whether a constraint is about nothing but the database and an address of ours.
pub(super) fn is_ours(tree: &Tree, names: &Names) -> bool {
    let is_database = |name: &str| {
        tree.get(name)
            .is_some_and(|id| id == names.clone || id == names.resource)
    };
    let is_address = |name: &str| {
        tree.get(name)
            .is_some_and(|id| names.addresses().any(|name| name == id))
    };
    match tree.tag.as_str() {
        // Two of the addresses are kept apart by nobody else.
        "rsc_colocation" => {
            is_address("rsc") && (is_database("with-rsc") || is_address("with-rsc"))
        }
        "rsc_order" => is_database("first") && is_address("then"),
        // A preference by what the agent publishes. master-pgsql is what pha4pgsql's template asks for, by mistake.
        "rsc_location" => {
            let published = [
                format!("{}-status", names.resource),
                format!("master-{}", names.resource),
            ];
            let gateway = [names.gateway()];
            let (is_about, published) = if is_database("rsc") {
                (true, &gateway[..])
            } else {
                (is_address("rsc"), &published[..])
            };
            is_about
                && tree.all().any(|e| {
                    e.tag == "expression"
                        && e.get("attribute")
                            .is_some_and(|a| published.iter().any(|p| p == a))
                })
        }
        _ => false,
    }
}
