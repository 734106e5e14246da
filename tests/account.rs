//! What root does on behalf of the server's account, and what that account can make it do. In a program of their own, one
//! after the other: the account is changed for the whole process.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use expgsql::postgres::owner::as_owner;
use expgsql::postgres::reach;
use expgsql::postgres::reading::{read, read_as, read_own, read_with_account};
use expgsql::sys::{Owner, Sent, signal_if};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, geteuid};

const SECRET: &str = "s3cret-of-root";

static ALONE: Mutex<()> = Mutex::new(());

/// The account, and the right to change to it; `None` where the test is not run by root, who has nothing to lend then.
fn account() -> Option<(Owner, MutexGuard<'static, ()>)> {
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = Owner::lookup("nobody").expect("every machine has it");
    geteuid().is_root().then_some((owner, guard))
}

/// Waits for the end of its input.
fn cat(account: Uid) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).current_dir("/");
    command.uid(account.as_raw()).spawn().expect("cat is there")
}

fn number(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a number of a process")
}

#[test]
fn root_signals_only_what_it_has_looked_at() {
    let Some((owner, _alone)) = account() else {
        return;
    };
    let owner = &owner;
    // Why the identity is looked at instead of leaving it to the kernel: the real user id is root's still.
    let mut of_root = cat(Uid::from_raw(0));
    let sent = as_owner(owner, || {
        kill(Pid::from_raw(number(&of_root)), Signal::SIGKILL)
    });
    assert_eq!(sent, Ok(Ok(())), "the kernel did not stop it");
    of_root.wait().unwrap();

    let mut of_root = cat(Uid::from_raw(0));
    let sent = signal_if(number(&of_root), Signal::SIGKILL, |p| p.runs_as(owner.uid));
    assert_eq!(sent.unwrap(), Sent::Refused);
    let mut theirs = cat(owner.uid);
    let sent = signal_if(number(&theirs), Signal::SIGKILL, |p| p.runs_as(owner.uid));
    assert_eq!(sent.unwrap(), Sent::Sent);
    theirs.wait().unwrap();
    assert_eq!(of_root.try_wait().unwrap(), None);
    of_root.kill().unwrap();
    of_root.wait().unwrap();
}

#[test]
fn a_link_is_followed_with_the_owners_rights_or_not_at_all() {
    let Some((owner, _alone)) = account() else {
        return;
    };
    let owner = &owner;
    let (roots, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
    chown(theirs.path(), Some(uid), Some(gid)).unwrap();
    let secret = roots.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    // So that the file's own mode is what keeps it.
    fs::set_permissions(roots.path(), fs::Permissions::from_mode(0o755)).unwrap();

    let link = theirs.path().join("link");
    symlink(&secret, &link).unwrap();
    assert_eq!(read(&link).unwrap(), SECRET, "root may");
    let error = read_as(owner, &link).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(read_own(theirs.path(), &link).is_err());
    assert!(read_with_account(&link).is_err());

    // A directory on the way may be a link: pg_wal is one on many machines.
    let dir = theirs.path().join("dir");
    symlink(roots.path(), &dir).unwrap();
    let through = dir.join("secret");
    assert!(read_own(theirs.path(), &through).is_err());
    let (_, account) = read_with_account(&through).unwrap();
    assert_eq!(account, Uid::from_raw(0), "whose it is, is said");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(read_own(theirs.path(), &through).unwrap(), SECRET);
    assert_eq!(read_as(owner, &link).unwrap(), SECRET);
}

#[test]
fn root_makes_things_only_where_nobody_led_it() {
    let Some((owner, _alone)) = account() else {
        return;
    };
    let owner = &owner;
    let (roots, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
    // In /tmp everybody may put something in the way, but not in the place of what is there and another's.
    reach::make_dir(&roots.path().join("x/y"), owner, 0o700).unwrap();
    let beside = roots.path().with_extension("beside");
    assert!(reach::make_dir(&beside, owner, 0o700).is_err());
    assert!(reach::make_file(&beside, owner).is_err());
    let alias = theirs.path().with_extension("alias");
    symlink(roots.path(), &alias).unwrap();
    std::os::unix::fs::lchown(&alias, Some(uid), Some(gid)).unwrap();
    let made = reach::make_dir(&alias.join("z"), owner, 0o700);
    fs::remove_file(&alias).unwrap();
    assert!(made.is_err(), "the link is theirs");
    let base = tempfile::Builder::new().tempdir_in("/var/lib").unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| base.path().join(name);

    reach::make_dir(&at("a/b/tmp"), owner, 0o750).unwrap();
    let made = fs::metadata(at("a/b/tmp")).unwrap();
    assert_eq!(
        (made.uid(), made.gid(), made.mode() & 0o7777),
        (uid, gid, 0o750)
    );
    assert_eq!(fs::metadata(at("a/b")).unwrap().uid(), 0);
    reach::make_file(&at("log"), owner).unwrap();
    let made = fs::metadata(at("log")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o7777), (uid, 0o600));
    assert!(reach::make_file(&at("log"), owner).is_err(), "it is there");

    // Root's own links are root's will, relative ones too.
    symlink(at("a"), at("alias")).unwrap();
    symlink("alias/b", at("chain")).unwrap();
    reach::make_dir(&at("chain/tmp2"), owner, 0o700).unwrap();
    assert!(at("a/b/tmp2").is_dir());
    symlink("loop", at("loop")).unwrap();
    assert!(reach::make_dir(&at("loop/x"), owner, 0o700).is_err());

    // The account leads root astray: directly, in the middle of the way, and through a directory that root's link leads to.
    chown(theirs.path(), Some(uid), Some(gid)).unwrap();
    symlink(base.path(), theirs.path().join("out")).unwrap();
    symlink(theirs.path().join("out"), at("through")).unwrap();
    for way in [
        theirs.path().join("new"),
        theirs.path().join("out/new"),
        at("through/new"),
    ] {
        for made in [
            reach::make_dir(&way, owner, 0o700),
            reach::make_file(&way, owner),
            reach::pin(&way, owner).map(drop),
        ] {
            let error = made.unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::PermissionDenied,
                "{}",
                way.display()
            );
        }
    }
    assert!(!at("new").exists());
}
