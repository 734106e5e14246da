//! Lock and unlock by the operator's commands: pha4pgsql's way, kept.
//!
//! The commands often hold a password: no error and no log repeats them.

use crate::params::Secret;
use crate::sys::{Command, Deadline, Output, RunError};

use super::error::LockError;

/// What a command may leave out and the agent fills in.
const OWNER: &str = "@owner";

/// The two commands, each a line for `sh`.
#[derive(Clone, Debug)]
pub struct Commands {
    pub lock: Secret,
    pub unlock: Secret,
}

impl Commands {
    /// Takes or renews the lock. False: another has it.
    ///
    /// # Errors
    /// [`LockError::Unreachable`] for everything but exit code 0 and an answer of `1` or `0`: what is behind the
    /// command is not known here.
    pub fn lock(&self, owner: &str, deadline: Deadline) -> Result<bool, LockError> {
        let output = shell(script(&self.lock, owner)).output(deadline);
        answer("distlock_lock_cmd", output)
    }

    /// Gives the lock back. False: it was not the owner's.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub fn unlock(&self, owner: &str, deadline: Deadline) -> Result<bool, LockError> {
        let output = shell(script(&self.unlock, owner)).output(deadline);
        answer("distlock_unlock_cmd", output)
    }

    /// The lock command with the owner in it, for the standard input of a shell elsewhere.
    pub(super) fn lock_script(&self, owner: &str) -> Vec<u8> {
        script(&self.lock, owner)
    }
}

/// The command has no input of its own: the shell's is the rest of the script.
fn script(command: &Secret, owner: &str) -> Vec<u8> {
    let line = command.reveal().replace(OWNER, owner);
    format!("{{ {line}\n}} </dev/null\n").into_bytes()
}

/// By standard input: an argument list could be read by everybody on this machine.
fn shell(script: Vec<u8>) -> Command {
    Command::new("/bin/sh").arg("-s").stdin(script)
}

/// What a command's end means.
pub(super) fn answer(name: &str, output: Result<Output, RunError>) -> Result<bool, LockError> {
    let output = match output {
        Ok(output) => output,
        Err(RunError::TimedOut { after, .. }) => {
            return Err(LockError::Unreachable(format!(
                "{name} did not finish within {after:.1?} and was killed"
            )));
        }
        Err(error) => {
            return Err(LockError::Unreachable(format!(
                "{name} could not be run: {error}"
            )));
        }
    };
    let said = output.stdout_text();
    match (output.status.success(), said.trim()) {
        (true, "1") => Ok(true),
        (true, "0") => Ok(false),
        // What it said may be the command itself, with the password: a shell's "not found" is.
        (true, _) => Err(LockError::Unreachable(format!(
            "{name} printed neither 1 nor 0; run it by hand"
        ))),
        (false, _) => Err(LockError::Unreachable(format!(
            "{name} failed ({}); run it by hand",
            output.status
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn commands(lock: &str) -> Commands {
        Commands {
            lock: Secret::new(lock),
            unlock: Secret::new("echo 0"),
        }
    }

    #[test]
    fn one_and_zero_are_answers_and_the_rest_is_an_error_without_the_command() {
        let soon = || Deadline::after(Duration::from_secs(20));
        for (line, expected) in [
            ("echo 1", Some(true)),
            ("echo ' 0 '", Some(false)),
            ("test @owner = pgsql_node1 && echo 1", Some(true)),
            ("x=${HOME#zq7x}; echo 1; exit 3", None),
            ("echo yes", None),
            (":", None),
            ("zq7x-no-such-program", None),
            ("kill -9 $$", None),
            ("echo 1 # a comment", Some(true)),
            ("cat; echo 1", Some(true)),
            ("echo '1", None),
        ] {
            let found = commands(line).lock("pgsql_node1", soon());
            assert_eq!(found.as_ref().ok().copied(), expected, "{line}: {found:?}");
            assert!(!format!("{found:?}").contains("zq7x"), "{found:?}");
        }
        assert_eq!(commands("").unlock("x", soon()), Ok(false));
    }

    #[test]
    fn a_hung_command_ends_by_its_deadline() {
        let deadline = Deadline::after(Duration::from_millis(200));
        let found = commands("sleep 600").lock("x", deadline).unwrap_err();
        assert!(
            found.is_unreachable() && found.to_string().contains("killed"),
            "{found}"
        );
    }
}
