//! Why a server has ended, in its own words: the last line of its logs that says so.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::postgres::owner::as_owner;
use crate::postgres::reading;
use crate::sys::Owner;

/// So much of the end of a log is looked at; bytes.
const MOST: u64 = 64 * 1024;

/// A message is not quoted further than this; bytes.
const LONGEST: usize = 300;

/// Before a server is open it says no more than so many messages that may be a reason.
const MOST_BEFORE: usize = 3;

/// The server names its logs there once its collector runs. Source: PostgreSQL, "Database File Layout".
const CURRENT: &str = "current_logfiles";

/// How a log was before a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    file: PathBuf,
    length: u64,
    at: SystemTime,
}

impl Mark {
    /// What comes after now is this start's.
    #[must_use]
    pub fn now(file: &Path, owner: &Owner) -> Self {
        // A pipe, or a device, is no place to look at again.
        let length = as_owner(owner, || {
            reading::open(file, 0).ok().map(|(_, about)| about.len())
        });
        Self {
            file: file.to_owned(),
            length: length.ok().flatten().unwrap_or_default(),
            at: now(),
        }
    }

    /// What the server has said last since then that ends one. `None`: nothing of that kind was found.
    #[must_use]
    pub fn last_words(&self, pgdata: &Path, owner: &Owner) -> Option<String> {
        self.find(pgdata, owner, fatal)
    }

    /// Why a server has ended by itself that ran: its sessions were told much since then that is no reason. `None`: as far as is seen
    /// somebody has stopped it.
    #[must_use]
    pub fn own_end(&self, pgdata: &Path, owner: &Owner) -> Option<String> {
        self.find(pgdata, owner, end)
    }

    /// What has come since then that is no message of a server that does well: of the program that could not become one, or of what
    /// loads it. For where there are no [`Mark::last_words`].
    #[must_use]
    pub fn other_words(&self, pgdata: &Path, owner: &Owner) -> Option<String> {
        self.find(pgdata, owner, other)
    }

    /// Why a standby receives nothing: what its receiver has ended with last since then.
    #[must_use]
    pub fn of_receiver(&self, pgdata: &Path, owner: &Owner) -> Option<String> {
        self.find(pgdata, owner, of_receiver)
    }

    fn find(
        &self,
        pgdata: &Path,
        owner: &Owner,
        find: fn(&str) -> Option<String>,
    ) -> Option<String> {
        let read = || {
            let own = tail(&self.file, self.length, None).ok();
            let collected = self.collected(pgdata).into_iter();
            let collected = collected.filter_map(|file| tail(&file, 0, Some(self.at)).ok());
            // The collector's are the later ones.
            let mut all: Vec<String> = collected.collect();
            all.extend(own);
            all.iter().find_map(|text| find(text))
        };
        as_owner(owner, read).ok().flatten()
    }

    fn collected(&self, pgdata: &Path) -> Vec<PathBuf> {
        let text = reading::read_bytes(&pgdata.join(CURRENT)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let names = text.lines().filter_map(|line| line.split_once(' '));
        names.map(|(_, name)| pgdata.join(name)).collect()
    }
}

/// To be held against the times of files, which are of this clock. Where it jumps, a log is not found, or an older one is.
#[expect(
    clippy::disallowed_methods,
    reason = "the times of files are of the wall clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The end of a file, from `from` on, where it was written to after `since`.
fn tail(file: &Path, from: u64, since: Option<SystemTime>) -> io::Result<String> {
    let (mut file, about): (File, _) = reading::open(file, 0)?;
    if since.is_some_and(|since| about.modified().is_ok_and(|at| at < since)) {
        return Ok(String::new());
    }
    let from = from.max(about.len().saturating_sub(MOST));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const SEVERITIES: [&str; 6] = [
    "FATAL",
    "PANIC",
    "致命错误",
    "致命的エラー",
    "ВАЖНО",
    "ПАНИКА",
];

/// The last message of a severity that ends a server or one of its processes. The words are PostgreSQL's own in all languages but
/// a few, which have others.
fn fatal(text: &str) -> Option<String> {
    let lines = lines(text);
    let told = told(&lines);
    let place = told.or_else(|| lines.iter().rposition(|line| may_be(line)))?;
    let mut words = message(lines[place])?;
    // Of wrong settings, rules and addresses a line before says which.
    let may_be_why: Vec<usize> = (0..place)
        .filter(|&at| cause(lines[at]).is_some())
        .collect();
    // From when on it recovers, it also says what is no reason.
    let recovers = lines[..place]
        .iter()
        .any(|line| line.contains("database system was"));
    let last = may_be_why
        .last()
        .filter(|_| !recovers && may_be_why.len() <= MOST_BEFORE);
    if let Some(&at) = last {
        let cause = cause(lines[at]).unwrap_or_default();
        words = match lines[at + 1..place].iter().find_map(|line| context(line)) {
            Some(where_it_is) => format!("{cause} ({where_it_is}); {words}"),
            None => format!("{cause}; {words}"),
        };
    }
    Some(shortened(words))
}

/// Where that is which the message before tells of: `line 7 of configuration file "pg_hba.conf"`.
fn context(line: &str) -> Option<&str> {
    let (_, words) = line.split_once("CONTEXT:  ")?;
    Some(words.trim())
}

/// The last message of a process that took its server along, or else what the server has said of a process that could say nothing.
fn end(text: &str) -> Option<String> {
    let lines = lines(text);
    let words = told(&lines).and_then(|place| message(lines[place]));
    words.or_else(|| killed(&lines)).map(shortened)
}

/// What a receiver begins its last message with, where that has no other server's message in it.
const OF_RECEIVER: [&str; 7] = [
    "could not start WAL streaming",
    "could not receive ",
    "could not send data to WAL stream",
    "could not connect to the primary server",
    "streaming replication receiver",
    "highest timeline",
    "database system identifier differs",
];

/// Why a receiver ended last. As a rule its message has the primary's own words in it, behind their severity, in whatever language:
/// `FATAL:  could not start WAL streaming: ERROR:  replication slot "x" does not exist`.
fn of_receiver(text: &str) -> Option<String> {
    let lines = lines(text);
    let is_its = |words: &String| {
        words.contains(":  ") || OF_RECEIVER.iter().any(|begin| words.starts_with(begin))
    };
    let mut words = lines.iter().rev().filter_map(|line| message(line));
    let words = words.find(is_its)?;
    // Of the two the primary's say more.
    let its_own = words.rsplit_once(":  ").map(|(_, words)| words.to_owned());
    Some(shortened(its_own.unwrap_or(words)))
}

/// What is said between the death of a process and the end of the server is less than this; lines.
const AFTERMATH: usize = 40;

/// The end of a process by a signal, which ends a server with `restart_after_crash=off`: `server process (PID 77) was terminated by signal
/// 9: Killed`. A server that has recovered from it has said so since, with places in the WAL or in English.
fn killed(lines: &[&str]) -> Option<String> {
    let (place, words) = lines
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, line)| Some((at, terminated(line)?)))?;
    let since = &lines[place + 1..];
    let has_recovered = |line: &&str| line.contains("ready to accept") || has_place(line);
    (since.len() <= AFTERMATH && !since.iter().any(has_recovered)).then_some(words)
}

/// Whether there is a place in the WAL in it: `0/16B3748`.
fn has_place(line: &str) -> bool {
    let is_word = |c: char| c.is_ascii_hexdigit() || c == '/';
    let mut words = line.split(|c: char| !is_word(c));
    words.any(|word| {
        word.split_once('/')
            .is_some_and(|(high, low)| !high.is_empty() && low.len() > 4 && !low.contains('/'))
    })
}

/// The message that names a process and then a signal, in whatever language: its number comes first behind the process. A process that
/// ends with exit code 1 takes no server along without a word of its own.
fn terminated(line: &str) -> Option<String> {
    /// Behind that many letters it is the text of a statement.
    const FIRST: usize = 80;
    let words = told_by_any(line)?;
    let (before, rest) = words.split_once("(PID ")?;
    let (number, rest) = rest.split_once(')')?;
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let signal = rest
        .split(|c: char| !c.is_ascii_digit())
        .find(|n| !n.is_empty())?;
    let is_signal = signal.parse::<u32>().is_ok_and(|n| (2..=64).contains(&n));
    (before.chars().count() <= FIRST && is_number(number) && is_signal).then_some(words)
}

/// The message of a line, whatever its severity is called.
fn told_by_any(line: &str) -> Option<String> {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(line) {
        return Some(json.get("message")?.as_str()?.to_owned());
    }
    if let Some((_, words)) = line.split_once(":  ") {
        return Some(words.trim().to_owned());
    }
    // csvlog: `...,LOG,00000,"message",...`
    let (_, rest) = line.split_once(",00000,\"")?;
    let end = rest.find("\",")?;
    Some(rest[..end].replace("\"\"", "\""))
}

/// The first line that is no message of a server's at all: `postgres: invalid option -- 'z'`, in whatever language; else the first of an
/// error, or a warning.
fn other(text: &str) -> Option<String> {
    let lines = lines(text);
    // The rest of a message begins with a tab.
    let mut whole = lines.iter().filter(|line| !line.starts_with('\t'));
    let is_message = |line: &str| line.contains(":  ") || is_structured(line);
    let stranger = whole.clone().find(|line| !is_message(line));
    // "could not find the database system" goes on with which file, and why.
    if let Some(first) = stranger.filter(|line| line.trim_end().ends_with("the database system")) {
        let rest = lines.iter().skip_while(|line| *line != first);
        return Some(shortened(
            rest.map(|line| line.trim()).collect::<Vec<_>>().join(" "),
        ));
    }
    let is_worse = |line: &&&str| {
        let mut worse = ["ERROR:  ", "WARNING:  "].iter();
        worse.any(|word| line.contains(word))
    };
    let line = stranger.or_else(|| whole.find(is_worse))?;
    Some(shortened(line.trim().to_owned()))
}

/// Of jsonlog or csvlog.
fn is_structured(line: &str) -> bool {
    line.starts_with('{') || line.contains(",00000,\"")
}

fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines();
    lines.filter(|line| !line.trim().is_empty()).collect()
}

fn message(line: &str) -> Option<String> {
    let severity = |word: &&str| {
        let at = line.find(&format!("{word}:  "))?;
        Some(line[at + word.len() + 1..].trim().to_owned())
    };
    let plain = SEVERITIES.iter().find_map(severity);
    plain.or_else(|| SEVERITIES.iter().find_map(|word| structured(line, word)))
}

/// Those that only a client has got are no reasons.
fn may_be(line: &str) -> bool {
    let is_for_client = line.contains("57P03") || line.contains("the database system is");
    message(line).is_some() && !is_for_client
}

/// A session that is refused ends with such a line, too, and a receiver whose primary is gone: of these the postmaster says
/// nothing. The end of a process that takes the server along is told, with its number, in every language.
fn told(lines: &[&str]) -> Option<usize> {
    (0..lines.len()).rev().find(|&at| {
        may_be(lines[at])
            && numbers_before(lines[at], &SEVERITIES)
                .any(|number| lines[at..].iter().any(|line| has_ended(line, number)))
    })
}

fn shortened(mut words: String) -> String {
    let end = (0..=words.len().min(LONGEST)).rfind(|at| words.is_char_boundary(*at));
    words.truncate(end.unwrap_or_default());
    words
}

/// The numbers in what the server puts before a message (`log_line_prefix`), which the process's is one of, as a rule.
fn numbers_before<'a>(line: &'a str, severities: &[&str]) -> impl Iterator<Item = &'a str> {
    let places = severities.iter().filter_map(|word| line.find(word));
    let prefix = &line[..places.min().unwrap_or_default()];
    let numbers = prefix.split(|c: char| !c.is_ascii_digit());
    numbers.filter(|number| number.len() > 1)
}

/// Whether a line is the postmaster's about the end of the process with that number: `startup process (PID 77) exited with exit code 1`.
fn has_ended(line: &str, number: &str) -> bool {
    let mut after = line.split("PID ").skip(1);
    after.any(|rest| rest.split(|c: char| !c.is_ascii_digit()).next() == Some(number))
}

/// What a line in front of the last words says, where that may be why.
fn cause(line: &str) -> Option<&str> {
    const OTHERS: [&str; 10] = [
        "HINT:",
        "DETAIL:",
        "CONTEXT:",
        "LOCATION:",
        "STATEMENT:",
        // The line before says why not.
        "could not create listen socket",
        "starting PostgreSQL",
        "listening on",
        "database system",
        "redirecting log output",
    ];
    let (_, words) = line.split_once(":  ")?;
    (!OTHERS.iter().any(|other| line.contains(other))).then(|| words.trim())
}

/// The message of a line of csvlog or jsonlog.
fn structured(line: &str, severity: &str) -> Option<String> {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(line) {
        let field = |name: &str| Some(json.get(name)?.as_str()?.to_owned());
        return (field("error_severity")? == severity).then(|| field("message"))?;
    }
    // `...,FATAL,XX000,"message",...`
    let (_, rest) = line.split_once(&format!(",{severity},"))?;
    let (_state, rest) = rest.split_once(',')?;
    let rest = rest.strip_prefix('"')?;
    let end = rest.find("\",")?;
    Some(rest[..end].replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fatal_line_counts_in_every_form() {
        for (text, expected) in [
            ("", None),
            ("2026-01-01 [7] LOG:  ready\n", None),
            (
                "2026-01-01 [7] FATAL:  could not map memory\n2026-01-01 [7] HINT:  less\n2026-01-01 [7] LOG:  database system is shut down\n",
                Some("could not map memory"),
            ),
            (
                "x LOG:  99 is outside the valid range\nx HINT:  none\nx FATAL:  configuration file \"p\" contains errors\n",
                Some("99 is outside the valid range; configuration file \"p\" contains errors"),
            ),
            (
                "t LOG:  starting PostgreSQL\nt LOG:  listening on a\nt LOG:  listening on b\nt LOG:  listening on c\nt LOG:  invalid method\nt CONTEXT:  line 7 of \"hba\"\nt FATAL:  could not load hba\n",
                Some("invalid method (line 7 of \"hba\"); could not load hba"),
            ),
            (
                "t LOG:  00000: starting PostgreSQL\nt LOCATION:  x\nt LOG:  00000: could not bind a: no\nt HINT:  h\nt LOCATION:  y\nt WARNING:  01000: could not create listen socket for a\nt LOCATION:  z\nt FATAL:  XX000: no sockets\nt LOCATION:  z\n",
                Some("00000: could not bind a: no; XX000: no sockets"),
            ),
            (
                "t LOG:  starting PostgreSQL\nt LOG:  database system was interrupted; last known up at x\nt LOG:  redo starts at 0/1\nt LOG:  redo done at 0/2 system usage: CPU: none\nt FATAL:  could not write to file \"x\": No space left on device\n",
                Some("could not write to file \"x\": No space left on device"),
            ),
            // What a client was told while it was starting.
            (
                "a LOG:  starting PostgreSQL 15\na LOG:  listening on x\na LOG:  3\na LOG:  4\na LOG:  5\na LOG:  6\na PANIC:  no checkpoint record\na FATAL:  the database system is starting up\na LOG:  5\n",
                Some("no checkpoint record"),
            ),
            (
                "2026-01-01,,,7,,1,,1,,0,FATAL,58P01,\"could not open \"\"x\"\"\",,,\n",
                Some("could not open \"x\""),
            ),
            (
                "{\"error_severity\":\"FATAL\",\"state_code\":\"58P01\",\"message\":\"could not open\"}\n",
                Some("could not open"),
            ),
            ("t [7] 致命错误:  不能\n", Some("不能")),
            // A server that speaks German: what ended it, and what a client and a receiver were told later.
            (
                "01.12. 00:16:47 [1089] FATAL:  konnte nicht in Datei schreiben\n01.12. 00:16:47 [1101] FATAL:  das Datenbanksystem startet\n01.12. 00:16:47 [1080] LOG:  Startprozess (PID 1089) beendete mit Status 1\n01.12. 00:16:48 [1102] FATAL:  das Datenbanksystem nimmt noch keine Verbindungen an\n",
                Some("konnte nicht in Datei schreiben"),
            ),
            // Nobody's end was told: the last one.
            (
                "LOG:  1\nLOG:  2\nLOG:  3\nLOG:  4\nLOG:  5\nt [77] FATAL:  one\nt [78] FATAL:  two\nt [70] LOG:  (PID 771)\n",
                Some("two"),
            ),
        ] {
            assert_eq!(fatal(text).as_deref(), expected, "{text}");
        }
        let long = fatal(&format!("FATAL:  {}", "ü".repeat(400))).unwrap();
        assert!(long.len() <= LONGEST);
    }

    #[test]
    fn a_receivers_last_words_are_told_from_a_sessions() {
        let session = "t [70] FATAL:  role \"x\" does not exist\n";
        let slot = "t [71] FATAL:  could not start WAL streaming: ERROR:  replication slot \"x\" does not exist\n";
        let gone = "t [71] FATAL:  could not receive data from WAL stream: server closed the connection unexpectedly\n\tThis probably means\n";
        let german = "t [71] FATAL:  konnte WAL-Streaming nicht starten: FEHLER:  nein\n";
        let csv = "t,,,71,,1,,1,,0,FATAL,08P01,\"could not start WAL streaming: ERROR:  no\",,,\n";
        for (text, expected) in [
            (String::new(), None),
            (session.to_owned(), None),
            (
                format!("{gone}{slot}{session}"),
                Some("replication slot \"x\" does not exist"),
            ),
            (
                format!("{slot}{gone}{session}"),
                Some(
                    "could not receive data from WAL stream: server closed the connection unexpectedly",
                ),
            ),
            (german.to_owned(), Some("nein")),
            (csv.to_owned(), Some("no")),
        ] {
            assert_eq!(of_receiver(&text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn of_a_server_that_ran_only_who_took_it_along_counts() {
        let refused = "t [70] FATAL:  role \"x\" does not exist\nt [71] FATAL:  terminating connection due to administrator command\n";
        let stopped = "t [60] LOG:  shutting down\nt [60] LOG:  database system is shut down\n";
        assert_eq!(end(&format!("{refused}{stopped}")), None);
        let gone = "t [65] FATAL:  directory \"/x\" does not exist\nt [65] HINT:  make it\nt [60] LOG:  startup process (PID 65) exited with exit code 1\n";
        let panic = "t [65] PANIC:  could not write\nt [60] LOG:  startup process (PID 65) was terminated by signal 6: Aborted\n";
        for (text, expected) in [
            (gone, "directory \"/x\" does not exist"),
            (panic, "could not write"),
        ] {
            assert_eq!(
                end(&format!("{refused}{text}{refused}{stopped}")).as_deref(),
                Some(expected)
            );
        }
    }

    #[test]
    fn a_program_that_becomes_no_server_says_so_in_its_own_form() {
        let log = "t [7] LOG:  starting PostgreSQL 15\nt [7] HINT:  none\n";
        for (text, expected) in [
            ("", None),
            (log, None),
            (
                "postgres: invalid option -- 'z'\nTry \"postgres --help\" for more information.\n",
                Some("postgres: invalid option -- 'z'"),
            ),
            (
                "t [7] LOG:  1\n\tof it\n/usr/bin/postgres: error while loading shared libraries: libx.so\n",
                Some("/usr/bin/postgres: error while loading shared libraries: libx.so"),
            ),
            (
                "postgres: could not find the database system\nExpected to find it in the directory \"d\",\nbut could not open file \"f\": no\n",
                Some(
                    "postgres: could not find the database system Expected to find it in the directory \"d\", but could not open file \"f\": no",
                ),
            ),
            (
                "t [7] WARNING:  this is odd\nt [7] LOG:  1\n",
                Some("t [7] WARNING:  this is odd"),
            ),
            ("{\"message\":\"ready\"}\nt,LOG,00000,\"ready\",,\n", None),
        ] {
            assert_eq!(other(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_process_that_could_say_nothing_is_named_by_its_server() {
        let off = "t [60] LOG:  shutting down because restart_after_crash is off\nt [60] LOG:  database system is shut down\n";
        for words in [
            "server process (PID 77) was terminated by signal 9: Killed",
            "Serverprozess (PID 77) wurde von Signal 9 beendet: Killed",
            "サーバープロセス (PID 77)はシグナル9で終了しました: Killed",
        ] {
            let line = format!("2026-01-01 00:00:00 UTC [60] LOG:  {words}\n");
            assert_eq!(end(&format!("{line}{off}")).as_deref(), Some(words));
            // It recovered from that, and was ended later.
            for since in [
                "t [90] LOG:  Redo beginnt bei 0/3000148\n",
                "t [60] LOG:  database system is ready to accept read-only connections\n",
            ] {
                assert_eq!(end(&format!("{line}{since}{off}")), None, "{since}");
            }
            let csv = format!("t,,,60,,1,,1,,0,LOG,00000,\"{words}\",\"Failed process\",,\n");
            assert_eq!(end(&csv).as_deref(), Some(words));
            let json = format!("{{\"error_severity\":\"LOG\",\"message\":\"{words}\"}}\n");
            assert_eq!(end(&json).as_deref(), Some(words));
        }
        for other in [
            // As each stop says it up to PostgreSQL 15.
            "background worker \"logical replication launcher\" (PID 77) exited with exit code 1",
            "statement: select 'of a statement that goes on and on and on and on and on and on and on', '(PID 77) 9'",
            "process 77 still waits",
            "(PID x) 9",
        ] {
            assert_eq!(
                end(&format!("t [60] LOG:  {other}\n{off}")),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn only_what_came_after_the_mark_is_read_and_only_plain_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        std::fs::write(&file, "FATAL:  old\n").unwrap();
        assert_eq!(tail(&file, 12, None).unwrap(), "");
        assert_eq!(tail(&file, 0, None).unwrap(), "FATAL:  old\n");
        let later = now() + std::time::Duration::from_secs(60);
        assert_eq!(tail(&file, 0, Some(later)).unwrap(), "");
        assert!(tail(Path::new("/dev/null"), 0, None).is_err());
        assert!(tail(dir.path(), 0, None).is_err());
    }
}
