//! pg_basebackup, and the copy's way into its place.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use expgsql::postgres::base_backup::{BaseBackup, BaseBackupError};
use expgsql::postgres::replace::Swap;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use crate::node::{
    Node, Site, append, assert_follows, contents, diverge, diverged, done, give, owner,
};

pub(crate) fn rebuild(node: &Node, primary: &Node) -> Result<(), BaseBackupError> {
    let (programs, source) = (node.programs(), node.source(primary));
    let copy = BaseBackup {
        programs: &programs,
        pgdata: &node.data,
        source: &source,
        database: "postgres",
    };
    let mut last = None;
    let copy = copy.take(&mut |progress| last = Some(progress))?;
    assert!(last.expect("it says how far it is").total > 0);
    copy.swap_in()?;
    Ok(())
}

/// An old primary with its WAL and a tablespace elsewhere, and the new one, which has its tablespace in another place.
pub(crate) fn scattered(site: &Site) -> (Node, Node) {
    let mut old = Node::primary(site, "old", "");
    old.write("both");
    let (here, there) = (site.make("space_old"), site.make("space=new"));
    old.sql(&format!(
        "create tablespace space location '{}'",
        here.display()
    ));
    old.sql("create table elsewhere tablespace space as select generate_series(1, 1000) as n");
    old.stop();
    let wal = site.dir().join("wal_old");
    fs::rename(old.data.join("pg_wal"), &wal).unwrap();
    symlink(&wal, old.data.join("pg_wal")).unwrap();
    fs::write(wal.join("readme"), "not WAL").unwrap();
    old.start();
    let escaped = there.display().to_string().replace('=', "\\=");
    let mapping = format!("--tablespace-mapping={}={escaped}", here.display());
    let new = Node::standby(site, "new", &old, &[mapping]);
    diverge(&old, &new);
    new.sql("insert into elsewhere values (0)");
    (old, new)
}

pub(crate) fn assert_no_leftovers(dirs: &[&Path]) {
    for dir in dirs {
        for entry in fs::read_dir(dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with(".expgsql"), "{name} in {}", dir.display());
        }
    }
}

#[test]
fn a_node_with_its_wal_and_a_tablespace_elsewhere_is_rebuilt_in_place() {
    let site = Site::new();
    let (mut old, new) = scattered(&site);
    old.crash();
    append(&old.config, "# the old primary's\n");
    append(&new.config, "# the new primary's\n");
    fs::create_dir(new.data.join("conf.d")).unwrap();
    fs::create_dir(old.data.join("log")).unwrap();
    give(&new.data.join("conf.d"));
    let config = fs::read_to_string(&old.config).unwrap();

    rebuild(&old, &new).unwrap();
    assert!(!Swap::is_pending(&old.data).unwrap());
    assert_eq!(fs::read_to_string(&old.config).unwrap(), config);
    assert!(old.data.join("log").exists() && !old.data.join("conf.d").exists());
    let (wal, space) = (site.dir().join("wal_old"), site.dir().join("space_old"));
    assert_eq!(fs::read_link(old.data.join("pg_wal")).unwrap(), wal);
    assert!(wal.join("readme").exists());
    assert_follows(&mut old, &new);
    let count = "select count(*) from elsewhere";
    assert_eq!(old.sql(count), new.sql(count));
    let place =
        old.sql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'space'");
    assert_eq!(Path::new(&place), space);
    // The old data are kept until now.
    assert!(old.data.join(".expgsql.old/global/pg_control").exists());
    Swap::purge(&old.data, &owner()).unwrap();
    Swap::purge(&old.data, &owner()).unwrap();
    assert_no_leftovers(&[&old.data, &wal, &space]);
}

#[test]
fn a_data_directory_that_is_missing_or_empty_is_filled_with_the_primarys_configuration() {
    let site = Site::new();
    let primary = Node::primary(&site, "primary", "");
    // Root's, and the way there as well: in a directory of the account's, root would make nothing.
    let roots = tempfile::tempdir_in("/dev/shm").unwrap();
    let parent = roots.path();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, is_there) in [("missing", false), ("empty", true)] {
        let mut node = Node::empty(&site, name);
        node.data = parent.join(name);
        node.config = node.data.join("postgresql.conf");
        if is_there {
            fs::create_dir(&node.data).unwrap();
            give(&node.data);
        }
        rebuild(&node, &primary).unwrap();
        Swap::purge(&node.data, &owner()).unwrap();
        assert_no_leftovers(&[&node.data]);
        node.configure();
        assert_follows(&mut node, &primary);
        node.stop();
    }
}

#[test]
fn the_old_data_stay_where_there_can_be_no_new_ones() {
    let site = Site::new();
    let (mut old, mut new) = diverged(&site, "");
    let running = rebuild(&old, &new).unwrap_err();
    assert!(matches!(running, BaseBackupError::Running(_)), "{running}");
    old.stop();
    let before = contents(&old.data);
    let refused = |primary: &Node| {
        let error = rebuild(&old, primary).unwrap_err();
        assert_eq!(contents(&old.data), before, "{error}");
        error
    };
    let foreign = Node::foreign(&site, "foreign");
    let error = refused(&foreign);
    assert!(
        matches!(error, BaseBackupError::OtherCluster { .. }),
        "{error}"
    );
    new.sql("alter system set max_wal_senders = 0");
    new.stop();
    let error = refused(&new);
    assert!(error.is_passing(), "{error}");
    append(&new.config, "wal_level = minimal\n");
    new.start();
    let error = refused(&new);
    assert!(!matches!(error, BaseBackupError::Swap(_)), "{error}");
    old.start();
    assert!(old.writers().contains("old"));
}

/// Runs `action` where mounts are of its own.
fn apart(action: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            action();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A file system of its own over `dir`, with what was there.
fn mount_over(dir: &Path, options: &str) {
    let kept = dir.with_extension("kept");
    let _of_an_earlier_call = fs::remove_dir_all(&kept);
    done(Command::new("cp").arg("-a").arg(dir).arg(&kept));
    mount(
        Some("tmpfs"),
        dir,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options),
    )
    .unwrap();
    give(dir);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(dir, mode).unwrap();
    let source = kept.join(".");
    done(Command::new("cp").arg("-a").arg(source).arg(dir));
}

#[test]
fn without_space_for_two_copies_the_old_one_stays() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let (mut old, new) = scattered(&site);
    old.stop();
    let (wal, space) = (site.dir().join("wal_old"), site.dir().join("space_old"));
    let refuse = |old: &Node| {
        let before = [&old.data, &wal, &space].map(|dir| contents(dir));
        let error = rebuild(old, &new).unwrap_err();
        assert_eq!([&old.data, &wal, &space].map(|dir| contents(dir)), before);
        error
    };
    apart(|| {
        // Each has some space left; all together have too little, which is known at the end of the tablespace.
        mount_over(&old.data, "size=40m");
        mount_over(&wal, "size=5m");
        mount_over(&space, "size=2m");
        let error = refuse(&old);
        assert!(matches!(error, BaseBackupError::Space { .. }), "{error}");
        // All together have enough.
        mount_over(&space, "size=100m");
        let error = refuse(&old);
        assert!(matches!(error, BaseBackupError::Full(_)), "{error}");
        old.start();
        assert!(old.writers().contains("old"));
        old.stop();
    });
}

#[test]
fn places_that_are_file_systems_of_their_own_are_filled_not_moved() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let (mut old, new) = scattered(&site);
    old.stop();
    // A tablespace that only the new primary has: here there is an empty directory for it.
    let later = site.make("later");
    new.sql(&format!(
        "create tablespace later location '{}'",
        later.display()
    ));
    new.sql("create table last tablespace later as select 1 as n");
    apart(|| {
        mount_over(&old.data, "size=200m");
        // pg_wal a mount point instead of a link.
        let wal = old.data.join("pg_wal");
        fs::remove_file(&wal).unwrap();
        fs::create_dir(&wal).unwrap();
        mount(
            Some(&site.dir().join("wal_old")),
            &wal,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        mount_over(&site.dir().join("space_old"), "size=50m");
        mount(
            Some("tmpfs"),
            &later,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=50m"),
        )
        .unwrap();
        give(&later);
        fs::create_dir(old.data.join("lost+found")).unwrap();
        rebuild(&old, &new).unwrap();
        assert_follows(&mut old, &new);
        assert_eq!(old.sql("select n from last"), "1");
        Swap::purge(&old.data, &owner()).unwrap();
        assert_no_leftovers(&[&old.data, &wal, &later, &site.dir().join("space_old")]);
        old.stop();

        // A mount in the middle of the data can't be replaced around, and is found before anything is.
        let base = old.data.join("base");
        mount(
            Some(&base),
            &base,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        let error = rebuild(&old, &new).unwrap_err();
        assert!(matches!(error, BaseBackupError::Mounted { .. }), "{error}");
    });
}
