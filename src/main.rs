//! The executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    expgsql::log::init();
    expgsql::run::run(std::env::args_os(), std::env::vars_os()).into()
}
