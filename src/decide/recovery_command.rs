//! The operator's commands that PostgreSQL's startup process, and on a standby its checkpointer, run and wait for. What an archive does must cost the archive, and neither a
//! standby nor a promotion.

use std::time::Duration;

use crate::decide::eligibility::Promise;

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Command {
    /// Asked for each WAL file and each timeline's history that is looked for.
    RestoreCommand,
    /// Run once, when a promotion is about to be done.
    RecoveryEndCommand,
    /// Run by the checkpointer of a standby after each restartpoint. It makes no other one, and shuts nothing down, before that has ended.
    ArchiveCleanupCommand,
}

impl Command {
    /// The operator's command as PostgreSQL gets it.
    ///
    /// An exit code above 125, or a death by a signal, ends PostgreSQL's startup process, and with it the server; death by SIGTERM is taken for
    /// a shutdown. So a shell that does nothing else stands between the two, and passes on what is a failure of the command alone. A
    /// shutdown's own SIGTERM goes to the whole group of processes, and so to this shell as well.
    ///
    /// PostgreSQL puts its file names in place of `%f` and `%p` afterwards: they have no quotes in them. Sources: the manual on
    /// `restore_command`; PostgreSQL, `xlogarchive.c`, `shell_restore.c`.
    #[must_use]
    pub fn guarded(self, command: &str) -> String {
        let command = shell_words::quote(command);
        format!(
            "{}/bin/sh -c {command} || exit $(($? > 125 ? 1 : $?))",
            self.mark()
        )
    }

    /// Which one a process runs, where it is the shell of [`Command::guarded`].
    #[must_use]
    pub fn of(command_line: &str) -> Option<Self> {
        let all = [
            Self::RestoreCommand,
            Self::RecoveryEndCommand,
            Self::ArchiveCleanupCommand,
        ];
        let mut all = all.into_iter();
        all.find(|one| command_line.contains(&one.mark()))
    }

    fn mark(self) -> String {
        format!(": expgsql {self}; ")
    }
}

/// What a command gets that is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    Term,
    Kill,
}

/// How long a command may answer neither a file nor a no, where a synchronous standby is promoted: it has all that it needs.
const SYNC: Duration = Duration::from_secs(3);

/// How long it may take to end after it was told to.
const DYING: Duration = Duration::from_secs(1);

/// How long a promotion waits for a command, where half of its time is `half`. In async mode the archive may have commits that no standby
/// has, and what is done at the end of a recovery is the operator's: both get that half. What is left in an archive costs nothing but room.
#[must_use]
pub fn allowed(command: Command, promise: Promise, half: Duration) -> Duration {
    match (command, promise) {
        (Command::RestoreCommand, Promise::Sync) | (Command::ArchiveCleanupCommand, _) => {
            half.min(SYNC)
        }
        (Command::RestoreCommand, Promise::Async) | (Command::RecoveryEndCommand, _) => half,
    }
}

/// What a command gets that has run for so long.
#[must_use]
pub fn blow(ran: Duration, allowed: Duration) -> Option<Blow> {
    if ran < allowed {
        return None;
    }
    Some(if ran < allowed.saturating_add(DYING) {
        Blow::Term
    } else {
        Blow::Kill
    })
}

/// A command that has not run on a CPU for so long waits for something that does not come.
const IDLE: Duration = Duration::from_millis(1500);

/// What a shutdown gives a command that does something.
const BUSY: Duration = Duration::from_secs(10);

/// What a command of the checkpointer's gets that a shutdown has waited for so long (`held`), and that has done nothing for so long.
/// PostgreSQL's checkpointer ignores SIGTERM, and so does what it begins, as a rule: that takes SIGKILL.
#[must_use]
pub fn blow_in_shutdown(held: Duration, idle: Duration) -> Option<Blow> {
    let by_both = [blow(idle, IDLE), blow(held, BUSY)];
    if by_both.contains(&Some(Blow::Kill)) {
        return Some(Blow::Kill);
    }
    by_both.into_iter().flatten().next()
}

/// After so long a command that cleans up an archive is told.
const LONG: Duration = Duration::from_secs(30);

/// Whether a standby that goes on is to be looked at, as its checkpointer has waited for this command for so long.
#[must_use]
pub fn runs_long(command: Command, ran: Duration) -> bool {
    command == Command::ArchiveCleanupCommand && ran >= LONG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_waits_for_a_cleanup_only_while_that_does_something() {
        let ms = Duration::from_millis;
        for (held, idle, expected) in [
            (0, 0, None),
            (1_400, 1_400, None),
            (1_500, 1_500, Some(Blow::Term)),
            (2_600, 2_600, Some(Blow::Kill)),
            (9_900, 100, None),
            (10_000, 100, Some(Blow::Term)),
            (11_000, 100, Some(Blow::Kill)),
        ] {
            let got = blow_in_shutdown(ms(held), ms(idle));
            assert_eq!(got, expected, "{held} {idle}");
        }
        for (command, ran, expected) in [
            (Command::ArchiveCleanupCommand, LONG, true),
            (Command::ArchiveCleanupCommand, LONG - ms(1), false),
            (Command::RestoreCommand, LONG * 9, false),
        ] {
            assert_eq!(runs_long(command, ran), expected, "{command} {ran:?}");
        }
    }

    #[test]
    fn a_guarded_command_is_known_and_the_command_itself_is_not() {
        for command in [
            Command::RestoreCommand,
            Command::RecoveryEndCommand,
            Command::ArchiveCleanupCommand,
        ] {
            let text = command.guarded("cp '/a b/%f' \"%p\" # as ever");
            assert!(text.contains("%f") && text.contains("%p"), "{text}");
            assert_eq!(Command::of(&format!("sh\0-c\0{text}")), Some(command));
        }
        for other in ["sh\0-c\0cp /archive/%f %p", "postgres: startup", ""] {
            assert_eq!(Command::of(other), None, "{other}");
        }
    }

    #[test]
    fn a_command_gets_its_time_and_then_the_signals() {
        let s = Duration::from_secs;
        for (command, promise, half, expected) in [
            (Command::RestoreCommand, Promise::Sync, s(30), s(3)),
            (Command::RestoreCommand, Promise::Sync, s(2), s(2)),
            (Command::RestoreCommand, Promise::Async, s(30), s(30)),
            (Command::RecoveryEndCommand, Promise::Sync, s(30), s(30)),
            (Command::RecoveryEndCommand, Promise::Async, s(30), s(30)),
            (Command::ArchiveCleanupCommand, Promise::Async, s(30), s(3)),
        ] {
            assert_eq!(allowed(command, promise, half), expected, "{command}");
        }
        for (ran, allowed, expected) in [
            (0, 0, Some(Blow::Term)),
            (1, 0, Some(Blow::Kill)),
            (2, 3, None),
            (3, 3, Some(Blow::Term)),
            (4, 3, Some(Blow::Kill)),
        ] {
            assert_eq!(blow(s(ran), s(allowed)), expected, "{ran} {allowed}");
        }
    }
}
