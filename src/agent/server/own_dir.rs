//! Where a resource keeps its files. The names of the files are the older agents', and say nothing of whose they are; so of several
//! resources on a node that are told the same tmpdir, the first has that, and each other one a directory of its own in there.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ocf::Outcome;
use crate::params::Params;
use crate::postgres::owner::as_owner;
use crate::postgres::{config, files, reading};
use crate::sys::{Deadline, Owner};

use crate::agent::context::Context;
use crate::agent::server::own_files;
use crate::agent::step::{Step, failed};

/// Whose directory it is: the resource's name, and on the second line its data directory.
const CLAIM: &str = "expgsql.resource";

/// Looking up the account in whose name the configuration is read; where that takes longer, nothing else goes on either.
const ACCOUNT: Duration = Duration::from_secs(2);

/// The parameters with the directory that is `resource`'s own.
#[must_use]
pub(crate) fn settled(params: &Params, resource: &str) -> Params {
    let is_included = |dir: &Path| includes_from(params, dir);
    Params {
        tmpdir: of(&params.tmpdir, resource, &params.pgdata, is_included),
        ..params.clone()
    }
}

/// `is_included`: whether the server's configuration includes a file of the agent's in this directory.
fn of(
    tmpdir: &Path,
    resource: &str,
    pgdata: &Path,
    is_included: impl Fn(&Path) -> bool,
) -> PathBuf {
    let own = tmpdir.join(resource.trim_start_matches('.').replace('/', "_"));
    // Once it has one, it stays there, whoever has the other.
    if fs::symlink_metadata(&own).is_ok_and(|about| about.is_dir()) {
        return own;
    }
    let is_free = match reading::read_own(tmpdir, &tmpdir.join(CLAIM)) {
        Ok(claim) if is_of_another(&claim, resource, pgdata) => return own,
        Ok(claim) if claim.lines().count() == 2 => return tmpdir.to_owned(),
        // A link, a pipe: nobody's word.
        Ok(_) => true,
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData
        ),
    };
    // Its directory went with the other's, and its lines still say which it was.
    if !is_included(&own) && (is_free || is_included(tmpdir)) {
        return tmpdir.to_owned();
    }
    own
}

/// Where that can't be found out, it says nothing.
fn includes_from(params: &Params, dir: &Path) -> bool {
    if !params.rep_mode.is_replicated() {
        return false;
    }
    let Ok(owner) = Owner::lookup_by(&params.pgdba, Deadline::after(ACCOUNT)) else {
        return false;
    };
    let ours = [own_files::RECOVERY_CONF, own_files::REP_MODE_CONF].map(|file| dir.join(file));
    let read = as_owner(&owner, || config::read(&params.config, &ours));
    let is_one = |contents: config::Contents| ours.iter().any(|o| contents.includes.contains(o));
    read.is_ok_and(|read| read.is_ok_and(is_one))
}

/// A resource that was renamed, or has got other data, is the same.
fn is_of_another(claim: &str, resource: &str, pgdata: &Path) -> bool {
    let mut lines = claim.lines();
    let (name, data) = (lines.next(), lines.next());
    name.is_some_and(|name| name != resource) && data.is_some_and(|data| Path::new(data) != pgdata)
}

/// Whether it is said whose the directory is.
pub(crate) fn is_claimed(ctx: &Context<'_>) -> bool {
    fs::symlink_metadata(ctx.tmp(CLAIM)).is_ok()
}

/// Takes the directory, which is there, for this resource.
pub(crate) fn claim(ctx: &Context<'_>) -> Step<()> {
    let path = ctx.tmp(CLAIM);
    let (resource, pgdata) = (ctx.resource.as_str(), ctx.pgdata());
    let text = format!("{resource}\n{}\n", pgdata.display());
    let taken = as_owner(&ctx.owner, || take(&path, &text)).map_err(failed)?;
    let unusable = |error: io::Error| failed(format!("{}: {error}", path.display()));
    if taken.map_err(unusable)? {
        return Ok(());
    }
    match reading::read_as(&ctx.owner, &path) {
        Ok(same) if same == text => return Ok(()),
        Ok(other) if is_of_another(&other, resource, pgdata) => {
            return Err(just_taken(ctx, &other));
        }
        Ok(_) => {}
        // A link, a pipe, a directory's worth of bytes: nobody's word, and it is replaced.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::NotFound
            ) => {}
        Err(error) => return Err(unusable(error)),
    }
    let written = as_owner(&ctx.owner, || files::write(&path, &text, 0o600));
    written.map_err(failed)?.map_err(unusable)
}

/// The first of two that begin at once has it.
fn take(path: &Path, text: &str) -> io::Result<bool> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    match file {
        Ok(mut file) => {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn just_taken(ctx: &Context<'_>, other: &str) -> Outcome {
    failed(format!(
        "tmpdir={} was taken by resource {} this moment: start it again, or set another tmpdir",
        ctx.params.tmpdir.display(),
        other.lines().next().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_the_directory_and_each_other_one_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let tmp = dir.path();
        let at = |resource: &str, data: &str| of(tmp, resource, Path::new(data), |_| false);
        assert_eq!(at("a", "/a"), tmp);
        assert!(take(&tmp.join(CLAIM), "a\n/a\n").unwrap());
        assert!(!take(&tmp.join(CLAIM), "b\n/b\n").unwrap());
        assert_eq!(at("a", "/a"), tmp);
        assert_eq!(at("b", "/b"), tmp.join("b"));
        // Renamed, and moved.
        assert_eq!(at("z", "/a"), tmp);
        assert_eq!(at("a", "/z"), tmp);
        // It stays where it is, also where the claim is lost.
        fs::create_dir(tmp.join("b")).unwrap();
        fs::remove_file(tmp.join(CLAIM)).unwrap();
        assert_eq!(at("b", "/b"), tmp.join("b"));
        for damaged in ["", "\n", "b", "c\n"] {
            fs::write(tmp.join(CLAIM), damaged).unwrap();
            assert_eq!(at("a", "/a"), tmp, "{damaged:?}");
        }
    }

    #[test]
    fn where_nobody_says_whose_the_directory_is_the_servers_own_lines_do() {
        let dir = tempfile::tempdir().unwrap();
        let tmp = dir.path();
        let own = tmp.join("b");
        let (nowhere, in_tmp, in_own): (&[&Path], &[&Path], &[&Path]) = (&[], &[tmp], &[&own]);
        let at = |lines: &[&Path]| of(tmp, "b", Path::new("/b"), |dir| lines.contains(&dir));
        let all = || [at(nowhere), at(in_tmp), at(in_own)];
        // All of it was removed, and nobody was quicker.
        assert_eq!(all(), [tmp, tmp, &*own]);
        let claim = tmp.join(CLAIM);
        fs::write(&claim, "a\n/a\n").unwrap();
        assert_eq!(all(), [&*own; 3]);
        fs::write(&claim, "b\n/b\n").unwrap();
        assert_eq!(all(), [tmp; 3]);
        fs::write(&claim, "damaged").unwrap();
        assert_eq!(all(), [tmp, tmp, &*own]);
        // Where it is no directory, nobody has it; a start says so.
        let file = tmp.join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(of(&file, "b", Path::new("/b"), |_| false), file);
        // What can't be read is not free. Another one's, and not for everybody.
        fs::remove_file(&claim).unwrap();
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        fs::write(&claim, "a\n/a\n").unwrap();
        fs::set_permissions(&claim, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&claim, Some(1), None).unwrap();
        assert_eq!(all(), [&*own, tmp, &*own]);
    }
}
