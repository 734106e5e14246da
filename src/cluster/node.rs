//! The cluster as a command on this node sees it.

use crate::model::cluster_view::ClusterView;
use crate::model::node_name::NodeName;
use crate::ocf::OcfEnv;
use crate::pacemaker::cib::{self, Cib};
use crate::pacemaker::resources::{self, Resource};
use crate::params::Params;
use crate::sys::{Command, Deadline};
use crate::timing;

use super::{Exit, Failure, resource};

/// What every command starts from.
pub(super) struct Here {
    pub(super) me: NodeName,
    pub(super) view: ClusterView,
    pub(super) resource: Resource,
    /// What Pacemaker would tell the agent on this node.
    pub(super) env: OcfEnv,
    pub(super) params: Params,
}

impl Here {
    /// Reads the CIB, finds the resource that is meant, and this node's name.
    ///
    /// # Errors
    /// [`Failure`]: not root, no cluster, no such resource, parameters that can't be used.
    pub(super) fn look(wanted: Option<&str>) -> Result<Self, Failure> {
        let (cib, view) = read()?;
        let found = resources::of_agent(&cib, resource::AGENT).map_err(unreachable)?;
        let me = own_name()?;
        let resource = resource::choose(found, wanted)?;
        let (env, params) = resource::call(&resource, &me, &view)?;
        Ok(Self {
            me,
            view,
            resource,
            env,
            params,
        })
    }
}

/// The CIB's text, and what it says.
///
/// # Errors
/// [`Failure`]: not root; [`Exit::Unreachable`].
pub(super) fn read() -> Result<(String, ClusterView), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::plain(
            "run this as root: it speaks to Pacemaker, and works on the data directory as the server's owner",
        ));
    }
    let cib = Cib::live()
        .read_text(Deadline::after(timing::CIB_READ))
        .map_err(unreachable)?;
    let view = cib::parse(&cib).map_err(unreachable)?;
    Ok((cib, view))
}

/// The CIB of now.
///
/// # Errors
/// [`Exit::Unreachable`].
pub(super) fn view() -> Result<ClusterView, Failure> {
    cib::read(Deadline::after(timing::CIB_READ)).map_err(unreachable)
}

/// Waits until Pacemaker has done what it is about to do, or for [`timing::SETTLE_BEFORE`] where it does not come to rest.
pub(crate) fn settle() {
    let _ = Command::new("crm_resource")
        .arg("--wait")
        .arg(format!("--timeout={}s", timing::SETTLE_BEFORE.as_secs()))
        .run(Deadline::after(timing::SETTLE_BEFORE * 2));
}

pub(super) fn unreachable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unreachable, error)
}

pub(super) fn own_name() -> Result<NodeName, Failure> {
    let output = Command::new("crm_node")
        .arg("--name")
        .run(Deadline::after(timing::CIB_READ))
        .map_err(|error| {
            unreachable(format!(
                "this node's name in the cluster is not known: {error}"
            ))
        })?;
    NodeName::new(output.stdout_text().trim()).map_err(unreachable)
}
