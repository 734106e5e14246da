//! PostgreSQL servers of one test, and how they come to differ.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use expgsql::params::Secret;
use expgsql::postgres::programs::Programs;
use expgsql::postgres::source::{Primary, Source, service_text};
use expgsql::sys::{Deadline, Owner};
use lab::{ConfigStyle, Layout};
use nix::unistd::{chown, geteuid};
use tempfile::TempDir;

/// Far more than anything here takes; only a failure waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

/// Held by the one test that runs.
static TURN: Mutex<()> = Mutex::new(());

/// A place for the servers of one test, and its turn.
pub(crate) struct Site {
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if geteuid().is_root() {
            lab::install().expect("the lab's packages");
        }
        // In memory: the tools wait for each of a thousand files to be on disk.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        give(dir.path());
        Self { dir, _turn: turn }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An empty directory of the owner's.
    pub(crate) fn make(&self, name: &str) -> PathBuf {
        let dir = self.dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        give(&dir);
        dir
    }
}

/// One server with its data directory.
pub(crate) struct Node {
    /// Its data, tmpdir and socket.
    pub(crate) dir: PathBuf,
    pub(crate) data: PathBuf,
    /// Outside the data directory, for some.
    pub(crate) config: PathBuf,
    pub(crate) port: u16,
    layout: Layout,
    process: Option<Child>,
}

/// Small WAL files, so that a little work fills several, and nothing kept that is not needed.
const CONFIG: &str = "listen_addresses = '127.0.0.1'\nfsync = off\nmax_connections = 20\nshared_buffers = 1MB\n\
                      wal_log_hints = on\nwal_keep_size = 0\nmin_wal_size = 2MB\nmax_wal_size = 4MB\n\
                      restart_after_crash = off\npassword_encryption = 'scram-sha-256'\n";

impl Node {
    fn bare(dir: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        fs::create_dir_all(dir.join("tmp")).unwrap();
        for made in [&dir, &dir.join("tmp")] {
            give(made);
        }
        let data = dir.join("data");
        Self {
            config: data.join("postgresql.conf"),
            data,
            dir,
            port,
            layout: Layout::find(ConfigStyle::DataDirectory).expect("a PostgreSQL server"),
            process: None,
        }
    }

    /// A new primary; every role may connect without a password, except `repl` (`zq7x`).
    pub(crate) fn primary(site: &Site, name: &str, config: &str) -> Self {
        let mut node = Self::bare(site.make(name));
        let template = template(&node.layout, site.dir());
        done(Command::new("cp").arg("-a").arg(template).arg(&node.data));
        append(&node.config, &format!("{CONFIG}{config}"));
        node.set_hba("host all,replication repl 127.0.0.1/32 scram-sha-256");
        node.configure();
        node.start();
        node.sql("create role repl login replication password 'zq7x'; create table t (who text)");
        node
    }

    /// A running server of another database cluster.
    pub(crate) fn foreign(site: &Site, name: &str) -> Self {
        let mut node = Self::bare(site.make(name));
        let mut initdb = as_postgres(&node.program("initdb"));
        initdb.args(["-N", "-A", "trust", "-U", "postgres", "-D"]);
        done(initdb.arg(&node.data).stdout(Stdio::null()));
        append(&node.config, CONFIG.split("min_wal_size").next().unwrap());
        node.configure();
        node.start();
        node
    }

    /// Nothing yet.
    pub(crate) fn empty(site: &Site, name: &str) -> Self {
        Self::bare(site.make(name))
    }

    /// A running standby of `primary`; `more` are options of pg_basebackup.
    pub(crate) fn standby(site: &Site, name: &str, primary: &Self, more: &[String]) -> Self {
        let mut node = Self::bare(site.make(name));
        let mut copy = as_postgres(&node.program("pg_basebackup"));
        copy.args([
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ])
        .args(["-p", &primary.port.to_string(), "-D"])
        .arg(&node.data)
        .args(more);
        done(&mut copy);
        node.configure();
        node.follow(primary);
        node.start();
        primary.wait_streaming(&node);
        node
    }

    /// Its port and its socket.
    pub(crate) fn configure(&self) {
        let own = format!(
            "port = {}\nunix_socket_directories = '{}'\n",
            self.port,
            self.dir.display()
        );
        append(&self.config, &own);
    }

    /// Makes it a standby of `primary` when it is started next.
    pub(crate) fn follow(&self, primary: &Self) {
        let conninfo = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name={}'\n\
             wal_retrieve_retry_interval = 200ms\n",
            primary.port,
            self.name(),
        );
        append(&self.config, &conninfo);
        let signal = self.data.join("standby.signal");
        fs::write(&signal, "").unwrap();
        give(&signal);
    }

    /// Puts `line` before those that let everybody in.
    pub(crate) fn set_hba(&self, line: &str) {
        let path = self.data.join("pg_hba.conf");
        let all = "local all all trust\nhost all,replication all 127.0.0.1/32 trust\nlocal replication all trust\n";
        fs::write(&path, format!("{line}\n{all}")).unwrap();
    }

    pub(crate) fn launch(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("server.log"))
            .unwrap();
        let mut command = as_postgres(&self.program("postgres"));
        command.arg("-D").arg(&self.data);
        command
            .arg("-c")
            .arg(format!("config_file={}", self.config.display()));
        command.stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    pub(crate) fn start(&mut self) {
        self.launch();
        eventually("the server takes connections", || {
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the server ended ({status}): {}", self.log());
            }
            self.try_sql("select 1").map(drop)
        });
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    fn signal(&mut self, signal: nix::sys::signal::Signal) {
        if let Some(mut process) = self.process.take() {
            let pid = nix::unistd::Pid::from_raw(process.id().cast_signed());
            nix::sys::signal::kill(pid, signal).unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGINT);
    }

    /// Kills the postmaster; its processes notice a little later.
    pub(crate) fn crash(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGKILL);
    }

    /// Whether a launched server has ended by itself.
    pub(crate) fn has_failed(&mut self) -> bool {
        let process = self.process.as_mut().expect("it was launched");
        eventually("the server ends by itself", || {
            process.try_wait().unwrap().map(drop).ok_or("it runs")
        });
        let status = self.process.take().unwrap().wait().unwrap();
        !status.success()
    }

    pub(crate) fn program(&self, name: &str) -> String {
        self.layout.program(name)
    }

    pub(crate) fn try_sql(&self, sql: &str) -> Result<String, String> {
        let output = as_postgres(&self.program("psql"))
            .args([
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-h",
            ])
            .arg(&self.dir)
            .args(["-p", &self.port.to_string(), "-c", sql])
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Some rows of `who`.
    pub(crate) fn write(&self, who: &str) {
        self.sql(&format!(
            "insert into t select '{who}' from generate_series(1, 100)"
        ));
    }

    /// Who has written here.
    pub(crate) fn writers(&self) -> String {
        self.sql("select string_agg(distinct who, ' ' order by who) from t")
    }

    /// Several WAL files further, and none of the old ones kept.
    pub(crate) fn forget_wal(&self) {
        for _ in 0..4 {
            self.write("filler");
            self.sql("select pg_switch_wal()");
        }
        self.sql("checkpoint");
    }

    /// Until `standby` streams from here and has all.
    pub(crate) fn wait_streaming(&self, standby: &Self) {
        let asked = format!(
            "select count(*) from pg_stat_replication where application_name = '{}' and state = 'streaming' \
             and replay_lsn >= pg_current_wal_lsn()",
            standby.name()
        );
        eventually("a standby streams and has all", || {
            match self.try_sql(&asked)?.as_str() {
                "1" => Ok(()),
                other => Err(format!("{other} {}", standby.log())),
            }
        });
    }

    fn name(&self) -> String {
        let name = self.dir.file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn promote(&self) {
        assert_eq!(self.sql("select pg_promote()"), "t");
    }

    pub(crate) fn programs(&self) -> Programs {
        Programs::new(
            Path::new(&self.program("pg_ctl")),
            Path::new("/usr/lib"),
            &owner(),
        )
    }

    fn tmp(&self, name: &str) -> PathBuf {
        self.dir.join("tmp").join(name)
    }

    /// Where a rewind keeps this node's own files.
    pub(crate) fn save(&self) -> PathBuf {
        self.tmp("expgsql.own")
    }

    /// `primary`, as this node reaches it as `repl` with further words.
    pub(crate) fn source_as(&self, primary: &Self, user: &str, more: &str) -> Source {
        let psql = PathBuf::from(self.program("psql"));
        let source = Source::new(&self.programs(), &psql, self.tmp("expgsql.service"));
        let text = service_text(&Primary {
            host: "127.0.0.1",
            port: primary.port,
            user,
            passfile: None,
            more: Some(&Secret::new(more)),
            node: "node1",
        });
        source.write(&owner(), &text.unwrap()).unwrap();
        source
    }

    pub(crate) fn source(&self, primary: &Self) -> Source {
        self.source_as(primary, "postgres", "")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = nix::unistd::Pid::from_raw(process.id().cast_signed());
            let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
            let _status = process.wait();
        }
    }
}

/// An old primary, which runs, and the standby that was promoted meanwhile: each has what the other has not.
pub(crate) fn diverged(site: &Site, config: &str) -> (Node, Node) {
    let old = Node::primary(site, "old", config);
    old.write("both");
    let new = Node::standby(site, "new", &old, &[]);
    diverge(&old, &new);
    (old, new)
}

pub(crate) fn diverge(old: &Node, new: &Node) {
    new.promote();
    new.write("new");
    old.write("old");
}

/// After its repair `node` starts as a standby of `primary` and has what that has.
pub(crate) fn assert_follows(node: &mut Node, primary: &Node) {
    node.follow(primary);
    node.start();
    primary.write("later");
    primary.wait_streaming(node);
    assert_eq!(node.sql("select pg_is_in_recovery()"), "t");
    assert_eq!(node.writers(), primary.writers());
    assert!(!node.writers().contains("old"), "{}", node.writers());
}

/// A data directory to copy, made once for all runs; `dir` is one that the server's account may write to.
fn template(layout: &Layout, dir: &Path) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("repair-{}", layout.key));
    if !kept.exists() {
        let new = dir.join("template");
        let mut initdb = as_postgres(&layout.program("initdb"));
        initdb.args(["-N", "-A", "trust", "-U", "postgres", "--wal-segsize=1"]);
        if layout.version >= 18 {
            // Its default is on, and then nothing needs wal_log_hints.
            initdb.arg("--no-data-checksums");
        }
        initdb.arg("-D");
        done(initdb.arg(&new).stdout(Stdio::null()));
        // Beside its place first: a rename is all or nothing.
        let name = dir.file_name().expect("a name").to_string_lossy();
        let beside = kept.with_extension(name.as_ref());
        done(Command::new("cp").arg("-a").arg(&new).arg(&beside));
        if fs::rename(&beside, &kept).is_err() {
            fs::remove_dir_all(&beside).unwrap();
        }
        fs::remove_dir_all(&new).unwrap();
    }
    kept
}

/// The account of the servers.
pub(crate) fn owner() -> Owner {
    if geteuid().is_root() {
        return Owner::lookup("postgres").expect("the account postgres");
    }
    let user = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap();
    Owner::lookup(&user.name).unwrap()
}

/// Gives it to the servers' account.
pub(crate) fn give(path: &Path) {
    let owner = owner();
    chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
}

/// Ends with this test, also when that is killed.
pub(crate) fn as_postgres(program: &str) -> Command {
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
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

pub(crate) fn eventually<E: std::fmt::Debug>(
    what: &str,
    mut attempt: impl FnMut() -> Result<(), E>,
) {
    let start = Instant::now();
    while let Err(seen) = attempt() {
        assert!(
            start.elapsed() < LIMIT,
            "{what}: not within {LIMIT:?}: {seen:?}"
        );
        lab::rest(Duration::from_millis(20));
    }
}

/// All files, links and directories below `dir` with their modes, owners and contents.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let what = if about.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if about.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            "directory".to_owned()
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        };
        let place = path.strip_prefix(dir).unwrap().to_owned();
        all.insert(place, format!("{:o} {} {what}", about.mode(), about.uid()));
    }
    all
}
