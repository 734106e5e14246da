//! The question before anything that is dangerous.

use std::io::{self, IsTerminal as _, Write as _};

use super::Failure;

/// Asks whether to go on.
///
/// # Errors
/// [`Failure`]: the answer is no, or there is nobody to ask.
pub(crate) fn agree() -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::plain(
            "nothing was done: there is no terminal to ask on whether to go on; --yes goes on without asking",
        ));
    }
    let asked = write!(io::stderr(), "Go on? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
    let is_yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if read.is_ok() && is_yes {
        Ok(())
    } else {
        Err(Failure::plain("nothing was done"))
    }
}
