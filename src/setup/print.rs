//! What goes to standard output.

use std::io::{self, Write as _};

use crate::cluster::Failure;

pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        // The reader has seen enough, as in `… | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::plain(format!(
            "standard output can't be written to: {error}"
        ))),
        Ok(()) => Ok(()),
    }
}
