//! A PostgreSQL of one test.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use expgsql::distlock::{Service, Take};
use expgsql::params::Secret;
use expgsql::sys::{Deadline, Owner};
use lab::{ConfigStyle, Layout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chown, geteuid};
use tempfile::TempDir;

/// Far more than anything here takes; only a failure waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    dir: TempDir,
    layout: Layout,
    pub(crate) port: u16,
    process: Child,
}

impl Server {
    /// A new one; roles `postgres` (all rights) and `agent` (only those of the documentation, password `zq7x`).
    pub(crate) fn start() -> Self {
        Self::with("", |_| {})
    }

    /// With further lines for its configuration; `prepare` may put files beside its data.
    pub(crate) fn with(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        static PACKAGES: Once = Once::new();
        PACKAGES.call_once(|| {
            if geteuid().is_root() {
                lab::install().expect("the lab's packages");
            }
        });
        let layout = Layout::find(ConfigStyle::DataDirectory).expect("a PostgreSQL server");
        let dir = tempfile::tempdir().unwrap();
        give(dir.path());
        let data = dir.path().join("data");
        let template = template(&layout, dir.path());
        done(Command::new("cp").arg("-a").arg(template).arg(&data));
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let own = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\n\
             max_connections = 20\nshared_buffers = 1MB\npassword_encryption = 'scram-sha-256'\n{config}\n",
            dir.path().display()
        );
        append(&data.join("postgresql.conf"), &own);
        let hba = "local all all trust\nhost all agent 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
        std::fs::write(data.join("pg_hba.conf"), hba).unwrap();
        prepare(&data);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = as_postgres(&layout.program("postgres"));
        command
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(log);
        let process = command.spawn().unwrap();
        let server = Self {
            dir,
            layout,
            port,
            process,
        };
        eventually("the server takes connections", || {
            server.try_sql("select 1").is_ok()
        });
        server.sql("create role agent login password 'zq7x'");
        server
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// As `postgres`, by TCP.
    pub(crate) fn conninfo(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres",
            self.port
        )
    }

    fn psql(&self) -> Command {
        self.psql_at("postgres", "postgres")
    }

    fn psql_at(&self, database: &str, role: &str) -> Command {
        let mut command = as_postgres(&self.layout.program("psql"));
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", role, "-d", database]);
        command
            .arg("-h")
            .arg(self.dir.path())
            .args(["-p", &self.port.to_string()]);
        command
    }

    fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.sql_as("postgres", sql)
    }

    /// By the socket, where nobody is asked for a password.
    pub(crate) fn sql_as(&self, role: &str, sql: &str) -> Result<String, String> {
        self.sql_at("postgres", role, sql)
    }

    pub(crate) fn sql_at(&self, database: &str, role: &str, sql: &str) -> Result<String, String> {
        let mut command = self.psql_at(database, role);
        // Not as -c, of which psql printed only what the last statement gave, until 14.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        // One that could not log in does not read it.
        let _gone = input.write_all(sql.as_bytes());
        drop(input);
        let output = psql.wait_with_output().unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Types this into psql, as `postgres`.
    pub(crate) fn script(&self, text: &str) {
        let file = self.dir.path().join("script.sql");
        std::fs::write(&file, text).unwrap();
        done(self.psql().arg("-f").arg(&file));
    }

    /// A session that has run `sql` and stays open until it is dropped.
    pub(crate) fn session(&self, sql: &str) -> Session {
        let mut command = self.psql();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{sql};\n\\echo done").unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        assert!(out.lines().any(|line| line.unwrap() == "done"), "{sql}");
        Session {
            child,
            _stdin: stdin,
        }
    }

    /// All processes of the server.
    fn processes(&self) -> Vec<Pid> {
        let id = self.process.id();
        let children =
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let of = |text: &str| Pid::from_raw(text.parse().unwrap());
        children
            .split_whitespace()
            .map(of)
            .chain([of(&id.to_string())])
            .collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            let _gone = kill(pid, signal);
        }
    }

    /// The lock `pgsql` of the table `distlock`, as `postgres`.
    pub(crate) fn service(&self) -> Service {
        service(&self.conninfo(), "pgsql")
    }

    /// The same lock, as a role that has the test's password.
    pub(crate) fn service_of(&self, role: &str) -> Service {
        let conninfo = self
            .conninfo()
            .replace("user=postgres", &format!("user={role} password=zq7x"));
        service(&conninfo, "pgsql")
    }

    /// With the table made.
    pub(crate) fn ready() -> (Self, Service) {
        let server = Self::start();
        let service = server.service();
        service.init(false, soon()).unwrap();
        (server, service)
    }
}

/// A data directory to copy, made once for all runs; `dir` is one that the server's account may write to.
fn template(layout: &Layout, dir: &Path) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("locks-{}", layout.key));
    if !kept.exists() {
        let new = dir.join("template");
        let options = ["-N", "-A", "trust", "-U", "postgres", "-D"];
        let mut initdb = as_postgres(&layout.program("initdb"));
        done(initdb.args(options).arg(&new).stdout(Stdio::null()));
        // Beside its place first: a rename is all or nothing, and of two tests that do this one is enough.
        let beside =
            kept.with_extension(dir.file_name().expect("a name").to_string_lossy().as_ref());
        done(Command::new("cp").arg("-a").arg(&new).arg(&beside));
        if std::fs::rename(&beside, &kept).is_err() {
            std::fs::remove_dir_all(&beside).unwrap();
        }
    }
    kept
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        let _gone = kill(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGQUIT,
        );
        let _status = self.process.wait();
    }
}

pub(crate) struct Session {
    child: Child,
    _stdin: std::process::ChildStdin,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn service(conninfo: &str, lock: &str) -> Service {
    Service::new(&Secret::new(conninfo), lock, None).unwrap()
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The wish of a node of the cluster `node1 node2 node3`.
pub(crate) fn wish(node: &str) -> Take {
    Take {
        owner: format!("pgsql_{node}"),
        node: node.to_owned(),
        known_owners: set(&["pgsql_node1", "pgsql_node2", "pgsql_node3"]),
        system: "7000".to_owned(),
        seen: set(&[node]),
        keep: BTreeSet::new(),
        needs_eligibility: true,
        min_epoch: 1,
        ttl: Duration::from_secs(3600),
        patience: Duration::ZERO,
    }
}

fn postgres() -> Owner {
    Owner::lookup("postgres").expect("the account postgres")
}

/// Gives it to the server's account.
pub(crate) fn give(path: &Path) {
    if geteuid().is_root() {
        let owner = postgres();
        chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
    }
}

/// Ends with this test, also when that is killed.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if geteuid().is_root() {
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--init-groups",
        ]);
    }
    command.arg(program).current_dir("/").env("LC_ALL", "C");
    command
}

pub(crate) fn done(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

pub(crate) fn append(path: &Path, text: &str) {
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The program under test.
pub(crate) fn expgsql() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_expgsql"))
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        lab::rest(Duration::from_millis(20));
    }
}
