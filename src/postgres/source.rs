//! The primary, as a standby reaches it: what it says of itself, and what this node may do there.
//!
//! libpq reads how to connect from a service file, so that nothing of it, a password above all, stands in an argument
//! list. PostgreSQL's programs are asked rather than the protocol spoken: what works for them works for the copy.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::conninfo::words::{SyntaxError, Words, keyword_values};
use crate::log::say;
use crate::model::lsn::Lsn;
use crate::model::timeline::{Lineage, TimelineId};
use crate::params::Secret;
use crate::postgres::files;
use crate::postgres::owner::as_owner;
use crate::postgres::programs::Programs;
use crate::postgres::session::Row;
use crate::postgres::views::{self, Replication};
use crate::sys::{Command, Deadline, Output, Owner, RunError, poll_until};
use crate::timing;

/// The name of the only service in our service file.
const SERVICE: &str = "expgsql";

/// The name of that file under tmpdir. It stays there: whoever needs it writes the same, and nobody else may read it.
pub const SERVICE_FILE: &str = "expgsql.service";

/// libpq takes no longer line from a service file.
const LONGEST_LINE: usize = 1000;

/// What one of our connections is for; another one would break it.
const OURS: [&str; 5] = [
    "dbname",
    "replication",
    "application_name",
    "fallback_application_name",
    // The text of errors is read.
    "client_encoding",
];

/// What pg_rewind calls on the server that it copies from. Source: its manual, "Notes".
const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text,boolean,boolean)",
    "pg_stat_file(text,boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text,bigint,bigint,boolean)",
];

/// Which of the functions that pg_rewind needs the user of a session may not call.
#[must_use]
pub fn rewind_question() -> String {
    let names: Vec<String> = REWIND_FUNCTIONS.map(|f| format!("('{f}')")).to_vec();
    format!(
        "select current_user, f from (values {}) as v(f) where not has_function_privilege('pg_catalog.' || f, 'execute')",
        names.join(", ")
    )
}

/// What to run, by the answer to [`rewind_question`]; `None`: nothing is missing.
#[must_use]
pub fn rewind_grant(database: &str, answer: &str) -> Option<String> {
    let missing: Vec<(&str, &str)> = answer
        .lines()
        .filter_map(|line| line.split_once('|'))
        .collect();
    let (user, _) = missing.first()?;
    let functions: Vec<&str> = missing.iter().map(|(_, function)| *function).collect();
    Some(format!(
        "pg_rewind needs more rights; in database {database:?}: GRANT EXECUTE ON FUNCTION {} TO \"{user}\"",
        functions.join(", ")
    ))
}

/// Reads a byte of each file that pg_rewind copies whole. How it finds them, and what it leaves out, is in PostgreSQL's
/// `libpq_source.c` and `filemap.c`.
const READS_ALL: &str = r"with recursive files (path, isdir) as (
  select f, (pg_stat_file(f, true)).isdir from pg_ls_dir('.', true, false) f
  union all
  select path || '/' || f, (pg_stat_file(path || '/' || f, true)).isdir from files, pg_ls_dir(path, true, false) f where isdir)
select sum(octet_length(pg_read_binary_file(path, 0, 1, true))) from files
where not isdir
  and path !~ '^pg_(stat_tmp|replslot|dynshmem|notify|serial|snapshots|subtrans)/'
  and path !~ '(^|/)(pgsql_tmp[^/]*|pg_internal\.init[^/]*|postgresql\.auto\.conf\.tmp|current_logfiles(\.tmp)?|backup_label|tablespace_map|backup_manifest|postmaster\.pid|postmaster\.opts)(/|$)'";

fn left_to_the_tool(reason: &dyn std::fmt::Display) {
    say!(
        INFO,
        "whether the primary can read all of its files is not known before they are copied",
        reason = reason
    );
}

/// Where the primary is, and as whom this node connects.
#[derive(Clone, Copy, Debug)]
pub struct Primary<'a> {
    pub host: &'a str,
    pub port: u16,
    pub user: &'a str,
    pub passfile: Option<&'a Path>,
    /// Further words of a connection string, which win.
    pub more: Option<&'a Secret>,
    /// This node: its name is part of the `application_name`, which must not be that of a standby.
    pub node: &'a str,
}

/// The parameters don't make a connection, without their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error("primary_conninfo_opt: {0}")]
    Syntax(#[from] SyntaxError),
    #[error(
        "primary_conninfo_opt: \"service\" is not supported here; write what the service file says"
    )]
    Service,
    #[error(
        "the value of {0} ends in a space, holds a line break or is longer than {LONGEST_LINE} bytes, which libpq does not read from a file; a password may be in a passfile instead"
    )]
    Value(String),
}

/// The service file: how libpq reaches the primary, with bounds on a connection that is silent.
///
/// # Errors
/// See [`ServiceError`].
pub fn service_text(primary: &Primary<'_>) -> Result<String, ServiceError> {
    let mut words = Words::new();
    let mut set = |keyword: &str, value: String| words.insert(keyword.to_owned(), value);
    // Where the operator says nothing else. A host that is gone is noticed, not waited for.
    for (keyword, value) in [
        ("connect_timeout", "3"),
        ("keepalives_idle", "10"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "30000"),
    ] {
        set(keyword, value.to_owned());
    }
    set("host", primary.host.to_owned());
    set("port", primary.port.to_string());
    set("user", primary.user.to_owned());
    if let Some(passfile) = primary.passfile {
        set("passfile", passfile.to_string_lossy().into_owned());
    }
    if let Some(more) = primary.more {
        words.extend(keyword_values(more.reveal())?);
    }
    if words.get("service").is_some_and(|name| !name.is_empty()) {
        return Err(ServiceError::Service);
    }
    words.retain(|keyword, value| {
        !value.is_empty() && keyword != "service" && !OURS.contains(&keyword.as_str())
    });
    words.insert(
        "application_name".to_owned(),
        format!("expgsql_{}", primary.node),
    );
    let mut text = format!("[{SERVICE}]\n");
    for (keyword, value) in words {
        let line = format!("{keyword}={value}");
        if value.contains(['\n', '\r'])
            || value.ends_with(|c: char| c.is_whitespace())
            || line.len() > LONGEST_LINE
        {
            return Err(ServiceError::Value(keyword));
        }
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// The primary.
#[derive(Clone, Debug)]
pub struct Source {
    programs: Programs,
    psql: PathBuf,
    service_file: PathBuf,
}

/// What the primary says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The system identifier; a copy of the same cluster has the same.
    pub system: String,
    pub timeline: TimelineId,
    /// Where its WAL ends on disk.
    pub flushed: Lsn,
}

/// The primary gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It may pass by itself: nobody answers there, or it is starting.
    #[error("the primary can't be reached: {0}")]
    Unreachable(String),
    /// It answers, and does not let this node do that.
    #[error("the primary refuses: {0}")]
    Denied(String),
    #[error(transparent)]
    Tool(RunError),
    #[error("unexpected answer of the primary to {asked}: {got}")]
    Unexpected { asked: String, got: String },
}

impl SourceError {
    /// Whether trying again later may be enough.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Denied(_) | Self::Tool(_) | Self::Unexpected { .. } => false,
        }
    }

    /// Whether the operator is told where a standby receives nothing: somebody answers there, or it is no way to connect at all.
    #[must_use]
    pub fn is_told(&self) -> bool {
        match self {
            Self::Unreachable(words) => is_full(words),
            Self::Denied(_) | Self::Unexpected { .. } => true,
            Self::Tool(_) => false,
        }
    }
}

/// How a program that connects is to be told.
enum Kind<'a> {
    Replication,
    Database(&'a str),
}

impl Kind<'_> {
    fn connection(&self) -> String {
        match self {
            Self::Replication => format!("service={SERVICE} replication=true"),
            Self::Database(name) => {
                let name = name.replace('\\', "\\\\").replace('\'', "\\'");
                format!("service={SERVICE} dbname='{name}'")
            }
        }
    }

    /// The least that a session can be asked.
    fn least(&self) -> &'static str {
        match self {
            Self::Replication => "IDENTIFY_SYSTEM",
            Self::Database(_) => "SELECT 1",
        }
    }

    /// What pg_hba.conf on the primary has to allow.
    fn entry(&self) -> String {
        match self {
            Self::Replication => "replication".to_owned(),
            Self::Database(name) => format!("database {name:?}"),
        }
    }
}

/// An error that the primary gave for a statement.
struct Refusal {
    state: String,
    message: String,
}

const UNDEFINED_FILE: &str = "58P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

impl Source {
    /// `psql` as the operator named it. The service file is written by [`Source::write`].
    #[must_use]
    pub fn new(programs: &Programs, psql: &Path, service_file: PathBuf) -> Self {
        Self {
            programs: programs.clone(),
            psql: psql.to_owned(),
            service_file,
        }
    }

    /// Writes the service file, see [`service_text`]. Only its owner may read it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, owner: &Owner, text: &str) -> io::Result<()> {
        as_owner(owner, || files::write(&self.service_file, text, 0o600))?
    }

    /// Removes the service file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn remove(&self, owner: &Owner) -> io::Result<()> {
        as_owner(owner, || files::remove(&self.service_file))?
    }

    /// Makes `command` connect to the primary and nowhere else.
    pub(super) fn told(&self, mut command: Command) -> Command {
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command = command.env_remove(name);
            }
        }
        command.env("PGSERVICEFILE", &self.service_file)
    }

    /// The connection string that names an ordinary connection to `database`.
    pub(super) fn to_database(database: &str) -> String {
        Kind::Database(database).connection()
    }

    /// The connection string of a program that adds what replication needs itself.
    pub(super) fn plain() -> String {
        format!("service={SERVICE}")
    }

    /// Which cluster it is, on which timeline, and how far.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn identify(&self, deadline: Deadline) -> Result<Identity, SourceError> {
        let asked = "IDENTIFY_SYSTEM";
        let got = self.ask(&Kind::Replication, asked, deadline)?;
        let mut fields = got.trim().split('|');
        let mut next = || fields.next().unwrap_or_default();
        let (system, timeline, flushed) = (next(), next(), next());
        let timeline = timeline.parse().ok().and_then(TimelineId::new);
        match (timeline, flushed.parse()) {
            (Some(timeline), Ok(flushed)) if !system.is_empty() => Ok(Identity {
                system: system.to_owned(),
                timeline,
                flushed,
            }),
            _ => Err(unexpected(asked, &got)),
        }
    }

    /// The ancestry of one of its timelines. As with local files, a timeline of which it has no history is a root.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn lineage(
        &self,
        timeline: TimelineId,
        deadline: Deadline,
    ) -> Result<Lineage, SourceError> {
        if timeline == TimelineId::FIRST {
            return Ok(Lineage::root(timeline));
        }
        let asked = format!("TIMELINE_HISTORY {timeline}");
        let got = match self.psql(&Kind::Replication, &asked, deadline)? {
            Ok(got) => got,
            Err(refusal) if refusal.state == UNDEFINED_FILE => return Ok(Lineage::root(timeline)),
            Err(refusal) => return Err(refused(&asked, &refusal)),
        };
        let parsed = got
            .split_once('|')
            .map(|(_, text)| Lineage::from_history_file(timeline, text));
        match parsed {
            Some(Ok(lineage)) => Ok(lineage),
            Some(Err(_)) | None => Err(unexpected(&asked, &got)),
        }
    }

    /// What it says of itself and its standbys, see [`views::Replication`].
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn replication(
        &self,
        database: &str,
        deadline: Deadline,
    ) -> Result<Replication, SourceError> {
        let asked = views::REPLICATION;
        let got = self.ask(&Kind::Database(database), asked, deadline)?;
        let rows = got.lines().map(|line| {
            let field = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            line.split('|').map(field).collect()
        });
        let rows: Vec<Row> = rows.collect();
        Replication::of_rows(&rows).ok_or_else(|| unexpected("pg_stat_replication", &got))
    }

    /// Whether it still has its WAL from `from` on, which lies on its `timeline`.
    ///
    /// A standby that asks for WAL in vain finds out only after streaming has begun, so this begins to stream:
    /// pg_receivewal, for one message. (psql stops listening at the answer before.)
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn has_wal(
        &self,
        timeline: TimelineId,
        from: Lsn,
        segment_size: u64,
        deadline: Deadline,
    ) -> Result<bool, SourceError> {
        let primary = self.identify(deadline)?;
        let lineage = self.lineage(primary.timeline, deadline)?;
        let begin = Segment::start_of(from, segment_size);
        if primary.flushed <= begin {
            // Nothing can be missing of what is not written yet; and nothing would come.
            return Ok(true);
        }
        if timeline != primary.timeline && lineage.end_of(timeline).is_none() {
            return Err(SourceError::Unexpected {
                asked: format!("WAL of timeline {timeline}"),
                got: format!("its own timelines are {lineage}"),
            });
        }
        // Not the timeline on which the file begins: where two ended in one file and there is an archive, only the last has a file.
        let segment = Segment::of(lineage.timeline_at(from), from, segment_size);
        let scratch = self.service_file.with_extension("wal");
        let prepared = self.as_self(|| {
            remove_tree(&scratch)?;
            fs::create_dir(&scratch)?;
            // Where it finds an incomplete segment, it begins with that.
            fs::write(scratch.join(format!("{}.partial", segment.name())), "")
        });
        let received = prepared.and_then(|()| {
            let command = self.programs.tool("pg_receivewal");
            self.told(command)
                .arg("-D")
                .arg(&scratch)
                .args(["--no-loop", "--no-sync", "-w", "-d"])
                .arg(Self::plain())
                .arg(format!("--endpos={}", segment.after_start()))
                .output(deadline)
                .map_err(timed)
        });
        let removed = self.as_self(|| remove_tree(&scratch));
        let output = received?;
        removed?;
        if output.status.success() {
            return Ok(true);
        }
        let words = output.stderr_text();
        // In whatever language: only the message of a missing segment names it.
        if segment.is_named_in(&words) {
            return Ok(false);
        }
        Err(self.why(&Kind::Replication, "START_REPLICATION", &words, deadline))
    }

    /// Waits until its last checkpoint is on `timeline`, and asks for one where it may: right after a promotion pg_rewind
    /// (before 16, which looks elsewhere) would take it for still on the old one.
    ///
    /// # Errors
    /// See [`SourceError`]; [`SourceError::Unreachable`] where the checkpoint has not come by the deadline.
    pub fn settle_timeline(
        &self,
        database: &str,
        timeline: TimelineId,
        deadline: Deadline,
    ) -> Result<(), SourceError> {
        let kind = Kind::Database(database);
        if self.is_settled(&kind, timeline, deadline)? {
            return Ok(());
        }
        match self.psql(&kind, "CHECKPOINT", deadline)? {
            Ok(_) => {}
            // It comes by itself within checkpoint_timeout, and promotion has asked for one already.
            Err(refusal) if refusal.state == INSUFFICIENT_PRIVILEGE => {}
            Err(refusal) => return Err(refused("CHECKPOINT", &refusal)),
        }
        let settled = poll_until(deadline, timing::SETTLE_POLL, || {
            match self.is_settled(&kind, timeline, deadline) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        });
        settled.unwrap_or_else(|| {
            Err(SourceError::Unreachable(format!(
                "its checkpoint on timeline {timeline} is not done yet; CHECKPOINT on it as a superuser shortens the wait"
            )))
        })
    }

    fn is_settled(
        &self,
        kind: &Kind<'_>,
        timeline: TimelineId,
        deadline: Deadline,
    ) -> Result<bool, SourceError> {
        let asked = "select timeline_id from pg_catalog.pg_control_checkpoint()";
        let got = self.ask(kind, asked, deadline)?;
        let reached: u32 = got.trim().parse().map_err(|_| unexpected(asked, &got))?;
        // Later: it was promoted once more meanwhile.
        Ok(reached >= timeline.get())
    }

    /// Whether this node may do in `database` what pg_rewind does.
    ///
    /// # Errors
    /// See [`SourceError`]; [`SourceError::Denied`] names what to grant.
    pub fn rewind_rights(&self, database: &str, deadline: Deadline) -> Result<(), SourceError> {
        let got = self.ask(&Kind::Database(database), &rewind_question(), deadline)?;
        match rewind_grant(database, &got) {
            Some(grant) => Err(SourceError::Denied(grant)),
            None => Ok(()),
        }
    }

    /// Whether the primary's server can read all files of its own that pg_rewind copies, and pg_basebackup, too. What can't be asked
    /// is left to them; a file that is gone meanwhile is no matter.
    ///
    /// # Errors
    /// [`SourceError::Denied`] names the file.
    pub fn can_read_all(&self, database: &str, deadline: Deadline) -> Result<(), SourceError> {
        let kind = Kind::Database(database);
        match self.psql(&kind, READS_ALL, deadline) {
            Ok(Err(refusal)) if refusal.state == INSUFFICIENT_PRIVILEGE => {
                let address = "select pg_catalog.host(pg_catalog.inet_server_addr())";
                let address = self.ask(&kind, address, deadline).unwrap_or_default();
                Err(SourceError::Denied(format!(
                    "{} (on the primary, {}): chown it to the server's account there, or move it out of the data directory",
                    refusal.message,
                    address.trim()
                )))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => {
                left_to_the_tool(&refusal.message);
                Ok(())
            }
            Err(error) => {
                left_to_the_tool(&error);
                Ok(())
            }
        }
    }

    /// Its tablespaces beside the two that are in the data directory: number and place.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn tablespaces(
        &self,
        database: &str,
        deadline: Deadline,
    ) -> Result<Vec<(u32, PathBuf)>, SourceError> {
        let asked = "select oid, pg_catalog.pg_tablespace_location(oid) from pg_catalog.pg_tablespace \
                     where pg_catalog.pg_tablespace_location(oid) <> ''";
        let got = self.ask(&Kind::Database(database), asked, deadline)?;
        got.lines()
            .map(|line| {
                let (oid, place) = line.split_once('|')?;
                Some((oid.parse().ok()?, PathBuf::from(place)))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| unexpected(asked, &got))
    }

    /// The primary's answer to a statement that it should not refuse.
    fn ask(
        &self,
        kind: &Kind<'_>,
        statement: &str,
        deadline: Deadline,
    ) -> Result<String, SourceError> {
        self.psql(kind, statement, deadline)?
            .map_err(|refusal| refused(statement, &refusal))
    }

    fn psql(
        &self,
        kind: &Kind<'_>,
        statement: &str,
        deadline: Deadline,
    ) -> Result<Result<String, Refusal>, SourceError> {
        // With the SQLSTATE: the words are in the primary's language.
        let output = self
            .told(self.programs.named(&self.psql))
            // Whoever owns the database might have set another.
            .env("PGOPTIONS", "-c search_path=pg_catalog,pg_temp")
            .args(["-XAtqw", "-v", "VERBOSITY=verbose", "-d"])
            .arg(kind.connection())
            .arg("-c")
            .arg(statement)
            .output(deadline)
            .map_err(timed)?;
        if output.status.success() {
            return Ok(Ok(output.stdout_text()));
        }
        let words = output.stderr_text();
        // Exit code 2: the connection was not made, or was lost.
        match refusal(&words).filter(|_| output.status.code() != Some(2)) {
            Some(refusal) => Ok(Err(refusal)),
            None => Err(self.why(kind, statement, &words, deadline)),
        }
    }

    /// Why a program that connects has failed, which said `words`.
    pub(super) fn why_failed(&self, asked: &str, words: &str, deadline: Deadline) -> SourceError {
        self.why(&Kind::Replication, asked, words, deadline)
    }

    fn why(&self, kind: &Kind<'_>, asked: &str, words: &str, deadline: Deadline) -> SourceError {
        let words = one_line(words);
        if is_full(&words) {
            return SourceError::Unreachable(bare(&words).to_owned());
        }
        if is_lost(&words) {
            return SourceError::Unreachable(words);
        }
        let is_connection = ["connection to server", "could not connect", "FATAL"]
            .iter()
            .any(|part| words.contains(part));
        match self.ping(deadline) {
            Ping::Accepts if is_connection => self.denied(kind, words, deadline),
            // Somebody is there, and the two can't agree: pg_isready takes that for no answer.
            Ping::Silent | Ping::Unknown if is_of_tls(&words) => self.denied(kind, words, deadline),
            Ping::Accepts => SourceError::Unexpected {
                asked: asked.to_owned(),
                got: words,
            },
            Ping::Rejects | Ping::Silent => SourceError::Unreachable(words),
            Ping::Unknown if is_connection => SourceError::Unreachable(words),
            Ping::Unknown => SourceError::Unexpected {
                asked: asked.to_owned(),
                got: words,
            },
        }
    }

    /// The server answers, and a program was not let in, as it said in `words`: by what answers now, or by what was there before, as while an
    /// address moves. A login says which.
    fn denied(&self, kind: &Kind<'_>, words: String, deadline: Deadline) -> SourceError {
        let login = self
            .told(self.programs.named(&self.psql))
            .args(["-XAtqw", "-d"])
            .arg(kind.connection())
            .args(["-c", kind.least()])
            .output(deadline.min(Duration::from_secs(10)));
        let again = match login {
            // The connection was not made, or was lost.
            Ok(output) if output.status.code() == Some(2) => one_line(&output.stderr_text()),
            Ok(_) => return SourceError::Unreachable(words),
            Err(error) => return timed(error),
        };
        if is_full(&again) || is_lost(&again) {
            return SourceError::Unreachable(again);
        }
        let again = bare(&again);
        if is_of_tls(again) {
            return SourceError::Denied(format!(
                "{again}; look at the words for TLS in primary_conninfo_opt, and at the certificates"
            ));
        }
        SourceError::Denied(format!(
            "{again}; look for an entry for {} in its pg_hba.conf, and for the password",
            kind.entry()
        ))
    }

    /// pg_isready tells a server that starts from one that refuses, whatever its language.
    fn ping(&self, deadline: Deadline) -> Ping {
        let output = self
            .told(self.programs.tool("pg_isready"))
            .args(["-q", "-d"])
            .arg(Self::plain())
            .output(deadline.min(Duration::from_secs(10)));
        match output.ok().and_then(|output: Output| output.status.code()) {
            Some(0) => Ping::Accepts,
            Some(1) => Ping::Rejects,
            Some(2) => Ping::Silent,
            _ => Ping::Unknown,
        }
    }

    fn as_self<T>(&self, action: impl FnOnce() -> io::Result<T>) -> Result<T, SourceError> {
        let done = as_owner(self.programs.owner(), action).map_err(io::Error::from);
        done.and_then(|result| result).map_err(|source| {
            SourceError::Tool(RunError::Spawn {
                program: "pg_receivewal".to_owned(),
                source,
            })
        })
    }
}

/// What pg_isready's exit code says.
enum Ping {
    Accepts,
    /// It is starting, or going down.
    Rejects,
    Silent,
    Unknown,
}

/// One WAL file.
struct Segment {
    timeline: TimelineId,
    number: u64,
    size: u64,
}

impl Segment {
    fn of(timeline: TimelineId, position: Lsn, size: u64) -> Self {
        let size = size.max(1);
        let bytes = position.bytes_past(Lsn::new(0)).unwrap_or_default();
        Self {
            timeline,
            number: bytes / size,
            size,
        }
    }

    fn start_of(position: Lsn, size: u64) -> Lsn {
        let segment = Self::of(TimelineId::FIRST, position, size);
        Lsn::new(segment.number * segment.size)
    }

    fn after_start(&self) -> Lsn {
        Lsn::new(self.number * self.size + 1)
    }

    /// On whatever timeline: the file with the end of one is looked for under the next one's name.
    fn is_named_in(&self, words: &str) -> bool {
        let name = self.name();
        let is_it = |word: &str| word.len() == name.len() && word[8..] == name[8..];
        words.split(|c: char| !c.is_ascii_hexdigit()).any(is_it)
    }

    /// Source: PostgreSQL, `XLogFileName`.
    fn name(&self) -> String {
        let per_id = ((1 << 32) / self.size).max(1);
        format!(
            "{:08X}{:08X}{:08X}",
            self.timeline.get(),
            self.number / per_id,
            self.number % per_id
        )
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn timed(error: RunError) -> SourceError {
    match error {
        RunError::TimedOut { after, .. } => {
            SourceError::Unreachable(format!("no answer within {:.1} s", after.as_secs_f32()))
        }
        error @ (RunError::NotFound(_)
        | RunError::Silent { .. }
        | RunError::Stopped(_)
        | RunError::Spawn { .. }
        | RunError::Failed { .. }) => SourceError::Tool(error),
    }
}

fn unexpected(asked: &str, got: &str) -> SourceError {
    SourceError::Unexpected {
        asked: asked.to_owned(),
        got: format!("{:?}", got.trim()),
    }
}

fn refused(asked: &str, refusal: &Refusal) -> SourceError {
    let Refusal { state, message } = refusal;
    if state == INSUFFICIENT_PRIVILEGE {
        return SourceError::Denied(message.clone());
    }
    SourceError::Unexpected {
        asked: asked.to_owned(),
        got: format!("{message} (SQLSTATE {state})"),
    }
}

/// All connections are taken: more come free. (The words are English, or it counts as a refusal.)
fn is_full(words: &str) -> bool {
    [
        "too many clients",
        "too many connections",
        "remaining connection slots",
        "requested standby connections exceeds",
    ]
    .iter()
    .any(|part| words.contains(part))
}

/// What was answered, without the words in front that say where: they would take up all of a reason.
fn bare(words: &str) -> &str {
    const FAILED: &str = " failed: ";
    let is_one = words.matches(FAILED).count() == 1;
    let rest = words.strip_prefix("psql: error: connection to server");
    let rest = rest
        .filter(|_| is_one)
        .and_then(|rest| rest.split_once(FAILED));
    rest.map_or(words, |(_, answer)| answer.trim())
}

/// No agreement on TLS comes about: no certificate, a wrong one, or no TLS where it is asked for. (The tools' words are English.)
fn is_of_tls(words: &str) -> bool {
    [
        "certificate",
        "does not support SSL",
        "SSL error:",
        "channel binding",
    ]
    .iter()
    .any(|part| words.contains(part))
}

/// There was a connection, and it ended.
fn is_lost(words: &str) -> bool {
    [
        "server closed the connection",
        "terminating connection",
        "connection has been closed",
        "could not receive data from",
        // pg_basebackup, of the WAL that it streams beside: as at a switchover, after which another accepts connections at once.
        "replication stream was terminated",
        "unexpected termination of replication stream",
    ]
    .iter()
    .any(|part| words.contains(part))
}

/// `ERROR:  58P01: could not open file …`, which warnings may come before: 19 warns whoever logs in with an MD5 password.
fn refusal(words: &str) -> Option<Refusal> {
    words.lines().find_map(|line| {
        let (_, rest) = line.split_once(":  ")?;
        let (state, message) = rest.split_once(": ")?;
        let is_state = state.len() == 5
            && state
                .bytes()
                .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        // Source: PostgreSQL, "PostgreSQL Error Codes": these classes are success and warnings.
        let is_error = !["00", "01", "02"]
            .iter()
            .any(|class| state.starts_with(class));
        (is_state && is_error).then(|| Refusal {
            state: state.to_owned(),
            message: message.trim().to_owned(),
        })
    })
}

pub(super) fn one_line(words: &str) -> String {
    let lines: Vec<&str> = words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Owner;

    fn text(more: &str) -> Result<String, ServiceError> {
        service_text(&Primary {
            host: "192.0.2.1",
            port: 5433,
            user: "repl",
            passfile: Some(Path::new("/etc/pass file")),
            more: Some(&Secret::new(more)),
            node: "node2",
        })
    }

    /// As the programs say it.
    #[test]
    fn a_connection_that_ended_is_no_reason_to_give_up() {
        for (words, expected) in [
            (
                "pg_basebackup: error: replication stream was terminated before stop point",
                true,
            ),
            (
                "pg_receivewal: error: unexpected termination of replication stream: FATAL: terminating connection",
                true,
            ),
            (
                "pg_basebackup: error: could not receive data from WAL stream: server closed the connection unexpectedly",
                true,
            ),
            (
                "pg_basebackup: error: directory \"/data\" exists but is not empty",
                false,
            ),
        ] {
            assert_eq!(is_lost(words), expected, "{words}");
        }
    }

    /// The address moved between the program's words and the question who answers there. The programs are shell scripts: that moment can't be
    /// produced with real ones.
    #[test]
    fn who_is_let_in_now_was_not_refused() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let pgctl = program("pg_ctl", "exit 1");
        program("pg_isready", "exit 0");
        let owner = Owner::lookup("nobody").unwrap();
        let programs = Programs::new(&pgctl, Path::new(""), &owner);
        let why = |login: &str| {
            let psql = program("psql", login);
            let source = Source::new(&programs, &psql, dir.path().join("service"));
            let words = "pg_basebackup: error: connection to server at \"192.0.2.1\" failed: Connection refused";
            let deadline = Deadline::after(std::time::Duration::from_secs(20));
            source.why_failed("BASE_BACKUP", words, deadline)
        };
        let passing = why("exit 0");
        assert!(
            matches!(&passing, SourceError::Unreachable(words) if words.contains("Connection refused")),
            "{passing}"
        );
        let full = why("echo 'FATAL: sorry, too many clients already' >&2; exit 2");
        assert!(matches!(full, SourceError::Unreachable(_)), "{full}");
        let denied = why("echo 'FATAL: no pg_hba.conf entry' >&2; exit 2");
        assert!(
            matches!(&denied, SourceError::Denied(words) if words.contains("no pg_hba.conf entry") && !words.contains("Connection refused")),
            "{denied}"
        );
    }

    #[test]
    fn the_operators_words_win_except_over_what_is_ours() {
        let found = text(
            r"user=other user=third password='zq 7\'x' connect_timeout=9 application_name=node2 dbname=x replication=database",
        )
        .unwrap();
        assert_eq!(
            found,
            "[expgsql]\napplication_name=expgsql_node2\nconnect_timeout=9\nhost=192.0.2.1\nkeepalives_count=3\n\
             keepalives_idle=10\nkeepalives_interval=5\npassfile=/etc/pass file\npassword=zq 7'x\nport=5433\n\
             tcp_user_timeout=30000\nuser=third\n"
        );
        assert!(!text("passfile=''").unwrap().contains("passfile"));
    }

    #[test]
    fn what_a_service_file_can_not_hold_is_refused_without_being_shown() {
        for more in [
            "password='zq7x '",
            "password='zq7x\nhost=h'",
            "password='zq7x",
            "zq7x",
            "service=zq7x",
        ] {
            let error = text(more).unwrap_err().to_string();
            assert!(!error.contains("zq7x"), "{error}");
        }
        assert!(text(&format!("password={}", "x".repeat(1000))).is_err());
    }

    #[test]
    fn segments_are_named_as_postgresql_names_them() {
        let name = |timeline, position, size| {
            let timeline = TimelineId::new(timeline).unwrap();
            Segment::of(timeline, Lsn::new(position), size).name()
        };
        assert_eq!(name(1, 0x0100_0028, 16 << 20), "000000010000000000000001");
        assert_eq!(name(2, 0xA_FF00_0000, 16 << 20), "000000020000000A000000FF");
        assert_eq!(name(3, 0x1_4000_0000, 1 << 30), "000000030000000100000001");
        let position = Lsn::new(0x0100_0028);
        assert_eq!(Segment::start_of(position, 16 << 20), Lsn::new(0x0100_0000));
        let segment = Segment::of(TimelineId::FIRST, position, 16 << 20);
        assert!(segment.is_named_in("segment \"000000020000000000000001\" is gone"));
        assert!(!segment.is_named_in("segment 000000010000000000000002 é is gone"));
    }

    #[test]
    fn a_refusal_is_known_by_its_sqlstate() {
        let found = refusal("ERROR:  58P01: could not open\nLOCATION:  x, y.c:1").unwrap();
        assert_eq!(
            (found.state.as_str(), found.message.as_str()),
            ("58P01", "could not open")
        );
        assert_eq!(refusal("FEHLER:  42501: nein").unwrap().state, "42501");
        for warning in [
            "WARNING:  authenticated with an MD5-encrypted password\nDETAIL:  MD5 password support is deprecated.\n",
            "WARNING:  01000: authenticated with an MD5-encrypted password\nLOCATION:  x, y.c:1\n",
        ] {
            let found = refusal(&format!("{warning}ERROR:  42501: no\n")).unwrap();
            assert_eq!(
                (found.state.as_str(), found.message.as_str()),
                ("42501", "no")
            );
            assert!(refusal(warning).is_none());
        }
        assert!(refusal("psql: error: connection to server failed").is_none());
        assert!(refusal("").is_none());
    }
}
