//! config.ini: read whole, and refused whole. Nothing is done with half of it.

mod ini;
mod keys;
mod params;
mod problem;
mod reader;
mod secrets;
mod site;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub(crate) use keys::PARAM_PREFIX;
pub(crate) use problem::Problem;
pub(crate) use reader::{MOST_READERS, boolean};
pub(crate) use secrets::{PassLine, conninfo, has_password};
pub use site::Shape;
pub(crate) use site::{DeepMonitor, Site, Template, Tuning};

use crate::cluster::{Exit, Failure};
use crate::sys::trusted_file::{self, Directories, TrustError};

/// What is looked for where `--config` names nothing: in the directory one is in, as the older scripts did, else here.
const NAME: &str = "config.ini";
const USUAL: &str = "/etc/expgsql/config.ini";

/// Keys and their values, as they stand there.
pub(crate) type Given = Vec<(String, String)>;

/// config.ini, read.
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) site: Site,
    /// Every value as it stands there, for templates of the operator's own.
    pub(crate) values: Given,
}

impl Config {
    /// Reads the file that is named, or the usual one, and says which. It says what root runs on every node, so that nobody
    /// else may have written it.
    ///
    /// # Errors
    /// [`Exit::Usage`] with each thing that is wrong with it, one a line.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            // A link that leads nowhere, too, is something that somebody has put there.
            None if Path::new(NAME).symlink_metadata().is_ok() => PathBuf::from(NAME),
            None => PathBuf::from(USUAL),
        };
        let bad = |what: String| Failure::new(Exit::Usage, what);
        let directories = match named {
            Some(_) => Directories::Named,
            None => Directories::Trusted,
        };
        let file = trusted_file::read(&path, directories).map_err(|error| {
            let is_found = named.is_some() || !matches!(error, TrustError::Unreadable { .. });
            let hint = if is_found {
                String::new()
            } else {
                format!("; there is no {NAME} here either: name it with --config")
            };
            bad(format!("{error}{hint}"))
        })?;
        // Not to standard output, which may be for another program.
        let _ = writeln!(io::stderr(), "using {}", file.path.display());
        let text = String::from_utf8(file.content).map_err(|_| {
            bad(format!(
                "{} is not UTF-8 text; save it as such",
                path.display()
            ))
        })?;
        let (site, values) = read(&text).map_err(|problems| {
            let lines: Vec<String> = problems
                .iter()
                .map(|p| p.shown(&path).to_string())
                .collect();
            bad(lines.join("\n"))
        })?;
        if site.passwords.in_file && file.mode & 0o077 != 0 {
            return Err(bad(format!(
                "{0} has a password in it and may be read by others (mode {1:03o}): chmod 600 {0}",
                path.display(),
                file.mode & 0o777
            )));
        }
        Ok(Self { path, site, values })
    }
}

/// Understands the text of a config.ini.
///
/// # Errors
/// Everything that is wrong with it, in the order of the lines.
pub(crate) fn read(text: &str) -> Result<(Site, Given), Vec<Problem>> {
    let (entries, mut problems) = ini::parse(text);
    let site = Site::of(&entries, &mut problems);
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    match site {
        Some(site) if problems.is_empty() => {
            let values = entries.into_iter().map(|e| (e.key, e.value)).collect();
            Ok((site, values))
        }
        Some(_) | None => Err(problems),
    }
}
