//! A swap that is interrupted anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use expgsql::postgres::base_backup::{BaseBackup, BaseBackupError};
use expgsql::postgres::replace::{Swap, SwapError};

use crate::node::{Site, assert_follows, done, owner};
use crate::rebuild::{assert_no_leftovers, rebuild, scattered};

/// The paths below some directories.
fn paths(dirs: &[PathBuf]) -> BTreeMap<PathBuf, bool> {
    let mut all = BTreeMap::new();
    let mut left = dirs.to_vec();
    while let Some(path) = left.pop() {
        let is_dir = fs::symlink_metadata(&path).unwrap().is_dir();
        if is_dir {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        all.insert(path, is_dir);
    }
    all
}

/// Names only: the files are the same, by further names. A swap writes to none of them.
fn duplicate(from: &Path, to: &Path) {
    done(Command::new("cp").arg("-al").arg(from).arg(to));
}

#[test]
fn a_swap_that_ended_after_any_step_is_finished() {
    let site = Site::new();
    let (mut old, new) = scattered(&site);
    old.stop();
    let (programs, source) = (old.programs(), old.source(&new));
    let copy = BaseBackup {
        programs: &programs,
        pgdata: &old.data,
        source: &source,
        database: "postgres",
    };
    let copy = copy.take(&mut |_| {}).unwrap();
    assert!(!Swap::is_pending(&old.data).unwrap());
    copy.begin_swap().unwrap();

    let dirs = [
        old.data.clone(),
        site.dir().join("wal_old"),
        site.dir().join("space_old"),
    ];
    let kept = |dir: &Path| dir.with_extension("kept");
    for dir in &dirs {
        duplicate(dir, &kept(dir));
    }
    let again = || {
        for dir in &dirs {
            fs::remove_dir_all(dir).unwrap();
            duplicate(&kept(dir), dir);
        }
    };
    let owner = owner();
    Swap::finish(&old.data, &owner).unwrap();
    let expected = paths(&dirs);
    let mut steps = 0;
    loop {
        again();
        if Swap::advance(&old.data, &owner, steps).unwrap() {
            break;
        }
        // No server starts on half of each: only before anything has moved, or when everything is there.
        assert!(Swap::is_pending(&old.data).unwrap(), "after {steps} steps");
        let is_whole = steps <= dirs.len() || is_complete(&old.data);
        assert_eq!(is_startable(&old.data), is_whole, "after {steps} steps");
        assert!(matches!(
            Swap::purge(&old.data, &owner),
            Err(SwapError::Pending(_))
        ));
        assert!(matches!(
            Swap::discard(&old.data, &owner),
            Err(SwapError::Pending(_))
        ));
        if steps == 10 {
            old.launch();
            assert!(old.has_failed());
            assert!(
                old.log().contains("is not a valid data directory"),
                "{}",
                old.log()
            );
            let refused = rebuild(&old, &new).unwrap_err();
            assert!(
                matches!(refused, BaseBackupError::Swap(SwapError::Pending(_))),
                "{refused}"
            );
        }
        // Once more interrupted, and then not.
        Swap::advance(&old.data, &owner, 3).unwrap();
        Swap::finish(&old.data, &owner).unwrap();
        assert_eq!(paths(&dirs), expected, "after {steps} steps");
        steps += 1;
    }
    assert!(steps > 40, "{steps} steps");
    assert_eq!(paths(&dirs), expected);
    assert_follows(&mut old, &new);
    Swap::purge(&old.data, &owner).unwrap();
    let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    assert_no_leftovers(&dirs);
}

fn is_startable(data: &Path) -> bool {
    data.join("global/pg_control").exists()
}

/// Nothing of the copy is missing: only what is left of it has to be cleared away.
fn is_complete(data: &Path) -> bool {
    let left = fs::read_dir(data.join(".expgsql.new"));
    left.map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn a_copy_that_ended_half_way_is_removed() {
    let site = Site::new();
    let (mut old, new) = scattered(&site);
    old.stop();
    let (wal, space) = (site.dir().join("wal_old"), site.dir().join("space_old"));
    let before = paths(&[old.data.clone(), wal.clone(), space.clone()]);
    let (programs, source) = (old.programs(), old.source(&new));
    let copy = BaseBackup {
        programs: &programs,
        pgdata: &old.data,
        source: &source,
        database: "postgres",
    };
    // As a killed process leaves it, and twice.
    for _ in 0..2 {
        let made = copy.take(&mut |_| {}).unwrap();
        assert!(space.join(".expgsql.new").exists() && wal.join(".expgsql.new").exists());
        drop(made);
    }
    Swap::discard(&old.data, &owner()).unwrap();
    Swap::discard(&old.data, &owner()).unwrap();
    assert_eq!(paths(&[old.data.clone(), wal, space]), before);
    old.start();
    assert!(old.writers().contains("old"));
}
