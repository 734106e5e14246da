//! Whether a standby will replay all the WAL that it has. What it has flushed counts for a promotion only where it will be
//! there afterwards. And what else makes it no successor, although it replays.

use std::fmt;

use crate::decide::reachable::lets_others_in;

/// What a standby's server says about its replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The recovery target in force, by the setting's name: `recovery_target_time`, say.
    pub target: Option<String>,
    /// Replay is paused, or about to be, for whatever reason.
    pub is_paused: bool,
}

/// A setting that a standby must have at least as large as the primary had it when it wrote the WAL.
///
/// Source: "Administrator's Overview" in the manual's chapter on hot standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooSmall {
    pub name: String,
    pub here: u64,
    pub needed: u64,
}

/// What keeps a standby from replaying all it has, or others from using it as a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Replay ends at a recovery target. A promotion drops the WAL behind it, whatever was acknowledged in there.
    Target(String),
    /// The server waits for a restart with a larger setting. It can't be promoted until then, and to resume the replay ends it.
    TooSmall(TooSmall),
    /// Somebody called `pg_wal_replay_pause()`.
    Paused,
    /// As a primary it would be one that nobody reaches, by its `listen_addresses`.
    Unreachable(String),
    /// As a primary it would be one that no standby can stream from: `max_wal_senders=0`.
    NoSenders,
    /// What has to be noted before anything else for a promotion can't be noted; in words.
    NoNotes(String),
    /// A setting of the agent's is somebody else's: the standby can't be told to stop receiving, or whom to wait for.
    Overridden(String),
    /// `promote_trigger_file`: whoever makes that file promotes it, whatever the cluster has decided.
    Trigger,
}

impl Obstacle {
    /// In one word, for `RSC-replay`.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Target(name) | Self::Overridden(name) => name,
            Self::TooSmall(setting) => &setting.name,
            Self::Paused => PAUSED,
            Self::Unreachable(_) => UNREACHABLE,
            Self::NoSenders => NO_SENDERS,
            Self::NoNotes(_) => NO_NOTES,
            Self::Trigger => TRIGGER,
        }
    }
}

const PAUSED: &str = "paused";
const UNREACHABLE: &str = "unreachable";
const NO_SENDERS: &str = "no_senders";
const NO_NOTES: &str = "no_notes";
const TRIGGER: &str = "promote_trigger_file";

/// The settings of [`Obstacle::Overridden`].
const OWN: [&str; 2] = ["primary_conninfo", "synchronous_standby_names"];

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(name) => write!(
                f,
                "{name} is set: a promotion would drop all WAL behind that point; remove it and restart this server"
            ),
            Self::TooSmall(TooSmall { name, here, needed }) => write!(
                f,
                "replay is paused until this server is restarted: {name}={here} here, {needed} on the primary"
            ),
            Self::Overridden(name) => write!(
                f,
                "{name} is not as the agent set it, and this standby could not be promoted: ALTER SYSTEM, what comes behind its include lines, \
                 or start_opt overrides it; see pg_settings.sourcefile, and remove it"
            ),
            Self::Paused => {
                f.write_str("replay is paused: run SELECT pg_wal_replay_resume() on this server")
            }
            Self::NoNotes(why) => f.write_str(why),
            Self::Trigger => write!(
                f,
                "{TRIGGER} is set: a file of that name would promote this standby by itself, now or when it starts next; remove it, and reload"
            ),
            Self::Unreachable(listens) => write!(
                f,
                "listen_addresses='{listens}' lets nobody else in: {LET_IN}, and restart this server; it may become the primary"
            ),
            Self::NoSenders => f.write_str(
                "max_wal_senders=0: set it to 10 or more, and restart this server; as a primary nobody could follow it",
            ),
        }
    }
}

/// The sentence for what a node's attribute says, in which a word stands for the obstacle.
#[must_use]
pub fn in_words(word: &str) -> String {
    match word {
        PAUSED => "its replay is paused".to_owned(),
        UNREACHABLE => "its listen_addresses let nobody else in".to_owned(),
        NO_NOTES => "nothing can be written in its tmpdir".to_owned(),
        NO_SENDERS => "max_wal_senders is 0 there: nobody could follow it".to_owned(),
        target if target.starts_with("recovery_target") => {
            format!("{target} is set there: a promotion would drop the WAL behind that point")
        }
        TRIGGER => format!("{TRIGGER} is set there: a file could promote it by itself"),
        own if OWN.contains(&own) => {
            format!("{own} is overridden there: that server could not be promoted")
        }
        setting => format!("its replay is paused: {setting} is smaller there than on the primary"),
    }
}

/// What an operator types against it.
#[must_use]
pub fn remedy(word: &str) -> String {
    match word {
        PAUSED => "SELECT pg_wal_replay_resume() on that server".to_owned(),
        UNREACHABLE => format!("{LET_IN}, and restart that server"),
        NO_NOTES => {
            "make room in tmpdir there, and make it writable for the server's account".to_owned()
        }
        NO_SENDERS => "set max_wal_senders there to 10 or more, and restart the server".to_owned(),
        target if target.starts_with("recovery_target") => {
            format!("remove {target} from that server's configuration, and restart the server")
        }
        TRIGGER => {
            format!("remove {TRIGGER} from that server's configuration, and reload it")
        }
        own if OWN.contains(&own) => format!(
            "ALTER SYSTEM RESET {own} on that server, or remove it where pg_settings.sourcefile says, and reload"
        ),
        setting => format!("set {setting} there as on the primary, and restart the server"),
    }
}

/// What an operator does about a server that listens for this machine alone.
pub const LET_IN: &str = "set it to '*', or the parameter pghost";

/// What would make a poor primary of a standby that replays. `listens`: `listen_addresses`, where the operator has not said by pghost that this
/// is as it should be.
#[must_use]
pub fn as_primary(listens: Option<&str>, wal_senders: Option<u64>) -> Option<Obstacle> {
    match (listens, wal_senders) {
        (Some(listens), _) if !lets_others_in(listens) => {
            Some(Obstacle::Unreachable(listens.to_owned()))
        }
        (_, Some(0)) => Some(Obstacle::NoSenders),
        (_, _) => None,
    }
}

/// What the process that replays waits for, as PostgreSQL names it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Halt {
    /// `wait_event_type`.
    pub kind: Option<String>,
    /// `wait_event`.
    pub event: Option<String>,
    /// The sessions of clients.
    pub readers: Vec<Reader>,
}

/// A client's session on a standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub pid: i32,
    /// It may still read row versions that are gone on the primary.
    pub has_snapshot: bool,
    /// It has a lock on what the replay wants to lock.
    pub has_the_lock: bool,
}

/// The sessions that replay waits for. `max_standby_streaming_delay` and `max_standby_archive_delay` let it wait for half a minute, or
/// for ever.
///
/// Which one of several holds up the removal of row versions or the change of a page can't be seen: all that may are named.
/// Source: PostgreSQL, `standby.c`; the events have had these names since 14, before that only a lock is seen.
#[must_use]
pub fn in_the_way(halt: &Halt) -> Vec<i32> {
    let is_in_the_way = |reader: &&Reader| match (halt.kind.as_deref(), halt.event.as_deref()) {
        (Some("Lock"), _) => reader.has_the_lock,
        (Some("BufferPin"), _)
        | (_, Some("RecoveryConflictSnapshot" | "RecoveryConflictTablespace")) => {
            reader.has_snapshot
        }
        (_, _) => false,
    };
    let found = halt.readers.iter().filter(is_in_the_way);
    found.map(|reader| reader.pid).collect()
}

/// The first obstacle in the way of a standby. `too_small`: looked for only where replay is paused.
#[must_use]
pub fn obstacle(replay: &Replay, too_small: Option<TooSmall>) -> Option<Obstacle> {
    match (&replay.target, too_small) {
        (Some(name), _) => Some(Obstacle::Target(name.clone())),
        (None, _) if !replay.is_paused => None,
        (None, Some(setting)) => Some(Obstacle::TooSmall(setting)),
        (None, None) => Some(Obstacle::Paused),
    }
}

/// Which settings are smaller here than what the WAL needs. `here` gives the value of a setting; `None`: it is not known, and
/// then nothing is said of it.
#[must_use]
pub fn too_small<'a>(
    needed: impl IntoIterator<Item = (&'a str, u64)>,
    here: impl Fn(&str) -> Option<u64>,
) -> Vec<TooSmall> {
    let one = |(name, needed): (&str, u64)| {
        let here = here(name).filter(|here| *here < needed)?;
        Some(TooSmall {
            name: name.to_owned(),
            here,
            needed,
        })
    };
    needed.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> TooSmall {
        TooSmall {
            name: "max_connections".to_owned(),
            here: 50,
            needed: 100,
        }
    }

    #[test]
    fn replay_waits_for_those_who_hold_what_it_needs() {
        let reader = |pid, has_snapshot, has_the_lock| Reader {
            pid,
            has_snapshot,
            has_the_lock,
        };
        let readers = vec![
            reader(1, false, false),
            reader(2, true, false),
            reader(3, true, true),
            reader(4, false, true),
        ];
        let none: &[i32] = &[];
        for (kind, event, expected) in [
            (Some("Lock"), Some("relation"), &[3, 4][..]),
            (Some("IPC"), Some("RecoveryConflictSnapshot"), &[2, 3]),
            (Some("IPC"), Some("RecoveryConflictTablespace"), &[2, 3]),
            (Some("BufferPin"), Some("BufferPin"), &[2, 3]),
            // It waits for WAL, for the disk, for somebody who paused it, or for nothing.
            (Some("Activity"), Some("RecoveryWalStream"), none),
            (Some("IO"), Some("DataFileRead"), none),
            (Some("IPC"), Some("RecoveryPause"), none),
            (None, None, none),
        ] {
            let halt = Halt {
                kind: kind.map(str::to_owned),
                event: event.map(str::to_owned),
                readers: readers.clone(),
            };
            assert_eq!(in_the_way(&halt), expected, "{kind:?} {event:?}");
        }
    }

    #[test]
    fn a_standby_is_free_only_where_nothing_is_in_the_way() {
        let replay = |target: Option<&str>, is_paused| Replay {
            target: target.map(str::to_owned),
            is_paused,
        };
        let target = || Obstacle::Target("recovery_target_xid".to_owned());
        for (seen, small, expected) in [
            (replay(None, false), None, None),
            // Settings of another node's are no obstacle before replay has met them.
            (replay(None, false), Some(setting()), None),
            (replay(None, true), None, Some(Obstacle::Paused)),
            (
                replay(None, true),
                Some(setting()),
                Some(Obstacle::TooSmall(setting())),
            ),
            // Before it is reached, and when it is: it pauses there.
            (
                replay(Some("recovery_target_xid"), false),
                None,
                Some(target()),
            ),
            (
                replay(Some("recovery_target_xid"), true),
                None,
                Some(target()),
            ),
            (
                replay(Some("recovery_target_xid"), true),
                Some(setting()),
                Some(target()),
            ),
        ] {
            assert_eq!(obstacle(&seen, small), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_primary_is_to_be_reached_and_to_be_followed() {
        let nobody = |listens: &str| Some(Obstacle::Unreachable(listens.to_owned()));
        for (listens, senders, expected) in [
            (Some("*"), Some(10), None),
            (Some("localhost"), Some(10), nobody("localhost")),
            (Some(""), Some(0), nobody("")),
            // pghost says that this is meant so.
            (None, Some(10), None),
            (None, Some(0), Some(Obstacle::NoSenders)),
            (Some("*"), Some(0), Some(Obstacle::NoSenders)),
            (Some("*"), None, None),
        ] {
            assert_eq!(as_primary(listens, senders), expected, "{listens:?}");
        }
    }

    #[test]
    fn a_setting_is_too_small_only_where_both_values_are_known() {
        let needed = [("max_connections", 100), ("max_wal_senders", 10)];
        let here = |connections: Option<u64>| {
            move |name: &str| {
                if name == "max_connections" {
                    connections
                } else {
                    Some(10)
                }
            }
        };
        assert_eq!(too_small(needed, here(Some(50))), [setting()]);
        assert_eq!(too_small(needed, here(Some(100))), []);
        assert_eq!(too_small(needed, here(Some(500))), []);
        assert_eq!(too_small(needed, here(None)), []);
    }

    #[test]
    fn each_obstacle_has_words_and_a_remedy() {
        for obstacle in [
            Obstacle::Target("recovery_target_time".to_owned()),
            Obstacle::TooSmall(setting()),
            Obstacle::Paused,
            Obstacle::Unreachable("localhost".to_owned()),
            Obstacle::NoSenders,
            Obstacle::NoNotes("tmpdir=/tmp: no room".to_owned()),
            Obstacle::Trigger,
            Obstacle::Overridden(OWN[0].to_owned()),
            Obstacle::Overridden(OWN[1].to_owned()),
        ] {
            let word = obstacle.word();
            assert!(!word.contains(' '), "{word}");
            let is_own = [PAUSED, UNREACHABLE, NO_SENDERS, NO_NOTES].contains(&word);
            assert!(is_own || in_words(word).contains(word), "{word}");
            assert!(!remedy(word).is_empty());
            let is_own = matches!(obstacle, Obstacle::Overridden(_));
            assert_eq!(in_words(word).contains("overridden"), is_own, "{word}");
            assert_eq!(remedy(word).contains("RESET"), is_own, "{word}");
        }
    }
}
