//! Ends a command that PostgreSQL's startup process, or its checkpointer, waits for, so that this goes on without what it asked for.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::decide::recovery_command::{Blow, Command};
use crate::postgres::children::{self, Processes};
use crate::sys::{Sent, boot_clock, signal_if};

/// Signals what a guarded command below process `parent` has begun, as `decide` says by how long it has run, and tells which commands that
/// were. The guard itself gets nothing: it tells PostgreSQL that the command has failed. Only what runs as `account` gets a signal.
///
/// # Errors
/// /proc could not be read, or a signal not be sent.
pub fn end(
    processes: &Processes,
    parent: i32,
    account: Uid,
    decide: impl Fn(Command, Duration) -> Option<Blow>,
) -> io::Result<Vec<Command>> {
    let mut ended = Vec::new();
    for Guard { pid, command, ran } in guards(processes, parent)? {
        let signal = match decide(command, ran) {
            None => continue,
            Some(Blow::Term) => Signal::SIGTERM,
            Some(Blow::Kill) => Signal::SIGKILL,
        };
        let below = processes.below(pid).into_iter();
        let below: Vec<_> = below.map(|pid| (pid, children::started(pid))).collect();
        let mut is_sent = false;
        // Parents first: a shell whose program was ended would go on, and might end well. Whose parent is gone is nobody's child any
        // more, so when it was begun tells which process it is.
        for (pid, since) in below {
            let sent = signal_if(pid, signal, |process| {
                Ok(process.runs_as(account)? && since.is_some() && children::started(pid) == since)
            })?;
            is_sent |= sent == Sent::Sent;
        }
        if is_sent {
            ended.push(command);
        }
    }
    Ok(ended)
}

/// A guarded command that runs.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    pub pid: i32,
    pub command: Command,
    /// Since it was begun.
    pub ran: Duration,
}

/// The guarded commands that process `parent` has begun.
///
/// # Errors
/// There is no clock of the boot.
pub fn guards(processes: &Processes, parent: i32) -> io::Result<Vec<Guard>> {
    let now = boot_clock()?.since_boot();
    let guards = processes.children(parent).iter().filter_map(|&pid| {
        let line = children::command_line(pid)?;
        Some(Guard {
            pid,
            command: Command::of(&line)?,
            ran: now.saturating_sub(children::started(pid)?),
        })
    });
    Ok(guards.collect())
}

#[cfg(test)]
mod tests {
    use std::process::{self, Child, Stdio};

    use crate::sys::{Deadline, poll_until};

    use super::*;

    const MARK: &str = "expgsql-test-recovery-command";

    /// As PostgreSQL runs it, with this process for its startup process.
    fn run(text: &str) -> Child {
        let mut shell = process::Command::new("sh");
        shell.arg("-c").arg(text).arg(MARK);
        shell.stdin(Stdio::piped()).spawn().unwrap()
    }

    fn number(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn wait_for(what: &str, mut seen: impl FnMut() -> bool) {
        let limit = Deadline::after(Duration::from_secs(20));
        let poll = Duration::from_millis(5);
        poll_until(limit, poll, || seen().then_some(())).expect(what);
    }

    /// Waits until so many processes are below the shell.
    fn has_below(shell: &Child, processes: usize) {
        wait_for("its processes are there", || {
            Processes::look().unwrap().below(number(shell)).len() == processes
        });
    }

    fn me() -> i32 {
        i32::try_from(process::id()).unwrap()
    }

    fn end_that(shell: &Child, blow: Blow) -> Vec<Command> {
        // Other tests have children of this process as well.
        let line = children::command_line(number(shell)).unwrap();
        let own = Command::of(&line);
        let processes = Processes::look().unwrap();
        let decide = |command, _| (Some(command) == own).then_some(blow);
        end(&processes, me(), Uid::current(), decide).unwrap()
    }

    #[test]
    fn a_guarded_command_fails_as_a_file_that_is_not_there() {
        for (text, expected) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("exit 125", 125),
            ("exit 126", 1),
            ("exit 255", 1),
            ("kill -KILL $$", 1),
            ("kill -TERM $$", 1),
            ("/no/such/program", 1),
            ("this is (no shell's", 2),
            ("false # and a remark", 1),
            ("test \"it's\" = 'it'\\''s'", 0),
        ] {
            let text = Command::RestoreCommand.guarded(text);
            let status = run(&text).wait().unwrap();
            assert_eq!(status.code(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_has_begun() {
        let deaf = "trap '' TERM; cat; cat";
        for (text, processes, blow) in [
            ("cat; true", 2, Blow::Term),
            ("sh -c 'cat; true' | cat; true", 4, Blow::Term),
            (deaf, 2, Blow::Kill),
        ] {
            let mut shell = run(&Command::RecoveryEndCommand.guarded(text));
            has_below(&shell, processes);
            let below = Processes::look().unwrap().below(number(&shell));
            let ended = end_that(&shell, blow);
            assert_eq!(ended, [Command::RecoveryEndCommand], "{text}");
            assert_eq!(shell.wait().unwrap().code(), Some(1), "{text}");
            wait_for("all of it is gone", || {
                let mut pids = below.iter().copied();
                pids.all(|pid| children::state(pid).is_none_or(|state| state == 'Z'))
            });
        }
    }

    #[test]
    fn nothing_else_is_signalled() {
        let mut other = run("cat; exit 7");
        let mut early = run(&Command::RestoreCommand.guarded("cat; exit 8"));
        has_below(&other, 1);
        has_below(&early, 2);
        let processes = Processes::look().unwrap();
        let ended = end(&processes, me(), Uid::current(), |_, _| None);
        assert_eq!(ended.unwrap(), []);
        // Another account's.
        let stranger = Uid::from_raw(Uid::current().as_raw() + 1);
        let blow = |command, _| (command == Command::RestoreCommand).then_some(Blow::Kill);
        assert_eq!(end(&processes, me(), stranger, blow).unwrap(), []);
        // Both wait for the end of their input.
        drop((other.stdin.take(), early.stdin.take()));
        assert_eq!(other.wait().unwrap().code(), Some(7));
        assert_eq!(early.wait().unwrap().code(), Some(8));
    }
}
