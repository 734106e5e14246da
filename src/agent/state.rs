//! What one call of the agent leaves for the next, in a file under tmpdir.
//!
//! Nearly everything in it can be lost without losing data: a revocation that is not noted is made
//! again, a barrier is taken again, an election starts over. The distrust (R9) is a second line: who
//! loses it believes the CIB, whose admin_epoch should have made the right side's win (R5).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::contract::Revocation;
use crate::decide::distrust::Version;
use crate::model::lsn::Lsn;
use crate::model::sync_names::StandbyName;
use crate::postgres::files;
use crate::postgres::owner::as_owner;

use super::context::Context;
use super::{Step, failed};

/// The contents of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Times in it are of this boot.
    pub(super) boot: String,
    /// The epoch this node was last promoted with.
    pub(super) epoch: Option<u64>,
    pub(super) revoked: BTreeMap<StandbyName, Revocation>,
    pub(super) barrier: Option<Barrier>,
    pub(super) election: Option<Rounds>,
    /// R8: this standby stopped receiving from the primary of this epoch, and stated how far its WAL
    /// reaches. It follows only a later one. Ends with the boot, as the statement does.
    pub(super) detached: Option<u64>,
    /// The running number of the last record of the contract, which a merge may have taken back.
    pub(super) seq: u64,
    /// R9.
    pub(super) distrust: Option<Version>,
    /// The lock's epoch when this node took it.
    pub(super) lock_epoch: Option<u64>,
    /// When the last renewal of the lock that was confirmed was sent; time since the machine started.
    pub(super) lock_confirmed: Option<Duration>,
    /// Monitors in a row that found this standby receiving nothing while there was a primary.
    #[serde(default)]
    pub(super) idle: u32,
    /// Since when too few standbys stream, or none is waited for; time since the machine started.
    #[serde(default)]
    pub(super) degraded_since: Option<Duration>,
    /// The last reason to let commits wait, so that it is logged when it changes.
    pub(super) hold: Option<String>,
    /// The same in words, as it was logged.
    #[serde(default)]
    pub(super) hold_reason: Option<String>,
}

/// R2: a position that was written when `contract` was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Barrier {
    pub(super) contract: String,
    /// As an attribute has it.
    pub(super) lsn: String,
}

impl Barrier {
    pub(super) fn position(&self) -> Option<Lsn> {
        Lsn::from_attribute(&self.lsn).ok()
    }
}

/// How often the same reports were seen in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rounds {
    pub(super) reports: String,
    pub(super) seen: u32,
}

const FILE: &str = "expgsql.state";

/// More than the file is long with the notes of a dozen nodes; bytes.
const ROOM: usize = 4096;

/// What the agent's last call on this node left, as far as it explains what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Why commits go on waiting (R1).
    pub(crate) hold: Option<String>,
    /// R9.
    pub(crate) distrust: Option<Version>,
}

/// Reads it, for people. `None`: there is none, or it is not to be understood.
///
/// # Errors
/// The file is there and this user may not read it, say.
pub(crate) fn memory(tmpdir: &Path) -> io::Result<Option<Memory>> {
    let text = match fs::read_to_string(tmpdir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let state = serde_json::from_str::<State>(&text).ok();
    Ok(state.map(|state| Memory {
        hold: state.hold_reason,
        distrust: state.distrust,
    }))
}

impl State {
    /// The state of this boot. A missing or damaged file is the same as none; times of an
    /// earlier boot are dropped.
    pub(super) fn load(ctx: &Context<'_>, boot: &str) -> Self {
        let text = fs::read_to_string(ctx.tmp(FILE)).unwrap_or_default();
        let state: Self = serde_json::from_str(&text).unwrap_or_default();
        if state.boot == boot {
            return state;
        }
        Self {
            boot: boot.to_owned(),
            epoch: state.epoch,
            seq: state.seq,
            distrust: state.distrust,
            lock_epoch: state.lock_epoch,
            ..Self::default()
        }
    }

    /// Makes sure that the state can be written, ahead of something that has to be noted once it has begun.
    pub(super) fn require_room(ctx: &Context<'_>) -> Step<()> {
        let path = ctx.tmp(FILE);
        let text = " ".repeat(ROOM);
        as_owner(&ctx.owner, || files::try_out(&path, &text, 0o600))
            .map_err(io::Error::from)
            .flatten()
            .map_err(|e| failed(format!("{} can't be written: {e}", path.display())))
    }

    /// Writes the state where it differs from `old`.
    pub(super) fn save(&self, ctx: &Context<'_>, old: &Self) -> Step<()> {
        if self == old {
            return Ok(());
        }
        let path = ctx.tmp(FILE);
        let text = serde_json::to_string(self).map_err(failed)?;
        as_owner(&ctx.owner, || files::write(&path, &text, 0o600))
            .map_err(io::Error::from)
            .flatten()
            .map_err(|e| failed(format!("{}: {e}", path.display())))
    }
}
