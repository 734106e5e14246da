//! The resource that a command is about, and what Pacemaker would tell its agent on this node.

use crate::model::cluster_view::{ClusterView, NodeKind};
use crate::model::node_name::NodeName;
use crate::ocf::{OcfEnv, Vars};
use crate::pacemaker::resources::Resource;
use crate::params::{Params, Resolved, check_consistency};

use super::Failure;

/// The agent's name, the last part of `ocf:heartbeat:expgsql`.
pub(super) const AGENT: &str = "expgsql";

/// The one resource there is, or the one that is wanted; a clone's name stands for what is in it.
///
/// # Errors
/// [`Failure`]: none, or several and nothing said which.
pub(super) fn choose(found: Vec<Resource>, wanted: Option<&str>) -> Result<Resource, Failure> {
    let names: Vec<String> = found.iter().map(|r| r.name.to_string()).collect();
    let names = names.join(", ");
    let is_wanted = |resource: &Resource| {
        wanted.is_none_or(|wanted| {
            let clone = resource.clone.as_ref().map(|clone| clone.name.as_str());
            resource.name.as_str() == wanted || clone == Some(wanted)
        })
    };
    let mut wanted_ones = found.into_iter().filter(is_wanted);
    match (wanted_ones.next(), wanted_ones.next(), wanted) {
        (Some(one), None, _) => Ok(one),
        (Some(_), Some(_), _) => Err(Failure::plain(format!(
            "the cluster has several resources of the agent {AGENT} ({names}): name one with --resource"
        ))),
        (None, _, Some(wanted)) if !names.is_empty() => Err(Failure::plain(format!(
            "the cluster has no resource {wanted:?} of the agent {AGENT}; it has {names}"
        ))),
        (None, ..) => Err(Failure::plain(format!(
            "the cluster has no resource of the agent {AGENT}: there is nothing that this command could work on"
        ))),
    }
}

/// A call of the agent on `me`, as Pacemaker would make it.
///
/// # Errors
/// [`Failure`] with the first thing that is wrong with the parameters: what is read wrong must not be written to.
pub(super) fn call(
    resource: &Resource,
    me: &NodeName,
    view: &ClusterView,
) -> Result<(OcfEnv, Params), Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::plain(format!("resource {}: {what}", resource.name))
    };
    let (env, params, problem) = readable(resource, me, view).map_err(|error| wrong(&error))?;
    match problem {
        Some(problem) => Err(wrong(&problem)),
        None => Ok((env, params)),
    }
}

/// The same for who only looks: with the parameters that can be read, and the first that can't.
///
/// # Errors
/// What makes the call impossible altogether.
pub(super) fn readable(
    resource: &Resource,
    me: &NodeName,
    view: &ClusterView,
) -> Result<(OcfEnv, Params, Option<String>), String> {
    let vars = vars(resource, me, view);
    let env = OcfEnv::from_vars(&vars).map_err(|error| error.to_string())?;
    let Resolved {
        params,
        mut problems,
    } = Params::resolve(&vars);
    problems.extend(check_consistency(&params, &env).err());
    let problem = problems.first().map(ToString::to_string);
    Ok((env, params, problem))
}

fn vars(resource: &Resource, me: &NodeName, view: &ClusterView) -> Vars {
    let text = str::to_owned;
    let mut all = vec![
        (text("OCF_RESOURCE_INSTANCE"), resource.name.to_string()),
        (text("OCF_RESKEY_CRM_meta_on_node"), me.to_string()),
    ];
    let parameters = resource.parameters.iter();
    all.extend(parameters.map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone())));
    if let Some(clone) = &resource.clone {
        let given = |name: &str| clone.meta.get(name).cloned();
        let members = view.nodes.values().filter(|n| n.kind == NodeKind::Member);
        let clone_max = given("clone-max").unwrap_or_else(|| members.count().to_string());
        all.push((text("OCF_RESKEY_CRM_meta_clone_max"), clone_max));
        if clone.is_promotable {
            let max = given("promoted-max").or_else(|| given("master-max"));
            all.push((
                text("OCF_RESKEY_CRM_meta_promoted_max"),
                max.unwrap_or_else(|| text("1")),
            ));
        }
        all.extend(given("notify").map(|flag| (text("OCF_RESKEY_CRM_meta_notify"), flag)));
    }
    Vars::new(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ocf::Promotable;
    use crate::pacemaker::{cib, resources};
    use crate::params::RepMode;

    const THREE: &str = include_str!("../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
    const HANDMADE: &str = include_str!("../../tests/fixtures/cib/resources-handmade.xml");

    fn chosen(cib: &str, wanted: Option<&str>) -> Result<String, String> {
        choose(resources::of_agent(cib, AGENT).unwrap(), wanted)
            .map(|resource| resource.name.to_string())
            .map_err(|failure| failure.why)
    }

    #[test]
    fn one_resource_needs_no_name_and_several_do() {
        for (cib, wanted, expected) in [
            (THREE, None, Ok("pgsql")),
            (THREE, Some("pgsql"), Ok("pgsql")),
            (THREE, Some("msPostgresql"), Ok("pgsql")),
            (THREE, Some("vip-master"), Err("it has pgsql")),
            (THREE, Some("pg"), Err("no resource \"pg\"")),
            (HANDMADE, None, Err("(db, other): name one with --resource")),
            (HANDMADE, Some("other"), Ok("other")),
            (HANDMADE, Some("db-clone"), Ok("db")),
        ] {
            match (chosen(cib, wanted), expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (got, _) => panic!("{wanted:?}: {got:?}"),
            }
        }
        let none = THREE.replace("type=\"expgsql\"", "type=\"pgsql\"");
        assert!(
            chosen(&none, None)
                .unwrap_err()
                .contains("no resource of the agent")
        );
    }

    #[test]
    fn the_agent_gets_what_pacemaker_would_give_it() {
        let resource = resources::of_agent(THREE, AGENT).unwrap().remove(0);
        let view = cib::parse(THREE).unwrap();
        let me = NodeName::new("node3").unwrap();
        let (env, params) = call(&resource, &me, &view).unwrap();
        assert_eq!(env.resource, "pgsql");
        assert_eq!(env.node.as_deref(), Some("node3"));
        assert_eq!(env.clone.promotable, Promotable::Yes);
        assert_eq!(env.clone.promoted_max, Some(1));
        assert_eq!(env.clone.clone_max, Some(3));
        assert!(env.clone.notify && env.is_probe());
        assert_eq!(params.pgdata, Path::new("/var/lib/pgsql/data"));
        assert_eq!(params.rep_mode, RepMode::Sync);
        assert_eq!(params.node_list, ["node1", "node2", "node3"]);
    }

    #[test]
    fn a_wrong_parameter_is_named_before_anything_is_done() {
        let bad = THREE.replace("value=\"/var/lib/pgsql/data\"", "value=\"data\"");
        let resource = resources::of_agent(&bad, AGENT).unwrap().remove(0);
        let view = cib::parse(&bad).unwrap();
        let me = NodeName::new("node3").unwrap();
        let why = call(&resource, &me, &view).unwrap_err().why;
        assert!(
            why.starts_with("resource pgsql: pgdata=\"data\" is not"),
            "{why}"
        );
    }
}
