//! What every action starts from.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::decide::barred::{Lists, sync_order};
use crate::decide::eligibility::Promise;
use crate::log::say;
use crate::model::cluster_view::{
    ClusterProperty, ClusterView, NodeKind, PermanentAttribute, ResourceName,
};
use crate::model::node_name::NodeName;
use crate::model::repl_info::ReplInfo;
use crate::model::status::DataStatus;
use crate::model::sync_names::StandbyName;
use crate::ocf::{OcfCode, OcfEnv, Outcome};
use crate::pacemaker::cib;
use crate::params::{Params, RepMode};
use crate::postgres::control;
use crate::postgres::entry::{Entered, Entrance, Guise};
use crate::postgres::process::{self, Postmaster, Running};
use crate::postgres::programs::Programs;
use crate::postgres::server::Launch;
use crate::postgres::session::{Session, SqlError};
use crate::sys::{Deadline, Owner, OwnerError};
use crate::timing;

use crate::agent::launched::Launched;
use crate::agent::step::{Step, failed};

/// One call of the agent.
pub(crate) struct Context<'a> {
    pub(crate) params: &'a Params,
    pub(crate) env: &'a OcfEnv,
    pub(crate) resource: ResourceName,
    pub(crate) me: NodeName,
    pub(crate) owner: Owner,
    /// There is no such account by the name service, and `owner` is that of the server that runs.
    unknown_account: Option<Outcome>,
    /// Before Pacemaker's own timeout.
    pub(crate) deadline: Deadline,
    /// The last start of this call.
    pub(crate) launched: Rc<RefCell<Option<Launched>>>,
    /// The CIB as this call read it last.
    last_view: Rc<RefCell<Option<ClusterView>>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(env: &'a OcfEnv, params: &'a Params) -> Step<Self> {
        let allowed = env.timeout.unwrap_or(timing::BY_HAND);
        let reserve = timing::RESERVE.min(allowed / 5);
        let deadline = Deadline::after(allowed.saturating_sub(reserve));
        let (owner, unknown_account) = owner(params, deadline.min(allowed / 3))?;
        let euid = nix::unistd::geteuid();
        if !euid.is_root() && euid != owner.uid {
            return Err(failed(format!(
                "run as root, or as {}: user id {euid} may not act for the server",
                owner.name
            )));
        }
        let resource = ResourceName::new(&env.resource)
            .ok_or_else(|| failed("OCF_RESOURCE_INSTANCE is empty"))?;
        Ok(Self {
            params,
            env,
            resource,
            me: own_name(env)?,
            owner,
            unknown_account,
            deadline,
            launched: Rc::default(),
            last_view: Rc::default(),
        })
    }

    /// The same call with less time.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self {
            params: self.params,
            env: self.env,
            resource: self.resource.clone(),
            me: self.me.clone(),
            owner: self.owner.clone(),
            unknown_account: self.unknown_account.clone(),
            deadline: self.deadline.min(limit),
            launched: Rc::clone(&self.launched),
            last_view: Rc::clone(&self.last_view),
        }
    }

    /// What a commit means here; only asked in the modes that have a primary to promote.
    pub(crate) fn promise(&self) -> Promise {
        match self.params.rep_mode {
            RepMode::Sync => Promise::Sync,
            RepMode::Async | RepMode::Slave | RepMode::None => Promise::Async,
        }
    }

    /// Whether Pacemaker promotes and demotes this resource.
    pub(crate) fn is_promotable(&self) -> bool {
        self.params.rep_mode.is_promotable()
    }

    /// Whether there is a row of a lock service that says who may be promoted. A lock command knows no such thing.
    pub(crate) fn has_lock_row(&self) -> bool {
        self.params.enable_distlock && self.params.distlock_conninfo.is_some()
    }

    pub(crate) fn pgdata(&self) -> &Path {
        &self.params.pgdata
    }

    /// The server's own programs.
    pub(crate) fn programs(&self) -> Programs {
        Programs::new(&self.params.pgctl, &self.params.pglibs, &self.owner)
    }

    /// The major version that the data directory is of; `None` where there is none.
    pub(crate) fn data_version(&self) -> Option<u32> {
        control::major_version(self.pgdata())
    }

    pub(crate) fn tmp(&self, file: &str) -> PathBuf {
        self.params.tmpdir.join(file)
    }

    pub(crate) fn postmaster(&self) -> Step<Postmaster> {
        let seen = process::postmaster_of(self.pgdata(), &self.owner);
        seen.map_err(|error| {
            failed(format!(
                "cannot tell whether PostgreSQL runs: {}: {error}",
                self.pgdata().display()
            ))
        })
    }

    pub(crate) fn launch(&self) -> Launch {
        let p = self.params;
        Launch {
            pgdata: p.pgdata.clone(),
            config: p.config.clone(),
            logfile: p.logfile.clone(),
            port: p.pgport,
            host: p.pghost.clone(),
            socket_dirs: p.socketdir.clone(),
            start_opt: p.start_opt_quoted(),
            ctl_opt: p.ctl_opt.clone(),
        }
    }

    /// The longest that one query may take now.
    pub(crate) fn query_limit(&self) -> Duration {
        self.params
            .query_timeout
            .min(self.deadline.remaining())
            .max(Duration::from_millis(100))
    }

    /// Connects as the user that monitoring is set up for, and says why it is not in the way that is configured.
    pub(crate) fn enter(&self, running: &Running) -> Result<Entered, SqlError> {
        self.enter_as(running, Guise::Monitor)
    }

    /// Connects as the user that monitoring is set up for, or in whichever way there is.
    pub(crate) fn connect(&self, running: &Running) -> Result<Session, SqlError> {
        self.enter(running).map(|entered| entered.session)
    }

    /// As [`Self::connect`], for what is only worth a little of the time that there is: also a server that works on the login is not
    /// waited for beyond `limit`.
    pub(crate) fn connect_within(
        &self,
        running: &Running,
        limit: Duration,
    ) -> Result<Session, SqlError> {
        let entrance = Entrance::new(self.params, running, &self.owner, Guise::Monitor);
        let limit = self.query_limit().min(limit);
        entrance.enter(limit, limit).map(|entered| entered.session)
    }

    /// Connects as the instance's owner, for what only a superuser may do.
    pub(crate) fn connect_as_owner(&self, running: &Running) -> Result<Session, SqlError> {
        let entered = self.enter_as(running, Guise::Owner)?;
        Ok(entered.session)
    }

    fn enter_as(&self, running: &Running, guise: Guise) -> Result<Entered, SqlError> {
        let entrance = Entrance::new(self.params, running, &self.owner, guise);
        let limit = self.query_limit();
        entrance.enter(limit, self.deadline.remaining().max(limit))
    }

    /// The CIB as this node has it.
    pub(crate) fn cluster(&self) -> Step<ClusterView> {
        let view = cib::read(self.deadline.min(timing::CIB_READ)).map_err(failed)?;
        self.last_view.replace(Some(view.clone()));
        Ok(view)
    }

    /// What [`Self::cluster`] gave last in this call.
    pub(crate) fn last_view(&self) -> Option<ClusterView> {
        self.last_view.borrow().clone()
    }

    /// The last promotion.
    pub(crate) fn record(&self, view: &ClusterView) -> Step<Option<ReplInfo>> {
        let text = view.cluster_property(ClusterProperty::ReplInfo, &self.resource);
        text.map(|text| text.parse().map_err(failed)).transpose()
    }

    /// What the primary recorded about `node`.
    pub(crate) fn data_status(
        &self,
        view: &ClusterView,
        node: &NodeName,
    ) -> Step<Option<DataStatus>> {
        let text = view
            .node(node)
            .and_then(|n| n.permanent(PermanentAttribute::DataStatus, &self.resource));
        text.map(|text| {
            text.parse()
                .map_err(|e| failed(format!("{node}: {e}; correct it with crm_attribute")))
        })
        .transpose()
    }

    /// Whether one of `nodes`, as Pacemaker lists them, is this one.
    pub(crate) fn is_among(&self, nodes: &[String]) -> bool {
        nodes
            .iter()
            .any(|node| node.eq_ignore_ascii_case(self.me.as_str()))
    }

    /// Whether the account is one that something could be started for.
    pub(crate) fn require_account(&self) -> Step<()> {
        self.unknown_account.clone().map_or(Ok(()), Err)
    }

    /// Every node this resource replicates among, this one included: node_list, or all nodes of
    /// the cluster.
    pub(crate) fn replicas(&self, view: &ClusterView) -> Vec<NodeName> {
        let listed = &self.params.node_list;
        let is_replica = |name: &NodeName| {
            listed.is_empty() || listed.iter().any(|l| l.eq_ignore_ascii_case(name.as_str()))
        };
        let members = view
            .nodes
            .values()
            .filter(|n| n.kind == NodeKind::Member && is_replica(&n.name));
        members.map(|n| n.name.clone()).collect()
    }

    /// [`Self::replicas`] without this node.
    pub(crate) fn peers(&self, view: &ClusterView) -> Vec<NodeName> {
        self.replicas(view)
            .into_iter()
            .filter(|name| *name != self.me)
            .collect()
    }

    /// What the parameters say about nodes.
    pub(crate) fn lists(&self) -> Lists<'a> {
        Lists {
            nofailover: &self.params.nofailover_node_list,
            sync: &self.params.sync_node_list,
        }
    }

    /// For whom commits may wait, the best first; empty: for all.
    pub(crate) fn sync_order(&self, view: &ClusterView) -> Vec<StandbyName> {
        let peers: Vec<StandbyName> = self
            .peers(view)
            .iter()
            .map(|n| n.lower().to_owned())
            .collect();
        sync_order(&self.params.sync_node_list, &peers)
    }

    /// Names that standbys outside the cluster connect with.
    pub(crate) fn outside(&self) -> Vec<StandbyName> {
        self.params
            .external_standby_node_list
            .iter()
            .map(|n| n.to_lowercase())
            .collect()
    }
}

/// The account that pgdba names. Where the name service does not say, or says that there is none, which some do while they are restarted,
/// that of the server that runs, and why: the server is none the less well.
fn owner(params: &Params, limit: Deadline) -> Step<(Owner, Option<Outcome>)> {
    let error = match Owner::lookup_by(&params.pgdba, limit) {
        Ok(owner) => return Ok((owner, None)),
        Err(error) => error,
    };
    let code = match error {
        OwnerError::Unknown(_) => OcfCode::ErrInstalled,
        OwnerError::Lookup { .. } | OwnerError::Silent { .. } => OcfCode::ErrGeneric,
    };
    let failure = Outcome::because(code, format!("pgdba: {error}"));
    if let Ok(Postmaster::Running(running)) = process::postmaster(&params.pgdata)
        && let Ok(Some(owner)) = running.owner(&params.pgdba)
    {
        say!(
            WARN,
            "the account of the server that runs is used",
            reason = error
        );
        let is_unknown = matches!(error, OwnerError::Unknown(_));
        return Ok((owner, is_unknown.then_some(failure)));
    }
    Err(failure)
}

/// Pacemaker says the name in every call; by hand the host's own name has to do.
fn own_name(env: &OcfEnv) -> Step<NodeName> {
    let name = match &env.node {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()
            .map_err(failed)?
            .to_string_lossy()
            .into_owned(),
    };
    NodeName::new(name).map_err(failed)
}
