//! Whether a load balancer may send clients to a server, by what that server says of itself.
//!
//! No answer, and one that is not understood, is never a yes. What a standby can't know is not taken for zero.

use std::time::Duration;

use serde::Serialize;

/// What clients want a server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, clap::ValueEnum)]
#[strum(serialize_all = "lowercase")]
pub enum Wanted {
    /// It takes writes.
    Primary,
    /// It replays what a primary wrote, and takes reads.
    Standby,
    /// It answers queries.
    Any,
}

/// How far behind a standby may be; `None`: as far as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// WAL that it has not replayed.
    pub bytes: Option<u64>,
    /// Age of what it shows.
    pub time: Option<Duration>,
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, Serialize)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Is {
    Primary,
    Standby,
}

/// What was seen of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Primary,
    Standby(Following),
    /// It answers that it takes no queries yet, or no more.
    NotReady(String),
    /// It could not be asked, or its answer is not understood.
    Nothing(String),
}

/// How a standby follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    pub source: Source,
    /// WAL that it has received, or that its primary has told it of, and that it has not replayed. `None`: it has received
    /// nothing since it was started.
    pub unreplayed: Option<u64>,
    /// How long ago the transaction was committed that it replayed last, by two machines' clocks. `None`: it has replayed none
    /// since it was started.
    pub last_commit: Option<Duration>,
    pub is_paused: bool,
}

/// Where a standby's WAL comes from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A primary, or another standby, that it is connected to.
    Stream,
    /// An archive, or nowhere.
    NoStream,
    /// There is a receiver; what it does is not for the eyes of the user that asked.
    Hidden,
}

/// How far a standby is behind, where that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub bytes: Option<u64>,
    pub time: Option<Duration>,
}

/// Whether clients are to be sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    Yes,
    /// It is the right kind and too far behind: who is connected may stay.
    Behind,
    /// It is of another kind, or takes no queries.
    No,
    /// Nobody knows.
    Unknown,
}

/// The answer, with all that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub serves: Serves,
    pub is: Option<Is>,
    pub lag: Lag,
    /// A sentence; empty where there is nothing to explain.
    pub why: String,
}

impl Following {
    /// How far it is behind. What its primary wrote and has not told it of, nobody here knows: where the network is silent, that
    /// is noticed after `wal_receiver_timeout`.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let has_all = self.source == Source::Stream && self.unreplayed == Some(0);
        Lag {
            // Without a stream there may be any amount of WAL that it has not heard of.
            bytes: self.unreplayed.filter(|_| self.source == Source::Stream),
            time: if has_all {
                Some(Duration::ZERO)
            } else {
                self.last_commit
            },
        }
    }
}

/// Whether a server that is `seen` so serves what is `wanted`.
#[must_use]
pub fn serve(wanted: Wanted, limits: &Limits, seen: &Seen) -> Answer {
    let (serves, is, why) = match seen {
        Seen::Nothing(why) => (Serves::Unknown, None, why.clone()),
        Seen::NotReady(why) => (Serves::No, None, why.clone()),
        Seen::Primary if wanted == Wanted::Standby => (
            Serves::No,
            Some(Is::Primary),
            "this is the primary".to_owned(),
        ),
        Seen::Primary => (Serves::Yes, Some(Is::Primary), String::new()),
        Seen::Standby(_) if wanted == Wanted::Primary => (
            Serves::No,
            Some(Is::Standby),
            "this is a standby".to_owned(),
        ),
        Seen::Standby(following) => match too_far(limits, following) {
            None => (Serves::Yes, Some(Is::Standby), String::new()),
            Some((serves, why)) => (serves, Some(Is::Standby), why),
        },
    };
    let lag = match seen {
        Seen::Standby(following) => following.lag(),
        Seen::Primary | Seen::NotReady(_) | Seen::Nothing(_) => Lag::default(),
    };
    Answer {
        serves,
        is,
        lag,
        why,
    }
}

/// Why a standby does not serve; `None`: it is within the limits.
fn too_far(limits: &Limits, following: &Following) -> Option<(Serves, String)> {
    if *limits == Limits::default() {
        return None;
    }
    if following.source == Source::Hidden {
        let why = "the WAL receiver's state is hidden from this user: GRANT pg_read_all_stats to it, or take no limit of lag";
        return Some((Serves::Unknown, why.to_owned()));
    }
    let behind = too_many_bytes(limits, following).or_else(|| too_old(limits, following))?;
    let paused = if following.is_paused {
        "; its replay is paused (pg_wal_replay_resume)"
    } else {
        ""
    };
    Some((Serves::Behind, behind + paused))
}

fn too_many_bytes(limits: &Limits, following: &Following) -> Option<String> {
    let limit = limits.bytes?;
    match (following.unreplayed, following.source) {
        (Some(bytes), _) if bytes > limit => {
            Some(format!("{bytes} bytes are not replayed, more than {limit}"))
        }
        (Some(_), Source::Stream) => None,
        // The time tells what the bytes can't.
        (_, Source::Stream | Source::NoStream | Source::Hidden) if limits.time.is_some() => None,
        (_, Source::Stream | Source::NoStream | Source::Hidden) => Some(
            "it does not stream: how many bytes it is behind is not known (a limit in seconds would tell)"
                .to_owned(),
        ),
    }
}

fn too_old(limits: &Limits, following: &Following) -> Option<String> {
    let limit = limits.time?;
    match following.lag().time {
        Some(time) if time <= limit => None,
        Some(time) => Some(format!(
            "what it shows is {:.1} s old, more than {} s",
            time.as_secs_f64(),
            limit.as_secs()
        )),
        None => Some(
            "how old is what it shows is not known: it has replayed no commit since it was started"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn following(source: Source, unreplayed: Option<u64>, last: Option<u64>) -> Seen {
        Seen::Standby(Following {
            source,
            unreplayed,
            last_commit: last.map(S),
            is_paused: false,
        })
    }

    fn limits(bytes: Option<u64>, time: Option<u64>) -> Limits {
        Limits {
            bytes,
            time: time.map(S),
        }
    }

    #[test]
    fn each_role_is_served_by_its_own_kind_and_by_nothing_that_is_not_known() {
        let standby = following(Source::Stream, Some(0), None);
        let mute = Seen::Nothing("no answer".to_owned());
        let early = Seen::NotReady("starting up".to_owned());
        for (wanted, seen, expected) in [
            (Wanted::Primary, &Seen::Primary, Serves::Yes),
            (Wanted::Standby, &Seen::Primary, Serves::No),
            (Wanted::Any, &Seen::Primary, Serves::Yes),
            (Wanted::Primary, &standby, Serves::No),
            (Wanted::Standby, &standby, Serves::Yes),
            (Wanted::Any, &standby, Serves::Yes),
            (Wanted::Primary, &early, Serves::No),
            (Wanted::Standby, &early, Serves::No),
            (Wanted::Any, &early, Serves::No),
            (Wanted::Primary, &mute, Serves::Unknown),
            (Wanted::Standby, &mute, Serves::Unknown),
            (Wanted::Any, &mute, Serves::Unknown),
        ] {
            let answer = serve(wanted, &Limits::default(), seen);
            assert_eq!(answer.serves, expected, "{wanted} {seen:?}");
            assert_eq!(answer.why.is_empty(), expected == Serves::Yes, "{answer:?}");
        }
        // Limits are for standbys.
        let strict = limits(Some(1), Some(1));
        assert_eq!(
            serve(Wanted::Any, &strict, &Seen::Primary).serves,
            Serves::Yes
        );
    }

    #[test]
    fn a_standby_serves_within_the_limits_and_what_it_can_not_know_is_not_zero() {
        use Serves::{Behind, Unknown, Yes};
        use Source::{Hidden, NoStream, Stream};
        for (source, unreplayed, last, bytes, time, expected, part) in [
            // It has all there is: however long nobody has committed anything.
            (Stream, Some(0), Some(9000), Some(10), Some(5), Yes, ""),
            (Stream, Some(0), None, Some(10), Some(5), Yes, ""),
            (Stream, Some(10), Some(5), Some(10), Some(5), Yes, ""),
            (
                Stream,
                Some(11),
                Some(1),
                Some(10),
                Some(5),
                Behind,
                "11 bytes",
            ),
            (
                Stream,
                Some(9),
                Some(6),
                Some(10),
                Some(5),
                Behind,
                "6.0 s old",
            ),
            (
                Stream,
                Some(9),
                None,
                Some(10),
                Some(5),
                Behind,
                "not known",
            ),
            (Stream, Some(9), None, Some(10), None, Yes, ""),
            (
                Stream,
                None,
                Some(1),
                Some(10),
                None,
                Behind,
                "does not stream",
            ),
            (Stream, None, Some(1), Some(10), Some(5), Yes, ""),
            // The primary may be anywhere: the last commit's age is all there is.
            (
                NoStream,
                Some(0),
                Some(6),
                None,
                Some(5),
                Behind,
                "6.0 s old",
            ),
            (NoStream, Some(0), Some(5), None, Some(5), Yes, ""),
            (NoStream, Some(0), None, None, Some(5), Behind, "not known"),
            (
                NoStream,
                Some(0),
                Some(1),
                Some(10),
                None,
                Behind,
                "does not stream",
            ),
            (NoStream, Some(0), Some(1), Some(10), Some(5), Yes, ""),
            (
                NoStream,
                Some(11),
                Some(1),
                Some(10),
                Some(5),
                Behind,
                "11 bytes",
            ),
            (NoStream, None, Some(1), Some(10), Some(5), Yes, ""),
            (NoStream, None, None, None, None, Yes, ""),
            (
                Hidden,
                Some(0),
                Some(1),
                Some(10),
                None,
                Unknown,
                "pg_read_all_stats",
            ),
            (
                Hidden,
                Some(0),
                Some(1),
                None,
                Some(5),
                Unknown,
                "pg_read_all_stats",
            ),
            (Hidden, Some(0), Some(1), None, None, Yes, ""),
        ] {
            let seen = following(source, unreplayed, last);
            let answer = serve(Wanted::Standby, &limits(bytes, time), &seen);
            assert_eq!(
                answer.serves, expected,
                "{seen:?} {bytes:?} {time:?}: {answer:?}"
            );
            assert!(answer.why.contains(part), "{answer:?}");
        }
    }

    #[test]
    fn the_lag_that_is_shown_is_the_one_that_is_known() {
        for (source, unreplayed, last, bytes, time) in [
            (Source::Stream, Some(0), Some(90), Some(0), Some(0)),
            (Source::Stream, Some(7), Some(90), Some(7), Some(90)),
            (Source::NoStream, Some(0), Some(90), None, Some(90)),
            (Source::NoStream, None, None, None, None),
            (Source::Hidden, Some(0), Some(90), None, Some(90)),
        ] {
            let seen = following(source, unreplayed, last);
            let answer = serve(Wanted::Any, &Limits::default(), &seen);
            assert_eq!(answer.lag.bytes, bytes, "{seen:?}");
            assert_eq!(answer.lag.time, time.map(S), "{seen:?}");
        }
    }

    #[test]
    fn a_paused_replay_is_named_where_it_is_why() {
        let Seen::Standby(mut it) = following(Source::Stream, Some(11), Some(9)) else {
            unreachable!()
        };
        it.is_paused = true;
        let answer = serve(Wanted::Any, &limits(Some(1), None), &Seen::Standby(it));
        assert!(answer.why.contains("pg_wal_replay_resume"), "{answer:?}");
    }
}
