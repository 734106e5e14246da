//! The executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A link named distlock has a connection string for its first argument, which is no name for a log.
    let program = std::env::args_os().next();
    let action = if expgsql::cli::is_distlock(program.as_ref()) {
        "distlock".to_owned()
    } else {
        std::env::args().nth(1).unwrap_or_default()
    };
    expgsql::log::init(&action);
    expgsql::run::run(std::env::args_os(), std::env::vars_os()).into()
}
