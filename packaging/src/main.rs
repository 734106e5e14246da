//! Writes what a package has besides the program: `packaging DIR` makes DIR/man, DIR/completions and DIR/links.
//!
//! All of it follows from the command line and the parameters themselves, so that none of it can say something else.
//! The Makefile puts the results where they belong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::CommandFactory as _;
use clap::Parser;
use clap_complete::Shell;

mod agent_page;
mod pages;

/// Write man pages, shell completions and the names of links for a package of expgsql
#[derive(Parser)]
struct Cli {
    /// Where to; made where it does not exist
    dir: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match write(&cli.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut command = Cli::command();
            eprintln!("{}", command.error(clap::error::ErrorKind::Io, error));
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    let command = expgsql::cli::command();
    for (name, text) in pages::all(&command)? {
        put(&dir.join("man").join(name), &text)?;
    }
    put(
        &dir.join("man").join(agent_page::FILE),
        &agent_page::render(),
    )?;
    let completions = [
        (Shell::Bash, format!("bash/{}", pages::PROGRAM)),
        (Shell::Zsh, format!("zsh/_{}", pages::PROGRAM)),
        (Shell::Fish, format!("fish/{}.fish", pages::PROGRAM)),
    ];
    for (shell, name) in completions {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), pages::PROGRAM, &mut text);
        put(&dir.join("completions").join(name), &text)?;
    }
    let links = expgsql::links::names().join("\n") + "\n";
    put(&dir.join("links"), links.as_bytes())
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("write {}: {error}", path.display()))
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(named)?;
    }
    fs::write(path, content).map_err(named)
}
