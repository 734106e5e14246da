//! pg_rewind: what this node wrote past the fork is undone in place, so that it can follow the primary.

use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::log::say;
use crate::model::progress::Progress;
use crate::postgres::config;
use crate::postgres::control;
use crate::postgres::files;
use crate::postgres::held_wal;
use crate::postgres::lock_files::Sockets;
use crate::postgres::meter::Meter;
use crate::postgres::own_entries;
use crate::postgres::owner::as_owner;
use crate::postgres::process::{self, Postmaster};
use crate::postgres::programs::Programs;
use crate::postgres::server;
use crate::postgres::source::{Source, SourceError, one_line};
use crate::postgres::wal;
use crate::sys::{Deadline, RunError};
use crate::timing;

/// How many lines of a tool's last words are kept.
const LAST_WORDS: usize = 8;

/// Why a node was not rewound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewindError {
    /// Nothing was touched, and it may work later.
    #[error("{0}")]
    Passing(String),
    /// Nothing was touched, and nothing has to be undone: what keeps this node from following is something else.
    #[error(
        "pg_rewind finds nothing to undo: this node and the primary are on the same timeline, or the primary's WAL continues this node's; if it can't follow, rebuild it"
    )]
    NotNeeded,
    /// Nothing was touched, and nothing changes by itself.
    #[error("{0}")]
    Impossible(String),
    /// It failed after it had begun to write: what is there is neither the old data nor the new.
    #[error("{0}; the data directory is half rewound and can't be used: rebuild it")]
    Damaged(String),
    /// The data are rewound, and the node's own files are not all back: [`own_entries::restore`] again.
    #[error("rewound, but the node's own files are not all back in the data directory: {0}")]
    Unfinished(String),
}

fn impossible(error: impl std::fmt::Display) -> RewindError {
    RewindError::Impossible(error.to_string())
}

impl From<SourceError> for RewindError {
    fn from(error: SourceError) -> Self {
        if error.is_passing() {
            Self::Passing(error.to_string())
        } else {
            impossible(error)
        }
    }
}

/// Makes the data directory one of a server that was shut down in order, which pg_rewind asks for: a server that crashed
/// finishes its own WAL. Nothing to do where it was shut down in order.
///
/// pg_rewind would do it too, but without the server's configuration before 15, and with an end that removes WAL which
/// it needs then.
///
/// # Errors
/// [`RewindError::Passing`] where it takes longer than `deadline`, [`RewindError::Impossible`]. It is the same data
/// directory, whatever happens.
pub fn recover(
    programs: &Programs,
    pgdata: &Path,
    config_file: &Path,
    deadline: Deadline,
) -> Result<(), RewindError> {
    refuse_running(pgdata)?;
    let control = control::read(programs, pgdata, deadline).map_err(impossible)?;
    if control.state.is_orderly() {
        return Ok(());
    }
    if pgdata.join("backup_label").exists() {
        return Err(impossible(
            "the data directory is a base backup that never became consistent: rebuild it",
        ));
    }
    let owner = programs.owner();
    // A stand-alone server has no socket.
    server::make_room(pgdata, &Sockets::default(), owner, deadline).map_err(impossible)?;
    // With them it would be a standby, which a stand-alone server can't be.
    let signals = ["standby.signal", "recovery.signal"].map(|name| pgdata.join(name));
    let was_standby = signals.iter().any(|signal| signal.exists());
    act(programs, || {
        signals.iter().try_for_each(|signal| files::remove(signal))
    })?;
    let ended = stand_alone(programs, pgdata, config_file, deadline);
    if was_standby {
        // Whoever starts it by hand now gets no second primary.
        act(programs, || files::write(&signals[0], "", 0o600))?;
    }
    ended?;
    let control = control::read(programs, pgdata, deadline).map_err(impossible)?;
    if control.state.is_orderly() {
        return Ok(());
    }
    Err(impossible(format!(
        "crash recovery left the server in state {:?}; see its log",
        control.state.to_string()
    )))
}

fn stand_alone(
    programs: &Programs,
    pgdata: &Path,
    config_file: &Path,
    deadline: Deadline,
) -> Result<(), RewindError> {
    // The checkpoint at the end would remove the WAL back to the fork.
    let keep = match control::major_version(pgdata) {
        Some(12) => "wal_keep_segments=1000000",
        _ => "wal_keep_size=1TB",
    };
    let mut config = OsString::from("config_file=");
    config.push(config_file);
    let command = programs
        .tool("postgres")
        .args(["--single", "-D"])
        .arg(pgdata)
        .arg("-c")
        .arg(config)
        .args(["-c", keep, "template1"]);
    // Its standard input is empty: it recovers, reads the end of its input, and shuts down.
    match command.output(deadline) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let words = output.stderr_text();
            let lines: Vec<&str> = words.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            Err(impossible(format!(
                "crash recovery failed ({}): {}",
                output.status,
                one_line(&last.join("\n"))
            )))
        }
        Err(error @ RunError::TimedOut { .. }) => Err(RewindError::Passing(format!(
            "crash recovery: {error}; the next attempt begins where its last checkpoint was"
        ))),
        Err(
            error @ (RunError::NotFound(_)
            | RunError::Silent { .. }
            | RunError::Stopped(_)
            | RunError::Spawn { .. }
            | RunError::Failed { .. }),
        ) => Err(impossible(error)),
    }
}

fn refuse_running(pgdata: &Path) -> Result<(), RewindError> {
    match process::postmaster(pgdata) {
        Ok(Postmaster::Stopped) => Ok(()),
        Ok(Postmaster::Running(running)) => Err(impossible(format!(
            "a server runs in {} (process {}): stop it first",
            pgdata.display(),
            running.pid
        ))),
        Err(error) => Err(impossible(format!("{}: {error}", pgdata.display()))),
    }
}

/// File work as the owner; nothing has been touched when it fails.
fn act<T>(programs: &Programs, action: impl FnOnce() -> io::Result<T>) -> Result<T, RewindError> {
    as_owner(programs.owner(), action)
        .map_err(impossible)?
        .map_err(impossible)
}

/// One rewind.
#[derive(Clone, Copy, Debug)]
pub struct Rewind<'a> {
    pub programs: &'a Programs,
    pub pgdata: &'a Path,
    pub source: &'a Source,
    /// An ordinary connection to this database of the primary is needed.
    pub database: &'a str,
    /// Where WAL of this node may be that it has not itself any more. Not used before PostgreSQL 13.
    pub restore_command: Option<&'a str>,
    /// Where the node's own files are kept meanwhile: a directory that only we use, in one that belongs to the owner.
    pub save: &'a Path,
}

impl Rewind<'_> {
    /// Whether [`Rewind::run`] would work; nothing is changed. Ends by `deadline`, except for pg_rewind's own search, which takes as
    /// long as there are files and WAL.
    ///
    /// # Errors
    /// See [`RewindError`]; never [`RewindError::Damaged`].
    pub fn check(&self, deadline: Deadline) -> Result<(), RewindError> {
        refuse_running(self.pgdata)?;
        own_entries::restore(self.pgdata, self.save, self.programs.owner()).map_err(impossible)?;
        let control = control::read(self.programs, self.pgdata, deadline).map_err(impossible)?;
        if !control.state.is_orderly() {
            return Err(impossible(format!(
                "the server was not shut down in order (state {:?}): it has to recover first",
                control.state.to_string()
            )));
        }
        if !control.checksums && !control.wal_log_hints {
            return Err(impossible(
                "pg_rewind needs wal_log_hints=on, or data checksums, from before the fork on: rebuild this node, and set wal_log_hints=on for the next time",
            ));
        }
        let primary = self.source.identify(deadline)?;
        if primary.system != control.system_identifier {
            return Err(impossible(format!(
                "the data directory is of another database cluster (system identifier {}) than the primary's ({}): look whether pgdata and master_ip are right",
                control.system_identifier, primary.system
            )));
        }
        if self.version() < 16 {
            self.source
                .settle_timeline(self.database, primary.timeline, deadline)?;
        }
        self.source.rewind_rights(self.database, deadline)?;
        // The dry run ends before anything is copied.
        self.source.can_read_all(self.database, deadline)?;
        self.dry_run()
    }

    /// Undoes what this node wrote past the fork. Afterwards it is a standby that has to be started; its own files are as
    /// they were.
    ///
    /// # Errors
    /// See [`RewindError`].
    pub fn run(&self, on_progress: &mut dyn FnMut(Progress)) -> Result<(), RewindError> {
        refuse_running(self.pgdata)?;
        let owner = self.programs.owner();
        let set_aside = own_entries::save(self.pgdata, self.save, owner)
            .map_err(impossible)
            .and_then(|()| self.write_config())
            .and_then(|()| act(self.programs, || held_wal::hold(self.pgdata, self.save)));
        let mut ended = set_aside.and_then(|held| {
            if held.is_none() {
                say!(
                    WARN,
                    "the WAL has no second name while pg_rewind works: neither tmpdir nor the directory of pgdata is on its file system"
                );
            }
            self.pg_rewind(&[], on_progress)?;
            held.map_or(Ok(()), |held| self.give_wal_back(&held))
        });
        if ended.is_ok() {
            ended = self.become_standby();
        }
        self.remove_config();
        match own_entries::restore(self.pgdata, self.save, owner) {
            Ok(()) => ended,
            Err(error) => Err(match ended {
                Ok(()) => RewindError::Unfinished(error.to_string()),
                Err(RewindError::Damaged(why)) => RewindError::Damaged(format!("{why}; {error}")),
                Err(failed) => impossible(format!("{failed}; {error}")),
            }),
        }
    }

    /// What it starts from, where pg_rewind has removed it.
    fn give_wal_back(&self, held: &Path) -> Result<(), RewindError> {
        let damaged = |error: String| RewindError::Damaged(format!("its WAL: {error}"));
        let deadline = Deadline::after(timing::REPAIR_CHECKPOINT);
        let control = control::read(self.programs, self.pgdata, deadline);
        let control = control.map_err(|error| damaged(error.to_string()))?;
        // Up to there it has to replay, on the primary's timeline.
        let timeline = control.min_recovery.map_or(control.timeline, |(it, _)| it);
        let given = as_owner(self.programs.owner(), || {
            let lineage = wal::lineage(self.pgdata, timeline).map_err(io::Error::other)?;
            held_wal::give_back(self.pgdata, held, &lineage, control.wal_segment_size)
        });
        let count = given
            .map_err(io::Error::from)
            .and_then(|result| result)
            .map_err(|error| damaged(error.to_string()))?;
        if count > 0 {
            say!(
                INFO,
                "pg_rewind had removed WAL that the node starts from: it is back",
                files = count
            );
        }
        Ok(())
    }

    fn become_standby(&self) -> Result<(), RewindError> {
        let made = as_owner(self.programs.owner(), || {
            files::write(&self.pgdata.join("standby.signal"), "", 0o600)?;
            files::remove(&self.pgdata.join("recovery.signal"))
        });
        made.map_err(io::Error::from)
            .and_then(|result| result)
            .map_err(|error| {
                RewindError::Damaged(format!("standby.signal can't be written: {error}"))
            })
    }

    fn version(&self) -> u32 {
        control::major_version(self.pgdata).unwrap_or_default()
    }

    /// In a data directory as [`Rewind::run`] makes it as far as pg_rewind would stop at the difference: it refuses a link here
    /// where the primary has a file.
    fn dry_run(&self) -> Result<(), RewindError> {
        let owner = self.programs.owner();
        let names = act(self.programs, || {
            std::fs::read_dir(self.pgdata)?
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<PathBuf>>>()
        })?;
        let is_own_link = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            path.is_symlink() && name.is_some_and(own_entries::is_own)
        };
        if names.iter().any(|path| is_own_link(path)) {
            let saved = own_entries::save_some(self.pgdata, self.save, owner, Path::is_symlink);
            let tried = saved
                .map_err(impossible)
                .and_then(|()| self.dry_run_as_it_is());
            own_entries::restore(self.pgdata, self.save, owner).map_err(impossible)?;
            return tried;
        }
        self.dry_run_as_it_is()
    }

    fn dry_run_as_it_is(&self) -> Result<(), RewindError> {
        // Before 15 it reads only postgresql.conf in the data directory; the one there is the server's own, or none.
        let in_place = self.pgdata.join("postgresql.conf");
        let is_needed = self.version() >= 15 || !in_place.exists();
        if is_needed {
            self.write_config()?;
        }
        let tried = self.pg_rewind(&["--dry-run"], &mut |_| {});
        if is_needed {
            self.remove_config();
        }
        tried
    }

    fn restore_command(&self) -> Option<&str> {
        self.restore_command.filter(|_| self.version() >= 13)
    }

    /// A configuration that says no more than where old WAL is.
    fn config(&self) -> PathBuf {
        if self.version() >= 15 {
            self.save.with_extension("conf")
        } else {
            self.pgdata.join("postgresql.conf")
        }
    }

    fn write_config(&self) -> Result<(), RewindError> {
        let Some(command) = self.restore_command() else {
            return Ok(());
        };
        let text = format!("restore_command = {}\n", config::quote(command));
        act(self.programs, || files::write(&self.config(), &text, 0o600))
    }

    fn remove_config(&self) {
        if self.restore_command().is_some() {
            // In the data directory it goes with the source's files, and elsewhere it is written anew.
            let _left = as_owner(self.programs.owner(), || files::remove(&self.config()));
        }
    }

    fn pg_rewind(
        &self,
        more: &[&str],
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RewindError> {
        let version = self.version();
        let mut command = self
            .source
            .told(self.programs.tool("pg_rewind"))
            .arg("--target-pgdata")
            .arg(self.pgdata)
            .arg("--source-server")
            .arg(Source::to_database(self.database))
            .arg("--progress")
            .args(more.iter().copied());
        if version >= 13 {
            command = command.arg("--no-ensure-shutdown");
        }
        if self.restore_command().is_some() {
            command = command.arg("--restore-target-wal");
            if version >= 15 {
                command = command.arg("--config-file").arg(self.config());
            }
        }
        let (mut heard, mut meter) = (Heard::default(), Meter::default());
        let is_dry = !more.is_empty();
        let ended = command.watch(timing::REPAIR_SILENCE, |line| {
            match Progress::of_line(line) {
                Some(progress) => on_progress(meter.rated(progress)),
                None => heard.hear(line),
            }
            // A dry run fetches everything from the primary, too, and throws it away. What can fail has been tried by now.
            if is_dry && heard.has_begun {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        match ended {
            Ok(_) if heard.not_needed => Err(RewindError::NotNeeded),
            Ok(_) => Ok(()),
            Err(RunError::Stopped(_)) if is_dry => Ok(()),
            Err(error) => Err(self.explain(&error, &heard, is_dry)),
        }
    }

    fn explain(&self, error: &RunError, heard: &Heard, is_dry: bool) -> RewindError {
        let words = match error {
            RunError::Failed { .. } => heard.words(),
            RunError::NotFound(_)
            | RunError::TimedOut { .. }
            | RunError::Silent { .. }
            | RunError::Stopped(_)
            | RunError::Spawn { .. } => error.to_string(),
        };
        if heard.has_begun && !is_dry {
            return RewindError::Damaged(words);
        }
        let deadline = Deadline::after(Duration::from_secs(10));
        if let Err(error) = self.source.identify(deadline)
            && error.is_passing()
        {
            return RewindError::Passing(format!("{words}; {error}"));
        }
        if heard.lacks_wal {
            return impossible(format!(
                "{words}; this node has no WAL any more that reaches back to the fork: rebuild it (a larger wal_keep_size, or an archive and restore_command, keep it)"
            ));
        }
        impossible(words)
    }
}

/// What pg_rewind said beside its progress.
#[derive(Debug, Default)]
struct Heard {
    lines: Vec<String>,
    /// From here on it writes.
    has_begun: bool,
    not_needed: bool,
    lacks_wal: bool,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        self.has_begun |= line.contains("need to copy");
        self.not_needed |= line.contains("no rewind required");
        self.lacks_wal |= [
            "could not find previous WAL record",
            "could not read WAL record",
            "could not find checkpoint",
        ]
        .iter()
        .any(|part| line.contains(part));
        let is_problem = ["error:", "fatal:", "detail:", "hint:"]
            .iter()
            .any(|part| line.contains(part));
        if is_problem {
            // The first is the cause.
            if self.lines.len() < LAST_WORDS {
                self.lines.push(line.trim().to_owned());
            }
        }
    }

    fn words(&self) -> String {
        if self.lines.is_empty() {
            return "pg_rewind failed and did not say why".to_owned();
        }
        self.lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_pg_rewind_are_understood() {
        let mut heard = Heard::default();
        for line in [
            // What 19's servers tell whoever logs in with such a password is not why it failed.
            "WARNING:  authenticated with an MD5-encrypted password",
            "DETAIL:  MD5 password support is deprecated and will be removed in a future release of PostgreSQL.",
            "pg_rewind: connected to server",
            "pg_rewind: servers diverged at WAL location 0/3000000 on timeline 1",
            "pg_rewind: error: could not find previous WAL record at 0/3000000",
        ] {
            heard.hear(line);
        }
        assert!(heard.lacks_wal && !heard.has_begun && !heard.not_needed);
        assert_eq!(
            heard.words(),
            "pg_rewind: error: could not find previous WAL record at 0/3000000"
        );
        heard.hear("pg_rewind: need to copy 51 MB (total source directory size is 67 MB)");
        heard.hear("pg_rewind: no rewind required");
        assert!(heard.has_begun && heard.not_needed);
    }
}
