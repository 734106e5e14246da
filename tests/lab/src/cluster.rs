//! A cluster: built in three steps (boot, form, configure), ended by dropping it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::crowd::Crowd;
use crate::debian::{self, Root, Suite};
use crate::error::{Error, Result};
use crate::fencing::PowerStrip;
use crate::host::Node;
use crate::network::Switch;
use crate::other_server::{self, OtherServer};
use crate::postgres::{ConfigStyle, Layout, Postgres};
use crate::process::{Cmd, ProcessId};
use crate::progress::note;
use crate::site::Site;
use crate::spec::{Agent, RepMode, Spec};
use crate::state::State;
use crate::{
    agent, corosync, fencing, machine, packages, place, poll, postgres, resources, site, ssh,
    status,
};

/// Name of the host beside the cluster: the application's.
pub const CLIENT: &str = "client";
/// Name of the lock service's host, where there is one.
pub const LOCK: &str = "lock";

/// Time for the nodes to find each other and elect.
const FORM: Duration = Duration::from_secs(90);

/// Sets up a [`Cluster`]. Three nodes, synchronous, with the stock agent, unless told otherwise.
#[derive(Clone, Debug)]
#[must_use = "nothing is built before up() or boot()"]
pub struct Builder {
    name: Option<String>,
    site: Option<Site>,
    spec: Spec,
}

impl Builder {
    /// Name of the lab; by default one that no other lab has.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Number of cluster nodes, 1 to 5.
    pub fn nodes(mut self, nodes: u8) -> Self {
        self.spec.nodes = nodes;
        self
    }

    /// Machines beside the nodes that are named and numbered like the next ones, and that no cluster knows: see [`crate::machine`].
    pub fn spares(mut self, spares: u8) -> Self {
        self.spec.spares = spares;
        self
    }

    /// Corosync's token timeout: after this time of silence a node is declared lost. Default: 3 s.
    pub fn token(mut self, token: Duration) -> Self {
        self.spec.token = token;
        self
    }

    /// The agent under test.
    pub fn agent(mut self, agent: Agent) -> Self {
        self.spec.agent = agent;
        self
    }

    /// The Debian suite of the hosts. Default: what [`debian::SUITE_VARIABLE`] says, else the machine's own.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.spec.suite = Some(suite);
        self
    }

    /// The Debian suite of one node, where the others have another. All need one PostgreSQL then: [`Builder::server`].
    pub fn suite_of(mut self, node: &str, suite: Suite) -> Self {
        self.spec.suites.insert(node.to_owned(), suite);
        self
    }

    /// A PostgreSQL that the hosts' suite does not have. Default: what [`other_server::SERVER_VARIABLE`] says, else the newest of the suite.
    pub fn server(mut self, server: OtherServer) -> Self {
        self.spec.server = Some(server);
        self
    }

    /// A PostgreSQL that the hosts have beside theirs, see [`OtherServer::programs`].
    pub fn also_server(mut self, server: OtherServer) -> Self {
        self.spec.also_server = Some(server);
        self
    }

    /// What kind of site it is. Default: what [`SITE_VARIABLE`](crate::site::SITE_VARIABLE) says, else a plain one. A scenario that
    /// itself sets what a site would set stays on the plain one by itself; one that rests on the plain one in another way says so here.
    pub fn site(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    /// Replication mode. Default: sync.
    pub fn mode(mut self, mode: RepMode) -> Self {
        self.spec.mode = mode;
        self
    }

    /// Where PostgreSQL's configuration files are. Default: in the data directory.
    pub fn style(mut self, style: ConfigStyle) -> Self {
        self.spec.style = style;
        self
    }

    /// Sets a parameter of the agent, beside or in place of the lab's own.
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.spec.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a cluster property, beside or in place of the lab's own.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.spec
            .properties
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Appends a line to every postgresql.conf.
    pub fn setting(mut self, line: &str) -> Self {
        self.spec.settings.push(line.to_owned());
        self
    }

    /// How long PostgreSQL's start, and its promotion, may take. Default: 60 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.spec.start_timeout = timeout;
        self
    }

    /// Failures of PostgreSQL on a node after which Pacemaker takes it elsewhere. Default: 3.
    pub fn migration_threshold(mut self, failures: u32) -> Self {
        self.spec.migration_threshold = failures;
        self
    }

    /// Has Pacemaker forget a node's failures after this time without another one. Default: it never does, and a node
    /// that reached the threshold is out until somebody cleans up.
    pub fn failure_timeout(mut self, time: Duration) -> Self {
        self.spec.failure_timeout = Some(time);
        self
    }

    /// Adds a fence device and enables fencing (see [`crate::fencing`]); a partition without quorum stops.
    pub fn fencing(mut self) -> Self {
        self.spec.fencing = true;
        self
    }

    /// The same with a device that switches nodes off, for as long as this process lives.
    pub fn power_strip(mut self) -> Self {
        self.spec.fencing = true;
        self.spec.power_strip = true;
        self
    }

    /// corosync's `wait_for_all` of two nodes. Default: on, as corosync has it.
    pub fn wait_for_all(mut self, on: bool) -> Self {
        self.spec.wait_for_all = on;
        self
    }

    /// Adds a third host with the lock service, and tells the agent of it (see [`crate::lock`]).
    pub fn lock_service(mut self) -> Self {
        self.spec.lock_service = true;
        self
    }

    /// Adds a quorum device, on a third host, which is called [`LOCK`] as well (see [`crate::Cluster::start_quorum_device`]); a
    /// partition without quorum stops.
    pub fn quorum_device(mut self) -> Self {
        self.spec.quorum_device = true;
        self
    }

    /// The whole way: boot, form, configure. PostgreSQL is on its way up then: see [`Cluster::wait_healthy`].
    ///
    /// # Errors
    /// Those of [`Builder::boot`], [`Cluster::form`] and [`Cluster::configure`]; what was built is gone then.
    pub fn up(self) -> Result<Cluster> {
        let cluster = self.boot()?;
        cluster.form()?;
        cluster.configure()?;
        Ok(cluster)
    }

    /// Only the hosts: booted and connected, nothing running on them. For scenarios that prepare a node first.
    ///
    /// # Errors
    /// [`Error::NotRoot`], [`Error::AlreadyUp`], or what kept a host from booting.
    pub fn boot(mut self) -> Result<Cluster> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let machines = self.spec.nodes.saturating_add(self.spec.spares);
        if self.spec.nodes < 1 || machines > 5 {
            return Err(Error::Other(format!("{machines} nodes: a lab has 1 to 5",)));
        }
        if self.spec.suite.is_none() {
            self.spec.suite = Suite::asked_for()?;
        }
        if self.spec.server.is_none() {
            self.spec.server = OtherServer::asked_for()?;
        }
        let (site, why) = site::choose(self.site, &self.spec)?;
        self.spec.site = site;
        packages::install()?;
        place::sweep()?;
        let base = place::base()?;
        debian::prepare(self.spec.suite, &base)?;
        for suite in self.spec.suites.values() {
            debian::prepare(Some(*suite), &base)?;
        }
        for server in [self.spec.server, self.spec.also_server]
            .into_iter()
            .flatten()
        {
            other_server::prepare(server, &base)?;
        }
        let name = self.name.unwrap_or_else(unused_name);
        let dir = place::of(&name)?;
        place::spread(&base);
        // create_dir, not create_dir_all: of two that start under one name, one is told.
        std::fs::create_dir(&dir).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return Error::AlreadyUp(name.clone());
            }
            Error::io(format!("create {}", dir.display()))(error)
        })?;
        place::spread(&dir);
        note(format!(
            "lab {name}: booting {} nodes and a client in {}",
            self.spec.nodes,
            dir.display()
        ));
        note(format!("site: {} ({why})", site.name()));
        let cluster = Cluster::begin(name, dir, self.spec)?;
        cluster.boot_all()?;
        Ok(cluster)
    }
}

fn unused_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "run-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A running lab. Dropping it ends every process and removes every file of it, unless it was kept.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    nodes: Vec<Node>,
    client: Node,
    lock: Option<Node>,
    switch: Switch,
    layout: Layout,
    /// Reading end of the pipe whose end is the hosts' end.
    lifeline: OwnedFd,
    /// Writing end; `None`: another process, a keeper, holds it.
    hold: Mutex<Option<OwnedFd>>,
    state: Mutex<State>,
    /// Others' sessions, where the site has them.
    crowd: Mutex<Option<Crowd>>,
    /// The power strip, where there is one.
    strip: Mutex<Option<PowerStrip>>,
}

impl Cluster {
    /// Starts a description of a new cluster.
    pub fn builder() -> Builder {
        Builder {
            name: None,
            site: None,
            spec: Spec::default(),
        }
    }

    fn begin(name: String, dir: PathBuf, spec: Spec) -> Result<Self> {
        let undo = |error: Error| {
            let _ = place::remove(&dir);
            error
        };
        let (lifeline, hold) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(Error::sys("make a pipe"))
            .map_err(undo)?;
        let base = place::base().map_err(undo)?;
        let root = Root::of(spec.suite, &base).with_server(spec.server, &base);
        let layout = Layout::find_in(&root, spec.style()).map_err(undo)?;
        let reader = lifeline
            .try_clone()
            .map_err(Error::io("duplicate a file descriptor"))
            .map_err(undo)?;
        let switch = Switch::start(&dir, reader).map_err(undo)?;
        let Hosts {
            nodes,
            client,
            lock,
        } = hosts(&spec, &dir, &base, &BTreeMap::new());
        let state = State {
            name,
            spec,
            owner: ProcessId::own(),
            keeper: None,
            switch: Some(switch.process()),
            hosts: BTreeMap::new(),
        };
        let cluster = Self {
            dir,
            nodes,
            client,
            lock,
            switch,
            layout,
            lifeline,
            hold: Mutex::new(Some(hold)),
            state: Mutex::new(state),
            crowd: Mutex::default(),
            strip: Mutex::default(),
        };
        cluster.save()?;
        Ok(cluster)
    }

    fn boot_all(&self) -> Result<()> {
        let spec = self.spec();
        let base = place::base()?;
        let template = postgres::template(&base, self.client.root(), &self.layout, spec.site)?;
        let (config, key) = (corosync::config(&spec, self.nodes()), corosync::key()?);
        for host in self.hosts() {
            self.install(host)?;
        }
        for host in self.hosts().filter(|host| !self.is_spare(host)) {
            postgres::lay_out(host, &self.layout, &template, &spec)?;
        }
        ssh::lay_out(&self.hosts().collect::<Vec<_>>())?;
        if spec.spares > 0 {
            self.machines().iter().try_for_each(machine::lay_out)?;
        }
        for node in self.nodes() {
            corosync::lay_out(node, &config, &key)?;
            agent::lay_out(node, &spec.agent)?;
            if spec.fencing {
                fencing::lay_out(node)?;
            }
            if spec.power_strip {
                fencing::lay_line(node)?;
            }
        }
        if spec.power_strip {
            let mut strip = self.strip.lock().unwrap_or_else(PoisonError::into_inner);
            *strip = Some(PowerStrip::begin(self.nodes()));
        }
        self.hosts().try_for_each(|host| self.boot_host(host))?;
        self.hosts()
            .filter(|host| !self.is_spare(host))
            .try_for_each(|host| postgres::settle(host, &self.layout, &spec))?;
        self.nodes().iter().try_for_each(corosync::prepare)?;
        self.machines()
            .iter()
            .filter(|machine| self.is_spare(machine))
            .try_for_each(corosync::prepare_directories)?;
        if spec.quorum_device {
            self.start_quorum_device()?;
        }
        if spec.lock_service {
            self.start_lock_service()?;
            self.init_lock_service()?;
        }
        Ok(())
    }

    /// An empty disk, and the names of all hosts on it.
    pub(crate) fn install(&self, host: &Node) -> Result<()> {
        let names: String = self
            .hosts()
            .map(|host| format!("{} {}\n", host.address(), host.name()))
            .collect();
        host.format_disk()?;
        let etc = host.disk("etc");
        let put = |file: &str, text: &str| {
            std::fs::write(etc.join(file), text)
                .map_err(Error::io(format!("write {file} of {}", host.name())))
        };
        put("hosts", &format!("127.0.0.1 localhost\n{names}"))?;
        put("hostname", &format!("{}\n", host.name()))
    }

    /// Boots one host and notes its pid 1.
    pub(crate) fn boot_host(&self, host: &Node) -> Result<()> {
        let lifeline = self
            .lifeline
            .try_clone()
            .map_err(Error::io("duplicate a file descriptor"))?;
        host.boot(&self.switch, lifeline)?;
        let init = host.init()?;
        ssh::start(host)?;
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hosts
            .insert(host.name().to_owned(), init);
        self.save()
    }

    /// Starts corosync and pacemaker everywhere and waits until every node is online.
    ///
    /// # Errors
    /// [`Error::Timeout`] with what the first node saw.
    pub fn form(&self) -> Result<()> {
        note("starting corosync and pacemaker");
        self.nodes()
            .iter()
            .try_for_each(|node| self.start_node(node))?;
        let all = self.nodes().len();
        poll::until(FORM, poll::slow(), || {
            let seen = status::of(&self.nodes[0]).map_err(|error| error.to_string())?;
            let online = seen
                .nodes
                .iter()
                .filter(|node| node.online && !node.pending)
                .count();
            if online == all && seen.dc.is_some() {
                Ok(())
            } else {
                Err(format!("{online} of {all} nodes online"))
            }
        })
        .map_err(|seen| self.timeout("the cluster forms", FORM, seen))?;
        note("all nodes are online");
        Ok(())
    }

    /// Has the configuration ready, so that [`Cluster::configure`] only gives it to the cluster: for those who measure.
    /// It takes `pcs` seconds to make a new one.
    ///
    /// # Errors
    /// [`Error::Failed`] from pcs.
    pub fn prepare_configuration(&self) -> Result<()> {
        resources::build(&self.nodes[0], &self.spec(), &self.layout, &place::base()?).map(drop)
    }

    /// Gives the cluster its resources.
    ///
    /// # Errors
    /// [`Error::Failed`] from pcs or cibadmin.
    pub fn configure(&self) -> Result<()> {
        let spec = self.spec();
        note(format!(
            "configuring {} (rep_mode {})",
            spec.agent.ocf_name(),
            spec.mode.as_str()
        ));
        let configuration = resources::build(&self.nodes[0], &spec, &self.layout, &place::base()?)?;
        resources::push(&self.nodes[0], &configuration)?;
        let sessions = spec.site.sessions();
        if sessions > 0 {
            let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
            *crowd = Some(Crowd::begin(self, sessions)?);
        }
        Ok(())
    }

    /// Takes hold of a lab that another process made and kept.
    ///
    /// # Errors
    /// [`Error::NotUp`].
    pub fn attach(name: &str) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let dir = place::of(name)?;
        let state = State::load(&dir).ok().filter(State::is_alive);
        let (state, switch) = state
            .and_then(|s| s.switch.filter(|p| p.is_alive()).map(|p| (s, p)))
            .ok_or_else(|| Error::NotUp {
                name: name.to_owned(),
                dir: dir.clone(),
            })?;
        // The switch reads the lifeline: hosts booted from here on get the same one.
        let path = format!("/proc/{}/fd/0", switch.pid);
        let lifeline = std::fs::File::open(&path)
            .map_err(Error::io(format!("open {path}")))?
            .into();
        let base = place::base()?;
        let root = Root::of(state.spec.suite, &base).with_server(state.spec.server, &base);
        let Hosts {
            nodes,
            client,
            lock,
        } = hosts(&state.spec, &dir, &base, &state.hosts);
        let layout = Layout::find_in(&root, state.spec.style())?;
        Ok(Self {
            dir,
            nodes,
            client,
            lock,
            switch: Switch::attach(switch),
            layout,
            lifeline,
            hold: Mutex::new(None),
            state: Mutex::new(state),
            crowd: Mutex::default(),
            strip: Mutex::default(),
        })
    }

    /// Lets the lab outlive this process; [`Cluster::attach`] finds it, [`Cluster::down`] ends it.
    ///
    /// # Errors
    /// [`Error::Io`] when the keeper can't be started.
    pub fn keep(&self) -> Result<()> {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = hold.as_ref() else {
            return Ok(());
        };
        let end = end
            .as_fd()
            .try_clone_to_owned()
            .map_err(Error::io("duplicate a file descriptor"))?;
        // No process group of its own: setsid would have to fork to leave it, and the number would be the wrong one.
        let mut command = Cmd::new(&["setsid", "sleep", "infinity"]).to_command();
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::from(end))
            .stderr(Stdio::null());
        let child = command.spawn().map_err(Error::io("start the keeper"))?;
        let keeper = ProcessId::of(child.id().cast_signed())
            .ok_or_else(|| Error::Other("the keeper ended at once".into()))?;
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keeper = Some(keeper);
        self.save()?;
        *hold = None;
        Ok(())
    }

    /// Ends the lab now, kept or not.
    ///
    /// # Errors
    /// [`Error::Timeout`] when a process could not be ended, [`Error::Io`] when a file could not be removed.
    pub fn down(self) -> Result<()> {
        self.tear_down()
        // Dropped after this, and finds nothing left.
    }

    fn tear_down(&self) -> Result<()> {
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        drop(crowd.take());
        let mut strip = self.strip.lock().unwrap_or_else(PoisonError::into_inner);
        drop(strip.take());
        self.hosts().try_for_each(Node::kill)?;
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .kill_everything()?;
        // A mount namespace lets go of the disks a moment after its last process is gone.
        poll::until(Duration::from_secs(10), Duration::from_millis(100), || {
            place::remove(&self.dir)
        })
    }

    /// Notes that the cluster is another one now than it was built as.
    pub(crate) fn respecify(&self, change: impl FnOnce(&mut Spec)) -> Result<()> {
        change(
            &mut self
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .spec,
        );
        self.save()
    }

    fn save(&self) -> Result<()> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .save(&self.dir)
    }

    /// The lab's name.
    pub fn name(&self) -> String {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .name
            .clone()
    }

    /// What it was built from.
    pub fn spec(&self) -> Spec {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spec
            .clone()
    }

    /// Paths of PostgreSQL on every host.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The cluster nodes: node1, node2, …
    pub fn nodes(&self) -> &[Node] {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.nodes
            .get(..usize::from(state.spec.nodes))
            .unwrap_or(&self.nodes)
    }

    /// The nodes, and behind them the machines that are none.
    pub fn machines(&self) -> &[Node] {
        &self.nodes
    }

    /// The host beside the cluster.
    pub fn client(&self) -> &Node {
        &self.client
    }

    /// The lock service's host.
    ///
    /// # Errors
    /// [`Error::NoSuchHost`] in a lab without one.
    pub fn lock(&self) -> Result<&Node> {
        self.lock
            .as_ref()
            .ok_or_else(|| Error::NoSuchHost(LOCK.to_owned()))
    }

    /// Nodes, client and lock service.
    pub fn hosts(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .chain(std::iter::once(&self.client))
            .chain(&self.lock)
    }

    /// A host by name, in whatever case, as Pacemaker has it.
    ///
    /// # Errors
    /// [`Error::NoSuchHost`].
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.hosts()
            .find(|host| host.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::NoSuchHost(name.to_owned()))
    }

    pub(crate) fn switch(&self) -> &Switch {
        &self.switch
    }

    /// PostgreSQL on a host.
    pub fn postgres<'a>(&'a self, node: &'a Node) -> Postgres<'a> {
        Postgres {
            node,
            layout: &self.layout,
        }
    }
}

struct Hosts {
    nodes: Vec<Node>,
    client: Node,
    lock: Option<Node>,
}

fn hosts(
    spec: &Spec,
    dir: &std::path::Path,
    base: &std::path::Path,
    init: &BTreeMap<String, ProcessId>,
) -> Hosts {
    let host = |name: &str, number: u8| {
        let root = Root::of(spec.suite_of(name), base)
            .with_server(spec.server, base)
            .and_server(spec.also_server, base);
        Node::new(name, number, dir, &root, init.get(name).copied())
    };
    let nodes = spec
        .machine_names()
        .iter()
        .zip(1..)
        .map(|(name, number)| host(name, number))
        .collect();
    Hosts {
        nodes,
        client: host(CLIENT, 200),
        lock: (spec.lock_service || spec.quorum_device).then(|| host(LOCK, 201)),
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let ours = self
            .hold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if !ours || !self.dir.exists() {
            return;
        }
        if let Err(error) = self.tear_down() {
            note(format!("could not end lab {}: {error}", self.name()));
        }
    }
}
