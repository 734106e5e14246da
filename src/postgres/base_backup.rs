//! pg_basebackup: a new copy of the primary, beside the old data until it is complete.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::model::progress::{Bytes, Progress};
use crate::model::timeline::Lineage;
use crate::postgres::control::{self, ControlError};
use crate::postgres::files;
use crate::postgres::meter::Meter;
use crate::postgres::mounts::Mounts;
use crate::postgres::own_entries::{free_in, is_own, is_there, remove_any, sync_dir};
use crate::postgres::owner::as_owner;
use crate::postgres::process::{self, Postmaster};
use crate::postgres::programs::Programs;
use crate::postgres::reach;
use crate::postgres::replace::{self, Kind, Layout, NEW, Swap, SwapError, Unit};
use crate::postgres::server::{self, ServerError};
use crate::postgres::source::{Identity, Source, SourceError, one_line};
use crate::postgres::wal::{self, WalError};
use crate::sys::{Deadline, RunError};
use crate::timing;

/// How many lines of pg_basebackup's words are kept.
const LAST_WORDS: usize = 8;

/// For each of the short questions before and after the copy.
const QUESTION: Duration = Duration::from_secs(30);

/// Why there is no new copy. The old data are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BaseBackupError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "the data directory is of another database cluster (system identifier {local}) than the primary's ({primary}), and is not replaced: look whether pgdata and master_ip are right; if they are, move the old data away by hand"
    )]
    OtherCluster { local: String, primary: String },
    #[error("a server runs in the data directory (process {0}): stop it first")]
    Running(i32),
    #[error(
        "not enough space for a second copy of the data: {needed} needed, {free} free; the old data were left as they are. Make space, or remove the old data directory's contents by hand"
    )]
    Space { needed: Bytes, free: Bytes },
    /// It ran full before how much is needed was known.
    #[error(
        "not enough space for a second copy of the data: {0}; the old data were left as they were. Make space, or remove the old data directory's contents by hand"
    )]
    Full(String),
    #[error("{} is a mount point inside {}, which can't be replaced around it: rebuild by hand", .inner.display(), .outer.display())]
    Mounted { inner: PathBuf, outer: PathBuf },
    #[error("{} lies inside {}, which can't be replaced around it: rebuild by hand", .inner.display(), .outer.display())]
    Nested { inner: PathBuf, outer: PathBuf },
    #[error(
        "the primary runs PostgreSQL {copy} and this node has {own}: install the same major version"
    )]
    OtherVersion { copy: u32, own: u32 },
    /// The primary removed WAL that belongs to the copy before it was sent: a busy primary that keeps little of it.
    #[error("{0}")]
    WalRemoved(String),
    /// pg_basebackup's words.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Tool(#[from] RunError),
    #[error("the new copy: {0}")]
    Control(#[from] ControlError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Swap(#[from] SwapError),
}

impl BaseBackupError {
    /// Whether trying again later may be enough.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Source(error) => error.is_passing(),
            Self::WalRemoved(_) => true,
            Self::OtherCluster { .. }
            | Self::Running(_)
            | Self::Space { .. }
            | Self::Full(_)
            | Self::Mounted { .. }
            | Self::Nested { .. }
            | Self::OtherVersion { .. }
            | Self::Failed(_)
            | Self::Tool(_)
            | Self::Control(_)
            | Self::Server(_)
            | Self::Wal(_)
            | Self::Swap(_) => false,
        }
    }
}

/// One copy to make.
#[derive(Clone, Copy, Debug)]
pub struct BaseBackup<'a> {
    pub programs: &'a Programs,
    pub pgdata: &'a Path,
    pub source: &'a Source,
    /// The primary is asked there for its tablespaces. A connection that it refuses is no error; then a tablespace that this
    /// node does not have yet must be empty or missing here.
    pub database: &'a str,
}

/// A complete copy, on disk, not in its place yet.
#[derive(Debug)]
#[must_use = "a copy that is not swapped in has to be discarded"]
pub struct Copy<'a> {
    programs: &'a Programs,
    pgdata: &'a Path,
    layout: Layout,
}

impl Copy<'_> {
    /// The old data leave and the new take their place. From here on there is no way back: where this ends early,
    /// [`Swap::finish`] goes on. The old data are kept until [`Swap::purge`].
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn swap_in(self) -> Result<(), SwapError> {
        let (pgdata, owner) = (self.pgdata, self.programs.owner());
        self.begin_swap()?;
        Swap::finish(pgdata, owner)
    }

    /// The history of the server that this is a copy of.
    ///
    /// # Errors
    /// The copy can't be read.
    pub fn lineage(&self) -> Result<Lineage, BaseBackupError> {
        let new = self.pgdata.join(NEW);
        let control = control::read(self.programs, &new, Deadline::after(QUESTION))?;
        let wal = self.layout.units.iter().find(|unit| unit.kind == Kind::Wal);
        // The link is for the time after the swap.
        let wal = wal.map_or_else(|| new.join("pg_wal"), Unit::new_dir);
        Ok(wal::lineage_in(&new, &wal, control.timeline)?)
    }

    /// Gives it up.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn discard(self) -> Result<(), SwapError> {
        Swap::discard(self.pgdata, self.programs.owner())
    }

    /// Only the point of no return of [`Copy::swap_in`]; the rest is [`Swap::finish`]'s.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn begin_swap(self) -> Result<(), SwapError> {
        Swap::begin(self.pgdata, self.programs.owner(), self.layout)
    }
}

/// The old data directory, as far as it matters.
struct Old {
    layout: Layout,
    /// What the links to the tablespaces lead to, as it stands in them, by the tablespace's number.
    links: BTreeMap<u32, PathBuf>,
    /// What pg_wal leads to, where it is a link: as it stands in the link.
    wal_link: Option<PathBuf>,
    /// There are data, and with them this node's own configuration.
    is_populated: bool,
}

impl<'a> BaseBackup<'a> {
    /// Makes the copy. Takes as long as it takes; the primary may be silent for [`timing::REPAIR_SILENCE`] at most.
    ///
    /// What an earlier attempt left is removed first; so are the data that an earlier, complete swap has put aside.
    ///
    /// # Errors
    /// See [`BaseBackupError`]. The old data are as they were.
    pub fn take(&self, on_progress: &mut dyn FnMut(Progress)) -> Result<Copy<'a>, BaseBackupError> {
        let owner = self.programs.owner();
        self.refuse_running()?;
        if Swap::is_pending(self.pgdata)? {
            return Err(SwapError::Pending(self.pgdata.to_owned()).into());
        }
        let primary = self.source.identify(Deadline::after(QUESTION))?;
        self.refuse_other_cluster(&primary)?;
        let spaces = match self
            .source
            .tablespaces(self.database, Deadline::after(QUESTION))
        {
            Err(error) if error.is_passing() => return Err(error.into()),
            other => other.ok(),
        };
        server::kill_orphans(self.pgdata, owner, Deadline::after(QUESTION))?;
        Swap::discard(self.pgdata, owner)?;
        Swap::purge(self.pgdata, owner)?;
        self.make_pgdata()?;
        let mounts = Mounts::read().map_err(|source| io_error(self.pgdata, source))?;
        let (old, mapping) = replace::act(owner, self.pgdata, || Ok(self.look(spaces, &mounts)))??;
        refuse_mounts(&old.layout, &mounts)?;
        replace::act(owner, self.pgdata, || {
            Swap::announce(self.pgdata, &old.layout)
        })?;
        let made = self
            .pg_basebackup(&old, &mapping, on_progress)
            .and_then(|()| self.verify(&primary))
            .and_then(|()| Ok(replace::act(owner, self.pgdata, || self.fit(&old))?));
        if let Err(error) = made {
            // Its words matter more than what is left; the next attempt begins with that.
            let _left = Swap::discard(self.pgdata, owner);
            return Err(error);
        }
        Ok(Copy {
            programs: self.programs,
            pgdata: self.pgdata,
            layout: old.layout,
        })
    }

    fn refuse_running(&self) -> Result<(), BaseBackupError> {
        match process::postmaster(self.pgdata) {
            Ok(Postmaster::Stopped) => Ok(()),
            Ok(Postmaster::Running(running)) => Err(BaseBackupError::Running(running.pid)),
            Err(source) => Err(io_error(self.pgdata, source).into()),
        }
    }

    fn refuse_other_cluster(&self, primary: &Identity) -> Result<(), BaseBackupError> {
        if !self.pgdata.join("global/pg_control").exists() {
            return Ok(());
        }
        // A control file that can't be read is one more reason for a new copy.
        match control::read(self.programs, self.pgdata, Deadline::after(QUESTION)) {
            Ok(control) if control.system_identifier != primary.system => {
                Err(BaseBackupError::OtherCluster {
                    local: control.system_identifier,
                    primary: primary.system.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn make_pgdata(&self) -> Result<(), BaseBackupError> {
        let owner = self.programs.owner();
        if self.pgdata.is_dir() {
            return Ok(());
        }
        let made = as_owner(owner, || files::ensure_dir(self.pgdata, 0o700))
            .map_err(io::Error::from)
            .and_then(|result| result);
        let made = match made {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && geteuid().is_root() =>
            {
                reach::make_dir(self.pgdata, owner, 0o700)
            }
            other => other,
        };
        Ok(made.map_err(|source| io_error(self.pgdata, source))?)
    }

    /// The places of the old data and where each of the primary's tablespaces goes.
    fn look(
        &self,
        spaces: Option<Vec<(u32, PathBuf)>>,
        mounts: &Mounts,
    ) -> Result<(Old, Vec<(PathBuf, PathBuf)>), BaseBackupError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| BaseBackupError::from(SwapError::Io { path, source })
        };
        let pgdata = fs::canonicalize(self.pgdata).map_err(fail(self.pgdata))?;
        let mut units = vec![Unit {
            dir: pgdata.clone(),
            kind: Kind::Data,
        }];
        let wal = pgdata.join("pg_wal");
        let wal_link = fs::read_link(&wal).ok();
        let wal_stays = wal_link.is_none() && mounts.has(&wal);
        if wal_link.is_some() || wal_stays {
            units.push(Unit {
                dir: real(&wal),
                kind: Kind::Wal,
            });
        }
        let (mut tablespaces, mut links) = (BTreeMap::new(), BTreeMap::new());
        let dir = pgdata.join("pg_tblspc");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries.map_err(fail(&dir))?),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(fail(&dir))?.path();
            if let (Some(number), Ok(target)) = (number(&path), fs::read_link(&path)) {
                tablespaces.insert(number, real(&path));
                links.insert(number, target);
            }
        }
        let mapping = map(&tablespaces, spaces);
        let places = tablespaces.values().chain(mapping.iter().map(|(_, to)| to));
        for dir in places {
            if !units.iter().any(|unit| unit.dir == *dir) {
                units.push(Unit {
                    dir: dir.clone(),
                    kind: Kind::Tablespace,
                });
            }
        }
        refuse_nested(&units)?;
        let old = Old {
            layout: Layout { units, wal_stays },
            links,
            wal_link,
            is_populated: pgdata.join("PG_VERSION").exists(),
        };
        Ok((old, mapping))
    }

    fn pg_basebackup(
        &self,
        old: &Old,
        mapping: &[(PathBuf, PathBuf)],
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), BaseBackupError> {
        let mut command = self
            .source
            .told(self.programs.tool("pg_basebackup"))
            .arg("-D")
            .arg(self.pgdata.join(NEW))
            .arg("-d")
            .arg(Source::plain())
            .args(["-w", "-X", "stream", "--checkpoint=fast", "--progress"]);
        if self.own_version()? >= 13 {
            command = command.arg("--no-manifest");
        }
        let wal = old.layout.units.iter().find(|unit| unit.kind == Kind::Wal);
        if let Some(wal) = wal {
            let mut word = OsString::from("--waldir=");
            word.push(wal.new_dir());
            command = command.arg(word);
        }
        for (from, to) in mapping {
            let mut word = OsString::from("--tablespace-mapping=");
            word.push(escaped(from.as_os_str()));
            word.push("=");
            word.push(escaped(to.join(NEW).as_os_str()));
            command = command.arg(word);
        }
        let (mut lines, mut meter) = (Vec::new(), Meter::default());
        let mut is_measured = false;
        let mut too_little = None;
        let ended = command.watch(timing::REPAIR_SILENCE, |line| {
            let Some(progress) = Progress::of_line(line) else {
                let is_problem = ["error:", "fatal:", "detail:", "hint:"]
                    .iter()
                    .any(|part| line.contains(part));
                if is_problem && lines.len() < LAST_WORDS {
                    lines.push(line.to_owned());
                }
                return ControlFlow::Continue(());
            };
            if progress.total > 0 && !is_measured {
                is_measured = true;
                too_little = lack_of_space(&old.layout, progress);
                if too_little.is_some() {
                    return ControlFlow::Break(());
                }
            }
            on_progress(meter.rated(progress));
            ControlFlow::Continue(())
        });
        match (ended, too_little) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(RunError::Failed { .. }), None) => Err(self.why(&one_line(&lines.join("\n")))),
            (Err(error), None) => Err(error.into()),
        }
    }

    fn why(&self, words: &str) -> BaseBackupError {
        let words = if words.is_empty() {
            "pg_basebackup failed and did not say why"
        } else {
            words
        };
        if words.contains("No space left on device") {
            return BaseBackupError::Full(words.to_owned());
        }
        match self
            .source
            .why_failed("BASE_BACKUP", words, Deadline::after(QUESTION))
        {
            SourceError::Unexpected { got, .. } if names_a_wal_file(&got) => {
                BaseBackupError::WalRemoved(got)
            }
            SourceError::Unexpected { got, .. } => BaseBackupError::Failed(got),
            error @ (SourceError::Unreachable(_)
            | SourceError::Denied(_)
            | SourceError::Tool(_)) => error.into(),
        }
    }

    /// Whether what was copied is what was asked for.
    fn verify(&self, primary: &Identity) -> Result<(), BaseBackupError> {
        let new = self.pgdata.join(NEW);
        let control = control::read(self.programs, &new, Deadline::after(QUESTION))?;
        if control.system_identifier != primary.system {
            // The address has moved to another server meanwhile.
            return Err(BaseBackupError::OtherCluster {
                local: primary.system.clone(),
                primary: control.system_identifier,
            });
        }
        let own = self.own_version()?;
        match control::major_version(&new) {
            Some(copy) if copy == own => Ok(()),
            copy => Err(BaseBackupError::OtherVersion {
                copy: copy.unwrap_or_default(),
                own,
            }),
        }
    }

    /// The major version of this node's programs: `postgres (PostgreSQL) 15.18 (Debian …)`.
    fn own_version(&self) -> Result<u32, BaseBackupError> {
        let command = self.programs.tool("postgres").arg("--version");
        let printed = command.run(Deadline::after(QUESTION))?.stdout_text();
        let number = printed.split(") ").nth(1).unwrap_or_default();
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse()
            .map_err(|_| BaseBackupError::Failed(format!("postgres --version printed {printed:?}")))
    }

    /// Makes the copy one for this node: its links lead where the data will be, it has this node's own files, and it is a
    /// standby.
    fn fit(&self, old: &Old) -> Result<(), SwapError> {
        let new = self.pgdata.join(NEW);
        let at =
            |path: &Path, result: io::Result<()>| result.map_err(|source| io_error(path, source));
        let wal = new.join("pg_wal");
        if old.layout.wal_stays {
            at(&wal, remove_any(&wal))?;
        } else if let Some(target) = &old.wal_link {
            at(&wal, relink(&wal, target))?;
        }
        let links = new.join("pg_tblspc");
        for link in at_list(&links)? {
            let target = fs::read_link(&link).unwrap_or_default();
            let known = number(&link).and_then(|number| old.links.get(&number));
            // One that was not told to pg_basebackup is where the primary has it, and stays there.
            if target.file_name() == Some(OsStr::new(NEW))
                && let Some(place) = known.map(PathBuf::as_path).or(target.parent())
            {
                at(&link, relink(&link, place))?;
            }
        }
        at(&links, sync_dir(&links))?;
        for path in at_list(&new)? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_here = is_there(&self.pgdata.join(name)).map_err(|e| io_error(&path, e))?;
            // Where there was nothing, the primary's are the best there is.
            if is_own(name) && (old.is_populated || is_here) {
                at(&path, remove_any(&path))?;
            }
        }
        let signal = new.join("standby.signal");
        at(&signal, files::write(&signal, "", 0o600))?;
        let obsolete = new.join("recovery.signal");
        at(&obsolete, files::remove(&obsolete))?;
        if !old.is_populated {
            // PostgreSQL refuses a data directory that is open to others.
            let mode = fs::metadata(&new).map_err(|e| io_error(&new, e))?.mode() & 0o777;
            let permissions = fs::Permissions::from_mode(mode);
            at(self.pgdata, fs::set_permissions(self.pgdata, permissions))?;
        }
        at(&new, sync_dir(&new))?;
        at(self.pgdata, sync_dir(self.pgdata))
    }
}

/// Which of the primary's places is which of ours. One that we know by its number is where our link leads; one that we
/// don't have is where the primary has it. Without the primary's list: our own, of which it has the same.
fn map(
    here: &BTreeMap<u32, PathBuf>,
    there: Option<Vec<(u32, PathBuf)>>,
) -> Vec<(PathBuf, PathBuf)> {
    match there {
        Some(there) => there
            .into_iter()
            .map(|(number, place)| {
                let to = here.get(&number).cloned().unwrap_or_else(|| real(&place));
                (place, to)
            })
            .collect(),
        None => here
            .values()
            .map(|place| (place.clone(), place.clone()))
            .collect(),
    }
}

/// The tablespace that a link in pg_tblspc is for.
fn number(link: &Path) -> Option<u32> {
    link.file_name()?.to_str()?.parse().ok()
}

/// A path without symbolic links, where it exists.
fn real(path: &Path) -> PathBuf {
    let target = || match (fs::read_link(path), path.parent()) {
        (Ok(target), Some(dir)) => dir.join(target),
        _ => path.to_owned(),
    };
    fs::canonicalize(path).unwrap_or_else(|_| target())
}

/// An entry that is a mount point could not be renamed, when half of the others have been.
fn refuse_mounts(layout: &Layout, mounts: &Mounts) -> Result<(), BaseBackupError> {
    for outer in &layout.units {
        for inner in mounts.below(&outer.dir) {
            let is_unit = layout.units.iter().any(|unit| unit.dir == inner);
            let entry = inner.strip_prefix(&outer.dir).ok();
            let is_data = entry
                .and_then(|entry| entry.components().next()?.as_os_str().to_str())
                .is_some_and(|name| layout.is_data(outer.kind, name));
            if is_data && !is_unit {
                return Err(BaseBackupError::Mounted {
                    inner: inner.to_owned(),
                    outer: outer.dir.clone(),
                });
            }
        }
    }
    Ok(())
}

/// A place within another would move with it, except within an entry that is the node's own, which stays.
fn refuse_nested(units: &[Unit]) -> Result<(), BaseBackupError> {
    for outer in units {
        for inner in units.iter().filter(|inner| inner.dir != outer.dir) {
            let Ok(entry) = inner.dir.strip_prefix(&outer.dir) else {
                continue;
            };
            let name = entry
                .components()
                .next()
                .and_then(|first| first.as_os_str().to_str());
            // pg_wal itself, as a mount point, stays.
            let stays =
                outer.kind == Kind::Data && (name.is_some_and(is_own) || inner.kind == Kind::Wal);
            if !stays {
                return Err(BaseBackupError::Nested {
                    inner: inner.dir.clone(),
                    outer: outer.dir.clone(),
                });
            }
        }
    }
    Ok(())
}

/// The places may be on several file systems, and how much goes to which is not known: only what is too much for all of
/// them together is known to be too much.
fn lack_of_space(layout: &Layout, progress: Progress) -> Option<BaseBackupError> {
    let mut free_by_device = BTreeMap::new();
    for unit in &layout.units {
        let (Ok(about), Ok(free)) = (fs::metadata(&unit.dir), free_in(&unit.dir)) else {
            // A place that is not there yet: it is made on a file system that is not known here.
            return None;
        };
        free_by_device.insert(about.dev(), free);
    }
    let free = free_by_device
        .values()
        .fold(0, |sum: u64, free| sum.saturating_add(*free));
    // WAL that is written meanwhile comes on top of what was counted.
    let needed = progress.total.saturating_add(progress.total / 20);
    (free.saturating_add(progress.done) < needed).then_some(BaseBackupError::Space {
        needed: Bytes(needed),
        free: Bytes(free),
    })
}

/// As `--tablespace-mapping` takes it.
fn escaped(path: &OsStr) -> OsString {
    let bytes = path.as_bytes().iter().flat_map(|&byte| {
        let escape = (byte == b'=').then_some(b'\\');
        escape.into_iter().chain([byte])
    });
    OsString::from_vec(bytes.collect())
}

fn relink(link: &Path, target: &Path) -> io::Result<()> {
    remove_any(link)?;
    std::os::unix::fs::symlink(target, link)
}

fn at_list(dir: &Path) -> Result<Vec<PathBuf>, SwapError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|source| io_error(dir, source))
}

fn io_error(path: &Path, source: io::Error) -> SwapError {
    SwapError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Whether an error is about one WAL file, such as "requested WAL segment 000000020000000000000003 has already been removed", in whatever
/// language: its number alone tells.
fn names_a_wal_file(words: &str) -> bool {
    words
        .split(|c: char| !c.is_ascii_hexdigit())
        .any(|word| word.len() == 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_file_that_is_gone_is_told_from_other_errors() {
        for (words, expected) in [
            (
                "pg_basebackup: error: unexpected termination of replication stream: ERROR:  requested WAL segment 000000020000000000000003 has already been removed",
                true,
            ),
            (
                "FEHLER:  angefordertes WAL-Segment 000000020000000000000003 wurde schon entfernt",
                true,
            ),
            (
                "pg_basebackup: error: could not get COPY data stream: server closed the connection unexpectedly",
                false,
            ),
            ("backup label 0000000200000000000000031 is odd", false),
        ] {
            assert_eq!(names_a_wal_file(words), expected, "{words}");
        }
    }

    fn unit(dir: &str, kind: Kind) -> Unit {
        Unit {
            dir: dir.into(),
            kind,
        }
    }

    #[test]
    fn a_tablespace_goes_where_this_node_has_it() {
        let here = BTreeMap::from([
            (16400, PathBuf::from("/here/a")),
            (16402, PathBuf::from("/here/gone")),
        ]);
        let there = vec![
            (16400, PathBuf::from("/there/a")),
            (16401, PathBuf::from("/there/new")),
        ];
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(
            map(&here, Some(there)),
            [
                (path("/there/a"), path("/here/a")),
                (path("/there/new"), path("/there/new"))
            ]
        );
        assert_eq!(map(&here, None).len(), 2);
    }

    #[test]
    fn places_within_each_other_are_refused_unless_they_stay() {
        let data = || unit("/d", Kind::Data);
        for (inner, is_refused) in [
            (unit("/t", Kind::Tablespace), false),
            (unit("/d/tablespace", Kind::Tablespace), false),
            (unit("/d/base/t", Kind::Tablespace), true),
            (unit("/d/pg_wal", Kind::Wal), false),
            (unit("/dd", Kind::Tablespace), false),
        ] {
            let found = refuse_nested(&[data(), inner.clone()]);
            assert_eq!(found.is_err(), is_refused, "{inner:?}");
        }
        let both = [
            data(),
            unit("/t", Kind::Tablespace),
            unit("/t/u", Kind::Tablespace),
        ];
        assert!(refuse_nested(&both).is_err());
    }

    #[test]
    fn an_equals_sign_in_a_place_is_escaped() {
        assert_eq!(escaped(OsStr::new("/a=b/c")), OsStr::new(r"/a\=b/c"));
    }
}
