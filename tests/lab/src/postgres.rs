//! PostgreSQL on the hosts: the data directory every host starts with, its settings, and the server by hand.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::ask::{self, Answer};
use crate::debian::Root;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::other_server::OtherServer;
use crate::poll;
use crate::process::{Cmd, Output};
use crate::progress::note;
use crate::site::{LANGUAGE, Site};
use crate::spec::{Agent, Spec};

/// The replication role, and its application's database is `postgres`.
pub const REPLICATION_USER: &str = "repl";
/// Directory for the agent's own files.
pub const TMPDIR: &str = "/var/lib/pgsql/tmp";
/// The server's log on every host.
pub const LOG: &str = "/var/log/postgresql/lab.log";
/// Raised when the template's content changes, so that an old cached one is not used.
const TEMPLATE_VERSION: u32 = 4;

/// Where the configuration files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum ConfigStyle {
    /// postgresql.conf in the data directory, `/var/lib/pgsql/data`.
    DataDirectory,
    /// As Debian has it: `/etc/postgresql/VERSION/lab/postgresql.conf`, data in `/var/lib/postgresql/VERSION/lab`.
    Debian,
    /// As Debian's `pg_createcluster` leaves the data directory of a server that was there before: `/etc/postgresql/VERSION/main`, the
    /// lab's settings in its `conf.d`, data in `/var/lib/postgresql/VERSION/main`.
    Packaged,
}

/// Paths of the installed PostgreSQL and of the lab's instance on each host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Directory of `postgres`, `pg_ctl`, `psql`.
    pub bin: PathBuf,
    /// Major version.
    pub version: u32,
    /// Data directory.
    pub data: PathBuf,
    /// postgresql.conf.
    pub config: PathBuf,
    /// What tells these programs from others in the name of a file that is kept.
    pub key: String,
}

impl Layout {
    /// The PostgreSQL that the environment asks for (see [`crate::SERVER_VARIABLE`]), else the newest that is installed on this
    /// machine, in this style.
    ///
    /// # Errors
    /// [`Error::Other`] when there is none.
    pub fn find(style: ConfigStyle) -> Result<Self> {
        let Some(server) = OtherServer::asked_for()? else {
            return Self::find_in(&Root::own(), style);
        };
        let base = crate::place::base()?;
        crate::other_server::prepare(server, &base)?;
        Self::find_in(&Root::own().with_server(Some(server), &base), style)
    }

    /// The PostgreSQL that goes with a root: another one, else the newest in it.
    pub(crate) fn find_in(root: &Root, style: ConfigStyle) -> Result<Self> {
        if let Some((server, base)) = root.server() {
            let key = server.directory().trim_start_matches('.').to_owned();
            return Ok(Self::with(server.major(), server.bin(base), style, key));
        }
        let dir = root.at("/usr/lib/postgresql");
        let installed =
            std::fs::read_dir(&dir).map_err(Error::io(format!("list {}", dir.display())))?;
        let version = installed
            .flatten()
            .filter(|entry| entry.path().join("bin/postgres").exists())
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .max()
            .ok_or_else(|| Error::Other("no PostgreSQL server in /usr/lib/postgresql".into()))?;
        let bin = PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
        Ok(Self::with(version, bin, style, version.to_string()))
    }

    fn with(version: u32, bin: PathBuf, style: ConfigStyle, key: String) -> Self {
        let (data, config) = match style {
            ConfigStyle::DataDirectory => (
                "/var/lib/pgsql/data".into(),
                "/var/lib/pgsql/data/postgresql.conf".into(),
            ),
            ConfigStyle::Debian => (
                PathBuf::from(format!("/var/lib/postgresql/{version}/lab")),
                PathBuf::from(format!("/etc/postgresql/{version}/lab/postgresql.conf")),
            ),
            ConfigStyle::Packaged => (
                PathBuf::from(format!("/var/lib/postgresql/{version}/main")),
                PathBuf::from(format!("/etc/postgresql/{version}/main/postgresql.conf")),
            ),
        };
        Self {
            bin,
            version,
            data,
            config,
            key,
        }
    }

    /// Whether the server was built with TLS: it names the library.
    ///
    /// # Errors
    /// [`Error::Io`] when it can't be read.
    pub fn has_tls(&self) -> Result<bool> {
        let path = self.bin.join("postgres");
        let program =
            std::fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        const LIBRARY: &[u8] = b"libssl.so";
        Ok(program.windows(LIBRARY.len()).any(|part| part == LIBRARY))
    }

    /// Path of one of PostgreSQL's programs.
    pub fn program(&self, name: &str) -> String {
        self.bin.join(name).display().to_string()
    }

    pub(crate) fn hba(&self) -> PathBuf {
        self.config.with_file_name("pg_hba.conf")
    }
}

/// What the programs in this directory say of their version, as `15.18`.
///
/// # Errors
/// [`Error::Failed`] when they can't be run.
pub fn version(bin: &Path) -> Result<String> {
    let postgres = bin.join("postgres").display().to_string();
    let said = Cmd::new(&[&postgres, "--version"]).ok()?;
    Ok(said
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .to_owned())
}

/// The data directory all hosts get a copy of, so that they have one system identifier, as standbys made by
/// pg_basebackup would. Made once per PostgreSQL version and kept beside the labs.
pub(crate) fn template(base: &Path, root: &Root, layout: &Layout, site: Site) -> Result<PathBuf> {
    let done = base.join(format!(
        ".template-{}-{TEMPLATE_VERSION}{}{}",
        layout.version,
        site.template_tag(),
        root.tag()
    ));
    let lock = std::fs::File::create(base.join(".template.lock"))
        .map_err(Error::io("create the template's lock"))?;
    // Two labs may start at once; the second waits for the first one's initdb.
    let _held = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::sys("lock the template")(errno))?;
    if done.exists() {
        return Ok(done);
    }
    note("initdb, once: later labs copy the result");
    let making = base.join(".template-making");
    crate::place::remove(&making)?;
    std::fs::create_dir(&making).map_err(Error::io("create the template"))?;
    std::fs::set_permissions(&making, std::fs::Permissions::from_mode(0o700))
        .map_err(Error::io("close the template"))?;
    let dir = making.display().to_string();
    Cmd::new(&["chown", &root.owner("postgres")?, &dir]).ok()?;
    let as_postgres = |argv: &[&str]| {
        let prefix = ["runuser", "-u", "postgres", "--"];
        root.command(base, &[&prefix, argv].concat())
    };
    let (encoding, locale) = site.encoding_and_locale();
    as_postgres(&[
        &layout.program("initdb"),
        "-D",
        &dir,
        "--auth=trust",
        &format!("--encoding={encoding}"),
        &format!("--locale={locale}"),
        "--no-sync",
    ])
    .ok()?;
    if let Some(locale) = site.locale() {
        // Beside the data, to be taken to its place with each copy.
        let to = format!("{dir}/{locale}");
        as_postgres(&[
            "localedef",
            "--no-archive",
            "-i",
            LANGUAGE,
            "-f",
            "UTF-8",
            &to,
        ])
        .ok()?;
    }
    // Single-user mode: roles without a server, so without a port on the machine.
    let program = layout.program("postgres");
    // What the site has was in force before, as far as a standby must not have less.
    let in_force: Vec<String> = site
        .settings()
        .iter()
        .filter(|line| line.starts_with("max_"))
        .map(|line| line.replace(" = ", "="))
        .collect();
    for (database, statements) in site.beginning() {
        // The level is for logical slots.
        let mut argv = vec![
            program.as_str(),
            "--single",
            "-D",
            &dir,
            "-c",
            "wal_level=logical",
        ];
        for setting in &in_force {
            argv.extend(["-c", setting]);
        }
        argv.push(database);
        as_postgres(&argv).input(statements).ok()?;
    }
    if site.has_certificate() {
        as_postgres(&[
            "openssl",
            "req",
            "-new",
            "-x509",
            "-days",
            "3650",
            "-noenc",
            "-batch",
            "-subj",
            "/CN=lab",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-out",
            &format!("{dir}/server.crt"),
            "-keyout",
            &format!("{dir}/server.key"),
        ])
        .ok()?;
    }
    std::fs::rename(&making, &done).map_err(Error::io("name the template"))?;
    Ok(done)
}

/// Lays a copy of the template, with this host's settings, on the disk of a host that is off.
pub(crate) fn lay_out(node: &Node, layout: &Layout, template: &Path, spec: &Spec) -> Result<()> {
    let on_disk = |path: &Path| -> Result<PathBuf> {
        let mut parts = path
            .strip_prefix("/")
            .map_err(|_| Error::Other(format!("{} is not absolute", path.display())))?
            .components();
        let top = parts
            .next()
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(node.disk(&top).join(parts.as_path()))
    };
    let is_packaged = spec.style() == ConfigStyle::Packaged;
    // There may be a server of the machine's own in that place; it is replaced when the host is up.
    let data = if is_packaged {
        on_disk(&laid_aside(layout))?
    } else {
        on_disk(&layout.data)?
    };
    let (config, hba) = if is_packaged {
        (data.join(LAB_CONF), data.join("pg_hba.conf"))
    } else {
        (on_disk(&layout.config)?, on_disk(&layout.hba())?)
    };
    let tmpdir = on_disk(Path::new(TMPDIR))?;
    let show = |path: &Path| path.display().to_string();
    let owner = node.root().owner("postgres")?;
    let make = r#"set -e
umask 022
mkdir -p "$(dirname "$2")" "$4"
chown "$5" "$(dirname "$2")" "$4"
cp -a --reflink=auto "$1" "$2"
# A host of another suite has another number for it.
chown -R "$5" "$2"
mkdir -p "$(dirname "$3")"
"#;
    Cmd::new(&[
        "sh",
        "-c",
        make,
        "sh",
        &show(template),
        &show(&data),
        &show(&config),
        &show(&tmpdir),
        &owner,
    ])
    .ok()?;
    let write = |path: &Path, text: String| -> Result<()> {
        std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))?;
        Cmd::new(&["chown", &owner, &show(path)]).ok().map(drop)
    };
    write(&config, settings(node, layout, spec))?;
    let is_node = spec.has_node(node.name());
    // The lock service and the client's host have no part in what the cluster's site is like.
    let site = if is_node { spec.site } else { Site::Plain };
    write(&hba, site.access())?;
    for dir in spec.site.directories() {
        let dir = show(&on_disk(Path::new(dir))?);
        Cmd::new(&["mkdir", "-p", &dir]).ok()?;
        Cmd::new(&["chown", &owner, &dir]).ok()?;
    }
    if let Some(locale) = spec.site.locale() {
        let shown = node.disk("usr").join("lib/locale");
        Cmd::new(&["mkdir", "-p", &show(&shown)]).ok()?;
        Cmd::new(&["mv", &show(&data.join(locale)), &show(&shown)]).ok()?;
        Cmd::new(&["chown", "-R", "root:root", &show(&shown.join(locale))]).ok()?;
    }
    if let Some((path, text)) = site.passfile() {
        let path = on_disk(&path)?;
        write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(Error::io(format!("close {}", path.display())))?;
    }
    if spec.agent == Agent::Paf
        && !["node1", crate::cluster::CLIENT, crate::cluster::LOCK].contains(&node.name())
    {
        // PAF leaves the roles of the first start to the administrator: node1 is the primary.
        write(&data.join("standby.signal"), String::new())?;
    }
    Ok(())
}

/// The lab's settings where the layout is a packaged one.
const LAB_CONF: &str = "lab.conf";

/// Where the data of a packaged layout wait for the host to be up.
fn laid_aside(layout: &Layout) -> PathBuf {
    layout.data.with_file_name("laid-aside")
}

/// What is left to do when a host is up for the first time: has Debian's tool take the data directory for its own.
pub(crate) fn settle(node: &Node, layout: &Layout, spec: &Spec) -> Result<()> {
    if spec.style() != ConfigStyle::Packaged {
        return Ok(());
    }
    let script = r#"set -e
rm -rf "$1" "$2"
mv "$3" "$1"
pg_createcluster --start-conf=manual "$4" main
mv "$1/$5" "$2/conf.d/""#;
    let show = |path: &Path| path.display().to_string();
    let etc = layout.config.parent().map(show).unwrap_or_default();
    node.run(&[
        "sh",
        "-c",
        script,
        "sh",
        &show(&layout.data),
        &etc,
        &show(&laid_aside(layout)),
        &layout.version.to_string(),
        LAB_CONF,
    ])?
    .ok()
    .map(drop)
}

fn settings(node: &Node, layout: &Layout, spec: &Spec) -> String {
    let mut lines = vec![
        "listen_addresses = '*'".to_owned(),
        "port = 5432".to_owned(),
        "unix_socket_directories = '/run/postgresql'".to_owned(),
        // Commits are what the lab counts: they must be as durable as on a real server.
        "fsync = on".to_owned(),
        "shared_buffers = 32MB".to_owned(),
        "max_wal_size = 256MB".to_owned(),
        "wal_level = replica".to_owned(),
        "wal_log_hints = on".to_owned(),
        "wal_keep_size = 128MB".to_owned(),
        "max_wal_senders = 10".to_owned(),
        "max_replication_slots = 10".to_owned(),
        "hot_standby = on".to_owned(),
        "hot_standby_feedback = on".to_owned(),
        // With the default, on, a crashed backend makes the postmaster recover by itself, behind the agent's back.
        "restart_after_crash = off".to_owned(),
        "wal_sender_timeout = 5s".to_owned(),
        "wal_receiver_status_interval = 2s".to_owned(),
        "log_line_prefix = '%m [%p] %a '".to_owned(),
        "log_replication_commands = on".to_owned(),
        // Nothing in the lab needs the statistics of minutes, and five clusters share two cores.
        "autovacuum = off".to_owned(),
        "jit = off".to_owned(),
        // The default since 14.
        "password_encryption = 'scram-sha-256'".to_owned(),
    ];
    if spec.style() == ConfigStyle::Debian {
        lines.push(format!("data_directory = '{}'", layout.data.display()));
        lines.push(format!("hba_file = '{}'", layout.hba().display()));
        lines.push(format!(
            "ident_file = '{}'",
            layout.data.join("pg_ident.conf").display()
        ));
    }
    if spec.agent == Agent::Paf {
        let address = crate::network::WRITER_ADDRESS;
        lines.push(format!("primary_conninfo = 'host={address} port=5432 user={REPLICATION_USER} application_name={}'", node.name()));
        lines.push("recovery_target_timeline = 'latest'".to_owned());
    }
    lines.extend(spec.site.settings());
    lines.extend(spec.settings.iter().cloned());
    lines.join("\n") + "\n"
}

/// PostgreSQL on one host, by hand: without the cluster, or behind its back.
#[derive(Clone, Copy, Debug)]
pub struct Postgres<'a> {
    pub(crate) node: &'a Node,
    pub(crate) layout: &'a Layout,
}

impl Postgres<'_> {
    /// Runs SQL through psql on the host itself, as the superuser, and gives the bare values: `|` between columns, a
    /// line a row.
    ///
    /// # Errors
    /// [`Error::Failed`] with the server's message; [`Error::Overran`] after ten seconds.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.psql("/run/postgresql", 5432, sql)
    }

    /// As [`Postgres::sql`], for a question that is asked again and again: from outside, without a process on the host, where the
    /// server lets its owner in that way.
    ///
    /// # Errors
    /// As [`Postgres::sql`].
    pub fn ask(&self, question: &str) -> Result<String> {
        match ask::ask(self.node, question)? {
            Answer::Values(values) => Ok(values),
            Answer::NotThisWay => self.sql(question),
        }
    }

    /// As [`Postgres::sql`], against any server that this host reaches.
    ///
    /// # Errors
    /// As [`Postgres::sql`].
    pub fn psql(&self, host: &str, port: u16, sql: &str) -> Result<String> {
        let conninfo =
            format!("host={host} port={port} dbname=postgres user=postgres connect_timeout=3");
        self.node
            .as_user(
                "postgres",
                &[
                    &self.layout.program("psql"),
                    &conninfo,
                    "-XAtq",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-c",
                    sql,
                ],
            )?
            .limit(Duration::from_secs(10))
            .ok()
    }

    /// Runs one of PostgreSQL's programs as the postgres user.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn program(&self, name: &str, args: &[&str]) -> Result<Output> {
        let program = self.layout.program(name);
        self.node
            .as_user("postgres", &[&[program.as_str()], args].concat())?
            .run()
    }

    fn data(&self) -> String {
        self.layout.data.display().to_string()
    }

    /// Starts the server and waits until it takes connections (or, as a standby, has started).
    ///
    /// # Errors
    /// [`Error::Failed`] with pg_ctl's output.
    pub fn start(&self) -> Result<()> {
        let options = format!("-c config_file={}", self.layout.config.display());
        self.program(
            "pg_ctl",
            &[
                "-D",
                &self.data(),
                "-w",
                "-t",
                "50",
                "-l",
                LOG,
                "-o",
                &options,
                "start",
            ],
        )?
        .ok()
        .map(drop)
    }

    /// Stops the server: shutdown checkpoint, disconnects.
    ///
    /// # Errors
    /// [`Error::Failed`] with pg_ctl's output.
    pub fn stop(&self) -> Result<()> {
        self.program(
            "pg_ctl",
            &["-D", &self.data(), "-w", "-t", "50", "-m", "fast", "stop"],
        )?
        .ok()
        .map(drop)
    }

    /// Gives this host more WAL than the others have, before the cluster runs: the node an election must choose.
    ///
    /// # Errors
    /// As [`Postgres::start`] and [`Postgres::sql`].
    pub fn plant_wal(&self, rows: u32) -> Result<()> {
        self.start()?;
        self.sql("create table if not exists planted(n int)")?;
        self.sql(&format!(
            "insert into planted select generate_series(1, {rows})"
        ))?;
        self.stop()
    }

    /// Number of the postmaster inside the host; `None`: no server process.
    pub fn postmaster(&self) -> Option<i32> {
        let file = format!("{}/postmaster.pid", self.data());
        let pid = self
            .node
            .read_file(&file)
            .ok()?
            .lines()
            .next()?
            .trim()
            .parse()
            .ok()?;
        self.node
            .run(&["test", "-d", &format!("/proc/{pid}")])
            .ok()?
            .success()
            .then_some(pid)
    }

    /// Sends a signal to the postmaster.
    ///
    /// # Errors
    /// [`Error::Other`] when there is none.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let pid = self
            .postmaster()
            .ok_or_else(|| Error::Other(format!("no postmaster runs on {}", self.node.name())))?;
        self.node
            .run(&["kill", &format!("-{signal}"), &pid.to_string()])?
            .ok()
            .map(drop)
    }

    /// Whether it takes writes; `None`: it gave no answer.
    pub fn is_writable(&self) -> Option<bool> {
        self.ask("select not pg_is_in_recovery()")
            .ok()
            .map(|answer| answer == "t")
    }

    /// Waits until the server takes connections.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the server's last answer.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        poll::until(limit, poll::slow(), || self.ask("select 1").map(drop)).map_err(|error| {
            Error::Timeout {
                what: format!("PostgreSQL on {} takes connections", self.node.name()),
                limit,
                seen: error.to_string(),
                evidence: self.node.tail(LOG, 20),
            }
        })
    }
}
