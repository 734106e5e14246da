//! The postmaster's processes, as /proc shows them: what is left to look at while no connection is taken.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::model::lsn::Lsn;

/// What a process of the server is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Replays WAL.
    Startup,
    Archiver,
    Checkpointer,
    /// `sent`: how far it has sent, where its title says that.
    WalSender {
        sent: Option<Lsn>,
    },
    Other,
}

/// A child of the postmaster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub pid: i32,
    pub role: Role,
    /// What its title says of it, with the role's name: `startup recovering 000000010000000000000003`.
    pub title: String,
}

impl Child {
    /// Whether it may be a logical WAL sender: those name no place that they have sent, unlike what streams to a standby, which does so
    /// from its first byte on. Without words, as with update_process_title=off, it is nothing that is known.
    #[must_use]
    pub fn may_be_logical(&self) -> bool {
        // "idle" up to PostgreSQL 13.
        let says = [" START_REPLICATION", " idle"];
        self.role == (Role::WalSender { sent: None })
            && says.iter().any(|words| self.title.ends_with(words))
    }

    /// Whether it is one of the server's own processes that are there until its shutdown checkpoint is written.
    #[must_use]
    pub fn stays_for_checkpoint(&self) -> bool {
        const NAMES: [&str; 5] = [
            "background writer",
            "walwriter",
            "logger",
            "stats collector",
            "io worker",
        ];
        let title = &self.title;
        let words = title.rsplit_once(": ").map_or(title.as_str(), |(_, w)| w);
        let is = |name: &&str| words.starts_with(*name);
        match self.role {
            Role::Other => NAMES.iter().any(is),
            Role::Startup | Role::Archiver | Role::Checkpointer | Role::WalSender { .. } => true,
        }
    }
}

/// Which processes there are, and whose children they are.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    children: BTreeMap<i32, Vec<i32>>,
}

/// So many of a postmaster's children are looked at for one that is begun early.
const EARLY: usize = 16;

/// Whether a child of this role, one of those that a postmaster begins first, has begun something itself: a few reads, whatever else runs on
/// the machine. `None`: nobody can tell, as where the kernel keeps no lists of children.
#[must_use]
pub fn is_busy(postmaster: i32, wanted: &Role) -> Option<bool> {
    let mut early = kernels_list(postmaster)?.into_iter().take(EARLY);
    let pid = early.find(|&pid| title(pid).is_some_and(|title| role(&title) == *wanted))?;
    kernels_list(pid).map(|children| !children.is_empty())
}

/// A process's children, the oldest first.
///
/// Source: proc(5), `/proc/PID/task/TID/children`, with `CONFIG_PROC_CHILDREN`.
fn kernels_list(pid: i32) -> Option<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace()
        .map(|pid| pid.parse().ok())
        .collect()
}

impl Processes {
    /// The processes of this moment.
    ///
    /// # Errors
    /// /proc could not be read. A process that ends meanwhile is no error.
    pub fn look() -> io::Result<Self> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if let Some(parent) = parent(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        Ok(Self { children })
    }

    /// The children of a postmaster. A title is the process's own word: nothing is signalled because of it.
    #[must_use]
    pub fn of(&self, postmaster: i32) -> Vec<Child> {
        let pids = self.children(postmaster).iter();
        pids.filter_map(|&pid| {
            let title = title(pid)?;
            Some(Child {
                pid,
                role: role(&title),
                title,
            })
        })
        .collect()
    }

    /// The processes that process `pid` has begun.
    #[must_use]
    pub fn children(&self, pid: i32) -> &[i32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// Every process below `pid`, parents first.
    #[must_use]
    pub fn below(&self, pid: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut parents = vec![pid];
        while let Some(parent) = parents.pop() {
            for &child in self.children(parent) {
                found.push(child);
                parents.push(child);
            }
        }
        found
    }

    /// How long a process and all below it have run on a CPU so far, as one number: as long as it stays the same, none of them has
    /// done anything. `None`: that can't be read.
    #[must_use]
    pub fn run_time(&self, pid: i32) -> Option<u64> {
        let mut sum = threads_run_time(pid)?;
        for &child in self.children(pid) {
            // What has ended since it was listed is a change, too.
            sum = sum.wrapping_add(self.run_time(child).unwrap_or(1));
        }
        Some(sum)
    }
}

/// The fields of /proc/PID/stat from the state on. The command's name may contain anything, so they begin after its last ')'.
fn stat(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.trim_start().to_owned())
}

/// The kernel's letter for what a process does: R, S, D, T.
#[must_use]
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.chars().next()
}

/// When a process was begun, as time since the machine started.
#[must_use]
pub fn started(pid: i32) -> Option<Duration> {
    // Field 22; the state is the third.
    let ticks: u64 = stat(pid)?.split(' ').nth(19)?.parse().ok()?;
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
    let a_second = u64::try_from(a_second).ok().filter(|&n| n > 0)?;
    Some(Duration::from_millis(ticks.saturating_mul(1000) / a_second))
}

/// Whether process `pid` is a session of `user` in `database` that this postmaster serves. Another server's may have the same number.
#[must_use]
pub fn is_session(postmaster: i32, pid: i32, user: &str, database: &str) -> bool {
    let is_child = parent(pid) == Some(postmaster);
    // Names in other characters may be in another encoding there.
    let is_plain = user.is_ascii() && database.is_ascii();
    let is_it = || title(pid).is_some_and(|title| activity(&title, user, database).is_some());
    is_child && (!is_plain || is_it())
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.split(' ').nth(1)?.parse().ok()
}

/// Nanoseconds of all threads; a kernel without these figures gives ticks of the whole process.
fn threads_run_time(pid: i32) -> Option<u64> {
    let mut sum = None;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ran = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        sum = ran.map_or(sum, |ran| Some(ran.wrapping_add(sum.unwrap_or_default())));
    }
    if sum.is_some() {
        return sum;
    }
    let stat = stat(pid)?;
    let mut fields = stat.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.wrapping_add(system))
}

/// The words that a process was begun with, or has put in their place.
#[must_use]
pub fn command_line(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn title(pid: i32) -> Option<String> {
    let text = command_line(pid)?;
    let text = text.trim_matches(['\0', ' ']);
    // Before it has set its title it has the postmaster's arguments.
    let text = text.strip_prefix("postgres: ").unwrap_or(text);
    Some(text.to_owned())
}

/// `walsender repl 10.0.0.3(53422) streaming 0/5000148`; behind `cluster_name: ` where that is set.
///
/// A session's title begins with its user, who may have such a name. But there is none while the server recovers, or after it
/// has written its shutdown checkpoint.
fn role(title: &str) -> Role {
    let words = title.rsplit_once(": ").map_or(title, |(_, words)| words);
    let is = |name: &str| {
        words
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    if is("startup") {
        return Role::Startup;
    }
    if is("checkpointer") {
        return Role::Checkpointer;
    }
    if is("archiver") {
        return Role::Archiver;
    }
    if is("walsender") {
        let sent = words
            .rsplit_once(" streaming ")
            .and_then(|(_, lsn)| lsn.trim().parse().ok());
        return Role::WalSender { sent };
    }
    Role::Other
}

/// A session's title: `USER DATABASE HOST WORDS`, behind `cluster_name: `. What it does, where it is one of `user` in `database`; no
/// words with update_process_title=off.
#[must_use]
pub fn activity<'a>(title: &'a str, user: &str, database: &str) -> Option<&'a str> {
    let own = format!("{user} {database} ");
    let at = title.find(&own)?;
    let is_whole = at == 0 || title[..at].ends_with(": ");
    let rest = &title[at + own.len()..];
    let words = rest.split_once(' ').map_or("", |(_host, words)| words);
    is_whole.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_user_and_database() {
        for (title, expected) in [
            (
                "postgres template1 [local] startup waiting",
                Some("startup waiting"),
            ),
            (
                "15/main: postgres template1 10.0.0.1(5000) authentication",
                Some("authentication"),
            ),
            ("postgres template1 [local] idle", Some("idle")),
            ("my postgres template1 [local] idle", None),
            ("postgres app [local] idle", None),
            ("postgres template1 [local]", Some("")),
            ("postgres template1", None),
            ("checkpointer", None),
        ] {
            assert_eq!(
                activity(title, "postgres", "template1"),
                expected,
                "{title}"
            );
        }
    }
    use crate::sys::{Deadline, poll_until};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn titles_tell_the_role() {
        let sent = |lsn: &str| Role::WalSender {
            sent: lsn.parse().ok(),
        };
        for (title, expected) in [
            ("startup recovering 000000010000000000000003", Role::Startup),
            // PostgreSQL 12
            (
                "startup   recovering 000000010000000000000003",
                Role::Startup,
            ),
            ("15/main: startup", Role::Startup),
            (
                "startup: archiver last was 00000001000000000000000A",
                Role::Archiver,
            ),
            ("archiver", Role::Archiver),
            (
                "archiver archiving 00000001000000000000000A",
                Role::Archiver,
            ),
            (
                "walsender repl 10.0.0.3(53422) streaming 0/5000148",
                sent("0/5000148"),
            ),
            ("x: walsender repl [local] idle", sent("")),
            ("walsender repl 10.0.0.3(53422) streaming 0/", sent("")),
            ("logger", Role::Other),
            ("io worker 2", Role::Other),
            ("checkpointer", Role::Checkpointer),
            (
                "x: checkpointer performing restartpoint",
                Role::Checkpointer,
            ),
            ("stats collector", Role::Other),
            ("background writer", Role::Other),
            ("archivers db [local] idle", Role::Other),
            (
                "/usr/lib/postgresql/15/bin/postgres\0-D\0/data",
                Role::Other,
            ),
            ("", Role::Other),
        ] {
            assert_eq!(role(title), expected, "{title:?}");
        }
    }

    #[test]
    fn a_subscribers_sender_is_known_by_naming_no_place() {
        for (title, is_logical, stays) in [
            ("walsender app [local] START_REPLICATION", true, true),
            ("x: walsender app 10.0.0.3(5) idle", true, true),
            (
                "walsender repl 10.0.0.3(5) streaming 0/5000148",
                false,
                true,
            ),
            ("walsender repl 10.0.0.3(5)", false, true),
            ("app app [local] START_REPLICATION", false, false),
            ("checkpointer", false, true),
            (
                "15/main: checkpointer performing shutdown checkpoint",
                false,
                true,
            ),
            ("logger", false, true),
            ("archiver", false, true),
            ("app app [local] idle", false, false),
        ] {
            let child = Child {
                pid: 7,
                role: role(title),
                title: title.to_owned(),
            };
            assert_eq!(child.may_be_logical(), is_logical, "{title}");
            assert_eq!(child.stays_for_checkpoint(), stays, "{title}");
        }
    }

    #[test]
    fn a_process_that_waits_has_run_no_longer_and_what_its_children_do_counts() {
        // A shell that waits for one that works for as long as nothing is written to it, and then waits, too.
        let script =
            "sh -c 'while [ ! -e stop ]; do :; done; touch stopped; exec sleep 1000' & wait";
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .arg0("postgres: archiver archiving 00000001000000000000000A")
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let limit = || Deadline::after(Duration::from_secs(20));
        let every = Duration::from_millis(20);
        let run_time = || Processes::look().unwrap().run_time(pid).unwrap();
        poll_until(limit(), every, || {
            Processes::look()
                .unwrap()
                .of(own)
                .into_iter()
                .find(|child| child.pid == pid && child.role == Role::Archiver)
        })
        .expect("it is listed as the archiver");
        let before = run_time();
        poll_until(limit(), every, || (run_time() != before).then_some(())).expect("it works");
        fs::write(dir.path().join("stop"), "").unwrap();
        poll_until(limit(), every, || {
            dir.path().join("stopped").exists().then_some(())
        })
        .unwrap();
        let mut last = run_time();
        poll_until(limit(), Duration::from_millis(200), || {
            let now = run_time();
            (std::mem::replace(&mut last, now) == now).then_some(())
        })
        .expect("it waits");
        nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_has_no_run_time() {
        assert_eq!(Processes::default().run_time(i32::MAX), None);
    }
}
