//! A file put on a node, by root, into a directory that may be somebody else's.

/// Puts standard input into a file, under its name only when it is there as a whole.
///
/// Arguments: the path, its content's SHA-256, the mode, the owner. Where root alone can write to every directory on the way, root
/// makes the file and gives it away before it has its name. Anywhere else somebody could put a link in the place of whatever root
/// is about to write to, give away or open up: there the file's owner does all of it, with no more rights than it has anyway.
pub(super) const PUT: &str = r#"
set -e
path=$1 sum=$2 mode=$3 owner=$4
# Every directory of this real path is root's and only root's to write to.
is_roots() {
  at=$1
  while :; do
    if [ -e "$at" ]; then
      about=$(stat -c '%u %a' -- "$at")
      [ "${about% *}" = 0 ] && [ $((0${about#* } & 022)) = 0 ] || return 1
    fi
    [ "$at" != / ] || return 0
    at=$(dirname -- "$at")
  done
}
# Each step of the path as it was given, because a link on the way leads where its own directory's writers want.
are_all_roots() {
  step=$1
  while :; do
    is_roots "$(readlink -m -- "$step")" || return 1
    [ "$step" != / ] || return 0
    step=$(dirname -- "$step")
  done
}
write='
set -e
path=$1 sum=$2 mode=$3 owner=$4
umask 077
dir=$(dirname -- "$path")
[ -d "$dir" ] || { mkdir -p -- "$dir"; chmod 755 -- "$dir"; }
new=$(mktemp -- "$dir/.expgsql.XXXXXX")
trap "rm -f -- \"\$new\"" EXIT
cat >"$new"
[ "$(sha256sum <"$new" | cut -d" " -f1)" = "$sum" ] || { echo "the copy is not complete" >&2; exit 1; }
chmod -- "$mode" "$new"
[ -z "$owner" ] || chown -- "$owner" "$new"
mv -fT -- "$new" "$path"
'
case $path in /*) ;; *) echo "$path does not begin with /" >&2; exit 1 ;; esac
if are_all_roots "$(dirname -- "$path")"; then
  exec /bin/sh -c "$write" sh "$path" "$sum" "$mode" "$owner"
fi
if [ "$(id -u -- "$owner")" = 0 ]; then
  echo "others than root can write to a directory above $path: a file of root's is not put there" >&2
  exit 1
fi
exec setpriv --reuid="$(id -u -- "$owner")" --regid="$(id -g -- "$owner")" --init-groups -- \
  /bin/sh -c "$write" sh "$path" "$sum" "$mode" ""
"#;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use nix::sys::stat::Mode;
    use nix::unistd::{Uid, User, chown, mkfifo};
    use tempfile::TempDir;

    use super::*;
    use crate::setup::install::{script, sum};

    const CONTENT: &[u8] = b"the passwords\n";

    /// The account that the file is for, and that owns its directory: any that is not root's.
    fn owner() -> User {
        let user = User::from_name("nobody").unwrap();
        user.expect("the account nobody")
    }

    struct Stage {
        dir: TempDir,
        /// A file of root's that nobody else must be able to touch.
        victim: PathBuf,
        /// A directory of the owner's.
        theirs: PathBuf,
    }

    impl Stage {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
            let victim = dir.path().join("victim");
            fs::write(&victim, "of root").unwrap();
            fs::set_permissions(&victim, Permissions::from_mode(0o640)).unwrap();
            let theirs = dir.path().join("theirs");
            fs::create_dir(&theirs).unwrap();
            chown(&theirs, Some(owner().uid), Some(owner().gid)).unwrap();
            Self {
                dir,
                victim,
                theirs,
            }
        }

        /// A program that stands in front of the real one of this name, and does something after it has ended.
        fn after(&self, program: &str, then: &str) {
            let bin = self.dir.path().join("bin");
            fs::create_dir_all(&bin).unwrap();
            let text = format!(
                "#!/bin/sh\nPATH=/usr/bin:/bin\n{program} \"$@\"; code=$?\n{{ cd '{}' && {then}; }} >/dev/null 2>&1\nexit $code\n",
                self.theirs.display()
            );
            let path = bin.join(program);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&bin, Permissions::from_mode(0o755)).unwrap();
        }

        /// Whether it was put there, and what was said.
        fn put(&self, path: &Path, owner: &str) -> (bool, String) {
            let (path, sum) = (path.display().to_string(), sum(CONTENT));
            let words = script(PUT, &[&path, &sum, "600", owner]);
            let search = format!(
                "{}:/usr/sbin:/usr/bin:/sbin:/bin",
                self.dir.path().join("bin").display()
            );
            // A pipe at the file's place must hold nobody up for ever.
            let mut child = Command::new("timeout")
                .arg("20")
                .args(words)
                .env("PATH", search)
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let _gone = child.stdin.take().unwrap().write_all(CONTENT);
            let output = child.wait_with_output().unwrap();
            assert_ne!(output.status.code(), Some(124), "{path}: it hung");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), said)
        }

        fn is_put(&self, path: &Path, owner: Uid) {
            let about = fs::symlink_metadata(path).unwrap();
            assert!(about.is_file(), "{about:?}");
            assert_eq!((about.mode() & 0o777, about.uid()), (0o600, owner.as_raw()));
            assert_eq!(fs::read(path).unwrap(), CONTENT);
            let left = fs::read_dir(path.parent().unwrap()).unwrap();
            let left = left.filter(|e| {
                e.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".expgsql")
            });
            assert_eq!(left.count(), 0, "something is left beside it");
        }

        #[track_caller]
        fn victim_is_as_it_was(&self, what: &str) {
            let about = fs::metadata(&self.victim).unwrap();
            assert_eq!((about.mode() & 0o777, about.uid()), (0o640, 0), "{what}");
            assert_eq!(fs::read(&self.victim).unwrap(), b"of root", "{what}");
        }
    }

    #[test]
    fn a_file_is_put_into_roots_directory_and_into_its_owners() {
        let stage = Stage::new();
        for path in [stage.theirs.join("pgpass"), stage.theirs.join("new/pgpass")] {
            for _again in 0..2 {
                let (is_done, said) = stage.put(&path, "nobody");
                assert!(is_done, "{said}");
                stage.is_put(&path, owner().uid);
            }
        }
        // Under /tmp everybody can write, and a test has no other place: root's own file goes where only root writes.
        let place = tempfile::tempdir_in("/root").unwrap();
        for (path, name, uid) in [
            (place.path().join("a/program"), "root", Uid::from_raw(0)),
            (place.path().join("a/pgpass"), "nobody", owner().uid),
        ] {
            let (is_done, said) = stage.put(&path, name);
            assert!(is_done, "{said}");
            stage.is_put(&path, uid);
        }
        let (is_done, said) = stage.put(&stage.theirs.join("program"), "root");
        assert!(!is_done && said.contains("not put there"), "{said}");
    }

    type Prepare = fn(&Stage);

    #[test]
    fn what_is_planted_in_the_owners_directory_leads_root_nowhere() {
        let planted: [(&str, Prepare); 6] = [
            ("a link at the file's name", |s| {
                symlink(&s.victim, s.theirs.join("pgpass")).unwrap();
            }),
            ("a pipe at the file's name", |s| {
                mkfifo(&s.theirs.join("pgpass"), Mode::S_IRWXU).unwrap();
            }),
            ("a directory at the file's name", |s| {
                fs::create_dir(s.theirs.join("pgpass")).unwrap();
            }),
            ("a link in the place of what is being written", |s| {
                s.after(
                    "mktemp",
                    "for f in .expgsql.*; do rm $f; ln -s ../victim $f; done",
                );
            }),
            ("a link in the place of what was written", |s| {
                s.after(
                    "sha256sum",
                    "for f in .expgsql.*; do rm $f; ln -s ../victim $f; done",
                );
            }),
            ("a link in the place of what is opened up", |s| {
                s.after(
                    "chmod",
                    "for f in .expgsql.*; do rm $f; ln -s ../victim $f; done",
                );
            }),
        ];
        for (what, prepare) in planted {
            let stage = Stage::new();
            prepare(&stage);
            let _either = stage.put(&stage.theirs.join("pgpass"), "nobody");
            stage.victim_is_as_it_was(what);
        }
    }

    #[test]
    fn a_directory_that_is_a_link_of_the_owners_leads_root_nowhere() {
        let stage = Stage::new();
        let place = tempfile::tempdir_in("/root").unwrap();
        symlink(place.path(), stage.theirs.join("there")).unwrap();
        for path in ["there/pgpass", "there/new/pgpass"] {
            let (is_done, said) = stage.put(&stage.theirs.join(path), "nobody");
            assert!(!is_done, "{path}: {said}");
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{path}");
        }
    }
}
