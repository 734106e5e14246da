//! How much life there is in a server whose main process is there: by what it answers to a login, and by what is seen of it while it
//! answers nothing.
//!
//! An answer is a sign of life, whatever it says. Only a server that gives none is a case for a restart, or for another node.

use std::fmt;

/// What came of the agent's logins, one after the other in each way that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    In,
    /// Answered, and with a no.
    Refused(String),
    /// It starts, recovers or shuts down.
    NotReady(String),
    /// Nobody listens where it should.
    Unreachable(String),
    /// Nothing was heard in the time that there was.
    Silent,
}

/// Who listens where a login was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The server: it has written there that it does.
    Own,
    /// Whoever has the address that is configured: the server as well, or a pooler in front of it, or another one.
    Anybody,
}

/// What all logins that were tried come to, the best way first. An answer from anybody is none of the server's while the server itself
/// is silent.
#[must_use]
pub fn heard(logins: &[(Listener, Login)]) -> Login {
    let is_silent = logins.contains(&(Listener::Own, Login::Silent));
    let counts = |listener: &Listener| *listener == Listener::Own || !is_silent;
    let first = |is: fn(&Login) -> bool| {
        let mut counted = logins.iter().filter(|(listener, _)| counts(listener));
        counted
            .find(|(_, login)| is(login))
            .map(|(_, login)| login.clone())
    };
    // One that is on its way up, or down, says so to everybody.
    first(|login| matches!(login, Login::NotReady(_)))
        .or_else(|| first(|login| matches!(login, Login::Refused(_))))
        .or_else(|| first(|login| *login == Login::Silent))
        .or_else(|| first(|_| true))
        .unwrap_or(Login::Silent)
}

/// The postmaster, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postmaster {
    Gone,
    /// By a signal: it does nothing before it is told to go on.
    Stopped,
    Runs,
}

/// What the server says to a question that it answers before it knows who asks, and that takes nothing but a new process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Answers,
    Silent,
}

/// What the server's process does that has the agent's login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLogin {
    /// For a lock that a session holds, as by LOCK TABLE, or CREATE DATABASE of a copy.
    WaitsForLock,
    /// For whoever pg_hba.conf lets judge logins: LDAP, RADIUS, PAM, a name server.
    WaitsForJudge,
    /// For something that it does not tell: its title has no words, by update_process_title=off.
    Waits,
    /// It has the CPU, waits for that alone, or had it lately.
    Works,
    /// For a disk, for another process of the server; or it is stopped by a signal.
    Stuck,
    /// There is none, or it can't be told.
    Unseen,
}

/// Everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    pub postmaster: Postmaster,
    pub login: Login,
    pub door: Door,
    pub at_login: AtLogin,
}

/// The grades, from nothing to everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// There is no process, or nobody listens.
    Dead(String),
    /// It is there and gives no sign.
    Frozen(&'static str),
    Recovering(String),
    /// It answers, and does not let the agent in, or not now. Others it serves.
    Refuses(String),
    /// It works, and was not done in the time that there was.
    Slow,
    Well,
}

/// The grade. Where nothing is known for certain, that is no life: commits may be waiting for what will never answer.
#[must_use]
pub fn grade(signs: &Signs) -> Life {
    if signs.postmaster == Postmaster::Gone {
        return Life::Dead("its main process is gone".to_owned());
    }
    if signs.postmaster == Postmaster::Stopped && signs.login != Login::In {
        // Whoever has answered: it was not this one, or it does so no more.
        return Life::Frozen("its main process is stopped by a signal");
    }
    match &signs.login {
        Login::In => Life::Well,
        Login::Refused(reason) => Life::Refuses(reason.clone()),
        Login::NotReady(reason) => Life::Recovering(reason.clone()),
        Login::Unreachable(reason) => Life::Dead(reason.clone()),
        Login::Silent => silent(signs.door, signs.at_login),
    }
}

fn silent(door: Door, at_login: AtLogin) -> Life {
    match (door, at_login) {
        (Door::Answers, AtLogin::WaitsForLock) => Life::Refuses(
            "a login waits for a lock that a session holds: look for it in pg_locks, on pg_authid, pg_database or the database"
                .to_owned(),
        ),
        (Door::Answers, AtLogin::WaitsForJudge) => Life::Refuses(
            "a login waits for the service that pg_hba.conf lets judge it, which does not answer"
                .to_owned(),
        ),
        // Most likely for one of these: what waits for a disk is seen to.
        (Door::Answers, AtLogin::Waits) => Life::Refuses(
            "a login waits, for a lock or for the service that judges logins: to know for which, set update_process_title=on"
                .to_owned(),
        ),
        (Door::Answers | Door::Silent, AtLogin::Works) => Life::Slow,
        (Door::Answers, AtLogin::Stuck) => {
            Life::Frozen("the process of the agent's login does nothing")
        }
        (Door::Answers, AtLogin::Unseen) => Life::Frozen("no process takes the agent's login on"),
        (
            Door::Silent,
            AtLogin::WaitsForLock
            | AtLogin::WaitsForJudge
            | AtLogin::Waits
            | AtLogin::Stuck
            | AtLogin::Unseen,
        ) => Life::Frozen("it takes no new connection on"),
    }
}

impl Life {
    /// Whether a server of this grade is left to go on: nothing that ends it would help.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        match self {
            Self::Well | Self::Refuses(_) => true,
            // What recovers is judged by how far it gets on, and what is slow has had its time.
            Self::Dead(_) | Self::Frozen(_) | Self::Recovering(_) | Self::Slow => false,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead(reason) => write!(f, "dead: {reason}"),
            Self::Frozen(reason) => write!(f, "frozen: {reason}"),
            Self::Recovering(reason) => write!(f, "recovering: {reason}"),
            Self::Refuses(reason) => write!(f, "answers, and refuses: {reason}"),
            Self::Slow => f.write_str("slow: its processes work, and no login is done"),
            Self::Well => f.write_str("well"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOORS: [Door; 2] = [Door::Answers, Door::Silent];
    const PROCESSES: [AtLogin; 6] = [
        AtLogin::WaitsForLock,
        AtLogin::WaitsForJudge,
        AtLogin::Waits,
        AtLogin::Works,
        AtLogin::Stuck,
        AtLogin::Unseen,
    ];

    fn of(postmaster: Postmaster, login: Login, door: Door, at_login: AtLogin) -> String {
        let life = grade(&Signs {
            postmaster,
            login,
            door,
            at_login,
        });
        let text = life.to_string();
        let grade = text.split(':').next().unwrap_or_default();
        assert_eq!(
            life.goes_on(),
            ["well", "answers, and refuses"].contains(&grade),
            "{text}"
        );
        grade.to_owned()
    }

    #[test]
    fn an_answer_counts_whatever_else_is_seen_of_a_server_that_is_not_stopped() {
        let said = || "because".to_owned();
        for (login, expected) in [
            (Login::In, "well"),
            (Login::Refused(said()), "answers, and refuses"),
            (Login::NotReady(said()), "recovering"),
            (Login::Unreachable(said()), "dead"),
        ] {
            for (door, at_login) in DOORS.iter().flat_map(|d| PROCESSES.map(|p| (*d, p))) {
                let got = of(Postmaster::Runs, login.clone(), door, at_login);
                assert_eq!(got, expected, "{login:?} {door:?}");
                let stopped = of(Postmaster::Stopped, login.clone(), door, at_login);
                let frozen = if login == Login::In { "well" } else { "frozen" };
                assert_eq!(stopped, frozen, "{login:?} {door:?}");
                assert_eq!(of(Postmaster::Gone, login.clone(), door, at_login), "dead");
            }
        }
    }

    #[test]
    fn an_answer_from_anybody_is_none_of_a_server_that_is_silent() {
        use Listener::{Anybody, Own};
        let no = |who: &str| Login::Refused(who.to_owned());
        let up = |who: &str| Login::NotReady(who.to_owned());
        let deaf = |who: &str| Login::Unreachable(who.to_owned());
        let silent = || Login::Silent;
        for (logins, expected) in [
            (vec![(Anybody, no("a"))], no("a")),
            (vec![(Anybody, no("a")), (Own, no("b"))], no("a")),
            (vec![(Anybody, no("a")), (Own, deaf("b"))], no("a")),
            (vec![(Anybody, no("a")), (Own, silent())], silent()),
            (vec![(Anybody, up("a")), (Own, silent())], silent()),
            (vec![(Anybody, deaf("a")), (Own, silent())], silent()),
            // One database is locked, and another one is not there.
            (
                vec![(Anybody, no("a")), (Own, silent()), (Own, no("b"))],
                no("b"),
            ),
            (vec![(Anybody, silent()), (Own, no("b"))], no("b")),
            (vec![(Anybody, silent()), (Own, deaf("b"))], silent()),
            (
                vec![(Own, deaf("a")), (Own, no("b")), (Own, no("c"))],
                no("b"),
            ),
            (vec![(Own, no("a")), (Own, up("b"))], up("b")),
            (vec![(Anybody, deaf("a")), (Own, deaf("b"))], deaf("a")),
            (vec![], silent()),
        ] {
            assert_eq!(heard(&logins), expected, "{logins:?}");
        }
    }

    #[test]
    fn a_silent_server_is_judged_by_its_door_and_its_process() {
        use AtLogin::{Stuck, Unseen, Waits, WaitsForJudge, WaitsForLock, Works};
        for (door, at_login, expected) in [
            (Door::Answers, WaitsForLock, "answers, and refuses"),
            (Door::Answers, WaitsForJudge, "answers, and refuses"),
            (Door::Answers, Waits, "answers, and refuses"),
            (Door::Answers, Works, "slow"),
            // A machine under load.
            (Door::Silent, Works, "slow"),
            // Its storage hangs, say.
            (Door::Answers, Stuck, "frozen"),
            (Door::Answers, Unseen, "frozen"),
            // Who waits for a lock of a server that takes nobody on waits for somebody who is as stuck.
            (Door::Silent, WaitsForLock, "frozen"),
            (Door::Silent, WaitsForJudge, "frozen"),
            (Door::Silent, Waits, "frozen"),
            (Door::Silent, Stuck, "frozen"),
            (Door::Silent, Unseen, "frozen"),
        ] {
            let got = of(Postmaster::Runs, Login::Silent, door, at_login);
            assert_eq!(got, expected, "{door:?} {at_login:?}");
            let stopped = of(Postmaster::Stopped, Login::Silent, door, at_login);
            assert_eq!(stopped, "frozen");
        }
    }
}
