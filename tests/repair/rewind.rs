//! pg_rewind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use expgsql::postgres::own_entries;
use expgsql::postgres::rewind::{Rewind, RewindError, recover};
use nix::unistd::geteuid;

use crate::node::{
    Node, Site, append, as_postgres, assert_follows, contents, diverged, eventually, give, owner,
    soon,
};

fn rewind(node: &Node, primary: &Node, restore_command: Option<&str>) -> Result<(), RewindError> {
    let (programs, source, save) = (node.programs(), node.source(primary), node.save());
    recover(&programs, &node.data, &node.config, soon())?;
    let rewind = Rewind {
        programs: &programs,
        pgdata: &node.data,
        source: &source,
        database: "postgres",
        restore_command,
        save: &save,
    };
    rewind.check(soon())?;
    let mut last = None;
    rewind.run(&mut |progress| last = Some(progress))?;
    let last = last.expect("it says how far it is");
    assert_eq!(last.done, last.total);
    assert!(!own_entries::is_saved(&save));
    Ok(())
}

/// What is the node's own in its data directory.
fn own(node: &Node) -> BTreeMap<PathBuf, String> {
    let mut all = contents(&node.data);
    all.retain(|path, _| {
        let first = path.components().next().map(|first| first.as_os_str());
        first
            .and_then(|name| name.to_str())
            .is_some_and(own_entries::is_own)
    });
    all
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    give(path.parent().unwrap());
    give(path);
}

#[test]
fn a_crashed_primary_follows_again_and_keeps_its_own_files() {
    let site = Site::new();
    // WAL beyond its last checkpoint, which was before the fork, in several files.
    let (mut old, new) = diverged(&site, "max_wal_size = 1GB\n");
    for _ in 0..3 {
        old.write("old");
        old.sql("select pg_switch_wal()");
    }
    old.write("old");
    old.crash();

    let data = |name: &str| old.data.join(name);
    put(&data("log/old.log"), "old's log");
    put(&new.data.join("log/new.log"), "new's log");
    put(&new.data.join("conf.d/new.conf"), "new's");
    put(&new.data.join("server.key"), "new's key");
    append(&data("postgresql.conf"), "# the old primary's\n");
    append(&new.data.join("postgresql.conf"), "# the new primary's\n");
    // A file that is a link here and a file there stops pg_rewind.
    let hba = old.dir.join("hba");
    fs::rename(data("pg_hba.conf"), &hba).unwrap();
    symlink(&hba, data("pg_hba.conf")).unwrap();
    // Files that the server's account may not write, and a directory that it may not even move.
    fs::create_dir(data("certificates")).unwrap();
    fs::write(data("certificates/ca.crt"), "ca").unwrap();
    fs::write(data("server.key"), "old's key").unwrap();
    fs::set_permissions(data("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let before = own(&old);
    assert!(!geteuid().is_root() || before[Path::new("server.key")].contains(" 0 "));

    rewind(&old, &new, None).unwrap();
    assert_eq!(own(&old), before);
    assert_follows(&mut old, &new);
}

#[test]
fn a_configuration_elsewhere_stays_elsewhere_and_old_wal_comes_from_an_archive() {
    let site = Site::new();
    let archive = site.make("archive");
    let config = format!(
        "archive_mode = on\narchive_command = 'cp %p {}/%f'\n",
        archive.display()
    );
    let mut old = Node::primary(&site, "old", &config);
    let new = Node::standby(&site, "new", &old, &[]);
    old.stop();
    old.config = site.make("etc").join("postgresql.conf");
    fs::rename(old.data.join("postgresql.conf"), &old.config).unwrap();
    append(
        &old.config,
        &format!(
            "data_directory = '{0}'\nhba_file = '{0}/pg_hba.conf'\n",
            old.data.display()
        ),
    );
    old.start();
    old.wait_streaming(&new);
    crate::node::diverge(&old, &new);
    old.forget_wal();
    old.forget_wal();
    old.stop();

    let without = rewind(&old, &new, None).unwrap_err();
    assert!(matches!(without, RewindError::Impossible(_)), "{without}");
    assert!(without.to_string().contains("no WAL any more"), "{without}");
    let command = format!("cp {}/%f %p", archive.display());
    rewind(&old, &new, Some(&command)).unwrap();
    assert!(!old.data.join("postgresql.conf").exists());
    assert_follows(&mut old, &new);
}

/// As after a power cut, where the numbers come again.
#[test]
fn a_number_that_is_anothers_by_now_stops_no_crash_recovery() {
    let site = Site::new();
    let mut node = Node::primary(&site, "node", "");
    node.crash();
    let mut other = as_postgres("cat").stdin(Stdio::piped()).spawn().unwrap();
    let path = node.data.join("postmaster.pid");
    let left = fs::read_to_string(&path).unwrap();
    let (_, rest) = left.split_once('\n').unwrap();
    fs::write(&path, format!("{}\n{rest}", other.id())).unwrap();
    // Until it is the server's account's.
    let uid = Some(owner().uid);
    eventually("the process runs as the server's account", || {
        let seen = fs::metadata(format!("/proc/{}", other.id())).unwrap();
        (Some(seen.uid().into()) == uid)
            .then_some(())
            .ok_or("not yet")
    });
    recover(&node.programs(), &node.data, &node.config, soon()).unwrap();
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_standby_that_went_past_the_fork_is_rewound_after_a_crash() {
    let site = Site::new();
    let old = Node::primary(&site, "old", "");
    let mut new = Node::standby(&site, "new", &old, &[]);
    let mut third = Node::standby(&site, "third", &old, &[]);
    new.stop();
    old.write("old");
    old.wait_streaming(&third);
    third.crash();
    drop(old);
    new.start();
    new.promote();
    new.write("new");
    rewind(&third, &new, None).unwrap();
    assert_follows(&mut third, &new);
}

/// Nobody but root can read it: an editor's copy, a core, what a package has saved.
#[test]
fn a_file_that_the_primary_can_not_read_is_found_before_anything_is_written() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let (mut old, new) = diverged(&site, "wal_keep_size = 1GB\n");
    old.stop();
    let odd = new.data.join("base/it's \\ so.bak");
    for unreadable in [new.data.join("pg_hba.conf.bak"), odd] {
        fs::write(&unreadable, "root's").unwrap();
        fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o600)).unwrap();
        let before = contents(&old.data);
        let error = rewind(&old, &new, None).unwrap_err();
        assert_eq!(contents(&old.data), before, "{error}");
        assert!(matches!(error, RewindError::Impossible(_)), "{error}");
        let name = unreadable.file_name().unwrap().to_str().unwrap();
        for words in [name, "primary", "127.0.0.1", "chown"] {
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        fs::remove_file(unreadable).unwrap();
    }
    // What is not copied may be whose it wants.
    let left = new.data.join("pg_replslot/left");
    fs::write(&left, "root's").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o600)).unwrap();
    rewind(&old, &new, None).unwrap();
    fs::remove_file(left).unwrap();
    assert_follows(&mut old, &new);
}

#[test]
fn nothing_is_touched_where_it_can_not_work() {
    let site = Site::new();
    let (mut old, mut new) = diverged(&site, "wal_log_hints = off\n");
    old.stop();
    let before = contents(&old.data);
    let refused = |node: &Node, primary: &Node| {
        let error = rewind(node, primary, None).unwrap_err();
        assert_eq!(contents(&node.data), before, "{error}");
        error
    };
    let error = refused(&old, &new);
    assert!(matches!(error, RewindError::Impossible(_)), "{error}");
    assert!(error.to_string().contains("wal_log_hints=on"), "{error}");

    // From here on it has them: what the control file says is what pg_rewind goes by.
    append(&old.config, "wal_log_hints = on\n");
    old.start();
    let running = rewind(&old, &new, None).unwrap_err();
    assert!(running.to_string().contains("stop it"), "{running}");
    old.stop();
    let before = contents(&old.data);
    let refused = |node: &Node, primary: &Node| {
        let error = rewind(node, primary, None).unwrap_err();
        assert_eq!(contents(&node.data), before, "{error}");
        error
    };

    let programs = old.programs();
    let (source, save) = (old.source_as(&new, "repl", "password=zq7x"), old.save());
    let limited = Rewind {
        programs: &programs,
        pgdata: &old.data,
        source: &source,
        database: "postgres",
        restore_command: None,
        save: &save,
    };
    let error = limited.check(soon()).unwrap_err();
    assert!(matches!(error, RewindError::Impossible(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("GRANT EXECUTE ON FUNCTION pg_ls_dir"),
        "{error}"
    );

    // The same timeline: nothing to undo.
    new.stop();
    append(&new.config, "wal_log_hints = on\n");
    new.start();
    let mut same = Node::standby(&site, "same", &new, &[]);
    same.stop();
    let error = rewind(&same, &new, None).unwrap_err();
    assert_eq!(error, RewindError::NotNeeded);

    let foreign = Node::foreign(&site, "foreign");
    let error = refused(&old, &foreign);
    assert!(
        error.to_string().contains("another database cluster"),
        "{error}"
    );

    new.stop();
    let error = refused(&old, &new);
    assert!(matches!(error, RewindError::Passing(_)), "{error}");
    assert!(!save.exists());
}
