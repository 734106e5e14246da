//! The executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    expgsql::run::run(std::env::args_os(), std::env::vars_os())
}
