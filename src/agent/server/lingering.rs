//! What a server that was told to shut down still waits for. Decided in `decide::stop`.

use std::time::{Duration, Instant};

use crate::decide::stop::{Lingering, only_waits};
use crate::log::say;
use crate::model::lsn::Lsn;
use crate::postgres::children::{Child, Processes, Role};
use crate::postgres::control;
use crate::postgres::process::Running;
use crate::sys::Deadline;
use crate::timing;

use crate::agent::context::Context;

/// Where the server puts a file for each WAL file that has still to be archived.
const ARCHIVE_STATUS: &str = "pg_wal/archive_status";

/// One look at a server after the other, while it shuts down.
pub(crate) struct Lingerers<'a, 'b> {
    ctx: &'a Context<'b>,
    next: Deadline,
    last: Vec<(i32, Option<u64>, Role)>,
    since: Instant,
}

impl<'a, 'b> Lingerers<'a, 'b> {
    pub(crate) fn new(ctx: &'a Context<'b>) -> Self {
        Self {
            ctx,
            next: Deadline::after(timing::LINGER_POLL),
            last: Vec::new(),
            since: Instant::now(),
        }
    }

    /// Whether it does nothing any more but wait for others. What can't be found out is no reason to end it.
    pub(crate) fn only_wait(&mut self, running: &Running) -> bool {
        if !self.next.is_past() {
            return false;
        }
        self.next = Deadline::after(timing::LINGER_POLL);
        let Ok(processes) = Processes::look() else {
            return false;
        };
        let children = processes.of(running.pid);
        let idle = self.note(&processes, &children);
        let senders = children.iter().filter_map(|child| match &child.role {
            Role::WalSender { sent } => Some(*sent),
            Role::Startup | Role::Archiver | Role::Other => None,
        });
        let mut lingering = Lingering {
            // To know that takes a process, so it comes last.
            checkpoint: Some(Lsn::new(0)),
            senders: senders.collect(),
            idle,
        };
        if !only_waits(&lingering) {
            return false;
        }
        lingering.checkpoint = self.shutdown_checkpoint();
        let is_through = only_waits(&lingering);
        if is_through {
            self.tell(&children);
        } else {
            self.next = Deadline::after(timing::LINGER_POLL * 4);
        }
        is_through
    }

    /// For how long nothing has changed. A WAL sender wakes up now and then and does nothing: only how far it has sent counts. All
    /// others have ended when the shutdown checkpoint is written, but for those that tell clients that the server shuts down.
    fn note(&mut self, processes: &Processes, children: &[Child]) -> Duration {
        let one = |child: &Child| {
            let run_time = match child.role {
                Role::Archiver => processes.run_time(child.pid),
                Role::WalSender { .. } => Some(0),
                Role::Startup | Role::Other => return None,
            };
            Some((child.pid, run_time, child.role.clone()))
        };
        let now: Vec<_> = children.iter().filter_map(one).collect();
        // What can't be read may have changed.
        if now != self.last || now.iter().any(|(_, run_time, _)| run_time.is_none()) {
            self.last = now;
            self.since = Instant::now();
        }
        self.since.elapsed()
    }

    fn shutdown_checkpoint(&self) -> Option<Lsn> {
        let ctx = self.ctx;
        let deadline = ctx.deadline.min(timing::LAUNCH);
        let control = control::read(&ctx.programs(), ctx.pgdata(), deadline).ok()?;
        control.state.is_orderly().then_some(control.checkpoint)
    }

    fn tell(&self, children: &[Child]) {
        let left = children.iter().filter(|child| child.role != Role::Other);
        let left: Vec<&str> = left.map(|child| child.title.as_str()).collect();
        say!(
            WARN,
            "the server has written its shutdown checkpoint and only waits for others: it is ended, nothing is lost by that",
            left = format_args!("{left:?}")
        );
        let entries = std::fs::read_dir(self.ctx.pgdata().join(ARCHIVE_STATUS));
        let is_ready = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".ready"))
        };
        let waiting = entries.map_or(0, |entries| {
            entries.filter_map(|e| is_ready(e).then_some(())).count()
        });
        if waiting > 0 {
            say!(
                WARN,
                "WAL files are not archived yet, as archive_command hangs. This node archives them when it is the primary again; with \
                 archive_mode=on it may remove them before, as a standby: look for a gap in the archive, or use archive_mode=always",
                files = waiting
            );
        }
    }
}
