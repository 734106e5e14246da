//! The repair itself, step by step. Each step may be the last one this process takes.

use std::fs;
use std::time::Duration;

use crate::decide::divergence::is_recorded;
use crate::decide::recovery::Heard;
use crate::decide::repair;
use crate::log::say;
use crate::model::cluster_view::TransientAttribute;
use crate::model::progress::Progress;
use crate::model::repair::{Journal, OnDivergence, Phase, Work};
use crate::model::repl_info::ReplInfo;
use crate::ocf::{OcfCode, OcfEnv, Outcome};
use crate::params::Params;
use crate::postgres::base_backup::{BaseBackup, BaseBackupError};
use crate::postgres::control::{self, Control};
use crate::postgres::process::Postmaster;
use crate::postgres::replace::Swap;
use crate::postgres::rewind::{self, Rewind, RewindError};
use crate::postgres::source::{Source, SourceError};
use crate::sys::{Deadline, poll_until};
use crate::timing;
use crate::trial::point;

use crate::agent::context::Context;
use crate::agent::membership::board::Board;
use crate::agent::membership::statement;
use crate::agent::repair::{OWN, gate, journal};
use crate::agent::server::archive;
use crate::agent::server::recovery_conf::Follow;
use crate::agent::server::{by_files, ending, make_places, ready, recovery};
use crate::agent::standby::{announce, bring_up};
use crate::agent::step::{Step, failed};

/// Who wants the repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The parameter on_divergence, of a start.
    ByStart,
    /// A person.
    ByHand,
}

/// An attempt ended early.
enum Trouble {
    /// It passes without anybody's doing: the primary is away, say.
    Passing(String),
    /// It does not.
    Final(String),
}

/// A cluster that does not answer now will.
fn passing(failure: Outcome) -> Trouble {
    Trouble::Passing(failure.text().to_owned())
}

impl From<Outcome> for Trouble {
    fn from(outcome: Outcome) -> Self {
        Self::Final(outcome.text().to_owned())
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        if error.is_passing() {
            Self::Passing(error.to_string())
        } else {
            Self::Final(error.to_string())
        }
    }
}

impl From<BaseBackupError> for Trouble {
    fn from(error: BaseBackupError) -> Self {
        if error.is_passing() {
            Self::Passing(error.to_string())
        } else {
            Self::Final(error.to_string())
        }
    }
}

impl From<RewindError> for Trouble {
    fn from(error: RewindError) -> Self {
        match error {
            RewindError::Passing(_) => Self::Passing(error.to_string()),
            // The next attempt puts the files back, and finds data that can follow.
            RewindError::Unfinished(_) => Self::Passing(error.to_string()),
            RewindError::NotNeeded | RewindError::Impossible(_) | RewindError::Damaged(_) => {
                Self::Final(error.to_string())
            }
        }
    }
}

/// The process that a start leaves behind.
pub(crate) fn in_background(env: &OcfEnv, params: &Params, work: Work) -> Outcome {
    run(env, params, work, Asked::ByStart, &mut |_| {})
}

/// The same in this process, for the operator's command; a standby that runs is stopped for it, and runs again
/// afterwards.
pub(crate) fn by_hand(
    env: &OcfEnv,
    params: &Params,
    work: Work,
    tell: &mut dyn FnMut(&Journal),
) -> Outcome {
    run(env, params, work, Asked::ByHand, tell)
}

fn run(
    env: &OcfEnv,
    params: &Params,
    work: Work,
    asked: Asked,
    tell: &mut dyn FnMut(&Journal),
) -> Outcome {
    let result = Context::new(env, params).and_then(|ctx| {
        make_places::prepare_places(&ctx)?;
        let held = journal::take(&ctx)?.map_err(|pid| {
            let by = pid.map_or_else(String::new, |pid| format!(", by process {pid}"));
            failed(format!("this node's data are being repaired already{by}"))
        })?;
        let mut repair = Repair::new(&ctx, work, asked, tell)?;
        let outcome = repair.see_through();
        drop(held);
        Ok(outcome)
    });
    result.unwrap_or_else(|failure| failure)
}

/// How many copies a primary may outrun by removing WAL. A large one takes hours, and loads the primary.
const MOST_OUTRUN: u32 = 3;

struct Repair<'a> {
    env: &'a OcfEnv,
    params: &'a Params,
    asked: Asked,
    journal: Journal,
    tell: &'a mut dyn FnMut(&Journal),
    /// When the attribute is to follow the journal again.
    attribute: Deadline,
    /// The data can follow the primary; what is left is to start the server.
    is_repaired: bool,
    /// Copies that lacked WAL which the primary had removed meanwhile.
    outrun: u32,
}

impl<'a> Repair<'a> {
    fn new(
        ctx: &Context<'a>,
        work: Work,
        asked: Asked,
        tell: &'a mut dyn FnMut(&Journal),
    ) -> Step<Self> {
        let mut journal = Journal::new(work);
        journal::carry_on(ctx, &mut journal)?;
        Ok(Self {
            env: ctx.env,
            params: ctx.params,
            asked,
            journal,
            tell,
            attribute: Deadline::after(timing::REPAIR_ATTRIBUTE),
            is_repaired: false,
            outrun: 0,
        })
    }

    /// One step's context: the action's time limit is for steps, not for the whole work.
    fn context(&self) -> Step<Context<'a>> {
        Context::new(self.env, self.params)
    }

    fn see_through(&mut self) -> Outcome {
        let done = poll_until(
            Deadline::after(timing::REPAIR_PATIENCE),
            timing::REPAIR_RETRY,
            || match self.attempt() {
                Ok(()) => Some(Ok(())),
                Err(Trouble::Final(why)) => Some(Err(why)),
                Err(Trouble::Passing(why)) => {
                    say!(WARN, "the repair waits", reason = why);
                    self.now(Phase::Waiting, Some(why));
                    None
                }
            },
        );
        let waited = || Err(self.journal.note.clone().unwrap_or_default());
        match done.unwrap_or_else(waited) {
            Ok(()) => {
                self.journal.phase = Phase::Done;
                (self.tell)(&self.journal);
                Outcome::of(OcfCode::Success)
            }
            Err(why) => {
                say!(ERROR, "the repair was given up", reason = why);
                self.now(Phase::Failed, Some(why.clone()));
                failed(why)
            }
        }
    }

    /// Notes the phase where everybody looks: the journal, the attribute, whoever is told.
    fn now(&mut self, phase: Phase, note: Option<String>) {
        let is_new = self.journal.phase != phase;
        self.journal.phase = phase;
        self.journal.note = note;
        if phase != Phase::Copying {
            self.journal.progress = None;
        }
        self.publish(is_new);
    }

    fn copied(&mut self, progress: Progress) {
        self.journal.progress = Some(progress);
        self.publish(false);
    }

    /// What can't be told is no reason to stop.
    fn publish(&mut self, at_once: bool) {
        (self.tell)(&self.journal);
        let told = self.context().and_then(|ctx| {
            journal::write(&ctx, &self.journal)?;
            if at_once || self.attribute.is_past() {
                self.attribute = Deadline::after(timing::REPAIR_ATTRIBUTE);
                let text = self.journal.to_string();
                say!(INFO, "repair", state = text);
                Board::read(&ctx)?.set_own(TransientAttribute::Repair, Some(&text))?;
            }
            Ok(())
        });
        if let Err(failure) = told {
            say!(
                WARN,
                "the repair's progress could not be told",
                reason = failure.text()
            );
        }
    }

    /// What a power cut must not forget.
    fn set_damaged(&mut self, damaged: bool) -> Step<()> {
        let ctx = self.context()?;
        self.journal.damaged = damaged;
        self.journal.control_file = damaged.then(|| journal::control_file(&ctx)).flatten();
        journal::write(&ctx, &self.journal)
    }

    fn attempt(&mut self) -> Result<(), Trouble> {
        let is_running = self.context()?.postmaster()? != Postmaster::Stopped;
        if self.asked == Asked::ByStart && is_running {
            // What is left is to clear up after a repair that was interrupted.
            self.is_repaired = true;
        }
        if !self.is_repaired {
            self.repair()?;
            self.is_repaired = true;
        }
        self.start()
    }

    fn repair(&mut self) -> Result<(), Trouble> {
        let ctx = self.context()?;
        super::tidy(&ctx)?;
        let board = Board::read(&ctx).map_err(passing)?;
        let record = ctx.record(&board.view)?.filter(|r| r.node != ctx.me);
        let Some(record) = record else {
            return Err(Trouble::Final(
                "no other node is recorded as the primary: there is nothing to copy from"
                    .to_owned(),
            ));
        };
        if board.primary().is_none() {
            return Err(Trouble::Passing("there is no primary now".to_owned()));
        }
        // What it has stated (R8) must stay true until that election is over.
        if statement::whom_to_follow(&board)? == Follow::Nobody {
            return Err(Trouble::Passing(
                "this node has stated for an election how much WAL it has".to_owned(),
            ));
        }
        let source = gate::source(&ctx)?;
        let deadline = ctx.deadline.min(timing::SOURCE);
        let identity = source.identify(deadline)?;
        let history = source.lineage(identity.timeline, deadline)?;
        if !is_recorded(&record, &history) {
            return Err(Trouble::Passing(format!(
                "the server at the primary's address is on {history}, which is not {}'s timeline",
                record.node
            )));
        }
        let control = self.own_control(&ctx)?;
        if let Some(control) = control
            .as_ref()
            .filter(|c| c.system_identifier != identity.system)
        {
            return Err(gate::other_cluster(&ctx, control, &identity.system).into());
        }
        // Not before: a standby that runs is better than one that waits for a repair.
        self.stop_standby(&ctx)?;
        match self.choose(&board, control.is_some())? {
            None => {}
            Some(Work::Rewind) => {
                self.journal.work = Work::Rewind;
                let control = control.ok_or_else(|| failed("there is nothing to rewind"))?;
                match self.rewind(&ctx, &source, &control) {
                    Err(Trouble::Final(why)) if self.falls_back() => {
                        say!(WARN, "not rewound: making a new copy", reason = why);
                        self.rebuild(&ctx, &source)?;
                    }
                    rewound => rewound?,
                }
            }
            Some(Work::Rebuild) => self.rebuild(&ctx, &source)?,
        }
        Ok(())
    }

    /// A person who asked for a rewind gets that or nothing.
    fn falls_back(&self) -> bool {
        self.asked == Asked::ByStart && self.params.on_divergence == OnDivergence::RewindOrRebuild
    }

    /// What this node's data say of themselves; `None` where there are none.
    fn own_control(&self, ctx: &Context<'_>) -> Step<Option<Control>> {
        let is_empty = match fs::read_dir(ctx.pgdata()) {
            Ok(entries) => {
                // What can't be read is there all the same.
                let is_data = |entry: std::io::Result<fs::DirEntry>| {
                    entry.map_or(true, |entry| {
                        let name = entry.file_name();
                        let name = name.to_string_lossy();
                        name != "lost+found" && !name.starts_with(".expgsql.")
                    })
                };
                !entries.into_iter().any(is_data)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
            Err(e) => return Err(failed(format!("{}: {e}", ctx.pgdata().display()))),
        };
        if is_empty && self.asked == Asked::ByHand {
            return Ok(None);
        }
        if !ctx.pgdata().join("PG_VERSION").exists() {
            return Err(failed(format!(
                "pgdata={} is no data directory, and not empty: correct pgdata, or empty it",
                ctx.pgdata().display()
            )));
        }
        let control = control::read(&ctx.programs(), ctx.pgdata(), ctx.deadline).map_err(|e| {
            failed(format!(
                "{e}; what can't be compared with the primary's is not overwritten: move {} away, and rebuild",
                ctx.pgdata().display()
            ))
        })?;
        Ok(Some(control))
    }

    /// Looks again, as time has passed since the repair was asked for.
    fn choose(&self, board: &Board<'_, '_>, has_data: bool) -> Result<Option<Work>, Trouble> {
        let misfit = if has_data { gate::misfit(board)? } else { None };
        match (self.asked, &misfit) {
            (Asked::ByStart, None) => Ok(None),
            (Asked::ByStart, Some(misfit)) => match gate::plan_for(board, misfit)? {
                Ok(work) => Ok(Some(work)),
                Err(refusal) => Err(Trouble::Final(refusal)),
            },
            (Asked::ByHand, misfit) => {
                let is_claimed = gate::is_claimed(board, misfit.as_ref())?;
                repair::by_hand(misfit.as_ref(), self.journal.work, is_claimed)
                    .map_err(|(misfit, why)| Trouble::Final(gate::refusal(misfit, why)))
            }
        }
    }

    fn stop_standby(&self, ctx: &Context<'_>) -> Result<(), Trouble> {
        let Postmaster::Running(_) = ctx.postmaster()? else {
            return Ok(());
        };
        if !by_files::is_standby(ctx)? {
            return Err(Trouble::Final(
                "the server runs as a primary: it is not touched".to_owned(),
            ));
        }
        ending::stop_server(ctx)?;
        Ok(())
    }

    fn rewind(
        &mut self,
        ctx: &Context<'_>,
        source: &Source,
        control: &Control,
    ) -> Result<(), Trouble> {
        let programs = ctx.programs();
        let p = ctx.params;
        if !control.state.is_orderly() {
            self.now(Phase::Recovering, None);
            let deadline = Deadline::after(timing::REPAIR_RECOVERY);
            rewind::recover(&programs, ctx.pgdata(), &p.config, deadline)?;
            point!(RewindRecovered);
        }
        self.now(Phase::Checking, None);
        let save = ctx.tmp(OWN);
        let restore_command = archive::restore_command(ctx).unwrap_or_else(|failure| {
            say!(WARN, "rewound without the archive", reason = failure.text());
            None
        });
        let rewind = Rewind {
            programs: &programs,
            pgdata: ctx.pgdata(),
            source,
            database: &p.pgdb,
            restore_command: restore_command.as_deref(),
            save: &save,
        };
        rewind.check(Deadline::after(timing::REPAIR_CHECKPOINT))?;
        point!(RewindChecked);
        self.set_damaged(true)?;
        point!(RewindDamaged);
        self.now(Phase::Copying, None);
        let rewound = rewind.run(&mut |progress| self.copied(progress));
        point!(RewindRun);
        if !matches!(rewound, Err(RewindError::Damaged(_))) {
            self.set_damaged(false)?;
            point!(RewindWhole);
        }
        Ok(rewound?)
    }

    fn rebuild(&mut self, ctx: &Context<'_>, source: &Source) -> Result<(), Trouble> {
        self.journal.work = Work::Rebuild;
        let programs = ctx.programs();
        let backup = BaseBackup {
            programs: &programs,
            pgdata: ctx.pgdata(),
            source,
            database: &ctx.params.pgdb,
        };
        self.now(Phase::Copying, None);
        let copy = match backup.take(&mut |progress| self.copied(progress)) {
            Err(BaseBackupError::WalRemoved(why)) => {
                self.outrun += 1;
                return Err(if self.outrun < MOST_OUTRUN {
                    Trouble::Passing(why)
                } else {
                    Trouble::Final(format!(
                        "{why}, {MOST_OUTRUN} times: let the primary keep more WAL (wal_keep_size, max_slot_wal_keep_size)"
                    ))
                });
            }
            copy => copy?,
        };
        point!(RebuildCopied);
        // Meanwhile another may have been promoted; and the address may have led to a deposed primary.
        let record = self.record_once_it_can_be_read();
        let history = copy.lineage()?;
        if !record.is_some_and(|record| is_recorded(&record, &history)) {
            copy.discard().map_err(failed)?;
            return Err(Trouble::Passing(format!(
                "the copy is of a server on {history}, which is not the recorded primary's timeline"
            )));
        }
        self.now(Phase::Swapping, None);
        copy.swap_in().map_err(failed)?;
        self.set_damaged(false)?;
        point!(RebuildSwapped);
        Ok(())
    }

    /// A copy that took hours is not thrown away because the cluster is busy for a moment.
    fn record_once_it_can_be_read(&self) -> Option<ReplInfo> {
        let patience = Deadline::after(timing::REPAIR_CHECKPOINT);
        let record = poll_until(patience, timing::REPAIR_RETRY, || {
            let read = self.context().and_then(|ctx| ctx.record(&ctx.cluster()?));
            read.ok()
        });
        record.flatten()
    }

    fn start(&mut self) -> Result<(), Trouble> {
        self.now(Phase::Starting, None);
        let ctx = self.context()?;
        let board = Board::read(&ctx).map_err(passing)?;
        let started = match ctx.postmaster()? {
            Postmaster::Stopped => bring_up::start_as_standby(&board).map(drop),
            Postmaster::Running(_) => Ok(()),
        };
        if let Err(failure) = started
            && !recovery::is_under_way(&ctx, Heard::Nothing)?
        {
            return Err(failure.into());
        }
        point!(RepairStarted);
        // It may have much to replay before it answers.
        self.await_replay()?;
        let ctx = self.context()?;
        let board = Board::read(&ctx).map_err(passing)?;
        let server = ready::wait(&ctx, "a standby", |state| state.in_recovery)?;
        let server = bring_up::check_what_is_in_force(&ctx, server)?;
        Swap::purge(ctx.pgdata(), &ctx.owner).map_err(failed)?;
        Swap::discard(ctx.pgdata(), &ctx.owner).map_err(failed)?;
        point!(RepairPurged);
        journal::remove(&ctx)?;
        point!(RepairForgotten);
        announce::announce(&board, server)?;
        say!(
            INFO,
            "repaired, and a standby again",
            repair = self.journal.work
        );
        Ok(())
    }

    /// As long as that gets on; nobody waits for it, and a stop ends it.
    fn await_replay(&self) -> Step<()> {
        let mut noted = None;
        let over = poll_until(Deadline::after(Duration::MAX), timing::REPAIR_RETRY, || {
            let over = self
                .context()
                .and_then(|ctx| recovery::is_over(&ctx, &mut noted));
            match over {
                Ok(false) => None,
                Ok(true) => Some(Ok(())),
                Err(failure) => Some(Err(failure)),
            }
        });
        over.unwrap_or(Ok(()))
    }
}
