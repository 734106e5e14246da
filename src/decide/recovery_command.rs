//! The operator's commands that PostgreSQL's startup process runs and waits for. What an archive does must cost the archive, and neither a
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
        let mut all = [Self::RestoreCommand, Self::RecoveryEndCommand].into_iter();
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
/// has, and what is done at the end of a recovery is the operator's: both get that half.
#[must_use]
pub fn allowed(command: Command, promise: Promise, half: Duration) -> Duration {
    match (command, promise) {
        (Command::RestoreCommand, Promise::Sync) => half.min(SYNC),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_command_is_known_and_the_command_itself_is_not() {
        for command in [Command::RestoreCommand, Command::RecoveryEndCommand] {
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
