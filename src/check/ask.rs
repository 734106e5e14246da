//! What a server says of itself, asked by a user who need not be its owner.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::decide::life::Listener;
use crate::decide::serve::{Following, Seen, Source};
use crate::model::lsn::Lsn;
use crate::params::Secret;
use crate::postgres::address::Address;
use crate::postgres::entry::{self, Way};
use crate::postgres::passfile::{self, Login, PassfileError};
use crate::postgres::session::{Row, Session, SqlError};
use crate::sys::{Deadline, account, within};

use super::CheckArgs;

/// So that this says what it was before whoever waits for it gives it up.
const MARGIN: Duration = Duration::from_millis(50);

/// One row, on a primary as well as on a standby. A user who may not see what the receiver does sees that there is one.
const QUESTION: &str = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(), \
    w.pid, w.status, w.latest_end_lsn, \
    (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint, \
    CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END \
    FROM (SELECT 1) one LEFT JOIN pg_stat_wal_receiver w ON true";

/// Asks, for as long as it may take, and not longer: whatever hangs on the way (a file system, a name service, the server) is left to
/// the end of this process.
pub(super) fn ask(args: &CheckArgs) -> Seen {
    let deadline = Deadline::after(args.timeout);
    let own = args.clone();
    let limit = args.timeout.saturating_sub(MARGIN);
    match within(deadline, move || look(&own, limit, deadline)) {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Seen::Nothing(format!(
            "{} port {}: no answer within {:.1} s",
            args.host,
            args.port,
            args.timeout.as_secs_f32()
        )),
        Err(error) => Seen::Nothing(error.to_string()),
    }
}

fn look(args: &CheckArgs, limit: Duration, deadline: Deadline) -> Seen {
    let reason = |error: SqlError| reason(args, &error);
    let answer = way(args, deadline).and_then(|(way, home)| {
        let mut session = entry::direct(way, home, limit).map_err(reason)?;
        session.set_limit(deadline.remaining());
        question(&mut session).map_err(reason)
    });
    match answer {
        Ok(seen) | Err(seen) => seen,
    }
}

/// What it means that the server did not answer as it should.
fn reason(args: &CheckArgs, error: &SqlError) -> Seen {
    let what = format!("{} port {}: {error}", args.host, args.port);
    match error {
        SqlError::NotReady(_) => Seen::NotReady(what),
        SqlError::TimedOut(..)
        | SqlError::Slow(_)
        | SqlError::Refused(_)
        | SqlError::Unreachable(_)
        | SqlError::Closed(_)
        | SqlError::Failed { .. }
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => Seen::Nothing(what),
    }
}

/// Where and as whom, and where that one keeps its files.
fn way(args: &CheckArgs, deadline: Deadline) -> Result<(Way, PathBuf), Seen> {
    let nobody = || Seen::Nothing("this account has no name; name a --user".to_owned());
    let user = || account(geteuid(), deadline).map(|account| account.name);
    let user = match &args.user {
        Some(user) if !user.is_empty() => user.clone(),
        Some(_) | None => user().ok_or_else(nobody)?,
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home
        .or_else(|| account(geteuid(), deadline).map(|account| account.dir))
        .unwrap_or_default();
    let password = password(args, &user, &home).map_err(|why| Seen::Nothing(why.to_string()))?;
    let address = if args.host.starts_with('/') {
        Address::Socket(args.host.clone().into())
    } else {
        Address::Host(args.host.clone())
    };
    let way = Way {
        address,
        port: args.port,
        user,
        password: password.map(|secret| secret.reveal().to_owned()),
        database: args.dbname.clone(),
        is_superuser: false,
        listener: Listener::Anybody,
    };
    Ok((way, home))
}

/// As libpq looks it up.
fn password(args: &CheckArgs, user: &str, home: &Path) -> Result<Option<Secret>, PassfileError> {
    if let Ok(password) = std::env::var("PGPASSWORD") {
        return Ok(Some(Secret::new(password)));
    }
    let login = Login {
        host: &args.host,
        port: args.port,
        database: &args.dbname,
        user,
    };
    let named = args.passfile.as_ref();
    match named.filter(|file| !file.as_os_str().is_empty()) {
        Some(file) => passfile::password(file, &login),
        None => match passfile::password(&home.join(".pgpass"), &login) {
            // Nobody has said that there is one.
            Err(error) if error.is_missing() => Ok(None),
            other => other,
        },
    }
}

fn question(session: &mut Session) -> Result<Seen, SqlError> {
    let rows = session.rows(QUESTION)?;
    let seen = match &rows[..] {
        [row] => understand(row),
        _ => None,
    };
    seen.ok_or_else(|| SqlError::Unexpected {
        query: "what are you?",
        what: format!("{rows:?}"),
    })
}

/// `None`: that is no answer to the question.
fn understand(row: &Row) -> Option<Seen> {
    let [
        is_standby,
        replayed,
        received,
        pid,
        status,
        told,
        age,
        paused,
    ] = &row[..]
    else {
        return None;
    };
    match is_standby.as_deref()? {
        "f" => return Some(Seen::Primary),
        "t" => {}
        _ => return None,
    }
    let replayed = lsn(replayed.as_deref())?;
    let received = lsn(received.as_deref())?;
    let told = lsn(told.as_deref())?;
    let unreplayed = received.map(|received| {
        let known = told.map_or(received, |told| told.max(received));
        known
            .bytes_past(replayed.unwrap_or(Lsn::new(0)))
            .unwrap_or(0)
    });
    let last_commit = match age.as_deref() {
        // The other machine's clock may be ahead.
        Some(text) => Some(Duration::from_millis(
            u64::try_from(text.parse::<i64>().ok()?.max(0)).ok()?,
        )),
        None => None,
    };
    Some(Seen::Standby(Following {
        source: match (pid, status.as_deref()) {
            (Some(_), None) => Source::Hidden,
            (_, Some("streaming")) => Source::Stream,
            (None | Some(_), _) => Source::NoStream,
        },
        unreplayed,
        last_commit,
        is_paused: paused.as_deref() == Some("t"),
    }))
}

/// The outer `None`: not a position.
fn lsn(text: Option<&str>) -> Option<Option<Lsn>> {
    match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: [&str; 8]) -> Row {
        let cell = |word: &str| (word != "-").then(|| word.to_owned());
        words.map(cell).to_vec()
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for words in [
            ["-", "-", "-", "-", "-", "-", "-", "-"],
            ["", "-", "-", "-", "-", "-", "-", "-"],
            ["false", "-", "-", "-", "-", "-", "-", "-"],
            ["t", "x", "0/5", "1", "streaming", "0/5", "1", "f"],
            ["t", "0/5", "5", "1", "streaming", "0/5", "1", "f"],
            ["t", "0/5", "0/5", "1", "streaming", "0/5", "soon", "f"],
        ] {
            assert_eq!(understand(&row(words)), None, "{words:?}");
        }
        assert_eq!(understand(&vec![Some("f".to_owned())]), None);
        assert_eq!(understand(&Vec::new()), None);
    }

    #[test]
    fn a_standby_is_behind_what_its_primary_has_told_it_of() {
        for (words, source, unreplayed, age) in [
            (
                ["t", "0/5", "0/7", "1", "streaming", "0/9", "1500", "f"],
                Source::Stream,
                Some(4),
                Some(1500),
            ),
            (
                ["t", "0/9", "0/9", "1", "streaming", "0/9", "-20", "f"],
                Source::Stream,
                Some(0),
                Some(0),
            ),
            // Replayed is asked for a moment after received.
            (
                ["t", "0/A", "0/9", "1", "streaming", "0/9", "-", "f"],
                Source::Stream,
                Some(0),
                None,
            ),
            (
                ["t", "0/5", "0/7", "1", "-", "-", "9", "f"],
                Source::Hidden,
                Some(2),
                Some(9),
            ),
            (
                ["t", "0/5", "0/7", "-", "-", "-", "9", "f"],
                Source::NoStream,
                Some(2),
                Some(9),
            ),
            (
                ["t", "0/5", "0/7", "1", "waiting", "-", "9", "f"],
                Source::NoStream,
                Some(2),
                Some(9),
            ),
            (
                ["t", "0/5", "-", "-", "-", "-", "-", "t"],
                Source::NoStream,
                None,
                None,
            ),
        ] {
            let expected = Seen::Standby(Following {
                source,
                unreplayed,
                last_commit: age.map(Duration::from_millis),
                is_paused: words[7] == "t",
            });
            assert_eq!(understand(&row(words)), Some(expected), "{words:?}");
        }
        let primary = row(["f", "-", "-", "-", "-", "-", "-", "-"]);
        assert_eq!(understand(&primary), Some(Seen::Primary));
    }
}
