//! Where a lab keeps its disks, and what earlier labs left behind.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::progress::note;
use crate::state::State;

/// Overrides the directory under which labs keep their disks.
pub(crate) const BASE_VARIABLE: &str = "LAB_BASE";

/// The directory that holds every lab of this machine, made if missing.
///
/// Upper directories of overlay mounts can't lie on an overlay, and PostgreSQL's fsync means nothing on a tmpfs: the
/// first candidate on a real disk is taken.
///
/// # Errors
/// [`Error::Other`] when no candidate is on a real disk.
pub(crate) fn base() -> Result<PathBuf> {
    let candidates = [BASE_VARIABLE, "TMPDIR"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from);
    let chosen = candidates.chain(["/tmp".into(), "/var/tmp".into()]).find(|dir| is_real_disk(dir)).ok_or_else(|| {
        Error::Other(format!("neither $TMPDIR nor /tmp nor /var/tmp is on a real disk (overlay and tmpfs can't hold a node's disk): name a directory in {BASE_VARIABLE}"))
    })?;
    let base = chosen.join("expgsql-lab");
    std::fs::create_dir_all(&base).map_err(Error::io(format!("create {}", base.display())))?;
    // initdb runs as postgres below it.
    std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o755))
        .map_err(Error::io(format!("open up {}", base.display())))?;
    Ok(base)
}

/// Has a file system of the ext family put each directory that is made in this one where there is room, and not beside its
/// neighbours. Without a journal it shuns, for a minute and more, the places of files that were removed: with one lab after the other
/// in one place, the thousand files of each take seconds. Another file system needs none of it, and refuses.
pub(crate) fn spread(dir: &Path) {
    let shown = dir.display().to_string();
    // Only time is lost without it.
    let _ = Cmd::new(&["chattr", "+T", &shown]).run();
}

/// Waits until no other process of this machine holds the lock of this name, and holds it as long as the file lives.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn lock(name: &str) -> Result<File> {
    let path = base()?.join(format!("{name}.lock"));
    let file = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
    file.lock()
        .map_err(Error::io(format!("lock {}", path.display())))?;
    Ok(file)
}

fn is_real_disk(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|fs| {
        fs.filesystem_type() != OVERLAYFS_SUPER_MAGIC && fs.filesystem_type() != TMPFS_MAGIC
    })
}

/// Directory of the lab `name`.
pub(crate) fn of(name: &str) -> Result<PathBuf> {
    // The name becomes a path component and part of process arguments.
    let plain = !name.is_empty()
        && name.len() <= 40
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !plain {
        return Err(Error::Other(format!(
            "{name:?} can't name a lab: letters, digits, '-' and '_' only"
        )));
    }
    Ok(base()?.join(name))
}

/// The labs that have a state file here, by name.
pub(crate) fn all() -> Result<Vec<State>> {
    let base = base()?;
    let entries =
        std::fs::read_dir(&base).map_err(Error::io(format!("list {}", base.display())))?;
    let mut found: Vec<State> = entries
        .flatten()
        .filter_map(|entry| State::load(&entry.path()).ok())
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// One line for every lab of this machine: name, agent, nodes, and whether it runs.
///
/// # Errors
/// [`Error::Io`] when the directory of labs can't be read.
pub fn labs() -> Result<Vec<String>> {
    let line = |state: &State| {
        let life = if state.is_alive() { "up" } else { "dead" };
        format!(
            "{}  {life}  {} nodes  {} {}",
            state.name,
            state.spec.nodes,
            state.spec.agent.ocf_name(),
            state.spec.mode.as_str()
        )
    };
    Ok(all()?.iter().map(line).collect())
}

/// Removes the labs whose owner died and that were not kept. Their processes ended with the owner; the disks may
/// be left, if the machine went down or the cleaner was killed too.
pub(crate) fn sweep() -> Result<()> {
    let _alone = lock("sweep")?;
    for state in all()? {
        if !state.is_alive() {
            note(format!("removing what lab {} left behind", state.name));
            state.kill_everything()?;
            remove(&of(&state.name)?)?;
        }
    }
    Ok(())
}

/// Removes a lab's directory.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", dir.display()))(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
