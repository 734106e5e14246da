//! Where Pacemaker's own scheduler puts what the plan describes, asked with crm_simulate.

use std::collections::BTreeMap;
use std::io::Write as _;

use tempfile::NamedTempFile;

use crate::setup::config::{self, Site};
use crate::setup::plan::{Plan, Values};
use crate::setup::tree::Tree;
use crate::sys::{Command, Deadline};

use super::find;
use super::merge::merge;
use crate::setup::apply::votes::Votes;

/// Three nodes: node1 is the primary, node3 its synchronous standby with the readers' address, node2 another standby.
const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

const CONFIG: &str = "node1=node1\nnode2=node2\nnode3=node3\nwriter_vip=10.77.0.100\nreader_vip=10.77.0.101\nvip_nic=eth0\n\
                      vip_cidr_netmask=24\npgsql_pgctl=/usr/lib/postgresql/15/bin/pg_ctl\npgsql_pgdata=/var/lib/pgsql/data\n\
                      pgsql_repuser=repl\n";

/// A cluster with the plan of config.ini, in which nothing runs yet that was not there before.
struct Cluster(Tree);

/// What the scheduler does, and where everything is afterwards.
struct Outcome {
    /// Of the database: any start, stop, promotion.
    database: Vec<String>,
    /// By the resource's name.
    places: BTreeMap<&'static str, String>,
    after: Cluster,
}

impl Cluster {
    fn new(more: &str) -> Self {
        let (site, _) = config::read(&format!("{CONFIG}{more}")).unwrap();
        Self::of(&site)
    }

    fn of(site: &Site) -> Self {
        let mut cib = Tree::parse(THREE).unwrap();
        let configuration = cib.child_mut("configuration");
        let names = find::names(configuration, site).unwrap();
        let plan = Plan::named(&Values::from(site), names);
        let before = configuration.child("resources").cloned().unwrap();
        let merged = merge(configuration, &plan, Votes::default());
        *configuration = merged.configuration;
        // Only places are asked for: what is there keeps its parameters, whose change the scheduler would answer with a restart.
        for resource in before.children {
            let is_it = |e: &Tree| e.id() == resource.id();
            *configuration.find_mut(&is_it).unwrap() = resource.clone();
        }
        Self(cib)
    }

    /// Sets a node's attribute, as the agent does; `None`: takes it away.
    fn attribute(mut self, node: &str, name: &str, value: Option<&str>) -> Self {
        let state = |e: &Tree| e.tag == "node_state" && e.get("uname") == Some(node);
        let state = self.0.find_mut(&state).unwrap();
        let set = state
            .child_mut("transient_attributes")
            .child_mut("instance_attributes");
        set.children.retain(|pair| pair.get("name") != Some(name));
        if let Some(value) = value {
            let id = format!("status-{node}-{name}");
            let pair = Tree::new("nvpair").with("id", id).with("name", name);
            set.children.push(pair.with("value", value));
        }
        self
    }

    fn status(self, node: &str, value: &str) -> Self {
        self.attribute(node, "pgsql-status", Some(value))
    }

    /// Takes a node out of service, or back.
    fn standby(mut self, node: &str, is_on: bool) -> Self {
        let is_it = |e: &Tree| e.tag == "node" && e.get("uname") == Some(node);
        let set = self
            .0
            .find_mut(&is_it)
            .unwrap()
            .child_mut("instance_attributes");
        set.children
            .retain(|pair| pair.get("name") != Some("standby"));
        let pair = Tree::new("nvpair").with("id", format!("{node}-standby"));
        let value = if is_on { "on" } else { "off" };
        set.children
            .push(pair.with("name", "standby").with("value", value));
        self
    }

    fn run(&self) -> Outcome {
        let mut before = NamedTempFile::new().unwrap();
        before.write_all(self.0.to_text().as_bytes()).unwrap();
        let after = NamedTempFile::new().unwrap();
        let output = Command::new("crm_simulate")
            .arg("--simulate")
            .arg("--xml-file")
            .arg(before.path())
            .arg("--save-output")
            .arg(after.path())
            .env("LC_ALL", "C")
            .run(Deadline::after(std::time::Duration::from_secs(60)))
            .unwrap();
        let text = output.stdout_text();
        let executed = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("* Resource action: "));
        let is_of_database = |line: &&str| {
            let looks = [" notify ", " monitor", " cancel="];
            line.starts_with("pgsql ") && !looks.iter().any(|look| line.contains(look))
        };
        let database = executed.filter(is_of_database);
        let database = database
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let (_, state) = text.split_once("Revised Cluster Status").unwrap();
        let place = |name: &'static str| {
            let line = state
                .lines()
                .find(|line| line.contains(&format!("* {name}\t")));
            let place = line.and_then(|line| line.split_once("Started "));
            (
                name,
                place.map_or("nowhere", |(_, node)| node.trim()).to_owned(),
            )
        };
        Outcome {
            database,
            places: ["vip-master", "vip-slave", "vip-slave-2", "vip-slave-3"]
                .map(place)
                .into(),
            after: Self(Tree::parse(&std::fs::read_to_string(after.path()).unwrap()).unwrap()),
        }
    }

    /// The readers' address is there afterwards, and nothing happens to the database for it.
    fn reads_on(self, node: &str, what: &str) -> Self {
        let outcome = self.run();
        assert_eq!(outcome.places["vip-slave"], node, "{what}");
        assert_eq!(outcome.database, Vec::<String>::new(), "{what}");
        outcome.after
    }
}

#[test]
fn the_readers_address_is_on_the_best_that_there_is_and_moves_no_server() {
    let gone =
        |cluster: Cluster, node: &str| cluster.standby(node, true).run().after.status(node, "STOP");
    let cluster = Cluster::new("").reads_on("node3", "as it is");
    let cluster = cluster
        .status("node3", "HS:async")
        .status("node2", "HS:quorum");
    let cluster = cluster.reads_on("node2", "what commits wait for, with quorum commit");
    let cluster = cluster
        .status("node3", "HS:quorum")
        .reads_on("node2", "it does not move without need");
    let cluster = cluster.attribute("node2", "pgsql-replay", Some("paused"));
    let cluster = cluster.reads_on("node3", "what does not replay is old");
    let cluster = cluster.attribute("node2", "pgsql-replay", None);
    let cluster = cluster
        .status("node3", "HS:alone")
        .status("node2", "HS:alone");
    let cluster = cluster.reads_on(
        "node1",
        "the primary comes before a standby that nobody feeds",
    );
    let cluster = cluster
        .status("node3", "HS:potential")
        .reads_on("node3", "one streams");
    let cluster = gone(gone(cluster, "node3"), "node2").reads_on("node1", "no standby is left");
    let cluster = cluster.standby("node2", false).run();
    assert_eq!(
        cluster.database,
        ["pgsql start on node2"],
        "{:?}",
        cluster.places
    );
    let cluster = cluster.after.reads_on("node1", "it only starts");
    let cluster = cluster
        .status("node2", "HS:async")
        .reads_on("node2", "one is back");
    cluster
        .status("node2", "HS:sync")
        .reads_on("node2", "and caught up");
}

#[test]
fn the_readers_address_stays_through_a_failover_and_then_leaves_the_new_primary() {
    let outcome = Cluster::new("").standby("node1", true).run();
    let expected = [
        "pgsql demote on node1",
        "pgsql stop on node1",
        "pgsql promote on node3",
    ];
    assert_eq!(outcome.database, expected);
    assert_eq!(
        outcome.places["vip-slave"], "node3",
        "reads go on where they are"
    );
    let cluster = outcome.after.status("node1", "STOP").status("node3", "PRI");
    let cluster = cluster.attribute("node3", "master-pgsql", Some("1000"));
    let cluster = cluster.reads_on("node2", "a standby streams");
    cluster
        .status("node2", "HS:alone")
        .reads_on("node3", "none does");
}

#[test]
fn a_primary_that_lost_its_gateway_gives_way_to_one_that_has_it_and_to_nobody_else() {
    // What is known of node1, the primary; of node3, its standby; of node2, which may not be promoted.
    let cases = [
        (["", "", ""], false),
        (["1", "1", "1"], false),
        (["0", "0", "0"], false),
        (["0", "1", "1"], true),
        (["0", "2", "0"], true),
        (["1", "0", "0"], false),
        // The others' gateway does not help where nobody may be promoted there.
        (["0", "0", "1"], false),
        // Nobody has looked yet.
        (["0", "", ""], false),
        (["", "1", "1"], false),
    ];
    for ((known, moves), score) in cases
        .into_iter()
        .zip(std::iter::repeat(["100", "200", "50"]))
        .flat_map(|(case, scores)| scores.map(|score| (case, score)))
    {
        let more = format!("gateway_ip='192.0.2.1 192.0.2.2'\nreader_score={score}\n");
        let cluster = Cluster::new(&more).run().after;
        let nodes = ["node1", "node3", "node2"];
        let cluster = nodes
            .into_iter()
            .zip(known)
            .fold(cluster, |cluster, (node, value)| {
                cluster.attribute(
                    node,
                    "pgsql-gateway",
                    Some(value).filter(|value| !value.is_empty()),
                )
            });
        let outcome = cluster.run();
        let expected: &[&str] = if moves {
            &["pgsql demote on node1", "pgsql promote on node3"]
        } else {
            &[]
        };
        assert_eq!(outcome.database, expected, "{known:?} {score}");
        assert_eq!(
            outcome.after.run().database,
            Vec::<String>::new(),
            "{known:?} {score}"
        );
    }
}

#[test]
fn several_addresses_for_readers_are_on_as_many_standbys_as_there_are() {
    for score in ["50", "57", "100", "299"] {
        several(score);
    }
}

fn several(score: &str) {
    // Replaces the file's one address.
    let cluster = |more: &str| {
        let (site, _) = config::read(&format!(
            "{}reader_score={score}\n",
            CONFIG.replace("10.77.0.101", more)
        ))
        .unwrap();
        Cluster::of(&site)
    };
    let gone = |cluster: Cluster, node: &str| {
        let cluster = cluster.standby(node, true).run().after;
        cluster.status(node, "STOP")
    };
    let on = |outcome: &Outcome, what: &str| {
        assert_eq!(outcome.database, Vec::<String>::new(), "{what}");
        let names = ["vip-slave", "vip-slave-2", "vip-slave-3"];
        names.map(|name| outcome.places[name].clone())
    };
    let two = cluster("'10.77.0.101 10.77.0.102'").run();
    assert_eq!(on(&two, "two of two"), ["node3", "node2", "nowhere"]);
    let quorum = two
        .after
        .status("node2", "HS:quorum")
        .status("node3", "HS:quorum");
    assert_eq!(
        on(&quorum.run(), "both are waited for"),
        ["node3", "node2", "nowhere"]
    );
    let one = gone(quorum, "node2").status("node3", "HS:sync").run();
    assert_eq!(on(&one, "one standby"), ["node3", "node3", "nowhere"]);
    let one = one.after.status("node3", "HS:async").run();
    assert_eq!(
        on(&one, "one that nobody waits for"),
        ["node3", "node3", "nowhere"]
    );
    let none = gone(one.after, "node3").run();
    assert_eq!(on(&none, "none"), ["node1", "node1", "nowhere"]);
    let back = none
        .after
        .standby("node3", false)
        .run()
        .after
        .status("node3", "HS:async")
        .run();
    assert_eq!(on(&back, "one is back"), ["node3", "node3", "nowhere"]);
    let back = back
        .after
        .standby("node2", false)
        .run()
        .after
        .status("node2", "HS:async")
        .run();
    let mut places = on(&back, "the other is back, too").to_vec();
    places.sort();
    assert_eq!(places, ["node2", "node3", "nowhere"]);
    let three = cluster("'10.77.0.101 10.77.0.102 10.77.0.103'").run().after;
    let three = gone(gone(three, "node2"), "node3").run();
    assert_eq!(on(&three, "three, and no standby"), ["node1"; 3]);
}

#[test]
fn an_address_for_readers_may_come_and_go() {
    let merged = |configuration: &Tree, readers: &str| {
        let (site, _) = config::read(&CONFIG.replace("reader_vip=10.77.0.101", readers)).unwrap();
        let names = find::names(configuration, &site).unwrap();
        merge(
            configuration,
            &Plan::named(&Values::from(&site), names),
            Votes::default(),
        )
    };
    let cib = Tree::parse(THREE).unwrap();
    let one = "reader_vip=10.77.0.101";
    let before = merged(cib.child("configuration").unwrap(), one).configuration;
    let two = "reader_vip='10.77.0.101 10.77.0.102'";
    let both = merged(&before, two);
    assert!(
        both.changes
            .iter()
            .all(|change| change.contains("vip-slave-2")),
        "{:?}",
        both.changes
    );
    let both = both.configuration;
    assert_eq!(merged(&both, two).changes, Vec::<String>::new());
    assert!(merged(&both, one).configuration == before);
    // The first goes: the other keeps its name.
    let other = merged(&both, "reader_vip=10.77.0.102");
    assert!(
        other
            .changes
            .iter()
            .any(|change| change.starts_with("remove the resource vip-slave:")),
        "{:?}",
        other.changes
    );
    assert!(
        other
            .configuration
            .find(&|e| e.id() == "vip-slave-2")
            .is_some()
    );
    let none = merged(&both, "").configuration;
    for (text, is_there) in [(none.to_text(), false), (both.to_text(), true)] {
        assert_eq!(text.contains("vip-slave"), is_there, "{text}");
    }
}

#[test]
fn the_watch_over_the_gateway_is_added_once_and_taken_out_again() {
    let changes = |configuration: &Tree, more: &str| {
        let (site, _) = config::read(&format!("{CONFIG}{more}")).unwrap();
        let names = find::names(configuration, &site).unwrap();
        merge(
            configuration,
            &Plan::named(&Values::from(&site), names),
            Votes::default(),
        )
    };
    let cib = Tree::parse(THREE).unwrap();
    let before = changes(cib.child("configuration").unwrap(), "").configuration;
    let watched = changes(&before, "gateway_ip=192.0.2.1\n");
    assert_eq!(watched.changes.len(), 3, "{:?}", watched.changes);
    let watched = watched.configuration;
    assert_eq!(
        changes(&watched, "gateway_ip=192.0.2.1\n").changes,
        Vec::<String>::new()
    );
    let more = changes(&watched, "gateway_ip='192.0.2.1 192.0.2.2'\n").changes;
    assert!(
        more.iter()
            .all(|change| change.starts_with("pgsql-gateway: change ")),
        "{more:?}"
    );
    let gone = changes(&watched, "");
    assert_eq!(gone.changes.len(), 3, "{:?}", gone.changes);
    assert!(gone.configuration == before);
    // A name that something else has.
    let other = before.to_text().replace(
        "<resources>",
        "<resources><primitive id='pgsql-gateway' class='ocf' provider='x' type='y'/>",
    );
    let (site, _) = config::read(&format!("{CONFIG}gateway_ip=192.0.2.1\n")).unwrap();
    let why = find::names(&Tree::parse(&other).unwrap(), &site).unwrap_err();
    assert!(
        why.contains("does not watch this database's gateway"),
        "{why}"
    );
    assert_eq!(
        changes(&Tree::parse(&other).unwrap(), "").changes,
        Vec::<String>::new()
    );
}

#[test]
fn the_readers_address_stays_off_the_primary_where_config_ini_says_so() {
    let cluster = Cluster::new("reader_on_primary=false\n").reads_on("node3", "as it is");
    let cluster = cluster
        .status("node3", "HS:async")
        .status("node2", "HS:quorum");
    let cluster = cluster.reads_on("node2", "what commits wait for, with quorum commit");
    let outcome = cluster.standby("node2", true).standby("node3", true).run();
    assert_eq!(outcome.places["vip-slave"], "nowhere");
}
