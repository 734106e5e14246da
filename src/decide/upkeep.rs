//! What a deep monitor makes of what a server needs in the long run: an archive that takes its WAL, indexes in the order that the system sorts by,
//! standbys that its logical slots wait for.
//!
//! None of it is held against the server: it serves, and to restart or move it mends nothing. People are told while there is time.

use std::time::Duration;

use crate::decide::deep::Finding;

/// For so long an archive may take nothing. PostgreSQL tries a file three times, and again after a minute; an archive that is restarted, or a
/// network that comes back, is nobody's concern.
const PATIENCE: Duration = Duration::from_secs(300);

/// Files of WAL that wait for the archive, on a server that archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The one that waits longest.
    pub oldest: String,
    /// For how long it has been waiting.
    pub age: Duration,
    pub files: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// The last attempt failed, with this file.
    pub failed: Option<String>,
    /// When a file was last archived; `None`: none was since the statistics begin.
    pub archived: Option<Duration>,
}

/// Judges an archive. One that is behind and takes files gets on; how much room is left for WAL is judged elsewhere.
#[must_use]
pub fn archive(waiting: &Waiting) -> Finding {
    let gets_on = waiting.archived.is_some_and(|ago| ago < PATIENCE);
    if gets_on || waiting.age < PATIENCE {
        return Finding::Well;
    }
    let what = match &waiting.failed {
        Some(file) => format!("WAL file {file} can't be archived"),
        None => format!("WAL file {} is not archived", waiting.oldest),
    };
    Finding::Told(format!(
        "{what}, nothing was for {} minutes: see the server's log for archive_command (archive_library), and correct it; {} files ({} MB) wait, and are kept \
         until the disk is full",
        waiting.age.as_secs() / 60,
        waiting.files,
        waiting.bytes >> 20
    ))
}

/// A database whose indexes were made by another version of what sorts text (the C library, ICU) than this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsorted {
    pub database: String,
    pub recorded: String,
    /// `None`: what sorts here has no version.
    pub here: Option<String>,
}

/// Judges the order of text in the databases.
#[must_use]
pub fn order_of_text(all: &[Unsorted], is_standby: bool) -> Finding {
    let Some(first) = all.first() else {
        return Finding::Well;
    };
    let more = match all.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let instead = if is_standby {
        "or give this machine the primary's version of the C library or ICU"
    } else {
        "or go back to a machine with that version"
    };
    Finding::Told(format!(
        "database {}{more}: text is sorted by version {}, this machine has {}: REINDEX DATABASE on the primary, then ALTER DATABASE … REFRESH COLLATION VERSION, \
         {instead}; until then indexes that were made elsewhere may miss rows and let duplicates in",
        first.database,
        first.recorded,
        first.here.as_deref().unwrap_or("none")
    ))
}

/// How a slot does that `synchronized_standby_slots` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A standby streams by it.
    Streams,
    /// Nobody streams by it now.
    Idle,
    /// It is of no use: given up by the server, or a logical one.
    Unfit,
    /// There is none of that name.
    Missing,
}

/// Judges what logical decoding waits for.
#[must_use]
pub fn standby_slots(all: &[(String, Named)]) -> Finding {
    let words = all.iter().filter_map(|(slot, named)| {
        let what = match named {
            Named::Streams => return None,
            Named::Idle => "is not in use",
            Named::Unfit => "is no slot that a standby can stream by",
            Named::Missing => "is not there",
        };
        Some(format!("{slot} {what}"))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        return Finding::Well;
    }
    Finding::Told(format!(
        "synchronized_standby_slots: {}: subscribers by failover slots get nothing meanwhile; take out of the list what is not to be waited for: the slots of the \
         cluster's standbys have another name after each promotion",
        words.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_told(finding: &Finding) -> bool {
        match finding {
            Finding::Well => false,
            Finding::Told(_) => true,
            Finding::Failed(why) => panic!("{why}"),
        }
    }

    #[test]
    fn an_archive_is_told_when_it_has_taken_nothing_for_minutes() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for (age, archived, expected) in [
            // Failed just now, for the first time or after a quiet day.
            (0, None, false),
            (0, Some(1500), false),
            (4, Some(1500), false),
            (5, Some(1500), true),
            (5, None, true),
            (1500, Some(1500), true),
            // Far behind, and it gets on: it has succeeded since.
            (1500, Some(0), false),
            (1500, Some(4), false),
            (1500, Some(5), true),
        ] {
            for failed in [None, Some("00000001000000000000000A".to_owned())] {
                let waiting = Waiting {
                    oldest: "000000010000000000000009".to_owned(),
                    age: minutes(age),
                    files: 3,
                    bytes: 48 << 20,
                    failed: failed.clone(),
                    archived: archived.map(minutes),
                };
                let finding = archive(&waiting);
                assert_eq!(is_told(&finding), expected, "{waiting:?}");
                if let Finding::Told(text) = finding {
                    let file = failed.unwrap_or(waiting.oldest);
                    for word in [&file, "3 files (48 MB)", &format!("{age} minutes")] {
                        assert!(text.contains(word), "{word}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_database_of_another_order_is_told_with_what_to_do() {
        let unsorted = |name: &str, here: Option<&str>| Unsorted {
            database: name.to_owned(),
            recorded: "2.31".to_owned(),
            here: here.map(str::to_owned),
        };
        assert_eq!(order_of_text(&[], false), Finding::Well);
        for (all, is_standby, words) in [
            (
                vec![unsorted("app", Some("2.36"))],
                true,
                [
                    "database app:",
                    "version 2.31",
                    "has 2.36",
                    "primary's version",
                ],
            ),
            (
                vec![unsorted("app", None), unsorted("b", None)],
                false,
                ["database app and 1 more:", "2.31", "has none", "REINDEX"],
            ),
        ] {
            let Finding::Told(text) = order_of_text(&all, is_standby) else {
                panic!("{all:?}")
            };
            for word in words {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }

    #[test]
    fn a_slot_that_decoding_waits_for_in_vain_is_told() {
        for (named, word) in [
            (Named::Streams, None),
            (Named::Idle, Some("a is not in use")),
            (Named::Unfit, Some("a is no slot")),
            (Named::Missing, Some("a is not there")),
        ] {
            let finding =
                standby_slots(&[("a".to_owned(), named), ("b".to_owned(), Named::Streams)]);
            match (finding, word) {
                (Finding::Well, None) => {}
                (Finding::Told(text), Some(word)) => {
                    assert!(text.contains(word) && !text.contains("b is"), "{text}");
                }
                (other, _) => panic!("{named:?}: {other:?}"),
            }
        }
        assert_eq!(standby_slots(&[]), Finding::Well);
    }
}
