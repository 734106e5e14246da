//! R2's barrier: a position that was written when the contract was in force everywhere. Decided in `decide::proof`.

use crate::decide::proof::{self, Looks};
use crate::model::lsn::Lsn;
use crate::model::status::SyncState;
use crate::postgres::process;
use crate::postgres::session::{Session, SqlError};
use crate::postgres::views::{self, Sender};

use super::round::Round;
use crate::agent::server::answering;
use crate::agent::state::Barrier;
use crate::agent::step::Step;

impl Round<'_> {
    /// Where the WAL ended at a moment when the contract was in force.
    pub(super) fn barrier(&mut self, session: &mut Session) -> Step<Option<Lsn>> {
        let contract = self.in_force.to_string();
        if let Some(barrier) = self
            .state
            .barrier
            .as_ref()
            .filter(|b| b.contract == contract)
        {
            return Ok(barrier.position());
        }
        let is_counted = |s: &Sender| matches!(s.sync, SyncState::Sync | SyncState::Quorum);
        let is_sync = self.senders.values().any(is_counted);
        if !is_sync || !self.is_read()? {
            self.state.barrier = None;
            return Ok(None);
        }
        let lsn = views::flushed(session).map_err(|e| answering::refused(&e))?;
        self.state.barrier = Some(Barrier {
            contract,
            lsn: lsn.to_attribute(),
        });
        Ok(Some(lsn))
    }

    /// Whether all processes have read the contract. The session is a new one: the postmaster signals all its processes
    /// before it takes a connection that sees the new setting.
    fn is_read(&self) -> Step<bool> {
        let refused = |e: SqlError| answering::refused(&e);
        let mut session = self.ctx.connect(self.running).map_err(refused)?;
        if views::sync_names(&mut session).map_err(refused)? != self.in_force {
            return Ok(false);
        }
        let (written, first) = views::committers(&mut session).map_err(refused)?;
        let sleeping = first
            .iter()
            .filter(|p| proof::idles(p) && process::is_asleep(p.pid));
        let asleep = sleeping.map(|p| p.pid).collect();
        let (_, second) = views::committers(&mut session).map_err(refused)?;
        let looks = Looks {
            first,
            written,
            asleep,
            second,
        };
        Ok(proof::is_in_force(&self.in_force, &looks))
    }
}
