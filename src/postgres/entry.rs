//! The ways into a server of this machine: the one that is configured, and those that are left where it is closed.
//!
//! One connection is made where the first way is open. What is found out where none is, is judged in `decide::life`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::decide::life::{self, AtLogin, Door, Life, Listener, Login, Signs};
use crate::params::Params;
use crate::postgres::address::{self, Address};
use crate::postgres::children::{self, Processes};
use crate::postgres::owner::as_owner;
use crate::postgres::process::{self, Postmaster, Running};
use crate::postgres::session::{
    Background, NOT_TO_BE_SET, OWN_PATH, Session, SqlError, cause, classify, of_login, options,
};
use crate::postgres::tls::{self, Shown};
use crate::postgres::{control, door, passfile};
use crate::sys::{Owner, boot_clock};

/// Databases that there are nearly everywhere, where the one that is named can't be had.
const OTHERS: [&str; 2] = ["postgres", "template1"];

/// So long a login is waited for alone before the next way is tried beside it. It takes milliseconds.
const ALONE: Duration = Duration::from_millis(1500);

/// Between two looks at what the server's processes do.
const LOOK: Duration = Duration::from_millis(200);

/// Where and as whom to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub address: Address,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    /// Whether the user is the one that initdb made, who may set anything.
    pub is_superuser: bool,
    /// Whose answer comes from there.
    pub listener: Listener,
}

/// As whom the agent comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guise {
    /// The user that monitoring is set up for; the instance's owner, where that one can't.
    Monitor,
    /// The instance's owner, for what only a superuser may do.
    Owner,
}

/// The server of this node, and how it is entered.
#[derive(Debug)]
pub struct Entrance<'a> {
    /// The first is the one that is configured.
    pub ways: Vec<Way>,
    pub running: &'a Running,
    pub owner: &'a Owner,
    /// Further password files, in front of the owner's own.
    pub passfiles: Vec<PathBuf>,
}

/// An open session, and why it is not by the way that is configured.
#[derive(Debug)]
pub struct Entered {
    pub session: Session,
    pub detour: Option<String>,
}

impl<'a> Entrance<'a> {
    /// As the parameters and the server itself say where it listens.
    #[must_use]
    pub fn new(params: &Params, running: &'a Running, owner: &'a Owner, guise: Guise) -> Self {
        Self {
            ways: ways(params, running, guise),
            running,
            owner,
            passfiles: params.passfile.iter().cloned().collect(),
        }
    }

    /// Enters with the owner's identity, which peer authentication asks for. A login and each query of the session may take `limit`;
    /// a login that the server works on may take `most`.
    ///
    /// # Errors
    /// See [`SqlError`]; what was answered in the way that is configured counts.
    pub fn enter(&self, limit: Duration, most: Duration) -> Result<Entered, SqlError> {
        let runtime = Background::new()?;
        let passwords = Passwords::look(self);
        let attempt = Attempt {
            entrance: self,
            passwords: &passwords,
            limit,
            version: control::major_version(&self.running.pgdata),
            begun: boot_clock()?.since_boot(),
        };
        let outcome = as_owner(self.owner, || runtime.get().block_on(attempt.run(most)))?;
        match outcome {
            Outcome::In {
                client,
                detour,
                is_one_left,
            } => {
                if is_one_left {
                    attempt.end_waiting();
                }
                return Ok(Entered {
                    session: Session::new(runtime, client, limit),
                    detour: detour.map(|reason| passwords.explain(reason)),
                });
            }
            Outcome::Out { life, after, error } => Err(match (life, error) {
                (_, Some(error @ (SqlError::Owner(_) | SqlError::Setup(_)))) => error,
                (Life::Refuses(reason), _) => SqlError::Refused(passwords.explain(reason)),
                (Life::Recovering(reason), _) => SqlError::NotReady(reason),
                (Life::Dead(reason), _) => SqlError::Unreachable(reason),
                (Life::Frozen(what), _) => SqlError::TimedOut(after, what),
                (Life::Slow | Life::Well, _) => SqlError::Slow(after),
            }),
        }
        .inspect_err(|_| attempt.end_waiting())
    }
}

/// All ways, the best first.
fn ways(params: &Params, running: &Running, guise: Guise) -> Vec<Way> {
    let port = running.port.unwrap_or(params.pgport);
    let socket = || {
        // The running server knows best.
        let dir = params.socketdir.first().cloned();
        dir.or_else(|| running.socket_dir.clone())
            .unwrap_or_else(|| "/tmp".into())
    };
    let configured = match &params.pghost {
        Some(host) if address::names_socket(host) => Address::Socket(host.into()),
        Some(host) => Address::Host(host.clone()),
        None => Address::Socket(socket()),
    };
    let listens = running.listens_on.as_deref().map(|address| {
        Address::Host(
            match address {
                "*" | "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                other => other,
            }
            .to_owned(),
        )
    });
    let socket = running.socket_dir.clone().map(Address::Socket);
    let own: Vec<Address> = socket.into_iter().chain(listens).collect();
    let addresses = [vec![configured], own.clone()].concat();
    let owner = (params.pgdba.clone(), None);
    let monitor = params.monitor_user.clone().map(|user| {
        let password = params.monitor_password.as_ref();
        (user, password.map(|secret| secret.reveal().to_owned()))
    });
    let users = match guise {
        Guise::Monitor => monitor.into_iter().chain([owner]).collect(),
        Guise::Owner => vec![owner],
    };
    let mut all: Vec<Way> = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        for (user, password) in &users {
            let named = [params.pgdb.as_str()];
            // By the socket the owner gets in where nobody else does.
            let is_likely =
                *user == params.pgdba && matches!(address, Address::Socket(_)) || place == 0;
            let more = if is_likely { &OTHERS[..] } else { &[] };
            for database in named.iter().chain(more) {
                let way = Way {
                    address: address.clone(),
                    port,
                    is_superuser: *user == params.pgdba,
                    listener: if own.contains(address) {
                        Listener::Own
                    } else {
                        Listener::Anybody
                    },
                    user: user.clone(),
                    password: password.clone(),
                    database: (*database).to_owned(),
                };
                if !all.contains(&way) {
                    all.push(way);
                }
            }
        }
    }
    all
}

impl Address {
    /// As libpq names it.
    fn name(&self) -> String {
        match self {
            Self::Socket(dir) => dir.display().to_string(),
            Self::Host(host) => host.clone(),
        }
    }
}

/// The passwords that files have for the ways in, and why a file was not used.
struct Passwords {
    found: BTreeMap<usize, String>,
    unusable: Option<String>,
}

impl Passwords {
    /// As libpq looks them up for the owner.
    fn look(entrance: &Entrance<'_>) -> Self {
        let mut all = Self {
            found: BTreeMap::new(),
            unusable: None,
        };
        let own = entrance.owner.home.join(".pgpass");
        let named = entrance.passfiles.iter();
        let looked = as_owner(entrance.owner, || {
            for file in named.chain([&own]) {
                all.add(file, &entrance.ways);
            }
        });
        if let Err(error) = looked {
            all.unusable.get_or_insert_with(|| error.to_string());
        }
        all
    }

    fn add(&mut self, file: &Path, ways: &[Way]) {
        let lines = match passfile::lines(file) {
            Ok(lines) => lines,
            // Nobody has said that there is one.
            Err(error) if error.is_missing() => return,
            Err(error) => {
                self.unusable.get_or_insert_with(|| error.to_string());
                return;
            }
        };
        for (place, way) in ways.iter().enumerate() {
            let host = way.address.name();
            let login = passfile::Login {
                host: &host,
                port: way.port,
                database: &way.database,
                user: &way.user,
            };
            if way.password.is_none()
                && !self.found.contains_key(&place)
                && let Some(password) = lines.find(&login)
            {
                self.found.insert(place, password.reveal().to_owned());
            }
        }
    }

    fn explain(&self, reason: String) -> String {
        match &self.unusable {
            Some(why) if reason.contains("password") => format!("{reason}; {why}"),
            Some(_) | None => reason,
        }
    }
}

/// What came of it.
enum Outcome {
    In {
        client: Client,
        detour: Option<String>,
        /// Another login goes on to hang.
        is_one_left: bool,
    },
    Out {
        life: Life,
        after: Duration,
        error: Option<SqlError>,
    },
}

/// One entrance, once.
struct Attempt<'a> {
    entrance: &'a Entrance<'a>,
    passwords: &'a Passwords,
    limit: Duration,
    version: Option<u32>,
    /// Time since the machine started.
    begun: Duration,
}

type Logins = JoinSet<(usize, Result<Client, SqlError>)>;

impl Attempt<'_> {
    async fn run(&self, most: Duration) -> Outcome {
        let begun = Instant::now();
        let ways = &self.entrance.ways;
        let mut logins = Logins::new();
        let mut refused: BTreeMap<usize, SqlError> = BTreeMap::new();
        let mut next = 0;
        let mut door = tokio::task::JoinSet::new();
        let mut before = None;
        let mut end = self.limit;
        loop {
            if logins.is_empty() {
                match self.skip(next, &refused) {
                    Some(place) => next = self.begin(&mut logins, place),
                    None => return self.out_by(&mut refused, begun.elapsed()),
                }
            }
            // The first is given time; those behind it are only tried because it hangs.
            let step = ALONE.min(end / 4);
            let rest = end.saturating_sub(begun.elapsed());
            match tokio::time::timeout(step.min(rest), logins.join_next()).await {
                Ok(Some(Ok((place, Ok(client))))) => {
                    return Outcome::In {
                        client,
                        detour: self.detour(place, &refused),
                        is_one_left: !logins.is_empty(),
                    };
                }
                Ok(Some(Ok((place, Err(error))))) => {
                    let is_all = matches!(error, SqlError::NotReady(_)) && self.is_its_own(place);
                    refused.insert(place, error);
                    if is_all {
                        return self.out_by(&mut refused, begun.elapsed());
                    }
                    // The others may go on to hang beside the next one.
                    if let Some(place) = self.skip(next, &refused) {
                        next = self.begin(&mut logins, place);
                    }
                    continue;
                }
                // A task that was cancelled or panicked has said nothing.
                Ok(Some(Err(_)) | None) => continue,
                Err(_) => {}
            }
            if door.is_empty() {
                let own = ways.iter().find(|way| way.listener == Listener::Own);
                let way = own.unwrap_or(&ways[0]);
                door.spawn(door::knock(way.address.clone(), way.port));
                before = Some(self.look());
            }
            if let Some(place) = self.skip(next, &refused) {
                next = self.begin(&mut logins, place);
            }
            let is_early = next >= ways.len() && begun.elapsed() >= self.limit / 2;
            if begun.elapsed() < end && !(is_early && self.all_wait_for_locks(logins.len())) {
                continue;
            }
            tokio::time::sleep(LOOK).await;
            let signs = Signs {
                postmaster: self.postmaster(),
                login: self.heard(&refused, next),
                door: opened(&mut door),
                at_login: self.at_login(before.as_ref()),
            };
            let life = life::grade(&signs);
            // It is at work, so what is left of the operation's time is its.
            if life == Life::Slow && begun.elapsed() < most {
                end = (begun.elapsed() + self.limit).min(most);
                before = Some(self.look());
                continue;
            }
            return Outcome::Out {
                life,
                after: begun.elapsed(),
                error: None,
            };
        }
    }

    /// Every way was closed with words.
    fn out_by(&self, refused: &mut BTreeMap<usize, SqlError>, after: Duration) -> Outcome {
        let life = life::grade(&Signs {
            postmaster: self.postmaster(),
            login: self.heard(refused, self.entrance.ways.len()),
            door: Door::Silent,
            at_login: AtLogin::Unseen,
        });
        let own = |error: &SqlError| matches!(error, SqlError::Owner(_) | SqlError::Setup(_));
        let own = refused.iter().find(|(_, error)| own(error));
        let own = own.map(|(place, _)| *place);
        Outcome::Out {
            life,
            after,
            error: own.and_then(|place| refused.remove(&place)),
        }
    }

    /// Why the session is not by the first way. What has not answered yet hangs.
    fn detour(&self, place: usize, refused: &BTreeMap<usize, SqlError>) -> Option<String> {
        if place == 0 {
            return None;
        }
        let (first, used) = (&self.entrance.ways[0], &self.entrance.ways[place]);
        let why = match (refused.get(&0), self.at_first_login()) {
            (Some(error), _) => error.to_string(),
            (None, AtLogin::WaitsForLock) => format!(
                "a login to {} waits for a lock that a session holds, as CREATE DATABASE does",
                first.database
            ),
            // It is only slow.
            (None, AtLogin::Works) => return None,
            (None, AtLogin::WaitsForJudge | AtLogin::Waits | AtLogin::Stuck | AtLogin::Unseen) => {
                format!(
                    "no answer to a login at {}, as {} to {}",
                    first.address.name(),
                    first.user,
                    first.database
                )
            }
        };
        Some(format!(
            "{why}; the agent gets in as {} to {}",
            used.user, used.database
        ))
    }

    /// Whether what is said there is the server's word, or as good as any that there is.
    fn is_its_own(&self, place: usize) -> bool {
        let ways = &self.entrance.ways;
        let is_own = |way: &Way| way.listener == Listener::Own;
        is_own(&ways[place]) || !ways.iter().any(is_own)
    }

    /// What was heard in the ways in front of `next`.
    fn heard(&self, refused: &BTreeMap<usize, SqlError>, next: usize) -> Login {
        let ways = self.entrance.ways.iter().enumerate().take(next);
        let logins = ways.filter_map(|(place, way)| match refused.get(&place) {
            Some(error) => Some((way.listener, said(error))),
            // It was left out.
            None if self.is_closed(place, refused) => None,
            None => Some((way.listener, Login::Silent)),
        });
        life::heard(&logins.collect::<Vec<_>>())
    }

    /// The next way that is not known to be closed.
    fn skip(&self, from: usize, refused: &BTreeMap<usize, SqlError>) -> Option<usize> {
        (from..self.entrance.ways.len()).find(|&place| !self.is_closed(place, refused))
    }

    fn is_closed(&self, place: usize, refused: &BTreeMap<usize, SqlError>) -> bool {
        let ways = &self.entrance.ways;
        let way = &ways[place];
        refused.iter().any(|(&place, error)| {
            let tried = &ways[place];
            let is_there = tried.address == way.address;
            // Told often enough, an account is locked by some of those who judge logins.
            let is_wrong = matches!(error, SqlError::Failed { state, .. } if state == "28P01");
            let is_deaf = matches!(error, SqlError::Unreachable(_) | SqlError::NotReady(_));
            is_there && (is_deaf || is_wrong && tried.user == way.user)
        })
    }

    fn begin(&self, logins: &mut Logins, place: usize) -> usize {
        let way = self.entrance.ways[place].clone();
        let known = way.password.clone();
        let login = LoginData {
            password: known.or_else(|| self.passwords.found.get(&place).cloned()),
            limit: self.limit,
            version: self.version,
            home: self.entrance.owner.home.clone(),
            server: (way.listener == Listener::Anybody).then(|| self.entrance.running.clone()),
            since: self.since(),
            way,
        };
        logins.spawn(async move { (place, login.enter().await) });
        place + 1
    }

    fn postmaster(&self) -> life::Postmaster {
        match process::postmaster(&self.entrance.running.pgdata) {
            Ok(Postmaster::Stopped) => life::Postmaster::Gone,
            Ok(Postmaster::Running(running)) if running.frozen => life::Postmaster::Stopped,
            // What can't be told is left to the other signs.
            Ok(Postmaster::Running(_)) | Err(_) => life::Postmaster::Runs,
        }
    }

    /// What was begun earlier is not of this attempt: the kernel counts in hundredths of a second.
    fn since(&self) -> Duration {
        self.begun.saturating_sub(Duration::from_millis(20))
    }

    /// The processes that have a login of the agent's, what they say they do, and how long they have run.
    fn look(&self) -> Vec<Seen> {
        let Ok(processes) = Processes::look() else {
            return Vec::new();
        };
        let since = self.since();
        let ways = &self.entrance.ways;
        let children = processes.of(self.entrance.running.pid).into_iter();
        children
            .filter_map(|child| {
                let is_ours = |way: &'_ Way| {
                    let words = children::activity(&child.title, &way.user, &way.database)?;
                    Some((words.to_owned(), way.user.clone(), way.database.clone()))
                };
                let (words, user, database) = ways.iter().find_map(is_ours)?;
                // Without words it may also be past its login.
                let is_login = words.is_empty()
                    || words.starts_with("startup")
                    || words.starts_with("authentication");
                let is_new = children::started(child.pid).is_some_and(|at| at >= since);
                (is_login && is_new).then(|| Seen {
                    pid: child.pid,
                    run_time: processes.run_time(child.pid),
                    state: children::state(child.pid),
                    words,
                    user,
                    database,
                })
            })
            .collect()
    }

    /// Then nothing is to be learned by more patience.
    fn all_wait_for_locks(&self, logins: usize) -> bool {
        let seen = self.look();
        !seen.is_empty() && seen.len() >= logins && seen.iter().all(Seen::is_for_lock)
    }

    /// What the process does that has the login of the first way.
    fn at_first_login(&self) -> AtLogin {
        let first = &self.entrance.ways[0];
        let is_first = |seen: &&Seen| seen.database == first.database && seen.user == first.user;
        let before = self.look();
        let seen = before.iter().find(is_first);
        seen.map_or(AtLogin::Unseen, |seen| seen.at_login(Some(seen)))
    }

    fn at_login(&self, before: Option<&Vec<Seen>>) -> AtLogin {
        let now = self.look();
        let mut seen = now.iter().map(|seen| {
            let earlier = before.and_then(|all| all.iter().find(|old| old.pid == seen.pid));
            seen.at_login(earlier)
        });
        // The first way counts; where it has no process any more, whichever does something.
        let first = seen.clone().find(|at| *at == AtLogin::Works);
        if let Some(at) = first.or_else(|| seen.next()) {
            return at;
        }
        match children::state(self.entrance.running.pid) {
            Some('R') => AtLogin::Works,
            Some(_) | None => AtLogin::Unseen,
        }
    }

    /// A process that waits for a lock does not notice that its client is gone: each monitor would leave another one. What is ended
    /// is what this call has begun and nobody else could have.
    fn end_waiting(&self) {
        let waiting: Vec<Seen> = self.look().into_iter().filter(Seen::is_for_lock).collect();
        if waiting.len() > self.entrance.ways.len() {
            return;
        }
        for seen in waiting {
            let ended = self
                .entrance
                .running
                .signal_child(seen.pid, Signal::SIGTERM);
            // It has ended by itself, or goes on to wait.
            drop(ended);
        }
    }
}

/// A process at a login.
#[derive(Clone, Debug)]
struct Seen {
    pid: i32,
    user: String,
    database: String,
    words: String,
    state: Option<char>,
    run_time: Option<u64>,
}

impl Seen {
    /// `startup waiting`, `authentication waiting`: the server puts that word behind what a session does as long as it waits for a
    /// lock, and for nothing else. Source: `WaitOnLock` in lock.c.
    fn is_for_lock(&self) -> bool {
        self.words.ends_with(" waiting")
    }

    fn at_login(&self, earlier: Option<&Self>) -> AtLogin {
        let has_run = earlier.is_none_or(|old| old.run_time != self.run_time);
        match self.state {
            Some('S') if self.is_for_lock() => AtLogin::WaitsForLock,
            Some('S') if self.words.starts_with("authentication") => AtLogin::WaitsForJudge,
            Some('R') => AtLogin::Works,
            Some('S' | 'D') if has_run => AtLogin::Works,
            Some('S') if self.words.is_empty() => AtLogin::Waits,
            Some(_) => AtLogin::Stuck,
            None => AtLogin::Unseen,
        }
    }
}

/// One way in and no other, for somebody who is nobody's owner. A login and each query of the session may take `limit`; `home` has
/// what that one shows of itself.
///
/// # Errors
/// See [`SqlError`].
pub fn direct(way: Way, home: PathBuf, limit: Duration) -> Result<Session, SqlError> {
    let runtime = Background::new()?;
    let login = LoginData {
        password: way.password.clone(),
        limit,
        version: None,
        home,
        server: None,
        since: Duration::ZERO,
        way,
    };
    let entered = runtime
        .get()
        .block_on(async { tokio::time::timeout(limit, login.enter()).await });
    match entered {
        Ok(client) => Ok(Session::new(runtime, client?, limit)),
        Err(_) => Err(SqlError::TimedOut(limit, "it does not answer a login")),
    }
}

/// What it comes to that a login did not succeed.
fn said(error: &SqlError) -> Login {
    match error {
        SqlError::NotReady(reason) => Login::NotReady(reason.clone()),
        SqlError::Unreachable(reason) => Login::Unreachable(reason.clone()),
        SqlError::Refused(_)
        | SqlError::Closed(_)
        | SqlError::Failed { .. }
        | SqlError::Unexpected { .. } => Login::Refused(error.to_string()),
        SqlError::TimedOut(..) | SqlError::Slow(_) | SqlError::Owner(_) | SqlError::Setup(_) => {
            Login::Unreachable(error.to_string())
        }
    }
}

fn opened(door: &mut JoinSet<bool>) -> Door {
    match door.try_join_next() {
        Some(Ok(true)) => Door::Answers,
        Some(Ok(false) | Err(_)) | None => Door::Silent,
    }
}

/// Everything of one login.
struct LoginData {
    way: Way,
    password: Option<String>,
    limit: Duration,
    version: Option<u32>,
    home: PathBuf,
    /// Whose session it has to be, where anybody may answer.
    server: Option<Running>,
    /// Time since the machine started, before which no session of this login can have begun.
    since: Duration,
}

impl LoginData {
    async fn enter(&self) -> Result<Client, SqlError> {
        let client = self.open().await?;
        match &self.server {
            Some(running) => self.is_of(&client, running).await.map(|()| client),
            None => Ok(client),
        }
    }

    /// Holds a session to the server that it has to be of. At an address that moves, or behind a proxy, another one may answer, a primary where
    /// this one is a standby: nothing of what that says is of this server. A pooler gives a session that it has had before, also while the server
    /// takes nobody on, and leaves out how the agent sets its own.
    async fn is_of(&self, client: &Client, running: &Running) -> Result<(), SqlError> {
        const QUERY: &str = "SELECT pg_backend_pid(), session_user, current_database(), current_setting('synchronous_commit')";
        let messages = client.simple_query(QUERY).await.map_err(classify)?;
        let row = messages.iter().find_map(|message| {
            if let SimpleQueryMessage::Row(row) = message {
                Some(row)
            } else {
                None
            }
        });
        let text = |column| row.and_then(|row| row.try_get(column).ok()).flatten();
        let pid = text(0).and_then(|pid: &str| pid.parse().ok());
        let (user, database) = (text(1).unwrap_or_default(), text(2).unwrap_or_default());
        let address = self.way.address.name();
        let Some(pid) = pid.filter(|&pid| children::is_session(running.pid, pid, user, database))
        else {
            return Err(SqlError::Unreachable(format!(
                "another server answers at {address}, and not the one that works in {}",
                running.pgdata.display()
            )));
        };
        let is_new = children::started(pid).is_some_and(|at| at >= self.since);
        if is_new && text(3) == Some("local") {
            return Ok(());
        }
        Err(SqlError::Unreachable(format!(
            "a pooler answers at {address}, with a session that is not the agent's own"
        )))
    }

    async fn open(&self) -> Result<Client, SqlError> {
        let all = options(self.limit, self.version, self.way.is_superuser);
        match self.by(&all).await {
            // It knows one of the later settings not, or lets this user not have it.
            Err(SqlError::Failed { state, .. }) if NOT_TO_BE_SET.contains(&state.as_str()) => {
                self.by(&options(self.limit, None, false)).await
            }
            Err(error @ SqlError::Closed(_)) => {
                Err(SqlError::Refused(self.why_closed(&error).await))
            }
            other => other,
        }
    }

    /// Somebody takes connections there, and does not keep them.
    async fn why_closed(&self, seen: &SqlError) -> String {
        match door::unasked(&self.way.address, self.way.port).await {
            Some(words) => format!("it has no process for a login: {words}"),
            None => seen.to_string(),
        }
    }

    async fn by(&self, options: &str) -> Result<Client, SqlError> {
        let mut config = tokio_postgres::Config::new();
        let way = &self.way;
        config
            .port(way.port)
            .user(&way.user)
            .dbname(&way.database)
            .application_name("expgsql")
            .options(options);
        if let Some(password) = &self.password {
            config.password(password);
        }
        let host = match &way.address {
            Address::Socket(dir) => {
                config.host_path(address::for_kernel(dir));
                None
            }
            Address::Host(host) => {
                config.host(host);
                Some(host)
            }
        };
        if host.is_none() {
            // There is no TLS on a socket.
            return by_socket(config.ssl_mode(SslMode::Disable)).await;
        }
        self.by_tcp(&mut config).await
    }

    /// As psql where nothing is said of it: with TLS where the server has it, and without where it lets in only so.
    async fn by_tcp(&self, config: &mut tokio_postgres::Config) -> Result<Client, SqlError> {
        let shown = Shown::of(&self.home);
        let shows = shown.is_some();
        let first = match with_tls(config, shown).await {
            Err(error) if error.is_answer() => error,
            other => return other,
        };
        // What it shows of itself may be all that is not taken, as where that has expired.
        if shows
            && matches!(first, SqlError::Refused(_) | SqlError::Closed(_))
            && let Ok(client) = with_tls(config, None).await
        {
            return Ok(client);
        }
        let plain = plain(config.ssl_mode(SslMode::Disable)).await;
        plain.map_err(|then| more_telling(first, then))
    }
}

/// Which of two noes is told: with TLS, and then without.
fn more_telling(first: SqlError, then: SqlError) -> SqlError {
    const NO_LINE: &str = "28000";
    let is_of_the_way = |error: &SqlError| match error {
        SqlError::Refused(_) | SqlError::Closed(_) => true,
        SqlError::Failed { state, .. } => state == NO_LINE,
        SqlError::TimedOut(..)
        | SqlError::Slow(_)
        | SqlError::NotReady(_)
        | SqlError::Unreachable(_)
        | SqlError::Unexpected { .. }
        | SqlError::Owner(_)
        | SqlError::Setup(_) => false,
    };
    let is_of_the_login = matches!(&then, SqlError::NotReady(_))
        || matches!(&then, SqlError::Failed { state, .. } if state != NO_LINE);
    if is_of_the_way(&first) && is_of_the_login {
        then
    } else {
        // That there is no line for it without TLS says less.
        first
    }
}

/// Between two tries at a socket with a full queue.
const FULL: Duration = Duration::from_millis(50);

/// A socket whose queue is full says so at once, where TCP waits: the server is there, and has not come to it. Who calls says for how
/// long that is waited for.
async fn by_socket(config: &tokio_postgres::Config) -> Result<Client, SqlError> {
    loop {
        match without_tls(config).await {
            Err(error) if is_full(&error) => tokio::time::sleep(FULL).await,
            other => return other.map_err(of_login),
        }
    }
}

fn is_full(error: &tokio_postgres::Error) -> bool {
    cause(error).is_some_and(|io: &std::io::Error| io.kind() == std::io::ErrorKind::WouldBlock)
}

async fn plain(config: &tokio_postgres::Config) -> Result<Client, SqlError> {
    without_tls(config).await.map_err(of_login)
}

async fn without_tls(config: &tokio_postgres::Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(OWN_PATH).await?;
    Ok(client)
}

async fn with_tls(
    config: &tokio_postgres::Config,
    shown: Option<Shown>,
) -> Result<Client, SqlError> {
    let tls = tls::own(shown).map_err(|error| SqlError::Refused(error.to_string()))?;
    let connecting = async {
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(connection);
        client.batch_execute(OWN_PATH).await?;
        Ok(client)
    };
    connecting.await.map_err(of_login)
}

#[cfg(test)]
mod tests {
    use nix::unistd::Uid;

    use super::*;
    use crate::ocf::env::Vars;

    fn running(socket: Option<&str>, listens_on: Option<&str>) -> Running {
        Running {
            pid: 7,
            account: Uid::from_raw(1),
            pgdata: "/data".into(),
            frozen: false,
            socket_dir: socket.map(PathBuf::from),
            port: Some(5433),
            listens_on: listens_on.map(str::to_owned),
        }
    }

    /// `ADDRESS USER DATABASE` of each way.
    fn shown(given: &[(&str, &str)], running: &Running, guise: Guise) -> Vec<String> {
        let set = given.iter().map(|(n, v)| (format!("OCF_RESKEY_{n}"), *v));
        let params = Params::from_env(&Vars::new(set)).unwrap();
        let all = ways(&params, running, guise).into_iter();
        all.map(|w| format!("{} {} {}", w.address.name(), w.user, w.database))
            .collect()
    }

    #[test]
    fn the_configured_way_is_the_first_and_no_way_comes_twice() {
        let usual = running(Some("/run/pg"), None);
        let expected = ["/run/pg postgres template1", "/run/pg postgres postgres"];
        assert_eq!(shown(&[], &usual, Guise::Monitor), expected);
        let watched = [
            ("monitor_user", "w"),
            ("pgdb", "mon"),
            ("pghost", "10.0.0.1"),
        ];
        let everywhere = running(Some("/run/pg"), Some("*"));
        assert_eq!(
            shown(&watched, &everywhere, Guise::Monitor),
            [
                "10.0.0.1 w mon",
                "10.0.0.1 w postgres",
                "10.0.0.1 w template1",
                "10.0.0.1 postgres mon",
                "10.0.0.1 postgres postgres",
                "10.0.0.1 postgres template1",
                "/run/pg w mon",
                "/run/pg postgres mon",
                "/run/pg postgres postgres",
                "/run/pg postgres template1",
                "127.0.0.1 w mon",
                "127.0.0.1 postgres mon",
            ]
        );
        // What takes the owner's right is nobody else's.
        let owner = shown(&watched, &everywhere, Guise::Owner);
        assert!(
            owner.iter().all(|way| way.contains(" postgres ")),
            "{owner:?}"
        );
        // Without a socket.
        let ipv6 = running(None, Some("::"));
        let by_tcp = shown(&[("pghost", "::1")], &ipv6, Guise::Monitor);
        assert_eq!(by_tcp, ["::1 postgres template1", "::1 postgres postgres"]);
    }

    #[test]
    fn a_process_at_a_login_tells_what_it_waits_for() {
        let seen = |state: char, words: &str, run_time| Seen {
            pid: 8,
            user: "postgres".to_owned(),
            database: "template1".to_owned(),
            words: words.to_owned(),
            state: Some(state),
            run_time: Some(run_time),
        };
        let before = seen('S', "startup", 5);
        for (now, expected) in [
            (seen('S', "startup waiting", 5), AtLogin::WaitsForLock),
            (
                seen('S', "authentication waiting", 5),
                AtLogin::WaitsForLock,
            ),
            (seen('S', "authentication", 5), AtLogin::WaitsForJudge),
            (seen('R', "startup", 5), AtLogin::Works),
            (seen('S', "startup", 6), AtLogin::Works),
            (seen('D', "startup", 6), AtLogin::Works),
            (seen('S', "startup", 5), AtLogin::Stuck),
            (seen('D', "startup", 5), AtLogin::Stuck),
            // Stopped by a signal, wherever that was.
            (seen('T', "startup waiting", 6), AtLogin::Stuck),
            // With update_process_title=off.
            (seen('S', "", 5), AtLogin::Waits),
            (seen('S', "", 6), AtLogin::Works),
            (seen('R', "", 5), AtLogin::Works),
            (seen('D', "", 5), AtLogin::Stuck),
            (seen('T', "", 6), AtLogin::Stuck),
        ] {
            assert_eq!(now.at_login(Some(&before)), expected, "{now:?}");
        }
    }

    #[test]
    fn of_a_no_with_tls_and_one_without_the_one_about_the_login_is_told() {
        let failed = |state: &str| SqlError::Failed {
            state: state.to_owned(),
            message: "m".to_owned(),
        };
        let tls = || SqlError::Refused("tls".to_owned());
        let starting = || SqlError::NotReady("starting".to_owned());
        for (first, then, expected) in [
            (tls(), failed("28000"), "tls"),
            (tls(), failed("28P01"), "m (SQLSTATE 28P01)"),
            (
                tls(),
                starting(),
                "the server does not take connections yet: starting",
            ),
            (tls(), SqlError::Unreachable("x".to_owned()), "tls"),
            (failed("28P01"), failed("28000"), "m (SQLSTATE 28P01)"),
            (failed("28000"), failed("28P01"), "m (SQLSTATE 28P01)"),
            (failed("28000"), failed("28000"), "m (SQLSTATE 28000)"),
            (failed("3D000"), failed("28P01"), "m (SQLSTATE 3D000)"),
        ] {
            assert_eq!(more_telling(first, then).to_string(), expected);
        }
    }

    #[test]
    fn a_queue_that_is_full_is_waited_for() {
        use std::io::{Read as _, Write as _};
        use std::os::unix::net::{UnixListener, UnixStream};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.5433");
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let before = UnixStream::connect(&path).unwrap();
        let params = Params::from_env(&Vars::new([("OCF_RESKEY_pgdb", "x")])).unwrap();
        let socket = dir.path().to_str();
        let way = ways(&params, &running(socket, None), Guise::Owner).remove(0);
        let login = LoginData {
            way,
            password: None,
            limit: Duration::from_secs(60),
            version: None,
            server: None,
            since: Duration::ZERO,
            home: dir.path().to_owned(),
        };
        let runtime = Background::new().unwrap();
        let said = runtime.get().block_on(async {
            let mut entering = std::pin::pin!(login.enter());
            let at_once = tokio::time::timeout(Duration::ZERO, &mut entering).await;
            assert!(at_once.is_err(), "it is not waited for");
            let server = std::thread::spawn(move || {
                drop(listener.accept().unwrap());
                drop(before);
                let (mut taken, _) = listener.accept().unwrap();
                let mut asked = [0; 4096];
                assert!(taken.read(&mut asked).unwrap() > 8);
                taken
                    .write_all(b"E\0\0\0\x1aSFATAL\0C57P03\0Mstart\0\0")
                    .unwrap();
            });
            let said = entering.await;
            server.join().unwrap();
            said
        });
        assert!(
            matches!(&said, Err(SqlError::NotReady(reason)) if reason == "start"),
            "{:?}",
            said.err()
        );
    }

    #[test]
    fn where_the_server_says_that_it_listens_it_is_the_server() {
        let own = |given: &[(&str, &str)], running: &Running| -> Vec<String> {
            let set = given.iter().map(|(n, v)| (format!("OCF_RESKEY_{n}"), *v));
            let params = Params::from_env(&Vars::new(set)).unwrap();
            let all = ways(&params, running, Guise::Owner).into_iter();
            let mut own: Vec<String> = all
                .filter(|way| way.listener == Listener::Own)
                .map(|way| way.address.name())
                .collect();
            own.dedup();
            own
        };
        let running = running(Some("/run/pg"), Some("10.0.0.1"));
        assert_eq!(own(&[], &running), ["/run/pg", "10.0.0.1"]);
        let pooler = [("pghost", "127.0.0.1")];
        assert_eq!(own(&pooler, &running), ["/run/pg", "10.0.0.1"]);
        let configured = [("pghost", "10.0.0.1")];
        assert_eq!(own(&configured, &running), ["10.0.0.1", "/run/pg"]);
    }
}
