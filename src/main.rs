//! The executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    let action = std::env::args().nth(1).unwrap_or_default();
    expgsql::log::init(&action);
    expgsql::run::run(std::env::args_os(), std::env::vars_os()).into()
}
