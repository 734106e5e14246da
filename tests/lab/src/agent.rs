//! The agents: putting them on the nodes, and what each is told.
//!
//! Debian 12's stock `pgsql` (resource-agents 4.12) can't run on its Pacemaker 2.1.5: `crm_attribute -p -v -INFINITY`
//! is read as options `-I -N FINITY`, "Could not map name=FINITY to a UUID", and every start fails. So that it can be
//! compared at all, the nodes' copy says `--update=` in that call. Nothing else in it is changed.

use std::path::Path;

use crate::error::{Error, Result};
use crate::host::Node;
use crate::network::WRITER_ADDRESS;
use crate::postgres::{LOG, Layout, REPLICATION_USER, TMPDIR};
use crate::spec::{Agent, Spec};
use crate::trial;

pub(crate) const DIRECTORY: &str = "/usr/lib/ocf/resource.d/heartbeat";

/// Puts the agent on the disk of a node that is off.
pub(crate) fn lay_out(node: &Node, agent: &Agent) -> Result<()> {
    let dir = node.disk("usr").join("lib/ocf/resource.d/heartbeat");
    std::fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
    match agent {
        Agent::Expgsql { binary } => {
            copy(binary, &dir.join("expgsql"))?;
            trial::lay_out(node)
        }
        Agent::StockPgsql => {
            let path = node.root().at(DIRECTORY).join("pgsql");
            let script = std::fs::read_to_string(&path)
                .map_err(Error::io(format!("read {}", path.display())))?;
            let ours = dir.join("pgsql");
            copy(&path, &ours)?;
            let edited =
                script.replace("ocf_promotion_score -v $", "ocf_promotion_score --update=$");
            std::fs::write(&ours, edited).map_err(Error::io(format!("write {}", ours.display())))
        }
        Agent::Paf => Ok(()),
    }
}

/// Copies a program with its mode.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).map_err(Error::io(format!(
        "copy {} to {}",
        from.display(),
        to.display()
    )))
}

/// The resource's parameters: the names are those of the stock agent, PAF's its own. The caller's come last and win.
pub(crate) fn parameters(spec: &Spec, layout: &Layout) -> Vec<(String, String)> {
    let path = |p: &Path| p.display().to_string();
    let mut params: Vec<(String, String)> = match spec.agent {
        Agent::Paf => vec![
            ("bindir".into(), path(&layout.bin)),
            ("pgdata".into(), path(&layout.data)),
            ("pghost".into(), "/run/postgresql".into()),
        ],
        Agent::Expgsql { .. } | Agent::StockPgsql => vec![
            ("pgctl".into(), layout.program("pg_ctl")),
            ("psql".into(), layout.program("psql")),
            ("pgdata".into(), path(&layout.data)),
            ("logfile".into(), LOG.into()),
            ("tmpdir".into(), TMPDIR.into()),
            ("rep_mode".into(), spec.mode.as_str().into()),
            ("node_list".into(), spec.node_names().join(" ")),
            ("master_ip".into(), WRITER_ADDRESS.into()),
            ("repuser".into(), REPLICATION_USER.into()),
            // The stock agent demands it where unix_socket_directories is set.
            ("socketdir".into(), "/run/postgresql".into()),
            ("stop_escalate".into(), "30".into()),
        ],
    };
    if spec.lock_service && matches!(spec.agent, Agent::Expgsql { .. }) {
        params.extend(crate::lock::parameters(spec));
    }
    if layout.config.parent() != Some(&layout.data) {
        match spec.agent {
            Agent::Paf => params.push((
                "start_opts".into(),
                format!("-c config_file={}", path(&layout.config)),
            )),
            Agent::Expgsql { .. } | Agent::StockPgsql => {
                params.push(("config".into(), path(&layout.config)))
            }
        }
    }
    params.retain(|(name, _)| !spec.site.parameters_left_out().contains(&name.as_str()));
    for (name, value) in spec.site.parameters().iter().chain(&spec.params) {
        params.retain(|(existing, _)| existing != name);
        params.push((name.clone(), value.clone()));
    }
    params
}
