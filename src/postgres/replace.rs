//! A complete copy takes the place of the old data.
//!
//! The copy lies *inside* each place that it is for (the data directory, the directory that pg_wal leads to, each
//! tablespace), so that every move is a rename within one directory: also where such a place is a mount point, or a link
//! to somewhere else. A marker file says how far it is, so that a swap that ended anywhere can be finished. `global`,
//! without which no server starts, leaves first and comes last.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::postgres::files::{self, OURS};
use crate::postgres::own_entries::{is_own, is_there, remove_any, sync_dir};
use crate::postgres::owner::as_owner;
use crate::postgres::process::{self, Postmaster};
use crate::postgres::reading;
use crate::sys::Owner;
use crate::trial::point;

/// Where the copy is made, in each place.
pub(super) const NEW: &str = ".expgsql.new";
/// Where the old data go, in each place, until the server runs on the new.
const OLD: &str = ".expgsql.old";
/// Says how far the swap is.
const SWAP: &str = ".expgsql.swap";
/// Says where an unfinished copy lies.
const COPY: &str = ".expgsql.copy";

/// A swap could not be done, or may not be done now.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "a new copy of the data is half-way into its place in {}: that has to be finished first", .0.display()
    )]
    Pending(PathBuf),
    #[error("a server runs in {} (process {pid}): stop it first", .pgdata.display())]
    Running { pgdata: PathBuf, pid: i32 },
    #[error("{} is not understood: it was changed by something else; rebuild by hand", .0.display())]
    BadMarker(PathBuf),
}

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Data,
    Wal,
    Tablespace,
}

/// One place, without symbolic links in its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) dir: PathBuf,
    pub(super) kind: Kind,
}

impl Unit {
    pub(super) fn new_dir(&self) -> PathBuf {
        self.dir.join(NEW)
    }

    fn old_dir(&self) -> PathBuf {
        self.dir.join(OLD)
    }
}

/// All places of one data directory, itself first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub(super) units: Vec<Unit>,
    /// The data directory's pg_wal is a mount point: it can't be moved, only what is in it.
    pub(super) wal_stays: bool,
}

impl Layout {
    /// Whether an entry of a place is data, that the swap takes out.
    pub(super) fn is_data(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Data => {
                let stays = is_own(name) || name.starts_with(OURS);
                !stays && (name != "pg_wal" || !self.wal_stays)
            }
            Kind::Wal => is_wal(name),
            // The directory of one major version and catalog; there may be another version's.
            Kind::Tablespace => name.starts_with("PG_"),
        }
    }
}

/// What PostgreSQL keeps in pg_wal; whatever else is there stays.
fn is_wal(name: &str) -> bool {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let is_hex = first.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (first.len(), rest) {
        (24, "" | "partial") | (8, "history") => is_hex,
        (24, rest) if rest.ends_with(".backup") => is_hex,
        _ => {
            [
                "archive_status",
                "summaries",
                "RECOVERYXLOG",
                "RECOVERYHISTORY",
            ]
            .contains(&name)
                || first == "xlogtemp"
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// The old data leave.
    Out,
    /// The new come.
    In,
    /// The new are in place; the old wait to be removed.
    Purge,
}

/// The marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    phase: Phase,
    layout: Layout,
}

/// What is in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listing {
    entries: Vec<String>,
    new: Vec<String>,
}

/// One change that is done or not done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    MakeDir(PathBuf),
    Move {
        name: String,
        from: PathBuf,
        to: PathBuf,
    },
    /// What was moved so far is on disk before anything else is.
    Sync(Vec<PathBuf>),
    RemoveDir(PathBuf),
    Become(Phase),
}

/// What is left to do in this phase; `listings` are of the units, in their order.
fn steps(plan: &Plan, listings: &[Listing]) -> Vec<Step> {
    let units = || plan.layout.units.iter().zip(listings);
    let mut steps = Vec::new();
    match plan.phase {
        Phase::Out => {
            let is_data = |kind, name: &String| plan.layout.is_data(kind, name);
            let out = |unit: &Unit, name: &String| Step::Move {
                name: name.clone(),
                from: unit.dir.clone(),
                to: unit.old_dir(),
            };
            steps.extend(units().map(|(unit, _)| Step::MakeDir(unit.old_dir())));
            let (key, others) = split(units(), |listing| &listing.entries);
            steps.extend(key.iter().map(|(unit, name)| out(unit, name)));
            steps.push(sync_all(&plan.layout, Unit::old_dir));
            let data = others
                .iter()
                .filter(|(unit, name)| is_data(unit.kind, name));
            steps.extend(data.map(|(unit, name)| out(unit, name)));
            steps.push(sync_all(&plan.layout, Unit::old_dir));
            steps.push(Step::Become(Phase::In));
        }
        Phase::In => {
            let into = |unit: &Unit, name: &String| Step::Move {
                name: name.clone(),
                from: unit.new_dir(),
                to: unit.dir.clone(),
            };
            let (key, others) = split(units(), |listing| &listing.new);
            steps.extend(others.iter().map(|(unit, name)| into(unit, name)));
            steps.push(sync_all(&plan.layout, Unit::new_dir));
            steps.extend(key.iter().map(|(unit, name)| into(unit, name)));
            steps.push(sync_all(&plan.layout, Unit::new_dir));
            steps.extend(units().map(|(unit, _)| Step::RemoveDir(unit.new_dir())));
            steps.push(Step::Become(Phase::Purge));
        }
        Phase::Purge => {}
    }
    steps
}

type Entries<'a> = Vec<(&'a Unit, &'a String)>;

/// The data directory's `global`, and all other entries.
fn split<'a>(
    units: impl Iterator<Item = (&'a Unit, &'a Listing)>,
    entries: impl Fn(&'a Listing) -> &'a Vec<String>,
) -> (Entries<'a>, Entries<'a>) {
    units
        .flat_map(|(unit, listing)| entries(listing).iter().map(move |name| (unit, name)))
        .partition(|(unit, name)| unit.kind == Kind::Data && *name == "global")
}

fn sync_all(layout: &Layout, other: impl Fn(&Unit) -> PathBuf) -> Step {
    let dirs = layout.units.iter();
    Step::Sync(
        dirs.flat_map(|unit| [unit.dir.clone(), other(unit)])
            .collect(),
    )
}

impl Step {
    fn take(&self, pgdata: &Path, layout: &Layout) -> Result<(), SwapError> {
        match self {
            // A tablespace may be gone here, and on the primary, too.
            Self::MakeDir(dir) if !dir.parent().is_some_and(Path::exists) => Ok(()),
            Self::MakeDir(dir) => at(dir, files::ensure_dir(dir, 0o700)),
            Self::Move { name, from, to } => {
                let (from, to) = (from.join(name), to.join(name));
                at(&from, fs::rename(&from, &to))?;
                point!(SwapMoved);
                Ok(())
            }
            Self::Sync(dirs) => dirs.iter().try_for_each(|dir| {
                // A tablespace that the primary has no more has no new directory.
                if at(dir, is_there(dir))? {
                    at(dir, sync_dir(dir))
                } else {
                    Ok(())
                }
            }),
            Self::RemoveDir(dir) => at(dir, remove_any(dir)),
            Self::Become(phase) => {
                let (phase, layout) = (*phase, layout.clone());
                write(pgdata, &Plan { phase, layout })?;
                match phase {
                    Phase::Out => {}
                    Phase::In => {
                        point!(SwapOut);
                    }
                    Phase::Purge => {
                        point!(SwapIn);
                    }
                }
                Ok(())
            }
        }
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, SwapError> {
    result.map_err(|source| SwapError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Does it as the owner.
pub(super) fn act<T>(
    owner: &Owner,
    pgdata: &Path,
    action: impl FnOnce() -> Result<T, SwapError>,
) -> Result<T, SwapError> {
    let done = as_owner(owner, action);
    at(pgdata, done.map_err(io::Error::from))?
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, SwapError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let text = match reading::read_own(dir, path) {
        Ok(text) => text,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return at(path, Err(error)),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|_| SwapError::BadMarker(path.to_owned()))
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), SwapError> {
    let text = serde_json::to_string(value).map_err(|_| SwapError::BadMarker(path.to_owned()))?;
    at(path, files::write(path, &text, 0o600))
}

fn write(pgdata: &Path, plan: &Plan) -> Result<(), SwapError> {
    write_json(&pgdata.join(SWAP), plan)
}

fn plan_of(pgdata: &Path) -> Result<Option<Plan>, SwapError> {
    read(&pgdata.join(SWAP))
}

/// The names in a directory that are text: PostgreSQL makes no others. A directory that is missing is empty.
fn names(dir: &Path) -> Result<Vec<String>, SwapError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => at(dir, other)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(at(dir, entry)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn refuse_running(pgdata: &Path) -> Result<(), SwapError> {
    match at(pgdata, process::postmaster(pgdata))? {
        Postmaster::Stopped => Ok(()),
        Postmaster::Running(running) => Err(SwapError::Running {
            pgdata: pgdata.to_owned(),
            pid: running.pid,
        }),
    }
}

/// What is known of a swap in a data directory. Every call may be interrupted anywhere and repeated.
#[derive(Debug)]
pub struct Swap;

impl Swap {
    /// Whether a swap has begun and not ended: no server can start there until [`Swap::finish`] has.
    ///
    /// # Errors
    /// The marker can't be read or understood, which is not the same as "no".
    pub fn is_pending(pgdata: &Path) -> Result<bool, SwapError> {
        Ok(plan_of(pgdata)?.is_some_and(|plan| plan.phase != Phase::Purge))
    }

    /// Whether something of a repair is still there: a copy that is not complete, or old data.
    ///
    /// # Errors
    /// It can't be told.
    pub fn has_leftovers(pgdata: &Path) -> io::Result<bool> {
        Ok(pgdata.join(COPY).try_exists()? || pgdata.join(SWAP).try_exists()?)
    }

    /// Completes a swap. Nothing to do where none is pending.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn finish(pgdata: &Path, owner: &Owner) -> Result<(), SwapError> {
        Self::advance(pgdata, owner, usize::MAX).map(drop)
    }

    /// Does so many steps of a swap at most, each of which is done or not done whenever the process ends. `true`: it is
    /// complete.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn advance(pgdata: &Path, owner: &Owner, limit: usize) -> Result<bool, SwapError> {
        let mut left = limit;
        while let Some(plan) = plan_of(pgdata)?.filter(|plan| plan.phase != Phase::Purge) {
            refuse_running(pgdata)?;
            let ended = act(owner, pgdata, || {
                let listings = plan.layout.units.iter().map(|unit| {
                    Ok(Listing {
                        entries: names(&unit.dir)?,
                        new: names(&unit.new_dir())?,
                    })
                });
                let listings: Vec<Listing> = listings.collect::<Result<_, SwapError>>()?;
                for step in steps(&plan, &listings) {
                    if left == 0 {
                        return Ok(false);
                    }
                    left -= 1;
                    step.take(pgdata, &plan.layout)?;
                }
                Ok(true)
            })?;
            if !ended {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the old data. For when the server runs on the new.
    ///
    /// # Errors
    /// See [`SwapError`]; [`SwapError::Pending`] while the swap is.
    pub fn purge(pgdata: &Path, owner: &Owner) -> Result<(), SwapError> {
        let Some(plan) = plan_of(pgdata)? else {
            return Ok(());
        };
        if plan.phase != Phase::Purge {
            return Err(SwapError::Pending(pgdata.to_owned()));
        }
        act(owner, pgdata, || {
            for unit in &plan.layout.units {
                let old = unit.old_dir();
                at(&old, remove_any(&old))?;
            }
            let marker = pgdata.join(SWAP);
            at(&marker, files::remove(&marker))
        })
    }

    /// Removes what is there of a copy that is not complete, or not wanted any more. The old data are not touched.
    ///
    /// # Errors
    /// See [`SwapError`]; [`SwapError::Pending`] while a swap is: then the copy is the data.
    pub fn discard(pgdata: &Path, owner: &Owner) -> Result<(), SwapError> {
        if Self::is_pending(pgdata)? {
            return Err(SwapError::Pending(pgdata.to_owned()));
        }
        let marker = pgdata.join(COPY);
        let Some(layout) = read::<Layout>(&marker)? else {
            return Ok(());
        };
        act(owner, pgdata, || {
            for unit in &layout.units {
                let new = unit.new_dir();
                at(&new, remove_patiently(&new))?;
            }
            at(&marker, files::remove(&marker))
        })
    }

    /// A copy is about to be made in `layout`.
    pub(super) fn announce(pgdata: &Path, layout: &Layout) -> Result<(), SwapError> {
        write_json(&pgdata.join(COPY), layout)
    }

    /// The copy is complete and on disk, and takes over from here on.
    pub(super) fn begin(pgdata: &Path, owner: &Owner, layout: Layout) -> Result<(), SwapError> {
        refuse_running(pgdata)?;
        act(owner, pgdata, || {
            let phase = Phase::Out;
            write(pgdata, &Plan { phase, layout })?;
            let marker = pgdata.join(COPY);
            at(&marker, files::remove(&marker))
        })
    }
}

/// pg_basebackup's second process, which receives WAL, outlives a killed one for a moment and may make one more file.
fn remove_patiently(dir: &Path) -> io::Result<()> {
    let mut tries = 0..3;
    loop {
        match remove_any(dir) {
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries.next().is_some() => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(dir: &str, kind: Kind) -> Unit {
        Unit {
            dir: dir.into(),
            kind,
        }
    }

    fn listing(entries: &[&str], new: &[&str]) -> Listing {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Listing {
            entries: owned(entries),
            new: owned(new),
        }
    }

    fn moves(plan: &Plan, listings: &[Listing]) -> Vec<String> {
        let all = steps(plan, listings);
        let moves = all.iter().filter_map(|step| match step {
            Step::Move { name, from, to } => {
                Some(format!("{}/{name} {}", from.display(), to.display()))
            }
            Step::MakeDir(_) | Step::Sync(_) | Step::RemoveDir(_) | Step::Become(_) => None,
        });
        moves.collect()
    }

    fn layout(wal_stays: bool) -> Layout {
        let units = vec![
            unit("/d", Kind::Data),
            unit("/w", Kind::Wal),
            unit("/t", Kind::Tablespace),
        ];
        Layout { units, wal_stays }
    }

    #[test]
    fn global_leaves_first_and_comes_last_and_own_files_stay() {
        let listings = [
            listing(
                &[
                    ".expgsql.new",
                    "PG_VERSION",
                    "base",
                    "global",
                    "pg_wal",
                    "postgresql.conf",
                    "lost+found",
                ],
                &["PG_VERSION", "base", "global", "standby.signal"],
            ),
            listing(
                &[
                    ".expgsql.new",
                    "000000010000000000000001",
                    "archive_status",
                    "notes",
                ],
                &["000000010000000000000009"],
            ),
            listing(&["PG_15_202209061", "others"], &["PG_15_202209061"]),
        ];
        let mut plan = Plan {
            phase: Phase::Out,
            layout: layout(true),
        };
        assert_eq!(
            moves(&plan, &listings),
            [
                "/d/global /d/.expgsql.old",
                "/d/PG_VERSION /d/.expgsql.old",
                "/d/base /d/.expgsql.old",
                "/w/000000010000000000000001 /w/.expgsql.old",
                "/w/archive_status /w/.expgsql.old",
                "/t/PG_15_202209061 /t/.expgsql.old",
            ]
        );
        plan.layout.wal_stays = false;
        assert!(moves(&plan, &listings).contains(&"/d/pg_wal /d/.expgsql.old".to_owned()));
        plan.phase = Phase::In;
        assert_eq!(
            moves(&plan, &listings),
            [
                "/d/.expgsql.new/PG_VERSION /d",
                "/d/.expgsql.new/base /d",
                "/d/.expgsql.new/standby.signal /d",
                "/w/.expgsql.new/000000010000000000000009 /w",
                "/t/.expgsql.new/PG_15_202209061 /t",
                "/d/.expgsql.new/global /d",
            ]
        );
        assert!(matches!(
            steps(&plan, &listings).last(),
            Some(Step::Become(Phase::Purge))
        ));
        plan.phase = Phase::Purge;
        assert!(steps(&plan, &listings).is_empty());
    }

    #[test]
    fn only_wal_is_wal() {
        for name in [
            "000000010000000000000001",
            "000000010000000000000001.partial",
            "00000002.history",
            "000000010000000000000002.00000028.backup",
            "archive_status",
            "summaries",
            "xlogtemp.123",
        ] {
            assert!(is_wal(name), "{name}");
        }
        for name in [
            "lost+found",
            ".expgsql.new",
            "readme",
            "000000010000000000000001.gz",
            "00000002",
        ] {
            assert!(!is_wal(name), "{name}");
        }
    }

    #[test]
    fn a_marker_that_is_not_understood_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Swap::is_pending(dir.path()).unwrap());
        assert!(!Swap::is_pending(&dir.path().join("nowhere")).unwrap());
        fs::write(dir.path().join(SWAP), "torn").unwrap();
        assert!(matches!(
            Swap::is_pending(dir.path()),
            Err(SwapError::BadMarker(_))
        ));
    }
}
