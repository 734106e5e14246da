//! The cluster's configuration with the plan in it. What is not this program's stays as it is.
//!
//! This program's are: the PostgreSQL resource and the clone around it, the two addresses, the colocations and orders between
//! them, the preference of the reader's address, and the properties that it can't do without. Of its resources it changes what the
//! plan speaks of: a parameter that somebody set and config.ini says nothing of stays, if the agent knows it.

use crate::setup::apply::merged::Merged;
use crate::setup::apply::votes::Votes;
use crate::setup::parts::{Names, Primitive};
use crate::setup::plan::Plan;
use crate::setup::render::xml;
use crate::setup::tree::Tree;

use super::find::{is_gateway, is_ours, parameter};
use super::primitive::{
    current, judge_others, longest_that_stays, outlasting, set_meta, set_operations, set_params,
    unset, unsound,
};
use super::{derived, fencing};

/// Puts the plan into `configuration`.
pub(super) fn merge(configuration: &Tree, plan: &Plan, votes: Votes) -> Merged {
    let mut merged = Merged {
        configuration: configuration.clone(),
        changes: Vec::new(),
        remarks: Vec::new(),
        replaces: None,
    };
    for property in &plan.properties {
        merged.property(property, plan.means, votes);
    }
    merged.database(plan);
    for address in &plan.addresses {
        merged.address(address);
    }
    for gone in &plan.names.retired {
        let why = "config.ini has no such address in reader_vip";
        merged.take_out(gone, why, &plan.names);
    }
    merged.gateway(plan);
    merged.constraints(plan);
    merged
}

/// Takes everything of this program's out of `configuration`, except the record of who was primary.
pub(super) fn without(configuration: &Tree, names: &Names) -> Merged {
    let mut merged = Merged {
        configuration: configuration.clone(),
        changes: Vec::new(),
        remarks: Vec::new(),
        replaces: None,
    };
    let gateway = names.gateway_clone();
    let is_gateway = |e: &Tree| e.id() == gateway && is_gateway(e, names);
    let gateway = configuration.find(&is_gateway).map(|_| &gateway);
    let ids: Vec<&String> = std::iter::once(&names.clone)
        .chain(names.addresses())
        .chain(gateway)
        .collect();
    let mut ids: Vec<String> = ids.into_iter().cloned().collect();
    let emptied = emptied(&merged.configuration, &ids);
    // Also constraints of others that would be left without an end.
    ids.push(names.resource.clone());
    ids.extend(emptied.iter().cloned());
    let mentions = |e: &Tree| is_about(e, &ids);
    let constraints = merged.configuration.child_mut("constraints");
    for gone in constraints.children.iter().filter(|e| mentions(e)) {
        merged
            .changes
            .push(format!("remove the constraint {}", gone.id()));
    }
    constraints.remove(&mentions);
    let resources = merged.configuration.child_mut("resources");
    for id in ids.iter().filter(|id| **id != names.resource) {
        if resources.find(&|e| e.id() == id).is_some() {
            resources.remove(&|e| e.id() == id);
            let what = if emptied.contains(id) {
                format!("remove {id}, in which nothing is left")
            } else {
                format!("remove the resource {id}")
            };
            merged.changes.push(what);
        }
    }
    merged
}

/// Groups and clones in which nothing is left when these resources are gone: Pacemaker has no empty ones. The outer ones first.
fn emptied(configuration: &Tree, gone: &[String]) -> Vec<String> {
    let Some(resources) = configuration.child("resources") else {
        return Vec::new();
    };
    let is_gone = |e: &Tree| gone.iter().any(|id| id == e.id());
    let holders = resources.all().filter(|e| {
        matches!(e.tag.as_str(), "group" | "clone" | "master")
            && !e.all().any(|it| is_gone(it) && it.id() == e.id())
    });
    let is_emptied = |e: &&Tree| {
        let mut left = (*e).clone();
        left.remove(&is_gone);
        let is_primitive = |it: &Tree| it.tag == "primitive" || it.tag == "bundle";
        e.all().any(is_primitive) && !left.all().any(is_primitive)
    };
    let of_gone: Vec<&str> = resources
        .all()
        .filter(|e| is_gone(e))
        .flat_map(Tree::all)
        .map(Tree::id)
        .collect();
    let ids = holders.filter(is_emptied).map(Tree::id);
    ids.filter(|id| !of_gone.contains(id))
        .map(str::to_owned)
        .collect()
}

/// Whether a constraint is about one of these.
fn is_about(e: &Tree, ids: &[String]) -> bool {
    const ENDS: [&str; 5] = ["rsc", "with-rsc", "first", "then", "id"];
    let names = |part: &Tree| {
        ENDS.iter().any(|name| {
            let is_end = *name != "id" || part.tag == "resource_ref";
            let id = part.get(name).filter(|_| is_end);
            id.is_some_and(|id| ids.iter().any(|it| it == id))
        })
    };
    e.tag.starts_with("rsc_") && e.all().any(names)
}

impl Merged {
    fn database(&mut self, plan: &Plan) {
        let (id, clone) = (&plan.names.resource, &plan.names.clone);
        let writer = self.configuration.find(&|e| e.id() == plan.names.writer);
        let writer = writer.and_then(|it| parameter(it, "ip")).map(str::to_owned);
        let can_fence = fencing::is_there(&self.configuration);
        let resources = self.configuration.child_mut("resources");
        let Some(around) = resources
            .find_mut(&|e| e.id() == clone && matches!(e.tag.as_str(), "clone" | "master"))
        else {
            resources.children.push(xml::clone(plan));
            self.changes.push(format!(
                "add the resource {id} (ocf:heartbeat:{}) in the promotable clone {clone}",
                plan.pgsql.agent
            ));
            return;
        };
        let mut changes = Vec::new();
        if around.tag == "master" {
            "clone".clone_into(&mut around.tag);
            changes.push(format!(
                "{clone}: make the <master> of an older Pacemaker a promotable clone"
            ));
        }
        let inner = around.children.iter();
        let is_it = |e: &&Tree| e.tag == "primitive" && e.id() == id;
        let mut inner = inner.filter(is_it);
        let inner = inner.next().cloned();
        let own = |name: &str| {
            inner
                .as_ref()
                .and_then(|inner| current(inner, "meta_attributes", name))
        };
        let longest = inner
            .as_ref()
            .and_then(|inner| longest_that_stays(inner, &plan.pgsql));
        let meta = outlasting(&plan.clone_meta, longest);
        let (set, kept) = set_meta(around, clone, &meta, |name| own(name).is_some());
        changes.extend(set);
        self.remarks.extend(kept);
        for (old, new) in [
            ("master-max", "promoted-max"),
            ("master-node-max", "promoted-node-max"),
        ] {
            if unset(around, "meta_attributes", old) {
                changes.push(format!("{clone}: replace {old} by {new}"));
            }
        }
        let Some(primitive) = around
            .children
            .iter_mut()
            .find(|e| e.tag == "primitive" && e.id() == id)
        else {
            return;
        };
        // What the resource itself says would win over the clone.
        for it in &meta {
            let name = it.name;
            if it.is_default {
                let unsound = own(name).and_then(|now| unsound(id, it, now));
                self.remarks.extend(unsound);
            } else if unset(primitive, "meta_attributes", name) {
                changes.push(format!(
                    "{id}: remove the meta attribute {name}, which {clone} has"
                ));
            }
        }
        let agent = |e: &Tree| {
            format!(
                "ocf:{}:{}",
                e.get("provider").unwrap_or_default(),
                e.get("type").unwrap_or_default()
            )
        };
        let before = agent(primitive);
        primitive.set("provider", "heartbeat");
        primitive.set("type", plan.pgsql.agent);
        if agent(primitive) != before {
            changes.push(format!(
                "{id}: change the agent from {before} to {}",
                agent(primitive)
            ));
            self.replaces = Some(before);
        }
        let wanted = derived::of_database(primitive, plan, writer.as_deref());
        self.remarks
            .extend(derived::unread_password(id, plan, primitive));
        self.remarks
            .extend(derived::open_password(id, plan, primitive));
        let is_running = self.replaces.is_none();
        changes.extend(set_params(primitive, &wanted, is_running));
        let (removed, kept) = judge_others(primitive, &wanted);
        changes.extend(removed);
        self.remarks.extend(kept);
        let (set, kept) = set_operations(primitive, &plan.pgsql);
        changes.extend(set);
        self.remarks.extend(kept);
        let instead = fencing::instead(primitive).filter(|_| can_fence);
        self.remarks
            .extend(instead.map(|on_fail| fencing::it_stays(id, on_fail)));
        self.changes.extend(changes);
    }

    fn address(&mut self, wanted: &Primitive) {
        let can_fence = fencing::is_there(&self.configuration);
        let resources = self.configuration.child_mut("resources");
        let Some(primitive) = resources.find_mut(&|e| e.tag == "primitive" && e.id() == wanted.id)
        else {
            resources.children.push(xml::primitive(wanted));
            let ip = wanted
                .set_params()
                .find(|(name, _)| *name == "ip")
                .map_or("", |(_, ip)| ip);
            self.changes.push(format!(
                "add the resource {} (ocf:heartbeat:{}) with the address {ip}",
                wanted.id, wanted.agent
            ));
            return;
        };
        let mut changes = set_params(primitive, wanted, false);
        let meta = outlasting(&wanted.meta, longest_that_stays(primitive, wanted));
        for (set, kept) in [
            set_meta(primitive, &wanted.id, &meta, |_| false),
            set_operations(primitive, wanted),
        ] {
            changes.extend(set);
            self.remarks.extend(kept);
        }
        let instead = fencing::instead(primitive).filter(|_| can_fence);
        self.remarks
            .extend(instead.map(|on_fail| fencing::it_stays(&wanted.id, on_fail)));
        self.changes.extend(changes);
    }

    fn gateway(&mut self, plan: &Plan) {
        let (id, around) = (plan.names.gateway(), plan.names.gateway_clone());
        let Some(wanted) = &plan.gateway else {
            let resources = self.configuration.child_mut("resources");
            let is_it = |e: &Tree| e.id() == around && is_gateway(e, &plan.names);
            if resources.find(&is_it).is_some() {
                self.take_out(&around, "config.ini has no gateway_ip", &plan.names);
            }
            return;
        };
        let resources = self.configuration.child_mut("resources");
        let Some(primitive) = resources.find_mut(&|e| e.tag == "primitive" && e.id() == id) else {
            resources.children.extend(xml::gateway(plan));
            self.changes.push(format!(
                "add the resource {id} (ocf:{}:{}) in the clone {around}",
                wanted.provider, wanted.agent
            ));
            return;
        };
        let (left, stays) = derived::of_gateway(primitive, wanted);
        self.remarks.extend(stays);
        let mut changes = set_params(primitive, &left, false);
        let (set, kept) = set_operations(primitive, wanted);
        changes.extend(set);
        self.remarks.extend(kept);
        self.changes.extend(changes);
    }

    /// Takes one resource out, and what would be left without it. The constraints that are ours are looked at by themselves.
    fn take_out(&mut self, id: &str, why: &str, names: &Names) {
        let mut ids = vec![id.to_owned()];
        let resources = self.configuration.child_mut("resources");
        if resources.find(&|e| e.id() == id).is_none() {
            return;
        }
        ids.extend(emptied(&self.configuration, &ids));
        let resources = self.configuration.child_mut("resources");
        resources.remove(&|e| ids.iter().any(|id| id == e.id()));
        self.changes
            .push(format!("remove the resource {id}: {why}"));
        for emptied in &ids[1..] {
            self.changes
                .push(format!("remove {emptied}, in which nothing is left"));
        }
        let constraints = self.configuration.child_mut("constraints");
        let is_left = |e: &Tree| is_about(e, &ids) && !is_ours(e, names);
        for gone in constraints.children.iter().filter(|e| is_left(e)) {
            self.changes
                .push(format!("remove the constraint {}", gone.id()));
        }
        constraints.remove(&is_left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::apply::find;
    use crate::setup::config;
    use crate::setup::plan::Values;

    const EMPTY: &str =
        "<configuration><crm_config/><nodes/><resources/><constraints/></configuration>";

    /// What pha4pgsql's template made, by pcs 0.9 on Pacemaker 1.1, with a fencing device and a resource of somebody else's.
    const OLD: &str = "<configuration>
      <crm_config><cluster_property_set id='cib-bootstrap-options'>
        <nvpair id='p1' name='no-quorum-policy' value='stop'/><nvpair id='p2' name='stonith-enabled' value='true'/>
        <nvpair id='p3' name='cluster-recheck-interval' value='7min'/>
      </cluster_property_set></crm_config>
      <resources>
        <primitive class='stonith' id='fence1' type='fence_ipmilan'/>
        <primitive class='ocf' provider='heartbeat' type='IPaddr2' id='vip-master'>
          <instance_attributes id='vip-master-instance_attributes'>
            <nvpair id='v1' name='ip' value='192.0.2.9'/><nvpair id='v2' name='iflabel' value='w'/>
          </instance_attributes>
        </primitive>
        <master id='msPostgresql'>
          <primitive class='ocf' provider='heartbeat' type='pgsql' id='pgsql'>
            <instance_attributes id='pgsql-instance_attributes'>
              <nvpair id='i1' name='pgdata' value='/data'/><nvpair id='i2' name='rep_mode' value='sync'/>
              <nvpair id='i3' name='stop_escalate' value='30'/><nvpair id='i4' name='no_such' value='1'/>
              <nvpair id='i5' name='primary_conninfo_opt' value='user=repl password=hush'/>
            </instance_attributes>
            <operations>
              <op id='o1' name='monitor' interval='7s' timeout='60s' on-fail='restart'/>
              <op id='o2' name='monitor' interval='3s' timeout='60s' role='Master' on-fail='restart'/>
              <op id='o3' name='demote' interval='0s' timeout='60s' on-fail='stop'/>
              <op id='o4' name='methods' interval='0s' timeout='5s'/>
            </operations>
          </primitive>
          <meta_attributes id='ms-meta'>
            <nvpair id='m1' name='master-max' value='1'/><nvpair id='m2' name='notify' value='true'/>
            <nvpair id='m3' name='target-role' value='Master'/>
          </meta_attributes>
        </master>
      </resources>
      <constraints>
        <rsc_colocation id='c1' rsc='vip-master' with-rsc='msPostgresql' with-rsc-role='Master' score='INFINITY'/>
        <rsc_order id='c2' first='msPostgresql' first-action='promote' then='vip-master' then-action='start' score='INFINITY' symmetrical='false'/>
        <rsc_order id='c3' first='msPostgresql' first-action='demote' then='vip-master' then-action='start' score='0' symmetrical='false'/>
        <rsc_location id='cli-prefer-x' rsc='msPostgresql' node='a' score='10'/>
      </constraints>
    </configuration>";

    const CONFIG: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\nreader_vip=192.0.2.10\npgsql_pgctl=/bin/pg_ctl\n\
                          pgsql_pgdata=/data\npgsql_repuser=repl\n";

    fn plan(tree: &Tree) -> Plan {
        let (site, _) = config::read(CONFIG).unwrap();
        Plan::named(&Values::from(&site), find::names(tree, &site).unwrap())
    }

    fn merged(text: &str) -> Merged {
        let tree = Tree::parse(text).unwrap();
        merge(&tree, &plan(&tree), Votes::default())
    }

    #[test]
    fn what_was_merged_once_needs_nothing_the_second_time() {
        for text in [EMPTY, OLD] {
            let first = merged(text);
            assert!(!first.changes.is_empty());
            let again = merged(&first.configuration.to_text());
            assert_eq!(again.changes, Vec::<String>::new());
            assert!(again.configuration == first.configuration);
        }
    }

    #[test]
    fn ids_are_unique() {
        for text in [EMPTY, OLD] {
            let tree = merged(text).configuration;
            let mut ids: Vec<&str> = tree.all().filter_map(|e| e.get("id")).collect();
            ids.sort_unstable();
            let before = ids.len();
            ids.dedup();
            assert_eq!(ids.len(), before);
        }
    }

    /// With the password that stands in the old cluster's configuration.
    const PASSWORD: &str = "pgsql_reppassword=hush\n";

    #[test]
    fn an_older_cluster_is_taken_over_and_each_change_is_said() {
        let merged = with_lines(PASSWORD, OLD);
        let all = merged.changes.join("\n");
        for part in [
            "make the <master> of an older Pacemaker a promotable clone",
            "replace master-max by promoted-max",
            "change the agent from ocf:heartbeat:pgsql to ocf:heartbeat:expgsql",
            "change primary_conninfo_opt from its old value",
            "remove no_such, which is no parameter",
            "operation demote: on-fail from stop to restart",
            "the constraint c1: write it as Pacemaker does since 2.1",
            "the constraint c2: write it as Pacemaker does since 2.1",
            "remove the constraint c3",
            "add the resource vip-slave",
        ] {
            assert!(all.contains(part), "{part}:\n{all}");
        }
        assert!(!all.contains("hush"), "{all}");
        assert_eq!(merged.replaces.as_deref(), Some("ocf:heartbeat:pgsql"));
        assert!(
            merged
                .remarks
                .iter()
                .any(|remark| remark.contains("stop_escalate=30 stays")),
            "{:?}",
            merged.remarks
        );
        assert!(!all.contains("interval from"), "{all}");
        assert!(
            merged
                .remarks
                .iter()
                .any(|remark| remark.contains("interval=7s (usual is 4 s")),
            "{:?}",
            merged.remarks
        );
        assert!(
            !all.contains("no-quorum-policy") && !all.contains("stonith"),
            "{all}"
        );
    }

    #[test]
    fn what_becomes_of_a_stop_that_failed_is_left_to_the_cluster() {
        let fresh = merged(EMPTY).configuration;
        let stops: Vec<&Tree> = fresh
            .all()
            .filter(|e| e.tag == "op" && e.get("name") == Some("stop"))
            .collect();
        assert_eq!(stops.len(), 3);
        for stop in stops {
            assert_eq!(stop.get("on-fail"), None, "{}", stop.id());
        }
        for on_fail in ["block", "fence", "stop"] {
            for (device, is_told) in [
                (
                    "<primitive class='stonith' id='f' type='x'/>",
                    on_fail != "fence",
                ),
                ("", false),
            ] {
                let text = fresh.to_text().replace(
                    "<op id=\"pgsql-stop-interval-0s\"",
                    &format!("<op id=\"pgsql-stop-interval-0s\" on-fail=\"{on_fail}\""),
                );
                let text = text.replace("<resources>", &format!("<resources>{device}"));
                let merged = merged(&text);
                assert_eq!(merged.changes, Vec::<String>::new(), "{on_fail} {device}");
                let told = format!("pgsql: on-fail={on_fail} of its stop stays");
                let remarks = merged.remarks.join("\n");
                assert_eq!(
                    remarks.contains(&told),
                    is_told,
                    "{on_fail} {device}: {remarks}"
                );
            }
        }
    }

    /// An operator's deep monitor, as pcs and crmsh write it, and as older tools did.
    fn deep(id: &str, interval: u32, level: u32, role: &str, tag: &str) -> String {
        format!(
            "<op id='{id}' name='monitor' interval='{interval}s' timeout='30s'{role}><{tag} id='{id}-set'>\
             <nvpair id='{id}-level' name='OCF_CHECK_LEVEL' value='{level}'/></{tag}></op>"
        )
    }

    #[test]
    fn deep_monitors_that_somebody_made_stay_beside_the_plain_ones() {
        let fresh = merged(EMPTY).configuration.to_text();
        for tag in ["instance_attributes", "meta_attributes"] {
            for (role, level) in [
                ("", 10),
                (" role='Promoted'", 10),
                (" role='Master'", 20),
                (" role='Unpromoted'", 20),
            ] {
                let op = deep("deep", 60, level, role, tag);
                let front = fresh.replacen("<operations>", &format!("<operations>{op}"), 1);
                let behind = fresh.replacen("</operations>", &format!("{op}</operations>"), 1);
                for text in [front, behind] {
                    let merged = merged(&text);
                    assert_eq!(merged.changes, Vec::<String>::new(), "{tag} {role} {level}");
                    assert!(merged.configuration == Tree::parse(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn deep_monitors_are_what_config_ini_says_of_them() {
        let asked = |lines: &str, text: &str| {
            let tree = Tree::parse(text).unwrap();
            let (site, _) = config::read(&format!("{CONFIG}{lines}")).unwrap();
            let names = find::names(&tree, &site).unwrap();
            merge(
                &tree,
                &Plan::named(&Values::from(&site), names),
                Votes::default(),
            )
        };
        let lines = "deep_monitor_interval=60\npromoted_storage_monitor_interval=121\n";
        let fresh = asked(lines, EMPTY).configuration.to_text();
        // One that somebody made by hand under the same id, and for another level.
        let by_hand = deep(
            "pgsql-monitor-interval-60s",
            50,
            20,
            "",
            "instance_attributes",
        );
        let plain = merged(EMPTY).configuration.to_text();
        let text = plain.replacen("<operations>", &format!("<operations>{by_hand}"), 1);
        let beside = asked(lines, &text);
        assert_eq!(
            beside.changes,
            [
                "pgsql: add the operation monitor interval=60s timeout=60s OCF_CHECK_LEVEL=10",
                "pgsql: add the operation monitor interval=121s timeout=60s role=Promoted OCF_CHECK_LEVEL=20",
            ]
        );
        let beside = beside.configuration;
        let mut ids: Vec<&str> = beside.all().filter_map(|e| e.get("id")).collect();
        ids.sort_unstable();
        let number = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), number, "{}", beside.to_text());
        for text in [&fresh, &beside.to_text()] {
            assert_eq!(asked(lines, text).changes, Vec::<String>::new());
        }
        let rarer = asked("deep_monitor_interval=90\n", &fresh).changes;
        assert_eq!(
            rarer,
            ["pgsql: operation monitor OCF_CHECK_LEVEL=10: interval from 60s to 90s"]
        );
        let gone = asked("promoted_storage_monitor_interval=0\n", &fresh).changes;
        assert_eq!(
            gone,
            ["pgsql: remove the operation pgsql-monitor-interval-121s"]
        );
    }

    #[test]
    fn what_somebody_chose_and_config_ini_says_nothing_of_stays() {
        let fresh = merged(EMPTY).configuration.to_text();
        for (old, new, remark) in [
            // (what is there, what somebody made of it, what is said of that)
            (
                r#"name="start" interval="0s" timeout="60s" on-fail="restart""#,
                r#"name="start" interval="0s" timeout="300s" on-fail="restart""#,
                "",
            ),
            (
                r#"name="start" interval="0s" timeout="60s" on-fail="restart""#,
                r#"name="start" interval="0s" timeout="20" on-fail="restart""#,
                "pgsql: timeout=20 (usual is 60 s: what takes longer is a failure) of its start stays",
            ),
            (
                r#"interval="4s" timeout="60s""#,
                r#"interval="30s" timeout="60s""#,
                "pgsql: interval=30s (usual is 4 s: a failure is noticed later) of its monitor stays",
            ),
            (
                r#"interval="10s" timeout="60s""#,
                r#"interval="5s" timeout="90s""#,
                "",
            ),
            (
                r#"on-fail="restart" role="Promoted""#,
                r#"on-fail="demote" role="Promoted""#,
                "",
            ),
            (
                r#"name="promote" interval="0s" timeout="60s" on-fail="restart""#,
                r#"name="promote" interval="0s" timeout="60s" on-fail="fence""#,
                "",
            ),
            (
                r#"name="promote" interval="0s" timeout="60s" on-fail="restart""#,
                r#"name="promote" interval="0s" timeout="60s""#,
                "",
            ),
            (
                r#"on-fail="restart" role="Promoted""#,
                r#"on-fail="ignore" role="Promoted""#,
                "pgsql: on-fail=ignore (usual is restart: nothing is done about a failure) of its monitor stays",
            ),
            (
                r#"name="demote" interval="0s" timeout="60s""#,
                r#"name="demote" interval="0s" timeout="60s" on-fail="fence""#,
                "",
            ),
            (
                r#"name="migration-threshold" value="3""#,
                r#"name="migration-threshold" value="INFINITY""#,
                "",
            ),
            (
                r#"name="migration-threshold" value="3""#,
                r#"name="migration-threshold" value="1""#,
                "msPostgresql: the meta attribute migration-threshold=1 stays",
            ),
            (
                r#"name="resource-stickiness" value="1000""#,
                r#"name="resource-stickiness" value="500""#,
                "",
            ),
            (
                r#"name="resource-stickiness" value="1000""#,
                r#"name="resource-stickiness" value="100""#,
                "restarts standbys",
            ),
            (
                r#"name="failure-timeout" value="600s""#,
                r#"name="failure-timeout" value="0""#,
                "",
            ),
            (
                r#"name="failure-timeout" value="600s""#,
                r#"name="failure-timeout" value="1min""#,
                "forgotten",
            ),
        ] {
            assert!(fresh.contains(old), "{old}:\n{fresh}");
            let merged = merged(&fresh.replacen(old, new, 1));
            assert_eq!(merged.changes, Vec::<String>::new(), "{new}");
            match merged.remarks.as_slice() {
                [] => assert!(remark.is_empty(), "{new}"),
                [one] => assert!(!remark.is_empty() && one.contains(remark), "{new}: {one}"),
                several => panic!("{new}: {several:?}"),
            }
        }
        // On the resource itself it counts more than on the clone.
        let (head, tail) = fresh.split_once("</operations>").unwrap();
        let own = "<meta_attributes id='own'><nvpair id='own-1' name='migration-threshold' value='7'/></meta_attributes>";
        let text = format!("{head}</operations>{own}{tail}");
        assert_eq!(merged(&text).changes, Vec::<String>::new());
    }

    fn with_lines(lines: &str, text: &str) -> Merged {
        let tree = Tree::parse(text).unwrap();
        let (site, _) = config::read(&format!("{CONFIG}{lines}")).unwrap();
        let names = find::names(&tree, &site).unwrap();
        let plan = Plan::named(&Values::from(&site), names);
        merge(&tree, &plan, Votes::default())
    }

    #[test]
    fn an_interval_that_stays_is_not_cut() {
        let fresh = merged(EMPTY).configuration.to_text();
        for (old, new) in [
            ("4s", "500ms"),
            ("4s", "1500ms"),
            ("4s", "500000us"),
            ("3s", "2500ms"),
            ("10s", "999msec"),
        ] {
            let stays = format!("interval=\"{new}\"");
            let text = fresh.replace(&format!("interval=\"{old}\""), &stays);
            let first = merged(&text);
            assert_eq!(first.changes, Vec::<String>::new(), "{new}");
            assert!(first.configuration.to_text().contains(&stays), "{new}");
            // Something else of the operation is changed.
            let other = with_lines("operation_timeout=90\n", &text);
            let changes = other.changes.join("\n");
            assert!(!changes.contains("interval"), "{new}: {changes}");
            assert!(other.configuration.to_text().contains(&stays), "{new}");
        }
    }

    #[test]
    fn no_monitor_gets_the_interval_of_another_that_stays() {
        let fresh = merged(EMPTY).configuration.to_text();
        let other = |interval: u32| {
            format!(
                "<operations><op id='other' name='monitor' interval='{interval}s' role='Stopped'/>"
            )
        };
        let with = |text: &str, interval| text.replacen("<operations>", &other(interval), 1);
        // What is kept.
        let text = with(&fresh.replace("interval=\"4s\"", "interval=\"7s\""), 7);
        let first = merged(&text);
        assert_eq!(
            first.changes,
            ["pgsql: operation monitor: interval from 7s to 4s"]
        );
        // What is usual.
        let start = fresh.find("<op id=\"pgsql-monitor-interval-4s\"").unwrap();
        let end = start + fresh[start..].find("/>").unwrap() + 2;
        let text = with(&format!("{}{}", &fresh[..start], &fresh[end..]), 4);
        let first = merged(&text);
        assert_eq!(
            first.changes,
            ["pgsql: add the operation monitor interval=5s timeout=60s"]
        );
        let again = merged(&first.configuration.to_text());
        assert_eq!(again.changes, Vec::<String>::new());
        // What is asked for.
        let asked = with_lines("monitor_interval=7\n", &with(&fresh, 7));
        assert_eq!(
            asked.changes,
            ["pgsql: operation monitor: interval from 4s to 7s"]
        );
        let told = "pgsql: the operation other has the interval of its monitor";
        assert!(
            asked.remarks.iter().any(|it| it.contains(told)),
            "{:?}",
            asked.remarks
        );
    }

    #[test]
    fn a_failure_is_not_forgotten_within_a_timeout_that_stays() {
        let fresh = merged(EMPTY).configuration.to_text();
        let long = fresh.replace(
            r#"name="start" interval="0s" timeout="60s""#,
            r#"name="start" interval="0s" timeout="1200s""#,
        );
        let of_clone = "<nvpair id=\"msPostgresql-meta_attributes-failure-timeout\" name=\"failure-timeout\" value=\"600s\"/>";
        assert!(long.contains(of_clone), "{long}");
        let unset = merged(&long.replace(of_clone, ""));
        let all = unset.changes.join("\n");
        assert!(
            all.contains("msPostgresql: set the meta attribute failure-timeout=1260s"),
            "{all}"
        );
        let again = merged(&unset.configuration.to_text());
        assert_eq!(again.changes, Vec::<String>::new());
        assert!(
            !again.remarks.join("\n").contains("msPostgresql: "),
            "{:?}",
            again.remarks
        );
        for remarks in [
            merged(&long).remarks,
            with_lines("failure_timeout=600\n", &long).remarks,
        ] {
            let all = remarks.join("\n");
            for id in ["msPostgresql", "vip-master"] {
                let told = remarks.iter().any(|it| {
                    it.starts_with(&format!("{id}: "))
                        && it.contains("failure-timeout=600")
                        && it.contains("forgotten")
                });
                assert!(told, "{id}: {all}");
            }
        }
        // Who asks for a timeout has it.
        let asked = with_lines("operation_timeout=60\n", &long).remarks;
        assert_eq!(asked, Vec::<String>::new());
    }

    #[test]
    fn what_config_ini_asks_for_is_set_and_so_is_what_the_rest_can_not_do_without() {
        let asked = |lines: &str, text: &str| {
            let tree = Tree::parse(text).unwrap();
            let (site, _) = config::read(&format!("{CONFIG}{lines}")).unwrap();
            let names = find::names(&tree, &site).unwrap();
            let plan = Plan::named(&Values::from(&site), names);
            merge(&tree, &plan, Votes::default()).changes.join("\n")
        };
        let fresh = merged(EMPTY).configuration.to_text();
        let by_hand = fresh
            .replace("interval=\"3s\"", "interval=\"29s\"")
            .replace("timeout=\"60s\"", "timeout=\"90s\"")
            .replace(
                "name=\"migration-threshold\" value=\"3\"",
                "name=\"migration-threshold\" value=\"5\"",
            )
            .replace(
                "name=\"notify\" value=\"true\"",
                "name=\"notify\" value=\"false\"",
            );
        let only = asked("", &by_hand);
        assert_eq!(
            only,
            "msPostgresql: change the meta attribute notify from false to true"
        );
        for (line, part) in [
            ("operation_timeout=60", "timeout from 90s to 60s"),
            ("promoted_monitor_interval=3", "interval from 29s to 3s"),
            ("migration_threshold=3", "migration-threshold from 5 to 3"),
            // The lock would run out between two of them.
            (
                "pgsql_enable_distlock=true\npgsql_distlock_conninfo='host=lock user=u'",
                "interval from 29s to 3s",
            ),
            // The same as the other's, which is asked for.
            ("monitor_interval=29", "interval from 29s to 3s"),
        ] {
            let changes = asked(&format!("{line}\n"), &by_hand);
            assert!(changes.contains(part), "{line}:\n{changes}");
        }
    }

    #[test]
    fn what_would_be_empty_or_without_an_end_goes_along() {
        let tree = merged(EMPTY).configuration;
        let names = plan(&tree).names;
        let text = tree.to_text();
        let at = text.find("<primitive id=\"vip-slave\"").unwrap();
        let end = at + text[at..].find("</primitive>").unwrap() + "</primitive>".len();
        let vip = &text[at..end];
        let dummy = "<primitive id='web' class='ocf' provider='heartbeat' type='Dummy'/>";
        for (around, inside, left) in [
            (("<group id='g'>", "</group>"), "", false),
            (("<group id='g'>", "</group>"), dummy, true),
            (
                ("<clone id='c'><group id='g'>", "</group></clone>"),
                "",
                false,
            ),
        ] {
            let grouped = format!("{}{vip}{inside}{}", around.0, around.1);
            let more = "<rsc_location id='l' rsc='g' node='a' score='1'/><rsc_location id='m' rsc='web' node='a' score='1'/>\
                        <rsc_order id='o' first='vip-slave' then='web'/></constraints>";
            let text = text.replace(vip, &grouped).replace("</constraints>", more);
            let tree = Tree::parse(&text).unwrap();
            let none = CONFIG.replace("reader_vip=192.0.2.10\n", "");
            let site = config::read(&none).unwrap().0;
            let retired = find::names(&tree, &site).unwrap();
            assert_eq!(retired.retired, ["vip-slave"]);
            let apply = merge(
                &tree,
                &Plan::named(&Values::from(&site), retired),
                Votes::default(),
            );
            for result in [without(&tree, &names), apply] {
                let text = result.configuration.to_text();
                let is_there = |id: &str| text.contains(&format!("id=\"{id}\""));
                for id in ["g", "l"] {
                    assert_eq!(is_there(id), left, "{id} {inside}:\n{text}");
                }
                assert!(!is_there("c") && !is_there("o") && is_there("m"), "{text}");
                let said = result.changes.join("\n");
                assert_eq!(said.contains(", in which nothing is left"), !left, "{said}");
            }
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let text = with_lines(PASSWORD, OLD).configuration.to_text();
        for part in [
            "fence1",
            "cluster-recheck-interval",
            "name=\"stonith-enabled\" value=\"true\"",
            "cli-prefer-x",
            "name=\"iflabel\" value=\"w\"",
            "name=\"target-role\" value=\"Master\"",
            "id=\"o4\"",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.contains("hush"));
    }

    #[test]
    fn somebody_elses_constraint_stays_where_its_id_is_one_of_ours() {
        let ids = [
            "order-promote-msPostgresql-start-vip-master",
            "location-vip-slave-prefers-sync",
        ];
        let theirs: String = ids
            .iter()
            .map(|id| format!("<rsc_location id='{id}' rsc='web' node='a' score='10'/>"))
            .collect();
        let text = EMPTY.replace(
            "<constraints/>",
            &format!("<constraints>{theirs}</constraints>"),
        );
        let first = merged(&text).configuration;
        let number = |tree: &Tree| tree.child("constraints").unwrap().children.len();
        assert_eq!(number(&first), number(&merged(EMPTY).configuration) + 2);
        for id in ids {
            assert_eq!(
                first.find(&|e| e.id() == id).unwrap().get("rsc"),
                Some("web")
            );
        }
        let mut all: Vec<&str> = first.all().filter_map(|e| e.get("id")).collect();
        all.sort_unstable();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
        assert_eq!(merged(&first.to_text()).changes, Vec::<String>::new());
    }

    #[test]
    fn taking_ours_out_leaves_the_rest() {
        let tree = merged(OLD).configuration;
        let names = plan(&tree).names;
        let left = without(&tree, &names).configuration;
        let text = left.to_text();
        for gone in ["msPostgresql", "vip-master", "vip-slave", "\"pgsql\""] {
            assert!(!text.contains(gone), "{gone}:\n{text}");
        }
        assert!(text.contains("fence1") && text.contains("cluster-recheck-interval"));
        assert_eq!(without(&left, &names).changes, Vec::<String>::new());
    }

    #[test]
    fn what_was_chosen_and_config_ini_does_not_name_is_told_and_stays() {
        let fresh = merged(EMPTY).configuration.to_text();
        for (old, new, told) in [
            (
                r#"name="on_divergence" value="rewind_or_rebuild""#,
                r#"name="on_divergence" value="stop""#,
                "on_divergence=stop stays",
            ),
            (
                r#"name="master_ip" value="192.0.2.9""#,
                r#"name="master_ip" value="192.0.2.20""#,
                "master_ip=192.0.2.20 stays",
            ),
            (
                r#"value="keepalives_idle=60 keepalives_interval=5 keepalives_count=5""#,
                r#"value="sslmode=verify-full""#,
                "primary_conninfo_opt=… stays",
            ),
            (
                r#"name="rep_mode" value="sync""#,
                r#"name="rep_mode" value="async""#,
                "rep_mode=async stays",
            ),
        ] {
            assert!(fresh.contains(old), "{old}:\n{fresh}");
            let merged = merged(&fresh.replace(old, new));
            assert_eq!(merged.changes, Vec::<String>::new(), "{new}");
            let remarks = merged.remarks.join("\n");
            assert!(remarks.contains(told), "{told}: {remarks}");
        }
    }

    #[test]
    fn what_restarts_the_servers_says_so() {
        let fresh = merged(EMPTY).configuration.to_text();
        let lines = "pgsql_pgport=5433\npgsql_stop_escalate=20\nmonitor_interval=7\n";
        assert_eq!(
            with_lines(lines, &fresh).changes,
            [
                "pgsql: set pgport=5433 (restarts every server)",
                "pgsql: set stop_escalate=20",
                "pgsql: operation monitor: interval from 4s to 7s",
            ]
        );
        let ported = with_lines("pgsql_pgport=5433\n", &fresh)
            .configuration
            .to_text();
        assert_eq!(
            with_lines("pgsql_pgport=\n", &ported).changes,
            ["pgsql: remove pgport (restarts every server)"]
        );
        // Where it is made, or stopped for another agent, nothing is restarted.
        for text in [EMPTY, OLD] {
            let all = with_lines(lines, text).changes.join("\n");
            assert!(!all.contains("restarts"), "{all}");
        }
    }

    const OTHER: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.19\nreader_vip=192.0.2.20\npgsql_pgctl=/bin/pg_ctl\n\
                         pgsql_pgdata=/data2\npgsql_pgport=5433\npgsql_repuser=repl\n";

    #[test]
    fn the_config_ini_of_another_database_changes_none_that_is_there() {
        let site = |text: &str| config::read(text).unwrap().0;
        let fresh = merged(EMPTY).configuration;
        let old = Tree::parse(OLD).unwrap();
        for tree in [&fresh, &old] {
            let why = find::names(tree, &site(OTHER)).unwrap_err();
            for part in [
                "pgsql",
                "/data ",
                "192.0.2.9,",
                "/data2",
                "192.0.2.19",
                "resource_name",
            ] {
                assert!(why.contains(part), "{part}: {why}");
            }
            // One of the two may change.
            for line in ["pgsql_pgdata=/data2", "pgsql_pgdata=/data"] {
                let is_data = line.ends_with("data2");
                let address = if is_data { "192.0.2.9" } else { "192.0.2.19" };
                let text = OTHER
                    .replace("pgsql_pgdata=/data2", line)
                    .replace("192.0.2.19", address);
                assert!(find::names(tree, &site(&text)).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn several_databases_have_names_of_their_own() {
        let apply = |tree: &Tree, text: &str| {
            let (site, _) = config::read(text).unwrap();
            let names = find::names(tree, &site)?;
            Ok::<Merged, String>(merge(
                tree,
                &Plan::named(&Values::from(&site), names),
                Votes::default(),
            ))
        };
        let first = merged(EMPTY).configuration;
        let second = format!("{OTHER}resource_name=sales\n");
        let both = apply(&first, &second).unwrap();
        let added = both.changes.join("\n");
        for part in [
            "add the resource sales (ocf:heartbeat:expgsql) in the promotable clone sales-clone",
            "add the resource sales-vip-master (ocf:heartbeat:IPaddr2) with the address 192.0.2.19",
            "add the resource sales-vip-slave (ocf:heartbeat:IPaddr2) with the address 192.0.2.20",
        ] {
            assert!(added.contains(part), "{part}:\n{added}");
        }
        assert!(
            both.changes.iter().all(|change| change.starts_with("add ")),
            "{added}"
        );
        let both = both.configuration;
        for text in [CONFIG, second.as_str()] {
            assert_eq!(apply(&both, text).unwrap().changes, Vec::<String>::new());
        }
        let mut ids: Vec<&str> = both.all().filter_map(|e| e.get("id")).collect();
        ids.sort_unstable();
        let number = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), number);
        // Another name for what is there would start a second server on its data.
        let renamed = format!("{CONFIG}resource_name=sales\n");
        let why = apply(&first, &renamed).err().unwrap();
        assert!(why.contains("set resource_name=pgsql"), "{why}");
        // It is taken out, and the other stays.
        let (site, _) = config::read(&second).unwrap();
        let names = find::names(&both, &site).unwrap();
        assert!(without(&both, &names).configuration == first);
    }

    #[test]
    fn a_switch_that_is_written_otherwise_is_no_change() {
        let asked = |text: &str, word: &str| {
            let tree = Tree::parse(text).unwrap();
            let config = format!("{CONFIG}pgsql_enable_distlock={word}\n");
            let (site, _) = config::read(&config).unwrap();
            let names = find::names(&tree, &site).unwrap();
            let plan = Plan::named(&Values::from(&site), names);
            merge(&tree, &plan, Votes::default())
        };
        let fresh = asked(EMPTY, "off").configuration.to_text();
        let value = "name=\"enable_distlock\" value=\"false\"";
        assert!(fresh.contains(value), "{fresh}");
        let by_hand = fresh.replace(value, "name=\"enable_distlock\" value=\"No\"");
        assert_eq!(asked(&by_hand, "off").changes, Vec::<String>::new());
    }

    #[test]
    fn an_address_of_one_database_is_not_taken_for_another() {
        let site = |text: &str| config::read(text).unwrap().0;
        let first = merged(EMPTY).configuration;
        let sales = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.19\nreader_vip=192.0.2.10\npgsql_pgctl=/bin/pg_ctl\n\
                     pgsql_pgdata=/data2\npgsql_pgport=5433\npgsql_repuser=repl\nresource_name=sales\n";
        let why = find::names(&first, &site(sales)).unwrap_err();
        for part in ["vip-slave", "192.0.2.10", "msPostgresql", "reader_vip"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        let why = find::names(
            &first,
            &site(
                &sales
                    .replace("192.0.2.19", "192.0.2.11")
                    .replace("192.0.2.10", "192.0.2.9"),
            ),
        )
        .unwrap_err();
        assert!(
            why.contains("vip-master") && why.contains("reader_vip"),
            "{why}"
        );
        // A name that one of ours would have, and another database's address has.
        let own = site(&sales.replace("192.0.2.10", "192.0.2.20"));
        let names = find::names(&first, &own).unwrap();
        let plan = Plan::named(&Values::from(&own), names);
        let both = merge(&first, &plan, Votes::default()).configuration;
        let only = without(
            &both,
            &Names {
                readers: vec!["vip-slave".to_owned()],
                ..Names::default()
            },
        );
        let text = only
            .configuration
            .to_text()
            .replace("sales-vip-slave", "vip-slave");
        let tree = Tree::parse(&text).unwrap();
        let why = find::names(&tree, &site(&format!("{CONFIG}resource_name=pgsql\n"))).unwrap_err();
        assert!(
            why.contains("vip-slave") && why.contains("sales-clone"),
            "{why}"
        );
        // Nobody asks for it: it is not ours to take out.
        let none = CONFIG.replace("reader_vip=192.0.2.10\n", "resource_name=pgsql\n");
        let names = find::names(&tree, &site(&none)).unwrap();
        assert_eq!(names.retired, Vec::<String>::new());
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let six = CONFIG.replace("192.0.2.", "2001:db8::");
        let site = config::read(&six).unwrap().0;
        let plan = Plan::new(&Values::from(&site));
        let tree = Tree::parse(EMPTY).unwrap();
        let text = merge(&tree, &plan, Votes::default())
            .configuration
            .to_text();
        let text = text
            .replace("2001:db8::", "2001:DB8:0::")
            .replace("vip-", "our-");
        let tree = Tree::parse(&text).unwrap();
        let names = find::names(&tree, &site).unwrap();
        assert_eq!(names.writer, "our-master");
        assert_eq!(names.readers, ["our-slave"]);
        let plan = Plan::named(&Values::from(&site), names);
        let changes = merge(&tree, &plan, Votes::default()).changes;
        assert_eq!(changes, Vec::<String>::new());
    }

    #[test]
    fn a_database_is_known_by_either_of_its_addresses() {
        let site = |text: &str| config::read(text).unwrap().0;
        let apart = format!("{CONFIG}pgsql_master_ip=10.0.0.1\n");
        let own = site(&apart);
        let plan = Plan::new(&Values::from(&own));
        let tree = Tree::parse(EMPTY).unwrap();
        let tree = merge(&tree, &plan, Votes::default()).configuration;
        let moved = apart.replace("=/data", "=/data2");
        for text in [
            moved.clone(),
            moved.replace("10.0.0.1", "10.0.0.2"),
            moved.replace("192.0.2.9", "192.0.2.8"),
            CONFIG.replace("=/data", "=/data2"),
        ] {
            assert!(find::names(&tree, &site(&text)).is_ok(), "{text}");
        }
        let other = moved
            .replace("10.0.0.1", "10.0.0.2")
            .replace("192.0.2.9", "192.0.2.8");
        let why = find::names(&tree, &site(&other)).unwrap_err();
        assert!(why.contains("another database"), "{why}");
        // Under another name it would be a second one with the same.
        for (address, text) in [
            ("10.0.0.1", moved.replace("192.0.2.9", "192.0.2.8")),
            ("192.0.2.9", moved.replace("10.0.0.1", "10.0.0.2")),
        ] {
            let text = format!("{text}resource_name=sales\n");
            let why = find::names(&tree, &site(&text)).unwrap_err();
            assert!(
                why.contains("set resource_name=pgsql") && why.contains(address),
                "{why}"
            );
        }
    }

    #[test]
    fn names_that_the_cluster_has_are_kept_and_what_is_in_the_way_is_named() {
        let text = OLD
            .replace("id='pgsql'", "id='db'")
            .replace("msPostgresql", "db-clone")
            .replace("vip-master", "writer");
        let names = plan(&Tree::parse(&text).unwrap()).names;
        assert_eq!(
            (
                names.resource.as_str(),
                names.clone.as_str(),
                names.writer.as_str()
            ),
            ("db", "db-clone", "writer")
        );
        let site = config::read("node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\npgsql_pgctl=/b\npgsql_pgdata=/d\npgsql_repuser=r\n").unwrap().0;
        for (resources, part) in [
            (
                "<primitive id='pgsql' class='ocf' provider='heartbeat' type='Dummy'/>",
                "no PostgreSQL resource",
            ),
            (
                "<primitive id='pgsql' class='ocf' provider='heartbeat' type='pgsql'/>",
                "not in a clone",
            ),
            (
                "<group id='g'><primitive id='pgsql' class='ocf' provider='heartbeat' type='pgsql'/></group>",
                "in the group g",
            ),
            (
                "<primitive id='vip-master' class='ocf' provider='heartbeat' type='Dummy'/>",
                "no IPaddr2",
            ),
            (
                "<clone id='x'><primitive id='a' class='ocf' provider='heartbeat' type='pgsql'/></clone>\
                 <clone id='y'><primitive id='b' class='ocf' provider='heartbeat' type='expgsql'/></clone>",
                "several PostgreSQL resources (a, b)",
            ),
        ] {
            let tree = Tree::parse(&EMPTY.replace(
                "<resources/>",
                &format!("<resources>{resources}</resources>"),
            ))
            .unwrap();
            let why = find::names(&tree, &site).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
