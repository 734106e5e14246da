//! What a server that was told to shut down still waits for. Decided in `decide::stop`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::decide::recovery_command::blow_in_shutdown;
use crate::decide::stop::{Lingering, Subscribers, is_to_go_on, lets_subscribers_go, only_waits};
use crate::log::say;
use crate::model::lsn::Lsn;
use crate::postgres::children::{self, Child, Processes, Role};
use crate::postgres::control;
use crate::postgres::process::Running;
use crate::sys::Deadline;
use crate::timing;

use crate::agent::context::Context;
use crate::agent::server::archive;

/// Where the server puts a file for each WAL file that has still to be archived.
const ARCHIVE_STATUS: &str = "pg_wal/archive_status";

/// One look at a server after the other, while it shuts down.
pub(crate) struct Lingerers<'a, 'b> {
    ctx: &'a Context<'b>,
    next: Deadline,
    last: Vec<(i32, Option<u64>, Role)>,
    since: Instant,
    held: Held,
    cleanup: Cleanup,
}

/// Whoever was stopped by a signal holds the shutdown up until it goes on. One that is stopped again gets it again.
fn let_go_on(running: &Running, children: &[Child]) {
    let is_stopped = |child: &&Child| children::state(child.pid).is_some_and(is_to_go_on);
    for child in children.iter().filter(is_stopped) {
        let sent = running.signal_child(child.pid, Signal::SIGCONT);
        say!(
            WARN,
            "a process of the server was stopped by a signal, and the shutdown waits for it: it is let go on, so that it ends",
            process = child.title,
            sent = format_args!("{sent:?}")
        );
    }
}

/// The command that the checkpointer waits for, before it can shut anything down.
struct Cleanup {
    /// The guard, and how long it has run with all below it.
    last: Option<(i32, Option<u64>)>,
    idle_since: Instant,
    held_since: Instant,
}

/// The subscribers that the server waits for before its shutdown checkpoint.
struct Held {
    /// Who else was there at the last look. Clients that are told to come later are there in one look at most.
    others: BTreeSet<i32>,
    alone_since: Instant,
    senders: Vec<(i32, Option<u64>)>,
    idle_since: Instant,
    /// Who was told to end, and is not to be told again before that.
    told: BTreeMap<i32, Deadline>,
}

impl Held {
    fn new() -> Self {
        Self {
            others: BTreeSet::new(),
            alone_since: Instant::now(),
            senders: Vec::new(),
            idle_since: Instant::now(),
            told: BTreeMap::new(),
        }
    }

    fn note(&mut self, processes: &Processes, children: &[Child]) -> Subscribers {
        let others = children
            .iter()
            .filter(|child| !child.stays_for_checkpoint());
        let others: BTreeSet<i32> = others.map(|child| child.pid).collect();
        if !others.is_disjoint(&self.others) {
            self.alone_since = Instant::now();
        }
        self.others = others;
        let senders = children.iter().filter(|child| child.may_be_logical());
        let senders: Vec<_> = senders
            .map(|child| (child.pid, processes.run_time(child.pid)))
            .collect();
        if senders != self.senders || senders.iter().any(|(_, ran)| ran.is_none()) {
            self.senders = senders;
            self.idle_since = Instant::now();
        }
        Subscribers {
            alone: self.alone_since.elapsed(),
            idle: self.idle_since.elapsed(),
        }
    }
}

impl<'a, 'b> Lingerers<'a, 'b> {
    pub(crate) fn new(ctx: &'a Context<'b>) -> Self {
        Self {
            ctx,
            next: Deadline::after(timing::LINGER_POLL),
            last: Vec::new(),
            since: Instant::now(),
            held: Held::new(),
            cleanup: Cleanup {
                last: None,
                idle_since: Instant::now(),
                held_since: Instant::now(),
            },
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
        let_go_on(running, &children);
        self.end_cleanup(running, &processes);
        self.let_subscribers_go(running, &processes, &children);
        let idle = self.note(&processes, &children);
        let senders = children.iter().filter_map(|child| match &child.role {
            Role::WalSender { sent } => Some(*sent),
            Role::Startup | Role::Archiver | Role::Checkpointer | Role::Other => None,
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

    /// Ends a command of the operator's that the checkpointer waits for.
    fn end_cleanup(&mut self, running: &Running, processes: &Processes) {
        if self.ctx.params.archive_cleanup_command.is_none() {
            return;
        }
        let guard = archive::cleanup(running, processes);
        let now = guard.map(|guard| (guard.pid, processes.run_time(guard.pid)));
        let seen = &mut self.cleanup;
        if now.map(|(pid, _)| pid) != seen.last.map(|(pid, _)| pid) {
            seen.held_since = Instant::now();
        }
        if now != seen.last || now.is_some_and(|(_, run_time)| run_time.is_none()) {
            seen.last = now;
            seen.idle_since = Instant::now();
        }
        let (held, idle) = (seen.held_since.elapsed(), seen.idle_since.elapsed());
        if now.is_some() {
            // It does not only wait for others yet: what it has to write comes after this.
            self.since = Instant::now();
        }
        if now.is_some() && blow_in_shutdown(held, idle).is_some() {
            archive::end_cleanup(running, |_| blow_in_shutdown(held, idle));
        }
    }

    /// Ends the senders of subscribers that the shutdown checkpoint waits for. One that has had a signal tells its subscriber so, which
    /// blocks where that reads nothing; with the second one it gives that up.
    fn let_subscribers_go(&mut self, running: &Running, processes: &Processes, all: &[Child]) {
        let subscribers = self.held.note(processes, all);
        let told = &self.held.told;
        let senders = all.iter().filter(|child| child.may_be_logical());
        let senders: Vec<&Child> = senders
            .filter(|child| told.get(&child.pid).is_none_or(|until| until.is_past()))
            .collect();
        let is_due = !told.is_empty() || lets_subscribers_go(subscribers);
        // Behind the checkpoint nobody waits for a subscriber; to know that takes a process.
        if senders.is_empty() || !is_due || self.shutdown_checkpoint().is_some() {
            return;
        }
        for sender in senders {
            let sent = running.signal_child(sender.pid, Signal::SIGTERM);
            let again = Deadline::after(timing::LINGER_POLL * 4);
            if self.held.told.insert(sender.pid, again).is_none() {
                say!(
                    WARN,
                    "a subscriber has not confirmed all that there is, and the shutdown waits for it: its WAL sender is ended; its slot keeps its place",
                    sender = sender.title,
                    sent = format_args!("{sent:?}")
                );
            }
        }
    }

    /// For how long nothing has changed. A WAL sender wakes up now and then and does nothing: only how far it has sent counts. All
    /// others have ended when the shutdown checkpoint is written, but for those that tell clients that the server shuts down.
    fn note(&mut self, processes: &Processes, children: &[Child]) -> Duration {
        let one = |child: &Child| {
            let run_time = match child.role {
                Role::Archiver => processes.run_time(child.pid),
                Role::WalSender { .. } => Some(0),
                Role::Startup | Role::Checkpointer | Role::Other => return None,
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
        let left = children
            .iter()
            .filter(|child| !matches!(child.role, Role::Other | Role::Checkpointer));
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
