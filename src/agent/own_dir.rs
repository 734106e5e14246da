//! Where a resource keeps its files. The names of the files are the older agents', and say nothing of whose they are; so of several
//! resources on a node that are told the same tmpdir, the first has that, and each other one a directory of its own in there.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::ocf::Outcome;
use crate::params::Params;
use crate::postgres::owner::as_owner;
use crate::postgres::{files, reading};

use super::context::Context;
use super::{Step, failed};

/// Whose directory it is: the resource's name, and on the second line its data directory.
const CLAIM: &str = "expgsql.resource";

/// The parameters with the directory that is `resource`'s own.
#[must_use]
pub(crate) fn settled(params: &Params, resource: &str) -> Params {
    let mut params = params.clone();
    params.tmpdir = of(&params.tmpdir, resource, &params.pgdata);
    params
}

fn of(tmpdir: &Path, resource: &str, pgdata: &Path) -> PathBuf {
    let own = tmpdir.join(resource.trim_start_matches('.').replace('/', "_"));
    // Once it has one, it stays there, whoever has the other.
    if fs::symlink_metadata(&own).is_ok_and(|about| about.is_dir()) {
        return own;
    }
    match reading::read_own(tmpdir, &tmpdir.join(CLAIM)) {
        Ok(claim) if is_of_another(&claim, resource, pgdata) => own,
        Ok(_) | Err(_) => tmpdir.to_owned(),
    }
}

/// A resource that was renamed, or has got other data, is the same.
fn is_of_another(claim: &str, resource: &str, pgdata: &Path) -> bool {
    let mut lines = claim.lines();
    let (name, data) = (lines.next(), lines.next());
    name.is_some_and(|name| name != resource) && data.is_some_and(|data| Path::new(data) != pgdata)
}

/// Takes the directory, which is there, for this resource.
pub(super) fn claim(ctx: &Context<'_>) -> Step<()> {
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
                io::ErrorKind::InvalidData
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotFound
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
        let at = |resource: &str, data: &str| of(tmp, resource, Path::new(data));
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
}
