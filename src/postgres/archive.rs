//! The command by which a standby takes WAL from an archive.

/// Ends ssh, scp and rsync where the other machine does not answer.
const NO_CONNECTION: u8 = 255;

/// `command` for a server that stays a standby while the archive's machine is away.
///
/// PostgreSQL takes an exit code above 125 for a command that was broken off, and ends the whole server (the manual says so for
/// signals). scp has 255 for a machine that is down: the standby would end in the moment in which it is to be promoted. As
/// any other failure, this one means that the file is not to be had now; a standby asks again.
#[must_use]
pub fn patient(command: &str) -> String {
    // A line of its own: the command may end in a comment.
    format!("(\n{command}\n); code=$?; [ $code -ne {NO_CONNECTION} ] || code=1; exit $code")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn code(command: &str) -> Option<i32> {
        let mut shell = Command::new("/bin/sh");
        let status = shell.arg("-c").arg(patient(command)).status();
        status.unwrap().code()
    }

    #[test]
    fn only_a_machine_that_is_away_is_told_as_a_file_that_is_missing() {
        for (command, expected) in [
            ("true", 0),
            ("false", 1),
            ("exit 7", 7),
            ("exit 255", 1),
            ("exec sh -c 'exit 255'", 1),
            ("exit 255 # from the other node", 1),
            ("false; exit 255", 1),
            ("false || true", 0),
            ("true && exit 3", 3),
            // Who stops the server ends its command as well, and a command that is not there stays fatal.
            ("sh -c 'kill -TERM $$'", 143),
            ("/no/such/command 2>/dev/null", 127),
            ("x='a)b'; test \"$x\" = 'a)b'", 0),
        ] {
            assert_eq!(code(command), Some(expected), "{command}");
        }
    }
}
