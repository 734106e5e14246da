//! Who starts the server besides Pacemaker: systemd, where a package or an administrator has enabled a unit for it. Read from
//! files alone, so that it is known where systemd does not run, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::postgres::reading;

/// Where systemd looks for units, the first that has one counts.
const UNITS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The unit of Debian's packages: it starts every cluster whose `start.conf` says so.
const DEBIAN_S: &str = "postgresql.service";

/// What starts the server at boot, and how that is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Starter {
    pub(super) who: String,
    pub(super) fix: String,
}

/// What starts the server of this data directory when the machine boots. `root`: `/`.
pub(super) fn starters(root: &Path, pgdata: &Path) -> Vec<Starter> {
    let is_ours = |dir: &Path| same(dir, pgdata);
    let clusters: Vec<Cluster> = clusters(root)
        .into_iter()
        .filter(|cluster| cluster.data.as_deref().is_some_and(is_ours))
        .collect();
    let mut found = Vec::new();
    for unit in enabled(root) {
        let file = UNITS
            .iter()
            .map(|dir| root.join(dir).join(&unit))
            .find(|path| path.exists() || path.is_symlink());
        let is_masked = file.as_deref().and_then(|path| fs::read_link(path).ok());
        if is_masked.is_some_and(|to| to == Path::new("/dev/null")) {
            continue;
        }
        for cluster in &clusters {
            if unit == DEBIAN_S && cluster.is_automatic {
                let start = cluster.config.join("start.conf");
                let start = start.strip_prefix(root).unwrap_or(&start);
                found.push(Starter {
                    who: format!("{unit} (/{} says auto)", start.display()),
                    fix: format!("echo manual >/{}; systemctl daemon-reload", start.display()),
                });
            }
            if unit == format!("postgresql@{}.service", cluster.name) {
                found.push(disable(&unit));
            }
        }
        if data_of(root, &unit, file.as_deref()).is_some_and(|dir| is_ours(&dir)) {
            found.push(disable(&unit));
        }
    }
    found
}

fn disable(unit: &str) -> Starter {
    Starter {
        who: unit.to_owned(),
        fix: format!("systemctl disable {unit}"),
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

/// Some of these belong to the server's owner, who could have put a pipe there.
fn text(path: &Path) -> String {
    reading::read(path).unwrap_or_default()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Units that another one wants or requires.
fn enabled(root: &Path) -> BTreeSet<String> {
    let dir = root.join(UNITS[0]);
    let is_list = |name: &String| name.ends_with(".wants") || name.ends_with(".requires");
    let lists = names(&dir).into_iter().filter(is_list);
    lists.flat_map(|list| names(&dir.join(list))).collect()
}

/// A database cluster of Debian's packages.
struct Cluster {
    /// As in the instance of its unit, `15-main`.
    name: String,
    config: PathBuf,
    data: Option<PathBuf>,
    /// The first word of `start.conf`; without one it is.
    is_automatic: bool,
}

fn clusters(root: &Path) -> Vec<Cluster> {
    let all = root.join("etc/postgresql");
    let mut found = Vec::new();
    for version in names(&all) {
        for name in names(&all.join(&version)) {
            let config = all.join(&version).join(&name);
            let settings = text(&config.join("postgresql.conf"));
            let start = text(&config.join("start.conf"));
            let word = start.lines().map(bare).find(|line| !line.is_empty());
            found.push(Cluster {
                name: format!("{version}-{name}"),
                data: data_directory(&settings),
                is_automatic: word.unwrap_or("auto") == "auto",
                config,
            });
        }
    }
    found
}

/// A line without its comment.
fn bare(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// What postgresql.conf says; the last one counts.
fn data_directory(text: &str) -> Option<PathBuf> {
    let mut values = text.lines().map(bare).filter_map(|line| {
        let rest = line.strip_prefix("data_directory")?.trim_start();
        let value = rest.strip_prefix('=').unwrap_or(rest).trim();
        Some(PathBuf::from(value.trim_matches('\'')))
    });
    values.next_back()
}

/// `PGDATA` in a unit and in what is dropped in beside it; the last one counts.
fn data_of(root: &Path, unit: &str, file: Option<&Path>) -> Option<PathBuf> {
    let mut texts = vec![text(file?)];
    for dir in UNITS.iter().rev() {
        let dir = root.join(dir).join(format!("{unit}.d"));
        let mut more = names(&dir);
        more.sort();
        let more = more.into_iter().filter(|name| name.ends_with(".conf"));
        texts.extend(more.map(|name| text(&dir.join(name))));
    }
    let lines = texts.iter().flat_map(|text| text.lines());
    let mut values = lines.filter_map(|line| {
        let assignments = line.trim().strip_prefix("Environment=")?;
        let mut words = assignments
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '\'']));
        words
            .rfind(|word| word.starts_with("PGDATA="))?
            .strip_prefix("PGDATA=")
    });
    values.next_back().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's files, below a root of their own.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn has(self, path: &str, text: &str) -> Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn enables(self, unit: &str) -> Self {
            let path = format!("etc/systemd/system/multi-user.target.wants/{unit}");
            self.has(&path, "")
        }

        fn starts(&self, pgdata: &str) -> Vec<(String, String)> {
            let found = starters(self.0.path(), Path::new(pgdata));
            found.into_iter().map(|it| (it.who, it.fix)).collect()
        }
    }

    fn debian(start: Option<&str>) -> Machine {
        let machine = Machine::new().enables(DEBIAN_S).has(
            "etc/postgresql/15/main/postgresql.conf",
            "# data_directory = '/no'\ndata_directory = '/var/lib/postgresql/15/main'  # use data in another directory\n",
        );
        match start {
            Some(text) => machine.has("etc/postgresql/15/main/start.conf", text),
            None => machine,
        }
    }

    #[test]
    fn a_cluster_of_debian_s_is_started_where_its_start_conf_says_so() {
        const DATA: &str = "/var/lib/postgresql/15/main";
        let who = "postgresql.service (/etc/postgresql/15/main/start.conf says auto)";
        let fix = "echo manual >/etc/postgresql/15/main/start.conf; systemctl daemon-reload";
        let told = vec![(who.to_owned(), fix.to_owned())];
        assert_eq!(
            debian(Some("# Automatic startup\nauto\n")).starts(DATA),
            told
        );
        assert_eq!(debian(None).starts(DATA), told);
        for not in ["manual\n", "disabled  # by us\n"] {
            assert_eq!(debian(Some(not)).starts(DATA), [], "{not}");
        }
        // Another server's is another matter.
        assert_eq!(debian(Some("auto")).starts("/srv/pg"), []);
        // An instance that was enabled by itself.
        let one = debian(Some("manual")).enables("postgresql@15-main.service");
        let unit = "postgresql@15-main.service";
        assert_eq!(
            one.starts(DATA),
            [(unit.to_owned(), format!("systemctl disable {unit}"))]
        );
    }

    #[test]
    fn a_unit_that_is_not_enabled_starts_nothing() {
        let machine = Machine::new().has(
            "etc/postgresql/15/main/postgresql.conf",
            "data_directory = '/d'",
        );
        assert_eq!(machine.starts("/d"), []);
    }

    #[test]
    fn a_unit_says_by_its_environment_which_server_it_starts() {
        let unit = "postgresql-16.service";
        let told = [(unit.to_owned(), format!("systemctl disable {unit}"))];
        let machine = || {
            Machine::new().enables(unit).has(
                "usr/lib/systemd/system/postgresql-16.service",
                "[Service]\nType=notify\nEnvironment=PGDATA=/var/lib/pgsql/16/data/\n",
            )
        };
        assert_eq!(machine().starts("/var/lib/pgsql/16/data"), told);
        assert_eq!(machine().starts("/var/lib/pgsql/data"), []);
        // An administrator's own directory.
        let moved = machine().has(
            "etc/systemd/system/postgresql-16.service.d/data.conf",
            "[Service]\nEnvironment=\"LANG=C\" \"PGDATA=/srv/pg\"\n",
        );
        assert_eq!(moved.starts("/srv/pg"), told);
        assert_eq!(moved.starts("/var/lib/pgsql/16/data"), []);
        // Masked: it can't be started.
        let masked = machine();
        let mask = masked
            .0
            .path()
            .join("etc/systemd/system/postgresql-16.service");
        std::os::unix::fs::symlink("/dev/null", mask).unwrap();
        assert_eq!(masked.starts("/var/lib/pgsql/16/data"), []);
    }
}
