//! The agent as tests take it apart: killed at a point between two of its steps. For this it is built with the feature
//! `trial` (see `src/trial` of expgsql).

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::progress::note;

/// Where the agent looks for what a test wants of it. The same as in `src/trial`.
const DIRECTORY: &str = "/var/lib/expgsql-trial";

/// The rule that is taken out of the agent in every lab of this process, as the agent calls it. `none`: the trial's agent with
/// all of its rules.
pub const CONTROL: &str = "EXPGSQL_CONTROL";

pub(crate) fn control() -> Option<String> {
    std::env::var(CONTROL).ok().filter(|name| !name.is_empty())
}

/// Tells the agent on a node that is off which rule it lacks.
pub(crate) fn lay_out(node: &Node) -> Result<()> {
    let Some(control) = control() else {
        return Ok(());
    };
    let dir = node.disk("var").join(DIRECTORY.trim_start_matches("/var/"));
    let unwritable = || Error::io(format!("write {}", dir.display()));
    std::fs::create_dir_all(&dir).map_err(unwritable())?;
    std::fs::write(dir.join("control"), control).map_err(unwritable())
}

impl Cluster {
    /// The next call of the agent on this node that comes to `point` is killed there.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn arm(&self, node: &Node, point: &str) -> Result<()> {
        note(format!("the agent on {} is killed at {point}", node.name()));
        let line = format!(
            "install -d -m 755 {DIRECTORY} && rm -f {DIRECTORY}/{point}.reached && : >{DIRECTORY}/{point}.kill"
        );
        node.sh(&line)?.ok().map(drop)
    }

    /// From now on each call of the agent on this node that comes to `point` waits there, until [`Cluster::release`].
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn hold(&self, node: &Node, point: &str) -> Result<()> {
        note(format!(
            "the agent on {} is held up at {point}",
            node.name()
        ));
        let line = format!(
            "install -d -m 755 {DIRECTORY} && rm -f {DIRECTORY}/{point}.held && : >{DIRECTORY}/{point}.hold"
        );
        node.sh(&line)?.ok().map(drop)
    }

    /// Whether a call of the agent waits, or has waited, at `point`.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn is_held(&self, node: &Node, point: &str) -> Result<bool> {
        let test = ["test", "-e", &format!("{DIRECTORY}/{point}.held")];
        Ok(node.run(&test)?.ok().is_ok())
    }

    /// Ends [`Cluster::hold`].
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn release(&self, node: &Node, point: &str) -> Result<()> {
        note(format!("the agent on {} goes on at {point}", node.name()));
        let line = format!("rm -f {DIRECTORY}/{point}.hold");
        node.sh(&line)?.ok().map(drop)
    }

    /// Lets the agent go on wherever it is, and gives the points that were reached on a node since this was called last.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn disarm(&self, node: &Node) -> Result<Vec<String>> {
        let reached = self.reached(node)?;
        node.sh(&format!("rm -f {DIRECTORY}/*.kill {DIRECTORY}/*.reached"))?
            .ok()?;
        Ok(reached)
    }

    /// The points that were reached on a node.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn reached(&self, node: &Node) -> Result<Vec<String>> {
        let line = format!("ls -tr {DIRECTORY} 2>/dev/null || :");
        let listed = node.sh(&line)?.ok()?;
        let reached = listed
            .lines()
            .filter_map(|name| name.strip_suffix(".reached"));
        Ok(reached.map(str::to_owned).collect())
    }
}
