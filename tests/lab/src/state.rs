//! What a lab writes down about itself, so that another process can find it, use it and end it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::ProcessId;
use crate::spec::Spec;

const FILE: &str = "state.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) spec: Spec,
    /// The process that made the lab and whose end is the lab's end, unless a keeper is there.
    pub(crate) owner: ProcessId,
    /// Holds the lifeline of a kept lab.
    pub(crate) keeper: Option<ProcessId>,
    pub(crate) switch: Option<ProcessId>,
    /// pid 1 of every host that is powered on.
    pub(crate) hosts: BTreeMap<String, ProcessId>,
}

impl State {
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(Error::io(format!("read {}", path.display())))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Other(format!("{}: {error}", path.display())))
    }

    /// Replaces the file in one step: a reader sees the old or the new one.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Other(format!("write the state: {error}")))?;
        let (next, path) = (dir.join("state.json.new"), dir.join(FILE));
        std::fs::write(&next, text).map_err(Error::io(format!("write {}", next.display())))?;
        std::fs::rename(&next, &path).map_err(Error::io(format!("rename to {}", path.display())))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.owner.is_alive() || self.keeper.is_some_and(ProcessId::is_alive)
    }

    /// Ends every process of the lab: hosts first, then what kept them.
    pub(crate) fn kill_everything(&self) -> Result<()> {
        self.hosts
            .values()
            .chain(&self.switch)
            .chain(&self.keeper)
            .try_for_each(|process| process.kill())
    }
}
