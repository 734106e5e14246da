//! What a repair will do to this node, in words, before it is done.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::decide::divergence::{Misfit, by_record};
use crate::decide::repair_refusal::{Facts, Refusal, repair_source};
use crate::model::cluster_view::{
    ClusterProperty, NodeView, PermanentAttribute, TransientAttribute, parse_bool,
};
use crate::model::node_name::NodeName;
use crate::model::progress::Bytes;
use crate::model::status::{DataStatus, NodeStatus, SyncState};
use crate::params::RepMode;
use crate::postgres::process::{Postmaster, postmaster};
use crate::postgres::programs::Programs;
use crate::postgres::{control, wal};
use crate::sys::{Deadline, Owner};
use crate::timing;

use crate::cluster::node::Here;
use crate::cluster::repair::strategy::Strategy;
use crate::cluster::{Exit, Failure};

/// Who has taken this node's server out of Pacemaker's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandsOff {
    /// maintenance-mode of the cluster, maintenance of the node, or an unmanaged resource.
    Maintenance,
    /// The node is in standby: Pacemaker stops what runs there.
    Standby,
}

/// What was found, and what is going to be done.
pub(super) struct Plan {
    pub(super) strategy: Strategy,
    pub(super) primary: NodeName,
    pub(super) is_running: bool,
    pub(super) hands_off: Option<HandsOff>,
    data: Data,
    data_status: Option<DataStatus>,
    misfit: Option<Misfit>,
}

/// What is where the data directory should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    Missing,
    Empty,
    Present,
}

impl Plan {
    /// Looks at this node, and refuses what must not be.
    ///
    /// # Errors
    /// [`Failure`], with the exit code that belongs to the reason.
    pub(super) fn make(here: &Here, strategy: Strategy, force: bool) -> Result<Self, Failure> {
        let params = &here.params;
        match params.rep_mode {
            RepMode::Async | RepMode::Sync => {}
            RepMode::None | RepMode::Slave => {
                return Err(Failure::plain(format!(
                    "resource {} has rep_mode={}: its cluster has no primary that this node could follow",
                    here.resource.name, params.rep_mode
                )));
            }
        }
        let is_running = is_running(&params.pgdata)?;
        let facts = facts(here, is_running, force)?;
        let primary = repair_source(&facts).map_err(refused)?.clone();
        let data = data(&params.pgdata).map_err(Failure::plain)?;
        if data != Data::Present && strategy == Strategy::Rewind {
            return Err(Failure::plain(format!(
                "there is nothing to rewind: {} {}; expgsql cluster rebuild makes a new copy",
                params.pgdata.display(),
                data.in_words()
            )));
        }
        Ok(Self {
            strategy,
            primary,
            is_running,
            hands_off: hands_off(here),
            data,
            data_status: facts.data_status,
            misfit: if is_running || data != Data::Present {
                None
            } else {
                local_misfit(here)
            },
        })
    }

    /// The plan, for the operator to agree to.
    pub(super) fn in_words(&self, here: &Here) -> String {
        let (me, primary, name) = (&here.me, &self.primary, &here.resource.name);
        let params = &here.params;
        let pgdata = params.pgdata.display();
        let host = params.master_ip.as_deref().unwrap_or("?");
        let mut text = String::new();
        let mut line = |label: &str, what: String| {
            let _infallible = writeln!(text, "  {label:<14} {what}");
        };
        line(
            "data",
            match self.data {
                Data::Missing | Data::Empty => format!("{pgdata} {}", self.data.in_words()),
                Data::Present => pgdata.to_string(),
            },
        );
        line(
            "copied from",
            format!("{primary}, at {host} port {}", params.pgport),
        );
        line(
            "server here",
            if self.is_running {
                format!(
                    "runs; it is stopped for the repair, and started again{}",
                    self.cost()
                )
            } else {
                "does not run; it is started after the repair".to_owned()
            },
        );
        line(
            "data status",
            self.data_status.map_or_else(
                || format!("none: {primary} has never seen this node stream"),
                |status| status.to_string(),
            ),
        );
        if let Some(Misfit::Forked {
            local,
            fork,
            timeline,
            primary: successor,
        }) = &self.misfit
        {
            let past = local
                .end
                .bytes_past(*fork)
                .map_or_else(String::new, |bytes| format!(", {} past", Bytes(bytes)));
            line(
                "own WAL",
                format!("reaches {local}{past} {timeline}@{fork}, where {successor} took over"),
            );
        }
        line("destroyed", self.destroyed(&pgdata.to_string()));
        line(
            "kept",
            "this node's own configuration files in the data directory".to_owned(),
        );
        for id in &here.resource.ruled {
            line(
                "not looked at",
                format!("parameters in {id}, since a rule says when they apply"),
            );
        }
        match self.hands_off {
            None => {}
            Some(HandsOff::Maintenance) => line(
                "maintenance",
                "Pacemaker does not watch the resource here: nobody will see whether it streams afterwards"
                    .to_owned(),
            ),
            Some(HandsOff::Standby) => line(
                "standby",
                format!("the node is in standby: the server does not stay up until crm_standby --node={me} --delete"),
            ),
        }
        format!("{} {name} on {me}\n{text}", self.strategy.verb())
    }

    /// What it costs the others that the server here is stopped.
    const fn cost(&self) -> &'static str {
        match self.data_status {
            Some(DataStatus::Replicating(_, SyncState::Sync | SyncState::Quorum)) => {
                "; commits may wait for it until the primary counts on another standby"
            }
            Some(
                DataStatus::Latest
                | DataStatus::Disconnected
                | DataStatus::Replicating(_, SyncState::Async | SyncState::Potential),
            )
            | None => "",
        }
    }

    fn destroyed(&self, pgdata: &str) -> String {
        let beyond = "what only this node has written";
        match (self.strategy, self.data) {
            (_, Data::Missing | Data::Empty) => "nothing".to_owned(),
            (Strategy::Rewind, Data::Present) => format!("{beyond}, once everything is checked"),
            (Strategy::Rebuild, Data::Present) => format!(
                "all data in {pgdata} and its tablespaces, once the new copy beside them is complete"
            ),
            (Strategy::RewindOrRebuild, Data::Present) => format!(
                "{beyond}; where a rewind is impossible, all data in {pgdata} and its tablespaces, once a new copy beside them is complete"
            ),
        }
    }
}

impl Data {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Missing => "does not exist",
            Self::Empty => "is empty",
            Self::Present => "is there",
        }
    }
}

fn refused(refusal: Refusal) -> Failure {
    let exit = match &refusal {
        Refusal::NoQuorum(_) => Exit::NoQuorum,
        Refusal::NoPrimary | Refusal::SeveralPrimaries(_) => Exit::NoPrimary,
        Refusal::IsPrimary(_) | Refusal::NotAReplica(_) | Refusal::Healthy { .. } => Exit::Refused,
    };
    Failure::new(exit, refusal)
}

fn facts(here: &Here, is_running: bool, force: bool) -> Result<Facts, Failure> {
    let Here {
        me,
        view,
        resource,
        params,
        ..
    } = here;
    let name = &resource.name;
    let says_so = |node: &&NodeView| {
        let status = node.transient(TransientAttribute::Status, name);
        status.and_then(|text| text.parse().ok()) == Some(NodeStatus::Primary)
    };
    let promoted = view.promoted_nodes(name).filter(|node| node.in_membership);
    let primaries: BTreeSet<NodeName> = promoted
        .chain(view.members().filter(says_so))
        .map(|node| node.name.clone())
        .collect();
    let recorded = view
        .node(me)
        .and_then(|node| node.permanent(PermanentAttribute::DataStatus, name));
    let data_status = recorded
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| Failure::plain(format!("{me}: {error}; correct it with crm_attribute")))?;
    let listed = &params.node_list;
    Ok(Facts {
        me: me.clone(),
        quorum: view.quorum,
        primaries: primaries.into_iter().collect(),
        is_replica: listed.is_empty() || listed.iter().any(|n| n.eq_ignore_ascii_case(me.as_str())),
        is_running,
        data_status,
        force,
    })
}

fn is_running(pgdata: &Path) -> Result<bool, Failure> {
    match postmaster(pgdata) {
        Ok(Postmaster::Running(_)) => Ok(true),
        Ok(Postmaster::Stopped) => Ok(false),
        Err(error) => Err(Failure::plain(format!(
            "it can't be told whether PostgreSQL runs: {}: {error}",
            pgdata.display()
        ))),
    }
}

/// What is at the place of the data directory.
///
/// # Errors
/// In words: it is something that must not be taken for one, or can't be looked at.
fn data(pgdata: &Path) -> Result<Data, String> {
    let shown = pgdata.display();
    let mut entries = match std::fs::read_dir(pgdata) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Data::Missing),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(format!(
                "{shown} is not a directory: it is left alone; correct pgdata"
            ));
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if entries.next().is_none() {
        Ok(Data::Empty)
    } else {
        Ok(Data::Present)
    }
}

/// How far this node's own WAL goes past the last fork; `None` also where that can't be told.
fn local_misfit(here: &Here) -> Option<Misfit> {
    let params = &here.params;
    let record = here
        .view
        .cluster_property(ClusterProperty::ReplInfo, &here.resource.name)?
        .parse()
        .ok()?;
    let owner = Owner::lookup(&params.pgdba).ok()?;
    let programs = Programs::new(&params.pgctl, &params.pglibs, &owner);
    let deadline = Deadline::after(timing::CIB_READ);
    let control = control::read(&programs, &params.pgdata, deadline).ok()?;
    let local = wal::end(&programs, &params.pgdata, &control, deadline).ok()?;
    by_record(&here.me, Some(&record), &local.position)
}

fn hands_off(here: &Here) -> Option<HandsOff> {
    let is_on = |text: Option<&str>| text.and_then(parse_bool) == Some(true);
    let node = here.view.node(&here.me)?;
    if is_on(node.permanent.get("standby")) || is_on(node.transient.get("standby")) {
        return Some(HandsOff::Standby);
    }
    let is_unwatched = is_on(here.view.property("maintenance-mode"))
        || is_on(node.permanent.get("maintenance"))
        || is_on(node.transient.get("maintenance"))
        || !here.resource.is_managed();
    is_unwatched.then_some(HandsOff::Maintenance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::resource;
    use crate::model::cluster_view::Quorum;
    use crate::pacemaker::{cib, resources};

    const THREE: &str = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");

    fn here(cib: &str, me: &str, pgdata: &Path) -> Here {
        let pgdata = format!("value=\"{}\"", pgdata.display());
        let cib = cib.replace("value=\"/var/lib/pgsql/data\"", &pgdata);
        let view = cib::parse(&cib).unwrap();
        let resource = resources::of_agent(&cib, resource::AGENT)
            .unwrap()
            .remove(0);
        let me = NodeName::new(me).unwrap();
        let (env, params) = resource::call(&resource, &me, &view).unwrap();
        Here {
            me,
            view,
            resource,
            env,
            params,
        }
    }

    fn plan(cib: &str, me: &str, pgdata: &Path, strategy: Strategy) -> Result<Plan, Failure> {
        Plan::make(&here(cib, me, pgdata), strategy, false)
    }

    #[test]
    fn the_facts_are_those_of_the_cib() {
        let dir = tempfile::tempdir().unwrap();
        for (me, data_status) in [
            ("node1", "LATEST"),
            ("node2", "STREAMING|ASYNC"),
            ("node3", "STREAMING|SYNC"),
        ] {
            let facts = facts(&here(THREE, me, dir.path()), true, false).unwrap();
            assert_eq!(facts.quorum, Quorum::Yes);
            assert_eq!(facts.primaries, [NodeName::new("node1").unwrap()]);
            assert_eq!(facts.data_status, Some(data_status.parse().unwrap()));
            assert!(facts.is_replica && facts.is_running);
        }
        let other = THREE.replace("node1 node2 node3", "node1 node2");
        assert!(
            !facts(&here(&other, "node3", dir.path()), true, false)
                .unwrap()
                .is_replica
        );
    }

    #[test]
    fn refusals_have_the_exit_codes_of_the_older_scripts() {
        let dir = tempfile::tempdir().unwrap();
        let slave = THREE
            .replace("value=\"sync\"", "value=\"slave\"")
            .replace(
                "name=\"promotable\" value=\"true\"",
                "name=\"promotable\" value=\"false\"",
            )
            .replace(
                "name=\"promoted-max\" value=\"1\"",
                "name=\"x\" value=\"1\"",
            );
        for (cib, me, exit) in [
            (THREE.to_owned(), "node1", Exit::Refused),
            (
                THREE.replace("have-quorum=\"1\"", "have-quorum=\"0\""),
                "node3",
                Exit::NoQuorum,
            ),
            (
                THREE.replace("node1 node2 node3", "node1 node2"),
                "node3",
                Exit::Refused,
            ),
            (
                THREE
                    .replace(
                        "name=\"pgsql-status\" value=\"PRI\"",
                        "name=\"pgsql-status\" value=\"STOP\"",
                    )
                    .replace("operation=\"promote\"", "operation=\"demote\"")
                    .replace("rc-code=\"8\"", "rc-code=\"0\""),
                "node3",
                Exit::NoPrimary,
            ),
            (slave, "node3", Exit::Failed),
            (
                THREE.replace("STREAMING|SYNC", "nonsense"),
                "node3",
                Exit::Failed,
            ),
        ] {
            let failure = plan(&cib, me, dir.path(), Strategy::Rebuild).err();
            assert_eq!(failure.map(|f| f.exit), Some(exit));
        }
    }

    #[test]
    fn the_plan_says_what_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let full = dir.path().join("full");
        std::fs::create_dir(&full).unwrap();
        std::fs::write(full.join("PG_VERSION"), "15\n").unwrap();
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let missing = dir.path().join("missing");
        for (pgdata, strategy, parts) in [
            (
                &full,
                Strategy::Rewind,
                &["Rewind pgsql on node3\n", "what only this node has written"][..],
            ),
            (
                &full,
                Strategy::Rebuild,
                &[
                    "Rebuild pgsql on node3\n",
                    "all data in",
                    "node1, at 10.77.0.100 port 5432",
                ],
            ),
            (
                &full,
                Strategy::RewindOrRebuild,
                &["Repair pgsql", "where a rewind is impossible"],
            ),
            (
                &empty,
                Strategy::Rebuild,
                &["is empty\n", "destroyed      nothing\n"],
            ),
            (
                &missing,
                Strategy::Rebuild,
                &[
                    "does not exist\n",
                    "destroyed      nothing\n",
                    "STREAMING|SYNC",
                ],
            ),
            (
                &missing,
                Strategy::RewindOrRebuild,
                &["destroyed      nothing\n"],
            ),
        ] {
            let here = here(THREE, "node3", pgdata);
            let text = Plan::make(&here, strategy, false).unwrap().in_words(&here);
            for part in parts {
                assert!(text.contains(part), "{part:?} is missing in\n{text}");
            }
        }
        for pgdata in [&empty, &missing] {
            let failure = plan(THREE, "node3", pgdata, Strategy::Rewind)
                .err()
                .unwrap();
            assert!(failure.why.contains("nothing to rewind"), "{}", failure.why);
        }
        let file = plan(THREE, "node3", &full.join("PG_VERSION"), Strategy::Rebuild).err();
        assert!(file.unwrap().why.contains("is not a directory"));
    }

    #[test]
    fn what_pacemaker_does_not_watch_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let with = |name: &str, value: &str| {
            let pair = format!(
                "<nvpair id=\"x\" name=\"{name}\" value=\"{value}\"/></instance_attributes>\n      </node>\n    </nodes>"
            );
            let end = "</instance_attributes>\n      </node>\n    </nodes>";
            assert!(THREE.contains(end));
            THREE.replace(end, &pair)
        };
        for (cib, expected) in [
            (THREE.to_owned(), None),
            (with("standby", "on"), Some(HandsOff::Standby)),
            (with("standby", "off"), None),
            (with("maintenance", "true"), Some(HandsOff::Maintenance)),
            (
                THREE.replace(
                    "name=\"notify\" value=\"true\"",
                    "name=\"is-managed\" value=\"false\"",
                ),
                Some(HandsOff::Maintenance),
            ),
        ] {
            let here = here(&cib, "node3", dir.path());
            assert_eq!(hands_off(&here), expected);
            let text = Plan::make(&here, Strategy::Rebuild, false)
                .unwrap()
                .in_words(&here);
            assert_eq!(
                text.contains("standby "),
                expected == Some(HandsOff::Standby),
                "{text}"
            );
        }
    }
}
