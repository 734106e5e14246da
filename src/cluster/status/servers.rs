//! How far the servers are: this node's own, asked over its socket, and the primary's, asked as this node's standby
//! reaches it. A server that says nothing costs a few seconds, and a line that says so.

use std::time::Duration;

use crate::model::node_name::NodeName;
use crate::params::Params;
use crate::postgres::entry::{Entrance, Guise};
use crate::postgres::process::{Postmaster, postmaster};
use crate::postgres::programs::Programs;
use crate::postgres::session::SqlError;
use crate::postgres::source::{Primary, SERVICE_FILE, Source, service_text};
use crate::postgres::views::{self, Replication, ServerState};
use crate::sys::{Deadline, Owner};

/// One server, once.
const LIMIT: Duration = Duration::from_millis(2500);

/// What they said.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// This node's own.
    pub(super) own: Option<ServerState>,
    /// The primary's view of itself and its standbys.
    pub(super) replication: Option<Replication>,
    /// What could not be read, each with the reason.
    pub(super) unread: Vec<String>,
}

/// Asks this node's server, and the primary's where that is another.
pub(super) fn ask(params: &Params, me: &NodeName, primary: Option<&NodeName>) -> Servers {
    let mut servers = Servers::default();
    let owner = match Owner::lookup(&params.pgdba) {
        Ok(owner) => owner,
        Err(error) => {
            servers.unread.push(format!("positions: {error}"));
            return servers;
        }
    };
    let euid = nix::unistd::geteuid();
    if !euid.is_root() && euid != owner.uid {
        servers.unread.push(format!(
            "positions: the servers are asked as {}, which takes root",
            owner.name
        ));
        return servers;
    }
    let is_mine = primary == Some(me);
    match own(params, &owner, is_mine) {
        Ok(Some((state, replication, detour))) => {
            let detour = detour.map(|why| format!("{me}'s server: {why}"));
            servers.unread.extend(detour);
            servers.own = Some(state);
            servers.replication = replication;
        }
        Ok(None) => {}
        Err(why) => servers.unread.push(format!("{me}'s server: {why}")),
    }
    if let Some(primary) = primary.filter(|_| !is_mine) {
        match of_primary(params, &owner, me) {
            Ok(replication) => servers.replication = Some(replication),
            Err(why) => servers.unread.push(format!("{primary}'s positions: {why}")),
        }
    }
    servers
}

/// Its state, how its standbys are, and why it was not asked in the way that is configured.
type Answer = (ServerState, Option<Replication>, Option<String>);

/// `None`: no server runs here, which Pacemaker has to say.
fn own(params: &Params, owner: &Owner, is_primary: bool) -> Result<Option<Answer>, String> {
    let running = match postmaster(&params.pgdata) {
        Ok(Postmaster::Running(running)) => running,
        Ok(Postmaster::Stopped) => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", params.pgdata.display())),
    };
    let words = |error: SqlError| error.to_string();
    let entrance = Entrance::new(params, &running, owner, Guise::Monitor);
    let entered = entrance.enter(LIMIT, LIMIT).map_err(words)?;
    let (mut session, detour) = (entered.session, entered.detour);
    let state = views::server_state(&mut session).map_err(words)?;
    let replication = if is_primary && !state.in_recovery {
        Some(views::replication(&mut session).map_err(words)?)
    } else {
        None
    };
    Ok(Some((state, replication, detour)))
}

fn of_primary(params: &Params, owner: &Owner, me: &NodeName) -> Result<Replication, String> {
    let Some(host) = params.master_ip.as_deref() else {
        return Err("master_ip is not set".to_owned());
    };
    let text = service_text(&Primary {
        host,
        port: params.pgport,
        user: &params.repuser,
        passfile: params.passfile.as_deref(),
        more: params.primary_conninfo_opt.as_ref(),
        node: me.lower(),
    })
    .map_err(|error| error.to_string())?;
    let file = params.tmpdir.join(SERVICE_FILE);
    let programs = Programs::new(&params.pgctl, &params.pglibs, owner);
    let source = Source::new(&programs, &params.psql, file.clone());
    source
        .write(owner, &text)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    asked(&source, params)
}

fn asked(source: &Source, params: &Params) -> Result<Replication, String> {
    let deadline = Deadline::after(LIMIT);
    source.replication(&params.pgdb, deadline).or_else(|error| {
        // Its pg_hba.conf may let this user replicate and do nothing else: then its own position at least.
        let identity = source.identify(deadline).map_err(|_| error.to_string())?;
        Ok(Replication {
            timeline: Some(identity.timeline),
            flushed: Some(identity.flushed),
            sync_names: None,
            standbys: Vec::new(),
            slots: None,
        })
    })
}
