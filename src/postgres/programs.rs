//! The server's own programs, run as the instance's owner.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::sys::{Command, Owner};

/// Where they are, and as whom they run.
#[derive(Clone, Debug)]
pub struct Programs {
    pgctl: PathBuf,
    libraries: OsString,
    owner: Owner,
}

impl Programs {
    /// `libraries` is appended to LD_LIBRARY_PATH, which a server outside the system's directories
    /// may need to run at all.
    #[must_use]
    pub fn new(pgctl: &Path, libraries: &Path, owner: &Owner) -> Self {
        let mut path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        if !path.is_empty() {
            path.push(":");
        }
        path.push(libraries);
        Self {
            pgctl: pgctl.to_owned(),
            libraries: path,
            owner: owner.clone(),
        }
    }

    /// pg_ctl, as the operator named it. In the machine's language, because the server takes its
    /// environment over.
    #[must_use]
    pub fn pg_ctl(&self) -> Command {
        self.command(&self.pgctl)
    }

    /// Another program of the same server. pg_ctl may be a link out of their directory.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        let real = self.pgctl.canonicalize();
        let pgctl = real.as_deref().unwrap_or(&self.pgctl);
        // What it prints is read: not in the language of the machine.
        self.command(&pgctl.with_file_name(name)).env("LC_ALL", "C")
    }

    /// As whom they run.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// A program that the operator named, psql say; what it prints is read.
    #[must_use]
    pub fn named(&self, program: &Path) -> Command {
        self.command(program).env("LC_ALL", "C")
    }

    fn command(&self, program: &Path) -> Command {
        let command = Command::new(program).as_owner(&self.owner);
        command.env("LD_LIBRARY_PATH", &self.libraries)
    }
}
