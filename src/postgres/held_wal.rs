//! WAL that a rewound node starts from. pg_rewind removes what the primary has not, and the primary recycles its WAL: what lies
//! between the last common checkpoint and the fork may be gone on both sides then, and the node never starts. It is mended in 14.16,
//! 15.11, 16.7 and 17.3 (release notes of February 2025), and not in 13. So every file gets a second name while pg_rewind works, and
//! what belongs to the primary's history and is missing afterwards gets its first one back.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::model::lsn::Lsn;
use crate::model::timeline::{Lineage, TimelineId};
use crate::postgres::files::OURS;

/// Where the second names are: beside what else is set aside, or, where that is another file system, beside the data directory.
fn places(pgdata: &Path, save: &Path) -> Vec<PathBuf> {
    let beside = pgdata.file_name().zip(pgdata.parent()).map(|(name, dir)| {
        let mut hidden = std::ffi::OsString::from(OURS);
        hidden.push(name);
        hidden.push(".wal");
        dir.join(hidden)
    });
    std::iter::once(save.with_extension("wal"))
        .chain(beside)
        .collect()
}

/// Gives every WAL file a second name. `None`: there is no place on its file system where this account may make one.
///
/// # Errors
/// The file system's.
pub(super) fn hold(pgdata: &Path, save: &Path) -> io::Result<Option<PathBuf>> {
    remove(pgdata, save)?;
    let wal = pgdata.join("pg_wal");
    let files: Vec<_> = fs::read_dir(&wal)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    let files = files.into_iter().filter(|name| {
        name.to_str()
            .is_some_and(|name| position(name, 1).is_some())
    });
    let files: Vec<_> = files.collect();
    for place in places(pgdata, save) {
        let made = fs::create_dir(&place).and_then(|()| {
            files
                .iter()
                .try_for_each(|name| fs::hard_link(wal.join(name), place.join(name)))
        });
        match made {
            Ok(()) => return Ok(Some(place)),
            // No rights there, or another file system.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::CrossesDevices
                ) =>
            {
                remove(pgdata, save)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Gives those their first name back that are missing and lie on the way to where `lineage` is; how many. Beyond that is what was
/// undone: it must not come back.
///
/// # Errors
/// The file system's.
pub(super) fn give_back(
    pgdata: &Path,
    held: &Path,
    lineage: &Lineage,
    segment_size: u64,
) -> io::Result<usize> {
    let wal = pgdata.join("pg_wal");
    let mut count = 0;
    for entry in fs::read_dir(held)? {
        let name = entry?.file_name();
        let place = name.to_str().and_then(|name| position(name, segment_size));
        let is_common = place
            .and_then(|(timeline, start)| Some(start < lineage.end_of(timeline)?))
            .unwrap_or(false);
        if is_common && !wal.join(&name).try_exists()? {
            fs::hard_link(held.join(&name), wal.join(&name))?;
            count += 1;
        }
    }
    if count > 0 {
        fs::File::open(&wal)?.sync_all()?;
    }
    Ok(count)
}

/// Removes the second names, of this rewind or of one that was interrupted.
///
/// # Errors
/// The file system's.
pub(super) fn remove(pgdata: &Path, save: &Path) -> io::Result<()> {
    places(pgdata, save)
        .into_iter()
        .try_for_each(|place| match fs::remove_dir_all(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        })
}

/// The timeline and the first position of a WAL file (`XLogFileName`).
fn position(name: &str, segment_size: u64) -> Option<(TimelineId, Lsn)> {
    let is_wal = name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let part = |n: usize| {
        let text = name.get(n * 8..n * 8 + 8).filter(|_| is_wal)?;
        u64::from_str_radix(text, 16).ok()
    };
    let timeline = TimelineId::new(u32::try_from(part(0)?).ok()?)?;
    let start = (part(1)? << 32) + part(2)?.checked_mul(segment_size)?;
    Some((timeline, Lsn::new(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    #[test]
    fn what_lies_before_the_fork_comes_back_and_what_was_undone_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (data, save) = (dir.path().join("data"), dir.path().join("own"));
        let wal = data.join("pg_wal");
        fs::create_dir_all(&wal).unwrap();
        let segment = |timeline: u32, number: u32| format!("{timeline:08X}{:08X}{number:08X}", 0);
        for number in 5..=9 {
            fs::write(wal.join(segment(1, number)), "old").unwrap();
        }
        fs::write(wal.join("00000002.history"), "1\t0/700100\tx\n").unwrap();
        let held = hold(&data, &save).unwrap().unwrap();
        // As pg_rewind leaves it: the primary's files only.
        for number in [5, 7, 8, 9] {
            fs::remove_file(wal.join(segment(1, number))).unwrap();
        }
        fs::write(wal.join(segment(1, 6)), "the primary's").unwrap();
        fs::write(wal.join(segment(2, 8)), "the primary's").unwrap();
        let two = TimelineId::new(2).unwrap();
        let lineage = Lineage::from_history_file(two, "1\t0/700100\tx\n").unwrap();
        assert_eq!(give_back(&data, &held, &lineage, SIZE).unwrap(), 2);
        let there = |timeline, number| wal.join(segment(timeline, number)).exists();
        assert!(there(1, 5) && there(1, 7), "on the way to the fork");
        assert!(!there(1, 8) && !there(1, 9), "undone");
        assert!(there(2, 8));
        remove(&data, &save).unwrap();
        assert!(!held.exists());
        assert_eq!(fs::read(wal.join(segment(1, 7))).unwrap(), b"old");
        // One that was interrupted is no obstacle.
        hold(&data, &save).unwrap().unwrap();
        assert!(hold(&data, &save).unwrap().is_some());
    }

    #[test]
    fn a_name_says_where_its_file_begins() {
        for (name, expected) in [
            ("000000010000000000000007", Some((1, 7 * SIZE))),
            (
                "0000000A00000001000000FF",
                Some((10, (1 << 32) + 255 * SIZE)),
            ),
            ("000000010000000000000007.partial", None),
            ("00000002.history", None),
            ("000000000000000000000007", None),
            ("archive_status", None),
        ] {
            let found = position(name, SIZE).map(|(timeline, lsn)| (timeline.get(), lsn));
            assert_eq!(found, expected.map(|(t, at)| (t, Lsn::new(at))), "{name}");
        }
    }
}
