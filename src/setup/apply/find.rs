//! Which of the resources that exist are the ones that config.ini speaks of.

use std::net::IpAddr;
use std::path::Path;

use crate::model::node_name::NodeName;
use crate::pacemaker::bans;
use crate::setup::config::{MOST_READERS, Site};
use crate::setup::parts::Names;
use crate::setup::tree::Tree;

use super::same;

/// PostgreSQL agents that know the same parameters: what they configure can be taken over.
const AGENTS: [&str; 2] = ["expgsql", "pgsql"];

/// PAF's agent, which knows others.
const PAF: &str = "pgsqlms";

/// The names that what config.ini speaks of has in this cluster; the usual ones for what is not there yet.
///
/// # Errors
/// A sentence: something is in the way that setup must not change.
pub(super) fn names(configuration: &Tree, site: &Site) -> Result<Names, String> {
    let mut names = Names::of(site.resource());
    let resources = unfolded(configuration);
    if let Some(database) = database(configuration, &resources, site)? {
        is_the_same(configuration, &resources, database, site)?;
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
        // One that is somebody else's has no such constraint.
        .filter(|name| {
            is_tied(configuration, &resources, &names, name) || is_kept_away(configuration, name)
        })
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
    not_a_strangers(configuration, &resources, site, &names)?;
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

/// The same for what is to be changed, and not only taken out: there is nothing beside it that has its data, and it can be changed.
/// With it what is to be said of others.
///
/// # Errors
/// A sentence, as for [`names`].
pub(super) fn names_to_change(
    configuration: &Tree,
    site: &Site,
) -> Result<(Names, Vec<String>), String> {
    let resources = unfolded(configuration);
    let database = database(configuration, &resources, site)?;
    let remarks = no_second(configuration, &resources, database, site)?;
    let names = names(configuration, site)?;
    of_no_template(&resources, &names)?;
    Ok((names, remarks))
}

/// What is ours says itself what it is.
fn of_no_template(resources: &Tree, names: &Names) -> Result<(), String> {
    let own = [names.resource.clone(), names.gateway()];
    let mut ours = own.iter().chain(names.addresses());
    let made = ours.find_map(|id| Some((id, resources.find(&|e| e.id() == id)?.get("template")?)));
    match made {
        None => Ok(()),
        Some((id, template)) => Err(format!(
            "the cluster's resource {id} has its agent and parameters from the template {template}, and templates are not changed here: write \
             what it has from there into the resource itself, and run this again"
        )),
    }
}

/// The resources with what they have from elsewhere written into them: a primitive from its template, a set from the one it refers to.
fn unfolded(configuration: &Tree) -> Tree {
    let Some(resources) = configuration.child("resources") else {
        return Tree::new("resources");
    };
    let mut all = resources.clone();
    unfold(&mut all, resources);
    all
}

fn unfold(it: &mut Tree, resources: &Tree) {
    let named = |tag: &str, id: &str| resources.find(&|e| e.tag == tag && e.id() == id);
    let template = it.get("template").filter(|_| it.tag == "primitive");
    if let Some(template) = template.and_then(|id| named("template", id)) {
        for (name, value) in template.attributes.iter().filter(|(name, _)| name != "id") {
            if it.get(name).is_none() {
                it.set(name, value);
            }
        }
        // Behind its own, which count more.
        it.children.extend(template.children.iter().cloned());
    }
    if let Some(original) = it.get("id-ref").and_then(|id| named(&it.tag, id)) {
        *it = original.clone();
    }
    for child in &mut it.children {
        unfold(child, resources);
    }
}

/// What Pacemaker calls an agent.
fn agent(primitive: &Tree) -> String {
    let parts = ["class", "provider", "type"].map(|part| primitive.get(part));
    parts.into_iter().flatten().collect::<Vec<_>>().join(":")
}

/// No other PostgreSQL resource runs a server on the data of config.ini: a second one would destroy them. What another agent does with
/// a parameter of that name is not known: that is a remark.
fn no_second(
    configuration: &Tree,
    resources: &Tree,
    ours: Option<&Tree>,
    site: &Site,
) -> Result<Vec<String>, String> {
    let mut remarks = Vec::new();
    let primitives = resources.all().filter(|e| e.tag == "primitive");
    for other in primitives.filter(|e| ours.is_none_or(|ours| ours.id() != e.id())) {
        let (id, agent) = (other.id(), agent(other));
        let is_paf = other.get("class") == Some("ocf") && other.get("type") == Some(PAF);
        let dirs = ["pgdata", "datadir"].map(|name| parameter(other, name).map(Path::new));
        let usual = (is_paf || is_database(other)).then(|| pgdata(other));
        let is_same =
            dirs.contains(&Some(&site.resolved.pgdata)) || usual == Some(&site.resolved.pgdata);
        let is_same = is_same && !is_elsewhere(configuration, other, site);
        if is_same && !is_paf && !is_database(other) {
            remarks.push(format!(
                "the resource {id} ({agent}) names the data directory {} of config.ini, too: where it runs a server on it, take it out of the \
                 cluster first",
                site.resolved.pgdata.display()
            ));
        } else if is_same {
            return Err(format!(
                "the cluster's resource {id} ({agent}) has the data directory {} of config.ini, and no two may have it: {}",
                site.resolved.pgdata.display(),
                if is_database(other) {
                    "set resource_name to the one that is meant, or pgsql_pgdata to a directory of its own"
                } else {
                    "it is not taken over; take it out of the cluster, with its clone and its constraints, and run this again"
                }
            ));
        }
        if is_paf && has_address(configuration, resources, other, site) {
            return Err(format!(
                "the cluster's resource {id} ({agent}) has the address {} of config.ini, and is not taken over: take it out of the cluster, with \
                 its clone and its constraints, and run this again",
                addresses_of(site).join(" or ")
            ));
        }
        if is_paf && ours.is_none() && site.resource_name.is_none() {
            return Err(format!(
                "the cluster's resource {id} ({agent}) runs a PostgreSQL, and is not taken over: if it is the one that config.ini means, take it out of \
                 the cluster, with its clone and its constraints, and run this again; for a database beside it set resource_name"
            ));
        }
    }
    Ok(remarks)
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

/// A constraint that keeps this address with another database than ours, or with the primary of something else, and what that is in.
fn of_another<'a>(
    configuration: &'a Tree,
    resources: &'a Tree,
    names: &Names,
    address: &str,
) -> Option<(&'a str, &'a str)> {
    let is_other = |e: &Tree| is_database(e) && e.id() != names.resource;
    let places = places(resources, address);
    let mut colocations = together(configuration)
        .into_iter()
        .filter(|e| places.iter().any(|id| mentions(e, id)));
    colocations.find_map(|e| {
        let mut holders = resources.all().filter(|it| it.tag != "resources");
        let holder = holders.find(|it| mentions(e, it.id()) && it.all().any(is_other));
        // Whatever has a primary that is not ours, and that address with it.
        let follows = places.iter().any(|id| e.get("rsc") == Some(id));
        let promoted = e.get("with-rsc").filter(|id| {
            let is_clone = |it: &Tree| matches!(it.tag.as_str(), "clone" | "master");
            follows
                && same::is_promoted(e.get("with-rsc-role"))
                && *id != names.clone
                && resources.all().any(|it| it.id() == *id && is_clone(it))
        });
        Some((e.id(), holder.map(Tree::id).or(promoted)?))
    })
}

/// The colocations that keep resources together.
fn together(configuration: &Tree) -> Vec<&Tree> {
    let constraints = configuration.child("constraints").into_iter();
    let all = constraints.flat_map(|all| all.children_named("rsc_colocation"));
    let is_apart = |e: &&Tree| {
        e.get("score")
            .is_some_and(|score| score.trim().starts_with('-'))
    };
    all.filter(|e| !is_apart(e)).collect()
}

/// A resource, and what it is in: its group, and the clone around that.
fn places<'a>(resources: &'a Tree, id: &str) -> Vec<&'a str> {
    let all = resources.all().filter(|e| e.tag != "resources");
    let holds = |e: &&Tree| {
        let is_resource = matches!(e.tag.as_str(), "primitive" | "group" | "clone" | "master");
        is_resource && e.all().any(|it| it.tag == "primitive" && it.id() == id)
    };
    all.filter(holds).map(Tree::id).collect()
}

/// Whether a constraint ties an address to our database: it is kept with it, started after it, or placed by what its agent publishes.
fn is_tied(configuration: &Tree, resources: &Tree, names: &Names, address: &str) -> bool {
    let places = places(resources, address);
    let is_about = |e: &Tree| {
        places.iter().any(|id| mentions(e, id))
            && (mentions(e, &names.clone) || mentions(e, &names.resource))
    };
    let constraints = configuration.child("constraints");
    let of = |tag| {
        let all = constraints.into_iter();
        all.flat_map(move |all| all.children_named(tag))
    };
    together(configuration).into_iter().any(is_about)
        || of("rsc_order").any(is_about)
        || of("rsc_location").any(|e| {
            places.iter().any(|id| mentions(e, id)) && is_by(e, &published(&names.resource))
        })
}

/// The attributes by which the addresses are placed. `master-pgsql` is what pha4pgsql's template asks for, by mistake.
fn published(resource: &str) -> [String; 2] {
    [format!("{resource}-status"), format!("master-{resource}")]
}

/// Whether a location constraint asks for one of these attributes.
fn is_by(location: &Tree, attributes: &[String]) -> bool {
    location.all().any(|e| {
        e.tag == "expression"
            && e.get("attribute")
                .is_some_and(|a| attributes.iter().any(|p| p == a))
    })
}

/// An address that has a name of ours, another ip, and nothing to do with our database is somebody else's.
fn not_a_strangers(
    configuration: &Tree,
    resources: &Tree,
    site: &Site,
    names: &Names,
) -> Result<(), String> {
    let writer = std::iter::once((&names.writer, &site.writer));
    for (id, ip) in writer.chain(names.readers.iter().zip(&site.readers)) {
        let Some(there) = resources.all().find(|e| e.id() == id && is_address(e)) else {
            continue;
        };
        if has_ip(there, ip) || is_tied(configuration, resources, names, id) {
            continue;
        }
        return Err(format!(
            "the cluster's resource {id} has the address {}, and no constraint ties it to {}, so it is taken for somebody else's; its name is needed \
             here for {ip}: rename it; or set resource_name, with which the names of this database begin, where the cluster does not have the database \
             yet; or, where it is this database's, give it the address {ip} first",
            parameter(there, "ip").unwrap_or("of nobody"),
            names.clone
        ));
    }
    Ok(())
}

/// Whether a constraint is about this resource.
fn mentions(constraint: &Tree, id: &str) -> bool {
    let ends = ["rsc", "with-rsc", "first", "then"];
    !id.is_empty()
        && (ends.iter().any(|end| constraint.get(end) == Some(id))
            || constraint
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
                 which is not this database: set {key} to an address of this one's own, or remove that constraint"
            ),
            None => format!(
                "the name of the cluster's resource {id} is needed here, and the constraint {constraint} keeps it with {holder}, which is \
                 not this database: rename the resource, or set resource_name, with which the names of this one begin, where the cluster does not have it yet"
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
        return match others.find(|e| has_same_place(configuration, resources, e, site)) {
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
fn addresses(configuration: &Tree, resources: &Tree, database: &Tree) -> Vec<String> {
    let other = parameter(database, "master_ip").map(str::to_owned);
    let both = writer_of(configuration, resources, database)
        .into_iter()
        .chain(other);
    both.collect()
}

/// Whether a database has an address of config.ini.
fn has_address(configuration: &Tree, resources: &Tree, database: &Tree, site: &Site) -> bool {
    let wanted = addresses_of(site);
    let is_wanted = |own: &String| wanted.iter().any(|wanted| same::address(own, wanted));
    addresses(configuration, resources, database)
        .iter()
        .any(is_wanted)
}

/// Whether a database is on none of config.ini's nodes: it says so itself, or is banned from every one.
fn is_elsewhere(configuration: &Tree, database: &Tree, site: &Site) -> bool {
    let nodes = parameter(database, "node_list").unwrap_or_default();
    let names = nodes.split_whitespace().map(NodeName::new);
    let is_of_others = !nodes.is_empty() && !names.flatten().any(|name| site.nodes.contains(&name));
    is_of_others || is_banned(configuration, database.id(), site)
}

/// Whether location constraints keep a resource from every node of config.ini, in every role, for good. What depends on an attribute or
/// on the time may change, and does not count.
fn is_banned(configuration: &Tree, id: &str, site: &Site) -> bool {
    let changes = |e: &Tree| {
        e.all().any(|part| match part.tag.as_str() {
            "expression" => part.get("attribute") != Some("#uname"),
            "date_expression" => true,
            _ => part.get("id-ref").is_some(),
        })
    };
    let mut lasting = configuration.clone();
    lasting
        .child_mut("constraints")
        .children
        .retain(|e| e.tag != "rsc_location" || !changes(e));
    let Some(bans) = bans::by_name(&lasting.to_text(), &site.nodes) else {
        return false;
    };
    let is_of = |name: &NodeName| {
        let mut all = bans.iter().filter(|ban| ban.node == *name);
        all.any(|ban| !ban.is_of_promoted && ban.resources.iter().any(|it| it == id))
    };
    !site.nodes.is_empty() && site.nodes.iter().all(is_of)
}

/// Whether a resource has the data directory of config.ini on one of its nodes, or its address.
fn has_same_place(configuration: &Tree, resources: &Tree, database: &Tree, site: &Site) -> bool {
    has_address(configuration, resources, database, site)
        || pgdata(database) == site.resolved.pgdata && !is_elsewhere(configuration, database, site)
}

/// What stands there under the name may be another database: with other data, and another address.
fn is_the_same(
    configuration: &Tree,
    resources: &Tree,
    database: &Tree,
    site: &Site,
) -> Result<(), String> {
    let own = addresses(configuration, resources, database);
    let Some(shown) = own.first() else {
        return Ok(());
    };
    let data = pgdata(database);
    if data == site.resolved.pgdata || has_address(configuration, resources, database, site) {
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
fn writer_of(configuration: &Tree, resources: &Tree, database: &Tree) -> Option<String> {
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
        // A preference by what the agent publishes.
        "rsc_location" => {
            let published = published(&names.resource);
            let gateway = [names.gateway()];
            let (is_about, published) = if is_database("rsc") {
                (true, &gateway[..])
            } else {
                (is_address("rsc"), &published[..])
            };
            is_about && is_by(tree, published)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::config;

    const CONFIG: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\nreader_vip=192.0.2.10\npgsql_pgctl=/bin/pg_ctl\n\
                          pgsql_pgdata=/data\npgsql_repuser=repl\n";

    fn found(
        config: &str,
        resources: &str,
        constraints: &str,
    ) -> Result<(Names, Vec<String>), String> {
        let text = format!(
            "<configuration><resources>{resources}</resources><constraints>{constraints}</constraints></configuration>"
        );
        let site = config::read(config).unwrap().0;
        names_to_change(&Tree::parse(&text).unwrap(), &site)
    }

    fn primitive(id: &str, agent: &str, params: &[(&str, &str)]) -> String {
        let pairs = params.iter().map(|(name, value)| {
            format!("<nvpair id='{id}-{name}' name='{name}' value='{value}'/>")
        });
        let pairs: String = pairs.collect();
        format!(
            "<primitive id='{id}' class='ocf' provider='heartbeat' type='{agent}'>\
             <instance_attributes id='{id}-ia'>{pairs}</instance_attributes></primitive>"
        )
    }

    fn clone(id: &str, inside: &str) -> String {
        format!("<clone id='{id}'>{inside}</clone>")
    }

    fn with_promoted(rsc: &str, with: &str) -> String {
        format!(
            "<rsc_colocation id='c-{rsc}' rsc='{rsc}' with-rsc='{with}' with-rsc-role='Promoted' score='INFINITY'/>"
        )
    }

    #[test]
    fn no_second_server_is_made_for_data_that_have_one() {
        let named = format!("{CONFIG}resource_name=sales\n");
        let data = [("pgdata", "/data")];
        let other = [("pgdata", "/other")];
        let template = "<template id='t' class='ocf' provider='heartbeat' type='pgsql'>\
                        <instance_attributes id='t-ia'><nvpair id='t-d' name='pgdata' value='/data'/></instance_attributes></template>";
        let of_template = "<primitive id='db' template='t'/>";
        let both =
            clone("ms", &primitive("pgsql", "expgsql", &data)) + &primitive("p2", "pgsql", &data);
        let ban = |node: &str| {
            format!("<rsc_location id='b-{node}' rsc='p2' node='{node}' score='-INFINITY'/>")
        };
        let bans = ["a", "b", "c"].map(ban).concat();
        let by_rule = "<rsc_location id='l' rsc='p2'><rule id='r' score='-INFINITY'><expression id='x' attribute='#uname' \
                       operation='ne' value='old'/></rule></rsc_location>"
            .to_owned();
        let address = primitive("ip", "IPaddr2", &[("ip", "192.0.2.9")]);
        let paf = |data: &[(&str, &str)]| clone("ha", &primitive("pgsqld", PAF, data));
        let with_paf = with_promoted("ip", "ha");
        for (config, resources, constraints, part) in [
            // (config.ini, what the cluster has, its constraints, what is said; nothing: it is no hindrance)
            (
                CONFIG,
                paf(&data),
                "",
                "pgsqld (ocf:heartbeat:pgsqlms) has the data directory /data",
            ),
            (
                CONFIG,
                paf(&[("datadir", "/data/"), ("pgdata", "/etc/x")]),
                "",
                "data directory /data",
            ),
            (&named, paf(&data), "", "data directory /data"),
            (
                CONFIG,
                paf(&other),
                "",
                "for a database beside it set resource_name",
            ),
            (&named, paf(&other), "", ""),
            (
                &named,
                paf(&other) + &address,
                &with_paf,
                "has the address 192.0.2.9",
            ),
            (
                CONFIG,
                primitive("x", "anything", &data),
                "",
                "Note: the resource x (ocf:heartbeat:anything) names the data directory /data",
            ),
            (
                CONFIG,
                primitive("x", "mysql", &[("datadir", "/var/lib/mysql")]),
                "",
                "",
            ),
            // Beside the one that is meant.
            (
                CONFIG,
                clone("ms", &primitive("pgsql", "expgsql", &data)) + &paf(&data),
                "",
                "pgsqld",
            ),
            (
                CONFIG,
                clone("ms", &primitive("pgsql", "expgsql", &data)) + &paf(&other),
                "",
                "",
            ),
            (
                CONFIG,
                clone("ms", &primitive("pgsql", "expgsql", &data))
                    + &primitive("p2", "pgsql", &data),
                "",
                "p2",
            ),
            (
                CONFIG,
                clone("ms", &primitive("pgsql", "expgsql", &data))
                    + &primitive("p2", "pgsql", &[("pgdata", "/data"), ("node_list", "x y")]),
                "",
                "",
            ),
            // What it is comes from a template.
            (
                CONFIG,
                template.to_owned() + &clone("cl", of_template),
                "",
                "db has its agent and parameters from the template t",
            ),
            (
                &named,
                template.to_owned() + &clone("cl", of_template),
                "",
                "db has the data directory /data",
            ),
            (
                CONFIG,
                template.to_owned() + &format!("<group id='g'>{of_template}</group>"),
                "",
                "in the group g",
            ),
            (
                CONFIG,
                format!("<group id='g'>{}</group>", primitive("db", "pgsql", &data)),
                "",
                "in the group g",
            ),
            (
                CONFIG,
                primitive("any", "Dummy", &data).replace(
                    "<instance_attributes id=",
                    "<instance_attributes id-ref='s' x=",
                ) + "<template id='t' class='ocf' provider='heartbeat' type='x'><instance_attributes id='s'>\
                       <nvpair id='n' name='pgdata' value='/data'/></instance_attributes></template>",
                "",
                "Note: the resource any (ocf:heartbeat:Dummy) names the data directory /data",
            ),
            // One that reads what the database is.
            (
                CONFIG,
                clone("ms", &primitive("pgsql", "expgsql", &data))
                    + &clone("cl", &primitive("x", "pgexporter", &data)),
                "",
                "Note: the resource x (ocf:heartbeat:pgexporter) names",
            ),
            // Banned from every node of config.ini, or not from every one, or not for good.
            (CONFIG, both.clone(), &bans, ""),
            (CONFIG, both.clone(), &by_rule, ""),
            (
                &named,
                clone("ms2", &primitive("p2", "pgsql", &data)),
                &bans,
                "",
            ),
            (CONFIG, both.clone(), &bans[..bans.len() / 3], "p2"),
            (
                CONFIG,
                both.clone(),
                &bans.replace("score=", "role='Promoted' score="),
                "p2",
            ),
            (
                CONFIG,
                both.clone(),
                &bans.replace("'-INFINITY'", "'-100'"),
                "p2",
            ),
            (
                CONFIG,
                both.clone(),
                &by_rule.replace("#uname", "site"),
                "p2",
            ),
        ] {
            let result = found(config, &resources, constraints);
            match result {
                Ok((_, remarks)) => match part.strip_prefix("Note: ") {
                    Some(part) => assert!(remarks[0].contains(part), "{remarks:?}"),
                    None => assert_eq!((part, remarks), ("", Vec::new()), "{resources}"),
                },
                Err(why) => assert!(
                    !part.is_empty() && why.contains(part),
                    "{resources}:\n{part}: {why}"
                ),
            }
        }
    }

    /// What should not be there twice is taken out.
    #[test]
    fn a_second_one_can_be_erased() {
        let data = [("pgdata", "/data")];
        let ours = clone("msPostgresql", &primitive("pgsql", "expgsql", &data));
        let both = ours + &clone("ha", &primitive("pgsqld", PAF, &data));
        assert!(found(CONFIG, &both, "").is_err());
        let text = format!("<configuration><resources>{both}</resources></configuration>");
        let site = config::read(CONFIG).unwrap().0;
        let names = names(&Tree::parse(&text).unwrap(), &site).unwrap();
        assert_eq!(names.clone, "msPostgresql");
    }

    #[test]
    fn an_address_of_somebody_else_is_not_taken_for_its_name() {
        let database = clone(
            "msPostgresql",
            &primitive("pgsql", "expgsql", &[("pgdata", "/data")]),
        );
        let mysql = clone("ms_mysql", &primitive("mysql", "mysql", &[]));
        let vip = |id: &str, ip: &str| primitive(id, "IPaddr2", &[("ip", ip)]);
        let (writer, reader) = (
            vip("vip-master", "10.0.0.50"),
            vip("vip-slave", "10.0.0.51"),
        );
        let none = CONFIG.replace("reader_vip=192.0.2.10\n", "");
        let set = "<rsc_colocation id='s' score='INFINITY'><resource_set id='s1'><resource_ref id='vip-master'/></resource_set>\
                   <resource_set id='s2' role='Promoted'><resource_ref id='msPostgresql'/></resource_set></rsc_colocation>";
        let rule = |rsc: &str, attribute: &str| {
            format!(
                "<rsc_location id='l' rsc='{rsc}'><rule id='r' score='200'><expression id='x' attribute='{attribute}' operation='eq' \
                 value='HS:sync'/></rule></rsc_location>"
            )
        };
        let order = "<rsc_order id='o' first='msPostgresql' first-action='promote' then='vip-slave' then-action='start'/>";
        let order_set = "<rsc_order id='o'><resource_set id='o1'><resource_ref id='msPostgresql'/></resource_set>\
                         <resource_set id='o2'><resource_ref id='vip-slave'/></resource_set></rsc_order>";
        for (config, resources, constraints, expected) in [
            // (config.ini, what the cluster has, its constraints, what is said or which readers' addresses are taken out)
            (
                CONFIG,
                mysql.clone() + &writer,
                with_promoted("vip-master", "ms_mysql"),
                Err("vip-master"),
            ),
            (
                CONFIG,
                mysql.clone() + &reader,
                with_promoted("vip-slave", "ms_mysql"),
                Err("vip-slave"),
            ),
            // Nobody keeps it anywhere.
            (CONFIG, writer.clone(), String::new(), Err("10.0.0.50")),
            (
                CONFIG,
                database.clone() + &writer,
                String::new(),
                Err("no constraint ties it to msPostgresql"),
            ),
            (
                CONFIG,
                database.clone() + &reader,
                String::new(),
                Err("10.0.0.51"),
            ),
            // Ours, whose ip changes.
            (
                CONFIG,
                database.clone() + &writer,
                with_promoted("vip-master", "msPostgresql"),
                Ok(0),
            ),
            (CONFIG, database.clone() + &writer, set.to_owned(), Ok(0)),
            (
                CONFIG,
                database.clone() + &format!("<group id='g'>{writer}</group>"),
                with_promoted("g", "msPostgresql"),
                Ok(0),
            ),
            // It has the ip of config.ini, and goes with another's primary.
            (
                CONFIG,
                mysql.clone() + &format!("<group id='g'>{}</group>", vip("x", "192.0.2.9")),
                with_promoted("g", "ms_mysql"),
                Err("keeps it with ms_mysql"),
            ),
            (CONFIG, vip("vip-master", "192.0.2.9"), String::new(), Ok(0)),
            // config.ini has none for readers: ours goes, and no other.
            (
                &none,
                mysql.clone() + &reader,
                with_promoted("vip-slave", "ms_mysql"),
                Ok(0),
            ),
            (&none, reader.clone(), String::new(), Ok(0)),
            (
                &none,
                database.clone() + &reader,
                with_promoted("vip-slave", "msPostgresql"),
                Ok(1),
            ),
            // The classic template has no colocation: rules on what the agent publishes place it, or an order is all.
            (
                CONFIG,
                database.clone() + &reader,
                rule("vip-slave", "pgsql-status"),
                Ok(0),
            ),
            (
                &none,
                database.clone() + &reader,
                rule("vip-slave", "pgsql-status"),
                Ok(1),
            ),
            (
                &none,
                database.clone() + &format!("<group id='g'>{reader}</group>"),
                rule("g", "master-pgsql"),
                Ok(1),
            ),
            (&none, database.clone() + &reader, order.to_owned(), Ok(1)),
            (
                &none,
                database.clone() + &reader,
                order_set.to_owned(),
                Ok(1),
            ),
            // By what another publishes, and after another.
            (
                CONFIG,
                database.clone() + &reader,
                rule("vip-slave", "sales-status"),
                Err("10.0.0.51"),
            ),
            (
                &none,
                database.clone() + &reader,
                rule("vip-slave", "sales-status"),
                Ok(0),
            ),
            (
                &none,
                database.clone() + &mysql + &reader,
                order.replace("msPostgresql", "ms_mysql"),
                Ok(0),
            ),
        ] {
            let result = found(config, &resources, &constraints);
            match (result, expected) {
                (Ok((names, _)), Ok(retired)) => {
                    assert_eq!(names.retired.len(), retired, "{resources}")
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{part}: {why}"),
                (result, expected) => panic!(
                    "{resources}{constraints}: {:?} {expected:?}",
                    result.map(|(names, _)| names.retired)
                ),
            }
        }
    }
}
